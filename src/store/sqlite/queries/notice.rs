//! Alarms, messages and their deliveries; the numbers that the rules look at; what came of a span of time.

use std::collections::BTreeMap;

use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use super::super::connection::{db_error, optional};
use super::super::fixed::Fixed;
use super::super::models::{DeliveryRow, NoticeRow, parsed};
use super::super::notices::{all_alarms, with_notice};
use super::super::schema::{deliveries, notices};
use super::SqliteQueries;
use crate::notice::alarm::Alarm;
use crate::notice::delivery::Delivery;
use crate::store::DbError;
use crate::store::query::notice::{Gathering, NoticeQueries, NoticeStory, Outbox, Summary, SummaryFilter, WaitingFor};
use crate::task::{TaskState, Timestamp};

/// The condition of the index `deliveries_waiting`, word for word.
const IS_WAITING: Fixed = Fixed("deliveries.state = 'waiting'");
/// Few wait: the index of those that do is read as a whole.
const WAITING: &str = "SELECT d.hook AS hook, count(*) AS count, min(n.at) AS oldest \
     FROM deliveries d INDEXED BY deliveries_waiting CROSS JOIN notices n ON n.id = d.notice_id \
     WHERE d.state = 'waiting' GROUP BY d.hook";
/// Bound: time.
const GIVEN_UP: &str = "SELECT hook, count(*) AS count, 0 AS oldest FROM deliveries \
     WHERE state = 'given_up' AND due_at >= ? GROUP BY hook";
/// Bound: time.
const ENDED_SINCE: &str = "SELECT state, count(*) AS count FROM tasks WHERE completed_at >= ? GROUP BY +state";
/// Bound: time. Of each lane the head of each priority, and of its delayed tasks the first.
const OLDEST_READY: &str = "SELECT min(at) AS at FROM (SELECT (SELECT t.queued_at FROM tasks t WHERE t.state = 'pending' AND t.wake_at IS NULL \
     AND t.generator = l.generator AND t.account_id = l.account_id AND t.priority = p.priority \
     ORDER BY t.queued_at, t.seq LIMIT 1) AS at FROM lanes l CROSS JOIN (SELECT 1 AS priority UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 \
     UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9 UNION ALL SELECT 10) p \
     WHERE l.pending > 0 \
     UNION ALL SELECT (SELECT t.wake_at FROM tasks t WHERE t.state = 'pending' AND t.wake_at IS NOT NULL \
     AND t.generator = l.generator AND t.account_id = l.account_id AND t.wake_at <= ?1 ORDER BY t.wake_at LIMIT 1) AS at \
     FROM lanes l WHERE l.pending > 0)";
/// Bound: beginning, end, account twice, generator twice; a null account or generator is any. So is the one below.
const FINISHED: &str = "SELECT state, retry_count AS retries, completed_at - submitted_at AS duration_ms, \
     submitted_at - created_at AS wait_ms FROM tasks WHERE completed_at >= ? AND completed_at < ? \
     AND (? IS NULL OR account_id = ?) AND (? IS NULL OR generator = ?)";
const CREATED: &str = "SELECT count(*) AS count FROM tasks WHERE created_at >= ? AND created_at < ? \
     AND (? IS NULL OR account_id = ?) AND (? IS NULL OR generator = ?)";

#[derive(QueryableByName)]
struct OfHook {
    #[diesel(sql_type = Text)]
    hook: String,
    #[diesel(sql_type = BigInt)]
    count: i64,
    #[diesel(sql_type = BigInt)]
    oldest: i64,
}

