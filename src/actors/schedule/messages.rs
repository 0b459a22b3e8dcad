//! What the schedules are told and asked, and what they tell of themselves.

use actix::prelude::*;
use serde::Serialize;

use crate::task::Timestamp;

/// From a person's call: a schedule was added or changed, or is to fire. Lost: the next look is 30 s away at most.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SchedulesChanged;

/// From the supervisor: begin nothing more. Answers when what is in hand has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainSchedules;

/// What is it doing?
#[derive(Message)]
#[rtype(result = "ScheduleStatus")]
pub struct GetScheduleStatus;

/// The schedules as an operator sees them.
#[derive(Clone, Debug, Serialize, MessageResponse)]
pub struct ScheduleStatus {
    /// Schedules that are being carried out.
    pub in_hand: usize,
    /// Fires since the start that submitted tasks.
    pub fires: u64,
    /// When it wakes next.
    pub next_wake_at: Option<Timestamp>,
}
