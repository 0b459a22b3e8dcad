//! A task's life: claims, attempts, late messages, people, pieces.

use contentd::store::query::{LongText, Page, PoolFilter};
use contentd::store::write::{Transition, Write, WriteError};
use contentd::task::content::ReviewState;
use contentd::task::outcome::{FetchAnswer, FindAnswer, JobState, PollAnswer, SubmitAnswer};
use contentd::task::{
    AttemptState, ContentId, CorrectedState, Event, Refusal, Settlement, TaskMove, TaskState, Timestamp,
};

use super::common::*;

on_every_backend! {
    a_life_from_claim_to_pool,
    long_texts_are_read_in_parts,
    a_claim_rides_with_its_submit,
    late_messages_change_nothing,
    a_retry_gets_an_attempt_of_its_own,
    a_person_adopts_and_corrects,
    one_job_is_not_two_tasks,
    a_late_piece_is_kept_for_review,
    a_piece_that_was_faster_than_its_cancel_waits_for_review,
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
