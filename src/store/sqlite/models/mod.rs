//! Rows as they lie in the tables, and the way from and to the records of the core.
//!
//! No SQL and no rules here. The surprise: a row that does not fit (an unknown state, a number out of range) is an
//! error that names the row and the column, never a default. It can only come from another program's hand or version.

mod account;
mod attempt;
mod content;
mod image;
mod notice;
mod publishing;
mod schedule;
mod task;

use std::fmt::Display;
use std::str::FromStr;

pub use account::{AccountChanges, AccountRow};
pub use attempt::{AttemptChanges, AttemptNotes, AttemptRow};
pub use content::{ContentRow, NewContentRow, NewPoolRow, PoolRow, VersionRow};
pub use image::{ImageChanges, ImageRow, NewImageRow};
pub use notice::{AlarmRow, DeliveryRow, NewNoticeRow, NoticeRow};
pub use publishing::{HandoutChanges, HandoutRow, PoolChanges, PublicationRow, stored_fence};
pub use schedule::{FireChanges, FireRow, NewFireRow, NewScheduleRow, ScheduleRow};
pub use task::{NewTaskRow, TaskChanges, TaskMoves, TaskNotes, TaskRow};

use diesel::prelude::*;

use super::schema::events;
use super::update::names_all;
use crate::store::DbError;
use crate::task::{AuditRow, TaskId, Timestamp};

names_all!(AttemptChanges, AttemptNotes, HandoutChanges, ImageChanges, PoolChanges, TaskChanges, TaskMoves, TaskNotes);

/// A row that cannot be understood.
pub fn unreadable(row: impl Display, column: &str, problem: impl Display) -> DbError {
    DbError::Refused(format!("{row}: column {column}: {problem}"))
}

pub(super) fn parsed<T>(row: impl Display, column: &str, text: &str) -> Result<T, DbError>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error| unreadable(row, column, error))
}

fn narrowed<T: TryFrom<i64>>(row: impl Display, column: &str, number: i64) -> Result<T, DbError> {
    T::try_from(number).map_err(|_| unreadable(row, column, format_args!("{number} is out of range")))
}

fn millis(time: Option<Timestamp>) -> Option<i64> {
    time.map(|time| time.0)
}

fn time(millis: Option<i64>) -> Option<Timestamp> {
    millis.map(Timestamp)
}

fn json<T: serde::Serialize>(column: &str, value: &T) -> Result<String, DbError> {
    serde_json::to_string(value).map_err(|error| unreadable("a new row", column, error))
}

/// A row of the audit trail.
#[derive(Queryable, Selectable)]
#[diesel(table_name = events)]
pub struct EventRow {
    id: i64,
    task_id: String,
    at: i64,
    event: String,
    from_state: Option<String>,
    to_state: String,
    attempt: i64,
    attempt_from: Option<String>,
    attempt_to: Option<String>,
    why: Option<String>,
    who: String,
}

impl EventRow {
    /// As the core knows it.
    pub fn into_record(self) -> Result<AuditRow, DbError> {
        let row = format_args!("event {} of task {}", self.id, self.task_id).to_string();
        Ok(AuditRow {
            at: Timestamp(self.at),
            from_state: self.from_state.map(|text| parsed(&row, "from_state", &text)).transpose()?,
            to_state: parsed(&row, "to_state", &self.to_state)?,
            attempt: narrowed(&row, "attempt", self.attempt)?,
            attempt_from: self.attempt_from.map(|text| parsed(&row, "attempt_from", &text)).transpose()?,
            attempt_to: self.attempt_to.map(|text| parsed(&row, "attempt_to", &text)).transpose()?,
            task_id: TaskId(self.task_id),
            event: self.event,
            why: self.why,
            who: self.who,
        })
    }
}

/// A row to append to the audit trail.
#[derive(Insertable)]
#[diesel(table_name = events, treat_none_as_default_value = false)]
pub struct NewEventRow<'a> {
    task_id: &'a str,
    at: i64,
    event: &'a str,
    from_state: Option<&'static str>,
    to_state: &'static str,
    attempt: i64,
    attempt_from: Option<&'static str>,
    attempt_to: Option<&'static str>,
    why: Option<&'a str>,
    who: &'a str,
}

impl<'a> From<&'a AuditRow> for NewEventRow<'a> {
    fn from(audit: &'a AuditRow) -> Self {
        Self {
            task_id: audit.task_id.as_str(),
            at: audit.at.0,
            event: &audit.event,
            from_state: audit.from_state.map(|state| state.as_str()),
            to_state: audit.to_state.as_str(),
            attempt: audit.attempt.into(),
            attempt_from: audit.attempt_from.map(|state| state.as_str()),
            attempt_to: audit.attempt_to.map(|state| state.as_str()),
            why: audit.why.as_deref(),
            who: &audit.who,
        }
    }
}
