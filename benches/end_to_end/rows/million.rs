//! The same calls on a database of a million tasks with history: a submit beside one to an empty database, and what people ask.

use std::time::Instant;

use serde_json::{Value, json};

use super::submits::HELD;
use crate::Bench;
use crate::client::{Client, message, submit};
use crate::daemon::Daemon;
use crate::datasets::{self, Kind};
use crate::floors::tables::GENERATOR;
use crate::outcome::{Bound, Outcome, Unit, median, quantile};

/// How many tasks a large database has.
pub const MILLION: usize = 1_000_000;

/// A daemon on a copy of a large database.
pub fn daemon(bench: &Bench, kind: Kind, name: &str, generators: &str) -> anyhow::Result<Daemon> {
    let made = datasets::made(bench, kind, bench.count(MILLION))?;
    let mut daemon = Daemon::prepare(&bench.work.join(name), 8, generators)?;
    std::fs::copy(made, daemon.database())?;
    std::fs::File::open(daemon.database())?.sync_all()?;
    daemon.spawn()?;
    Ok(daemon)
}

/// The times of `count` calls, in milliseconds.
fn times(client: &mut Client, call: &[u8], count: usize) -> anyhow::Result<Vec<f64>> {
    let one = |_| {
        let began = Instant::now();
        client.ask(call)?;
        anyhow::Ok(began.elapsed().as_secs_f64() * 1e3)
    };
    (0..count).map(one).collect()
}

/// All rows on one daemon.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    // The tasks in line are of a generator that is not there, so that nothing runs.
    let large = daemon(bench, Kind::History, "million", HELD)?;
    large.pause()?;
    let mut outcomes = vec![submits(bench, &large)?];
    outcomes.extend(questions(bench, &large)?);
    let mut disk = Outcome::of("disk, a task with history and a piece of 350 bytes", Unit::Bytes, Bound::None);
    disk.ours.push(std::fs::metadata(large.database())?.len() as f64 / bench.count(MILLION) as f64);
    outcomes.push(disk);
    Ok(outcomes)
}

/// In turns with a daemon whose database began empty.
fn submits(bench: &Bench, large: &Daemon) -> anyhow::Result<Outcome> {
    let small = Daemon::start(&bench.work.join("first"), 8, HELD)?;
    small.pause()?;
    let call = submit(GENERATOR);
    let row = format!("submit number {} beside number 1", bench.count(MILLION) + 1);
    let mut outcome = Outcome::of(row, Unit::Milliseconds, Bound::AtMost(1.1));
    for _ in 0..bench.options.runs {
        let (mut ours, mut first) = (large.client()?, small.client()?);
        let count = bench.count(1_000);
        let (ours, first) = (times(&mut ours, &call, count)?, times(&mut first, &call, count)?);
        outcome.push(median(&ours), median(&first));
    }
    Ok(outcome)
}

fn questions(bench: &Bench, large: &Daemon) -> anyhow::Result<Vec<Outcome>> {
    let mut client = large.client()?;
    let page = client.call("io.contentd.Tasks.List", &json!({ "limit": 50 }))?;
    let last = page["tasks"].as_array().and_then(|tasks| tasks.last()?["task_id"].as_str().map(str::to_owned));
    let before = json!({ "limit": 50, "before": last });
    let asked: [(&str, &str, Value); 4] = [
        ("list, 50 newest", "io.contentd.Tasks.List", json!({ "limit": 50 })),
        ("list, next page", "io.contentd.Tasks.List", before),
        ("list, 50 failed", "io.contentd.Tasks.List", json!({ "limit": 50, "filter": { "states": ["failed"] } })),
        ("statistics", "io.contentd.Tasks.Statistics", json!({})),
    ];
    let mut outcomes = Vec::new();
    for (row, method, parameters) in asked {
        let call = message(method, &parameters);
        let mut middle = Outcome::of(format!("{row}, p50"), Unit::Milliseconds, Bound::AtMostItself(3.0));
        let mut worst = Outcome::of(format!("{row}, p99"), Unit::Milliseconds, Bound::AtMostItself(10.0));
        let slow = times(&mut client, &call, 1)?[0] > 100.0;
        let count = if slow { 3 } else { bench.count(500) };
        for _ in 0..bench.options.runs {
            let times = times(&mut client, &call, count)?;
            middle.ours.push(median(&times));
            worst.ours.push(quantile(&times, 0.99));
        }
        outcomes.extend([middle, worst]);
    }
    Ok(outcomes)
}
