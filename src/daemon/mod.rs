//! The composition root: opens what the daemon needs, wires it, runs it, and takes it down in order.
//!
//! Start: configuration → database (one owner) → socket (one owner) → recovery → actors → server. Nothing is answered
//! before the recovery is done. Stop: no new calls → no new polls and submits, calls in hand end → server → commits →
//! the socket's file. A death at any point of either is an ordinary crash, which the next start recovers from.

pub mod arguments;
mod effective;
mod generators;
mod leftovers;
mod retention;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};

use crate::actors::recovery::recover;
use crate::actors::supervisor::{Drain, GetStatus, Reload, SupervisorActor, WorldChannels};
use crate::actors::{Peers, World};
use crate::backend::{DaemonBackend, DaemonCommand, Settings, SubmitDefaults};
use crate::config::{Config, Loaded};
use crate::control::api::{ApiError, ReloadReply};
use crate::control::server::{Limits, Server};
use crate::control::socket::{self, BoundSocket, Place};
use crate::generator::registry::Generators;
use crate::host::clock::Anchor;
use crate::host::signals::Asked;
use crate::host::{OsEntropy, SystemClock, signals};
use crate::store::group_commit::GroupCommit;
use crate::store::write::Write;
use crate::store::{ReadMode, Store, Writer, sqlite};
use crate::task::Clock;
use leftovers::LeftoverSweep;

/// Readers of the database.
const READERS: u32 = 4;
/// How long the server may take to finish its calls, once the actors are drained.
const SERVER_DRAIN: Duration = Duration::from_secs(5);
/// How often the wall clock is looked at.
const CLOCK_LOOK: Duration = Duration::from_secs(60);
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
    let mut loaded = Config::load(options.config.as_deref(), &environment)?;
    if let Some(socket) = &options.socket {
        loaded.config.daemon.socket = socket.clone();
    }
    Ok(loaded)
}

/// `--check-config`: every fault of the configuration and of what it names; a generator that cannot run now is one.
pub fn check_config(options: &Options) -> anyhow::Result<Vec<String>> {
    let loaded = load(options)?;
    let generators = generators::build(&loaded.config, None);
    Ok(generators::faults(&generators))
}

/// Runs the daemon until it is told to stop.
pub fn run(options: Options) -> anyhow::Result<ExitCode> {
    // Signals first: they must be registered before any thread starts.
    let asked = signals::listen().context("cannot listen for signals")?;
    let loaded = load(&options)?;
    let config = &loaded.config;
    let opened = sqlite::open(&config.daemon.database, READERS)?;
    let place = if is_default_socket(&options, config) { Place::Default } else { Place::Given };
    let socket = socket::bind(&config.daemon.socket, place)?;
    let (fatal, failed) = mpsc::unbounded_channel();
    let commits = GroupCommit::start(opened.backend, move |error| {
        // A daemon that is already gone needs no telling.
        let _ = fatal.send(error.to_string());
    })
    .context("cannot start the committing thread")?;
    let commits = Arc::new(commits);
    let writer: Arc<dyn Writer> = Arc::clone(&commits) as Arc<dyn Writer>;
    let store = Store::new(writer, Arc::new(opened.queries), ReadMode::Blocking);
    let daemon = Daemon { options, loaded, store, socket };
    let code = System::new().block_on(daemon.live(asked, failed));
    commits.close();
    log::info!("stopped");
    code
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
    socket: BoundSocket,
}

