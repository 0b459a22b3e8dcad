//! The publish pool on every backend: who is given what, which answers count, and what stands where afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use contentd::publish::key::SEED_SETTING;
use contentd::publish::outcome::{PublishAnswer, Published};
use contentd::publish::{
    Handout, Holder, PieceIdentity, PoolChange, PoolEvent, PoolRefusal, PublishPolicy, publish_key,
};
use contentd::store::query::{KeyUse, Page, PoolFilter, PoolStanding};
use contentd::store::write::{HandOut, PoolWrite, PoolWritten, Write, WriteError, Written};
use contentd::task::content::{PoolEntry, PoolState, PublishState, ReviewMove};
use contentd::task::{AccountId, AttemptKey, ContentId, PoolId, Timestamp};

use super::common::*;

on_every_backend! {
    entries_go_out_by_priority_and_due_time_each_to_one,
    the_list_has_the_order_of_going_out,
    the_same_request_is_given_the_same_entries,
    an_answer_with_an_older_fence_changes_nothing,
    where_a_piece_went_is_on_its_record_and_in_its_trail,
    each_handing_out_has_a_key_of_its_own_that_a_restore_makes_again,
    what_is_held_waits_for_a_person,
    doubt_outlives_a_rejection_and_an_approval,
    a_removed_entry_comes_back_while_its_piece_is_approved,
    a_restore_holds_what_may_be_out_and_its_fences_go_on,
    a_restore_tells_what_had_failed_before,
    what_was_removed_before_a_backup_may_be_out_after_its_restore,
    an_older_entry_does_not_come_back_for_one_in_doubt,
    the_agenda_of_publishing,
    what_was_given_back_counts_for_no_day,
    how_the_pool_stands,
    leases_move_with_the_clock,
    what_no_person_dated_is_due_by_the_clock_that_was_set,
}

/// `count` approved pieces of one account, with priorities from 1 up.
fn pieces(side: &mut Side, account: AccountId, from: usize, count: usize) -> Vec<PoolId> {
    (from..from + count)
        .map(|n| {
            let mut asked = task(n, account);
            asked.priority = u8::try_from(n % 10).unwrap().max(1);
            asked.category = Some(if n % 2 == 0 { "even".into() } else { "odd".into() });
            side.submit(vec![new(asked)]);
            side.complete(&id(n), START + 10).pool_id.unwrap()
        })
        .collect()
}

fn hand_out(holder: Holder, count: u32, at: i64) -> HandOut {
    HandOut {
        limit: count,
        holder,
        only: None,
        account: None,
        request: None,
        knows_its_keys: false,
        lease_until: Timestamp(at + 60_000),
        now: Timestamp(at),
    }
}

fn consumer(name: &str) -> Holder {
    Holder::Consumer(name.into())
}

fn take(side: &mut Side, asked: HandOut) -> Vec<(PoolEntry, Handout)> {
    match side.write(Write::Pool(PoolWrite::HandOut(Box::new(asked)))) {
        Ok(Written::Pool(PoolWritten::HandedOut(handed_out))) => handed_out,
        other => panic!("entries were expected: {other:?}"),
    }
}

fn say(side: &mut Side, id: PoolId, fence: Option<u64>, event: PoolEvent, at: i64) -> Result<PoolChange, WriteError> {
    say_by(side, id, fence, event, at, PublishPolicy::default())
}

fn say_by(
    side: &mut Side,
    id: PoolId,
    fence: Option<u64>,
    event: PoolEvent,
    at: i64,
    policy: PublishPolicy,
) -> Result<PoolChange, WriteError> {
    let write = PoolWrite::Happened {
        id,
        fence,
        event: Box::new(event),
        policy: Box::new(policy),
        draw: 0.5,
        who: "1:ada".into(),
        answers_for_all: true,
        now: Timestamp(at),
    };
    match side.write(Write::Pool(write))? {
        Written::Pool(PoolWritten::Changed { change, .. }) => Ok(*change),
        other => panic!("a change was expected: {other:?}"),
    }
}

fn entry(side: &Side, id: PoolId) -> PoolEntry {
    side.queries.pool_entry(id).unwrap().unwrap().0
}

fn done() -> PoolEvent {
    PoolEvent::Done(Published { url: Some("https://example.org/1".into()), reference: Some("1".into()) })
}

fn how_the_pool_stands(mut side: Side) {
    let ada = side.account("ada").id;
    assert_eq!(side.queries.pool_standing(Timestamp(LATER)).unwrap(), PoolStanding::default());
    pieces(&mut side, ada, 1, 3);
    let counts = |side: &Side| side.queries.pool_standing(Timestamp(LATER)).unwrap().counts;
    assert_eq!(counts(&side), BTreeMap::from([(PoolState::Pending, 3)]));
    let oldest = side.queries.pool_standing(Timestamp(LATER)).unwrap().oldest_due.unwrap();
    assert_eq!(side.queries.pool_standing(oldest.minus(Duration::from_millis(1))).unwrap().oldest_due, None);
    let taken = take(&mut side, hand_out(consumer("bob"), 2, LATER));
    assert_eq!(counts(&side), BTreeMap::from([(PoolState::Pending, 1), (PoolState::Publishing, 2)]));
    say(&mut side, taken[0].0.id, Some(1), done(), LATER + 1).unwrap();
    assert_eq!(counts(&side), BTreeMap::from([(PoolState::Pending, 1), (PoolState::Publishing, 1)]));
    let to_review = |side: &Side| side.queries.pool_standing(Timestamp(LATER)).unwrap().to_review;
    assert_eq!(to_review(&side), 0);
    let mut asked = task(9, ada);
    asked.auto_approve = false;
    side.submit(vec![new(asked)]);
    side.complete(&id(9), LATER + 2);
    assert_eq!(to_review(&side), 1);
}

