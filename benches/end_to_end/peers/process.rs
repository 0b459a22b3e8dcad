//! Programs of a peer: where they are, and a server of its own that ends with its measurement.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::memory_of;

/// How long a server may take to start before it is called broken.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end before it is killed.
const END: Duration = Duration::from_secs(10);

/// Where a program of the system is.
pub fn find(program: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
        .with_context(|| format!("{program} is not installed here; scripts/install-peers (as root) brings it"))
}

/// The first line that a program says of itself.
pub fn version(program: &Path, argument: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).lines().next().map(|line| line.trim().to_owned());
    said.with_context(|| format!("{} {argument} says nothing", program.display()))
}

/// An empty directory.
pub fn fresh(dir: &Path) -> anyhow::Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    Ok(std::fs::create_dir_all(dir)?)
}

/// Waits for the end of a process that was told to end, and kills it where that takes too long.
pub fn ended(child: &mut Child) {
    let began = Instant::now();
    while child.try_wait().is_ok_and(|status| status.is_none()) {
        if began.elapsed() > END {
            // It may end by itself right now.
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server. It ends when this is dropped.
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts it with its messages in `log`, and waits until it `answers`.
    pub fn start(mut command: Command, log: &Path, answers: impl Fn() -> bool) -> anyhow::Result<Self> {
        let messages = File::create(log)?;
        command.stdin(Stdio::null()).stdout(messages.try_clone()?).stderr(messages);
        let child =
            command.spawn().with_context(|| format!("{} cannot be started", command.get_program().display()))?;
        let mut server = Self { child };
        let began = Instant::now();
        while !answers() {
            if server.child.try_wait()?.is_some() || began.elapsed() > START {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                bail!("{} does not start: {}", command.get_program().display(), said.trim());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// What it has in memory, resident, in bytes.
    pub fn memory(&self) -> anyhow::Result<u64> {
        Ok(memory_of(self.child.id())?.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What a terminal sends: every server ends by it at once, and PostgreSQL with all its processes. It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        ended(&mut self.child);
    }
}
