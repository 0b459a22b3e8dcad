//! When to try again: exponential back-off with jitter, and the times of polls.
//!
//! Pure arithmetic: the draw between 0 and 1 that makes the jitter comes in.

use std::time::Duration;

/// Exponential back-off. The n-th delay is `initial × factor^n`, at most `max`, moved by up to `jitter` of itself.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Backoff {
    /// The first delay.
    pub initial: Duration,
    /// By how much each delay exceeds the one before; at least 1.
    pub factor: f64,
    /// The longest delay before jitter.
    pub max: Duration,
    /// 0 to 1: the part of a delay that the draw moves it by, both ways.
    pub jitter: f64,
}

impl Backoff {
    /// The delay before the retry number `n`, from 0. `draw` lies in 0..1.
    pub fn delay(&self, n: u32, draw: f64) -> Duration {
        let exponent = i32::try_from(n.min(1_000)).unwrap_or(1_000);
        let grown = self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        // A power may be infinite; min() brings it back before anything is made of it.
        let bounded = grown.min(self.max.as_secs_f64()).max(0.0);
        jittered(Duration::from_secs_f64(bounded), self.jitter, draw)
    }
}

/// `span`, moved by up to `jitter` of itself both ways.
pub fn jittered(span: Duration, jitter: f64, draw: f64) -> Duration {
    let swing = 1.0 + jitter.clamp(0.0, 1.0) * (2.0 * draw.clamp(0.0, 1.0) - 1.0);
    span.mul_f64(swing.max(0.0))
}

/// When the polls of one job come.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PollSchedule {
    /// The wished longest wait between two polls.
    pub interval: Duration,
    /// The 10 % quantile of this generator's past durations, once there are enough: the first poll's time.
    pub first: Option<Duration>,
    /// One call answers for every job: each job is asked about at every interval, because that costs nothing more.
    pub is_batch: bool,
}

/// The shortest wait between two polls of one job.
pub const SHORTEST_POLL_WAIT: Duration = Duration::from_millis(200);
const POLL_JITTER: f64 = 0.1;
const FIRST_STEP: f64 = 0.1;
const STEP_FACTOR: f64 = 1.6;

impl PollSchedule {
    /// How long to wait before the next poll of a job that was polled `polls` times.
    pub fn wait(&self, polls: u32, draw: f64) -> Duration {
        if self.is_batch {
            return jittered(self.interval, POLL_JITTER, draw);
        }
        if polls == 0
            && let Some(first) = self.first
        {
            return jittered(first.max(SHORTEST_POLL_WAIT), POLL_JITTER, draw);
        }
        let step = FIRST_STEP * STEP_FACTOR.powi(i32::try_from(polls.min(100)).unwrap_or(100));
        jittered(self.interval.mul_f64(step.min(1.0)).max(SHORTEST_POLL_WAIT), POLL_JITTER, draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEFAULT: Backoff =
        Backoff { initial: Duration::from_secs(30), factor: 2.0, max: Duration::from_secs(600), jitter: 0.2 };

    #[test]
    fn delays_double_up_to_the_maximum() {
        let delays: Vec<u64> = (0..7).map(|n| DEFAULT.delay(n, 0.5).as_secs()).collect();
        assert_eq!(delays, [30, 60, 120, 240, 480, 600, 600]);
    }

    #[test]
    fn polls_start_at_the_quantile_and_widen_to_the_interval() {
        let schedule =
            PollSchedule { interval: Duration::from_secs(30), first: Some(Duration::from_secs(90)), is_batch: false };
        assert_eq!(schedule.wait(0, 0.5), Duration::from_secs(90));
        assert!(schedule.wait(1, 0.5) < schedule.wait(3, 0.5));
        assert_eq!(schedule.wait(50, 0.5), Duration::from_secs(30));
    }

    proptest! {
        #[test]
        fn a_delay_stays_within_its_bounds(n in 0u32..u32::MAX, draw in 0.0f64..1.0) {
            let delay = DEFAULT.delay(n, draw).as_secs_f64();
            prop_assert!((24.0 - 1e-6..=720.0 + 1e-6).contains(&delay));
        }
    }
}
