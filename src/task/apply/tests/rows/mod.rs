//! Every row of the table verb × outcome. [`case`] names them by their text: a row without a case fails.

mod cancel;
mod deadline;
mod fetch;
mod find;
mod poll;
mod run;
mod submit;

use super::*;
use crate::task::breaker::Signal;
use crate::task::outcome::{OUTCOMES, OutcomeRow, Spends, Verb};
use crate::task::step::{Step, next_step};
use AttemptState as A;
use TaskState as T;

const LATE: [T; 3] = [T::Failed, T::Timeout, T::Cancelled];

const HAS_JOB: [T; 2] = [T::Submitted, T::Processing];

/// A row's behaviour where the task wants the job and has retries left; the other states are asserted on the way.
type Case = fn() -> Story;

fn at(state: T, attempt: A) -> Story {
    Story::at(policy(), state, attempt)
}

fn under(policy: Policy, state: T, attempt: A) -> Story {
    Story::at(policy, state, attempt)
}

fn spent(mut story: Story) -> Story {
    story.task.retry_count = story.task.max_retries;
    story
}

fn why() -> String {
    "why".into()
}

fn submit(answer: SubmitAnswer) -> Event {
    Event::SubmitAnswered(answer)
}

fn poll(answer: PollAnswer) -> Event {
    Event::PollAnswered(answer)
}

fn find(story: &Story, answer: FindAnswer) -> Event {
    Event::FindAnswered { answer, began_at: story.now().utc }
}

fn missing(by_name: bool) -> Event {
    poll(PollAnswer::Missing { is_complete: true, by_name })
}

/// Asserts state, attempt and what was spent.
#[track_caller]
fn is(story: &Story, state: T, attempt: A) {
    assert_eq!(story.state(), (state, Some(attempt)), "{:?}", story.task.reason);
}

#[track_caller]
fn nothing_moved(mut story: Story, event: Event) -> Story {
    let before = (story.state(), story.task.retry_count);
    story = story.so(event);
    assert_eq!((story.state(), story.task.retry_count), before);
    assert_eq!(story.last.as_ref().map(|change| change.audit.is_none()), Some(true));
    story
}

#[track_caller]
fn signals(story: &Story) -> Option<&Signal> {
    story.last.as_ref().and_then(|change| change.signal.as_ref())
}

/// An end that costs a retry: with one left, with none left, while cancelling, late and held.
fn costs_a_retry(policy: &Policy, states: &[T], attempt: A, event: &Event, end: A, last: T) -> Story {
    let mut first = None;
    for state in states {
        let story = under(policy.clone(), *state, attempt).so(event.clone());
        is(&story, T::Pending, end);
        assert_eq!(story.task.retry_count, 1);
        assert!(story.task.wake_at > Some(story.now().utc), "with back-off");
        assert!(story.task.error.is_some());
        first.get_or_insert(story);
        let story = spent(under(policy.clone(), *state, attempt)).so(event.clone());
        is(&story, last, end);
        assert_eq!(story.task.retry_count, 3);
    }
    ends_without_the_task(policy, attempt, event, end);
    first.expect("a state was named")
}

/// The job's end where the task wants it no more: cancelling becomes cancelled; late and held ones keep their state.
fn ends_without_the_task(policy: &Policy, attempt: A, event: &Event, end: A) {
    let story = under(policy.clone(), T::Cancelling, attempt).so(event.clone());
    is(&story, T::Cancelled, end);
    assert_eq!(story.task.retry_count, 0);
    if attempt == A::Accepted {
        for state in LATE.into_iter().chain([T::Held]) {
            let story = under(policy.clone(), state, attempt).so(event.clone());
            is(&story, state, end);
            assert_eq!((story.task.retry_count, story.task.wake_at), (0, None));
        }
    }
}

/// The task waits for an answer that did not come or cannot be read: nothing moves but the time of the next call.
fn backs_off(states: &[T], attempt: A, event: &Event) -> Story {
    let mut story = None;
    for state in states {
        let once = nothing_moved(at(*state, attempt), event.clone());
        let first_wait = once.task.wake_at.expect("it wakes").since(once.now().utc);
        assert!(!first_wait.is_zero());
        if state.is_final() {
            assert!(first_wait >= LATE_INTERVAL.mul_f64(0.8), "late jobs are looked at slowly");
        } else {
            let twice = nothing_moved(once.clone(), event.clone());
            assert!(twice.task.wake_at > once.task.wake_at, "back-off grows");
        }
        story.get_or_insert(once);
    }
    story.expect("a state was named")
}

fn free_ends(attempt: &mut Attempt) -> &mut u32 {
    &mut attempt.free_ends
}

fn unavailable_submits(attempt: &mut Attempt) -> &mut u32 {
    &mut attempt.unavailable_submits
}

