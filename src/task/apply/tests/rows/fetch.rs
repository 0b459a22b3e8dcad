//! Rows of the table: fetches.

use super::*;

pub(super) fn fetch_ok() -> Story {
    piece_comes(&policy(), &fetch(FetchAnswer::Piece(piece())))
}

pub(super) fn fetch_not_ready() -> Story {
    for state in LATE.into_iter().chain([T::Cancelling, T::Submitted, T::Held]) {
        let mut story = nothing_moved(at(state, A::Accepted), fetch(FetchAnswer::NotReady));
        assert!(!story.attempt_mut().is_ready);
    }
    let mut ready = at(T::Processing, A::Accepted);
    ready.attempt_mut().is_ready = true;
    let story = nothing_moved(ready, fetch(FetchAnswer::NotReady));
    assert_eq!(next_step(&story.task, story.attempt.as_ref(), &policy(), &story.now()), Step::Poll);
    story
}

#[test]
fn a_piece_that_is_never_ready_is_not_waited_for_past_the_deadline() {
    for (state, last) in [(T::Submitted, T::Held), (T::Processing, T::Held), (T::Cancelling, T::Cancelled)] {
        let mut story = overdue(at(state, A::Accepted));
        story.attempt_mut().is_ready = true;
        let step = next_step(&story.task, story.attempt.as_ref(), &policy(), &story.now());
        assert_eq!(step, Step::Fetch, "{state}");
        let story = story.so(fetch(FetchAnswer::NotReady));
        is(&story, last, A::Accepted);
        let reason = story.task.reason.as_deref().unwrap_or_default();
        assert!(reason.ends_with("it is completed and does not give the piece"), "{reason}");
    }
}

#[test]
fn a_late_piece_that_is_never_ready_is_not_waited_for_past_the_day() {
    for state in LATE {
        let completed = poll(poll_state(JobState::Completed));
        let early = at(state, A::Accepted).later(LATE_WATCH / 2).so(completed.clone()).so(fetch(FetchAnswer::NotReady));
        let step = |story: &Story| next_step(&story.task, story.attempt.as_ref(), &policy(), &story.now());
        assert_eq!(step(&early), Step::Poll, "{state}");
        let over = early.later(LATE_WATCH / 2).so(completed).so(fetch(FetchAnswer::NotReady));
        assert_eq!(step(&over), Step::EndWatch, "{state}");
    }
}

pub(super) fn unreadable() -> Event {
    fetch(FetchAnswer::Unreadable { why: why(), raw: "noise".into() })
}

pub(super) fn fetch_unreadable() -> Story {
    let thrice = |state| {
        let twice = nothing_moved(nothing_moved(at(state, A::Accepted), unreadable()), unreadable());
        twice.so(unreadable())
    };
    is(&thrice(T::Cancelling), T::Cancelled, A::EndedCompleted);
    is(&thrice(T::Timeout), T::Timeout, A::EndedCompleted);
    let mut story = thrice(T::Processing);
    is(&story, T::Held, A::Accepted);
    assert_eq!(story.attempt_mut().raw_output.as_deref(), Some("noise"), "the output is kept");
    // A person asks again.
    let again = story.clone().so(Event::PollRequested);
    is(&again.clone().so(unreadable()), T::Held, A::Accepted);
    is(&again.so(fetch(FetchAnswer::Piece(piece()))), T::Completed, A::EndedCompleted);
    story
}

pub(super) fn fetch_missing() -> Story {
    let event = fetch(FetchAnswer::Missing { raw: "noise".into() });
    is(&at(T::Cancelling, A::Accepted).so(event.clone()), T::Cancelled, A::EndedCompleted);
    is(&at(T::Cancelled, A::Accepted).so(event.clone()), T::Cancelled, A::EndedCompleted);
    let mut story = at(T::Submitted, A::Accepted).so(event);
    is(&story, T::Held, A::Accepted);
    assert_eq!(story.attempt_mut().raw_output.as_deref(), Some("noise"));
    story
}

pub(super) fn fetch_unavailable() -> Story {
    let states = [T::Processing, T::Submitted, T::Cancelling, T::Failed, T::Timeout, T::Cancelled];
    nothing_moved(at(T::Held, A::Accepted), fetch(FetchAnswer::Unavailable(why())));
    backs_off(&states, A::Accepted, &fetch(FetchAnswer::Unavailable(why())))
}

#[test]
fn a_job_that_is_not_told_about_tells_why_its_task_waits() {
    let says = |story: &Story| story.task.reason.clone().unwrap_or_default();
    let story = at(T::Processing, A::Accepted);
    for bad in [poll(PollAnswer::Unreadable(why())), poll(PollAnswer::Unavailable(why())), unreadable()] {
        let told = story.clone().so(bad);
        assert!(says(&told).contains(&why()), "{}", says(&told));
        let answered = told.so(poll(poll_state(JobState::Processing)));
        assert_eq!(answered.task.reason, None, "a good answer ends it");
    }
    let mut cancelling = at(T::Cancelling, A::Accepted);
    cancelling.task.reason = Some("waits for the proof".into());
    let told = cancelling.so(poll(PollAnswer::Unavailable(why())));
    assert_eq!(says(&told), "waits for the proof", "a state with a reason of its own keeps it");
}

#[test]
fn a_piece_that_is_not_stored_is_kept_and_fetched_again() {
    let mut ready = at(T::Processing, A::Accepted);
    ready.attempt_mut().is_ready = true;
    let story = nothing_moved(ready, Event::PieceNotStored(why()));
    assert!(story.task.error.as_ref().is_some_and(|error| error.contains(&why())));
    assert!(story.task.wake_at > Some(story.now().utc), "with back-off");
    assert_eq!(next_step(&story.task, story.attempt.as_ref(), &policy(), &story.now()), Step::Fetch);
    let stored = story.so(fetch(FetchAnswer::Piece(piece())));
    is(&stored, T::Completed, A::EndedCompleted);
    assert_eq!(stored.task.error, None);
    let mut failed = at(T::Failed, A::Accepted);
    failed.task.error = Some("the first".into());
    let late = failed.so(Event::PieceNotStored(why()));
    assert_eq!(late.task.error.as_deref(), Some("the first"), "what ended a task is not overwritten");
    assert!(at(T::Submitting, A::Unknown).tell(Event::PieceNotStored(why())).is_err());
}
