//! Where the control socket is, and whether it is ours.
//!
//! A socket of the service manager's is taken as it is, and left where it is at the end: callers wait in it for the next
//! daemon. Otherwise a daemon never takes over a socket that another one serves, never removes what is no socket, and removes its own at
//! exit only while it is still its own. The surprise: the socket is made beside its place and renamed into it, so that it
//! is never there with the wrong mode and never missing while a stale one is replaced.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use thiserror::Error;

/// Who may use the socket: its owner and its group.
pub const SOCKET_MODE: u32 = 0o660;
/// The longest path of a socket, less what its making needs.
pub const MAX_PATH_BYTES: usize = 105;

/// Why a socket cannot be bound. Each message names the path and the cure.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Another daemon serves it.
    #[error("{path}: another contentd{} serves this socket; stop it, or name another with --socket",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// The socket.
        path: PathBuf,
        /// The other daemon.
        pid: Option<i32>,
    },
    /// Something else is there.
    #[error("{path}: {what}; {cure}")]
    Refused {
        /// What was looked at.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// What would be right.
        cure: &'static str,
    },
    /// The system refused.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What it said.
        source: io::Error,
    },
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> SocketError {
    move |source| SocketError::Io { path: path.to_owned(), action, source }
}

fn refused(path: &Path, what: impl Into<String>, cure: &'static str) -> SocketError {
    SocketError::Refused { path: path.to_owned(), what: what.into(), cure }
}

/// A socket that listens. Dropping it leaves the file; see [`BoundSocket::remove`].
#[derive(Debug)]
pub struct BoundSocket {
    /// Listens.
    pub listener: UnixListener,
    path: PathBuf,
    owner: Owner,
}

/// Whose the socket's file is.
#[derive(Debug)]
enum Owner {
    /// Ours, with the lock that is held as long as it is, and the file's identity.
    Us { inode: (u64, u64), _lock: File },
    /// The service manager's.
    ServiceManager,
}

/// Whether the directory of the socket is one of the default places, which we make ourselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Named by a person: its directory must be there.
    Given,
    /// A default: its directory is made with mode 0700, and must be ours alone.
    Default,
}

