//! `io.contentd.Daemon`: parameters and replies.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ApiError;
use super::notice::HookView;
use crate::control::values::{TextOrNumber, WireTime};

/// No parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// Nothing more to say than that it was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EmptyReply {}

/// `Ping`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PingReply {
    /// The daemon's process.
    pub pid: u32,
    /// Who asks, as `uid:name`.
    #[serde(default)]
    pub caller: String,
    /// What they are.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// `GetVersion`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionReply {
    /// The daemon's version.
    pub version: String,
}

/// A generator as it stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GeneratorView {
    /// Its name.
    pub name: String,
    /// Whether it could be called now and its breaker lets submits through.
    pub is_available: bool,
    /// Why not, a line each.
    pub faults: Vec<String>,
    /// `closed`, or what opened the breaker: `unavailable unanswered contract_drift failing_jobs`.
    pub breaker: String,
    /// Why it is open.
    pub breaker_reason: Option<String>,
    /// When the next probe may start.
    pub next_probe_at: Option<WireTime>,
    /// Jobs at the generator.
    pub in_flight: u32,
    /// How many may be.
    pub max_in_flight: u32,
    /// Submits to it within 24 hours; null where it has no limit of them.
    #[serde(default)]
    pub submits_today: Option<u32>,
    /// How many may be; null: no limit.
    #[serde(default)]
    pub submits_per_day: Option<u32>,
}

/// A pause.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PauseView {
    /// Of this generator; null: all.
    pub generator: Option<String>,
    /// Of this account; null: all.
    pub account_id: Option<i64>,
    /// Why.
    pub reason: Option<String>,
    /// Who.
    pub who: String,
    /// Since when.
    pub since: WireTime,
}

/// `GetStatus`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StatusReply {
    /// `running` or `draining`.
    pub state: String,
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started_at: WireTime,
    /// Why nothing can be written to the database; null: it can, as far as is known.
    pub storage_fault: Option<String>,
    /// Tasks by state; every state is present.
    pub tasks: BTreeMap<String, u64>,
    /// The generators.
    pub generators: Vec<GeneratorView>,
    /// What is paused.
    pub pauses: Vec<PauseView>,
    /// The hooks, and what waits for them.
    #[serde(default)]
    pub hooks: Vec<HookView>,
    /// Pieces in the publish pool that are not out, by state.
    #[serde(default)]
    pub pool: BTreeMap<String, u64>,
    /// Pieces that wait for a review; at most 10,000 are counted.
    #[serde(default)]
    pub to_review: u64,
    /// The publishers.
    #[serde(default)]
    pub publishers: Vec<PublisherView>,
    /// Accounts with approved pieces that no publisher of the configuration serves, where there are publishers.
    #[serde(default)]
    pub unserved_accounts: Vec<String>,
    /// Why the last reload was refused; null: it was taken, or there was none.
    #[serde(default)]
    pub refused_reload: Option<String>,
}

/// A publisher of the configuration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PublisherView {
    /// Its name.
    pub name: String,
    /// It gets one piece at a time, to try it.
    pub is_away: bool,
    /// Why.
    pub why: Option<String>,
    /// Since when.
    pub since: Option<WireTime>,
    /// When it is tried next.
    pub next_probe_at: Option<WireTime>,
}

/// A worker as it stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WorkerView {
    /// From 1.
    pub worker_id: u32,
    /// `idle busy stopped`.
    pub state: String,
    /// What it works on.
    pub task_id: Option<String>,
    /// Since when it has been in this state.
    pub since: WireTime,
    /// Tasks it has processed.
    pub processed: u64,
    /// How often it was rebuilt after a fault.
    pub restarts: u32,
}

/// `Workers`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WorkersReply {
    /// Each worker.
    pub workers: Vec<WorkerView>,
    /// How many there are.
    pub total: u32,
    /// How many work.
    pub busy: u32,
    /// Pending tasks in all.
    pub queue_size: u64,
}

/// `Pause`: of everything, a generator, an account, or both together.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseParams {
    /// Only this generator.
    #[serde(default)]
    pub generator: Option<String>,
    /// Only this account: number or name.
    #[serde(default)]
    pub account: Option<TextOrNumber>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `Resume`: ends the same pause, or has a publisher tried that was mended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeParams {
    /// Only this generator.
    #[serde(default)]
    pub generator: Option<String>,
    /// Only this account: number or name.
    #[serde(default)]
    pub account: Option<TextOrNumber>,
    /// Taken for what `Pause` takes, and not kept.
    #[serde(default)]
    pub reason: Option<String>,
    /// This publisher, and nothing else.
    #[serde(default)]
    pub publisher: Option<String>,
}

/// What is to be resumed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resume {
    /// What a pause stopped.
    Pause(PauseParams),
    /// A publisher that is away.
    Publisher(String),
}

impl ResumeParams {
    /// Judges the form.
    pub fn check(self) -> Result<Resume, ApiError> {
        match self.publisher {
            None => {
                Ok(Resume::Pause(PauseParams { generator: self.generator, account: self.account, reason: self.reason }))
            }
            Some(publisher) if self.generator.is_none() && self.account.is_none() => Ok(Resume::Publisher(publisher)),
            Some(publisher) => {
                Err(ApiError::invalid("publisher", &publisher, "a publisher alone, without generator and account"))
            }
        }
    }
}

/// What is paused now.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PausesReply {
    /// Whether this call changed anything.
    pub is_changed: bool,
    /// All pauses.
    pub pauses: Vec<PauseView>,
    /// `Resume` of a generator that gets no jobs because it failed, or of a publisher that is away: its next task or piece
    /// tries it.
    #[serde(default)]
    pub is_probed: bool,
    /// The same, and one tries it already.
    #[serde(default)]
    pub has_probe: bool,
}

/// `GetConfig`: the effective configuration, never a secret's value.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConfigReply {
    /// Where it was read from, in order; empty: defaults alone.
    pub files: Vec<String>,
    /// The sections.
    pub config: Value,
}

/// `Drain`: the daemon takes nothing new, lets short calls end, and exits. Detached jobs go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DrainReply {
    /// Tasks whose jobs go on at their generators.
    pub in_flight: u64,
}

/// `Reload` of the configuration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReloadReply {
    /// Settings that changed.
    pub changed: Vec<String>,
    /// Settings that changed in the file and need a restart.
    pub needs_restart: Vec<String>,
    /// What works and deserves a look.
    pub warnings: Vec<String>,
}
