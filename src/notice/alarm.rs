//! One alarm: how it begins, lasts, ends and begins again, and which of that is told.
//!
//! ```text
//!          wrong                wrong for `lasting`           right for `lasting`
//!  quiet ────────▶ pending ───────────────────────▶ firing ───────────────────────▶ quiet
//!    ▲                │ right
//!    └────────────────┘
//! ```
//!
//! Whether a firing alarm is *told* is a question of its own: once for each firing, not within the cool-down of its last message
//! unless it is worse, not while there is silence, not when somebody has acknowledged it. The surprise: what may not be
//! told now is owed, and told as soon as it may be if it still lasts. An end is told exactly where a beginning was, also
//! in silence: it is what lets somebody sleep again.

use serde::{Deserialize, Serialize};

use super::message::MessageKind;
use super::rules::{Level, Reading, Rule, RuleSettings, Settings, Severity};
use crate::task::Timestamp;
use crate::task::state::named;

named! {
    /// Where an alarm stands.
    AlarmState {
        /// It is over, and kept for its cool-down.
        Quiet = "quiet",
        /// It is wrong, and not for long enough.
        Pending = "pending",
        /// It is wrong.
        Firing = "firing",
    }
}

/// An alarm as it is kept. One that is quiet and cooled down is not kept.
#[derive(Clone, PartialEq, Debug)]
pub struct Alarm {
    /// Its rule, and its subject where it has one.
    pub name: String,
    /// Which rule.
    pub rule: Rule,
    /// Whom it is about.
    pub subject: String,
    /// Where it stands.
    pub state: AlarmState,
    /// How bad it is.
    pub severity: Severity,
    /// Since when it has been where it stands; of a firing one, since when it has been wrong.
    pub since: Timestamp,
    /// Of a firing one: since when it has been right again.
    pub good_since: Option<Timestamp>,
    /// When a beginning was last told.
    pub told_at: Option<Timestamp>,
    /// How bad it was then.
    pub told_severity: Option<Severity>,
    /// This firing was told.
    pub is_told: bool,
    /// Who knows of this firing and wants to hear no more of it.
    pub acknowledged_by: Option<String>,
    /// The number when it last changed.
    pub value: f64,
    /// The limit then.
    pub limit: f64,
    /// What it said then.
    pub text: String,
}

/// What is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// A beginning or an end.
    pub kind: MessageKind,
    /// How bad it is, or was.
    pub severity: Severity,
    /// Since when it has been wrong.
    pub since: Timestamp,
}

/// What a reading makes of an alarm.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// The alarm after it; none: there is none to keep.
    pub after: Option<Alarm>,
    /// What is told.
    pub told: Option<Told>,
}

/// What an alarm is judged by besides its reading.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// All settings.
    pub settings: &'a Settings,
    /// Nothing new is told.
    pub is_silent: bool,
    /// When.
    pub now: Timestamp,
}

/// What a reading makes of an alarm, or of none.
pub fn step(before: Option<&Alarm>, reading: &Reading, judge: Judge<'_>) -> Step {
    let set = judge.settings.rules.get(&reading.rule).copied().unwrap_or_else(|| reading.rule.default_settings());
    let mut draft = Draft { alarm: before.cloned(), reading, set, judge };
    let told = match before.map_or(AlarmState::Quiet, |alarm| alarm.state) {
        AlarmState::Quiet => draft.quiet(),
        AlarmState::Pending => draft.pending(),
        AlarmState::Firing => draft.firing(),
    };
    Step { after: draft.alarm.filter(|alarm| judge.must_keep(alarm)), told }
}

/// An alarm whose rule is off, or whose subject is gone: it is over at once.
pub fn end(before: &Alarm) -> Step {
    let is_owed = before.state == AlarmState::Firing && before.is_told;
    Step { after: None, told: is_owed.then(|| before.told(MessageKind::Resolved)) }
}

