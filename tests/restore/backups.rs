//! Backups of a daemon under load, and what the program says of a database.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use serde_json::json;

use super::daemon::{Daemon, Setup};
use super::*;

#[test]
fn backups_under_load_are_all_consistent_and_hold_what_was_acknowledged() {
    let backups = number_of("CONTENTD_BACKUPS", 100);
    let mut daemon = Daemon::prepared(Setup::default());
    daemon.change(|setup| {
        setup.daemon = "workers = 4".into();
        setup.tasks += "\nmax_pending = 60";
        setup.env.push(("RUST_LOG".into(), "warn".into()));
    });
    daemon.spawn();
    daemon.await_answer();
    daemon.ctl(&["account", "add", "--name", "blog"]).exits(0);
    let acknowledged: Mutex<Vec<String>> = Mutex::default();
    let (is_over, during) = (AtomicBool::new(false), AtomicUsize::new(0));
    let is_copying = AtomicBool::new(false);
    let submit = || {
        while !is_over.load(Ordering::Relaxed) {
            let task = json!({ "task": { "account": "1", "topic": "Under load" } });
            match daemon.try_call("io.contentd.Tasks.Submit", &task).expect("the daemon answers") {
                Ok(reply) => {
                    acknowledged.lock().unwrap().push(reply["task_id"].as_str().unwrap().to_owned());
                    during.fetch_add(usize::from(is_copying.load(Ordering::Relaxed)), Ordering::Relaxed);
                }
                // The bound of unfinished tasks keeps the database small: others must finish first.
                Err(refused) => {
                    assert_eq!(refused.name, "io.contentd.Tasks.Busy");
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    };
    let mut copied = 0;
    std::thread::scope(|scope| {
        let submitters = [scope.spawn(submit), scope.spawn(submit)];
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 0..backups {
                let before: Vec<String> = acknowledged.lock().unwrap().clone();
                let file = daemon.dir().join(format!("backup-{number}.db"));
                is_copying.store(true, Ordering::Relaxed);
                let reply = daemon.call("io.contentd.Daemon.Backup", json!({ "file": file }));
                is_copying.store(false, Ordering::Relaxed);
                assert_eq!(reply["bytes"], fs::metadata(&file).unwrap().len());
                assert!(!sound(&file).needs_migration);
                let there: BTreeSet<String> = texts(&file, "SELECT id AS text FROM tasks").into_iter().collect();
                let lost: Vec<&String> = before.iter().filter(|id| !there.contains(*id)).collect();
                assert!(lost.is_empty(), "{} acknowledged submits are not in backup {number}: {lost:?}", lost.len());
                fs::remove_file(&file).unwrap();
                copied += 1;
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        submitters.into_iter().for_each(|submitter| submitter.join().unwrap());
        made.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let tasks = acknowledged.lock().unwrap().len();
    let done = texts(&daemon.database(), "SELECT count(*) || '' AS text FROM tasks WHERE state = 'completed'");
    let (done, during) = (done[0].parse::<usize>().unwrap(), during.load(Ordering::Relaxed));
    assert!(done > 0 && during > 0, "no load: {done} finished, {during} submits while a backup was made");
    // A live database is judged like any other.
    sound(&daemon.database());
    tally::tell(
        "backups",
        &format!(
            "{copied} backups under load, all consistent: {tasks} submits, {during} of them while a backup was made, {done} pieces"
        ),
    );
}

#[test]
fn the_program_judges_a_database_and_says_what_is_wrong_with_which_task() {
    let daemon = Daemon::with(Setup::default());
    let task = daemon.submit("Judged", &[]);
    daemon.await_state(&task, "completed");
    let run = |args: &[&str]| daemon::Ran::from(daemon.contentd(args).output().unwrap());
    let live = run(&["--check-database"]).exits(0);
    assert!(live.out.contains("the database is sound") && live.out.contains("1  tasks completed"), "{live:?}");
    assert!(!live.out.contains("wait for a release"), "that nothing waits says nothing: {live:?}");
    let file = daemon.dir().join("copy.db");
    daemon.call("io.contentd.Daemon.Backup", json!({ "file": file }));
    let before = (fs::read(&file).unwrap(), fs::read_dir(daemon.dir()).unwrap().count());
    run(&["--check-database", file.to_str().unwrap()]).exits(0);
    assert_eq!((fs::read(&file).unwrap(), fs::read_dir(daemon.dir()).unwrap().count()), before, "nothing was written");

    let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    connection.batch_execute("DROP TRIGGER guard_publish_pool_delete; DELETE FROM publish_pool").unwrap();
    drop(connection);
    let broken = run(&["--check-database", file.to_str().unwrap()]).exits(1);
    assert!(broken.err.contains(&task) && broken.err.contains("0 entries in the publish pool"), "{broken:?}");
    assert!(broken.err.contains("cure: "), "{broken:?}");
    let missing = run(&["--check-database", "/nowhere/x.db"]).exits(1);
    assert!(missing.err.contains("/nowhere/x.db"), "{missing:?}");
}
