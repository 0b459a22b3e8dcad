//! Writes about schedules and their fires, judged inside their transaction.
//!
//! The rules are few. A due time is begun together with the schedule's next one, by whoever still finds the due time that it
//! planned for. A fire moves by its own table. Its tasks are judged as those of any submit, and are written together with
//! its end and with what was taken of its source.

use thiserror::Error;

use super::rows::Rows;
use super::submit::submit_tasks;
use super::{NewTask, SubmittedTask, WriteError, Written};
use crate::schedule::{Fire, FireId, FireKind, FireMove, FireState, NewSchedule, Schedule, ScheduleId, Topic, limits};
use crate::store::DbError;
use crate::task::{Now, Timestamp};

/// The row operations on schedules that a backend offers inside a transaction. No rules here.
pub trait ScheduleRows {
    /// How many schedules there are.
    fn schedules_count(&mut self) -> Result<usize, DbError>;
    /// A schedule.
    fn schedule(&mut self, id: ScheduleId) -> Result<Option<Schedule>, DbError>;
    /// The number of the schedule with this name.
    fn schedule_named(&mut self, name: &str) -> Result<Option<ScheduleId>, DbError>;
    /// Inserts a schedule and gives its number.
    fn insert_schedule(&mut self, new: &NewSchedule, paused_why: Option<&str>) -> Result<ScheduleId, DbError>;
    /// Writes when it is due next, why it is paused, its cursor and the time of its last change.
    fn update_schedule(&mut self, schedule: &Schedule) -> Result<(), DbError>;
    /// Deletes a schedule with its fires and what it took.
    fn delete_schedule(&mut self, id: ScheduleId) -> Result<(), DbError>;
    /// The numbers of all schedules.
    fn schedule_ids(&mut self) -> Result<Vec<ScheduleId>, DbError>;
    /// A fire.
    fn fire(&mut self, id: FireId) -> Result<Option<Fire>, DbError>;
    /// Whether a fire has this key.
    fn is_fire_key(&mut self, key: &str) -> Result<bool, DbError>;
    /// The first fire of a schedule that has not ended.
    fn unfinished_fire(&mut self, schedule: ScheduleId) -> Result<Option<FireId>, DbError>;
    /// Inserts a fire (its `id` is not looked at) and gives its number.
    fn insert_fire(&mut self, fire: &Fire) -> Result<FireId, DbError>;
    /// Writes state, tries, times, topics, tasks and reason of a fire.
    fn update_fire(&mut self, fire: &Fire) -> Result<(), DbError>;
    /// Deletes ended fires of a schedule beyond the newest `keep`.
    fn forget_fires(&mut self, schedule: ScheduleId, keep: u32) -> Result<(), DbError>;
    /// Remembers what was taken of a file.
    fn insert_taken(&mut self, schedule: ScheduleId, digests: &[String]) -> Result<(), DbError>;
    /// Forgets it.
    fn delete_taken(&mut self, schedule: ScheduleId) -> Result<(), DbError>;
    /// Adds to the time at which unfinished fires are tried again. When a schedule is due is a date, and stays.
    fn shift_fires(&mut self, by_ms: i64) -> Result<(), DbError>;
}

/// What was taken of a source by a fire that submits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Taken {
    /// Where the list is afterwards.
    pub cursor: Option<u32>,
    /// Entries of a file, by their digests.
    pub digests: Vec<String>,
    /// What was taken of the file before is forgotten: it begins again.
    pub begins_again: bool,
    /// Why the schedule pauses now.
    pub pauses: Option<String>,
}

