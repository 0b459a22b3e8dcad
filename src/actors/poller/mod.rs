//! The PollerActor looks after every job that a generator has, or may have: it wakes what is due and finds out.
//!
//! It makes no decisions: [`crate::task::step::next_step`] says what to do for a due task, `round` does it, and what came of it
//! goes to the result handler. It wakes at the earliest wake time in the database, never by a fixed tick, and a task
//! is in one round at a time. The call budget of a generator wins over every wish to poll sooner.
//!
//! The surprise: rounds are tasks of their own, which end with the actor, and not futures of its context. A context polls all
//! that it has whenever one of them moves, and a thousand jobs can be due at once.

mod budget;
mod messages;
mod reports;
mod round;
mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actix::WeakRecipient;
use actix::prelude::*;
use futures_util::FutureExt;
use log::Level;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::World;
use super::supervisor::{Child, ChildExited};
use crate::events::{About, Kind};
use crate::task::step::{Step, next_step};
use crate::task::{Attempt, GeneratorName, Task, TaskId, Timestamp};
use crate::tell;
use crate::text::counted;
use budget::Budget;
pub use messages::{
    DrainPoller, GetPollerStatus, JobMayHaveEnded, PollAll, PollNow, PollStatistics, PollerStatus, RunEnded,
    RunStarted, SpendCalls, WakeTimesChanged,
};
pub use round::PollError;

/// How many due tasks are looked at in one round; the rest follows at once.
const DUE_LIMIT: u32 = 500;
/// How many calls about single jobs (cancels, deadlines, repeated submits) go on at once at one generator.
const SINGLE_CALLS: usize = 4;
/// How many polls of single jobs go on at once at one generator.
const POLLS: usize = 4;
/// The longest sleep: a message that was lost costs no more than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// A task whose report could not be committed is left alone for so long.
const COOL_DOWN: Duration = Duration::from_secs(1);

/// To itself: look at what is due.
#[derive(Message)]
#[rtype(result = "()")]
struct PollTick;

/// To itself: a round is over.
#[derive(Message)]
#[rtype(result = "()")]
struct RoundOver {
    generator: GeneratorName,
    ids: Vec<TaskId>,
    kind: RoundKind,
    calls: u32,
    not_committed: Vec<TaskId>,
}

/// What a look at the database brings.
struct Look {
    due: Vec<(Task, Attempt)>,
    /// What is active at the generators that answer for all in one call, due or not.
    companions: Vec<(Task, Attempt)>,
    next_wake: Option<Timestamp>,
}

/// How many calls go on at once at one generator, so that one that hangs holds up no other.
struct Slots {
    polls: Arc<Semaphore>,
    alone: Arc<Semaphore>,
}

impl Default for Slots {
    fn default() -> Self {
        Self { polls: Arc::new(Semaphore::new(POLLS)), alone: Arc::new(Semaphore::new(SINGLE_CALLS)) }
    }
}

/// What a round is about.
#[derive(Clone, Copy)]
enum RoundKind {
    /// The polls and searches of a generator, `paid` of whose calls the budget has been charged with.
    Shared { paid: u32 },
    /// The poll of one job, which the budget has been charged with.
    Asked,
    /// A call about one job, which has slots of its own: a cancel must not wait for a budget.
    Alone,
}

/// See the module.
pub struct PollerActor {
    world: World,
    slots: BTreeMap<GeneratorName, Slots>,
    supervisor: WeakRecipient<ChildExited>,
    /// With their `seq`.
    in_hand: BTreeMap<TaskId, i64>,
    /// Left alone until then.
    cooling: BTreeMap<TaskId, Timestamp>,
    /// Those that are going on.
    under_way: JoinSet<()>,
    /// Generators that are not configured, of which that was said, with the jobs that were left alone.
    lost: BTreeMap<GeneratorName, BTreeSet<TaskId>>,
    budgets: BTreeMap<GeneratorName, Budget>,
    reports: reports::Reports,
    ended_runs: runs::EndedRuns,
    timer: Option<SpawnHandle>,
    next_wake_at: Option<Timestamp>,
    is_looking: bool,
    look_again: bool,
    calls: u64,
    rounds: u64,
    is_draining: bool,
    drained: Vec<tokio::sync::oneshot::Sender<()>>,
}

