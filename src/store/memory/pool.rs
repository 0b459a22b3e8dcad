//! The twin's publish pool and its handings out.

use super::Tables;
use crate::publish::{Handout, PoolMove};
use crate::store::DbError;
use crate::store::query::{KeyUse, PoolStanding};
use crate::store::write::Account;
use crate::task::content::{ContentRecord, PoolEntry, PoolState, Publication, PublishState, ReviewState};
use crate::task::{AccountId, AttemptKey, ContentId, PoolId, Timestamp};

impl Tables {
    pub(super) fn doubt_of(&self, content_id: ContentId) -> Option<PoolEntry> {
        let was_doubted = |entry: &&PoolEntry| {
            entry.content_id == content_id && entry.status == PoolState::Removed && entry.held_reason.is_some()
        };
        self.pool.iter().rev().find(was_doubted).cloned()
    }

    pub(super) fn may_go_out(&self, entry: &PoolEntry) -> bool {
        let is_approved = || {
            let content = self.contents.iter().find(|content| content.id == entry.content_id);
            content.is_some_and(|content| content.record.review_status == ReviewState::Approved)
        };
        match entry.status {
            PoolState::Published => false,
            PoolState::Removed => is_approved(),
            PoolState::Pending | PoolState::Publishing | PoolState::Failed | PoolState::Held => true,
        }
    }

    pub(super) fn put_entry(&mut self, entry: &PoolEntry) -> Result<(), DbError> {
        let is_second = entry.status != PoolState::Removed
            && self.pool.iter().any(|other| {
                other.content_id == entry.content_id && other.id != entry.id && other.status != PoolState::Removed
            });
        if is_second {
            return Err(DbError::Refused("a second pool entry of one piece".into()));
        }
        match self.pool.iter_mut().find(|row| row.id == entry.id) {
            Some(row) => {
                *row = entry.clone();
                Ok(())
            }
            None => Err(DbError::Refused("a pool entry that is not there was to be updated".into())),
        }
    }

    pub(super) fn due_entries(
        &self,
        account: Option<AccountId>,
        categories: Option<&[String]>,
        now: Timestamp,
        limit: u32,
    ) -> Vec<PoolEntry> {
        let is_of = |entry: &PoolEntry| {
            let Some(categories) = categories else { return true };
            let content = self.contents.iter().find(|content| content.id == entry.content_id);
            content.and_then(|content| content.record.category.as_ref()).is_some_and(|own| categories.contains(own))
        };
        let is_due = |entry: &&PoolEntry| {
            entry.status == PoolState::Pending
                && entry.scheduled_at <= now
                && account.is_none_or(|account| account == entry.account_id)
                && is_of(entry)
        };
        let mut due: Vec<PoolEntry> = self.pool.iter().filter(is_due).cloned().collect();
        due.sort_by_key(|entry| (std::cmp::Reverse(entry.priority), entry.scheduled_at, entry.id));
        due.truncate(limit as usize);
        due
    }

    pub(super) fn put_handout(&mut self, handout: &Handout) -> Result<(), DbError> {
        let is_known =
            |one: &Handout| one.key == handout.key || one.pool_id == handout.pool_id && one.fence == handout.fence;
        if self.handouts.iter().any(is_known) {
            return Err(DbError::Refused("a key or a fence was used twice".into()));
        }
        self.handouts.push(handout.clone());
        Ok(())
    }

    pub(super) fn change_handout(&mut self, handout: &Handout) -> Result<(), DbError> {
        let is_it = |one: &&mut Handout| one.pool_id == handout.pool_id && one.fence == handout.fence;
        match self.handouts.iter_mut().find(is_it) {
            Some(row) => {
                *row = handout.clone();
                Ok(())
            }
            None => Err(DbError::Refused("a handing out that is not there was to be updated".into())),
        }
    }

    pub(super) fn set_publication(&mut self, id: ContentId, publication: &Publication) -> Result<(), DbError> {
        match self.contents.iter_mut().find(|content| content.id == id && content.publication.is_none()) {
            Some(content) => {
                content.publication = Some(publication.clone());
                content.record.publish_status = PublishState::Published;
                Ok(())
            }
            None => Err(DbError::Refused("a piece was to be published twice, or is not there".into())),
        }
    }

