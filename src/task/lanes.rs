//! Whose turn is it? A bounded window on the waiting tasks: the heads of the lanes (generator, account).
//!
//! Pure and deterministic: no clock, no store, ordered maps only. It must not grow with the queue, and it must not let a
//! lane that cannot run now stand in the way of others. The rows are the queue; what is lost here is only read again.
//!
//! The surprise: a lane knows how far its knowledge goes. Behind its *horizon* there may be tasks that only the store has,
//! so a task that is pushed there is left out even where there is room: an older one could lie before it. And the store
//! is read while tasks keep coming, so a refill is begun before the read ([`Lanes::begin_refill`]) and what was pushed out
//! of sight in between is asked for again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::ids::{AccountId, GeneratorName, TaskId};
use super::time::Timestamp;

/// A lane: the tasks of one account for one generator share one limit, so one of them that cannot run stops them all.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LaneKey {
    /// The generator.
    pub generator: GeneratorName,
    /// The account.
    pub account: AccountId,
}

/// A waiting task, as small as its place in line needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Which.
    pub id: TaskId,
    /// 10 runs first.
    pub priority: u8,
    /// Where it stands among its priority.
    pub queued_at: Timestamp,
    /// The order of creation, which decides among equals.
    pub seq: i64,
}

/// The order of running: priority descending, then age, then creation. The id comes last so that no two are equal.
type Place = (Reverse<u8>, Timestamp, i64, TaskId);

impl Waiting {
    fn place(&self) -> Place {
        (Reverse(self.priority), self.queued_at, self.seq, self.id.clone())
    }

    fn at((Reverse(priority), queued_at, seq, id): Place) -> Self {
        Self { id, priority, queued_at, seq }
    }
}

/// How much is kept in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Tasks of a lane; at least 1.
    pub per_lane: usize,
    /// Lanes; at least 1.
    pub lanes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { per_lane: 64, lanes: 256 }
    }
}

/// The head of one lane, as the store read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Which lane.
    pub key: LaneKey,
    /// Its first ready tasks, in any order.
    pub tasks: Vec<Waiting>,
    /// There may be more behind them: the store gave as many as it was asked for.
    pub has_more: bool,
}

/// What lies behind a lane's window.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Behind {
    /// Nothing: the window is the lane.
    Nothing,
    /// Tasks that only the store has, all of them after this place.
    After(Place),
    /// Tasks that only the store has, wherever.
    Anything,
}

#[derive(Debug)]
struct Lane {
    tasks: BTreeSet<Place>,
    behind: Behind,
    /// Something was pushed out of sight while the store was being read.
    was_missed: bool,
    /// The one that is longest in line, where it is known and stands behind the window.
    oldest: Option<Place>,
}

/// The window.
#[derive(Debug)]
pub struct Lanes {
    bounds: Bounds,
    lanes: BTreeMap<LaneKey, Lane>,
    places: BTreeMap<TaskId, (LaneKey, Place)>,
    /// There are lanes that only the store has.
    has_lanes_behind: bool,
    /// A lane was put out of sight while the store was being read.
    was_lane_missed: bool,
    is_refilling: bool,
}

impl Default for Lanes {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl Lanes {
    /// An empty window that knows nothing of the store: it asks to be refilled.
    pub fn new(bounds: Bounds) -> Self {
        let bounds = Bounds { per_lane: bounds.per_lane.max(1), lanes: bounds.lanes.max(1) };
        Self {
            bounds,
            lanes: BTreeMap::new(),
            places: BTreeMap::new(),
            has_lanes_behind: true,
            was_lane_missed: false,
            is_refilling: false,
        }
    }

    /// How much it keeps: what to ask the store for.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// How many tasks are in the window.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether the window is empty. The queue is, only if nothing [needs a refill](Self::needs_refill) either.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether there are, or may be, lanes that only the store has.
    pub fn has_lanes_behind(&self) -> bool {
        self.has_lanes_behind
    }

    /// The lanes that run low and have more in the store. Those with an empty window are in it, and until they are
    /// refilled [`Lanes::next`] passes them over.
    pub fn lanes_needing_refill(&self) -> Vec<LaneKey> {
        let low = self.bounds.per_lane / 4;
        let is_needed = |lane: &Lane| lane.behind != Behind::Nothing && (lane.was_missed || lane.tasks.len() <= low);
        self.lanes.iter().filter(|(_, lane)| is_needed(lane)).map(|(key, _)| key.clone()).collect()
    }

    /// Whether the store is to be asked before the next choice. After a refill choose first: one refill for each choice
    /// is enough.
    pub fn needs_refill(&self) -> bool {
        let is_short_of_lanes = self.has_lanes_behind && self.lanes.len() <= self.bounds.lanes / 2;
        is_short_of_lanes || !self.lanes_needing_refill().is_empty()
    }

    /// To be called before the store is read for [`Lanes::refill`]. A read that fails needs no undoing.
    pub fn begin_refill(&mut self) {
        self.is_refilling = true;
        self.was_lane_missed = false;
        for lane in self.lanes.values_mut() {
            lane.was_missed = false;
        }
    }

