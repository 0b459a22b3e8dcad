//! Rows of the table: submits, and what is in doubt after them.

use super::*;

pub(super) fn submit_ok() -> Story {
    let answer = submit(SubmitAnswer::Accepted { reference: "r".into(), vars: BTreeMap::new() });
    let cancelling = at(T::Cancelling, A::Intended).so(answer.clone());
    is(&cancelling, T::Cancelling, A::Accepted);
    assert_eq!(cancelling.task.wake_at, Some(cancelling.now().utc), "the cancel verb is next");
    // An answer that comes after the doubt clears it.
    is(&at(T::Submitting, A::Unknown).so(answer.clone()), T::Submitted, A::Accepted);
    is(&at(T::Held, A::Unknown).so(answer.clone()), T::Submitted, A::Accepted);
    is(&at(T::Cancelled, A::Unknown).so(answer.clone()), T::Cancelled, A::Accepted);
    is(&at(T::Failed, A::Unknown).so(answer.clone()), T::Failed, A::Accepted);
    let story = at(T::Submitting, A::Intended).later(Duration::from_secs(9)).so(answer);
    is(&story, T::Submitted, A::Accepted);
    let attempt = story.attempt.as_ref().expect("it has one");
    assert_eq!(attempt.external_ref.as_deref(), Some("r"));
    assert_eq!(attempt.deadline, Some(story.now().deadline_in(Duration::from_secs(1_800))), "from the acceptance");
    assert_eq!(signals(&story), Some(&Signal::Accepted));
    story
}

pub(super) fn submit_ok_with_job_of_another() -> Story {
    let answer = || submit(SubmitAnswer::Accepted { reference: "r".into(), vars: BTreeMap::new() });
    let mixed_up = |story: Story| story.naming_job_of("task-other").so(answer());
    is(&mixed_up(at(T::Cancelling, A::Intended)), T::Cancelled, A::Unknown);
    for policy in [policy(), idempotent()] {
        // The key had gone out before: with and without an earlier answer.
        is(&mixed_up(under(policy.clone(), T::Submitting, A::Unknown)), T::Held, A::Unknown);
        let mut missing = under(policy.clone(), T::Processing, A::Accepted);
        missing.attempt_mut().external_ref = Some("own".into());
        assert!(missing.clone().naming_job_of("task-other").tell(answer()).is_err(), "nobody asked");
        missing.attempt_mut().is_resend_due = true;
        let mut missing = mixed_up(missing);
        is(&missing, T::Held, A::Accepted);
        assert_eq!(missing.attempt_mut().external_ref.as_deref(), Some("own"));
    }
    let mut story = mixed_up(at(T::Submitting, A::Intended));
    is(&story, T::Held, A::Unknown);
    assert_eq!(story.attempt_mut().external_ref, None, "it is not this task's, whoever decides next");
    let reason = story.task.reason.clone().expect("it is held for a reason");
    assert!(reason.contains("names r, which is the job of task-other"), "{reason}");
    assert!(matches!(signals(&story), Some(Signal::SubmitUnanswered(_))));
    story
}

pub(super) fn submit_rejected() -> Story {
    let answer = submit(SubmitAnswer::Rejected(why()));
    is(&at(T::Cancelling, A::Intended).so(answer.clone()), T::Cancelled, A::Rejected);
    is(&spent(at(T::Submitting, A::Intended)).so(answer.clone()), T::Failed, A::Rejected);
    let story = at(T::Submitting, A::Intended).so(answer);
    is(&story, T::Failed, A::Rejected);
    assert_eq!(story.task.error.as_deref(), Some("why"));
    story
}

pub(super) fn submit_retry() -> Story {
    let answer = submit(SubmitAnswer::Retry(why()));
    costs_a_retry(&policy(), &[T::Submitting], A::Intended, &answer, A::Rejected, T::Failed)
}

pub(super) fn submit_unavailable() -> Story {
    let answer = submit(SubmitAnswer::Unavailable(why()));
    is(&at(T::Cancelling, A::Intended).so(answer.clone()), T::Cancelled, A::Withdrawn);
    is(&spent(at(T::Submitting, A::Intended)).so(answer.clone()), T::Pending, A::Withdrawn);
    let story = at(T::Submitting, A::Intended).later(Duration::from_secs(5)).so(answer);
    is(&story, T::Pending, A::Withdrawn);
    assert_eq!(story.task.queued_at, story.now().utc, "last in line");
    assert_eq!(signals(&story), Some(&Signal::SubmitUnavailable(why())));
    ends_for_nothing(
        at(T::Submitting, A::Intended),
        &submit(SubmitAnswer::Unavailable(why())),
        75,
        11,
        unavailable_submits,
    );
    story
}

pub(super) fn submit_doubt_with_find() -> Story {
    doubted(policy(), Step::Find)
}

