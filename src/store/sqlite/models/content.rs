//! Rows of the tables `contents` and `publish_pool`. Images are a JSON array of `{"url": …, "object_json": …}`.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::super::schema::{contents, publish_pool};
use super::{json, millis, narrowed, parsed, time, unreadable};
use crate::store::DbError;
use crate::task::content::{ContentRecord, NewContent, PoolEntry, Version};
use crate::task::outcome::Image;
use crate::task::{AccountId, ContentId, PoolId, TaskId, Timestamp};

#[derive(Serialize, Deserialize)]
struct StoredImage {
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object_json: Option<String>,
}

/// A content record as it lies in its table. A list selects empty texts for the last two columns.
#[derive(Queryable, Selectable)]
#[diesel(table_name = contents)]
pub struct ContentRow {
    id: i64,
    task_id: String,
    account_id: i64,
    version: i64,
    title: String,
    summary: String,
    images: String,
    cover_image: Option<String>,
    word_count: i64,
    quality_score: Option<f64>,
    category: Option<String>,
    review_status: String,
    review_reason: Option<String>,
    reviewed_by: Option<String>,
    publish_status: String,
    content_hash: String,
    created_at: i64,
    findings: String,
    edited_by: Option<String>,
    rewritten_by: Option<String>,
    content: String,
    html_content: String,
}

impl ContentRow {
    /// As the core knows it.
    pub fn into_record(self) -> Result<ContentRecord, DbError> {
        let row = format_args!("content {}", self.id).to_string();
        let images: Vec<StoredImage> =
            serde_json::from_str(&self.images).map_err(|error| unreadable(&row, "images", error))?;
        let images = images.into_iter().map(|image| Image { url: image.url, object_json: image.object_json });
        Ok(ContentRecord {
            id: ContentId(self.id),
            // Of a table of its own.
            publication: None,
            record: NewContent {
                task_id: TaskId(self.task_id),
                account_id: AccountId(self.account_id),
                version: narrowed(&row, "version", self.version)?,
                title: self.title,
                content: self.content,
                html_content: self.html_content,
                summary: self.summary,
                images: images.collect(),
                cover_image: self.cover_image,
                word_count: narrowed(&row, "word_count", self.word_count)?,
                quality_score: self.quality_score,
                category: self.category,
                review_status: parsed(&row, "review_status", &self.review_status)?,
                review_reason: self.review_reason,
                reviewed_by: self.reviewed_by,
                findings: serde_json::from_str(&self.findings).map_err(|error| unreadable(&row, "findings", error))?,
                edited_by: self.edited_by,
                rewritten_by: self.rewritten_by.map(TaskId),
                publish_status: parsed(&row, "publish_status", &self.publish_status)?,
                content_hash: self.content_hash,
                created_at: Timestamp(self.created_at),
            },
        })
    }
}

/// A version of a piece.
#[derive(Queryable, Selectable)]
#[diesel(table_name = contents)]
pub struct VersionRow {
    id: i64,
    version: i64,
    review_status: String,
    publish_status: String,
    created_at: i64,
}

impl VersionRow {
    /// As the core knows it.
    pub fn into_record(self) -> Result<Version, DbError> {
        let row = format_args!("content {}", self.id).to_string();
        Ok(Version {
            id: ContentId(self.id),
            version: narrowed(&row, "version", self.version)?,
            review_status: parsed(&row, "review_status", &self.review_status)?,
            publish_status: parsed(&row, "publish_status", &self.publish_status)?,
            created_at: Timestamp(self.created_at),
        })
    }
}

/// A content record to insert.
#[derive(Insertable)]
#[diesel(table_name = contents, treat_none_as_default_value = false)]
pub struct NewContentRow<'a> {
    task_id: &'a str,
    account_id: i64,
    version: i64,
    title: &'a str,
    summary: &'a str,
    images: String,
    cover_image: Option<&'a str>,
    word_count: i64,
    quality_score: Option<f64>,
    category: Option<&'a str>,
    review_status: &'static str,
    review_reason: Option<&'a str>,
    reviewed_by: Option<&'a str>,
    findings: String,
    edited_by: Option<&'a str>,
    rewritten_by: Option<&'a str>,
    publish_status: &'static str,
    content_hash: &'a str,
    created_at: i64,
    updated_at: i64,
    content: &'a str,
    html_content: &'a str,
}

