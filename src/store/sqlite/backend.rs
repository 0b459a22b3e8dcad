//! The writing side: a batch of writes is one transaction and one fsync.
//!
//! The surprise: a write has no savepoint of its own, because nearly every refusal comes before its first row is changed and
//! a savepoint would cost each write for the sake of few. Where a write failed after it had changed rows
//! (SQLite counts them), the whole batch is rolled back and done again *carefully*, each write in a
//! savepoint. A submit of many tasks is refused in the middle often enough to get its savepoint at once, if others share its batch;
//! alone it is undone with it, because at the end of each statement SQLite goes through all that a savepoint around it would have to undo.
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
    /// While old tasks are deleted, whose pages lie all over the file.
    Small {
        /// When the cleanup is over, if no other slice comes.
        until: Instant,
    },
}

/// SQLite's own number of pages.
const LARGE_COPY: u32 = 1_000;
const SMALL_COPY: u32 = 100;
/// No slice of a cleanup comes so long after the last.
const SLICES_APART: Duration = Duration::from_secs(1);

/// What came of a batch in its transaction.
enum Executed {
    /// An answer for each write, to be committed.
    Whole(Vec<Answer>),
    /// The only write was refused after it had changed rows.
    Refused(Answer),
    /// One was, and it has no savepoint: all of it is to be done again with care.
    InPart,
}

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

    /// A whole batch inside the open transaction.
    fn execute_all(&mut self, batch: &[Write], care: Care) -> Result<Executed, DbError> {
        let mut answers = Vec::with_capacity(batch.len());
        // How many rows were changed before this write.
        let mut before = self.changes()?;
        for (index, write) in batch.iter().enumerate() {
            let is_alone = batch.len() == 1;
            let is_careful = care == Care::Careful || (!is_alone && is_of_many_rows(write));
            let answer = if is_careful {
                self.execute_in_savepoint(write)?
            } else {
                execute(&mut SqliteRows { connection: &mut self.connection }, write)
            };
            if let Err(WriteError::Db(error @ (DbError::StorageFull(_) | DbError::Fatal(_)))) = answer {
                return Err(error);
            }
            if !is_careful && answer.is_err() && self.changes()? != before {
                return Ok(if is_alone { Executed::Refused(answer) } else { Executed::InPart });
            }
            if (is_careful || answer.is_ok()) && index + 1 < batch.len() {
                before = self.changes()?;
            }
            answers.push(answer);
        }
        Ok(Executed::Whole(answers))
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
        self.copy_in(self.copies.before(batch, Instant::now()))?;
        self.run("BEGIN IMMEDIATE")?;
        let undone = match self.execute_all(batch, care) {
            Ok(Executed::Whole(answers)) => return self.commit_whole(answers).map(Some),
            Ok(Executed::Refused(answer)) => Ok(Some(vec![answer])),
            Ok(Executed::InPart) => Ok(None),
            Err(error) => Err(error),
        };
        self.roll_back();
        undone
    }

    /// With synchronous=FULL this is the write to the log and its fsync.
    fn commit_whole(&mut self, answers: Vec<Answer>) -> Result<Vec<Answer>, DbError> {
        let began = Instant::now();
        let committed = self.run("COMMIT");
        self.last_sync = Some(began.elapsed());
        if committed.is_err() {
            self.roll_back();
        }
        committed.map(|()| answers)
    }

    fn roll_back(&mut self) {
        // Fails where SQLite has rolled back by itself, which is what is wanted.
        let _ = self.connection.batch_execute("ROLLBACK");
    }
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
    use crate::store::write::{NewTask, PendingLimits};
    use crate::task::{AccountId, Clock, Task, Timestamp};

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
            asked.get_result::<Pages>(&mut backend.connection).expect("told").wal_autocheckpoint
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

    /// Alone it is undone with its batch; beside others it is done again with a savepoint around it.
    #[test]
    fn what_is_refused_in_the_middle_leaves_nothing_and_costs_nobody_else() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut backend = sqlite::open(&dir.path().join("c.db"), 1).expect("a new database").backend;
        let account = Write::AddAccount { name: "one".into(), external_id: None, now: Timestamp(0) };
        backend.commit(&[account]).expect("committed").remove(0).expect("added");
        let many = |count: usize| Write::SubmitTasks {
            tasks: (0..count).map(|_| new_task()).collect(),
            max_pending: 5,
            now: crate::host::SystemClock::new().now(),
        };
        let mut counts = |batch: &[Write]| {
            let answers = backend.commit(batch).expect("committed");
            let tasks: i64 =
                crate::store::sqlite::schema::tasks::table.count().get_result(backend.connection()).expect("counted");
            (answers.iter().map(Result::is_ok).collect::<Vec<_>>(), tasks)
        };
        assert_eq!(counts(&[many(6)]), (vec![false], 0));
        assert_eq!(counts(&[many(2), many(6), many(1)]), (vec![true, false, true], 3));
        // Refused before its first row, behind one that has changed some.
        assert_eq!(counts(&[many(2), many(1)]), (vec![true, false], 5));
    }

    fn new_task() -> NewTask {
        let id = crate::task::Entropy::task_id(&crate::host::OsEntropy);
        let mut task = Task::blank(id, AccountId(1), "g".into(), Timestamp(1));
        task.topic = "a topic".to_owned();
        NewTask { task, digest: String::new(), claim: None, limits: PendingLimits::default() }
    }
}
