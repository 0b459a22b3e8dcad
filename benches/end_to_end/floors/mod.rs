//! What the machine can do at best with the same rows, processes and messages, and nothing else.
//!
//! - [`committer`]: Diesel, on a second thread, that commits the rows which contentd writes for the same work, in a database that
//!   contentd itself has made (its migrations, indexes, triggers, guard, and settings of the connection), asked and answered
//!   through a channel
//! - [`echo`]: a unix socket, whose other end reads a message of the same size as the daemon's and writes a reply of the same size
//! - [`spawn`]: processes, started and waited for by `std::process`, with the standard streams at `/dev/null`
//!
//! No floor judges, looks up, logs, or tells anybody anything.

pub mod committer;
pub mod echo;
pub mod spawn;
pub mod tables;
