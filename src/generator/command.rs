//! The command driver: every generator that a configuration can describe, through one code for all verbs.
//!
//! It brings together what the configuration says ([`super::spec`]), what runs it ([`super::exec`], [`super::run`]) and
//! what reads the answers ([`super::interpret`]). It must not decide anything itself, and secrets must not leave it. The
//! surprise: each method does all of its work, reading files and parsing output included, on one blocking thread.

pub(crate) mod calls;
pub mod hook;
mod meaning;
mod notes;
mod plain;
mod runs;
pub mod secrets;
pub mod topics;
mod trial;
mod written;

use std::collections::HashSet;
use std::io::PipeReader;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::future::{BoxFuture, FutureExt};

use super::access::Access;
use super::exec::{Environment, Launch, NoResult, on_thread};
use super::log::GeneratorLogs;
use super::patience::AskedAt;
use super::run::directory::RunDirs;
use super::run::socket;
use super::run::watch::Watchers;
use super::runfile::RunFiles;
use super::spec::GeneratorSpec;
use super::trial::{Subjects, Trial};
use super::{Driver, Job, RunEnded, Sweep, Written};
use crate::finding::Finding;
use crate::task::outcome::{CancelAnswer, FetchAnswer, FindAnswer, PollAnswer, RunReport, SubmitAnswer};
use crate::task::{AttemptKey, AttemptState, Task, Timestamp};
use plain::PlainChildren;
use secrets::SecretSource;

/// Where the daemon keeps and finds things.
#[derive(Clone)]
pub struct Places {
    /// The daemon's own directory: `calls`, `runs` and `generators` are made in it.
    pub state_dir: PathBuf,
    /// The program `contentd-run`.
    pub runner: PathBuf,
    /// Where the service manager starts it instead, as another user who shares our group.
    pub run_socket: Option<PathBuf>,
    /// Where secrets are read from.
    pub credentials: Option<PathBuf>,
    /// What every call gets; a generator's own variables and secrets are added.
    pub environment: Environment,
    /// Where what calls write to standard error is kept.
    pub logs: GeneratorLogs,
    /// Nothing is called, and so no directory is made.
    pub is_look_only: bool,
    /// The place of all runs was gone when the daemon started, then: of a run that was begun before, its missing directory proves
    /// nothing, however often the place is made again.
    pub runs_lost_before: Option<Timestamp>,
}

impl Places {
    /// As the environment of this process says; the runner lies beside the running program, and there is no run socket.
    pub fn of_this_process(state_dir: PathBuf, logs: GeneratorLogs) -> Self {
        let program = std::env::current_exe().unwrap_or_default();
        Self {
            state_dir: std::path::absolute(&state_dir).unwrap_or(state_dir),
            runner: program.with_file_name("contentd-run"),
            run_socket: None,
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            environment: Environment::minimal(&|name| std::env::var_os(name)),
            logs,
            is_look_only: false,
            runs_lost_before: None,
        }
    }

    /// A working directory of the daemon's own: made, or where there is only a look, the nearest one above it that is there.
    pub(crate) fn own_directory(
        &self,
        path: PathBuf,
        make: impl FnOnce(&Path) -> std::io::Result<()>,
    ) -> Result<PathBuf, String> {
        let cannot = |error| format!("cwd {} cannot be made ({error}): set `cwd`, or make it", path.display());
        if self.is_look_only {
            return could_be_made(&path).map_err(cannot);
        }
        make(&path).map_err(cannot)?;
        Ok(path)
    }
}

/// The nearest directory that is there, in which the rest of the path could be made.
fn could_be_made(path: &Path) -> std::io::Result<PathBuf> {
    let there = path.ancestors().find(|part| part.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return Err(std::io::ErrorKind::NotADirectory.into());
    }
    rustix::fs::access(there, rustix::fs::Access::WRITE_OK)?;
    Ok(there.to_owned())
}

/// One generator that is driven by commands.
pub struct CommandDriver {
    inner: Arc<Inner>,
}

struct Inner {
    spec: Arc<GeneratorSpec>,
    places: Places,
    secrets: SecretSource,
    calls: RunFiles,
    runs: RunDirs,
    watchers: Watchers,
    plain: PlainChildren,
    /// Runs whose standard error was told, of those that are not forgotten.
    told: Mutex<HashSet<AttemptKey>>,
}

