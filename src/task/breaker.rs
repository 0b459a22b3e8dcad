//! One breaker a generator: it stops new submits while the generator is not there, so that nobody's outage
//! spends the backlog's attempts. Polls, fetches and cancels never ask it.
//!
//! Opens on one unavailable submit, on [`K_IN_A_ROW`] unavailable answers of other verbs over different tasks, on 5 submits
//! of different tasks in a row whose outcome nobody knows, on 5 answers in a row that do not fit the contract, on 5 failing
//! jobs of different tasks in a row, on one run that had begun and found nobody. While it is open the next task is the probe, with back-off. It closes when a probe is
//! accepted; if bad answers opened it, when a poll can be read; if failing jobs opened it, when a job completes.
//!
//! The surprise: each row is ended by its own kind of answer alone. A `list` that works says nothing about a `create` that
//! hangs, and neither says anything about the jobs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::TaskId;
use super::outcome::K_IN_A_ROW;
use super::retry::Backoff;
use super::state::named;
use super::time::Timestamp;

/// How many answers that do not fit the contract, or failing jobs or unanswered submits of different tasks, open the breaker.
pub const FIVE_IN_A_ROW: usize = 5;
/// How long a job that hangs may hold up others: a probe, or the ones that are risked after a failure.
pub const SUSPICION: Duration = Duration::from_secs(30 * 60);

const JOBS_HAVE_FAILED: &str = "the jobs of five tasks have failed since one last completed";

const PROBE: Backoff =
    Backoff { initial: Duration::from_secs(5), factor: 2.0, max: Duration::from_secs(600), jitter: 0.2 };

named! {
    /// What opened a breaker.
    Trip {
        /// Nobody was there.
        Unavailable = "unavailable",
        /// Nobody knows what becomes of its submits.
        Unanswered = "unanswered",
        /// Its answers do not fit the contract.
        ContractDrift = "contract_drift",
        /// Its jobs fail one after the other.
        FailingJobs = "failing_jobs",
    }
}

/// What happened at a generator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Signal {
    /// A submit found nobody.
    SubmitUnavailable(String),
    /// Nobody knows what a submit came to.
    SubmitUnanswered(String),
    /// A submit was answered, and no job was made.
    SubmitAnswered,
    /// A submit was answered: no job was made, and it is to be tried again.
    SubmitPutOff(String),
    /// Another verb found nobody.
    VerbUnavailable(String),
    /// An answer does not fit the contract.
    BadAnswer(String),
    /// An answer of another verb than poll or submit fits.
    GoodAnswer,
    /// A poll's answer fits.
    PollRead,
    /// It took a job.
    Accepted,
    /// A job ended without a piece, or outlived its time limit, and neither we nor a person wanted that.
    JobFailed(String),
    /// A run had begun, and says that nobody was there to do it.
    JobUnavailable(String),
    /// A job brought its piece.
    JobCompleted,
}

/// A change to tell people about, once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// It opened.
    Opened(Trip, String),
    /// It closed.
    Closed,
}

/// May a submit start?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Yes.
    Open,
    /// One, as the probe.
    Probe,
    /// Not before this time.
    NotBefore(Timestamp),
    /// A probe is under way.
    ProbeUnderWay,
}

/// The breaker of one generator. What is serialised of it goes into the database with each of its changes while it is open.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Breaker {
    trip: Option<(Trip, String)>,
    opened_at: Option<Timestamp>,
    next_probe_at: Option<Timestamp>,
    failed_probes: u32,
    probe: Option<TaskId>,
    #[serde(default)]
    probe_began_at: Option<Timestamp>,
    #[serde(skip)]
    unavailable: Vec<TaskId>,
    #[serde(skip)]
    unanswered: Vec<TaskId>,
    #[serde(skip)]
    bad_answers: usize,
    failing: Vec<TaskId>,
    /// Whose probes ended by what may be their own fault.
    #[serde(default)]
    excused: Vec<TaskId>,
}

impl Breaker {
    /// Why it is open, and since when.
    pub fn is_open(&self) -> Option<(Trip, &str, Timestamp)> {
        let (trip, why) = self.trip.as_ref()?;
        Some((*trip, why, self.opened_at?))
    }

    /// The tasks whose jobs failed in a row.
    pub fn failing(&self) -> &[TaskId] {
        &self.failing
    }

    /// When the next probe may start.
    pub fn next_probe_at(&self) -> Option<Timestamp> {
        self.next_probe_at
    }

