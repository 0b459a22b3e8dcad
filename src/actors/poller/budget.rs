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

    fn fill(&mut self, now: &Now) {
        let Some(rate) = self.per_minute else { return };
        let elapsed_ms = u32::try_from((now.boot_ms - self.filled_at_ms).max(0)).unwrap_or(u32::MAX);
        self.filled_at_ms = now.boot_ms;
        self.tokens = (self.tokens + f64::from(rate) * f64::from(elapsed_ms) / 60_000.0).min(self.burst());
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
            Some(rate) if self.tokens < 1.0 => {
                Duration::from_secs_f64((1.0 - self.tokens) * 60.0 / f64::from(rate.max(1)))
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
    fn never_more_than_the_rate_in_any_minute_after_the_burst() {
        let mut budget = Budget::new(&at(0));
        budget.set_rate(Some(60));
        let mut calls = 0;
        for ms in (0..60_000).step_by(50) {
            let affordable = budget.affordable(&at(ms)).min(3);
            budget.spend(affordable, &at(ms));
            calls += affordable;
        }
        assert!((60..=66).contains(&calls), "{calls}");
    }

    #[test]
    fn a_debt_is_waited_for() {
        let mut budget = Budget::new(&at(0));
        budget.set_rate(Some(60));
        budget.spend(10, &at(0));
        assert_eq!(budget.affordable(&at(0)), 0);
        let wait = budget.wait_for_one(&at(0));
        assert_eq!(wait, Duration::from_secs(5));
        assert_eq!(budget.affordable(&at(5_000)), 1);
    }

    #[test]
    fn without_a_rate_nothing_is_counted() {
        let mut budget = Budget::new(&at(0));
        budget.spend(1_000_000, &at(0));
        assert_eq!(budget.affordable(&at(1)), u32::MAX);
        assert_eq!(budget.wait_for_one(&at(1)), Duration::ZERO);
    }
}
