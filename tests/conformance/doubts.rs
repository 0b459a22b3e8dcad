//! Pieces of which nobody knows whether they are out: edited, rejected, handed out again, written again.

use contentd::publish::outcome::PublishAnswer;
use contentd::publish::{Handout, Holder, PoolEvent, PoolRefusal, PublishPolicy};
use contentd::store::query::{Page, PoolFilter};
use contentd::store::restored::{RestoreMark, SETTING};
use contentd::store::write::{PieceRules, Write, WriteError, Written};
use contentd::task::content::{PoolEntry, PoolState, ReviewMove, ReviewState};
use contentd::task::{AccountId, ContentId, Event, PoolId, Task, TaskState, Timestamp};

use super::common::*;
use super::pieces::*;

on_every_backend! {
    an_edit_leaves_a_piece_that_is_out_and_its_doubt,
    a_piece_in_doubt_is_not_written_again,
    a_rejection_or_an_edit_does_not_end_a_doubt,
    a_piece_of_before_a_restore_is_not_written_again_before_it_is_settled,
    a_piece_is_not_written_again_while_another_version_goes_out,
    a_lease_without_an_answer_is_not_forgotten,
    a_later_answer_does_not_end_the_doubt_of_an_earlier_lease,
    a_late_answer_for_a_held_piece_does_not_end_the_doubt_of_an_earlier_lease,
    a_doubt_that_a_person_ended_is_over,
    what_a_holder_says_counts_after_a_person_ended_its_doubt,
    a_second_piece_of_a_task_in_doubt_is_held,
}

fn an_edit_leaves_a_piece_that_is_out_and_its_doubt(mut side: Side) {
    let first = completed(&mut side, true);
    let entry = hand_out(&mut side);
    let refused = side.write(edit(first, &hash(1), "while it is on its way"));
    assert_eq!(refused, Err(WriteError::AlreadyPublished(first)));
    // Its holder is never heard of again.
    say(&mut side, entry, PoolEvent::LeaseEnded);
    assert!(pool(&side)[0].1.is_some(), "nobody knows whether it is out");
    let second = edited(&mut side, first, &hash(1), "another text");
    assert!(pool(&side).is_empty());
    side.write(review(second.id, ReviewMove::Approved)).unwrap();
    let stands = pool(&side);
    assert!(stands[0].0 == second.id && stands[0].1.is_some(), "its first version may be out: {stands:?}");
}

fn a_second_piece_of_a_task_in_doubt_is_held(mut side: Side) {
    let ada = side.account("ada").id;
    let first = late(&mut side, ada, 1);
    side.write(review(first, ReviewMove::Approved)).unwrap();
    let entry = hand_out(&mut side);
    say(&mut side, entry, PoolEvent::LeaseEnded);
    side.write(review(first, ReviewMove::Rejected)).unwrap();
    let second = rerun(&mut side, 1);
    assert_eq!(second.record.review_status, ReviewState::Approved, "nothing stands in its way");
    let stands = pool(&side);
    assert!(stands[0].0 == second.id && stands[0].1.is_some(), "the first piece may be out: {stands:?}");
}

fn a_piece_in_doubt_is_not_written_again(mut side: Side) {
    let first = completed(&mut side, true);
    let entry = hand_out(&mut side);
    say(&mut side, entry, PoolEvent::LeaseEnded);
    let refused = side.write(again(first, 2, AccountId(1)));
    assert!(matches!(refused, Err(WriteError::PoolRefused { state: PoolState::Held, .. })), "{refused:?}");
    assert!(side.queries.task(&id(2)).unwrap().is_none(), "and nothing was submitted");
    say(&mut side, entry, PoolEvent::Settled { published: None, reason: "looked".into() });
    side.write(again(first, 2, AccountId(1))).unwrap();
    assert_eq!(record(&side, first).record.review_status, ReviewState::Rejected);
}

