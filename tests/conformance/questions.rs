//! What is asked of the store: lists, lanes, the agenda, names, numbers.

use contentd::store::LookupError;
use contentd::store::query::{ContentFilter, Page, SearchBounds, TaskFilter};
use contentd::store::write::ANCHOR_SETTING;
use contentd::task::content::ReviewState;
use contentd::task::outcome::{JobState, SubmitAnswer};
use contentd::task::{AccountId, Event, GeneratorName, TaskId, TaskState, Timestamp};

use std::collections::BTreeSet;

use super::common::*;

on_every_backend! {
    the_agenda_is_in_order,
    wake_times_move_with_the_clock,
    lists_filter_and_page,
    lanes_show_the_best_heads,
    lanes_know_who_is_longest_in_line,
    the_order_of_running,
    names_and_prefixes,
    numbers_add_up,
}

fn the_agenda_is_in_order(mut side: Side) {
    let ada = side.account("ada").id;
    for n in 1..=3 {
        side.submit(vec![claimed(task(n, ada), START)]);
        side.change(&id(n), START + 1_000 * (4 - n as i64), accepted(&format!("job-{n}")));
    }
    side.submit(vec![new(task(4, ada))]);
    let none = BTreeSet::new();
    let all = side.queries.due(Timestamp(i64::MAX), 10, &none).unwrap();
    let order: Vec<_> = all.iter().map(|(task, _)| task.clone()).collect();
    assert_eq!(names(&order), ["3", "2", "1"]);
    let first = all[0].0.wake_at.unwrap();
    assert_eq!(side.queries.next_wake(Timestamp(0)).unwrap(), Some(first));
    assert!(side.queries.due(Timestamp(first.0 - 1), 10, &none).unwrap().is_empty());
    assert_eq!(side.queries.due(first, 10, &none).unwrap().len(), 1);
    assert_eq!(side.queries.due(Timestamp(i64::MAX), 2, &none).unwrap().len(), 2);
    // Those in hand hide nobody behind them.
    let in_hand = BTreeSet::from([all[0].0.seq, all[1].0.seq, 99]);
    let rest = side.queries.due(Timestamp(i64::MAX), 1, &in_hand).unwrap();
    assert_eq!(rest, all[2..]);
    assert_eq!(side.queries.active().unwrap().len(), 3);
    assert_eq!(side.queries.in_flight().unwrap()[0].jobs, 3);
}

fn wake_times_move_with_the_clock(mut side: Side) {
    let ada = side.account("ada").id;
    let mut delayed = task(1, ada);
    delayed.wake_at = Some(Timestamp(START + 1_000));
    delayed.not_before = delayed.wake_at;
    side.submit(vec![new(delayed), new(task(2, ada)), claimed(task(3, ada), START), claimed(task(4, ada), START)]);
    side.change(&id(3), START, accepted("job"));
    side.change(&id(4), START, Event::SubmitAnswered(SubmitAnswer::Ambiguous("cut".into())));
    let intended = |side: &Side, n| side.queries.task(&id(n)).unwrap().unwrap().1.unwrap().intended_at;
    let wake = |side: &Side, n| side.queries.task(&id(n)).unwrap().unwrap().0.wake_at;
    let before = wake(&side, 3).unwrap();
    side.write(shift(-500)).unwrap();
    assert_eq!(wake(&side, 1), Some(Timestamp(START + 500)));
    assert_eq!(side.queries.task(&id(1)).unwrap().unwrap().0.not_before, wake(&side, 1), "a delay moves with it");
    // Else a start that dies here would have the next one shift again.
    assert_eq!(side.queries.settings("clock/").unwrap(), [(ANCHOR_SETTING.to_owned(), "-500".to_owned())]);
    assert_eq!(wake(&side, 2), None);
    assert_eq!(wake(&side, 3), Some(Timestamp(before.0 - 500)));
    assert_eq!(
        (intended(&side, 3), intended(&side, 4)),
        (Timestamp(START), Timestamp(START - 500)),
        "what is in doubt"
    );
    side.write(shift(i64::MAX)).unwrap();
    assert_eq!(wake(&side, 1), Some(Timestamp(i64::MAX)));
}

