//! Alarms and the messages about them: what can be written, and how it is judged inside the transaction.
//!
//! [`crate::notice`] has the rules; here they meet the rows. An alarm, the message that tells of it and its place in the outbox of
//! every hook are written together, so that no death of the daemon comes between them. The surprise: a report that a job has
//! ended is written here as well, because it may do one thing only: bring the wake time of a task forward.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DbError, Rows, WriteError};
use crate::notice::LONGEST_SILENCE;
use crate::notice::alarm::{self, Alarm, AlarmState, Judge, Told};
use crate::notice::delivery::{Delivery, DeliveryEnd, DeliveryState, Patience};
use crate::notice::message::{MessageKind, Notice};
use crate::notice::rules::{Reading, Rule, Settings, Severity};
use crate::task::{AttemptKey, TaskId, Timestamp};

/// The setting that holds a silence over a restart.
pub const SILENCE_SETTING: &str = "notice/silence";
/// How long messages are kept.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3_600);
/// How many old messages go with one write, so that nobody waits long.
const SLICE: u32 = 50;

/// Nothing new is told for a while.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Silence {
    /// Until when.
    pub until: Timestamp,
    /// Who ordered it.
    pub who: String,
}

/// What can be written about alarms and messages.
#[derive(Clone, Debug)]
pub enum NoticeWrite {
    /// The rules were asked.
    Judge {
        /// What each says.
        readings: Vec<Reading>,
        /// What they are set to.
        settings: Arc<Settings>,
        /// To whom messages go, each with what is bad enough for it.
        hooks: Vec<(String, Severity)>,
        /// 128 random bits in hexadecimal digits, for the ids of messages.
        nonce: String,
        /// When.
        now: Timestamp,
    },
    /// Somebody knows of an alarm and wants to hear no more of it.
    Acknowledge {
        /// Which.
        alarm: String,
        /// Who.
        who: String,
    },
    /// Somebody tries a hook.
    Test {
        /// Which.
        hook: String,
        /// As in `Judge`.
        nonce: String,
        /// Who.
        who: String,
        /// When.
        now: Timestamp,
    },
    /// A hook is about to run.
    BeginDelivery {
        /// For which delivery.
        id: i64,
        /// How it is tried.
        patience: Patience,
        /// When.
        now: Timestamp,
    },
    /// A hook has run.
    EndDelivery {
        /// For which delivery.
        id: i64,
        /// Which try it was; an older one says nothing any more.
        tries: u32,
        /// How it ended.
        end: DeliveryEnd,
        /// How it is tried.
        patience: Patience,
        /// A number in 0..1.
        draw: f64,
        /// When.
        now: Timestamp,
    },
    /// Somebody says that the jobs of these attempts have ended: their next looks are brought forward.
    Report {
        /// The keys of attempts, each with the time to which; one that is unknown changes nothing.
        keys: Vec<(AttemptKey, Timestamp)>,
    },
}

/// The answer to a [`NoticeWrite`].
#[derive(Clone, PartialEq, Debug)]
pub enum Noticed {
    /// Of `Judge` and `Test`: the messages that were made.
    Made(Vec<Notice>),
    /// Of `Acknowledge`: whether there is such an alarm, and it fires.
    Acknowledged(bool),
    /// Of `BeginDelivery` and `EndDelivery`: the delivery as it stands; none where there is nothing to do any more.
    Delivery(Option<Box<Delivery>>),
    /// Of `Report`: the keys that are those of jobs, with their tasks, whose wake times are no later now than was asked.
    Woken(Vec<(AttemptKey, TaskId)>),
}

