//! Cancel, retry and release, of one task or of many. One task by id is refused with its own error; of many, those that cannot
//! be are skipped, counted and named.

use super::{DaemonBackend, errors};
use crate::control::api::{ApiError, Bulk, BulkReply, Peer, RetryMode, SkippedTask, TaskRef};
use crate::store::query::Page;
use crate::task::{AttemptState, Event, Refusal, Settlement, Task, TaskState};

/// How many tasks are looked at in one slice of a filter.
const SLICE: u32 = 500;
/// How many tasks an answer names; the rest is counted.
const NAMED: usize = 1_000;

/// What is done to each task.
#[derive(Clone)]
enum Deed {
    Cancel,
    Release,
    Retry(RetryMode),
}

impl Deed {
    const fn action(&self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Release => "release",
            Self::Retry(_) => "retry",
        }
    }

    /// Whether a task's state allows it at all; used for filters and dry runs.
    const fn fits(&self, task: &Task) -> bool {
        let state = task.state;
        match self {
            Self::Cancel => !state.is_final() && !matches!(state, TaskState::Cancelling),
            Self::Release => {
                task.restored_at.is_some()
                    && matches!(state, TaskState::Held | TaskState::Failed | TaskState::Timeout | TaskState::Cancelled)
            }
            Self::Retry(_) => matches!(state, TaskState::Failed | TaskState::Timeout | TaskState::Cancelled),
        }
    }
}

impl DaemonBackend {
    pub(super) async fn cancel_tasks(&self, peer: &Peer, which: Bulk, dry_run: bool) -> Result<BulkReply, ApiError> {
        self.to_each(peer, which, Deed::Cancel, dry_run).await
    }

    pub(super) async fn release_tasks(&self, peer: &Peer, which: Bulk, dry_run: bool) -> Result<BulkReply, ApiError> {
        self.to_each(peer, which, Deed::Release, dry_run).await
    }

    pub(super) async fn retry_tasks(
        &self,
        peer: &Peer,
        which: Bulk,
        mode: RetryMode,
        dry_run: bool,
    ) -> Result<BulkReply, ApiError> {
        self.to_each(peer, which, Deed::Retry(mode), dry_run).await
    }

    async fn to_each(&self, peer: &Peer, which: Bulk, deed: Deed, dry_run: bool) -> Result<BulkReply, ApiError> {
        self.refuse_while_stopping()?;
        let mut reply =
            BulkReply { done: Vec::new(), done_count: 0, skipped: Vec::new(), skipped_count: 0, is_dry_run: dry_run };
        match which {
            Bulk::Named(names) => {
                let is_one = names.len() == 1;
                for name in names {
                    let outcome = match self.task(&name).await {
                        Ok((task, _)) => self.one(peer, task, &deed, dry_run).await,
                        Err(error) => Err(error),
                    };
                    match outcome {
                        Err(error) if is_one => return Err(error),
                        outcome => note(&mut reply, &name, outcome),
                    }
                }
            }
            Bulk::Matching(query) => {
                let filter = self.filter_of(query).await?;
                let mut before = None;
                loop {
                    let (asked, page) = (filter.clone(), Page { limit: SLICE, offset: 0, before });
                    let slice = self.read(move |queries| queries.tasks(&asked, page)).await?;
                    before = slice.last().map(|task| task.seq);
                    let is_last = slice.len() < SLICE as usize;
                    for task in slice.into_iter().filter(|task| deed.fits(task)) {
                        let name = task.id.0.clone();
                        let outcome = self.one(peer, task, &deed, dry_run).await;
                        note(&mut reply, &name, outcome);
                    }
                    if is_last {
                        break;
                    }
                }
            }
        }
        Ok(reply)
    }

    async fn one(&self, peer: &Peer, task: Task, deed: &Deed, dry_run: bool) -> Result<TaskRef, ApiError> {
        if dry_run {
            let is_free = self.world.policy(&task.generator).is_free_to_repeat;
            return would(&task, deed, is_free);
        }
        let task = match deed {
            Deed::Cancel => self.decide(peer, &task, Event::CancelRequested, deed.action()).await?.change.task,
            Deed::Release => {
                self.decide(peer, &task, Event::Settled(Settlement::Released), deed.action()).await?.change.task
            }
            Deed::Retry(mode) => self.retry_one(peer, task, mode).await?,
        };
        Ok(TaskRef { task_id: task.id.0, state: task.state.to_string() })
    }

    /// A final task whose job may be alive is asked about first: what has been written is taken, not paid for again.
    async fn retry_one(&self, peer: &Peer, task: Task, mode: &RetryMode) -> Result<Task, ApiError> {
        let id = task.id.clone();
        let attempt = self.read(move |queries| Ok(queries.task(&id)?.and_then(|(_, attempt)| attempt))).await?;
        let is_alive = attempt.as_ref().is_some_and(|attempt| attempt.state.may_be_alive());
        let is_final = Deed::Retry(mode.clone()).fits(&task);
        if is_final && is_alive && mode.abandon.is_none() {
            // What the poll cannot tell leaves the job maybe alive, and the retry is refused below with that name.
            if let Ok(polled) = self.poll_now(peer, task.clone(), true).await
                && polled.state == TaskState::Completed
            {
                return Ok(polled);
            }
        }
        let event = Event::RetryRequested { reset_count: mode.reset_count, abandon: mode.abandon.clone() };
        match self.decide(peer, &task, event, "retry").await {
            Ok(changed) => Ok(changed.change.task),
            Err(ApiError::JobMayBeAlive { task, attempt: number, cure, .. }) => {
                let known = attempt.filter(|attempt| attempt.state == AttemptState::Accepted);
                let external_ref = known.and_then(|attempt| attempt.external_ref);
                Err(ApiError::JobMayBeAlive { task, attempt: number, external_ref, cure })
            }
            Err(error) => Err(error),
        }
    }
}

fn would(task: &Task, deed: &Deed, is_free: bool) -> Result<TaskRef, ApiError> {
    let (task_id, state) = (task.id.0.clone(), task.state.to_string());
    if matches!(deed, Deed::Retry(_)) && task.restored_at.is_some() && !is_free && deed.fits(task) {
        return Err(errors::of_refusal(&task.id, task.state, Refusal::RestoredSince, deed.action()));
    }
    if deed.fits(task) {
        return Ok(TaskRef { task_id, state });
    }
    let cure = "nothing would be done to it".to_owned();
    Err(ApiError::WrongState { task: task_id, state, action: deed.action().to_owned(), cure })
}

fn note(reply: &mut BulkReply, name: &str, outcome: Result<TaskRef, ApiError>) {
    match outcome {
        Ok(done) => {
            reply.done_count += 1;
            if reply.done.len() < NAMED {
                reply.done.push(done);
            }
        }
        Err(error) => {
            reply.skipped_count += 1;
            if reply.skipped.len() < NAMED {
                let (message, error) = (error.message(), error.name());
                reply.skipped.push(SkippedTask { task_id: name.to_owned(), error, message });
            }
        }
    }
}