impl Alarm {
    fn told(&self, kind: MessageKind) -> Told {
        // Whoever was told that it is critical is told of its end, however bad it was by then.
        let severity = match kind {
            MessageKind::Resolved => self.told_severity.unwrap_or(self.severity),
            MessageKind::Firing | MessageKind::Test => self.severity,
        };
        Told { kind, severity, since: self.since }
    }
}

impl Judge<'_> {
    fn is_cooled(&self, alarm: &Alarm) -> bool {
        alarm.told_at.is_none_or(|at| self.now.since(at) >= self.settings.cool_down)
    }

    fn must_keep(&self, alarm: &Alarm) -> bool {
        alarm.state != AlarmState::Quiet || !self.is_cooled(alarm)
    }
}

/// When an alarm will be judged otherwise than now although nothing that is read changes; none where it will not.
pub fn next_change(alarm: &Alarm, settings: &Settings) -> Option<Timestamp> {
    let set = settings.rules.get(&alarm.rule).copied().unwrap_or_else(|| alarm.rule.default_settings());
    let owed = alarm.told_at.filter(|_| !alarm.is_told && alarm.acknowledged_by.is_none());
    match alarm.state {
        AlarmState::Quiet => None,
        AlarmState::Pending => Some(alarm.since.plus(set.lasting)),
        AlarmState::Firing => match alarm.good_since {
            Some(since) => Some(since.plus(set.lasting)),
            None => owed.map(|at| at.plus(settings.cool_down)),
        },
    }
}

struct Draft<'a> {
    alarm: Option<Alarm>,
    reading: &'a Reading,
    set: RuleSettings,
    judge: Judge<'a>,
}