const LATER: i64 = START + 100_000;

fn entries_go_out_by_priority_and_due_time_each_to_one(mut side: Side) {
    let ada = side.account("ada").id;
    let bob = side.account("bob").id;
    let of_ada = pieces(&mut side, ada, 1, 3);
    let of_bob = pieces(&mut side, bob, 4, 2);
    say(
        &mut side,
        of_bob[1],
        None,
        PoolEvent::Rescheduled { at: Some(Timestamp(LATER + 1)), priority: Some(10) },
        LATER,
    )
    .unwrap();
    let first = take(&mut side, hand_out(consumer("a"), 2, LATER));
    let ids: Vec<PoolId> = first.iter().map(|(entry, _)| entry.id).collect();
    assert_eq!(ids, [of_bob[0], of_ada[2]], "the most urgent that are due");
    assert!(first.iter().all(|(entry, handout)| entry.status == PoolState::Publishing && handout.fence == 1));
    let mine = HandOut { account: Some(ada), ..hand_out(consumer("b"), 9, LATER) };
    let second: Vec<PoolId> = take(&mut side, mine).iter().map(|(entry, _)| entry.id).collect();
    assert_eq!(second, [of_ada[1], of_ada[0]], "what is out is nobody else's");
    assert!(take(&mut side, hand_out(consumer("c"), 9, LATER)).is_empty());
    let third = take(&mut side, hand_out(consumer("c"), 9, LATER + 1));
    assert_eq!(third.iter().map(|(entry, _)| entry.id).collect::<Vec<_>>(), [of_bob[1]], "its time has come");
    let only = HandOut { only: Some(of_ada[0]), ..hand_out(Holder::Publisher("p".into()), 1, LATER + 2) };
    let refused = side.write(Write::Pool(PoolWrite::HandOut(Box::new(only))));
    assert!(matches!(refused, Err(WriteError::PoolRefused { state: PoolState::Publishing, .. })), "{refused:?}");
}

fn the_same_request_is_given_the_same_entries(mut side: Side) {
    let ada = side.account("ada").id;
    pieces(&mut side, ada, 1, 4);
    let asked = |at| HandOut { request: Some("mine".into()), ..hand_out(consumer("a"), 2, at) };
    let first = take(&mut side, asked(LATER));
    assert_eq!(first.len(), 2);
    assert_eq!(take(&mut side, asked(LATER + 1)), first, "an answer was lost on the way");
    let other = HandOut { request: Some("mine".into()), ..hand_out(consumer("b"), 1, LATER + 2) };
    assert_ne!(take(&mut side, other)[0].0.id, first[0].0.id, "a key is its caller's own");
    say(&mut side, first[0].0.id, Some(1), done(), LATER + 3).unwrap();
    assert_eq!(take(&mut side, asked(LATER + 4)), first[1..], "what was answered is not handed out again");
    say(&mut side, first[1].0.id, Some(1), done(), LATER + 5).unwrap();
    assert!(take(&mut side, asked(LATER + 6)).is_empty(), "and nothing else for this key, ever");
}

fn an_answer_with_an_older_fence_changes_nothing(mut side: Side) {
    let ada = side.account("ada").id;
    let id = pieces(&mut side, ada, 1, 1)[0];
    take(&mut side, hand_out(consumer("a"), 1, LATER));
    let harmless = PublishPolicy { is_idempotent: true, ..PublishPolicy::default() };
    say_by(&mut side, id, Some(1), PoolEvent::LeaseEnded, LATER + 60_000, harmless).unwrap();
    let again = take(&mut side, hand_out(consumer("b"), 1, LATER + 60_001));
    assert_eq!(again[0].1.fence, 2);
    for event in [
        done(),
        PoolEvent::Failed { error: "no".into(), is_final: true },
        PoolEvent::Renewed { until: Timestamp(LATER) },
    ] {
        let stale = say(&mut side, id, Some(1), event, LATER + 60_002);
        assert_eq!(stale, Err(WriteError::StaleFence { id, asked: 1, current: 2 }));
        assert_eq!(entry(&side, id), again[0].0);
    }
    assert!(
        matches!(say(&mut side, id, Some(3), done(), LATER), Err(WriteError::StaleFence { .. })),
        "nor a guessed one"
    );
    let until = Timestamp(LATER + 900_000);
    say(&mut side, id, Some(2), PoolEvent::Renewed { until }, LATER + 60_003).unwrap();
    assert_eq!(entry(&side, id).wake_at, Some(until));
    say(&mut side, id, Some(2), done(), LATER + 60_004).unwrap();
    assert_eq!(entry(&side, id).status, PoolState::Published);
    assert_eq!(say(&mut side, PoolId(99), None, done(), LATER), Err(WriteError::PoolEntryNotFound(PoolId(99))));
}