/// So many ends in a row cost nothing, the first of them without a wait of its own; the next one is a person's.
fn ends_for_nothing(story: Story, event: &Event, most: u32, at_once: u32, counted: fn(&mut Attempt) -> &mut u32) {
    for count in 1..=most {
        let mut tried = story.clone();
        *counted(tried.attempt_mut()) = count - 1;
        let mut tried = tried.so(event.clone());
        assert_eq!((tried.task.state, tried.task.retry_count), (T::Pending, 0), "after {count}");
        assert_eq!(*counted(tried.attempt_mut()), count);
        let wait = tried.task.wake_at.map_or(Duration::ZERO, |at| at.since(tried.now().utc));
        assert_eq!(wait.is_zero(), count <= at_once.min(8), "after {count}: {wait:?}");
        assert!(wait <= Duration::from_secs(3_600));
    }
    let mut last = story;
    *counted(last.attempt_mut()) = most;
    let last = last.so(event.clone());
    assert_eq!((last.task.state, last.task.retry_count), (T::Held, 0));
    let reason = last.task.reason.expect("it is held for a reason");
    assert!(reason.contains(&(most + 1).to_string()), "{reason}");
}

/// Doubt comes by an ambiguous answer and by our own death alike.
fn doubted(policy: Policy, step: Step) -> Story {
    for event in [submit(SubmitAnswer::Ambiguous(why())), Event::CallLost(why())] {
        is(&under(policy.clone(), T::Cancelling, A::Intended).so(event.clone()), T::Cancelling, A::Unknown);
        let story = under(policy.clone(), T::Submitting, A::Intended).so(event);
        is(&story, T::Submitting, A::Unknown);
        assert_eq!(next_step(&story.task, story.attempt.as_ref(), &story.policy, &story.now()), step);
    }
    let story = under(policy, T::Submitting, A::Intended).so(submit(SubmitAnswer::Ambiguous(why())));
    assert!(matches!(signals(&story), Some(Signal::SubmitUnanswered(_))));
    story
}

/// The lock is free at once; complete searches at these seconds.
fn searched(mut story: Story, seconds: &[u64]) -> Story {
    story = story.so(Event::LockSeen { is_free: true });
    for second in seconds {
        story.now_ms = i64::try_from(*second * 1_000).expect("short");
        let event = find(&story, FindAnswer::None { is_complete: true });
        story = story.so(event);
    }
    story
}

/// Tried again after an end that cost nothing, by whatever ends it.
fn again_and_again(mut story: Story, policy: &Policy, end: impl Fn(Story) -> Story) -> (u32, Story) {
    for count in 1.. {
        story = end(story);
        if story.task.state != T::Pending {
            return (count, story);
        }
        assert_eq!((story.task.queued_at, story.task.retry_count), (story.now().utc, 0), "last in line, nothing spent");
        let wake_at = story.task.wake_at.expect("with back-off");
        story.now_ms = wake_at.0 - START;
        story = story.so(Event::Claimed { key: key(count + 1) });
        story.policy = policy.clone();
    }
    unreachable!("a count has no end")
}

fn run(report: RunReport) -> Event {
    Event::RunReported(report)
}

/// Missing in three sweeps, then by name where there is a `poll_one`.
fn gone(mut story: Story) -> Story {
    for n in 0..3 {
        assert!(story.attempt_mut().missing == n, "only complete sweeps count");
        story = story.so(poll(PollAnswer::Missing { is_complete: false, by_name: false })).so(missing(false));
    }
    if story.policy.can_poll_one {
        // While cancelling, the cancel is asked for again and the job then asked about by name.
        let step = if story.task.state == T::Cancelling { Step::Cancel } else { Step::PollOne };
        assert_eq!(next_step(&story.task, story.attempt.as_ref(), &story.policy, &story.now()), step);
        story = story.so(missing(true));
    }
    story
}

/// A piece is taken whatever the task wanted: it is paid for.
fn piece_comes(policy: &Policy, event: &Event) -> Story {
    for state in [T::Submitted, T::Cancelling, T::Held, T::Failed, T::Timeout] {
        let story = under(policy.clone(), state, A::Accepted).so(event.clone());
        is(&story, T::Completed, A::EndedCompleted);
        let fate = story.last.as_ref().and_then(|change| change.piece.as_ref()).map(|(_, fate)| *fate);
        let is_wanted = state != T::Cancelling;
        assert_eq!(fate, Some(if is_wanted { PieceFate::Completes } else { PieceFate::CompletesUnwanted }), "{state}");
    }
    let kept = under(policy.clone(), T::Cancelled, A::Accepted).so(event.clone());
    is(&kept, T::Cancelled, A::EndedCompleted);
    let fate = kept.last.as_ref().and_then(|change| change.piece.as_ref()).map(|(_, fate)| *fate);
    assert_eq!(fate, Some(PieceFate::KeptLate), "kept for review, never pooled");
    let story = under(policy.clone(), T::Processing, A::Accepted).so(event.clone());
    assert_eq!(signals(&story), Some(&Signal::JobCompleted));
    story
}

fn fetch(answer: FetchAnswer) -> Event {
    Event::FetchAnswered(answer)
}

fn cancel(answer: CancelAnswer) -> Event {
    Event::CancelAnswered(answer)
}

