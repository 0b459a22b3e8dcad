//! Alarms, messages and their deliveries in memory, and the numbers that the rules look at.

use std::collections::BTreeMap;

use super::{MemoryDb, Tables};
use crate::notice::alarm::Alarm;
use crate::notice::delivery::{Delivery, DeliveryState};
use crate::notice::message::Notice;
use crate::store::DbError;
use crate::store::query::notice::{Gathering, NoticeQueries, NoticeStory, Outbox, Summary, SummaryFilter, WaitingFor};
use crate::store::write::NoticeRows;
use crate::task::{AttemptKey, AttemptState, TaskId, TaskState, Timestamp};

#[derive(Clone, Default)]
pub(super) struct NoticeTables {
    alarms: BTreeMap<String, Alarm>,
    notices: Vec<Notice>,
    deliveries: BTreeMap<i64, Delivery>,
    last_delivery: i64,
}

impl NoticeRows for Tables {
    fn alarms(&mut self) -> Result<Vec<Alarm>, DbError> {
        Ok(self.notices.alarms.values().cloned().collect())
    }

    fn put_alarm(&mut self, alarm: &Alarm) -> Result<(), DbError> {
        self.notices.alarms.insert(alarm.name.clone(), alarm.clone());
        Ok(())
    }

    fn delete_alarm(&mut self, name: &str) -> Result<(), DbError> {
        self.notices.alarms.remove(name);
        Ok(())
    }

    fn insert_notice(&mut self, notice: &Notice) -> Result<(), DbError> {
        if self.notices.notices.iter().any(|other| other.id == notice.id) {
            return Err(DbError::Refused("an id of a message was used twice".into()));
        }
        self.notices.notices.push(notice.clone());
        Ok(())
    }

    fn insert_delivery(&mut self, notice_id: &str, hook: &str, due_at: Timestamp) -> Result<(), DbError> {
        let tables = &mut self.notices;
        let notice = tables.notices.iter().find(|notice| notice.id == notice_id);
        let notice = notice.ok_or_else(|| DbError::Refused("a delivery of no message".into()))?.clone();
        tables.last_delivery += 1;
        let delivery = Delivery {
            id: tables.last_delivery,
            notice,
            hook: hook.to_owned(),
            state: DeliveryState::Waiting,
            tries: 0,
            due_at,
            last_error: None,
        };
        tables.deliveries.insert(delivery.id, delivery);
        Ok(())
    }

    fn delivery(&mut self, id: i64) -> Result<Option<Delivery>, DbError> {
        Ok(self.notices.deliveries.get(&id).cloned())
    }

    fn update_delivery(&mut self, delivery: &Delivery) -> Result<(), DbError> {
        self.notices.deliveries.insert(delivery.id, delivery.clone());
        Ok(())
    }

    fn delete_notices_before(&mut self, time: Timestamp, limit: u32) -> Result<(), DbError> {
        let tables = &mut self.notices;
        let waits = |id: &str| {
            let of_it = tables.deliveries.values().filter(|one| one.notice.id == id);
            of_it.into_iter().any(|one| one.state == DeliveryState::Waiting)
        };
        let mut old: Vec<(Timestamp, String)> = tables
            .notices
            .iter()
            .filter(|notice| notice.at < time && !waits(&notice.id))
            .map(|notice| (notice.at, notice.id.clone()))
            .collect();
        // Stable: those of one moment go in the order of making.
        old.sort_by_key(|(at, _)| *at);
        old.truncate(limit as usize);
        let is_gone = |id: &str| old.iter().any(|(_, gone)| gone == id);
        tables.notices.retain(|notice| !is_gone(&notice.id));
        tables.deliveries.retain(|_, one| !is_gone(&one.notice.id));
        Ok(())
    }

    fn shift_notices(&mut self, by_ms: i64) -> Result<(), DbError> {
        let shifted = |at: Timestamp| Timestamp(at.0.saturating_add(by_ms));
        for alarm in self.notices.alarms.values_mut() {
            alarm.since = shifted(alarm.since);
            alarm.good_since = alarm.good_since.map(shifted);
            alarm.told_at = alarm.told_at.map(shifted);
        }
        let waiting = self.notices.deliveries.values_mut().filter(|one| one.state == DeliveryState::Waiting);
        waiting.for_each(|one| one.due_at = shifted(one.due_at));
        Ok(())
    }

