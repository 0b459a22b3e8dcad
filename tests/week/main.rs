//! A week unattended, on the virtual clock: three accounts, a schedule at 08:00 in a zone whose clocks change in that week, one in
//! the very hour that they skip or show twice, and one of every hour; a generator that is away for two hours, rules and a
//! person who review, a site that opens at nine, a hook; and a daemon that is killed every day.
//!
//! The real actors on the in-memory store. When the week is over, the books of generator and site, what was told and the
//! database must agree: each due time fired once, each topic one task, each approved piece out once, no job paid twice.
//!
//! - `WEEK_SEEDS=N` runs N weeks; even seeds are of autumn, odd ones of spring.
//! - `WEEK=SEED` replays one and prints its story.

#[path = "../publishing/people.rs"]
#[allow(dead_code)]
mod consumers;
#[path = "../exploration/crash.rs"]
#[allow(dead_code)]
mod crash;
#[path = "../publishing/site.rs"]
#[allow(dead_code)]
mod site;
#[path = "../exploration/standing.rs"]
mod standing;
#[path = "../support/tally.rs"]
mod tally;
#[path = "../exploration/world.rs"]
#[allow(dead_code)]
mod world;

mod calendar;
mod checks;
mod generator;
mod life;
mod person;
mod site_hours;
mod sources;
mod telling;

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use life::{Outcome, run};

/// Weeks of a usual run: one of spring and one of autumn.
const SEEDS: u64 = 2;

fn run_all(seeds: u64) -> Vec<Outcome> {
    let (next, outcomes) = (AtomicU64::new(1), Mutex::new(Vec::new()));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        return;
                    }
                    let outcome = run(seed);
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

#[test]
fn a_week_unattended_ends_with_every_piece_published_once() {
    if let Ok(one) = std::env::var("WEEK") {
        return replay(one.parse().expect("WEEK=SEED"));
    }
    let asked = std::env::var("WEEK_SEEDS").ok().map(|text| text.parse().expect("WEEK_SEEDS is a number"));
    let weeks = run_all(asked.unwrap_or(SEEDS));
    let failures: Vec<&str> = weeks.iter().flat_map(|week| &week.failures).map(String::as_str).collect();
    let _ = writeln!(std::io::stderr(), "week: {} weeks ran, {} failures", weeks.len(), failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let sum = |of: fn(&Outcome) -> usize| weeks.iter().map(of).sum::<usize>();
    let (fires, published, rejected) = (sum(|week| week.fires), sum(|week| week.published), sum(|week| week.rejected));
    let (deaths, messages) = (sum(|week| week.deaths), sum(|week| week.messages));
    assert!(rejected > 0, "the person rejected nothing");
    assert!(sum(|week| week.probes) > 0, "no outage met a submit");
    tally::tell(
        "week",
        &format!(
            "{} simulated weeks with {deaths} deaths: {fires} fires, {published} pieces each published once, {rejected} \
             rejected, {messages} messages told",
            weeks.len()
        ),
    );
}

fn replay(seed: u64) {
    let outcome = run(seed);
    println!("{}", outcome.story.join("\n"));
    assert!(outcome.failures.is_empty(), "{}", outcome.failures.join("\n"));
}
