//! How long a start may take, in one place: that nothing is started twice rests on the order of these times.
//!
//! It must not be read as a proof of anything. A time that has passed only lets somebody look; what was started and what
//! was not is said by locks and by sealed directories. The surprise: the age of a wish is read off the boot clock, as
//! wake times are. A clock that stands still while the machine is suspended would call a wish of yesterday a fresh one.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How old the wish to submit may be when the call starts.
pub(crate) const CALL_AGE: Duration = Duration::from_secs(4);
/// How much longer than its time limit and its grace a call may take until it is reaped and told.
pub(crate) const CALL_MARGIN: Duration = Duration::from_secs(5);
/// How old the wish to run may be when the runner is started.
pub(crate) const RUN_AGE: Duration = Duration::from_secs(20);
/// How long the service manager's queue and the message to it may take, each.
pub(crate) const SEND: Duration = Duration::from_secs(2);
/// How long a runner's word is waited for, the sending included. Without it the run is still starting, and the next look
/// says more.
pub(crate) const WORD: Duration = Duration::from_secs(10);
/// How long the locks of a run that was refused may take to come free.
pub(crate) const REFUSED: Duration = Duration::from_secs(2);
/// The longest start of a blocking run; what has not begun by then (and [`CALL_MARGIN`] later) is looked at.
pub(crate) const RUN_START: Duration = Duration::from_secs(30);

// A submit that starts late must not outlast the time after which its outcome counts as unknown.
const _: () = assert!(CALL_AGE.as_millis() < CALL_MARGIN.as_millis());
// All that a start does is over before anybody looks whether it ever began.
const _: () = assert!(RUN_AGE.as_millis() + WORD.as_millis() <= RUN_START.as_millis());
const _: () = assert!(REFUSED.as_millis() < CALL_MARGIN.as_millis());
const _: () = assert!(2 * SEND.as_millis() < WORD.as_millis());

/// When somebody wished for a call or a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct AskedAt(Duration);

impl AskedAt {
    /// Just now.
    pub fn now() -> Self {
        Self(since_boot())
    }

    /// Whether more than `age` has passed since, the time of a suspend included.
    pub fn is_older_than(self, age: Duration) -> bool {
        since_boot().saturating_sub(self.0) > age
    }
}

fn since_boot() -> Duration {
    let boot = clock_gettime(ClockId::Boottime);
    // The kernel's reading is never negative and its nanoseconds are less than a second.
    Duration::new(u64::try_from(boot.tv_sec).unwrap_or(0), u32::try_from(boot.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_ages_on_the_boot_clock() {
        let boot = std::fs::read_to_string("/proc/uptime").expect("there");
        let boot: f64 = boot.split(' ').next().and_then(|text| text.parse().ok()).expect("a number");
        let now = AskedAt::now();
        assert!((now.0.as_secs_f64() - boot).abs() < 60.0, "{now:?} and {boot}: /proc/uptime counts a suspend too");
        assert!(!now.is_older_than(RUN_AGE));
        assert!(AskedAt(now.0.saturating_sub(RUN_AGE + CALL_AGE)).is_older_than(RUN_AGE));
    }
}
