//! One week: lives of the daemon, one after the other, on one disk, with one generator, one site and one person.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use contentd::actors::failing::FailingJobs;
use contentd::actors::recovery::recover;
use contentd::actors::rules::SharedRules;
use contentd::actors::supervisor::{OpenSchedules, SupervisorActor, WorldChannels};
use contentd::actors::{Peers, World};
use contentd::backend::doctor::Installation;
use contentd::backend::{DaemonBackend, DaemonCommand, ScheduleSettings, Settings, SubmitDefaults};
use contentd::config::SchedulesConfig;
use contentd::control::api::ConfigReply;
use contentd::generator::log::GeneratorLogs;
use contentd::generator::registry::{Generator, Generators, Limits};
use contentd::publish::PublishTimes;
use contentd::publisher::Publishing;
use contentd::store::memory::MemoryDb;
use contentd::store::query::Queries;
use contentd::store::write::{AccountWrite, PieceRules, ScheduleWrite, Write, WriteError, Written};
use contentd::store::{Backend, InlineWriter, ReadMode, Store, Writer};
use contentd::task::account::AccountChange;
use contentd::task::{AccountId, Clock, Entropy, GeneratorName, TaskId};
use futures_util::future::BoxFuture;
use jiff::tz::TimeZone;
use tokio::sync::{mpsc, watch};

use super::calendar::{Calendar, Kill, Season, ZONE};
use super::checks;
use super::crash::{Crash, End};
use super::generator::{House, Scripted, rules};
use super::person::Person;
use super::site::{Kind, Site};
use super::site_hours::publishers;
use super::sources::{ACCOUNTS, Sources, schedules};
use super::standing::stands;
use super::telling::{Told, notices};
use super::world::{SimClock, SimEntropy};

/// What came of a week.
#[derive(Default)]
pub struct Outcome {
    pub fires: usize,
    pub published: usize,
    pub rejected: usize,
    pub deaths: usize,
    pub messages: usize,
    pub probes: usize,
    pub failures: Vec<String>,
    /// The audit trail in order.
    pub story: Vec<String>,
}

/// Of the pieces that the site is given, in percent: how badly it behaves.
const BADNESS: u32 = 8;
const LOOK: Duration = Duration::from_secs(600);
/// After the week everything is at rest within two days.
const REST_DAYS: i64 = 2;

/// Everything that outlives the daemon.
pub struct Week {
    pub seed: u64,
    pub calendar: Arc<Calendar>,
    pub db: MemoryDb,
    pub house: House,
    pub site: Site,
    pub told: Told,
    kind: Kind,
    clock: SimClock,
    entropy: Arc<SimEntropy>,
    person: Person,
    seen: Arc<Mutex<Vec<String>>>,
}

/// Runs a week to its rest. A panic is a failure of this week and of no other.
pub fn run(seed: u64) -> Outcome {
    let outcome = catch_unwind(AssertUnwindSafe(|| Week::new(seed).live_and_rest()));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Outcome { failures: vec![format!("WEEK={seed}: a panic: {}", text.unwrap_or_default())], ..Outcome::default() }
    })
}

/// Commits, dies before or after it, and looks at what stands there then.
#[derive(Clone)]
struct Mortal {
    inner: Arc<InlineWriter>,
    db: MemoryDb,
    crash: Arc<Crash>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Mortal {
    fn look(&self, written: &Written) {
        let look = |id: &TaskId| {
            let (task, attempt) = self.db.task(id).unwrap().unwrap();
            self.seen.lock().unwrap().extend(stands(&self.db, &task, attempt.as_ref()));
        };
        match written {
            Written::Changed(changed) => look(&changed.change.task.id),
            Written::Submitted(submitted) => submitted.iter().for_each(|new| look(&new.task.id)),
            _ => {}
        }
    }
}

impl Writer for Mortal {
    fn write(&self, write: Write) -> BoxFuture<'static, Result<Written, WriteError>> {
        let this = self.clone();
        Box::pin(async move {
            this.crash.point("before a commit").await;
            let written = this.inner.write(write).await;
            if let Ok(written) = &written {
                this.look(written);
            }
            this.crash.point("after a commit").await;
            written
        })
    }
}

/// The daemon as people and schedules see it, with the ends of what it listens to.
struct Desk {
    backend: DaemonBackend,
    _ends: (watch::Sender<Arc<Settings>>, watch::Sender<bool>, mpsc::UnboundedReceiver<DaemonCommand>),
}

