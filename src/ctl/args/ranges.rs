//! What numbers and spans of time options take. The daemon judges them again; here they are what the manual calls usage.
//!
//! The surprise: an option is judged as the field that it becomes, so both say the same of a value.

use std::ops::RangeInclusive;

use crate::config::MAX_LEASE;
use crate::control::api::checked::{MAX_CLEANUP_DAYS, MAX_DELAY_S, MAX_KEPT};
use crate::control::api::pool::MAX_HANDED_OUT;
use crate::control::values::{DURATION_FORMS, parse_duration_s};
use crate::schedule::limits::{INTERVAL_S, TOPICS_EACH};
use crate::task::limits::{ACCOUNT_LIMIT, MAX_RETRIES, TIME_LIMIT_S};

fn number(text: &str, range: &RangeInclusive<i64>, more: &str) -> Result<i64, String> {
    let number = text.parse().map_err(|_| "a whole number is wanted, such as 5".to_owned())?;
    let cure = || format!("a number from {} to {} is wanted{more}", range.start(), range.end());
    if range.contains(&number) { Ok(number) } else { Err(cure()) }
}

fn as_i64(range: &RangeInclusive<u32>) -> RangeInclusive<i64> {
    i64::from(*range.start())..=i64::from(*range.end())
}

pub(super) fn priority(text: &str) -> Result<i64, String> {
    number(text, &(1..=10), "; 10 is first")
}

pub(super) fn retries(text: &str) -> Result<i64, String> {
    number(text, &(0..=i64::from(MAX_RETRIES)), "")
}

pub(super) fn days(text: &str) -> Result<i64, String> {
    number(text, &(0..=i64::try_from(MAX_CLEANUP_DAYS).unwrap_or(i64::MAX)), "")
}

pub(super) fn backups(text: &str) -> Result<i64, String> {
    number(text, &(1..=i64::from(MAX_KEPT)), "")
}

pub(super) fn topics(text: &str) -> Result<i64, String> {
    number(text, &as_i64(&TOPICS_EACH), "")
}

pub(super) fn handed_out(text: &str) -> Result<i64, String> {
    number(text, &(1..=i64::from(MAX_HANDED_OUT)), "")
}

pub(super) fn account_limit(text: &str) -> Result<i64, String> {
    number(text, &as_i64(&ACCOUNT_LIMIT), "; --clear takes a limit away")
}

/// A span of so many seconds, as it was typed.
fn span(text: &str, range: &RangeInclusive<u64>, said: &str) -> Result<String, String> {
    let seconds = parse_duration_s(text).ok_or_else(|| format!("a span of time is wanted: {DURATION_FORMS}"))?;
    if range.contains(&seconds) { Ok(text.to_owned()) } else { Err(format!("{said} is wanted")) }
}

pub(super) fn time_limit(text: &str) -> Result<String, String> {
    span(text, &(u64::from(*TIME_LIMIT_S.start())..=u64::from(*TIME_LIMIT_S.end())), "1s to 30d")
}

pub(super) fn interval(text: &str) -> Result<String, String> {
    span(text, &(u64::from(*INTERVAL_S.start())..=u64::from(*INTERVAL_S.end())), "1s to 366d")
}

pub(super) fn delay(text: &str) -> Result<String, String> {
    span(text, &(0..=MAX_DELAY_S), "at most 366d")
}

pub(super) fn lease(text: &str) -> Result<String, String> {
    span(text, &(1..=MAX_LEASE.as_secs()), "1s to 7d")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Args;

    #[test]
    fn what_is_out_of_range_names_option_value_and_cure() {
        let submit = ["submit", "-a", "1", "-t", "T"].as_slice();
        let schedule = ["schedule", "add", "s", "-a", "1", "-t", "T"].as_slice();
        let wrong: &[(&[&str], &str, &str, &str)] = &[
            (submit, "--priority", "11", "from 1 to 10"),
            (submit, "--priority", "-3", "from 1 to 10"),
            (submit, "--priority", "high", "a whole number"),
            (submit, "--max-retries", "-1", "from 0 to "),
            (submit, "--time-limit", "0", "1s to 30d"),
            (submit, "--time-limit", "soon", "30m"),
            (submit, "--delay", "367d", "at most 366d"),
            (&["set", "task-a"], "--priority", "0", "from 1 to 10"),
            (&["set", "task-a"], "--delay", "-1", "30m"),
            (&["cleanup"], "--days", "-1", "from 0 to 36500"),
            (&["backup"], "--keep", "0", "from 1 to 10000"),
            (&["pool", "next"], "--limit", "101", "from 1 to 100"),
            (&["pool", "next"], "--lease", "8d", "1s to 7d"),
            (&["pool", "renew", "1", "--fence", "1"], "--lease", "0", "1s to 7d"),
            (&["pool", "schedule", "1"], "--priority", "11", "from 1 to 10"),
            (&["account", "set", "1"], "--priority", "11", "from 1 to 10"),
            (&["account", "set", "1"], "--max-pending", "0", "--clear"),
            (&[schedule, &["--every", "6h"]].concat(), "--topics", "0", "from 1 to 1000"),
            (&[schedule, &["--every", "6h"]].concat(), "--priority", "11", "from 1 to 10"),
            (schedule, "--every", "367d", "1s to 366d"),
        ];
        for (verb, option, value, cure) in wrong {
            let words = ["contentctl"].iter().chain(*verb).chain([option, value]);
            let refused = Args::try_parse_from(words).expect_err("it is refused").to_string();
            assert!([*option, *value, *cure].iter().all(|part| refused.contains(part)), "{option} {value}: {refused}");
        }
    }
}
