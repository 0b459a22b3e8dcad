//! What can be written, and the one place that does it.
//!
//! [`execute`] runs inside a transaction of whatever backend over its [`Rows`]. It reads the rows, lets the core judge,
//! and writes rows, audit row, content record and pool entry together. It must not talk to anything but `Rows`.

use std::sync::Arc;

use thiserror::Error;

use super::DbError;
use crate::task::content::{
    ContentRecord, NewContent, PoolEntry, PoolState, PublishState, RenderedPiece, ReviewMove, ReviewState, summary_of,
    title_of, word_count,
};
use crate::task::outcome::Piece;
use crate::task::state::{IllegalMove, TaskMove, TaskState};
use crate::task::{
    AccountId, Attempt, AttemptKey, AttemptState, AuditRow, Change, ContentId, Context, Event, Now, PieceFate, Policy,
    PoolId, Refusal, Task, TaskId, Timestamp, apply,
};

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
    /// See [`Context::is_late_piece_wanted`].
    pub is_late_piece_wanted: bool,
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
    /// Deletes finished tasks with their attempts and audit rows, oldest first.
    Cleanup {
        /// Only what became final before this time.
        finished_before: Timestamp,
        /// At most so many, so that nobody waits long.
        limit: u32,
    },
    /// The wall clock was set: every time that something is still measured by moves with it.
    ShiftWakeTimes {
        /// By how many milliseconds.
        by_ms: i64,
    },
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
    /// Of `Transition`.
    Changed(Box<Changed>),
    /// Of `Review`.
    Reviewed(Box<ContentRecord>),
    /// Of `PutSetting` and `ShiftWakeTimes`.
    Stored,
    /// Of `Cleanup`.
    Cleaned {
        /// How many tasks were deleted.
        count: u32,
    },
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
    /// The submitter's key was used for something else.
    #[error("key {key:?} was used for task {task_id} with another body")]
    KeyReused {
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
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

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
    /// A task.
    fn task(&mut self, id: &TaskId) -> Result<Option<Task>, DbError>;
    /// Inserts a task and gives its row number.
    fn insert_task(&mut self, task: &Task) -> Result<i64, DbError>;
    /// Writes a task over the row with this id, state and attempt; says how many rows that were.
    fn update_task(&mut self, task: &Task, state_before: TaskState, attempt_before: u32) -> Result<usize, DbError>;
    /// An attempt.
    fn attempt(&mut self, task_id: &TaskId, number: u32) -> Result<Option<Attempt>, DbError>;
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
    /// Stores or removes a setting.
    fn put_setting(&mut self, name: &str, value: Option<&str>) -> Result<(), DbError>;
    /// Final tasks that became so before a time and are not watched any more, oldest first.
    fn finished_before(&mut self, time: Timestamp, limit: u32) -> Result<Vec<TaskId>, DbError>;
    /// Deletes a task with its attempts and audit rows; content records and submit keys stay.
    fn delete_task(&mut self, id: &TaskId) -> Result<(), DbError>;
    /// Adds to every wake time, and to the quiet, unchanged and watch times of attempts that may be alive. When
    /// an attempt was intended is a fact and stays.
    fn shift_wake_times(&mut self, by_ms: i64) -> Result<(), DbError>;
}

/// Does one write inside a transaction.
pub fn execute(rows: &mut dyn Rows, write: &Write) -> Result<Written, WriteError> {
    match write {
        Write::AddAccount { name, external_id, now } => {
            if rows.account_by_name(name)?.is_some() {
                return Err(WriteError::AccountExists(name.clone()));
            }
            Ok(Written::Account(rows.insert_account(name, external_id.as_deref(), *now)?))
        }
        Write::SubmitTasks { tasks, max_pending, now } => submit_tasks(rows, tasks, *max_pending, now),
        Write::Transition(transition) => transit(rows, transition),
        Write::Review { content_id, decision, reason, expected_hash, who, now } => {
            let review = Review { decision: *decision, reason, expected_hash, who, now: *now };
            review.carry_out(rows, *content_id)
        }
        Write::PutSetting { name, value } => {
            rows.put_setting(name, value.as_deref())?;
            Ok(Written::Stored)
        }
        Write::Cleanup { finished_before, limit } => {
            let ids = rows.finished_before(*finished_before, *limit)?;
            for id in &ids {
                rows.delete_task(id)?;
            }
            Ok(Written::Cleaned { count: u32::try_from(ids.len()).unwrap_or(u32::MAX) })
        }
        Write::ShiftWakeTimes { by_ms } => {
            rows.shift_wake_times(*by_ms)?;
            Ok(Written::Stored)
        }
    }
}

fn submit_tasks(rows: &mut dyn Rows, tasks: &[NewTask], max_pending: u64, now: &Now) -> Result<Written, WriteError> {
    let unfinished = rows.unfinished_tasks()?;
    let mut room = max_pending.saturating_sub(unfinished);
    let mut submitted = Vec::with_capacity(tasks.len());
    for new in tasks {
        if let Some(known) = known_task(rows, new)? {
            submitted.push(known);
            continue;
        }
        room = room.checked_sub(1).ok_or(WriteError::Busy { unfinished, limit: max_pending })?;
        submitted.push(insert_task(rows, new, now)?);
    }
    Ok(Written::Submitted(submitted))
}

