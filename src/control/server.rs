//! The server: one task a connection, and limits on what a connection may cost.
//!
//! It carries bytes between [`super::protocol`] and [`super::routes`] and knows nothing of tasks. It never writes to a
//! client without a limit on the wait, so a reader that stops reading loses its connection and nobody else's time. What has come
//! of long messages is bounded for all connections of a user together: who finds no room is not read from until there is some. The
//! surprise: a call that was started runs to its end even when its caller goes; only waits and watches are dropped.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use log::{debug, info, warn};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::api::{ApiError, Backend, Peer};
use super::permissions::{self, Caller};
use super::protocol::{CallHead, Frames, MAX_MESSAGE_BYTES, ProtocolError, error_frame, reply_frame};
use super::routes::{Replies, Routed, Router};
use super::staging::Staging;
use crate::roles::{Credentials, Grants};

/// What connections may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest message of a client.
    pub message_bytes: usize,
    /// How long a connection may stay without a call.
    pub idle: Duration,
    /// How long a message may take from its first byte to its last.
    pub message_time: Duration,
    /// How long a reader may take nothing.
    pub write_stall: Duration,
    /// Connections in all.
    pub connections: usize,
    /// Connections of one user.
    pub connections_per_user: usize,
    /// Bytes of messages that one user's connections hold together, beyond a read's worth each. At least one message fits.
    pub held_bytes_per_user: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: MAX_MESSAGE_BYTES,
            idle: Duration::from_secs(600),
            message_time: Duration::from_secs(60),
            write_stall: Duration::from_secs(30),
            connections: 256,
            connections_per_user: 64,
            held_bytes_per_user: 32 << 20,
        }
    }
}

/// Asks the kernel who is at the other end of a connection.
pub type ReadCredentials = dyn Fn(&UnixStream) -> io::Result<Credentials> + Send + Sync;

/// Who may do what.
#[derive(Clone)]
pub struct Access {
    /// Whom the configuration gives which role; looked at anew for every call.
    pub grants: watch::Receiver<Arc<Grants>>,
    /// Who calls.
    pub credentials: Arc<ReadCredentials>,
}

impl Access {
    /// By the kernel's word.
    pub fn by_kernel(grants: watch::Receiver<Arc<Grants>>) -> Self {
        Self { grants, credentials: Arc::new(kernel_credentials) }
    }

    fn caller(&self, credentials: &Credentials, peer: &Peer) -> Caller {
        let grants = self.grants.borrow();
        let is_nobody = if credentials.groups.is_none() {
            Some("the kernel did not tell contentd your groups, and without them you are nobody")
        } else if grants.is_unnamed(credentials) {
            Some(
                "contentd sees you through a user namespace that does not name you; call as a user of the host whose number \
                 is below 65534 and in no range of /etc/subuid",
            )
        } else {
            None
        };
        Caller { peer: peer.clone(), roles: grants.roles_of(credentials), is_nobody }
    }
}

/// The credentials of the moment of connecting: no process number that another process may have by now is asked about.
fn kernel_credentials(stream: &UnixStream) -> io::Result<Credentials> {
    let cred = stream.peer_cred()?;
    let groups = peer_groups::peer_groups(stream);
    if let Err(error) = &groups {
        warn!("control socket: the groups of user {} cannot be read, who has no role now: {error}", cred.uid());
    }
    Ok(Credentials { uid: cred.uid(), gid: cred.gid(), pid: cred.pid(), groups: groups.ok() })
}

/// How far the end has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    Serving,
    /// No new connections; those that are there go on.
    NotAccepting,
    /// No new calls; those in progress end.
    Draining,
    /// Everything is dropped.
    Closed,
}

/// Starts servers.
#[derive(Debug)]
pub struct Server;

/// A running server. Dropping it closes everything at once.
#[derive(Debug)]
pub struct ServerHandle {
    phase: watch::Sender<Phase>,
    alive: mpsc::Receiver<()>,
    connections: Arc<AtomicUsize>,
}

