//! What a task costs the database again and again is prepared once: a statement that Diesel does not keep is prepared at each
//! call, with all triggers of its table, which takes longer than to carry it out.

use std::cell::RefCell;
use std::collections::BTreeSet;

use contentd::publish::{Holder, PoolEvent, PublishPolicy};
use contentd::store::query::{Page, PoolFilter};
use contentd::store::sqlite::SqliteBackend;
use contentd::store::write::{HandOut, PoolWrite, Write, Written};
use contentd::task::Timestamp;
use contentd::task::content::{PoolState, ReviewMove};
use contentd::task::outcome::JobState;
use diesel::connection::InstrumentationEvent;
use diesel::prelude::*;

use super::common::*;

#[derive(Default)]
struct Seen {
    kept: BTreeSet<String>,
    asked: BTreeSet<String>,
}

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
}

fn note(event: InstrumentationEvent<'_>) {
    SEEN.with_borrow_mut(|seen| match event {
        InstrumentationEvent::CacheQuery { sql, .. } => {
            seen.kept.insert(sql.trim().to_owned());
        }
        InstrumentationEvent::StartQuery { query, .. } => {
            let text = query.to_string();
            seen.asked.insert(text.split("-- binds:").next().unwrap_or_default().trim().to_owned());
        }
        _ => {}
    });
}

#[test]
fn every_statement_of_a_tasks_life_is_kept_prepared() {
    let (mut backend, queries, _directory) = real();
    backend.connection().set_instrumentation(note);
    let mut side = Side::of(backend, queries);
    let account = side.account("demo");
    let mut backend = side.into_backend();
    for n in 1..=3 {
        // The last life shows what is asked once everything is prepared.
        SEEN.with_borrow_mut(|seen| seen.asked.clear());
        let at = START + 1000 * n as i64;
        let mut write = |write| one(&mut backend, write).expect("it is written");
        write(submit(vec![claimed(task(2 * n, account.id), at)]));
        write(submit(vec![new(task(2 * n + 1, account.id))]));
        let events =
            [accepted(&format!("job {n}")), polled(JobState::Processing), polled(JobState::Completed), piece("words")];
        for (step, event) in events.into_iter().enumerate() {
            write(event_of(&id(2 * n), at + 1 + step as i64, event));
        }
    }
    assert_all_kept();
}

fn assert_all_kept() {
    // The bounds of a transaction have no values and are short.
    let is_bound = |sql: &str| ["BEGIN", "COMMIT", "SAVEPOINT", "RELEASE"].iter().any(|word| sql.starts_with(word));
    SEEN.with_borrow(|seen| {
        assert!(seen.asked.iter().any(|sql| sql.starts_with("UPDATE")), "{:?}", seen.asked);
        let anew: Vec<_> = seen.asked.difference(&seen.kept).filter(|sql| !is_bound(sql)).collect();
        assert!(anew.is_empty(), "prepared at each call: {anew:#?}");
    });
}

#[test]
fn every_statement_about_a_piece_in_doubt_is_kept_prepared() {
    let (mut backend, queries, _directory) = real();
    backend.connection().set_instrumentation(note);
    let mut side = Side::of(backend, queries);
    let account = side.account("demo");
    let harmless = PublishPolicy { is_idempotent: true, ..PublishPolicy::default() };
    for n in 1..=3 {
        SEEN.with_borrow_mut(|seen| seen.asked.clear());
        side.submit(vec![new(task(n, account.id))]);
        let first = side.complete(&id(n), START + 10).pool_id.expect("it is approved");
        let mut at = START + 1_000_000 * n as i64;
        let mut hand_out = |side: &mut Side<SqliteBackend>| {
            at += 1_000;
            let asked = HandOut {
                holder: Holder::Consumer("1:x".into()),
                only: Some(first),
                account: None,
                limit: 1,
                request: None,
                knows_its_keys: false,
                lease_until: Timestamp(at + 500),
                now: Timestamp(at),
            };
            side.write(Write::Pool(PoolWrite::HandOut(Box::new(asked)))).expect("it is due");
        };
        let say = |side: &mut Side<SqliteBackend>, id, event| {
            let happened = PoolWrite::Happened {
                id,
                fence: None,
                event: Box::new(event),
                policy: Box::new(harmless.clone()),
                draw: 0.5,
                who: "1:x".into(),
                answers_for_all: true,
                now: Timestamp(START + 1_000),
            };
            side.write(Write::Pool(happened)).expect("it fits");
        };
        hand_out(&mut side);
        say(&mut side, first, PoolEvent::LeaseEnded);
        hand_out(&mut side);
        say(&mut side, first, PoolEvent::Failed { error: "duplicate".into(), is_final: true });
        let (entry, _) = side.queries.pool_entry(first).expect("a question").expect("an entry");
        for decision in [ReviewMove::Rejected, ReviewMove::Approved] {
            let (content_id, reason, expected_hash, who) = (entry.content_id, None, None, "1:x".to_owned());
            let now = Timestamp(START + 2_000);
            side.write(Write::Review { content_id, decision, reason, expected_hash, who, due: None, now })
                .expect("it is reviewed");
        }
        let held = side.queries.pool(&PoolFilter::default(), Page::first(9)).expect("a question");
        let held = held.iter().find(|entry| entry.status == PoolState::Held).expect("it is held").id;
        say(&mut side, held, PoolEvent::Settled { published: None, reason: "looked".into() });
        say(&mut side, held, PoolEvent::Removed { reason: None });
    }
    assert_all_kept();
}

#[derive(QueryableByName)]
struct Kept {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    temp_store: i64,
}

#[test]
fn what_touches_many_tasks_is_not_kept_in_memory_to_be_undone() {
    let (mut backend, _queries, _directory) = real();
    let account = Write::AddAccount { name: "demo".into(), external_id: None, now: Timestamp(START) };
    let Written::Account(account) = one(&mut backend, account).expect("it is written") else { panic!("no account") };
    // As `PRAGMA temp_store` says it.
    const FILE: i64 = 1;
    const MEMORY: i64 = 2;
    for (write, expected) in [
        (submit(vec![new(task(1, account.id)), new(task(2, account.id))]), MEMORY),
        (shift(1_000), FILE),
        (submit(vec![new(task(3, account.id))]), MEMORY),
        (submit((4..=204).map(|number| new(task(number, account.id))).collect()), FILE),
        (submit(vec![new(task(205, account.id))]), MEMORY),
    ] {
        one(&mut backend, write).expect("it is written");
        let kept: Kept = diesel::sql_query("PRAGMA temp_store").get_result(backend.connection()).expect("it tells");
        assert_eq!(kept.temp_store, expected);
    }
}
