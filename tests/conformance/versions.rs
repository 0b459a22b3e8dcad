//! Versions of a piece: edits, pieces that are written again, second pieces.

use std::sync::Arc;

use contentd::publish::PoolEvent;
use contentd::store::query::{ContentFilter, Page};
use contentd::store::sqlite::check;
use contentd::store::write::{ContentWrite, Write, WriteError, Written};
use contentd::task::account::AccountChange;
use contentd::task::content::{PoolState, PublishState, RenderedPiece, ReviewMove, ReviewState};
use contentd::task::{AccountId, ContentId, TaskState, Timestamp};
use diesel::connection::SimpleConnection;

use super::common::*;
use super::pieces::*;

on_every_backend! {
    an_edit_makes_a_version_and_voids_an_approval,
    a_new_title_makes_a_version_and_voids_an_approval,
    an_edit_of_what_is_no_more_is_refused,
    an_edited_piece_of_an_old_database_is_still_held,
    a_piece_is_written_again_once,
    a_piece_that_cannot_be_written_again_stays_as_it_is,
    a_second_piece_waits_behind_an_approved_one,
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
