//! The writing side: a batch of writes is one transaction and one fsync.
//!
//! The surprise: a write has no savepoint of its own, because nearly every refusal comes before its first row is changed and
//! a savepoint would cost each write for the sake of few. Where a write failed after it may have changed rows
//! (SQLite counts them, and is asked once a batch), the whole batch is rolled back and done again *carefully*, each write in a
//! savepoint. A submit of many tasks is refused in the middle often enough to get its savepoint at once, if others share its batch:
//! at the end of each statement SQLite goes through all that the savepoint around it would have to undo.
//!
//! What a statement or a savepoint would have to undo is kept in memory ([`Undo`]): SQLite keeps a copy of each page that is touched,
//! and beyond 64 KiB it would make a temporary file for it, write the pages and remove it again, several times in a batch.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::connection::db_error;
use super::lock::OwnerLock;
use super::rows::SqliteRows;
use super::whereabouts::Whereabouts;
use crate::store::write::{AccountWrite, PoolWrite, ScheduleWrite, Write, WriteError, Written, execute};
use crate::store::{Backend, DbError};

type Answer = Result<Written, WriteError>;

diesel::define_sql_function! {
    /// How many rows this connection has changed so far, those of triggers and foreign keys included.
    fn total_changes() -> diesel::sql_types::BigInt;
}

/// The one writer of a database.
pub struct SqliteBackend {
    connection: SqliteConnection,
    whereabouts: Whereabouts,
    last_sync: Option<Duration>,
    undo: Option<Undo>,
    copies: Copies,
    /// Given back after the connection is closed.
    _lock: OwnerLock,
}

/// Where SQLite keeps the pages as they were before a statement or a savepoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Undo {
    /// For writes of bounded size.
    InMemory,
    /// For a write that may touch every task there is, and for one of many tasks: a thousand of them are some 50 MB, because each
    /// keeps the pages that it touches beside those that the savepoint around them keeps.
    InFile,
}

/// How many pages of the log are copied into the database at once, in the commit that finds so many. Whoever waits for a commit
/// waits for that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copies {
    /// As SQLite does by itself: most pages of the log are there several times, and are copied once.
    Large,
    /// While old tasks are deleted, whose pages lie all over the file: for so many more batches.
    Small { left: u32 },
}

/// SQLite's own number of pages.
const LARGE_COPY: u32 = 1_000;
const SMALL_COPY: u32 = 100;
/// So many batches after the last slice of a cleanup the next one is over.
const SLICES_APART: u32 = 64;

/// How a batch is carried out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    /// A savepoint only where many rows are at stake.
    Quick,
    /// A savepoint for every write.
    Careful,
}

impl SqliteBackend {
    pub(super) fn new(connection: SqliteConnection, whereabouts: Whereabouts, lock: OwnerLock) -> Self {
        Self { connection, whereabouts, last_sync: None, undo: None, copies: Copies::Large, _lock: lock }
    }

    /// The writing connection, for tests that look behind the seam.
    pub fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    fn run(&mut self, sql: &str) -> Result<(), DbError> {
        self.connection.batch_execute(sql).map_err(db_error)
    }

    /// Outside a transaction, because SQLite looks when one begins.
    fn keep_undo(&mut self, undo: Undo) -> Result<(), DbError> {
        if self.undo != Some(undo) {
            self.run(match undo {
                Undo::InMemory => "PRAGMA temp_store = MEMORY",
                Undo::InFile => "PRAGMA temp_store = FILE",
            })?;
            self.undo = Some(undo);
        }
        Ok(())
    }

    /// Outside a transaction, like the above.
    fn copy_in(&mut self, copies: Copies) -> Result<(), DbError> {
        let is_new = std::mem::discriminant(&copies) != std::mem::discriminant(&self.copies);
        self.copies = copies;
        let pages = match copies {
            _ if !is_new => return Ok(()),
            Copies::Large => LARGE_COPY,
            Copies::Small { .. } => SMALL_COPY,
        };
        self.run(&format!("PRAGMA wal_autocheckpoint = {pages}"))
    }

    fn changes(&mut self) -> Result<i64, DbError> {
        diesel::select(total_changes()).get_result(&mut self.connection).map_err(db_error)
    }

    /// The answers of a whole batch inside the open transaction; none where it must be done again with care.
    fn execute_all(&mut self, batch: &[Write], care: Care) -> Result<Option<Vec<Answer>>, DbError> {
        let mut answers = Vec::with_capacity(batch.len());
        // How many rows were changed before this write; asked once a batch, and not known behind a write that has changed some.
        let mut before = Some(self.changes()?);
        for write in batch {
            // Alone in its batch it is undone with it.
            let answer = if care == Care::Careful || (batch.len() > 1 && is_of_many_rows(write)) {
                before = None;
                self.execute_in_savepoint(write)?
            } else {
                let answer = execute(&mut SqliteRows { connection: &mut self.connection }, write);
                match before {
                    _ if answer.is_ok() => before = None,
                    Some(before) if self.changes()? == before => {}
                    Some(_) | None => return Ok(None),
                }
                answer
            };
            if let Err(WriteError::Db(error @ (DbError::StorageFull(_) | DbError::Fatal(_)))) = answer {
                return Err(error);
            }
            answers.push(answer);
        }
        Ok(Some(answers))
    }

