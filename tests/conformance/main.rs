//! One suite for every backend of the store, and what SQLite alone must hold.
//!
//! Each test of these runs on the in-memory twin and on a real database with the real migrations in a directory of its
//! own. `random` lets both go through the same random events and compares every answer. The rest is SQLite's: its
//! guard, its plans, its opening, its group commit and its end by force.

/// Runs each test on each backend.
macro_rules! on_every_backend {
    ($($name:ident),+ $(,)?) => {
        mod on_memory { $(#[test] fn $name() { super::$name($crate::common::memory()); })+ }
        mod on_sqlite { $(#[test] fn $name() { super::$name($crate::common::sqlite()); })+ }
    };
}

mod cleanup;
mod common;
mod crash;
mod doubts;
mod group_commit;
mod guard;
mod lives;
mod migrations;
mod notices;
mod opening;
mod piece_rules;
mod pieces;
mod plans;
mod pool;
mod prepared;
mod questions;
mod random;
mod readers;
mod restored;
mod schedules;
mod submits;
mod versions;
