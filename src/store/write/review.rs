//! Reviews: a decision about a piece, and what it means for the publish pool.

use super::rows::Rows;
use super::{WriteError, Written};
use crate::store::restored;
use crate::task::content::{ContentRecord, PoolEntry, PoolState, PublishState, ReviewMove, ReviewState};
use crate::task::{AccountId, AuditRow, ContentId, PoolId, Task, Timestamp};

/// A fresh entry of the pool, due at once unless it is held.
pub(super) fn new_pool_entry(
    content_id: ContentId,
    account_id: AccountId,
    priority: u8,
    now: Timestamp,
    held_reason: Option<String>,
) -> PoolEntry {
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
        held_reason,
    }
}

/// A decision about a piece.
pub(super) struct Review<'a> {
    pub decision: ReviewMove,
    pub reason: &'a Option<String>,
    pub expected_hash: &'a Option<String>,
    pub who: &'a str,
    pub now: Timestamp,
}

impl Review<'_> {
    pub(super) fn carry_out(&self, rows: &mut dyn Rows, content_id: ContentId) -> Result<Written, WriteError> {
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
        let task = rows.task(&content.record.task_id)?;
        let priority = task.as_ref().map_or(5, |task| task.priority);
        let is_held = may_be_out(rows, content, task.as_ref())?;
        let held_reason = is_held.then(|| restored::POOL_REASON.to_owned());
        let entry = new_pool_entry(content.id, content.record.account_id, priority, self.now, held_reason);
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

/// Up to when a restore leaves in doubt what went out; none where nothing is. A mark that cannot be read clears nothing.
pub(super) fn restore_doubt(rows: &mut dyn Rows) -> Result<Option<Timestamp>, WriteError> {
    let mark = restored::RestoreMark::parse(rows.setting(restored::SETTING)?.as_deref());
    Ok(mark.map_or(Some(Timestamp(i64::MAX)), |mark| mark.and_then(|mark| mark.doubt())))
}

/// Whether the piece may have been approved and gone out between a backup and its restore, fetched by then or not. Only its task
/// would know better: of one that was deleted, nobody does.
fn may_be_out(rows: &mut dyn Rows, content: &ContentRecord, task: Option<&Task>) -> Result<bool, WriteError> {
    let Some(doubt) = restore_doubt(rows)? else { return Ok(false) };
    let is_task_old = task.is_none_or(|task| task.restored_at.is_some() || task.created_at <= doubt);
    Ok(content.record.created_at <= doubt || is_task_old)
}

/// Lets pool entries go that a restore held back, each with a row in the audit trail of its task. Names none: all of them.
pub(super) fn release_pool(
    rows: &mut dyn Rows,
    ids: Option<&[PoolId]>,
    who: &str,
    now: Timestamp,
) -> Result<Written, WriteError> {
    let held = rows.held_pool_entries()?;
    let is_meant = |entry: &&PoolEntry| ids.is_none_or(|ids| ids.contains(&entry.id));
    let mut released = Vec::new();
    for entry in held.iter().filter(is_meant) {
        rows.hold_pool_entry(entry.id, None)?;
        released.push(entry.id);
        let Some(content) = rows.content(entry.content_id)? else { continue };
        // A piece outlives its task, and the trail goes with the task.
        let Some(task) = rows.task(&content.record.task_id)? else { continue };
        rows.insert_audit(&AuditRow {
            task_id: task.id,
            at: now,
            event: restored::POOL_RELEASED_EVENT.to_owned(),
            from_state: Some(task.state),
            to_state: task.state,
            attempt: task.attempt,
            attempt_from: None,
            attempt_to: None,
            why: Some(format!("pool entry {} may go out", entry.id)),
            who: who.to_owned(),
        })?;
    }
    Ok(Written::PoolReleased(released))
}