    /// Whether a submit may start now.
    pub fn admits(&self, now: Timestamp) -> Admission {
        if self.trip.is_none() {
            return Admission::Open;
        }
        if self.probe.is_some() && self.probe_began_at.is_some_and(|began| now < began.plus(SUSPICION)) {
            return Admission::ProbeUnderWay;
        }
        match self.next_probe_at {
            Some(at) if at > now => Admission::NotBefore(at),
            Some(_) | None => Admission::Probe,
        }
    }

    /// As it was stored, seen at `now`. The wall clock may have been set since, by a year too: no probe lies further ahead than
    /// the longest back-off, and nothing has begun later than now.
    #[must_use]
    pub fn seen_at(self, now: Timestamp) -> Self {
        let longest = PROBE.delay(u32::MAX, 1.0);
        Self {
            opened_at: self.opened_at.map(|at| at.min(now)),
            next_probe_at: self.next_probe_at.map(|at| at.min(now.plus(longest))),
            probe_began_at: self.probe_began_at.map(|at| at.min(now)),
            ..self
        }
    }

    /// A person says that the generator was mended: the next probe may start now. One that is under way is still the only one,
    /// because what it risks is paid for.
    pub fn probe_from(&mut self, now: Timestamp) {
        if self.trip.is_some() {
            self.next_probe_at = Some(now);
        }
    }

    /// A submit starts while the breaker is open.
    pub fn probe_started(&mut self, task: &TaskId, now: Timestamp) {
        if self.probe.is_some() {
            // It hangs, and has told nothing so far: that is no reason to probe sooner.
            self.failed_probes = self.failed_probes.saturating_add(1);
        }
        self.probe = Some(task.clone());
        self.probe_began_at = Some(now);
    }

    /// The task whose job, or submit, is the probe.
    pub fn probe(&self) -> Option<&TaskId> {
        self.probe.as_ref()
    }

    /// Takes in what happened. `draw` makes the jitter of the next probe's time.
    pub fn observe(&mut self, task: &TaskId, signal: &Signal, now: Timestamp, draw: f64) -> Option<Notice> {
        match signal {
            Signal::SubmitUnavailable(why) => {
                self.unanswered.clear();
                self.trip_or_probe_failed(task, Trip::Unavailable, why, now, draw)
            }
            Signal::SubmitUnanswered(why) => {
                let is_enough = has_joined(&mut self.unanswered, task, FIVE_IN_A_ROW);
                is_enough.then(|| self.trip_once(Trip::Unanswered, why, now, draw)).flatten()
            }
            Signal::VerbUnavailable(why) => {
                let is_enough = has_joined(&mut self.unavailable, task, K_IN_A_ROW as usize);
                is_enough.then(|| self.trip_once(Trip::Unavailable, why, now, draw)).flatten()
            }
            Signal::BadAnswer(why) => {
                self.bad_answers = self.bad_answers.saturating_add(1);
                let is_enough = self.bad_answers >= FIVE_IN_A_ROW;
                is_enough.then(|| self.trip_once(Trip::ContractDrift, why, now, draw)).flatten()
            }
            Signal::JobFailed(why) => self.job_failed(task, why, now, draw),
            // The next run's start proves nothing, because this one had started too: only a piece does.
            Signal::JobUnavailable(why) => self.trip_or_probe_failed(task, Trip::FailingJobs, why, now, draw),
            Signal::SubmitPutOff(why) => {
                self.unanswered.clear();
                self.job_failed(task, why, now, draw)
            }
            Signal::GoodAnswer => {
                self.unavailable.clear();
                None
            }
            Signal::SubmitAnswered => {
                self.unavailable.clear();
                self.unanswered.clear();
                None
            }
            Signal::PollRead => {
                self.unavailable.clear();
                self.bad_answers = 0;
                self.close_if(|trip| trip == Trip::ContractDrift, now, draw)
            }
            Signal::Accepted => {
                self.unavailable.clear();
                self.unanswered.clear();
                self.close_if(|trip| matches!(trip, Trip::Unavailable | Trip::Unanswered), now, draw)
            }
            Signal::JobCompleted => {
                self.failing.clear();
                self.unavailable.clear();
                self.bad_answers = 0;
                self.close_if(|trip| matches!(trip, Trip::ContractDrift | Trip::FailingJobs), now, draw)
            }
        }
    }