    fn bring_forward(&mut self, key: &AttemptKey, at: Timestamp) -> Result<Option<TaskId>, DbError> {
        let found = self.attempts.values().find(|attempt| attempt.key == *key);
        let Some(attempt) = found.filter(|attempt| attempt.state == AttemptState::Accepted) else { return Ok(None) };
        let Some(task) = self.tasks.get_mut(&attempt.task_id) else { return Ok(None) };
        let is_watched = !matches!(task.state, TaskState::Pending | TaskState::Held) && task.attempt == attempt.number;
        let Some(wake_at) = task.wake_at.filter(|_| is_watched) else { return Ok(None) };
        task.wake_at = Some(wake_at.min(at));
        Ok(Some(task.id.clone()))
    }
}

impl NoticeTables {
    fn story(&self, notice: &Notice) -> NoticeStory {
        let of_it = self.deliveries.values().filter(|one| one.notice.id == notice.id);
        NoticeStory { notice: notice.clone(), deliveries: of_it.cloned().collect() }
    }
}

impl NoticeQueries for MemoryDb {
    fn alarms(&self) -> Result<Vec<Alarm>, DbError> {
        self.tables().alarms()
    }

    fn next_delivery(&self, hook: &str) -> Result<Option<Delivery>, DbError> {
        let tables = self.tables();
        let mut of_it = tables.notices.deliveries.values().filter(|one| one.hook == hook);
        Ok(of_it.find(|one| one.state == DeliveryState::Waiting).cloned())
    }

    fn outbox(&self, given_up_since: Timestamp) -> Result<Outbox, DbError> {
        let mut outbox = Outbox::default();
        for one in self.tables().notices.deliveries.values() {
            match one.state {
                DeliveryState::Waiting => {
                    let first = WaitingFor { count: 0, oldest: one.notice.at };
                    let waiting = outbox.waiting.entry(one.hook.clone()).or_insert(first);
                    waiting.count += 1;
                    waiting.oldest = waiting.oldest.min(one.notice.at);
                }
                DeliveryState::GivenUp if one.due_at >= given_up_since => {
                    *outbox.given_up.entry(one.hook.clone()).or_insert(0) += 1;
                }
                DeliveryState::GivenUp | DeliveryState::Delivered => {}
            }
        }
        Ok(outbox)
    }

    fn notices(&self, limit: u32) -> Result<Vec<NoticeStory>, DbError> {
        let tables = self.tables();
        let newest = tables.notices.notices.iter().rev().take(limit as usize);
        Ok(newest.map(|notice| tables.notices.story(notice)).collect())
    }

    fn notice(&self, id: &str) -> Result<Option<NoticeStory>, DbError> {
        let tables = self.tables();
        let found = tables.notices.notices.iter().find(|notice| notice.id == id);
        Ok(found.map(|notice| tables.notices.story(notice)))
    }

    fn ended_since(&self, since: Timestamp) -> Result<BTreeMap<TaskState, u64>, DbError> {
        let mut ended = BTreeMap::new();
        for task in self.tables().tasks.values().filter(|task| task.completed_at.is_some_and(|at| at >= since)) {
            *ended.entry(task.state).or_insert(0) += 1;
        }
        Ok(ended)
    }

    fn oldest_ready(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
        let tables = self.tables();
        let pending = tables.tasks.values().filter(|task| task.state == TaskState::Pending);
        let since = pending.filter_map(|task| match task.wake_at {
            None => Some(task.queued_at),
            Some(at) => (at <= now).then_some(at),
        });
        Ok(since.min())
    }

    fn summary(&self, filter: &SummaryFilter) -> Result<Summary, DbError> {
        let tables = self.tables();
        let is_in = |at: Timestamp| at >= filter.since && filter.until.is_none_or(|until| at < until);
        let (mut gathering, mut created) = (Gathering::default(), 0);
        let asked = tables.tasks.values().filter(|task| {
            filter.account.is_none_or(|account| account == task.account_id)
                && filter.generator.as_ref().is_none_or(|generator| *generator == task.generator)
        });
        for task in asked {
            created += u64::from(is_in(task.created_at));
            let Some(completed_at) = task.completed_at.filter(|at| is_in(*at)) else { continue };
            let duration = task.submitted_at.map(|at| completed_at.0 - at.0);
            let wait = task.submitted_at.map(|at| at.0 - task.created_at.0);
            gathering.finished(task.state, task.retry_count.into(), duration, wait);
        }
        Ok(gathering.into_summary(created))
    }
}
