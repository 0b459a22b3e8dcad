//! Every crash point: submit, die anywhere, recover, run to rest, and check what contentd promises.
//!
//! The real actors on the in-memory store, scripted generators of each kind, virtual time. One run without a crash counts
//! the crash points of a seed; then the same seed is cut at each of them, restarted from what was committed, and run to rest.
//! A failing schedule prints its seed, kind and cut, and `EXPLORE=SEED:KIND:CUT` replays exactly that one.

#[path = "../support/tally.rs"]
mod tally;

mod checks;
mod crash;
mod life;
mod universe;
mod world;

use std::io::Write as _;

use universe::Kind;

use life::{Schedule, run};

/// Seeds a kind; `EXPLORE_SEEDS` asks for more.
const SEEDS: u64 = 8;

#[test]
fn every_crash_point_of_every_kind_of_generator() {
    if let Ok(one) = std::env::var("EXPLORE") {
        replay(&one);
        return;
    }
    let seeds = std::env::var("EXPLORE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS);
    let mut schedules = 0_u64;
    let mut failures = Vec::new();
    for kind in Kind::ALL {
        for seed in 1..=seeds {
            let whole = run(Schedule { seed, kind, cut: 0 });
            schedules += 1;
            failures.extend(whole.failures);
            for cut in 1..=whole.points {
                let outcome = run(Schedule { seed, kind, cut });
                schedules += 1;
                failures.extend(outcome.failures);
            }
            assert!(failures.len() < 10, "{}", failures.join("\n"));
        }
    }
    // Straight to standard error: the count is told whether the test passes or not.
    let _ = writeln!(std::io::stderr(), "exploration: {schedules} schedules ran, {} failed", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(schedules > 1_000, "the exploration has shrunk to {schedules} schedules");
    tally::tell("exploration", &format!("{schedules} schedules, each cut at a crash point and run to rest"));
}

#[test]
fn a_schedule_replays_exactly() {
    for kind in Kind::ALL {
        let schedule = Schedule { seed: 3, kind, cut: 17 };
        assert_eq!(run(schedule).story, run(schedule).story, "{kind:?}");
    }
}

fn replay(one: &str) {
    let parts: Vec<&str> = one.split(':').collect();
    let kind = Kind::ALL.into_iter().find(|kind| format!("{kind:?}") == parts[1]).expect("EXPLORE=SEED:KIND:CUT");
    let schedule = Schedule { seed: parts[0].parse().unwrap(), kind, cut: parts[2].parse().unwrap() };
    let outcome = run(schedule);
    println!("{}", outcome.story.join("\n"));
    assert!(outcome.failures.is_empty(), "{}", outcome.failures.join("\n"));
}
