//! The old task management: submit, look, list, cancel, correct, clean up.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::net::UnixStream;

use serde_json::json;

use crate::daemon::{Daemon, Setup};
use crate::{events, ids, sql, time};

#[test]
fn submit_task() {
    let setup = Setup { tasks: String::new(), ..Setup::default() };
    let daemon = Daemon::with(setup);
    // The generator never answers: the id comes at once all the same.
    daemon.set_faults("create:hang");
    let plain = daemon.submit("人工智能的未来", &[]);
    assert!(plain.starts_with("task-"), "{plain}");
    let task = daemon.task(&plain);
    assert_eq!((&task["priority"], &task["time_limit"]), (&json!(5), &json!(30 * 60)));
    assert_eq!((&task["max_retries"], &task["auto_approve"]), (&json!(3), &json!(true)));
    assert_eq!((&task["generator"], &task["topic"]), (&json!("sample"), &json!("人工智能的未来")));

    let said = ["--keywords", "a, b，c", "--category", "tech", "--requirements", "long\nand good", "--tone", "warm"];
    let more = ["--priority", "10", "--no-auto-approve", "--time-limit", "2h", "--max-retries", "1"];
    let task = daemon.task(&daemon.submit("Full", &[&said[..], &more].concat()));
    assert_eq!(task["keywords"], json!(["a", "b", "c"]));
    let texts = ["category", "requirements", "tone"].map(|field| task[field].as_str().unwrap_or_default().to_owned());
    assert_eq!(texts, ["tech", "long\nand good", "warm"]);
    assert_eq!((&task["priority"], &task["auto_approve"]), (&json!(10), &json!(false)));
    assert_eq!((&task["time_limit"], &task["max_retries"]), (&json!(7200), &json!(1)));

    let before = daemon.ctl_json(&["list"]).as_array().map(Vec::len);
    let nobody = daemon.ctl(&["submit", "--account", "nobody", "--topic", "x"]).exits(1);
    assert!(nobody.err.contains("\"nobody\"") && nobody.out.is_empty(), "{nobody:?}");
    let submission = |priority: i64| json!({ "task": { "account": "blog", "topic": "x", "priority": priority } });
    for priority in [0, 11, -3] {
        let refused = daemon.refused("io.contentd.Tasks.Submit", submission(priority));
        assert_eq!(refused.name, "io.contentd.Tasks.InvalidField");
        assert_eq!(refused.parameters["field"], "priority", "{refused:?}");
    }
    assert_eq!(daemon.ctl_json(&["list"]).as_array().map(Vec::len), before, "what is refused leaves nothing");
}

#[test]
fn get_task_status() {
    let daemon = Daemon::start();
    let id = daemon.submit("Tea", &["--priority", "7", "--no-auto-approve"]);
    daemon.ctl(&["wait", &id]).exits(0);
    let task = daemon.ctl_json(&["status", &id]);
    assert_eq!((&task["task_id"], &task["state"], &task["topic"]), (&json!(id), &json!("completed"), &json!("Tea")));
    let fields = (&task["account_id"], &task["priority"], &task["auto_approve"]);
    assert_eq!(fields, (&json!(1), &json!(7), &json!(false)));
    let created = time(&task, "created_at");
    let submitted = time(&task, "submitted_at");
    assert!(created <= submitted && submitted <= time(&task, "completed_at"), "{task}");
    assert!(time(&task, "updated_at") >= time(&task, "completed_at"), "{task}");
    assert!(task["error"].is_null() && task["content_id"].as_i64().is_some_and(|id| id > 0), "{task}");

    let failed = daemon.submit("Coffee [sample:fail]", &["--max-retries", "0"]);
    let task = daemon.await_state(&failed, "failed");
    assert!(task["error"].as_str().is_some_and(|error| error.contains("the sample was told to fail")), "{task}");
    assert!(task["content_id"].is_null(), "{task}");
    let prefix = &failed[..failed.len() - 2];
    assert_eq!(daemon.ctl_json(&["status", prefix])["task_id"], json!(failed), "the beginning of an id is enough");

    let running = daemon.submit("Slow [sample:seconds=3600]", &["--time-limit", "1h"]);
    let task = daemon.await_state(&running, "submitted");
    assert!(time(&task, "timeout_at") > time(&task, "submitted_at"), "{task}");
}

