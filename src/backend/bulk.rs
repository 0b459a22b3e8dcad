//! Cancel, retry and release, of one task or of many. One task by id is refused with its own error; of many, those that cannot
//! be are skipped, counted and named.

use super::{DaemonBackend, errors};
use crate::control::api::{ApiError, Bulk, BulkReply, Peer, RetryMode, SkippedTask, TaskRef};
use crate::store::DbError;
use crate::store::query::{Page, Queries, SearchBounds, Searched, TaskFilter};
use crate::task::{Attempt, AttemptState, Context, Event, Refusal, Settlement, Task, TaskState, apply};

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

    fn event(&self) -> Event {
        match self {
            Self::Cancel => Event::CancelRequested,
            Self::Release => Event::Settled(Settlement::Released),
            Self::Retry(mode) => Event::RetryRequested { reset_count: mode.reset_count, abandon: mode.abandon.clone() },
        }
    }

    /// Whether a filter is about a task in this state at all: what has nothing to do with it is not counted as skipped.
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
                let mut next = Some(None);
                while let Some(before) = next {
                    let asked = filter.clone();
                    let slice = self.read(move |queries| slice_of(queries, &asked, before, SearchBounds::default()));
                    let (slice, rest) = slice.await?;
                    for task in slice.into_iter().filter(|task| deed.fits(task)) {
                        let name = task.id.0.clone();
                        let outcome = self.one(peer, task, &deed, dry_run).await;
                        note(&mut reply, &name, outcome);
                    }
                    next = rest.map(Some);
                }
            }
        }
        Ok(reply)
    }

    async fn one(&self, peer: &Peer, task: Task, deed: &Deed, dry_run: bool) -> Result<TaskRef, ApiError> {
        if dry_run {
            return self.would(peer, task, deed).await;
        }
        let task = match deed {
            Deed::Cancel | Deed::Release => self.decide(peer, &task, deed.event(), deed.action()).await?.change.task,
            Deed::Retry(mode) => self.retry_one(peer, task, mode).await?,
        };
        Ok(TaskRef { task_id: task.id.0, state: task.state.to_string() })
    }

    /// What the same without a dry run would come to, judged by the same machine.
    async fn would(&self, peer: &Peer, task: Task, deed: &Deed) -> Result<TaskRef, ApiError> {
        let id = task.id.clone();
        let found = self.read(move |queries| queries.task(&id)).await?;
        let (task, attempt) = found.ok_or(ApiError::TaskNotFound { task: task.id.0 })?;
        let (policy, now, who) = (self.world.policy(&task.generator), self.world.clock.now(), peer.label());
        let context = Context {
            now: &now,
            policy: &policy,
            draw: 0.5,
            who: &who,
            is_late_piece_wanted: false,
            is_outage: false,
            owner: None,
        };
        judged(&task, attempt.as_ref(), deed, &context)
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
        match self.decide(peer, &task, Deed::Retry(mode.clone()).event(), "retry").await {
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

/// The next tasks of a filter, newest first, and before which number the rest begins; none where nothing is left. An error is
/// looked for within bounds, so that a slice may hold few tasks, or none, while older ones fit.
fn slice_of(
    queries: &dyn Queries,
    filter: &TaskFilter,
    before: Option<i64>,
    bounds: SearchBounds,
) -> Result<(Vec<Task>, Option<i64>), DbError> {
    let page = Page { limit: SLICE, offset: 0, before };
    let Searched { tasks, stopped_at } = match filter.error {
        None => Searched { tasks: queries.tasks(filter, page)?, stopped_at: None },
        Some(_) => queries.search(filter, "", page, bounds)?,
    };
    let rest = match stopped_at {
        // One that was deleted in this moment: the same again stops at another.
        Some(id) => Some(queries.task(&id)?.map_or(before.unwrap_or(i64::MAX), |(task, _)| task.seq)),
        None => tasks.last().map(|task| task.seq).filter(|_| tasks.len() == SLICE as usize),
    };
    Ok((tasks, rest))
}

/// What a deed would come to, without its being done. The task is named with the state that it has.
fn judged(task: &Task, attempt: Option<&Attempt>, deed: &Deed, context: &Context<'_>) -> Result<TaskRef, ApiError> {
    let Err(refusal) = apply(task, attempt, deed.event(), context) else {
        return Ok(TaskRef { task_id: task.id.0.clone(), state: task.state.to_string() });
    };
    // Whoever retries it asks the generator first, which nobody does to look.
    let is_to_be_asked = matches!((deed, &refusal), (Deed::Retry(_), Refusal::JobMayBeAlive { .. }));
    let error = errors::of_refusal(&task.id, task.state, refusal, deed.action());
    Err(match error {
        ApiError::JobMayBeAlive { task, attempt, external_ref, .. } if is_to_be_asked => {
            let cure =
                "a retry asks the generator first and goes on if the job has ended, which a dry run does not know";
            ApiError::JobMayBeAlive { task, attempt, external_ref, cure: cure.to_owned() }
        }
        error => error,
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Backend;
    use crate::store::memory::MemoryDb;
    use crate::store::write::{NewTask, PendingLimits, Write, Written};
    use crate::task::{AccountId, AttemptKey, BootId, GeneratorName, Now, Policy, TaskId, Timestamp};

    fn now() -> Now {
        Now { utc: Timestamp(1), boot_id: BootId("boot".into()), boot_ms: 1 }
    }

    fn judged_so(task: &Task, attempt: Option<&Attempt>, deed: &Deed) -> Result<TaskRef, ApiError> {
        let (now, policy) = (now(), Policy::default());
        let context = Context {
            now: &now,
            policy: &policy,
            draw: 0.5,
            who: "1000:ada",
            is_late_piece_wanted: false,
            is_outage: false,
            owner: None,
        };
        judged(task, attempt, deed, &context)
    }

    #[test]
    fn a_dry_run_promises_nothing_that_is_refused() {
        let id = TaskId("task-a".into());
        let mut task = Task::blank(id.clone(), AccountId(1), GeneratorName("g".into()), Timestamp(1));
        let retry = |reset_count| Deed::Retry(RetryMode { reset_count, abandon: None });
        (task.state, task.max_retries) = (TaskState::Failed, 0);
        let spent = judged_so(&task, None, &retry(false)).expect_err("there are no retries");
        assert!(matches!(spent, ApiError::RetriesSpent { .. }), "{spent:?}");
        judged_so(&task, None, &retry(true)).expect("the count begins again");
        let mut attempt = Attempt::intended(id, 2, AttemptKey("k".into()), Timestamp(1));
        attempt.state = AttemptState::Accepted;
        (task.state, task.attempt, task.restored_at) = (TaskState::Held, 2, Some(Timestamp(1)));
        let alive = judged_so(&task, Some(&attempt), &Deed::Release).expect_err("it has a job");
        assert!(matches!(alive, ApiError::JobMayBeAlive { attempt: 2, .. }), "{alive:?}");
        attempt.state = AttemptState::EndedFailed;
        judged_so(&task, Some(&attempt), &Deed::Release).expect("its job has ended");
        (task.state, task.restored_at, task.max_retries) = (TaskState::Failed, None, 3);
        attempt.state = AttemptState::Unknown;
        let unasked = judged_so(&task, Some(&attempt), &retry(false)).expect_err("nobody has asked");
        assert!(unasked.message().contains("a dry run does not know"), "{}", unasked.message());
    }

    #[test]
    fn a_filter_by_error_goes_on_where_a_search_stopped() {
        let mut db = MemoryDb::new();
        let now = now();
        let add = Write::AddAccount { name: "a".into(), external_id: None, now: now.utc };
        let Written::Account(account) = db.commit(&[add]).expect("it commits").remove(0).expect("an account") else {
            panic!("an account")
        };
        let tasks = (0..7).map(|n| {
            let id = TaskId(format!("task-{n:012}"));
            let task = Task::blank(id, account.id, GeneratorName("g".into()), now.utc);
            NewTask { task, digest: format!("{n}"), claim: None, limits: PendingLimits::default() }
        });
        let submit = Write::SubmitTasks { tasks: tasks.collect(), max_pending: 100, now };
        db.commit(&[submit]).expect("it commits").remove(0).expect("they are taken");
        let bounds = SearchBounds { rows: 2, ..SearchBounds::default() };
        // No error is in each task, as the empty text is in each error.
        let filter = TaskFilter { error: Some(String::new()), ..TaskFilter::default() };
        let (mut found, mut next, mut slices) = (Vec::new(), Some(None), 0);
        while let Some(before) = next {
            let (tasks, rest) = slice_of(&db, &filter, before, bounds).expect("it reads");
            found.extend(tasks.into_iter().map(|task| task.seq));
            (next, slices) = (rest.map(Some), slices + 1);
        }
        assert!(found.is_sorted_by(|newer, older| newer > older), "{found:?}");
        assert_eq!((found.len(), slices), (7, 4), "each once, in slices that stopped early");
    }
}
