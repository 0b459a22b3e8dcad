//! Pieces and raw outputs, in one reply or in several: nothing that was paid for is too long to be read.
//!
//! A part is read from the database when the caller has taken the one before, so that whoever reads slowly holds a part and
//! not the whole. The surprise: nothing is kept between two parts; a text that another one has replaced meanwhile ends the
//! answer, because the parts of two texts make none.

use std::collections::VecDeque;

use super::DaemonBackend;
use crate::control::api::{ApiError, AttemptView, ContentReply, ContentView, ImageValue, ShowReply, TaskView};
use crate::control::parts::{PART_BYTES, Parts, Source, cut, replies};
use crate::control::protocol::MAX_REPLY_BYTES;
use crate::store::DbError;
use crate::store::query::{LongText, Queries};
use crate::task::{ContentId, TaskId};

/// What a read of a text at least takes, so that it ends: the longest character.
const LEAST_BYTES: usize = 4;

/// What a caller that takes one reply asked for.
enum Fitting<T> {
    Fits(T),
    TooLong(u64),
}

impl<T> Fitting<T> {
    fn or_refused(self) -> Result<T, ApiError> {
        match self {
            Self::Fits(found) => Ok(found),
            Self::TooLong(bytes) => Err(ApiError::ReplyTooLarge { bytes, limit: MAX_REPLY_BYTES as u64 }),
        }
    }
}

/// Asks only where the texts may fit into one reply: what does not is not read.
fn fitting<T>(
    queries: &dyn Queries,
    texts: &[LongText],
    ask: impl FnOnce() -> Result<T, DbError>,
) -> Result<Fitting<T>, DbError> {
    let mut bytes = 0;
    for text in texts {
        bytes += queries.text_part(text, 0, 0)?.map_or(0, |part| part.total);
    }
    if bytes > MAX_REPLY_BYTES as u64 { Ok(Fitting::TooLong(bytes)) } else { Ok(Fitting::Fits(ask()?)) }
}

/// Everything about a task but its text.
struct Shown {
    task: TaskView,
    attempts: Vec<AttemptView>,
    text: Option<LongText>,
}

impl DaemonBackend {
    async fn content_that_fits(&self, id: ContentId) -> Result<Option<ContentReply>, ApiError> {
        let texts = [LongText::Piece(id), LongText::Html(id)];
        let read = self.read(move |queries| fitting(queries, &texts, || queries.content(id))).await?;
        Ok(read.or_refused()?.as_ref().map(Into::into))
    }

    pub(super) async fn get_content(&self, id: ContentId) -> Result<ContentReply, ApiError> {
        self.content_that_fits(id).await?.ok_or(ApiError::ContentNotFound { content_id: id.0 })
    }

    async fn content_in_parts(&self, id: ContentId) -> Result<Option<Parts<ContentReply>>, ApiError> {
        let found = self.read(move |queries| queries.content_without_piece(id)).await?;
        let Some(content) = found else { return Ok(None) };
        let mut reply = ContentReply { content: ContentView::without_piece(&content), ..ContentReply::from(&content) };
        let images = cut(std::mem::take(&mut reply.content.images))?.into();
        let (piece, html) = (Text::of(LongText::Piece(id)), Text::of(LongText::Html(id)));
        Ok(Some(replies(ContentParts { backend: self.clone(), reply, images, piece, html })))
    }

    pub(super) async fn get_content_in_parts(&self, id: ContentId) -> Result<Parts<ContentReply>, ApiError> {
        self.content_in_parts(id).await?.ok_or(ApiError::ContentNotFound { content_id: id.0 })
    }

    pub(super) async fn task_result(&self, name: &str) -> Result<ContentReply, ApiError> {
        let (task, _) = self.task(name).await?;
        let found = match task.content_id {
            Some(id) => self.content_that_fits(id).await?,
            None => None,
        };
        found.ok_or_else(|| ApiError::NoResult { task: task.id.0, state: task.state.to_string() })
    }

    pub(super) async fn task_result_in_parts(&self, name: &str) -> Result<Parts<ContentReply>, ApiError> {
        let (task, _) = self.task(name).await?;
        let found = match task.content_id {
            Some(id) => self.content_in_parts(id).await?,
            None => None,
        };
        found.ok_or_else(|| ApiError::NoResult { task: task.id.0, state: task.state.to_string() })
    }