/// The row operations about alarms and messages. No rules here.
pub trait NoticeRows {
    /// Every alarm that is kept, by name.
    fn alarms(&mut self) -> Result<Vec<Alarm>, DbError>;
    /// Inserts an alarm, or writes it over the one of its name.
    fn put_alarm(&mut self, alarm: &Alarm) -> Result<(), DbError>;
    /// Deletes an alarm.
    fn delete_alarm(&mut self, name: &str) -> Result<(), DbError>;
    /// Inserts a message.
    fn insert_notice(&mut self, notice: &Notice) -> Result<(), DbError>;
    /// Puts a message into the outbox of a hook.
    fn insert_delivery(&mut self, notice_id: &str, hook: &str, due_at: Timestamp) -> Result<(), DbError>;
    /// A delivery.
    fn delivery(&mut self, id: i64) -> Result<Option<Delivery>, DbError>;
    /// Writes a delivery over its row.
    fn update_delivery(&mut self, delivery: &Delivery) -> Result<(), DbError>;
    /// Deletes messages that were made before a time and wait for nobody, the oldest first.
    fn delete_notices_before(&mut self, time: Timestamp, limit: u32) -> Result<(), DbError>;
    /// Adds to every time that alarms and deliveries are measured by.
    fn shift_notices(&mut self, by_ms: i64) -> Result<(), DbError>;
    /// Brings the wake time of the task forward whose current attempt has this key and is accepted; says whose that is.
    /// A wake time that is earlier already stays. Of a task that sleeps for ever, or waits for a person, nothing is said.
    fn bring_forward(&mut self, key: &AttemptKey, at: Timestamp) -> Result<Option<TaskId>, DbError>;
}

impl NoticeWrite {
    pub(super) fn carry_out(&self, rows: &mut dyn Rows) -> Result<Noticed, WriteError> {
        match self {
            Self::Judge { readings, settings, hooks, nonce, now } => {
                let round = Round { hooks, nonce, now: *now };
                Ok(Noticed::Made(round.judge(rows, readings, settings)?))
            }
            Self::Acknowledge { alarm, who } => acknowledge(rows, alarm, who),
            Self::Test { hook, nonce, who, now } => {
                let hooks = [(hook.clone(), Severity::Warning)];
                let round = Round { hooks: &hooks, nonce, now: *now };
                let notice = test_of(hook, nonce, who, *now);
                round.send(rows, &notice)?;
                Ok(Noticed::Made(vec![notice]))
            }
            Self::BeginDelivery { id, patience, now } => {
                let waiting = rows.delivery(*id)?.filter(|one| one.state == DeliveryState::Waiting);
                let Some(delivery) = waiting.filter(|one| one.due_at <= *now) else {
                    return Ok(Noticed::Delivery(None));
                };
                let begun = delivery.begun(patience, *now);
                rows.update_delivery(&begun)?;
                Ok(Noticed::Delivery(Some(Box::new(begun))))
            }
            Self::EndDelivery { id, tries, end, patience, draw, now } => {
                let waiting = rows.delivery(*id)?.filter(|one| one.state == DeliveryState::Waiting);
                let Some(delivery) = waiting.filter(|one| one.tries == *tries) else {
                    return Ok(Noticed::Delivery(None));
                };
                let ended = delivery.ended(end, patience, *draw, *now);
                rows.update_delivery(&ended)?;
                Ok(Noticed::Delivery(Some(Box::new(ended))))
            }
            Self::Report { keys } => {
                let mut woken = Vec::new();
                for (key, at) in keys {
                    let task = rows.bring_forward(key, *at)?;
                    woken.extend(task.map(|task| (key.clone(), task)));
                }
                Ok(Noticed::Woken(woken))
            }
        }
    }
}

fn acknowledge(rows: &mut dyn Rows, name: &str, who: &str) -> Result<Noticed, WriteError> {
    let found = rows.alarms()?.into_iter().find(|alarm| alarm.name == name && alarm.state == AlarmState::Firing);
    let Some(alarm) = found else { return Ok(Noticed::Acknowledged(false)) };
    rows.put_alarm(&Alarm { acknowledged_by: Some(who.to_owned()), ..alarm })?;
    Ok(Noticed::Acknowledged(true))
}

/// The silence that holds now. One with more left than there can be was ordered under a clock that has been set back since, and
/// when it ends nobody knows: what goes wrong is told rather than hidden.
pub fn silence_of(setting: Option<&str>, now: Timestamp) -> Option<Silence> {
    let silence: Silence = serde_json::from_str(setting?).ok()?;
    (silence.until > now && silence.until <= now.plus(LONGEST_SILENCE)).then_some(silence)
}

/// The wall clock was set: a silence goes on for as long as was ordered.
pub(super) fn shift_silence(rows: &mut dyn Rows, by_ms: i64) -> Result<(), WriteError> {
    let stored = rows.setting(SILENCE_SETTING)?;
    let Some(silence) = stored.and_then(|json| serde_json::from_str::<Silence>(&json).ok()) else { return Ok(()) };
    let moved = Silence { until: Timestamp(silence.until.0.saturating_add(by_ms)), ..silence };
    let json = serde_json::to_string(&moved).map_err(|error| DbError::Fatal(error.to_string()))?;
    rows.put_setting(SILENCE_SETTING, Some(&json))?;
    Ok(())
}

