//! One schedule: lives of the daemon on one disk in one universe, until everything is at rest.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use contentd::actors::failing::FailingJobs;
use contentd::actors::recovery::recover;
use contentd::actors::supervisor::{Drain, SupervisorActor, WorldChannels};
use contentd::actors::{Peers, World};
use contentd::generator::hooks::Notices;
use contentd::generator::registry::{Generator, Generators, Limits};
use contentd::store::memory::MemoryDb;
use contentd::store::query::Queries;
use contentd::store::write::Write;
use contentd::store::{InlineWriter, ReadMode, Store};
use contentd::task::{Clock, Entropy, GeneratorName, Task, TaskState};
use tokio::sync::watch;

use super::checks::{self, Acknowledged, Excused};
use super::crash::{Crash, End};
use super::manners::{Habits, is_polite, policy};
use super::people::People;
use super::rows::Seen;
use super::scripted::Scripted;
use super::universe::{Kind, Universe};
use super::witness::{Report, Witness};
use super::world::{SimClock, SimEntropy};

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub seed: u64,
    pub kind: Kind,
    /// The crash point of the first life; 0 is none. A second life dies at a point that the seed draws.
    pub cut: u64,
}

impl Schedule {
    /// How a life of it ends, if it is cut.
    fn end_of(self, life: u32) -> End {
        let kind = self.kind as u64;
        End::of(self.seed << 32 | kind << 28 | u64::from(life) << 24 | self.cut)
    }
}

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    /// Crash points that the first life passed.
    pub points: u64,
    /// Lives that were cut, and how many of them ended with their machine, and by a drain.
    pub deaths: u64,
    pub boots: u64,
    pub drains: u64,
    /// Broken promises, each with the words to replay it.
    pub failures: Vec<String>,
    /// The lines of the table that it has driven.
    pub seen: Seen,
    /// The audit trail in order.
    pub story: Vec<String>,
}

/// Tasks of a schedule.
pub const TASKS: usize = 3;
/// Every schedule is at rest after so much virtual time; a task that is not is stuck.
const REST: Duration = Duration::from_secs(4 * 24 * 3600);
const LOOK: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_secs(200);
const DEATHS: usize = 2;
/// No drain takes so long: every call of the universe ends within a second.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
/// How often at most the daemon is off for hours, while there is nothing left but jobs that may bring a late piece: so long a
/// watch passes quickly, and the daemon must go on with it.
const NIGHTS: u32 = 16;
const HOUR_MS: u32 = 3_600_000;

pub fn generator_name() -> GeneratorName {
    GeneratorName("scripted".into())
}

/// Runs a schedule to its rest. A panic of contentd, or of its tests, is a failure of this schedule and of no other.
pub fn run(schedule: Schedule) -> Outcome {
    let outcome = catch_unwind(AssertUnwindSafe(|| Disk::new(schedule).live_and_rest()));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let words = format!("{}: a panic: {}", replay_of(schedule), text.unwrap_or_default());
        Outcome { failures: vec![words], ..Outcome::default() }
    })
}

fn replay_of(schedule: Schedule) -> String {
    format!("EXPLORE={}:{:?}:{}", schedule.seed, schedule.kind, schedule.cut)
}

/// Everything that survives a life.
struct Disk {
    schedule: Schedule,
    db: MemoryDb,
    clock: SimClock,
    universe: Universe,
    entropy: Arc<SimEntropy>,
    report: Arc<Mutex<Report>>,
    told: Mutex<Acknowledged>,
    failures: Mutex<Vec<String>>,
    habits: Habits,
    decisions_left: AtomicU32,
    excused: Mutex<Excused>,
}

impl Disk {
    fn new(schedule: Schedule) -> Self {
        let clock = SimClock::new();
        let habits = Habits::of(schedule.seed);
        Self {
            schedule,
            db: MemoryDb::new(),
            universe: Universe::new(clock.clone(), schedule.seed),
            clock,
            entropy: Arc::new(SimEntropy::new(schedule.seed ^ 0xABCD)),
            report: Arc::default(),
            told: Mutex::default(),
            failures: Mutex::default(),
            habits,
            decisions_left: AtomicU32::new(habits.decisions),
            excused: Mutex::default(),
        }
    }