impl Desk {
    fn new(world: &World, supervisor: &Addr<SupervisorActor>) -> Self {
        let nowhere = Path::new("/nonexistent");
        let logs = GeneratorLogs::new(nowhere);
        let defaults = SubmitDefaults {
            generator: None,
            priority: 5,
            time_limit_s: 1_800,
            max_retries: 3,
            auto_approve: true,
            max_pending: 10_000,
        };
        let settings = Settings {
            schedules: Arc::new(ScheduleSettings::new(&SchedulesConfig::default(), nowhere, &logs)),
            defaults,
            is_four_eyes: false,
            keep_finished: None,
            effective: ConfigReply { files: vec![], config: serde_json::Value::Null },
        };
        let (settings, settings_rx) = watch::channel(Arc::new(settings));
        let (stopping, stopping_rx) = watch::channel(false);
        let (commands, commands_rx) = mpsc::unbounded_channel();
        let none = PathBuf::from(nowhere);
        let installation = Installation::new(none.clone(), none, None, Arc::new(|| None), Arc::new(Default::default));
        let supervisor = supervisor.clone();
        let backend =
            DaemonBackend::new(world.clone(), supervisor, settings_rx, commands, stopping_rx, installation, logs);
        Self { backend, _ends: (settings, stopping, commands_rx) }
    }
}

impl Week {
    fn new(seed: u64) -> Self {
        let calendar = Arc::new(Calendar::of(seed));
        let clock = SimClock::beginning_at(calendar.begins().0);
        let db = MemoryDb::new();
        let kind = Kind::ALL[usize::try_from(seed % 3).unwrap()];
        let site = Site::new(clock.clone(), seed, kind, BADNESS);
        let house = House::new(clock.clone(), Arc::clone(&calendar), seed);
        let person = Person {
            calendar: Arc::clone(&calendar),
            done: Arc::default(),
            db: db.clone(),
            house: house.clone(),
            site: site.clone(),
        };
        let week = Self {
            seed,
            house,
            site,
            told: Told::default(),
            kind,
            entropy: Arc::new(SimEntropy::new(seed ^ 0xABCD)),
            person,
            seen: Arc::default(),
            calendar,
            db,
            clock,
        };
        week.set_up();
        week
    }

    /// Three accounts, one of them with words of its own, and three schedules.
    fn set_up(&self) {
        let now = self.calendar.begins();
        let accounts = ACCOUNTS.map(|name| Write::AddAccount { name: name.into(), external_id: None, now });
        let change =
            AccountChange { tone: Some(Some("dry".into())), max_in_flight: Some(Some(1)), ..AccountChange::default() };
        let second = Write::Account(AccountWrite::Set { id: AccountId(2), change: Box::new(change) });
        let added = schedules(self.seed, &self.calendar).map(|new| Write::Schedule(ScheduleWrite::Add(Box::new(new))));
        let mut disk = self.db.clone();
        for write in accounts.into_iter().chain([second]).chain(added) {
            disk.commit(&[write]).unwrap().pop().unwrap().unwrap();
        }
    }

    fn live_and_rest(self) -> Outcome {
        let mut deaths = Vec::new();
        let mut failures = Vec::new();
        let kills = self.calendar.kills.clone();
        for kill in kills.into_iter().map(Some).chain([None]) {
            let crash = Crash::at(0, End::Killed);
            self.live(&crash, kill);
            if crash.ran_away() {
                failures.push("a day runs and runs".to_owned());
                break;
            }
            let Some(kill) = kill.filter(|_| crash.is_dead()) else { break };
            deaths.push(format!("{} at {}", crash.label(), self.calendar.shown(self.clock.now().utc)));
            self.clock.pass_dead(kill.away_ms);
        }
        if deaths.len() != self.calendar.kills.len() {
            failures.push(format!("it was to be killed {} times", self.calendar.kills.len()));
        }
        failures.append(&mut self.seen.lock().unwrap());
        let mut outcome = checks::at_rest(&self);
        failures.append(&mut outcome.failures);
        let words = format!("WEEK={} (died {})", self.seed, deaths.join(", "));
        outcome.failures = failures.into_iter().map(|failure| format!("{words}: {failure}")).collect();
        outcome.deaths = deaths.len();
        let told = self.told.lock().unwrap();
        let events = self.db.all_events();
        let fires = self.db.all_fires();
        let lines = events.iter().map(|row| (row.at, format!("{row:?}")));
        let lines = lines.chain(fires.iter().map(|fire| (fire.began, format!("{fire:?}"))));
        let mut lines: Vec<_> = lines.collect();
        lines.sort_by_key(|(at, _)| *at);
        outcome.story = lines.into_iter().map(|(at, line)| format!("{} {line}", self.calendar.shown(at))).collect();
        outcome.story.extend(told.iter().map(|message| format!("told: {message:?}")));
        outcome
    }

