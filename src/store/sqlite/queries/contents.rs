//! Content records, newest first, and the publish pool in the order in which it goes out.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;

use super::super::connection::{db_error, optional};
use super::super::fixed::Fixed;
use super::super::models::{ContentRow, PoolRow, PublicationRow};
use super::super::schema::{contents, publications, publish_pool};
use crate::store::DbError;
use crate::store::query::{ContentFilter, Page, PoolFilter, group_in_pool, place_in_pool};
use crate::task::content::{ContentRecord, PoolEntry, PoolState, PublishState};
use crate::task::{ContentId, Timestamp};

/// The columns of a [`ContentRow`] but for its two long texts.
macro_rules! short_columns {
    ($($long:expr),+) => {
        (
            contents::id,
            contents::task_id,
            contents::account_id,
            contents::version,
            contents::title,
            contents::summary,
            contents::images,
            contents::cover_image,
            contents::word_count,
            contents::quality_score,
            contents::category,
            contents::review_status,
            contents::review_reason,
            contents::reviewed_by,
            contents::publish_status,
            contents::content_hash,
            contents::created_at,
            contents::findings,
            contents::edited_by,
            contents::rewritten_by,
            $($long),+
        )
    };
}

pub fn one(connection: &mut SqliteConnection, id: ContentId) -> Result<Option<ContentRecord>, DbError> {
    let found = contents::table.find(id.0).select(ContentRow::as_select());
    let Some(row) = optional(found.first::<ContentRow>(connection))? else { return Ok(None) };
    let mut content = row.into_record()?;
    if content.record.publish_status == PublishState::Published {
        fill_in(connection, std::slice::from_mut(&mut content))?;
    }
    Ok(Some(content))
}

/// Where those of them went that are out.
fn fill_in(connection: &mut SqliteConnection, records: &mut [ContentRecord]) -> Result<(), DbError> {
    let is_out = |content: &&ContentRecord| content.record.publish_status == PublishState::Published;
    let ids: Vec<i64> = records.iter().filter(is_out).map(|content| content.id.0).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let found = publications::table.filter(publications::content_id.eq_any(ids)).select(PublicationRow::as_select());
    let rows: Vec<PublicationRow> = found.load(connection).map_err(db_error)?;
    let mut known: BTreeMap<ContentId, _> = rows.into_iter().map(PublicationRow::into_record).collect();
    for content in records {
        content.publication = known.remove(&content.id);
    }
    Ok(())
}

pub fn one_without_piece(connection: &mut SqliteConnection, id: ContentId) -> Result<Option<ContentRecord>, DbError> {
    let found = contents::table.find(id.0).select(short_columns!("".into_sql::<Text>(), "".into_sql::<Text>()));
    optional(found.first::<ContentRow>(connection))?.map(ContentRow::into_record).transpose()
}

pub fn list(
    connection: &mut SqliteConnection,
    filter: &ContentFilter,
    page: Page,
) -> Result<Vec<ContentRecord>, DbError> {
    let mut found = contents::table
        .select(short_columns!("".into_sql::<Text>(), "".into_sql::<Text>()))
        .limit(page.limit.into())
        .offset(page.offset.into())
        .into_boxed();
    found = if filter.is_oldest_first { found.order(contents::id.asc()) } else { found.order(contents::id.desc()) };
    if let Some(account) = filter.account {
        found = found.filter(contents::account_id.eq(account.0));
    }
    if let Some(review) = filter.review {
        found = found.filter(contents::review_status.eq(review.as_str()));
    }
    if let Some(task) = &filter.task {
        found = found.filter(contents::task_id.eq(task.as_str()));
    }
    if let Some(before) = page.before {
        found = found.filter(contents::id.lt(before));
    }
    let rows: Vec<ContentRow> = found.load(connection).map_err(db_error)?;
    let mut records = rows.into_iter().map(ContentRow::into_record).collect::<Result<Vec<_>, _>>()?;
    fill_in(connection, &mut records)?;
    Ok(records)
}

/// A stretch of the pool, which one order holds for.
#[derive(Clone, Copy)]
enum Stretch {
    Of(PoolState),
    Due(Timestamp),
    Later(Timestamp),
}

impl Stretch {
    fn group(self) -> u8 {
        match self {
            Self::Of(status) => group_in_pool(status, false),
            Self::Due(_) => group_in_pool(PoolState::Pending, false),
            Self::Later(_) => group_in_pool(PoolState::Pending, true),
        }
    }
}

/// What a filter asks for, in the order of the list.
fn stretches(filter: &PoolFilter) -> Vec<Stretch> {
    let statuses = match filter.status {
        Some(status) => vec![status],
        None => PoolState::ALL.iter().copied().filter(|status| *status != PoolState::Removed).collect(),
    };
    let mut stretches: Vec<Stretch> = Vec::new();
    for status in statuses {
        match (status, filter.now) {
            (PoolState::Pending, Some(now)) => stretches.extend([Stretch::Due(now), Stretch::Later(now)]),
            (status, _) => stretches.push(Stretch::Of(status)),
        }
    }
    stretches.sort_by_key(|stretch| stretch.group());
    stretches
}

/// One list a stretch, each but one in the order of its index, then merged: SQLite would sort all that was ever published. What is out is
/// not read where the page is full of what is not.
/// The condition of the partial indexes over what waits.
const IS_PENDING: Fixed = Fixed("publish_pool.status = 'pending'");

pub fn pool(connection: &mut SqliteConnection, filter: &PoolFilter, page: Page) -> Result<Vec<PoolEntry>, DbError> {
    let needed = page.offset as usize + page.limit as usize;
    let mut entries: Vec<PoolEntry> = Vec::new();
    let mut before = (0, 0);
    for stretch in stretches(filter) {
        // Two states may be of one group: neither of them may be cut off before both are merged.
        if stretch.group() != before.0 {
            before = (stretch.group(), entries.len());
        }
        if before.1 >= needed {
            break;
        }
        let all = publish_pool::table.select(PoolRow::as_select()).into_boxed();
        let mut found = match stretch {
            Stretch::Of(status) => all.filter(publish_pool::status.eq(status.as_str())),
            Stretch::Due(now) => all.filter(IS_PENDING).filter(publish_pool::scheduled_at.le(now.0)),
            // These are sorted: they are what waits, and never what is out.
            Stretch::Later(now) => all.filter(IS_PENDING).filter(publish_pool::scheduled_at.gt(now.0)),
        };
        found = match stretch {
            Stretch::Later(_) => {
                found.order((publish_pool::scheduled_at, publish_pool::priority.desc(), publish_pool::id))
            }
            Stretch::Of(_) | Stretch::Due(_) => {
                found.order((publish_pool::priority.desc(), publish_pool::scheduled_at, publish_pool::id))
            }
        };
        if let Some(account) = filter.account {
            found = found.filter(publish_pool::account_id.eq(account.0));
        }
        if let Some(before) = page.before {
            found = found.filter(publish_pool::id.lt(before));
        }
        let found = found.limit(i64::from(page.limit) + i64::from(page.offset));
        let rows: Vec<PoolRow> = found.load(connection).map_err(db_error)?;
        entries.extend(rows.into_iter().map(PoolRow::into_record).collect::<Result<Vec<_>, _>>()?);
    }
    entries.sort_by_key(|entry| place_in_pool(entry, filter.now));
    Ok(entries.into_iter().skip(page.offset as usize).take(page.limit as usize).collect())
}
