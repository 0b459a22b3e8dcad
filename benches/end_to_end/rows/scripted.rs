//! Tasks of a generator that is a few lines in this process: everything that contentd does between a submit and a piece, and no
//! process. What is left is its own work and its commits.
//!
//! The actors, the committing thread and the database are put together as the daemon does it; the generator answers every call at
//! once: it takes each job, says at the first poll that it is at work and at the second that it is done, and hands out a piece. The tasks wait in line when the
//! clock starts. Floor: Diesel, on one thread, with the rows that the same tasks leave behind, in commits as large as contentd's
//! largest.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::prelude::*;
use anyhow::{Context, ensure};
use contentd::actors::failing::FailingJobs;
use contentd::actors::recovery::recover;
use contentd::actors::supervisor::{Drain, SupervisorActor, WorldChannels};
use contentd::actors::{Peers, World};
use contentd::generator::hooks::Notices;
use contentd::generator::registry::{Generator, Generators, Limits};
use contentd::generator::{Driver, Job, RunEnded, Sweep};
use contentd::host::{OsEntropy, SystemClock, runtime};
use contentd::store::group_commit::{GroupCommit, LARGEST_BATCH};
use contentd::store::sqlite;
use contentd::store::write::{NewTask, PendingLimits, Write};
use contentd::store::{ReadMode, Store};
use contentd::task::outcome::{
    CancelAnswer, FetchAnswer, FindAnswer, JobState, Piece, PollAnswer, RunReport, SubmitAnswer,
};
use contentd::task::retry::PollSchedule;
use contentd::task::{AccountId, AttemptKey, Clock, Entropy, Policy, Task, TaskState};
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::watch;

use crate::Bench;
use crate::client::{PIECE, REQUIREMENTS, TOPIC};
use crate::floors::committer;
use crate::floors::tables::{Fresh, GENERATOR};
use crate::outcome::{Bound, Outcome, Unit};

/// Calls at once. They take no time, so this only has to be enough for commits to be shared.
pub const WORKERS: usize = 64;
const READERS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(300);
/// How jobs come to their end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A run says by itself that it has ended.
    Blocking,
    /// The generator is asked about all its jobs in one call every second, and for each piece.
    Polled,
}

/// Answers at once.
#[derive(Default)]
struct Scripted {
    ended: OnceLock<RunEnded>,
}

fn at_once<T: Send + 'static>(answer: T) -> BoxFuture<'static, T> {
    Box::pin(ready(answer))
}

impl Driver for Scripted {
    fn submit(&self, job: Job) -> BoxFuture<'static, SubmitAnswer> {
        at_once(SubmitAnswer::Accepted { reference: job.attempt.key.0, vars: BTreeMap::new() })
    }

    fn start_run(&self, job: Job) -> BoxFuture<'static, RunReport> {
        // Told before it has begun for whoever asks: the poller keeps it in mind, as with a real run that is over at once.
        if let Some(ended) = self.ended.get() {
            ended(job.task.id);
        }
        at_once(RunReport::Started { reference: job.attempt.key.0 })
    }

    fn look_at_run(&self, _: Job) -> BoxFuture<'static, RunReport> {
        at_once(RunReport::Piece(piece()))
    }

    fn poll(&self, jobs: Vec<Job>) -> BoxFuture<'static, Sweep<PollAnswer>> {
        let answers = jobs.into_iter().map(|job| (job.task.id, is_at(job.task.state))).collect();
        at_once(Sweep { answers, calls: 1 })
    }

    fn poll_one(&self, job: Job) -> BoxFuture<'static, PollAnswer> {
        at_once(is_at(job.task.state))
    }

    fn find(&self, jobs: Vec<Job>) -> BoxFuture<'static, Sweep<FindAnswer>> {
        let answers = jobs.into_iter().map(|job| (job.task.id, FindAnswer::None { is_complete: true })).collect();
        at_once(Sweep { answers, calls: 1 })
    }

    fn fetch(&self, _: Job) -> BoxFuture<'static, FetchAnswer> {
        at_once(FetchAnswer::Piece(piece()))
    }

    fn cancel(&self, _: Job) -> BoxFuture<'static, CancelAnswer> {
        at_once(CancelAnswer::Ok)
    }

    fn is_quiet(&self, _: AttemptKey) -> BoxFuture<'static, bool> {
        at_once(true)
    }

    fn forget(&self, _: AttemptKey) -> BoxFuture<'static, ()> {
        at_once(())
    }

    fn interrupt(&self) -> BoxFuture<'static, ()> {
        at_once(())
    }

    fn on_run_ended(&self, tell: RunEnded) {
        // Called once.
        let _ = self.ended.set(tell);
    }

    fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    fn accepts(&self, _: &Task) -> Result<(), String> {
        Ok(())
    }
}

fn piece() -> Box<Piece> {
    Box::new(Piece { content: PIECE.to_owned(), ..Piece::default() })
}

/// The first poll finds a job at work, the next one finds it done.
fn is_at(known: TaskState) -> PollAnswer {
    let state = if known == TaskState::Submitted { JobState::Processing } else { JobState::Completed };
    PollAnswer::State { state, theirs: state.to_string(), error: None, progress: None, vars: BTreeMap::new() }
}

