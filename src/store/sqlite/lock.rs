//! One database has one owning daemon: a lock on a file beside it, which the kernel drops with its owner.
//!
//! The file stays when its owner ends, because removing it would let two owners lock two files of one name. What
//! stands in it is for people; only the lock itself decides.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// A child of the last owner holds the lock with it between its fork and its exec, a moment longer than the owner itself
/// where that ended just then.
const FORK_GRACE: Duration = Duration::from_secs(1);
const FORK_LOOK: Duration = Duration::from_millis(5);

/// Why the lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Somebody else holds it: the text of the file, a process id when all is well.
    Held(String),
    /// The file cannot be opened, locked or written.
    Io(std::io::Error),
}

impl From<std::io::Error> for LockError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// Held as long as this lives.
#[derive(Debug)]
pub struct OwnerLock {
    _file: File,
}

/// The lock file of a database.
pub fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

impl OwnerLock {
    /// Takes the lock and writes our process id into the file.
    pub fn take(database: &Path) -> Result<Self, LockError> {
        let path = lock_path(database);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let deadline = Instant::now() + FORK_GRACE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(FORK_LOOK),
                Err(TryLockError::WouldBlock) => return Err(LockError::Held(owner_in(&mut file))),
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}

/// What the owner wrote. A foreign file may hold anything: a short line of it at most is shown.
fn owner_in(file: &mut File) -> String {
    let mut text = Vec::new();
    // Unreadable is as good as empty: the lock has decided already.
    let _ = file.take(32).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let owner = text.lines().next().unwrap_or_default().trim();
    if owner.is_empty() { "unknown".to_owned() } else { owner.to_owned() }
}
