//! A real daemon in a directory of its own: the binary, a socket, a database, the sample generator; gone with the test.
//!
//! Talks plain Varlink (JSON and a NUL byte), so that what a test sees is what stands on the wire. Everything waits on a
//! condition with a deadline.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take; generous, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until it is so.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "never came to pass: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The directory of one daemon and its successors.
pub struct Home {
    dir: TempDir,
}

impl Home {
    /// With the sample generator; `more` is added to the configuration, `sample` to the generator's section.
    pub fn new(more: &str, sample: &str) -> Self {
        let home = Self::bare();
        home.configure(more, sample);
        home
    }

    /// Without a configuration.
    pub fn bare() -> Self {
        let dir = tempfile::Builder::new().prefix("contentd-live-").tempdir().unwrap();
        fs::create_dir(dir.path().join("sample")).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("c.sock")
    }

    pub fn database(&self) -> PathBuf {
        self.path("state/contentd.db")
    }

    /// Writes the configuration anew.
    pub fn configure(&self, more: &str, sample: &str) {
        let text = format!(
            r#"
[daemon]
socket = "{socket}"
database_url = "{database}"
drain_timeout = "30s"
workers = 4
[tasks]
generator = "sample"
retry = {{ initial = "1s", factor = 2.0, max = "5s", jitter = 0.2 }}
[polling]
interval = "1s"
{more}
[generators.sample]
idempotent = true
cwd = "{dir}"
{sample}
[generators.sample.submit]
run = ["{{creator}}", "create", "--mode", "async", "--topic={{topic}}", "--task-id={{key}}",
       ["--requirements={{requirements}}"], ["--tone={{tone}}"], ["--keywords={{keywords}}"]]
timeout = "20s"
ref = "{{key}}"
rules = [
  {{ exit = 65, stderr = "(?m)^rejected: ", then = "rejected" }},
  {{ exit = 75, stderr = "(?m)^unavailable: ", then = "unavailable" }},
]
[generators.sample.poll]
run = ["{{creator}}", "status", "--task-id={{ref}}", "--json"]
state = "json:/status"
error = "json:/error"
rules = [ {{ exit = 1, stderr = "(?m)^unknown task: ", then = "missing" }} ]
[generators.sample.fetch]
run = ["{{creator}}", "result", "--task-id={{ref}}", "--json"]
content = "json:/content"
rules = [ {{ exit = 1, stderr = "(?m)^not ready: ", then = "not_ready" }} ]
[generators.sample.cancel]
run = ["{{creator}}", "cancel", "--task-id={{ref}}"]
rules = [ {{ exit = 1, stderr = "(?m)^refused: ", then = "refused" }} ]
[generators.sample.states]
submitted = "submitted"
processing = "processing"
completed = "completed"
failed = "failed"
cancelled = "cancelled"
"#,
            socket = self.socket().display(),
            database = self.database().display(),
            dir = self.dir.path().display(),
        );
        fs::create_dir_all(self.path("state")).unwrap();
        fs::write(self.path("contentd.toml"), text).unwrap();
    }

