//! The in-memory twin of the database, for tests and simulations. It passes the same conformance suite.
//!
//! Not for production: it keeps everything in maps and copies the whole state around each write, so that a refused
//! write leaves nothing behind. A simulated crash keeps the [`MemoryDb`] and drops everything else: it is the disk.

mod notice;
mod pieces;
mod pool;
mod queries;
mod rows;
mod schedules;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::query::{Page, TaskFilter};
use super::write::{Account, KeptImage, Write, WriteError, Written, execute};
use super::{Backend, DbError, InlineWriter, ReadMode, Store};
use crate::publish::Handout;
use crate::publish::key::SEED_SETTING;
use crate::task::content::{ContentRecord, PoolEntry, ReviewState};
use crate::task::{Attempt, AuditRow, Task, TaskId, TaskState, Timestamp};

#[derive(Clone, Default)]
struct Tables {
    accounts: Vec<Account>,
    tasks: BTreeMap<TaskId, Task>,
    attempts: BTreeMap<(TaskId, u32), Attempt>,
    events: Vec<AuditRow>,
    contents: Vec<ContentRecord>,
    pool: Vec<PoolEntry>,
    images: Vec<KeptImage>,
    handouts: Vec<Handout>,
    settings: BTreeMap<String, String>,
    submit_keys: BTreeMap<String, (TaskId, String)>,
    last_seq: i64,
    schedules: schedules::ScheduleTables,
    notices: notice::NoticeTables,
}

/// The twin's disk. Clones share it.
#[derive(Clone)]
pub struct MemoryDb {
    tables: Arc<Mutex<Tables>>,
    /// The same rows once more, where each write is tried first: one that is refused must leave nothing behind.
    trial: Arc<Mutex<Tables>>,
}

impl Default for MemoryDb {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDb {
    /// An empty one. Its publish keys follow from a seed that every twin has.
    pub fn new() -> Self {
        let seed = (SEED_SETTING.to_owned(), "twin".to_owned());
        let tables = Tables { settings: BTreeMap::from([seed]), ..Tables::default() };
        Self { tables: Arc::new(Mutex::new(tables.clone())), trial: Arc::new(Mutex::new(tables)) }
    }

    /// A store on it that commits inline.
    pub fn store(&self) -> Store {
        let backend = Arc::new(Mutex::new(self.clone()));
        Store::new(Arc::new(InlineWriter::new(backend)), Arc::new(self.clone()), ReadMode::Inline)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every audit row, oldest first.
    pub fn all_events(&self) -> Vec<AuditRow> {
        self.tables().events.clone()
    }

    /// Every attempt.
    pub fn all_attempts(&self) -> Vec<Attempt> {
        self.tables().attempts.values().cloned().collect()
    }

    /// Every task.
    pub fn all_tasks(&self) -> Vec<Task> {
        self.tables().tasks.values().cloned().collect()
    }

    /// Every content record, whole.
    pub fn all_contents(&self) -> Vec<ContentRecord> {
        self.tables().contents.clone()
    }

    /// Every pool entry.
    pub fn all_pool_entries(&self) -> Vec<PoolEntry> {
        self.tables().pool.clone()
    }

    /// Every handing out, in the order of insertion.
    pub fn all_handouts(&self) -> Vec<Handout> {
        self.tables().handouts.clone()
    }
}

impl Backend for MemoryDb {
    fn commit(&mut self, batch: &[Write]) -> Result<Vec<Result<Written, WriteError>>, DbError> {
        let (mut tables, mut trial) = (self.tables(), self.trial.lock().unwrap_or_else(PoisonError::into_inner));
        // Whatever is drawn or read from a clock comes in with the write, so it does the same both times.
        let mut commit = |write: &Write| match execute(&mut *trial, write) {
            Ok(_) => execute(&mut *tables, write),
            Err(error) => {
                trial.clone_from(&tables);
                Err(error)
            }
        };
        Ok(batch.iter().map(&mut commit).collect())
    }
}

fn count_up(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX - 1) + 1
}

fn page_of<T>(items: Vec<T>, page: Page) -> Vec<T> {
    items.into_iter().skip(page.offset as usize).take(page.limit as usize).collect()
}

/// It has ended before a time, and its job is not watched any more.
fn is_over(task: &Task, time: Timestamp) -> bool {
    task.state.is_final() && task.wake_at.is_none() && task.completed_at.is_some_and(|at| at < time)
}

impl Tables {
    fn has_piece_that_waits(&self, task: &Task) -> bool {
        self.contents.iter().any(|content| {
            content.record.task_id == task.id && content.record.review_status == ReviewState::PendingReview
        })
    }

    fn current(&self, task: &Task) -> Option<Attempt> {
        self.attempts.get(&(task.id.clone(), task.attempt)).cloned()
    }

    fn matches(&self, filter: &TaskFilter, task: &Task) -> bool {
        let is_overdue = |now| {
            let deadline = self.current(task).and_then(|attempt| attempt.deadline);
            matches!(task.state, TaskState::Submitted | TaskState::Processing | TaskState::Cancelling)
                && deadline.is_some_and(|deadline| deadline.has_passed(now))
        };
        (filter.states.is_empty() || filter.states.contains(&task.state))
            && filter.account.is_none_or(|account| account == task.account_id)
            && filter.generator.as_ref().is_none_or(|generator| *generator == task.generator)
            && filter.since.is_none_or(|since| task.created_at >= since)
            && filter.error.as_ref().is_none_or(|text| {
                let error = task.error.as_deref().unwrap_or_default().to_ascii_lowercase();
                error.contains(&text.to_ascii_lowercase())
            })
            && filter.overdue_at.as_ref().is_none_or(is_overdue)
    }
}
