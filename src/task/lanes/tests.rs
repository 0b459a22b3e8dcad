//! The window against a queue that is sorted as a whole.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn key(account: i64) -> LaneKey {
    LaneKey { generator: "g".into(), account: AccountId(account) }
}

fn waiting(seq: i64, priority: u8) -> Waiting {
    Waiting { id: TaskId(format!("task-{seq:012}")), priority, queued_at: Timestamp(seq / 3), seq }
}

/// The store: every waiting task.
#[derive(Default)]
struct Queue(BTreeMap<TaskId, (LaneKey, Waiting)>);

impl Queue {
    fn add(&mut self, key: LaneKey, waiting: Waiting) {
        self.0.insert(waiting.id.clone(), (key, waiting));
    }

    fn lane(&self, key: &LaneKey) -> Vec<Waiting> {
        let mut lane: Vec<Waiting> =
            self.0.values().filter(|(lane, _)| lane == key).map(|(_, waiting)| waiting.clone()).collect();
        lane.sort_by_key(Waiting::place);
        lane
    }

    fn heads(&self, bounds: Bounds, can_run: impl Fn(&LaneKey) -> bool) -> (Vec<Head>, bool) {
        let keys: BTreeSet<&LaneKey> = self.0.values().map(|(key, _)| key).collect();
        let mut heads: Vec<Head> = keys
            .into_iter()
            .filter(|key| can_run(key))
            .map(|key| {
                let mut tasks = self.lane(key);
                let has_more = tasks.len() >= bounds.per_lane;
                tasks.truncate(bounds.per_lane);
                Head { key: key.clone(), tasks, has_more }
            })
            .collect();
        heads.sort_by_key(|head| head.tasks.first().map(Waiting::place));
        let is_every_lane = heads.len() < bounds.lanes;
        heads.truncate(bounds.lanes);
        (heads, is_every_lane)
    }

    fn refill(&self, lanes: &mut Lanes) {
        lanes.begin_refill();
        let (heads, is_every_lane) = self.heads(lanes.bounds(), |_| true);
        lanes.refill(heads, is_every_lane);
    }

    fn best(&self, can_run: impl Fn(&LaneKey) -> bool) -> Option<TaskId> {
        let runnable = self.0.values().filter(|(key, _)| can_run(key));
        runnable.map(|(_, waiting)| waiting).min_by_key(|waiting| waiting.place()).map(|waiting| waiting.id.clone())
    }
}

#[test]
fn the_best_of_all_lanes_runs_first() {
    let mut lanes = Lanes::default();
    lanes.begin_refill();
    lanes.refill(vec![], true);
    assert!(!lanes.needs_refill(), "an empty queue is known to be empty");
    lanes.push(key(1), waiting(1, 5));
    lanes.push(key(2), waiting(2, 10));
    lanes.push(key(1), waiting(3, 10));
    lanes.push(key(2), waiting(4, 1));
    let order: Vec<i64> = std::iter::from_fn(|| lanes.next(|_| true)).map(|(_, waiting)| waiting.seq).collect();
    assert_eq!(order, [2, 3, 1, 4]);
    assert!(lanes.is_empty() && !lanes.needs_refill());
}

#[test]
fn a_lane_at_its_limit_with_a_million_rows_starves_nobody_and_takes_little_room() {
    let mut lanes = Lanes::default();
    lanes.begin_refill();
    lanes.refill(vec![], true);
    for seq in 0..1_000_000 {
        lanes.push(key(1), waiting(seq, 10));
    }
    lanes.push(key(2), waiting(1_000_000, 1));
    assert_eq!(lanes.len(), 65);
    let (lane, task) = lanes.next(|key| key.account != AccountId(1)).expect("the other account can run");
    assert_eq!((lane, task.seq), (key(2), 1_000_000));
    assert_eq!(lanes.next(|key| key.account != AccountId(1)), None);
    assert!(!lanes.needs_refill(), "a full window asks for nothing");
}

