//! The ScheduleActor: over a year, over an absence, over its own death at every commit, and with sources that misbehave.
//!
//! Most tests run the real actor alone, on a database of either kind, with sources that a test scripts. One runs it under
//! the real supervisor with the daemon's own way of making tasks.

mod deaths;
mod room;
mod sources;
mod times;
mod world;
