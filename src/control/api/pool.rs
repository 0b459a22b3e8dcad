//! `io.contentd.Pool` but for its lists: entries that are handed out to consumers, and what they say of them.

use serde::{Deserialize, Serialize};

use super::content::{ContentView, PoolView};
use super::error::ApiError;
use crate::config::MAX_LEASE;
use crate::control::values::{DURATION_FORMS, TextOrNumber, WireTime, parse_duration_s, parse_time};
use crate::task::{PoolId, Timestamp, limits};

/// How many entries one call hands out.
pub const MAX_HANDED_OUT: u32 = 100;
/// The longest key, error, address or reason.
const MAX_TEXT: usize = 2_000;

/// A pool entry by number.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolParams {
    /// Which.
    pub pool_id: i64,
}

/// One handing out of an entry.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HandoutView {
    /// Which one of its entry.
    pub fence: u64,
    /// The name of a publisher, or `uid:name` of a consumer.
    pub holder: String,
    /// Whether it is a publisher of the configuration.
    pub is_publisher: bool,
    /// What the holder may pass on.
    pub key: String,
    /// When.
    pub handed_out_at: WireTime,
    /// How often a publisher was called with the key.
    pub sends: u32,
    /// Since when its outcome is in doubt.
    pub doubted_at: Option<WireTime>,
    /// When it was answered, or the doubt cleared.
    pub ended_at: Option<WireTime>,
    /// The move that ended it.
    pub outcome: Option<String>,
    /// What was wrong.
    pub error: Option<String>,
}

/// Where a piece went.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PublicationView {
    /// When contentd heard of it.
    pub published_at: WireTime,
    /// By whom.
    pub published_by: String,
    /// Its address.
    pub url: Option<String>,
    /// What it is called there.
    pub reference: Option<String>,
}

/// An entry and its history.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PoolShowReply {
    /// The entry.
    pub entry: PoolView,
    /// Every handing out, oldest first.
    pub handouts: Vec<HandoutView>,
    /// Where its piece is.
    pub publication: Option<PublicationView>,
}

/// An entry alone.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PoolEntryReply {
    /// The entry as it is now.
    pub entry: PoolView,
}

/// `Next`: entries for a consumer.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolNextParams {
    /// Of this account: number or name.
    #[serde(default)]
    pub account: Option<TextOrNumber>,
    /// How long the caller has them.
    #[serde(default)]
    pub lease: Option<TextOrNumber>,
    /// At most so many (1; at most 100).
    #[serde(default)]
    pub limit: Option<i64>,
    /// The caller's own key of this request: the same key gives the same entries again.
    #[serde(default)]
    pub key: Option<String>,
}

/// An entry that is the caller's until its lease ends.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HandedOut {
    /// The entry.
    pub pool_id: i64,
    /// To be named with every answer.
    pub fence: u64,
    /// The same piece is known by it, whoever asks.
    pub key: String,
    /// Until when it is the caller's.
    pub lease_until: WireTime,
    /// 1 to 10.
    pub priority: u8,
    /// The name of the account.
    pub account: String,
    /// What another system calls the account.
    pub external_id: Option<String>,
    /// The piece; its texts are null where they are too long for the answer.
    pub content: ContentView,
}

/// What `Next` hands out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PoolNextReply {
    /// In the order of going out; empty when nothing is due.
    pub handed_out: Vec<HandedOut>,
}

/// `Done`: it is out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolDoneParams {
    /// Which.
    pub pool_id: i64,
    /// The number that it was handed out with; null settles a held one.
    #[serde(default)]
    pub fence: Option<u64>,
    /// Where it is.
    #[serde(default)]
    pub url: Option<String>,
    /// What it is called there.
    #[serde(default)]
    pub reference: Option<String>,
    /// Why, where a held one is settled.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `Fail`: it is not out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolFailParams {
    /// Which.
    pub pool_id: i64,
    /// The number that it was handed out with; null settles a held one.
    #[serde(default)]
    pub fence: Option<u64>,
    /// What was wrong.
    #[serde(default)]
    pub error: Option<String>,
    /// Not to be tried again.
    #[serde(default)]
    pub give_up: Option<bool>,
    /// Why, where a held one is settled.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `Renew`: a longer lease.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolRenewParams {
    /// Which.
    pub pool_id: i64,
    /// The number that it was handed out with.
    pub fence: u64,
    /// From now on; null: as long as configured.
    #[serde(default)]
    pub lease: Option<TextOrNumber>,
}