#[test]
fn list_tasks() {
    let daemon = Daemon::start();
    daemon.ctl(&["account", "add", "--name", "shop"]).exits(0);
    let failing: Vec<String> = (0..3).map(|n| daemon.submit(&format!("{n} [sample:reject]"), &[])).collect();
    failing.iter().for_each(|id| drop(daemon.await_state(id, "failed")));
    daemon.ctl(&["pause"]).exits(0);
    let submit_for_shop = |n: i32| {
        let args = ["submit", "--account", "shop", "--topic", &n.to_string()];
        daemon.ctl_json(&args)["task_id"].as_str().expect("an id").to_owned()
    };
    let waiting: Vec<String> = (0..3).map(submit_for_shop).collect();
    let newest_first: Vec<String> = failing.iter().chain(&waiting).rev().cloned().collect();
    let list = |args: &[&str]| ids(&daemon.ctl_json(&[&["list"], args].concat()));
    assert_eq!(list(&[]), newest_first);
    assert_eq!(list(&["--account", "shop"]), newest_first[..3]);
    assert_eq!(list(&["--account", "1"]), newest_first[3..]);
    assert_eq!(list(&["--state", "pending"]), newest_first[..3]);
    assert_eq!(list(&["--state", "failed", "--account", "blog"]), newest_first[3..]);
    assert!(list(&["--state", "failed", "--account", "shop"]).is_empty());
    assert_eq!(list(&["--limit", "2"]), newest_first[..2]);
    assert_eq!(list(&["--limit", "2", "--offset", "3"]), newest_first[3..5]);
    assert_eq!(list(&["--before", &newest_first[1], "--limit", "2"]), newest_first[2..4]);
}

#[test]
fn cancel_task() {
    let daemon = Daemon::start();
    let slow = daemon.submit("Submitted [sample:seconds=3600]", &[]);
    let busy = daemon.submit("Processing [sample:stuck]", &[]);
    let done = daemon.submit("Done", &[]);
    let references = [daemon.await_state(&slow, "submitted"), daemon.await_state(&busy, "processing")]
        .map(|task| task["external_ref"].as_str().expect("an accepted job has a reference").to_owned());
    daemon.await_state(&done, "completed");
    daemon.ctl(&["pause"]).exits(0);
    let waiting = daemon.submit("Pending", &[]);
    assert_eq!(daemon.state(&waiting), "pending");

    for id in [&waiting, &slow, &busy] {
        daemon.ctl(&["cancel", id]).exits(0);
        let task = daemon.await_state(id, "cancelled");
        time(&task, "completed_at");
    }
    for reference in &references {
        assert!(daemon.job(reference)["cancelled_at_ms"].is_u64(), "the job at the generator is cancelled too");
    }
    for (id, state) in [(&done, "completed"), (&waiting, "cancelled")] {
        let late = daemon.ctl(&["cancel", id]).exits(1);
        assert!(late.err.contains(state) && late.out.is_empty(), "{late:?}");
        let refused = daemon.refused("io.contentd.Tasks.Cancel", json!({ "tasks": [id] }));
        assert_eq!(
            (refused.name.as_str(), &refused.parameters["state"]),
            ("io.contentd.Tasks.WrongState", &json!(state))
        );
    }
    assert_eq!(daemon.paid().len(), 3, "what was cancelled while it waited was never paid for");
}

#[test]
fn get_task_by_id() {
    let daemon = Daemon::start();
    let id = daemon.submit("Tea [sample:fail-once]", &["--requirements", "with a recipe"]);
    daemon.await_state(&id, "completed");
    let shown = daemon.ctl_json(&["show", &id]);
    assert_eq!((&shown["task_id"], &shown["requirements"]), (&json!(id), &json!("with a recipe")));
    let attempts = shown["attempts"].as_array().expect("a list");
    let states: Vec<_> = attempts.iter().map(|attempt| attempt["state"].as_str().unwrap_or_default()).collect();
    assert_eq!(states, ["ended_failed", "ended_completed"]);
    assert_ne!(attempts[0]["key"], attempts[1]["key"], "each job has a key of its own");
    for attempt in attempts {
        assert!(time(attempt, "intended_at") <= time(attempt, "accepted_at"), "{attempt}");
        assert!(time(attempt, "accepted_at") <= time(attempt, "ended_at"), "{attempt}");
    }
    let missing = daemon.refused("io.contentd.Tasks.Show", json!({ "task": "task-of-nobody" }));
    assert_eq!(missing.name, "io.contentd.Tasks.TaskNotFound");
}