    fn live_and_rest(self) -> Outcome {
        let mut outcome = Outcome::default();
        let mut deaths = Vec::new();
        let mut cut = self.schedule.cut;
        let mut nights = 0;
        for life in 0.. {
            let crash = Crash::at(cut, self.schedule.end_of(life));
            Life { disk: &self, crash: &crash, is_first: life == 0 }.live();
            if life == 0 {
                outcome.points = crash.passed();
            }
            if crash.ran_away() {
                self.fail("not at rest: it runs and runs");
                break;
            }
            if let Some(end) = crash.ended() {
                self.end_life(end);
                outcome.boots += u64::from(end == End::MachineDown);
                outcome.drains += u64::from(end == End::Drained);
                deaths.push(format!("{end:?} {}", crash.label()));
                // The second life dies too, somewhere; the ones after it do not.
                cut = if deaths.len() < DEATHS { u64::from(self.entropy.below(60)) + 1 } else { 0 };
            } else if self.is_only_watching() && nights < NIGHTS {
                nights += 1;
                self.clock.pass_dead(i64::from(self.entropy.below(6 * HOUR_MS) + 2 * HOUR_MS));
                cut = 0;
            } else {
                break;
            }
        }
        let kind = self.schedule.kind;
        let told = self.told.lock().unwrap();
        let mut at_rest = checks::at_rest(&self.db, &self.universe, kind, &told);
        if is_polite(self.schedule.seed) {
            let excused = self.excused.lock().unwrap();
            at_rest.extend(checks::polite_ends(&self.db, &self.universe, kind, &excused, deaths.len()));
        }
        let mut report = self.report.lock().unwrap();
        let words = format!("{} (died {})", replay_of(self.schedule), deaths.join(", "));
        let failures = self.failures.lock().unwrap().drain(..).chain(report.failures.drain(..)).collect::<Vec<_>>();
        outcome.failures = failures.into_iter().chain(at_rest).map(|failure| format!("{words}: {failure}")).collect();
        outcome.deaths = deaths.len() as u64;
        outcome.seen = std::mem::take(&mut report.seen);
        outcome.story = self.db.all_events().iter().map(|event| format!("{event:?}")).collect();
        outcome
    }

    /// What the end of a life does to the world outside; the daemon is off for a while after it.
    fn end_life(&self, end: End) {
        let kind = self.schedule.kind;
        self.excused.lock().unwrap().note(&self.db, &self.universe, kind, end);
        if end == End::MachineDown {
            self.universe.cut_off_submits();
            if kind.is_blocking() {
                self.universe.cut_off_runs();
            }
        }
        self.clock.pass_dead(i64::from(self.entropy.below(120_000)));
        if end == End::MachineDown {
            self.clock.begin_boot();
        }
    }

    /// Whether nothing is left to do but to look, for an hour already, after jobs that outlived their tasks.
    fn is_only_watching(&self) -> bool {
        let hour_ago = self.clock.now().utc.minus(Duration::from_secs(3600));
        let tasks = self.db.all_tasks();
        let is_past = |task: &Task| task.state.is_final() && task.completed_at.is_some_and(|at| at < hour_ago);
        !checks::is_at_rest(&self.db) && tasks.iter().all(|task| task.state == TaskState::Held || is_past(task))
    }

    fn fail(&self, failure: &str) {
        self.failures.lock().unwrap().push(failure.to_owned());
    }

    fn fail_all(&self, failures: Vec<String>) {
        self.failures.lock().unwrap().extend(failures);
    }
}

struct Life<'a> {
    disk: &'a Disk,
    crash: &'a Arc<Crash>,
    is_first: bool,
}

