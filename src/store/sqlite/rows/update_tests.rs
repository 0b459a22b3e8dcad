//! What a change leaves out of its statement must be what it has not changed: every field is changed by itself, with the state and
//! without, and read again.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::SqliteRows;
use crate::store::Backend;
use crate::store::sqlite::{self, SqliteBackend};
use crate::store::write::{Rows, Write};
use crate::task::{AccountId, Attempt, AttemptState, BootId, ContentId, Deadline, Task, TaskId, TaskState, Timestamp};

const THEN: Timestamp = Timestamp(7_000);

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = diesel::sql_types::Text)]
    name: String,
}

/// A database that takes any row: what may follow what is not asked here.
fn open(dir: &std::path::Path) -> SqliteBackend {
    let mut backend = sqlite::open(&dir.join("c.db"), 1).expect("a new database").backend;
    let account = Write::AddAccount { name: "one".into(), external_id: None, now: Timestamp(0) };
    backend.commit(&[account]).expect("committed").remove(0).expect("added");
    let connection = backend.connection();
    connection.batch_execute("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON").expect("off");
    let triggers: Vec<Named> = diesel::sql_query("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        .load(connection)
        .expect("they are listed");
    for Named { name } in triggers {
        connection.batch_execute(&format!("DROP TRIGGER {name}")).expect("dropped");
    }
    backend
}

fn task() -> Task {
    let id = TaskId("task-1".into());
    Task { attempt: 1, state: TaskState::Submitting, ..Task::blank(id, AccountId(1), "g".into(), Timestamp(1)) }
}

type Change<T> = fn(&mut T);

#[test]
fn every_field_of_a_task_that_a_change_may_change_is_written() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut backend = open(dir.path());
    let mut rows = SqliteRows { connection: backend.connection() };
    let mut before = task();
    before.seq = rows.insert_task(&before).expect("inserted");
    let changes: [Change<Task>; 19] = [
        |task| task.state = TaskState::Processing,
        |task| task.attempt = 2,
        |task| task.priority = 9,
        |task| task.auto_approve = true,
        |task| task.retry_count = 3,
        |task| task.max_retries = 4,
        |task| task.time_limit_s = 99,
        |task| task.queued_at = THEN,
        |task| task.submitted_at = Some(THEN),
        |task| task.started_at = Some(THEN),
        |task| task.completed_at = Some(THEN),
        |task| task.wake_at = Some(THEN),
        |task| task.updated_at = THEN,
        |task| task.content_id = Some(ContentId(5)),
        |task| task.progress = Some("half".into()),
        |task| task.reason = Some("because".into()),
        |task| task.error = Some("no".into()),
        |task| task.restored_at = Some(THEN),
        |task| task.not_before = Some(THEN),
    ];
    for change in changes {
        for with in [(|_| ()) as Change<Task>, |task| task.state = TaskState::Submitted] {
            let mut after = before.clone();
            change(&mut after);
            with(&mut after);
            assert_ne!(after, before, "it changes something");
            assert_eq!(rows.update_task(&after, &before).expect("written"), 1);
            assert_eq!(rows.task(&before.id).expect("read"), Some(after.clone()));
            assert_eq!(rows.update_task(&before, &after).expect("written"), 1);
            assert_eq!(rows.task(&before.id).expect("read"), Some(before.clone()));
        }
    }
}

#[test]
fn every_field_of_an_attempt_that_a_change_may_change_is_written() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut backend = open(dir.path());
    let mut rows = SqliteRows { connection: backend.connection() };
    let task = task();
    rows.insert_task(&task).expect("inserted");
    let before = Attempt::intended(task.id.clone(), 1, "0123456789abcdef0123456789abcdef".into(), Timestamp(2));
    rows.insert_attempt(&before, &task.generator).expect("inserted");
    let changes: [Change<Attempt>; 24] = [
        |attempt| attempt.state = AttemptState::Unknown,
        |attempt| attempt.external_ref = Some("job".into()),
        |attempt| attempt.generator_state = Some("running".into()),
        |attempt| drop(attempt.vars.insert("name".into(), "value".into())),
        |attempt| attempt.accepted_at = Some(THEN),
        |attempt| attempt.ended_at = Some(THEN),
        |attempt| attempt.deadline = Some(Deadline { at: THEN, boot_id: BootId("boot".into()), boot_ms: 8 }),
        |attempt| attempt.sends = 2,
        |attempt| attempt.quiet_since = Some(THEN),
        |attempt| attempt.empty_sweeps = 1,
        |attempt| attempt.missing = 1,
        |attempt| attempt.bad_fetches = 1,
        |attempt| attempt.bad_answers = 1,
        |attempt| attempt.unchanged_since = Some(THEN),
        |attempt| attempt.is_ready = true,
        |attempt| attempt.is_resend_due = true,
        |attempt| attempt.is_cancel_refused = true,
        |attempt| attempt.free_ends = 1,
        |attempt| attempt.unavailable_submits = 1,
        |attempt| attempt.extensions = 1,
        |attempt| attempt.polls = 1,
        |attempt| attempt.watch_until = Some(THEN),
        |attempt| attempt.error = Some("no".into()),
        |attempt| attempt.raw_output = Some("{".into()),
    ];
    for change in changes {
        for with in [(|_| ()) as Change<Attempt>, |attempt| attempt.state = AttemptState::Accepted] {
            let mut after = before.clone();
            change(&mut after);
            with(&mut after);
            assert_ne!(after, before, "it changes something");
            rows.update_attempt(&after, &before).expect("written");
            assert_eq!(rows.attempt(&task.id, 1).expect("read"), Some(after.clone()));
            rows.update_attempt(&before, &after).expect("written");
            assert_eq!(rows.attempt(&task.id, 1).expect("read"), Some(before.clone()));
        }
    }
}
