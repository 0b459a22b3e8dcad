//! Judges a database without writing to it: is it ours, is it whole, and does it hold what contentd promises.
//!
//! The promises stand here once more, as questions to the rows that do not use the code that writes them: what a bug or a
//! hand with a shell has done is found by another way than it was made. Every finding names its task and a cure. The
//! surprise: a database that nobody has open is read as *immutable*, because SQLite would make files beside it otherwise;
//! one with a log beside it is read through that log, as any reader of a live database does, and SQLite may then make the
//! log's index (`-shm`), which holds no data.

mod notice;
mod schedules;
mod totals;
mod versions;

use std::collections::BTreeMap;
use std::path::Path;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use super::migrate::Look;
use super::{OpenError, beside, check_pool, connection, failed_as, guard, migrate, read_only_uri};
use crate::finding::{Finding, Severity};
use crate::publish::PoolMove;
use crate::store::write::SUBMITTED_EVENT;
use crate::task::content::ReviewMove;
use crate::task::state::{TaskMove, is_consistent};
use crate::task::{AttemptState, TaskState};
use crate::text::no_regular_file;

/// Findings of one kind that are told; a broken database has more than anybody reads.
const TOLD: usize = 200;
const SUBJECT: &str = "database";
const BY_HAND: &str = "stop the daemon, keep a copy of the file, and restore the last backup: `contentd restore FILE`";

/// What a look at a whole database came to.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// Its newest migration.
    pub version: String,
    /// Whether a start brings it to a newer form.
    pub needs_migration: bool,
    /// What is in it, in the order of telling.
    pub counts: Vec<(String, u64)>,
    /// What is wrong or deserves a look. A sound database has none that is an error.
    pub findings: Vec<Finding>,
}

impl Judgement {
    /// Whether a daemon may run on it.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Error)
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Nullable<Text>)]
    subject: Option<String>,
    #[diesel(sql_type = Text)]
    found: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Whole {
    #[diesel(sql_type = Text)]
    integrity_check: String,
}

#[derive(QueryableByName)]
struct States {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Nullable<Text>)]
    attempt: Option<String>,
}

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    task_id: String,
    #[diesel(sql_type = Text)]
    event: String,
    #[diesel(sql_type = Nullable<Text>)]
    from_state: Option<String>,
    #[diesel(sql_type = Text)]
    to_state: String,
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Nullable<Text>)]
    version: Option<String>,
}

/// Judges the database in a file. A daemon may be running on it.
pub fn judge(path: &Path) -> Result<Judgement, OpenError> {
    let mut connection = open(path)?;
    match migrate::look(&mut connection).map_err(failed_as(path))? {
        Look::Ours => {}
        Look::Empty => {
            let (path, problem) = (path.to_owned(), "nothing is in it".to_owned());
            return Err(OpenError::NotADatabase { path, problem });
        }
        Look::Foreign(application_id) => return Err(OpenError::Foreign { path: path.to_owned(), application_id }),
        Look::Newer { theirs, ours } => return Err(OpenError::Newer { path: path.to_owned(), theirs, ours }),
    }
    // One state of a live database, for all questions.
    connection.transaction(judge_ours).map_err(failed_as(path))
}

