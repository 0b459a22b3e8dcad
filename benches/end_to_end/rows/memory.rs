//! What the daemon has in memory (resident, as the kernel counts it) while it is idle, and with many tasks in line that were
//! submitted to it since its start.

use std::time::Duration;

use serde_json::json;

use super::submits::HELD;
use crate::Bench;
use crate::client::fill;
use crate::daemon::Daemon;
use crate::floors::tables::GENERATOR;
use crate::outcome::{Bound, Outcome, Unit};

/// After its start, a daemon has done by then what it does at a start.
pub const SETTLED: Duration = Duration::from_secs(2);

/// All three, and the last one after a restart.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let mut daemon = Daemon::start(&bench.work.join("memory"), 4, HELD)?;
    daemon.pause()?;
    std::thread::sleep(SETTLED);
    let mut outcomes = vec![look(&daemon, "memory, idle", Bound::AtMostItself(15.0))?];
    let mut queued = 0;
    for (count, bound) in [(100_000, 25.0), (1_000_000, 40.0)] {
        let wanted = bench.count(count);
        fill(&mut daemon.client()?, GENERATOR, wanted - queued)?;
        queued = wanted;
        ask_around(&daemon)?;
        outcomes.push(look(&daemon, &format!("memory, {wanted} queued"), Bound::AtMostItself(bound))?);
    }
    daemon.kill();
    daemon.spawn()?;
    ask_around(&daemon)?;
    std::thread::sleep(SETTLED);
    outcomes.push(look(&daemon, &format!("memory, {queued} queued, after a restart"), Bound::AtMostItself(40.0))?);
    let bytes = std::fs::metadata(daemon.database())?.len();
    let mut disk = Outcome::of("disk, a queued task", Unit::Bytes, Bound::None);
    disk.ours.push(bytes as f64 / queued as f64);
    outcomes.push(disk);
    Ok(outcomes)
}

/// What anybody asks of a daemon, so that nothing is left out because nobody asked.
pub fn ask_around(daemon: &Daemon) -> anyhow::Result<()> {
    let mut client = daemon.client()?;
    client.call("io.contentd.Tasks.List", &json!({}))?;
    client.call("io.contentd.Tasks.Queue", &json!({}))?;
    client.call("io.contentd.Daemon.GetStatus", &json!({}))?;
    Ok(())
}

fn look(daemon: &Daemon, row: &str, bound: Bound) -> anyhow::Result<Outcome> {
    let (resident, own) = daemon.memory()?;
    let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let outcome = Outcome::of(row, Unit::Megabytes, bound);
    let mut outcome = outcome.noting(format!("{:.1} MB of it its own, the rest is the program's file", megabytes(own)));
    outcome.ours.push(megabytes(resident));
    Ok(outcome)
}
