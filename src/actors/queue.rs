//! The QueueActor decides whose turn it is. Rows are the queue; it holds a bounded window of lanes over them.
//!
//! Workers pull: an idle one gets the best waiting task whose generator and account have room, are not paused and whose
//! breaker admits. The claim is committed before the worker hears of it. A submit that finds a free worker is inserted,
//! claimed and intended in one commit. The surprise: capacity is re-read from the database with every refill instead of
//! being counted along, so no lost message can leak a slot.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use actix::WeakRecipient;
use actix::prelude::*;
use serde::{Deserialize, Serialize};

use super::supervisor::{Child, ChildExited};
use super::worker::{RunTask, WorkerActor};
use super::{Happened, World};
use crate::generator::registry::Limits;
use crate::store::DbError;
use crate::store::query::{InFlight, LaneHead, Queries, ReadyTask};
use crate::store::write::{Changed, Claim, NewTask, SubmittedTask, Write, WriteError, Written};
use crate::task::breaker::{Admission, Breaker, Notice, Signal};
use crate::task::lanes::{Bounds, Head, LaneKey, Lanes, Waiting};
use crate::task::{AccountId, Event, GeneratorName, Task, TaskId, TaskState, Timestamp};

const LANES: Bounds = Bounds { lanes: 256, per_lane: 64 };
/// The longest sleep between two looks at the database.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How long to leave a database alone that refused.
const COOL_DOWN: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Names of the settings that outlive a restart.
const PAUSE_SETTING: &str = "pause/";
const BREAKER_SETTING: &str = "breaker/";

/// From the control socket: take these tasks, all or none. Lost: the caller's key lets it ask again.
#[derive(Message, Debug)]
#[rtype(result = "Result<Vec<SubmittedTask>, WriteError>")]
pub struct SubmitTasks {
    /// The tasks; their `claim` is the queue's to fill in.
    pub tasks: Vec<NewTask>,
    /// How many unfinished tasks there may be.
    pub max_pending: u64,
}

/// From a worker: it has nothing to do. Lost: the supervisor asks workers to say it again after a rebuild.
#[derive(Message)]
#[rtype(result = "()")]
pub struct WorkerIdle {
    /// Its number.
    pub worker: usize,
    /// Where it is.
    pub address: Addr<WorkerActor>,
}

/// From whoever committed a change: a slot may be free, or a task may wait now. Lost: the tick looks.
#[derive(Message)]
#[rtype(result = "()")]
pub struct QueueChanged {
    /// The task that waits now, or is not active any more.
    pub task: Option<Box<Task>>,
}

/// From whoever committed a change: what a generator's answer says of the generator.
#[derive(Message)]
#[rtype(result = "()")]
pub struct GeneratorSignalled {
    /// Which.
    pub generator: GeneratorName,
    /// In whose call.
    pub task: TaskId,
    /// What.
    pub signal: Signal,
}

/// From a person: something decided about one task.
#[derive(Message)]
#[rtype(result = "Result<Changed, WriteError>")]
pub struct PersonDecided {
    /// What.
    pub happened: Happened,
}

/// What is paused: everything, a generator, an account, or an account at a generator.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct PauseScope {
    /// Only this generator.
    pub generator: Option<GeneratorName>,
    /// Only this account.
    pub account: Option<AccountId>,
}

/// A pause and who ordered it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pause {
    /// What.
    pub scope: PauseScope,
    /// Who.
    pub who: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Option<String>,
}

/// From a person: start no new submits, or start them again. Answers with the pauses that stand.
#[derive(Message)]
#[rtype(result = "Result<Vec<Pause>, WriteError>")]
pub enum SetPause {
    /// Pause.
    On(Pause),
    /// Resume just this scope.
    Off(PauseScope),
    /// Resume everything.
    AllOff,
}

/// From the supervisor: dispatch nothing more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainQueue;

/// From a person: why does this task wait?
#[derive(Message)]
#[rtype(result = "Option<String>")]
pub struct ExplainWait {
    /// Which.
    pub task: Task,
}

/// What is it doing?
#[derive(Message)]
#[rtype(result = "QueueStatus")]
pub struct GetQueueStatus;

