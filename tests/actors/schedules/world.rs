//! What the schedules of these tests live in: a fast clock, a disk that outlives its daemon, sources that a test scripts.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use contentd::actors::failing::FailingJobs;
use contentd::actors::schedule::{DrainSchedules, Entry, ScheduleActor, Seams};
use contentd::actors::supervisor::ChildExited;
use contentd::actors::{Peers, World};
use contentd::control::api::ApiError;
use contentd::control::topics::digest;
use contentd::generator::command::topics::{Printed, Wanted};
use contentd::generator::hooks::Notices;
use contentd::generator::registry::Generators;
use contentd::schedule::{AtEnd, Fire, Misfire, NewSchedule, Params, Schedule, ScheduleId, Timing, Topic, TopicSource};
use contentd::store::memory::MemoryDb;
use contentd::store::query::{Page, Queries, TaskFilter};
use contentd::store::sqlite::{self, SqliteBackend};
use contentd::store::write::{Account, NewTask, PendingLimits, ScheduleWrite, ScheduleWritten, Write, Written};
use contentd::store::{Backend, InlineWriter, ReadMode, Store, Writer};
use contentd::task::{AccountId, BootId, Clock, Entropy, GeneratorName, Now, Task, TaskId, Timestamp};
use diesel::connection::SimpleConnection;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::tz::{AmbiguousOffset, TimeZone};
use tokio::sync::watch;
use tokio::time::Instant;

pub(super) const MINUTE: i64 = 60_000;

/// A clock that follows the paused time, `speed` times as fast.
#[derive(Clone)]
pub(super) struct FastClock {
    pub(super) began: Instant,
    pub(super) epoch: i64,
    pub(super) speed: i64,
}

impl Clock for FastClock {
    fn now(&self) -> Now {
        let ms = self.epoch + self.speed * i64::try_from(self.began.elapsed().as_millis()).unwrap();
        Now { utc: Timestamp(ms), boot_id: BootId("fast".into()), boot_ms: ms }
    }
}

pub(super) struct Counted(pub(super) AtomicU64);

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        let next = self.0.fetch_add(1, Ordering::Relaxed);
        bytes.iter_mut().zip(next.to_le_bytes().into_iter().cycle()).for_each(|(byte, value)| *byte = value);
    }
}

/// What outlives a life of the actor.
#[derive(Clone)]
pub(super) struct Disk {
    pub(super) backend: Arc<Mutex<dyn Backend>>,
    pub(super) queries: Arc<dyn Queries>,
}

impl Disk {
    pub(super) fn memory() -> Self {
        let db = MemoryDb::new();
        Self { backend: Arc::new(Mutex::new(db.clone())), queries: Arc::new(db) }
    }

    /// A real database, and a handle behind its seam. It is not synced: no test here cuts the power.
    pub(super) fn sqlite(directory: &tempfile::TempDir) -> (Self, Arc<Mutex<SqliteBackend>>) {
        let mut opened = sqlite::open(&directory.path().join("contentd.db"), 2).unwrap();
        opened.backend.connection().batch_execute("PRAGMA synchronous = OFF").unwrap();
        let backend = Arc::new(Mutex::new(opened.backend));
        (Self { backend: backend.clone(), queries: Arc::new(opened.queries) }, backend)
    }

    pub(super) fn write(&self, write: Write) -> Written {
        let mut backend = self.backend.lock().unwrap_or_else(PoisonError::into_inner);
        backend.commit(&[write]).unwrap().pop().unwrap().unwrap()
    }

    pub(super) fn account(&self, name: &str) -> AccountId {
        let write = Write::AddAccount { name: name.into(), external_id: None, now: Timestamp(0) };
        let Written::Account(account) = self.write(write) else { panic!("an account") };
        account.id
    }

    pub(super) fn schedule(&self, new: NewSchedule) -> ScheduleId {
        let Written::Schedule(written) = self.write(Write::Schedule(ScheduleWrite::Add(Box::new(new)))) else {
            panic!("a schedule")
        };
        let ScheduleWritten::Schedule(schedule) = *written else { panic!("a schedule") };
        schedule.id
    }

