//! Every row of the table verb × outcome. [`case`] names them by their text: a row without a case fails.

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

fn submit_ok() -> Story {
    let answer = submit(SubmitAnswer::Accepted { reference: "r".into(), vars: BTreeMap::new() });
    let cancelling = at(T::Cancelling, A::Intended).so(answer.clone());
    is(&cancelling, T::Cancelling, A::Accepted);
    assert_eq!(cancelling.task.wake_at, Some(cancelling.now().utc), "the cancel verb is next");
    // An answer that comes after the doubt clears it.
    is(&at(T::Submitting, A::Unknown).so(answer.clone()), T::Submitted, A::Accepted);
    is(&at(T::Held, A::Unknown).so(answer.clone()), T::Submitted, A::Accepted);
    is(&at(T::Cancelled, A::Unknown).so(answer.clone()), T::Cancelled, A::Accepted);
    is(&at(T::Failed, A::Unknown).so(answer.clone()), T::Failed, A::Accepted);
    let story = at(T::Submitting, A::Intended).later(Duration::from_secs(9)).so(answer);
    is(&story, T::Submitted, A::Accepted);
    let attempt = story.attempt.as_ref().expect("it has one");
    assert_eq!(attempt.external_ref.as_deref(), Some("r"));
    assert_eq!(attempt.deadline, Some(story.now().deadline_in(Duration::from_secs(1_800))), "from the acceptance");
    assert_eq!(signals(&story), Some(&Signal::Accepted));
    story
}

fn submit_ok_with_job_of_another() -> Story {
    let answer = || submit(SubmitAnswer::Accepted { reference: "r".into(), vars: BTreeMap::new() });
    let mixed_up = |story: Story| story.naming_job_of("task-other").so(answer());
    is(&mixed_up(at(T::Cancelling, A::Intended)), T::Cancelled, A::Unknown);
    for policy in [policy(), idempotent()] {
        // The key had gone out before: with and without an earlier answer.
        is(&mixed_up(under(policy.clone(), T::Submitting, A::Unknown)), T::Held, A::Unknown);
        let mut missing = under(policy.clone(), T::Processing, A::Accepted);
        missing.attempt_mut().external_ref = Some("own".into());
        assert!(missing.clone().naming_job_of("task-other").tell(answer()).is_err(), "nobody asked");
        missing.attempt_mut().is_resend_due = true;
        let mut missing = mixed_up(missing);
        is(&missing, T::Held, A::Accepted);
        assert_eq!(missing.attempt_mut().external_ref.as_deref(), Some("own"));
    }
    let mut story = mixed_up(at(T::Submitting, A::Intended));
    is(&story, T::Held, A::Unknown);
    assert_eq!(story.attempt_mut().external_ref, None, "it is not this task's, whoever decides next");
    let reason = story.task.reason.clone().expect("it is held for a reason");
    assert!(reason.contains("names r, which is the job of task-other"), "{reason}");
    assert!(matches!(signals(&story), Some(Signal::SubmitUnanswered(_))));
    story
}

fn submit_rejected() -> Story {
    let answer = submit(SubmitAnswer::Rejected(why()));
    is(&at(T::Cancelling, A::Intended).so(answer.clone()), T::Cancelled, A::Rejected);
    is(&spent(at(T::Submitting, A::Intended)).so(answer.clone()), T::Failed, A::Rejected);
    let story = at(T::Submitting, A::Intended).so(answer);
    is(&story, T::Failed, A::Rejected);
    assert_eq!(story.task.error.as_deref(), Some("why"));
    story
}

fn submit_retry() -> Story {
    let answer = submit(SubmitAnswer::Retry(why()));
    costs_a_retry(&policy(), &[T::Submitting], A::Intended, &answer, A::Rejected, T::Failed)
}

