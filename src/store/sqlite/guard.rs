//! The guard: triggers that hold the rows to the program's own transition tables, whoever writes them.
//!
//! Made from [`write::task_edges`], [`write::attempt_edges`] and [`write::review_edges`] and replaced at every start in one
//! transaction, so that the database never guards another table than the program's. No look-up table: the pairs stand
//! as literals, which costs a third less. The messages are literals too: SQLite builds them only since 3.47, and
//! an older shell could not open a database whose triggers it cannot parse.

use std::fmt::Display;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;

use crate::publish::key::SEED_SETTING;
use crate::publish::state::pool_edges;
use crate::store::write;
use crate::task::content::{PoolState, ReviewState};
use crate::task::{AttemptState, TaskState};

/// What the names of all its triggers begin with; the migrations' own triggers begin otherwise.
const PREFIX: &str = "guard_";

#[derive(QueryableByName)]
struct TriggerName {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Replaces the guard. Inside a transaction of the caller's.
pub fn install(connection: &mut SqliteConnection) -> QueryResult<()> {
    let old =
        diesel::sql_query("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND substr(name, 1, 6) = 'guard_'");
    for trigger in old.load::<TriggerName>(connection)? {
        connection.batch_execute(&format!("DROP TRIGGER \"{}\"", trigger.name.replace('"', "\"\"")))?;
    }
    connection.batch_execute(&triggers())
}

/// Each trigger of the guard by its name, as SQLite keeps it.
pub fn each() -> Vec<(String, String)> {
    let whole = triggers();
    let parts = whole.split_inclusive("\nEND;\n").filter(|part| part.starts_with("CREATE"));
    parts
        .filter_map(|part| {
            let sql = part.trim_end().trim_end_matches(';');
            Some((sql.split_whitespace().nth(2)?.to_owned(), sql.to_owned()))
        })
        .collect()
}

/// The whole guard as SQL.
pub fn triggers() -> String {
    let mut sql = String::new();
    sql += &edges("tasks", "a task", "state", TaskState::ALL, &write::task_edges());
    sql += &edges("attempts", "an attempt", "state", AttemptState::ALL, &write::attempt_edges());
    sql += &edges("contents", "a content record", "review_status", ReviewState::ALL, &write::review_edges());
    sql += &edges("publish_pool", "a pool entry", "status", PoolState::ALL, &pool_edges());

    sql += &refuse(
        "tasks_insert",
        "INSERT ON tasks",
        "NEW.state <> 'pending' OR NEW.attempt <> 0",
        "a task begins pending, before its first attempt",
    );
    sql += &refuse(
        "tasks_identity",
        "UPDATE OF seq, id, account_id, generator, created_at ON tasks",
        "NEW.seq <> OLD.seq OR NEW.id <> OLD.id OR NEW.account_id <> OLD.account_id \
         OR NEW.generator <> OLD.generator OR NEW.created_at <> OLD.created_at",
        "what a task is and for whom never changes",
    );
    sql += &refuse(
        "tasks_delete",
        "DELETE ON tasks",
        &format!("OLD.state NOT IN ({})", list(TaskState::ALL.iter().filter(|state| state.is_final()))),
        "a task is deleted only after its end",
    );

    // Accepted: a person names the job of a task whose attempt has ended.
    sql += &refuse(
        "attempts_insert",
        "INSERT ON attempts",
        "NEW.state NOT IN ('intended', 'accepted')",
        "an attempt begins intended, or accepted where a person names its job",
    );
    // A doubt is measured from its intent, which moves with a clock that is set.
    sql += &refuse(
        "attempts_identity",
        "UPDATE OF task_id, number, generator, key, intended_at ON attempts",
        "NEW.task_id <> OLD.task_id OR NEW.number <> OLD.number OR NEW.generator <> OLD.generator \
         OR NEW.key <> OLD.key OR (NEW.intended_at <> OLD.intended_at AND OLD.state NOT IN ('intended', 'unknown'))",
        "an attempt and its key are never used again",
    );
    // A foreign key's deletion runs after its task is gone.
    let task_stands = "EXISTS (SELECT 1 FROM tasks WHERE id = OLD.task_id)";
    sql += &refuse("attempts_delete", "DELETE ON attempts", task_stands, "an attempt is deleted only with its task");
    sql += &refuse("events_delete", "DELETE ON events", task_stands, "the audit trail is deleted only with its task");
    sql += &refuse("events_update", "UPDATE ON events", "1", "the audit trail is never changed");

    sql += &refuse(
        "contents_insert",
        "INSERT ON contents",
        "NEW.review_status NOT IN ('pending_review', 'approved')",
        "a content record begins approved or waits for a review",
    );
    sql += &refuse("contents_delete", "DELETE ON contents", "1", "a content record outlives its task and is kept");
    sql += &pool_triggers();
    sql
}

/// What no state says: a piece is handed out under a new number each time, and what is out stays out.
fn pool_triggers() -> String {
    let mut sql = refuse(
        "publish_pool_insert",
        "INSERT ON publish_pool",
        "NEW.status NOT IN ('pending', 'held') OR NEW.fence <> 0",
        "a pool entry begins pending or held, and was never handed out",
    );
    sql += &refuse(
        "publish_pool_identity",
        "UPDATE OF id, content_id, account_id, created_at ON publish_pool",
        "NEW.id <> OLD.id OR NEW.content_id <> OLD.content_id OR NEW.account_id <> OLD.account_id \
         OR NEW.created_at <> OLD.created_at",
        "what a pool entry is and for whom never changes",
    );
    sql += &refuse(
        "publish_pool_fence",
        "UPDATE OF fence, status ON publish_pool",
        "NEW.fence < OLD.fence OR (NEW.status = 'publishing' AND OLD.status <> 'publishing' AND NEW.fence = OLD.fence)",
        "a fencing number only grows, with each handing out",
    );
    sql += &refuse("publish_pool_delete", "DELETE ON publish_pool", "1", "a pool entry is kept");
    sql += &refuse(
        "handouts_identity",
        "UPDATE OF pool_id, fence, key, holder, is_publisher, request, handed_out_at ON handouts",
        "NEW.pool_id <> OLD.pool_id OR NEW.fence <> OLD.fence OR NEW.key <> OLD.key OR NEW.holder <> OLD.holder \
         OR NEW.is_publisher <> OLD.is_publisher OR NEW.request IS NOT OLD.request \
         OR NEW.handed_out_at <> OLD.handed_out_at",
        "a handing out and its key are never used again",
    );
    sql += &refuse("handouts_delete", "DELETE ON handouts", "1", "a handing out is kept");
    sql += &refuse("publications_update", "UPDATE ON publications", "1", "where a piece went is never changed");
    sql += &refuse("publications_delete", "DELETE ON publications", "1", "where a piece went is kept");

    let is_seed = format!("OLD.name = '{SEED_SETTING}'");
    let seed_is_kept = "the seed of the publish keys is kept: the keys that it made would be lost";
    sql += &refuse("settings_publish_seed_update", "UPDATE ON settings", &is_seed, seed_is_kept);
    sql += &refuse("settings_publish_seed_delete", "DELETE ON settings", &is_seed, seed_is_kept);
    // An INSERT OR REPLACE is neither.
    let is_second =
        format!("NEW.name = '{SEED_SETTING}' AND EXISTS (SELECT 1 FROM settings WHERE name = '{SEED_SETTING}')");
    sql += &refuse("settings_publish_seed_insert", "INSERT ON settings", &is_second, seed_is_kept);
    sql
}

/// A trigger that refuses each change of `column` that the table does not have, and names both states.
fn edges<S>(table: &str, noun: &str, column: &str, states: &[S], edges: &[(S, S)]) -> String
where
    S: Copy + PartialEq + Display,
{
    let mut allowed = String::new();
    let mut refusals = String::new();
    for from in states {
        let targets: Vec<S> = states.iter().copied().filter(|to| edges.contains(&(*from, *to))).collect();
        if !targets.is_empty() {
            allowed += &format!("    OR (OLD.{column} = '{from}' AND NEW.{column} IN ({}))\n", list(targets.iter()));
        }
        for to in states.iter().filter(|to| *to != from && !targets.contains(to)) {
            refusals += &format!(
                "        WHEN OLD.{column} = '{from}' AND NEW.{column} = '{to}' \
                 THEN RAISE(ABORT, 'contentd: {noun} cannot go from {from} to {to}')\n"
            );
        }
    }
    format!(
        "CREATE TRIGGER {PREFIX}{table}_{column} BEFORE UPDATE OF {column} ON {table} WHEN NOT (\n    \
         OLD.{column} = NEW.{column}\n{allowed}) BEGIN\n    SELECT CASE\n{refusals}        \
         ELSE RAISE(ABORT, 'contentd: {noun} cannot go to a state that is none')\n    END;\nEND;\n"
    )
}

fn refuse(name: &str, event: &str, condition: &str, message: &str) -> String {
    format!(
        "CREATE TRIGGER {PREFIX}{name} BEFORE {event} WHEN {condition} BEGIN\n    \
         SELECT RAISE(ABORT, 'contentd: {message}');\nEND;\n"
    )
}

fn list<S: Display>(states: impl Iterator<Item = S>) -> String {
    states.map(|state| format!("'{state}'")).collect::<Vec<_>>().join(", ")
}
