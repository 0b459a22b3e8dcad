//! `io.contentd.Schedules`: parameters judged for their form, replies, and the calls that a backend answers.

use serde::{Deserialize, Serialize};

use super::checked::CheckedSubmission;
use super::error::FieldFault;
use super::tasks::Submission;
use super::{Answer, ApiError, Peer};
use crate::control::values::{DURATION_FORMS, TextOrNumber, WireTime, parse_duration_s};
use crate::schedule::{AtEnd, Beat, Fire, Misfire, Params, Schedule, Timing, Topic, TopicSource, limits};
use crate::task::Timestamp;
use crate::zones;

/// How many misfires of `all` are made up for where nothing was said.
const DEFAULT_MADE_UP: u32 = 24;
/// The zone where none was said.
const DEFAULT_ZONE: &str = "UTC";
/// Stands for the account of a topic while its form is judged.
const NO_ACCOUNT: &str = "schedule";

/// What tasks are submitted with, as it is written; all of it optional.
macro_rules! with_task_fields {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$one:meta])* pub $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$one])* pub $field: $kind,)*
            /// Instructions to the generator.
            #[serde(default)]
            pub requirements: Option<String>,
            /// Words that must occur.
            #[serde(default)]
            pub keywords: Option<Vec<String>>,
            /// A shelf.
            #[serde(default)]
            pub category: Option<String>,
            /// The tone.
            #[serde(default)]
            pub tone: Option<String>,
            /// 1 to 10.
            #[serde(default)]
            pub priority: Option<i64>,
            /// Of each attempt: `30m` or seconds.
            #[serde(default)]
            pub time_limit: Option<TextOrNumber>,
            /// Retries.
            #[serde(default)]
            pub max_retries: Option<i64>,
            /// Approve when it comes.
            #[serde(default)]
            pub auto_approve: Option<bool>,
            /// Which generator.
            #[serde(default)]
            pub generator: Option<String>,
        }

        impl $name {
            /// As a submission about `topic`, to be judged as any other.
            fn submission(&self, topic: &str) -> Submission {
                Submission {
                    account: NO_ACCOUNT.into(),
                    topic: topic.to_owned(),
                    requirements: self.requirements.clone(),
                    keywords: self.keywords.clone(),
                    category: self.category.clone(),
                    tone: self.tone.clone(),
                    priority: self.priority,
                    time_limit: self.time_limit.clone(),
                    max_retries: self.max_retries,
                    auto_approve: self.auto_approve,
                    generator: self.generator.clone(),
                    key: None,
                    delay: None,
                }
            }
        }
    };
}

with_task_fields! {
    /// A topic of a list.
    pub struct TopicParams {
        /// About what.
        pub topic: String,
    }
}

with_task_fields! {
    /// A schedule as it is asked for.
    pub struct NewScheduleParams {
        /// Its name.
        pub name: String,
        /// Five fields.
        #[serde(default)]
        pub cron: Option<String>,
        /// An interval.
        #[serde(default)]
        pub every: Option<TextOrNumber>,
        /// An IANA name.
        #[serde(default)]
        pub zone: Option<String>,
        /// For whom.
        pub accounts: Vec<TextOrNumber>,
        /// For each account at each fire.
        #[serde(default)]
        pub topics: Option<i64>,
        /// A list.
        #[serde(default)]
        pub list: Option<Vec<TopicParams>>,
        /// A file.
        #[serde(default)]
        pub file: Option<String>,
        /// A command.
        #[serde(default)]
        pub command: Option<String>,
        /// `stop` or `again`.
        #[serde(default)]
        pub at_end: Option<String>,
        /// `once`, `all` or `none`.
        #[serde(default)]
        pub misfire: Option<String>,
        /// Of `all`: how many.
        #[serde(default)]
        pub misfire_most: Option<i64>,
        /// Begins nothing yet.
        #[serde(default)]
        pub paused: Option<bool>,
    }
}

/// `Add`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleAddParams {
    /// The schedule.
    pub schedule: NewScheduleParams,
    /// Check only.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// One schedule: `Get`, `Run`, `Resume`, `Remove`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleParams {
    /// Number or name.
    pub schedule: TextOrNumber,
}

