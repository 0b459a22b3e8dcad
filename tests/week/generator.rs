//! A generator that outlives every daemon: its jobs take minutes, one in some fails, and it is away for two hours. It keeps books.
//!
//! A job that is made for a task while another of it lives, has a piece, or failed unseen must never be; the books say so,
//! whatever the daemon believes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use contentd::generator::{Driver, Job, RunEnded, Sweep};
use contentd::task::outcome::{
    CancelAnswer, FetchAnswer, FindAnswer, JobState, Piece, PollAnswer, RunReport, SubmitAnswer,
};
use contentd::task::retry::{Backoff, PollSchedule};
use contentd::task::{AttemptKey, Clock, Policy, Task, TaskId};
use futures_util::future::BoxFuture;

use super::calendar::Calendar;
use super::crash::Crash;
use super::world::{SimClock, SimEntropy};

/// Of the first jobs of tasks, in percent. A second one always brings its piece.
const FAILS: u32 = 8;
/// How long a call takes at most; to take a job is slow.
const SUBMIT_MS: u32 = 5_000;
const CALL_MS: u32 = 1_000;
const WORDS_AT_LEAST: u32 = 30;
const LEAST_SCORE: f64 = 0.7;
pub const FORBIDDEN: &str = "casino";

/// What is wrong with a piece, by its topic alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    Score,
    Short,
    Word,
}

/// A number that a topic alone says.
fn number_of(topic: &str) -> u32 {
    topic.bytes().fold(0x811C_9DC5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)) >> 8
}

pub fn flaw_of(topic: &str) -> Option<Flaw> {
    match number_of(topic) % 24 {
        0 => Some(Flaw::Score),
        1 => Some(Flaw::Short),
        2 => Some(Flaw::Word),
        _ => None,
    }
}

/// Whether the person likes a piece that waits for somebody.
pub fn is_liked(topic: &str) -> bool {
    !(number_of(topic) / 24).is_multiple_of(3)
}

pub fn rules() -> contentd::task::review::ReviewRules {
    contentd::task::review::ReviewRules {
        min_score: Some(LEAST_SCORE),
        min_words: Some(WORDS_AT_LEAST),
        forbidden: contentd::task::review::Phrase::new(FORBIDDEN).into_iter().collect(),
        ..Default::default()
    }
}

fn piece_about(topic: &str) -> Box<Piece> {
    let flaw = flaw_of(topic);
    let words = if flaw == Some(Flaw::Short) { "short" } else { &"a word of many ".repeat(10) };
    let word = if flaw == Some(Flaw::Word) { FORBIDDEN } else { "nothing" };
    let score = if flaw == Some(Flaw::Score) { 0.4 } else { 0.9 };
    let content = format!("# A piece\n\nAbout {topic}, and {word}.\n\n{words}");
    Box::new(Piece { content, score: Some(score), ..Piece::default() })
}

/// A job as the generator has it.
#[derive(Clone, Debug)]
pub struct MadeJob {
    pub id: String,
    key: AttemptKey,
    pub task: TaskId,
    topic: String,
    pub made_at: i64,
    done_at: i64,
    pub fails: bool,
    is_failure_seen: bool,
}

#[derive(Default)]
struct Books {
    jobs: Vec<MadeJob>,
    violations: Vec<String>,
    submits_refused: u32,
}

/// See the module.
#[derive(Clone)]
pub struct House {
    books: Arc<Mutex<Books>>,
    clock: SimClock,
    dice: Arc<SimEntropy>,
    calendar: Arc<Calendar>,
    /// The same key is the same job; else it can be searched for keys.
    is_idempotent: bool,
}

impl House {
    pub fn new(clock: SimClock, calendar: Arc<Calendar>, seed: u64) -> Self {
        let dice = Arc::new(SimEntropy::new(seed ^ 0x1111));
        Self { books: Arc::default(), clock, dice, calendar, is_idempotent: !(seed / 2).is_multiple_of(2) }
    }

