//! A restored task: whatever happens to it, no job is made of it before a person says so.

use super::matrix::{every_event, every_policy, is_by_person};
use super::*;
use crate::task::step::{Step, next_step};

use AttemptState as A;
use TaskState as T;

const AT: Timestamp = Timestamp(START + 5_000);

fn every_pair() -> Vec<(T, Option<A>)> {
    let attempts: Vec<Option<A>> = A::ALL.iter().copied().map(Some).chain([None]).collect();
    T::ALL.iter().flat_map(|state| attempts.iter().map(|attempt| (*state, *attempt))).collect()
}

fn context_of<'a>(now: &'a Now, policy: &'a Policy) -> Context<'a> {
    Context { now, policy, draw: 0.5, who: CONTENTD, is_late_piece_wanted: false, is_outage: false, owner: None }
}

fn judged(task: &Task, attempt: Option<&Attempt>, event: Event, policy: &Policy, ms: i64) -> Option<Change> {
    let now = now_at(ms);
    apply(task, attempt, event, &context_of(&now, policy)).ok()
}

/// Whether a known job may be alive, or nobody knows what came of it: then a release does not let its task go.
fn is_open(attempt: Option<&Attempt>) -> bool {
    attempt.is_some_and(|attempt| attempt.state.may_be_alive() || attempt.state == A::EndedLost)
}

fn restored(state: T, attempt: Option<A>) -> Option<(Task, Option<Attempt>)> {
    let (mut task, attempt) = rows_in(state, attempt)?;
    if matches!(state, T::Failed | T::Timeout | T::Cancelled) {
        // As the store marks them, all at once.
        task.restored_at = Some(AT);
        return Some((task, attempt));
    }
    let change = judged(&task, attempt.as_ref(), Event::Restored { at: AT }, &policy(), 6_000)?;
    Some((change.task, change.attempt))
}

#[test]
fn every_unfinished_task_is_marked_and_a_waiting_one_is_held() {
    for (state, attempt) in every_pair() {
        let Some((task, before)) = rows_in(state, attempt) else { continue };
        let change = judged(&task, before.as_ref(), Event::Restored { at: AT }, &policy(), 6_000);
        assert_eq!(change.is_some(), !state.is_final(), "{state}");
        let Some(change) = change else { continue };
        let expected = if state == T::Pending { T::Held } else { state };
        assert_eq!((change.task.state, change.task.restored_at), (expected, Some(AT)));
        assert_eq!(change.attempt.map(|attempt| attempt.state), before.as_ref().map(|attempt| attempt.state));
        assert_eq!(change.audit.expect("it stands in the trail").event, "restored");
        if expected == T::Held {
            let may_be_let_go = !is_open(before.as_ref());
            let reason = change.task.reason.expect("a reason");
            assert_eq!(reason.contains("contentctl release"), may_be_let_go, "{state} {reason}");
            assert_eq!(reason.contains("--absent"), !may_be_let_go, "{state} {reason}");
        }
    }
}

#[test]
fn no_job_is_made_of_a_restored_task_by_itself_whatever_happens_next() {
    let events = every_event();
    let policies: Vec<Policy> = every_policy().into_iter().filter(|policy| !policy.is_free_to_repeat).collect();
    let mut judged_so_far = 0;
    for (state, attempt) in every_pair() {
        let Some((task, attempt)) = restored(state, attempt) else { continue };
        for policy in &policies {
            for ms in [7_000, 7_200_000, 90_000_000] {
                let step = next_step(&task, attempt.as_ref(), policy, &now_at(ms));
                assert_ne!(step, Step::Resend, "{state}");
                for event in events.iter().filter(|event| !is_by_person(event)) {
                    let Some(change) = judged(&task, attempt.as_ref(), event.clone(), policy, ms) else { continue };
                    judged_so_far += 1;
                    assert_ne!(change.task.state, T::Pending, "{state} {event:?}");
                    assert!(change.task.restored_at.is_some(), "{state} {event:?}");
                    let sends = |attempt: Option<&Attempt>| attempt.map_or(0, |attempt| attempt.sends);
                    let is_found = matches!(event, Event::RunFound { .. });
                    if !is_found {
                        assert_eq!(change.task.attempt, task.attempt, "{state} {event:?}");
                        assert!(sends(change.attempt.as_ref()) <= sends(attempt.as_ref()), "{state} {event:?}");
                    }
                }
            }
        }
    }
    assert!(judged_so_far > 1_000, "only {judged_so_far}");
}

