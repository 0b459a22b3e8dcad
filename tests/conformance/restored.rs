//! What a review decides about the pool, and what a restore leaves to people.

use contentd::store::query::{Page, PoolFilter};
use contentd::store::restored::{RestoreMark, SETTING};
use contentd::store::write::{Write, WriteError, Written};
use contentd::task::content::{PoolState, PublishState, ReviewMove, ReviewState};
use contentd::task::outcome::{FindAnswer, JobState, SubmitAnswer};
use contentd::task::{ContentId, CorrectedState, Event, Refusal, Settlement, Task, Timestamp};

use super::common::*;

on_every_backend! {
    a_review_decides_about_the_pool,
    after_a_restore_what_may_be_out_waits_in_the_pool,
    after_a_restore_what_had_ended_is_marked,
}

fn a_review_decides_about_the_pool(mut side: Side) {
    let ada = side.account("ada").id;
    let mut asked = task(1, ada);
    asked.auto_approve = false;
    asked.priority = 9;
    side.submit(vec![new(asked)]);
    let content = side.complete(&id(1), START + 10).content_id.unwrap();
    let approve = |hash| review_of(content, ReviewMove::Approved, hash);
    assert!(matches!(side.write(approve(Some("another"))), Err(WriteError::HashChanged { .. })));
    let hash = format!("hash of {}", id(1));
    let Ok(Written::Reviewed(record)) = side.write(approve(Some(&hash))) else { panic!("approved") };
    assert_eq!(record.record.review_status, ReviewState::Approved);
    assert_eq!(side.queries.content(content).unwrap().unwrap(), *record);
    let pool = |side: &Side| side.queries.pool(&PoolFilter::default(), Page::first(9)).unwrap();
    assert_eq!(pool(&side)[0].priority, 9);
    assert_eq!(side.queries.pool_entry_of(content).unwrap().as_ref(), pool(&side).first());
    assert!(matches!(side.write(approve(None)), Err(WriteError::ReviewRefused { .. })));
    side.write(review_of(content, ReviewMove::Rejected, None)).unwrap();
    assert!(pool(&side).is_empty());
    assert_eq!(side.queries.pool_entry_of(content).unwrap(), None);
    let removed = PoolFilter { status: Some(PoolState::Removed), account: Some(ada), now: None };
    assert_eq!(side.queries.pool(&removed, Page::first(9)).unwrap().len(), 1);
    assert_eq!(side.queries.content(content).unwrap().unwrap().record.publish_status, PublishState::Unpublished);
    side.write(approve(None)).expect("a rejected piece may be approved after all");
    assert_eq!(pool(&side).len(), 1);
    assert_eq!(
        side.write(review_of(ContentId(77), ReviewMove::Approved, None)),
        Err(WriteError::ContentNotFound(ContentId(77)))
    );
    let reviews = side.queries.history(&id(1)).unwrap().into_iter().filter(|row| row.event.starts_with("content_"));
    assert_eq!(reviews.count(), 3);
}

/// Leaves the mark of a restore at a time.
fn restored(side: &mut Side, at: i64, is_nothing_since: bool, earlier_doubt: Option<Timestamp>) {
    let (file, who) = ("b.db".into(), "0:root".into());
    let mark = RestoreMark {
        at: Timestamp(at),
        file,
        who,
        is_nothing_since,
        is_done: true,
        earlier_doubt,
        witnesses: Vec::new(),
    };
    side.write(Write::PutSetting { name: SETTING.into(), value: Some(mark.to_json().unwrap()) }).unwrap();
}

/// Whether the newest entry of the pool waits for a release.
fn is_newest_held(side: &Side) -> bool {
    let pool = side.queries.pool(&PoolFilter::default(), Page::first(99)).unwrap();
    pool.iter().max_by_key(|entry| entry.id).expect("an entry").held_reason.is_some()
}