/// What the readings make of the alarms, each that changes with what is told of it. An alarm that no reading is about is over,
/// where its rule is off or is about several subjects, of which its own is gone; else its number could not be read.
pub fn changes(
    alarms: &[Alarm],
    readings: &[Reading],
    settings: &Settings,
    is_silent: bool,
    now: Timestamp,
) -> Vec<(String, alarm::Step)> {
    let judge = Judge { settings, is_silent, now };
    let mut changes = Vec::new();
    for reading in readings {
        let name = reading.alarm();
        let before = alarms.iter().find(|alarm| alarm.name == name);
        let step = alarm::step(before, reading, judge);
        if step.after.as_ref() != before || step.told.is_some() {
            changes.push((name, step));
        }
    }
    let read: BTreeSet<String> = readings.iter().map(Reading::alarm).collect();
    for alarm in alarms.iter().filter(|alarm| !read.contains(&alarm.name)) {
        let is_off = settings.rules.get(&alarm.rule).is_none_or(|set| set.is_off);
        if is_off || !alarm.subject.is_empty() {
            changes.push((alarm.name.clone(), alarm::end(alarm)));
        }
    }
    changes
}

/// What every message of one write has in common.
struct Round<'a> {
    hooks: &'a [(String, Severity)],
    nonce: &'a str,
    now: Timestamp,
}

impl Round<'_> {
    fn judge(&self, rows: &mut dyn Rows, readings: &[Reading], settings: &Settings) -> Result<Vec<Notice>, WriteError> {
        let alarms = rows.alarms()?;
        let is_silent = silence_of(rows.setting(SILENCE_SETTING)?.as_deref(), self.now).is_some();
        let mut made = Vec::new();
        for (name, step) in changes(&alarms, readings, settings, is_silent, self.now) {
            match &step.after {
                Some(alarm) => rows.put_alarm(alarm)?,
                None => rows.delete_alarm(&name)?,
            }
            let Some(told) = step.told else { continue };
            let before = alarms.iter().find(|alarm| alarm.name == name);
            let reading = readings.iter().find(|reading| reading.alarm() == name);
            let id = format!("{}-{}", self.nonce, made.len());
            if let Some(notice) = self.notice_of(id, told, before, reading) {
                self.send(rows, &notice)?;
                made.push(notice);
            }
        }
        if !made.is_empty() {
            rows.delete_notices_before(self.now.minus(KEPT), SLICE)?;
        }
        Ok(made)
    }

    fn notice_of(&self, id: String, told: Told, before: Option<&Alarm>, reading: Option<&Reading>) -> Option<Notice> {
        let (rule, subject) = match (reading, before) {
            (Some(reading), _) => (reading.rule, reading.subject.clone()),
            (None, Some(alarm)) => (alarm.rule, alarm.subject.clone()),
            (None, None) => return None,
        };
        let gone = || "it is not watched any more".to_owned();
        Some(Notice {
            id,
            kind: told.kind,
            alarm: crate::notice::rules::alarm_name(rule, &subject),
            rule: Some(rule),
            subject,
            severity: told.severity,
            text: reading.map_or_else(gone, |reading| reading.text.clone()),
            value: reading.map_or(0.0, |reading| reading.value),
            limit: reading.map_or(0.0, |reading| reading.limit),
            since: told.since,
            at: self.now,
        })
    }

    fn send(&self, rows: &mut dyn Rows, notice: &Notice) -> Result<(), WriteError> {
        rows.insert_notice(notice)?;
        for (hook, _) in self.hooks.iter().filter(|(_, least)| notice.severity >= *least) {
            rows.insert_delivery(&notice.id, hook, self.now)?;
        }
        Ok(())
    }
}

fn test_of(hook: &str, nonce: &str, who: &str, now: Timestamp) -> Notice {
    Notice {
        id: format!("{nonce}-0"),
        kind: MessageKind::Test,
        alarm: hook.to_owned(),
        rule: None::<Rule>,
        subject: String::new(),
        severity: Severity::Warning,
        text: format!("{who} tries this hook; nothing is wrong"),
        value: 0.0,
        limit: 0.0,
        since: now,
        at: now,
    }
}
