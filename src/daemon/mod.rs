//! The composition root: opens what the daemon needs, wires it, runs it, and takes it down in order.
//!
//! Start: inherited socket → configuration → database (one owner) → socket (one owner) → recovery → actors → server →
//! READY. Nothing is answered before the recovery is done. Stop: no new calls → no new polls and submits, calls in hand end
//! → server → commits → the socket's file. A death at any point of either is an ordinary crash, which the next start
//! recovers from.

pub mod arguments;
mod clocks;
mod effective;
mod farewell;
#[cfg(feature = "fault-injection")]
mod faults;
mod generators;
mod heart;
mod leftovers;
mod notices;
pub mod offline;
mod publishers;
mod restored;
mod retention;
mod server_thread;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use anyhow::Context as _;
use log::Level;
use tokio::sync::{mpsc, watch};

use crate::actors::failing::FailingJobs;
use crate::actors::recovery::recover;
use crate::actors::supervisor::{Drain, GetStatus, OpenSchedules, Reload, SupervisorActor, WorldChannels};
use crate::actors::{Peers, World};
use crate::backend::doctor::{Installation, ReloadStanding};
use crate::backend::{DaemonBackend, DaemonCommand, ScheduleSettings, Settings, SubmitDefaults, unmet};
use crate::config::{Config, Loaded};
use crate::control::api::{ApiError, ReloadReply};
use crate::control::socket::{self, BoundSocket, Place};
use crate::events::Kind;
use crate::generator::command::Places;
use crate::generator::hooks::Notices;
use crate::generator::leftovers::Leftovers;
use crate::generator::log::GeneratorLogs;
use crate::generator::registry::Generators;
use crate::host::notify::Notifier;
use crate::host::signals::Asked;
use crate::host::{OsEntropy, SystemClock, runtime, signals, sockets};
use crate::images::{Bounds, ImageKeeper, KeepImages};
use crate::publisher::Publishing;
use crate::roles::Grants;
use crate::store::group_commit::GroupCommit;
use crate::store::write::PieceRules;
use crate::store::{ReadMode, Store, Writer, sqlite};
use crate::task::{Clock, Timestamp};
use crate::tell;
use clocks::ClockWatch;
use farewell::StillRunning;
use heart::{Heart, Notice};
use leftovers::LeftoverSweep;
use server_thread::ServerThread;

/// Readers of the database.
const READERS: u32 = 4;
/// How many of them calls on the socket may use at a time.
const READERS_FOR_CALLS: usize = 3;
/// Threads beside those that the workers' calls block: for readers of the database, polls and fetches.
const SPARE_THREADS: usize = 8;
/// For so long a daemon is at what begins with it: first looks of every actor, leftovers, images.
const FIRST_LOOKS: Duration = Duration::from_secs(1);
/// The exit status when the restart budget is spent or the database failed: the service manager starts anew.
const EXIT_BROKEN: u8 = 70;

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The configuration; none: the usual places.
    pub config: Option<PathBuf>,
    /// The socket; stronger than everything else.
    pub socket: Option<PathBuf>,
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads and judges the configuration.
pub fn load(options: &Options) -> anyhow::Result<Loaded> {
    load_with(options, &environment)
}

