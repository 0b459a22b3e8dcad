//! What contentd promises, as questions to its disk and to the universe.

use std::collections::BTreeMap;

use contentd::store::memory::MemoryDb;
use contentd::store::query::Queries;
use contentd::task::state::is_consistent;
use contentd::task::{AttemptState, AuditRow, Task, TaskId, TaskState};

use super::universe::{Kind, Universe};

/// Whether nothing more will happen by itself.
pub fn is_at_rest(db: &MemoryDb) -> bool {
    db.all_tasks().iter().all(|task| match task.state {
        TaskState::Held => true,
        state => state.is_final() && task.wake_at.is_none(),
    }) && !db.all_tasks().is_empty()
}

/// Before any worker starts, no submit is without an owner and every run has been looked at.
pub fn after_recovery(db: &MemoryDb, universe: &Universe, kind: Kind) -> Vec<String> {
    let looked_at = universe.take_looked_at();
    let is_blocking = matches!(kind, Kind::Detached | Kind::Child);
    let mut failures = Vec::new();
    for (task, attempt) in db.active().unwrap() {
        if !is_blocking && attempt.state == AttemptState::Intended {
            failures.push(format!("{} was submitting when the daemon died and was not recovered", task.id));
        }
        if is_blocking && !looked_at.contains(&attempt.key) {
            failures.push(format!("the run of {} was not looked at by the recovery", task.id));
        }
    }
    failures
}

/// At every moment.
pub fn always(db: &MemoryDb, universe: &Universe) -> Vec<String> {
    let mut failures = universe.violations();
    for task in db.all_tasks() {
        let attempt = db.task(&task.id).unwrap().and_then(|(_, attempt)| attempt);
        if !is_consistent(task.state, attempt.as_ref().map(|attempt| attempt.state)) {
            failures.push(format!("{} is {} with attempt {:?}", task.id, task.state, attempt.map(|found| found.state)));
        }
        if task.state.is_active() && task.wake_at.is_none() {
            failures.push(format!("{} is {} and nobody will wake it", task.id, task.state));
        }
        if task.retry_count > task.max_retries {
            failures.push(format!("{} has spent {} of {} retries", task.id, task.retry_count, task.max_retries));
        }
    }
    let mut live: BTreeMap<TaskId, u32> = BTreeMap::new();
    for attempt in db.all_attempts().into_iter().filter(|attempt| attempt.state.may_be_alive()) {
        *live.entry(attempt.task_id).or_default() += 1;
    }
    failures.extend(live.iter().filter(|(_, count)| **count > 1).map(|(id, _)| format!("{id} has two live attempts")));
    failures
}

/// At the end.
pub fn at_rest(db: &MemoryDb, universe: &Universe, kind: Kind) -> Vec<String> {
    let mut failures = always(db, universe);
    let tasks = db.all_tasks();
    if tasks.len() != super::life::task_count() {
        failures.push(format!("{} tasks were submitted and {} are there", super::life::task_count(), tasks.len()));
    }
    if !is_at_rest(db) {
        let stuck: Vec<String> = tasks.iter().map(|task| format!("{} {}", task.id, task.state)).collect();
        failures.push(format!("not at rest: {}", stuck.join(", ")));
    }
    for task in &tasks {
        failures.extend(content_faults(db, task));
        failures.extend(audit_faults(db, task));
        // A piece that was paid for is kept, or a person was told to look.
        let is_kept = matches!(task.state, TaskState::Completed | TaskState::Held) || task.content_id.is_some();
        let is_watched_out = matches!(task.state, TaskState::Cancelled) && !is_known_job(db, task);
        if universe.is_any_piece(&task.id) && !is_kept && !is_watched_out && kind != Kind::Child {
            failures.push(format!("{} is {} and its piece was not taken", task.id, task.state));
        }
    }
    failures
}

/// Whether the daemon ever knew the job of a cancelled task. Where it could not, it has said so.
fn is_known_job(db: &MemoryDb, task: &Task) -> bool {
    db.attempts(&task.id).unwrap().iter().any(|attempt| attempt.external_ref.is_some() && attempt.accepted_at.is_some())
}

fn content_faults(db: &MemoryDb, task: &Task) -> Vec<String> {
    let mut failures = Vec::new();
    let contents: Vec<_> = db.all_contents().into_iter().filter(|content| content.record.task_id == task.id).collect();
    let expected = usize::from(task.state == TaskState::Completed);
    let is_late = task.state == TaskState::Cancelled && contents.len() == 1;
    if contents.len() != expected && !is_late {
        failures.push(format!("{} is {} with {} content records", task.id, task.state, contents.len()));
    }
    for content in contents {
        let pooled = db.all_pool_entries().iter().filter(|entry| entry.content_id == content.id).count();
        let is_approved = task.auto_approve && task.state == TaskState::Completed;
        if pooled != usize::from(is_approved) {
            failures.push(format!("content {} of {} has {pooled} pool entries", content.id, task.id));
        }
    }
    failures
}

/// The audit rows follow from each other and end at the task's state.
fn audit_faults(db: &MemoryDb, task: &Task) -> Vec<String> {
    let history: Vec<AuditRow> = db.history(&task.id).unwrap();
    let mut failures = Vec::new();
    let mut state = None;
    for row in &history {
        if row.from_state != state {
            failures.push(format!("{}: {} begins at {:?} after {state:?}", task.id, row.event, row.from_state));
        }
        state = Some(row.to_state);
    }
    if state != Some(task.state) {
        failures.push(format!("{} is {} and its history ends at {state:?}", task.id, task.state));
    }
    failures
}