/// The queue as an operator sees it.
#[derive(Clone, Debug, Serialize, MessageResponse)]
pub struct QueueStatus {
    /// Waiting tasks in the window; more may stand behind it in the database.
    pub window: usize,
    /// Workers without a call.
    pub idle_workers: usize,
    /// Jobs at each generator.
    pub in_flight: BTreeMap<GeneratorName, u32>,
    /// Pauses that stand.
    pub pauses: Vec<Pause>,
    /// Open breakers: since when, why, next probe.
    pub breakers: Vec<BreakerStatus>,
    /// Nothing more is dispatched.
    pub is_draining: bool,
}

/// An open breaker.
#[derive(Clone, Debug, Serialize)]
pub struct BreakerStatus {
    /// Of which generator.
    pub generator: GeneratorName,
    /// `unavailable`, `contract_drift` or `failing_jobs`.
    pub trip: String,
    /// The last words of the generator.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// When the next probe may start.
    pub next_probe_at: Option<Timestamp>,
}

/// To itself.
#[derive(Message)]
#[rtype(result = "()")]
struct QueueTick;

/// What a look at the database brings.
struct Look {
    heads: Option<Vec<LaneHead>>,
    in_flight: Vec<InFlight>,
    next_ready: Option<Timestamp>,
    submits: BTreeMap<(GeneratorName, AccountId), u32>,
}

/// See the module.
pub struct QueueActor {
    world: World,
    supervisor: WeakRecipient<ChildExited>,
    lanes: Lanes,
    idle: VecDeque<(usize, Addr<WorkerActor>)>,
    in_flight: BTreeMap<(GeneratorName, AccountId), u32>,
    submits_today: BTreeMap<(GeneratorName, AccountId), u32>,
    pauses: Vec<Pause>,
    breakers: BTreeMap<GeneratorName, Breaker>,
    has_settings: bool,
    claims_under_way: usize,
    is_refilling: bool,
    needs_refill: bool,
    is_window_stale: bool,
    /// Lanes that made way because they cannot run; asked for again with the next change.
    blocked: BTreeSet<(GeneratorName, AccountId)>,
    /// The last look at the window left no lane out but the blocked ones.
    are_all_seen: bool,
    is_draining: bool,
    timer: Option<SpawnHandle>,
}

impl QueueActor {
    /// A fresh one. It reads pauses and breakers from the database before it dispatches anything.
    pub fn new(world: World, supervisor: WeakRecipient<ChildExited>) -> Self {
        Self {
            world,
            supervisor,
            lanes: Lanes::new(LANES),
            idle: VecDeque::new(),
            in_flight: BTreeMap::new(),
            submits_today: BTreeMap::new(),
            pauses: Vec::new(),
            breakers: BTreeMap::new(),
            has_settings: false,
            claims_under_way: 0,
            is_refilling: false,
            needs_refill: true,
            is_window_stale: true,
            blocked: BTreeSet::new(),
            are_all_seen: false,
            is_draining: false,
            timer: None,
        }
    }

    fn read_settings(&mut self, ctx: &mut Context<Self>) {
        let store = self.world.store.clone();
        let read = async move {
            store.read(|queries| Ok((queries.settings(PAUSE_SETTING)?, queries.settings(BREAKER_SETTING)?))).await
        };
        ctx.spawn(read.into_actor(self).map(|settings, queue, ctx| match settings {
            Ok((pauses, breakers)) => {
                queue.pauses = pauses.iter().filter_map(|(_, json)| parse(json)).collect();
                queue.breakers = breakers
                    .iter()
                    .filter_map(|(name, json)| {
                        let breaker: Breaker = parse(json)?;
                        Some((GeneratorName(name.strip_prefix(BREAKER_SETTING)?.to_owned()), breaker.restarted()))
                    })
                    .collect();
                queue.has_settings = true;
                queue.refill(ctx);
            }
            Err(error) => {
                log::error!("pauses and breakers cannot be read, trying again: {error}");
                ctx.run_later(COOL_DOWN, Self::read_settings);
            }
        }));
    }

