//! Every state, every attempt, every event, under every kind of generator.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::task::step::{Step, next_step};

/// Every kind of event with every kind of answer. A new one does not compile before it stands here: see [`is_listed`].
pub(in super::super) fn every_event() -> Vec<Event> {
    let text = || "why".to_owned();
    let reference = || "theirs-2".to_owned();
    let mut events = vec![
        Event::Claimed { key: key(99) },
        Event::CallLost(text()),
        Event::LockSeen { is_free: true },
        Event::LockSeen { is_free: false },
        Event::ResendBegun,
        Event::DoubtStands(text()),
        Event::DeadlineReached { is_end_proved: true },
        Event::DeadlineReached { is_end_proved: false },
        Event::DeadlineUnread(text()),
        Event::DeadlineUnanswered(text()),
        Event::WatchEnded,
        Event::CancelRequested,
        Event::PollRequested,
        Event::Changed { priority: Some(9), not_before: None },
        Event::Changed { priority: None, not_before: Some(NotBefore::Now) },
        Event::Changed { priority: Some(1), not_before: Some(NotBefore::At(Timestamp(i64::MAX / 2))) },
        Event::Settled(Settlement::Adopt { reference: reference(), key: key(98) }),
        Event::Settled(Settlement::Absent),
        Event::Settled(Settlement::Fail { reason: text() }),
        Event::Settled(Settlement::Released),
        Event::Restored { at: Timestamp(START) },
        Event::RunFound { key: key(97) },
    ];
    for reset_count in [false, true] {
        for abandon in [None, Some(text())] {
            events.push(Event::RetryRequested { reset_count, abandon });
        }
    }
    for to in [CorrectedState::Pending, CorrectedState::Failed, CorrectedState::Timeout, CorrectedState::Cancelled] {
        for abandon in [false, true] {
            events.push(Event::Corrected { to, reason: text(), abandon });
        }
    }
    let answers = [
        SubmitAnswer::Accepted { reference: reference(), vars: BTreeMap::new() },
        SubmitAnswer::Rejected(text()),
        SubmitAnswer::Retry(text()),
        SubmitAnswer::Unavailable(text()),
        SubmitAnswer::Ambiguous(text()),
        SubmitAnswer::NeverCalled(text()),
    ];
    events.extend(answers.map(Event::SubmitAnswered));
    let answers = [
        FindAnswer::One { reference: reference() },
        FindAnswer::None { is_complete: true },
        FindAnswer::None { is_complete: false },
        FindAnswer::Several(vec![reference(), text()]),
        FindAnswer::Unavailable(text()),
        FindAnswer::Unreadable(text()),
    ];
    events.extend(answers.map(|answer| Event::FindAnswered { answer, began_at: Timestamp(START + 3_600_000) }));
    let reports = [
        RunReport::Starting,
        RunReport::Started { reference: reference() },
        RunReport::NeverStarted(text()),
        RunReport::Running,
        RunReport::Piece(piece()),
        RunReport::NoPiece { why: text(), raw: text() },
        RunReport::Rejected(text()),
        RunReport::Failed(text()),
        RunReport::Unavailable(text()),
        RunReport::Ambiguous { why: text(), raw: text() },
        RunReport::Lost { why: text(), raw: text() },
        RunReport::Interrupted(text()),
        RunReport::Killed,
        RunReport::Terminated(text()),
    ];
    events.extend(reports.map(Event::RunReported));
    events.extend(JobState::ALL.iter().map(|state| Event::PollAnswered(poll_state(*state))));
    let answers = [PollAnswer::Unreadable(text()), PollAnswer::Unavailable(text())];
    events.extend(answers.map(Event::PollAnswered));
    for (is_complete, by_name) in [(false, false), (true, false), (true, true)] {
        events.push(Event::PollAnswered(PollAnswer::Missing { is_complete, by_name }));
    }
    let answers = [
        FetchAnswer::Piece(piece()),
        FetchAnswer::NotReady,
        FetchAnswer::Missing { raw: text() },
        FetchAnswer::Unreadable { why: text(), raw: text() },
        FetchAnswer::Unavailable(text()),
    ];
    events.extend(answers.map(Event::FetchAnswered));
    events.push(Event::PieceNotStored(text()));
    let answers = [CancelAnswer::Ok, CancelAnswer::Refused(text()), CancelAnswer::Unclear(text())];
    events.extend(answers.map(Event::CancelAnswered));
    events
}

