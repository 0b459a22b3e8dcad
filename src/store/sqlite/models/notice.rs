//! Rows of the tables `alarms`, `notices` and `deliveries`.

use diesel::prelude::*;

use super::super::schema::{alarms, deliveries, notices};
use super::{millis, narrowed, parsed, time};
use crate::notice::alarm::Alarm;
use crate::notice::delivery::Delivery;
use crate::notice::message::Notice;
use crate::store::DbError;
use crate::task::Timestamp;

/// An alarm as it lies in its table; also what is inserted.
#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = alarms, treat_none_as_default_value = false)]
pub struct AlarmRow {
    name: String,
    rule: String,
    subject: String,
    state: String,
    severity: String,
    since: i64,
    good_since: Option<i64>,
    told_at: Option<i64>,
    told_severity: Option<String>,
    is_told: bool,
    acknowledged_by: Option<String>,
    value: f64,
    threshold: f64,
    text: String,
}

impl From<&Alarm> for AlarmRow {
    fn from(alarm: &Alarm) -> Self {
        Self {
            name: alarm.name.clone(),
            rule: alarm.rule.to_string(),
            subject: alarm.subject.clone(),
            state: alarm.state.to_string(),
            severity: alarm.severity.to_string(),
            since: alarm.since.0,
            good_since: millis(alarm.good_since),
            told_at: millis(alarm.told_at),
            told_severity: alarm.told_severity.map(|severity| severity.to_string()),
            is_told: alarm.is_told,
            acknowledged_by: alarm.acknowledged_by.clone(),
            value: alarm.value,
            threshold: alarm.limit,
            text: alarm.text.clone(),
        }
    }
}

impl AlarmRow {
    /// As the rules know it.
    pub fn into_record(self) -> Result<Alarm, DbError> {
        let row = format_args!("alarm {}", self.name).to_string();
        Ok(Alarm {
            rule: parsed(&row, "rule", &self.rule)?,
            state: parsed(&row, "state", &self.state)?,
            severity: parsed(&row, "severity", &self.severity)?,
            since: Timestamp(self.since),
            good_since: time(self.good_since),
            told_at: time(self.told_at),
            told_severity: self.told_severity.map(|text| parsed(&row, "told_severity", &text)).transpose()?,
            is_told: self.is_told,
            acknowledged_by: self.acknowledged_by,
            value: self.value,
            limit: self.threshold,
            text: self.text,
            name: self.name,
            subject: self.subject,
        })
    }
}

/// A message.
#[derive(Queryable, Selectable)]
#[diesel(table_name = notices)]
pub struct NoticeRow {
    id: String,
    kind: String,
    alarm: String,
    rule: Option<String>,
    subject: String,
    severity: String,
    text: String,
    value: f64,
    threshold: f64,
    since: i64,
    at: i64,
}

impl NoticeRow {
    /// As the rules know it.
    pub fn into_record(self) -> Result<Notice, DbError> {
        let row = format_args!("notice {}", self.id).to_string();
        Ok(Notice {
            kind: parsed(&row, "kind", &self.kind)?,
            rule: self.rule.map(|text| parsed(&row, "rule", &text)).transpose()?,
            severity: parsed(&row, "severity", &self.severity)?,
            since: Timestamp(self.since),
            at: Timestamp(self.at),
            id: self.id,
            alarm: self.alarm,
            subject: self.subject,
            text: self.text,
            value: self.value,
            limit: self.threshold,
        })
    }
}

/// A message to insert.
#[derive(Insertable)]
#[diesel(table_name = notices, treat_none_as_default_value = false)]
pub struct NewNoticeRow<'a> {
    id: &'a str,
    kind: &'static str,
    alarm: &'a str,
    rule: Option<&'static str>,
    subject: &'a str,
    severity: &'static str,
    text: &'a str,
    value: f64,
    threshold: f64,
    since: i64,
    at: i64,
}

impl<'a> From<&'a Notice> for NewNoticeRow<'a> {
    fn from(notice: &'a Notice) -> Self {
        Self {
            id: &notice.id,
            kind: notice.kind.as_str(),
            alarm: &notice.alarm,
            rule: notice.rule.map(|rule| rule.as_str()),
            subject: &notice.subject,
            severity: notice.severity.as_str(),
            text: &notice.text,
            value: notice.value,
            threshold: notice.limit,
            since: notice.since.0,
            at: notice.at.0,
        }
    }
}

/// A message on its way to a hook.
#[derive(Queryable, Selectable)]
#[diesel(table_name = deliveries)]
pub struct DeliveryRow {
    id: i64,
    /// Of which message.
    pub notice_id: String,
    hook: String,
    state: String,
    tries: i64,
    due_at: i64,
    last_error: Option<String>,
}

impl DeliveryRow {
    /// As the rules know it, with its message.
    pub fn into_record(self, notice: Notice) -> Result<Delivery, DbError> {
        let row = format_args!("delivery {}", self.id).to_string();
        Ok(Delivery {
            id: self.id,
            notice,
            state: parsed(&row, "state", &self.state)?,
            tries: narrowed(&row, "tries", self.tries)?,
            due_at: Timestamp(self.due_at),
            hook: self.hook,
            last_error: self.last_error,
        })
    }
}
