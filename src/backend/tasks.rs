//! One task: what it is, why it waits, and what a person decides about it.

use super::{DaemonBackend, errors};
use crate::actors::Happened;
use crate::actors::poller::{PollAll, PollNow};
use crate::actors::queue::{ExplainWaits, PersonDecided};
use crate::actors::spent::FinishedAge;
use crate::control::api::checked::RETENTION;
use crate::control::api::{
    ApiError, CleanupAge, CleanupReply, HistoryReply, ListQuery, Peer, PollAllReply, QueueReply, SettleDecision,
    StatisticsQuery, StatisticsReply, TaskQuery, TaskReply, TaskView, TasksReply,
};
use crate::events::Kind;
use crate::generator::leftovers::Leftovers;
use crate::store::query::{Page, Queries, SearchBounds, Searched, TaskFilter};
use crate::store::write::{Changed, Write, Written};
use crate::task::{AccountId, Attempt, AttemptKey, CorrectedState, Event, NotBefore, Settlement, Task, TaskState};
use crate::tell;
use log::Level;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

/// How many tasks one slice of a cleanup deletes: short enough that no submit waits long behind it.
const CLEANUP_SLICE: u32 = 4;
/// How long an explanation of a wait may take before the stored reason is given instead.
const EXPLAIN_LIMIT: Duration = Duration::from_secs(2);

impl DaemonBackend {
    pub(super) async fn task_status(&self, name: &str) -> Result<TaskReply, ApiError> {
        let (task, attempt) = self.task(name).await?;
        Ok(TaskReply { task: self.explained(task, attempt.as_ref()).await })
    }

    /// Why pending tasks wait at this moment, in their order; `None` if nobody says so in time. One question for all of them: each
    /// would go to the queue's thread and back.
    async fn why_they_wait(&self, tasks: Vec<Task>) -> Option<Vec<Option<String>>> {
        let queue = self.world.peers.borrow().queue.clone()?;
        let accounts: Vec<AccountId> = tasks.iter().map(|task| task.account_id).collect();
        let mut reasons = queue.send(ExplainWaits { tasks }).timeout(EXPLAIN_LIMIT).await.ok()?;
        let mut names = BTreeMap::new();
        for (reason, account) in reasons.iter_mut().zip(accounts) {
            if let Some(why) = reason {
                self.name_account(why, account, &mut names).await;
            }
        }
        Some(reasons)
    }

