//! Both backends go through the same random writes: every answer and every question must come out equal.

use contentd::store::query::{ContentFilter, Page, PoolFilter, TaskFilter};
use contentd::store::write::{NewTask, Transition, Write, WriteError, Written};
use contentd::task::content::{ReviewMove, ReviewState};
use contentd::task::outcome::{CancelAnswer, FetchAnswer, FindAnswer, JobState, PollAnswer, SubmitAnswer};
use contentd::task::{ContentId, CorrectedState, Event, GeneratorName, Settlement, TaskState, Timestamp};
use proptest::prelude::*;

use super::common::*;

const TASKS: usize = 6;

#[derive(Clone, Debug)]
enum Step {
    Submit { first: usize, count: usize, keyed: bool, is_claimed: bool, account: i64, priority: u8, delay: i64 },
    Event { task: usize, attempt: Option<u32>, kind: u8, later: i64 },
    Review { content: i64, approve: bool },
    Cleanup { limit: u32 },
    Shift { by_ms: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let submit = (0..TASKS, 1..3usize, any::<bool>(), any::<bool>(), 1..4i64, 1..11u8, 0..3i64).prop_map(
        |(first, count, keyed, is_claimed, account, priority, delay)| Step::Submit {
            first,
            count,
            keyed,
            is_claimed,
            account,
            priority,
            delay,
        },
    );
    let event = (0..TASKS, prop::option::weighted(0.2, 1..3u32), 0..34u8, 1..400_000i64)
        .prop_map(|(task, attempt, kind, later)| Step::Event { task, attempt, kind, later });
    let step = prop_oneof![
        3 => submit,
        24 => event,
        2 => (1..4i64, any::<bool>()).prop_map(|(content, approve)| Step::Review { content, approve }),
        1 => (0..3u32).prop_map(|limit| Step::Cleanup { limit }),
        1 => (-5_000..5_000i64).prop_map(|by_ms| Step::Shift { by_ms }),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..5), 1..60)
}

fn event(kind: u8, salt: usize) -> Event {
    let poll = |answer| Event::PollAnswered(answer);
    let text = || "said so".to_owned();
    match kind {
        0..=4 => Event::Claimed { key: key_of(&id(99), salt as i64) },
        // Now and then one that another task has.
        5..=8 => accepted(&format!("job-{}", salt % 40)),
        9 => Event::SubmitAnswered(SubmitAnswer::Rejected(text())),
        10 => Event::SubmitAnswered(SubmitAnswer::Retry(text())),
        11 => Event::SubmitAnswered(SubmitAnswer::Unavailable(text())),
        12 => Event::SubmitAnswered(SubmitAnswer::Ambiguous(text())),
        13 => Event::CallLost(text()),
        14 => Event::DoubtStands(text()),
        15 => Event::FindAnswered {
            answer: FindAnswer::One { reference: format!("job-{}", salt % 30) },
            began_at: Timestamp(START + salt as i64),
        },
        16 => polled(JobState::Submitted),
        17 | 18 => polled(JobState::Processing),
        19 => polled(JobState::Completed),
        20 => polled(JobState::Failed),
        21 => poll(PollAnswer::Missing { is_complete: true, by_name: false }),
        22 => poll(PollAnswer::Unavailable(text())),
        23 | 24 => piece("a piece"),
        25 => Event::FetchAnswered(FetchAnswer::Unreadable { why: text(), raw: "raw \u{fffd}".into() }),
        26 => Event::CancelRequested,
        27 => {
            Event::CancelAnswered(if salt.is_multiple_of(2) { CancelAnswer::Ok } else { CancelAnswer::Refused(text()) })
        }
        28 => Event::DeadlineReached { is_end_proved: salt.is_multiple_of(2) },
        29 => Event::WatchEnded,
        30 => Event::RetryRequested { reset_count: true, abandon: salt.is_multiple_of(2).then(text) },
        31 => Event::Settled(match salt % 3 {
            0 => Settlement::Adopt { reference: format!("job-{}", salt % 30), key: key_of(&id(98), salt as i64) },
            1 => Settlement::Absent,
            _ => Settlement::Fail { reason: text() },
        }),
        32 => Event::Corrected {
            to: [CorrectedState::Pending, CorrectedState::Failed, CorrectedState::Cancelled][salt % 3],
            reason: text(),
            abandon: salt.is_multiple_of(2),
        },
        _ => Event::Changed { priority: Some(1 + (salt % 10) as u8), not_before: None },
    }
}

/// The write of a step. `salt` is new in each step, so that keys of attempts are.
fn write(step: &Step, at: &mut i64, salt: usize) -> Write {
    match step {
        Step::Submit { first, count, keyed, is_claimed, account, priority, delay } => {
            let new = |n: usize| -> NewTask {
                let mut asked = task(n, contentd::task::AccountId(*account));
                asked.generator = GeneratorName(["even", "odd"][n % 2].into());
                asked.priority = *priority;
                asked.auto_approve = !n.is_multiple_of(3);
                asked.key = keyed.then(|| format!("key-{n}"));
                asked.wake_at = (*delay > 0).then_some(Timestamp(*at + delay * 50_000));
                if *is_claimed { claimed(asked, salt as i64) } else { new(asked) }
            };
            Write::SubmitTasks { tasks: (*first..first + count).map(new).collect(), max_pending: 5, now: now(*at) }
        }
        Step::Event { task, attempt, kind, later } => {
            *at += later;
            let Write::Transition(mut transition) = event_of(&id(*task), *at, event(*kind, salt)) else {
                panic!("an event is a transition")
            };
            transition.attempt = *attempt;
            Write::Transition(Box::new(Transition { ..*transition }))
        }
        Step::Review { content, approve } => Write::Review {
            content_id: ContentId(*content),
            decision: if *approve { ReviewMove::Approved } else { ReviewMove::Rejected },
            reason: None,
            expected_hash: None,
            who: "1001:bob".into(),
            due: None,
            now: Timestamp(*at),
        },
        Step::Cleanup { limit } => {
            Write::Cleanup { finished_before: Timestamp(*at - 200_000), after: None, limit: *limit }
        }
        Step::Shift { by_ms } => shift(*by_ms),
    }
}

