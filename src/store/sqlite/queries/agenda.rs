//! What is due, what a start must recover, and how many jobs are at each generator.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;

use super::super::connection::db_error;
use super::super::fixed::{Asked, Fixed};
use super::super::models::{AttemptRow, TaskRow, parsed};
use super::super::schema::{attempts, tasks};
use crate::store::DbError;
use crate::store::query::{InFlight, KeyUse};
use crate::task::{AccountId, Attempt, AttemptKey, GeneratorName, Task, TaskState, Timestamp};

/// The condition of the index `tasks_due`, word for word: SQLite takes a partial index only where it can prove it.
const IS_ON_THE_AGENDA: Fixed = Fixed("tasks.state <> 'pending' AND tasks.wake_at IS NOT NULL");

fn active_states() -> Vec<&'static str> {
    TaskState::ALL.iter().filter(|state| state.is_active()).map(|state| state.as_str()).collect()
}

fn records(rows: Vec<(TaskRow, AttemptRow)>) -> Result<Vec<(Task, Attempt)>, DbError> {
    rows.into_iter().map(|(task, attempt)| Ok((task.into_record()?, attempt.into_record()?))).collect()
}

/// First who is due, which the index alone says, then the rows of those that are wanted: with a thousand jobs in hand, their
/// rows would be read again at each look.
pub fn due(
    connection: &mut SqliteConnection,
    now: Timestamp,
    limit: u32,
    except: &BTreeSet<i64>,
) -> Result<Vec<(Task, Attempt)>, DbError> {
    let at_most = i64::from(limit).saturating_add(i64::try_from(except.len()).unwrap_or(i64::MAX));
    let due = tasks::table
        .filter(IS_ON_THE_AGENDA)
        .filter(tasks::wake_at.le(now.0))
        .order((tasks::wake_at, tasks::seq))
        .limit(at_most)
        .select(tasks::seq);
    let due: Vec<i64> = due.load(connection).map_err(db_error)?;
    let wanted = due.into_iter().filter(|seq| !except.contains(seq)).take(limit as usize);
    let rows = wanted.map(|seq| {
        let one = tasks::table
            .inner_join(attempts::table.on(attempts::task_id.eq(tasks::id).and(attempts::number.eq(tasks::attempt))))
            .filter(tasks::seq.eq(seq))
            .select((TaskRow::as_select(), AttemptRow::as_select()));
        one.first(connection).optional().map_err(db_error)
    });
    let rows: Vec<Option<(TaskRow, AttemptRow)>> = rows.collect::<Result<_, _>>()?;
    records(rows.into_iter().flatten().collect())
}

pub fn next_wake(connection: &mut SqliteConnection, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
    let ahead = tasks::table.filter(IS_ON_THE_AGENDA).filter(tasks::wake_at.gt(now.0));
    let first = ahead.select(diesel::dsl::min(tasks::wake_at));
    let first: Option<i64> = first.get_result(connection).map_err(db_error)?;
    Ok(first.map(Timestamp))
}

pub fn active(connection: &mut SqliteConnection) -> Result<Vec<(Task, Attempt)>, DbError> {
    let active = tasks::table
        .inner_join(attempts::table.on(attempts::task_id.eq(tasks::id).and(attempts::number.eq(tasks::attempt))))
        .filter(tasks::state.eq_any(active_states()))
        .select((TaskRow::as_select(), AttemptRow::as_select()));
    let mut active = records(active.load(connection).map_err(db_error)?)?;
    active.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
    Ok(active)
}

pub fn key_uses(
    connection: &mut SqliteConnection,
    keys: &[AttemptKey],
) -> Result<BTreeMap<AttemptKey, KeyUse>, DbError> {
    let asked = tasks::table
        .inner_join(attempts::table.on(attempts::task_id.eq(tasks::id)))
        .filter(attempts::key.eq_any(keys.iter().map(AttemptKey::as_str)))
        .select((attempts::key, attempts::state, tasks::state));
    let rows: Vec<(String, String, String)> = asked.load(connection).map_err(db_error)?;
    let uses = rows.into_iter().map(|(key, attempt, task)| {
        let attempt = parsed(&key, "state", &attempt)?;
        let task = parsed(&key, "state of its task", &task)?;
        Ok((AttemptKey(key), KeyUse::of(attempt, task)))
    });
    let mut uses = uses.collect::<Result<BTreeMap<_, _>, DbError>>()?;
    uses.extend(super::pool::key_uses(connection, keys)?);
    Ok(uses)
}

#[derive(QueryableByName)]
struct JobsRow {
    #[diesel(sql_type = Text)]
    generator: String,
    #[diesel(sql_type = BigInt)]
    account_id: i64,
    #[diesel(sql_type = BigInt)]
    jobs: i64,
    #[diesel(sql_type = BigInt)]
    watched: i64,
}

/// The attempts that may be alive are few: their own index leads, and the tasks are looked up.
const IN_FLIGHT: &str = "SELECT t.generator AS generator, t.account_id AS account_id, count(*) AS jobs, \
     count(t.completed_at) AS watched \
     FROM attempts a CROSS JOIN tasks t ON t.id = a.task_id AND t.attempt = a.number \
     WHERE a.state IN ('intended', 'accepted', 'unknown') \
     AND (t.state IN ('submitting', 'submitted', 'processing', 'cancelling') \
          OR (t.state IN ('completed', 'failed', 'timeout', 'cancelled') AND t.wake_at IS NOT NULL)) \
     GROUP BY t.generator, t.account_id ORDER BY t.generator, t.account_id";

pub fn in_flight(connection: &mut SqliteConnection) -> Result<Vec<InFlight>, DbError> {
    let rows: Vec<JobsRow> = Asked::new(IN_FLIGHT).load(connection).map_err(db_error)?;
    let jobs = rows.into_iter().map(|row| InFlight {
        generator: GeneratorName(row.generator),
        account: AccountId(row.account_id),
        jobs: u32::try_from(row.jobs).unwrap_or(u32::MAX),
        watched: u32::try_from(row.watched).unwrap_or(u32::MAX),
    });
    Ok(jobs.collect())
}
