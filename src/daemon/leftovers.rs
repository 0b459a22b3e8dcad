//! Removes what calls and runs left on disk and nobody needs any more.
//!
//! The end of an attempt removes its own files; this is for what a death in between, a lapsed watch or a generator that
//! is not configured any more left behind. It must not hurry: a run directory may hold a piece that was paid for. The
//! surprise: files of a key that no row knows are kept for `retention.generator_logs`, because two databases may share a
//! state directory, and a restored one may be older than its files. The logs of tasks go by the same age.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use log::Level;

use crate::config::Config;
use crate::events::Kind;
use crate::generator::leftovers::Leftovers;
use crate::generator::log::GeneratorLogs;
use crate::store::Store;
use crate::store::query::KeyUse;
use crate::task::{AttemptKey, Task, TaskId, TaskState};
use crate::tell;

/// Keys that are asked about at once: a statement binds each of them.
const SLICE: usize = 500;

/// One look at everything that is left.
#[derive(Clone)]
pub struct LeftoverSweep {
    store: Store,
    state_dir: PathBuf,
    keep_unknown: Option<Duration>,
    logs: GeneratorLogs,
}

impl LeftoverSweep {
    /// Of the state directory of this configuration.
    pub fn of(config: &Config, store: &Store, logs: &GeneratorLogs) -> Self {
        let state_dir = &config.daemon.state_dir;
        Self {
            store: store.clone(),
            state_dir: std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.clone()),
            keep_unknown: config.retention.generator_logs,
            logs: logs.clone(),
        }
    }

    /// Starts it beside everything else. Nobody waits for it: what it does not get to is there the next time.
    pub fn start(self) {
        if let Some(keep) = self.keep_unknown {
            self.logs.sweep(keep);
        }
        actix::spawn(async move {
            match self.run().await {
                Ok(0) => {}
                Ok(count) => {
                    tell!(Level::Info, Kind::CleanedUp, "removed the files of {count} calls that ended long ago")
                }
                Err(error) => {
                    tell!(Level::Warn, Kind::CleanupFailed, "files of ended calls could not be cleared away: {error:#}")
                }
            }
        });
    }

    /// How many keys' files were removed.
    async fn run(self) -> anyhow::Result<usize> {
        let leftovers = Leftovers::new(&self.state_dir);
        let listed = {
            let leftovers = leftovers.clone();
            tokio::task::spawn_blocking(move || leftovers.keys()).await?
        };
        let listed: Vec<_> = listed.with_context(|| unreadable(&self.state_dir))?.into_iter().collect();
        let mut removed = 0;
        for slice in listed.chunks(SLICE) {
            let keys: Vec<AttemptKey> = slice.iter().map(|(key, _)| key.clone()).collect();
            // Asked after the listing: an intent is committed before its files are made. A key that a piece gets once more after a
            // restore may have files of before, which go under their lock.
            let uses = self.store.read(move |queries| queries.key_uses(&keys)).await?;
            let is_done = |(key, changed): &&(AttemptKey, SystemTime)| match uses.get(key) {
                Some(KeyUse::Needed) => false,
                Some(KeyUse::Ended) => true,
                None => self.keep_unknown.is_some_and(|keep| is_older(*changed, keep)),
            };
            let done: Vec<AttemptKey> = slice.iter().filter(is_done).map(|(key, _)| key.clone()).collect();
            let unknown = done.iter().filter(|key| !uses.contains_key(*key)).cloned().collect();
            let owed = self.owed(&leftovers, unknown).await?;
            let done: Vec<AttemptKey> = done.into_iter().filter(|key| !owed.contains(key)).collect();
            let leftovers = leftovers.clone();
            let remove = move || done.iter().filter(|key| leftovers.remove_if_quiet(key)).count();
            removed += tokio::task::spawn_blocking(remove).await?;
        }
        Ok(removed)
    }
}

impl LeftoverSweep {
    /// Runs of tasks that a restore took back in time: what they wrote is paid for, however old it is.
    async fn owed(&self, leftovers: &Leftovers, unknown: Vec<AttemptKey>) -> anyhow::Result<BTreeSet<AttemptKey>> {
        let leftovers = leftovers.clone();
        let whose = move || -> Vec<(AttemptKey, TaskId)> {
            unknown.into_iter().filter_map(|key| leftovers.task_of(&key).map(|task| (key, task))).collect()
        };
        let mut owed = BTreeSet::new();
        for (key, task) in tokio::task::spawn_blocking(whose).await? {
            let found = self.store.read(move |queries| queries.task(&task)).await?;
            let is_owed = |task: &Task| task.restored_at.is_some() && task.state != TaskState::Completed;
            if found.is_some_and(|(task, _)| is_owed(&task)) {
                owed.insert(key);
            }
        }
        Ok(owed)
    }
}

/// A time in the future is not old, whatever the clock says now.
fn is_older(changed: SystemTime, than: Duration) -> bool {
    SystemTime::now().duration_since(changed).is_ok_and(|age| age > than)
}

fn unreadable(state_dir: &Path) -> String {
    format!("{}: calls and runs cannot be listed: make them readable for the daemon's user", state_dir.display())
}
