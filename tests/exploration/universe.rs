//! The world outside: generators that go on while the daemon is dead, misbehave by a seed, and remember every paid job.
//!
//! A job that is made while another of the same task is alive, or has brought a piece, is what must never happen; the
//! universe itself notices it, whatever the daemon believes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use contentd::generator::{Driver, Job, RunEnded, Sweep};
use contentd::task::outcome::{
    CancelAnswer, FetchAnswer, FindAnswer, JobState, Piece, PollAnswer, RunReport, SubmitAnswer,
};
use contentd::task::{AttemptKey, Clock, Task, TaskId};
use futures_util::future::BoxFuture;

use super::crash::Crash;
use super::world::{SimClock, SimEntropy};

/// A generator of each kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Honours our key.
    Idempotent,
    /// Mints its own ids; a list shows our mark.
    Findable,
    /// Mints its own ids, and there is no way to ask.
    Blind,
    /// A blocking command in its own session.
    Detached,
    /// A blocking command as a plain child, free to repeat.
    Child,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Idempotent, Self::Findable, Self::Blind, Self::Detached, Self::Child];
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Completes,
    Fails,
    Hangs,
}

#[derive(Clone, Debug)]
struct ExternalJob {
    id: String,
    key: AttemptKey,
    task: TaskId,
    visible_at: i64,
    done_at: i64,
    fate: Fate,
    is_cancelled: bool,
    is_forgotten: bool,
}

impl ExternalJob {
    fn is_alive(&self, now: i64) -> bool {
        !self.is_cancelled && !self.is_forgotten && (now < self.done_at || self.fate == Fate::Hangs)
    }

    fn has_piece(&self) -> bool {
        !self.is_cancelled && !self.is_forgotten && self.fate == Fate::Completes
    }
}

#[derive(Default)]
struct State {
    jobs: Vec<ExternalJob>,
    locks: BTreeMap<AttemptKey, i64>,
    looked_at: Vec<AttemptKey>,
    violations: Vec<String>,
    calls: u64,
}

/// Everything outside; survives every crash.
#[derive(Clone)]
pub struct Universe {
    state: Arc<Mutex<State>>,
    clock: SimClock,
    dice: Arc<SimEntropy>,
    misbehaves: bool,
}

impl Universe {
    pub fn new(clock: SimClock, seed: u64, misbehaves: bool) -> Self {
        let dice = Arc::new(SimEntropy::new(seed));
        Self { state: Arc::default(), clock, dice, misbehaves }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    pub fn is_any_piece(&self, task: &TaskId) -> bool {
        self.state().jobs.iter().any(|job| job.task == *task && job.has_piece())
    }

    /// The keys of runs that a life has looked at.
    pub fn take_looked_at(&self) -> Vec<AttemptKey> {
        std::mem::take(&mut self.state().looked_at)
    }

    fn now(&self) -> i64 {
        self.clock.now().utc.0
    }

    /// True in `percent` of the cases, by the seed.
    fn chance(&self, percent: u32) -> bool {
        self.misbehaves && self.dice.below(100) < percent
    }

    fn between(&self, low_ms: u32, high_ms: u32) -> i64 {
        i64::from(low_ms + self.dice.below(high_ms - low_ms))
    }

    /// Makes a job, or shows the one that this key has made.
    fn make_job(&self, kind: Kind, job: &Job, delay_ms: i64) -> String {
        let now = self.now();
        let fate = match () {
            () if self.chance(8) => Fate::Fails,
            () if self.chance(4) => Fate::Hangs,
            () => Fate::Completes,
        };
        let lasts = self.between(2_000, 90_000);
        let mut state = self.state();
        if kind == Kind::Idempotent
            && let Some(known) = state.jobs.iter().find(|known| known.key == job.attempt.key && !known.is_forgotten)
        {
            return known.id.clone();
        }
        let visible_at = now + delay_ms;
        for other in state.jobs.iter().filter(|other| other.task == job.task.id).cloned().collect::<Vec<_>>() {
            if other.is_alive(visible_at) || other.has_piece() && kind != Kind::Child {
                let what = if other.is_alive(visible_at) { "is alive" } else { "has a piece" };
                let message = format!("{:?}: {} was paid twice: job {} {what}", kind, job.task.id, other.id);
                state.violations.push(message);
            }
        }
        let id = match kind {
            Kind::Idempotent | Kind::Detached | Kind::Child => job.attempt.key.0.clone(),
            Kind::Findable | Kind::Blind => format!("job-{}", state.jobs.len() + 1),
        };
        state.jobs.push(ExternalJob {
            id: id.clone(),
            key: job.attempt.key.clone(),
            task: job.task.id.clone(),
            visible_at,
            done_at: visible_at + lasts,
            fate,
            is_cancelled: false,
            is_forgotten: false,
        });
        id
    }

    fn job(&self, id: Option<&String>) -> Option<ExternalJob> {
        let now = self.now();
        self.state().jobs.iter().find(|job| Some(&job.id) == id && job.visible_at <= now && !job.is_forgotten).cloned()
    }

    fn is_known(&self, key: &AttemptKey) -> bool {
        self.state().jobs.iter().any(|job| job.key == *key)
    }

    fn cancel_job(&self, id: &str) {
        for job in self.state().jobs.iter_mut().filter(|job| job.id == id) {
            job.is_cancelled = true;
        }
    }
}

/// One generator as the daemon sees it in one life.
#[derive(Clone)]
pub struct Scripted {
    pub kind: Kind,
    pub universe: Universe,
    pub crash: Arc<Crash>,
}

impl Scripted {
    /// A call: a crash point on both sides, some time, and the effect in between.
    async fn call<T>(self, work: impl FnOnce(&Self) -> T) -> T {
        self.crash.point("before a call").await;
        self.universe.state().calls += 1;
        let answer = work(&self);
        let takes = self.universe.between(20, 800);
        self.crash.point("after a call").await;
        tokio::time::sleep(Duration::from_millis(takes.unsigned_abs())).await;
        answer
    }

