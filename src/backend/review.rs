//! What a reviewer makes of a piece beside approving and rejecting it: versions, and pieces that are written again.

use log::Level;

use super::{DaemonBackend, errors};
use crate::actors::queue::QueueChanged;
use crate::control::api::{
    ApiError, ContentReply, EditParams, ImageView, ImagesReply, Peer, VersionView, VersionsReply, WriteAgainParams,
    WriteAgainReply,
};
use crate::events::{About, Kind};
use crate::render::{render_version, retitled};
use crate::store::query::{ContentFilter, Page};
use crate::store::write::{ContentWrite, KeptImage, NewTask, Write, Written};
use crate::task::content::ContentRecord;
use crate::task::image::ImageState;
use crate::task::outcome::Piece;
use crate::task::{ContentId, Task, TaskState, Timestamp, limits};
use crate::tell;

/// Versions of one piece that are shown.
const SHOWN_VERSIONS: u32 = 1_000;
/// What stands before a remark in the requirements of a task that writes a piece again.
const REMARK: &str = "An earlier version of this piece was rejected. Remark of the reviewer: ";

impl DaemonBackend {
    async fn content_record(&self, id: ContentId) -> Result<ContentRecord, ApiError> {
        let content = self.read(move |queries| queries.content(id)).await?;
        content.ok_or(ApiError::ContentNotFound { content_id: id.0 })
    }

    pub(super) async fn edit_content(&self, peer: &Peer, edit: EditParams) -> Result<ContentReply, ApiError> {
        self.refuse_while_stopping()?;
        let content_id = ContentId(edit.content_id);
        let old = self.content_record(content_id).await?;
        let title = edit.title.clone().unwrap_or(old.record.title);
        let (kept, html) = (old.record.content, old.record.html_content);
        let is_text_kept = edit.content.is_none();
        let content = edit.content.unwrap_or(kept);
        let piece = Piece { content, html: None, images: old.record.images, score: None };
        let render =
            move || if is_text_kept { retitled(&piece, &html, &title) } else { render_version(&piece, &title) };
        // A piece may be megabytes, and this thread answers everybody.
        let rendered = tokio::task::spawn_blocking(render).await.map_err(ApiError::internal)?;
        let write = ContentWrite::Edit {
            content_id,
            base_hash: edit.content_hash,
            title: edit.title,
            rendered,
            rules: self.world.rules.now(),
            who: peer.label(),
            now: self.world.clock.now().utc,
        };
        match self.write_content(write, "edit").await? {
            Written::Reviewed(content) => {
                let record = &content.record;
                let about = About::id(&record.task_id).attempt(0).account(record.account_id).is(Kind::Reviewed);
                let (id, version, who) = (content.id, record.version, peer.label());
                tell!(
                    Level::Info,
                    about,
                    "content {content_id} was edited by {who}: content {id} is version {version}"
                );
                // Its images may wait.
                self.world.tell_images();
                Ok(content.as_ref().into())
            }
            _ => Err(ApiError::internal("the store gave the answer of another write")),
        }
    }

    async fn write_content(&self, write: ContentWrite, action: &str) -> Result<Written, ApiError> {
        let write = Write::Content(Box::new(write));
        self.world.store.write(write).await.map_err(|error| errors::of_write(error, action))
    }