/// The task that this key has submitted before.
fn known_task(rows: &mut dyn Rows, new: &NewTask) -> Result<Option<SubmittedTask>, WriteError> {
    let Some(key) = new.task.key.as_deref() else { return Ok(None) };
    let Some((task_id, digest)) = rows.submit_key(key)? else { return Ok(None) };
    if digest != new.digest {
        return Err(WriteError::KeyReused { key: key.to_owned(), task_id });
    }
    // A task that was cleaned up meanwhile cannot be shown, but is not submitted a second time either.
    let task = rows.task(&task_id)?.ok_or(WriteError::KeyReused { key: key.to_owned(), task_id })?;
    Ok(Some(SubmittedTask { task, attempt: None, was_known: true }))
}

fn insert_task(rows: &mut dyn Rows, new: &NewTask, now: &Now) -> Result<SubmittedTask, WriteError> {
    let account = rows.account(new.task.account_id)?;
    let account = account.ok_or_else(|| WriteError::AccountNotFound(new.task.account_id.to_string()))?;
    if !account.is_enabled {
        return Err(WriteError::AccountDisabled(account.name));
    }
    let mut task = new.task.clone();
    task.seq = rows.insert_task(&task)?;
    if let Some(key) = &task.key {
        rows.insert_submit_key(key, &task.id, &new.digest, task.created_at)?;
    }
    rows.insert_audit(&AuditRow {
        task_id: task.id.clone(),
        at: task.created_at,
        event: SUBMITTED_EVENT.to_owned(),
        from_state: None,
        to_state: task.state,
        attempt: 0,
        attempt_from: None,
        attempt_to: None,
        why: task.rewrites.as_ref().map(|id| format!("writes {id} again")),
        who: task.submitted_by.clone(),
    })?;
    let Some(claim) = &new.claim else {
        return Ok(SubmittedTask { task, attempt: None, was_known: false });
    };
    let context = Context { now, policy: &claim.policy, draw: 0.5, who: apply::CONTENTD, is_late_piece_wanted: false };
    let change = apply(&task, None, Event::Claimed { key: claim.key.clone() }, &context)
        .map_err(|refusal| WriteError::Refused { task_id: task.id.clone(), state: task.state, refusal })?;
    write_change(rows, &task, None, &change)?;
    Ok(SubmittedTask { task: change.task, attempt: change.attempt, was_known: false })
}

fn transit(rows: &mut dyn Rows, transition: &Transition) -> Result<Written, WriteError> {
    let task_id = &transition.task_id;
    let task = rows.task(task_id)?.ok_or_else(|| WriteError::TaskNotFound(task_id.clone()))?;
    if let Some(asked) = transition.attempt.filter(|asked| *asked != task.attempt) {
        return Err(WriteError::Stale { asked, current: task.attempt });
    }
    let attempt = if task.attempt == 0 { None } else { rows.attempt(task_id, task.attempt)? };
    let env = &transition.env;
    let context = Context {
        now: &env.now,
        policy: &env.policy,
        draw: env.draw,
        who: &env.who,
        is_late_piece_wanted: env.is_late_piece_wanted,
    };
    let mut change = apply(&task, attempt.as_ref(), transition.event.clone(), &context)
        .map_err(|refusal| WriteError::Refused { task_id: task_id.clone(), state: task.state, refusal })?;
    let (content_id, pool_id) = match change.piece.take() {
        Some((piece, fate)) => keep_piece(rows, &mut change, &piece, fate, transition)?,
        None => (None, None),
    };
    write_change(rows, &task, attempt.as_ref(), &change)?;
    Ok(Written::Changed(Box::new(Changed { from: task.state, change, content_id, pool_id })))
}

fn write_change(
    rows: &mut dyn Rows,
    task: &Task,
    attempt: Option<&Attempt>,
    change: &Change,
) -> Result<(), WriteError> {
    if let Some(after) = &change.attempt {
        match attempt {
            Some(before) if before.number == after.number => {
                if before != after {
                    rows.update_attempt(after)?;
                }
            }
            // A new attempt beside an ended one; the old row was written when it ended.
            Some(_) | None => rows.insert_attempt(after)?,
        }
    }
    let changed = rows.update_task(&change.task, task.state, task.attempt)?;
    if changed != 1 {
        return Err(WriteError::Db(DbError::Fatal(format!("task {} changed inside its transaction", task.id))));
    }
    if let Some(audit) = &change.audit {
        rows.insert_audit(audit)?;
    }
    Ok(())
}

