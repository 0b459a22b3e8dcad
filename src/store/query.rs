//! What can be asked, by use case. Each question is bounded: it names a limit, or its answer is small by nature.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::write::Account;
use super::{DbError, LookupError};
use crate::task::content::{ContentRecord, PoolEntry, PoolState, ReviewState};
use crate::task::{
    AccountId, Attempt, AttemptKey, AttemptState, AuditRow, ContentId, GeneratorName, Now, Task, TaskId, TaskState,
    Timestamp,
};

/// Which tasks. Conditions hold together; an empty filter is every task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskFilter {
    /// In one of these states; empty: any.
    pub states: Vec<TaskState>,
    /// Of this account.
    pub account: Option<AccountId>,
    /// At this generator.
    pub generator: Option<GeneratorName>,
    /// Created at or after.
    pub since: Option<Timestamp>,
    /// Whose error contains this text (case-insensitive for ASCII).
    pub error: Option<String>,
    /// Accepted and past the time limit now.
    pub overdue_at: Option<Now>,
}

/// Which part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most so many.
    pub limit: u32,
    /// After so many.
    pub offset: u32,
    /// Only what has a smaller row number than this (tasks: `seq`; others: their id).
    pub before: Option<i64>,
}

impl Page {
    /// The first `limit`.
    pub const fn first(limit: u32) -> Self {
        Self { limit, offset: 0, before: None }
    }
}

/// A waiting task, as small as a lane needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyTask {
    /// Which.
    pub id: TaskId,
    /// Its priority.
    pub priority: u8,
    /// Where it stands in line.
    pub queued_at: Timestamp,
    /// Creation order, which decides among equals.
    pub seq: i64,
}

/// The head of one lane: the waiting tasks of one generator and account that may run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneHead {
    /// The generator.
    pub generator: GeneratorName,
    /// The account.
    pub account: AccountId,
    /// In the order of running.
    pub tasks: Vec<ReadyTask>,
}

/// Jobs at generators now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The generator.
    pub generator: GeneratorName,
    /// The account.
    pub account: AccountId,
    /// Active tasks, and final ones whose job is still watched.
    pub jobs: u32,
    /// Of these, the final ones.
    pub watched: u32,
}

/// Whether the files of an attempt's key are still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// A job of the attempt may be alive, or its task is held: a person may want to look.
    Needed,
    /// The attempt has ended, and so nothing reads its files again.
    Ended,
}

impl KeyUse {
    /// What an attempt and its task make of its key.
    pub const fn of(attempt: AttemptState, task: TaskState) -> Self {
        if attempt.may_be_alive() || matches!(task, TaskState::Held) { Self::Needed } else { Self::Ended }
    }
}

/// Which content records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContentFilter {
    /// Of this account.
    pub account: Option<AccountId>,
    /// With this review state.
    pub review: Option<ReviewState>,
    /// Of this task.
    pub task: Option<TaskId>,
}

/// Which pool entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolFilter {
    /// Of this account.
    pub account: Option<AccountId>,
    /// With this status; none: all but removed ones.
    pub status: Option<PoolState>,
}

/// What happened since a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Tasks by state, now.
    pub by_state: BTreeMap<String, u64>,
    /// Tasks that became completed, failed, timeout or cancelled in the time asked about.
    pub finished: BTreeMap<String, u64>,
    /// Tasks created in that time.
    pub created: u64,
    /// Retries spent by the tasks created in that time.
    pub retries: u64,
    /// Mean seconds from acceptance to completion, of those completed in that time.
    pub mean_duration_s: Option<f64>,
    /// Mean seconds from creation to acceptance, of those completed in that time.
    pub mean_wait_s: Option<f64>,
    /// Words written in that time.
    pub words: u64,
}

