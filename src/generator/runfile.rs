//! Run files: how the daemon knows, over its own death, whether a process of a call that may have been paid is left.
//!
//! Each such call gets `<state>/calls/<key>.run` as its standard input, locked with `flock`. The lock belongs to the
//! open file, not to a process: it lasts as long as any process of the call keeps its standard input, and the kernel
//! frees it with the last of them. Nothing here reads what a process wrote. The surprise: the descriptor that is
//! handed out is the only one that holds the lock, so it must be closed by whoever starts the process, right after.
//!
//! A process that closes or replaces its standard input gives the lock up; what it does then is covered by the
//! settling time only. A probe takes a shared lock, so that probes never disturb each other.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::Level;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use thiserror::Error;

use crate::events::Kind;
use crate::task::AttemptKey;
use crate::tell;

/// A probe holds its lock for an instant; an exclusive lock is tried for longer than that.
const PROBE_PATIENCE: u32 = 20;
const PROBE_PAUSE: Duration = Duration::from_millis(5);
/// How often a run file is made anew because somebody cleared it away meanwhile.
const MOST_ROUNDS: usize = 20;
const LONGEST_KEY: usize = 64;

/// Why a run file could not be made.
#[derive(Debug, Error)]
pub enum RunFileError {
    /// A process of an earlier call with this key is left.
    #[error("an earlier call with key {0} still has a process: wait until its run file's lock is free")]
    StillHeld(AttemptKey),
    /// The key cannot be a file name.
    #[error("attempt key {0:?} is not 1 to 64 letters, digits, `-` or `_`: it cannot name a file")]
    BadKey(String),
    /// The file system refuses.
    #[error("run file {path}: {source}: make {} writable for the daemon's user, with room left", .path.parent().unwrap_or(.path).display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The directory of run files and private files: `<state>/calls`.
#[derive(Clone, Debug)]
pub struct RunFiles {
    dir: PathBuf,
}

impl RunFiles {
    /// Names the directory; nothing is created before it is needed.
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("calls") }
    }

    /// Where they are; it need not exist.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes (or takes again) the run file of `key` with `stdin` as its content, locked and at its beginning.
    pub fn create(&self, key: &AttemptKey, stdin: &[u8]) -> Result<File, RunFileError> {
        let path = self.path_of(key, "run")?;
        let failed = |source| RunFileError::Io { path: path.clone(), source };
        make_private_dir(&self.dir).map_err(failed)?;
        match lock_with_content(&path, stdin).map_err(failed)? {
            Some(locked) => Ok(locked),
            None => Err(RunFileError::StillHeld(key.clone())),
        }
    }

    /// Whether nobody is left of the call with this key. A run file that was never made was never given to anybody;
    /// one that cannot be looked at is taken as held, because doubt must not look like proof.
    pub fn is_quiet(&self, key: &AttemptKey) -> bool {
        match self.path_of(key, "run") {
            Ok(path) => is_lock_free(&path),
            Err(_) => true,
        }
    }

    /// The directory of the private files of a call; it need not exist.
    pub fn private_dir(&self, key: &AttemptKey) -> Result<PathBuf, RunFileError> {
        self.path_of(key, "d")
    }

    /// Writes a private file of a call, readable by our own user alone.
    pub fn write_private(&self, key: &AttemptKey, path: &Path, contents: &str) -> Result<(), RunFileError> {
        let dir = self.private_dir(key)?;
        let failed = |source| RunFileError::Io { path: path.to_owned(), source };
        if path.parent() != Some(&dir) {
            return Err(failed(io::Error::other("lies outside the call's own directory")));
        }
        make_passing_dir(&dir).map_err(failed)?;
        let mut options = OpenOptions::new();
        let file = open_own(path, options.write(true).create(true).truncate(true));
        file.and_then(|mut file| file.write_all(contents.as_bytes())).map_err(failed)
    }

    /// Removes what belongs to a call of which nobody is left; whether it did. Under its lock, because the key of a piece may be given
    /// out once more meanwhile.
    pub fn forget_if_quiet(&self, key: &AttemptKey) -> bool {
        let Ok(path) = self.path_of(key, "run") else { return true };
        let _lock = match open_own(&path, OpenOptions::new().read(true)) {
            Ok(file) => match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => file,
                Err(_) => return false,
            },
            // A call that begins now makes one, and it is not ours to remove.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget_private(key);
                return true;
            }
            Err(_) => return false,
        };
        self.forget(key);
        true
    }

    /// Removes what belongs to the call. What is not there is fine; what cannot go is only litter.
    pub fn forget(&self, key: &AttemptKey) {
        if let Ok(path) = self.path_of(key, "run") {
            log_unless_missing(&path, fs::remove_file(&path));
        }
        self.forget_private(key);
    }

    fn forget_private(&self, key: &AttemptKey) {
        if let Ok(path) = self.path_of(key, "d") {
            log_unless_missing(&path, fs::remove_dir_all(&path));
        }
    }

    fn path_of(&self, key: &AttemptKey, kind: &str) -> Result<PathBuf, RunFileError> {
        let name = key_as_name(key).ok_or_else(|| RunFileError::BadKey(key.0.clone()))?;
        Ok(self.dir.join(format!("{name}.{kind}")))
    }
}

/// A key as a file name: keys come from a database, and a database can be edited.
pub(crate) fn key_as_name(key: &AttemptKey) -> Option<&str> {
    let text = key.as_str();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (is_plain && !text.is_empty() && text.len() <= LONGEST_KEY).then_some(text)
}

