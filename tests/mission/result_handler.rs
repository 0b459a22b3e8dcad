//! The old result handler: a finished job becomes a content record, any other end is recorded with its reason.

use serde_json::{Value, json};

use crate::daemon::{Daemon, Setup};
use crate::{events, sql, time};

/// A blocking generator whose piece is always the same text.
fn with_piece(piece: &str) -> Setup {
    let more = format!("[generators.fixed.submit]\nrun = [\"printf\", \"%s\", {piece:?}]\ncontent = \"text\"\n");
    Setup { more, ..Setup::default() }
}

#[test]
fn handle_success() {
    let daemon = Daemon::start();
    let topic = format!("云南的茶{}", "香".repeat(300));
    let id = daemon.submit(&topic, &["--category", "tea", "--keywords", "普洱"]);
    let task = daemon.await_state(&id, "completed");
    let record = daemon.ctl_json(&["result", &id]);
    assert_eq!((&record["content_id"], &record["task_id"]), (&task["content_id"], &json!(id)));
    assert_eq!((&record["account_id"], &record["category"]), (&json!(1), &json!("tea")));
    let text = |field: &str| record[field].as_str().unwrap_or_else(|| panic!("{field}: {record}"));
    assert_eq!(text("title").chars().count(), 255);
    assert!(text("title").starts_with("云南的茶香香"));
    assert!((1..=200).contains(&text("summary").chars().count()), "{}", text("summary"));
    assert!(text("content").starts_with("# 云南的茶香香") && text("content").contains("普洱"));
    assert!(text("html_content").contains("<h1>云南的茶香香"), "{}", text("html_content"));
    let images = record["images"].as_array().expect("a list");
    assert_eq!((images.len(), &record["cover_image"]), (1, &images[0]["url"]));
    assert!(std::path::Path::new(text("cover_image")).exists(), "the sample's cover is a file");
    assert!(record["quality_score"].as_f64().is_some_and(|score| (6.0..10.0).contains(&score)), "{record}");
    // Nearly all of this piece is Chinese, and every such character counts as a word.
    let chinese = text("content").chars().filter(|c| ('\u{4e00}'..='\u{9fff}').contains(c)).count();
    let words = record["word_count"].as_u64().and_then(|words| usize::try_from(words).ok()).expect("a number");
    assert!(words >= chinese && words <= chinese + 50, "{words} words, {chinese} Chinese characters");
    assert_eq!((text("review_status"), text("publish_status"), &record["version"]), ("approved", "pooled", &json!(1)));
    assert_eq!(text("content_hash").len(), 64);
    assert!(daemon.ctl(&["result", &id, "--raw"]).exits(0).out == text("content"));

    let plain = daemon.submit("Tea", &[]);
    daemon.await_state(&plain, "completed");
    assert_eq!(daemon.ctl_json(&["result", &plain])["title"], "Tea", "a short topic is the title as it is");
}

#[test]
fn handle_success_counts_words() {
    let daemon = Daemon::with(with_piece("# 标题\n\n使用 Rust 编写，很快！It doesn't cost 3.14.\n"));
    let id = daemon.submit("Count", &["--generator", "fixed"]);
    daemon.await_state(&id, "completed");
    let record = daemon.ctl_json(&["result", &id]);
    // 标 题 使 用 Rust 编 写 很 快 It doesn't cost 3.14
    assert_eq!(record["word_count"], 13);
    assert_eq!((&record["cover_image"], &record["images"]), (&Value::Null, &json!([])));
    assert!(record["html_content"].as_str().is_some_and(|html| html.contains("<h1>标题</h1>")), "{record}");
}

