//! The daemon killed in the middle, at every stage of a job: what is paid for comes in, and nothing is paid twice.

use std::collections::BTreeSet;

use serde_json::json;

use crate::daemon::{Daemon, Settings, wait_until};
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
