//! What a hook is told: one shape, with a version, and an id by which a receiver drops what it has had.
//!
//! The shape is a promise to programs of others: fields are added, never renamed, and `version` rises if one must go. The page
//! docs/notices.md describes it.

use serde::{Deserialize, Serialize};

use super::rules::{Rule, Severity};
use crate::task::Timestamp;
use crate::task::state::named;

/// The version of the shape.
pub const SHAPE: u32 = 1;

named! {
    /// What a message says.
    MessageKind {
        /// An alarm fires, or became worse.
        Firing = "firing",
        /// It is over.
        Resolved = "resolved",
        /// Somebody tries the hook.
        Test = "test",
    }
}

/// A message as it is kept.
#[derive(Clone, PartialEq, Debug)]
pub struct Notice {
    /// The same for every hook and every try.
    pub id: String,
    /// What it says.
    pub kind: MessageKind,
    /// The alarm; of a test the hook's name.
    pub alarm: String,
    /// Its rule; none for a test.
    pub rule: Option<Rule>,
    /// Whom it is about; empty where there is only one.
    pub subject: String,
    /// How bad it is.
    pub severity: Severity,
    /// In a sentence.
    pub text: String,
    /// The number.
    pub value: f64,
    /// The limit.
    pub limit: f64,
    /// Since when it has been wrong.
    pub since: Timestamp,
    /// When the message was made.
    pub at: Timestamp,
}

/// A message as a hook reads it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// [`SHAPE`].
    pub version: u32,
    /// The same for every hook and every try.
    pub id: String,
    /// `firing`, `resolved` or `test`.
    pub kind: MessageKind,
    /// The alarm's name: the same in its `firing` and its `resolved`.
    pub alarm: String,
    /// Which rule; null for a test.
    pub rule: Option<Rule>,
    /// Which generator or schedule; null where it is about contentd as a whole.
    pub subject: Option<String>,
    /// `warning` or `critical`.
    pub severity: Severity,
    /// In a sentence.
    pub text: String,
    /// The number: a share from 0 to 1, a count, seconds or bytes.
    pub value: f64,
    /// Its limit.
    pub limit: f64,
    /// Since when it has been wrong, in RFC 3339.
    pub since: String,
    /// When the message was made, in RFC 3339.
    pub at: String,
    /// On which machine.
    pub host: String,
    /// Which contentd.
    pub contentd: String,
}

impl Notice {
    /// The message about it, from a machine.
    pub fn message(&self, host: &str) -> Message {
        Message {
            version: SHAPE,
            id: self.id.clone(),
            kind: self.kind,
            alarm: self.alarm.clone(),
            rule: self.rule,
            subject: Some(self.subject.clone()).filter(|subject| !subject.is_empty()),
            severity: self.severity,
            text: self.text.clone(),
            value: self.value,
            limit: self.limit,
            since: rfc_3339(self.since),
            at: rfc_3339(self.at),
            host: host.to_owned(),
            contentd: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

fn rfc_3339(time: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(time.0).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_the_one_that_the_page_shows() {
        let notice = Notice {
            id: "3f0c5b1e9a7d4c2286e1f0a9b8c7d6e5-0".into(),
            kind: MessageKind::Firing,
            alarm: "breaker/content-creator".into(),
            rule: Some(Rule::Breaker),
            subject: "content-creator".into(),
            severity: Severity::Critical,
            text: "generator content-creator gets no new jobs: unavailable (connection refused)".into(),
            value: 1.0,
            limit: 0.0,
            since: Timestamp(1_792_000_000_000),
            at: Timestamp(1_792_000_060_000),
        };
        let message = Message { contentd: "0.1.0".into(), ..notice.message("host") };
        let page = include_str!("../../docs/notices.md");
        let (_, rest) = page.split_once("<!-- message:begin -->\n```json\n").expect("the page has the message");
        let (shown, _) = rest.split_once("```").expect("it ends");
        assert_eq!(serde_json::from_str::<Message>(shown).expect("it is one"), message);
        assert_eq!(
            serde_json::to_value(&message).expect("it serialises").as_object().map(|fields| fields.len()),
            Some(14)
        );
    }
}
