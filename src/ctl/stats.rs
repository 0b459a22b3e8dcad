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
use crate::control::values::{TextOrNumber, WireTime, parse_duration_s};
use crate::task::Timestamp;

/// More days than a year has are a typing error.
const MAX_DAYS: usize = 366;
/// The days that are shown where nothing was said.
const USUAL_DAYS: &str = "7d";
/// Seconds of a day, as a span is typed.
const DAY_S: u64 = 24 * 3600;

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
/// Their headings are so short that all of them stand beside each other on a terminal of 80 columns.
pub(super) const DAY_COLUMNS: &[Column] = &[
    fixed("DAY", "day"),
    fixed("CREATED", "created"),
    fixed("DONE", "completed"),
    fixed("FAILED", "failed"),
    fixed("TIMEOUT", "timeout").goes(1),
    fixed("CANCEL", "cancelled").goes(1),
    spare("AGAIN", "retried"),
    spare("P50 S", "median_duration_s"),
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
    if session.printer.is_for_people() {
        let shown = in_words(&record, &fields);
        let names: Vec<&str> = shown.iter().map(|(name, _)| name.as_str()).collect();
        let values: serde_json::Map<String, Value> = shown.iter().cloned().collect();
        session.printer.record(&Value::Object(values), &names)?;
        if !is_of_a_span {
            session.tell("of all tasks that are kept; `--since 7d` tells of a week, and `--by day` of each day of it");
        }
        session.tell("retries: how often tasks were tried again, added up; retried: how many finished tasks were");
        return Ok(());
    }
    session.printer.record(&record, &fields)
}

/// A share as percent with one digit; all of them only where it is all.
fn percent(share: f64) -> f64 {
    let rounded = (share * 1_000.0).round() / 10.0;
    if share < 1.0 { rounded.min(99.9) } else { rounded }
}

/// Fields as people read them: no underscores, a share of a hundred, seconds with their unit.
fn in_words(record: &Value, fields: &[&str]) -> Vec<(String, Value)> {
    let worded = |field: &&str| {
        let (value, seconds) = (record[*field].clone(), field.strip_suffix("_s"));
        let shown = match (value.as_f64(), seconds) {
            (Some(value), Some(_)) => json!(format!("{} s", short(value))),
            (Some(share), None) if *field == "success_rate" => json!(format!("{} %", percent(share))),
            _ => value,
        };
        (seconds.unwrap_or(field).replace('_', " "), shown)
    };
    fields.iter().map(worded).collect()
}

