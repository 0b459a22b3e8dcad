//! Run directories as the daemon sees them: made, looked at, asked to end, removed.
//!
//! It must not start anything. The surprise: `exit.json` is read before the locks are tried and once more after they were
//! found free, because a run can end between the two looks. And it counts for nothing while the runner lives, who alone
//! may write it: the command can write one too.
//!
//! Where the runner has a user of its own, that user and the generator's command can write anything into the directory at
//! any time: links, pipes, endless files, directories without end. So nothing here waits for anything in it, follows
//! anything out of it, or reads more of it than a bound.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use log::Level;
use rustix::io::Errno;
use thiserror::Error;

use super::super::access::{Access, Purpose};
use super::super::call::CallResult;
use super::super::runfile::{
    is_lock_free, key_as_name, lock_with_content, make_passing_dir, make_private_dir, open_own, sync_dir, try_lock,
};
use super::removal::remove_tree;
use super::{Exit, ExitEnd, Request, Stopped, digest_of};
use crate::events::Kind;
use crate::task::{AttemptKey, TaskId};
use crate::tell;

/// Bytes of `request.json` that are read: arguments are bounded by the system.
const MAX_REQUEST: u64 = 4 << 20;
/// Bytes of `exit.json` that are read, and characters of the text in it that are believed.
const MAX_EXIT: u64 = 64 << 10;
const MAX_WHY: usize = 4096;
const MAX_NOTE: u64 = 64 << 10;
/// Whose lock the runner holds for itself: a file of the daemon's, which the command cannot take away.
const RUNNER_LOCK: &str = "request.json";
/// What the daemon knows of the secrets that a run was given.
pub const SECRETS: &str = "secrets";
/// The directory of private files in a run directory.
const PRIVATE: &str = "files";
/// How long a sealed directory stays: longer than a start can hang that was asked for before the seal.
const SEALED_FOR: Duration = Duration::from_secs(24 * 3600);

/// Why a run directory could not be made.
#[derive(Debug, Error)]
pub enum RunDirError {
    /// There is one already: look at it.
    #[error("run {0} has a directory already")]
    Exists(AttemptKey),
    /// The key cannot be a file name.
    #[error("attempt key {0:?} is not 1 to 64 letters, digits, `-` or `_`: it cannot name a directory")]
    BadKey(String),
    /// The file system refuses.
    #[error("run directory {path}: {source}: make it writable for the daemon's user, with room left")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What a look at a run directory shows.
#[derive(Clone, PartialEq, Debug)]
pub enum Sight {
    /// Somebody is left, and the runner has not yet written that it started.
    Starting,
    /// Nobody is left and nothing was started.
    NeverStarted,
    /// It runs, or how it ended cannot be read at the moment.
    Running,
    /// It has ended, with this and by whom.
    Ended(CallResult, Option<Stopped>),
    /// Nobody is left, and nobody wrote how it ended.
    Lost {
        /// Somebody had asked for its end.
        is_cancel_asked: bool,
    },
}

/// The directory of run directories: `<state>/runs/v1`.
#[derive(Clone, Debug)]
pub struct RunDirs {
    root: PathBuf,
    access: Access,
}

impl RunDirs {
    /// Names the directory; nothing is created before it is needed.
    pub fn new(state_dir: &Path) -> Self {
        Self { root: state_dir.join("runs").join("v1"), access: Access::Private }
    }

    /// The same, for runs that the runner's user is to be let into.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Where they are; it need not exist.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the directory of a run and returns it with the lock, which is to be the command's standard input. Nobody is
    /// let in before it is complete.
    pub fn create(&self, key: &AttemptKey, request: &Request, stdin: &[u8]) -> Result<(PathBuf, File), RunDirError> {
        let path = self.path_of(key).ok_or_else(|| RunDirError::BadKey(key.0.clone()))?;
        let failed = |source| RunDirError::Io { path: path.clone(), source };
        self.access.make_dir(&self.root, Purpose::Passage).map_err(failed)?;
        if path.symlink_metadata().is_ok() {
            return Err(RunDirError::Exists(key.clone()));
        }
        let make = if request.is_repeatable { make_passing_dir } else { make_private_dir };
        make(&path).map_err(failed)?;
        let lock = lock_with_content(&path.join("lock"), stdin).map_err(failed)?;
        let lock = lock.ok_or_else(|| RunDirError::Exists(key.clone()))?;
        self.access.open_file(&lock).map_err(failed)?;
        let text = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
        write_file(&path, "request.json", &text, self.access, !request.is_repeatable).map_err(failed)?;
        self.access.open_dir(&path, Purpose::Run).map_err(failed)?;
        Ok((path, lock))
    }

