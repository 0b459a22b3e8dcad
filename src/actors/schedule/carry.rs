//! Carries out one step after the other for one schedule: begins what is due, gets topics, submits their tasks.
//!
//! Every step ends with a commit, and after each the fire's row says how to go on, so a death at any point is an ordinary
//! one. `Err` means that nothing could be written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use log::Level;
use tokio::sync::{Semaphore, TryAcquireError};

use super::{Seams, World, beat, on_thread, plan, write};
use crate::actors::queue::QueueChanged;
use crate::control::api::ApiError;
use crate::control::topics::printed;
use crate::events::{About, Kind};
use crate::generator::command::topics::{Printed, Wanted};
use crate::schedule::fire::{MOST_TRIES, wait_after, wait_for_room};
use crate::schedule::topics::{dealt, from_file, from_list};
use crate::schedule::{AtEnd, Fire, FireMove, FireState, Misfire, Plan, Schedule, TimingError, Topic, TopicSource};
use crate::store::DbError;
use crate::store::write::{Account, NewTask, ScheduleWrite, ScheduleWritten, SubmittedTask, Taken, WriteError};
use crate::task::AccountId;
use crate::tell;
use crate::text::counted;
use crate::zones;

/// How long a fire waits for room in the queue.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What is to be done.
pub(super) enum Work {
    /// Begin what is due.
    Begin(Box<Schedule>),
    /// Go on with a fire.
    GoOn(Box<Fire>),
}

/// What came of it.
pub(super) enum Ended {
    /// What was due is begun, or is not due after all.
    Begun,
    /// Tasks were submitted.
    Fired,
    /// The rows say how to go on.
    Noted,
    /// It needs a turn to call a command, and there is none now: its row is as it was.
    NoTurn,
    /// The schedule's zone cannot be read, for now or for ever: nothing was begun.
    NoZone(String),
}

pub(super) struct Carry {
    pub(super) world: World,
    pub(super) seams: Arc<dyn Seams>,
    /// Turns to call a command.
    pub(super) commands: Arc<Semaphore>,
}

/// Topics of a fire, and what was taken for them.
struct Gathered {
    topics: Vec<Topic>,
    taken: Taken,
    notes: Vec<String>,
}

/// How the getting of topics ended otherwise.
enum Instead {
    /// Nothing is left to be done: the row says why.
    Done,
    /// Others have every turn to call a command.
    NoTurn,
    /// There is none.
    Empty { why: String, pauses: Option<String> },
    /// Not now.
    Later(String),
    /// Not at all.
    Never(String),
}

/// Whom a fire is for.
struct Accounts {
    enabled: Vec<Account>,
    notes: Vec<String>,
}

impl Carry {
    pub(super) async fn carry_out(&self, work: Work) -> Result<Ended, WriteError> {
        match work {
            Work::Begin(schedule) => self.begin(*schedule).await,
            Work::GoOn(fire) => {
                let id = fire.schedule.to_string();
                let schedule = self.world.store.read(move |queries| queries.find_schedule(&id)).await?;
                // A name that looks like the number of a schedule that is gone.
                match schedule.filter(|schedule| schedule.id == fire.schedule) {
                    Some(schedule) => self.go_on(&schedule, *fire).await,
                    None => Ok(Ended::Noted),
                }
            }
        }
    }

    async fn begin(&self, schedule: Schedule) -> Result<Ended, WriteError> {
        let (Some(due), now) = (schedule.next_due, self.world.clock.now().utc) else { return Ok(Ended::Begun) };
        let wall = super::moved_by(now, self.seams.clock_was_set_by());
        let (reckoned, misfire) = (schedule.clone(), schedule.misfire);
        let planned = on_thread(move || beat(&reckoned).map(|beat| plan(&beat, misfire, due, wall))).await;
        let planned = match planned {
            Some(Ok(Some(planned))) => planned,
            // It is not due after all.
            Some(Ok(None)) => return Ok(Ended::Begun),
            // The daemon is going down, or reckoning has a bug: not again at once.
            None => return Err(WriteError::Db(DbError::Refused("its due times could not be reckoned".into()))),
            // Its files may be there again in a moment: a pause would last until somebody sees it.
            Some(Err(TimingError::Zone(zone))) => {
                return Ok(Ended::NoZone(format!(
                    "schedule {} is due and begins nothing: {}",
                    schedule.name,
                    zones::missing(&zone)
                )));
            }
            Some(Err(error @ (TimingError::Cron(_) | TimingError::Interval(_)))) => {
                let why = format!("it cannot be reckoned with: {error}");
                tell!(Level::Error, Kind::ScheduleFailed, "schedule {} is paused: {why}", schedule.name);
                return write(&self.world, ScheduleWrite::Pause { schedule: schedule.id, why, now })
                    .await
                    .map(|_| Ended::Begun);
            }
        };
        let Plan { fires, missed, is_counted, latest, next_due } = planned;
        let why = (missed > 0).then(|| missed_words(missed, is_counted, schedule.misfire));
        let told = why.clone();
        let begin = ScheduleWrite::Begin { schedule: schedule.id, due, fires, missed, latest, why, next_due, now };
        if let (Some(ScheduleWritten::Begun(_)), Some(why)) = (write(&self.world, begin).await?, told) {
            tell!(Level::Warn, Kind::ScheduleMissed, "schedule {}: {why}", schedule.name);
        }
        Ok(Ended::Begun)
    }

