//! What past jobs tell of when a job will end, and when polls are worth their calls.
//!
//! Pure arithmetic. The surprise: durations of those that ended last are not durations of all, see [`durations_of`].

use std::time::Duration;

use super::Timestamp;
use super::retry::SHORTEST_POLL_WAIT;

/// How long a generator's jobs take, as far as its past ones tell: taken to be log-normal, as the durations of most work are.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Learned {
    /// Half of the jobs are done by then.
    pub median: Duration,
    /// The standard deviation of the durations' natural logarithm: 0.3 means that two thirds end within a factor of 1.35.
    pub spread: f64,
}

/// A job that completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PastJob {
    /// When the generator took it.
    pub accepted_at: Timestamp,
    /// How long it took from there to the poll that found it done.
    pub took: Duration,
}

/// How many completed jobs are looked at for those from which is learned: the ones that ended last.
pub const JOBS_LOOKED_AT: u32 = 800;
/// From how many of them is learned: a few tell little, and old ones nothing of a generator that has changed.
const JOBS_LEARNED_FROM: usize = 200;
/// So many must be left of those that are looked at, if older ones are not.
const ENOUGH_OF_MANY: usize = 50;
/// A job this many standard deviations late says nothing of the others: it is stuck, or the generator has changed.
const HOPELESS: f64 = 4.0;
/// The same where nothing was learned yet: so many times as long as the longest job.
const HOPELESS_AT_FIRST: u32 = 10;
/// Fewer durations tell nothing.
const ENOUGH_DURATIONS: usize = 5;
/// Jobs that take ever the same time are still asked about at more than one time.
const LEAST_SPREAD: f64 = 0.05;
const MOST_SPREAD: f64 = 1.5;

/// How long the jobs took from which is learned: of a generator's completed jobs, the newest [`JOBS_LOOKED_AT`] ends in their order, with
/// when the oldest of those in flight was accepted.
///
/// Of jobs that began together the short ones end first. So those count that were accepted before every job still in flight: of
/// these all have ended, long ones too. Where there are more ends than are looked at, only jobs that began after the first of
/// these ends are all among them, for of older ones the short are missing. Where so many are in flight that no time is left between,
/// the last ends must do: under a steady load they are as all are.
pub fn durations_of(past: &[PastJob], oldest: Option<Timestamp>) -> Vec<Duration> {
    let is_every_end = past.len() < JOBS_LOOKED_AT as usize;
    let first_end = past.last().map(|job| job.accepted_at.plus(job.took)).filter(|_| !is_every_end);
    let is_fair = |job: &&PastJob| {
        oldest.is_none_or(|oldest| job.accepted_at < oldest) && first_end.is_none_or(|end| job.accepted_at >= end)
    };
    let mut fair: Vec<&PastJob> = past.iter().filter(is_fair).collect();
    fair.sort_by_key(|job| std::cmp::Reverse(job.accepted_at));
    fair.truncate(JOBS_LEARNED_FROM);
    if !is_every_end && fair.len() < ENOUGH_OF_MANY {
        fair = past.iter().take(JOBS_LEARNED_FROM).collect();
    }
    fair.into_iter().map(|job| job.took).collect()
}

impl Learned {
    /// The age from which on a job in flight is an exception.
    pub fn hopeless_age(self) -> Duration {
        self.median.mul_f64((HOPELESS * self.spread).exp())
    }

    /// The same where nothing was learned yet, of completed jobs; none of none.
    pub fn hopeless_at_first(past: &[PastJob]) -> Option<Duration> {
        past.iter().map(|job| job.took).max().map(|longest| longest * HOPELESS_AT_FIRST)
    }

    /// Of the durations of past jobs; nothing of too few.
    pub fn of(durations: &[Duration]) -> Option<Self> {
        if durations.len() < ENOUGH_DURATIONS {
            return None;
        }
        let logarithms: Vec<f64> =
            durations.iter().map(|span| span.max(&SHORTEST_POLL_WAIT).as_secs_f64().ln()).collect();
        let count = logarithms.len() as f64;
        let mean = logarithms.iter().sum::<f64>() / count;
        let variance = logarithms.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        // In milliseconds and thousandths, so that a job that changes nothing changes no schedule.
        let median = Duration::from_secs_f64((mean.exp() * 1e3).round() / 1e3);
        let spread = (variance.sqrt().clamp(LEAST_SPREAD, MOST_SPREAD) * 1e3).round() / 1e3;
        Some(Self { median, spread })
    }

    /// The next time to poll a job of this age, as an age, and the wait until the one after it. `longest` bounds the steps of jobs
    /// that take longer than nearly all.
    pub(super) fn next_poll(self, age: Duration, longest: Duration) -> (Duration, Duration) {
        let at = |index: usize| self.median.mul_f64((self.spread * POLL_TIMES[index]).exp());
        // A poll in the second half of a step counts as the one at its end: jitter moves polls, and people and callbacks add some.
        for index in 0..POLL_TIMES.len() - 1 {
            let step = at(index + 1) - at(index);
            if at(index) > age + step / 2 {
                return (at(index), step);
            }
        }
        let last = POLL_TIMES.len() - 1;
        let (mut next, mut step) = (at(last), (at(last) - at(last - 1)).max(SHORTEST_POLL_WAIT));
        let longest = longest.max(self.median / 4).max(step);
        while next <= age + step / 2 {
            if step >= longest {
                // As many steps of one length as it takes.
                let steps = (age + step / 2 - next).div_duration_f64(step).floor() + 1.0;
                next += step.mul_f64(steps);
                break;
            }
            step = step.mul_f64(LATE_STEP_FACTOR).min(longest);
            next += step;
        }
        (next, step)
    }
}

