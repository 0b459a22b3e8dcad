//! Calls about schedules, and the seams through which the ScheduleActor makes tasks of topics.
//!
//! A scheduled task is judged by the same code as a submitted one: [`DaemonBackend::new_task`]. It is submitted as whoever
//! added the schedule, so that nobody approves their own by letting a clock do it.

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::{DaemonBackend, errors};
use crate::actors::schedule::{Entry, SchedulesChanged, Seams};
use crate::config::{SchedulesConfig, schedule_faults};
use crate::control::api::{
    AllFaults, Answer, ApiError, CheckedSchedule, CheckedSubmission, EmptyReply, FireReply, FiresReply, Peer,
    ScheduleCalls, ScheduleReply, ScheduleView, SchedulesReply,
};
use crate::control::topics::{digest, entries};
use crate::generator::command::Places;
use crate::generator::command::topics::{Printed, TopicCommand, Wanted};
use crate::generator::log::GeneratorLogs;
use crate::schedule::{Beat, NewSchedule, Schedule, ScheduleId, Timing, Topic, TopicSource};
use crate::store::query::Page;
use crate::store::write::{
    Account, NewTask, ScheduleError, ScheduleWrite, ScheduleWritten, Write, WriteError, Written,
};
use crate::task::{GeneratorName, Timestamp};
use crate::text::counted;
use crate::zones;

/// How many times `show` shows.
const TIMES_SHOWN: usize = 5;

/// Where topics may come from, of the current configuration.
pub struct ScheduleSettings {
    directories: Arc<[PathBuf]>,
    commands: BTreeMap<String, Arc<TopicCommand>>,
    places: Places,
}

impl std::fmt::Debug for ScheduleSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Places hold an environment.
        f.debug_struct("ScheduleSettings").field("directories", &self.directories).finish_non_exhaustive()
    }
}

impl ScheduleSettings {
    /// Of a configuration.
    pub fn new(config: &SchedulesConfig, state_dir: &Path, logs: &GeneratorLogs) -> Self {
        Self {
            directories: config.topic_directories.clone().into(),
            commands: config.topic_sources.clone(),
            places: Places::of_this_process(state_dir.to_owned(), logs.clone()),
        }
    }

    /// The names of the commands.
    pub(super) fn topic_sources(&self) -> BTreeSet<String> {
        self.commands.keys().cloned().collect()
    }

    /// What is named and is not there, a line each; nothing is called. Blocks.
    pub fn faults(&self) -> Vec<String> {
        schedule_faults(&self.directories, &self.commands, &self.places)
    }
}

/// What the store refuses about schedules.
pub(super) fn of_schedule(error: ScheduleError) -> ApiError {
    match error {
        ScheduleError::NotFound(id) => ApiError::ScheduleNotFound { schedule: id.to_string() },
        ScheduleError::Exists(name) => ApiError::ScheduleExists { name },
        ScheduleError::UnderWay { schedule, fire } => {
            ApiError::FireUnderWay { schedule: schedule.to_string(), fire_id: fire.0 }
        }
        ScheduleError::TooMany(count) => {
            ApiError::invalid("name", &format!("{count} schedules"), "fewer schedules: remove some")
        }
        error @ (ScheduleError::Stale(_) | ScheduleError::NoFire(_) | ScheduleError::Illegal { .. }) => {
            ApiError::internal(error)
        }
    }
}

impl Seams for DaemonBackend {
    fn make(&self, who: &str, wanted: Vec<(Account, Topic, String)>) -> Vec<Result<NewTask, ApiError>> {
        let settings = self.settings.borrow().clone();
        let now = self.world.clock.now().utc;
        let peer = peer_of(who);
        let make = |(account, topic, key): (Account, Topic, String)| {
            let submission = submission(&account, topic, key);
            let accounts = BTreeMap::from([(submission.account.clone(), Some(account))]);
            self.new_task(&peer, submission, &accounts, &settings, now).map_err(|fault| fault.error)
        };
        wanted.into_iter().map(make).collect()
    }

    fn max_pending(&self) -> u64 {
        self.settings.borrow().defaults.max_pending
    }