#[derive(QueryableByName)]
struct OfState {
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Moment {
    #[diesel(sql_type = Nullable<BigInt>)]
    at: Option<i64>,
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Finished {
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    retries: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    duration_ms: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    wait_ms: Option<i64>,
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The statement of a summary with what it is bound to.
macro_rules! about {
    ($sql:expr, $filter:expr) => {{
        let (account, generator) =
            ($filter.account.map(|account| account.0), $filter.generator.as_ref().map(|name| name.as_str()));
        diesel::sql_query($sql)
            .bind::<BigInt, _>($filter.since.0)
            .bind::<BigInt, _>($filter.until.map_or(i64::MAX, |until| until.0))
            .bind::<Nullable<BigInt>, _>(account)
            .bind::<Nullable<BigInt>, _>(account)
            .bind::<Nullable<Text>, _>(generator)
            .bind::<Nullable<Text>, _>(generator)
    }};
}

fn summary(connection: &mut SqliteConnection, filter: &SummaryFilter) -> Result<Summary, DbError> {
    let created: Counted = about!(CREATED, filter).get_result(connection).map_err(db_error)?;
    let mut gathering = Gathering::default();
    // Row by row: a span may have a million of them.
    let rows = about!(FINISHED, filter).load_iter::<Finished, DefaultLoadingMode>(connection).map_err(db_error)?;
    for row in rows {
        let row = row.map_err(db_error)?;
        let state = parsed("a finished task", "state", &row.state)?;
        gathering.finished(state, unsigned(row.retries), row.duration_ms, row.wait_ms);
    }
    Ok(gathering.into_summary(unsigned(created.count)))
}

fn outbox(connection: &mut SqliteConnection, since: Timestamp) -> Result<Outbox, DbError> {
    let waiting: Vec<OfHook> = diesel::sql_query(WAITING).load(connection).map_err(db_error)?;
    let given_up = diesel::sql_query(GIVEN_UP).bind::<BigInt, _>(since.0);
    let given_up: Vec<OfHook> = given_up.load(connection).map_err(db_error)?;
    let waits = |row: OfHook| (row.hook, WaitingFor { count: unsigned(row.count), oldest: Timestamp(row.oldest) });
    Ok(Outbox {
        waiting: waiting.into_iter().map(waits).collect(),
        given_up: given_up.into_iter().map(|row| (row.hook, unsigned(row.count))).collect(),
    })
}

fn story(connection: &mut SqliteConnection, row: NoticeRow) -> Result<NoticeStory, DbError> {
    let notice = row.into_record()?;
    let of_it = deliveries::table.filter(deliveries::notice_id.eq(&notice.id)).select(DeliveryRow::as_select());
    let mut found: Vec<Delivery> = of_it
        .load::<DeliveryRow>(connection)
        .map_err(db_error)?
        .into_iter()
        .map(|row| row.into_record(notice.clone()))
        .collect::<Result<_, _>>()?;
    found.sort_by_key(|delivery| delivery.id);
    Ok(NoticeStory { notice, deliveries: found })
}

impl NoticeQueries for SqliteQueries {
    fn alarms(&self) -> Result<Vec<Alarm>, DbError> {
        all_alarms(&mut *self.connection()?)
    }

    fn next_delivery(&self, hook: &str) -> Result<Option<Delivery>, DbError> {
        self.snapshot(|connection| {
            let waiting = deliveries::table.filter(IS_WAITING).filter(deliveries::hook.eq(hook));
            let first = waiting.order(deliveries::id).select(DeliveryRow::as_select());
            let row = optional(first.first(connection))?;
            row.map(|row| with_notice(connection, row)).transpose()
        })
    }

    fn outbox(&self, given_up_since: Timestamp) -> Result<Outbox, DbError> {
        self.snapshot(|connection| outbox(connection, given_up_since))
    }

    fn notices(&self, limit: u32) -> Result<Vec<NoticeStory>, DbError> {
        self.snapshot(|connection| {
            let newest = notices::table.order(notices::seq.desc()).limit(limit.into()).select(NoticeRow::as_select());
            let rows: Vec<NoticeRow> = newest.load(connection).map_err(db_error)?;
            rows.into_iter().map(|row| story(connection, row)).collect()
        })
    }

    fn notice(&self, id: &str) -> Result<Option<NoticeStory>, DbError> {
        self.snapshot(|connection| {
            let found = notices::table.filter(notices::id.eq(id)).select(NoticeRow::as_select());
            let row = optional(found.first(connection))?;
            row.map(|row| story(connection, row)).transpose()
        })
    }

    fn ended_since(&self, since: Timestamp) -> Result<BTreeMap<TaskState, u64>, DbError> {
        let ended = diesel::sql_query(ENDED_SINCE).bind::<BigInt, _>(since.0);
        let rows: Vec<OfState> = ended.load(&mut *self.connection()?).map_err(db_error)?;
        let entry = |row: OfState| Ok((parsed("a finished task", "state", &row.state)?, unsigned(row.count)));
        rows.into_iter().map(entry).collect()
    }

    fn oldest_ready(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
        let oldest = diesel::sql_query(OLDEST_READY).bind::<BigInt, _>(now.0);
        let moment: Moment = oldest.get_result(&mut *self.connection()?).map_err(db_error)?;
        Ok(moment.at.map(Timestamp))
    }

    fn summary(&self, filter: &SummaryFilter) -> Result<Summary, DbError> {
        self.snapshot(|connection| summary(connection, filter))
    }
}
