//! What a person can do with a held task.
//!
//! Asked of the judge itself, so that nothing is named that it would refuse, and nothing left out that it takes.

use super::super::ids::AttemptKey;
use super::super::policy::Policy;
use super::super::record::{Attempt, Task};
use super::super::state::TaskState;
use super::super::time::{BootId, Now};
use super::{CONTENTD, Context, Event, Settlement, apply};

/// A decision that the judge takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WayOut {
    /// Its piece is asked for once more.
    Poll,
    /// Nothing was made of it between a backup and its restore.
    Release,
    /// A job is named as its own.
    Adopt,
    /// It has no job.
    Absent,
    /// It is given up.
    Fail,
}

impl WayOut {
    /// In the order in which they are told.
    pub const ALL: [Self; 5] = [Self::Poll, Self::Release, Self::Adopt, Self::Absent, Self::Fail];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Release => "release",
            Self::Adopt => "adopt",
            Self::Absent => "absent",
            Self::Fail => "fail",
        }
    }

    fn event(self) -> Event {
        match self {
            Self::Poll => Event::PollRequested,
            Self::Release => Event::Settled(Settlement::Released),
            Self::Adopt => {
                let (reference, key) = (String::new(), AttemptKey(String::new()));
                Event::Settled(Settlement::Adopt { reference, key })
            }
            Self::Absent => Event::Settled(Settlement::Absent),
            Self::Fail => Event::Settled(Settlement::Fail { reason: String::new() }),
        }
    }
}

/// Which decisions a held task takes with its current attempt; none of any other task. Whether a job may be adopted depends on the
/// job that is named, too.
pub fn ways_out(task: &Task, attempt: Option<&Attempt>) -> Vec<WayOut> {
    if task.state != TaskState::Held {
        return Vec::new();
    }
    // Neither the time nor the generator decides any of them.
    let now = Now { utc: task.updated_at, boot_id: BootId(String::new()), boot_ms: 0 };
    let policy = Policy::default();
    let context = Context {
        now: &now,
        policy: &policy,
        draw: 0.5,
        who: CONTENTD,
        is_late_piece_wanted: false,
        is_outage: false,
        owner: None,
    };
    WayOut::ALL.into_iter().filter(|way| apply(task, attempt, way.event(), &context).is_ok()).collect()
}
