//! Rows of the tables `publications` and `handouts`, and what an UPDATE of an entry of the publish pool writes.

use diesel::prelude::*;

use super::super::schema::{handouts, publications, publish_pool};
use super::{millis, narrowed, time, unreadable};
use crate::publish::{Handout, Holder};
use crate::store::DbError;
use crate::task::content::{PoolEntry, Publication};
use crate::task::{AttemptKey, ContentId, PoolId, Timestamp};

/// Where a piece went.
#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = publications, treat_none_as_default_value = false)]
pub struct PublicationRow {
    content_id: i64,
    published_at: i64,
    published_by: String,
    url: Option<String>,
    reference: Option<String>,
}

impl PublicationRow {
    /// The row of a piece.
    pub fn of(content: ContentId, publication: &Publication) -> Self {
        Self {
            content_id: content.0,
            published_at: publication.at.0,
            published_by: publication.by.clone(),
            url: publication.url.clone(),
            reference: publication.reference.clone(),
        }
    }

    /// As the core knows it, with the number of the piece.
    pub fn into_record(self) -> (ContentId, Publication) {
        let Self { content_id, published_at, published_by, url, reference } = self;
        (ContentId(content_id), Publication { at: Timestamp(published_at), by: published_by, url, reference })
    }
}

/// What an UPDATE of an entry writes: everything that may change.
#[derive(AsChangeset)]
#[diesel(table_name = publish_pool, treat_none_as_null = true)]
pub struct PoolChanges<'a> {
    priority: i64,
    scheduled_at: i64,
    status: &'static str,
    retry_count: i64,
    last_error: Option<&'a str>,
    published_at: Option<i64>,
    held_reason: Option<&'a str>,
    fence: i64,
    wake_at: Option<i64>,
    due_by: &'static str,
    may_be_out: bool,
}

impl<'a> PoolChanges<'a> {
    /// The changes of `entry`.
    pub fn of(entry: &'a PoolEntry) -> Result<Self, DbError> {
        Ok(Self {
            priority: entry.priority.into(),
            scheduled_at: entry.scheduled_at.0,
            status: entry.status.as_str(),
            retry_count: entry.retry_count.into(),
            last_error: entry.last_error.as_deref(),
            published_at: millis(entry.published_at),
            held_reason: entry.held_reason.as_deref(),
            fence: stored_fence(entry.id, entry.fence)?,
            wake_at: millis(entry.wake_at),
            due_by: entry.due_by.as_str(),
            may_be_out: entry.may_be_out,
        })
    }
}

/// A fencing number as it is stored.
pub fn stored_fence(id: PoolId, fence: u64) -> Result<i64, DbError> {
    i64::try_from(fence).map_err(|_| unreadable(format_args!("pool entry {id}"), "fence", "is out of range"))
}

/// A handing out as it lies in its table; also what is inserted.
#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = handouts, treat_none_as_default_value = false)]
pub struct HandoutRow {
    pool_id: i64,
    fence: i64,
    key: String,
    holder: String,
    is_publisher: bool,
    request: Option<String>,
    handed_out_at: i64,
    sends: i64,
    doubted_at: Option<i64>,
    is_lost: bool,
    quiet_since: Option<i64>,
    absences: i64,
    ended_at: Option<i64>,
    outcome: Option<String>,
    error: Option<String>,
    unavailable_sends: i64,
    may_be_out: bool,
}

impl HandoutRow {
    /// The row of `handout`.
    pub fn of(handout: &Handout) -> Result<Self, DbError> {
        Ok(Self {
            pool_id: handout.pool_id.0,
            fence: stored_fence(handout.pool_id, handout.fence)?,
            key: handout.key.0.clone(),
            holder: handout.holder.name().to_owned(),
            is_publisher: handout.holder.is_publisher(),
            request: handout.request.clone(),
            handed_out_at: handout.handed_out_at.0,
            sends: handout.sends.into(),
            doubted_at: millis(handout.doubted_at),
            is_lost: handout.is_lost,
            quiet_since: millis(handout.quiet_since),
            absences: handout.absences.into(),
            ended_at: millis(handout.ended_at),
            outcome: handout.outcome.clone(),
            error: handout.error.clone(),
            unavailable_sends: handout.unavailable_sends.into(),
            may_be_out: handout.may_be_out,
        })
    }

    /// As the core knows it.
    pub fn into_record(self) -> Result<Handout, DbError> {
        let row = format_args!("handout {} of pool entry {}", self.fence, self.pool_id).to_string();
        Ok(Handout {
            pool_id: PoolId(self.pool_id),
            fence: narrowed(&row, "fence", self.fence)?,
            key: AttemptKey(self.key),
            holder: if self.is_publisher { Holder::Publisher(self.holder) } else { Holder::Consumer(self.holder) },
            request: self.request,
            handed_out_at: Timestamp(self.handed_out_at),
            sends: narrowed(&row, "sends", self.sends)?,
            doubted_at: time(self.doubted_at),
            is_lost: self.is_lost,
            quiet_since: time(self.quiet_since),
            absences: narrowed(&row, "absences", self.absences)?,
            ended_at: time(self.ended_at),
            outcome: self.outcome,
            error: self.error,
            unavailable_sends: narrowed(&row, "unavailable_sends", self.unavailable_sends)?,
            may_be_out: self.may_be_out,
        })
    }
}

/// What an UPDATE of a handing out writes.
#[derive(AsChangeset)]
#[diesel(table_name = handouts, treat_none_as_null = true)]
pub struct HandoutChanges<'a> {
    sends: i64,
    doubted_at: Option<i64>,
    is_lost: bool,
    quiet_since: Option<i64>,
    absences: i64,
    ended_at: Option<i64>,
    outcome: Option<&'a str>,
    error: Option<&'a str>,
    unavailable_sends: i64,
}

impl<'a> From<&'a Handout> for HandoutChanges<'a> {
    fn from(handout: &'a Handout) -> Self {
        Self {
            sends: handout.sends.into(),
            doubted_at: millis(handout.doubted_at),
            is_lost: handout.is_lost,
            quiet_since: millis(handout.quiet_since),
            absences: handout.absences.into(),
            ended_at: millis(handout.ended_at),
            outcome: handout.outcome.as_deref(),
            error: handout.error.as_deref(),
            unavailable_sends: handout.unavailable_sends.into(),
        }
    }
}
