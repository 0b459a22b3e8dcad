//! Submits that arrive when nobody expects them any more: a cancel and a deadline must not be taken for the end of a job whose
//! key is still on its way.

use contentd::task::outcome::{CancelAnswer, PollAnswer, Verb};
use contentd::task::{AttemptState, Event, Policy, TaskState};

use super::rig::{Ask, Rig, Setup, limits, policy};

/// A generator that confirms the cancel of a key that it has never seen, and then takes the submit.
#[actix::test]
async fn a_cancel_that_overtakes_its_submit_is_sent_again_once_it_has_arrived() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| {
        (behaviour.call_ms, behaviour.silent_for) = (5_000, Some(""));
        behaviour.no_cancel = Some(CancelAnswer::Ok);
    });
    let id = rig.submit(Ask::about("under way")).await;
    rig.until("the submit is under way", async |rig| rig.script().calls_under_way() == 1).await;
    rig.decide(&id, Event::CancelRequested).await.unwrap();
    rig.until("the cancel is answered", async |rig| {
        rig.script().calls(Verb::Cancel).len() == 1 && rig.script().calls_under_way() == 0
    })
    .await;
    rig.script().let_submits_arrive();
    rig.script().behave(|behaviour| behaviour.no_cancel = None);
    rig.until_state(&id, TaskState::Cancelled).await;
    let jobs = rig.script().jobs_of(&id);
    assert!(
        jobs.len() == 1 && jobs[0].is_cancelled,
        "the job that nobody wants lives: {jobs:?}\n{}",
        rig.whole_story()
    );
    assert_eq!(rig.attempt(&id).state, AttemptState::EndedCancelled);
}

/// A missing job whose key went out again: what its deadline's cancel says is about a key that may still be on its way.
#[actix::test]
async fn a_deadline_makes_no_second_job_while_the_key_of_the_first_is_on_its_way() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| behaviour.job_ms = 150_000);
    let id = rig.submit(Ask { time_limit_s: 120, max_retries: 10, ..Ask::about("denied") }).await;
    rig.until_state(&id, TaskState::Processing).await;
    rig.script().behave(|behaviour| {
        behaviour.polls_are = Some(PollAnswer::Missing { is_complete: true, by_name: true });
        behaviour.silent_for = Some("");
        behaviour.no_cancel = Some(CancelAnswer::Ok);
    });
    rig.until("its deadline has passed and its cancel is answered", async |rig| {
        rig.script().calls(Verb::Cancel).len() == 1 && rig.script().calls_under_way() == 0
    })
    .await;
    assert!(rig.attempt(&id).sends > 1, "the key has gone out again: {}", rig.whole_story());
    rig.script().behave(|behaviour| {
        (behaviour.polls_are, behaviour.silent_for, behaviour.no_cancel) = (None, None, None);
    });
    rig.until_state(&id, TaskState::Completed).await;
    rig.assert_paid_once(&[id]);
}

/// The job stands on a page that the search does not see.
#[actix::test]
async fn a_search_that_was_cut_off_proves_no_absence() {
    let policy = Policy { is_idempotent: false, is_ref_our_key: false, can_find: true, ..policy() };
    let rig = Rig::start(Setup::one(policy, limits())).await;
    rig.script().behave(|behaviour| (behaviour.silent_for, behaviour.is_search_cut) = (Some(""), true));
    let id = rig.submit(Ask::about("in doubt")).await;
    rig.until("it is searched for", async |rig| !rig.script().calls(Verb::Find).is_empty()).await;
    rig.script().let_submits_arrive();
    rig.script().behave(|behaviour| behaviour.silent_for = None);
    rig.until_state(&id, TaskState::Held).await;
    assert!(rig.script().calls(Verb::Find).len() > 2, "it is searched for again: {}", rig.whole_story());
    assert_eq!(rig.script().jobs_of(&id).len(), 1, "{}", rig.whole_story());
}
