//! The client that contentctl uses: finds the socket, calls, and says what went wrong in words that help.
//!
//! Blocking: a command line waits for one answer at a time. The surprise: a repeat after a cut connection is safe only
//! because whatever is repeated carries a key; nothing else is repeated.

use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use super::api::ApiError;
use super::protocol::{Call, Frames, MAX_MESSAGE_BYTES, Reply};
use super::socket::check_private_dir;

/// The system's socket, which is tried first.
pub const SYSTEM_SOCKET: &str = "/run/contentd/contentd.sock";
/// The longest reply that is read: a hostile socket must not fill our memory.
const MAX_REPLY_READ: usize = 64 << 20;

/// The longest answer that is joined of several replies; the longest piece with its HTML is far shorter.
const MAX_JOINED_READ: usize = 512 << 20;

/// How long one answer is waited for in silence.
const PATIENCE: Duration = Duration::from_secs(5);

/// What went wrong.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody answers at any place.
    #[error("{}", unreachable_message(.tried))]
    Unreachable {
        /// Where it was tried, and what the system said.
        tried: Vec<(PathBuf, io::Error)>,
    },
    /// The connection ended in the middle of a call.
    #[error("the connection to {path} was cut before the answer came: {source}; {} why", who_tells(path))]
    Cut {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The daemon refused.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// The daemon refused with an error that this client does not know.
    #[error("{name}{}", if parameters.is_null() { String::new() } else { format!(" {parameters}") })]
    Unknown {
        /// Its name.
        name: String,
        /// What came with it.
        parameters: Value,
    },
    /// What came is no answer to what was asked.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
    /// What is to be sent does not fit.
    #[error("the message has {bytes} bytes and {MAX_MESSAGE_BYTES} fit; submit it as a file, which goes in parts")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl ClientError {
    /// Whether the same call may succeed a moment later: the daemon restarts.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Cut { .. } => true,
            Self::Refused(error) => error.is_passing(),
            _ => false,
        }
    }
}

fn unreachable_message(tried: &[(PathBuf, io::Error)]) -> String {
    let mut message = String::from("cannot reach contentd:");
    for (path, error) in tried {
        message.push_str(&format!("\n  {}: {}", path.display(), cause(path, error)));
    }
    if tried.iter().all(|(_, error)| error.kind() == io::ErrorKind::NotFound) {
        let is_systems = tried.iter().any(|(path, _)| is_systems(path));
        let cure = if is_systems { "is it running? `systemctl status contentd` tells" } else { "start `contentd`" };
        message.push_str(&format!("\n{cure}; --socket or CONTENTD_SOCKET name another place"));
    }
    message
}

/// Whether systemd starts the daemon of this socket: it runs here, and the place is that of its unit.
pub fn is_systems(path: &Path) -> bool {
    path == Path::new(SYSTEM_SOCKET) && Path::new("/run/systemd/system").is_dir()
}

/// Where to see what a daemon is at, with its verb.
pub fn who_tells(path: &Path) -> &'static str {
    if is_systems(path) {
        "`systemctl status contentd` tells"
    } else {
        "what `contentd` wrote where it was started tells"
    }
}

/// Why nobody answers at a place, in words that help.
pub fn cause(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no socket".to_owned(),
        io::ErrorKind::ConnectionRefused if path.metadata().is_ok_and(|meta| !meta.file_type().is_socket()) => {
            "it is no socket".to_owned()
        }
        io::ErrorKind::ConnectionRefused => "nobody listens (the daemon has ended without removing it)".to_owned(),
        io::ErrorKind::PermissionDenied => match group_of(path) {
            Some(group) => format!("you may not use it; {}", way_in(&group, "$USER")),
            None => "you may not use it".to_owned(),
        },
        _ => error.to_string(),
    }
}

/// The group that is made for the callers of contentd.
const GROUP: &str = "contentd";

