//! Polling: one call for all, the first poll's time, a person's poll, and what everybody says of themselves.

use std::time::Duration;

use contentd::actors::poller::PollAll;
use contentd::task::learning::Learned;
use contentd::task::outcome::{FetchAnswer, PollAnswer, Verb};
use contentd::task::retry::PollSchedule;
use contentd::task::{Policy, TaskId, TaskState};

use super::rig::{Ask, Rig, Setup, limits, policy};
use super::script::Fate;

#[actix::test]
async fn a_batch_poll_asks_about_all_in_one_call() {
    let polls = PollSchedule { interval: Duration::from_secs(10), learned: None, is_batch: true };
    let rig = Rig::start(Setup::one(Policy { polls, ..policy() }, limits())).await;
    rig.script().behave(|behaviour| behaviour.job_ms = 120_000);
    let ids = rig.submit_all((0..40).map(|n| Ask::about(format!("{n}")))).await;
    rig.until_all(&ids, TaskState::Completed).await;
    let calls = rig.script().calls(Verb::Poll);
    assert!(calls.iter().any(|call| call.tasks.len() > 10), "jobs are asked about together");
    assert!(calls.len() < 120, "{} calls for 40 jobs of two minutes", calls.len());
    rig.assert_paid_once(&ids);
}

/// Each is polled every ten hours: whatever is faster was told.
#[actix::test]
async fn a_run_that_tells_its_end_waits_for_no_poll_however_short_it_is() {
    let polls = PollSchedule { interval: Duration::from_secs(36_000), learned: None, is_batch: false };
    let policy = Policy { is_blocking: true, polls, ..policy() };
    let rig = Rig::start(Setup::one(policy, limits())).await;
    // Over long before the call that starts it is, at about the same time, and after it.
    for (call_ms, job_ms) in [(500, 0), (500, 500), (50, 5_000)] {
        rig.script().behave(|behaviour| {
            (behaviour.call_ms, behaviour.job_ms, behaviour.tells_ends) = (call_ms, job_ms, true);
        });
        let id = rig.submit(Ask::about(format!("takes {job_ms} ms"))).await;
        rig.until_state(&id, TaskState::Completed).await;
        let task = rig.task(&id);
        let took = task.completed_at.unwrap().since(task.submitted_at.unwrap());
        assert!(took < Duration::from_secs(10), "a run of {job_ms} ms is noticed after {took:?}");
    }
}

/// How old its job was when a task was first asked about.
fn first_poll(rig: &Rig, id: &TaskId) -> Option<i64> {
    let polls = rig.script().calls(Verb::Poll);
    polls.iter().find(|call| call.tasks.contains(id)).map(|call| call.at_ms - rig.script().jobs_of(id)[0].made_at)
}

/// As long as the first of them runs nothing is fair to learn from, and it is the last to end, after more than fifty others.
#[actix::test]
async fn jobs_that_began_at_once_are_learned_from_when_the_last_has_ended() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| behaviour.job_ms = 200_000);
    let slow = rig.submit(Ask::about("slow")).await;
    rig.until_state(&slow, TaskState::Submitted).await;
    rig.script().behave(|behaviour| behaviour.job_ms = 100_000);
    let past = rig.submit_all((0..57).map(|n| Ask::about(format!("{n}")))).await;
    rig.until_all(&past, TaskState::Completed).await;
    rig.until_state(&slow, TaskState::Completed).await;
    let next = rig.submit(Ask::about("next")).await;
    rig.until_state(&next, TaskState::Completed).await;
    let after = first_poll(&rig, &next).unwrap();
    assert!(after >= 60_000, "what was learned of 58 jobs: {after} ms");
}

#[actix::test]
async fn the_first_poll_waits_until_past_jobs_were_done() {
    let rig = Rig::start(Setup { workers: 1, ..Setup::default() }).await;
    rig.script().behave(|behaviour| behaviour.job_ms = 100_000);
    let past = rig.submit_all((0..6).map(|n| Ask::about(format!("{n}")))).await;
    rig.until_all(&past, TaskState::Completed).await;
    let before = first_poll(&rig, &past[0]).unwrap();
    assert!(before < 2_000, "nothing is known yet, so it looks soon: {before} ms");
    let next = rig.submit(Ask::about("next")).await;
    rig.until_state(&next, TaskState::Completed).await;
    let after = first_poll(&rig, &next).unwrap();
    assert!(after >= 90_000, "what was learned: {after} ms");
}

#[actix::test]
async fn an_unreadable_piece_is_held_with_its_output_and_fetched_again_on_demand() {
    let rig = Rig::start(Setup::default()).await;
    let bad = || FetchAnswer::Unreadable { why: "no article".into(), raw: "prose".into() };
    rig.script().behave(|behaviour| behaviour.fetches = (0..4).map(|_| bad()).collect());
    let id = rig.submit(Ask::about("unreadable")).await;
    rig.until_state(&id, TaskState::Held).await;
    assert_eq!(rig.attempt(&id).raw_output.as_deref(), Some("prose"));
    let fetches = rig.script().calls(Verb::Fetch).len();
    rig.pass(Duration::from_secs(24 * 3600)).await;
    assert_eq!(rig.script().calls(Verb::Fetch).len(), fetches, "a held task waits for a person");
    assert_eq!(rig.poll_now(&id).await.unwrap().state, TaskState::Held, "unreadable still");
    assert_eq!(rig.poll_now(&id).await.unwrap().state, TaskState::Completed);
    rig.assert_paid_once(std::slice::from_ref(&id));
}