/// `Pause`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchedulePauseParams {
    /// Number or name.
    pub schedule: TextOrNumber,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `History`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleHistoryParams {
    /// Number or name.
    pub schedule: TextOrNumber,
    /// At most so many.
    #[serde(default)]
    pub limit: Option<i64>,
    /// After so many.
    #[serde(default)]
    pub offset: Option<i64>,
    /// Only fires with a smaller number.
    #[serde(default)]
    pub before: Option<i64>,
}

/// A time, and how the clocks of a zone show it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScheduleTime {
    /// In UTC.
    pub at: WireTime,
    /// In the schedule's zone, with its offset.
    pub local: String,
}

/// A schedule.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ScheduleView {
    /// Its number.
    pub schedule_id: Option<i64>,
    /// Its name.
    pub name: String,
    /// Its expression.
    pub cron: Option<String>,
    /// Its interval in seconds.
    pub every: Option<u32>,
    /// Its zone.
    pub zone: String,
    /// For whom.
    pub accounts: Vec<i64>,
    /// For each of them at each fire.
    pub topics: u32,
    /// `list file command`
    pub source: String,
    /// The file.
    pub file: Option<String>,
    /// The command.
    pub command: Option<String>,
    /// `stop again`
    pub at_end: Option<String>,
    /// Topics of its list.
    pub list_size: Option<usize>,
    /// Of these, taken.
    pub list_taken: Option<u32>,
    /// Of these, what comes next, at most ten.
    #[serde(default)]
    pub next_topics: Vec<String>,
    /// Instructions to the generator.
    pub requirements: Option<String>,
    /// Words that must occur.
    pub keywords: Option<Vec<String>>,
    /// A shelf.
    pub category: Option<String>,
    /// The tone.
    pub tone: Option<String>,
    /// 1 to 10.
    pub priority: Option<u8>,
    /// Seconds.
    pub time_limit: Option<u32>,
    /// Retries.
    pub max_retries: Option<u32>,
    /// Approve when it comes.
    pub auto_approve: Option<bool>,
    /// Which generator.
    pub generator: Option<String>,
    /// `once all none`
    pub misfire: String,
    /// Of `all`.
    pub misfire_most: Option<u32>,
    /// Begins nothing by itself.
    pub is_paused: bool,
    /// Why.
    pub paused_why: Option<String>,
    /// Why it could begin nothing.
    #[serde(default)]
    pub trouble: Option<String>,
    /// The first due time that was not begun.
    pub next_due_at: Option<WireTime>,
    /// The next times.
    pub next: Vec<ScheduleTime>,
    /// Who added it.
    pub created_by: String,
    /// When.
    pub created_at: WireTime,
    /// When a person last changed it.
    pub updated_at: WireTime,
}

/// One schedule.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ScheduleReply {
    /// The schedule.
    pub schedule: ScheduleView,
}

/// All of them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SchedulesReply {
    /// By name.
    pub schedules: Vec<ScheduleView>,
}

/// A fire.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FireView {
    /// Its number.
    pub fire_id: i64,
    /// Of which schedule.
    pub schedule_id: i64,
    /// Its key.
    pub key: String,
    /// When it was due.
    pub due_at: WireTime,
    /// `due by_hand`
    pub kind: String,
    /// Where it stands.
    pub state: String,
    /// Due times before it that are not made up for.
    pub missed: u32,
    /// How often it was put off because it failed; a wait for room is none of them.
    pub tries: u32,
    /// When it is tried again.
    pub next_try_at: Option<WireTime>,
    /// When it was begun.
    pub began_at: WireTime,
    /// When it ended.
    pub ended_at: Option<WireTime>,
    /// Its tasks.
    pub tasks: Vec<String>,
    /// Why it stands where it stands.
    pub reason: Option<String>,
    /// Who wanted it.
    pub who: String,
}

/// One fire.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FireReply {
    /// The fire.
    pub fire: FireView,
}

/// Fires.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FiresReply {
    /// Newest first.
    pub fires: Vec<FireView>,
}