/// What a user's connections share.
struct User {
    connections: usize,
    /// Room for their long messages, in reads.
    room: Arc<Semaphore>,
}

impl User {
    fn new(limits: &Limits) -> Self {
        let reads = limits.held_bytes_per_user.max(limits.message_bytes) / READ_BYTES + 2;
        Self { connections: 0, room: Arc::new(Semaphore::new(reads)) }
    }
}

struct Shared {
    router: Router,
    access: Access,
    limits: Limits,
    users: Mutex<BTreeMap<u32, User>>,
    connections: Arc<AtomicUsize>,
    phase: watch::Receiver<Phase>,
    /// Kept by every task of the server; when the last is dropped, the server is gone.
    alive: mpsc::Sender<()>,
}

impl Server {
    /// Serves connections of a socket that is bound and listens, on the runtime that this is called on.
    pub fn start(
        listener: std::os::unix::net::UnixListener,
        backend: Arc<dyn Backend>,
        limits: Limits,
        access: Access,
    ) -> io::Result<ServerHandle> {
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let (phase_sender, phase) = watch::channel(Phase::Serving);
        let (alive_sender, alive) = mpsc::channel(1);
        let connections = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new(Shared {
            router: Router { backend, staging: Staging::default() },
            access,
            limits,
            users: Mutex::default(),
            connections: Arc::clone(&connections),
            phase,
            alive: alive_sender,
        });
        tokio::spawn(accept_all(listener, shared));
        Ok(ServerHandle { phase: phase_sender, alive, connections })
    }
}

impl ServerHandle {
    /// No new connections. With a socket that somebody else holds too (systemd), those that come wait there.
    pub fn stop_accepting(&self) {
        self.advance(Phase::NotAccepting);
    }

    /// No new calls; waits for those in progress, at most so long, then closes everything. Streams end with
    /// [`ApiError::Draining`]. Says whether everything ended by itself.
    pub async fn drain(mut self, limit: Duration) -> bool {
        self.advance(Phase::Draining);
        let is_complete = timeout(limit, self.alive.recv()).await.is_ok();
        self.advance(Phase::Closed);
        is_complete
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let is_forward = to > *phase;
            *phase = (*phase).max(to);
            is_forward
        });
    }
}

/// Resolves once the phase is at least this; also when the handle is gone, which means closed.
async fn reached(phase: &mut watch::Receiver<Phase>, at_least: Phase) {
    // An error means that the handle was dropped: everything ends.
    let _ = phase.wait_for(|phase| *phase >= at_least).await;
}

/// Resolves when a drain ends a connection that is silent.
async fn drained(phase: &mut watch::Receiver<Phase>, is_new: bool) {
    reached(phase, Phase::Draining).await;
    if is_new {
        sleep(FIRST_CALL).await;
    }
}

/// How long accepting pauses after an error, so that running out of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

async fn accept_all(listener: UnixListener, shared: Arc<Shared>) {
    let mut phase = shared.phase.clone();
    let mut is_failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = reached(&mut phase, Phase::NotAccepting) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                if is_failing {
                    info!("control socket: connections are accepted again");
                }
                is_failing = false;
                admit(stream, &shared);
            }
            Err(error) => {
                if !is_failing {
                    warn!("control socket: cannot accept connections: {error}");
                }
                is_failing = true;
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    debug!("control socket: no new connections");
}

