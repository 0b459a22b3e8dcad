//! Accounts with defaults and limits, the rules of the review, versions of a piece, pieces that are written again, images.

use std::sync::Arc;

use contentd::publish::outcome::PublishAnswer;
use contentd::publish::{Handout, Holder, PoolEvent, PoolRefusal, PublishPolicy, PublishTimes};
use contentd::store::query::{ContentFilter, Page, PoolFilter};
use contentd::store::restored::{RestoreMark, SETTING};
use contentd::store::sqlite::check;
use contentd::store::write::{
    Account, AccountEntry, AccountOutcome, AccountWrite, ContentWrite, HandOut, ImageWrite, NewTask, PieceRules,
    PoolWrite, PoolWritten, Rewriting, Write, WriteError, Written,
};
use contentd::task::account::{AccountChange, AccountDefaults, AccountLimits};
use contentd::task::content::{
    ContentRecord, PoolEntry, PoolState, PublishState, RenderedPiece, ReviewMove, ReviewState,
};
use contentd::task::image::ImageState;
use contentd::task::review::{Phrase, ReviewRules};
use contentd::task::{AccountId, ContentId, Event, PoolId, Task, TaskId, TaskState, Timestamp};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use jiff::tz::TimeZone;

use super::common::*;

macro_rules! on_every_backend {
    ($($name:ident),+ $(,)?) => {
        mod on_memory { $(#[test] fn $name() { super::$name(super::memory()); })+ }
        mod on_sqlite { $(#[test] fn $name() { super::$name(super::sqlite()); })+ }
    };
}

on_every_backend! {
    an_account_is_changed_and_comes_back,
    a_list_of_accounts_is_taken_whole_or_not_at_all,
    an_account_with_enough_tasks_is_busy,
    rules_decide_about_what_approves_itself,
    what_holds_broken_characters_waits_for_a_person,
    an_edit_makes_a_version_and_voids_an_approval,
    a_new_title_makes_a_version_and_voids_an_approval,
    an_edit_of_what_is_no_more_is_refused,
    an_edited_piece_of_an_old_database_is_still_held,
    a_piece_is_written_again_once,
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
    a_piece_that_cannot_be_written_again_stays_as_it_is,
    a_second_piece_waits_behind_an_approved_one,
    an_approved_piece_is_due_when_the_rules_say,
    images_are_noted_with_their_piece_and_tried,
    what_waits_is_shown_oldest_first,
}

/// A rule-bound transition, as the daemon writes it.
fn piece_under(rules: PieceRules, id: &TaskId, at: i64, event: Event) -> Write {
    let Write::Transition(mut transition) = event_of(id, at, event) else { panic!("a transition") };
    transition.rules = Arc::new(rules);
    Write::Transition(transition)
}

fn complete_under<B: AsBackend + ?Sized>(side: &mut Side<B>, id: &TaskId, rules: PieceRules, text: &str) -> ContentId {
    side.change(id, START + 10, Event::Claimed { key: key_of(id, START) });
    side.change(id, START + 11, accepted(&format!("job of {id}")));
    match side.write(piece_under(rules, id, START + 12, piece(text))) {
        Ok(Written::Changed(changed)) => changed.content_id.expect("a piece"),
        other => panic!("{other:?}"),
    }
}

fn completed<B: AsBackend + ?Sized>(side: &mut Side<B>, auto_approve: bool) -> ContentId {
    let ada = side.account("ada").id;
    side.submit(vec![new(Task { auto_approve, ..task(1, ada) })]);
    complete_under(side, &id(1), PieceRules::default(), "text")
}

fn record<B: AsBackend + ?Sized>(side: &Side<B>, id: ContentId) -> ContentRecord {
    side.queries.content(id).unwrap().unwrap()
}

fn pool<B: AsBackend + ?Sized>(side: &Side<B>) -> Vec<(ContentId, Option<String>)> {
    let entries = side.queries.pool(&PoolFilter::default(), Page::first(9)).unwrap();
    entries.into_iter().map(|entry| (entry.content_id, entry.held_reason)).collect()
}

fn edit(content_id: ContentId, base: &str, text: &str) -> Write {
    Write::Content(Box::new(ContentWrite::Edit {
        content_id,
        base_hash: base.to_owned(),
        title: None,
        rendered: RenderedPiece {
            content: text.to_owned(),
            html: format!("<p>{text}</p>"),
            plain_text: text.to_owned(),
            content_hash: format!("hash of {text}"),
        },
        rules: Arc::new(rules()),
        who: "1002:eve".into(),
        now: Timestamp(START + 600),
    }))
}

fn edited<B: AsBackend + ?Sized>(side: &mut Side<B>, content_id: ContentId, base: &str, text: &str) -> ContentRecord {
    match side.write(edit(content_id, base, text)) {
        Ok(Written::Reviewed(record)) => *record,
        other => panic!("{other:?}"),
    }
}

fn review(content_id: ContentId, decision: ReviewMove) -> Write {
    let (reason, who, now) = (None, "1001:bob".to_owned(), Timestamp(START + 500));
    Write::Review { content_id, decision, reason, expected_hash: None, who, due: None, now }
}

/// Hands out what is due, two entries at most.
fn hand_out_at<B: AsBackend + ?Sized>(side: &mut Side<B>, now: Timestamp) -> Vec<PoolId> {
    hand_out_to(side, Holder::Consumer("site".into()), now)
}

fn hand_out_to<B: AsBackend + ?Sized>(side: &mut Side<B>, holder: Holder, now: Timestamp) -> Vec<PoolId> {
    let hand_out = HandOut {
        holder,
        only: None,
        account: None,
        limit: 2,
        request: None,
        lease_until: Timestamp(now.0 + 10_000),
        now,
    };
    match side.write(Write::Pool(PoolWrite::HandOut(Box::new(hand_out)))) {
        Ok(Written::Pool(PoolWritten::HandedOut(given))) => given.iter().map(|(entry, _)| entry.id).collect(),
        other => panic!("{other:?}"),
    }
}

/// Hands the one entry of the pool out.
fn hand_out<B: AsBackend + ?Sized>(side: &mut Side<B>) -> PoolId {
    let given = hand_out_at(side, Timestamp(START + 80_000));
    assert_eq!(given.len(), 1);
    given[0]
}

/// What its holder or a person says of an entry.
fn say<B: AsBackend + ?Sized>(side: &mut Side<B>, id: PoolId, event: PoolEvent) {
    say_under(side, id, event, PublishPolicy::default());
}

fn say_under<B: AsBackend + ?Sized>(side: &mut Side<B>, id: PoolId, event: PoolEvent, policy: PublishPolicy) {
    let happened = PoolWrite::Happened {
        id,
        fence: None,
        event: Box::new(event),
        policy: Box::new(policy),
        draw: 0.5,
        who: "1:ada".into(),
        answers_for_all: true,
        now: Timestamp(START + 95_000),
    };
    side.write(Write::Pool(happened)).unwrap();
}

/// A second version of the first piece, as an older contentd may have left one.
fn leave_second_version(path: &std::path::Path) -> ContentId {
    let second = "INSERT INTO contents (task_id, account_id, version, title, summary, images, word_count, review_status, \
         publish_status, content_hash, created_at, updated_at, content, html_content) SELECT task_id, account_id, 2, title, \
         summary, images, word_count, 'pending_review', 'unpublished', 'h', created_at, updated_at, content, html_content \
         FROM contents WHERE id = 1";
    raw(path).batch_execute(second).unwrap();
    ContentId(2)
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

fn rules() -> PieceRules {
    let forbidden = Phrase::new("casino").into_iter().collect();
    let review = ReviewRules { min_score: Some(0.9), min_words: Some(2), forbidden, ..ReviewRules::default() };
    PieceRules { review, ..PieceRules::default() }
}

fn hash(n: usize) -> String {
    format!("hash of {}", id(n))
}

fn set(id: AccountId, change: AccountChange) -> Write {
    Write::Account(AccountWrite::Set { id, change: Box::new(change) })
}

fn one_account(answer: Result<Written, WriteError>) -> (Account, AccountOutcome) {
    match answer {
        Ok(Written::Accounts(mut accounts)) if accounts.len() == 1 => accounts.remove(0),
        other => panic!("{other:?}"),
    }
}

fn an_account_is_changed_and_comes_back(mut side: Side) {
    let ada = side.account("ada");
    let change = AccountChange {
        external_id: Some(None),
        is_enabled: Some(false),
        generator: Some(Some("assumed".into())),
        tone: Some(Some("dry ' \" \u{1f600}".into())),
        requirements: Some(Some("line\nline".into())),
        keywords: Some(Some(vec!["a, b".into()])),
        priority: Some(Some(9)),
        auto_approve: Some(Some(false)),
        max_pending: Some(Some(7)),
        submits_per_day: Some(Some(3)),
        ..AccountChange::default()
    };
    let (account, outcome) = one_account(side.write(set(ada.id, change.clone())));
    assert_eq!((outcome, account.is_enabled, &account.external_id), (AccountOutcome::Changed, false, &None));
    assert_eq!(account.defaults.keywords, Some(vec!["a, b".to_owned()]));
    assert_eq!(side.queries.find_account("ada").unwrap(), Some(account.clone()));
    assert_eq!(one_account(side.write(set(ada.id, change))), (account.clone(), AccountOutcome::Unchanged));
    let limited = side.queries.account_limits().unwrap();
    assert_eq!(limited.into_iter().collect::<Vec<_>>(), [(ada.id, account.limits)]);
    // A bound of pending tasks is the submit's and not the queue's affair.
    side.write(set(ada.id, AccountChange { submits_per_day: Some(None), ..AccountChange::default() })).unwrap();
    assert!(side.queries.account_limits().unwrap().is_empty());
    let missing = side.write(set(AccountId(99), AccountChange::default()));
    assert_eq!(missing, Err(WriteError::AccountNotFound("99".into())));
}

fn import(entries: &[(&str, AccountChange)]) -> Write {
    let entries = entries.iter().map(|(name, change)| AccountEntry { name: (*name).into(), change: change.clone() });
    Write::Account(AccountWrite::Import { entries: entries.collect(), now: Timestamp(START + 1) })
}

fn a_list_of_accounts_is_taken_whole_or_not_at_all(mut side: Side) {
    side.account("ada");
    let tone = |tone: &str| AccountChange { tone: Some(Some(tone.into())), ..AccountChange::default() };
    let list = [("ada", tone("dry")), ("bob", tone("warm")), ("eve", AccountChange::default())];
    let outcomes = |answer: Result<Written, WriteError>| match answer {
        Ok(Written::Accounts(accounts)) => accounts.into_iter().map(|(_, outcome)| outcome).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    use AccountOutcome::{Added, Changed, Unchanged};
    assert_eq!(outcomes(side.write(import(&list))), [Changed, Added, Added]);
    assert_eq!(outcomes(side.write(import(&list))), [Unchanged; 3]);
    let accounts = side.queries.accounts().unwrap();
    assert_eq!(accounts.len(), 3);
    assert_eq!(accounts[0].external_id.as_deref(), Some("x-ada"), "what the list does not say stays");
    let dry = AccountDefaults { tone: Some("dry".into()), ..AccountDefaults::default() };
    assert_eq!((&accounts[0].defaults, accounts[1].limits), (&dry, AccountLimits::default()));
}

fn an_account_with_enough_tasks_is_busy(mut side: Side) {
    let (ada, bob) = (side.account("ada").id, side.account("bob").id);
    let limit = AccountChange { max_pending: Some(Some(2)), ..AccountChange::default() };
    side.write(set(ada, limit)).unwrap();
    let other = |n: usize, account| Task { generator: format!("g{n}").as_str().into(), ..task(n, account) };
    side.submit(vec![new(other(1, ada))]);
    let batch = side.write(submit(vec![new(other(2, ada)), new(other(3, bob)), new(other(4, ada))]));
    let busy = WriteError::AccountBusy { account: "ada".into(), unfinished: 1, limit: 2 };
    assert_eq!(batch, Err(busy), "at whatever generator");
    assert!(side.queries.task(&id(3)).unwrap().is_none(), "nothing of the batch stands");
    side.submit(vec![new(other(2, ada)), new(other(3, bob))]);
    side.change(&id(1), START + 9, Event::CancelRequested);
    side.submit(vec![new(other(5, ada))]);
    assert!(matches!(side.write(submit(vec![new(other(6, ada))])), Err(WriteError::AccountBusy { unfinished: 2, .. })));
}

fn rules_decide_about_what_approves_itself(mut side: Side) {
    let ada = side.account("ada").id;
    let asked = |n, auto_approve| new(Task { topic: "Casino nights".into(), auto_approve, ..task(n, ada) });
    side.submit([(1, true), (2, false), (3, true), (4, true)].map(|(n, auto)| asked(n, auto)).to_vec());
    let refused = complete_under(&mut side, &id(1), rules(), "text");
    let refused = record(&side, refused).record;
    assert_eq!(
        (refused.review_status, refused.publish_status),
        (ReviewState::PendingReview, PublishState::Unpublished)
    );
    assert_eq!(
        refused.findings,
        ["its score is 0.75, and at least 0.9 is wanted", "\"casino\" is in it, which is forbidden"]
    );
    assert!(refused.review_reason.is_some_and(|why| why.contains("0.75") && why.contains("casino")));
    assert_eq!(refused.reviewed_by, None);
    assert_eq!(side.state(&id(1)), TaskState::Completed, "the piece is there, whatever the rules say of it");
    let for_a_person = complete_under(&mut side, &id(2), rules(), "text");
    assert_eq!(record(&side, for_a_person).record.findings.len(), 2, "whoever reviews is told, too");
    assert!(pool(&side).is_empty());
    let nothing_asked = complete_under(&mut side, &id(3), PieceRules::default(), "text");
    let approved = record(&side, nothing_asked).record;
    assert_eq!((approved.review_status, approved.findings), (ReviewState::Approved, vec![]));
    assert_eq!(pool(&side), [(nothing_asked, None)]);
    // The configuration has changed since the task was submitted: nothing is approved by itself any more.
    let four_eyes = PieceRules { is_four_eyes: true, ..PieceRules::default() };
    let late = complete_under(&mut side, &id(4), four_eyes, "text");
    let late = record(&side, late).record;
    assert_eq!((late.review_status, late.findings.len()), (ReviewState::PendingReview, 1), "{late:?}");
    assert_eq!(pool(&side), [(nothing_asked, None)]);
    // A person may know better, and what the rules said is kept.
    side.write(review(for_a_person, ReviewMove::Approved)).unwrap();
    let decided = record(&side, for_a_person).record;
    assert_eq!((decided.reviewed_by.as_deref(), decided.findings.len()), (Some("1001:bob"), 2));
}

fn what_holds_broken_characters_waits_for_a_person(mut side: Side) {
    let ada = side.account("ada").id;
    for (n, text) in [(1, "caf\u{fffd}"), (2, "a\0b")] {
        side.submit(vec![new(Task { auto_approve: true, ..task(n, ada) })]);
        let kept = complete_under(&mut side, &id(n), PieceRules::default(), text);
        let kept = record(&side, kept).record;
        assert_eq!(side.state(&id(n)), TaskState::Completed, "the piece is there");
        assert_eq!((kept.review_status, kept.findings.len()), (ReviewState::PendingReview, 1), "{kept:?}");
        assert!(kept.content.contains(text) && kept.review_reason.is_some_and(|why| why.contains("first")));
    }
    assert!(pool(&side).is_empty());
}

fn an_edit_makes_a_version_and_voids_an_approval(mut side: Side) {
    let first = completed(&mut side, true);
    assert_eq!(pool(&side), [(first, None)]);
    let second = edited(&mut side, first, &hash(1), "a casino text");
    assert!(pool(&side).is_empty(), "nobody approved what stands there now");
    assert_eq!((second.record.version, second.record.content.as_str()), (2, "a casino text"));
    assert_eq!(second.record.edited_by.as_deref(), Some("1002:eve"));
    assert_eq!(second.record.review_status, ReviewState::PendingReview);
    assert_eq!(second.record.findings, ["\"casino\" is in it, which is forbidden"], "a score is the generator's");
    assert_eq!((second.record.word_count, second.record.summary.as_str()), (3, "a casino text"));
    let old = record(&side, first).record;
    assert_eq!((old.review_status, old.publish_status), (ReviewState::Superseded, PublishState::Unpublished));
    assert!(old.content.contains("text") && old.edited_by.is_none(), "the old one is kept");
    assert_eq!(side.queries.task(&id(1)).unwrap().unwrap().0.content_id, Some(second.id), "one current record");
    assert_eq!(record(&side, second.id), second);
    let third = edited(&mut side, second.id, "hash of a casino text", "a good text");
    assert_eq!((third.record.version, third.record.findings.len()), (3, 0));
    side.write(review(third.id, ReviewMove::Approved)).unwrap();
    assert_eq!(pool(&side), [(third.id, None)]);
    let of_task = ContentFilter { task: Some(id(1)), ..ContentFilter::default() };
    let versions = side.queries.contents(&of_task, Page::first(9)).unwrap();
    assert_eq!(versions.iter().map(|one| one.record.version).collect::<Vec<_>>(), [3, 2, 1]);
    let trail = side.queries.history(&id(1)).unwrap();
    let edits: Vec<_> = trail.iter().filter(|row| row.event == "content_superseded").collect();
    assert_eq!(edits.len(), 2);
    assert!(edits[0].who == "1002:eve" && edits[0].why.as_deref().unwrap().contains("is version 2"));
}

fn a_new_title_makes_a_version_and_voids_an_approval(mut side: Side) {
    let first = completed(&mut side, true);
    let old = record(&side, first).record;
    let titled = |id: ContentId, base: &str, title: &str| {
        Write::Content(Box::new(ContentWrite::Edit {
            content_id: id,
            base_hash: base.to_owned(),
            title: Some(title.to_owned()),
            rendered: RenderedPiece {
                content: old.content.clone(),
                html: old.html_content.clone(),
                plain_text: old.content.clone(),
                content_hash: format!("hash of {title}"),
            },
            rules: Arc::new(rules()),
            who: "1002:eve".into(),
            now: Timestamp(START + 600),
        }))
    };
    let same = side.write(titled(first, &hash(1), &old.title)).unwrap();
    let Written::Reviewed(same) = same else { panic!("{same:?}") };
    assert_eq!((same.id, pool(&side).len()), (first, 1), "the same title is no version");
    let Written::Reviewed(second) = side.write(titled(first, &hash(1), "A casino of tea")).unwrap() else {
        panic!("no version")
    };
    assert!(pool(&side).is_empty(), "nobody approved that title");
    assert_eq!(record(&side, second.id), *second);
    let (title, text) = (second.record.title.as_str(), second.record.content.as_str());
    assert_eq!((title, text), ("A casino of tea", old.content.as_str()));
    assert_eq!(second.record.quality_score, old.quality_score, "it is the generator's text still");
    assert!(second.record.findings.iter().any(|finding| finding.contains("casino")), "{:?}", second.record.findings);
    let third = edited(&mut side, second.id, "hash of A casino of tea", "another text");
    assert_eq!(third.record.title, "A casino of tea", "a later edit keeps it");
}

fn an_edit_of_what_is_no_more_is_refused(mut side: Side) {
    let first = completed(&mut side, false);
    let second = edited(&mut side, first, &hash(1), "better");
    // Two people began at the same version: the second finds that it is not the current one.
    let late = side.write(edit(first, &hash(1), "mine"));
    assert!(matches!(late, Err(WriteError::ReviewRefused { state: ReviewState::Superseded, .. })), "{late:?}");
    let stale = side.write(edit(second.id, "another hash", "mine"));
    assert!(matches!(stale, Err(WriteError::HashChanged { .. })), "{stale:?}");
    for decision in [ReviewMove::Approved, ReviewMove::Rejected] {
        let old = side.write(review(first, decision));
        assert!(matches!(old, Err(WriteError::ReviewRefused { .. })), "{old:?}");
    }
    assert_eq!(edited(&mut side, second.id, "hash of better", "better"), second, "the same text is no version");
    assert_eq!(side.write(edit(ContentId(77), "h", "x")), Err(WriteError::ContentNotFound(ContentId(77))));
    // A piece outlives its task, and so does its review.
    let cleanup = || Write::Cleanup { finished_before: Timestamp(START + 9_000), after: None, limit: 9 };
    let cleaned = |tasks| Ok(Written::Cleaned { tasks, next: None });
    assert_eq!(side.write(cleanup()), cleaned(vec![]), "it waits for a review");
    side.write(review(second.id, ReviewMove::Rejected)).unwrap();
    assert_eq!(side.write(cleanup()), cleaned(vec![id(1)]));
    let third = edited(&mut side, second.id, "hash of better", "best");
    assert_eq!(third.record.version, 3);
}

fn an_edited_piece_of_an_old_database_is_still_held(mut side: Side) {
    let first = completed(&mut side, false);
    let mark = contentd::store::restored::RestoreMark {
        at: Timestamp(START + 550),
        file: "f".into(),
        who: "0:root".into(),
        is_nothing_since: false,
        is_done: true,
        earlier_doubt: None,
        witnesses: Vec::new(),
    };
    let value = Some(serde_json::to_string(&mark).unwrap());
    let name = contentd::store::restored::SETTING.to_owned();
    side.write(Write::PutSetting { name, value }).unwrap();
    let second = edited(&mut side, first, &hash(1), "after the restore");
    side.write(review(second.id, ReviewMove::Approved)).unwrap();
    let pool = pool(&side);
    assert!(pool[0].1.is_some(), "its first version may have gone out since the backup: {pool:?}");
}

fn again(content_id: ContentId, n: usize, account: AccountId) -> Write {
    let rewrites = Some(id(1));
    Write::Content(Box::new(ContentWrite::WriteAgain {
        content_id,
        expected_hash: None,
        remark: "shorter".into(),
        task: Box::new(NewTask { digest: String::new(), ..new(Task { rewrites, ..task(n, account) }) }),
        max_pending: 100,
        who: "1001:bob".into(),
        now: now(START + 700),
    }))
}

fn written_again(answer: Result<Written, WriteError>) -> (ContentRecord, Rewriting) {
    match answer {
        Ok(Written::Rewritten(content, rewriting)) => (*content, *rewriting),
        other => panic!("{other:?}"),
    }
}

fn a_piece_is_written_again_once(mut side: Side) {
    let first = completed(&mut side, true);
    let (content, rewriting) = written_again(side.write(again(first, 2, AccountId(1))));
    assert_eq!((rewriting.task_id.clone(), rewriting.was_known), (id(2), false));
    assert_eq!(content.record.review_status, ReviewState::Rejected);
    assert_eq!(content.record.rewritten_by, Some(id(2)));
    assert_eq!(content.record.review_reason.as_deref(), Some("shorter"));
    assert_eq!(record(&side, first), content);
    assert!(pool(&side).is_empty());
    let task = side.queries.task(&id(2)).unwrap().unwrap().0;
    assert_eq!((task.state, task.rewrites), (TaskState::Pending, Some(id(1))));
    assert!(side.queries.history(&id(2)).unwrap()[0].why.as_deref().unwrap().contains("again"));
    let Write::Content(mut other) = again(first, 3, AccountId(1)) else { panic!("of content") };
    let ContentWrite::WriteAgain { task, remark, .. } = &mut *other else { panic!("written again") };
    task.task.requirements = Some("another remark".into());
    *remark = "another remark".into();
    let refused = side.write(Write::Content(other));
    assert!(matches!(refused, Err(WriteError::OtherRemark { .. })), "{refused:?}");
    // The same once more, with the id that a second call would make.
    let (_, known) = written_again(side.write(again(first, 3, AccountId(1))));
    assert_eq!((known.task_id, known.was_known, known.submitted.is_some()), (id(2), true, true));
    assert!(side.queries.task(&id(3)).unwrap().is_none(), "nothing is paid for twice");
    // Approving after all makes no difference to the task.
    side.write(review(first, ReviewMove::Approved)).unwrap();
    assert!(written_again(side.write(again(first, 4, AccountId(1)))).1.was_known);
    assert_eq!(pool(&side).len(), 1, "and a repeated call rejects nothing");
}

fn a_piece_that_cannot_be_written_again_stays_as_it_is(mut side: Side) {
    let first = completed(&mut side, true);
    let full = AccountChange { max_pending: Some(Some(1)), ..AccountChange::default() };
    side.write(set(AccountId(1), full)).unwrap();
    side.submit(vec![new(task(9, AccountId(1)))]);
    let before = record(&side, first);
    assert!(matches!(side.write(again(first, 2, AccountId(1))), Err(WriteError::AccountBusy { .. })));
    let closed = AccountChange { max_pending: Some(None), is_enabled: Some(false), ..AccountChange::default() };
    side.write(set(AccountId(1), closed)).unwrap();
    assert!(matches!(side.write(again(first, 2, AccountId(1))), Err(WriteError::AccountDisabled(_))));
    assert_eq!(
        (record(&side, first), pool(&side).len()),
        (before, 1),
        "it is rejected with its new task or not at all"
    );
    side.write(review(first, ReviewMove::Rejected)).unwrap();
    let open = AccountChange { is_enabled: Some(true), ..AccountChange::default() };
    side.write(set(AccountId(1), open)).unwrap();
    let (content, rewriting) = written_again(side.write(again(first, 2, AccountId(1))));
    assert!(!rewriting.was_known, "a rejected piece may be written again later");
    assert_eq!(content.record.review_status, ReviewState::Rejected);
}

/// A piece that came after its task was cancelled.
fn late<B: AsBackend + ?Sized>(side: &mut Side<B>, account: AccountId, n: usize) -> ContentId {
    side.submit(vec![claimed(task(n, account), START + n as i64)]);
    side.change(&id(n), START + 20, accepted(&format!("job of {n}")));
    side.change(&id(n), START + 21, Event::CancelRequested);
    side.change(&id(n), START + 3_600_000, Event::DeadlineReached { is_end_proved: false });
    side.change(&id(n), START + 3_600_001, piece("late")).content_id.unwrap()
}

/// Another piece of that task, which was retried.
fn rerun<B: AsBackend + ?Sized>(side: &mut Side<B>, n: usize) -> ContentRecord {
    side.change(&id(n), START + 3_600_010, Event::RetryRequested { reset_count: true, abandon: None });
    side.change(&id(n), START + 3_600_011, Event::Claimed { key: key_of(&id(n), 7) });
    side.change(&id(n), START + 3_600_012, accepted(&format!("second job of {n}")));
    let changed = side.change(&id(n), START + 3_600_013, piece("second"));
    record(side, changed.content_id.unwrap())
}

fn a_second_piece_waits_behind_an_approved_one(mut side: Side) {
    let ada = side.account("ada").id;
    // Nobody approved the first: it makes way.
    let first = late(&mut side, ada, 1);
    let second = rerun(&mut side, 1);
    assert_eq!((second.record.version, second.record.review_status), (2, ReviewState::Approved));
    assert_eq!(record(&side, first).record.review_status, ReviewState::Superseded);
    // A person approved the first: both would go out, so the second waits.
    let first = late(&mut side, ada, 2);
    side.write(review(first, ReviewMove::Approved)).unwrap();
    let second = rerun(&mut side, 2);
    assert_eq!(second.record.review_status, ReviewState::PendingReview);
    assert!(second.record.findings[0].contains("approved already"), "{:?}", second.record.findings);
    // Approving the second takes the first out.
    side.write(review(second.id, ReviewMove::Approved)).unwrap();
    assert_eq!(record(&side, first).record.review_status, ReviewState::Superseded);
    assert!(pool(&side).iter().all(|(content, _)| *content != first));
}

fn an_approved_piece_is_due_when_the_rules_say(mut side: Side) {
    let ada = side.account("ada").id;
    side.submit(vec![new(task(1, ada)), new(Task { auto_approve: false, ..task(2, ada) })]);
    let times = PublishTimes::of("0 9 * * *", "UTC", |name| TimeZone::get(name).ok()).ok();
    let nine = times.as_ref().and_then(|times| times.due_after(Timestamp(START))).expect("a time");
    let at_nine = PieceRules { times, ..PieceRules::default() };
    complete_under(&mut side, &id(1), at_nine.clone(), "text");
    let by_hand = complete_under(&mut side, &id(2), at_nine, "text");
    let Write::Review { content_id, decision, reason, expected_hash, who, now, .. } =
        review(by_hand, ReviewMove::Approved)
    else {
        panic!("a review")
    };
    side.write(Write::Review { content_id, decision, reason, expected_hash, who, due: Some(nine), now }).unwrap();
    let pool = side.queries.pool(&PoolFilter::default(), Page::first(9)).unwrap();
    assert_eq!(pool.iter().map(|entry| entry.scheduled_at).collect::<Vec<_>>(), [nine, nine]);
    assert!(hand_out_at(&mut side, Timestamp(nine.0 - 1)).is_empty());
    assert_eq!(hand_out_at(&mut side, nine).len(), 2);
}

fn images_are_noted_with_their_piece_and_tried(mut side: Side) {
    let ada = side.account("ada").id;
    side.submit(vec![new(task(1, ada))]);
    side.change(&id(1), START + 10, Event::Claimed { key: key_of(&id(1), START) });
    side.change(&id(1), START + 11, accepted("job"));
    let Event::FetchAnswered(contentd::task::outcome::FetchAnswer::Piece(mut whole)) = piece("text") else { panic!() };
    let urls = ["https://e.org/a.png", "HTTP://e.org/b.png", "file:///etc/passwd", "https://e.org/d.png"];
    whole.images = urls.iter().map(|url| contentd::task::outcome::Image::bare(*url)).collect();
    let event = Event::FetchAnswered(contentd::task::outcome::FetchAnswer::Piece(whole));
    let keeping = PieceRules { images_kept: Some(3), ..PieceRules::default() };
    let Ok(Written::Changed(changed)) = side.write(piece_under(keeping, &id(1), START + 12, event)) else { panic!() };
    let content = changed.content_id.unwrap();
    let images = side.queries.images(content).unwrap();
    let states: Vec<_> = images.iter().map(|image| image.state.as_str()).collect();
    assert_eq!(states, ["waiting", "waiting", "given_up", "given_up"]);
    assert!(images[2].error.as_deref().unwrap().contains("only http"));
    assert!(images[3].error.as_deref().unwrap().contains("max_per_piece"));
    let due = side.queries.images_due(Timestamp(START + 12), 9).unwrap();
    assert_eq!(due, images[..2]);
    assert_eq!(side.queries.images_due(Timestamp(START + 12), 1).unwrap(), images[..1]);
    assert!(side.queries.images_due(Timestamp(START + 11), 9).unwrap().is_empty());
    let came = |id, tries_before, state, error: Option<&str>| {
        let error = error.map(str::to_owned);
        Write::Image(ImageWrite { id, tries_before, state, error, now: Timestamp(START + 20) })
    };
    let kept = ImageState::Kept { file: "ab.png".into(), media_type: "image/png".into(), bytes: 7 };
    side.write(came(images[0].id, 0, kept.clone(), None)).unwrap();
    let later = ImageState::Waiting { wake_at: Timestamp(START + 900) };
    side.write(came(images[1].id, 0, later.clone(), Some("503"))).unwrap();
    // An answer that comes late changes nothing.
    side.write(came(images[1].id, 0, ImageState::GivenUp, Some("late"))).unwrap();
    side.write(came(images[0].id, 1, ImageState::GivenUp, Some("late"))).unwrap();
    side.write(came(4_711, 0, ImageState::GivenUp, None)).unwrap();
    let images = side.queries.images(content).unwrap();
    assert_eq!((&images[0].state, images[0].tries), (&kept, 1));
    assert_eq!((&images[1].state, images[1].error.as_deref()), (&later, Some("503")));
    assert_eq!(side.queries.next_image_after(Timestamp(START + 20)).unwrap(), Some(Timestamp(START + 900)));
    assert_eq!(side.queries.next_image_after(Timestamp(START + 900)).unwrap(), None);
    side.write(shift(1_000)).unwrap();
    assert_eq!(side.queries.next_image_after(Timestamp(START)).unwrap(), Some(Timestamp(START + 1_900)));
    // A new version has the same images, and what is kept is not fetched again.
    let second = edited(&mut side, content, &hash(1), "a text");
    let copied = side.queries.images(second.id).unwrap();
    assert_eq!(copied.iter().map(|image| &image.state).collect::<Vec<_>>()[0], &kept);
    assert_eq!(copied.len(), 4);
}

fn what_waits_is_shown_oldest_first(mut side: Side) {
    let ada = side.account("ada").id;
    for n in 1..=3 {
        side.submit(vec![new(Task { auto_approve: false, ..task(n, ada) })]);
        complete_under(&mut side, &id(n), PieceRules::default(), "text");
    }
    let review = Some(ReviewState::PendingReview);
    let waiting = ContentFilter { review, is_oldest_first: true, ..ContentFilter::default() };
    let ids = |page| side.queries.contents(&waiting, page).unwrap().iter().map(|one| one.id.0).collect::<Vec<_>>();
    assert_eq!(ids(Page::first(9)), [1, 2, 3]);
    assert_eq!(ids(Page { limit: 1, offset: 1, before: None }), [2]);
}

fn raw(path: &std::path::Path) -> SqliteConnection {
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
    connection
}

#[test]
fn what_is_out_is_neither_edited_nor_written_again_nor_replaced() {
    let (backend, queries, directory) = real();
    let path = directory.path().join("contentd.db");
    let mut side = Side::of(backend, queries);
    let first = completed(&mut side, true);
    let entry = hand_out(&mut side);
    for state in [PoolState::Publishing, PoolState::Published] {
        if state == PoolState::Published {
            say(&mut side, entry, PoolEvent::Done(Default::default()));
        }
        assert_eq!(side.write(edit(first, &hash(1), "x")), Err(WriteError::AlreadyPublished(first)), "{state}");
        let again = side.write(again(first, 2, AccountId(1)));
        assert_eq!(again, Err(WriteError::AlreadyPublished(first)), "{state}");
    }
    assert_eq!(record(&side, first).record.review_status, ReviewState::Approved);
    assert!(side.queries.task(&id(2)).unwrap().is_none());
    assert_eq!(check::judge(&path).unwrap().findings, []);
    let second = leave_second_version(&path);
    let out = WriteError::OtherVersionOut { content_id: second, other: first };
    assert_eq!(side.write(review(second, ReviewMove::Approved)), Err(out));
}

#[test]
fn a_version_that_could_not_be_published_makes_way() {
    let (backend, queries, directory) = real();
    let mut side = Side::of(backend, queries);
    let first = completed(&mut side, true);
    let entry = hand_out(&mut side);
    say(&mut side, entry, PoolEvent::Failed { error: "too long".into(), is_final: true });
    let second = leave_second_version(&directory.path().join("contentd.db"));
    side.write(review(second, ReviewMove::Approved)).unwrap();
    assert_eq!(record(&side, first).record.review_status, ReviewState::Superseded);
    assert_eq!(pool(&side), [(second, None)]);
}

/// The promises of `check.rs` hold after a life with every kind of version, and a broken one is named.
#[test]
fn versions_keep_the_promises_of_a_database() {
    let (backend, queries, directory) = real();
    let mut side = Side::of(backend, queries.clone());
    let ada = side.account("ada").id;
    side.submit(vec![new(task(1, ada))]);
    let first = side.complete(&id(1), START + 10).content_id.unwrap();
    let Ok(Written::Reviewed(second)) = side.write(edit(first, &hash(1), "second")) else { panic!("edited") };
    side.write(review(second.id, ReviewMove::Approved)).unwrap();
    side.write(again(second.id, 2, ada)).unwrap();
    let path = directory.path().join("contentd.db");
    let judged = || check::judge(&path).unwrap().findings;
    assert_eq!(judged(), []);
    for (broken, words) in [
        ("UPDATE contents SET review_status = 'pending_review' WHERE version = 1", "is version 1 of 2"),
        ("UPDATE tasks SET content_id = 1 WHERE content_id = 2", "is not the newest of it"),
        ("UPDATE contents SET rewritten_by = 'task-000000000001' WHERE version = 2", "does not name it"),
        ("UPDATE accounts SET defaults = '{\"priority\": 11}'", "a priority of 11"),
    ] {
        let mut connection = raw(&path);
        connection.batch_execute("SAVEPOINT s; DROP TRIGGER guard_contents_review_status").unwrap();
        connection.batch_execute(broken).unwrap();
        let found = check::promises(&mut connection).unwrap();
        assert!(found.iter().any(|finding| finding.found.contains(words)), "{broken}: {found:?}");
        connection.batch_execute("ROLLBACK TO s; RELEASE s").unwrap();
    }
    assert_eq!(judged(), []);
}
