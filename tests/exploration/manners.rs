//! How badly a universe behaves, by the seed: every seed has a little noise, and one vice of its own.
//!
//! The first seed is polite, so that each kind is also explored without noise. What a seed's people do, and which verbs its
//! generator has, come from the seed too; so a seed and a kind say everything about a schedule but where it is cut.

use std::time::Duration;

use contentd::task::Policy;
use contentd::task::policy::DeadWhen;
use contentd::task::retry::{Backoff, PollSchedule};

use super::universe::Kind;

/// Chances in percent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    pub submit_away: u32,
    pub submit_later: u32,
    pub submit_rejects: u32,
    /// No answer, and no job.
    pub silent_without_job: u32,
    /// No answer, and a job that appears when the call's processes are gone, or a little later.
    pub silent_with_job: u32,
    /// A job is made, and a submit or a search names another task's.
    pub mixes_up: u32,
    /// Of a silent call: its processes stay for longer than anybody looks for its job.
    pub process_stays: u32,
    pub job_fails: u32,
    pub job_hangs: u32,
    pub job_brings_nothing: u32,
    /// It is cancelled at the generator; a run is stopped with its unit.
    pub job_is_stopped: u32,
    /// A run ends and leaves no exit status; another job is forgotten by its generator.
    pub job_vanishes: u32,
    pub job_is_slow: u32,
    pub poll_away: u32,
    pub poll_unreadable: u32,
    pub poll_incomplete: u32,
    /// It says that it does not know a job which it has.
    pub poll_denies: u32,
    pub find_away: u32,
    pub find_unreadable: u32,
    pub find_incomplete: u32,
    pub find_several: u32,
    /// A complete search misses a job that is there, once.
    pub find_blinks: u32,
    pub fetch_away: u32,
    pub fetch_unreadable: u32,
    pub fetch_not_ready: u32,
    pub fetch_missing: u32,
    pub cancel_refused: u32,
    pub cancel_unclear: u32,
    /// It cancels a key that it does not know yet, and takes the submit that is still under way.
    pub cancel_too_early: u32,
    pub run_never_starts: u32,
    pub run_starts_slowly: u32,
    /// It answers nobody for some minutes, again and again.
    pub has_outages: bool,
    /// Of a commit: the disk is full.
    pub disk_full: u32,
}

#[derive(Clone, Copy, Debug)]
enum Vice {
    Noise,
    Silence,
    Outages,
    Denial,
    BadSearches,
    Drift,
    FailingJobs,
    StoppedJobs,
    BadPieces,
    Stubborn,
    Slow,
    VanishingJobs,
    FullDisk,
    Reluctant,
}

const VICES: [Vice; 14] = [
    Vice::Noise,
    Vice::Silence,
    Vice::Outages,
    Vice::Denial,
    Vice::BadSearches,
    Vice::Drift,
    Vice::FailingJobs,
    Vice::StoppedJobs,
    Vice::BadPieces,
    Vice::Stubborn,
    Vice::Slow,
    Vice::VanishingJobs,
    Vice::FullDisk,
    Vice::Reluctant,
];

/// Seeds after which every vice has had its turn.
pub const TURNS: u64 = VICES.len() as u64 + 1;

/// None is polite.
fn vice_of(seed: u64) -> Option<Vice> {
    match usize::try_from(seed % TURNS).unwrap() {
        0 => Some(Vice::Noise),
        1 => None,
        turn => Some(VICES[turn - 1]),
    }
}

/// Whether a seed's generator never misbehaves.
pub fn is_polite(seed: u64) -> bool {
    vice_of(seed).is_none()
}

impl Manners {
    /// Of a seed's universe.
    pub fn of(seed: u64) -> Self {
        vice_of(seed).map_or_else(Self::default, |vice| Self::noisy().with(vice))
    }

    fn noisy() -> Self {
        Self {
            submit_away: 6,
            submit_later: 3,
            submit_rejects: 2,
            silent_without_job: 8,
            silent_with_job: 14,
            process_stays: 2,
            mixes_up: 0,
            job_fails: 8,
            job_hangs: 4,
            job_brings_nothing: 2,
            job_is_stopped: 2,
            job_vanishes: 2,
            job_is_slow: 2,
            poll_away: 5,
            poll_unreadable: 5,
            poll_incomplete: 2,
            poll_denies: 1,
            find_away: 8,
            find_unreadable: 5,
            find_incomplete: 5,
            find_several: 2,
            find_blinks: 15,
            fetch_away: 5,
            fetch_unreadable: 5,
            fetch_not_ready: 5,
            fetch_missing: 1,
            cancel_refused: 10,
            cancel_unclear: 20,
            cancel_too_early: 50,
            run_never_starts: 5,
            run_starts_slowly: 10,
            has_outages: false,
            disk_full: 0,
        }
    }