    pub(super) async fn write_again(&self, peer: &Peer, again: WriteAgainParams) -> Result<WriteAgainReply, ApiError> {
        self.refuse_while_stopping()?;
        let content_id = ContentId(again.content_id);
        let content = self.content_record(content_id).await?;
        let id = content.record.task_id.clone();
        let old = self.read(move |queries| queries.task(&id)).await?.map(|(task, _)| task);
        let known = content.record.rewritten_by.clone();
        let Some(old) = old else {
            // What was asked is gone with the task; but what was done already is still answered.
            let task_id = known.ok_or(ApiError::TaskNotFound { task: content.record.task_id.0 })?.0;
            let review_status = content.record.review_status.to_string();
            let state = self.task(&task_id).await.ok().map(|(task, _)| task.state.to_string());
            return Ok(WriteAgainReply { content_id: content_id.0, review_status, task_id, state, was_known: true });
        };
        let task = self.task_again(peer, &old, &again.remark)?;
        let write = ContentWrite::WriteAgain {
            content_id,
            expected_hash: again.content_hash,
            remark: again.remark,
            task: Box::new(NewTask {
                limits: self.limits_of(&task.generator),
                task,
                digest: String::new(),
                claim: None,
            }),
            max_pending: self.settings.borrow().defaults.max_pending,
            who: peer.label(),
            now: self.world.clock.now(),
        };
        match self.write_content(write, "reject").await? {
            Written::Rewritten(content, rewriting) => {
                let task = rewriting.submitted.map(|submitted| submitted.task);
                if let Some(task) = task.as_ref().filter(|_| !rewriting.was_known) {
                    let about = About::task(task).is(Kind::TaskTaken);
                    let who = peer.label();
                    tell!(Level::Info, about, "writes {} again: content {content_id} was rejected by {who}", old.id);
                    if let Some(queue) = self.world.peers.borrow().queue.clone() {
                        queue.do_send(QueueChanged { task: Some(Box::new(task.clone())) });
                    }
                }
                Ok(WriteAgainReply {
                    content_id: content.id.0,
                    review_status: content.record.review_status.to_string(),
                    task_id: rewriting.task_id.0,
                    state: task.map(|task| task.state.to_string()),
                    was_known: rewriting.was_known,
                })
            }
            _ => Err(ApiError::internal("the store gave the answer of another write")),
        }
    }

    /// What was asked before, with the remark, as a task of the reviewer's.
    fn task_again(&self, peer: &Peer, old: &Task, remark: &str) -> Result<Task, ApiError> {
        let now = self.world.clock.now().utc;
        let remark = format!("{REMARK}{remark}");
        let requirements = match &old.requirements {
            Some(requirements) => format!("{requirements}\n\n{remark}"),
            None => remark,
        };
        if requirements.len() > limits::REQUIREMENTS_BYTES {
            let cure = format!("with the old requirements at most {} bytes", limits::REQUIREMENTS_BYTES);
            return Err(ApiError::invalid("remark", &requirements, cure));
        }
        let task = Task {
            topic: old.topic.clone(),
            keywords: old.keywords.clone(),
            category: old.category.clone(),
            requirements: Some(requirements),
            tone: old.tone.clone(),
            priority: old.priority,
            auto_approve: old.auto_approve && !self.settings.borrow().is_four_eyes,
            max_retries: old.max_retries,
            time_limit_s: old.time_limit_s,
            submitted_by: peer.label(),
            rewrites: Some(old.id.clone()),
            state: TaskState::Pending,
            ..Task::blank(self.world.entropy.task_id(), old.account_id, old.generator.clone(), now)
        };
        self.refuse_untransportable(&task).map_err(|fault| fault.error)?;
        Ok(task)
    }

    pub(super) async fn list_versions(&self, id: ContentId) -> Result<VersionsReply, ApiError> {
        let task = self.content_record(id).await?.record.task_id;
        let filter = ContentFilter { task: Some(task), ..ContentFilter::default() };
        let page = Page::first(SHOWN_VERSIONS);
        let versions = self.read(move |queries| queries.contents(&filter, page)).await?;
        Ok(VersionsReply { versions: versions.iter().map(|one| VersionView::from(&ContentReply::from(one))).collect() })
    }

    pub(super) async fn list_images(&self, id: ContentId) -> Result<ImagesReply, ApiError> {
        let found = self.read(move |queries| Ok((queries.content(id)?.is_some(), queries.images(id)?))).await?;
        let (true, images) = found else { return Err(ApiError::ContentNotFound { content_id: id.0 }) };
        Ok(ImagesReply { images: images.iter().map(|image| self.image_view(image)).collect() })
    }

    fn image_view(&self, image: &KeptImage) -> ImageView {
        let next: Option<Timestamp>;
        let (mut file, mut media, mut size) = (None, None, None);
        match &image.state {
            ImageState::Waiting { wake_at } => next = Some(*wake_at),
            ImageState::Kept { file: name, media_type, bytes } => {
                next = None;
                let path = crate::images::path_of(&self.installation.state_dir, name);
                (file, media, size) = (Some(path.display().to_string()), Some(media_type.clone()), Some(*bytes));
            }
            ImageState::GivenUp => next = None,
        }
        ImageView {
            position: image.position,
            url: image.url.clone(),
            state: image.state.as_str().to_owned(),
            tries: image.tries,
            next_try_at: next.map(Into::into),
            file,
            media_type: media,
            bytes: size,
            error: image.error.clone(),
        }
    }
}
