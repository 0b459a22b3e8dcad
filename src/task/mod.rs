//! The pure core: what tasks, attempts and pieces are, and what may happen to them.
//!
//! It imports std, serde and an error derive only: time, randomness and ids come in as arguments, so that every
//! rule here can be tested without a clock and every run can be replayed. Nothing below this module exists.
//!
//! | file | question |
//! | --- | --- |
//! | [`state`] | which states follow which? |
//! | [`outcome`] | what may a generator's verb come to, and what does that mean? (the table verb × outcome) |
//! | [`apply()`] | what does an event change? |
//! | [`step`] | what is to be done next for an active task? |
//! | [`retry`] | when? |
//! | [`breaker`] | may anything new be submitted to this generator? |
//! | [`lanes`] | whose turn is it? |
//! | [`content`] | what becomes of a piece? |

pub mod account;
pub mod apply;
pub mod breaker;
pub mod content;
pub mod ids;
pub mod image;
pub mod lanes;
pub mod learning;
pub mod outcome;
pub mod policy;
pub mod record;
pub mod retry;
pub mod review;
pub mod seams;
pub mod state;
pub mod step;
pub mod time;

pub use apply::{Change, Context, CorrectedState, Event, NotBefore, PieceFate, Refusal, Settlement, apply};
pub use ids::{AccountId, AttemptKey, ContentId, GeneratorName, PoolId, TaskId};
pub use policy::Policy;
pub use record::{Attempt, AuditRow, DELAYED, Task, limits};
pub use seams::{Clock, Entropy};
pub use state::{AttemptState, TaskMove, TaskState};
pub use time::{BootId, Deadline, Now, Timestamp, in_words};
