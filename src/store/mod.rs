//! Persistence behind one seam: writes that are judged inside their transaction, and queries by use case.
//!
//! - [`write`](mod@write): what can be written, and [`write::execute()`], the one place that does it, over the row operations
//!   [`write::Rows`] of any backend. Backends hold no rules.
//! - [`query`]: what can be asked.
//! - [`sqlite`]: the database that a daemon runs on; [`group_commit`] drives its writing side.
//! - [`restored`]: the mark that a restore from a backup leaves in the database
//! - [`memory`]: the in-memory twin, for tests and simulations; it passes the same conformance suite.
//! - [`Store`]: the handle that actors hold. It answers a write only after its commit, and tells every change to
//!   whoever watches.
//!
//! The surprise: the state machine runs here, inside the transaction. A caller sends an event and the attempt it
//! concerns; the row is read, judged by [`crate::task::apply()`] and written without a moment in between, so a late
//! message changes zero rows by construction.

pub mod group_commit;
mod known;
pub mod memory;
pub mod query;
pub mod restored;
pub mod sqlite;
pub mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::{Semaphore, broadcast};

use crate::metrics::Counters;
use crate::metrics::counters::answer_of;
use crate::task::{Change, Task, TaskId, TaskState};
use known::KnownAccounts;
use query::Queries;
use write::{Account, PoolWritten, ScheduleWritten, Write, WriteError, Written};

/// A failure of the database itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DbError {
    /// No space is left: submits are refused, running jobs go on.
    #[error("the disk of the database is full: {0}")]
    StorageFull(String),
    /// The database cannot be trusted any more (an fsync failed, a page is corrupt): the daemon must stop.
    #[error("the database failed: {0}")]
    Fatal(String),
    /// A statement failed; its transaction was rolled back and nothing of it stands.
    #[error("the database refused: {0}")]
    Refused(String),
}

/// The writing side of a backend: a plain function that a committing thread drives, or a simulator inline.
pub trait Backend: Send + 'static {
    /// Commits all of `batch` in one transaction and gives one answer for each write, in order. A write that is refused
    /// leaves nothing behind and does not disturb the others. `Err` means that nothing of the batch stands.
    fn commit(&mut self, batch: &[Write]) -> Result<Vec<Result<Written, WriteError>>, DbError>;
    /// How long the last commit was on its way to the disk; none where there is no disk.
    fn last_sync(&self) -> Option<Duration> {
        None
    }

    /// Called now and then while nobody writes: whether what was committed can still be found.
    fn look(&mut self) -> Result<(), DbError> {
        Ok(())
    }
}

/// Where writes go.
pub trait Writer: Send + Sync + 'static {
    /// Resolves after the commit.
    fn write(&self, write: Write) -> BoxFuture<'static, Result<Written, WriteError>>;
    /// Where it counts its commits; none where it counts nothing.
    fn counters(&self) -> Option<Counters> {
        None
    }

    /// Why nothing can be written now, as far as that is known.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// Commits each write by itself, on the caller's thread: for tests and simulations, where order is everything.
pub struct InlineWriter {
    backend: Arc<Mutex<dyn Backend>>,
}

impl InlineWriter {
    /// Wraps a backend that others may share.
    pub fn new(backend: Arc<Mutex<dyn Backend>>) -> Self {
        Self { backend }
    }
}

impl Writer for InlineWriter {
    fn write(&self, write: Write) -> BoxFuture<'static, Result<Written, WriteError>> {
        let backend = Arc::clone(&self.backend);
        Box::pin(async move {
            let mut backend = backend.lock().unwrap_or_else(PoisonError::into_inner);
            let mut answers = backend.commit(&[write]).map_err(WriteError::Db)?;
            answers.pop().unwrap_or_else(|| Err(WriteError::Db(DbError::Fatal("a commit gave no answer".into()))))
        })
    }
}

/// A committed change, as watchers hear of it.
#[derive(Clone, Debug)]
pub struct TaskChanged {
    /// The task after the change.
    pub task: Arc<Task>,
    /// Its state before; none for a new task.
    pub from: Option<TaskState>,
    /// The name of the move; none where only a note changed.
    pub event: Option<String>,
    /// Why.
    pub why: Option<String>,
    /// Who.
    pub who: Option<String>,
}

/// How queries are run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadMode {
    /// On the caller's thread: nothing blocks.
    Inline,
    /// On a thread that may block.
    Blocking,
}

/// The handle to the store that everybody holds. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: Arc<dyn Writer>,
    reader: Arc<dyn Queries>,
    mode: ReadMode,
    reads: Option<Arc<Semaphore>>,
    counters: Counters,
    accounts: Arc<KnownAccounts>,
    changes: broadcast::Sender<TaskChanged>,
}

/// How many changes a watcher may lag behind before it misses some and must look again.
pub const WATCH_BACKLOG: usize = 4096;

impl Store {
    /// Puts a store together.
    pub fn new(writer: Arc<dyn Writer>, reader: Arc<dyn Queries>, mode: ReadMode) -> Self {
        let (changes, _) = broadcast::channel(WATCH_BACKLOG);
        let counters = writer.counters().unwrap_or_default();
        Self { writer, reader, mode, reads: None, counters, accounts: Arc::default(), changes }
    }

    /// What is counted of all that is written here.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The same store for callers from outside: never more than `most` of their questions at a time, so that a reader is
    /// left for the actors, whatever is asked.
    pub fn with_read_limit(&self, most: usize) -> Self {
        Self { reads: Some(Arc::new(Semaphore::new(most))), ..self.clone() }
    }

