//! What the core must know of a generator to judge its answers. Made from the configuration, once.

use std::time::Duration;

use super::retry::{Backoff, PollSchedule};

/// A generator, as far as the machines care.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    /// The same key is the same job.
    pub is_idempotent: bool,
    /// The reference is our key: known before the generator answered.
    pub is_ref_our_key: bool,
    /// A submit yields the piece: there are no polls, and the run is looked at instead.
    pub is_blocking: bool,
    /// Running it twice costs nothing that matters.
    pub is_free_to_repeat: bool,
    /// There is a `find` verb.
    pub can_find: bool,
    /// There is a `cancel` verb, or the run can be ended.
    pub can_cancel: bool,
    /// There is a `poll_one` beside a batch poll.
    pub can_poll_one: bool,
    /// Back-off between attempts.
    pub retry: Backoff,
    /// When polls come.
    pub polls: PollSchedule,
    /// How long an unanswered submit may still become a job.
    pub settle: Duration,
    /// How long, from the intent, a job of unknown outcome is looked for.
    pub find_limit: Duration,
    /// The longest that a submit call can last, its end by force included.
    pub submit_limit: Duration,
    /// A state of theirs that, unchanged for so long, will never change.
    pub dead_when: Option<DeadWhen>,
}

/// Names rows that will never run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadWhen {
    /// The state in the generator's words.
    pub state: String,
    /// How long it must have stood.
    pub unchanged_for: Duration,
}

/// How often a job that outlived its task is looked at.
pub const LATE_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// For how long.
pub const LATE_WATCH: Duration = Duration::from_secs(24 * 3600);
/// The wait of a task whose job ended for nothing while those of others did so too. It is longer than the one between two
/// probes, so that no task is the probe twice while another waits, whatever their priorities are.
pub const OUTAGE_WAIT: Backoff =
    Backoff { initial: Duration::from_secs(20 * 60), factor: 2.0, max: Duration::from_secs(3_600), jitter: 0.2 };
/// So many ends more than it has retries may a task have for nothing before a person decides: one that does not work alone must
/// not be tried for ever.
pub const FREE_ENDS: u32 = 9;
/// The same of submits that say that nobody was there. An outage is nobody's fault and may last for a long weekend: at one an hour
/// these take three days.
pub const UNAVAILABLE_ENDS: u32 = 72;
/// The longest back-off of a verb that goes unanswered.
const LONGEST_VERB_BACKOFF: Duration = Duration::from_secs(5 * 60);

impl Policy {
    /// The back-off of polls, finds, fetches and cancels that were answered badly or not at all.
    pub fn verb_backoff(&self) -> Backoff {
        let initial = self.polls.interval.min(Duration::from_secs(5));
        Backoff { initial, factor: 2.0, max: LONGEST_VERB_BACKOFF.max(initial), jitter: 0.2 }
    }
}

impl Default for Policy {
    /// A generator of which nothing is known, because the configuration has lost it: nothing is repeated, nothing is
    /// proved, and what is in doubt is left to a person.
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            is_idempotent: false,
            is_ref_our_key: false,
            is_blocking: false,
            is_free_to_repeat: false,
            can_find: false,
            can_cancel: false,
            can_poll_one: false,
            retry: Backoff { initial: minute / 2, factor: 2.0, max: minute * 10, jitter: 0.2 },
            polls: PollSchedule { interval: minute / 2, learned: None, is_batch: false },
            settle: minute,
            find_limit: minute * 15,
            submit_limit: minute,
            dead_when: None,
        }
    }
}
