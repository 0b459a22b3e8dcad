//! Where topics come from: a list, a file that somebody edits in the middle of the week, and a command. Tasks are made of
//! them as the daemon makes them.

use std::sync::Arc;
use std::time::Duration;

use contentd::actors::schedule::{Entry, Seams};
use contentd::backend::DaemonBackend;
use contentd::control::api::ApiError;
use contentd::control::topics::digest;
use contentd::generator::command::topics::{Printed, Wanted};
use contentd::schedule::{AtEnd, Beat, Misfire, NewSchedule, Params, Schedule, Timing, Topic, TopicSource};
use contentd::store::write::{Account, NewTask};
use contentd::task::{AccountId, Clock};
use futures_util::future::BoxFuture;
use jiff::tz::TimeZone;

use super::calendar::{Calendar, DAYS, ZONE};
use super::crash::Crash;
use super::world::SimClock;

/// Topics for each account in the morning.
pub const TOPICS_EACH: usize = 3;
pub const ACCOUNTS: [&str; 3] = ["one", "two", "three"];
const COMMAND: &str = "news";
/// More than the week needs, so that nothing is worked through.
const LIST: usize = 84;

pub fn list() -> Vec<Topic> {
    (0..LIST).map(|n| Topic { topic: format!("Subject {n} of many"), ..Topic::default() }).collect()
}

/// What becomes of hours at which nobody was there.
pub fn misfire(seed: u64) -> Misfire {
    [Misfire::All { most: 24 }, Misfire::Once, Misfire::None][usize::try_from(seed % 3).unwrap()]
}

/// Whether the topics of the morning come from the list; else from the file.
pub fn is_listed(seed: u64) -> bool {
    (seed / 4).is_multiple_of(2)
}

/// The three schedules, in the order of their numbers: mornings, nights, hours.
pub fn schedules(seed: u64, calendar: &Calendar) -> [NewSchedule; 3] {
    let cron = |expression: &str| Timing::Cron { expression: expression.into(), zone: ZONE.into() };
    let source = if is_listed(seed) {
        TopicSource::List { topics: list(), at_end: AtEnd::Stop }
    } else {
        TopicSource::File { path: "/topics/subjects.txt".into(), at_end: AtEnd::Stop }
    };
    let nightly = (0..DAYS).map(|n| Topic { topic: format!("Night {n}"), ..Topic::default() });
    let nightly = TopicSource::List { topics: nightly.collect(), at_end: AtEnd::Again };
    let hourly = Timing::Every { seconds: 3_600, anchor: calendar.anchor(), zone: "UTC".into() };
    let new = |name: &str, timing: Timing, accounts: &[i64], topics_each: usize, source, misfire| {
        let beat = Beat::of(&timing, |zone| TimeZone::get(zone).ok()).unwrap();
        NewSchedule {
            name: name.into(),
            next_due: beat.next_after(calendar.begins()),
            timing,
            accounts: accounts.iter().copied().map(AccountId).collect(),
            topics_each: u32::try_from(topics_each).unwrap(),
            source,
            params: Params::default(),
            misfire,
            who: "1000:ada".into(),
            now: calendar.begins(),
        }
    };
    [
        new("mornings", cron("0 8 * * *"), &[1, 2, 3], TOPICS_EACH, source, Misfire::Once),
        new("nights", cron("30 2 * * *"), &[2], 1, nightly, Misfire::Once),
        new("hours", hourly, &[3], 1, TopicSource::Command { name: COMMAND.into() }, misfire(seed)),
    ]
}

/// How many tasks a fire of a schedule has.
pub fn wanted(schedule: &Schedule) -> usize {
    schedule.accounts.len() * schedule.topics_each as usize
}

/// What the command prints for a fire: the same each time.
pub fn news_of(fire: &str) -> String {
    format!("News for {fire}")
}

pub struct Sources {
    pub backend: DaemonBackend,
    pub calendar: Arc<Calendar>,
    pub clock: SimClock,
    pub crash: Arc<Crash>,
}

impl Seams for Sources {
    fn make(&self, who: &str, wanted: Vec<(Account, Topic, String)>) -> Vec<Result<NewTask, ApiError>> {
        Seams::make(&self.backend, who, wanted)
    }

    fn max_pending(&self) -> u64 {
        Seams::max_pending(&self.backend)
    }

    fn read_file(&self, _: String) -> BoxFuture<'static, Result<Vec<Entry>, String>> {
        let mut topics = list();
        if self.clock.now().utc > self.calendar.at(3, 12, 0) {
            topics.reverse();
        }
        let entries = topics.into_iter().map(|topic| (topic.clone(), digest(&topic))).collect();
        Box::pin(std::future::ready(Ok(entries)))
    }

    fn may_ask_again(&self, command: &str) -> Option<bool> {
        (command == COMMAND).then_some(true)
    }

    fn clock_was_set_by(&self) -> i64 {
        0
    }

    fn ask(&self, _: &str, wanted: Wanted) -> BoxFuture<'static, Printed> {
        let crash = Arc::clone(&self.crash);
        Box::pin(async move {
            crash.point("before a command").await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            crash.point("after a command").await;
            Printed::Output(news_of(&wanted.fire).into_bytes())
        })
    }
}
