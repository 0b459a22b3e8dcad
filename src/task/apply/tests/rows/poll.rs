//! Rows of the table: polls.

use super::*;

pub(super) fn poll_follows() -> Story {
    let (queued, works) = (poll(poll_state(JobState::Submitted)), poll(poll_state(JobState::Processing)));
    for state in LATE.into_iter().chain([T::Cancelling, T::Held, T::Submitted]) {
        nothing_moved(at(state, A::Accepted), queued.clone());
    }
    nothing_moved(at(T::Processing, A::Accepted), works.clone());
    is(&at(T::Processing, A::Accepted).so(queued), T::Submitted, A::Accepted);
    // Where our key is the reference, a job in doubt that is seen is ours.
    is(&under(idempotent(), T::Cancelling, A::Unknown).so(works.clone()), T::Cancelling, A::Accepted);
    let story = at(T::Submitted, A::Accepted).so(works);
    is(&story, T::Processing, A::Accepted);
    assert_eq!(story.task.progress.as_deref(), Some("1/2"));
    story
}

/// The configuration's `dead_when`: their "submitted" for six hours.
pub(super) fn left(state: T) -> Story {
    let dead =
        crate::task::policy::DeadWhen { state: "submitted".into(), unchanged_for: Duration::from_secs(6 * 3600) };
    let told = poll(poll_state(JobState::Submitted));
    let story = under(Policy { dead_when: Some(dead), ..policy() }, state, A::Accepted).so(told.clone());
    is(&story, state, A::Accepted);
    story.later(Duration::from_secs(6 * 3600)).so(told)
}

pub(super) fn poll_left() -> Story {
    // A worker may come back in the morning and run it: what is looked at for a day is looked at for the day.
    for state in LATE {
        let story = left(state);
        is(&story, state, A::Accepted);
        assert!(story.task.reason.as_deref().is_some_and(|reason| reason.contains("looked at for a day")));
        let step = next_step(&story.task, story.attempt.as_ref(), &story.policy, &story.now());
        assert!(story.task.wake_at.is_some() && step == Step::Poll, "{state}: {step:?}");
        let retried = story.clone().tell(Event::RetryRequested { reset_count: false, abandon: None });
        assert!(matches!(retried, Err(Refusal::JobMayBeAlive { .. })), "no second job: {retried:?}");
        let ready = story.so(poll(poll_state(JobState::Completed))).so(fetch(FetchAnswer::Piece(piece())));
        assert!(ready.last.as_ref().is_some_and(|change| change.piece.is_some()), "{state}: its piece is taken");
    }
    is(&left(T::Cancelling), T::Cancelled, A::Accepted);
    let mut waits = left(T::Submitted).in_outage();
    (waits.task.state, waits.task.wake_at) = (T::Submitted, Some(waits.now().utc));
    is(&waits.so(poll(poll_state(JobState::Submitted))), T::Submitted, A::Accepted);
    is(&left(T::Submitted).so(fetch(FetchAnswer::Piece(piece()))), T::Completed, A::EndedCompleted);
    let mut free = left(T::Submitted);
    free.policy.is_free_to_repeat = true;
    free.task.state = T::Submitted;
    free.task.wake_at = Some(free.now().utc);
    is(&free.so(poll(poll_state(JobState::Submitted))), T::Pending, A::EndedLost);
    let story = left(T::Submitted);
    is(&story, T::Held, A::Accepted);
    story
}

pub(super) fn poll_completed() -> Story {
    let event = poll(poll_state(JobState::Completed));
    for state in LATE.into_iter().chain([T::Cancelling, T::Processing]) {
        let story = nothing_moved(at(state, A::Accepted), event.clone());
        assert_eq!(next_step(&story.task, story.attempt.as_ref(), &policy(), &story.now()), Step::Fetch, "{state}");
    }
    let held = nothing_moved(at(T::Held, A::Accepted), event.clone());
    assert_eq!(held.task.wake_at, None, "a person fetches");
    let story = nothing_moved(at(T::Submitted, A::Accepted), event);
    assert_eq!(story.task.wake_at, Some(story.now().utc));
    story
}

pub(super) fn poll_unreadable() -> Story {
    let states = [T::Submitted, T::Processing, T::Cancelling, T::Failed, T::Timeout, T::Cancelled];
    let story = backs_off(&states, A::Accepted, &poll(PollAnswer::Unreadable(why())));
    assert_eq!(signals(&story), Some(&Signal::BadAnswer(why())));
    story
}

pub(super) fn poll_unavailable() -> Story {
    let states = [T::Submitted, T::Processing, T::Cancelling, T::Failed, T::Timeout, T::Cancelled];
    let story = backs_off(&states, A::Accepted, &poll(PollAnswer::Unavailable(why())));
    assert_eq!(signals(&story), Some(&Signal::VerbUnavailable(why())));
    story
}

pub(super) fn poll_missing_idempotent() -> Story {
    is(&gone(under(idempotent(), T::Cancelling, A::Accepted)), T::Cancelled, A::EndedLost);
    let mut story = gone(under(idempotent(), T::Processing, A::Accepted));
    is(&story, T::Processing, A::Accepted);
    let key = story.attempt_mut().key.clone();
    for _ in 0..4 {
        assert_eq!(next_step(&story.task, story.attempt.as_ref(), &story.policy, &story.now()), Step::Resend);
        story = story.so(Event::LockSeen { is_free: true }).so(Event::ResendBegun);
        is(&story, T::Submitted, A::Accepted);
        assert_eq!(story.attempt_mut().key, key, "the same key, the same attempt");
        let answer = SubmitAnswer::Accepted { reference: "again".into(), vars: BTreeMap::new() };
        nothing_moved(story.clone(), submit(answer));
        if story.attempt_mut().sends < 5 {
            story = nothing_moved(story, submit(SubmitAnswer::Ambiguous(why())));
        }
    }
    is(&story.clone().so(submit(SubmitAnswer::Ambiguous(why()))), T::Held, A::EndedLost);
    story
}

