//! Short names for pieces: how one is made, edited, reviewed, handed out.

use std::sync::Arc;

use contentd::publish::{Holder, PoolEvent, PublishPolicy};
use contentd::store::query::{Page, PoolFilter};
use contentd::store::write::{
    AccountWrite, ContentWrite, HandOut, NewTask, PieceRules, PoolWrite, PoolWritten, Rewriting, Write, WriteError,
    Written,
};
use contentd::task::account::AccountChange;
use contentd::task::content::{ContentRecord, RenderedPiece, ReviewMove};
use contentd::task::review::{Phrase, ReviewRules};
use contentd::task::{AccountId, ContentId, Event, PoolId, Task, TaskId, Timestamp};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::common::*;

/// A rule-bound transition, as the daemon writes it.
pub fn piece_under(rules: PieceRules, id: &TaskId, at: i64, event: Event) -> Write {
    let Write::Transition(mut transition) = event_of(id, at, event) else { panic!("a transition") };
    transition.rules = Arc::new(rules);
    Write::Transition(transition)
}

pub fn complete_under<B: AsBackend + ?Sized>(
    side: &mut Side<B>,
    id: &TaskId,
    rules: PieceRules,
    text: &str,
) -> ContentId {
    side.change(id, START + 10, Event::Claimed { key: key_of(id, START) });
    side.change(id, START + 11, accepted(&format!("job of {id}")));
    match side.write(piece_under(rules, id, START + 12, piece(text))) {
        Ok(Written::Changed(changed)) => changed.content_id.expect("a piece"),
        other => panic!("{other:?}"),
    }
}

pub fn completed<B: AsBackend + ?Sized>(side: &mut Side<B>, auto_approve: bool) -> ContentId {
    let ada = side.account("ada").id;
    side.submit(vec![new(Task { auto_approve, ..task(1, ada) })]);
    complete_under(side, &id(1), PieceRules::default(), "text")
}

pub fn record<B: AsBackend + ?Sized>(side: &Side<B>, id: ContentId) -> ContentRecord {
    side.queries.content(id).unwrap().unwrap()
}

pub fn pool<B: AsBackend + ?Sized>(side: &Side<B>) -> Vec<(ContentId, Option<String>)> {
    let entries = side.queries.pool(&PoolFilter::default(), Page::first(9)).unwrap();
    entries.into_iter().map(|entry| (entry.content_id, entry.held_reason)).collect()
}

pub fn edit(content_id: ContentId, base: &str, text: &str) -> Write {
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

pub fn edited<B: AsBackend + ?Sized>(
    side: &mut Side<B>,
    content_id: ContentId,
    base: &str,
    text: &str,
) -> ContentRecord {
    match side.write(edit(content_id, base, text)) {
        Ok(Written::Reviewed(record)) => *record,
        other => panic!("{other:?}"),
    }
}

pub fn review(content_id: ContentId, decision: ReviewMove) -> Write {
    let (reason, who, now) = (None, "1001:bob".to_owned(), Timestamp(START + 500));
    Write::Review { content_id, decision, reason, expected_hash: None, who, due: None, now }
}

/// Hands out what is due, two entries at most.
pub fn hand_out_at<B: AsBackend + ?Sized>(side: &mut Side<B>, now: Timestamp) -> Vec<PoolId> {
    hand_out_to(side, Holder::Consumer("site".into()), now)
}

pub fn hand_out_to<B: AsBackend + ?Sized>(side: &mut Side<B>, holder: Holder, now: Timestamp) -> Vec<PoolId> {
    let hand_out = HandOut {
        holder,
        only: None,
        account: None,
        limit: 2,
        request: None,
        knows_its_keys: false,
        lease_until: Timestamp(now.0 + 10_000),
        now,
    };
    match side.write(Write::Pool(PoolWrite::HandOut(Box::new(hand_out)))) {
        Ok(Written::Pool(PoolWritten::HandedOut(given))) => given.iter().map(|(entry, _)| entry.id).collect(),
        other => panic!("{other:?}"),
    }
}

/// Hands the one entry of the pool out.
pub fn hand_out<B: AsBackend + ?Sized>(side: &mut Side<B>) -> PoolId {
    let given = hand_out_at(side, Timestamp(START + 80_000));
    assert_eq!(given.len(), 1);
    given[0]
}

/// What its holder or a person says of an entry.
pub fn say<B: AsBackend + ?Sized>(side: &mut Side<B>, id: PoolId, event: PoolEvent) {
    say_under(side, id, event, PublishPolicy::default());
}

pub fn say_under<B: AsBackend + ?Sized>(side: &mut Side<B>, id: PoolId, event: PoolEvent, policy: PublishPolicy) {
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

pub fn hash(n: usize) -> String {
    format!("hash of {}", id(n))
}

pub fn again(content_id: ContentId, n: usize, account: AccountId) -> Write {
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

pub fn raw(path: &std::path::Path) -> SqliteConnection {
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
    connection
}

pub fn rules() -> PieceRules {
    let forbidden = Phrase::new("casino").into_iter().collect();
    let review = ReviewRules { min_score: Some(0.9), min_words: Some(2), forbidden, ..ReviewRules::default() };
    PieceRules { review, ..PieceRules::default() }
}

pub fn set(id: AccountId, change: AccountChange) -> Write {
    Write::Account(AccountWrite::Set { id, change: Box::new(change) })
}

/// A second version of the first piece, as an older contentd may have left one.
pub fn leave_second_version(path: &std::path::Path) -> ContentId {
    let second = "INSERT INTO contents (task_id, account_id, version, title, summary, images, word_count, review_status, \
         publish_status, content_hash, created_at, updated_at, content, html_content) SELECT task_id, account_id, 2, title, \
         summary, images, word_count, 'pending_review', 'unpublished', 'h', created_at, updated_at, content, html_content \
         FROM contents WHERE id = 1";
    raw(path).batch_execute(second).unwrap();
    ContentId(2)
}

pub fn written_again(answer: Result<Written, WriteError>) -> (ContentRecord, Rewriting) {
    match answer {
        Ok(Written::Rewritten(content, rewriting)) => (*content, *rewriting),
        other => panic!("{other:?}"),
    }
}

/// A piece that came after its task was cancelled.
pub fn late<B: AsBackend + ?Sized>(side: &mut Side<B>, account: AccountId, n: usize) -> ContentId {
    side.submit(vec![claimed(task(n, account), START + n as i64)]);
    side.change(&id(n), START + 20, accepted(&format!("job of {n}")));
    side.change(&id(n), START + 21, Event::CancelRequested);
    side.change(&id(n), START + 3_600_000, Event::DeadlineReached { is_end_proved: false });
    side.change(&id(n), START + 3_600_001, piece("late")).content_id.unwrap()
}

/// Another piece of that task, which was retried.
pub fn rerun<B: AsBackend + ?Sized>(side: &mut Side<B>, n: usize) -> ContentRecord {
    side.change(&id(n), START + 3_600_010, Event::RetryRequested { reset_count: true, abandon: None });
    side.change(&id(n), START + 3_600_011, Event::Claimed { key: key_of(&id(n), 7) });
    side.change(&id(n), START + 3_600_012, accepted(&format!("second job of {n}")));
    let changed = side.change(&id(n), START + 3_600_013, piece("second"));
    record(side, changed.content_id.unwrap())
}