fn lists_filter_and_page(mut side: Side) {
    let (ada, bob) = (side.account("ada").id, side.account("bob").id);
    for n in 1..=9 {
        let mut asked = task(n, if n % 3 == 0 { bob } else { ada });
        asked.generator = GeneratorName(if n % 2 == 0 { "even" } else { "odd" }.into());
        side.submit(vec![new(asked)]);
    }
    for n in [1, 2, 3] {
        side.change(&id(n), START + 100, Event::Claimed { key: key_of(&id(n), 1) });
        side.change(&id(n), START + 101, Event::SubmitAnswered(SubmitAnswer::Rejected(format!("Too LONG {n}"))));
    }
    side.change(&id(4), START + 100, Event::CancelRequested);
    let list = |filter: TaskFilter, page| {
        let found = side.queries.tasks(&filter, page).unwrap();
        names(&found).join(" ")
    };
    let all = Page::first(100);
    let any = TaskFilter::default;
    assert_eq!(list(any(), all), "9 8 7 6 5 4 3 2 1");
    let search = |filter: TaskFilter, topic: &str, page, rows| {
        let bounds = SearchBounds { rows, slice: 2, time: std::time::Duration::from_secs(60) };
        let found = side.queries.search(&filter, topic, page, bounds).unwrap();
        (
            names(&found.tasks).join(" "),
            found.stopped_at.map(|id| names(&[side.queries.task(&id).unwrap().unwrap().0]).join("")),
        )
    };
    let found = |tasks: &str| (tasks.to_owned(), None);
    assert_eq!(search(any(), "tOPIC", all, 100), found("9 8 7 6 5 4 3 2 1"));
    assert_eq!(search(any(), "Topic 3", all, 100), found("3"));
    assert_eq!(search(any(), "%", all, 100), found(""), "it is text");
    assert_eq!(search(any(), "topic", Page { limit: 2, offset: 3, before: None }, 100), found("6 5"));
    let states = vec![TaskState::Failed, TaskState::Cancelled];
    assert_eq!(search(TaskFilter { states, ..any() }, "topic", Page { limit: 2, ..all }, 100), found("4 3"));
    let cut = |tasks: &str, at: &str| (tasks.to_owned(), Some(at.to_owned()));
    assert_eq!(search(any(), "topic 3", all, 4), cut("", "6"), "it stopped, and says where");
    assert_eq!(search(any(), "topic 8", all, 4), cut("8", "6"));
    assert_eq!(search(any(), "topic", Page::first(4), 4), found("9 8 7 6"), "a full page is enough");
    let sixth = side.queries.task(&id(6)).unwrap().unwrap().0.seq;
    assert_eq!(search(any(), "topic 3", Page { before: Some(sixth), ..all }, 4), cut("3", "2"), "and goes on there");
    // An error is looked for in the same way.
    let with_error = || TaskFilter { error: Some("too long".into()), ..any() };
    assert_eq!(search(with_error(), "", all, 100), found("3 2 1"));
    assert_eq!(search(with_error(), "", all, 4), cut("", "6"), "it stopped, and says where");
    assert_eq!(search(with_error(), "topic 2", all, 100), found("2"));
    let failed = TaskFilter { states: vec![TaskState::Failed], ..with_error() };
    assert_eq!(search(failed, "", Page { before: Some(sixth), ..all }, 4), cut("3 2", "2"), "and goes on there");
    assert_eq!(list(any(), Page { limit: 2, offset: 3, before: None }), "6 5");
    let seq = side.queries.task(&id(5)).unwrap().unwrap().0.seq;
    assert_eq!(list(any(), Page { limit: 2, offset: 1, before: Some(seq) }), "3 2");
    assert_eq!(list(any(), Page::first(0)), "");
    let failed = TaskFilter { states: vec![TaskState::Failed], ..any() };
    assert_eq!(list(failed.clone(), all), "3 2 1");
    assert_eq!(list(TaskFilter { account: Some(ada), ..failed.clone() }, all), "2 1");
    let finished = vec![TaskState::Failed, TaskState::Cancelled, TaskState::Failed];
    assert_eq!(
        list(TaskFilter { states: finished.clone(), ..any() }, Page { limit: 2, offset: 1, before: None }),
        "3 2"
    );
    assert_eq!(list(TaskFilter { states: finished, generator: Some("even".into()), ..any() }, all), "4 2");
    assert_eq!(list(TaskFilter { account: Some(bob), generator: Some("odd".into()), ..any() }, all), "9 3");
    assert_eq!(list(TaskFilter { states: TaskState::ALL.to_vec(), ..any() }, all), "9 8 7 6 5 4 3 2 1");
    assert_eq!(list(TaskFilter { since: Some(Timestamp(START + 7)), ..any() }, all), "9 8 7");
    assert_eq!(list(TaskFilter { since: Some(Timestamp(START + 99)), ..any() }, all), "");
    assert_eq!(list(TaskFilter { error: Some("too long".into()), ..any() }, all), "3 2 1");
    assert_eq!(list(TaskFilter { error: Some("LONG 2".into()), ..any() }, all), "2");
    assert_eq!(list(TaskFilter { error: Some("%".into()), ..any() }, all), "");
    assert_eq!(list(TaskFilter { error: Some(String::new()), ..failed }, all), "3 2 1");

    side.change(&id(5), START, Event::Claimed { key: key_of(&id(5), 1) });
    side.change(&id(5), START + 1, accepted("job"));
    let overdue = |at, boot: &str, states: &[TaskState]| {
        let mut now = now(at);
        now.boot_id.0 = boot.into();
        let filter = TaskFilter { overdue_at: Some(now), states: states.to_vec(), ..any() };
        names(&side.queries.tasks(&filter, all).unwrap()).join(" ")
    };
    let limit = START + 1 + 1_800_000;
    assert_eq!(overdue(limit - 1, "boot", &[]), "");
    assert_eq!(overdue(limit, "boot", &[]), "5");
    assert_eq!(overdue(limit, "another", &[TaskState::Submitted]), "5");
    assert_eq!(overdue(limit, "boot", &[TaskState::Processing]), "");
}

