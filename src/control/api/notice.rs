//! What is wrong, what was told, how it goes: metrics, health, alarms, messages, and what came of a span of time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::daemon::EmptyReply;
use super::error::ApiError;
use super::{Answer, Peer};
use crate::control::values::{DURATION_FORMS, TextOrNumber, WireTime, parse_duration_s, parse_time};
use crate::notice::LONGEST_SILENCE;
use crate::task::{AttemptKey, GeneratorName, Timestamp};

/// How many messages are told where nothing was said.
const DEFAULT_NOTICES: u32 = 20;
/// How many digits a key has.
const KEY_DIGITS: usize = 32;

/// `Metrics`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MetricsReply {
    /// The text format of Prometheus.
    pub text: String,
}

/// What a rule says now.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CheckView {
    /// The alarm's name.
    pub name: String,
    /// `ok pending warning critical`.
    pub status: String,
    /// In a sentence.
    pub text: String,
    /// The number.
    pub value: f64,
    /// From where on it is wrong; below it where `is_wrong_below`.
    pub limit: f64,
    /// From where on it is critical whatever it is else; null: nowhere.
    pub critical_limit: Option<f64>,
    /// `ratio`, `seconds`, `bytes`, or empty for a count.
    pub unit: String,
    /// It is wrong below its limit.
    pub is_wrong_below: bool,
    /// How bad it is beyond its limit: `warning critical`.
    pub severity: String,
    /// Since when it has been wrong.
    pub since: Option<WireTime>,
    /// Who knows of it.
    pub acknowledged_by: Option<String>,
}

/// `Health`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HealthReply {
    /// `ok warning critical`: the worst of them.
    pub status: String,
    /// Each rule's word, the worst first.
    pub checks: Vec<CheckView>,
    /// Until when nothing new is told.
    pub silenced_until: Option<WireTime>,
}

/// A hook and its outbox.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HookView {
    /// Its name.
    pub name: String,
    /// Messages that wait for it.
    pub waiting: u64,
    /// When the oldest of them was made.
    pub oldest_at: Option<WireTime>,
    /// Messages that were given up in the last 24 hours.
    pub given_up: u64,
}

/// A message on its way to a hook.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeliveryView {
    /// To whom.
    pub hook: String,
    /// `waiting delivered given_up`.
    pub state: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next, or when it ended.
    pub due_at: WireTime,
    /// The hook's last words: untrusted.
    pub last_error: Option<String>,
}

/// A message.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NoticeView {
    /// Its id.
    pub notice_id: String,
    /// `firing resolved test`.
    pub kind: String,
    /// About which alarm.
    pub alarm: String,
    /// `warning critical`.
    pub severity: String,
    /// In a sentence.
    pub text: String,
    /// The number.
    pub value: f64,
    /// Its limit.
    pub limit: f64,
    /// Since when it has been wrong.
    pub since: WireTime,
    /// When it was made.
    pub at: WireTime,
    /// Its way to each hook.
    pub deliveries: Vec<DeliveryView>,
}

/// `Notices`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticesParams {
    /// At most so many messages (20).
    #[serde(default)]
    pub limit: Option<u32>,
}

/// What was told, newest first, and what waits.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NoticesReply {
    /// Messages.
    pub notices: Vec<NoticeView>,
    /// Hooks.
    pub hooks: Vec<HookView>,
    /// Until when nothing new is told.
    pub silenced_until: Option<WireTime>,
    /// Who ordered that.
    pub silenced_by: Option<String>,
}

/// `Notice`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeParams {
    /// The message's id.
    pub notice: String,
}

/// One message.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NoticeReply {
    /// It.
    pub notice: NoticeView,
}

/// `TestHook`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestHookParams {
    /// Which.
    pub hook: String,
}

/// `Acknowledge`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeParams {
    /// Which, by its name.
    pub alarm: String,
}

/// `Silence`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SilenceParams {
    /// For how long; null: it ends.
    #[serde(default)]
    pub duration: Option<TextOrNumber>,
}

/// What a silence came to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SilenceReply {
    /// Until when nothing new is told; null: everything is.
    pub silenced_until: Option<WireTime>,
}

/// `Report`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportParams {
    /// An attempt's key.
    pub key: String,
}

/// `Summary`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SummaryParams {
    /// RFC 3339; null: ever.
    #[serde(default)]
    pub since: Option<String>,
    /// RFC 3339, not in it any more; null: now.
    #[serde(default)]
    pub until: Option<String>,
    /// Number or name.
    #[serde(default)]
    pub account: Option<TextOrNumber>,
    /// Its name.
    #[serde(default)]
    pub generator: Option<String>,
}

/// What came of a span of time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SummaryReply {
    /// Tasks created in it.
    pub created: u64,
    /// Tasks that became final in it, by state; every final state is present.
    pub finished: BTreeMap<String, u64>,
    /// Of these, how many had spent a retry.
    pub retried: u64,
    /// Retries that these had spent.
    pub retries: u64,
    /// Half of the completed ones took no longer: seconds from the acceptance by the generator.
    pub median_duration_s: Option<f64>,
    /// Nine in ten of them took no longer.
    pub p90_duration_s: Option<f64>,
    /// Half of the completed ones waited no longer for that acceptance.
    pub median_wait_s: Option<f64>,
    /// Nine in ten of them waited no longer.
    pub p90_wait_s: Option<f64>,
}

