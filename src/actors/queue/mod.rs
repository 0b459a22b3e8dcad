//! The QueueActor decides whose turn it is. Rows are the queue; it holds a bounded window of lanes over them.
//!
//! Workers pull: an idle one gets the best waiting task whose generator and account have room, are not paused and whose
//! breaker admits. The claim is committed before the worker hears of it. A submit that finds a free worker is inserted,
//! claimed and intended in one commit. The surprise: capacity is re-read from the database with every refill instead of
//! being counted along, so no lost message can leak a slot.

mod admission;
mod messages;
mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use actix::WeakRecipient;
use actix::prelude::*;
use log::Level;

use super::supervisor::{Child, ChildExited};
use super::worker::{RunTask, WorkerActor};
use super::{Happened, World};
use crate::events::{About, Kind};
use crate::store::DbError;
use crate::store::query::{Queries, Submits};
use crate::store::write::{Changed, Claim, NewTask, SubmittedTask, Write, WriteError, Written};
use crate::task::account::AccountLimits;
use crate::task::breaker::{Admission, Breaker};
use crate::task::lanes::{Bounds, LaneKey, Lanes, Waiting};
use crate::task::{AccountId, Event, GeneratorName, Task, TaskId, TaskState, Timestamp, in_words};
use crate::tell;
use messages::PAUSE_SETTING;
pub use messages::{
    BreakerStatus, DrainQueue, ExplainWaits, GeneratorSignalled, GetQueueStatus, Pause, PauseScope, PersonDecided,
    QueueChanged, QueueStatus, Readiness, SetPause, SubmitTasks, TasksSubmitted, WorkerIdle,
};

const LANES: Bounds = Bounds { lanes: 256, per_lane: 64 };
/// The longest sleep between two looks at the database.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// So many lanes may be asked for each submit whether they can run.
const FEW_LANES: usize = 16;
/// How long to leave a database alone that refused.
const COOL_DOWN: Duration = Duration::from_secs(1);
/// The names of settings that hold open breakers begin so.
pub(super) const BREAKER_SETTING: &str = "breaker/";

/// To itself.
#[derive(Message)]
#[rtype(result = "()")]
struct QueueTick;

/// See the module.
pub struct QueueActor {
    world: World,
    supervisor: WeakRecipient<ChildExited>,
    lanes: Lanes,
    idle: VecDeque<(usize, Addr<WorkerActor>)>,
    in_flight: BTreeMap<(GeneratorName, AccountId), u32>,
    /// Of these, jobs that outlived their tasks.
    watched: BTreeMap<GeneratorName, u32>,
    submits_today: BTreeMap<(GeneratorName, AccountId), Submits>,
    /// The generators whose submits of the day were counted, and are booked since.
    counted: BTreeSet<GeneratorName>,
    is_recount_wanted: bool,
    account_limits: BTreeMap<AccountId, AccountLimits>,
    pauses: Vec<Pause>,
    breakers: BTreeMap<GeneratorName, Breaker>,
    has_settings: bool,
    claims_under_way: usize,
    is_refilling: bool,
    needs_refill: bool,
    is_window_stale: bool,
    /// Lanes that made way because they cannot run; asked for again with the next change.
    blocked: BTreeSet<(GeneratorName, AccountId)>,
    /// The last look at the window left no lane out but the blocked ones, and nothing has changed since it began.
    are_all_seen: bool,
    /// When what made way was last asked for again: that does not wait for a moment in which nothing is submitted.
    ticked_at: Timestamp,
    is_draining: bool,
    drained: Vec<tokio::sync::oneshot::Sender<()>>,
    timer: Option<SpawnHandle>,
}

impl QueueActor {
    /// A fresh one. It reads pauses and breakers from the database before it dispatches anything.
    pub fn new(world: World, supervisor: WeakRecipient<ChildExited>) -> Self {
        Self {
            ticked_at: world.clock.now().utc,
            world,
            supervisor,
            lanes: Lanes::new(LANES),
            idle: VecDeque::new(),
            in_flight: BTreeMap::new(),
            watched: BTreeMap::new(),
            submits_today: BTreeMap::new(),
            counted: BTreeSet::new(),
            is_recount_wanted: false,
            account_limits: BTreeMap::new(),
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
            drained: Vec::new(),
            timer: None,
        }
    }

