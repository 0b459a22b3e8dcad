//! Every question goes by an index: the statements are caught as Diesel sends them, and SQLite tells its plan for each.

use std::cell::RefCell;

use contentd::publish::{Holder, PoolEvent};
use contentd::schedule::{FireId, FireMove, ScheduleId};
use contentd::store::query::notice::SummaryFilter;
use contentd::store::query::{ContentFilter, LongText, Page, PoolFilter, Queries, SearchBounds, TaskFilter};
use contentd::store::sqlite::SqliteQueries;
use contentd::store::write::{
    AccountWrite, ContentWrite, HandOut, ImageWrite, NewTask, PendingLimits, PoolWrite, ScheduleWrite, Taken, Write,
    Written,
};
use contentd::task::account::AccountChange;
use contentd::task::content::{PoolState, RenderedPiece, ReviewMove, ReviewState};
use contentd::task::image::ImageState;
use contentd::task::{AccountId, ContentId, Event, GeneratorName, PoolId, TaskState, Timestamp};
use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::common::*;
use super::schedules::{new_schedule, submit_of};

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
    check("tasks by error", &[], &|queries| {
        let filter = TaskFilter { error: Some("x".into()), ..any() };
        queries.search(&filter, "", page, SearchBounds::default()).unwrap();
        queries.search(&filter, "", Page::first(10), SearchBounds::default()).unwrap();
    });
    check("tasks by topic", &[], &|queries| {
        queries.search(&any(), "x", page, SearchBounds::default()).unwrap();
        queries.search(&any(), "x", Page::first(10), SearchBounds::default()).unwrap();
    });
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
    check("attempts_without_output", &[], &|queries| seen(queries.attempts_without_output(&id(1)).unwrap()));
    for text in [LongText::Piece(ContentId(1)), LongText::Html(ContentId(1)), LongText::RawOutput(id(1), 1)] {
        check("text_part", &[], &|queries| seen(queries.text_part(&text, 0, 1).unwrap()));
    }
    check("content_without_piece", &[], &|queries| seen(queries.content_without_piece(ContentId(1)).unwrap()));
    check("history", &[], &|queries| seen(queries.history(&id(1)).unwrap()));
    check("pending", &[], &|queries| seen(queries.pending(Timestamp(START), Page::first(1)).unwrap()));
    check("pending, all lanes", &[], &|queries| seen(queries.pending(Timestamp(START), Page::first(9)).unwrap()));
    check("lane_heads", &[], &|queries| seen(queries.lane_heads(Timestamp(START), 2, 1, &Default::default()).unwrap()));
    let generator = GeneratorName("assumed".into());
    check("oldest_of_lane", &[], &|queries| {
        seen(queries.oldest_of_lane(Timestamp(START), &generator, AccountId(1)).unwrap());
    });
    check("next_ready", &[], &|queries| seen(queries.next_ready(Timestamp(START)).unwrap()));
    check("counts", &[], &|queries| seen(queries.counts().unwrap()));
    check("due", &[], &|queries| seen(queries.due(Timestamp(START), 10, &Default::default()).unwrap()));
    check("next_wake", &[], &|queries| seen(queries.next_wake(Timestamp(START)).unwrap()));
    check("active", &[], &|queries| seen(queries.active().unwrap()));
    // Only attempts that may be alive stand in this index, and only they are grouped.
    let alive = ["SCAN a USING INDEX attempts_alive", "USE TEMP B-TREE FOR GROUP BY"];
    check("in_flight", &alive, &|queries| seen(queries.in_flight().unwrap()));
    // A day's submits of one generator, grouped by account.
    check("submits_since", &["USE TEMP B-TREE FOR GROUP BY"], &|queries| {
        seen(queries.submits_since(&"x".into(), Timestamp(1), Timestamp(START)).unwrap())
    });
    check("past_jobs", &[], &|queries| seen(queries.past_jobs(&"x".into(), 10).unwrap()));
    check("oldest_job", &["SCAN a USING INDEX attempts_alive"], &|queries| {
        seen(queries.oldest_job(&"x".into(), Timestamp(START)).unwrap());
    });
    check("key_uses", &[], &|queries| seen(queries.key_uses(&["a".into(), "b".into()]).unwrap()));
    check("find_account", &[], &|queries| seen(queries.find_account("1").unwrap()));
    check("count_finished_before", &[], &|queries| seen(queries.count_finished_before(Timestamp(1)).unwrap()));
    check("content", &[], &|queries| seen(queries.content(ContentId(1)).unwrap()));
    check("images", &[], &|queries| {
        seen(queries.images(ContentId(1)).unwrap());
        seen(queries.images_due(Timestamp(START), 9).unwrap());
        seen(queries.next_image_after(Timestamp(START)).unwrap());
        seen(queries.account_limits().unwrap());
    });
    check("what waits for a review", &[], &|queries| {
        let review = Some(ReviewState::PendingReview);
        let filter = ContentFilter { review, is_oldest_first: true, ..ContentFilter::default() };
        seen(queries.contents(&filter, Page::first(9)).unwrap());
    });
    check("settings", &[], &|queries| seen(queries.settings("pause/").unwrap()));
    for (name, account, review, task) in [
        ("by account", Some(AccountId(1)), None, None),
        ("by review", None, Some(ReviewState::PendingReview), None),
        ("by task", None, None, Some(id(1))),
        ("by account and review", Some(AccountId(1)), Some(ReviewState::Approved), None),
    ] {
        let filter = ContentFilter { account, review, task, is_oldest_first: false };
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
        PoolFilter { account: Some(AccountId(1)), ..PoolFilter::default() },
        PoolFilter { status: Some(PoolState::Published), ..PoolFilter::default() },
    ] {
        check("pool", &[], &|queries| seen(queries.pool(&filter, page).unwrap()));
    }
    // What waits for its time is sorted, and nothing that is out; of one account, only what has the same time.
    let not_due = ["USE TEMP B-TREE FOR ORDER BY", "USE TEMP B-TREE FOR LAST 2 TERMS OF ORDER BY"];
    for account in [None, Some(AccountId(1))] {
        let filter = PoolFilter { account, now: Some(Timestamp(START)), ..PoolFilter::default() };
        check("pool in the order of going out", &not_due, &|queries| seen(queries.pool(&filter, page).unwrap()));
    }
    check("pool_entry", &[], &|queries| seen(queries.pool_entry(PoolId(1)).unwrap()));
    check("pool_entry_of", &[], &|queries| seen(queries.pool_entry_of(ContentId(1)).unwrap()));
    check("pool_wakes", &[], &|queries| seen(queries.pool_wakes(Timestamp(START), 10).unwrap()));
    check("pool_accounts_due", &[], &|queries| seen(queries.pool_accounts_due(Timestamp(START)).unwrap()));
    let categories = ["a".to_owned()];
    check("pool_heads", &[], &|queries| {
        seen(queries.pool_heads(AccountId(1), None, Timestamp(START), 10).unwrap());
        seen(queries.pool_heads(AccountId(1), Some(&categories), Timestamp(START), 10).unwrap());
    });
    check("next_pool_time", &[], &|queries| seen(queries.next_pool_time(Timestamp(START)).unwrap()));
    check("publishes_since", &[], &|queries| {
        seen(queries.publishes_since("p", Timestamp(1), Timestamp(START)).unwrap());
    });
    // Each is grouped by its state: ten groups at most.
    let groups = ["USE TEMP B-TREE FOR GROUP BY"];
    check("statistics", &groups, &|queries| {
        seen(queries.statistics(Some(Timestamp(START)), None, None).unwrap());
        seen(queries.statistics(Some(Timestamp(START)), Some(AccountId(1)), None).unwrap());
        seen(queries.statistics(Some(Timestamp(START)), None, Some(&"assumed".into())).unwrap());
    });
    // All of them by name is the order of their index.
    let by_name = ["SCAN schedules USING INDEX sqlite_autoindex_schedules_1"];
    check("schedules", &by_name, &|queries| seen(queries.schedules().unwrap()));
    check("schedule_standings", &["SCAN s USING INDEX sqlite_autoindex_schedules_1"], &|queries| {
        seen(queries.schedule_standings().unwrap());
    });
    check("pool_standing", &[], &|queries| seen(queries.pool_standing(Timestamp(START)).unwrap()));
    check("find_schedule", &[], &|queries| {
        seen(queries.find_schedule("1").unwrap());
        seen(queries.find_schedule("daily").unwrap());
    });
    check("schedule_agenda", &[], &|queries| {
        seen(queries.schedule_agenda(Timestamp(START), Timestamp(START), 9).unwrap())
    });
    check("fire", &[], &|queries| seen(queries.fire(FireId(1)).unwrap()));
    check("fires", &[], &|queries| seen(queries.fires(ScheduleId(1), page).unwrap()));
    check("schedule_taken", &[], &|queries| seen(queries.schedule_taken(ScheduleId(1)).unwrap()));
    // A few alarms at most, and what waits of the outbox.
    check("alarms", &["SCAN alarms"], &|queries| seen(queries.alarms().unwrap()));
    check("next_delivery", &[], &|queries| seen(queries.next_delivery("x").unwrap()));
    let outbox = ["SCAN d USING INDEX deliveries_waiting", "USE TEMP B-TREE FOR GROUP BY"];
    check("outbox", &outbox, &|queries| seen(queries.outbox(Timestamp(START)).unwrap()));
    check("notices", &["SCAN notices"], &|queries| seen(queries.notices(5).unwrap()));
    check("notice", &[], &|queries| seen(queries.notice("x").unwrap()));
    check("ended_since", &groups, &|queries| seen(queries.ended_since(Timestamp(START)).unwrap()));
    check("oldest_ready", &["SCAN p", "SCAN priorities"], &|queries| {
        seen(queries.oldest_ready(Timestamp(START)).unwrap());
    });
    for filter in [
        SummaryFilter { since: Timestamp(START), until: Some(Timestamp(START + 9)), ..SummaryFilter::default() },
        SummaryFilter { account: Some(AccountId(1)), generator: Some("assumed".into()), ..SummaryFilter::default() },
    ] {
        check("summary", &[], &|queries| seen(queries.summary(&filter).unwrap()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A limit of an account, a version by hand with images, a piece that is written again.
fn write_about_pieces(side: &mut Side<contentd::store::sqlite::SqliteBackend>, content_id: ContentId) {
    let change = AccountChange { max_pending: Some(Some(100)), ..AccountChange::default() };
    side.write(Write::Account(AccountWrite::Set { id: AccountId(1), change: Box::new(change) })).unwrap();
    let edit = ContentWrite::Edit {
        content_id,
        base_hash: format!("hash of {}", id(9)),
        title: None,
        rendered: RenderedPiece { content_hash: "another".into(), ..RenderedPiece::default() },
        rules: Default::default(),
        who: "1:x".into(),
        now: Timestamp(START),
    };
    let Written::Reviewed(second) = side.write(Write::Content(Box::new(edit))).unwrap() else { panic!("edited") };
    let again = ContentWrite::WriteAgain {
        content_id: second.id,
        expected_hash: None,
        remark: "r".into(),
        task: Box::new(new(task(8, AccountId(1)))),
        max_pending: 100,
        who: "1:x".into(),
        now: now(START),
    };
    side.write(Write::Content(Box::new(again))).unwrap();
    let state = ImageState::GivenUp;
    side.write(Write::Image(ImageWrite { id: 1, tries_before: 0, state, error: None, now: Timestamp(START) })).unwrap();
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
            let review =
                Write::Review { content_id, decision, reason, expected_hash, who, due: None, now: Timestamp(START) };
            side.write(review).unwrap();
        }
        write_about_pieces(&mut side, content_id);
        side.submit(vec![new(task(99, AccountId(1)))]);
        side.complete(&id(99), START + 10).pool_id.expect("it is handed out now");
        side.submit(vec![new(task(98, AccountId(1)))]);
        side.complete(&id(98), START + 11).pool_id.expect("it is held and let go");
        let hand_out = HandOut {
            holder: Holder::Consumer("1:x".into()),
            only: None,
            account: None,
            limit: 1,
            request: Some("r".into()),
            knows_its_keys: false,
            lease_until: Timestamp(START + 200),
            now: Timestamp(START + 100),
        };
        let given = side.write(Write::Pool(PoolWrite::HandOut(Box::new(hand_out.clone())))).unwrap();
        let Written::Pool(contentd::store::write::PoolWritten::HandedOut(given)) = given else { panic!("{given:?}") };
        let of_one = HandOut { account: Some(AccountId(1)), request: None, ..hand_out };
        let held = side.write(Write::Pool(PoolWrite::HandOut(Box::new(of_one)))).unwrap();
        let Written::Pool(contentd::store::write::PoolWritten::HandedOut(held)) = held else { panic!("{held:?}") };
        for (id, event) in [
            (given[0].0.id, PoolEvent::Renewed { until: Timestamp(START + 300) }),
            (given[0].0.id, PoolEvent::Done(Default::default())),
            (held[0].0.id, PoolEvent::LeaseEnded),
        ] {
            let happened = PoolWrite::Happened {
                id,
                fence: Some(1),
                event: Box::new(event),
                policy: Box::default(),
                draw: 0.5,
                who: "1:x".into(),
                answers_for_all: false,
                now: Timestamp(START + 150),
            };
            side.write(Write::Pool(happened)).unwrap();
        }
        let release = PoolWrite::Release { ids: None, who: "1:x".into(), now: Timestamp(START) };
        assert_eq!(
            side.write(Write::Pool(release)),
            Ok(Written::Pool(contentd::store::write::PoolWritten::Released(vec![held[0].0.id])))
        );
        side.change(&id(1), START + 20, Event::CancelRequested);
        // A job that is named is looked for among those of the others.
        side.change(&id(2), START + 20, Event::Claimed { key: key_of(&id(2), 1) });
        side.change(&id(2), START + 21, accepted("a job"));
        side.write(Write::Cleanup { finished_before: Timestamp(START + 99), after: None, limit: 5 }).unwrap();
        let schedule = side.schedule(new_schedule("daily", AccountId(1))).id;
        let now = Timestamp(START + 1_000);
        for (n, end) in [(1, false), (2, true)] {
            let fire = side.begin(schedule, n * 1_000, (n + 1) * 1_000).unwrap().remove(0).id;
            let (why, wake) = ("x".to_owned(), now);
            let mut writes = vec![
                ScheduleWrite::PutOff { fire, why: why.clone(), wake, is_try: true },
                ScheduleWrite::Ask { fire, now },
                ScheduleWrite::Keep { fire, topics: vec![], now },
            ];
            let taken = Taken { cursor: Some(1), digests: vec!["d".into()], begins_again: true, pauses: None };
            writes.push(match end {
                true => ScheduleWrite::End { fire, event: FireMove::GivenUp, why, pauses: Some("p".into()), now },
                false => submit_of(fire, vec![new(task(10, AccountId(1)))], taken, START),
            });
            for write in writes {
                side.write(Write::Schedule(write)).unwrap();
            }
        }
        let by_hand = ScheduleWrite::FireNow { schedule, key: "k".into(), who: "1:x".into(), now };
        side.write(Write::Schedule(by_hand)).unwrap();
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
        // How many schedules there are is asked when one is added; they are few.
        let is_count = sql.starts_with("SELECT COUNT(*) FROM `schedules`");
        assert!(is_parent || is_count || faults(&lines).is_empty(), "{sql}\n{lines:?}");
    }
}
