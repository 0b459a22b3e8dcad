//! The time zones of this machine, by their IANA names.
//!
//! Whoever needs a zone of this machine asks here. It must not know what a zone is needed for. The surprise: jiff looks for the
//! zone files once in the life of a process, and a daemon that began before they were installed would never see them. So a name
//! that is not found has them looked for again, at most once a second: a look walks through all of them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// How long after a look the next is made.
const AGAIN: Duration = Duration::from_secs(1);

static ZONES: Mutex<Zones> = Mutex::new(Zones { known: None });

/// A time zone of this machine; none for anything but the name of one. Reads files.
pub fn named(name: &str) -> Option<TimeZone> {
    ZONES.lock().unwrap_or_else(PoisonError::into_inner).named(name, Instant::now(), TimeZoneDatabase::from_env)
}

/// Why what depends on a zone stands still, and what helps; none while the zone can be read. Reads files.
pub fn trouble(name: &str) -> Option<String> {
    named(name).is_none().then(|| missing(name))
}

/// What is said of a zone that cannot be read.
pub fn missing(name: &str) -> String {
    format!(
        "its time zone {name:?} cannot be read on this machine: install the zone files (package tzdata), and it goes on by itself"
    )
}

/// What was found at the last look, and when that was.
struct Zones {
    known: Option<(TimeZoneDatabase, Instant)>,
}

impl Zones {
    fn named(&mut self, name: &str, now: Instant, look: impl FnOnce() -> TimeZoneDatabase) -> Option<TimeZone> {
        if let Some((database, looked_at)) = &self.known {
            let found = database.get(name).ok();
            if found.is_some() || now.saturating_duration_since(*looked_at) < AGAIN {
                return found;
            }
        }
        let database = look();
        let found = database.get(name).ok();
        self.known = Some((database, now));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_files_that_come_later_are_found_and_are_not_looked_for_at_each_question() {
        let there = || TimeZoneDatabase::from_dir("/usr/share/zoneinfo").expect("this machine has zone files");
        let (mut zones, began) = (Zones { known: None }, Instant::now());
        assert_eq!(zones.named("Europe/Berlin", began, TimeZoneDatabase::none), None);
        let never = || -> TimeZoneDatabase { panic!("it was looked a moment ago") };
        assert_eq!(zones.named("Europe/Berlin", began + AGAIN / 2, never), None);
        assert!(zones.named("Europe/Berlin", began + AGAIN, there).is_some(), "they were installed meanwhile");
        assert!(zones.named("Asia/Shanghai", began + 9 * AGAIN, never).is_some(), "what is known is not looked for");
    }

    #[test]
    fn nothing_but_a_name_is_a_zone() {
        for name in ["", "Europe/Atlantis", "../../etc/passwd", "/etc/localtime"] {
            assert_eq!(named(name), None, "{name}");
        }
        let told = trouble("Europe/Atlantis").expect("there is none");
        assert!(["\"Europe/Atlantis\"", "tzdata"].iter().all(|part| told.contains(part)), "{told}");
        assert_eq!(trouble("UTC"), None);
    }
}