    pub(super) fn named(&self, id: ScheduleId) -> Schedule {
        self.queries.find_schedule(&id.to_string()).unwrap().unwrap()
    }

    /// Oldest first.
    pub(super) fn fires(&self, id: ScheduleId) -> Vec<Fire> {
        let mut fires = self.queries.fires(id, Page::first(u32::MAX)).unwrap();
        fires.reverse();
        fires
    }

    /// Oldest first.
    pub(super) fn tasks(&self) -> Vec<Task> {
        let mut tasks = self.queries.tasks(&TaskFilter::default(), Page::first(u32::MAX)).unwrap();
        tasks.reverse();
        tasks
    }
}

/// Sources and tasks as a test wants them.
pub(super) struct Script {
    pub(super) max_pending: u64,
    pub(super) set_by: AtomicI64,
    pub(super) file: Mutex<Result<Vec<String>, String>>,
    pub(super) may_ask_again: bool,
    /// What the command does, call by call; the last goes on.
    pub(super) answers: Mutex<Vec<Answer>>,
    pub(super) asked: Mutex<Vec<Wanted>>,
    pub(super) clock: FastClock,
    pub(super) ids: AtomicU64,
}

#[derive(Clone)]
pub(super) enum Answer {
    /// As many topics as are wanted, which the fire's key names, after so long.
    Topics(Duration),
    Other(Printed),
}

impl Script {
    pub(super) fn new(clock: &FastClock) -> Arc<Self> {
        Arc::new(Self::plain(clock))
    }

    pub(super) fn plain(clock: &FastClock) -> Self {
        Self {
            max_pending: 1_000_000,
            set_by: AtomicI64::new(0),
            file: Mutex::new(Ok((0..1_000).map(|n| format!("f{n}")).collect())),
            may_ask_again: false,
            answers: Mutex::new(vec![Answer::Topics(Duration::ZERO)]),
            asked: Mutex::default(),
            clock: clock.clone(),
            ids: AtomicU64::new(1),
        }
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Seams for Script {
    fn make(&self, who: &str, wanted: Vec<(Account, Topic, String)>) -> Vec<Result<NewTask, ApiError>> {
        let now = self.clock.now().utc;
        let make = |(account, topic, key): (Account, Topic, String)| {
            // What the schedule says and not its topic, as when the configuration has changed since.
            if topic.params.tone.as_deref() == Some("forbidden") {
                return Err(ApiError::invalid("tone", "forbidden", "another one"));
            }
            if topic.topic.starts_with("refused") {
                return Err(ApiError::invalid("topic", &topic.topic, "another one"));
            }
            // Unique over all lives: the key is.
            let id = TaskId(format!("task-{}", key.replace('/', "-")));
            self.ids.fetch_add(1, Ordering::Relaxed);
            let mut task = Task::blank(id, account.id, GeneratorName("scripted".into()), now);
            (task.topic, task.key, task.submitted_by) = (topic.topic, Some(key), who.to_owned());
            Ok(NewTask { task, digest: "d".into(), claim: None, limits: PendingLimits::default() })
        };
        wanted.into_iter().map(make).collect()
    }

    fn max_pending(&self) -> u64 {
        self.max_pending
    }

    fn read_file(&self, _: String) -> BoxFuture<'static, Result<Vec<Entry>, String>> {
        let file = self.file.lock().unwrap().clone();
        let entry = |topic: String| {
            let topic = Topic { topic, ..Topic::default() };
            (topic.clone(), digest(&topic))
        };
        std::future::ready(file.map(|lines| lines.into_iter().map(entry).collect())).boxed()
    }

    fn clock_was_set_by(&self) -> i64 {
        self.set_by.load(Ordering::Relaxed)
    }

    fn may_ask_again(&self, command: &str) -> Option<bool> {
        (command == "news").then_some(self.may_ask_again)
    }

    fn ask(&self, _: &str, wanted: Wanted) -> BoxFuture<'static, Printed> {
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        self.asked.lock().unwrap().push(wanted.clone());
        async move {
            match answer {
                Answer::Topics(wait) => {
                    tokio::time::sleep(wait).await;
                    let lines = (0..wanted.topics).map(|n| format!("{} {n}\n", wanted.fire));
                    Printed::Output(lines.collect::<String>().into_bytes())
                }
                Answer::Other(printed) => printed,
            }
        }
        .boxed()
    }
}

