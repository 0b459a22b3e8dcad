//! What a start does with everything that was under way when the daemon ended, before any worker starts.
//!
//! There is little to do, because the rows say it all: a submit without an owner becomes a doubt, a run is looked at, and
//! every other active task has a wake time already. Jobs that failed while a breaker was open are remembered. The same steps clear it up afterwards that clear up any doubt.

use log::Level;

use super::queue::{BREAKER_SETTING, stored_breaker};
use super::{Happened, World};
use crate::events::{About, Kind};
use crate::generator::Job;
use crate::store::DbError;
use crate::store::write::WriteError;
use crate::task::outcome::RunReport;
use crate::task::{Attempt, AttemptState, Event, Task};
use crate::tell;

/// What was found under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Active tasks.
    pub active: usize,
    /// Submits whose outcome is in doubt now.
    pub doubted: usize,
    /// Runs that go on.
    pub running: usize,
}

/// Recovers every active task. To be run once, before the actors start.
pub async fn recover(world: &World) -> Result<Recovered, DbError> {
    let (active, breakers) =
        world.store.read(|queries| Ok((queries.active()?, queries.settings(BREAKER_SETTING)?))).await?;
    let now = world.clock.now().utc;
    for (generator, breaker) in breakers.iter().filter_map(|setting| stored_breaker(setting, now)) {
        world.failing.restore(generator, &breaker);
    }
    let mut recovered = Recovered { active: active.len(), ..Recovered::default() };
    for (task, attempt) in active {
        let is_blocking = world.policy(&task.generator).is_blocking;
        match attempt.state {
            AttemptState::Intended if !is_blocking => {
                let why = "contentd ended while the call was under way".to_owned();
                recovered.doubted += usize::from(take(world, &task, &attempt, Event::CallLost(why)).await?);
            }
            AttemptState::Intended | AttemptState::Accepted if is_blocking => {
                recovered.running += usize::from(recover_run(world, task, attempt).await?);
            }
            _ => {}
        }
    }
    Ok(recovered)
}

/// Looks at a run, which also tells its driver to watch it. What it came to is committed now only if it had not yet been
/// known to have started; the poller does the rest.
async fn recover_run(world: &World, task: Task, attempt: Attempt) -> Result<bool, DbError> {
    let Some(generator) = world.generator(&task.generator) else { return Ok(false) };
    let job = Job { task: task.clone(), attempt: attempt.clone() };
    let report = generator.driver.look_at_run(job).await;
    let is_running = matches!(report, RunReport::Starting | RunReport::Started { .. } | RunReport::Running);
    if attempt.state == AttemptState::Accepted && is_running {
        return Ok(true);
    }
    if attempt.state == AttemptState::Accepted {
        take(world, &task, &attempt, Event::PollRequested).await?;
        return Ok(false);
    }
    let report = match report {
        RunReport::Starting | RunReport::NeverStarted(_) => report,
        _ => RunReport::Started { reference: attempt.key.0.clone() },
    };
    take(world, &task, &attempt, Event::RunReported(report)).await?;
    take(world, &task, &attempt, Event::PollRequested).await?;
    Ok(is_running)
}

async fn take(world: &World, task: &Task, attempt: &Attempt, event: Event) -> Result<bool, DbError> {
    let happened = Happened { attempt: Some(attempt.number), ..Happened::to(task, event) };
    match world.transit(happened).await {
        Ok(_) => Ok(true),
        Err(WriteError::Db(error)) => Err(error),
        Err(error) => {
            let about = About::job(task, attempt).is(Kind::TaskTrouble);
            tell!(Level::Warn, about, "was not recovered: {error}");
            Ok(false)
        }
    }
}
