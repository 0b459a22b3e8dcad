//! Counters, durations and statistics.

use std::collections::{BTreeMap, BTreeSet};
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

/// Bound: generator, two times.
const SUBMITS_SINCE: &str = "SELECT t.account_id AS account_id, count(*) AS count \
     FROM attempts a JOIN tasks t ON t.id = a.task_id \
     WHERE a.generator = ? AND a.intended_at BETWEEN ? AND ? AND a.state <> 'withdrawn' GROUP BY t.account_id";

pub fn submits_since(
    connection: &mut SqliteConnection,
    generator: &GeneratorName,
    since: Timestamp,
    until: Timestamp,
) -> Result<BTreeMap<AccountId, u32>, DbError> {
    let counted = diesel::sql_query(SUBMITS_SINCE)
        .bind::<Text, _>(generator.as_str())
        .bind::<BigInt, _>(since.0)
        .bind::<BigInt, _>(until.0);
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
const DURATIONS: &str = "SELECT accepted_at, ended_at FROM attempts \
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

#[derive(QueryableByName)]
struct Unfinished {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Every task was pending once, and so every generator that ever had one has a lane.
const GENERATORS: &str = "SELECT DISTINCT generator FROM lanes";
/// Bound: generator. By the index `tasks_unfinished`.
const UNFINISHED: &str = "SELECT count(*) AS count FROM \
     (SELECT 1 FROM tasks WHERE generator = ? AND completed_at IS NULL LIMIT 100000)";

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    generator: String,
}

pub fn unfinished_elsewhere(
    connection: &mut SqliteConnection,
    known: &BTreeSet<GeneratorName>,
) -> Result<BTreeMap<GeneratorName, u64>, DbError> {
    let named: Vec<Named> = diesel::sql_query(GENERATORS).load(connection).map_err(db_error)?;
    let mut found = BTreeMap::new();
    for name in named.into_iter().map(|row| GeneratorName(row.generator)).filter(|name| !known.contains(name)) {
        let counted = diesel::sql_query(UNFINISHED).bind::<Text, _>(name.as_str());
        let counted: Unfinished = counted.get_result(connection).map_err(db_error)?;
        if counted.count > 0 {
            found.insert(name, unsigned(counted.count));
        }
    }
    Ok(found)
}

pub fn finished_before(connection: &mut SqliteConnection, time: Timestamp) -> Result<u64, DbError> {
    let finished = tasks::table.filter(tasks::completed_at.lt(time.0)).filter(tasks::wake_at.is_null()).count();
    let count: i64 = finished.get_result(connection).map_err(db_error)?;
    Ok(unsigned(count))
}

#[derive(QueryableByName)]
struct OfState {
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// What statistics are about; nothing given is everything.
#[derive(Clone, Copy)]
struct Asked<'a> {
    since: i64,
    account: Option<i64>,
    generator: Option<&'a str>,
}

/// Bound: account, generator twice. The plus keeps SQLite from walking all tasks in the order of their state.
const BY_STATE_OF_ACCOUNT: &str = "SELECT state, count(*) AS count FROM tasks \
     WHERE account_id = ? AND (? IS NULL OR generator = ?) GROUP BY +state";
/// Bound: generator.
const BY_STATE_OF_GENERATOR: &str = "SELECT state, count(*) AS count FROM tasks WHERE generator = ? GROUP BY +state";
/// Bound: time, account twice, generator twice; a null account or generator is any. So are the two below.
const FINISHED: &str = "SELECT state, count(*) AS count FROM tasks WHERE completed_at >= ? \
     AND (? IS NULL OR account_id = ?) AND (? IS NULL OR generator = ?) GROUP BY +state";
const CREATED: &str = "SELECT count(*) AS created, coalesce(sum(retry_count), 0) AS retries FROM tasks \
     WHERE created_at >= ? AND (? IS NULL OR account_id = ?) AND (? IS NULL OR generator = ?)";
const DONE: &str = "SELECT \
     avg(max(t.completed_at - t.submitted_at, 0)) AS duration_ms, \
     avg(CASE WHEN t.submitted_at IS NOT NULL THEN max(t.submitted_at - t.created_at, 0) END) AS wait_ms, \
     coalesce(sum(c.word_count), 0) AS words \
     FROM tasks t LEFT JOIN contents c ON c.id = t.content_id \
     WHERE t.completed_at >= ? \
     AND (? IS NULL OR t.account_id = ?) AND (? IS NULL OR t.generator = ?) AND t.state = 'completed'";

#[derive(QueryableByName)]
struct Created {
    #[diesel(sql_type = BigInt)]
    created: i64,
    #[diesel(sql_type = BigInt)]
    retries: i64,
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

impl Asked<'_> {
    /// Asks with time, account and generator bound as [`FINISHED`] has them.
    fn ask<T>(&self, connection: &mut SqliteConnection, sql: &str) -> Result<Vec<T>, DbError>
    where
        T: QueryableByName<Sqlite> + 'static,
    {
        let asked = diesel::sql_query(sql)
            .bind::<BigInt, _>(self.since)
            .bind::<Nullable<BigInt>, _>(self.account)
            .bind::<Nullable<BigInt>, _>(self.account)
            .bind::<Nullable<Text>, _>(self.generator)
            .bind::<Nullable<Text>, _>(self.generator);
        asked.load(connection).map_err(db_error)
    }

    fn by_state(&self, connection: &mut SqliteConnection) -> Result<BTreeMap<String, u64>, DbError> {
        let rows: QueryResult<Vec<OfState>> = match (self.account, self.generator) {
            (None, None) => {
                let kept = counts(connection)?;
                return Ok(kept.into_iter().map(|(state, count)| (state.to_string(), count)).collect());
            }
            (Some(account), generator) => diesel::sql_query(BY_STATE_OF_ACCOUNT)
                .bind::<BigInt, _>(account)
                .bind::<Nullable<Text>, _>(generator)
                .bind::<Nullable<Text>, _>(generator)
                .load(connection),
            (None, Some(generator)) => {
                diesel::sql_query(BY_STATE_OF_GENERATOR).bind::<Text, _>(generator).load(connection)
            }
        };
        Ok(named(rows.map_err(db_error)?))
    }
}

fn named(rows: Vec<OfState>) -> BTreeMap<String, u64> {
    rows.into_iter().map(|row| (row.state, unsigned(row.count))).collect()
}

pub fn statistics(
    connection: &mut SqliteConnection,
    since: Option<Timestamp>,
    account: Option<AccountId>,
    generator: Option<&GeneratorName>,
) -> Result<Statistics, DbError> {
    let asked = Asked {
        since: since.map_or(i64::MIN, |since| since.0),
        account: account.map(|account| account.0),
        generator: generator.map(GeneratorName::as_str),
    };
    let created = asked.ask::<Created>(connection, CREATED)?.pop();
    let done = asked.ask::<Done>(connection, DONE)?.pop();
    let seconds = |millis: f64| millis / 1000.0;
    Ok(Statistics {
        by_state: asked.by_state(connection)?,
        finished: named(asked.ask(connection, FINISHED)?),
        created: created.as_ref().map_or(0, |created| unsigned(created.created)),
        retries: created.as_ref().map_or(0, |created| unsigned(created.retries)),
        mean_duration_s: done.as_ref().and_then(|done| done.duration_ms).map(seconds),
        mean_wait_s: done.as_ref().and_then(|done| done.wait_ms).map(seconds),
        words: done.as_ref().map_or(0, |done| unsigned(done.words)),
    })
}
