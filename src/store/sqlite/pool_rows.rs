//! The publish pool's rows: operations of a write, and the one question that writes and queries share.
//!
//! SQL only, as in [`super::rows`].

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;

use super::connection::{db_error, optional};
use super::fixed::Fixed;
use super::models::{HandoutChanges, HandoutRow, NewPoolRow, PoolChanges, PoolRow, PublicationRow, stored_fence};
use super::schema::{contents, handouts, publications, publish_pool};
use super::update::update as row_update;
use crate::publish::{Handout, PieceIdentity};
use crate::store::DbError;
use crate::task::content::{DueBy, PoolEntry, PoolState, Publication, PublishState, ReviewState};
use crate::task::{AccountId, ContentId, PoolId, TaskId, Timestamp, limits};

/// The condition of the index `pool_of_content`.
const IS_IN_THE_POOL: Fixed = Fixed("publish_pool.status <> 'removed'");
/// The condition of the index `pool_removed`.
const WAS_REMOVED: Fixed = Fixed("publish_pool.status = 'removed'");
/// The condition of the index `pool_doubted`.
const WAS_DOUBTED: Fixed = Fixed("publish_pool.status = 'removed' AND publish_pool.held_reason IS NOT NULL");
/// The condition of the index `handouts_of_request`.
const HAS_REQUEST: Fixed = Fixed("handouts.request IS NOT NULL");

type Connection = SqliteConnection;

fn expect_one(changed: usize, what: impl FnOnce() -> String) -> Result<(), DbError> {
    if changed == 1 { Ok(()) } else { Err(DbError::Refused(what())) }
}

pub fn task_of_content(connection: &mut Connection, id: ContentId) -> Result<Option<TaskId>, DbError> {
    let found = contents::table.find(id.0).select(contents::task_id);
    Ok(optional(found.first::<String>(connection))?.map(TaskId))
}

pub fn piece_identity(connection: &mut Connection, id: ContentId) -> Result<Option<PieceIdentity>, DbError> {
    let found = contents::table.find(id.0).select((contents::task_id, contents::version, contents::content_hash));
    let Some((task_id, version, content_hash)) = optional(found.first::<(String, i64, String)>(connection))? else {
        return Ok(None);
    };
    let version =
        u32::try_from(version).map_err(|_| DbError::Refused(format!("content {id} has version {version}")))?;
    Ok(Some(PieceIdentity { task_id: TaskId(task_id), version, content_hash }))
}

pub fn times_handed_out(connection: &mut Connection, content_id: ContentId) -> Result<u64, DbError> {
    let of_piece = || publish_pool::table.filter(publish_pool::content_id.eq(content_id.0)).select(publish_pool::id);
    // One index has the entry that is in the pool, another those that were taken out.
    let mut entries: Vec<i64> = of_piece().filter(WAS_REMOVED).load(connection).map_err(db_error)?;
    entries.extend(optional(of_piece().filter(IS_IN_THE_POOL).first::<i64>(connection))?);
    let mut times = 0;
    for entry in entries {
        let handed_out = handouts::table.filter(handouts::pool_id.eq(entry)).count();
        times += handed_out.get_result::<i64>(connection).map_err(db_error)?.unsigned_abs();
    }
    Ok(times)
}

pub fn entry_of(connection: &mut Connection, content_id: ContentId) -> Result<Option<PoolEntry>, DbError> {
    let found = publish_pool::table
        .filter(publish_pool::content_id.eq(content_id.0))
        .filter(IS_IN_THE_POOL)
        .select(PoolRow::as_select());
    optional(found.first(connection))?.map(PoolRow::into_record).transpose()
}

pub fn insert(connection: &mut Connection, entry: &PoolEntry) -> Result<PoolId, DbError> {
    let insert = diesel::insert_into(publish_pool::table).values(NewPoolRow::from(entry));
    Ok(PoolId(insert.returning(publish_pool::id).get_result(connection).map_err(db_error)?))
}

pub fn set_status(connection: &mut Connection, id: PoolId, status: PoolState) -> Result<(), DbError> {
    let update = row_update(publish_pool::table, publish_pool::status.eq(status.as_str()), publish_pool::id.eq(id.0));
    let changed = update.execute(connection).map_err(db_error)?;
    expect_one(changed, || format!("pool entry {id} is not there to be updated"))
}