/// Whom the actor reports to.
pub(super) struct Parent;

impl Actor for Parent {
    type Context = Context<Self>;
}

impl Handler<ChildExited> for Parent {
    type Result = ();

    fn handle(&mut self, _: ChildExited, _: &mut Self::Context) {}
}

pub(super) fn world(store: Store, clock: &FastClock) -> World {
    // The supervisor's ends: nobody writes them here.
    let (peers, peers_rx) = watch::channel(Peers::default());
    let (generators, generators_rx) = watch::channel(Arc::new(Generators::default()));
    std::mem::forget((peers, generators));
    World {
        store,
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(Counted(AtomicU64::new(1))),
        generators: generators_rx,
        peers: peers_rx,
        readiness: Default::default(),
        failing: FailingJobs::default(),
        rules: Default::default(),
        images: Default::default(),
        publishers: Default::default(),
        notices: Notices::none(),
    }
}

/// A life of the actor, and whom it reports to.
pub(super) struct Life {
    pub(super) actor: Addr<ScheduleActor>,
    pub(super) _parent: Addr<Parent>,
}

impl Life {
    pub(super) fn begin(disk: &Disk, seams: &Arc<Script>, clock: &FastClock) -> Self {
        Self::with(Arc::new(InlineWriter::new(Arc::clone(&disk.backend))), disk, seams, clock)
    }

    pub(super) fn with(writer: Arc<dyn Writer>, disk: &Disk, seams: &Arc<Script>, clock: &FastClock) -> Self {
        let store = Store::new(writer, Arc::clone(&disk.queries), ReadMode::Inline);
        let parent = Parent.start();
        let seams = Arc::clone(seams) as Arc<dyn Seams>;
        let actor = ScheduleActor::new(world(store, clock), seams, parent.downgrade().recipient()).start();
        Self { actor, _parent: parent }
    }

    pub(super) async fn end(self) {
        self.actor.send(DrainSchedules).await.unwrap();
    }
}

pub(super) fn paused() {
    tokio::time::pause();
}

pub(super) fn clock_at(epoch: i64, speed: i64) -> FastClock {
    FastClock { began: Instant::now(), epoch, speed }
}

pub(super) async fn pass(ms: i64) {
    tokio::time::sleep(Duration::from_millis(ms.unsigned_abs())).await;
}

pub(super) fn minutely(name: &str, accounts: Vec<AccountId>, source: TopicSource) -> NewSchedule {
    NewSchedule {
        name: name.into(),
        timing: Timing::Every { seconds: 60, anchor: Timestamp(0), zone: "UTC".into() },
        accounts,
        topics_each: 1,
        source,
        params: Params::default(),
        misfire: Misfire::All { most: 100 },
        next_due: Some(Timestamp(MINUTE)),
        who: "1000:ada".into(),
        now: Timestamp(0),
    }
}

pub(super) fn list(count: usize, at_end: AtEnd) -> TopicSource {
    let topic = |n: usize| Topic { topic: format!("l{n}"), ..Topic::default() };
    TopicSource::List { topics: (0..count).map(topic).collect(), at_end }
}

pub(super) fn file() -> TopicSource {
    TopicSource::File { path: "/topics/t.txt".into(), at_end: AtEnd::Stop }
}

pub(super) fn command() -> TopicSource {
    TopicSource::Command { name: "news".into() }
}

/// When a local time fires: itself, the jump over it, or the first of two.
pub(super) fn instant_of(local: jiff::civil::DateTime, zone: &TimeZone) -> i64 {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let with = |offset: jiff::tz::Offset| offset.to_timestamp(local).unwrap().as_millisecond();
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => with(offset),
        AmbiguousOffset::Fold { before, .. } => with(before),
        AmbiguousOffset::Gap { after, .. } => {
            let inside = after.to_timestamp(local).unwrap();
            zone.following(inside).next().unwrap().timestamp().as_millisecond()
        }
    }
}
