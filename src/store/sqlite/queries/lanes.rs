//! The heads of the lanes, and the order of running made of them.
//!
//! A lane is the pending tasks of one generator and account. Its ready tasks stand in the index `tasks_ready` in the
//! order of running; its delayed ones in `tasks_delayed` by their time. So a head costs two looks, however
//! long the lane is. The surprise: of tasks whose delay has passed, only the first [`PASSED`] of a lane are weighed by
//! priority; nobody keeps their order otherwise, and nobody starves, because the first of them leave.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use super::super::connection::db_error;
use super::super::fixed::{Asked, Fixed};
use super::super::models::unreadable;
use super::super::schema::{lanes, tasks};
use super::tasks::by_numbers;
use crate::store::DbError;
use crate::store::query::{LaneHead, Page, ReadyTask};
use crate::task::record::limits;
use crate::task::{AccountId, GeneratorName, Task, TaskId, Timestamp};

/// How many tasks of a lane whose delay has passed are weighed against the ready ones.
const PASSED: i64 = 1_000;

const IS_READY: Fixed = Fixed("tasks.state = 'pending' AND tasks.wake_at IS NULL");
const IS_DELAYED: Fixed = Fixed("tasks.state = 'pending' AND tasks.wake_at IS NOT NULL");

type Lane = (String, i64);

/// Priority, place in line and row number: the smallest runs next.
type Turn = (Reverse<i64>, i64, i64);

/// Sorts as tasks run.
fn turn(task: &ReadyTask) -> (Reverse<u8>, Timestamp, i64) {
    (Reverse(task.priority), task.queued_at, task.seq)
}

