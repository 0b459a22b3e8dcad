//! Schedules, what is to be done about them at a time, and their fires.

use std::collections::BTreeSet;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use super::super::connection::{db_error, optional};
use super::super::fixed::Fixed;
use super::super::models::{FireRow, ScheduleRow, parsed};
use super::super::schema::{schedule_fires, schedule_taken, schedules};
use super::SqliteQueries;
use crate::schedule::{Fire, FireId, Schedule, ScheduleId};
use crate::store::DbError;
use crate::store::query::{Page, ScheduleAgenda, ScheduleQueries, ScheduleStanding};
use crate::task::Timestamp;

/// The conditions of the indexes `schedules_due` and `fires_unfinished`.
const IS_RUNNING: Fixed = Fixed("schedules.next_due_at IS NOT NULL");
const IS_UNFINISHED: Fixed = Fixed("schedule_fires.wake_at IS NOT NULL");
const HAS_NO_FIRE_UNDER_WAY: Fixed =
    Fixed("NOT EXISTS (SELECT 1 FROM schedule_fires f WHERE f.schedule_id = schedules.id AND f.wake_at IS NOT NULL)");
const IS_FIRST_OF_ITS_SCHEDULE: Fixed = Fixed(
    "NOT EXISTS (SELECT 1 FROM schedule_fires f WHERE f.schedule_id = schedule_fires.schedule_id \
     AND f.wake_at IS NOT NULL AND f.id < schedule_fires.id)",
);
/// A source without the topics of a list.
const SHORT_SOURCE: &str = "CASE json_extract(source, '$.kind') WHEN 'list' \
     THEN json_set(source, '$.topics', json('[]')) ELSE source END";

/// Of each schedule the newest fire that ended and was not passed over, which is mostly its first or second row from behind.
const STANDINGS: &str = "SELECT s.name AS name, s.paused_why IS NOT NULL AS is_paused, CASE WHEN s.paused_why IS NULL THEN 0 \
     ELSE json_extract(s.source, '$.kind') = 'list' AND json_extract(s.source, '$.at_end') = 'stop' \
     AND s.cursor >= json_array_length(s.source, '$.topics') END AS is_at_end, \
     json_extract(s.source, '$.kind') = 'file' AS reads_on, f.state AS state, f.why AS why FROM schedules s LEFT JOIN schedule_fires f ON f.id = (SELECT e.id FROM schedule_fires e WHERE e.schedule_id = s.id \
     AND e.state IN ('fired', 'empty', 'failed') ORDER BY e.id DESC LIMIT 1) ORDER BY s.name";

#[derive(QueryableByName)]
struct Standing {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    is_paused: bool,
    #[diesel(sql_type = Bool)]
    is_at_end: bool,
    #[diesel(sql_type = Bool)]
    reads_on: bool,
    #[diesel(sql_type = Nullable<Text>)]
    state: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    why: Option<String>,
}

impl Standing {
    fn into_record(self) -> Result<ScheduleStanding, DbError> {
        let row = format_args!("the last fire of schedule {}", self.name).to_string();
        let state = self.state.map(|state| parsed(row, "state", &state)).transpose()?;
        let last = state.map(|state| (state, self.why));
        let Self { name, is_paused, is_at_end, reads_on, .. } = self;
        Ok(ScheduleStanding { name, is_paused, is_at_end, reads_on, last })
    }
}

fn records(rows: Vec<ScheduleRow>) -> Result<Vec<Schedule>, DbError> {
    rows.into_iter().map(ScheduleRow::into_record).collect()
}

fn fires(rows: Vec<FireRow>) -> Result<Vec<Fire>, DbError> {
    rows.into_iter().map(FireRow::into_record).collect()
}

