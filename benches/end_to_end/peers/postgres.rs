//! A PostgreSQL cluster of one's own with its settings as they come: every commit is synced.

use std::ffi::OsStr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::process::{Server, fresh, version};

/// How its settings are told.
pub const SETTINGS: &str = "fsync and synchronous_commit on, unix socket";
/// Who its clients are, without a password.
pub const USER: &str = "bench";
/// PostgreSQL does not run as root. Debian's package brings this user.
const UNPRIVILEGED: &str = "postgres";

/// A server on a directory of its own.
pub struct Postgres {
    _server: Server,
    sockets: tempfile::TempDir,
}

impl Postgres {
    /// Makes a cluster and starts it.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        fresh(dir)?;
        let sockets = tempfile::tempdir()?;
        if rustix::process::geteuid().is_root() {
            let (user, group) = unprivileged()?;
            for dir in [dir, sockets.path()] {
                chown(dir, Some(user), Some(group))?;
            }
        }
        let data = dir.join("data");
        let mut made = command("initdb")?;
        made.arg("-D").arg(&data).args(["-A", "trust", "-U", USER, "-E", "UTF8", "--no-instructions"]);
        let made = made.current_dir(dir).stdin(Stdio::null()).output()?;
        ensure!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr).trim());
        let mut server = command("postgres")?;
        server.current_dir(dir).arg("-D").arg(&data).args(["-c", "listen_addresses=", "-c"]);
        server.arg(format!("unix_socket_directories={}", sockets.path().display()));
        let ready = bin()?.join("pg_isready");
        let host = sockets.path().to_owned();
        let answers = || {
            let asked = Command::new(&ready).arg("-q").arg("-h").arg(&host).status();
            asked.is_ok_and(|status| status.success())
        };
        let server = Server::start(server, &dir.with_extension("log"), answers)?;
        Ok(Self { _server: server, sockets })
    }

    /// The directory of its socket, which its clients take for a host.
    pub fn host(&self) -> PathBuf {
        self.sockets.path().to_owned()
    }
}

/// Its version.
pub fn look() -> anyhow::Result<String> {
    let said = version(&bin()?.join("postgres"), "--version")?;
    let number = said.split_whitespace().nth(2).unwrap_or("of unknown version");
    Ok(format!("PostgreSQL {number}"))
}

/// Where Debian has its programs: the newest of them.
fn bin() -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = versions.map(|entry| entry.path().join("bin")).filter(|bin| bin.join("initdb").is_file());
    let number = |bin: &PathBuf| bin.parent().and_then(Path::file_name).and_then(OsStr::to_str)?.parse::<u32>().ok();
    versions.max_by_key(number).context("postgresql is not installed here; scripts/install-peers (as root) brings it")
}

/// One of its programs, as somebody who is not root.
fn command(program: &str) -> anyhow::Result<Command> {
    let program = bin()?.join(program);
    if !rustix::process::geteuid().is_root() {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", UNPRIVILEGED, "--regid", UNPRIVILEGED, "--init-groups", "--"]).arg(program);
    Ok(command)
}

fn unprivileged() -> anyhow::Result<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find(|line| line.split(':').next() == Some(UNPRIVILEGED));
    let mut fields = line.with_context(|| format!("there is no user {UNPRIVILEGED}"))?.split(':').skip(2);
    let mut number = || fields.next()?.parse().ok();
    number().zip(number()).with_context(|| format!("the user {UNPRIVILEGED} has no number"))
}
