//! A generator that nobody has finished setting up: it takes nothing, costs nothing, and goes on once it is mended.

use std::fs;

use serde_json::json;

use crate::daemon::{Daemon, Settings, wait_until};
use crate::generator::jobs_about;
use crate::real_rig::RealRig;
use crate::real_rig::llm_stub::Step;

#[test]
fn without_its_queue_the_generator_is_unavailable_and_nothing_is_spent_until_it_is_mended() {
    const TOPICS: [&str; 2] = ["没有配置一", "没有配置二"];
    let rig = RealRig::start();
    let mut settings = Settings::of(&rig);
    let redis = settings.get(&["env", "REDIS_URL"]);
    settings.remove(&["env", "REDIS_URL"]);
    let daemon = Daemon::start(&rig, &settings);
    let ids = TOPICS.map(|topic| daemon.submit(topic, json!({})));
    let withdrawn = |id: &String| daemon.moves(id).contains(&"withdrawn".to_owned());
    daemon.wait_until(&ids[0], "withdrawn", |_| ids.iter().any(withdrawn));
    let generator = daemon.generator();
    assert_eq!((&generator["breaker"], &generator["is_available"]), (&json!("unavailable"), &json!(false)));
    assert!(generator["breaker_reason"].to_string().contains("TaskQueue is not available"), "{generator:#}");
    // Each probe is one call, with back-off: the backlog is not fed into a generator that takes nothing.
    let calls: usize = TOPICS.iter().map(|topic| jobs_about(&rig, topic).len()).sum();
    assert!((1..=4).contains(&calls), "{calls} calls");
    for id in &ids {
        let task = daemon.task(id);
        assert!(task["state"] == "pending" || task["state"] == "submitting", "{task:#}");
        assert!(task["reason"].is_string() || task["error"].is_string(), "a task that waits says why: {task:#}");
    }
    assert!(rig.stub.written().is_empty(), "nothing was bought");

    settings.set(&["env", "REDIS_URL"], redis);
    daemon.configure(&settings);
    daemon.reload();
    for (id, topic) in ids.iter().zip(TOPICS) {
        let task = daemon.wait_for(id, "completed");
        assert_eq!(task["retry_count"], 0, "nobody was there: that costs no retry: {task:#}");
        // The rows that the failed calls left carry keys of withdrawn attempts, and nothing runs them.
        assert_eq!(rig.stub.count(topic, Step::Write), 1, "{topic}");
    }
    assert_eq!(daemon.generator()["breaker"], "closed");
    assert_eq!(daemon.pooled().len(), 2);
}

#[test]
fn a_generator_that_lost_its_directory_is_left_alone_and_owed_nothing() {
    let topics = ["目录一", "目录二", "目录三", "目录四", "目录五", "目录六", "目录七", "目录八"];
    let mut rig = RealRig::start_without_worker();
    let daemon = Daemon::start(&rig, &Settings::of(&rig));
    let (data, aside) = (rig.cwd.join("data"), rig.cwd.join("aside"));
    fs::rename(&data, &aside).expect("the directory is moved away");
    let ids = topics.map(|topic| daemon.submit(topic, json!({})));
    // Every verb ends with exit 1 and says nothing then: each submit is a doubt, until there have been too many of them.
    wait_until("the breaker is open", || daemon.generator()["breaker"] != "closed");
    let sent: Vec<i64> = ids.iter().map(|id| daemon.task(id)["attempt"].as_i64().unwrap_or_default()).collect();
    assert!(sent.contains(&0), "the rest of the backlog is kept from it: {sent:?}");
    fs::rename(&aside, &data).expect("the directory is moved back");
    rig.start_worker(2);
    for (id, topic) in ids.iter().zip(topics) {
        let task = daemon.wait_for(id, "completed");
        assert_eq!(task["retry_count"], 0, "{task:#}");
        assert_eq!(rig.stub.count(topic, Step::Write), 1, "{topic}");
    }
    assert_eq!(daemon.pooled().len(), topics.len());
}
