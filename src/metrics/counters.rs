//! What is counted since the start: kept where everything passes, the store's handle and the committing thread.
//!
//! It must not hold anybody up: one short lock, no allocation but for a label that is new. The surprise: a generator's answers
//! are counted by the events that bring them into the store, so one that came too late to mean anything is not among
//! them, and a job that was asked about together with a hundred others counts as one answer of a hundred.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Histogram;
use super::histogram::{BATCH_WRITES, COMMIT_SECONDS, JOB_SECONDS};
use crate::publish::state::PoolMove;
use crate::schedule::Fire;
use crate::task::outcome::{CancelAnswer, FetchAnswer, FindAnswer, PollAnswer, RunReport, SubmitAnswer, Verb};
use crate::task::{Attempt, AttemptState, Change, Event, Task, TaskState};

/// A generator, the verb that it answered, and how.
pub type Answer = (String, &'static str, &'static str);

/// The numbers as they stand. Keys are generators and words of contentd's own tables.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// Tasks taken in, by generator.
    pub submitted: BTreeMap<String, u64>,
    /// Moves of tasks, by generator and name of the move.
    pub moves: BTreeMap<(String, String), u64>,
    /// Answers of generators, by generator, verb and outcome.
    pub answers: BTreeMap<Answer, u64>,
    /// From acceptance to completion, by generator.
    pub job_seconds: BTreeMap<String, Histogram>,
    /// From the submit to contentd to the first acceptance by the generator, by generator.
    pub wait_seconds: BTreeMap<String, Histogram>,
    /// Writes of each commit.
    pub commit_writes: Histogram,
    /// A commit in all.
    pub commit_seconds: Histogram,
    /// Of it, its way to the disk.
    pub sync_seconds: Histogram,
    /// Commits that failed.
    pub commit_failures: u64,
    /// Runs of hooks, by hook and outcome.
    pub hook_runs: BTreeMap<(String, &'static str), u64>,
    /// Messages about alarms, by rule and kind.
    pub notices: BTreeMap<(String, &'static str), u64>,
    /// Reports that a job has ended.
    pub reports: u64,
    /// Fires of schedules that ended, by how they did.
    pub fires: BTreeMap<&'static str, u64>,
    /// Moves of pool entries after they were handed out, and by people, by name of the move.
    pub pool_moves: BTreeMap<&'static str, u64>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            submitted: BTreeMap::new(),
            moves: BTreeMap::new(),
            answers: BTreeMap::new(),
            job_seconds: BTreeMap::new(),
            wait_seconds: BTreeMap::new(),
            commit_writes: Histogram::new(BATCH_WRITES),
            commit_seconds: Histogram::new(COMMIT_SECONDS),
            sync_seconds: Histogram::new(COMMIT_SECONDS),
            commit_failures: 0,
            hook_runs: BTreeMap::new(),
            notices: BTreeMap::new(),
            reports: 0,
            fires: BTreeMap::new(),
            pool_moves: BTreeMap::new(),
        }
    }
}

/// The numbers, shared by all who hold a clone.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Mutex<Numbers>>);

impl Counters {
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        // Whatever panicked while it was held, a number is a number.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As they stand.
    pub fn snapshot(&self) -> Numbers {
        self.numbers().clone()
    }

    /// Adds what somebody else counts.
    pub fn add(&self, add: impl FnOnce(&mut Numbers)) {
        add(&mut self.numbers());
    }

    /// A task was taken in.
    pub fn submitted(&self, task: &Task) {
        count_up(&mut self.numbers().submitted, task.generator.as_str());
    }

