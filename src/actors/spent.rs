//! For how long finished tasks are needed, because their submits count.
//!
//! A limit a day counts the attempts there are. A task that a cleanup takes has none any more: within a day of its end its submits would
//! be given back, and the limit that guards the bill would let as many more go.

use std::time::Duration;

use super::World;
use crate::store::DbError;

/// What a limit counts.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long finished tasks stay at least, whatever a cleanup asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FinishedAge {
    /// How long ago they must have finished.
    pub older_than: Duration,
    /// It is more than was asked for, because a limit a day counts what finished since.
    pub is_day_kept: bool,
}

impl World {
    /// After how long finished tasks may go, of which somebody says `wanted`: not before a day has passed, where any generator or any
    /// account has a limit of submits a day.
    pub async fn cleanup_age(&self, wanted: Duration) -> Result<FinishedAge, DbError> {
        let is_day_kept = wanted < DAY && self.counts_days().await?;
        Ok(FinishedAge { older_than: if is_day_kept { DAY } else { wanted }, is_day_kept })
    }

    async fn counts_days(&self) -> Result<bool, DbError> {
        let is_limited = self.generators.borrow().iter().any(|generator| {
            let limits = &generator.limits;
            limits.submits_per_day.is_some() || limits.submits_per_day_per_account.is_some()
        });
        if is_limited {
            return Ok(true);
        }
        let limits = self.store.read(|queries| queries.account_limits()).await?;
        Ok(limits.values().any(|limits| limits.submits_per_day.is_some()))
    }
}
