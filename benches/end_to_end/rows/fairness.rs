//! Eight clients submit as fast as they can; what do others notice? Who asks for the status or a list, who watches and never reads,
//! and whose task waits behind a million tasks of an account that is at its limit.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use serde_json::json;

use super::submits::HELD;
use crate::Bench;
use crate::client::{Client, message, submit};
use crate::daemon::Daemon;
use crate::floors::tables::GENERATOR;
use crate::outcome::{Bound, Outcome, Unit, quantile};

const FLOODING: usize = 8;
/// A person at a terminal: not faster than this.
const PAUSE: Duration = Duration::from_millis(2);

/// All of them.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let daemon = Daemon::start(&bench.work.join("fairness"), 8, HELD)?;
    daemon.pause()?;
    let mut status = Outcome::of("status while 8 clients flood, p99", Unit::Milliseconds, Bound::AtMostItself(20.0));
    let mut list = Outcome::of("list while 8 clients flood, p99", Unit::Milliseconds, Bound::AtMostItself(20.0));
    let mut watched =
        Outcome::of("submits of 8 clients beside 8 watchers that never read", Unit::PerSecond, Bound::AtLeast(0.9));
    let asks = bench.count(500);
    for _ in 0..bench.options.runs {
        let (times, alone) = under_flood(&daemon.socket(), || ask_around(&daemon, asks))?;
        let times = times?;
        status.ours.push(quantile(&times[0], 0.99));
        list.ours.push(quantile(&times[1], 0.99));
        let watchers = (0..8).map(|_| silent_watcher(&daemon.socket())).collect::<Result<Vec<_>, _>>()?;
        let (times, beside) = under_flood(&daemon.socket(), || ask_around(&daemon, asks))?;
        times?;
        watched.push(beside, alone);
        drop(watchers);
    }
    Ok(vec![status, list, watched])
}

/// The times of status and list, in milliseconds.
fn ask_around(daemon: &Daemon, asks: usize) -> anyhow::Result<[Vec<f64>; 2]> {
    let mut client = daemon.client()?;
    let calls = [message("io.contentd.Daemon.GetStatus", json!({})), message("io.contentd.Tasks.List", json!({}))];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..asks {
        for (call, times) in calls.iter().zip(&mut times) {
            let began = Instant::now();
            client.ask(call)?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
            std::thread::sleep(PAUSE);
        }
    }
    Ok(times)
}

/// Who asks for every change and takes none.
fn silent_watcher(socket: &Path) -> anyhow::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"{\"method\":\"io.contentd.Tasks.Watch\",\"parameters\":{},\"more\":true}\0")?;
    Ok(stream)
}

/// Does something while eight clients submit; what came of it, and how many submits a second there were.
pub fn under_flood<T>(socket: &Path, deed: impl FnOnce() -> T) -> anyhow::Result<(T, f64)> {
    let clients = (0..FLOODING).map(|_| Client::connect(socket)).collect::<Result<Vec<_>, _>>()?;
    let (is_over, submits) = (AtomicBool::new(false), AtomicU64::new(0));
    let call = submit(GENERATOR);
    std::thread::scope(|scope| {
        let (is_over, submits, call) = (&is_over, &submits, &call);
        let flood = |mut client: Client| {
            move || {
                while !is_over.load(Ordering::Relaxed) {
                    client.ask(call)?;
                    submits.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            }
        };
        let flooding: Vec<_> = clients.into_iter().map(|client| scope.spawn(flood(client))).collect();
        let began = Instant::now();
        let done = deed();
        let rate = submits.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
        is_over.store(true, Ordering::Relaxed);
        for thread in flooding {
            thread.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        Ok((done, rate))
    })
}
