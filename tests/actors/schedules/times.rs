//! Due times: a year of them in each zone, an absence, a clock that is set, a zone that cannot be read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use contentd::schedule::{AtEnd, Fire, FireState, Misfire, NewSchedule, Timing};
use contentd::task::{TaskId, Timestamp};
use diesel::connection::SimpleConnection;
use jiff::tz::TimeZone;

use crate::tally;

use super::world::*;

/// Each zone's time is one that its clocks jump over, show twice, or both; Samoa has no 30 December in that year.
///
/// The timers run a hundred times slower than the clock, as on a machine that is late by most of an hour each time: when a
/// time is due must not depend on being there in time.
#[actix::test]
async fn a_year_in_each_zone_fires_each_due_time_once() {
    paused();
    const ZONES: [(&str, i8, i8); 4] = [
        ("Europe/Berlin", 2, 30),
        ("America/New_York", 1, 30),
        ("Australia/Lord_Howe", 2, 15),
        ("Pacific/Apia", 3, 30),
    ];
    let begin = jiff::civil::date(2011, 7, 1).at(12, 0, 0, 0).to_zoned_datetime(TimeZone::UTC).unwrap();
    let begin = begin.timestamp().as_millisecond();
    let end = begin + 366 * 86_400_000;
    let directory = tempfile::tempdir().unwrap();
    let (disk, _) = Disk::sqlite(&directory);
    let clock = clock_at(begin, 100);
    let account = disk.account("blog");
    let mut expected = BTreeMap::new();
    for (name, hour, minute) in ZONES {
        let zone = TimeZone::get(name).unwrap();
        let days = jiff::civil::date(2011, 6, 29).series(jiff::Span::new().days(1)).take(372);
        let mut dues: BTreeSet<i64> = days.map(|day| instant_of(day.at(hour, minute, 0, 0), &zone)).collect();
        dues.retain(|due| *due > begin && *due <= end);
        let timing = Timing::Cron { expression: format!("{minute} {hour} * * *"), zone: name.into() };
        let beat = contentd::schedule::Beat::of(&timing, |zone| TimeZone::get(zone).ok()).unwrap();
        let mut new = minutely(name, vec![account], list(3, AtEnd::Again));
        (new.timing, new.misfire, new.next_due) = (timing, Misfire::Once, beat.next_after(Timestamp(begin)));
        expected.insert(name, (dues, disk.schedule(new)));
    }
    let seams = Script::new(&clock);
    let life = Life::begin(&disk, &seams, &clock);
    pass((end - begin) / 100 + 60_000).await;
    life.end().await;
    let (mut total, mut tasks) = (0, BTreeSet::new());
    for (name, (dues, id)) in expected {
        let fires: Vec<Fire> = disk.fires(id).into_iter().filter(|fire| fire.due.0 <= end).collect();
        let found: BTreeSet<i64> = fires.iter().map(|fire| fire.due.0).collect();
        assert_eq!(found, dues, "{name}");
        assert!(fires.iter().all(|fire| fire.state == FireState::Fired && fire.missed == 0), "{name}");
        let made: Vec<TaskId> = fires.iter().flat_map(|fire| fire.tasks.clone()).collect();
        assert_eq!(made.len(), fires.len(), "{name}: a task each");
        total += fires.len();
        tasks.extend(made);
    }
    assert_eq!(tasks.len(), total, "none is another's");
    tally::tell("schedules", &format!("{total} due times of a year in {} zones, each fired once", ZONES.len()));
}

#[actix::test]
async fn what_passed_while_nobody_was_there_is_made_up_for_as_it_says() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let account = disk.account("blog");
    let policies = [Misfire::Once, Misfire::All { most: 3 }, Misfire::None];
    let add = |misfire| {
        disk.schedule(NewSchedule {
            misfire,
            ..minutely(&format!("{misfire:?}"), vec![account], list(100, AtEnd::Stop))
        })
    };
    let hourly = {
        let mut new = minutely("hourly", vec![account], list(100, AtEnd::Stop));
        new.timing = Timing::Every { seconds: 3_600, anchor: Timestamp(0), zone: "UTC".into() };
        disk.schedule(NewSchedule { misfire: Misfire::None, next_due: Some(Timestamp(60 * MINUTE)), ..new })
    };
    let ids = policies.map(add);
    let seams = Script::new(&clock);
    let life = Life::begin(&disk, &seams, &clock);
    pass(5 * MINUTE + 30_000).await;
    life.end().await;
    for id in ids {
        assert_eq!(disk.fires(id).len(), 5, "each minute");
    }
    // Nobody is there for five hours.
    pass(300 * MINUTE).await;
    let life = Life::begin(&disk, &seams, &clock);
    pass(90_000).await;
    let minutes = |id| -> Vec<(i64, u32)> {
        disk.fires(id).iter().skip(5).map(|fire| (fire.due.0 / MINUTE, fire.missed)).collect()
    };
    assert_eq!(minutes(ids[0]), [(305, 299), (306, 0), (307, 0)][..minutes(ids[0]).len()]);
    assert!(minutes(ids[0]).len() >= 2);
    assert_eq!(minutes(ids[1])[..3], [(303, 297), (304, 0), (305, 0)]);
    assert_eq!(minutes(ids[2])[..1], [(305, 299)], "the last was on time");
    let [missed] = disk.fires(hourly).try_into().unwrap();
    assert_eq!((missed.state, missed.missed, missed.due.0 / MINUTE), (FireState::Missed, 5, 300));
    assert!(missed.why.unwrap().contains("misfire none"));
    let topics: Vec<String> = disk.tasks().into_iter().map(|task| task.topic).collect();
    let of_each = topics.iter().filter(|topic| *topic == "l5").count();
    assert_eq!(of_each, 3, "what is passed over takes no topic");
    life.end().await;
}

