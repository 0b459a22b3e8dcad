//! When to try again: exponential back-off with jitter, and the times of polls by what [`learning`](super::learning) knows.
//!
//! Pure arithmetic: the draw between 0 and 1 that makes the jitter comes in.

use std::time::Duration;

use super::learning::Learned;

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
    /// The wished longest wait between two polls, for as long as nothing was learned.
    pub interval: Duration,
    /// What past jobs tell, once there are enough.
    pub learned: Option<Learned>,
    /// One call answers for every job: each job is asked about at every interval, because that costs nothing more.
    pub is_batch: bool,
}

/// The shortest wait between two polls of one job.
pub const SHORTEST_POLL_WAIT: Duration = Duration::from_millis(200);
const POLL_JITTER: f64 = 0.1;
const FIRST_STEP: f64 = 0.1;
const STEP_FACTOR: f64 = 1.6;

impl PollSchedule {
    /// How long to wait before the next poll of a job that was accepted `age` ago and polled `polls` times since.
    pub fn wait(&self, polls: u32, age: Duration, draw: f64) -> Duration {
        if self.is_batch {
            return jittered(self.interval, POLL_JITTER, draw);
        }
        if let Some(learned) = self.learned {
            let (at, step) = learned.next_poll(age, self.interval);
            let wait = at.saturating_sub(age);
            // The first wait is long beside the steps that follow, and jitter must not outweigh them.
            let jitter = POLL_JITTER.min(0.5 * step.as_secs_f64() / wait.as_secs_f64().max(f64::MIN_POSITIVE));
            return jittered(wait, jitter, draw).max(SHORTEST_POLL_WAIT);
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

    const NOTHING_LEARNED: PollSchedule =
        PollSchedule { interval: Duration::from_secs(30), learned: None, is_batch: false };

    #[test]
    fn polls_widen_to_the_interval_while_nothing_is_learned() {
        let wait = |polls| NOTHING_LEARNED.wait(polls, Duration::from_secs(3_600), 0.5);
        assert_eq!(wait(0), Duration::from_secs(3));
        assert!(wait(1) < wait(3));
        assert_eq!(wait(50), Duration::from_secs(30));
    }

    #[test]
    fn polls_are_dense_where_jobs_end_and_grow_for_those_that_are_late() {
        let learned = Learned { median: Duration::from_secs(100), spread: 0.3 };
        let schedule = PollSchedule { learned: Some(learned), ..NOTHING_LEARNED };
        let waits = |schedule: PollSchedule, polls: u32| {
            let mut age = Duration::ZERO;
            let one = |polls| {
                let wait = schedule.wait(polls, age, 0.5);
                age += wait;
                wait.as_secs_f64()
            };
            (0..polls).map(one).collect::<Vec<f64>>()
        };
        let all = waits(schedule, 40);
        assert!((all[0] - 64.7).abs() < 0.1, "the first comes when the first jobs end: {all:?}");
        assert!(all[1..14].iter().all(|wait| (5.0..13.0).contains(wait)), "{all:?}");
        assert!(all[14..18].windows(2).all(|two| (two[1] / two[0] - 1.3).abs() < 0.01), "{all:?}");
        assert!(all[30..].iter().all(|wait| (wait - 30.0).abs() < 0.1), "the interval bounds them: {all:?}");
        let short = Learned { median: Duration::from_millis(300), spread: 0.05 };
        let schedule = PollSchedule { learned: Some(short), ..NOTHING_LEARNED };
        assert!(waits(schedule, 60).iter().all(|wait| *wait >= 0.2));
    }

    /// Somebody else's polls, callbacks above all, put nothing off and bring nothing forward but themselves.
    #[test]
    fn a_job_is_polled_by_its_age_however_often_it_was_asked_about() {
        let learned = Learned { median: Duration::from_secs(1_200), spread: 0.3 };
        let schedule = PollSchedule { learned: Some(learned), ..NOTHING_LEARNED };
        for (age, most) in [(60, 730), (1_100, 140), (1_800, 140), (7_200, 450), (600_000, 450), (u64::MAX >> 12, 450)]
        {
            for polls in [0, 3, 100, u32::MAX] {
                let wait = schedule.wait(polls, Duration::from_secs(age), 0.5).as_secs();
                assert!((1..=most).contains(&wait), "{polls} polls, {age} s old: {wait} s");
            }
        }
    }

    /// Draws as a generator's jobs do: log-normal with a spread of 0.3, by the sum of twelve.
    fn factor(draws: &mut impl FnMut() -> f64) -> f64 {
        let normal: f64 = (0..12).map(|_| draws()).sum::<f64>() - 6.0;
        (0.3 * normal).exp()
    }

    /// What is promised of a generator that answers for one job a call, when the calls are not limited.
    #[test]
    fn an_end_is_noticed_within_a_twentieth_of_its_duration_by_six_polls() {
        let mut state = 7_u64;
        let mut draws = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        for typical in [10.0, 1_200.0] {
            let mut noticed: Vec<Duration> =
                (0..50).map(|_| Duration::from_secs_f64(typical * factor(&mut draws))).collect();
            let (mut polls, mut late, mut lasted) = (0, 0.0, 0.0);
            for _ in 0..4_000 {
                let newest = &noticed[noticed.len().saturating_sub(200)..];
                let schedule = PollSchedule { learned: Learned::of(newest), ..NOTHING_LEARNED };
                let duration = typical * factor(&mut draws);
                let (mut at, mut asked) = (Duration::ZERO, 0);
                while asked == 0 || at.as_secs_f64() < duration {
                    at += schedule.wait(asked, at, draws());
                    asked += 1;
                }
                (polls, late, lasted) = (polls + asked, late + at.as_secs_f64() - duration, lasted + duration);
                noticed.push(at);
            }
            let calls = f64::from(polls) / 4_000.0;
            assert!(calls <= 6.0, "{calls} calls a job");
            assert!(late / lasted <= 0.05, "noticed after {} of the duration", late / lasted);
        }
    }

    proptest! {
        #[test]
        fn a_delay_stays_within_its_bounds(n in 0u32..u32::MAX, draw in 0.0f64..1.0) {
            let delay = DEFAULT.delay(n, draw).as_secs_f64();
            prop_assert!((24.0 - 1e-6..=720.0 + 1e-6).contains(&delay));
        }
    }
}