/// The reading side of a backend. Called on threads that may block.
pub trait Queries: Send + Sync + 'static {
    /// The task whose id is `name` or begins with it (with or without `task-`).
    fn find_task(&self, name: &str) -> Result<Result<TaskId, LookupError>, DbError>;
    /// A task and its current attempt.
    fn task(&self, id: &TaskId) -> Result<Option<(Task, Option<Attempt>)>, DbError>;
    /// Every attempt of a task, oldest first.
    fn attempts(&self, id: &TaskId) -> Result<Vec<Attempt>, DbError>;
    /// The audit trail of a task, oldest first.
    fn history(&self, id: &TaskId) -> Result<Vec<AuditRow>, DbError>;
    /// Tasks, newest first.
    fn tasks(&self, filter: &TaskFilter, page: Page) -> Result<Vec<Task>, DbError>;
    /// Pending tasks in the order of running: those ready at `now` by priority, age and `seq`, then the delayed ones by their time.
    fn pending(&self, now: Timestamp, page: Page) -> Result<Vec<Task>, DbError>;
    /// How many tasks are in each state.
    fn counts(&self) -> Result<BTreeMap<TaskState, u64>, DbError>;
    /// Tasks whose wake time has come and that are not pending, earliest first.
    fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<(Task, Attempt)>, DbError>;
    /// When the next task that is not pending wakes, of those that wake after `now`.
    fn next_wake(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError>;
    /// Every active task with its attempt: what a start must recover.
    fn active(&self) -> Result<Vec<(Task, Attempt)>, DbError>;
    /// The heads of the lanes that have ready tasks: at most `per_lane` tasks of at most `lanes` lanes, the best heads
    /// first. Lanes in `except` are left out: they cannot run now, and must not hide those that can.
    fn lane_heads(
        &self,
        now: Timestamp,
        per_lane: u32,
        lanes: u32,
        except: &BTreeSet<(GeneratorName, AccountId)>,
    ) -> Result<Vec<LaneHead>, DbError>;
    /// The ready task of a lane that is longest in line, whatever its priority is.
    fn oldest_ready(
        &self,
        now: Timestamp,
        generator: &GeneratorName,
        account: AccountId,
    ) -> Result<Option<ReadyTask>, DbError>;
    /// When the next delayed pending task becomes ready.
    fn next_ready(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError>;
    /// Jobs at generators now: attempts that may be alive, of active tasks or still watched.
    fn in_flight(&self) -> Result<Vec<InFlight>, DbError>;
    /// How many attempts of a generator were intended since a time, for each account that has any; withdrawn ones are
    /// not counted.
    fn submits_since(&self, generator: &GeneratorName, since: Timestamp) -> Result<BTreeMap<AccountId, u32>, DbError>;
    /// How long the last completed attempts of a generator took from acceptance, newest first.
    fn durations(&self, generator: &GeneratorName, limit: u32) -> Result<Vec<Duration>, DbError>;
    /// What these keys are needed for; one that no attempt has is missing from the answer. At most some hundred keys.
    fn key_uses(&self, keys: &[AttemptKey]) -> Result<BTreeMap<AttemptKey, KeyUse>, DbError>;
    /// Accounts by number.
    fn accounts(&self) -> Result<Vec<Account>, DbError>;
    /// An account by number or, if that finds none, by name.
    fn find_account(&self, id_or_name: &str) -> Result<Option<Account>, DbError>;
    /// A content record.
    fn content(&self, id: ContentId) -> Result<Option<ContentRecord>, DbError>;
    /// Content records, newest first. Their `content` and `html_content` are empty: a list does not carry pieces.
    fn contents(&self, filter: &ContentFilter, page: Page) -> Result<Vec<ContentRecord>, DbError>;
    /// Pool entries in the order in which they go out: by priority, then due time, then number.
    fn pool(&self, filter: &PoolFilter, page: Page) -> Result<Vec<PoolEntry>, DbError>;
    /// Settings whose name begins with `prefix`, by name.
    fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>, DbError>;
    /// How many finished tasks a cleanup would delete.
    fn count_finished_before(&self, time: Timestamp) -> Result<u64, DbError>;
    /// Statistics since a time (none: ever), of one account or generator if given.
    fn statistics(
        &self,
        since: Option<Timestamp>,
        account: Option<AccountId>,
        generator: Option<&GeneratorName>,
    ) -> Result<Statistics, DbError>;
}
