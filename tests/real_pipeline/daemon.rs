//! contentd as these tests run it: the real binary in a directory of its own, with the section of the real generator taken
//! from `contentd.example.toml`, so that what is tested is what people are given.
//!
//! Paths, addresses and spans of time are set here, verbs and expressions never. The surprise: the generator's command is
//! found through the daemon's PATH, as it would be on a host.

// Each test uses a part of it.
#![allow(dead_code)]

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use contentd::control::client::{Client, ClientError};
use serde_json::{Value, json};
use toml::Table;

use crate::real_rig::{RealRig, creator};

/// Longer than anything here takes on a slow and busy machine.
pub const LIMIT: Duration = Duration::from_secs(150);
/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// What the generator gets from files, never from the configuration.
const SECRETS: [(&str, &str); 3] =
    [("LLM_API_KEY", "llm-key"), ("TAVILY_API_KEY", "tavily-key"), ("ARK_API_KEY", "ark-key")];
/// The generator's name in the example.
const NAME: &str = "content-creator";

/// The configuration of a test: the example's section of the generator, adapted.
pub struct Settings {
    table: Table,
}

impl Settings {
    /// For this rig: its directory and addresses, short waits, one retry.
    pub fn of(rig: &RealRig) -> Self {
        let example = include_str!("../../contentd.example.toml").parse::<Table>().expect("the example is TOML");
        let mut generator = example["generators"][NAME].as_table().expect("the example has the generator").clone();
        generator.insert("cwd".into(), rig.cwd.display().to_string().into());
        let env = generator["env"].as_table_mut().expect("the generator has an environment");
        let is_secret = |name: &str| SECRETS.iter().any(|(secret, _)| *secret == name);
        env.extend(
            rig.env().into_iter().filter(|(name, _)| !is_secret(name)).map(|(name, value)| (name, value.into())),
        );
        let table = "
            [daemon]
            workers = 2
            [tasks]
            max_retries = 1
            retry = { initial = '1s', max = '2s' }
            [polling]
            interval = '2s'
            [generators]
        ";
        let mut table = table.parse::<Table>().expect("this is TOML");
        table["generators"].as_table_mut().expect("a table").insert(NAME.into(), generator.into());
        let mut settings = Self { table };
        // A process of the generator takes seconds where the machine is busy.
        settings.set(&["poll", "timeout"], "60s");
        settings.set(&["settle"], "2s");
        settings
    }

    /// What a setting of the generator's section is.
    pub fn get(&self, path: &[&str]) -> toml::Value {
        let section = &self.table["generators"][NAME];
        path.iter().fold(section, |value, key| &value[*key]).clone()
    }

    /// Changes a setting of the generator's section.
    pub fn set(&mut self, path: &[&str], value: impl Into<toml::Value>) {
        let (last, sections) = path.split_last().expect("a setting has a name");
        let mut section = &mut self.table["generators"][NAME];
        for name in sections {
            section = &mut section[*name];
        }
        section.as_table_mut().expect("settings stand in tables").insert((*last).to_owned(), value.into());
    }

    /// Takes a setting of the generator's section away.
    pub fn remove(&mut self, path: &[&str]) {
        let (last, sections) = path.split_last().expect("a setting has a name");
        let mut section = &mut self.table["generators"][NAME];
        for name in sections {
            section = &mut section[*name];
        }
        section.as_table_mut().expect("settings stand in tables").remove(*last);
    }

    /// Puts a program before the generator's own in `submit`: it gets the whole command as its arguments.
    pub fn wrap_submit(&mut self, wrapper: &Path) {
        let mut run = self.get(&["submit", "run"]).as_array().expect("run is a list").clone();
        run.insert(0, wrapper.display().to_string().into());
        self.set(&["submit", "run"], run);
    }
}

/// The daemon with its directory; both end when it is dropped.
pub struct Daemon {
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Daemon {
    /// Starts it and adds the account `tests`.
    pub fn start(rig: &RealRig, settings: &Settings) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let credentials = dir.path().join("credentials");
        fs::create_dir_all(&credentials).expect("a directory for credentials");
        let env = rig.env();
        for (variable, credential) in SECRETS {
            let (_, value) = env.iter().find(|(name, _)| name == variable).expect("the rig knows every secret");
            fs::write(credentials.join(credential), format!("{value}\n")).expect("a credential is written");
        }
        let mut daemon = Self { dir, child: None };
        daemon.configure(settings);
        daemon.spawn();
        daemon.call("Accounts.Add", json!({ "name": "tests" }));
        daemon
    }

    /// Writes the configuration; a running daemon reads it with [`Daemon::reload`].
    pub fn configure(&self, settings: &Settings) {
        fs::write(self.path("contentd.toml"), settings.table.to_string()).expect("the configuration is written");
    }

    /// Has it read the configuration again.
    pub fn reload(&self) {
        self.call("Daemon.Reload", json!({}));
    }

