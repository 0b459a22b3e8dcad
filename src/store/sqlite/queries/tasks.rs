//! One task with all that belongs to it, and lists of tasks, newest first.
//!
//! A list of several states is merged from one list a state, each in the order of its index: SQLite would sort all rows
//! of all of them for one page. Only row numbers are merged; the rows of the page alone are read.

use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};

use super::super::connection::{db_error, optional};
use super::super::models::{AttemptRow, EventRow, TaskRow};
use super::super::schema::{attempts, events, tasks};
use super::AFTER_EVERY_TEXT;
use crate::store::query::{Page, SearchBounds, Searched, TaskFilter};
use crate::store::{DbError, LookupError};
use crate::task::{Attempt, AuditRow, Task, TaskId, TaskState};

/// How many candidates an ambiguous name is answered with.
const CANDIDATES: i64 = 5;

pub fn find(connection: &mut SqliteConnection, name: &str) -> Result<Result<TaskId, LookupError>, DbError> {
    let full = if name.starts_with(TaskId::PREFIX) { name.to_owned() } else { format!("{}{name}", TaskId::PREFIX) };
    if full == TaskId::PREFIX {
        return Ok(Err(LookupError::NotFound(name.to_owned())));
    }
    let named = tasks::table
        .filter(tasks::id.ge(&full))
        .filter(tasks::id.lt(format!("{full}{AFTER_EVERY_TEXT}")))
        .order(tasks::id)
        .limit(CANDIDATES)
        .select(tasks::id);
    let candidates: Vec<String> = named.load(connection).map_err(db_error)?;
    Ok(match candidates.as_slice() {
        [] => Err(LookupError::NotFound(name.to_owned())),
        [only] => Ok(TaskId(only.clone())),
        [first, ..] if *first == full => Ok(TaskId(first.clone())),
        _ => Err(LookupError::Ambiguous {
            prefix: name.to_owned(),
            candidates: candidates.into_iter().map(TaskId).collect(),
        }),
    })
}

pub fn one(connection: &mut SqliteConnection, id: &TaskId) -> Result<Option<(Task, Option<Attempt>)>, DbError> {
    let found = tasks::table
        .left_join(attempts::table.on(attempts::task_id.eq(tasks::id).and(attempts::number.eq(tasks::attempt))))
        .filter(tasks::id.eq(id.as_str()))
        .select((TaskRow::as_select(), Option::<AttemptRow>::as_select()));
    let row: Option<(TaskRow, Option<AttemptRow>)> = optional(found.first(connection))?;
    let Some((task, attempt)) = row else { return Ok(None) };
    Ok(Some((task.into_record()?, attempt.map(AttemptRow::into_record).transpose()?)))
}

pub fn attempts(connection: &mut SqliteConnection, id: &TaskId) -> Result<Vec<Attempt>, DbError> {
    let all = attempts::table
        .filter(attempts::task_id.eq(id.as_str()))
        .order(attempts::number)
        .select(AttemptRow::as_select());
    let rows: Vec<AttemptRow> = all.load(connection).map_err(db_error)?;
    rows.into_iter().map(AttemptRow::into_record).collect()
}

/// One row is in memory at a time: the long outputs of many attempts are not.
pub fn attempts_without_output(
    connection: &mut SqliteConnection,
    id: &TaskId,
) -> Result<Vec<(Attempt, bool)>, DbError> {
    let all = attempts::table
        .filter(attempts::task_id.eq(id.as_str()))
        .order(attempts::number)
        .select(AttemptRow::as_select());
    let rows = all.load_iter::<AttemptRow, _>(connection).map_err(db_error)?;
    rows.map(|row| {
        let mut attempt = row.map_err(db_error)?.into_record()?;
        let has_output = attempt.raw_output.take().is_some();
        Ok((attempt, has_output))
    })
    .collect()
}

pub fn history(connection: &mut SqliteConnection, id: &TaskId) -> Result<Vec<AuditRow>, DbError> {
    let all = events::table.filter(events::task_id.eq(id.as_str())).order(events::id).select(EventRow::as_select());
    let rows: Vec<EventRow> = all.load(connection).map_err(db_error)?;
    rows.into_iter().map(EventRow::into_record).collect()
}

