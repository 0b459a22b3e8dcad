//! What a task costs the database again and again is prepared once: a statement that Diesel does not keep is prepared at each
//! call, with all triggers of its table, which takes longer than to carry it out.

use std::cell::RefCell;
use std::collections::BTreeSet;

use contentd::task::outcome::JobState;
use diesel::Connection as _;
use diesel::connection::InstrumentationEvent;

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
    // The bounds of a transaction have no values and are short.
    let is_bound = |sql: &str| ["BEGIN", "COMMIT", "SAVEPOINT", "RELEASE"].iter().any(|word| sql.starts_with(word));
    SEEN.with_borrow(|seen| {
        assert!(seen.asked.iter().any(|sql| sql.starts_with("UPDATE")), "{:?}", seen.asked);
        let anew: Vec<_> = seen.asked.difference(&seen.kept).filter(|sql| !is_bound(sql)).collect();
        assert!(anew.is_empty(), "prepared at each call: {anew:#?}");
    });
}
