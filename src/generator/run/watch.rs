//! Tells at once that a run has ended, whoever started it: one waiting thread a run.
//!
//! It must not decide what an ending means, and a notice that is lost must do no harm: the next look repairs it. The
//! surprise: a run that is not our child (found again after a restart, or started by the service manager) is waited for by
//! trying its locks again and again. Asking the kernel to wake us would be a lock that somebody in a shared directory could
//! keep from us for ever, long after the run's end.

use std::collections::HashSet;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use super::super::RunEnded;
use super::directory::is_over;
use crate::task::{AttemptKey, TaskId};

/// How many runs are waited for at once. The others are found by the regular looks.
const MAX_WATCHERS: usize = 256;
/// How often a run's files are looked at.
const LOOK: Duration = Duration::from_millis(100);
const STACK_BYTES: usize = 128 * 1024;

/// The waiting threads of one generator.
#[derive(Clone, Default)]
pub struct Watchers {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    tell: OnceLock<RunEnded>,
    armed: Mutex<HashSet<AttemptKey>>,
}

impl Watchers {
    /// Whom to tell. Only the first call counts.
    pub fn on_run_ended(&self, tell: RunEnded) {
        if self.shared.tell.set(tell).is_err() {
            log::warn!("ended runs were already told to somebody; the second is not told");
        }
    }

    /// Waits for the run in `dir` on a thread, once a run. `runner` is our child, if this daemon started it: it is
    /// reaped too, which is why there is always a thread for it.
    pub fn arm(&self, key: &AttemptKey, task: &TaskId, dir: &Path, runner: Option<Child>) {
        let mut armed = self.shared.armed.lock().unwrap_or_else(PoisonError::into_inner);
        if runner.is_none() && (armed.contains(key) || armed.len() >= MAX_WATCHERS) {
            return;
        }
        armed.insert(key.clone());
        drop(armed);
        let (watchers, key, task, dir) = (self.clone(), key.clone(), task.clone(), dir.to_owned());
        let wait = {
            let (watchers, key) = (watchers.clone(), key.clone());
            move || {
                wait_for_end(&dir, runner);
                watchers.ended(&key, task);
            }
        };
        if let Err(error) = thread::Builder::new().name("run-watch".into()).stack_size(STACK_BYTES).spawn(wait) {
            log::warn!("run {key} is not waited for, only looked at now and then: no thread could be made: {error}");
            watchers.shared.armed.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        }
    }

    /// The run has ended: says so.
    pub fn ended(&self, key: &AttemptKey, task: TaskId) {
        self.shared.armed.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        if let Some(tell) = self.shared.tell.get() {
            tell(task);
        }
    }
}

/// Returns when the ending is written or nobody is left.
fn wait_for_end(dir: &Path, runner: Option<Child>) {
    if let Some(mut runner) = runner
        && let Err(error) = runner.wait()
    {
        log::warn!("the runner of {} could not be waited for: {error}", dir.display());
    }
    // A runner that was killed wrote no ending, and its command may go on.
    // Only what a look takes for the end: to tell of another would be told again at once, and so on.
    while !is_over(dir) && dir.is_dir() {
        thread::sleep(LOOK);
    }
}