    fn read_file(&self, path: String) -> BoxFuture<'static, Result<Vec<Entry>, String>> {
        let directories = Arc::clone(&self.settings.borrow().schedules.directories);
        let read = move || {
            let contents = files::read(&directories, Path::new(&path))?;
            let topics = entries(&path, &contents)?;
            Ok(topics.into_iter().map(|topic| (topic.clone(), digest(&topic))).collect())
        };
        async move {
            let read = tokio::task::spawn_blocking(read).await;
            read.unwrap_or_else(|error| Err(format!("the file was not read: {error}")))
        }
        .boxed()
    }

    fn may_ask_again(&self, command: &str) -> Option<bool> {
        self.settings.borrow().schedules.commands.get(command).map(|command| command.is_idempotent)
    }

    fn clock_was_set_by(&self) -> i64 {
        (self.installation.clock_jump)().unwrap_or(0)
    }

    fn ask(&self, command: &str, wanted: Wanted) -> BoxFuture<'static, Printed> {
        let settings = Arc::clone(&self.settings.borrow().schedules);
        let Some(found) = settings.commands.get(command).cloned() else {
            let why = format!("there is no command {command:?} any more");
            return std::future::ready(Printed::NotStarted(why)).boxed();
        };
        found.ask(settings.places.clone(), wanted).boxed()
    }
}

/// Whoever added a schedule, as their submits name them.
fn peer_of(who: &str) -> Peer {
    let (uid, name) = who.split_once(':').unwrap_or(("", who));
    // 65534 is nobody: a label that we did not write is nobody's.
    let uid = uid.parse().unwrap_or(65534);
    Peer { uid, gid: uid, pid: None, name: name.to_owned() }
}

fn submission(account: &Account, topic: Topic, key: String) -> CheckedSubmission {
    let params = topic.params;
    CheckedSubmission {
        account: account.id.to_string(),
        topic: topic.topic,
        requirements: params.requirements,
        keywords: params.keywords.unwrap_or_default(),
        category: params.category,
        tone: params.tone,
        priority: params.priority,
        time_limit_s: params.time_limit_s,
        max_retries: params.max_retries,
        auto_approve: params.auto_approve,
        generator: params.generator.map(GeneratorName),
        key: Some(key),
        delay_s: 0,
    }
}

impl DaemonBackend {
    async fn schedule(&self, name: &str) -> Result<Schedule, ApiError> {
        let asked = name.to_owned();
        let found = self.read(move |queries| queries.find_schedule(&asked)).await?;
        found.ok_or_else(|| ApiError::ScheduleNotFound { schedule: name.to_owned() })
    }

    async fn write_schedule(&self, write: ScheduleWrite) -> Result<ScheduleWritten, ApiError> {
        self.refuse_while_stopping()?;
        let written = match self.world.store.write(Write::Schedule(write)).await {
            Ok(Written::Schedule(written)) => *written,
            Ok(_) => return Err(ApiError::internal("the store gave the answer of another write")),
            Err(WriteError::Schedule(error)) => return Err(of_schedule(error)),
            Err(error) => return Err(errors::of_write(error, "schedule")),
        };
        if let Some(actor) = self.world.peers.borrow().schedules.clone() {
            actor.do_send(SchedulesChanged);
        }
        Ok(written)
    }

    async fn changed(&self, write: ScheduleWrite) -> Result<ScheduleReply, ApiError> {
        match self.write_schedule(write).await? {
            ScheduleWritten::Schedule(schedule) => Ok(self.shown(&schedule)),
            _ => Err(ApiError::internal("the store gave the answer of another write")),
        }
    }

    fn shown(&self, schedule: &Schedule) -> ScheduleReply {
        ScheduleReply { schedule: ScheduleView::of(schedule, TIMES_SHOWN, self.wall()) }
    }

    /// What the wall clock shows.
    fn wall(&self) -> Timestamp {
        Timestamp(self.world.clock.now().utc.0.saturating_add(self.clock_was_set_by()))
    }

    fn next_due(&self, timing: &Timing) -> Result<Timestamp, ApiError> {
        let beat = Beat::of(timing, zones::named);
        let beat = beat.map_err(|error| ApiError::invalid("zone", timing.zone(), error.to_string()))?;
        let never = || ApiError::invalid("cron", "", "an expression that names a time in the next nine years");
        beat.next_after(self.wall()).ok_or_else(never)
    }

