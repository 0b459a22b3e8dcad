//! Each generator as it stands, and what its tasks tell: what waits, what does not move, what waits for a person.
//!
//! The surprise: the likeliest fault of a generator with a worker of its own shows in no call. It takes every job, answers
//! every poll, and none of its jobs ever begins.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{off_thread, span};
use crate::actors::queue::{BreakerStatus, QueueStatus};
use crate::actors::supervisor::GetStatus;
use crate::backend::DaemonBackend;
use crate::finding::Finding;
use crate::generator::registry::Generator;
use crate::store::DbError;
use crate::store::query::{Page, Queries, TaskFilter};
use crate::task::learning::JOBS_LOOKED_AT;
use crate::task::policy::DeadWhen;
use crate::task::{Attempt, GeneratorName, Task, TaskState, Timestamp};

/// A job that has not begun for so long is told, where nothing was learned of the generator.
const LONG_UNSTARTED: Duration = Duration::from_secs(600);
/// With less than this it is not told, however quick the generator is.
const SHORTEST_UNSTARTED: Duration = Duration::from_secs(60);
/// So many times the usual duration of a whole job.
const TIMES_USUAL: u32 = 3;
/// A task that waits so long at the head of its lane is told.
const LONG_WAIT: Duration = Duration::from_secs(1800);
/// How many tasks are named.
const NAMED: usize = 3;
/// How many lanes are looked at.
const LANES: u32 = 256;
/// How many held tasks are looked at.
const HELD: u32 = 1000;

/// What the rows say.
struct Rows {
    active: Vec<(Task, Attempt)>,
    held: Vec<Task>,
    held_count: u64,
    /// Since when the head of a lane has waited, by generator: the longest.
    waiting: BTreeMap<GeneratorName, Timestamp>,
    /// How long jobs usually take.
    usual: BTreeMap<GeneratorName, Duration>,
}

impl DaemonBackend {
    pub(super) async fn look_at_generators(&self) -> Vec<Finding> {
        let generators: Vec<_> = self.world.generators.borrow().iter().cloned().collect();
        if generators.is_empty() {
            let cure = "write [generators.NAME] into the configuration (contentd.toml(5)), then `contentctl reload`";
            return vec![Finding::warning("generators", "none is configured: every submit is refused", cure)];
        }
        let now = self.world.clock.now().utc;
        let names: Vec<GeneratorName> = generators.iter().map(|generator| generator.name.clone()).collect();
        let rows = match self.world.store.read(move |queries| Rows::read(queries, now, &names)).await {
            Ok(rows) => rows,
            Err(error) => {
                return vec![Finding::error("tasks", format!("cannot be read: {error}"), "see the database above")];
            }
        };
        let queue = self.supervisor.send(GetStatus::default()).await.ok().and_then(|status| status.queue);
        let mut findings = Vec::new();
        for generator in &generators {
            let driver = std::sync::Arc::clone(&generator.driver);
            let subject = format!("generator {}", generator.name);
            findings.extend(off_thread(move || driver.preflight()).await.unwrap_or_else(|why| {
                vec![Finding::error(subject.clone(), format!("could not be looked at: {why}"), "try again")]
            }));
            findings.extend(rows.of_generator(generator, queue.as_ref(), now));
        }
        findings.extend(rows.of_tasks(&generators));
        findings
    }
}

impl Rows {
    fn read(queries: &dyn Queries, now: Timestamp, names: &[GeneratorName]) -> Result<Self, DbError> {
        let held = TaskFilter { states: vec![TaskState::Held], ..TaskFilter::default() };
        let mut waiting = BTreeMap::new();
        for head in queries.lane_heads(now, 1, LANES, &BTreeSet::new())? {
            let since = head.tasks.first().map_or(now, |task| task.queued_at);
            let oldest = waiting.entry(head.generator).or_insert(since);
            *oldest = since.min(*oldest);
        }
        let mut usual = BTreeMap::new();
        for name in names {
            let past = queries.past_jobs(name, JOBS_LOOKED_AT)?;
            let mut durations: Vec<Duration> = past.iter().map(|job| job.took).collect();
            durations.sort_unstable();
            if let Some(median) = durations.get(durations.len() / 2) {
                usual.insert(name.clone(), *median);
            }
        }
        Ok(Self {
            active: queries.active()?,
            held: queries.tasks(&held, Page::first(HELD))?,
            held_count: queries.counts()?.get(&TaskState::Held).copied().unwrap_or(0),
            waiting,
            usual,
        })
    }

