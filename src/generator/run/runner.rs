//! The runner: starts the command of a run directory, keeps its output, ends it on request, writes how it ended.
//!
//! It is the heart of the program `contentd-run`, and a thread of the daemon for plain children. It must not know
//! generators, and time limits are the daemon's business. The surprise: it does not give up when the disk is full. It
//! keeps what the command writes in memory (`stored`), and at the end it holds the lock and tries again for as
//! long as somebody could read it, because a lost piece of a paid run costs more than a waiting process.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use thiserror::Error;

use super::super::access::Access;
use super::super::exec::supervise::{self, StopCause, Stops, Watched};
use super::super::exec::{Environment, Launch};
use super::super::runfile::open_own;
use super::directory::{is_cancel_asked, lock_for_runner, read_request, write_file};
use super::stored::Stored;
use super::{CANCEL_LOOK, Exit, ExitEnd, Request, Started, Stopped, digest_of};

/// How long is waited between two tries to write what is left of a run.
const WRITE_PAUSE: Duration = Duration::from_millis(500);
/// How much longer than its grace the end of a command may take.
const END_MARGIN: Duration = Duration::from_secs(15);

/// Why nothing was started. The lock is free after it, and there is no `started`.
#[derive(Debug, Error)]
pub enum RunnerError {
    /// The end was asked for before the beginning.
    #[error("the run was cancelled before it started")]
    Cancelled,
    /// The runner was told to end before the beginning.
    #[error("the run was stopped before it started")]
    Stopped,
    /// The run directory does not work.
    #[error("run directory {path}: {step}: {source}")]
    Io {
        /// Which.
        path: String,
        /// What was tried.
        step: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

/// The process that a run is run in.
#[derive(Clone, Copy, Default)]
pub struct Host<'a> {
    /// Readable or hung up as soon as the run is to end, and what that end is called.
    pub ends: Option<(BorrowedFd<'a>, Stopped)>,
    /// For whom the files are.
    pub access: Access,
    /// It is the first process of its namespace: what loses its parent becomes its child and must be reaped.
    pub is_init: bool,
}

/// Runs the command of `dir` to its end. `lock` becomes the command's standard input and is held until the ending is
/// written. `announce` is called once the command runs, or with the reason why it does not; only then is the rest of
/// the wait.
pub fn run(
    dir: &Path,
    env: &Environment,
    lock: &File,
    host: Host<'_>,
    announce: &mut dyn FnMut(Result<(), &str>),
) -> Result<(), RunnerError> {
    let failed = |step| move |source| RunnerError::Io { path: dir.display().to_string(), step, source };
    let _alive = lock_request(dir).map_err(failed("request.json cannot be locked"))?;
    let request = read_request(dir).map_err(failed("request.json cannot be read"))?;
    let stdin = lock.try_clone().map_err(failed("the lock cannot be shared"))?;
    let is_synced = !request.is_repeatable;
    let store = |name: &str| {
        let (path, max) = (dir.join(name), request.max_output);
        if is_synced { Stored::create(&path, max, host.access) } else { Ok(Stored::wanted(path, max, host.access)) }
    };
    let mut out = store("stdout").map_err(failed("stdout cannot be made"))?;
    let mut err = store("stderr").map_err(failed("stderr cannot be made"))?;
    if is_cancel_asked(dir) {
        return Err(RunnerError::Cancelled);
    }
    if host.ends.is_some_and(|(fd, _)| supervise::has_hung_up(fd)) {
        return Err(RunnerError::Stopped);
    }
    write_started(dir, host.access, is_synced).map_err(failed("started cannot be written"))?;
    let launch = Launch { argv: &request.argv, env, cwd: &request.cwd };
    let exit = match launch.spawn(Some(stdin)) {
        Ok(child) => {
            announce(Ok(()));
            let stops = stops(dir, &request, host, Pid::from_child(&child));
            let watched = supervise::watch(child, &mut out, &mut err, stops);
            if !store_output(dir, host, [&mut out, &mut err], is_synced) {
                // Without an ending it counts as lost with its daemon, or nobody looks.
                return Ok(());
            }
            let exit = exit_of(&watched, host, out.is_cut() || err.is_cut());
            Exit { output: request.is_repeatable.then(|| digest_of(out.bytes(), err.bytes())), ..exit }
        }
        Err(why) => {
            announce(Err(&why));
            let end = ExitEnd::NotStarted(why);
            Exit { end, is_truncated: false, stopped: None, ended_at_ms: now_ms(), output: None }
        }
    };
    write_exit(dir, &exit, host, is_synced);
    Ok(())
}

/// How long the end of the run in `dir` may take once it was asked for: the grace and what comes after it.
pub fn longest_end(dir: &Path) -> Duration {
    let grace = read_request(dir).map_or(0, |request| request.grace_ms);
    Duration::from_millis(grace) + END_MARGIN
}

fn stops<'a>(dir: &'a Path, request: &Request, host: Host<'a>, command: Pid) -> Stops<'a> {
    let is_asked = Box::new(move || {
        if host.is_init {
            reap_orphans(command);
        }
        is_cancel_asked(dir)
    });
    Stops {
        deadline: None,
        hang_up: host.ends.map(|(fd, _)| fd),
        asked: Some((CANCEL_LOOK, is_asked)),
        grace: Duration::from_millis(request.grace_ms),
    }
}

/// Takes in what the command's processes left behind. The command itself is reaped by whoever watches it, and last.
fn reap_orphans(command: Pid) {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    // Any child but the command cannot be waited for, so each is named; but only when there is something to reap.
    if !matches!(waitid(WaitId::All, ended | WaitIdOptions::NOWAIT), Ok(Some(_))) {
        return;
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        // Of what is no child of ours, or has not ended, nothing is taken.
        if let Some(pid) = pid.filter(|pid| *pid != command) {
            let _ = waitid(WaitId::Pid(pid), ended);
        }
    }
}

fn exit_of(watched: &Watched, host: Host<'_>, is_cut: bool) -> Exit {
    let stopped = watched.stopped.map(|cause| match cause {
        StopCause::HangUp => host.ends.map_or(Stopped::Interrupted, |(_, stopped)| stopped),
        StopCause::Asked | StopCause::Deadline => Stopped::Cancelled,
    });
    // A stopped command that still exits 0 may have left a whole piece: its own status is what counts here.
    let end = watched.status.map_or(ExitEnd::Unkillable, |status| supervise::end_of(status).into());
    Exit { end, is_truncated: is_cut || !watched.is_output_whole, stopped, ended_at_ms: now_ms(), output: None }
}

/// The lock on the returned file says that the runner lives. The command does not inherit it, so it cannot free it.
fn lock_request(dir: &Path) -> io::Result<File> {
    let file = open_own(&dir.join("request.json"), OpenOptions::new().read(true))?;
    lock_for_runner(&file)?;
    Ok(file)
}

fn write_started(dir: &Path, access: Access, is_synced: bool) -> io::Result<()> {
    let started = Started { pid: std::process::id(), started_at_ms: now_ms() };
    write_file(dir, "started", &serde_json::to_vec(&started)?, access, is_synced)
}

/// Makes the output whole in its files, or on the disk, however long that takes; whether it is.
fn store_output(dir: &Path, host: Host<'_>, streams: [&mut Stored; 2], is_synced: bool) -> bool {
    let mut is_whole = true;
    for stream in streams {
        is_whole &= try_on(dir, host, || if is_synced { stream.finish() } else { stream.write() });
    }
    is_whole
}

fn write_exit(dir: &Path, exit: &Exit, host: Host<'_>, is_synced: bool) {
    let Ok(text) = serde_json::to_vec(exit) else { return };
    try_on(dir, host, || write_file(dir, "exit.json", &text, host.access, is_synced));
}

/// Tries until it works or nobody waits for it; whether it worked.
fn try_on(dir: &Path, host: Host<'_>, mut step: impl FnMut() -> io::Result<()>) -> bool {
    while step().is_err() {
        if is_given_up(dir, host) {
            return false;
        }
        thread::sleep(WRITE_PAUSE);
    }
    true
}

/// Whether nobody waits for what a run left: its directory is gone, or it is a plain child and its daemon is on its way
/// out. A unit that is told to end goes on trying until the service manager kills it.
fn is_given_up(dir: &Path, host: Host<'_>) -> bool {
    let is_left_by_daemon =
        host.ends.is_some_and(|(fd, how)| how == Stopped::Interrupted && supervise::has_hung_up(fd));
    is_left_by_daemon || dir.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
