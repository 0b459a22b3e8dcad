//! What the queue is told and asked, and what it tells of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::*;
use serde::{Deserialize, Serialize};

use crate::actors::Happened;
use crate::actors::worker::WorkerActor;
use crate::store::write::{Changed, NewTask, SubmittedTask, WriteError};
use crate::task::breaker::Signal;
use crate::task::lanes::LaneKey;
use crate::task::{AccountId, GeneratorName, Task, TaskId, Timestamp};

/// The names of settings that hold pauses begin so.
pub(super) const PAUSE_SETTING: &str = "pause/";

/// From the control socket: take these tasks, all or none. Lost: the caller's key lets it ask again.
#[derive(Message, Debug)]
#[rtype(result = "Result<Vec<SubmittedTask>, WriteError>")]
pub struct SubmitTasks {
    /// The tasks; their `claim` is the queue's to fill in.
    pub tasks: Vec<NewTask>,
    /// How many unfinished tasks there may be.
    pub max_pending: u64,
}

/// From the control socket: these tasks are written, none of them claimed. Lost: the tick looks.
#[derive(Message)]
#[rtype(result = "()")]
pub struct TasksSubmitted {
    /// As they were written, with those that were known.
    pub tasks: Vec<SubmittedTask>,
}

/// Where a submit may find a free worker. The queue says so and whoever submits looks: where it may, the queue is asked
/// first, so that the claim rides in the commit of the insert; else that would only cost time. A word that is late costs a
/// second commit, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeSet<GeneratorName>>>);

impl Readiness {
    /// Whether the claim of one of these may ride along. Of several tasks none is claimed in the commit of their insert.
    pub fn is_ready_for(&self, tasks: &[NewTask]) -> bool {
        let [new] = tasks else { return false };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&new.task.generator)
    }

    pub(super) fn set(&self, open: BTreeSet<GeneratorName>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }
}

/// From a worker: it has nothing to do. Lost: the supervisor asks workers to say it again after a rebuild.
#[derive(Message)]
#[rtype(result = "()")]
pub struct WorkerIdle {
    /// Its number.
    pub worker: usize,
    /// Where it is.
    pub address: Addr<WorkerActor>,
}

/// From whoever committed a change: a slot may be free, or a task may wait now. Lost: the tick looks.
#[derive(Message)]
#[rtype(result = "()")]
pub struct QueueChanged {
    /// The task that waits now, or is not active any more.
    pub task: Option<Box<Task>>,
}

/// From whoever committed a change: what a generator's answer says of the generator.
#[derive(Message)]
#[rtype(result = "()")]
pub struct GeneratorSignalled {
    /// Which.
    pub generator: GeneratorName,
    /// In whose call.
    pub task: TaskId,
    /// What.
    pub signal: Signal,
}

/// From a person: something decided about one task.
#[derive(Message)]
#[rtype(result = "Result<Changed, WriteError>")]
pub struct PersonDecided {
    /// What.
    pub happened: Happened,
}

/// What is paused: everything, a generator, an account, or an account at a generator.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct PauseScope {
    /// Only this generator.
    pub generator: Option<GeneratorName>,
    /// Only this account.
    pub account: Option<AccountId>,
}

/// A pause and who ordered it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pause {
    /// What.
    pub scope: PauseScope,
    /// Who.
    pub who: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Option<String>,
}

/// From a person: start no new submits, or start them again. Answers with the pauses that stand.
#[derive(Message)]
#[rtype(result = "Result<Vec<Pause>, WriteError>")]
pub enum SetPause {
    /// Pause.
    On(Pause),
    /// Resume just this scope.
    Off(PauseScope),
    /// Resume everything.
    AllOff,
}

/// From the supervisor: dispatch nothing more. Answers when no claim is between its commit and its worker.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainQueue;

/// From a person: why do these tasks wait? Answers in their order.
#[derive(Message)]
#[rtype(result = "Vec<Option<String>>")]
pub struct ExplainWaits {
    /// Which.
    pub tasks: Vec<Task>,
}

/// What is it doing?
#[derive(Message)]
#[rtype(result = "QueueStatus")]
pub struct GetQueueStatus;

/// The queue as an operator sees it.
#[derive(Clone, Debug, Serialize, MessageResponse)]
pub struct QueueStatus {
    /// Waiting tasks in the window; more may stand behind it in the database.
    pub window: usize,
    /// Workers without a call.
    pub idle_workers: usize,
    /// Jobs at each generator.
    pub in_flight: BTreeMap<GeneratorName, u32>,
    /// Submits within 24 hours, at each generator of which they are counted.
    pub submits_at: BTreeMap<GeneratorName, u32>,
    /// Submits within 24 hours of each account, at all generators of which they are counted. Of an account with a limit a day these
    /// are all.
    pub submits_of: BTreeMap<AccountId, u32>,
    /// Pauses that stand.
    pub pauses: Vec<Pause>,
    /// Open breakers: since when, why, next probe.
    pub breakers: Vec<BreakerStatus>,
    /// Why a generator whose breaker is closed gets no more jobs for now, though it has room.
    pub suspicions: BTreeMap<GeneratorName, String>,
    /// Nothing more is dispatched.
    pub is_draining: bool,
}

/// An open breaker.
#[derive(Clone, Debug, Serialize)]
pub struct BreakerStatus {
    /// Of which generator.
    pub generator: GeneratorName,
    /// `unavailable`, `unanswered`, `contract_drift` or `failing_jobs`.
    pub trip: String,
    /// The last words of the generator.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// When the next probe may start.
    pub next_probe_at: Option<Timestamp>,
    /// One is under way.
    pub is_probed: bool,
}

impl PauseScope {
    /// Whether a lane is paused by it.
    pub(super) fn covers(&self, key: &LaneKey) -> bool {
        self.generator.as_ref().is_none_or(|generator| *generator == key.generator)
            && self.account.is_none_or(|account| account == key.account)
    }

    /// Whether every lane of a generator is paused by it.
    pub(super) fn covers_all_of(&self, generator: &GeneratorName) -> bool {
        self.account.is_none() && self.generator.as_ref().is_none_or(|paused| paused == generator)
    }

    /// The setting that holds it over a restart.
    pub(super) fn setting(&self) -> String {
        let generator = self.generator.as_ref().map_or("*", GeneratorName::as_str);
        let account = self.account.map_or_else(|| "*".to_owned(), |account| account.to_string());
        format!("{PAUSE_SETTING}{generator}/{account}")
    }
}

impl std::fmt::Display for PauseScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.generator, self.account) {
            (None, None) => f.write_str("everything"),
            (Some(generator), None) => write!(f, "generator {generator}"),
            (None, Some(account)) => write!(f, "account {account}"),
            (Some(generator), Some(account)) => write!(f, "account {account} at generator {generator}"),
        }
    }
}
