//! Long random histories: what holds after each step, and the audit trail that rebuilds the end.

use proptest::prelude::*;

use super::matrix::every_event;
use super::*;

fn any_policy() -> impl Strategy<Value = Policy> {
    (any::<[bool; 7]>(), prop::bool::ANY, 1u64..120).prop_map(|(flags, is_batch, interval)| Policy {
        is_idempotent: flags[0],
        is_ref_our_key: flags[1],
        is_blocking: flags[2],
        is_free_to_repeat: flags[3],
        can_find: flags[4],
        can_cancel: flags[5],
        can_poll_one: flags[6],
        polls: PollSchedule { interval: Duration::from_secs(interval), learned: None, is_batch },
        ..policy()
    })
}

/// Rebuilds the end from the rows alone, each of which must begin where the one before ended.
fn rebuild(audit: &[AuditRow]) -> (TaskState, u32, Option<AttemptState>) {
    let (mut state, mut number, mut attempt) = (TaskState::Pending, 0, None);
    for row in audit {
        assert_eq!(row.from_state, Some(state), "a row begins elsewhere: {row:?}");
        if row.attempt == number {
            assert_eq!(row.attempt_from, attempt, "an attempt's row begins elsewhere: {row:?}");
        } else {
            assert_eq!((row.attempt, row.attempt_from), (number + 1, None), "attempts follow each other: {row:?}");
        }
        (state, number, attempt) = (row.to_state, row.attempt, row.attempt_to);
    }
    (state, number, attempt)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_every_promise(
        policy in any_policy(),
        max_retries in 0u32..4,
        steps in prop::collection::vec((0usize..1_000, 0i64..4_000_000, 0.0f64..1.0, 0u8..10), 1..120),
    ) {
        let events = every_event();
        let mut story = Story::new(policy);
        story.task.max_retries = max_retries;
        let mut keys: Vec<(u32, AttemptKey)> = vec![];
        let mut fresh = 0;
        for (which, ms, draw, pace) in steps {
            // Most steps follow closely, so that histories grow long before their limits pass.
            story.now_ms += if pace < 8 { ms / 1_000 } else { ms };
            story.draw = draw;
            let mut event = events[which % events.len()].clone();
            // A waiting task is usually claimed and a final one restarted: otherwise most histories end early.
            if story.task.state == TaskState::Pending && pace < 5 {
                event = Event::Claimed { key: key(0) };
            }
            match &mut event {
                Event::Claimed { key: slot } | Event::Settled(Settlement::Adopt { key: slot, .. }) => {
                    fresh += 1;
                    *slot = key(fresh);
                }
                Event::FindAnswered { began_at, .. } => *began_at = story.now().utc.minus(Duration::from_secs(1)),
                _ => {}
            }
            let was_completed = story.task.state == TaskState::Completed;
            let told = story.tell(event);
            prop_assert!(!(was_completed && told.is_ok()), "something happened to a completed task");
            if let Some(attempt) = &story.attempt {
                match keys.iter().find(|(number, _)| *number == attempt.number) {
                    Some((_, known)) => prop_assert_eq!(known, &attempt.key),
                    None => keys.push((attempt.number, attempt.key.clone())),
                }
            }
        }
        let attempt = story.attempt.as_ref().map(|attempt| attempt.state);
        prop_assert_eq!(rebuild(&story.audit), (story.task.state, story.task.attempt, attempt));
    }
}
