//! Runs one command of a generator: argument vector, stated environment, bounded output, an end by force.
//!
//! Nothing here knows verbs or outcomes, and nothing here fails: whatever happens is a [`CallResult`]. The surprise:
//! the work is done on a blocking thread with a `poll` loop rather than by `tokio::process`, because that thread goes
//! on when the future is dropped: it ends the process group and reaps, so that nothing is left behind.

pub(crate) mod supervise;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::call::{CallEnd, CallResult};
use supervise::{Sink, Stops};

/// Bytes of one stream that are kept of a call; the rest is read and thrown away.
pub const MAX_OUTPUT: usize = 16 << 20;
/// How long after SIGTERM SIGKILL follows.
pub const GRACE: Duration = Duration::from_secs(5);
/// Where programs are looked for when the daemon itself was given no `PATH`.
pub const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Why nothing was started when the daemon is on its way out.
pub(crate) const STOPPING: &str = "the daemon is stopping; nothing was started";

/// A complete environment. Values may be secrets: it has no `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(pub BTreeMap<OsString, OsString>);

impl Environment {
    /// What every generator gets: `PATH`, `HOME`, `LANG`, `TZ` and `TMPDIR` as the daemon has them, and nothing else
    /// of the daemon's. `PATH` and `LANG` have a default; the others are left out where the daemon has none.
    pub fn minimal(lookup: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let defaults =
            [("PATH", Some(DEFAULT_PATH)), ("HOME", None), ("LANG", Some("C.UTF-8")), ("TZ", None), ("TMPDIR", None)];
        let value = |name, default: Option<&str>| lookup(name).or_else(|| default.map(OsString::from));
        Self(defaults.iter().filter_map(|(name, default)| Some(((*name).into(), value(name, *default)?))).collect())
    }

    /// Adds a variable, or replaces it.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    fn path(&self) -> &OsStr {
        self.0.get(OsStr::new("PATH")).map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str)
    }
}

/// One command to run. It may hold secrets in `env`: no `Debug`.
pub struct ExecSpec {
    /// The program and its arguments; a program without a slash is looked for in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Environment,
    /// The working directory; it must exist.
    pub cwd: PathBuf,
    /// Standard input; none is `/dev/null`. Our copy is closed as soon as the command runs.
    pub stdin: Option<File>,
    /// How long it may take.
    pub timeout: Duration,
    /// How long after SIGTERM SIGKILL follows.
    pub grace: Duration,
    /// Bytes of each stream that are kept.
    pub max_output: usize,
}

/// Why work on a thread gave no result.
pub(crate) enum NoResult {
    /// It did not begin.
    NothingRan(String),
    /// It broke off in the middle, by an error of ours.
    Unknown,
}

impl NoResult {
    /// In a sentence.
    pub fn why(self) -> String {
        match self {
            Self::NothingRan(why) => why,
            Self::Unknown => "the call was lost by an internal error of contentd".to_owned(),
        }
    }
}

/// Runs a command to its end. Must be polled inside a tokio runtime. Dropping the future ends the command's process
/// group as a time-out does, behind the caller's back.
pub async fn execute(spec: ExecSpec) -> CallResult {
    match on_thread(move |hang_up| execute_blocking(spec, Some(hang_up.as_fd()))).await {
        Ok(result) => result,
        Err(NoResult::NothingRan(why)) => CallResult::not_started(why),
        // Unknown what ran: not one of the ends that prove that nothing did.
        Err(no_result @ NoResult::Unknown) => CallResult {
            end: CallEnd::TimedOut,
            stdout: Vec::new(),
            stderr: no_result.why().into_bytes(),
            is_truncated: true,
        },
    }
}

/// Does work on a blocking thread: preparing calls, calling, reading what came. The pipe hangs up when the future is
/// dropped; the work goes on to its end then, which the calls in it make a quick one.
pub(crate) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce(io::PipeReader) -> T + Send + 'static,
) -> Result<T, NoResult> {
    let (hang_up, nobody_waits) = io::pipe().map_err(|error| NoResult::NothingRan(no_descriptors(&error)))?;
    let finished = tokio::task::spawn_blocking(move || work(hang_up)).await;
    // Held until here: when this future is dropped instead, the thread sees the other end hang up.
    drop(nobody_waits);
    finished.map_err(|error| match error.is_cancelled() {
        true => NoResult::NothingRan(STOPPING.to_owned()),
        false => NoResult::Unknown,
    })
}

/// Runs a command on this thread. As soon as `hang_up` hangs up, the command is ended, or not started at all.
pub(crate) fn execute_blocking(spec: ExecSpec, hang_up: Option<BorrowedFd<'_>>) -> CallResult {
    if hang_up.is_some_and(supervise::has_hung_up) {
        return CallResult::not_started(STOPPING);
    }
    // A limit too long for the clock is none.
    let deadline = Instant::now().checked_add(spec.timeout);
    let mut out = Kept::new(spec.max_output);
    let mut err = Kept::new(spec.max_output);
    let command = Launch { argv: &spec.argv, env: &spec.env, cwd: &spec.cwd };
    let child = match command.spawn(spec.stdin) {
        Ok(child) => child,
        Err(why) => return CallResult::not_started(why),
    };
    let stops = Stops { deadline, hang_up, asked: None, grace: spec.grace };
    let watched = supervise::watch(child, &mut out, &mut err, stops);
    CallResult {
        end: watched.end(),
        is_truncated: out.is_cut || err.is_cut || !watched.is_output_whole,
        stdout: out.bytes,
        stderr: err.bytes,
    }
}

