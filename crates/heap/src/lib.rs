//! Has the C library give large blocks of memory back to the system as soon as they are free.
//!
//! One call of one function, in a crate of its own because contentd itself holds no unsafe code. The surprise that it is for: with
//! its first freed block of some megabytes glibc begins to keep blocks of that size on the heap of the thread that asked, and a heap
//! is given back from its top only. A daemon that had read ten outputs of 12 MB, on as many threads, stood at half a gigabyte for
//! ever. A threshold that was set by hand does not grow.

/// Bytes from which a block comes from the system and goes back to it: glibc's own threshold, before it grows.
pub const LARGE: usize = 128 << 10;

/// Sets the threshold; whether that could be done. To be called before the first large block is freed, best of all at the start.
/// Elsewhere than with glibc there is nothing to do.
#[must_use]
pub fn give_large_blocks_back() -> bool {
    #[cfg(target_env = "gnu")]
    {
        let Ok(bytes) = libc::c_int::try_from(LARGE) else { return false };
        // SAFETY: two numbers, no pointers; glibc takes its own lock.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, bytes) == 1 }
    }
    #[cfg(not(target_env = "gnu"))]
    true
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use std::sync::{Arc, Barrier};
    use std::thread;

    use super::*;

    const THREADS: usize = 4;
    const BLOCK: usize = 16 << 20;

    /// Bytes of this process that are its own and in memory.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("every process has this line");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }

    #[test]
    fn what_threads_have_freed_is_no_longer_resident() {
        assert!(give_large_blocks_back());
        // The heap of a thread that has ended would be somebody else's by now.
        let (used, looked) = (Arc::new(Barrier::new(THREADS + 1)), Arc::new(Barrier::new(THREADS + 1)));
        let work = |used: Arc<Barrier>, looked: Arc<Barrier>| {
            move || {
                // A block that is a little smaller than one that was freed before is the one that would stay.
                for byte in 1..=3_u8 {
                    let block = vec![byte; BLOCK - usize::from(byte) * LARGE];
                    assert_eq!(std::hint::black_box(&block).last(), Some(&byte));
                }
                used.wait();
                looked.wait();
            }
        };
        let threads: Vec<_> =
            (0..THREADS).map(|_| thread::spawn(work(Arc::clone(&used), Arc::clone(&looked)))).collect();
        used.wait();
        let left = resident();
        looked.wait();
        threads.into_iter().for_each(|thread| thread.join().expect("it allocates and frees"));
        assert!(left < BLOCK, "{left} bytes are left of blocks of {BLOCK} that were freed");
    }
}
