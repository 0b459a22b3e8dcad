//! How times are read from people and shown to them: in local time, `TZ` honoured.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::failure::Failure;
use crate::control::values::{WireTime, parse_duration_s, parse_time};
use crate::task::Timestamp;

/// How `--since` may be written.
const SINCE_FORMS: &str = "a time ago (24h, 7d), a date (2026-01-31), a local time (2026-01-31T08:00), or RFC 3339";

/// Reads `--since` as of `now`; gives RFC 3339.
pub fn since(text: &str, now: jiff::Timestamp) -> Result<String, Failure> {
    let refused = || Failure::usage("--since", text, SINCE_FORMS);
    if let Some(seconds) = parse_duration_s(text) {
        let ago = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1000)).ok_or_else(refused)?;
        return Ok(WireTime(Timestamp(now.as_millisecond().saturating_sub(ago))).to_string());
    }
    if let Some(time) = parse_time(text) {
        return Ok(WireTime(time).to_string());
    }
    let local = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(|date| date.at(0, 0, 0, 0)));
    let zoned = local.ok().and_then(|local| local.to_zoned_datetime(TimeZone::system()).ok()).ok_or_else(refused)?;
    Ok(WireTime(Timestamp(zoned.timestamp().as_millisecond())).to_string())
}

/// How a time ahead may be written.
const AHEAD_FORMS: &str = "now, a span from now (2h, 1d), a time of day (09:00: the next one), a date (2026-01-31), a local time (2026-01-31T08:00), or \
     RFC 3339";

/// Reads a time ahead as of `now`; gives RFC 3339. A time of day is the next one, in local time.
pub fn from_now(option: &str, text: &str, now: jiff::Timestamp) -> Result<String, Failure> {
    let refused = || Failure::usage(option, text, AHEAD_FORMS);
    let wire = |ms| WireTime(Timestamp(ms)).to_string();
    if text == "now" {
        return Ok(wire(now.as_millisecond()));
    }
    if let Some(seconds) = parse_duration_s(text) {
        let ahead = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1000)).ok_or_else(refused)?;
        return Ok(wire(now.as_millisecond().saturating_add(ahead)));
    }
    if let Some(time) = time_of_day(text) {
        return next(time, now, &TimeZone::system()).map(|time| wire(time.as_millisecond())).ok_or_else(refused);
    }
    since(text, now).map_err(|_| refused())
}

/// `9:00`, `09:00` or `09:00:30`.
fn time_of_day(text: &str) -> Option<Time> {
    let parts: Vec<&str> = text.split(':').collect();
    let are_digits = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_one = parts.iter().all(are_digits) && parts.iter().skip(1).all(|part| part.len() == 2);
    let form = match parts.len() {
        2 => "%H:%M",
        3 => "%H:%M:%S",
        _ => return None,
    };
    is_one.then(|| Time::strptime(form, text).ok()).flatten()
}

/// When a clock of this zone shows that time next: also the second time, where an hour comes twice.
fn next(time: Time, now: jiff::Timestamp, zone: &TimeZone) -> Option<jiff::Timestamp> {
    let today = now.to_zoned_datetime(zone.clone()).date();
    let on = |date: Date| {
        let shown = zone.to_ambiguous_timestamp(date.to_datetime(time));
        [shown.earlier().ok(), shown.later().ok()].into_iter().flatten().find(|at| *at > now)
    };
    on(today).or_else(|| on(today.tomorrow().ok()?))
}

/// A time of the wire in local time, to the second; anything else as it is.
pub fn local(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => text.to_owned(),
    }
}

/// A sentence for people whose times of the wire are in local time, like those of the columns beside it. What stands in quotes is
/// somebody's own text and stays.
pub fn in_local_times(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, time, after)) = first_time(rest) {
        told.push_str(before);
        told.push_str(&local(time));
        rest = after;
    }
    told + rest
}

