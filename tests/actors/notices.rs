//! Telling somebody: alarms, hooks and their outbox, over hours of paused time and over restarts.
//!
//! `CONTENTD_NOTICE_STEP_MS` says how far apart the moments of death are (5,000); 1,000 takes a minute.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contentd::actors::supervisor::Crash;
use contentd::generator::hooks::{Courier, Hook, Notices};
use contentd::notice::delivery::{DeliveryEnd, DeliveryState, Patience};
use contentd::notice::message::{Message, MessageKind};
use contentd::notice::rules::{Rule, Settings, Severity};
use contentd::schedule::{FireMove, Misfire, NewSchedule, Params, Timing, TopicSource};
use contentd::store::query::notice::NoticeQueries;
use contentd::store::write::{ScheduleWrite, ScheduleWritten, Write, Written};
use contentd::task::retry::Backoff;
use contentd::task::{AccountId, TaskState, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::rig::{Ask, Rig, Setup};
use super::tally;

const MINUTE: Duration = Duration::from_secs(60);
const GB: u64 = 1_000_000_000;

/// How a hook behaves, and what it was told.
#[derive(Default)]
struct Receiver {
    /// How long it takes.
    takes: Duration,
    /// So many runs fail first.
    fails: u32,
    /// Every run panics.
    panics: bool,
    /// The messages that it took, with those that it was given in the middle of a death.
    given: Vec<Message>,
    taken: Vec<Message>,
}

#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Receiver>>);

impl Scripted {
    fn behave(&self, change: impl FnOnce(&mut Receiver)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn taken(&self) -> Vec<Message> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).taken.clone()
    }

    fn kinds(&self) -> Vec<MessageKind> {
        self.taken().iter().map(|message| message.kind).collect()
    }

    fn given(&self) -> Vec<Message> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).given.clone()
    }
}

impl Courier for Scripted {
    fn deliver(&self, message: String) -> BoxFuture<'static, DeliveryEnd> {
        let receiver = Arc::clone(&self.0);
        let message: Message = serde_json::from_str(&message).expect("a message is JSON");
        async move {
            let (takes, is_failing) = {
                let mut receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
                receiver.given.push(message.clone());
                assert!(!receiver.panics, "a crash was asked for");
                let is_failing = receiver.fails > 0;
                receiver.fails = receiver.fails.saturating_sub(1);
                (receiver.takes, is_failing)
            };
            // As a real one is ended at its time limit.
            let limit = patience().timeout;
            sleep(takes.min(limit)).await;
            if takes > limit || is_failing {
                return DeliveryEnd::Failed("it did not work".into());
            }
            receiver.lock().unwrap_or_else(PoisonError::into_inner).taken.push(message);
            DeliveryEnd::Delivered
        }
        .boxed()
    }

    fn faults(&self) -> Vec<String> {
        Vec::new()
    }
}

fn patience() -> Patience {
    let retry = Backoff { initial: Duration::from_secs(5), factor: 2.0, max: 10 * MINUTE, jitter: 0.2 };
    Patience { timeout: Duration::from_secs(30), retry, give_up_after: 6 * 60 * MINUTE }
}

/// A daemon that watches its disk, and hooks that can be told what to do.
struct Watched {
    rig: Rig,
    disk: Arc<AtomicU64>,
    hooks: BTreeMap<&'static str, Scripted>,
}

