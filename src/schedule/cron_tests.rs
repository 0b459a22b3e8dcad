//! Expressions over the changes of real zones, by hand and by comparison with a reckoning that asks for every minute.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::tz::AmbiguousOffset;
use proptest::prelude::*;

use super::*;

fn cron(text: &str) -> Cron {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap_or_else(|error| panic!("{text}: {error}")).as_second()
}

/// The fires between two times, as the clocks of the zone show them.
fn shown(text: &str, name: &str, from: &str, to: &str) -> Vec<String> {
    let (cron, zone) = (cron(text), zone(name));
    let (mut now, end, mut fires) = (at(from), at(to), Vec::new());
    while let Some(next) = cron.next_after(now, &zone).filter(|next| *next <= end) {
        assert!(next > now, "{text}: {next} after {now}");
        let local = Timestamp::from_second(next).expect("in range").to_zoned_datetime(zone.clone());
        fires.push(local.strftime("%d %H:%M %:z").to_string());
        now = next;
    }
    fires
}

#[test]
fn what_is_no_expression_is_told_with_its_field() {
    for (text, told) in [
        ("", "write five fields"),
        ("* * * *", "these are 4"),
        ("0 0 * * * *", "these are 6"),
        ("60 * * * *", "minute: \"60\" cannot be read: from 0 to 59"),
        ("* 24 * * *", "hour: \"24\""),
        ("* * 0 * *", "day: \"0\" cannot be read: from 1 to 31"),
        ("* * * 13 *", "month: \"13\" cannot be read: from 1 to 12, or jan to dec"),
        ("* * * * 8", "weekday: \"8\""),
        ("* * * * moon", "weekday: \"moon\""),
        ("*/0 * * * *", "a step is a number from 1"),
        ("*/61 * * * *", "a step is a number"),
        ("5-1 * * * *", "from the smaller to the larger"),
        ("+5 * * * *", "minute: \"+5\""),
        ("1,,2 * * * *", "minute: \"\""),
        ("-1 * * * *", "minute: \"-1\""),
        ("@reboot", "@reboot"),
        ("0 0 30 2 *", "no such day ever comes"),
        ("0 0 31 4,6,9,11 *", "no such day ever comes"),
    ] {
        let error = text.parse::<Cron>().expect_err(text).to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
}

#[test]
fn fields_mean_what_cron_says() {
    let week = ("2026-11-01T00:00:00Z", "2026-11-08T00:00:00Z");
    let fires = |text| shown(text, "UTC", week.0, week.1);
    assert_eq!(fires("30 8 * * mon-fri").len(), 5);
    assert_eq!(fires("30 8 * * 1-5"), fires("30 8 * * MON-FRI"));
    assert_eq!(fires("0 0 * * 7"), fires("0 0 * * sun"));
    assert_eq!(fires("0 0 * * 5-7").len(), 3);
    assert_eq!(fires("0 12 3 * fri"), ["03 12:00 +00:00", "06 12:00 +00:00"], "a day of either will do");
    assert_eq!(fires("5/20 3 2 nov *"), ["02 03:05 +00:00", "02 03:25 +00:00", "02 03:45 +00:00"]);
    assert_eq!(fires("@weekly"), ["08 00:00 +00:00"]);
    assert_eq!(fires("0 9-17/4 4 * *"), ["04 09:00 +00:00", "04 13:00 +00:00", "04 17:00 +00:00"]);
    let leap = cron("0 0 29 2 *").next_after(at("2096-02-29T00:00:00Z"), &TimeZone::UTC);
    assert_eq!(leap, Some(at("2104-02-29T00:00:00Z")), "over a century without a leap day");
}

#[test]
fn berlin_jumps_and_repeats() {
    let spring = |text| shown(text, "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T02:10:00Z");
    assert_eq!(spring("30 2 * * *"), ["29 03:00 +02:00"], "what does not exist fires at the jump");
    assert_eq!(spring("*/20 2 * * *"), ["29 03:00 +02:00"], "once");
    assert_eq!(spring("30 2,3 * * *"), ["29 03:00 +02:00", "29 03:30 +02:00"]);
    assert_eq!(spring("0 3 * * *"), ["29 03:00 +02:00"]);
    let even = ["29 01:30 +01:00", "29 03:00 +02:00", "29 03:30 +02:00", "29 04:00 +02:00"];
    assert_eq!(spring("*/30 * * * *"), even, "evenly");
    assert_eq!(spring("10 * * * *"), ["29 01:10 +01:00", "29 03:10 +02:00", "29 04:10 +02:00"]);
    let autumn = |text| shown(text, "Europe/Berlin", "2026-10-24T23:00:00Z", "2026-10-25T02:10:00Z");
    assert_eq!(autumn("30 2 * * *"), ["25 02:30 +02:00"], "what comes twice fires the first time");
    let even = ["25 01:30 +02:00", "25 02:30 +02:00", "25 02:30 +01:00"];
    assert_eq!(autumn("30 * * * *"), even, "an hour lies between each of them");
    assert_eq!(autumn("*/15 * * * *").len(), 12);
}

#[test]
fn a_half_hour_and_a_missing_day_are_no_trouble() {
    let lord_howe = |text| shown(text, "Australia/Lord_Howe", "2026-10-03T14:00:00Z", "2026-10-03T17:00:00Z");
    assert_eq!(lord_howe("15 2 * * *"), ["04 02:30 +11:00"]);
    assert_eq!(lord_howe("0 * * * *"), ["04 01:00 +10:30", "04 02:30 +11:00", "04 03:00 +11:00", "04 04:00 +11:00"]);
    assert_eq!(lord_howe("*/30 * * * *").len(), 6, "every thirty minutes");
    let back = |text| shown(text, "Australia/Lord_Howe", "2026-04-04T14:00:00Z", "2026-04-04T16:00:00Z");
    assert_eq!(back("45 1 * * *"), ["05 01:45 +11:00"]);
    assert_eq!(back("*/15 * * * *").len(), 8, "every fifteen minutes");
    // Samoa had no 30 December 2011.
    let apia = |text| shown(text, "Pacific/Apia", "2011-12-29T12:00:00Z", "2011-12-31T12:00:00Z");
    assert_eq!(apia("0 12 * * *"), ["29 12:00 -10:00", "31 00:00 +14:00", "31 12:00 +14:00", "01 12:00 +14:00"][..3]);
    assert_eq!(apia("0 12 30 12 *"), ["31 00:00 +14:00"], "a day that does not exist fires when it would have begun");
    assert_eq!(apia("0 * * * *").len(), 48, "evenly");
}

/// The local minutes from one to the other.
fn minutes(from: DateTime, to: DateTime) -> impl Iterator<Item = i64> {
    (local_seconds(from)..local_seconds(to)).step_by(60)
}

/// Every fire in a span of local time, by asking of each minute whether it exists: another way than the product's.
fn reckoned(cron: &Cron, zone: &TimeZone, from: DateTime, to: DateTime) -> BTreeSet<i64> {
    let mut fires = BTreeSet::new();
    for local in minutes(from, to).filter(|local| cron.is_meant(*local)) {
        let ambiguous = zone.to_ambiguous_timestamp(local_time(local).expect("in range"));
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                fires.insert(local - i64::from(offset.seconds()));
            }
            AmbiguousOffset::Gap { before, after } => {
                let by = i64::from(after.seconds() - before.seconds());
                // The last moment before which the old offset counts is the jump.
                let inside = Timestamp::from_second(local - i64::from(after.seconds())).expect("in range");
                let jump = zone.following(inside).next().expect("there is a jump").timestamp().as_second();
                if !(cron.is_even() && cron.is_meant(local + by)) {
                    fires.insert(jump);
                }
            }
            AmbiguousOffset::Fold { before, after } => {
                fires.insert(local - i64::from(before.seconds()));
                let by = i64::from(before.seconds() - after.seconds());
                if cron.is_even() && cron.is_meant(local + by) {
                    fires.insert(local - i64::from(after.seconds()));
                }
            }
        }
    }
    fires
}