/// Binds the socket.
pub fn bind(path: &Path, place: Place) -> Result<BoundSocket, SocketError> {
    check_length(path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match place {
        Place::Default => make_private_dir(parent)?,
        Place::Given if !parent.is_dir() => {
            return Err(refused(parent, "is no directory", "create it, or name another socket"));
        }
        Place::Given => {}
    }
    let lock = lock_beside(path)?;
    clear_the_way(path)?;
    let fresh = beside(path, ".n");
    // What a dead daemon left here is nobody's: the lock is ours.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(&fresh, "remove what was left")(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&fresh).map_err(failed(&fresh, "bind"))?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed(&fresh, "set the mode of"))?;
    let meta = fs::symlink_metadata(&fresh).map_err(failed(&fresh, "look at"))?;
    fs::rename(&fresh, path).map_err(failed(path, "move the socket to"))?;
    let owner = Owner::Us { inode: (meta.dev(), meta.ino()), _lock: lock };
    Ok(BoundSocket { listener, path: path.to_owned(), owner })
}

/// Takes a socket that the service manager listens on.
pub fn adopt(listener: UnixListener) -> Result<BoundSocket, SocketError> {
    let address = listener.local_addr().map_err(failed(Path::new("the inherited socket"), "ask its address of"))?;
    let Some(path) = address.as_pathname().map(Path::to_owned) else {
        let cure = "let ListenStream= in contentd.socket be an absolute path";
        return Err(refused(Path::new("the inherited socket"), "has no place in the file system", cure));
    };
    Ok(BoundSocket { listener, path, owner: Owner::ServiceManager })
}

impl BoundSocket {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the service manager goes on listening when we do not.
    pub fn is_inherited(&self) -> bool {
        matches!(self.owner, Owner::ServiceManager)
    }

    /// Removes the file, if it is ours and still this socket; says whether it did.
    pub fn remove(&self) -> io::Result<bool> {
        let Owner::Us { inode, .. } = &self.owner else { return Ok(false) };
        let meta = match fs::symlink_metadata(&self.path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if (meta.dev(), meta.ino()) != *inode {
            return Ok(false);
        }
        fs::remove_file(&self.path).map(|()| true)
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn check_length(path: &Path) -> Result<(), SocketError> {
    let length = path.as_os_str().len();
    if length > MAX_PATH_BYTES {
        return Err(refused(path, format!("a path of {length} bytes is too long for a socket"), "use a shorter one"));
    }
    Ok(())
}

fn make_private_dir(dir: &Path) -> Result<(), SocketError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir, "create"))?;
    check_private_dir(dir)
}

/// Whether a directory is a real one, ours (or root's), and nobody else may write to it.
pub fn check_private_dir(dir: &Path) -> Result<(), SocketError> {
    // Not followed: a link in /tmp may be anybody's.
    let meta = fs::symlink_metadata(dir).map_err(failed(dir, "look at"))?;
    let us = rustix::process::geteuid().as_raw();
    if !meta.is_dir() {
        return Err(refused(dir, "is no directory", "remove it, or name another socket"));
    }
    if meta.uid() != us && meta.uid() != 0 {
        let what = format!("belongs to user {}, not to {us}", meta.uid());
        return Err(refused(dir, what, "somebody else made it: name another socket"));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(refused(dir, format!("others may write to it (mode {:o})", meta.mode() & 0o777), "chmod 700 it"));
    }
    Ok(())
}

/// Two daemons that start at the same time must not both find the way clear.
fn lock_beside(path: &Path) -> Result<File, SocketError> {
    let lock_path = beside(path, ".lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(&lock_path)
        .map_err(failed(&lock_path, "open"))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(Errno::WOULDBLOCK) => Err(SocketError::InUse { path: path.to_owned(), pid: serving_pid(path) }),
        Err(error) => Err(failed(&lock_path, "lock")(error.into())),
    }
}

/// What is at the other end of a path.
enum Occupant {
    Nobody,
    Stale,
    Alive(Option<i32>),
}

fn occupant(path: &Path) -> Result<Occupant, SocketError> {
    let action = "ask who serves";
    let address = SocketAddrUnix::new(path).map_err(|error| failed(path, action)(error.into()))?;
    // Non-blocking: a daemon whose backlog is full is alive, and must not hold us up.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|error| failed(path, action)(error.into()))?;
    match rustix::net::connect(&socket, &address) {
        // The kernel tells who listens, so nobody has to be asked.
        Ok(()) => Ok(Occupant::Alive(peer_pid(&socket))),
        Err(Errno::AGAIN) => Ok(Occupant::Alive(None)),
        Err(Errno::NOENT) => Ok(Occupant::Nobody),
        Err(Errno::CONNREFUSED) => Ok(Occupant::Stale),
        Err(error) => Err(failed(path, action)(error.into())),
    }
}

fn peer_pid(socket: &impl std::os::fd::AsFd) -> Option<i32> {
    let cred = rustix::net::sockopt::socket_peercred(socket).ok()?;
    Some(cred.pid.as_raw_nonzero().get())
}

fn serving_pid(path: &Path) -> Option<i32> {
    match occupant(path) {
        Ok(Occupant::Alive(pid)) => pid,
        Ok(Occupant::Nobody | Occupant::Stale) | Err(_) => None,
    }
}

/// Refuses what must not be replaced.
fn clear_the_way(path: &Path) -> Result<(), SocketError> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(path, "look at")(error)),
    };
    if !meta.file_type().is_socket() {
        return Err(refused(path, "is there and is no socket", "remove it yourself, or name another socket"));
    }
    match occupant(path)? {
        Occupant::Alive(pid) => Err(SocketError::InUse { path: path.to_owned(), pid }),
        Occupant::Nobody | Occupant::Stale => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_live_socket_is_not_taken_over_and_a_stale_one_is() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("c.sock");
        let first = bind(&path, Place::Given).expect("the way is clear");
        assert_eq!(fs::symlink_metadata(&path).expect("it is there").mode() & 0o777, SOCKET_MODE);
        let error = bind(&path, Place::Given).expect_err("it is served");
        let message = error.to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        assert!(message.contains("c.sock"), "{message}");
        drop(first);
        assert!(path.exists(), "a crash leaves the file");
        let second = bind(&path, Place::Given).expect("a stale one is replaced");
        UnixStream::connect(&path).expect("it listens");
        assert!(second.remove().expect("it can be removed"));
        assert!(!path.exists());
    }

    #[test]
    fn a_foreign_listener_without_our_lock_is_alive_too() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("c.sock");
        let _other = UnixListener::bind(&path).expect("binds");
        assert!(matches!(bind(&path, Place::Given), Err(SocketError::InUse { pid: Some(_), .. })));
    }

    #[test]
    fn what_is_no_socket_or_not_ours_stays() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("precious");
        fs::write(&path, "data").expect("writes");
        assert!(matches!(bind(&path, Place::Given), Err(SocketError::Refused { .. })));
        assert_eq!(fs::read_to_string(&path).expect("reads"), "data");

        let path = dir.path().join("c.sock");
        let ours = bind(&path, Place::Given).expect("the way is clear");
        fs::remove_file(&path).expect("somebody removes it");
        let _theirs = UnixListener::bind(&path).expect("and binds another");
        assert!(!ours.remove().expect("nothing goes wrong"), "not ours any more");
        assert!(path.exists());
    }

    #[test]
    fn an_inherited_socket_stays_where_it_is() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("c.sock");
        let adopted = adopt(UnixListener::bind(&path).expect("binds")).expect("it has a path");
        assert!(adopted.is_inherited() && adopted.path() == path);
        assert!(!adopted.remove().expect("nothing goes wrong"), "it is the service manager's");
        assert!(path.exists());
    }

    #[test]
    fn a_default_place_is_made_private_and_an_open_one_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let place = dir.path().join("contentd");
        let bound = bind(&place.join("c.sock"), Place::Default).expect("the directory is made");
        assert_eq!(fs::metadata(&place).expect("it is there").mode() & 0o777, 0o700);
        drop(bound);
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).expect("mode");
        assert!(matches!(bind(&place.join("c.sock"), Place::Default), Err(SocketError::Refused { .. })));
        let long = dir.path().join("x".repeat(110));
        assert!(bind(&long, Place::Given).expect_err("too long").to_string().contains("too long"));
        assert!(bind(&dir.path().join("none/c.sock"), Place::Given).is_err());
    }
}