    /// Starts it, again after a [`Daemon::kill`], and waits until it answers.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "one daemon at a time");
        let log = File::options().create(true).append(true).open(self.path("contentd.log")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_contentd"));
        command.arg("--config").arg(self.path("contentd.toml")).arg("--socket").arg(self.socket());
        command.env_clear().env("PATH", path_with_the_generator()).env("HOME", self.dir.path());
        command.env("STATE_DIRECTORY", self.path("state")).env("CREDENTIALS_DIRECTORY", self.path("credentials"));
        command.env("RUST_LOG", "info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("contentd starts"));
        let deadline = Instant::now() + LIMIT;
        while self.try_call("Daemon.Ping", json!({})).is_err() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "contentd ended at its start ({ended:?}): {}", self.log());
            assert!(Instant::now() < deadline, "contentd does not answer: {}", self.log());
            thread::sleep(PAUSE);
        }
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // It may have ended by itself: then there is nothing to kill, and the wait takes it away all the same.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// SIGKILL and a new start.
    pub fn crash(&mut self) {
        self.kill();
        self.spawn();
    }

    /// A call that is refused is a failure of the test.
    pub fn call(&self, method: &str, parameters: Value) -> Value {
        let answer = self.try_call(method, parameters.clone());
        answer.unwrap_or_else(|error| panic!("{method} {parameters}: {error}; the log: {}", self.log()))
    }

    /// Calls `io.contentd.METHOD`.
    pub fn try_call(&self, method: &str, parameters: Value) -> Result<Value, ClientError> {
        Client::connect(&[self.socket()])?.call(&format!("io.contentd.{method}"), &parameters)
    }

    /// Submits a task for the account `tests` and gives its id; `more` adds to it.
    pub fn submit(&self, topic: &str, more: Value) -> String {
        let mut task = json!({ "account": "tests", "topic": topic });
        let fields = more.as_object().expect("further fields are an object").clone();
        task.as_object_mut().expect("a task is an object").extend(fields);
        let submitted = self.call("Tasks.Submit", json!({ "task": task }));
        submitted["task_id"].as_str().expect("a task has an id").to_owned()
    }

    /// The task as it is.
    pub fn task(&self, id: &str) -> Value {
        self.call("Tasks.Status", json!({ "task": id }))["task"].clone()
    }

    /// Every attempt of the task, oldest first.
    pub fn attempts(&self, id: &str) -> Vec<Value> {
        self.call("Tasks.Show", json!({ "task": id }))["attempts"].as_array().expect("attempts are a list").clone()
    }

    /// What happened to the task, oldest first: the names of the moves.
    pub fn moves(&self, id: &str) -> Vec<String> {
        let events = self.call("Tasks.History", json!({ "task": id }))["events"].clone();
        let name = |event: &Value| event["event"].as_str().unwrap_or_default().to_owned();
        events.as_array().expect("events are a list").iter().map(name).collect()
    }

    /// Waits until the task is as wished.
    pub fn wait_until(&self, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let task = self.task(id);
            if is_so(&task) {
                return task;
            }
            assert!(Instant::now() < deadline, "never {what}: {task:#}\n{:?}\n{}", self.moves(id), self.log());
            thread::sleep(PAUSE);
        }
    }

    /// Waits until the task is in this state; another final one, or held, is a failure at once.
    pub fn wait_for(&self, id: &str, state: &str) -> Value {
        const ENDS: [&str; 5] = ["completed", "failed", "timeout", "cancelled", "held"];
        let task = self.wait_until(id, state, |task| {
            let found = task["state"].as_str().unwrap_or_default();
            found == state || ENDS.contains(&found)
        });
        assert_eq!(task["state"], state, "{task:#}\n{:?}\n{}", self.moves(id), self.log());
        task
    }

    /// The piece of a task, as a content record.
    pub fn piece(&self, id: &str) -> Value {
        self.call("Tasks.Result", json!({ "task": id }))["content"].clone()
    }

    /// The numbers of the content records in the publish pool, in the order of going out.
    pub fn pooled(&self) -> Vec<i64> {
        let entries = self.call("Pool.List", json!({}))["entries"].clone();
        let number = |entry: &Value| entry["content_id"].as_i64().expect("an entry names its content");
        entries.as_array().expect("entries are a list").iter().map(number).collect()
    }

    /// The generator as `status` shows it.
    pub fn generator(&self) -> Value {
        self.call("Daemon.GetStatus", json!({}))["generators"][0].clone()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("contentd.log")).unwrap_or_default()
    }

    /// A file of the test's own, in the daemon's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("contentd.sock")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn path_with_the_generator() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
    let generator = creator().parent().expect("the program stands in a directory").to_owned();
    let directories = std::iter::once(generator).chain(std::env::split_paths(&path));
    std::env::join_paths(directories).expect("no directory of PATH has a colon in it")
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(PAUSE);
    }
}
