//! The NoticeActor tells somebody: it has the rules judge the numbers, and carries messages to the hooks.
//!
//! It decides nothing: [`crate::notice`] judges, inside the store's transaction, and what it must tell lies in the outbox before
//! anything is told. It wakes for the rules' interval, for a message that is due, and when another actor saw something
//! that may be an alarm. Each hook has a slot of its own and gets its messages one after the other, in their order. The
//! surprise: a drain does not wait for a hook; its run is ended, and the message goes out again after the next start.

mod look;
mod messages;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actix::WeakRecipient;
use actix::prelude::*;
use futures_util::FutureExt;
use log::Level;

use super::World;
use super::supervisor::{Child, ChildExited};
use crate::events::Kind;
use crate::generator::hooks::{Hook, Notices};
use crate::notice::alarm::{Alarm, next_change};
use crate::notice::delivery::{Delivery, DeliveryEnd, DeliveryState};
use crate::notice::message::{MessageKind, Notice};
use crate::notice::rules::{Severity, readings};
use crate::store::DbError;
use crate::store::write::{NoticeWrite, Noticed, SILENCE_SETTING, Write, WriteError, Written, changes, silence_of};
use crate::task::Timestamp;
use crate::tell;
pub use look::take_look;
pub use messages::{DrainNotices, GetNoticeStatus, NoticeStatus, NoticesChanged, SomethingHappened, TryHook};

/// How long after the first sign of something the rules are asked: what comes together is looked at together.
const GATHERING: Duration = Duration::from_secs(2);
/// The shortest time between two looks that nothing asked for.
const SOONEST: Duration = Duration::from_secs(1);
/// How long a database is left alone that refused.
const COOL_DOWN: Duration = Duration::from_secs(5);
/// How long a drain waits for hooks that are running.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// The longest sleep while there is something to wait for.
const LONGEST_SLEEP: Duration = Duration::from_secs(3_600);
/// When an empty outbox is looked at again by itself.
const NEVER: Timestamp = Timestamp(i64::MAX);

/// To itself.
#[derive(Message)]
#[rtype(result = "()")]
struct NoticeTick;

/// What one look at a hook's outbox came to.
enum Carried {
    /// Nothing waits.
    Nothing,
    /// The next try is due then.
    NotBefore(Timestamp),
    /// A try ended; there may be more.
    Tried(Option<Box<Delivery>>),
}

/// See the module.
pub struct NoticeActor {
    world: World,
    supervisor: WeakRecipient<ChildExited>,
    timer: Option<SpawnHandle>,
    next_wake_at: Option<Timestamp>,
    judge_at: Timestamp,
    is_judging: bool,
    sending: BTreeMap<String, SpawnHandle>,
    /// When the next try of a hook is due; far away where nothing waits.
    waits: BTreeMap<String, Timestamp>,
    /// How often messages were made: what was seen of an outbox before says nothing after.
    made: u64,
    judged: u64,
    is_draining: bool,
    drained: Vec<tokio::sync::oneshot::Sender<()>>,
}

impl NoticeActor {
    /// A fresh one. Without rules and hooks it sleeps for ever.
    pub fn new(world: World, supervisor: WeakRecipient<ChildExited>) -> Self {
        let judge_at = world.clock.now().utc;
        Self {
            world,
            supervisor,
            timer: None,
            next_wake_at: None,
            judge_at,
            is_judging: false,
            sending: BTreeMap::new(),
            waits: BTreeMap::new(),
            made: 0,
            judged: 0,
            is_draining: false,
            drained: Vec::new(),
        }
    }

    fn now(&self) -> Timestamp {
        self.world.clock.now().utc
    }

    fn notices(&self) -> Arc<Notices> {
        Arc::clone(&self.world.notices.borrow())
    }

    /// Does what is due, and sleeps until the next.
    fn wake(&mut self, ctx: &mut Context<Self>) {
        if self.is_draining {
            return;
        }
        let (notices, now) = (self.notices(), self.now());
        if notices.settings.is_some() && self.judge_at <= now {
            self.judge(ctx);
        }
        for name in notices.hooks.keys() {
            if self.waits.get(name).is_none_or(|at| *at <= now) {
                self.carry(name, ctx);
            }
        }
        self.sleep(ctx);
    }

    fn sleep(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let notices = self.notices();
        let judge_at = notices.settings.as_ref().filter(|_| !self.is_judging).map(|_| self.judge_at);
        let is_ahead = |(name, at): &(&String, &Timestamp)| notices.hooks.contains_key(*name) && **at != NEVER;
        let waits = self.waits.iter().filter(is_ahead).map(|(_, at)| *at);
        self.next_wake_at = waits.chain(judge_at).min().filter(|_| !self.is_draining);
        if let Some(at) = self.next_wake_at {
            let wait = at.since(self.now()).clamp(Duration::from_millis(1), LONGEST_SLEEP);
            self.timer = Some(ctx.notify_later(NoticeTick, wait));
        }
    }

