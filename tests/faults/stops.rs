//! A daemon that stands still and goes on, and a wall clock that is set: nothing ends because of either.
//!
//! A pause is measured out, because its length is the fault. Under systemd the watchdog ends such a daemon: that is
//! `scripts/test-systemd faults`.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::live::{Daemon, Home, call, eventually};
use crate::shim::Shimmed;
use crate::{counting, promises, tally};

fn submit(daemon: &Daemon<'_>, generator: &str, topic: &str, more: Value) -> String {
    let mut task = json!({ "account": "blog", "topic": topic, "generator": generator });
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    daemon.submit(task)
}

fn until_exists(home: &Home, name: &str) {
    eventually(name, || home.path(name).exists().then_some(()));
}

#[test]
fn a_daemon_that_was_stopped_for_longer_than_every_limit_takes_what_came_meanwhile() {
    let home = counting::home();
    let daemon = home.start();
    daemon.add_account("blog");
    // A run in the middle, and a job at its generator, with time limits that pass.
    let run = submit(&daemon, "runs", "run [gate]", json!({ "time_limit": 3 }));
    until_exists(&home, "waiting-run");
    let job = submit(&daemon, "counted", "job [late]", json!({ "time_limit": 3 }));
    daemon.until_state(&job, "processing");
    // A call in the middle, whose limit of three seconds passes while nobody looks: no other job may come of it, and no doubt.
    let called = submit(&daemon, "brief", "called [gate]", json!({}));
    until_exists(&home, "waiting-called");
    daemon.signal(Signal::STOP);
    let stopped_at = Instant::now();
    std::fs::write(home.path("gate"), "").unwrap();
    until_exists(&home, "answered-called");
    let socket = home.socket();
    let caller = thread::spawn(move || call(&socket, "io.contentd.Daemon.Ping", json!({})));
    thread::sleep(Duration::from_millis(4_500).saturating_sub(stopped_at.elapsed()));
    daemon.signal(Signal::CONT);
    assert!(caller.join().unwrap().unwrap().is_ok(), "who called meanwhile is answered");
    for (id, topic) in [(&called, "called [gate]"), (&run, "run [gate]"), (&job, "job [late]")] {
        daemon.until_state(id, "completed");
        let task = daemon.task(id);
        assert_eq!(
            (counting::made(&home, topic), &task["retry_count"], &task["attempt"]),
            (1, &json!(0), &json!(1)),
            "{task}"
        );
    }
    assert_eq!(promises::broken(&home.database()), [""; 0]);
}

const WAKES: &str = "SELECT wake_at || '' AS line FROM tasks WHERE topic = 'tomorrow'";

#[test]
fn a_wall_clock_that_jumps_by_an_hour_ends_nothing_and_wakes_nobody() {
    let home = counting::home();
    let shim = Shimmed::of(&home);
    let daemon = shim.start();
    daemon.add_account("blog");
    let delayed = submit(&daemon, "counted", "tomorrow", json!({ "delay": "30m" }));
    let mut jumps = 0;
    let mut open = Vec::new();
    // While it runs, there and back: with jobs, a run and a call in doubt under way.
    for (round, seconds) in ["3600", "-3600"].iter().enumerate() {
        shim.mend("clock");
        let _ = std::fs::remove_file(home.path("gate"));
        let topics = ["called [gate]", "run [gate]"].map(|topic| format!("{round}{topic}"));
        for (generator, topic) in ["found", "runs"].iter().zip(&topics) {
            open.push((submit(&daemon, generator, topic, json!({ "time_limit": 1200 })), topic.clone()));
            until_exists(&home, &format!("waiting-{}", topic.split(' ').next().unwrap()));
        }
        shim.break_by("clock", seconds);
        jumps += 1;
        // Whoever reads the wall clock sees the jump from here on.
        eventually("the clock is wrong", || {
            daemon.ask("io.contentd.Daemon.Ping", json!({}));
            shim.has_bitten("clock").then_some(())
        });
        std::fs::write(home.path("gate"), "").unwrap();
        for (id, _) in &open {
            daemon.until_state(id, "completed");
        }
        assert_eq!(daemon.state(&delayed), "pending");
    }
    let before: i64 = promises::lines(&home.database(), WAKES)[0].parse().unwrap();
    daemon.kill();
    // At a start: there, further, and back over the first clock.
    let mut shift = -3_600;
    for seconds in [3_600, 7_200, -3_600, 0] {
        shim.mend("clock");
        shim.break_by("clock", &seconds.to_string());
        let told = home.log().matches("the wall clock was set by").count();
        let daemon = shim.start();
        jumps += 1;
        if seconds != shift {
            assert!(home.log().matches("the wall clock was set by").count() > told, "{}", home.log());
        }
        shift = seconds;
        let topic = format!("at {seconds} [late]");
        let id = submit(&daemon, "counted", &topic, json!({}));
        open.push((id.clone(), topic));
        daemon.until_state(&id, "completed");
        assert_eq!(daemon.state(&delayed), "pending", "its half hour is not over");
        let wakes: i64 = promises::lines(&home.database(), WAKES)[0].parse().unwrap();
        let moved = (wakes - before) / 1_000;
        assert!((moved - seconds).abs() <= 5, "set by {seconds} s, moved by {moved} s");
        daemon.kill();
    }
    for (id, topic) in &open {
        assert_eq!(counting::made(&home, topic), 1, "{topic}");
        let retries = format!("SELECT retry_count || ' ' || attempt AS line FROM tasks WHERE id = '{id}'");
        assert_eq!(promises::lines(&home.database(), &retries), ["0 1"], "{topic}");
    }
    assert_eq!(promises::broken(&home.database()), [""; 0]);
    // The rows of a task were all written by one daemon, so its times go forward only.
    let backward = "SELECT task_id || ' ' || event AS line FROM (SELECT task_id, event, at,
        lag(at) OVER (PARTITION BY task_id ORDER BY id) AS before FROM events) WHERE at < before";
    assert_eq!(promises::lines(&home.database(), backward), [""; 0]);
    tally::tell(
        "faults: clocks",
        &format!("{jumps} jumps of the wall clock by an hour or more, of running and starting daemons"),
    );
}