#[test]
fn update_task_status() {
    let daemon = Daemon::start();
    let id = daemon.submit("Tea [sample:reject]", &[]);
    let failed = daemon.await_state(&id, "failed");
    daemon.ctl(&["pause"]).exits(0);
    let correct = |state: &str| daemon.ctl(&["correct", &id, "--state", state, "--reason", "looked at the books"]);
    let pending = correct("pending").exits(0).json();
    assert_eq!(pending["state"], "pending");
    assert!(pending["completed_at"].is_null() && pending["submitted_at"].is_null(), "{pending}");
    assert_eq!(pending["created_at"], failed["created_at"]);
    for state in ["cancelled", "pending", "timeout", "failed"] {
        let task = correct(state).exits(0).json();
        assert_eq!((&task["state"], task["completed_at"].is_null()), (&json!(state), state == "pending"), "{task}");
    }
    let corrected = events(&daemon, &id, "corrected_failed");
    assert_eq!(corrected.len(), 1);
    assert_eq!(corrected[0]["why"], "looked at the books");
    assert!(corrected[0]["who"].as_str().is_some_and(|who| who.contains(':')), "{corrected:?}");

    daemon.ctl(&["correct", &id, "--state", "pending"]).exits(2);
    assert!(
        correct("completed").exits(1).err.contains("one of pending failed timeout cancelled"),
        "there is no piece to complete with"
    );
    daemon.ctl(&["resume"]).exits(0);
    let done = daemon.submit("Silk", &[]);
    daemon.await_state(&done, "completed");
    let refused = daemon.ctl(&["correct", &done, "--state", "failed", "--reason", "r"]).exits(1);
    assert!(refused.err.contains("completed"), "{refused:?}");
}

#[test]
fn get_pending_tasks() {
    let daemon = Daemon::start();
    daemon.ctl(&["pause"]).exits(0);
    let submit = |priority: &str| daemon.submit("x", &["--priority", priority]);
    let by_age = ["5", "10", "1", "5", "10"].map(submit);
    let expected = [1, 4, 0, 3, 2].map(|at: usize| by_age[at].clone());
    assert_eq!(ids(&daemon.ctl_json(&["queue"])), expected);
    assert_eq!(ids(&daemon.ctl_json(&["queue", "--limit", "2"])), expected[..2]);
    assert_eq!(ids(&daemon.ctl_json(&["queue", "--limit", "2", "--offset", "2"])), expected[2..4]);
    daemon.ctl(&["set", &by_age[2], "--priority", "9"]).exits(0);
    assert_eq!(ids(&daemon.ctl_json(&["queue"]))[2], by_age[2], "a raised task moves up");
}

#[test]
fn get_running_tasks() {
    let daemon = Daemon::start();
    let submitted = daemon.submit("a [sample:seconds=3600]", &[]);
    let processing = daemon.submit("b [sample:stuck]", &[]);
    let done = daemon.submit("c", &[]);
    daemon.await_state(&submitted, "submitted");
    daemon.await_state(&processing, "processing");
    daemon.await_state(&done, "completed");
    daemon.ctl(&["pause"]).exits(0);
    daemon.submit("d", &[]);
    assert_eq!(ids(&daemon.ctl_json(&["list", "--state", "running"])), [processing.clone(), submitted.clone()]);
    assert_eq!(ids(&daemon.ctl_json(&["list", "--state", "submitted"])), [submitted]);
    assert_eq!(ids(&daemon.ctl_json(&["list", "--state", "processing"])), [processing]);
}

