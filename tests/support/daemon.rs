//! The real daemon for tests: the binary in a temporary directory, with the sample generator, its socket and `contentctl`.
//!
//! Nothing of the host shows through: the environment is empty but for what a test says, HOME and XDG variables are not
//! there, and all that is written lands in one directory. The daemon dies with its [`Daemon`], and so do the calls
//! that it left. The surprise: a job of the sample is no process; it goes on while no daemon runs, read off the clock.

// Each test file that uses the harness uses a part of it.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a condition may take to come true: generous, because test machines are busy.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// How long a call of the sample hangs that was told to hang for ever.
pub const HANG_SECONDS: &str = "60";

/// What a daemon is started with. Every text is put into the configuration as it is.
#[derive(Clone)]
pub struct Setup {
    /// Lines of `[daemon]`.
    pub daemon: String,
    /// Lines of `[tasks]`.
    pub tasks: String,
    /// `polling.interval`.
    pub polling: String,
    /// How long a job of the sample takes, in seconds, where its topic does not say.
    pub seconds: String,
    /// Lines of `[generators.sample]`.
    pub sample: String,
    /// More sections.
    pub more: String,
    /// Replacements in the sample's sections: what stands there, what comes in its place.
    pub replaced: Vec<(String, String)>,
    /// Variables of the daemon's environment; an empty value takes one away.
    pub env: Vec<(String, String)>,
}

impl Default for Setup {
    /// Quick: jobs take no time, a poll comes within a second, a retry at once.
    fn default() -> Self {
        Self {
            daemon: String::new(),
            tasks: r#"retry = { initial = "50ms", factor = 1.0, max = "50ms", jitter = 0.0 }"#.to_owned(),
            polling: "1s".to_owned(),
            seconds: "0".to_owned(),
            sample: String::new(),
            more: String::new(),
            replaced: Vec::new(),
            env: Vec::new(),
        }
    }
}

impl Setup {
    /// Polls come only when somebody asks for them.
    pub fn without_polls() -> Self {
        Self { polling: "12h".to_owned(), ..Self::default() }
    }

    /// Adds a variable to the daemon's environment.
    pub fn with_env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Changes the sample's sections.
    pub fn with_replaced(mut self, from: &str, to: &str) -> Self {
        self.replaced.push((from.to_owned(), to.to_owned()));
        self
    }

    /// The sections of the example that ships with contentd, with the test's directory and times in them.
    fn sample_sections(&self, dir: &Path) -> String {
        let example = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sample.toml"))
            .expect("the example ships with the sources");
        let sample_dir = dir.join("sample");
        let env = format!(
            "env = {{ SAMPLE_SECONDS = {:?}, SAMPLE_DIR = {sample_dir:?}, SAMPLE_HANG_SECONDS = {HANG_SECONDS:?} }}\n{}",
            self.seconds, self.sample
        );
        let start = example.find("env = {").expect("the example sets the sample's environment");
        let end = start + example[start..].find('\n').expect("the line ends");
        let mut text = format!("{}{env}{}", &example[..start], &example[end..]);
        for (from, to) in &self.replaced {
            assert!(text.contains(from), "the sample's sections have no {from:?}");
            text = text.replace(from, to);
        }
        text
    }
}

/// What a run of a program came to.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status; none after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            err: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }
}

impl Ran {
    /// Asserts the exit status.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A refusal on the wire.
#[derive(Debug, PartialEq)]
pub struct Refused {
    /// The error's name, `io.contentd.…`.
    pub name: String,
    /// What came with it.
    pub parameters: Value,
}

/// A daemon with everything around it.
pub struct Daemon {
    dir: tempfile::TempDir,
    setup: Setup,
    child: Option<Child>,
}

impl Daemon {
    /// Starts one with the quick setup and waits until it answers.
    pub fn start() -> Self {
        Self::with(Setup::default())
    }

    /// Starts one with an account `blog` (number 1) and waits until it answers.
    pub fn with(setup: Setup) -> Self {
        let mut daemon = Self::prepared(setup);
        daemon.spawn();
        daemon.await_answer();
        daemon.ctl(&["account", "add", "--name", "blog"]).exits(0);
        daemon
    }

    /// Everything but the running process.
    pub fn prepared(setup: Setup) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let daemon = Self { dir, setup, child: None };
        daemon.write_config();
        daemon
    }

