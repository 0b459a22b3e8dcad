//! Writes about the publish pool: the rows are read, the core judges, rows and audit trail are written together.
//!
//! It must not judge anything itself but the fencing number: an answer with an older one changes nothing. The surprise: to
//! hand out is a write too, and the one whose answer may get lost on the way to a consumer; so a request has a key of its own,
//! and the same request is given the same entries again and never others.

use super::review::{doubt_of, end_doubt};
use super::rows::Rows;
use super::{DbError, WriteError};
use crate::publish::apply::RESTORED_FENCE;
use crate::publish::key::{SEED_SETTING, publish_key};
use crate::publish::state::PoolMove;
use crate::publish::{
    Context, Handout, Holder, PoolChange, PoolEvent, PoolRefusal, PublishPolicy, Recipient, apply, hand_out,
};
use crate::store::restored;
use crate::task::apply::CONTENTD;
use crate::task::content::{PoolEntry, PoolState, PublishState, ReviewState};
use crate::task::{AccountId, AttemptKey, AuditRow, PoolId, TaskId, Timestamp};

/// Which entries go out, to whom, for how long.
#[derive(Clone, Debug)]
pub struct HandOut {
    /// To whom.
    pub holder: Holder,
    /// This one, if it is still due; none: the next ones.
    pub only: Option<PoolId>,
    /// Of this account alone.
    pub account: Option<AccountId>,
    /// So many at most.
    pub limit: u32,
    /// The consumer's own key of the request.
    pub request: Option<String>,
    /// It is idempotent: the same key publishes once.
    pub knows_its_keys: bool,
    /// Until when.
    pub lease_until: Timestamp,
    /// When.
    pub now: Timestamp,
}

/// Everything that can be written about the pool.
#[derive(Clone, Debug)]
pub enum PoolWrite {
    /// Entries are handed out.
    HandOut(Box<HandOut>),
    /// Something happened to an entry.
    Happened {
        /// Which.
        id: PoolId,
        /// The fencing number that it is about; none: about the entry, whoever has it.
        fence: Option<u64>,
        /// What happened.
        event: Box<PoolEvent>,
        /// The publisher, or the rules for consumers.
        policy: Box<PublishPolicy>,
        /// A number in 0..1.
        draw: f64,
        /// Who says so.
        who: String,
        /// Whether that one may answer for a consumer that is somebody else.
        answers_for_all: bool,
        /// When.
        now: Timestamp,
    },
    /// Lets entries go that wait for a release; those that do not are passed over.
    Release {
        /// Which; none: all of them.
        ids: Option<Vec<PoolId>>,
        /// Who.
        who: String,
        /// When.
        now: Timestamp,
    },
    /// After a restore: every entry that may have gone out since the backup waits for a release. What was removed stays so, and does
    /// not come back without one.
    HoldRestored {
        /// When.
        now: Timestamp,
    },
}

/// What a [`PoolWrite`] came to.
#[derive(Clone, PartialEq, Debug)]
pub enum PoolWritten {
    /// Of `HandOut`: who has what now.
    HandedOut(Vec<(PoolEntry, Handout)>),
    /// Of `Happened`.
    Changed {
        /// What changed.
        change: Box<PoolChange>,
        /// Whose piece it is.
        task_id: Option<TaskId>,
    },
    /// Of `Release`: which were let go.
    Released(Vec<PoolId>),
    /// Of `HoldRestored`: how many, the removed ones among them.
    Held(u64),
}

impl PoolWrite {
    pub(super) fn carry_out(&self, rows: &mut dyn Rows) -> Result<PoolWritten, WriteError> {
        match self {
            Self::HandOut(asked) => asked.carry_out(rows).map(PoolWritten::HandedOut),
            Self::Happened { id, fence, event, policy, draw, who, answers_for_all, now } => {
                let answers_for_all = *answers_for_all;
                let context = Context { now: *now, draw: *draw, policy, who, answers_for_all, unanswered: None };
                let change = happened(rows, *id, *fence, event, &context)?;
                let task_id = rows.task_of_content(change.entry.content_id)?;
                Ok(PoolWritten::Changed { change: Box::new(change), task_id })
            }
            Self::Release { ids, who, now } => release(rows, ids.as_deref(), who, *now),
            Self::HoldRestored { now } => hold_restored(rows, *now),
        }
    }
}

