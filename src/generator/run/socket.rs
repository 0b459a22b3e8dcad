//! Starts the runner of a detached run through the run socket: the service manager accepts the connection and starts a
//! unit for it, with a user, a cgroup and a sandbox of its own.
//!
//! It must not leave anything unsaid about a failure: an error here means that nothing was started and nothing will be.
//! The surprise: whoever listens is given secrets, so it is looked at first. It must be root (the service manager) or our
//! own user.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, socket_with, sockopt,
};
use thiserror::Error;

use super::super::exec::Environment;
use super::super::patience::{SEND, WORD};
use super::handover::{self, Order};
use std::fs::File;

/// Why nothing was handed over.
#[derive(Debug, Error)]
pub enum HandOverError {
    /// Nobody takes connections there.
    #[error(
        "the run socket {path} cannot be used ({source}): systemctl start contentd-run.socket, or correct \
         daemon.run_socket (CONTENTD_RUN_SOCKET)"
    )]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody else listens.
    #[error(
        "the run socket {path} is served by user {uid}: secrets are given only to the service manager (root) or the \
         daemon's own user; correct daemon.run_socket (CONTENTD_RUN_SOCKET)"
    )]
    Stranger {
        /// Which.
        path: PathBuf,
        /// Who.
        uid: u32,
    },
    /// The message could not be made or sent.
    #[error("the run could not be handed over through {path} ({source}); nothing was started")]
    Unsent {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What became of a message that was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The runner said this: `started`, or why not.
    Said(String),
    /// The connection was closed without a word: refused, or the runner has died.
    Closed,
    /// Nothing yet.
    Silence,
}

/// Hands a run over and waits for the runner's word. The lock is taken over: on every return our copy is closed. What
/// was said is for people: a look at the directory is the truth.
pub fn hand_over(path: &Path, order: &Order, environment: &Environment, lock: File) -> Result<Answer, HandOverError> {
    let until = Instant::now() + WORD;
    let connection = connect_to(path)?;
    let unsent = |source| HandOverError::Unsent { path: path.to_owned(), source };
    let environment = handover::seal(environment).map_err(unsent)?;
    match handover::send(connection.as_fd(), order, &lock, &environment) {
        Ok(()) => {}
        // Closed before we were through: the same refusal as one that comes a moment later, so it has the same name.
        Err(error) if is_refusal(&error) => return Ok(Answer::Closed),
        Err(error) => return Err(unsent(error)),
    }
    // From here on only the message holds the lock, and whoever receives it.
    drop((lock, environment));
    Ok(answer(&connection, until))
}

/// Whether the other end went before the message was sent. Nothing of it was taken then.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Whether somebody listens there, without making a connection that would start something: a datagram socket is
/// refused for its type where a listener is, and for want of one where none is.
pub fn probe(path: &Path) -> Result<(), HandOverError> {
    let failed = |source: Errno| unusable(path, source.into());
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).map_err(failed)?;
    match connect(&socket, &address) {
        Err(Errno::PROTOTYPE) => Ok(()),
        Ok(()) => Err(unusable(path, io::Error::other("it takes datagrams, not connections"))),
        Err(error) => Err(failed(error)),
    }
}

fn unusable(path: &Path, source: io::Error) -> HandOverError {
    HandOverError::Unusable { path: path.to_owned(), source }
}

fn connect_to(path: &Path) -> Result<OwnedFd, HandOverError> {
    let failed = |source: Errno| unusable(path, source.into());
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(failed)?;
    // A full queue of connections and a full connection are waited for, but not for ever.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(SEND)).map_err(failed)?;
    connect(&socket, &address).map_err(failed)?;
    let peer = sockopt::socket_peercred(&socket).map_err(failed)?.uid;
    if !peer.is_root() && peer != rustix::process::geteuid() {
        return Err(HandOverError::Stranger { path: path.to_owned(), uid: peer.as_raw() });
    }
    Ok(socket)
}

fn answer(connection: &OwnedFd, until: Instant) -> Answer {
    let mut buffer = [0; 512];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(connection, PollFlags::IN)];
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Err(Errno::INTR) => continue,
            Ok(0) | Err(_) => return Answer::Silence,
            Ok(_) => {}
        }
        return match recv(connection, &mut buffer, RecvFlags::DONTWAIT) {
            Err(Errno::INTR | Errno::AGAIN) => continue,
            // Also what is said of a connection whose other end went without reading the message.
            Ok((_, 0)) | Err(_) => Answer::Closed,
            Ok((_, count)) => {
                let count = count.min(buffer.len());
                Answer::Said(String::from_utf8_lossy(&buffer[..count]).trim().to_owned())
            }
        };
    }
}
