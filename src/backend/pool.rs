//! Consumers of the publish pool: what they are given, and what they say of it.

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;
use std::time::Duration;

use super::{DaemonBackend, errors};
use crate::actors::publisher::{PublisherStatus, log_move};
use crate::control::api::pool::{
    HandedOut, HandoutView, NextQuery, PoolAnswer, PoolEntryReply, PoolNextReply, PoolShowReply, PoolWord,
    PublicationView,
};
use crate::control::api::{ApiError, ContentView, Peer, PoolView, PublisherView};
use crate::control::protocol::MAX_REPLY_BYTES;
use crate::publish::outcome::Published;
use crate::publish::{Handout, Holder, PoolEvent, PublishPolicy};
use crate::publisher::{Publisher, Publishers};
use crate::store::DbError;
use crate::store::query::{LongText, PoolStanding, Queries};
use crate::store::write::{Account, HandOut, PoolWrite, PoolWritten, Write, Written};
use crate::task::content::{PoolEntry, PoolState};
use crate::task::{AccountId, ContentId, PoolId, Timestamp};

impl DaemonBackend {
    /// Pieces that are not out, by state; every state that is counted is there. And how many wait for a review.
    pub(super) async fn pool_counts(&self) -> Result<(BTreeMap<String, u64>, u64), ApiError> {
        let now = self.world.clock.now().utc;
        let standing = self.read(move |queries| queries.pool_standing(now)).await?;
        let count = |state: &PoolState| (state.to_string(), standing.counts.get(state).copied().unwrap_or(0));
        Ok((PoolStanding::COUNTED.iter().map(count).collect(), standing.to_review))
    }

    /// Accounts with pieces that wait and that no publisher serves, where there are publishers at all.
    pub(super) async fn unserved_accounts(&self) -> Result<Vec<String>, ApiError> {
        let publishers = self.world.publishers.current();
        if publishers.iter().next().is_none() {
            return Ok(Vec::new());
        }
        // Whenever they are due.
        let waiting = self.read(move |queries| queries.pool_accounts_due(Timestamp(i64::MAX))).await?;
        let is_served = |account: &Account| publishers.iter().any(|publisher| publisher.serves.has_account(account));
        Ok(waiting.into_iter().filter(|account| !is_served(account)).map(|account| account.name).collect())
    }

    pub(super) fn publishers_of(&self, status: Option<&PublisherStatus>) -> Vec<PublisherView> {
        let publishers = self.world.publishers.current();
        let view = |publisher: &Arc<Publisher>| {
            let away = status.and_then(|status| status.away.iter().find(|away| away.publisher == publisher.name));
            PublisherView {
                name: publisher.name.clone(),
                is_away: away.is_some(),
                why: away.map(|away| away.why.clone()),
                since: away.map(|away| away.since.into()),
                next_probe_at: away.and_then(|away| away.next_probe_at).map(Into::into),
            }
        };
        publishers.iter().map(view).collect()
    }

    pub(super) async fn show_pool_entry(&self, id: PoolId) -> Result<PoolShowReply, ApiError> {
        let publishers = self.world.publishers.current();
        let found = self.read(move |queries| {
            let Some((entry, handouts)) = queries.pool_entry(id)? else { return Ok(None) };
            let publication = queries.content(entry.content_id)?.and_then(|content| content.publication);
            let entry = pool_views(queries, &publishers, &[entry])?.pop();
            Ok(entry.map(|entry| (entry, handouts, publication)))
        });
        let (entry, handouts, publication) = found.await?.ok_or(ApiError::PoolEntryNotFound { pool_id: id.0 })?;
        let publication = publication.map(|publication| PublicationView {
            published_at: publication.at.into(),
            published_by: publication.by,
            url: publication.url,
            reference: publication.reference,
        });
        Ok(PoolShowReply { entry, handouts: handouts.iter().map(Into::into).collect(), publication })
    }