impl Draft<'_> {
    /// The alarm in another state since now, with what its earlier life leaves to the cool-down.
    fn moved(&self, state: AlarmState, severity: Severity) -> Alarm {
        let before = self.alarm.as_ref();
        Alarm {
            name: self.reading.alarm(),
            rule: self.reading.rule,
            subject: self.reading.subject.clone(),
            state,
            severity,
            since: self.judge.now,
            good_since: None,
            told_at: before.and_then(|alarm| alarm.told_at),
            told_severity: before.and_then(|alarm| alarm.told_severity),
            is_told: false,
            acknowledged_by: None,
            value: self.reading.value,
            limit: self.reading.limit,
            text: self.reading.text.clone(),
        }
    }

    fn quiet(&mut self) -> Option<Told> {
        let Level::Bad(severity) = self.reading.level else { return None };
        self.alarm = Some(self.moved(AlarmState::Pending, severity));
        self.pending()
    }

    fn pending(&mut self) -> Option<Told> {
        let alarm = self.alarm.as_ref()?;
        let Level::Bad(severity) = self.reading.level else {
            self.alarm = Some(self.moved(AlarmState::Quiet, alarm.severity));
            return None;
        };
        if self.judge.now.since(alarm.since) < self.set.lasting {
            return None;
        }
        let since = alarm.since;
        self.alarm = Some(Alarm { since, ..self.moved(AlarmState::Firing, severity) });
        self.tell()
    }

    fn firing(&mut self) -> Option<Told> {
        let now = self.judge.now;
        let alarm = self.alarm.as_mut()?;
        match self.reading.level {
            Level::Good => {
                let good_since = *alarm.good_since.get_or_insert(now);
                if now.since(good_since) < self.set.lasting {
                    return None;
                }
                let told = alarm.is_told.then(|| alarm.told(MessageKind::Resolved));
                self.alarm = Some(self.moved(AlarmState::Quiet, told.map_or(Severity::Warning, |told| told.severity)));
                return told;
            }
            Level::Between => alarm.good_since = None,
            Level::Bad(severity) => {
                alarm.good_since = None;
                if severity != alarm.severity {
                    (alarm.value, alarm.text) = (self.reading.value, self.reading.text.clone());
                }
                alarm.severity = severity;
            }
        }
        self.tell()
    }

    /// Tells that the alarm fires, if that is due and may be.
    fn tell(&mut self) -> Option<Told> {
        let judge = self.judge;
        let alarm = self.alarm.as_mut()?;
        let is_worse = alarm.told_severity.is_some_and(|told| alarm.severity > told);
        let is_due = is_worse || !alarm.is_told && judge.is_cooled(alarm);
        if !is_due || judge.is_silent || alarm.acknowledged_by.is_some() {
            return None;
        }
        alarm.told_at = Some(judge.now);
        alarm.told_severity = Some(alarm.severity);
        alarm.is_told = true;
        (alarm.value, alarm.text) = (self.reading.value, self.reading.text.clone());
        Some(alarm.told(MessageKind::Firing))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    const LASTING: u64 = 60;
    const COOL_DOWN: u64 = 1_800;

    fn settings() -> Settings {
        let mut settings = Settings { cool_down: Duration::from_secs(COOL_DOWN), ..Settings::default() };
        let backlog = settings.rules.get_mut(&Rule::Backlog).expect("every rule has settings");
        backlog.lasting = Duration::from_secs(LASTING);
        settings
    }

    fn reading(level: Level) -> Reading {
        Reading {
            rule: Rule::Backlog,
            subject: String::new(),
            level,
            value: 1.0,
            limit: 0.0,
            critical: None,
            text: "a text".into(),
        }
    }

    const WARNING: Level = Level::Bad(Severity::Warning);
    const CRITICAL: Level = Level::Bad(Severity::Critical);

    /// One alarm over the time: what is kept of it is all that it knows.
    struct Life {
        settings: Settings,
        alarm: Option<Alarm>,
        is_silent: bool,
        told: Vec<(u64, MessageKind, Severity)>,
    }

    impl Life {
        fn new() -> Self {
            Self { settings: settings(), alarm: None, is_silent: false, told: Vec::new() }
        }

        fn at(&mut self, second: u64, level: Level) -> &mut Self {
            let now = Timestamp(i64::try_from(second * 1_000).expect("a short test"));
            let judge = Judge { settings: &self.settings, is_silent: self.is_silent, now };
            let one = step(self.alarm.as_ref(), &reading(level), judge);
            self.told.extend(one.told.map(|told| (second, told.kind, told.severity)));
            // Asked again at the same moment, as after a death before the answer: nothing more is told.
            let again = step(one.after.as_ref(), &reading(level), judge);
            assert_eq!((&again.after, again.told), (&one.after, None), "at {second}");
            self.alarm = one.after;
            self
        }
    }

    use MessageKind::{Firing, Resolved};

    #[test]
    fn it_is_told_once_it_lasted_and_its_end_once_that_lasted() {
        let mut life = Life::new();
        life.at(0, WARNING).at(59, WARNING).at(60, WARNING).at(120, WARNING).at(130, Level::Good).at(189, Level::Good);
        assert_eq!(life.told, [(60, Firing, Severity::Warning)]);
        life.at(190, Level::Good);
        assert_eq!(life.told[1..], [(190, Resolved, Severity::Warning)]);
        life.at(190 + COOL_DOWN, Level::Good);
        assert_eq!(life.alarm, None, "nothing is kept of it");
    }

    #[test]
    fn what_is_short_is_no_alarm_and_the_band_ends_none() {
        let mut life = Life::new();
        life.at(0, WARNING).at(30, Level::Good).at(60, WARNING).at(90, Level::Between).at(119, WARNING);
        assert_eq!((life.told.len(), life.alarm.as_ref().map(|alarm| alarm.state)), (0, Some(AlarmState::Pending)));
        life.at(200, WARNING).at(210, Level::Good).at(260, Level::Between).at(275, Level::Good).at(334, Level::Good);
        assert_eq!(life.told, [(200, Firing, Severity::Warning)], "it was not right for long enough");
        life.at(335, Level::Good);
        assert_eq!(life.told.len(), 2);
    }

    #[test]
    fn what_begins_again_within_the_cool_down_is_told_after_it_if_it_still_lasts() {
        let mut life = Life::new();
        life.at(0, WARNING).at(60, WARNING).at(70, Level::Good).at(130, Level::Good);
        assert_eq!(life.told.len(), 2);
        life.at(200, WARNING).at(260, WARNING).at(300, Level::Good).at(360, Level::Good);
        assert_eq!(life.told.len(), 2, "neither the beginning nor the end of the second");
        life.at(400, WARNING).at(460, WARNING).at(59 + COOL_DOWN, WARNING);
        assert_eq!(life.told.len(), 2);
        life.at(60 + COOL_DOWN, WARNING);
        assert_eq!(life.told[2..], [(60 + COOL_DOWN, Firing, Severity::Warning)]);
    }

    #[test]
    fn what_is_worse_is_told_at_once() {
        let mut life = Life::new();
        life.at(0, WARNING).at(60, WARNING).at(61, CRITICAL).at(62, WARNING).at(63, CRITICAL);
        assert_eq!(life.told, [(60, Firing, Severity::Warning), (61, Firing, Severity::Critical)]);
        let mut life = Life::new();
        life.at(0, WARNING)
            .at(60, WARNING)
            .at(70, Level::Good)
            .at(130, Level::Good)
            .at(140, CRITICAL)
            .at(200, CRITICAL);
        assert_eq!(life.told[2..], [(200, Firing, Severity::Critical)], "within the cool-down, because it is worse");
    }

    #[test]
    fn silence_owes_what_still_lasts_and_an_acknowledgement_owes_nothing() {
        let mut life = Life::new();
        life.is_silent = true;
        life.at(0, WARNING).at(60, WARNING);
        life.is_silent = false;
        life.at(100, WARNING);
        assert_eq!(life.told, [(100, Firing, Severity::Warning)]);
        life.alarm.as_mut().expect("it fires").acknowledged_by = Some("0:root".into());
        life.at(110, CRITICAL);
        life.is_silent = true;
        life.at(120, Level::Good).at(180, Level::Good);
        assert_eq!(
            life.told[1..],
            [(180, Resolved, Severity::Warning)],
            "an end is told in silence too, as the beginning was"
        );
    }

    #[test]
    fn what_is_gone_ends_at_once() {
        let mut life = Life::new();
        life.at(0, WARNING).at(60, WARNING);
        let gone = end(life.alarm.as_ref().expect("it fires"));
        assert_eq!((gone.after, gone.told.map(|told| told.kind)), (None, Some(Resolved)));
    }

    fn levels() -> impl Strategy<Value = Vec<(u64, Level)>> {
        let level = prop_oneof![Just(Level::Good), Just(Level::Between), Just(WARNING), Just(WARNING), Just(CRITICAL)];
        proptest::collection::vec((1u64..900, level), 1..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn whatever_comes_each_end_has_a_beginning_and_nothing_is_told_too_often(story in levels()) {
            let mut life = Life::new();
            let mut second = 0;
            for (pause, level) in &story {
                second += pause;
                life.at(second, *level);
            }
            let mut is_told = false;
            let mut last: Option<(u64, Severity)> = None;
            for (at, kind, severity) in &life.told {
                match kind {
                    Firing => {
                        let may = last.is_none_or(|(before, told)| at - before >= COOL_DOWN || *severity > told);
                        prop_assert!(may, "too soon: {:?}", life.told);
                        (is_told, last) = (true, Some((*at, *severity)));
                    }
                    _ => {
                        prop_assert!(is_told, "an end without a beginning: {:?}", life.told);
                        is_told = false;
                    }
                }
            }
            // Wrong for as long as it takes: then it has been told, whatever came before.
            for more in 0..=(LASTING + COOL_DOWN) / 60 + 1 {
                life.at(second + more * 60, CRITICAL);
            }
            prop_assert!(life.alarm.as_ref().is_some_and(|alarm| alarm.is_told), "never told: {:?}", life.told);
            // And right for as long as it takes.
            let second = second + LASTING + COOL_DOWN + 240;
            life.at(second, Level::Good).at(second + LASTING, Level::Good);
            prop_assert_eq!(life.told.last().map(|told| told.1), Some(Resolved));
        }
    }
}
