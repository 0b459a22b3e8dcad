//! The ScheduleActor: over a year, over an absence, over its own death at every commit, and with sources that misbehave.
//!
//! Most tests run the real actor alone, on a database of either kind, with sources that a test scripts. One runs it under
//! the real supervisor with the daemon's own way of making tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use contentd::actors::failing::FailingJobs;
use contentd::actors::schedule::{DrainSchedules, Entry, ScheduleActor, SchedulesChanged, Seams};
use contentd::actors::supervisor::{Child, ChildExited, Crash, OpenSchedules};
use contentd::actors::{Peers, World};
use contentd::backend::doctor::Installation;
use contentd::backend::{DaemonBackend, ScheduleSettings, Settings, SubmitDefaults};
use contentd::config::SchedulesConfig;
use contentd::control::api::{ApiError, ConfigReply};
use contentd::control::topics::digest;
use contentd::generator::command::topics::{Printed, Wanted};
use contentd::generator::hooks::Notices;
use contentd::generator::log::GeneratorLogs;
use contentd::generator::registry::Generators;
use contentd::schedule::{
    AtEnd, Fire, FireKind, FireState, Misfire, NewSchedule, Params, Schedule, ScheduleId, Timing, Topic, TopicSource,
};
use contentd::store::memory::MemoryDb;
use contentd::store::query::{Page, Queries, TaskFilter};
use contentd::store::sqlite::{self, SqliteBackend};
use contentd::store::write::{
    Account, NewTask, PendingLimits, ScheduleWrite, ScheduleWritten, Write, WriteError, Written,
};
use contentd::store::{Backend, DbError, InlineWriter, ReadMode, Store, Writer};
use contentd::task::{AccountId, BootId, Clock, Entropy, GeneratorName, Now, Task, TaskId, TaskState, Timestamp};
use diesel::connection::SimpleConnection;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::tz::{AmbiguousOffset, TimeZone};
use tokio::sync::watch;
use tokio::time::Instant;

use super::rig::{Rig, Setup};
use super::tally;

const MINUTE: i64 = 60_000;

/// A clock that follows the paused time, `speed` times as fast.
#[derive(Clone)]
struct FastClock {
    began: Instant,
    epoch: i64,
    speed: i64,
}

impl Clock for FastClock {
    fn now(&self) -> Now {
        let ms = self.epoch + self.speed * i64::try_from(self.began.elapsed().as_millis()).unwrap();
        Now { utc: Timestamp(ms), boot_id: BootId("fast".into()), boot_ms: ms }
    }
}

struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        let next = self.0.fetch_add(1, Ordering::Relaxed);
        bytes.iter_mut().zip(next.to_le_bytes().into_iter().cycle()).for_each(|(byte, value)| *byte = value);
    }
}

/// What outlives a life of the actor.
#[derive(Clone)]
struct Disk {
    backend: Arc<Mutex<dyn Backend>>,
    queries: Arc<dyn Queries>,
}

impl Disk {
    fn memory() -> Self {
        let db = MemoryDb::new();
        Self { backend: Arc::new(Mutex::new(db.clone())), queries: Arc::new(db) }
    }

    /// A real database, and a handle behind its seam. It is not synced: no test here cuts the power.
    fn sqlite(directory: &tempfile::TempDir) -> (Self, Arc<Mutex<SqliteBackend>>) {
        let mut opened = sqlite::open(&directory.path().join("contentd.db"), 2).unwrap();
        opened.backend.connection().batch_execute("PRAGMA synchronous = OFF").unwrap();
        let backend = Arc::new(Mutex::new(opened.backend));
        (Self { backend: backend.clone(), queries: Arc::new(opened.queries) }, backend)
    }

    fn write(&self, write: Write) -> Written {
        let mut backend = self.backend.lock().unwrap_or_else(PoisonError::into_inner);
        backend.commit(&[write]).unwrap().pop().unwrap().unwrap()
    }

    fn account(&self, name: &str) -> AccountId {
        let write = Write::AddAccount { name: name.into(), external_id: None, now: Timestamp(0) };
        let Written::Account(account) = self.write(write) else { panic!("an account") };
        account.id
    }

    fn schedule(&self, new: NewSchedule) -> ScheduleId {
        let Written::Schedule(written) = self.write(Write::Schedule(ScheduleWrite::Add(Box::new(new)))) else {
            panic!("a schedule")
        };
        let ScheduleWritten::Schedule(schedule) = *written else { panic!("a schedule") };
        schedule.id
    }

    fn named(&self, id: ScheduleId) -> Schedule {
        self.queries.find_schedule(&id.to_string()).unwrap().unwrap()
    }

    /// Oldest first.
    fn fires(&self, id: ScheduleId) -> Vec<Fire> {
        let mut fires = self.queries.fires(id, Page::first(u32::MAX)).unwrap();
        fires.reverse();
        fires
    }