#[test]
fn handle_success_rolls_back() {
    let daemon = Daemon::start();
    // The last row of the transaction cannot be written.
    let refuse = "BEGIN SELECT RAISE(ABORT, 'no room in the pool'); END";
    sql(&daemon, &format!("CREATE TRIGGER no_pool BEFORE INSERT ON publish_pool {refuse}"));
    let id = daemon.submit("Tea", &[]);
    daemon.wait_until("the task says why", || {
        let task = daemon.task(&id);
        let said = format!("{} {}", task["error"], task["reason"]);
        assert_ne!(task["state"], "completed");
        said.contains("no room in the pool").then_some(())
    });
    assert_eq!(daemon.ctl_json(&["content", "list"]), json!([]), "the record went with the pool entry");
    assert_eq!(daemon.ctl_json(&["pool", "list"]), json!([]));
    sql(&daemon, "DROP TRIGGER no_pool");
    let task = daemon.await_state(&id, "completed");
    assert!(task["error"].is_null(), "{task}");
    assert_eq!(daemon.ctl_json(&["content", "list"]).as_array().map(Vec::len), Some(1));
    assert_eq!(daemon.ctl_json(&["pool", "list"]).as_array().map(Vec::len), Some(1));
    assert_eq!(daemon.paid(), ["Tea"], "the piece that was paid for was kept");
}

#[test]
fn automatic_review() {
    let daemon = Daemon::start();
    let auto = daemon.submit("Auto", &["--priority", "3", "--auto-approve"]);
    let content = |id: &str| daemon.await_state(id, "completed")["content_id"].as_i64().expect("a piece");
    let auto_content = content(&auto);
    let manual = daemon.submit("Manual", &["--priority", "8", "--no-auto-approve"]);
    let manual_content = content(&manual);
    let pool = || {
        let entries = daemon.ctl_json(&["pool", "list"]);
        let entries = entries.as_array().expect("a list");
        let pairs = entries.iter().map(|entry| {
            assert_eq!(entry["status"], "pending", "{entry}");
            (entry["content_id"].as_i64().expect("a number"), entry["priority"].as_i64().expect("a number"))
        });
        pairs.collect::<Vec<_>>()
    };
    assert_eq!(pool(), [(auto_content, 3)], "approved at once, with the task's priority");
    assert_eq!(daemon.ctl_json(&["result", &auto])["review_status"], "approved");
    let waiting = daemon.ctl_json(&["result", &manual]);
    assert_eq!(
        (&waiting["review_status"], &waiting["publish_status"]),
        (&json!("pending_review"), &json!("unpublished"))
    );

    let number = manual_content.to_string();
    let wrong = daemon.ctl(&["content", "approve", &number, "--hash", &"0".repeat(64)]).exits(1);
    assert!(wrong.err.contains("hash"), "{wrong:?}");
    let hash = waiting["content_hash"].as_str().expect("a hash");
    let approved = daemon.ctl_json(&["content", "approve", &number, "--hash", hash]);
    assert_eq!((&approved["review_status"], &approved["publish_status"]), (&json!("approved"), &json!("pooled")));
    assert_eq!(pool(), [(manual_content, 8), (auto_content, 3)], "the higher priority goes out first");
    daemon.ctl(&["content", "reject", &number, "--reason", "no"]).exits(0);
    assert_eq!(pool(), [(auto_content, 3)]);
}

#[test]
fn handle_failure() {
    let daemon = Daemon::start();
    let id = daemon.submit("Tea [sample:fail]", &["--max-retries", "0"]);
    let task = daemon.await_state(&id, "failed");
    assert!(task["error"].as_str().is_some_and(|error| error.contains("the sample was told to fail")), "{task}");
    let failed = events(&daemon, &id, "failed");
    assert_eq!((failed.len(), &failed[0]["at"]), (1, &task["completed_at"]));
    assert!(failed[0]["why"].as_str().is_some_and(|why| why.contains("the sample was told to fail")), "{failed:?}");
}

#[test]
fn handle_timeout() {
    let daemon = Daemon::start();
    let id = daemon.submit("Tea [sample:stuck]", &["--time-limit", "1s", "--max-retries", "0"]);
    let task = daemon.await_state(&id, "timeout");
    let timed_out = events(&daemon, &id, "timed_out");
    assert_eq!((timed_out.len(), &timed_out[0]["at"]), (1, &task["completed_at"]));
    assert!(timed_out[0]["why"].as_str().is_some_and(|why| why.contains("time limit")), "{timed_out:?}");
}