fn after_a_restore_what_may_be_out_waits_in_the_pool(mut side: Side) {
    let ada = side.account("ada").id;
    let reviewed = |n| Task { auto_approve: false, ..task(n, ada) };
    let approve = |side: &mut Side, content: Option<ContentId>| {
        side.write(review_of(content.unwrap(), ReviewMove::Approved, None)).expect("approved");
        is_newest_held(side)
    };
    let at = START + 10_000;
    // Under way in the backup; fetched after the restore, and approved then.
    side.submit(vec![claimed(reviewed(1), START), claimed(task(2, ada), START), new(task(3, ada)), new(task(4, ada))]);
    side.submit(vec![new(reviewed(5)), new(task(7, ada))]);
    for n in [1, 2] {
        side.change(&id(n), START + 1, accepted(&format!("job-{n}")));
    }
    // Past its time in the backup, with a job that may be alive.
    side.change(&id(2), START + 2, Event::Corrected { to: CorrectedState::Failed, reason: "r".into(), abandon: true });
    let settled = Event::Settled(Settlement::Fail { reason: "enough".into() });
    side.submit(vec![claimed(task(8, ada), START)]);
    side.change(&id(8), START + 1, Event::SubmitAnswered(SubmitAnswer::Ambiguous("cut".into())));
    side.change(&id(8), START + 2, Event::DoubtStands("nobody knows".into()));
    side.change(&id(8), START + 3, settled);
    let old = side.complete(&id(5), START + 20).content_id;
    let free = |side: &mut Side, event| {
        let Write::Transition(mut transition) = event_of(&id(3), at + 1, event) else { unreachable!() };
        transition.env.policy =
            std::sync::Arc::new(contentd::task::Policy { is_free_to_repeat: true, ..(*policy()).clone() });
        side.write(Write::Transition(transition)).unwrap()
    };
    for n in [1, 7] {
        side.change(&id(n), at, Event::Restored { at: Timestamp(at) });
    }
    side.write(Write::MarkEnded { at: Timestamp(at) }).unwrap();
    restored(&mut side, at, false, None);

    let fetched = side.change(&id(1), at + 5, piece("fetched again")).content_id;
    assert!(approve(&mut side, fetched), "a piece of a task that the lost daemon had too");
    assert!(approve(&mut side, old), "a piece that is older than the restore");
    side.change(
        &id(8),
        at + 6,
        Event::FindAnswered { answer: FindAnswer::One { reference: "late".into() }, began_at: Timestamp(at) },
    );
    side.change(&id(8), at + 7, piece("late"));
    assert!(is_newest_held(&side), "a late piece, approved by itself");
    for event in [Event::Claimed { key: key_of(&id(3), 1) }, accepted("job-3"), polled(JobState::Processing)] {
        free(&mut side, event);
    }
    free(&mut side, piece("repeated"));
    assert!(is_newest_held(&side), "what was made again because that is free");

    // What nothing was made of since, and what came since, goes out.
    side.change(&id(7), at + 8, Event::Settled(Settlement::Released));
    side.complete(&id(7), at + 10);
    assert!(!is_newest_held(&side), "a person has said that nothing was made of it");
    side.submit(vec![new(Task { created_at: Timestamp(at + 15), ..reviewed(9) })]);
    let fresh = side.complete(&id(9), at + 20).content_id;
    assert!(!approve(&mut side, fresh), "it came after the restore");

    // Another restore after which nothing had run takes nothing back of the doubt before it; a mark that cannot be read neither.
    restored(&mut side, at + 100, true, Some(Timestamp(at)));
    side.submit(vec![new(Task { created_at: Timestamp(at + 20), ..task(10, ada) })]);
    side.complete(&id(10), at + 30);
    assert!(!is_newest_held(&side), "begun after the restore that left doubts");
    side.write(review_of(fetched.unwrap(), ReviewMove::Rejected, None)).unwrap();
    assert!(approve(&mut side, fetched), "begun before it");
    side.write(Write::PutSetting { name: SETTING.into(), value: Some("{".into()) }).unwrap();
    side.complete(&id(4), at + 200);
    assert!(is_newest_held(&side), "a mark that cannot be read clears nothing");
}

fn after_a_restore_what_had_ended_is_marked(mut side: Side) {
    let ada = side.account("ada").id;
    side.submit((1..=4).map(|n| new(task(n, ada))).collect());
    for (n, to) in [(1, CorrectedState::Failed), (2, CorrectedState::Timeout), (3, CorrectedState::Cancelled)] {
        side.change(&id(n), START + 1, correct(to));
    }
    side.complete(&id(4), START + 2);
    side.write(Write::MarkEnded { at: Timestamp(START + 10) }).unwrap();
    let marks =
        |side: &Side| (1..=4).map(|n| side.queries.task(&id(n)).unwrap().unwrap().0.restored_at).collect::<Vec<_>>();
    let at = Some(Timestamp(START + 10));
    assert_eq!(marks(&side), [at, at, at, None]);
    let retry = || Event::RetryRequested { reset_count: true, abandon: None };
    for n in 1..=3 {
        let refused = side.write(event_of(&id(n), START + 11, retry()));
        assert!(matches!(refused, Err(WriteError::Refused { refusal: Refusal::RestoredSince, .. })), "{refused:?}");
        let released = side.change(&id(n), START + 12, Event::Settled(Settlement::Released));
        assert_eq!(released.change.task.state, released.from, "it stays as it was");
        side.change(&id(n), START + 13, retry());
    }
    assert_eq!(marks(&side), [None; 4]);
}