/// Zones, and for each a day around which its clocks change.
const CHANGES: &[(&str, [i16; 3])] = &[
    ("Europe/Berlin", [2026, 3, 29]),
    ("Europe/Berlin", [2026, 10, 25]),
    ("America/New_York", [2026, 3, 8]),
    ("America/New_York", [2026, 11, 1]),
    ("Australia/Lord_Howe", [2026, 4, 5]),
    ("Australia/Lord_Howe", [2026, 10, 4]),
    ("Pacific/Apia", [2011, 12, 30]),
    ("Pacific/Kwajalein", [1993, 8, 21]),
    ("America/Sao_Paulo", [2018, 11, 4]),
    ("Africa/Cairo", [2026, 4, 24]),
    ("Asia/Pyongyang", [2018, 5, 5]),
    ("UTC", [2026, 6, 1]),
];

#[test]
fn asked_at_any_second_around_a_change_nothing_is_lost() {
    let berlin = (cron("30 2 * * *"), zone("Europe/Berlin"));
    let jump = at("2026-03-29T01:00:00Z");
    assert_eq!(berlin.0.next_after(jump - 1, &berlin.1), Some(jump));
    for (name, [year, month, day]) in CHANGES {
        let zone = zone(name);
        let noon = jiff::civil::date(*year, *month as i8, *day as i8).at(12, 0, 0, 0);
        let (from, to) = (noon - 2.days(), noon + 2.days());
        let (begin, end) = (local_seconds(from) + 86_400, local_seconds(to) - 86_400);
        let change = zone.following(Timestamp::from_second(begin).expect("in range")).next();
        let change = change.map_or(local_seconds(noon), |change| change.timestamp().as_second());
        for text in
            ["30 2 * * *", "15 1,2 * * *", "30 0,23 * * *", "0 12 * * *", "10 * * * *", "*/30 * * * *", "0 3 * * *"]
        {
            let cron = cron(text);
            let expected = reckoned(&cron, &zone, from, to);
            for after in change - 2..=change + 1 {
                let next = cron.next_after(after, &zone).filter(|next| *next < end);
                let wanted = expected.range(after + 1..).next().copied().filter(|next| *next < end);
                assert_eq!(next, wanted, "{text} in {name}, asked {} s after the change", after - change);
            }
        }
    }
}