    /// Oldest first.
    fn tasks(&self) -> Vec<Task> {
        let mut tasks = self.queries.tasks(&TaskFilter::default(), Page::first(u32::MAX)).unwrap();
        tasks.reverse();
        tasks
    }
}

/// Sources and tasks as a test wants them.
struct Script {
    max_pending: u64,
    set_by: AtomicI64,
    file: Mutex<Result<Vec<String>, String>>,
    may_ask_again: bool,
    /// What the command does, call by call; the last goes on.
    answers: Mutex<Vec<Answer>>,
    asked: Mutex<Vec<Wanted>>,
    clock: FastClock,
    ids: AtomicU64,
}

#[derive(Clone)]
enum Answer {
    /// As many topics as are wanted, which the fire's key names, after so long.
    Topics(Duration),
    Other(Printed),
}

impl Script {
    fn new(clock: &FastClock) -> Arc<Self> {
        Arc::new(Self::plain(clock))
    }

    fn plain(clock: &FastClock) -> Self {
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

    fn asked(&self) -> usize {
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
struct Parent;

impl Actor for Parent {
    type Context = Context<Self>;
}

impl Handler<ChildExited> for Parent {
    type Result = ();

    fn handle(&mut self, _: ChildExited, _: &mut Self::Context) {}
}

fn world(store: Store, clock: &FastClock) -> World {
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
struct Life {
    actor: Addr<ScheduleActor>,
    _parent: Addr<Parent>,
}

impl Life {
    fn begin(disk: &Disk, seams: &Arc<Script>, clock: &FastClock) -> Self {
        Self::with(Arc::new(InlineWriter::new(Arc::clone(&disk.backend))), disk, seams, clock)
    }

    fn with(writer: Arc<dyn Writer>, disk: &Disk, seams: &Arc<Script>, clock: &FastClock) -> Self {
        let store = Store::new(writer, Arc::clone(&disk.queries), ReadMode::Inline);
        let parent = Parent.start();
        let seams = Arc::clone(seams) as Arc<dyn Seams>;
        let actor = ScheduleActor::new(world(store, clock), seams, parent.downgrade().recipient()).start();
        Self { actor, _parent: parent }
    }

    async fn end(self) {
        self.actor.send(DrainSchedules).await.unwrap();
    }
}

fn paused() {
    tokio::time::pause();
}

fn clock_at(epoch: i64, speed: i64) -> FastClock {
    FastClock { began: Instant::now(), epoch, speed }
}

async fn pass(ms: i64) {
    tokio::time::sleep(Duration::from_millis(ms.unsigned_abs())).await;
}

fn minutely(name: &str, accounts: Vec<AccountId>, source: TopicSource) -> NewSchedule {
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

fn list(count: usize, at_end: AtEnd) -> TopicSource {
    let topic = |n: usize| Topic { topic: format!("l{n}"), ..Topic::default() };
    TopicSource::List { topics: (0..count).map(topic).collect(), at_end }
}

fn file() -> TopicSource {
    TopicSource::File { path: "/topics/t.txt".into(), at_end: AtEnd::Stop }
}

fn command() -> TopicSource {
    TopicSource::Command { name: "news".into() }
}

/// When a local time fires: itself, the jump over it, or the first of two.
fn instant_of(local: jiff::civil::DateTime, zone: &TimeZone) -> i64 {
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

/// Each zone's time is one that its clocks jump over, show twice, or both; Samoa has no 30 December in that year.
///
/// The timers run a hundred times slower than the clock, as on a machine that is late by most of an hour each time: when a
/// time is due must not depend on being there in time.
#[actix::test]
async fn a_year_in_each_zone_fires_each_due_time_once() {
    paused();
    const ZONES: [(&str, i8, i8); 4] = [
        ("Europe/Berlin", 2, 30),
        ("America/New_York", 1, 30),
        ("Australia/Lord_Howe", 2, 15),
        ("Pacific/Apia", 3, 30),
    ];
    let begin = jiff::civil::date(2011, 7, 1).at(12, 0, 0, 0).to_zoned_datetime(TimeZone::UTC).unwrap();
    let begin = begin.timestamp().as_millisecond();
    let end = begin + 366 * 86_400_000;
    let directory = tempfile::tempdir().unwrap();
    let (disk, _) = Disk::sqlite(&directory);
    let clock = clock_at(begin, 100);
    let account = disk.account("blog");
    let mut expected = BTreeMap::new();
    for (name, hour, minute) in ZONES {
        let zone = TimeZone::get(name).unwrap();
        let days = jiff::civil::date(2011, 6, 29).series(jiff::Span::new().days(1)).take(372);
        let mut dues: BTreeSet<i64> = days.map(|day| instant_of(day.at(hour, minute, 0, 0), &zone)).collect();
        dues.retain(|due| *due > begin && *due <= end);
        let timing = Timing::Cron { expression: format!("{minute} {hour} * * *"), zone: name.into() };
        let beat = contentd::schedule::Beat::of(&timing, |zone| TimeZone::get(zone).ok()).unwrap();
        let mut new = minutely(name, vec![account], list(3, AtEnd::Again));
        (new.timing, new.misfire, new.next_due) = (timing, Misfire::Once, beat.next_after(Timestamp(begin)));
        expected.insert(name, (dues, disk.schedule(new)));
    }
    let seams = Script::new(&clock);
    let life = Life::begin(&disk, &seams, &clock);
    pass((end - begin) / 100 + 60_000).await;
    life.end().await;
    let (mut total, mut tasks) = (0, BTreeSet::new());
    for (name, (dues, id)) in expected {
        let fires: Vec<Fire> = disk.fires(id).into_iter().filter(|fire| fire.due.0 <= end).collect();
        let found: BTreeSet<i64> = fires.iter().map(|fire| fire.due.0).collect();
        assert_eq!(found, dues, "{name}");
        assert!(fires.iter().all(|fire| fire.state == FireState::Fired && fire.missed == 0), "{name}");
        let made: Vec<TaskId> = fires.iter().flat_map(|fire| fire.tasks.clone()).collect();
        assert_eq!(made.len(), fires.len(), "{name}: a task each");
        total += fires.len();
        tasks.extend(made);
    }
    assert_eq!(tasks.len(), total, "none is another's");
    tally::tell("schedules", &format!("{total} due times of a year in {} zones, each fired once", ZONES.len()));
}

#[actix::test]
async fn what_passed_while_nobody_was_there_is_made_up_for_as_it_says() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let account = disk.account("blog");
    let policies = [Misfire::Once, Misfire::All { most: 3 }, Misfire::None];
    let add = |misfire| {
        disk.schedule(NewSchedule {
            misfire,
            ..minutely(&format!("{misfire:?}"), vec![account], list(100, AtEnd::Stop))
        })
    };
    let hourly = {
        let mut new = minutely("hourly", vec![account], list(100, AtEnd::Stop));
        new.timing = Timing::Every { seconds: 3_600, anchor: Timestamp(0), zone: "UTC".into() };
        disk.schedule(NewSchedule { misfire: Misfire::None, next_due: Some(Timestamp(60 * MINUTE)), ..new })
    };
    let ids = policies.map(add);
    let seams = Script::new(&clock);
    let life = Life::begin(&disk, &seams, &clock);
    pass(5 * MINUTE + 30_000).await;
    life.end().await;
    for id in ids {
        assert_eq!(disk.fires(id).len(), 5, "each minute");
    }
    // Nobody is there for five hours.
    pass(300 * MINUTE).await;
    let life = Life::begin(&disk, &seams, &clock);
    pass(90_000).await;
    let minutes = |id| -> Vec<(i64, u32)> {
        disk.fires(id).iter().skip(5).map(|fire| (fire.due.0 / MINUTE, fire.missed)).collect()
    };
    assert_eq!(minutes(ids[0]), [(305, 299), (306, 0), (307, 0)][..minutes(ids[0]).len()]);
    assert!(minutes(ids[0]).len() >= 2);
    assert_eq!(minutes(ids[1])[..3], [(303, 297), (304, 0), (305, 0)]);
    assert_eq!(minutes(ids[2])[..1], [(305, 299)], "the last was on time");
    let [missed] = disk.fires(hourly).try_into().unwrap();
    assert_eq!((missed.state, missed.missed, missed.due.0 / MINUTE), (FireState::Missed, 5, 300));
    assert!(missed.why.unwrap().contains("misfire none"));
    let topics: Vec<String> = disk.tasks().into_iter().map(|task| task.topic).collect();
    let of_each = topics.iter().filter(|topic| *topic == "l5").count();
    assert_eq!(of_each, 3, "what is passed over takes no topic");
    life.end().await;
}

/// Cuts a life before or after one of its commits. What the dying life would still have done does not happen.
struct Cutting {
    inner: InlineWriter,
    passed: AtomicU64,
    cut_at: u64,
    dead: watch::Sender<bool>,
}

impl Cutting {
    fn is_cut(&self) -> bool {
        let number = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
        if number == self.cut_at {
            self.dead.send_replace(true);
        }
        *self.dead.borrow()
    }
}

impl Writer for Cutting {
    fn write(&self, write: Write) -> BoxFuture<'static, Result<Written, WriteError>> {
        if *self.dead.borrow() || self.is_cut() {
            return std::future::pending().boxed();
        }
        let answer = self.inner.write(write);
        // An inline writer commits when it is polled: here, so that the cut comes after it.
        let answer = answer.now_or_never().unwrap_or_else(|| Err(WriteError::Db(DbError::Fatal("not inline".into()))));
        if self.is_cut() {
            return std::future::pending().boxed();
        }
        std::future::ready(answer).boxed()
    }
}

/// Lives until the cut, then once more; whether the cut came, what is on the disk, and for which fires the command was asked.
async fn cut_and_go_on(source: TopicSource, may_ask_again: bool, cut_at: u64) -> (bool, Disk, ScheduleId, Vec<String>) {
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let accounts = vec![disk.account("a"), disk.account("b")];
    let id = disk.schedule(minutely("s", accounts, source));
    let seams = Arc::new(Script {
        may_ask_again,
        answers: Mutex::new(vec![Answer::Topics(Duration::from_millis(500))]),
        ..Script::plain(&clock)
    });
    let (dead, mut died) = watch::channel(false);
    let inner = InlineWriter::new(Arc::clone(&disk.backend));
    let writer = Arc::new(Cutting { inner, passed: AtomicU64::new(0), cut_at, dead });
    let life = Life::with(writer, &disk, &seams, &clock);
    let lived = tokio::time::timeout(Duration::from_millis(3_500 * 60), died.wait_for(|dead| *dead)).await;
    let is_cut = lived.is_ok();
    if !is_cut {
        life.end().await;
    }
    let next = Life::begin(&disk, &seams, &clock);
    let now = clock.now().utc.0;
    pass(6 * MINUTE + 30_000 - now).await;
    next.end().await;
    let asked = seams.asked.lock().unwrap().iter().map(|asked| asked.fire.clone()).collect();
    (is_cut, disk, id, asked)
}

#[actix::test]
async fn a_death_at_each_commit_of_a_fire_fires_nothing_twice_and_loses_nothing() {
    paused();
    let (mut cuts, mut repeats, mut losses) = (0, 0, 0);
    for (source, may_ask_again) in
        [(list(100, AtEnd::Stop), false), (file(), false), (command(), true), (command(), false)]
    {
        for cut_at in 1.. {
            let (is_cut, disk, id, asked) = cut_and_go_on(source.clone(), may_ask_again, cut_at).await;
            let about = format!("{} {may_ask_again}, cut at {cut_at}", source.kind());
            let fires = disk.fires(id);
            let dues: Vec<i64> = fires.iter().map(|fire| fire.due.0 / MINUTE).collect();
            assert_eq!(dues, [1, 2, 3, 4, 5, 6], "{about}: each due time once");
            let failed: Vec<&Fire> = fires.iter().filter(|fire| fire.state != FireState::Fired).collect();
            // A command that may not be asked again, cut between its intent and what it printed.
            let is_lost = matches!(source, TopicSource::Command { .. }) && !may_ask_again;
            assert!(failed.len() <= usize::from(is_lost), "{about}: {failed:#?}");
            let once: BTreeSet<&String> = asked.iter().collect();
            assert!(may_ask_again || once.len() == asked.len(), "{about}: asked twice: {asked:?}");
            repeats += asked.len() - once.len();
            losses += failed.len();
            for fire in &failed {
                assert_eq!(fire.state, FireState::Failed, "{about}");
                assert!(fire.why.as_deref().unwrap().contains("is lost"), "{about}: {:?}", fire.why);
            }
            let tasks = disk.tasks();
            assert_eq!(tasks.len(), 2 * (6 - failed.len()), "{about}: two accounts, a topic each");
            let topics: BTreeSet<&str> = tasks.iter().map(|task| task.topic.as_str()).collect();
            assert_eq!(topics.len(), tasks.len(), "{about}: no topic twice");
            if !matches!(source, TopicSource::Command { .. }) {
                let letter = &source.kind()[..1];
                let all: BTreeSet<String> = (0..12).map(|n| format!("{letter}{n}")).collect();
                assert_eq!(topics, all.iter().map(String::as_str).collect(), "{about}: none is skipped");
            }
            let of_fires: BTreeSet<&TaskId> = fires.iter().flat_map(|fire| &fire.tasks).collect();
            assert_eq!(of_fires, tasks.iter().map(|task| &task.id).collect(), "{about}: rows and tasks agree");
            if !is_cut {
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts > 40, "only {cuts} places");
    assert!(repeats > 0 && losses > 0, "the places between a command's intent and its topics are among them");
    tally::tell("schedule-deaths", &format!("{cuts} deaths at commits of fires, each due time fired once"));
}

#[actix::test]
async fn a_fire_that_finds_no_room_waits_for_it() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let id = disk.schedule(NewSchedule {
        misfire: Misfire::Once,
        ..minutely("s", vec![disk.account("a")], list(9, AtEnd::Stop))
    });
    let seams = Arc::new(Script { max_pending: 1, ..Script::plain(&clock) });
    let life = Life::begin(&disk, &seams, &clock);
    pass(30 * MINUTE).await;
    let fires = disk.fires(id);
    assert_eq!(fires.len(), 2, "{fires:#?}");
    assert_eq!((fires[0].state, fires[1].state), (FireState::Fired, FireState::Intended));
    assert!(
        fires[1].tries == 0 && fires[1].why.as_deref().unwrap().contains("1 tasks are unfinished"),
        "{:?}",
        fires[1]
    );
    assert_eq!(disk.named(id).cursor, 1, "it has taken nothing so far");
    // The task ends, and there is room.
    let env = contentd::store::write::Env {
        now: clock.now(),
        policy: Default::default(),
        draw: 0.5,
        who: "1:x".into(),
        is_late_piece_wanted: false,
        is_outage: false,
    };
    let event = contentd::task::Event::CancelRequested;
    let task_id = disk.tasks()[0].id.clone();
    let end = contentd::store::write::Transition {
        task_id,
        attempt: None,
        event,
        env,
        rendered: None,
        rules: Default::default(),
    };
    disk.write(Write::Transition(Box::new(end)));
    pass(11 * MINUTE).await;
    let fires = disk.fires(id);
    assert_eq!((fires[1].state, fires[1].due.0 / MINUTE), (FireState::Fired, 2));
    assert!(fires[2].missed > 30, "what passed while it waited is made up for once: {:?}", fires[2]);
    life.end().await;
}

#[actix::test]
async fn a_wait_for_room_costs_a_source_no_try() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let id = disk.schedule(NewSchedule { misfire: Misfire::Once, ..minutely("s", vec![disk.account("a")], file()) });
    let seams = Arc::new(Script { max_pending: 1, ..Script::plain(&clock) });
    let life = Life::begin(&disk, &seams, &clock);
    pass(3 * 60 * MINUTE).await;
    let waiting = disk.fires(id)[1].clone();
    assert_eq!((waiting.state, waiting.tries), (FireState::Intended, 0));
    let waits = waiting.wake.unwrap().since(clock.now().utc);
    assert!(waits <= Duration::from_secs(600), "ten minutes at most: {waits:?}");
    let read = std::mem::replace(&mut *seams.file.lock().unwrap(), Err("line 3: nonsense".into()));
    pass(11 * MINUTE).await;
    let failing = disk.fires(id)[1].clone();
    assert_eq!(failing.state, FireState::Intended, "its first failures are not its last: {:?}", failing.why);
    assert!((1..=5).contains(&failing.tries), "{failing:?}");
    *seams.file.lock().unwrap() = read;
    pass(11 * MINUTE).await;
    let again = disk.fires(id)[1].clone();
    assert_eq!(again.state, FireState::Intended);
    assert!(again.why.as_deref().unwrap().contains("1 tasks are unfinished"), "{:?}", again.why);
    life.end().await;
}

#[actix::test]
async fn due_times_follow_a_clock_that_is_set() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let mut new = minutely("s", vec![disk.account("a")], list(100, AtEnd::Stop));
    new.timing = Timing::Every { seconds: 3_600, anchor: Timestamp(0), zone: "UTC".into() };
    let hour = 60 * MINUTE;
    let id = disk.schedule(NewSchedule { misfire: Misfire::Once, next_due: Some(Timestamp(hour)), ..new });
    let seams = Script::new(&clock);
    let life = Life::begin(&disk, &seams, &clock);
    let dues = || -> Vec<i64> { disk.fires(id).iter().map(|fire| fire.due.0 / hour).collect() };
    pass(hour + MINUTE).await;
    assert_eq!(dues(), [1]);
    // Forward: from 1:01 to 4:31.
    seams.set_by.store(3 * hour + hour / 2, Ordering::Relaxed);
    pass(MINUTE).await;
    assert_eq!(dues(), [1, 4], "what it jumped over is made up for once");
    assert_eq!(disk.fires(id)[1].missed, 2);
    // Back to 1:02, as if it had been wrong: nothing that has fired fires again, and what has not, does.
    seams.set_by.store(0, Ordering::Relaxed);
    pass(2 * hour).await;
    assert_eq!(dues(), [1, 4, 2, 3]);
    pass(2 * hour).await;
    assert_eq!(dues(), [1, 4, 2, 3, 5]);
    // Years ahead, and back within a minute.
    seams.set_by.store(100_000 * hour, Ordering::Relaxed);
    pass(MINUTE).await;
    seams.set_by.store(0, Ordering::Relaxed);
    pass(hour).await;
    assert_eq!(dues()[5..], [100_005, 6], "a due time in a far future holds nothing up");
    life.end().await;
}

#[actix::test]
async fn a_fire_that_can_never_fit_is_given_up_after_a_day() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let accounts = vec![disk.account("a"), disk.account("b")];
    let id = disk.schedule(NewSchedule { misfire: Misfire::Once, ..minutely("s", accounts, list(9, AtEnd::Stop)) });
    let seams = Arc::new(Script { max_pending: 1, ..Script::plain(&clock) });
    let life = Life::begin(&disk, &seams, &clock);
    pass(23 * 60 * MINUTE).await;
    assert_eq!(disk.fires(id).len(), 1);
    pass(2 * 60 * MINUTE).await;
    let fires = disk.fires(id);
    assert_eq!((fires[0].state, fires[1].state), (FireState::Failed, FireState::Intended));
    assert!(fires[0].why.as_deref().unwrap().ends_with("for a day"), "{:?}", fires[0].why);
    assert_eq!(disk.named(id).cursor, 0, "no topic is lost");
    life.end().await;
}

#[actix::test]
async fn what_a_schedule_says_wrong_costs_no_topic() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let params = Params { tone: Some("forbidden".into()), ..Params::default() };
    let id = disk.schedule(NewSchedule { params, ..minutely("s", vec![disk.account("a")], list(9, AtEnd::Stop)) });
    let life = Life::begin(&disk, &Script::new(&clock), &clock);
    pass(3 * MINUTE + 1_000).await;
    let fires = disk.fires(id);
    assert!(fires.len() == 3 && fires.iter().all(|fire| fire.state == FireState::Failed), "{fires:#?}");
    assert!(fires[0].why.as_deref().unwrap().contains("tone: \"forbidden\""), "{:?}", fires[0].why);
    assert_eq!(disk.named(id).cursor, 0);
    life.end().await;
}

#[actix::test]
async fn a_source_that_gives_nothing_is_tried_again_and_given_up() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let id = disk.schedule(NewSchedule { misfire: Misfire::Once, ..minutely("s", vec![disk.account("a")], file()) });
    let seams = Script::new(&clock);
    *seams.file.lock().unwrap() = Err("line 3: nonsense".into());
    let life = Life::begin(&disk, &seams, &clock);
    pass(26 * MINUTE + 30_000).await;
    let first = disk.fires(id)[0].clone();
    assert_eq!((first.state, first.tries), (FireState::Failed, 5));
    assert!(first.why.unwrap().contains("line 3: nonsense; tried 6 times"));
    *seams.file.lock().unwrap() = Ok(vec!["one".into(), "refused one".into(), "one".into()]);
    pass(30 * MINUTE).await;
    let topics: Vec<String> = disk.tasks().into_iter().map(|task| task.topic).collect();
    assert_eq!(topics, ["one"], "once, and what is refused for itself does not come again");
    let states: Vec<FireState> = disk.fires(id).iter().map(|fire| fire.state).collect();
    assert_eq!(states.iter().filter(|state| **state == FireState::Failed).count(), 2, "{states:?}");
    assert_eq!(states.last(), Some(&FireState::Empty));
    life.end().await;
}

