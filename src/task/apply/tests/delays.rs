//! A time before which a task may not begin holds whoever wants to begin it, and however it came to wait again.

use super::*;

use AttemptState as A;
use TaskState as T;

const HOUR: Duration = Duration::from_secs(3600);

fn in_an_hour(story: &Story) -> Timestamp {
    story.now().utc.plus(HOUR)
}

#[test]
fn who_saw_a_task_before_it_was_delayed_does_not_claim_it() {
    let mut story = Story::new(policy());
    let not_before = Some(NotBefore::At(in_an_hour(&story)));
    story = story.so(Event::Changed { priority: None, not_before });
    assert!(matches!(story.tell(Event::Claimed { key: key(1) }), Err(Refusal::Illegal(_))));
    assert_eq!((story.task.state, story.task.wake_at), (T::Pending, Some(in_an_hour(&story))));
    let story = story.later(HOUR).so(Event::Claimed { key: key(1) });
    assert_eq!(story.task.state, T::Submitting);
}

#[test]
fn a_retry_waits_for_the_delay_too() {
    for is_outage in [false, true] {
        let mut story = Story::at(policy(), T::Processing, A::Accepted);
        story.is_outage = is_outage;
        let at = in_an_hour(&story);
        story.task.not_before = Some(at);
        let story = story.so(Event::PollAnswered(poll_state(JobState::Failed)));
        assert_eq!((story.task.state, story.task.wake_at), (T::Pending, Some(at)), "in an outage: {is_outage}");
    }
}

#[test]
fn a_second_delay_leaves_the_back_off_behind_the_first() {
    let after = |event| {
        let failed = Story::at(policy(), T::Processing, A::Accepted).so(event);
        let back_off = failed.task.wake_at.expect("with back-off");
        assert!(back_off > failed.now().utc);
        let not_before = Some(NotBefore::At(in_an_hour(&failed).plus(HOUR)));
        let delayed = failed.so(Event::Changed { priority: None, not_before });
        assert_eq!(delayed.task.wake_at, delayed.task.not_before);
        let soon = delayed.now().utc.plus(Duration::from_millis(1));
        let story = delayed.so(Event::Changed { priority: None, not_before: Some(NotBefore::At(soon)) });
        assert_eq!((story.task.wake_at, story.task.not_before), (Some(back_off), Some(soon)));
        story
    };
    let story = after(Event::PollAnswered(poll_state(JobState::Failed)));
    // Once its time has passed nothing is left of it.
    let not_before = Some(NotBefore::At(in_an_hour(&story).plus(HOUR)));
    let story = story.so(Event::Changed { priority: None, not_before }).later(HOUR);
    let soon = story.now().utc.plus(Duration::from_millis(1));
    let story = story.so(Event::Changed { priority: None, not_before: Some(NotBefore::At(soon)) });
    assert_eq!(story.task.wake_at, Some(soon));
}

/// Of a task that was given back or tried again the delay has passed. A clock that is set back behind it delays nobody: the
/// task is ready by its wake time, and refusing it would have it asked for again at once, and again.
#[test]
fn a_delay_that_has_passed_holds_up_no_claim_on_a_clock_that_was_set_back() {
    let mut story = Story::at(policy(), T::Pending, A::Withdrawn);
    story.task.wake_at = None;
    story.task.not_before = Some(in_an_hour(&story));
    let story = story.so(Event::Claimed { key: key(2) });
    assert_eq!(story.task.state, T::Submitting);
}
