//! What each outcome of a publisher's verb means, as data: `docs/outcomes.md` prints the table and a test holds both together.
//! [`super::apply()`] carries each row out.

use serde::{Deserialize, Serialize};

use crate::task::outcome::{RuleOutcome, Spends};
use crate::task::state::named;

named! {
    /// What is asked of a publisher.
    PublishVerb {
        /// Publish this piece.
        Publish = "publish",
        /// Was something published under this key?
        Find = "find",
    }
}

impl PublishVerb {
    /// The outcomes that a rule of this verb may name; any other is refused with the configuration.
    pub const fn rule_outcomes(self) -> &'static [RuleOutcome] {
        use RuleOutcome::{Ambiguous, Missing, Ok, Rejected, Retry, Unavailable};
        match self {
            Self::Publish => &[Ok, Retry, Rejected, Unavailable, Ambiguous],
            Self::Find => &[Ok, Missing, Unavailable],
        }
    }

    /// Whether a piece stands on its standard output: it is given one, and has none to give.
    pub const fn writes_a_piece(self) -> bool {
        false
    }

    /// What the outcome is where no rule matches and the exit status is not 0.
    pub const fn default_failure(self) -> Option<RuleOutcome> {
        match self {
            Self::Publish => Some(RuleOutcome::Ambiguous),
            Self::Find => Some(RuleOutcome::Unavailable),
        }
    }
}

/// Where a piece went.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Published {
    /// Its address.
    pub url: Option<String>,
    /// What it is called there.
    pub reference: Option<String>,
}

/// What a publish came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PublishAnswer {
    /// It is out.
    Published(Published),
    /// It is not out; try again.
    Retry(String),
    /// It will never be taken.
    Rejected(String),
    /// Nobody was there to take it.
    Unavailable(String),
    /// Anything else.
    Ambiguous(String),
    /// The daemon stopped before the call began: nothing ran.
    NeverCalled(String),
}

/// What a search for a key came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FoundAnswer {
    /// It is out.
    Found(Published),
    /// Nothing was published under the key.
    Missing,
    /// Nobody was there.
    Unavailable(String),
}

/// A line of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublishRow {
    /// Of which verb; none is a consumer's lease.
    pub verb: Option<PublishVerb>,
    /// What came of it.
    pub outcome: &'static str,
    /// What moves.
    pub moves: &'static str,
    /// What is spent of the entry's retries.
    pub spends: Spends,
}

macro_rules! rows {
    ($($verb:expr, $outcome:literal, $moves:literal, $spends:ident;)+) => {
        &[$(PublishRow { verb: $verb, outcome: $outcome, moves: $moves, spends: Spends::$spends }),+]
    };
}

/// The table verb × outcome of publishers, and what the lease of a consumer comes to.
pub const PUBLISH_OUTCOMES: &[PublishRow] = rows! {
    Some(PublishVerb::Publish), "ok", "published, with its address where one is read", Nothing;
    Some(PublishVerb::Publish), "retry (a rule: it is not out, try again)", "pending with back-off; failed when no retry is left", Retry;
    Some(PublishVerb::Publish), "rejected (a rule: it will never be taken)", "failed", Nothing;
    Some(PublishVerb::Publish), "unavailable (a rule: nobody was there to take it)", "pending, breaker", Nothing;
    Some(PublishVerb::Publish), "the daemon stopped before the call began", "pending", Nothing;
    Some(PublishVerb::Publish), "anything else, or our own death; idempotent", "the same key again once the call's lock is free, with back-off where the call answered, at most max_retries + 1 times; then held", Nothing;
    Some(PublishVerb::Publish), "a piece that waited for a release since a restore; idempotent", "nothing; its key is sent as one that was sent before", Nothing;
    Some(PublishVerb::Publish), "a piece that waited for a release since a restore; not idempotent", "as any other", Nothing;
    Some(PublishVerb::Publish), "sent again: retry", "nothing; the same key again with back-off", Nothing;
    Some(PublishVerb::Publish), "sent again: unavailable", "nothing; the same key again with back-off, after max_retries + 72 of them held", Nothing;
    Some(PublishVerb::Publish), "sent again: rejected", "held", Nothing;
    Some(PublishVerb::Publish), "anything else, or our own death; not idempotent, with find", "find, once the call's lock is free", Nothing;
    Some(PublishVerb::Publish), "anything else, or our own death; not idempotent, without find", "held, once the call's lock is free", Nothing;
    Some(PublishVerb::Publish), "a process of the call is left when find_limit is over", "held", Nothing;
    Some(PublishVerb::Find), "ok", "published", Nothing;
    Some(PublishVerb::Find), "missing, before absence is proved", "nothing; asked again", Nothing;
    Some(PublishVerb::Find), "missing, and absence proved; the call had answered in doubt", "pending with back-off; failed when no retry is left", Retry;
    Some(PublishVerb::Find), "missing, and absence proved; our own death", "pending", Nothing;
    Some(PublishVerb::Find), "unavailable or unreadable", "nothing; asked again", Nothing;
    Some(PublishVerb::Find), "not proved within find_limit", "held", Nothing;
    None, "done, or failed, with the current fence, however late", "published; pending with back-off or failed", Retry;
    None, "an older fence", "nothing, and the caller is told", Nothing;
    None, "no answer within the lease; not idempotent", "held", Nothing;
    None, "no answer within the lease; idempotent", "pending; held when no retry is left", Retry;
};
