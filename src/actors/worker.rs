//! A WorkerActor carries one short call at a time: the submit of a task, or the start of its blocking run.
//!
//! It pulls: it says that it is idle and gets one [`RunTask`]. It never waits for a generator's minutes; those belong
//! to the poller. The surprise: if it dies in the middle of a call, the attempt's intent is already committed, so its
//! supervisor reports the call as lost and the doubt is cleared like any other.

use std::panic::AssertUnwindSafe;

use actix::WeakRecipient;
use actix::prelude::*;
use futures_util::FutureExt;
use log::Level;
use serde::Serialize;

use super::poller::RunStarted;
use super::supervisor::{Child, ChildExited};
use super::{Happened, World};
use crate::events::{About, Kind};
use crate::generator::Job;
use crate::store::DbError;
use crate::store::write::{Changed, WriteError};
use crate::task::outcome::{RunReport, SubmitAnswer};
use crate::task::{Attempt, AttemptState, Event, Task, TaskId, Timestamp};
use crate::tell;

/// From the queue: the intent is committed, make the call. If it is lost, the sweep finds the intent without an owner.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct RunTask {
    /// What to submit.
    pub task: Task,
    /// The intended attempt.
    pub attempt: Attempt,
}

/// From the supervisor, after the queue was rebuilt: whoever is idle says so again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AnnounceIdle;

/// From the supervisor: finish the call in hand and take no more. Answers once idle.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainWorker;

/// What is it doing?
#[derive(Message)]
#[rtype(result = "WorkerStatus")]
pub struct GetWorkerStatus;

/// A worker as an operator sees it.
#[derive(Clone, Debug, Serialize, MessageResponse)]
pub struct WorkerStatus {
    /// Its number, from 1.
    pub worker: usize,
    /// `idle` or `running`.
    pub state: &'static str,
    /// The task whose call it carries.
    pub task: Option<TaskId>,
    /// Since when it is in that state.
    pub since: Timestamp,
    /// Calls it has carried.
    pub calls: u64,
}

/// See the module.
pub struct WorkerActor {
    number: usize,
    world: World,
    supervisor: WeakRecipient<ChildExited>,
    current: Option<(TaskId, u32)>,
    since: Timestamp,
    calls: u64,
    is_draining: bool,
    drained: Vec<tokio::sync::oneshot::Sender<()>>,
}

impl WorkerActor {
    /// Worker `number`, from 1.
    pub fn new(number: usize, world: World, supervisor: WeakRecipient<ChildExited>) -> Self {
        let since = world.clock.now().utc;
        Self { number, world, supervisor, current: None, since, calls: 0, is_draining: false, drained: Vec::new() }
    }

    fn say_idle(&self, ctx: &Context<Self>) {
        if self.is_draining || self.current.is_some() {
            return;
        }
        if let Some(queue) = self.world.peers.borrow().queue.clone() {
            queue.do_send(super::queue::WorkerIdle { worker: self.number, address: ctx.address() });
        }
    }
}

impl Actor for WorkerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.say_idle(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        ChildExited::report(&self.supervisor, Child::Worker(self.number), self.current.take());
    }
}

impl Handler<RunTask> for WorkerActor {
    type Result = ();

    fn handle(&mut self, run: RunTask, ctx: &mut Self::Context) {
        self.current = Some((run.task.id.clone(), run.attempt.number));
        self.since = self.world.clock.now().utc;
        self.calls += 1;
        let call = carry(self.world.clone(), run).into_actor(self).map(|(), worker, ctx| {
            worker.current = None;
            worker.since = worker.world.clock.now().utc;
            worker.say_idle(ctx);
            for drained in worker.drained.drain(..) {
                // A supervisor that stopped waiting is no error.
                let _ = drained.send(());
            }
        });
        ctx.spawn(call);
    }
}