pub(super) fn poll_missing() -> Story {
    is(&gone(at(T::Cancelling, A::Accepted)), T::Cancelled, A::EndedLost);
    is(&gone(at(T::Timeout, A::Accepted)), T::Timeout, A::EndedLost);
    let seen_again = at(T::Processing, A::Accepted).so(missing(false)).so(missing(false));
    let mut seen_again = seen_again.so(poll(poll_state(JobState::Processing)));
    assert_eq!(seen_again.attempt_mut().missing, 0, "in a row");
    let story = gone(at(T::Processing, A::Accepted));
    is(&story, T::Held, A::EndedLost);
    story
}

pub(super) fn poll_failed() -> Story {
    let event = poll(poll_state(JobState::Failed));
    let story = costs_a_retry(&policy(), &HAS_JOB, A::Accepted, &event, A::EndedFailed, T::Failed);
    assert!(matches!(signals(&story), Some(Signal::JobFailed(_))));
    story
}

/// While the jobs of all tasks fail, one more is no fault of its task: it goes last, with nothing spent, and is not failed.
#[test]
fn a_job_that_fails_in_an_outage_spends_nothing() {
    let failed = poll(poll_state(JobState::Failed));
    for (policy, event) in [(policy(), failed), (blocking(), run(RunReport::Failed(why())))] {
        for state in HAS_JOB {
            let mut story = under(policy.clone(), state, A::Accepted);
            story.is_outage = true;
            story.task.retry_count = story.task.max_retries;
            let retries = story.task.retry_count;
            let story = story.later(Duration::from_secs(60)).so(event.clone());
            is(&story, T::Pending, A::EndedFailed);
            assert_eq!(story.task.retry_count, retries);
            assert!(story.task.wake_at >= Some(story.now().utc.plus(Duration::from_secs(12 * 60))), "after two probes");
            assert_eq!(story.task.queued_at, story.now().utc, "it goes last");
            assert!(matches!(signals(&story), Some(Signal::JobFailed(_))), "the breaker hears of it all the same");
        }
        let mut story = under(policy, T::Cancelling, A::Accepted);
        story.is_outage = true;
        is(&story.so(event), T::Cancelled, A::EndedFailed);
    }
}

/// A dead generator ends jobs in other ways than by failing them, and says nothing of it.
#[test]
fn no_end_that_nobody_wanted_spends_anything_in_an_outage() {
    let free = Policy { is_free_to_repeat: true, ..blocking() };
    let lost = || run(RunReport::Lost { why: why(), raw: "half".into() });
    let ends: Vec<(Policy, Event, A)> = vec![
        (policy(), poll(poll_state(JobState::Cancelled)), A::EndedCancelled),
        (policy(), Event::DeadlineReached { is_end_proved: true }, A::EndedCancelled),
        (blocking(), run(RunReport::Terminated(why())), A::EndedCancelled),
        (blocking(), run(RunReport::Killed), A::EndedCancelled),
        (free.clone(), lost(), A::EndedLost),
        (free, run(RunReport::NeverStarted(why())), A::EndedLost),
    ];
    for (policy, event, end) in ends {
        let story = overdue(under(policy.clone(), T::Processing, A::Accepted).in_outage()).so(event.clone());
        is(&story, T::Pending, end);
        assert_eq!(story.task.retry_count, 0, "{event:?}");
        assert!(matches!(signals(&story), Some(Signal::JobFailed(_))), "{event:?}: the breaker hears of it");
        let wanted = overdue(under(policy, T::Cancelling, A::Accepted)).so(event.clone());
        let is_told = matches!(signals(&wanted), Some(Signal::JobFailed(_)));
        assert_eq!(is_told, end == A::EndedLost, "{event:?}: a person wanted its end");
    }
    let put_off = at(T::Submitting, A::Intended).in_outage().so(submit(SubmitAnswer::Retry(why())));
    is(&put_off, T::Pending, A::Rejected);
    assert_eq!((put_off.task.retry_count, signals(&put_off)), (0, Some(&Signal::SubmitPutOff(why()))));
}

/// A job that may be alive is given time for nothing as long as others get none either, and then at the cost of its retries.
#[test]
fn a_job_that_outlives_its_limit_in_an_outage_gets_time_for_nothing_and_not_for_ever() {
    let mut story = at(T::Processing, A::Accepted).in_outage();
    for n in 0..3 + FREE_ENDS {
        story = overdue(story).so(Event::DeadlineReached { is_end_proved: false });
        assert_eq!((story.task.state, story.task.retry_count), (T::Processing, 0), "after {n}");
        assert!(matches!(signals(&story), Some(Signal::JobFailed(_))));
    }
    for n in 1..=3 {
        story = overdue(story).so(Event::DeadlineReached { is_end_proved: false });
        assert_eq!(story.task.retry_count, n);
    }
    is(&overdue(story).so(Event::DeadlineReached { is_end_proved: false }), T::Timeout, A::Accepted);
}

pub(super) fn poll_cancelled() -> Story {
    let event = poll(poll_state(JobState::Cancelled));
    costs_a_retry(&policy(), &HAS_JOB, A::Accepted, &event, A::EndedCancelled, T::Failed)
}
