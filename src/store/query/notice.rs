//! What can be asked about alarms and messages, about the numbers that the rules look at, and about a span of time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::notice::alarm::Alarm;
use crate::notice::delivery::Delivery;
use crate::notice::message::Notice;
use crate::store::DbError;
use crate::task::{AccountId, GeneratorName, TaskState, Timestamp};

/// What waits for a hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitingFor {
    /// How many messages.
    pub count: u64,
    /// When the oldest of them was made.
    pub oldest: Timestamp,
}

/// How the outbox stands, by hook. Hooks of which there is nothing to say are missing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outbox {
    /// What waits.
    pub waiting: BTreeMap<String, WaitingFor>,
    /// How many messages were given up since the time asked about.
    pub given_up: BTreeMap<String, u64>,
}

/// A message and its way to each hook.
#[derive(Clone, PartialEq, Debug)]
pub struct NoticeStory {
    /// The message.
    pub notice: Notice,
    /// Its deliveries, by number.
    pub deliveries: Vec<Delivery>,
}

/// Which tasks a summary is about. The span has its beginning in it and its end not.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SummaryFilter {
    /// From when on.
    pub since: Timestamp,
    /// Until before when; none: for ever.
    pub until: Option<Timestamp>,
    /// Of this account.
    pub account: Option<AccountId>,
    /// At this generator.
    pub generator: Option<GeneratorName>,
}

/// What came of a span of time.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Summary {
    /// Tasks that were created in it.
    pub created: u64,
    /// Tasks that became final in it, by state; what there is none of is missing.
    pub finished: BTreeMap<TaskState, u64>,
    /// Of these, how many had spent a retry.
    pub retried: u64,
    /// Retries that these had spent.
    pub retries: u64,
    /// Half of the completed ones took no longer, from the acceptance by the generator on.
    pub median_duration: Option<Duration>,
    /// Nine in ten of them took no longer.
    pub p90_duration: Option<Duration>,
    /// Half of the completed ones waited no longer for that acceptance.
    pub median_wait: Option<Duration>,
    /// Nine in ten of them waited no longer.
    pub p90_wait: Option<Duration>,
}

/// Gathers a [`Summary`], the same way in every backend.
#[derive(Debug, Default)]
pub struct Gathering {
    summary: Summary,
    durations: Vec<i64>,
    waits: Vec<i64>,
}

impl Gathering {
    /// A task that became final in the span: its state, its retries, and, where it was accepted, the milliseconds that its
    /// job and its wait took.
    pub fn finished(&mut self, state: TaskState, retries: u64, duration_ms: Option<i64>, wait_ms: Option<i64>) {
        *self.summary.finished.entry(state).or_insert(0) += 1;
        self.summary.retries += retries;
        self.summary.retried += u64::from(retries > 0);
        if state == TaskState::Completed {
            self.durations.extend(duration_ms);
            self.waits.extend(wait_ms);
        }
    }

    /// All together.
    pub fn into_summary(mut self, created: u64) -> Summary {
        let mut part = |values: fn(&mut Self) -> &mut Vec<i64>, tenths| quantile(values(&mut self), tenths);
        let (median_duration, p90_duration) = (part(|of| &mut of.durations, 5), part(|of| &mut of.durations, 9));
        let (median_wait, p90_wait) = (part(|of| &mut of.waits, 5), part(|of| &mut of.waits, 9));
        Summary { created, median_duration, p90_duration, median_wait, p90_wait, ..self.summary }
    }
}

/// The smallest value that so many tenths of all do not exceed.
fn quantile(values: &mut [i64], tenths: usize) -> Option<Duration> {
    let rank = (values.len() * tenths).div_ceil(10).checked_sub(1)?;
    let (_, value, _) = values.select_nth_unstable(rank);
    Some(Duration::from_millis(u64::try_from(*value).unwrap_or(0)))
}

/// The part of the reading side that is about alarms and numbers.
pub trait NoticeQueries {
    /// Every alarm that is kept, by name.
    fn alarms(&self) -> Result<Vec<Alarm>, DbError>;
    /// The message that a hook is told next.
    fn next_delivery(&self, hook: &str) -> Result<Option<Delivery>, DbError>;
    /// How the outbox stands; given up is counted since a time.
    fn outbox(&self, given_up_since: Timestamp) -> Result<Outbox, DbError>;
    /// Messages, newest first.
    fn notices(&self, limit: u32) -> Result<Vec<NoticeStory>, DbError>;
    /// One message.
    fn notice(&self, id: &str) -> Result<Option<NoticeStory>, DbError>;
    /// Tasks that became final at or after a time, by state.
    fn ended_since(&self, since: Timestamp) -> Result<BTreeMap<TaskState, u64>, DbError>;
    /// Since when the oldest pending task has waited of those that could run at `now`.
    fn oldest_ready(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError>;
    /// What came of a span of time. Reads what was created or became final in the span, and no more.
    fn summary(&self, filter: &SummaryFilter) -> Result<Summary, DbError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn so_many_tenths_do_not_exceed_the_quantile(mut values in proptest::collection::vec(0i64..1_000, 1..40)) {
            for tenths in [5, 9] {
                let found = i64::try_from(quantile(&mut values, tenths).expect("there is one").as_millis()).unwrap();
                let below = values.iter().filter(|value| **value <= found).count();
                let under = values.iter().filter(|value| **value < found).count();
                prop_assert!(values.contains(&found));
                prop_assert!(below * 10 >= values.len() * tenths && under * 10 < values.len() * tenths);
            }
        }
    }
}