/// `Schedule`: a time, a priority, or another chance.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolScheduleParams {
    /// Which.
    pub pool_id: i64,
    /// Not before, as RFC 3339; null: now, or when it is due anyway, where a pending one gets another priority.
    #[serde(default)]
    pub at: Option<String>,
    /// 1 to 10.
    #[serde(default)]
    pub priority: Option<i64>,
}

/// `Remove`: out of the pool.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolRemoveParams {
    /// Which.
    pub pool_id: i64,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `Next`, judged for its form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NextQuery {
    /// Number or name.
    pub account: Option<String>,
    /// None: as configured.
    pub lease_s: Option<u64>,
    /// 1 to [`MAX_HANDED_OUT`].
    pub limit: u32,
    /// The caller's own key.
    pub key: Option<String>,
}

/// What is said of an entry, judged for its form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PoolAnswer {
    /// Its holder, or an operator of a held one: it is out.
    Done {
        /// The address.
        url: Option<String>,
        /// What it is called there.
        reference: Option<String>,
        /// Set where a held one is settled.
        settles: Option<String>,
    },
    /// It is not.
    Failed {
        /// What was wrong.
        error: String,
        /// Not to be tried again.
        is_final: bool,
        /// A held one is settled.
        is_settled: bool,
    },
    /// A longer lease.
    Renewed {
        /// None: as configured.
        lease_s: Option<u64>,
    },
    /// A time, a priority.
    Scheduled {
        /// None: now, or when it is due anyway, where a pending one gets another priority.
        at: Option<Timestamp>,
        /// 1 to 10.
        priority: Option<u8>,
    },
    /// Out of the pool.
    Removed {
        /// Why.
        reason: Option<String>,
    },
}

/// About which entry what is said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolWord {
    /// Which.
    pub id: PoolId,
    /// The number that it was handed out with.
    pub fence: Option<u64>,
    /// What.
    pub answer: PoolAnswer,
    /// Whether the caller may answer for whoever has it. No form says so: it is the caller's role.
    pub answers_for_all: bool,
}

impl PoolWord {
    fn of(pool_id: i64, fence: Option<u64>, answer: PoolAnswer) -> Self {
        Self { id: PoolId(pool_id), fence, answer, answers_for_all: false }
    }

    /// Whether it says of a held entry what became of it, where nobody who had it did.
    pub const fn is_settling(&self) -> bool {
        matches!(self.answer, PoolAnswer::Done { settles: Some(_), .. } | PoolAnswer::Failed { is_settled: true, .. })
    }
}

fn lease(given: Option<&TextOrNumber>) -> Result<Option<u64>, ApiError> {
    let Some(text) = given.map(TextOrNumber::as_str) else { return Ok(None) };
    let seconds = parse_duration_s(text).filter(|seconds| (1..=MAX_LEASE.as_secs()).contains(seconds));
    let cure = || format!("one second to seven days, as {DURATION_FORMS}");
    seconds.map(Some).ok_or_else(|| ApiError::invalid("lease", text, cure()))
}

/// A text that is not empty and not endless.
fn text(field: &str, given: Option<String>) -> Result<Option<String>, ApiError> {
    let Some(given) = given.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) else { return Ok(None) };
    let is_good = given.chars().count() <= MAX_TEXT && !given.chars().any(|one| one.is_control() && one != '\n');
    if is_good {
        return Ok(Some(given));
    }
    Err(ApiError::invalid(field, &given, format!("at most {MAX_TEXT} characters, no control characters")))
}

fn needed(field: &str, given: Option<String>, cure: &str) -> Result<String, ApiError> {
    text(field, given)?.ok_or_else(|| ApiError::invalid(field, "", cure))
}

impl PoolNextParams {
    /// Judges the form.
    pub fn check(self) -> Result<NextQuery, ApiError> {
        let limit = self.limit.unwrap_or(1);
        let limit =
            u32::try_from(limit).ok().filter(|limit| (1..=MAX_HANDED_OUT).contains(limit)).ok_or_else(|| {
                ApiError::invalid("limit", &limit.to_string(), format!("a whole number from 1 to {MAX_HANDED_OUT}"))
            })?;
        let key = text("key", self.key)?;
        if let Some(key) = key.as_ref().filter(|key| key.len() > limits::SHORT_TEXT_CHARS || key.contains('\n')) {
            return Err(ApiError::invalid(
                "key",
                key,
                format!("at most {} bytes on one line", limits::SHORT_TEXT_CHARS),
            ));
        }
        let account = self.account.map(|account| account.0);
        Ok(NextQuery { account, lease_s: lease(self.lease.as_ref())?, limit, key })
    }
}