    async fn shown_task(&self, name: &str) -> Result<Shown, ApiError> {
        let (task, attempt) = self.task(name).await?;
        let (id, content_id) = (task.id.clone(), task.content_id);
        let (attempts, text) = self
            .read(move |queries| {
                let attempts = queries.attempts_without_output(&id)?;
                let piece = match content_id {
                    Some(content) => queries.content_without_piece(content)?.map(|_| LongText::Piece(content)),
                    None => None,
                };
                let last_output = || attempts.iter().rev().find(|(_, has_output)| *has_output);
                let text = piece.or_else(|| Some(raw_output(&id, last_output()?.0.number)));
                Ok((attempts, text))
            })
            .await?;
        let attempts = attempts.iter().map(|(attempt, _)| attempt.into()).collect();
        Ok(Shown { task: self.explained(task, attempt.as_ref()).await, attempts, text })
    }

    pub(super) async fn show_task(&self, name: &str) -> Result<ShowReply, ApiError> {
        let Shown { task, attempts, text } = self.shown_task(name).await?;
        let Some(text) = text else { return Ok(ShowReply { task, result: None, attempts }) };
        let whole = move |queries: &dyn Queries| {
            fitting(queries, std::slice::from_ref(&text), || queries.text_part(&text, 0, u32::MAX))
        };
        let result = self.read(whole).await?.or_refused()?.map(|part| part.text);
        Ok(ShowReply { task, result, attempts })
    }

    pub(super) async fn show_task_in_parts(&self, name: &str) -> Result<Parts<ShowReply>, ApiError> {
        let Shown { task, attempts, text } = self.shown_task(name).await?;
        let attempts = cut(attempts)?.into();
        Ok(replies(ShowParts { backend: self.clone(), task, attempts, text: text.map(Text::of) }))
    }
}

fn raw_output(id: &TaskId, attempt: u32) -> LongText {
    LongText::RawOutput(id.clone(), attempt)
}

/// A long text as far as it was read.
struct Text {
    text: LongText,
    at: u64,
    /// Its length; none before its first part.
    total: Option<u64>,
}

impl Text {
    fn of(text: LongText) -> Self {
        Self { text, at: 0, total: None }
    }

    fn is_over(&self) -> bool {
        self.total.is_some_and(|total| self.at >= total)
    }

    /// The next part, of what `room` has left; none where the text is over or there is no room.
    async fn next(&mut self, backend: &DaemonBackend, room: &mut usize) -> Result<Option<String>, ApiError> {
        if self.is_over() || *room < LEAST_BYTES {
            return Ok(None);
        }
        let (text, at, most) = (self.text.clone(), self.at, u32::try_from(*room).unwrap_or(u32::MAX));
        let part = backend.read(move |queries| queries.text_part(&text, at, most)).await?;
        let is_same = |total: u64| self.total.is_none_or(|before| before == total);
        let part = part.filter(|part| is_same(part.total) && (part.next > at || part.total == 0));
        let part = part.ok_or_else(|| ApiError::internal("the text was replaced while it was read; read it again"))?;
        (self.at, self.total) = (part.next, Some(part.total));
        *room = room.saturating_sub(part.text.len());
        Ok(Some(part.text))
    }
}

struct ContentParts {
    backend: DaemonBackend,
    /// Without piece and images.
    reply: ContentReply,
    images: VecDeque<(Vec<ImageValue>, usize)>,
    piece: Text,
    html: Text,
}

impl Source for ContentParts {
    type Reply = ContentReply;

    async fn next(&mut self) -> Result<ContentReply, ApiError> {
        let (images, bytes) = self.images.pop_front().unwrap_or_default();
        let mut room = PART_BYTES.saturating_sub(bytes);
        let mut reply = self.reply.clone();
        reply.content.images = images;
        reply.content.content = self.piece.next(&self.backend, &mut room).await?;
        if self.piece.is_over() {
            reply.content.html_content = self.html.next(&self.backend, &mut room).await?;
        }
        Ok(reply)
    }

    fn is_over(&self) -> bool {
        self.images.is_empty() && self.piece.is_over() && self.html.is_over()
    }
}

struct ShowParts {
    backend: DaemonBackend,
    task: TaskView,
    attempts: VecDeque<(Vec<AttemptView>, usize)>,
    text: Option<Text>,
}

impl Source for ShowParts {
    type Reply = ShowReply;

    async fn next(&mut self) -> Result<ShowReply, ApiError> {
        let (attempts, bytes) = self.attempts.pop_front().unwrap_or_default();
        let mut room = PART_BYTES.saturating_sub(bytes);
        let result = match &mut self.text {
            Some(text) => text.next(&self.backend, &mut room).await?,
            None => None,
        };
        Ok(ShowReply { task: self.task.clone(), result, attempts })
    }

    fn is_over(&self) -> bool {
        self.attempts.is_empty() && self.text.as_ref().is_none_or(Text::is_over)
    }
}
