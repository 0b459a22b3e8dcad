//! The old status poller: ask about every job in flight, about one, about those past their time.

use serde_json::{Value, json};

use crate::daemon::{Daemon, Setup};
use crate::{events, ids, time};

/// Submits a job and waits until the generator has accepted it.
fn accepted(daemon: &Daemon, topic: &str, more: &[&str]) -> String {
    let id = daemon.submit(topic, more);
    daemon.await_state(&id, "submitted");
    id
}

fn polls(daemon: &Daemon, id: &str) -> u64 {
    daemon.ctl_json(&["show", id])["attempts"][0]["polls"].as_u64().expect("polls are counted")
}

#[test]
fn poll_running_tasks() {
    let daemon = Daemon::with(Setup::without_polls());
    let nothing = json!({ "total": 0, "completed": 0, "failed": 0, "timeout": 0, "still_running": 0, "error": 0 });
    assert_eq!(daemon.ctl_json(&["poll", "--all"]), nothing);
    let done = accepted(&daemon, "Done", &[]);
    let failed = accepted(&daemon, "Failed [sample:fail]", &["--max-retries", "0"]);
    let running = accepted(&daemon, "Running [sample:stuck]", &[]);
    let unreadable = accepted(&daemon, "Unreadable [sample:status:bad-json]", &[]);
    let expected = json!({ "total": 4, "completed": 1, "failed": 1, "timeout": 0, "still_running": 1, "error": 1 });
    assert_eq!(daemon.ctl_json(&["poll", "--all"]), expected);
    let states = [&done, &failed, &running, &unreadable].map(|id| daemon.state(id));
    assert_eq!(states, ["completed", "failed", "processing", "submitted"]);
    let expected = json!({ "total": 2, "completed": 0, "failed": 0, "timeout": 0, "still_running": 1, "error": 1 });
    assert_eq!(daemon.ctl_json(&["poll", "--all"]), expected, "what has ended is asked about no more");
}

#[test]
fn poll_running_tasks_every_interval() {
    let mut daemon = Daemon::with(Setup { polling: "1s".to_owned(), ..Setup::default() });
    let running = accepted(&daemon, "Running [sample:stuck]", &[]);
    let done = daemon.submit("Done [sample:seconds=1]", &[]);
    daemon.await_state(&done, "completed");
    daemon.wait_until("several polls", || (polls(&daemon, &running) >= 3).then_some(()));
    assert_eq!(daemon.call("io.contentd.Daemon.GetConfig", json!({}))["config"]["polling"]["interval_s"], 1.0);

    // Without a word in the configuration it is 30 seconds.
    let config = std::fs::read_to_string(daemon.config_path()).expect("it was written");
    std::fs::write(daemon.config_path(), config.replace("[polling]\ninterval = \"1s\"\n", "")).expect("ours");
    daemon.restart();
    assert_eq!(daemon.call("io.contentd.Daemon.GetConfig", json!({}))["config"]["polling"]["interval_s"], 30.0);
}

#[test]
fn check_task_status() {
    let setup = Setup::without_polls().with_replaced("timeout = \"10s\"", "timeout = \"1s\"");
    let daemon = Daemon::with(setup);
    let id = accepted(&daemon, "Tea", &[]);
    let before = daemon.task(&id);
    let is_unchanged = |task: &Value| {
        ["state", "attempt", "retry_count", "submitted_at", "timeout_at", "external_ref", "content_id"]
            .iter()
            .all(|field| task[*field] == before[*field])
    };
    // Half a document, nothing, a word that nobody knows, no answer within the time limit: errors that change no task.
    for fault in ["bad-json", "empty-output", "unknown-state", "hang"] {
        daemon.set_faults(&format!("status:{fault}"));
        let statistics = daemon.ctl_json(&["poll", "--all"]);
        assert_eq!((&statistics["total"], &statistics["error"]), (&json!(1), &json!(1)), "{fault}: {statistics}");
        let task = daemon.task(&id);
        assert!(is_unchanged(&task) && task["reason"].is_string(), "{fault}: {task}");
    }
    daemon.set_faults("");
    assert_eq!(daemon.ctl_json(&["poll", "--all"])["completed"], 1);
    assert_eq!(daemon.paid(), ["Tea"]);
}

