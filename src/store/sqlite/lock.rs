//! One database has one owning daemon: locks that the kernel drops with their owner.
//!
//! There are two. One is on a file beside the database, which says who the owner is, and is there before the database is. The other
//! is on the database itself, because a lock file can be removed, and one file can have two names with a lock file
//! each. That one is a `flock`, which the locks of SQLite (`fcntl`) do not see on a local file system; on one of a network
//! they would, so there the lock file alone counts, as it always did.
//!
//! The lock file stays when its owner ends, because removing it would let two owners lock two files of one name. What stands
//! in it is for people, but for one line: that there was a database. The surprise: closing any descriptor of a file drops all
//! locks of SQLite's on it in this process. So the lock is taken before SQLite opens the database, and given back
//! after the writing connection is closed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// A child of the last owner holds the lock with it between its fork and its exec, a moment longer than the owner itself
/// where that ended just then.
const FORK_GRACE: Duration = Duration::from_secs(1);
const FORK_LOOK: Duration = Duration::from_millis(5);

/// The line of the lock file that says that there was a database.
const SEEN: &str = "a database was opened here";
/// How much of a lock file is read: a foreign one may hold anything.
const MOST_READ: u64 = 128;

/// Why the lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Somebody else holds it: a process id when all is well.
    Held(String),
    /// The file cannot be opened, locked or written.
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Held as long as this lives.
#[derive(Debug)]
pub struct OwnerLock {
    file: File,
    has_seen: bool,
    /// The database itself; none where there is none yet, or its file system is no local one.
    database: Option<File>,
}

/// The lock file of a database.
pub fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

impl OwnerLock {
    /// Takes the locks and writes our process id into the lock file.
    pub fn take(database: &Path) -> Result<Self, LockError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(lock_path(database))?;
        hold(&file, || owner_in(&text_of(&file)))?;
        let has_seen = text_of(&file).lines().any(|line| line == SEEN);
        let mut lock = Self { file, has_seen, database: None };
        lock.take_database(database)?;
        let mut text = format!("{}\n", std::process::id());
        if has_seen {
            text.push_str(SEEN);
            text.push('\n');
        }
        // Cut after it is written: whoever dies between leaves what was there before.
        lock.file.rewind()?;
        lock.file.write_all(text.as_bytes())?;
        lock.file.set_len(text.len() as u64)?;
        Ok(lock)
    }

    /// Locks the file that has the database's name now, if there is one. To be called while SQLite does not have it open.
    pub fn take_database(&mut self, database: &Path) -> Result<(), LockError> {
        // Whoever opens it for writing says why it cannot be opened.
        let Ok(found) = File::open(database) else { return Ok(()) };
        if is_on_a_network(&found) {
            return Ok(());
        }
        if let Some(held) = &self.database
            && identity(held)? == identity(&found)?
        {
            return Ok(());
        }
        hold(&found, || holder_of(&found).map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()))?;
        self.database = Some(found);
        Ok(())
    }

    /// Whether an earlier owner had a database here.
    pub fn has_seen_a_database(&self) -> bool {
        self.has_seen
    }

    /// Notes that there is one, for owners to come.
    pub fn note_database(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.has_seen, true) {
            writeln!(self.file, "{SEEN}")?;
        }
        Ok(())
    }
}

/// Locks a file, or says who has it.
fn hold(file: &File, owner: impl Fn() -> String) -> Result<(), LockError> {
    let deadline = Instant::now() + FORK_GRACE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(FORK_LOOK),
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(owner())),
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|meta| (meta.dev(), meta.ino()))
}

/// File systems on which a `flock` is a lock of the same kind as SQLite's: NFS, and both of SMB.
fn is_on_a_network(file: &File) -> bool {
    const NETWORKS: [u32; 3] = [0x6969, 0xff53_4d42, 0xfe53_4d42];
    // The width of the type differs between machines; the numbers have 32 bits.
    let kind = |found: rustix::fs::StatFs| found.f_type as u32;
    rustix::fs::fstatfs(file).is_ok_and(|found| NETWORKS.contains(&kind(found)))
}

/// What stands in the lock file. Unreadable is as good as empty: the lock has decided already.
fn text_of(mut file: &File) -> String {
    let mut text = Vec::new();
    let _ = file.rewind().and_then(|()| file.take(MOST_READ).read_to_end(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}

/// What the owner wrote. A foreign file may hold anything: a short line of it at most is shown.
fn owner_in(text: &str) -> String {
    let owner: String = text.lines().next().unwrap_or_default().trim().chars().take(32).collect();
    if owner.is_empty() { "unknown".to_owned() } else { owner }
}

/// Who holds the `flock` of a file, as the kernel lists it (`proc_locks(5)`).
fn holder_of(file: &File) -> Option<u32> {
    let meta = file.metadata().ok()?;
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    let which = format!("{major:02x}:{minor:02x}:{}", meta.ino());
    let listed = std::fs::read_to_string("/proc/locks").ok()?;
    listed.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        (fields.next()? == "FLOCK").then_some(())?;
        let (pid, place) = (fields.nth(2)?, fields.next()?);
        (place == which).then(|| pid.parse().ok()).flatten()
    })
}
