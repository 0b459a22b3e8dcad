//! Every crash point: submit, die anywhere, recover, run to rest, and check what contentd promises.
//!
//! The real actors on the in-memory store, scripted generators of each kind, virtual time. One run without a crash counts
//! the crash points of a seed; then the same seed is cut at them, restarted from what was committed, and run to rest. Half of
//! the cuts kill the daemon, the others take its machine down or drain it.
//! A seed says how badly the generator behaves, which verbs it has and what people do (`manners`); the promises are checked
//! after each commit (`witness`), at each start and at rest (`checks`). Where the generator is polite, a death must cost
//! nothing: each task ends completed, by one job, but for what nobody can know ([`checks::Excused`]). Together the schedules
//! must drive every line of the table verb × outcome (`rows`).
//!
//! - `EXPLORE=SEED:KIND:CUT` replays exactly one schedule, as a failing one names it, and prints its audit rows.
//! - `EXPLORE_SEEDS=N` runs N seeds a kind, cut at every one of their crash points, where a run without it takes a spread of
//!   them: all of the usual seeds are `EXPLORE_SEEDS=30`, a night's run is `EXPLORE_SEEDS=2000`.
//! - `EXPLORE_AT_MOST=N` runs at most N schedules, drawn from all seeds and kinds, and ends at the first failure: this is how
//!   `scripts/test-mutations` asks whether a mutation is noticed.

#[path = "../support/tally.rs"]
mod tally;

mod checks;
mod crash;
mod life;
mod manners;
mod people;
mod rows;
mod scripted;
mod standing;
mod universe;
mod witness;
mod world;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use life::{Outcome, Schedule, run};
use rows::Seen;
use universe::Kind;

/// How many of all crash points a run tries that asks for nothing else: a spread over every seed and kind.
const CUTS: usize = 5_000;
/// Seeds a kind.
const SEEDS: u64 = 2 * manners::TURNS;
/// So many failures say enough.
const ENOUGH_FAILURES: usize = 10;

/// What all schedules came to.
#[derive(Default)]
struct Total {
    schedules: u64,
    deaths: u64,
    boots: u64,
    drains: u64,
    seen: Seen,
    failures: Vec<String>,
    /// Crash points of the whole life of each seed and kind.
    points: BTreeMap<(u64, Kind), u64>,
}

impl Total {
    fn add(&mut self, schedule: Schedule, outcome: Outcome) {
        self.schedules += 1;
        self.deaths += outcome.deaths;
        self.boots += outcome.boots;
        self.drains += outcome.drains;
        self.seen.extend(outcome.seen);
        self.failures.extend(outcome.failures);
        if schedule.cut == 0 {
            self.points.insert((schedule.seed, schedule.kind), outcome.points);
        }
    }
}

/// Runs schedules on every processor, each in a system of its own, until all have run or enough have failed.
fn run_all(schedules: &[Schedule], enough: usize, total: &Mutex<Total>) {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(schedule) = schedules.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if total.lock().unwrap().failures.len() >= enough {
                        return;
                    }
                    let outcome = run(*schedule);
                    total.lock().unwrap().add(*schedule, outcome);
                }
            });
        }
    });
}