fn lanes_show_the_best_heads(mut side: Side) {
    let accounts: Vec<AccountId> = (0..4).map(|n| side.account(&format!("a{n}")).id).collect();
    // Ten tasks an account; the priority of the heads grows with the account.
    for n in 0..40 {
        let mut asked = task(n, accounts[n % 4]);
        asked.priority = 1 + u8::try_from(n % 4).unwrap() * 2 + u8::from(n == 38);
        asked.wake_at = (n % 5 == 0).then_some(Timestamp(START + 10_000));
        side.submit(vec![new(asked)]);
    }
    let heads = |at, per_lane, lanes| {
        let heads = side.queries.lane_heads(Timestamp(at), per_lane, lanes, &BTreeSet::new()).unwrap();
        let shown = heads.iter().map(|head| {
            let tasks: Vec<String> =
                head.tasks.iter().map(|task| task.id.as_str()[5..].parse::<u32>().unwrap().to_string()).collect();
            format!("{}: {}", head.account, tasks.join(" "))
        });
        shown.collect::<Vec<_>>()
    };
    assert_eq!(heads(START + 5_000, 3, 9), ["4: 3 7 11", "3: 38 2 6", "2: 1 9 13", "1: 4 8 12"]);
    assert_eq!(heads(START + 5_000, 1, 2), ["4: 3", "3: 38"], "the best heads, not the first lanes");
    assert_eq!(heads(START + 10_000, 4, 1), ["4: 3 7 11 15"]);
    assert_eq!(heads(START + 10_000, 3, 9)[3], "1: 0 4 8");
    assert_eq!(side.queries.next_ready(Timestamp(START)).unwrap(), Some(Timestamp(START + 10_000)));
    assert_eq!(side.queries.next_ready(Timestamp(START + 10_000)).unwrap(), None);
    for n in (3..40).step_by(4) {
        side.change(&id(n), START + 100, Event::CancelRequested);
    }
    assert_eq!(
        side.queries.lane_heads(Timestamp(START), 1, 1, &BTreeSet::new()).unwrap()[0].account,
        accounts[2],
        "an empty lane is none"
    );
}

fn lanes_know_who_is_longest_in_line(mut side: Side) {
    let accounts: Vec<AccountId> = (0..2).map(|n| side.account(&format!("a{n}")).id).collect();
    // Whoever came first has the least priority; a delayed one came before all.
    for n in 1..=5 {
        let mut asked = task(n, accounts[0]);
        asked.priority = u8::try_from(n).unwrap();
        asked.queued_at = Timestamp(START + i64::try_from(n).unwrap());
        asked.wake_at = (n == 1).then_some(Timestamp(START + 10_000));
        side.submit(vec![new(asked)]);
    }
    let generator = task(1, accounts[0]).generator;
    let oldest = |side: &Side, at: i64, account: AccountId| {
        let oldest = side.queries.oldest_of_lane(Timestamp(START + at), &generator, account).unwrap();
        oldest.map(|task| task.id)
    };
    assert_eq!(oldest(&side, 9_999, accounts[0]), Some(id(2)));
    assert_eq!(oldest(&side, 10_000, accounts[0]), Some(id(1)));
    assert_eq!(oldest(&side, 10_000, accounts[1]), None);
    assert_eq!(side.queries.oldest_of_lane(Timestamp(START), &"another".into(), accounts[0]).unwrap(), None);
    side.change(&id(2), START + 100, Event::CancelRequested);
    assert_eq!(oldest(&side, 0, accounts[0]), Some(id(3)), "one that waits no more stands in no line");
}

