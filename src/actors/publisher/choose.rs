//! Reads what is due, and chooses what each publisher takes next.
//!
//! Reads only, and starts nothing. The surprise: a publisher that is away is tried with the piece that has failed least, whatever
//! its priority is, because a piece that fails by itself says nothing of the publisher.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::WAKE_LIMIT;
use crate::publish::Handout;
use crate::publisher::Publisher;
use crate::store::DbError;
use crate::store::query::Queries;
use crate::store::write::Account;
use crate::task::content::{PoolEntry, PoolState};
use crate::task::{AccountId, PoolId, Timestamp};

/// How many pieces of an account are looked through for one that has not failed.
const TRIAL_HEADS: u32 = 100;

/// Whose turn it is at a publisher: this account has had so many in a row.
#[derive(Clone, Copy, Default)]
pub(super) struct Turn {
    pub account: Option<AccountId>,
    pub taken: u32,
}

/// What a publisher could take now.
pub(super) struct Wanted {
    pub publisher: Arc<Publisher>,
    pub room: u32,
    pub turn: Turn,
    /// It is away, and one piece tries it.
    pub is_trial: bool,
}

/// An entry with whose it is.
pub(super) struct Candidate {
    pub publisher: Arc<Publisher>,
    pub entry: PoolEntry,
    pub account: Account,
}

/// What a look at the database brings.
pub(super) struct Look {
    pub wakes: Vec<(PoolEntry, Handout, Account)>,
    pub candidates: Vec<Candidate>,
    pub next_at: Option<Timestamp>,
}

/// Reads what somebody has and what each publisher could take.
pub(super) fn look_at(
    queries: &dyn Queries,
    wanted: &[Wanted],
    busy: &BTreeMap<PoolId, String>,
    now: Timestamp,
    is_first: bool,
) -> Result<Look, DbError> {
    // What is in hand must not hide what is not.
    let hidden = u32::try_from(busy.len()).unwrap_or(u32::MAX);
    let limit = WAKE_LIMIT.saturating_add(hidden);
    let found = match is_first {
        true => queries.pool_wakes(Timestamp(i64::MAX), u32::MAX >> 1)?,
        false => queries.pool_wakes(now, limit)?,
    };
    let mut wakes = Vec::with_capacity(found.len());
    for (entry, handout) in found {
        // Accounts are never deleted.
        if let Some(account) = queries.find_account(&entry.account_id.to_string())? {
            wakes.push((entry, handout, account));
        }
    }
    let accounts = if wanted.is_empty() { Vec::new() } else { queries.pool_accounts_due(now)? };
    let mut candidates: Vec<Candidate> = Vec::new();
    for one in wanted {
        choose(queries, one, &accounts, busy, now, &mut candidates)?;
    }
    Ok(Look { wakes, candidates, next_at: queries.next_pool_time(now)? })
}

/// What one publisher takes, by accounts in turn: so many of one, then of the next.
fn choose(
    queries: &dyn Queries,
    wanted: &Wanted,
    accounts: &[Account],
    busy: &BTreeMap<PoolId, String>,
    now: Timestamp,
    candidates: &mut Vec<Candidate>,
) -> Result<(), DbError> {
    let Wanted { publisher, room, turn, is_trial } = wanted;
    let mut room = *room;
    if let Some(most) = publisher.limits.publishes_per_day {
        let (since, until) = now.day_around();
        // In this order: what is handed out between the two questions is counted twice, and not never.
        let taken_up = not_handed_out(queries, &publisher.name, busy)?;
        let given = queries.publishes_since(&publisher.name, since, until)?.saturating_add(taken_up);
        room = room.min(most.saturating_sub(given));
    }
    let served: Vec<&Account> = accounts.iter().filter(|account| publisher.serves.has_account(account)).collect();
    let is_turn_over = turn.taken >= publisher.limits.batch;
    let begin = served.iter().position(|account| match turn.account {
        Some(last) if is_turn_over => account.id > last,
        Some(last) => account.id >= last,
        None => true,
    });
    let begin = begin.unwrap_or(0);
    let in_turn = served.iter().cycle().skip(begin).take(served.len());
    if *is_trial {
        if room > 0 {
            candidates.extend(for_trial(queries, publisher, in_turn, busy, now, candidates)?);
        }
        return Ok(());
    }
    for account in in_turn {
        let is_going_on = turn.account == Some(account.id) && !is_turn_over;
        let in_a_row = publisher.limits.batch - if is_going_on { turn.taken } else { 0 };
        let hidden = u32::try_from(busy.len() + candidates.len()).unwrap_or(u32::MAX);
        let most = room.min(in_a_row).saturating_add(hidden);
        let heads = queries.pool_heads(account.id, publisher.serves.categories.as_deref(), now, most)?;
        let is_free = |entry: &PoolEntry| {
            !busy.contains_key(&entry.id) && candidates.iter().all(|other| other.entry.id != entry.id)
        };
        let free: Vec<PoolEntry> = heads.into_iter().filter(is_free).take(room.min(in_a_row) as usize).collect();
        room -= u32::try_from(free.len()).unwrap_or(room);
        candidates.extend(free.into_iter().map(|entry| Candidate {
            publisher: Arc::clone(publisher),
            entry,
            account: (*account).clone(),
        }));
        if room == 0 {
            break;
        }
    }
    Ok(())
}

/// The piece that tries a publisher that is away: the first that never failed, else the one whose last try is longest ago. The
/// due time of what failed was moved by its back-off, so it says when that was.
fn for_trial<'a>(
    queries: &dyn Queries,
    publisher: &Arc<Publisher>,
    accounts: impl Iterator<Item = &'a &'a Account>,
    busy: &BTreeMap<PoolId, String>,
    now: Timestamp,
    candidates: &[Candidate],
) -> Result<Option<Candidate>, DbError> {
    let hidden = u32::try_from(busy.len() + candidates.len()).unwrap_or(u32::MAX);
    let mut best: Option<Candidate> = None;
    for account in accounts {
        let categories = publisher.serves.categories.as_deref();
        for entry in queries.pool_heads(account.id, categories, now, TRIAL_HEADS.saturating_add(hidden))? {
            if busy.contains_key(&entry.id) || candidates.iter().any(|other| other.entry.id == entry.id) {
                continue;
            }
            let is_fresh = entry.last_error.is_none();
            if is_fresh || best.as_ref().is_none_or(|best| entry.scheduled_at < best.entry.scheduled_at) {
                best = Some(Candidate { publisher: Arc::clone(publisher), entry, account: (*account).clone() });
            }
            if is_fresh {
                return Ok(best);
            }
        }
    }
    Ok(best)
}

/// How many pieces were taken up for a publisher and stand in no row yet: their handing out is on its way to the disk.
fn not_handed_out(queries: &dyn Queries, publisher: &str, busy: &BTreeMap<PoolId, String>) -> Result<u32, DbError> {
    let mut count = 0;
    for (id, _) in busy.iter().filter(|(_, name)| *name == publisher) {
        let found = queries.pool_entry(*id)?;
        count += u32::from(found.is_some_and(|(entry, _)| entry.status == PoolState::Pending));
    }
    Ok(count)
}
