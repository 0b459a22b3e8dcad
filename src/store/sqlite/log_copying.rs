//! When the log is copied into the database, how much of it at once, and what it means that it cannot be copied.
//!
//! SQLite copies it by itself, in the commit that finds enough pages in it, and says nothing of it where that fails: the commit stands,
//! and the log keeps what was not copied. Nothing is lost by that, also where a failed fsync threw pages away, because the next try
//! begins where the last good one has ended. But the log grows until the disk is full, and nobody knows why. So a log that is far longer
//! than it should be is copied here, where a failure is told.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel::sqlite::SqliteConnection;

use super::connection::db_error;
use crate::store::DbError;
use crate::store::write::Write;

/// SQLite's own number of pages.
const LARGE_COPY: u32 = 1_000;
const SMALL_COPY: u32 = 100;
/// No slice of a cleanup comes so long after the last.
const SLICES_APART: Duration = Duration::from_secs(1);
/// A log is as long as this only while it cannot be copied, or while a backup reads, in bytes.
const LONG_LOG: u64 = 64 << 20;

/// How many pages of the log are copied into the database at once, in the commit that finds so many. Whoever waits for a commit
/// waits for that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copies {
    /// As SQLite does by itself: most pages of the log are there several times, and are copied once.
    Large,
    /// While old tasks are deleted, whose pages lie all over the file.
    Small {
        /// When the cleanup is over, if no other slice comes.
        until: Instant,
    },
}

impl Copies {
    fn before(self, batch: &[Write], now: Instant) -> Self {
        let is_cleanup = batch.iter().any(|write| matches!(write, Write::Cleanup { .. }));
        match self {
            _ if is_cleanup => Self::Small { until: now + SLICES_APART },
            Self::Small { until } if now < until => self,
            Self::Small { .. } | Self::Large => Self::Large,
        }
    }
}

/// What the writer knows of the copying of its log.
pub(super) struct LogCopying {
    copies: Copies,
    /// From which length on it is copied here: a file that has grown stays as long as it was, so each time it must have grown.
    long: u64,
}

impl Default for LogCopying {
    fn default() -> Self {
        Self { copies: Copies::Large, long: LONG_LOG }
    }
}

impl LogCopying {
    /// Before the transaction of `batch`, because SQLite looks when one begins.
    pub(super) fn prepare(
        &mut self,
        connection: &mut SqliteConnection,
        batch: &[Write],
        now: Instant,
    ) -> Result<(), DbError> {
        let copies = self.copies.before(batch, now);
        let is_new = std::mem::discriminant(&copies) != std::mem::discriminant(&self.copies);
        self.copies = copies;
        let pages = match copies {
            _ if !is_new => return Ok(()),
            Copies::Large => LARGE_COPY,
            Copies::Small { .. } => SMALL_COPY,
        };
        connection.batch_execute(&format!("PRAGMA wal_autocheckpoint = {pages}")).map_err(db_error)
    }

    /// Copies a log that is far too long, outside a transaction; it has `bytes`. An error: the database cannot be trusted any more.
    pub(super) fn look(&mut self, connection: &mut SqliteConnection, bytes: u64) -> Result<(), DbError> {
        if bytes < self.long {
            return Ok(());
        }
        self.long = bytes.saturating_add(LONG_LOG);
        match copy(connection).map_err(db_error) {
            Ok(copied) => {
                if copied.busy != 0 || copied.checkpointed < copied.log {
                    log::warn!(
                        "the log of the database is {bytes} bytes long, because somebody reads what it was before: a backup, which \
                         ends, or a shell that was forgotten (`fuser` names who has the file open)"
                    );
                }
                Ok(())
            }
            Err(error @ DbError::Fatal(_)) => Err(error),
            // No room, or somebody has it locked: what is committed stands in the log, and the next commit says what it has to.
            Err(error) => {
                log::warn!("the log of the database is {bytes} bytes long and could not be copied: {error}");
                Ok(())
            }
        }
    }
}

/// How the log stands after a copy, in pages.
#[derive(QueryableByName)]
pub(super) struct Copied {
    #[diesel(sql_type = BigInt)]
    busy: i64,
    #[diesel(sql_type = BigInt)]
    log: i64,
    #[diesel(sql_type = BigInt)]
    checkpointed: i64,
}

impl Copied {
    /// Whether another try has nothing to do, or would meet whoever was in the way of this one.
    pub(super) const fn is_over(&self) -> bool {
        self.busy != 0 || self.checkpointed == self.log
    }
}

/// Copies what no reader needs to stay in the log, and waits for nobody.
pub(super) fn copy(connection: &mut SqliteConnection) -> QueryResult<Copied> {
    diesel::sql_query("PRAGMA wal_checkpoint(PASSIVE)").get_result(connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Backend, sqlite};
    use crate::task::Timestamp;

    #[derive(QueryableByName)]
    struct Pages {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        wal_autocheckpoint: i64,
    }

    fn slice() -> Write {
        Write::Cleanup { finished_before: Timestamp(0), after: None, limit: 4 }
    }

    #[test]
    fn a_cleanup_has_the_log_copied_in_small_parts() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut backend = sqlite::open(&dir.path().join("c.db"), 1).expect("a new database").backend;
        let mut pages_after = |write: Write| {
            backend.commit(&[write]).expect("committed").remove(0).expect("written");
            let asked = diesel::sql_query("PRAGMA wal_autocheckpoint");
            asked.get_result::<Pages>(backend.connection()).expect("told").wal_autocheckpoint
        };
        assert_eq!(pages_after(Write::PutSetting { name: "x".into(), value: None }), i64::from(LARGE_COPY));
        assert_eq!(pages_after(slice()), i64::from(SMALL_COPY));
    }

    #[test]
    fn a_cleanup_is_over_a_while_after_its_last_slice() {
        let began = Instant::now();
        let small = Copies::Large.before(&[slice()], began);
        assert!(small.before(&[], began + SLICES_APART / 2) == small);
        assert!(small.before(&[], began + SLICES_APART) == Copies::Large);
        let later = began + SLICES_APART / 2;
        assert!(small.before(&[slice()], later).before(&[], began + SLICES_APART) != Copies::Large);
        assert!(Copies::Large.before(&[], began) == Copies::Large);
    }
}
