//! Counters.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;

use super::super::connection::db_error;
use super::super::fixed::Asked;
use super::super::models::unreadable;
use super::super::schema::{state_counts, tasks};
use crate::store::DbError;
use crate::store::query::Submits;
use crate::task::{AccountId, GeneratorName, TaskState, Timestamp};

pub(super) fn unsigned(number: i64) -> u64 {
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
struct SubmitsRow {
    #[diesel(sql_type = BigInt)]
    account_id: i64,
    #[diesel(sql_type = BigInt)]
    count: i64,
    #[diesel(sql_type = BigInt)]
    first: i64,
}

/// Bound: generator, two times.
const SUBMITS_SINCE: &str = "SELECT t.account_id AS account_id, count(*) AS count, min(a.intended_at) AS first \
     FROM attempts a JOIN tasks t ON t.id = a.task_id \
     WHERE a.generator = ? AND a.intended_at BETWEEN ? AND ? AND a.state <> 'withdrawn' GROUP BY t.account_id";

pub fn submits_since(
    connection: &mut SqliteConnection,
    generator: &GeneratorName,
    since: Timestamp,
    until: Timestamp,
) -> Result<BTreeMap<AccountId, Submits>, DbError> {
    let counted = diesel::sql_query(SUBMITS_SINCE)
        .bind::<Text, _>(generator.as_str())
        .bind::<BigInt, _>(since.0)
        .bind::<BigInt, _>(until.0);
    let counted: Vec<SubmitsRow> = counted.load(connection).map_err(db_error)?;
    let entry = |row: SubmitsRow| {
        let count = u32::try_from(row.count).unwrap_or(u32::MAX);
        (AccountId(row.account_id), Submits { count, first: Timestamp(row.first) })
    };
    Ok(counted.into_iter().map(entry).collect())
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

/// Of tasks that finished before a time, those that a cleanup leaves.
const KEPT_FOR_REVIEW: &str = "SELECT count(*) AS count FROM tasks WHERE tasks.id IN \
     (SELECT task_id FROM contents WHERE review_status = 'pending_review') \
     AND +tasks.completed_at < ? AND +tasks.wake_at IS NULL";

pub fn finished_before(connection: &mut SqliteConnection, time: Timestamp) -> Result<u64, DbError> {
    let finished = tasks::table.filter(tasks::completed_at.lt(time.0)).filter(tasks::wake_at.is_null()).count();
    let count: i64 = finished.get_result(connection).map_err(db_error)?;
    // Few wait for a review, and to look at each finished task for its pieces takes long.
    let kept: Unfinished = Asked::new(KEPT_FOR_REVIEW).number(time.0).get_result(connection).map_err(db_error)?;
    Ok(unsigned(count.saturating_sub(kept.count)))
}