    /// Reads the window and the capacity anew, when no claim of ours is between reading and writing.
    fn refill(&mut self, ctx: &mut Context<Self>) {
        self.needs_refill = true;
        if self.is_refilling || self.claims_under_way > 0 || !self.has_settings || self.is_draining {
            return;
        }
        self.is_refilling = true;
        self.needs_refill = false;
        let now = self.world.clock.now().utc;
        let limited: Vec<GeneratorName> = {
            let generators = self.world.generators.borrow();
            let limited = generators.iter().filter(|generator| {
                let limits = &generator.limits;
                limits.submits_per_day.is_some() || limits.submits_per_day_per_account.is_some()
            });
            limited.map(|generator| generator.name.clone()).collect()
        };
        let is_window_wanted = std::mem::take(&mut self.is_window_stale) || self.lanes.needs_refill();
        if is_window_wanted {
            self.lanes.begin_refill();
        }
        let (store, except) = (self.world.store.clone(), self.blocked.clone());
        let read = async move {
            store
                .read(move |queries| {
                    let mut submits = BTreeMap::new();
                    for name in limited {
                        let counts = queries.submits_since(&name, now.minus(DAY))?;
                        submits.extend(counts.into_iter().map(|(account, count)| ((name.clone(), account), count)));
                    }
                    let heads = if is_window_wanted { Some(heads(queries, now, &except)?) } else { None };
                    Ok(Look { heads, in_flight: queries.in_flight()?, next_ready: queries.next_ready(now)?, submits })
                })
                .await
        };
        ctx.spawn(read.into_actor(self).map(|look, queue, ctx| {
            queue.is_refilling = false;
            match look {
                Ok(look) => queue.take_in(look, ctx),
                Err(error) => {
                    log::error!("the queue cannot be read, trying again: {error}");
                    queue.is_window_stale = true;
                    queue.sleep(COOL_DOWN, ctx);
                }
            }
        }));
    }

    fn take_in(&mut self, look: Look, ctx: &mut Context<Self>) {
        let count = |entry: InFlight| ((entry.generator, entry.account), entry.jobs);
        self.in_flight = look.in_flight.into_iter().map(count).collect();
        self.submits_today = look.submits;
        if let Some(heads) = look.heads {
            let is_every_lane = heads.len() < LANES.lanes && self.blocked.is_empty();
            self.are_all_seen = heads.len() < LANES.lanes;
            self.lanes.refill(heads.into_iter().map(head).collect(), is_every_lane);
        }
        let now = self.world.clock.now().utc;
        let probe = self.breakers.values().filter_map(Breaker::next_probe_at).filter(|at| *at > now).min();
        let wake = [look.next_ready, probe].into_iter().flatten().min();
        self.sleep(wake.map_or(LONGEST_SLEEP, |at| at.since(now)), ctx);
        self.dispatch(ctx);
        if self.needs_refill {
            self.refill(ctx);
        }
    }

    /// Something changed: what could not run may run now.
    fn unblock(&mut self) {
        self.are_all_seen = false;
        if !self.blocked.is_empty() {
            self.blocked.clear();
            self.is_window_stale = true;
        }
    }

