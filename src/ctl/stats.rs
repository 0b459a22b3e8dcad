//! `contentctl stats`: how many, how long, how often again.
//!
//! Days are those of the caller, by the caller's clock changes: each day is asked about by itself, with its beginning and its end.
//! The daemon knows no time zone.

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Session;
use super::args::{By, StatsArgs};
use super::failure::Failure;
use super::table::{Column, fixed, spare};
use super::when;
use crate::control::api::{StatisticsParams, StatisticsReply, SummaryParams, SummaryReply};
use crate::control::values::{TextOrNumber, WireTime};
use crate::task::Timestamp;

/// More days than a year has are a typing error.
const MAX_DAYS: usize = 366;
/// Where the days begin that are shown where nothing was said: seven of them with today.
const USUAL_DAYS: &str = "6d";

const FIELDS: &[&str] = &[
    "total",
    "by_state",
    "finished",
    "created",
    "retries",
    "success_rate",
    "mean_duration_s",
    "median_duration_s",
    "p90_duration_s",
    "mean_wait_s",
    "median_wait_s",
    "p90_wait_s",
    "retried",
    "words",
];
/// What is counted of all tasks there are, now.
const NOW_FIELDS: [&str; 2] = ["total", "by_state"];
const DAY_FIELDS: &[&str] = &[
    "day",
    "created",
    "completed",
    "failed",
    "timeout",
    "cancelled",
    "retried",
    "retries",
    "median_duration_s",
    "p90_duration_s",
    "median_wait_s",
    "p90_wait_s",
];
pub(super) const DAY_COLUMNS: &[Column] = &[
    fixed("DAY", "day"),
    fixed("CREATED", "created"),
    fixed("COMPLETED", "completed"),
    fixed("FAILED", "failed"),
    fixed("TIMEOUT", "timeout").goes(1),
    fixed("CANCELLED", "cancelled").goes(1),
    spare("RETRIED", "retried"),
    spare("MEDIAN S", "median_duration_s"),
    spare("P90 S", "p90_duration_s"),
    spare("WAIT S", "median_wait_s"),
];

/// `contentctl stats`.
pub fn stats(session: &Session, args: StatsArgs) -> Result<(), Failure> {
    match args.by {
        Some(By::Day) => by_day(session, args),
        None => in_all(session, args),
    }
}

fn in_all(session: &Session, args: StatsArgs) -> Result<(), Failure> {
    let since = args.since.map(|text| when::since(&text, jiff::Timestamp::now())).transpose()?;
    let is_of_a_span = since.is_some();
    let (account, generator) = (args.account.map(TextOrNumber), args.generator);
    let params = StatisticsParams { since: since.clone(), account: account.clone(), generator: generator.clone() };
    let reply: StatisticsReply = session.call("io.contentd.Tasks.Statistics", &params)?;
    let params = SummaryParams { since, until: None, account, generator };
    let summary: SummaryReply = session.call("io.contentd.Tasks.Summary", &params)?;
    let mut record = serde_json::to_value(&reply).map_err(std::io::Error::other)?;
    if let Value::Object(fields) = &mut record {
        for (name, value) in [
            ("median_duration_s", json!(summary.median_duration_s)),
            ("p90_duration_s", json!(summary.p90_duration_s)),
            ("median_wait_s", json!(summary.median_wait_s)),
            ("p90_wait_s", json!(summary.p90_wait_s)),
            ("retried", json!(summary.retried)),
        ] {
            fields.insert(name.to_owned(), value);
        }
    }
    // They are of this moment, whatever the span is: beside its numbers people take them for those.
    let is_left_out = |field: &str| is_of_a_span && session.printer.is_for_people() && NOW_FIELDS.contains(&field);
    let fields: Vec<&str> = FIELDS.iter().copied().filter(|field| !is_left_out(field)).collect();
    session.printer.record(&record, &fields)
}

fn by_day(session: &Session, args: StatsArgs) -> Result<(), Failure> {
    let now = jiff::Timestamp::now();
    let text = args.since.unwrap_or_else(|| USUAL_DAYS.to_owned());
    let since = when::since(&text, now)?;
    let from: jiff::Timestamp = since.parse().map_err(|_| Failure::usage("--since", &text, "a time"))?;
    let days = days(from, now, &TimeZone::system());
    if days.len() > MAX_DAYS {
        let cure = format!("at most {MAX_DAYS} days by day; leave --by out for more");
        return Err(Failure::usage("--since", &text, &cure));
    }
    let mut rows = Vec::new();
    for (day, begins, ends) in days {
        let params = SummaryParams {
            since: Some(wire(begins)),
            until: Some(wire(ends)),
            account: args.account.clone().map(TextOrNumber),
            generator: args.generator.clone(),
        };
        let summary: SummaryReply = session.call("io.contentd.Tasks.Summary", &params)?;
        rows.push(row(day, &summary));
    }
    session.printer.rows(&rows, DAY_COLUMNS, DAY_FIELDS)
}

fn wire(time: jiff::Timestamp) -> String {
    WireTime(Timestamp(time.as_millisecond())).to_string()
}

fn row(day: Date, summary: &SummaryReply) -> Value {
    let finished = |state: &str| summary.finished.get(state).copied().unwrap_or(0);
    json!({
        "day": day.to_string(), "created": summary.created, "completed": finished("completed"),
        "failed": finished("failed"), "timeout": finished("timeout"), "cancelled": finished("cancelled"),
        "retried": summary.retried, "retries": summary.retries, "median_duration_s": summary.median_duration_s,
        "p90_duration_s": summary.p90_duration_s, "median_wait_s": summary.median_wait_s, "p90_wait_s": summary.p90_wait_s,
    })
}

/// The days from the one that `from` lies in to the one that `now` lies in, each with its beginning and its end.
fn days(from: jiff::Timestamp, now: jiff::Timestamp, zone: &TimeZone) -> Vec<(Date, jiff::Timestamp, jiff::Timestamp)> {
    let begins = |day: Date| day.at(0, 0, 0, 0).to_zoned_datetime(zone.clone()).ok().map(|zoned| zoned.timestamp());
    let last = now.to_zoned_datetime(zone.clone()).date();
    let mut day = from.to_zoned_datetime(zone.clone()).date();
    let mut found = Vec::new();
    while day <= last && found.len() <= MAX_DAYS {
        let Ok(next) = day.checked_add(1.day()) else { break };
        if let (Some(start), Some(end)) = (begins(day), begins(next)) {
            found.push((day, start, end));
        }
        day = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_is_said_seven_days_are_shown() {
        let now: jiff::Timestamp = "2026-06-20T08:00:00Z".parse().expect("a time");
        let since: jiff::Timestamp = when::since(USUAL_DAYS, now).expect("a span").parse().expect("a time");
        assert_eq!(days(since, now, &TimeZone::UTC).len(), 7);
    }

    #[test]
    fn days_follow_each_other_without_a_gap_also_where_clocks_change() {
        let zone = TimeZone::get("Europe/Berlin").expect("the zone is known");
        let time = |text: &str| text.parse::<jiff::Timestamp>().expect("a time");
        // On 25 October 2026 the clocks go back by an hour: a day of 25 hours.
        let days = days(time("2026-10-24T08:00:00Z"), time("2026-10-26T08:00:00Z"), &zone);
        let hours: Vec<i64> = days.iter().map(|(_, from, to)| to.duration_since(*from).as_hours()).collect();
        assert_eq!(hours, [24, 25, 24]);
        assert!(days.windows(2).all(|pair| pair[0].2 == pair[1].1));
        assert_eq!(days[0].1, time("2026-10-23T22:00:00Z"));
    }
}