fn admit(stream: UnixStream, shared: &Arc<Shared>) {
    let credentials = match (shared.access.credentials)(&stream) {
        Ok(credentials) => credentials,
        Err(error) => {
            warn!("control socket: a connection without credentials was closed: {error}");
            return;
        }
    };
    let Credentials { uid, gid, pid, .. } = credentials;
    let peer = Peer { uid, gid, pid, name: user_name(uid) };
    let slot = match Slot::take(shared, peer.uid) {
        Ok(slot) => slot,
        Err(limit) => {
            // Not waited for: a client that cannot be told is closed all the same.
            let _ = stream.try_write(&error_frame(&ApiError::TooManyConnections { limit }));
            debug!("control socket: user {} has too many connections", peer.uid);
            return;
        }
    };
    let mut phase = shared.phase.clone();
    let connection = Connection {
        frames: Frames::new(shared.limits.message_bytes),
        shared: Arc::clone(shared),
        stream,
        credentials,
        peer,
        is_read_closed: false,
        room: Arc::clone(&slot.room),
        held: None,
    };
    let alive = shared.alive.clone();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = reached(&mut phase, Phase::Closed) => {}
            () = connection.serve() => {}
        }
        drop(slot);
        drop(alive);
    });
}

/// A user's name from the local user file; its number where it has none there.
pub(crate) fn user_name(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| uid.to_string())
}

/// A place among the connections, given back on drop.
struct Slot {
    shared: Arc<Shared>,
    uid: u32,
    room: Arc<Semaphore>,
}

impl Slot {
    /// The error is the limit that was met.
    fn take(shared: &Arc<Shared>, uid: u32) -> Result<Self, u32> {
        let limits = &shared.limits;
        let mut users = shared.users.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = users.values().map(|user| user.connections).sum();
        let limit = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
        if total >= limits.connections {
            return Err(limit(limits.connections));
        }
        let user = users.entry(uid).or_insert_with(|| User::new(limits));
        if user.connections >= limits.connections_per_user {
            return Err(limit(limits.connections_per_user));
        }
        user.connections += 1;
        shared.connections.store(total + 1, Ordering::Relaxed);
        Ok(Self { shared: Arc::clone(shared), uid, room: Arc::clone(&user.room) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut users = self.shared.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = users.get_mut(&self.uid) {
            user.connections -= 1;
            if user.connections == 0 {
                users.remove(&self.uid);
            }
        }
        self.shared.connections.store(users.values().map(|user| user.connections).sum(), Ordering::Relaxed);
    }
}

/// Why a connection ends; not an error of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The client went, or took nothing for too long.
    Gone,
    /// What it sent cannot be followed any more.
    Broken,
    /// It said nothing for too long, or half a message.
    Idle,
    /// The daemon drains.
    Drained,
}

struct Connection {
    shared: Arc<Shared>,
    stream: UnixStream,
    frames: Frames,
    credentials: Credentials,
    peer: Peer,
    is_read_closed: bool,
    /// Shared with the user's other connections.
    room: Arc<Semaphore>,
    /// What this connection has of it.
    held: Option<OwnedSemaphorePermit>,
}

/// How many bytes one read takes.
const READ_BYTES: usize = 64 << 10;
/// How many calls of one connection are served before others have their turn.
const CALLS_A_TURN: u32 = 16;
/// Who was let in and has not called yet may have the call on its way when a drain begins: so long it is waited for, and answered.
const FIRST_CALL: Duration = Duration::from_secs(1);
/// How often a client that sends nothing more is looked at while a stream runs.
const HANGUP_CHECK: Duration = Duration::from_secs(1);

impl Connection {
    async fn serve(mut self) {
        let ended = self.serve_calls().await;
        debug!("control socket: connection of {} ended: {ended:?}", self.peer.label());
    }

    async fn serve_calls(&mut self) -> Ended {
        let mut served: u32 = 0;
        let mut is_new = true;
        loop {
            match self.frames.next_frame() {
                Ok(Some(frame)) => {
                    if let Err(ended) = self.answer(&frame).await {
                        return ended;
                    }
                    is_new = false;
                    served = served.wrapping_add(1);
                    if served.is_multiple_of(CALLS_A_TURN) {
                        tokio::task::yield_now().await;
                    }
                }
                Ok(None) => {
                    if let Err(ended) = self.wait_for_bytes(is_new).await {
                        return ended;
                    }
                }
                Err(error) => return self.refuse_broken(&error).await,
            }
        }
    }