/// How somebody comes to use a socket of this group. Nobody is told to join a group that gives more than a socket: root's, or a
/// person's, where somebody started the daemon by hand.
pub fn way_in(group: &str, user: &str) -> String {
    if group == GROUP {
        return format!("join group {group} (`sudo usermod -aG {group} {user}`, then log in again)");
    }
    format!(
        "it is open to group {group} alone, which was not made for contentd: ask whoever runs this daemon, or name another one's \
         socket with --socket"
    )
}

/// The name of the group that owns the socket, or the directory where that is what refuses.
fn group_of(path: &Path) -> Option<String> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(_) => std::fs::metadata(path.parent()?).ok()?,
    };
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(meta.gid())).then(|| name.to_owned())
    });
    Some(name.unwrap_or_else(|| meta.gid().to_string()))
}

/// Where to look for the socket. The environment comes in as arguments.
pub fn places(named: Option<PathBuf>, runtime_dir: Option<PathBuf>, uid: u32) -> Vec<PathBuf> {
    if let Some(path) = named {
        return vec![path];
    }
    let mut places = vec![PathBuf::from(SYSTEM_SOCKET)];
    match runtime_dir.filter(|dir| dir.is_absolute()) {
        Some(dir) => places.push(dir.join("contentd/contentd.sock")),
        None => places.push(PathBuf::from(format!("/tmp/contentd-{uid}/contentd.sock"))),
    }
    places
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    path: PathBuf,
    frames: Frames,
}

impl Client {
    /// Connects to the first place where somebody answers.
    pub fn connect(places: &[PathBuf]) -> Result<Self, ClientError> {
        let mut tried = Vec::new();
        for path in places {
            match connect_to(path) {
                Ok(stream) => {
                    let frames = Frames::new(MAX_REPLY_READ);
                    return Ok(Self { stream, path: path.clone(), frames });
                }
                Err(error) => tried.push((path.clone(), error)),
            }
        }
        Err(ClientError::Unreachable { tried })
    }

    /// Which socket it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Calls and waits for the one reply. Whoever looks on is told when that lasts: a daemon that does not come up takes no
    /// call, and its socket holds the connection all the same.
    pub fn call<P: Serialize, R: DeserializeOwned>(&mut self, method: &str, parameters: &P) -> Result<R, ClientError> {
        self.send(method, parameters, false)?;
        parsed(self.receive_patiently()?.0.parameters)
    }

    /// Calls for an answer that may be longer than a message, and joins its replies. As [`Self::call`] while nothing comes.
    pub fn call_joined<P: Serialize, R: DeserializeOwned>(
        &mut self,
        method: &str,
        parameters: &P,
        mut join: impl FnMut(&mut R, R),
    ) -> Result<R, ClientError> {
        self.send(method, parameters, true)?;
        let (mut reply, mut bytes) = self.receive_patiently()?;
        let mut continues = reply.continues == Some(true);
        let mut whole: R = parsed(reply.parameters)?;
        while continues {
            let length;
            (reply, length) = self.receive_counted(None)?;
            bytes += length;
            if bytes > MAX_JOINED_READ {
                return Err(ClientError::Unreadable(format!("it is longer than {MAX_JOINED_READ} bytes")));
            }
            continues = reply.continues == Some(true);
            join(&mut whole, parsed(reply.parameters)?);
        }
        Ok(whole)
    }

    /// The first reply, with its length; whoever looks on is told when it is long in coming.
    fn receive_patiently(&mut self) -> Result<(Reply, usize), ClientError> {
        match self.receive_counted(Some(Instant::now() + PATIENCE)) {
            Err(ClientError::TimedOut) => {
                self.tell_of_the_wait();
                self.receive_counted(None)
            }
            reply => reply,
        }
    }

    /// Calls and waits for the one reply, but not past `deadline`.
    pub fn call_until<P: Serialize, R: DeserializeOwned>(
        &mut self,
        method: &str,
        parameters: &P,
        deadline: Instant,
    ) -> Result<R, ClientError> {
        self.send(method, parameters, false)?;
        parsed(self.receive(Some(deadline))?.parameters)
    }

