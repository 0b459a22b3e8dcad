//! What can be written, what the answers are, and which state may follow which in SQL.
//!
//! [`execute()`] does it, inside a transaction of whatever backend, over its [`Rows`].

mod account;
mod cleanup;
mod content;
mod execute;
mod image;
mod notice;
mod pool;
mod review;
mod rows;
mod schedule;
mod submit;

use std::sync::Arc;

use thiserror::Error;

use super::DbError;
use crate::publish::PoolRefusal;
use crate::task::account::{AccountDefaults, AccountLimits};
use crate::task::content::{ContentRecord, PoolState, RenderedPiece, ReviewMove, ReviewState};
use crate::task::state::{IllegalMove, TaskMove, TaskState};
use crate::task::{
    AccountId, Attempt, AttemptKey, AttemptState, Change, ContentId, Event, Now, Policy, PoolId, Refusal, Task, TaskId,
    Timestamp,
};
pub use account::{AccountEntry, AccountOutcome, AccountWrite};
pub use cleanup::{FinishedPlace, FinishedTask, MOST_LOOKED_AT, Slice};
pub use content::{ContentWrite, PieceRules, Rewriting};
pub use execute::execute;
pub use image::{ImageWrite, KeptImage, NewImage};
pub use notice::{NoticeRows, NoticeWrite, Noticed, SILENCE_SETTING, Silence, changes, silence_of};
pub use pool::{HandOut, PoolWrite, PoolWritten};
pub use rows::Rows;
pub use schedule::{ScheduleError, ScheduleRows, ScheduleWrite, ScheduleWritten, Taken};

/// The setting that holds the clock's anchor of the last start.
pub const ANCHOR_SETTING: &str = "clock/anchor";
/// The event of a task's first audit row.
pub const SUBMITTED_EVENT: &str = "submitted";

/// Somebody content is written for.
#[derive(Clone, PartialEq, Debug)]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// Its name, unique.
    pub name: String,
    /// What another system calls it.
    pub external_id: Option<String>,
    /// Whether tasks are accepted for it.
    pub is_enabled: bool,
    /// When it was added.
    pub created_at: Timestamp,
    /// What its submits get that do not say.
    pub defaults: AccountDefaults,
    /// How much it may have.
    pub limits: AccountLimits,
}

/// A task to insert, and what goes with it.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// The task as it will stand: pending, attempt 0, `seq` 0.
    pub task: Task,
    /// SHA-256 of what was asked, in hexadecimal: the same key with another digest is refused.
    pub digest: String,
    /// A worker is free: the first attempt's intent goes into the same commit.
    pub claim: Option<Claim>,
    /// How many unfinished tasks its generator may have.
    pub limits: PendingLimits,
}

/// A generator's own bounds of unfinished tasks; a task that would pass one is refused. They are looked at inside the
/// transaction and only for a task that is new, so that a submit that is repeated is never told that there is no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PendingLimits {
    /// In all.
    pub in_all: Option<u32>,
    /// Of the task's account, at this generator.
    pub of_account: Option<u32>,
}

/// What a claim needs.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The fresh key.
    pub key: AttemptKey,
    /// The generator.
    pub policy: Arc<Policy>,
}

/// What the core is told of the world, owned, so that it can travel to the committing thread.
#[derive(Clone, Debug)]
pub struct Env {
    /// Both clocks.
    pub now: Now,
    /// The generator.
    pub policy: Arc<Policy>,
    /// A number in 0..1.
    pub draw: f64,
    /// Who does it.
    pub who: String,
    /// See [`crate::task::Context::is_late_piece_wanted`].
    pub is_late_piece_wanted: bool,
    /// See [`crate::task::Context::is_outage`].
    pub is_outage: bool,
}

/// A transition to write.
#[derive(Clone, Debug)]
pub struct Transition {
    /// Whose.
    pub task_id: TaskId,
    /// The attempt that the event is about; another current attempt makes the message stale. None: whichever it is.
    pub attempt: Option<u32>,
    /// What happened.
    pub event: Event,
    /// The world.
    pub env: Env,
    /// The renderings of the piece that the event brings.
    pub rendered: Option<RenderedPiece>,
    /// What is asked of that piece.
    pub rules: Arc<PieceRules>,
}