#[actix::test]
async fn a_poll_on_demand_fetches_what_is_ready() {
    let rig = Rig::start(Setup::default()).await;
    let id = rig.submit(Ask::about("asked for")).await;
    rig.until_state(&id, TaskState::Processing).await;
    assert_eq!(rig.poll_now(&id).await.unwrap().state, TaskState::Processing);
    let done_at = rig.script().jobs_of(&id)[0].done_at;
    rig.pass(Duration::from_millis((done_at - rig.now().0 + 1).unsigned_abs())).await;
    assert_eq!(rig.poll_now(&id).await.unwrap().state, TaskState::Completed);
}

#[actix::test]
async fn a_poll_of_a_task_that_is_not_at_the_generator_is_refused() {
    let rig = Rig::start(Setup::default()).await;
    rig.pause(None, None).await;
    let id = rig.submit(Ask::about("pending")).await;
    assert!(rig.poll_now(&id).await.is_err());
    assert_eq!(rig.story(&id), ["submitted"]);
}

#[actix::test]
async fn polling_everything_counts_what_came_of_it() {
    let rig = Rig::start(Setup::default()).await;
    // Learned durations would not matter here: nothing is polled by itself before the poll of everything.
    rig.script().behave(|behaviour| behaviour.job_ms = 600_000);
    let long = rig.submit_all((0..2).map(|n| Ask::about(format!("long {n}")))).await;
    rig.until_all(&long, TaskState::Processing).await;
    rig.until("nothing is in hand", async |rig| rig.status().await.poller.unwrap().in_hand == 0).await;
    rig.script().behave(|behaviour| {
        behaviour.polls = [
            super::script::state_answer(contentd::task::outcome::JobState::Processing),
            PollAnswer::Unreadable("half a page".into()),
        ]
        .into();
    });
    let poller = rig.world.peers.borrow().poller.clone().unwrap();
    let statistics = poller.send(PollAll).await.unwrap().unwrap();
    assert_eq!((statistics.total, statistics.still_running, statistics.error), (2, 1, 1));
    assert_eq!((statistics.completed, statistics.failed, statistics.timeout), (0, 0, 0));
}

#[actix::test]
async fn polling_everything_completes_fails_and_times_out() {
    let policy = Policy {
        polls: PollSchedule {
            interval: Duration::from_secs(36_000),
            learned: Some(Learned { median: Duration::from_secs(36_000), spread: 0.05 }),
            is_batch: false,
        },
        ..policy()
    };
    let rig = Rig::start(Setup::one(policy, limits())).await;
    let mut ids = Vec::new();
    for (topic, fate) in [("good", Fate::Completes), ("bad", Fate::Fails), ("slow", Fate::Hangs)] {
        rig.script().behave(|behaviour| behaviour.fate = fate);
        let id = rig.submit(Ask { max_retries: 0, time_limit_s: 100_000, ..Ask::about(topic) }).await;
        rig.until_state(&id, TaskState::Submitted).await;
        ids.push(id);
    }
    rig.pass(Duration::from_secs(120)).await;
    let poller = rig.world.peers.borrow().poller.clone().unwrap();
    let statistics = poller.send(PollAll).await.unwrap().unwrap();
    assert_eq!((statistics.total, statistics.completed, statistics.failed), (3, 1, 1));
    assert_eq!((statistics.still_running, statistics.timeout, statistics.error), (1, 0, 0));
    let states: Vec<_> = ids.iter().map(|id| rig.state(id)).collect();
    assert_eq!(states, [TaskState::Completed, TaskState::Failed, TaskState::Processing]);
    let results = rig.status().await.results.unwrap();
    assert_eq!((results.completed, results.failed), (1, 1));
}

#[actix::test]
async fn everybody_says_how_they_are() {
    let rig = Rig::start(Setup { workers: 3, ..Setup::default() }).await;
    rig.script().behave(|behaviour| behaviour.call_ms = 5_000);
    let id = rig.submit(Ask::about("under way")).await;
    rig.until("the call is under way", async |rig| rig.script().calls_under_way() == 1).await;
    let status = rig.status().await;
    let queue = status.queue.unwrap();
    assert_eq!((queue.idle_workers, queue.window, queue.in_flight.values().sum::<u32>()), (2, 0, 1));
    let running: Vec<_> = status.workers.iter().flatten().filter(|worker| worker.state == "running").collect();
    assert_eq!((status.workers.len(), running.len(), running[0].task.as_ref()), (3, 1, Some(&id)));
    assert!(status.poller.is_some() && status.results.is_some() && !status.is_draining);
    rig.until_state(&id, TaskState::Completed).await;
    let status = rig.status().await;
    assert!(status.workers.iter().flatten().all(|worker| worker.state == "idle" && worker.task.is_none()));
    assert!(status.poller.unwrap().calls > 0);
    assert_eq!(status.results.unwrap().completed, 1);
}
