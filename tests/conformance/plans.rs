//! Every question goes by an index: the statements are caught as Diesel sends them, and SQLite tells its plan for each.

use std::cell::RefCell;

use contentd::store::query::{ContentFilter, Page, PoolFilter, Queries, TaskFilter};
use contentd::store::sqlite::SqliteQueries;
use contentd::store::write::{NewTask, PendingLimits, Write};
use contentd::task::content::{PoolState, ReviewMove, ReviewState};
use contentd::task::{AccountId, ContentId, Event, GeneratorName, TaskState, Timestamp};
use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::common::*;

thread_local! {
    static CAUGHT: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes every statement on the thread that sends it.
fn catch(event: InstrumentationEvent<'_>) {
    if let InstrumentationEvent::StartQuery { query, .. } = event {
        let text = query.to_string();
        let sql = text.split("-- binds:").next().unwrap_or_default().trim().to_owned();
        CAUGHT.with_borrow_mut(|caught| caught.push(sql));
    }
}

fn caught(ask: impl FnOnce()) -> Vec<String> {
    CAUGHT.with_borrow_mut(Vec::clear);
    ask();
    let is_question = |sql: &String| {
        ["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE"].iter().any(|verb| sql.starts_with(verb))
            && !sql.contains("sqlite_schema")
    };
    CAUGHT.with_borrow(|caught| caught.iter().filter(|sql| is_question(sql)).cloned().collect())
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = diesel::sql_types::Text)]
    detail: String,
}

fn plan(connection: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let lines = diesel::sql_query(format!("EXPLAIN QUERY PLAN {sql}")).load::<Line>(connection);
    lines.unwrap_or_else(|error| panic!("{sql}: {error}")).into_iter().map(|line| line.detail).collect()
}

/// What a plan does that grows with the history; small tables may be read whole.
fn faults(lines: &[String]) -> Vec<&String> {
    let is_small = |line: &str| ["lanes", "l", "state_counts", "accounts"].contains(&line);
    let is_fault = |line: &&String| {
        let scanned = line.strip_prefix("SCAN ").map(|rest| rest.split(' ').next().unwrap_or_default());
        let is_scan = scanned.is_some_and(|table| !is_small(table) && table != "CONSTANT" && !table.starts_with('('));
        is_scan || line.contains("USE TEMP B-TREE") || line.contains("AUTOMATIC")
    };
    lines.iter().filter(is_fault).collect()
}

/// An answer that is not looked at.
fn seen<T>(_: T) {}

/// A database with several lanes, so that every way of the code is gone.
fn several_lanes() -> (Side<contentd::store::sqlite::SqliteBackend>, SqliteQueries, tempfile::TempDir) {
    let installed =
        diesel::connection::set_default_instrumentation(|| Some(Box::new(catch) as Box<dyn Instrumentation>));
    installed.expect("the instrumentation of new connections");
    let (backend, queries, directory) = real();
    let mut side = Side::of(backend, queries.clone());
    for n in 1..=3 {
        let account = side.account(&format!("a{n}")).id;
        side.submit(vec![new(task(n, account))]);
    }
    (side, queries, directory)
}

