//! The release daemon on a directory of its own.
//!
//! Its settings are the defaults, but for the generators of the rows, a limit of unfinished tasks that no row reaches, and as many
//! workers as a row says. Its log goes to a file beside the database, as much of it as anybody's.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;

use crate::client::Client;

/// How long a start may take before it is called broken.
const START: Duration = Duration::from_secs(120);

/// A daemon and where it lives. It is killed when this is dropped.
pub struct Daemon {
    dir: PathBuf,
    // A socket's name must be short, wherever the work directory is.
    sockets: tempfile::TempDir,
    child: Option<Child>,
}

impl Daemon {
    /// Everything but the process, in a directory that is made anew. `generators` are sections of the configuration.
    pub fn prepare(dir: &Path, workers: usize, generators: &str) -> anyhow::Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        let daemon = Self { dir: dir.to_owned(), sockets: tempfile::tempdir()?, child: None };
        let text = format!(
            "[daemon]\nworkers = {workers}\n[tasks]\nmax_pending = 100000000\nauto_approve = true\n\n{generators}"
        );
        fs::write(daemon.config(), text)?;
        Ok(daemon)
    }

    /// A new one with one account, which runs.
    pub fn start(dir: &Path, workers: usize, generators: &str) -> anyhow::Result<Self> {
        let mut daemon = Self::prepare(dir, workers, generators)?;
        daemon.spawn()?;
        daemon.client()?.call("io.contentd.Accounts.Add", &json!({ "name": "bench" }))?;
        Ok(daemon)
    }

    fn config(&self) -> PathBuf {
        self.dir.join("contentd.toml")
    }

    /// Its database.
    pub fn database(&self) -> PathBuf {
        self.dir.join("contentd.db")
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.sockets.path().join("s")
    }

    /// Starts the process and waits until it answers; how long that took from the exec.
    pub fn spawn(&mut self) -> anyhow::Result<Duration> {
        let log = File::options().create(true).append(true).open(self.dir.join("contentd.log"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_contentd"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("DATABASE_URL", self.database()).env("TMPDIR", std::env::temp_dir());
        command.arg("--config").arg(self.config()).arg("--socket").arg(self.socket());
        command.current_dir(&self.dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let began = Instant::now();
        self.child = Some(command.spawn().context("contentd cannot be started")?);
        while Client::connect(&self.socket()).is_err() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || began.elapsed() > START {
                bail!("contentd does not start: {}", self.log_end());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        self.client()?.call("io.contentd.Daemon.Ping", &json!({}))?;
        Ok(began.elapsed())
    }

    fn log_end(&self) -> String {
        let log = fs::read_to_string(self.dir.join("contentd.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// A connection.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::connect(&self.socket()).context("contentd does not answer")
    }

    /// Its process id; 0 while it does not run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Kills it without a chance to do anything.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// No new call of a generator begins.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.client()?.call("io.contentd.Daemon.Pause", &json!({})).map(drop)
    }

    /// Calls begin again.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.client()?.call("io.contentd.Daemon.Resume", &json!({})).map(drop)
    }

    /// What it has in memory, in bytes: resident, and of that its own (not of files).
    pub fn memory(&self) -> anyhow::Result<(u64, u64)> {
        memory_of(self.pid())
    }
}

/// What a process has in memory, in bytes: resident, and of that its own (not of files).
pub fn memory_of(pid: u32) -> anyhow::Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    };
    field("VmRSS:").zip(field("RssAnon:")).context("no VmRSS in /proc/PID/status")
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        // For whoever looks for a mistake.
        let _ = std::io::stderr().flush();
    }
}