    pub fn policy(&self) -> Policy {
        Policy {
            is_idempotent: self.is_idempotent,
            can_find: !self.is_idempotent,
            retry: Backoff {
                initial: Duration::from_secs(30),
                factor: 2.0,
                max: Duration::from_secs(600),
                jitter: 0.2,
            },
            polls: PollSchedule { interval: Duration::from_secs(30), learned: None, is_batch: !self.is_idempotent },
            ..Policy::default()
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    pub fn jobs_of(&self, task: &TaskId) -> Vec<MadeJob> {
        self.books().jobs.iter().filter(|job| job.task == *task).cloned().collect()
    }

    pub fn violations(&self) -> Vec<String> {
        self.books().violations.clone()
    }

    /// Submits that came while it was away.
    pub fn submits_refused(&self) -> u32 {
        self.books().submits_refused
    }

    fn now(&self) -> i64 {
        self.clock.now().utc.0
    }

    fn is_away(&self) -> bool {
        self.calendar.is_away(self.now())
    }

    fn make_job(&self, job: &Job) -> String {
        let now = self.now();
        let takes = 120_000 + i64::from(self.dice.below(480_000));
        let is_bad = self.dice.chance(FAILS);
        let mut books = self.books();
        if let Some(known) = books.jobs.iter().find(|known| known.key == job.attempt.key)
            && self.is_idempotent
        {
            return known.id.clone();
        }
        let others: Vec<MadeJob> = books.jobs.iter().filter(|known| known.task == job.task.id).cloned().collect();
        for other in others.iter().filter(|other| !(other.fails && other.is_failure_seen)) {
            books.violations.push(format!("{} was paid twice: nobody saw {} fail", other.task, other.id));
        }
        let made = MadeJob {
            id: format!("job-{}", books.jobs.len() + 1),
            key: job.attempt.key.clone(),
            task: job.task.id.clone(),
            topic: job.task.topic.clone(),
            made_at: now,
            done_at: now + takes,
            fails: is_bad && others.is_empty(),
            is_failure_seen: false,
        };
        let id = made.id.clone();
        books.jobs.push(made);
        id
    }

    fn submit(&self, job: &Job) -> SubmitAnswer {
        if self.is_away() {
            self.books().submits_refused += 1;
            return SubmitAnswer::Unavailable("connection refused".into());
        }
        SubmitAnswer::Accepted { reference: self.make_job(job), vars: BTreeMap::new() }
    }

    fn poll(&self, job: &Job) -> PollAnswer {
        if self.is_away() {
            return PollAnswer::Unavailable("connection refused".into());
        }
        let now = self.now();
        let mut books = self.books();
        let Some(found) = books.jobs.iter_mut().find(|found| Some(&found.id) == job.attempt.external_ref.as_ref())
        else {
            return PollAnswer::Missing { is_complete: true, by_name: false };
        };
        let state = match () {
            () if now < found.done_at => JobState::Processing,
            () if found.fails => JobState::Failed,
            () => JobState::Completed,
        };
        found.is_failure_seen |= state == JobState::Failed;
        PollAnswer::State { state, theirs: state.to_string(), error: None, progress: None, vars: BTreeMap::new() }
    }

    fn find(&self, job: &Job) -> FindAnswer {
        if self.is_away() {
            return FindAnswer::Unavailable("connection refused".into());
        }
        let of_key = |found: &&MadeJob| found.key == job.attempt.key;
        let found: Vec<String> = self.books().jobs.iter().filter(of_key).map(|found| found.id.clone()).collect();
        match found.as_slice() {
            [] => FindAnswer::None { is_complete: true },
            [one] => FindAnswer::One { reference: one.clone() },
            _ => FindAnswer::Several(found),
        }
    }

    fn fetch(&self, job: &Job) -> FetchAnswer {
        if self.is_away() {
            return FetchAnswer::Unavailable("connection refused".into());
        }
        let now = self.now();
        let books = self.books();
        match books.jobs.iter().find(|found| Some(&found.id) == job.attempt.external_ref.as_ref()) {
            Some(found) if !found.fails && now >= found.done_at => FetchAnswer::Piece(piece_about(&found.topic)),
            Some(_) => FetchAnswer::NotReady,
            None => FetchAnswer::Missing { raw: "no such job".into() },
        }
    }
}

/// The driver of one life.
#[derive(Clone)]
pub struct Scripted {
    pub house: House,
    pub crash: Arc<Crash>,
}

impl Scripted {
    /// A crash point on both sides, about half of its time, the effect, and the rest of its time.
    fn call<T: Send + 'static>(
        &self,
        takes_ms: u32,
        work: impl FnOnce(&House) -> T + Send + 'static,
    ) -> BoxFuture<'static, T> {
        let this = self.clone();
        Box::pin(async move {
            this.crash.point("before a call").await;
            let half = Duration::from_millis(u64::from(this.house.dice.below(takes_ms)));
            tokio::time::sleep(half).await;
            let answer = work(&this.house);
            this.crash.point("in a call").await;
            tokio::time::sleep(half).await;
            this.crash.point("after a call").await;
            answer
        })
    }
}

impl Driver for Scripted {
    fn submit(&self, job: Job) -> BoxFuture<'static, SubmitAnswer> {
        self.call(SUBMIT_MS, move |house| house.submit(&job))
    }

    fn start_run(&self, _: Job) -> BoxFuture<'static, RunReport> {
        unreachable!("it is polled")
    }

    fn look_at_run(&self, _: Job) -> BoxFuture<'static, RunReport> {
        unreachable!("it is polled")
    }

    fn poll(&self, jobs: Vec<Job>) -> BoxFuture<'static, Sweep<PollAnswer>> {
        self.call(CALL_MS, move |house| {
            let answers = jobs.iter().map(|job| (job.task.id.clone(), house.poll(job))).collect();
            Sweep { answers, calls: 1 }
        })
    }

    fn poll_one(&self, job: Job) -> BoxFuture<'static, PollAnswer> {
        self.call(CALL_MS, move |house| house.poll(&job))
    }

    fn find(&self, jobs: Vec<Job>) -> BoxFuture<'static, Sweep<FindAnswer>> {
        self.call(CALL_MS, move |house| {
            let answers = jobs.iter().map(|job| (job.task.id.clone(), house.find(job))).collect();
            Sweep { answers, calls: 1 }
        })
    }

    fn fetch(&self, job: Job) -> BoxFuture<'static, FetchAnswer> {
        self.call(CALL_MS, move |house| house.fetch(&job))
    }

    fn cancel(&self, _: Job) -> BoxFuture<'static, CancelAnswer> {
        Box::pin(async { CancelAnswer::Refused("it has no such verb".into()) })
    }

    fn is_quiet(&self, _: AttemptKey) -> BoxFuture<'static, bool> {
        Box::pin(async { true })
    }

    fn forget(&self, _: AttemptKey) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn interrupt(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn on_run_ended(&self, _: RunEnded) {}

    fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    fn accepts(&self, _: &Task) -> Result<(), String> {
        Ok(())
    }
}
