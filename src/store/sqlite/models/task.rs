//! Rows of the table `tasks`. What was asked is written once; [`TaskChanges`] carries what a transition may change and
//! [`TaskNotes`] what changes while the state stays, so that a poll without news touches no index but the agenda's.

use diesel::prelude::*;

use super::super::schema::tasks;
use super::{json, millis, narrowed, parsed, time, unreadable};
use crate::store::DbError;
use crate::task::{AccountId, ContentId, GeneratorName, Task, TaskId, Timestamp};

/// A task as it lies in its table.
#[derive(Queryable, Selectable)]
#[diesel(table_name = tasks)]
pub struct TaskRow {
    seq: i64,
    id: String,
    account_id: i64,
    generator: String,
    state: String,
    priority: i64,
    auto_approve: bool,
    attempt: i64,
    retry_count: i64,
    max_retries: i64,
    time_limit_s: i64,
    created_at: i64,
    queued_at: i64,
    submitted_at: Option<i64>,
    started_at: Option<i64>,
    completed_at: Option<i64>,
    wake_at: Option<i64>,
    updated_at: i64,
    content_id: Option<i64>,
    key: Option<String>,
    submitted_by: String,
    rewrites: Option<String>,
    progress: Option<String>,
    reason: Option<String>,
    error: Option<String>,
    category: Option<String>,
    tone: Option<String>,
    keywords: String,
    topic: String,
    requirements: Option<String>,
    restored_at: Option<i64>,
    not_before: Option<i64>,
}

impl TaskRow {
    /// As the core knows it.
    pub fn into_record(self) -> Result<Task, DbError> {
        let row = format_args!("task {}", self.id).to_string();
        let keywords = serde_json::from_str(&self.keywords).map_err(|error| unreadable(&row, "keywords", error))?;
        Ok(Task {
            seq: self.seq,
            account_id: AccountId(self.account_id),
            topic: self.topic,
            keywords,
            category: self.category,
            requirements: self.requirements,
            tone: self.tone,
            priority: narrowed(&row, "priority", self.priority)?,
            auto_approve: self.auto_approve,
            generator: GeneratorName(self.generator),
            state: parsed(&row, "state", &self.state)?,
            attempt: narrowed(&row, "attempt", self.attempt)?,
            retry_count: narrowed(&row, "retry_count", self.retry_count)?,
            max_retries: narrowed(&row, "max_retries", self.max_retries)?,
            time_limit_s: narrowed(&row, "time_limit_s", self.time_limit_s)?,
            progress: self.progress,
            reason: self.reason,
            error: self.error,
            content_id: self.content_id.map(ContentId),
            key: self.key,
            submitted_by: self.submitted_by,
            rewrites: self.rewrites.map(TaskId),
            created_at: Timestamp(self.created_at),
            queued_at: Timestamp(self.queued_at),
            submitted_at: time(self.submitted_at),
            started_at: time(self.started_at),
            completed_at: time(self.completed_at),
            wake_at: time(self.wake_at),
            updated_at: Timestamp(self.updated_at),
            restored_at: time(self.restored_at),
            not_before: time(self.not_before),
            id: TaskId(self.id),
        })
    }
}

/// A task to insert; its `seq` is the database's to give.
#[derive(Insertable)]
#[diesel(table_name = tasks, treat_none_as_default_value = false)]
pub struct NewTaskRow<'a> {
    id: &'a str,
    account_id: i64,
    generator: &'a str,
    state: &'static str,
    priority: i64,
    auto_approve: bool,
    attempt: i64,
    retry_count: i64,
    max_retries: i64,
    time_limit_s: i64,
    created_at: i64,
    queued_at: i64,
    submitted_at: Option<i64>,
    started_at: Option<i64>,
    completed_at: Option<i64>,
    wake_at: Option<i64>,
    updated_at: i64,
    content_id: Option<i64>,
    key: Option<&'a str>,
    submitted_by: &'a str,
    rewrites: Option<&'a str>,
    progress: Option<&'a str>,
    reason: Option<&'a str>,
    error: Option<&'a str>,
    category: Option<&'a str>,
    tone: Option<&'a str>,
    keywords: String,
    topic: &'a str,
    requirements: Option<&'a str>,
    restored_at: Option<i64>,
    not_before: Option<i64>,
}

impl<'a> NewTaskRow<'a> {
    /// The row of `task`.
    pub fn of(task: &'a Task) -> Result<Self, DbError> {
        Ok(Self {
            id: task.id.as_str(),
            account_id: task.account_id.0,
            generator: task.generator.as_str(),
            state: task.state.as_str(),
            priority: task.priority.into(),
            auto_approve: task.auto_approve,
            attempt: task.attempt.into(),
            retry_count: task.retry_count.into(),
            max_retries: task.max_retries.into(),
            time_limit_s: task.time_limit_s.into(),
            created_at: task.created_at.0,
            queued_at: task.queued_at.0,
            submitted_at: millis(task.submitted_at),
            started_at: millis(task.started_at),
            completed_at: millis(task.completed_at),
            wake_at: millis(task.wake_at),
            updated_at: task.updated_at.0,
            content_id: task.content_id.map(|id| id.0),
            key: task.key.as_deref(),
            submitted_by: &task.submitted_by,
            rewrites: task.rewrites.as_ref().map(TaskId::as_str),
            progress: task.progress.as_deref(),
            reason: task.reason.as_deref(),
            error: task.error.as_deref(),
            category: task.category.as_deref(),
            tone: task.tone.as_deref(),
            keywords: json("keywords", &task.keywords)?,
            topic: &task.topic,
            requirements: task.requirements.as_deref(),
            restored_at: millis(task.restored_at),
            not_before: millis(task.not_before),
        })
    }
}

