//! What is counted while the daemon runs, and how Prometheus is told of it.
//!
//! | file | question |
//! | --- | --- |
//! | [`counters`] | what happened since the start? |
//! | [`histogram`] | how was it distributed? |
//! | [`text`] | how does Prometheus want to be told? |
//!
//! Plain data without a clock, a file or a socket. Counters live in memory and begin at 0 with each start, as Prometheus
//! expects; what stands in the database is read when it is asked for, never counted along. The surprise: nothing here has a label
//! that grows with use. No task, no account, no text of anybody's: generators, hooks, states and outcomes, which are few.

pub mod counters;
pub mod histogram;
pub mod text;

pub use counters::{Counters, Numbers};
pub use histogram::Histogram;
pub use text::Page;