/// Everything that can be written.
#[derive(Clone, Debug)]
pub enum Write {
    /// A new account.
    AddAccount {
        /// Its name.
        name: String,
        /// What another system calls it.
        external_id: Option<String>,
        /// When.
        now: Timestamp,
    },
    /// A change of accounts.
    Account(AccountWrite),
    /// A new version of a piece, or a piece that is to be written again.
    Content(Box<ContentWrite>),
    /// What came of an image that is to be kept.
    Image(ImageWrite),
    /// New tasks: all of them, or none.
    SubmitTasks {
        /// The tasks.
        tasks: Vec<NewTask>,
        /// How many unfinished tasks there may be; one more is refused.
        max_pending: u64,
        /// The world at the submit, for claims.
        now: Now,
    },
    /// Something happened to a task.
    Transition(Box<Transition>),
    /// Somebody reviewed a piece.
    Review {
        /// Which.
        content_id: ContentId,
        /// Approve or reject.
        decision: ReviewMove,
        /// Why.
        reason: Option<String>,
        /// The hash that was looked at; another hash is refused.
        expected_hash: Option<String>,
        /// Who.
        who: String,
        /// When the piece shall go out, where it is approved; none: at once.
        due: Option<Timestamp>,
        /// When.
        now: Timestamp,
    },
    /// A setting of the daemon: pauses, breakers. `None` removes it.
    PutSetting {
        /// Its name.
        name: String,
        /// JSON.
        value: Option<String>,
    },
    /// After a restore: every task that has ended without a piece is marked, because it may have been started again since the
    /// backup. Its state stays.
    MarkEnded {
        /// When the restore was made.
        at: Timestamp,
    },
    /// Something about the publish pool.
    Pool(PoolWrite),
    /// Deletes finished tasks with their attempts and audit rows, oldest first, but not those whose piece waits for a review.
    Cleanup {
        /// Only what became final before this time.
        finished_before: Timestamp,
        /// Behind this one, where an earlier slice has ended.
        after: Option<FinishedPlace>,
        /// At most so many, so that nobody waits long.
        limit: u32,
    },
    /// Something about a schedule or one of its fires.
    Schedule(ScheduleWrite),
    /// The wall clock was set: every time that something is still measured by moves with it.
    ShiftWakeTimes {
        /// By how many milliseconds.
        by_ms: i64,
        /// What the next start compares its clock with: in one with the shift, so that no death between the two has it shift again.
        anchor: String,
    },
    /// Alarms, and the messages about them.
    Notice(Box<NoticeWrite>),
}

/// A task after a submit.
#[derive(Clone, PartialEq, Debug)]
pub struct SubmittedTask {
    /// As it stands.
    pub task: Task,
    /// Its first attempt, where it was claimed in the same commit.
    pub attempt: Option<Attempt>,
    /// The key was known with the same body: nothing was inserted.
    pub was_known: bool,
}

/// What a transition changed.
#[derive(Clone, PartialEq, Debug)]
pub struct Changed {
    /// The task's state before.
    pub from: TaskState,
    /// Everything after. The piece itself is not in it any more.
    pub change: Change,
    /// The content record that was made.
    pub content_id: Option<ContentId>,
    /// The pool entry that was made.
    pub pool_id: Option<PoolId>,
}

/// The answer to a [`Write`].
#[derive(Clone, PartialEq, Debug)]
pub enum Written {
    /// Of `AddAccount`.
    Account(Account),
    /// Of `SubmitTasks`, in order.
    Submitted(Vec<SubmittedTask>),
    /// Of `Account`, in order, with what became of each.
    Accounts(Vec<(Account, AccountOutcome)>),
    /// Of `Content`, where a piece is written again: the rejected record, the new task and whether it was there before.
    Rewritten(Box<ContentRecord>, Box<Rewriting>),
    /// Of `Transition`.
    Changed(Box<Changed>),
    /// Of `Review`, and of `Content` where a version was made.
    Reviewed(Box<ContentRecord>),
    /// Of `Schedule`.
    Schedule(Box<ScheduleWritten>),
    /// Of `PutSetting`, `Image` and `ShiftWakeTimes`.
    Stored,
    /// Of `Pool`.
    Pool(PoolWritten),
    /// Of `Cleanup`.
    Cleaned {
        /// The tasks that were deleted.
        tasks: Vec<TaskId>,
        /// Where the next slice goes on; none where nothing follows.
        next: Option<FinishedPlace>,
    },
    /// Of `Notice`.
    Noticed(Noticed),
}

