//! Sockets that the service manager holds for us (socket activation).
//!
//! It must be asked before anything else opens files: the descriptors are told by number. The surprise: the service
//! manager keeps its own copy, so that callers wait in the socket's queue while no daemon runs.

use std::io;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

/// The control socket, if the service manager gave one; more than one, or another kind, is an error.
pub fn inherited_listener() -> io::Result<Option<UnixListener>> {
    let mut given = ListenFd::from_env();
    match given.len() {
        0 => Ok(None),
        1 => given.take_unix_listener(0),
        count => Err(io::Error::other(format!(
            "the service manager gave {count} sockets and one is served: let contentd.socket have one ListenStream="
        ))),
    }
}