#[actix::test]
async fn a_command_whose_end_is_not_known_is_asked_again_only_where_that_is_allowed() {
    paused();
    for may_ask_again in [false, true] {
        for (printed, is_known) in [
            (Printed::Unknown("it took longer".into()), false),
            (Printed::Output(b"\xff".to_vec()), false),
            (Printed::Failed("exit 1".into()), true),
            (Printed::NotStarted("no such program".into()), true),
        ] {
            let (disk, clock) = (Disk::memory(), clock_at(0, 1));
            let id = disk.schedule(minutely("s", vec![disk.account("a")], command()));
            let answers = vec![Answer::Other(printed.clone()), Answer::Topics(Duration::ZERO)];
            let seams = Arc::new(Script { may_ask_again, answers: Mutex::new(answers), ..Script::plain(&clock) });
            let life = Life::begin(&disk, &seams, &clock);
            pass(MINUTE + 30_000).await;
            let fire = disk.fires(id)[0].clone();
            if may_ask_again || is_known {
                assert_eq!((fire.state, fire.tries, seams.asked()), (FireState::Intended, 1, 1), "{printed:?}");
                pass(MINUTE).await;
                let fire = disk.fires(id)[0].clone();
                assert_eq!(fire.state, FireState::Fired, "{printed:?}");
                let keys: BTreeSet<String> =
                    seams.asked.lock().unwrap().iter().map(|asked| asked.fire.clone()).collect();
                assert!(keys.contains(&fire.key));
            } else {
                assert_eq!((fire.state, seams.asked()), (FireState::Failed, 1), "{printed:?}");
            }
            life.end().await;
        }
    }
}

