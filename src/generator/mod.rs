//! Generators: somebody else's programs, driven through one model.
//!
//! [`Driver`] is the seam. The command driver implements it for everything that a configuration can describe; tests
//! implement it with scripts. A driver reports what it saw and decides nothing: what an outcome means is in
//! [`crate::task::outcome`] and [`crate::task::apply()`]. Everything a generator writes is untrusted.

pub mod access;
pub mod call;
pub mod command;
pub mod exec;
pub mod extract;
mod fitness;
pub mod hooks;
pub mod interpret;
pub mod leftovers;
pub mod log;
pub(crate) mod patience;
pub mod registry;
pub mod rules;
pub mod run;
pub mod runfile;
pub mod spec;
pub mod template;
pub mod trial;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::finding::Finding;
use crate::task::outcome::{CancelAnswer, FetchAnswer, FindAnswer, PollAnswer, RunReport, SubmitAnswer};
use crate::task::{Attempt, AttemptKey, Task, TaskId};

/// A job as a driver sees it: what was asked and which attempt asks.
#[derive(Clone, Debug)]
pub struct Job {
    /// What was asked.
    pub task: Task,
    /// The attempt: key, reference, what earlier verbs extracted.
    pub attempt: Attempt,
}

/// What one question about many jobs came to.
#[derive(Clone, Debug)]
pub struct Sweep<A> {
    /// One answer for each job that was asked about.
    pub answers: Vec<(TaskId, A)>,
    /// How many calls it took (pages), for the generator's call budget.
    pub calls: u32,
}

/// A part of what a run under way has written to standard error.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// The text, secrets taken out. Of a long one the middle is left out, and it says so.
    pub text: String,
    /// Where the next part begins, in bytes of what the run wrote: what could be the beginning of a secret is left to it.
    pub upto: u64,
}

/// Called with the task of a run that has just ended, so that nobody waits for the next look.
pub type RunEnded = Arc<dyn Fn(TaskId) + Send + Sync>;

/// One generator. Every method may take as long as its verb's time limit and the end by force after it, never longer.
/// None panics for anything a generator does. Futures are `Send` and do not block the thread that polls them.
pub trait Driver: Send + Sync + 'static {
    /// Asks for the job to be taken. The call's processes hold the lock of the attempt's run file until the last ends.
    fn submit(&self, job: Job) -> BoxFuture<'static, SubmitAnswer>;

    /// Starts a blocking run. Answers `Started`, `Starting`, `NeverStarted`, or what a look says if it ended at once.
    fn start_run(&self, job: Job) -> BoxFuture<'static, RunReport>;

    /// Looks at a blocking run: its lock and its files.
    fn look_at_run(&self, job: Job) -> BoxFuture<'static, RunReport>;

    /// Asks about many jobs: in one call with pages where the generator can, else one after the other.
    fn poll(&self, jobs: Vec<Job>) -> BoxFuture<'static, Sweep<PollAnswer>>;

    /// Asks about one job by name (`poll_one`, else `poll`).
    fn poll_one(&self, job: Job) -> BoxFuture<'static, PollAnswer>;

    /// Looks for jobs that carry the keys of these attempts.
    fn find(&self, jobs: Vec<Job>) -> BoxFuture<'static, Sweep<FindAnswer>>;

    /// Asks for the piece.
    fn fetch(&self, job: Job) -> BoxFuture<'static, FetchAnswer>;

    /// Asks for the job's end. For a blocking run: SIGTERM, grace, SIGKILL; `Ok` is said only once the lock is free
    /// and no complete piece was left behind (then the run is to be looked at instead, and the answer is `Unclear`).
    fn cancel(&self, job: Job) -> BoxFuture<'static, CancelAnswer>;

    /// Whether nobody is left of the processes of this attempt's submit (its run file's lock is free).
    fn is_quiet(&self, key: AttemptKey) -> BoxFuture<'static, bool>;

    /// The attempt has ended and its answer is committed: run files, run directories and private files may go.
    fn forget(&self, key: AttemptKey) -> BoxFuture<'static, ()>;

    /// Ends what must not outlive the daemon (plain children), and waits for that. Part of the drain.
    fn interrupt(&self) -> BoxFuture<'static, ()>;

    /// Whether blocking runs go on when the daemon ends; only of interest for a generator that has such.
    fn runs_outlive_the_daemon(&self) -> bool {
        true
    }

    /// Whom to tell about ended runs. Called once, before anything is started.
    fn on_run_ended(&self, tell: RunEnded);

    /// What a run under way has written to standard error from this byte on, secrets taken out; none where there is no run,
    /// or where it has ended and all of it was handed to the log.
    fn written_so_far(&self, _job: Job, _from: u64) -> BoxFuture<'static, Option<Written>> {
        Box::pin(std::future::ready(None))
    }

    /// Whether it could be called now: the program is there, the working directory exists, the secrets can be read.
    /// Each line names the setting, its value and the cure.
    fn faults(&self) -> Vec<String>;

    /// What [`Driver::faults`] says, and what works and deserves a look. Nothing is called.
    fn preflight(&self) -> Vec<Finding> {
        self.faults().iter().map(|fault| Finding::of_fault("generator", fault)).collect()
    }

    /// Tries every verb that can neither cost money nor change a job, one after the other; never submits. For the doctor.
    /// A driver that calls nothing has nothing to try.
    fn try_out(&self, subjects: trial::Subjects) -> BoxFuture<'static, trial::Trial> {
        drop(subjects);
        let findings = self.preflight();
        Box::pin(std::future::ready(trial::Trial { findings, calls: 0 }))
    }

    /// Whether this task could travel at all; `Err` names the field, its size and the limit. Asked at submit.
    fn accepts(&self, task: &Task) -> Result<(), String>;
}