    fn job_failed(&mut self, task: &TaskId, why: &str, now: Timestamp, draw: f64) -> Option<Notice> {
        let is_enough = has_joined(&mut self.failing, task, FIVE_IN_A_ROW);
        if self.probe.as_ref() == Some(task) {
            return self.trip_or_probe_failed(task, Trip::FailingJobs, why, now, draw);
        }
        is_enough.then(|| self.trip_once(Trip::FailingJobs, why, now, draw)).flatten()
    }

    /// Takes over the row of failing jobs from whoever kept it while this breaker was not there to be told.
    pub fn remember_failing(&mut self, tasks: Vec<TaskId>, now: Timestamp, draw: f64) -> Option<Notice> {
        let is_enough = tasks.iter().fold(false, |_, task| has_joined(&mut self.failing, task, FIVE_IN_A_ROW));
        is_enough.then(|| self.trip_once(Trip::FailingJobs, JOBS_HAVE_FAILED, now, draw)).flatten()
    }

    /// The probe's task is over, or back in line, and nobody said what that means for the generator (it was cancelled, or
    /// its doubt was cleared without a job): the next task may probe, later.
    pub fn probe_gone(&mut self, task: &TaskId, now: Timestamp) {
        if self.probe.as_ref() == Some(task) {
            self.probe_failed(now, 0.5);
        }
    }

    /// For a publisher, before [`Self::observe`] hears of it: a probe that was refused, or of which nobody knows what it came to,
    /// may have done so by its piece alone. Where that is not what opened the breaker, the next probe may follow at once. Five
    /// different ones are no chance any more, and from then on each further one costs the back-off, or an outage that shows itself
    /// so would use up everything that waits. One and the same says as little the second time.
    pub fn excuse_probe(&mut self, task: &TaskId, signal: &Signal, now: Timestamp) {
        let Some((trip, _)) = self.trip.as_ref().filter(|_| self.probe.as_ref() == Some(task)) else { return };
        let may_be_its_own = match signal {
            Signal::SubmitUnanswered(_) => *trip != Trip::Unanswered || self.unanswered.contains(task),
            Signal::JobFailed(_) => *trip != Trip::FailingJobs,
            _ => false,
        };
        let is_known = self.excused.contains(task);
        if !may_be_its_own || !is_known && self.excused.len() >= FIVE_IN_A_ROW {
            return;
        }
        if !is_known {
            self.excused.push(task.clone());
        }
        (self.probe, self.probe_began_at) = (None, None);
        self.next_probe_at = Some(now);
    }

    fn probe_failed(&mut self, now: Timestamp, draw: f64) {
        (self.probe, self.probe_began_at) = (None, None);
        self.failed_probes = self.failed_probes.saturating_add(1);
        self.next_probe_at = Some(now.plus(PROBE.delay(self.failed_probes, draw)));
    }

    /// What ended one outage says nothing about the jobs that were taken before: where these fail, it stays open for them.
    fn close_if(&mut self, is_over: impl Fn(Trip) -> bool, now: Timestamp, draw: f64) -> Option<Notice> {
        if !self.trip.as_ref().is_some_and(|(trip, _)| is_over(*trip)) {
            return None;
        }
        let probe = (self.probe.take(), self.probe_began_at.take());
        let failing = std::mem::take(&mut self.failing);
        let is_failing = failing.len() >= FIVE_IN_A_ROW;
        *self = Self { failing, ..Self::default() };
        if !is_failing {
            return Some(Notice::Closed);
        }
        (self.probe, self.probe_began_at) = probe;
        self.trip_once(Trip::FailingJobs, JOBS_HAVE_FAILED, now, draw)
    }

    fn trip_once(&mut self, trip: Trip, why: &str, now: Timestamp, draw: f64) -> Option<Notice> {
        if self.trip.is_some() {
            return None;
        }
        self.trip = Some((trip, why.to_owned()));
        self.opened_at = Some(now);
        self.failed_probes = 0;
        self.next_probe_at = Some(now.plus(PROBE.delay(0, draw)));
        Some(Notice::Opened(trip, why.to_owned()))
    }

    fn trip_or_probe_failed(
        &mut self,
        task: &TaskId,
        trip: Trip,
        why: &str,
        now: Timestamp,
        draw: f64,
    ) -> Option<Notice> {
        if self.trip.is_none() {
            return self.trip_once(trip, why, now, draw);
        }
        if self.probe.as_ref() == Some(task) {
            self.probe_failed(now, draw);
        }
        None
    }
}