    fn read_settings(&mut self, ctx: &mut Context<Self>) {
        let (store, now) = (self.world.store.clone(), self.world.clock.now().utc);
        let read = async move {
            let read = move |queries: &dyn Queries| {
                Ok((queries.settings(PAUSE_SETTING)?, stored_breakers_with_probes(queries, now)?))
            };
            store.read(read).await
        };
        ctx.spawn(read.into_actor(self).map(|settings, queue, ctx| match settings {
            Ok((pauses, breakers)) => {
                queue.pauses = pauses.iter().filter_map(|(_, json)| parse(json)).collect();
                queue.take_breakers(breakers, ctx);
                queue.has_settings = true;
                queue.refill(ctx);
            }
            Err(error) => {
                tell!(Level::Error, Kind::StorageTrouble, "pauses and breakers cannot be read, trying again: {error}");
                ctx.run_later(COOL_DOWN, Self::read_settings);
            }
        }));
    }

    /// The breakers as they were stored. A probe lives on as long as its task is active; and jobs that failed since the
    /// last queue died are remembered.
    fn take_breakers(&mut self, stored: Vec<StoredBreaker>, ctx: &mut Context<Self>) {
        let now = self.world.clock.now().utc;
        self.breakers.clear();
        for StoredBreaker { generator, breaker, gone_probe } in stored {
            self.breakers.insert(generator.clone(), breaker);
            if let Some(probe) = gone_probe {
                self.change_breaker(&generator, ctx, |breaker| breaker.probe_gone(&probe, now));
            }
        }
        let names: Vec<GeneratorName> = self.world.generators.borrow().iter().map(|one| one.name.clone()).collect();
        for name in names {
            let failing = self.world.failing.tasks(&name);
            let draw = self.world.entropy.draw();
            let notice = self.change_breaker(&name, ctx, |breaker| breaker.remember_failing(failing, now, draw));
            self.notice(&name, notice);
        }
    }

    /// Gives every idle worker the best task that may run.
    fn dispatch(&mut self, ctx: &mut Context<Self>) {
        self.give_out(ctx);
        self.say_readiness();
    }

    fn give_out(&mut self, ctx: &mut Context<Self>) {
        if self.is_draining || self.is_refilling || !self.has_settings {
            return;
        }
        while !self.idle.is_empty() {
            let now = self.world.clock.now().utc;
            let Some((key, waiting)) = self.next_runnable(now) else { break };
            let Some((number, worker)) = self.idle.pop_front() else { break };
            self.claim(key, waiting, number, worker, ctx);
        }
        if self.idle.is_empty() || !self.lanes.needs_refill() {
            return;
        }
        if !self.are_all_seen {
            self.look_behind();
            self.refill(ctx);
        } else if !self.lanes.lanes_needing_refill().is_empty() {
            // A lane's own tasks behind its window are no lane that was left out.
            self.refill(ctx);
        }
    }

    fn next_runnable(&mut self, now: Timestamp) -> Option<(LaneKey, Waiting)> {
        // The window is taken out so that the question can look at the rest of the actor.
        let mut lanes = std::mem::replace(&mut self.lanes, Lanes::new(LANES));
        let is_open = |name: &GeneratorName| self.breakers.get(name).is_some_and(|breaker| breaker.is_open().is_some());
        let next = lanes.next_or_probe(|key| self.hindrance(key, now).is_none(), is_open);
        self.lanes = lanes;
        next
    }

    /// Books a slot for a claim that is about to be committed.
    fn book(&mut self, key: &LaneKey, task: &TaskId, now: Timestamp, ctx: &mut Context<Self>) {
        *self.in_flight.entry((key.generator.clone(), key.account)).or_insert(0) += 1;
        let none = Submits { count: 0, first: now };
        self.submits_today.entry((key.generator.clone(), key.account)).or_insert(none).count += 1;
        if self.breakers.get(&key.generator).is_some_and(|breaker| breaker.admits(now) == Admission::Probe) {
            let about = About::id(task).at(&key.generator).account(key.account).is(Kind::Probe);
            tell!(Level::Info, about, "is the probe of generator {}", key.generator);
            self.change_breaker(&key.generator, ctx, |breaker| breaker.probe_started(task, now));
            // Which task is the next probe, the window may not know.
            (self.is_window_stale, self.needs_refill) = (true, true);
        }
        self.claims_under_way += 1;
    }

