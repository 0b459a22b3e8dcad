//! What contentd promises, as questions to its disk and to the universe when a life begins and when everything is at rest.
//! What holds after each commit is asked by the witness.

use std::collections::{BTreeMap, BTreeSet};

use contentd::store::memory::MemoryDb;
use contentd::store::query::Queries;
use contentd::task::apply::CONTENTD;
use contentd::task::content::ReviewState;
use contentd::task::{Attempt, AttemptState, Task, TaskId, TaskState};

use super::crash::End;
use super::standing::audit_faults;
use super::universe::{ExternalJob, Kind, Universe};

/// Every submit that the client was told of: its key, and the task that it got.
pub type Acknowledged = BTreeMap<String, TaskId>;

/// Outages and retries of a schedule never make more, because each outage costs one attempt and its probes.
const MOST_ATTEMPTS: usize = 150;

/// Whether nothing more will happen by itself.
pub fn is_at_rest(db: &MemoryDb) -> bool {
    let tasks = db.all_tasks();
    let rests = |task: &Task| task.state == TaskState::Held || task.state.is_final() && task.wake_at.is_none();
    !tasks.is_empty() && tasks.iter().all(rests)
}

/// Before any worker starts, no submit is without an owner and every run has been looked at.
pub fn after_recovery(db: &MemoryDb, universe: &Universe, kind: Kind) -> Vec<String> {
    let looked_at = universe.take_looked_at();
    let mut failures = Vec::new();
    for (task, attempt) in db.active().unwrap() {
        if !kind.is_blocking() && attempt.state == AttemptState::Intended {
            failures.push(format!("{} was submitting when the daemon died and was not recovered", task.id));
        }
        if kind.is_blocking() && attempt.state.may_be_alive() && !looked_at.contains(&attempt.key) {
            failures.push(format!("the run of {} was not looked at by the recovery", task.id));
        }
    }
    failures
}

/// What no daemon can know after a death, so that a person is asked for good reason; everything else must be found out.
#[derive(Default)]
pub struct Excused(BTreeSet<TaskId>);

impl Excused {
    /// A life has ended so. Taken from the rows and from the universe as they are then.
    pub fn note(&mut self, db: &MemoryDb, universe: &Universe, kind: Kind, end: End) {
        for (task, attempt) in db.active().unwrap() {
            let is_excused = match kind {
                // A submit was under way, and its generator can neither be asked nor told the same key again.
                Kind::Blind => end != End::Drained && attempt.state == AttemptState::Intended,
                // Its run ended with the machine, and what it has cost by then nobody knows.
                Kind::Detached => end == End::MachineDown && universe.is_alive(&attempt.key),
                // The same key is the same job; a search shows each; a plain child may be repeated.
                Kind::Idempotent | Kind::Findable | Kind::Child => false,
            };
            if is_excused {
                self.0.insert(task.id);
            }
        }
    }
}

/// A drain leaves no call in doubt: each was answered, and its answer is on disk.
pub fn after_drain(db: &MemoryDb, kind: Kind) -> Vec<String> {
    let is_in_doubt = |attempt: &Attempt| attempt.state == AttemptState::Intended && !kind.is_blocking();
    let active = db.active().unwrap().into_iter().filter(|(_, attempt)| is_in_doubt(attempt));
    active.map(|(task, _)| format!("{} was drained in the middle of its submit", task.id)).collect()
}

/// Where the generator never misbehaves, no death costs anything: each task is completed by one job, and no retry is spent.
/// What is excused may be held instead, but has no second job either.
pub fn polite_ends(db: &MemoryDb, universe: &Universe, kind: Kind, excused: &Excused, deaths: usize) -> Vec<String> {
    let mut failures = Vec::new();
    // A plain child dies with its daemon, and is written again.
    let most_jobs = if kind == Kind::Child { 1 + deaths } else { 1 };
    for task in db.all_tasks() {
        let is_excused = excused.0.contains(&task.id);
        // A person who is asked may also have given it up, or have had it written again.
        if is_excused && is_decided(db, &task.id) {
            continue;
        }
        let is_well = task.state == TaskState::Completed || is_excused && task.state == TaskState::Held;
        if !is_well {
            let why = task.reason.as_ref().or(task.error.as_ref());
            failures.push(format!("{} is {} at a polite generator: {why:?}", task.id, task.state));
        }
        let jobs = universe.jobs_of(&task.id).len();
        if jobs > most_jobs || jobs == 0 && !is_excused {
            failures.push(format!("{} has had {jobs} jobs at a polite generator", task.id));
        }
        if task.retry_count > 0 {
            failures.push(format!("{} has spent {} retries at a polite generator", task.id, task.retry_count));
        }
    }
    failures
}

/// Whether a person has decided about a task after it was submitted.
fn is_decided(db: &MemoryDb, task: &TaskId) -> bool {
    db.history(task).unwrap().iter().any(|row| row.from_state.is_some() && row.who != CONTENTD)
}

