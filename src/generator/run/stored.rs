//! The first bytes of a stream of a run, in its directory.
//!
//! It must not lose a byte of them to a disk that is full or fails for a while, and it must not hold up the command: what
//! cannot be written waits in memory and is tried again. The surprise: everything stays in memory until it is known to be on
//! the disk, also what was written. After an fsync that failed the system may have thrown the pages away and call the next
//! one good, so all of it is written once more. A run that is not synced has a digest in its end instead, and a file only for
//! a stream in which something stands: each file that is made and removed again costs a short command's time.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::access::Access;
use super::super::exec::supervise::Sink;
use super::super::runfile::open_own;

/// How long a disk that refused is left alone while the command writes on.
const PAUSE: Duration = Duration::from_millis(500);

/// One stream.
pub(super) struct Stored {
    file: Place,
    /// What is kept of the stream.
    bytes: Vec<u8>,
    /// How many of these were written into the file.
    written: usize,
    max: usize,
    is_cut: bool,
    next_try: Option<Instant>,
}

/// Where it is kept.
enum Place {
    Made(File),
    /// It is made with the first byte.
    Wanted(PathBuf, Access),
}

impl Place {
    fn file(&mut self) -> io::Result<&File> {
        if let Self::Wanted(path, access) = self {
            // The command may have made one of this name by now: it belongs to the same user, and its words are lost to itself.
            let file = open_own(path, OpenOptions::new().write(true).create(true).truncate(true))?;
            access.open_file(&file)?;
            *self = Self::Made(file);
        }
        match self {
            Self::Made(file) => Ok(file),
            Self::Wanted(..) => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Stored {
    /// Makes the file, which will hold no more than `max` bytes.
    pub fn create(path: &Path, max: usize, access: Access) -> io::Result<Self> {
        let file = open_own(path, OpenOptions::new().write(true).create_new(true))?;
        access.open_file(&file)?;
        Ok(Self::at(Place::Made(file), max))
    }

    /// The same for a run that is not synced: nothing is made before there is something to write.
    pub fn wanted(path: PathBuf, max: usize, access: Access) -> Self {
        Self::at(Place::Wanted(path, access), max)
    }

    fn at(file: Place, max: usize) -> Self {
        Self { file, bytes: Vec::new(), written: 0, max, is_cut: false, next_try: None }
    }

    /// Whether the stream was longer than what is kept.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// What is kept of the stream.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes the file whole and durable. After an error it may be tried again.
    pub fn finish(&mut self) -> io::Result<()> {
        self.write()?;
        self.file.file()?.sync_all().inspect_err(|_| self.written = 0)
    }

    /// Makes the file whole. After an error it may be tried again.
    pub fn write(&mut self) -> io::Result<()> {
        while self.written < self.bytes.len() {
            match self.file.file()?.write_at(&self.bytes[self.written..], self.written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Sink for Stored {
    fn take(&mut self, bytes: &[u8]) {
        let room = self.max.saturating_sub(self.bytes.len());
        self.is_cut |= bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.keep_up();
    }

    /// So that a reader sees it while the command runs, and so that a runner that is killed leaves as much as it can.
    fn keep_up(&mut self) {
        if self.written == self.bytes.len() || self.next_try.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.next_try = self.write().is_err().then(|| Instant::now() + PAUSE);
    }
}
