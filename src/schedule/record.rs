//! What is kept of a schedule: one struct each, as the database has them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::task::{AccountId, Timestamp};

/// The bounds of what a schedule may say.
pub mod limits {
    /// Accounts of one schedule.
    pub const ACCOUNTS: usize = 1_000;
    /// Topics for one account at one fire.
    pub const TOPICS_EACH: std::ops::RangeInclusive<u32> = 1..=1_000;
    /// Tasks of one fire.
    pub const TASKS: usize = 10_000;
    /// Topics of a list that is kept with its schedule.
    pub const LIST: usize = 10_000;
    /// Bytes of such a list.
    pub const LIST_BYTES: usize = 2 << 20;
    /// Entries of a file.
    pub const FILE: usize = 100_000;
    /// Bytes of a file.
    pub const FILE_BYTES: u64 = 16 << 20;
    /// Fires that are made up for at most.
    pub const MADE_UP: std::ops::RangeInclusive<u32> = 1..=100;
    /// Seconds of an interval: a second to a year.
    pub const INTERVAL_S: std::ops::RangeInclusive<u32> = 1..=366 * 24 * 3600;
    /// Fires that are kept of each schedule.
    pub const HISTORY: u32 = 1_000;
    /// Schedules in all.
    pub const SCHEDULES: usize = 10_000;
}

/// A schedule's number. One that was removed is never given again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScheduleId(pub i64);

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// When it is due, as it is written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Timing {
    /// A cron expression in a time zone.
    Cron {
        /// The expression.
        expression: String,
        /// The IANA name of the zone.
        zone: String,
    },
    /// Every so many seconds, counted from `anchor`.
    Every {
        /// How many.
        seconds: u32,
        /// From when.
        anchor: Timestamp,
        /// In which zone times are shown.
        zone: String,
    },
}

impl Timing {
    /// The zone in which its times are meant or shown.
    pub fn zone(&self) -> &str {
        match self {
            Self::Cron { zone, .. } | Self::Every { zone, .. } => zone,
        }
    }
}

/// What is made up for of the times that passed while nobody was there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Misfire {
    /// One fire for all of them.
    Once,
    /// One fire for each of the latest `most`.
    All {
        /// How many at most.
        most: u32,
    },
    /// None of them.
    None,
}

/// What a list or a file does when every topic of it was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtEnd {
    /// A list pauses its schedule; a file waits for topics that are new.
    Stop,
    /// From the beginning.
    Again,
}

/// Where topics come from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TopicSource {
    /// A list that is kept here, worked through by the schedule's cursor.
    List {
        /// The topics.
        topics: Vec<Topic>,
        /// What comes after the last.
        at_end: AtEnd,
    },
    /// A file on the daemon's machine; what was taken of it is remembered by its content.
    File {
        /// An absolute path.
        path: String,
        /// What comes when all of it is taken.
        at_end: AtEnd,
    },
    /// A command of the configuration.
    Command {
        /// Its name.
        name: String,
    },
}

impl TopicSource {
    /// `list`, `file` or `command`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::List { .. } => "list",
            Self::File { .. } => "file",
            Self::Command { .. } => "command",
        }
    }
}

/// What a task is submitted with; what is none is left to the account and the daemon.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Params {
    /// Instructions to the generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<String>,
    /// Words that must occur.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keywords: Option<Vec<String>>,
    /// A shelf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The tone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tone: Option<String>,
    /// 1 to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Seconds of each attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit_s: Option<u32>,
    /// Retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Approve when it comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_approve: Option<bool>,
    /// Which generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<String>,
}

impl Params {
    /// These, and what they leave out from `others`.
    pub fn or(&self, others: &Self) -> Self {
        let (own, others) = (self.clone(), others.clone());
        Self {
            requirements: own.requirements.or(others.requirements),
            keywords: own.keywords.or(others.keywords),
            category: own.category.or(others.category),
            tone: own.tone.or(others.tone),
            priority: own.priority.or(others.priority),
            time_limit_s: own.time_limit_s.or(others.time_limit_s),
            max_retries: own.max_retries.or(others.max_retries),
            auto_approve: own.auto_approve.or(others.auto_approve),
            generator: own.generator.or(others.generator),
        }
    }
}

/// A topic, and what it says for its task beside the schedule.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Topic {
    /// About what.
    pub topic: String,
    /// What it says of its own.
    #[serde(flatten)]
    pub params: Params,
}

impl Topic {
    /// Whether it says something of its own in this field of a submit.
    pub fn says(&self, field: &str) -> bool {
        let own = &self.params;
        match field {
            "topic" => true,
            "requirements" => own.requirements.is_some(),
            "keywords" => own.keywords.is_some(),
            "category" => own.category.is_some(),
            "tone" => own.tone.is_some(),
            "priority" => own.priority.is_some(),
            "time_limit" => own.time_limit_s.is_some(),
            "max_retries" => own.max_retries.is_some(),
            "auto_approve" => own.auto_approve.is_some(),
            "generator" => own.generator.is_some(),
            _ => false,
        }
    }
}

/// A schedule as it is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewSchedule {
    /// Its name, unique.
    pub name: String,
    /// When it is due.
    pub timing: Timing,
    /// For whom, in the order in which topics are dealt.
    pub accounts: Vec<AccountId>,
    /// Topics for each account at each fire.
    pub topics_each: u32,
    /// Where they come from.
    pub source: TopicSource,
    /// What its tasks are submitted with.
    pub params: Params,
    /// What is made up for.
    pub misfire: Misfire,
    /// When it is due first; none: it is paused.
    pub next_due: Option<Timestamp>,
    /// Who added it: their tasks are its tasks.
    pub who: String,
    /// When.
    pub now: Timestamp,
}

/// A schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// Its number.
    pub id: ScheduleId,
    /// Its name, unique.
    pub name: String,
    /// When it is due.
    pub timing: Timing,
    /// For whom.
    pub accounts: Vec<AccountId>,
    /// Topics for each account at each fire.
    pub topics_each: u32,
    /// Where they come from.
    pub source: TopicSource,
    /// What its tasks are submitted with.
    pub params: Params,
    /// What is made up for.
    pub misfire: Misfire,
    /// How many topics of its list were taken, since it last began.
    pub cursor: u32,
    /// The first due time that was not begun; none: it is paused.
    pub next_due: Option<Timestamp>,
    /// Why it is paused.
    pub paused_why: Option<String>,
    /// Who added it: their tasks are its tasks.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it was last changed by a person.
    pub updated_at: Timestamp,
}

impl Schedule {
    /// Whether it begins no fires by itself.
    pub const fn is_paused(&self) -> bool {
        self.next_due.is_none()
    }

    /// Whether every topic of its list was taken, and it does not begin again: it has nothing more to submit.
    pub fn is_worked_through(&self) -> bool {
        match &self.source {
            TopicSource::List { topics, at_end: AtEnd::Stop } => self.cursor as usize >= topics.len(),
            TopicSource::List { .. } | TopicSource::File { .. } | TopicSource::Command { .. } => false,
        }
    }

    /// How many tasks a fire is to have.
    pub fn wanted(&self) -> usize {
        self.accounts.len().saturating_mul(self.topics_each as usize)
    }
}

/// How late a fire may be and still count as on time: the longest sleep of its actor, and a restart of the daemon.
pub const ON_TIME: Duration = Duration::from_secs(60);
