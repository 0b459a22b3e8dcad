//! Cron expressions: five fields, and when they come in a time zone, over every change of its clocks.
//!
//! Fields are `minute hour day month weekday`: numbers, names (`mon`, `jan`), `*`, lists, ranges, steps, and `@hourly` and its
//! like. If day and weekday are both restricted, a day of either will do, as in every cron since 1987.
//!
//! What the clocks do: a time that they jump over fires once, at the moment of the jump; a time that they show twice fires the
//! first time. An expression that ticks in every hour (`*/15 * * * *`) goes on evenly instead: what it would have done in the
//! hour that is missing it does in the hour that stands there, and in a repeated hour it ticks again. The surprise: this is
//! found by walking through the spans between two changes of a zone, in each of which local time is plain arithmetic, and
//! not by asking for each minute whether it exists.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};
use thiserror::Error;

/// How far ahead a time is looked for: between two days of February 29 lie eight years at most.
const HORIZON_S: i64 = 9 * 366 * 86_400;
const MINUTE_S: i64 = 60;

/// What a text lacks to be an expression.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CronError {
    /// Not five fields.
    #[error("write five fields: minute hour day month weekday, as in \"0 8 * * mon-fri\"; these are {0}")]
    Fields(usize),
    /// No such shorthand.
    #[error("{0:?} is none of @hourly @daily @midnight @weekly @monthly @yearly @annually")]
    Shorthand(String),
    /// A field that cannot be read.
    #[error("{field}: {part:?} cannot be read: {right}")]
    Part {
        /// Which field.
        field: &'static str,
        /// The part of it.
        part: String,
        /// What would be right.
        right: String,
    },
    /// It means no day that ever comes.
    #[error("no such day ever comes: {0:?} names days that its months do not have")]
    Never(String),
}

/// Minutes of a calendar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Days and weekdays are both restricted: either will do.
    is_either: bool,
}

struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, names: &[] },
    Field { name: "hour", low: 0, high: 23, names: &[] },
    Field { name: "day", low: 1, high: 31, names: &[] },
    Field { name: "month", low: 1, high: 12, names: MONTHS },
    Field { name: "weekday", low: 0, high: 7, names: WEEKDAYS },
];
const EVERY_HOUR: u64 = (1 << 24) - 1;

impl Field {
    fn wrong(&self, part: &str, right: impl Into<String>) -> CronError {
        CronError::Part { field: self.name, part: part.to_owned(), right: right.into() }
    }

    fn value(&self, text: &str, part: &str) -> Result<u32, CronError> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = match named {
            Some(position) => u32::try_from(position).ok().map(|position| position + u32::from(self.name == "month")),
            None if !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok()
            }
            None => None,
        };
        value.filter(|value| (self.low..=self.high).contains(value)).ok_or_else(|| {
            let names = match (self.names.first(), self.names.last()) {
                (Some(first), Some(last)) => format!(", or {first} to {last}"),
                _ => String::new(),
            };
            self.wrong(part, format!("from {} to {}{names}", self.low, self.high))
        })
    }

    fn step(&self, text: &str, part: &str) -> Result<u32, CronError> {
        let step = text.parse::<u32>().ok().filter(|step| (1..=self.high).contains(step));
        step.filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or_else(|| self.wrong(part, format!("a step is a number from 1 to {}", self.high)))
    }

    fn part(&self, part: &str) -> Result<u64, CronError> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step, part)?)),
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.low, self.high),
            Some((first, last)) => (self.value(first, part)?, self.value(last, part)?),
            None => {
                let first = self.value(range, part)?;
                (first, if step.is_some() { self.high } else { first })
            }
        };
        if first > last {
            return Err(self.wrong(part, "a range goes from the smaller to the larger; write two ranges with a comma"));
        }
        Ok((first..=last).step_by(step.unwrap_or(1) as usize).fold(0, |bits, value| bits | 1 << value))
    }

    fn bits(&self, text: &str) -> Result<u64, CronError> {
        text.split(',').try_fold(0, |bits, part| Ok(bits | self.part(part)?))
    }
}

impl std::fmt::Display for Cron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let spelled = match text.as_str() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other if other.starts_with('@') => return Err(CronError::Shorthand(text)),
            other => other,
        };
        let parts: Vec<&str> = spelled.split(' ').filter(|part| !part.is_empty()).collect();
        let Ok([minute, hour, day, month, weekday]) = <[&str; 5]>::try_from(parts.as_slice()) else {
            return Err(CronError::Fields(parts.len()));
        };
        let mut bits = [0; 5];
        for ((field, part), bits) in FIELDS.iter().zip([minute, hour, day, month, weekday]).zip(&mut bits) {
            *bits = field.bits(part)?;
        }
        let [minutes, hours, days, months, weekdays] = bits;
        // 7 is Sunday too.
        let weekdays = (weekdays | weekdays >> 7) & 0x7f;
        let is_either = !day.starts_with('*') && !weekday.starts_with('*');
        let cron = Self { text, minutes, hours, days, months, weekdays, is_either };
        // Any span of eight years without a century's missing leap day has every day that there is.
        let start = DateTime::constant(2024, 1, 1, 0, 0, 0, 0);
        match cron.local_from(local_seconds(start), local_seconds(start) + HORIZON_S) {
            Some(_) => Ok(cron),
            None => Err(CronError::Never(cron.text)),
        }
    }
}

/// Seconds of a local clock since its own 1970, as if it never changed.
fn local_seconds(local: DateTime) -> i64 {
    Offset::UTC.to_timestamp(local).map_or(i64::MAX / 2, Timestamp::as_second)
}