/// The calls about schedules that a backend answers. Schedules and accounts are numbers or names.
pub trait ScheduleCalls {
    /// Adds one, or says what it would be.
    fn schedule_add(&self, peer: Peer, schedule: CheckedSchedule, dry_run: bool) -> Answer<ScheduleReply>;
    /// All of them by name.
    fn schedule_list(&self, peer: Peer) -> Answer<SchedulesReply>;
    /// One.
    fn schedule_get(&self, peer: Peer, schedule: String) -> Answer<ScheduleReply>;
    /// Fires one now.
    fn schedule_run(&self, peer: Peer, schedule: String) -> Answer<FireReply>;
    /// Pauses one.
    fn schedule_pause(&self, peer: Peer, schedule: String, reason: Option<String>) -> Answer<ScheduleReply>;
    /// Lets one go on.
    fn schedule_resume(&self, peer: Peer, schedule: String) -> Answer<ScheduleReply>;
    /// Removes one.
    fn schedule_remove(&self, peer: Peer, schedule: String) -> Answer<super::EmptyReply>;
    /// Its fires, newest first.
    fn schedule_history(
        &self,
        peer: Peer,
        schedule: String,
        limit: u32,
        offset: u32,
        before: Option<i64>,
    ) -> Answer<FiresReply>;
}

/// A schedule whose form is right. Whether its accounts, its generator and its source are there is the backend's business.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedSchedule {
    /// Its name.
    pub name: String,
    /// When it is due; an interval is anchored by the backend.
    pub timing: Timing,
    /// Numbers or names.
    pub accounts: Vec<String>,
    /// For each of them.
    pub topics_each: u32,
    /// Where topics come from.
    pub source: TopicSource,
    /// What tasks are submitted with.
    pub params: Params,
    /// What is made up for.
    pub misfire: Misfire,
    /// Begins nothing yet.
    pub is_paused: bool,
}

/// What a judged submission says beside its account and its topic.
impl From<CheckedSubmission> for Topic {
    fn from(checked: CheckedSubmission) -> Self {
        let params = Params {
            requirements: checked.requirements,
            keywords: Some(checked.keywords).filter(|keywords| !keywords.is_empty()),
            category: checked.category,
            tone: checked.tone,
            priority: checked.priority,
            time_limit_s: checked.time_limit_s,
            max_retries: checked.max_retries,
            auto_approve: checked.auto_approve,
            generator: checked.generator.map(|generator| generator.0),
        };
        Self { topic: checked.topic, params }
    }
}

/// What is wrong with a schedule, gathered, so that all of it is told at once.
#[derive(Debug, Default)]
pub struct AllFaults(Vec<ApiError>);

impl AllFaults {
    /// What was judged, where nothing is wrong with it; what is wrong is kept.
    pub fn but<T>(&mut self, judged: Result<T, ApiError>) -> Option<T> {
        judged.map_err(|error| self.0.push(error)).ok()
    }

    /// All of it, if there is any. What stands alone is told as itself, and so is what is no fault of a field.
    pub fn told(mut self) -> Result<(), ApiError> {
        let is_alone = self.0.len() == 1;
        let (mut all, mut all_count) = (Vec::new(), 0_u32);
        for error in std::mem::take(&mut self.0) {
            let (faults, count) = match error {
                ApiError::BatchRefused { faults, count } => (faults, count),
                error if is_alone => return Err(error),
                ApiError::InvalidField { field, value, cure } => {
                    (vec![FieldFault { index: None, field, value, cure }], 1)
                }
                ApiError::AccountNotFound { ref account } => {
                    let (field, value, cure) = ("accounts".to_owned(), account.clone(), error.message());
                    (vec![FieldFault { index: None, field, value, cure }], 1)
                }
                error => return Err(error),
            };
            all.extend(faults);
            all_count = all_count.saturating_add(count);
        }
        match all.as_slice() {
            [] => Ok(()),
            [FieldFault { index: None, .. }] => {
                let FieldFault { field, value, cure, .. } = all.remove(0);
                Err(ApiError::InvalidField { field, value, cure })
            }
            _ => Err(ApiError::BatchRefused { faults: all, count: all_count }),
        }
    }
}

