//! What contentd promises, as questions to its database. Every row of an answer is a broken promise.
//!
//! A database is read where it lies, read-only, or as a copy when nobody has it open: the last one who closes a database tidies
//! up after it, and the next daemon must meet what the dead one left.

use std::fs;
use std::path::Path;

use diesel::prelude::*;
use diesel::sql_types::Text;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// The column `line` of each row.
pub fn lines(database: &Path, sql: &str) -> Vec<String> {
    let uri = format!("file:{}?mode=ro", database.display());
    let mut connection = SqliteConnection::establish(&uri).unwrap();
    let rows: Vec<Line> = diesel::sql_query(sql).load(&mut connection).unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows.into_iter().map(|row| row.line).collect()
}

/// The number that a query with one row and one column `line` gives.
pub fn count(database: &Path, sql: &str) -> usize {
    lines(database, sql)[0].parse().unwrap()
}

/// What must hold at every moment.
const ALWAYS: &[(&str, &str)] = &[
    (
        "is unfinished without an owner or a time to wake",
        "SELECT id || ' ' || state AS line FROM tasks
      WHERE state IN ('submitting', 'submitted', 'processing', 'cancelling') AND wake_at IS NULL",
    ),
    (
        "has two jobs that may be alive",
        "SELECT task_id AS line FROM attempts
      WHERE state IN ('intended', 'accepted', 'unknown') GROUP BY task_id HAVING count(*) > 1",
    ),
    (
        "is completed without exactly one piece",
        "SELECT id AS line FROM tasks WHERE state = 'completed'
      AND (content_id IS NULL OR (SELECT count(*) FROM contents WHERE task_id = tasks.id) <> 1)",
    ),
    (
        "is an approved piece without exactly one pool entry",
        "SELECT id || ' of ' || task_id AS line FROM contents
      WHERE review_status = 'approved'
      AND (SELECT count(*) FROM publish_pool WHERE content_id = contents.id AND status <> 'removed') <> 1",
    ),
    (
        "has a step in its history that begins where no step ended",
        "SELECT task_id || ' ' || event AS line FROM (
      SELECT task_id, event, from_state, lag(to_state) OVER (PARTITION BY task_id ORDER BY id) AS before FROM events)
      WHERE from_state IS NOT before",
    ),
    (
        "does not stand where its history ends",
        "SELECT id || ' ' || state AS line FROM tasks WHERE state IS NOT (
      SELECT to_state FROM events WHERE task_id = tasks.id ORDER BY id DESC LIMIT 1)",
    ),
    ("is damaged", "SELECT integrity_check AS line FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
    ("has a row of nobody", "SELECT \"table\" AS line FROM pragma_foreign_key_check"),
];

/// Every promise that the database breaks.
pub fn broken(database: &Path) -> Vec<String> {
    let rows = |(what, sql): &(&str, &str)| {
        let what = (*what).to_owned();
        lines(database, sql).into_iter().map(move |line| format!("{line} {what}"))
    };
    ALWAYS.iter().flat_map(rows).collect()
}

/// The same of a database that a dead daemon left, which is not touched.
pub fn broken_on_disk(database: &Path) -> Vec<String> {
    let copy = tempfile::tempdir().unwrap();
    let name = |ending: &str| format!("contentd.db{ending}");
    for ending in ["", "-wal"] {
        let from = database.with_file_name(name(ending));
        if from.exists() {
            fs::copy(&from, copy.path().join(name(ending))).unwrap();
        }
    }
    let copied = copy.path().join(name(""));
    // Killed before its first commit, it left nothing to hold anything against.
    let is_made =
        fs::metadata(&copied).is_ok_and(|meta| meta.len() > 0) || copied.with_file_name(name("-wal")).exists();
    if is_made && has_tasks(&copied) { broken(&copied) } else { Vec::new() }
}

fn has_tasks(database: &Path) -> bool {
    count(database, "SELECT count(*) || '' AS line FROM sqlite_schema WHERE name IN ('tasks', 'events', 'lanes')") == 3
}

#[test]
fn a_broken_promise_is_seen() {
    let home = crate::live::Home::new("", "");
    let daemon = home.start();
    daemon.add_account("blog");
    let id = daemon.submit(serde_json::json!({ "account": "blog", "topic": "Tea" }));
    daemon.until_state(&id, "completed");
    assert_eq!(daemon.stop(), Some(0));
    assert!(broken(&home.database()).is_empty());
    let harm = |sql: &str| {
        use diesel::connection::SimpleConnection;
        let mut connection = SqliteConnection::establish(home.database().to_str().unwrap()).unwrap();
        let guard: Vec<Line> = diesel::sql_query("SELECT name AS line FROM sqlite_schema WHERE name LIKE 'guard_%'")
            .load(&mut connection)
            .unwrap();
        let unguarded: String = guard.iter().map(|row| format!("DROP TRIGGER {};", row.line)).collect();
        connection.batch_execute(&format!("PRAGMA ignore_check_constraints = ON; {unguarded}{sql}")).unwrap();
        broken(&home.database())
    };
    // Each is seen beside those before it.
    let harms = [
        ("DELETE FROM publish_pool", "pool entry"),
        ("DELETE FROM events WHERE id = (SELECT max(id) FROM events)", "where its history ends"),
        ("DELETE FROM events WHERE id = 2", "where no step ended"),
        ("UPDATE tasks SET content_id = NULL", "exactly one piece"),
        ("UPDATE tasks SET state = 'submitted', completed_at = NULL, wake_at = NULL", "time to wake"),
    ];
    for (sql, what) in harms {
        let seen = harm(sql);
        assert!(seen.iter().any(|line| line.contains(what)), "{sql}: {seen:?}");
    }
}
