//! The in-memory twin of the database, for tests and simulations. It passes the same conformance suite.
//!
//! Not for production: it keeps everything in maps and copies the whole state around each write, so that a refused
//! write leaves nothing behind. A simulated crash keeps the [`MemoryDb`] and drops everything else: it is the disk.

mod notice;
mod pieces;
mod pool;
mod schedules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::query::{
    ContentFilter, InFlight, KeyUse, LaneHead, LongText, Page, PoolFilter, PoolStanding, Queries, ReadyTask,
    SearchBounds, Searched, Statistics, Submits, TaskFilter, TextPart, place_in_pool,
};
use super::write::{
    Account, FinishedPlace, FinishedTask, KeptImage, NewImage, Rows, Slice, Write, WriteError, Written, execute,
};
use super::{Backend, DbError, InlineWriter, LookupError, ReadMode, Store};
use crate::publish::Handout;
use crate::task::account::AccountLimits;
use crate::task::content::{
    ContentRecord, NewContent, PoolEntry, PoolState, Publication, PublishState, ReviewState, Version,
};
use crate::task::learning::PastJob;
use crate::task::{
    AccountId, Attempt, AttemptKey, AttemptState, AuditRow, ContentId, GeneratorName, PoolId, Task, TaskId, TaskState,
    Timestamp,
};

#[derive(Clone, Default)]
struct Tables {
    accounts: Vec<Account>,
    tasks: BTreeMap<TaskId, Task>,
    attempts: BTreeMap<(TaskId, u32), Attempt>,
    events: Vec<AuditRow>,
    contents: Vec<ContentRecord>,
    pool: Vec<PoolEntry>,
    images: Vec<KeptImage>,
    handouts: Vec<Handout>,
    settings: BTreeMap<String, String>,
    submit_keys: BTreeMap<String, (TaskId, String)>,
    last_seq: i64,
    schedules: schedules::ScheduleTables,
    notices: notice::NoticeTables,
}

/// The twin's disk. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryDb {
    tables: Arc<Mutex<Tables>>,
    /// The same rows once more, where each write is tried first: one that is refused must leave nothing behind.
    trial: Arc<Mutex<Tables>>,
}

impl MemoryDb {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store on it that commits inline.
    pub fn store(&self) -> Store {
        let backend = Arc::new(Mutex::new(self.clone()));
        Store::new(Arc::new(InlineWriter::new(backend)), Arc::new(self.clone()), ReadMode::Inline)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every audit row, oldest first.
    pub fn all_events(&self) -> Vec<AuditRow> {
        self.tables().events.clone()
    }

    /// Every attempt.
    pub fn all_attempts(&self) -> Vec<Attempt> {
        self.tables().attempts.values().cloned().collect()
    }

    /// Every task.
    pub fn all_tasks(&self) -> Vec<Task> {
        self.tables().tasks.values().cloned().collect()
    }

    /// Every content record, whole.
    pub fn all_contents(&self) -> Vec<ContentRecord> {
        self.tables().contents.clone()
    }

    /// Every pool entry.
    pub fn all_pool_entries(&self) -> Vec<PoolEntry> {
        self.tables().pool.clone()
    }

    /// Every handing out, in the order of insertion.
    pub fn all_handouts(&self) -> Vec<Handout> {
        self.tables().handouts.clone()
    }
}

impl Backend for MemoryDb {
    fn commit(&mut self, batch: &[Write]) -> Result<Vec<Result<Written, WriteError>>, DbError> {
        let (mut tables, mut trial) = (self.tables(), self.trial.lock().unwrap_or_else(PoisonError::into_inner));
        // Whatever is drawn or read from a clock comes in with the write, so it does the same both times.
        let mut commit = |write: &Write| match execute(&mut *trial, write) {
            Ok(_) => execute(&mut *tables, write),
            Err(error) => {
                trial.clone_from(&tables);
                Err(error)
            }
        };
        Ok(batch.iter().map(&mut commit).collect())
    }
}

impl Rows for Tables {
    fn account(&mut self, id: AccountId) -> Result<Option<Account>, DbError> {
        Ok(self.accounts.iter().find(|account| account.id == id).cloned())
    }

    fn account_by_name(&mut self, name: &str) -> Result<Option<Account>, DbError> {
        Ok(self.accounts.iter().find(|account| account.name == name).cloned())
    }

    fn insert_account(&mut self, name: &str, external_id: Option<&str>, now: Timestamp) -> Result<Account, DbError> {
        let account = Account {
            id: AccountId(count_up(self.accounts.len())),
            name: name.to_owned(),
            external_id: external_id.map(str::to_owned),
            is_enabled: true,
            created_at: now,
            defaults: Default::default(),
            limits: AccountLimits::default(),
        };
        self.accounts.push(account.clone());
        Ok(account)
    }

