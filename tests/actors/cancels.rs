//! Cancelling, state by state.

use std::time::Duration;

use contentd::task::outcome::{CancelAnswer, SubmitAnswer, Verb};
use contentd::task::{AttemptState, Event, TaskState};

use super::rig::{Ask, Rig, Setup, limits, policy};
use super::script::Fate;

#[actix::test]
async fn a_pending_task_is_cancelled_at_once_and_never_submitted() {
    let rig = Rig::start(Setup::default()).await;
    rig.pause(None, None).await;
    let id = rig.submit(Ask::about("pending")).await;
    rig.decide(&id, Event::CancelRequested).await.unwrap();
    assert_eq!(rig.state(&id), TaskState::Cancelled);
    rig.resume(None, None).await;
    rig.pass(Duration::from_secs(3600)).await;
    assert!(rig.script().all_calls().is_empty());
}

#[actix::test]
async fn a_cancelled_task_waits_for_nothing_and_does_not_say_so() {
    let rig = Rig::start(Setup::default()).await;
    let id = rig.submit(Ask { delay: Some(Duration::from_secs(3_600)), ..Ask::about("delayed") }).await;
    rig.decide(&id, Event::CancelRequested).await.unwrap();
    let task = rig.task(&id);
    assert_eq!((task.state, task.reason, task.wake_at), (TaskState::Cancelled, None, None));
}

#[actix::test]
async fn a_submit_in_hand_is_ended_through_its_job() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| behaviour.call_ms = 5_000);
    let id = rig.submit(Ask::about("submitting")).await;
    rig.until("the call is under way", async |rig| rig.script().calls_under_way() == 1).await;
    rig.decide(&id, Event::CancelRequested).await.unwrap();
    assert_eq!(rig.state(&id), TaskState::Cancelling);
    rig.until_state(&id, TaskState::Cancelled).await;
    assert!(rig.script().jobs_of(&id)[0].is_cancelled);
    assert_eq!(rig.attempt(&id).state, AttemptState::EndedCancelled);
}

#[actix::test]
async fn a_submit_that_is_refused_meanwhile_has_nothing_to_cancel() {
    for answer in [
        SubmitAnswer::Rejected("never".into()),
        SubmitAnswer::Unavailable("nobody".into()),
        SubmitAnswer::Retry("later".into()),
    ] {
        let rig = Rig::start(Setup::default()).await;
        rig.script().behave(|behaviour| {
            behaviour.call_ms = 5_000;
            behaviour.submits.push_back(answer.clone());
        });
        let id = rig.submit(Ask::about("submitting")).await;
        rig.until("the call is under way", async |rig| rig.script().calls_under_way() == 1).await;
        rig.decide(&id, Event::CancelRequested).await.unwrap();
        rig.until_state(&id, TaskState::Cancelled).await;
        assert!(rig.script().calls(Verb::Cancel).is_empty(), "{answer:?}");
    }
}

#[actix::test]
async fn a_running_job_is_cancelled_at_the_generator() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| behaviour.fate = Fate::Hangs);
    let id = rig.submit(Ask::about("processing")).await;
    rig.until_state(&id, TaskState::Processing).await;
    rig.decide(&id, Event::CancelRequested).await.unwrap();
    rig.until_state(&id, TaskState::Cancelled).await;
    assert!(rig.script().jobs_of(&id)[0].is_cancelled);
    rig.until("its slot is free", async |rig| rig.status().await.queue.unwrap().in_flight.is_empty()).await;
    let again = rig.decide(&id, Event::CancelRequested).await;
    assert!(again.is_err(), "too late, and said so");
}

#[actix::test]
async fn a_piece_that_was_faster_completes_the_task() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| {
        behaviour.job_ms = 30_000;
        behaviour.no_cancel = Some(CancelAnswer::Refused("it does not".into()));
    });
    let id = rig.submit(Ask::about("too late")).await;
    rig.until_state(&id, TaskState::Processing).await;
    rig.decide(&id, Event::CancelRequested).await.unwrap();
    rig.until_state(&id, TaskState::Completed).await;
    assert_eq!(rig.script().calls(Verb::Cancel).len(), 1, "a refusal is believed");
    assert!(rig.task(&id).reason.unwrap().contains("too late"));
    assert_eq!(rig.db.all_contents().len(), 1);
}

#[actix::test]
async fn an_end_that_cannot_be_proved_is_said_and_the_late_piece_is_kept_unpooled() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| {
        behaviour.job_ms = 3_600_000;
        behaviour.no_cancel = Some(CancelAnswer::Unclear("no answer".into()));
    });
    let id = rig.submit(Ask { time_limit_s: 300, ..Ask::about("unclear") }).await;
    rig.until_state(&id, TaskState::Processing).await;
    rig.decide(&id, Event::CancelRequested).await.unwrap();
    rig.until_state(&id, TaskState::Cancelled).await;
    assert!(rig.task(&id).reason.unwrap().contains("may be alive"));
    rig.until("the late piece is kept", async |rig| !rig.db.all_contents().is_empty()).await;
    assert_eq!(rig.state(&id), TaskState::Cancelled);
    assert!(rig.db.all_pool_entries().is_empty(), "never pooled");
}

#[actix::test]
async fn a_held_task_without_a_reference_is_cancelled_with_the_doubt_said() {
    let policy = contentd::task::Policy { is_idempotent: false, is_ref_our_key: false, ..policy() };
    let rig = Rig::start(Setup::one(policy, limits())).await;
    rig.script().behave(|behaviour| behaviour.submits.push_back(SubmitAnswer::Ambiguous("no answer".into())));
    let id = rig.submit(Ask::about("held")).await;
    rig.until_state(&id, TaskState::Held).await;
    rig.decide(&id, Event::CancelRequested).await.unwrap();
    rig.until_state(&id, TaskState::Cancelled).await;
    assert!(rig.task(&id).reason.unwrap().contains("may be alive"), "{:?}", rig.task(&id).reason);
}