fn by_day(session: &Session, args: StatsArgs) -> Result<(), Failure> {
    let now = jiff::Timestamp::now();
    let text = args.since.unwrap_or_else(|| USUAL_DAYS.to_owned());
    let zone = TimeZone::system();
    let days = days(first_day(&text, now, &zone)?, now, &zone);
    if days.len() > MAX_DAYS {
        let cure = format!("at most {MAX_DAYS} days by day; leave --by out for more");
        return Err(Failure::usage("--since", &text, &cure));
    }
    if days.is_empty() {
        session.tell("that begins after today, so there is no day to show");
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
    if session.printer.is_for_people() {
        rows.iter_mut().for_each(shorten);
    }
    session.printer.rows(&rows, DAY_COLUMNS, DAY_FIELDS)
}

/// Seconds as people read them beside each other: a digit behind the point below ten of them, and none above.
fn short(seconds: f64) -> f64 {
    if seconds < 10.0 { (seconds * 10.0).round() / 10.0 } else { seconds.round() }
}

fn shorten(row: &mut Value) {
    for field in ["median_duration_s", "p90_duration_s", "median_wait_s"] {
        if let Some(seconds) = row[field].as_f64() {
            row[field] = json!(short(seconds));
        }
    }
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

/// A span is of so many days with today: seven days ago lies in an eighth, of which nobody asked. A time is of the day that it lies in.
fn first_day(text: &str, now: jiff::Timestamp, zone: &TimeZone) -> Result<Date, Failure> {
    let refused = |cure: &str| Failure::usage("--since", text, cure);
    if let Some(seconds) = parse_duration_s(text) {
        let before = i64::try_from(seconds.div_ceil(DAY_S).max(1) - 1).unwrap_or(i64::MAX);
        let span = jiff::Span::new().try_days(before).map_err(|_| refused("a time"))?;
        return now.to_zoned_datetime(zone.clone()).date().checked_sub(span).map_err(|_| refused("a time"));
    }
    let since: jiff::Timestamp = when::since(text, now)?.parse().map_err(|_| refused("a time"))?;
    Ok(since.to_zoned_datetime(zone.clone()).date())
}

/// The days from `day` to the one that `now` lies in, each with its beginning and its end.
fn days(mut day: Date, now: jiff::Timestamp, zone: &TimeZone) -> Vec<(Date, jiff::Timestamp, jiff::Timestamp)> {
    let begins = |day: Date| day.at(0, 0, 0, 0).to_zoned_datetime(zone.clone()).ok().map(|zoned| zoned.timestamp());
    let last = now.to_zoned_datetime(zone.clone()).date();
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
    fn a_span_is_of_so_many_days_with_today() {
        let now: jiff::Timestamp = "2026-06-20T08:00:00Z".parse().expect("a time");
        let rows = |since: &str| {
            let first = first_day(since, now, &TimeZone::UTC).expect("it can be read");
            days(first, now, &TimeZone::UTC).len()
        };
        for (since, count) in [(USUAL_DAYS, 7), ("7d", 7), ("1d", 1), ("24h", 1), ("25h", 2), ("0", 1), ("1w", 7)] {
            assert_eq!(rows(since), count, "{since}");
        }
        assert_eq!([rows("2026-06-18T23:00:00Z"), rows("2026-06-20T00:00:00Z")], [3, 1], "from the day of a time on");
        assert!(first_day("99999999999999d", now, &TimeZone::UTC).is_err());
    }

    #[test]
    fn numbers_have_names_and_units_for_people() {
        let record = json!({"by_state": {"held": 2}, "success_rate": 0.862_745_098, "p90_duration_s": 0.862_745_098});
        let shown = in_words(&record, &["by_state", "success_rate", "p90_duration_s", "median_wait_s"]);
        let expected =
            [("by state", json!({"held": 2})), ("success rate", json!("86.3 %")), ("p90 duration", json!("0.9 s"))];
        assert_eq!(shown[..3], expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(shown[3], ("median wait".to_owned(), Value::Null), "what is not known is not shown");
    }

    #[test]
    fn a_day_fits_eighty_columns_with_all_that_is_told_of_it() {
        let summary: SummaryReply = serde_json::from_value(json!({
            "created": 1234, "finished": {"completed": 1200, "failed": 30, "timeout": 4, "cancelled": 5}, "retried": 17,
            "retries": 20, "median_duration_s": 123.862_745_098, "p90_duration_s": 0.862_745_098, "median_wait_s": 1234.56,
            "p90_wait_s": null,
        }))
        .expect("it is one");
        let mut row = row(jiff::civil::date(2026, 1, 31), &summary);
        shorten(&mut row);
        let table = crate::ctl::table::table(&[row], DAY_COLUMNS, Some(80));
        assert!(table.left_out.is_empty() && !table.is_cut, "{}", table.text);
        for shown in [" 124 ", " 0.9 ", " 1235\n"] {
            assert!(table.text.contains(shown), "{shown}: {}", table.text);
        }
    }

    #[test]
    fn days_follow_each_other_without_a_gap_also_where_clocks_change() {
        let zone = TimeZone::get("Europe/Berlin").expect("the zone is known");
        let time = |text: &str| text.parse::<jiff::Timestamp>().expect("a time");
        // On 25 October 2026 the clocks go back by an hour: a day of 25 hours.
        let days = days(jiff::civil::date(2026, 10, 24), time("2026-10-26T08:00:00Z"), &zone);
        let hours: Vec<i64> = days.iter().map(|(_, from, to)| to.duration_since(*from).as_hours()).collect();
        assert_eq!(hours, [24, 25, 24]);
        assert!(days.windows(2).all(|pair| pair[0].2 == pair[1].1));
        assert_eq!(days[0].1, time("2026-10-23T22:00:00Z"));
    }
}
