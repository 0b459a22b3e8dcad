//! A database that others lock, and one whose pages are garbage.

use std::fs;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use serde_json::json;

use crate::live::{Home, call, eventually};
use crate::{counting, promises, tally};

fn shell(home: &Home) -> SqliteConnection {
    let mut shell = SqliteConnection::establish(home.database().to_str().unwrap()).unwrap();
    shell.batch_execute("PRAGMA busy_timeout = 30000").unwrap();
    shell
}

#[test]
fn a_database_that_another_process_locks_is_waited_for_and_nothing_is_lost() {
    let home = counting::home();
    let daemon = home.start();
    daemon.add_account("blog");
    let submit = |topic: &str, generator: &str| {
        let task = json!({ "account": "blog", "topic": topic, "generator": generator, "key": topic });
        call(&home.socket(), "io.contentd.Tasks.Submit", json!({ "task": task })).unwrap()
    };
    let mut ids = Vec::new();
    for (topic, generator) in [("called [gate]", "patient"), ("run [gate]", "runs")] {
        ids.push((topic, submit(topic, generator).unwrap()["task_id"].as_str().unwrap().to_owned()));
        let name = format!("waiting-{}", topic.split(' ').next().unwrap());
        eventually(&name, || home.path(&name).exists().then_some(()));
    }
    let mut locker = shell(&home);
    locker.batch_execute("BEGIN EXCLUSIVE").unwrap();
    fs::write(home.path("gate"), "").unwrap();
    let refusal = submit("locked out", "counted").unwrap_err();
    let said = refusal.parameters.to_string();
    assert!(said.contains("another program") && said.contains("locked"), "{refusal:?}");
    eventually("the call's outcome is kept in hand", || {
        home.log().contains("the outcome of a submit (accepted as").then_some(())
    });
    assert_eq!(daemon.state(&ids[0].1), "submitting", "nothing is told that is not written");
    locker.batch_execute("COMMIT").unwrap();
    ids.push(("locked out", submit("locked out", "counted").unwrap()["task_id"].as_str().unwrap().to_owned()));
    for (topic, id) in &ids {
        daemon.until_state(id, "completed");
        assert_eq!((counting::made(&home, topic), &daemon.task(id)["attempt"]), (1, &json!(1)), "{topic}");
    }
    daemon.kill();
    // A start meets it too.
    locker.batch_execute("BEGIN EXCLUSIVE").unwrap();
    let (code, words) = home.refused(home.command());
    assert_ne!(code, Some(0));
    assert!(words.contains("locked") && words.contains("end it"), "{words}");
    locker.batch_execute("COMMIT").unwrap();
    drop(locker);
    assert_eq!(home.start().list().len(), 3);
    assert_eq!(promises::broken(&home.database()), [""; 0]);
}

/// A page of garbage somewhere: refused as it is, or served around it; never a crash, a made-up task or a second job.
#[test]
fn a_page_of_garbage_is_refused_with_its_bytes_kept_or_costs_what_it_held() {
    const PAGE: usize = 4096;
    let home = counting::home();
    let daemon = home.start();
    daemon.add_account("blog");
    let ids: Vec<String> = (0..4)
        .map(|n| daemon.submit(json!({ "account": "blog", "topic": format!("t{n}"), "generator": "counted" })))
        .collect();
    ids.iter().for_each(|id| daemon.until_state(id, "completed"));
    assert_eq!(daemon.stop(), Some(0));
    let whole = fs::read(home.database()).unwrap();
    let pages = whole.len() / PAGE;
    let (mut refused, mut served) = (0, 0);
    for page in (0..pages).step_by(pages.div_ceil(14)) {
        let mut harmed = whole.clone();
        // The header of the first page is what `file` knows a database by; behind it, only the schema is harmed.
        let from = if page == 0 { 100 } else { page * PAGE };
        harmed[from..(page + 1) * PAGE].fill(0xAB);
        fs::write(home.database(), &harmed).unwrap();
        let mut child = crate::live::Killed(home.spawn(home.command()));
        let is_served = eventually("it serves or ends", || match child.0.try_wait().unwrap() {
            Some(_) => Some(false),
            None => crate::live::is_answered_by(&home.socket(), child.0.id()).then_some(true),
        });
        if is_served {
            served += 1;
            for id in &ids {
                // A row that cannot be read is an error with a name, not a task of another kind.
                if let Ok(Ok(reply)) = call(&home.socket(), "io.contentd.Tasks.Status", json!({ "task": id })) {
                    assert_eq!(reply["task"]["state"], "completed", "page {page}");
                }
            }
        } else {
            refused += 1;
            let log = home.log();
            let words = log.lines().last().unwrap();
            assert!(words.contains("restore a backup") || words.contains("is not a database"), "page {page}: {words}");
            assert!(fs::read(home.database()).unwrap() == harmed, "page {page} was touched");
        }
        // It may have ended already.
        let _ = child.0.kill();
        child.0.wait().unwrap();
        for ending in ["-wal", "-shm"] {
            let _ = fs::remove_file(home.path(&format!("state/contentd.db{ending}")));
        }
    }
    assert_eq!(counting::jobs(&home).len(), 4, "nothing was paid again");
    assert!(refused > 0);
    fs::write(home.database(), &whole).unwrap();
    let daemon = home.start();
    assert_eq!(daemon.list().len(), 4);
    tally::tell(
        "faults: garbage",
        &format!("{} pages of garbage: {refused} starts refused, {served} served", refused + served),
    );
}