impl Watched {
    async fn start(names: &[&'static str], change: impl FnOnce(&mut Settings)) -> Self {
        let disk = Arc::new(AtomicU64::new(5 * GB));
        let hooks: BTreeMap<_, _> = names.iter().map(|name| (*name, Scripted::default())).collect();
        let mut settings = Settings::default();
        change(&mut settings);
        let hook = |(name, courier): (&&'static str, &Scripted)| {
            let courier = Arc::new(courier.clone()) as Arc<dyn Courier>;
            (name.to_string(), Hook { patience: patience(), least: Severity::Warning, courier })
        };
        let free = Arc::clone(&disk);
        let notices = Notices {
            settings: Some(Arc::new(settings)),
            hooks: hooks.iter().map(hook).collect(),
            host: "host".into(),
            disk_free: Some(Arc::new(move || Some(free.load(Ordering::SeqCst)))),
        };
        let rig = Rig::start(Setup { notices, ..Setup::default() }).await;
        Self { rig, disk, hooks }
    }

    fn disk_is(&self, free: u64) {
        self.disk.store(free, Ordering::SeqCst);
    }

    fn hook(&self, name: &str) -> &Scripted {
        &self.hooks[name]
    }

    fn crash(&self) {
        self.rig.world.peers.borrow().notice.clone().unwrap().do_send(Crash);
    }

    async fn restart(self) -> Self {
        Self { rig: self.rig.restart().await, disk: self.disk, hooks: self.hooks }
    }

    /// Everything that was made stands in the outbox of every hook, and was taken but for what waits.
    fn assert_outbox(&self) {
        for story in self.rig.db.notices(1_000).unwrap() {
            for delivery in &story.deliveries {
                let took = self.hooks[delivery.hook.as_str()].taken();
                let is_taken = took.iter().any(|message| message.id == story.notice.id);
                assert!(is_taken || delivery.state != DeliveryState::Delivered, "{delivery:?} was never taken");
            }
        }
    }
}

#[actix::test]
async fn a_backlog_is_told_once_and_so_is_its_end() {
    let watched = Watched::start(&["mail"], |_| {}).await;
    let rig = &watched.rig;
    rig.pause(None, None).await;
    let ids = rig.submit_all((0..60).map(|n| Ask::about(format!("{n}")))).await;
    rig.pass(4 * MINUTE).await;
    assert_eq!(watched.hook("mail").taken(), [], "not for long enough");
    rig.pass(50 * MINUTE).await;
    let told = watched.hook("mail").taken();
    assert_eq!((told.len(), told[0].alarm.as_str(), told[0].kind), (1, "backlog", MessageKind::Firing));
    assert_eq!((told[0].value, told[0].limit, told[0].host.as_str()), (60.0, 50.0, "host"));
    // After an hour the oldest of them is another alarm.
    rig.pass(3 * 60 * MINUTE).await;
    assert_eq!(
        watched.hook("mail").taken()[1..].iter().map(|one| one.alarm.as_str()).collect::<Vec<_>>(),
        ["oldest_task"]
    );
    rig.resume(None, None).await;
    rig.until_all(&ids, TaskState::Completed).await;
    rig.pass(10 * MINUTE).await;
    let ends: Vec<String> =
        watched.hook("mail").taken()[2..].iter().map(|one| format!("{} {}", one.alarm, one.kind)).collect();
    assert_eq!(ends, ["backlog resolved", "oldest_task resolved"]);
    watched.assert_outbox();
    assert_eq!(rig.status().await.restarts, 0);
}

#[actix::test]
async fn what_flaps_is_told_once_in_its_cool_down() {
    let watched = Watched::start(&["mail"], |settings| {
        settings.cool_down = 30 * MINUTE;
    })
    .await;
    for _ in 0..60 {
        watched.disk_is(GB / 2);
        watched.rig.pass(3 * MINUTE).await;
        watched.disk_is(5 * GB);
        watched.rig.pass(3 * MINUTE).await;
    }
    let told = watched.hook("mail").taken();
    let times: Vec<jiff::Timestamp> = told
        .iter()
        .filter(|message| message.kind == MessageKind::Firing)
        .map(|message| message.at.parse().expect("a time"))
        .collect();
    // Six hours: once in each half hour, and in none twice.
    assert!((10..=12).contains(&times.len()), "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1].duration_since(pair[0]).as_secs() >= 30 * 60), "{times:?}");
    let mut is_told = false;
    for message in &told {
        assert_eq!(message.kind == MessageKind::Firing, !is_told, "each end has its beginning: {told:?}");
        is_told = !is_told;
    }
}

#[actix::test]
async fn trouble_is_looked_at_at_once_and_not_at_the_next_interval() {
    let watched = Watched::start(&["mail"], |settings| settings.interval = 12 * 60 * MINUTE).await;
    watched.rig.pass(MINUTE).await;
    watched.rig.script().behave(|behaviour| behaviour.down = Some("connection refused".into()));
    watched.rig.submit(Ask::about("nobody there")).await;
    watched.rig.pass(3 * MINUTE).await;
    let told = watched.hook("mail").taken();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].alarm.as_str(), told[0].severity), ("breaker/scripted", Severity::Critical));
    assert!(told[0].text.contains("connection refused"), "{}", told[0].text);
}