fn where_a_piece_went_is_on_its_record_and_in_its_trail(mut side: Side) {
    let ada = side.account("ada").id;
    let pool_id = pieces(&mut side, ada, 1, 1)[0];
    let asked = HandOut { only: Some(pool_id), ..hand_out(Holder::Publisher("site".into()), 1, LATER) };
    let key = take(&mut side, asked)[0].1.key.clone();
    let uses = |side: &Side| side.queries.key_uses(std::slice::from_ref(&key)).unwrap();
    assert_eq!(uses(&side)[&key], KeyUse::Needed);
    let published = Published { url: Some("https://example.org/p".into()), reference: None };
    let answer = PoolEvent::Answered(PublishAnswer::Published(published));
    say(&mut side, pool_id, Some(1), answer, LATER + 5).unwrap();
    let content = side.queries.content(entry(&side, pool_id).content_id).unwrap().unwrap();
    assert_eq!(content.record.publish_status, PublishState::Published);
    let publication = content.publication.clone().expect("it is known where it went");
    assert_eq!((publication.at, publication.by.as_str()), (Timestamp(LATER + 5), "site"));
    assert_eq!(publication.url.as_deref(), Some("https://example.org/p"));
    let listed = side.queries.contents(&Default::default(), Page::first(9)).unwrap();
    assert_eq!(listed[0].publication, content.publication);
    let (now, handouts) = side.queries.pool_entry(pool_id).unwrap().unwrap();
    assert_eq!((now.published_at, now.wake_at), (Some(Timestamp(LATER + 5)), None));
    assert_eq!(handouts.len(), 1);
    assert_eq!(
        (handouts[0].outcome.as_deref(), handouts[0].ended_at),
        (Some("pool_published"), Some(Timestamp(LATER + 5)))
    );
    assert_eq!(uses(&side)[&key], KeyUse::Ended);
    let trail: Vec<String> = side.queries.history(&id(1)).unwrap().into_iter().map(|row| row.event).collect();
    assert_eq!(trail[trail.len() - 2..], ["pool_handed_out", "pool_published"]);
    let reject = review_of(content.id, ReviewMove::Rejected);
    assert_eq!(side.write(reject), Err(WriteError::AlreadyPublished(content.id)));
}

fn each_handing_out_has_a_key_of_its_own_that_a_restore_makes_again(mut side: Side) {
    let ada = side.account("ada").id;
    let mut ids = pieces(&mut side, ada, 1, 2);
    let content_id = entry(&side, ids[0]).content_id;
    let content = side.queries.content(content_id).unwrap().unwrap().record;
    let seed = side.queries.settings(SEED_SETTING).unwrap().remove(0).1;
    let piece =
        PieceIdentity { task_id: content.task_id, version: content.version, content_hash: content.content_hash };
    let mut given = Vec::new();
    let mut at = LATER;
    let mut once_more = |side: &mut Side, id| {
        at += 100_000;
        let asked = HandOut { only: Some(id), ..hand_out(consumer("a"), 1, at) };
        let (handed_out, handout) = take(side, asked).remove(0);
        let failed = PoolEvent::Failed { error: "no".into(), is_final: true };
        say(side, id, Some(handed_out.fence), failed, at).unwrap();
        given.push(handout.key);
    };
    let back = |side: &mut Side, id| {
        say(side, id, None, PoolEvent::Rescheduled { at: Some(Timestamp(LATER)), priority: None }, LATER).unwrap();
    };
    once_more(&mut side, ids[0]);
    back(&mut side, ids[0]);
    once_more(&mut side, ids[0]);
    // Another entry of the same piece goes on where the first one was.
    side.write(review_of(content_id, ReviewMove::Rejected)).unwrap();
    side.write(review_of(content_id, ReviewMove::Approved)).unwrap();
    let pool = side.queries.pool(&PoolFilter::default(), Page::first(9)).unwrap();
    ids.push(pool.iter().find(|entry| entry.content_id == content_id && entry.fence == 0).unwrap().id);
    back(&mut side, ids[2]);
    once_more(&mut side, ids[2]);
    back(&mut side, ids[2]);
    // The fencing number leaps at a restore, and the key does not.
    side.write(Write::Pool(PoolWrite::HoldRestored { now: Timestamp(LATER) })).unwrap();
    side.write(Write::Pool(PoolWrite::Release { ids: None, who: "1:ada".into(), now: Timestamp(LATER) })).unwrap();
    once_more(&mut side, ids[2]);
    once_more(&mut side, ids[1]);
    let of_the_piece: Vec<AttemptKey> = (1..=4).map(|nth| publish_key(&seed, &piece, nth)).collect();
    assert_eq!(given[..4], of_the_piece);
    assert!(!of_the_piece.contains(&given[4]), "another piece has other keys");
}

fn review_of(content_id: ContentId, decision: ReviewMove) -> Write {
    let (reason, expected_hash, who) = (None, None, "1:ada".to_owned());
    Write::Review { content_id, decision, reason, expected_hash, who, due: None, now: Timestamp(LATER + 500_000) }
}

