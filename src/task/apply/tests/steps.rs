//! What is to be done next, state by state; and the rules about time that go with it.

use super::*;
use crate::task::step::{Step, next_step};

use AttemptState as A;
use TaskState as T;

fn step(story: &Story) -> Step {
    next_step(&story.task, story.attempt.as_ref(), &story.policy, &story.now())
}

fn bent(policy: Policy, state: T, attempt: A, bend: impl FnOnce(&mut Attempt)) -> Story {
    let mut story = Story::at(policy, state, attempt);
    bend(story.attempt_mut());
    story
}

#[test]
fn each_state_has_its_step() {
    let no_find = || Policy { can_find: false, ..policy() };
    let no_cancel = || Policy { can_cancel: false, ..policy() };
    let by_key = || Policy { is_idempotent: false, ..idempotent() };
    let table = [
        (policy(), T::Submitting, A::Intended, Step::ReportLostCall),
        (blocking(), T::Submitting, A::Intended, Step::LookAtRun),
        (policy(), T::Submitting, A::Unknown, Step::Find),
        (no_find(), T::Submitting, A::Unknown, Step::GiveUpDoubt),
        (idempotent(), T::Submitting, A::Unknown, Step::Resend),
        (policy(), T::Submitted, A::Accepted, Step::Poll),
        (policy(), T::Processing, A::Accepted, Step::Poll),
        (blocking(), T::Processing, A::Accepted, Step::LookAtRun),
        (policy(), T::Cancelling, A::Intended, Step::ReportLostCall),
        (blocking(), T::Cancelling, A::Intended, Step::LookAtRun),
        // The key is not sent again for a job that nobody wants.
        (idempotent(), T::Cancelling, A::Unknown, Step::Cancel),
        (by_key(), T::Cancelling, A::Unknown, Step::Cancel),
        (policy(), T::Cancelling, A::Unknown, Step::Find),
        (no_find(), T::Cancelling, A::Unknown, Step::GiveUpDoubt),
        (policy(), T::Cancelling, A::Accepted, Step::Cancel),
        // The run that never said that it started has a file to be ended by.
        (blocking(), T::Cancelling, A::Unknown, Step::Cancel),
        (no_cancel(), T::Cancelling, A::Accepted, Step::Poll),
        (blocking(), T::Cancelling, A::Accepted, Step::Cancel),
        (policy(), T::Held, A::Accepted, Step::None),
        (policy(), T::Timeout, A::Accepted, Step::Poll),
        (blocking(), T::Cancelled, A::Accepted, Step::LookAtRun),
        (policy(), T::Cancelled, A::Unknown, Step::Find),
        (idempotent(), T::Cancelled, A::Unknown, Step::Poll),
        (no_find(), T::Cancelled, A::Unknown, Step::EndWatch),
    ];
    for (policy, state, attempt, expected) in table {
        let story = Story::at(policy, state, attempt).later(Duration::from_secs(60));
        assert_eq!(step(&story), expected, "{state} {attempt} {:?}", story.policy);
    }
}

#[test]
fn a_person_ends_a_back_off_by_now_and_by_no_other_delay() {
    let delayed = |delay| Event::Changed { priority: None, not_before: Some(delay) };
    let failed = || Event::SubmitAnswered(SubmitAnswer::Retry("busy".into()));
    let in_ms = |ms: i64| Timestamp(START + ms);
    let outage = Story::at(policy(), T::Submitted, A::Accepted).in_outage();
    let given_back = outage.so(Event::PollAnswered(poll_state(JobState::Failed)));
    for waiting in [Story::at(policy(), T::Submitting, A::Intended).so(failed()), given_back] {
        let (until, why) = (waiting.task.wake_at, waiting.task.reason.clone());
        assert!(waiting.task.state == T::Pending && until > Some(in_ms(29_000)), "{:?}", waiting.task);
        let shortened = waiting.clone().so(delayed(NotBefore::At(in_ms(5_000))));
        assert_eq!((shortened.task.wake_at, &shortened.task.reason), (until, &why), "5 s do not shorten it");
        let priority = waiting.clone().so(Event::Changed { priority: Some(9), not_before: None });
        assert_eq!((priority.task.wake_at, &priority.task.reason), (until, &why));
        let longer = in_ms(24 * 3_600_000);
        assert_eq!(waiting.clone().so(delayed(NotBefore::At(longer))).task.wake_at, Some(longer));
        let now = waiting.so(delayed(NotBefore::Now));
        assert_eq!((now.task.wake_at, &now.task.reason), (None, &None), "it runs, and no reason outlives its cause");
        let told = now.audit.last().and_then(|row| row.why.clone());
        assert_eq!(told.as_deref(), Some("its back-off is ended"));
        assert_eq!(now.task.retry_count, now.task.retry_count.min(1), "nothing is spent by it");
    }
}

