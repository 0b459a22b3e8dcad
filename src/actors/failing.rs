//! Which jobs of a generator ended badly since one last brought its piece: asked before the next such end is committed.
//!
//! The breaker of [`crate::task::breaker`] hears of a failure after it was committed. By then the failures of all other jobs
//! of the same sweep may be on their way into the store, and each would spend a retry of its task. So the row of failures
//! is kept here too, where asking and adding are one step; what turns out to be no bad end is taken back after its commit.
//! The surprise: a restart forgets it unless the breaker is open; then five more tasks may spend a retry, never the backlog.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::task::breaker::{Breaker, FIVE_IN_A_ROW, SUSPICION, Signal};
use crate::task::outcome::{JobState, PollAnswer, RunReport, SubmitAnswer};
use crate::task::{Event, GeneratorName, TaskId, Timestamp};

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

    /// The tasks of the row.
    pub(super) fn tasks(&self, generator: &GeneratorName) -> Vec<TaskId> {
        self.rows().get(generator).map_or_else(Vec::new, |row| row.tasks.iter().cloned().collect())
    }

    /// Whether jobs of so many tasks have failed that one more is no fault of its task.
    pub(super) fn is_outage(&self, generator: &GeneratorName) -> bool {
        self.rows().get(generator).is_some_and(|row| row.tasks.len() >= FIVE_IN_A_ROW)
    }

    /// A job of this task may be about to fail: asks and adds in one step.
    pub(super) fn announce(&self, generator: &GeneratorName, task: &TaskId, now: Timestamp) -> Announced {
        let mut rows = self.rows();
        let row = rows.entry(generator.clone()).or_default();
        let failed_before = std::mem::replace(&mut row.failed_at, now);
        let is_outage = row.tasks.len() >= FIVE_IN_A_ROW;
        // More need not be known, so that an outage of a night takes no memory.
        let is_new = !is_outage && row.tasks.insert(task.clone());
        Announced { is_outage, is_new, failed_before }
    }

    /// It was no failure after all: a person wanted the end, or the announcement came too late.
    pub(super) fn withdraw(&self, generator: &GeneratorName, task: &TaskId, announced: Announced) {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(generator) else { return };
        row.failed_at = announced.failed_before;
        if announced.is_new {
            row.tasks.remove(task);
        }
        if row.tasks.is_empty() {
            rows.remove(generator);
        }
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

/// What the row said to an announcement, and what takes it back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    /// One more is no fault of its task.
    pub(super) is_outage: bool,
    is_new: bool,
    failed_before: Timestamp,
}

/// Whether an event may say that a job failed. Whether it does depends on what its task wanted: see [`is_failure`]. An end that
/// is held and no retry spends, as that of a missing job, is early enough in the row once it is committed.
pub(super) fn may_be_failure(event: &Event) -> bool {
    match event {
        Event::PollAnswered(PollAnswer::State { state, .. }) => matches!(state, JobState::Failed | JobState::Cancelled),
        Event::RunReported(report) => matches!(
            report,
            RunReport::Failed(_)
                | RunReport::Terminated(_)
                | RunReport::Killed
                | RunReport::Lost { .. }
                | RunReport::NeverStarted(_)
                | RunReport::NoPiece { .. }
                | RunReport::Ambiguous { .. }
        ),
        Event::SubmitAnswered(answer) => matches!(answer, SubmitAnswer::Retry(_)),
        Event::DeadlineReached { .. } => true,
        _ => false,
    }
}

/// Whether what came of an event is a failure of the generator's.
pub(super) fn is_failure(signal: Option<&Signal>) -> bool {
    matches!(signal, Some(Signal::JobFailed(_) | Signal::SubmitPutOff(_)))
}
