//! How the core's records look on the wire.
//!
//! Plain conversion, no questions asked. Field names and their order are a promise to other programs.

use serde_json::Value;

use super::api::{
    AccountSettingsValue, AccountView, AttemptView, ContentReply, ContentView, HistoryEntry, PoolView, PooledView,
    TaskView,
};
use crate::store::write::Account;
use crate::task::apply::ways_out;
use crate::task::content::{ContentRecord, PoolEntry};
use crate::task::outcome::Image;
use crate::task::{Attempt, AuditRow, Task, TaskState};

impl TaskView {
    /// A task with its current attempt, where there is one.
    pub fn of(task: &Task, attempt: Option<&Attempt>) -> Self {
        // A pending task has no job: what an earlier attempt left is told by `show`.
        let job = attempt.filter(|attempt| task.state != TaskState::Pending && attempt.number == task.attempt);
        let deadline = job.filter(|_| !task.state.is_final()).and_then(|attempt| attempt.deadline.as_ref());
        let is_pending = task.state == TaskState::Pending;
        Self {
            task_id: task.id.0.clone(),
            state: task.state.to_string(),
            account_id: task.account_id.0,
            topic: task.topic.clone(),
            keywords: task.keywords.clone(),
            category: task.category.clone(),
            requirements: task.requirements.clone(),
            tone: task.tone.clone(),
            priority: task.priority,
            auto_approve: task.auto_approve,
            generator: task.generator.0.clone(),
            attempt: task.attempt,
            retry_count: task.retry_count,
            max_retries: task.max_retries,
            external_ref: job.and_then(|attempt| attempt.external_ref.clone()),
            generator_state: job.and_then(|attempt| attempt.generator_state.clone()),
            progress: task.progress.clone(),
            reason: task.reason.clone(),
            error: task.error.clone(),
            content_id: task.content_id.map(|id| id.0),
            key: task.key.clone(),
            submitted_by: task.submitted_by.clone(),
            time_limit: task.time_limit_s,
            created_at: task.created_at.into(),
            submitted_at: task.submitted_at.map(Into::into),
            started_at: task.started_at.map(Into::into),
            completed_at: task.completed_at.map(Into::into),
            timeout_at: deadline.map(|deadline| deadline.at.into()),
            next_attempt_at: task.wake_at.filter(|_| is_pending).map(Into::into),
            next_poll_at: task.wake_at.filter(|_| !is_pending).map(Into::into),
            updated_at: task.updated_at.into(),
            ways_out: ways_out_of(task, attempt),
        }
    }
}

/// None, too, where the attempt that they depend on was not asked for.
fn ways_out_of(task: &Task, attempt: Option<&Attempt>) -> Option<Vec<String>> {
    let is_known = task.attempt == 0 || attempt.is_some_and(|attempt| attempt.number == task.attempt);
    let is_held = task.state == TaskState::Held;
    (is_held && is_known).then(|| ways_out(task, attempt).into_iter().map(|way| way.as_str().to_owned()).collect())
}

impl From<&Attempt> for AttemptView {
    fn from(attempt: &Attempt) -> Self {
        Self {
            attempt: attempt.number,
            state: attempt.state.to_string(),
            key: attempt.key.0.clone(),
            external_ref: attempt.external_ref.clone(),
            generator_state: attempt.generator_state.clone(),
            sends: attempt.sends,
            polls: attempt.polls,
            intended_at: attempt.intended_at.into(),
            accepted_at: attempt.accepted_at.map(Into::into),
            ended_at: attempt.ended_at.map(Into::into),
            timeout_at: attempt.deadline.as_ref().map(|deadline| deadline.at.into()),
            error: attempt.error.clone(),
        }
    }
}

impl From<&AuditRow> for HistoryEntry {
    fn from(row: &AuditRow) -> Self {
        Self {
            at: row.at.into(),
            event: row.event.clone(),
            from_state: row.from_state.map(|state| state.to_string()),
            to_state: row.to_state.to_string(),
            attempt: row.attempt,
            attempt_from: row.attempt_from.map(|state| state.to_string()),
            attempt_to: row.attempt_to.map(|state| state.to_string()),
            why: row.why.clone(),
            who: row.who.clone(),
        }
    }
}

