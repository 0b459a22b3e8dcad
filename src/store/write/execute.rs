//! The one place that writes: reads the rows, lets the core judge, and writes rows, audit row, content record and pool
//! entry together. It talks to nothing but [`Rows`].

use super::review::{Review, doubt_of, new_pool_entry, restore_doubt};
use super::rows::Rows;
use super::submit::submit_tasks;
use super::{Changed, DbError, Transition, Write, WriteError, Written};
use super::{account, content, image};
use crate::store::restored;
use crate::task::content::{NewContent, PublishState, ReviewState, summary_of, title_of, word_count};
use crate::task::outcome::Piece;
use crate::task::{Attempt, Change, ContentId, Context, PieceFate, PoolId, Task, apply};

/// Does one write inside a transaction.
pub fn execute(rows: &mut dyn Rows, write: &Write) -> Result<Written, WriteError> {
    match write {
        Write::AddAccount { name, external_id, now } => {
            if rows.account_by_name(name)?.is_some() {
                return Err(WriteError::AccountExists(name.clone()));
            }
            Ok(Written::Account(rows.insert_account(name, external_id.as_deref(), *now)?))
        }
        Write::Account(write) => account::execute(rows, write),
        Write::Content(write) => content::execute(rows, write),
        Write::Image(write) => image::execute(rows, write),
        Write::SubmitTasks { tasks, max_pending, now } => {
            submit_tasks(rows, tasks, *max_pending, now).map(Written::Submitted)
        }
        Write::Transition(transition) => transit(rows, transition),
        Write::Review { content_id, decision, reason, expected_hash, who, due, now } => {
            let review = Review { decision: *decision, reason, expected_hash, who, due: *due, now: *now };
            review.carry_out(rows, *content_id)
        }
        Write::PutSetting { name, value } => {
            rows.put_setting(name, value.as_deref())?;
            Ok(Written::Stored)
        }
        Write::Pool(write) => write.carry_out(rows).map(Written::Pool),
        Write::MarkEnded { at } => {
            rows.mark_ended(*at)?;
            Ok(Written::Stored)
        }
        Write::Cleanup { finished_before, after, limit } => {
            super::cleanup::carry_out(rows, *finished_before, *after, *limit)
        }
        Write::ShiftWakeTimes { by_ms, anchor } => {
            rows.shift_wake_times(*by_ms)?;
            rows.shift_fires(*by_ms)?;
            rows.shift_notices(*by_ms)?;
            super::notice::shift_silence(rows, *by_ms)?;
            rows.put_setting(super::ANCHOR_SETTING, Some(anchor))?;
            Ok(Written::Stored)
        }
        Write::Schedule(write) => super::schedule::execute(rows, write),
        Write::Notice(write) => write.carry_out(rows).map(Written::Noticed),
    }
}

fn transit(rows: &mut dyn Rows, transition: &Transition) -> Result<Written, WriteError> {
    let task_id = &transition.task_id;
    let task = rows.task(task_id)?.ok_or_else(|| WriteError::TaskNotFound(task_id.clone()))?;
    if let Some(asked) = transition.attempt.filter(|asked| *asked != task.attempt) {
        return Err(WriteError::Stale { asked, current: task.attempt });
    }
    let attempt = if task.attempt == 0 { None } else { rows.attempt(task_id, task.attempt)? };
    let owner = match transition.event.names_job() {
        Some((reference, states)) => rows.owner_of_job(&task.generator, reference, states, task_id)?,
        None => None,
    };
    let env = &transition.env;
    let context = Context {
        now: &env.now,
        policy: &env.policy,
        draw: env.draw,
        who: &env.who,
        is_late_piece_wanted: env.is_late_piece_wanted,
        is_outage: env.is_outage,
        owner: owner.as_ref(),
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

pub(super) fn write_change(
    rows: &mut dyn Rows,
    task: &Task,
    attempt: Option<&Attempt>,
    change: &Change,
) -> Result<(), WriteError> {
    if let Some(after) = &change.attempt {
        match attempt {
            Some(before) if before.number == after.number => {
                if before != after {
                    rows.update_attempt(after, before)?;
                }
            }
            // A new attempt beside an ended one; the old row was written when it ended.
            Some(_) | None => rows.insert_attempt(after, &change.task.generator)?,
        }
    }
    let changed = rows.update_task(&change.task, task)?;
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
    let versions = rows.versions_of(&task.id)?;
    let other = content::make_way(rows, &versions, now)?;
    let mut content = NewContent {
        task_id: task.id.clone(),
        account_id: task.account_id,
        version: versions.last().map_or(0, |version| version.version) + 1,
        title: title_of(&task.topic),
        content: piece.content.clone(),
        html_content: rendered.html,
        summary: summary_of(&rendered.plain_text),
        cover_image: piece.images.first().map(|image| image.url.clone()),
        images: piece.images.clone(),
        word_count: word_count(&rendered.plain_text),
        quality_score: piece.score,
        category: task.category.clone(),
        review_status: ReviewState::PendingReview,
        review_reason: None,
        reviewed_by: None,
        findings: Vec::new(),
        edited_by: None,
        rewritten_by: None,
        publish_status: PublishState::Unpublished,
        content_hash: rendered.content_hash,
        created_at: now,
    };
    content.findings = transition.rules.judge(&content, &rendered.plain_text);
    content.findings.extend(other.map(|id| format!("content {id}, an earlier piece of its task, is approved already")));
    if task.auto_approve && transition.rules.is_four_eyes {
        content.findings.push("review.four_eyes is on: a person approves every piece".to_owned());
    }
    let is_approved = task.auto_approve && fate == PieceFate::Completes && content.findings.is_empty();
    content.review_reason = Some(match (fate, task.auto_approve) {
        (PieceFate::KeptLate, _) => "came after its task was cancelled".to_owned(),
        (PieceFate::CompletesUnwanted, _) => "its task was to be cancelled, and the cancel came too late".to_owned(),
        (PieceFate::Completes, true) if is_approved => "approved automatically".to_owned(),
        (PieceFate::Completes, true) => format!("not approved automatically: {}", content.findings.join("; ")),
        (PieceFate::Completes, false) => "the task asks for a review".to_owned(),
    });
    if is_approved {
        content.review_status = ReviewState::Approved;
        content.reviewed_by = Some(apply::CONTENTD.to_owned());
        content.publish_status = PublishState::Pooled;
    }
    let content_id = rows.insert_content(&content)?;
    task.content_id = Some(content_id);
    transition.rules.note_images(rows, content_id, &content)?;
    if !is_approved {
        return Ok((Some(content_id), None));
    }
    let doubt = restore_doubt(rows)?;
    let is_held =
        restored::may_have_come(doubt, task, change.attempt.as_ref(), transition.env.policy.is_free_to_repeat);
    let held_reason = match is_held {
        true => Some(restored::POOL_REASON.to_owned()),
        false => doubt_of(rows, &versions)?.and_then(|entry| entry.held_reason),
    };
    let due = transition.rules.due_after(now);
    let entry = new_pool_entry(content_id, task.account_id, task.priority, due, now, held_reason);
    let pool_id = rows.insert_pool_entry(&entry)?;
    Ok((Some(content_id), Some(pool_id)))
}
