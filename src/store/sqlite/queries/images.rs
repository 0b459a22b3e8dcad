//! Images that are kept beside a piece, and the accounts that have limits.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::super::connection::db_error;
use super::super::models::{AccountRow, ImageRow};
use super::super::schema::{accounts, images};
use crate::store::DbError;
use crate::store::write::KeptImage;
use crate::task::account::AccountLimits;
use crate::task::{AccountId, ContentId, Timestamp};

pub fn of_content(connection: &mut SqliteConnection, content: ContentId) -> Result<Vec<KeptImage>, DbError> {
    let found = images::table.filter(images::content_id.eq(content.0)).order(images::position);
    let rows: Vec<ImageRow> = found.select(ImageRow::as_select()).load(connection).map_err(db_error)?;
    rows.into_iter().map(ImageRow::into_record).collect()
}

pub fn due(connection: &mut SqliteConnection, now: Timestamp, limit: u32) -> Result<Vec<KeptImage>, DbError> {
    let found = images::table.filter(images::wake_at.le(now.0)).order((images::wake_at, images::id));
    let rows: Vec<ImageRow> =
        found.limit(limit.into()).select(ImageRow::as_select()).load(connection).map_err(db_error)?;
    rows.into_iter().map(ImageRow::into_record).collect()
}

pub fn next(connection: &mut SqliteConnection, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
    let first = images::table.filter(images::wake_at.gt(now.0)).order(images::wake_at).limit(1);
    let found: Vec<Option<i64>> = first.select(images::wake_at).load(connection).map_err(db_error)?;
    Ok(found.into_iter().next().flatten().map(Timestamp))
}

/// Read whole: accounts are as many as people write for.
pub fn account_limits(connection: &mut SqliteConnection) -> Result<BTreeMap<AccountId, AccountLimits>, DbError> {
    let limited = accounts::max_in_flight.is_not_null().or(accounts::submits_per_day.is_not_null());
    let found = accounts::table.filter(limited).select(AccountRow::as_select());
    let rows: Vec<AccountRow> = found.load(connection).map_err(db_error)?;
    rows.into_iter().map(|row| row.into_record().map(|account| (account.id, account.limits))).collect()
}
