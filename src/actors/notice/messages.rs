//! What the NoticeActor is told and asked, and what it tells of itself.

use std::time::Duration;

use actix::prelude::*;
use serde::Serialize;

use crate::notice::delivery::Patience;
use crate::notice::message::Notice;
use crate::store::write::WriteError;
use crate::task::Timestamp;
use crate::task::retry::Backoff;

/// For what is not tried any more.
pub(super) const NO_PATIENCE: Patience = Patience {
    timeout: Duration::ZERO,
    retry: Backoff { initial: Duration::ZERO, factor: 1.0, max: Duration::ZERO, jitter: 0.0 },
    give_up_after: Duration::ZERO,
};

/// From whoever committed a change that may be an alarm. Lost: the rules are asked at their interval.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SomethingHappened;

/// From the supervisor, after a reload: rules and hooks may be others. Lost: the next tick sees them.
#[derive(Message)]
#[rtype(result = "()")]
pub struct NoticesChanged;

/// From a person: send a test to this hook. Answers with the message, which is on its way then.
#[derive(Message, Clone, Debug)]
#[rtype(result = "Result<Notice, WriteError>")]
pub struct TryHook {
    /// Which; it is configured.
    pub hook: String,
    /// Who.
    pub who: String,
}

/// From the supervisor: tell nobody any more. Answers when no hook runs, or after two seconds without those that do.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainNotices;

/// What is it doing?
#[derive(Message)]
#[rtype(result = "NoticeStatus")]
pub struct GetNoticeStatus;

/// The NoticeActor as an operator sees it.
#[derive(Clone, Debug, Serialize, MessageResponse)]
pub struct NoticeStatus {
    /// How often the rules were asked since it was built.
    pub judged: u64,
    /// Hooks that are running.
    pub sending: Vec<String>,
    /// When it wakes next.
    pub next_wake_at: Option<Timestamp>,
}
