//! The nightly sweep: finished tasks that are old enough go, in slices, so that no submit waits long behind it.

use std::time::Duration;

use log::Level;
use tokio::time::{Instant, sleep_until};

use super::leftovers::LeftoverSweep;
use crate::actors::World;
use crate::config::Config;
use crate::events::Kind;
use crate::generator::log::GeneratorLogs;
use crate::store::write::{FinishedPlace, Write, Written};
use crate::tell;
use crate::text::counted;

/// The first sweep of a life: late enough not to meet the start's own work.
const FIRST: Duration = Duration::from_secs(15 * 60);
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// How many tasks one slice deletes, and how long no other follows: some two million in a night of ten hours.
const SLICE: u32 = 4;
const PAUSE: Duration = Duration::from_millis(50);
/// After so many it is told how far the sweep has come.
const TOLD_AFTER: u64 = 10_000;

/// When the next sweep comes.
pub struct Sweep {
    at: Instant,
    /// Where the next slice goes on.
    after: Option<FinishedPlace>,
    /// By the slices of this sweep, and not yet told.
    deleted: u64,
    /// When what calls and runs have left behind is looked for again.
    leftovers_at: Instant,
    logs: GeneratorLogs,
}

impl Sweep {
    /// The first is a quarter of an hour ahead. A task that goes takes its log along.
    pub fn new(logs: GeneratorLogs) -> Self {
        let at = Instant::now() + FIRST;
        Self { at, after: None, deleted: 0, leftovers_at: at, logs }
    }

    /// Resolves when it is time.
    pub async fn is_due(&self) {
        sleep_until(self.at).await;
    }

    /// Deletes one slice; comes back soon while there is more, else in a day. What is left on disk goes once a day.
    pub async fn run(&mut self, world: &World, config: &Config) {
        self.at = Instant::now() + EVERY;
        self.after = match config.retention.finished_tasks {
            Some(keep) => self.delete_slice(world, keep).await,
            None => None,
        };
        // Not behind the last slice: where ever more tasks grow old it may not come.
        if Instant::now() >= self.leftovers_at {
            // A little less than a day, so that the next day's sweep does not come too early for it.
            self.leftovers_at = Instant::now() + EVERY - FIRST;
            LeftoverSweep::of(config, &world.store, &self.logs).start();
        }
        if self.after.is_some() {
            self.at = Instant::now() + PAUSE;
        }
        if self.after.is_none() || self.deleted >= TOLD_AFTER {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let deleted = std::mem::take(&mut self.deleted);
        if deleted > 0 {
            let tasks = counted(deleted, "finished task", "finished tasks");
            tell!(Level::Info, Kind::CleanedUp, "the nightly sweep deleted {tasks}");
        }
    }

    /// Where the next slice goes on, if there may be more.
    async fn delete_slice(&mut self, world: &World, keep: Duration) -> Option<FinishedPlace> {
        let deleted = match world.cleanup_age(keep).await {
            Ok(age) => {
                let finished_before = world.clock.now().utc.minus(age.older_than);
                world.store.write(Write::Cleanup { finished_before, after: self.after, limit: SLICE }).await
            }
            Err(error) => Err(error.into()),
        };
        match deleted {
            Ok(Written::Cleaned { tasks, next }) => {
                self.deleted += tasks.len() as u64;
                self.logs.remove(tasks);
                next
            }
            Ok(_) => None,
            Err(error) => {
                tell!(Level::Warn, Kind::CleanupFailed, "the nightly sweep failed: {error}");
                None
            }
        }
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        self.tell();
    }
}