/// A span of time, judged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SummaryQuery {
    /// From when on.
    pub since: Option<Timestamp>,
    /// Until before when.
    pub until: Option<Timestamp>,
    /// Number or name.
    pub account: Option<String>,
    /// Its name.
    pub generator: Option<GeneratorName>,
}

impl NoticesParams {
    /// How many are meant.
    pub fn check(&self) -> Result<u32, ApiError> {
        let limit = self.limit.unwrap_or(DEFAULT_NOTICES);
        let is_good = (1..=super::checked::MAX_LIMIT).contains(&limit);
        let cure = format!("1 to {}", super::checked::MAX_LIMIT);
        if is_good { Ok(limit) } else { Err(ApiError::invalid("limit", &limit.to_string(), cure)) }
    }
}

impl SilenceParams {
    /// Seconds; none: it ends.
    pub fn check(&self) -> Result<Option<u64>, ApiError> {
        let Some(text) = &self.duration else { return Ok(None) };
        let refused = |cure: String| ApiError::invalid("duration", text.as_str(), cure);
        let seconds = parse_duration_s(text.as_str()).ok_or_else(|| refused(DURATION_FORMS.to_owned()))?;
        if seconds > LONGEST_SILENCE.as_secs() {
            return Err(refused("at most 31d".to_owned()));
        }
        Ok(Some(seconds).filter(|seconds| *seconds > 0))
    }
}

impl ReportParams {
    /// A text that can be a key; whether it is one is not said.
    pub fn check(&self) -> Result<AttemptKey, ApiError> {
        let key = self.key.trim().to_ascii_lowercase();
        if key.len() == KEY_DIGITS && key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(AttemptKey(key));
        }
        let cure =
            format!("the key of an attempt, {KEY_DIGITS} hexadecimal digits: what the generator was given as {{key}}");
        Err(ApiError::invalid("key", &self.key, cure))
    }
}

impl TryFrom<SummaryParams> for SummaryQuery {
    type Error = ApiError;

    fn try_from(given: SummaryParams) -> Result<Self, ApiError> {
        let time = |name: &str, text: Option<&str>| {
            let Some(text) = text else { return Ok(None) };
            let time = parse_time(text).map(Some);
            time.ok_or_else(|| ApiError::invalid(name, text, "an RFC 3339 time: 2026-01-31T08:00:00Z"))
        };
        Ok(Self {
            since: time("since", given.since.as_deref())?,
            until: time("until", given.until.as_deref())?,
            account: given.account.map(|account| account.0),
            generator: given.generator.map(GeneratorName),
        })
    }
}

/// The part of the daemon behind the socket that is about how it goes.
pub trait NoticeBackend {
    /// The text for Prometheus.
    fn metrics(&self, peer: Peer) -> Answer<MetricsReply>;
    /// What every rule says now.
    fn health(&self, peer: Peer) -> Answer<HealthReply>;
    /// What was told, newest first.
    fn notices(&self, peer: Peer, limit: u32) -> Answer<NoticesReply>;
    /// One message.
    fn notice(&self, peer: Peer, id: String) -> Answer<NoticeReply>;
    /// Sends a test to a hook; answers with the message, which is on its way then.
    fn test_hook(&self, peer: Peer, hook: String) -> Answer<NoticeReply>;
    /// Nothing more is told of an alarm that fires, but its end.
    fn acknowledge(&self, peer: Peer, alarm: String) -> Answer<EmptyReply>;
    /// Nothing new is told for so many seconds; none: it is again.
    fn silence(&self, peer: Peer, seconds: Option<u64>) -> Answer<SilenceReply>;
    /// The job of this attempt may have ended. Answered alike whatever the key is, and before anything is looked at.
    fn report(&self, peer: Peer, key: AttemptKey) -> Answer<EmptyReply>;
    /// What came of a span of time.
    fn summary(&self, peer: Peer, query: SummaryQuery) -> Answer<SummaryReply>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_judged_by_its_form_alone() {
        let check = |key: &str| ReportParams { key: key.to_owned() }.check();
        assert_eq!(check(&format!(" {}\n", "0A".repeat(16))).expect("a key"), AttemptKey("0a".repeat(16)));
        for key in ["", "task-1", &"0".repeat(31), &"0".repeat(33), &"g".repeat(32), &"é".repeat(16)] {
            assert!(matches!(check(key), Err(ApiError::InvalidField { field, .. }) if field == "key"), "{key}");
        }
    }

    #[test]
    fn a_silence_has_an_end() {
        let check = |text: &str| SilenceParams { duration: Some(text.into()) }.check();
        assert_eq!((check("2h").expect("good"), check("0").expect("good")), (Some(7_200), None));
        assert_eq!(SilenceParams::default().check().expect("good"), None);
        assert!(check("32d").is_err() && check("for ever").is_err());
    }
}