fn number(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

fn whole_lives(seeds: u64) -> Vec<Schedule> {
    let of_seed = |seed| Kind::ALL.into_iter().map(move |kind| Schedule { seed, kind, cut: 0 });
    (1..=seeds).flat_map(of_seed).collect()
}

/// Every cut of every whole life.
fn cuts(points: &BTreeMap<(u64, Kind), u64>) -> Vec<Schedule> {
    let of_life = |(life, points): (&(u64, Kind), &u64)| {
        let (seed, kind) = *life;
        (1..=*points).map(move |cut| Schedule { seed, kind, cut }).collect::<Vec<_>>()
    };
    points.iter().flat_map(of_life).collect()
}

/// Few of many, spread over all of them: every step-th, where the step shares no divisor with their number.
fn spread(schedules: &[Schedule], at_most: usize) -> Vec<Schedule> {
    let count = schedules.len();
    let is_coprime =
        |step: usize| (2..=step).all(|divisor| !step.is_multiple_of(divisor) || !count.is_multiple_of(divisor));
    let step = (count * 3 / 8..count).find(|step| is_coprime(*step)).unwrap_or(1);
    (0..count.min(at_most)).map(|index| schedules[index * step % count]).collect()
}

#[test]
fn every_crash_point_of_every_kind_of_generator() {
    if let Ok(one) = std::env::var("EXPLORE") {
        replay(&one);
        return;
    }
    let (seeds, at_most) = (number("EXPLORE_SEEDS"), number("EXPLORE_AT_MOST"));
    let total = Mutex::new(Total::default());
    let enough = if at_most.is_some() { 1 } else { ENOUGH_FAILURES };
    run_all(&whole_lives(seeds.unwrap_or(SEEDS)), enough, &total);
    let all = cuts(&total.lock().unwrap().points);
    let chosen = match (at_most, seeds) {
        (Some(most), _) => spread(&all, usize::try_from(most).unwrap()),
        (None, Some(_)) => all,
        (None, None) => spread(&all, CUTS),
    };
    if total.lock().unwrap().failures.len() < enough {
        run_all(&chosen, enough, &total);
    }
    let total = total.into_inner().unwrap();
    let (schedules, failures) = (total.schedules, total.failures);
    // Straight to standard error: the count is told whether the test passes or not.
    let _ = writeln!(std::io::stderr(), "exploration: {schedules} schedules ran, {} failures", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    if at_most.is_some() {
        return;
    }
    let missing = rows::missing(&total.seen);
    assert!(missing.is_empty(), "of the table verb × outcome:\n{}", missing.join("\n"));
    if seeds.is_none() {
        assert!(schedules > 5_000, "the exploration has shrunk to {schedules} schedules");
    }
    let rows = contentd::task::outcome::OUTCOMES.len();
    let (deaths, boots, drains) = (total.deaths, total.boots, total.drains);
    assert!(boots > 0 && drains > 0, "{boots} machines went down and {drains} daemons were drained");
    tally::tell(
        "exploration",
        &format!(
            "{schedules} schedules run to rest, {deaths} deaths, {boots} of them of the machine and {drains} by a drain, \
             {rows} lines of the table verb × outcome driven"
        ),
    );
}

/// Schedules that have failed, and what was mended for each.
const ONCE_FAILED: &[(&str, &str)] = &[(
    "1:Idempotent:15",
    "a doubt was given up unasked where the daemon had been away for longer than the time limit",
)];

#[test]
fn schedules_that_once_failed() {
    for (schedule, what) in ONCE_FAILED {
        let failures = run(parse(schedule)).failures;
        assert!(failures.is_empty(), "{what}:\n{}", failures.join("\n"));
    }
}

#[test]
fn a_schedule_replays_exactly() {
    for kind in Kind::ALL {
        for seed in [3, 6, 10] {
            let schedule = Schedule { seed, kind, cut: 17 };
            assert_eq!(run(schedule).story, run(schedule).story, "{schedule:?}");
        }
    }
}

/// SEED:KIND:CUT
fn parse(one: &str) -> Schedule {
    let parts: Vec<&str> = one.split(':').collect();
    let kind = Kind::ALL.into_iter().find(|kind| format!("{kind:?}") == parts[1]).expect("EXPLORE=SEED:KIND:CUT");
    Schedule { seed: parts[0].parse().unwrap(), kind, cut: parts[2].parse().unwrap() }
}

fn replay(one: &str) {
    let outcome = run(parse(one));
    println!("{}", outcome.story.join("\n"));
    assert!(outcome.failures.is_empty(), "{}", outcome.failures.join("\n"));
}