pub fn unpublished(connection: &mut Connection) -> Result<Vec<PoolId>, DbError> {
    let (published, removed) = (PoolState::Published.as_str(), PoolState::Removed.as_str());
    let is_approved = contents::review_status.eq(ReviewState::Approved.as_str());
    let found = publish_pool::table
        .inner_join(contents::table.on(contents::id.eq(publish_pool::content_id)))
        .filter(publish_pool::status.ne(published))
        .filter(publish_pool::status.ne(removed).or(is_approved))
        .order(publish_pool::id);
    let ids: Vec<i64> = found.select(publish_pool::id).load(connection).map_err(db_error)?;
    Ok(ids.into_iter().map(PoolId).collect())
}

pub fn held(connection: &mut Connection) -> Result<Vec<PoolEntry>, DbError> {
    let found = publish_pool::table.filter(publish_pool::status.eq(PoolState::Held.as_str()));
    let rows: Vec<PoolRow> = found.select(PoolRow::as_select()).load(connection).map_err(db_error)?;
    let mut held = rows.into_iter().map(PoolRow::into_record).collect::<Result<Vec<_>, _>>()?;
    held.sort_by_key(|entry| entry.id);
    Ok(held)
}

pub fn doubt_of(connection: &mut Connection, content_id: ContentId) -> Result<Option<PoolEntry>, DbError> {
    let found = publish_pool::table
        .filter(publish_pool::content_id.eq(content_id.0))
        .filter(WAS_DOUBTED)
        .order(publish_pool::id.desc())
        .select(PoolRow::as_select());
    optional(found.first(connection))?.map(PoolRow::into_record).transpose()
}

pub fn one(connection: &mut Connection, id: PoolId) -> Result<Option<PoolEntry>, DbError> {
    let found = publish_pool::table.find(id.0).select(PoolRow::as_select());
    optional(found.first(connection))?.map(PoolRow::into_record).transpose()
}

pub fn update(connection: &mut Connection, entry: &PoolEntry) -> Result<(), DbError> {
    let update = row_update(publish_pool::table, PoolChanges::of(entry)?, publish_pool::id.eq(entry.id.0));
    let changed = update.execute(connection).map_err(db_error)?;
    expect_one(changed, || format!("pool entry {} is not there to be updated", entry.id))
}

