//! The machine under the daemon: clocks, randomness, signals, the log, the service manager. Nothing here knows a task's state.

pub mod clock;
pub mod core_files;
pub mod logging;
pub mod machine;
pub mod notify;
pub mod runtime;
pub mod signals;
pub mod sockets;

pub use clock::{OsEntropy, SystemClock};
