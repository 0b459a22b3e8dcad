//! The guard: all pairs of states by hand in SQL, and every other way around the program.

use contentd::store::sqlite::SqliteBackend;
use contentd::store::write::{attempt_edges, review_edges, task_edges};
use contentd::task::content::ReviewState;
use contentd::task::{AttemptState, Event, TaskState};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::common::*;

/// Does `sql`, says how it was refused, and leaves nothing of it behind.
fn tried(connection: &mut SqliteConnection, sql: &str) -> Result<(), String> {
    connection.batch_execute("SAVEPOINT tried").unwrap();
    let result = connection.batch_execute(sql).map_err(|error| error.to_string());
    connection.batch_execute("ROLLBACK TO tried; RELEASE tried").unwrap();
    result
}

fn refused(connection: &mut SqliteConnection, sql: &str) -> String {
    tried(connection, sql).err().unwrap_or_else(|| panic!("the database took: {sql}"))
}

/// One task completed by the program, with its piece, and one that is submitted.
fn filled() -> (SqliteBackend, tempfile::TempDir) {
    let (backend, queries, directory) = real();
    let mut side = Side::of(backend, queries);
    let ada = side.account("ada").id;
    side.submit(vec![new(task(1, ada)), claimed(task(2, ada), START), new(task(3, ada))]);
    side.complete(&id(1), START + 10);
    side.change(&id(2), START + 1, accepted("job"));
    (side.into_backend(), directory)
}

const TASK: &str = "INSERT INTO tasks (id, account_id, generator, state, priority, auto_approve, attempt, retry_count, \
     max_retries, time_limit_s, created_at, queued_at, updated_at, submitted_by, keywords, topic) \
     VALUES ('task-x', 1, 'assumed', 'pending', 5, 1, 0, 0, 3, 60, 1, 1, 1, 'x', '[]', 'x');";
const ATTEMPT: &str = "INSERT INTO attempts (task_id, number, generator, key, state, intended_at, sends, empty_sweeps, \
     missing, bad_fetches, bad_answers, is_ready, is_resend_due, is_cancel_refused, polls, vars) \
     VALUES ('task-x', 1, 'assumed', 'k', 'intended', 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, '{}');";

/// The statement that puts the row into a state, whatever the guard says: the triggers are taken away and come back.
fn forced<'a>(sql: &'a str, guard: &'a str, names: &[String]) -> String {
    let drops: String = names.iter().map(|name| format!("DROP TRIGGER {name};")).collect();
    format!("{drops} {sql} {guard}")
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = diesel::sql_types::Text)]
    name: String,
}

fn guard_names(connection: &mut SqliteConnection) -> Vec<String> {
    let names = diesel::sql_query("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'guard%'");
    names.load::<Name>(connection).unwrap().into_iter().map(|row| row.name).collect()
}

#[test]
fn every_pair_of_task_states() {
    let (mut backend, _directory) = filled();
    let connection = backend.connection();
    let names = guard_names(connection);
    let guard = contentd::store::sqlite::guard::triggers();
    let edges = task_edges();
    let set = |state: TaskState| {
        let end = if state.is_final() { "1" } else { "NULL" };
        let content = if state == TaskState::Completed { ", content_id = 1" } else { "" };
        format!("UPDATE tasks SET state = '{state}', completed_at = {end}{content} WHERE id = 'task-x';")
    };
    for from in TaskState::ALL {
        for to in TaskState::ALL {
            let begin = forced(&format!("{TASK} {}", set(*from)), &guard, &names);
            let result = tried(connection, &format!("{begin} {}", set(*to)));
            if from == to || edges.contains(&(*from, *to)) {
                assert_eq!(result, Ok(()), "{from} to {to}");
            } else {
                assert_eq!(result, Err(format!("contentd: a task cannot go from {from} to {to}")));
            }
        }
    }
}

#[test]
fn every_pair_of_attempt_states() {
    let (mut backend, _directory) = filled();
    let connection = backend.connection();
    let names = guard_names(connection);
    let guard = contentd::store::sqlite::guard::triggers();
    let edges = attempt_edges();
    let set = |state: AttemptState| format!("UPDATE attempts SET state = '{state}' WHERE task_id = 'task-x';");
    for from in AttemptState::ALL {
        for to in AttemptState::ALL {
            let begin = forced(&format!("{TASK} {ATTEMPT} {}", set(*from)), &guard, &names);
            let result = tried(connection, &format!("{begin} {}", set(*to)));
            if from == to || edges.contains(&(*from, *to)) {
                assert_eq!(result, Ok(()), "{from} to {to}");
            } else {
                assert_eq!(result, Err(format!("contentd: an attempt cannot go from {from} to {to}")));
            }
        }
    }
}

#[test]
fn every_pair_of_review_states() {
    let (mut backend, _directory) = filled();
    let connection = backend.connection();
    let names = guard_names(connection);
    let guard = contentd::store::sqlite::guard::triggers();
    let edges = review_edges();
    let set = |state: ReviewState| format!("UPDATE contents SET review_status = '{state}' WHERE id = 1;");
    for from in ReviewState::ALL {
        for to in ReviewState::ALL {
            let begin = forced(&set(*from), &guard, &names);
            let result = tried(connection, &format!("{begin} {}", set(*to)));
            if from == to || edges.contains(&(*from, *to)) {
                assert_eq!(result, Ok(()), "{from} to {to}");
            } else {
                assert_eq!(result, Err(format!("contentd: a content record cannot go from {from} to {to}")));
            }
        }
    }
}

