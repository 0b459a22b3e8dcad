//! The real clocks and the real randomness behind the core's seams.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::task::{BootId, Clock, Entropy, Now, Timestamp};

/// Wall clock and boot clock of this machine.
///
/// The wall clock is read once, at the start; from then on it is that reading and the boot clock's progress. A wall clock
/// that is set while the daemon runs therefore moves nothing here: no proof of absence comes early, no deadline late. The
/// times that people see follow the new setting after the next start, which also moves what is stored ([`Anchor`]).
pub struct SystemClock {
    anchor: Anchor,
}

/// Where the wall clock stood on the clock of a boot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Anchor {
    /// Which boot.
    pub boot_id: BootId,
    /// The wall clock's reading at that boot's beginning, in milliseconds since 1970.
    pub boot_began_ms: i64,
}

/// A difference that is a jump of the wall clock, and not what it is steered by.
const JUMP_MS: i64 = 2_000;

fn boot_ms() -> i64 {
    let boot = clock_gettime(ClockId::Boottime);
    boot.tv_sec.saturating_mul(1_000).saturating_add(boot.tv_nsec / 1_000_000)
}

fn wall_ms() -> i64 {
    // A clock before 1970 is told as 1970: nothing that we keep is older.
    let utc = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(utc.as_millis()).unwrap_or(i64::MAX)
}

impl SystemClock {
    /// Reads both clocks, and which boot this is. Where the kernel does not say, each start of the daemon counts as a
    /// boot of its own: then the wall clock decides after a restart.
    pub fn new() -> Self {
        let named = fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned());
        let boot_id = BootId(named.unwrap_or_else(|_| OsEntropy.attempt_key().0));
        Self { anchor: Anchor { boot_id, boot_began_ms: wall_ms() - boot_ms() } }
    }

    /// What the next start compares with its own.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// By how many milliseconds the wall clock was set since the start; none while it was only steered.
    pub fn jump_since_start(&self) -> Option<i64> {
        let began = wall_ms() - boot_ms();
        Some(began - self.anchor.boot_began_ms).filter(|jump| jump.abs() >= JUMP_MS)
    }
}

impl Anchor {
    /// By how many milliseconds what was stored under `before` must move; none in another boot, where nothing is known.
    pub fn jump_since(&self, before: &Self) -> Option<i64> {
        let is_same_boot = self.boot_id == before.boot_id;
        Some(self.boot_began_ms - before.boot_began_ms).filter(|jump| is_same_boot && jump.abs() >= JUMP_MS)
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let boot_ms = boot_ms();
        let utc = Timestamp(self.anchor.boot_began_ms.saturating_add(boot_ms));
        Now { utc, boot_id: self.anchor.boot_id.clone(), boot_ms }
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

    #[test]
    fn a_wall_clock_that_was_set_between_two_starts_is_seen_inside_one_boot_only() {
        let at = |boot: &str, began| Anchor { boot_id: BootId(boot.into()), boot_began_ms: began };
        assert_eq!(at("a", 3_600_000).jump_since(&at("a", 0)), Some(3_600_000));
        assert_eq!(at("a", 0).jump_since(&at("a", 3_600_000)), Some(-3_600_000));
        assert_eq!(at("a", 500).jump_since(&at("a", 0)), None, "steered, not set");
        assert_eq!(at("b", 3_600_000).jump_since(&at("a", 0)), None, "nothing is known of another boot");
        assert_eq!(SystemClock::new().jump_since_start(), None);
    }
}