    fn live(&self, crash: &Arc<Crash>, kill: Option<Kill>) {
        System::new().block_on(async {
            tokio::time::pause();
            self.clock.begin_life(crash);
            tokio::select! {
                biased;
                () = crash.died() => {}
                () = self.work(crash, kill) => {}
            }
            self.clock.end_life();
        });
    }

    fn world(&self, crash: &Arc<Crash>) -> (World, WorldChannels) {
        let db = self.db.clone();
        let inner = Arc::new(InlineWriter::new(Arc::new(Mutex::new(db.clone()))));
        let writer = Arc::new(Mortal { inner, db: db.clone(), crash: Arc::clone(crash), seen: Arc::clone(&self.seen) });
        let limits = Limits {
            max_in_flight: 6,
            max_in_flight_per_account: None,
            calls_per_minute: None,
            submits_per_day: None,
            submits_per_day_per_account: None,
            max_pending: None,
            max_pending_per_account: None,
        };
        let driver = Arc::new(Scripted { house: self.house.clone(), crash: Arc::clone(crash) });
        let generator = Generator::new(GeneratorName("scripted".into()), driver, self.house.policy(), limits);
        let (peers, peers_rx) = watch::channel(Peers::default());
        let (generators, generators_rx) = watch::channel(Arc::new(Generators::new([generator])));
        let asked = SharedRules::default();
        asked.replace(PieceRules { review: rules(), times: self.publish_times(), ..PieceRules::default() });
        let world = World {
            store: Store::new(writer, Arc::new(db), ReadMode::Inline),
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::clone(&self.entropy) as Arc<dyn Entropy>,
            generators: generators_rx,
            peers: peers_rx,
            readiness: Default::default(),
            failing: FailingJobs::default(),
            rules: asked,
            images: Default::default(),
            publishers: Publishing::of(publishers(&self.site, self.kind, crash, &self.calendar)),
            notices: watch::channel(Arc::new(notices(&self.told, crash, &self.entropy))).1,
        };
        (world, WorldChannels { peers, generators })
    }

    /// In one season contentd keeps the pieces until nine itself; in the other it offers them at once, and the site does.
    fn publish_times(&self) -> Option<PublishTimes> {
        let times = || PublishTimes::of("0 9 * * *", ZONE, |name| TimeZone::get(name).ok()).expect("it is right");
        (self.calendar.season == Season::Spring).then(times)
    }

    async fn work(&self, crash: &Arc<Crash>, kill: Option<Kill>) {
        let (world, channels) = self.world(crash);
        recover(&world).await.unwrap();
        let supervisor = SupervisorActor::new(world.clone(), channels, 2, Box::new(|| panic!("the budget is spent")));
        let supervisor = supervisor.start();
        let desk = Desk::new(&world, &supervisor);
        let sources = Sources {
            backend: desk.backend.clone(),
            calendar: Arc::clone(&self.calendar),
            clock: self.clock.clone(),
            crash: Arc::clone(crash),
        };
        supervisor.send(OpenSchedules(Arc::new(sources))).await.unwrap();
        actix::spawn(self.person.clone().live(world.clone(), desk.backend.clone()));
        if let Some(kill) = kill {
            tokio::time::sleep(kill.at.since(self.clock.now().utc)).await;
            crash.arm(kill.points);
        }
        let last = self.calendar.ends().plus(Duration::from_hours(24 * u64::try_from(REST_DAYS).unwrap()));
        while self.clock.now().utc < last {
            tokio::time::sleep(LOOK).await;
            if self.clock.now().utc > self.calendar.ends() && checks::open_ends(&self.db).is_empty() {
                return;
            }
        }
    }
}
