//! The old queue and worker pool: a queue by priority, and workers that empty it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::daemon::{Daemon, Setup};
use crate::{ids, sql};

/// One job at a time, so that the order of running can be read from what was paid.
fn one_at_a_time() -> Setup {
    Setup::default().with_replaced("max_in_flight = 8", "max_in_flight = 1")
}

#[test]
fn put_and_get() {
    let daemon = Daemon::with(one_at_a_time());
    daemon.ctl(&["pause"]).exits(0);
    for (topic, priority) in [("a", "5"), ("b", "1"), ("c", "10"), ("d", "5"), ("e", "10")] {
        daemon.submit(topic, &["--priority", priority]);
    }
    daemon.ctl(&["resume"]).exits(0);
    daemon.ctl(&["wait", "--all"]).exits(0);
    assert_eq!(daemon.paid(), ["c", "e", "a", "d", "b"], "the highest priority first, then the oldest");
}

#[test]
fn put_is_safe_from_many_threads() {
    let daemon = Daemon::start();
    let put = |thread: usize| {
        let submit = |n: usize| {
            let task = json!({ "account": "blog", "topic": format!("{thread}-{n}") });
            let reply = daemon.call("io.contentd.Tasks.Submit", json!({ "task": task }));
            reply["task_id"].as_str().expect("an id").to_owned()
        };
        (0..8).map(submit).collect::<Vec<_>>()
    };
    let submitted: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || put(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a submit is answered")).collect()
    });
    daemon.ctl(&["wait", "--all"]).exits(0);
    assert_eq!(submitted.iter().collect::<BTreeSet<_>>().len(), 32);
    let mut paid = daemon.paid();
    paid.sort();
    let mut expected: Vec<String> = (0..4).flat_map(|thread| (0..8).map(move |n| format!("{thread}-{n}"))).collect();
    expected.sort();
    assert_eq!(paid, expected, "each is taken by one worker, once");
}

#[test]
fn size_and_empty() {
    let daemon = Daemon::start();
    let size = || daemon.call("io.contentd.Tasks.Queue", json!({}))["size"].clone();
    assert_eq!((size(), daemon.ctl_json(&["queue"])), (json!(0), json!([])));
    daemon.ctl(&["pause"]).exits(0);
    for topic in ["a", "b", "c"] {
        daemon.submit(topic, &[]);
    }
    assert_eq!(size(), 3);
    assert_eq!(daemon.call("io.contentd.Tasks.Queue", json!({ "limit": 1 }))["size"], 3, "the whole, not the page");
    assert_eq!(daemon.ctl_json(&["status"])["tasks"]["pending"], 3);
    daemon.ctl(&["resume"]).exits(0);
    daemon.ctl(&["wait", "--all"]).exits(0);
    assert_eq!(size(), 0);
}

#[test]
fn task_done_and_join() {
    let daemon = Daemon::start();
    assert_eq!(daemon.ctl_json(&["wait", "--all"])["unfinished"], 0, "nothing to wait for");
    let stuck = daemon.submit("a [sample:stuck]", &[]);
    let failing = daemon.submit("b [sample:reject]", &[]);
    daemon.ctl(&["wait", &failing]).exits(5);
    let timed_out = daemon.ctl(&["wait", "--all", "--timeout", "1s"]).exits(4);
    assert_eq!(timed_out.json()["unfinished"], 1, "{timed_out:?}");
    let done: Vec<String> = ["c", "d", "e"].iter().map(|topic| daemon.submit(topic, &[])).collect();
    let joined = std::thread::scope(|scope| {
        let join = scope.spawn(|| daemon.ctl(&["wait", "--all"]));
        done.iter().for_each(|id| drop(daemon.await_state(id, "completed")));
        assert!(!join.is_finished(), "one is not done");
        daemon.ctl(&["cancel", &stuck]).exits(0);
        join.join().expect("it ends")
    });
    assert_eq!(joined.exits(0).json()["unfinished"], 0);
    assert_eq!(daemon.ctl_json(&["list", "--state", "unfinished"]), json!([]));
    daemon.ctl(&[&["wait"][..], &done.iter().map(String::as_str).collect::<Vec<_>>()].concat()).exits(0);
}

#[test]
fn create_queue() {
    let mut daemon = Daemon::start();
    let backend = |daemon: &Daemon| daemon.ctl_json(&["config"])["daemon"]["queue"].clone();
    assert_eq!(backend(&daemon), "database");
    daemon.ctl(&["pause"]).exits(0);
    let id = daemon.submit("Kept", &[]);
    daemon.kill9();
    daemon.change(|setup| setup.daemon = "queue = \"database\"".to_owned());
    daemon.spawn();
    daemon.await_answer();
    assert_eq!((backend(&daemon), ids(&daemon.ctl_json(&["queue"]))), (json!("database"), vec![id]));
    assert!(daemon.terminate().success());
    for other in ["memory", "redis"] {
        daemon.change(|setup| setup.daemon = format!("queue = {other:?}"));
        let refused = daemon.run_to_end().exits(78);
        let place = format!("{}:2", daemon.config_path().display());
        let parts = [place.as_str(), "daemon.queue", other, "\"database\""];
        assert!(parts.iter().all(|part| refused.err.contains(part)), "{refused:?}");
    }
}

