//! The daemon itself: how it stands, pause and resume, drain and reload.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use log::Level;
use tokio::sync::oneshot;

use super::{DaemonBackend, DaemonCommand, errors};
use crate::actors::publisher::{ProbePublisher, Probing};
use crate::actors::queue::{Pause, PauseScope, QueueStatus, SetPause};
use crate::actors::supervisor::{DaemonStatus, GetStatus};
use crate::control::api::{
    ApiError, DrainReply, GeneratorView, PauseParams, PauseView, PausesReply, Peer, ReloadReply, Resume, StatusReply,
    WorkerView, WorkersReply,
};
use crate::events::Kind;
use crate::generator::registry::Generator;
use crate::task::{GeneratorName, TaskState};
use crate::tell;
use crate::text::counted;

impl DaemonBackend {
    pub(super) async fn actors(&self) -> Result<DaemonStatus, ApiError> {
        self.supervisor.send(GetStatus::default()).await.map_err(errors::of_mailbox)
    }

    pub(super) async fn status_of_daemon(&self) -> Result<StatusReply, ApiError> {
        let status = self.actors().await?;
        let generators: Vec<_> = self.world.generators.borrow().iter().cloned().collect();
        let known = generators.iter().map(|generator| generator.name.clone()).collect();
        let (counts, lost) =
            self.read(move |queries| Ok((queries.counts()?, queries.unfinished_elsewhere(&known)?))).await?;
        let tasks = TaskState::ALL
            .iter()
            .map(|state| (state.to_string(), counts.get(state).copied().unwrap_or(0)))
            .collect::<BTreeMap<_, _>>();
        let queue = status.queue.as_ref();
        let mut views = join_all(generators.iter().map(|generator| generator_view(generator, queue))).await;
        views.extend(lost.iter().map(|(name, unfinished)| lost_view(name, *unfinished, queue)));
        let (pool, to_review) = self.pool_counts().await?;
        Ok(StatusReply {
            state: if *self.stopping.borrow() { "draining" } else { "running" }.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: self.started_at.into(),
            storage_fault: self.world.store.trouble(),
            tasks,
            generators: views,
            pauses: queue.map(|queue| queue.pauses.iter().map(pause_view).collect()).unwrap_or_default(),
            hooks: self.hooks().await?,
            pool,
            to_review,
            publishers: self.publishers_of(status.publisher.as_ref()),
            unserved_accounts: self.unserved_accounts().await?,
            refused_reload: (self.installation.reload)().refused,
        })
    }

    pub(super) async fn status_of_workers(&self) -> Result<WorkersReply, ApiError> {
        let status = self.actors().await?;
        let counts = self.read(|queries| queries.counts()).await?;
        let started_at = self.started_at;
        let workers: Vec<WorkerView> = status
            .workers
            .iter()
            .enumerate()
            .map(|(index, worker)| {
                let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
                let state = match worker {
                    None => "stopped",
                    Some(worker) if worker.task.is_some() => "busy",
                    Some(_) => "idle",
                };
                WorkerView {
                    worker_id: number,
                    state: state.to_owned(),
                    task_id: worker.as_ref().and_then(|worker| worker.task.as_ref().map(|id| id.0.clone())),
                    since: worker.as_ref().map_or(started_at, |worker| worker.since).into(),
                    processed: worker.as_ref().map_or(0, |worker| worker.calls),
                    restarts: status.worker_restarts.get(index).copied().unwrap_or(0),
                }
            })
            .collect();
        Ok(WorkersReply {
            total: u32::try_from(workers.len()).unwrap_or(u32::MAX),
            busy: u32::try_from(workers.iter().filter(|worker| worker.state == "busy").count()).unwrap_or(u32::MAX),
            queue_size: counts.get(&TaskState::Pending).copied().unwrap_or(0),
            workers,
        })
    }

    pub(super) async fn set_pause(&self, peer: &Peer, what: PauseParams, on: bool) -> Result<PausesReply, ApiError> {
        self.refuse_while_stopping()?;
        let generator = what.generator.map(GeneratorName);
        let account = self.account_of(what.account.as_ref().map(|account| account.as_str())).await?;
        let scope = PauseScope { generator, account: account.map(|account| account.id) };
        let before = self.actors().await?.queue;
        let is_paused = before.as_ref().is_some_and(|queue| queue.pauses.iter().any(|pause| pause.scope == scope));
        let of_scope = |name: &GeneratorName| before.as_ref()?.breakers.iter().find(|one| one.generator == *name);
        // One that the configuration has lost may still be paused, and is resumed by its name.
        if let Some(name) = scope.generator.as_ref().filter(|name| on || !is_paused && of_scope(name).is_none()) {
            self.known_generator(name)?;
        }
        let mended = scope.generator.as_ref().filter(|_| !on && scope.account.is_none()).and_then(of_scope);
        let (has_probe, is_probed) = mended.map_or((false, false), |one| (one.is_probed, !one.is_probed));
        let message = if on {
            let at = self.world.clock.now().utc;
            SetPause::On(Pause { scope, who: peer.label(), at, reason: what.reason })
        } else {
            SetPause::Off(scope)
        };
        let answer = self.queue()?.send(message).await.map_err(errors::of_mailbox)?;
        let pauses = answer.map_err(|error| errors::of_write(error, "pause"))?;
        let (kind, what) = if on { (Kind::Paused, "paused") } else { (Kind::Resumed, "resumed") };
        let stand = counted(pauses.len() as u64, "pause stands", "pauses stand");
        tell!(Level::Info, kind, "{what} by {}: {stand}", peer.label());
        let pauses = pauses.iter().map(pause_view).collect();
        Ok(PausesReply { is_changed: is_paused != on, pauses, is_probed, has_probe })
    }