/// What can be written about schedules.
#[derive(Clone, Debug)]
pub enum ScheduleWrite {
    /// A new one.
    Add(Box<NewSchedule>),
    /// Begins due times that have come.
    Begin {
        /// Of which schedule.
        schedule: ScheduleId,
        /// The due time that was planned for; if the schedule has another by now, nothing is done.
        due: Timestamp,
        /// Due times to fire, earliest first.
        fires: Vec<Timestamp>,
        /// Due times that are passed over.
        missed: u32,
        /// The latest time that has passed, for the history where nothing is fired.
        latest: Timestamp,
        /// Why those that are missed are missed.
        why: Option<String>,
        /// When it is due next.
        next_due: Option<Timestamp>,
        /// When.
        now: Timestamp,
    },
    /// When a running schedule is due next, seen afresh.
    Realign {
        /// Which.
        schedule: ScheduleId,
        /// What it was.
        due: Timestamp,
        /// What it is.
        next_due: Timestamp,
    },
    /// A person wants a fire now.
    FireNow {
        /// Of which schedule.
        schedule: ScheduleId,
        /// A key that no other fire has.
        key: String,
        /// Who.
        who: String,
        /// When.
        now: Timestamp,
    },
    /// A fire's command is about to be called: its intent.
    Ask {
        /// Which fire.
        fire: FireId,
        /// When.
        now: Timestamp,
    },
    /// What a fire's command printed.
    Keep {
        /// Which fire.
        fire: FireId,
        /// The topics.
        topics: Vec<Topic>,
        /// When.
        now: Timestamp,
    },
    /// A fire is tried again later.
    PutOff {
        /// Which fire.
        fire: FireId,
        /// Why.
        why: String,
        /// When.
        wake: Timestamp,
        /// It failed, and has had one try more; a wait for room is none.
        is_try: bool,
    },
    /// A fire's tasks, its end and what it took, together.
    Submit {
        /// Which fire.
        fire: FireId,
        /// The tasks; none where each topic was refused for what it says.
        tasks: Vec<NewTask>,
        /// How many unfinished tasks there may be.
        max_pending: u64,
        /// What was taken of the source.
        taken: Taken,
        /// What is to be said of it.
        why: Option<String>,
        /// When.
        now: Now,
    },
    /// A fire ends without tasks.
    End {
        /// Which fire.
        fire: FireId,
        /// `FoundEmpty` or `GivenUp`.
        event: FireMove,
        /// Why.
        why: String,
        /// Why the schedule pauses now.
        pauses: Option<String>,
        /// When.
        now: Timestamp,
    },
    /// Begins nothing by itself any more.
    Pause {
        /// Which.
        schedule: ScheduleId,
        /// Why.
        why: String,
        /// When.
        now: Timestamp,
    },
    /// Begins by itself again. What was due meanwhile is no misfire: somebody wanted it so.
    Resume {
        /// Which.
        schedule: ScheduleId,
        /// When it is due next.
        next_due: Timestamp,
        /// When.
        now: Timestamp,
    },
    /// Deletes one with its history. Its tasks stay.
    Remove {
        /// Which.
        schedule: ScheduleId,
    },
    /// After a restore: every schedule pauses, and what was begun is given up.
    HoldAll {
        /// Why.
        why: String,
        /// When.
        now: Timestamp,
    },
}

/// The answer to a [`ScheduleWrite`].
#[derive(Clone, PartialEq, Debug)]
pub enum ScheduleWritten {
    /// Of `Add`, `Realign`, `Pause` and `Resume`: as it stands.
    Schedule(Box<Schedule>),
    /// Of `Begin`: the rows that were made.
    Begun(Vec<Fire>),
    /// Of `FireNow`, `Ask`, `Keep`, `PutOff` and `End`.
    Fire(Box<Fire>),
    /// Of `Submit`.
    Submitted(Box<Fire>, Vec<SubmittedTask>),
    /// Of `Remove` and `HoldAll`: how many.
    Count(usize),
}