    /// The daemon's command line, with a small and known environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contentd"));
        command.arg("--config").arg(self.path("contentd.toml"));
        command.env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.env("CREATOR_CLI_PATH", env!("CARGO_BIN_EXE_sample-generator"));
        command.env("RUST_LOG", "info").env("HOME", self.dir.path());
        command.current_dir(self.dir.path());
        command
    }

    /// Starts it; its log is appended to the file `log`.
    pub fn spawn(&self, mut command: Command) -> Child {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    /// Starts a daemon and waits until it answers.
    pub fn start(&self) -> Daemon<'_> {
        let daemon = Daemon { home: self, child: self.spawn(self.command()), socket: self.socket() };
        daemon.wait_ready();
        daemon
    }

    /// Runs a daemon that is to refuse to run: its exit code and its last words.
    pub fn refused(&self, command: Command) -> (Option<i32>, String) {
        let before = self.log().len();
        let mut child = Killed(self.spawn(command));
        let status = eventually("the daemon gives up", || child.0.try_wait().unwrap());
        (status.code(), self.log()[before..].to_owned())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// What was paid: one `KEY<TAB>TOPIC` a job.
    pub fn paid(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("sample-data/paid.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// How many jobs were paid with this topic.
    pub fn paid_for(&self, topic: &str) -> usize {
        self.paid().iter().filter(|line| line.split('\t').nth(1) == Some(topic)).count()
    }
}

/// Ends a process with the test.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running daemon.
pub struct Daemon<'h> {
    home: &'h Home,
    child: Child,
    socket: PathBuf,
}

impl<'h> Daemon<'h> {
    /// One that was started in another way.
    pub fn adopt(home: &'h Home, child: Child, socket: PathBuf) -> Self {
        let daemon = Self { home, child, socket };
        daemon.wait_ready();
        daemon
    }

    fn wait_ready(&self) {
        let end = Instant::now() + PATIENCE;
        while !is_answered_by(&self.socket, self.child.id()) {
            assert!(Instant::now() < end, "the daemon does not answer:\n{}", self.home.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        eventually("the daemon ends", || self.child.try_wait().unwrap())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGTERM, and its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.ended().code()
    }

    /// SIGKILL; it is gone when this returns.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// One call on a connection of its own.
    pub fn call(&self, method: &str, parameters: Value) -> Result<Value, Refusal> {
        call(&self.socket, method, parameters).unwrap_or_else(|error| panic!("{method}: {error}\n{}", self.home.log()))
    }

    /// A call that must go well.
    pub fn ask(&self, method: &str, parameters: Value) -> Value {
        self.call(method, parameters).unwrap_or_else(|refusal| panic!("{method} was refused: {refusal:?}"))
    }

    /// A call that must be refused.
    pub fn refused(&self, method: &str, parameters: Value) -> Refusal {
        match self.call(method, parameters.clone()) {
            Ok(reply) => panic!("{method} {parameters} was taken: {reply}"),
            Err(refusal) => refusal,
        }
    }

    pub fn add_account(&self, name: &str) -> i64 {
        self.ask("io.contentd.Accounts.Add", json!({ "name": name }))["account"]["account_id"].as_i64().unwrap()
    }

    pub fn submit(&self, task: Value) -> String {
        self.ask("io.contentd.Tasks.Submit", json!({ "task": task }))["task_id"].as_str().unwrap().to_owned()
    }

    pub fn task(&self, id: &str) -> Value {
        self.ask("io.contentd.Tasks.Status", json!({ "task": id }))["task"].clone()
    }

    pub fn state(&self, id: &str) -> String {
        self.task(id)["state"].as_str().unwrap().to_owned()
    }

    /// Every task, newest first.
    pub fn list(&self) -> Vec<Value> {
        self.ask("io.contentd.Tasks.List", json!({ "limit": 1000 }))["tasks"].as_array().unwrap().clone()
    }

    pub fn until_state(&self, id: &str, state: &str) {
        let end = Instant::now() + PATIENCE;
        while self.state(id) != state {
            assert!(Instant::now() < end, "{id} never became {state}: {}\n{}", self.task(id), self.home.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a refusal says on the wire.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub error: String,
    pub parameters: Value,
}

impl Refusal {
    /// The last part of its name.
    pub fn name(&self) -> &str {
        self.error.rsplit('.').next().unwrap()
    }

    pub fn text(&self, parameter: &str) -> &str {
        self.parameters[parameter].as_str().unwrap_or_default()
    }
}

/// One Varlink call.
pub fn call(socket: &Path, method: &str, parameters: Value) -> std::io::Result<Result<Value, Refusal>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut message = json!({ "method": method, "parameters": parameters }).to_string().into_bytes();
    message.push(0);
    stream.write_all(&message)?;
    let mut reply = Vec::new();
    let mut chunk = [0; 65536];
    while !reply.ends_with(&[0]) {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        reply.extend_from_slice(&chunk[..count]);
    }
    reply.pop();
    let reply: Value = serde_json::from_slice(&reply)?;
    Ok(match reply.get("error").and_then(Value::as_str) {
        Some(error) => Err(Refusal { error: error.to_owned(), parameters: reply["parameters"].clone() }),
        None => Ok(reply["parameters"].clone()),
    })
}

/// Whether this process serves the socket.
pub fn is_answered_by(socket: &Path, pid: u32) -> bool {
    let answer = call(socket, "io.contentd.Daemon.Ping", json!({}));
    answer.is_ok_and(|reply| reply.is_ok_and(|pong| pong["pid"] == pid))
}