    fn with(self, vice: Vice) -> Self {
        match vice {
            Vice::Noise => self,
            Vice::Silence => Self { silent_without_job: 30, silent_with_job: 60, process_stays: 25, ..self },
            Vice::Outages => Self { has_outages: true, ..self },
            Vice::Denial => Self { poll_denies: 75, job_is_slow: 80, cancel_refused: 100, ..self },
            Vice::BadSearches => {
                let silent = Self { silent_without_job: 30, silent_with_job: 60, ..self };
                Self { find_incomplete: 75, find_several: 35, find_blinks: 40, mixes_up: 30, ..silent }
            }
            Vice::Drift => Self { poll_unreadable: 45, find_unreadable: 45, ..self },
            Vice::FailingJobs => Self { job_fails: 75, ..self },
            Vice::StoppedJobs => Self { job_is_stopped: 70, ..self },
            Vice::BadPieces => Self { job_brings_nothing: 45, fetch_missing: 30, fetch_not_ready: 20, ..self },
            Vice::Stubborn => Self { cancel_refused: 80, cancel_unclear: 80, job_is_slow: 80, ..self },
            // Whose jobs take long has many at a time, and names one of them for another task's now and then.
            Vice::Slow => {
                let slow = Self { job_is_slow: 60, job_hangs: 20, mixes_up: 15, ..self };
                Self { cancel_refused: 0, cancel_unclear: 25, ..slow }
            }
            Vice::VanishingJobs => Self { job_vanishes: 80, ..self },
            Vice::FullDisk => Self { disk_full: 18, ..self },
            Vice::Reluctant => {
                let starts = Self { submit_later: 40, submit_rejects: 15, submit_away: 25, ..self };
                Self { run_never_starts: 40, run_starts_slowly: 40, ..starts }
            }
        }
    }
}

/// What the persons of a seed do.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Cancels so many of the first tasks on their way.
    pub cancels: usize,
    /// Pauses everything for a while.
    pub pauses: bool,
    /// Decides so many tasks that wait for a person or have ended.
    pub decisions: u32,
}

impl Habits {
    pub fn of(seed: u64) -> Self {
        let vice = vice_of(seed);
        // A generator that cancels nothing is asked to, and nobody then gives its jobs up.
        let is_refused = matches!(vice, Some(Vice::Stubborn));
        Self {
            cancels: match seed.is_multiple_of(3) {
                _ if is_refused => 3,
                true => 1,
                false => 0,
            },
            pauses: seed.is_multiple_of(5) && !is_refused,
            decisions: match vice {
                // Whoever is denied a job that is there has a person who names it.
                Some(Vice::Denial) => 8,
                Some(Vice::Stubborn) => 0,
                _ if seed.is_multiple_of(2) => 4,
                _ => 0,
            },
        }
    }
}

/// The generator of a kind, with the verbs that it has under this seed.
pub fn policy(kind: Kind, seed: u64) -> Policy {
    let is_blocking = matches!(kind, Kind::Detached | Kind::Child);
    // Its configuration calls jobs dead that are only slow: they must not be taken for ended.
    let is_given_up_early = kind == Kind::Blind && matches!(vice_of(seed), Some(Vice::Slow));
    let is_batch = kind == Kind::Findable && seed % 3 != 2;
    Policy {
        is_idempotent: kind == Kind::Idempotent,
        is_ref_our_key: kind == Kind::Idempotent && seed % 4 != 2,
        is_blocking,
        is_free_to_repeat: kind == Kind::Child,
        can_find: kind == Kind::Findable,
        can_cancel: is_blocking || seed % 4 != 3,
        can_poll_one: is_batch && !seed.is_multiple_of(3),
        retry: Backoff { initial: Duration::from_secs(5), factor: 2.0, max: Duration::from_secs(60), jitter: 0.2 },
        polls: PollSchedule { interval: Duration::from_secs(10), learned: None, is_batch },
        settle: Duration::from_secs(60),
        find_limit: Duration::from_secs(900),
        submit_limit: Duration::from_secs(45),
        dead_when: is_given_up_early
            .then(|| DeadWhen { state: "processing".into(), unchanged_for: Duration::from_secs(120) }),
    }
}
