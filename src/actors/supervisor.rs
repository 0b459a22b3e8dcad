//! The SupervisorActor owns every other actor: builds them, rebuilds one that died, drains them, and says how they are.
//!
//! actix's own supervision does not revive an actor that panicked, so each child tells its parent when it stops
//! ([`ChildExited`], sent from `stopped()`, which runs during unwinding too). The parent builds a fresh one from the same
//! factory and announces its address through [`Peers`]. Past the restart budget the daemon ends with a non-zero status: whoever
//! runs it starts a new one, whose recovery is the same as after any other death.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::WeakRecipient;
use actix::prelude::*;
use log::Level;
use serde::Serialize;
use tokio::sync::watch;

use super::images::{DrainImages, GetImageStatus, ImageActor, ImageStatus};
use super::notice::{DrainNotices, GetNoticeStatus, NoticeActor, NoticeStatus, NoticesChanged};
use super::poller::{DrainPoller, GetPollerStatus, PollerActor, PollerStatus, RunEnded};
use super::publisher::{DrainPublisher, GetPublisherStatus, PublisherActor, PublisherStatus};
use super::queue::{DrainQueue, GetQueueStatus, QueueActor, QueueStatus};
use super::result_handler::{GetResultStatus, ResultHandlerActor, ResultStatus};
use super::schedule::{DrainSchedules, GetScheduleStatus, ScheduleActor, ScheduleStatus, Seams};
use super::worker::{AnnounceIdle, DrainWorker, GetWorkerStatus, WorkerActor, WorkerStatus};
use super::{Happened, Peers, World};
use crate::events::{About, Kind};
use crate::generator::Driver;
use crate::generator::registry::Generators;
use crate::task::{Event, TaskId};
use crate::tell;

/// How many restarts within how long are survived.
const RESTART_BUDGET: (usize, Duration) = (10, Duration::from_secs(60));
/// How long a child may take to say how it is, where nobody is in more of a hurry.
const STATUS_LIMIT: Duration = Duration::from_secs(2);
/// The pause before a child is rebuilt; doubles with each restart inside the budget's time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// A child by its role.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Child {
    /// The queue.
    Queue,
    /// The poller.
    Poller,
    /// The result handler.
    ResultHandler,
    /// The schedules.
    Schedules,
    /// Who has images fetched.
    Images,
    /// The publisher.
    Publisher,
    /// Who tells somebody.
    Notice,
    /// A worker, by number.
    Worker(usize),
}

/// From a child that stops: it is gone. If it were lost, the child would stay missing; it is sent from the last moment of its life.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct ChildExited {
    /// Which.
    pub child: Child,
    /// Whether it died of a panic.
    pub panicked: bool,
    /// The call that it had in hand: task and attempt.
    pub orphan: Option<(TaskId, u32)>,
}

impl ChildExited {
    /// Tells the parent, from `stopped()`. Harmless when the whole system goes down.
    pub fn report(supervisor: &WeakRecipient<Self>, child: Child, orphan: Option<(TaskId, u32)>) {
        // Without a system there is no parent any more, and asking for one would abort the process while unwinding.
        if System::try_current().is_none() {
            return;
        }
        if let Some(supervisor) = supervisor.upgrade() {
            supervisor.do_send(Self { child, panicked: std::thread::panicking(), orphan });
        }
    }
}

/// From the daemon: finish what is in hand and start nothing. Answers when every child is idle.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain;

/// From the daemon: these are the generators now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reload {
    /// All of them.
    pub generators: Arc<Generators>,
}

/// From the daemon, when it can take tasks: schedules begin, made into tasks through these.
#[derive(Message)]
#[rtype(result = "()")]
pub struct OpenSchedules(pub Arc<dyn Seams>);

/// How is everybody? Children that do not answer in time are missing from the answer.
#[derive(Message)]
#[rtype(result = "DaemonStatus")]
pub struct GetStatus {
    /// How long a child may take.
    pub within: Duration,
}

impl Default for GetStatus {
    fn default() -> Self {
        Self { within: STATUS_LIMIT }
    }
}

/// Test hook of the actor's own promise: makes a child panic in its next message.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Crash;

/// Test hook of the watchdog's promise: makes a child answer nothing any more, for ever.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Wedge;

