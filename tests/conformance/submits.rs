//! What comes in: accounts, tasks, batches, keys, limits, settings.

use contentd::store::DbError;
use contentd::store::write::{NewTask, PendingLimits, Write, WriteError};
use contentd::task::{AccountId, Event, TaskState, Timestamp};

use super::common::*;

on_every_backend! {
    accounts_have_one_name_each,
    a_task_comes_back_as_it_was_asked,
    a_batch_is_submitted_whole_or_not_at_all,
    the_same_key_submits_one_task,
    a_full_queue_is_busy,
    a_full_generator_is_busy,
    a_repeated_submit_needs_no_room,
    a_refused_write_disturbs_no_other,
    settings_are_stored_and_removed,
}

fn accounts_have_one_name_each(mut side: Side) {
    let ada = side.account("ada");
    let digits = side.account("7");
    assert!(matches!(
        side.write(Write::AddAccount { name: "ada".into(), external_id: None, now: Timestamp(1) }),
        Err(WriteError::AccountExists(name)) if name == "ada"
    ));
    assert_eq!(side.queries.accounts().unwrap(), [ada.clone(), digits.clone()]);
    assert_eq!(side.queries.find_account(&ada.id.to_string()).unwrap(), Some(ada.clone()));
    assert_eq!(side.queries.find_account("ada").unwrap(), Some(ada));
    assert_eq!(side.queries.find_account("7").unwrap(), Some(digits), "no account has this number, one has the name");
    assert_eq!(side.queries.find_account("Ada").unwrap(), None);
    assert_eq!(side.queries.find_account("+1").unwrap(), None);
}

fn a_task_comes_back_as_it_was_asked(mut side: Side) {
    let ada = side.account("ada").id;
    let mut asked = task(1, ada);
    asked.rewrites = Some(id(99));
    asked.wake_at = Some(Timestamp(START + 600_000));
    asked.key = Some("mine".into());
    let submitted = side.submit(vec![new(asked.clone())]).remove(0);
    asked.seq = submitted.task.seq;
    assert!(asked.seq > 0);
    assert_eq!(submitted.task, asked);
    assert_eq!(side.queries.task(&asked.id).unwrap(), Some((asked.clone(), None)));
    let history = side.queries.history(&asked.id).unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].event.as_str(), history[0].to_state), ("submitted", TaskState::Pending));
    assert_eq!(side.queries.task(&id(2)).unwrap(), None);
}

fn a_batch_is_submitted_whole_or_not_at_all(mut side: Side) {
    let ada = side.account("ada").id;
    let batch = vec![new(task(1, ada)), new(task(2, ada)), new(task(3, AccountId(99)))];
    assert!(matches!(side.write(submit(batch)), Err(WriteError::AccountNotFound(name)) if name == "99"));
    assert_eq!(side.queries.counts().unwrap().len(), 0);
    assert!(side.queries.history(&id(1)).unwrap().is_empty());
    side.submit(vec![new(task(1, ada)), new(task(2, ada))]);
    assert_eq!(side.queries.counts().unwrap()[&TaskState::Pending], 2);
    let twice = side.write(submit(vec![new(task(3, ada)), new(task(1, ada))]));
    assert!(matches!(twice, Err(WriteError::Db(DbError::Refused(_)))), "an id is used once: {twice:?}");
    assert_eq!(side.queries.task(&id(3)).unwrap(), None);
}

fn the_same_key_submits_one_task(mut side: Side) {
    let ada = side.account("ada").id;
    let keyed = |n: usize| {
        let mut asked = task(n, ada);
        asked.key = Some("order-1".into());
        asked.topic = "the same".into();
        new(asked)
    };
    let first = side.submit(vec![keyed(1)]).remove(0);
    let again = side.submit(vec![keyed(2)]).remove(0);
    assert!(!first.was_known && again.was_known);
    assert_eq!(again.task, first.task);
    let mut other = keyed(3);
    other.digest = "another body".into();
    let reused = side.write(submit(vec![new(task(4, ada)), other]));
    assert_eq!(reused, Err(WriteError::KeyReused { key: "order-1".into(), task_id: id(1) }));
    assert_eq!(side.queries.task(&id(4)).unwrap(), None, "the first of the batch went with the second");
}

