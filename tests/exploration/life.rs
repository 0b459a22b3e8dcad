//! One schedule: lives of the daemon on one disk in one universe, until everything is at rest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use contentd::actors::failing::FailingJobs;
use contentd::actors::queue::{PersonDecided, SubmitTasks};
use contentd::actors::recovery::recover;
use contentd::actors::supervisor::{SupervisorActor, WorldChannels};
use contentd::actors::{Happened, Peers, World};
use contentd::generator::registry::{Generator, Generators, Limits};
use contentd::store::memory::MemoryDb;
use contentd::store::query::Queries;
use contentd::store::write::{NewTask, PendingLimits, Write};
use contentd::store::{InlineWriter, ReadMode, Store};
use contentd::task::retry::{Backoff, PollSchedule};
use contentd::task::{AccountId, Clock, Entropy, Event, GeneratorName, Policy, Task, TaskState, Timestamp};
use tokio::sync::watch;

use super::checks;
use super::crash::{Crash, CrashingWriter};
use super::universe::{Kind, Scripted, Universe};
use super::world::{SimClock, SimEntropy};

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub seed: u64,
    pub kind: Kind,
    /// The crash point of the first life; 0 is none. A second life dies at a point that the seed draws.
    pub cut: u64,
}

/// What came of it.
pub struct Outcome {
    /// Crash points that the first life passed.
    pub points: u64,
    /// Broken promises, each with the words to replay it.
    pub failures: Vec<String>,
    /// The audit trail in order.
    pub story: Vec<String>,
}

/// Tasks of a schedule.
const TASKS: usize = 3;
/// Every schedule is at rest after so much virtual time; a task that is not is stuck.
const REST: Duration = Duration::from_secs(4 * 24 * 3600);
const LOOK: Duration = Duration::from_secs(600);
const LIVES: usize = 3;

pub fn generator_name() -> GeneratorName {
    GeneratorName("scripted".into())
}

fn policy(kind: Kind) -> Policy {
    let is_blocking = matches!(kind, Kind::Detached | Kind::Child);
    Policy {
        is_idempotent: kind == Kind::Idempotent,
        is_ref_our_key: kind == Kind::Idempotent,
        is_blocking,
        is_free_to_repeat: kind == Kind::Child,
        can_find: kind == Kind::Findable,
        can_cancel: true,
        can_poll_one: kind == Kind::Findable,
        retry: Backoff { initial: Duration::from_secs(5), factor: 2.0, max: Duration::from_secs(60), jitter: 0.2 },
        polls: PollSchedule { interval: Duration::from_secs(10), first: None, is_batch: kind == Kind::Findable },
        settle: Duration::from_secs(60),
        find_limit: Duration::from_secs(900),
        submit_limit: Duration::from_secs(45),
        dead_when: None,
    }
}

fn generators(kind: Kind, universe: &Universe, crash: &Arc<Crash>) -> Arc<Generators> {
    let driver = Arc::new(Scripted { kind, universe: universe.clone(), crash: Arc::clone(crash) });
    let limits = Limits {
        max_in_flight: 2,
        max_in_flight_per_account: None,
        calls_per_minute: None,
        submits_per_day: None,
        submits_per_day_per_account: None,
        max_pending: None,
        max_pending_per_account: None,
    };
    Arc::new(Generators::new([Generator::new(generator_name(), driver, policy(kind), limits)]))
}

fn new_task(entropy: &SimEntropy, now: Timestamp, number: usize) -> NewTask {
    let task = Task {
        id: entropy.task_id(),
        seq: 0,
        account_id: AccountId(1),
        topic: format!("Topic {number}"),
        keywords: Vec::new(),
        category: None,
        requirements: None,
        tone: None,
        priority: 5,
        auto_approve: number.is_multiple_of(2),
        generator: generator_name(),
        state: TaskState::Pending,
        attempt: 0,
        retry_count: 0,
        max_retries: 2,
        time_limit_s: 120,
        progress: None,
        reason: None,
        error: None,
        content_id: None,
        key: Some(format!("submit-{number}")),
        submitted_by: "0:explorer".into(),
        rewrites: None,
        created_at: now,
        queued_at: now,
        submitted_at: None,
        started_at: None,
        completed_at: None,
        wake_at: None,
        updated_at: now,
    };
    NewTask { task, digest: number.to_string(), claim: None, limits: PendingLimits::default() }
}

