//! Rows of the table: cancels.

use super::*;

pub(super) fn cancel_ok() -> Story {
    let proved_by_poll = at(T::Cancelling, A::Accepted).so(poll(poll_state(JobState::Cancelled)));
    is(&proved_by_poll, T::Cancelled, A::EndedCancelled);
    for state in HAS_JOB.into_iter().chain(LATE) {
        assert!(at(state, A::Accepted).tell(cancel(CancelAnswer::Ok)).is_err(), "nobody asked in {state}");
    }
    cancel_of_a_doubt();
    let story = at(T::Cancelling, A::Accepted).so(cancel(CancelAnswer::Ok));
    is(&story, T::Cancelled, A::EndedCancelled);
    story
}

/// Whoever answers "cancelled" for a key that it has never seen may take the submit that is still under way.
pub(super) fn cancel_of_a_doubt() {
    let doubted = || under(idempotent(), T::Cancelling, A::Unknown);
    let alive = nothing_moved(doubted(), cancel(CancelAnswer::Ok));
    is(&alive, T::Cancelling, A::Unknown);
    let quiet = doubted().so(Event::LockSeen { is_free: true });
    let early = nothing_moved(quiet.later(Duration::from_secs(59)), cancel(CancelAnswer::Ok));
    is(&early, T::Cancelling, A::Unknown);
    assert_eq!(early.task.wake_at, Some(early.now().utc.plus(Duration::from_secs(1))), "asked when it has settled");
    let settled = early.later(Duration::from_secs(1)).so(cancel(CancelAnswer::Ok));
    is(&settled, T::Cancelled, A::EndedCancelled);
}

#[test]
fn a_run_that_never_said_that_it_started_can_be_cancelled() {
    let story = under(blocking(), T::Submitting, A::Intended).later(Duration::from_secs(15 * 60));
    let held = story.so(run(RunReport::Starting));
    is(&held, T::Held, A::Unknown);
    let cancelling = held.so(Event::CancelRequested);
    is(&cancelling, T::Cancelling, A::Unknown);
    let step = next_step(&cancelling.task, cancelling.attempt.as_ref(), &cancelling.policy, &cancelling.now());
    assert_eq!(step, Step::Cancel);
    // The free lock proves it; a lock that is still held is not waited for without end.
    is(&cancelling.clone().so(cancel(CancelAnswer::Ok)), T::Cancelled, A::EndedCancelled);
    let mut again = cancelling.clone();
    for _ in 1..crate::task::outcome::K_IN_A_ROW {
        again = nothing_moved(again, cancel(CancelAnswer::Unclear(why())));
    }
    is(&again.so(cancel(CancelAnswer::Refused(why()))), T::Cancelled, A::Unknown);
    // It did start meanwhile: its piece is not lost.
    let started = cancelling.so(run(RunReport::Started { reference: "r".into() }));
    is(&started, T::Cancelling, A::Accepted);
    is(&started.so(run(RunReport::Piece(piece()))), T::Completed, A::EndedCompleted);
}

pub(super) fn cancel_refused() -> Story {
    let story = nothing_moved(at(T::Cancelling, A::Accepted), cancel(CancelAnswer::Refused(why())));
    assert_eq!(next_step(&story.task, story.attempt.as_ref(), &policy(), &story.now()), Step::Poll, "not asked again");
    let no_verb = under(Policy { can_cancel: false, ..policy() }, T::Cancelling, A::Accepted);
    assert_eq!(next_step(&no_verb.task, no_verb.attempt.as_ref(), &no_verb.policy, &no_verb.now()), Step::Poll);
    let story = story.later(Duration::from_secs(1_800));
    assert_eq!(next_step(&story.task, story.attempt.as_ref(), &policy(), &story.now()), Step::Expire);
    let mut story = story.so(Event::DeadlineReached { is_end_proved: false });
    is(&story, T::Cancelled, A::Accepted);
    assert!(story.task.reason.as_deref().is_some_and(|reason| reason.contains("may be alive")));
    assert!(story.attempt_mut().watch_until.is_some(), "it is looked at for a day");
    story
}

pub(super) fn cancel_unclear() -> Story {
    let story = backs_off(&[T::Cancelling], A::Accepted, &cancel(CancelAnswer::Unclear(why())));
    assert_eq!(next_step(&story.task, story.attempt.as_ref(), &policy(), &story.now()), Step::Cancel);
    is(&story.clone().so(poll(poll_state(JobState::Failed))), T::Cancelled, A::EndedFailed);
    story
}

pub(super) fn cancel_too_late() -> Story {
    let story = at(T::Cancelling, A::Accepted).so(poll(poll_state(JobState::Completed)));
    assert_eq!(next_step(&story.task, story.attempt.as_ref(), &policy(), &story.now()), Step::Fetch);
    let story = story.so(fetch(FetchAnswer::Piece(piece())));
    is(&story, T::Completed, A::EndedCompleted);
    assert!(story.task.reason.as_deref().is_some_and(|reason| reason.contains("too late")));
    story
}