#[test]
fn rows_begin_and_end_only_as_the_machines_do() {
    let (mut backend, _directory) = filled();
    let connection = backend.connection();
    tried(connection, TASK).unwrap();
    for state in TaskState::ALL.iter().filter(|state| **state != TaskState::Pending) {
        let text = refused(connection, &TASK.replace("'pending'", &format!("'{state}'")));
        assert!(text.contains("begins pending"), "{text}");
    }
    tried(connection, &format!("{TASK} {ATTEMPT}")).unwrap();
    for state in AttemptState::ALL {
        let sql = format!("{TASK} {}", ATTEMPT.replace("'intended'", &format!("'{state}'")));
        let is_beginning = matches!(state, AttemptState::Intended | AttemptState::Accepted);
        assert_eq!(tried(connection, &sql).is_ok(), is_beginning, "{state}");
    }
    let second = ATTEMPT.replace("'task-x', 1", "'task-x', 2").replace("'k'", "'k2'");
    let text = refused(connection, &format!("{TASK} {ATTEMPT} {second}"));
    assert!(text.contains("UNIQUE constraint failed"), "two live attempts: {text}");

    let task_2 = id(2);
    for (sql, why) in [
        (format!("DELETE FROM tasks WHERE id = '{task_2}'"), "only after its end"),
        (format!("DELETE FROM attempts WHERE task_id = '{task_2}'"), "only with its task"),
        ("DELETE FROM events".into(), "only with its task"),
        ("UPDATE events SET why = 'another'".into(), "never changed"),
        ("UPDATE attempts SET key = 'mine'".into(), "never used again"),
        ("UPDATE tasks SET generator = 'cheaper'".into(), "never changes"),
        ("DELETE FROM contents".into(), "is kept"),
        (format!("UPDATE tasks SET state = 'nonsense' WHERE id = '{task_2}'"), "a state that is none"),
        ("UPDATE tasks SET content_id = NULL WHERE state = 'completed'".into(), "CHECK constraint failed"),
        ("UPDATE tasks SET priority = 11".into(), "CHECK constraint failed"),
        ("UPDATE tasks SET keywords = 'no json'".into(), "CHECK constraint failed"),
        ("UPDATE tasks SET max_retries = 'many'".into(), "cannot store TEXT value"),
        ("UPDATE attempts SET deadline_at = NULL WHERE deadline_at IS NOT NULL".into(), "CHECK constraint failed"),
    ] {
        let text = refused(connection, &sql);
        assert!(text.contains(why), "{sql}: {text}");
    }
    let done = id(1);
    tried(connection, &format!("DELETE FROM tasks WHERE id = '{done}'")).expect("a completed task may go");
}

#[test]
fn a_deleted_task_takes_its_attempts_and_events() {
    let (mut backend, _directory) = filled();
    let connection = backend.connection();
    connection.batch_execute(&format!("DELETE FROM tasks WHERE id = '{}'", id(1))).unwrap();
    let left =
        "SELECT 'x' AS name FROM attempts WHERE task_id = 'ID' UNION ALL SELECT 'y' FROM events WHERE task_id = 'ID'";
    let left = diesel::sql_query(left.replace("ID", id(1).as_str()));
    assert_eq!(left.load::<Name>(connection).unwrap().len(), 0);
}

#[test]
fn the_guard_is_made_anew_at_every_start() {
    let (mut backend, directory) = filled();
    let before = guard_names(backend.connection());
    let weaker =
        "DROP TRIGGER guard_tasks_delete; CREATE TRIGGER guard_of_old BEFORE INSERT ON accounts BEGIN SELECT 1; END;";
    backend.connection().batch_execute(weaker).unwrap();
    drop(backend);
    let mut opened = open(&directory.path().join("contentd.db"));
    let mut after = guard_names(opened.backend.connection());
    after.sort();
    let mut before = before;
    before.sort();
    assert_eq!(after, before);
    assert!(refused(opened.backend.connection(), "DELETE FROM tasks").contains("only after its end"));
}

#[test]
fn a_refusal_of_the_guard_reaches_the_writer_and_leaves_nothing() {
    let (backend, queries, _directory) = real();
    let mut side = Side::of(backend, queries);
    let ada = side.account("ada").id;
    side.submit(vec![new(task(1, ada)), new(task(2, ada))]);
    let mut backend = side.into_backend();
    // The program believes in an edge that this database does not have.
    let stricter = "CREATE TRIGGER guard_test BEFORE UPDATE OF state ON tasks WHEN NEW.id LIKE '%1' BEGIN \
                    SELECT RAISE(ABORT, 'contentd: not this one'); END;";
    backend.connection().batch_execute(stricter).unwrap();
    let claim = |n| event_of(&id(n), START + 9, Event::Claimed { key: key_of(&id(n), 9) });
    let answers = contentd::store::Backend::commit(&mut backend, &[claim(1), claim(2)]).unwrap();
    assert!(answers[0].as_ref().unwrap_err().to_string().contains("not this one"), "{answers:?}");
    assert!(answers[1].is_ok());
    let attempts = diesel::sql_query("SELECT task_id AS name FROM attempts");
    let attempts: Vec<Name> = attempts.load(backend.connection()).unwrap();
    assert_eq!(attempts.len(), 1, "the attempt that was inserted before the refusal is gone");
}