fn generators(kind: Kind) -> Generators {
    let policy = Policy {
        is_idempotent: true,
        is_ref_our_key: true,
        is_blocking: kind == Kind::Blocking,
        is_free_to_repeat: true,
        polls: PollSchedule { interval: Duration::from_secs(1), learned: None, is_batch: kind == Kind::Polled },
        ..Policy::default()
    };
    let limits = Limits {
        max_in_flight: 1_000_000,
        max_in_flight_per_account: None,
        calls_per_minute: None,
        submits_per_day: None,
        submits_per_day_per_account: None,
        max_pending: None,
        max_pending_per_account: None,
    };
    Generators::new([Generator::new(GENERATOR.into(), Arc::new(Scripted::default()), policy, limits)])
}

/// Both kinds.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let tasks = bench.count(10_000);
    let rows = [(Kind::Blocking, "scripted generator, blocking"), (Kind::Polled, "scripted generator, polled")];
    let mut outcomes = rows.map(|(_, row)| Outcome::of(row, Unit::PerSecond, Bound::AtLeast(0.5)));
    for _ in 0..bench.options.runs {
        for ((kind, _), outcome) in rows.iter().zip(&mut outcomes) {
            let ours = ours(&bench.work.join("scripted"), *kind, tasks)?;
            let floor = floor(&bench.work.join("scripted-floor"), *kind, tasks)?;
            outcome.push(tasks as f64 / ours.as_secs_f64(), tasks as f64 / floor.as_secs_f64());
        }
    }
    Ok(outcomes.into())
}

/// How long so many tasks take that wait in line.
pub fn ours(dir: &Path, kind: Kind, tasks: usize) -> anyhow::Result<Duration> {
    drop(committer::open(dir)?);
    let opened = sqlite::open(&dir.join("floor.db"), READERS)?;
    let commits = Arc::new(GroupCommit::start(opened.backend, |error| eprintln!("the database failed: {error}"))?);
    let store = Store::new(Arc::clone(&commits) as _, Arc::new(opened.queries), ReadMode::Blocking);
    let threads = runtime::with_ready_threads(WORKERS)?;
    let took = System::with_tokio_rt(|| threads).block_on(async {
        submit(&store, tasks).await?;
        run(store, kind, tasks).await
    });
    commits.close();
    took
}

async fn submit(store: &Store, tasks: usize) -> anyhow::Result<()> {
    let now = SystemClock::new().now();
    let new = || {
        let mut task = Task::blank(OsEntropy.task_id(), AccountId(1), GENERATOR.into(), now.utc);
        (task.topic, task.requirements) = (TOPIC.to_owned(), Some(REQUIREMENTS.to_owned()));
        (task.auto_approve, task.max_retries, task.time_limit_s) = (true, 3, 1_800);
        task.submitted_by = "0:root".to_owned();
        NewTask { task, digest: String::new(), claim: None, limits: PendingLimits::default() }
    };
    for first in (0..tasks).step_by(LARGEST_BATCH) {
        let tasks = (first..tasks.min(first + LARGEST_BATCH)).map(|_| new()).collect();
        store.write(Write::SubmitTasks { tasks, max_pending: u64::MAX, now: now.clone() }).await?;
    }
    Ok(())
}

/// The actors, from their start until every task is completed.
async fn run(store: Store, kind: Kind, tasks: usize) -> anyhow::Result<Duration> {
    let (peers, peers_seen) = watch::channel(Peers::default());
    let (generators, generators_seen) = watch::channel(Arc::new(generators(kind)));
    let (_notices, notices) = watch::channel(Arc::new(Notices::default()));
    let world = World {
        store,
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(OsEntropy),
        generators: generators_seen,
        peers: peers_seen,
        readiness: Default::default(),
        failing: FailingJobs::default(),
        rules: Default::default(),
        images: Default::default(),
        publishers: Default::default(),
        notices,
    };
    let began = Instant::now();
    recover(&world).await?;
    let channels = WorldChannels { peers, generators };
    let spent = Box::new(|| eprintln!("an actor dies again and again"));
    let supervisor = SupervisorActor::new(world.clone(), channels, WORKERS, spent).start();
    loop {
        let counts = world.store.read(|queries| queries.counts()).await?;
        if counts.get(&TaskState::Completed).copied().unwrap_or(0) == tasks as u64 {
            break;
        }
        ensure!(began.elapsed() < PATIENCE, "not done after {} s: {counts:?}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed();
    supervisor.send(Drain).await.context("the actors did not end")?;
    Ok(took)
}

type Step = fn(&Fresh, &mut SqliteConnection) -> QueryResult<()>;

fn floor(dir: &Path, kind: Kind, tasks: usize) -> anyhow::Result<Duration> {
    let mut backend = committer::open(dir)?;
    let tasks = Fresh::some(tasks);
    let connection = backend.connection();
    for some in tasks.chunks(LARGEST_BATCH) {
        connection.immediate_transaction(|connection| some.iter().try_for_each(|task| task.insert(connection)))?;
    }
    let steps: &[Step] = match kind {
        Kind::Blocking => &[Fresh::claim, Fresh::accept, |task, connection| task.complete(connection, "submitted")],
        Kind::Polled => &[Fresh::claim, Fresh::accept, Fresh::begin, Fresh::note_end, |task, connection| {
            task.complete(connection, "processing")
        }],
    };
    let began = Instant::now();
    for some in tasks.chunks(LARGEST_BATCH) {
        for step in steps {
            connection.immediate_transaction(|connection| some.iter().try_for_each(|task| step(task, connection)))?;
        }
    }
    Ok(began.elapsed())
}
