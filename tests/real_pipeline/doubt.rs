//! Submits that give no answer: the generator hangs without its Redis, or makes the job and dies before it says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;

use crate::daemon::{Daemon, Settings, wait_until};
use crate::generator::jobs_about;
use crate::real_rig::RealRig;
use crate::real_rig::llm_stub::Step;

#[test]
fn a_submit_that_hangs_is_proved_absent_and_made_again_when_redis_is_back() {
    const TOPIC: &str = "没有队列";
    let mut rig = RealRig::start_without_worker();
    rig.stop_redis();
    let mut settings = Settings::of(&rig);
    settings.set(&["submit", "timeout"], "8s");
    let daemon = Daemon::start(&rig, &settings);
    let id = daemon.submit(TOPIC, json!({}));
    let task = daemon.wait_until(&id, "in doubt", |_| daemon.moves(&id).contains(&"doubted".to_owned()));
    assert_eq!(task["state"], "submitting", "nobody knows yet: {task:#}");
    daemon.wait_until(&id, "proved absent", |_| daemon.moves(&id).contains(&"proved_absent".to_owned()));
    assert_eq!(daemon.attempts(&id)[0]["state"], "ended_abandoned");
    rig.restart_redis();
    rig.start_worker(1);
    let task = daemon.wait_for(&id, "completed");
    assert_eq!(task["retry_count"], 0, "an absence costs no retry: {task:#}");
    assert_eq!(rig.stub.count(TOPIC, Step::Write), 1);
    assert_eq!(jobs_about(&rig, TOPIC).len(), 1);
}

/// Stands before the generator's command. It makes the job and is killed, makes it and hangs, or ends at once and leaves
/// it to a process of its own, the first time; always with nothing said.
const WRAPPER: &str = r#"#!/bin/sh
exec 3<&0
case "$*" in
  *KILLED*) "$@" >/dev/null 2>&1; kill -9 $$ ;;
  *HANGS*) "$@" >/dev/null 2>&1; echo $$ >hanging.pid; exec sleep 60 ;;
  *LEAVES*)
    if mkdir left-once 2>/dev/null; then
      # A shell gives a process in the background another standard input unless it is told so by another number.
      { sleep 12; exec "$@"; } <&3 >/dev/null 2>&1 &
      exit 7
    fi
    exec "$@" ;;
  *TWICE*) "$@" >/dev/null 2>&1; "$@" >/dev/null 2>&1; exit 7 ;;
  *) exec "$@" ;;
esac
"#;

/// Writes it down where it can be run.
pub fn wrapper(rig: &RealRig) -> PathBuf {
    let path = rig.cwd.join("wrapper");
    fs::write(&path, WRAPPER).expect("the wrapper is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the wrapper may be run");
    path
}

#[test]
fn a_job_that_was_made_without_a_word_is_found_by_its_mark_and_paid_once() {
    let rig = RealRig::start();
    let mut settings = Settings::of(&rig);
    settings.set(&["submit", "timeout"], "15s");
    settings.wrap_submit(&wrapper(&rig));
    let daemon = Daemon::start(&rig, &settings);
    let topics = ["KILLED 一", "HANGS 二", "LEAVES 三"];
    let ids = topics.map(|topic| daemon.submit(topic, json!({})));
    let twice = daemon.submit("TWICE 四", json!({}));
    for (id, topic) in ids.iter().zip(topics) {
        let task = daemon.wait_for(id, "completed");
        assert_eq!(task["retry_count"], 0, "a doubt costs no retry: {task:#}");
        assert_eq!(rig.stub.count(topic, Step::Write), 1, "{topic}: {:?}", daemon.moves(id));
        assert_eq!(jobs_about(&rig, topic).len(), 1, "{topic}: {:?}", daemon.moves(id));
    }
    for id in &ids {
        assert!(daemon.moves(id).contains(&"adopted".to_owned()), "{:?}", daemon.moves(id));
        assert_eq!(daemon.attempts(id).len(), 1);
    }

    // Two jobs with one key are a person's affair; the one that is named brings its piece.
    let task = daemon.wait_for(&twice, "held");
    let jobs = jobs_about(&rig, "TWICE 四");
    assert!(jobs.len() == 2 && jobs.iter().all(|job| task["reason"].to_string().contains(&job.id)), "{task:#}");
    wait_until("both are written", || rig.stub.count("TWICE 四", Step::Write) == 2);
    daemon.call("Tasks.Settle", json!({ "task": twice, "adopt": jobs[1].id }));
    assert_eq!(daemon.wait_for(&twice, "completed")["external_ref"], jobs[1].id.as_str());
    assert_eq!(rig.stub.count("TWICE 四", Step::Write), 2, "nothing is bought beyond what the program did by itself");
    assert_eq!(daemon.pooled().len(), 4);
}
