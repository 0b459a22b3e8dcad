//! A message on its way to one hook: tried until it is delivered, or given up when it is too old.
//!
//! The intent of a try is committed before the hook runs, with the time at which it counts as lost: so a death in the middle
//! leads to another try of the same message under the same id, never to none. A receiver drops what it has had.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::message::Notice;
use crate::task::Timestamp;
use crate::task::retry::Backoff;
use crate::task::state::named;

/// How long after the end of its time limit a run of a hook is certainly over.
const AFTER_LIMIT: Duration = Duration::from_secs(5);

named! {
    /// Where a delivery stands.
    DeliveryState {
        /// It is tried until it succeeds.
        Waiting = "waiting",
        /// The hook took it.
        Delivered = "delivered",
        /// It was too old, or its hook is gone.
        GivenUp = "given_up",
    }
}

/// A message on its way to one hook.
#[derive(Clone, PartialEq, Debug)]
pub struct Delivery {
    /// In the order of making, which is that of delivering.
    pub id: i64,
    /// What is delivered.
    pub notice: Notice,
    /// To whom.
    pub hook: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next; of what has ended, when it ended.
    pub due_at: Timestamp,
    /// What the last try said; untrusted, and short.
    pub last_error: Option<String>,
}

/// How a try ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeliveryEnd {
    /// The hook took it.
    Delivered,
    /// It did not, and said so.
    Failed(String),
    /// There is no such hook any more.
    NoHook,
}

/// How a hook's deliveries are tried.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Patience {
    /// How long one try may take.
    pub timeout: Duration,
    /// Between two tries.
    pub retry: Backoff,
    /// How old a message may become.
    pub give_up_after: Duration,
}

impl Delivery {
    /// A try begins.
    pub fn begun(&self, patience: &Patience, now: Timestamp) -> Self {
        let lost_at = now.plus(patience.timeout).plus(AFTER_LIMIT);
        Self { tries: self.tries.saturating_add(1), due_at: lost_at, ..self.clone() }
    }

    /// A try ended; `draw` is a number in 0..1 for jitter.
    pub fn ended(&self, end: &DeliveryEnd, patience: &Patience, draw: f64, now: Timestamp) -> Self {
        let given_up = |why: &str| Self {
            state: DeliveryState::GivenUp,
            due_at: now,
            last_error: Some(why.to_owned()),
            ..self.clone()
        };
        match end {
            DeliveryEnd::Delivered => {
                Self { state: DeliveryState::Delivered, due_at: now, last_error: None, ..self.clone() }
            }
            DeliveryEnd::NoHook => given_up("the hook is not configured any more"),
            DeliveryEnd::Failed(why) if now.since(self.notice.at) >= patience.give_up_after => given_up(why),
            DeliveryEnd::Failed(why) => {
                let due_at = now.plus(patience.retry.delay(self.tries.saturating_sub(1), draw));
                Self { due_at, last_error: Some(why.clone()), ..self.clone() }
            }
        }
    }
}
