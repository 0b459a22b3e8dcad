//! The real generator, whole: `llm-content-creator` from npm, its Redis, its worker process, and [`LlmStub`] for the paid
//! model. Everything lives in one temporary directory and on loopback, and ends when the rig is dropped.
//!
//! Needs `npm ci` in `tests/real` and a `redis-server` on the PATH; `scripts/test` sees to both. The rig never skips: what
//! is missing is a panic that names the command. The surprise: the worker finds jobs by itself, so nothing waits for it to
//! be up, but one that was killed leaves its job `running` for about a minute.

// Each test that uses the rig uses a part of it.
#![allow(dead_code)]

#[path = "llm_stub.rs"]
pub mod llm_stub;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use llm_stub::LlmStub;
use serde_json::Value;

/// The generator with everything around it.
pub struct RealRig {
    /// The paid model: counts of calls.
    pub stub: LlmStub,
    /// Where every verb and the worker run; holds `./data`.
    pub cwd: PathBuf,
    /// Redis's port on 127.0.0.1; the same after a restart.
    pub redis_port: u16,
    redis: Option<Child>,
    worker: Option<Child>,
    tmp: tempfile::TempDir,
}

impl RealRig {
    /// Starts all of it, with one worker that does two jobs at once.
    pub fn start() -> Self {
        let mut rig = Self::start_without_worker();
        rig.start_worker(2);
        rig
    }

    /// Starts Redis and the stub; jobs are taken and wait.
    pub fn start_without_worker() -> Self {
        let (creator, worker) = (creator(), worker_program());
        assert!(creator.exists() && worker.exists(), "{} is missing: run `npm ci` in tests/real", creator.display());
        let tmp = tempfile::tempdir().expect("a temporary directory");
        let cwd = tmp.path().join("generator");
        fs::create_dir_all(cwd.join("data")).expect("a directory for the generator's state");
        let stub = LlmStub::start().expect("a port for the stub");
        let (redis, redis_port) = start_redis(tmp.path());
        Self { stub, cwd, redis_port, redis: Some(redis), worker: None, tmp }
    }

