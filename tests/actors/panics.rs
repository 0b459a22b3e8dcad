//! A bug in any actor, or in a driver, costs no task and no money.

use std::time::Duration;

use contentd::actors::queue::SetPause;
use contentd::actors::supervisor::Crash;
use contentd::task::TaskState;
use contentd::task::outcome::Verb;

use super::rig::{Ask, Rig, Setup, limits, policy};
use super::script::Fate;

#[derive(Clone, Copy, Debug)]
enum Victim {
    Queue,
    Worker,
    Poller,
    Results,
}

fn crash(rig: &Rig, victim: Victim) {
    let peers = rig.world.peers.borrow().clone();
    match victim {
        Victim::Queue => peers.queue.unwrap().do_send(Crash),
        Victim::Worker => peers.workers[0].as_ref().unwrap().do_send(Crash),
        Victim::Poller => peers.poller.unwrap().do_send(Crash),
        Victim::Results => peers.results.unwrap().do_send(Crash),
    }
}

/// Twelve tasks, and the victim dies at several moments of their lives.
async fn survives(victim: Victim) {
    for delay_ms in [0, 10, 60, 700, 5_000, 61_000] {
        let rig = Rig::start(Setup { workers: 1, ..Setup::default() }).await;
        let ids = rig.submit_all((0..12).map(|n| Ask::about(format!("{n}")))).await;
        for _ in 0..3 {
            rig.pass(Duration::from_millis(delay_ms)).await;
            crash(&rig, victim);
            rig.pass(Duration::from_millis(100)).await;
        }
        rig.until_all(&ids, TaskState::Completed).await;
        rig.assert_paid_once(&ids);
        let status = rig.status().await;
        assert_eq!(status.restarts, 3, "{victim:?} after {delay_ms} ms");
        assert!(status.queue.is_some() && status.poller.is_some() && status.results.is_some());
        assert!(status.workers.iter().all(Option::is_some));
        assert_eq!(*rig.budgets_spent.borrow(), 0);
        assert!(ids.iter().all(|id| rig.task(id).retry_count == 0), "no retry was spent");
    }
}

#[actix::test]
async fn a_panic_of_the_queue_is_survived() {
    survives(Victim::Queue).await;
}

#[actix::test]
async fn a_panic_of_a_worker_is_survived() {
    survives(Victim::Worker).await;
}

#[actix::test]
async fn a_panic_of_the_poller_is_survived() {
    survives(Victim::Poller).await;
}

#[actix::test]
async fn a_panic_of_the_result_handler_is_survived() {
    survives(Victim::Results).await;
}

#[actix::test]
async fn the_call_of_a_worker_that_died_is_in_doubt_and_the_doubt_is_cleared() {
    let rig = Rig::start(Setup { workers: 1, ..Setup::default() }).await;
    rig.script().behave(|behaviour| behaviour.call_ms = 5_000);
    let id = rig.submit(Ask::about("orphan")).await;
    rig.until("the call is under way", async |rig| rig.script().calls_under_way() == 1).await;
    crash(&rig, Victim::Worker);
    rig.until("the doubt is recorded", async |rig| rig.story(&id).contains(&"doubted".to_owned())).await;
    rig.until_state(&id, TaskState::Completed).await;
    rig.assert_paid_once(std::slice::from_ref(&id));
    assert_eq!(rig.status().await.worker_restarts, [1]);
}

#[actix::test]
async fn a_generator_without_keys_and_search_leaves_the_orphan_to_a_person() {
    let policy = contentd::task::Policy { is_idempotent: false, is_ref_our_key: false, ..policy() };
    let rig = Rig::start(Setup { workers: 1, ..Setup::one(policy, limits()) }).await;
    rig.script().behave(|behaviour| (behaviour.call_ms, behaviour.is_idempotent) = (5_000, false));
    let id = rig.submit(Ask::about("orphan")).await;
    rig.until("the call is under way", async |rig| rig.script().calls_under_way() == 1).await;
    crash(&rig, Victim::Worker);
    rig.until_state(&id, TaskState::Held).await;
    rig.pass(Duration::from_secs(24 * 3600)).await;
    assert_eq!((rig.state(&id), rig.script().jobs_of(&id).len()), (TaskState::Held, 1));
}