    fn update_account(&mut self, account: &Account) -> Result<(), DbError> {
        self.replace_account(account)
    }

    fn unfinished_of(&mut self, account: AccountId, at_most: u32) -> Result<u32, DbError> {
        Ok(self.count_unfinished_of(account, at_most))
    }

    fn unfinished_tasks(&mut self) -> Result<u64, DbError> {
        Ok(self.tasks.values().filter(|task| !task.state.is_final()).count() as u64)
    }

    fn unfinished_at(
        &mut self,
        generator: &GeneratorName,
        account: Option<AccountId>,
        at_most: u32,
    ) -> Result<u32, DbError> {
        let is_meant = |task: &&Task| {
            !task.state.is_final()
                && task.generator == *generator
                && account.is_none_or(|account| task.account_id == account)
        };
        let meant = self.tasks.values().filter(is_meant).take(usize::try_from(at_most).unwrap_or(usize::MAX));
        Ok(u32::try_from(meant.count()).unwrap_or(u32::MAX))
    }

    fn task(&mut self, id: &TaskId) -> Result<Option<Task>, DbError> {
        Ok(self.tasks.get(id).cloned())
    }

    fn insert_task(&mut self, task: &Task) -> Result<i64, DbError> {
        self.last_seq += 1;
        let mut task = task.clone();
        task.seq = self.last_seq;
        if self.tasks.insert(task.id.clone(), task).is_some() {
            return Err(DbError::Refused("a task id was used twice".into()));
        }
        Ok(self.last_seq)
    }

    fn update_task(&mut self, task: &Task, state_before: TaskState, attempt_before: u32) -> Result<usize, DbError> {
        match self.tasks.get_mut(&task.id) {
            Some(row) if row.state == state_before && row.attempt == attempt_before => {
                *row = task.clone();
                Ok(1)
            }
            Some(_) | None => Ok(0),
        }
    }

    fn attempt(&mut self, task_id: &TaskId, number: u32) -> Result<Option<Attempt>, DbError> {
        Ok(self.attempts.get(&(task_id.clone(), number)).cloned())
    }

    fn owner_of_job(
        &mut self,
        generator: &GeneratorName,
        reference: &str,
        states: &[AttemptState],
        but: &TaskId,
    ) -> Result<Option<TaskId>, DbError> {
        let names_it =
            |attempt: &&Attempt| attempt.external_ref.as_deref() == Some(reference) || attempt.key.0 == reference;
        let is_of_generator =
            |attempt: &&Attempt| self.tasks.get(&attempt.task_id).is_some_and(|task| task.generator == *generator);
        let others = self.attempts.values().filter(|attempt| attempt.task_id != *but);
        let mut owners = others.filter(names_it).filter(is_of_generator);
        Ok(owners.find(|attempt| states.contains(&attempt.state)).map(|attempt| attempt.task_id.clone()))
    }

    fn insert_attempt(&mut self, attempt: &Attempt, _: &GeneratorName) -> Result<(), DbError> {
        let is_second = attempt.state.may_be_alive()
            && self.attempts.values().any(|other| other.task_id == attempt.task_id && other.state.may_be_alive());
        if is_second {
            return Err(DbError::Refused("a second live attempt of one task".into()));
        }
        match self.attempts.insert((attempt.task_id.clone(), attempt.number), attempt.clone()) {
            None => Ok(()),
            Some(_) => Err(DbError::Refused("an attempt number was used twice".into())),
        }
    }

    fn update_attempt(&mut self, attempt: &Attempt) -> Result<(), DbError> {
        match self.attempts.get_mut(&(attempt.task_id.clone(), attempt.number)) {
            Some(row) => {
                *row = attempt.clone();
                Ok(())
            }
            None => Err(DbError::Refused("an attempt that is not there was to be updated".into())),
        }
    }

    fn insert_audit(&mut self, audit: &AuditRow) -> Result<(), DbError> {
        self.events.push(audit.clone());
        Ok(())
    }

    fn submit_key(&mut self, key: &str) -> Result<Option<(TaskId, String)>, DbError> {
        Ok(self.submit_keys.get(key).cloned())
    }

    fn insert_submit_key(&mut self, key: &str, task: &TaskId, digest: &str, _: Timestamp) -> Result<(), DbError> {
        self.submit_keys.insert(key.to_owned(), (task.clone(), digest.to_owned()));
        Ok(())
    }

    fn content(&mut self, id: ContentId) -> Result<Option<ContentRecord>, DbError> {
        Ok(self.contents.iter().find(|content| content.id == id).cloned())
    }

    fn versions_of(&mut self, task_id: &TaskId) -> Result<Vec<Version>, DbError> {
        Ok(self.versions(task_id))
    }

    fn insert_image(&mut self, image: &NewImage) -> Result<(), DbError> {
        self.add_image(image);
        Ok(())
    }

