//! A disk that fails under a running daemon: no room, fsyncs that fail, writes that stop in their middle.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::live::{Daemon, Home, Killed, Refusal, call, eventually};
use crate::shim::Shimmed;
use crate::{counting, promises, tally};

fn task(generator: &str, topic: &str) -> Value {
    json!({ "task": { "account": "blog", "topic": topic, "generator": generator, "key": topic } })
}

/// What came of a submit: an id, a refusal, or nothing.
fn try_submit(home: &Home, generator: &str, topic: &str) -> Option<Result<String, Refusal>> {
    let answer = call(&home.socket(), "io.contentd.Tasks.Submit", task(generator, topic)).ok()?;
    Some(answer.map(|reply| reply["task_id"].as_str().unwrap().to_owned()))
}

fn submit(daemon: &Daemon<'_>, generator: &str, topic: &str) -> String {
    daemon.ask("io.contentd.Tasks.Submit", task(generator, topic))["task_id"].as_str().unwrap().to_owned()
}

fn at_the_gate(daemon: &Daemon<'_>, home: &Home, generator: &str, topic: &str) -> String {
    let id = submit(daemon, generator, topic);
    let name = format!("waiting-{}", topic.split(' ').next().unwrap());
    eventually(&name, || home.path(&name).exists().then_some(()));
    id
}

