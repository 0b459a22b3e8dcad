//! What becomes of pieces that may have been reviewed or published since the backup.

use serde_json::{Value, json};

use super::daemon::{Daemon, Setup};
use super::*;

/// What a task's content record is called.
fn content_of(daemon: &Daemon, task: &str) -> i64 {
    daemon.call("io.contentd.Tasks.Result", json!({ "task": task }))["content"]["content_id"].as_i64().unwrap()
}

#[test]
fn what_had_ended_or_waited_for_a_review_in_the_backup_is_neither_paid_for_nor_published_twice() {
    let mut daemon = Daemon::with(Setup::without_polls());
    daemon.set_faults("create:fail");
    let failed = daemon.submit("Failed before", &["--max-retries", "0"]);
    daemon.wait_until("it has failed", || {
        let _ = daemon.try_call("io.contentd.Tasks.Poll", &json!({ "task": failed }))?;
        (daemon.state(&failed) == "failed").then_some(())
    });
    daemon.set_faults("");
    let reviewed = daemon.submit("Reviewed since", &["--no-auto-approve"]);
    daemon.await_state(&reviewed, "submitted");
    daemon.ctl(&["pause"]).exits(0);
    let waits = daemon.submit("Waits", &[]);
    let file = backup(&daemon, "b.db");

    // What the backup will never know: a retry that was paid for, and an approval.
    daemon.ctl(&["resume"]).exits(0);
    daemon.ctl(&["retry", &failed, "--reset-count"]).exits(0);
    for task in [&failed, &reviewed, &waits] {
        poll_until_completed(&daemon, task);
    }
    daemon.ctl(&["content", "approve", &content_of(&daemon, &reviewed).to_string()]).exits(0);
    let last = [&failed, &reviewed, &waits].map(|task| content_of(&daemon, task)).into_iter().max().unwrap();
    let paid = daemon.paid();
    daemon.kill9();
    restore_with(&daemon, &file, &[]).exits(0);
    daemon.spawn();
    daemon.await_answer();
    daemon.ctl(&["resume"]).exits(0);

    let refused = daemon.ctl(&["retry", &failed, "--reset-count"]).exits(1);
    assert!(
        refused.err.contains("restored from a backup") && refused.err.contains("contentctl release"),
        "{refused:?}"
    );
    let many = daemon.ctl(&["retry", "--state", "failed", "--reset-count", "--dry-run"]).exits(1).json();
    assert_eq!((&many["done_count"], &many["skipped_count"]), (&json!(0), &json!(1)), "{many}");
    // A cancel and a retry are no way round a release.
    daemon.ctl(&["cancel", &waits]).exits(0);
    assert_eq!(daemon.state(&waits), "cancelled");
    daemon.ctl(&["retry", &waits, "--reset-count"]).exits(1);
    poll_until_completed(&daemon, &reviewed);
    let again = content_of(&daemon, &reviewed);
    assert!(again > last, "{again}: a number of the lost daemon's names nothing else");
    let approved = daemon.ctl_json(&["content", "approve", &again.to_string()]);
    assert_eq!(approved["pool_status"], "held", "who approves it is told: {approved}");
    let pool = daemon.call("io.contentd.Pool.List", json!({}));
    assert!(pool["entries"][0]["held_reason"].is_string(), "it may have been approved and gone out: {pool}");
    assert_eq!(daemon.paid(), paid, "nothing was paid for again");
    sound(&daemon.database());

    // An operator has looked.
    daemon.ctl(&["release", &failed]).exits(0);
    assert_eq!(daemon.state(&failed), "failed");
    daemon.ctl(&["retry", &failed, "--reset-count"]).exits(0);
    poll_until_completed(&daemon, &failed);
    assert_eq!(daemon.paid().len(), paid.len() + 1);
    sound(&daemon.database());
}

#[test]
fn what_went_out_since_the_backup_is_handed_out_again_under_the_key_that_it_had() {
    let mut daemon = Daemon::with(Setup::without_polls());
    let done = daemon.submit("Done before", &[]);
    poll_until_completed(&daemon, &done);
    let under_way = daemon.submit("Under way", &[]);
    daemon.await_state(&under_way, "submitted");
    let file = backup(&daemon, "b.db");

    poll_until_completed(&daemon, &under_way);
    let next = |daemon: &Daemon| {
        let given =
            daemon.call("io.contentd.Pool.Next", json!({ "limit": 9 }))["handed_out"].as_array().unwrap().clone();
        let key_of = |one: &Value| {
            (one["content"]["task_id"].as_str().unwrap().to_owned(), one["key"].as_str().unwrap().to_owned())
        };
        (given.iter().map(key_of).collect::<std::collections::BTreeMap<_, _>>(), given)
    };
    let (keys, given) = next(&daemon);
    assert_eq!(keys.keys().collect::<Vec<_>>().len(), 2, "{given:?}");
    for one in &given {
        daemon.ctl(&["pool", "done", &one["pool_id"].to_string(), "--fence", &one["fence"].to_string()]).exits(0);
    }
    daemon.kill9();
    restore_with(&daemon, &file, &[]).exits(0);
    daemon.spawn();
    daemon.await_answer();
    // What was under way has the same piece once more, under another number of content and of entry.
    poll_until_completed(&daemon, &under_way);
    assert!(next(&daemon).0.is_empty(), "nobody has looked whether it is out");
    daemon.ctl(&["pool", "release", "--all"]).exits(0);
    let (again, given_again) = next(&daemon);
    assert_eq!(again, keys, "whoever takes each key once takes none of them twice");
    assert_ne!(given_again, given);
    sound(&daemon.database());
}