    /// Waits for more of a message. The clock of a message that has begun is not set back by more bytes of it.
    async fn wait_for_bytes(&mut self, is_new: bool) -> Result<(), Ended> {
        if self.is_read_closed {
            return Err(Ended::Gone);
        }
        let limits = self.shared.limits;
        let has_begun = self.frames.pending_len() > 0;
        if self.frames.pending_len() < READ_BYTES {
            self.held = None;
        }
        let limit = if has_begun { limits.message_time } else { limits.idle };
        let mut phase = self.shared.phase.clone();
        let read_message = async {
            let mut bytes = vec![0; READ_BYTES];
            loop {
                self.make_room().await;
                let count = self.stream.read(&mut bytes).await.map_err(|_| Ended::Gone)?;
                if count == 0 {
                    return Err(Ended::Gone);
                }
                self.frames.push(&bytes[..count]);
                // A whole message, one that is too long, or the first bytes of one, whose own clock starts.
                if !has_begun || bytes[..count].contains(&0) || self.frames.pending_len() > limits.message_bytes {
                    return Ok(());
                }
            }
        };
        tokio::select! {
            biased;
            read = timeout(limit, read_message) => read.unwrap_or(Err(Ended::Idle)),
            () = drained(&mut phase, is_new) => Err(Ended::Drained),
        }
    }

    /// How many reads' worth of room the next read needs beside what is held: none for the first of a message.
    fn lacking_room(&self) -> u32 {
        let needed = u32::try_from(self.frames.pending_len() / READ_BYTES).unwrap_or(u32::MAX);
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        needed.saturating_sub(u32::try_from(held).unwrap_or(u32::MAX))
    }

    /// Waits until the user's other connections leave room for more of a message. The message's own clock ends the wait.
    async fn make_room(&mut self) {
        let lacking = self.lacking_room();
        if lacking > 0
            && let Ok(more) = Arc::clone(&self.room).acquire_many_owned(lacking).await
        {
            self.hold(more);
        }
    }

    /// As [`Self::make_room`], without a wait; says whether there is room.
    fn has_room(&mut self) -> bool {
        let lacking = self.lacking_room();
        if lacking > 0 {
            let Ok(more) = Arc::clone(&self.room).try_acquire_many_owned(lacking) else { return false };
            self.hold(more);
        }
        true
    }

    fn hold(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
    }

    fn is_draining(&self) -> bool {
        // A dropped handle means closed, which the task around this one sees.
        *self.shared.phase.borrow() >= Phase::Draining
    }

    async fn refuse_broken(&mut self, error: &ProtocolError) -> Ended {
        let refusal = match error {
            ProtocolError::TooLong { limit } => ApiError::invalid(
                "message",
                &error.to_string(),
                format!("at most {limit} bytes; stage a batch in parts"),
            ),
            ProtocolError::NoCall(_) | ProtocolError::NoReply(_) => {
                ApiError::invalid("message", &error.to_string(), "a JSON object with `method`, ended by a NUL byte")
            }
        };
        // It is closed whether it hears this or not.
        let _ = self.write(&error_frame(&refusal)).await;
        Ended::Broken
    }

    /// Serves one call.
    async fn answer(&mut self, frame: &[u8]) -> Result<(), Ended> {
        let head = match CallHead::read(frame) {
            Ok(head) => head,
            Err(error) => return Err(self.refuse_broken(&error).await),
        };
        let routed = self.started(&head, frame);
        let answered = match routed {
            Err(error) => Err(error),
            Ok(Routed::Once(answer)) => match answer.await {
                Ok(bodies) if head.is_oneway() => return drop_replies(bodies),
                Ok(bodies) => return self.write_all_of(&bodies).await,
                Err(error) => Err(error),
            },
            // Nobody would hear a stream of a call without replies.
            Ok(Routed::Stream(_)) if head.is_oneway() => return Ok(()),
            Ok(Routed::Stream(answer)) => self.stream(&head.method, answer).await?,
        };
        match answered {
            Ok(()) => Ok(()),
            Err(_) if head.is_oneway() => Ok(()),
            Err(error) => self.write(&error_frame(&error)).await,
        }
    }