impl PollerActor {
    /// A fresh one.
    pub fn new(world: World, supervisor: WeakRecipient<ChildExited>) -> Self {
        Self {
            world,
            slots: BTreeMap::new(),
            supervisor,
            in_hand: BTreeMap::new(),
            cooling: BTreeMap::new(),
            under_way: JoinSet::new(),
            lost: BTreeMap::new(),
            budgets: BTreeMap::new(),
            reports: reports::Reports::default(),
            ended_runs: runs::EndedRuns::default(),
            timer: None,
            next_wake_at: None,
            is_looking: false,
            look_again: false,
            calls: 0,
            rounds: 0,
            is_draining: false,
            drained: Vec::new(),
        }
    }

    /// Asks the database what is due, and starts the rounds.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.is_draining {
            return;
        }
        if self.is_looking {
            self.look_again = true;
            return;
        }
        self.is_looking = true;
        self.look_again = false;
        let now = self.world.clock.now();
        let store = self.world.store.clone();
        let batched = self.batched_generators();
        // What cannot be taken up now must not hide what can.
        let in_hand: BTreeSet<i64> = self.in_hand.values().copied().collect();
        let cooling = u32::try_from(self.cooling.len()).unwrap_or(u32::MAX);
        let limit = DUE_LIMIT.saturating_add(cooling);
        let look = async move {
            let read = store.read(move |queries| {
                let due = queries.due(now.utc, limit, &in_hand)?;
                let is_batch_due = due.iter().any(|(task, _)| batched.contains(&task.generator));
                let mut companions = if is_batch_due { queries.active()? } else { Vec::new() };
                companions.retain(|(task, _)| batched.contains(&task.generator));
                Ok(Look { due, companions, next_wake: queries.next_wake(now.utc)? })
            });
            read.await
        };
        ctx.spawn(look.into_actor(self).map(|looked, poller, ctx| {
            poller.is_looking = false;
            match looked {
                Ok(look) => poller.take_up(look, ctx),
                Err(error) => {
                    tell!(Level::Error, Kind::StorageTrouble, "what is due could not be read, trying again: {error}");
                    poller.sleep_until(poller.world.clock.now().utc.plus(COOL_DOWN), ctx);
                }
            }
            if poller.look_again {
                poller.look(ctx);
            }
        }));
    }

    fn batched_generators(&self) -> BTreeSet<GeneratorName> {
        let generators = self.world.generators.borrow();
        generators.iter().filter(|one| one.policy().polls.is_batch).map(|one| one.name.clone()).collect()
    }

    fn take_up(&mut self, look: Look, ctx: &mut Context<Self>) {
        if self.is_draining {
            return;
        }
        let now = self.world.clock.now().utc;
        self.cooling.retain(|_, until| *until > now);
        self.take_back();
        let mut by_generator: BTreeMap<GeneratorName, Vec<(Task, Attempt)>> = BTreeMap::new();
        let mut sleep = LONGEST_SLEEP;
        for (task, attempt) in look.due {
            // Taken up while the database was asked.
            if self.in_hand.contains_key(&task.id) {
                continue;
            }
            if let Some(until) = self.cooling.get(&task.id) {
                sleep = sleep.min(until.since(now));
                continue;
            }
            by_generator.entry(task.generator.clone()).or_default().push((task, attempt));
        }
        for (generator, jobs) in by_generator {
            if self.world.generator(&generator).is_none() {
                self.leave_alone(&generator, &jobs);
                continue;
            }
            let policy = self.world.policy(&generator);
            let clock = self.world.clock.now();
            let step = |(task, attempt): &(Task, Attempt)| next_step(task, Some(attempt), &policy, &clock);
            let (mut shared, alone): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| round::is_shared(step(job)));
            if policy.polls.is_batch && shared.iter().any(|job| step(job) == Step::Poll) {
                // The same call answers for these too, so they need none of their own in a moment.
                let asked: BTreeSet<TaskId> = shared.iter().map(|(task, _)| task.id.clone()).collect();
                let is_free = |id: &TaskId| {
                    !asked.contains(id) && !self.in_hand.contains_key(id) && !self.cooling.contains_key(id)
                };
                let of_it = look.companions.iter().filter(|(task, _)| task.generator == generator);
                let more = of_it.filter(|job| is_free(&job.0.id) && step(job) == Step::Poll).cloned();
                shared.extend(more.collect::<Vec<_>>());
            }
            for job in alone {
                // The result handler has slots of its own for fetches.
                let kind = if step(&job) == Step::Fetch { RoundKind::Shared { paid: 0 } } else { RoundKind::Alone };
                self.run_round(generator.clone(), vec![job], kind, ctx);
            }
            let (asked, grouped): (Vec<_>, Vec<_>) =
                shared.into_iter().partition(|job| !policy.polls.is_batch && step(job) == Step::Poll);
            if !asked.is_empty() {
                sleep = sleep.min(self.ask_each(&generator, asked, ctx));
            }
            if !grouped.is_empty() {
                sleep = sleep.min(self.start_round(&generator, grouped, ctx));
            }
        }
        if let Some(at) = look.next_wake {
            sleep = sleep.min(at.since(now));
        }
        self.sleep_until(now.plus(sleep), ctx);
    }

    /// The configuration has lost this generator: its jobs wait. That is said once, until it has been configured again.
    fn leave_alone(&mut self, generator: &GeneratorName, jobs: &[(Task, Attempt)]) {
        let until = self.world.clock.now().utc.plus(LONGEST_SLEEP);
        if !self.lost.contains_key(generator) {
            let wait = counted(jobs.len() as u64, "task with a job at it waits", "tasks with jobs at it wait");
            let about = About::generator(generator).is(Kind::GeneratorFaulty);
            tell!(
                Level::Warn,
                about,
                "generator {generator} is not configured any more, and {wait}; add [generators.{generator}] and reload"
            );
        }
        let lost = self.lost.entry(generator.clone()).or_default();
        for (task, _) in jobs {
            lost.insert(task.id.clone());
            self.cooling.insert(task.id.clone(), until);
        }
    }

    /// The jobs of a generator that is configured again are looked at at once.
    fn take_back(&mut self) {
        let (back, lost) =
            std::mem::take(&mut self.lost).into_iter().partition(|(name, _)| self.world.generator(name).is_some());
        self.lost = lost;
        let back: BTreeMap<GeneratorName, BTreeSet<TaskId>> = back;
        for id in back.into_values().flatten() {
            self.cooling.remove(&id);
        }
    }

    /// The call budget of a generator, with the rate of the current configuration.
    fn budget(&mut self, generator: &GeneratorName) -> &mut Budget {
        let rate = self.world.generator(generator).and_then(|one| one.limits.calls_per_minute);
        let now = self.world.clock.now();
        let budget = self.budgets.entry(generator.clone()).or_insert_with(|| Budget::new(&now));
        budget.set_rate(rate);
        budget
    }

    /// Polls jobs one by one, as many as the budget allows, each reported as it answers; says how long the rest must wait.
    fn ask_each(
        &mut self,
        generator: &GeneratorName,
        mut jobs: Vec<(Task, Attempt)>,
        ctx: &mut Context<Self>,
    ) -> Duration {
        let now = self.world.clock.now();
        let budget = self.budget(generator);
        let affordable = budget.affordable(&now);
        let is_short = affordable < u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        jobs.truncate(affordable as usize);
        budget.spend(u32::try_from(jobs.len()).unwrap_or(u32::MAX), &now);
        let wait = if is_short { budget.wait_for_one(&now) } else { LONGEST_SLEEP };
        for job in jobs {
            self.run_round(generator.clone(), vec![job], RoundKind::Asked, ctx);
        }
        wait
    }

    /// Starts a round over jobs that one call answers for; says how long to wait where the budget has none left.
    fn start_round(
        &mut self,
        generator: &GeneratorName,
        jobs: Vec<(Task, Attempt)>,
        ctx: &mut Context<Self>,
    ) -> Duration {
        let now = self.world.clock.now();
        let budget = self.budget(generator);
        if budget.affordable(&now) == 0 {
            return budget.wait_for_one(&now);
        }
        budget.spend(1, &now);
        self.run_round(generator.clone(), jobs, RoundKind::Shared { paid: 1 }, ctx);
        LONGEST_SLEEP
    }

    fn run_round(
        &mut self,
        generator: GeneratorName,
        jobs: Vec<(Task, Attempt)>,
        kind: RoundKind,
        ctx: &mut Context<Self>,
    ) {
        let ids: Vec<TaskId> = jobs.iter().map(|(task, _)| task.id.clone()).collect();
        self.in_hand.extend(jobs.iter().map(|(task, _)| (task.id.clone(), task.seq)));
        self.ended_runs.are_looked_at(&ids);
        self.rounds += 1;
        let round = round::Round::new(self.world.clone(), generator.clone());
        let slots = self.slots.entry(generator.clone()).or_default();
        let slots = match kind {
            RoundKind::Asked => Some(Arc::clone(&slots.polls)),
            RoundKind::Alone => Some(Arc::clone(&slots.alone)),
            RoundKind::Shared { .. } => None,
        };
        let work = async move {
            let slot = match slots {
                Some(slots) => match slots.acquire_owned().await {
                    Ok(slot) => Some(slot),
                    // The drain has closed it: what has not begun does not begin.
                    Err(_) => return round::Done::default(),
                },
                None => None,
            };
            round.run(jobs, slot).await
        };
        let poller = ctx.address();
        self.under_way.spawn_local(async move {
            let done = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
                let about = About::generator(&generator).is(Kind::CallPanicked);
                tell!(Level::Error, about, "generator {generator}: a round ended in a panic of contentd");
                round::Done { not_committed: ids.clone(), ..round::Done::default() }
            });
            let round::Done { calls, not_committed, .. } = done;
            poller.do_send(RoundOver { generator, ids, kind, calls, not_committed });
        });
    }

    /// Polls these on demand. They are in hand meanwhile, so that no round of our own is faster with their pieces.
    fn poll_all(&mut self, active: Vec<(Task, Attempt)>) -> ResponseActFuture<Self, Result<PollStatistics, PollError>> {
        let is_pollable = |(task, attempt): &(Task, Attempt)| {
            !self.in_hand.contains_key(&task.id) && attempt.state != crate::task::AttemptState::Intended
        };
        let (jobs, busy): (Vec<_>, Vec<_>) = active.into_iter().partition(is_pollable);
        let busy = u32::try_from(busy.len()).unwrap_or(u32::MAX);
        let ids: Vec<TaskId> = jobs.iter().map(|(task, _)| task.id.clone()).collect();
        self.in_hand.extend(jobs.iter().map(|(task, _)| (task.id.clone(), task.seq)));
        let work = guarded(round::poll_all(self.world.clone(), jobs));
        Box::pin(work.into_actor(self).map(move |answer, poller, ctx| {
            poller.put_down(&ids, ctx);
            let mut statistics = answer?;
            statistics.total += busy;
            statistics.still_running += busy;
            Ok(statistics)
        }))
    }

    fn put_down(&mut self, ids: &[TaskId], ctx: &mut Context<Self>) {
        for id in ids {
            self.in_hand.remove(id);
        }
        self.repeat_reports(ids, ctx);
        self.look_at_runs_again(ids, ctx);
        self.finish_drain();
        self.look(ctx);
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
        self.next_wake_at = Some(at);
        let wait = at.since(self.world.clock.now().utc).max(Duration::from_millis(1));
        self.timer = Some(ctx.notify_later(PollTick, wait));
    }
}