    async fn go_on(&self, schedule: &Schedule, mut fire: Fire) -> Result<Ended, WriteError> {
        let accounts = self.accounts(schedule).await?;
        if accounts.enabled.is_empty() {
            let why = accounts.notes.join("; ");
            return self.give_up(schedule, &fire, why, None, FireMove::GivenUp).await;
        }
        let wanted = accounts.enabled.len() * schedule.topics_each as usize;
        let gathered = match self.gather(schedule, &mut fire, wanted).await? {
            Ok(gathered) => gathered,
            Err(Instead::Done) => return Ok(Ended::Noted),
            Err(Instead::NoTurn) => return Ok(Ended::NoTurn),
            Err(Instead::Empty { why, pauses }) => {
                return self.give_up(schedule, &fire, why, pauses, FireMove::FoundEmpty).await;
            }
            Err(Instead::Later(why)) if fire.tries < MOST_TRIES => return self.put_off(schedule, &fire, why).await,
            Err(Instead::Later(why)) => {
                let why = format!("{why}; tried {} times", fire.tries + 1);
                return self.give_up(schedule, &fire, why, None, FireMove::GivenUp).await;
            }
            Err(Instead::Never(why)) => return self.give_up(schedule, &fire, why, None, FireMove::GivenUp).await,
        };
        self.submit(schedule, &fire, accounts, gathered, wanted).await
    }

    /// Those of the schedule's accounts that take tasks.
    async fn accounts(&self, schedule: &Schedule) -> Result<Accounts, WriteError> {
        let known: BTreeMap<AccountId, Account> = {
            let accounts = self.world.store.read(|queries| queries.accounts()).await?;
            accounts.into_iter().map(|account| (account.id, account)).collect()
        };
        let mut accounts = Accounts { enabled: Vec::new(), notes: Vec::new() };
        for id in &schedule.accounts {
            match known.get(id) {
                Some(account) if account.is_enabled => accounts.enabled.push(account.clone()),
                Some(account) => accounts.notes.push(format!("account {} is disabled", account.name)),
                None => accounts.notes.push(format!("there is no account {id} any more")),
            }
        }
        Ok(accounts)
    }

    async fn gather(
        &self,
        schedule: &Schedule,
        fire: &mut Fire,
        wanted: usize,
    ) -> Result<Result<Gathered, Instead>, WriteError> {
        match &schedule.source {
            TopicSource::List { topics, at_end } => {
                let took = from_list(topics, schedule.cursor, *at_end, wanted);
                let pauses = took.is_at_end.then(|| {
                    format!("its list of {} is worked through", counted(topics.len() as u64, "topic", "topics"))
                });
                if took.topics.is_empty() {
                    let why = "its list is worked through".to_owned();
                    return Ok(Err(Instead::Empty { why, pauses }));
                }
                let taken = Taken { cursor: Some(took.cursor), pauses, ..Taken::default() };
                Ok(Ok(Gathered { topics: took.topics, taken, notes: Vec::new() }))
            }
            TopicSource::File { path, at_end } => self.gather_file(schedule, path, *at_end, wanted).await,
            TopicSource::Command { name } => self.gather_command(schedule, fire, name, wanted).await,
        }
    }

