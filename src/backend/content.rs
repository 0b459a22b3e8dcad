//! Pieces and the publish pool.

use log::Level;

use super::pool::pool_views;
use super::{DaemonBackend, errors};
use crate::control::api::{
    ApiError, ContentQuery, ContentReply, ContentView, ContentsReply, Peer, PoolQuery, PoolReleaseReply, PoolReply,
    ReviewParams,
};
use crate::events::{About, Kind};
use crate::store::query::{ContentFilter, Page, PoolFilter};
use crate::store::write::{PoolWrite, PoolWritten, Write, Written};
use crate::task::content::ReviewMove;
use crate::task::{ContentId, PoolId};
use crate::tell;
use crate::text::counted;

impl DaemonBackend {
    pub(super) async fn list_contents(&self, query: ContentQuery) -> Result<ContentsReply, ApiError> {
        let account = self.account_of(query.account.as_deref()).await?.map(|account| account.id);
        let task = match &query.task {
            Some(name) => Some(self.task_id(name).await?),
            None => None,
        };
        let filter = ContentFilter { account, review: query.review, task, is_oldest_first: query.is_oldest_first };
        let page = Page { limit: query.limit, offset: query.offset, before: query.before.map(|id| id.0) };
        let contents = self.read(move |queries| queries.contents(&filter, page)).await?;
        Ok(ContentsReply { contents: contents.iter().map(ContentView::without_piece).collect() })
    }

    pub(super) async fn review_content(
        &self,
        peer: &Peer,
        approve: bool,
        review: ReviewParams,
    ) -> Result<ContentReply, ApiError> {
        self.refuse_while_stopping()?;
        if approve && self.settings.borrow().is_four_eyes {
            self.refuse_own_work(peer, ContentId(review.content_id)).await?;
        }
        let (decision, action) =
            if approve { (ReviewMove::Approved, "approve") } else { (ReviewMove::Rejected, "reject") };
        let now = self.world.clock.now().utc;
        let write = Write::Review {
            content_id: ContentId(review.content_id),
            decision,
            reason: review.reason,
            expected_hash: review.content_hash,
            who: peer.label(),
            due: Some(self.world.rules.now().due_after(now)),
            now,
        };
        match self.world.store.write(write).await.map_err(|error| errors::of_write(error, action))? {
            Written::Reviewed(content) => {
                let action = if approve { "approved" } else { "rejected" };
                let about = About::id(&content.record.task_id).attempt(0).account(content.record.account_id);
                let about = about.is(Kind::Reviewed);
                tell!(Level::Info, about, "content {} {action} by {}", content.id, peer.label());
                self.world.tell_publisher();
                let mut reply = ContentReply::from(content.as_ref());
                if approve {
                    let id = content.id;
                    // The approval stands; where its entry cannot be read, nothing is said of it.
                    let entry = self.read(move |queries| queries.pool_entry_of(id)).await.ok().flatten();
                    reply.pool_entry = entry.as_ref().map(Into::into);
                }
                Ok(reply)
            }
            _ => Err(ApiError::internal("the store gave the answer of another write")),
        }
    }

    /// Who submitted a task and who edited a version is never changed, so this may be looked at before the review is
    /// written.
    async fn refuse_own_work(&self, peer: &Peer, id: ContentId) -> Result<(), ApiError> {
        let found = self.read(move |queries| {
            let Some(content) = queries.content(id)? else { return Ok(None) };
            let submitted_by = queries.task(&content.record.task_id)?.map(|(task, _)| task.submitted_by);
            Ok(Some((submitted_by, content.record.edited_by)))
        });
        let (submitted_by, edited_by) = found.await?.ok_or(ApiError::ContentNotFound { content_id: id.0 })?;
        // A name may be given to another user; the number before it is what the kernel said.
        let uid_of = |label: &str| label.split(':').next().and_then(|number| number.parse::<u32>().ok());
        if let Some(edited_by) = edited_by
            && uid_of(&edited_by).is_none_or(|uid| uid == peer.uid)
        {
            return Err(ApiError::OwnEdit { content_id: id.0, edited_by });
        }
        match submitted_by.as_deref().and_then(uid_of) {
            Some(uid) if uid != peer.uid => Ok(()),
            Some(_) | None => Err(ApiError::OwnSubmission { content_id: id.0, submitted_by }),
        }
    }

    pub(super) async fn list_pool(&self, query: PoolQuery) -> Result<PoolReply, ApiError> {
        let account = self.account_of(query.account.as_deref()).await?.map(|account| account.id);
        let filter = PoolFilter { account, status: query.status, now: Some(self.world.clock.now().utc) };
        let page = Page { limit: query.limit, offset: query.offset, before: query.before.map(|id| id.0) };
        let publishers = self.world.publishers.current();
        let entries = self.read(move |queries| pool_views(queries, &publishers, &queries.pool(&filter, page)?)).await?;
        Ok(PoolReply { entries })
    }

    pub(super) async fn release_pool(
        &self,
        peer: &Peer,
        ids: Option<Vec<PoolId>>,
    ) -> Result<PoolReleaseReply, ApiError> {
        self.refuse_while_stopping()?;
        let write = PoolWrite::Release { ids, who: peer.label(), now: self.world.clock.now().utc };
        match self.world.store.write(Write::Pool(write)).await.map_err(|error| errors::of_write(error, "release"))? {
            Written::Pool(PoolWritten::Released(released)) => {
                let entries = counted(released.len() as u64, "pool entry was", "pool entries were");
                log::info!("{entries} released by {}", peer.label());
                self.world.tell_publisher();
                Ok(PoolReleaseReply { released: released.into_iter().map(|id| id.0).collect() })
            }
            _ => Err(ApiError::internal("the store gave the answer of another write")),
        }
    }
}
