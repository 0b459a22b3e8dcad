//! The short verbs: a call is filled in, given what it needs, run, and its end is read.
//!
//! It must not answer for a call that it did not make. The surprise: only a submit gets a run file, because only a
//! submit can be paid for; the other verbs may be repeated as often as one likes.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

use super::super::access::Purpose;
use super::super::call::CallResult;
use super::super::exec::{Environment, ExecSpec, MAX_OUTPUT, STOPPING, execute_blocking, supervise};
use super::super::interpret::{self, FindSweep, PollSweep};
use super::super::patience::{AskedAt, CALL_AGE};
use super::super::runfile::{RunFileError, key_as_name};
use super::super::spec::{CallSpec, Page};
use super::super::template::{RenderError, Rendered};
use super::super::{Job, Sweep};
use super::secrets::Secrets;
use super::{Inner, notes, run_access};
use crate::task::outcome::{CancelAnswer, FetchAnswer, FindAnswer, PollAnswer, SubmitAnswer, Verb};
use crate::task::{AttemptKey, AttemptState};

/// Whose private files those of a call about all jobs are.
const SWEEP: &str = "sweep";

impl Inner {
    pub(super) fn submit(&self, job: &Job, asked_at: AskedAt, hang_up: BorrowedFd<'_>) -> SubmitAnswer {
        let key = &job.attempt.key;
        let call = &self.spec.submit.call;
        let rendered = match self.render(call, job) {
            Ok(rendered) => rendered,
            // It will not travel the next time either; but of an earlier call with this key that says nothing.
            Err(why) if job.attempt.state == AttemptState::Intended => return SubmitAnswer::Rejected(why),
            Err(why) => return SubmitAnswer::Ambiguous(why),
        };
        if supervise::has_hung_up(hang_up) {
            return SubmitAnswer::NeverCalled(STOPPING.to_owned());
        }
        let stdin = match self.calls.create(key, rendered.stdin.as_deref().unwrap_or_default().as_bytes()) {
            Ok(stdin) => stdin,
            Err(error @ RunFileError::StillHeld(_)) => return SubmitAnswer::Ambiguous(error.to_string()),
            Err(error) => return SubmitAnswer::Unavailable(error.to_string()),
        };
        // A call that starts late would outlast the time after which its outcome counts as unknown, and could make a
        // job after its absence was proved.
        if asked_at.is_older_than(CALL_AGE) {
            return SubmitAnswer::NeverCalled("the machine was too busy to start the call in time".to_owned());
        }
        let result = self.call_with(call, &rendered, key, Some(stdin), hang_up);
        let answer = interpret::submit_answer(&self.spec, job, &result);
        self.note(job, Verb::Submit, &result, notes::of_submit(&answer));
        answer
    }

    pub(super) fn poll(&self, jobs: Vec<Job>, hang_up: BorrowedFd<'_>) -> Sweep<PollAnswer> {
        let Some((poll, _)) = self.spec.batch_poll() else {
            let calls = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
            let answer = |job: Job| (job.task.id.clone(), self.poll_by_name(&job, hang_up));
            return Sweep { answers: jobs.into_iter().map(answer).collect(), calls };
        };
        let mut sweep = PollSweep::new(self.spec.clone(), jobs);
        while let Some(page) = sweep.next_page() {
            sweep.take(&self.call_page(Verb::Poll, &poll.call, None, page, hang_up));
        }
        sweep.finish()
    }

    pub(super) fn poll_one(&self, job: Job, hang_up: BorrowedFd<'_>) -> PollAnswer {
        if self.spec.poll_by_name().is_some() {
            return self.poll_by_name(&job, hang_up);
        }
        let nothing = || PollAnswer::Unreadable("the sweep answered for another job".to_owned());
        self.poll(vec![job], hang_up).answers.pop().map_or_else(nothing, |(_, answer)| answer)
    }

    fn poll_by_name(&self, job: &Job, hang_up: BorrowedFd<'_>) -> PollAnswer {
        let Some(poll) = self.spec.poll_by_name() else {
            return PollAnswer::Unreadable(format!("generators.{}: there is no poll of one job", self.spec.name));
        };
        let result = self.call_about(&poll.call, job, hang_up);
        let answer = interpret::poll_one_answer(&self.spec, &result);
        let verb = if self.spec.batch_poll().is_some() { Verb::PollOne } else { Verb::Poll };
        self.note(job, verb, &result, notes::of_poll(&answer));
        answer
    }

    pub(super) fn find(&self, jobs: Vec<Job>, hang_up: BorrowedFd<'_>) -> Sweep<FindAnswer> {
        let is_per_job = self.spec.find.as_ref().is_some_and(|find| find.is_per_job);
        if !is_per_job {
            return self.find_together(jobs, None, hang_up);
        }
        let mut all = Sweep { answers: Vec::new(), calls: 0 };
        for job in jobs {
            let one = self.find_together(vec![job.clone()], Some(&job), hang_up);
            all.answers.extend(one.answers);
            all.calls += one.calls;
        }
        all
    }

    fn find_together(&self, jobs: Vec<Job>, about: Option<&Job>, hang_up: BorrowedFd<'_>) -> Sweep<FindAnswer> {
        let mut sweep = FindSweep::new(self.spec.clone(), jobs);
        while let (Some(page), Some(find)) = (sweep.next_page(), &self.spec.find) {
            sweep.take(&self.call_page(Verb::Find, &find.call, about, page, hang_up));
        }
        sweep.finish()
    }