    async fn gather_file(
        &self,
        schedule: &Schedule,
        path: &str,
        at_end: AtEnd,
        wanted: usize,
    ) -> Result<Result<Gathered, Instead>, WriteError> {
        let entries = match self.seams.read_file(path.to_owned()).await {
            Ok(entries) => entries,
            Err(why) => return Ok(Err(Instead::Later(why))),
        };
        let id = schedule.id;
        let known = self.world.store.read(move |queries| queries.schedule_taken(id)).await?;
        let count = entries.len();
        let took = from_file(entries, &known, at_end, wanted);
        if took.topics.is_empty() {
            let why = match count {
                0 => format!("{path} has no topic"),
                _ => format!("each of the {count} topics of {path} was taken"),
            };
            return Ok(Err(Instead::Empty { why, pauses: None }));
        }
        let (topics, digests) = took.topics.into_iter().unzip();
        let taken = Taken { digests, begins_again: took.begins_again, ..Taken::default() };
        Ok(Ok(Gathered { topics, taken, notes: Vec::new() }))
    }

    async fn gather_command(
        &self,
        schedule: &Schedule,
        fire: &mut Fire,
        name: &str,
        wanted: usize,
    ) -> Result<Result<Gathered, Instead>, WriteError> {
        if fire.state == FireState::Gathered {
            return Ok(Ok(Gathered { topics: fire.topics.clone(), taken: Taken::default(), notes: Vec::new() }));
        }
        let Some(may_ask_again) = self.seams.may_ask_again(name) else {
            let why = format!("there is no command {name:?}: write [topic_sources.{name}] and reload");
            return Ok(Err(Instead::Never(why)));
        };
        if fire.state == FireState::Asking {
            // Whoever called it has died.
            let why = format!("command {name} was under way when contentd ended, and what it printed is lost");
            if !may_ask_again {
                return Ok(Err(Instead::Never(why)));
            }
            tell!(Level::Warn, Kind::SchedulePutOff, "schedule {}: {why}; it is asked again", schedule.name);
            let wake = self.world.clock.now().utc;
            let Some(back) = self.moved(ScheduleWrite::PutOff { fire: fire.id, why, wake, is_try: true }).await? else {
                return Ok(Err(Instead::Done));
            };
            *fire = back;
        }
        // Nobody waits for a turn here: it would take a place from schedules that need none.
        let _turn = match self.commands.try_acquire() {
            Ok(turn) => turn,
            Err(TryAcquireError::NoPermits) => return Ok(Err(Instead::NoTurn)),
            // A drain closes it: what has not begun does not begin.
            Err(TryAcquireError::Closed) => return Ok(Err(Instead::Done)),
        };
        let now = self.world.clock.now().utc;
        let Some(asking) = self.moved(ScheduleWrite::Ask { fire: fire.id, now }).await? else {
            return Ok(Err(Instead::Done));
        };
        *fire = asking;
        let asked = Wanted { fire: fire.key.clone(), schedule: schedule.name.clone(), topics: wanted };
        let topics = match self.ask(name, asked, may_ask_again).await {
            Ok(topics) => topics,
            Err(instead) => return Ok(Err(instead)),
        };
        let mut notes = Vec::new();
        if topics.len() > wanted {
            notes.push(format!("command {name} printed {} topics, and {wanted} were taken", topics.len()));
        }
        let Some(kept) = self.keep(fire, topics.into_iter().take(wanted).collect()).await? else {
            return Ok(Err(Instead::Done));
        };
        *fire = kept;
        Ok(Ok(Gathered { topics: fire.topics.clone(), taken: Taken::default(), notes }))
    }

    /// Keeps what a command printed. It may be printed once only, so a disk that is full is waited for.
    async fn keep(&self, fire: &Fire, topics: Vec<Topic>) -> Result<Option<Fire>, WriteError> {
        loop {
            let (topics, now) = (topics.clone(), self.world.clock.now().utc);
            match self.moved(ScheduleWrite::Keep { fire: fire.id, topics, now }).await {
                Err(WriteError::Db(DbError::StorageFull(_))) => tokio::time::sleep(super::COOL_DOWN).await,
                answer => return answer,
            }
        }
    }

