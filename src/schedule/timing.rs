//! When a schedule is due: its next times, and those that passed without anybody looking.
//!
//! The surprise: times that passed are counted from the end, in spans that grow, because a schedule of every second whose
//! machine slept for a year has passed more of them than anybody wants to enumerate.

use jiff::tz::TimeZone;
use thiserror::Error;

use super::cron::{Cron, CronError};
use super::record::{Timing, limits};
use crate::task::Timestamp;

/// What is wrong with a timing.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TimingError {
    /// The expression.
    #[error(transparent)]
    Cron(#[from] CronError),
    /// The zone.
    #[error("{0:?} is no time zone of this machine: write an IANA name such as Europe/Berlin, Asia/Shanghai or UTC")]
    Zone(String),
    /// The interval.
    #[error("an interval is from 1s to 366d; {0} s is not")]
    Interval(u32),
}

/// A timing that can be reckoned with.
#[derive(Clone, PartialEq, Debug)]
pub struct Beat {
    rule: Rule,
    zone: TimeZone,
}

#[derive(Clone, PartialEq, Debug)]
enum Rule {
    Cron(Cron),
    Every { ms: i64, anchor: i64 },
}

/// Due times that have passed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Passed {
    /// The latest of them, earliest first: as many as were asked for.
    pub latest: Vec<Timestamp>,
    /// How many came before these; at least so many where `is_counted` is false.
    pub earlier: u32,
    /// Whether `earlier` is all of them.
    pub is_counted: bool,
}

/// Spans that are looked back over, one after the other: an hour, a day, thirty days, ten years.
const LOOKS_BACK_MS: [i64; 4] = [3_600_000, 86_400_000, 30 * 86_400_000, 3_660 * 86_400_000];
/// How many times are counted at most.
const MOST_COUNTED: usize = 5_000;

impl Beat {
    /// Of a timing; `zone_of` finds a zone by its name.
    pub fn of(timing: &Timing, zone_of: impl FnOnce(&str) -> Option<TimeZone>) -> Result<Self, TimingError> {
        let name = timing.zone();
        let zone = zone_of(name).ok_or_else(|| TimingError::Zone(name.to_owned()))?;
        let rule = match timing {
            Timing::Cron { expression, .. } => Rule::Cron(expression.parse()?),
            Timing::Every { seconds, anchor, .. } if limits::INTERVAL_S.contains(seconds) => {
                Rule::Every { ms: i64::from(*seconds) * 1_000, anchor: anchor.0 }
            }
            Timing::Every { seconds, .. } => return Err(TimingError::Interval(*seconds)),
        };
        Ok(Self { rule, zone })
    }

