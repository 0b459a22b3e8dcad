//! At which times of the clock approved pieces become due.
//!
//! The surprise: a time is taken once, when the piece is approved, and stands with its entry. Other times of a later
//! configuration concern the pieces that are approved after it.

use jiff::tz::TimeZone;

use crate::schedule::{Beat, Timing, TimingError};
use crate::task::Timestamp;

/// Times at which pieces go out.
#[derive(Clone, PartialEq, Debug)]
pub struct PublishTimes {
    expression: String,
    zone: String,
    beat: Beat,
}

impl PublishTimes {
    /// Of a cron expression; `zone_of` finds a zone by its name.
    pub fn of(
        expression: &str,
        zone: &str,
        zone_of: impl FnOnce(&str) -> Option<TimeZone>,
    ) -> Result<Self, TimingError> {
        let timing = Timing::Cron { expression: expression.to_owned(), zone: zone.to_owned() };
        let beat = Beat::of(&timing, zone_of)?;
        Ok(Self { expression: expression.to_owned(), zone: zone.to_owned(), beat })
    }

    /// As it was written.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The name of its zone.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// When a piece is due that is approved now; none where no such time comes.
    pub fn due_after(&self, approved: Timestamp) -> Option<Timestamp> {
        self.beat.next_after(approved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().expect("a time").as_millisecond())
    }

    #[test]
    fn a_piece_goes_out_at_nine_whatever_the_clocks_do() {
        let times = PublishTimes::of("0 9 * * *", "Europe/Berlin", |name| TimeZone::get(name).ok()).expect("right");
        for (approved, due) in [
            ("2026-10-24T06:05:00Z", "2026-10-24T07:00:00Z"),
            ("2026-10-24T07:00:00Z", "2026-10-25T08:00:00Z"),
            ("2026-10-25T07:05:00Z", "2026-10-25T08:00:00Z"),
            ("2027-03-28T06:59:59.999Z", "2027-03-28T07:00:00Z"),
        ] {
            assert_eq!(times.due_after(at(approved)), Some(at(due)), "{approved}");
        }
    }
}
