//! What the poller is told and asked, and what it tells of itself.

use std::time::Duration;

use actix::prelude::*;
use serde::Serialize;

use super::round::{self, PollError};
use crate::store::write::{Changed, WriteError};
use crate::task::{Attempt, AttemptKey, Event, GeneratorName, Task, TaskId, TaskState, Timestamp};

/// From whoever committed a change: a wake time may have become earlier. If it is lost, the next tick is late by 30 s at most.
#[derive(Message)]
#[rtype(result = "()")]
pub struct WakeTimesChanged;

/// From the driver: a run has ended. If it is lost, the next look finds it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RunEnded {
    /// Of which task.
    pub task: TaskId,
}

/// From a worker: that this run has started is committed. If it is lost, the next look finds what came of the run.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RunStarted {
    /// The task as it is now.
    pub task: Task,
    /// The accepted attempt.
    pub attempt: Attempt,
}

/// From outside: the job of this attempt may have ended. It may be forged, late or doubled. If it is lost, the next poll comes
/// as it would have.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct JobMayHaveEnded {
    /// The attempt's key.
    pub key: AttemptKey,
}

/// From a person: look at this task now. Answers with the task as it then is.
#[derive(Message)]
#[rtype(result = "Result<Task, PollError>")]
pub struct PollNow {
    /// Which.
    pub task: Task,
    /// Who asks.
    pub who: String,
    /// A piece of a cancelled task completes it.
    pub is_late_piece_wanted: bool,
}

/// From a person: look at everything in flight now.
#[derive(Message)]
#[rtype(result = "Result<PollStatistics, PollError>")]
pub struct PollAll;

/// From the supervisor: no new round; answers when the last has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainPoller;

/// What is it doing?
#[derive(Message)]
#[rtype(result = "PollerStatus")]
pub struct GetPollerStatus;

/// What a poll of everything came to, under the names that the mission gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PollStatistics {
    /// Tasks that were in flight.
    pub total: u32,
    /// Completed now.
    pub completed: u32,
    /// Failed now, for good or to be retried.
    pub failed: u32,
    /// Past their time limit now.
    pub timeout: u32,
    /// In flight still.
    pub still_running: u32,
    /// Not answered, or not answered well.
    pub error: u32,
}

/// From the doctor, whose calls beside the rounds count as well. `Err` says how long to wait where the budget has none left.
#[derive(Message, Clone, Debug)]
#[rtype(result = "Result<(), Duration>")]
pub enum SpendCalls {
    /// One, if the budget has it.
    WhenFree(GeneratorName),
    /// So many, which have been made; rounds wait for them.
    Made(GeneratorName, u32),
}

/// The poller as an operator sees it.
#[derive(Clone, Debug, Serialize, MessageResponse)]
pub struct PollerStatus {
    /// Tasks that are being looked at.
    pub in_hand: usize,
    /// Calls of polling verbs since the start.
    pub calls: u64,
    /// Rounds since the start.
    pub rounds: u64,
    /// When it wakes next.
    pub next_wake_at: Option<Timestamp>,
}

/// What a change of one polled task counts as.
pub(super) fn tally(statistics: &mut PollStatistics, event: &Event, answer: &Result<Changed, WriteError>) {
    let Ok(changed) = answer else {
        statistics.error += 1;
        return;
    };
    let task = &changed.change.task;
    match task.state {
        TaskState::Completed => statistics.completed += 1,
        TaskState::Failed => statistics.failed += 1,
        TaskState::Timeout => statistics.timeout += 1,
        TaskState::Pending if matches!(event, Event::DeadlineReached { .. }) => statistics.timeout += 1,
        TaskState::Pending if task.retry_count > 0 => statistics.failed += 1,
        _ if round::is_bad_answer(event) => statistics.error += 1,
        _ => statistics.still_running += 1,
    }
}