    /// The zone in which its times are shown.
    pub const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first time after `after`; none where none comes in nine years.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Cron(cron) => {
                let next = cron.next_after(after.0.div_euclid(1_000), &self.zone)?;
                Some(Timestamp(next.checked_mul(1_000)?))
            }
            Rule::Every { ms, anchor } => {
                let passed = after.0.checked_sub(*anchor)?.div_euclid(*ms);
                Some(Timestamp(anchor.checked_add(passed.checked_add(1)?.checked_mul(*ms)?)?))
            }
        }
    }

    /// The next `count` times.
    pub fn next(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next_after(after), |last| self.next_after(*last)).take(count).collect()
    }

    /// The times from `first`, which is one, to `now`. The latest `most` of them are told one by one.
    pub fn passed(&self, first: Timestamp, now: Timestamp, most: u32) -> Passed {
        let most = most.max(1) as usize;
        let mut passed = Passed { latest: Vec::new(), earlier: 0, is_counted: true };
        for back in LOOKS_BACK_MS {
            let from = Timestamp(now.0.saturating_sub(back)).max(first);
            let mut latest = std::collections::VecDeque::new();
            let mut count = 0;
            let begin = Timestamp(from.0.saturating_sub(1));
            for time in std::iter::successors(self.next_after(begin), |last| self.next_after(*last)) {
                if time > now || count >= MOST_COUNTED {
                    break;
                }
                count += 1;
                latest.push_back(time);
                if latest.len() > most {
                    latest.pop_front();
                }
            }
            let earlier = u32::try_from(count - latest.len()).unwrap_or(u32::MAX);
            let is_counted = from == first && count < MOST_COUNTED;
            if count >= MOST_COUNTED && !passed.latest.is_empty() {
                // A wider look would stop before it reaches now; what is known is enough.
                return Passed { is_counted: false, ..passed };
            }
            passed = Passed { latest: latest.into(), earlier, is_counted };
            if from == first {
                break;
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone(name: &str) -> Option<TimeZone> {
        TimeZone::get(name).ok()
    }

    fn every(seconds: u32, anchor: i64) -> Beat {
        let timing = Timing::Every { seconds, anchor: Timestamp(anchor), zone: "UTC".into() };
        Beat::of(&timing, zone).expect("it is right")
    }

    fn cron(expression: &str, zone_name: &str) -> Result<Beat, TimingError> {
        Beat::of(&Timing::Cron { expression: expression.into(), zone: zone_name.into() }, zone)
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(cron("0 8 * * *", "Europe/Berlin").is_ok());
        for (expression, name, told) in [
            ("0 8 * * *", "Europe/Atlantis", "\"Europe/Atlantis\" is no time zone"),
            ("0 8 * * *", "", "no time zone"),
            ("0 8 * * *", "../../etc/passwd", "no time zone"),
            ("0 8 * * *", "/etc/localtime", "no time zone"),
            ("0 8 * *", "UTC", "five fields"),
        ] {
            let error = cron(expression, name).expect_err(told).to_string();
            assert!(error.contains(told), "{error}");
        }
        let none = Timing::Every { seconds: 0, anchor: Timestamp(0), zone: "UTC".into() };
        assert_eq!(Beat::of(&none, zone).err(), Some(TimingError::Interval(0)));
    }

    #[test]
    fn an_interval_counts_from_its_anchor_also_before_it() {
        let beat = every(10, 3_000);
        let times = [Timestamp(3_000), Timestamp(13_000), Timestamp(23_000)];
        assert_eq!(beat.next(Timestamp(2_999), 3), times);
        assert_eq!(beat.next_after(Timestamp(-7_001)), Some(Timestamp(-7_000)));
        assert_eq!(beat.next_after(Timestamp(-7_000)), Some(Timestamp(3_000)));
    }

    #[test]
    fn a_year_of_seconds_is_not_counted_and_its_end_is_known() {
        let beat = every(1, 0);
        let now = Timestamp(365 * 86_400_000 + 500);
        let passed = beat.passed(Timestamp(0), now, 3);
        let last = 365 * 86_400_000;
        assert_eq!(passed.latest, [Timestamp(last - 2_000), Timestamp(last - 1_000), Timestamp(last)]);
        assert!(!passed.is_counted && passed.earlier > 3_000, "{passed:?}");
        let beat = cron("0 0 29 2 *", "UTC").expect("right");
        let first = Timestamp("2016-02-29T00:00:00Z".parse::<jiff::Timestamp>().expect("a time").as_millisecond());
        let now = Timestamp("2024-03-01T00:00:00Z".parse::<jiff::Timestamp>().expect("a time").as_millisecond());
        let passed = beat.passed(first, now, 2);
        assert_eq!((passed.latest.len(), passed.earlier, passed.is_counted), (2, 1, true));
    }

    proptest! {
        #[test]
        fn what_has_passed_is_what_was_due(
            seconds in 1..5_000_u32, first in 0..50_i64, span_s in 0..100_000_i64, most in 1..8_u32,
        ) {
            let beat = every(seconds, 0);
            let first = beat.next_after(Timestamp(first * 1_000)).expect("there is one");
            let now = first.plus(std::time::Duration::from_secs(span_s.unsigned_abs()));
            let all: Vec<_> = std::iter::successors(Some(first), |last| beat.next_after(*last))
                .take_while(|time| *time <= now).collect();
            let passed = beat.passed(first, now, most);
            let kept = all.len().min(most as usize);
            prop_assert_eq!(&passed.latest[..], &all[all.len() - kept..]);
            let earlier = all.len() - kept;
            let told = passed.earlier as usize;
            let is_right = if passed.is_counted { told == earlier } else { told < earlier };
            prop_assert!(is_right, "{:?} of {}", passed, earlier);
        }
    }
}