    /// Takes in what the store read. `is_every_lane` says that no other lane had a ready task (fewer came than were asked
    /// for). A task that has meanwhile been taken may come back here; its claim is refused, and that is the end of it.
    pub fn refill(&mut self, heads: Vec<Head>, is_every_lane: bool) {
        self.is_refilling = false;
        self.forget_oldest();
        let mut mentioned = BTreeSet::new();
        for head in heads {
            mentioned.insert(head.key.clone());
            self.refill_lane(head);
        }
        if is_every_lane {
            self.has_lanes_behind = self.was_lane_missed;
            for (_, lane) in self.lanes.iter_mut().filter(|(key, lane)| !mentioned.contains(*key) && !lane.was_missed) {
                lane.behind = Behind::Nothing;
            }
        } else {
            // The lanes that the store left out stand behind all that it named; those it knows more of are read later.
            self.has_lanes_behind = true;
            for key in self.lanes_needing_refill().iter().filter(|key| !mentioned.contains(*key)) {
                self.evict(key);
            }
        }
        self.lanes.retain(|_, lane| !lane.is_spent());
        while self.lanes.len() > self.bounds.lanes {
            let Some(key) = self.worst_lane().map(|(key, _)| key).or_else(|| self.lanes.keys().next_back().cloned())
            else {
                break;
            };
            self.evict(&key);
        }
    }

    fn refill_lane(&mut self, head: Head) {
        for waiting in &head.tasks {
            self.forget(&waiting.id);
        }
        let was_lane_missed = self.was_lane_missed;
        let lane = self.lanes.entry(head.key.clone()).or_insert_with(|| Lane::new(Behind::Anything, was_lane_missed));
        for waiting in head.tasks.iter().map(Waiting::place) {
            self.places.insert(waiting.3.clone(), (head.key.clone(), waiting.clone()));
            lane.tasks.insert(waiting);
        }
        let seen_up_to = head.tasks.iter().map(Waiting::place).max();
        lane.behind = match seen_up_to {
            _ if !head.has_more && !lane.was_missed => Behind::Nothing,
            Some(horizon) if head.has_more => Behind::After(horizon),
            // The read was whole, but something came since: whatever lies behind is asked for once more.
            Some(_) | None => lane.tasks.last().map_or(Behind::Anything, |last| Behind::After(last.clone())),
        };
        // What the window has beyond its horizon could stand behind tasks that only the store has.
        while let Some(last) = lane.tasks.last().filter(|last| !lane.behind.is_known_before(last)).cloned() {
            lane.tasks.remove(&last);
            self.places.remove(&last.3);
        }
        self.trim(&head.key);
    }

    /// Of a generator that is probed: the ready task of a lane that is longest in line, whatever its priority is. It may stand
    /// behind the window, and is the next probe all the same. Said after each refill, and known until the next.
    pub fn remember_oldest(&mut self, key: &LaneKey, waiting: &Waiting) {
        let Some(lane) = self.lanes.get_mut(key).filter(|_| !self.places.contains_key(&waiting.id)) else { return };
        if let Some(before) = lane.oldest.replace(waiting.place()) {
            self.places.remove(&before.3);
        }
        self.places.insert(waiting.id.clone(), (key.clone(), waiting.place()));
    }

    fn forget_oldest(&mut self) {
        for oldest in self.lanes.values_mut().filter_map(|lane| lane.oldest.take()) {
            self.places.remove(&oldest.3);
        }
    }

    /// Puts a task in line that has just become ready, or one whose place has changed. Where it does not fit the window,
    /// its lane is marked as having more behind.
    pub fn push(&mut self, key: LaneKey, waiting: Waiting) {
        self.remove(&waiting.id);
        let place = waiting.place();
        // A lane that nobody heard of is new only if the window knows every lane.
        let behind = if self.has_lanes_behind { Behind::Anything } else { Behind::Nothing };
        if !self.lanes.contains_key(&key) && !self.make_room(&place) {
            self.has_lanes_behind = true;
            self.was_lane_missed |= self.is_refilling;
            return;
        }
        let lane = self.lanes.entry(key.clone()).or_insert_with(|| Lane::new(behind, false));
        if !lane.behind.is_known_before(&place) {
            lane.was_missed |= self.is_refilling;
            return;
        }
        lane.tasks.insert(place.clone());
        self.places.insert(waiting.id, (key.clone(), place));
        self.trim(&key);
    }

    /// Takes the best task among the lanes that can run: highest priority, then longest in line, then first created.
    pub fn next(&mut self, can_run: impl FnMut(&LaneKey) -> bool) -> Option<(LaneKey, Waiting)> {
        self.next_or_probe(can_run, |_| false)
    }