#[test]
fn a_person_who_lets_it_go_ends_the_restore_and_a_known_job_is_not_given_up_by_the_way() {
    let release = || Event::Settled(Settlement::Released);
    for (state, attempt) in every_pair() {
        let Some((mut task, attempt)) = restored(state, attempt) else { continue };
        let is_alive = attempt.as_ref().is_some_and(|attempt| attempt.state.may_be_alive());
        let change = judged(&task, attempt.as_ref(), release(), &policy(), 7_000);
        let has_ended = task.state.is_final();
        let is_let_go = has_ended || task.state == T::Held && !is_open(attempt.as_ref());
        assert_eq!(change.is_some(), is_let_go, "{state} {attempt:?}");
        if let Some(change) = change.filter(|change| change.task.state.is_final()) {
            // It stays as it was, and may be started again now; a job that is known is still judged then.
            assert_eq!((change.task.state, change.task.restored_at), (state, None));
            let retry = Event::RetryRequested { reset_count: true, abandon: None };
            let again = judged(&change.task, change.attempt.as_ref(), retry, &policy(), 8_000);
            assert_eq!(again.is_some(), !is_alive, "{state} {attempt:?}");
        } else if let Some(change) = judged(&task, attempt.as_ref(), release(), &policy(), 7_000) {
            assert_eq!((change.task.state, change.task.restored_at), (T::Pending, None));
            assert!(
                judged(&change.task, change.attempt.as_ref(), Event::Claimed { key: key(9) }, &policy(), 8_000)
                    .is_some()
            );
        }
        // One that is held for another reason is not let go by this.
        task.restored_at = None;
        assert!(judged(&task, attempt.as_ref(), release(), &policy(), 7_000).is_none());
    }
}

#[test]
fn the_ways_out_of_a_held_task_are_those_that_are_taken() {
    let words = |task: &Task, attempt: Option<&Attempt>| -> Vec<&str> {
        ways_out(task, attempt).into_iter().map(WayOut::as_str).collect()
    };
    for (state, attempt) in every_pair() {
        let Some((mut task, attempt)) = restored(state, attempt) else { continue };
        let of = words(&task, attempt.as_ref());
        if task.state != T::Held {
            assert!(of.is_empty(), "{state} {of:?}");
            continue;
        }
        assert!(["adopt", "absent", "fail"].iter().all(|way| of.contains(way)), "{state} {of:?}");
        assert_eq!(of.contains(&"release"), !is_open(attempt.as_ref()), "{state} {of:?}");
        assert_eq!(of.contains(&"poll"), attempt.as_ref().is_some_and(|one| one.state == A::Accepted), "{of:?}");
        task.restored_at = None;
        assert!(!words(&task, attempt.as_ref()).contains(&"release"), "nothing was restored");
    }
}

#[test]
fn an_end_of_the_known_job_leaves_the_rest_to_a_person_and_a_piece_completes() {
    let (task, attempt) = restored(T::Processing, Some(A::Accepted)).expect("a job under way");
    let failed = judged(&task, attempt.as_ref(), Event::PollAnswered(poll_state(JobState::Failed)), &policy(), 7_000);
    let failed = failed.expect("the poll is taken");
    assert_eq!((failed.task.state, failed.task.retry_count), (T::Held, task.retry_count));
    assert_eq!(failed.attempt.expect("an attempt").state, A::EndedFailed);
    let piece = Event::FetchAnswered(FetchAnswer::Piece(piece()));
    let completed = judged(&task, attempt.as_ref(), piece, &policy(), 7_000).expect("the piece is taken");
    assert_eq!(completed.task.state, T::Completed);

    // The search has its whole time again, however old the backup is, and an absence of the key proves nothing more.
    let (mut task, mut attempt) = restored(T::Submitting, Some(A::Unknown)).expect("a doubt");
    task.restored_at = Some(Timestamp(START + 80_000_000));
    let unavailable = || Event::FindAnswered {
        answer: FindAnswer::Unavailable("down".into()),
        began_at: Timestamp(START + 80_000_000),
    };
    let goes_on = judged(&task, attempt.as_ref(), unavailable(), &policy(), 80_001_000).expect("taken");
    assert_eq!(goes_on.task.state, T::Submitting);
    for ms in [80_100_000, 80_200_000] {
        if ms == 80_100_000 {
            let quiet = judged(&task, attempt.as_ref(), Event::LockSeen { is_free: true }, &policy(), 80_000_000);
            (task, attempt) = quiet.map(|change| (change.task, change.attempt)).expect("taken");
        }
        let none =
            Event::FindAnswered { answer: FindAnswer::None { is_complete: true }, began_at: Timestamp(START + ms) };
        let change = judged(&task, attempt.as_ref(), none, &policy(), ms).expect("taken");
        (task, attempt) = (change.task, change.attempt);
    }
    assert_eq!((task.state, attempt.map(|attempt| attempt.state)), (T::Held, Some(A::EndedAbandoned)));
}