impl Actor for PollerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        ChildExited::report(&self.supervisor, Child::Poller, None);
    }
}

impl Handler<PollTick> for PollerActor {
    type Result = ();

    fn handle(&mut self, _: PollTick, ctx: &mut Self::Context) {
        self.timer = None;
        self.look(ctx);
    }
}

impl Handler<RoundOver> for PollerActor {
    type Result = ();

    fn handle(&mut self, over: RoundOver, ctx: &mut Self::Context) {
        // What has ended by now; whoever sent this ends a moment later, and is taken out with the next.
        while self.under_way.try_join_next().is_some() {}
        let now = self.world.clock.now();
        for id in over.not_committed {
            self.cooling.insert(id, now.utc.plus(COOL_DOWN));
        }
        self.calls += u64::from(over.calls);
        if let (RoundKind::Shared { paid }, Some(budget)) = (over.kind, self.budgets.get_mut(&over.generator)) {
            // Pages cost calls that nobody could know beforehand.
            budget.spend(over.calls.saturating_sub(paid), &now);
        }
        self.put_down(&over.ids, ctx);
    }
}

impl Handler<WakeTimesChanged> for PollerActor {
    type Result = ();

    fn handle(&mut self, _: WakeTimesChanged, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}

impl Handler<PollNow> for PollerActor {
    type Result = ResponseActFuture<Self, Result<Task, PollError>>;