/// Reads the database beside which nothing is to be made.
pub(super) fn open(path: &Path) -> Result<SqliteConnection, OpenError> {
    match path.metadata() {
        Ok(meta) => {
            if let Some(problem) = no_regular_file(meta.file_type()) {
                return Err(OpenError::BadPath { path: path.to_owned(), problem });
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        Err(source) => return Err(OpenError::Unusable { path: path.to_owned(), action: "reading it", source }),
    }
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    // A daemon keeps its log open; one that died leaves it. Without a log the file is all there is.
    let has_log = ["-wal", "-journal"].iter().any(|suffix| beside(&path, suffix).symlink_metadata().is_ok());
    let how = if has_log { "" } else { "&immutable=1" };
    let uri = format!("{}{how}", read_only_uri(&path));
    let mut connection = SqliteConnection::establish(&uri).map_err(failed_as(&path))?;
    connection::wait_for_locks(&mut connection).map_err(failed_as(&path))?;
    Ok(connection)
}

fn judge_ours(connection: &mut SqliteConnection) -> QueryResult<Judgement> {
    let newest = "SELECT max(version) AS version FROM __diesel_schema_migrations";
    let version = diesel::sql_query(newest).get_result::<Version>(connection)?.version.unwrap_or_default();
    let needs_migration = migrate::known_versions().last().is_some_and(|newest| *newest != version);
    let mut findings = integrity(connection)?;
    // Rows of a broken file say nothing.
    let counts = if findings.is_empty() {
        findings.extend(promises(connection)?);
        if !needs_migration {
            findings.extend(guard_faults(connection)?);
        }
        counts(connection, needs_migration)?
    } else {
        Vec::new()
    };
    Ok(Judgement { version, needs_migration, counts, findings })
}

fn integrity(connection: &mut SqliteConnection) -> QueryResult<Vec<Finding>> {
    let lines: Vec<Whole> = diesel::sql_query(format!("PRAGMA integrity_check({TOLD})")).load(connection)?;
    let faults = lines.into_iter().map(|line| line.integrity_check).filter(|line| line != "ok");
    let cure = "stop the daemon, keep a copy, and restore the last backup: `contentd restore FILE`; \
                `sqlite3 FILE .recover` shows what is readable";
    let mut findings: Vec<Finding> = faults.map(|fault| Finding::error(SUBJECT, fault, cure)).collect();
    let orphans = "SELECT \"table\" AS subject, 'row ' || coalesce(rowid, '?') || ' of ' || \"table\" || \
                   ' belongs to a row of ' || parent || ' that is not there' AS found FROM pragma_foreign_key_check";
    findings.extend(ask(connection, orphans, BY_HAND)?);
    Ok(findings)
}

fn ask(connection: &mut SqliteConnection, sql: &str, cure: &str) -> QueryResult<Vec<Finding>> {
    let rows: Vec<Row> = diesel::sql_query(format!("{sql} LIMIT {TOLD}")).load(connection)?;
    let finding = |row: Row| {
        let subject = row.subject.unwrap_or_else(|| SUBJECT.to_owned());
        let cure = cure.replace("TASK", &subject);
        Finding::error(subject, row.found, cure)
    };
    Ok(rows.into_iter().map(finding).collect())
}

/// The promises that the rows do not keep; none in a sound database. To be asked inside a transaction where somebody writes.
pub fn promises(connection: &mut SqliteConnection) -> QueryResult<Vec<Finding>> {
    let alive = words(AttemptState::ALL.iter().filter(|state| state.may_be_alive()).map(|state| state.as_str()));
    let active = words(TaskState::ALL.iter().filter(|state| state.is_active()).map(|state| state.as_str()));
    let look = "look at the generator which of its jobs lives, and `contentctl settle TASK` or `contentctl retry TASK --abandon`";
    let wake = "`contentctl poll TASK` sets it going again; report it";
    let asked = [
        (
            format!(
                "SELECT task_id AS subject, 'attempts ' || group_concat(number, ', ') || ' may have a live job each' AS found \
                 FROM attempts WHERE state IN ({alive}) GROUP BY task_id HAVING count(*) > 1"
            ),
            look,
        ),
        (
            format!(
                "SELECT a.task_id AS subject, 'attempt ' || a.number || ' is ' || a.state || ', and the task is at attempt ' || \
                 t.attempt AS found FROM attempts a JOIN tasks t ON t.id = a.task_id \
                 WHERE a.state IN ({alive}) AND a.number <> t.attempt"
            ),
            look,
        ),
        (
            "SELECT t.id AS subject, 'is at attempt ' || t.attempt || ' and has ' || \
             (SELECT count(*) FROM attempts a WHERE a.task_id = t.id) || ' of them' AS found FROM tasks t \
             WHERE t.attempt <> (SELECT count(*) FROM attempts a WHERE a.task_id = t.id)"
                .to_owned(),
            BY_HAND,
        ),
        (
            format!(
                "SELECT id AS subject, 'is ' || state || ' and has no time at which it wakes' AS found FROM tasks \
                 WHERE state IN ({active}) AND wake_at IS NULL"
            ),
            wake,
        ),
    ];
    let mut findings = Vec::new();
    for (sql, cure) in &asked {
        findings.extend(ask(connection, sql, cure)?);
    }
    for (sql, cure) in PIECES.iter().chain(COUNTERS).chain(TRAIL) {
        findings.extend(ask(connection, sql, cure)?);
    }
    findings.extend(versions::promises(connection)?);
    findings.extend(totals::promises(connection)?);
    for (sql, cure) in check_pool::promises(connection)? {
        findings.extend(ask(connection, sql, cure)?);
    }
    findings.extend(states(connection)?);
    findings.extend(steps(connection)?);
    findings.extend(schedules::promises(connection)?);
    findings.extend(notice::promises(connection)?);
    Ok(findings)
}

const PIECES: &[(&str, &str)] = &[
    (
        "SELECT t.id AS subject, 'is completed, and its content record ' || coalesce(t.content_id, '(none)') || CASE \
         WHEN c.id IS NULL THEN ' is not there' WHEN c.task_id <> t.id THEN ' is of ' || c.task_id \
         ELSE ' is not the newest of it' END AS found FROM tasks t LEFT JOIN contents c ON c.id = t.content_id \
         WHERE t.state = 'completed' AND (c.id IS NULL OR c.task_id <> t.id \
         OR c.version <> (SELECT max(version) FROM contents o WHERE o.task_id = t.id))",
        BY_HAND,
    ),
    (
        "SELECT coalesce((SELECT id FROM tasks t WHERE t.id = c.task_id), 'content ' || c.id) AS subject, \
         'content ' || c.id || ' is ' || c.review_status || ' and has ' || c.entries || ' entries in the publish pool' AS found \
         FROM (SELECT id, task_id, review_status, (SELECT count(*) FROM publish_pool p \
         WHERE p.content_id = contents.id AND p.status <> 'removed') AS entries FROM contents) c \
         WHERE c.entries <> (c.review_status = 'approved') AND NOT (c.entries = 0 AND EXISTS \
         (SELECT 1 FROM publish_pool p WHERE p.content_id = c.id AND p.status = 'removed'))",
        "`contentctl content reject ID` and `contentctl content approve ID` make its entry anew",
    ),
    (
        "SELECT coalesce((SELECT id FROM tasks t WHERE t.id = c.task_id), 'content ' || c.id) AS subject, \
         'content ' || c.id || ' is ' || c.publish_status || ' and its entry in the publish pool is ' || \
         coalesce(p.status, 'not there') AS found FROM contents c \
         LEFT JOIN publish_pool p ON p.content_id = c.id AND p.status <> 'removed' \
         WHERE c.publish_status IS NOT CASE WHEN p.id IS NULL THEN 'unpublished' WHEN p.status = 'published' THEN 'published' \
         ELSE 'pooled' END",
        BY_HAND,
    ),
];

const COUNTERS: &[(&str, &str)] = &[
    (
        "SELECT 'counter ' || c.state AS subject, 'says ' || c.count || ', and so many tasks are ' || c.state || ': ' || c.real \
         AS found FROM (SELECT state, count, (SELECT count(*) FROM tasks t WHERE t.state = s.state) AS real \
         FROM state_counts s) c WHERE c.count <> c.real",
        BY_HAND,
    ),
    (
        "SELECT 'lane ' || c.generator || ' of account ' || c.account_id AS subject, \
         'says ' || c.pending || ', and so many of its tasks are pending: ' || c.real AS found \
         FROM (SELECT generator, account_id, pending, (SELECT count(*) FROM tasks t WHERE t.state = 'pending' \
         AND t.generator = l.generator AND t.account_id = l.account_id) AS real FROM lanes l) c WHERE c.pending <> c.real",
        BY_HAND,
    ),
];

const TRAIL: &[(&str, &str)] = &[
    (
        "SELECT task_id AS subject, 'its audit row ' || id || ' (' || event || ') begins at ' || \
         coalesce(from_state, 'nothing') || ' after ' || coalesce(before, 'nothing') AS found \
         FROM (SELECT id, task_id, event, from_state, lag(to_state) OVER (PARTITION BY task_id ORDER BY id) AS before \
         FROM events) WHERE from_state IS NOT before",
        BY_HAND,
    ),
    (
        "SELECT t.id AS subject, 'is ' || t.state || ', and its audit rows end at ' || coalesce(e.to_state, 'nothing') AS found \
         FROM tasks t LEFT JOIN events e ON e.id = (SELECT max(id) FROM events o WHERE o.task_id = t.id) \
         WHERE e.to_state IS NOT t.state",
        BY_HAND,
    ),
    (
        "SELECT a.task_id AS subject, 'attempt ' || a.number || ' is ' || a.state || ', and its audit rows end at ' || \
         coalesce(e.attempt_to, 'nothing') AS found FROM attempts a LEFT JOIN events e ON e.id = (SELECT max(id) FROM events o \
         WHERE o.task_id = a.task_id AND o.attempt = a.number AND o.attempt_to IS NOT NULL) \
         WHERE e.attempt_to IS NOT a.state",
        BY_HAND,
    ),
];

/// Tasks whose state and attempt contradict each other.
fn states(connection: &mut SqliteConnection) -> QueryResult<Vec<Finding>> {
    let pairs = "SELECT min(t.id) AS id, t.state AS state, a.state AS attempt FROM tasks t \
                 LEFT JOIN attempts a ON a.task_id = t.id AND a.number = t.attempt GROUP BY t.state, a.state";
    let mut findings = Vec::new();
    for pair in diesel::sql_query(pairs).load::<States>(connection)? {
        let state = pair.state.parse::<TaskState>();
        let attempt = pair.attempt.as_deref().map(str::parse::<AttemptState>).transpose();
        let is_good = matches!((&state, &attempt), (Ok(state), Ok(attempt)) if is_consistent(*state, *attempt));
        if is_good {
            continue;
        }
        let told = pair.attempt.as_deref().unwrap_or("none");
        // `min` named one; the others are as bad.
        let sql = "SELECT t.id AS subject, 'is ' || t.state || ', and its attempt is ' || coalesce(a.state, 'none') AS found \
                   FROM tasks t LEFT JOIN attempts a ON a.task_id = t.id AND a.number = t.attempt";
        let rows = ask(
            connection,
            &format!(
                "{sql} WHERE t.state = {} AND a.state IS {}",
                quoted(&pair.state),
                match &pair.attempt {
                    Some(attempt) => quoted(attempt),
                    None => "NULL".to_owned(),
                }
            ),
            BY_HAND,
        )?;
        if rows.is_empty() {
            findings.push(Finding::error(pair.id, format!("is {}, and its attempt is {told}", pair.state), BY_HAND));
        }
        findings.extend(rows);
    }
    Ok(findings)
}

/// Audit rows that the table of transitions does not have.
fn steps(connection: &mut SqliteConnection) -> QueryResult<Vec<Finding>> {
    let kinds =
        "SELECT min(task_id) AS task_id, event, from_state, to_state FROM events GROUP BY event, from_state, to_state";
    let steps: Vec<Step> = diesel::sql_query(kinds).load(connection)?;
    let told = |step: Step| {
        let from = step.from_state.as_deref().unwrap_or("nothing");
        let found = format!("an audit row says {}: {from} → {}, which no contentd does", step.event, step.to_state);
        Finding::error(step.task_id, found, BY_HAND)
    };
    Ok(steps.into_iter().filter(|step| !is_step(step)).map(told).collect())
}

fn is_step(step: &Step) -> bool {
    let Ok(to) = step.to_state.parse::<TaskState>() else { return false };
    let Some(from) = step.from_state.as_deref() else {
        return step.event == SUBMITTED_EVENT && to == TaskState::Pending;
    };
    let Ok(from) = from.parse::<TaskState>() else { return false };
    let is_aside = step.event.parse::<PoolMove>().is_ok() || step.event.parse::<ReviewMove>().is_ok();
    match step.event.parse::<TaskMove>() {
        Ok(event) => from.target(event) == Some(to),
        Err(_) => is_aside && from == to,
    }
}

/// Triggers of the guard that are not as this program would make them. Every start makes them anew.
fn guard_faults(connection: &mut SqliteConnection) -> QueryResult<Vec<Finding>> {
    let sql = "SELECT name AS subject, sql AS found FROM sqlite_schema WHERE type = 'trigger' AND substr(name, 1, 6) = 'guard_'";
    let found: BTreeMap<String, String> = diesel::sql_query(sql)
        .load::<Row>(connection)?
        .into_iter()
        .map(|row| (row.subject.unwrap_or_default(), row.found))
        .collect();
    let expected: BTreeMap<String, String> = guard::each().into_iter().collect();
    if found == expected {
        return Ok(Vec::new());
    }
    let names: Vec<&str> =
        expected.iter().filter(|(name, sql)| found.get(*name) != Some(sql)).map(|(name, _)| name.as_str()).collect();
    let found = format!(
        "the guard of the rows is another than this contentd's: {}",
        if names.is_empty() { "it has more triggers".to_owned() } else { names.join(", ") }
    );
    Ok(vec![Finding::warning(SUBJECT, found, "nothing: a start makes it anew")])
}

fn counts(connection: &mut SqliteConnection, is_older: bool) -> QueryResult<Vec<(String, u64)>> {
    let mut sql = "SELECT 'tasks' AS name, count(*) AS count FROM tasks \
         UNION ALL SELECT * FROM (SELECT 'tasks ' || state, count(*) FROM tasks GROUP BY state ORDER BY state) \
         UNION ALL SELECT 'attempts', count(*) FROM attempts \
         UNION ALL SELECT 'audit rows', count(*) FROM events \
         UNION ALL SELECT 'content records', count(*) FROM contents \
         UNION ALL SELECT 'pool entries', count(*) FROM publish_pool \
         UNION ALL SELECT 'accounts', count(*) FROM accounts"
        .to_owned();
    if !is_older {
        sql += " UNION ALL SELECT 'tasks that wait for a release', count(*) FROM tasks \
                WHERE restored_at IS NOT NULL AND state = 'held' \
                UNION ALL SELECT 'pool entries that wait for a release', count(*) FROM publish_pool \
                WHERE status = 'held'";
    }
    let rows: Vec<Count> = diesel::sql_query(sql).load(connection)?;
    Ok(rows.into_iter().map(|row| (row.name, u64::try_from(row.count).unwrap_or(0))).collect())
}

fn words<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(quoted).collect::<Vec<_>>().join(", ")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection;

    use super::*;
    use crate::store::sqlite;

    /// Rows that the guard would never let in, each with the words of its finding.
    const BROKEN: &[(&str, &str)] = &[
        ("UPDATE notices SET kind = 'resolved'", "says that it is over after resolved"),
        ("UPDATE notices SET kind = 'resolved' WHERE seq = 2", "it counts as told"),
        ("UPDATE deliveries SET state = 'waiting' WHERE id = 1", "and 1 before it waits"),
        ("UPDATE tasks SET wake_at = NULL WHERE id = 'task-active'", "has no time at which it wakes"),
        ("UPDATE tasks SET content_id = NULL, state = 'failed' WHERE id = 'task-done'", "audit rows end at completed"),
        ("DELETE FROM contents", "belongs to a row of contents"),
        ("DELETE FROM publish_pool", "has 0 entries in the publish pool"),
        ("DELETE FROM settings WHERE name = 'publish_seed'", "nothing can be handed out without it"),
        ("UPDATE contents SET publish_status = 'unpublished'", "is unpublished and its entry"),
        ("UPDATE attempts SET state = 'ended_lost' WHERE task_id = 'task-active'", "its attempt is ended_lost"),
        ("UPDATE attempts SET state = 'rejected' WHERE task_id = 'task-done'", "its audit rows end at ended_completed"),
        ("DELETE FROM attempts WHERE task_id = 'task-done'", "has 0 of them"),
        ("UPDATE tasks SET attempt = 0 WHERE id = 'task-active'", "and the task is at attempt 0"),
        ("UPDATE events SET from_state = 'held' WHERE event = 'completed'", "begins at held after"),
        ("UPDATE events SET event = 'started' WHERE event = 'completed'", "which no contentd does"),
        ("DELETE FROM events WHERE event = 'submitted' AND task_id = 'task-wait'", "its audit rows end at nothing"),
        ("UPDATE state_counts SET count = 7 WHERE state = 'pending'", "says 7"),
        ("UPDATE lanes SET pending = 7", "so many of its tasks are pending"),
        ("UPDATE lanes SET words = 7", "are not those of its tasks"),
        ("UPDATE lanes SET cancelled = 7", "are not those of its tasks"),
        (
            "DROP INDEX attempts_alive; INSERT INTO attempts SELECT task_id, 2, generator, 'k9', 'unknown', NULL, NULL, intended_at, \
          NULL, NULL, NULL, NULL, NULL, 1, NULL, 0, 0, 0, 0, NULL, 0, 0, 0, 0, NULL, '{}', NULL, NULL, 0, 0, 0 FROM attempts \
          WHERE task_id = 'task-active'",
            "attempts 1, 2 may have a live job each",
        ),
    ];

    fn rows() -> String {
        let task = |id: &str, state: &str, attempt: u8, completed: &str, wake: &str, content: &str| {
            format!(
                "INSERT INTO tasks (id, account_id, generator, state, priority, auto_approve, attempt, retry_count, max_retries, \
                 time_limit_s, created_at, queued_at, completed_at, wake_at, updated_at, content_id, submitted_by, keywords, topic) \
                 VALUES ('{id}', 1, 'g', '{state}', 5, 1, {attempt}, 0, 3, 60, 1, 1, {completed}, {wake}, 1, {content}, '0:r', '[]', 't');"
            )
        };
        let attempt = |task: &str, state: &str| {
            format!(
                "INSERT INTO attempts (task_id, number, generator, key, state, intended_at, sends, empty_sweeps, missing, bad_fetches, \
                 bad_answers, is_ready, is_resend_due, is_cancel_refused, polls, vars) \
                 VALUES ('{task}', 1, 'g', 'key-{task}', '{state}', 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, '{{}}');"
            )
        };
        let event = |task: &str, event: &str, from: &str, to: &str, attempt: u8, attempt_to: &str| {
            format!(
                "INSERT INTO events (task_id, at, event, from_state, to_state, attempt, attempt_to, who) \
                 VALUES ('{task}', 1, '{event}', {from}, '{to}', {attempt}, {attempt_to}, 'contentd');"
            )
        };
        let mut sql = String::from("INSERT INTO accounts (name, is_enabled, created_at) VALUES ('a', 1, 1);");
        sql += "INSERT INTO contents (task_id, account_id, version, title, summary, images, word_count, review_status, publish_status, \
                content_hash, created_at, updated_at, content, html_content) \
                VALUES ('task-done', 1, 1, 't', 's', '[]', 1, 'approved', 'pooled', 'h', 1, 1, 'c', 'c');";
        sql += "INSERT INTO publish_pool (content_id, account_id, priority, scheduled_at, status, retry_count, created_at) \
                VALUES (1, 1, 5, 1, 'pending', 0, 1);";
        for (id, alarm) in [("n-1", "held"), ("n-2", "backlog"), ("n-3", "held")] {
            sql += &format!(
                "INSERT INTO notices (id, kind, alarm, rule, subject, severity, text, value, threshold, since, at) \
                 VALUES ('{id}', 'firing', '{alarm}', '{alarm}', '', 'warning', 't', 1.0, 0.0, 1, 1); \
                 INSERT INTO deliveries (notice_id, hook, state, tries, due_at) VALUES ('{id}', 'h', 'delivered', 1, 1);"
            );
        }
        sql += "INSERT INTO alarms (name, rule, subject, state, severity, since, told_at, told_severity, is_told, value, threshold, text) \
                VALUES ('backlog', 'backlog', '', 'firing', 'warning', 1, 1, 'warning', 1, 1.0, 0.0, 't');";
        sql += &task("task-wait", "pending", 0, "NULL", "NULL", "NULL");
        sql += &event("task-wait", "submitted", "NULL", "pending", 0, "NULL");
        for (id, last) in [("task-active", "submitted"), ("task-done", "completed")] {
            let is_done = last == "completed";
            let (end, wake, content) = if is_done { ("2", "NULL", "1") } else { ("NULL", "2", "NULL") };
            sql += &task(id, last, 1, end, wake, content);
            sql += &attempt(id, if is_done { "ended_completed" } else { "accepted" });
            sql += &event(id, "submitted", "NULL", "pending", 0, "NULL");
            sql += &event(id, "claimed", "'pending'", "submitting", 1, "'intended'");
            sql += &event(id, "accepted", "'submitting'", "submitted", 1, "'accepted'");
            if is_done {
                sql += &event(id, "completed", "'submitted'", "completed", 1, "'ended_completed'");
            }
        }
        sql
    }

    fn made(path: &Path, broken: &str) -> Judgement {
        drop(sqlite::open(path, 1).expect("it is made"));
        let mut connection = SqliteConnection::establish(&path.to_string_lossy()).expect("opened");
        for (name, _) in guard::each() {
            connection.batch_execute(&format!("DROP TRIGGER {name}")).expect("dropped");
        }
        connection.batch_execute("PRAGMA foreign_keys = OFF").expect("set");
        connection.batch_execute(&rows()).expect("filled");
        connection.batch_execute(broken).expect("broken");
        drop(connection);
        judge(path).expect("it can be judged")
    }

    #[test]
    fn every_broken_promise_is_found_and_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (number, (broken, words)) in BROKEN.iter().enumerate() {
            let judgement = made(&directory.path().join(format!("{number}.db")), broken);
            let found: Vec<&str> = judgement.findings.iter().map(|finding| finding.found.as_str()).collect();
            assert!(!judgement.is_sound() && found.iter().any(|found| found.contains(words)), "{broken}: {found:?}");
        }
    }

    #[test]
    fn a_sound_database_is_judged_without_a_trace() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("good.db");
        let judgement = made(&path, "");
        assert!(judgement.is_sound(), "{:?}", judgement.findings);
        assert!(judgement.findings.iter().all(|finding| finding.found.contains("guard")), "its triggers were dropped");
        assert_eq!(judgement.counts[0], ("tasks".to_owned(), 3));
        drop(sqlite::open(&path, 1).expect("it opens"));
        let before = std::fs::read(&path).expect("read");
        let listed = || std::fs::read_dir(directory.path()).expect("listed").count();
        let files = listed();
        let judgement = judge(&path).expect("it can be judged");
        assert_eq!(judgement.findings, []);
        assert_eq!((std::fs::read(&path).expect("read"), listed()), (before, files), "nothing was written");
        // A live one is read through its log.
        let _live = sqlite::open(&path, 1).expect("it opens");
        assert!(judge(&path).expect("it can be judged").is_sound());
    }
}