    /// The directory of the private files of a run; it need not exist.
    pub fn private_dir(&self, key: &AttemptKey) -> Result<PathBuf, RunDirError> {
        let path = self.path_of(key).ok_or_else(|| RunDirError::BadKey(key.0.clone()))?;
        Ok(path.join(PRIVATE))
    }

    /// Writes a private file of a run that was made: the daemon writes it, the runner's user may read it.
    pub fn write_private(&self, key: &AttemptKey, path: &Path, contents: &str) -> Result<(), RunDirError> {
        let dir = self.private_dir(key)?;
        let failed = |source| RunDirError::Io { path: path.to_owned(), source };
        if path.parent() != Some(&dir) {
            return Err(failed(io::Error::other("lies outside the run's own directory")));
        }
        // Read while the command runs, and no power loss leaves one that runs.
        make_passing_dir(&dir).map_err(failed)?;
        let file = open_own(path, OpenOptions::new().write(true).create(true).truncate(true));
        let written = file.and_then(|mut file| {
            file.write_all(contents.as_bytes())?;
            self.access.open_file(&file)
        });
        written.and_then(|()| self.access.open_dir(&dir, Purpose::Reading)).map_err(failed)
    }

    /// Writes a file that only our own user may read into the directory of a run that was made. It need not outlive a loss
    /// of power.
    pub fn write_note(&self, key: &AttemptKey, name: &str, contents: &[u8]) -> Result<(), RunDirError> {
        let path = self.path_of(key).ok_or_else(|| RunDirError::BadKey(key.0.clone()))?.join(name);
        let file = open_own(&path, OpenOptions::new().write(true).create(true).truncate(true));
        let written = file.and_then(|mut file| file.write_all(contents));
        written.map_err(|source| RunDirError::Io { path, source })
    }

    /// Reads it again; none where that is not possible.
    pub fn read_note(&self, key: &AttemptKey, name: &str) -> Option<Vec<u8>> {
        read_bounded(&self.path_of(key)?.join(name), MAX_NOTE).ok().map(|(bytes, _)| bytes)
    }

    /// Looks at a run.
    pub fn look(&self, key: &AttemptKey) -> Sight {
        let Some(path) = self.path_of(key) else { return Sight::NeverStarted };
        if let Some(exit) = read_ending(&path) {
            return ended(&path, exit);
        }
        let has_started = || path.join("started").symlink_metadata().is_ok();
        if !is_quiet(&path) {
            return if has_started() { Sight::Running } else { Sight::Starting };
        }
        match read_exit(&path) {
            Some(exit) => ended(&path, exit),
            None if read_bounded(&path.join("exit.json"), MAX_EXIT).is_err_and(|error| is_passing(&error)) => {
                Sight::Running
            }
            // Asked now: the runner may have written it just before it went.
            None if has_started() => Sight::Lost { is_cancel_asked: is_cancel_asked(&path) },
            None => Sight::NeverStarted,
        }
    }

    /// Whose run it is, as its request says; none where that cannot be read, or where an older contentd wrote it.
    pub fn task_of(&self, key: &AttemptKey) -> Option<TaskId> {
        read_request(&self.path_of(key)?).ok()?.task.map(TaskId)
    }

    /// The beginning of what the command wrote to `stdout` or `stderr`; nothing where that cannot be read.
    pub fn written(&self, key: &AttemptKey, stream: &str, max: u64) -> Vec<u8> {
        let read = self.path_of(key).map(|path| read_bounded(&path.join(stream), max));
        read.and_then(Result::ok).map_or_else(Vec::new, |(bytes, _)| bytes)
    }

    /// What the command has written to `stdout` or `stderr` by now, open, and how much of it there is.
    pub fn open_written(&self, key: &AttemptKey, stream: &str) -> Option<(File, u64)> {
        let file = open_sole(&self.path_of(key)?.join(stream)).ok()?;
        let length = file.metadata().ok()?.len();
        Some((file, length.min(super::super::exec::MAX_OUTPUT as u64)))
    }

    /// Whether the log was told what the command wrote to standard error.
    pub fn is_told(&self, key: &AttemptKey) -> bool {
        self.path_of(key).is_some_and(|path| path.join("told").symlink_metadata().is_ok())
    }

    /// The log was told. Where that cannot be written (a full disk), a later daemon tells it once more.
    pub fn mark_told(&self, key: &AttemptKey) -> io::Result<()> {
        let Some(path) = self.path_of(key).filter(|path| path.is_dir()) else { return Ok(()) };
        open_own(&path.join("told"), OpenOptions::new().write(true).create(true).truncate(false)).map(drop)
    }

