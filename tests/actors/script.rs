//! A generator that does what a test tells it to, and remembers every call and every job.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use contentd::generator::{Driver, Job, RunEnded, Sweep};
use contentd::task::outcome::{
    CancelAnswer, FetchAnswer, FindAnswer, JobState, Piece, PollAnswer, RunReport, SubmitAnswer, Verb,
};
use contentd::task::{AccountId, AttemptKey, Clock, Task, TaskId};
use futures_util::future::BoxFuture;

use super::rig::PausedClock;

const NO_PIECE: &str = "no article in it";

/// What becomes of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Completes,
    Fails,
    /// A run says at its end that nobody was there to do it.
    FindsNobody,
    /// Works on until it is cancelled.
    Hangs,
    /// Waits for a worker, until [`Script::start_worker`] brings one.
    Waits,
    /// Says that it is completed, and there is no piece.
    BringsNothing,
}

/// One call, as the generator saw it.
#[derive(Clone, Debug)]
pub struct Call {
    pub verb: Verb,
    pub at_ms: i64,
    pub tasks: Vec<TaskId>,
    pub topics: Vec<String>,
}

/// A job at the generator.
#[derive(Clone, Debug)]
pub struct MadeJob {
    pub reference: String,
    pub task: TaskId,
    pub account: AccountId,
    pub key: AttemptKey,
    pub made_at: i64,
    pub done_at: i64,
    pub fate: Fate,
    pub is_cancelled: bool,
}

impl MadeJob {
    pub fn is_alive(&self, now: i64) -> bool {
        !self.is_cancelled && (now < self.done_at || matches!(self.fate, Fate::Hangs | Fate::Waits))
    }
}

/// How it behaves; a test changes it at any time.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// The same key is the same job.
    pub is_idempotent: bool,
    /// How long each call takes.
    pub call_ms: u64,
    /// How long a job takes.
    pub job_ms: i64,
    pub fate: Fate,
    /// Answers to the next submits, before the usual one.
    pub submits: VecDeque<SubmitAnswer>,
    /// What every submit answers, where it is not to be taken.
    pub down: Option<String>,
    /// No submit is answered, and none makes a job; or only those whose topic begins so.
    pub silent_for: Option<&'static str>,
    /// Jobs whose topic begins so fail, whatever becomes of the others.
    pub poison: Option<&'static str>,
    /// Answers to the next polls.
    pub polls: VecDeque<PollAnswer>,
    /// What a poll answers after these, where it is not what is so.
    pub polls_are: Option<PollAnswer>,
    /// Answers to the next fetches.
    pub fetches: VecDeque<FetchAnswer>,
    /// A search sees no job, and not all there are.
    pub is_search_cut: bool,
    /// What a cancel answers, where it is not to work.
    pub no_cancel: Option<CancelAnswer>,
    /// How many calls of a verb still panic.
    pub panics: BTreeMap<Verb, u32>,
    /// A run says by itself when it has ended.
    pub tells_ends: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            is_idempotent: true,
            call_ms: 50,
            job_ms: 60_000,
            fate: Fate::Completes,
            submits: VecDeque::new(),
            down: None,
            silent_for: None,
            poison: None,
            polls: VecDeque::new(),
            polls_are: None,
            fetches: VecDeque::new(),
            is_search_cut: false,
            no_cancel: None,
            panics: BTreeMap::new(),
            tells_ends: false,
        }
    }
}

#[derive(Default)]
struct State {
    behaviour: Behaviour,
    calls: Vec<Call>,
    calls_ended: u64,
    jobs: Vec<MadeJob>,
    /// What was submitted and not answered: it may still arrive.
    unanswered: Vec<Job>,
    most_alive: usize,
    most_alive_of: BTreeMap<AccountId, usize>,
    interrupted: u32,
    armed: u32,
    /// Who is told of the end of a run, once its job is over.
    tell: Option<RunEnded>,
}

/// See the module.
#[derive(Clone)]
pub struct Script {
    state: Arc<Mutex<State>>,
    clock: PausedClock,
}