#[test]
fn no_question_reads_the_history() {
    let (_side, queries, _directory) = several_lanes();
    let mut connection = queries.connection().unwrap();
    let page = Page { limit: 2, offset: 1, before: Some(1_000) };
    let any = TaskFilter::default;
    let mut wrong = Vec::new();
    let mut check = |name: &str, allowed: &[&str], ask: &dyn Fn(&dyn Queries)| {
        let statements = caught(|| ask(&queries));
        assert!(!statements.is_empty(), "{name}: nothing was asked");
        for sql in statements {
            let lines = plan(&mut connection, &sql);
            for fault in faults(&lines).into_iter().filter(|fault| !allowed.contains(&fault.as_str())) {
                wrong.push(format!("{name}: {fault}\n    {sql}\n    {lines:?}"));
            }
        }
    };
    let list = |filter: TaskFilter| {
        move |queries: &dyn Queries| {
            queries.tasks(&filter, page).unwrap();
            queries.tasks(&filter, Page::first(10)).unwrap();
        }
    };
    // Newest first without a condition is the table's own order, and ends at the page's limit.
    check("tasks", &["SCAN tasks"], &list(any()));
    check("tasks by state", &[], &list(TaskFilter { states: vec![TaskState::Completed, TaskState::Failed], ..any() }));
    check("tasks by account", &[], &list(TaskFilter { account: Some(AccountId(1)), ..any() }));
    check("tasks by generator", &[], &list(TaskFilter { generator: Some("assumed".into()), ..any() }));
    check("tasks since", &[], &list(TaskFilter { since: Some(Timestamp(START)), ..any() }));
    check("tasks by error", &[], &list(TaskFilter { error: Some("x".into()), ..any() }));
    check("tasks overdue", &[], &list(TaskFilter { overdue_at: Some(now(START)), ..any() }));
    let all = TaskFilter {
        states: vec![TaskState::Failed],
        account: Some(AccountId(1)),
        generator: Some("assumed".into()),
        since: Some(Timestamp(START)),
        error: Some("x".into()),
        overdue_at: None,
    };
    check("tasks by everything", &[], &list(all));
    check("find_task", &[], &|queries| seen(queries.find_task("task-0").unwrap()));
    check("task", &[], &|queries| seen(queries.task(&id(1)).unwrap()));
    check("attempts", &[], &|queries| seen(queries.attempts(&id(1)).unwrap()));
    check("history", &[], &|queries| seen(queries.history(&id(1)).unwrap()));
    check("pending", &[], &|queries| seen(queries.pending(Timestamp(START), Page::first(1)).unwrap()));
    check("pending, all lanes", &[], &|queries| seen(queries.pending(Timestamp(START), Page::first(9)).unwrap()));
    check("lane_heads", &[], &|queries| seen(queries.lane_heads(Timestamp(START), 2, 1, &Default::default()).unwrap()));
    let generator = GeneratorName("assumed".into());
    check("oldest_ready", &[], &|queries| {
        seen(queries.oldest_ready(Timestamp(START), &generator, AccountId(1)).unwrap());
    });
    check("next_ready", &[], &|queries| seen(queries.next_ready(Timestamp(START)).unwrap()));
    check("counts", &[], &|queries| seen(queries.counts().unwrap()));
    check("due", &[], &|queries| seen(queries.due(Timestamp(START), 10).unwrap()));
    check("next_wake", &[], &|queries| seen(queries.next_wake(Timestamp(START)).unwrap()));
    check("active", &[], &|queries| seen(queries.active().unwrap()));
    // Only attempts that may be alive stand in this index, and only they are grouped.
    let alive = ["SCAN a USING INDEX attempts_alive", "USE TEMP B-TREE FOR GROUP BY"];
    check("in_flight", &alive, &|queries| seen(queries.in_flight().unwrap()));
    // A day's submits of one generator, grouped by account.
    check("submits_since", &["USE TEMP B-TREE FOR GROUP BY"], &|queries| {
        seen(queries.submits_since(&"x".into(), Timestamp(1)).unwrap())
    });
    check("durations", &[], &|queries| seen(queries.durations(&"x".into(), 10).unwrap()));
    check("key_uses", &[], &|queries| seen(queries.key_uses(&["a".into(), "b".into()]).unwrap()));
    check("find_account", &[], &|queries| seen(queries.find_account("1").unwrap()));
    check("count_finished_before", &[], &|queries| seen(queries.count_finished_before(Timestamp(1)).unwrap()));
    check("content", &[], &|queries| seen(queries.content(ContentId(1)).unwrap()));
    check("settings", &[], &|queries| seen(queries.settings("pause/").unwrap()));
    for (name, account, review, task) in [
        ("by account", Some(AccountId(1)), None, None),
        ("by review", None, Some(ReviewState::PendingReview), None),
        ("by task", None, None, Some(id(1))),
        ("by account and review", Some(AccountId(1)), Some(ReviewState::Approved), None),
    ] {
        let filter = ContentFilter { account, review, task };
        // A task has as many pieces as it has versions.
        let few = if filter.task.is_some() { vec!["USE TEMP B-TREE FOR ORDER BY"] } else { Vec::new() };
        check(&format!("contents {name}"), &few, &|queries| {
            seen(queries.contents(&filter, Page::first(9)).unwrap());
            seen(queries.contents(&filter, page).unwrap());
        });
    }
    check("contents", &["SCAN contents"], &|queries| {
        seen(queries.contents(&ContentFilter::default(), Page::first(9)).unwrap());
    });
    for filter in [
        PoolFilter::default(),
        PoolFilter { account: Some(AccountId(1)), status: None },
        PoolFilter { account: None, status: Some(PoolState::Published) },
    ] {
        check("pool", &[], &|queries| seen(queries.pool(&filter, page).unwrap()));
    }
    // Each is grouped by its state: ten groups at most.
    let groups = ["USE TEMP B-TREE FOR GROUP BY"];
    check("statistics", &groups, &|queries| {
        seen(queries.statistics(Some(Timestamp(START)), None, None).unwrap());
        seen(queries.statistics(Some(Timestamp(START)), Some(AccountId(1)), None).unwrap());
        seen(queries.statistics(Some(Timestamp(START)), None, Some(&"assumed".into())).unwrap());
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_write_reads_the_history() {
    let (mut side, queries, _directory) = several_lanes();
    let statements = caught(|| {
        let mut keyed = task(9, AccountId(1));
        keyed.key = Some("k".into());
        let limits = PendingLimits { in_all: Some(100), of_account: Some(50) };
        side.submit(vec![NewTask { limits, ..new(keyed) }]);
        let content_id = side.complete(&id(9), START + 10).content_id.unwrap();
        for decision in [ReviewMove::Rejected, ReviewMove::Approved] {
            let (reason, expected_hash, who) = (None, None, "1:x".to_owned());
            let review = Write::Review { content_id, decision, reason, expected_hash, who, now: Timestamp(START) };
            side.write(review).unwrap();
        }
        side.change(&id(1), START + 20, Event::CancelRequested);
        side.write(Write::Cleanup { finished_before: Timestamp(START + 99), limit: 5 }).unwrap();
        for value in [Some("1".to_owned()), None] {
            side.write(Write::PutSetting { name: "x".into(), value }).unwrap();
        }
    });
    assert!(statements.len() > 30, "{statements:#?}");
    let mut connection = queries.connection().unwrap();
    for sql in statements {
        let lines = plan(&mut connection, &sql);
        // A new parent row is looked for among children only while a foreign key is violated, which never is so here.
        let is_parent = sql.starts_with("INSERT INTO `contents`");
        assert!(is_parent || faults(&lines).is_empty(), "{sql}\n{lines:?}");
    }
}
