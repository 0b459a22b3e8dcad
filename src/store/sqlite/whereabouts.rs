//! Whether the database is still where it was opened. A file that is moved or removed takes writes as before, and the next start
//! does not find them: what was acknowledged would be gone.
//!
//! Looked at before and after each commit, which costs two looks at names beside an fsync, and now and then while nobody
//! writes. The log beside the file counts as much: the newest commits are in it alone. Only names that are gone, or that mean
//! another file, are told; that a name cannot be looked at says nothing about what is written.
//!
//! The surprise: the kernel is asked for nothing but the number of the file and its length. Whoever asks for its times as well has Linux 6.13 and
//! later write an exact one with the next write to it, instead of one a tick, and so the inode with each fsync: on an ext4 without
//! a journal that is one more write to the disk in each commit.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::io::Errno;

use super::beside;
use crate::store::DbError;

/// Which file a name means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    /// Major and minor number.
    device: (u32, u32),
    inode: u64,
}

/// What a name means now, and how long that file is, in bytes.
fn identity(path: &Path) -> io::Result<(Identity, u64)> {
    let found = match statx(CWD, path, AtFlags::empty(), StatxFlags::INO | StatxFlags::SIZE) {
        // A kernel or a container that does not know it.
        Err(Errno::NOSYS | Errno::PERM) => {
            let meta = path.metadata()?;
            let device = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
            return Ok((Identity { device, inode: meta.ino() }, meta.len()));
        }
        found => found?,
    };
    let device = (found.stx_dev_major, found.stx_dev_minor);
    Ok((Identity { device, inode: found.stx_ino }, found.stx_size))
}

/// Where the files of an open database are.
#[derive(Debug)]
pub struct Whereabouts {
    path: PathBuf,
    file: Identity,
    log_path: PathBuf,
    /// None until the first write of this connection has made it.
    log: Option<Identity>,
}

impl Whereabouts {
    /// Of a database that was opened just now. `named` is what the next start will be told, and may be a link to `path`, beside
    /// which SQLite has its log.
    pub fn of(named: &Path, path: &Path) -> io::Result<Self> {
        let log_path = beside(path, "-wal");
        let log = identity(&log_path).ok().map(|(log, _)| log);
        Ok(Self { path: std::path::absolute(named)?, file: identity(path)?.0, log_path, log })
    }

    /// Whether both are where they were, and how long the log is, in bytes; 0 where that cannot be looked at.
    pub fn look(&mut self) -> Result<u64, DbError> {
        refuse_another(&self.path, self.file)?;
        match self.log {
            Some(log) => refuse_another(&self.log_path, log),
            None => {
                let found = identity(&self.log_path).ok();
                self.log = found.map(|(log, _)| log);
                Ok(found.map_or(0, |(_, bytes)| bytes))
            }
        }
    }
}

fn refuse_another(path: &Path, opened: Identity) -> Result<u64, DbError> {
    let what = match identity(path) {
        Ok((found, bytes)) if found == opened => return Ok(bytes),
        Ok(_) => "was replaced by another file",
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            "was moved or removed"
        }
        Err(_) => return Ok(0),
    };
    Err(DbError::Fatal(format!(
        "{} {what} while contentd had it open, and what is written now would not be found again: put it back where it was, with the \
         files beside it, then start contentd again",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_moved_removed_or_replaced_is_missed() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let (path, aside) = (place.path().join("dir/c.db"), place.path().join("aside"));
        let log = beside(&path, "-wal");
        std::fs::create_dir(place.path().join("dir")).expect("made");
        std::fs::write(&path, "a database").expect("written");
        let mut whereabouts = Whereabouts::of(&path, &path).expect("it is there");
        let mut told = || whereabouts.look().err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(told(), "", "no log yet");
        std::fs::write(&log, "a log").expect("written");
        assert_eq!(told(), "");
        for (moved, word) in [(&path, "c.db was moved"), (&log, "c.db-wal was moved")] {
            std::fs::rename(moved, &aside).expect("moved");
            assert!(told().contains(word), "{}", told());
            std::fs::write(moved, "another").expect("written");
            assert!(told().contains("was replaced by another file"), "{}", told());
            std::fs::rename(&aside, moved).expect("put back");
            assert_eq!(told(), "");
        }
        std::fs::rename(place.path().join("dir"), &aside).expect("moved");
        assert!(told().contains("c.db was moved or removed"), "{}", told());
        std::fs::write(place.path().join("dir"), "no directory").expect("written");
        assert!(told().contains("c.db was moved or removed"), "{}", told());
    }
}