fn a_rejection_or_an_edit_does_not_end_a_doubt(mut side: Side) {
    let in_doubt = |side: &mut Side, content: ContentId| {
        let refused = side.write(again(content, 2, AccountId(1)));
        let refusal = matches!(
            refused,
            Err(WriteError::PoolRefused { state: PoolState::Removed, refusal: PoolRefusal::InDoubt(_), .. })
        );
        assert!(refusal, "{refused:?}");
        assert!(side.queries.task(&id(2)).unwrap().is_none(), "and nothing was submitted");
    };
    let first = completed(&mut side, true);
    let entry = hand_out(&mut side);
    say(&mut side, entry, PoolEvent::LeaseEnded);
    side.write(review(first, ReviewMove::Rejected)).unwrap();
    in_doubt(&mut side, first);
    let second = edited(&mut side, first, &hash(1), "another text");
    in_doubt(&mut side, second.id);
    side.write(review(second.id, ReviewMove::Rejected)).unwrap();
    in_doubt(&mut side, second.id);
    // Approved again it is held, and what a person says of that one holds for all before it.
    side.write(review(second.id, ReviewMove::Approved)).unwrap();
    let held = side.queries.pool(&PoolFilter::default(), Page::first(9)).unwrap().remove(0);
    assert_eq!(held.status, PoolState::Held);
    let refused = side.write(again(second.id, 2, AccountId(1)));
    assert!(matches!(refused, Err(WriteError::PoolRefused { state: PoolState::Held, .. })), "{refused:?}");
    say(&mut side, held.id, PoolEvent::Settled { published: None, reason: "looked".into() });
    side.write(review(second.id, ReviewMove::Rejected)).unwrap();
    let (_, rewriting) = written_again(side.write(again(second.id, 2, AccountId(1))));
    assert!(!rewriting.was_known, "a doubt that was settled is over");
    side.write(review(second.id, ReviewMove::Approved)).unwrap();
    assert_eq!(pool(&side), [(second.id, None)]);
}

fn is_in_doubt(answer: &Result<Written, WriteError>) -> bool {
    matches!(answer, Err(WriteError::PoolRefused { refusal: PoolRefusal::InDoubt(_), .. }))
}

fn a_piece_of_before_a_restore_is_not_written_again_before_it_is_settled(mut side: Side) {
    let first = completed(&mut side, false);
    side.write(review(first, ReviewMove::Rejected)).unwrap();
    // Here the backup is made, and the lost daemon approves the piece and publishes it.
    let mark = RestoreMark {
        at: Timestamp(START + 20_000),
        file: "b.db".into(),
        who: "0:root".into(),
        is_nothing_since: false,
        is_done: true,
        earlier_doubt: None,
        witnesses: Vec::new(),
    };
    side.write(Write::PutSetting { name: SETTING.into(), value: Some(mark.to_json().unwrap()) }).unwrap();
    let refused = side.write(again(first, 2, AccountId(1)));
    let doubt = WriteError::OutSinceRestore { content_id: first, task_id: id(1), state: TaskState::Completed };
    assert_eq!(refused, Err(doubt));
    assert!(side.queries.task(&id(2)).unwrap().is_none(), "nothing is paid for twice");
    side.write(review(first, ReviewMove::Approved)).unwrap();
    let held = side.queries.pool(&PoolFilter::default(), Page::first(9)).unwrap().remove(0);
    let refused = side.write(again(first, 2, AccountId(1)));
    assert!(matches!(refused, Err(WriteError::PoolRefused { state: PoolState::Held, .. })), "{refused:?}");
    say(&mut side, held.id, PoolEvent::Settled { published: None, reason: "looked".into() });
    assert!(!written_again(side.write(again(first, 2, AccountId(1)))).1.was_known);
    // What came after the restore is nobody else's.
    side.submit(vec![new(Task { created_at: Timestamp(START + 20_001), ..task(3, AccountId(1)) })]);
    side.change(&id(3), START + 20_010, Event::Claimed { key: key_of(&id(3), 1) });
    side.change(&id(3), START + 20_011, accepted("job of 3"));
    let fresh = side.change(&id(3), START + 20_012, piece("fresh")).content_id.unwrap();
    written_again(side.write(again(fresh, 4, AccountId(1))));
}