    fn execute_in_savepoint(&mut self, write: &Write) -> Result<Answer, DbError> {
        self.run("SAVEPOINT one_write")?;
        let answer = execute(&mut SqliteRows { connection: &mut self.connection }, write);
        if answer.is_err() {
            // SQLite has ended the whole transaction on some failures; then this fails, and so does the batch.
            self.run("ROLLBACK TO one_write")?;
        }
        self.run("RELEASE one_write")?;
        Ok(answer)
    }

    fn commit_with(&mut self, batch: &[Write], care: Care) -> Result<Option<Vec<Answer>>, DbError> {
        self.keep_undo(if batch.iter().any(is_large) { Undo::InFile } else { Undo::InMemory })?;
        self.copy_in(self.copies.before(batch))?;
        self.run("BEGIN IMMEDIATE")?;
        let answers = match self.execute_all(batch, care) {
            Ok(Some(answers)) => {
                // With synchronous=FULL this is the write to the log and its fsync.
                let began = Instant::now();
                let committed = self.run("COMMIT");
                self.last_sync = Some(began.elapsed());
                committed.map(|()| Some(answers))
            }
            other => other,
        };
        if !matches!(answers, Ok(Some(_))) {
            // Fails where SQLite has rolled back by itself, which is what is wanted.
            let _ = self.connection.batch_execute("ROLLBACK");
        }
        answers
    }
}

impl Copies {
    fn before(self, batch: &[Write]) -> Self {
        let is_cleanup = batch.iter().any(|write| matches!(write, Write::Cleanup { .. }));
        match self {
            _ if is_cleanup => Self::Small { left: SLICES_APART },
            Self::Small { left } if left > 0 => Self::Small { left: left - 1 },
            Self::Small { .. } | Self::Large => Self::Large,
        }
    }
}

fn is_of_many_rows(write: &Write) -> bool {
    match write {
        Write::SubmitTasks { tasks, .. } => tasks.len() > 1,
        Write::Schedule(ScheduleWrite::Submit { .. } | ScheduleWrite::HoldAll { .. }) => true,
        Write::Account(AccountWrite::Import { entries, .. }) => entries.len() > 1,
        Write::AddAccount { .. }
        | Write::Account(AccountWrite::Set { .. })
        | Write::Content(_)
        | Write::Image(_)
        | Write::Transition(_)
        | Write::Review { .. }
        | Write::PutSetting { .. }
        | Write::Pool(_)
        | Write::MarkEnded { .. }
        | Write::Schedule(_)
        | Write::Cleanup { .. }
        | Write::ShiftWakeTimes { .. }
        | Write::Notice(_) => false,
    }
}

/// How many rows of one write are undone from memory: some 6 MB.
const FEW_ROWS: usize = 128;

fn is_large(write: &Write) -> bool {
    match write {
        Write::MarkEnded { .. }
        | Write::ShiftWakeTimes { .. }
        | Write::Schedule(ScheduleWrite::HoldAll { .. })
        | Write::Pool(PoolWrite::Release { .. } | PoolWrite::HoldRestored { .. }) => true,
        Write::SubmitTasks { tasks, .. } | Write::Schedule(ScheduleWrite::Submit { tasks, .. }) => {
            tasks.len() > FEW_ROWS
        }
        Write::Account(AccountWrite::Import { entries, .. }) => entries.len() > FEW_ROWS,
        Write::AddAccount { .. }
        | Write::Account(_)
        | Write::Content(_)
        | Write::Image(_)
        | Write::Transition(_)
        | Write::Review { .. }
        | Write::PutSetting { .. }
        | Write::Pool(_)
        | Write::Cleanup { .. }
        | Write::Schedule(_)
        | Write::Notice(_) => false,
    }
}

impl Backend for SqliteBackend {
    fn commit(&mut self, batch: &[Write]) -> Result<Vec<Answer>, DbError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.look()?;
        let answers = match self.commit_with(batch, Care::Quick)? {
            Some(answers) => answers,
            None => self
                .commit_with(batch, Care::Careful)?
                .ok_or_else(|| DbError::Fatal("a careful commit gave no answers".into()))?,
        };
        // Nothing is acknowledged that the next start would not find.
        self.look()?;
        Ok(answers)
    }

    fn look(&mut self) -> Result<(), DbError> {
        self.whereabouts.look()
    }

    fn last_sync(&self) -> Option<Duration> {
        self.last_sync
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite;
    use crate::task::Timestamp;

    #[derive(QueryableByName)]
    struct Pages {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        wal_autocheckpoint: i64,
    }

    #[test]
    fn the_log_is_copied_in_small_parts_as_long_as_a_cleanup_goes_on() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut backend = sqlite::open(&dir.path().join("c.db"), 1).expect("a new database").backend;
        let mut pages_after = |write: Write| {
            backend.commit(&[write]).expect("committed").remove(0).expect("written");
            let pages: Pages =
                diesel::sql_query("PRAGMA wal_autocheckpoint").get_result(&mut backend.connection).expect("told");
            pages.wal_autocheckpoint
        };
        let other = || Write::PutSetting { name: "x".into(), value: None };
        let slice = || Write::Cleanup { finished_before: Timestamp(0), after: None, limit: 4 };
        assert_eq!(pages_after(other()), i64::from(LARGE_COPY));
        for _ in 0..2 {
            assert_eq!(pages_after(slice()), i64::from(SMALL_COPY));
            for _ in 0..SLICES_APART {
                assert_eq!(pages_after(other()), i64::from(SMALL_COPY));
            }
        }
        assert_eq!(pages_after(other()), i64::from(LARGE_COPY));
        assert_eq!(pages_after(slice()), i64::from(SMALL_COPY));
    }
}