/// Everybody as an operator sees them.
#[derive(Clone, Debug, Serialize)]
pub struct DaemonStatus {
    /// The queue.
    pub queue: Option<QueueStatus>,
    /// The poller.
    pub poller: Option<PollerStatus>,
    /// The result handler.
    pub results: Option<ResultStatus>,
    /// The schedules.
    pub schedules: Option<ScheduleStatus>,
    /// Whether schedules were opened, so that they are to answer.
    pub has_schedules: bool,
    /// Who has images fetched.
    pub images: Option<ImageStatus>,
    /// The publisher.
    pub publisher: Option<PublisherStatus>,
    /// Who tells somebody.
    pub notice: Option<NoticeStatus>,
    /// The workers, by number.
    pub workers: Vec<Option<WorkerStatus>>,
    /// Restarts of children since the start.
    pub restarts: u64,
    /// Of these, restarts of each worker, by number.
    pub worker_restarts: Vec<u32>,
    /// The daemon is stopping.
    pub is_draining: bool,
}

impl DaemonStatus {
    /// Who did not say how they are.
    pub fn silent(&self) -> Vec<Child> {
        let singles = [
            (Child::Queue, self.queue.is_none()),
            (Child::Poller, self.poller.is_none()),
            (Child::ResultHandler, self.results.is_none()),
            (Child::Schedules, self.has_schedules && self.schedules.is_none()),
            (Child::Images, self.images.is_none()),
            (Child::Publisher, self.publisher.is_none()),
            (Child::Notice, self.notice.is_none()),
        ];
        let workers =
            self.workers.iter().enumerate().map(|(index, worker)| (Child::Worker(index + 1), worker.is_none()));
        singles.into_iter().chain(workers).filter(|(_, is_silent)| *is_silent).map(|(child, _)| child).collect()
    }
}

/// Called when the restart budget is spent.
pub type BudgetSpent = Box<dyn FnMut()>;

/// See the module.
pub struct SupervisorActor {
    world: World,
    workers: usize,
    peers: watch::Sender<Peers>,
    generators: watch::Sender<Arc<Generators>>,
    budget_spent: BudgetSpent,
    schedules: Option<Arc<dyn Seams>>,
    restarts: VecDeque<tokio::time::Instant>,
    restart_count: u64,
    worker_restarts: Vec<u32>,
    is_draining: bool,
    /// Drivers that a reload took away. Their children may live on, and must not outlive the daemon.
    replaced: Vec<Arc<dyn Driver>>,
}

/// The ends of the channels that a [`World`] reads and the supervisor writes.
pub struct WorldChannels {
    /// Addresses.
    pub peers: watch::Sender<Peers>,
    /// Generators.
    pub generators: watch::Sender<Arc<Generators>>,
}

impl SupervisorActor {
    /// A supervisor of `workers` workers.
    pub fn new(world: World, channels: WorldChannels, workers: usize, budget_spent: BudgetSpent) -> Self {
        Self {
            world,
            workers: workers.max(1),
            peers: channels.peers,
            generators: channels.generators,
            budget_spent,
            schedules: None,
            restarts: VecDeque::new(),
            restart_count: 0,
            worker_restarts: vec![0; workers.max(1)],
            is_draining: false,
            replaced: Vec::new(),
        }
    }

    fn build(&self, child: Child, ctx: &Context<Self>) {
        let world = self.world.clone();
        let parent = ctx.address().downgrade().recipient();
        match child {
            Child::Queue => {
                let address = QueueActor::new(world, parent).start();
                self.peers.send_modify(|peers| peers.queue = Some(address));
            }
            Child::Poller => {
                let address = PollerActor::new(world, parent).start();
                self.peers.send_modify(|peers| peers.poller = Some(address));
            }
            Child::ResultHandler => {
                let address = ResultHandlerActor::new(world, parent).start();
                self.peers.send_modify(|peers| peers.results = Some(address));
            }
            Child::Schedules => {
                if let Some(seams) = self.schedules.clone() {
                    let address = ScheduleActor::new(world, seams, parent).start();
                    self.peers.send_modify(|peers| peers.schedules = Some(address));
                }
            }
            Child::Images => {
                let address = ImageActor::new(world, parent).start();
                self.peers.send_modify(|peers| peers.images = Some(address));
            }
            Child::Publisher => {
                let address = PublisherActor::new(world, parent).start();
                self.peers.send_modify(|peers| peers.publisher = Some(address));
            }
            Child::Notice => {
                let address = NoticeActor::new(world, parent).start();
                self.peers.send_modify(|peers| peers.notice = Some(address));
            }
            Child::Worker(number) => {
                let address = WorkerActor::new(number, world, parent).start();
                self.peers.send_modify(|peers| {
                    if peers.workers.len() < number {
                        peers.workers.resize(number, None);
                    }
                    if let Some(slot) = peers.workers.get_mut(number - 1) {
                        *slot = Some(address);
                    }
                });
            }
        }
    }

