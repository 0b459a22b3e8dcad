//! A peer that is called from a program of its own in `benches/peers`, because it is a library of another language. The program takes
//! orders over its standard input, carries each out with its own clock running, and answers with what it measured.
//!
//! What such a peer's number holds is therefore also its library's work, as it is for everybody who uses it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::beside;
use super::process::{ended, find, version};
use crate::Bench;
use crate::client::{PIECE, submission};
use crate::daemon::memory_of;
use crate::floors::spawn::ECHO;
use crate::floors::tables::GENERATOR;
use crate::outcome::{Bound, Outcome};
use crate::rows::commands::WORKERS;
use crate::rows::start::{KEY, Mark};
use crate::rows::submits::Way;

/// Where `scripts/install-peers` puts what comes from other registries than Debian's.
pub fn installed() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers")
}

/// A program of `benches/peers`.
fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(name)
}

/// The node that came with the peers, or the machine's.
fn node() -> anyhow::Result<PathBuf> {
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let ours = installed().join(format!("node_modules/node-linux-{machine}/bin/node"));
    if ours.is_file() { Ok(ours) } else { find("node") }
}

/// What runs a program of `benches/peers` in node.
pub fn in_node(name: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(node()?);
    command.env("NODE_PATH", installed().join("node_modules")).env("NODE_ENV", "production").arg(program(name));
    Ok(command)
}

/// Name and version of an npm package that is installed, and of node.
pub fn look_in_node(package: &str) -> anyhow::Result<String> {
    let file = installed().join("node_modules").join(package).join("package.json");
    let text = std::fs::read(&file)
        .with_context(|| format!("{package} (npm) is not installed here; scripts/install-peers (as root) brings it"))?;
    let known: Value = serde_json::from_slice(&text)?;
    let node = version(&node()?, "--version")?;
    Ok(format!(
        "{} on node {}",
        known["version"].as_str().unwrap_or("of unknown version"),
        node.trim_start_matches('v')
    ))
}