impl NewScheduleParams {
    /// Judges the form: all of it, so that one look mends it.
    pub fn check(self) -> Result<CheckedSchedule, ApiError> {
        let mut faults = AllFaults::default();
        let params = self.submission("any").check(None).map_err(|faults| {
            let count = u32::try_from(faults.len()).unwrap_or(u32::MAX);
            ApiError::BatchRefused { faults, count }
        });
        let judged = (
            faults.but(self.check_name()),
            faults.but(self.check_timing()),
            faults.but(self.check_accounts()),
            faults.but(self.check_topics()),
            faults.but(self.check_source()),
            faults.but(self.check_misfire()),
            faults.but(params),
        );
        faults.told()?;
        let (Some(name), Some(timing), Some(accounts), Some(topics_each), Some(source), Some(misfire), Some(params)) =
            judged
        else {
            return Err(ApiError::internal("a schedule was refused without a fault"));
        };
        let (is_paused, params) = (self.paused == Some(true), Topic::from(params).params);
        Ok(CheckedSchedule { name, timing, accounts, topics_each, source, params, misfire, is_paused })
    }

    fn check_name(&self) -> Result<String, ApiError> {
        // As accounts: a name of digits would be taken for a number.
        super::checked::account_name(&self.name).map_err(|error| match error {
            ApiError::InvalidField { field, value, cure } => {
                ApiError::InvalidField { field, value, cure: cure.replace("account", "schedule") }
            }
            other => other,
        })
    }

    fn check_timing(&self) -> Result<Timing, ApiError> {
        let zone = self.zone.as_deref().map_or(DEFAULT_ZONE, str::trim).to_owned();
        let timing = match (&self.cron, &self.every) {
            (Some(cron), None) => {
                let parsed: Result<crate::schedule::Cron, _> = cron.parse();
                let parsed = parsed.map_err(|error| ApiError::invalid("cron", cron, error.to_string()))?;
                Timing::Cron { expression: parsed.to_string(), zone: zone.clone() }
            }
            (None, Some(every)) => {
                let seconds = parse_duration_s(every.as_str());
                let seconds = seconds.ok_or_else(|| ApiError::invalid("every", every.as_str(), DURATION_FORMS))?;
                let seconds = u32::try_from(seconds).ok().filter(|seconds| limits::INTERVAL_S.contains(seconds));
                let seconds = seconds.ok_or_else(|| ApiError::invalid("every", every.as_str(), "from 1s to 366d"))?;
                Timing::Every { seconds, anchor: Timestamp(0), zone: zone.clone() }
            }
            (Some(cron), Some(_)) => {
                return Err(ApiError::invalid("cron", cron, "either cron or every, not both"));
            }
            (None, None) => {
                return Err(ApiError::invalid("cron", "", "when it is due: cron (\"0 8 * * *\") or every (\"6h\")"));
            }
        };
        match Beat::of(&timing, zones::named) {
            Ok(_) => Ok(timing),
            Err(error) => Err(ApiError::invalid("zone", &zone, error.to_string())),
        }
    }

    fn check_accounts(&self) -> Result<Vec<String>, ApiError> {
        if self.accounts.is_empty() || self.accounts.len() > limits::ACCOUNTS {
            let value = format!("{} accounts", self.accounts.len());
            return Err(ApiError::invalid("accounts", &value, format!("1 to {} accounts", limits::ACCOUNTS)));
        }
        Ok(self.accounts.iter().map(|account| account.as_str().trim().to_owned()).collect())
    }

    fn check_topics(&self) -> Result<u32, ApiError> {
        let given = self.topics.unwrap_or(1);
        let each = u32::try_from(given).ok().filter(|each| limits::TOPICS_EACH.contains(each));
        let each = each.ok_or_else(|| ApiError::invalid("topics", &given.to_string(), "a number from 1 to 1000"))?;
        let wanted = self.accounts.len().saturating_mul(each as usize);
        if wanted > limits::TASKS {
            let cure = format!("at most {} tasks a fire: fewer topics, or two schedules", limits::TASKS);
            return Err(ApiError::invalid("topics", &format!("{wanted} tasks"), cure));
        }
        Ok(each)
    }

