//! What the first start after a restore does, before anything is recovered: no task may get a job that it may have already.
//!
//! The mark stands in the database until all of it is done, so a death in between begins it again; each part may be done
//! twice. What it means for a task is in `task::apply::restored`. The surprise: a run that was started after the backup
//! is found by its directory, which names its task: then its job is known after all, and goes on. A task has one job at a time,
//! so that a run may have to wait until the job that the backup knows is over: it is looked for again then.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use log::Level;
use tokio::sync::broadcast::error::RecvError;

use crate::actors::{Happened, World};
use crate::events::{About, Kind};
use crate::generator::leftovers::Leftovers;
use crate::store::query::{Page, TaskFilter};
use crate::store::restored::{RestoreMark, SETTING};
use crate::store::write::{Write, WriteError};
use crate::store::{DbError, Store, TaskChanged};
use crate::task::{AttemptKey, Event, Task, TaskId, TaskMove, TaskState};
use crate::tell;

/// Tasks that are read at once.
const SLICE: u32 = 500;
/// Keys that are asked about at once: a statement binds each of them.
const KEYS: usize = 500;

/// The mark that a restore left, whether it is done or not.
pub async fn mark(store: &Store) -> anyhow::Result<Option<RestoreMark>> {
    let stored = store.read(|queries| queries.settings(SETTING)).await?;
    let json = stored.into_iter().find(|(name, _)| name == SETTING).map(|(_, json)| json);
    Ok(RestoreMark::parse(json.as_deref())?)
}

/// Does what a mark asks for, once.
pub async fn take_over(world: &World, state_dir: &Path) -> anyhow::Result<()> {
    let Some(mark) = mark(&world.store).await? else { return Ok(()) };
    if !mark.is_done {
        tell_tasks(world, state_dir, &mark).await?;
    } else if mark.doubt().is_some() {
        adopt_runs(world, state_dir, None).await?;
    }
    if mark.doubt().is_some() {
        go_on_adopting(world, state_dir);
    }
    Ok(())
}

async fn tell_tasks(world: &World, state_dir: &Path, mark: &RestoreMark) -> anyhow::Result<()> {
    let (mut told, mut held, mut found) = (0, 0, 0);
    if !mark.is_nothing_since {
        for task in unfinished(world).await? {
            // What costs nothing to repeat needs nobody, until its piece comes.
            if task.restored_at == Some(mark.at) || world.policy(&task.generator).is_free_to_repeat {
                continue;
            }
            let changed = take(world, &task, Event::Restored { at: mark.at }).await?;
            told += u32::from(changed.is_some());
            held += u32::from(changed == Some(TaskState::Held));
        }
        world.store.write(Write::MarkEnded { at: mark.at }).await?;
        world.store.write(Write::HoldPool).await?;
        found = adopt_runs(world, state_dir, None).await?;
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

/// Takes up runs of restored tasks whose keys are not known here, each by the task that it names: of all of them, or of one. Of
/// several runs of a task the newest comes first, and the others when that one is over. How many.
async fn adopt_runs(world: &World, state_dir: &Path, only: Option<&TaskId>) -> anyhow::Result<u32> {
    let leftovers = Leftovers::new(&std::path::absolute(state_dir)?);
    let runs = unknown_runs(world, &leftovers, only).await?;
    let mut adopted = 0;
    for (id, keys) in runs {
        // A run of a task that the backup does not know stays where it is.
        let Some((task, _)) = world.store.read(move |queries| queries.task(&id)).await? else { continue };
        if task.restored_at.is_none() || task.state == TaskState::Completed {
            continue;
        }
        let is_taken = take(world, &task, Event::RunFound { key: keys[0].clone() }).await?.is_some();
        adopted += u32::from(is_taken);
        let waiting = if is_taken { &keys[1..] } else { &keys[..] };
        if !waiting.is_empty() {
            let dirs: Vec<String> =
                waiting.iter().filter_map(|key| Some(leftovers.run_dir(key)?.display().to_string())).collect();
            tell!(
                Level::Warn,
                About::task(&task).is(Kind::TaskTrouble),
                "was run since the backup, and that run waits until the job that is known is over: {}",
                dirs.join(", ")
            );
        }
    }
    if adopted > 0 {
        world.tell_poller();
    }
    Ok(adopted)
}

async fn unknown_runs(
    world: &World,
    leftovers: &Leftovers,
    only: Option<&TaskId>,
) -> anyhow::Result<BTreeMap<TaskId, Vec<AttemptKey>>> {
    let listing = leftovers.clone();
    let mut listed = tokio::task::spawn_blocking(move || listing.runs()).await?.context("runs cannot be listed")?;
    listed.retain(|(_, task)| only.is_none_or(|only| only == task));
    let mut runs: BTreeMap<TaskId, Vec<AttemptKey>> = BTreeMap::new();
    for slice in listed.chunks(KEYS) {
        let keys: Vec<AttemptKey> = slice.iter().map(|(key, _)| key.clone()).collect();
        let known = world.store.read(move |queries| queries.key_uses(&keys)).await?;
        for (key, task) in slice.iter().filter(|(key, _)| !known.contains_key(key)) {
            runs.entry(task.clone()).or_default().push(key.clone());
        }
    }
    Ok(runs)
}

/// As long as the daemon lives: whenever a job of a restored task is over without a piece, looks for a run that came since.
fn go_on_adopting(world: &World, state_dir: &Path) {
    let (world, state_dir) = (world.clone(), state_dir.to_owned());
    let mut changes = world.store.watch();
    actix::spawn(async move {
        loop {
            let only = match changes.recv().await {
                Ok(changed) if wants_a_run(&world, &changed) => Some(changed.task.id.clone()),
                Ok(_) => continue,
                Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => return,
            };
            if let Err(error) = adopt_runs(&world, &state_dir, only.as_ref()).await {
                tell!(Level::Warn, Kind::TaskTrouble, "runs since the backup could not be taken up: {error:#}");
            }
        }
    });
}

fn wants_a_run(world: &World, changed: &TaskChanged) -> bool {
    let task = &changed.task;
    let is_over = task.state == TaskState::Held || task.state.is_final() && task.state != TaskState::Completed;
    let is_ours = changed.event.as_deref() == Some(TaskMove::Adopted.as_str());
    task.restored_at.is_some()
        && is_over
        && changed.event.is_some()
        && !is_ours
        && world.policy(&task.generator).is_blocking
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