#[test]
fn a_run_that_is_found_is_the_job() {
    let (task, attempt) = restored(T::Pending, None).expect("a waiting task");
    let found = Event::RunFound { key: key(7) };
    assert!(judged(&task, attempt.as_ref(), found.clone(), &policy(), 7_000).is_none(), "only of blocking runs");
    let change = judged(&task, attempt.as_ref(), found.clone(), &blocking(), 7_000).expect("it is adopted");
    let adopted = change.attempt.expect("an attempt");
    assert_eq!((change.task.state, adopted.state, adopted.number), (T::Submitted, A::Accepted, 1));
    assert_eq!((adopted.key, adopted.external_ref), (key(7), Some(key(7).0)));
    let (task, attempt) = restored(T::Processing, Some(A::Accepted)).expect("a job under way");
    assert!(judged(&task, attempt.as_ref(), found.clone(), &blocking(), 7_000).is_none(), "it has a job");
    // One that had ended was started again since: it stays as it is, is looked at, and its piece is taken.
    for state in [T::Failed, T::Timeout, T::Cancelled] {
        let (task, attempt) = restored(state, Some(A::EndedFailed)).expect("an ended task");
        let change = judged(&task, attempt.as_ref(), found.clone(), &blocking(), 7_000).expect("it is adopted");
        let adopted = change.attempt.as_ref().expect("an attempt");
        assert_eq!((change.task.state, adopted.state, adopted.number), (state, A::Accepted, 2));
        assert!(change.task.wake_at.is_some() && adopted.watch_until.is_some(), "{state}: it is looked at");
        let step = next_step(&change.task, Some(adopted), &blocking(), &now_at(8_000));
        assert_eq!(step, Step::LookAtRun, "{state}");
        let came = Event::RunReported(RunReport::Piece(piece()));
        let came = judged(&change.task, Some(adopted), came, &blocking(), 9_000).expect("taken");
        assert!(came.piece.is_some() && (came.task.state == T::Completed) == (state != T::Cancelled), "{state}");
    }
}

#[test]
fn a_run_that_a_person_names_is_looked_at_by_that_name() {
    let adopt = |n| Event::Settled(Settlement::Adopt { reference: key(n).0, key: key(98) });
    let (task, attempt) = restored(T::Pending, None).expect("a waiting task");
    let change = judged(&task, attempt.as_ref(), adopt(7), &blocking(), 7_000).expect("adopted");
    assert_eq!(change.attempt.expect("an attempt").key, key(7), "a run is found by its key alone");
    let change = judged(&task, attempt.as_ref(), adopt(7), &policy(), 7_000).expect("adopted");
    assert_eq!(change.attempt.expect("an attempt").key, key(98), "a job of others is not");
    // Another one has to wait until the known one is over, and one that is over is over.
    let (task, attempt) = rows_in(T::Held, Some(A::Accepted)).expect("a held task");
    assert!(judged(&task, attempt.as_ref(), adopt(7), &blocking(), 7_000).is_none(), "a second live job");
    let (over, ended) = rows_in(T::Held, Some(A::EndedLost)).expect("a held task");
    assert!(judged(&over, ended.as_ref(), adopt(1), &blocking(), 7_000).is_none(), "it is over");
    let change = judged(&over, ended.as_ref(), adopt(7), &blocking(), 7_000).expect("adopted");
    assert_eq!(change.attempt.map(|one| (one.key, one.number, one.state)), Some((key(7), 2, A::Accepted)));
    let change = judged(&task, attempt.as_ref(), adopt(1), &blocking(), 7_000).expect("adopted");
    assert_eq!(change.attempt.map(|one| (one.key, one.number, one.state)), Some((key(1), 1, A::Accepted)));
}

/// What a submitter may do: everything of a person's but settling, correcting and giving up a job.
fn is_by_submitter(event: &Event) -> bool {
    match event {
        Event::CancelRequested | Event::RetryRequested { .. } | Event::PollRequested | Event::Changed { .. } => true,
        event => !is_by_person(event) && !matches!(event, Event::Restored { .. }),
    }
}

#[test]
fn whoever_spends_the_money_cannot_say_that_nothing_was_made_of_it() {
    let policies = [policy(), idempotent(), blocking()];
    let events: Vec<Event> = every_event().into_iter().filter(is_by_submitter).collect();
    let mut refused = 0;
    for (state, attempt) in every_pair() {
        let Some(begun) = restored(state, attempt) else { continue };
        for policy in &policies {
            // Three deeds in a row, the last of them a retry: a cancel and a retry were a way back into line.
            for first in &events {
                let Some(once) = judged(&begun.0, begun.1.as_ref(), first.clone(), policy, 90_000_000) else {
                    continue;
                };
                for second in &events {
                    let change = judged(&once.task, once.attempt.as_ref(), second.clone(), policy, 90_100_000);
                    let twice = change.unwrap_or_else(|| once.clone());
                    for (task, attempt) in [(&once.task, &once.attempt), (&twice.task, &twice.attempt)] {
                        assert_ne!(task.state, T::Pending, "{state} {first:?} {second:?}");
                        assert!(task.restored_at.is_some(), "{state} {first:?} {second:?}");
                        if matches!(task.state, T::Failed | T::Timeout | T::Cancelled) {
                            for abandon in [None, Some("mine".to_owned())] {
                                let now = now_at(90_200_000);
                                let context = context_of(&now, policy);
                                let retry = Event::RetryRequested { reset_count: true, abandon };
                                let answer = apply(task, attempt.as_ref(), retry, &context);
                                assert_eq!(answer, Err(Refusal::RestoredSince), "{state} {first:?} {second:?}");
                                refused += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(refused > 1_000, "only {refused}");
}
