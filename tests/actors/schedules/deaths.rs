//! The ScheduleActor's own death: at every commit of a fire, and by a panic under the real supervisor with the daemon's own way of making
//! tasks.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contentd::actors::supervisor::{Child, Crash, OpenSchedules};
use contentd::backend::doctor::Installation;
use contentd::backend::{DaemonBackend, ScheduleSettings, Settings, SubmitDefaults};
use contentd::config::SchedulesConfig;
use contentd::control::api::ConfigReply;
use contentd::generator::log::GeneratorLogs;
use contentd::schedule::{AtEnd, Fire, FireState, ScheduleId, Timing, TopicSource};
use contentd::store::write::{ScheduleWrite, Write, WriteError, Written};
use contentd::store::{DbError, InlineWriter, Writer};
use contentd::task::{AccountId, Clock, TaskId, TaskState};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::rig::{Rig, Setup};
use crate::tally;

use super::world::*;

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
