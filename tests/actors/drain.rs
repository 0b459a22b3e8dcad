//! Draining: nothing new starts, and the answer comes only when the calls in hand have ended.

use std::sync::Arc;
use std::time::Duration;

use contentd::actors::supervisor::Drain;
use contentd::generator::Driver;
use contentd::task::TaskState;
use contentd::task::outcome::Verb;

use super::rig::{Ask, Rig, Setup};
use super::script::Script;

#[actix::test]
async fn it_answers_when_the_submits_in_hand_have_ended_and_starts_no_more() {
    let rig = Rig::start(Setup { workers: 2, ..Setup::default() }).await;
    rig.script().behave(|behaviour| behaviour.call_ms = 20_000);
    let ids = rig.submit_all((0..5).map(|n| Ask::about(format!("{n}")))).await;
    rig.until("both workers have a call in hand", async |rig| rig.script().calls_under_way() == 2).await;
    rig.supervisor.send(Drain).await.unwrap();
    assert_eq!(rig.script().calls_under_way(), 0, "the calls have ended");
    let states: Vec<_> = ids.iter().map(|id| rig.state(id)).collect();
    use TaskState::{Pending, Submitted};
    assert_eq!(states, [Submitted, Submitted, Pending, Pending, Pending], "and their outcome is committed");
    assert_eq!(rig.script().interrupted(), 1);
    let calls = rig.script().all_calls().len();
    rig.pass(Duration::from_secs(3600)).await;
    assert_eq!(rig.script().all_calls().len(), calls, "nothing is called any more");
    let why = rig.explain(&ids[3]).await;
    assert!(why.contains("stopping"), "{why}");
    assert!(rig.status().await.is_draining);
    let rig = rig.restart().await;
    rig.until_all(&ids, TaskState::Completed).await;
    rig.assert_paid_once(&ids);
}

#[actix::test]
async fn it_waits_for_polls_and_fetches_in_hand() {
    for verb in [Verb::Poll, Verb::Fetch] {
        let rig = Rig::start(Setup::default()).await;
        let id = rig.submit(Ask::about("under way")).await;
        rig.until_state(&id, TaskState::Submitted).await;
        rig.script().behave(|behaviour| behaviour.call_ms = 8_000);
        rig.until("the call is in hand", async |rig| {
            rig.script().calls_under_way() == 1 && rig.script().all_calls().last().unwrap().verb == verb
        })
        .await;
        rig.supervisor.send(Drain).await.unwrap();
        assert_eq!(rig.script().calls_under_way(), 0, "{verb}");
        let is_fetched = rig.state(&id) == TaskState::Completed;
        assert_eq!(is_fetched, verb == Verb::Fetch, "{verb}: what was learned is committed");
    }
}

#[actix::test]
async fn a_reload_arms_only_drivers_that_are_new() {
    let rig = Rig::start(Setup::default()).await;
    let fresh = Script::new(rig.clock.clone());
    let driver: Arc<dyn Driver> = Arc::new(fresh.clone());
    for _ in 0..2 {
        rig.reload(&driver).await;
        assert_eq!((rig.script().armed(), fresh.armed()), (1, 1));
    }
}

#[actix::test]
async fn the_children_of_a_replaced_driver_are_ended_too() {
    let rig = Rig::start(Setup::default()).await;
    let fresh = Script::new(rig.clock.clone());
    let driver: Arc<dyn Driver> = Arc::new(fresh.clone());
    rig.reload(&driver).await;
    rig.supervisor.send(Drain).await.unwrap();
    assert_eq!((rig.script().interrupted(), fresh.interrupted()), (1, 1));
}

#[actix::test]
async fn an_idle_daemon_drains_at_once_and_twice() {
    let rig = Rig::start(Setup::default()).await;
    rig.supervisor.send(Drain).await.unwrap();
    rig.supervisor.send(Drain).await.unwrap();
}
