//! Other programs that do the same work, behind `--peers`: each with its durable settings, on the same disk, in turns with contentd.
//!
//! - [`beside`]: contentd's side of a row, and the turns
//! - [`process`], [`script`]: a peer's server, and a program in its language that calls it
//! - [`redis`], [`postgres`]: servers that several of them need
//! - [`beanstalkd`], [`bullmq`], [`huey`], [`celery`], [`graphile`], [`pg_boss`], [`task_spooler`]: one file a peer
//!
//! `scripts/install-peers` brings them. A peer that is not on this machine is named, with what would bring it, and counts as a row
//! that could not be measured. The surprise: contentd's number in a peer's row is not the one of its own row above. It was measured
//! again, between two runs of the peer.

mod beanstalkd;
mod beside;
mod bullmq;
mod celery;
mod graphile;
mod huey;
mod pg_boss;
mod postgres;
mod process;
mod redis;
mod script;
mod task_spooler;

use crate::Bench;
use crate::outcome::Outcome;

/// A program beside contentd.
pub struct Peer {
    /// What `--row` calls it.
    pub name: &'static str,
    /// In a sentence.
    pub what: &'static str,
    /// Its version and its settings, or what is missing here and how it is installed.
    pub look: fn() -> anyhow::Result<String>,
    /// Measures all its rows, each in turns with contentd.
    pub measure: fn(&Bench) -> anyhow::Result<Vec<Outcome>>,
}

/// All of them, in the order of the table.
pub const ALL: &[Peer] =
    &[beanstalkd::PEER, bullmq::PEER, huey::PEER, celery::PEER, graphile::PEER, pg_boss::PEER, task_spooler::PEER];

/// What `--row` calls all of them.
pub const EVERY: &str = "peers";

/// Those that were asked for: by name, or all by `--peers` or by [`EVERY`].
pub fn chosen(names: &[String], are_wanted: bool) -> Vec<&'static Peer> {
    let all = (are_wanted && names.is_empty()) || names.iter().any(|name| name == EVERY);
    ALL.iter().filter(|peer| all || names.iter().any(|name| name == peer.name)).collect()
}