    fn handle(&mut self, poll: PollNow, _: &mut Self::Context) -> Self::Result {
        let id = poll.task.id.clone();
        if self.in_hand.contains_key(&id) {
            return Box::pin(actix::fut::ready(Err(PollError::InHand)));
        }
        self.in_hand.insert(id.clone(), poll.task.seq);
        let work = guarded(round::poll_now(self.world.clone(), poll));
        Box::pin(work.into_actor(self).map(move |answer, poller, ctx| {
            poller.put_down(std::slice::from_ref(&id), ctx);
            answer
        }))
    }
}

impl Handler<PollAll> for PollerActor {
    type Result = ResponseActFuture<Self, Result<PollStatistics, PollError>>;

    fn handle(&mut self, _: PollAll, _: &mut Self::Context) -> Self::Result {
        let store = self.world.store.clone();
        let read = async move { store.read(|queries| queries.active()).await };
        Box::pin(read.into_actor(self).then(|active, poller, _| -> Self::Result {
            match active {
                Ok(active) => poller.poll_all(active),
                Err(error) => Box::pin(actix::fut::ready(Err(PollError::Db(error)))),
            }
        }))
    }
}

impl Handler<DrainPoller> for PollerActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: DrainPoller, ctx: &mut Self::Context) -> Self::Result {
        self.is_draining = true;
        for slots in self.slots.values() {
            slots.polls.close();
            slots.alone.close();
        }
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        self.drained.push(tell);
        self.finish_drain();
        Box::pin(async move {
            // An error means that the poller died; it has nothing in hand then either.
            let _ = told.await;
        })
    }
}

