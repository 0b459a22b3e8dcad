//! The real actors on the in-memory store, with a scripted generator, on paused time: hours pass in milliseconds.
//!
//! Nothing here knows how an actor works inside: tests submit, let time pass, and look at the rows, at the calls that the
//! generator saw and at what the actors answer.

mod accounts;
mod breaker;
mod cancels;
mod deadlines;
mod doubts;
mod drain;
mod limits;
mod notices;
mod order;
mod outages;
mod panics;
mod polls;
mod reports;
mod rig;
mod schedules;
mod script;
#[path = "../support/tally.rs"]
mod tally;
