//! Rows of the table: runs of blocking generators.

use super::*;

pub(super) fn run_unavailable() -> Story {
    let event = run(RunReport::Unavailable(why()));
    ends_without_the_task(&blocking(), A::Accepted, &event, A::EndedFailed);
    ends_for_nothing(under(blocking(), T::Processing, A::Accepted), &event, 12, 0, free_ends);
    let story = under(blocking(), T::Submitted, A::Accepted).later(Duration::from_secs(5)).so(event);
    is(&story, T::Pending, A::EndedFailed);
    assert_eq!(story.task.queued_at, story.now().utc, "last in line");
    assert!(story.task.wake_at > Some(story.now().utc), "with back-off");
    assert_eq!(signals(&story), Some(&Signal::JobUnavailable(why())), "the start of the next one proves nothing");
    story
}

pub(super) fn run_started() -> Story {
    let started = run(RunReport::Started { reference: "run-1".into() });
    is(&under(blocking(), T::Cancelling, A::Intended).so(started.clone()), T::Cancelling, A::Accepted);
    // It ended before anybody saw it start: the start is committed first, and the next look comes at once.
    let fast = under(blocking(), T::Submitting, A::Intended).so(run(RunReport::Piece(piece())));
    is(&fast, T::Submitted, A::Accepted);
    assert_eq!(fast.task.wake_at, Some(fast.now().utc));
    is(&fast.so(run(RunReport::Piece(piece()))), T::Completed, A::EndedCompleted);
    // It never says that it started.
    let silent = under(blocking(), T::Submitting, A::Intended).later(Duration::from_secs(15 * 60));
    is(&silent.so(run(RunReport::Starting)), T::Held, A::Unknown);
    let story = under(blocking(), T::Submitting, A::Intended).so(started);
    is(&story, T::Submitted, A::Accepted);
    assert_eq!(story.clone().attempt_mut().external_ref.as_deref(), Some("run-1"));
    assert!(story.clone().attempt_mut().deadline.is_some());
    is(&story.clone().so(run(RunReport::Running)), T::Processing, A::Accepted);
    story
}

pub(super) fn run_never_started() -> Story {
    let event = run(RunReport::NeverStarted(why()));
    is(&under(blocking(), T::Cancelling, A::Intended).so(event.clone()), T::Cancelled, A::Withdrawn);
    let interrupted = run(RunReport::Interrupted(why()));
    is(&under(blocking(), T::Submitting, A::Intended).so(interrupted.clone()), T::Pending, A::Withdrawn);
    let given_back = under(blocking(), T::Processing, A::Accepted).so(interrupted);
    is(&given_back, T::Pending, A::EndedAbandoned);
    assert_eq!(given_back.task.retry_count, 0, "given back, not spent");
    let story = under(blocking(), T::Submitting, A::Intended).so(event);
    is(&story, T::Pending, A::Withdrawn);
    story
}

pub(super) fn run_piece() -> Story {
    piece_comes(&blocking(), &run(RunReport::Piece(piece())))
}

pub(super) fn run_no_piece() -> Story {
    let event = run(RunReport::NoPiece { why: why(), raw: "noise".into() });
    is(&under(blocking(), T::Cancelling, A::Accepted).so(event.clone()), T::Cancelled, A::EndedCompleted);
    for state in LATE {
        is(&under(blocking(), state, A::Accepted).so(event.clone()), state, A::EndedCompleted);
    }
    let mut story = under(blocking(), T::Processing, A::Accepted).so(event);
    is(&story, T::Held, A::Accepted);
    assert_eq!(story.attempt_mut().raw_output.as_deref(), Some("noise"));
    let ambiguous = run(RunReport::Ambiguous { why: why(), raw: "noise".into() });
    is(&under(blocking(), T::Submitted, A::Accepted).so(ambiguous), T::Held, A::EndedLost);
    story
}

pub(super) fn run_failed() -> Story {
    let event = run(RunReport::Failed(why()));
    let story = costs_a_retry(&blocking(), &HAS_JOB, A::Accepted, &event, A::EndedFailed, T::Failed);
    assert_eq!(signals(&story), Some(&Signal::JobFailed(why())));
    story
}

pub(super) fn run_terminated() -> Story {
    let event = run(RunReport::Terminated(why()));
    is(&under(blocking(), T::Cancelling, A::Accepted).so(event.clone()), T::Cancelled, A::EndedCancelled);
    let story = costs_a_retry(&blocking(), &HAS_JOB, A::Accepted, &event, A::EndedCancelled, T::Failed);
    assert_eq!(signals(&story), Some(&Signal::JobFailed(why())), "neither we nor a person wanted it");
    story
}

pub(super) fn run_lost_free() -> Story {
    let free = Policy { is_free_to_repeat: true, ..blocking() };
    costs_a_retry(
        &free,
        &HAS_JOB,
        A::Accepted,
        &run(RunReport::Lost { why: why(), raw: "half a piece".into() }),
        A::EndedLost,
        T::Failed,
    )
}

pub(super) fn run_lost() -> Story {
    let event = run(RunReport::Lost { why: why(), raw: "half a piece".into() });
    ends_without_the_task(&blocking(), A::Accepted, &event, A::EndedLost);
    let story = under(blocking(), T::Processing, A::Accepted).so(event);
    let raw = story.attempt.as_ref().and_then(|attempt| attempt.raw_output.as_deref());
    assert_eq!(raw, Some("half a piece"), "for the person who is asked");
    is(&story, T::Held, A::EndedLost);
    story
}
