//! A unix socket whose other end does nothing: one thread for all connections, as the daemon's control server is one.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};

/// The server. It ends with its last connection.
pub struct Echo {
    dir: tempfile::TempDir,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Echo {
    /// Serves exactly `clients` connections: each message is answered with `reply`, which ends with a NUL as messages do.
    pub fn start(clients: usize, reply: Vec<u8>) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let listener = UnixListener::bind(dir.path().join("s"))?;
        let work = move || {
            let accept = |_| listener.accept().map(|(stream, _)| stream);
            serve((0..clients).map(accept).collect::<std::io::Result<Vec<_>>>()?, &reply)
        };
        let thread = std::thread::Builder::new().name("floor-echo".into()).spawn(work)?;
        Ok(Self { dir, thread: Some(thread) })
    }

    /// Where to connect.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Its clients have seen what it could not do.
            let _ = thread.join();
        }
    }
}

fn serve(mut streams: Vec<UnixStream>, reply: &[u8]) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    while !streams.is_empty() {
        let mut waiting: Vec<PollFd<'_>> = streams.iter().map(|stream| PollFd::new(stream, PollFlags::IN)).collect();
        // One client alone needs no look at who has sent something.
        if waiting.len() > 1 {
            poll(&mut waiting, None)?;
        }
        let is_single = waiting.len() == 1;
        let ready: Vec<bool> = waiting.iter().map(|one| is_single || !one.revents().is_empty()).collect();
        let mut gone = Vec::new();
        for (place, stream) in streams.iter_mut().enumerate().filter(|(place, _)| ready[*place]) {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                gone.push(place);
            } else if buffer[count - 1] == 0 {
                stream.write_all(reply)?;
            }
        }
        for place in gone.into_iter().rev() {
            streams.remove(place);
        }
    }
    Ok(())
}
