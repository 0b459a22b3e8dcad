//! The row operations on schedules and their fires.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;

use super::super::connection::{db_error, optional};
use super::super::fixed::Fixed;
use super::super::models::{FireChanges, FireRow, NewFireRow, NewScheduleRow, ScheduleRow};
use super::super::schema::{schedule_fires, schedule_taken, schedules};
use super::SqliteRows;
use crate::schedule::{Fire, FireId, NewSchedule, Schedule, ScheduleId};
use crate::store::DbError;
use crate::store::write::ScheduleRows;

/// The condition of the index `fires_unfinished_of`.
const IS_UNFINISHED: Fixed = Fixed("schedule_fires.wake_at IS NOT NULL");

/// Bound: schedule, how many are kept, schedule.
const FORGET: &str = "DELETE FROM schedule_fires WHERE schedule_id = ?1 AND ended_at IS NOT NULL AND id < \
     (SELECT id FROM schedule_fires WHERE schedule_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2 - 1)";

/// A fire that waits for room is given up after a time since it began. A sum that overflows is a real number in SQLite; `min`
/// and `max` bring it back.
const SHIFT: &str = "UPDATE schedule_fires SET \
     wake_at = min(max(wake_at + ?1, -9223372036854775808), 9223372036854775807), \
     began_at = min(max(began_at + ?1, -9223372036854775808), 9223372036854775807) WHERE wake_at IS NOT NULL";

impl ScheduleRows for SqliteRows<'_> {
    fn schedules_count(&mut self) -> Result<usize, DbError> {
        let count: i64 = schedules::table.count().get_result(self.connection).map_err(db_error)?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn schedule(&mut self, id: ScheduleId) -> Result<Option<Schedule>, DbError> {
        let found = schedules::table.find(id.0).select(ScheduleRow::as_select());
        optional(found.first(self.connection))?.map(ScheduleRow::into_record).transpose()
    }

    fn schedule_named(&mut self, name: &str) -> Result<Option<ScheduleId>, DbError> {
        let found = schedules::table.filter(schedules::name.eq(name)).select(schedules::id);
        Ok(optional(found.first(self.connection))?.map(ScheduleId))
    }

    fn insert_schedule(&mut self, new: &NewSchedule, paused_why: Option<&str>) -> Result<ScheduleId, DbError> {
        let insert = diesel::insert_into(schedules::table).values(NewScheduleRow::of(new, paused_why)?);
        let id = insert.returning(schedules::id).get_result(self.connection).map_err(db_error)?;
        Ok(ScheduleId(id))
    }

    fn update_schedule(&mut self, schedule: &Schedule) -> Result<(), DbError> {
        let changes = (
            schedules::next_due_at.eq(schedule.next_due.map(|due| due.0)),
            schedules::paused_why.eq(schedule.paused_why.as_deref()),
            schedules::cursor.eq(i64::from(schedule.cursor)),
            schedules::updated_at.eq(schedule.updated_at.0),
        );
        let changed = diesel::update(schedules::table.find(schedule.id.0)).set(changes).execute(self.connection);
        Self::expect_one(changed.map_err(db_error)?, || format!("schedule {} is not there to be updated", schedule.id))
    }

    fn delete_schedule(&mut self, id: ScheduleId) -> Result<(), DbError> {
        // Its fires and what it took go with it by their foreign keys.
        let deleted = diesel::delete(schedules::table.find(id.0)).execute(self.connection);
        Self::expect_one(deleted.map_err(db_error)?, || format!("schedule {id} is not there to be deleted"))
    }

    fn schedule_ids(&mut self) -> Result<Vec<ScheduleId>, DbError> {
        let ids: Vec<i64> =
            schedules::table.order(schedules::id).select(schedules::id).load(self.connection).map_err(db_error)?;
        Ok(ids.into_iter().map(ScheduleId).collect())
    }

    fn fire(&mut self, id: FireId) -> Result<Option<Fire>, DbError> {
        let found = schedule_fires::table.find(id.0).select(FireRow::as_select());
        optional(found.first(self.connection))?.map(FireRow::into_record).transpose()
    }

    fn is_fire_key(&mut self, key: &str) -> Result<bool, DbError> {
        let found = schedule_fires::table.filter(schedule_fires::key.eq(key)).select(schedule_fires::id);
        Ok(optional(found.first::<i64>(self.connection))?.is_some())
    }

    fn unfinished_fire(&mut self, schedule: ScheduleId) -> Result<Option<FireId>, DbError> {
        let found = schedule_fires::table
            .filter(schedule_fires::schedule_id.eq(schedule.0))
            .filter(IS_UNFINISHED)
            .order(schedule_fires::id)
            .select(schedule_fires::id);
        Ok(optional(found.first(self.connection))?.map(FireId))
    }

    fn insert_fire(&mut self, fire: &Fire) -> Result<FireId, DbError> {
        let insert = diesel::insert_into(schedule_fires::table).values(NewFireRow::of(fire)?);
        let id = insert.returning(schedule_fires::id).get_result(self.connection).map_err(db_error)?;
        Ok(FireId(id))
    }

    fn update_fire(&mut self, fire: &Fire) -> Result<(), DbError> {
        let row = schedule_fires::table.find(fire.id.0);
        let changed = diesel::update(row).set(FireChanges::of(fire)?).execute(self.connection).map_err(db_error)?;
        Self::expect_one(changed, || format!("fire {} is not there to be updated", fire.id))
    }

    fn forget_fires(&mut self, schedule: ScheduleId, keep: u32) -> Result<(), DbError> {
        let forget = sql_query(FORGET).bind::<BigInt, _>(schedule.0).bind::<BigInt, _>(i64::from(keep.max(1)));
        forget.execute(self.connection).map(|_| ()).map_err(db_error)
    }

    fn insert_taken(&mut self, schedule: ScheduleId, digests: &[String]) -> Result<(), DbError> {
        for digest in digests {
            let row = (schedule_taken::schedule_id.eq(schedule.0), schedule_taken::digest.eq(digest));
            diesel::insert_into(schedule_taken::table).values(row).execute(self.connection).map_err(db_error)?;
        }
        Ok(())
    }

    fn delete_taken(&mut self, schedule: ScheduleId) -> Result<(), DbError> {
        let taken = schedule_taken::table.filter(schedule_taken::schedule_id.eq(schedule.0));
        diesel::delete(taken).execute(self.connection).map(|_| ()).map_err(db_error)
    }

    fn shift_fires(&mut self, by_ms: i64) -> Result<(), DbError> {
        sql_query(SHIFT).bind::<BigInt, _>(by_ms).execute(self.connection).map(|_| ()).map_err(db_error)
    }
}