fn what_is_held_waits_for_a_person(mut side: Side) {
    let ada = side.account("ada").id;
    let ids = pieces(&mut side, ada, 1, 3);
    take(&mut side, hand_out(consumer("a"), 3, LATER));
    for id in &ids {
        let held = say(&mut side, *id, Some(1), PoolEvent::LeaseEnded, LATER + 60_000).unwrap();
        assert_eq!(held.entry.status, PoolState::Held);
        assert!(held.entry.held_reason.unwrap().contains("handed out to a"));
    }
    assert!(take(&mut side, hand_out(consumer("b"), 3, LATER + 70_000)).is_empty());
    let settle = |published| PoolEvent::Settled { published, reason: "seen on the site".into() };
    say(&mut side, ids[0], None, settle(Some(Published::default())), LATER + 80_000).unwrap();
    say(&mut side, ids[1], None, settle(None), LATER + 80_000).unwrap();
    let release = PoolWrite::Release { ids: None, who: "1:ada".into(), now: Timestamp(LATER + 80_000) };
    let released = side.write(Write::Pool(release)).unwrap();
    assert_eq!(released, Written::Pool(PoolWritten::Released(vec![ids[2]])));
    let states: Vec<PoolState> = ids.iter().map(|id| entry(&side, *id).status).collect();
    assert_eq!(states, [PoolState::Published, PoolState::Failed, PoolState::Pending]);
    let publication = side.queries.content(entry(&side, ids[0]).content_id).unwrap().unwrap().publication.unwrap();
    assert_eq!(publication.by, "1:ada", "a person said so");
    // Its holder was only slow: what it says is the truth.
    say(&mut side, ids[1], Some(1), done(), LATER + 90_000).unwrap();
    assert_eq!(entry(&side, ids[1]).status, PoolState::Published);
    let again = take(&mut side, hand_out(consumer("b"), 3, LATER + 90_000));
    assert_eq!((again.len(), again[0].1.fence), (1, 2));
    let late = say(&mut side, ids[2], Some(1), done(), LATER + 90_001);
    assert!(matches!(late, Err(WriteError::StaleFence { .. })));
}

fn doubt_outlives_a_rejection_and_an_approval(mut side: Side) {
    let ada = side.account("ada").id;
    let pool_id = pieces(&mut side, ada, 1, 1)[0];
    let content_id = entry(&side, pool_id).content_id;
    take(&mut side, hand_out(consumer("a"), 1, LATER));
    assert_eq!(side.write(review_of(content_id, ReviewMove::Rejected)), Err(WriteError::AlreadyPublished(content_id)));
    say(&mut side, pool_id, Some(1), PoolEvent::LeaseEnded, LATER + 60_000).unwrap();
    side.write(review_of(content_id, ReviewMove::Rejected)).unwrap();
    assert_eq!(entry(&side, pool_id).status, PoolState::Removed);
    side.write(review_of(content_id, ReviewMove::Approved)).unwrap();
    let pool = side.queries.pool(&PoolFilter::default(), Page::first(9)).unwrap();
    assert_eq!((pool.len(), pool[0].status), (1, PoolState::Held), "nobody has looked whether it is out");
    assert!(pool[0].id != pool_id && pool[0].held_reason.is_some());
    let back =
        say(&mut side, pool_id, None, PoolEvent::Rescheduled { at: Some(Timestamp(LATER)), priority: None }, LATER);
    assert!(matches!(back, Err(WriteError::PoolRefused { state: PoolState::Removed, .. })), "{back:?}");
}

fn the_list_has_the_order_of_going_out(mut side: Side) {
    let ada = side.account("ada").id;
    let ids = pieces(&mut side, ada, 1, 7);
    // What is urgent and not due yet goes out after what is due, and two of one time by priority.
    let set = [(2_000, 9), (1_000, 1), (1_000, 5), (-10, 3), (-5, 3), (-1, 8), (-20, 1)];
    for (id, (after, priority)) in ids.iter().zip(set) {
        let event = PoolEvent::Rescheduled { at: Some(Timestamp(LATER + after)), priority: Some(priority) };
        say(&mut side, *id, None, event, LATER - 100).unwrap();
    }
    let expected = [5, 3, 4, 6, 2, 1, 0].map(|n| ids[n]);
    let list = |side: &Side, account, page| -> Vec<PoolId> {
        let filter = PoolFilter { account, status: None, now: Some(Timestamp(LATER)) };
        side.queries.pool(&filter, page).unwrap().into_iter().map(|entry| entry.id).collect()
    };
    assert_eq!(list(&side, None, Page::first(9)), expected);
    assert_eq!(list(&side, Some(ada), Page { limit: 3, offset: 3, before: None }), expected[3..6]);
    assert_eq!(list(&side, None, Page { limit: 2, offset: 0, before: Some(ids[5].0) }), expected[1..3]);
    let first = take(&mut side, hand_out(consumer("a"), 1, LATER));
    assert_eq!(list(&side, None, Page::first(9)), expected, "what is going out is the first");
    let mut out: Vec<PoolId> = first.into_iter().map(|(entry, _)| entry.id).collect();
    for (who, count, at) in [("b", 2, 0), ("c", 9, 0), ("d", 1, 1_000), ("e", 9, 1_000), ("f", 9, 2_000)] {
        let taken = take(&mut side, hand_out(consumer(who), count, LATER + at));
        out.extend(taken.into_iter().map(|(entry, _)| entry.id));
    }
    assert_eq!(out, expected, "and so it goes out");
}

