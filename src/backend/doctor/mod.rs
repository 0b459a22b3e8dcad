//! The doctor as the daemon sees the installation, and trials of generators.
//!
//! Everything is looked at side by side, each within a time of its own, off the actors' thread; what does not answer is a
//! finding like any other. Nothing is changed. The surprise: a check of a large database outlives the call that asked for
//! it, because SQLite cannot be stopped in the middle; one at a time goes on, and the next call says so.
//!
//! - `database`: the file, its log, its disk
//! - `places`: the state directory, files that are left over
//! - `process`: actors, limits, the clock, systemd
//! - `generators`: each generator and its tasks
//! - `publishers`: each publisher, and what waits for a person in the pool
//! - `trial`: one generator, each verb
//! - `unattended`: schedules with their sources, and hooks

mod database;
mod generators;
mod places;
mod process;
mod publishers;
mod trial;
mod unattended;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};

use crate::control::api::{ApiError, FindingsReply};
use crate::finding::Finding;

use super::DaemonBackend;

/// How long each look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(8);

/// What the daemon stands on, as it was at its start: a reload changes none of it.
#[derive(Clone)]
pub struct Installation {
    /// The database's file.
    pub database: PathBuf,
    /// The state directory.
    pub state_dir: PathBuf,
    /// The directory of automatic backups.
    pub backups: PathBuf,
    /// Where detached runs are started as units of their own, if they are.
    pub run_socket: Option<PathBuf>,
    /// By how many milliseconds the wall clock was set since the start.
    pub clock_jump: Arc<dyn Fn() -> Option<i64> + Send + Sync>,
    /// What the last reload left to be done.
    pub reload: Arc<dyn Fn() -> ReloadStanding + Send + Sync>,
    /// A check of the whole database goes on.
    pub is_checking: Arc<AtomicBool>,
    /// One trial and one backup at a time.
    pub slots: Arc<Slots>,
}

/// What a reload left to be done.
#[derive(Clone, Debug, Default)]
pub struct ReloadStanding {
    /// Why the last one was refused, until one is taken.
    pub refused: Option<String>,
    /// Settings that were changed since the start and count from the next one.
    pub needs_restart: Vec<String>,
}

/// What may go on once only.
pub struct Slots {
    /// Trials of generators.
    pub trial: tokio::sync::Semaphore,
    /// Backups.
    pub backup: tokio::sync::Semaphore,
}

impl Installation {
    /// Of these places.
    pub fn new(
        database: PathBuf,
        state_dir: PathBuf,
        run_socket: Option<PathBuf>,
        clock_jump: Arc<dyn Fn() -> Option<i64> + Send + Sync>,
        reload: Arc<dyn Fn() -> ReloadStanding + Send + Sync>,
    ) -> Self {
        let slots = Slots { trial: tokio::sync::Semaphore::new(1), backup: tokio::sync::Semaphore::new(1) };
        Self {
            backups: state_dir.join("backups"),
            run_socket,
            database,
            state_dir,
            clock_jump,
            reload,
            is_checking: Arc::default(),
            slots: Arc::new(slots),
        }
    }
}

impl DaemonBackend {
    pub(super) async fn examine(&self) -> Result<FindingsReply, ApiError> {
        let looks: [BoxFuture<'_, Vec<Finding>>; 6] = [
            bounded("database", self.look_at_database()).boxed(),
            bounded("state directory", self.look_at_places()).boxed(),
            bounded("daemon", self.look_at_process()).boxed(),
            bounded("generators", self.look_at_generators()).boxed(),
            bounded("publishers", self.look_at_publishers()).boxed(),
            bounded("schedules", self.look_at_unattended()).boxed(),
        ];
        Ok(FindingsReply { findings: join_all(looks).await.concat() })
    }
}

/// A look that takes too long is a finding.
async fn bounded(subject: &str, look: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    match tokio::time::timeout(LOOK_LIMIT, look).await {
        Ok(findings) => findings,
        Err(_) => {
            let found = format!("did not answer within {} s", LOOK_LIMIT.as_secs());
            let cure = "look at the load and the disks of the machine; `sudo journalctl -u contentd -n 50` has more";
            vec![Finding::error(subject, found, cure)]
        }
    }
}

/// Does what blocks where blocking is allowed.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
}

/// Bytes as people say them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    #[expect(clippy::cast_precision_loss, reason = "for people, with one digit behind the point")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// A span as people say it, in its largest unit.
pub(super) fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_a_finding() {
        let findings = bounded("database", std::future::pending()).await;
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Error));
        assert!(findings[0].found.contains("did not answer"));
    }

    #[test]
    fn sizes_and_spans_are_for_people() {
        assert_eq!([size(12), size(2048), size(3 << 30)], ["12 bytes", "2.0 KiB", "3.0 GiB"]);
        let spans = [30, 600, 7200, 200_000].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["30 s", "10 min", "2 h", "2 days"]);
    }
}