#[actix::test]
async fn a_list_that_is_worked_through_pauses_its_schedule_and_says_so() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let id = disk.schedule(minutely("s", vec![disk.account("a"), disk.account("b")], list(3, AtEnd::Stop)));
    let life = Life::begin(&disk, &Script::new(&clock), &clock);
    pass(10 * MINUTE).await;
    let schedule = disk.named(id);
    assert_eq!(schedule.paused_why.as_deref(), Some("its list of 3 topics is worked through"));
    let fires = disk.fires(id);
    assert_eq!(fires.len(), 2);
    assert_eq!(fires[1].why.as_deref(), Some("1 of 2 topics that were wanted"));
    // By hand there is nothing either.
    let now = clock.now().utc;
    let by_hand = ScheduleWrite::FireNow { schedule: id, key: "schedule/h".into(), who: "1:x".into(), now };
    disk.write(Write::Schedule(by_hand));
    life.actor.send(SchedulesChanged).await.unwrap();
    pass(1_000).await;
    let last = disk.fires(id).pop().unwrap();
    assert_eq!((last.kind, last.state), (FireKind::ByHand, FireState::Empty));
    life.end().await;
}

#[actix::test]
async fn a_disabled_account_is_passed_over() {
    paused();
    let directory = tempfile::tempdir().unwrap();
    let (disk, backend) = Disk::sqlite(&directory);
    let clock = clock_at(0, 1);
    let accounts = vec![disk.account("a"), disk.account("b")];
    let id = disk.schedule(minutely("s", accounts.clone(), list(100, AtEnd::Stop)));
    let life = Life::begin(&disk, &Script::new(&clock), &clock);
    let disable = |name: &str| {
        let sql = format!("UPDATE accounts SET is_enabled = 0 WHERE name = '{name}'");
        backend.lock().unwrap().connection().batch_execute(&sql).unwrap();
    };
    disable("a");
    pass(MINUTE + 1_000).await;
    let fire = disk.fires(id).pop().unwrap();
    assert_eq!((fire.state, fire.why.as_deref()), (FireState::Fired, Some("account a is disabled")));
    assert_eq!(
        disk.tasks().iter().map(|task| (task.account_id, task.topic.as_str())).collect::<Vec<_>>(),
        [(accounts[1], "l0")]
    );
    disable("b");
    pass(MINUTE).await;
    let fire = disk.fires(id).pop().unwrap();
    assert_eq!(
        (fire.state, fire.why.as_deref()),
        (FireState::Failed, Some("account a is disabled; account b is disabled"))
    );
    assert_eq!(disk.named(id).cursor, 1, "no topic is lost");
    life.end().await;
}