    async fn ask(&self, name: &str, asked: Wanted, may_ask_again: bool) -> Result<Vec<Topic>, Instead> {
        let told = |why: String| format!("command {name}: {why}");
        match self.seams.ask(name, asked).await {
            Printed::Output(bytes) => match printed(&bytes) {
                Ok(topics) if topics.is_empty() => {
                    Err(Instead::Empty { why: told("it printed no topic".into()), pauses: None })
                }
                Ok(topics) => Ok(topics),
                Err(why) if may_ask_again => Err(Instead::Later(told(why))),
                Err(why) => Err(Instead::Never(told(why))),
            },
            Printed::NotStarted(why) | Printed::Failed(why) => Err(Instead::Later(told(why))),
            Printed::Unknown(why) if may_ask_again => Err(Instead::Later(told(why))),
            Printed::Unknown(why) => Err(Instead::Never(told(format!(
                "{why}; it is not asked again, because it may have taken topics from somewhere (topic_sources.{name}.idempotent)"
            )))),
        }
    }

    async fn moved(&self, step: ScheduleWrite) -> Result<Option<Fire>, WriteError> {
        match write(&self.world, step).await? {
            Some(ScheduleWritten::Fire(fire)) => Ok(Some(*fire)),
            _ => Ok(None),
        }
    }

    async fn submit(
        &self,
        schedule: &Schedule,
        fire: &Fire,
        accounts: Accounts,
        gathered: Gathered,
        wanted: usize,
    ) -> Result<Ended, WriteError> {
        let Accounts { enabled, mut notes } = accounts;
        let Gathered { topics, taken, notes: more } = gathered;
        notes.extend(more);
        if topics.len() < wanted {
            notes.push(format!("{} of {wanted} topics that were wanted", topics.len()));
        }
        let ids: Vec<AccountId> = enabled.iter().map(|account| account.id).collect();
        let by_id: BTreeMap<AccountId, Account> = enabled.into_iter().map(|account| (account.id, account)).collect();
        let own = topics.clone();
        let asked = dealt(topics, &ids).into_iter().enumerate().filter_map(|(place, (id, topic))| {
            let topic = Topic { params: topic.params.or(&schedule.params), ..topic };
            Some((by_id.get(&id)?.clone(), topic, fire.task_key(place + 1)))
        });
        let made = self.seams.make(&schedule.created_by, asked.collect());
        // What the topic itself is refused for stays so, and it must not be met again at every fire; anything else can be
        // mended, and then the topic is still there.
        let is_theirs = |(made, own): (&Result<NewTask, ApiError>, &Topic)| match made {
            Err(ApiError::InvalidField { field, .. }) => own.says(field),
            Ok(_) | Err(_) => false,
        };
        let is_all_theirs = made.iter().zip(&own).all(is_theirs);
        let refusals: Vec<ApiError> = made.iter().filter_map(|made| made.as_ref().err().cloned()).collect();
        let tasks: Vec<NewTask> = made.into_iter().flatten().collect();
        let why_refused = refusals.first().map(ApiError::message).unwrap_or_default();
        if tasks.is_empty() && !is_all_theirs {
            return self.give_up(schedule, fire, why_refused, None, FireMove::GivenUp).await;
        }
        if !refusals.is_empty() {
            notes.push(format!("{} topics were refused: {why_refused}", refusals.len()));
        }
        let why = (!notes.is_empty()).then(|| notes.join("; "));
        let now = self.world.clock.now();
        let submit = ScheduleWrite::Submit {
            fire: fire.id,
            tasks,
            max_pending: self.seams.max_pending(),
            taken: taken.clone(),
            why: why.clone(),
            now: now.clone(),
        };
        match write(&self.world, submit).await {
            Ok(Some(ScheduleWritten::Submitted(fire, tasks))) => {
                self.tell_fired(schedule, &fire, &tasks, why.as_deref(), taken.pauses.as_deref());
                Ok(if fire.state == FireState::Fired { Ended::Fired } else { Ended::Noted })
            }
            Ok(_) => Ok(Ended::Noted),
            // It mostly ends by itself; a fire that is larger than the queue would wait for ever.
            Err(error @ (WriteError::Busy { .. } | WriteError::AccountBusy { .. }))
                if now.utc.since(fire.began) < LONGEST_WAIT =>
            {
                self.wait_for_room(schedule, fire, error.to_string()).await
            }
            Err(error @ (WriteError::Busy { .. } | WriteError::AccountBusy { .. })) => {
                let why = format!("{error}, for a day");
                self.give_up(schedule, fire, why, None, FireMove::GivenUp).await
            }
            Err(WriteError::Db(error @ (DbError::StorageFull(_) | DbError::Fatal(_)))) => Err(WriteError::Db(error)),
            // An account was disabled in this moment, or a key is used that is ours: the next try sees it.
            Err(error) if fire.tries < MOST_TRIES => self.put_off(schedule, fire, error.to_string()).await,
            Err(error) => self.give_up(schedule, fire, error.to_string(), None, FireMove::GivenUp).await,
        }
    }

