//! What can be asked about schedules.

use std::collections::BTreeSet;

use super::Page;
use crate::schedule::{Fire, FireId, FireState, Schedule, ScheduleId};
use crate::store::DbError;
use crate::task::Timestamp;

/// What the ScheduleActor has to do at a time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScheduleAgenda {
    /// Schedules that are due, and have no fire that has not ended; earliest first.
    pub due: Vec<Schedule>,
    /// Fires to go on with: of each schedule the first that has not ended, if its time has come; earliest first.
    pub fires: Vec<Fire>,
    /// When the next schedule is due, by the wall clock, after the time asked about.
    pub next_due: Option<Timestamp>,
    /// When the next fire is tried again, after the time asked about.
    pub next_wake: Option<Timestamp>,
}

/// How a schedule stands, without what it submits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScheduleStanding {
    /// Its name.
    pub name: String,
    /// Whether it is paused.
    pub is_paused: bool,
    /// Whether that is its end: every topic of its list was taken, and it does not begin again.
    pub is_at_end: bool,
    /// Whether its topics come from a file, which is read for new ones at each fire.
    pub reads_on: bool,
    /// How its last fire ended, and why so; none while it has had none. What was not made up for is no fire: somebody wanted that.
    pub last: Option<(FireState, Option<String>)>,
}

impl ScheduleStanding {
    /// Why its last fire submitted nothing, where it did not. A list that was worked through and ended its schedule is no trouble, nor
    /// is a file without a new topic.
    pub fn trouble(&self) -> Option<String> {
        let (state, why) = self.last.as_ref()?;
        match state {
            FireState::Empty if self.is_paused || self.reads_on => None,
            FireState::Empty | FireState::Failed => Some(why.clone().unwrap_or_else(|| state.to_string())),
            FireState::Intended | FireState::Asking | FireState::Gathered | FireState::Fired | FireState::Missed => {
                None
            }
        }
    }
}

/// The questions.
pub trait ScheduleQueries {
    /// Schedules by name. The topics of lists are left out.
    fn schedules(&self) -> Result<Vec<Schedule>, DbError>;
    /// How each schedule stands, by name.
    fn schedule_standings(&self) -> Result<Vec<ScheduleStanding>, DbError>;
    /// A schedule by number or, if that finds none, by name.
    fn find_schedule(&self, id_or_name: &str) -> Result<Option<Schedule>, DbError>;
    /// What is to be done at `now`, which the wall clock shows as `wall`: at most `limit` of each. Due times are dates, and
    /// meant as the wall clock shows them; that a fire is tried again is measured.
    fn schedule_agenda(&self, now: Timestamp, wall: Timestamp, limit: u32) -> Result<ScheduleAgenda, DbError>;
    /// A fire.
    fn fire(&self, id: FireId) -> Result<Option<Fire>, DbError>;
    /// Fires of a schedule, newest first.
    fn fires(&self, schedule: ScheduleId, page: Page) -> Result<Vec<Fire>, DbError>;
    /// What was taken of a schedule's file, by digest.
    fn schedule_taken(&self, schedule: ScheduleId) -> Result<BTreeSet<String>, DbError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_worked_through_is_an_end_and_no_trouble() {
        let standing = |is_paused, state| ScheduleStanding {
            name: "s".into(),
            is_paused,
            is_at_end: false,
            reads_on: false,
            last: Some((state, None)),
        };
        let of_file = |state| ScheduleStanding { reads_on: true, ..standing(false, state) };
        assert_eq!(of_file(FireState::Empty).trouble(), None);
        assert_eq!(of_file(FireState::Failed).trouble().as_deref(), Some("failed"), "it could not be read");
        assert_eq!(standing(true, FireState::Empty).trouble(), None);
        assert_eq!(standing(false, FireState::Empty).trouble().as_deref(), Some("empty"));
        assert_eq!(standing(true, FireState::Failed).trouble().as_deref(), Some("failed"));
        assert_eq!(standing(false, FireState::Fired).trouble(), None);
    }
}
