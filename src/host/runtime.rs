//! The runtime of one of our threads, with threads for work that blocks before there is any.
//!
//! It must not decide what runs there. The surprise: tokio panics where such work finds no thread and the system gives none
//! (`TasksMax`, `RLIMIT_NPROC`), and queues it as long as there is one. So some threads start with the runtime, and none ends
//! before it: a machine without processes costs time and no answers.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// Longer than any daemon lives.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A runtime for the thread that drives it, with at least `ready` threads for work that blocks.
pub fn with_ready_threads(ready: usize) -> io::Result<Runtime> {
    // The first is tried by hand, because tokio would not tell but panic.
    let tried = std::thread::Builder::new().name("first".into()).spawn(|| ())?;
    // It does nothing that could panic.
    let _ = tried.join();
    let runtime = Builder::new_current_thread().enable_all().thread_keep_alive(FOR_EVER).build()?;
    // Each waits for the gate, so that none of them can take the work of another.
    let gate = std::sync::Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..ready {
        let gate = std::sync::Arc::clone(&gate);
        runtime.spawn_blocking(move || drop(gate.lock()));
    }
    drop(closed);
    Ok(runtime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_are_there_before_the_work() {
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let before = threads();
        let runtime = with_ready_threads(40).unwrap();
        // Other tests of this process come and go meanwhile.
        assert!(threads() >= before + 20, "{before} and {}", threads());
        assert_eq!(runtime.block_on(async { tokio::task::spawn_blocking(|| 7).await }).unwrap(), 7);
    }
}