    /// Writes, and tells watchers once it is committed.
    pub async fn write(&self, write: Write) -> Result<Written, WriteError> {
        let answer = match &write {
            Write::Transition(transition) => answer_of(&transition.event),
            _ => None,
        };
        let is_of_accounts = matches!(write, Write::AddAccount { .. } | Write::Account(_));
        if is_of_accounts {
            self.accounts.forget();
        }
        let written = self.writer.write(write).await;
        if is_of_accounts {
            self.accounts.forget();
        }
        let written = written?;
        match &written {
            Written::Submitted(tasks) => {
                for submitted in tasks.iter().filter(|submitted| !submitted.was_known) {
                    self.tell_new(&submitted.task);
                }
            }
            Written::Schedule(written) => self.tell_schedule(written),
            Written::Rewritten(_, rewriting) if !rewriting.was_known => {
                if let Some(submitted) = &rewriting.submitted {
                    self.tell_new(&submitted.task);
                }
            }
            Written::Changed(changed) => {
                self.counters.answered(changed.change.task.generator.as_str(), answer);
                self.counters.changed(&changed.change);
                self.tell_changed(changed.from, &changed.change);
            }
            Written::Account(_)
            | Written::Accounts(_)
            | Written::Rewritten(..)
            | Written::Reviewed(_)
            | Written::Stored
            | Written::Cleaned { .. }
            | Written::Noticed(_) => {}
            Written::Pool(PoolWritten::Changed { change, .. }) => {
                if let Some(event) = change.moved {
                    self.counters.pool_moved(event);
                }
            }
            Written::Pool(_) => {}
        }
        Ok(written)
    }

    fn tell_schedule(&self, written: &ScheduleWritten) {
        match written {
            ScheduleWritten::Submitted(fire, tasks) => {
                let fresh = tasks.iter().filter(|submitted| !submitted.was_known);
                fresh.for_each(|submitted| self.tell_new(&submitted.task));
                self.counters.fired(fire);
            }
            ScheduleWritten::Fire(fire) => self.counters.fired(fire),
            ScheduleWritten::Begun(fires) => fires.iter().for_each(|fire| self.counters.fired(fire)),
            ScheduleWritten::Schedule(_) | ScheduleWritten::Count(_) => {}
        }
    }

    fn tell_new(&self, task: &Task) {
        self.counters.submitted(task);
        self.tell_submitted(task);
    }

    /// Why nothing can be written now, as far as that is known: the disk is full.
    pub fn trouble(&self) -> Option<String> {
        self.writer.trouble()
    }

    fn tell_submitted(&self, task: &Task) {
        if self.changes.receiver_count() == 0 {
            return;
        }
        // No receiver is no error: nobody watches.
        let _ = self.changes.send(TaskChanged {
            task: Arc::new(task.clone()),
            from: None,
            event: Some(write::SUBMITTED_EVENT.to_owned()),
            why: None,
            who: Some(task.submitted_by.clone()),
        });
    }

    fn tell_changed(&self, from: TaskState, change: &Change) {
        if self.changes.receiver_count() == 0 {
            return;
        }
        let audit = change.audit.as_ref();
        let _ = self.changes.send(TaskChanged {
            task: Arc::new(change.task.clone()),
            from: Some(from),
            event: audit.map(|audit| audit.event.clone()),
            why: audit.and_then(|audit| audit.why.clone()),
            who: audit.map(|audit| audit.who.clone()),
        });
    }

    /// Asks. The closure runs where blocking is allowed.
    pub async fn read<T, F>(&self, ask: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Queries) -> Result<T, DbError> + Send + 'static,
    {
        match self.mode {
            ReadMode::Inline => ask(self.reader.as_ref()),
            ReadMode::Blocking => {
                let turn = match &self.reads {
                    Some(reads) => Some(Arc::clone(reads).acquire_owned().await),
                    None => None,
                };
                let reader = Arc::clone(&self.reader);
                let joined = tokio::task::spawn_blocking(move || {
                    // Kept until the question is answered, also when whoever asked has gone.
                    let _turn = turn;
                    ask(reader.as_ref())
                })
                .await;
                joined.unwrap_or_else(|error| Err(DbError::Refused(format!("a query was cut short: {error}"))))
            }
        }
    }

    /// The accounts that these numbers or names mean, read only where they were not read since an account was last written.
    pub async fn accounts(&self, names: BTreeSet<String>) -> Result<BTreeMap<String, Option<Account>>, DbError> {
        let mut found = BTreeMap::new();
        let mut unknown = Vec::new();
        for name in names {
            match self.accounts.get(&name) {
                Some(account) => {
                    found.insert(name, Some(account));
                }
                None => unknown.push(name),
            }
        }
        if unknown.is_empty() {
            return Ok(found);
        }
        let edition = self.accounts.edition();
        let read = |queries: &dyn Queries| -> Result<BTreeMap<String, Option<Account>>, DbError> {
            unknown.into_iter().map(|name| Ok((name.clone(), queries.find_account(&name)?))).collect()
        };
        let read = self.read(read).await?;
        self.accounts.keep(edition, &read);
        found.extend(read);
        Ok(found)
    }

    /// Every committed change from now on. A receiver that lags gets `Lagged` and must look for itself.
    pub fn watch(&self) -> broadcast::Receiver<TaskChanged> {
        self.changes.subscribe()
    }
}

/// What `--task` or a prefix may name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LookupError {
    /// Nothing.
    #[error("there is no task {0}")]
    NotFound(String),
    /// Several tasks.
    #[error("{prefix} is the beginning of several tasks: {}", .candidates.iter().map(TaskId::as_str).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// The first few that begin so.
        candidates: Vec<TaskId>,
    },
}