    /// Puts a task in line, or wakes for it when its time comes.
    fn line_up(&mut self, task: &Task, ctx: &mut Context<Self>) {
        self.lanes.remove(&task.id);
        let now = self.world.clock.now().utc;
        if let Some(breaker) = self.breakers.get_mut(&task.generator).filter(|_| !task.state.is_active()) {
            breaker.probe_gone(&task.id, now);
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

    fn sleep(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let wait = wait.clamp(Duration::from_millis(1), LONGEST_SLEEP);
        self.timer = Some(ctx.notify_later(QueueTick, wait));
    }

    /// Gives every idle worker the best task that may run.
    fn dispatch(&mut self, ctx: &mut Context<Self>) {
        if self.is_draining || self.is_refilling || !self.has_settings {
            return;
        }
        while !self.idle.is_empty() {
            let now = self.world.clock.now().utc;
            let Some((key, waiting)) = self.next_runnable(now) else { break };
            let Some((number, worker)) = self.idle.pop_front() else { break };
            self.claim(key, waiting, number, worker, ctx);
        }
        if !self.idle.is_empty() && self.lanes.needs_refill() && !self.are_all_seen {
            self.look_behind();
            self.refill(ctx);
        }
    }

    /// Nothing in the window can run and there are lanes behind it: those that cannot run make way.
    fn look_behind(&mut self) {
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

    fn next_runnable(&mut self, now: Timestamp) -> Option<(LaneKey, Waiting)> {
        // The window is taken out so that the question can look at the rest of the actor.
        let mut lanes = std::mem::replace(&mut self.lanes, Lanes::new(LANES));
        let next = lanes.next(|key| self.hindrance(key, now).is_none());
        self.lanes = lanes;
        next
    }

    fn jobs_at(&self, generator: &GeneratorName) -> u32 {
        self.in_flight.iter().filter(|((name, _), _)| name == generator).map(|(_, jobs)| jobs).sum()
    }

    /// Why no task of this lane may start now; none if one may.
    fn hindrance(&self, key: &LaneKey, now: Timestamp) -> Option<String> {
        let name = &key.generator;
        let Some(generator) = self.world.generator(name) else {
            return Some(format!("generator {name} is not configured; add [generators.{name}] and reload"));
        };
        if let Some(pause) = self.pauses.iter().find(|pause| pause.scope.covers(key)) {
            return Some(format!("{} is paused by {}", pause.scope, pause.who));
        }
        let limits = &generator.limits;
        let at_generator = self.jobs_at(name);
        if at_generator >= limits.max_in_flight {
            return Some(format!(
                "generator {name} has {at_generator} jobs, and max_in_flight is {}",
                limits.max_in_flight
            ));
        }
        let of_account = self.in_flight.get(&(name.clone(), key.account)).copied().unwrap_or(0);
        if let Some(limit) = limits.max_in_flight_per_account.filter(|limit| of_account >= *limit) {
            return Some(format!("account {} has {of_account} jobs at {name}, and {limit} are allowed", key.account));
        }
        self.day_hindrance(key, limits).or_else(|| self.breaker_hindrance(name, now))
    }

    fn day_hindrance(&self, key: &LaneKey, limits: &Limits) -> Option<String> {
        let name = &key.generator;
        let of_generator = self.submits_today.iter().filter(|((generator, _), _)| generator == name);
        let today: u32 = of_generator.map(|(_, count)| count).sum();
        if let Some(limit) = limits.submits_per_day.filter(|limit| today >= *limit) {
            return Some(format!("{today} submits to {name} in 24 hours, and submits_per_day is {limit}"));
        }
        let today = self.submits_today.get(&(name.clone(), key.account)).copied().unwrap_or(0);
        let limit = limits.submits_per_day_per_account.filter(|limit| today >= *limit)?;
        Some(format!("{today} submits of account {} to {name} in 24 hours, and {limit} are allowed", key.account))
    }

    fn breaker_hindrance(&self, name: &GeneratorName, now: Timestamp) -> Option<String> {
        let breaker = self.breakers.get(name)?;
        let (trip, why, _) = breaker.is_open()?;
        match breaker.admits(now) {
            Admission::Open | Admission::Probe => None,
            Admission::NotBefore(at) => {
                let wait = at.since(now).as_secs();
                Some(format!("generator {name}: {trip} ({why}); the next probe starts in {wait} s"))
            }
            Admission::ProbeUnderWay => Some(format!("generator {name}: {trip} ({why}); a probe is under way")),
        }
    }

    /// Books a slot for a claim that is about to be committed.
    fn book(&mut self, key: &LaneKey, task: &TaskId, now: Timestamp) {
        *self.in_flight.entry((key.generator.clone(), key.account)).or_insert(0) += 1;
        *self.submits_today.entry((key.generator.clone(), key.account)).or_insert(0) += 1;
        if let Some(breaker) = self.breakers.get_mut(&key.generator)
            && breaker.admits(now) == Admission::Probe
        {
            log::info!("task_id={task} is the probe of generator {}", key.generator);
            breaker.probe_started(task);
        }
        self.claims_under_way += 1;
    }

    /// The claim was not committed: the worker is free again, and the database says what is true.
    fn unbook(&mut self, key: &LaneKey, task: &TaskId, worker: (usize, Addr<WorkerActor>)) {
        if let Some(breaker) = self.breakers.get_mut(&key.generator) {
            breaker.probe_gone(task, self.world.clock.now().utc);
        }
        self.needs_refill = true;
        self.idle.push_back(worker);
    }

    fn claim(
        &mut self,
        key: LaneKey,
        waiting: Waiting,
        number: usize,
        worker: Addr<WorkerActor>,
        ctx: &mut Context<Self>,
    ) {
        let now = self.world.clock.now().utc;
        self.book(&key, &waiting.id, now);
        let world = self.world.clone();
        let event = Event::Claimed { key: world.entropy.attempt_key() };
        let happened = Happened {
            task_id: waiting.id.clone(),
            generator: key.generator.clone(),
            attempt: None,
            event,
            who: crate::task::apply::CONTENTD.to_owned(),
            is_late_piece_wanted: false,
            rendered: None,
        };
        let claim = async move { world.transit(happened).await };
        ctx.spawn(claim.into_actor(self).map(move |answer, queue, ctx| {
            queue.claims_under_way -= 1;
            let claimed = answer.map(|changed| (changed.change.task, changed.change.attempt));
            match claimed {
                Ok((task, Some(attempt))) => worker.do_send(RunTask { task, attempt }),
                Ok((_, None)) | Err(WriteError::Refused { .. } | WriteError::TaskNotFound(_)) => {
                    queue.unbook(&key, &waiting.id, (number, worker));
                }
                Err(error) => {
                    log::error!("task_id={} could not be claimed: {error}", waiting.id);
                    queue.unbook(&key, &waiting.id, (number, worker));
                    queue.sleep(COOL_DOWN, ctx);
                    return;
                }
            }
            queue.after_claim(ctx);
        }));
    }

    fn after_claim(&mut self, ctx: &mut Context<Self>) {
        if self.needs_refill {
            self.refill(ctx);
        } else {
            self.dispatch(ctx);
        }
    }

    /// A worker for a submit that may run at once: then its claim rides in the commit of the insert.
    fn worker_for(&mut self, tasks: &[NewTask]) -> Option<(LaneKey, (usize, Addr<WorkerActor>))> {
        let [new] = tasks else { return None };
        let is_looking = self.is_refilling || self.needs_refill || self.lanes.needs_refill();
        if self.is_draining || is_looking || !self.has_settings || !self.lanes.is_empty() {
            return None;
        }
        let now = self.world.clock.now().utc;
        let key = LaneKey { generator: new.task.generator.clone(), account: new.task.account_id };
        let is_ready = new.task.wake_at.is_none_or(|at| at <= now);
        if !is_ready || self.hindrance(&key, now).is_some() {
            return None;
        }
        Some((key, self.idle.pop_front()?))
    }

    fn persist_breaker(&self, generator: &GeneratorName, ctx: &mut Context<Self>) {
        let breaker = self.breakers.get(generator).filter(|breaker| breaker.is_open().is_some());
        let value = breaker.and_then(|breaker| serde_json::to_string(breaker).ok());
        let write = Write::PutSetting { name: format!("{BREAKER_SETTING}{generator}"), value };
        let store = self.world.store.clone();
        let generator = generator.clone();
        let work = async move {
            if let Err(error) = store.write(write).await {
                log::error!("the breaker of generator {generator} could not be stored: {error}");
            }
        };
        ctx.spawn(work.into_actor(self));
    }

    fn notice(&mut self, generator: &GeneratorName, notice: Option<Notice>, ctx: &mut Context<Self>) {
        match notice {
            Some(Notice::Opened(trip, why)) => {
                log::error!("generator {generator}: no new submits, {trip}: {why}");
            }
            Some(Notice::Closed) => log::info!("generator {generator}: submits start again"),
            None => return,
        }
        self.persist_breaker(generator, ctx);
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

fn head(head: LaneHead) -> Head {
    let has_more = head.tasks.len() >= LANES.per_lane;
    let waiting =
        |task: ReadyTask| Waiting { id: task.id, priority: task.priority, queued_at: task.queued_at, seq: task.seq };
    let tasks = head.tasks.into_iter().map(waiting).collect();
    Head { key: LaneKey { generator: head.generator, account: head.account }, tasks, has_more }
}

fn log_submitted(task: &Task) {
    log::info!(
        "task_id={} attempt={} submitted by {} for account {} to generator {}, {}",
        task.id,
        task.attempt,
        task.submitted_by,
        task.account_id,
        task.generator,
        task.state,
    );
}

fn parse<T: serde::de::DeserializeOwned>(json: &str) -> Option<T> {
    serde_json::from_str(json).map_err(|error| log::error!("a stored setting is not readable: {error}")).ok()
}

impl PauseScope {
    fn covers(&self, key: &LaneKey) -> bool {
        self.generator.as_ref().is_none_or(|generator| *generator == key.generator)
            && self.account.is_none_or(|account| account == key.account)
    }

    fn setting(&self) -> String {
        let generator = self.generator.as_ref().map_or("*", GeneratorName::as_str);
        let account = self.account.map_or_else(|| "*".to_owned(), |account| account.to_string());
        format!("{PAUSE_SETTING}{generator}/{account}")
    }
}

impl std::fmt::Display for PauseScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.generator, self.account) {
            (None, None) => f.write_str("everything"),
            (Some(generator), None) => write!(f, "generator {generator}"),
            (None, Some(account)) => write!(f, "account {account}"),
            (Some(generator), Some(account)) => write!(f, "account {account} at generator {generator}"),
        }
    }
}

impl Actor for QueueActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.read_settings(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        ChildExited::report(&self.supervisor, Child::Queue, None);
    }
}

impl Handler<QueueTick> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: QueueTick, ctx: &mut Self::Context) {
        self.timer = None;
        self.is_window_stale = true;
        self.unblock();
        self.refill(ctx);
    }
}

