//! Reviews: a decision about a piece, and what it means for the publish pool.

use super::content::{looked_at, supersede};
use super::rows::Rows;
use super::{WriteError, Written};
use crate::publish::{Handout, doubt_of_waiting};
use crate::store::restored;
use crate::task::content::{
    ContentRecord, DueBy, PoolEntry, PoolState, PublishState, ReviewMove, ReviewState, Version,
};
use crate::task::{AccountId, AuditRow, ContentId, PoolId, Task, Timestamp};

/// A fresh entry of the pool.
pub(super) fn new_pool_entry(
    content_id: ContentId,
    account_id: AccountId,
    priority: u8,
    due: Timestamp,
    now: Timestamp,
    held_reason: Option<String>,
) -> PoolEntry {
    let may_be_out = held_reason.as_deref().is_some_and(|reason| reason.starts_with(restored::POOL_REASON));
    PoolEntry {
        id: PoolId(0),
        content_id,
        account_id,
        priority,
        scheduled_at: due,
        status: if held_reason.is_some() { PoolState::Held } else { PoolState::Pending },
        retry_count: 0,
        last_error: None,
        published_at: None,
        created_at: now,
        held_reason,
        fence: 0,
        wake_at: None,
        due_by: if due == now { DueBy::AtOnce } else { DueBy::Calendar },
        may_be_out,
    }
}

/// A decision about a piece.
pub(super) struct Review<'a> {
    pub decision: ReviewMove,
    pub reason: &'a Option<String>,
    pub expected_hash: &'a Option<String>,
    pub who: &'a str,
    pub due: Option<Timestamp>,
    pub now: Timestamp,
}

impl Review<'_> {
    pub(super) fn carry_out(&self, rows: &mut dyn Rows, content_id: ContentId) -> Result<Written, WriteError> {
        let mut content = looked_at(rows, content_id, self.expected_hash.as_ref())?;
        let before = content.record.review_status;
        if let Some(reason) = self.later_reason(&content) {
            content.record.review_reason = Some(reason.clone());
            rows.update_content_review(&content, self.now)?;
            write_audit(rows, &content, before, self.decision, Some(reason), self.who, self.now)?;
            return Ok(Written::Reviewed(Box::new(content)));
        }
        let after = before.after(self.decision).map_err(|illegal| WriteError::ReviewRefused {
            content_id,
            state: before,
            illegal,
        })?;
        match self.decision {
            ReviewMove::Approved => self.pool(rows, &mut content)?,
            ReviewMove::Rejected | ReviewMove::Superseded => take_out(rows, &mut content)?,
        }
        content.record.review_status = after;
        content.record.review_reason = self.reason.clone();
        content.record.reviewed_by = Some(self.who.to_owned());
        rows.update_content_review(&content, self.now)?;
        let why = self.reason.as_deref();
        write_audit(rows, &content, before, self.decision, why, self.who, self.now)?;
        Ok(Written::Reviewed(Box::new(content)))
    }

    /// Why a piece was rejected, where that is said after it was and nothing is kept of it. What is kept stays: somebody may have
    /// acted on it.
    fn later_reason(&self, content: &ContentRecord) -> Option<&String> {
        let record = &content.record;
        let is_rejected = record.review_status == ReviewState::Rejected && self.decision == ReviewMove::Rejected;
        self.reason.as_ref().filter(|_| is_rejected && record.review_reason.is_none())
    }

    fn pool(&self, rows: &mut dyn Rows, content: &mut ContentRecord) -> Result<(), WriteError> {
        let versions = rows.versions_of(&content.record.task_id)?;
        self.take_out_others(rows, content.id, &versions)?;
        let task = rows.task(&content.record.task_id)?;
        let priority = task.as_ref().map_or(5, |task| task.priority);
        let held_reason = match may_be_out(rows, task.as_ref(), &versions)? {
            true => Some(restored::POOL_REASON.to_owned()),
            false => doubt_of(rows, &versions)?.and_then(|entry| entry.held_reason),
        };
        let due = self.due.unwrap_or(self.now);
        let entry = new_pool_entry(content.id, content.record.account_id, priority, due, self.now, held_reason);
        rows.insert_pool_entry(&entry)?;
        content.record.publish_status = PublishState::Pooled;
        Ok(())
    }

    /// One version of a piece goes out: what was approved of it before makes way.
    fn take_out_others(
        &self,
        rows: &mut dyn Rows,
        content_id: ContentId,
        versions: &[Version],
    ) -> Result<(), WriteError> {
        let is_other = |version: &&Version| version.id != content_id && version.review_status == ReviewState::Approved;
        for other in versions.iter().filter(is_other).map(|version| version.id) {
            let mut record = rows.content(other)?.ok_or(WriteError::ContentNotFound(other))?;
            take_out(rows, &mut record).map_err(|error| match error {
                WriteError::AlreadyPublished(_) => WriteError::OtherVersionOut { content_id, other },
                error => error,
            })?;
            supersede(rows, other, self.now)?;
        }
        Ok(())
    }
}

