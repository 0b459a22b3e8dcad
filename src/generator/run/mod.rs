//! Blocking runs: a command that writes the piece itself, watched through a directory and a lock.
//!
//! A run must outlive the daemon: it is paid for. So its parent is a small runner process in a session of its own, and
//! what the daemon knows of it, it reads from the run directory, today or after ten restarts. Nothing here interprets
//! what the command wrote. The surprise: nobody ever asks whether a process id lives. The lock alone says so.
//!
//! # The protocol, version 1
//!
//! The directory is `<state>/runs/v1/<key>/`. In order of appearance:
//!
//! | file | written by | what it is |
//! | --- | --- | --- |
//! | `lock` | daemon | The text for the command's standard input. Locked with `flock` before the runner starts and given to it, from it to the command as standard input. The lock is free when the last of them is gone. |
//! | `request.json` | daemon | [`Request`]: what to run. No environment: that travels on another way. The runner holds a lock of its own on it from its beginning to its end, which the command does not have. |
//! | `secrets` | daemon | Digests of the secrets that the run is given, under a salt of its own, for the daemon's user alone: whether today's secrets are those that could stand in what it wrote. |
//! | `files/` | daemon | The private files that the arguments name. |
//! | `started` | runner | [`Started`]. Synced and renamed into place **before** the command starts. |
//! | `stdout`, `stderr` | runner | The command's output, each bounded; the rest is drained and thrown away. What a full disk does not take waits in the runner's memory. |
//! | `cancel` | daemon | Empty. The runner sees it within [`CANCEL_LOOK`] and ends the command's group: SIGTERM, grace, SIGKILL. |
//! | `told` | daemon | Empty. What the command wrote to standard error, if it wrote some, was handed to the log; a later daemon need not. |
//! | `exit.json` | runner | [`Exit`]. Synced and renamed into place as the last thing, when the output is whole on the disk and while the runner holds both locks. |
//!
//! | locks | `started` | `exit.json` | the run |
//! | --- | --- | --- | --- |
//! | the runner's is free, `lock` any | any | yes | has ended; where it says that nothing was started, `lock` must be free too |
//! | one of them is held | – | any other | is starting |
//! | one of them is held | yes | any other | runs |
//! | both free | – | – | never started: the command was not run, and will not be |
//! | both free | yes | – | is lost: nobody is left, and nobody wrote how it ended |
//!
//! The command has `lock` as its standard input and can free it (`flock -u 0`), and it can write an `exit.json`. So neither
//! counts while the runner lives.
//!
//! Once the daemon has believed that a run never started, it seals the directory with a `cancel`: a start that hung all
//! the while cannot make that untrue. A sealed directory stays for a day, emptied, also when its attempt is over.
//!
//! The daemon trusts names and sizes only: files are opened without following links, must be regular and are read up
//! to a bound. The runner says one line, `started` or why not, so that the daemon need not look again and again; nobody
//! need listen.
//!
//! # Two ways to start a runner
//!
//! [`launch`]: the daemon starts `contentd-run DIRECTORY` itself, in a session of its own. The lock is its standard input,
//! the environment is its own, it answers on its standard output. Everything belongs to the daemon's user (0700, 0600).
//! Under a service manager it would die with the daemon's cgroup.
//!
//! [`socket`]: the daemon connects to a socket of the service manager's, which starts `contentd-run --accepted` in a unit
//! with a user, a cgroup and a sandbox of its own. Lock and environment go over the connection ([`handover`]), so does the
//! answer. What both must use is opened to their common group ([`super::access`]); the run directories cannot be listed by
//! the runner's user, and a run's directory is sticky. SIGTERM to that runner is the end of the run, and it says so
//! ([`Stopped::Terminated`]).
//!
//! # What a hostile generator can do in the second way
//!
//! It can lie about its own run: hold its lock, and, once its runner was killed, free the lock and write an `exit.json`. A
//! command that frees its lock and whose runner gets a SIGKILL is lost to us while it goes on; under systemd the unit's
//! cgroup ends with its runner, and where the runner is the first process of a namespace the command cannot kill it. A
//! generator that is not trusted must have its runs in units of their own. It cannot harm the daemon by what
//! it puts into its directory ([`directory`]), nor read the state. All runs have one user, so what keeps them apart is
//! that a command cannot learn another run's key (128 random bits, in no list that it can read) and, where the service
//! manager knows `PrivatePIDs=`, that it cannot see or signal the processes of others. Without that it can read their
//! arguments and environments in `/proc`, secrets included, and kill them. The working directories of generators are open
//! to all runs. A directory that it makes unremovable stays until root removes it, and the daemon says so.
//!
//! A plain child (`detached = false`) is run by the same code on a thread of the daemon. It ends with the daemon, and
//! that it was interrupted follows from the same files. It is free to repeat, so nothing of it is synced
//! ([`Request::is_repeatable`]): its `exit.json` holds a digest of the output instead, and an end whose output is not what it
//! was is no end. Its files are written where they stand, and a stream that stays empty gets none.

