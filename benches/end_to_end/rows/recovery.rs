//! `kill -9` in the middle of work, then from exec until the daemon answers (by then every unfinished task has an owner or a time at
//! which it wakes: it listens only after its recovery) and the first command runs.

use std::time::{Duration, Instant};

use serde_json::json;

use super::million::{self, MILLION};
use super::start::{Mark, blocking_section};
use crate::Bench;
use crate::client::fill;
use crate::daemon::Daemon;
use crate::datasets::Kind;
use crate::outcome::{Bound, Outcome, Unit};

/// How long a daemon works before it is killed, and how long what it leaves behind has to end.
const WORK: Duration = Duration::from_millis(500);

/// Small and large.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let pipes = tempfile::tempdir()?;
    let mut mark = Mark::make(pipes.path().join("mark"))?;
    let section = blocking_section("mark", &mark);
    let mut small = Daemon::start(&bench.work.join("recovery"), 8, &section)?;
    fill(&mut small.client()?, "mark", 5_000)?;
    let row = Outcome::of("kill -9 → ready and the first command runs", Unit::Milliseconds, Bound::AtMostItself(200.0));
    let small_one = killed(bench, &mut small, &mut mark, row)?;
    drop(small);
    let mut large = million::daemon(bench, Kind::History, "recovery", &section)?;
    let row = format!("the same with {} tasks", bench.count(MILLION));
    let row = Outcome::of(row, Unit::Milliseconds, Bound::AtMostItself(1_000.0));
    Ok(vec![small_one, killed(bench, &mut large, &mut mark, row)?])
}

fn killed(bench: &Bench, daemon: &mut Daemon, mark: &mut Mark, mut row: Outcome) -> anyhow::Result<Outcome> {
    let mut ready = Vec::new();
    for _ in 0..bench.options.runs {
        mark.wait()?;
        std::thread::sleep(WORK);
        daemon.kill();
        // Its last commands write into the pipe, too.
        std::thread::sleep(WORK);
        mark.forget()?;
        let began = Instant::now();
        ready.push(daemon.spawn()?.as_secs_f64() * 1e3);
        mark.wait()?;
        row.ours.push(began.elapsed().as_secs_f64() * 1e3);
    }
    daemon.client()?.call("io.contentd.Daemon.Ping", &json!({}))?;
    Ok(row.noting(format!("it answers after {:.0} ms", crate::outcome::median(&ready))))
}
