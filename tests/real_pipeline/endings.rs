//! Ends that nobody wished: cancels that the generator cannot carry out, time limits, a worker that was killed.

use contentd::control::api::ApiError;
use contentd::control::client::ClientError;
use serde_json::{Value, json};

use crate::daemon::{Daemon, Settings, wait_until};
use crate::generator::wait_for_jobs;
use crate::real_rig::RealRig;
use crate::real_rig::llm_stub::Step;

fn is_told_that_a_job_may_be_alive(task: &Value) -> bool {
    let told = format!("{} {}", task["reason"], task["error"]);
    told.contains("may be alive")
}

#[test]
fn a_cancel_that_the_generator_cannot_carry_out_ends_in_a_proof_or_says_that_there_is_none() {
    const TOO_LATE: &str = "SLOW4000 太迟";
    const GOES_ON: &str = "SLOW40000 不停";
    const TIMED_OUT: &str = "SLOW40001 超时";
    let mut rig = RealRig::start_without_worker();
    rig.start_worker(3);
    let daemon = Daemon::start(&rig, &Settings::of(&rig));
    let limits = json!({ "time_limit": "8s", "max_retries": 0 });
    let (too_late, goes_on) = (daemon.submit(TOO_LATE, json!({})), daemon.submit(GOES_ON, limits.clone()));
    let timed_out = daemon.submit(TIMED_OUT, limits);
    for (id, topic) in [(&too_late, TOO_LATE), (&goes_on, GOES_ON)] {
        wait_until("the article is being written", || rig.stub.count(topic, Step::Write) == 1);
        daemon.wait_until(id, "accepted", |task| task["external_ref"].is_string());
        daemon.call("Tasks.Cancel", json!({ "tasks": [id] }));
    }

    let task = daemon.wait_for(&too_late, "completed");
    assert!(task["reason"].to_string().contains("too late"), "{task:#}");
    assert!(daemon.moves(&too_late).contains(&"cancel_requested".to_owned()), "{:?}", daemon.moves(&too_late));

    // Both are ended by their deadlines, while the jobs go on.
    let task = daemon.wait_for(&goes_on, "cancelled");
    assert!(is_told_that_a_job_may_be_alive(&task), "{task:#}");
    let task = daemon.wait_for(&timed_out, "timeout");
    assert!(is_told_that_a_job_may_be_alive(&task), "{task:#}");
    for id in [&goes_on, &timed_out] {
        let refused = daemon.try_call("Tasks.Retry", json!({ "tasks": [id], "reset_count": true }));
        assert!(matches!(refused, Err(ClientError::Refused(ApiError::JobMayBeAlive { .. }))), "{refused:?}");
    }

    for (id, topic) in [(&goes_on, GOES_ON), (&timed_out, TIMED_OUT)] {
        wait_for_jobs(&rig, topic, |jobs| jobs.iter().all(|job| job.status == "completed"));
        daemon.call("Tasks.Poll", json!({ "task": id }));
        daemon.wait_until(id, "with its late piece", |task| task["content_id"].is_i64());
    }
    assert_eq!(daemon.task(&goes_on)["state"], "cancelled");
    let kept = daemon.call("Content.List", json!({ "task": goes_on }))["contents"][0].clone();
    assert_eq!(kept["review_status"], "pending_review", "what nobody wanted is kept for a person: {kept:#}");
    assert_eq!(daemon.task(&timed_out)["state"], "completed");
    let number = |id| daemon.task(id)["content_id"].as_i64().expect("it has a piece");
    assert_eq!(daemon.pooled(), [number(&timed_out)], "what was to be cancelled is not in the pool");
    for topic in [TOO_LATE, GOES_ON, TIMED_OUT] {
        assert_eq!(rig.stub.count(topic, Step::Write), 1, "{topic}");
    }
}

#[test]
fn a_job_whose_worker_was_killed_is_seen_failed_and_bought_once_more() {
    const TOPIC: &str = "SLOW5000 被杀";
    let mut rig = RealRig::start();
    let daemon = Daemon::start(&rig, &Settings::of(&rig));
    let id = daemon.submit(TOPIC, json!({}));
    wait_until("the article is being written", || rig.stub.count(TOPIC, Step::Write) == 1);
    rig.kill_worker();
    daemon.wait_for(&id, "processing");
    assert_eq!(rig.stub.count(TOPIC, Step::Write), 1, "a job that is running is not bought again");
    rig.start_worker(1);
    let task = daemon.wait_for(&id, "completed");
    assert_eq!((&task["attempt"], &task["retry_count"]), (&json!(2), &json!(1)), "{task:#}");
    let attempts = daemon.attempts(&id);
    assert_eq!(attempts[0]["state"], "ended_failed", "{attempts:#?}");
    assert_ne!(attempts[0]["key"], attempts[1]["key"], "a new job has a new key");
    assert_eq!(rig.stub.count(TOPIC, Step::Write), 2, "the one that was lost with the worker, and the retry");
    assert_eq!(daemon.pooled().len(), 1);
}

#[test]
fn a_job_that_was_lost_with_the_queue_is_a_persons_to_decide_and_is_not_bought_by_itself() {
    const TOPIC: &str = "丢了的任务";
    let mut rig = RealRig::start_without_worker();
    let mut settings = Settings::of(&rig);
    settings.set(&["dead_when", "unchanged_for"], "8s");
    let daemon = Daemon::start(&rig, &settings);
    let id = daemon.submit(TOPIC, json!({}));
    daemon.wait_for(&id, "submitted");
    // Redis keeps nothing: the generator's row says pending for ever, and no worker will hear of it.
    rig.stop_redis();
    rig.restart_redis();
    rig.start_worker(1);
    let task = daemon.wait_for(&id, "held");
    assert!(task["reason"].to_string().contains("may never run"), "{task:#}");
    assert!(rig.stub.written().is_empty(), "nothing was bought");
    daemon.call("Tasks.Settle", json!({ "task": id, "absent": true }));
    let task = daemon.wait_for(&id, "completed");
    assert_eq!((&task["attempt"], &task["retry_count"]), (&json!(2), &json!(0)), "{task:#}");
    assert_eq!(rig.stub.count(TOPIC, Step::Write), 1);
}
