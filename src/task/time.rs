//! Time as the core sees it: a value that is handed in, never asked for.
//!
//! A deadline carries both wall time and boot time. Inside one boot the boot time decides, so a
//! wall clock that jumps by an hour ends nothing; after a reboot only wall time is left to compare.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This time and `span` more; saturates far beyond any date that matters.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// This time less `span`.
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long after `earlier` this is; zero when it is before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The date and time in UTC, as in `2026-01-31T08:15:30Z`.
    pub fn in_utc(self) -> String {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or_default().to_string()
    }

    /// From when and until when something counts that is limited by the day. What lies ahead was written before the clock was set
    /// back: a day of that may have happened in the last 24 hours. What lies further ahead would use up every day until its time
    /// has come.
    pub fn day_around(self) -> (Self, Self) {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        (self.minus(DAY), self.plus(DAY))
    }
}

/// A span in whole milliseconds, saturating.
pub fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Seconds as people say them: `30m`, `1h30m`.
pub fn in_words(seconds: u64) -> String {
    if seconds == 0 {
        return "0s".to_owned();
    }
    let units = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    units.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect()
}

/// Names one boot of one machine (`/proc/sys/kernel/random/boot_id`).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub String);

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One reading of both clocks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// The wall clock.
    pub utc: Timestamp,
    /// Which boot [`Now::boot_ms`] counts from.
    pub boot_id: BootId,
    /// Milliseconds since boot, suspend included (`CLOCK_BOOTTIME`).
    pub boot_ms: i64,
}

impl Now {
    /// The deadline that lies `span` ahead.
    pub fn deadline_in(&self, span: Duration) -> Deadline {
        Deadline {
            at: self.utc.plus(span),
            boot_id: self.boot_id.clone(),
            boot_ms: self.boot_ms.saturating_add(millis(span)),
        }
    }
}

/// A point in time that a jump of the wall clock does not move.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Deadline {
    /// Where it lay on the wall clock when it was set.
    pub at: Timestamp,
    /// The boot it was set in.
    pub boot_id: BootId,
    /// Where it lies on that boot's clock.
    pub boot_ms: i64,
}

impl Deadline {
    /// Whether it has passed: by boot time inside the boot it was set in, by wall time after that.
    pub fn has_passed(&self, now: &Now) -> bool {
        self.remaining(now).is_zero()
    }

    /// How long it is until then; zero once it has passed.
    pub fn remaining(&self, now: &Now) -> Duration {
        let left = if self.boot_id == now.boot_id {
            self.boot_ms.saturating_sub(now.boot_ms)
        } else {
            self.at.0.saturating_sub(now.utc.0)
        };
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(utc: i64, boot: &str, boot_ms: i64) -> Now {
        Now { utc: Timestamp(utc), boot_id: BootId(boot.into()), boot_ms }
    }

    #[test]
    fn a_jump_of_the_wall_clock_ends_nothing_inside_one_boot() {
        let deadline = now(1_000_000, "a", 5_000).deadline_in(Duration::from_secs(60));
        let an_hour_ahead = now(1_000_000 + 3_600_000, "a", 6_000);
        assert!(!deadline.has_passed(&an_hour_ahead));
        let an_hour_back = now(1_000_000 - 3_600_000, "a", 65_000);
        assert!(deadline.has_passed(&an_hour_back));
    }

    #[test]
    fn the_day_of_a_limit_lies_around_now() {
        assert_eq!(Timestamp(100_000_000).day_around(), (Timestamp(13_600_000), Timestamp(186_400_000)));
        assert_eq!(Timestamp(i64::MAX).day_around().1, Timestamp(i64::MAX));
    }

    #[test]
    fn after_a_reboot_the_wall_clock_decides() {
        let deadline = now(1_000_000, "a", 5_000).deadline_in(Duration::from_secs(60));
        assert!(!deadline.has_passed(&now(1_059_999, "b", 1)));
        assert!(deadline.has_passed(&now(1_060_000, "b", 1)));
    }
}
