//! The PublisherActor brings pieces from the pool to the publishers of the configuration, and ends leases that ran out.
//!
//! It makes no decisions: [`crate::publish`] says what an outcome means, [`crate::publish::step`] what is to be done next, and
//! `carry` does it. It wakes at the earliest due time in the database and at the shortest interval of a publisher. The surprise:
//! its first look after it was built takes every call that is under way for lost, because the calls of an actor end with it;
//! whether a process of one is left is said by the lock of its run file.

mod carry;
mod choose;
mod messages;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::WeakRecipient;
use actix::prelude::*;
use log::Level;

use super::World;
use super::supervisor::{Child, ChildExited};
use crate::events::Kind;
use crate::publish::Handout;
use crate::publish::step::{Step, next_step};
use crate::publisher::Publisher;
use crate::store::write::{Account, Write};
use crate::task::breaker::{Admission, Breaker, Notice};
use crate::task::content::PoolEntry;
use crate::task::{AccountId, PoolId, TaskId, Timestamp};
use crate::tell;
use carry::Done;
pub use carry::log_move;
use choose::{Candidate, Look, Turn, Wanted, look_at};
pub use messages::{
    AwayPublisher, DrainPublisher, GetPublisherStatus, PoolChanged, ProbePublisher, Probing, PublisherStatus,
};

/// The names of settings that hold open breakers begin so.
pub const BREAKER_SETTING: &str = "publisher-breaker/";
/// How many entries that are being published are looked at in one round; each that is done makes another look.
const WAKE_LIMIT: u32 = 500;
/// The longest sleep: a message that was lost costs no more than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
const COOL_DOWN: Duration = Duration::from_secs(1);

/// A publisher's breaker as it is stored, with whose it is.
pub fn stored_breaker((name, json): &(String, String), now: Timestamp) -> Option<(String, Breaker)> {
    let breaker: Breaker = serde_json::from_str(json).ok()?;
    Some((name.strip_prefix(BREAKER_SETTING)?.to_owned(), breaker.seen_at(now)))
}

/// To itself: look at what is due.
#[derive(Message)]
#[rtype(result = "()")]
struct PublishTick;

/// See the module.
pub struct PublisherActor {
    world: World,
    supervisor: WeakRecipient<ChildExited>,
    /// What it is busy with, and at which publisher.
    in_hand: BTreeMap<PoolId, String>,
    breakers: BTreeMap<String, Breaker>,
    turns: BTreeMap<String, Turn>,
    has_breakers: bool,
    is_first_look: bool,
    is_looking: bool,
    look_again: bool,
    timer: Option<SpawnHandle>,
    status: PublisherStatus,
    is_draining: bool,
    drained: Vec<tokio::sync::oneshot::Sender<()>>,
}

impl PublisherActor {
    /// A fresh one. It reads the breakers from the database before it does anything.
    pub fn new(world: World, supervisor: WeakRecipient<ChildExited>) -> Self {
        Self {
            world,
            supervisor,
            in_hand: BTreeMap::new(),
            breakers: BTreeMap::new(),
            turns: BTreeMap::new(),
            has_breakers: false,
            is_first_look: true,
            is_looking: false,
            look_again: false,
            timer: None,
            status: PublisherStatus::default(),
            is_draining: false,
            drained: Vec::new(),
        }
    }

    fn now(&self) -> Timestamp {
        self.world.clock.now().utc
    }

    fn read_breakers(&mut self, ctx: &mut Context<Self>) {
        let store = self.world.store.clone();
        let read = async move { store.read(|queries| queries.settings(BREAKER_SETTING)).await };
        ctx.spawn(read.into_actor(self).map(|read, actor, ctx| match read {
            Ok(settings) => {
                let now = actor.now();
                let stored = |row: &(String, String)| {
                    let (name, mut breaker) = stored_breaker(row, now)?;
                    // No call of an earlier actor is under way: its probe counts no longer.
                    if let Some(probe) = breaker.probe().cloned() {
                        breaker.probe_gone(&probe, now);
                    }
                    Some((name, breaker))
                };
                actor.breakers = settings.iter().filter_map(stored).collect();
                actor.has_breakers = true;
                actor.look(ctx);
            }
            Err(error) => {
                tell!(
                    Level::Error,
                    Kind::PoolTrouble,
                    "the breakers of publishers cannot be read, trying again: {error}"
                );
                actor.sleep_until(actor.now().plus(COOL_DOWN), ctx);
            }
        }));
    }