impl Life<'_> {
    fn live(&self) {
        System::new().block_on(async {
            tokio::time::pause();
            self.disk.clock.begin_life(self.crash);
            tokio::select! {
                biased;
                () = self.crash.died() => {}
                () = self.work() => {}
            }
            self.disk.clock.end_life();
        });
    }

    fn generators(&self) -> Arc<Generators> {
        let Schedule { seed, kind, .. } = self.disk.schedule;
        let driver = Arc::new(Scripted {
            kind,
            policy: policy(kind, seed),
            universe: self.disk.universe.clone(),
            db: self.disk.db.clone(),
            crash: Arc::clone(self.crash),
        });
        let limits = Limits {
            max_in_flight: 2,
            max_in_flight_per_account: None,
            calls_per_minute: None,
            submits_per_day: None,
            submits_per_day_per_account: None,
            max_pending: None,
            max_pending_per_account: None,
        };
        Arc::new(Generators::new([Generator::new(generator_name(), driver, policy(kind, seed), limits)]))
    }

    fn world(&self) -> (World, WorldChannels) {
        let disk = self.disk;
        disk.report.lock().unwrap().is_disk_trusted = false;
        let writer = Arc::new(Witness {
            inner: Arc::new(InlineWriter::new(Arc::new(Mutex::new(disk.db.clone())))),
            db: disk.db.clone(),
            crash: Arc::clone(self.crash),
            universe: disk.universe.clone(),
            policy: policy(disk.schedule.kind, disk.schedule.seed),
            entropy: Arc::clone(&disk.entropy),
            report: Arc::clone(&disk.report),
        });
        let store = Store::new(writer, Arc::new(disk.db.clone()), ReadMode::Inline);
        let (peers, peers_rx) = watch::channel(Peers::default());
        let (generators, generators_rx) = watch::channel(self.generators());
        let world = World {
            store,
            clock: Arc::new(disk.clock.clone()),
            entropy: Arc::clone(&disk.entropy) as Arc<dyn Entropy>,
            generators: generators_rx,
            peers: peers_rx,
            readiness: Default::default(),
            failing: FailingJobs::default(),
            rules: Default::default(),
            images: Default::default(),
            publishers: Default::default(),
            notices: Notices::none(),
        };
        (world, WorldChannels { peers, generators })
    }

    /// What a start does before the actors do anything.
    async fn start(&self, world: &World) {
        let disk = self.disk;
        disk.fail_all(checks::acknowledged(&disk.db, &disk.told.lock().unwrap()));
        disk.universe.take_looked_at();
        recover(world).await.unwrap();
        disk.fail_all(checks::after_recovery(&disk.db, &disk.universe, disk.schedule.kind));
        if disk.db.accounts().unwrap().is_empty() {
            let account = Write::AddAccount { name: "a".into(), external_id: None, now: disk.clock.now().utc };
            world.store.write(account).await.unwrap();
        }
        disk.report.lock().unwrap().is_disk_trusted = true;
    }

    async fn work(&self) {
        let (world, channels) = self.world();
        self.start(&world).await;
        let supervisor = SupervisorActor::new(world.clone(), channels, 2, Box::new(|| panic!("the budget is spent")));
        let supervisor = supervisor.start();
        while world.peers.borrow().queue.is_none() {
            tokio::task::yield_now().await;
        }
        let disk = self.disk;
        let people = People {
            world,
            db: &disk.db,
            universe: &disk.universe,
            kind: disk.schedule.kind,
            clock: &disk.clock,
            entropy: &disk.entropy,
            told: &disk.told,
            failures: &disk.failures,
        };
        tokio::select! {
            biased;
            () = self.crash.drain_asked() => self.drain(&supervisor).await,
            () = self.go_on(&people) => {}
        }
    }

    /// As the daemon does it at SIGTERM: persons are not heard any more, and what is in hand ends.
    async fn drain(&self, supervisor: &Addr<SupervisorActor>) {
        let disk = self.disk;
        let drained = tokio::time::timeout(DRAIN_LIMIT, supervisor.send(Drain)).await;
        if !matches!(drained, Ok(Ok(()))) {
            disk.fail("a drain does not end");
        }
        if disk.universe.manners.disk_full == 0 {
            disk.fail_all(checks::after_drain(&disk.db, disk.schedule.kind));
        }
    }

    async fn go_on(&self, people: &People<'_>) {
        let disk = self.disk;
        if disk.habits.pauses && self.is_first {
            people.pause().await;
        }
        people.submit().await;
        if disk.habits.pauses {
            if self.is_first {
                tokio::time::sleep(PAUSE).await;
                disk.fail_all(self.what_a_pause_started());
            }
            people.resume().await;
        }
        if self.is_first {
            people.cancel_first(disk.habits.cancels).await;
        }
        self.rest(people).await;
    }

    /// While everything is paused, no submit starts. A pause that a full disk refused does not stand.
    fn what_a_pause_started(&self) -> Vec<String> {
        let disk = self.disk;
        if disk.universe.manners.disk_full > 0 {
            return Vec::new();
        }
        disk.db.all_attempts().iter().map(|attempt| format!("{} was started in a pause", attempt.task_id)).collect()
    }

    async fn rest(&self, people: &People<'_>) {
        let disk = self.disk;
        let end = tokio::time::Instant::now() + REST;
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(LOOK).await;
            let is_at_rest = checks::is_at_rest(&disk.db);
            let left = disk.decisions_left.load(Ordering::Relaxed);
            if left > 0 {
                let is_decided = people.decide_one().await;
                disk.decisions_left.fetch_sub(u32::from(is_decided), Ordering::Relaxed);
                if is_decided {
                    continue;
                }
            }
            // Some seeds watch the whole day through.
            if is_at_rest || !disk.schedule.seed.is_multiple_of(7) && disk.is_only_watching() {
                return;
            }
        }
    }
}
