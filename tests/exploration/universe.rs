//! The world outside: generators that go on while the daemon is dead, misbehave by a seed, and remember every paid job.
//!
//! A job that is made while another of the same task is alive, or has brought a piece, is what must never happen; the
//! universe itself notices it, whatever the daemon believes. Only a job that a person has given up does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use contentd::generator::Job;
use contentd::task::outcome::Piece;
use contentd::task::{AttemptKey, Clock, TaskId};

use super::manners::Manners;
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

    pub fn is_blocking(self) -> bool {
        matches!(self, Self::Detached | Self::Child)
    }
}

/// How a job ends that nobody ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Completes,
    Fails,
    Hangs,
    /// It says that it is completed, and there is nothing to read.
    BringsNothing,
    /// Cancelled at the generator, or stopped with its unit.
    IsStopped,
    /// A run's lock is free and there is no exit status; another job is not known any more.
    Vanishes,
}

#[derive(Clone, Debug)]
pub struct ExternalJob {
    pub id: String,
    pub key: AttemptKey,
    pub task: TaskId,
    pub visible_at: i64,
    pub done_at: i64,
    pub fate: Fate,
    pub is_cancelled: bool,
    pub is_forgotten: bool,
    pub is_given_up: bool,
    /// Its process was ended with its daemon or its machine.
    pub is_cut_off: bool,
}

impl ExternalJob {
    /// Whether it works now, or will when it appears.
    pub fn is_alive(&self, now: i64) -> bool {
        let is_over = self.is_cancelled || self.is_forgotten || self.is_cut_off;
        !is_over && (now < self.done_at || self.fate == Fate::Hangs)
    }

    pub fn has_piece(&self) -> bool {
        !self.is_cancelled && !self.is_forgotten && !self.is_cut_off && self.fate == Fate::Completes
    }

    pub fn piece(&self) -> Box<Piece> {
        Box::new(Piece { content: format!("# A piece\n\nfor {} by {}", self.task, self.mark()), ..Piece::default() })
    }

    /// What only this job's piece says.
    pub fn mark(&self) -> String {
        format!("the job born at {} under {}", self.visible_at, self.key.0)
    }
}

#[derive(Default)]
struct State {
    jobs: Vec<ExternalJob>,
    locks: BTreeMap<AttemptKey, i64>,
    calls: BTreeMap<AttemptKey, u32>,
    blinked: BTreeSet<AttemptKey>,
    looked_at: Vec<AttemptKey>,
    violations: Vec<String>,
}

/// Everything outside; survives every crash.
#[derive(Clone)]
pub struct Universe {
    state: Arc<Mutex<State>>,
    clock: SimClock,
    dice: Arc<SimEntropy>,
    pub manners: Manners,
}

/// Outages come again and again, and pass.
const OUTAGE_EVERY_MS: i64 = 400_000;
const OUTAGE_MS: i64 = 150_000;
const OUTAGES_UNTIL_MS: i64 = 3_000_000;

impl Universe {
    pub fn new(clock: SimClock, seed: u64) -> Self {
        let dice = Arc::new(SimEntropy::new(seed));
        Self { state: Arc::default(), clock, dice, manners: Manners::of(seed) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Second payments that were seen since this was asked last.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.state().violations)
    }

    /// Every job of a task.
    pub fn jobs_of(&self, task: &TaskId) -> Vec<ExternalJob> {
        self.state().jobs.iter().filter(|job| job.task == *task).cloned().collect()
    }

    /// Whether a job under this key works, or will, and no person has given it up.
    pub fn is_alive(&self, key: &AttemptKey) -> bool {
        let now = self.now();
        self.state().jobs.iter().any(|job| job.key == *key && job.is_alive(now) && !job.is_given_up)
    }

    /// A person gives up every job of a task: what it still does is nobody's fault.
    pub fn give_up(&self, task: &TaskId) {
        for job in self.state().jobs.iter_mut().filter(|job| job.task == *task) {
            job.is_given_up = true;
        }
    }

