//! The groups of the process at the other end of a unix socket, as the kernel knows them (`SO_PEERGROUPS`).
//!
//! One call of one system call, in a crate of its own because no safe wrapper of it is published that can be had without
//! a whole server, and because contentd itself holds no unsafe code. The surprise: the groups are those of the moment of
//! connecting, and belong to the same credentials as `SO_PEERCRED`. A process that has ended since, or changed its groups,
//! or whose number another one has by now, changes nothing about them.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// How many groups are asked for first: more than people have.
const FIRST_GUESS: usize = 64;
/// As many as the kernel lets a process have.
const NGROUPS_MAX: usize = 65_536;

/// The supplementary groups of the peer of a connected unix socket. Its primary group is in `SO_PEERCRED` and may or may not
/// be among them. A group that our user namespace does not map comes as the overflow group (65534).
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let socket = socket.as_fd();
    let mut groups: Vec<libc::gid_t> = vec![0; FIRST_GUESS];
    loop {
        let mut bytes = libc::socklen_t::try_from(size_of_val(groups.as_slice())).map_err(io::Error::other)?;
        // SAFETY: the descriptor is borrowed and open; the kernel writes at most `bytes` bytes to a buffer of that length,
        // every bit pattern of which is a group, and the new length to `bytes`, which lives as long as the call.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = usize::try_from(bytes).map_err(io::Error::other)? / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // Too small a buffer is the one error that says what would do.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() || count > NGROUPS_MAX {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    /// `Groups:` of our own process: the kernel's other way of telling.
    fn own_groups() -> Vec<u32> {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).expect("every process has this line");
        line.split_whitespace().map(|group| group.parse().expect("a number")).collect()
    }

    #[test]
    fn the_groups_of_a_peer_are_those_of_its_process() {
        let dir = std::env::temp_dir().join(format!("peer-groups-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("a fresh directory");
        let path = dir.join("s");
        let listener = UnixListener::bind(&path).expect("binds");
        let _client = UnixStream::connect(&path).expect("connects");
        let (accepted, _) = listener.accept().expect("accepts");
        assert_eq!(peer_groups(&accepted).expect("the kernel tells"), own_groups());
        std::fs::remove_dir_all(&dir).expect("ours");
    }

    #[test]
    fn what_is_no_unix_socket_has_no_peer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        assert!(peer_groups(&listener).is_err());
        assert!(peer_groups(std::io::stdin()).is_err());
    }
}