fn agenda(
    connection: &mut SqliteConnection,
    now: Timestamp,
    wall: Timestamp,
    limit: u32,
) -> Result<ScheduleAgenda, DbError> {
    let due = schedules::table
        .filter(IS_RUNNING)
        .filter(schedules::next_due_at.le(wall.0))
        .filter(HAS_NO_FIRE_UNDER_WAY)
        .order((schedules::next_due_at, schedules::id))
        .limit(limit.into())
        .select(ScheduleRow::as_select());
    let due = records(due.load(connection).map_err(db_error)?)?;
    let awake = schedule_fires::table
        .filter(IS_UNFINISHED)
        .filter(schedule_fires::wake_at.le(now.0))
        .filter(IS_FIRST_OF_ITS_SCHEDULE)
        .order((schedule_fires::wake_at, schedule_fires::id))
        .limit(limit.into())
        .select(FireRow::as_select());
    let awake = fires(awake.load(connection).map_err(db_error)?)?;
    let next_due = schedules::table
        .filter(IS_RUNNING)
        .filter(schedules::next_due_at.gt(wall.0))
        .order((schedules::next_due_at, schedules::id))
        .select(schedules::next_due_at);
    let next_due: Option<Option<i64>> = optional(next_due.first(connection))?;
    let next_wake = schedule_fires::table
        .filter(IS_UNFINISHED)
        .filter(schedule_fires::wake_at.gt(now.0))
        .order((schedule_fires::wake_at, schedule_fires::id))
        .select(schedule_fires::wake_at);
    let next_wake: Option<Option<i64>> = optional(next_wake.first(connection))?;
    let (next_due, next_wake) = (next_due.flatten().map(Timestamp), next_wake.flatten().map(Timestamp));
    Ok(ScheduleAgenda { due, fires: awake, next_due, next_wake })
}

impl ScheduleQueries for SqliteQueries {
    fn schedules(&self) -> Result<Vec<Schedule>, DbError> {
        let all = schedules::table.order(schedules::name).select((
            schedules::id,
            schedules::name,
            schedules::timing,
            schedules::accounts,
            schedules::topics_each,
            schedules::params,
            schedules::misfire,
            schedules::cursor,
            schedules::next_due_at,
            schedules::paused_why,
            schedules::created_by,
            schedules::created_at,
            schedules::updated_at,
            sql::<Text>(SHORT_SOURCE),
        ));
        records(all.load(&mut self.connection()?).map_err(db_error)?)
    }

    fn schedule_standings(&self) -> Result<Vec<ScheduleStanding>, DbError> {
        let rows: Vec<Standing> = diesel::sql_query(STANDINGS).load(&mut self.connection()?).map_err(db_error)?;
        rows.into_iter().map(Standing::into_record).collect()
    }

    fn find_schedule(&self, id_or_name: &str) -> Result<Option<Schedule>, DbError> {
        let mut connection = self.connection()?;
        let number: Option<i64> = id_or_name.parse().ok().filter(|id: &i64| id.to_string() == id_or_name);
        if let Some(id) = number {
            let row = schedules::table.find(id).select(ScheduleRow::as_select()).first(&mut connection);
            if let Some(row) = optional(row)? {
                return row.into_record().map(Some);
            }
        }
        let named = schedules::table.filter(schedules::name.eq(id_or_name)).select(ScheduleRow::as_select());
        optional(named.first(&mut connection))?.map(ScheduleRow::into_record).transpose()
    }

    fn schedule_agenda(&self, now: Timestamp, wall: Timestamp, limit: u32) -> Result<ScheduleAgenda, DbError> {
        self.snapshot(|connection| agenda(connection, now, wall, limit))
    }

    fn fire(&self, id: FireId) -> Result<Option<Fire>, DbError> {
        let found = schedule_fires::table.find(id.0).select(FireRow::as_select());
        optional(found.first(&mut self.connection()?))?.map(FireRow::into_record).transpose()
    }

    fn fires(&self, schedule: ScheduleId, page: Page) -> Result<Vec<Fire>, DbError> {
        let mut found = schedule_fires::table
            .filter(schedule_fires::schedule_id.eq(schedule.0))
            .order(schedule_fires::id.desc())
            .limit(page.limit.into())
            .offset(page.offset.into())
            .select(FireRow::as_select())
            .into_boxed();
        if let Some(before) = page.before {
            found = found.filter(schedule_fires::id.lt(before));
        }
        fires(found.load(&mut self.connection()?).map_err(db_error)?)
    }

    fn schedule_taken(&self, schedule: ScheduleId) -> Result<BTreeSet<String>, DbError> {
        let taken = schedule_taken::table.filter(schedule_taken::schedule_id.eq(schedule.0));
        let digests: Vec<String> =
            taken.select(schedule_taken::digest).load(&mut self.connection()?).map_err(db_error)?;
        Ok(digests.into_iter().collect())
    }
}