    /// Asks the runner to end the command. A run that was never made needs no asking.
    pub fn ask_cancel(&self, key: &AttemptKey) -> io::Result<()> {
        let Some(path) = self.path_of(key).filter(|path| path.is_dir()) else { return Ok(()) };
        // Whoever made it: it asks for the same. The system may refuse to open one of the runner's user in a shared
        // directory (fs.protected_regular).
        if is_cancel_asked(&path) {
            return Ok(());
        }
        open_own(&path.join("cancel"), OpenOptions::new().write(true).create(true).truncate(false)).map(drop)
    }

    /// Makes sure that a run which was seen not to have started never will: a start that hung all the while finds its
    /// directory taken or its cancel file there. `false` if it has begun after all.
    pub fn seal(&self, key: &AttemptKey) -> bool {
        let Some(path) = self.path_of(key) else { return true };
        if let Err(error) = make_private_dir(&path).and_then(|()| self.ask_cancel(key)) {
            log::warn!("{} cannot be sealed: {error}", path.display());
            return false;
        }
        // A runner that missed the cancel file held the lock by then, and holds it still or has left its traces.
        self.look(key) == Sight::NeverStarted
    }

    /// Makes the directory of run directories, so that a later look can tell a run that has none from a place that is gone.
    pub fn make_root(&self) -> io::Result<()> {
        self.access.make_dir(&self.root, Purpose::Passage)
    }

    /// Whether the directory of run directories is there. Nobody removes it.
    pub fn has_root(&self) -> bool {
        self.root.is_dir()
    }

    /// Whether the run has a directory. One has none before it was made, and after its end was committed.
    pub fn exists(&self, key: &AttemptKey) -> bool {
        self.path_of(key).is_some_and(|path| path.symlink_metadata().is_ok())
    }

    /// Whether nobody is left of the run.
    pub fn is_quiet(&self, key: &AttemptKey) -> bool {
        self.path_of(key).is_none_or(|path| is_quiet(&path))
    }

    /// The run's end is committed: removes the directory. A sealed one stays, emptied, for [`RunDirs::sweep`]: a start that
    /// hangs must still find it. What is not there is fine; what cannot go is only litter.
    pub fn forget(&self, key: &AttemptKey) {
        let Some(path) = self.path_of(key) else { return };
        if !Self::is_sealed(&path) {
            return remove(&path);
        }
        for name in ["lock", "request.json", PRIVATE, SECRETS, "stdout", "stderr"] {
            remove(&path.join(name));
        }
    }

    /// Removes a directory that nobody needs any more, unless it was sealed less than a day ago; whether it did.
    pub fn sweep(&self, key: &AttemptKey) -> bool {
        let Some(path) = self.path_of(key) else { return true };
        if Self::is_sealed(&path) && !is_older(&path, SEALED_FOR) {
            return false;
        }
        remove(&path);
        true
    }

    /// Not asked: whether somebody holds its lock. A start that has come through by now is one more reason to leave it.
    fn is_sealed(path: &Path) -> bool {
        let is_there = |name: &str| path.join(name).symlink_metadata().is_ok();
        is_there("cancel") && !is_there("started") && !is_there("exit.json")
    }

    /// The directory of a run; none if the key cannot name one.
    pub fn path_of(&self, key: &AttemptKey) -> Option<PathBuf> {
        key_as_name(key).map(|name| self.root.join(name))
    }
}

/// Whether nobody is left of the run in this directory: neither the runner nor, as far as its own lock says, the command.
fn is_quiet(path: &Path) -> bool {
    is_runner_gone(path) && is_lock_free(&path.join("lock"))
}

/// The lock that only the runner has. The command has the other one as its standard input, and can free it.
fn is_runner_gone(path: &Path) -> bool {
    is_lock_free(&path.join(RUNNER_LOCK))
}

/// Takes the runner's lock on the file that was opened for it. A look may hold it for an instant.
pub(super) fn lock_for_runner(file: &File) -> io::Result<()> {
    try_lock(file)?.then_some(()).ok_or_else(|| io::Error::other("somebody else holds its lock"))
}

/// The end of a run, once it counts. It was read before the lock was tried, and a runner holds its lock from before the
/// command begins: so it is the runner's own, or of a runner that was killed.
fn read_ending(path: &Path) -> Option<Exit> {
    let exit = read_exit(path)?;
    // Of what was not started nobody can be left. Whoever says so and goes on working is not believed.
    let is_over = if matches!(exit.end, ExitEnd::NotStarted(_)) { is_quiet(path) } else { is_runner_gone(path) };
    is_over.then_some(exit)
}

/// Whether a look would find that the run is over.
pub(super) fn is_over(path: &Path) -> bool {
    read_ending(path).is_some() || is_quiet(path)
}

/// A time in the future is not old, whatever the clock says now.
fn is_older(path: &Path, than: Duration) -> bool {
    let changed = path.symlink_metadata().and_then(|meta| meta.modified());
    changed.is_ok_and(|changed| SystemTime::now().duration_since(changed).is_ok_and(|age| age > than))
}

fn remove(path: &Path) {
    let is_dir = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    let removed = if is_dir { remove_tree(path) } else { fs::remove_file(path) };
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tell!(
            Level::Warn,
            Kind::CleanupFailed,
            "{} could not be removed ({error}): nobody needs it any more, root can remove it",
            path.display()
        );
    }
}

