//! The one place that writes: reads the rows, lets the core judge, and writes rows, audit row, content record and pool
//! entry together. It talks to nothing but [`Rows`].

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::review::{Review, doubt_of, new_pool_entry, restore_doubt};
use super::rows::Rows;
use super::{
    Account, Changed, DbError, NewTask, SUBMITTED_EVENT, SubmittedTask, Transition, Write, WriteError, Written,
};
use super::{account, content, image};
use crate::store::restored;
use crate::task::content::{NewContent, PublishState, ReviewState, summary_of, title_of, word_count};
use crate::task::outcome::Piece;
use crate::task::{
    AccountId, Attempt, AuditRow, Change, ContentId, Context, Event, GeneratorName, Now, PieceFate, PoolId, Task, apply,
};

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
        Write::Cleanup { finished_before, limit } => {
            let ids = rows.finished_before(*finished_before, *limit)?;
            for id in &ids {
                rows.delete_task(id)?;
            }
            Ok(Written::Cleaned { tasks: ids })
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

/// Inserts tasks, all or none; whatever submits goes through here.
pub(super) fn submit_tasks(
    rows: &mut dyn Rows,
    tasks: &[NewTask],
    max_pending: u64,
    now: &Now,
) -> Result<Vec<SubmittedTask>, WriteError> {
    let unfinished = rows.unfinished_tasks()?;
    let mut room = max_pending.saturating_sub(unfinished);
    let mut accounts = Accounts::default();
    let mut rooms = Rooms::default();
    let mut submitted = Vec::with_capacity(tasks.len());
    for new in tasks {
        if let Some(known) = known_task(rows, new)? {
            submitted.push(known);
            continue;
        }
        room = room.checked_sub(1).ok_or(WriteError::Busy { unfinished, limit: max_pending })?;
        let account = accounts.of(rows, new.task.account_id)?;
        rooms.take(rows, new, account)?;
        submitted.push(insert_task(rows, new, account, now)?);
    }
    Ok(submitted)
}

/// The accounts of a write, each read once.
#[derive(Default)]
struct Accounts(BTreeMap<AccountId, Account>);

impl Accounts {
    fn of(&mut self, rows: &mut dyn Rows, id: AccountId) -> Result<&Account, WriteError> {
        match self.0.entry(id) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let account = rows.account(id)?.ok_or_else(|| WriteError::AccountNotFound(id.to_string()))?;
                Ok(unknown.insert(account))
            }
        }
    }
}

/// What is left of the bounds of generators and of their accounts, each counted once in a write.
#[derive(Default)]
struct Rooms {
    at_generators: BTreeMap<(GeneratorName, Option<AccountId>), Room>,
    of_accounts: BTreeMap<AccountId, Room>,
}

#[derive(Clone, Copy)]
struct Room {
    unfinished: u32,
    left: u32,
}

impl Rooms {
    /// Takes a place in each bound of a task that is about to be inserted.
    fn take(&mut self, rows: &mut dyn Rows, new: &NewTask, account: &Account) -> Result<(), WriteError> {
        let (generator, limits) = (&new.task.generator, &new.limits);
        for (one, limit) in [(None, limits.in_all), (Some(account.id), limits.of_account)] {
            let Some(limit) = limit else { continue };
            let room = match self.at_generators.entry((generator.clone(), one)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let unfinished = rows.unfinished_at(generator, one, limit)?;
                    unknown.insert(Room { unfinished, left: limit.saturating_sub(unfinished) })
                }
            };
            let busy = WriteError::Busy { unfinished: room.unfinished.into(), limit: limit.into() };
            room.left = room.left.checked_sub(1).ok_or(busy)?;
        }
        self.take_of_account(rows, account)
    }

    fn take_of_account(&mut self, rows: &mut dyn Rows, account: &Account) -> Result<(), WriteError> {
        let Some(limit) = account.limits.max_pending else { return Ok(()) };
        let room = match self.of_accounts.entry(account.id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let unfinished = rows.unfinished_of(account.id, limit)?;
                unknown.insert(Room { unfinished, left: limit.saturating_sub(unfinished) })
            }
        };
        room.left = room.left.checked_sub(1).ok_or_else(|| WriteError::AccountBusy {
            account: account.name.clone(),
            unfinished: room.unfinished.into(),
            limit: u64::from(limit),
        })?;
        Ok(())
    }
}

/// The task that this key has submitted before.
fn known_task(rows: &mut dyn Rows, new: &NewTask) -> Result<Option<SubmittedTask>, WriteError> {
    let Some(key) = new.task.key.as_deref() else { return Ok(None) };
    let Some((task_id, digest)) = rows.submit_key(key)? else { return Ok(None) };
    // A task that was cleaned up meanwhile cannot be shown, but is not submitted a second time either.
    let Some(task) = rows.task(&task_id)? else {
        return Err(WriteError::KeySpent { key: key.to_owned(), task_id });
    };
    if digest != new.digest {
        return Err(WriteError::KeyReused { key: key.to_owned(), task_id });
    }
    Ok(Some(SubmittedTask { task, attempt: None, was_known: true }))
}

fn insert_task(rows: &mut dyn Rows, new: &NewTask, account: &Account, now: &Now) -> Result<SubmittedTask, WriteError> {
    if !account.is_enabled {
        return Err(WriteError::AccountDisabled(account.name.clone()));
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
    let context = Context {
        now,
        policy: &claim.policy,
        draw: 0.5,
        who: apply::CONTENTD,
        is_late_piece_wanted: false,
        is_outage: false,
        owner: None,
    };
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
            Some(_) | None => rows.insert_attempt(after, &change.task.generator)?,
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