fn a_removed_entry_comes_back_while_its_piece_is_approved(mut side: Side) {
    let ada = side.account("ada").id;
    let pool_id = pieces(&mut side, ada, 1, 1)[0];
    let content_id = entry(&side, pool_id).content_id;
    let status = |side: &Side| side.queries.content(content_id).unwrap().unwrap().record.publish_status;
    say(&mut side, pool_id, None, PoolEvent::Removed { reason: None }, LATER).unwrap();
    assert_eq!((entry(&side, pool_id).status, status(&side)), (PoolState::Removed, PublishState::Unpublished));
    assert!(take(&mut side, hand_out(consumer("a"), 1, LATER)).is_empty());
    let back = || PoolEvent::Rescheduled { at: Some(Timestamp(LATER)), priority: Some(7) };
    say(&mut side, pool_id, None, back(), LATER).unwrap();
    assert_eq!((entry(&side, pool_id).status, status(&side)), (PoolState::Pending, PublishState::Pooled));
    say(&mut side, pool_id, None, PoolEvent::Removed { reason: None }, LATER).unwrap();
    side.write(review_of(content_id, ReviewMove::Rejected)).unwrap();
    let refused = say(&mut side, pool_id, None, back(), LATER);
    assert!(matches!(refused, Err(WriteError::PoolRefused { refusal: PoolRefusal::NotDue, .. })), "{refused:?}");
}

fn a_restore_holds_what_may_be_out_and_its_fences_go_on(mut side: Side) {
    let ada = side.account("ada").id;
    let ids = pieces(&mut side, ada, 1, 3);
    take(&mut side, hand_out(consumer("a"), 2, LATER));
    say(&mut side, ids[2], Some(1), done(), LATER).unwrap();
    let hold = || Write::Pool(PoolWrite::HoldRestored { now: Timestamp(LATER) });
    assert_eq!(side.write(hold()).unwrap(), Written::Pool(PoolWritten::Held(2)));
    let fence = entry(&side, ids[1]).fence;
    assert_eq!(
        side.write(hold()).unwrap(),
        Written::Pool(PoolWritten::Held(0)),
        "a take-over that began anew, or another restore"
    );
    assert!(entry(&side, ids[1]).fence > fence + 1_000, "which may be of a backup from before a release");
    assert!(entry(&side, ids[1]).may_be_out && !entry(&side, ids[2]).may_be_out);
    let states: Vec<PoolState> = ids.iter().map(|id| entry(&side, *id).status).collect();
    assert_eq!(states, [PoolState::Held, PoolState::Held, PoolState::Published]);
    let release = PoolWrite::Release { ids: Some(vec![ids[1]]), who: "1:ada".into(), now: Timestamp(LATER) };
    side.write(Write::Pool(release)).unwrap();
    let again = take(&mut side, hand_out(consumer("b"), 9, LATER + 1));
    assert_eq!(again.len(), 1);
    assert!(again[0].1.fence > 1_000, "a number that the lost daemon gave out is not given out again");
    assert!(!again[0].1.may_be_out, "a consumer knows no keys");
    assert!(!again[0].0.may_be_out && entry(&side, ids[0]).may_be_out, "whoever has it says what comes of it");
    // A publisher that knows its keys is asked, and only its yes counts.
    let release = PoolWrite::Release { ids: Some(vec![ids[0]]), who: "1:ada".into(), now: Timestamp(LATER) };
    side.write(Write::Pool(release)).unwrap();
    let asked = hand_out(Holder::Publisher("site".into()), 1, LATER + 2);
    let given = take(&mut side, HandOut { knows_its_keys: true, ..asked }).remove(0);
    assert!(given.1.may_be_out && given.1.doubted_at.is_some() && given.1.sends == 0);
    let policy = PublishPolicy { is_idempotent: true, ..PublishPolicy::default() };
    let busy = PoolEvent::Answered(PublishAnswer::Retry("busy".into()));
    for event in [PoolEvent::Looked { is_quiet: true }, PoolEvent::SentAgain, busy] {
        say_by(&mut side, ids[0], None, event, LATER + 3, policy.clone()).unwrap();
    }
    let told = side.queries.pool_entry(ids[0]).unwrap().unwrap();
    assert_eq!((told.0.status, told.1[0].sends, told.1[0].may_be_out), (PoolState::Publishing, 1, true));
}