pub(super) fn submit_doubt_without_find() -> Story {
    let story = doubted(Policy { can_find: false, ..policy() }, Step::GiveUpDoubt);
    let busy = nothing_moved(story.clone(), Event::LockSeen { is_free: false });
    let too_long = busy.later(Duration::from_secs(15 * 60)).so(Event::LockSeen { is_free: false });
    is(&too_long, T::Held, A::Unknown);
    let given_up = Event::DoubtStands(why());
    let cancelled = under(story.policy.clone(), T::Cancelling, A::Unknown).so(given_up.clone());
    is(&cancelled, T::Cancelled, A::Unknown);
    assert!(cancelled.task.reason.as_deref().is_some_and(|reason| reason.contains("may be alive")));
    let story = story.so(Event::LockSeen { is_free: true }).so(given_up);
    is(&story, T::Held, A::Unknown);
    story
}

pub(super) fn submit_doubt_idempotent() -> Story {
    let mut story = doubted(idempotent(), Step::Resend);
    let key = story.attempt_mut().key.clone();
    for n in 0..4 {
        assert_eq!(story.attempt_mut().sends, n + 1);
        story = story.so(Event::LockSeen { is_free: true }).so(Event::ResendBegun);
        is(&story, T::Submitting, A::Unknown);
        story = story.so(submit(SubmitAnswer::Ambiguous(why())));
        assert_eq!(story.attempt_mut().key, key);
    }
    is(&story, T::Held, A::Unknown);
    // A daemon that dies in each repetition does not repeat for ever either.
    let mut dying = doubted(idempotent(), Step::Resend);
    for _ in 0..4 {
        dying = dying.so(Event::ResendBegun);
    }
    assert_eq!(next_step(&dying.task, dying.attempt.as_ref(), &dying.policy, &dying.now()), Step::GiveUpDoubt);
    assert!(dying.tell(Event::ResendBegun).is_err());
    // The time limit ends it, but not unasked: the daemon itself may have been away.
    let mut late = doubted(idempotent(), Step::Resend).later(Duration::from_secs(1_801));
    let next = |late: &Story| next_step(&late.task, late.attempt.as_ref(), &late.policy, &late.now());
    for _ in 0..3 {
        assert_eq!(next(&late), Step::Resend);
        late = late.so(Event::LockSeen { is_free: true }).so(Event::ResendBegun);
        late = late.so(submit(SubmitAnswer::Unavailable(why())));
    }
    assert_eq!(next(&late), Step::GiveUpDoubt);
    assert!(late.tell(Event::ResendBegun).is_err());
    // One that never began is given back.
    let mut given_back = doubted(idempotent(), Step::Resend).so(Event::ResendBegun);
    given_back = given_back.so(submit(SubmitAnswer::NeverCalled(why())));
    assert_eq!(given_back.attempt_mut().sends, 1);
    story
}

/// A key that went out before, and goes out once more.
pub(super) fn sent_again() -> Story {
    under(idempotent(), T::Submitting, A::Unknown).so(Event::LockSeen { is_free: true }).so(Event::ResendBegun)
}

pub(super) fn resend_refused() -> Story {
    let refusals = [SubmitAnswer::Rejected(why()), SubmitAnswer::Retry(why())];
    for refusal in refusals.clone() {
        let cancelling = sent_again().so(Event::CancelRequested).so(submit(refusal.clone()));
        is(&cancelling, T::Cancelling, A::Unknown);
        let mut last = sent_again();
        last.attempt_mut().sends = 5;
        is(&last.clone().so(submit(refusal.clone())), T::Held, A::Unknown);
        is(&last.so(Event::CancelRequested).so(submit(refusal)), T::Cancelled, A::Unknown);
    }
    let [rejected, _] = refusals;
    let story = nothing_moved(sent_again(), submit(rejected));
    assert_eq!(next_step(&story.task, story.attempt.as_ref(), &story.policy, &story.now()), Step::Resend);
    story
}

pub(super) fn resend_unavailable() -> Story {
    let mut story = sent_again();
    for _ in 0..20 {
        story = nothing_moved(story, submit(SubmitAnswer::Unavailable(why())));
        assert_eq!(signals(&story), Some(&Signal::SubmitUnavailable(why())));
        assert!(story.task.wake_at > Some(story.now().utc), "with back-off");
        assert_eq!(story.attempt_mut().sends, 1, "nobody was there to see the key");
        story = story.so(Event::ResendBegun);
    }
    loop {
        story = story.later(Duration::from_secs(1_500)).so(submit(SubmitAnswer::Unavailable(why())));
        match next_step(&story.task, story.attempt.as_ref(), &story.policy, &story.now()) {
            Step::Resend => story = story.so(Event::ResendBegun),
            step => {
                assert_eq!(step, Step::GiveUpDoubt, "a time limit ends it");
                break;
            }
        }
    }
    assert!(story.now_ms > 6 * 3_600_000, "an outage is no fault of the task: {} ms", story.now_ms);
    story
}