const SETTLE: &str = "say why: a held entry is settled by an operator (or name the fence it was handed out with)";

/// An address that a person can open, for nothing takes back what a published entry says.
fn address(given: Option<String>) -> Result<Option<String>, ApiError> {
    let Some(address) = given else { return Ok(None) };
    let is_one_word = !address.contains(char::is_whitespace);
    match url::Url::parse(&address) {
        Ok(parsed) if is_one_word && matches!(parsed.scheme(), "http" | "https") => Ok(Some(address)),
        Ok(_) | Err(_) => {
            Err(ApiError::invalid("url", &address, "the address of the piece, such as https://example.org/a/7"))
        }
    }
}

impl PoolDoneParams {
    /// Judges the form: a holder names its fence, a person a reason.
    pub fn check(self) -> Result<PoolWord, ApiError> {
        let settles = match self.fence {
            Some(_) => None,
            None => Some(needed("reason", self.reason, SETTLE)?),
        };
        let (url, reference) = (address(text("url", self.url)?)?, text("reference", self.reference)?);
        Ok(PoolWord::of(self.pool_id, self.fence, PoolAnswer::Done { url, reference, settles }))
    }
}

impl PoolFailParams {
    /// Judges the form: a holder names its fence and the error, a person a reason.
    pub fn check(self) -> Result<PoolWord, ApiError> {
        let is_settled = self.fence.is_none();
        let error = match is_settled {
            true => needed("reason", self.reason, SETTLE)?,
            false => needed("error", self.error, "say what was wrong")?,
        };
        let answer = PoolAnswer::Failed { error, is_final: self.give_up == Some(true), is_settled };
        Ok(PoolWord::of(self.pool_id, self.fence, answer))
    }
}

impl PoolRenewParams {
    /// Judges the form.
    pub fn check(self) -> Result<PoolWord, ApiError> {
        let answer = PoolAnswer::Renewed { lease_s: lease(self.lease.as_ref())? };
        Ok(PoolWord::of(self.pool_id, Some(self.fence), answer))
    }
}

impl PoolScheduleParams {
    /// Judges the form.
    pub fn check(self) -> Result<PoolWord, ApiError> {
        let read = |text: &String| {
            parse_time(text)
                .ok_or_else(|| ApiError::invalid("at", text, "a time as RFC 3339, like 2026-01-31T08:00:00Z"))
        };
        let at = self.at.as_ref().map(read).transpose()?;
        let judge = |given: i64| {
            let priority = u8::try_from(given).ok().filter(|priority| limits::PRIORITY.contains(priority));
            priority.ok_or_else(|| ApiError::invalid("priority", &given.to_string(), "a whole number from 1 to 10"))
        };
        let priority = self.priority.map(judge).transpose()?;
        Ok(PoolWord::of(self.pool_id, None, PoolAnswer::Scheduled { at, priority }))
    }
}

impl PoolRemoveParams {
    /// Judges the form.
    pub fn check(self) -> Result<PoolWord, ApiError> {
        let answer = PoolAnswer::Removed { reason: text("reason", self.reason)? };
        Ok(PoolWord::of(self.pool_id, None, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_piece_was_published_is_an_address_that_can_be_opened() {
        let done = |url: Option<&str>| {
            let url = url.map(str::to_owned);
            PoolDoneParams { pool_id: 1, fence: Some(1), url, ..PoolDoneParams::default() }.check()
        };
        for url in [None, Some("https://example.org/a/7?b=c#d"), Some("http://[::1]:8080/")] {
            assert!(done(url).is_ok(), "{url:?}");
        }
        for url in [
            "not a url",
            "x",
            "https://example.org/a b",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "/a/7",
            "https://",
        ] {
            let refused = done(Some(url)).expect_err("no address").message();
            assert!(
                refused.contains("url") && refused.contains(url) && refused.contains("https://example.org/a/7"),
                "{refused}"
            );
        }
    }
}