fn a_piece_is_not_written_again_while_another_version_goes_out(mut side: Side) {
    let ada = side.account("ada").id;
    let first = late(&mut side, ada, 1);
    side.write(review(first, ReviewMove::Approved)).unwrap();
    let second = rerun(&mut side, 1).id;
    let refused = side.write(again(second, 2, ada));
    let waits = matches!(&refused, Err(WriteError::PoolRefused { state: PoolState::Pending, refusal, .. })
        if *refusal == PoolRefusal::OtherVersion(first));
    assert!(waits, "{refused:?}");
    let entry = hand_out(&mut side);
    let out = WriteError::OtherVersionOut { content_id: second, other: first };
    assert_eq!(side.write(again(second, 2, ada)), Err(out.clone()), "it is being published");
    say(&mut side, entry, PoolEvent::Done(Default::default()));
    assert_eq!(side.write(again(second, 2, ada)), Err(out), "it is out");
    assert!(side.queries.task(&id(2)).unwrap().is_none(), "nothing was submitted");
    // Where the other was given up, and is out of the way, nothing hinders.
    let third = late(&mut side, ada, 3);
    side.write(review(third, ReviewMove::Approved)).unwrap();
    let fourth = rerun(&mut side, 3).id;
    side.write(review(third, ReviewMove::Rejected)).unwrap();
    written_again(side.write(again(fourth, 2, ada)));
}

fn a_lease_without_an_answer_is_not_forgotten(mut side: Side) {
    let first = completed(&mut side, true);
    let entry = hand_out(&mut side);
    let idempotent = || PublishPolicy { is_idempotent: true, ..PublishPolicy::default() };
    say_under(&mut side, entry, PoolEvent::LeaseEnded, idempotent());
    assert_eq!(pool(&side), [(first, None)], "it goes out again");
    let refused = side.write(again(first, 2, AccountId(1)));
    assert!(is_in_doubt(&refused), "its holder may have published it: {refused:?}");
    side.write(review(first, ReviewMove::Rejected)).unwrap();
    let refused = side.write(again(first, 2, AccountId(1)));
    assert!(is_in_doubt(&refused), "a rejection says nothing of that: {refused:?}");
    side.write(review(first, ReviewMove::Approved)).unwrap();
    let stands = pool(&side);
    assert!(stands[0].1.as_deref().is_some_and(|why| why.contains("never answered")), "{stands:?}");
    let held = side.queries.pool(&PoolFilter::default(), Page::first(9)).unwrap().remove(0);
    say(&mut side, held.id, PoolEvent::Released);
    // What an operator takes out keeps its doubt as well, and so does what an edit takes out.
    let taken = hand_out_at(&mut side, Timestamp(START + 200_000))[0];
    say_under(&mut side, taken, PoolEvent::LeaseEnded, idempotent());
    say(&mut side, taken, PoolEvent::Removed { reason: None });
    assert!(is_in_doubt(&side.write(again(first, 2, AccountId(1)))));
    let second = edited(&mut side, first, &hash(1), "another text");
    side.write(review(second.id, ReviewMove::Approved)).unwrap();
    assert!(pool(&side)[0].1.is_some(), "its first version may be out");
}

fn harmless_twice() -> PublishPolicy {
    PublishPolicy { is_idempotent: true, ..PublishPolicy::default() }
}

/// The entry of a piece that stands in the pool.
fn entry_of<B: AsBackend + ?Sized>(side: &Side<B>, content_id: ContentId) -> PoolEntry {
    let entries = side.queries.pool(&PoolFilter::default(), Page::first(99)).unwrap();
    entries.into_iter().find(|entry| entry.content_id == content_id).expect("it stands in the pool")
}

