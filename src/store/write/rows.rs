//! The row operations that a backend offers inside a transaction. No rules here.

use super::{Account, DbError};
use crate::task::content::{ContentRecord, NewContent, PoolEntry, PoolState};
use crate::task::state::TaskState;
use crate::task::{
    AccountId, Attempt, AttemptState, AuditRow, ContentId, GeneratorName, PoolId, Task, TaskId, Timestamp,
};

/// The row operations that a backend offers inside a transaction. No rules here.
pub trait Rows {
    /// An account by number.
    fn account(&mut self, id: AccountId) -> Result<Option<Account>, DbError>;
    /// An account by its unique name.
    fn account_by_name(&mut self, name: &str) -> Result<Option<Account>, DbError>;
    /// Inserts an account and gives its number.
    fn insert_account(&mut self, name: &str, external_id: Option<&str>, now: Timestamp) -> Result<Account, DbError>;
    /// How many tasks are not final.
    fn unfinished_tasks(&mut self) -> Result<u64, DbError>;
    /// How many tasks of a generator, of one account if given, are not final; counted up to `at_most`.
    fn unfinished_at(
        &mut self,
        generator: &GeneratorName,
        account: Option<AccountId>,
        at_most: u32,
    ) -> Result<u32, DbError>;
    /// A task.
    fn task(&mut self, id: &TaskId) -> Result<Option<Task>, DbError>;
    /// Inserts a task and gives its row number.
    fn insert_task(&mut self, task: &Task) -> Result<i64, DbError>;
    /// Writes a task over the row with this id, state and attempt; says how many rows that were.
    fn update_task(&mut self, task: &Task, state_before: TaskState, attempt_before: u32) -> Result<usize, DbError>;
    /// An attempt.
    fn attempt(&mut self, task_id: &TaskId, number: u32) -> Result<Option<Attempt>, DbError>;
    /// Another task of a generator that has an attempt for this job, in one of these states: by its reference, or by the key that
    /// is the reference of some jobs.
    fn owner_of_job(
        &mut self,
        generator: &GeneratorName,
        reference: &str,
        states: &[AttemptState],
        but: &TaskId,
    ) -> Result<Option<TaskId>, DbError>;
    /// Inserts an attempt.
    fn insert_attempt(&mut self, attempt: &Attempt) -> Result<(), DbError>;
    /// Writes an attempt over its row.
    fn update_attempt(&mut self, attempt: &Attempt) -> Result<(), DbError>;
    /// Appends to the audit trail.
    fn insert_audit(&mut self, audit: &AuditRow) -> Result<(), DbError>;
    /// What a submitter's key was used for: task and digest.
    fn submit_key(&mut self, key: &str) -> Result<Option<(TaskId, String)>, DbError>;
    /// Remembers a submitter's key, for as long as contents are kept.
    fn insert_submit_key(&mut self, key: &str, task: &TaskId, digest: &str, now: Timestamp) -> Result<(), DbError>;
    /// A content record.
    fn content(&mut self, id: ContentId) -> Result<Option<ContentRecord>, DbError>;
    /// How many content records a task has.
    fn contents_of(&mut self, task_id: &TaskId) -> Result<u32, DbError>;
    /// Inserts a content record and gives its number.
    fn insert_content(&mut self, content: &NewContent) -> Result<ContentId, DbError>;
    /// Writes review and publish state of a record.
    fn update_content_review(&mut self, content: &ContentRecord, now: Timestamp) -> Result<(), DbError>;
    /// The pool entry of a content record that is not removed.
    fn pool_entry_of(&mut self, content_id: ContentId) -> Result<Option<PoolEntry>, DbError>;
    /// Inserts a pool entry (its `id` is not looked at) and gives its number.
    fn insert_pool_entry(&mut self, entry: &PoolEntry) -> Result<PoolId, DbError>;
    /// Writes a pool entry's status.
    fn set_pool_status(&mut self, id: PoolId, status: PoolState) -> Result<(), DbError>;
    /// Entries that are in the pool and not known to be published.
    fn unpublished_pool_entries(&mut self) -> Result<Vec<PoolId>, DbError>;
    /// Entries that wait for a release, by number.
    fn held_pool_entries(&mut self) -> Result<Vec<PoolEntry>, DbError>;
    /// Holds an entry back for a reason, or lets it go.
    fn hold_pool_entry(&mut self, id: PoolId, reason: Option<&str>) -> Result<(), DbError>;
    /// A setting.
    fn setting(&mut self, name: &str) -> Result<Option<String>, DbError>;
    /// Stores or removes a setting.
    fn put_setting(&mut self, name: &str, value: Option<&str>) -> Result<(), DbError>;
    /// Marks every task that has failed, timed out or been cancelled as restored at a time.
    fn mark_ended(&mut self, at: Timestamp) -> Result<(), DbError>;
    /// Final tasks that became so before a time and are not watched any more, oldest first.
    fn finished_before(&mut self, time: Timestamp, limit: u32) -> Result<Vec<TaskId>, DbError>;
    /// Deletes a task with its attempts and audit rows; content records and submit keys stay.
    fn delete_task(&mut self, id: &TaskId) -> Result<(), DbError>;
    /// Adds to every wake time, and to the quiet, unchanged and watch times of attempts that may be alive. When
    /// an attempt was intended is a fact and stays.
    fn shift_wake_times(&mut self, by_ms: i64) -> Result<(), DbError>;
}