    /// The queue knows accounts by their numbers, and people by their names.
    async fn name_account(
        &self,
        why: &mut String,
        account: AccountId,
        names: &mut BTreeMap<AccountId, Option<String>>,
    ) {
        let numbered = format!("account {account} ");
        if !why.contains(&numbered) {
            return;
        }
        let name = match names.entry(account) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let found = self.read(move |queries| queries.find_account(&account.to_string())).await.ok().flatten();
                unknown.insert(found.map(|found| found.name))
            }
        };
        if let Some(name) = name {
            *why = why.replace(&numbered, &format!("account {name:?} "));
        }
    }

    /// Views of several. Where nobody says why they wait, the stored reasons must do.
    pub(super) async fn all_explained(&self, tasks: Vec<(Task, Option<Attempt>)>) -> Vec<TaskView> {
        let is_pending = |task: &Task| task.state == TaskState::Pending;
        let pending: Vec<Task> =
            tasks.iter().filter(|(task, _)| is_pending(task)).map(|(task, _)| task.clone()).collect();
        let reasons = if pending.is_empty() { None } else { self.why_they_wait(pending).await };
        let mut reasons = reasons.unwrap_or_default().into_iter();
        let view = |(task, attempt): (Task, Option<Attempt>)| {
            let mut view = TaskView::of(&task, attempt.as_ref());
            if is_pending(&task)
                && let Some(reason) = reasons.next()
            {
                view.reason = reason;
            }
            view
        };
        tasks.into_iter().map(view).collect()
    }

    /// The view of a task, with the reason why it waits as it is at this moment.
    pub(super) async fn explained(&self, task: Task, attempt: Option<&Attempt>) -> TaskView {
        let mut view = TaskView::of(&task, attempt);
        if task.state == TaskState::Pending
            && let Some(reason) = self.why_they_wait(vec![task]).await.and_then(|mut reasons| reasons.pop())
        {
            view.reason = reason;
        }
        view
    }

    pub(super) async fn task_history(&self, name: &str) -> Result<HistoryReply, ApiError> {
        let id = self.task_id(name).await?;
        let rows = self.read(move |queries| queries.history(&id)).await?;
        Ok(HistoryReply { events: rows.iter().map(Into::into).collect() })
    }

    /// A filter with its account looked up.
    pub(super) async fn filter_of(&self, query: TaskQuery) -> Result<TaskFilter, ApiError> {
        let account = self.account_of(query.account.as_deref()).await?.map(|account| account.id);
        Ok(TaskFilter {
            states: query.states,
            account,
            generator: query.generator,
            since: query.since,
            error: query.error,
            overdue_at: query.is_overdue.then(|| self.world.clock.now()),
        })
    }

    pub(super) async fn list_tasks(&self, query: ListQuery) -> Result<TasksReply, ApiError> {
        let before = match &query.before {
            Some(name) => Some(self.task(name).await?.0.seq),
            None => None,
        };
        let page = Page { limit: query.limit, offset: query.offset, before };
        let filter = self.filter_of(query.filter).await?;
        let read = move |queries: &dyn Queries| {
            let found = match &query.topic {
                None if filter.error.is_none() => Searched { tasks: queries.tasks(&filter, page)?, stopped_at: None },
                topic => {
                    let topic = topic.as_deref().unwrap_or_default();
                    queries.search(&filter, topic, page, SearchBounds::default())?
                }
            };
            Ok((with_attempts(queries, found.tasks)?, found.stopped_at))
        };
        let (tasks, stopped_at) = self.read(read).await?;
        Ok(TasksReply { tasks: self.all_explained(tasks).await, searched_to: stopped_at.map(|id| id.0) })
    }

    pub(super) async fn list_queue(&self, limit: u32, offset: u32) -> Result<QueueReply, ApiError> {
        let now = self.world.clock.now().utc;
        let page = Page { limit, offset, before: None };
        let (tasks, counts) = self.read(move |queries| Ok((queries.pending(now, page)?, queries.counts()?))).await?;
        let size = counts.get(&TaskState::Pending).copied().unwrap_or(0);
        let tasks = self.all_explained(tasks.into_iter().map(|task| (task, None)).collect()).await;
        Ok(QueueReply { size, tasks })
    }

    /// Carries a person's decision to the queue.
    pub(super) async fn decide(
        &self,
        peer: &Peer,
        task: &Task,
        event: Event,
        action: &str,
    ) -> Result<Changed, ApiError> {
        self.refuse_while_stopping()?;
        let happened = Happened::by(task, event, &peer.label());
        let answer = self.queue()?.send(PersonDecided { happened }).await.map_err(errors::of_mailbox)?;
        answer.map_err(|error| errors::of_write(error, action))
    }

    async fn decided(&self, peer: &Peer, name: &str, event: Event, action: &str) -> Result<TaskReply, ApiError> {
        let (task, _) = self.task(name).await?;
        let changed = self.decide(peer, &task, event, action).await?;
        let change = changed.change;
        Ok(TaskReply { task: TaskView::of(&change.task, change.attempt.as_ref()) })
    }

    pub(super) async fn correct_task(
        &self,
        peer: &Peer,
        name: &str,
        to: CorrectedState,
        reason: String,
        abandon: bool,
    ) -> Result<TaskReply, ApiError> {
        self.decided(peer, name, Event::Corrected { to, reason, abandon }, "correct").await
    }

    pub(super) async fn settle_task(
        &self,
        peer: &Peer,
        name: &str,
        decision: SettleDecision,
    ) -> Result<TaskReply, ApiError> {
        if let SettleDecision::Adopt(reference) = &decision {
            self.refuse_what_names_no_run(name, reference).await?;
        }
        let settlement = match decision {
            SettleDecision::Adopt(reference) => Settlement::Adopt { reference, key: self.world.entropy.attempt_key() },
            SettleDecision::Absent => Settlement::Absent,
            SettleDecision::Fail(reason) => Settlement::Fail { reason },
        };
        self.decided(peer, name, Event::Settled(settlement), "settle").await
    }

    /// The job of a blocking generator is a run, and a run is a directory whose name is its key, used for one attempt.
    async fn refuse_what_names_no_run(&self, name: &str, reference: &str) -> Result<(), ApiError> {
        let (task, attempt) = self.task(name).await?;
        let key = AttemptKey(reference.to_owned());
        let is_known = attempt.is_some_and(|attempt| attempt.key == key && attempt.state.may_be_alive());
        if is_known || !self.world.policy(&task.generator).is_blocking {
            return Ok(());
        }
        let asked = vec![key.clone()];
        let is_used = self.read(move |queries| Ok(queries.key_uses(&asked)?.contains_key(&key))).await?;
        let is_there = Leftovers::new(&self.installation.state_dir).task_of(&AttemptKey(reference.to_owned()));
        if is_used || is_there != Some(task.id) {
            let cure = "the name of a directory below runs/v1 of the state directory whose `request` names this task, and which no \
                        attempt has";
            return Err(ApiError::invalid("adopt", reference, cure));
        }
        Ok(())
    }

    pub(super) async fn change_task(
        &self,
        peer: &Peer,
        name: &str,
        priority: Option<u8>,
        delay_s: Option<u64>,
    ) -> Result<TaskReply, ApiError> {
        let now = self.world.clock.now().utc;
        let not_before = delay_s.map(|seconds| match seconds {
            0 => NotBefore::Now,
            seconds => NotBefore::At(now.plus(Duration::from_secs(seconds))),
        });
        self.decided(peer, name, Event::Changed { priority, not_before }, "change").await
    }

    pub(super) async fn poll_task(&self, peer: &Peer, name: &str) -> Result<TaskReply, ApiError> {
        let (task, _) = self.task(name).await?;
        let task = self.poll_now(peer, task, false).await?;
        self.task_status(task.id.as_str()).await
    }

    /// Looks at one task now.
    pub(super) async fn poll_now(&self, peer: &Peer, task: Task, is_late_piece_wanted: bool) -> Result<Task, ApiError> {
        self.refuse_while_stopping()?;
        let poller = self.world.peers.borrow().poller.clone().ok_or(ApiError::Draining)?;
        let id = task.id.clone();
        let poll = PollNow { task, who: peer.label(), is_late_piece_wanted };
        let answer = poller.send(poll).await.map_err(errors::of_mailbox)?;
        answer.map_err(|error| errors::of_poll(error, &id))
    }

    pub(super) async fn poll_everything(&self) -> Result<PollAllReply, ApiError> {
        self.refuse_while_stopping()?;
        let poller = self.world.peers.borrow().poller.clone().ok_or(ApiError::Draining)?;
        let answer = poller.send(PollAll).await.map_err(errors::of_mailbox)?;
        let statistics = answer.map_err(ApiError::internal)?;
        Ok(PollAllReply {
            total: statistics.total.into(),
            completed: statistics.completed.into(),
            failed: statistics.failed.into(),
            timeout: statistics.timeout.into(),
            still_running: statistics.still_running.into(),
            error: statistics.error.into(),
        })
    }

    /// After how long finished tasks go.
    fn age_of(&self, age: CleanupAge) -> Result<Duration, ApiError> {
        match age {
            CleanupAge::Seconds(seconds) => Ok(Duration::from_secs(seconds)),
            CleanupAge::Retention => self.settings.borrow().keep_finished.ok_or_else(|| {
                let cure = "a span of time, such as 30d: retention.finished_tasks is \"never\"";
                ApiError::invalid("older_than", RETENTION, cure)
            }),
        }
    }

    pub(super) async fn clean_up(&self, peer: &Peer, age: CleanupAge, dry_run: bool) -> Result<CleanupReply, ApiError> {
        let wanted = self.age_of(age)?;
        let FinishedAge { older_than, is_day_kept } = self.world.cleanup_age(wanted).await.map_err(errors::of_db)?;
        let (finished_before, older_than_s) = (self.world.clock.now().utc.minus(older_than), older_than.as_secs());
        if dry_run {
            let deleted = self.read(move |queries| queries.count_finished_before(finished_before)).await?;
            return Ok(CleanupReply { deleted, is_dry_run: true, older_than_s, is_day_kept });
        }
        self.refuse_while_stopping()?;
        let (mut deleted, mut after) = (0, None);
        loop {
            let write = Write::Cleanup { finished_before, after, limit: CLEANUP_SLICE };
            let written = self.world.store.write(write).await.map_err(|error| errors::of_write(error, "clean up"))?;
            let Written::Cleaned { tasks, next } = written else {
                return Err(ApiError::internal("the store gave the answer of another write"));
            };
            deleted += tasks.len() as u64;
            self.logs.remove(tasks);
            after = next;
            if after.is_none() {
                let about = Kind::CleanedUp;
                tell!(Level::Info, about, "cleanup by {}: {deleted} finished tasks deleted", peer.label());
                return Ok(CleanupReply { deleted, is_dry_run: false, older_than_s, is_day_kept });
            }
        }
    }

    pub(super) async fn task_statistics(&self, query: StatisticsQuery) -> Result<StatisticsReply, ApiError> {
        let account = self.account_of(query.account.as_deref()).await?.map(|account| account.id);
        let (since, generator) = (query.since, query.generator);
        let statistics = self.read(move |queries| queries.statistics(since, account, generator.as_ref())).await?;
        let every_state = |given: BTreeMap<String, u64>, is_wanted: fn(&TaskState) -> bool| {
            let mut counts: BTreeMap<String, u64> =
                TaskState::ALL.iter().filter(|state| is_wanted(state)).map(|state| (state.to_string(), 0)).collect();
            counts.extend(given);
            counts
        };
        let finished = every_state(statistics.finished, |state| state.is_final());
        let success_rate = success_rate(&finished);
        let by_state = every_state(statistics.by_state, |_| true);
        Ok(StatisticsReply {
            total: by_state.values().sum(),
            by_state,
            finished,
            created: statistics.created,
            retries: statistics.retries,
            success_rate,
            mean_duration_s: statistics.mean_duration_s.map(to_milliseconds),
            mean_wait_s: statistics.mean_wait_s.map(to_milliseconds),
            words: statistics.words,
        })
    }
}