#[test]
fn the_probe_is_the_oldest_of_its_lane_also_behind_the_window() {
    let mut lanes = Lanes::new(Bounds { per_lane: 2, lanes: 4 });
    let mut queue = Queue::default();
    queue.add(key(1), waiting(1, 1));
    for seq in 10..14 {
        queue.add(key(1), waiting(seq, 9));
    }
    queue.refill(&mut lanes);
    lanes.remember_oldest(&key(1), &waiting(1, 1));
    assert_eq!(lanes.len(), 3);
    let probe = |lanes: &mut Lanes| lanes.next_or_probe(|_| true, |_| true).map(|(_, waiting)| waiting.seq);
    assert_eq!((probe(&mut lanes), lanes.len()), (Some(1), 2));
    assert_eq!(probe(&mut lanes), Some(10), "nobody has said which is the next");
    // One that is in the window already is not there twice, and what is refilled is asked for anew.
    queue.refill(&mut lanes);
    lanes.remember_oldest(&key(1), &waiting(10, 9));
    assert_eq!(lanes.len(), 2);
    lanes.remember_oldest(&key(1), &waiting(1, 1));
    queue.refill(&mut lanes);
    assert_eq!(lanes.len(), 2);
    // Without a probe it is no better than its priority; and one that waits no more is no probe.
    lanes.remember_oldest(&key(1), &waiting(1, 1));
    assert_eq!(lanes.next(|_| true).map(|(_, waiting)| waiting.seq), Some(10));
    assert!(lanes.remove(&waiting(1, 1).id));
    assert_eq!(probe(&mut lanes), Some(11));
    // A lane that makes way takes it along.
    lanes.remember_oldest(&key(1), &waiting(1, 1));
    assert_eq!((lanes.drop_blocked(|_| false), lanes.len()), (1, 0));
}

#[test]
fn what_is_pushed_behind_the_window_waits_for_the_refill() {
    let mut lanes = Lanes::new(Bounds { per_lane: 2, lanes: 4 });
    let mut queue = Queue::default();
    for seq in 0..4 {
        queue.add(key(1), waiting(seq, 5));
    }
    queue.refill(&mut lanes);
    assert_eq!(lanes.len(), 2);
    lanes.next(|_| true);
    lanes.next(|_| true);
    // There is room, but 2 and 3 stand before it.
    lanes.push(key(1), waiting(9, 5));
    assert_eq!(lanes.next(|_| true), None);
    assert_eq!(lanes.lanes_needing_refill(), [key(1)]);
    for seq in [0, 1] {
        queue.0.remove(&waiting(seq, 5).id);
    }
    queue.add(key(1), waiting(9, 5));
    queue.refill(&mut lanes);
    assert_eq!(lanes.next(|_| true).map(|(_, waiting)| waiting.seq), Some(2));
}

#[test]
fn what_comes_while_the_store_is_read_is_asked_for_again() {
    let mut lanes = Lanes::new(Bounds { per_lane: 8, lanes: 4 });
    let mut queue = Queue::default();
    queue.add(key(1), waiting(5, 5));
    lanes.begin_refill();
    let (heads, is_every_lane) = queue.heads(lanes.bounds(), |_| true);
    // The read does not have these two any more.
    for (account, seq) in [(1, 6), (2, 7)] {
        queue.add(key(account), waiting(seq, 9));
        lanes.push(key(account), waiting(seq, 9));
    }
    lanes.refill(heads, is_every_lane);
    assert_eq!(lanes.lanes_needing_refill(), [key(1), key(2)]);
    queue.refill(&mut lanes);
    assert_eq!(lanes.len(), 3);
    assert!(!lanes.needs_refill());
}

#[test]
fn a_changed_priority_moves_a_task_and_a_removed_one_is_gone() {
    let mut lanes = Lanes::default();
    lanes.begin_refill();
    lanes.refill(vec![], true);
    lanes.push(key(1), waiting(1, 5));
    lanes.push(key(1), waiting(2, 5));
    lanes.push(key(1), Waiting { priority: 9, ..waiting(2, 5) });
    assert_eq!(lanes.len(), 2);
    assert!(lanes.remove(&waiting(1, 5).id));
    assert!(!lanes.remove(&waiting(1, 5).id));
    assert_eq!(lanes.next(|_| true).map(|(_, waiting)| waiting.priority), Some(9));
    assert_eq!(lanes.next(|_| true), None);
}

#[test]
fn more_blocked_lanes_than_fit_starve_nobody() {
    let bounds = Bounds { per_lane: 4, lanes: 8 };
    let mut lanes = Lanes::new(bounds);
    let mut queue = Queue::default();
    for seq in 0..200 {
        queue.add(key(seq % 20), waiting(seq, 9));
    }
    queue.add(key(99), waiting(1_000, 1));
    queue.refill(&mut lanes);
    let can_run = |key: &LaneKey| key.account == AccountId(99);
    assert_eq!(lanes.next(can_run), None);
    assert!(lanes.has_lanes_behind());
    assert_eq!(lanes.drop_blocked(can_run), 8);
    lanes.begin_refill();
    let (heads, _) = queue.heads(Bounds { lanes: 100, ..bounds }, can_run);
    lanes.refill(heads, false);
    assert_eq!(lanes.next(can_run).map(|(_, waiting)| waiting.seq), Some(1_000));
    assert!(lanes.has_lanes_behind(), "the blocked ones are not forgotten");
}