    /// A person names one job of a task, and gives up what else there is of it.
    pub fn choose(&self, chosen: &ExternalJob) {
        for job in self.state().jobs.iter_mut().filter(|job| job.task == chosen.task) {
            job.is_given_up = job.mark() != chosen.mark();
        }
    }

    /// Every job that has, or will have, a piece that somebody waits for.
    pub fn paid_jobs(&self) -> Vec<ExternalJob> {
        self.state().jobs.iter().filter(|job| job.has_piece() && !job.is_given_up).cloned().collect()
    }

    /// The keys of runs that a life has looked at.
    pub fn take_looked_at(&self) -> Vec<AttemptKey> {
        std::mem::take(&mut self.state().looked_at)
    }

    pub fn look_at(&self, key: &AttemptKey) -> Option<ExternalJob> {
        let mut state = self.state();
        state.looked_at.push(key.clone());
        state.jobs.iter().find(|job| job.key == *key).cloned()
    }

    pub fn now(&self) -> i64 {
        self.clock.now().utc.0
    }

    pub fn life_began_at(&self) -> i64 {
        self.clock.life_began_at()
    }

    /// True in `percent` of the cases, by the seed.
    pub fn chance(&self, percent: u32) -> bool {
        self.dice.chance(percent)
    }

    pub fn between(&self, low_ms: u32, high_ms: u32) -> i64 {
        i64::from(low_ms + self.dice.below(high_ms - low_ms))
    }

    /// Whether nobody answers now.
    pub fn is_away(&self) -> bool {
        let since = self.now() - self.clock.first_began_at();
        self.manners.has_outages && since < OUTAGES_UNTIL_MS && since % OUTAGE_EVERY_MS < OUTAGE_MS
    }

    fn draw_fate(&self) -> Fate {
        let manners = &self.manners;
        match () {
            () if self.chance(manners.job_fails) => Fate::Fails,
            () if self.chance(manners.job_hangs) => Fate::Hangs,
            () if self.chance(manners.job_brings_nothing) => Fate::BringsNothing,
            () if self.chance(manners.job_is_stopped) => Fate::IsStopped,
            () if self.chance(manners.job_vanishes) => Fate::Vanishes,
            () => Fate::Completes,
        }
    }

    /// Makes a job, or shows the one that this key has made.
    pub fn make_job(&self, kind: Kind, job: &Job, delay_ms: i64) -> String {
        let fate = self.draw_fate();
        let lasts = if self.chance(self.manners.job_is_slow) {
            self.between(100_000, 900_000)
        } else {
            self.between(2_000, 90_000)
        };
        let mut state = self.state();
        let now = self.now();
        let known = state.jobs.iter_mut().find(|known| known.key == job.attempt.key && !known.is_forgotten);
        if let Some(known) = known.filter(|_| kind == Kind::Idempotent) {
            // A job whose reference it tells, it shows.
            known.visible_at = known.visible_at.min(now);
            return known.id.clone();
        }
        let visible_at = self.now() + delay_ms;
        let made = ExternalJob {
            id: match kind {
                Kind::Idempotent | Kind::Detached | Kind::Child => job.attempt.key.0.clone(),
                Kind::Findable | Kind::Blind => format!("job-{}", state.jobs.len() + 1),
            },
            key: job.attempt.key.clone(),
            task: job.task.id.clone(),
            visible_at,
            done_at: visible_at + lasts,
            fate,
            is_cancelled: false,
            is_forgotten: false,
            is_given_up: false,
            is_cut_off: false,
        };
        state.pay(kind, &made);
        let id = made.id.clone();
        state.jobs.push(made);
        id
    }

    /// A job as the generator shows it.
    pub fn job(&self, id: Option<&String>) -> Option<ExternalJob> {
        let now = self.now();
        self.state().jobs.iter().find(|job| Some(&job.id) == id && job.visible_at <= now && !job.is_forgotten).cloned()
    }

