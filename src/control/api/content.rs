//! `io.contentd.Content`, `.Pool` and `.Accounts`: parameters and replies.

use serde::{Deserialize, Serialize};

use super::accounts::AccountSettingsValue;
use super::error::ApiError;
use super::tasks::ImageValue;
use crate::control::parts::join_text;
use crate::control::values::{TextOrNumber, WireTime};

/// A content record on the wire.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ContentView {
    /// Its number.
    pub content_id: i64,
    /// Its task.
    pub task_id: String,
    /// For whom.
    pub account_id: i64,
    /// Of the topic, at most 255 characters.
    pub title: String,
    /// The piece as it was written; null in lists, which do not carry pieces.
    pub content: Option<String>,
    /// Its HTML, sanitised; null in lists.
    pub html_content: Option<String>,
    /// The beginning of its text, at most 200 characters.
    pub summary: String,
    /// Strings, or objects with `url`.
    pub images: Vec<ImageValue>,
    /// The first image.
    pub cover_image: Option<String>,
    /// East Asian characters and other words.
    pub word_count: u32,
    /// The generator's own score.
    pub quality_score: Option<f64>,
    /// The task's category.
    pub category: Option<String>,
    /// `pending_review approved rejected superseded`.
    pub review_status: String,
    /// Why: why a person must look at it, or what was said of it.
    #[serde(default)]
    pub review_reason: Option<String>,
    /// `unpublished pooled published`.
    pub publish_status: String,
    /// SHA-256 in hexadecimal; an approval may name it.
    pub content_hash: String,
    /// When it was made.
    pub created_at: WireTime,
    /// When it went out.
    pub published_at: Option<WireTime>,
    /// By whom: a publisher's name, or `uid:name`.
    pub published_by: Option<String>,
    /// Its address.
    pub published_url: Option<String>,
}

/// A content record alone.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ContentReply {
    /// The record.
    pub content: ContentView,
    /// Which version of the piece, from 1.
    pub version: u32,
    /// Who reviewed it.
    pub reviewed_by: Option<String>,
    /// Why.
    pub review_reason: Option<String>,
    /// Why the rules of the review refused it, a sentence each.
    pub findings: Vec<String>,
    /// Who made this version by hand; null: the generator.
    pub edited_by: Option<String>,
    /// The task that writes it again.
    pub rewritten_by: Option<String>,
    /// What an approval put into the publish pool; only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_entry: Option<PooledView>,
}

/// What an approval put into the publish pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PooledView {
    /// The entry's number.
    pub pool_id: i64,
    /// `pending held`, or what it is by now.
    pub status: String,
    /// Not before this time.
    pub scheduled_at: WireTime,
    /// Why it does not go out before a person decides.
    pub held_reason: Option<String>,
}

impl ContentReply {
    /// Joins the next reply of the same answer to this one.
    pub fn join(&mut self, part: Self) {
        let (whole, part) = (&mut self.content, part.content);
        join_text(&mut whole.content, part.content);
        join_text(&mut whole.html_content, part.html_content);
        whole.images.extend(part.images);
    }
}

/// A content record by number.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentParams {
    /// Which.
    pub content_id: i64,
}

/// `List` of content records, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentListParams {
    /// Of this account: number or name.
    #[serde(default)]
    pub account: Option<TextOrNumber>,
    /// `pending_review approved rejected superseded`.
    #[serde(default)]
    pub review_status: Option<String>,
    /// Of this task: id or prefix.
    #[serde(default)]
    pub task: Option<String>,
    /// At most so many (50; at most 1,000).
    #[serde(default)]
    pub limit: Option<i64>,
    /// After so many.
    #[serde(default)]
    pub offset: Option<i64>,
    /// Only records with a smaller number.
    #[serde(default)]
    pub before: Option<i64>,
    /// The oldest first.
    #[serde(default)]
    pub oldest_first: Option<bool>,
}