/// Why such a write was refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ScheduleError {
    /// No such schedule.
    #[error("there is no schedule {0}")]
    NotFound(ScheduleId),
    /// The name is taken.
    #[error("there is a schedule named {0:?} already")]
    Exists(String),
    /// There are too many.
    #[error("there are {0} schedules, which is as many as may be")]
    TooMany(usize),
    /// A fire of it has not ended.
    #[error("fire {fire} of schedule {schedule} has not ended")]
    UnderWay {
        /// Of which.
        schedule: ScheduleId,
        /// The fire.
        fire: FireId,
    },
    /// It was changed meanwhile, or is paused: what was planned is void.
    #[error("schedule {0} is not as it was planned for")]
    Stale(ScheduleId),
    /// There is no such fire any more.
    #[error("there is no fire {0}")]
    NoFire(FireId),
    /// The fire cannot move so.
    #[error("fire {fire} is {state} and cannot be {event}")]
    Illegal {
        /// Which.
        fire: FireId,
        /// Its state.
        state: FireState,
        /// The move.
        event: FireMove,
    },
}

/// Does one of these writes.
pub(super) fn execute(rows: &mut dyn Rows, write: &ScheduleWrite) -> Result<Written, WriteError> {
    let written = match write {
        ScheduleWrite::Add(new) => add(rows, new)?,
        ScheduleWrite::Begin { schedule, due, fires, missed, latest, why, next_due, now } => {
            let begin = Begin { due: *due, fires, missed: *missed, latest: *latest, why: why.as_deref(), now: *now };
            begin.carry_out(rows, *schedule, *next_due)?
        }
        ScheduleWrite::Realign { schedule, due, next_due } => {
            let mut found = known(rows, *schedule)?;
            if found.next_due != Some(*due) {
                return Err(ScheduleError::Stale(*schedule).into());
            }
            found.next_due = Some(*next_due);
            stored(rows, found)?
        }
        ScheduleWrite::FireNow { schedule, key, who, now } => fire_now(rows, *schedule, key, who, *now)?,
        ScheduleWrite::Ask { fire, now } => {
            let mut fire = moved(rows, *fire, FireMove::Asked)?;
            fire.wake = Some(*now);
            fire_stored(rows, fire)?
        }
        ScheduleWrite::Keep { fire, topics, now } => {
            let mut fire = moved(rows, *fire, FireMove::Kept)?;
            (fire.topics, fire.wake) = (topics.clone(), Some(*now));
            fire_stored(rows, fire)?
        }
        ScheduleWrite::PutOff { fire, why, wake, is_try } => {
            let mut fire = moved(rows, *fire, FireMove::PutOff)?;
            (fire.why, fire.wake) = (Some(why.clone()), Some(*wake));
            fire.tries = fire.tries.saturating_add(u32::from(*is_try));
            fire_stored(rows, fire)?
        }
        ScheduleWrite::Submit { fire, tasks, max_pending, taken, why, now } => {
            submit(rows, *fire, tasks, *max_pending, taken, why.as_deref(), now)?
        }
        ScheduleWrite::End { fire, event, why, pauses, now } => {
            let fire = ended(moved(rows, *fire, *event)?, Some(why), *now);
            pause_if(rows, fire.schedule, pauses.as_deref(), *now)?;
            fire_stored(rows, fire)?
        }
        ScheduleWrite::Pause { schedule, why, now } => {
            let mut found = known(rows, *schedule)?;
            if !found.is_paused() {
                (found.next_due, found.paused_why, found.updated_at) = (None, Some(why.clone()), *now);
            }
            stored(rows, found)?
        }
        ScheduleWrite::Resume { schedule, next_due, now } => {
            let mut found = known(rows, *schedule)?;
            if found.is_paused() {
                (found.next_due, found.paused_why, found.updated_at) = (Some(*next_due), None, *now);
            }
            stored(rows, found)?
        }
        ScheduleWrite::Remove { schedule } => {
            known(rows, *schedule)?;
            rows.delete_schedule(*schedule)?;
            ScheduleWritten::Count(1)
        }
        ScheduleWrite::HoldAll { why, now } => hold_all(rows, why, *now)?,
    };
    Ok(Written::Schedule(Box::new(written)))
}