fn image(image: &Image) -> Value {
    // What the generator said of it is kept as it came; a text that is no object any more is passed over.
    let object = image.object_json.as_deref().and_then(|json| serde_json::from_str::<Value>(json).ok());
    match object {
        Some(Value::Object(mut object)) => {
            object.entry("url").or_insert_with(|| Value::String(image.url.clone()));
            Value::Object(object)
        }
        _ => Value::String(image.url.clone()),
    }
}

impl ContentView {
    /// A record with its piece.
    pub fn with_piece(content: &ContentRecord) -> Self {
        let record = &content.record;
        Self {
            content: Some(record.content.clone()),
            html_content: Some(record.html_content.clone()),
            ..Self::without_piece(content)
        }
    }

    /// A record as lists show it.
    pub fn without_piece(content: &ContentRecord) -> Self {
        let record = &content.record;
        Self {
            content_id: content.id.0,
            task_id: record.task_id.0.clone(),
            account_id: record.account_id.0,
            title: record.title.clone(),
            content: None,
            html_content: None,
            summary: record.summary.clone(),
            images: record.images.iter().map(image).collect(),
            cover_image: record.cover_image.clone(),
            word_count: record.word_count,
            quality_score: record.quality_score,
            category: record.category.clone(),
            review_status: record.review_status.to_string(),
            review_reason: record.review_reason.clone(),
            publish_status: record.publish_status.to_string(),
            content_hash: record.content_hash.clone(),
            created_at: record.created_at.into(),
            published_at: content.publication.as_ref().map(|publication| publication.at.into()),
            published_by: content.publication.as_ref().map(|publication| publication.by.clone()),
            published_url: content.publication.as_ref().and_then(|publication| publication.url.clone()),
        }
    }
}

impl From<&ContentRecord> for ContentReply {
    fn from(content: &ContentRecord) -> Self {
        Self {
            content: ContentView::with_piece(content),
            version: content.record.version,
            reviewed_by: content.record.reviewed_by.clone(),
            review_reason: content.record.review_reason.clone(),
            findings: content.record.findings.clone(),
            edited_by: content.record.edited_by.clone(),
            rewritten_by: content.record.rewritten_by.as_ref().map(|id| id.0.clone()),
            pool_entry: None,
        }
    }
}

impl From<&PoolEntry> for PooledView {
    fn from(entry: &PoolEntry) -> Self {
        Self {
            pool_id: entry.id.0,
            status: entry.status.to_string(),
            scheduled_at: entry.scheduled_at.into(),
            held_reason: entry.held_reason.clone(),
        }
    }
}

impl From<&PoolEntry> for PoolView {
    fn from(entry: &PoolEntry) -> Self {
        Self {
            pool_id: entry.id.0,
            content_id: entry.content_id.0,
            priority: entry.priority,
            scheduled_at: entry.scheduled_at.into(),
            status: entry.status.to_string(),
            retry_count: entry.retry_count,
            last_error: entry.last_error.clone(),
            published_at: entry.published_at.map(Into::into),
            held_reason: entry.held_reason.clone(),
            account_id: entry.account_id.0,
            fence: entry.fence,
            lease_until: entry.wake_at.map(Into::into),
            account: None,
            title: None,
            unserved: None,
        }
    }
}

fn settings(account: &Account) -> AccountSettingsValue {
    let (defaults, limits) = (&account.defaults, &account.limits);
    AccountSettingsValue {
        generator: defaults.generator.as_ref().map(|name| name.0.clone()),
        tone: defaults.tone.clone(),
        requirements: defaults.requirements.clone(),
        category: defaults.category.clone(),
        keywords: defaults.keywords.clone(),
        priority: defaults.priority.map(Into::into),
        auto_approve: defaults.auto_approve,
        max_pending: limits.max_pending.map(Into::into),
        max_in_flight: limits.max_in_flight.map(Into::into),
        submits_per_day: limits.submits_per_day.map(Into::into),
    }
}

impl From<&Account> for AccountView {
    fn from(account: &Account) -> Self {
        Self {
            account_id: account.id.0,
            name: account.name.clone(),
            external_id: account.external_id.clone(),
            is_enabled: account.is_enabled,
            created_at: account.created_at.into(),
            settings: settings(account),
            submits_today: None,
        }
    }
}
