//! When somebody must be told, what, and how often: pure rules over a few numbers.
//!
//! | file | question |
//! | --- | --- |
//! | [`rules`] | which rules are there, and what does each say of the numbers? |
//! | [`alarm`] | does an alarm begin, go on or end, and is that told? |
//! | [`message`] | what is a hook told? |
//! | [`delivery`] | when is a message tried again, and when given up? |
//!
//! No clock, no database and no process: [`crate::actors::notice`] brings the numbers and carries the messages. The surprise: what
//! is judged here is judged inside the store's transaction ([`crate::store::write`]), so that an alarm and the messages
//! about it are written together, and no death of the daemon tells twice or not at all.

use std::time::Duration;

pub mod alarm;
pub mod delivery;
pub mod message;
pub mod rules;

pub use alarm::{Alarm, AlarmState, Step, Told, step};
pub use delivery::{Delivery, DeliveryEnd, DeliveryState};
pub use message::{Message, MessageKind, Notice};
pub use rules::{Level, Look, Reading, Rule, RuleSettings, Settings, Severity, readings};

/// The longest silence.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(31 * 24 * 3_600);
