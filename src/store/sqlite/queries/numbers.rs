//! Counters, durations and statistics.

use std::collections::BTreeMap;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};

use super::super::connection::db_error;
use super::super::models::unreadable;
use super::super::schema::{state_counts, tasks};
use crate::store::DbError;
use crate::store::query::Statistics;
use crate::task::{AccountId, GeneratorName, TaskState, Timestamp};

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub fn counts(connection: &mut SqliteConnection) -> Result<BTreeMap<TaskState, u64>, DbError> {
    let kept = state_counts::table.filter(state_counts::count.gt(0));
    let rows: Vec<(String, i64)> = kept.load(connection).map_err(db_error)?;
    let parsed = rows.into_iter().map(|(state, count)| {
        let state = state.parse().map_err(|error| unreadable("the counters", "state", error))?;
        Ok((state, unsigned(count)))
    });
    parsed.collect()
}

#[derive(QueryableByName)]
struct Submits {
    #[diesel(sql_type = BigInt)]
    account_id: i64,
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Bound: generator, time.
pub const SUBMITS_SINCE: &str = "SELECT t.account_id AS account_id, count(*) AS count \
     FROM attempts a JOIN tasks t ON t.id = a.task_id \
     WHERE a.generator = ? AND a.intended_at >= ? AND a.state <> 'withdrawn' GROUP BY t.account_id";

pub fn submits_since(
    connection: &mut SqliteConnection,
    generator: &GeneratorName,
    since: Timestamp,
) -> Result<BTreeMap<AccountId, u32>, DbError> {
    let counted = diesel::sql_query(SUBMITS_SINCE).bind::<Text, _>(generator.as_str()).bind::<BigInt, _>(since.0);
    let counted: Vec<Submits> = counted.load(connection).map_err(db_error)?;
    let entry = |row: Submits| (AccountId(row.account_id), u32::try_from(row.count).unwrap_or(u32::MAX));
    Ok(counted.into_iter().map(entry).collect())
}

#[derive(QueryableByName)]
struct Span {
    #[diesel(sql_type = BigInt)]
    accepted_at: i64,
    #[diesel(sql_type = BigInt)]
    ended_at: i64,
}

/// Bound: generator, limit.
pub const DURATIONS: &str = "SELECT accepted_at, ended_at FROM attempts \
     WHERE generator = ? AND state = 'ended_completed' AND accepted_at IS NOT NULL AND ended_at IS NOT NULL \
     ORDER BY ended_at DESC, task_id, number LIMIT ?";

pub fn durations(
    connection: &mut SqliteConnection,
    generator: &GeneratorName,
    limit: u32,
) -> Result<Vec<Duration>, DbError> {
    let spans = diesel::sql_query(DURATIONS).bind::<Text, _>(generator.as_str()).bind::<BigInt, _>(i64::from(limit));
    let spans: Vec<Span> = spans.load(connection).map_err(db_error)?;
    Ok(spans.into_iter().map(|span| Timestamp(span.ended_at).since(Timestamp(span.accepted_at))).collect())
}

pub fn finished_before(connection: &mut SqliteConnection, time: Timestamp) -> Result<u64, DbError> {
    let finished = tasks::table.filter(tasks::completed_at.lt(time.0)).filter(tasks::wake_at.is_null()).count();
    let count: i64 = finished.get_result(connection).map_err(db_error)?;
    Ok(unsigned(count))
}

/// The tasks that statistics are about.
fn asked<'a>(account: Option<AccountId>, generator: Option<&'a GeneratorName>) -> tasks::BoxedQuery<'a, Sqlite> {
    let mut query = tasks::table.into_boxed();
    if let Some(account) = account {
        query = query.filter(tasks::account_id.eq(account.0));
    }
    if let Some(generator) = generator {
        query = query.filter(tasks::generator.eq(generator.as_str()));
    }
    query
}

#[derive(QueryableByName)]
struct Done {
    #[diesel(sql_type = Nullable<Double>)]
    duration_ms: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    wait_ms: Option<f64>,
    #[diesel(sql_type = BigInt)]
    words: i64,
}

/// Bound: time, account twice, generator twice; a null account or generator is any.
pub const DONE: &str = "SELECT \
     avg(max(t.completed_at - t.submitted_at, 0)) AS duration_ms, \
     avg(CASE WHEN t.submitted_at IS NOT NULL THEN max(t.submitted_at - t.created_at, 0) END) AS wait_ms, \
     coalesce(sum(c.word_count), 0) AS words \
     FROM tasks t LEFT JOIN contents c ON c.id = t.content_id \
     WHERE t.completed_at >= ? AND t.state = 'completed' \
     AND (? IS NULL OR t.account_id = ?) AND (? IS NULL OR t.generator = ?)";

pub fn statistics(
    connection: &mut SqliteConnection,
    since: Option<Timestamp>,
    account: Option<AccountId>,
    generator: Option<&GeneratorName>,
) -> Result<Statistics, DbError> {
    use diesel::dsl::{count_star, sql};

    let since = since.map_or(i64::MIN, |since| since.0);
    let is_everybody = account.is_none() && generator.is_none();
    let by_state: Vec<(String, i64)> = if is_everybody {
        counts(connection)?.into_iter().map(|(state, count)| (state.to_string(), count as i64)).collect()
    } else {
        let mut grouped = tasks::table.group_by(tasks::state).select((tasks::state, count_star())).into_boxed();
        if let Some(account) = account {
            grouped = grouped.filter(tasks::account_id.eq(account.0));
        }
        if let Some(generator) = generator {
            grouped = grouped.filter(tasks::generator.eq(generator.as_str()));
        }
        grouped.load(connection).map_err(db_error)?
    };
    let mut finished = tasks::table
        .group_by(tasks::state)
        .select((tasks::state, count_star()))
        .filter(tasks::completed_at.ge(since))
        .into_boxed();
    if let Some(account) = account {
        finished = finished.filter(tasks::account_id.eq(account.0));
    }
    if let Some(generator) = generator {
        finished = finished.filter(tasks::generator.eq(generator.as_str()));
    }
    let finished: Vec<(String, i64)> = finished.load(connection).map_err(db_error)?;
    let created = asked(account, generator)
        .filter(tasks::created_at.ge(since))
        .select((sql::<BigInt>("count(*)"), sql::<BigInt>("coalesce(sum(retry_count), 0)")));
    let (created, retries): (i64, i64) = created.get_result(connection).map_err(db_error)?;
    let account = account.map(|account| account.0);
    let generator = generator.map(GeneratorName::as_str);
    let done: Done = diesel::sql_query(DONE)
        .bind::<BigInt, _>(since)
        .bind::<Nullable<BigInt>, _>(account)
        .bind::<Nullable<BigInt>, _>(account)
        .bind::<Nullable<Text>, _>(generator)
        .bind::<Nullable<Text>, _>(generator)
        .get_result(connection)
        .map_err(db_error)?;
    let named = |rows: Vec<(String, i64)>| rows.into_iter().map(|(name, count)| (name, unsigned(count))).collect();
    Ok(Statistics {
        by_state: named(by_state),
        finished: named(finished),
        created: unsigned(created),
        retries: unsigned(retries),
        mean_duration_s: done.duration_ms.map(|millis| millis / 1000.0),
        mean_wait_s: done.wait_ms.map(|millis| millis / 1000.0),
        words: unsigned(done.words),
    })
}
