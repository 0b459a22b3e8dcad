//! Where and when it was measured: absolute numbers mean nothing without.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// The facts that stand above the table.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// When, in UTC.
    date: String,
    /// How it was started.
    command: String,
    /// Model and number of processors.
    processors: String,
    /// Of the kernel.
    kernel: String,
    /// Type of the file system of the work directory, and its device.
    file_system: String,
    /// The compiler.
    compiler: String,
    /// The commit, where that is known.
    commit: String,
    /// Of the last minute, before.
    load_before: String,
    /// Of the last minute, after.
    load_after: String,
    /// Other programs that were measured, with version and settings, one each.
    peers: Vec<String>,
}

impl Machine {
    /// Looks, with databases to be made below `work`.
    pub fn look(work: &Path) -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let count = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let arguments: Vec<String> =
            std::env::args().skip(1).filter(|argument| argument != "--bench" && !argument.contains('/')).collect();
        Self {
            date: jiff::Timestamp::now().strftime("%F %H:%M UTC").to_string(),
            command: format!("cargo bench --bench end_to_end -- {}", arguments.join(" "))
                .trim_end_matches(" -- ")
                .into(),
            processors: format!("{count} × {}", model.map_or("unknown", |(_, model)| model.trim())),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(work),
            compiler: said("rustc", &["--version"]),
            commit: said("git", &["rev-parse", "--short", "HEAD"]),
            load_before: load(),
            load_after: String::new(),
            peers: Vec::new(),
        }
    }

    /// Another program was measured.
    pub fn add_peer(&mut self, version_and_settings: String) {
        self.peers.push(version_and_settings);
    }

    /// The same, once all is measured.
    pub fn after(&self) -> Self {
        Self { load_after: load(), ..self.clone() }
    }

    /// Whether the work directory survives nothing, so that an fsync is free.
    pub fn is_in_memory(&self) -> bool {
        self.file_system.starts_with("tmpfs") || self.file_system.starts_with("ramfs")
    }

    /// What to print, a line each.
    pub fn lines(&self) -> Vec<String> {
        let load = match self.load_after.is_empty() {
            true => self.load_before.clone(),
            false => format!("{} before, {} after", self.load_before, self.load_after),
        };
        let mut lines = vec![
            format!("{}, commit {}, {}", self.date, self.commit, self.compiler),
            format!("{}, Linux {}, {}; load average {load}", self.processors, self.kernel, self.file_system),
            format!("`{}`", self.command),
        ];
        lines.extend(self.peers.iter().cloned());
        lines
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn load() -> String {
    read("/proc/loadavg").split_whitespace().next().unwrap_or("unknown").to_owned()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let said = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    said.map_or_else(|| "unknown".to_owned(), |said| String::from_utf8_lossy(&said).trim().to_owned())
}

/// The mount that holds `path`: the longest mount point that it begins with.
fn file_system(path: &Path) -> String {
    let mounts = read("/proc/self/mounts");
    let holds = |line: &&str| line.split(' ').nth(1).is_some_and(|point| path.starts_with(point));
    let mount = mounts.lines().filter(holds).max_by_key(|line| line.split(' ').nth(1).map_or(0, str::len));
    let mut fields = mount.unwrap_or_default().split(' ');
    let device = fields.next().unwrap_or("unknown").to_owned();
    format!("{} on {device}", fields.nth(1).unwrap_or("unknown"))
}