    pub(super) async fn resume_what(&self, peer: &Peer, what: Resume) -> Result<PausesReply, ApiError> {
        match what {
            Resume::Pause(what) => self.set_pause(peer, what, false).await,
            Resume::Publisher(publisher) => self.probe_publisher(peer, publisher).await,
        }
    }

    /// A publisher has no pause; one that is away is tried by its next piece.
    async fn probe_publisher(&self, peer: &Peer, name: String) -> Result<PausesReply, ApiError> {
        self.refuse_while_stopping()?;
        let publishers = self.world.publishers.current();
        if publishers.get(&name).is_none() {
            let known: Vec<&str> = publishers.iter().map(|publisher| publisher.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let cure = format!("a publisher of the configuration, [publishers.NAME]; these are: {known}");
            return Err(ApiError::invalid("publisher", &name, cure));
        }
        let actor = self.world.peers.borrow().publisher.clone().ok_or(ApiError::Draining)?;
        let probing = actor.send(ProbePublisher { publisher: name.clone() }).await.map_err(errors::of_mailbox)?;
        if probing == Probing::Next {
            log::info!("publisher {name} is tried at once: {} says that it was mended", peer.label());
        }
        let queue = self.actors().await?.queue;
        Ok(PausesReply {
            is_changed: false,
            pauses: queue.map(|queue| queue.pauses.iter().map(pause_view).collect()).unwrap_or_default(),
            is_probed: probing == Probing::Next,
            has_probe: probing == Probing::UnderWay,
        })
    }

    pub(super) async fn drain_daemon(&self, peer: &Peer) -> Result<DrainReply, ApiError> {
        let counts = self.read(|queries| queries.counts()).await?;
        let in_flight = counts.iter().filter(|(state, _)| state.is_active()).map(|(_, count)| count).sum();
        log::info!("{} asked for a drain", peer.label());
        self.commands.send(DaemonCommand::Stop).map_err(|_| ApiError::Draining)?;
        Ok(DrainReply { in_flight })
    }

    pub(super) async fn reload_daemon(&self) -> Result<ReloadReply, ApiError> {
        self.refuse_while_stopping()?;
        let (answer, answered) = oneshot::channel();
        self.commands.send(DaemonCommand::ReadConfig(answer)).map_err(|_| ApiError::Draining)?;
        answered.await.map_err(|_| ApiError::Draining)?
    }
}

fn pause_view(pause: &Pause) -> PauseView {
    PauseView {
        generator: pause.scope.generator.as_ref().map(|name| name.0.clone()),
        account_id: pause.scope.account.map(|account| account.0),
        reason: pause.reason.clone(),
        who: pause.who.clone(),
        since: pause.at.into(),
    }
}

async fn generator_view(generator: &Generator, queue: Option<&QueueStatus>) -> GeneratorView {
    let limits = &generator.limits;
    let spent = queue.map(|queue| queue.submits_at.get(&generator.name).copied().unwrap_or(0));
    GeneratorView {
        submits_today: spent.filter(|_| limits.submits_per_day.is_some()),
        submits_per_day: limits.submits_per_day,
        ..view_of(&generator.name, generator.faults().await, limits.max_in_flight, queue)
    }
}

/// A generator that the configuration does not have, and tasks wait for.
fn lost_view(name: &GeneratorName, unfinished: u64, queue: Option<&QueueStatus>) -> GeneratorView {
    let wait = counted(unfinished, "unfinished task waits", "unfinished tasks wait");
    let fault = format!("it is not configured, and {wait} for it: add [generators.{name}] and reload, or cancel them");
    view_of(name, vec![fault], 0, queue)
}

fn view_of(
    name: &GeneratorName,
    faults: Vec<String>,
    max_in_flight: u32,
    queue: Option<&QueueStatus>,
) -> GeneratorView {
    let breaker = queue.and_then(|queue| queue.breakers.iter().find(|breaker| breaker.generator == *name));
    let in_flight = queue.and_then(|queue| queue.in_flight.get(name)).copied().unwrap_or(0);
    GeneratorView {
        name: name.0.clone(),
        is_available: faults.is_empty() && breaker.is_none(),
        faults,
        breaker: breaker.map_or_else(|| "closed".to_owned(), |breaker| breaker.trip.clone()),
        breaker_reason: breaker
            .map(|breaker| breaker.why.clone())
            .or_else(|| queue.and_then(|queue| queue.suspicions.get(name).cloned())),
        next_probe_at: breaker.and_then(|breaker| breaker.next_probe_at).map(Into::into),
        in_flight,
        max_in_flight,
        submits_today: None,
        submits_per_day: None,
    }
}
