//! A Redis of one's own that appends every write to its file and syncs it before it answers.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Server, find, fresh, version};

/// How its settings are told.
pub const SETTINGS: &str = "appendonly yes, appendfsync always, unix socket";

/// A server on a directory of its own.
pub struct Redis {
    /// The process.
    pub server: Server,
    sockets: tempfile::TempDir,
}

impl Redis {
    /// Starts it empty.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        fresh(dir)?;
        let sockets = tempfile::tempdir()?;
        let socket = sockets.path().join("s");
        let mut command = Command::new(find("redis-server")?);
        command.args(["--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--unixsocket"]);
        command.arg(&socket).arg("--dir").arg(dir);
        let server = Server::start(command, &dir.join("messages"), || UnixStream::connect(&socket).is_ok())?;
        Ok(Self { server, sockets })
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.sockets.path().join("s")
    }
}

/// Its version.
pub fn look() -> anyhow::Result<String> {
    let said = version(&find("redis-server")?, "--version")?;
    let number = said.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("of unknown version");
    Ok(format!("Redis {number}"))
}