    fn submit_now(&self, job: &Job) -> SubmitAnswer {
        let universe = &self.universe;
        let silence = || SubmitAnswer::Ambiguous("no answer within 30 s".into());
        let hold_lock = |ms: i64| {
            let until = universe.now() + ms;
            universe.state().locks.insert(job.attempt.key.clone(), until);
        };
        if universe.chance(6) {
            return SubmitAnswer::Unavailable("nobody is there".into());
        }
        // A generator that honours keys does not turn away a key that it has taken.
        let is_known = self.kind == Kind::Idempotent && universe.is_known(&job.attempt.key);
        if !is_known && universe.chance(3) {
            return SubmitAnswer::Retry("not now".into());
        }
        if !is_known && universe.chance(2) {
            return SubmitAnswer::Rejected("never".into());
        }
        if universe.chance(8) {
            hold_lock(universe.between(10, 40_000));
            return silence();
        }
        // It answers nothing, its processes are gone, and the job appears later, though within the settling time.
        let delay = if universe.chance(8) { universe.between(100, 50_000) } else { 0 };
        let reference = universe.make_job(self.kind, job, delay);
        if delay > 0 || universe.chance(10) {
            hold_lock(universe.between(10, 5_000));
            return silence();
        }
        SubmitAnswer::Accepted { reference, vars: BTreeMap::new() }
    }

    fn poll_job(&self, job: &Job, by_name: bool) -> PollAnswer {
        let universe = &self.universe;
        if universe.chance(5) {
            return PollAnswer::Unavailable("exit 1".into());
        }
        if universe.chance(5) {
            return PollAnswer::Unreadable("half a page".into());
        }
        if universe.chance(2) {
            return PollAnswer::Missing { is_complete: false, by_name };
        }
        let Some(found) = universe.job(job.attempt.external_ref.as_ref()) else {
            return PollAnswer::Missing { is_complete: true, by_name };
        };
        let now = universe.now();
        if universe.chance(1) && found.is_alive(now) {
            // The generator loses it: it will never bring anything.
            for row in universe.state().jobs.iter_mut().filter(|row| row.id == found.id) {
                row.is_forgotten = true;
            }
        }
        let state = match found.fate {
            _ if found.is_cancelled => JobState::Cancelled,
            Fate::Completes if now >= found.done_at => JobState::Completed,
            Fate::Fails if now >= found.done_at => JobState::Failed,
            _ if now - found.visible_at < 1_000 => JobState::Submitted,
            _ => JobState::Processing,
        };
        PollAnswer::State { state, theirs: state.to_string(), error: None, progress: None, vars: BTreeMap::new() }
    }

    fn look_now(&self, job: &Job) -> RunReport {
        let universe = &self.universe;
        universe.state().looked_at.push(job.attempt.key.clone());
        let now = universe.now();
        let found = universe.state().jobs.iter().find(|row| row.key == job.attempt.key).cloned();
        let Some(found) = found else { return RunReport::NeverStarted("no run of this key".into()) };
        if now < found.visible_at {
            return RunReport::Starting;
        }
        if found.is_cancelled {
            return RunReport::Killed;
        }
        if found.is_alive(now) {
            return RunReport::Running;
        }
        if self.kind == Kind::Child && !self.is_own_child(&found) {
            return RunReport::Interrupted("the daemon that it belonged to is gone".into());
        }
        match found.fate {
            Fate::Completes => RunReport::Piece(piece(&found.task)),
            Fate::Fails => RunReport::Failed("exit 1".into()),
            Fate::Hangs => RunReport::Running,
        }
    }