/// Runs a schedule to its rest.
pub fn run(schedule: Schedule) -> Outcome {
    let db = MemoryDb::new();
    let clock = SimClock::new();
    // The first seeds behave, so that each kind is also explored without noise.
    let universe = Universe::new(clock.clone(), schedule.seed, schedule.seed % 4 != 1);
    let entropy = Arc::new(SimEntropy::new(schedule.seed ^ 0xABCD));
    let mut failures = Vec::new();
    let mut points = 0;
    let mut deaths = Vec::new();
    let mut cut = schedule.cut;
    for life in 0..LIVES {
        let crash = Crash::at(cut);
        let one =
            Life { schedule, life, db: &db, clock: &clock, universe: &universe, entropy: &entropy, crash: &crash };
        one.live(&mut failures);
        if life == 0 {
            points = crash.passed();
        }
        clock.pass_dead(i64::from(entropy.below(120_000)));
        if !crash.is_dead() {
            break;
        }
        deaths.push(crash.label());
        // The second life dies too, somewhere; the last one does not.
        cut = if life + 2 < LIVES { u64::from(entropy.below(60)) + 1 } else { 0 };
    }
    failures.extend(checks::at_rest(&db, &universe, schedule.kind));
    let died = deaths.join(", ");
    let replay = format!("EXPLORE={}:{:?}:{} (died {died})", schedule.seed, schedule.kind, schedule.cut);
    let failures = failures.into_iter().map(|failure| format!("{replay}: {failure}")).collect();
    let story = db.all_events().iter().map(|event| format!("{event:?}")).collect();
    Outcome { points, failures, story }
}

struct Life<'a> {
    schedule: Schedule,
    life: usize,
    db: &'a MemoryDb,
    clock: &'a SimClock,
    universe: &'a Universe,
    entropy: &'a Arc<SimEntropy>,
    crash: &'a Arc<Crash>,
}

impl Life<'_> {
    fn live(&self, failures: &mut Vec<String>) {
        let collected = Arc::new(Mutex::new(Vec::new()));
        System::new().block_on(async {
            tokio::time::pause();
            self.clock.begin_life();
            tokio::select! {
                biased;
                () = self.crash.died() => {}
                () = self.work(&collected) => {}
            }
            self.clock.end_life();
        });
        failures.append(&mut collected.lock().unwrap());
    }

    fn world(&self) -> (World, WorldChannels) {
        let inner = Arc::new(InlineWriter::new(Arc::new(Mutex::new(self.db.clone()))));
        let writer = Arc::new(CrashingWriter { inner, crash: Arc::clone(self.crash) });
        let store = Store::new(writer, Arc::new(self.db.clone()), ReadMode::Inline);
        let (peers, peers_rx) = watch::channel(Peers::default());
        let generators = generators(self.schedule.kind, self.universe, self.crash);
        let (generators, generators_rx) = watch::channel(generators);
        let world = World {
            store,
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::clone(self.entropy) as Arc<dyn Entropy>,
            generators: generators_rx,
            peers: peers_rx,
            failing: FailingJobs::default(),
        };
        (world, WorldChannels { peers, generators })
    }

    async fn work(&self, failures: &Mutex<Vec<String>>) {
        let (world, channels) = self.world();
        self.universe.take_looked_at();
        recover(&world).await.unwrap();
        failures.lock().unwrap().extend(checks::after_recovery(self.db, self.universe, self.schedule.kind));
        let supervisor = SupervisorActor::new(world.clone(), channels, 2, Box::new(|| panic!("the budget is spent")));
        let _supervisor = supervisor.start();
        while world.peers.borrow().queue.is_none() {
            tokio::task::yield_now().await;
        }
        self.submit(&world).await;
        self.cancel_one(&world).await;
        let rest = tokio::time::Instant::now() + REST;
        while tokio::time::Instant::now() < rest && !checks::is_at_rest(self.db) {
            tokio::time::sleep(LOOK).await;
            failures.lock().unwrap().extend(checks::always(self.db, self.universe));
        }
    }

    /// The client submits with keys of its own, again after each crash, until it has its answer.
    async fn submit(&self, world: &World) {
        let store = &world.store;
        if self.db.accounts().unwrap().is_empty() {
            let account = Write::AddAccount { name: "a".into(), external_id: None, now: self.clock.now().utc };
            store.write(account).await.unwrap();
        }
        for number in 0..TASKS {
            let queue = world.peers.borrow().queue.clone().unwrap();
            let tasks = vec![new_task(self.entropy, self.clock.now().utc, number)];
            let submitted = queue.send(SubmitTasks { tasks, max_pending: 1_000 }).await.unwrap().unwrap();
            assert_eq!(submitted.len(), 1);
        }
    }

    /// In some schedules a person cancels the first task somewhere on its way.
    async fn cancel_one(&self, world: &World) {
        if !self.schedule.seed.is_multiple_of(3) || self.life > 0 {
            return;
        }
        let wait = self.entropy.below(40_000);
        tokio::time::sleep(Duration::from_millis(u64::from(wait))).await;
        let mut tasks: BTreeMap<i64, Task> = self.db.all_tasks().into_iter().map(|task| (task.seq, task)).collect();
        let Some((_, task)) = tasks.pop_first() else { return };
        let queue = world.peers.borrow().queue.clone().unwrap();
        let happened = Happened::by(&task, Event::CancelRequested, "0:explorer");
        // A task that has ended meanwhile refuses, which is an answer.
        let _ = queue.send(PersonDecided { happened }).await.unwrap();
    }
}

/// How many tasks a schedule has.
pub const fn task_count() -> usize {
    TASKS
}