    /// The claim was not committed: the worker is free again, and the database says what is true.
    fn unbook(&mut self, key: &LaneKey, task: &TaskId, worker: (usize, Addr<WorkerActor>), ctx: &mut Context<Self>) {
        let now = self.world.clock.now().utc;
        self.change_breaker(&key.generator, ctx, |breaker| breaker.probe_gone(task, now));
        self.count_submits_again();
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
        self.book(&key, &waiting.id, now, ctx);
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
            is_job_wanted: true,
        };
        let claim = async move { world.transit(happened).await };
        ctx.spawn(claim.into_actor(self).map(move |answer, queue, ctx| {
            queue.claims_under_way -= 1;
            let claimed = answer.map(|changed| (changed.change.task, changed.change.attempt));
            match claimed {
                Ok((task, Some(attempt))) => worker.do_send(RunTask { task, attempt }),
                Ok((_, None)) | Err(WriteError::Refused { .. } | WriteError::TaskNotFound(_)) => {
                    queue.unbook(&key, &waiting.id, (number, worker), ctx);
                }
                Err(error) => {
                    let about = About::id(&waiting.id).at(&key.generator).account(key.account).is(Kind::TaskTrouble);
                    // A full disk is told by the store, once for all tasks.
                    let is_told = matches!(error, WriteError::Db(DbError::StorageFull(_)));
                    let level = if is_told { Level::Debug } else { Level::Error };
                    tell!(level, about, "could not be claimed: {error}");
                    queue.unbook(&key, &waiting.id, (number, worker), ctx);
                    queue.sleep(COOL_DOWN, ctx);
                    if !queue.is_draining {
                        return;
                    }
                }
            }
            queue.after_claim(ctx);
        }));
    }

    fn after_claim(&mut self, ctx: &mut Context<Self>) {
        if self.is_draining && self.claims_under_way == 0 {
            for drained in self.drained.drain(..) {
                // A supervisor that stopped waiting is no error.
                let _ = drained.send(());
            }
        }
        if self.needs_refill {
            self.refill(ctx);
        } else {
            self.dispatch(ctx);
        }
    }

    /// Nothing that may run stands in line before a submit, as far as that is known.
    fn is_way_free(&self) -> bool {
        let is_looking = self.is_refilling || self.needs_refill || self.lanes.needs_refill();
        !self.is_draining && !is_looking && self.has_settings && (self.lanes.is_empty() || self.is_all_hindered())
    }

    /// Nothing in line may run now. Of many lanes that is not asked: it would take longer than the commit that it saves.
    fn is_all_hindered(&self) -> bool {
        let is_all_seen = self.blocked.is_empty() && !self.lanes.has_lanes_behind();
        let now = self.world.clock.now().utc;
        is_all_seen
            && self.lanes.count() <= FEW_LANES
            && !self.lanes.has_runnable(|key| self.hindrance(key, now).is_none())
    }

    fn say_readiness(&self) {
        let is_free = !self.idle.is_empty() && self.is_way_free();
        self.world.readiness.set(if is_free { self.open_generators() } else { BTreeSet::new() });
    }

    /// Somebody who pauses once more and names no reason takes nothing back of what was said, and by whom.
    fn with_reason(&self, pause: Pause) -> Pause {
        let before = self.pauses.iter().find(|other| other.scope == pause.scope && other.reason.is_some());
        before.filter(|_| pause.reason.is_none()).cloned().unwrap_or(pause)
    }

    /// A worker for a submit that may run at once: then its claim rides in the commit of the insert.
    fn worker_for(&mut self, tasks: &[NewTask]) -> Option<(LaneKey, (usize, Addr<WorkerActor>))> {
        let [new] = tasks else { return None };
        if !self.is_way_free() {
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
}

impl QueueActor {
    fn explain(&self, task: Task, now: Timestamp) -> Option<String> {
        if task.state != TaskState::Pending {
            return task.reason;
        }
        let key = LaneKey { generator: task.generator.clone(), account: task.account_id };
        if let Some(at) = task.wake_at.filter(|at| *at > now) {
            let wait = at.since(now).as_secs();
            let why = task.reason.unwrap_or_else(|| "it is delayed".to_owned());
            let delay = format!("{why}; starts in {} at the earliest", in_words(wait));
            // What is busy now says nothing of then; what somebody has to do, or a day's limit, does.
            return Some(
                std::iter::once(delay).chain(self.lasting_hindrances(&key, now)).collect::<Vec<_>>().join("; and "),
            );
        }
        if self.is_draining {
            return Some("the daemon is stopping; it starts after the next start".to_owned());
        }
        let why: Vec<String> = self.hindrances(&key, now).collect();
        if why.is_empty() {
            return Some("waits for a free worker behind the tasks before it".to_owned());
        }
        Some(why.join("; and "))
    }

    /// Puts what was submitted in line. A lane that made way because it cannot run is read when it can.
    fn take_submitted(&mut self, submitted: &[SubmittedTask], ctx: &mut Context<Self>) {
        let mut may_run = false;
        for new in submitted.iter().filter(|new| !new.was_known) {
            log_submitted(&new.task);
            if !self.blocked.contains(&(new.task.generator.clone(), new.task.account_id)) {
                self.line_up(&new.task, ctx);
                may_run = true;
            }
        }
        if may_run {
            self.are_all_seen = false;
            self.dispatch(ctx);
        }
    }
}

fn log_submitted(task: &Task) {
    tell!(
        Level::Info,
        About::task(task).is(Kind::TaskTaken),
        "submitted by {} for account {} to generator {}, {}",
        task.submitted_by,
        task.account_id,
        task.generator,
        task.state,
    );
}

/// The breaker that a setting holds, seen at `now`.
pub(super) fn stored_breaker((name, json): &(String, String), now: Timestamp) -> Option<(GeneratorName, Breaker)> {
    let breaker: Breaker = parse(json)?;
    Some((GeneratorName(name.strip_prefix(BREAKER_SETTING)?.to_owned()), breaker.seen_at(now)))
}

/// An open breaker as the database has it.
struct StoredBreaker {
    generator: GeneratorName,
    breaker: Breaker,
    /// The task of a probe that is over.
    gone_probe: Option<TaskId>,
}

fn stored_breakers_with_probes(queries: &dyn Queries, now: Timestamp) -> Result<Vec<StoredBreaker>, DbError> {
    let settings = queries.settings(BREAKER_SETTING)?;
    let read = |(generator, breaker): (GeneratorName, Breaker)| {
        let gone_probe = match breaker.probe() {
            Some(probe) => {
                let is_active = queries.task(probe)?.is_some_and(|(task, _)| task.state.is_active());
                (!is_active).then(|| probe.clone())
            }
            None => None,
        };
        Ok(StoredBreaker { generator, breaker, gone_probe })
    };
    settings.iter().filter_map(|setting| stored_breaker(setting, now)).map(read).collect()
}

fn parse<T: serde::de::DeserializeOwned>(json: &str) -> Option<T> {
    let told = |error| tell!(Level::Error, Kind::StorageTrouble, "a stored setting is not readable: {error}");
    serde_json::from_str(json).map_err(told).ok()
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
        self.ticked_at = self.world.clock.now().utc;
        self.is_window_stale = true;
        self.count_submits_again();
        self.unblock();
        self.refill(ctx);
    }
}