    /// The environment that every verb and the worker need, beside PATH.
    pub fn env(&self) -> Vec<(String, String)> {
        let root = self.stub.root_url();
        let pairs = [
            ("DATABASE_TYPE", "sqlite".to_owned()),
            ("REDIS_URL", format!("redis://127.0.0.1:{}", self.redis_port)),
            ("LLM_BASE_URL", self.stub.llm_base_url()),
            ("LLM_API_KEY", "key-of-a-test".to_owned()),
            ("TAVILY_API_KEY", "key-of-a-test".to_owned()),
            ("ARK_API_KEY", "key-of-a-test".to_owned()),
            ("ARK_API_URL", root.clone()),
            ("HTTPS_PROXY", root),
            ("NO_PROXY", "127.0.0.1".to_owned()),
            ("LOG_LEVEL", "error".to_owned()),
            ("DOTENV_CONFIG_QUIET", "true".to_owned()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    /// The whole environment as TOML, for a `[generators.…]` section: `env = { … }`.
    pub fn env_toml(&self) -> String {
        let pairs: Vec<String> = self.env().iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
        format!("{{ {} }}", pairs.join(", "))
    }

    /// A call of the generator, ready to run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(creator());
        self.prepare(&mut command).args(args).stdin(Stdio::null());
        command
    }

    /// Runs a verb to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the generator starts: is node on the PATH?")
    }

    /// Makes a job and gives its id.
    pub fn create(&self, topic: &str, requirements: &str) -> String {
        let output =
            self.run(&["create", "--mode", "async", &format!("--topic={topic}"), "--requirements", requirements]);
        let stdout = String::from_utf8_lossy(&output.stdout);
        let id = stdout.lines().rev().find_map(|line| line.strip_prefix("任务ID: "));
        id.unwrap_or_else(|| panic!("create gave no id: {output:?}")).trim().to_owned()
    }

    /// The newest 100 rows of `list --json`.
    pub fn list(&self) -> Vec<Value> {
        let output = self.run(&["list", "--json", "--limit", "100"]);
        let stdout = String::from_utf8_lossy(&output.stdout);
        let start = if stdout.starts_with('[') { Some(0) } else { stdout.rfind("\n[\n").map(|at| at + 1) };
        let rows = start.and_then(|at| serde_json::Deserializer::from_str(&stdout[at..]).into_iter().next()?.ok());
        rows.unwrap_or_else(
            || if stdout.contains("\n[]") { Vec::new() } else { panic!("list gave no rows: {output:?}") },
        )
    }

    /// The state of a job as `list` has it.
    pub fn state(&self, id: &str) -> Option<String> {
        let row = self.list().into_iter().find(|row| row["taskId"] == id)?;
        row["status"].as_str().map(str::to_owned)
    }

    /// Waits until a job is in one of these states, and says which.
    pub fn wait_for(&self, id: &str, states: &[&str], limit: Duration) -> String {
        let deadline = Instant::now() + limit;
        loop {
            let state = self.state(id).unwrap_or_default();
            if states.contains(&state.as_str()) {
                return state;
            }
            assert!(Instant::now() < deadline, "job {id} is {state:?} after {limit:?}, worker: {}", self.worker_log());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What `result` prints for a job.
    pub fn result(&self, id: &str) -> String {
        String::from_utf8_lossy(&self.run(&["result", "--task-id", id]).stdout).into_owned()
    }

    /// Starts the generator's worker process.
    pub fn start_worker(&mut self, concurrency: u32) {
        assert!(self.worker.is_none(), "one worker at a time");
        let log = File::options().create(true).append(true).open(self.worker_log_path()).expect("a log for the worker");
        let mut command = Command::new("node");
        self.prepare(&mut command).arg(worker_program()).args(["start", "-w", "rig", "-c", &concurrency.to_string()]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle on the log")).stderr(log);
        self.worker = Some(command.spawn().expect("node is on the PATH"));
    }

    /// SIGKILL to the worker, in the middle of whatever it does.
    pub fn kill_worker(&mut self) {
        end(self.worker.take());
    }

    /// Ends Redis at once. What was queued is lost, as after a crash of a Redis without persistence.
    pub fn stop_redis(&mut self) {
        end(self.redis.take());
    }

    /// Starts Redis again, on the same port.
    pub fn restart_redis(&mut self) {
        end(self.redis.take());
        let redis = spawn_redis(self.tmp.path(), self.redis_port);
        self.redis = Some(wait_for_redis(redis, self.redis_port).expect("the port was ours a moment ago"));
    }

    /// What the worker has said so far.
    pub fn worker_log(&self) -> String {
        fs::read_to_string(self.worker_log_path()).unwrap_or_default()
    }

    /// The worker's process, for a look at what it costs.
    pub fn worker_pid(&self) -> Option<u32> {
        self.worker.as_ref().map(Child::id)
    }

    fn worker_log_path(&self) -> PathBuf {
        self.tmp.path().join("worker.log")
    }

    fn prepare<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
        command.env_clear().env("PATH", path).env("HOME", &self.cwd).env("LANG", "C.UTF-8");
        command.envs(self.env()).current_dir(&self.cwd)
    }
}

impl Drop for RealRig {
    fn drop(&mut self) {
        end(self.worker.take());
        end(self.redis.take());
        end_leftovers(&self.cwd);
    }
}

/// Calls whose daemon was killed go on by themselves, and without their Redis they would for ever: what still works in
/// the rig's directory ends with the rig.
fn end_leftovers(cwd: &Path) {
    let Ok(cwd) = cwd.canonicalize() else { return };
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let works_here = std::fs::read_link(process.path().join("cwd")).is_ok_and(|place| place == cwd);
        let pid = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        if let Some(pid) = pid.filter(|_| works_here).and_then(rustix::process::Pid::from_raw) {
            // Gone already is as good.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

fn end(child: Option<Child>) {
    let Some(mut child) = child else { return };
    // It may have ended by itself: there is nothing to kill then, and the wait takes it away all the same.
    let _ = child.kill();
    let _ = child.wait();
}

/// The program to put into `CREATOR_CLI_PATH`.
pub fn creator() -> PathBuf {
    modules().join(".bin/content-creator")
}

fn worker_program() -> PathBuf {
    modules().join("llm-content-creator/dist/presentation/worker-cli.js")
}

fn modules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/node_modules")
}

/// A port of which the kernel gives none away by itself, so that it stays free while Redis is down; another one each time.
fn a_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let number = std::process::id().wrapping_mul(32).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
    10_000 + (number % 20_000) as u16
}

fn start_redis(dir: &Path) -> (Child, u16) {
    // Another program may have it; then Redis exits and another port is tried.
    for _ in 0..10 {
        let port = a_port();
        if let Ok(redis) = wait_for_redis(spawn_redis(dir, port), port) {
            return (redis, port);
        }
    }
    let log = fs::read_to_string(dir.join("redis.log")).unwrap_or_default();
    panic!("redis-server does not start: {log}");
}

fn spawn_redis(dir: &Path, port: u16) -> Child {
    let log = File::options().create(true).append(true).open(dir.join("redis.log")).expect("a log for Redis");
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(dir).stdin(Stdio::null()).stderr(log.try_clone().expect("a second handle on the log")).stdout(log);
    command.spawn().expect("redis-server is on the PATH: install it with `apt-get install redis-server`")
}

/// Waits until this Redis answers; an error says that it ended instead.
fn wait_for_redis(mut redis: Child, port: u16) -> io::Result<Child> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if let Some(status) = redis.try_wait()? {
            return Err(io::Error::other(format!("redis-server ended: {status}")));
        }
        if ping(port).is_ok_and(|is_redis| is_redis) {
            return Ok(redis);
        }
        thread::sleep(Duration::from_millis(10));
    }
    end(Some(redis));
    Err(io::Error::other("redis-server did not answer within 20 s"))
}

fn ping(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG")
}