    fn started(&self, head: &CallHead, frame: &[u8]) -> Result<Routed, ApiError> {
        if self.is_draining() {
            return Err(ApiError::Draining);
        }
        if head.upgrade == Some(true) {
            return Err(ApiError::InvalidParameter { parameter: "upgrade".to_owned() });
        }
        self.shared.router.route(&self.caller(), head, frame)
    }

    /// Who calls now: a reload may have changed what they are.
    fn caller(&self) -> Caller {
        self.shared.access.caller(&self.credentials, &self.peer)
    }

    async fn write_all_of(&mut self, bodies: &[Vec<u8>]) -> Result<(), Ended> {
        for (index, body) in bodies.iter().enumerate() {
            self.write(&reply_frame(body, index + 1 < bodies.len())).await?;
        }
        Ok(())
    }

    /// Carries a stream to its end. The outer error ends the connection, the inner one the call.
    async fn stream(
        &mut self,
        method: &str,
        answer: futures_util::future::BoxFuture<'static, Result<Replies, ApiError>>,
    ) -> Result<Result<(), ApiError>, Ended> {
        let mut replies = tokio::select! {
            biased;
            replies = answer => match replies {
                Ok(replies) => replies,
                Err(error) => return Ok(Err(error)),
            },
            () = self.gone() => return Err(Ended::Gone),
        };
        let mut phase = self.shared.phase.clone();
        let mut grants = self.shared.access.grants.clone();
        loop {
            // A role that was taken away ends what it had begun.
            grants.borrow_and_update();
            if let Err(error) = permissions::check(&self.caller(), method) {
                return Ok(Err(error));
            }
            let part = tokio::select! {
                biased;
                () = reached(&mut phase, Phase::Draining) => return Ok(Err(ApiError::Draining)),
                Ok(()) = grants.changed() => continue,
                part = replies.next() => part,
                () = self.gone() => return Err(Ended::Gone),
            };
            match part {
                Some(Ok(part)) => {
                    self.write(&reply_frame(&part.body, !part.is_last)).await?;
                    if part.is_last {
                        return Ok(Ok(()));
                    }
                }
                Some(Err(error)) => return Ok(Err(error)),
                // The backend let go without a last reply: it is stopping.
                None => return Ok(Err(ApiError::Draining)),
            }
        }
    }

    /// Resolves when the client is gone. A client that only sends nothing more is still there. Calls that it sends
    /// meanwhile are kept for later, up to the length of one message; then nothing more is read.
    async fn gone(&mut self) {
        let mut bytes = vec![0; READ_BYTES];
        loop {
            let is_full = self.frames.pending_len() > self.shared.limits.message_bytes;
            if self.is_read_closed || is_full || !self.has_room() {
                if self.is_hung_up() {
                    return;
                }
                sleep(HANGUP_CHECK).await;
                continue;
            }
            match self.stream.read(&mut bytes).await {
                Ok(0) => self.is_read_closed = true,
                Ok(count) => self.frames.push(&bytes[..count]),
                Err(_) => return,
            }
        }
    }

    fn is_hung_up(&self) -> bool {
        let ready = self.stream.ready(Interest::WRITABLE).now_or_never();
        matches!(ready, Some(Ok(ready)) if ready.is_write_closed())
    }

    /// Writes everything, as long as the reader takes some of it in time.
    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Ended> {
        while !bytes.is_empty() {
            match timeout(self.shared.limits.write_stall, self.stream.write(bytes)).await {
                Ok(Ok(count)) if count > 0 => bytes = &bytes[count..],
                Ok(_) | Err(_) => return Err(Ended::Gone),
            }
        }
        Ok(())
    }
}

/// A call that wants no reply gets none.
fn drop_replies(_: Vec<Vec<u8>>) -> Result<(), Ended> {
    Ok(())
}
