//! Which ends without a piece the breaker hears of: each that a task waits for, also where only a person goes on.

use super::*;
use crate::task::breaker::Signal;
use crate::task::policy::DeadWhen;

use AttemptState as A;
use TaskState as T;

fn why() -> String {
    "why".into()
}

fn run(report: RunReport) -> Event {
    Event::RunReported(report)
}

fn fetch(answer: FetchAnswer) -> Event {
    Event::FetchAnswered(answer)
}

/// Missing for so often that it is believed.
fn missing() -> Vec<Event> {
    vec![Event::PollAnswered(PollAnswer::Missing { is_complete: true, by_name: true }); 3]
}

fn calls_dead() -> Policy {
    let dead = DeadWhen { state: "processing".into(), unchanged_for: Duration::ZERO };
    Policy { dead_when: Some(dead), ..policy() }
}

/// Every way to an end that is held, from a job that a task waits for: what it is, the policy, what happens.
fn held_ends() -> Vec<(&'static str, Policy, Vec<Event>)> {
    let unread = || fetch(FetchAnswer::Unreadable { why: why(), raw: "prose".into() });
    let resent = Event::SubmitAnswered(SubmitAnswer::Ambiguous(why()));
    let sent_again = [Event::LockSeen { is_free: true }, Event::ResendBegun, resent];
    let sent_in_vain = missing().into_iter().chain(sent_again.iter().cycle().take(12).cloned()).collect();
    vec![
        ("a run without a piece", blocking(), vec![run(RunReport::NoPiece { why: why(), raw: "prose".into() })]),
        (
            "a run whose end a rule calls unclear",
            blocking(),
            vec![run(RunReport::Ambiguous { why: why(), raw: "".into() })],
        ),
        ("a run without an end", blocking(), vec![run(RunReport::Lost { why: why(), raw: "".into() })]),
        ("a run without a directory", blocking(), vec![run(RunReport::NeverStarted(why()))]),
        ("a job that is missing", policy(), missing()),
        ("a job that is missing though its key was sent again", idempotent(), sent_in_vain),
        ("a job that is called dead", calls_dead(), vec![Event::PollAnswered(poll_state(JobState::Processing))]),
        ("a piece that is missing", policy(), vec![fetch(FetchAnswer::Missing { raw: "404".into() })]),
        ("a piece that cannot be read", policy(), vec![unread(), unread(), unread()]),
    ]
}

#[test]
fn the_breaker_hears_of_every_end_that_is_held() {
    for (what, policy, events) in held_ends() {
        for state in [T::Submitted, T::Processing] {
            let mut story = Story::at(policy.clone(), state, A::Accepted);
            for event in events.clone() {
                assert_ne!(story.task.state, T::Held, "{what}: {event:?} comes too late");
                story = story.so(event);
            }
            assert_eq!((story.task.state, story.task.retry_count), (T::Held, 0), "{what}");
            let signal = story.last.as_ref().and_then(|change| change.signal.as_ref());
            assert!(matches!(signal, Some(Signal::JobFailed(_))), "{what}: {signal:?}");
        }
    }
}

#[test]
fn the_breaker_hears_of_a_piece_that_is_announced_and_never_given() {
    let mut story = Story::at(policy(), T::Processing, A::Accepted).later(Duration::from_secs(1_801));
    story = story.so(Event::PollAnswered(poll_state(JobState::Completed))).so(fetch(FetchAnswer::NotReady));
    assert_eq!(story.task.state, T::Held);
    let signal = story.last.and_then(|change| change.signal);
    assert!(matches!(signal, Some(Signal::JobFailed(_))), "{signal:?}");
}

#[test]
fn an_end_that_nobody_waits_for_is_no_failure() {
    for (what, policy, events) in held_ends() {
        for state in [T::Cancelling, T::Held, T::Failed, T::Timeout, T::Cancelled] {
            let mut story = Story::at(policy.clone(), state, A::Accepted);
            for event in events.clone() {
                // What does not fit the state changes nothing.
                let is_taken = story.tell(event).is_ok();
                let signal = story.last.as_ref().filter(|_| is_taken).and_then(|change| change.signal.as_ref());
                assert!(!matches!(signal, Some(Signal::JobFailed(_))), "{what}, {state}: {signal:?}");
            }
        }
    }
}

#[test]
fn a_run_that_never_says_that_it_started_is_a_submit_without_an_answer() {
    let story = Story::at(blocking(), T::Submitting, A::Intended).later(Duration::from_secs(15 * 60));
    let story = story.so(run(RunReport::Starting));
    assert_eq!(story.state(), (T::Held, Some(A::Unknown)));
    let signal = story.last.and_then(|change| change.signal);
    assert!(matches!(signal, Some(Signal::SubmitUnanswered(_))), "{signal:?}");
}
