//! One entry of the publish pool with its history, and what is due there.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};
use diesel::sqlite::SqliteConnection;

use super::super::connection::db_error;
use super::super::fixed::Asked;
use super::super::models::{AccountRow, HandoutRow, PoolRow, parsed};
use super::super::pool_rows;
use super::super::schema::{accounts, handouts, publish_pool};
use crate::publish::{Handout, PoolMove};
use crate::store::DbError;
use crate::store::query::{KeyUse, PoolStanding};
use crate::store::write::Account;
use crate::task::content::PoolEntry;
use crate::task::{AttemptKey, PoolId, Timestamp};

pub fn one(connection: &mut SqliteConnection, id: PoolId) -> Result<Option<(PoolEntry, Vec<Handout>)>, DbError> {
    let Some(entry) = pool_rows::one(connection, id)? else { return Ok(None) };
    let found = handouts::table.filter(handouts::pool_id.eq(id.0)).order(handouts::fence);
    let rows: Vec<HandoutRow> = found.select(HandoutRow::as_select()).load(connection).map_err(db_error)?;
    let handouts = rows.into_iter().map(HandoutRow::into_record).collect::<Result<_, _>>()?;
    Ok(Some((entry, handouts)))
}

/// Only what is being published has a wake time.
pub fn wakes(
    connection: &mut SqliteConnection,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<(PoolEntry, Handout)>, DbError> {
    let is_current = handouts::pool_id.eq(publish_pool::id).and(handouts::fence.eq(publish_pool::fence));
    let found = publish_pool::table
        .inner_join(handouts::table.on(is_current))
        .filter(publish_pool::wake_at.le(until.0))
        .order((publish_pool::wake_at, publish_pool::id))
        .limit(limit.into())
        .select((PoolRow::as_select(), HandoutRow::as_select()));
    let rows: Vec<(PoolRow, HandoutRow)> = found.load(connection).map_err(db_error)?;
    rows.into_iter().map(|(entry, handout)| Ok((entry.into_record()?, handout.into_record()?))).collect()
}

/// What keys of handings out are needed for: a call may go on under one that is not answered.
pub fn key_uses(connection: &mut SqliteConnection, keys: &[AttemptKey]) -> Result<Vec<(AttemptKey, KeyUse)>, DbError> {
    let asked = handouts::table
        .inner_join(publish_pool::table.on(publish_pool::id.eq(handouts::pool_id)))
        .filter(handouts::key.eq_any(keys.iter().map(AttemptKey::as_str)))
        .select((HandoutRow::as_select(), publish_pool::status, publish_pool::fence));
    let rows: Vec<(HandoutRow, String, i64)> = asked.load(connection).map_err(db_error)?;
    let uses = rows.into_iter().map(|(row, status, fence)| {
        let handout = row.into_record()?;
        let status = parsed(&handout.key, "status of its pool entry", &status)?;
        let is_current = u64::try_from(fence) == Ok(handout.fence);
        Ok((handout.key, KeyUse::of_handout(status, is_current)))
    });
    uses.collect()
}

/// Each account is asked about by an index that holds pending entries alone.
const ACCOUNTS_DUE: &str = "SELECT id AS number FROM accounts WHERE EXISTS (SELECT 1 FROM publish_pool \
     WHERE publish_pool.account_id = accounts.id AND publish_pool.status = 'pending' AND publish_pool.scheduled_at <= ?) \
     ORDER BY id";

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = Nullable<BigInt>)]
    number: Option<i64>,
}

pub fn accounts_due(connection: &mut SqliteConnection, now: Timestamp) -> Result<Vec<Account>, DbError> {
    let ids: Vec<Number> = Asked::new(ACCOUNTS_DUE).number(now.0).load(connection).map_err(db_error)?;
    let ids: Vec<i64> = ids.into_iter().filter_map(|row| row.number).collect();
    let mut due = Vec::with_capacity(ids.len());
    // A statement binds each of them.
    for part in ids.chunks(500) {
        let found = accounts::table.filter(accounts::id.eq_any(part)).order(accounts::id);
        let rows: Vec<AccountRow> = found.select(AccountRow::as_select()).load(connection).map_err(db_error)?;
        for row in rows {
            due.push(row.into_record()?);
        }
    }
    Ok(due)
}

const COUNT: &str = "SELECT count(*) AS number FROM publish_pool WHERE status = ?";
const OLDEST_DUE: &str = "SELECT min(scheduled_at) AS number FROM publish_pool INDEXED BY pool_due \
     WHERE status = 'pending' AND scheduled_at <= ?";

const TO_REVIEW: &str =
    "SELECT count(*) AS number FROM (SELECT 1 FROM contents WHERE review_status = 'pending_review' LIMIT ?)";

pub fn standing(connection: &mut SqliteConnection, now: Timestamp) -> Result<PoolStanding, DbError> {
    let mut counts = BTreeMap::new();
    // A question a state: each counts a stretch of one index, and leaves out what only grows.
    for state in PoolStanding::COUNTED {
        let found = Asked::new(COUNT).text(state.as_str());
        let found: Number = found.get_result(connection).map_err(db_error)?;
        let count = found.number.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
        if count > 0 {
            counts.insert(*state, count);
        }
    }
    let oldest = Asked::new(OLDEST_DUE).number(now.0);
    let oldest: Number = oldest.get_result(connection).map_err(db_error)?;
    let to_review = Asked::new(TO_REVIEW).number(PoolStanding::MOST_TO_REVIEW.cast_signed());
    let to_review: Number = to_review.get_result(connection).map_err(db_error)?;
    Ok(PoolStanding {
        counts,
        oldest_due: oldest.number.map(Timestamp),
        to_review: to_review.number.and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
    })
}

const NEXT_DUE: &str =
    "SELECT min(scheduled_at) AS number FROM publish_pool WHERE status = 'pending' AND scheduled_at > ?";
const NEXT_WAKE: &str = "SELECT min(wake_at) AS number FROM publish_pool WHERE wake_at > ?";

pub fn next_time(connection: &mut SqliteConnection, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
    let mut ask = |sql| -> Result<Option<i64>, DbError> {
        let answer: Number = Asked::new(sql).number(now.0).get_result(connection).map_err(db_error)?;
        Ok(answer.number)
    };
    let times = [ask(NEXT_DUE)?, ask(NEXT_WAKE)?];
    Ok(times.into_iter().flatten().min().map(Timestamp))
}

const PUBLISHES_SINCE: &str = "SELECT count(*) AS number FROM handouts WHERE is_publisher = 1 AND holder = ? \
     AND handed_out_at BETWEEN ? AND ? AND (outcome IS NULL OR outcome <> ?)";

pub fn publishes_since(
    connection: &mut SqliteConnection,
    publisher: &str,
    since: Timestamp,
    until: Timestamp,
) -> Result<u32, DbError> {
    let given_back = PoolMove::GivenBack.as_str();
    let count = Asked::new(PUBLISHES_SINCE).text(publisher).number(since.0).number(until.0).text(given_back);
    let count: Number = count.get_result(connection).map_err(db_error)?;
    Ok(count.number.and_then(|count| u32::try_from(count).ok()).unwrap_or(u32::MAX))
}
