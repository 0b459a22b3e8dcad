//! What the first start after a restore does, before anything is recovered: no task may get a job that it may have already.
//!
//! The mark stands in the database until all of it is done, so a death in between begins it again; each part may be done
//! twice. What it means for a task is in `task::apply::restored`. The surprise: a run that was started after the backup
//! is found by its directory, which names its task: then its job is known after all, and goes on.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use log::Level;

use crate::actors::{Happened, World};
use crate::events::{About, Kind};
use crate::generator::leftovers::Leftovers;
use crate::store::query::{Page, TaskFilter};
use crate::store::restored::{RestoreMark, SETTING};
use crate::store::write::{PoolWrite, Write, WriteError};
use crate::store::{DbError, Store};
use crate::task::{AttemptKey, Event, Task, TaskId, TaskState};
use crate::tell;

/// Tasks that are read at once.
const SLICE: u32 = 500;
/// Keys that are asked about at once: a statement binds each of them.
const KEYS: usize = 500;

/// The mark that a restore left, whether it is done or not.
pub async fn mark(store: &Store) -> Result<Option<RestoreMark>, DbError> {
    let stored = store.read(|queries| queries.settings(SETTING)).await?;
    let json = stored.into_iter().find(|(name, _)| name == SETTING).map(|(_, json)| json);
    Ok(RestoreMark::parse(json.as_deref()))
}

/// Does what a mark asks for, once.
pub async fn take_over(world: &World, state_dir: &Path) -> anyhow::Result<()> {
    let Some(mark) = mark(&world.store).await?.filter(|mark| !mark.is_done) else { return Ok(()) };
    let (mut told, mut held, mut found) = (0, 0, 0);
    if !mark.is_nothing_since {
        for task in unfinished(world).await? {
            // What costs nothing to repeat needs nobody.
            if task.restored_at == Some(mark.at) || world.policy(&task.generator).is_free_to_repeat {
                continue;
            }
            let changed = take(world, &task, Event::Restored { at: mark.at }).await?;
            told += u32::from(changed.is_some());
            held += u32::from(changed == Some(TaskState::Held));
        }
        world.store.write(Write::Pool(PoolWrite::HoldRestored { now: world.clock.now().utc })).await?;
        found = adopt_runs(world, state_dir).await?;
    }
    let done = RestoreMark { is_done: true, ..mark.clone() };
    world.store.write(Write::PutSetting { name: SETTING.to_owned(), value: Some(done.to_json()?) }).await?;
    let (file, who) = (&mark.file, &mark.who);
    if mark.is_nothing_since {
        tell!(
            Level::Warn,
            Kind::DatabaseRestored,
            "the database was restored from {file} by {who}, who says that nothing ran since the backup; everything goes on"
        );
    } else {
        tell!(
            Level::Warn,
            Kind::DatabaseRestored,
            "the database was restored from {file} by {who}: of {told} unfinished tasks {held} are held, {found} runs were found; \
             `contentctl release` and `contentctl pool release` let go what nothing was made of since"
        );
    }
    Ok(())
}

async fn unfinished(world: &World) -> Result<Vec<Task>, DbError> {
    let states = TaskState::ALL.iter().copied().filter(|state| !state.is_final()).collect();
    let filter = TaskFilter { states, ..TaskFilter::default() };
    let mut tasks: Vec<Task> = Vec::new();
    loop {
        let page = Page { limit: SLICE, offset: 0, before: tasks.last().map(|task| task.seq) };
        let asked = filter.clone();
        let slice = world.store.read(move |queries| queries.tasks(&asked, page)).await?;
        let is_last = slice.len() < SLICE as usize;
        tasks.extend(slice);
        if is_last {
            return Ok(tasks);
        }
    }
}

/// Takes up runs whose keys are not known here, each by the task that it names. How many.
async fn adopt_runs(world: &World, state_dir: &Path) -> anyhow::Result<u32> {
    let leftovers = Leftovers::new(&std::path::absolute(state_dir)?);
    let listed = tokio::task::spawn_blocking(move || leftovers.runs()).await?;
    let listed = listed.with_context(|| format!("{}: runs cannot be listed", state_dir.display()))?;
    let mut runs: BTreeMap<TaskId, Vec<AttemptKey>> = BTreeMap::new();
    for slice in listed.chunks(KEYS) {
        let keys: Vec<AttemptKey> = slice.iter().map(|(key, _)| key.clone()).collect();
        let known = world.store.read(move |queries| queries.key_uses(&keys)).await?;
        for (key, task) in slice.iter().filter(|(key, _)| !known.contains_key(key)) {
            runs.entry(task.clone()).or_default().push(key.clone());
        }
    }
    let mut adopted = 0;
    for (id, keys) in runs {
        let asked = id.clone();
        // A run of a task that the backup does not know stays where it is.
        let Some((task, _)) = world.store.read(move |queries| queries.task(&asked)).await? else { continue };
        match <[AttemptKey; 1]>::try_from(keys) {
            Ok([key]) => adopted += u32::from(take(world, &task, Event::RunFound { key }).await?.is_some()),
            Err(keys) => {
                let about = About::task(&task).is(Kind::TaskTrouble);
                tell!(Level::Warn, about, "has {} runs that the backup does not know; it stays held", keys.len());
            }
        }
    }
    Ok(adopted)
}

/// The state afterwards; none where the event did not fit.
async fn take(world: &World, task: &Task, event: Event) -> Result<Option<TaskState>, DbError> {
    match world.transit(Happened::to(task, event)).await {
        Ok(changed) => Ok(Some(changed.change.task.state)),
        Err(WriteError::Db(error)) => Err(error),
        Err(error) => {
            tell!(Level::Debug, About::task(task), "not taken over: {error}");
            Ok(None)
        }
    }
}
