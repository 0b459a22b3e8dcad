//! What contentd must do, function by function of the system that it replaces, on the real binary.
//!
//! One module for each old system, one test for each old function, under the old name, so that `docs/names.md` can point
//! at both. The generator is the sample with the configuration that ships as an example. The surprise: where a test needs
//! the time to be past, it moves what is stored (the daemon stopped) and never the clock.

#[path = "support/daemon.rs"]
mod daemon;

#[path = "mission/integration.rs"]
mod integration;
#[path = "mission/names.rs"]
mod names;
#[path = "mission/queue_and_workers.rs"]
mod queue_and_workers;
#[path = "mission/result_handler.rs"]
mod result_handler;
#[path = "mission/status_poller.rs"]
mod status_poller;
#[path = "mission/task_management.rs"]
mod task_management;

use diesel::Connection;
use diesel::connection::SimpleConnection;
use serde_json::Value;

use daemon::Daemon;

/// Runs SQL on the daemon's database from outside, as a person with a shell would.
fn sql(daemon: &Daemon, statements: &str) {
    let path = daemon.database();
    let url = path.to_str().expect("the temporary directory's path is UTF-8");
    let mut connection = diesel::sqlite::SqliteConnection::establish(url).expect("the database opens");
    connection.batch_execute("PRAGMA busy_timeout = 30000").expect("a pragma");
    connection.batch_execute(statements).unwrap_or_else(|error| panic!("{statements}: {error}"));
}

/// The ids of a list of tasks.
fn ids(tasks: &Value) -> Vec<String> {
    let tasks = tasks.as_array().unwrap_or_else(|| panic!("{tasks} is no list"));
    tasks.iter().map(|task| task["task_id"].as_str().expect("an id is a text").to_owned()).collect()
}

/// A time of the wire, which all have the same form, so that texts compare as times do.
#[track_caller]
fn time<'a>(task: &'a Value, field: &str) -> &'a str {
    let text = task[field].as_str().unwrap_or_else(|| panic!("{field} of {task} is no time"));
    assert_eq!((text.len(), text.ends_with('Z')), (24, true), "{field}: {text}");
    text
}

/// The rows of a task's history that carry an event's name.
fn events(daemon: &Daemon, id: &str, event: &str) -> Vec<Value> {
    let history = daemon.ctl_json(&["history", id]);
    let rows = history.as_array().expect("a list");
    rows.iter().filter(|row| row["event"] == event).cloned().collect()
}