impl CommandDriver {
    /// Creates nothing and calls nothing yet. `places.state_dir` must be absolute: the runner is given it.
    pub fn new(spec: Arc<GeneratorSpec>, places: Places) -> Self {
        let secrets = SecretSource { dir: places.credentials.clone(), names: spec.secrets.clone() };
        let inner = Inner {
            calls: RunFiles::new(&places.state_dir),
            runs: RunDirs::new(&places.state_dir).with_access(run_access(&spec, &places)),
            watchers: Watchers::default(),
            plain: PlainChildren::default(),
            told: Mutex::default(),
            spec,
            places,
            secrets,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Does the work on a thread; `instead` answers when there is no result of it.
    fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Inner>, PipeReader) -> T + Send + 'static,
        instead: impl FnOnce(NoResult) -> T + Send + 'static,
    ) -> BoxFuture<'static, T> {
        let inner = Arc::clone(&self.inner);
        async move { on_thread(move |hang_up| work(&inner, hang_up)).await.unwrap_or_else(instead) }.boxed()
    }
}

impl Driver for CommandDriver {
    fn submit(&self, job: Job) -> BoxFuture<'static, SubmitAnswer> {
        let asked_at = AskedAt::now();
        self.on_thread(
            move |inner, hang_up| inner.submit(&job, asked_at, hang_up.as_fd()),
            |no_result| match no_result {
                NoResult::NothingRan(why) => SubmitAnswer::NeverCalled(why),
                no_result @ NoResult::Unknown => SubmitAnswer::Ambiguous(no_result.why()),
            },
        )
    }

    fn start_run(&self, job: Job) -> BoxFuture<'static, RunReport> {
        let asked_at = AskedAt::now();
        self.on_thread(
            move |inner, _| inner.start_run(&job, asked_at),
            |no_result| match no_result {
                NoResult::NothingRan(why) => RunReport::NeverStarted(why),
                // The next look at the run's lock and files says what happened.
                NoResult::Unknown => RunReport::Starting,
            },
        )
    }

    fn look_at_run(&self, job: Job) -> BoxFuture<'static, RunReport> {
        let is_new = matches!(job.attempt.state, AttemptState::Intended);
        // Nothing was seen, so nothing may be concluded: look again.
        let instead = move |_| if is_new { RunReport::Starting } else { RunReport::Running };
        self.on_thread(move |inner, _| inner.look_at_run(&job), instead)
    }

    fn poll(&self, jobs: Vec<Job>) -> BoxFuture<'static, Sweep<PollAnswer>> {
        let tasks: Vec<_> = jobs.iter().map(|job| job.task.id.clone()).collect();
        self.on_thread(
            move |inner, hang_up| inner.poll(jobs, hang_up.as_fd()),
            move |no_result| {
                let why = no_result.why();
                let answers = tasks.into_iter().map(|task| (task, PollAnswer::Unavailable(why.clone())));
                Sweep { answers: answers.collect(), calls: 0 }
            },
        )
    }

    fn poll_one(&self, job: Job) -> BoxFuture<'static, PollAnswer> {
        self.on_thread(
            move |inner, hang_up| inner.poll_one(job, hang_up.as_fd()),
            |no_result| PollAnswer::Unavailable(no_result.why()),
        )
    }

    fn find(&self, jobs: Vec<Job>) -> BoxFuture<'static, Sweep<FindAnswer>> {
        let tasks: Vec<_> = jobs.iter().map(|job| job.task.id.clone()).collect();
        self.on_thread(
            move |inner, hang_up| inner.find(jobs, hang_up.as_fd()),
            move |no_result| {
                let why = no_result.why();
                let answers = tasks.into_iter().map(|task| (task, FindAnswer::Unavailable(why.clone())));
                Sweep { answers: answers.collect(), calls: 0 }
            },
        )
    }

    fn fetch(&self, job: Job) -> BoxFuture<'static, FetchAnswer> {
        self.on_thread(
            move |inner, hang_up| inner.fetch(&job, hang_up.as_fd()),
            |no_result| FetchAnswer::Unavailable(no_result.why()),
        )
    }

    fn cancel(&self, job: Job) -> BoxFuture<'static, CancelAnswer> {
        self.on_thread(
            move |inner, hang_up| inner.cancel(&job, hang_up.as_fd()),
            |no_result| CancelAnswer::Unclear(no_result.why()),
        )
    }

    fn is_quiet(&self, key: AttemptKey) -> BoxFuture<'static, bool> {
        self.on_thread(move |inner, _| inner.calls.is_quiet(&key) && inner.runs.is_quiet(&key), |_| false)
    }

    fn forget(&self, key: AttemptKey) -> BoxFuture<'static, ()> {
        self.on_thread(
            move |inner, _| {
                inner.calls.forget(&key);
                inner.runs.forget(&key);
                inner.forget_told(&key);
            },
            drop,
        )
    }

    fn interrupt(&self) -> BoxFuture<'static, ()> {
        self.on_thread(move |inner, _| inner.plain.interrupt(inner.spec.grace), drop)
    }

    fn runs_outlive_the_daemon(&self) -> bool {
        self.inner.spec.is_detached
    }

    fn on_run_ended(&self, tell: RunEnded) {
        self.inner.watchers.on_run_ended(tell);
    }

    fn written_so_far(&self, job: Job, from: u64) -> BoxFuture<'static, Option<Written>> {
        self.on_thread(move |inner, _| inner.written_so_far(&job, from), |_| None)
    }

    fn faults(&self) -> Vec<String> {
        self.inner.faults()
    }

    fn preflight(&self) -> Vec<Finding> {
        self.inner.preflight()
    }

    fn try_out(&self, subjects: Subjects) -> BoxFuture<'static, Trial> {
        let name = self.inner.spec.name.clone();
        self.on_thread(
            move |inner, hang_up| inner.try_out(&subjects, hang_up.as_fd()),
            move |no_result| {
                let found = format!("the trial ended early: {}", no_result.why());
                let finding = Finding::error(format!("generator {name}"), found, "try again");
                Trial { findings: vec![finding], calls: 0 }
            },
        )
    }

    fn accepts(&self, task: &Task) -> Result<(), String> {
        self.inner.spec.accepts(task).map_err(|error| error.to_string())
    }
}

