//! What every backend must do, one test a promise.

use contentd::store::query::{ContentFilter, LongText, Page, PoolFilter, SearchBounds, TaskFilter};
use contentd::store::restored::{RestoreMark, SETTING};
use contentd::store::write::{ANCHOR_SETTING, NewTask, PendingLimits, Transition, Write, WriteError, Written};
use contentd::store::{DbError, LookupError};
use contentd::task::content::{PoolState, PublishState, ReviewMove, ReviewState};
use contentd::task::outcome::{FetchAnswer, FindAnswer, JobState, PollAnswer, SubmitAnswer};
use contentd::task::{
    AccountId, AttemptState, ContentId, CorrectedState, Event, GeneratorName, Refusal, Settlement, Task, TaskId,
    TaskMove, TaskState, Timestamp,
};
use std::collections::BTreeSet;

use super::common::*;

/// Runs each test on each backend.
macro_rules! on_every_backend {
    ($($name:ident),+ $(,)?) => {
        mod on_memory { $(#[test] fn $name() { super::$name(super::memory()); })+ }
        mod on_sqlite { $(#[test] fn $name() { super::$name(super::sqlite()); })+ }
    };
}

on_every_backend! {
    accounts_have_one_name_each,
    a_task_comes_back_as_it_was_asked,
    a_batch_is_submitted_whole_or_not_at_all,
    the_same_key_submits_one_task,
    a_full_queue_is_busy,
    a_full_generator_is_busy,
    a_repeated_submit_needs_no_room,
    a_refused_write_disturbs_no_other,
    a_life_from_claim_to_pool,
    long_texts_are_read_in_parts,
    a_claim_rides_with_its_submit,
    late_messages_change_nothing,
    a_retry_gets_an_attempt_of_its_own,
    a_person_adopts_and_corrects,
    one_job_is_not_two_tasks,
    a_late_piece_is_kept_for_review,
    a_piece_that_was_faster_than_its_cancel_waits_for_review,
    a_review_decides_about_the_pool,
    after_a_restore_what_may_be_out_waits_in_the_pool,
    after_a_restore_what_had_ended_is_marked,
    cleanup_takes_the_oldest_and_keeps_pieces_and_keys,
    cleanup_leaves_a_task_whose_piece_waits_for_a_review,
    cleanup_goes_on_where_a_slice_has_ended,
    settings_are_stored_and_removed,
    the_agenda_is_in_order,
    wake_times_move_with_the_clock,
    lists_filter_and_page,
    lanes_show_the_best_heads,
    lanes_know_who_is_longest_in_line,
    the_order_of_running,
    names_and_prefixes,
    numbers_add_up,
}

fn names(tasks: &[contentd::task::Task]) -> Vec<&str> {
    tasks.iter().map(|task| task.id.as_str().trim_start_matches("task-").trim_start_matches('0')).collect()
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

fn a_life_from_claim_to_pool(mut side: Side) {
    let ada = side.account("ada").id;
    let mut asked = task(1, ada);
    asked.priority = 8;
    side.submit(vec![new(asked)]);
    let changed = side.complete(&id(1), START + 10);
    assert_eq!(changed.from, TaskState::Processing);
    let (task, attempt) = side.queries.task(&id(1)).unwrap().unwrap();
    assert_eq!(task, changed.change.task);
    assert_eq!(attempt, changed.change.attempt);
    assert_eq!((task.state, task.content_id), (TaskState::Completed, changed.content_id));
    let attempt = attempt.unwrap();
    assert_eq!(attempt.state, AttemptState::EndedCompleted);
    assert_eq!(attempt.vars["run"], "7");
    assert!(attempt.deadline.is_some());

    let content = side.queries.content(changed.content_id.unwrap()).unwrap().unwrap();
    assert_eq!(content.record.content, "# Words\n\nwritten well");
    assert_eq!(content.record.images.len(), 2);
    assert!(content.record.images[1].object_json.is_some());
    assert_eq!(content.record.cover_image.as_deref(), Some("a.png"));
    assert_eq!(content.record.quality_score, Some(0.75));
    assert_eq!((content.record.review_status, content.record.word_count), (ReviewState::Approved, 3));
    let pool = side.queries.pool(&PoolFilter::default(), Page::first(10)).unwrap();
    assert_eq!(pool.len(), 1);
    assert_eq!((pool[0].priority, Some(pool[0].id)), (8, changed.pool_id));

    let events: Vec<String> = side.queries.history(&id(1)).unwrap().into_iter().map(|row| row.event).collect();
    assert_eq!(events, ["submitted", "claimed", "accepted", "started", "completed"]);
    let refused = side.write(event_of(&id(1), START + 99, Event::CancelRequested));
    assert!(matches!(refused, Err(WriteError::Refused { state: TaskState::Completed, .. })), "{refused:?}");
}

/// A text joined of its parts, of about so many bytes each.
fn joined(side: &Side, text: &LongText, most: u32) -> Option<String> {
    let mut whole = String::new();
    let mut at = 0;
    loop {
        let part = side.queries.text_part(text, at, most).unwrap()?;
        assert!(part.text.len() <= most as usize);
        whole.push_str(&part.text);
        if part.next >= part.total {
            assert_eq!(part.total, whole.len() as u64);
            return Some(whole);
        }
        assert!(part.next > at, "it goes on");
        at = part.next;
    }
}

fn long_texts_are_read_in_parts(mut side: Side) {
    let ada = side.account("ada").id;
    side.submit(vec![new(task(1, ada)), new(task(2, ada))]);
    let content = side.complete(&id(1), START + 10).content_id.unwrap();
    let whole = side.queries.content(content).unwrap().unwrap();
    side.change(&id(2), START + 20, Event::Claimed { key: key_of(&id(2), START + 20) });
    side.change(&id(2), START + 21, accepted("job-2"));
    side.change(&id(2), START + 22, polled(JobState::Completed));
    let noise = "ein Stück 文字 \u{0} und 🌍, mit \"Zeichen\"";
    for n in 0..3 {
        let unreadable = FetchAnswer::Unreadable { why: "no piece".into(), raw: noise.into() };
        side.change(&id(2), START + 23 + n, Event::FetchAnswered(unreadable));
    }
    assert_eq!(side.state(&id(2)), TaskState::Held);
    for most in [4, 5, 7, 11, 1000] {
        assert_eq!(joined(&side, &LongText::Piece(content), most).as_ref(), Some(&whole.record.content));
        assert_eq!(joined(&side, &LongText::Html(content), most).as_ref(), Some(&whole.record.html_content));
        assert_eq!(joined(&side, &LongText::RawOutput(id(2), 1), most).as_deref(), Some(noise));
    }
    let size = |text: LongText| side.queries.text_part(&text, 0, 0).unwrap().map(|part| part.total);
    assert_eq!(size(LongText::Piece(content)), Some(whole.record.content.len() as u64));
    assert_eq!(size(LongText::Piece(ContentId(99))), None);
    assert_eq!(size(LongText::RawOutput(id(1), 1)), None);
    assert_eq!(size(LongText::RawOutput(id(2), 2)), None);

    let without = side.queries.content_without_piece(content).unwrap().unwrap();
    assert_eq!((without.record.content.as_str(), without.record.html_content.as_str()), ("", ""));
    assert_eq!((without.id, without.record.images), (whole.id, whole.record.images));
    assert_eq!(side.queries.content_without_piece(ContentId(99)).unwrap(), None);
    for (number, is_noisy) in [(1, false), (2, true)] {
        let [(attempt, has_output)] = side.queries.attempts_without_output(&id(number)).unwrap().try_into().unwrap();
        let [mut whole] = <[_; 1]>::try_from(side.queries.attempts(&id(number)).unwrap()).unwrap();
        assert_eq!((has_output, whole.raw_output.take().is_some()), (is_noisy, is_noisy));
        assert_eq!(attempt, whole);
    }
}

fn a_claim_rides_with_its_submit(mut side: Side) {
    let ada = side.account("ada").id;
    let submitted = side.submit(vec![claimed(task(1, ada), START)]).remove(0);
    assert_eq!(submitted.task.state, TaskState::Submitting);
    assert_eq!(submitted.attempt.as_ref().unwrap().state, AttemptState::Intended);
    assert_eq!(side.queries.task(&id(1)).unwrap(), Some((submitted.task, submitted.attempt)));
    assert_eq!(side.queries.history(&id(1)).unwrap().len(), 2);
    assert_eq!(side.queries.active().unwrap().len(), 1);
}

fn late_messages_change_nothing(mut side: Side) {
    let ada = side.account("ada").id;
    side.submit(vec![claimed(task(1, ada), START)]);
    let about = |attempt| {
        Write::Transition(Box::new(Transition {
            task_id: id(1),
            attempt: Some(attempt),
            event: accepted("job"),
            env: env(START + 1),
            rendered: None,
            rules: Default::default(),
        }))
    };
    assert_eq!(side.write(about(2)), Err(WriteError::Stale { asked: 2, current: 1 }));
    side.write(about(1)).unwrap();
    let before = side.queries.task(&id(1)).unwrap();
    let again = side.write(event_of(&id(1), START + 2, Event::Changed { priority: Some(9), not_before: None }));
    let refused = WriteError::Refused {
        task_id: id(1),
        state: TaskState::Submitted,
        refusal: TaskState::Submitted.after(TaskMove::Changed).unwrap_err().into(),
    };
    assert_eq!(again, Err(refused));
    assert_eq!(side.queries.task(&id(1)).unwrap(), before);
    assert_eq!(side.write(event_of(&id(5), START, accepted("x"))), Err(WriteError::TaskNotFound(id(5))));
}

fn a_retry_gets_an_attempt_of_its_own(mut side: Side) {
    let ada = side.account("ada").id;
    side.submit(vec![claimed(task(1, ada), START)]);
    let again = Event::SubmitAnswered(SubmitAnswer::Retry("no room".into()));
    let changed = side.change(&id(1), START + 1, again);
    assert_eq!((changed.change.task.state, changed.change.task.retry_count), (TaskState::Pending, 1));
    side.change(&id(1), START + 60_000, Event::Claimed { key: key_of(&id(1), 2) });
    let attempts = side.queries.attempts(&id(1)).unwrap();
    let states: Vec<_> = attempts.iter().map(|attempt| (attempt.number, attempt.state)).collect();
    assert_eq!(states, [(1, AttemptState::Rejected), (2, AttemptState::Intended)]);
    assert_ne!(attempts[0].key, attempts[1].key);
}

fn a_person_adopts_and_corrects(mut side: Side) {
    let ada = side.account("ada").id;
    side.submit(vec![claimed(task(1, ada), START)]);
    side.change(&id(1), START + 1, Event::SubmitAnswered(SubmitAnswer::Ambiguous("cut".into())));
    side.change(&id(1), START + 2, Event::DoubtStands("nobody knows".into()));
    assert_eq!(side.state(&id(1)), TaskState::Held);
    side.change(&id(1), START + 3, Event::Settled(Settlement::Fail { reason: "enough".into() }));
    let abandon = Event::RetryRequested { reset_count: true, abandon: Some("it is gone".into()) };
    side.change(&id(1), START + 4, abandon);
    assert_eq!(side.state(&id(1)), TaskState::Pending);

    side.submit(vec![claimed(task(2, ada), START)]);
    side.change(&id(2), START + 1, accepted("job"));
    for _ in 0..3 {
        side.change(&id(2), START + 2, contentd_missing());
    }
    assert_eq!(side.state(&id(2)), TaskState::Held);
    let adopt = Settlement::Adopt { reference: "found".into(), key: key_of(&id(2), 77) };
    let changed = side.change(&id(2), START + 3, Event::Settled(adopt));
    let attempt = changed.change.attempt.unwrap();
    assert_eq!((attempt.number, attempt.state), (2, AttemptState::Accepted), "a row of its own, accepted at once");

    side.change(&id(1), START + 5, correct(CorrectedState::Timeout));
    assert_eq!(side.state(&id(1)), TaskState::Timeout);
}

fn one_job_is_not_two_tasks(mut side: Side) {
    let ada = side.account("ada").id;
    let of = |n: usize, generator: &str| {
        let mut asked = task(n, ada);
        asked.generator = generator.into();
        claimed(asked, START)
    };
    side.submit((1..=4).map(|n| of(n, "assumed")).chain([of(5, "other")]).collect());
    let found = |reference: &str| Event::FindAnswered {
        answer: FindAnswer::One { reference: reference.into() },
        began_at: Timestamp(START + 2),
    };
    let adopt = |n: usize, reference: &str| {
        let key = key_of(&id(n), 50);
        Event::Settled(Settlement::Adopt { reference: reference.into(), key })
    };
    let owner = |side: &Side, n: usize| {
        let task = side.queries.task(&id(n)).unwrap().unwrap().0;
        (task.state, task.reason.is_some_and(|reason| reason.contains(&format!("is the job of {}", id(1)))))
    };
    // The first has it, and another generator's job may be called so too.
    side.change(&id(1), START + 1, accepted("job"));
    side.change(&id(5), START + 1, accepted("job"));
    assert_eq!(side.state(&id(5)), TaskState::Submitted);
    // In one commit with it, by a submit and by a search.
    let batch = [
        event_of(&id(2), START + 1, accepted("job")),
        event_of(&id(3), START + 1, Event::SubmitAnswered(SubmitAnswer::Ambiguous("cut".into()))),
        event_of(&id(3), START + 2, found("job")),
    ];
    assert!(side.backend.commit(&batch).unwrap().iter().all(Result::is_ok));
    for n in [2, 3] {
        assert_eq!(owner(&side, n), (TaskState::Held, true));
        let attempt = side.queries.attempts(&id(n)).unwrap().remove(0);
        assert_eq!((attempt.state, attempt.external_ref), (AttemptState::Unknown, None));
    }
    // By a person, and by the key that a job of the first may be called by.
    let first_key = side.queries.attempts(&id(1)).unwrap()[0].key.0.clone();
    for reference in ["job", first_key.as_str()] {
        let refusal = Refusal::JobOfAnother { reference: reference.to_owned(), owner: id(1) };
        let refused = WriteError::Refused { task_id: id(2), state: TaskState::Held, refusal };
        assert_eq!(side.write(event_of(&id(2), START + 3, adopt(2, reference))), Err(refused));
    }
    // Its own again is no other's.
    side.change(&id(1), START + 4, Event::PollAnswered(PollAnswer::Missing { is_complete: true, by_name: false }));
    assert!(side.write(event_of(&id(1), START + 5, accepted("job"))).is_ok());
    // What has failed is nobody's for a person, who may know better than a generator that mixes its jobs up.
    side.change(&id(1), START + 6, polled(JobState::Failed));
    side.change(&id(4), START + 7, accepted("job"));
    assert_eq!(owner(&side, 4), (TaskState::Held, true));
    side.change(&id(2), START + 8, adopt(2, "job"));
    assert_eq!(side.state(&id(2)), TaskState::Submitted);
    // A job whose piece was taken is nobody else's.
    side.change(&id(2), START + 9, polled(JobState::Completed));
    side.change(&id(2), START + 10, piece("# Words\n\nwritten well"));
    assert!(matches!(
        side.write(event_of(&id(3), START + 11, adopt(3, "job"))),
        Err(WriteError::Refused { refusal: Refusal::JobOfAnother { owner, .. }, .. }) if owner == id(2)
    ));
    // Once that is cleaned up, nobody knows of it.
    side.write(Write::Cleanup { finished_before: Timestamp(START + 99), after: None, limit: 5 }).unwrap();
    side.change(&id(3), START + 12, adopt(3, "job"));
}

fn contentd_missing() -> Event {
    Event::PollAnswered(PollAnswer::Missing { is_complete: true, by_name: false })
}

fn correct(to: CorrectedState) -> Event {
    Event::Corrected { to, reason: "a person says so".into(), abandon: false }
}

fn a_late_piece_is_kept_for_review(mut side: Side) {
    let ada = side.account("ada").id;
    side.submit(vec![claimed(task(1, ada), START)]);
    side.change(&id(1), START + 1, accepted("job"));
    side.change(&id(1), START + 2, Event::CancelRequested);
    let past = START + 3_600_000;
    side.change(&id(1), past, Event::DeadlineReached { is_end_proved: false });
    assert_eq!(side.state(&id(1)), TaskState::Cancelled);
    let watched = side.queries.in_flight().unwrap();
    assert_eq!((watched.len(), watched[0].jobs), (1, 1), "its job may be alive and still counts");
    let changed = side.change(&id(1), past + 1, piece("late"));
    assert_eq!(side.state(&id(1)), TaskState::Cancelled);
    let content = side.queries.content(changed.content_id.unwrap()).unwrap().unwrap();
    assert_eq!(content.record.review_status, ReviewState::PendingReview);
    assert!(changed.pool_id.is_none());
    assert!(side.queries.in_flight().unwrap().is_empty());
}

fn a_piece_that_was_faster_than_its_cancel_waits_for_review(mut side: Side) {
    let ada = side.account("ada").id;
    side.submit(vec![claimed(task(1, ada), START)]);
    side.change(&id(1), START + 1, accepted("job"));
    side.change(&id(1), START + 2, Event::CancelRequested);
    let changed = side.change(&id(1), START + 3, piece("faster"));
    assert_eq!(side.state(&id(1)), TaskState::Completed);
    let content = side.queries.content(changed.content_id.unwrap()).unwrap().unwrap();
    assert_eq!(content.record.review_status, ReviewState::PendingReview, "nobody wants it to go out by itself");
    assert!(content.record.review_reason.is_some_and(|why| why.contains("came too late")));
    assert!(changed.pool_id.is_none());
}

fn review(content_id: ContentId, decision: ReviewMove, expected_hash: Option<&str>) -> Write {
    Write::Review {
        content_id,
        decision,
        reason: Some("read it".into()),
        expected_hash: expected_hash.map(str::to_owned),
        who: "1001:bob".into(),
        due: None,
        now: Timestamp(START + 500),
    }
}

fn a_review_decides_about_the_pool(mut side: Side) {
    let ada = side.account("ada").id;
    let mut asked = task(1, ada);
    asked.auto_approve = false;
    asked.priority = 9;
    side.submit(vec![new(asked)]);
    let content = side.complete(&id(1), START + 10).content_id.unwrap();
    let approve = |hash| review(content, ReviewMove::Approved, hash);
    assert!(matches!(side.write(approve(Some("another"))), Err(WriteError::HashChanged { .. })));
    let hash = format!("hash of {}", id(1));
    let Ok(Written::Reviewed(record)) = side.write(approve(Some(&hash))) else { panic!("approved") };
    assert_eq!(record.record.review_status, ReviewState::Approved);
    assert_eq!(side.queries.content(content).unwrap().unwrap(), *record);
    let pool = |side: &Side| side.queries.pool(&PoolFilter::default(), Page::first(9)).unwrap();
    assert_eq!(pool(&side)[0].priority, 9);
    assert_eq!(side.queries.pool_entry_of(content).unwrap().as_ref(), pool(&side).first());
    assert!(matches!(side.write(approve(None)), Err(WriteError::ReviewRefused { .. })));
    side.write(review(content, ReviewMove::Rejected, None)).unwrap();
    assert!(pool(&side).is_empty());
    assert_eq!(side.queries.pool_entry_of(content).unwrap(), None);
    let removed = PoolFilter { status: Some(PoolState::Removed), account: Some(ada), now: None };
    assert_eq!(side.queries.pool(&removed, Page::first(9)).unwrap().len(), 1);
    assert_eq!(side.queries.content(content).unwrap().unwrap().record.publish_status, PublishState::Unpublished);
    side.write(approve(None)).expect("a rejected piece may be approved after all");
    assert_eq!(pool(&side).len(), 1);
    assert_eq!(
        side.write(review(ContentId(77), ReviewMove::Approved, None)),
        Err(WriteError::ContentNotFound(ContentId(77)))
    );
    let reviews = side.queries.history(&id(1)).unwrap().into_iter().filter(|row| row.event.starts_with("content_"));
    assert_eq!(reviews.count(), 3);
}

/// Leaves the mark of a restore at a time.
fn restored(side: &mut Side, at: i64, is_nothing_since: bool, earlier_doubt: Option<Timestamp>) {
    let (file, who) = ("b.db".into(), "0:root".into());
    let mark = RestoreMark {
        at: Timestamp(at),
        file,
        who,
        is_nothing_since,
        is_done: true,
        earlier_doubt,
        witnesses: Vec::new(),
    };
    side.write(Write::PutSetting { name: SETTING.into(), value: Some(mark.to_json().unwrap()) }).unwrap();
}

/// Whether the newest entry of the pool waits for a release.
fn is_newest_held(side: &Side) -> bool {
    let pool = side.queries.pool(&PoolFilter::default(), Page::first(99)).unwrap();
    pool.iter().max_by_key(|entry| entry.id).expect("an entry").held_reason.is_some()
}

fn after_a_restore_what_may_be_out_waits_in_the_pool(mut side: Side) {
    let ada = side.account("ada").id;
    let reviewed = |n| Task { auto_approve: false, ..task(n, ada) };
    let approve = |side: &mut Side, content: Option<ContentId>| {
        side.write(review(content.unwrap(), ReviewMove::Approved, None)).expect("approved");
        is_newest_held(side)
    };
    let at = START + 10_000;
    // Under way in the backup; fetched after the restore, and approved then.
    side.submit(vec![claimed(reviewed(1), START), claimed(task(2, ada), START), new(task(3, ada)), new(task(4, ada))]);
    side.submit(vec![new(reviewed(5)), new(task(7, ada))]);
    for n in [1, 2] {
        side.change(&id(n), START + 1, accepted(&format!("job-{n}")));
    }
    // Past its time in the backup, with a job that may be alive.
    side.change(&id(2), START + 2, Event::Corrected { to: CorrectedState::Failed, reason: "r".into(), abandon: true });
    let settled = Event::Settled(Settlement::Fail { reason: "enough".into() });
    side.submit(vec![claimed(task(8, ada), START)]);
    side.change(&id(8), START + 1, Event::SubmitAnswered(SubmitAnswer::Ambiguous("cut".into())));
    side.change(&id(8), START + 2, Event::DoubtStands("nobody knows".into()));
    side.change(&id(8), START + 3, settled);
    let old = side.complete(&id(5), START + 20).content_id;
    let free = |side: &mut Side, event| {
        let Write::Transition(mut transition) = event_of(&id(3), at + 1, event) else { unreachable!() };
        transition.env.policy =
            std::sync::Arc::new(contentd::task::Policy { is_free_to_repeat: true, ..(*policy()).clone() });
        side.write(Write::Transition(transition)).unwrap()
    };
    for n in [1, 7] {
        side.change(&id(n), at, Event::Restored { at: Timestamp(at) });
    }
    side.write(Write::MarkEnded { at: Timestamp(at) }).unwrap();
    restored(&mut side, at, false, None);

    let fetched = side.change(&id(1), at + 5, piece("fetched again")).content_id;
    assert!(approve(&mut side, fetched), "a piece of a task that the lost daemon had too");
    assert!(approve(&mut side, old), "a piece that is older than the restore");
    side.change(
        &id(8),
        at + 6,
        Event::FindAnswered { answer: FindAnswer::One { reference: "late".into() }, began_at: Timestamp(at) },
    );
    side.change(&id(8), at + 7, piece("late"));
    assert!(is_newest_held(&side), "a late piece, approved by itself");
    for event in [Event::Claimed { key: key_of(&id(3), 1) }, accepted("job-3"), polled(JobState::Processing)] {
        free(&mut side, event);
    }
    free(&mut side, piece("repeated"));
    assert!(is_newest_held(&side), "what was made again because that is free");

    // What nothing was made of since, and what came since, goes out.
    side.change(&id(7), at + 8, Event::Settled(Settlement::Released));
    side.complete(&id(7), at + 10);
    assert!(!is_newest_held(&side), "a person has said that nothing was made of it");
    side.submit(vec![new(Task { created_at: Timestamp(at + 15), ..reviewed(9) })]);
    let fresh = side.complete(&id(9), at + 20).content_id;
    assert!(!approve(&mut side, fresh), "it came after the restore");

    // Another restore after which nothing had run takes nothing back of the doubt before it; a mark that cannot be read neither.
    restored(&mut side, at + 100, true, Some(Timestamp(at)));
    side.submit(vec![new(Task { created_at: Timestamp(at + 20), ..task(10, ada) })]);
    side.complete(&id(10), at + 30);
    assert!(!is_newest_held(&side), "begun after the restore that left doubts");
    side.write(review(fetched.unwrap(), ReviewMove::Rejected, None)).unwrap();
    assert!(approve(&mut side, fetched), "begun before it");
    side.write(Write::PutSetting { name: SETTING.into(), value: Some("{".into()) }).unwrap();
    side.complete(&id(4), at + 200);
    assert!(is_newest_held(&side), "a mark that cannot be read clears nothing");
}

fn after_a_restore_what_had_ended_is_marked(mut side: Side) {
    let ada = side.account("ada").id;
    side.submit((1..=4).map(|n| new(task(n, ada))).collect());
    for (n, to) in [(1, CorrectedState::Failed), (2, CorrectedState::Timeout), (3, CorrectedState::Cancelled)] {
        side.change(&id(n), START + 1, correct(to));
    }
    side.complete(&id(4), START + 2);
    side.write(Write::MarkEnded { at: Timestamp(START + 10) }).unwrap();
    let marks =
        |side: &Side| (1..=4).map(|n| side.queries.task(&id(n)).unwrap().unwrap().0.restored_at).collect::<Vec<_>>();
    let at = Some(Timestamp(START + 10));
    assert_eq!(marks(&side), [at, at, at, None]);
    let retry = || Event::RetryRequested { reset_count: true, abandon: None };
    for n in 1..=3 {
        let refused = side.write(event_of(&id(n), START + 11, retry()));
        assert!(matches!(refused, Err(WriteError::Refused { refusal: Refusal::RestoredSince, .. })), "{refused:?}");
        let released = side.change(&id(n), START + 12, Event::Settled(Settlement::Released));
        assert_eq!(released.change.task.state, released.from, "it stays as it was");
        side.change(&id(n), START + 13, retry());
    }
    assert_eq!(marks(&side), [None; 4]);
}

fn cleanup_takes_the_oldest_and_keeps_pieces_and_keys(mut side: Side) {
    let ada = side.account("ada").id;
    let mut keyed = task(1, ada);
    keyed.key = Some("order-1".into());
    side.submit(vec![new(keyed.clone()), new(task(2, ada)), new(task(3, ada)), new(task(4, ada))]);
    let content = side.complete(&id(1), START + 10).content_id.unwrap();
    side.change(&id(3), START + 20, Event::CancelRequested);
    side.change(&id(2), START + 30, Event::CancelRequested);
    let before = Timestamp(START + 31);
    assert_eq!(side.queries.count_finished_before(before).unwrap(), 3);
    let clean =
        |side: &mut Side, limit| match side.write(Write::Cleanup { finished_before: before, after: None, limit }) {
            Ok(Written::Cleaned { tasks, next }) => (tasks, next.is_some()),
            other => panic!("{other:?}"),
        };
    let waits = |side: &Side| side.queries.content(content).unwrap().unwrap().record.review_status;
    assert_eq!(waits(&side), ReviewState::Approved);
    assert_eq!(clean(&mut side, 2), (vec![id(1), id(3)], true));
    assert_eq!(names(&side.queries.tasks(&TaskFilter::default(), Page::first(9)).unwrap()), ["4", "2"]);
    assert_eq!(clean(&mut side, 9), (vec![id(2)], false));
    assert_eq!(clean(&mut side, 9), (vec![], false));
    assert!(side.queries.history(&id(1)).unwrap().is_empty() && side.queries.attempts(&id(1)).unwrap().is_empty());
    assert!(side.queries.content(content).unwrap().is_some());
    side.write(review(content, ReviewMove::Rejected, None)).expect("a piece is reviewed without its task");
    let again = side.write(submit(vec![new(keyed)]));
    let spent = || Err(WriteError::KeySpent { key: "order-1".into(), task_id: id(1) });
    assert_eq!(again, spent());
    let mut other = task(9, ada);
    (other.key, other.topic) = (Some("order-1".into()), "something else".into());
    assert_eq!(
        side.write(submit(vec![new(other)])),
        spent(),
        "there is no task any more that it could be another than"
    );
    assert_eq!(side.queries.counts().unwrap().into_iter().collect::<Vec<_>>(), [(TaskState::Pending, 1)]);
}

fn cleanup_leaves_a_task_whose_piece_waits_for_a_review(mut side: Side) {
    let ada = side.account("ada").id;
    let mut asked = task(1, ada);
    asked.auto_approve = false;
    side.submit(vec![new(asked), new(task(2, ada)), new(task(3, ada))]);
    let content = side.complete(&id(1), START + 10).content_id.unwrap();
    side.change(&id(2), START + 20, Event::CancelRequested);
    side.change(&id(3), START + 30, Event::CancelRequested);
    let before = Timestamp(START + 31);
    let cleaned = |side: &mut Side| match side.write(Write::Cleanup { finished_before: before, after: None, limit: 2 })
    {
        Ok(Written::Cleaned { tasks, .. }) => tasks,
        other => panic!("{other:?}"),
    };
    assert_eq!(side.queries.count_finished_before(before).unwrap(), 2);
    assert_eq!(cleaned(&mut side), [id(2), id(3)], "one that stays takes nobody's place");
    assert_eq!(cleaned(&mut side), []);
    assert_eq!(side.queries.count_finished_before(before).unwrap(), 0);
    side.write(review(content, ReviewMove::Rejected, None)).unwrap();
    assert_eq!(side.queries.count_finished_before(before).unwrap(), 1);
    assert_eq!(cleaned(&mut side), [id(1)], "decided, it goes as any other");
}

fn cleanup_goes_on_where_a_slice_has_ended(mut side: Side) {
    let ada = side.account("ada").id;
    let kept = |number| Task { auto_approve: false, ..task(number, ada) };
    side.submit(vec![new(kept(1)), new(task(2, ada)), new(kept(3)), new(task(4, ada)), new(task(5, ada))]);
    let content = side.complete(&id(1), START + 10).content_id.unwrap();
    side.complete(&id(3), START + 16);
    for n in [5, 2, 4] {
        // All at once: then their numbers say which is the first.
        side.change(&id(n), START + 20, Event::CancelRequested);
    }
    let clean = |side: &mut Side, after, limit| match side.write(Write::Cleanup {
        finished_before: Timestamp(START + 99),
        after,
        limit,
    }) {
        Ok(Written::Cleaned { tasks, next }) => (tasks, next),
        other => panic!("{other:?}"),
    };
    let (first, next) = clean(&mut side, None, 1);
    assert_eq!(first, [id(2)], "what waits for a review is stepped over");
    side.write(review(content, ReviewMove::Rejected, None)).unwrap();
    let (second, next) = clean(&mut side, Some(next.expect("there is more")), 1);
    assert_eq!(second, [id(4)], "no slice goes back to what an earlier one has looked at");
    assert_eq!(clean(&mut side, Some(next.expect("there is more")), 1), (vec![id(5)], None));
    assert_eq!(clean(&mut side, None, 9), (vec![id(1)], None), "the next cleanup begins anew");
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