impl Handler<QueueChanged> for QueueActor {
    type Result = ();

    fn handle(&mut self, changed: QueueChanged, ctx: &mut Self::Context) {
        self.unblock();
        if let Some(task) = changed.task {
            self.line_up(&task, ctx);
        }
        self.refill(ctx);
    }
}

impl Handler<WorkerIdle> for QueueActor {
    type Result = ();

    fn handle(&mut self, idle: WorkerIdle, ctx: &mut Self::Context) {
        self.idle.retain(|(number, _)| *number != idle.worker);
        self.idle.push_back((idle.worker, idle.address));
        self.dispatch(ctx);
    }
}

impl Handler<SubmitTasks> for QueueActor {
    type Result = ResponseActFuture<Self, Result<Vec<SubmittedTask>, WriteError>>;

    fn handle(&mut self, mut submit: SubmitTasks, _: &mut Self::Context) -> Self::Result {
        let now = self.world.clock.now();
        let booked = self.worker_for(&submit.tasks);
        if let (Some((key, _)), Some(new)) = (&booked, submit.tasks.first_mut()) {
            new.claim =
                Some(Claim { key: self.world.entropy.attempt_key(), policy: self.world.policy(&key.generator) });
            let id = new.task.id.clone();
            self.book(&key.clone(), &id, now.utc);
        }
        let id = submit.tasks.first().map(|new| new.task.id.clone());
        let world = self.world.clone();
        let write = async move {
            let write = Write::SubmitTasks { tasks: submit.tasks, max_pending: submit.max_pending, now };
            match world.store.write(write).await? {
                Written::Submitted(submitted) => Ok(submitted),
                _ => Err(WriteError::Db(DbError::Fatal("the store gave the answer of another write".into()))),
            }
        };
        Box::pin(write.into_actor(self).map(move |answer, queue, ctx| {
            if let Some((key, worker)) = booked {
                queue.claims_under_way -= 1;
                let first = answer.as_ref().ok().and_then(|submitted| submitted.first());
                match first.and_then(|first| Some((first.task.clone(), first.attempt.clone()?))) {
                    Some((task, attempt)) => {
                        log_submitted(&task);
                        worker.1.do_send(RunTask { task, attempt });
                    }
                    None => {
                        if let Some(id) = id {
                            queue.unbook(&key, &id, worker);
                        }
                    }
                }
                queue.after_claim(ctx);
            } else if let Ok(submitted) = &answer {
                for new in submitted.iter().filter(|new| !new.was_known) {
                    log_submitted(&new.task);
                    queue.line_up(&new.task, ctx);
                }
                queue.unblock();
                queue.dispatch(ctx);
            }
            answer
        }))
    }
}