impl<'a> NewContentRow<'a> {
    /// The row of `content`.
    pub fn of(content: &'a NewContent) -> Result<Self, DbError> {
        let stored = |image: &Image| StoredImage { url: image.url.clone(), object_json: image.object_json.clone() };
        let images: Vec<StoredImage> = content.images.iter().map(stored).collect();
        Ok(Self {
            task_id: content.task_id.as_str(),
            account_id: content.account_id.0,
            version: content.version.into(),
            title: &content.title,
            summary: &content.summary,
            images: json("images", &images)?,
            cover_image: content.cover_image.as_deref(),
            word_count: content.word_count.into(),
            // SQLite keeps no NaN: it would come back as nothing.
            quality_score: content.quality_score.filter(|score| !score.is_nan()),
            category: content.category.as_deref(),
            review_status: content.review_status.as_str(),
            review_reason: content.review_reason.as_deref(),
            reviewed_by: content.reviewed_by.as_deref(),
            findings: json("findings", &content.findings)?,
            edited_by: content.edited_by.as_deref(),
            rewritten_by: content.rewritten_by.as_ref().map(TaskId::as_str),
            publish_status: content.publish_status.as_str(),
            content_hash: &content.content_hash,
            created_at: content.created_at.0,
            updated_at: content.created_at.0,
            content: &content.content,
            html_content: &content.html_content,
        })
    }
}

/// An entry of the publish pool.
#[derive(Queryable, Selectable)]
#[diesel(table_name = publish_pool)]
pub struct PoolRow {
    id: i64,
    content_id: i64,
    account_id: i64,
    priority: i64,
    scheduled_at: i64,
    status: String,
    retry_count: i64,
    last_error: Option<String>,
    published_at: Option<i64>,
    created_at: i64,
    held_reason: Option<String>,
    fence: i64,
    wake_at: Option<i64>,
    due_by: String,
    may_be_out: bool,
}

impl PoolRow {
    /// As the core knows it.
    pub fn into_record(self) -> Result<PoolEntry, DbError> {
        let row = format_args!("pool entry {}", self.id).to_string();
        Ok(PoolEntry {
            id: PoolId(self.id),
            content_id: ContentId(self.content_id),
            account_id: AccountId(self.account_id),
            priority: narrowed(&row, "priority", self.priority)?,
            scheduled_at: Timestamp(self.scheduled_at),
            status: parsed(&row, "status", &self.status)?,
            retry_count: narrowed(&row, "retry_count", self.retry_count)?,
            last_error: self.last_error,
            published_at: time(self.published_at),
            created_at: Timestamp(self.created_at),
            held_reason: self.held_reason,
            fence: narrowed(&row, "fence", self.fence)?,
            wake_at: time(self.wake_at),
            due_by: parsed(&row, "due_by", &self.due_by)?,
            may_be_out: self.may_be_out,
        })
    }
}

/// An entry to insert.
#[derive(Insertable)]
#[diesel(table_name = publish_pool, treat_none_as_default_value = false)]
pub struct NewPoolRow<'a> {
    content_id: i64,
    account_id: i64,
    priority: i64,
    scheduled_at: i64,
    status: &'static str,
    retry_count: i64,
    last_error: Option<&'a str>,
    published_at: Option<i64>,
    created_at: i64,
    held_reason: Option<&'a str>,
    due_by: &'static str,
    may_be_out: bool,
}

impl<'a> From<&'a PoolEntry> for NewPoolRow<'a> {
    fn from(entry: &'a PoolEntry) -> Self {
        Self {
            content_id: entry.content_id.0,
            account_id: entry.account_id.0,
            priority: entry.priority.into(),
            scheduled_at: entry.scheduled_at.0,
            status: entry.status.as_str(),
            retry_count: entry.retry_count.into(),
            last_error: entry.last_error.as_deref(),
            published_at: millis(entry.published_at),
            created_at: entry.created_at.0,
            held_reason: entry.held_reason.as_deref(),
            due_by: entry.due_by.as_str(),
            may_be_out: entry.may_be_out,
        }
    }
}