#[actix::test]
async fn fires_that_wait_for_a_turn_of_their_commands_hold_up_no_other_schedule() {
    paused();
    const MANY: usize = 150;
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let account = disk.account("a");
    let daily = |n: usize| {
        let mut new = minutely(&format!("c{n}"), vec![account], command());
        new.timing = Timing::Every { seconds: 86_400, anchor: Timestamp(MINUTE), zone: "UTC".into() };
        disk.schedule(new)
    };
    let ids: Vec<ScheduleId> = (0..MANY).map(daily).collect();
    let other = disk.schedule(minutely("other", vec![account], list(1_000, AtEnd::Stop)));
    let answers = vec![Answer::Topics(Duration::from_secs(300))];
    let seams = Arc::new(Script { answers: Mutex::new(answers), ..Script::plain(&clock) });
    let life = Life::begin(&disk, &seams, &clock);
    pass(4 * MINUTE + 30_000).await;
    let fires = disk.fires(other);
    assert_eq!(fires.len(), 4, "{fires:#?}");
    assert!(fires.iter().all(|fire| fire.state == FireState::Fired && fire.missed == 0), "{fires:#?}");
    assert_eq!(seams.asked(), 4, "each command holds a thread");
    let (waiting, asking): (Vec<Fire>, Vec<Fire>) =
        ids.iter().flat_map(|id| disk.fires(*id)).partition(|fire| fire.state == FireState::Intended);
    assert_eq!((waiting.len(), asking.len()), (MANY - 4, 4), "each is begun");
    assert!(asking.iter().all(|fire| fire.state == FireState::Asking), "{asking:#?}");
    assert!(waiting.iter().all(|fire| fire.tries == 0 && fire.why.is_none()), "{waiting:#?}");
    // Five minutes for four of them each, and some more.
    pass(i64::try_from(MANY.div_ceil(4)).unwrap() * 5 * MINUTE + 5 * MINUTE).await;
    let of_each: Vec<Vec<Fire>> = ids.iter().map(|id| disk.fires(*id)).collect();
    assert!(of_each.iter().all(|fires| fires.len() == 1 && fires[0].state == FireState::Fired), "{of_each:#?}");
    let asked: BTreeSet<String> = seams.asked.lock().unwrap().iter().map(|asked| asked.fire.clone()).collect();
    assert_eq!((asked.len(), seams.asked()), (MANY, MANY), "each once");
    life.end().await;
}

