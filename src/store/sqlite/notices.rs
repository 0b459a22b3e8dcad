//! The row operations about alarms and messages. SQL only: what follows from what is judged by
//! [`crate::store::write::NoticeWrite`].

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;

use super::connection::{db_error, optional};
use super::models::{AlarmRow, DeliveryRow, NewNoticeRow, NoticeRow};
use super::rows::SqliteRows;
use super::schema::{alarms, deliveries, notices, tasks};
use crate::notice::alarm::Alarm;
use crate::notice::delivery::Delivery;
use crate::notice::message::Notice;
use crate::store::DbError;
use crate::store::write::NoticeRows;
use crate::task::{AttemptKey, TaskId, Timestamp};

/// Bound: time, limit.
const DELETE_OLD: &str = "DELETE FROM notices WHERE seq IN (SELECT seq FROM notices n WHERE n.at < ? \
     AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.notice_id = n.id AND d.state = 'waiting') \
     ORDER BY n.at, n.seq LIMIT ?)";
/// A sum that overflows is a real number in SQLite; `min` and `max` bring it back.
const SHIFT_ALARMS: &str = "UPDATE alarms SET \
     since = min(max(since + ?1, -9223372036854775808), 9223372036854775807), \
     good_since = min(max(good_since + ?1, -9223372036854775808), 9223372036854775807), \
     told_at = min(max(told_at + ?1, -9223372036854775808), 9223372036854775807)";
const SHIFT_DELIVERIES: &str = "UPDATE deliveries SET \
     due_at = min(max(due_at + ?1, -9223372036854775808), 9223372036854775807) WHERE state = 'waiting'";
/// Bound: key, which one attempt has.
const REPORTED: &str = "SELECT t.id AS id, t.wake_at AS wake_at FROM attempts a JOIN tasks t ON t.id = a.task_id AND t.attempt = a.number \
     WHERE a.key = ? AND a.state = 'accepted' AND t.wake_at IS NOT NULL AND t.state <> 'pending' AND t.state <> 'held'";

#[derive(QueryableByName)]
struct Reported {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = BigInt)]
    wake_at: i64,
}

/// A row of the outbox with its message.
pub(super) fn with_notice(connection: &mut SqliteConnection, row: DeliveryRow) -> Result<Delivery, DbError> {
    let found = notices::table.filter(notices::id.eq(&row.notice_id)).select(NoticeRow::as_select());
    let notice: NoticeRow = found.first(connection).map_err(db_error)?;
    row.into_record(notice.into_record()?)
}

impl NoticeRows for SqliteRows<'_> {
    fn alarms(&mut self) -> Result<Vec<Alarm>, DbError> {
        all_alarms(self.connection)
    }

    fn put_alarm(&mut self, alarm: &Alarm) -> Result<(), DbError> {
        let put = diesel::replace_into(alarms::table).values(AlarmRow::from(alarm));
        put.execute(self.connection).map_err(db_error)?;
        Ok(())
    }

    fn delete_alarm(&mut self, name: &str) -> Result<(), DbError> {
        diesel::delete(alarms::table.find(name)).execute(self.connection).map_err(db_error)?;
        Ok(())
    }

    fn insert_notice(&mut self, notice: &Notice) -> Result<(), DbError> {
        let insert = diesel::insert_into(notices::table).values(NewNoticeRow::from(notice));
        insert.execute(self.connection).map_err(db_error)?;
        Ok(())
    }

    fn insert_delivery(&mut self, notice_id: &str, hook: &str, due_at: Timestamp) -> Result<(), DbError> {
        let row = (
            deliveries::notice_id.eq(notice_id),
            deliveries::hook.eq(hook),
            deliveries::state.eq("waiting"),
            deliveries::tries.eq(0_i64),
            deliveries::due_at.eq(due_at.0),
        );
        diesel::insert_into(deliveries::table).values(row).execute(self.connection).map_err(db_error)?;
        Ok(())
    }

    fn delivery(&mut self, id: i64) -> Result<Option<Delivery>, DbError> {
        let found = deliveries::table.find(id).select(DeliveryRow::as_select());
        let row = optional(found.first(self.connection))?;
        row.map(|row| with_notice(self.connection, row)).transpose()
    }

    fn update_delivery(&mut self, delivery: &Delivery) -> Result<(), DbError> {
        let changes = (
            deliveries::state.eq(delivery.state.as_str()),
            deliveries::tries.eq(i64::from(delivery.tries)),
            deliveries::due_at.eq(delivery.due_at.0),
            deliveries::last_error.eq(delivery.last_error.as_deref()),
        );
        diesel::update(deliveries::table.find(delivery.id)).set(changes).execute(self.connection).map_err(db_error)?;
        Ok(())
    }

    fn delete_notices_before(&mut self, time: Timestamp, limit: u32) -> Result<(), DbError> {
        let delete = diesel::sql_query(DELETE_OLD).bind::<BigInt, _>(time.0).bind::<BigInt, _>(i64::from(limit));
        delete.execute(self.connection).map_err(db_error)?;
        Ok(())
    }

    fn shift_notices(&mut self, by_ms: i64) -> Result<(), DbError> {
        for sql in [SHIFT_ALARMS, SHIFT_DELIVERIES] {
            diesel::sql_query(sql).bind::<BigInt, _>(by_ms).execute(self.connection).map_err(db_error)?;
        }
        Ok(())
    }

    fn bring_forward(&mut self, key: &AttemptKey, at: Timestamp) -> Result<Option<TaskId>, DbError> {
        let reported = diesel::sql_query(REPORTED).bind::<Text, _>(key.as_str());
        let Some(found): Option<Reported> = optional(reported.get_result(self.connection))? else { return Ok(None) };
        if found.wake_at > at.0 {
            let row = tasks::table.filter(tasks::id.eq(&found.id));
            diesel::update(row).set(tasks::wake_at.eq(at.0)).execute(self.connection).map_err(db_error)?;
        }
        Ok(Some(TaskId(found.id)))
    }
}

/// Every alarm, by name.
pub(super) fn all_alarms(connection: &mut SqliteConnection) -> Result<Vec<Alarm>, DbError> {
    let all = alarms::table.order(alarms::name).select(AlarmRow::as_select());
    let rows: Vec<AlarmRow> = all.load(connection).map_err(db_error)?;
    rows.into_iter().map(AlarmRow::into_record).collect()
}