fn the_order_of_running(mut side: Side) {
    let accounts: Vec<AccountId> = (0..3).map(|n| side.account(&format!("a{n}")).id).collect();
    for n in 1..=12 {
        let mut asked = task(n, accounts[n % 3]);
        asked.priority = if n % 4 == 0 { 9 } else { 5 };
        asked.wake_at = match n {
            8 | 9 => Some(Timestamp(START + 10_000)),
            10 => Some(Timestamp(START + 5_000)),
            _ => None,
        };
        side.submit(vec![new(asked)]);
    }
    let order = |at, page| names(&side.queries.pending(Timestamp(at), page).unwrap()).join(" ");
    assert_eq!(order(START + 1, Page::first(99)), "4 12 1 2 3 5 6 7 11 10 8 9");
    assert_eq!(order(START + 5_000, Page::first(99)), "4 12 1 2 3 5 6 7 10 11 8 9");
    assert_eq!(order(START + 10_000, Page::first(99)), "4 8 12 1 2 3 5 6 7 9 10 11");
    assert_eq!(order(START + 1, Page { limit: 3, offset: 1, before: None }), "12 1 2");
    assert_eq!(order(START + 1, Page { limit: 3, offset: 8, before: None }), "11 10 8");
    assert_eq!(order(START + 1, Page::first(1)), "4");
    assert_eq!(order(START + 1, Page { limit: 3, offset: 99, before: None }), "");
    side.change(&id(1), START + 2, Event::Changed { priority: Some(10), not_before: None });
    assert_eq!(names(&side.queries.pending(Timestamp(START + 1), Page::first(2)).unwrap()), ["1", "4"]);
}

fn names_and_prefixes(mut side: Side) {
    let ada = side.account("ada").id;
    for name in ["task-aaa", "task-aaabbb", "task-aaaccc", "task-b"] {
        let mut asked = task(1, ada);
        asked.id = TaskId(name.into());
        side.submit(vec![new(asked)]);
    }
    let find = |name: &str| side.queries.find_task(name).unwrap();
    assert_eq!(find("task-b"), Ok(TaskId("task-b".into())));
    assert_eq!(find("b"), Ok(TaskId("task-b".into())));
    assert_eq!(find("aaa"), Ok(TaskId("task-aaa".into())), "a whole id is not ambiguous");
    assert_eq!(find("aaab"), Ok(TaskId("task-aaabbb".into())));
    assert!(matches!(find("task-a"), Err(LookupError::Ambiguous { candidates, .. }) if candidates.len() == 3));
    for name in ["", "task-", "task", "c", "%", "aaa\u{10ffff}", "'"] {
        assert_eq!(find(name), Err(LookupError::NotFound(name.into())));
    }
}

