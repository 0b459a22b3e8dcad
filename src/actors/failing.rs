//! Which jobs of a generator failed since one last brought its piece: asked before the next failure is committed.
//!
//! The breaker of [`crate::task::breaker`] hears of a failure after it was committed. By then the failures of all other jobs
//! of the same sweep may be on their way into the store, and each would spend a retry of its task. So the row of failures
//! is kept here too, where asking and adding are one step. The surprise: a restart forgets it unless the breaker is open;
//! then five more tasks may spend a retry, never the backlog.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::task::breaker::{Breaker, FIVE_IN_A_ROW};
use crate::task::outcome::{JobState, PollAnswer, RunReport};
use crate::task::{Event, GeneratorName, TaskId, Timestamp};

/// How long after the last failure fewer jobs are risked. A job that hangs must not hold up the others for longer.
const SUSPICION: Duration = Duration::from_secs(30 * 60);

#[derive(Debug, Default)]
struct Row {
    tasks: BTreeSet<TaskId>,
    failed_at: Timestamp,
}

/// The tasks whose jobs failed in a row, by generator. Shared by all who hold a clone.
#[derive(Clone, Debug, Default)]
pub struct FailingJobs(Arc<Mutex<BTreeMap<GeneratorName, Row>>>);

impl FailingJobs {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<GeneratorName, Row>> {
        // Nothing can panic while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tasks of this generator whose jobs failed since the last piece; none where the last failure is long ago.
    pub(super) fn suspects(&self, generator: &GeneratorName, now: Timestamp) -> usize {
        let rows = self.rows();
        let row = rows.get(generator).filter(|row| now < row.failed_at.plus(SUSPICION));
        row.map_or(0, |row| row.tasks.len())
    }

    /// A job of this task fails: whether jobs of so many tasks have failed before that it is no fault of the task.
    pub(super) fn add(&self, generator: &GeneratorName, task: &TaskId, now: Timestamp) -> bool {
        let mut rows = self.rows();
        let row = rows.entry(generator.clone()).or_default();
        row.failed_at = now;
        let is_outage = row.tasks.len() >= FIVE_IN_A_ROW;
        // More need not be known, so that an outage of a night takes no memory.
        if !is_outage {
            row.tasks.insert(task.clone());
        }
        is_outage
    }

    /// A job brought its piece.
    pub(super) fn clear(&self, generator: &GeneratorName) {
        self.rows().remove(generator);
    }

    /// The row of a breaker that was open when the daemon ended.
    pub(super) fn restore(&self, generator: GeneratorName, breaker: &Breaker) {
        let Some((_, _, since)) = breaker.is_open() else { return };
        let tasks = breaker.failing().iter().cloned().collect();
        self.rows().insert(generator, Row { tasks, failed_at: since });
    }
}

/// Whether an event says that a job failed.
pub(super) fn is_failure(event: &Event) -> bool {
    matches!(
        event,
        Event::PollAnswered(PollAnswer::State { state: JobState::Failed, .. })
            | Event::RunReported(RunReport::Failed(_))
    )
}