/// Makes the call and commits its outcome.
async fn carry(world: World, run: RunTask) {
    let event = call(&world, &run).await;
    let task = run.task;
    let attempt = run.attempt.number;
    let mut is_told = false;
    loop {
        let happened = Happened { attempt: Some(attempt), ..Happened::to(&task, event.clone()) };
        match world.transit(happened).await {
            Ok(changed) => {
                super::result_handler::tidy_up(&world, &changed);
                world.tell_queue(&changed);
                world.tell_poller();
                tell_of_run(&world, changed);
                return;
            }
            // The answer is worth money: it is kept in hand until the database takes it. A database that cannot be
            // trusted any more never will; then the next start finds the intent without an owner.
            Err(WriteError::Db(error)) if !matches!(error, DbError::Fatal(_)) => {
                let reference = reference_in(&event);
                let about = About::task(&task).attempt(attempt).is(Kind::TaskTrouble);
                let level = if std::mem::replace(&mut is_told, true) { Level::Debug } else { Level::Error };
                tell!(level, about, "the outcome of a submit{reference} cannot be written, trying again: {error}");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            Err(error) => {
                let about = About::task(&task).attempt(attempt).is(Kind::TaskTrouble);
                tell!(Level::Warn, about, "the outcome of a submit was not taken: {error}");
                return;
            }
        }
    }
}

/// A run may be over by now, and may have said so before anybody could know what it is.
fn tell_of_run(world: &World, changed: Changed) {
    let is_accepted = |attempt: &Attempt| attempt.state == AttemptState::Accepted;
    let (task, attempt) = (changed.change.task, changed.change.attempt.filter(is_accepted));
    if let Some(attempt) = attempt.filter(|_| world.policy(&task.generator).is_blocking)
        && let Some(poller) = world.peers.borrow().poller.clone()
    {
        poller.do_send(RunStarted { task, attempt });
    }
}

/// The generator's reference, for the log: should the answer be lost all the same, a person can name the job.
fn reference_in(event: &Event) -> String {
    match event {
        Event::SubmitAnswered(SubmitAnswer::Accepted { reference, .. }) => format!(" (accepted as {reference:?})"),
        _ => String::new(),
    }
}

async fn call(world: &World, run: &RunTask) -> Event {
    let Some(generator) = world.generator(&run.task.generator) else {
        let why = format!("generator {} is not configured any more", run.task.generator);
        return Event::SubmitAnswered(SubmitAnswer::NeverCalled(why));
    };
    let job = Job { task: run.task.clone(), attempt: run.attempt.clone() };
    let is_blocking = generator.policy().is_blocking;
    let call = async {
        if is_blocking {
            Event::RunReported(generator.driver.start_run(job).await)
        } else {
            Event::SubmitAnswered(generator.driver.submit(job).await)
        }
    };
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(event) => event,
        // A driver that panics leaves the same doubt as a generator that dies.
        Err(_) if is_blocking => Event::RunReported(RunReport::Starting),
        Err(_) => Event::SubmitAnswered(SubmitAnswer::Ambiguous("the call ended in a panic of contentd".into())),
    }
}

impl Handler<AnnounceIdle> for WorkerActor {
    type Result = ();

    fn handle(&mut self, _: AnnounceIdle, ctx: &mut Self::Context) {
        self.say_idle(ctx);
    }
}

impl Handler<DrainWorker> for WorkerActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: DrainWorker, _: &mut Self::Context) -> Self::Result {
        self.is_draining = true;
        if self.current.is_none() {
            return Box::pin(async {});
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        self.drained.push(tell);
        Box::pin(async move {
            // An error means that the worker died; it has nothing in hand then either.
            let _ = told.await;
        })
    }
}

impl Handler<GetWorkerStatus> for WorkerActor {
    type Result = WorkerStatus;

    fn handle(&mut self, _: GetWorkerStatus, _: &mut Self::Context) -> Self::Result {
        WorkerStatus {
            worker: self.number,
            state: if self.current.is_some() { "running" } else { "idle" },
            task: self.current.as_ref().map(|(task, _)| task.clone()),
            since: self.since,
            calls: self.calls,
        }
    }
}