#[derive(Clone, Debug)]
enum Op {
    Push { account: i64, priority: u8 },
    Remove { nth: usize },
    Next { blocked: u8 },
    Read,
    Arrive,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0i64..6, 1u8..=10).prop_map(|(account, priority)| Op::Push { account, priority }),
        1 => (0usize..100).prop_map(|nth| Op::Remove { nth }),
        4 => any::<u8>().prop_map(|blocked| Op::Next { blocked }),
        1 => Just(Op::Read),
        1 => Just(Op::Arrive),
    ]
}

proptest! {
    /// Whatever is pushed, removed, taken and read late: with its refills done, the window chooses what a full sort would.
    #[test]
    fn the_order_equals_a_full_sort(ops in prop::collection::vec(op(), 1..200), per_lane in 1usize..6) {
        let mut lanes = Lanes::new(Bounds { per_lane, lanes: 8 });
        let mut queue = Queue::default();
        let mut reading = None;
        for (seq, op) in ops.into_iter().enumerate() {
            match op {
                Op::Push { account, priority } => {
                    let waiting = waiting(i64::try_from(seq).expect("few"), priority);
                    queue.add(key(account), waiting.clone());
                    lanes.push(key(account), waiting);
                }
                Op::Remove { nth } => {
                    let id = queue.0.keys().nth(nth).cloned();
                    if let Some(id) = id {
                        queue.0.remove(&id);
                        lanes.remove(&id);
                    }
                }
                Op::Read => {
                    lanes.begin_refill();
                    reading = Some(queue.heads(lanes.bounds(), |_| true));
                }
                Op::Arrive => {
                    if let Some((heads, is_every_lane)) = reading.take() {
                        lanes.refill(heads, is_every_lane);
                    }
                }
                Op::Next { blocked } => {
                    if reading.is_some() {
                        continue;
                    }
                    let can_run = |key: &LaneKey| blocked & (1 << key.account.0) == 0;
                    if lanes.needs_refill() {
                        queue.refill(&mut lanes);
                    }
                    prop_assert!(!lanes.needs_refill(), "one refill is enough");
                    let expected = queue.best(can_run);
                    // A task that was taken while the store was read may come back: its claim is refused.
                    let mut got = lanes.next(can_run);
                    while got.as_ref().is_some_and(|(_, waiting)| !queue.0.contains_key(&waiting.id)) {
                        if lanes.needs_refill() {
                            queue.refill(&mut lanes);
                        }
                        got = lanes.next(can_run);
                    }
                    prop_assert_eq!(got.as_ref().map(|(_, waiting)| waiting.id.clone()), expected);
                    if let Some((_, waiting)) = got {
                        queue.0.remove(&waiting.id);
                    }
                }
            }
            prop_assert!(lanes.len() <= 8 * per_lane);
        }
    }

    /// With more lanes than fit, nothing that can run is left waiting, and the window stays small.
    #[test]
    fn every_task_is_taken_once(tasks in prop::collection::vec((0i64..40, 1u8..=10), 1..150)) {
        let mut lanes = Lanes::new(Bounds { per_lane: 3, lanes: 5 });
        let mut queue = Queue::default();
        for (seq, (account, priority)) in tasks.iter().enumerate() {
            let waiting = waiting(i64::try_from(seq).expect("few"), *priority);
            queue.add(key(*account), waiting.clone());
            lanes.push(key(*account), waiting);
            prop_assert!(lanes.len() <= 15);
        }
        let mut taken = 0;
        while !queue.0.is_empty() {
            if lanes.needs_refill() {
                queue.refill(&mut lanes);
            }
            let (_, waiting) = lanes.next(|_| true).expect("something can run");
            prop_assert!(queue.0.remove(&waiting.id).is_some(), "twice");
            taken += 1;
        }
        prop_assert_eq!(taken, tasks.len());
    }
}

/// A probe stands for all the others: the one that has been longest in line, whatever its priority and its account.
#[test]
fn of_a_generator_that_is_probed_the_longest_in_line_comes_next() {
    let mut lanes = Lanes::new(Bounds { per_lane: 8, lanes: 8 });
    lanes.begin_refill();
    lanes.refill(vec![], true);
    let at =
        |seq: i64, priority: u8, queued_at: i64| Waiting { queued_at: Timestamp(queued_at), ..waiting(seq, priority) };
    lanes.push(key(1), at(1, 9, 500));
    lanes.push(key(1), at(2, 5, 20));
    lanes.push(key(2), at(3, 8, 400));
    lanes.push(key(2), at(4, 1, 10));
    let other = LaneKey { generator: "other".into(), account: AccountId(1) };
    lanes.push(other.clone(), at(5, 5, 900));
    let is_probed = |name: &GeneratorName| name.as_str() == "g";
    let mut next = || lanes.next_or_probe(|_| true, is_probed).map(|(_, waiting)| waiting.seq);
    // Against another generator's tasks its own priority counts.
    assert_eq!([next(), next(), next(), next(), next(), next()], [Some(5), Some(4), Some(2), Some(3), Some(1), None]);
}
