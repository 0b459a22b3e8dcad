//! Runs the command of a hook: a message on its standard input, and an exit status of 0 when it took it.
//!
//! The same ground as a generator's call: no shell, the stated environment, secrets from credentials, a process group that is
//! ended at its time. It must not decide when to run. The surprise: what a hook writes is read to its end and thrown
//! away but for the last words of its error output, which are untrusted and go into one short line.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use rustix::fs::{MemfdFlags, memfd_create};

use super::super::call::{CallEnd, CallResult};
use super::super::exec::{Environment, ExecSpec, GRACE, Launch, execute};
use super::super::hooks::{Courier, HookSpec};
use super::secrets::SecretSource;
use crate::notice::delivery::DeliveryEnd;

/// Bytes of each stream that are kept of a run.
const MAX_OUTPUT: usize = 64 << 10;
/// Characters of a hook's own words that are kept.
const MAX_WORDS: usize = 200;

/// The command of one hook.
pub struct HookCommand {
    spec: Arc<HookSpec>,
    environment: Environment,
    secrets: SecretSource,
    default_cwd: PathBuf,
}

impl HookCommand {
    /// `environment` is what every hook gets; it runs in `default_cwd` where it names no directory.
    pub fn new(
        spec: Arc<HookSpec>,
        environment: Environment,
        credentials: Option<PathBuf>,
        default_cwd: PathBuf,
    ) -> Self {
        let secrets = SecretSource { dir: credentials, names: spec.secrets.clone() };
        Self { spec, environment, secrets, default_cwd }
    }

    fn environment(&self) -> Environment {
        let mut environment = self.environment.clone();
        for (name, value) in &self.spec.env {
            environment.set(name.as_str(), value.as_str());
        }
        environment
    }

    fn cwd(&self) -> PathBuf {
        self.spec.cwd.clone().unwrap_or_else(|| self.default_cwd.clone())
    }
}

impl Courier for HookCommand {
    fn deliver(&self, message: String) -> BoxFuture<'static, DeliveryEnd> {
        let mut env = self.environment();
        let secrets = match self.secrets.read() {
            Ok(secrets) => secrets,
            Err(why) => return std::future::ready(DeliveryEnd::Failed(one_line(&why))).boxed(),
        };
        secrets.add_to(&mut env);
        let stdin = match held(message.as_bytes()) {
            Ok(stdin) => stdin,
            Err(error) => {
                let why = format!("the message could not be handed over: {error}");
                return std::future::ready(DeliveryEnd::Failed(why)).boxed();
            }
        };
        let spec = ExecSpec {
            argv: self.spec.run.clone(),
            env,
            cwd: self.cwd(),
            stdin: Some(stdin),
            timeout: self.spec.patience.timeout,
            grace: GRACE.min(self.spec.patience.timeout),
            max_output: MAX_OUTPUT,
        };
        async move {
            let mut result = execute(spec).await;
            secrets.redact(&mut result);
            end_of(&result)
        }
        .boxed()
    }

    fn faults(&self) -> Vec<String> {
        let (env, mut cwd) = (self.environment(), self.cwd());
        // Before a first start there is no state directory, which the daemon makes: that is no fault of a hook.
        if self.spec.cwd.is_none() && !cwd.is_dir() {
            cwd = PathBuf::from("/");
        }
        let launch = Launch { argv: &self.spec.run, env: &env, cwd: &cwd };
        launch.resolve().err().into_iter().chain(self.secrets.faults()).collect()
    }
}

/// A file in memory that holds a message, to be read from its beginning.
fn held(message: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("contentd-notice", MemfdFlags::CLOEXEC)?);
    file.write_all(message)?;
    file.rewind()?;
    Ok(file)
}

fn end_of(result: &CallResult) -> DeliveryEnd {
    let what = match &result.end {
        CallEnd::Exited(0) => return DeliveryEnd::Delivered,
        CallEnd::Exited(status) => format!("it exited with status {status}"),
        CallEnd::Signalled(signal) => format!("signal {signal} ended it"),
        CallEnd::TimedOut => "it was ended at its time limit".to_owned(),
        CallEnd::NotStarted(why) => return DeliveryEnd::Failed(one_line(why)),
    };
    let words = String::from_utf8_lossy(&result.stderr);
    let last = words.lines().rev().find(|line| !line.trim().is_empty());
    DeliveryEnd::Failed(last.map_or(what.clone(), |line| one_line(&format!("{what}: {}", line.trim()))))
}

/// A text on one line, short, without what a terminal would obey.
fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    clean.chars().take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(end: CallEnd, stderr: &str) -> DeliveryEnd {
        end_of(&CallResult { end, stdout: Vec::new(), stderr: stderr.as_bytes().to_vec(), is_truncated: false })
    }

    #[test]
    fn only_status_0_is_a_delivery_and_its_words_are_short() {
        assert_eq!(ended(CallEnd::Exited(0), "noise"), DeliveryEnd::Delivered);
        let failed = |text: &str| DeliveryEnd::Failed(text.to_owned());
        assert_eq!(ended(CallEnd::Exited(7), ""), failed("it exited with status 7"));
        assert_eq!(
            ended(CallEnd::Exited(7), "a\nno \u{1b}[2Jroute\n\n"),
            failed("it exited with status 7: no  [2Jroute")
        );
        let DeliveryEnd::Failed(long) = ended(CallEnd::TimedOut, &"x".repeat(1_000_000)) else { panic!("not taken") };
        assert!(long.len() <= MAX_WORDS && long.starts_with("it was ended at its time limit: x"), "{long}");
    }
}
