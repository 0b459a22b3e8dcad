//! Rows of the table: time limits.

use super::*;

pub(super) fn deadline_proved() -> Story {
    let event = Event::DeadlineReached { is_end_proved: true };
    assert!(at(T::Processing, A::Accepted).tell(event.clone()).is_err(), "it has not passed");
    is(&overdue(at(T::Cancelling, A::Accepted)).so(event.clone()), T::Cancelled, A::EndedCancelled);
    is(&overdue(spent(at(T::Submitted, A::Accepted))).so(event.clone()), T::Timeout, A::EndedCancelled);
    for state in LATE.into_iter().chain([T::Held]) {
        assert!(overdue(at(state, A::Accepted)).tell(event.clone()).is_err(), "{state} has no limit");
    }
    let story = overdue(at(T::Processing, A::Accepted)).so(event);
    is(&story, T::Pending, A::EndedCancelled);
    story
}

pub(super) fn deadline_unread() -> Story {
    let event = Event::DeadlineUnread(why());
    assert!(at(T::Processing, A::Accepted).tell(event.clone()).is_err(), "it has not passed");
    for state in LATE.into_iter().chain([T::Held, T::Cancelling]) {
        assert!(overdue(at(state, A::Accepted)).tell(event.clone()).is_err(), "{state}");
    }
    let mut story = overdue(at(T::Processing, A::Accepted));
    for _ in 1..crate::task::outcome::K_IN_A_ROW {
        story = nothing_moved(story, event.clone());
        assert!(story.task.wake_at > Some(story.now().utc), "with back-off");
        assert_eq!(next_step(&story.task, story.attempt.as_ref(), &policy(), &story.now()), Step::Expire);
    }
    let read = story.clone().so(poll(poll_state(JobState::Processing)));
    assert_eq!(read.clone().attempt_mut().bad_answers, 0, "in a row");
    let story = story.so(event);
    is(&story, T::Held, A::Accepted);
    assert_eq!(signals(&story), Some(&Signal::BadAnswer(why())));
    is(&story.clone().so(fetch(FetchAnswer::Piece(piece()))), T::Completed, A::EndedCompleted);
    story
}

pub(super) fn deadline_unanswered() -> Story {
    let event = Event::DeadlineUnanswered(why());
    assert!(at(T::Processing, A::Accepted).tell(event.clone()).is_err(), "it has not passed");
    for state in LATE.into_iter().chain([T::Held, T::Cancelling]) {
        assert!(overdue(at(state, A::Accepted)).tell(event.clone()).is_err(), "{state}");
    }
    let mut story = overdue(at(T::Processing, A::Accepted));
    for _ in 0..3 + FREE_ENDS {
        story = nothing_moved(overdue(story), event.clone());
        assert_eq!(story.task.retry_count, 0, "an outage is no fault of the task");
        assert_eq!(Some(story.now().deadline_in(Duration::from_secs(1_800))), story.attempt_mut().deadline);
        assert_eq!(signals(&story), Some(&Signal::VerbUnavailable(why())));
    }
    let spent = overdue(story.clone()).so(event);
    assert_eq!(spent.task.retry_count, 1, "what costs nothing has a bound");
    is(&spent.so(fetch(FetchAnswer::Piece(piece()))), T::Completed, A::EndedCompleted);
    story
}

pub(super) fn deadline_alive() -> Story {
    let event = Event::DeadlineReached { is_end_proved: false };
    let mut story = at(T::Processing, A::Accepted);
    for n in 1..=3 {
        story = overdue(story).so(event.clone());
        is(&story, T::Processing, A::Accepted);
        assert_eq!((story.task.retry_count, story.task.attempt), (n, 1), "no new job");
        assert_eq!(Some(story.now().deadline_in(Duration::from_secs(1_800))), story.attempt_mut().deadline);
    }
    let mut last = overdue(story).so(event.clone());
    is(&last, T::Timeout, A::Accepted);
    assert_eq!(Some(last.now().utc.plus(LATE_WATCH)), last.attempt_mut().watch_until);
    is(&last.clone().so(fetch(FetchAnswer::Piece(piece()))), T::Completed, A::EndedCompleted);
    let watched = last.later(LATE_WATCH);
    let step = next_step(&watched.task, watched.attempt.as_ref(), &policy(), &watched.now());
    assert_eq!(step, Step::EndWatch);
    assert_eq!(watched.so(Event::WatchEnded).task.wake_at, None);
    overdue(at(T::Submitted, A::Accepted)).so(event)
}
