//! What the core must know of a publisher, or of consumers on the socket, to judge an outcome.

use std::time::Duration;

use crate::task::retry::Backoff;

/// A publisher, as far as the machine cares.
#[derive(Clone, PartialEq, Debug)]
pub struct PublishPolicy {
    /// The same key publishes once; for consumers: publishing twice is harmless.
    pub is_idempotent: bool,
    /// There is a `find` verb.
    pub can_find: bool,
    /// Retries of one piece.
    pub max_retries: u32,
    /// Back-off between them.
    pub retry: Backoff,
    /// How long an unanswered call may still publish after its processes are gone.
    pub settle: Duration,
    /// How long a piece of unknown outcome is looked for, or a process of its call waited for.
    pub find_limit: Duration,
    /// The longest that a call can last, its end by force included.
    pub call_limit: Duration,
}

/// Back-off between retries where nothing else is configured.
pub const DEFAULT_RETRY: Backoff =
    Backoff { initial: Duration::from_secs(60), factor: 2.0, max: Duration::from_secs(3600), jitter: 0.2 };
/// Retries of one piece where nothing else is configured.
pub const DEFAULT_MAX_RETRIES: u32 = 3;

impl Default for PublishPolicy {
    /// A publisher of which nothing is known, because the configuration has lost it: nothing is repeated, and what is in
    /// doubt is left to a person.
    fn default() -> Self {
        Self {
            is_idempotent: false,
            can_find: false,
            max_retries: DEFAULT_MAX_RETRIES,
            retry: DEFAULT_RETRY,
            settle: Duration::from_secs(60),
            find_limit: Duration::from_secs(15 * 60),
            call_limit: Duration::from_secs(75),
        }
    }
}