    /// Has the rules judge the numbers, and writes what follows.
    fn judge(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.is_judging, true) {
            return;
        }
        let (world, notices) = (self.world.clone(), self.notices());
        self.judge_at = self.now().plus(notices.settings.as_ref().map_or(COOL_DOWN, |settings| settings.interval));
        let work = async move { AssertUnwindSafe(judge(&world, &notices)).catch_unwind().await };
        ctx.spawn(work.into_actor(self).map(|judged, actor, ctx| {
            actor.is_judging = false;
            actor.judged += 1;
            match judged {
                Ok(Ok(Judged { made, next_change })) => {
                    // Something that happened meanwhile may want it sooner.
                    let soonest = actor.now().plus(SOONEST);
                    actor.judge_at = next_change.map_or(actor.judge_at, |at| at.max(soonest).min(actor.judge_at));
                    for notice in &made {
                        actor.count(notice);
                        log_notice(notice);
                    }
                    // A message that was made waits in every outbox.
                    if !made.is_empty() {
                        actor.fill_outboxes();
                    }
                }
                Ok(Err(error)) => {
                    tell!(Level::Warn, Kind::NoticeTrouble, "the rules could not be asked, and will be again: {error}");
                }
                Err(_) => tell!(Level::Error, Kind::NoticeTrouble, "the rules ended in a panic of contentd"),
            }
            actor.wake(ctx);
        }));
    }

    /// Messages were made: every hook's outbox is looked at again.
    fn fill_outboxes(&mut self) {
        self.made += 1;
        self.waits.clear();
    }

    fn count(&self, notice: &Notice) {
        let rule = notice.rule.map_or("test", |rule| rule.as_str()).to_owned();
        let kind = notice.kind.as_str();
        self.world.store.counters().add(|numbers| *numbers.notices.entry((rule, kind)).or_insert(0) += 1);
    }

    /// Carries the next message of a hook, if its slot is free.
    fn carry(&mut self, name: &str, ctx: &mut Context<Self>) {
        let notices = self.notices();
        let Some(hook) = notices.hooks.get(name).filter(|_| !self.is_draining && !self.sending.contains_key(name))
        else {
            return;
        };
        let work = carry(self.world.clone(), name.to_owned(), hook.clone(), notices.host.clone());
        let (asked, made) = (name.to_owned(), self.made);
        let handle = ctx.spawn(work.into_actor(self).map(move |carried, actor, ctx| {
            actor.sending.remove(&asked);
            actor.carried(asked, carried, made, ctx);
        }));
        self.sending.insert(name.to_owned(), handle);
        // Its time has come, and must not wake us while it runs.
        self.waits.remove(name);
    }

    /// A look at an outbox ended that began when messages had been made so often.
    fn carried(&mut self, name: String, carried: Result<Carried, WriteError>, made: u64, ctx: &mut Context<Self>) {
        match carried {
            Ok(Carried::Nothing) if made == self.made => drop(self.waits.insert(name, NEVER)),
            Ok(Carried::Nothing) => drop(self.waits.remove(&name)),
            Ok(Carried::NotBefore(at)) => drop(self.waits.insert(name, at)),
            Ok(Carried::Tried(ended)) => {
                self.waits.remove(&name);
                if let Some(delivery) = ended {
                    self.count_run(&delivery);
                    log_delivery(&delivery);
                }
            }
            Err(error) => {
                tell!(Level::Warn, Kind::NoticeTrouble, "the outbox of hook {name} is tried again soon: {error}");
                self.waits.insert(name, self.now().plus(COOL_DOWN));
            }
        }
        if self.is_draining {
            self.finish_drain();
        } else {
            self.wake(ctx);
        }
    }

    fn count_run(&self, delivery: &Delivery) {
        let outcome = if delivery.state == DeliveryState::Delivered { "ok" } else { "failed" };
        let key = (delivery.hook.clone(), outcome);
        self.world.store.counters().add(|numbers| *numbers.hook_runs.entry(key).or_insert(0) += 1);
    }

    /// Gives up what waits for hooks that are not configured any more.
    fn clear_up(&mut self, ctx: &mut Context<Self>) {
        let (world, notices) = (self.world.clone(), self.notices());
        let work = async move {
            if let Err(error) = give_up_orphans(&world, &notices).await {
                tell!(Level::Warn, Kind::NoticeTrouble, "messages of hooks that are gone were not cleared up: {error}");
            }
        };
        ctx.spawn(work.into_actor(self));
    }

    fn finish_drain(&mut self) {
        if self.is_draining && self.sending.is_empty() {
            for drained in self.drained.drain(..) {
                // A supervisor that stopped waiting is no error.
                let _ = drained.send(());
            }
        }
    }
}