fn a_restore_tells_what_had_failed_before(mut side: Side) {
    let ada = side.account("ada").id;
    let ids = pieces(&mut side, ada, 1, 2);
    take(&mut side, hand_out(consumer("a"), 2, LATER));
    let failed = PoolEvent::Failed { error: "the site refused it".into(), is_final: true };
    say(&mut side, ids[0], Some(1), failed, LATER).unwrap();
    let hold = || Write::Pool(PoolWrite::HoldRestored { now: Timestamp(LATER) });
    assert_eq!(side.write(hold()).unwrap(), Written::Pool(PoolWritten::Held(2)));
    let reason = |side: &Side, id| entry(side, id).held_reason.unwrap_or_default();
    assert!(reason(&side, ids[0]).ends_with("it had failed, and a release tries it again: the site refused it"));
    assert_eq!(reason(&side, ids[1]), contentd::store::restored::POOL_REASON);
    assert_eq!(side.write(hold()).unwrap(), Written::Pool(PoolWritten::Held(0)), "a take-over that began anew");
}

fn what_was_removed_before_a_backup_may_be_out_after_its_restore(mut side: Side) {
    let ada = side.account("ada").id;
    let ids = pieces(&mut side, ada, 1, 3);
    let content_of = |side: &Side, id: PoolId| entry(side, id).content_id;
    for id in &ids[..2] {
        say(&mut side, *id, None, PoolEvent::Removed { reason: None }, LATER).unwrap();
    }
    // Of the second, a person has said that it shall not go at all.
    let rejected = content_of(&side, ids[1]);
    side.write(review_of(rejected, ReviewMove::Rejected)).unwrap();
    // Here the backup is made, and the lost daemon puts the first back and publishes it.
    let hold = || Write::Pool(PoolWrite::HoldRestored { now: Timestamp(LATER + 1) });
    assert_eq!(side.write(hold()).unwrap(), Written::Pool(PoolWritten::Held(2)));
    assert_eq!(side.write(hold()).unwrap(), Written::Pool(PoolWritten::Held(0)), "a take-over that began anew");
    let states: Vec<_> =
        ids.iter().map(|id| (entry(&side, *id).status, entry(&side, *id).held_reason.is_some())).collect();
    assert_eq!(states, [(PoolState::Removed, true), (PoolState::Removed, false), (PoolState::Held, true)]);
    let trail = side.queries.history(&id(1)).unwrap();
    assert_eq!(trail.last().map(|row| row.event.as_str()), Some("pool_restored"));
    let back = |side: &mut Side, id| {
        say(side, id, None, PoolEvent::Rescheduled { at: Some(Timestamp(LATER)), priority: None }, LATER + 2)
    };
    let refused = back(&mut side, ids[0]);
    assert!(
        matches!(refused, Err(WriteError::PoolRefused { refusal: PoolRefusal::InDoubt(_), .. })),
        "it may be out: {refused:?}"
    );
    // A person who has looked has it approved again, which holds it, and releases it.
    let content = content_of(&side, ids[0]);
    side.write(review_of(content, ReviewMove::Rejected)).unwrap();
    side.write(review_of(content, ReviewMove::Approved)).unwrap();
    let of_content = |side: &Side| -> PoolEntry {
        let all = side.queries.pool(&PoolFilter::default(), Page::first(9)).unwrap();
        all.into_iter().find(|entry| entry.content_id == content).expect("it stands in the pool")
    };
    let again = of_content(&side);
    assert_eq!(again.status, PoolState::Held);
    let now = Timestamp(LATER + 600_000);
    side.write(Write::Pool(PoolWrite::Release { ids: Some(vec![again.id]), who: "0:root".into(), now })).unwrap();
    assert_eq!(of_content(&side).status, PoolState::Pending);
    say(&mut side, again.id, None, PoolEvent::Removed { reason: None }, now.0).unwrap();
    back(&mut side, again.id).expect("its doubt is over");
}

fn an_older_entry_does_not_come_back_for_one_in_doubt(mut side: Side) {
    let ada = side.account("ada").id;
    let first = pieces(&mut side, ada, 1, 1)[0];
    let content_id = entry(&side, first).content_id;
    for decision in [ReviewMove::Rejected, ReviewMove::Approved] {
        side.write(review_of(content_id, decision)).unwrap();
    }
    let second = take(&mut side, hand_out(consumer("a"), 1, LATER + 600_000))[0].0.id;
    assert_ne!(first, second);
    say(&mut side, second, Some(1), PoolEvent::LeaseEnded, LATER + 700_000).unwrap();
    say(&mut side, second, None, PoolEvent::Removed { reason: None }, LATER + 700_001).unwrap();
    for id in [first, second] {
        let event = PoolEvent::Rescheduled { at: Some(Timestamp(LATER)), priority: None };
        let refused = say(&mut side, id, None, event, LATER + 700_002);
        assert!(
            matches!(refused, Err(WriteError::PoolRefused { refusal: PoolRefusal::InDoubt(_), .. })),
            "{refused:?}"
        );
    }
    assert!(take(&mut side, hand_out(consumer("b"), 1, LATER + 800_000)).is_empty(), "the piece may be out");
}