impl Handler<QueueChanged> for QueueActor {
    type Result = ();

    fn handle(&mut self, changed: QueueChanged, ctx: &mut Self::Context) {
        self.unblock();
        // What ends without a piece may never have been sent, which gives its submit back.
        if changed.task.as_ref().is_none_or(|task| task.state != TaskState::Completed) {
            self.count_submits_again();
        }
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

    fn handle(&mut self, mut submit: SubmitTasks, ctx: &mut Self::Context) -> Self::Result {
        let now = self.world.clock.now();
        let booked = self.worker_for(&submit.tasks);
        if let (Some((key, _)), Some(new)) = (&booked, submit.tasks.first_mut()) {
            new.claim =
                Some(Claim { key: self.world.entropy.attempt_key(), policy: self.world.policy(&key.generator) });
            let id = new.task.id.clone();
            self.book(&key.clone(), &id, now.utc, ctx);
            self.say_readiness();
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
                            queue.unbook(&key, &id, worker, ctx);
                        }
                    }
                }
                queue.after_claim(ctx);
            } else if let Ok(submitted) = &answer {
                queue.take_submitted(submitted, ctx);
            }
            answer
        }))
    }
}

impl Handler<TasksSubmitted> for QueueActor {
    type Result = ();

    fn handle(&mut self, submitted: TasksSubmitted, ctx: &mut Self::Context) {
        self.take_submitted(&submitted.tasks, ctx);
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
                queue.count_submits_again();
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
        let notice = self.change_breaker(&signalled.generator, ctx, |breaker| {
            breaker.observe(&signalled.task, &signalled.signal, now, draw)
        });
        if notice.is_some() {
            self.is_window_stale = true;
            self.unblock();
            self.refill(ctx);
        }
        self.notice(&signalled.generator, notice);
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
        // Whoever resumes a generator has mended it: an open breaker lets its next task try it now.
        let mended = match &set {
            SetPause::Off(PauseScope { generator: Some(name), account: None }) => Some(name.clone()),
            SetPause::Off(_) | SetPause::On(_) | SetPause::AllOff => None,
        };
        let added = if let SetPause::On(pause) = set { Some(self.with_reason(pause)) } else { None };
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
            if let Some(name) = mended.filter(|name| queue.breakers.contains_key(name)) {
                let now = queue.world.clock.now().utc;
                queue.change_breaker(&name, ctx, |breaker| breaker.probe_from(now));
            }
            queue.unblock();
            queue.refill(ctx);
            Ok(queue.pauses.clone())
        }))
    }
}