#[actix::test]
async fn past_the_restart_budget_the_daemon_is_told_to_end() {
    let rig = Rig::start(Setup::default()).await;
    for n in 1..=11 {
        crash(&rig, Victim::Poller);
        rig.until("the crash is counted", async |rig| rig.status().await.restarts == n).await;
        if n <= 10 {
            assert_eq!(*rig.budgets_spent.borrow(), 0, "{n}");
            rig.until("it is rebuilt", async |rig| rig.status().await.poller.is_some()).await;
        }
    }
    assert_eq!(*rig.budgets_spent.borrow(), 1);
}

#[actix::test]
async fn restarts_that_are_far_apart_are_no_reason_to_end() {
    let rig = Rig::start(Setup::default()).await;
    for _ in 0..25 {
        crash(&rig, Victim::Results);
        rig.pass(Duration::from_secs(10)).await;
    }
    assert_eq!((rig.status().await.restarts, *rig.budgets_spent.borrow()), (25, 0));
}

#[actix::test]
async fn a_driver_that_panics_in_every_verb_costs_no_task() {
    let rig = Rig::start(Setup::default()).await;
    let verbs = [Verb::Submit, Verb::Poll, Verb::Fetch];
    rig.script().behave(|behaviour| {
        behaviour.job_ms = 20_000;
        behaviour.panics = verbs.iter().map(|verb| (*verb, 3)).collect();
    });
    let ids = rig.submit_all((0..6).map(|n| Ask::about(format!("{n}")))).await;
    rig.until_all(&ids, TaskState::Completed).await;
    rig.assert_paid_once(&ids);
    let status = rig.status().await;
    assert_eq!(status.restarts, 0, "no actor dies of a driver");
}

#[actix::test]
async fn a_driver_that_panics_when_a_job_is_cancelled_is_asked_again() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| {
        behaviour.fate = Fate::Hangs;
        behaviour.panics = [(Verb::Cancel, 2), (Verb::PollOne, 2)].into();
    });
    let cancelled = rig.submit(Ask::about("cancelled")).await;
    let expired = rig.submit(Ask { max_retries: 0, time_limit_s: 60, ..Ask::about("expired") }).await;
    rig.until_state(&cancelled, TaskState::Processing).await;
    rig.decide(&cancelled, contentd::task::Event::CancelRequested).await.unwrap();
    rig.until_state(&cancelled, TaskState::Cancelled).await;
    rig.until_state(&expired, TaskState::Timeout).await;
    assert!(rig.script().jobs().iter().all(|job| job.is_cancelled));
    assert_eq!(rig.status().await.restarts, 0);
}

#[actix::test]
async fn a_person_who_asks_a_driver_that_panics_gets_an_answer_and_may_ask_again() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| {
        behaviour.job_ms = 100_000;
        behaviour.panics = [(Verb::PollOne, 1)].into();
    });
    let id = rig.submit(Ask::about("asked for")).await;
    rig.until_state(&id, TaskState::Processing).await;
    assert!(rig.poll_now(&id).await.is_err(), "the panic is told");
    // The poller itself may have it in hand for a moment, because the request has made it due.
    rig.until("the next question is answered", async |rig| rig.poll_now(&id).await.is_ok()).await;
    assert_eq!(rig.status().await.restarts, 0, "no actor dies of a driver");
    rig.until_state(&id, TaskState::Completed).await;
}

#[actix::test]
async fn submits_to_a_queue_that_just_died_are_refused_or_taken_never_lost() {
    let rig = Rig::start(Setup::default()).await;
    let queue = rig.queue();
    queue.do_send(Crash);
    let answer = queue.send(SetPause::AllOff).await;
    assert!(answer.is_err(), "whoever asked a dead queue is told so");
    rig.until("it is rebuilt", async |rig| rig.status().await.queue.is_some()).await;
    let id = rig.submit(Ask::about("after")).await;
    rig.until_state(&id, TaskState::Completed).await;
}
