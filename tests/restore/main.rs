//! Backups of a daemon under load, restores that die at every step, and what a restored daemon does and does not do.
//!
//! A death at a step is a real one: the test starts itself anew as a child that kills itself there, or kills the real program at
//! an instant of its own choosing. `CONTENTD_BACKUPS=1000` makes more backups, `CONTENTD_RESTORE_KILLS=300` more kills.

#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../support/tally.rs"]
mod tally;

mod backups;
mod files;
mod migrations;
mod pool;
mod tasks;
mod witnesses;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use contentd::finding::Severity;
use contentd::store::sqlite::check::{self, Judgement};
use daemon::Daemon;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use serde_json::json;

/// In the child: which step it dies at, and where.
const DIE_AT: &str = "CONTENTD_TEST_DIE_AT";

/// See `DIE_AT`.
const PLACE: &str = "CONTENTD_TEST_PLACE";

fn number_of(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[derive(QueryableByName)]
struct Text {
    #[diesel(sql_type = diesel::sql_types::Text)]
    text: String,
}

fn texts(path: &Path, sql: &str) -> Vec<String> {
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA query_only = 1").unwrap();
    diesel::sql_query(sql).load::<Text>(&mut connection).unwrap().into_iter().map(|row| row.text).collect()
}

#[track_caller]
fn sound(path: &Path) -> Judgement {
    let judgement = check::judge(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let errors: Vec<_> = judgement.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    judgement
}

/// What a child dies with, at the step of its number; the names of all steps are told to `seen`.
fn dying(at: Option<usize>, seen: &mut Vec<&'static str>) -> impl FnMut(&'static str) {
    move |step| {
        if at == Some(seen.len()) {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
        seen.push(step);
    }
}

/// Runs one test of this file as a child that dies at a step.
fn die(test: &str, place: &Path, step: usize) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture"]).env(DIE_AT, step.to_string()).env(PLACE, place);
    let output = child.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), None, "it was to die at step {step}: {output:?}");
}

fn child() -> Option<(usize, PathBuf)> {
    let step = std::env::var(DIE_AT).ok()?.parse().unwrap();
    Some((step, PathBuf::from(std::env::var_os(PLACE).unwrap())))
}

fn backup(daemon: &Daemon, name: &str) -> PathBuf {
    let file = daemon.dir().join(name);
    daemon.call("io.contentd.Daemon.Backup", json!({ "file": file }));
    file
}

#[track_caller]
fn restore_with(daemon: &Daemon, file: &Path, more: &[&str]) -> daemon::Ran {
    let args = [&["restore", file.to_str().unwrap()], more].concat();
    daemon::Ran::from(daemon.contentd(&args).output().unwrap())
}

fn events(daemon: &Daemon, task: &str) -> Vec<String> {
    let reply = daemon.call("io.contentd.Tasks.History", json!({ "task": task }));
    reply["events"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
}

fn poll_until_completed(daemon: &Daemon, task: &str) {
    daemon.wait_until(&format!("{task} completed"), || {
        // Refused where it has completed by itself meanwhile.
        let _ = daemon.try_call("io.contentd.Tasks.Poll", &json!({ "task": task }))?;
        (daemon.state(task) == "completed").then_some(())
    });
}