    fn images_of(&mut self, content_id: ContentId) -> Result<Vec<KeptImage>, DbError> {
        Ok(self.images_of_content(content_id))
    }

    fn image(&mut self, id: i64) -> Result<Option<KeptImage>, DbError> {
        Ok(self.images.iter().find(|image| image.id == id).cloned())
    }

    fn update_image(&mut self, image: &KeptImage, _: Timestamp) -> Result<(), DbError> {
        self.replace_image(image)
    }

    fn insert_content(&mut self, content: &NewContent) -> Result<ContentId, DbError> {
        let id = ContentId(count_up(self.contents.len()));
        self.contents.push(ContentRecord { id, record: content.clone(), publication: None });
        Ok(id)
    }

    fn update_content_review(&mut self, content: &ContentRecord, _: Timestamp) -> Result<(), DbError> {
        match self.contents.iter_mut().find(|row| row.id == content.id) {
            Some(row) => {
                row.record.review_status = content.record.review_status;
                row.record.review_reason = content.record.review_reason.clone();
                row.record.reviewed_by = content.record.reviewed_by.clone();
                row.record.rewritten_by = content.record.rewritten_by.clone();
                row.record.publish_status = content.record.publish_status;
                Ok(())
            }
            None => Err(DbError::Refused("a content record that is not there was to be updated".into())),
        }
    }

    fn pool_entry_of(&mut self, content_id: ContentId) -> Result<Option<PoolEntry>, DbError> {
        let live = |entry: &&PoolEntry| entry.content_id == content_id && entry.status != PoolState::Removed;
        Ok(self.pool.iter().find(live).cloned())
    }

    fn insert_pool_entry(&mut self, entry: &PoolEntry) -> Result<PoolId, DbError> {
        if self.pool_entry_of(entry.content_id)?.is_some() {
            return Err(DbError::Refused("a second pool entry of one piece".into()));
        }
        let id = PoolId(count_up(self.pool.len()));
        self.pool.push(PoolEntry { id, ..entry.clone() });
        Ok(id)
    }

    fn set_pool_status(&mut self, id: PoolId, status: PoolState) -> Result<(), DbError> {
        for entry in self.pool.iter_mut().filter(|entry| entry.id == id) {
            entry.status = status;
        }
        Ok(())
    }

    fn unpublished_pool_entries(&mut self) -> Result<Vec<PoolId>, DbError> {
        Ok(self.pool.iter().filter(|entry| self.may_go_out(entry)).map(|entry| entry.id).collect())
    }

    fn held_pool_entries(&mut self) -> Result<Vec<PoolEntry>, DbError> {
        Ok(self.pool.iter().filter(|entry| entry.status == PoolState::Held).cloned().collect())
    }

    fn task_of_content(&mut self, id: ContentId) -> Result<Option<TaskId>, DbError> {
        Ok(self.content(id)?.map(|content| content.record.task_id))
    }

    fn pool_doubt_of(&mut self, content_id: ContentId) -> Result<Option<PoolEntry>, DbError> {
        Ok(self.doubt_of(content_id))
    }

    fn pool_entry(&mut self, id: PoolId) -> Result<Option<PoolEntry>, DbError> {
        Ok(self.pool.iter().find(|entry| entry.id == id).cloned())
    }

    fn update_pool_entry(&mut self, entry: &PoolEntry) -> Result<(), DbError> {
        self.put_entry(entry)
    }