/// Makes the content record of a piece, its review state and its pool entry, in the transaction of its change.
fn keep_piece(
    rows: &mut dyn Rows,
    change: &mut Change,
    piece: &Piece,
    fate: PieceFate,
    transition: &Transition,
) -> Result<(Option<ContentId>, Option<PoolId>), WriteError> {
    let now = transition.env.now.utc;
    let rendered = transition.rendered.clone().unwrap_or_default();
    let task = &mut change.task;
    let is_approved = task.auto_approve && fate == PieceFate::Completes;
    let why = match (fate, task.auto_approve) {
        (PieceFate::KeptLate, _) => "came after its task was cancelled",
        (PieceFate::Completes, true) => "approved automatically",
        (PieceFate::Completes, false) => "the task asks for a review",
    };
    let content = NewContent {
        task_id: task.id.clone(),
        account_id: task.account_id,
        version: rows.contents_of(&task.id)? + 1,
        title: title_of(&task.topic),
        content: piece.content.clone(),
        html_content: rendered.html,
        summary: summary_of(&rendered.plain_text),
        cover_image: piece.images.first().map(|image| image.url.clone()),
        images: piece.images.clone(),
        word_count: word_count(&rendered.plain_text),
        quality_score: piece.score,
        category: task.category.clone(),
        review_status: if is_approved { ReviewState::Approved } else { ReviewState::PendingReview },
        review_reason: Some(why.to_owned()),
        reviewed_by: is_approved.then(|| apply::CONTENTD.to_owned()),
        publish_status: if is_approved { PublishState::Pooled } else { PublishState::Unpublished },
        content_hash: rendered.content_hash,
        created_at: now,
    };
    let content_id = rows.insert_content(&content)?;
    task.content_id = Some(content_id);
    if !is_approved {
        return Ok((Some(content_id), None));
    }
    let pool_id = rows.insert_pool_entry(&new_pool_entry(content_id, task.account_id, task.priority, now))?;
    Ok((Some(content_id), Some(pool_id)))
}

fn new_pool_entry(content_id: ContentId, account_id: AccountId, priority: u8, now: Timestamp) -> PoolEntry {
    PoolEntry {
        id: PoolId(0),
        content_id,
        account_id,
        priority,
        scheduled_at: now,
        status: PoolState::Pending,
        retry_count: 0,
        last_error: None,
        published_at: None,
        created_at: now,
    }
}

struct Review<'a> {
    decision: ReviewMove,
    reason: &'a Option<String>,
    expected_hash: &'a Option<String>,
    who: &'a str,
    now: Timestamp,
}

impl Review<'_> {
    fn carry_out(&self, rows: &mut dyn Rows, content_id: ContentId) -> Result<Written, WriteError> {
        let mut content = rows.content(content_id)?.ok_or(WriteError::ContentNotFound(content_id))?;
        let before = content.record.review_status;
        if let Some(expected) = self.expected_hash.as_ref().filter(|hash| **hash != content.record.content_hash) {
            let actual = content.record.content_hash.clone();
            return Err(WriteError::HashChanged { content_id, expected: expected.clone(), actual });
        }
        let after = before.after(self.decision).map_err(|illegal| WriteError::ReviewRefused {
            content_id,
            state: before,
            illegal,
        })?;
        match self.decision {
            ReviewMove::Approved => self.pool(rows, &mut content)?,
            ReviewMove::Rejected => Self::unpool(rows, &mut content)?,
        }
        content.record.review_status = after;
        content.record.review_reason = self.reason.clone();
        content.record.reviewed_by = Some(self.who.to_owned());
        rows.update_content_review(&content, self.now)?;
        self.write_audit(rows, &content, before)?;
        Ok(Written::Reviewed(Box::new(content)))
    }

    fn pool(&self, rows: &mut dyn Rows, content: &mut ContentRecord) -> Result<(), WriteError> {
        let priority = rows.task(&content.record.task_id)?.map_or(5, |task| task.priority);
        let entry = new_pool_entry(content.id, content.record.account_id, priority, self.now);
        rows.insert_pool_entry(&entry)?;
        content.record.publish_status = PublishState::Pooled;
        Ok(())
    }

    fn unpool(rows: &mut dyn Rows, content: &mut ContentRecord) -> Result<(), WriteError> {
        let Some(entry) = rows.pool_entry_of(content.id)? else { return Ok(()) };
        match entry.status {
            PoolState::Pending | PoolState::Failed => rows.set_pool_status(entry.id, PoolState::Removed)?,
            PoolState::Publishing | PoolState::Published => return Err(WriteError::AlreadyPublished(content.id)),
            PoolState::Removed => {}
        }
        content.record.publish_status = PublishState::Unpublished;
        Ok(())
    }

    /// The review stands in the audit trail of the task while that is kept.
    fn write_audit(&self, rows: &mut dyn Rows, content: &ContentRecord, before: ReviewState) -> Result<(), WriteError> {
        let Some(task) = rows.task(&content.record.task_id)? else { return Ok(()) };
        let change = format!("content {}: {before} → {}", content.id, content.record.review_status);
        let why = match self.reason {
            Some(reason) => format!("{change}: {reason}"),
            None => change,
        };
        rows.insert_audit(&AuditRow {
            task_id: task.id,
            at: self.now,
            event: self.decision.as_str().to_owned(),
            from_state: Some(task.state),
            to_state: task.state,
            attempt: task.attempt,
            attempt_from: None,
            attempt_to: None,
            why: Some(why),
            who: self.who.to_owned(),
        })?;
        Ok(())
    }
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