fn handouts_of<B: AsBackend + ?Sized>(side: &Side<B>, id: PoolId) -> Vec<Handout> {
    side.queries.pool_entry(id).unwrap().unwrap().1
}

/// Hands the one piece that is due out at `n` hundred seconds, for the first time or once more.
fn hand_out_nth(side: &mut Side, holder: Holder, n: usize, fence: u64) -> PoolId {
    let at = Timestamp(START + 100_000 * i64::try_from(n).unwrap() + i64::try_from(fence).unwrap());
    let given = hand_out_to(side, holder, at);
    assert_eq!(given.len(), 1, "{n}");
    assert_eq!(side.queries.pool_entry(given[0]).unwrap().unwrap().0.fence, fence);
    given[0]
}

/// A piece whose first holder never answered, and whose second one has it.
fn handed_out_twice(side: &mut Side, account: AccountId, n: usize, second: Holder) -> (ContentId, PoolId) {
    side.submit(vec![new(task(n, account))]);
    let content_id = complete_under(side, &id(n), PieceRules::default(), "text");
    let entry = hand_out_nth(side, Holder::Consumer("site".into()), n, 1);
    say_under(side, entry, PoolEvent::LeaseEnded, harmless_twice());
    assert_eq!(hand_out_nth(side, second, n, 2), entry);
    (content_id, entry)
}

/// How a piece is taken out of the pool before another text may take its place.
#[derive(Clone, Copy, PartialEq, Debug)]
enum WayOut {
    Rejected,
    Edited,
    Removed,
}

impl WayOut {
    /// Takes it out, and has what stands in its place approved.
    fn take(self, side: &mut Side, content_id: ContentId, entry: PoolId, n: usize) -> ContentId {
        let mut current = content_id;
        match self {
            Self::Rejected => {}
            Self::Edited => current = edited(side, content_id, &hash(n), &format!("another text {n}")).id,
            Self::Removed => say(side, entry, PoolEvent::Removed { reason: None }),
        }
        if self != Self::Edited {
            side.write(review(content_id, ReviewMove::Rejected)).unwrap();
        }
        let refused = side.write(again(current, 1_000 + n, AccountId(1)));
        assert!(is_in_doubt(&refused), "{self:?} says nothing of it: {refused:?}");
        side.write(review(current, ReviewMove::Approved)).unwrap();
        current
    }
}

/// The site took the piece from the first holder, and says to the second that it has it already.
fn a_later_answer_does_not_end_the_doubt_of_an_earlier_lease(mut side: Side) {
    let ada = side.account("ada").id;
    let failed = |is_final| PoolEvent::Failed { error: "duplicate".into(), is_final };
    let answered = PoolEvent::Answered;
    let (consumer, publisher) = (Holder::Consumer("2:bob".into()), Holder::Publisher("site".into()));
    let answers = [
        (&consumer, failed(true), PoolState::Failed),
        (&consumer, failed(false), PoolState::Pending),
        (&publisher, answered(PublishAnswer::Rejected("duplicate".into())), PoolState::Failed),
        (&publisher, answered(PublishAnswer::Retry("busy".into())), PoolState::Pending),
    ];
    let ways = [WayOut::Rejected, WayOut::Edited, WayOut::Removed];
    let cases = answers.iter().flat_map(|answer| ways.map(|way| (answer, way)));
    for (n, ((second, answer, state), way)) in (1..).zip(cases) {
        let (content_id, entry) = handed_out_twice(&mut side, ada, n, (*second).clone());
        say_under(&mut side, entry, answer.clone(), harmless_twice());
        assert_eq!(entry_of(&side, content_id).status, *state);
        let refused = side.write(again(content_id, 1_000 + n, ada));
        assert!(is_in_doubt(&refused), "{answer:?} is of the second try alone: {refused:?}");
        let current = way.take(&mut side, content_id, entry, n);
        let held = entry_of(&side, current);
        let why = held.held_reason.unwrap_or_default();
        assert!(why.contains("site at fence 1, which never answered"), "{answer:?}, {way:?}: {why}");
        // A person has looked: it is over, and for good.
        say(&mut side, held.id, PoolEvent::Settled { published: None, reason: "looked".into() });
        assert!(handouts_of(&side, entry).iter().all(|handout| handout.ended_at.is_some()), "{answer:?}, {way:?}");
        assert!(!written_again(side.write(again(current, 1_000 + n, ada))).1.was_known);
    }
}

