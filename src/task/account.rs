//! What an account says for its submits, and how much it may have at a time.
//!
//! Plain data and the one rule of which word wins: the submit's, then the account's, then the configuration's. What was
//! taken is stored with the task, so a later change of the account changes no task that waits.

use serde::{Deserialize, Serialize};

use super::ids::GeneratorName;
use super::time::Timestamp;
use crate::text::counted;

/// What a submit of the account that does not say gets. What is none here the configuration says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountDefaults {
    /// Which generator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<GeneratorName>,
    /// The tone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tone: Option<String>,
    /// Instructions to the generator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requirements: Option<String>,
    /// A shelf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Words that must occur.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keywords: Option<Vec<String>>,
    /// 1 to 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Let the rules of the review approve the piece when it comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_approve: Option<bool>,
}

/// How much an account may have, at all generators together. None is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccountLimits {
    /// Unfinished tasks; a submit beyond them is refused.
    pub max_pending: Option<u32>,
    /// Jobs at generators; a task beyond them waits.
    pub max_in_flight: Option<u32>,
    /// Submits to generators in 24 hours; a task beyond them waits.
    pub submits_per_day: Option<u32>,
}

impl AccountLimits {
    /// Whether it has a say in when a task may start.
    pub const fn concerns_starts(&self) -> bool {
        self.max_in_flight.is_some() || self.submits_per_day.is_some()
    }

    /// Why its jobs let no further task of it start; none where they do.
    pub fn jobs_hindrance(&self, in_flight: u32) -> Option<String> {
        let limit = self.max_in_flight.filter(|limit| in_flight >= *limit)?;
        let jobs = counted(in_flight, "job", "jobs");
        Some(format!("has {jobs} at generators, and its max_in_flight is {limit}"))
    }

    /// The same of the submits of its day. `next` is when the first of them counts no longer.
    pub fn day_hindrance(&self, today: u32, next: Option<Timestamp>) -> Option<String> {
        let limit = self.submits_per_day.filter(|limit| today >= *limit)?;
        let (submits, next) = (counted(today, "submit", "submits"), not_before(next, today, limit));
        Some(format!("had {submits} to generators {IN_A_DAY}, and its submits_per_day is {limit}{next}"))
    }
}

/// What every reason says that holds a task because of the submits of a day.
pub const IN_A_DAY: &str = "in 24 hours";

/// When the first submit of a day counts no longer, as the end of a sentence. A limit that was lowered leaves more submits than
/// it allows: then the first is not enough, and when the others were is not known here.
pub fn not_before(next: Option<Timestamp>, submits: u32, limit: u32) -> String {
    let Some(next) = next else { return String::new() };
    let later = match submits.saturating_sub(limit) {
        0 => String::new(),
        over => format!(", and not before {over} more of them are a day old"),
    };
    format!("; the next is not before {}{later}", next.in_utc())
}

/// A change of an account: what is none stays, what is `Some(None)` goes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccountChange {
    /// What another system calls it.
    pub external_id: Option<Option<String>>,
    /// Whether tasks are accepted for it.
    pub is_enabled: Option<bool>,
    /// See [`AccountDefaults`].
    pub generator: Option<Option<GeneratorName>>,
    /// See [`AccountDefaults`].
    pub tone: Option<Option<String>>,
    /// See [`AccountDefaults`].
    pub requirements: Option<Option<String>>,
    /// See [`AccountDefaults`].
    pub category: Option<Option<String>>,
    /// See [`AccountDefaults`].
    pub keywords: Option<Option<Vec<String>>>,
    /// See [`AccountDefaults`].
    pub priority: Option<Option<u8>>,
    /// See [`AccountDefaults`].
    pub auto_approve: Option<Option<bool>>,
    /// See [`AccountLimits`].
    pub max_pending: Option<Option<u32>>,
    /// See [`AccountLimits`].
    pub max_in_flight: Option<Option<u32>>,
    /// See [`AccountLimits`].
    pub submits_per_day: Option<Option<u32>>,
}

/// The parts of an account that a change may touch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccountSettings {
    /// What another system calls it.
    pub external_id: Option<String>,
    /// Whether tasks are accepted for it.
    pub is_enabled: bool,
    /// For its submits.
    pub defaults: AccountDefaults,
    /// How much it may have.
    pub limits: AccountLimits,
}

impl AccountChange {
    /// The account after the change.
    #[must_use]
    pub fn of(&self, before: &AccountSettings) -> AccountSettings {
        fn new<T: Clone>(change: &Option<Option<T>>, before: &Option<T>) -> Option<T> {
            change.clone().unwrap_or_else(|| before.clone())
        }
        let (defaults, limits) = (&before.defaults, &before.limits);
        AccountSettings {
            external_id: new(&self.external_id, &before.external_id),
            is_enabled: self.is_enabled.unwrap_or(before.is_enabled),
            defaults: AccountDefaults {
                generator: new(&self.generator, &defaults.generator),
                tone: new(&self.tone, &defaults.tone),
                requirements: new(&self.requirements, &defaults.requirements),
                category: new(&self.category, &defaults.category),
                keywords: new(&self.keywords, &defaults.keywords),
                priority: new(&self.priority, &defaults.priority),
                auto_approve: new(&self.auto_approve, &defaults.auto_approve),
            },
            limits: AccountLimits {
                max_pending: new(&self.max_pending, &limits.max_pending),
                max_in_flight: new(&self.max_in_flight, &limits.max_in_flight),
                submits_per_day: new(&self.submits_per_day, &limits.submits_per_day),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_what_it_means_and_leaves_the_rest() {
        let before = AccountSettings {
            external_id: Some("x".into()),
            is_enabled: true,
            defaults: AccountDefaults { tone: Some("dry".into()), priority: Some(7), ..AccountDefaults::default() },
            limits: AccountLimits { max_pending: Some(3), ..AccountLimits::default() },
        };
        assert_eq!(AccountChange::default().of(&before), before);
        let change = AccountChange {
            tone: Some(None),
            category: Some(Some("essays".into())),
            is_enabled: Some(false),
            max_pending: Some(Some(9)),
            ..AccountChange::default()
        };
        let after = change.of(&before);
        assert_eq!((after.defaults.tone.clone(), after.defaults.priority), (None, Some(7)));
        assert_eq!((after.is_enabled, after.limits.max_pending), (false, Some(9)));
        assert_eq!(change.of(&after), after, "twice is once");
    }

    #[test]
    fn limits_are_reached_at_their_number() {
        let limits = AccountLimits { max_pending: None, max_in_flight: Some(2), submits_per_day: Some(5) };
        let next = Some(Timestamp(60_000));
        assert_eq!((limits.jobs_hindrance(1), limits.day_hindrance(4, None)), (None, None));
        assert!(limits.jobs_hindrance(2).is_some_and(|why| why.contains("max_in_flight is 2")));
        let why = limits.day_hindrance(5, next).expect("its day is over");
        assert!(why.ends_with("submits_per_day is 5; the next is not before 1970-01-01T00:01:00Z"), "{why}");
        let lowered = limits.day_hindrance(7, next).expect("its day is over");
        assert!(lowered.ends_with("00:01:00Z, and not before 2 more of them are a day old"), "{lowered}");
        let none = AccountLimits::default();
        assert_eq!((none.jobs_hindrance(u32::MAX), none.day_hindrance(u32::MAX, next)), (None, None));
    }
}
