//! The two small machines whose product people see: the task's and the attempt's.
//!
//! Each is one function, [`TaskState::after`] and [`AttemptState::after`], total over (state, move)
//! without a wildcard arm: a new state does not compile before every move says what it means there.
//! The SQL guard, the diagrams of the README and the tests are generated from these functions.
//! What a generator's answer means is not decided here but in [`crate::task::apply()`].

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Declares an enum whose variants have one fixed text each, used in the database, on the wire
/// and in the diagrams.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant),+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The text of this value in the database and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::task::state::UnknownName;

            fn from_str(text: &str) -> Result<Self, $crate::task::state::UnknownName> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::task::state::UnknownName { what: stringify!($name), text: text.to_owned() }),
                }
            }
        }
    };
}
pub(crate) use named;

/// A text that names no value of an enum.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no {what}")]
pub struct UnknownName {
    /// The enum.
    pub what: &'static str,
    /// What stood there.
    pub text: String,
}

named! {
    /// A task as people see it. Four of these are *active*: an attempt is under way.
    TaskState {
        /// Waits for a worker, a slot or its time.
        Pending = "pending",
        /// An attempt's intent is committed; its submit is under way, or its outcome is in doubt.
        Submitting = "submitting",
        /// The generator has the job.
        Submitted = "submitted",
        /// The generator said that it works on it.
        Processing = "processing",
        /// Somebody asked for an end that is not proved yet.
        Cancelling = "cancelling",
        /// A person must decide.
        Held = "held",
        /// Its piece is a content record. Never left.
        Completed = "completed",
        /// Ended without a piece.
        Failed = "failed",
        /// Past its last time limit.
        Timeout = "timeout",
        /// Ended because somebody asked.
        Cancelled = "cancelled",
    }
}

impl TaskState {
    /// Whether an attempt is under way.
    pub const fn is_active(self) -> bool {
        match self {
            Self::Submitting | Self::Submitted | Self::Processing | Self::Cancelling => true,
            Self::Pending | Self::Held | Self::Completed | Self::Failed | Self::Timeout | Self::Cancelled => false,
        }
    }

    /// Whether nothing more happens by itself, but for a late piece.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Timeout | Self::Cancelled => true,
            Self::Pending | Self::Submitting | Self::Submitted | Self::Processing | Self::Cancelling | Self::Held => {
                false
            }
        }
    }
}

named! {
    /// What can happen to a task; each is the `event` of an audit row.
    TaskMove {
        /// A worker took it: an attempt with a fresh key is intended.
        Claimed = "claimed",
        /// The generator accepted the job, or its runner started.
        Accepted = "accepted",
        /// A job that carries our key was found after a submit of unknown outcome.
        Adopted = "adopted",
        /// The generator will never take this.
        Rejected = "rejected",
        /// No job was made and nothing is spent: the generator was not there, or it never started.
        Withdrawn = "withdrawn",
        /// Nobody knows whether a job was made.
        Doubted = "doubted",
        /// It is proved that no job was made.
        ProvedAbsent = "proved_absent",
        /// The same key is submitted once more.
        Resent = "resent",
        /// The generator has queued it.
        Queued = "queued",
        /// The generator works on it.
        Started = "started",
        /// The attempt ended badly, another will follow, and a retry is spent.
        RetryScheduled = "retry_scheduled",
        /// The attempt ended through no fault of the task: it waits again, and nothing is spent.
        GivenBack = "given_back",
        /// The attempt ended badly and none will follow.
        Failed = "failed",
        /// Past the time limit, the same job gets a fresh one, because it may be alive.
        Extended = "extended",
        /// Past its last time limit.
        TimedOut = "timed_out",
        /// The piece is a content record now.
        Completed = "completed",
        /// A person must decide.
        Held = "held",
        /// Somebody asked for the end.
        CancelRequested = "cancel_requested",
        /// The end is proved, or nothing had begun.
        Cancelled = "cancelled",
        /// Cancelled without proof: a job may be alive.
        CancelledUnproved = "cancelled_unproved",
        /// A piece came after the task was cancelled; it is kept for review.
        LatePieceKept = "late_piece_kept",
        /// A job that outlived its task, or that a person was to decide about, has ended.
        LateJobEnded = "late_job_ended",
        /// A person started a final task again, and a retry is spent.
        RetryRequested = "retry_requested",
        /// A person started a final task again, and its retries are counted from 0.
        RetriesReset = "retries_reset",
        /// A person named the job of a held task.
        SettledAdopted = "settled_adopted",
        /// A person said that a held task has no job.
        SettledAbsent = "settled_absent",
        /// A person gave a held task up.
        SettledFailed = "settled_failed",
        /// A person asked to fetch a held task's piece again.
        RefetchRequested = "refetch_requested",
        /// A person corrected the state to pending.
        CorrectedPending = "corrected_pending",
        /// A person corrected the state to failed.
        CorrectedFailed = "corrected_failed",
        /// A person corrected the state to timeout.
        CorrectedTimeout = "corrected_timeout",
        /// A person corrected the state to cancelled.
        CorrectedCancelled = "corrected_cancelled",
        /// A person set the priority or another field of a waiting task.
        Changed = "changed",
        /// The database was restored from a backup: what came of the task since is not known.
        Restored = "restored",
        /// A person said of a task that had ended before a restore that nothing was made of it since the backup.
        Released = "released",
    }
}

