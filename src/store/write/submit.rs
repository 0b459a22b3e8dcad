//! Submits inside a transaction: what is inserted, for whom, and how many there may be. Whatever makes tasks goes through
//! [`submit_tasks`]: callers, schedules, pieces that are written again.
//!
//! It must not decide what a task does next; where a worker is free its claim rides along, judged by [`apply`] as any other.
//! The surprise: an account is read here once more, though the caller has looked it up, because only here nothing comes between.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::execute::write_change;
use super::rows::Rows;
use super::{Account, NewTask, SUBMITTED_EVENT, SubmittedTask, WriteError};
use crate::task::{AccountId, AuditRow, Context, Event, GeneratorName, Now, apply};

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
