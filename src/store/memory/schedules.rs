//! Schedules in the twin.

use std::collections::BTreeSet;

use super::super::query::{Page, ScheduleAgenda, ScheduleQueries, ScheduleStanding};
use super::super::write::ScheduleRows;
use super::{DbError, MemoryDb, Tables, page_of};
use crate::schedule::{Fire, FireId, FireState, NewSchedule, Schedule, ScheduleId, TopicSource};
use crate::task::Timestamp;

/// The tables of schedules.
#[derive(Clone, Default)]
pub(super) struct ScheduleTables {
    schedules: Vec<Schedule>,
    fires: Vec<Fire>,
    taken: BTreeSet<(ScheduleId, String)>,
    last_schedule: i64,
    last_fire: i64,
}

impl MemoryDb {
    /// Every fire, oldest first.
    pub fn all_fires(&self) -> Vec<Fire> {
        self.tables().schedules.fires.clone()
    }
}

impl ScheduleTables {
    fn unfinished(&self, schedule: ScheduleId) -> Option<&Fire> {
        self.fires.iter().find(|fire| fire.schedule == schedule && fire.wake.is_some())
    }
}

fn missing(what: &str) -> DbError {
    DbError::Refused(format!("a {what} that is not there was to be updated"))
}

impl ScheduleRows for Tables {
    fn schedules_count(&mut self) -> Result<usize, DbError> {
        Ok(self.schedules.schedules.len())
    }

    fn schedule(&mut self, id: ScheduleId) -> Result<Option<Schedule>, DbError> {
        Ok(self.schedules.schedules.iter().find(|schedule| schedule.id == id).cloned())
    }

    fn schedule_named(&mut self, name: &str) -> Result<Option<ScheduleId>, DbError> {
        Ok(self.schedules.schedules.iter().find(|schedule| schedule.name == name).map(|schedule| schedule.id))
    }

    fn insert_schedule(&mut self, new: &NewSchedule, paused_why: Option<&str>) -> Result<ScheduleId, DbError> {
        self.schedules.last_schedule += 1;
        let id = ScheduleId(self.schedules.last_schedule);
        self.schedules.schedules.push(Schedule {
            id,
            name: new.name.clone(),
            timing: new.timing.clone(),
            accounts: new.accounts.clone(),
            topics_each: new.topics_each,
            source: new.source.clone(),
            params: new.params.clone(),
            misfire: new.misfire,
            cursor: 0,
            next_due: new.next_due,
            paused_why: paused_why.map(str::to_owned),
            created_by: new.who.clone(),
            created_at: new.now,
            updated_at: new.now,
        });
        Ok(id)
    }

    fn update_schedule(&mut self, schedule: &Schedule) -> Result<(), DbError> {
        if schedule.next_due.is_none() != schedule.paused_why.is_some() {
            return Err(DbError::Refused("a schedule is paused with a reason, or has a due time".into()));
        }
        let row = self.schedules.schedules.iter_mut().find(|row| row.id == schedule.id);
        let row = row.ok_or_else(|| missing("schedule"))?;
        (row.next_due, row.cursor, row.updated_at) = (schedule.next_due, schedule.cursor, schedule.updated_at);
        row.paused_why.clone_from(&schedule.paused_why);
        Ok(())
    }

    fn delete_schedule(&mut self, id: ScheduleId) -> Result<(), DbError> {
        self.schedules.schedules.retain(|schedule| schedule.id != id);
        self.schedules.fires.retain(|fire| fire.schedule != id);
        self.delete_taken(id)
    }

    fn schedule_ids(&mut self) -> Result<Vec<ScheduleId>, DbError> {
        Ok(self.schedules.schedules.iter().map(|schedule| schedule.id).collect())
    }

    fn fire(&mut self, id: FireId) -> Result<Option<Fire>, DbError> {
        Ok(self.schedules.fires.iter().find(|fire| fire.id == id).cloned())
    }

    fn is_fire_key(&mut self, key: &str) -> Result<bool, DbError> {
        Ok(self.schedules.fires.iter().any(|fire| fire.key == key))
    }

    fn unfinished_fire(&mut self, schedule: ScheduleId) -> Result<Option<FireId>, DbError> {
        Ok(self.schedules.unfinished(schedule).map(|fire| fire.id))
    }

    fn insert_fire(&mut self, fire: &Fire) -> Result<FireId, DbError> {
        if self.is_fire_key(&fire.key)? {
            return Err(DbError::Refused("a key of a fire was used twice".into()));
        }
        self.schedules.last_fire += 1;
        let id = FireId(self.schedules.last_fire);
        self.schedules.fires.push(Fire { id, ..fire.clone() });
        Ok(id)
    }

    fn update_fire(&mut self, fire: &Fire) -> Result<(), DbError> {
        let row = self.schedules.fires.iter_mut().find(|row| row.id == fire.id);
        *row.ok_or_else(|| missing("fire"))? = fire.clone();
        Ok(())
    }

