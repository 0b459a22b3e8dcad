//! The real generator by itself, without contentd: what the end-to-end tests and the driver's configuration rest on.
//!
//! If one of these fails, the generator (or the rig) has changed, and the failures of other tests are its echo.

#[path = "support/real_rig.rs"]
mod real_rig;

use std::time::{Duration, Instant};

use real_rig::RealRig;
use real_rig::llm_stub::Step;

/// Longer than anything here takes on a slow and busy machine.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_job_is_written_once_and_its_result_has_the_article_and_pictures() {
    let rig = RealRig::start();
    let id = rig.create("人工智能与写作", "写一篇文章 [ref:0123456789abcdef]");
    assert_eq!(rig.wait_for(&id, &["completed", "failed"], LIMIT), "completed", "{}", rig.worker_log());
    let result = rig.result(&id);
    assert!(result.contains("1. ARTICLE\n") && result.contains("\n内容:\n# 人工智能与写作\n"), "{result}");
    assert!(
        result.contains("\n字数: ") && result.contains(&format!("图片 URL:\n{}/img/", rig.stub.root_url())),
        "{result}"
    );
    assert_eq!(rig.stub.count("人工智能与写作", Step::Write), 1, "{:?}", rig.stub.counts("人工智能与写作"));
    let row = rig.list().into_iter().find(|row| row["taskId"] == id.as_str()).expect("the job is listed");
    assert_eq!(row["requirements"], "写一篇文章 [ref:0123456789abcdef]", "our mark survives");
}

#[test]
fn a_model_that_refuses_ends_the_job_failed() {
    let rig = RealRig::start();
    let id = rig.create("FAIL401 话题", "要求");
    assert_eq!(rig.wait_for(&id, &["completed", "failed"], LIMIT), "failed");
    // Its queue tries the job again, cannot claim it, and writes that over the true reason a second or so later. A poller
    // must keep the first reason it saw. The repeated tries reach the model no more.
    let deadline = Instant::now() + LIMIT;
    let reason = || rig.list()[0]["errorMessage"].as_str().unwrap_or_default().to_owned();
    while !reason().starts_with("Failed to claim task ") {
        assert!(Instant::now() < deadline, "the reason stays {:?}: has the generator been mended?", reason());
    }
    assert_eq!(rig.stub.count("FAIL401 话题", Step::Write), 1);
}

#[test]
fn a_poor_article_is_written_three_times_before_the_job_fails() {
    let rig = RealRig::start();
    let id = rig.create("POOR 话题", "要求");
    assert_eq!(rig.wait_for(&id, &["completed", "failed"], LIMIT), "failed");
    assert_eq!(rig.stub.count("POOR 话题", Step::Write), 3, "one paid job can be three paid articles");
}

#[test]
fn a_job_without_a_worker_waits_and_is_done_when_one_comes() {
    let mut rig = RealRig::start_without_worker();
    let id = rig.create("等待", "要求");
    assert_eq!(rig.state(&id).as_deref(), Some("pending"));
    assert_eq!(rig.stub.written().len(), 0);
    rig.start_worker(1);
    assert_eq!(rig.wait_for(&id, &["completed", "failed"], LIMIT), "completed");
}

#[test]
fn a_killed_worker_leaves_its_job_running_and_a_stopped_redis_leaves_the_list_readable() {
    let mut rig = RealRig::start();
    let id = rig.create("SLOW60000 长文", "要求");
    rig.wait_for(&id, &["running"], LIMIT);
    rig.kill_worker();
    assert_eq!(rig.state(&id).as_deref(), Some("running"));
    rig.stop_redis();
    assert_eq!(rig.state(&id).as_deref(), Some("running"));
    rig.restart_redis();
    rig.start_worker(1);
    let next = rig.create("之后", "要求");
    assert_eq!(rig.wait_for(&next, &["completed", "failed"], LIMIT), "completed");
}
