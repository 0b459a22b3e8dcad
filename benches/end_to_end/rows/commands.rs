//! Tasks that run `/bin/echo`, whose output becomes a content record: as a plain child of the daemon, and detached, where a runner of
//! its own stands between.
//!
//! The tasks wait in line when the clock starts, and it stops when the last one is completed. Floor: as many processes, or twice as
//! many, started by as many threads as there are workers.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;

use crate::Bench;
use crate::client::{Client, by_state, fill};
use crate::daemon::Daemon;
use crate::floors::spawn;
use crate::outcome::{Bound, Outcome, Unit};

/// How many run at once.
pub const WORKERS: usize = 8;
/// A run that is a plain child of the daemon.
pub const PLAIN: &str = "detached = false\nfree_to_repeat = true";
/// How often it is looked whether all is done.
const LOOK: Duration = Duration::from_millis(20);

/// As plain children.
pub fn plain(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    measure(bench, "/bin/echo, plain child", PLAIN, 1)
}

/// With a runner between.
pub fn detached(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    measure(bench, "/bin/echo, detached", "detached = true", 2)
}

fn measure(bench: &Bench, row: &str, kind: &str, processes: usize) -> anyhow::Result<Vec<Outcome>> {
    let mut ours = Ours::start(&bench.work.join("echo"), kind)?;
    let mut outcome = Outcome::of(row, Unit::PerSecond, Bound::AtLeast(0.8));
    let tasks = bench.count(1_000);
    for _ in 0..bench.options.runs {
        let ours = ours.run(tasks)?;
        let floor = spawn::many(tasks, processes, WORKERS, crate::client::TOPIC)?;
        outcome.push(tasks as f64 / ours.as_secs_f64(), tasks as f64 / floor.as_secs_f64());
    }
    Ok(vec![outcome])
}

/// A daemon whose tasks run `/bin/echo`.
pub struct Ours {
    daemon: Daemon,
    client: Client,
    done: u64,
}

impl Ours {
    /// Starts it; `kind` says how a run is started, in lines of the generator's section.
    pub fn start(dir: &Path, kind: &str) -> anyhow::Result<Self> {
        let generator = format!(
            "[generators.echo]\n{kind}\nmax_in_flight = {WORKERS}\n[generators.echo.submit]\n\
             run = [{:?}, \"{{topic}}\"]\ncontent = \"text\"\n",
            spawn::ECHO
        );
        let daemon = Daemon::start(dir, WORKERS, &generator)?;
        let client = daemon.client()?;
        Ok(Self { daemon, client, done: 0 })
    }

    /// How long so many tasks take that wait in line, from the first claim to the last piece.
    pub fn run(&mut self, tasks: usize) -> anyhow::Result<Duration> {
        self.daemon.pause()?;
        fill(&mut self.client, "echo", tasks)?;
        self.done += tasks as u64;
        let began = Instant::now();
        self.daemon.resume()?;
        while by_state(&mut self.client, "completed")? < self.done {
            ensure!(
                began.elapsed() < Duration::from_secs(300),
                "not done: {}",
                self.client.call("io.contentd.Daemon.GetStatus", &json!({}))?
            );
            std::thread::sleep(LOOK);
        }
        Ok(began.elapsed())
    }
}