#[test]
fn a_piece_that_is_there_is_fetched_before_the_deadline_is_looked_at() {
    for state in [T::Submitted, T::Processing, T::Cancelling] {
        let ready = bent(policy(), state, A::Accepted, |attempt| attempt.is_ready = true);
        assert_eq!(step(&ready.clone().later(Duration::from_secs(1_800))), Step::Fetch, "{state}");
        let plain = Story::at(policy(), state, A::Accepted).later(Duration::from_secs(1_800));
        assert_eq!(step(&plain), Step::Expire, "{state}");
    }
    // A cancel does not wait for ever for a generator that is gone.
    let gone = bent(policy(), T::Cancelling, A::Accepted, |attempt| {
        attempt.is_ready = true;
        attempt.bad_answers = 1;
    });
    assert_eq!(step(&gone), Step::Fetch);
    let gone = gone.later(Duration::from_secs(1_800));
    assert_eq!(step(&gone), Step::Expire);
    let watched = gone.so(Event::DeadlineReached { is_end_proved: false });
    assert_eq!((watched.task.state, step(&watched)), (T::Cancelled, Step::Fetch), "its piece is still waited for");
}

#[test]
fn a_job_whose_reference_is_our_key_is_missing_only_after_the_submit_has_settled() {
    let missing = Event::PollAnswered(PollAnswer::Missing { is_complete: true, by_name: true });
    let mut story = Story::at(idempotent(), T::Cancelling, A::Unknown);
    for _ in 0..5 {
        story = story.so(missing.clone());
    }
    assert_eq!(story.state(), (T::Cancelling, Some(A::Unknown)), "its call may be under way");
    story = story.so(Event::LockSeen { is_free: true }).later(Duration::from_secs(60));
    for _ in 0..3 {
        story = story.so(missing.clone());
    }
    assert_eq!(story.state(), (T::Cancelled, Some(A::EndedAbandoned)));
}

#[test]
fn a_job_in_doubt_that_is_seen_completed_while_cancelling_is_fetched() {
    let story = Story::at(idempotent(), T::Cancelling, A::Unknown);
    let story = story.so(Event::PollAnswered(poll_state(JobState::Completed)));
    assert_eq!((story.state(), step(&story)), ((T::Cancelling, Some(A::Accepted)), Step::Fetch));
}

#[test]
fn a_time_limit_is_not_slept_through() {
    let mut story = Story::new(policy());
    story.task.time_limit_s = 2;
    story = story.so(Event::Claimed { key: key(1) });
    story = story.so(Event::SubmitAnswered(SubmitAnswer::Accepted { reference: "r".into(), vars: BTreeMap::new() }));
    assert_eq!(story.task.wake_at, Some(story.now().utc.plus(Duration::from_secs(2))));
    let story = story.later(Duration::from_secs(2));
    assert_eq!(step(&story), Step::Expire);
}

#[test]
fn a_person_gets_one_more_look_at_a_job_after_its_day() {
    let story = Story::at(policy(), T::Timeout, A::Accepted).later(LATE_WATCH);
    assert_eq!(step(&story), Step::EndWatch);
    let story = story.so(Event::WatchEnded).so(Event::PollRequested);
    assert_eq!((story.task.wake_at, step(&story)), (Some(story.now().utc), Step::Poll));
    // And what the look shows is fetched.
    let story = story.so(Event::PollAnswered(poll_state(JobState::Completed)));
    assert_eq!(step(&story), Step::Fetch);
}

#[test]
fn a_jump_of_the_wall_clock_ends_no_time_limit() {
    let story = Story::at(policy(), T::Processing, A::Accepted);
    let jumped = Now { utc: now_at(86_400_000).utc, ..story.now() };
    assert_eq!(next_step(&story.task, story.attempt.as_ref(), &story.policy, &jumped), Step::Poll);
}