/// Whether somebody asked the runner to end the command.
pub(super) fn is_cancel_asked(path: &Path) -> bool {
    path.join("cancel").symlink_metadata().is_ok()
}

/// Writes a file of a run. If it is synced it is there whole or not at all, even after a loss of power. Else it may be found in part
/// while it is written: whoever writes it holds the runner's lock or has just made the directory, and what can be read in part only
/// is of a run whose daemon died, which is free to repeat.
pub(super) fn write_file(dir: &Path, name: &str, bytes: &[u8], access: Access, is_synced: bool) -> io::Result<()> {
    if is_synced {
        return write_whole(dir, name, bytes, access);
    }
    let mut file = open_own(&dir.join(name), OpenOptions::new().write(true).create(true).truncate(true))?;
    access.open_file(&file)?;
    file.write_all(bytes)
}

fn write_whole(dir: &Path, name: &str, bytes: &[u8], access: Access) -> io::Result<()> {
    let draft = dir.join(format!(".{name}.new"));
    let mut file = open_own(&draft, OpenOptions::new().write(true).create(true).truncate(true))?;
    access.open_file(&file)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(draft, dir.join(name))?;
    sync_dir(dir)
}

/// Reads a file up to a bound; `true` if there was more.
pub(super) fn read_bounded(path: &Path, max: u64) -> io::Result<(Vec<u8>, bool)> {
    let file = open_sole(path)?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    let limit = usize::try_from(max).unwrap_or(usize::MAX);
    let is_more = bytes.len() > limit;
    bytes.truncate(limit);
    Ok((bytes, is_more))
}

/// Opens a file that has one name only: by a second one a file of somebody else's could be shown to us as the run's.
fn open_sole(path: &Path) -> io::Result<File> {
    let file = open_own(path, OpenOptions::new().read(true))?;
    if file.metadata()?.nlink() > 1 { Err(io::Error::other("has a second name")) } else { Ok(file) }
}

/// Reads what the daemon asked the runner to do.
pub(super) fn read_request(dir: &Path) -> io::Result<Request> {
    let (bytes, _) = read_bounded(&dir.join("request.json"), MAX_REQUEST)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// One that cannot be read is none: the run is then lost, which is the careful answer.
pub(super) fn read_exit(dir: &Path) -> Option<Exit> {
    let (bytes, _) = read_bounded(&dir.join("exit.json"), MAX_EXIT).ok()?;
    let mut exit: Exit = serde_json::from_slice(&bytes).ok()?;
    if let ExitEnd::NotStarted(why) = &mut exit.end {
        // It becomes the reason of a task.
        why.truncate(why.floor_char_boundary(MAX_WHY));
    }
    Some(exit)
}

/// Whether a file can perhaps be read later: it is we or the machine who cannot read now, and what stands in it is paid for.
fn is_passing(error: &io::Error) -> bool {
    let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO, Errno::STALE];
    error.raw_os_error().is_some_and(|code| passing.iter().any(|errno| errno.raw_os_error() == code))
}

fn ended(dir: &Path, exit: Exit) -> Sight {
    let max = super::super::exec::MAX_OUTPUT as u64;
    let read = |name: &str| match read_bounded(&dir.join(name), max) {
        Ok(read) => Some(read),
        // Nothing was written where nothing was started.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some((Vec::new(), false)),
        Err(error) if is_passing(&error) => None,
        Err(_) => Some((Vec::new(), true)),
    };
    // The next look may be able to read it.
    let (Some(out), Some(err)) = (read("stdout"), read("stderr")) else { return Sight::Running };
    // The machine went down before the output was on the disk: of this run nothing is known.
    if exit.output.is_some_and(|digest| digest != digest_of(&out.0, &err.0)) {
        return Sight::Lost { is_cancel_asked: is_cancel_asked(dir) };
    }
    let is_truncated = exit.is_truncated || out.1 || err.1;
    let result = CallResult { end: exit.end.into_call_end(), stdout: out.0, stderr: err.0, is_truncated };
    Sight::Ended(result, exit.stopped)
}