fn local_time(seconds: i64) -> Option<DateTime> {
    Some(Offset::UTC.to_datetime(Timestamp::from_second(seconds).ok()?))
}

fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| bits >> value & 1 == 1)
}

/// The smallest value from `from` on.
fn next_in(bits: u64, from: i8) -> Option<i8> {
    let rest = bits.checked_shr(u32::try_from(from).ok()?)?;
    (rest != 0).then(|| from + i8::try_from(rest.trailing_zeros()).unwrap_or(i8::MAX))
}

impl Cron {
    fn is_day(&self, day: DateTime) -> bool {
        let by_day = has(self.days, day.day());
        let by_weekday = has(self.weekdays, day.weekday().to_sunday_zero_offset());
        if self.is_either { by_day || by_weekday } else { by_day && by_weekday }
    }

    /// Whether a local minute is meant.
    fn is_meant(&self, seconds: i64) -> bool {
        seconds.rem_euclid(MINUTE_S) == 0
            && local_time(seconds).is_some_and(|local| {
                has(self.minutes, local.minute())
                    && has(self.hours, local.hour())
                    && has(self.months, local.month())
                    && self.is_day(local)
            })
    }

    /// The first local minute from `from` on that is meant, before `end`.
    fn local_from(&self, from: i64, end: i64) -> Option<i64> {
        let mut at = local_time(from + (-from).rem_euclid(MINUTE_S))?;
        loop {
            if local_seconds(at) >= end {
                return None;
            }
            let midnight = at.date().to_datetime(jiff::civil::Time::midnight());
            if !has(self.months, at.month()) {
                at = midnight.first_of_month().checked_add(1.month()).ok()?;
            } else if !self.is_day(at) {
                at = midnight.checked_add(1.day()).ok()?;
            } else if let Some(hour) = next_in(self.hours, at.hour()) {
                let from_minute = if hour > at.hour() { 0 } else { at.minute() };
                match next_in(self.minutes, from_minute) {
                    Some(minute) => {
                        let found = local_seconds(at.date().at(hour, minute, 0, 0));
                        return (found < end).then_some(found);
                    }
                    None if hour == 23 => at = midnight.checked_add(1.day()).ok()?,
                    None => at = at.date().at(hour + 1, 0, 0, 0),
                }
            } else {
                at = midnight.checked_add(1.day()).ok()?;
            }
        }
    }

    /// Ticks in every hour: goes on evenly when the clocks change.
    const fn is_even(&self) -> bool {
        self.hours == EVERY_HOUR
    }

    /// Whether a local time that the clocks jump over fires at the jump. `shown` is how they show that moment.
    fn fires_at_jump(&self, skipped: i64, shown: i64) -> bool {
        self.is_meant(skipped) && !(self.is_even() && self.is_meant(shown))
    }

    /// The first time after `after` (both in seconds since 1970), if one comes within nine years.
    pub fn next_after(&self, after: i64, zone: &TimeZone) -> Option<i64> {
        let horizon = after.checked_add(HORIZON_S)?;
        // A change in the first second that is looked at must be seen, so the first span begins one before.
        let (mut begin, mut from) = (after, after + 1);
        loop {
            let begun = Timestamp::from_second(begin).ok()?;
            let offset = i64::from(zone.to_offset(begun).seconds());
            let change = zone.following(begun).next().map(|change| change.timestamp());
            // A change in the middle of a second is none of this world's.
            let end = change.map_or(horizon, Timestamp::as_second);
            if let Some(found) = self.in_span(from, end.min(horizon), offset, zone) {
                return Some(found);
            }
            if end >= horizon {
                return None;
            }
            let after_change = i64::from(zone.to_offset(Timestamp::from_second(end).ok()?).seconds());
            if after_change > offset && self.is_in_gap(end, offset, after_change) {
                return Some(end);
            }
            (begin, from) = (end, end);
        }
    }

    /// The first time in a span of one offset.
    fn in_span(&self, from: i64, end: i64, offset: i64, zone: &TimeZone) -> Option<i64> {
        let mut local = from + offset;
        let repeated_until = repeated_until(from, offset, zone);
        while let Some(found) = self.local_from(local, end + offset) {
            let is_repeated = repeated_until.is_some_and(|(until, _)| found < until);
            let goes_on = |by: i64| self.is_even() && self.is_meant(found + by);
            match repeated_until {
                Some((_, by)) if is_repeated && !goes_on(by) => local = found + MINUTE_S,
                _ => return Some(found - offset),
            }
        }
        None
    }

    fn is_in_gap(&self, jump: i64, before: i64, after: i64) -> bool {
        let (mut skipped, end) = (jump + before, jump + after);
        while let Some(found) = self.local_from(skipped, end) {
            if self.fires_at_jump(found, found + (after - before)) {
                return true;
            }
            skipped = found + MINUTE_S;
        }
        false
    }
}

/// If the clocks were set back at the beginning of the span that holds `from`: until which local time they show again what
/// they have shown already, and by how much they were set back.
fn repeated_until(from: i64, offset: i64, zone: &TimeZone) -> Option<(i64, i64)> {
    let change = zone.preceding(Timestamp::from_second(from + 1).ok()?).next()?.timestamp().as_second();
    let before = i64::from(zone.to_offset(Timestamp::from_second(change - 1).ok()?).seconds());
    (before > offset).then_some((change + before, before - offset))
}

#[cfg(test)]
#[path = "cron_tests.rs"]
mod tests;
