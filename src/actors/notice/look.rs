//! Gathers the numbers that the rules look at: a few bounded questions to the database, and one to the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::actors::World;
use crate::actors::publisher::{BREAKER_SETTING as PUBLISHER_SETTING, stored_breaker as stored_away};
use crate::actors::queue::{BREAKER_SETTING, stored_breaker};
use crate::generator::hooks::{DiskFree, Notices};
use crate::notice::rules::{Look, OpenBreaker};
use crate::store::DbError;
use crate::task::GeneratorName;
use crate::task::breaker::Breaker;
use crate::task::content::PoolState;

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
        Ok((ended, queries.counts()?, queries.oldest_ready(now)?, breakers, queries.schedule_standings()?, publishing))
    });
    let (ended, counts, oldest, stored, standings, (away, pool)) = read.await?;
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
        schedules: standings.into_iter().map(|one| (one.name.clone(), one.trouble())).collect(),
    })
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