fn load_with(options: &Options, environment: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Loaded> {
    let mut loaded = Config::load(options.config.as_deref(), environment)?;
    if let Some(socket) = &options.socket {
        loaded.config.daemon.socket = socket.clone();
    }
    Ok(loaded)
}

/// `--check-config`: every fault of the configuration and of what it names; a generator that cannot run now is one.
pub fn check_config(options: &Options) -> anyhow::Result<Checked> {
    let mut loaded = load(options)?;
    let unread = match environment("CREDENTIALS_DIRECTORY") {
        Some(_) => Vec::new(),
        None => generators::without_secrets(&mut loaded.config),
    };
    let logs = GeneratorLogs::new(&loaded.config.daemon.state_dir);
    // It starts nothing, and a slip in a path must not leave directories behind.
    let places = Places { is_look_only: true, ..generators::places(&loaded.config, &logs, None) };
    let generators = generators::build(&loaded.config, &places, None);
    let publishers = publishers::build(&loaded.config, &places);
    let mut faults = System::new().block_on(async {
        let mut faults = generators::faults(&generators).await;
        faults.extend(publishers::faults(&publishers).await);
        faults.extend(notices::faults(&loaded.config).await);
        faults
    });
    faults.extend(schedule_faults(&loaded.config, &logs));
    Ok(Checked { file: loaded.file, faults, warnings: loaded.config.warnings(), unread })
}

/// What schedules could not do now.
fn schedule_faults(config: &Config, logs: &GeneratorLogs) -> Vec<String> {
    config.schedules.faults(&Places::of_this_process(config.daemon.state_dir.clone(), logs.clone()))
}

/// What a look at the configuration found.
#[derive(Debug)]
pub struct Checked {
    /// The file; none: there is none, and the defaults are in force.
    pub file: Option<PathBuf>,
    /// What keeps it, or a generator in it, from running.
    pub faults: Vec<String>,
    /// What runs, and may not be what was meant.
    pub warnings: Vec<String>,
    /// Credentials that only the service can read, and were not looked at.
    pub unread: Vec<String>,
}

/// Runs the daemon until it is told to stop.
pub fn run(options: Options) -> anyhow::Result<ExitCode> {
    // First of all, while the descriptors that we were given are the only ones.
    let inherited = sockets::inherited_listener().context("cannot take the service manager's socket")?;
    let inherited = inherited.map(socket::adopt).transpose()?;
    // Then signals: they must be registered before any thread starts.
    let asked = signals::listen().context("cannot listen for signals")?;
    let options = with_inherited(options, inherited.as_ref())?;
    let loaded = load(&options)?;
    let config = &loaded.config;
    if !config.daemon.is_database_named {
        make_home_of(&config.daemon.database);
    }
    let opened = sqlite::open(&config.daemon.database, READERS)?;
    let socket = match inherited {
        Some(socket) => socket,
        None if is_default_socket(&options, config) => socket::bind(&config.daemon.socket, Place::Default)?,
        None => socket::bind(&config.daemon.socket, Place::Given)?,
    };
    let (fatal, failed) = mpsc::unbounded_channel();
    let commits = GroupCommit::start(opened.backend, move |error| {
        // A daemon that is already gone needs no telling.
        let _ = fatal.send(error.to_string());
    })
    .context("cannot start the committing thread")?;
    let commits = Arc::new(commits);
    let writer: Arc<dyn Writer> = Arc::clone(&commits) as Arc<dyn Writer>;
    let store = Store::new(writer, Arc::new(opened.queries), ReadMode::Blocking);
    let logs = GeneratorLogs::new(&config.daemon.state_dir);
    let notifier = Arc::new(Notifier::from_env());
    let threads = config.daemon.workers as usize + SPARE_THREADS;
    let actors_runtime = runtime::with_ready_threads(threads).context("cannot start the threads of the daemon")?;
    let is_place_there = Leftovers::new(&config.daemon.state_dir).has_place_of_runs();
    let runs_lost_before = (!is_place_there).then(|| SystemClock::new().now().utc);
    let is_database_new = opened.is_new;
    let kept_logs = logs.clone();
    let daemon =
        Daemon { options, loaded, store, is_database_new, socket, notifier, logs: kept_logs, runs_lost_before };
    let code = System::with_tokio_rt(|| actors_runtime).block_on(daemon.live(asked, failed));
    commits.close();
    logs.close();
    tell!(Level::Info, Kind::DaemonStopped, "stopped");
    code
}

/// Makes the directories above the one of a database that nobody named: they are the user's own (`~/.local/state`), and may be missing
/// on a new machine. Where that fails, opening the database says why.
fn make_home_of(database: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    if let Some(home) = database.parent().and_then(Path::parent) {
        let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(home);
    }
}

/// Where it cannot be made, the start of a run says so.
fn make_place_of_runs(config: &Config) {
    if config.generators.values().any(|spec| spec.is_blocking() && spec.is_detached) {
        let (leftovers, is_shared) = (Leftovers::new(&config.daemon.state_dir), config.daemon.run_socket.is_some());
        if let Err(error) = leftovers.make_place_of_runs(is_shared) {
            log::warn!("the directory of runs cannot be made: {error}");
        }
    }
}

/// An inherited socket is stronger than what the file says; against the command line it is a contradiction.
fn with_inherited(options: Options, inherited: Option<&BoundSocket>) -> anyhow::Result<Options> {
    let Some(path) = inherited.map(BoundSocket::path) else { return Ok(options) };
    match &options.socket {
        Some(asked) if asked != path => anyhow::bail!(
            "the service manager gave the socket {} and --socket names {}: leave --socket out, or mask contentd.socket",
            path.display(),
            asked.display()
        ),
        _ => Ok(Options { socket: Some(path.to_owned()), ..options }),
    }
}

fn is_default_socket(options: &Options, config: &Config) -> bool {
    let default = crate::config::socket_path(
        &|name| if name == "CONTENTD_SOCKET" { None } else { environment(name) },
        None,
        rustix::process::getuid().as_raw(),
    );
    options.socket.is_none() && config.daemon.socket == default
}

struct Daemon {
    options: Options,
    loaded: Loaded,
    store: Store,
    is_database_new: bool,
    socket: BoundSocket,
    notifier: Arc<Notifier>,
    logs: GeneratorLogs,
    /// See [`Places::runs_lost_before`].
    runs_lost_before: Option<Timestamp>,
}

/// What the running daemon holds to steer itself.
struct Running {
    supervisor: Addr<SupervisorActor>,
    world: World,
    clock: Arc<SystemClock>,
    settings: watch::Sender<Arc<Settings>>,
    grants: watch::Sender<Arc<Grants>>,
    notices: watch::Sender<Arc<Notices>>,
    stopping: watch::Sender<bool>,
    notice: watch::Sender<Notice>,
    server: ServerThread,
}

impl Daemon {
    async fn live(
        self,
        mut asked: mpsc::UnboundedReceiver<Asked>,
        mut failed: mpsc::UnboundedReceiver<String>,
    ) -> anyhow::Result<ExitCode> {
        let (commands_sender, mut commands) = mpsc::unbounded_channel();
        let (broken_sender, mut broken) = mpsc::unbounded_channel();
        let mut running = self.notifier.while_extending(self.start(commands_sender, broken_sender)).await?;
        let mut loaded = self.loaded.clone();
        let mut sweep = retention::Sweep::new(self.logs.clone());
        let mut clock_watch = ClockWatch::new();
        let code = loop {
            tokio::select! {
                biased;
                Some(why) = failed.recv() => {
                    tell!(Level::Error, Kind::DaemonFailed, "{why}; the daemon ends, and the next start recovers");
                    break ExitCode::from(EXIT_BROKEN);
                }
                Some(()) = broken.recv() => break ExitCode::from(EXIT_BROKEN),
                Some(signal) = asked.recv() => match signal {
                    Asked::Stop => {
                        self.drain(&mut running, &loaded).await;
                        break ExitCode::SUCCESS;
                    }
                    // Whoever sent a signal reads the log and the status.
                    Asked::Reload => drop(self.reload(&running, &mut loaded).await),
                },
                Some(command) = commands.recv() => match command {
                    DaemonCommand::Stop => {
                        self.drain(&mut running, &loaded).await;
                        break ExitCode::SUCCESS;
                    }
                    DaemonCommand::ReadConfig(answer) => {
                        let outcome = self.reload(&running, &mut loaded).await;
                        // A caller that is gone has its reload all the same.
                        let _ = answer.send(outcome);
                    }
                },
                () = clock_watch.is_due() => clock_watch.look(&running.clock),
                () = sweep.is_due() => sweep.run(&running.world, &loaded.config).await,
            }
        };
        if let Err(error) = self.socket.remove() {
            log::warn!("{}: the socket could not be removed: {error}", self.socket.path().display());
        }
        Ok(code)
    }

    async fn start(
        &self,
        commands: mpsc::UnboundedSender<DaemonCommand>,
        broken: mpsc::UnboundedSender<()>,
    ) -> anyhow::Result<Running> {
        let config = &self.loaded.config;
        tell!(
            Level::Info,
            Kind::DaemonStarting,
            "contentd {} starts: configuration {}, database {}{}",
            env!("CARGO_PKG_VERSION"),
            self.loaded.file.as_ref().map_or_else(|| "none (defaults)".to_owned(), |file| file.display().to_string()),
            config.daemon.database.display(),
            // A slip in a path must not look like a queue that was emptied.
            if self.is_database_new { " (new: there was none under this name)" } else { "" },
        );
        let generators =
            Arc::new(generators::build(config, &generators::places(config, &self.logs, self.runs_lost_before), None));
        for fault in generators::faults(&generators).await {
            tell!(Level::Warn, Kind::GeneratorFaulty, "{fault}; its tasks wait until this is mended");
        }
        for fault in notices::faults(config).await {
            tell!(Level::Warn, Kind::HookFailed, "{fault}; its messages wait until this is mended");
        }
        let publishers = publishers::build(config, &generators::places(config, &self.logs, self.runs_lost_before));
        for fault in publishers::faults(&publishers).await {
            tell!(Level::Warn, Kind::PublisherFaulty, "{fault}; its pieces wait until this is mended");
        }
        let clock = Arc::new(SystemClock::new());
        clocks::settle(&self.store, &clock).await?;
        generators::learn(&generators, &self.store, clock.now().utc).await;
        let (peers, peers_rx) = watch::channel(Peers::default());
        let (notices, notices_rx) = watch::channel(Arc::new(notices::build(config)));
        let (generators, generators_rx) = watch::channel(generators);
        let world = World {
            store: self.store.clone(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            entropy: Arc::new(OsEntropy),
            generators: generators_rx,
            peers: peers_rx,
            readiness: Default::default(),
            failing: FailingJobs::default(),
            rules: Default::default(),
            images: Default::default(),
            publishers: Publishing::of(publishers),
            notices: notices_rx,
        };
        world.rules.replace(rules_of(&self.loaded));
        world.images.replace(keeper_of(&self.loaded));
        restored::take_over(&world, &config.daemon.state_dir)
            .await
            .context("what a restore left could not be taken over")?;
        let recovered = recover(&world).await.context("the recovery of what was under way failed")?;
        tell!(
            Level::Info,
            Kind::Recovered,
            "recovered: {} under way, of these {} in doubt whether a job was made, {} with a run that goes on",
            recovered.active,
            recovered.doubted,
            recovered.running
        );
        // Only now: where it was gone, the recovery had to see that.
        make_place_of_runs(config);
        LeftoverSweep::of(config, &self.store, &self.logs).start();
        let workers = config.daemon.workers as usize;
        let budget_spent = Box::new(move || {
            // A daemon that is already ending needs no telling.
            let _ = broken.send(());
        });
        let channels = WorldChannels { peers, generators };
        let supervisor = SupervisorActor::new(world.clone(), channels, workers, budget_spent).start();
        // Its first answer comes after every child was built: who calls right after the bind must not find nobody there.
        supervisor.send(GetStatus::default()).await.context("the actors did not start")?;
        let (settings, settings_rx) = watch::channel(Arc::new(settings_of(&self.loaded, &self.logs)));
        let (stopping, stopping_rx) = watch::channel(false);
        let jump_clock = Arc::clone(&clock);
        let (notice, notice_rx) = watch::channel(Notice::default());
        let refused = notice_rx.clone();
        let installation = Installation::new(
            config.daemon.database.clone(),
            config.daemon.state_dir.clone(),
            config.daemon.run_socket.clone(),
            Arc::new(move || jump_clock.jump_since_start()),
            Arc::new(move || {
                let notice = refused.borrow();
                ReloadStanding { refused: notice.refused_reload.clone(), needs_restart: notice.needs_restart.clone() }
            }),
        );
        let backend = DaemonBackend::new(
            World { store: world.store.with_read_limit(READERS_FOR_CALLS), ..world.clone() },
            supervisor.clone(),
            settings_rx,
            commands,
            stopping_rx,
            installation,
            self.logs.clone(),
        );
        // Nothing is begun before the recovery is done, and whoever watches hears of the first fire.
        supervisor.do_send(OpenSchedules(Arc::new(backend.clone())));
        let (grants, grants_rx) = watch::channel(Arc::new(config.roles.grants.clone()));
        let server = ServerThread::start(&self.socket, backend, grants_rx)?;
        let whose = if self.socket.is_inherited() { ", the service manager's" } else { "" };
        tell!(Level::Info, Kind::DaemonReady, "listening on {}{whose}", self.socket.path().display());
        #[cfg(feature = "fault-injection")]
        faults::listen(config.daemon.state_dir.clone(), world.clone(), supervisor.clone(), server.pulse());
        let heart = Heart {
            notifier: Arc::clone(&self.notifier),
            supervisor: supervisor.clone(),
            server: server.pulse(),
            world: world.clone(),
            notice: notice_rx,
        };
        self.notifier.ready("ready");
        heart.start();
        actix::spawn(async {
            tokio::time::sleep(FIRST_LOOKS).await;
            // Most of what is mapped by now, a start needs and nothing else. Where it stays, nothing is lost.
            let _ = memory::let_go_of_code();
        });
        Ok(Running { supervisor, world, clock, settings, grants, notices, stopping, notice, server })
    }

    /// Ends in order, within the drain's time limit.
    async fn drain(&self, running: &mut Running, loaded: &Loaded) {
        let limit = loaded.config.daemon.drain_timeout;
        tell!(
            Level::Info,
            Kind::DaemonStopping,
            "draining: nothing new starts, calls in hand end within {} s",
            limit.as_secs()
        );
        // Only a socket that the service manager keeps has a next daemon that takes who comes now. On our own they would wait for
        // nobody, so they are told how it stands.
        if self.socket.is_inherited() {
            running.server.stop_accepting();
        }
        // An error would mean that nobody reads it any more.
        let _ = running.stopping.send(true);
        self.say_farewell(running, limit).await;
        let drained = tokio::time::timeout(limit, running.supervisor.send(Drain));
        if self.notifier.while_extending(drained).await.is_err() {
            tell!(
                Level::Warn,
                Kind::DrainCut,
                "calls were still under way after {} s; the next start clears up what came of them",
                limit.as_secs()
            );
        }
        running.server.finish().await;
    }

    /// Says what is still running and what becomes of it: in the log task by task, in the status in a line.
    async fn say_farewell(&self, running: &Running, limit: Duration) {
        let looked = StillRunning::look(&running.world).await;
        let still = looked.unwrap_or_else(|error| {
            log::warn!("what is still under way cannot be read: {error}");
            StillRunning::default()
        });
        for line in still.lines(limit) {
            tell!(Level::Info, Kind::DaemonStopping, "{line}");
        }
        let summary = still.summary();
        self.notifier.stopping(&summary);
        running.notice.send_modify(|notice| notice.stopping = Some(summary));
    }

    /// Reads the configuration again, and tells everybody how that went.
    async fn reload(&self, running: &Running, loaded: &mut Loaded) -> Result<ReloadReply, ApiError> {
        self.notifier.reloading();
        let outcome = self.take_configuration(running, loaded).await;
        let refused_reload = outcome.as_ref().err().map(|error| {
            let faults = match error {
                ApiError::ReloadRefused { faults } => faults.clone(),
                other => vec![other.message()],
            };
            tell!(
                Level::Error,
                Kind::ConfigRefused,
                "the new configuration was refused, and the old one is kept:\n  {}",
                faults.join("\n  ")
            );
            let more = if faults.len() > 1 { format!(", and {} more", faults.len() - 1) } else { String::new() };
            let first = faults.first().map(String::as_str).unwrap_or_default();
            format!("the new configuration was refused, the old one is kept ({first}{more})")
        });
        self.notifier.ready(refused_reload.as_deref().unwrap_or("ready"));
        running.notice.send_modify(|notice| {
            notice.refused_reload = refused_reload;
            if let Ok(reply) = &outcome {
                notice.needs_restart.clone_from(&reply.needs_restart);
            }
        });
        outcome
    }

    /// What cannot change while running is named and stays.
    async fn take_configuration(&self, running: &Running, loaded: &mut Loaded) -> Result<ReloadReply, ApiError> {
        let (options, before, logs) = (self.options.clone(), loaded.clone(), self.logs.clone());
        let (started_with, runs_lost_before) = (self.loaded.config.clone(), self.runs_lost_before);
        let current = Arc::clone(&running.world.generators.borrow());
        // Files may lie on a slow disk, and the actors live on this thread.
        let prepared = tokio::task::spawn_blocking(move || {
            prepare(&options, &started_with, &before, &current, &logs, runs_lost_before)
        })
        .await;
        let Prepared { fresh, generators, changed, needs_restart, schedule_faults } =
            prepared.unwrap_or_else(|error| {
                Err(ApiError::ReloadRefused { faults: vec![format!("the new configuration was not read: {error}")] })
            })?;
        let mut warnings = generators::faults(&generators).await;
        warnings.extend(schedule_faults);
        let publishers =
            publishers::build(&fresh.config, &generators::places(&fresh.config, &self.logs, self.runs_lost_before));
        warnings.extend(publishers::faults(&publishers).await);
        let known = generators.iter().map(|generator| generator.name.clone()).collect();
        let sources = fresh.config.schedules.topic_sources.keys().cloned().collect();
        let unmet = unmet::look(&self.store, fresh.config.default_generator(), &known, &publishers, &sources).await;
        warnings.extend(unmet.into_iter().map(|one| one.as_line()));
        running.world.publishers.replace(publishers);
        warnings.extend(notices::faults(&fresh.config).await);
        generators::learn(&generators, &self.store, running.world.clock.now().utc).await;
        running.notices.send_replace(Arc::new(notices::build(&fresh.config)));
        running.supervisor.do_send(Reload { generators: Arc::clone(&generators) });
        running.world.rules.replace(rules_of(&fresh));
        running.world.images.replace(keeper_of(&fresh));
        running.settings.send_replace(Arc::new(settings_of(&fresh, &self.logs)));
        running.grants.send_replace(Arc::new(fresh.config.roles.grants.clone()));
        tell!(
            Level::Info,
            Kind::ConfigReloaded,
            "configuration reloaded: {} settings changed, {} need a restart",
            changed.len(),
            needs_restart.len()
        );
        *loaded = fresh;
        Ok(ReloadReply { changed, needs_restart, warnings })
    }
}

/// A configuration that is ready to take the place of another.
struct Prepared {
    fresh: Loaded,
    generators: Arc<Generators>,
    changed: Vec<String>,
    needs_restart: Vec<String>,
    schedule_faults: Vec<String>,
}

/// Reads the configuration and builds its generators. Blocks.
fn prepare(
    options: &Options,
    started_with: &Config,
    before: &Loaded,
    current: &Generators,
    logs: &GeneratorLogs,
    runs_lost_before: Option<Timestamp>,
) -> Result<Prepared, ApiError> {
    let mut fresh = load(options).map_err(|error| ApiError::ReloadRefused {
        faults: format!("{error:#}").lines().map(str::to_owned).collect(),
    })?;
    let (changed, _) = effective::differences(&before.config, &fresh.config);
    // What was said by an earlier reload is still to be done, and what was taken back is not.
    let (_, needs_restart) = effective::differences(started_with, &fresh.config);
    // It lies beside the database by default. A driver that looked for its runs elsewhere would find that none started.
    fresh.config.daemon.state_dir.clone_from(&before.config.daemon.state_dir);
    let generators = Arc::new(generators::build(
        &fresh.config,
        &generators::places(&fresh.config, logs, runs_lost_before),
        Some((&before.config, current)),
    ));
    let schedule_faults = schedule_faults(&fresh.config, logs);
    Ok(Prepared { fresh, generators, changed, needs_restart, schedule_faults })
}

/// What is asked of a piece when it comes.
fn rules_of(loaded: &Loaded) -> PieceRules {
    let config = &loaded.config;
    let images_kept = config.images.keep.then_some(config.images.max_per_piece);
    PieceRules {
        review: config.review.rules.clone(),
        images_kept,
        is_four_eyes: config.review.four_eyes,
        times: config.publishing.times.clone(),
    }
}

fn keeper_of(loaded: &Loaded) -> Option<Arc<dyn KeepImages>> {
    let (images, state_dir) = (&loaded.config.images, &loaded.config.daemon.state_dir);
    let bounds =
        Bounds { max_bytes: images.max_bytes.into(), timeout: images.timeout, allow_private: images.allow_private };
    images.keep.then(|| Arc::new(ImageKeeper::new(state_dir.clone(), bounds)) as Arc<dyn KeepImages>)
}

fn settings_of(loaded: &Loaded, logs: &GeneratorLogs) -> Settings {
    let tasks = &loaded.config.tasks;
    let state_dir = &loaded.config.daemon.state_dir;
    Settings {
        schedules: Arc::new(ScheduleSettings::new(&loaded.config.schedules, state_dir, logs)),
        defaults: SubmitDefaults {
            generator: loaded.config.default_generator().cloned(),
            priority: tasks.priority,
            time_limit_s: tasks.time_limit_s,
            max_retries: tasks.max_retries,
            auto_approve: tasks.auto_approve,
            max_pending: u64::from(tasks.max_pending),
        },
        is_four_eyes: loaded.config.review.four_eyes,
        keep_finished: loaded.config.retention.finished_tasks,
        effective: effective::reply(loaded),
    }
}