    pub(super) fn fetch(&self, job: &Job, hang_up: BorrowedFd<'_>) -> FetchAnswer {
        let Some(fetch) = &self.spec.fetch else {
            return FetchAnswer::Unavailable(format!("generators.{}: there is no fetch", self.spec.name));
        };
        let result = self.call_about(&fetch.call, job, hang_up);
        let answer = interpret::fetch_answer(&self.spec, job, &result);
        self.note(job, Verb::Fetch, &result, notes::of_fetch(&answer));
        answer
    }

    pub(super) fn cancel(&self, job: &Job, hang_up: BorrowedFd<'_>) -> CancelAnswer {
        if self.spec.is_blocking() {
            return self.cancel_run(job);
        }
        let Some(cancel) = &self.spec.cancel else {
            return CancelAnswer::Refused(format!("generators.{} has no cancel verb", self.spec.name));
        };
        let result = self.call_about(cancel, job, hang_up);
        let answer = interpret::cancel_answer(&self.spec, &result);
        self.note(job, Verb::Cancel, &result, notes::of_cancel(&answer));
        answer
    }

    pub(super) fn call_about(&self, call: &CallSpec, job: &Job, hang_up: BorrowedFd<'_>) -> CallResult {
        match self.render(call, job) {
            Ok(rendered) => self.call_with(call, &rendered, &job.attempt.key, None, hang_up),
            Err(why) => CallResult::not_started(why),
        }
    }

    fn call_page(
        &self,
        verb: Verb,
        call: &CallSpec,
        about: Option<&Job>,
        page: Page,
        hang_up: BorrowedFd<'_>,
    ) -> CallResult {
        let result = self.unnoted_page(call, about, page, hang_up);
        match about {
            Some(job) => self.note(job, verb, &result, notes::of_end(&result.end)),
            None => self.note_shared(verb, &result),
        }
        result
    }

    /// A page of a call about many jobs, which no log hears of: for a trial, whose job is made up.
    pub(super) fn unnoted_page(
        &self,
        call: &CallSpec,
        about: Option<&Job>,
        page: Page,
        hang_up: BorrowedFd<'_>,
    ) -> CallResult {
        let key = about.map_or_else(|| SWEEP.into(), |job| job.attempt.key.clone());
        let dir = match self.calls.private_dir(&key) {
            Ok(dir) => dir,
            Err(error) => return CallResult::not_started(error.to_string()),
        };
        match self.spec.render_page(call, about, page, &dir) {
            Ok(rendered) => self.call_with(call, &rendered, &key, None, hang_up),
            Err(error) => CallResult::not_started(error.to_string()),
        }
    }

    /// Fills a call in. Nothing is written yet.
    pub(super) fn render(&self, call: &CallSpec, job: &Job) -> Result<Rendered, String> {
        let dir = self.calls.private_dir(&job.attempt.key).map_err(|error| error.to_string())?;
        self.spec.render(call, job, &dir).map_err(|error: RenderError| error.to_string())
    }

    /// Runs a call that is filled in; `stdin` is given where it is a run file.
    fn call_with(
        &self,
        call: &CallSpec,
        rendered: &Rendered,
        key: &AttemptKey,
        stdin: Option<File>,
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
        call: &CallSpec,
        rendered: &Rendered,
        key: &AttemptKey,
        stdin: Option<File>,
        secrets: &Secrets,
    ) -> Result<ExecSpec, String> {
        self.write_private_files(rendered, key)?;
        let stdin = match (stdin, &rendered.stdin) {
            (Some(file), _) => Some(file),
            (None, Some(text)) => Some(in_memory(text).map_err(|error| format!("stdin cannot be prepared: {error}"))?),
            (None, None) => None,
        };
        Ok(ExecSpec {
            argv: rendered.argv.clone(),
            env: self.environment(secrets),
            cwd: self.working_directory()?,
            stdin,
            timeout: call.timeout,
            grace: self.spec.grace,
            max_output: MAX_OUTPUT,
        })
    }

    fn write_private_files(&self, rendered: &Rendered, key: &AttemptKey) -> Result<(), String> {
        for file in &rendered.files {
            self.calls.write_private(key, &file.path, &file.contents).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// The minimal environment and the generator's own variables.
    pub(super) fn base_environment(&self) -> Environment {
        let mut env = self.places.environment.clone();
        for (name, value) in &self.spec.env {
            env.set(name, value);
        }
        env
    }

    pub(super) fn environment(&self, secrets: &Secrets) -> Environment {
        let mut env = self.base_environment();
        secrets.add_to(&mut env);
        env
    }

    /// The configured one, which must exist, or the generator's own below the state directory, which is made.
    pub(super) fn working_directory(&self) -> Result<PathBuf, String> {
        if let Some(cwd) = &self.spec.cwd {
            return Ok(cwd.clone());
        }
        let name = self.spec.name.as_str();
        let Some(name) = key_as_name(&name.into()).map(str::to_owned) else {
            return Err(format!("the name {name:?} cannot name a directory: set `cwd`"));
        };
        let own = self.places.state_dir.join("generators").join(name);
        self.places.own_directory(own, |own| run_access(&self.spec, &self.places).make_dir(own, Purpose::Work))
    }
}

/// A file without a name, at its beginning: nothing of it is left behind.
pub(crate) fn in_memory(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}