#[test]
fn check_task_status_ends_within_10_seconds() {
    // The limit that holds where the configuration says nothing, and what the call came to.
    let setup = Setup::without_polls().with_replaced("timeout = \"10s\"\n", "");
    let daemon = Daemon::with(setup);
    let id = accepted(&daemon, "Tea [sample:status:hang]", &[]);
    assert_eq!(daemon.ctl_json(&["poll", "--all"])["error"], 1);
    let task = daemon.task(&id);
    assert_eq!(task["state"], "submitted");
    assert!(task["reason"].as_str().is_some_and(|why| why.contains("no answer within the time limit")), "{task}");
}

#[test]
fn get_task_result() {
    let setup = Setup::without_polls().with_replaced("timeout = \"30s\"\ncontent", "timeout = \"5s\"\ncontent");
    let daemon = Daemon::with(setup);
    let id = accepted(&daemon, "Tea", &[]);
    // Prose instead of JSON, three times in a row: the task is held for a person, and what came is kept.
    daemon.set_faults("result:unreadable-result");
    daemon.ctl(&["poll", &id]).exits(0);
    assert_ne!(daemon.state(&id), "completed");
    let held = daemon.wait_until("the task is held", || {
        // A poll of a person beside the daemon's own may be refused; the next one is not.
        daemon.ctl(&["poll", &id]);
        let task = daemon.task(&id);
        (task["state"] == "held").then_some(task)
    });
    assert!(held["reason"].is_string() && held["content_id"].is_null(), "{held}");
    let raw = daemon.ctl_json(&["show", &id])["result"].as_str().map(str::to_owned);
    assert!(raw.as_ref().is_some_and(|raw| raw.contains("in another castle")), "{raw:?}");
    daemon.set_faults("");
    assert_eq!(daemon.ctl_json(&["poll", &id])["state"], "completed");
    let piece = daemon.ctl_json(&["result", &id]);
    assert!(piece["content"].as_str().is_some_and(|text| text.starts_with("# Tea\n")), "{piece}");
    assert_eq!(daemon.paid(), ["Tea"], "fetched again, never written again");
}

#[test]
fn poll_single_task() {
    let daemon = Daemon::with(Setup::without_polls());
    let wanted = accepted(&daemon, "Wanted", &[]);
    let other = accepted(&daemon, "Other", &[]);
    let polled = daemon.ctl_json(&["poll", &wanted]);
    assert_eq!((&polled["task_id"], &polled["state"]), (&json!(wanted), &json!("completed")));
    assert_eq!(daemon.state(&other), "submitted", "nobody asked about this one");
    let late = daemon.ctl(&["poll", &wanted]).exits(1);
    assert!(late.err.contains("completed"), "{late:?}");
}

#[test]
fn get_timeout_tasks() {
    let daemon = Daemon::start();
    let early = daemon.submit("Early [sample:stuck]", &[]);
    daemon.await_state(&early, "processing");
    assert_eq!(daemon.ctl_json(&["list", "--state", "overdue"]), json!([]));
    // While the generator is asked once more it does not answer, so that the task can be seen past its time.
    daemon.set_faults("status:hang,cancel:hang");
    let late = daemon.submit("Late [sample:stuck]", &["--time-limit", "1s"]);
    daemon.wait_until("the task is overdue", || {
        let overdue = ids(&daemon.ctl_json(&["list", "--state", "overdue"]));
        (overdue == [late.clone()]).then_some(())
    });
}

#[test]
fn handle_timeout_tasks() {
    let daemon = Daemon::start();
    let id = daemon.submit("Late [sample:stuck]", &["--time-limit", "1s", "--max-retries", "1"]);
    let task = daemon.await_state(&id, "timeout");
    assert!(time(&task, "completed_at") > time(&task, "created_at"), "{task}");
    assert!(task["error"].as_str().is_some_and(|error| error.contains("time limit")), "{task}");
    // Its one retry was a job of its own, with a time limit of its own; both jobs were cancelled at the generator.
    assert_eq!((task["retry_count"].as_u64(), daemon.paid().len()), (Some(1), 2));
    let shown = daemon.ctl_json(&["show", &id]);
    for attempt in shown["attempts"].as_array().expect("a list") {
        assert!(time(attempt, "timeout_at") > time(attempt, "accepted_at"), "{attempt}");
        let reference = attempt["external_ref"].as_str().expect("it was accepted");
        assert!(daemon.job(reference)["cancelled_at_ms"].is_u64(), "{reference}");
    }
    assert_eq!(events(&daemon, &id, "timed_out").len(), 1);
}