    fn tell_fired(
        &self,
        schedule: &Schedule,
        fire: &Fire,
        tasks: &[SubmittedTask],
        why: Option<&str>,
        pauses: Option<&str>,
    ) {
        let (name, count) = (&schedule.name, tasks.len());
        let note = why.map(|why| format!(": {why}")).unwrap_or_default();
        if tasks.is_empty() {
            tell!(Level::Error, Kind::ScheduleFailed, "schedule {name} submitted nothing{note}");
            self.world.tell_trouble();
        } else {
            tell!(Level::Info, Kind::ScheduleFired, "schedule {name} fired ({}): {count} tasks{note}", fire.key);
        }
        if let Some(pauses) = pauses {
            tell!(Level::Warn, Kind::ScheduleEmpty, "schedule {name} is paused: {pauses}");
        }
        let queue = self.world.peers.borrow().queue.clone();
        for SubmittedTask { task, .. } in tasks {
            let about = About::task(task).is(Kind::TaskTaken);
            tell!(Level::Info, about, "submitted by schedule {name} of {}", task.submitted_by);
            if let Some(queue) = &queue {
                queue.do_send(QueueChanged { task: Some(Box::new(task.clone())) });
            }
        }
    }

    async fn put_off(&self, schedule: &Schedule, fire: &Fire, why: String) -> Result<Ended, WriteError> {
        self.put_off_for(schedule, fire, why, wait_after(fire.tries), true).await
    }

    /// Costs no try: else the first failure after a few such waits would be taken for the last.
    async fn wait_for_room(&self, schedule: &Schedule, fire: &Fire, why: String) -> Result<Ended, WriteError> {
        let wait = wait_for_room(self.world.clock.now().utc.since(fire.began));
        self.put_off_for(schedule, fire, why, wait, false).await
    }

    async fn put_off_for(
        &self,
        schedule: &Schedule,
        fire: &Fire,
        why: String,
        wait: Duration,
        is_try: bool,
    ) -> Result<Ended, WriteError> {
        let wake = self.world.clock.now().utc.plus(wait);
        let put_off = ScheduleWrite::PutOff { fire: fire.id, why: why.clone(), wake, is_try };
        if self.moved(put_off).await?.is_some() {
            let (name, seconds) = (&schedule.name, wait.as_secs());
            tell!(Level::Warn, Kind::SchedulePutOff, "schedule {name} fires again in {seconds} s: {why}");
        }
        Ok(Ended::Noted)
    }

    async fn give_up(
        &self,
        schedule: &Schedule,
        fire: &Fire,
        why: String,
        pauses: Option<String>,
        event: FireMove,
    ) -> Result<Ended, WriteError> {
        let now = self.world.clock.now().utc;
        let end = ScheduleWrite::End { fire: fire.id, event, why: why.clone(), pauses: pauses.clone(), now };
        if self.moved(end).await?.is_some() {
            let name = &schedule.name;
            let paused = if pauses.is_some() { ", and is paused" } else { "" };
            match event {
                FireMove::FoundEmpty => {
                    // A file is read for what somebody may have added: mostly that is nothing.
                    let reads_on = matches!(schedule.source, TopicSource::File { .. });
                    let level = if reads_on { Level::Info } else { Level::Warn };
                    tell!(level, Kind::ScheduleEmpty, "schedule {name} found no topic{paused}: {why}");
                }
                _ => tell!(Level::Error, Kind::ScheduleFailed, "schedule {name} submitted nothing: {why}"),
            }
            self.world.tell_trouble();
        }
        Ok(Ended::Noted)
    }
}

fn missed_words(missed: u32, is_counted: bool, misfire: Misfire) -> String {
    let (count, policy) = match misfire {
        Misfire::Once => (missed, "once".to_owned()),
        Misfire::All { most } => (missed, format!("all, at most {most}")),
        Misfire::None => (missed, "none".to_owned()),
    };
    let least = if is_counted { "" } else { "at least " };
    format!("{least}{count} due times before passed unseen and are not made up for (misfire {policy})")
}