#[actix::test]
async fn a_schedule_that_submits_nothing_is_told_and_so_is_that_it_is_gone() {
    let watched = Watched::start(&["mail"], |_| {}).await;
    let rig = &watched.rig;
    let write = async |write: ScheduleWrite| match rig.world.store.write(Write::Schedule(write)).await.unwrap() {
        Written::Schedule(written) => *written,
        other => panic!("{other:?}"),
    };
    let (now, due) = (rig.now(), rig.now().plus(MINUTE));
    let new = NewSchedule {
        name: "daily".into(),
        timing: Timing::Every { seconds: 60, anchor: now, zone: "UTC".into() },
        accounts: vec![AccountId(1)],
        topics_each: 1,
        source: TopicSource::Command { name: "news".into() },
        params: Params::default(),
        misfire: Misfire::Once,
        next_due: Some(due),
        who: "1000:ada".into(),
        now,
    };
    let ScheduleWritten::Schedule(schedule) = write(ScheduleWrite::Add(Box::new(new))).await else { panic!("added") };
    let schedule = schedule.id;
    rig.pass(3 * MINUTE).await;
    assert_eq!(watched.hook("mail").taken(), [], "it has not fired yet");
    let begin = ScheduleWrite::Begin {
        schedule,
        due,
        fires: vec![due],
        missed: 0,
        latest: due,
        why: None,
        next_due: Some(due.plus(60 * MINUTE)),
        now: rig.now(),
    };
    let ScheduleWritten::Begun(fires) = write(begin).await else { panic!("begun") };
    let (event, why, now) = (FireMove::GivenUp, "no such command".to_owned(), rig.now());
    write(ScheduleWrite::End { fire: fires[0].id, event, why, pauses: None, now }).await;
    rig.pass(3 * MINUTE).await;
    let told = watched.hook("mail").taken();
    assert_eq!((told.len(), told[0].alarm.as_str(), told[0].kind), (1, "schedule/daily", MessageKind::Firing));
    assert!(told[0].text.contains("no such command"), "{}", told[0].text);
    write(ScheduleWrite::Remove { schedule }).await;
    rig.pass(3 * MINUTE).await;
    assert_eq!(watched.hook("mail").kinds(), [MessageKind::Firing, MessageKind::Resolved]);
    watched.assert_outbox();
}

#[actix::test]
async fn a_hook_that_hangs_or_panics_slows_nothing_and_is_given_up() {
    let watched = Watched::start(&["hangs", "mail", "panics"], |_| {}).await;
    watched.hook("hangs").behave(|receiver| receiver.takes = 365 * 24 * 60 * MINUTE);
    watched.hook("panics").behave(|receiver| receiver.panics = true);
    let rig = &watched.rig;
    watched.disk_is(0);
    rig.until("the good one is told", async |_| watched.hook("mail").taken().len() == 1).await;
    assert!(rig.elapsed_ms() < 130_000, "at once: {} ms", rig.elapsed_ms());
    let began = rig.elapsed_ms();
    let ids = rig.submit_all((0..20).map(|n| Ask::about(format!("{n}")))).await;
    rig.until_all(&ids, TaskState::Completed).await;
    assert!(rig.elapsed_ms() - began < 5 * 60_000, "and tasks go on");
    rig.pass(9 * 60 * MINUTE).await;
    for name in ["hangs", "panics"] {
        let tries = watched.hook(name).given().len();
        assert!((20..=60).contains(&tries), "{name}: {tries} tries in six hours, with pauses that grow");
        assert_eq!(watched.hook(name).taken(), []);
    }
    let outbox = rig.db.outbox(Timestamp(0)).unwrap();
    assert_eq!(outbox.given_up.keys().collect::<Vec<_>>(), ["hangs", "panics"]);
    assert!(outbox.waiting.is_empty());
    assert!(!super::rig::logged("was given up").is_empty());
    assert_eq!(rig.status().await.restarts, 0, "no actor died of it");
}