    /// The directory that holds all of it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.dir().join("contentd.toml")
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("s")
    }

    /// The database, unless the setup says otherwise.
    pub fn database(&self) -> PathBuf {
        self.dir().join("contentd.db")
    }

    /// Where the sample keeps its jobs.
    pub fn sample_dir(&self) -> PathBuf {
        self.dir().join("sample")
    }

    /// Changes the setup; it is read at the next start or reload.
    pub fn change(&mut self, change: impl FnOnce(&mut Setup)) {
        change(&mut self.setup);
        self.write_config();
    }

    fn write_config(&self) {
        let Setup { daemon, tasks, polling, more, .. } = &self.setup;
        let sample = self.setup.sample_sections(self.dir());
        let text = format!(
            "[daemon]\n{daemon}\n[tasks]\ngenerator = \"sample\"\n{tasks}\n[polling]\ninterval = {polling:?}\n\n{sample}\n{more}\n"
        );
        fs::write(self.config_path(), text).expect("the directory is ours");
    }

    /// A command of one of our programs, in this daemon's surroundings.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.dir()).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("CREATOR_CLI_PATH", env!("CARGO_BIN_EXE_sample-generator"));
        command.env("DATABASE_URL", self.database()).env("RUST_LOG", "debug");
        for (name, value) in &self.setup.env {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        command
    }

    /// The daemon's own command line, with more arguments.
    pub fn contentd(&self, more: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_contentd"));
        command.arg("--config").arg(self.config_path()).arg("--socket").arg(self.socket()).args(more);
        command
    }

    /// Starts the process and does not wait for it.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "one daemon at a time");
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).expect("the directory is ours");
        let mut command = self.contentd(&[]);
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        self.child = Some(command.spawn().expect("contentd starts"));
    }

    /// Runs a daemon that is expected to end by itself.
    pub fn run_to_end(&self) -> Ran {
        self.contentd(&[]).output().expect("contentd starts").into()
    }

    /// Waits until the daemon answers a ping.
    pub fn await_answer(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        while self.try_call("io.contentd.Daemon.Ping", &json!({})).is_none() {
            let ended = self.child.as_mut().expect("it was started").try_wait().expect("it is our child");
            assert!(ended.is_none(), "the daemon ended ({ended:?}):\n{}", self.log());
            assert!(Instant::now() < deadline, "the daemon does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it was started").id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().expect("it was started");
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("it is our child");
    }

    /// Kills it without a chance to do anything.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is our child");
            child.wait().expect("it is our child");
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.await_end()
    }

    /// Waits for the end of the process.
    pub fn await_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it was started");
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = child.try_wait().expect("it is our child") {
                return status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("the daemon does not end:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it in order, if it runs, and starts it again.
    pub fn restart(&mut self) {
        if self.child.is_some() {
            assert!(self.terminate().success(), "{}", self.log());
        }
        self.spawn();
        self.await_answer();
    }

    fn log_path(&self) -> PathBuf {
        self.dir().join("contentd.log")
    }

    /// All that its processes have said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// One call on the socket; none if nobody answers.
    pub fn try_call(&self, method: &str, parameters: &Value) -> Option<Result<Value, Refused>> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        let mut message = serde_json::to_vec(&json!({ "method": method, "parameters": parameters })).ok()?;
        message.push(0);
        stream.write_all(&message).ok()?;
        let mut reply = Vec::new();
        let mut part = [0; 64 * 1024];
        while reply.last() != Some(&0) {
            let count = stream.read(&mut part).ok().filter(|count| *count > 0)?;
            reply.extend_from_slice(&part[..count]);
        }
        let reply: Value = serde_json::from_slice(&reply[..reply.len() - 1]).ok()?;
        Some(match reply.get("error").and_then(Value::as_str) {
            Some(name) => Err(Refused { name: name.to_owned(), parameters: reply["parameters"].clone() }),
            None => Ok(reply["parameters"].clone()),
        })
    }

    /// One call that must be answered well.
    #[track_caller]
    pub fn call(&self, method: &str, parameters: Value) -> Value {
        match self.try_call(method, &parameters) {
            Some(Ok(reply)) => reply,
            other => panic!("{method} {parameters}: {other:?}\n{}", self.log()),
        }
    }

    /// One call that must be refused.
    #[track_caller]
    pub fn refused(&self, method: &str, parameters: Value) -> Refused {
        match self.try_call(method, &parameters) {
            Some(Err(refused)) => refused,
            other => panic!("{method} {parameters} was not refused: {other:?}"),
        }
    }

    /// A command of contentctl on this daemon, with JSON for output.
    pub fn contentctl<A: AsRef<OsStr>>(&self, args: &[A]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_contentctl"));
        command.env("TZ", "UTC").arg("--socket").arg(self.socket()).args(["--output", "json"]).args(args);
        command
    }

    /// Runs contentctl with JSON for output.
    pub fn ctl<A: AsRef<OsStr>>(&self, args: &[A]) -> Ran {
        self.contentctl(args).output().expect("contentctl starts").into()
    }

    /// Runs contentctl and gives what it printed.
    #[track_caller]
    pub fn ctl_json<A: AsRef<OsStr>>(&self, args: &[A]) -> Value {
        self.ctl(args).exits(0).json()
    }

    /// Submits for account 1 with more arguments; gives the task's id.
    #[track_caller]
    pub fn submit(&self, topic: &str, more: &[&str]) -> String {
        let args = [&["submit", "--account", "blog", "--topic", topic], more].concat();
        self.ctl_json(&args)["task_id"].as_str().expect("a submit answers with an id").to_owned()
    }

    /// A task as `status` tells it.
    #[track_caller]
    pub fn task(&self, id: &str) -> Value {
        self.call("io.contentd.Tasks.Status", json!({ "task": id }))["task"].take()
    }

    /// A task's state.
    #[track_caller]
    pub fn state(&self, id: &str) -> String {
        self.task(id)["state"].as_str().expect("a state is a word").to_owned()
    }

    /// Waits until a task is in a state; gives the task.
    #[track_caller]
    pub fn await_state(&self, id: &str, state: &str) -> Value {
        self.wait_until(&format!("{id} {state}"), || {
            let task = self.task(id);
            (task["state"] == state).then_some(task)
        })
    }

    /// Waits until a condition gives something.
    #[track_caller]
    pub fn wait_until<T>(&self, what: &str, mut is_so: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = is_so() {
                return found;
            }
            assert!(Instant::now() < deadline, "not within {} s: {what}", DEADLINE.as_secs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Turns switches of the sample on for every call from now on; an empty text turns them off.
    pub fn set_faults(&self, faults: &str) {
        fs::create_dir_all(self.sample_dir()).expect("the directory is ours");
        let fresh = self.sample_dir().join("faults.new");
        fs::write(&fresh, faults).expect("the directory is ours");
        fs::rename(fresh, self.sample_dir().join("faults")).expect("the directory is ours");
    }

    /// The topics that were paid for, in order.
    pub fn paid(&self) -> Vec<String> {
        let log = fs::read_to_string(self.sample_dir().join("paid.log")).unwrap_or_default();
        log.lines().map(|line| line.split_once('\t').map_or(line, |(_, topic)| topic).to_owned()).collect()
    }

    /// The job of a reference as the sample keeps it.
    #[track_caller]
    pub fn job(&self, reference: &str) -> Value {
        let path = self.sample_dir().join("jobs").join(format!("{reference}.json"));
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&bytes).expect("the sample writes JSON")
    }

    /// A file in the daemon's directory.
    pub fn write_file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir().join(name);
        let mut file = File::create(&path).expect("the directory is ours");
        file.write_all(text.as_bytes()).expect("the directory is ours");
        path
    }
}

impl Daemon {
    /// Ends what calls of the daemon are left: processes whose command line or environment names our directory.
    pub fn end_leftovers(&self) {
        let ours = self.dir().to_str().expect("the temporary directory's path is UTF-8").as_bytes();
        let says = |place: PathBuf| fs::read(place).is_ok_and(|text| text.windows(ours.len()).any(|part| part == ours));
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid =
                entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(rustix::process::Pid::from_raw);
            let Some(pid) = pid.filter(|_| says(entry.path().join("environ")) || says(entry.path().join("cmdline")))
            else {
                continue;
            };
            // It may have ended by itself meanwhile.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already dead is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.end_leftovers();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}------------------------", self.log());
        }
    }
}
