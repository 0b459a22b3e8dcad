//! A publisher as the configuration describes it, validated: what can be called, and how its answers are read.
//!
//! Plain data, made once by [`crate::config`], and the rendering of its calls. It must not run anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{PublishJob, PublisherLimits, Serves};
use crate::generator::extract::{Extractor, Output, Source};
use crate::generator::patience::CALL_MARGIN;
use crate::generator::rules::Rule;
use crate::generator::template::{CommandTemplate, RenderError, Rendered, Values};
use crate::publish::PublishPolicy;
use crate::publish::outcome::Published;
use crate::task::retry::Backoff;

/// Template variables of every call.
pub const NAMES: [&str; 17] = [
    "key",
    "pool_id",
    "content_id",
    "task",
    "title",
    "content",
    "html",
    "summary",
    "images",
    "cover_image",
    "category",
    "hash",
    "version",
    "word_count",
    "account",
    "account_name",
    "external_id",
];

/// The longest address or name that is kept.
const MAX_REFERENCE: usize = 2048;

/// What to call, for how long, what its end is called and what is read from it.
#[derive(Clone, Debug)]
pub struct PublishCall {
    /// Arguments and standard input.
    pub command: CommandTemplate,
    /// After which it is ended.
    pub timeout: Duration,
    /// Rules in order.
    pub rules: Vec<Rule>,
    /// The piece's address.
    pub url: Option<Extractor>,
    /// What the piece is called there.
    pub reference: Option<Extractor>,
}

impl PublishCall {
    /// What the output says of where the piece is. What cannot be read is not known; it is out all the same.
    pub fn published(&self, stdout: &Output) -> Published {
        let read = |extractor: &Option<Extractor>| {
            let text = extractor.as_ref()?.filled_text(Source::Output(stdout)).ok()?;
            let text = text.trim();
            let is_harmless = text.len() <= MAX_REFERENCE && !text.chars().any(char::is_control);
            is_harmless.then(|| text.to_owned())
        };
        Published { url: read(&self.url), reference: read(&self.reference) }
    }
}

/// A publisher.
#[derive(Clone, Debug)]
pub struct PublisherSpec {
    /// Its name.
    pub name: String,
    /// The same key publishes once.
    pub is_idempotent: bool,
    /// The working directory; none is a directory of the publisher's own below the daemon's state directory.
    pub cwd: Option<PathBuf>,
    /// Added to the minimal environment.
    pub env: BTreeMap<String, String>,
    /// Environment variables and the credentials that they are read from.
    pub secrets: BTreeMap<String, String>,
    /// Whom it serves.
    pub serves: Serves,
    /// How much of it may be used.
    pub limits: PublisherLimits,
    /// Retries of one piece.
    pub max_retries: u32,
    /// Back-off between them.
    pub retry: Backoff,
    /// How long an unanswered call may still publish.
    pub settle: Duration,
    /// How long a piece of unknown outcome is looked for.
    pub find_limit: Duration,
    /// Between asking a process to end and ending it.
    pub grace: Duration,
    /// The verb that publishes.
    pub publish: PublishCall,
    /// The search for a key.
    pub find: Option<PublishCall>,
}

impl PublisherSpec {
    /// What the core must know of it.
    pub fn policy(&self) -> PublishPolicy {
        PublishPolicy {
            is_idempotent: self.is_idempotent,
            can_find: self.find.is_some(),
            max_retries: self.max_retries,
            retry: self.retry,
            settle: self.settle,
            find_limit: self.find_limit,
            call_limit: self.publish.timeout + self.grace + CALL_MARGIN,
        }
    }

    /// Every call that is configured.
    pub fn calls(&self) -> impl Iterator<Item = &PublishCall> {
        std::iter::once(&self.publish).chain(&self.find)
    }

    /// Fills in a call. The private files are named inside `dir`; making them (0600) is the caller's part.
    pub fn render(call: &PublishCall, job: &PublishJob, dir: &Path) -> Result<Rendered, RenderError> {
        let record = &job.content.record;
        let mut values = Values::default();
        values.set("key", job.handout.key.as_str());
        values.set("pool_id", job.entry.id.to_string());
        values.set("content_id", job.content.id.to_string());
        values.set("task", record.task_id.as_str());
        values.set("title", record.title.as_str());
        values.set("content", record.content.as_str());
        values.set("html", record.html_content.as_str());
        values.set("summary", record.summary.as_str());
        let images: Vec<&str> = record.images.iter().map(|image| image.url.as_str()).collect();
        values.set("images", serde_json::to_string(&images).unwrap_or_default());
        values.set("cover_image", record.cover_image.as_deref().unwrap_or_default());
        values.set("category", record.category.as_deref().unwrap_or_default());
        values.set("hash", record.content_hash.as_str());
        values.set("version", record.version.to_string());
        values.set("word_count", record.word_count.to_string());
        values.set("account", job.account.id.to_string());
        values.set("account_name", job.account.name.as_str());
        values.set("external_id", job.account.external_id.as_deref().unwrap_or_default());
        call.command.render(&values, dir)
    }
}
