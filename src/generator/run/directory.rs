//! Run directories as the daemon sees them: made, looked at, asked to end, removed.
//!
//! It must not start anything. The surprise: `exit.json` is read before the lock is tried and once more after it was
//! found free, because a run can end between the two looks.
//!
//! Where the runner has a user of its own, that user and the generator's command can write anything into the directory at
//! any time: links, pipes, endless files, directories without end. So nothing here waits for anything in it, follows
//! anything out of it, or reads more of it than a bound.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use log::Level;
use thiserror::Error;

use super::super::access::{Access, Purpose};
use super::super::call::CallResult;
use super::super::runfile::{is_lock_free, key_as_name, lock_with_content, make_private_dir, open_own, sync_dir};
use super::removal::remove_tree;
use super::{Exit, ExitEnd, Request, Stopped};
use crate::events::Kind;
use crate::task::{AttemptKey, TaskId};
use crate::tell;

/// Bytes of `request.json` that are read: arguments are bounded by the system.
const MAX_REQUEST: u64 = 4 << 20;
/// Bytes of `exit.json` that are read, and characters of the text in it that are believed.
const MAX_EXIT: u64 = 64 << 10;
const MAX_WHY: usize = 4096;
/// The directory of private files in a run directory.
const PRIVATE: &str = "files";

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
    /// The lock is held, and the runner has not yet written that it started.
    Starting,
    /// The lock is free and nothing was started.
    NeverStarted,
    /// It runs.
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
        make_private_dir(&path).map_err(failed)?;
        let lock = lock_with_content(&path.join("lock"), stdin).map_err(failed)?;
        let lock = lock.ok_or_else(|| RunDirError::Exists(key.clone()))?;
        self.access.open_file(&lock).map_err(failed)?;
        let text = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
        write_durably(&path, "request.json", &text, self.access).map_err(failed)?;
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
        make_private_dir(&dir).map_err(failed)?;
        let file = open_own(path, OpenOptions::new().write(true).create(true).truncate(true));
        let written = file.and_then(|mut file| {
            file.write_all(contents.as_bytes())?;
            self.access.open_file(&file)
        });
        written.and_then(|()| self.access.open_dir(&dir, Purpose::Reading)).map_err(failed)
    }

    /// Looks at a run.
    pub fn look(&self, key: &AttemptKey) -> Sight {
        let Some(path) = self.path_of(key) else { return Sight::NeverStarted };
        if let Some(exit) = read_exit(&path) {
            return ended(&path, exit);
        }
        let is_free = is_lock_free(&path.join("lock"));
        let has_started = path.join("started").symlink_metadata().is_ok();
        match (is_free, has_started) {
            (false, true) => Sight::Running,
            (false, false) => Sight::Starting,
            (true, _) => match read_exit(&path) {
                Some(exit) => ended(&path, exit),
                // Asked anew: the runner may have written it just before it went.
                None if path.join("started").symlink_metadata().is_ok() => {
                    Sight::Lost { is_cancel_asked: is_cancel_asked(&path) }
                }
                None => Sight::NeverStarted,
            },
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

    /// Whether nobody is left of the run.
    pub fn is_quiet(&self, key: &AttemptKey) -> bool {
        self.path_of(key).is_none_or(|path| is_lock_free(&path.join("lock")))
    }

    /// Removes the directory. What is not there is fine; what cannot go is only litter.
    pub fn forget(&self, key: &AttemptKey) {
        let Some(path) = self.path_of(key) else { return };
        if let Err(error) = remove_tree(&path)
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

    /// The directory of a run; none if the key cannot name one.
    pub fn path_of(&self, key: &AttemptKey) -> Option<PathBuf> {
        key_as_name(key).map(|name| self.root.join(name))
    }
}

/// Whether somebody asked the runner to end the command.
pub(super) fn is_cancel_asked(path: &Path) -> bool {
    path.join("cancel").symlink_metadata().is_ok()
}

/// Writes a file so that it is there whole or not at all, even after a loss of power.
pub(super) fn write_durably(dir: &Path, name: &str, bytes: &[u8], access: Access) -> io::Result<()> {
    write_draft(dir, name, bytes, access)?;
    publish(dir, name)
}

/// The first half: the file is written and synced, under a name that nobody looks for.
pub(super) fn write_draft(dir: &Path, name: &str, bytes: &[u8], access: Access) -> io::Result<File> {
    let mut file = open_own(&draft_of(dir, name), OpenOptions::new().write(true).create(true).truncate(true))?;
    access.open_file(&file)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

/// The second half: it gets its name.
pub(super) fn publish(dir: &Path, name: &str) -> io::Result<()> {
    fs::rename(draft_of(dir, name), dir.join(name))?;
    sync_dir(dir)
}

fn draft_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!(".{name}.new"))
}

/// Reads a file up to a bound; `true` if there was more.
pub(super) fn read_bounded(path: &Path, max: u64) -> io::Result<(Vec<u8>, bool)> {
    let file = open_own(path, OpenOptions::new().read(true))?;
    if file.metadata()?.nlink() > 1 {
        // By a second name a file of somebody else's could be shown to us as the run's.
        return Err(io::Error::other("has a second name"));
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    let limit = usize::try_from(max).unwrap_or(usize::MAX);
    let is_more = bytes.len() > limit;
    bytes.truncate(limit);
    Ok((bytes, is_more))
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

fn ended(dir: &Path, exit: Exit) -> Sight {
    let max = super::super::exec::MAX_OUTPUT as u64;
    let read = |name: &str| match read_bounded(&dir.join(name), max) {
        Ok(read) => read,
        // Nothing was written where nothing was started.
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), false),
        Err(_) => (Vec::new(), true),
    };
    let (stdout, is_more_out) = read("stdout");
    let (stderr, is_more_err) = read("stderr");
    let is_truncated = exit.is_truncated || is_more_out || is_more_err;
    Sight::Ended(CallResult { end: exit.end.into_call_end(), stdout, stderr, is_truncated }, exit.stopped)
}