pub fn list(connection: &mut SqliteConnection, filter: &TaskFilter, page: Page) -> Result<Vec<Task>, DbError> {
    let Some(range) = Range::of(connection, filter, page)? else { return Ok(Vec::new()) };
    let needed = i64::from(page.limit) + i64::from(page.offset);
    let mut numbers: Vec<i64> = Vec::new();
    for state in wanted_states(filter) {
        let found = select(filter, state, &range).limit(needed).select(tasks::seq).load::<i64>(connection);
        numbers.extend(found.map_err(db_error)?);
    }
    numbers.sort_unstable_by_key(|seq| std::cmp::Reverse(*seq));
    let wanted = numbers.into_iter().skip(page.offset as usize).take(page.limit as usize);
    by_numbers(connection, &wanted.collect::<Vec<_>>())
}

/// The same for a text of the topic, slice by slice from the newest: what is looked at and how long are bounded. Row numbers may
/// have gaps, so each slice begins at a row that is there.
pub fn search(
    connection: &mut SqliteConnection,
    filter: &TaskFilter,
    topic: &str,
    page: Page,
    bounds: SearchBounds,
) -> Result<Searched, DbError> {
    let Some(range) = Range::of(connection, filter, page)? else { return Ok(Searched::default()) };
    let needed = page.offset as usize + page.limit as usize;
    let (began, slice) = (std::time::Instant::now(), i64::from(bounds.slice.max(1)));
    let floor = range.after.unwrap_or(i64::MIN);
    let mut numbers: Vec<i64> = Vec::new();
    let (mut upper, mut looked) = (range.before.unwrap_or(i64::MAX), 0);
    let mut stopped_at = None;
    while numbers.len() < needed {
        let left = tasks::table.filter(tasks::seq.lt(upper)).select(diesel::dsl::max(tasks::seq));
        let left: Option<i64> = left.get_result(connection).map_err(db_error)?;
        let Some(first) = left.filter(|first| *first > floor) else { break };
        if looked >= i64::from(bounds.rows) || (looked > 0 && began.elapsed() >= bounds.time) {
            let last = tasks::table.filter(tasks::seq.ge(upper)).order(tasks::seq).select(tasks::id);
            stopped_at = optional(last.first::<String>(connection))?.map(TaskId);
            break;
        }
        let lower = floor.max(first - slice);
        let part = Range { after: Some(lower), before: Some(first + 1) };
        for state in wanted_states(filter) {
            let found = containing(select(filter, state, &part), topic).limit(page_rows(needed)).select(tasks::seq);
            numbers.extend(found.load::<i64>(connection).map_err(db_error)?);
        }
        (upper, looked) = (lower + 1, looked + slice);
    }
    numbers.sort_unstable_by_key(|seq| std::cmp::Reverse(*seq));
    let wanted: Vec<i64> = numbers.into_iter().skip(page.offset as usize).take(page.limit as usize).collect();
    Ok(Searched { tasks: by_numbers(connection, &wanted)?, stopped_at })
}

fn page_rows(needed: usize) -> i64 {
    i64::try_from(needed).unwrap_or(i64::MAX)
}

fn containing<'a>(query: Select<'a>, topic: &str) -> Select<'a> {
    let contains = diesel::dsl::sql::<Bool>("instr(lower(topic), ").bind::<Text, _>(topic.to_ascii_lowercase());
    query.filter(contains.sql(") > 0"))
}

/// The states to ask for one by one; a single `None` asks for all of them at once.
fn wanted_states(filter: &TaskFilter) -> Vec<Option<TaskState>> {
    let mut states = filter.states.clone();
    if filter.overdue_at.is_some() {
        // Only a job that the generator has can be overdue.
        let can_be = [TaskState::Submitted, TaskState::Processing, TaskState::Cancelling];
        states = can_be.into_iter().filter(|state| states.is_empty() || states.contains(state)).collect();
        return states.into_iter().map(Some).collect();
    }
    states.sort_unstable();
    states.dedup();
    if states.is_empty() || states.len() == TaskState::ALL.len() {
        return vec![None];
    }
    states.into_iter().map(Some).collect()
}