#[test]
fn a_full_disk_refuses_submits_and_what_runs_goes_on_and_is_kept() {
    let home = counting::home();
    let shim = Shimmed::of(&home);
    let mut command = shim.command();
    command.env("RUST_LOG", "contentd=debug");
    let daemon = Daemon::adopt(&home, home.spawn(command), home.socket());
    let fault = || daemon.ask("io.contentd.Daemon.GetStatus", json!({}))["storage_fault"].clone();
    assert_eq!(fault(), Value::Null);
    daemon.add_account("blog");
    // A call and a run in the middle: what they cost is being spent.
    let called = at_the_gate(&daemon, &home, "patient", "called [gate]");
    let run = at_the_gate(&daemon, &home, "runs", "run [gate]");
    daemon.until_state(&run, "processing");
    shim.break_by("full", "");
    let refusal = try_submit(&home, "counted", "refused").unwrap().unwrap_err();
    assert_eq!(refusal.name(), "StorageFull", "{refusal:?}");
    assert!(refusal.text("reason").contains("full"), "{refusal:?}");
    assert!(shim.has_bitten("full"));
    fs::write(home.path("gate"), "").unwrap();
    eventually("the call's outcome is kept in hand", || {
        home.log().contains("the outcome of a submit (accepted as").then_some(())
    });
    assert!(home.log().contains("submits are refused until a write succeeds"), "{}", home.log());
    assert_eq!(daemon.state(&called), "submitting", "nothing is told that is not written");
    assert_eq!(try_submit(&home, "counted", "refused").unwrap().unwrap_err().name(), "StorageFull");
    assert!(fault().as_str().is_some_and(|fault| fault.contains("full")), "{}", fault());
    // Each is tried again and again; it is told once.
    let lines =
        |words: &str| home.log().lines().filter(|line| line.contains(words)).map(str::to_owned).collect::<Vec<_>>();
    for (words, errors) in [("the outcome of a submit", 1), ("could not be written", 0)] {
        eventually(words, || (lines(words).len() > 2).then_some(()));
        assert_eq!(lines(words).iter().filter(|line| line.contains("ERROR")).count(), errors, "{}", home.log());
    }
    shim.mend("full");
    eventually("room is found without a write of anybody's", || fault().is_null().then_some(()));
    let later = submit(&daemon, "counted", "refused");
    for (id, topic) in [(&called, "called [gate]"), (&run, "run [gate]"), (&later, "refused")] {
        daemon.until_state(id, "completed");
        assert_eq!(counting::made(&home, topic), 1);
        assert_eq!(daemon.task(id)["attempt"], 1);
    }
    let again = lines("the database can be written again");
    assert!(again.len() == 1 && again[0].contains("writes were refused meanwhile"), "{again:?}");
    assert_eq!(promises::broken(&home.database()), [""; 0]);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_run_that_ends_while_the_disk_is_full_or_failing_keeps_its_piece() {
    let home = counting::home();
    let shim = Shimmed::of(&home);
    let (program, dir, env) = (home.path("job"), home.path(""), shim.env());
    let (program, dir) = (program.display(), dir.display());
    counting::configure(
        &home,
        &format!(
            "[generators.cramped]\ndetached = true\ncwd = \"{dir}\"\n{env}\n[generators.cramped.submit]\n\
             run = [\"{program}\", \"write\", \"{{key}}\", \"cramped\", \"{{topic}}\"]\ncontent = \"text\"\n"
        ),
    );
    let daemon = home.start();
    daemon.add_account("blog");
    for fault in ["full-runs", "lost-runs"] {
        let topic = format!("{fault} [gate]");
        let id = at_the_gate(&daemon, &home, "cramped", &topic);
        shim.break_by(fault, "");
        fs::write(home.path("gate"), "").unwrap();
        // Twice: it is tried again.
        for _ in 0..2 {
            eventually("the disk refuses what the run wrote", || shim.has_bitten(fault).then_some(()));
            shim.forget_bite(fault);
        }
        assert!(["submitted", "processing"].contains(&daemon.state(&id).as_str()), "it has not ended yet");
        shim.mend(fault);
        daemon.until_state(&id, "completed");
        let content = daemon.ask("io.contentd.Content.Get", json!({ "content_id": daemon.task(&id)["content_id"] }));
        let content = content["content"]["content"].as_str().unwrap();
        assert!(
            content.starts_with(&format!("# {topic}\n")) && content.trim_end().ends_with("long enough."),
            "{content}"
        );
        assert_eq!(counting::made(&home, &topic), 1);
        fs::remove_file(home.path("gate")).unwrap();
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_start_on_a_full_disk_says_so_and_the_next_one_goes_on() {
    let home = counting::home();
    let shim = Shimmed::of(&home);
    let daemon = shim.start();
    daemon.add_account("blog");
    let id = at_the_gate(&daemon, &home, "runs", "run [gate]");
    daemon.kill();
    shim.break_by("full", "");
    let (code, words) = home.refused(shim.command());
    assert!(shim.has_bitten("full"));
    assert_ne!(code, Some(0));
    assert!(words.contains(home.database().to_str().unwrap()) && words.contains("make room"), "{words}");
    fs::write(home.path("gate"), "").unwrap();
    shim.mend("full");
    let daemon = shim.start();
    daemon.until_state(&id, "completed");
    assert_eq!(counting::made(&home, "run [gate]"), 1);
}

#[test]
fn an_fsync_that_fails_stops_the_daemon_and_the_next_start_goes_on() {
    let home = counting::home();
    let shim = Shimmed::of(&home);
    let mut daemon = shim.start();
    daemon.add_account("blog");
    let before = submit(&daemon, "counted", "before");
    daemon.until_state(&before, "completed");
    let run = at_the_gate(&daemon, &home, "runs", "run [gate]");
    shim.break_by("fsync", "");
    let answer = try_submit(&home, "counted", "after");
    assert!(!matches!(answer, Some(Ok(_))), "nothing is acknowledged that is not on the disk: {answer:?}");
    let status = daemon.ended();
    assert!(shim.has_bitten("fsync"));
    assert_eq!(status.code(), Some(70), "so that the service manager starts a new one");
    assert!(home.log().contains("disk I/O error; the daemon stops"), "{}", home.log());
    assert_eq!(promises::broken_on_disk(&home.database()), [""; 0]);
    // A disk that still fails: refused, with the cure.
    let (code, words) = home.refused(shim.command());
    assert_ne!(code, Some(0));
    assert!(words.contains("disk I/O error") && words.contains("look at the disk"), "{words}");
    shim.mend("fsync");
    fs::write(home.path("gate"), "").unwrap();
    let next = shim.start();
    let after = submit(&next, "counted", "after");
    for (id, topic) in [(&before, "before"), (&run, "run [gate]"), (&after, "after")] {
        next.until_state(id, "completed");
        assert_eq!(counting::made(&home, topic), 1, "{topic}");
    }
    assert_eq!(next.list().len(), 3);
    assert_eq!(promises::broken(&home.database()), [""; 0]);
}

/// Submits of some pages each to a daemon that runs none of them, until `is_enough` or one is not answered with a yes; the topics that
/// were acknowledged.
fn fill_the_log(home: &Home, topics: &str, is_enough: impl Fn() -> bool) -> Vec<String> {
    const MOST: usize = 2_000;
    let requirements = "many words ".repeat(3_000);
    let mut acknowledged = Vec::new();
    for n in 0..MOST {
        if is_enough() {
            return acknowledged;
        }
        let many: Vec<Value> = (0..10)
            .map(|m| {
                let topic = format!("{topics}-{n}-{m}");
                json!({ "account": "blog", "topic": topic, "generator": "counted", "requirements": requirements })
            })
            .collect();
        let Ok(Ok(reply)) = call(&home.socket(), "io.contentd.Tasks.SubmitBatch", json!({ "tasks": many })) else {
            return acknowledged;
        };
        assert_eq!(reply["tasks"].as_array().map(Vec::len), Some(10), "{reply}");
        acknowledged.extend(many.iter().map(|task| task["topic"].as_str().unwrap().to_owned()));
    }
    panic!("after {MOST} submits of ten tasks not yet: {}", home.log());
}

/// All of these are in a database that nobody has open.
fn all_are_there(database: &Path, acknowledged: &[String]) {
    let topics = promises::lines(database, "SELECT topic AS line FROM tasks WHERE length(requirements) = 33000");
    let topics: BTreeSet<&str> = topics.iter().map(String::as_str).collect();
    let missing: Vec<_> = acknowledged.iter().filter(|topic| !topics.contains(topic.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} of {}", acknowledged.len());
}

#[test]
fn pages_that_a_failed_fsync_threw_away_are_copied_again() {
    let home = counting::home();
    let shim = Shimmed::of(&home);
    let daemon = shim.start();
    daemon.add_account("blog");
    daemon.ask("io.contentd.Daemon.Pause", json!({}));
    let mut acknowledged = fill_the_log(&home, "before", || home.database().metadata().unwrap().len() > 4 << 20);
    shim.break_by("lost-pages", "");
    acknowledged.extend(fill_the_log(&home, "lost", || shim.has_bitten("lost-pages")));
    shim.forget_bite("lost-pages");
    acknowledged.extend(fill_the_log(&home, "lost-again", || shim.has_bitten("lost-pages")));
    shim.mend("lost-pages");
    // Copied, so that the log begins anew over the frames that were copied in vain.
    let long = || home.database().metadata().unwrap().len();
    let so_far = long();
    acknowledged.extend(fill_the_log(&home, "after", || long() > so_far + (4 << 20)));
    daemon.kill();
    assert_eq!(promises::broken_on_disk(&home.database()), [""; 0]);
    let next = home.start();
    next.kill();
    all_are_there(&home.database(), &acknowledged);
}

#[test]
fn a_log_that_cannot_be_copied_stops_the_daemon_before_it_fills_the_disk() {
    let home = counting::home();
    let shim = Shimmed::of(&home);
    let mut daemon = shim.start();
    daemon.add_account("blog");
    daemon.ask("io.contentd.Daemon.Pause", json!({}));
    shim.break_by("lost-pages", "");
    let acknowledged = fill_the_log(&home, "lost", || false);
    assert_eq!(daemon.ended().code(), Some(70));
    assert!(home.log().contains("disk I/O error; the daemon stops"), "{}", home.log());
    let log = home.database().with_file_name("contentd.db-wal");
    assert!(log.metadata().unwrap().len() < 100 << 20, "it was not left to grow");
    assert!(acknowledged.len() > 1_000, "{}", acknowledged.len());
    shim.mend("lost-pages");
    let next = shim.start();
    next.kill();
    assert_eq!(promises::broken_on_disk(&home.database()), [""; 0]);
    all_are_there(&home.database(), &acknowledged);
}

#[test]
fn a_write_that_is_torn_loses_nothing_that_was_acknowledged() {
    const TEARS: usize = 12;
    let home = counting::home();
    let shim = Shimmed::of(&home);
    let daemon = shim.start();
    daemon.add_account("blog");
    daemon.kill();
    let mut told = Vec::new();
    for tear in 0..TEARS {
        let fault = ["torn", "zeros"][tear % 2];
        let mut child = Killed(shim.spawn());
        eventually("it answers", || crate::live::is_answered_by(&home.socket(), child.0.id()).then_some(()));
        // Torn at another place of the log each time.
        for number in 0..=tear % 4 {
            let topic = format!("t{tear}-{number}");
            let id = try_submit(&home, "counted", &topic).unwrap().unwrap();
            told.push((topic, id));
        }
        shim.break_by(fault, "");
        let torn = format!("t{tear}-torn");
        let answer = try_submit(&home, "counted", &torn);
        // The write that tears may be one of the tasks before, and then this submit comes too late.
        assert!(answer.is_none(), "{answer:?}");
        child.0.wait().unwrap();
        assert!(shim.has_bitten(fault));
        shim.mend(fault);
        assert_eq!(promises::broken_on_disk(&home.database()), [""; 0], "tear {tear}");
        let daemon = shim.start();
        for (topic, id) in &told {
            assert_eq!(daemon.task(id)["topic"], topic.as_str(), "acknowledged, and there");
        }
        told.push((torn.clone(), submit(&daemon, "counted", &torn)));
        daemon.kill();
    }
    let daemon = home.start();
    for (topic, id) in &told {
        daemon.until_state(id, "completed");
        assert_eq!(counting::made(&home, topic), 1, "{topic}");
    }
    assert_eq!(daemon.list().len(), told.len());
    assert_eq!(promises::broken(&home.database()), [""; 0]);
    tally::tell(
        "faults: torn writes",
        &format!("{TEARS} torn writes to the log of the database, {} tasks acknowledged", told.len()),
    );
}
