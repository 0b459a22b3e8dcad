//! The machine under the daemon: clocks, randomness, signals. Nothing here knows a task's state.

pub mod clock;
pub mod machine;
pub mod signals;

pub use clock::{OsEntropy, SystemClock};