fn overdue(story: Story) -> Story {
    story.later(Duration::from_secs(1_800))
}

fn case(row: &OutcomeRow) -> Option<Case> {
    Some(match (row.verb, row.outcome) {
        (Some(Verb::Submit), "ok, with a reference") => submit::submit_ok,
        (Some(Verb::Submit), "ok, with the reference of another task's job") => submit::submit_ok_with_job_of_another,
        (Some(Verb::Submit), "rejected (a rule: it will never take this)") => submit::submit_rejected,
        (Some(Verb::Submit), "retry (a rule: no job was made, try again)") => submit::submit_retry,
        (Some(Verb::Submit), "unavailable (a rule: nobody was there to take it)") => submit::submit_unavailable,
        (Some(Verb::Submit), "anything else, or our own death; not idempotent, with find") => {
            submit::submit_doubt_with_find
        }
        (Some(Verb::Submit), "anything else, or our own death; not idempotent, without find") => {
            submit::submit_doubt_without_find
        }
        (Some(Verb::Submit), "anything else, or our own death; idempotent") => submit::submit_doubt_idempotent,
        (Some(Verb::Submit), "of a key that went out before: rejected or retry") => submit::resend_refused,
        (Some(Verb::Submit), "of a key that went out before: unavailable") => submit::resend_unavailable,
        (Some(Verb::Find), "ok, one match of our key") => find::find_one,
        (Some(Verb::Find), "ok, none, and absence proved") => find::find_none_proved,
        (Some(Verb::Find), "ok, several matches") => find::find_several,
        (Some(Verb::Find), "ok, one match that is another task's job") => find::find_one_of_another,
        (Some(Verb::Find), "not proved within find_limit") => find::find_limit,
        (Some(Verb::Find), "unavailable or unreadable") => find::find_unavailable,
        (Some(Verb::Run), "started") => run::run_started,
        (Some(Verb::Run), "never started, lock free") => run::run_never_started,
        (Some(Verb::Run), "exit 0 with a piece") => run::run_piece,
        (Some(Verb::Run), "exit 0 without a piece") => run::run_no_piece,
        (Some(Verb::Run), "another exit or a signal that no rule names") => run::run_failed,
        (Some(Verb::Run), "unavailable (a rule: nobody was there to do it)") => run::run_unavailable,
        (Some(Verb::Run), "stopped with its unit, not by us") => run::run_terminated,
        (Some(Verb::Run), "lock free, no exit status; free to repeat") => run::run_lost_free,
        (Some(Verb::Run), "lock free, no exit status; not free to repeat") => run::run_lost,
        (Some(Verb::Poll), "ok, submitted or processing") => poll::poll_follows,
        (Some(Verb::Poll), "ok, in the state of dead_when for its time") => poll::poll_left,
        (Some(Verb::Poll), "ok, completed") => poll::poll_completed,
        (Some(Verb::Poll), "ok, unmapped, unreadable or empty") => poll::poll_unreadable,
        (Some(Verb::Poll), "unavailable") => poll::poll_unavailable,
        (Some(Verb::Poll), "missing k times in a row and by poll_one; idempotent") => poll::poll_missing_idempotent,
        (Some(Verb::Poll), "missing k times in a row and by poll_one; not idempotent") => poll::poll_missing,
        (Some(Verb::Poll), "failed") => poll::poll_failed,
        (Some(Verb::Poll), "cancelled at the generator, not by us") => poll::poll_cancelled,
        (Some(Verb::Fetch), "ok: the piece") => fetch::fetch_ok,
        (Some(Verb::Fetch), "not_ready") => fetch::fetch_not_ready,
        (Some(Verb::Fetch), "unreadable k times in a row") => fetch::fetch_unreadable,
        (Some(Verb::Fetch), "missing") => fetch::fetch_missing,
        (Some(Verb::Fetch), "unavailable") => fetch::fetch_unavailable,
        (Some(Verb::Cancel), "ok") => cancel::cancel_ok,
        (Some(Verb::Cancel), "refused, or no cancel verb") => cancel::cancel_refused,
        (Some(Verb::Cancel), "unavailable, ambiguous or missing") => cancel::cancel_unclear,
        (Some(Verb::Cancel), "completed seen while cancelling") => cancel::cancel_too_late,
        (None, "deadline, and the end is proved") => deadline::deadline_proved,
        (None, "deadline, and what is said of the job cannot be read") => deadline::deadline_unread,
        (None, "deadline, and the generator does not answer") => deadline::deadline_unanswered,
        (None, "deadline, still alive") => deadline::deadline_alive,
        _ => return None,
    })
}

#[test]
fn every_row_of_the_table_does_what_it_says() {
    for row in OUTCOMES {
        let name = format!("{} × {}", row.verb.map_or("deadline", Verb::as_str), row.outcome);
        let run = case(row).unwrap_or_else(|| panic!("the row {name} has no test"));
        let story = run();
        assert_eq!(story.task.retry_count, u32::from(row.spends == Spends::Retry), "{name}");
    }
}