    fn due_pool_entries(
        &mut self,
        account: Option<AccountId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<PoolEntry>, DbError> {
        Ok(self.due_entries(account, None, now, limit))
    }

    fn handout(&mut self, id: PoolId, fence: u64) -> Result<Option<Handout>, DbError> {
        Ok(self.handouts.iter().find(|one| one.pool_id == id && one.fence == fence).cloned())
    }

    fn unanswered_handout(&mut self, id: PoolId) -> Result<Option<Handout>, DbError> {
        let unanswered = self.handouts.iter().filter(|one| one.pool_id == id && one.is_unanswered());
        Ok(unanswered.max_by_key(|one| one.fence).cloned())
    }

    fn handouts_of_request(&mut self, holder: &str, request: &str) -> Result<Vec<Handout>, DbError> {
        let is_meant = |one: &&Handout| {
            !one.holder.is_publisher() && one.holder.name() == holder && one.request.as_deref() == Some(request)
        };
        Ok(self.handouts.iter().filter(is_meant).cloned().collect())
    }

    fn insert_handout(&mut self, handout: &Handout) -> Result<(), DbError> {
        self.put_handout(handout)
    }

    fn update_handout(&mut self, handout: &Handout) -> Result<(), DbError> {
        self.change_handout(handout)
    }

    fn publish_content(&mut self, id: ContentId, publication: &Publication) -> Result<(), DbError> {
        self.set_publication(id, publication)
    }

    fn set_publish_status(&mut self, id: ContentId, status: PublishState, _: Timestamp) -> Result<(), DbError> {
        for content in self.contents.iter_mut().filter(|content| content.id == id) {
            content.record.publish_status = status;
        }
        Ok(())
    }

    fn mark_ended(&mut self, at: Timestamp) -> Result<(), DbError> {
        let has_ended = |task: &&mut Task| task.state.is_final() && task.state != TaskState::Completed;
        self.tasks.values_mut().filter(has_ended).for_each(|task| task.restored_at = Some(at));
        Ok(())
    }

    fn setting(&mut self, name: &str) -> Result<Option<String>, DbError> {
        Ok(self.settings.get(name).cloned())
    }

    fn put_setting(&mut self, name: &str, value: Option<&str>) -> Result<(), DbError> {
        match value {
            Some(value) => self.settings.insert(name.to_owned(), value.to_owned()),
            None => self.settings.remove(name),
        };
        Ok(())
    }

    fn finished_before(&mut self, time: Timestamp, after: Option<FinishedPlace>, limit: u32) -> Result<Slice, DbError> {
        let place = |task: &Task| Some(FinishedPlace { completed_at: task.completed_at?, seq: task.seq });
        let tasks = self.tasks.values().filter(|task| is_over(task, time));
        let mut finished: Vec<_> = tasks.filter_map(|task| Some((place(task)?, task))).collect();
        finished.retain(|(place, _)| Some(*place) > after);
        finished.sort_by_key(|(place, _)| *place);
        let seen = |(place, task): (FinishedPlace, &Task)| {
            Ok(FinishedTask { id: task.id.clone(), place, is_kept: self.has_piece_that_waits(task) })
        };
        Slice::of(finished.into_iter().map(seen), limit)
    }

    fn delete_task(&mut self, id: &TaskId) -> Result<(), DbError> {
        self.tasks.remove(id);
        self.attempts.retain(|(task_id, _), _| task_id != id);
        self.events.retain(|event| event.task_id != *id);
        Ok(())
    }

    fn shift_wake_times(&mut self, by_ms: i64) -> Result<(), DbError> {
        self.shift_images(by_ms);
        let shifted = |at: Timestamp| Timestamp(at.0.saturating_add(by_ms));
        for task in self.tasks.values_mut() {
            if task.wake_at.is_some() {
                task.not_before = task.not_before.map(shifted);
            }
            task.wake_at = task.wake_at.map(shifted);
        }
        for attempt in self.attempts.values_mut().filter(|attempt| attempt.state.may_be_alive()) {
            attempt.quiet_since = attempt.quiet_since.map(shifted);
            attempt.unchanged_since = attempt.unchanged_since.map(shifted);
            attempt.watch_until = attempt.watch_until.map(shifted);
            if matches!(attempt.state, AttemptState::Intended | AttemptState::Unknown) {
                attempt.intended_at = shifted(attempt.intended_at);
            }
        }
        self.shift_pool(by_ms);
        Ok(())
    }
}

fn count_up(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX - 1) + 1
}

fn page_of<T>(items: Vec<T>, page: Page) -> Vec<T> {
    items.into_iter().skip(page.offset as usize).take(page.limit as usize).collect()
}

/// It has ended before a time, and its job is not watched any more.
fn is_over(task: &Task, time: Timestamp) -> bool {
    task.state.is_final() && task.wake_at.is_none() && task.completed_at.is_some_and(|at| at < time)
}

impl Tables {
    fn has_piece_that_waits(&self, task: &Task) -> bool {
        self.contents.iter().any(|content| {
            content.record.task_id == task.id && content.record.review_status == ReviewState::PendingReview
        })
    }

    fn current(&self, task: &Task) -> Option<Attempt> {
        self.attempts.get(&(task.id.clone(), task.attempt)).cloned()
    }

    fn matches(&self, filter: &TaskFilter, task: &Task) -> bool {
        let is_overdue = |now| {
            let deadline = self.current(task).and_then(|attempt| attempt.deadline);
            matches!(task.state, TaskState::Submitted | TaskState::Processing | TaskState::Cancelling)
                && deadline.is_some_and(|deadline| deadline.has_passed(now))
        };
        (filter.states.is_empty() || filter.states.contains(&task.state))
            && filter.account.is_none_or(|account| account == task.account_id)
            && filter.generator.as_ref().is_none_or(|generator| *generator == task.generator)
            && filter.since.is_none_or(|since| task.created_at >= since)
            && filter.error.as_ref().is_none_or(|text| {
                let error = task.error.as_deref().unwrap_or_default().to_ascii_lowercase();
                error.contains(&text.to_ascii_lowercase())
            })
            && filter.overdue_at.as_ref().is_none_or(is_overdue)
    }
}

impl Queries for MemoryDb {
    fn find_task(&self, name: &str) -> Result<Result<TaskId, LookupError>, DbError> {
        let tables = self.tables();
        let full = if name.starts_with(TaskId::PREFIX) { name.to_owned() } else { format!("{}{name}", TaskId::PREFIX) };
        if name.is_empty() || full == TaskId::PREFIX {
            return Ok(Err(LookupError::NotFound(name.to_owned())));
        }
        let candidates: Vec<TaskId> =
            tables.tasks.keys().filter(|id| id.0.starts_with(&full)).take(5).cloned().collect();
        Ok(match candidates.as_slice() {
            [] => Err(LookupError::NotFound(name.to_owned())),
            [only] => Ok(only.clone()),
            [first, ..] if first.0 == full => Ok(first.clone()),
            _ => Err(LookupError::Ambiguous { prefix: name.to_owned(), candidates }),
        })
    }

