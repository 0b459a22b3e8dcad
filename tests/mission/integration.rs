//! What the old system was connected to: accounts, contents, the publish pool, the generator's path, the database.

use serde_json::json;

use crate::daemon::{Daemon, Setup};

#[test]
fn accounts() {
    let daemon = Daemon::start();
    let shop = daemon.ctl_json(&["account", "add", "--name", "商店", "--external-id", "wx-1"]);
    assert_eq!((&shop["account_id"], &shop["name"], &shop["external_id"]), (&json!(2), &json!("商店"), &json!("wx-1")));
    assert_eq!(daemon.ctl_json(&["account", "show", "商店"]), shop);
    assert_eq!(daemon.ctl_json(&["account", "show", "2"]), shop);
    assert_eq!(daemon.ctl_json(&["account", "list"]).as_array().map(Vec::len), Some(2));
    let twice = daemon.refused("io.contentd.Accounts.Add", json!({ "name": "blog" }));
    assert_eq!(twice.name, "io.contentd.Accounts.AccountExists");
    let nobody = daemon.refused("io.contentd.Accounts.Get", json!({ "account": "7" }));
    assert_eq!(nobody.name, "io.contentd.Accounts.AccountNotFound");
}

#[test]
fn contents() {
    let daemon = Daemon::start();
    let ids: Vec<String> = ["a", "b", "c"].iter().map(|topic| daemon.submit(topic, &["--no-auto-approve"])).collect();
    daemon.ctl(&["wait", "--all"]).exits(0);
    let list = |args: &[&str]| {
        let records = daemon.ctl_json(&[&["content", "list"], args].concat());
        let records = records.as_array().expect("a list");
        records.iter().map(|record| record["content_id"].as_i64().expect("a number")).collect::<Vec<_>>()
    };
    assert_eq!(list(&[]), [3, 2, 1], "newest first");
    assert_eq!(list(&["--limit", "1", "--offset", "1"]), [2]);
    daemon.ctl(&["content", "approve", "2"]).exits(0);
    assert_eq!(list(&["--review", "pending_review"]), [3, 1]);
    let of_b = daemon.task(&ids[1])["content_id"].as_i64().expect("a piece");
    assert_eq!(list(&["--task", &ids[1]]), [of_b]);
    let record = daemon.ctl_json(&["content", "show", &of_b.to_string()]);
    assert_eq!((&record["task_id"], &record["title"]), (&json!(ids[1]), &json!("b")));
}

#[test]
fn publish_pool() {
    let daemon = Daemon::start();
    for (topic, priority) in [("a", "2"), ("b", "9"), ("c", "5")] {
        daemon.submit(topic, &["--priority", priority]);
    }
    daemon.ctl(&["wait", "--all"]).exits(0);
    let entries = daemon.ctl_json(&["pool", "list"]);
    let entries = entries.as_array().expect("a list");
    let priorities: Vec<_> = entries.iter().map(|entry| entry["priority"].as_i64()).collect();
    assert_eq!(priorities, [Some(9), Some(5), Some(2)]);
    for entry in entries {
        assert_eq!((&entry["status"], &entry["retry_count"]), (&json!("pending"), &json!(0)));
        assert!(entry["scheduled_at"].is_string() && entry["published_at"].is_null(), "{entry}");
    }
    assert_eq!(daemon.ctl_json(&["pool", "list", "--status", "published"]), json!([]));
}

#[test]
fn creator_cli_path() {
    // A generator that is not there keeps its tasks waiting, and neither the daemon nor the other generators down.
    let setup = Setup {
        more: "[generators.other.submit]\nrun = [\"printf\", \"# A piece\"]\ncontent = \"text\"\n".to_owned(),
        ..Setup::default()
    };
    let mut daemon = Daemon::with(setup.with_env("CREATOR_CLI_PATH", "/nowhere/content-creator"));
    let id = daemon.submit("Tea", &[]);
    daemon.wait_until("the task says why it waits", || {
        let task = daemon.task(&id);
        assert_eq!(task["retry_count"], 0, "nothing was tried that could be paid for: {task}");
        let why = format!("{} {}", task["reason"], task["error"]);
        (task["state"] == "pending" && why.contains("sample")).then_some(())
    });
    let generators = daemon.ctl_json(&["status"])["generators"].take();
    let sample =
        generators.as_array().and_then(|all| all.iter().find(|one| one["name"] == "sample")).expect("it is told");
    assert_eq!(sample["is_available"], false);
    assert!(sample["faults"].to_string().contains("/nowhere/content-creator"), "{sample}");
    let other = daemon.submit("Silk", &["--generator", "other"]);
    daemon.await_state(&other, "completed");
    let check = daemon.contentd(&["--check-config"]).output().expect("it runs");
    assert_eq!(check.status.code(), Some(78), "{check:?}");

    daemon.change(|setup| setup.env.clear());
    daemon.restart();
    daemon.await_state(&id, "completed");
    assert_eq!(daemon.paid(), ["Tea"]);
}

#[test]
fn database_url() {
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let path = elsewhere.path().join("down/pieces.db");
    let url = format!("sqlite://{}", path.display());
    let mut daemon = Daemon::with(Setup::default().with_env("DATABASE_URL", &url));
    let id = daemon.submit("Tea", &[]);
    daemon.await_state(&id, "completed");
    assert!(path.exists() && !daemon.database().exists());
    assert_eq!(daemon.ctl_json(&["config"])["daemon"]["database"], json!(path));
    // A plain path is the same place, and so is the configuration where the environment says nothing.
    daemon.change(|setup| setup.env = vec![("DATABASE_URL".to_owned(), path.display().to_string())]);
    daemon.restart();
    assert_eq!(daemon.state(&id), "completed");
    daemon.change(|setup| {
        setup.env = vec![("DATABASE_URL".to_owned(), String::new())];
        setup.daemon = format!("database_url = {url:?}");
    });
    daemon.restart();
    assert_eq!(daemon.state(&id), "completed");
    assert!(daemon.terminate().success());

    daemon.change(|setup| setup.env = vec![("DATABASE_URL".to_owned(), "mysql://host/db".to_owned())]);
    let refused = daemon.run_to_end().exits(78);
    assert!(refused.err.contains("DATABASE_URL") && refused.err.contains("mysql"), "{refused:?}");
}