#[test]
fn worker_start_loop_and_stop() {
    let mut daemon = Daemon::with(Setup { daemon: "workers = 2".to_owned(), ..Setup::default() });
    for topic in ["a", "b", "c", "d", "e"] {
        daemon.submit(topic, &[]);
    }
    daemon.ctl(&["wait", "--all"]).exits(0);
    let processed = daemon.wait_until("both are idle", || {
        let workers = daemon.ctl_json(&["workers"])["workers"].take();
        let workers = workers.as_array().expect("a list");
        let is_idle = workers.iter().all(|worker| worker["state"] == "idle" && worker["task_id"].is_null());
        is_idle.then(|| workers.iter().filter_map(|worker| worker["processed"].as_u64()).sum::<u64>())
    });
    assert_eq!(processed, 5, "each task was submitted by one worker");

    // A stop lets the call in hand end, and what came of it is kept.
    let late = daemon.submit("late [sample:create:slow-start=1]", &[]);
    daemon.await_state(&late, "submitting");
    assert!(daemon.terminate().success(), "{}", daemon.log());
    assert_eq!(daemon.paid().len(), 6);
    daemon.restart();
    daemon.await_state(&late, "completed");
    assert_eq!(daemon.paid().len(), 6, "its one job was found again");
}

#[test]
fn process_and_submit_to_the_generator() {
    let daemon = Daemon::start();
    let more = ["--requirements", "--a\n\"b\" $(c)", "--tone", "warm", "--keywords", "x,y"];
    let id = daemon.submit("Tea; rm -rf /", &more);
    let task = daemon.await_state(&id, "completed");
    let job = daemon.job(task["external_ref"].as_str().expect("a reference"));
    assert_eq!((&job["topic"], &job["requirements"]), (&json!("Tea; rm -rf /"), &json!("--a\n\"b\" $(c)")));
    assert_eq!((&job["tone"], &job["keywords"]), (&json!("warm"), &json!(["x", "y"])));
    let shown = daemon.ctl_json(&["show", &id]);
    assert_eq!(shown["attempts"][0]["key"], job["key"], "the generator got the attempt's own key");
}

#[test]
fn fetch_pending_tasks() {
    // Workers that have nothing left find what stands in the database: after a kill, and what was put there in between.
    let mut daemon = Daemon::with(one_at_a_time());
    daemon.ctl(&["pause"]).exits(0);
    let waiting: Vec<String> = (0..3).map(|n| daemon.submit(&n.to_string(), &[])).collect();
    daemon.kill9();
    sql(&daemon, &format!("UPDATE tasks SET priority = 10 WHERE id = '{}'", waiting[2]));
    daemon.spawn();
    daemon.await_answer();
    assert_eq!(daemon.ctl_json(&["status"])["tasks"]["pending"], 3);
    daemon.ctl(&["resume"]).exits(0);
    daemon.ctl(&["wait", "--all"]).exits(0);
    assert_eq!(daemon.paid(), ["2", "0", "1"]);
}

#[test]
fn pool_start_and_stop() {
    let mut daemon = Daemon::with(Setup { daemon: "workers = 3".to_owned(), ..Setup::default() });
    let total = |daemon: &Daemon| daemon.ctl_json(&["workers"])["total"].clone();
    assert_eq!(total(&daemon), 3);
    daemon.change(|setup| setup.daemon = "workers = 1".to_owned());
    daemon.restart();
    assert_eq!(total(&daemon), 1);
    daemon.change(|setup| setup.daemon = String::new());
    daemon.restart();
    assert_eq!(total(&daemon), 4, "four, unless said");
    daemon.ctl(&["drain"]).exits(0);
    assert!(daemon.await_end().success(), "{}", daemon.log());
    daemon.ctl(&["ping"]).exits(3);
}

#[test]
fn pool_add_task_size_and_status() {
    let daemon = Daemon::with(Setup { daemon: "workers = 2".to_owned(), ..Setup::default() });
    let status = || daemon.ctl_json(&["workers"]);
    let idle = status();
    assert_eq!((&idle["total"], &idle["busy"], &idle["queue_size"]), (&json!(2), &json!(0), &json!(0)));
    // Two calls that do not answer keep both workers busy; two more tasks wait.
    daemon.set_faults("create:hang");
    let mut taken: Vec<String> = ["a", "b"].iter().map(|topic| daemon.submit(topic, &[])).collect();
    daemon.wait_until("both workers are busy", || (status()["busy"] == 2).then_some(()));
    daemon.submit("c", &[]);
    daemon.submit("d", &[]);
    let busy = status();
    assert_eq!(busy["queue_size"], 2, "{busy}");
    let workers = busy["workers"].as_array().expect("a list");
    let mut tasks: Vec<String> =
        workers.iter().filter_map(|worker| worker["task_id"].as_str()).map(str::to_owned).collect();
    tasks.sort();
    taken.sort();
    assert_eq!(tasks, taken, "{busy}");
    let numbers: Vec<&Value> = workers.iter().map(|worker| &worker["worker_id"]).collect();
    assert_eq!(numbers, [&json!(1), &json!(2)]);
    assert!(workers.iter().all(|worker| worker["state"] == "busy" && worker["since"].is_string()), "{busy}");
}

#[test]
fn one_pool_a_process() {
    let daemon = Daemon::start();
    let second = daemon.run_to_end().exits(1);
    assert!(second.err.contains(&format!("process {}", daemon.pid())), "{second:?}");
    let id = daemon.submit("Tea", &[]);
    daemon.await_state(&id, "completed");
}
