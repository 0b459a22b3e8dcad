//! What goes on beside the work on a large database: deleting what is old, and copying all of it. The longest submit meanwhile is what
//! somebody waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use serde_json::json;

use super::million;
use super::submits::HELD;
use crate::Bench;
use crate::client::submit;
use crate::daemon::Daemon;
use crate::datasets::Kind;
use crate::floors::tables::GENERATOR;
use crate::outcome::{Bound, Outcome, Unit, extremes, quantile};

/// For how long a cleanup is looked at; a whole one takes minutes.
const LOOK: Duration = Duration::from_secs(10);

/// Backup first: a cleanup leaves less to copy.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let daemon = million::daemon(bench, Kind::History, "upkeep", HELD)?;
    daemon.pause()?;
    let copy = daemon.database().with_file_name("copy.db");
    let began = Instant::now();
    let backup = json!({ "file": copy });
    let (done, waits) = beside(&daemon, || daemon.client()?.call("io.contentd.Daemon.Backup", &backup).map(drop))?;
    done?;
    let mut took = Outcome::of("backup of the live database", Unit::Milliseconds, Bound::None);
    took.ours.push(began.elapsed().as_secs_f64() * 1e3);
    std::fs::remove_file(&copy)?;
    let mut outcomes = vec![took];
    outcomes.extend(of_waits("a backup", &waits, Bound::None));
    let mut client = daemon.client()?;
    let before = json!({ "days": 1 });
    let cleanup = std::thread::spawn(move || client.call("io.contentd.Tasks.Cleanup", &before));
    let ((), waits) = beside(&daemon, || {
        let began = Instant::now();
        while began.elapsed() < LOOK && !cleanup.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
        }
    })?;
    outcomes.extend(of_waits("a cleanup", &waits, Bound::AtMostItself(20.0)));
    drop(daemon);
    // Its daemon may have been killed in the middle of it.
    let _ = cleanup.join();
    Ok(outcomes)
}

fn of_waits(what: &str, waits: &[f64], bound: Bound) -> [Outcome; 2] {
    let mut p99 = Outcome::of(format!("submit during {what}, p99"), Unit::Milliseconds, Bound::None);
    p99.ours.push(quantile(waits, 0.99));
    let mut longest = Outcome::of(format!("submit during {what}, longest"), Unit::Milliseconds, bound);
    longest = longest.noting(format!("of {}", waits.len()));
    longest.ours.push(extremes(waits).1);
    [p99, longest]
}

/// Does something while one client submits; what came of it, and how long each submit took in milliseconds.
fn beside<T>(daemon: &Daemon, deed: impl FnOnce() -> T) -> anyhow::Result<(T, Vec<f64>)> {
    let mut client = daemon.client()?;
    let call = submit(GENERATOR);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let is_over = &is_over;
        let submits = scope.spawn(move || {
            let mut times = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let began = Instant::now();
                client.ask(&call)?;
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok(times)
        });
        let done = deed();
        is_over.store(true, Ordering::Relaxed);
        let times = submits.join().map_err(|_| anyhow!("the client panicked"))??;
        Ok((done, times))
    })
}