/// Pending entries that are due, in the order of going out. One question a priority: what is scheduled for later lies between
/// in the index, and there may be much of it.
pub fn due(
    connection: &mut Connection,
    account: Option<AccountId>,
    categories: Option<&[String]>,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<PoolEntry>, DbError> {
    let mut due = Vec::new();
    for priority in limits::PRIORITY.rev() {
        let left = i64::from(limit) - i64::try_from(due.len()).unwrap_or(i64::MAX);
        if left <= 0 {
            break;
        }
        let mut found = publish_pool::table
            .inner_join(contents::table.on(contents::id.eq(publish_pool::content_id)))
            .filter(publish_pool::status.eq(PoolState::Pending.as_str()))
            .filter(publish_pool::priority.eq(i64::from(priority)))
            .filter(publish_pool::scheduled_at.le(now.0))
            .order((publish_pool::scheduled_at, publish_pool::id))
            .limit(left)
            .select(PoolRow::as_select())
            .into_boxed();
        if let Some(account) = account {
            found = found.filter(publish_pool::account_id.eq(account.0));
        }
        if let Some(categories) = categories {
            found = found.filter(contents::category.eq_any(categories));
        }
        let rows: Vec<PoolRow> = found.load(connection).map_err(db_error)?;
        due.extend(rows.into_iter().map(PoolRow::into_record).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(due)
}

pub fn handout(connection: &mut Connection, id: PoolId, fence: u64) -> Result<Option<Handout>, DbError> {
    let found = handouts::table.find((id.0, stored_fence(id, fence)?)).select(HandoutRow::as_select());
    optional(found.first(connection))?.map(HandoutRow::into_record).transpose()
}

pub fn unanswered_handout(connection: &mut Connection, id: PoolId) -> Result<Option<Handout>, DbError> {
    let found = handouts::table
        .filter(handouts::pool_id.eq(id.0))
        .filter(handouts::doubted_at.is_not_null())
        .filter(handouts::ended_at.is_null())
        .order(handouts::fence.desc())
        .select(HandoutRow::as_select());
    optional(found.first(connection))?.map(HandoutRow::into_record).transpose()
}

pub fn handouts_of_request(connection: &mut Connection, holder: &str, request: &str) -> Result<Vec<Handout>, DbError> {
    let found = handouts::table
        .filter(handouts::holder.eq(holder))
        .filter(handouts::request.eq(request))
        .filter(HAS_REQUEST)
        .filter(handouts::is_publisher.eq(false))
        .select(HandoutRow::as_select());
    let rows: Vec<HandoutRow> = found.load(connection).map_err(db_error)?;
    rows.into_iter().map(HandoutRow::into_record).collect()
}

pub fn insert_handout(connection: &mut Connection, handout: &Handout) -> Result<(), DbError> {
    let insert = diesel::insert_into(handouts::table).values(HandoutRow::of(handout)?);
    insert.execute(connection).map_err(db_error)?;
    Ok(())
}

pub fn update_handout(connection: &mut Connection, handout: &Handout) -> Result<(), DbError> {
    let (id, fence) = (handout.pool_id, handout.fence);
    let row = handouts::pool_id.eq(id.0).and(handouts::fence.eq(stored_fence(id, fence)?));
    let update = row_update(handouts::table, HandoutChanges::from(handout), row);
    let changed = update.execute(connection).map_err(db_error)?;
    expect_one(changed, || format!("handout {fence} of pool entry {id} is not there to be updated"))
}

pub fn publish_content(connection: &mut Connection, id: ContentId, publication: &Publication) -> Result<(), DbError> {
    let insert = diesel::insert_into(publications::table).values(PublicationRow::of(id, publication));
    insert.execute(connection).map_err(db_error)?;
    set_publish_status(connection, id, PublishState::Published, publication.at)
}

pub fn set_publish_status(
    connection: &mut Connection,
    id: ContentId,
    status: PublishState,
    now: Timestamp,
) -> Result<(), DbError> {
    let changes = (contents::publish_status.eq(status.as_str()), contents::updated_at.eq(now.0));
    let update = row_update(contents::table, changes, contents::id.eq(id.0));
    let changed = update.execute(connection).map_err(db_error)?;
    expect_one(changed, || format!("content {id} is not there to be updated"))
}

/// Leases and what doubt is measured by move with the clock, and due times as [`DueBy`] says. A sum that overflows is a real number
/// in SQLite; `min` and `max` bring it back.
const SHIFT_POOL: &str = "UPDATE publish_pool \
     SET wake_at = min(max(wake_at + ?1, -9223372036854775808), 9223372036854775807) WHERE wake_at IS NOT NULL";
const SHIFT_HANDOUTS: &str = "UPDATE handouts SET \
     doubted_at = min(max(doubted_at + ?1, -9223372036854775808), 9223372036854775807), \
     quiet_since = min(max(quiet_since + ?1, -9223372036854775808), 9223372036854775807) \
     WHERE (pool_id, fence) IN (SELECT id, fence FROM publish_pool WHERE wake_at IS NOT NULL)";

/// Bound: by how much, of which.
const SHIFT_DUE: &str = "UPDATE publish_pool \
     SET scheduled_at = min(max(scheduled_at + ?1, -9223372036854775808), 9223372036854775807) \
     WHERE status IN ('pending', 'publishing', 'held') AND due_by = ?2";

pub fn shift_times(connection: &mut Connection, by_ms: i64) -> Result<(), DbError> {
    for due_by in DueBy::ALL {
        let by_ms = due_by.shifted_by(by_ms);
        let shift = diesel::sql_query(SHIFT_DUE).bind::<BigInt, _>(by_ms).bind::<Text, _>(due_by.as_str());
        if by_ms != 0 {
            shift.execute(connection).map_err(db_error)?;
        }
    }
    for sql in [SHIFT_POOL, SHIFT_HANDOUTS] {
        diesel::sql_query(sql).bind::<BigInt, _>(by_ms).execute(connection).map_err(db_error)?;
    }
    Ok(())
}