impl Handler<PersonDecided> for QueueActor {
    type Result = ResponseActFuture<Self, Result<Changed, WriteError>>;

    fn handle(&mut self, decided: PersonDecided, _: &mut Self::Context) -> Self::Result {
        let world = self.world.clone();
        let work = async move {
            let changed = world.transit(decided.happened).await?;
            super::result_handler::tidy_up(&world, &changed);
            world.tell_poller();
            Ok(changed)
        };
        Box::pin(work.into_actor(self).map(|answer: Result<Changed, WriteError>, queue, ctx| {
            if let Ok(changed) = &answer {
                queue.line_up(&changed.change.task, ctx);
                queue.unblock();
                queue.refill(ctx);
            }
            answer
        }))
    }
}

impl Handler<GeneratorSignalled> for QueueActor {
    type Result = ();

    fn handle(&mut self, signalled: GeneratorSignalled, ctx: &mut Self::Context) {
        let now = self.world.clock.now().utc;
        let draw = self.world.entropy.draw();
        let breaker = self.breakers.entry(signalled.generator.clone()).or_default();
        let notice = breaker.observe(&signalled.task, &signalled.signal, now, draw);
        if notice.is_some() {
            self.unblock();
            self.refill(ctx);
        }
        self.notice(&signalled.generator, notice, ctx);
    }
}