impl Script {
    pub fn new(clock: PausedClock) -> Self {
        Self { state: Arc::default(), clock }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A call that is told to panic must not spoil the script for the others.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.state().behaviour);
    }

    pub fn calls(&self, verb: Verb) -> Vec<Call> {
        self.state().calls.iter().filter(|call| call.verb == verb).cloned().collect()
    }

    pub fn all_calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Answers to polls that a test prepared and nobody asked for yet.
    pub fn polls_left(&self) -> usize {
        self.state().behaviour.polls.len()
    }

    /// Calls that have begun and not ended.
    pub fn calls_under_way(&self) -> u64 {
        let state = self.state();
        state.calls.len() as u64 - state.calls_ended
    }

    pub fn jobs(&self) -> Vec<MadeJob> {
        self.state().jobs.clone()
    }

    pub fn jobs_of(&self, task: &TaskId) -> Vec<MadeJob> {
        self.state().jobs.iter().filter(|job| job.task == *task).cloned().collect()
    }

    /// The most jobs that were alive at once.
    pub fn most_alive(&self) -> usize {
        self.state().most_alive
    }

    pub fn most_alive_of(&self, account: AccountId) -> usize {
        self.state().most_alive_of.get(&account).copied().unwrap_or(0)
    }

    /// How often somebody asked to be told of ended runs.
    pub fn armed(&self) -> u32 {
        self.state().armed
    }

    pub fn interrupted(&self) -> u32 {
        self.state().interrupted
    }

    pub fn topics_in_order_of_submit(&self) -> Vec<String> {
        self.calls(Verb::Submit).into_iter().flat_map(|call| call.topics).collect()
    }

    fn now(&self) -> i64 {
        self.clock.now().utc.0
    }

    /// A call: noted at once, answered after its time.
    fn call<T: Send + 'static>(
        &self,
        verb: Verb,
        jobs: &[Job],
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> BoxFuture<'static, T> {
        let this = self.clone();
        let tasks = jobs.iter().map(|job| job.task.id.clone()).collect();
        let topics = jobs.iter().map(|job| job.task.topic.clone()).collect();
        Box::pin(async move {
            let at_ms = this.now();
            let (takes, is_panic) = {
                let mut state = this.state();
                state.calls.push(Call { verb, at_ms, tasks, topics });
                let panics = state.behaviour.panics.get_mut(&verb).filter(|left| **left > 0);
                let is_panic = panics.map(|left| *left -= 1).is_some();
                (state.behaviour.call_ms, is_panic)
            };
            assert!(!is_panic, "the script panics in {verb}");
            let answer = work(&this);
            tokio::time::sleep(Duration::from_millis(takes)).await;
            this.state().calls_ended += 1;
            answer
        })
    }

    fn tell_when_it_ends(&self, job: &Job) {
        let state = self.state();
        if let Some(tell) = state.tell.clone().filter(|_| state.behaviour.tells_ends) {
            let (takes, task) = (state.behaviour.job_ms.unsigned_abs(), job.task.id.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(takes)).await;
                tell(task);
            });
        }
    }

    fn take_job(&self, job: &Job) -> String {
        let now = self.now();
        let mut state = self.state();
        if state.behaviour.is_idempotent
            && let Some(known) = state.jobs.iter().find(|known| known.key == job.attempt.key)
        {
            return known.reference.clone();
        }
        let reference = job.attempt.external_ref.clone().unwrap_or_else(|| format!("job-{}", state.jobs.len() + 1));
        let made = MadeJob {
            reference: reference.clone(),
            task: job.task.id.clone(),
            account: job.task.account_id,
            key: job.attempt.key.clone(),
            made_at: now,
            done_at: now + state.behaviour.job_ms,
            fate: match state.behaviour.poison {
                Some(prefix) if job.task.topic.starts_with(prefix) => Fate::Fails,
                _ => state.behaviour.fate,
            },
            is_cancelled: false,
        };
        state.jobs.push(made);
        let alive = |account: Option<AccountId>| {
            let is_wanted = |row: &&MadeJob| row.is_alive(now) && account.is_none_or(|account| account == row.account);
            state.jobs.iter().filter(is_wanted).count()
        };
        let (all, own) = (alive(None), alive(Some(job.task.account_id)));
        state.most_alive = state.most_alive.max(all);
        let most = state.most_alive_of.entry(job.task.account_id).or_default();
        *most = own.max(*most);
        reference
    }

    fn find_job(&self, reference: Option<&String>) -> Option<MadeJob> {
        self.state().jobs.iter().find(|job| Some(&job.reference) == reference).cloned()
    }

    fn submit_now(&self, job: &Job) -> SubmitAnswer {
        if let Some(answer) = self.state().behaviour.submits.pop_front() {
            return answer;
        }
        if let Some(why) = self.state().behaviour.down.clone() {
            return SubmitAnswer::Unavailable(why);
        }
        if self.state().behaviour.silent_for.is_some_and(|prefix| job.task.topic.starts_with(prefix)) {
            self.state().unanswered.push(job.clone());
            return SubmitAnswer::Ambiguous("no answer within 30 s".into());
        }
        SubmitAnswer::Accepted { reference: self.take_job(job), vars: BTreeMap::new() }
    }

    /// The worker is there again, and runs what is queued, one job after the other.
    pub fn start_worker(&self) {
        let now = self.now();
        let mut state = self.state();
        state.behaviour.fate = Fate::Completes;
        let takes = state.behaviour.job_ms;
        let waiting = state.jobs.iter_mut().filter(|job| job.fate == Fate::Waits && !job.is_cancelled);
        for (place, job) in (1..).zip(waiting) {
            (job.fate, job.done_at) = (Fate::Completes, now + takes * place);
        }
    }

    /// Every submit that was not answered arrives after all.
    pub fn let_submits_arrive(&self) {
        let unanswered = std::mem::take(&mut self.state().unanswered);
        for job in unanswered {
            self.take_job(&job);
        }
    }

    fn poll_now(&self, job: &Job, by_name: bool) -> PollAnswer {
        let prepared = {
            let mut state = self.state();
            let next = state.behaviour.polls.pop_front();
            next.or_else(|| state.behaviour.polls_are.clone())
        };
        if let Some(answer) = prepared {
            return answer;
        }
        let now = self.now();
        let Some(found) = self.find_job(job.attempt.external_ref.as_ref()) else {
            return PollAnswer::Missing { is_complete: true, by_name };
        };
        let state = match found.fate {
            _ if found.is_cancelled => JobState::Cancelled,
            Fate::Completes | Fate::BringsNothing if now >= found.done_at => JobState::Completed,
            Fate::Fails if now >= found.done_at => JobState::Failed,
            Fate::Waits => JobState::Submitted,
            _ => JobState::Processing,
        };
        state_answer(state)
    }

    fn fetch_now(&self, job: &Job) -> FetchAnswer {
        if let Some(answer) = self.state().behaviour.fetches.pop_front() {
            return answer;
        }
        let now = self.now();
        match self.find_job(job.attempt.external_ref.as_ref()) {
            Some(found) if found.fate == Fate::Completes && now >= found.done_at && !found.is_cancelled => {
                FetchAnswer::Piece(piece(&found.task))
            }
            Some(found) if found.fate == Fate::BringsNothing => {
                FetchAnswer::Unreadable { why: NO_PIECE.into(), raw: "prose".into() }
            }
            Some(_) => FetchAnswer::NotReady,
            None => FetchAnswer::Missing { raw: "no such job".into() },
        }
    }

    fn cancel_now(&self, job: &Job) -> CancelAnswer {
        let now = self.now();
        let mut state = self.state();
        if let Some(answer) = state.behaviour.no_cancel.clone() {
            return answer;
        }
        let found = state.jobs.iter_mut().find(|row| Some(&row.reference) == job.attempt.external_ref.as_ref());
        match found {
            Some(row) if row.is_alive(now) => {
                row.is_cancelled = true;
                CancelAnswer::Ok
            }
            Some(_) => CancelAnswer::Unclear("it has ended".into()),
            None => CancelAnswer::Unclear("unknown job".into()),
        }
    }
}

