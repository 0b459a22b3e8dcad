//! A command that prints topics: called as a generator's short verbs are, and as little trusted.
//!
//! It gets the environment that its configuration states, and of ours the key of the fire (`CONTENTD_FIRE`), the schedule's
//! name (`CONTENTD_SCHEDULE`) and how many topics are wanted (`CONTENTD_TOPICS`). What it prints is returned as bytes;
//! whoever asked judges it. The surprise: a command that was ended by force may have taken topics from somewhere, so that
//! end is told apart from one of its own.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::call::{CallEnd, CallResult};
use super::super::exec::{Environment, ExecSpec, GRACE, Launch, NoResult, execute_blocking, on_thread};
use super::Places;
use super::secrets::SecretSource;

/// Bytes of its standard output that are taken; one that prints more has failed.
pub const MAX_TOPICS_OUTPUT: usize = 4 << 20;
/// Characters of its standard error that are told.
const TOLD: usize = 300;

/// `[topic_sources.NAME]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicCommand {
    /// Its name in the configuration.
    pub name: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Where it runs; none: a directory of its own below the state directory.
    pub cwd: Option<PathBuf>,
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// Variables and the credentials that they hold.
    pub secrets: BTreeMap<String, String>,
    /// How long it may take.
    pub timeout: Duration,
    /// The same fire may ask twice: it answers the same, or nothing is lost.
    pub is_idempotent: bool,
}

/// What a call asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The fire's key.
    pub fire: String,
    /// The schedule's name.
    pub schedule: String,
    /// How many topics.
    pub topics: usize,
}

/// What a call came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Printed {
    /// It ended well and printed this.
    Output(Vec<u8>),
    /// Nothing was started.
    NotStarted(String),
    /// It said itself that it failed.
    Failed(String),
    /// It was ended by force, or by a signal: nobody knows what it had done.
    Unknown(String),
}

impl TopicCommand {
    /// Calls it.
    pub async fn ask(self: Arc<Self>, places: Places, wanted: Wanted) -> Printed {
        let call = on_thread(move |hang_up| self.call(&places, &wanted, hang_up.as_fd())).await;
        call.unwrap_or_else(|no_result| match no_result {
            NoResult::NothingRan(why) => Printed::NotStarted(why),
            no_result @ NoResult::Unknown => Printed::Unknown(no_result.why()),
        })
    }

    /// Why it could not be called now, but for its secrets; nothing is called.
    pub fn fault(&self, places: &Places) -> Option<String> {
        let root = PathBuf::from("/");
        let cwd = self.cwd.as_deref().unwrap_or(&root);
        let found = Launch { argv: &self.argv, env: &self.base_environment(places), cwd }.resolve();
        found.err().map(|why| format!("topic_sources.{}: {why}", self.name))
    }

    fn base_environment(&self, places: &Places) -> Environment {
        let mut env = places.environment.clone();
        for (name, value) in &self.env {
            env.set(name, value);
        }
        env
    }

    fn call(&self, places: &Places, wanted: &Wanted, hang_up: std::os::fd::BorrowedFd<'_>) -> Printed {
        let source = SecretSource { dir: places.credentials.clone(), names: self.secrets.clone() };
        let secrets = match source.read() {
            Ok(secrets) => secrets,
            Err(why) => return Printed::NotStarted(why),
        };
        let mut env = self.base_environment(places);
        secrets.add_to(&mut env);
        env.set("CONTENTD_FIRE", &wanted.fire);
        env.set("CONTENTD_SCHEDULE", &wanted.schedule);
        env.set("CONTENTD_TOPICS", wanted.topics.to_string());
        let cwd = match self.working_directory(places) {
            Ok(cwd) => cwd,
            Err(why) => return Printed::NotStarted(why),
        };
        let (argv, timeout) = (self.argv.clone(), self.timeout);
        let spec = ExecSpec { argv, env, cwd, stdin: None, timeout, grace: GRACE, max_output: MAX_TOPICS_OUTPUT };
        let mut result = execute_blocking(spec, Some(hang_up));
        secrets.redact(&mut result);
        self.judged(result)
    }

    fn working_directory(&self, places: &Places) -> Result<PathBuf, String> {
        if let Some(cwd) = &self.cwd {
            return Ok(cwd.clone());
        }
        let own = places.state_dir.join("topic_sources").join(&self.name);
        places.own_directory(own, |own| std::fs::create_dir_all(own))
    }