    fn check_source(&self) -> Result<TopicSource, ApiError> {
        let at_end = match self.at_end.as_deref() {
            None | Some("stop") => AtEnd::Stop,
            Some("again") => AtEnd::Again,
            Some(other) => return Err(ApiError::invalid("at_end", other, "stop or again")),
        };
        match (&self.list, &self.file, &self.command) {
            (Some(list), None, None) => Ok(TopicSource::List { topics: check_list(list)?, at_end }),
            (None, Some(path), None) if path.starts_with('/') && !path.contains('\0') => {
                Ok(TopicSource::File { path: path.clone(), at_end })
            }
            (None, Some(path), None) => {
                Err(ApiError::invalid("file", path, "an absolute path on the daemon's machine"))
            }
            (None, None, Some(_)) if self.at_end.is_some() => {
                let value = self.at_end.as_deref().unwrap_or_default();
                Err(ApiError::invalid(
                    "at_end",
                    value,
                    "leave it out: a command says itself when there is nothing more",
                ))
            }
            (None, None, Some(name)) => Ok(TopicSource::Command { name: name.clone() }),
            (None, None, None) => {
                Err(ApiError::invalid("list", "", "where topics come from: a list, a file or a command"))
            }
            _ => Err(ApiError::invalid("list", "", "one of list, file and command")),
        }
    }

    fn check_misfire(&self) -> Result<Misfire, ApiError> {
        let misfire = match self.misfire.as_deref() {
            None | Some("once") => Misfire::Once,
            Some("none") => Misfire::None,
            Some("all") => {
                let given = self.misfire_most.unwrap_or(DEFAULT_MADE_UP.into());
                let most = u32::try_from(given).ok().filter(|most| limits::MADE_UP.contains(most));
                let cure = "a number from 1 to 100";
                let most = most.ok_or_else(|| ApiError::invalid("misfire_most", &given.to_string(), cure))?;
                return Ok(Misfire::All { most });
            }
            Some(other) => {
                return Err(ApiError::invalid(
                    "misfire",
                    other,
                    "once, all, none, or all with how many at most (`--misfire all:N`)",
                ));
            }
        };
        match self.misfire_most {
            Some(most) => Err(ApiError::invalid("misfire_most", &most.to_string(), "leave it out, or say misfire all")),
            None => Ok(misfire),
        }
    }
}

fn check_list(list: &[TopicParams]) -> Result<Vec<Topic>, ApiError> {
    if list.is_empty() || list.len() > limits::LIST {
        let value = format!("{} topics", list.len());
        return Err(ApiError::invalid("list", &value, format!("1 to {} topics; more of them in a file", limits::LIST)));
    }
    let submissions: Vec<Submission> = list.iter().map(|entry| entry.submission(&entry.topic)).collect();
    let topics: Vec<Topic> = super::checked::batch(&submissions)?.into_iter().map(Topic::from).collect();
    let bytes = serde_json::to_vec(&topics).map_err(ApiError::internal)?.len();
    if bytes > limits::LIST_BYTES {
        let cure = format!("at most {} bytes; more of it in a file", limits::LIST_BYTES);
        return Err(ApiError::invalid("list", &format!("{bytes} bytes"), cure));
    }
    Ok(topics)
}

/// Topics as the list or a file's entry says them, judged; what only the schedule may say is refused.
pub fn topic_of(entry: &Submission) -> Result<Topic, String> {
    if entry.account.as_str() != NO_ACCOUNT {
        return Err("account: leave it out, the schedule says for whom".to_owned());
    }
    if entry.key.is_some() || entry.delay.is_some() {
        return Err("key and delay: leave them out, a fire has its own".to_owned());
    }
    entry.check(None).map(Topic::from).map_err(|faults| {
        faults.first().map(|fault| format!("{}: {:?}: {}", fault.field, fault.value, fault.cure)).unwrap_or_default()
    })
}

/// What fills in the account of an entry that may not have one.
pub fn no_account() -> Submission {
    Submission { account: NO_ACCOUNT.into(), ..Submission::default() }
}

