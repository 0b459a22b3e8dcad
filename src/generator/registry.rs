//! The generators of one configuration, as the actors see them: driver, policy and limits by name.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::Driver;
use super::fitness::Fitness;
pub use super::spec::Limits;
use crate::task::policy::Policy;
use crate::task::{GeneratorName, retry};

/// One generator.
pub struct Generator {
    /// Its name in the configuration.
    pub name: GeneratorName,
    /// How it is called.
    pub driver: Arc<dyn Driver>,
    /// How much of it may be used.
    pub limits: Limits,
    /// With what was learned from finished jobs.
    policy: RwLock<Arc<Policy>>,
    is_learning: AtomicBool,
    fitness: Fitness,
}

/// How many finished jobs are looked at to learn from.
pub const DURATIONS_LOOKED_AT: u32 = 50;
/// How many finished jobs it takes before their durations are believed.
const ENOUGH_DURATIONS: usize = 5;
/// Which part of the jobs is expected to be done by the first poll.
const FIRST_POLL_QUANTILE: f64 = 0.1;

impl Generator {
    /// Puts a generator together.
    pub fn new(name: GeneratorName, driver: Arc<dyn Driver>, policy: Policy, limits: Limits) -> Self {
        let policy = RwLock::new(Arc::new(policy));
        Self { name, driver, limits, policy, is_learning: AtomicBool::new(false), fitness: Fitness::default() }
    }

    /// What the core must know of it, with what was learned.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether somebody is to read durations and call [`Self::learn_durations`]: not while somebody else does.
    pub fn begins_to_learn(&self) -> bool {
        !self.is_learning.swap(true, Ordering::AcqRel)
    }

    /// The end of what [`Self::begins_to_learn`] began.
    pub fn ends_to_learn(&self) {
        self.is_learning.store(false, Ordering::Release);
    }

    /// Why it cannot be called now; empty means that it can. Answers within seconds, whatever the disk does.
    pub async fn faults(&self) -> Vec<String> {
        self.fitness.faults(&self.driver).await
    }

    /// Learns when the first poll is worth its call: the 10 % quantile of past durations.
    pub fn learn_durations(&self, mut durations: Vec<Duration>) {
        if durations.len() < ENOUGH_DURATIONS {
            return;
        }
        durations.sort_unstable();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index into a short list"
        )]
        let index = (durations.len() as f64 * FIRST_POLL_QUANTILE) as usize;
        let first = durations.get(index).copied().unwrap_or_default().max(retry::SHORTEST_POLL_WAIT);
        // A generator counts in milliseconds, and so does the policy's schedule.
        let first = Duration::from_millis(u64::try_from(first.as_millis()).unwrap_or(u64::MAX));
        let mut policy = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        if policy.polls.first != Some(first) {
            Arc::make_mut(&mut policy).polls.first = Some(first);
        }
    }
}

/// All of them.
#[derive(Default)]
pub struct Generators {
    by_name: BTreeMap<GeneratorName, Arc<Generator>>,
}

impl Generators {
    /// Of a list.
    pub fn new(generators: impl IntoIterator<Item = Generator>) -> Self {
        let entry = |generator: Generator| (generator.name.clone(), Arc::new(generator));
        Self { by_name: generators.into_iter().map(entry).collect() }
    }

    /// One by name.
    pub fn get(&self, name: &GeneratorName) -> Option<&Arc<Generator>> {
        self.by_name.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Generator>> {
        self.by_name.values()
    }

    /// Whether one of them is called through this very driver.
    pub fn has_driver(&self, driver: &Arc<dyn Driver>) -> bool {
        self.iter().any(|generator| std::ptr::addr_eq(Arc::as_ptr(&generator.driver), Arc::as_ptr(driver)))
    }

    /// The only one, when there is just one.
    pub fn only(&self) -> Option<&Arc<Generator>> {
        if self.by_name.len() == 1 { self.by_name.values().next() } else { None }
    }
}
