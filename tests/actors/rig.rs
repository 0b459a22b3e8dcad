//! A daemon without its edges: supervisor, actors, the store in memory, a clock that follows the paused time.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use contentd::actors::failing::FailingJobs;
use contentd::actors::poller::PollNow;
use contentd::actors::queue::{
    ExplainWaits, Pause, PauseScope, PersonDecided, QueueActor, SetPause, SubmitTasks, TasksSubmitted,
};
use contentd::actors::recovery::recover;
use contentd::actors::supervisor::{DaemonStatus, Drain, GetStatus, Reload, SupervisorActor, WorldChannels};
use contentd::actors::{Happened, Peers, World};
use contentd::generator::Driver;
use contentd::generator::hooks::Notices;
use contentd::generator::registry::{Generator, Generators, Limits};
use contentd::store::memory::MemoryDb;
use contentd::store::query::Queries;
use contentd::store::write::{Changed, NewTask, PendingLimits, SubmittedTask, Write, WriteError, Written};
use contentd::task::retry::{Backoff, PollSchedule};
use contentd::task::{
    AccountId, Attempt, BootId, Clock, DELAYED, Entropy, Event, GeneratorName, Now, Policy, Task, TaskId, TaskState,
    Timestamp,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::script::Script;

/// The clock of a test: starts at a fixed time and follows the paused time.
#[derive(Clone)]
pub struct PausedClock(Instant);

const EPOCH_MS: i64 = 1_800_000_000_000;

impl Clock for PausedClock {
    fn now(&self) -> Now {
        let ms = EPOCH_MS + i64::try_from(self.0.elapsed().as_millis()).unwrap();
        Now { utc: Timestamp(ms), boot_id: BootId("paused".into()), boot_ms: ms }
    }
}

/// The same ids and draws in every run.
struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        let mut z = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        for chunk in bytes.chunks_mut(8) {
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            let random = z.to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

thread_local! {
    /// What was logged on this thread. Each test has its own thread, and all actors of a test live on it.
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static IS_PAUSED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

struct ThreadLog;

impl log::Log for ThreadLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LOGGED.with_borrow_mut(|lines| lines.push(format!("{}: {}", record.level(), record.args())));
    }

    fn flush(&self) {}
}

/// The lines logged so far that contain `text`.
pub fn logged(text: &str) -> Vec<String> {
    LOGGED.with_borrow(|lines| lines.iter().filter(|line| line.contains(text)).cloned().collect())
}

pub fn sample() -> GeneratorName {
    GeneratorName("scripted".into())
}

/// A generator that honours keys, can cancel, and is polled one by one every 10 s.
pub fn policy() -> Policy {
    Policy {
        is_idempotent: true,
        is_ref_our_key: true,
        can_cancel: true,
        retry: Backoff { initial: Duration::from_secs(5), factor: 2.0, max: Duration::from_secs(60), jitter: 0.2 },
        polls: PollSchedule { interval: Duration::from_secs(10), learned: None, is_batch: false },
        ..Policy::default()
    }
}

pub fn limits() -> Limits {
    Limits {
        max_in_flight: 100,
        max_in_flight_per_account: None,
        calls_per_minute: None,
        submits_per_day: None,
        submits_per_day_per_account: None,
        max_pending: None,
        max_pending_per_account: None,
    }
}

/// What a test starts with.
pub struct Setup {
    pub generators: Vec<(GeneratorName, Policy, Limits)>,
    pub workers: usize,
    /// Whom to tell of what; the default tells nobody.
    pub notices: Notices,
}

impl Setup {
    pub fn one(policy: Policy, limits: Limits) -> Self {
        Self { generators: vec![(sample(), policy, limits)], workers: 4, notices: Notices::default() }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::one(policy(), limits())
    }
}

/// What to submit.
pub struct Ask {
    pub topic: String,
    pub account: i64,
    pub priority: u8,
    pub generator: GeneratorName,
    pub max_retries: u32,
    pub time_limit_s: u32,
    pub delay: Option<Duration>,
}

impl Ask {
    pub fn about(topic: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            account: 1,
            priority: 5,
            generator: sample(),
            max_retries: 3,
            time_limit_s: 1_800,
            delay: None,
        }
    }

    pub fn account(self, account: i64) -> Self {
        Self { account, ..self }
    }

    pub fn priority(self, priority: u8) -> Self {
        Self { priority, ..self }
    }
}