#[actix::test]
async fn a_zone_that_cannot_be_read_for_a_while_costs_no_fire() {
    paused();
    let directory = tempfile::tempdir().unwrap();
    let (disk, backend) = Disk::sqlite(&directory);
    let clock = clock_at(0, 1);
    let account = disk.account("a");
    let mut new = minutely("away", vec![account], list(100, AtEnd::Stop));
    new.timing = Timing::Every { seconds: 60, anchor: Timestamp(0), zone: "Europe/Atlantis".into() };
    let away = disk.schedule(new);
    let other = disk.schedule(minutely("other", vec![account], list(100, AtEnd::Stop)));
    let life = Life::begin(&disk, &Script::new(&clock), &clock);
    pass(5 * MINUTE + 30_000).await;
    let waiting = disk.named(away);
    assert_eq!((waiting.next_due, waiting.paused_why), (Some(Timestamp(MINUTE)), None), "a pause would last");
    assert_eq!((disk.fires(away).len(), disk.fires(other).len()), (0, 5), "it holds up nobody");
    // The files of the zone are there again, as far as the schedule can tell.
    let back = "UPDATE schedules SET timing = replace(timing, 'Europe/Atlantis', 'UTC')";
    backend.lock().unwrap().connection().batch_execute(back).unwrap();
    pass(MINUTE).await;
    let fires = disk.fires(away);
    let dues: Vec<i64> = fires.iter().map(|fire| fire.due.0 / MINUTE).collect();
    assert_eq!(dues, [1, 2, 3, 4, 5, 6], "what passed meanwhile is made up for as it says");
    assert!(fires.iter().all(|fire| fire.state == FireState::Fired), "{fires:#?}");
    life.end().await;
}