/// Who must be let into the runs of this generator.
fn run_access(spec: &GeneratorSpec, places: &Places) -> Access {
    let is_handed_over = places.run_socket.is_some() && spec.is_blocking() && spec.is_detached;
    if is_handed_over { Access::Shared } else { Access::Private }
}

impl Inner {
    /// Where this generator's runs are handed over, if they are.
    fn run_socket(&self) -> Option<&Path> {
        let is_shared = run_access(&self.spec, &self.places) == Access::Shared;
        self.places.run_socket.as_deref().filter(|_| is_shared)
    }

    fn faults(&self) -> Vec<String> {
        let spec = &self.spec;
        let mut faults = Vec::new();
        let mut add = |fault: String| {
            let line = format!("generators.{}: {fault}", spec.name);
            if !faults.contains(&line) {
                faults.push(line);
            }
        };
        match self.working_directory() {
            Ok(cwd) => {
                for call in spec.calls() {
                    let argv = [call.command.program(&spec.creator)];
                    if let Err(why) = (Launch { argv: &argv, env: &self.base_environment(), cwd: &cwd }).resolve() {
                        let is_creator = argv[0] == spec.creator;
                        let from = if is_creator { "; `{creator}` stands for CREATOR_CLI_PATH" } else { "" };
                        add(format!("{why}{from}"));
                    }
                }
            }
            Err(why) => add(why),
        }
        self.secrets.faults().for_each(&mut add);
        if let Some(path) = self.run_socket() {
            if let Err(error) = socket::probe(path) {
                add(error.to_string());
            }
        } else if spec.is_blocking() && spec.is_detached {
            let argv = [self.places.runner.to_string_lossy().into_owned()];
            let launch = Launch { argv: &argv, env: &self.places.environment, cwd: Path::new("/") };
            if let Err(why) = launch.resolve() {
                add(format!("detached = true needs the runner contentd-run beside contentd: {why}"));
            }
        }
        faults
    }
}