/// The first time of the wire in a text, as `2026-01-31T08:15:30.250Z`, with what stands before and behind it.
fn first_time(text: &str) -> Option<(&str, &str, &str)> {
    const SECONDS: usize = "2026-01-31T08:15:30".len();
    text.match_indices('T').find_map(|(at, _)| {
        let begin = at.checked_sub("2026-01-31".len())?;
        let (before, from) = (text.get(..begin)?, text.get(begin..)?);
        let end =
            SECONDS + from.get(SECONDS..)?.find(|character: char| character != '.' && !character.is_ascii_digit())?;
        let time = from.get(..=end).filter(|time| time.ends_with('Z'))?;
        let is_alone = !before.ends_with(|before: char| before.is_alphanumeric() || before == '"');
        let is_time = is_alone && time.parse::<jiff::Timestamp>().is_ok();
        is_time.then(|| (before, time, &from[time.len()..]))
    })
}

/// Seconds as people say them: `30m`, `1h30m`.
pub fn span(seconds: u64) -> String {
    crate::task::in_words(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_read_as_people_write_it() {
        let now: jiff::Timestamp = "2026-02-01T00:00:00Z".parse().expect("a time");
        assert_eq!(since("24h", now).expect("reads"), "2026-01-31T00:00:00.000Z");
        assert_eq!(since("2026-01-31T08:00:00+08:00", now).expect("reads"), "2026-01-31T00:00:00.000Z");
        assert!(since("2026-01-31", now).is_ok());
        assert!(since("2026-01-31T08:00", now).is_ok());
        assert!(since("yesterday", now).is_err());
        assert!(since("99999999999999999999", now).is_err());
    }

    #[test]
    fn a_time_ahead_is_read_as_people_write_it() {
        let now: jiff::Timestamp = "2026-02-01T00:00:00Z".parse().expect("a time");
        let read = |text| from_now("--at", text, now);
        assert_eq!(read("now").expect("reads"), "2026-02-01T00:00:00.000Z");
        assert_eq!(read("90m").expect("reads"), "2026-02-01T01:30:00.000Z");
        assert_eq!(read("2026-01-31T08:00:00+08:00").expect("reads"), "2026-01-31T00:00:00.000Z");
        let zone = TimeZone::get("Europe/Berlin").expect("the zone is known");
        let next_of = |text: &str| {
            let time = time_of_day(text).expect("a time of day");
            next(time, now, &zone).expect("it comes").to_string()
        };
        // The hour comes twice, and none of another: the second time, and the time that its clocks leap to.
        for (now, text, told) in [
            ("2026-10-25T00:40:00Z", "02:30", "2026-10-25T01:30:00Z"),
            ("2026-10-25T00:20:00Z", "02:30", "2026-10-25T00:30:00Z"),
            ("2026-03-29T00:40:00Z", "02:30", "2026-03-29T01:30:00Z"),
        ] {
            let now = now.parse().expect("a time");
            let time = time_of_day(text).expect("a time of day");
            assert_eq!(next(time, now, &zone).expect("it comes").to_string(), told, "{now}");
        }
        // It is one o'clock there.
        assert_eq!(next_of("09:00"), "2026-02-01T08:00:00Z");
        assert_eq!([next_of("0:30"), next_of("01:00:00")], ["2026-02-01T23:30:00Z", "2026-02-02T00:00:00Z"]);
        assert!(
            read("09:00").is_ok() && ["25:00", "9", "9:3", "09:00x", "::"].map(time_of_day).iter().all(Option::is_none)
        );
        let refused = read("soon").expect_err("no time").to_string();
        assert!(refused.contains("--at") && refused.contains("from now"), "{refused}");
    }

    #[test]
    fn times_in_a_sentence_are_local_and_nothing_else_is_touched() {
        let (utc, shown) = ("2026-11-28T00:45:31.435Z", local("2026-11-28T00:45:31.435Z"));
        assert!(!shown.contains(['T', 'Z', '.']), "{shown}");
        let told = in_local_times(&format!("The next is not before {utc}, then {utc}."));
        assert_eq!(told, format!("The next is not before {shown}, then {shown}."));
        for kept in [
            "since: \"2026-11-28T00:45:31Z\" cannot be taken",
            "x2026-11-28T00:45:31Z",
            "2026-13-28T00:45:31Z",
            "2026-11-28T00:45:31+01:00",
            "人工智能人工智T 2026-11-28T",
            "T",
        ] {
            assert_eq!(in_local_times(kept), kept);
        }
    }

    #[test]
    fn spans_are_short() {
        assert_eq!(span(1800), "30m");
        assert_eq!(span(5400), "1h30m");
        assert_eq!(span(61), "1m1s");
        assert_eq!(span(0), "0s");
    }
}