    fn judged(&self, result: CallResult) -> Printed {
        let said = last_words(&result.stderr);
        match result.end {
            CallEnd::Exited(0) if result.is_truncated => {
                Printed::Failed(format!("it printed more than {MAX_TOPICS_OUTPUT} bytes, or left a process behind"))
            }
            CallEnd::Exited(0) => Printed::Output(result.stdout),
            CallEnd::Exited(code) => Printed::Failed(format!("it ended with exit status {code}{said}")),
            CallEnd::Signalled(signal) => Printed::Unknown(format!("signal {signal} ended it{said}")),
            CallEnd::TimedOut => {
                Printed::Unknown(format!("it took longer than {} s and was ended{said}", self.timeout.as_secs()))
            }
            CallEnd::NotStarted(why) => Printed::NotStarted(why),
        }
    }
}

/// The end of what it wrote to standard error, on one line without control characters.
fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let line: String = line.trim().chars().filter(|letter| !letter.is_control()).take(TOLD).collect();
    if line.is_empty() { line } else { format!(": {line:?}") }
}

#[cfg(test)]
mod tests {
    use super::super::super::log::GeneratorLogs;
    use super::*;

    fn places(dir: &std::path::Path) -> Places {
        std::fs::write(dir.join("key"), "sk-secret-value").expect("written");
        Places {
            credentials: Some(dir.to_owned()),
            environment: Environment::minimal(&|_| None),
            ..Places::of_this_process(dir.to_owned(), GeneratorLogs::new(dir))
        }
    }

    fn script(text: &str) -> Arc<TopicCommand> {
        Arc::new(TopicCommand {
            name: "news".into(),
            argv: ["sh", "-c", text].map(str::to_owned).to_vec(),
            cwd: None,
            env: BTreeMap::from([("FEED".to_owned(), "rss".to_owned())]),
            secrets: BTreeMap::from([("TOKEN".to_owned(), "key".to_owned())]),
            timeout: Duration::from_secs(20),
            is_idempotent: false,
        })
    }

    async fn asked(command: &Arc<TopicCommand>, dir: &std::path::Path) -> Printed {
        let wanted = Wanted { fire: "schedule/1/2".into(), schedule: "daily".into(), topics: 3 };
        Arc::clone(command).ask(places(dir), wanted).await
    }

    #[actix::test]
    async fn it_is_told_what_is_wanted_and_its_secrets_stay_its_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let command = script("echo \"$CONTENTD_FIRE $CONTENTD_SCHEDULE $CONTENTD_TOPICS $FEED $TOKEN\"; env | wc -l");
        let Printed::Output(text) = asked(&command, dir.path()).await else { panic!("it ends well") };
        let text = String::from_utf8(text).expect("text");
        assert!(text.starts_with("schedule/1/2 daily 3 rss [secret]\n"), "{text}");
        let variables: usize = text.lines().nth(1).expect("a count").trim().parse().expect("a number");
        assert!(variables < 12, "nothing of the daemon's leaks in: {text}");
        assert!(dir.path().join("topic_sources/news").is_dir());
    }

    #[actix::test]
    async fn each_bad_end_is_told_apart() {
        let dir = tempfile::tempdir().expect("a directory");
        let failed =
            asked(&script("echo one; printf 'no feed\\033[2J sk-secret-value\\n' >&2; exit 3"), dir.path()).await;
        assert_eq!(failed, Printed::Failed("it ended with exit status 3: \"no feed[2J [secret]\"".into()));
        let killed = asked(&script("kill -9 $$"), dir.path()).await;
        assert_eq!(killed, Printed::Unknown("signal 9 ended it".into()));
        let slow = TopicCommand { timeout: Duration::from_millis(100), ..(*script("sleep 60")).clone() };
        assert!(matches!(asked(&Arc::new(slow), dir.path()).await, Printed::Unknown(why) if why.contains("longer")));
        let much = asked(&script("head -c 5000000 /dev/zero"), dir.path()).await;
        assert!(matches!(much, Printed::Failed(why) if why.contains("printed more")));
        assert_eq!(script("").fault(&places(dir.path())), None);
        let missing = TopicCommand { argv: vec!["/none/such".into()], ..(*script("")).clone() };
        let fault = missing.fault(&places(dir.path())).unwrap_or_default();
        assert!(fault.starts_with("topic_sources.news: program /none/such does not exist"), "{fault}");
        assert!(
            matches!(asked(&Arc::new(missing), dir.path()).await, Printed::NotStarted(why) if why.contains("/none/such"))
        );
        let keyless = TopicCommand { secrets: BTreeMap::from([("T".into(), "none".into())]), ..(*script("")).clone() };
        assert!(
            matches!(asked(&Arc::new(keyless), dir.path()).await, Printed::NotStarted(why) if why.contains("secrets.T"))
        );
    }
}