    /// Asks the database what is due, and starts the work.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.is_draining {
            return;
        }
        if !self.has_breakers {
            return self.read_breakers(ctx);
        }
        if self.is_looking {
            self.look_again = true;
            return;
        }
        self.is_looking = true;
        self.look_again = false;
        let (now, is_first) = (self.now(), self.is_first_look);
        let (wanted, busy) = (self.wanted(now), self.in_hand.clone());
        let store = self.world.store.clone();
        let look = async move { store.read(move |queries| look_at(queries, &wanted, &busy, now, is_first)).await };
        ctx.spawn(look.into_actor(self).map(move |looked, actor, ctx| {
            actor.is_looking = false;
            match looked {
                Ok(look) => actor.take_up(look, is_first, ctx),
                Err(error) => {
                    tell!(Level::Error, Kind::PoolTrouble, "the publish pool cannot be read, trying again: {error}");
                    actor.sleep_until(actor.now().plus(COOL_DOWN), ctx);
                }
            }
            if actor.look_again {
                actor.look(ctx);
            }
        }));
    }

    fn used(&self, publisher: &str) -> u32 {
        let used = self.in_hand.values().filter(|name| *name == publisher).count();
        u32::try_from(used).unwrap_or(u32::MAX)
    }

    fn is_full(&self, publisher: &Publisher) -> bool {
        self.used(&publisher.name) >= publisher.limits.max_in_flight
    }

    /// Publishers that have room and are there.
    fn wanted(&self, now: Timestamp) -> Vec<Wanted> {
        let publishers = self.world.publishers.current();
        let wanted = publishers.iter().filter_map(|publisher| {
            let free = publisher.limits.max_in_flight.saturating_sub(self.used(&publisher.name));
            let (room, is_trial) = match self.admits(&publisher.name, now) {
                Admission::Open => (free, false),
                Admission::Probe => (free.min(1), true),
                Admission::NotBefore(_) | Admission::ProbeUnderWay => (0, false),
            };
            let turn = self.turns.get(&publisher.name).copied().unwrap_or_default();
            (room > 0).then(|| Wanted { publisher: Arc::clone(publisher), room, turn, is_trial })
        });
        wanted.collect()
    }

    fn admits(&self, publisher: &str, now: Timestamp) -> Admission {
        self.breakers.get(publisher).map_or(Admission::Open, |breaker| breaker.admits(now))
    }

    fn take_up(&mut self, look: Look, is_first: bool, ctx: &mut Context<Self>) {
        if self.is_draining {
            return;
        }
        self.is_first_look = false;
        let now = self.now();
        let mut wake_at = look.next_at.unwrap_or_else(|| now.plus(LONGEST_SLEEP));
        let others: BTreeSet<String> = look.candidates.iter().map(|one| one.publisher.name.clone()).collect();
        for (entry, handout, account) in look.wakes {
            if self.in_hand.contains_key(&entry.id) {
                continue;
            }
            let is_due = entry.wake_at.is_none_or(|at| at <= now);
            if is_due || is_first && handout.holder.is_publisher() && handout.doubted_at.is_none() {
                wake_at = wake_at.min(self.attend(entry, handout, account, &others, now, ctx));
            }
        }
        for Candidate { publisher, entry, account } in look.candidates {
            let is_open =
                !matches!(self.admits(&publisher.name, now), Admission::NotBefore(_) | Admission::ProbeUnderWay);
            // What was in doubt may have taken the room since it was looked.
            if is_open && !self.is_full(&publisher) && !self.in_hand.contains_key(&entry.id) {
                self.take_turn(&publisher, account.id);
                self.begin_probe(&publisher.name, entry.id, now);
                let work = carry::publish(self.world.clone(), Arc::clone(&publisher), entry.clone(), account);
                self.carry(entry.id, &publisher.name, work, ctx);
            }
        }
        let publishers = self.world.publishers.current();
        let shortest = publishers.iter().map(|publisher| publisher.limits.interval).min().unwrap_or(LONGEST_SLEEP);
        let probes = self.breakers.values().filter(|breaker| breaker.is_open().is_some());
        let probe_at = probes.filter_map(Breaker::next_probe_at).filter(|at| *at > now).min();
        let latest = now.plus(shortest.min(LONGEST_SLEEP));
        self.sleep_until(wake_at.min(latest).min(probe_at.unwrap_or(latest)), ctx);
    }

    /// Looks after an entry that somebody has, whose time has come. When it must be looked at again if nothing could be done.
    /// `others` are the publishers for which another piece waits.
    fn attend(
        &mut self,
        entry: PoolEntry,
        handout: Handout,
        account: Account,
        others: &BTreeSet<String>,
        now: Timestamp,
        ctx: &mut Context<Self>,
    ) -> Timestamp {
        let (id, later) = (entry.id, now.plus(LONGEST_SLEEP));
        if !handout.holder.is_publisher() {
            let work = carry::end_lease(self.world.clone(), entry, handout);
            self.carry(id, "", work, ctx);
            return later;
        }
        let name = handout.holder.name().to_owned();
        let publisher = self.world.publishers.current().get(&name).cloned();
        // The same key goes out again only to a publisher that is there. What is to be held needs no probe, and must not take one.
        let is_again =
            publisher.as_ref().is_some_and(|publisher| next_step(&handout, &publisher.policy, now) == Step::SendAgain);
        if is_again {
            // Each call that ends makes another look.
            if publisher.as_ref().is_some_and(|publisher| self.is_full(publisher)) {
                return later;
            }
            match self.admits(&name, now) {
                // It has failed there already, perhaps by itself: a piece that has not says more. The end of that call makes
                // another look.
                Admission::Probe if others.contains(&name) => return now.plus(COOL_DOWN),
                Admission::Open | Admission::Probe => self.begin_probe(&name, id, now),
                Admission::NotBefore(at) => return at,
                Admission::ProbeUnderWay => return now.plus(COOL_DOWN),
            }
        }
        let work = carry::step(self.world.clone(), publisher, entry, handout, account);
        self.carry(id, &name, work, ctx);
        later
    }

    fn take_turn(&mut self, publisher: &Publisher, account: AccountId) {
        let turn = self.turns.entry(publisher.name.clone()).or_default();
        let taken = if turn.account == Some(account) { turn.taken + 1 } else { 1 };
        *turn = Turn { account: Some(account), taken };
    }

    fn begin_probe(&mut self, publisher: &str, id: PoolId, now: Timestamp) {
        if let Some(breaker) =
            self.breakers.get_mut(publisher).filter(|breaker| breaker.admits(now) == Admission::Probe)
        {
            breaker.probe_started(&as_task(id), now);
        }
    }

    /// Does the work beside everything else; the entry is in hand meanwhile.
    fn carry(
        &mut self,
        id: PoolId,
        publisher: &str,
        work: impl Future<Output = Done> + 'static,
        ctx: &mut Context<Self>,
    ) {
        self.in_hand.insert(id, publisher.to_owned());
        let publisher = publisher.to_owned();
        ctx.spawn(work.into_actor(self).map(move |done, actor, ctx| {
            actor.in_hand.remove(&id);
            actor.status.calls += u64::from(done.was_called);
            actor.status.published += u64::from(done.is_published);
            actor.hear(&publisher, id, &done, ctx);
            actor.finish_drain();
            actor.look(ctx);
        }));
    }

    /// Tells the breaker of a publisher what happened there.
    fn hear(&mut self, publisher: &str, id: PoolId, done: &Done, ctx: &mut Context<Self>) {
        if publisher.is_empty() {
            return;
        }
        let (now, draw, task) = (self.now(), self.world.entropy.draw(), as_task(id));
        let breaker = self.breakers.entry(publisher.to_owned()).or_default();
        let was_open = breaker.is_open().is_some();
        let mut notices = Vec::new();
        for signal in &done.signals {
            breaker.excuse_probe(&task, signal, now);
            notices.extend(breaker.observe(&task, signal, now, draw));
        }
        breaker.probe_gone(&task, now);
        let is_open = breaker.is_open().is_some();
        for notice in notices {
            match notice {
                Notice::Opened(trip, why) => {
                    tell!(Level::Error, Kind::PublisherAway, "publisher {publisher} is away ({trip}): {why}");
                }
                Notice::Closed => tell!(Level::Info, Kind::PublisherBack, "publisher {publisher} takes pieces again"),
            }
        }
        if was_open || is_open {
            self.persist_breaker(publisher, ctx);
        }
    }

    fn persist_breaker(&self, publisher: &str, ctx: &mut Context<Self>) {
        let breaker = self.breakers.get(publisher).filter(|breaker| breaker.is_open().is_some());
        let value = breaker.and_then(|breaker| serde_json::to_string(breaker).ok());
        let write = Write::PutSetting { name: format!("{BREAKER_SETTING}{publisher}"), value };
        let (store, publisher) = (self.world.store.clone(), publisher.to_owned());
        let persist = async move {
            if let Err(error) = store.write(write).await {
                tell!(
                    Level::Error,
                    Kind::PoolTrouble,
                    "the breaker of publisher {publisher} could not be stored: {error}"
                );
            }
        };
        ctx.spawn(persist.into_actor(self));
    }

    fn finish_drain(&mut self) {
        if self.is_draining && self.in_hand.is_empty() {
            for drained in self.drained.drain(..) {
                // A supervisor that stopped waiting is no error.
                let _ = drained.send(());
            }
        }
    }

    fn sleep_until(&mut self, at: Timestamp, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.status.next_wake_at = Some(at);
        let wait = at.since(self.now()).max(Duration::from_millis(1));
        self.timer = Some(ctx.notify_later(PublishTick, wait));
    }
}

