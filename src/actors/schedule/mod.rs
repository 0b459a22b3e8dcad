//! The ScheduleActor begins what is due, and goes on with fires until their tasks are submitted.
//!
//! Rows are its memory: a look reads which schedules are due and which fires have not ended, each is carried out by itself,
//! and then it sleeps until the next time. What passed while nobody looked (a restart, a machine that slept) is planned by
//! [`crate::schedule::plan()`] like everything else. It must not know how a task is made or where a topic lies: that comes
//! in by [`Seams`]. The surprise: there is one fire of a schedule at a time, so a fire that waits (the queue is full) makes
//! later due times wait too, and they are misfires when it ends.

mod carry;
mod messages;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::WeakRecipient;
use actix::prelude::*;
use futures_util::future::BoxFuture;
use log::Level;
use tokio::sync::Semaphore;

use super::World;
use super::supervisor::{Child, ChildExited};
use crate::control::api::ApiError;
use crate::events::Kind;
use crate::generator::command::topics::{Printed, Wanted};
use crate::schedule::plan::realigned;
use crate::schedule::{Beat, Schedule, ScheduleId, Topic, plan};
use crate::store::DbError;
use crate::store::query::ScheduleAgenda;
use crate::store::write::{
    Account, NewTask, ScheduleError, ScheduleWrite, ScheduleWritten, Write, WriteError, Written,
};
use crate::task::Timestamp;
use crate::tell;
use crate::zones;
pub use messages::{DrainSchedules, GetScheduleStatus, ScheduleStatus, SchedulesChanged};

/// The longest sleep: what a machine that slept, or a lost message, costs.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How long to leave a database alone that refused.
const COOL_DOWN: Duration = Duration::from_secs(5);
/// How long to leave a schedule alone whose zone cannot be read.
const ZONE_WAIT: Duration = Duration::from_secs(30);
/// How many schedules and fires are looked at in one go.
const LOOK: u32 = 64;
/// How many schedules are carried out at once.
const AT_ONCE: usize = 64;
/// How many of them may have a command under way, which holds a thread for as long as it takes.
const COMMANDS_AT_ONCE: usize = 4;

/// A topic of a file, and the digest by which it is remembered.
pub type Entry = (Topic, String);

/// What the actor is given to turn topics into tasks.
pub trait Seams: Send + Sync + 'static {
    /// Judges tasks as those of any submit, one by one; what a topic leaves out is filled in.
    fn make(&self, who: &str, wanted: Vec<(Account, Topic, String)>) -> Vec<Result<NewTask, ApiError>>;
    /// How many unfinished tasks there may be.
    fn max_pending(&self) -> u64;
    /// The entries of a file.
    fn read_file(&self, path: String) -> BoxFuture<'static, Result<Vec<Entry>, String>>;
    /// Whether a command may be asked twice for one fire; none where there is no such command.
    fn may_ask_again(&self, command: &str) -> Option<bool>;
    /// By how many milliseconds the wall clock was set since the daemon measures time: due times are what it shows.
    fn clock_was_set_by(&self) -> i64;
    /// Asks a command.
    fn ask(&self, command: &str, wanted: Wanted) -> BoxFuture<'static, Printed>;
}

/// To itself.
#[derive(Message)]
#[rtype(result = "()")]
struct ScheduleTick;

/// See the module.
pub struct ScheduleActor {
    world: World,
    seams: Arc<dyn Seams>,
    supervisor: WeakRecipient<ChildExited>,
    in_hand: BTreeSet<ScheduleId>,
    /// Schedules whose fires wait for a turn to call a command; they are left alone until one is free.
    without_turn: BTreeSet<ScheduleId>,
    /// Schedules whose zones could not be read at the last try, each left alone until then.
    without_zone: BTreeMap<ScheduleId, Timestamp>,
    /// Left alone until this time, because the database refused.
    cooling_until: Option<Timestamp>,
    /// The last write was refused by the database: told once.
    is_refused: bool,
    commands: Arc<Semaphore>,
    /// By how much the wall clock was set at the last look that went well; none before the first.
    aligned_for: Option<i64>,
    is_looking: bool,
    look_again: bool,
    fires: u64,
    next_wake: Option<Timestamp>,
    timer: Option<SpawnHandle>,
    is_draining: bool,
    drained: Vec<tokio::sync::oneshot::Sender<()>>,
}