    fn of_generator(&self, generator: &Generator, queue: Option<&QueueStatus>, now: Timestamp) -> Vec<Finding> {
        let (name, subject) = (&generator.name, format!("generator {}", generator.name));
        let breaker = queue.and_then(|queue| queue.breakers.iter().find(|breaker| breaker.generator == *name));
        let is_paused = queue.is_some_and(|queue| queue.pauses.iter().any(|pause| pauses(&pause.scope, name)));
        let in_flight = queue.and_then(|queue| queue.in_flight.get(name)).copied().unwrap_or(0);
        let most = generator.limits.max_in_flight;
        let mut findings = Vec::new();
        findings.extend(breaker.map(|breaker| open_breaker(&subject, name, breaker)));
        if is_paused {
            let found = "paused: no new job starts";
            findings.push(Finding::warning(&subject, found, format!("`contentctl resume --generator {name}`")));
        }
        let waits = self.waiting.get(name).map(|since| now.since(*since));
        let is_hindered = breaker.is_some() || is_paused || in_flight >= most;
        match waits.filter(|waits| *waits > LONG_WAIT && !is_hindered) {
            Some(waits) => {
                let found =
                    format!("a task has been next in line for {}, and {in_flight} of {most} jobs go on", span(waits));
                let cure = "`contentctl queue` shows it, `contentctl status TASK` says why it waits";
                findings.push(Finding::warning(&subject, found, cure));
            }
            None => findings.push(Finding::ok(&subject, format!("{in_flight} of {most} jobs go on"))),
        }
        let ours = || self.active.iter().filter(|(task, _)| task.generator == *name);
        let policy = generator.policy();
        if !policy.is_blocking {
            findings.extend(unstarted(&subject, ours(), now, self.usual.get(name).copied()));
        }
        findings.extend(policy.dead_when.as_ref().and_then(|dead| nearly_dead(&subject, ours(), now, dead)));
        findings
    }

    fn of_tasks(&self, generators: &[std::sync::Arc<Generator>]) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.held_count > 0 {
            let found = format!(
                "{} for a person: {}",
                crate::text::counted(self.held_count, "waits", "wait"),
                named(self.held.iter().map(|task| task.id.as_str()))
            );
            let cure = "`contentctl list --state held`, then `contentctl show TASK`, which names its ways out: `contentctl settle TASK` \
                        with --adopt REF, --absent or --fail; after a restore also `contentctl release TASK` (`contentctl doctor --all` names the database that it \
                        replaced)";
            findings.push(Finding::warning("held tasks", found, cure));
        } else {
            findings.push(Finding::ok("held tasks", "none waits for a person"));
        }
        let is_known = |name: &GeneratorName| generators.iter().any(|generator| generator.name == *name);
        let active = self.active.iter().map(|(task, _)| &task.generator);
        let gone: BTreeSet<&str> =
            self.waiting.keys().chain(active).filter(|name| !is_known(name)).map(GeneratorName::as_str).collect();
        if !gone.is_empty() {
            let found = format!("tasks wait for generators that are not configured: {}", named(gone.iter().copied()));
            let cure = "write their sections back and `contentctl reload`, or `contentctl cancel --generator NAME`";
            findings.push(Finding::error("tasks", found, cure));
        }
        findings
    }
}

fn pauses(scope: &crate::actors::queue::PauseScope, name: &GeneratorName) -> bool {
    scope.account.is_none() && scope.generator.as_ref().is_none_or(|generator| generator == name)
}

fn open_breaker(subject: &str, name: &GeneratorName, breaker: &BreakerStatus) -> Finding {
    let found = format!("its breaker is open ({}): {}; no new job starts but a probe", breaker.trip, breaker.why);
    Finding::error(
        subject,
        found,
        format!(
            "`contentctl doctor {name}` tries each verb; it closes by itself once a probe goes well, and `contentctl resume --generator {name}` has one start at once"
        ),
    )
}

fn named<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.take(NAMED + 1).collect();
    if names.len() > NAMED {
        names[NAMED] = "…";
    }
    names.join(", ")
}

