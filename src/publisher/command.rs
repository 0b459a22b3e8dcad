//! The command driver of a publisher: a call is filled in, run under the lock of its key, and its end is read.
//!
//! It must not decide what an outcome means, and secrets must not leave it. The surprise: a publish holds the lock of its run
//! file through its standard input as a generator's submit does, so that after our own death nobody sends the same key while
//! the first call lives.

use std::io::PipeReader;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use log::Level;

use super::spec::{PublishCall, PublisherSpec};
use super::{PublishJob, PublisherDriver};
use crate::events::Kind;
use crate::generator::call::CallResult;
use crate::generator::command::Places;
use crate::generator::command::calls::in_memory;
use crate::generator::command::secrets::{SecretSource, Secrets};
use crate::generator::exec::{
    Environment, ExecSpec, Launch, MAX_OUTPUT, NoResult, STOPPING, execute_blocking, on_thread, supervise,
};
use crate::generator::extract::Output;
use crate::generator::patience::{AskedAt, CALL_AGE};
use crate::generator::rules::{Verdict, classify};
use crate::generator::runfile::{RunFileError, RunFiles, key_as_name, make_private_dir};
use crate::generator::template::Rendered;
use crate::publish::outcome::{FoundAnswer, PublishAnswer, PublishVerb};
use crate::task::AttemptKey;
use crate::task::outcome::RuleOutcome;
use crate::tell;
use crate::text::safe_lines;

/// How much of what a call wrote to standard error stands in the journal.
const JOURNAL_CHARS: usize = 2_000;

/// One publisher that is driven by commands.
pub struct CommandPublisher {
    inner: Arc<Inner>,
}

struct Inner {
    spec: PublisherSpec,
    places: Places,
    secrets: SecretSource,
    calls: RunFiles,
}

impl CommandPublisher {
    /// Creates nothing and calls nothing yet.
    pub fn new(spec: PublisherSpec, places: Places) -> Self {
        let secrets = SecretSource { dir: places.credentials.clone(), names: spec.secrets.clone() };
        let calls = RunFiles::new(&places.state_dir);
        Self { inner: Arc::new(Inner { spec, places, secrets, calls }) }
    }

    /// Does the work on a thread; `instead` answers when there is no result of it.
    fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, PipeReader) -> T + Send + 'static,
        instead: impl FnOnce(NoResult) -> T + Send + 'static,
    ) -> BoxFuture<'static, T> {
        let inner = Arc::clone(&self.inner);
        async move { on_thread(move |hang_up| work(&inner, hang_up)).await.unwrap_or_else(instead) }.boxed()
    }
}

impl PublisherDriver for CommandPublisher {
    fn publish(&self, job: PublishJob) -> BoxFuture<'static, PublishAnswer> {
        let asked_at = AskedAt::now();
        self.on_thread(
            move |inner, hang_up| inner.publish(&job, asked_at, hang_up.as_fd()),
            |no_result| match no_result {
                NoResult::NothingRan(why) => PublishAnswer::NeverCalled(why),
                no_result @ NoResult::Unknown => PublishAnswer::Ambiguous(no_result.why()),
            },
        )
    }

    fn find(&self, job: PublishJob) -> BoxFuture<'static, FoundAnswer> {
        self.on_thread(
            move |inner, hang_up| inner.find(&job, hang_up.as_fd()),
            |no_result| FoundAnswer::Unavailable(no_result.why()),
        )
    }

    fn is_quiet(&self, key: AttemptKey) -> BoxFuture<'static, Option<bool>> {
        self.on_thread(move |inner, _| Some(inner.calls.is_quiet(&key)), |_| None)
    }

    fn forget(&self, key: AttemptKey) -> BoxFuture<'static, ()> {
        self.on_thread(move |inner, _| inner.calls.forget(&key), drop)
    }

    fn faults(&self) -> Vec<String> {
        self.inner.faults()
    }
}

impl Inner {
    fn publish(&self, job: &PublishJob, asked_at: AskedAt, hang_up: BorrowedFd<'_>) -> PublishAnswer {
        let key = &job.handout.key;
        let call = &self.spec.publish;
        let rendered = match self.render(call, job) {
            Ok(rendered) => rendered,
            // It will not travel the next time either.
            Err(why) => return PublishAnswer::Rejected(why),
        };
        if supervise::has_hung_up(hang_up) {
            return PublishAnswer::NeverCalled(STOPPING.to_owned());
        }
        let stdin = match self.calls.create(key, rendered.stdin.as_deref().unwrap_or_default().as_bytes()) {
            Ok(stdin) => stdin,
            Err(error @ RunFileError::StillHeld(_)) => return PublishAnswer::Ambiguous(error.to_string()),
            Err(error) => return PublishAnswer::Unavailable(error.to_string()),
        };
        // A call that starts late would outlast the time after which its outcome counts as unknown.
        if asked_at.is_older_than(CALL_AGE) {
            return PublishAnswer::NeverCalled("the machine was too busy to start the call in time".to_owned());
        }
        let result = self.call(call, &rendered, key, Some(stdin), hang_up);
        let stdout = Output::new(&result.stdout);
        let Verdict { outcome, why } = self.judge(PublishVerb::Publish, call, &result, &stdout);
        match outcome {
            Some(RuleOutcome::Ok) => PublishAnswer::Published(call.published(&stdout)),
            Some(RuleOutcome::Retry) => PublishAnswer::Retry(why),
            Some(RuleOutcome::Rejected) => PublishAnswer::Rejected(why),
            Some(RuleOutcome::Unavailable) => PublishAnswer::Unavailable(why),
            _ => PublishAnswer::Ambiguous(why),
        }
    }

