//! Gives memory back to the system that a daemon does not need for its long life.
//!
//! Two calls of one function each, in a crate of its own because contentd itself holds no unsafe code:
//!
//! - [`give_large_blocks_back`]. With its first freed block of some megabytes glibc begins to keep blocks of that size on the heap of
//!   the thread that asked, and a heap is given back from its top only. A daemon that had read ten outputs of 12 MB, on as many
//!   threads, stood at half a gigabyte for ever. A threshold that was set by hand does not grow.
//! - [`let_go_of_code`]. What only a start runs (arguments, configuration, migrations, recovery) is a good part of a program, and
//!   stays mapped until the system is short of memory.

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

/// Unmaps the pages of the program's own code; whether that could be done. What runs again is mapped again from the page cache, at a
/// fault for some sixteen pages, so this is for the end of a start, and for nothing that is repeated.
#[must_use]
pub fn let_go_of_code() -> bool {
    #[cfg(target_os = "linux")]
    {
        let Some((start, length)) = mapping_of(let_go_of_code as *const () as usize) else { return false };
        // SAFETY: the kernel lists these pages as a private mapping of a file that may be run and not be written, so that each holds
        // what the file holds, as the system has it or will read it again.
        unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    true
}

/// Where the code begins that `address` lies in, and how long it is; nothing if it could hold anything that its file does not.
#[cfg(target_os = "linux")]
fn mapping_of(address: usize) -> Option<(usize, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        let is_of_a_file = words.next()? == "r-xp" && words.nth(2)? != "0";
        ((start..end).contains(&address) && is_of_a_file).then_some((start, end - start))
    })
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use std::sync::{Arc, Barrier};
    use std::thread;

    use super::*;

    const THREADS: usize = 4;
    const BLOCK: usize = 16 << 20;

    /// Bytes of this process that are in memory: "RssAnon:" its own, "RssFile:" mapped files.
    fn resident(which: &str) -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let line = status.lines().find_map(|line| line.strip_prefix(which)).expect("every process has this line");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }

    /// As a start does: all of the code has been run once.
    fn run_all_code() -> u64 {
        let (start, length) = mapping_of(let_go_of_code as *const () as usize).expect("the tests have code");
        // SAFETY: the mapping may be read, and holds these bytes.
        let code = unsafe { std::slice::from_raw_parts(start as *const u8, length) };
        code.iter().step_by(4096).map(|byte| u64::from(*byte)).sum()
    }

    #[test]
    fn code_that_ran_is_no_longer_resident_and_runs_again() {
        let sum = run_all_code();
        let before = resident("RssFile:");
        assert!(let_go_of_code());
        let after = resident("RssFile:");
        assert!(after < before, "{before} bytes of files were resident, and are {after}");
        assert_eq!(run_all_code(), sum, "the same code is there again");
    }

    #[test]
    fn nothing_is_let_go_but_code() {
        let data = 0_u8;
        assert_eq!(mapping_of(std::ptr::from_ref(&data) as usize), None);
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
        let left = resident("RssAnon:");
        looked.wait();
        threads.into_iter().for_each(|thread| thread.join().expect("it allocates and frees"));
        assert!(left < BLOCK, "{left} bytes are left of blocks of {BLOCK} that were freed");
    }
}