fn shown(at: Timestamp, zone: &jiff::tz::TimeZone) -> String {
    let time = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    time.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// How many topics of a list are shown.
const SHOWN_TOPICS: usize = 10;

/// What its list has next, in the order of being taken; the beginning again where that follows the end.
fn next_topics(schedule: &Schedule) -> Vec<String> {
    let TopicSource::List { topics, at_end } = &schedule.source else { return Vec::new() };
    let taken = schedule.cursor as usize;
    let from = if taken >= topics.len() && *at_end == AtEnd::Again { 0 } else { taken };
    topics.iter().skip(from).take(SHOWN_TOPICS).map(|topic| topic.topic.clone()).collect()
}

impl ScheduleView {
    /// A schedule with its next `count` times after `now`.
    pub fn of(schedule: &Schedule, count: usize, now: Timestamp) -> Self {
        let beat = Beat::of(&schedule.timing, zones::named).ok();
        let after = schedule.next_due.map_or(now, |due| Timestamp(due.0.saturating_sub(1)));
        let next = beat.map(|beat| {
            let time = |at: Timestamp| ScheduleTime { at: at.into(), local: shown(at, beat.zone()) };
            beat.next(after, count).into_iter().map(time).collect()
        });
        let (cron, every) = match &schedule.timing {
            Timing::Cron { expression, .. } => (Some(expression.clone()), None),
            Timing::Every { seconds, .. } => (None, Some(*seconds)),
        };
        let (file, command, at_end, list) = match &schedule.source {
            TopicSource::List { topics, at_end } => (None, None, Some(at_end), Some(topics.len())),
            TopicSource::File { path, at_end } => (Some(path.clone()), None, Some(at_end), None),
            TopicSource::Command { name } => (None, Some(name.clone()), None, None),
        };
        let word = |at_end: &AtEnd| if *at_end == AtEnd::Stop { "stop" } else { "again" };
        let params = schedule.params.clone();
        let (misfire, misfire_most) = match schedule.misfire {
            Misfire::Once => ("once", None),
            Misfire::All { most } => ("all", Some(most)),
            Misfire::None => ("none", None),
        };
        Self {
            schedule_id: Some(schedule.id.0).filter(|id| *id > 0),
            name: schedule.name.clone(),
            cron,
            every,
            zone: schedule.timing.zone().to_owned(),
            accounts: schedule.accounts.iter().map(|account| account.0).collect(),
            topics: schedule.topics_each,
            source: schedule.source.kind().to_owned(),
            file,
            command,
            at_end: at_end.map(word).map(str::to_owned),
            // Lists of schedules leave the topics out, and an empty list is none.
            list_size: list.filter(|size| *size > 0),
            list_taken: list.map(|_| schedule.cursor),
            next_topics: next_topics(schedule),
            requirements: params.requirements,
            keywords: params.keywords,
            category: params.category,
            tone: params.tone,
            priority: params.priority,
            time_limit: params.time_limit_s,
            max_retries: params.max_retries,
            auto_approve: params.auto_approve,
            generator: params.generator,
            misfire: misfire.to_owned(),
            misfire_most,
            is_paused: schedule.is_paused(),
            paused_why: schedule.paused_why.clone(),
            trouble: zones::trouble(schedule.timing.zone()),
            next_due_at: schedule.next_due.map(Into::into),
            next: next.unwrap_or_default(),
            created_by: schedule.created_by.clone(),
            created_at: schedule.created_at.into(),
            updated_at: schedule.updated_at.into(),
        }
    }
}

impl From<&Fire> for FireView {
    fn from(fire: &Fire) -> Self {
        Self {
            fire_id: fire.id.0,
            schedule_id: fire.schedule.0,
            key: fire.key.clone(),
            due_at: fire.due.into(),
            kind: fire.kind.to_string(),
            state: fire.state.to_string(),
            missed: fire.missed,
            tries: fire.tries,
            next_try_at: fire.wake.map(Into::into),
            began_at: fire.began.into(),
            ended_at: fire.ended.map(Into::into),
            tasks: fire.tasks.iter().map(|task| task.0.clone()).collect(),
            reason: fire.why.clone(),
            who: fire.who.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_mends_all_of_a_schedule() {
        let wrong =
            serde_json::json!({"name": "7", "cron": "61 8 * * *", "topics": 0, "at_end": "sometimes", "priority": 11});
        let Err(ApiError::BatchRefused { faults, count }) = params(wrong).check() else { panic!("it is refused") };
        let named: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!((named, count), (vec!["name", "cron", "topics", "at_end", "priority"], 5));
        let one = params(serde_json::json!({"priority": 11})).check();
        assert!(matches!(one, Err(ApiError::InvalidField { ref field, .. }) if field == "priority"), "{one:?}");
    }

    fn params(more: serde_json::Value) -> NewScheduleParams {
        let mut json =
            serde_json::json!({"name": "n", "cron": "0 8 * * *", "accounts": ["a"], "list": [{"topic": "t"}]});
        let (into, from) = (json.as_object_mut().expect("an object"), more.as_object().expect("an object").clone());
        into.extend(from);
        serde_json::from_value(json).expect("it is read")
    }

    #[test]
    fn what_is_wrong_is_told_with_field_value_and_cure() {
        assert!(params(serde_json::json!({})).check().is_ok());
        for (more, field, told) in [
            (serde_json::json!({"name": "7"}), "name", "schedule numbers"),
            (serde_json::json!({"cron": "61 * * * *"}), "cron", "from 0 to 59"),
            (serde_json::json!({"cron": null}), "cron", "when it is due"),
            (serde_json::json!({"every": "6h"}), "cron", "not both"),
            (serde_json::json!({"cron": null, "every": "soon"}), "every", "seconds"),
            (serde_json::json!({"cron": null, "every": "0"}), "every", "from 1s"),
            (serde_json::json!({"zone": "Europe/Atlantis"}), "zone", "IANA"),
            (serde_json::json!({"accounts": []}), "accounts", "1 to 1000"),
            (serde_json::json!({"topics": 0}), "topics", "from 1 to 1000"),
            (serde_json::json!({"accounts": vec!["a"; 20], "topics": 1000}), "topics", "at most 10000"),
            (serde_json::json!({"list": null}), "list", "where topics come from"),
            (serde_json::json!({"file": "/x"}), "list", "one of"),
            (serde_json::json!({"list": null, "file": "x"}), "file", "absolute"),
            (serde_json::json!({"list": null, "command": "c", "at_end": "again"}), "at_end", "leave it out"),
            (serde_json::json!({"at_end": "maybe"}), "at_end", "stop or again"),
            (serde_json::json!({"misfire": "some"}), "misfire", "all:N"),
            (serde_json::json!({"misfire": "all", "misfire_most": 101}), "misfire_most", "1 to 100"),
            (serde_json::json!({"misfire_most": 3}), "misfire_most", "misfire all"),
            (serde_json::json!({"priority": 11}), "priority", "1 to 10"),
        ] {
            match params(more.clone()).check() {
                Err(ApiError::InvalidField { field: named, cure, .. }) => {
                    assert_eq!(named, field, "{more}");
                    assert!(cure.contains(told), "{more}: {cure}");
                }
                other => panic!("{more}: {other:?}"),
            }
        }
        let bad = params(serde_json::json!({"list": [{"topic": "t"}, {"topic": " "}]})).check();
        assert!(matches!(bad, Err(ApiError::BatchRefused { count: 1, .. })), "{bad:?}");
    }

    #[test]
    fn an_entry_of_a_source_says_nothing_that_is_the_schedules() {
        let entry = |text: &str| {
            let parsed = crate::control::batch::parse("f.jsonl", text.as_bytes(), &no_account());
            topic_of(&parsed.expect("it is read")[0])
        };
        let topic = entry(r#"{"topic": "t", "tone": "dry", "time_limit": "5m"}"#).expect("right");
        assert_eq!((topic.params.tone.as_deref(), topic.params.time_limit_s), (Some("dry"), Some(300)));
        assert!(entry(r#"{"topic": "t", "account": "b"}"#).is_err_and(|why| why.contains("account")));
        assert!(entry(r#"{"topic": "t", "key": "b"}"#).is_err_and(|why| why.contains("key")));
    }
}