    /// A plain child belongs to the life that started it; a later life finds it by its lock only.
    fn is_own_child(&self, job: &ExternalJob) -> bool {
        job.visible_at >= self.universe.clock.life_began_at()
    }
}

fn piece(task: &TaskId) -> Box<Piece> {
    Box::new(Piece { content: format!("# A piece\n\nfor {task}"), ..Piece::default() })
}

impl Driver for Scripted {
    fn submit(&self, job: Job) -> BoxFuture<'static, SubmitAnswer> {
        Box::pin(self.clone().call(move |this| this.submit_now(&job)))
    }

    fn start_run(&self, job: Job) -> BoxFuture<'static, RunReport> {
        Box::pin(self.clone().call(move |this| {
            if this.universe.chance(5) {
                return RunReport::NeverStarted("the runner did not start".into());
            }
            let delay = if this.universe.chance(10) { 1_500 } else { 0 };
            let reference = this.universe.make_job(this.kind, &job, delay);
            if delay > 0 { RunReport::Starting } else { RunReport::Started { reference } }
        }))
    }

    fn look_at_run(&self, job: Job) -> BoxFuture<'static, RunReport> {
        Box::pin(self.clone().call(move |this| this.look_now(&job)))
    }

    fn poll(&self, jobs: Vec<Job>) -> BoxFuture<'static, Sweep<PollAnswer>> {
        Box::pin(self.clone().call(move |this| {
            let answers = jobs.iter().map(|job| (job.task.id.clone(), this.poll_job(job, false))).collect();
            Sweep { answers, calls: 1 }
        }))
    }

    fn poll_one(&self, job: Job) -> BoxFuture<'static, PollAnswer> {
        Box::pin(self.clone().call(move |this| this.poll_job(&job, true)))
    }

    fn find(&self, jobs: Vec<Job>) -> BoxFuture<'static, Sweep<FindAnswer>> {
        Box::pin(self.clone().call(move |this| {
            let universe = &this.universe;
            let now = universe.now();
            let fault = match () {
                () if universe.chance(8) => Some(FindAnswer::Unavailable("exit 1".into())),
                () if universe.chance(5) => Some(FindAnswer::Unreadable("half a page".into())),
                () if universe.chance(5) => Some(FindAnswer::None { is_complete: false }),
                () => None,
            };
            let find = |job: &Job| {
                if let Some(fault) = &fault {
                    return fault.clone();
                }
                let state = universe.state();
                let found = state.jobs.iter().find(|row| row.key == job.attempt.key && row.visible_at <= now);
                match found {
                    Some(row) => FindAnswer::One { reference: row.id.clone() },
                    None => FindAnswer::None { is_complete: true },
                }
            };
            Sweep { answers: jobs.iter().map(|job| (job.task.id.clone(), find(job))).collect(), calls: 1 }
        }))
    }

    fn fetch(&self, job: Job) -> BoxFuture<'static, FetchAnswer> {
        Box::pin(self.clone().call(move |this| {
            let universe = &this.universe;
            if universe.chance(5) {
                return FetchAnswer::Unavailable("exit 1".into());
            }
            if universe.chance(5) {
                return FetchAnswer::Unreadable { why: "no article".into(), raw: "prose".into() };
            }
            if universe.chance(5) {
                return FetchAnswer::NotReady;
            }
            match universe.job(job.attempt.external_ref.as_ref()) {
                Some(found) if found.has_piece() => FetchAnswer::Piece(piece(&found.task)),
                Some(_) => FetchAnswer::NotReady,
                None => FetchAnswer::Missing { raw: String::new() },
            }
        }))
    }

    fn cancel(&self, job: Job) -> BoxFuture<'static, CancelAnswer> {
        Box::pin(self.clone().call(move |this| {
            let universe = &this.universe;
            if universe.chance(10) {
                return CancelAnswer::Refused("it does not".into());
            }
            if universe.chance(20) {
                return CancelAnswer::Unclear("exit 1".into());
            }
            let now = universe.now();
            match universe.job(job.attempt.external_ref.as_ref()) {
                Some(found) if found.is_alive(now) => {
                    universe.cancel_job(&found.id);
                    CancelAnswer::Ok
                }
                Some(_) => CancelAnswer::Unclear("it has ended".into()),
                None => CancelAnswer::Unclear("unknown job".into()),
            }
        }))
    }

    fn is_quiet(&self, key: AttemptKey) -> BoxFuture<'static, bool> {
        let until = self.universe.state().locks.get(&key).copied().unwrap_or(i64::MIN);
        let is_quiet = self.universe.now() >= until;
        Box::pin(async move { is_quiet })
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