#[test]
fn cleanup_old_tasks() {
    let mut daemon = Daemon::start();
    let finished: Vec<String> = (0..4).map(|n| daemon.submit(&n.to_string(), &[])).collect();
    finished.iter().for_each(|id| drop(daemon.await_state(id, "completed")));
    let running = daemon.submit("r [sample:seconds=3600]", &[]);
    daemon.await_state(&running, "submitted");
    daemon.ctl(&["pause"]).exits(0);
    let waiting = daemon.submit("w", &[]);
    assert!(daemon.terminate().success());
    // Two finished 8 days ago, one 6 days ago, one just now.
    for (id, days) in finished.iter().zip([8, 8, 6]) {
        let past = format!("completed_at = completed_at - {days} * 86400000");
        sql(&daemon, &format!("UPDATE tasks SET {past} WHERE id = '{id}'"));
    }
    daemon.restart();
    let expected = |deleted: u32, is_dry_run: bool, days: u32| json!({ "deleted": deleted, "is_dry_run": is_dry_run, "older_than_s": days * 86_400, "is_day_kept": false });
    let configured = daemon.ctl_json(&["cleanup", "--older-than", "retention"]);
    assert_eq!(configured, expected(0, false, 90), "what is configured");
    assert_eq!(daemon.call("io.contentd.Tasks.Cleanup", json!({ "dry_run": true })), expected(2, true, 7));
    assert_eq!(daemon.ctl_json(&["cleanup"]), expected(2, false, 7), "seven days, unless said");
    assert_eq!(daemon.ctl_json(&["cleanup", "--days", "7"]), expected(0, false, 7));
    let left = [&waiting, &running, &finished[3], &finished[2]].map(Clone::clone);
    assert_eq!(ids(&daemon.ctl_json(&["list"])), left);
    assert_eq!(
        daemon.refused("io.contentd.Tasks.History", json!({ "task": finished[0] })).name,
        "io.contentd.Tasks.TaskNotFound"
    );
    assert_eq!(daemon.ctl_json(&["cleanup", "--days", "0"]), expected(2, false, 0));
    assert_eq!(ids(&daemon.ctl_json(&["list"])), left[..2], "what is not finished stays");
    assert_eq!(daemon.ctl_json(&["content", "list"]).as_array().map(Vec::len), Some(4), "pieces outlive their tasks");
}

#[test]
fn error_types() {
    let daemon = Daemon::start();
    let done = daemon.submit("Tea", &[]);
    daemon.await_state(&done, "completed");
    let failed = daemon.submit("Tea [sample:reject]", &["--max-retries", "0"]);
    daemon.await_state(&failed, "failed");
    let submission = |fields: serde_json::Value| json!({ "task": fields });
    let refusals = [
        ("Tasks.Status", json!({ "task": "task-none" }), "io.contentd.Tasks.TaskNotFound"),
        ("Tasks.Cancel", json!({ "tasks": [done] }), "io.contentd.Tasks.WrongState"),
        ("Tasks.Retry", json!({ "tasks": [failed] }), "io.contentd.Tasks.RetriesSpent"),
        ("Tasks.Result", json!({ "task": failed }), "io.contentd.Tasks.NoResult"),
        ("Tasks.Submit", submission(json!({ "account": 9, "topic": "x" })), "io.contentd.Accounts.AccountNotFound"),
        (
            "Tasks.Submit",
            submission(json!({ "account": 1, "topic": "x", "generator": "ghost" })),
            "io.contentd.Tasks.GeneratorNotFound",
        ),
        ("Tasks.Submit", submission(json!({ "account": 1, "topic": "" })), "io.contentd.Tasks.InvalidField"),
        ("Content.Get", json!({ "content_id": 99 }), "io.contentd.Content.ContentNotFound"),
    ];
    let mut names = BTreeSet::new();
    for (method, parameters, name) in refusals {
        let refused = daemon.refused(&format!("io.contentd.{method}"), parameters);
        assert_eq!(refused.name, name, "{refused:?}");
        names.insert(refused.name);
    }
    assert_eq!(names.len(), 8, "each failure has a name of its own");
    // A generator that failed says so in the task; one that is missing keeps its tasks waiting, see `integration`.
    let error = daemon.task(&failed)["error"].as_str().map(str::to_owned);
    assert!(error.is_some_and(|error| error.contains("rejected: ")));
}

#[test]
fn scoped_sessions() {
    let daemon = Daemon::start();
    // Sockets only: the pool opens its connections to the database when it likes.
    let is_socket = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    };
    let open = || {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("it runs");
        descriptors.flatten().filter(is_socket).count()
    };
    drop(daemon.ctl_json(&["list"]));
    let before = open();
    for round in 0..150 {
        daemon.refused("io.contentd.Tasks.Status", json!({ "task": "task-none" }));
        daemon.refused("io.contentd.Tasks.Submit", json!({ "task": { "account": 9, "topic": "x" } }));
        let mut cut = UnixStream::connect(daemon.socket()).expect("it listens");
        if round % 2 == 0 {
            cut.write_all(b"{\"method\":\"io.contentd.Tasks.List\",").expect("it reads");
        } else {
            cut.write_all(b"{\"method\":\"io.contentd.Tasks.List\"}\0").expect("it reads");
        }
    }
    daemon.wait_until("every session closed", || (open() <= before + 2).then_some(()));
    assert_eq!(daemon.ctl_json(&["list"]), json!([]));
}