fn a_full_queue_is_busy(mut side: Side) {
    let ada = side.account("ada").id;
    let limited = |tasks| Write::SubmitTasks { tasks, max_pending: 2, now: now(START) };
    side.write(limited(vec![new(task(1, ada))])).unwrap();
    let busy = side.write(limited(vec![new(task(2, ada)), new(task(3, ada))]));
    assert_eq!(busy, Err(WriteError::Busy { unfinished: 1, limit: 2 }));
    side.write(limited(vec![new(task(2, ada))])).unwrap();
    side.change(&id(1), START + 5, Event::CancelRequested);
    side.write(limited(vec![new(task(3, ada))])).expect("a finished task makes room");
}

/// A task of the generator `narrow`, which takes two unfinished tasks, and one of each account.
fn narrow(n: usize, account: AccountId) -> NewTask {
    let mut asked = task(n, account);
    asked.generator = "narrow".into();
    asked.key = Some(format!("order-{n}"));
    asked.topic = "the same".into();
    NewTask { limits: PendingLimits { in_all: Some(2), of_account: Some(1) }, ..new(asked) }
}

fn a_full_generator_is_busy(mut side: Side) {
    let (ada, bob, eve) = (side.account("ada").id, side.account("bob").id, side.account("eve").id);
    side.submit(vec![new(task(1, ada)), new(task(2, ada))]);
    let batch = side.write(submit(vec![narrow(3, ada), narrow(4, ada)]));
    assert_eq!(batch, Err(WriteError::Busy { unfinished: 0, limit: 1 }), "the tasks of one batch count too");
    side.submit(vec![narrow(3, ada)]);
    let of_account = [submit(vec![narrow(4, ada)]), submit(vec![narrow(5, bob)]), submit(vec![narrow(6, eve)])];
    let answers = side.backend.commit(&of_account).unwrap();
    assert_eq!(answers[0], Err(WriteError::Busy { unfinished: 1, limit: 1 }));
    assert!(answers[1].is_ok(), "{answers:?}");
    assert_eq!(answers[2], Err(WriteError::Busy { unfinished: 2, limit: 2 }), "of two submits at once, one has room");
    side.change(&id(3), START + 5, Event::CancelRequested);
    side.submit(vec![narrow(6, eve)]);
}

fn a_repeated_submit_needs_no_room(mut side: Side) {
    let (ada, bob) = (side.account("ada").id, side.account("bob").id);
    side.submit(vec![narrow(1, ada), narrow(2, bob)]);
    let again = side.submit(vec![narrow(1, ada), narrow(2, bob)]);
    assert!(again.iter().all(|task| task.was_known), "{again:?}");
    let more = side.write(submit(vec![narrow(1, ada), narrow(3, ada)]));
    assert_eq!(more, Err(WriteError::Busy { unfinished: 2, limit: 2 }));
}

fn a_refused_write_disturbs_no_other(mut side: Side) {
    let ada = side.account("ada").id;
    let batch = [
        submit(vec![new(task(1, ada))]),
        submit(vec![new(task(2, ada)), new(task(3, AccountId(99)))]),
        event_of(&id(1), START + 1, Event::Claimed { key: key_of(&id(1), 1) }),
        // A single task that fails after its first row.
        submit(vec![new(task(1, ada))]),
        event_of(&id(1), START + 1, Event::RetryRequested { reset_count: false, abandon: None }),
        event_of(&id(1), START + 2, accepted("job")),
    ];
    let answers = side.backend.commit(&batch).unwrap();
    let went_through: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(went_through, [true, false, true, false, false, true]);
    assert_eq!(side.state(&id(1)), TaskState::Submitted);
    assert_eq!(side.queries.task(&id(2)).unwrap(), None);
    assert_eq!(side.queries.history(&id(1)).unwrap().len(), 3);
    assert!(side.backend.commit(&[]).unwrap().is_empty());
}

fn settings_are_stored_and_removed(mut side: Side) {
    let mut put = |name: &str, value: Option<&str>| {
        side.write(Write::PutSetting { name: name.into(), value: value.map(str::to_owned) }).unwrap();
    };
    put("pause/b", Some("2"));
    put("pause/a", Some("1"));
    put("pausf", Some("no"));
    put("pause/a", Some("3"));
    put("pause/c", Some("4"));
    put("pause/c", None);
    put("never there", None);
    let found = side.queries.settings("pause/").unwrap();
    assert_eq!(found, [("pause/a".to_owned(), "3".to_owned()), ("pause/b".to_owned(), "2".to_owned())]);
    assert_eq!(side.queries.settings("").unwrap().len(), 4, "these, and the seed of the publish keys");
}
