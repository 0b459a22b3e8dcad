//! Rows of the table: searches.

use super::*;

pub(super) fn find_one() -> Story {
    let adopt = |story: Story| {
        let event = find(&story, FindAnswer::One { reference: "r".into() });
        story.so(event)
    };
    is(&adopt(at(T::Cancelling, A::Unknown)), T::Cancelling, A::Accepted);
    is(&adopt(at(T::Cancelled, A::Unknown)), T::Cancelled, A::Accepted);
    is(&adopt(at(T::Failed, A::Unknown)), T::Failed, A::Accepted);
    let story = adopt(at(T::Submitting, A::Unknown));
    is(&story, T::Submitted, A::Accepted);
    assert_eq!(story.audit.last().map(|row| row.event.as_str()), Some("adopted"));
    story
}

pub(super) fn find_none_proved() -> Story {
    is(&searched(at(T::Submitting, A::Unknown), &[1, 2, 3, 59]), T::Submitting, A::Unknown);
    is(&searched(at(T::Submitting, A::Unknown), &[1, 61]), T::Submitting, A::Unknown);
    is(&searched(at(T::Cancelling, A::Unknown), &[61, 91]), T::Cancelled, A::EndedAbandoned);
    is(&searched(at(T::Cancelled, A::Unknown), &[61, 91]), T::Cancelled, A::EndedAbandoned);
    is(&searched(spent(at(T::Submitting, A::Unknown)), &[61, 91]), T::Pending, A::EndedAbandoned);
    // Somebody is left of the submit: no search proves anything.
    let mut busy = at(T::Submitting, A::Unknown);
    for second in [70, 100, 130] {
        busy.now_ms = second * 1_000;
        busy = busy.so(Event::LockSeen { is_free: false });
        let event = find(&busy, FindAnswer::None { is_complete: true });
        busy = busy.so(event);
    }
    is(&busy, T::Submitting, A::Unknown);
    let story = searched(at(T::Submitting, A::Unknown), &[61, 91]);
    is(&story, T::Pending, A::EndedAbandoned);
    assert_eq!(story.task.queued_at, story.now().utc, "last in line");
    assert_eq!(story.task.wake_at, Some(story.now().utc.plus(Duration::from_secs(30))), "with back-off");
    story
}

#[test]
fn what_costs_nothing_is_not_tried_for_ever() {
    let absent = |story: Story| {
        let mut story = story.so(submit(SubmitAnswer::Ambiguous(why()))).so(Event::LockSeen { is_free: true });
        for _ in 0..2 {
            story = story.later(Duration::from_secs(61));
            let event = find(&story, FindAnswer::None { is_complete: true });
            story = story.so(event);
        }
        story
    };
    let accept = || submit(SubmitAnswer::Accepted { reference: "r".into(), vars: BTreeMap::new() });
    let fails = |story: Story| story.so(accept()).so(poll(poll_state(JobState::Failed)));
    let put_off = |story: Story| story.so(submit(SubmitAnswer::Retry(why())));
    let ends: [&dyn Fn(Story) -> Story; 3] = [&absent, &fails, &put_off];
    for end in ends {
        let mut story = at(T::Submitting, A::Intended);
        story.is_outage = true;
        let (count, mut story) = again_and_again(story, &policy(), end);
        assert_eq!((count, story.task.state), (3 + FREE_ENDS + 1, T::Held), "max_retries and some more");
        assert!(story.now_ms > 8 * 3_600_000, "a night passes before a person is asked: {} ms", story.now_ms);
        story.is_outage = true;
        let decided = story.so(Event::Settled(Settlement::Absent)).so(Event::Claimed { key: key(77) });
        is(&end(decided), T::Pending, end(at(T::Submitting, A::Intended).in_outage()).state().1.expect("it has one"));
    }
}

pub(super) fn find_several() -> Story {
    let event = |story: &Story| find(story, FindAnswer::Several(vec!["a".into(), "b".into()]));
    let cancelling = at(T::Cancelling, A::Unknown);
    let told = event(&cancelling);
    is(&cancelling.so(told), T::Cancelled, A::Unknown);
    let story = at(T::Submitting, A::Unknown);
    let told = event(&story);
    let story = story.so(told);
    is(&story, T::Held, A::Unknown);
    story
}

pub(super) fn find_limit() -> Story {
    let bad = || [FindAnswer::None { is_complete: false }, FindAnswer::Unreadable(why())].into_iter();
    let late = |state| at(state, A::Unknown).later(Duration::from_secs(15 * 60));
    for answer in bad() {
        let event = find(&late(T::Cancelling), answer);
        is(&late(T::Cancelling).so(event.clone()), T::Cancelled, A::Unknown);
        is(&late(T::Submitting).so(event), T::Held, A::Unknown);
    }
    let unavailable = find(&late(T::Cancelling), FindAnswer::Unavailable(why()));
    is(&late(T::Cancelling).so(unavailable), T::Cancelled, A::Unknown);
    // While nobody answers the limit comes again, but not for ever.
    let mut story = at(T::Submitting, A::Unknown);
    while story.task.state == T::Submitting {
        story = story.later(Duration::from_secs(5 * 60));
        let event = find(&story, FindAnswer::Unavailable(why()));
        story = story.so(event);
    }
    assert!(story.now_ms > 3 * 3_600_000, "an outage is no fault of the task: {} ms", story.now_ms);
    story
}

pub(super) fn find_one_of_another() -> Story {
    let one = |story: &Story| find(story, FindAnswer::One { reference: "r".into() });
    let mixed_up = |story: Story| {
        let event = one(&story);
        story.naming_job_of("task-other").so(event)
    };
    is(&mixed_up(at(T::Cancelling, A::Unknown)), T::Cancelled, A::Unknown);
    for state in LATE {
        is(&mixed_up(at(state, A::Unknown)), state, A::Unknown);
    }
    let mut story = mixed_up(at(T::Submitting, A::Unknown));
    is(&story, T::Held, A::Unknown);
    assert_eq!(story.attempt_mut().external_ref, None);
    assert!(story.task.reason.as_deref().is_some_and(|why| why.contains("which is the job of task-other")));
    assert!(matches!(signals(&story), Some(Signal::BadAnswer(_))));
    story
}

pub(super) fn find_unavailable() -> Story {
    let states = [T::Submitting, T::Cancelling, T::Cancelled];
    let unreadable = find(&at(T::Submitting, A::Unknown), FindAnswer::Unreadable(why()));
    backs_off(&states, A::Unknown, &unreadable);
    let unavailable = find(&at(T::Submitting, A::Unknown), FindAnswer::Unavailable(why()));
    backs_off(&states, A::Unknown, &unavailable)
}
