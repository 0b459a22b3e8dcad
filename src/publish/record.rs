//! What is remembered of a handing out: to whom, under which key, and what is known of its outcome.

use std::fmt;

use crate::task::{AttemptKey, PoolId, Timestamp};

/// Who has an entry.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Holder {
    /// A publisher of the configuration, whose command contentd runs.
    Publisher(String),
    /// Somebody on the socket, as `uid:name`.
    Consumer(String),
}

impl Holder {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Publisher(name) | Self::Consumer(name) => name,
        }
    }

    /// Whether contentd itself runs its command.
    pub const fn is_publisher(&self) -> bool {
        matches!(self, Self::Publisher(_))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publisher(name) => write!(f, "publisher {name}"),
            Self::Consumer(name) => f.write_str(name),
        }
    }
}

/// One handing out of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handout {
    /// Of which entry.
    pub pool_id: PoolId,
    /// Which one of that entry, from 1: the fencing number.
    pub fence: u64,
    /// What the holder may pass on, so that the same piece is known again. Never used for another handing out, and
    /// made again after a restore: see [`super::key`].
    pub key: AttemptKey,
    /// Who has it.
    pub holder: Holder,
    /// The key of the consumer's own request: the same request gives the same entries again.
    pub request: Option<String>,
    /// When the intent was committed.
    pub handed_out_at: Timestamp,
    /// How often the publisher was called with this key.
    pub sends: u32,
    /// Since when its outcome is in doubt.
    pub doubted_at: Option<Timestamp>,
    /// The doubt is contentd's own doing: it died in the middle of the call. Then it costs nothing.
    pub is_lost: bool,
    /// Since when nobody is left of the call's processes.
    pub quiet_since: Option<Timestamp>,
    /// Searches since then that did not find it.
    pub absences: u32,
    /// When its holder's answer was committed, or the doubt cleared.
    pub ended_at: Option<Timestamp>,
    /// The move that ended it. None where a person ended its doubt: what its holder says after all still counts.
    pub outcome: Option<String>,
    /// What was wrong with it.
    pub error: Option<String>,
    /// How often the publisher was away when the key was sent once more. None of these is one of the sends.
    pub unavailable_sends: u32,
    /// A database that this one replaced may have sent this key before the first of the sends: an answer then proves no more than
    /// that to a key that was sent again.
    pub may_be_out: bool,
}

impl Handout {
    /// Whether nobody knows what became of it, and nobody has said so since.
    pub const fn is_unanswered(&self) -> bool {
        self.doubted_at.is_some() && self.ended_at.is_none()
    }
}
