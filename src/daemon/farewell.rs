//! What is still running when the daemon ends, and what becomes of it: said once, when a stop begins.
//!
//! It must not decide anything: the lines tell what the rest of the program does with such tasks. What goes on is named
//! task by task, because whoever stops a service wants to know what is being paid for meanwhile.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use crate::actors::World;
use crate::store::DbError;
use crate::store::query::Queries;
use crate::task::{AttemptState, GeneratorName, PoolId, TaskId, TaskState, Timestamp};

/// Task ids on one line; the rest is counted.
const MAX_NAMED: usize = 20;
/// Pieces that somebody has; more at once are looked through by nobody.
const MOST_PIECES: u32 = 1_000;

/// What happens to an active task when the daemon ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fate {
    /// A call is under way.
    Awaited,
    /// A job of the generator's own.
    GoesOnThere,
    /// A detached run.
    GoesOnHere,
    /// A plain child of the daemon.
    EndsNow,
}

/// What is still running.
#[derive(Debug, Default)]
pub struct StillRunning {
    tasks: BTreeMap<(GeneratorName, Fate), Vec<TaskId>>,
    /// Pieces for which a publisher is called, by its name.
    publishing: BTreeMap<String, Vec<PoolId>>,
}

impl StillRunning {
    /// Looks.
    pub async fn look(world: &World) -> Result<Self, DbError> {
        let mut running: BTreeMap<(GeneratorName, Fate), Vec<TaskId>> = BTreeMap::new();
        let look =
            |queries: &dyn Queries| Ok((queries.active()?, queries.pool_wakes(Timestamp(i64::MAX), MOST_PIECES)?));
        let (active, pieces) = world.store.read(look).await?;
        let mut publishing: BTreeMap<String, Vec<PoolId>> = BTreeMap::new();
        // What is in doubt has no call under way, or the next one is not waited for.
        for (entry, handout) in
            pieces.into_iter().filter(|(_, one)| one.holder.is_publisher() && one.quiet_since.is_none())
        {
            publishing.entry(handout.holder.name().to_owned()).or_default().push(entry.id);
        }
        for (task, attempt) in active {
            let Some(generator) = world.generator(&task.generator) else { continue };
            let is_call = task.state == TaskState::Submitting && attempt.state == AttemptState::Intended;
            let fate = match generator.policy().is_blocking {
                _ if is_call => Fate::Awaited,
                false => Fate::GoesOnThere,
                true if generator.driver.runs_outlive_the_daemon() => Fate::GoesOnHere,
                true => Fate::EndsNow,
            };
            running.entry((task.generator, fate)).or_default().push(task.id);
        }
        Ok(Self { tasks: running, publishing })
    }

    /// A line for each generator and fate.
    pub fn lines(&self, limit: Duration) -> Vec<String> {
        let line = |((generator, fate), tasks): (&(GeneratorName, Fate), &Vec<TaskId>)| {
            let count = tasks.len();
            let what = match fate {
                Fate::Awaited => {
                    let calls = counted(count, "call is", "calls are");
                    format!("to {generator} {calls} under way, with {} s to end", limit.as_secs())
                }
                Fate::GoesOnThere => {
                    let jobs = counted(count, "job goes", "jobs go");
                    format!("at {generator} {jobs} on; the next start asks about that")
                }
                Fate::GoesOnHere => {
                    let runs = counted(count, "detached run goes", "detached runs go");
                    format!("of {generator} {runs} on; the next start looks for that")
                }
                Fate::EndsNow => {
                    let runs = counted(count, "run ends", "runs end");
                    format!("of {generator} {runs} with the daemon, given back unspent")
                }
            };
            format!("{what}: {}", named(tasks))
        };
        let to_publisher = |(publisher, entries): (&String, &Vec<PoolId>)| {
            let calls = counted(entries.len(), "call is", "calls are");
            let limit = limit.as_secs();
            format!("to publisher {publisher} {calls} under way, with {limit} s to end: pool entry {}", named(entries))
        };
        self.tasks.iter().map(line).chain(self.publishing.iter().map(to_publisher)).collect()
    }

    /// All of it in a few words.
    pub fn summary(&self) -> String {
        let mut counts: BTreeMap<Fate, usize> = BTreeMap::new();
        for ((_, fate), tasks) in &self.tasks {
            *counts.entry(*fate).or_default() += tasks.len();
        }
        let pieces: usize = self.publishing.values().map(Vec::len).sum();
        if pieces > 0 {
            *counts.entry(Fate::Awaited).or_default() += pieces;
        }
        let part = |(fate, count): (&Fate, &usize)| match fate {
            Fate::Awaited => counted(*count, "call is waited for", "calls are waited for"),
            Fate::GoesOnThere => counted(*count, "job goes on at its generator", "jobs go on at their generators"),
            Fate::GoesOnHere => counted(*count, "detached run goes on", "detached runs go on"),
            Fate::EndsNow => counted(*count, "run is ended and given back", "runs are ended and given back"),
        };
        let parts: Vec<String> = counts.iter().map(part).collect();
        if parts.is_empty() {
            "stopping: nothing is under way".to_owned()
        } else {
            format!("stopping: {}", parts.join(", "))
        }
    }
}

/// The first of them, and how many more.
fn named(ids: &[impl Display]) -> String {
    let first: Vec<String> = ids.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let more = ids.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", first.join(", "))
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fate_is_told_with_its_tasks_and_long_lists_are_cut() {
        let generator = |name: &str| GeneratorName(name.to_owned());
        let many: Vec<TaskId> = (0..25).map(|number| TaskId(format!("task-{number}"))).collect();
        let tasks = BTreeMap::from([
            ((generator("slow"), Fate::GoesOnHere), many),
            ((generator("paid"), Fate::GoesOnThere), vec![TaskId("task-x".into())]),
        ]);
        let running = StillRunning { tasks, publishing: BTreeMap::new() };
        let lines = running.lines(Duration::from_secs(60));
        assert_eq!(lines[0], "at paid 1 job goes on; the next start asks about that: task-x");
        assert!(lines[1].starts_with("of slow 25 detached runs go on; the next start looks for that: task-0, "));
        assert!(lines[1].ends_with("task-19 and 5 more"));
        assert_eq!(running.summary(), "stopping: 1 job goes on at its generator, 25 detached runs go on");
        let publishing = BTreeMap::from([("site".to_owned(), vec![PoolId(7)])]);
        let publishing = StillRunning { publishing, ..StillRunning::default() };
        let line = "to publisher site 1 call is under way, with 60 s to end: pool entry 7";
        assert_eq!(publishing.lines(Duration::from_secs(60)), [line]);
        assert_eq!(publishing.summary(), "stopping: 1 call is waited for");
        assert_eq!(StillRunning::default().summary(), "stopping: nothing is under way");
    }
}
