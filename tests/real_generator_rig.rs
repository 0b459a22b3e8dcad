//! The real generator by itself, without contentd: what the end-to-end tests and the driver's configuration rest on.
//!
//! If one of these fails, the generator (or the rig) has changed, and the failures of other tests are its echo.

#[path = "support/real_rig.rs"]
mod real_rig;

use std::time::Duration;

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
    assert!(rig.stub.count("FAIL401 话题", Step::Write) >= 1);
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
