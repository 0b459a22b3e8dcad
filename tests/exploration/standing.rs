//! What holds of each task by itself, whatever its generator does: an owner or a wake time while it is unfinished, and audit rows
//! that rebuild it. It knows the database alone, so that every simulation of a daemon can ask it.

use std::collections::BTreeMap;

use contentd::store::memory::MemoryDb;
use contentd::store::query::Queries;
use contentd::task::state::is_consistent;
use contentd::task::{Attempt, AttemptState, AuditRow, Task, TaskState};

/// What every row must be, at any moment.
pub fn stands(db: &MemoryDb, task: &Task, attempt: Option<&Attempt>) -> Vec<String> {
    let mut failures = Vec::new();
    let id = &task.id;
    if !is_consistent(task.state, attempt.map(|attempt| attempt.state)) {
        failures.push(format!("{id} is {} with attempt {:?}", task.state, attempt.map(|found| found.state)));
    }
    if task.state.is_active() && task.wake_at.is_none() {
        failures.push(format!("{id} is {} and nobody will wake it", task.state));
    }
    if task.state == TaskState::Held && task.reason.is_none() {
        failures.push(format!("{id} is held and nobody is told why"));
    }
    if attempt.is_some_and(|attempt| attempt.sends > task.max_retries + 2) {
        failures.push(format!("{id} has sent one key again and again: {:?}", attempt.map(|attempt| attempt.sends)));
    }
    if task.retry_count > task.max_retries {
        failures.push(format!("{id} has spent {} of {} retries", task.retry_count, task.max_retries));
    }
    let live: Vec<u32> =
        db.attempts(id).unwrap().iter().filter(|one| one.state.may_be_alive()).map(|one| one.number).collect();
    if live.len() > 1 {
        failures.push(format!("{id} has the live attempts {live:?}"));
    }
    failures
}

/// What the audit rows alone say of a task.
#[derive(PartialEq, Eq, Debug, Default)]
struct Rebuilt {
    state: Option<TaskState>,
    attempts: BTreeMap<u32, AttemptState>,
    retry_count: u32,
    is_created: bool,
}

impl Rebuilt {
    fn take(&mut self, row: &AuditRow) -> Result<(), String> {
        let misfit = || format!("{}: {} does not follow from the rows before it: {row:?}", row.task_id, row.event);
        if row.from_state != self.state || self.is_created != row.from_state.is_some() {
            return Err(misfit());
        }
        self.is_created = true;
        self.state = Some(row.to_state);
        // Of a piece, and of no attempt.
        if ["content_", "pool_"].iter().any(|of_piece| row.event.starts_with(of_piece)) {
            return if row.from_state == Some(row.to_state) { Ok(()) } else { Err(misfit()) };
        }
        let known = self.attempts.get(&row.attempt).copied();
        if row.attempt_from != known {
            return Err(misfit());
        }
        if let Some(state) = row.attempt_to {
            self.attempts.insert(row.attempt, state);
        }
        match row.event.as_str() {
            "retry_scheduled" | "extended" | "retry_requested" => self.retry_count += 1,
            "retries_reset" => self.retry_count = 0,
            _ => {}
        }
        Ok(())
    }
}

/// The audit rows follow from each other and rebuild the task as it stands.
pub fn audit_faults(db: &MemoryDb, task: &Task) -> Vec<String> {
    let mut rebuilt = Rebuilt::default();
    for row in db.history(&task.id).unwrap() {
        if let Err(failure) = rebuilt.take(&row) {
            return vec![failure];
        }
    }
    let attempts = db.attempts(&task.id).unwrap();
    let stands = Rebuilt {
        state: Some(task.state),
        attempts: attempts.iter().map(|attempt| (attempt.number, attempt.state)).collect(),
        retry_count: task.retry_count,
        is_created: true,
    };
    let last = attempts.last().map_or(0, |attempt| attempt.number);
    if rebuilt == stands && last == task.attempt {
        return Vec::new();
    }
    vec![format!("{}: its audit rows tell {rebuilt:?}, and the rows are {stands:?}, attempt {}", task.id, task.attempt)]
}
