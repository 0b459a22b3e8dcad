//! Gathers the numbers that the rules look at: a few bounded questions to the database, and one to the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::actors::World;
use crate::actors::publisher::{BREAKER_SETTING as PUBLISHER_SETTING, stored_breaker as stored_away};
use crate::actors::queue::{BREAKER_SETTING, stored_breaker};
use crate::generator::hooks::{DiskFree, Notices};
use crate::notice::rules::{Look, OpenBreaker, ScheduleTrouble};
use crate::schedule::Schedule;
use crate::store::DbError;
use crate::store::query::ScheduleStanding;
use crate::task::GeneratorName;
use crate::task::breaker::Breaker;
use crate::task::content::PoolState;
use crate::zones;

/// What a share is counted over.
const LAST_HOUR: Duration = Duration::from_secs(3_600);
/// How long a disk is waited for that does not answer.
const DISK_LIMIT: Duration = Duration::from_secs(5);

/// The numbers of this moment.
pub async fn take_look(world: &World, notices: &Notices) -> Result<Look, DbError> {
    let now = world.clock.now().utc;
    let read = world.store.read(move |queries| {
        let breakers = queries.settings(BREAKER_SETTING)?;
        let ended = queries.ended_since(now.minus(LAST_HOUR))?;
        let publishing = (queries.settings(PUBLISHER_SETTING)?, queries.pool_standing(now)?);
        let schedules = (queries.schedule_standings()?, queries.schedules()?);
        Ok((ended, queries.counts()?, queries.oldest_ready(now)?, breakers, schedules, publishing))
    });
    let (ended, counts, oldest, stored, (standings, schedules), (away, pool)) = read.await?;
    let publishers = world.publishers.current();
    let away: BTreeMap<String, Breaker> = away.iter().filter_map(|setting| stored_away(setting, now)).collect();
    let of_pool = |state: PoolState| pool.counts.get(&state).copied().unwrap_or(0);
    let has_publishers = publishers.iter().next().is_some();
    let open: BTreeMap<GeneratorName, Breaker> =
        stored.iter().filter_map(|setting| stored_breaker(setting, now)).collect();
    let generators = Arc::clone(&world.generators.borrow());
    // A generator that is not configured any more concerns nobody until it comes back.
    let breakers = generators.iter().map(|one| (one.name.0.clone(), open.get(&one.name).and_then(open_breaker)));
    Ok(Look {
        ended,
        counts,
        oldest: oldest.map(|since| now.since(since)),
        breakers: breakers.collect(),
        publishers: publishers
            .iter()
            .map(|one| (one.name.clone(), away.get(&one.name).and_then(open_breaker)))
            .collect(),
        pool_held: of_pool(PoolState::Held),
        pool_failed: of_pool(PoolState::Failed),
        overdue: has_publishers.then(|| pool.oldest_due.map_or(Duration::ZERO, |due| now.since(due))),
        disk_free: disk_free(notices.disk_free.clone()).await,
        schedules: troubles(standings, schedules).await,
    })
}

/// Why each schedule submits nothing, where it does not. That its zone cannot be read is more than how its last fire went: there is no next one.
async fn troubles(
    standings: Vec<ScheduleStanding>,
    schedules: Vec<Schedule>,
) -> BTreeMap<String, Option<ScheduleTrouble>> {
    let (paused, running): (Vec<_>, Vec<_>) = schedules.into_iter().partition(Schedule::is_paused);
    let zones: BTreeMap<String, String> =
        running.into_iter().map(|schedule| (schedule.name.clone(), schedule.timing.zone().to_owned())).collect();
    let mut paused: BTreeMap<String, String> =
        paused.into_iter().map(|schedule| (schedule.name, schedule.paused_why.unwrap_or_default())).collect();
    let mut stand = if zones.is_empty() { BTreeMap::new() } else { without_zones(zones).await };
    let trouble = |one: ScheduleStanding| {
        let stands = stand.remove(&one.name).map(ScheduleTrouble::Stands);
        let trouble = stands.or_else(|| one.trouble().map(ScheduleTrouble::Fire));
        let trouble = trouble.or_else(|| paused.remove(&one.name).map(ScheduleTrouble::Paused));
        (one.name, trouble)
    };
    standings.into_iter().map(trouble).collect()
}

/// Of schedules with their zones, those whose zones cannot be read. Zones are files; where nobody could look, nothing is said.
async fn without_zones(zones: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let look = || zones.into_iter().filter_map(|(name, zone)| Some((name, zones::trouble(&zone)?))).collect();
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

fn open_breaker(breaker: &Breaker) -> Option<OpenBreaker> {
    let (trip, why, since) = breaker.is_open()?;
    Some(OpenBreaker { trip: trip.to_string(), why: why.to_owned(), since })
}

/// A disk that does not answer is not known, and holds up nobody.
async fn disk_free(disk: Option<DiskFree>) -> Option<u64> {
    let disk = disk?;
    let asked = tokio::task::spawn_blocking(move || disk());
    tokio::time::timeout(DISK_LIMIT, asked).await.ok()?.ok()?
}
