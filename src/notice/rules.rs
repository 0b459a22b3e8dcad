//! The rules: what each looks at, where it begins to be wrong, and what it says of the numbers of one moment.
//!
//! A rule gives a reading for each of its subjects (every generator has a breaker), good ones too, because an alarm ends by a
//! good reading. The surprise: between good and bad lies a band in which nothing changes, so that a number that hovers at
//! its limit raises one alarm and not a hundred.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::task::state::named;
use crate::task::{TaskState, Timestamp, in_words};
use crate::text::counted;

named! {
    /// What is watched.
    Rule {
        /// Of what ended in the last hour, too much failed.
        Failures = "failures",
        /// Of what ended in the last hour, too much ran out of time.
        Timeouts = "timeouts",
        /// Too many tasks wait.
        Backlog = "backlog",
        /// A task has waited for too long.
        OldestTask = "oldest_task",
        /// A generator gets no new jobs.
        Breaker = "breaker",
        /// Tasks wait for a person.
        Held = "held",
        /// A publisher gets one piece at a time, to try it.
        Publisher = "publisher",
        /// Pieces of the publish pool wait for a person.
        Pool = "pool",
        /// A piece is due, and no publisher has taken it for too long.
        Overdue = "overdue",
        /// The disk is nearly full.
        Disk = "disk",
        /// A schedule fired and submitted nothing, or can begin nothing.
        Schedule = "schedule",
    }
}

named! {
    /// How bad it is.
    Severity {
        /// Look at it today.
        Warning = "warning",
        /// Look at it now.
        Critical = "critical",
    }
}

/// How a rule is set.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RuleSettings {
    /// Not looked at.
    pub is_off: bool,
    /// From where on it is wrong: a share, a number, seconds or bytes, as the rule has it. Rules about one thing that is or is
    /// not have 0.
    pub limit: f64,
    /// From where on it is critical, whatever `severity` says.
    pub critical: Option<f64>,
    /// How bad it is.
    pub severity: Severity,
    /// How long it must be wrong before it is an alarm, and right before it is none any more.
    pub lasting: Duration,
}

/// All settings.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Each rule's own.
    pub rules: BTreeMap<Rule, RuleSettings>,
    /// How often the numbers are looked at.
    pub interval: Duration,
    /// An alarm that begins again within this time of its last message is not told, unless it is worse.
    pub cool_down: Duration,
    /// Of how much that ended a share is believed.
    pub least_ended: u64,
}

impl Rule {
    /// How it is set where nothing else is said.
    pub fn default_settings(self) -> RuleSettings {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let (limit, severity, lasting) = match self {
            Self::Failures => (0.2, Severity::Warning, minutes(5)),
            Self::Timeouts => (0.1, Severity::Warning, minutes(5)),
            Self::Backlog => (50.0, Severity::Warning, minutes(5)),
            Self::OldestTask => (3_600.0, Severity::Warning, minutes(5)),
            Self::Breaker => (0.0, Severity::Critical, minutes(1)),
            Self::Held | Self::Pool => (0.0, Severity::Warning, minutes(0)),
            Self::Publisher => (0.0, Severity::Critical, minutes(1)),
            Self::Overdue => (3_600.0, Severity::Warning, minutes(5)),
            Self::Disk => (1_000_000_000.0, Severity::Critical, minutes(1)),
            Self::Schedule => (0.0, Severity::Warning, minutes(0)),
        };
        RuleSettings { is_off: false, limit, critical: None, severity, lasting }
    }

    /// Whether it is wrong below its limit, and not above.
    pub const fn is_wrong_below(self) -> bool {
        matches!(self, Self::Disk)
    }

    /// Whether its limit can be set; the others are about something that is or is not.
    pub const fn has_limit(self) -> bool {
        !matches!(self, Self::Breaker | Self::Publisher | Self::Schedule)
    }