fn the_agenda_of_publishing(mut side: Side) {
    let ada = side.account("ada").id;
    let bob = side.account("bob").id;
    let of_ada = pieces(&mut side, ada, 1, 4);
    let accounts = |side: &Side, at| -> Vec<AccountId> {
        side.queries.pool_accounts_due(Timestamp(at)).unwrap().iter().map(|account| account.id).collect()
    };
    assert_eq!(accounts(&side, LATER), [ada]);
    assert!(accounts(&side, START).is_empty(), "nothing is due yet");
    let heads = |side: &Side, account, categories: Option<&[String]>| -> Vec<PoolId> {
        side.queries.pool_heads(account, categories, Timestamp(LATER), 9).unwrap().iter().map(|one| one.id).collect()
    };
    assert_eq!(heads(&side, ada, None), [of_ada[3], of_ada[2], of_ada[1], of_ada[0]]);
    assert_eq!(heads(&side, ada, Some(&["even".into()])), [of_ada[3], of_ada[1]]);
    assert!(heads(&side, ada, Some(&["other".into()])).is_empty() && heads(&side, bob, None).is_empty());
    let next = |side: &Side, at| side.queries.next_pool_time(Timestamp(at)).unwrap();
    assert_eq!(next(&side, LATER), None);
    say(
        &mut side,
        of_ada[0],
        None,
        PoolEvent::Rescheduled { at: Some(Timestamp(LATER + 90_000)), priority: None },
        LATER,
    )
    .unwrap();
    assert_eq!(next(&side, LATER), Some(Timestamp(LATER + 90_000)));
    let asked = HandOut { only: Some(of_ada[3]), ..hand_out(Holder::Publisher("site".into()), 1, LATER) };
    take(&mut side, asked);
    take(&mut side, hand_out(consumer("site"), 1, LATER + 1));
    assert_eq!(next(&side, LATER), Some(Timestamp(LATER + 60_000)));
    let wakes = |side: &Side, at| -> Vec<(PoolId, bool)> {
        let due = side.queries.pool_wakes(Timestamp(at), 9).unwrap();
        due.iter().map(|(entry, handout)| (entry.id, handout.holder.is_publisher())).collect()
    };
    assert_eq!(wakes(&side, LATER + 60_000), [(of_ada[3], true)]);
    assert_eq!(wakes(&side, LATER + 60_001), [(of_ada[3], true), (of_ada[2], false)]);
    let count = |since, until| side.queries.publishes_since("site", Timestamp(since), Timestamp(until)).unwrap();
    let never = i64::MAX;
    assert_eq!((count(LATER, never), count(LATER + 1, never)), (1, 0), "a consumer of the same name does not count");
    assert_eq!((count(START, LATER), count(START, LATER - 1)), (1, 0), "nor does what lies ahead of a clock set back");
    assert_eq!(side.queries.pool_entry(PoolId(99)).unwrap(), None);
}

fn what_was_given_back_counts_for_no_day(mut side: Side) {
    let ada = side.account("ada").id;
    let ids = pieces(&mut side, ada, 1, 4);
    let answers = [
        PublishAnswer::Unavailable("down".into()),
        PublishAnswer::NeverCalled("stopping".into()),
        PublishAnswer::Retry("busy".into()),
        PublishAnswer::Published(Published::default()),
    ];
    let count = |side: &Side| side.queries.publishes_since("site", Timestamp(START), Timestamp(i64::MAX)).unwrap();
    let mut counted = Vec::new();
    for (at, (pool_id, answer)) in (LATER..).zip(ids.into_iter().zip(answers)) {
        let asked = HandOut { only: Some(pool_id), ..hand_out(Holder::Publisher("site".into()), 1, at) };
        take(&mut side, asked);
        let under_way = count(&side);
        say(&mut side, pool_id, Some(1), PoolEvent::Answered(answer), at).unwrap();
        counted.push((under_way, count(&side)));
    }
    assert_eq!(counted, [(1, 0), (1, 0), (1, 1), (2, 2)], "nothing was done with what was given back");
}

fn what_no_person_dated_is_due_by_the_clock_that_was_set(mut side: Side) {
    let ada = side.account("ada").id;
    let ids = pieces(&mut side, ada, 1, 5);
    let (hour, day) = (3_600_000, 86_400_000);
    let due = |side: &Side, n: usize| entry(side, ids[n]).scheduled_at.0;
    // The first as it was approved; the second waits for its retry, the third for a person's time; the fourth is held.
    let taken = |n: usize| HandOut { only: Some(ids[n]), ..hand_out(Holder::Publisher("site".into()), 1, LATER) };
    for n in [1, 3] {
        take(&mut side, taken(n));
    }
    say(&mut side, ids[1], Some(1), PoolEvent::Answered(PublishAnswer::Retry("busy".into())), LATER).unwrap();
    let at = Some(Timestamp(LATER + 9 * hour));
    say(&mut side, ids[2], None, PoolEvent::Rescheduled { at, priority: None }, LATER).unwrap();
    say(&mut side, ids[3], Some(1), PoolEvent::CallLost, LATER).unwrap();
    say(&mut side, ids[3], Some(1), PoolEvent::GivenUp("nobody knows".into()), LATER).unwrap();
    // The fifth is approved anew, and goes out when the rules say.
    let content_id = entry(&side, ids[4]).content_id;
    side.write(review_of(content_id, ReviewMove::Rejected)).unwrap();
    let Write::Review { decision: _, reason, expected_hash, who, now, .. } =
        review_of(content_id, ReviewMove::Rejected)
    else {
        unreachable!("a review")
    };
    let due_at = Some(Timestamp(now.0 + 20 * hour));
    let decision = ReviewMove::Approved;
    side.write(Write::Review { content_id, decision, reason, expected_hash, who, due: due_at, now }).unwrap();
    let all = side.queries.pool(&PoolFilter::default(), Page::first(9)).unwrap();
    let dated = all.iter().find(|entry| entry.content_id == content_id).unwrap().id;
    let before: Vec<i64> = (0..4).map(|n| due(&side, n)).collect();
    let calendar = entry(&side, dated).scheduled_at.0;
    side.write(shift(-3 * day - hour)).unwrap();
    let back = 3 * day + hour;
    let after: Vec<i64> = (0..4).map(|n| due(&side, n)).collect();
    assert_eq!(after, [before[0] - back, before[1] - back, before[2], before[3] - back]);
    assert_eq!(entry(&side, dated).scheduled_at.0, calendar - 3 * day, "at its hour");
    side.write(shift(back)).unwrap();
    assert_eq!((0..4).map(|n| due(&side, n)).collect::<Vec<_>>(), before);
    assert_eq!(entry(&side, dated).scheduled_at.0, calendar - 3 * day, "what passed is due");
    side.write(shift(i64::MAX)).unwrap();
    assert_eq!(due(&side, 0), i64::MAX);
}

