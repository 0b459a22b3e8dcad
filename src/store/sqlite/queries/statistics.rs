//! Statistics of what is kept.
//!
//! Of all that is kept they are read from the lanes, where triggers keep the sums; of what was created or finished since a time,
//! from the tasks of that time. The surprise: the lanes' sums are of tasks that stand in the database, so a cleanup lowers them.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};

use super::super::connection::db_error;
use super::numbers::unsigned;
use crate::store::DbError;
use crate::store::query::Statistics;
use crate::task::{AccountId, GeneratorName, TaskState, Timestamp};

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
    since: Option<i64>,
    account: Option<i64>,
    generator: Option<&'a str>,
}

/// The sums of the lanes that are asked about. Bound: account twice, generator twice; a null one is any, here and below.
const KEPT: &str = "SELECT coalesce(sum(pending), 0) AS pending, coalesce(sum(kept), 0) AS kept, \
     coalesce(sum(retries), 0) AS retries, coalesce(sum(completed), 0) AS completed, coalesce(sum(failed), 0) AS failed, \
     coalesce(sum(timed_out), 0) AS timed_out, coalesce(sum(cancelled), 0) AS cancelled, \
     CAST(sum(duration_ms) AS REAL) / nullif(sum(timed), 0) AS mean_duration_ms, \
     CAST(sum(wait_ms) AS REAL) / nullif(sum(timed), 0) AS mean_wait_ms, \
     coalesce(sum(words), 0) AS words FROM lanes WHERE (? IS NULL OR account_id = ?) AND (? IS NULL OR generator = ?)";
/// Tasks that are neither pending nor at their end: those in flight and those that wait for a person. Bound: as above.
const IN_HAND: &str = "SELECT state, count(*) AS count FROM tasks \
     WHERE state IN ('submitting', 'submitted', 'processing', 'cancelling', 'held') \
     AND (? IS NULL OR account_id = ?) AND (? IS NULL OR generator = ?) GROUP BY state";
/// Bound: time, account twice, generator twice. So are the two below. The plus keeps SQLite from walking all tasks in the order of
/// their state.
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
struct Kept {
    #[diesel(sql_type = BigInt)]
    pending: i64,
    #[diesel(sql_type = BigInt)]
    kept: i64,
    #[diesel(sql_type = BigInt)]
    retries: i64,
    #[diesel(sql_type = BigInt)]
    completed: i64,
    #[diesel(sql_type = BigInt)]
    failed: i64,
    #[diesel(sql_type = BigInt)]
    timed_out: i64,
    #[diesel(sql_type = BigInt)]
    cancelled: i64,
    #[diesel(sql_type = Nullable<Double>)]
    mean_duration_ms: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    mean_wait_ms: Option<f64>,
    #[diesel(sql_type = BigInt)]
    words: i64,
}

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

impl Kept {
    fn finished(&self) -> BTreeMap<String, u64> {
        let ends = [
            (TaskState::Completed, self.completed),
            (TaskState::Failed, self.failed),
            (TaskState::Timeout, self.timed_out),
            (TaskState::Cancelled, self.cancelled),
        ];
        ends.into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(state, count)| (state.to_string(), unsigned(count)))
            .collect()
    }
}

impl Asked<'_> {
    /// Asks with account and generator bound, each twice.
    fn ask<T>(&self, connection: &mut SqliteConnection, sql: &str) -> Result<Vec<T>, DbError>
    where
        T: QueryableByName<Sqlite> + 'static,
    {
        let asked = diesel::sql_query(sql)
            .bind::<Nullable<BigInt>, _>(self.account)
            .bind::<Nullable<BigInt>, _>(self.account)
            .bind::<Nullable<Text>, _>(self.generator)
            .bind::<Nullable<Text>, _>(self.generator);
        asked.load(connection).map_err(db_error)
    }

    /// The same, with a time bound before them.
    fn ask_since<T>(&self, connection: &mut SqliteConnection, since: i64, sql: &str) -> Result<Vec<T>, DbError>
    where
        T: QueryableByName<Sqlite> + 'static,
    {
        let asked = diesel::sql_query(sql)
            .bind::<BigInt, _>(since)
            .bind::<Nullable<BigInt>, _>(self.account)
            .bind::<Nullable<BigInt>, _>(self.account)
            .bind::<Nullable<Text>, _>(self.generator)
            .bind::<Nullable<Text>, _>(self.generator);
        asked.load(connection).map_err(db_error)
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
        since: since.map(|since| since.0),
        account: account.map(|account| account.0),
        generator: generator.map(GeneratorName::as_str),
    };
    let kept: Kept = asked.ask(connection, KEPT)?.pop().ok_or_else(|| db_error(diesel::result::Error::NotFound))?;
    let mut by_state = named(asked.ask(connection, IN_HAND)?);
    by_state.extend(kept.finished());
    if kept.pending > 0 {
        by_state.insert(TaskState::Pending.to_string(), unsigned(kept.pending));
    }
    let seconds = |millis: f64| millis / 1000.0;
    let Some(since) = asked.since else {
        return Ok(Statistics {
            by_state,
            finished: kept.finished(),
            created: unsigned(kept.kept),
            retries: unsigned(kept.retries),
            mean_duration_s: kept.mean_duration_ms.map(seconds),
            mean_wait_s: kept.mean_wait_ms.map(seconds),
            words: unsigned(kept.words),
        });
    };
    let created = asked.ask_since::<Created>(connection, since, CREATED)?.pop();
    let done = asked.ask_since::<Done>(connection, since, DONE)?.pop();
    Ok(Statistics {
        by_state,
        finished: named(asked.ask_since(connection, since, FINISHED)?),
        created: created.as_ref().map_or(0, |created| unsigned(created.created)),
        retries: created.as_ref().map_or(0, |created| unsigned(created.retries)),
        mean_duration_s: done.as_ref().and_then(|done| done.duration_ms).map(seconds),
        mean_wait_s: done.as_ref().and_then(|done| done.wait_ms).map(seconds),
        words: done.as_ref().map_or(0, |done| unsigned(done.words)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_hand_is_what_is_neither_pending_nor_at_its_end() {
        for state in TaskState::ALL {
            let is_in_hand = *state != TaskState::Pending && !state.is_final();
            assert_eq!(IN_HAND.contains(&format!("'{state}'")), is_in_hand, "{state}");
        }
    }
}