    fn task(&self, id: &TaskId) -> Result<Option<(Task, Option<Attempt>)>, DbError> {
        let tables = self.tables();
        Ok(tables.tasks.get(id).map(|task| (task.clone(), tables.current(task))))
    }

    fn attempts(&self, id: &TaskId) -> Result<Vec<Attempt>, DbError> {
        Ok(self.tables().attempts.values().filter(|attempt| attempt.task_id == *id).cloned().collect())
    }

    fn attempts_without_output(&self, id: &TaskId) -> Result<Vec<(Attempt, bool)>, DbError> {
        let without = |mut attempt: Attempt| {
            let has_output = attempt.raw_output.take().is_some();
            (attempt, has_output)
        };
        Ok(Queries::attempts(self, id)?.into_iter().map(without).collect())
    }

    fn text_part(&self, text: &LongText, from: u64, most: u32) -> Result<Option<TextPart>, DbError> {
        let tables = self.tables();
        let content = |id: &ContentId| tables.contents.iter().find(|content| content.id == *id);
        let found = match text {
            LongText::Piece(id) => content(id).map(|content| &content.record.content),
            LongText::Html(id) => content(id).map(|content| &content.record.html_content),
            LongText::RawOutput(task, attempt) => {
                tables.attempts.get(&(task.clone(), *attempt)).and_then(|attempt| attempt.raw_output.as_ref())
            }
        };
        Ok(found.map(|text| {
            let start = usize::try_from(from).unwrap_or(usize::MAX).min(text.len());
            let end = start.saturating_add(most as usize).min(text.len());
            TextPart::of(text.as_bytes()[start..end].to_vec(), from, text.len() as u64)
        }))
    }

    fn history(&self, id: &TaskId) -> Result<Vec<AuditRow>, DbError> {
        Ok(self.tables().events.iter().filter(|event| event.task_id == *id).cloned().collect())
    }

    fn tasks(&self, filter: &TaskFilter, page: Page) -> Result<Vec<Task>, DbError> {
        let tables = self.tables();
        let mut found: Vec<Task> = tables
            .tasks
            .values()
            .filter(|task| page.before.is_none_or(|before| task.seq < before) && tables.matches(filter, task))
            .cloned()
            .collect();
        found.sort_by_key(|task| std::cmp::Reverse(task.seq));
        Ok(page_of(found, page))
    }

    fn search(&self, filter: &TaskFilter, topic: &str, page: Page, bounds: SearchBounds) -> Result<Searched, DbError> {
        let tables = self.tables();
        let mut known: Vec<&Task> = tables.tasks.values().collect();
        known.retain(|task| page.before.is_none_or(|before| task.seq < before));
        known.sort_by_key(|task| std::cmp::Reverse(task.seq));
        let is_cut = known.len() > bounds.rows as usize;
        known.truncate(bounds.rows as usize);
        let topic = topic.to_ascii_lowercase();
        let oldest = known.last().map(|task| task.id.clone());
        known.retain(|task| tables.matches(filter, task) && task.topic.to_ascii_lowercase().contains(&topic));
        let is_enough = known.len() >= page.offset as usize + page.limit as usize;
        let tasks = page_of(known.into_iter().cloned().collect(), page);
        Ok(Searched { tasks, stopped_at: oldest.filter(|_| is_cut && !is_enough) })
    }

    fn pending(&self, now: Timestamp, page: Page) -> Result<Vec<Task>, DbError> {
        let tables = self.tables();
        let mut found: Vec<Task> =
            tables.tasks.values().filter(|task| task.state == TaskState::Pending).cloned().collect();
        found.sort_by_key(|task| {
            let delay = task.wake_at.filter(|at| *at > now);
            (delay, std::cmp::Reverse(task.priority), task.queued_at, task.seq)
        });
        Ok(page_of(found, page))
    }

    fn counts(&self) -> Result<BTreeMap<TaskState, u64>, DbError> {
        let mut counts = BTreeMap::new();
        for task in self.tables().tasks.values() {
            *counts.entry(task.state).or_insert(0) += 1;
        }
        Ok(counts)
    }