    /// The unit of its number, as monitoring systems write it.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Failures | Self::Timeouts => "%",
            Self::OldestTask | Self::Overdue => "s",
            Self::Disk => "B",
            Self::Backlog | Self::Breaker | Self::Held | Self::Publisher | Self::Pool | Self::Schedule => "",
        }
    }

    /// Which part of the limit its number must come back by before it is right again.
    const fn band(self) -> f64 {
        match self {
            Self::Failures | Self::Timeouts | Self::Backlog | Self::OldestTask | Self::Overdue | Self::Disk => 0.1,
            Self::Breaker | Self::Held | Self::Publisher | Self::Pool | Self::Schedule => 0.0,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: Rule::ALL.iter().map(|rule| (*rule, rule.default_settings())).collect(),
            interval: Duration::from_secs(60),
            cool_down: Duration::from_secs(30 * 60),
            least_ended: 5,
        }
    }
}

/// A generator or a publisher whose breaker is open.
#[derive(Clone, PartialEq, Debug)]
pub struct OpenBreaker {
    /// What opened it.
    pub trip: String,
    /// Its last words.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
}

/// The numbers of one moment. What could not be read is missing, and then nothing is said about it: no alarm begins or ends.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Look {
    /// Tasks that became final within the last hour, by state.
    pub ended: BTreeMap<TaskState, u64>,
    /// Tasks by state.
    pub counts: BTreeMap<TaskState, u64>,
    /// How long the oldest task has waited that could run.
    pub oldest: Option<Duration>,
    /// Every configured generator, with its breaker where that is open.
    pub breakers: BTreeMap<String, Option<OpenBreaker>>,
    /// Every configured publisher, with its breaker where that is open.
    pub publishers: BTreeMap<String, Option<OpenBreaker>>,
    /// Pieces of the pool whose fate a person decides: those that may be out or not, and those that were given up.
    pub pool_held: u64,
    /// See `pool_held`.
    pub pool_failed: u64,
    /// How long the piece that is due for longest has been due; none where no publisher is configured, because people take
    /// pieces when they want.
    pub overdue: Option<Duration>,
    /// Bytes that are free on the disk of the state directory.
    pub disk_free: Option<u64>,
    /// Every schedule, with why it submits nothing.
    pub schedules: BTreeMap<String, Option<ScheduleTrouble>>,
}

/// Why a schedule submits nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScheduleTrouble {
    /// Its last fire did not, for this reason.
    Fire(String),
    /// It can begin nothing, for this reason.
    Stands(String),
    /// It is paused, for this reason, which is nothing wrong.
    Paused(String),
}

/// What a reading says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// It is right.
    Good,
    /// Neither: what is stays.
    Between,
    /// It is wrong.
    Bad(Severity),
}

/// What a rule says of one subject at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    /// Which rule.
    pub rule: Rule,
    /// Whom it is about: a generator, a schedule; empty where there is only one.
    pub subject: String,
    /// What it says.
    pub level: Level,
    /// The number.
    pub value: f64,
    /// The limit.
    pub limit: f64,
    /// The limit from which on it is critical.
    pub critical: Option<f64>,
    /// In a sentence.
    pub text: String,
}

impl Reading {
    /// The name of the alarm that it is about.
    pub fn alarm(&self) -> String {
        alarm_name(self.rule, &self.subject)
    }
}

/// The name of an alarm: its rule, and its subject where it has one.
pub fn alarm_name(rule: Rule, subject: &str) -> String {
    if subject.is_empty() { rule.to_string() } else { format!("{rule}/{subject}") }
}