/// Makes a directory that only we can enter; one that is there already is checked. The entry outlives a loss of power: what
/// is in the directory proves that something was started.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    if make_own_dir(path)? { path.parent().map_or(Ok(()), sync_dir) } else { Ok(()) }
}

/// The same, for what nobody asks for after a loss of power.
pub(crate) fn make_passing_dir(path: &Path) -> io::Result<()> {
    make_own_dir(path).map(drop)
}

/// Whether it was made now. The directories above it are durable.
fn make_own_dir(path: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).recursive(false).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let meta = fs::symlink_metadata(path)?;
            let is_ours = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw();
            if is_ours { Ok(false) } else { Err(io::Error::other("is not a directory of the daemon's user")) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_private_dir(path.parent().ok_or(error)?)?;
            make_own_dir(path)
        }
        Err(error) => Err(error),
    }
}

/// Makes the entries of a directory outlive a loss of power.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(if path.as_os_str().is_empty() { Path::new(".") } else { path })?.sync_all()
}

/// Puts `content` into the file and returns it open for reading, at its beginning, with the exclusive lock; none if
/// somebody holds it. The content is written only under the lock: a process that is left must not see it change.
pub(crate) fn lock_with_content(path: &Path, content: &[u8]) -> io::Result<Option<File>> {
    for _ in 0..MOST_ROUNDS {
        let mut writer = open_own(path, OpenOptions::new().write(true).create(true).truncate(false))?;
        let reader = open_own(path, OpenOptions::new().read(true))?;
        if !try_lock(&reader)? {
            return Ok(None);
        }
        // Whoever cleared it away had its lock, and nobody would find this one by its name.
        if is_named(&reader, path)? && is_named(&writer, path)? {
            writer.set_len(0)?;
            writer.write_all(content)?;
            return Ok(Some(reader));
        }
    }
    let found =
        "its name means another file each time it is looked at: is the state directory on a network file system?";
    Err(io::Error::other(found))
}

/// Whether the name still means this file.
fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let meta = file.metadata()?;
    match path.symlink_metadata() {
        Ok(named) => Ok((named.dev(), named.ino()) == (meta.dev(), meta.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the exclusive lock unless somebody holds it for longer than a probe does; whether it did.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    let mut tries = 0;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if tries < PROBE_PATIENCE => {
                tries += 1;
                std::thread::sleep(PROBE_PAUSE);
            }
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether nobody holds the lock of this file; a missing file is free, one that cannot be looked at is held.
pub(crate) fn is_lock_free(path: &Path) -> bool {
    match open_own(path, OpenOptions::new().read(true)) {
        Ok(file) => loop {
            match flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        },
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Opens a regular file without following a link at its end and without waiting for the other end of a pipe.
pub(crate) fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits();
    // The flag bits are the system's own and fit its int.
    let file = options.mode(0o600).custom_flags(flags.cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("is not a regular file")) }
}

fn log_unless_missing(path: &Path, result: io::Result<()>) {
    if let Err(error) = result
        && error.kind() != io::ErrorKind::NotFound
    {
        tell!(Level::Warn, Kind::CleanupFailed, "{} could not be removed: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn key() -> AttemptKey {
        AttemptKey("00ff".repeat(8))
    }

    #[test]
    fn the_lock_lasts_as_long_as_any_copy_of_the_open_file() {
        let state = tempfile::tempdir().expect("a temporary directory");
        let files = RunFiles::new(state.path());
        assert!(files.is_quiet(&key()), "never made");
        let mut file = files.create(&key(), b"hello").expect("made");
        let copy = file.try_clone().expect("cloned");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("read");
        assert_eq!(text, "hello");
        assert!(!files.is_quiet(&key()));
        drop(file);
        assert!(!files.is_quiet(&key()));
        assert!(matches!(files.create(&key(), b""), Err(RunFileError::StillHeld(_))));
        drop(copy);
        assert!(files.is_quiet(&key()));
        files.create(&key(), b"again").expect("made again");
        let private = files.private_dir(&key()).expect("a path").join("topic");
        files.write_private(&key(), &private, "private").expect("written");
        assert_eq!(fs::metadata(&private).expect("there").mode() & 0o777, 0o600);
        assert!(files.write_private(&key(), &state.path().join("topic"), "x").is_err(), "outside");
        files.forget(&key());
        assert_eq!(fs::read_dir(state.path().join("calls")).expect("there").count(), 0);
    }

    #[test]
    fn a_key_that_is_a_path_names_no_file() {
        let state = tempfile::tempdir().expect("a temporary directory");
        let files = RunFiles::new(state.path());
        for bad in ["", "../x", "a/b", "a.b", "ä", &"a".repeat(65)] {
            assert!(matches!(files.create(&bad.into(), b""), Err(RunFileError::BadKey(_))), "{bad}");
        }
    }

    #[test]
    fn a_link_in_place_of_the_file_is_not_followed() {
        let state = tempfile::tempdir().expect("a temporary directory");
        let files = RunFiles::new(state.path());
        make_private_dir(&state.path().join("calls")).expect("made");
        let target = state.path().join("precious");
        fs::write(&target, "precious").expect("written");
        std::os::unix::fs::symlink(&target, state.path().join(format!("calls/{}.run", key()))).expect("linked");
        assert!(files.create(&key(), b"x").is_err());
        assert!(!files.is_quiet(&key()), "what cannot be looked at is not quiet");
        assert_eq!(fs::read_to_string(target).expect("read"), "precious");
    }
}