#[actix::test]
async fn a_drain_waits_for_the_command_in_hand_and_begins_nothing_more() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let id = disk.schedule(minutely("s", vec![disk.account("a")], command()));
    let answers = vec![Answer::Topics(Duration::from_secs(300))];
    let seams = Arc::new(Script { answers: Mutex::new(answers), ..Script::plain(&clock) });
    let life = Life::begin(&disk, &seams, &clock);
    pass(MINUTE + 30_000).await;
    assert_eq!(disk.fires(id)[0].state, FireState::Asking);
    let began = clock.now().utc;
    life.end().await;
    assert!(clock.now().utc.since(began) > Duration::from_secs(200));
    let fires = disk.fires(id);
    assert_eq!((fires.len(), fires[0].state), (1, FireState::Fired));
    pass(60 * MINUTE).await;
    assert_eq!(disk.fires(id).len(), 1);
}

/// The daemon's own way from a schedule to pieces.
fn real_seams(rig: &Rig) -> DaemonBackend {
    let logs = GeneratorLogs::new(std::path::Path::new("/nonexistent"));
    let schedules = ScheduleSettings::new(&SchedulesConfig::default(), std::path::Path::new("/nonexistent"), &logs);
    let settings = Settings {
        schedules: Arc::new(schedules),
        defaults: SubmitDefaults {
            generator: None,
            priority: 4,
            time_limit_s: 1_800,
            max_retries: 2,
            auto_approve: true,
            max_pending: 100_000,
        },
        is_four_eyes: false,
        keep_finished: None,
        effective: ConfigReply { files: vec![], config: serde_json::Value::Null },
    };
    let (settings, settings_rx) = watch::channel(Arc::new(settings));
    let (stopping, stopping_rx) = watch::channel(false);
    std::mem::forget((settings, stopping));
    let none = std::path::PathBuf::from("/nonexistent");
    let installation = Installation::new(none.clone(), none, None, Arc::new(|| None), Arc::new(Default::default));
    let (commands, _) = tokio::sync::mpsc::unbounded_channel();
    DaemonBackend::new(
        rig.world.clone(),
        rig.supervisor.clone(),
        settings_rx,
        commands,
        stopping_rx,
        installation,
        logs,
    )
}

