//! The table of the publish pool: which state of an entry follows which. The guard in the database is made of it.

use serde::{Deserialize, Serialize};

use crate::task::content::PoolState;
use crate::task::state::{IllegalMove, named};

named! {
    /// What can happen to an entry; each is the `event` of a row in the audit trail of its task.
    PoolMove {
        /// A publisher or a consumer has it, with a lease.
        HandedOut = "pool_handed_out",
        /// It is out.
        Published = "pool_published",
        /// It is not out, and is tried again later; a retry is spent.
        RetryScheduled = "pool_retry_scheduled",
        /// Nothing was done with it; nothing is spent.
        GivenBack = "pool_given_back",
        /// It is given up.
        Failed = "pool_failed",
        /// Nobody knows whether it is out.
        Held = "pool_held",
        /// The database comes from a backup, and it may have gone out since.
        Restored = "pool_restored",
        /// A person says that it is not out and may go.
        Released = "pool_released",
        /// A person says that it is out.
        SettledPublished = "pool_settled_published",
        /// A person says that it is not out and shall not go.
        SettledFailed = "pool_settled_failed",
        /// A person gave it a time or a priority, or another chance.
        Rescheduled = "pool_rescheduled",
        /// A person took it out.
        Removed = "pool_removed",
    }
}

impl PoolState {
    /// The transition table of an entry.
    ///
    /// A holder whose lease ran out may still say that the piece is out, whatever was decided meanwhile: that is why
    /// `published` follows from every state but `removed`. The fencing number says that nobody else had it since.
    pub const fn target(self, event: PoolMove) -> Option<Self> {
        use PoolMove as M;
        match (self, event) {
            (Self::Pending, M::HandedOut) => Some(Self::Publishing),
            (Self::Publishing | Self::Held | Self::Pending | Self::Failed, M::Published) => Some(Self::Published),
            (Self::Publishing | Self::Held, M::RetryScheduled) | (Self::Publishing, M::GivenBack) => {
                Some(Self::Pending)
            }
            (Self::Publishing | Self::Held, M::Failed) => Some(Self::Failed),
            (Self::Publishing, M::Held) => Some(Self::Held),
            (Self::Pending | Self::Publishing | Self::Failed | Self::Held, M::Restored) => Some(Self::Held),
            // It may have been put back and gone out since: it stays out of the pool, and in doubt.
            (Self::Removed, M::Restored) => Some(Self::Removed),
            (Self::Held, M::Released) => Some(Self::Pending),
            (Self::Held, M::SettledPublished) => Some(Self::Published),
            (Self::Held, M::SettledFailed) => Some(Self::Failed),
            (Self::Pending | Self::Failed | Self::Removed, M::Rescheduled) => Some(Self::Pending),
            (Self::Pending | Self::Failed | Self::Held, M::Removed) => Some(Self::Removed),
            (
                Self::Pending | Self::Publishing | Self::Published | Self::Failed | Self::Held | Self::Removed,
                M::HandedOut
                | M::Published
                | M::RetryScheduled
                | M::GivenBack
                | M::Failed
                | M::Held
                | M::Restored
                | M::Released
                | M::SettledPublished
                | M::SettledFailed
                | M::Rescheduled
                | M::Removed,
            ) => None,
        }
    }

    /// As [`PoolState::target`], with a named error.
    pub fn after(self, event: PoolMove) -> Result<Self, IllegalMove> {
        self.target(event).ok_or(IllegalMove { from: self.as_str(), event: event.as_str() })
    }
}

/// Every pair of states that an UPDATE may make, for the guard in the database.
pub fn pool_edges() -> Vec<(PoolState, PoolState)> {
    let all = PoolState::ALL.iter();
    let mut edges: Vec<_> = all
        .flat_map(|from| PoolMove::ALL.iter().filter_map(|event| Some((*from, from.target(*event)?))))
        .filter(|(from, to)| from != to)
        .collect();
    edges.sort_unstable();
    edges.dedup();
    edges
}