/// When polls are worth their calls, in standard deviations of the logarithm from the median. Dense where most jobs end: of all
/// schedules with as many calls a job, about this one notices the end soonest (the distance of two polls is as the root of the
/// inverse of the rate at which jobs end). It begins a little early and is a little wider than that, because a job's end is known only as
/// the time of the poll that noticed it, so that what is learned comes out too late and too narrow.
const POLL_TIMES: [f64; 14] = [-1.45, -0.91, -0.51, -0.20, 0.08, 0.31, 0.53, 0.72, 0.90, 1.06, 1.23, 1.38, 1.52, 1.66];
/// Behind the last of these, each step is longer by this, up to a quarter of the median or the interval: a job that takes so long may
/// take as long again.
const LATE_STEP_FACTOR: f64 = 1.3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_durations_are_enough_to_learn_from() {
        let seconds = |values: &[u64]| values.iter().map(|value| Duration::from_secs(*value)).collect::<Vec<_>>();
        assert_eq!(Learned::of(&seconds(&[10, 10, 10, 10])), None);
        let same = Learned { median: Duration::from_secs(10), spread: LEAST_SPREAD };
        assert_eq!(Learned::of(&seconds(&[10; 5])), Some(same));
        let learned = Learned::of(&seconds(&[5, 10, 10, 10, 20])).expect("enough");
        assert_eq!(learned.median, Duration::from_secs(10), "the mean of logarithms: {learned:?}");
        assert!((learned.spread - 0.438).abs() < 0.001, "{learned:?}");
        assert!(Learned::of(&[Duration::ZERO; 5]).is_some(), "a job may be over at once");
    }

    fn seconds(values: &[u64]) -> Vec<PastJob> {
        let job = |(number, took): (usize, &u64)| PastJob {
            accepted_at: Timestamp(number as i64 * 1_000),
            took: Duration::from_secs(*took),
        };
        values.iter().enumerate().map(job).collect()
    }

    fn learn(past: &[PastJob], oldest: Option<Timestamp>) -> Option<Learned> {
        Learned::of(&durations_of(past, oldest))
    }

    #[test]
    fn what_began_with_a_job_that_still_runs_is_not_learned_from() {
        let past = seconds(&[100, 100, 100, 100, 100, 3, 3, 3, 3, 3, 3]);
        let fair = Learned::of(&[Duration::from_secs(100); 5]);
        assert_eq!(learn(&past, Some(Timestamp(5_000))), fair, "those before it have all ended");
        let any = learn(&past, None).expect("enough");
        assert!(any.median < Duration::from_secs(30), "nothing runs, so nothing is left out: {any:?}");
        assert_eq!(learn(&past, Some(Timestamp(4_000))), None, "the shortest of many tell less than nothing");
        assert_eq!(learn(&past[..4], None), None);
    }

    /// Many jobs at work at once: each of them is older than the ends that are looked at. Long ones must not count more for it.
    #[test]
    fn jobs_that_are_all_older_than_the_ends_in_sight_are_taken_as_they_ended() {
        // One ends each second, after 100 s and after 1,000 s in turns.
        let ends = (0..i64::from(JOBS_LOOKED_AT)).rev().map(|second| {
            let took = if second % 2 == 0 { 100 } else { 1_000 };
            PastJob { accepted_at: Timestamp((second - took) * 1_000), took: Duration::from_secs(took.unsigned_abs()) }
        });
        let past: Vec<PastJob> = ends.collect();
        let learned = learn(&past, Some(Timestamp(-150_000))).expect("enough");
        assert!((300..=330).contains(&learned.median.as_secs()), "half of both: {learned:?}");
        // Some time lies between the first end in sight and the oldest in flight: who began in it has ended, long or short.
        let learned = learn(&past, Some(Timestamp(-1))).expect("enough");
        assert!((300..=330).contains(&learned.median.as_secs()), "{learned:?}");
    }

    #[test]
    fn a_job_that_is_stuck_is_told_from_the_longest_before_anything_is_learned() {
        assert_eq!(Learned::hopeless_at_first(&seconds(&[3, 7, 5])), Some(Duration::from_secs(70)));
        assert_eq!(Learned::hopeless_at_first(&[]), None);
    }

    #[test]
    fn the_newest_jobs_are_learned_from_in_whatever_order_they_ended() {
        let mut past = seconds(&[vec![10; 200], vec![50; 200]].concat());
        for _ in 0..2 {
            let learned = learn(&past, None).expect("enough");
            assert_eq!(learned.median, Duration::from_secs(50));
            past.reverse();
        }
    }

    #[test]
    fn a_job_is_hopeless_four_deviations_late() {
        let age = Learned { median: Duration::from_secs(100), spread: 0.5 }.hopeless_age();
        assert_eq!(age.as_secs(), 738);
    }
}