/// A running daemon.
pub struct Rig {
    pub db: MemoryDb,
    pub clock: PausedClock,
    pub world: World,
    pub supervisor: Addr<SupervisorActor>,
    /// The generators' scripts, in the order of the setup.
    pub scripts: Vec<Script>,
    pub budgets_spent: Rc<RefCell<u32>>,
    setup: Setup,
    entropy: Arc<Counted>,
}

/// How long a test waits at most, in virtual time.
const PATIENCE: Duration = Duration::from_secs(72 * 3600);
/// For how long it looks closely.
const SHORT_WAIT: Duration = Duration::from_secs(600);

impl Rig {
    /// Starts with two accounts, 1 and 2. Pauses the time.
    pub async fn start(setup: Setup) -> Self {
        // A test may start several daemons, one after the other.
        if !IS_PAUSED.replace(true) {
            tokio::time::pause();
        }
        // The first test sets it for all; later ones find it set.
        if log::set_boxed_logger(Box::new(ThreadLog)).is_ok() {
            log::set_max_level(log::LevelFilter::Info);
        }
        let clock = PausedClock(Instant::now());
        let scripts = setup.generators.iter().map(|_| Script::new(clock.clone())).collect();
        let rig = Self::on(MemoryDb::new(), clock, scripts, Arc::new(Counted(AtomicU64::new(7))), setup).await;
        for name in ["one", "two"] {
            let write = Write::AddAccount { name: name.into(), external_id: None, now: rig.now() };
            rig.world.store.write(write).await.unwrap();
        }
        rig
    }

    async fn on(db: MemoryDb, clock: PausedClock, scripts: Vec<Script>, entropy: Arc<Counted>, setup: Setup) -> Self {
        let generator = |((name, policy, limits), script): (&(GeneratorName, Policy, Limits), &Script)| {
            Generator::new(name.clone(), Arc::new(script.clone()), policy.clone(), *limits)
        };
        let generators = Arc::new(Generators::new(setup.generators.iter().zip(&scripts).map(generator)));
        let (peers, peers_rx) = watch::channel(Peers::default());
        let (generators, generators_rx) = watch::channel(generators);
        let world = World {
            store: db.store(),
            clock: Arc::new(clock.clone()),
            entropy: Arc::clone(&entropy) as Arc<dyn Entropy>,
            generators: generators_rx,
            peers: peers_rx,
            readiness: Default::default(),
            failing: FailingJobs::default(),
            rules: Default::default(),
            images: Default::default(),
            publishers: Default::default(),
            notices: watch::channel(Arc::new(setup.notices.clone())).1,
        };
        recover(&world).await.unwrap();
        let budgets_spent = Rc::new(RefCell::new(0));
        let spent = Rc::clone(&budgets_spent);
        let channels = WorldChannels { peers, generators };
        let budget_spent = Box::new(move || *spent.borrow_mut() += 1);
        let supervisor = SupervisorActor::new(world.clone(), channels, setup.workers, budget_spent).start();
        let rig = Self { db, clock, world, supervisor, scripts, budgets_spent, setup, entropy };
        rig.until("every actor answers", async |rig| {
            let status = rig.status().await;
            status.queue.is_some() && status.workers.iter().all(Option::is_some)
        })
        .await;
        rig
    }

    /// Drains this daemon and starts another on the same database and the same generators.
    pub async fn restart(self) -> Self {
        self.supervisor.send(Drain).await.unwrap();
        Self::on(self.db, self.clock, self.scripts, self.entropy, self.setup).await
    }

    /// What it watches, and whom it tells.
    pub fn notices(&self) -> Notices {
        self.setup.notices.clone()
    }