fn leases_move_with_the_clock(mut side: Side) {
    let ada = side.account("ada").id;
    let ids = pieces(&mut side, ada, 1, 1);
    let asked = HandOut { only: Some(ids[0]), ..hand_out(Holder::Publisher("site".into()), 1, LATER) };
    take(&mut side, asked);
    say(&mut side, ids[0], Some(1), PoolEvent::CallLost, LATER + 1).unwrap();
    say(&mut side, ids[0], Some(1), PoolEvent::Looked { is_quiet: true }, LATER + 2).unwrap();
    side.write(shift(3_600_000)).unwrap();
    let (moved, handouts) = side.queries.pool_entry(ids[0]).unwrap().unwrap();
    assert_eq!(moved.wake_at, Some(Timestamp(LATER + 2 + 3_600_000)));
    assert_eq!(handouts[0].doubted_at, Some(Timestamp(LATER + 1 + 3_600_000)));
    assert_eq!(handouts[0].quiet_since, Some(Timestamp(LATER + 2 + 3_600_000)));
}

/// What no program does, the database itself refuses.
#[test]
fn the_guard_holds_the_pool() {
    use diesel::connection::SimpleConnection;
    let (backend, queries, _directory) = real();
    let mut side = Side::of(backend, queries);
    let ada = side.account("ada").id;
    for n in 1..=2 {
        side.submit(vec![new(task(n, ada))]);
        side.complete(&id(n), START + 10);
    }
    let hand_out = Write::Pool(PoolWrite::HandOut(Box::new(hand_out(consumer("a"), 1, LATER))));
    side.write(hand_out).unwrap();
    let mut backend = side.into_backend();
    let mut counted = 0;
    for (sql, words) in [
        ("UPDATE publish_pool SET status = 'publishing', wake_at = 1 WHERE id = 2", "fencing number only grows"),
        ("UPDATE publish_pool SET fence = 0 WHERE id = 1", "fencing number only grows"),
        (
            "UPDATE publish_pool SET status = 'removed', wake_at = NULL WHERE id = 1",
            "cannot go from publishing to removed",
        ),
        ("UPDATE publish_pool SET content_id = 2 WHERE id = 1", "never changes"),
        ("DELETE FROM publish_pool WHERE id = 2", "kept"),
        ("UPDATE handouts SET key = 'x'", "never used again"),
        ("DELETE FROM handouts", "kept"),
        ("DELETE FROM settings", "would be lost"),
        ("UPDATE settings SET value = 'x' WHERE name = 'publish_seed'", "would be lost"),
        ("INSERT OR REPLACE INTO settings VALUES ('publish_seed', 'x')", "would be lost"),
        (
            "INSERT INTO publish_pool (content_id, account_id, priority, scheduled_at, status, retry_count, created_at) \
          VALUES (1, 1, 5, 1, 'pending', 0, 1)",
            "UNIQUE",
        ),
        ("UPDATE publish_pool SET held_reason = 'x' WHERE id = 2", "CHECK"),
    ] {
        let refused = backend.connection().batch_execute(sql).expect_err(sql).to_string();
        assert!(refused.contains(words), "{sql}: {refused}");
        counted += 1;
    }
    assert_eq!(counted, 12);
    backend
        .connection()
        .batch_execute("UPDATE publish_pool SET status = 'published', wake_at = NULL WHERE id = 1")
        .unwrap();
    for to in ["pending", "held", "failed", "removed", "publishing"] {
        let sql =
            format!("UPDATE publish_pool SET status = '{to}', held_reason = 'x', wake_at = 1, fence = 9 WHERE id = 1");
        let refused = backend.connection().batch_execute(&sql).expect_err(&sql).to_string();
        assert!(refused.contains("contentd: a pool entry cannot go from published"), "{refused}");
    }
}
