//! Schedules: which tasks are to be submitted when, without anybody there. Pure, as `task` is.
//!
//! | file | question |
//! | --- | --- |
//! | [`cron`] | which minutes does an expression mean, and when do they come in a time zone? |
//! | [`timing`] | when is a schedule due next, and what has passed unseen? |
//! | [`mod@plan`] | which of the times that have passed are made up for? |
//! | [`fire`] | how does one fire go from its due time to its tasks? |
//! | [`topics`] | which topics does a fire take, and whose are they? |
//! | [`record`] | what is kept of a schedule and of its fires? |
//!
//! Nothing here reads a clock, a file or a database: the time, a time zone and texts come in as arguments. The surprise: a
//! due time that was begun is a row of its own with a key that no other has, so that "did it fire?" is a question to the
//! rows and never to a memory.

pub mod cron;
pub mod fire;
pub mod plan;
pub mod record;
pub mod timing;
pub mod topics;

pub use cron::{Cron, CronError};
pub use fire::{Fire, FireId, FireKind, FireMove, FireState};
pub use plan::{Plan, plan};
pub use record::{AtEnd, Misfire, NewSchedule, Params, Schedule, ScheduleId, Timing, Topic, TopicSource, limits};
pub use timing::{Beat, TimingError};