    pub(super) async fn next_of_pool(&self, peer: &Peer, query: NextQuery) -> Result<PoolNextReply, ApiError> {
        self.refuse_while_stopping()?;
        let account = self.account_of(query.account.as_deref()).await?.map(|account| account.id);
        let now = self.world.clock.now().utc;
        let hand_out = HandOut {
            holder: Holder::Consumer(peer.label()),
            only: None,
            account,
            limit: query.limit,
            request: query.key,
            knows_its_keys: false,
            lease_until: now.plus(self.lease(query.lease_s)),
            now,
        };
        let write = Write::Pool(PoolWrite::HandOut(Box::new(hand_out)));
        let handed_out =
            match self.world.store.write(write).await.map_err(|error| errors::of_write(error, "hand out"))? {
                Written::Pool(PoolWritten::HandedOut(handed_out)) => handed_out,
                _ => return Err(ApiError::internal("the store gave the answer of another write")),
            };
        // The lease of one of them may be what ends next.
        self.world.tell_publisher();
        let pieces = self.read(move |queries| {
            let mut room = MAX_REPLY_BYTES as u64;
            let mut with_piece = |(entry, handout): (PoolEntry, Handout)| {
                let content = piece_within(queries, entry.content_id, &mut room)?;
                let account = queries.find_account(&entry.account_id.to_string())?;
                Ok(content.zip(account).map(|(content, account)| HandedOut {
                    pool_id: entry.id.0,
                    fence: handout.fence,
                    key: handout.key.0,
                    lease_until: entry.wake_at.unwrap_or(entry.scheduled_at).into(),
                    priority: entry.priority,
                    account: account.name,
                    external_id: account.external_id,
                    content,
                }))
            };
            handed_out.into_iter().filter_map(|one| with_piece(one).transpose()).collect()
        });
        Ok(PoolNextReply { handed_out: pieces.await? })
    }

    fn lease(&self, given_s: Option<u64>) -> Duration {
        given_s.map_or_else(|| self.world.publishers.current().lease, Duration::from_secs)
    }

    /// What a holder or a person says of an entry.
    pub(super) async fn hear_of_pool(&self, peer: &Peer, word: PoolWord) -> Result<PoolEntryReply, ApiError> {
        self.refuse_while_stopping()?;
        let now = self.world.clock.now().utc;
        let PoolWord { id, fence, answer, answers_for_all } = word;
        let (event, action) = self.event_of(answer, now);
        let publishers = self.world.publishers.current();
        let write = PoolWrite::Happened {
            id,
            fence,
            event: Box::new(event),
            policy: Box::new(publishers.consumers.clone()),
            draw: self.world.entropy.draw(),
            who: peer.label(),
            answers_for_all,
            now,
        };
        let written = self.world.store.write(Write::Pool(write)).await;
        let written = match written {
            Ok(written) => written,
            Err(error) => return Err(self.with_its_doubt(id, errors::of_write(error, action)).await),
        };
        match written {
            Written::Pool(PoolWritten::Changed { change, task_id }) => {
                log_move(&change, task_id.as_ref(), &peer.label());
                self.world.tell_publisher();
                let entry = change.entry.clone();
                let views = self.read(move |queries| pool_views(queries, &publishers, &[entry])).await;
                // What was said is committed: a database that cannot be read now takes nothing of it back.
                let view = views.ok().and_then(|mut views| views.pop());
                Ok(PoolEntryReply { entry: view.unwrap_or_else(|| (&change.entry).into()) })
            }
            _ => Err(ApiError::internal("the store gave the answer of another write")),
        }
    }

    /// A refusal for an entry that somebody has, with how it stands where that one's answer is in doubt: then it may be long until
    /// anybody can say something of it.
    async fn with_its_doubt(&self, id: PoolId, mut error: ApiError) -> ApiError {
        let ApiError::WrongPoolState { status, cure, .. } = &mut error else { return error };
        if *status != PoolState::Publishing.to_string() {
            return error;
        }
        if let Ok(Some((entry, handouts))) = self.read(move |queries| queries.pool_entry(id)).await
            && let Some(handout) = handouts.iter().find(|handout| handout.fence == entry.fence)
            && let Some(publisher) = self.world.publishers.current().get(handout.holder.name())
            && let Some(doubt) = doubt_in_words(&entry, handout, &publisher.policy)
        {
            *cure = doubt;
        }
        error
    }

