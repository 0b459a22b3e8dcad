//! The real actors on the in-memory store, with a scripted generator, on paused time: hours pass in milliseconds.
//!
//! Nothing here knows how an actor works inside: tests submit, let time pass, and look at the rows, at the calls that the
//! generator saw and at what the actors answer.

mod breaker;
mod cancels;
mod deadlines;
mod doubts;
mod drain;
mod limits;
mod order;
mod outages;
mod panics;
mod polls;
mod rig;
mod script;
#[path = "../support/tally.rs"]
mod tally;