/// Content records.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ContentsReply {
    /// The records, without their pieces.
    pub contents: Vec<ContentView>,
}

/// `Approve` and `Reject`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewParams {
    /// Which.
    pub content_id: i64,
    /// The hash of what was looked at; another hash is refused.
    #[serde(default)]
    pub content_hash: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

impl ReviewParams {
    /// Judges the form: a reason that says nothing would stand where one is looked for.
    pub fn check(self) -> Result<Self, ApiError> {
        match self.reason.as_deref().filter(|reason| reason.trim().is_empty()) {
            Some(reason) => Err(ApiError::invalid("reason", reason, "a text that says why; or leave it out")),
            None => Ok(self),
        }
    }
}

/// An entry of the publish pool on the wire.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PoolView {
    /// Its number.
    pub pool_id: i64,
    /// Which piece.
    pub content_id: i64,
    /// 1 to 10; 10 goes out first.
    pub priority: u8,
    /// Not before this time.
    pub scheduled_at: WireTime,
    /// `pending publishing published failed held removed`.
    pub status: String,
    /// Publishing attempts that failed.
    pub retry_count: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// When it went out.
    pub published_at: Option<WireTime>,
    /// Why it does not go out before a person decides.
    pub held_reason: Option<String>,
    /// Whose piece.
    pub account_id: i64,
    /// How often it was handed out; the number of the last one.
    pub fence: u64,
    /// While it is being published: until when its holder has it, or when contentd looks at it next.
    pub lease_until: Option<WireTime>,
    /// The name of the account.
    pub account: Option<String>,
    /// The piece's title.
    pub title: Option<String>,
    /// Why no publisher of the configuration takes it, and what helps; null: one does, or it does not wait.
    pub unserved: Option<String>,
}

/// `List` of the pool: what goes out first, what waits for a person, what is out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolListParams {
    /// Of this account: number or name.
    #[serde(default)]
    pub account: Option<TextOrNumber>,
    /// `pending publishing published failed held removed`; null: all but removed ones.
    #[serde(default)]
    pub status: Option<String>,
    /// At most so many (50; at most 1,000).
    #[serde(default)]
    pub limit: Option<i64>,
    /// After so many.
    #[serde(default)]
    pub offset: Option<i64>,
    /// Only entries with a smaller number.
    #[serde(default)]
    pub before: Option<i64>,
}

/// Pool entries.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PoolReply {
    /// The entries.
    pub entries: Vec<PoolView>,
}

/// `Release`: lets pool entries go that a restore from a backup holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolReleaseParams {
    /// Which.
    #[serde(default)]
    pub pool_ids: Option<Vec<i64>>,
    /// Or every one that waits.
    #[serde(default)]
    pub all: Option<bool>,
}

/// What `Release` of the pool came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PoolReleaseReply {
    /// Those that may go out now. Others that were named waited for nothing.
    pub released: Vec<i64>,
}

/// An account on the wire.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AccountView {
    /// Its number.
    pub account_id: i64,
    /// Its name, unique.
    pub name: String,
    /// What another system calls it.
    pub external_id: Option<String>,
    /// Whether tasks are accepted for it.
    pub is_enabled: bool,
    /// When it was added.
    pub created_at: WireTime,
    /// For its submits, and how much it may have.
    pub settings: AccountSettingsValue,
    /// Submits to generators within 24 hours, where it has a limit of them and it was asked for.
    #[serde(default)]
    pub submits_today: Option<u32>,
}

/// `Add` of an account.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountAddParams {
    /// Its name: not empty, not only digits.
    pub name: String,
    /// What another system calls it.
    #[serde(default)]
    pub external_id: Option<String>,
}

/// An account by number or name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountParams {
    /// Number or name.
    pub account: TextOrNumber,
}

/// An account alone.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AccountReply {
    /// The account.
    pub account: AccountView,
}

/// Accounts by number.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AccountsReply {
    /// The accounts.
    pub accounts: Vec<AccountView>,
}
