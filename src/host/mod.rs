//! The machine under the daemon: clocks, randomness, signals, the log. Nothing here knows a task's state.

pub mod clock;
pub mod logging;
pub mod signals;

pub use clock::{OsEntropy, SystemClock};