/// What a transition may change. What was asked, by whom and for whom is not in it.
#[derive(AsChangeset)]
#[diesel(table_name = tasks, treat_none_as_null = true)]
pub struct TaskChanges<'a> {
    state: &'static str,
    priority: i64,
    auto_approve: bool,
    attempt: i64,
    retry_count: i64,
    max_retries: i64,
    time_limit_s: i64,
    queued_at: i64,
    submitted_at: Option<i64>,
    started_at: Option<i64>,
    completed_at: Option<i64>,
    wake_at: Option<i64>,
    updated_at: i64,
    content_id: Option<i64>,
    progress: Option<&'a str>,
    reason: Option<&'a str>,
    error: Option<&'a str>,
    restored_at: Option<i64>,
    not_before: Option<i64>,
}

impl<'a> From<&'a Task> for TaskChanges<'a> {
    fn from(task: &'a Task) -> Self {
        Self {
            state: task.state.as_str(),
            priority: task.priority.into(),
            auto_approve: task.auto_approve,
            attempt: task.attempt.into(),
            retry_count: task.retry_count.into(),
            max_retries: task.max_retries.into(),
            time_limit_s: task.time_limit_s.into(),
            queued_at: task.queued_at.0,
            submitted_at: millis(task.submitted_at),
            started_at: millis(task.started_at),
            completed_at: millis(task.completed_at),
            wake_at: millis(task.wake_at),
            updated_at: task.updated_at.0,
            content_id: task.content_id.map(|id| id.0),
            progress: task.progress.as_deref(),
            reason: task.reason.as_deref(),
            error: task.error.as_deref(),
            restored_at: millis(task.restored_at),
            not_before: millis(task.not_before),
        }
    }
}

/// What most changes within a state are about, and nothing that is in line, limited, counted or final: SQLite rewrites every index,
/// and runs every trigger, that a statement names a column of, changed or not, so the others are not named.
#[derive(AsChangeset)]
#[diesel(table_name = tasks, treat_none_as_null = true)]
pub struct TaskNotes<'a> {
    started_at: Option<i64>,
    wake_at: Option<i64>,
    updated_at: i64,
    progress: Option<&'a str>,
    reason: Option<&'a str>,
    error: Option<&'a str>,
}

impl<'a> From<&'a Task> for TaskNotes<'a> {
    fn from(task: &'a Task) -> Self {
        Self {
            started_at: millis(task.started_at),
            wake_at: millis(task.wake_at),
            updated_at: task.updated_at.0,
            progress: task.progress.as_deref(),
            reason: task.reason.as_deref(),
            error: task.error.as_deref(),
        }
    }
}

impl TaskNotes<'_> {
    /// Whether nothing else that a transition may change differs, but for what [`TaskMoves`] names.
    pub fn are_all(task: &Task, before: &Task) -> bool {
        // By name, so that a new field is not forgotten.
        let Task {
            id: _,
            seq: _,
            account_id: _,
            topic: _,
            keywords: _,
            category: _,
            requirements: _,
            tone: _,
            priority,
            auto_approve,
            generator: _,
            state: _,
            attempt: _,
            retry_count,
            max_retries,
            time_limit_s,
            progress: _,
            reason: _,
            error: _,
            content_id,
            key: _,
            submitted_by: _,
            rewrites: _,
            created_at: _,
            queued_at,
            submitted_at: _,
            started_at: _,
            completed_at,
            wake_at: _,
            updated_at: _,
            restored_at,
            not_before,
        } = before;
        let is_of_state = task.state != before.state || task.attempt != before.attempt;
        (is_of_state || task.submitted_at == before.submitted_at)
            && task.priority == *priority
            && task.auto_approve == *auto_approve
            && task.retry_count == *retry_count
            && task.max_retries == *max_retries
            && task.time_limit_s == *time_limit_s
            && task.content_id == *content_id
            && task.queued_at == *queued_at
            && task.completed_at == *completed_at
            && task.restored_at == *restored_at
            && task.not_before == *not_before
    }
}

/// The same of a change of the state or the attempt.
#[derive(AsChangeset)]
#[diesel(table_name = tasks, treat_none_as_null = true)]
pub struct TaskMoves<'a> {
    state: &'static str,
    attempt: i64,
    submitted_at: Option<i64>,
    #[diesel(embed)]
    notes: TaskNotes<'a>,
}

impl<'a> From<&'a Task> for TaskMoves<'a> {
    fn from(task: &'a Task) -> Self {
        Self {
            state: task.state.as_str(),
            attempt: task.attempt.into(),
            submitted_at: millis(task.submitted_at),
            notes: TaskNotes::from(task),
        }
    }
}
