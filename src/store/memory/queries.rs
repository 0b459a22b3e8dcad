//! What can be asked.

use std::collections::{BTreeMap, BTreeSet};

use crate::publish::Handout;
use crate::store::query::{
    ContentFilter, InFlight, KeyUse, LaneHead, LongText, Page, PoolFilter, PoolStanding, Queries, ReadyTask,
    SearchBounds, Searched, Statistics, Submits, TaskFilter, TextPart, place_in_pool,
};
use crate::store::write::{Account, KeptImage, Rows};
use crate::store::{DbError, LookupError};
use crate::task::account::AccountLimits;
use crate::task::content::{ContentRecord, PoolEntry, PoolState};
use crate::task::learning::PastJob;
use crate::task::{
    AccountId, Attempt, AttemptKey, AttemptState, AuditRow, ContentId, GeneratorName, PoolId, Task, TaskId, TaskState,
    Timestamp,
};

use super::{MemoryDb, is_over, page_of};

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