/// The row numbers among which the answer lies.
struct Range {
    after: Option<i64>,
    before: Option<i64>,
}

impl Range {
    fn of(connection: &mut SqliteConnection, filter: &TaskFilter, page: Page) -> Result<Option<Self>, DbError> {
        let mut after = None;
        if let Some(since) = filter.since {
            // Clocks jump, so the order of creation is only nearly that of row numbers: the smallest number counts here,
            // and each row's own time is looked at besides.
            let created = tasks::table.filter(tasks::created_at.ge(since.0)).select(diesel::dsl::min(tasks::seq));
            let created: Option<i64> = created.get_result(connection).map_err(db_error)?;
            let Some(first) = created else { return Ok(None) };
            after = Some(first - 1);
        }
        Ok(Some(Self { after, before: page.before }))
    }
}

type Select<'a> = tasks::BoxedQuery<'a, Sqlite>;

fn select<'a>(filter: &'a TaskFilter, state: Option<TaskState>, range: &Range) -> Select<'a> {
    let mut query = tasks::table.order(tasks::seq.desc()).into_boxed();
    if let Some(state) = state {
        query = query.filter(tasks::state.eq(state.as_str()));
    }
    if let Some(account) = filter.account {
        query = query.filter(tasks::account_id.eq(account.0));
    }
    if let Some(generator) = &filter.generator {
        query = query.filter(tasks::generator.eq(generator.as_str()));
    }
    if let Some(since) = filter.since {
        // The plus keeps SQLite from taking the index of creation, which would have to be sorted.
        let is_since = diesel::dsl::sql::<Bool>("+created_at >= ").bind::<diesel::sql_types::BigInt, _>(since.0);
        query = query.filter(is_since);
    }
    if let Some(after) = range.after {
        query = query.filter(tasks::seq.gt(after));
    }
    if let Some(before) = range.before {
        query = query.filter(tasks::seq.lt(before));
    }
    if let Some(text) = &filter.error {
        let contains = diesel::dsl::sql::<Bool>("instr(lower(coalesce(error, '')), ")
            .bind::<Text, _>(text.to_ascii_lowercase())
            .sql(") > 0");
        query = query.filter(contains);
    }
    if let Some(now) = &filter.overdue_at {
        query = query.filter(is_overdue(now));
    }
    query
}

/// As [`crate::task::Deadline::has_passed`]: boot time decides inside one boot.
fn is_overdue(now: &crate::task::Now) -> Box<dyn BoxableExpression<tasks::table, Sqlite, SqlType = Bool> + '_> {
    let is_overdue = diesel::dsl::sql::<Bool>(
        "EXISTS (SELECT 1 FROM attempts WHERE attempts.task_id = tasks.id AND attempts.number = tasks.attempt \
         AND CASE WHEN deadline_boot_id = ",
    )
    .bind::<Text, _>(now.boot_id.0.as_str())
    .sql(" THEN deadline_boot_ms <= ")
    .bind::<diesel::sql_types::BigInt, _>(now.boot_ms)
    .sql(" ELSE deadline_at <= ")
    .bind::<diesel::sql_types::BigInt, _>(now.utc.0)
    .sql(" END)");
    Box::new(is_overdue)
}

/// The tasks with these row numbers, in this order.
pub fn by_numbers(connection: &mut SqliteConnection, numbers: &[i64]) -> Result<Vec<Task>, DbError> {
    /// Below SQLite's limit of bound values in one statement.
    const AT_ONCE: usize = 500;
    let mut found = std::collections::HashMap::with_capacity(numbers.len());
    for part in numbers.chunks(AT_ONCE) {
        let rows = tasks::table.filter(tasks::seq.eq_any(part)).select(TaskRow::as_select());
        for row in rows.load(connection).map_err(db_error)? {
            let task = row.into_record()?;
            found.insert(task.seq, task);
        }
    }
    Ok(numbers.iter().filter_map(|seq| found.remove(seq)).collect())
}