#[test]
fn handle_cancelled() {
    let daemon = Daemon::start();
    let ours = daemon.submit("Tea [sample:stuck]", &[]);
    daemon.await_state(&ours, "processing");
    daemon.ctl(&["cancel", &ours]).exits(0);
    let task = daemon.await_state(&ours, "cancelled");
    let asked = events(&daemon, &ours, "cancel_requested");
    assert!(asked[0]["who"].as_str().is_some_and(|who| who.contains(':')), "a person asked: {asked:?}");
    let cancelled = events(&daemon, &ours, "cancelled");
    assert_eq!((cancelled.len(), &cancelled[0]["at"]), (1, &task["completed_at"]));

    // A generator that cancels by itself has not done what it was paid for.
    let theirs = daemon.submit("Silk [sample:cancelled]", &["--max-retries", "0"]);
    let task = daemon.await_state(&theirs, "failed");
    assert!(task["error"].as_str().is_some_and(|error| error.contains("cancel")), "{task}");
}

#[test]
fn handle_processing() {
    let daemon = Daemon::start();
    let id = daemon.submit("Tea [sample:seconds=20]", &[]);
    let submitted = daemon.await_state(&id, "submitted");
    assert!(submitted["started_at"].is_null(), "{submitted}");
    let task = daemon.await_state(&id, "processing");
    assert!(time(&task, "started_at") >= time(&task, "submitted_at"), "{task}");
    assert_eq!((&task["generator_state"], task["progress"].is_null()), (&json!("processing"), false), "{task}");
    let started = events(&daemon, &id, "started");
    assert_eq!((started.len(), &started[0]["at"]), (1, &task["started_at"]));
}

#[test]
fn retry_task() {
    let daemon = Daemon::start();
    // By itself: the first job fails, the second is a new one.
    let twice = daemon.submit("Twice [sample:fail-once]", &[]);
    let task = daemon.await_state(&twice, "completed");
    assert_eq!((&task["retry_count"], &task["attempt"], &task["error"]), (&json!(1), &json!(2), &Value::Null));
    // Up to max_retries (3).
    let spent = daemon.submit("Never [sample:fail]", &[]);
    let failed = daemon.await_state(&spent, "failed");
    assert_eq!((&failed["retry_count"], &failed["max_retries"]), (&json!(3), &json!(3)));
    assert_eq!(daemon.paid().iter().filter(|topic| topic.starts_with("Never")).count(), 4);
    let refused = daemon.ctl(&["retry", &spent]).exits(1);
    assert!(refused.err.contains('3') && refused.err.contains("reset"), "{refused:?}");
    assert_eq!(daemon.state(&spent), "failed");

    // By hand: back to pending, old times cleared, the count goes up; a person may start it again.
    daemon.ctl(&["pause"]).exits(0);
    daemon.ctl(&["retry", &spent, "--reset-count"]).exits(0);
    let pending = daemon.task(&spent);
    assert_eq!((&pending["state"], &pending["retry_count"]), (&json!("pending"), &json!(0)));
    for field in ["submitted_at", "started_at", "completed_at", "timeout_at", "error"] {
        assert!(pending[field].is_null(), "{field}: {pending}");
    }
    assert_eq!(pending["created_at"], failed["created_at"]);
    daemon.ctl(&["cancel", &spent]).exits(0);
    daemon.ctl(&["retry", &spent]).exits(0);
    assert_eq!(daemon.task(&spent)["retry_count"], 1);

    let done = daemon.ctl(&["retry", &twice]).exits(1);
    assert!(done.err.contains("completed"), "{done:?}");
}

#[test]
fn retry_task_has_a_fresh_time_limit() {
    let daemon = Daemon::start();
    let id = daemon.submit("Tea [sample:stuck]", &["--time-limit", "1s", "--max-retries", "0"]);
    let first = daemon.await_state(&id, "timeout");
    let ended_at = time(&first, "completed_at").to_owned();
    daemon.ctl(&["retry", &id, "--reset-count"]).exits(0);
    daemon.wait_until("the second job", || (daemon.paid().len() == 2).then_some(()));
    daemon.wait_until("its end", || (daemon.state(&id) == "timeout").then_some(()));
    let shown = daemon.ctl_json(&["show", &id]);
    let limits: Vec<&str> = (0..2).map(|at| time(&shown["attempts"][at], "timeout_at")).collect();
    assert!(limits[0] < ended_at.as_str() && limits[1] > ended_at.as_str(), "{shown}");
}