/// What every rule that is on says of the numbers.
pub fn readings(look: &Look, settings: &Settings) -> Vec<Reading> {
    let mut found = Vec::new();
    for (rule, set) in settings.rules.iter().filter(|(_, set)| !set.is_off) {
        match rule {
            Rule::Failures => found.extend(share(*rule, set, look, settings, TaskState::Failed)),
            Rule::Timeouts => found.extend(share(*rule, set, look, settings, TaskState::Timeout)),
            Rule::Backlog => {
                let waiting = count(look, TaskState::Pending);
                found.push(judged(*rule, set, as_number(waiting), wait(waiting)));
            }
            Rule::OldestTask => {
                let waited = look.oldest.unwrap_or_default();
                let text = match waited.as_secs() {
                    0 => "no task waits".to_owned(),
                    seconds => format!(
                        "the oldest task in line has waited for {}, whatever for: `contentctl queue` says it",
                        in_words(seconds)
                    ),
                };
                found.push(judged(*rule, set, waited.as_secs_f64(), text));
            }
            Rule::Held => {
                let held = count(look, TaskState::Held);
                let text = format!("{} for a person: `contentctl list --state held`", wait(held));
                found.push(judged(*rule, set, as_number(held), text));
            }
            Rule::Pool => {
                let (held, failed) = (look.pool_held, look.pool_failed);
                let text = format!(
                    "of the pieces to publish {} held and {failed} failed: `contentctl pool list --status held`, or `--status failed`",
                    counted(held, "is", "are")
                );
                found.push(judged(*rule, set, as_number(held.saturating_add(failed)), text));
            }
            Rule::Overdue => found.extend(look.overdue.map(|overdue| {
                let text = match overdue.as_secs() {
                    0 => "no piece is overdue".to_owned(),
                    seconds => format!(
                        "a piece has been due for {} and no publisher has taken it: `contentctl pool list --status pending`",
                        in_words(seconds)
                    ),
                };
                judged(*rule, set, overdue.as_secs_f64(), text)
            })),
            Rule::Publisher => found.extend(look.publishers.iter().map(|(name, open)| {
                let text = match open {
                    Some(open) => format!("publisher {name} takes no pieces: {} ({})", open.trip, short(&open.why)),
                    None => format!("publisher {name} takes pieces"),
                };
                about(*rule, set, name, open.is_some(), text)
            })),
            Rule::Disk => {
                let reading =
                    |free| judged(*rule, set, as_number(free), format!("{} are free on the disk", size(free)));
                found.extend(look.disk_free.map(reading));
            }
            Rule::Breaker => found.extend(look.breakers.iter().map(|(name, open)| {
                let text = match open {
                    Some(open) => format!("generator {name} gets no new jobs: {} ({})", open.trip, short(&open.why)),
                    None => format!("generator {name} takes jobs"),
                };
                about(*rule, set, name, open.is_some(), text)
            })),
            Rule::Schedule => found.extend(look.schedules.iter().map(|(name, why)| {
                let text = match why {
                    Some(ScheduleTrouble::Fire(why)) => {
                        format!("schedule {name} fired and submitted nothing: {}", short(why))
                    }
                    Some(ScheduleTrouble::Stands(why)) => format!("schedule {name} begins nothing: {}", short(why)),
                    Some(ScheduleTrouble::Paused(why)) => format!("schedule {name} is paused: {}", short(why)),
                    None => format!("schedule {name} submits tasks"),
                };
                let is_bad = matches!(why, Some(ScheduleTrouble::Fire(_) | ScheduleTrouble::Stands(_)));
                about(*rule, set, name, is_bad, text)
            })),
        }
    }
    found
}

fn count(look: &Look, state: TaskState) -> u64 {
    look.counts.get(&state).copied().unwrap_or(0)
}

fn wait(tasks: u64) -> String {
    counted(tasks, "task waits", "tasks wait")
}

#[expect(clippy::cast_precision_loss, reason = "numbers for people and limits")]
fn as_number(count: u64) -> f64 {
    count as f64
}

/// The share of one state in what ended by itself: what somebody cancelled says nothing of how well it goes.
fn share(rule: Rule, set: &RuleSettings, look: &Look, settings: &Settings, state: TaskState) -> Option<Reading> {
    let of = |state: TaskState| look.ended.get(&state).copied().unwrap_or(0);
    let (bad, all) = (of(state), of(TaskState::Completed) + of(TaskState::Failed) + of(TaskState::Timeout));
    let what = if state == TaskState::Failed { "failed" } else { "ran out of time" };
    let text = format!("{bad} of {all} tasks that ended in the last hour {what}");
    let value = if all == 0 { 0.0 } else { as_number(bad) / as_number(all) };
    let reading = judged(rule, set, value, text);
    // Too few to say that it is bad; that it is good again must show all the same, or the alarm of a last night would stay.
    Some(if all < settings.least_ended { Reading { level: Level::Good, ..reading } } else { reading })
}

/// Something that is, or is not.
fn about(rule: Rule, set: &RuleSettings, subject: &str, is_bad: bool, text: String) -> Reading {
    let value = if is_bad { 1.0 } else { 0.0 };
    Reading { subject: subject.to_owned(), ..judged(rule, set, value, text) }
}