fn a_late_answer_for_a_held_piece_does_not_end_the_doubt_of_an_earlier_lease(mut side: Side) {
    let ada = side.account("ada").id;
    for (n, is_final) in [(1, true), (2, false)] {
        let (content_id, entry) = handed_out_twice(&mut side, ada, n, Holder::Consumer("2:bob".into()));
        let no_retry_left = PublishPolicy { max_retries: 1, ..harmless_twice() };
        say_under(&mut side, entry, PoolEvent::LeaseEnded, no_retry_left);
        assert_eq!(entry_of(&side, content_id).status, PoolState::Held);
        say_under(&mut side, entry, PoolEvent::Failed { error: "duplicate".into(), is_final }, harmless_twice());
        let current = WayOut::Rejected.take(&mut side, content_id, entry, n);
        assert_eq!(entry_of(&side, current).status, PoolState::Held);
    }
}

fn a_doubt_that_a_person_ended_is_over(mut side: Side) {
    let ada = side.account("ada").id;
    let settled = PoolEvent::Settled { published: None, reason: "looked".into() };
    let words = [(PoolEvent::Released, PoolState::Pending), (settled, PoolState::Failed)];
    for (n, (word, state)) in (1..).zip(words) {
        let (content_id, entry) = handed_out_twice(&mut side, ada, n, Holder::Publisher("site".into()));
        say(&mut side, entry, PoolEvent::CallLost);
        say(&mut side, entry, PoolEvent::GivenUp("nobody knows".into()));
        assert_eq!(handouts_of(&side, entry).iter().filter(|handout| handout.is_unanswered()).count(), 2);
        say(&mut side, entry, word.clone());
        assert_eq!(entry_of(&side, content_id).status, state);
        assert!(!handouts_of(&side, entry).iter().any(Handout::is_unanswered), "{word:?}");
        // Another text may take its place, and it may be written again.
        let second = edited(&mut side, content_id, &hash(n), &format!("another text {n}")).id;
        side.write(review(second, ReviewMove::Approved)).unwrap();
        assert_eq!(entry_of(&side, second).held_reason, None, "{word:?}");
        assert!(!written_again(side.write(again(second, 1_000 + n, ada))).1.was_known);
    }
}

fn what_a_holder_says_counts_after_a_person_ended_its_doubt(mut side: Side) {
    let first = completed(&mut side, true);
    let entry = hand_out(&mut side);
    say_under(&mut side, entry, PoolEvent::LeaseEnded, harmless_twice());
    say(&mut side, entry, PoolEvent::Removed { reason: None });
    side.write(review(first, ReviewMove::Rejected)).unwrap();
    side.write(review(first, ReviewMove::Approved)).unwrap();
    let second = entry_of(&side, first).id;
    say(&mut side, second, PoolEvent::Released);
    say(&mut side, second, PoolEvent::Removed { reason: None });
    say(&mut side, entry, PoolEvent::Rescheduled { at: None, priority: None });
    let handout = handouts_of(&side, entry).remove(0);
    assert_eq!((handout.ended_at.is_some(), handout.outcome), (true, None), "the doubt is over, and nobody answered");
    say(&mut side, entry, PoolEvent::Done(Default::default()));
    assert_eq!(entry_of(&side, first).status, PoolState::Published, "it was only slow");
}