impl HandOut {
    fn carry_out(&self, rows: &mut dyn Rows) -> Result<Vec<(PoolEntry, Handout)>, WriteError> {
        if let Some(request) = &self.request {
            let before = rows.handouts_of_request(self.holder.name(), request)?;
            if !before.is_empty() {
                return still_in_hand(rows, before);
            }
        }
        let due = match self.only {
            Some(id) => vec![rows.pool_entry(id)?.ok_or(WriteError::PoolEntryNotFound(id))?],
            None => rows.due_pool_entries(self.account, self.now, self.limit)?,
        };
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let seed = rows.setting(SEED_SETTING)?;
        let seed =
            seed.ok_or_else(|| DbError::Refused(format!("the setting {SEED_SETTING} is gone from the database")))?;
        let mut handed_out = Vec::with_capacity(due.len());
        for entry in due {
            let to = Recipient {
                holder: self.holder.clone(),
                key: next_key(rows, &entry, &seed)?,
                request: self.request.clone(),
                knows_its_keys: self.knows_its_keys,
                lease_until: self.lease_until,
            };
            let judged = hand_out(&entry, to, self.now);
            let change = judged.map_err(|refusal| refused(&entry, refusal))?;
            let who = if self.holder.is_publisher() { CONTENTD } else { self.holder.name() };
            write_change(rows, &entry, None, &change, who, self.now)?;
            handed_out.extend(change.handout.map(|handout| (change.entry, handout)));
        }
        Ok(handed_out)
    }
}

/// The key under which an entry goes out the next time.
fn next_key(rows: &mut dyn Rows, entry: &PoolEntry, seed: &str) -> Result<AttemptKey, WriteError> {
    let piece = rows.piece_identity(entry.content_id)?.ok_or(WriteError::ContentNotFound(entry.content_id))?;
    // No fencing number: those leap at a restore, and each entry of a piece has its own.
    let earlier = rows.times_handed_out(entry.content_id)?;
    Ok(publish_key(seed, &piece, earlier + 1))
}

/// Of what a request was given, what it still has: nothing that was answered, or that went on to somebody else.
fn still_in_hand(rows: &mut dyn Rows, before: Vec<Handout>) -> Result<Vec<(PoolEntry, Handout)>, WriteError> {
    let mut still = Vec::new();
    for handout in before {
        let Some(entry) = rows.pool_entry(handout.pool_id)? else { continue };
        if entry.status == PoolState::Publishing && entry.fence == handout.fence {
            still.push((entry, handout));
        }
    }
    still.sort_by_key(|(entry, _)| (std::cmp::Reverse(entry.priority), entry.scheduled_at, entry.id));
    Ok(still)
}

fn happened(
    rows: &mut dyn Rows,
    id: PoolId,
    fence: Option<u64>,
    event: &PoolEvent,
    context: &Context<'_>,
) -> Result<PoolChange, WriteError> {
    let entry = rows.pool_entry(id)?.ok_or(WriteError::PoolEntryNotFound(id))?;
    if let Some(asked) = fence.filter(|asked| *asked != entry.fence) {
        return Err(WriteError::StaleFence { id, asked, current: entry.fence });
    }
    if let PoolEvent::Rescheduled { .. } = event {
        check_may_return(rows, &entry)?;
    }
    let handout = rows.handout(id, entry.fence)?;
    let is_taken_out = matches!(event, PoolEvent::Removed { .. });
    let unanswered = if is_taken_out { rows.unanswered_handout(id)? } else { None };
    let context = Context { unanswered: unanswered.as_ref(), ..*context };
    let judged = apply(&entry, handout.as_ref(), event.clone(), &context);
    let change = judged.map_err(|refusal| refused(&entry, refusal))?;
    write_change(rows, &entry, handout.as_ref(), &change, context.who, context.now)?;
    // A holder knows of its own try alone; only a person has looked.
    if let PoolEvent::Released | PoolEvent::Settled { .. } = event {
        end_doubt(rows, &entry, context.now)?;
    }
    Ok(change)
}

/// An entry that was taken out comes back only while its piece is approved, stands in the pool with no other, and none of its entries
/// was taken out in doubt: this one may have been put back for another.
fn check_may_return(rows: &mut dyn Rows, entry: &PoolEntry) -> Result<(), WriteError> {
    if entry.status != PoolState::Removed {
        return Ok(());
    }
    let content = rows.content(entry.content_id)?.ok_or(WriteError::ContentNotFound(entry.content_id))?;
    if content.record.review_status != ReviewState::Approved || rows.pool_entry_of(entry.content_id)?.is_some() {
        return Err(refused(entry, PoolRefusal::NotDue));
    }
    let versions = rows.versions_of(&content.record.task_id)?;
    match doubt_of(rows, &versions)?.and_then(|doubted| doubted.held_reason) {
        Some(reason) => Err(refused(entry, PoolRefusal::InDoubt(reason))),
        None => Ok(()),
    }
}