    fn rebuild(&mut self, child: Child, ctx: &mut Context<Self>) {
        if self.is_draining {
            return;
        }
        self.build(child, ctx);
        match child {
            Child::Queue => {
                for worker in self.peers.borrow().workers.iter().flatten() {
                    worker.do_send(AnnounceIdle);
                }
            }
            Child::ResultHandler => self.world.tell_poller(),
            Child::Poller | Child::Schedules | Child::Images | Child::Publisher | Child::Notice | Child::Worker(_) => {}
        }
    }

    fn count_restart(&mut self) -> bool {
        let now = tokio::time::Instant::now();
        let (budget, span) = RESTART_BUDGET;
        self.restarts.retain(|at| now.duration_since(*at) < span);
        self.restarts.push_back(now);
        self.restart_count += 1;
        self.restarts.len() <= budget
    }

    /// A call whose worker died: its outcome is in doubt, and the doubt is cleared like any other.
    fn report_orphan(&self, task_id: TaskId, attempt: u32, ctx: &mut Context<Self>) {
        let world = self.world.clone();
        let work = async move {
            let id = task_id.clone();
            let read = world.store.read(move |queries| queries.task(&id)).await;
            let Ok(Some((task, _))) = read else { return };
            if world.policy(&task.generator).is_blocking {
                // The run's lock and files say what happened; the poller looks when the start must be over.
                return;
            }
            let why = "the worker died in the middle of the call".to_owned();
            let happened = Happened { attempt: Some(attempt), ..Happened::to(&task, Event::CallLost(why)) };
            match world.transit(happened).await {
                Ok(changed) => {
                    world.tell_queue(&changed);
                    world.tell_poller();
                }
                // The sweep finds the intent without an owner.
                Err(error) => {
                    let about = About::task(&task).attempt(attempt).is(Kind::TaskTrouble);
                    tell!(Level::Warn, about, "the lost call was not recorded: {error}");
                }
            }
        };
        ctx.spawn(work.into_actor(self));
    }

    /// Makes the drivers that were not there `before` tell when a run has ended. Each is told once whom to tell.
    fn arm_drivers(&self, before: &Generators, ctx: &Context<Self>) {
        let supervisor = ctx.address();
        let current = self.world.generators.borrow();
        for generator in current.iter().filter(|generator| !before.has_driver(&generator.driver)) {
            let supervisor = supervisor.clone();
            generator.driver.on_run_ended(Arc::new(move |task| supervisor.do_send(RunEnded { task })));
        }
    }
}

impl Actor for SupervisorActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.arm_drivers(&Generators::default(), ctx);
        // Whoever is sent to comes before whoever sends.
        self.build(Child::Notice, ctx);
        self.build(Child::Publisher, ctx);
        self.build(Child::ResultHandler, ctx);
        self.build(Child::Queue, ctx);
        self.build(Child::Poller, ctx);
        self.build(Child::Images, ctx);
        for number in 1..=self.workers {
            self.build(Child::Worker(number), ctx);
        }
    }
}

impl Handler<ChildExited> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, exited: ChildExited, ctx: &mut Self::Context) {
        if self.is_draining {
            return;
        }
        let child = exited.child;
        let how = if exited.panicked { "panicked" } else { "stopped" };
        tell!(Level::Error, Kind::ActorRestarted, "{child:?} {how} and is rebuilt");
        if let Child::Worker(number) = child
            && let Some(count) = self.worker_restarts.get_mut(number - 1)
        {
            *count += 1;
        }
        if let Some((task_id, attempt)) = exited.orphan {
            self.report_orphan(task_id, attempt, ctx);
        }
        if !self.count_restart() {
            let (budget, span) = RESTART_BUDGET;
            let seconds = span.as_secs();
            tell!(Level::Error, Kind::BudgetSpent, "more than {budget} restarts within {seconds} s: the daemon ends");
            (self.budget_spent)();
            return;
        }
        let exponent = u32::try_from(self.restarts.len().saturating_sub(1)).unwrap_or(0);
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(exponent.min(8));
        ctx.run_later(pause, move |supervisor, ctx| supervisor.rebuild(child, ctx));
    }
}

impl Handler<RunEnded> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, ended: RunEnded, _: &mut Self::Context) {
        if let Some(poller) = self.peers.borrow().poller.clone() {
            poller.do_send(ended);
        }
    }
}

impl Handler<Reload> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, reload: Reload, ctx: &mut Self::Context) {
        let before = self.generators.send_replace(reload.generators);
        self.arm_drivers(&before, ctx);
        let current = Arc::clone(&self.world.generators.borrow());
        let drivers = before.iter().map(|generator| Arc::clone(&generator.driver));
        self.replaced.extend(drivers.filter(|driver| !current.has_driver(driver)));
        if let Some(queue) = self.peers.borrow().queue.clone() {
            queue.do_send(super::queue::QueueChanged { task: None });
        }
        if let Some(notice) = self.peers.borrow().notice.clone() {
            notice.do_send(NoticesChanged);
        }
        self.world.tell_poller();
        self.world.tell_images();
        self.world.tell_publisher();
    }
}

