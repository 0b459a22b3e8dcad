//! The window on the queue: what is read from the database and when, and which lanes make way for others.
//!
//! Rows are the queue. The window is a bounded part of them, and the capacity at generators is read along with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix::prelude::*;
use log::Level;

use super::{COOL_DOWN, LANES, LONGEST_SLEEP, QueueActor, QueueTick};
use crate::events::Kind;
use crate::generator::registry::Limits;
use crate::store::DbError;
use crate::store::query::{InFlight, LaneHead, Queries, ReadyTask, Submits};
use crate::task::account::AccountLimits;
use crate::task::breaker::Breaker;
use crate::task::lanes::{Head, LaneKey, Waiting};
use crate::task::{AccountId, GeneratorName, Task, TaskState, Timestamp};
use crate::tell;

/// What a look at the database brings.
struct Look {
    heads: Option<Vec<LaneHead>>,
    /// Of probed generators, the task of each long lane that is longest in line.
    oldest: Vec<(LaneKey, ReadyTask)>,
    in_flight: Vec<InFlight>,
    next_ready: Option<Timestamp>,
    /// Of generators whose submits of the day matter; none where they were counted before.
    submits: BTreeMap<GeneratorName, Option<BTreeMap<AccountId, Submits>>>,
    account_limits: BTreeMap<AccountId, AccountLimits>,
}

impl QueueActor {
    /// Reads the window and the capacity anew, when no claim of ours is between reading and writing.
    pub(super) fn refill(&mut self, ctx: &mut Context<Self>) {
        self.needs_refill = true;
        if self.is_refilling || self.claims_under_way > 0 || !self.has_settings || self.is_draining {
            return;
        }
        self.is_refilling = true;
        self.needs_refill = false;
        let now = self.world.clock.now().utc;
        let generators: Vec<(GeneratorName, bool)> = {
            let generators = self.world.generators.borrow();
            let is_limited =
                |limits: &Limits| limits.submits_per_day.is_some() || limits.submits_per_day_per_account.is_some();
            generators.iter().map(|generator| (generator.name.clone(), is_limited(&generator.limits))).collect()
        };
        let is_window_wanted = std::mem::take(&mut self.is_window_stale) || self.lanes.needs_refill();
        if is_window_wanted {
            self.lanes.begin_refill();
            // What comes while the store is read may not be in what it reads.
            self.are_all_seen = true;
        }
        self.forget_submits_of_yesterday(now);
        self.is_recount_wanted = false;
        let counted = self.counted.clone();
        let (store, except) = (self.world.store.clone(), self.blocked.clone());
        let open = self.breakers.iter().filter(|(_, breaker)| breaker.is_open().is_some());
        let probed: BTreeSet<GeneratorName> = open.map(|(name, _)| name.clone()).collect();
        let read = async move {
            store
                .read(move |queries| {
                    let account_limits = queries.account_limits()?;
                    // An account's day is counted at every generator, whether that has a limit or not.
                    let is_day_limited = account_limits.values().any(|limits| limits.submits_per_day.is_some());
                    let (since, until) = now.day_around();
                    let count = |(name, _): (GeneratorName, bool)| {
                        let is_asked = !counted.contains(&name);
                        let submits = is_asked.then(|| queries.submits_since(&name, since, until)).transpose()?;
                        Ok((name, submits))
                    };
                    let meant = generators.into_iter().filter(|(_, is_limited)| *is_limited || is_day_limited);
                    let submits = meant.map(count).collect::<Result<BTreeMap<_, _>, DbError>>()?;
                    let heads = if is_window_wanted { Some(heads(queries, now, &except)?) } else { None };
                    let oldest = oldest(queries, now, heads.as_deref().unwrap_or_default(), &probed)?;
                    let (in_flight, next_ready) = (queries.in_flight()?, queries.next_ready(now)?);
                    Ok(Look { heads, oldest, in_flight, next_ready, submits, account_limits })
                })
                .await
        };
        ctx.spawn(read.into_actor(self).map(|look, queue, ctx| {
            queue.is_refilling = false;
            match look {
                Ok(look) => queue.take_in(look, ctx),
                Err(error) => {
                    tell!(Level::Error, Kind::StorageTrouble, "the queue cannot be read, trying again: {error}");
                    (queue.is_window_stale, queue.are_all_seen) = (true, false);
                    queue.sleep(COOL_DOWN, ctx);
                }
            }
        }));
    }