#[derive(QueryableByName)]
struct HeadRow {
    #[diesel(sql_type = Text)]
    generator: String,
    #[diesel(sql_type = BigInt)]
    account_id: i64,
    #[diesel(sql_type = BigInt)]
    priority: i64,
    #[diesel(sql_type = BigInt)]
    queued_at: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

/// One candidate of each lane's ready tasks and the passed ones of its delayed tasks. Bound: now, [`PASSED`].
const HEADS: &str = "SELECT l.generator AS generator, l.account_id AS account_id, \
     t.priority AS priority, t.queued_at AS queued_at, t.seq AS seq \
     FROM lanes l CROSS JOIN tasks t WHERE l.pending > 0 AND t.seq IN ( \
     SELECT seq FROM (SELECT r.seq AS seq FROM tasks r \
     WHERE r.state = 'pending' AND r.wake_at IS NULL AND r.generator = l.generator AND r.account_id = l.account_id \
     ORDER BY r.priority DESC, r.queued_at, r.seq LIMIT 1) \
     UNION ALL \
     SELECT seq FROM (SELECT d.seq AS seq FROM tasks d \
     WHERE d.state = 'pending' AND d.wake_at IS NOT NULL AND d.generator = l.generator \
     AND d.account_id = l.account_id AND d.wake_at <= ? ORDER BY d.wake_at LIMIT ?))";

/// When the first delay after a time ends. Bound: that time.
const NEXT_READY: &str = "SELECT min((SELECT min(d.wake_at) FROM tasks d \
     WHERE d.state = 'pending' AND d.wake_at IS NOT NULL AND d.generator = l.generator \
     AND d.account_id = l.account_id AND d.wake_at > ?)) AS at FROM lanes l WHERE l.pending > 0";

#[derive(QueryableByName)]
struct Moment {
    #[diesel(sql_type = Nullable<BigInt>)]
    at: Option<i64>,
}

/// The lanes that have pending tasks, by name: read from their counters, not from the tasks.
fn all_lanes(connection: &mut SqliteConnection) -> Result<Vec<Lane>, DbError> {
    let waiting = lanes::table
        .filter(lanes::pending.gt(0))
        .order((lanes::generator, lanes::account_id))
        .select((lanes::generator, lanes::account_id));
    waiting.load(connection).map_err(db_error)
}

/// The lanes with the best heads.
fn best_lanes(
    connection: &mut SqliteConnection,
    now: Timestamp,
    limit: usize,
    except: &BTreeSet<Lane>,
) -> Result<Vec<Lane>, DbError> {
    let mut all = all_lanes(connection)?;
    all.retain(|lane| !except.contains(lane));
    if all.len() <= limit {
        return Ok(all);
    }
    let rows = Asked::new(HEADS).number(now.0).number(PASSED);
    let rows: Vec<HeadRow> = rows.load(connection).map_err(db_error)?;
    let mut best: BTreeMap<Lane, Turn> = BTreeMap::new();
    for row in rows {
        let turn = (Reverse(row.priority), row.queued_at, row.seq);
        let head = best.entry((row.generator, row.account_id)).or_insert(turn);
        *head = turn.min(*head);
    }
    let mut lanes: Vec<(Lane, Turn)> = best.into_iter().filter(|(lane, _)| !except.contains(lane)).collect();
    lanes.sort_by_key(|(_, turn)| *turn);
    Ok(lanes.into_iter().take(limit).map(|(lane, _)| lane).collect())
}

/// The next tasks of one lane that may run now, in the order of running.
fn ready_of(
    connection: &mut SqliteConnection,
    lane: &Lane,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<ReadyTask>, DbError> {
    let columns = (tasks::id, tasks::priority, tasks::queued_at, tasks::seq);
    let ready = tasks::table
        .filter(IS_READY)
        .filter(tasks::generator.eq(&lane.0))
        .filter(tasks::account_id.eq(lane.1))
        .order((tasks::priority.desc(), tasks::queued_at, tasks::seq))
        .limit(limit)
        .select(columns);
    let rows: Vec<(String, i64, i64, i64)> = ready.load(connection).map_err(db_error)?;
    let mut tasks = rows.into_iter().map(ready_task).collect::<Result<Vec<_>, _>>()?;
    tasks.extend(passed_of(connection, lane, now, limit.max(PASSED))?);
    tasks.sort_by_key(turn);
    tasks.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(tasks)
}

/// The tasks of one lane whose delay has passed, the first to pass first.
fn passed_of(
    connection: &mut SqliteConnection,
    lane: &Lane,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<ReadyTask>, DbError> {
    let passed = tasks::table
        .filter(IS_DELAYED)
        .filter(tasks::generator.eq(&lane.0))
        .filter(tasks::account_id.eq(lane.1))
        .filter(tasks::wake_at.le(now.0))
        .order(tasks::wake_at)
        .limit(limit)
        .select((tasks::id, tasks::priority, tasks::queued_at, tasks::seq));
    let rows: Vec<(String, i64, i64, i64)> = passed.load(connection).map_err(db_error)?;
    rows.into_iter().map(ready_task).collect()
}

/// The ready task of a lane that is longest in line: the first of each priority, because the index has them so.
pub fn oldest(connection: &mut SqliteConnection, now: Timestamp, lane: &Lane) -> Result<Option<ReadyTask>, DbError> {
    let mut firsts = passed_of(connection, lane, now, PASSED)?;
    for priority in limits::PRIORITY {
        let first = tasks::table
            .filter(IS_READY)
            .filter(tasks::generator.eq(&lane.0))
            .filter(tasks::account_id.eq(lane.1))
            .filter(tasks::priority.eq(i64::from(priority)))
            .order((tasks::queued_at, tasks::seq))
            .limit(1)
            .select((tasks::id, tasks::priority, tasks::queued_at, tasks::seq));
        let rows: Vec<(String, i64, i64, i64)> = first.load(connection).map_err(db_error)?;
        firsts.extend(rows.into_iter().map(ready_task).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(firsts.into_iter().min_by_key(|task| (task.queued_at, task.seq)))
}

fn ready_task((id, priority, queued_at, seq): (String, i64, i64, i64)) -> Result<ReadyTask, DbError> {
    let priority = u8::try_from(priority).map_err(|error| unreadable(format!("task {id}"), "priority", error))?;
    Ok(ReadyTask { id: TaskId(id), priority, queued_at: Timestamp(queued_at), seq })
}

pub fn heads(
    connection: &mut SqliteConnection,
    now: Timestamp,
    per_lane: u32,
    lanes: u32,
    except: &BTreeSet<Lane>,
) -> Result<Vec<LaneHead>, DbError> {
    let mut heads = Vec::new();
    for lane in best_lanes(connection, now, lanes as usize, except)? {
        let tasks = ready_of(connection, &lane, now, per_lane.into())?;
        if !tasks.is_empty() {
            heads.push(LaneHead { generator: GeneratorName(lane.0), account: AccountId(lane.1), tasks });
        }
    }
    heads.sort_by_key(|head| head.tasks.first().map(turn));
    Ok(heads)
}

pub fn next_ready(connection: &mut SqliteConnection, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
    let next = Asked::new(NEXT_READY).number(now.0);
    let moment: Moment = next.get_result(connection).map_err(db_error)?;
    Ok(moment.at.map(Timestamp))
}

pub fn pending(connection: &mut SqliteConnection, now: Timestamp, page: Page) -> Result<Vec<Task>, DbError> {
    let needed = page.offset as usize + page.limit as usize;
    let limit = i64::from(page.offset) + i64::from(page.limit);
    let mut ready = Vec::new();
    // No more lanes than tasks can be on the page, and the best of them are on the lanes with the best heads.
    for lane in best_lanes(connection, now, needed, &BTreeSet::new())? {
        ready.extend(ready_of(connection, &lane, now, limit)?);
    }
    ready.sort_by_key(turn);
    let mut numbers: Vec<i64> = ready.into_iter().map(|task| task.seq).collect();
    if numbers.len() < needed {
        numbers.extend(delayed(connection, now, limit)?);
    }
    let wanted = numbers.into_iter().skip(page.offset as usize).take(page.limit as usize);
    by_numbers(connection, &wanted.collect::<Vec<_>>())
}

/// The delayed tasks of all lanes by the end of their delay; at most `limit`.
fn delayed(connection: &mut SqliteConnection, now: Timestamp, limit: i64) -> Result<Vec<i64>, DbError> {
    let mut rows: Vec<(Option<i64>, i64, i64, i64)> = Vec::new();
    for (generator, account) in all_lanes(connection)? {
        let delayed = tasks::table
            .filter(IS_DELAYED)
            .filter(tasks::generator.eq(&generator))
            .filter(tasks::account_id.eq(account))
            .filter(tasks::wake_at.gt(now.0))
            .order((tasks::wake_at, tasks::priority.desc(), tasks::queued_at, tasks::seq))
            .limit(limit)
            .select((tasks::wake_at, tasks::priority, tasks::queued_at, tasks::seq));
        rows.extend(delayed.load::<(Option<i64>, i64, i64, i64)>(connection).map_err(db_error)?);
    }
    rows.sort_by_key(|(wake_at, priority, queued_at, seq)| (*wake_at, Reverse(*priority), *queued_at, *seq));
    Ok(rows.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).map(|(.., seq)| seq).collect())
}
