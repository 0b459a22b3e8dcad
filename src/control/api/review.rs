//! `io.contentd.Content`: versions of a piece, pieces that are written again, images that are kept.

use serde::{Deserialize, Serialize};

use super::checked;
use super::content::ContentReply;
use super::error::ApiError;
use crate::control::values::WireTime;
use crate::task::content::TITLE_CHARS;

/// `Edit`: a new version by hand.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditParams {
    /// Of which record.
    pub content_id: i64,
    /// The hash of what was edited; another hash is refused.
    pub content_hash: String,
    /// The new text, in Markdown; null: the text stays.
    #[serde(default)]
    pub content: Option<String>,
    /// The new title; null: the title stays.
    #[serde(default)]
    pub title: Option<String>,
}

impl EditParams {
    /// Judges the form.
    pub fn check(self) -> Result<Self, ApiError> {
        if self.content.is_none() && self.title.is_none() {
            return Err(ApiError::invalid("content", "", "a new text, a new title, or both"));
        }
        if let Some(content) = self.content.as_deref().filter(|content| content.trim().is_empty()) {
            return Err(ApiError::invalid("content", content, "a piece that is not empty; `reject` takes one away"));
        }
        if self.content.as_deref().is_some_and(|content| content.contains('\0')) {
            return Err(ApiError::invalid("content", "\0", "a text without NUL characters"));
        }
        let title = self.title.as_deref().map(checked_title).transpose()?;
        Ok(Self { title, ..self })
    }
}

fn checked_title(given: &str) -> Result<String, ApiError> {
    let title = given.trim();
    let is_short = (1..=TITLE_CHARS).contains(&title.chars().count());
    if !is_short || title.chars().any(char::is_control) {
        let cure = format!("a title of 1 to {TITLE_CHARS} characters on one line, without control characters");
        return Err(ApiError::invalid("title", given, cure));
    }
    Ok(title.to_owned())
}

/// `WriteAgain`: the piece is rejected, and a new task writes it again.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteAgainParams {
    /// Which record.
    pub content_id: i64,
    /// The hash of what was looked at; another hash is refused.
    #[serde(default)]
    pub content_hash: Option<String>,
    /// What is to be better; it goes into the requirements of the new task.
    pub remark: String,
}

impl WriteAgainParams {
    /// Judges the form.
    pub fn check(self) -> Result<Self, ApiError> {
        let remark = checked::reason(&self.remark).map_err(|error| match error {
            ApiError::InvalidField { value, .. } => {
                ApiError::invalid("remark", &value, "what is to be better, in 1 to 1000 characters")
            }
            error => error,
        })?;
        Ok(Self { remark, ..self })
    }
}

/// What `WriteAgain` came to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WriteAgainReply {
    /// The rejected record.
    pub content_id: i64,
    /// Where its review stands.
    pub review_status: String,
    /// The task that writes it again.
    pub task_id: String,
    /// Its state; null where it was deleted since.
    pub state: Option<String>,
    /// It was made before: nothing was added.
    pub was_known: bool,
}

/// A version of a piece.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct VersionView {
    /// Its content record.
    pub content_id: i64,
    /// From 1.
    pub version: u32,
    /// Its title.
    pub title: String,
    /// `pending_review approved rejected superseded`.
    pub review_status: String,
    /// `unpublished pooled published`.
    pub publish_status: String,
    /// Who made it by hand; null: the generator.
    pub edited_by: Option<String>,
    /// Who reviewed it.
    pub reviewed_by: Option<String>,
    /// Why.
    pub review_reason: Option<String>,
    /// Its words.
    pub word_count: u32,
    /// SHA-256 in hexadecimal.
    pub content_hash: String,
    /// When it was made.
    pub created_at: WireTime,
}

impl From<&ContentReply> for VersionView {
    fn from(reply: &ContentReply) -> Self {
        let content = &reply.content;
        Self {
            content_id: content.content_id,
            version: reply.version,
            title: content.title.clone(),
            review_status: content.review_status.clone(),
            publish_status: content.publish_status.clone(),
            edited_by: reply.edited_by.clone(),
            reviewed_by: reply.reviewed_by.clone(),
            review_reason: reply.review_reason.clone(),
            word_count: content.word_count,
            content_hash: content.content_hash.clone(),
            created_at: content.created_at,
        }
    }
}

/// The versions of a piece, newest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct VersionsReply {
    /// Each of them.
    pub versions: Vec<VersionView>,
}

/// An image of a piece that is, or is to be, kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImageView {
    /// Which of the piece's images, from 0.
    pub position: u32,
    /// Where it was.
    pub url: String,
    /// `waiting kept given_up`.
    pub state: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next.
    pub next_try_at: Option<WireTime>,
    /// Where it lies on the daemon's machine.
    pub file: Option<String>,
    /// By its bytes.
    pub media_type: Option<String>,
    /// Its size.
    pub bytes: Option<u64>,
    /// What last went wrong.
    pub error: Option<String>,
}

/// The images of a piece, by position.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImagesReply {
    /// Each of them.
    pub images: Vec<ImageView>,
}