/// Why a write was refused. Nothing of it stands.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum WriteError {
    /// No such task.
    #[error("there is no task {0}")]
    TaskNotFound(TaskId),
    /// No such account.
    #[error("there is no account {0}")]
    AccountNotFound(String),
    /// The account takes no tasks.
    #[error("account {0} is disabled")]
    AccountDisabled(String),
    /// The name is taken.
    #[error("there is an account named {0:?} already")]
    AccountExists(String),
    /// No such content record.
    #[error("there is no content {0}")]
    ContentNotFound(ContentId),
    /// The message is about an attempt that is not the current one.
    #[error("the message is about attempt {asked}, and the task is at attempt {current}")]
    Stale {
        /// What the message is about.
        asked: u32,
        /// What the task is at.
        current: u32,
    },
    /// The core refused.
    #[error("task {task_id} is {state}: {refusal}")]
    Refused {
        /// Which task.
        task_id: TaskId,
        /// Its state.
        state: TaskState,
        /// Why.
        refusal: Refusal,
    },
    /// The review cannot move so.
    #[error("content {content_id} is {state}: {illegal}")]
    ReviewRefused {
        /// Which.
        content_id: ContentId,
        /// Its review state.
        state: ReviewState,
        /// Why.
        illegal: IllegalMove,
    },
    /// The piece is published and cannot be called back.
    #[error("content {0} is published already")]
    AlreadyPublished(ContentId),
    /// No such pool entry.
    #[error("there is no pool entry {0}")]
    PoolEntryNotFound(PoolId),
    /// The pool entry was handed out anew since.
    #[error("pool entry {id} is at fence {current}, and {asked} was named")]
    StaleFence {
        /// Which.
        id: PoolId,
        /// The number that was named.
        asked: u64,
        /// The number that it has.
        current: u64,
    },
    /// The core refused something about the pool.
    #[error("pool entry {id} is {state}: {refusal}")]
    PoolRefused {
        /// Which.
        id: PoolId,
        /// Its state.
        state: PoolState,
        /// Why.
        refusal: PoolRefusal,
    },
    /// The piece is not the one that was looked at.
    #[error("content {content_id} has hash {actual} now, and {expected} was reviewed")]
    HashChanged {
        /// Which.
        content_id: ContentId,
        /// The hash that was looked at.
        expected: String,
        /// The hash it has.
        actual: String,
    },
    /// The piece is written again already, with another remark.
    #[error("content {content_id} is written again by {task_id} already, with another remark")]
    OtherRemark {
        /// Which.
        content_id: ContentId,
        /// The task that writes it again.
        task_id: TaskId,
        /// The remark that came too late.
        remark: String,
    },
    /// Another version of the piece is in the pool's hands, or out.
    #[error("content {other}, another version of content {content_id}, is published or being published")]
    OtherVersionOut {
        /// Which.
        content_id: ContentId,
        /// The other version.
        other: ContentId,
    },
    /// The piece may have gone out, or been written again, between a backup and its restore.
    #[error("the database was restored from a backup, and content {content_id} may be out, or written again, since")]
    OutSinceRestore {
        /// Which.
        content_id: ContentId,
        /// Whose piece it is.
        task_id: TaskId,
        /// The state of that task.
        state: TaskState,
    },
    /// The submitter's key was used for something else.
    #[error("key {key:?} was used for task {task_id} with another body")]
    KeyReused {
        /// The key.
        key: String,
        /// What it was used for.
        task_id: TaskId,
    },
    /// The submitter's key was used for a task that was cleaned up since.
    #[error("key {key:?} was used for task {task_id}, which was cleaned up since")]
    KeySpent {
        /// The key.
        key: String,
        /// What it was used for.
        task_id: TaskId,
    },
    /// Too many tasks are unfinished.
    #[error("{unfinished} tasks are unfinished, and {limit} are allowed")]
    Busy {
        /// How many.
        unfinished: u64,
        /// How many may be.
        limit: u64,
    },
    /// A write about a schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Too many tasks of the account are unfinished.
    #[error("{unfinished} tasks of account {account} are unfinished, and {limit} are allowed")]
    AccountBusy {
        /// Its name.
        account: String,
        /// How many.
        unfinished: u64,
        /// How many may be.
        limit: u64,
    },
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Every pair of task states that an UPDATE may make, for the SQL guard.
pub fn task_edges() -> Vec<(TaskState, TaskState)> {
    let mut edges: Vec<_> = TaskState::ALL
        .iter()
        .flat_map(|from| TaskMove::ALL.iter().filter_map(|event| Some((*from, from.target(*event)?))))
        .filter(|(from, to)| from != to)
        .collect();
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// Every pair of attempt states that an UPDATE may make, for the SQL guard.
pub fn attempt_edges() -> Vec<(AttemptState, AttemptState)> {
    let all = AttemptState::ALL;
    all.iter().flat_map(|from| all.iter().filter(|to| from.may_become(**to)).map(|to| (*from, *to))).collect()
}

/// Every pair of review states that an UPDATE may make, for the SQL guard.
pub fn review_edges() -> Vec<(ReviewState, ReviewState)> {
    let moves = ReviewMove::ALL;
    ReviewState::ALL
        .iter()
        .flat_map(|from| moves.iter().filter_map(|event| Some((*from, from.target(*event)?))))
        .collect()
}