fn judged(rule: Rule, set: &RuleSettings, value: f64, text: String) -> Reading {
    let is_beyond = |limit: f64| if rule.is_wrong_below() { value < limit } else { value > limit };
    let is_back = if rule.is_wrong_below() {
        value >= set.limit * (1.0 + rule.band())
    } else {
        value <= set.limit * (1.0 - rule.band())
    };
    let level = if set.critical.is_some_and(is_beyond) {
        Level::Bad(Severity::Critical)
    } else if is_beyond(set.limit) {
        Level::Bad(set.severity)
    } else if is_back {
        Level::Good
    } else {
        Level::Between
    };
    Reading { rule, subject: String::new(), level, value, limit: set.limit, critical: set.critical, text }
}

/// The beginning of what a generator or a command said, on one line.
pub fn short(text: &str) -> String {
    const SHOWN: usize = 200;
    let line: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(SHOWN + 1).collect();
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// Bytes as people say them, in powers of ten as the limits are written.
pub fn size(bytes: u64) -> String {
    let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", as_number(bytes) / as_number(*unit)),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::breaker::Trip;
    use proptest::prelude::*;

    fn look(ended: [u64; 4], pending: u64) -> Look {
        let states = [TaskState::Completed, TaskState::Failed, TaskState::Timeout, TaskState::Cancelled];
        Look {
            ended: states.into_iter().zip(ended).collect(),
            counts: BTreeMap::from([(TaskState::Pending, pending)]),
            disk_free: Some(5_000_000_000),
            ..Look::default()
        }
    }

    fn level(look: &Look, rule: Rule) -> Level {
        let found = readings(look, &Settings::default());
        found.iter().find(|reading| reading.rule == rule).expect("the rule is on").level
    }

    #[test]
    fn each_rule_is_wrong_beyond_its_limit_and_right_again_short_of_it() {
        let warning = Level::Bad(Severity::Warning);
        for (ended, failures, timeouts) in [
            ([80, 21, 0, 0], warning, Level::Good),
            ([80, 20, 0, 99], Level::Between, Level::Good),
            ([83, 17, 0, 0], Level::Good, Level::Good),
            ([80, 9, 11, 0], Level::Good, warning),
            ([80, 10, 10, 0], Level::Good, Level::Between),
            // Too few to be believed.
            ([1, 3, 0, 0], Level::Good, Level::Good),
            ([2, 3, 0, 0], warning, Level::Good),
        ] {
            let look = look(ended, 0);
            assert_eq!((level(&look, Rule::Failures), level(&look, Rule::Timeouts)), (failures, timeouts), "{ended:?}");
        }
        for (pending, expected) in [(51, warning), (50, Level::Between), (45, Level::Good)] {
            assert_eq!(level(&look([0; 4], pending), Rule::Backlog), expected, "{pending}");
        }
        for (free, expected) in [
            (999_999_999, Level::Bad(Severity::Critical)),
            (1_000_000_000, Level::Between),
            (1_100_000_000, Level::Good),
        ] {
            assert_eq!(level(&Look { disk_free: Some(free), ..Look::default() }, Rule::Disk), expected, "{free}");
        }
        let said = |pending| {
            let found = readings(&look([0; 4], pending), &Settings::default());
            found.into_iter().find(|reading| reading.rule == Rule::Backlog).expect("the rule is on").text
        };
        assert_eq!([said(1), said(2)], ["1 task waits", "2 tasks wait"]);
        let oldest = |seconds| Look { oldest: Some(Duration::from_secs(seconds)), ..Look::default() };
        assert_eq!(level(&oldest(3_601), Rule::OldestTask), warning);
        assert_eq!(level(&Look::default(), Rule::OldestTask), Level::Good);
    }

    #[test]
    fn what_is_not_known_is_not_judged_and_what_is_off_not_looked_at() {
        let unknown = readings(&Look::default(), &Settings::default());
        assert!(unknown.iter().all(|reading| reading.rule != Rule::Disk && reading.rule != Rule::Breaker));
        let mut settings = Settings::default();
        settings.rules.values_mut().for_each(|set| set.is_off = true);
        assert_eq!(readings(&look([0, 9, 9, 0], 1_000), &settings), []);
    }

    #[test]
    fn every_subject_has_an_alarm_of_its_own() {
        let open = OpenBreaker { trip: "unavailable".into(), why: "no\nanswer".into(), since: Timestamp(0) };
        let look = Look { breakers: BTreeMap::from([("a".into(), None), ("b".into(), Some(open))]), ..Look::default() };
        let found = readings(&look, &Settings::default());
        let of = |name: &str| found.iter().find(|reading| reading.alarm() == name).expect("it is there");
        assert_eq!(of("breaker/a").level, Level::Good);
        assert_eq!(of("breaker/b").level, Level::Bad(Severity::Critical));
        assert!(of("breaker/b").text.contains("no answer"), "on one line");
    }

    #[test]
    fn a_schedule_that_is_paused_is_said_to_be_and_is_no_alarm() {
        let schedules = [
            ("a", None),
            ("b", Some(ScheduleTrouble::Paused("1:ada paused it: holidays".into()))),
            ("c", Some(ScheduleTrouble::Fire("no such file".into()))),
        ];
        let schedules = schedules.map(|(name, why)| (name.to_owned(), why)).into();
        let found = readings(&Look { schedules, ..Look::default() }, &Settings::default());
        let of = |name: &str| found.iter().find(|reading| reading.alarm() == name).expect("it is there");
        assert_eq!((of("schedule/a").level, of("schedule/a").text.as_str()), (Level::Good, "schedule a submits tasks"));
        assert_eq!(of("schedule/b").level, Level::Good);
        assert_eq!(of("schedule/b").text, "schedule b is paused: 1:ada paused it: holidays");
        assert_eq!(of("schedule/c").level, Level::Bad(Severity::Warning));
    }

    #[test]
    fn publishing_that_stands_still_is_told() {
        let open = OpenBreaker { trip: "unavailable".into(), why: "no answer".into(), since: Timestamp(0) };
        let publishers = BTreeMap::from([("blog".into(), None), ("site".into(), Some(open))]);
        let look = Look { publishers, pool_held: 1, pool_failed: 2, ..Look::default() };
        let found = readings(&look, &Settings::default());
        let of = |name: &str| found.iter().find(|reading| reading.alarm() == name).expect("it is there");
        assert_eq!(of("publisher/blog").level, Level::Good);
        assert_eq!(of("publisher/site").level, Level::Bad(Severity::Critical));
        assert!(
            of("pool").level == Level::Bad(Severity::Warning) && of("pool").text.contains("1 is held and 2 failed")
        );
        // Without a publisher people take pieces when they want.
        assert!(found.iter().all(|reading| reading.rule != Rule::Overdue));
        for (seconds, expected) in
            [(0, Level::Good), (3_240, Level::Good), (3_600, Level::Between), (3_601, Level::Bad(Severity::Warning))]
        {
            let look = Look { overdue: Some(Duration::from_secs(seconds)), ..Look::default() };
            assert_eq!(level(&look, Rule::Overdue), expected, "{seconds}");
        }
        assert_eq!(level(&Look::default(), Rule::Pool), Level::Good);
    }

    #[test]
    fn whatever_opened_a_breaker_is_named() {
        for trip in Trip::ALL {
            let open = OpenBreaker { trip: trip.to_string(), why: "why".into(), since: Timestamp(0) };
            let look = Look { breakers: BTreeMap::from([("g".into(), Some(open))]), ..Look::default() };
            let found = readings(&look, &Settings::default());
            let breaker = found.iter().find(|reading| reading.rule == Rule::Breaker).expect("it is on");
            assert_eq!(breaker.text, format!("generator g gets no new jobs: {trip} (why)"));
        }
    }

    #[test]
    fn a_second_limit_makes_it_critical() {
        let mut settings = Settings::default();
        settings.rules.get_mut(&Rule::Backlog).expect("every rule has settings").critical = Some(500.0);
        for (pending, severity) in [(51, Severity::Warning), (500, Severity::Warning), (501, Severity::Critical)] {
            let found = readings(&look([0; 4], pending), &settings);
            let backlog = found.iter().find(|reading| reading.rule == Rule::Backlog).expect("it is on");
            assert_eq!(backlog.level, Level::Bad(severity), "{pending}");
        }
    }

    proptest! {
        #[test]
        fn more_is_never_better(one in 0u64..200, more in 0u64..200) {
            let rank = |pending| match level(&look([0; 4], pending), Rule::Backlog) {
                Level::Good => 0,
                Level::Between => 1,
                Level::Bad(_) => 2,
            };
            prop_assert!(rank(one) <= rank(one + more));
        }
    }
}
