//! What a person can do with a held task.
//!
//! Asked of the judge itself, so that nothing is named that it would refuse, and nothing left out that it takes. The surprise: an
//! adoption is left out where the job is over and was read; who knows of another one may name it all the same.

use super::super::ids::AttemptKey;
use super::super::policy::Policy;
use super::super::record::{Attempt, Task};
use super::super::state::{AttemptState, TaskState};
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

/// Whether its job is over and was read, so that no job of it is to be looked for: one that ended by its own word, or one that goes
/// by our key, as every run of ours does, and left no piece. After a restore there may be another.
fn is_job_over(task: &Task, attempt: Option<&Attempt>) -> bool {
    let is_over = |one: &Attempt| match one.state {
        AttemptState::EndedCompleted | AttemptState::EndedFailed | AttemptState::EndedCancelled => true,
        AttemptState::Accepted => one.raw_output.is_some() && one.external_ref.as_ref() == Some(&one.key.0),
        _ => false,
    };
    task.restored_at.is_none() && attempt.is_some_and(is_over)
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
    let is_looked_for = !is_job_over(task, attempt);
    let ways = WayOut::ALL.into_iter().filter(|way| is_looked_for || *way != WayOut::Adopt);
    ways.filter(|way| apply(task, attempt, way.event(), &context).is_ok()).collect()
}