fn known(rows: &mut dyn Rows, id: ScheduleId) -> Result<Schedule, WriteError> {
    rows.schedule(id)?.ok_or_else(|| ScheduleError::NotFound(id).into())
}

fn stored(rows: &mut dyn Rows, schedule: Schedule) -> Result<ScheduleWritten, WriteError> {
    rows.update_schedule(&schedule)?;
    Ok(ScheduleWritten::Schedule(Box::new(schedule)))
}

fn fire_stored(rows: &mut dyn Rows, fire: Fire) -> Result<ScheduleWritten, WriteError> {
    rows.update_fire(&fire)?;
    Ok(ScheduleWritten::Fire(Box::new(fire)))
}

/// A fire after a move, not yet written.
fn moved(rows: &mut dyn Rows, id: FireId, event: FireMove) -> Result<Fire, WriteError> {
    let mut fire = rows.fire(id)?.ok_or(ScheduleError::NoFire(id))?;
    fire.state = fire.state.after(event).ok_or(ScheduleError::Illegal { fire: id, state: fire.state, event })?;
    Ok(fire)
}

fn ended(fire: Fire, why: Option<&str>, now: Timestamp) -> Fire {
    // What its command printed has become tasks, or is of no use any more.
    Fire { wake: None, ended: Some(now), why: why.map(str::to_owned), topics: Vec::new(), ..fire }
}

fn add(rows: &mut dyn Rows, new: &NewSchedule) -> Result<ScheduleWritten, WriteError> {
    if rows.schedule_named(&new.name)?.is_some() {
        return Err(ScheduleError::Exists(new.name.clone()).into());
    }
    let count = rows.schedules_count()?;
    if count >= limits::SCHEDULES {
        return Err(ScheduleError::TooMany(count).into());
    }
    for account in &new.accounts {
        rows.account(*account)?.ok_or_else(|| WriteError::AccountNotFound(account.to_string()))?;
    }
    let paused_why = new.next_due.is_none().then_some("it was added so");
    let id = rows.insert_schedule(new, paused_why)?;
    Ok(ScheduleWritten::Schedule(Box::new(known(rows, id)?)))
}

struct Begin<'a> {
    due: Timestamp,
    fires: &'a [Timestamp],
    missed: u32,
    latest: Timestamp,
    why: Option<&'a str>,
    now: Timestamp,
}

impl Begin<'_> {
    fn carry_out(
        &self,
        rows: &mut dyn Rows,
        id: ScheduleId,
        next_due: Option<Timestamp>,
    ) -> Result<ScheduleWritten, WriteError> {
        let mut schedule = known(rows, id)?;
        if schedule.next_due != Some(self.due) || rows.unfinished_fire(id)?.is_some() {
            return Err(ScheduleError::Stale(id).into());
        }
        let mut begun = Vec::new();
        for (index, due) in self.fires.iter().enumerate() {
            let missed = if index == 0 { self.missed } else { 0 };
            begun.extend(self.insert(rows, id, *due, FireState::Intended, missed)?);
        }
        if self.fires.is_empty() {
            begun.extend(self.insert(rows, id, self.latest, FireState::Missed, self.missed)?);
        }
        schedule.next_due = next_due;
        if next_due.is_none() {
            schedule.paused_why = Some("its expression names no later time".to_owned());
        }
        rows.update_schedule(&schedule)?;
        rows.forget_fires(id, limits::HISTORY)?;
        Ok(ScheduleWritten::Begun(begun))
    }

    /// A fire's row; none where this due time has one already, as after the wall clock was set back.
    fn insert(
        &self,
        rows: &mut dyn Rows,
        schedule: ScheduleId,
        due: Timestamp,
        state: FireState,
        missed: u32,
    ) -> Result<Option<Fire>, WriteError> {
        let key = Fire::key_of(schedule, due);
        if rows.is_fire_key(&key)? {
            return Ok(None);
        }
        let mut fire = begun_fire(schedule, key, due, FireKind::Due, crate::task::apply::CONTENTD, self.now);
        fire.missed = missed;
        fire.why = self.why.filter(|_| missed > 0).map(str::to_owned);
        if state.has_ended() {
            (fire.state, fire.wake, fire.ended) = (state, None, Some(self.now));
        }
        fire.id = rows.insert_fire(&fire)?;
        Ok(Some(fire))
    }
}