/// Whether a row of different tasks has so many of them, now that `task` is one. More need not be known.
fn has_joined(row: &mut Vec<TaskId>, task: &TaskId, enough: usize) -> bool {
    if row.len() < enough && !row.contains(task) {
        row.push(task.clone());
    }
    row.len() >= enough
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(n: usize) -> TaskId {
        TaskId(format!("task-{n:012}"))
    }

    const NOW: Timestamp = Timestamp(1_000_000);

    #[test]
    fn one_unavailable_submit_opens_and_one_accepted_probe_closes() {
        let mut breaker = Breaker::default();
        let notice = breaker.observe(&task(1), &Signal::SubmitUnavailable("no redis".into()), NOW, 0.5);
        assert_eq!(notice, Some(Notice::Opened(Trip::Unavailable, "no redis".into())));
        assert_eq!(breaker.admits(NOW), Admission::NotBefore(NOW.plus(Duration::from_secs(5))));
        let later = NOW.plus(Duration::from_secs(5));
        assert_eq!(breaker.admits(later), Admission::Probe);
        breaker.probe_started(&task(2), later);
        assert_eq!(breaker.admits(later), Admission::ProbeUnderWay);
        assert_eq!(breaker.observe(&task(2), &Signal::SubmitUnavailable("no".into()), later, 0.5), None);
        assert_eq!(breaker.admits(later), Admission::NotBefore(later.plus(Duration::from_secs(10))));
        breaker.probe_started(&task(3), later);
        assert_eq!(breaker.observe(&task(3), &Signal::Accepted, later, 0.5), Some(Notice::Closed));
        assert_eq!(breaker.admits(later), Admission::Open);
    }

    #[test]
    fn a_clock_that_was_set_back_holds_no_probe_up() {
        let ahead = NOW.plus(Duration::from_secs(365 * 86_400));
        let mut breaker = Breaker::default();
        for n in 0..20 {
            breaker.observe(&task(n), &Signal::SubmitUnavailable("no network".into()), ahead, 1.0);
            breaker.probe_started(&task(n + 1), ahead);
            breaker.observe(&task(n + 1), &Signal::SubmitUnavailable("no network".into()), ahead, 1.0);
        }
        let longest = Duration::from_secs(720);
        assert_eq!(breaker.next_probe_at(), Some(ahead.plus(longest)));
        assert_eq!(breaker.clone().seen_at(ahead), breaker, "nothing changes where no clock was set");
        let seen = breaker.clone().seen_at(NOW);
        assert_eq!(seen.admits(NOW), Admission::NotBefore(NOW.plus(longest)));
        assert_eq!(seen.is_open().map(|(trip, _, since)| (trip, since)), Some((Trip::Unavailable, NOW)));
        breaker.probe_started(&task(30), ahead);
        let seen = breaker.seen_at(NOW);
        assert_eq!(seen.admits(NOW), Admission::ProbeUnderWay);
        assert_eq!(seen.admits(NOW.plus(SUSPICION)), Admission::Probe);
    }

    #[test]
    fn five_failing_jobs_of_different_tasks_open_and_only_a_piece_closes() {
        let mut breaker = Breaker::default();
        for _ in 0..9 {
            assert_eq!(breaker.observe(&task(1), &Signal::JobFailed("401".into()), NOW, 0.5), None, "one task alone");
        }
        for n in 2..5 {
            assert_eq!(breaker.observe(&task(n), &Signal::JobFailed("401".into()), NOW, 0.5), None);
        }
        assert!(matches!(
            breaker.observe(&task(5), &Signal::JobFailed("401".into()), NOW, 0.5),
            Some(Notice::Opened(Trip::FailingJobs, _))
        ));
        breaker.probe_started(&task(6), NOW);
        assert_eq!(breaker.observe(&task(6), &Signal::Accepted, NOW, 0.5), None, "accepted proves nothing here");
        assert_eq!(breaker.observe(&task(6), &Signal::JobCompleted, NOW, 0.5), Some(Notice::Closed));
    }

    #[test]
    fn a_probe_that_ends_without_a_verdict_makes_way_for_the_next() {
        let mut breaker = Breaker::default();
        breaker.observe(&task(1), &Signal::SubmitUnavailable("no".into()), NOW, 0.5);
        let later = NOW.plus(Duration::from_secs(5));
        breaker.probe_started(&task(1), later);
        breaker.observe(&task(1), &Signal::SubmitUnanswered("no answer within 30 s".into()), later, 0.5);
        assert_eq!(breaker.admits(later), Admission::ProbeUnderWay, "its doubt is not cleared yet");
        breaker.probe_gone(&task(1), later);
        assert_eq!(breaker.admits(later), Admission::NotBefore(later.plus(Duration::from_secs(10))));
    }

    #[test]
    fn what_may_be_the_pieces_own_fault_costs_no_back_off_until_it_is_no_chance() {
        let rejected = || Signal::JobFailed("413".into());
        let unanswered = || Signal::SubmitUnanswered("exit status 9".into());
        let mut breaker = Breaker::default();
        breaker.observe(&task(0), &Signal::SubmitUnavailable("no".into()), NOW, 0.5);
        let later = NOW.plus(Duration::from_secs(5));
        let mut tried = |n: usize, signal: Signal| {
            breaker.probe_started(&task(n), later);
            breaker.excuse_probe(&task(n), &signal, later);
            assert_eq!(breaker.observe(&task(n), &signal, later, 0.5), None);
            breaker.probe_gone(&task(n), later);
            breaker.admits(later)
        };
        for n in [1, 1, 1, 2, 3, 4] {
            assert_eq!(tried(n, unanswered()), Admission::Probe, "piece {n}");
        }
        assert_eq!(tried(5, rejected()), Admission::Probe);
        assert_eq!(tried(1, unanswered()), Admission::Probe, "the sixth time of one that is known");
        let back_off = Admission::NotBefore(later.plus(Duration::from_secs(10)));
        assert_eq!(tried(6, rejected()), back_off, "six pieces in a row");
        let stored: Breaker = serde_json::from_str(&serde_json::to_string(&breaker).expect("it can")).expect("it can");
        assert_eq!(stored.excused.len(), FIVE_IN_A_ROW);
        breaker.probe_started(&task(7), later);
        assert_eq!(breaker.observe(&task(7), &Signal::Accepted, later, 0.5), Some(Notice::Closed));
        assert!(breaker.excused.is_empty(), "the next outage is another one");

        // What opened it is never excused: five refusals would go on through everything that waits.
        for (opener, trip) in [(rejected(), Trip::FailingJobs), (unanswered(), Trip::Unanswered)] {
            let mut breaker = Breaker::default();
            let opened = (0..5).filter_map(|n| breaker.observe(&task(n), &opener, NOW, 0.5)).count();
            assert_eq!((opened, breaker.is_open().map(|open| open.0)), (1, Some(trip)));
            breaker.probe_started(&task(9), later);
            breaker.excuse_probe(&task(9), &opener, later);
            breaker.observe(&task(9), &opener, later, 0.5);
            breaker.probe_gone(&task(9), later);
            assert!(matches!(breaker.admits(later), Admission::NotBefore(_)), "{trip}");
        }
    }

    #[test]
    fn other_verbs_need_three_different_tasks_and_good_answers_reset_the_count() {
        let mut breaker = Breaker::default();
        let down = Signal::VerbUnavailable("exit 1".into());
        assert_eq!(breaker.observe(&task(1), &down, NOW, 0.5), None);
        assert_eq!(breaker.observe(&task(2), &down, NOW, 0.5), None);
        assert_eq!(breaker.observe(&task(9), &Signal::GoodAnswer, NOW, 0.5), None);
        assert_eq!(breaker.observe(&task(3), &down, NOW, 0.5), None);
        assert_eq!(breaker.observe(&task(3), &down, NOW, 0.5), None);
        assert_eq!(breaker.observe(&task(4), &down, NOW, 0.5), None);
        assert!(breaker.observe(&task(5), &down, NOW, 0.5).is_some());
    }

    fn failed(breaker: &mut Breaker, tasks: std::ops::Range<usize>, now: Timestamp) -> Option<Notice> {
        tasks.map(|n| breaker.observe(&task(n), &Signal::JobFailed("401".into()), now, 0.5)).fold(None, Option::or)
    }

    #[test]
    fn what_other_verbs_answer_says_nothing_about_submits_that_hang() {
        let mut breaker = Breaker::default();
        let hung = Signal::SubmitUnanswered("no answer within 30 s".into());
        for n in 0..4 {
            assert_eq!(breaker.observe(&task(n), &hung, NOW, 0.5), None);
            assert_eq!(breaker.observe(&task(n), &hung, NOW, 0.5), None, "one task counts once");
            assert_eq!(breaker.observe(&task(n), &Signal::GoodAnswer, NOW, 0.5), None, "a search found nothing");
            assert_eq!(breaker.observe(&task(9), &Signal::PollRead, NOW, 0.5), None);
        }
        let mut answered = breaker.clone();
        answered.observe(&task(9), &Signal::SubmitAnswered, NOW, 0.5);
        assert_eq!(answered.observe(&task(4), &hung, NOW, 0.5), None, "an answered submit ends the row");
        assert!(matches!(breaker.observe(&task(4), &hung, NOW, 0.5), Some(Notice::Opened(Trip::Unanswered, _))));
        breaker.probe_started(&task(5), NOW);
        assert_eq!(breaker.observe(&task(9), &Signal::PollRead, NOW, 0.5), None);
        assert_eq!(breaker.observe(&task(9), &Signal::JobCompleted, NOW, 0.5), None);
        assert_eq!(breaker.observe(&task(5), &Signal::Accepted, NOW, 0.5), Some(Notice::Closed));
    }

    #[test]
    fn answers_that_cannot_be_read_close_with_a_poll_that_can_and_not_with_a_submit() {
        let mut breaker = Breaker::default();
        let bad = Signal::BadAnswer("state \"wobbling\"".into());
        for _ in 0..4 {
            assert_eq!(breaker.observe(&task(1), &bad, NOW, 0.5), None);
            assert_eq!(breaker.observe(&task(2), &Signal::GoodAnswer, NOW, 0.5), None, "a search is no poll");
        }
        assert!(matches!(breaker.observe(&task(1), &bad, NOW, 0.5), Some(Notice::Opened(Trip::ContractDrift, _))));
        breaker.probe_started(&task(2), NOW);
        assert_eq!(breaker.observe(&task(2), &Signal::Accepted, NOW, 0.5), None);
        assert_eq!(breaker.admits(NOW), Admission::ProbeUnderWay);
        assert_eq!(breaker.observe(&task(2), &Signal::PollRead, NOW, 0.5), Some(Notice::Closed));
    }

    #[test]
    fn an_accepted_submit_does_not_close_it_over_jobs_that_fail() {
        let mut breaker = Breaker::default();
        breaker.observe(&task(0), &Signal::SubmitUnavailable("no".into()), NOW, 0.5);
        assert_eq!(failed(&mut breaker, 1..6, NOW), None, "it is open already");
        breaker.probe_started(&task(6), NOW);
        let notice = breaker.observe(&task(6), &Signal::Accepted, NOW, 0.5);
        assert!(matches!(notice, Some(Notice::Opened(Trip::FailingJobs, _))), "{notice:?}");
        assert_eq!(breaker.admits(NOW), Admission::ProbeUnderWay, "the job that was taken is the probe");
        assert_eq!(breaker.observe(&task(6), &Signal::JobCompleted, NOW, 0.5), Some(Notice::Closed));
    }

    #[test]
    fn a_probe_that_hangs_holds_up_the_next_for_half_an_hour() {
        let mut breaker = Breaker::default();
        failed(&mut breaker, 1..6, NOW);
        breaker.probe_started(&task(6), NOW);
        assert_eq!(breaker.admits(NOW.plus(SUSPICION / 2)), Admission::ProbeUnderWay);
        let later = NOW.plus(SUSPICION);
        assert_eq!(breaker.admits(later), Admission::Probe);
        breaker.probe_started(&task(7), later);
        assert_eq!(breaker.admits(later), Admission::ProbeUnderWay);
        failed(&mut breaker, 7..8, later);
        assert!(matches!(breaker.admits(later), Admission::NotBefore(_)), "the younger one's end is its own");
    }

    #[test]
    fn a_probe_and_its_back_off_are_what_is_stored() {
        let mut breaker = Breaker::default();
        failed(&mut breaker, 1..6, NOW);
        for n in 6..9 {
            breaker.probe_started(&task(n), NOW);
            failed(&mut breaker, n..n + 1, NOW);
        }
        let stored: Breaker = serde_json::from_str(&serde_json::to_string(&breaker).expect("it can")).expect("it can");
        assert_eq!(stored.admits(NOW), breaker.admits(NOW));
        assert_eq!(stored.admits(NOW), Admission::NotBefore(NOW.plus(Duration::from_secs(40))));
        breaker.probe_started(&task(9), NOW);
        let stored: Breaker = serde_json::from_str(&serde_json::to_string(&breaker).expect("it can")).expect("it can");
        assert_eq!((stored.probe(), stored.admits(NOW)), (Some(&task(9)), Admission::ProbeUnderWay));
    }
}
