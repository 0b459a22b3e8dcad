//! Time limits: an end that is proved is retried, one that is not never makes a second job.

use std::time::Duration;

use contentd::task::outcome::{CancelAnswer, Verb};
use contentd::task::{AttemptState, TaskState};

use super::rig::{Ask, Rig, Setup};
use super::script::Fate;

fn short(topic: &str, max_retries: u32) -> Ask {
    Ask { max_retries, time_limit_s: 300, ..Ask::about(topic) }
}

#[actix::test]
async fn a_cancel_that_proves_the_end_makes_way_for_a_retry_with_a_fresh_limit() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| behaviour.fate = Fate::Hangs);
    let id = rig.submit(short("slow", 1)).await;
    rig.until("the first attempt was cancelled", async |rig| {
        rig.script().jobs_of(&id)[..].iter().any(|job| job.is_cancelled)
    })
    .await;
    rig.script().behave(|behaviour| (behaviour.fate, behaviour.job_ms) = (Fate::Completes, 250_000));
    rig.until_state(&id, TaskState::Completed).await;
    let jobs = rig.script().jobs_of(&id);
    assert_eq!(jobs.len(), 2);
    assert_ne!(jobs[0].key, jobs[1].key, "a new attempt is a new job");
    assert_eq!(rig.task(&id).retry_count, 1);
}

#[actix::test]
async fn when_no_retry_is_left_it_times_out() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| behaviour.fate = Fate::Hangs);
    let id = rig.submit(short("slow", 1)).await;
    rig.until_state(&id, TaskState::Timeout).await;
    let jobs = rig.script().jobs_of(&id);
    assert_eq!(jobs.len(), 2);
    assert!(jobs.iter().all(|job| job.is_cancelled));
    let task = rig.task(&id);
    assert!(task.completed_at.is_some() && task.error.unwrap().contains("300 s"));
    assert_eq!(rig.status().await.results.unwrap().timeout, 1);
}

#[actix::test]
async fn a_job_that_may_be_alive_gets_a_fresh_limit_and_no_second_job() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| {
        behaviour.job_ms = 700_000;
        behaviour.no_cancel = Some(CancelAnswer::Refused("it does not".into()));
    });
    let id = rig.submit(short("slow", 3)).await;
    rig.until_state(&id, TaskState::Completed).await;
    assert_eq!(rig.story(&id).iter().filter(|event| *event == "extended").count(), 2);
    rig.assert_paid_once(std::slice::from_ref(&id));
    assert_eq!(rig.task(&id).attempt, 1);
}

#[actix::test]
async fn a_piece_that_comes_after_the_last_limit_completes_the_task() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| {
        behaviour.job_ms = 5 * 3_600_000;
        behaviour.no_cancel = Some(CancelAnswer::Unclear("no answer".into()));
    });
    let id = rig.submit(short("very slow", 1)).await;
    rig.until_state(&id, TaskState::Timeout).await;
    assert_eq!(rig.attempt(&id).state, AttemptState::Accepted, "its job may be alive");
    let reason = rig.task(&id).reason.unwrap();
    assert!(reason.contains("may be alive"), "{reason}");
    let polls = rig.script().calls(Verb::Poll).len();
    rig.until_state(&id, TaskState::Completed).await;
    let late_polls = rig.script().calls(Verb::Poll).len() - polls;
    assert!((10..40).contains(&late_polls), "it is looked at slowly: {late_polls}");
    rig.assert_paid_once(std::slice::from_ref(&id));
}

#[actix::test]
async fn after_a_day_a_job_that_never_ends_is_not_looked_at_any_more() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| {
        behaviour.fate = Fate::Hangs;
        behaviour.no_cancel = Some(CancelAnswer::Refused("never".into()));
    });
    let id = rig.submit(short("endless", 0)).await;
    rig.until_state(&id, TaskState::Timeout).await;
    rig.pass(Duration::from_secs(26 * 3600)).await;
    let calls = rig.script().all_calls().len();
    rig.pass(Duration::from_secs(26 * 3600)).await;
    assert_eq!((rig.script().all_calls().len(), rig.state(&id)), (calls, TaskState::Timeout));
}

#[actix::test]
async fn a_piece_found_at_the_deadline_is_taken() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| behaviour.job_ms = 299_900);
    let id = rig.submit(short("just in time", 0)).await;
    rig.until_state(&id, TaskState::Completed).await;
    assert!(rig.script().calls(Verb::Cancel).is_empty());
}