impl Handler<SetPause> for QueueActor {
    type Result = ResponseActFuture<Self, Result<Vec<Pause>, WriteError>>;

    fn handle(&mut self, set: SetPause, _: &mut Self::Context) -> Self::Result {
        let gone: BTreeSet<PauseScope> = match &set {
            SetPause::On(_) => BTreeSet::new(),
            SetPause::Off(scope) => BTreeSet::from([scope.clone()]),
            SetPause::AllOff => self.pauses.iter().map(|pause| pause.scope.clone()).collect(),
        };
        let added = if let SetPause::On(pause) = set { Some(pause) } else { None };
        let mut writes: Vec<Write> =
            gone.iter().map(|scope| Write::PutSetting { name: scope.setting(), value: None }).collect();
        if let Some(pause) = &added {
            writes.push(Write::PutSetting { name: pause.scope.setting(), value: serde_json::to_string(pause).ok() });
        }
        let store = self.world.store.clone();
        let work = async move {
            for write in writes {
                store.write(write).await?;
            }
            Ok(())
        };
        Box::pin(work.into_actor(self).map(move |answer: Result<(), WriteError>, queue, ctx| {
            answer?;
            queue.pauses.retain(|pause| !gone.contains(&pause.scope));
            if let Some(pause) = added {
                queue.pauses.retain(|other| other.scope != pause.scope);
                queue.pauses.push(pause);
            }
            queue.unblock();
            queue.refill(ctx);
            Ok(queue.pauses.clone())
        }))
    }
}

impl Handler<DrainQueue> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: DrainQueue, _: &mut Self::Context) {
        self.is_draining = true;
    }
}

impl Handler<ExplainWait> for QueueActor {
    type Result = Option<String>;

    fn handle(&mut self, explain: ExplainWait, _: &mut Self::Context) -> Self::Result {
        let task = explain.task;
        let now = self.world.clock.now().utc;
        if task.state != TaskState::Pending {
            return task.reason;
        }
        if let Some(at) = task.wake_at.filter(|at| *at > now) {
            let wait = at.since(now).as_secs();
            let why = task.reason.unwrap_or_else(|| "it is delayed".to_owned());
            return Some(format!("{why}; starts in {wait} s at the earliest"));
        }
        if self.is_draining {
            return Some("the daemon is stopping; it starts after the next start".to_owned());
        }
        let key = LaneKey { generator: task.generator.clone(), account: task.account_id };
        self.hindrance(&key, now).or_else(|| Some("waits for a free worker behind the tasks before it".to_owned()))
    }
}

impl Handler<GetQueueStatus> for QueueActor {
    type Result = QueueStatus;

    fn handle(&mut self, _: GetQueueStatus, _: &mut Self::Context) -> Self::Result {
        let mut in_flight = BTreeMap::new();
        for ((generator, _), jobs) in &self.in_flight {
            *in_flight.entry(generator.clone()).or_insert(0) += jobs;
        }
        let breakers = self.breakers.iter().filter_map(|(generator, breaker)| {
            let (trip, why, since) = breaker.is_open()?;
            Some(BreakerStatus {
                generator: generator.clone(),
                trip: trip.to_string(),
                why: why.to_owned(),
                since,
                next_probe_at: breaker.next_probe_at(),
            })
        });
        QueueStatus {
            window: self.lanes.len(),
            idle_workers: self.idle.len(),
            in_flight,
            pauses: self.pauses.clone(),
            breakers: breakers.collect(),
            is_draining: self.is_draining,
        }
    }
}