    fn unfinished_elsewhere(&self, known: &BTreeSet<GeneratorName>) -> Result<BTreeMap<GeneratorName, u64>, DbError> {
        let mut found = BTreeMap::new();
        let tables = self.tables();
        for task in tables.tasks.values().filter(|task| !task.state.is_final() && !known.contains(&task.generator)) {
            *found.entry(task.generator.clone()).or_insert(0) += 1;
        }
        Ok(found)
    }

    fn due(&self, now: Timestamp, limit: u32, except: &BTreeSet<i64>) -> Result<Vec<(Task, Attempt)>, DbError> {
        let tables = self.tables();
        let mut due: Vec<(Task, Attempt)> = tables
            .tasks
            .values()
            .filter(|task| task.state != TaskState::Pending && task.wake_at.is_some_and(|at| at <= now))
            .filter(|task| !except.contains(&task.seq))
            .filter_map(|task| Some((task.clone(), tables.current(task)?)))
            .collect();
        due.sort_by_key(|(task, _)| (task.wake_at, task.seq));
        due.truncate(limit as usize);
        Ok(due)
    }

    fn next_wake(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
        let tables = self.tables();
        let waiting = tables.tasks.values().filter(|task| task.state != TaskState::Pending);
        Ok(waiting.filter_map(|task| task.wake_at).filter(|at| *at > now).min())
    }

    fn active(&self) -> Result<Vec<(Task, Attempt)>, DbError> {
        let tables = self.tables();
        let active = tables.tasks.values().filter(|task| task.state.is_active());
        Ok(active.filter_map(|task| Some((task.clone(), tables.current(task)?))).collect())
    }

    fn lane_heads(
        &self,
        now: Timestamp,
        per_lane: u32,
        lanes: u32,
        except: &BTreeSet<(GeneratorName, AccountId)>,
    ) -> Result<Vec<LaneHead>, DbError> {
        let tables = self.tables();
        let mut heads: BTreeMap<(GeneratorName, AccountId), Vec<ReadyTask>> = BTreeMap::new();
        let is_ready = |task: &&Task| task.state == TaskState::Pending && task.wake_at.is_none_or(|at| at <= now);
        for task in tables.tasks.values().filter(is_ready) {
            heads.entry((task.generator.clone(), task.account_id)).or_default().push(ReadyTask {
                id: task.id.clone(),
                priority: task.priority,
                queued_at: task.queued_at,
                seq: task.seq,
            });
        }
        let order = |task: &ReadyTask| (std::cmp::Reverse(task.priority), task.queued_at, task.seq);
        let mut heads: Vec<LaneHead> = heads
            .into_iter()
            .map(|((generator, account), mut tasks)| {
                tasks.sort_by_key(order);
                tasks.truncate(per_lane as usize);
                LaneHead { generator, account, tasks }
            })
            .collect();
        heads.retain(|head| !except.contains(&(head.generator.clone(), head.account)));
        heads.sort_by_key(|head| head.tasks.first().map(order));
        heads.truncate(lanes as usize);
        Ok(heads)
    }

    fn oldest_of_lane(
        &self,
        now: Timestamp,
        generator: &GeneratorName,
        account: AccountId,
    ) -> Result<Option<ReadyTask>, DbError> {
        let tables = self.tables();
        let is_ready = |task: &&Task| {
            let is_in_lane = task.generator == *generator && task.account_id == account;
            is_in_lane && task.state == TaskState::Pending && task.wake_at.is_none_or(|at| at <= now)
        };
        let oldest = tables.tasks.values().filter(is_ready).min_by_key(|task| (task.queued_at, task.seq));
        Ok(oldest.map(|task| ReadyTask {
            id: task.id.clone(),
            priority: task.priority,
            queued_at: task.queued_at,
            seq: task.seq,
        }))
    }

    fn next_ready(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
        let tables = self.tables();
        let pending = tables.tasks.values().filter(|task| task.state == TaskState::Pending);
        Ok(pending.filter_map(|task| task.wake_at).filter(|at| *at > now).min())
    }

    fn in_flight(&self) -> Result<Vec<InFlight>, DbError> {
        let tables = self.tables();
        let mut jobs: BTreeMap<(GeneratorName, AccountId), (u32, u32)> = BTreeMap::new();
        for task in tables.tasks.values().filter(|task| task.state.is_active() || task.state.is_final()) {
            let is_alive = tables.current(task).is_some_and(|attempt| attempt.state.may_be_alive());
            if is_alive && (task.state.is_active() || task.wake_at.is_some()) {
                let (jobs, watched) = jobs.entry((task.generator.clone(), task.account_id)).or_default();
                *jobs += 1;
                *watched += u32::from(task.state.is_final());
            }
        }
        let entry = |((generator, account), (jobs, watched))| InFlight { generator, account, jobs, watched };
        Ok(jobs.into_iter().map(entry).collect())
    }

