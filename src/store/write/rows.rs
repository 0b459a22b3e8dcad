//! The row operations that a backend offers inside a transaction. No rules here.

use super::cleanup::{FinishedPlace, Slice};
use super::image::{KeptImage, NewImage};
use super::{Account, DbError, ScheduleRows};
use crate::publish::{Handout, PieceIdentity};
use crate::task::content::{ContentRecord, NewContent, PoolEntry, PoolState, Publication, PublishState, Version};
use crate::task::{
    AccountId, Attempt, AttemptState, AuditRow, ContentId, GeneratorName, PoolId, Task, TaskId, Timestamp,
};

/// The row operations that a backend offers inside a transaction. No rules here.
pub trait Rows: ScheduleRows + super::NoticeRows {
    /// An account by number.
    fn account(&mut self, id: AccountId) -> Result<Option<Account>, DbError>;
    /// An account by its unique name.
    fn account_by_name(&mut self, name: &str) -> Result<Option<Account>, DbError>;
    /// Inserts an account and gives its number.
    fn insert_account(&mut self, name: &str, external_id: Option<&str>, now: Timestamp) -> Result<Account, DbError>;
    /// Writes everything of an account but its name and its number.
    fn update_account(&mut self, account: &Account) -> Result<(), DbError>;
    /// How many tasks of an account are not final, at whatever generator; counted up to `at_most`.
    fn unfinished_of(&mut self, account: AccountId, at_most: u32) -> Result<u32, DbError>;
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
    /// Writes a task over its row, which is as `before`; says how many rows with its id, state and attempt there were.
    fn update_task(&mut self, task: &Task, before: &Task) -> Result<usize, DbError>;
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
    /// Inserts an attempt of a task of this generator.
    fn insert_attempt(&mut self, attempt: &Attempt, generator: &GeneratorName) -> Result<(), DbError>;
    /// Writes an attempt over its row.
    fn update_attempt(&mut self, attempt: &Attempt, before: &Attempt) -> Result<(), DbError>;
    /// Appends to the audit trail.
    fn insert_audit(&mut self, audit: &AuditRow) -> Result<(), DbError>;
    /// What a submitter's key was used for: task and digest.
    fn submit_key(&mut self, key: &str) -> Result<Option<(TaskId, String)>, DbError>;
    /// Remembers a submitter's key, for as long as contents are kept.
    fn insert_submit_key(&mut self, key: &str, task: &TaskId, digest: &str, now: Timestamp) -> Result<(), DbError>;
    /// A content record.
    fn content(&mut self, id: ContentId) -> Result<Option<ContentRecord>, DbError>;
    /// Whose piece a content record is, without reading the piece.
    fn task_of_content(&mut self, id: ContentId) -> Result<Option<TaskId>, DbError>;
    /// The versions of a task's piece, oldest first.
    fn versions_of(&mut self, task_id: &TaskId) -> Result<Vec<Version>, DbError>;
    /// Inserts an image that is to be kept.
    fn insert_image(&mut self, image: &NewImage) -> Result<(), DbError>;
    /// The images of a content record, by position.
    fn images_of(&mut self, content_id: ContentId) -> Result<Vec<KeptImage>, DbError>;
    /// An image by number.
    fn image(&mut self, id: i64) -> Result<Option<KeptImage>, DbError>;
    /// Writes what came of an image.
    fn update_image(&mut self, image: &KeptImage, now: Timestamp) -> Result<(), DbError>;
    /// Inserts a content record and gives its number.
    fn insert_content(&mut self, content: &NewContent) -> Result<ContentId, DbError>;
    /// Writes review and publish state of a record, and which task writes it again.
    fn update_content_review(&mut self, content: &ContentRecord, now: Timestamp) -> Result<(), DbError>;
    /// The pool entry of a content record that is not removed.
    fn pool_entry_of(&mut self, content_id: ContentId) -> Result<Option<PoolEntry>, DbError>;
    /// Inserts a pool entry (its `id` is not looked at) and gives its number.
    fn insert_pool_entry(&mut self, entry: &PoolEntry) -> Result<PoolId, DbError>;
    /// Writes a pool entry's status.
    fn set_pool_status(&mut self, id: PoolId, status: PoolState) -> Result<(), DbError>;
    /// Entries that may go out: those in the pool that are not known to be published, and those that were taken out of it and whose
    /// piece is still approved, because they can be put back.
    fn unpublished_pool_entries(&mut self) -> Result<Vec<PoolId>, DbError>;
    /// Entries that wait for a release, by number.
    fn held_pool_entries(&mut self) -> Result<Vec<PoolEntry>, DbError>;
    /// The last entry of a content record that was taken out while it was held, and stands in doubt since.
    fn pool_doubt_of(&mut self, content_id: ContentId) -> Result<Option<PoolEntry>, DbError>;
    /// Which text a content record is, without the text.
    fn piece_identity(&mut self, content_id: ContentId) -> Result<Option<PieceIdentity>, DbError>;
    /// How often a piece was handed out, in all its entries of the pool.
    fn times_handed_out(&mut self, content_id: ContentId) -> Result<u64, DbError>;
    /// A pool entry.
    fn pool_entry(&mut self, id: PoolId) -> Result<Option<PoolEntry>, DbError>;
    /// Writes a pool entry over its row.
    fn update_pool_entry(&mut self, entry: &PoolEntry) -> Result<(), DbError>;
    /// Pending entries that are due, in the order of going out; of one account if given.
    fn due_pool_entries(
        &mut self,
        account: Option<AccountId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<PoolEntry>, DbError>;
    /// One handing out of an entry.
    fn handout(&mut self, id: PoolId, fence: u64) -> Result<Option<Handout>, DbError>;
    /// The last handing out of an entry that stands in doubt and has not ended, whatever was handed out after it.
    fn unanswered_handout(&mut self, id: PoolId) -> Result<Option<Handout>, DbError>;
    /// What a consumer's request was given, by entry.
    fn handouts_of_request(&mut self, holder: &str, request: &str) -> Result<Vec<Handout>, DbError>;
    /// Inserts a handing out.
    fn insert_handout(&mut self, handout: &Handout) -> Result<(), DbError>;
    /// Writes a handing out over its row.
    fn update_handout(&mut self, handout: &Handout) -> Result<(), DbError>;
    /// Remembers where a piece went, and writes its publish state.
    fn publish_content(&mut self, id: ContentId, publication: &Publication) -> Result<(), DbError>;
    /// Writes the publish state of a content record.
    fn set_publish_status(&mut self, id: ContentId, status: PublishState, now: Timestamp) -> Result<(), DbError>;
    /// A setting.
    fn setting(&mut self, name: &str) -> Result<Option<String>, DbError>;
    /// Stores or removes a setting.
    fn put_setting(&mut self, name: &str, value: Option<&str>) -> Result<(), DbError>;
    /// Marks every task that has failed, timed out or been cancelled as restored at a time.
    fn mark_ended(&mut self, at: Timestamp) -> Result<(), DbError>;
    /// Of final tasks that became so before a time and are not watched any more, oldest first and behind a place: those that may go.
    fn finished_before(&mut self, time: Timestamp, after: Option<FinishedPlace>, limit: u32) -> Result<Slice, DbError>;
    /// Deletes a task with its attempts and audit rows; content records and submit keys stay.
    fn delete_task(&mut self, id: &TaskId) -> Result<(), DbError>;
    /// Adds to every wake time, and to the quiet, unchanged and watch times of attempts that may be alive. When
    /// an attempt was intended is a fact and stays.
    fn shift_wake_times(&mut self, by_ms: i64) -> Result<(), DbError>;
}
