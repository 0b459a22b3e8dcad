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
fn a_delay_that_is_taken_back_leaves_the_back_off_behind_it() {
    let after = |event| {
        let failed = Story::at(policy(), T::Processing, A::Accepted).so(event);
        let back_off = failed.task.wake_at.expect("with back-off");
        assert!(back_off > failed.now().utc);
        let not_before = Some(NotBefore::At(in_an_hour(&failed).plus(HOUR)));
        let delayed = failed.so(Event::Changed { priority: None, not_before });
        assert_eq!(delayed.task.wake_at, delayed.task.not_before);
        let story = delayed.so(Event::Changed { priority: None, not_before: Some(NotBefore::Now) });
        assert_eq!((story.task.wake_at, story.task.not_before), (Some(back_off), None));
        story
    };
    let story = after(Event::PollAnswered(poll_state(JobState::Failed)));
    // Once its time has passed nothing is left of it.
    let not_before = Some(NotBefore::At(in_an_hour(&story).plus(HOUR)));
    let story = story.so(Event::Changed { priority: None, not_before }).later(HOUR);
    let story = story.so(Event::Changed { priority: None, not_before: Some(NotBefore::Now) });
    assert_eq!(story.task.wake_at, None);
}