    /// Drains this daemon and starts another that tells others.
    pub async fn restart_with(mut self, notices: Notices) -> Self {
        self.setup.notices = notices;
        self.restart().await
    }

    /// Tells the daemon that its generator is called through this driver now.
    pub async fn reload(&self, driver: &Arc<dyn Driver>) {
        let generator = Generator::new(sample(), Arc::clone(driver), policy(), limits());
        let generators = Arc::new(Generators::new([generator]));
        self.supervisor.send(Reload { generators }).await.unwrap();
    }

    pub fn script(&self) -> &Script {
        &self.scripts[0]
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now().utc
    }

    /// Milliseconds since the test began.
    pub fn elapsed_ms(&self) -> i64 {
        self.now().0 - EPOCH_MS
    }

    pub fn queue(&self) -> Addr<QueueActor> {
        self.world.peers.borrow().queue.clone().unwrap()
    }

    fn new_task(&self, ask: Ask) -> NewTask {
        let now = self.now();
        let task = Task {
            id: self.entropy.task_id(),
            seq: 0,
            account_id: AccountId(ask.account),
            topic: ask.topic,
            keywords: Vec::new(),
            category: None,
            requirements: None,
            tone: None,
            priority: ask.priority,
            auto_approve: true,
            generator: ask.generator,
            state: TaskState::Pending,
            attempt: 0,
            retry_count: 0,
            max_retries: ask.max_retries,
            time_limit_s: ask.time_limit_s,
            progress: None,
            reason: ask.delay.map(|_| DELAYED.to_owned()),
            error: None,
            content_id: None,
            key: None,
            submitted_by: "0:tester".into(),
            rewrites: None,
            created_at: now,
            queued_at: now,
            submitted_at: None,
            started_at: None,
            completed_at: None,
            wake_at: ask.delay.map(|delay| now.plus(delay)),
            updated_at: now,
            restored_at: None,
            not_before: ask.delay.map(|delay| now.plus(delay)),
        };
        NewTask { task, digest: String::new(), claim: None, limits: PendingLimits::default() }
    }

    pub async fn submit(&self, ask: Ask) -> TaskId {
        self.submit_all([ask]).await.remove(0)
    }

    /// In one message, so that all of them are there before the first is taken.
    pub async fn submit_all(&self, asks: impl IntoIterator<Item = Ask>) -> Vec<TaskId> {
        let tasks = asks.into_iter().map(|ask| self.new_task(ask)).collect();
        self.submitted(tasks).await.into_iter().map(|submitted| submitted.task.id).collect()
    }

    /// Written as the daemon's backend writes tasks of which the queue need not be asked, which is told of them afterwards, or is not.
    pub async fn submit_past_the_queue(&self, asks: impl IntoIterator<Item = Ask>, is_told: bool) -> Vec<TaskId> {
        let tasks = asks.into_iter().map(|ask| self.new_task(ask)).collect();
        let write = Write::SubmitTasks { tasks, max_pending: 100_000, now: self.world.clock.now() };
        let Written::Submitted(tasks) = self.world.store.write(write).await.unwrap() else { panic!("not submitted") };
        let ids = tasks.iter().map(|submitted| submitted.task.id.clone()).collect();
        if is_told {
            self.queue().do_send(TasksSubmitted { tasks });
        }
        ids
    }

    /// Whether the queue wants to be asked before such a task is written.
    pub fn is_asked_first(&self, asks: impl IntoIterator<Item = Ask>) -> bool {
        let tasks: Vec<NewTask> = asks.into_iter().map(|ask| self.new_task(ask)).collect();
        self.world.readiness.is_ready_for(&tasks)
    }

    /// Whether the claim of a task was in the commit of its insert.
    pub async fn is_claimed_at_once(&self, ask: Ask) -> bool {
        let submitted = self.submitted(vec![self.new_task(ask)]).await;
        submitted.into_iter().all(|submitted| submitted.attempt.is_some())
    }

