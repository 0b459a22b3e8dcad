//! What the publisher actor is told and asked, and what it tells of itself.

use actix::prelude::*;
use serde::Serialize;

use crate::task::Timestamp;

/// From whoever changed the pool, and after a reload: something may be due now. If it is lost, the next look is late by the
/// shortest interval of a publisher at most.
#[derive(Message)]
#[rtype(result = "()")]
pub struct PoolChanged;

/// From the supervisor: nothing new goes out; answers when the last call has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainPublisher;

/// From a person: this publisher was mended. Lost: it is tried when its time comes.
#[derive(Message)]
#[rtype(result = "Probing")]
pub struct ProbePublisher {
    /// Which.
    pub publisher: String,
}

/// What becomes of a publisher that was mended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, MessageResponse)]
pub enum Probing {
    /// It is not away.
    NotAway,
    /// Its next piece tries it.
    Next,
    /// A piece tries it already; there is one at a time.
    UnderWay,
}

/// What is it doing?
#[derive(Message)]
#[rtype(result = "PublisherStatus")]
pub struct GetPublisherStatus;

/// A publisher whose breaker is open.
#[derive(Clone, Debug, Serialize)]
pub struct AwayPublisher {
    /// Which.
    pub publisher: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// When it is tried next.
    pub next_probe_at: Option<Timestamp>,
}

/// The publisher actor as an operator sees it.
#[derive(Clone, Debug, Default, Serialize, MessageResponse)]
pub struct PublisherStatus {
    /// Entries that it is busy with.
    pub in_hand: usize,
    /// Calls of publishers since the start.
    pub calls: u64,
    /// Pieces published since the start.
    pub published: u64,
    /// Publishers that are away.
    pub away: Vec<AwayPublisher>,
    /// When it wakes next.
    pub next_wake_at: Option<Timestamp>,
}