    /// A generator answered.
    pub fn answered(&self, generator: &str, answer: Option<(Verb, &'static str)>) {
        if let Some((verb, outcome)) = answer {
            *self.numbers().answers.entry((generator.to_owned(), verb.as_str(), outcome)).or_insert(0) += 1;
        }
    }

    /// A change was committed.
    pub fn changed(&self, change: &Change) {
        let Some(audit) = &change.audit else { return };
        let task = &change.task;
        let generator = task.generator.as_str();
        let mut numbers = self.numbers();
        *numbers.moves.entry((generator.to_owned(), audit.event.clone())).or_insert(0) += 1;
        let Some(attempt) = &change.attempt else { return };
        if task.state == TaskState::Completed && attempt.state == AttemptState::EndedCompleted {
            observe(&mut numbers.job_seconds, generator, job_time(attempt));
        }
        let is_first_acceptance = attempt.number == 1 && attempt.accepted_at == Some(audit.at);
        if is_first_acceptance && let Some(at) = attempt.accepted_at {
            observe(&mut numbers.wait_seconds, generator, Some(at.since(task.created_at)));
        }
    }

    /// A fire of a schedule was written.
    pub fn fired(&self, fire: &Fire) {
        if fire.ended.is_some() {
            *self.numbers().fires.entry(fire.state.as_str()).or_insert(0) += 1;
        }
    }

    /// A pool entry moved.
    pub fn pool_moved(&self, event: PoolMove) {
        *self.numbers().pool_moves.entry(event.as_str()).or_insert(0) += 1;
    }

    /// A batch was committed, or not.
    pub fn committed(&self, writes: usize, took: Duration, sync: Option<Duration>, is_good: bool) {
        let mut numbers = self.numbers();
        if !is_good {
            numbers.commit_failures += 1;
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a batch has at most some hundred writes")]
        numbers.commit_writes.observe(writes as f64);
        numbers.commit_seconds.observe(took.as_secs_f64());
        if let Some(sync) = sync {
            numbers.sync_seconds.observe(sync.as_secs_f64());
        }
    }
}

fn count_up(counts: &mut BTreeMap<String, u64>, key: &str) {
    match counts.get_mut(key) {
        Some(count) => *count += 1,
        None => drop(counts.insert(key.to_owned(), 1)),
    }
}

fn observe(histograms: &mut BTreeMap<String, Histogram>, key: &str, span: Option<Duration>) {
    let Some(span) = span else { return };
    let histogram = histograms.entry(key.to_owned()).or_insert_with(|| Histogram::new(JOB_SECONDS));
    histogram.observe(span.as_secs_f64());
}

fn job_time(attempt: &Attempt) -> Option<Duration> {
    Some(attempt.ended_at?.since(attempt.accepted_at?))
}

/// Which verb was answered, and how; none where no generator was.
pub fn answer_of(event: &Event) -> Option<(Verb, &'static str)> {
    Some(match event {
        Event::SubmitAnswered(answer) => (Verb::Submit, submit_outcome(answer)),
        Event::CallLost(_) => (Verb::Submit, "lost"),
        Event::FindAnswered { answer, .. } => (Verb::Find, find_outcome(answer)),
        Event::RunReported(report) => (Verb::Run, run_outcome(report)?),
        Event::PollAnswered(answer) => (Verb::Poll, poll_outcome(answer)),
        Event::FetchAnswered(answer) => (Verb::Fetch, fetch_outcome(answer)),
        Event::CancelAnswered(answer) => (Verb::Cancel, cancel_outcome(answer)),
        _ => return None,
    })
}

const fn submit_outcome(answer: &SubmitAnswer) -> &'static str {
    match answer {
        SubmitAnswer::Accepted { .. } => "ok",
        SubmitAnswer::Rejected(_) => "rejected",
        SubmitAnswer::Retry(_) => "retry",
        SubmitAnswer::Unavailable(_) => "unavailable",
        SubmitAnswer::Ambiguous(_) => "ambiguous",
        SubmitAnswer::NeverCalled(_) => "never_called",
    }
}

const fn find_outcome(answer: &FindAnswer) -> &'static str {
    match answer {
        FindAnswer::One { .. } => "ok",
        FindAnswer::None { .. } => "none",
        FindAnswer::Several(_) => "several",
        FindAnswer::Unavailable(_) => "unavailable",
        FindAnswer::Unreadable(_) => "unreadable",
    }
}

const fn poll_outcome(answer: &PollAnswer) -> &'static str {
    match answer {
        PollAnswer::State { .. } => "ok",
        PollAnswer::Unreadable(_) => "unreadable",
        PollAnswer::Unavailable(_) => "unavailable",
        PollAnswer::Missing { .. } => "missing",
    }
}

const fn fetch_outcome(answer: &FetchAnswer) -> &'static str {
    match answer {
        FetchAnswer::Piece(_) => "ok",
        FetchAnswer::NotReady => "not_ready",
        FetchAnswer::Missing { .. } => "missing",
        FetchAnswer::Unreadable { .. } => "unreadable",
        FetchAnswer::Unavailable(_) => "unavailable",
    }
}

const fn cancel_outcome(answer: &CancelAnswer) -> &'static str {
    match answer {
        CancelAnswer::Ok => "ok",
        CancelAnswer::Refused(_) => "refused",
        CancelAnswer::Unclear(_) => "unclear",
    }
}

/// A run that goes on is no answer: it is looked at as often as one likes.
const fn run_outcome(report: &RunReport) -> Option<&'static str> {
    Some(match report {
        RunReport::Piece(_) => "ok",
        RunReport::NoPiece { .. } => "no_piece",
        RunReport::Rejected(_) => "rejected",
        RunReport::Failed(_) => "failed",
        RunReport::Unavailable(_) => "unavailable",
        RunReport::Ambiguous { .. } => "ambiguous",
        RunReport::NeverStarted(_) => "never_started",
        RunReport::Lost { .. } => "lost",
        RunReport::Interrupted(_) => "interrupted",
        RunReport::Killed => "killed",
        RunReport::Terminated(_) => "terminated",
        RunReport::Starting | RunReport::Started { .. } | RunReport::Running => return None,
    })
}