    fn event_of(&self, answer: PoolAnswer, now: Timestamp) -> (PoolEvent, &'static str) {
        match answer {
            PoolAnswer::Done { url, reference, settles: None } => {
                (PoolEvent::Done(Published { url, reference }), "finish")
            }
            PoolAnswer::Done { url, reference, settles: Some(reason) } => {
                (PoolEvent::Settled { published: Some(Published { url, reference }), reason }, "settle")
            }
            PoolAnswer::Failed { error, is_settled: true, .. } => {
                (PoolEvent::Settled { published: None, reason: error }, "settle")
            }
            PoolAnswer::Failed { error, is_final, is_settled: false } => {
                (PoolEvent::Failed { error, is_final }, "finish")
            }
            PoolAnswer::Renewed { lease_s } => (PoolEvent::Renewed { until: now.plus(self.lease(lease_s)) }, "renew"),
            PoolAnswer::Scheduled { at, priority } => (PoolEvent::Rescheduled { at, priority }, "schedule"),
            PoolAnswer::Removed { reason } => (PoolEvent::Removed { reason }, "remove"),
        }
    }
}

/// How an entry stands of which a publisher's call said nothing that can be believed.
fn doubt_in_words(entry: &PoolEntry, handout: &Handout, policy: &PublishPolicy) -> Option<String> {
    handout.doubted_at.filter(|_| handout.holder.is_publisher() && handout.ended_at.is_none())?;
    let next = if policy.is_idempotent { "sent again" } else { "looked for" };
    let when = entry.wake_at.map(|at| format!(", {next} at {}", at.in_utc())).unwrap_or_default();
    Some(format!(
        "it is in doubt at {}, sent {} of {} times{when}; what comes of that settles it, or holds it for a person",
        handout.holder,
        handout.sends,
        if policy.is_idempotent { policy.max_retries + 1 } else { 1 }
    ))
}

/// Entries with what people know them by.
pub(super) fn pool_views(
    queries: &dyn Queries,
    publishers: &Publishers,
    entries: &[PoolEntry],
) -> Result<Vec<PoolView>, DbError> {
    let mut accounts: BTreeMap<AccountId, Option<Account>> = BTreeMap::new();
    let mut views = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut view = PoolView::from(entry);
        let account = match accounts.entry(entry.account_id) {
            btree_map::Entry::Occupied(known) => known.into_mut(),
            btree_map::Entry::Vacant(free) => free.insert(queries.find_account(&entry.account_id.to_string())?),
        };
        let content = queries.content_without_piece(entry.content_id)?;
        if let (Some(account), PoolState::Pending) = (account.as_ref(), entry.status) {
            let category = content.as_ref().and_then(|content| content.record.category.as_deref());
            view.unserved = publishers.unserved(account, category);
        }
        view.account = account.as_ref().map(|account| account.name.clone());
        view.title = content.map(|content| content.record.title);
        views.push(view);
    }
    Ok(views)
}

/// A record with its piece while there is room for it, and without where there is none. What was handed out must be told, however
/// long it is, and a hundred pieces are more than anybody keeps in memory.
fn piece_within(queries: &dyn Queries, id: ContentId, room: &mut u64) -> Result<Option<ContentView>, DbError> {
    let mut bytes = 0;
    for text in [LongText::Piece(id), LongText::Html(id)] {
        bytes += queries.text_part(&text, 0, 0)?.map_or(0, |part| part.total);
    }
    match room.checked_sub(bytes) {
        Some(left) => {
            *room = left;
            Ok(queries.content(id)?.as_ref().map(ContentView::with_piece))
        }
        None => Ok(queries.content_without_piece(id)?.as_ref().map(ContentView::without_piece)),
    }
}

impl From<&Handout> for HandoutView {
    fn from(handout: &Handout) -> Self {
        Self {
            fence: handout.fence,
            holder: handout.holder.name().to_owned(),
            is_publisher: handout.holder.is_publisher(),
            key: handout.key.0.clone(),
            handed_out_at: handout.handed_out_at.into(),
            sends: handout.sends,
            doubted_at: handout.doubted_at.map(Into::into),
            ended_at: handout.ended_at.map(Into::into),
            outcome: handout.outcome.clone(),
            error: handout.error.clone(),
        }
    }
}
