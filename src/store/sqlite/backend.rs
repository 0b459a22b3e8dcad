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
use super::log_copying::LogCopying;
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
    log: LogCopying,
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
        Self { connection, whereabouts, last_sync: None, undo: None, log: LogCopying::default(), _lock: lock }
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
        self.log.prepare(&mut self.connection, batch, Instant::now())?;
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
        let log_bytes = self.whereabouts.look()?;
        self.log.look(&mut self.connection, log_bytes)?;
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
        self.whereabouts.look().map(|_| ())
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
