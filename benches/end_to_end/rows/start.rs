//! From a submit to the moment at which its command runs, in an idle daemon: the whole way in, one commit, and a process.
//!
//! The command's first act is to write into a pipe that this program reads. Floor: a socket's echo, a commit of the same rows on a
//! second thread and the start of the same command, one after the other. Each sample of contentd has one of the floor beside it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::Bench;
use crate::client::{Client, by_state, submit};
use crate::daemon::Daemon;
use crate::floors::committer::{Committer, Rows};
use crate::floors::echo::Echo;
use crate::floors::tables::Fresh;
use crate::outcome::{Bound, Outcome, Unit, median, quantile};

/// How long a command may take to start before it is called lost.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };
/// A key as contentd makes them.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";
/// What a daemon has to be idle again, once its rows say that it is.
pub const REST: Duration = Duration::from_millis(5);

/// A pipe with a name, into which a command writes that it runs.
pub struct Mark {
    path: PathBuf,
    pipe: File,
}

impl Mark {
    /// Makes it.
    pub fn make(path: PathBuf) -> anyhow::Result<Self> {
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        // Open for writing too, so that it is never at its end.
        let pipe = File::options().read(true).write(true).open(&path)?;
        Ok(Self { path, pipe })
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pipe itself, to let go whoever reads it.
    pub fn pipe(&self) -> &File {
        &self.pipe
    }

    /// What the shell is to run: says that it runs, then writes a piece.
    pub fn arguments(&self, key: &str) -> [String; 5] {
        let script = "echo >\"$0\"; echo a piece".to_owned();
        ["/bin/sh".to_owned(), "-c".to_owned(), script, self.path.display().to_string(), key.to_owned()]
    }

    /// Waits for a command.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        let ready = poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&PATIENCE))?;
        ensure!(ready == 1, "no command started within {} s", PATIENCE.tv_sec);
        Ok(self.pipe.read_exact(&mut [0])?)
    }

    /// Forgets what commands have written so far.
    pub fn forget(&mut self) -> anyhow::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        while poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&now))? == 1 {
            ensure!(self.pipe.read(&mut [0; 4096])? > 0, "the pipe has ended");
        }
        Ok(())
    }
}

/// A run of a plain child: the piece is what it writes.
pub fn blocking_section(name: &str, mark: &Mark) -> String {
    format!(
        "[generators.{name}]\ndetached = false\nfree_to_repeat = true\nmax_in_flight = 8\n[generators.{name}.submit]\nrun = {:?}\n\
         content = \"text\"\n",
        mark.arguments("{key}")
    )
}

/// A submit whose job is polled much later.
pub fn polled_section(name: &str, mark: &Mark) -> String {
    format!(
        "[generators.{name}]\nidempotent = true\nmax_in_flight = 1000000\n[generators.{name}.submit]\nrun = {:?}\nref = \"{{key}}\"\n\
         [generators.{name}.poll]\nrun = [\"/bin/echo\", \"{{ref}}\"]\nstate = \"json:/state\"\n\
         [generators.{name}.fetch]\nrun = [\"/bin/echo\", \"{{ref}}\"]\ncontent = \"text\"\n\
         [generators.{name}.states]\ncompleted = \"completed\"\n[polling]\ninterval = \"12h\"\n",
        mark.arguments("{key}")
    )
}

/// Both kinds.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let mut outcomes = one_kind(bench, "submit → command runs", blocking_section, "completed")?;
    outcomes.extend(one_kind(bench, "submit → command runs, job is polled", polled_section, "submitted")?);
    Ok(outcomes)
}

fn one_kind(
    bench: &Bench,
    row: &str,
    section: fn(&str, &Mark) -> String,
    state: &'static str,
) -> anyhow::Result<Vec<Outcome>> {
    let mut contentd = Ours::start(&bench.work.join("start"), section, state)?;
    let mut floor = Floor::start(&bench.work.join("start-floor"), &contentd.call)?;
    let mut middle = Outcome::of(format!("{row}, p50"), Unit::Milliseconds, Bound::AtMost(1.3));
    let mut worst = Outcome::of(format!("{row}, p99"), Unit::Milliseconds, Bound::AtMost(3.0));
    for _ in 0..bench.options.runs {
        let (mut ours, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..bench.count(300) {
            ours.push(contentd.sample()?.as_secs_f64() * 1e3);
            floors.push(floor.sample(&mut contentd.mark)?.as_secs_f64() * 1e3);
            std::thread::sleep(REST);
        }
        middle.push(median(&ours), median(&floors));
        worst.push(quantile(&ours, 0.99), quantile(&floors, 0.99));
    }
    Ok(vec![middle, worst])
}

/// From a submit until its command runs. Returns once so many tasks are in a state, and the daemon had its rest.
pub fn sample(
    client: &mut Client,
    call: &[u8],
    mark: &mut Mark,
    (state, done): (&str, u64),
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    client.ask(call)?;
    mark.wait()?;
    let took = began.elapsed();
    while by_state(client, state)? < done {
        ensure!(began.elapsed() < Duration::from_secs(60), "the task does not become {state}");
        std::thread::sleep(REST / 5);
    }
    std::thread::sleep(REST);
    Ok(took)
}

/// contentd, sample by sample.
pub struct Ours {
    // Runs as long as its client.
    _daemon: Daemon,
    client: Client,
    call: Vec<u8>,
    state: &'static str,
    done: u64,
    /// Where its commands tell that they run, and others may.
    pub mark: Mark,
    _pipes: tempfile::TempDir,
}

impl Ours {
    /// Starts a daemon. `section` makes its generator, whose tasks are over when they are in `state`.
    pub fn start(dir: &Path, section: fn(&str, &Mark) -> String, state: &'static str) -> anyhow::Result<Self> {
        let pipes = tempfile::tempdir()?;
        let mark = Mark::make(pipes.path().join("mark"))?;
        let daemon = Daemon::start(dir, 4, &section("mark", &mark))?;
        let client = daemon.client()?;
        Ok(Self { _daemon: daemon, client, call: submit("mark"), state, done: 0, mark, _pipes: pipes })
    }

    /// From a submit to its command. Afterwards the daemon is idle again.
    pub fn sample(&mut self) -> anyhow::Result<Duration> {
        self.done += 1;
        sample(&mut self.client, &self.call, &mut self.mark, (self.state, self.done))
    }
}

struct Floor {
    committer: Committer,
    client: Client,
    call: Vec<u8>,
    // Ends after its client.
    _echo: Echo,
}

impl Floor {
    fn start(dir: &Path, call: &[u8]) -> anyhow::Result<Self> {
        let echo = Echo::start(
            1,
            b"{\"parameters\":{\"task_id\":\"task-0123456789ab\",\"state\":\"submitting\"}}\0".to_vec(),
        )?;
        let client = Client::connect(&echo.socket())?;
        Ok(Self { committer: Committer::start(dir)?, client, call: call.to_vec(), _echo: echo })
    }

    fn sample(&mut self, mark: &mut Mark) -> anyhow::Result<Duration> {
        let fresh = Fresh::some(1);
        let [program, arguments @ ..] = mark.arguments(KEY);
        let began = Instant::now();
        self.client.ask(&self.call)?;
        self.committer.commit(fresh, Rows::Claimed)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().context("the command of the floor cannot be started")?;
        mark.wait()?;
        let took = began.elapsed();
        child.wait()?;
        Ok(took)
    }
}
