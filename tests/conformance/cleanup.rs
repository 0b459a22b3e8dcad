//! What a cleanup takes, and what it leaves.

use contentd::store::query::{Page, TaskFilter};
use contentd::store::write::{Write, WriteError, Written};
use contentd::task::content::{ReviewMove, ReviewState};
use contentd::task::{Event, Task, TaskState, Timestamp};

use super::common::*;

on_every_backend! {
    cleanup_takes_the_oldest_and_keeps_pieces_and_keys,
    cleanup_leaves_a_task_whose_piece_waits_for_a_review,
    cleanup_goes_on_where_a_slice_has_ended,
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
    side.write(review_of(content, ReviewMove::Rejected, None)).expect("a piece is reviewed without its task");
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
    side.write(review_of(content, ReviewMove::Rejected, None)).unwrap();
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
    side.write(review_of(content, ReviewMove::Rejected, None)).unwrap();
    let (second, next) = clean(&mut side, Some(next.expect("there is more")), 1);
    assert_eq!(second, [id(4)], "no slice goes back to what an earlier one has looked at");
    assert_eq!(clean(&mut side, Some(next.expect("there is more")), 1), (vec![id(5)], None));
    assert_eq!(clean(&mut side, None, 9), (vec![id(1)], None), "the next cleanup begins anew");
}