/// A move that the table does not have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{event} cannot follow {from}")]
pub struct IllegalMove {
    /// The state that was found.
    pub from: &'static str,
    /// What was to happen.
    pub event: &'static str,
}

impl TaskState {
    /// The transition table of the task. `Ok` may be the same state, where only the attempt moves.
    pub const fn target(self, event: TaskMove) -> Option<Self> {
        use TaskState::*;
        match event {
            TaskMove::Claimed => match self {
                Pending => Some(Submitting),
                Submitting | Submitted | Processing | Cancelling | Held | Completed | Failed | Timeout | Cancelled => {
                    None
                }
            },
            TaskMove::Accepted | TaskMove::Adopted => match self {
                // Held for the doubt that this clears.
                Submitting | Held => Some(Submitted),
                Cancelling => Some(Cancelling),
                // A final task's lost job, found later: it is watched, the task stays.
                Failed => Some(Failed),
                Timeout => Some(Timeout),
                Cancelled => Some(Cancelled),
                Pending | Submitted | Processing | Completed => None,
            },
            TaskMove::Rejected => match self {
                Submitting => Some(Failed),
                Pending | Submitted | Processing | Cancelling | Held | Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::Withdrawn | TaskMove::ProvedAbsent => match self {
                Submitting => Some(Pending),
                Pending | Submitted | Processing | Cancelling | Held | Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::Doubted => match self {
                Submitting => Some(Submitting),
                Cancelling => Some(Cancelling),
                Pending | Submitted | Processing | Held | Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::Resent => match self {
                Submitting => Some(Submitting),
                Submitted => Some(Submitted),
                Processing => Some(Submitted),
                Pending | Cancelling | Held | Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::Queued => match self {
                Processing => Some(Submitted),
                Pending | Submitting | Submitted | Cancelling | Held | Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::Started => match self {
                Submitted => Some(Processing),
                Pending | Submitting | Processing | Cancelling | Held | Completed | Failed | Timeout | Cancelled => {
                    None
                }
            },
            TaskMove::RetryScheduled => match self {
                Submitting | Submitted | Processing => Some(Pending),
                Pending | Cancelling | Held | Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::GivenBack => match self {
                Submitted | Processing => Some(Pending),
                Pending | Submitting | Cancelling | Held | Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::Failed => match self {
                Submitting | Submitted | Processing => Some(Failed),
                Pending | Cancelling | Held | Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::Extended => match self {
                Submitted => Some(Submitted),
                Processing => Some(Processing),
                Pending | Submitting | Cancelling | Held | Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::TimedOut => match self {
                Submitted | Processing => Some(Timeout),
                Pending | Submitting | Cancelling | Held | Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::Completed => match self {
                // From cancelled only when a person asks again for what has meanwhile been written.
                Submitted | Processing | Cancelling | Held | Failed | Timeout | Cancelled => Some(Completed),
                Pending | Submitting | Completed => None,
            },
            TaskMove::Held => match self {
                Submitting | Submitted | Processing => Some(Held),
                Pending | Cancelling | Held | Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::CancelRequested => match self {
                Submitting | Submitted | Processing | Held => Some(Cancelling),
                Pending | Cancelling | Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::Cancelled => match self {
                Pending | Cancelling | Held => Some(Cancelled),
                Submitting | Submitted | Processing | Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::CancelledUnproved => match self {
                Cancelling => Some(Cancelled),
                Pending | Submitting | Submitted | Processing | Held | Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::LatePieceKept => match self {
                Cancelled => Some(Cancelled),
                Pending | Submitting | Submitted | Processing | Cancelling | Held | Completed | Failed | Timeout => {
                    None
                }
            },
            TaskMove::LateJobEnded => match self {
                Held => Some(Held),
                Failed => Some(Failed),
                Timeout => Some(Timeout),
                Cancelled => Some(Cancelled),
                Pending | Submitting | Submitted | Processing | Cancelling | Completed => None,
            },
            TaskMove::RetryRequested | TaskMove::RetriesReset => match self {
                Failed | Timeout | Cancelled => Some(Pending),
                Pending | Submitting | Submitted | Processing | Cancelling | Held | Completed => None,
            },
            TaskMove::SettledAdopted => match self {
                Held => Some(Submitted),
                Pending | Submitting | Submitted | Processing | Cancelling | Completed | Failed | Timeout
                | Cancelled => None,
            },
            TaskMove::SettledAbsent => match self {
                Held => Some(Pending),
                Pending | Submitting | Submitted | Processing | Cancelling | Completed | Failed | Timeout
                | Cancelled => None,
            },
            TaskMove::SettledFailed => match self {
                Held => Some(Failed),
                Pending | Submitting | Submitted | Processing | Cancelling | Completed | Failed | Timeout
                | Cancelled => None,
            },
            TaskMove::RefetchRequested => match self {
                Held => Some(Held),
                Pending | Submitting | Submitted | Processing | Cancelling | Completed | Failed | Timeout
                | Cancelled => None,
            },
            TaskMove::CorrectedPending => match self {
                Submitting | Submitted | Processing | Cancelling | Held | Failed | Timeout | Cancelled => Some(Pending),
                Pending | Completed => None,
            },
            TaskMove::CorrectedFailed => match self {
                Pending | Submitting | Submitted | Processing | Cancelling | Held | Timeout | Cancelled => Some(Failed),
                Failed | Completed => None,
            },
            TaskMove::CorrectedTimeout => match self {
                Pending | Submitting | Submitted | Processing | Cancelling | Held | Failed | Cancelled => Some(Timeout),
                Timeout | Completed => None,
            },
            TaskMove::CorrectedCancelled => match self {
                Pending | Submitting | Submitted | Processing | Cancelling | Held | Failed | Timeout => Some(Cancelled),
                Cancelled | Completed => None,
            },
            TaskMove::Changed => match self {
                Pending => Some(Pending),
                Held => Some(Held),
                Submitting | Submitted | Processing | Cancelling | Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::Restored => match self {
                // Another daemon may have handed it over since the backup.
                Pending | Held => Some(Held),
                Submitting => Some(Submitting),
                Submitted => Some(Submitted),
                Processing => Some(Processing),
                Cancelling => Some(Cancelling),
                Completed | Failed | Timeout | Cancelled => None,
            },
            TaskMove::Released => match self {
                Failed => Some(Failed),
                Timeout => Some(Timeout),
                Cancelled => Some(Cancelled),
                Pending | Submitting | Submitted | Processing | Cancelling | Held | Completed => None,
            },
        }
    }

    /// As [`TaskState::target`], with a named error.
    pub fn after(self, event: TaskMove) -> Result<Self, IllegalMove> {
        self.target(event).ok_or(IllegalMove { from: self.as_str(), event: event.as_str() })
    }
}

named! {
    /// One external job. The last five are its ends.
    AttemptState {
        /// The intent is committed; the submit may be under way.
        Intended = "intended",
        /// The generator has it, and we have a reference.
        Accepted = "accepted",
        /// The generator refused it, or said that no job was made.
        Rejected = "rejected",
        /// It never reached the generator.
        Withdrawn = "withdrawn",
        /// Nobody knows whether it reached the generator.
        Unknown = "unknown",
        /// It ended with a piece, or said so.
        EndedCompleted = "ended_completed",
        /// It ended badly.
        EndedFailed = "ended_failed",
        /// It was cancelled, by us or at the generator.
        EndedCancelled = "ended_cancelled",
        /// The generator does not know it any more.
        EndedLost = "ended_lost",
        /// It is proved or decided that nobody waits for it.
        EndedAbandoned = "ended_abandoned",
    }
}

impl AttemptState {
    /// Whether a job of this attempt may be alive at the generator. At most one attempt of a task
    /// is in such a state, unless a person decided otherwise.
    pub const fn may_be_alive(self) -> bool {
        match self {
            Self::Intended | Self::Accepted | Self::Unknown => true,
            Self::Rejected
            | Self::Withdrawn
            | Self::EndedCompleted
            | Self::EndedFailed
            | Self::EndedCancelled
            | Self::EndedLost
            | Self::EndedAbandoned => false,
        }
    }

    /// The transition table of the attempt: whether `to` may follow.
    pub const fn may_become(self, to: Self) -> bool {
        use AttemptState::*;
        match self {
            Intended => match to {
                Accepted | Rejected | Withdrawn | Unknown => true,
                Intended | EndedCompleted | EndedFailed | EndedCancelled | EndedLost | EndedAbandoned => false,
            },
            Unknown => match to {
                Accepted | EndedCompleted | EndedFailed | EndedCancelled | EndedLost | EndedAbandoned => true,
                Intended | Rejected | Withdrawn | Unknown => false,
            },
            Accepted => match to {
                EndedCompleted | EndedFailed | EndedCancelled | EndedLost | EndedAbandoned => true,
                Intended | Accepted | Rejected | Withdrawn | Unknown => false,
            },
            Rejected | Withdrawn | EndedCompleted | EndedFailed | EndedCancelled | EndedLost | EndedAbandoned => {
                match to {
                    Intended | Accepted | Rejected | Withdrawn | Unknown | EndedCompleted | EndedFailed
                    | EndedCancelled | EndedLost | EndedAbandoned => false,
                }
            }
        }
    }

    /// As [`AttemptState::may_become`], with a named error.
    pub fn after(self, to: Self) -> Result<Self, IllegalMove> {
        if self.may_become(to) { Ok(to) } else { Err(IllegalMove { from: self.as_str(), event: to.as_str() }) }
    }
}

/// What people see, as a function of the facts. [`crate::task::apply()`] keeps the task's state equal to it;
/// the property tests hold both against each other.
pub fn is_consistent(task: TaskState, attempt: Option<AttemptState>) -> bool {
    match task {
        TaskState::Submitting => matches!(attempt, Some(AttemptState::Intended | AttemptState::Unknown)),
        TaskState::Submitted | TaskState::Processing => matches!(attempt, Some(AttemptState::Accepted)),
        TaskState::Cancelling => attempt.is_some_and(AttemptState::may_be_alive),
        TaskState::Completed => matches!(attempt, Some(AttemptState::EndedCompleted)),
        // A waiting task has no live job: the next attempt would be a second one.
        TaskState::Pending => !attempt.is_some_and(AttemptState::may_be_alive),
        TaskState::Held | TaskState::Failed | TaskState::Timeout | TaskState::Cancelled => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for state in TaskState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        for event in TaskMove::ALL {
            assert_eq!(event.as_str().parse(), Ok(*event));
        }
        for state in AttemptState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        assert!("Pending".parse::<TaskState>().is_err());
    }

    #[test]
    fn completed_is_never_left_and_never_made_by_hand() {
        for event in TaskMove::ALL {
            assert_eq!(TaskState::Completed.target(*event), None, "{event}");
        }
        for from in TaskState::ALL {
            for event in TaskMove::ALL {
                if from.target(*event) == Some(TaskState::Completed) {
                    assert_eq!(*event, TaskMove::Completed);
                }
            }
        }
    }

    #[test]
    fn every_state_is_reached_and_every_event_has_an_edge() {
        for event in TaskMove::ALL {
            assert!(TaskState::ALL.iter().any(|from| from.target(*event).is_some()), "{event} has no edge");
        }
        for to in TaskState::ALL {
            let reached =
                TaskState::ALL.iter().any(|from| TaskMove::ALL.iter().any(|event| from.target(*event) == Some(*to)));
            assert!(reached, "{to} is never reached");
        }
    }

    #[test]
    fn an_ended_attempt_stays_ended() {
        for from in AttemptState::ALL.iter().filter(|state| !state.may_be_alive()) {
            for to in AttemptState::ALL {
                assert!(!from.may_become(*to), "{from} -> {to}");
            }
        }
    }
}
