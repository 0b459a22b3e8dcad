//! One fire: from its due time to its tasks, and the one table of what may follow what.
//!
//! ```text
//!            ┌────────── asked again ─────────┐
//! intended ──┴─▶ asking ──▶ gathered ──▶ fired │ empty │ failed
//!     └──────────────────────────────────────┘            missed
//! ```
//!
//! `intended` is committed with the schedule's next due time, so that a due time is begun once. `asking` is the intent of a
//! command and `gathered` what it printed. The end is committed together with the tasks. The surprise: a command whose
//! outcome is not known is not asked again unless its configuration says that it may be, because topics that it took from
//! somebody's stack would be lost twice.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::record::{ScheduleId, Topic};
use crate::task::{TaskId, Timestamp};

/// A fire's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FireId(pub i64);

impl fmt::Display for FireId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$one:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum $name { $($(#[$one])* $variant),+ }

        impl $name {
            /// Each of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As it is stored and told.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                let found = Self::ALL.iter().find(|one| one.as_str() == text).copied();
                found.ok_or_else(|| UnknownWord(text.to_owned()))
            }
        }
    };
}

/// A word that is none of ours.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0:?} is not known")]
pub struct UnknownWord(pub String);

words! {
    /// Where a fire stands.
    FireState {
        /// Its due time was begun.
        Intended = "intended",
        /// Its command was called, or is about to be.
        Asking = "asking",
        /// What its command printed is kept.
        Gathered = "gathered",
        /// Its tasks are submitted.
        Fired = "fired",
        /// Its source had no topic.
        Empty = "empty",
        /// No task could be submitted, and it is not tried again.
        Failed = "failed",
        /// It passed while nobody was there, and is not made up for.
        Missed = "missed",
    }
}

words! {
    /// Why it fires.
    FireKind {
        /// It was due.
        Due = "due",
        /// A person wanted it.
        ByHand = "by_hand",
    }
}

words! {
    /// What can happen to a fire.
    FireMove {
        /// Its command is about to be called.
        Asked = "asked",
        /// What its command printed is kept.
        Kept = "kept",
        /// Nothing came of it so far; it is tried again.
        PutOff = "put_off",
        /// Its tasks are submitted.
        Submitted = "submitted",
        /// Its source had no topic.
        FoundEmpty = "found_empty",
        /// It is given up.
        GivenUp = "given_up",
    }
}

impl FireState {
    /// Whether nothing more comes of it.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Fired | Self::Empty | Self::Failed | Self::Missed)
    }

    /// What follows; none where the move does not fit.
    pub const fn after(self, event: FireMove) -> Option<Self> {
        match (self, event) {
            (Self::Intended, FireMove::Asked) => Some(Self::Asking),
            (Self::Asking, FireMove::Kept) => Some(Self::Gathered),
            // Its command is known to have given nothing, or may be called twice.
            (Self::Intended | Self::Asking, FireMove::PutOff) => Some(Self::Intended),
            (Self::Gathered, FireMove::PutOff) => Some(Self::Gathered),
            (Self::Intended | Self::Gathered, FireMove::Submitted) => Some(Self::Fired),
            (Self::Intended | Self::Asking | Self::Gathered, FireMove::FoundEmpty) => Some(Self::Empty),
            (Self::Intended | Self::Asking | Self::Gathered, FireMove::GivenUp) => Some(Self::Failed),
            (Self::Intended, FireMove::Kept)
            | (Self::Asking, FireMove::Asked | FireMove::Submitted)
            | (Self::Gathered, FireMove::Asked | FireMove::Kept)
            | (Self::Fired | Self::Empty | Self::Failed | Self::Missed, _) => None,
        }
    }
}

/// One fire of a schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fire {
    /// Its number.
    pub id: FireId,
    /// Of which schedule.
    pub schedule: ScheduleId,
    /// No other fire has it: a schedule and a due time, or a random one for a fire by hand.
    pub key: String,
    /// When it was due; when it was asked for, by hand.
    pub due: Timestamp,
    /// Why it fires.
    pub kind: FireKind,
    /// Where it stands.
    pub state: FireState,
    /// Due times before it that are not made up for.
    pub missed: u32,
    /// How often it was tried, failed and was put off; a wait for room is none of them.
    pub tries: u32,
    /// When it is tried again, or may be tried; none: it has ended.
    pub wake: Option<Timestamp>,
    /// When it was begun.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What its command printed.
    pub topics: Vec<Topic>,
    /// Its tasks.
    pub tasks: Vec<TaskId>,
    /// Why it stands where it stands, in a sentence.
    pub why: Option<String>,
    /// `contentd`, or who wanted it.
    pub who: String,
}

impl Fire {
    /// The key of a due time.
    pub fn key_of(schedule: ScheduleId, due: Timestamp) -> String {
        format!("{KEY_PREFIX}{schedule}/{}", due.0)
    }

    /// The key of its task at a place, from 1.
    pub fn task_key(&self, place: usize) -> String {
        format!("{}/{place}", self.key)
    }
}

/// What every key of a fire begins with. A submitter's own key may not.
pub const KEY_PREFIX: &str = "schedule/";

/// The wait before a fire that was put off is tried again: a minute, doubling, ten at most.
pub fn wait_after(tries: u32) -> Duration {
    const LONGEST: Duration = Duration::from_secs(600);
    Duration::from_secs(60).saturating_mul(2_u32.saturating_pow(tries.min(8))).min(LONGEST)
}

/// The wait before a fire looks for room again that has waited for it so long: as long once more, a minute to ten. It is reckoned
/// from the time alone, so that no wait for room counts as a try of the source.
pub fn wait_for_room(waited: Duration) -> Duration {
    waited.clamp(wait_after(0), wait_after(u32::MAX))
}

/// How often a source that gives nothing is tried.
pub const MOST_TRIES: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unfinished_state_can_end_and_no_end_is_left() {
        for state in FireState::ALL {
            let ends: Vec<_> = FireMove::ALL.iter().filter_map(|event| state.after(*event)).collect();
            assert_eq!(ends.is_empty(), state.has_ended(), "{state}");
            assert_eq!(state.as_str().parse(), Ok(*state));
            if !state.has_ended() {
                assert!(ends.contains(&FireState::Failed), "{state}");
                assert!(state.after(FireMove::PutOff).is_some_and(|next| !next.has_ended()), "{state}");
            }
        }
        assert_eq!(FireState::Asking.after(FireMove::Submitted), None, "nothing is submitted that was not kept");
        assert!("x".parse::<FireState>().is_err());
    }

    #[test]
    fn waits_grow_and_end() {
        let waits: Vec<u64> = (0..6).map(|tries| wait_after(tries).as_secs()).collect();
        assert_eq!(waits, [60, 120, 240, 480, 600, 600]);
        assert_eq!(wait_after(u32::MAX).as_secs(), 600);
        let waits = [0, 59, 60, 200, 601, 86_400].map(|waited| wait_for_room(Duration::from_secs(waited)).as_secs());
        assert_eq!(waits, [60, 60, 60, 200, 600, 600]);
    }
}
