//! The week: which days it has, what is due in it, when the generator is away, and when and how the daemon is killed.
//!
//! What is due is said here by the calendar of the zone alone, and for the night on which its clocks change by hand: it must
//! not be reckoned by the code that is tested.

use contentd::task::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::world::SimEntropy;

pub const ZONE: &str = "Europe/Berlin";
pub const DAYS: i64 = 7;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// Days of the week, from 0.
const DAY_OF_OUTAGE: i64 = 2;
const DAY_OF_CHANGE: i64 = 4;
const OUTAGE_MS: i64 = 2 * HOUR;
/// The hourly schedule was added at this minute.
const ANCHOR_MS: i64 = 17 * MINUTE;
/// The site takes pieces between these hours of the day.
const SITE_OPENS: i8 = 9;
const SITE_CLOSES: i8 = 22;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Season {
    /// 02:30 does not exist in one night.
    Spring,
    /// 02:30 comes twice in one night.
    Autumn,
}

/// When and how the daemon dies on one day.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// From this moment on,
    pub at: Timestamp,
    /// at the so-many-th crash point,
    pub points: u64,
    /// and for so long.
    pub away_ms: i64,
}

/// See the module.
#[derive(Clone)]
pub struct Calendar {
    pub season: Season,
    pub zone: TimeZone,
    first: Date,
    outage: (Timestamp, Timestamp),
    pub kills: Vec<Kill>,
}

impl Calendar {
    pub fn of(seed: u64) -> Self {
        // The clocks change on the fifth day.
        let (season, first_day) = match seed % 2 {
            0 => (Season::Autumn, jiff::civil::date(2026, 10, 21)),
            _ => (Season::Spring, jiff::civil::date(2027, 3, 24)),
        };
        let zone = TimeZone::get(ZONE).unwrap();
        let dice = SimEntropy::new(seed ^ 0x3333);
        let nowhere = (Timestamp(0), Timestamp(0));
        let mut calendar = Self { season, zone, first: first_day, outage: nowhere, kills: Vec::new() };
        // When a few of the morning's tasks are at the generator and the others wait.
        let away = calendar.at(DAY_OF_OUTAGE, 8, 0).0 + 3_000 + i64::from(dice.below(4_000));
        calendar.outage = (Timestamp(away), Timestamp(away + OUTAGE_MS));
        calendar.kills = (0..DAYS).map(|day| calendar.kill(day, &dice)).collect();
        calendar
    }

    /// A moment of a day by the clocks of the zone. Not for the hour that is skipped or comes twice.
    pub fn at(&self, day: i64, hour: i8, minute: i8) -> Timestamp {
        let date = self.first.checked_add(jiff::Span::new().days(day)).unwrap();
        let zoned = date.at(hour, minute, 0, 0).to_zoned_datetime(self.zone.clone()).unwrap();
        Timestamp(zoned.timestamp().as_millisecond())
    }

    /// When the first life begins.
    pub fn begins(&self) -> Timestamp {
        self.at(0, 0, 0)
    }

    /// From when on nothing more is to be due.
    pub fn ends(&self) -> Timestamp {
        self.at(DAYS, 0, 0)
    }

    pub fn anchor(&self) -> Timestamp {
        Timestamp(self.begins().0 + ANCHOR_MS)
    }

    /// Due times of 08:00.
    pub fn mornings(&self) -> Vec<Timestamp> {
        (0..DAYS).map(|day| self.at(day, 8, 0)).collect()
    }

    /// Due times of 02:30: at the jump in the night that has none, and the first of the two in the night that has two.
    pub fn nights(&self) -> Vec<Timestamp> {
        let changed = match self.season {
            Season::Spring => "2027-03-28T01:00:00Z",
            Season::Autumn => "2026-10-25T00:30:00Z",
        };
        let changed = Timestamp(changed.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        (0..DAYS).map(|day| if day == DAY_OF_CHANGE { changed } else { self.at(day, 2, 30) }).collect()
    }

    /// Due times of the hourly schedule: as many as the week has hours, which are 167 or 169.
    pub fn hours(&self) -> Vec<Timestamp> {
        let (anchor, end) = (self.anchor().0, self.ends().0);
        (0..).map(|hour| Timestamp(anchor + hour * HOUR)).take_while(|due| due.0 < end).collect()
    }

    /// When the generator went away, and when it came back.
    pub fn outage(&self) -> (Timestamp, Timestamp) {
        self.outage
    }

    pub fn is_away(&self, now: i64) -> bool {
        self.outage.0.0 <= now && now < self.outage.1.0
    }

    pub fn is_open(&self, now: i64) -> bool {
        let hour = jiff::Timestamp::from_millisecond(now).unwrap().to_zoned_datetime(self.zone.clone()).hour();
        (SITE_OPENS..SITE_CLOSES).contains(&hour)
    }

    /// A moment as the zone's clocks show it.
    pub fn shown(&self, at: Timestamp) -> String {
        let zoned = jiff::Timestamp::from_millisecond(at.0).unwrap().to_zoned_datetime(self.zone.clone());
        zoned.strftime("%a %d %H:%M:%S%.3f%:z").to_string()
    }

    fn kill(&self, day: i64, dice: &SimEntropy) -> Kill {
        let draw = |bound: i64| i64::from(dice.below(u32::try_from(bound).unwrap()));
        let minutes = MINUTE + draw(9 * MINUTE);
        if day == DAY_OF_OUTAGE {
            // While it is away, and for minutes only: somebody must be there to tell of it.
            let at = self.outage.0.0 + 5 * MINUTE + draw(95 * MINUTE);
            return Kill { at: Timestamp(at), points: u64::from(dice.below(6)) + 1, away_ms: minutes };
        }
        let (at, points) = match dice.below(5) {
            0 | 1 => (self.mornings()[usize::try_from(day).unwrap()].0 - 1_000, 80),
            2 => (self.at(day, SITE_OPENS, 0).0, 40),
            3 => (self.nights()[usize::try_from(day).unwrap()].0 - 1_000, 20),
            _ => (self.at(day, 0, 30).0 + draw(17 * HOUR), 40),
        };
        let away_ms = match dice.below(4) {
            0 | 1 => minutes,
            2 => draw(2 * HOUR) + MINUTE,
            _ => 2 * HOUR,
        };
        Kill { at: Timestamp(at), points: u64::from(dice.below(points)) + 1, away_ms }
    }
}
