//! Accounts with defaults and limits, the rules of the review, due times, images.

use contentd::publish::PublishTimes;
use contentd::store::query::{ContentFilter, Page, PoolFilter};
use contentd::store::write::{
    Account, AccountEntry, AccountOutcome, AccountWrite, ImageWrite, PieceRules, Write, WriteError, Written,
};
use contentd::task::account::{AccountChange, AccountDefaults, AccountLimits};
use contentd::task::content::{PublishState, ReviewMove, ReviewState};
use contentd::task::image::ImageState;
use contentd::task::{AccountId, Event, Task, TaskState, Timestamp};
use jiff::tz::TimeZone;

use super::common::*;
use super::pieces::*;

on_every_backend! {
    an_account_is_changed_and_comes_back,
    a_list_of_accounts_is_taken_whole_or_not_at_all,
    an_account_with_enough_tasks_is_busy,
    rules_decide_about_what_approves_itself,
    what_holds_broken_characters_waits_for_a_person,
    an_approved_piece_is_due_when_the_rules_say,
    images_are_noted_with_their_piece_and_tried,
    what_waits_is_shown_oldest_first,
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
