//! What is measured: one file a subject, one function a group of rows that share a daemon.

pub mod commands;
mod fairness;
mod limited;
pub mod memory;
mod million;
mod polls;
mod recovery;
pub mod scripted;
pub mod start;
pub mod submits;
mod upkeep;

use anyhow::bail;

use crate::outcome::Outcome;
use crate::{Bench, peers};

/// A group of rows.
pub struct Row {
    /// What `--row` calls it.
    pub name: &'static str,
    /// In a sentence.
    pub what: &'static str,
    /// Measures it.
    pub measure: fn(&Bench) -> anyhow::Result<Vec<Outcome>>,
}

/// All of them, in the order of the table.
pub const ALL: &[Row] = &[
    Row { name: "submit", what: "submits of one client, each acknowledged", measure: submits::one_client },
    Row { name: "submit-8", what: "submits of 8 clients at once", measure: submits::eight_clients },
    Row { name: "submit-batch", what: "submits of 100 tasks in one call", measure: submits::batches },
    Row { name: "echo", what: "tasks that run /bin/echo as a plain child, 8 workers", measure: commands::plain },
    Row { name: "echo-detached", what: "the same, detached", measure: commands::detached },
    Row {
        name: "scripted",
        what: "tasks of a generator inside the process, all transitions",
        measure: scripted::measure,
    },
    Row { name: "start", what: "from a submit to its command, idle", measure: start::measure },
    Row { name: "memory", what: "resident memory, idle and with tasks in line", measure: memory::measure },
    Row { name: "million", what: "submits and questions with 1,000,000 tasks", measure: million::measure },
    Row { name: "recovery", what: "from kill -9 to the first command", measure: recovery::measure },
    Row { name: "fairness", what: "what others notice of 8 clients that flood", measure: fairness::measure },
    Row { name: "limited", what: "a submit beside 1,000,000 of an account at its limit", measure: limited::measure },
    Row { name: "upkeep", what: "what submits notice of backup and cleanup", measure: upkeep::measure },
    Row { name: "polls", what: "poll processes with few and with many jobs", measure: polls::measure },
    Row { name: "polls-single", what: "polls a job where each has its own", measure: polls::one_by_one },
];

/// Those with these names; all without any. The name of a peer is known, too.
pub fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Row>> {
    let peers = peers::ALL.iter().map(|peer| peer.name).chain([peers::EVERY]);
    let known: Vec<&str> = ALL.iter().map(|row| row.name).chain(peers).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("--row {unknown}: there is no such row; these are: {}", known.join(", "));
    }
    Ok(ALL.iter().filter(|row| names.is_empty() || names.iter().any(|name| name == row.name)).collect())
}