    async fn submitted(&self, tasks: Vec<NewTask>) -> Vec<SubmittedTask> {
        self.queue().send(SubmitTasks { tasks, max_pending: 100_000 }).await.unwrap().unwrap()
    }

    pub fn row(&self, id: &TaskId) -> (Task, Option<Attempt>) {
        self.db.task(id).unwrap().unwrap()
    }

    pub fn task(&self, id: &TaskId) -> Task {
        self.row(id).0
    }

    pub fn attempt(&self, id: &TaskId) -> Attempt {
        self.row(id).1.unwrap()
    }

    pub fn state(&self, id: &TaskId) -> TaskState {
        self.task(id).state
    }

    /// The moves of a task, by their names.
    pub fn story(&self, id: &TaskId) -> Vec<String> {
        self.db.history(id).unwrap().into_iter().map(|row| row.event).collect()
    }

    pub async fn status(&self) -> DaemonStatus {
        self.supervisor.send(GetStatus::default()).await.unwrap()
    }

    pub async fn pause(&self, generator: Option<GeneratorName>, account: Option<i64>) {
        let scope = PauseScope { generator, account: account.map(AccountId) };
        let pause = Pause { scope, who: "0:tester".into(), at: self.now(), reason: None };
        self.queue().send(SetPause::On(pause)).await.unwrap().unwrap();
    }

    pub async fn resume(&self, generator: Option<GeneratorName>, account: Option<i64>) -> usize {
        let scope = PauseScope { generator, account: account.map(AccountId) };
        self.queue().send(SetPause::Off(scope)).await.unwrap().unwrap().len()
    }

    pub async fn decide(&self, id: &TaskId, event: Event) -> Result<Changed, WriteError> {
        let happened = Happened::by(&self.task(id), event, "0:tester");
        self.queue().send(PersonDecided { happened }).await.unwrap()
    }

    pub async fn explain(&self, id: &TaskId) -> String {
        self.queue()
            .send(ExplainWaits { tasks: vec![self.task(id)] })
            .await
            .unwrap()
            .pop()
            .flatten()
            .unwrap_or_default()
    }

    pub async fn poll_now(&self, id: &TaskId) -> Result<Task, contentd::actors::poller::PollError> {
        let poller = self.world.peers.borrow().poller.clone().unwrap();
        let poll = PollNow { task: self.task(id), who: "0:tester".into(), is_late_piece_wanted: false };
        poller.send(poll).await.unwrap()
    }

    /// Lets virtual time pass.
    pub async fn pass(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    /// Lets time pass until it is so; fails with the whole story when three days were not enough.
    pub async fn until(&self, what: &str, is_so: impl AsyncFn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self).await {
            assert!(began.elapsed() < PATIENCE, "never came to pass: {what}\n{}", self.whole_story());
            // Whoever waits for hours need not look ten times a second.
            let step = if began.elapsed() < SHORT_WAIT { Duration::from_millis(100) } else { Duration::from_secs(10) };
            tokio::time::sleep(step).await;
        }
    }

    pub async fn until_state(&self, id: &TaskId, state: TaskState) {
        self.until(&format!("{id} is {state}"), async |rig| rig.state(id) == state).await;
    }

    pub async fn until_all(&self, ids: &[TaskId], state: TaskState) {
        self.until(&format!("all are {state}"), async |rig| ids.iter().all(|id| rig.state(id) == state)).await;
    }

    /// Completed once, and paid for once.
    pub fn assert_paid_once(&self, ids: &[TaskId]) {
        for id in ids {
            assert_eq!(self.state(id), TaskState::Completed, "{}", self.whole_story());
            assert_eq!(self.script().jobs_of(id).len(), 1, "{id} was paid twice\n{}", self.whole_story());
        }
    }

    pub fn whole_story(&self) -> String {
        let mut text = String::new();
        for row in self.db.all_events() {
            let at = row.at.0 - EPOCH_MS;
            writeln!(text, "{at:>10} {} #{} {} → {} {:?}", row.task_id, row.attempt, row.event, row.to_state, row.why)
                .unwrap();
        }
        text
    }
}