impl Handler<OpenSchedules> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, open: OpenSchedules, ctx: &mut Self::Context) {
        let is_first = self.schedules.replace(open.0).is_none();
        if is_first && !self.is_draining {
            self.build(Child::Schedules, ctx);
        }
    }
}

impl Handler<Drain> for SupervisorActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, _: &mut Self::Context) -> Self::Result {
        self.is_draining = true;
        let peers = self.peers.borrow().clone();
        let mut drivers = self.replaced.clone();
        drivers.extend(self.world.generators.borrow().iter().map(|generator| Arc::clone(&generator.driver)));
        Box::pin(async move {
            // A child that is gone has nothing in hand, so an unanswered message is an answer here.
            if let Some(queue) = &peers.queue {
                let _ = queue.send(DrainQueue).await;
            }
            if let Some(images) = &peers.images {
                let _ = images.send(DrainImages).await;
            }
            let workers = peers.workers.iter().flatten().map(|worker| worker.send(DrainWorker));
            let poller = async {
                if let Some(poller) = &peers.poller {
                    let _ = poller.send(DrainPoller).await;
                }
            };
            let schedules = async {
                if let Some(schedules) = &peers.schedules {
                    let _ = schedules.send(DrainSchedules).await;
                }
            };
            let publisher = async {
                if let Some(publisher) = &peers.publisher {
                    let _ = publisher.send(DrainPublisher).await;
                }
            };
            let notice = async {
                if let Some(notice) = &peers.notice {
                    let _ = notice.send(DrainNotices).await;
                }
            };
            futures_util::join!(futures_util::future::join_all(workers), poller, schedules, publisher, notice);
            futures_util::future::join_all(drivers.iter().map(|driver| driver.interrupt())).await;
        })
    }
}

impl Handler<GetStatus> for SupervisorActor {
    type Result = ResponseFuture<DaemonStatus>;

    fn handle(&mut self, GetStatus { within }: GetStatus, _: &mut Self::Context) -> Self::Result {
        let peers = self.peers.borrow().clone();
        let (restarts, is_draining) = (self.restart_count, self.is_draining);
        let worker_restarts = self.worker_restarts.clone();
        let has_schedules = self.schedules.is_some();
        Box::pin(async move {
            // All at once: one that is wedged must not take the time of the others.
            let asked = peers.workers.iter().map(|worker| ask(worker.as_ref(), GetWorkerStatus, within));
            let (queue, poller, results, schedules, images, publisher, notice, workers) = futures_util::join!(
                ask(peers.queue.as_ref(), GetQueueStatus, within),
                ask(peers.poller.as_ref(), GetPollerStatus, within),
                ask(peers.results.as_ref(), GetResultStatus, within),
                ask(peers.schedules.as_ref(), GetScheduleStatus, within),
                ask(peers.images.as_ref(), GetImageStatus, within),
                ask(peers.publisher.as_ref(), GetPublisherStatus, within),
                ask(peers.notice.as_ref(), GetNoticeStatus, within),
                futures_util::future::join_all(asked),
            );
            DaemonStatus {
                queue,
                poller,
                results,
                schedules,
                has_schedules,
                images,
                publisher,
                notice,
                workers,
                restarts,
                worker_restarts,
                is_draining,
            }
        })
    }
}

/// How a child is; none if it is not there or does not say so in time.
async fn ask<A, M>(child: Option<&Addr<A>>, question: M, within: Duration) -> Option<M::Result>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    child?.send(question).timeout(within).await.ok()
}

/// Lets a test make each kind of child panic or fall silent, as a bug would.
macro_rules! crashes {
    ($($actor:ty),+) => {$(
        impl Handler<Crash> for $actor {
            type Result = ();

            fn handle(&mut self, _: Crash, _: &mut Self::Context) {
                panic!("a crash was asked for");
            }
        }

        impl Handler<Wedge> for $actor {
            type Result = ();

            fn handle(&mut self, _: Wedge, ctx: &mut Self::Context) {
                ctx.wait(std::future::pending::<()>().into_actor(self));
            }
        }
    )+};
}
crashes!(
    QueueActor,
    PollerActor,
    ResultHandlerActor,
    ScheduleActor,
    ImageActor,
    PublisherActor,
    NoticeActor,
    WorkerActor
);

impl Handler<Wedge> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, _: Wedge, ctx: &mut Self::Context) {
        ctx.wait(std::future::pending::<()>().into_actor(self));
    }
}
