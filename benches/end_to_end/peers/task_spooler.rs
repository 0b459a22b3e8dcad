//! task-spooler (`tsp`): a queue in the memory of a server, without anything on disk but the output of its commands. Every submit is a
//! process, and that process stays as long as its command waits: so it is given fewer tasks.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::process::{find, fresh, version};
use super::{Peer, beside};
use crate::Bench;
use crate::client::TOPIC;
use crate::floors::spawn::ECHO;
use crate::outcome::{Bound, Outcome};
use crate::rows::commands::WORKERS;
use crate::rows::start::{KEY, Mark};
use crate::rows::submits::Way;

/// As one of the peers.
pub const PEER: Peer = Peer { name: "peers-task-spooler", what: "task-spooler, which keeps nothing", look, measure };

const NAME: &str = "task-spooler";

fn look() -> anyhow::Result<String> {
    let version = version(&find("tsp")?, "-V")?;
    let version = version.split(" - ").next().unwrap_or_default();
    Ok(format!("{version}: not durable, every submit is a process"))
}

fn measure(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let spooler = Spooler::prepare(bench)?;
    let way = Way { row: "submit, 1 client", clients: 1, in_a_call: 1, calls: bench.count(500), bound: Bound::None };
    let mut outcomes = vec![beside::submits(bench, NAME, &way, |way| Ok(spooler.run(way.calls)?.0))?];
    outcomes.push(beside::echo(bench, NAME, |tasks| {
        // Each task that waits is a process: half of them, told as if it were all.
        let some = (tasks / 2).max(1);
        Ok(spooler.run(some)?.1.mul_f64(tasks as f64 / some as f64))
    })?);
    let contentd = beside::start_of_contentd(bench)?;
    let command = contentd.mark.arguments(KEY);
    spooler.tell(&["-S", &WORKERS.to_string()])?;
    outcomes.extend(beside::starts(bench, NAME, contentd, bench.count(300), |mark: &mut Mark| {
        let began = Instant::now();
        let job = spooler.tell(&command.iter().map(String::as_str).collect::<Vec<_>>())?;
        mark.wait()?;
        let took = began.elapsed();
        spooler.tell(&["-w", &job])?;
        Ok(took)
    })?);
    Ok(outcomes)
}

/// A server with a socket of its own, which its first client starts.
struct Spooler {
    program: PathBuf,
    dir: PathBuf,
    sockets: tempfile::TempDir,
}

impl Spooler {
    fn prepare(bench: &Bench) -> anyhow::Result<Self> {
        let dir = bench.work.join("task-spooler");
        fresh(&dir)?;
        Ok(Self { program: find("tsp")?, dir, sockets: tempfile::tempdir()? })
    }

    /// What a client says, without the end of the line.
    fn tell(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command.env("TS_SOCKET", self.sockets.path().join("s")).env("TMPDIR", &self.dir).env("TS_MAXFINISHED", "2000");
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        let output = command.output()?;
        ensure!(output.status.success(), "tsp {arguments:?} failed");
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Submits so many tasks behind one that blocks, and lets them run: how long the submits took, and how long the tasks.
    fn run(&self, tasks: usize) -> anyhow::Result<(Duration, Duration)> {
        self.tell(&["-S", "1"])?;
        let gate = Mark::make(self.sockets.path().join("gate"))?;
        self.tell(&["/bin/sh", "-c", "read line <\"$0\"", &gate.path().display().to_string()])?;
        let began = Instant::now();
        let mut last = String::new();
        for _ in 0..tasks {
            last = self.tell(&[ECHO, TOPIC])?;
        }
        let submits = began.elapsed();
        let last: usize = last.parse().context("tsp names no job")?;
        let began = Instant::now();
        self.tell(&["-S", &WORKERS.to_string()])?;
        gate.pipe().write_all(b"\n")?;
        // Any of these may be the last to end.
        for job in (last + 1).saturating_sub(WORKERS.min(tasks))..=last {
            self.tell(&["-w", &job.to_string()])?;
        }
        let runs = began.elapsed();
        self.tell(&["-C"])?;
        std::fs::remove_file(gate.path())?;
        Ok((submits, runs))
    }
}

impl Drop for Spooler {
    fn drop(&mut self) {
        // It may never have been started.
        let _ = self.tell(&["-K"]);
    }
}
