//! One breaker a generator: it stops new submits while the generator is not there, so that nobody's outage
//! spends the backlog's attempts. Polls, fetches and cancels never ask it.
//!
//! Opens on one unavailable submit, on [`K_IN_A_ROW`] unavailable answers of other verbs over different tasks,
//! on 5 answers in a row that do not fit the contract, on 5 failing jobs of different tasks in a row. While it is
//! open the next task is the probe, with back-off. It closes when a probe is accepted or, if failing jobs opened
//! it, when a probe's job completes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::TaskId;
use super::outcome::K_IN_A_ROW;
use super::retry::Backoff;
use super::state::named;
use super::time::Timestamp;

/// How many answers that do not fit the contract, or failing jobs of different tasks, open the breaker.
pub const FIVE_IN_A_ROW: usize = 5;

const PROBE: Backoff =
    Backoff { initial: Duration::from_secs(5), factor: 2.0, max: Duration::from_secs(600), jitter: 0.2 };

named! {
    /// What opened a breaker.
    Trip {
        /// Nobody was there.
        Unavailable = "unavailable",
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
    /// Another verb found nobody.
    VerbUnavailable(String),
    /// An answer does not fit the contract.
    BadAnswer(String),
    /// An answer fits.
    GoodAnswer,
    /// It took a job.
    Accepted,
    /// A job failed.
    JobFailed(String),
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

/// The breaker of one generator. Serialised into the database whenever it opens or closes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Breaker {
    trip: Option<(Trip, String)>,
    opened_at: Option<Timestamp>,
    next_probe_at: Option<Timestamp>,
    failed_probes: u32,
    probe: Option<TaskId>,
    #[serde(skip)]
    unavailable: Vec<TaskId>,
    #[serde(skip)]
    bad_answers: usize,
    failing: Vec<TaskId>,
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
        if self.probe.is_some() {
            return Admission::ProbeUnderWay;
        }
        match self.next_probe_at {
            Some(at) if at > now => Admission::NotBefore(at),
            Some(_) | None => Admission::Probe,
        }
    }

    /// A submit starts while the breaker is open.
    pub fn probe_started(&mut self, task: &TaskId) {
        self.probe = Some(task.clone());
    }

    /// After a restart no call is in flight: a probe that was under way counts no longer.
    pub fn restarted(mut self) -> Self {
        self.probe = None;
        self
    }

    /// Takes in what happened. `draw` makes the jitter of the next probe's time.
    pub fn observe(&mut self, task: &TaskId, signal: &Signal, now: Timestamp, draw: f64) -> Option<Notice> {
        match signal {
            Signal::SubmitUnavailable(why) => self.trip_or_probe_failed(task, Trip::Unavailable, why, now, draw),
            Signal::VerbUnavailable(why) => {
                if !self.unavailable.contains(task) {
                    self.unavailable.push(task.clone());
                }
                let is_enough = self.unavailable.len() >= K_IN_A_ROW as usize;
                is_enough.then(|| self.trip_once(Trip::Unavailable, why, now, draw)).flatten()
            }
            Signal::BadAnswer(why) => {
                self.bad_answers += 1;
                let is_enough = self.bad_answers >= FIVE_IN_A_ROW;
                is_enough.then(|| self.trip_once(Trip::ContractDrift, why, now, draw)).flatten()
            }
            Signal::JobFailed(why) => {
                if !self.failing.contains(task) {
                    self.failing.push(task.clone());
                }
                if self.probe.as_ref() == Some(task) {
                    return self.trip_or_probe_failed(task, Trip::FailingJobs, why, now, draw);
                }
                let is_enough = self.failing.len() >= FIVE_IN_A_ROW;
                is_enough.then(|| self.trip_once(Trip::FailingJobs, why, now, draw)).flatten()
            }
            Signal::GoodAnswer => {
                self.unavailable.clear();
                self.bad_answers = 0;
                None
            }
            Signal::Accepted => {
                self.unavailable.clear();
                self.bad_answers = 0;
                match &self.trip {
                    Some((Trip::FailingJobs, _)) | None => None,
                    Some((Trip::Unavailable | Trip::ContractDrift, _)) => {
                        // That it takes a job says nothing about the jobs that it took before.
                        let failing = std::mem::take(&mut self.failing);
                        let notice = self.close();
                        self.failing = failing;
                        notice
                    }
                }
            }
            Signal::JobCompleted => {
                self.failing.clear();
                self.unavailable.clear();
                self.bad_answers = 0;
                match &self.trip {
                    Some((Trip::FailingJobs, _)) => self.close(),
                    Some((Trip::Unavailable | Trip::ContractDrift, _)) | None => None,
                }
            }
        }
    }

    /// The probe's task is over, or back in line, and nobody said what that means for the generator (it was cancelled, or
    /// its doubt was cleared without a job): the next task may probe, later.
    pub fn probe_gone(&mut self, task: &TaskId, now: Timestamp) {
        if self.probe.as_ref() == Some(task) {
            self.probe_failed(now, 0.5);
        }
    }

    fn probe_failed(&mut self, now: Timestamp, draw: f64) {
        self.probe = None;
        self.failed_probes = self.failed_probes.saturating_add(1);
        self.next_probe_at = Some(now.plus(PROBE.delay(self.failed_probes, draw)));
    }

    fn close(&mut self) -> Option<Notice> {
        *self = Self::default();
        Some(Notice::Closed)
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
        breaker.probe_started(&task(2));
        assert_eq!(breaker.admits(later), Admission::ProbeUnderWay);
        assert_eq!(breaker.observe(&task(2), &Signal::SubmitUnavailable("no".into()), later, 0.5), None);
        assert_eq!(breaker.admits(later), Admission::NotBefore(later.plus(Duration::from_secs(10))));
        breaker.probe_started(&task(3));
        assert_eq!(breaker.observe(&task(3), &Signal::Accepted, later, 0.5), Some(Notice::Closed));
        assert_eq!(breaker.admits(later), Admission::Open);
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
        breaker.probe_started(&task(6));
        assert_eq!(breaker.observe(&task(6), &Signal::Accepted, NOW, 0.5), None, "accepted proves nothing here");
        assert_eq!(breaker.observe(&task(6), &Signal::JobCompleted, NOW, 0.5), Some(Notice::Closed));
    }

    #[test]
    fn a_probe_that_ends_without_a_verdict_makes_way_for_the_next() {
        let mut breaker = Breaker::default();
        breaker.observe(&task(1), &Signal::SubmitUnavailable("no".into()), NOW, 0.5);
        let later = NOW.plus(Duration::from_secs(5));
        breaker.probe_started(&task(1));
        breaker.observe(&task(1), &Signal::BadAnswer("no answer within 30 s".into()), later, 0.5);
        assert_eq!(breaker.admits(later), Admission::ProbeUnderWay, "its doubt is not cleared yet");
        breaker.probe_gone(&task(1), later);
        assert_eq!(breaker.admits(later), Admission::NotBefore(later.plus(Duration::from_secs(10))));
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
}