/// Takes a piece out of the pool, unless it is out in the world or on its way there.
pub(super) fn take_out(rows: &mut dyn Rows, content: &mut ContentRecord) -> Result<(), WriteError> {
    let Some(entry) = rows.pool_entry_of(content.id)? else { return Ok(()) };
    match entry.status {
        PoolState::Pending | PoolState::Failed | PoolState::Held => match doubt_of_entry(rows, &entry)? {
            None => rows.set_pool_status(entry.id, PoolState::Removed)?,
            held_reason => rows.update_pool_entry(&PoolEntry { held_reason, status: PoolState::Removed, ..entry })?,
        },
        PoolState::Publishing | PoolState::Published => return Err(WriteError::AlreadyPublished(content.id)),
        PoolState::Removed => {}
    }
    content.record.publish_status = PublishState::Unpublished;
    Ok(())
}

/// Why nobody knows whether an entry that nobody has is out.
pub(super) fn doubt_of_entry(rows: &mut dyn Rows, entry: &PoolEntry) -> Result<Option<String>, WriteError> {
    let unanswered = rows.unanswered_handout(entry.id)?;
    Ok(doubt_of_waiting(entry, unanswered.as_ref()))
}

/// The review stands in the audit trail of the task while that is kept.
pub(super) fn write_audit(
    rows: &mut dyn Rows,
    content: &ContentRecord,
    before: ReviewState,
    event: ReviewMove,
    why: Option<&str>,
    who: &str,
    now: Timestamp,
) -> Result<(), WriteError> {
    let Some(task) = rows.task(&content.record.task_id)? else { return Ok(()) };
    let change = format!("content {}: {before} → {}", content.id, content.record.review_status);
    let why = match why {
        Some(reason) => format!("{change}: {reason}"),
        None => change,
    };
    rows.insert_audit(&AuditRow {
        task_id: task.id,
        at: now,
        event: event.as_str().to_owned(),
        from_state: Some(task.state),
        to_state: task.state,
        attempt: task.attempt,
        attempt_from: None,
        attempt_to: None,
        why: Some(why),
        who: who.to_owned(),
    })?;
    Ok(())
}

/// The entry since which nobody knows whether the piece is out, in whatever version: it was taken out of the pool in doubt, and
/// neither an approval nor another text makes that known.
pub(super) fn doubt_of(rows: &mut dyn Rows, versions: &[Version]) -> Result<Option<PoolEntry>, WriteError> {
    for version in versions.iter().rev() {
        if let Some(entry) = rows.pool_doubt_of(version.id)? {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// What a person says of a held entry is said of each of its handings out, and of what was taken out before it, too: it was held for
/// that doubt. Otherwise no decision would ever end it.
pub(super) fn end_doubt(rows: &mut dyn Rows, held: &PoolEntry, now: Timestamp) -> Result<(), WriteError> {
    end_unanswered(rows, held.id, now)?;
    let Some(task_id) = rows.task_of_content(held.content_id)? else { return Ok(()) };
    for version in rows.versions_of(&task_id)? {
        while let Some(taken_out) = rows.pool_doubt_of(version.id)? {
            end_unanswered(rows, taken_out.id, now)?;
            rows.update_pool_entry(&PoolEntry { held_reason: None, ..taken_out })?;
        }
    }
    Ok(())
}

fn end_unanswered(rows: &mut dyn Rows, id: PoolId, now: Timestamp) -> Result<(), WriteError> {
    while let Some(handout) = rows.unanswered_handout(id)? {
        rows.update_handout(&Handout { ended_at: Some(now), ..handout })?;
    }
    Ok(())
}

/// Up to when a restore leaves in doubt what went out; none where nothing is. A mark that cannot be read clears nothing.
pub(super) fn restore_doubt(rows: &mut dyn Rows) -> Result<Option<Timestamp>, WriteError> {
    let mark = restored::RestoreMark::parse(rows.setting(restored::SETTING)?.as_deref());
    Ok(mark.map_or(Some(Timestamp(i64::MAX)), |mark| mark.and_then(|mark| mark.doubt())))
}

/// Whether the piece may have been approved and gone out between a backup and its restore, in whatever version, fetched by then
/// or not. Only its task would know better: of one that was deleted, nobody does.
pub(super) fn may_be_out(rows: &mut dyn Rows, task: Option<&Task>, versions: &[Version]) -> Result<bool, WriteError> {
    let Some(doubt) = restore_doubt(rows)? else { return Ok(false) };
    let is_task_old = task.is_none_or(|task| task.restored_at.is_some() || task.created_at <= doubt);
    Ok(is_task_old || versions.iter().any(|version| version.created_at <= doubt))
}