    fn take_in(&mut self, look: Look, ctx: &mut Context<Self>) {
        self.watched.clear();
        for entry in &look.in_flight {
            *self.watched.entry(entry.generator.clone()).or_insert(0) += entry.watched;
        }
        let count = |entry: InFlight| ((entry.generator, entry.account), entry.jobs);
        self.in_flight = look.in_flight.into_iter().map(count).collect();
        // Of a generator that is gone, or that nobody's day is counted at, nothing is kept: it would hinder for ever.
        self.submits_today.retain(|(name, _), _| look.submits.get(name).is_some_and(Option::is_none));
        self.counted.retain(|name| look.submits.contains_key(name));
        for (name, submits) in look.submits {
            let Some(submits) = submits else { continue };
            self.submits_today.extend(submits.into_iter().map(|(account, one)| ((name.clone(), account), one)));
            // What was given back meanwhile may not be in it.
            if !self.is_recount_wanted {
                self.counted.insert(name);
            }
        }
        self.account_limits = look.account_limits;
        if let Some(heads) = look.heads {
            let is_every_lane = heads.len() < LANES.lanes && self.blocked.is_empty();
            self.are_all_seen &= heads.len() < LANES.lanes;
            self.lanes.refill(heads.into_iter().map(head).collect(), is_every_lane);
            for (key, oldest) in look.oldest {
                self.lanes.remember_oldest(&key, &waiting(oldest));
            }
        }
        let now = self.world.clock.now().utc;
        let probe = self.breakers.values().filter_map(Breaker::next_probe_at).filter(|at| *at > now).min();
        let wake = [look.next_ready, probe].into_iter().flatten().chain([self.ticked_at.plus(LONGEST_SLEEP)]).min();
        self.sleep(wake.map_or(LONGEST_SLEEP, |at| at.since(now)), ctx);
        self.dispatch(ctx);
        if self.needs_refill {
            self.refill(ctx);
        }
    }

    /// The day's submits are counted once, and booked with each claim from then on. Whatever may have taken one back has them
    /// counted again, as each tick has: there are as many rows as submits in a day.
    pub(super) fn count_submits_again(&mut self) {
        self.counted.clear();
        self.is_recount_wanted = true;
    }

    /// A count that has grown old hinders what it should not; while nothing of it is a day old, it is what it was.
    fn forget_submits_of_yesterday(&mut self, now: Timestamp) {
        let (yesterday, _) = now.day_around();
        if self.submits_today.values().any(|submits| submits.first < yesterday) {
            self.count_submits_again();
        }
    }

    /// Something changed: what could not run may run now.
    pub(super) fn unblock(&mut self) {
        self.are_all_seen = false;
        if !self.blocked.is_empty() {
            self.blocked.clear();
            self.is_window_stale = true;
        }
    }

    /// Puts a task in line, or wakes for it when its time comes.
    pub(super) fn line_up(&mut self, task: &Task, ctx: &mut Context<Self>) {
        self.lanes.remove(&task.id);
        let now = self.world.clock.now().utc;
        if !task.state.is_active() {
            self.change_breaker(&task.generator, ctx, |breaker| breaker.probe_gone(&task.id, now));
        }
        if task.state != TaskState::Pending {
            return;
        }
        match task.wake_at.filter(|at| *at > now) {
            // The sleep is set anew by the look that every change of the queue causes.
            Some(_) => self.refill(ctx),
            None => {
                let key = LaneKey { generator: task.generator.clone(), account: task.account_id };
                let (id, priority) = (task.id.clone(), task.priority);
                self.lanes.push(key, Waiting { id, priority, queued_at: task.queued_at, seq: task.seq });
            }
        }
    }

    pub(super) fn sleep(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let wait = wait.clamp(Duration::from_millis(1), LONGEST_SLEEP);
        self.timer = Some(ctx.notify_later(QueueTick, wait));
    }

    /// Nothing in the window can run and there are lanes behind it: those that cannot run make way.
    pub(super) fn look_behind(&mut self) {
        let now = self.world.clock.now().utc;
        let mut lanes = std::mem::take(&mut self.lanes);
        let mut blocked = std::mem::take(&mut self.blocked);
        lanes.drop_blocked(|key| {
            let is_runnable = self.hindrance(key, now).is_none();
            if !is_runnable {
                blocked.insert((key.generator.clone(), key.account));
            }
            is_runnable
        });
        self.blocked = blocked;
        self.lanes = lanes;
    }
}

fn heads(
    queries: &dyn Queries,
    now: Timestamp,
    except: &BTreeSet<(GeneratorName, AccountId)>,
) -> Result<Vec<LaneHead>, DbError> {
    let bound = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    queries.lane_heads(now, bound(LANES.per_lane), bound(LANES.lanes), except)
}

/// The next probe of each lane that is longer than its window.
fn oldest(
    queries: &dyn Queries,
    now: Timestamp,
    heads: &[LaneHead],
    probed: &BTreeSet<GeneratorName>,
) -> Result<Vec<(LaneKey, ReadyTask)>, DbError> {
    let mut found = Vec::new();
    let is_asked = |head: &&LaneHead| head.tasks.len() >= LANES.per_lane && probed.contains(&head.generator);
    for head in heads.iter().filter(is_asked) {
        let key = LaneKey { generator: head.generator.clone(), account: head.account };
        found.extend(queries.oldest_of_lane(now, &head.generator, head.account)?.map(|task| (key, task)));
    }
    Ok(found)
}

fn waiting(task: ReadyTask) -> Waiting {
    Waiting { id: task.id, priority: task.priority, queued_at: task.queued_at, seq: task.seq }
}

fn head(head: LaneHead) -> Head {
    let has_more = head.tasks.len() >= LANES.per_lane;
    let tasks = head.tasks.into_iter().map(waiting).collect();
    Head { key: LaneKey { generator: head.generator, account: head.account }, tasks, has_more }
}