#[actix::test]
async fn messages_wait_in_order_behind_one_that_fails() {
    let watched = Watched::start(&["mail"], |settings| {
        settings.rules.get_mut(&Rule::Held).unwrap().lasting = Duration::ZERO;
    })
    .await;
    watched.hook("mail").behave(|receiver| receiver.fails = 4);
    watched.disk_is(0);
    watched.rig.pass(3 * MINUTE).await;
    watched.disk_is(5 * GB);
    watched.rig.pass(30 * MINUTE).await;
    assert_eq!(watched.hook("mail").kinds(), [MessageKind::Firing, MessageKind::Resolved]);
    let given = watched.hook("mail").given();
    assert_eq!(given.len(), 6, "four tries that failed");
    assert!(given[..5].iter().all(|message| message == &given[0]), "each with the same message");
}

/// Alarms begin and end all the time, while the actor dies, or the whole daemon ends, at every moment of a delivery.
async fn told_over(deaths: &str, moments: impl Iterator<Item = u64>) -> (usize, usize) {
    let (mut messages, mut runs) = (0, 0);
    for moment in moments {
        let mut watched = Watched::start(&["mail"], |settings| settings.cool_down = MINUTE).await;
        watched.hook("mail").behave(|receiver| receiver.takes = Duration::from_secs(8));
        watched.disk_is(0);
        watched.rig.pass(Duration::from_millis(moment)).await;
        if deaths == "panic" {
            watched.crash();
        } else {
            watched = watched.restart().await;
        }
        watched.rig.pass(4 * MINUTE).await;
        watched.disk_is(5 * GB);
        watched.rig.pass(4 * MINUTE).await;
        // What was made is one beginning and one end; a death in the middle of a run may have had it twice.
        let made: Vec<MessageKind> =
            watched.rig.db.notices(10).unwrap().iter().rev().map(|story| story.notice.kind).collect();
        assert_eq!(made, [MessageKind::Firing, MessageKind::Resolved], "{deaths} after {moment} ms");
        let given = watched.hook("mail").given();
        let mut ids: Vec<&str> = given.iter().map(|message| message.id.as_str()).collect();
        ids.dedup();
        assert_eq!(ids.len(), 2, "{deaths} after {moment} ms: in order, each under one id: {given:?}");
        assert!(given.len() <= 3, "{deaths} after {moment} ms: once more at most: {given:?}");
        let outbox = watched.rig.db.outbox(Timestamp(0)).unwrap();
        assert!(outbox.waiting.is_empty() && outbox.given_up.is_empty(), "{deaths} after {moment} ms: not never");
        watched.assert_outbox();
        messages += 2;
        runs += given.len();
    }
    (messages, runs)
}

#[actix::test]
async fn a_death_at_any_moment_tells_at_most_once_more_and_never_not_at_all() {
    // The alarm fires after a minute or two, and the hook takes 8 s.
    let step = std::env::var("CONTENTD_NOTICE_STEP_MS").map_or(5_000, |text| text.parse().expect("milliseconds"));
    let moments = || (55_000..135_000).step_by(step);
    let panics = told_over("panic", moments()).await;
    let restarts = told_over("restart", moments()).await;
    let (messages, runs) = (panics.0 + restarts.0, panics.1 + restarts.1);
    assert!(runs > messages, "some deaths came in the middle of a run");
    tally::tell("notice-1-deaths", &format!("{messages} messages told over {} deaths, in {runs} runs", messages / 2));
}

#[actix::test]
async fn a_hook_that_is_gone_from_the_configuration_gets_nothing_more() {
    let watched = Watched::start(&["mail"], |_| {}).await;
    watched.hook("mail").behave(|receiver| receiver.fails = 1_000);
    watched.disk_is(0);
    watched.rig.pass(3 * MINUTE).await;
    let Watched { rig, disk: _disk, hooks } = watched;
    let mut setup = rig.notices();
    setup.hooks.clear();
    let rig = rig.restart_with(setup).await;
    rig.pass(MINUTE).await;
    let tries = hooks["mail"].given().len();
    assert_eq!(rig.db.outbox(Timestamp(0)).unwrap().given_up.len(), 1);
    rig.pass(60 * MINUTE).await;
    assert_eq!(hooks["mail"].given().len(), tries);
}