/// The share of completed tasks among those that came to an end. What somebody called off says nothing of a generator.
fn success_rate(finished: &BTreeMap<String, u64>) -> Option<f64> {
    let count = |state: TaskState| finished.get(state.as_str()).copied().unwrap_or(0);
    let completed = count(TaskState::Completed);
    let ended = completed + count(TaskState::Failed) + count(TaskState::Timeout);
    #[expect(clippy::cast_precision_loss, reason = "a share of fewer than 2^52 tasks")]
    let rate = (ended > 0).then(|| completed as f64 / ended as f64);
    rate
}

/// Seconds, to the millisecond: more digits would only look exact.
fn to_milliseconds(seconds: f64) -> f64 {
    (seconds * 1_000.0).round() / 1_000.0
}

/// Tasks with their current attempts.
pub(super) fn with_attempts(
    queries: &dyn Queries,
    tasks: Vec<Task>,
) -> Result<Vec<(Task, Option<Attempt>)>, crate::store::DbError> {
    tasks
        .into_iter()
        .map(|task| {
            if task.attempt == 0 {
                return Ok((task, None));
            }
            let attempt = queries.task(&task.id)?.and_then(|(_, attempt)| attempt);
            Ok((task, attempt))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_called_off_is_no_failure() {
        let finished = |counts: &[(TaskState, u64)]| {
            success_rate(&counts.iter().map(|(state, count)| (state.to_string(), *count)).collect())
        };
        use TaskState::{Cancelled, Completed, Failed, Timeout};
        assert_eq!(finished(&[(Completed, 3), (Failed, 1), (Cancelled, 4)]), Some(0.75));
        assert_eq!(finished(&[(Completed, 1), (Timeout, 1)]), Some(0.5));
        assert_eq!(finished(&[(Cancelled, 4)]), None);
    }
}