fn refused(entry: &PoolEntry, refusal: PoolRefusal) -> WriteError {
    WriteError::PoolRefused { id: entry.id, state: entry.status, refusal }
}

/// Entry, handing out, content record and audit row, whatever of them changed.
fn write_change(
    rows: &mut dyn Rows,
    before: &PoolEntry,
    handout: Option<&Handout>,
    change: &PoolChange,
    who: &str,
    now: Timestamp,
) -> Result<(), WriteError> {
    if change.entry != *before {
        rows.update_pool_entry(&change.entry)?;
    }
    match (&change.handout, handout) {
        (Some(after), Some(before)) if after.fence == before.fence => {
            if after != before {
                rows.update_handout(after)?;
            }
        }
        (Some(after), _) => rows.insert_handout(after)?,
        (None, _) => {}
    }
    if let Some(publication) = &change.publication {
        rows.publish_content(change.entry.content_id, publication)?;
    } else if let (PoolState::Removed, true) | (PoolState::Pending, false) =
        (change.entry.status, before.status != PoolState::Removed)
    {
        let status =
            if change.entry.status == PoolState::Removed { PublishState::Unpublished } else { PublishState::Pooled };
        rows.set_publish_status(change.entry.content_id, status, now)?;
    }
    if let Some(event) = change.moved {
        write_audit(rows, &change.entry, event, change.why.as_deref(), who, now)?;
    }
    Ok(())
}

/// The move stands in the audit trail of the piece's task while that is kept.
fn write_audit(
    rows: &mut dyn Rows,
    entry: &PoolEntry,
    event: PoolMove,
    why: Option<&str>,
    who: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    let Some(task_id) = rows.task_of_content(entry.content_id)? else { return Ok(()) };
    // A piece outlives its task, and the trail goes with the task.
    let Some(task) = rows.task(&task_id)? else { return Ok(()) };
    rows.insert_audit(&AuditRow {
        task_id: task.id,
        at: now,
        event: event.as_str().to_owned(),
        from_state: Some(task.state),
        to_state: task.state,
        attempt: task.attempt,
        attempt_from: None,
        attempt_to: None,
        why: Some(match why {
            Some(why) => format!("pool entry {}: {why}", entry.id),
            None => format!("pool entry {}", entry.id),
        }),
        who: who.to_owned(),
    })
}

/// Names none: all of them.
fn release(rows: &mut dyn Rows, ids: Option<&[PoolId]>, who: &str, now: Timestamp) -> Result<PoolWritten, WriteError> {
    let policy = PublishPolicy::default();
    let context = Context { now, draw: 0.5, policy: &policy, who, answers_for_all: true, unanswered: None };
    let mut released = Vec::new();
    for entry in rows.held_pool_entries()? {
        if ids.is_none_or(|ids| ids.contains(&entry.id)) {
            happened(rows, entry.id, None, &PoolEvent::Released, &context)?;
            released.push(entry.id);
        }
    }
    Ok(PoolWritten::Released(released))
}

fn hold_restored(rows: &mut dyn Rows, now: Timestamp) -> Result<PoolWritten, WriteError> {
    let policy = PublishPolicy::default();
    let context = Context { now, draw: 0.5, policy: &policy, who: CONTENTD, answers_for_all: true, unanswered: None };
    let mut held = 0;
    for id in rows.unpublished_pool_entries()? {
        let Some(entry) = rows.pool_entry(id)? else { continue };
        // A death in the middle of the take-over begins it again.
        let is_told = entry.held_reason.as_deref().is_some_and(|reason| reason.starts_with(restored::POOL_REASON));
        if is_told {
            // Or an earlier restore told it, and it was let go and handed out since the backup that is restored now.
            rows.update_pool_entry(&PoolEntry { fence: entry.fence + RESTORED_FENCE, ..entry })?;
        } else {
            happened(rows, id, None, &PoolEvent::Restored(why_restored(&entry)), &context)?;
            held += 1;
        }
    }
    Ok(PoolWritten::Held(held))
}

/// A release puts it in line whatever it was, so whoever releases it must be told that it had failed.
fn why_restored(entry: &PoolEntry) -> String {
    let reason = restored::POOL_REASON;
    match (entry.status, &entry.last_error) {
        (PoolState::Failed, Some(error)) => {
            format!("{reason}. When the backup was made it had failed, and a release tries it again: {error}")
        }
        _ => reason.to_owned(),
    }
}