fn numbers_add_up(mut side: Side) {
    let (ada, bob) = (side.account("ada").id, side.account("bob").id);
    side.submit(vec![new(task(1, ada)), new(task(2, bob)), new(task(3, ada)), new(task(4, ada))]);
    side.complete(&id(1), START + 10_000);
    side.complete(&id(2), START + 20_000);
    side.change(&id(3), START + 30_000, Event::Claimed { key: key_of(&id(3), 1) });
    side.change(&id(3), START + 30_001, Event::SubmitAnswered(SubmitAnswer::Unavailable("nobody".into())));
    side.change(&id(4), START + 40_000, Event::Claimed { key: key_of(&id(4), 1) });
    side.change(&id(4), START + 40_001, accepted("job"));
    let generator = GeneratorName("assumed".into());
    let oldest = |since| side.queries.oldest_job(&generator, Timestamp(since)).unwrap();
    assert_eq!(oldest(START), Some(Timestamp(START + 40_001)));
    assert_eq!(oldest(START + 40_002), None, "it was accepted before");
    assert_eq!(side.queries.oldest_job(&"other".into(), Timestamp(START)).unwrap(), None);
    side.change(&id(4), START + 40_002, polled(JobState::Failed));
    assert_eq!(side.queries.oldest_job(&generator, Timestamp(START)).unwrap(), None, "nobody waits for any");
    let until = |since, until| {
        let found = side.queries.submits_since(&generator, Timestamp(since), Timestamp(until)).unwrap();
        found.values().map(|submits| submits.count).sum::<u32>()
    };
    let submits = |since| until(since, i64::MAX);
    assert_eq!(
        (submits(START), submits(START + 20_000), submits(START + 50_000)),
        (3, 2, 0),
        "withdrawn is not counted"
    );
    // A clock that was set back leaves rows of a time to come.
    assert_eq!((until(START, START + 20_000), until(START, START + 19_999)), (2, 1));
    let past: Vec<_> = side.queries.past_jobs(&generator, 9).unwrap().into_iter().map(|job| job.took).collect();
    assert_eq!(past, [std::time::Duration::from_millis(3); 2]);
    assert_eq!(side.queries.past_jobs(&generator, 1).unwrap().len(), 1);
    assert!(side.queries.past_jobs(&"other".into(), 9).unwrap().is_empty());

    side.change(&id(3), START + 60_000, Event::Claimed { key: key_of(&id(3), 2) });
    let ended = [key_of(&id(4), 1), key_of(&id(3), 1)];
    let alive = key_of(&id(3), 2);
    let uses = side.queries.key_uses(&[ended[0].clone(), ended[1].clone(), alive.clone(), "nobody's".into()]).unwrap();
    let [failed, withdrawn] = ended;
    use contentd::store::query::KeyUse::{Ended, Needed};
    assert_eq!(uses, std::collections::BTreeMap::from([(failed, Ended), (withdrawn, Ended), (alive, Needed)]));
    side.change(&id(3), START + 60_001, Event::SubmitAnswered(SubmitAnswer::Unavailable("nobody".into())));

    let all = side.queries.statistics(None, None, None).unwrap();
    assert_eq!((all.by_state["completed"], all.by_state["pending"]), (2, 2));
    assert_eq!((all.created, all.retries, all.words, all.finished["completed"]), (4, 1, 6, 2));
    assert!((all.mean_duration_s.unwrap() - 0.003).abs() < 1e-9);
    let wait = (10_000.0 - 1.0 + 1.0 + 20_000.0 - 2.0 + 1.0) / 2.0 / 1000.0;
    assert!((all.mean_wait_s.unwrap() - wait).abs() < 1e-9, "{all:?}");
    let of_bob = side.queries.statistics(None, Some(bob), None).unwrap();
    assert_eq!((of_bob.created, of_bob.by_state.len(), of_bob.words), (1, 1, 3));
    let later = side.queries.statistics(Some(Timestamp(START + 15_000)), Some(ada), Some(&generator)).unwrap();
    assert_eq!((later.created, later.finished.len(), later.words, later.mean_wait_s), (0, 0, 0, None));
    let nowhere = side.queries.statistics(None, None, Some(&"other".into())).unwrap();
    assert_eq!(nowhere, contentd::store::query::Statistics::default());

    let contents = |filter: ContentFilter, page| -> Vec<i64> {
        side.queries.contents(&filter, page).unwrap().iter().map(|content| content.id.0).collect()
    };
    let any = ContentFilter::default;
    assert_eq!(contents(any(), Page::first(9)), [2, 1]);
    assert_eq!(contents(any(), Page { limit: 9, offset: 1, before: None }), [1]);
    assert_eq!(contents(any(), Page { limit: 9, offset: 0, before: Some(2) }), [1]);
    assert_eq!(contents(ContentFilter { account: Some(ada), ..any() }, Page::first(9)), [1]);
    assert_eq!(contents(ContentFilter { task: Some(id(2)), ..any() }, Page::first(9)), [2]);
    assert_eq!(contents(ContentFilter { review: Some(ReviewState::PendingReview), ..any() }, Page::first(9)), [0; 0]);
    let listed = side.queries.contents(&any(), Page::first(1)).unwrap().remove(0).record;
    assert!(listed.content.is_empty() && listed.html_content.is_empty() && !listed.title.is_empty());
}