    /// The jobs that carry a key and can be seen.
    pub fn jobs_under(&self, key: &AttemptKey) -> Vec<ExternalJob> {
        let now = self.now();
        let shown = |job: &&ExternalJob| job.key == *key && job.visible_at <= now && !job.is_forgotten;
        self.state().jobs.iter().filter(shown).cloned().collect()
    }

    pub fn cancel_job(&self, id: &str) {
        for job in self.state().jobs.iter_mut().filter(|job| job.id == id) {
            job.is_cancelled = true;
        }
    }

    /// Whatever runs on this machine ends: every run that goes on. One that has not said that it started never will.
    pub fn cut_off_runs(&self) {
        let now = self.now();
        let mut state = self.state();
        state.jobs.retain(|job| job.visible_at <= now);
        for job in state.jobs.iter_mut().filter(|job| job.is_alive(now)) {
            job.is_cut_off = true;
        }
    }

    /// Every process of a submit ends. What it has sent arrives all the same, as late after its end as it would have otherwise.
    pub fn cut_off_submits(&self) {
        let now = self.now();
        let mut state = self.state();
        let State { jobs, locks, .. } = &mut *state;
        for (key, until) in locks.iter_mut().filter(|(_, until)| **until > now) {
            for job in jobs.iter_mut().filter(|job| job.key == *key && job.visible_at > now) {
                let sooner = job.visible_at - (now + (job.visible_at - *until).max(0));
                (job.visible_at, job.done_at) = (job.visible_at - sooner, job.done_at - sooner);
            }
            *until = now;
        }
    }

    pub fn forget_job(&self, id: &str) {
        for job in self.state().jobs.iter_mut().filter(|job| job.id == id) {
            job.is_forgotten = true;
        }
    }

    /// A submit begins whose intent says that the key was sent `sends` times, this time included; none where there is no intent.
    pub fn begin_submit(&self, key: &AttemptKey, sends: Option<u32>) {
        let is_quiet = self.is_quiet(key);
        let mut state = self.state();
        let calls = state.calls.entry(key.clone()).or_default();
        *calls += 1;
        let calls = *calls;
        if sends.is_none_or(|sends| sends < calls) {
            state.violations.push(format!("{} was called {calls} times, and the intents on disk say {sends:?}", key.0));
        }
        if !is_quiet {
            state.violations.push(format!("{} was sent again while a process of its submit lives", key.0));
        }
    }

    /// A submit found nobody: no generator has seen its key, so that it need not count.
    pub fn end_submit_unseen(&self, key: &AttemptKey) {
        if let Some(calls) = self.state().calls.get_mut(key) {
            *calls -= 1;
        }
    }

    /// A search that saw every row, and yet missed one that was just being written: once, and not twice.
    pub fn blinks(&self, key: &AttemptKey) -> bool {
        self.chance(self.manners.find_blinks) && self.state().blinked.insert(key.clone())
    }

    /// A process of this key's submit lives for so long.
    pub fn hold_lock(&self, key: &AttemptKey, ms: i64) {
        let until = self.now() + ms;
        self.state().locks.insert(key.clone(), until);
    }

    pub fn is_quiet(&self, key: &AttemptKey) -> bool {
        let now = self.now();
        self.state().locks.get(key).is_none_or(|until| now >= *until)
    }
}

impl State {
    /// Says so where the new job is a second payment.
    fn pay(&mut self, kind: Kind, made: &ExternalJob) {
        for other in self.jobs.iter().filter(|other| other.task == made.task && !other.is_given_up) {
            // What is free to repeat may be repeated, but never runs twice at once.
            let is_alive = other.is_alive(made.visible_at);
            if !is_alive && (!other.has_piece() || kind == Kind::Child) {
                continue;
            }
            let what = if is_alive { "is alive" } else { "has a piece" };
            self.violations.push(format!("{kind:?}: {} was paid twice: job {} {what}", made.task, other.id));
        }
    }
}