fn field(low: u32, high: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("*".to_owned()),
        2 => (1..=high / 2).prop_map(|step| format!("*/{step}")),
        3 => (low..=high).prop_map(|value| value.to_string()),
        2 => (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (low..=high, low..=high).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn never_twice_and_never_never(
        fields in (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7)),
        change in 0..CHANGES.len(),
        offset_minutes in 0..2_880_i64,
        second in prop_oneof![Just(0_i64), Just(7), Just(59)],
    ) {
        let text = format!("{} {} {} {} {}", fields.0, fields.1, fields.2, fields.3, fields.4);
        let Ok(cron) = text.parse::<Cron>() else { return Ok(()) };
        let (name, [year, month, day]) = CHANGES[change];
        let zone = zone(name);
        let noon = jiff::civil::date(year, month as i8, day as i8).at(12, 0, 0, 0);
        let (from, to) = (noon - 4.days(), noon + 4.days());
        let expected = reckoned(&cron, &zone, from, to);
        // From any second on, in the span that both have looked at whole.
        let start = local_seconds(noon) - 2 * 86_400 + offset_minutes * 60 + second;
        let end = local_seconds(noon) + 2 * 86_400;
        let mut now = start;
        let mut fires = BTreeSet::new();
        while let Some(next) = cron.next_after(now, &zone).filter(|next| *next < end) {
            prop_assert!(next > now, "strictly later");
            prop_assert!(fires.insert(next), "never twice");
            now = next;
        }
        let expected: BTreeSet<i64> = expected.into_iter().filter(|fire| *fire > start && *fire < end).collect();
        prop_assert_eq!(fires, expected, "{} in {}", text, name);
    }

    #[test]
    fn no_text_panics(text in "[0-9*/,a-z@ -]{0,40}", after in -40_000_000_000_i64..40_000_000_000) {
        if let Ok(cron) = text.parse::<Cron>() {
            let _ = cron.next_after(after, &zone("Europe/Berlin"));
        }
    }
}
