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