/// What runs a program of `benches/peers` in Python, with the packages that came with the peers.
pub fn in_python(name: &str) -> Command {
    let mut command = Command::new(installed().join("venv/bin/python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(program(name));
    command
}

/// Version of a package from PyPI that is installed, and of Python.
pub fn look_in_python(package: &str) -> anyhow::Result<String> {
    let ask = format!(
        "import importlib.metadata as m, platform as p; print(m.version({package:?}), 'on Python', p.python_version())"
    );
    let output = Command::new(installed().join("venv/bin/python")).args(["-c", &ask]).output();
    let said = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let said = said.with_context(|| {
        format!("{package} (PyPI) is not installed here; scripts/install-peers (as root) brings it")
    })?;
    Ok(String::from_utf8_lossy(&said).trim().to_owned())
}

/// The program while it runs. It ends when this is dropped.
pub struct Script {
    child: Child,
    // None once it was told to end.
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    log: PathBuf,
    name: &'static str,
}

impl Script {
    /// Starts it with its complaints in `log`. `settings` say where its server is; it is told the task, too.
    pub fn start(mut command: Command, name: &'static str, log: PathBuf, mut settings: Value) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut child = command.spawn().with_context(|| format!("the driver of {name} cannot be started"))?;
        let (to, from) = child.stdin.take().zip(child.stdout.take()).context("no pipes to the driver")?;
        let mut script = Self { child, to: Some(to), from: BufReader::new(from), log, name };
        settings["do"] = "open".into();
        settings["task"] = submission(GENERATOR);
        script.order(&settings)?;
        Ok(script)
    }

    fn tell(&mut self, order: &Value) -> anyhow::Result<()> {
        let to = self.to.as_mut().context("the driver was told to end")?;
        Ok(to.write_all(format!("{order}\n").as_bytes())?)
    }

    fn answer(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            bail!("{}: the driver has ended: {}", self.name, std::fs::read_to_string(&self.log).unwrap_or_default());
        }
        let mut answer: Value = serde_json::from_str(&line)?;
        match answer["error"].as_str() {
            Some(error) => bail!("{}: {error}", self.name),
            None => Ok(answer["ok"].take()),
        }
    }

    fn order(&mut self, order: &Value) -> anyhow::Result<Value> {
        self.tell(order)?;
        self.answer()
    }

    /// How long an order took by the driver's own clock.
    fn timed(&mut self, order: &Value) -> anyhow::Result<Duration> {
        let answer = self.order(order)?;
        let seconds = answer["seconds"].as_f64().with_context(|| format!("{order}: no time in {answer}"))?;
        Ok(Duration::from_secs_f64(seconds))
    }

    /// A row of submits.
    pub fn submits(&mut self, bench: &Bench, way: &Way) -> anyhow::Result<Outcome> {
        beside::submits(bench, self.name, way, |way| {
            let (clients, calls, count) = (way.clients, way.calls, way.in_a_call);
            self.timed(&json!({ "do": "submit", "clients": clients, "calls": calls, "in_a_call": count }))
        })
    }

    /// The rows of a library that takes one job or many: three ways to submit, `/bin/echo`, and the start of a command.
    pub fn usual(&mut self, bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
        let ways = [
            ("submit, 1 client", 1, 1, bench.count(3_000)),
            ("submit, 8 clients", 8, 1, bench.count(8_000)),
            ("submit, 100 in a call", 1, 100, bench.count(200)),
        ];
        let mut outcomes = Vec::new();
        for (row, clients, in_a_call, calls) in ways {
            outcomes.push(self.submits(bench, &Way { row, clients, in_a_call, calls, bound: Bound::None })?);
        }
        outcomes.push(self.echo(bench)?);
        outcomes.extend(self.starts(bench, bench.count(300))?);
        Ok(outcomes)
    }

    /// The rows of a library that takes one job at a time and starts it later than others: fewer of them.
    pub fn few(&mut self, bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
        let calls = bench.count(2_000);
        let way = Way { row: "submit, 1 client", clients: 1, in_a_call: 1, calls, bound: Bound::None };
        let mut outcomes = vec![self.submits(bench, &way)?, self.echo(bench)?];
        outcomes.extend(self.starts(bench, bench.count(100))?);
        Ok(outcomes)
    }

    /// The row of `/bin/echo`.
    pub fn echo(&mut self, bench: &Bench) -> anyhow::Result<Outcome> {
        beside::echo(bench, self.name, |tasks| {
            self.timed(&json!({ "do": "echo", "tasks": tasks, "workers": WORKERS, "program": ECHO }))
        })
    }

    /// How long so many jobs take that do nothing but to give a piece, with so many at once.
    pub fn nothing(&mut self, tasks: usize, workers: usize) -> anyhow::Result<Duration> {
        self.timed(&json!({ "do": "noop", "tasks": tasks, "workers": workers, "piece": PIECE }))
    }

    /// The rows from a submit to its command. The driver keeps its worker.
    pub fn starts(&mut self, bench: &Bench, samples: usize) -> anyhow::Result<Vec<Outcome>> {
        let contentd = beside::start_of_contentd(bench)?;
        let command = contentd.mark.arguments(KEY);
        self.order(&json!({ "do": "serve", "workers": WORKERS, "command": command }))?;
        beside::starts(bench, self.name, contentd, samples, |mark: &mut Mark| {
            self.tell(&json!({ "do": "one" }))?;
            mark.wait()?;
            let now = clock_gettime(ClockId::Monotonic);
            let now = Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec)?);
            let answer = self.answer()?;
            let began = answer["began"].as_u64().with_context(|| format!("no beginning in {answer}"))?;
            Ok(now.saturating_sub(Duration::from_nanos(began)))
        })
    }

    /// Leaves so many jobs in line.
    pub fn fill(&mut self, count: usize) -> anyhow::Result<()> {
        self.order(&json!({ "do": "fill", "count": count })).map(drop)
    }

    /// What the driver itself has in memory, in bytes.
    pub fn memory(&self) -> anyhow::Result<u64> {
        Ok(memory_of(self.child.id())?.0)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It ends with its input, and takes with it what it has started.
        drop(self.to.take());
        ended(&mut self.child);
    }
}