#[test]
fn nothing_is_claimed_beside_a_job_that_may_be_alive() {
    let (mut task, attempt) = rows_in(T::Submitted, Some(A::Accepted)).expect("it can be");
    task.state = T::Pending;
    let now = now_at(0);
    let policy = policy();
    let context = Context {
        now: &now,
        policy: &policy,
        draw: 0.5,
        who: CONTENTD,
        is_late_piece_wanted: false,
        is_outage: false,
        owner: None,
    };
    let refusal = apply(&task, attempt.as_ref(), Event::Claimed { key: key(2) }, &context);
    assert_eq!(refusal, Err(Refusal::JobMayBeAlive { attempt: 1 }));
}

fn missing_by_list() -> Event {
    Event::PollAnswered(PollAnswer::Missing { is_complete: true, by_name: false })
}

/// Found by the exploration: the key of the attempt's row says nothing of a job that a person has named.
#[test]
fn the_key_is_not_sent_again_for_a_job_that_a_person_has_named() {
    let named = Settlement::Adopt { reference: "theirs".into(), key: key(9) };
    for attempt in [A::Unknown, A::EndedLost] {
        let mut story = Story::at(idempotent(), T::Held, attempt).so(Event::Settled(named.clone()));
        for _ in 0..3 {
            assert_eq!(story.state(), (T::Submitted, Some(A::Accepted)), "{attempt}");
            story = story.so(missing_by_list());
        }
        assert_eq!(story.state(), (T::Held, Some(A::EndedLost)), "{attempt}");
    }
}

/// Found by the exploration: a generator may cancel a key that it does not know, and then take the submit on its way.
#[test]
fn a_cancel_proves_nothing_while_a_key_that_went_out_again_is_on_its_way() {
    let mut story = Story::at(idempotent(), T::Processing, A::Accepted);
    for _ in 0..3 {
        story = story.so(missing_by_list());
    }
    story = story.so(Event::ResendBegun).so(Event::SubmitAnswered(SubmitAnswer::Ambiguous("silence".into())));
    let limit = Duration::from_secs(u64::from(story.task.time_limit_s));
    let in_doubt = story.later(limit);
    let expired = in_doubt.clone().so(Event::DeadlineReached { is_end_proved: true });
    assert_eq!(expired.state().1, Some(A::Accepted), "the same job gets a fresh limit");
    let cancelled = in_doubt.clone().so(Event::CancelRequested).so(Event::CancelAnswered(CancelAnswer::Ok));
    assert_eq!(cancelled.state(), (T::Cancelling, Some(A::Accepted)));
    let settled = in_doubt.so(Event::LockSeen { is_free: true }).later(policy().settle);
    let ended = settled.so(Event::DeadlineReached { is_end_proved: true });
    assert_eq!(ended.state(), (T::Pending, Some(A::EndedCancelled)));
}

/// Found by the exploration.
#[test]
fn an_answer_that_is_not_complete_is_not_the_last_sign_of_a_missing_job() {
    let mut story = Story::at(policy(), T::Processing, A::Accepted);
    for _ in 0..3 {
        story = story.so(missing_by_list());
    }
    let by_name = |is_complete| Event::PollAnswered(PollAnswer::Missing { is_complete, by_name: true });
    let story = story.so(by_name(false));
    assert_eq!(story.state(), (T::Processing, Some(A::Accepted)));
    assert_eq!(story.so(by_name(true)).state(), (T::Held, Some(A::EndedLost)));
}

/// The audit row tells what was spent.
#[test]
fn a_run_that_is_given_back_is_told_apart_from_one_that_is_tried_again() {
    let told = |report| {
        let story = Story::at(blocking(), T::Processing, A::Accepted).so(Event::RunReported(report));
        (story.audit.last().map(|row| row.event.clone()), story.task.retry_count)
    };
    let given_back = Some("given_back".to_owned());
    assert_eq!(told(RunReport::Interrupted("ours".into())), (given_back.clone(), 0));
    assert_eq!(told(RunReport::Unavailable("nobody".into())), (given_back, 0));
    assert_eq!(told(RunReport::Failed("theirs".into())), (Some("retry_scheduled".to_owned()), 1));
}