    pub(super) fn shift_pool(&mut self, by_ms: i64) {
        let shifted = |at: Timestamp| Timestamp(at.0.saturating_add(by_ms));
        let waits = |entry: &&mut PoolEntry| {
            matches!(entry.status, PoolState::Pending | PoolState::Publishing | PoolState::Held)
        };
        for entry in self.pool.iter_mut().filter(waits) {
            let by_ms = entry.due_by.shifted_by(by_ms);
            entry.scheduled_at = Timestamp(entry.scheduled_at.0.saturating_add(by_ms));
        }
        for entry in self.pool.iter_mut().filter(|entry| entry.status == PoolState::Publishing) {
            entry.wake_at = entry.wake_at.map(shifted);
            let is_current = |one: &&mut Handout| one.pool_id == entry.id && one.fence == entry.fence;
            if let Some(handout) = self.handouts.iter_mut().find(is_current) {
                handout.doubted_at = handout.doubted_at.map(shifted);
                handout.quiet_since = handout.quiet_since.map(shifted);
            }
        }
    }

    pub(super) fn handout_uses(&self, keys: &[AttemptKey]) -> Vec<(AttemptKey, KeyUse)> {
        let asked = self.handouts.iter().filter(|one| keys.contains(&one.key));
        let uses = asked.filter_map(|one| {
            let entry = self.pool.iter().find(|entry| entry.id == one.pool_id)?;
            Some((one.key.clone(), KeyUse::of_handout(entry.status, entry.fence == one.fence)))
        });
        uses.collect()
    }

    pub(super) fn entry_with_history(&self, id: PoolId) -> Option<(PoolEntry, Vec<Handout>)> {
        let entry = self.pool.iter().find(|entry| entry.id == id)?.clone();
        let mut handouts: Vec<Handout> = self.handouts.iter().filter(|one| one.pool_id == id).cloned().collect();
        handouts.sort_by_key(|one| one.fence);
        Some((entry, handouts))
    }

    pub(super) fn pool_standing(&self, now: Timestamp) -> PoolStanding {
        let mut standing = PoolStanding::default();
        for entry in self.pool.iter().filter(|entry| PoolStanding::COUNTED.contains(&entry.status)) {
            *standing.counts.entry(entry.status).or_insert(0) += 1;
        }
        let waits = self.pool.iter().filter(|entry| entry.status == PoolState::Pending);
        let waits_for_review = |content: &&ContentRecord| content.record.review_status == ReviewState::PendingReview;
        let to_review = self.contents.iter().filter(waits_for_review).count() as u64;
        standing.to_review = to_review.min(PoolStanding::MOST_TO_REVIEW);
        standing.oldest_due = waits.map(|entry| entry.scheduled_at).filter(|at| *at <= now).min();
        standing
    }

    pub(super) fn wakes(&self, until: Timestamp, limit: u32) -> Vec<(PoolEntry, Handout)> {
        let is_due =
            |entry: &&PoolEntry| entry.status == PoolState::Publishing && entry.wake_at.is_some_and(|at| at <= until);
        let with_handout = |entry: &PoolEntry| {
            let current = self.handouts.iter().find(|one| one.pool_id == entry.id && one.fence == entry.fence)?;
            Some((entry.clone(), current.clone()))
        };
        let mut due: Vec<_> = self.pool.iter().filter(is_due).filter_map(with_handout).collect();
        due.sort_by_key(|(entry, _)| (entry.wake_at, entry.id));
        due.truncate(limit as usize);
        due
    }

    pub(super) fn accounts_due(&self, now: Timestamp) -> Vec<Account> {
        let has_due = |account: &&Account| !self.due_entries(Some(account.id), None, now, 1).is_empty();
        self.accounts.iter().filter(has_due).cloned().collect()
    }

    pub(super) fn next_pool_time(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.pool.iter().filter_map(|entry| match entry.status {
            PoolState::Pending => Some(entry.scheduled_at),
            PoolState::Publishing => entry.wake_at,
            PoolState::Published | PoolState::Failed | PoolState::Held | PoolState::Removed => None,
        });
        times.filter(|at| *at > now).min()
    }

    pub(super) fn publishes_since(&self, publisher: &str, since: Timestamp, until: Timestamp) -> u32 {
        let is_counted = |one: &&Handout| {
            one.holder.is_publisher()
                && one.holder.name() == publisher
                && (since..=until).contains(&one.handed_out_at)
                && one.outcome.as_deref() != Some(PoolMove::GivenBack.as_str())
        };
        u32::try_from(self.handouts.iter().filter(is_counted).count()).unwrap_or(u32::MAX)
    }
}