    /// As [`Lanes::next`]. Of a generator that is probed, the task that has been longest in line stands for all others, whatever
    /// its priority is: a failed probe goes last, and the next one must be another's. Of a lane that is longer than its window
    /// that is the one of [`Lanes::remember_oldest`].
    pub fn next_or_probe(
        &mut self,
        mut can_run: impl FnMut(&LaneKey) -> bool,
        is_probed: impl Fn(&GeneratorName) -> bool,
    ) -> Option<(LaneKey, Waiting)> {
        let mut best: Option<(&LaneKey, &Place)> = None;
        let mut probes: BTreeMap<&GeneratorName, (&LaneKey, &Place)> = BTreeMap::new();
        for (key, lane) in &self.lanes {
            if is_probed(&key.generator) {
                let known = lane.tasks.iter().chain(&lane.oldest);
                let Some(oldest) = known.min_by_key(|place| in_line(place)) else { continue };
                let is_older = probes.get(&key.generator).is_none_or(|(_, place)| in_line(oldest) < in_line(place));
                if is_older && can_run(key) {
                    probes.insert(&key.generator, (key, oldest));
                }
                continue;
            }
            let Some(head) = lane.tasks.first() else { continue };
            if best.is_none_or(|(_, place)| head < place) && can_run(key) {
                best = Some((key, head));
            }
        }
        let best = probes.into_values().chain(best).min_by_key(|(_, place)| *place);
        let (key, place) = best.map(|(key, place)| (key.clone(), place.clone()))?;
        self.remove(&place.3);
        Some((key, Waiting::at(place)))
    }

    /// Whether a lane of the window has a task and may run.
    pub fn has_runnable(&self, mut can_run: impl FnMut(&LaneKey) -> bool) -> bool {
        self.lanes.iter().any(|(key, lane)| !(lane.tasks.is_empty() && lane.oldest.is_none()) && can_run(key))
    }

    /// How many lanes are in the window.
    pub fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Takes a task out that waits no more. Says whether it was in the window.
    pub fn remove(&mut self, id: &TaskId) -> bool {
        let key = self.forget(id);
        if let Some(key) = &key
            && self.lanes.get(key).is_some_and(Lane::is_spent)
        {
            self.lanes.remove(key);
        }
        key.is_some()
    }

    /// Drops the lanes that cannot run now, so that others find room: for when nothing in the window can run and there
    /// are lanes behind it. The refill that follows must bring only lanes that can run. Says how many were dropped.
    pub fn drop_blocked(&mut self, mut can_run: impl FnMut(&LaneKey) -> bool) -> usize {
        let blocked: Vec<LaneKey> = self.lanes.keys().filter(|key| !can_run(key)).cloned().collect();
        for key in &blocked {
            self.evict(key);
        }
        blocked.len()
    }

    /// Takes a task out of its lane and leaves the lane standing.
    fn forget(&mut self, id: &TaskId) -> Option<LaneKey> {
        let (key, place) = self.places.remove(id)?;
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.tasks.remove(&place);
            lane.oldest.take_if(|oldest| *oldest == place);
        }
        Some(key)
    }

    /// Makes room for a lane whose head is `place`, if another's stands further back. Says whether there is room.
    fn make_room(&mut self, place: &Place) -> bool {
        if self.lanes.len() < self.bounds.lanes {
            return true;
        }
        let Some((key, _)) = self.worst_lane().filter(|(_, head)| head > place) else { return false };
        self.evict(&key);
        true
    }

    /// The lane whose head stands furthest back. One with an empty window is none: nobody knows where it stands.
    fn worst_lane(&self) -> Option<(LaneKey, Place)> {
        let heads = self.lanes.iter().filter_map(|(key, lane)| Some((key, lane.tasks.first()?)));
        let (key, head) = heads.max_by_key(|(_, head)| *head)?;
        Some((key.clone(), head.clone()))
    }

    fn evict(&mut self, key: &LaneKey) {
        let Some(lane) = self.lanes.remove(key) else { return };
        for place in lane.tasks.into_iter().chain(lane.oldest) {
            self.places.remove(&place.3);
        }
        self.has_lanes_behind = true;
        self.was_lane_missed |= self.is_refilling;
    }

    /// Lets what is too much fall out at the back of a lane.
    fn trim(&mut self, key: &LaneKey) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        while lane.tasks.len() > self.bounds.per_lane {
            let Some(dropped) = lane.tasks.pop_last() else { break };
            self.places.remove(&dropped.3);
            lane.was_missed |= self.is_refilling;
            lane.behind = lane.tasks.last().map_or(Behind::Anything, |last| Behind::After(last.clone()));
        }
    }
}

/// The place in line where no priority counts.
fn in_line((_, queued_at, seq, id): &Place) -> (Timestamp, i64, &TaskId) {
    (*queued_at, *seq, id)
}

impl Behind {
    /// Whether nothing that only the store has can stand before `place`.
    fn is_known_before(&self, place: &Place) -> bool {
        match self {
            Self::Nothing => true,
            Self::After(horizon) => place <= horizon,
            Self::Anything => false,
        }
    }
}

impl Lane {
    fn new(behind: Behind, was_missed: bool) -> Self {
        Self { tasks: BTreeSet::new(), behind, was_missed, oldest: None }
    }

    fn is_spent(&self) -> bool {
        self.tasks.is_empty() && self.behind == Behind::Nothing
    }
}

#[cfg(test)]
mod tests;