    fn forget_fires(&mut self, schedule: ScheduleId, keep: u32) -> Result<(), DbError> {
        let of_it = self.schedules.fires.iter().rev().filter(|fire| fire.schedule == schedule);
        let old: BTreeSet<FireId> = of_it.skip(keep as usize).map(|fire| fire.id).collect();
        self.schedules.fires.retain(|fire| fire.ended.is_none() || !old.contains(&fire.id));
        Ok(())
    }

    fn insert_taken(&mut self, schedule: ScheduleId, digests: &[String]) -> Result<(), DbError> {
        for digest in digests {
            if !self.schedules.taken.insert((schedule, digest.clone())) {
                return Err(DbError::Refused("a topic was taken twice".into()));
            }
        }
        Ok(())
    }

    fn delete_taken(&mut self, schedule: ScheduleId) -> Result<(), DbError> {
        self.schedules.taken.retain(|(of, _)| *of != schedule);
        Ok(())
    }

    fn shift_fires(&mut self, by_ms: i64) -> Result<(), DbError> {
        let shifted = |at: Timestamp| Timestamp(at.0.saturating_add(by_ms));
        for fire in self.schedules.fires.iter_mut().filter(|fire| fire.wake.is_some()) {
            (fire.wake, fire.began) = (fire.wake.map(shifted), shifted(fire.began));
        }
        Ok(())
    }
}

/// As lists show it.
fn short(schedule: &Schedule) -> Schedule {
    let mut schedule = schedule.clone();
    if let TopicSource::List { topics, .. } = &mut schedule.source {
        topics.clear();
    }
    schedule
}

impl ScheduleQueries for MemoryDb {
    fn schedules(&self) -> Result<Vec<Schedule>, DbError> {
        let mut all: Vec<_> = self.tables().schedules.schedules.iter().map(short).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    fn schedule_standings(&self) -> Result<Vec<ScheduleStanding>, DbError> {
        let tables = &self.tables().schedules;
        let is_meant = |fire: &&Fire| matches!(fire.state, FireState::Fired | FireState::Empty | FireState::Failed);
        let standing = |schedule: &Schedule| {
            let of_it = tables.fires.iter().rev().filter(|fire| fire.schedule == schedule.id);
            ScheduleStanding {
                name: schedule.name.clone(),
                is_paused: schedule.paused_why.is_some(),
                is_at_end: schedule.paused_why.is_some() && schedule.is_worked_through(),
                reads_on: matches!(schedule.source, TopicSource::File { .. }),
                last: of_it.filter(is_meant).map(|fire| (fire.state, fire.why.clone())).next(),
            }
        };
        let mut all: Vec<_> = tables.schedules.iter().map(standing).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    fn find_schedule(&self, id_or_name: &str) -> Result<Option<Schedule>, DbError> {
        let tables = self.tables();
        let all = &tables.schedules.schedules;
        let by_number = all.iter().find(|schedule| schedule.id.to_string() == id_or_name);
        Ok(by_number.or_else(|| all.iter().find(|schedule| schedule.name == id_or_name)).cloned())
    }

    fn schedule_agenda(&self, now: Timestamp, wall: Timestamp, limit: u32) -> Result<ScheduleAgenda, DbError> {
        let tables = &self.tables().schedules;
        let is_due = |schedule: &&Schedule| schedule.next_due.is_some_and(|due| due <= wall);
        let mut due: Vec<Schedule> = tables.schedules.iter().filter(is_due).cloned().collect();
        due.retain(|schedule| tables.unfinished(schedule.id).is_none());
        due.sort_by_key(|schedule| (schedule.next_due, schedule.id));
        due.truncate(limit as usize);
        let is_first = |fire: &&Fire| tables.unfinished(fire.schedule).is_some_and(|first| first.id == fire.id);
        let is_awake = |fire: &&Fire| fire.wake.is_some_and(|wake| wake <= now);
        let mut fires: Vec<Fire> = tables.fires.iter().filter(is_awake).filter(is_first).cloned().collect();
        fires.sort_by_key(|fire| (fire.wake, fire.id));
        fires.truncate(limit as usize);
        let dues = tables.schedules.iter().filter_map(|schedule| schedule.next_due);
        let next_due = dues.filter(|at| *at > wall).min();
        let next_wake = tables.fires.iter().filter_map(|fire| fire.wake).filter(|at| *at > now).min();
        Ok(ScheduleAgenda { due, fires, next_due, next_wake })
    }

    fn fire(&self, id: FireId) -> Result<Option<Fire>, DbError> {
        Ok(self.tables().schedules.fires.iter().find(|fire| fire.id == id).cloned())
    }

    fn fires(&self, schedule: ScheduleId, page: Page) -> Result<Vec<Fire>, DbError> {
        let tables = self.tables();
        let of_it = tables
            .schedules
            .fires
            .iter()
            .rev()
            .filter(|fire| fire.schedule == schedule && page.before.is_none_or(|before| fire.id.0 < before));
        Ok(page_of(of_it.cloned().collect(), page))
    }

    fn schedule_taken(&self, schedule: ScheduleId) -> Result<BTreeSet<String>, DbError> {
        let tables = self.tables();
        let of_it = tables.schedules.taken.iter().filter(|(of, _)| *of == schedule);
        Ok(of_it.map(|(_, digest)| digest.clone()).collect())
    }
}
