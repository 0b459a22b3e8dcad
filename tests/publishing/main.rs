//! Publishing on the virtual clock: the real actors on the in-memory store, a scripted site, consumers and a person.
//!
//! `every_crash_point_of_every_kind_of_publisher` runs a whole life first, which counts its crash points (before and after each
//! commit, before, in and after each call), and then cuts the same seed at them, goes on with what was committed, and lets a
//! person decide what is held. In the end each piece is out once or given up and not out; the site itself notices a second time.
//! A usual run takes a spread of the cuts; `PUBLISH_SEEDS=N` runs N seeds a kind at every one of theirs, and
//! `PUBLISH=SEED:KIND:CUT` replays one and prints its audit rows.

#[path = "../conformance/common.rs"]
#[allow(dead_code)]
mod common;
#[path = "../exploration/crash.rs"]
#[allow(dead_code)]
mod crash;
#[path = "../support/tally.rs"]
mod tally;
#[path = "../exploration/world.rs"]
#[allow(dead_code)]
mod world;

mod life;
mod manners;
mod people;
mod site;

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use life::{Schedule, run};
use site::Kind;

/// Seeds a kind, and how many of all their crash points a usual run tries.
const SEEDS: u64 = 10;
const CUTS: usize = 1_000;
/// So many failures say enough.
const ENOUGH_FAILURES: usize = 5;

#[derive(Default)]
struct Total {
    schedules: u64,
    deaths: u64,
    published: u64,
    held: u64,
    failures: Vec<String>,
    cuts: Vec<Schedule>,
}

fn run_all(schedules: &[Schedule], total: &Mutex<Total>) {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(schedule) = schedules.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if total.lock().unwrap().failures.len() >= ENOUGH_FAILURES {
                        return;
                    }
                    let outcome = run(*schedule);
                    let mut total = total.lock().unwrap();
                    total.schedules += 1;
                    total.deaths += outcome.deaths;
                    total.published += outcome.published;
                    total.held += outcome.held;
                    total.failures.extend(outcome.failures);
                    if schedule.cut == 0 {
                        total.cuts.extend((1..=outcome.points).map(|cut| Schedule { cut, ..*schedule }));
                    }
                }
            });
        }
    });
}

#[test]
fn every_crash_point_of_every_kind_of_publisher() {
    if let Ok(one) = std::env::var("PUBLISH") {
        return replay(&one);
    }
    let asked = std::env::var("PUBLISH_SEEDS").ok().map(|text| text.parse::<u64>().expect("PUBLISH_SEEDS is a number"));
    let total = Mutex::new(Total::default());
    let of_seed = |seed| Kind::ALL.into_iter().map(move |kind| Schedule { seed, kind, cut: 0 });
    let whole: Vec<Schedule> = (1..=asked.unwrap_or(SEEDS)).flat_map(of_seed).collect();
    run_all(&whole, &total);
    let mut cuts = std::mem::take(&mut total.lock().unwrap().cuts);
    let all = cuts.len();
    if asked.is_none() && all > CUTS {
        // Every so-manyth, by a step that shares no divisor with how many there are.
        let step = (all * 3 / 8..all).find(|step| (2..=*step).all(|by| step % by != 0 || all % by != 0)).unwrap_or(1);
        cuts = (0..CUTS).map(|index| cuts[index * step % all]).collect();
    }
    run_all(&cuts, &total);
    let total = total.into_inner().unwrap();
    let Total { schedules, deaths, published, held, failures, .. } = total;
    let _ = writeln!(std::io::stderr(), "publishing: {schedules} schedules ran, of {all} crash points");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(deaths > 1_000 && held > 50, "it has shrunk: {deaths} deaths, {held} held");
    tally::tell(
        "publishing",
        &format!(
            "{schedules} schedules run to rest, {deaths} deaths, {published} pieces each published once, {held} held for a person"
        ),
    );
}

#[test]
fn a_schedule_replays_exactly() {
    for kind in Kind::ALL {
        let schedule = Schedule { seed: 3, kind, cut: 11 };
        assert_eq!(run(schedule).story, run(schedule).story, "{schedule:?}");
    }
}

fn replay(one: &str) {
    let parts: Vec<&str> = one.split(':').collect();
    let kind = Kind::ALL.into_iter().find(|kind| format!("{kind:?}") == parts[1]).expect("PUBLISH=SEED:KIND:CUT");
    let schedule = Schedule { seed: parts[0].parse().unwrap(), kind, cut: parts[2].parse().unwrap() };
    let outcome = run(schedule);
    println!("{}", outcome.story.join("\n"));
    assert!(outcome.failures.is_empty(), "{}", outcome.failures.join("\n"));
}