/// Compiles only as long as every kind of event is named: who adds one adds it to [`every_event`] too.
pub(in super::super) fn is_by_person(event: &Event) -> bool {
    match event {
        Event::CancelRequested
        | Event::RetryRequested { .. }
        | Event::Settled(_)
        | Event::Corrected { .. }
        | Event::PollRequested
        | Event::Changed { .. } => true,
        Event::Claimed { .. }
        | Event::SubmitAnswered(_)
        | Event::CallLost(_)
        | Event::LockSeen { .. }
        | Event::ResendBegun
        | Event::DoubtStands(_)
        | Event::FindAnswered { .. }
        | Event::RunReported(_)
        | Event::PollAnswered(_)
        | Event::FetchAnswered(_)
        | Event::PieceNotStored(_)
        | Event::CancelAnswered(_)
        | Event::DeadlineReached { .. }
        | Event::DeadlineUnread(_)
        | Event::DeadlineUnanswered(_)
        | Event::WatchEnded
        | Event::Restored { .. }
        | Event::RunFound { .. } => false,
    }
}

/// The kinds of generators: the three of the documentation, none and all of the flags, and each flag alone.
pub(super) fn every_policy() -> Vec<Policy> {
    let flags = |bits: u8| {
        let flag = |n: u8| bits & (1 << n) != 0;
        Policy {
            is_idempotent: flag(0),
            is_ref_our_key: flag(1),
            is_blocking: flag(2),
            is_free_to_repeat: flag(3),
            can_find: flag(4),
            can_cancel: flag(5),
            can_poll_one: flag(6),
            ..policy()
        }
    };
    let mut all = vec![policy(), idempotent(), blocking(), flags(0), flags(127)];
    all.extend((0..7).map(|n| flags(1 << n)));
    all
}