/// Whatever was acknowledged is there, under its name.
pub fn acknowledged(db: &MemoryDb, acknowledged: &Acknowledged) -> Vec<String> {
    let is_lost = |(_, id): &(&String, &TaskId)| db.task(id).unwrap().is_none();
    acknowledged
        .iter()
        .filter(is_lost)
        .map(|(key, id)| format!("{key} was acknowledged as {id}, which is gone"))
        .collect()
}

/// At the end.
pub fn at_rest(db: &MemoryDb, universe: &Universe, kind: Kind, told: &Acknowledged) -> Vec<String> {
    let mut failures = acknowledged(db, told);
    let tasks = db.all_tasks();
    if tasks.len() != super::life::TASKS || told.len() != super::life::TASKS {
        let count = super::life::TASKS;
        failures.push(format!("{count} tasks were submitted, {} acknowledged, {} are there", told.len(), tasks.len()));
    }
    if !is_at_rest(db) {
        let stuck: Vec<String> = tasks.iter().map(|task| format!("{} {}", task.id, task.state)).collect();
        failures.push(format!("not at rest: {}", stuck.join(", ")));
    }
    for task in &tasks {
        failures.extend(content_faults(db, task));
        failures.extend(audit_faults(db, task));
    }
    let attempts = db.all_attempts().len();
    if attempts > MOST_ATTEMPTS {
        failures.push(format!("{attempts} attempts were made: an outage does not hold up the next submit"));
    }
    for job in universe.paid_jobs() {
        failures.extend(piece_fault(db, kind, &job));
    }
    failures
}

/// A piece that was paid for is kept once, or a person was told to look.
fn piece_fault(db: &MemoryDb, kind: Kind, job: &ExternalJob) -> Option<String> {
    let mark = job.mark();
    let kept = db.all_contents().iter().filter(|content| content.record.content.contains(&mark)).count();
    if kept > 1 {
        return Some(format!("the piece of job {} is kept {kept} times", job.id));
    }
    // A plain child's piece dies with its daemon, and is written again.
    if kept == 1 || kind == Kind::Child {
        return None;
    }
    let (task, _) = db.task(&job.task).unwrap()?;
    let is_told = match task.state {
        TaskState::Held => true,
        // Where the daemon could not know the job, it has said so.
        TaskState::Cancelled => !is_known_job(db, job),
        _ => false,
    };
    (!is_told).then(|| format!("{} is {} and the piece of job {} was not taken", task.id, task.state, job.id))
}

/// Whether the daemon ever knew this job as the one of its attempt.
fn is_known_job(db: &MemoryDb, job: &ExternalJob) -> bool {
    let attempts = db.attempts(&job.task).unwrap();
    attempts.iter().any(|attempt| attempt.key == job.key && attempt.accepted_at.is_some())
}

fn completed_while_cancelling(db: &MemoryDb, task: &Task) -> bool {
    let history = db.history(&task.id).unwrap();
    let end =
        history.iter().rev().find(|row| row.to_state == TaskState::Completed && row.from_state != Some(row.to_state));
    end.is_some_and(|row| row.from_state == Some(TaskState::Cancelling))
}

/// Exactly one current record of a completed task, and one pool entry of an approved one.
fn content_faults(db: &MemoryDb, task: &Task) -> Vec<String> {
    let mut failures = Vec::new();
    let contents: Vec<_> = db.all_contents().into_iter().filter(|content| content.record.task_id == task.id).collect();
    let current = contents.iter().filter(|content| Some(content.id) == task.content_id).count();
    let expected = match task.state {
        TaskState::Completed => 1,
        _ => usize::from(task.content_id.is_some()),
    };
    if current != expected {
        failures.push(format!("{} is {} with {current} current content records", task.id, task.state));
    }
    let ended = db.attempts(&task.id).unwrap();
    let paid = ended.iter().filter(|attempt| attempt.state == AttemptState::EndedCompleted).count();
    if contents.len() > paid {
        failures.push(format!("{} has {} content records of {paid} completed jobs", task.id, contents.len()));
    }
    for content in contents {
        let entries = db.all_pool_entries();
        let pooled = entries.iter().filter(|entry| entry.content_id == content.id).count();
        let is_approved = content.record.review_status == ReviewState::Approved;
        if pooled != usize::from(is_approved) {
            failures.push(format!("content {} of {} has {pooled} pool entries", content.id, task.id));
        }
        // Nobody wants a piece to go out by itself whose task was to be cancelled.
        let is_wanted = task.state == TaskState::Completed
            && task.content_id == Some(content.id)
            && task.auto_approve
            && !completed_while_cancelling(db, task);
        if is_approved != is_wanted {
            failures.push(format!(
                "content {} of {} {} is {}",
                content.id, task.state, task.id, content.record.review_status
            ));
        }
    }
    failures
}
