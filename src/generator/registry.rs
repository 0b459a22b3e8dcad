//! The generators of one configuration, as the actors see them: driver, policy and limits by name.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Driver;
use super::fitness::Fitness;
pub use super::spec::Limits;
use crate::task::learning::{Learned, PastJob, durations_of};
use crate::task::policy::Policy;
use crate::task::{GeneratorName, Timestamp};

/// One generator.
pub struct Generator {
    /// Its name in the configuration.
    pub name: GeneratorName,
    /// How it is called.
    pub driver: Arc<dyn Driver>,
    /// How much of it may be used.
    pub limits: Limits,
    /// With what was learned from past jobs.
    policy: RwLock<Arc<Policy>>,
    is_learning: AtomicBool,
    /// Jobs that were seen to complete.
    completed: AtomicU32,
    /// Jobs from whose durations was learned last.
    learned_from: AtomicU32,
    fitness: Fitness,
}

/// The right to learn; its end is the next one's beginning.
pub struct Learning<'a>(&'a AtomicBool);

impl Drop for Learning<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// So many jobs are learned from one by one; of more, each changes little, and one in [`LEARNED_EVERY`] is enough. It is not their number
/// that counts but from how many is learned: of many that began at once that may be none until the last has ended.
const LEARNED_ONE_BY_ONE: u32 = 50;
const LEARNED_EVERY: u32 = 20;

impl Generator {
    /// Puts a generator together.
    pub fn new(name: GeneratorName, driver: Arc<dyn Driver>, policy: Policy, limits: Limits) -> Self {
        let policy = RwLock::new(Arc::new(policy));
        Self {
            name,
            driver,
            limits,
            policy,
            is_learning: AtomicBool::new(false),
            completed: AtomicU32::new(0),
            learned_from: AtomicU32::new(0),
            fitness: Fitness::default(),
        }
    }

    /// What the core must know of it, with what was learned.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_asked_one_by_one(&self) -> bool {
        let policy = self.policy();
        !policy.is_blocking && !policy.polls.is_batch
    }

    /// A job of it has completed. Whoever gets this is to read past jobs and to call [`Self::learn`]. Nobody does while somebody else
    /// has it, nor where nothing would come of it: a run tells its end by itself, and a call for all jobs costs the same whenever
    /// it comes.
    pub fn begins_to_learn(&self) -> Option<Learning<'_>> {
        let before = self.completed.fetch_add(1, Ordering::Relaxed);
        let learned_from = self.learned_from.load(Ordering::Relaxed);
        let is_worth_it = learned_from < LEARNED_ONE_BY_ONE || before.is_multiple_of(LEARNED_EVERY);
        (is_worth_it && self.is_asked_one_by_one() && !self.is_learning.swap(true, Ordering::AcqRel))
            .then_some(Learning(&self.is_learning))
    }

    /// When the oldest job was accepted, at the earliest, that is no exception yet.
    pub fn hopeful_since(&self, now: Timestamp, past: &[PastJob]) -> Timestamp {
        let age = self.policy().polls.learned.map(Learned::hopeless_age).or_else(|| Learned::hopeless_at_first(past));
        age.map_or(Timestamp(0), |age| now.minus(age))
    }

    /// What was learned of the same generator before a reload.
    pub fn remember(&self, before: &Self) {
        if let Some(learned) = before.policy().polls.learned.filter(|_| self.is_asked_one_by_one()) {
            let mut policy = self.policy.write().unwrap_or_else(PoisonError::into_inner);
            Arc::make_mut(&mut policy).polls.learned = Some(learned);
        }
    }

    /// Why it cannot be called now; empty means that it can. Answers within seconds, whatever the disk does.
    pub async fn faults(&self) -> Vec<String> {
        self.fitness.faults(&self.driver).await
    }

    /// Learns when polls are worth their calls, from how long past jobs took; `oldest` of those in flight was accepted then.
    pub fn learn(&self, past: &[PastJob], oldest: Option<Timestamp>) {
        if !self.is_asked_one_by_one() {
            return;
        }
        let durations = durations_of(past, oldest);
        self.learned_from.store(u32::try_from(durations.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
        // Of too few nothing is learned, and what was known stays.
        let learned = Learned::of(&durations);
        let mut policy = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        if learned.is_some() && policy.polls.learned != learned {
            Arc::make_mut(&mut policy).polls.learned = learned;
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