#[actix::test]
async fn due_times_follow_a_clock_that_is_set() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let mut new = minutely("s", vec![disk.account("a")], list(100, AtEnd::Stop));
    new.timing = Timing::Every { seconds: 3_600, anchor: Timestamp(0), zone: "UTC".into() };
    let hour = 60 * MINUTE;
    let id = disk.schedule(NewSchedule { misfire: Misfire::Once, next_due: Some(Timestamp(hour)), ..new });
    let seams = Script::new(&clock);
    let life = Life::begin(&disk, &seams, &clock);
    let dues = || -> Vec<i64> { disk.fires(id).iter().map(|fire| fire.due.0 / hour).collect() };
    pass(hour + MINUTE).await;
    assert_eq!(dues(), [1]);
    // Forward: from 1:01 to 4:31.
    seams.set_by.store(3 * hour + hour / 2, Ordering::Relaxed);
    pass(MINUTE).await;
    assert_eq!(dues(), [1, 4], "what it jumped over is made up for once");
    assert_eq!(disk.fires(id)[1].missed, 2);
    // Back to 1:02, as if it had been wrong: nothing that has fired fires again, and what has not, does.
    seams.set_by.store(0, Ordering::Relaxed);
    pass(2 * hour).await;
    assert_eq!(dues(), [1, 4, 2, 3]);
    pass(2 * hour).await;
    assert_eq!(dues(), [1, 4, 2, 3, 5]);
    // Years ahead, and back within a minute.
    seams.set_by.store(100_000 * hour, Ordering::Relaxed);
    pass(MINUTE).await;
    seams.set_by.store(0, Ordering::Relaxed);
    pass(hour).await;
    assert_eq!(dues()[5..], [100_005, 6], "a due time in a far future holds nothing up");
    life.end().await;
}

#[actix::test]
async fn a_zone_that_cannot_be_read_for_a_while_costs_no_fire() {
    paused();
    let directory = tempfile::tempdir().unwrap();
    let (disk, backend) = Disk::sqlite(&directory);
    let clock = clock_at(0, 1);
    let account = disk.account("a");
    let mut new = minutely("away", vec![account], list(100, AtEnd::Stop));
    new.timing = Timing::Every { seconds: 60, anchor: Timestamp(0), zone: "Europe/Atlantis".into() };
    let away = disk.schedule(new);
    let other = disk.schedule(minutely("other", vec![account], list(100, AtEnd::Stop)));
    let life = Life::begin(&disk, &Script::new(&clock), &clock);
    pass(5 * MINUTE + 30_000).await;
    let waiting = disk.named(away);
    assert_eq!((waiting.next_due, waiting.paused_why), (Some(Timestamp(MINUTE)), None), "a pause would last");
    assert_eq!((disk.fires(away).len(), disk.fires(other).len()), (0, 5), "it holds up nobody");
    // The files of the zone are there again, as far as the schedule can tell.
    let back = "UPDATE schedules SET timing = replace(timing, 'Europe/Atlantis', 'UTC')";
    backend.lock().unwrap().connection().batch_execute(back).unwrap();
    pass(MINUTE).await;
    let fires = disk.fires(away);
    let dues: Vec<i64> = fires.iter().map(|fire| fire.due.0 / MINUTE).collect();
    assert_eq!(dues, [1, 2, 3, 4, 5, 6], "what passed meanwhile is made up for as it says");
    assert!(fires.iter().all(|fire| fire.state == FireState::Fired), "{fires:#?}");
    life.end().await;
}
