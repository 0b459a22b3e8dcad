//! Rows of the tables `schedules` and `schedule_fires`.

use diesel::prelude::*;
use serde::de::DeserializeOwned;

use super::super::schema::{schedule_fires, schedules};
use super::{json, millis, narrowed, parsed, time, unreadable};
use crate::schedule::{Fire, FireId, NewSchedule, Schedule, ScheduleId};
use crate::store::DbError;
use crate::task::Timestamp;

fn from_json<T: DeserializeOwned>(row: &str, column: &str, text: &str) -> Result<T, DbError> {
    serde_json::from_str(text).map_err(|error| unreadable(row, column, error))
}

/// A schedule. A list selects a source without its topics.
#[derive(Queryable, Selectable)]
#[diesel(table_name = schedules)]
pub struct ScheduleRow {
    id: i64,
    name: String,
    timing: String,
    accounts: String,
    topics_each: i64,
    params: String,
    misfire: String,
    cursor: i64,
    next_due_at: Option<i64>,
    paused_why: Option<String>,
    created_by: String,
    created_at: i64,
    updated_at: i64,
    source: String,
}

impl ScheduleRow {
    /// As the core knows it.
    pub fn into_record(self) -> Result<Schedule, DbError> {
        let row = format!("schedule {}", self.id);
        Ok(Schedule {
            id: ScheduleId(self.id),
            name: self.name,
            timing: from_json(&row, "timing", &self.timing)?,
            accounts: from_json(&row, "accounts", &self.accounts)?,
            topics_each: narrowed(&row, "topics_each", self.topics_each)?,
            source: from_json(&row, "source", &self.source)?,
            params: from_json(&row, "params", &self.params)?,
            misfire: from_json(&row, "misfire", &self.misfire)?,
            cursor: narrowed(&row, "cursor", self.cursor)?,
            next_due: time(self.next_due_at),
            paused_why: self.paused_why,
            created_by: self.created_by,
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
        })
    }
}

/// A schedule to insert.
#[derive(Insertable)]
#[diesel(table_name = schedules, treat_none_as_default_value = false)]
pub struct NewScheduleRow<'a> {
    name: &'a str,
    timing: String,
    accounts: String,
    topics_each: i64,
    params: String,
    misfire: String,
    cursor: i64,
    next_due_at: Option<i64>,
    paused_why: Option<&'a str>,
    created_by: &'a str,
    created_at: i64,
    updated_at: i64,
    source: String,
}

impl<'a> NewScheduleRow<'a> {
    /// The row of a new schedule.
    pub fn of(new: &'a NewSchedule, paused_why: Option<&'a str>) -> Result<Self, DbError> {
        Ok(Self {
            name: &new.name,
            timing: json("timing", &new.timing)?,
            accounts: json("accounts", &new.accounts)?,
            topics_each: new.topics_each.into(),
            params: json("params", &new.params)?,
            misfire: json("misfire", &new.misfire)?,
            cursor: 0,
            next_due_at: millis(new.next_due),
            paused_why,
            created_by: &new.who,
            created_at: new.now.0,
            updated_at: new.now.0,
            source: json("source", &new.source)?,
        })
    }
}

/// A fire.
#[derive(Queryable, Selectable)]
#[diesel(table_name = schedule_fires)]
pub struct FireRow {
    id: i64,
    schedule_id: i64,
    key: String,
    due_at: i64,
    kind: String,
    state: String,
    missed: i64,
    tries: i64,
    wake_at: Option<i64>,
    began_at: i64,
    ended_at: Option<i64>,
    why: Option<String>,
    who: String,
    tasks: String,
    topics: String,
}

impl FireRow {
    /// As the core knows it.
    pub fn into_record(self) -> Result<Fire, DbError> {
        let row = format!("fire {}", self.id);
        Ok(Fire {
            id: FireId(self.id),
            schedule: ScheduleId(self.schedule_id),
            key: self.key,
            due: Timestamp(self.due_at),
            kind: parsed(&row, "kind", &self.kind)?,
            state: parsed(&row, "state", &self.state)?,
            missed: narrowed(&row, "missed", self.missed)?,
            tries: narrowed(&row, "tries", self.tries)?,
            wake: time(self.wake_at),
            began: Timestamp(self.began_at),
            ended: time(self.ended_at),
            topics: from_json(&row, "topics", &self.topics)?,
            tasks: from_json(&row, "tasks", &self.tasks)?,
            why: self.why,
            who: self.who,
        })
    }
}

/// A fire to insert.
#[derive(Insertable)]
#[diesel(table_name = schedule_fires, treat_none_as_default_value = false)]
pub struct NewFireRow<'a> {
    schedule_id: i64,
    key: &'a str,
    due_at: i64,
    kind: &'static str,
    state: &'static str,
    missed: i64,
    tries: i64,
    wake_at: Option<i64>,
    began_at: i64,
    ended_at: Option<i64>,
    why: Option<&'a str>,
    who: &'a str,
    tasks: String,
    topics: String,
}

impl<'a> NewFireRow<'a> {
    /// The row of a new fire.
    pub fn of(fire: &'a Fire) -> Result<Self, DbError> {
        Ok(Self {
            schedule_id: fire.schedule.0,
            key: &fire.key,
            due_at: fire.due.0,
            kind: fire.kind.as_str(),
            state: fire.state.as_str(),
            missed: fire.missed.into(),
            tries: fire.tries.into(),
            wake_at: millis(fire.wake),
            began_at: fire.began.0,
            ended_at: millis(fire.ended),
            why: fire.why.as_deref(),
            who: &fire.who,
            tasks: json("tasks", &fire.tasks)?,
            topics: json("topics", &fire.topics)?,
        })
    }
}

/// What changes of a fire.
#[derive(AsChangeset)]
#[diesel(table_name = schedule_fires, treat_none_as_null = true)]
pub struct FireChanges<'a> {
    state: &'static str,
    tries: i64,
    wake_at: Option<i64>,
    ended_at: Option<i64>,
    why: Option<&'a str>,
    tasks: String,
    topics: String,
}

impl<'a> FireChanges<'a> {
    /// As it is now.
    pub fn of(fire: &'a Fire) -> Result<Self, DbError> {
        Ok(Self {
            state: fire.state.as_str(),
            tries: fire.tries.into(),
            wake_at: millis(fire.wake),
            ended_at: millis(fire.ended),
            why: fire.why.as_deref(),
            tasks: json("tasks", &fire.tasks)?,
            topics: json("topics", &fire.topics)?,
        })
    }
}