/// What asking the rules came to.
#[derive(Default)]
struct Judged {
    /// The messages that were made.
    made: Vec<Notice>,
    /// When they will say something else although no number changes.
    next_change: Option<Timestamp>,
}

/// Looks at the numbers, asks the rules, and writes what changes.
async fn judge(world: &World, notices: &Notices) -> Result<Judged, WriteError> {
    let Some(settings) = notices.settings.clone() else { return Ok(Judged::default()) };
    let next_change = |alarms: &[Alarm]| alarms.iter().filter_map(|alarm| next_change(alarm, &settings)).min();
    let look = take_look(world, notices).await?;
    let readings = readings(&look, &settings);
    let now = world.clock.now().utc;
    let (alarms, silence) =
        world.store.read(|queries| Ok((queries.alarms()?, queries.settings(SILENCE_SETTING)?))).await?;
    let is_silent = silence_of(silence.first().map(|(_, json)| json.as_str()), now).is_some();
    // Most looks change nothing, and then nothing is written.
    if changes(&alarms, &readings, &settings, is_silent, now).is_empty() {
        return Ok(Judged { made: Vec::new(), next_change: next_change(&alarms) });
    }
    let hooks = notices.hooks.iter().map(|(name, hook)| (name.clone(), hook.least)).collect();
    let nonce = world.entropy.attempt_key().0;
    let write = NoticeWrite::Judge { readings, settings: Arc::clone(&settings), hooks, nonce, now };
    let Noticed::Made(made) = noticed(world, write).await? else { return Err(another_answer()) };
    let alarms = world.store.read(|queries| queries.alarms()).await?;
    Ok(Judged { made, next_change: next_change(&alarms) })
}

async fn noticed(world: &World, write: NoticeWrite) -> Result<Noticed, WriteError> {
    match world.store.write(Write::Notice(Box::new(write))).await? {
        Written::Noticed(noticed) => Ok(noticed),
        _ => Err(another_answer()),
    }
}

fn another_answer() -> WriteError {
    WriteError::Db(DbError::Fatal("the store gave the answer of another write".into()))
}

/// One try of the next message of a hook: its intent is committed, then it runs, then what came of it is committed.
async fn carry(world: World, name: String, hook: Hook, host: String) -> Result<Carried, WriteError> {
    let asked = name.clone();
    let Some(next) = world.store.read(move |queries| queries.next_delivery(&asked)).await? else {
        return Ok(Carried::Nothing);
    };
    let now = world.clock.now().utc;
    if next.due_at > now {
        return Ok(Carried::NotBefore(next.due_at));
    }
    let begin = NoticeWrite::BeginDelivery { id: next.id, patience: hook.patience, now };
    let Noticed::Delivery(Some(begun)) = noticed(&world, begin).await? else { return Ok(Carried::Tried(None)) };
    let message = serde_json::to_string(&begun.notice.message(&host));
    let end = match message {
        Ok(message) => {
            let panicked = |_| DeliveryEnd::Failed("the run ended in a panic of contentd".to_owned());
            // Made inside: a courier may panic before it gives its future.
            let run = async { hook.courier.deliver(message + "\n").await };
            AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(panicked)
        }
        Err(error) => DeliveryEnd::Failed(error.to_string()),
    };
    let end = NoticeWrite::EndDelivery {
        id: begun.id,
        tries: begun.tries,
        end,
        patience: hook.patience,
        draw: world.entropy.draw(),
        now: world.clock.now().utc,
    };
    match noticed(&world, end).await? {
        Noticed::Delivery(ended) => Ok(Carried::Tried(ended)),
        _ => Err(another_answer()),
    }
}

async fn give_up_orphans(world: &World, notices: &Notices) -> Result<(), WriteError> {
    let now = world.clock.now().utc;
    let outbox = world.store.read(move |queries| queries.outbox(now)).await?;
    for name in outbox.waiting.into_keys().filter(|name| !notices.hooks.contains_key(name)) {
        loop {
            let asked = name.clone();
            let next = world.store.read(move |queries| queries.next_delivery(&asked)).await?;
            let Some(next) = next else { break };
            let (id, tries, end) = (next.id, next.tries, DeliveryEnd::NoHook);
            let patience = messages::NO_PATIENCE;
            let write = NoticeWrite::EndDelivery { id, tries, end, patience, draw: 0.0, now };
            if let Noticed::Delivery(Some(ended)) = noticed(world, write).await? {
                log_delivery(&ended);
            }
        }
    }
    Ok(())
}