    fn find(&self, job: &PublishJob, hang_up: BorrowedFd<'_>) -> FoundAnswer {
        let Some(call) = &self.spec.find else {
            return FoundAnswer::Unavailable(format!("publishers.{}: there is no find", self.spec.name));
        };
        let rendered = match self.render(call, job) {
            Ok(rendered) => rendered,
            Err(why) => return FoundAnswer::Unavailable(why),
        };
        let result = self.call(call, &rendered, &job.handout.key, None, hang_up);
        let stdout = Output::new(&result.stdout);
        let Verdict { outcome, why } = self.judge(PublishVerb::Find, call, &result, &stdout);
        match outcome {
            Some(RuleOutcome::Ok) => FoundAnswer::Found(call.published(&stdout)),
            Some(RuleOutcome::Missing) => FoundAnswer::Missing,
            _ => FoundAnswer::Unavailable(why),
        }
    }

    /// What the end is called; what it wrote to standard error goes to the journal, made harmless.
    fn judge(&self, verb: PublishVerb, call: &PublishCall, result: &CallResult, stdout: &Output) -> Verdict {
        let stderr = Output::new(&result.stderr);
        let verdict = classify(verb, &call.rules, result, stdout, &stderr);
        if !stderr.text().trim().is_empty() {
            let level = if verdict.outcome == Some(RuleOutcome::Ok) { Level::Debug } else { Level::Info };
            let text: String = stderr.text().trim_end().chars().take(JOURNAL_CHARS).collect();
            let name = &self.spec.name;
            tell!(level, Kind::PublisherWrote, "publisher {name}: {verb} wrote:\n{}", safe_lines(&text));
        }
        verdict
    }

    fn render(&self, call: &PublishCall, job: &PublishJob) -> Result<Rendered, String> {
        let dir = self.calls.private_dir(&job.handout.key).map_err(|error| error.to_string())?;
        PublisherSpec::render(call, job, &dir).map_err(|error| error.to_string())
    }

    fn call(
        &self,
        call: &PublishCall,
        rendered: &Rendered,
        key: &AttemptKey,
        stdin: Option<std::fs::File>,
        hang_up: BorrowedFd<'_>,
    ) -> CallResult {
        let secrets = match self.secrets.read() {
            Ok(secrets) => secrets,
            Err(why) => return CallResult::not_started(why),
        };
        let spec = match self.exec_spec(call, rendered, key, stdin, &secrets) {
            Ok(spec) => spec,
            Err(why) => return CallResult::not_started(why),
        };
        let mut result = execute_blocking(spec, Some(hang_up));
        secrets.redact(&mut result);
        result
    }

    fn exec_spec(
        &self,
        call: &PublishCall,
        rendered: &Rendered,
        key: &AttemptKey,
        stdin: Option<std::fs::File>,
        secrets: &Secrets,
    ) -> Result<ExecSpec, String> {
        for file in &rendered.files {
            self.calls.write_private(key, &file.path, &file.contents).map_err(|error| error.to_string())?;
        }
        let stdin = match (stdin, &rendered.stdin) {
            (Some(file), _) => Some(file),
            (None, Some(text)) => Some(in_memory(text).map_err(|error| format!("stdin cannot be prepared: {error}"))?),
            (None, None) => None,
        };
        let mut env = self.base_environment();
        secrets.add_to(&mut env);
        Ok(ExecSpec {
            argv: rendered.argv.clone(),
            env,
            cwd: self.working_directory()?,
            stdin,
            timeout: call.timeout,
            grace: self.spec.grace,
            max_output: MAX_OUTPUT,
        })
    }

    fn base_environment(&self) -> Environment {
        let mut env = self.places.environment.clone();
        for (name, value) in &self.spec.env {
            env.set(name, value);
        }
        env
    }

    /// The configured one, which must exist, or the publisher's own below the state directory, which is made.
    fn working_directory(&self) -> Result<PathBuf, String> {
        if let Some(cwd) = &self.spec.cwd {
            return Ok(cwd.clone());
        }
        let name = AttemptKey(self.spec.name.clone());
        let Some(name) = key_as_name(&name) else {
            return Err(format!("the name {:?} cannot name a directory: set `cwd`", self.spec.name));
        };
        let own = self.places.state_dir.join("publishers").join(name);
        self.places.own_directory(own, make_private_dir)
    }

    fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = Vec::new();
        match self.working_directory() {
            Ok(cwd) => {
                let env = self.base_environment();
                for call in self.spec.calls() {
                    let argv = [call.command.program("")];
                    faults.extend(Launch { argv: &argv, env: &env, cwd: &cwd }.resolve().err());
                }
            }
            Err(why) => faults.push(why),
        }
        faults.extend(self.secrets.faults());
        faults.dedup();
        faults.into_iter().map(|fault| format!("publishers.{}: {fault}", self.spec.name)).collect()
    }
}