fn begun_fire(schedule: ScheduleId, key: String, due: Timestamp, kind: FireKind, who: &str, now: Timestamp) -> Fire {
    Fire {
        id: FireId(0),
        schedule,
        key,
        due,
        kind,
        state: FireState::Intended,
        missed: 0,
        tries: 0,
        wake: Some(now),
        began: now,
        ended: None,
        topics: Vec::new(),
        tasks: Vec::new(),
        why: None,
        who: who.to_owned(),
    }
}

fn fire_now(
    rows: &mut dyn Rows,
    schedule: ScheduleId,
    key: &str,
    who: &str,
    now: Timestamp,
) -> Result<ScheduleWritten, WriteError> {
    known(rows, schedule)?;
    if let Some(fire) = rows.unfinished_fire(schedule)? {
        return Err(ScheduleError::UnderWay { schedule, fire }.into());
    }
    let mut fire = begun_fire(schedule, key.to_owned(), now, FireKind::ByHand, who, now);
    fire.id = rows.insert_fire(&fire)?;
    rows.forget_fires(schedule, limits::HISTORY)?;
    Ok(ScheduleWritten::Fire(Box::new(fire)))
}

fn submit(
    rows: &mut dyn Rows,
    id: FireId,
    tasks: &[NewTask],
    max_pending: u64,
    taken: &Taken,
    why: Option<&str>,
    now: &Now,
) -> Result<ScheduleWritten, WriteError> {
    // Every topic was refused for what it says: the fire has failed, and they are taken all the same.
    let event = if tasks.is_empty() { FireMove::GivenUp } else { FireMove::Submitted };
    let fire = moved(rows, id, event)?;
    let mut schedule = known(rows, fire.schedule)?;
    let submitted = submit_tasks(rows, tasks, max_pending, now)?;
    let mut fire = ended(fire, why, now.utc);
    fire.tasks = submitted.iter().map(|submitted| submitted.task.id.clone()).collect();
    rows.update_fire(&fire)?;
    if taken.begins_again {
        rows.delete_taken(fire.schedule)?;
    }
    rows.insert_taken(fire.schedule, &taken.digests)?;
    if let Some(cursor) = taken.cursor {
        schedule.cursor = cursor;
        rows.update_schedule(&schedule)?;
    }
    pause_if(rows, fire.schedule, taken.pauses.as_deref(), now.utc)?;
    Ok(ScheduleWritten::Submitted(Box::new(fire), submitted))
}

fn pause_if(rows: &mut dyn Rows, id: ScheduleId, why: Option<&str>, now: Timestamp) -> Result<(), WriteError> {
    let Some(why) = why else { return Ok(()) };
    let mut schedule = known(rows, id)?;
    if !schedule.is_paused() {
        (schedule.next_due, schedule.paused_why, schedule.updated_at) = (None, Some(why.to_owned()), now);
        rows.update_schedule(&schedule)?;
    }
    Ok(())
}

fn hold_all(rows: &mut dyn Rows, why: &str, now: Timestamp) -> Result<ScheduleWritten, WriteError> {
    let mut held = 0;
    for id in rows.schedule_ids()? {
        pause_if(rows, id, Some(why), now)?;
        while let Some(fire) = rows.unfinished_fire(id)? {
            let fire = ended(moved(rows, fire, FireMove::GivenUp)?, Some(why), now);
            rows.update_fire(&fire)?;
        }
        held += 1;
    }
    Ok(ScheduleWritten::Count(held))
}