impl ScheduleActor {
    /// A fresh one. It looks at once.
    pub fn new(world: World, seams: Arc<dyn Seams>, supervisor: WeakRecipient<ChildExited>) -> Self {
        Self {
            world,
            seams,
            supervisor,
            in_hand: BTreeSet::new(),
            without_turn: BTreeSet::new(),
            without_zone: BTreeMap::new(),
            cooling_until: None,
            is_refused: false,
            commands: Arc::new(Semaphore::new(COMMANDS_AT_ONCE)),
            aligned_for: None,
            is_looking: false,
            look_again: false,
            fires: 0,
            next_wake: None,
            timer: None,
            is_draining: false,
            drained: Vec::new(),
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.is_draining {
            return;
        }
        if self.is_looking {
            self.look_again = true;
            return;
        }
        (self.is_looking, self.look_again) = (true, false);
        let (world, set_by) = (self.world.clone(), self.seams.clock_was_set_by());
        let is_aligned = self.aligned_for == Some(set_by);
        // What is in hand or left alone stands first of all, and must not be all that is seen.
        let waiting = self.without_zone.values().filter(|until| **until > self.world.clock.now().utc).count();
        let hidden = self.in_hand.len() + self.without_turn.len() + waiting;
        let limit = LOOK.saturating_add(u32::try_from(hidden).unwrap_or(u32::MAX));
        let look = async move {
            let now = world.clock.now().utc;
            let wall = moved_by(now, set_by);
            if !is_aligned {
                align(&world, wall).await?;
            }
            world.store.read(move |queries| queries.schedule_agenda(now, wall, limit)).await.map_err(WriteError::Db)
        };
        ctx.spawn(look.into_actor(self).map(move |agenda, actor, ctx| {
            actor.is_looking = false;
            match agenda {
                Ok(agenda) => {
                    actor.aligned_for = Some(set_by);
                    actor.take_up(agenda, set_by, ctx);
                }
                Err(error) => {
                    tell!(Level::Error, Kind::StorageTrouble, "schedules cannot be read, trying again: {error}");
                    actor.sleep_until(actor.world.clock.now().utc.plus(COOL_DOWN), ctx);
                }
            }
            if actor.look_again {
                actor.look(ctx);
            }
        }));
    }

    fn take_up(&mut self, agenda: ScheduleAgenda, set_by: i64, ctx: &mut Context<Self>) {
        if self.is_draining {
            return;
        }
        let now = self.world.clock.now().utc;
        let longest = now.plus(LONGEST_SLEEP);
        let next_due = agenda.next_due.map(|due| moved_by(due, set_by.saturating_neg()));
        let zones = self.without_zone.values().copied().filter(|until| *until > now);
        let mut wake = next_due.into_iter().chain(agenda.next_wake).chain(zones).fold(longest, Timestamp::min);
        if let Some(until) = self.cooling_until.filter(|until| *until > now) {
            wake = wake.min(until);
        } else {
            self.cooling_until = None;
            for fire in agenda.fires {
                self.run(fire.schedule, carry::Work::GoOn(Box::new(fire)), ctx);
            }
            for schedule in agenda.due {
                self.run(schedule.id, carry::Work::Begin(Box::new(schedule)), ctx);
            }
        }
        self.sleep_until(wake, ctx);
    }

    fn run(&mut self, schedule: ScheduleId, work: carry::Work, ctx: &mut Context<Self>) {
        let is_early = self.without_zone.get(&schedule).is_some_and(|until| *until > self.world.clock.now().utc);
        if is_early && matches!(work, carry::Work::Begin(_)) || self.without_turn.contains(&schedule) {
            return;
        }
        // Whoever finds no room is found again by the look after the next end.
        if self.in_hand.len() >= AT_ONCE || !self.in_hand.insert(schedule) {
            return;
        }
        let (seams, commands) = (Arc::clone(&self.seams), Arc::clone(&self.commands));
        let carry = carry::Carry { world: self.world.clone(), seams, commands };
        let work = async move { carry.carry_out(work).await };
        ctx.spawn(work.into_actor(self).map(move |done, actor, ctx| {
            actor.in_hand.remove(&schedule);
            if actor.commands.available_permits() > 0 {
                actor.without_turn.clear();
            }
            match done {
                Ok(ended) => {
                    actor.is_refused = false;
                    actor.take_end(schedule, ended);
                }
                Err(error) => {
                    let is_known = std::mem::replace(&mut actor.is_refused, true);
                    tell!(
                        if is_known { Level::Debug } else { Level::Error },
                        Kind::StorageTrouble,
                        "schedule {schedule}: nothing could be written, trying again: {error}"
                    );
                    actor.cooling_until = Some(actor.world.clock.now().utc.plus(COOL_DOWN));
                }
            }
            actor.finish_drain();
            actor.look(ctx);
        }));
    }

    fn take_end(&mut self, schedule: ScheduleId, ended: carry::Ended) {
        match ended {
            carry::Ended::NoZone(why) => {
                let until = self.world.clock.now().utc.plus(ZONE_WAIT);
                let is_known = self.without_zone.insert(schedule, until).is_some();
                let level = if is_known { Level::Debug } else { Level::Error };
                tell!(level, Kind::ScheduleFailed, "{why}");
                if !is_known {
                    self.world.tell_trouble();
                }
            }
            // Had one become free meanwhile, nobody would say so again.
            carry::Ended::NoTurn if self.commands.available_permits() > 0 => {}
            carry::Ended::NoTurn => drop(self.without_turn.insert(schedule)),
            carry::Ended::Begun => {
                if self.without_zone.remove(&schedule).is_some() {
                    self.world.tell_trouble();
                }
            }
            carry::Ended::Fired => self.fires += 1,
            carry::Ended::Noted => {}
        }
    }

    fn sleep_until(&mut self, at: Timestamp, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.next_wake = Some(at);
        let wait = at.since(self.world.clock.now().utc).max(Duration::from_millis(1));
        self.timer = Some(ctx.notify_later(ScheduleTick, wait));
    }

    fn finish_drain(&mut self) {
        if self.is_draining && self.in_hand.is_empty() {
            for drained in self.drained.drain(..) {
                // A supervisor that stopped waiting is no error.
                let _ = drained.send(());
            }
        }
    }
}

/// A time so many milliseconds later.
fn moved_by(at: Timestamp, ms: i64) -> Timestamp {
    Timestamp(at.0.saturating_add(ms))
}

/// At the first look of a life, and when the wall clock was set: a zone may have other rules than when the next due time was
/// written, and a due time in a far future would hold its schedule up.
async fn align(world: &World, wall: Timestamp) -> Result<(), WriteError> {
    let schedules = world.store.read(|queries| queries.schedules()).await?;
    for schedule in schedules {
        let Some(due) = schedule.next_due else { continue };
        let id = schedule.id;
        let seen = on_thread(move || realigned(&beat(&schedule).ok()?, due, wall)).await;
        let Some(next_due) = seen.flatten().filter(|next_due| *next_due != due) else { continue };
        tell!(
            Level::Info,
            Kind::ClockSet,
            "schedule {id} is due at another time than was written: zone or clock have changed"
        );
        match world.store.write(Write::Schedule(ScheduleWrite::Realign { schedule: id, due, next_due })).await {
            Ok(_) | Err(WriteError::Schedule(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn beat(schedule: &Schedule) -> Result<Beat, crate::schedule::TimingError> {
    Beat::of(&schedule.timing, zones::named)
}

/// Reckons where it may take its time: zones are files, and a long absence has many due times.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// Writes, and takes the answer apart; none where what was meant is gone or has moved on.
async fn write(world: &World, write: ScheduleWrite) -> Result<Option<ScheduleWritten>, WriteError> {
    match world.store.write(Write::Schedule(write)).await {
        Ok(Written::Schedule(written)) => Ok(Some(*written)),
        Ok(_) => Err(WriteError::Db(DbError::Fatal("the store gave the answer of another write".into()))),
        Err(WriteError::Schedule(
            ScheduleError::NotFound(_)
            | ScheduleError::NoFire(_)
            | ScheduleError::Stale(_)
            | ScheduleError::Illegal { .. }
            | ScheduleError::UnderWay { .. },
        )) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Actor for ScheduleActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        ChildExited::report(&self.supervisor, Child::Schedules, None);
    }
}

impl Handler<ScheduleTick> for ScheduleActor {
    type Result = ();

    fn handle(&mut self, _: ScheduleTick, ctx: &mut Self::Context) {
        self.timer = None;
        self.look(ctx);
    }
}

impl Handler<SchedulesChanged> for ScheduleActor {
    type Result = ();

    fn handle(&mut self, _: SchedulesChanged, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}

impl Handler<DrainSchedules> for ScheduleActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: DrainSchedules, ctx: &mut Self::Context) -> Self::Result {
        self.is_draining = true;
        self.commands.close();
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

impl Handler<GetScheduleStatus> for ScheduleActor {
    type Result = ScheduleStatus;

    fn handle(&mut self, _: GetScheduleStatus, _: &mut Self::Context) -> Self::Result {
        ScheduleStatus { in_hand: self.in_hand.len(), fires: self.fires, next_wake_at: self.next_wake }
    }
}