type Shape = (&'static str, fn(&mut Task, &mut Attempt));

/// What the counters and flags of the rows may say besides.
const SHAPES: &[Shape] = &[
    ("plain", |_, _| {}),
    ("ready", |_, attempt| attempt.is_ready = attempt.state == AttemptState::Accepted),
    ("missing", |_, attempt| attempt.missing = 5),
    ("resend due", |_, attempt| attempt.is_resend_due = attempt.state == AttemptState::Accepted),
    ("sent often", |_, attempt| attempt.sends = 5),
    ("quiet", |_, attempt| {
        attempt.quiet_since = Some(Timestamp(START));
        attempt.empty_sweeps = 1;
    }),
    ("bad", |_, attempt| {
        attempt.bad_fetches = 2;
        attempt.bad_answers = 7;
    }),
    ("no retries left", |task, _| task.retry_count = 3),
    ("no retries at all", |task, _| task.max_retries = 0),
    ("outage", |_, _| {}),
    ("outage for long", |task, attempt| {
        task.retry_count = 3;
        attempt.free_ends = 11;
        attempt.unavailable_submits = 74;
        attempt.extensions = 11;
    }),
    ("refused", |_, attempt| attempt.is_cancel_refused = true),
    ("worn out", |task, attempt| {
        task.retry_count = u32::MAX;
        task.max_retries = u32::MAX;
        attempt.missing = u32::MAX;
        attempt.bad_answers = u32::MAX;
        attempt.bad_fetches = u32::MAX;
        attempt.empty_sweeps = u32::MAX;
        attempt.sends = u32::MAX;
        attempt.polls = u32::MAX;
        attempt.free_ends = u32::MAX;
        attempt.unavailable_submits = u32::MAX;
        attempt.extensions = u32::MAX;
    }),
];

const TIMES_MS: [i64; 3] = [1_000, 7_200_000, 3 * 24 * 3_600_000];

fn attempts() -> impl Iterator<Item = Option<AttemptState>> {
    std::iter::once(None).chain(AttemptState::ALL.iter().copied().map(Some))
}

/// Every pair of rows that can be, in every shape.
fn every_rows() -> Vec<(&'static str, Task, Option<Attempt>)> {
    let mut all = vec![];
    for state in TaskState::ALL {
        for attempt in attempts() {
            let Some((task, attempt)) = rows_in(*state, attempt) else { continue };
            for (shape, bend) in SHAPES {
                let (mut task, mut attempt) = (task.clone(), attempt.clone());
                if let Some(attempt) = &mut attempt {
                    bend(&mut task, attempt);
                }
                all.push((*shape, task, attempt));
            }
        }
    }
    all
}

#[test]
fn every_event_in_every_state_is_judged_and_keeps_every_promise() {
    let mut broken = BTreeSet::new();
    let (events, policies) = (every_event(), every_policy());
    let mut judged = 0u32;
    for (shape, task, attempt) in every_rows() {
        for policy in &policies {
            for (event, ms) in events.iter().flat_map(|event| TIMES_MS.map(|ms| (event, ms))) {
                let now = now_at(ms);
                let context = Context {
                    now: &now,
                    policy,
                    draw: 0.5,
                    who: CONTENTD,
                    is_late_piece_wanted: ms > 10_000,
                    is_outage: shape.starts_with("outage"),
                    owner: None,
                };
                let Ok(change) = apply(&task, attempt.as_ref(), event.clone(), &context) else { continue };
                judged += 1;
                if let Err(promise) = check(&task, attempt.as_ref(), event, &change, &now) {
                    let attempt = attempt.as_ref().map(|attempt| attempt.state);
                    broken.insert(format!("{} {attempt:?} ({shape}) {event:?}: {promise}", task.state));
                }
            }
        }
    }
    assert!(judged > 10_000, "only {judged}");
    let list: Vec<&String> = broken.iter().take(40).collect();
    assert!(broken.is_empty(), "{} broken:\n{list:#?}", broken.len());
}

#[test]
fn rows_that_do_not_fit_each_other_are_no_reason_to_panic() {
    let events = every_event();
    for state in TaskState::ALL {
        for attempt_state in AttemptState::ALL {
            let mut task = fresh_task();
            task.state = *state;
            let mut attempt = Attempt::intended(task.id.clone(), u32::MAX, key(1), Timestamp(i64::MIN));
            attempt.state = *attempt_state;
            task.attempt = u32::MAX;
            for policy in every_policy() {
                for ms in [0, i64::MAX - START - 10_000, i64::MIN / 2] {
                    let now = now_at(ms);
                    next_step(&task, Some(&attempt), &policy, &now);
                    let context = Context {
                        now: &now,
                        policy: &policy,
                        draw: 1.0,
                        who: CONTENTD,
                        is_late_piece_wanted: false,
                        is_outage: false,
                        owner: None,
                    };
                    for event in &events {
                        let _ = apply(&task, Some(&attempt), event.clone(), &context);
                        let _ = apply(&task, None, event.clone(), &context);
                    }
                }
            }
        }
    }
}

#[test]
fn an_active_task_always_has_a_next_step_and_a_waiting_one_never() {
    for (shape, task, attempt) in every_rows() {
        for policy in every_policy() {
            for ms in TIMES_MS {
                let step = next_step(&task, attempt.as_ref(), &policy, &now_at(ms));
                let attempt_state = attempt.as_ref().map(|attempt| attempt.state);
                if task.state.is_active() {
                    assert_ne!(step, Step::None, "{} {attempt_state:?} ({shape}) at {ms} ms {policy:?}", task.state);
                } else if !task.state.is_final() || task.state == TaskState::Completed {
                    assert_eq!(step, Step::None, "{} {attempt_state:?} ({shape})", task.state);
                }
            }
        }
    }
}

type Pair = (TaskState, Option<AttemptState>);

/// Which pair follows which, over every event that `is_meant`, shape and time.
fn edges(policy: &Policy, is_meant: impl Fn(&Event) -> bool) -> BTreeMap<Pair, BTreeSet<Pair>> {
    let events: Vec<Event> = every_event().into_iter().filter(is_meant).collect();
    let mut edges: BTreeMap<Pair, BTreeSet<Pair>> = BTreeMap::new();
    for (_, task, attempt) in every_rows() {
        let from = (task.state, attempt.as_ref().map(|attempt| attempt.state));
        let to = edges.entry(from).or_default();
        for (event, ms) in events.iter().flat_map(|event| TIMES_MS.map(|ms| (event, ms))) {
            let now = now_at(ms);
            let context = Context {
                now: &now,
                policy,
                draw: 0.5,
                who: CONTENTD,
                is_late_piece_wanted: false,
                is_outage: false,
                owner: None,
            };
            if let Ok(change) = apply(&task, attempt.as_ref(), event.clone(), &context) {
                to.insert((change.task.state, change.attempt.map(|attempt| attempt.state)));
            }
        }
    }
    edges
}

fn reaches(edges: &BTreeMap<Pair, BTreeSet<Pair>>, from: Pair, is_goal: impl Fn(Pair) -> bool) -> bool {
    let (mut seen, mut open) = (BTreeSet::from([from]), vec![from]);
    while let Some(pair) = open.pop() {
        if is_goal(pair) {
            return true;
        }
        open.extend(edges.get(&pair).into_iter().flatten().filter(|next| seen.insert(**next)));
    }
    false
}

#[test]
fn no_state_is_a_dead_end() {
    for policy in every_policy() {
        let by_machine = edges(&policy, |event| !is_by_person(event));
        let by_person = edges(&policy, is_by_person);
        for from in by_machine.keys().copied() {
            let goes_on = reaches(&by_machine, from, |(state, _)| state.is_final() || state == TaskState::Held);
            assert!(goes_on, "nothing the machine sees ends {from:?} under {policy:?}");
            if from.0 != TaskState::Completed && from.1 != Some(AttemptState::Intended) {
                let ends = reaches(&by_person, from, |(state, _)| state == TaskState::Pending);
                assert!(ends, "no person can bring {from:?} back under {policy:?}");
            }
        }
    }
}