/// Jobs that were taken long ago and whose state there has never moved.
fn unstarted<'a>(
    subject: &str,
    active: impl Iterator<Item = &'a (Task, Attempt)>,
    now: Timestamp,
    usual: Option<Duration>,
) -> Option<Finding> {
    let patience = usual.map_or(LONG_UNSTARTED, |usual| (usual * TIMES_USUAL).max(SHORTEST_UNSTARTED));
    let has_stood = |attempt: &Attempt| {
        let accepted = attempt.accepted_at?;
        // One that moved once is worked on, whatever it is called.
        let since = attempt.unchanged_since.map_or(accepted, |unchanged| unchanged.max(accepted));
        Some(now.since(since)).filter(|stood| *stood > patience)
    };
    let still = active.filter(|(task, _)| task.state == TaskState::Submitted);
    let still: Vec<_> = still.filter_map(|(task, attempt)| Some((task, has_stood(attempt)?))).collect();
    let longest = still.iter().map(|(_, stood)| *stood).max()?;
    let ids = named(still.iter().map(|(task, _)| task.id.as_str()));
    let found = format!("{} jobs were taken and have not begun, one for {}: {ids}", still.len(), span(longest));
    let cure = "its worker may not be running: look at the generator's own worker or queue \
                (`systemctl status contentd-creator-worker`, `redis-cli ping` for content-creator)";
    Some(Finding::warning(subject, found, cure))
}

/// Jobs that stand half as long as it takes to call them dead.
fn nearly_dead<'a>(
    subject: &str,
    active: impl Iterator<Item = &'a (Task, Attempt)>,
    now: Timestamp,
    dead: &DeadWhen,
) -> Option<Finding> {
    let is_near = |attempt: &Attempt| {
        attempt.generator_state.as_deref() == Some(dead.state.as_str())
            && attempt.unchanged_since.is_some_and(|since| now.since(since) * 2 > dead.unchanged_for)
    };
    let near: Vec<_> = active.filter(|(_, attempt)| is_near(attempt)).map(|(task, _)| task.id.as_str()).collect();
    if near.is_empty() {
        return None;
    }
    let found = format!(
        "{} jobs stand at {:?} and are called dead after {}: {}",
        near.len(),
        dead.state,
        span(dead.unchanged_for),
        named(near.iter().copied())
    );
    Some(Finding::warning(
        subject,
        found,
        "look at the generator's queue and worker; `contentctl show TASK` has its reference",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{AccountId, TaskId};

    const NOW: Timestamp = Timestamp(100_000_000);

    fn ago(seconds: u64) -> Timestamp {
        NOW.minus(Duration::from_secs(seconds))
    }

    fn row(state: TaskState, accepted: u64, unchanged: Option<u64>) -> (Task, Attempt) {
        let at = ago(accepted);
        let task = Task::blank(TaskId("task-000000000001".into()), AccountId(1), "g".into(), at);
        let attempt = Attempt {
            accepted_at: Some(at),
            generator_state: Some("pending".into()),
            unchanged_since: unchanged.map(ago),
            ..Attempt::intended(task.id.clone(), 1, "k".into(), at)
        };
        (Task { state, ..task }, attempt)
    }

    #[test]
    fn a_job_that_never_begins_points_at_the_worker() {
        let told = |rows: &[(Task, Attempt)], usual: Option<u64>| {
            unstarted("g", rows.iter(), NOW, usual.map(Duration::from_secs)).is_some()
        };
        let old = [row(TaskState::Submitted, 700, None)];
        assert!(told(&old, None), "ten minutes without a move");
        assert!(!told(&old, Some(300)), "this one usually takes five minutes");
        assert!(told(&old, Some(10)));
        assert!(!told(&[row(TaskState::Submitted, 700, Some(20))], None), "it has moved since");
        assert!(!told(&[row(TaskState::Processing, 7000, Some(7000))], None), "it has begun");
        assert!(!told(&[row(TaskState::Submitted, 50, None)], Some(1)), "too early to say anything");
    }

    #[test]
    fn a_row_on_its_way_to_be_called_dead_is_told() {
        let dead = DeadWhen { state: "pending".into(), unchanged_for: Duration::from_secs(1000) };
        let told =
            |unchanged| nearly_dead("g", [row(TaskState::Submitted, 900, unchanged)].iter(), NOW, &dead).is_some();
        assert!(told(Some(600)));
        assert!(!told(Some(400)));
        assert!(!told(None));
    }

    #[test]
    fn a_pause_of_one_account_is_no_pause_of_the_generator() {
        let scope = |generator: Option<&str>, account| crate::actors::queue::PauseScope {
            generator: generator.map(Into::into),
            account,
        };
        let name = GeneratorName::from("g");
        assert!(pauses(&scope(None, None), &name) && pauses(&scope(Some("g"), None), &name));
        assert!(!pauses(&scope(Some("h"), None), &name) && !pauses(&scope(None, Some(AccountId(1))), &name));
    }
}