    async fn add_schedule(
        &self,
        peer: &Peer,
        asked: CheckedSchedule,
        dry_run: bool,
    ) -> Result<ScheduleReply, ApiError> {
        self.refuse_while_stopping()?;
        let now = self.world.clock.now().utc;
        let timing = match asked.timing {
            Timing::Every { seconds, zone, .. } => Timing::Every { seconds, anchor: self.wall(), zone },
            cron @ Timing::Cron { .. } => cron,
        };
        let mut faults = AllFaults::default();
        let (mut accounts, mut first) = (Vec::with_capacity(asked.accounts.len()), None);
        for name in &asked.accounts {
            let Some(account) = faults.but(self.account(name).await) else { continue };
            if accounts.contains(&account.id) {
                let cure = "each account once: it has as many topics of each fire as `topics` says";
                faults.but::<()>(Err(ApiError::invalid("accounts", name, cure)));
                continue;
            }
            accounts.push(account.id);
            first.get_or_insert(account);
        }
        let next_due = faults.but(self.next_due(&timing));
        faults.but(self.judge_source(&asked.source).await);
        let (Some(next_due), Some(first)) = (next_due, first) else {
            faults.told()?;
            return Err(ApiError::internal("a schedule was refused without a fault"));
        };
        let new = NewSchedule {
            name: asked.name,
            timing,
            accounts,
            topics_each: asked.topics_each,
            source: asked.source,
            params: asked.params,
            misfire: asked.misfire,
            next_due: (!asked.is_paused).then_some(next_due),
            who: peer.label(),
            now,
        };
        faults.but(self.judge_tasks(&new, &first));
        faults.told()?;
        if !dry_run {
            return self.changed(ScheduleWrite::Add(Box::new(new))).await;
        }
        let name = new.name.clone();
        if self.read(move |queries| queries.find_schedule(&name)).await?.is_some_and(|found| found.name == new.name) {
            return Err(ApiError::ScheduleExists { name: new.name });
        }
        Ok(self.shown(&as_it_would_stand(new)))
    }

    /// Judges what its tasks would be submitted with, by the topics that are there or by one that is not.
    fn judge_tasks(&self, new: &NewSchedule, account: &Account) -> Result<(), ApiError> {
        let topics = match &new.source {
            TopicSource::List { topics, .. } => topics.clone(),
            TopicSource::File { .. } | TopicSource::Command { .. } => {
                vec![Topic { topic: "a topic".to_owned(), ..Topic::default() }]
            }
        };
        // Disabled accounts are passed over at a fire; a schedule may wait for one.
        let account = Account { is_enabled: true, ..account.clone() };
        let topics = topics.into_iter().map(|topic| {
            let topic = Topic { params: topic.params.or(&new.params), ..topic };
            (account.clone(), topic, String::new())
        });
        self.make(&new.who, topics.collect()).into_iter().find_map(Result::err).map_or(Ok(()), Err)
    }

    async fn judge_source(&self, source: &TopicSource) -> Result<(), ApiError> {
        match source {
            TopicSource::List { .. } => Ok(()),
            TopicSource::File { path, .. } => {
                let read = self.read_file(path.clone()).await;
                read.map(|_| ()).map_err(|cure| ApiError::invalid("file", path, cure))
            }
            TopicSource::Command { name } if self.may_ask_again(name).is_some() => Ok(()),
            TopicSource::Command { name } => {
                let known: Vec<String> = self.settings.borrow().schedules.commands.keys().cloned().collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let cure = format!("a command of the configuration, [topic_sources.NAME]; these are: {known}");
                Err(ApiError::invalid("command", name, cure))
            }
        }
    }

    async fn run_schedule(&self, peer: &Peer, name: &str) -> Result<FireReply, ApiError> {
        let schedule = self.schedule(name).await?;
        refuse_at_end(&schedule)?;
        let schedule = schedule.id;
        let mut random = [0; 8];
        self.world.entropy.fill(&mut random);
        let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = format!("{}{schedule}/by-hand-{random}", crate::schedule::fire::KEY_PREFIX);
        let (who, now) = (peer.label(), self.world.clock.now().utc);
        match self.write_schedule(ScheduleWrite::FireNow { schedule, key, who, now }).await? {
            ScheduleWritten::Fire(fire) => Ok(FireReply { fire: fire.as_ref().into() }),
            _ => Err(ApiError::internal("the store gave the answer of another write")),
        }
    }