#[actix::test]
async fn scheduled_tasks_run_like_any_other_and_a_panic_of_the_actor_is_survived() {
    let rig = Rig::start(Setup::default()).await;
    let status = rig.status().await;
    assert!(status.silent().is_empty(), "nobody misses schedules that were not opened");
    let now = rig.now();
    let mut new = minutely("s", vec![AccountId(1), AccountId(2)], list(40, AtEnd::Stop));
    new.timing = Timing::Every { seconds: 60, anchor: now, zone: "UTC".into() };
    (new.next_due, new.params.tone) = (Some(now.plus(Duration::from_secs(60))), Some("dry".into()));
    rig.world.store.write(Write::Schedule(ScheduleWrite::Add(Box::new(new)))).await.unwrap();
    rig.supervisor.send(OpenSchedules(Arc::new(real_seams(&rig)))).await.unwrap();
    for n in 1..=5 {
        rig.pass(Duration::from_millis(37_000 + n * 1_700)).await;
        let schedules = rig.world.peers.borrow().schedules.clone().unwrap();
        schedules.do_send(Crash);
        rig.until("it was rebuilt", async |rig| rig.status().await.restarts == n).await;
    }
    rig.until("the list is worked through", async |rig| {
        rig.db.all_tasks().len() == 40 && rig.db.all_tasks().iter().all(|task| task.state == TaskState::Completed)
    })
    .await;
    let tasks = rig.db.all_tasks();
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
    rig.assert_paid_once(&ids);
    let topics: BTreeSet<&str> = tasks.iter().map(|task| task.topic.as_str()).collect();
    assert_eq!(topics.len(), 40);
    for task in &tasks {
        assert_eq!(
            (task.tone.as_deref(), task.priority, task.max_retries),
            (Some("dry"), 4, 2),
            "defaults are filled in"
        );
        assert_eq!(task.submitted_by, "1000:ada", "as whoever added it");
        assert!(task.key.as_deref().unwrap().starts_with("schedule/1/"));
    }
    let status = rig.status().await;
    assert!(status.schedules.is_some() && status.silent().is_empty() && !status.silent().contains(&Child::Schedules));
}