impl Handler<DrainQueue> for QueueActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: DrainQueue, _: &mut Self::Context) -> Self::Result {
        self.is_draining = true;
        self.say_readiness();
        if self.claims_under_way == 0 {
            return Box::pin(async {});
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        self.drained.push(tell);
        Box::pin(async move {
            // An error means that the queue died; it claims nothing then either.
            let _ = told.await;
        })
    }
}

impl Handler<ExplainWaits> for QueueActor {
    type Result = Vec<Option<String>>;

    fn handle(&mut self, explain: ExplainWaits, _: &mut Self::Context) -> Self::Result {
        let now = self.world.clock.now().utc;
        explain.tasks.into_iter().map(|task| self.explain(task, now)).collect()
    }
}

impl Handler<GetQueueStatus> for QueueActor {
    type Result = QueueStatus;

    fn handle(&mut self, _: GetQueueStatus, _: &mut Self::Context) -> Self::Result {
        let now = self.world.clock.now().utc;
        let mut in_flight = BTreeMap::new();
        for ((generator, _), jobs) in &self.in_flight {
            *in_flight.entry(generator.clone()).or_insert(0) += jobs;
        }
        let (mut submits_at, mut submits_of) = (BTreeMap::new(), BTreeMap::new());
        for ((generator, account), submits) in &self.submits_today {
            *submits_at.entry(generator.clone()).or_insert(0) += submits.count;
            *submits_of.entry(*account).or_insert(0) += submits.count;
        }
        let breakers = self.breakers.iter().filter_map(|(generator, breaker)| {
            let (trip, why, since) = breaker.is_open()?;
            Some(BreakerStatus {
                generator: generator.clone(),
                trip: trip.to_string(),
                why: why.to_owned(),
                since,
                next_probe_at: breaker.next_probe_at(),
                is_probed: breaker.admits(now) == Admission::ProbeUnderWay,
            })
        });
        let generators = self.world.generators.borrow();
        let suspicion = |name: &GeneratorName| Some((name.clone(), self.suspicion(name, now)?));
        QueueStatus {
            window: self.lanes.len(),
            idle_workers: self.idle.len(),
            in_flight,
            submits_at,
            submits_of,
            pauses: self.pauses.clone(),
            breakers: breakers.collect(),
            suspicions: generators.iter().filter_map(|generator| suspicion(&generator.name)).collect(),
            is_draining: self.is_draining,
        }
    }
}