/// What the running daemon holds to steer itself.
struct Running {
    supervisor: Addr<SupervisorActor>,
    world: World,
    clock: Arc<SystemClock>,
    settings: watch::Sender<Arc<Settings>>,
    stopping: watch::Sender<bool>,
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
        let mut running = self.start(commands_sender, broken_sender).await?;
        let mut loaded = self.loaded.clone();
        let mut sweep = retention::Sweep::new();
        let mut clock_look = tokio::time::Instant::now() + CLOCK_LOOK;
        let mut told_jump = 0;
        let code = loop {
            tokio::select! {
                biased;
                Some(why) = failed.recv() => {
                    log::error!("{why}; the daemon ends, and the next start recovers");
                    break ExitCode::from(EXIT_BROKEN);
                }
                Some(()) = broken.recv() => break ExitCode::from(EXIT_BROKEN),
                Some(signal) = asked.recv() => match signal {
                    Asked::Stop => {
                        self.drain(&mut running, &loaded).await;
                        break ExitCode::SUCCESS;
                    }
                    Asked::Reload => {
                        if let Err(error) = self.reload(&running, &mut loaded).await {
                            log::error!("the new configuration was refused, and the old one is kept: {}", error.message());
                        }
                    }
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
                () = tokio::time::sleep_until(clock_look) => {
                    clock_look = tokio::time::Instant::now() + CLOCK_LOOK;
                    warn_of_jump(&running.clock, &mut told_jump);
                }
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
        log::info!(
            "contentd {} starts: configuration {}, database {}",
            env!("CARGO_PKG_VERSION"),
            self.loaded.file.as_ref().map_or_else(|| "none (defaults)".to_owned(), |file| file.display().to_string()),
            config.daemon.database.display(),
        );
        let generators = Arc::new(generators::build(config, None));
        for fault in generators::faults(&generators) {
            log::warn!("{fault}; its tasks wait until this is mended");
        }
        generators::learn(&generators, &self.store).await;
        let clock = Arc::new(SystemClock::new());
        settle_clock(&self.store, &clock).await?;
        let (peers, peers_rx) = watch::channel(Peers::default());
        let (generators, generators_rx) = watch::channel(generators);
        let world = World {
            store: self.store.clone(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            entropy: Arc::new(OsEntropy),
            generators: generators_rx,
            peers: peers_rx,
        };
        let recovered = recover(&world).await.context("the recovery of what was under way failed")?;
        log::info!(
            "recovered {} active tasks: {} submits in doubt, {} runs go on",
            recovered.active,
            recovered.doubted,
            recovered.running
        );
        LeftoverSweep::of(config, &self.store).start();
        let workers = config.daemon.workers as usize;
        let budget_spent = Box::new(move || {
            // A daemon that is already ending needs no telling.
            let _ = broken.send(());
        });
        let channels = WorldChannels { peers, generators };
        let supervisor = SupervisorActor::new(world.clone(), channels, workers, budget_spent).start();
        // Its first answer comes after every child was built: who calls right after the bind must not find nobody there.
        supervisor.send(GetStatus).await.context("the actors did not start")?;
        let (settings, settings_rx) = watch::channel(Arc::new(settings_of(&self.loaded)));
        let (stopping, stopping_rx) = watch::channel(false);
        let backend = DaemonBackend::new(world.clone(), supervisor.clone(), settings_rx, commands, stopping_rx);
        let server = ServerThread::start(&self.socket, backend)?;
        log::info!("listening on {}", self.socket.path().display());
        Ok(Running { supervisor, world, clock, settings, stopping, server })
    }

    /// Ends in order, within the drain's time limit.
    async fn drain(&self, running: &mut Running, loaded: &Loaded) {
        let limit = loaded.config.daemon.drain_timeout;
        log::info!("draining: nothing new starts, calls in hand end within {} s", limit.as_secs());
        running.server.stop_accepting();
        // An error would mean that nobody reads it any more.
        let _ = running.stopping.send(true);
        let drained = tokio::time::timeout(limit, running.supervisor.send(Drain)).await;
        if drained.is_err() {
            log::warn!(
                "calls were still under way after {} s; the next start clears up what came of them",
                limit.as_secs()
            );
        }
        running.server.finish().await;
    }

    /// Reads the configuration again. What cannot change while running is named and stays.
    async fn reload(&self, running: &Running, loaded: &mut Loaded) -> Result<ReloadReply, ApiError> {
        let (options, before) = (self.options.clone(), loaded.clone());
        let current = Arc::clone(&running.world.generators.borrow());
        // Files, programs and secrets may lie on a slow disk, and the actors live on this thread.
        let prepared = tokio::task::spawn_blocking(move || prepare(&options, &before, &current)).await;
        let Prepared { fresh, generators, warnings, changed, needs_restart } = prepared.unwrap_or_else(|error| {
            Err(ApiError::ReloadRefused { faults: vec![format!("the new configuration was not read: {error}")] })
        })?;
        generators::learn(&generators, &self.store).await;
        running.supervisor.do_send(Reload { generators: Arc::clone(&generators) });
        running.settings.send_replace(Arc::new(settings_of(&fresh)));
        log::info!(
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
    warnings: Vec<String>,
    changed: Vec<String>,
    needs_restart: Vec<String>,
}

/// Reads the configuration, builds its generators and asks them what they lack. Blocks.
fn prepare(options: &Options, before: &Loaded, current: &Generators) -> Result<Prepared, ApiError> {
    let mut fresh = load(options).map_err(|error| ApiError::ReloadRefused {
        faults: format!("{error:#}").lines().map(str::to_owned).collect(),
    })?;
    let (changed, needs_restart) = effective::differences(&before.config, &fresh.config);
    // It lies beside the database by default. A driver that looked for its runs elsewhere would find that none started.
    fresh.config.daemon.state_dir.clone_from(&before.config.daemon.state_dir);
    let generators = Arc::new(generators::build(&fresh.config, Some((&before.config, current))));
    let warnings = generators::faults(&generators);
    Ok(Prepared { fresh, generators, warnings, changed, needs_restart })
}

/// Where the anchor of the last start is kept.
const ANCHOR_SETTING: &str = "clock/anchor";

/// Moves what is stored, if the wall clock was set since the last start in this boot.
async fn settle_clock(store: &Store, clock: &SystemClock) -> anyhow::Result<()> {
    let stored = store.read(|queries| queries.settings(ANCHOR_SETTING)).await?;
    let before = stored.first().and_then(|(_, json)| serde_json::from_str::<Anchor>(json).ok());
    if let Some(by_ms) = before.and_then(|before| clock.anchor().jump_since(&before)) {
        log::warn!(
            "the wall clock was set by {by_ms} ms since the last start; every time that is still measured by moves with it"
        );
        store.write(Write::ShiftWakeTimes { by_ms }).await?;
    }
    let value = serde_json::to_string(clock.anchor())?;
    store.write(Write::PutSetting { name: ANCHOR_SETTING.to_owned(), value: Some(value) }).await?;
    Ok(())
}

/// Says once that the wall clock was set.
fn warn_of_jump(clock: &SystemClock, told: &mut i64) {
    let Some(jump) = clock.jump_since_start() else { return };
    if (jump - *told).abs() >= 1_000 {
        *told = jump;
        log::warn!(
            "the wall clock was set by {jump} ms; nothing ends early or late, and times are told by the old one until a restart"
        );
    }
}

fn settings_of(loaded: &Loaded) -> Settings {
    let tasks = &loaded.config.tasks;
    Settings {
        defaults: SubmitDefaults {
            generator: loaded.config.default_generator().cloned(),
            priority: tasks.priority,
            time_limit_s: tasks.time_limit_s,
            max_retries: tasks.max_retries,
            auto_approve: tasks.auto_approve,
            max_pending: u64::from(tasks.max_pending),
        },
        effective: effective::reply(loaded),
    }
}

/// The control server, on a thread of its own: a flood of clients must not starve the actors' timers.
struct ServerThread {
    control: mpsc::UnboundedSender<ServerCommand>,
    ended: Option<oneshot::Receiver<()>>,
}

enum ServerCommand {
    StopAccepting,
    Finish,
}

impl ServerThread {
    fn start(socket: &BoundSocket, backend: DaemonBackend) -> anyhow::Result<Self> {
        let listener = socket.listener.try_clone().context("cannot share the socket with the server")?;
        let (control, mut commands) = mpsc::unbounded_channel();
        let (started_sender, started) = std::sync::mpsc::channel();
        let (ended_sender, ended) = oneshot::channel();
        let serve = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    // The starter waits for this answer.
                    let _ = started_sender.send(Err(error));
                    return;
                }
            };
            runtime.block_on(async move {
                let server = match Server::start(listener, Arc::new(backend), Limits::default()) {
                    Ok(server) => server,
                    Err(error) => {
                        let _ = started_sender.send(Err(error));
                        return;
                    }
                };
                let _ = started_sender.send(Ok(()));
                while let Some(ServerCommand::StopAccepting) = commands.recv().await {
                    server.stop_accepting();
                }
                if !server.drain(SERVER_DRAIN).await {
                    log::warn!("calls on the control socket were cut off");
                }
            });
            // The waiting side may have given up.
            let _ = ended_sender.send(());
        };
        std::thread::Builder::new().name("control".into()).spawn(serve).context("cannot start the control thread")?;
        started.recv().context("the control thread ended")?.context("cannot serve the socket")?;
        Ok(Self { control, ended: Some(ended) })
    }

    fn stop_accepting(&self) {
        // A server that is gone accepts nothing.
        let _ = self.control.send(ServerCommand::StopAccepting);
    }

    async fn finish(&mut self) {
        let _ = self.control.send(ServerCommand::Finish);
        if let Some(ended) = self.ended.take() {
            let _ = tokio::time::timeout(SERVER_DRAIN * 2, ended).await;
        }
    }
}