fn submit_unavailable() -> Story {
    let answer = submit(SubmitAnswer::Unavailable(why()));
    is(&at(T::Cancelling, A::Intended).so(answer.clone()), T::Cancelled, A::Withdrawn);
    is(&spent(at(T::Submitting, A::Intended)).so(answer.clone()), T::Pending, A::Withdrawn);
    let story = at(T::Submitting, A::Intended).later(Duration::from_secs(5)).so(answer);
    is(&story, T::Pending, A::Withdrawn);
    assert_eq!(story.task.queued_at, story.now().utc, "last in line");
    assert_eq!(signals(&story), Some(&Signal::SubmitUnavailable(why())));
    ends_for_nothing(
        at(T::Submitting, A::Intended),
        &submit(SubmitAnswer::Unavailable(why())),
        75,
        11,
        unavailable_submits,
    );
    story
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

fn run_unavailable() -> Story {
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

fn submit_doubt_with_find() -> Story {
    doubted(policy(), Step::Find)
}

fn submit_doubt_without_find() -> Story {
    let story = doubted(Policy { can_find: false, ..policy() }, Step::GiveUpDoubt);
    let busy = nothing_moved(story.clone(), Event::LockSeen { is_free: false });
    let too_long = busy.later(Duration::from_secs(15 * 60)).so(Event::LockSeen { is_free: false });
    is(&too_long, T::Held, A::Unknown);
    let given_up = Event::DoubtStands(why());
    let cancelled = under(story.policy.clone(), T::Cancelling, A::Unknown).so(given_up.clone());
    is(&cancelled, T::Cancelled, A::Unknown);
    assert!(cancelled.task.reason.as_deref().is_some_and(|reason| reason.contains("may be alive")));
    let story = story.so(Event::LockSeen { is_free: true }).so(given_up);
    is(&story, T::Held, A::Unknown);
    story
}

fn submit_doubt_idempotent() -> Story {
    let mut story = doubted(idempotent(), Step::Resend);
    let key = story.attempt_mut().key.clone();
    for n in 0..4 {
        assert_eq!(story.attempt_mut().sends, n + 1);
        story = story.so(Event::LockSeen { is_free: true }).so(Event::ResendBegun);
        is(&story, T::Submitting, A::Unknown);
        story = story.so(submit(SubmitAnswer::Ambiguous(why())));
        assert_eq!(story.attempt_mut().key, key);
    }
    is(&story, T::Held, A::Unknown);
    // A daemon that dies in each repetition does not repeat for ever either.
    let mut dying = doubted(idempotent(), Step::Resend);
    for _ in 0..4 {
        dying = dying.so(Event::ResendBegun);
    }
    assert_eq!(next_step(&dying.task, dying.attempt.as_ref(), &dying.policy, &dying.now()), Step::GiveUpDoubt);
    assert!(dying.tell(Event::ResendBegun).is_err());
    // The time limit ends it, but not unasked: the daemon itself may have been away.
    let mut late = doubted(idempotent(), Step::Resend).later(Duration::from_secs(1_801));
    let next = |late: &Story| next_step(&late.task, late.attempt.as_ref(), &late.policy, &late.now());
    for _ in 0..3 {
        assert_eq!(next(&late), Step::Resend);
        late = late.so(Event::LockSeen { is_free: true }).so(Event::ResendBegun);
        late = late.so(submit(SubmitAnswer::Unavailable(why())));
    }
    assert_eq!(next(&late), Step::GiveUpDoubt);
    assert!(late.tell(Event::ResendBegun).is_err());
    // One that never began is given back.
    let mut given_back = doubted(idempotent(), Step::Resend).so(Event::ResendBegun);
    given_back = given_back.so(submit(SubmitAnswer::NeverCalled(why())));
    assert_eq!(given_back.attempt_mut().sends, 1);
    story
}

/// A key that went out before, and goes out once more.
fn sent_again() -> Story {
    under(idempotent(), T::Submitting, A::Unknown).so(Event::LockSeen { is_free: true }).so(Event::ResendBegun)
}

fn resend_refused() -> Story {
    let refusals = [SubmitAnswer::Rejected(why()), SubmitAnswer::Retry(why())];
    for refusal in refusals.clone() {
        let cancelling = sent_again().so(Event::CancelRequested).so(submit(refusal.clone()));
        is(&cancelling, T::Cancelling, A::Unknown);
        let mut last = sent_again();
        last.attempt_mut().sends = 5;
        is(&last.clone().so(submit(refusal.clone())), T::Held, A::Unknown);
        is(&last.so(Event::CancelRequested).so(submit(refusal)), T::Cancelled, A::Unknown);
    }
    let [rejected, _] = refusals;
    let story = nothing_moved(sent_again(), submit(rejected));
    assert_eq!(next_step(&story.task, story.attempt.as_ref(), &story.policy, &story.now()), Step::Resend);
    story
}

fn resend_unavailable() -> Story {
    let mut story = sent_again();
    for _ in 0..20 {
        story = nothing_moved(story, submit(SubmitAnswer::Unavailable(why())));
        assert_eq!(signals(&story), Some(&Signal::SubmitUnavailable(why())));
        assert!(story.task.wake_at > Some(story.now().utc), "with back-off");
        assert_eq!(story.attempt_mut().sends, 1, "nobody was there to see the key");
        story = story.so(Event::ResendBegun);
    }
    loop {
        story = story.later(Duration::from_secs(1_500)).so(submit(SubmitAnswer::Unavailable(why())));
        match next_step(&story.task, story.attempt.as_ref(), &story.policy, &story.now()) {
            Step::Resend => story = story.so(Event::ResendBegun),
            step => {
                assert_eq!(step, Step::GiveUpDoubt, "a time limit ends it");
                break;
            }
        }
    }
    assert!(story.now_ms > 6 * 3_600_000, "an outage is no fault of the task: {} ms", story.now_ms);
    story
}

fn find_one() -> Story {
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

fn find_none_proved() -> Story {
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

fn find_several() -> Story {
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

fn find_limit() -> Story {
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

fn find_one_of_another() -> Story {
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

fn find_unavailable() -> Story {
    let states = [T::Submitting, T::Cancelling, T::Cancelled];
    let unreadable = find(&at(T::Submitting, A::Unknown), FindAnswer::Unreadable(why()));
    backs_off(&states, A::Unknown, &unreadable);
    let unavailable = find(&at(T::Submitting, A::Unknown), FindAnswer::Unavailable(why()));
    backs_off(&states, A::Unknown, &unavailable)
}

fn run(report: RunReport) -> Event {
    Event::RunReported(report)
}

fn run_started() -> Story {
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

fn run_never_started() -> Story {
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

fn run_piece() -> Story {
    piece_comes(&blocking(), &run(RunReport::Piece(piece())))
}

fn run_no_piece() -> Story {
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

fn run_failed() -> Story {
    let event = run(RunReport::Failed(why()));
    let story = costs_a_retry(&blocking(), &HAS_JOB, A::Accepted, &event, A::EndedFailed, T::Failed);
    assert_eq!(signals(&story), Some(&Signal::JobFailed(why())));
    story
}

fn run_terminated() -> Story {
    let event = run(RunReport::Terminated(why()));
    is(&under(blocking(), T::Cancelling, A::Accepted).so(event.clone()), T::Cancelled, A::EndedCancelled);
    let story = costs_a_retry(&blocking(), &HAS_JOB, A::Accepted, &event, A::EndedCancelled, T::Failed);
    assert_eq!(signals(&story), Some(&Signal::JobFailed(why())), "neither we nor a person wanted it");
    story
}

fn run_lost_free() -> Story {
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

fn run_lost() -> Story {
    let event = run(RunReport::Lost { why: why(), raw: "half a piece".into() });
    ends_without_the_task(&blocking(), A::Accepted, &event, A::EndedLost);
    let story = under(blocking(), T::Processing, A::Accepted).so(event);
    let raw = story.attempt.as_ref().and_then(|attempt| attempt.raw_output.as_deref());
    assert_eq!(raw, Some("half a piece"), "for the person who is asked");
    is(&story, T::Held, A::EndedLost);
    story
}

fn poll_follows() -> Story {
    let (queued, works) = (poll(poll_state(JobState::Submitted)), poll(poll_state(JobState::Processing)));
    for state in LATE.into_iter().chain([T::Cancelling, T::Held, T::Submitted]) {
        nothing_moved(at(state, A::Accepted), queued.clone());
    }
    nothing_moved(at(T::Processing, A::Accepted), works.clone());
    is(&at(T::Processing, A::Accepted).so(queued), T::Submitted, A::Accepted);
    // Where our key is the reference, a job in doubt that is seen is ours.
    is(&under(idempotent(), T::Cancelling, A::Unknown).so(works.clone()), T::Cancelling, A::Accepted);
    let story = at(T::Submitted, A::Accepted).so(works);
    is(&story, T::Processing, A::Accepted);
    assert_eq!(story.task.progress.as_deref(), Some("1/2"));
    story
}

/// The configuration's `dead_when`: their "submitted" for six hours.
fn left(state: T) -> Story {
    let dead =
        crate::task::policy::DeadWhen { state: "submitted".into(), unchanged_for: Duration::from_secs(6 * 3600) };
    let told = poll(poll_state(JobState::Submitted));
    let story = under(Policy { dead_when: Some(dead), ..policy() }, state, A::Accepted).so(told.clone());
    is(&story, state, A::Accepted);
    story.later(Duration::from_secs(6 * 3600)).so(told)
}

fn poll_left() -> Story {
    // A worker may come back in the morning and run it: what is looked at for a day is looked at for the day.
    for state in LATE {
        let story = left(state);
        is(&story, state, A::Accepted);
        assert!(story.task.reason.as_deref().is_some_and(|reason| reason.contains("looked at for a day")));
        let step = next_step(&story.task, story.attempt.as_ref(), &story.policy, &story.now());
        assert!(story.task.wake_at.is_some() && step == Step::Poll, "{state}: {step:?}");
        let retried = story.clone().tell(Event::RetryRequested { reset_count: false, abandon: None });
        assert!(matches!(retried, Err(Refusal::JobMayBeAlive { .. })), "no second job: {retried:?}");
        let ready = story.so(poll(poll_state(JobState::Completed))).so(fetch(FetchAnswer::Piece(piece())));
        assert!(ready.last.as_ref().is_some_and(|change| change.piece.is_some()), "{state}: its piece is taken");
    }
    is(&left(T::Cancelling), T::Cancelled, A::Accepted);
    let mut waits = left(T::Submitted).in_outage();
    (waits.task.state, waits.task.wake_at) = (T::Submitted, Some(waits.now().utc));
    is(&waits.so(poll(poll_state(JobState::Submitted))), T::Submitted, A::Accepted);
    is(&left(T::Submitted).so(fetch(FetchAnswer::Piece(piece()))), T::Completed, A::EndedCompleted);
    let mut free = left(T::Submitted);
    free.policy.is_free_to_repeat = true;
    free.task.state = T::Submitted;
    free.task.wake_at = Some(free.now().utc);
    is(&free.so(poll(poll_state(JobState::Submitted))), T::Pending, A::EndedLost);
    let story = left(T::Submitted);
    is(&story, T::Held, A::Accepted);
    story
}

fn poll_completed() -> Story {
    let event = poll(poll_state(JobState::Completed));
    for state in LATE.into_iter().chain([T::Cancelling, T::Processing]) {
        let story = nothing_moved(at(state, A::Accepted), event.clone());
        assert_eq!(next_step(&story.task, story.attempt.as_ref(), &policy(), &story.now()), Step::Fetch, "{state}");
    }
    let held = nothing_moved(at(T::Held, A::Accepted), event.clone());
    assert_eq!(held.task.wake_at, None, "a person fetches");
    let story = nothing_moved(at(T::Submitted, A::Accepted), event);
    assert_eq!(story.task.wake_at, Some(story.now().utc));
    story
}

fn poll_unreadable() -> Story {
    let states = [T::Submitted, T::Processing, T::Cancelling, T::Failed, T::Timeout, T::Cancelled];
    let story = backs_off(&states, A::Accepted, &poll(PollAnswer::Unreadable(why())));
    assert_eq!(signals(&story), Some(&Signal::BadAnswer(why())));
    story
}

fn poll_unavailable() -> Story {
    let states = [T::Submitted, T::Processing, T::Cancelling, T::Failed, T::Timeout, T::Cancelled];
    let story = backs_off(&states, A::Accepted, &poll(PollAnswer::Unavailable(why())));
    assert_eq!(signals(&story), Some(&Signal::VerbUnavailable(why())));
    story
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

fn poll_missing_idempotent() -> Story {
    is(&gone(under(idempotent(), T::Cancelling, A::Accepted)), T::Cancelled, A::EndedLost);
    let mut story = gone(under(idempotent(), T::Processing, A::Accepted));
    is(&story, T::Processing, A::Accepted);
    let key = story.attempt_mut().key.clone();
    for _ in 0..4 {
        assert_eq!(next_step(&story.task, story.attempt.as_ref(), &story.policy, &story.now()), Step::Resend);
        story = story.so(Event::LockSeen { is_free: true }).so(Event::ResendBegun);
        is(&story, T::Submitted, A::Accepted);
        assert_eq!(story.attempt_mut().key, key, "the same key, the same attempt");
        let answer = SubmitAnswer::Accepted { reference: "again".into(), vars: BTreeMap::new() };
        nothing_moved(story.clone(), submit(answer));
        if story.attempt_mut().sends < 5 {
            story = nothing_moved(story, submit(SubmitAnswer::Ambiguous(why())));
        }
    }
    is(&story.clone().so(submit(SubmitAnswer::Ambiguous(why()))), T::Held, A::EndedLost);
    story
}

fn poll_missing() -> Story {
    is(&gone(at(T::Cancelling, A::Accepted)), T::Cancelled, A::EndedLost);
    is(&gone(at(T::Timeout, A::Accepted)), T::Timeout, A::EndedLost);
    let seen_again = at(T::Processing, A::Accepted).so(missing(false)).so(missing(false));
    let mut seen_again = seen_again.so(poll(poll_state(JobState::Processing)));
    assert_eq!(seen_again.attempt_mut().missing, 0, "in a row");
    let story = gone(at(T::Processing, A::Accepted));
    is(&story, T::Held, A::EndedLost);
    story
}

fn poll_failed() -> Story {
    let event = poll(poll_state(JobState::Failed));
    let story = costs_a_retry(&policy(), &HAS_JOB, A::Accepted, &event, A::EndedFailed, T::Failed);
    assert!(matches!(signals(&story), Some(Signal::JobFailed(_))));
    story
}

/// While the jobs of all tasks fail, one more is no fault of its task: it goes last, with nothing spent, and is not failed.
#[test]
fn a_job_that_fails_in_an_outage_spends_nothing() {
    let failed = poll(poll_state(JobState::Failed));
    for (policy, event) in [(policy(), failed), (blocking(), run(RunReport::Failed(why())))] {
        for state in HAS_JOB {
            let mut story = under(policy.clone(), state, A::Accepted);
            story.is_outage = true;
            story.task.retry_count = story.task.max_retries;
            let retries = story.task.retry_count;
            let story = story.later(Duration::from_secs(60)).so(event.clone());
            is(&story, T::Pending, A::EndedFailed);
            assert_eq!(story.task.retry_count, retries);
            assert!(story.task.wake_at >= Some(story.now().utc.plus(Duration::from_secs(12 * 60))), "after two probes");
            assert_eq!(story.task.queued_at, story.now().utc, "it goes last");
            assert!(matches!(signals(&story), Some(Signal::JobFailed(_))), "the breaker hears of it all the same");
        }
        let mut story = under(policy, T::Cancelling, A::Accepted);
        story.is_outage = true;
        is(&story.so(event), T::Cancelled, A::EndedFailed);
    }
}

/// A dead generator ends jobs in other ways than by failing them, and says nothing of it.
#[test]
fn no_end_that_nobody_wanted_spends_anything_in_an_outage() {
    let free = Policy { is_free_to_repeat: true, ..blocking() };
    let lost = || run(RunReport::Lost { why: why(), raw: "half".into() });
    let ends: Vec<(Policy, Event, A)> = vec![
        (policy(), poll(poll_state(JobState::Cancelled)), A::EndedCancelled),
        (policy(), Event::DeadlineReached { is_end_proved: true }, A::EndedCancelled),
        (blocking(), run(RunReport::Terminated(why())), A::EndedCancelled),
        (blocking(), run(RunReport::Killed), A::EndedCancelled),
        (free.clone(), lost(), A::EndedLost),
        (free, run(RunReport::NeverStarted(why())), A::EndedLost),
    ];
    for (policy, event, end) in ends {
        let story = overdue(under(policy.clone(), T::Processing, A::Accepted).in_outage()).so(event.clone());
        is(&story, T::Pending, end);
        assert_eq!(story.task.retry_count, 0, "{event:?}");
        assert!(matches!(signals(&story), Some(Signal::JobFailed(_))), "{event:?}: the breaker hears of it");
        let wanted = overdue(under(policy, T::Cancelling, A::Accepted)).so(event.clone());
        let is_told = matches!(signals(&wanted), Some(Signal::JobFailed(_)));
        assert_eq!(is_told, end == A::EndedLost, "{event:?}: a person wanted its end");
    }
    let put_off = at(T::Submitting, A::Intended).in_outage().so(submit(SubmitAnswer::Retry(why())));
    is(&put_off, T::Pending, A::Rejected);
    assert_eq!((put_off.task.retry_count, signals(&put_off)), (0, Some(&Signal::SubmitPutOff(why()))));
}

/// A job that may be alive is given time for nothing as long as others get none either, and then at the cost of its retries.
#[test]
fn a_job_that_outlives_its_limit_in_an_outage_gets_time_for_nothing_and_not_for_ever() {
    let mut story = at(T::Processing, A::Accepted).in_outage();
    for n in 0..3 + FREE_ENDS {
        story = overdue(story).so(Event::DeadlineReached { is_end_proved: false });
        assert_eq!((story.task.state, story.task.retry_count), (T::Processing, 0), "after {n}");
        assert!(matches!(signals(&story), Some(Signal::JobFailed(_))));
    }
    for n in 1..=3 {
        story = overdue(story).so(Event::DeadlineReached { is_end_proved: false });
        assert_eq!(story.task.retry_count, n);
    }
    is(&overdue(story).so(Event::DeadlineReached { is_end_proved: false }), T::Timeout, A::Accepted);
}

fn poll_cancelled() -> Story {
    let event = poll(poll_state(JobState::Cancelled));
    costs_a_retry(&policy(), &HAS_JOB, A::Accepted, &event, A::EndedCancelled, T::Failed)
}

/// A piece is taken whatever the task wanted: it is paid for.
fn piece_comes(policy: &Policy, event: &Event) -> Story {
    for state in [T::Submitted, T::Cancelling, T::Held, T::Failed, T::Timeout] {
        let story = under(policy.clone(), state, A::Accepted).so(event.clone());
        is(&story, T::Completed, A::EndedCompleted);
        let fate = story.last.as_ref().and_then(|change| change.piece.as_ref()).map(|(_, fate)| *fate);
        assert_eq!(fate, Some(PieceFate::Completes));
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

fn fetch_ok() -> Story {
    piece_comes(&policy(), &fetch(FetchAnswer::Piece(piece())))
}

fn fetch_not_ready() -> Story {
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

fn unreadable() -> Event {
    fetch(FetchAnswer::Unreadable { why: why(), raw: "noise".into() })
}

fn fetch_unreadable() -> Story {
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

fn fetch_missing() -> Story {
    let event = fetch(FetchAnswer::Missing { raw: "noise".into() });
    is(&at(T::Cancelling, A::Accepted).so(event.clone()), T::Cancelled, A::EndedCompleted);
    is(&at(T::Cancelled, A::Accepted).so(event.clone()), T::Cancelled, A::EndedCompleted);
    let mut story = at(T::Submitted, A::Accepted).so(event);
    is(&story, T::Held, A::Accepted);
    assert_eq!(story.attempt_mut().raw_output.as_deref(), Some("noise"));
    story
}

fn fetch_unavailable() -> Story {
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

fn cancel(answer: CancelAnswer) -> Event {
    Event::CancelAnswered(answer)
}

fn cancel_ok() -> Story {
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
fn cancel_of_a_doubt() {
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

fn cancel_refused() -> Story {
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

fn cancel_unclear() -> Story {
    let story = backs_off(&[T::Cancelling], A::Accepted, &cancel(CancelAnswer::Unclear(why())));
    assert_eq!(next_step(&story.task, story.attempt.as_ref(), &policy(), &story.now()), Step::Cancel);
    is(&story.clone().so(poll(poll_state(JobState::Failed))), T::Cancelled, A::EndedFailed);
    story
}

fn cancel_too_late() -> Story {
    let story = at(T::Cancelling, A::Accepted).so(poll(poll_state(JobState::Completed)));
    assert_eq!(next_step(&story.task, story.attempt.as_ref(), &policy(), &story.now()), Step::Fetch);
    let story = story.so(fetch(FetchAnswer::Piece(piece())));
    is(&story, T::Completed, A::EndedCompleted);
    assert!(story.task.reason.as_deref().is_some_and(|reason| reason.contains("too late")));
    story
}

fn overdue(story: Story) -> Story {
    story.later(Duration::from_secs(1_800))
}

fn deadline_proved() -> Story {
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

fn deadline_unread() -> Story {
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

fn deadline_unanswered() -> Story {
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

fn deadline_alive() -> Story {
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

fn case(row: &OutcomeRow) -> Option<Case> {
    Some(match (row.verb, row.outcome) {
        (Some(Verb::Submit), "ok, with a reference") => submit_ok,
        (Some(Verb::Submit), "ok, with the reference of another task's job") => submit_ok_with_job_of_another,
        (Some(Verb::Submit), "rejected (a rule: it will never take this)") => submit_rejected,
        (Some(Verb::Submit), "retry (a rule: no job was made, try again)") => submit_retry,
        (Some(Verb::Submit), "unavailable (a rule: nobody was there to take it)") => submit_unavailable,
        (Some(Verb::Submit), "anything else, or our own death; not idempotent, with find") => submit_doubt_with_find,
        (Some(Verb::Submit), "anything else, or our own death; not idempotent, without find") => {
            submit_doubt_without_find
        }
        (Some(Verb::Submit), "anything else, or our own death; idempotent") => submit_doubt_idempotent,
        (Some(Verb::Submit), "of a key that went out before: rejected or retry") => resend_refused,
        (Some(Verb::Submit), "of a key that went out before: unavailable") => resend_unavailable,
        (Some(Verb::Find), "ok, one match of our key") => find_one,
        (Some(Verb::Find), "ok, none, and absence proved") => find_none_proved,
        (Some(Verb::Find), "ok, several matches") => find_several,
        (Some(Verb::Find), "ok, one match that is another task's job") => find_one_of_another,
        (Some(Verb::Find), "not proved within find_limit") => find_limit,
        (Some(Verb::Find), "unavailable or unreadable") => find_unavailable,
        (Some(Verb::Run), "started") => run_started,
        (Some(Verb::Run), "never started, lock free") => run_never_started,
        (Some(Verb::Run), "exit 0 with a piece") => run_piece,
        (Some(Verb::Run), "exit 0 without a piece") => run_no_piece,
        (Some(Verb::Run), "another exit or a signal that no rule names") => run_failed,
        (Some(Verb::Run), "unavailable (a rule: nobody was there to do it)") => run_unavailable,
        (Some(Verb::Run), "stopped with its unit, not by us") => run_terminated,
        (Some(Verb::Run), "lock free, no exit status; free to repeat") => run_lost_free,
        (Some(Verb::Run), "lock free, no exit status; not free to repeat") => run_lost,
        (Some(Verb::Poll), "ok, submitted or processing") => poll_follows,
        (Some(Verb::Poll), "ok, in the state of dead_when for its time") => poll_left,
        (Some(Verb::Poll), "ok, completed") => poll_completed,
        (Some(Verb::Poll), "ok, unmapped, unreadable or empty") => poll_unreadable,
        (Some(Verb::Poll), "unavailable") => poll_unavailable,
        (Some(Verb::Poll), "missing k times in a row and by poll_one; idempotent") => poll_missing_idempotent,
        (Some(Verb::Poll), "missing k times in a row and by poll_one; not idempotent") => poll_missing,
        (Some(Verb::Poll), "failed") => poll_failed,
        (Some(Verb::Poll), "cancelled at the generator, not by us") => poll_cancelled,
        (Some(Verb::Fetch), "ok: the piece") => fetch_ok,
        (Some(Verb::Fetch), "not_ready") => fetch_not_ready,
        (Some(Verb::Fetch), "unreadable k times in a row") => fetch_unreadable,
        (Some(Verb::Fetch), "missing") => fetch_missing,
        (Some(Verb::Fetch), "unavailable") => fetch_unavailable,
        (Some(Verb::Cancel), "ok") => cancel_ok,
        (Some(Verb::Cancel), "refused, or no cancel verb") => cancel_refused,
        (Some(Verb::Cancel), "unavailable, ambiguous or missing") => cancel_unclear,
        (Some(Verb::Cancel), "completed seen while cancelling") => cancel_too_late,
        (None, "deadline, and the end is proved") => deadline_proved,
        (None, "deadline, and what is said of the job cannot be read") => deadline_unread,
        (None, "deadline, and the generator does not answer") => deadline_unanswered,
        (None, "deadline, still alive") => deadline_alive,
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