impl Handler<SpendCalls> for PollerActor {
    type Result = Result<(), Duration>;

    fn handle(&mut self, spend: SpendCalls, _: &mut Self::Context) -> Self::Result {
        let now = self.world.clock.now();
        let (generator, calls) = match &spend {
            SpendCalls::WhenFree(generator) => (generator, 1),
            SpendCalls::Made(generator, calls) => (generator, *calls),
        };
        let budget = self.budget(generator);
        if matches!(spend, SpendCalls::WhenFree(_)) && budget.affordable(&now) == 0 {
            return Err(budget.wait_for_one(&now));
        }
        budget.spend(calls, &now);
        self.calls += u64::from(calls);
        Ok(())
    }
}

impl Handler<GetPollerStatus> for PollerActor {
    type Result = PollerStatus;

    fn handle(&mut self, _: GetPollerStatus, _: &mut Self::Context) -> Self::Result {
        PollerStatus {
            in_hand: self.in_hand.len(),
            calls: self.calls,
            rounds: self.rounds,
            next_wake_at: self.next_wake_at,
        }
    }
}

/// A person's poll that panics is an answer to that person; the actor lives on.
async fn guarded<T>(work: impl Future<Output = Result<T, PollError>>) -> Result<T, PollError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or(Err(PollError::Panicked))
}