    /// Calls for several replies and hands each on as it comes, until the last, or until `each` says `Break`.
    /// `deadline` bounds the whole.
    pub fn call_more<P, R, E>(
        &mut self,
        method: &str,
        parameters: &P,
        deadline: Option<Instant>,
        mut each: impl FnMut(R) -> Result<std::ops::ControlFlow<()>, E>,
    ) -> Result<(), E>
    where
        P: Serialize,
        R: DeserializeOwned,
        E: From<ClientError>,
    {
        self.send(method, parameters, true)?;
        loop {
            let reply = self.receive(deadline)?;
            let continues = reply.continues == Some(true);
            if each(parsed(reply.parameters)?)?.is_break() || !continues {
                return Ok(());
            }
        }
    }

    fn tell_of_the_wait(&self) {
        let (path, seconds) = (self.path.display(), PATIENCE.as_secs());
        let line = format!("{path}: no answer within {seconds} s, waiting on; {} how it is", who_tells(&self.path));
        // Nobody to say it to is no failure.
        let _ = writeln!(io::stderr(), "{line}");
    }

    fn send<P: Serialize>(&mut self, method: &str, parameters: &P, more: bool) -> Result<(), ClientError> {
        let call = Call { method, parameters, more, oneway: false };
        let mut frame = serde_json::to_vec(&call).map_err(|error| ClientError::Unreadable(error.to_string()))?;
        if frame.len() > MAX_MESSAGE_BYTES {
            return Err(ClientError::TooLong { bytes: frame.len() });
        }
        frame.push(0);
        match self.stream.write_all(&frame) {
            Ok(()) => Ok(()),
            // A server that has refused already (too many connections, too long) has said why: that is read below.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(source) => Err(ClientError::Cut { path: self.path.clone(), source }),
        }
    }

    fn receive(&mut self, deadline: Option<Instant>) -> Result<Reply, ClientError> {
        self.receive_counted(deadline).map(|(reply, _)| reply)
    }

    /// A reply and its length.
    fn receive_counted(&mut self, deadline: Option<Instant>) -> Result<(Reply, usize), ClientError> {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let frame = self.frames.next_frame().map_err(|error| ClientError::Unreadable(error.to_string()))?;
            if let Some(frame) = frame {
                let reply = Reply::read(&frame).map_err(|error| ClientError::Unreadable(error.to_string()))?;
                return match &reply.error {
                    Some(_) => Err(refusal(reply)),
                    None => Ok((reply, frame.len())),
                };
            }
            let count = self.read_until(&mut bytes, deadline)?;
            self.frames.push(&bytes[..count]);
        }
    }

    fn read_until(&mut self, bytes: &mut [u8], deadline: Option<Instant>) -> Result<usize, ClientError> {
        let cut = |source| ClientError::Cut { path: self.path.clone(), source };
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(ClientError::TimedOut);
            }
            self.stream.set_read_timeout(left).map_err(cut)?;
            match self.stream.read(bytes) {
                Ok(0) => return Err(cut(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(ClientError::TimedOut),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(cut(error)),
            }
        }
    }
}

fn connect_to(path: &Path) -> io::Result<UnixStream> {
    // Anybody may make a directory in /tmp: a socket there is trusted only in a directory that is ours.
    if path.starts_with("/tmp")
        && let Some(parent) = path.parent().filter(|parent| parent.starts_with("/tmp/contentd-"))
        && parent.exists()
    {
        check_private_dir(parent).map_err(|error| io::Error::other(error.to_string()))?;
    }
    UnixStream::connect(path)
}

fn parsed<R: DeserializeOwned>(parameters: Value) -> Result<R, ClientError> {
    let parameters = if parameters.is_null() { Value::Object(serde_json::Map::new()) } else { parameters };
    serde_json::from_value(parameters).map_err(|error| ClientError::Unreadable(error.to_string()))
}

fn refusal(reply: Reply) -> ClientError {
    let name = reply.error.unwrap_or_default();
    let mut whole = serde_json::Map::new();
    whole.insert("error".to_owned(), Value::String(name.clone()));
    if reply.parameters.as_object().is_some_and(|parameters| !parameters.is_empty()) {
        whole.insert("parameters".to_owned(), reply.parameters.clone());
    }
    match serde_json::from_value::<ApiError>(Value::Object(whole)) {
        Ok(error) => ClientError::Refused(error),
        Err(_) => ClientError::Unknown { name, parameters: reply.parameters },
    }
}