    async fn pause_schedule(&self, peer: &Peer, name: &str, reason: Option<String>) -> Result<ScheduleReply, ApiError> {
        let schedule = self.schedule(name).await?.id;
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let why = format!("{} paused it{reason}", peer.label());
        self.changed(ScheduleWrite::Pause { schedule, why, now: self.world.clock.now().utc }).await
    }

    async fn resume_schedule(&self, name: &str) -> Result<ScheduleReply, ApiError> {
        let schedule = self.schedule(name).await?;
        refuse_at_end(&schedule)?;
        let next_due = self.next_due(&schedule.timing)?;
        let now = self.world.clock.now().utc;
        self.changed(ScheduleWrite::Resume { schedule: schedule.id, next_due, now }).await
    }
}

/// A list at its end brings nothing more: its schedule would submit nothing, raise an alarm and pause once more.
fn refuse_at_end(schedule: &Schedule) -> Result<(), ApiError> {
    let TopicSource::List { topics, .. } = &schedule.source else { return Ok(()) };
    if !schedule.is_worked_through() {
        return Ok(());
    }
    let name = &schedule.name;
    let list = counted(topics.len() as u64, "topic", "topics");
    let cure = format!(
        "its list of {list} is worked through, so it has nothing to submit: `contentctl schedule remove {name}`, then add it with \
         another list, or with --at-end again"
    );
    Err(ApiError::invalid("schedule", name, cure))
}

fn as_it_would_stand(new: NewSchedule) -> Schedule {
    Schedule {
        id: ScheduleId(0),
        name: new.name,
        timing: new.timing,
        accounts: new.accounts,
        topics_each: new.topics_each,
        source: new.source,
        params: new.params,
        misfire: new.misfire,
        cursor: 0,
        paused_why: new.next_due.is_none().then(|| "it was added so".to_owned()),
        next_due: new.next_due,
        created_by: new.who,
        created_at: new.now,
        updated_at: new.now,
    }
}

impl ScheduleCalls for DaemonBackend {
    fn schedule_add(&self, peer: Peer, schedule: CheckedSchedule, dry_run: bool) -> Answer<ScheduleReply> {
        self.answer(move |this| async move { this.add_schedule(&peer, schedule, dry_run).await })
    }

    fn schedule_list(&self, _: Peer) -> Answer<SchedulesReply> {
        self.answer(|this| async move {
            let found = this.read(|queries| queries.schedules()).await?;
            let now = this.wall();
            Ok(SchedulesReply { schedules: found.iter().map(|one| ScheduleView::of(one, 1, now)).collect() })
        })
    }

    fn schedule_get(&self, _: Peer, schedule: String) -> Answer<ScheduleReply> {
        self.answer(|this| async move { Ok(this.shown(&this.schedule(&schedule).await?)) })
    }

    fn schedule_run(&self, peer: Peer, schedule: String) -> Answer<FireReply> {
        self.answer(|this| async move { this.run_schedule(&peer, &schedule).await })
    }

    fn schedule_pause(&self, peer: Peer, schedule: String, reason: Option<String>) -> Answer<ScheduleReply> {
        self.answer(|this| async move { this.pause_schedule(&peer, &schedule, reason).await })
    }

    fn schedule_resume(&self, _: Peer, schedule: String) -> Answer<ScheduleReply> {
        self.answer(|this| async move { this.resume_schedule(&schedule).await })
    }

    fn schedule_remove(&self, _: Peer, schedule: String) -> Answer<EmptyReply> {
        self.answer(|this| async move {
            let schedule = this.schedule(&schedule).await?.id;
            this.write_schedule(ScheduleWrite::Remove { schedule }).await.map(|_| EmptyReply {})
        })
    }

    fn schedule_history(
        &self,
        _: Peer,
        schedule: String,
        limit: u32,
        offset: u32,
        before: Option<i64>,
    ) -> Answer<FiresReply> {
        self.answer(move |this| async move {
            let id = this.schedule(&schedule).await?.id;
            let found = this.read(move |queries| queries.fires(id, Page { limit, offset, before })).await?;
            Ok(FiresReply { fires: found.iter().map(Into::into).collect() })
        })
    }
}
