//! The daemon killed in the middle, at every stage of a job: what is paid for comes in, and nothing is paid twice.

use std::collections::BTreeSet;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::daemon::{Daemon, Settings, wait_until};
use crate::doubt::{let_go_on, wrapper};
use crate::generator::jobs_about;
use crate::real_rig::RealRig;
use crate::real_rig::llm_stub::Step;

#[test]
fn a_daemon_killed_at_every_stage_pays_once_and_loses_nothing() {
    const TOPICS: [&str; 4] = ["SLOW3000 一", "SLOW3000 二", "SLOW3000 三", "SLOW3000 四"];
    let rig = RealRig::start();
    let mut daemon = Daemon::start(&rig, &Settings::of(&rig));

    // In the middle of the calls that can pay: before the job is made, and after it, unheard.
    let first = daemon.submit(TOPICS[0], json!({}));
    daemon.wait_for(&first, "submitting");
    daemon.crash();
    let second = daemon.submit(TOPICS[1], json!({}));
    wait_until("the job is made", || !jobs_about(&rig, TOPICS[1]).is_empty());
    daemon.crash();
    // While the article is being written, and between its end and the fetch.
    let third = daemon.submit(TOPICS[2], json!({}));
    wait_until("the article is being written", || rig.stub.count(TOPICS[2], Step::Write) == 1);
    daemon.crash();
    wait_until("the piece waits", || jobs_about(&rig, TOPICS[2]).iter().any(|job| job.status == "completed"));
    daemon.crash();
    // A death between a piece's commit and the next thing, whatever that is.
    let fourth = daemon.submit(TOPICS[3], json!({}));
    daemon.wait_for(&third, "completed");
    daemon.crash();

    let ids = [first, second, third, fourth];
    for (id, topic) in ids.iter().zip(TOPICS) {
        let task = daemon.wait_for(id, "completed");
        assert_eq!(task["retry_count"], 0, "what we broke off ourselves costs no retry: {task:#}");
        assert_eq!(rig.stub.count(topic, Step::Write), 1, "{topic}: {:?}", daemon.moves(id));
        assert_eq!(jobs_about(&rig, topic).len(), 1, "{topic}: {:?}", daemon.moves(id));
    }
    let pieces: BTreeSet<i64> = daemon.pooled().into_iter().collect();
    assert_eq!((pieces.len(), daemon.pooled().len()), (4, 4), "each piece once");
    let contents = daemon.call("Content.List", json!({}))["contents"].clone();
    assert_eq!(contents.as_array().map(Vec::len), Some(4), "{contents:#}");
}

#[test]
fn a_doubt_and_a_cancel_outlive_the_daemon() {
    const TOPICS: [&str; 4] = ["KILLED 一", "LEAVES 二", "SLOW6000 三", "HANGS 四"];
    let rig = RealRig::start();
    let mut settings = Settings::of(&rig);
    settings.wrap_submit(&wrapper(&rig));
    let mut daemon = Daemon::start(&rig, &settings);
    let cancelled = daemon.submit(TOPICS[2], json!({}));
    daemon.wait_until(&cancelled, "accepted", |task| task["external_ref"].is_string());
    daemon.call("Tasks.Cancel", json!({ "tasks": [cancelled] }));
    daemon.crash();
    let killed = daemon.submit(TOPICS[0], json!({}));
    let leaves = daemon.submit(TOPICS[1], json!({}));
    for id in [&killed, &leaves] {
        daemon.wait_until(id, "in doubt", |_| daemon.moves(id).contains(&"doubted".to_owned()));
    }
    // The process that was left behind keeps its lock: the next daemon sees that somebody is there still.
    daemon.crash();
    let_go_on(&rig, &daemon, &leaves);
    let hangs = daemon.submit(TOPICS[3], json!({}));
    let pid_file = rig.cwd.join("hanging.pid");
    let pid = || std::fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse().ok());
    wait_until("the job is made and the submit hangs", || pid().is_some());
    daemon.crash();
    assert_eq!(daemon.wait_for(&cancelled, "completed")["retry_count"], 0, "the cancel came too late");
    // Nobody ends the submit of a daemon that is gone; where nobody does, its task waits for a person in the end.
    daemon.wait_until(&hangs, "in doubt", |_| daemon.moves(&hangs).contains(&"doubted".to_owned()));
    let pid = pid().and_then(Pid::from_raw).expect("a process has a number");
    kill_process(pid, Signal::KILL).expect("the submit was left hanging");
    for (id, topic) in
        [killed, leaves, cancelled, hangs].iter().zip(["KILLED 一", "LEAVES 二", "SLOW6000 三", "HANGS 四"])
    {
        let task = daemon.wait_for(id, "completed");
        assert_eq!((&task["attempt"], &task["retry_count"]), (&json!(1), &json!(0)), "{task:#} {:?}", daemon.moves(id));
        assert_eq!(rig.stub.count(topic, Step::Write), 1, "{topic}: {:?}", daemon.moves(id));
        assert_eq!(jobs_about(&rig, topic).len(), 1, "{topic}: {:?}", daemon.moves(id));
    }
    // With that of `let_go_on`; the one that was to be cancelled waits for a person.
    assert_eq!(daemon.pooled().len(), 4);
}