/// An answer without the backends' own words.
fn comparable(answer: Result<Written, WriteError>) -> Result<Written, WriteError> {
    answer.map_err(|error| match error {
        WriteError::Db(_) => WriteError::AccountNotFound("the database refused".into()),
        other => other,
    })
}

fn compare(memory: &Side, sqlite: &Side, at: i64) {
    macro_rules! same {
        ($($question:tt)+) => {
            assert_eq!(memory.queries.$($question)+.unwrap(), sqlite.queries.$($question)+.unwrap())
        };
    }
    for n in 0..TASKS + 2 {
        same!(task(&id(n)));
        same!(attempts(&id(n)));
        same!(history(&id(n)));
    }
    let pages =
        [Page::first(100), Page { limit: 2, offset: 1, before: None }, Page { limit: 3, offset: 0, before: Some(4) }];
    for page in pages {
        let any = TaskFilter::default;
        same!(tasks(&any(), page));
        same!(tasks(
            &TaskFilter { states: vec![TaskState::Pending, TaskState::Failed, TaskState::Held], ..any() },
            page
        ));
        same!(tasks(&TaskFilter { account: Some(contentd::task::AccountId(1)), ..any() }, page));
        same!(tasks(&TaskFilter { generator: Some("odd".into()), since: Some(Timestamp(START + 2)), ..any() }, page));
        same!(tasks(&TaskFilter { overdue_at: Some(now(at)), ..any() }, page));
        same!(tasks(&TaskFilter { error: Some("SAID".into()), ..any() }, page));
        same!(contents(&ContentFilter::default(), page));
        same!(contents(&ContentFilter { review: Some(ReviewState::Approved), ..ContentFilter::default() }, page));
        same!(pool(&PoolFilter::default(), page));
    }
    for moment in [at - 60_000, at, at + 100_000, i64::MAX] {
        let moment = Timestamp(moment);
        for page in [Page::first(100), Page { limit: 2, offset: 1, before: None }] {
            same!(pending(moment, page));
        }
        same!(due(moment, 3, &Default::default()));
        same!(due(moment, 3, &(1..=20).step_by(2).collect()));
        same!(next_ready(moment));
        for (generator, account) in [("even", 1), ("even", 2), ("odd", 1), ("odd", 2)] {
            same!(oldest_of_lane(moment, &generator.into(), contentd::task::AccountId(account)));
        }
        same!(lane_heads(moment, 2, 2, &Default::default()));
        same!(lane_heads(moment, 9, 9, &Default::default()));
        same!(count_finished_before(moment));
    }
    same!(counts());
    same!(next_wake(Timestamp(i64::MIN)));
    same!(next_wake(Timestamp(START)));
    same!(active());
    same!(in_flight());
    for generator in ["even", "odd"] {
        same!(submits_since(&generator.into(), Timestamp(at - 400_000), Timestamp(at)));
        same!(submits_since(&generator.into(), Timestamp(at - 400_000), Timestamp(at - 200_000)));
        same!(past_jobs(&generator.into(), 3));
        same!(oldest_job(&generator.into(), Timestamp(0)));
    }
    for (account, generator) in [(None, None), (Some(contentd::task::AccountId(1)), None), (None, Some("odd".into()))] {
        for since in [None, Some(Timestamp(at - 300_000))] {
            let mut theirs = memory.queries.statistics(since, account, generator.as_ref()).unwrap();
            let mut ours = sqlite.queries.statistics(since, account, generator.as_ref()).unwrap();
            let rounded = |mean: &mut Option<f64>| *mean = mean.map(|mean| (mean * 1e6).round() / 1e6);
            for statistics in [&mut theirs, &mut ours] {
                rounded(&mut statistics.mean_duration_s);
                rounded(&mut statistics.mean_wait_s);
            }
            assert_eq!(theirs, ours);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn both_backends_answer_alike(batches in steps()) {
        let (mut memory, mut sqlite) = (memory(), sqlite());
        for side in [&mut memory, &mut sqlite] {
            side.account("ada");
            side.account("bob");
        }
        let (mut at, mut salt) = (START + 10, 0);
        for batch in batches {
            let writes: Vec<Write> = batch
                .iter()
                .map(|step| {
                    salt += 100;
                    write(step, &mut at, salt + batch.len())
                })
                .collect();
            let ours = sqlite.backend.commit(&writes).unwrap();
            let theirs = memory.backend.commit(&writes).unwrap();
            for (ours, theirs) in ours.into_iter().zip(theirs) {
                assert_eq!(comparable(ours), comparable(theirs));
            }
        }
        compare(&memory, &sqlite, at);
    }
}
