//! contentd's side of the rows of peers. Every run of a peer has one of contentd just before it.

use std::time::Duration;

use crate::Bench;
use crate::client::fill;
use crate::daemon::Daemon;
use crate::floors::tables::GENERATOR;
use crate::outcome::{Bound, Outcome, Unit, median, quantile};
use crate::rows::start::{Mark, Ours as Start, REST};
use crate::rows::submits::{HELD, Ours as Submits, Way};
use crate::rows::{commands, memory, start};

/// How many tasks are queued when memory is looked at a second time.
pub const QUEUED: usize = 100_000;

/// Submits; `theirs` does the same calls and says how long they took.
pub fn submits(
    bench: &Bench,
    peer: &str,
    way: &Way,
    mut theirs: impl FnMut(&Way) -> anyhow::Result<Duration>,
) -> anyhow::Result<Outcome> {
    let contentd = Submits::start(&bench.work.join("submit"), way.in_a_call)?;
    let mut outcome = Outcome::of(way.row, Unit::PerSecond, way.bound).beside(peer);
    for _ in 0..bench.options.runs {
        let tasks = (way.calls * way.in_a_call) as f64;
        let ours = contentd.run(way)?;
        outcome.push(tasks / ours.as_secs_f64(), tasks / theirs(way)?.as_secs_f64());
    }
    Ok(outcome)
}

/// `/bin/echo` as a plain child, 8 at once; `theirs` runs so many that wait in line and says how long that took.
pub fn echo(
    bench: &Bench,
    peer: &str,
    mut theirs: impl FnMut(usize) -> anyhow::Result<Duration>,
) -> anyhow::Result<Outcome> {
    let mut contentd = commands::Ours::start(&bench.work.join("echo"), commands::PLAIN)?;
    let tasks = bench.count(1_000);
    let mut outcome = Outcome::of("/bin/echo, 8 workers", Unit::PerSecond, Bound::None).beside(peer);
    for _ in 0..bench.options.runs {
        let ours = contentd.run(tasks)?;
        outcome.push(tasks as f64 / ours.as_secs_f64(), tasks as f64 / theirs(tasks)?.as_secs_f64());
    }
    Ok(outcome)
}

/// A daemon whose command marks that it runs; others run the same command with the same mark.
pub fn start_of_contentd(bench: &Bench) -> anyhow::Result<Start> {
    Start::start(&bench.work.join("start"), start::blocking_section, "completed")
}

/// From a submit to its command, `samples` a run. `theirs` submits one, waits for the mark, and leaves its program idle.
pub fn starts(
    bench: &Bench,
    peer: &str,
    mut contentd: Start,
    samples: usize,
    mut theirs: impl FnMut(&mut Mark) -> anyhow::Result<Duration>,
) -> anyhow::Result<Vec<Outcome>> {
    let row = |share: &str| {
        Outcome::of(format!("submit → command runs, {share}"), Unit::Milliseconds, Bound::None).beside(peer)
    };
    let (mut middle, mut worst) = (row("p50"), row("p99"));
    for _ in 0..bench.options.runs {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..samples {
            times[0].push(contentd.sample()?.as_secs_f64() * 1e3);
            times[1].push(theirs(&mut contentd.mark)?.as_secs_f64() * 1e3);
            std::thread::sleep(REST);
        }
        middle.push(median(&times[0]), median(&times[1]));
        worst.push(quantile(&times[0], 0.99), quantile(&times[1], 0.99));
    }
    Ok(vec![middle, worst])
}

/// Resident memory: idle, and with tasks in line. `idle` and `queued` are the peer's, in bytes.
pub fn memory(bench: &Bench, peer: &str, idle: u64, queued: u64, note: &str) -> anyhow::Result<Vec<Outcome>> {
    let daemon = Daemon::start(&bench.work.join("memory"), 4, HELD)?;
    daemon.pause()?;
    std::thread::sleep(memory::SETTLED);
    let ours_idle = daemon.memory()?.0;
    fill(&mut daemon.client()?, GENERATOR, bench.count(QUEUED))?;
    memory::ask_around(&daemon)?;
    let ours_queued = daemon.memory()?.0;
    let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let row = |row: String, ours: u64, theirs: u64| {
        let mut outcome = Outcome::of(row, Unit::Megabytes, Bound::None).beside(peer).noting(note);
        outcome.push(megabytes(ours), megabytes(theirs));
        outcome
    };
    Ok(vec![
        row("memory, idle".into(), ours_idle, idle),
        row(format!("memory, {} queued", bench.count(QUEUED)), ours_queued, queued),
    ])
}
