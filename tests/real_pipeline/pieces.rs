//! What the whole is for: topics in, pieces with pictures out; and what a model that refuses leaves behind.

use serde_json::json;

use crate::daemon::{Daemon, Settings, wait_until};
use crate::generator::{Job, StoppedWorker, wait_for_jobs};
use crate::real_rig::RealRig;
use crate::real_rig::llm_stub::Step;

#[test]
fn topics_go_in_and_articles_with_pictures_come_out_in_the_pool() {
    let rig = RealRig::start();
    let mut settings = Settings::of(&rig);
    // More jobs than a page has rows.
    settings.set(&["poll", "batch"], 2);
    let daemon = Daemon::start(&rig, &settings);
    // The model repeats its instructions in this one, our mark with them.
    let echoed = daemon.submit("ECHO 人工智能与写作", json!({ "keywords": ["推敲", "机器"], "priority": 9 }));
    let dashed = daemon.submit("--help; rm -rf \"$HOME\"", json!({ "requirements": "短一些", "priority": 7 }));
    let reviewed = daemon.submit("等人来看", json!({ "auto_approve": false }));
    let ids = [&echoed, &dashed, &reviewed];
    for id in ids {
        daemon.wait_for(id, "completed");
    }
    for (id, topic) in ids.iter().zip(["ECHO 人工智能与写作", "--help; rm -rf \"$HOME\"", "等人来看"]) {
        let (task, piece) = (daemon.task(id), daemon.piece(id));
        let text = piece["content"].as_str().expect("the piece has a text");
        assert!(text.starts_with(&format!("# {topic}\n")) && text.trim_end().ends_with("总结：谢谢阅读。"), "{text}");
        assert!(!text.contains("[ref:") && !piece["html_content"].to_string().contains("[ref:"), "{piece:#}");
        assert_eq!(piece["title"], topic);
        assert!(!piece["summary"].as_str().unwrap_or_default().contains("[ref:"), "{piece:#}");
        let images = piece["images"].as_array().expect("images are a list");
        let prefix = format!("{}/img/", rig.stub.root_url());
        assert_eq!(images.len(), 2, "{images:?}");
        assert!(images.iter().all(|image| image.as_str().is_some_and(|url| url.starts_with(&prefix))), "{images:?}");
        assert_eq!(piece["cover_image"], images[0]);
        assert!(piece["word_count"].as_i64().is_some_and(|count| count > 500), "{piece:#}");
        assert_eq!(task["attempt"], 1);
        assert_eq!(task["retry_count"], 0);
        assert_eq!(task["content_id"], piece["content_id"]);
        assert!(["submitted_at", "completed_at"].iter().all(|at| task[at].is_string()), "{task:#}");
        assert_eq!(rig.stub.count(topic, Step::Write), 1, "{:?}", rig.stub.counts(topic));
    }
    let raw = rig.result(daemon.task(&echoed)["external_ref"].as_str().expect("a job has a reference"));
    assert!(raw.contains("。[ref:"), "the model did repeat the mark: {raw}");
    let content_id = |id| daemon.task(id)["content_id"].as_i64().expect("a completed task has a piece");
    assert_eq!(daemon.pooled(), [content_id(&echoed), content_id(&dashed)], "the highest priority goes out first");
    assert_eq!(daemon.piece(&reviewed)["review_status"], "pending_review");
    daemon.call("Content.Approve", json!({ "content_id": content_id(&reviewed) }));
    assert_eq!(daemon.pooled().last(), Some(&content_id(&reviewed)));
    assert_eq!(rig.list().len(), 3, "one job for each topic");
}

#[test]
fn a_model_that_refuses_is_asked_once_more_and_the_first_reason_is_kept() {
    const TOPIC: &str = "FAIL401 话题";
    let rig = RealRig::start();
    let daemon = Daemon::start(&rig, &Settings::of(&rig));
    let id = daemon.submit(TOPIC, json!({}));
    for round in 1..=2 {
        // Two seconds after a failure the generator's queue tries again, cannot claim the job, and writes that over the
        // reason. It stands still until contentd has seen the reason: what is overwritten before a poll nobody can know.
        let jobs = wait_for_jobs(&rig, TOPIC, |jobs| jobs.len() == round && jobs[round - 1].status == "failed");
        let stopped = StoppedWorker::of(&rig);
        let theirs = jobs[round - 1].error_message.clone().unwrap_or_default();
        assert!(!theirs.is_empty() && !theirs.contains("Failed to claim"), "{theirs}");
        wait_until("contentd knows that the job failed", || daemon.attempts(&id)[round - 1]["error"].is_string());
        drop(stopped);
        let ours = daemon.attempts(&id)[round - 1]["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(ours, format!("the generator's job failed: {theirs}"));
    }
    let task = daemon.wait_for(&id, "failed");
    let is_overwritten = |job: &Job| job.error_message.as_deref().unwrap_or_default().starts_with("Failed to claim");
    wait_for_jobs(&rig, TOPIC, |jobs| jobs.iter().all(is_overwritten));
    daemon.call("Tasks.PollAll", json!({}));
    assert_eq!(daemon.task(&id)["error"], task["error"], "the reason that came first stays");
    assert_eq!((&task["attempt"], &task["retry_count"]), (&json!(2), &json!(1)), "{task:#}");
    assert_eq!(rig.stub.count(TOPIC, Step::Write), 2, "the first time and one retry");
    assert_eq!(daemon.generator()["breaker"], "closed", "one task's failures are not the generator's");
    assert_eq!(daemon.pooled(), [0_i64; 0]);
}