/// Keeps the first bytes of a stream.
struct Kept {
    bytes: Vec<u8>,
    max: usize,
    is_cut: bool,
}

impl Kept {
    fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), max, is_cut: false }
    }
}

impl Sink for Kept {
    fn take(&mut self, bytes: &[u8]) {
        let room = self.max.saturating_sub(self.bytes.len());
        self.is_cut |= bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// What is needed to start a command.
pub(crate) struct Launch<'a> {
    pub argv: &'a [String],
    pub env: &'a Environment,
    pub cwd: &'a Path,
}

impl Launch<'_> {
    /// Starts it in a process group of its own with both outputs piped, or says what is wrong and what would be right.
    ///
    /// The program is resolved here rather than by the standard library for two reasons: the message can say where was
    /// looked, and a path keeps the cheap `posix_spawn` way open, which a changed `PATH` closes.
    pub fn spawn(&self, stdin: Option<File>) -> Result<Child, String> {
        let program = self.resolve()?;
        let mut command = Command::new(&program);
        command.arg0(&self.argv[0]).args(&self.argv[1..]).current_dir(self.cwd);
        command.env_clear().envs(&self.env.0).process_group(0);
        command.stdin(stdin.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut busy_tries = 0;
        loop {
            match command.spawn() {
                // Somebody is writing the program file at this moment, as an update in place does.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && busy_tries < 10 => {
                    busy_tries += 1;
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(self.diagnose(&program, &error)),
                Ok(child) => return Ok(child),
            }
        }
    }

    /// Finds the program file, or says why there is none.
    pub fn resolve(&self) -> Result<PathBuf, String> {
        let Some(name) = self.argv.first().filter(|name| !name.is_empty()) else {
            return Err("the command is empty: `run` must begin with a program".into());
        };
        self.check_cwd()?;
        if name.contains('/') {
            let path = self.cwd.join(name);
            return check_program(&path).map(|()| path);
        }
        let mut refused = None;
        for directory in std::env::split_paths(self.env.path()).filter(|path| path.is_absolute()) {
            let path = directory.join(name);
            match check_program(&path) {
                Ok(()) => return Ok(path),
                Err(why) if fs::metadata(&path).is_ok_and(|meta| meta.is_file()) => refused = refused.or(Some(why)),
                Err(_) => {}
            }
        }
        let path = self.env.path().to_string_lossy();
        Err(refused.unwrap_or_else(|| {
            format!(
                "program `{name}` is in none of the directories of PATH ({path}): install it, or give its full path"
            )
        }))
    }

    fn check_cwd(&self) -> Result<(), String> {
        let shown = self.cwd.display();
        match fs::metadata(self.cwd) {
            Ok(meta) if meta.is_dir() => Ok(()),
            Ok(_) => Err(format!("cwd {shown} is not a directory: set `cwd` to one")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("cwd {shown} does not exist: create it, or set `cwd` to a directory that does"))
            }
            Err(error) => Err(format!("cwd {shown} cannot be entered ({error}): {}", let_in(self.cwd))),
        }
    }

    fn diagnose(&self, program: &Path, error: &io::Error) -> String {
        let shown = program.display();
        match error.kind() {
            io::ErrorKind::ArgumentListTooLong => format!(
                "the arguments and the environment of {shown} are too long for the system: pass long fields by \
                 `{{file:NAME}}` or `stdin`"
            ),
            io::ErrorKind::NotFound => {
                format!("{shown} cannot be run: the interpreter in its first line does not exist: install it")
            }
            io::ErrorKind::PermissionDenied => format!(
                "{shown} cannot be run: permission denied for it, its interpreter, its file system or the cwd {}: let \
                 the daemon's user run it",
                self.cwd.display()
            ),
            io::ErrorKind::InvalidInput => {
                format!("an argument or a variable for {shown} holds a NUL byte, which cannot be passed: leave it out")
            }
            _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
                format!("{shown} is not a program this system can run: a script needs a first line such as #!/bin/sh")
            }
            _ => format!("{shown} could not be started: {error}"),
        }
    }
}

fn check_program(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err(format!("program {shown} is a directory: name the program in it")),
        Ok(meta) if !meta.is_file() => Err(format!("program {shown} is not a regular file: name a program")),
        Ok(meta) if meta.permissions().mode() & 0o111 == 0 => {
            Err(format!("program {shown} is not executable: chmod +x it"))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("program {shown} does not exist: install it, or correct the path"))
        }
        Err(error) => Err(format!("program {shown} cannot be reached ({error}): {}", let_in(path))),
    }
}

/// What opens a path. Some places the unit closes, whatever their mode is.
fn let_in(path: &Path) -> &'static str {
    const CLOSED: [&str; 5] = ["/home", "/root", "/srv", "/mnt", "/media"];
    if CLOSED.iter().any(|closed| path.starts_with(closed)) {
        "let the daemon's user in; contentd.service closes /home, /root, /srv, /mnt and /media as well, so move it \
         elsewhere, or open the place with a drop-in (examples/systemd/contentd.service.d/generator.conf)"
    } else {
        "let the daemon's user in"
    }
}

fn no_descriptors(error: &io::Error) -> String {
    format!("no pipe could be made ({error}): raise the limit of open files (LimitNOFILE)")
}