/// A good answer of a poll.
pub fn state_answer(state: JobState) -> PollAnswer {
    PollAnswer::State { state, theirs: state.to_string(), error: None, progress: None, vars: BTreeMap::new() }
}

fn piece(task: &TaskId) -> Box<Piece> {
    Box::new(Piece { content: format!("# A piece\n\nfor {task}"), ..Piece::default() })
}

impl Driver for Script {
    fn submit(&self, job: Job) -> BoxFuture<'static, SubmitAnswer> {
        self.call(Verb::Submit, std::slice::from_ref(&job.clone()), move |this| this.submit_now(&job))
    }

    fn start_run(&self, job: Job) -> BoxFuture<'static, RunReport> {
        self.call(Verb::Run, std::slice::from_ref(&job.clone()), move |this| {
            this.tell_when_it_ends(&job);
            RunReport::Started { reference: this.take_job(&job) }
        })
    }

    fn look_at_run(&self, job: Job) -> BoxFuture<'static, RunReport> {
        self.call(Verb::Poll, std::slice::from_ref(&job.clone()), move |this| {
            let now = this.now();
            let Some(found) = this.state().jobs.iter().find(|row| row.key == job.attempt.key).cloned() else {
                return RunReport::NeverStarted("no run of this key".into());
            };
            match found.fate {
                _ if found.is_cancelled => RunReport::Killed,
                _ if found.is_alive(now) => RunReport::Running,
                Fate::Fails => RunReport::Failed("exit 1".into()),
                Fate::FindsNobody => RunReport::Unavailable("no model".into()),
                Fate::BringsNothing => RunReport::NoPiece { why: NO_PIECE.into(), raw: "prose".into() },
                Fate::Completes | Fate::Hangs | Fate::Waits => RunReport::Piece(piece(&found.task)),
            }
        })
    }

    fn poll(&self, jobs: Vec<Job>) -> BoxFuture<'static, Sweep<PollAnswer>> {
        self.call(Verb::Poll, &jobs.clone(), move |this| {
            let answers = jobs.iter().map(|job| (job.task.id.clone(), this.poll_now(job, false))).collect();
            Sweep { answers, calls: 1 }
        })
    }

    fn poll_one(&self, job: Job) -> BoxFuture<'static, PollAnswer> {
        self.call(Verb::PollOne, std::slice::from_ref(&job.clone()), move |this| this.poll_now(&job, true))
    }

    fn find(&self, jobs: Vec<Job>) -> BoxFuture<'static, Sweep<FindAnswer>> {
        self.call(Verb::Find, &jobs.clone(), move |this| {
            let is_complete = !this.state().behaviour.is_search_cut;
            let find = |job: &Job| match this.state().jobs.iter().find(|row| row.key == job.attempt.key) {
                Some(row) if is_complete => FindAnswer::One { reference: row.reference.clone() },
                _ => FindAnswer::None { is_complete },
            };
            Sweep { answers: jobs.iter().map(|job| (job.task.id.clone(), find(job))).collect(), calls: 1 }
        })
    }

    fn fetch(&self, job: Job) -> BoxFuture<'static, FetchAnswer> {
        self.call(Verb::Fetch, std::slice::from_ref(&job.clone()), move |this| this.fetch_now(&job))
    }

    fn cancel(&self, job: Job) -> BoxFuture<'static, CancelAnswer> {
        self.call(Verb::Cancel, std::slice::from_ref(&job.clone()), move |this| this.cancel_now(&job))
    }

    fn is_quiet(&self, _: AttemptKey) -> BoxFuture<'static, bool> {
        Box::pin(async { true })
    }

    fn forget(&self, _: AttemptKey) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn interrupt(&self) -> BoxFuture<'static, ()> {
        self.state().interrupted += 1;
        Box::pin(async {})
    }

    fn on_run_ended(&self, tell: RunEnded) {
        let mut state = self.state();
        state.armed += 1;
        state.tell = Some(tell);
    }

    fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    fn accepts(&self, _: &Task) -> Result<(), String> {
        Ok(())
    }
}
