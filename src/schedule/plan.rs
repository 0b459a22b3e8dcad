//! Which fires are begun at a look: the time that is due, and those that passed while nobody looked.
//!
//! Pure, and made from the schedule's row alone. That is why a restart, a machine that slept and a fire that took long are
//! one case.

use super::record::{Misfire, ON_TIME};
use super::timing::Beat;
use crate::task::Timestamp;

/// What a look begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Due times to fire, earliest first.
    pub fires: Vec<Timestamp>,
    /// Due times that are passed over; at least so many where `is_counted` is false.
    pub missed: u32,
    /// Whether `missed` is all of them.
    pub is_counted: bool,
    /// The latest of all that have passed: under it the history says what was missed where nothing is fired.
    pub latest: Timestamp,
    /// When it is due next; none: never again.
    pub next_due: Option<Timestamp>,
}

/// What to do at `now` about a schedule that was due at `due`; none where that is still to come.
pub fn plan(beat: &Beat, misfire: Misfire, due: Timestamp, now: Timestamp) -> Option<Plan> {
    if due > now {
        return None;
    }
    let most = match misfire {
        Misfire::All { most } => most,
        Misfire::Once | Misfire::None => 1,
    };
    let passed = beat.passed(due, now, most);
    // Its expression or its zone may have changed under it: then the time that was promised stands.
    let latest = passed.latest.last().copied().unwrap_or(due);
    let mut fires = if passed.latest.is_empty() { vec![due] } else { passed.latest };
    let mut missed = passed.earlier;
    if misfire == Misfire::None && now.since(latest) > ON_TIME {
        missed = missed.saturating_add(u32::try_from(fires.len()).unwrap_or(u32::MAX));
        fires.clear();
    }
    let next_due = beat.next_after(now);
    Some(Plan { fires, missed, is_counted: passed.is_counted, latest, next_due })
}

/// When a schedule that runs is due next, seen afresh: its zone may have other rules now, or the wall clock was set. A time
/// that has passed is left for [`plan`].
pub fn realigned(beat: &Beat, due: Timestamp, now: Timestamp) -> Option<Timestamp> {
    if due <= now { Some(due) } else { beat.next_after(now) }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::record::Timing;
    use super::*;

    const MINUTE: i64 = 60_000;

    fn minutely() -> Beat {
        let timing = Timing::Every { seconds: 60, anchor: Timestamp(0), zone: "UTC".into() };
        Beat::of(&timing, |_| Some(TimeZone::UTC)).expect("right")
    }

    fn planned(misfire: Misfire, due: i64, now: i64) -> Option<(Vec<i64>, u32, i64)> {
        let plan = plan(&minutely(), misfire, Timestamp(due), Timestamp(now))?;
        assert!(plan.is_counted);
        let fires = plan.fires.iter().map(|time| time.0 / MINUTE).collect();
        Some((fires, plan.missed, plan.next_due.expect("it goes on").0 / MINUTE))
    }

    #[test]
    fn what_is_on_time_fires_whatever_the_policy() {
        for misfire in [Misfire::Once, Misfire::None, Misfire::All { most: 5 }] {
            assert_eq!(planned(misfire, MINUTE, MINUTE - 1), None, "not yet");
            assert_eq!(planned(misfire, MINUTE, MINUTE), Some((vec![1], 0, 2)));
            assert_eq!(planned(misfire, MINUTE, MINUTE + 30_000), Some((vec![1], 0, 2)));
        }
    }

    #[test]
    fn what_passed_is_made_up_for_once_all_or_not_at_all() {
        // Ten minutes without a daemon, up to a second before the next.
        let (due, now) = (MINUTE, 10 * MINUTE + 59_999);
        assert_eq!(planned(Misfire::Once, due, now), Some((vec![10], 9, 11)));
        assert_eq!(planned(Misfire::All { most: 4 }, due, now), Some((vec![7, 8, 9, 10], 6, 11)));
        assert_eq!(planned(Misfire::All { most: 100 }, due, now), Some(((1..=10).collect(), 0, 11)));
        assert_eq!(planned(Misfire::None, due, now), Some((vec![10], 9, 11)), "the last is on time");
        let timing = Timing::Every { seconds: 3_600, anchor: Timestamp(0), zone: "UTC".into() };
        let hourly = Beat::of(&timing, |_| Some(TimeZone::UTC)).expect("right");
        let hour = 60 * MINUTE;
        let late = plan(&hourly, Misfire::None, Timestamp(hour), Timestamp(2 * hour + 61_000)).expect("due");
        assert_eq!((late.fires.len(), late.missed, late.latest.0), (0, 2, 2 * hour));
        let late = plan(&hourly, Misfire::None, Timestamp(hour), Timestamp(2 * hour + 60_000)).expect("due");
        assert_eq!((late.fires, late.missed), (vec![Timestamp(2 * hour)], 1));
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_up() {
        let beat = minutely();
        let far = Timestamp(1_000_000 * MINUTE);
        assert_eq!(realigned(&beat, far, Timestamp(5 * MINUTE)), Some(Timestamp(6 * MINUTE)));
        assert_eq!(realigned(&beat, Timestamp(MINUTE), Timestamp(5 * MINUTE)), Some(Timestamp(MINUTE)));
    }
}