pub mod directory;
pub mod handover;
pub mod launch;
mod removal;
pub mod runner;
pub mod socket;
mod stored;
pub mod watch;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::call::CallEnd;
use crate::render::hex;

/// The runner's word when the command runs. Any other says why it does not.
pub const STARTED: &str = "started";
/// How often the runner looks whether it is to end the command.
pub const CANCEL_LOOK: Duration = Duration::from_millis(150);

/// `request.json`: what to run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// How long after SIGTERM SIGKILL follows, in milliseconds.
    pub grace_ms: u64,
    /// Bytes of each stream that are kept.
    pub max_output: usize,
    /// Whose run it is: a database that was restored from an older backup does not know its key.
    #[serde(default)]
    pub task: Option<String>,
    /// It is run again where the machine goes down under it. Then its files need not outlive that: syncing them costs more
    /// than a short command.
    #[serde(default)]
    pub is_repeatable: bool,
}

/// `started`: for people who look around; the daemon only asks whether it is there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Started {
    /// The runner's process id.
    pub pid: u32,
    /// Milliseconds since 1970.
    pub started_at_ms: u64,
}

/// `exit.json`: how it ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Exit {
    /// How the command ended.
    pub end: ExitEnd,
    /// Something is missing at the end of its output.
    pub is_truncated: bool,
    /// Who stopped it, if somebody did.
    pub stopped: Option<Stopped>,
    /// Milliseconds since 1970.
    pub ended_at_ms: u64,
    /// Of a run that is not synced: the digest of the output that this is the end of ([`digest_of`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// A digest of what a command wrote to its two streams.
pub fn digest_of(stdout: &[u8], stderr: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update((stdout.len() as u64).to_be_bytes());
    hasher.update(stdout);
    hasher.update(stderr);
    hex(&hasher.finalize())
}

/// How a command ended, as it is written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitEnd {
    /// It exited with this status.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
    /// It did not go even after SIGKILL.
    Unkillable,
    /// It could not be started.
    NotStarted(String),
}

/// Who stopped a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// Somebody asked for its end.
    Cancelled,
    /// The daemon stopped, and the run was not a detached one.
    Interrupted,
    /// The service manager stopped the runner's unit: a person said so, or the machine went down.
    Terminated,
}

impl ExitEnd {
    /// The end in the words of a call.
    pub fn into_call_end(self) -> CallEnd {
        match self {
            Self::Exited(code) => CallEnd::Exited(code),
            Self::Signalled(signal) => CallEnd::Signalled(signal),
            Self::Unkillable => CallEnd::TimedOut,
            Self::NotStarted(why) => CallEnd::NotStarted(why),
        }
    }
}

impl From<CallEnd> for ExitEnd {
    fn from(end: CallEnd) -> Self {
        match end {
            CallEnd::Exited(code) => Self::Exited(code),
            CallEnd::Signalled(signal) => Self::Signalled(signal),
            CallEnd::TimedOut => Self::Unkillable,
            CallEnd::NotStarted(why) => Self::NotStarted(why),
        }
    }
}