/// The breaker knows tasks; an entry of the pool goes by a name that no task has.
fn as_task(id: PoolId) -> TaskId {
    TaskId(format!("pool-{id}"))
}

impl Actor for PublisherActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.read_breakers(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        ChildExited::report(&self.supervisor, Child::Publisher, None);
    }
}

impl Handler<PublishTick> for PublisherActor {
    type Result = ();

    fn handle(&mut self, _: PublishTick, ctx: &mut Self::Context) {
        self.timer = None;
        self.look(ctx);
    }
}

impl Handler<PoolChanged> for PublisherActor {
    type Result = ();

    fn handle(&mut self, _: PoolChanged, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}

impl Handler<ProbePublisher> for PublisherActor {
    type Result = Probing;

    fn handle(&mut self, probe: ProbePublisher, ctx: &mut Self::Context) -> Self::Result {
        let (now, name) = (self.now(), probe.publisher);
        let Some(breaker) = self.breakers.get_mut(&name) else { return Probing::NotAway };
        match breaker.admits(now) {
            Admission::Open => Probing::NotAway,
            Admission::ProbeUnderWay => Probing::UnderWay,
            Admission::Probe | Admission::NotBefore(_) => {
                breaker.probe_from(now);
                self.persist_breaker(&name, ctx);
                self.look(ctx);
                Probing::Next
            }
        }
    }
}

impl Handler<DrainPublisher> for PublisherActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: DrainPublisher, ctx: &mut Self::Context) -> Self::Result {
        self.is_draining = true;
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        self.drained.push(tell);
        self.finish_drain();
        Box::pin(async move {
            // An error means that the actor died; it has nothing in hand then either.
            let _ = told.await;
        })
    }
}

impl Handler<GetPublisherStatus> for PublisherActor {
    type Result = PublisherStatus;

    fn handle(&mut self, _: GetPublisherStatus, _: &mut Self::Context) -> Self::Result {
        let away = self.breakers.iter().filter_map(|(name, breaker)| {
            let (_, why, since) = breaker.is_open()?;
            let (publisher, why) = (name.clone(), why.to_owned());
            Some(AwayPublisher { publisher, why, since, next_probe_at: breaker.next_probe_at() })
        });
        PublisherStatus { in_hand: self.in_hand.len(), away: away.collect(), ..self.status.clone() }
    }
}