/// How long to wait between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What a call may be repeated after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// A refusal by a daemon that is ending: nothing was begun. A socket that is gone then is an end and no restart.
    Refused,
    /// A cut connection, too: the call may have been carried out, and once more does no harm.
    Lost,
    /// The same of a call that lasts, as a wait does: the time to repeat is that in which nobody answers. A daemon that drains
    /// does answer.
    Awaited {
        /// By when it is given up, however long nobody answers before; none: it is as for the others.
        until: Option<Instant>,
    },
}

impl Repeat {
    fn allows(self, error: &ClientError) -> bool {
        error.is_passing() && (self != Self::Refused || matches!(error, ClientError::Refused(_)))
    }

    /// By when the last try is made after an error at `now`. `before` is what was said after the error before it.
    fn last_try(self, before: Option<Instant>, error: &ClientError, now: Instant, retry_for: Duration) -> Instant {
        let is_unanswered = matches!(error, ClientError::Unreachable { .. });
        match self {
            Self::Awaited { until: Some(until) } if !retry_for.is_zero() => until,
            Self::Awaited { .. } if !is_unanswered => now + retry_for,
            _ => before.unwrap_or(now + retry_for),
        }
    }
}

/// Calls on a fresh connection, and again for `retry_for` after `Draining` or, where that is allowed, a cut connection. A socket
/// that is not there at the first try is an error at once; at a later one the daemon may be restarting.
pub fn call_repeatedly<R>(
    places: &[PathBuf],
    retry_for: Duration,
    repeat: Repeat,
    mut call: impl FnMut(&mut Client) -> Result<R, ClientError>,
) -> Result<R, ClientError> {
    let mut refusal = None;
    let mut until: Option<Instant> = None;
    let mut is_first = true;
    loop {
        let began = Instant::now();
        let result = Client::connect(places).and_then(|mut client| call(&mut client));
        let error = match result {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let is_restarting = !is_first && matches!(error, ClientError::Unreachable { .. });
        if is_restarting && repeat == Repeat::Refused {
            return Err(refusal.unwrap_or(error));
        }
        if !(repeat.allows(&error) || is_restarting) {
            return Err(error);
        }
        is_first = false;
        // A call that lasted was a connection that worked: the time to repeat begins with its loss.
        let now = Instant::now();
        let before = until.filter(|_| began.elapsed() < retry_for);
        let last_try = repeat.last_try(before, &error, now, retry_for);
        if now >= last_try {
            return Err(error);
        }
        until = Some(last_try);
        refusal = Some(error);
        std::thread::sleep(RETRY_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_counts_from_when_nobody_answers_and_lasts_as_long_as_it_may() {
        let (now, retry_for) = (Instant::now(), Duration::from_secs(10));
        let later = now + Duration::from_secs(60);
        let gone = ClientError::Unreachable { tried: Vec::new() };
        let cut = ClientError::Cut { path: PathBuf::new(), source: io::ErrorKind::UnexpectedEof.into() };
        let drains = ClientError::Refused(ApiError::Draining);
        let wait = Repeat::Awaited { until: None };
        for answered in [&cut, &drains] {
            assert!(wait.allows(answered));
            assert_eq!(wait.last_try(Some(now), answered, now, retry_for), now + retry_for, "anew: {answered}");
            assert_eq!(Repeat::Lost.last_try(Some(now), answered, now, retry_for), now, "a call counts on: {answered}");
        }
        assert_eq!(wait.last_try(Some(now), &gone, now, retry_for), now, "nobody answers");
        let limited = Repeat::Awaited { until: Some(later) };
        assert!([&gone, &cut].iter().all(|error| limited.last_try(Some(now), error, now, retry_for) == later));
        assert_eq!(limited.last_try(None, &cut, now, Duration::ZERO), now, "who wants no repeat gets none");
    }
}
