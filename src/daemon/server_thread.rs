//! The control server, on a thread of its own: a flood of clients must not starve the actors' timers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use log::Level;
use tokio::sync::{mpsc, oneshot, watch};

use crate::backend::DaemonBackend;
use crate::control::server::{Access, Limits, Server};
use crate::control::socket::BoundSocket;
use crate::events::Kind;
use crate::host::runtime;
use crate::roles::Grants;
use crate::tell;

/// Threads for its reads of the database.
const READY_THREADS: usize = 4;
/// How long the server may take to finish its calls, once the actors are drained.
const DRAIN: Duration = Duration::from_secs(5);

/// The thread, from outside.
pub struct ServerThread {
    control: mpsc::UnboundedSender<ServerCommand>,
    ended: Option<oneshot::Receiver<()>>,
}

/// Asks the server's thread whether it lives. It can be kept apart from the thread's owner.
#[derive(Clone)]
pub struct ServerPulse(mpsc::UnboundedSender<ServerCommand>);

enum ServerCommand {
    StopAccepting,
    Answer(oneshot::Sender<()>),
    #[cfg(feature = "fault-injection")]
    Wedge,
    Finish,
}

impl ServerThread {
    /// Serves the socket for those who have a role.
    pub fn start(
        socket: &BoundSocket,
        backend: DaemonBackend,
        grants: watch::Receiver<Arc<Grants>>,
    ) -> anyhow::Result<Self> {
        let listener = socket.listener.try_clone().context("cannot share the socket with the server")?;
        let (control, commands) = mpsc::unbounded_channel();
        let (started_sender, started) = std::sync::mpsc::channel();
        let (ended_sender, ended) = oneshot::channel();
        let serve = move || {
            let runtime = match runtime::with_ready_threads(READY_THREADS) {
                Ok(runtime) => runtime,
                Err(error) => {
                    // The starter waits for this answer.
                    let _ = started_sender.send(Err(error));
                    return;
                }
            };
            runtime.block_on(async move {
                let server =
                    match Server::start(listener, Arc::new(backend), Limits::default(), Access::by_kernel(grants)) {
                        Ok(server) => server,
                        Err(error) => {
                            let _ = started_sender.send(Err(error));
                            return;
                        }
                    };
                let _ = started_sender.send(Ok(()));
                obey(&server, commands).await;
                if !server.drain(DRAIN).await {
                    tell!(Level::Warn, Kind::DrainCut, "calls on the control socket were cut off");
                }
            });
            // The waiting side may have given up.
            let _ = ended_sender.send(());
        };
        std::thread::Builder::new().name("control".into()).spawn(serve).context("cannot start the control thread")?;
        started.recv().context("the control thread ended")?.context("cannot serve the socket")?;
        Ok(Self { control, ended: Some(ended) })
    }

    /// No new connections: those that come to an inherited socket wait for the next daemon.
    pub fn stop_accepting(&self) {
        // A server that is gone accepts nothing.
        let _ = self.control.send(ServerCommand::StopAccepting);
    }

    /// Ends the calls that are left, and the thread.
    pub async fn finish(&mut self) {
        let _ = self.control.send(ServerCommand::Finish);
        if let Some(ended) = self.ended.take() {
            let _ = tokio::time::timeout(DRAIN * 2, ended).await;
        }
    }

    /// For the watchdog.
    pub fn pulse(&self) -> ServerPulse {
        ServerPulse(self.control.clone())
    }
}

/// Does as it is told until it is told to finish.
async fn obey(server: &crate::control::server::ServerHandle, mut commands: mpsc::UnboundedReceiver<ServerCommand>) {
    while let Some(command) = commands.recv().await {
        match command {
            ServerCommand::StopAccepting => server.stop_accepting(),
            // Whoever asked may have given up.
            ServerCommand::Answer(answer) => drop(answer.send(())),
            #[cfg(feature = "fault-injection")]
            ServerCommand::Wedge => loop {
                std::thread::park();
            },
            ServerCommand::Finish => return,
        }
    }
}

impl ServerPulse {
    /// Whether the thread answers within `limit`.
    pub async fn is_felt(&self, limit: Duration) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send(ServerCommand::Answer(answer)).is_ok()
            && tokio::time::timeout(limit, answered).await.is_ok_and(|answered| answered.is_ok())
    }

    /// Lets the thread hang.
    #[cfg(feature = "fault-injection")]
    pub fn wedge(&self) {
        // One that is gone need not hang.
        let _ = self.0.send(ServerCommand::Wedge);
    }
}
