//! The real clocks and the real randomness behind the core's seams.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::task::{BootId, Clock, Entropy, Now, Timestamp};

/// Wall clock and boot clock of this machine.
pub struct SystemClock {
    boot_id: BootId,
}

impl SystemClock {
    /// Reads which boot this is. Where the kernel does not say, each start of the daemon counts as a boot of its own:
    /// then the wall clock decides after a restart.
    pub fn new() -> Self {
        let named = fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned());
        let boot_id = named.unwrap_or_else(|_| OsEntropy.attempt_key().0);
        Self { boot_id: BootId(boot_id) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        // A clock before 1970 is told as 1970: nothing that we keep is older.
        let utc = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let boot = clock_gettime(ClockId::Boottime);
        Now {
            utc: Timestamp(i64::try_from(utc.as_millis()).unwrap_or(i64::MAX)),
            boot_id: self.boot_id.clone(),
            boot_ms: boot.tv_sec.saturating_mul(1_000).saturating_add(boot.tv_nsec / 1_000_000),
        }
    }
}

/// The system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // Without randomness a key could be guessed and a mark forged: there is no way to go on, and on Linux it
        // cannot happen after early boot.
        getrandom::fill(bytes).expect("the kernel gives randomness once it has booted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_run_and_keys_differ() {
        let clock = SystemClock::new();
        let first = clock.now();
        assert!(first.utc.0 > 1_700_000_000_000 && first.boot_ms > 0 && !first.boot_id.0.is_empty());
        assert!(clock.now().boot_ms >= first.boot_ms);
        assert_ne!(OsEntropy.attempt_key(), OsEntropy.attempt_key());
        assert!((0.0..1.0).contains(&OsEntropy.draw()));
    }
}