fn log_notice(notice: &Notice) {
    let (kind, level, what) = match (notice.kind, notice.severity) {
        (MessageKind::Firing, Severity::Critical) => (Kind::AlarmRaised, Level::Error, "alarm"),
        (MessageKind::Firing, Severity::Warning) => (Kind::AlarmRaised, Level::Warn, "alarm"),
        (MessageKind::Resolved, _) => (Kind::AlarmOver, Level::Info, "over"),
        (MessageKind::Test, _) => (Kind::AlarmOver, Level::Info, "test"),
    };
    tell!(level, kind, "{what}: {} ({}): {}", notice.alarm, notice.severity, notice.text);
}

fn log_delivery(delivery: &Delivery) {
    let (hook, id) = (&delivery.hook, &delivery.notice.id);
    let why = delivery.last_error.as_deref().unwrap_or_default();
    match delivery.state {
        DeliveryState::GivenUp => {
            tell!(Level::Error, Kind::NoticeGivenUp, "hook {hook}: message {id} was given up: {why}");
        }
        // Each further try says the same again.
        DeliveryState::Waiting if delivery.tries <= 1 => {
            tell!(Level::Warn, Kind::HookFailed, "hook {hook}: message {id} was not taken, and is tried again: {why}");
        }
        DeliveryState::Waiting => log::debug!("hook {hook}: message {id} was not taken: {why}"),
        DeliveryState::Delivered => log::debug!("hook {hook} took message {id}"),
    }
}

impl Actor for NoticeActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let notices = self.notices();
        if notices.settings.is_some() || !notices.hooks.is_empty() {
            self.clear_up(ctx);
        }
        self.wake(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        ChildExited::report(&self.supervisor, Child::Notice, None);
    }
}

impl Handler<NoticeTick> for NoticeActor {
    type Result = ();

    fn handle(&mut self, _: NoticeTick, ctx: &mut Self::Context) {
        self.timer = None;
        self.wake(ctx);
    }
}

impl Handler<SomethingHappened> for NoticeActor {
    type Result = ();

    fn handle(&mut self, _: SomethingHappened, ctx: &mut Self::Context) {
        let soon = self.now().plus(GATHERING);
        if self.judge_at > soon && !self.is_draining {
            self.judge_at = soon;
            self.sleep(ctx);
        }
    }
}

impl Handler<NoticesChanged> for NoticeActor {
    type Result = ();

    fn handle(&mut self, _: NoticesChanged, ctx: &mut Self::Context) {
        self.judge_at = self.now();
        self.waits.clear();
        self.clear_up(ctx);
        self.wake(ctx);
    }
}

impl Handler<TryHook> for NoticeActor {
    type Result = ResponseActFuture<Self, Result<Notice, WriteError>>;

    fn handle(&mut self, tried: TryHook, _: &mut Self::Context) -> Self::Result {
        let world = self.world.clone();
        let TryHook { hook, who } = tried;
        let work = async move {
            let (nonce, now) = (world.entropy.attempt_key().0, world.clock.now().utc);
            match noticed(&world, NoticeWrite::Test { hook, nonce, who, now }).await? {
                Noticed::Made(made) => made.into_iter().next().ok_or_else(another_answer),
                _ => Err(another_answer()),
            }
        };
        Box::pin(work.into_actor(self).map(|made: Result<Notice, WriteError>, actor, ctx| {
            if let Ok(notice) = &made {
                actor.count(notice);
                log_notice(notice);
                actor.fill_outboxes();
                actor.wake(ctx);
            }
            made
        }))
    }
}

impl Handler<DrainNotices> for NoticeActor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: DrainNotices, ctx: &mut Self::Context) -> Self::Result {
        self.is_draining = true;
        self.sleep(ctx);
        let (tell, told) = tokio::sync::oneshot::channel();
        self.drained.push(tell);
        self.finish_drain();
        // An error means that there is nothing to wait for.
        let wait = async move { drop(tokio::time::timeout(DRAIN_LIMIT, told).await) };
        Box::pin(wait.into_actor(self).map(|(), actor, ctx| {
            // Dropped, a run is ended behind our back; its message goes out again.
            for handle in std::mem::take(&mut actor.sending).into_values() {
                ctx.cancel_future(handle);
            }
        }))
    }
}

impl Handler<GetNoticeStatus> for NoticeActor {
    type Result = NoticeStatus;

    fn handle(&mut self, _: GetNoticeStatus, _: &mut Self::Context) -> Self::Result {
        NoticeStatus {
            judged: self.judged,
            sending: self.sending.keys().cloned().collect(),
            next_wake_at: self.next_wake_at,
        }
    }
}
