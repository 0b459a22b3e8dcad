//! The call budget of one generator: a bucket that fills by the minute's rate and empties by the call.
//!
//! It counts in boot time, so that a jump of the wall clock neither grants nor takes calls.

use std::time::Duration;

use crate::task::Now;

/// See the module.
#[derive(Debug)]
pub struct Budget {
    per_minute: Option<u32>,
    tokens: f64,
    filled_at_ms: i64,
}

impl Budget {
    /// A full bucket without a limit yet.
    pub fn new(now: &Now) -> Self {
        Self { per_minute: None, tokens: 0.0, filled_at_ms: now.boot_ms }
    }

    /// Sets the rate; a bucket that gets its first rate is full.
    pub fn set_rate(&mut self, per_minute: Option<u32>) {
        if self.per_minute != per_minute {
            self.per_minute = per_minute;
            self.tokens = self.burst();
        }
    }

    /// A tenth of the minute's calls may come at once, and always one.
    fn burst(&self) -> f64 {
        self.per_minute.map_or(0.0, |rate| (f64::from(rate) / 10.0).max(1.0))
    }

    /// The minute's calls less what a full bucket grants at once: both together are the limit of any minute.
    fn fill_per_minute(&self) -> f64 {
        self.per_minute.map_or(0.0, |rate| f64::from(rate) - self.burst().floor() + 1.0)
    }

    fn fill(&mut self, now: &Now) {
        if self.per_minute.is_none() {
            return;
        }
        let elapsed_ms = u32::try_from((now.boot_ms - self.filled_at_ms).max(0)).unwrap_or(u32::MAX);
        self.filled_at_ms = now.boot_ms;
        self.tokens = (self.tokens + self.fill_per_minute() * f64::from(elapsed_ms) / 60_000.0).min(self.burst());
    }

    /// How many calls may be made now.
    pub fn affordable(&mut self, now: &Now) -> u32 {
        self.fill(now);
        if self.per_minute.is_none() {
            return u32::MAX;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the burst of a u32 rate")]
        let whole = self.tokens.max(0.0) as u32;
        whole
    }

    /// Takes calls out; may go below zero, which the next ones wait for.
    pub fn spend(&mut self, calls: u32, now: &Now) {
        self.fill(now);
        if self.per_minute.is_some() {
            self.tokens -= f64::from(calls);
        }
    }

    /// How long until one call may be made.
    pub fn wait_for_one(&mut self, now: &Now) -> Duration {
        self.fill(now);
        match self.per_minute {
            Some(_) if self.tokens < 1.0 => {
                Duration::from_secs_f64((1.0 - self.tokens) * 60.0 / self.fill_per_minute().max(1.0))
            }
            Some(_) | None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot_ms: i64) -> Now {
        Now { boot_ms, ..Now::default() }
    }

    #[test]
    fn never_more_than_the_rate_in_any_minute() {
        for rate in [1, 7, 60, 120] {
            let mut budget = Budget::new(&at(0));
            budget.set_rate(Some(rate));
            let mut calls = Vec::new();
            // A quiet time in between fills the bucket again.
            for ms in (0..120_000).chain(400_000..520_000).step_by(50) {
                for _ in 0..budget.affordable(&at(ms)) {
                    budget.spend(1, &at(ms));
                    calls.push(ms);
                }
            }
            let most = calls.iter().map(|from| calls.iter().filter(|ms| (*from..from + 60_000).contains(*ms)).count());
            let most = most.max().unwrap_or(0);
            assert!(most <= rate as usize && most + 1 >= rate as usize, "{most} of {rate}");
        }
    }

    #[test]
    fn a_debt_is_waited_for() {
        let mut budget = Budget::new(&at(0));
        budget.set_rate(Some(60));
        budget.spend(10, &at(0));
        assert_eq!(budget.affordable(&at(0)), 0);
        let wait = budget.wait_for_one(&at(0));
        assert!((Duration::from_secs(5)..Duration::from_secs(6)).contains(&wait), "{wait:?}");
        assert_eq!(budget.affordable(&at(6_000)), 1);
    }

    #[test]
    fn without_a_rate_nothing_is_counted() {
        let mut budget = Budget::new(&at(0));
        budget.spend(1_000_000, &at(0));
        assert_eq!(budget.affordable(&at(1)), u32::MAX);
        assert_eq!(budget.wait_for_one(&at(1)), Duration::ZERO);
    }
}
