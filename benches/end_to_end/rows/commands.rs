//! Tasks that run `/bin/echo`, whose output becomes a content record: as a plain child of the daemon, and detached, where a runner of
//! its own stands between.
//!
//! The tasks wait in line when the clock starts, and it stops when the last one is completed. Floor: as many processes, or twice as
//! many, started by as many threads as there are workers.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;

use crate::Bench;
use crate::client::{by_state, fill};
use crate::daemon::Daemon;
use crate::floors::spawn;
use crate::outcome::{Bound, Outcome, Unit};

const WORKERS: usize = 8;
/// How often it is looked whether all is done.
const LOOK: Duration = Duration::from_millis(20);

/// As plain children.
pub fn plain(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    measure(bench, "/bin/echo, plain child", "detached = false\nfree_to_repeat = true", 1)
}

/// With a runner between.
pub fn detached(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    measure(bench, "/bin/echo, detached", "detached = true", 2)
}

fn measure(bench: &Bench, row: &str, kind: &str, processes: usize) -> anyhow::Result<Vec<Outcome>> {
    let generator = format!(
        "[generators.echo]\n{kind}\nmax_in_flight = {WORKERS}\n[generators.echo.submit]\n\
         run = [{:?}, \"{{topic}}\"]\ncontent = \"text\"\n",
        spawn::ECHO
    );
    let daemon = Daemon::start(&bench.work.join("echo"), WORKERS, &generator)?;
    let mut client = daemon.client()?;
    let mut outcome = Outcome::of(row, Unit::PerSecond, Bound::AtLeast(0.8));
    let tasks = bench.count(1_000);
    let mut done = 0;
    for _ in 0..bench.options.runs {
        daemon.pause()?;
        fill(&mut client, "echo", tasks)?;
        done += tasks as u64;
        let began = Instant::now();
        daemon.resume()?;
        while by_state(&mut client, "completed")? < done {
            ensure!(
                began.elapsed() < Duration::from_secs(300),
                "not done: {}",
                client.call("io.contentd.Daemon.GetStatus", &json!({}))?
            );
            std::thread::sleep(LOOK);
        }
        let ours = began.elapsed();
        let floor = spawn::many(tasks, processes, WORKERS, crate::client::TOPIC)?;
        outcome.push(tasks as f64 / ours.as_secs_f64(), tasks as f64 / floor.as_secs_f64());
    }
    Ok(vec![outcome])
}