    fn submits_since(
        &self,
        generator: &GeneratorName,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<BTreeMap<AccountId, Submits>, DbError> {
        let tables = self.tables();
        let mut counts = BTreeMap::new();
        let is_counted =
            |one: &&Attempt| (since..=until).contains(&one.intended_at) && one.state != AttemptState::Withdrawn;
        for attempt in tables.attempts.values().filter(is_counted) {
            let Some(task) = tables.tasks.get(&attempt.task_id).filter(|task| task.generator == *generator) else {
                continue;
            };
            let of_account = counts.entry(task.account_id).or_insert(Submits { count: 0, first: attempt.intended_at });
            of_account.count += 1;
            of_account.first = of_account.first.min(attempt.intended_at);
        }
        Ok(counts)
    }

    fn oldest_job(&self, generator: &GeneratorName, since: Timestamp) -> Result<Option<Timestamp>, DbError> {
        let tables = self.tables();
        let waited_for = tables.attempts.values().filter(|attempt| {
            attempt.state.may_be_alive()
                && tables.tasks.get(&attempt.task_id).is_some_and(|task| {
                    let is_at_work = matches!(task.state, TaskState::Submitted | TaskState::Processing);
                    task.generator == *generator && task.attempt == attempt.number && is_at_work
                })
        });
        Ok(waited_for.filter_map(|attempt| attempt.accepted_at).filter(|at| *at >= since).min())
    }

    fn past_jobs(&self, generator: &GeneratorName, limit: u32) -> Result<Vec<PastJob>, DbError> {
        let tables = self.tables();
        let mut ended: Vec<&Attempt> = tables
            .attempts
            .values()
            .filter(|attempt| {
                attempt.state == AttemptState::EndedCompleted
                    && tables.tasks.get(&attempt.task_id).is_some_and(|task| task.generator == *generator)
            })
            .collect();
        ended.sort_by_key(|attempt| std::cmp::Reverse(attempt.ended_at));
        let jobs = ended.into_iter().filter_map(|attempt| {
            let accepted_at = attempt.accepted_at?;
            Some(PastJob { accepted_at, took: attempt.ended_at?.since(accepted_at) })
        });
        Ok(jobs.take(limit as usize).collect())
    }

    fn key_uses(&self, keys: &[AttemptKey]) -> Result<BTreeMap<AttemptKey, KeyUse>, DbError> {
        let tables = self.tables();
        let asked = tables.attempts.values().filter(|attempt| keys.contains(&attempt.key));
        let uses = asked.filter_map(|attempt| {
            let task = tables.tasks.get(&attempt.task_id)?;
            Some((attempt.key.clone(), KeyUse::of(attempt.state, task.state)))
        });
        Ok(uses.chain(tables.handout_uses(keys)).collect())
    }

    fn accounts(&self) -> Result<Vec<Account>, DbError> {
        Ok(self.tables().accounts.clone())
    }

    fn find_account(&self, id_or_name: &str) -> Result<Option<Account>, DbError> {
        let tables = self.tables();
        let by_number = tables.accounts.iter().find(|account| account.id.to_string() == id_or_name);
        let by_name = || tables.accounts.iter().find(|account| account.name == id_or_name);
        Ok(by_number.or_else(by_name).cloned())
    }

    fn content(&self, id: ContentId) -> Result<Option<ContentRecord>, DbError> {
        self.tables().content(id)
    }

    fn content_without_piece(&self, id: ContentId) -> Result<Option<ContentRecord>, DbError> {
        let found = self.tables().content(id)?;
        Ok(found.map(|mut content| {
            content.record.content.clear();
            content.record.html_content.clear();
            content
        }))
    }

    fn contents(&self, filter: &ContentFilter, page: Page) -> Result<Vec<ContentRecord>, DbError> {
        let tables = self.tables();
        let in_order: Box<dyn Iterator<Item = &ContentRecord>> = if filter.is_oldest_first {
            Box::new(tables.contents.iter())
        } else {
            Box::new(tables.contents.iter().rev())
        };
        let found = in_order.filter(|content| {
            page.before.is_none_or(|before| content.id.0 < before)
                && filter.account.is_none_or(|account| account == content.record.account_id)
                && filter.review.is_none_or(|review| review == content.record.review_status)
                && filter.task.as_ref().is_none_or(|task| *task == content.record.task_id)
        });
        let shortened = found.map(|content| {
            let mut content = content.clone();
            content.record.content.clear();
            content.record.html_content.clear();
            content
        });
        Ok(page_of(shortened.collect(), page))
    }

    fn images(&self, content: ContentId) -> Result<Vec<KeptImage>, DbError> {
        Ok(self.tables().images_of_content(content))
    }

    fn images_due(&self, now: Timestamp, limit: u32) -> Result<Vec<KeptImage>, DbError> {
        let waiting = self.tables().waiting_images().into_iter();
        let due = waiting.filter(|(at, _)| *at <= now).map(|(_, image)| image);
        Ok(due.take(limit as usize).collect())
    }

    fn next_image_after(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
        Ok(self.tables().waiting_images().into_iter().map(|(at, _)| at).find(|at| *at > now))
    }

    fn account_limits(&self) -> Result<BTreeMap<AccountId, AccountLimits>, DbError> {
        let tables = self.tables();
        let limited = tables.accounts.iter().filter(|account| account.limits.concerns_starts());
        Ok(limited.map(|account| (account.id, account.limits)).collect())
    }

    fn pool(&self, filter: &PoolFilter, page: Page) -> Result<Vec<PoolEntry>, DbError> {
        let tables = self.tables();
        let mut found: Vec<PoolEntry> = tables
            .pool
            .iter()
            .filter(|entry| {
                page.before.is_none_or(|before| entry.id.0 < before)
                    && filter.account.is_none_or(|account| account == entry.account_id)
                    && filter.status.map_or(entry.status != PoolState::Removed, |status| status == entry.status)
            })
            .cloned()
            .collect();
        found.sort_by_key(|entry| place_in_pool(entry, filter.now));
        Ok(page_of(found, page))
    }

    fn pool_entry(&self, id: PoolId) -> Result<Option<(PoolEntry, Vec<Handout>)>, DbError> {
        Ok(self.tables().entry_with_history(id))
    }

    fn pool_entry_of(&self, id: ContentId) -> Result<Option<PoolEntry>, DbError> {
        Rows::pool_entry_of(&mut *self.tables(), id)
    }

    fn pool_standing(&self, now: Timestamp) -> Result<PoolStanding, DbError> {
        Ok(self.tables().pool_standing(now))
    }

    fn pool_wakes(&self, until: Timestamp, limit: u32) -> Result<Vec<(PoolEntry, Handout)>, DbError> {
        Ok(self.tables().wakes(until, limit))
    }

    fn pool_accounts_due(&self, now: Timestamp) -> Result<Vec<Account>, DbError> {
        Ok(self.tables().accounts_due(now))
    }

    fn pool_heads(
        &self,
        account: AccountId,
        categories: Option<&[String]>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<PoolEntry>, DbError> {
        Ok(self.tables().due_entries(Some(account), categories, now, limit))
    }

    fn next_pool_time(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
        Ok(self.tables().next_pool_time(now))
    }

    fn publishes_since(&self, publisher: &str, since: Timestamp, until: Timestamp) -> Result<u32, DbError> {
        Ok(self.tables().publishes_since(publisher, since, until))
    }

    fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>, DbError> {
        let tables = self.tables();
        let found = tables.settings.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(found.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    fn count_finished_before(&self, time: Timestamp) -> Result<u64, DbError> {
        let tables = self.tables();
        Ok(tables.tasks.values().filter(|task| is_over(task, time) && !tables.has_piece_that_waits(task)).count()
            as u64)
    }

    fn statistics(
        &self,
        since: Option<Timestamp>,
        account: Option<AccountId>,
        generator: Option<&GeneratorName>,
    ) -> Result<Statistics, DbError> {
        let tables = self.tables();
        let since = since.unwrap_or(Timestamp(i64::MIN));
        let mut statistics = Statistics::default();
        let (mut durations, mut waits) = (Vec::new(), Vec::new());
        let is_asked = |task: &&Task| {
            account.is_none_or(|account| account == task.account_id)
                && generator.is_none_or(|generator| *generator == task.generator)
        };
        for task in tables.tasks.values().filter(is_asked) {
            *statistics.by_state.entry(task.state.to_string()).or_insert(0) += 1;
            if task.created_at >= since {
                statistics.created += 1;
                statistics.retries += u64::from(task.retry_count);
            }
            let Some(finished_at) = task.completed_at.filter(|at| *at >= since) else { continue };
            *statistics.finished.entry(task.state.to_string()).or_insert(0) += 1;
            if task.state != TaskState::Completed {
                continue;
            }
            let content = tables.contents.iter().find(|content| Some(content.id) == task.content_id);
            statistics.words += content.map_or(0, |content| u64::from(content.record.word_count));
            if let Some(submitted_at) = task.submitted_at {
                durations.push(finished_at.since(submitted_at).as_secs_f64());
                waits.push(submitted_at.since(task.created_at).as_secs_f64());
            }
        }
        statistics.mean_duration_s = mean(&durations);
        statistics.mean_wait_s = mean(&waits);
        Ok(statistics)
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a mean of fewer than 2^52 values")]
    Some(values.iter().sum::<f64>() / values.len() as f64)
}
