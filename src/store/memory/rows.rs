//! The rows as a write sees and changes them.

use crate::publish::{Handout, PieceIdentity};
use crate::store::DbError;
use crate::store::write::{Account, FinishedPlace, FinishedTask, KeptImage, NewImage, Rows, Slice};
use crate::task::account::AccountLimits;
use crate::task::content::{ContentRecord, NewContent, PoolEntry, PoolState, Publication, PublishState, Version};
use crate::task::{
    AccountId, Attempt, AttemptState, AuditRow, ContentId, GeneratorName, PoolId, Task, TaskId, TaskState, Timestamp,
};

use super::{Tables, count_up, is_over};

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

    fn update_task(&mut self, task: &Task, before: &Task) -> Result<usize, DbError> {
        match self.tasks.get_mut(&task.id) {
            Some(row) if row.state == before.state && row.attempt == before.attempt => {
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

    fn update_attempt(&mut self, attempt: &Attempt, _: &Attempt) -> Result<(), DbError> {
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

    fn piece_identity(&mut self, content_id: ContentId) -> Result<Option<PieceIdentity>, DbError> {
        let content = self.contents.iter().find(|content| content.id == content_id);
        Ok(content.map(|content| PieceIdentity {
            task_id: content.record.task_id.clone(),
            version: content.record.version,
            content_hash: content.record.content_hash.clone(),
        }))
    }

    fn times_handed_out(&mut self, content_id: ContentId) -> Result<u64, DbError> {
        let is_of = |handout: &&Handout| {
            self.pool.iter().any(|entry| entry.id == handout.pool_id && entry.content_id == content_id)
        };
        Ok(self.handouts.iter().filter(is_of).count() as u64)
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
