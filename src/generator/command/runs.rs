//! Blocking runs through the driver: started, looked at, ended, and what their files mean for the core.
//!
//! It must not report a beginning and an end at once: the core hears of the start first, and the next look tells the
//! rest. The surprise: a whole piece beats everything. A run that was cancelled or interrupted and still left one has
//! done what was paid for.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::super::Job;
use super::super::call::CallResult;
use super::super::exec::{Environment, Launch, MAX_OUTPUT};
use super::super::interpret;
use super::super::patience::{self, AskedAt};
use super::super::run::directory::{RunDirError, SECRETS, Sight};
use super::super::run::handover::Order;
use super::super::run::launch::launch;
use super::super::run::socket::{self, Answer};
use super::super::run::{Request, STARTED, Stopped};
use super::meaning::{self, Left, Meaning};
use super::plain::PlainRun;
use super::secrets::Secrets;
use super::{Inner, notes};
use crate::task::outcome::{CancelAnswer, RunReport};
use crate::task::{AttemptKey, AttemptState, TaskId};

/// How much longer than the grace the end of a cancelled run is waited for.
const CANCEL_MARGIN: Duration = Duration::from_secs(5);
const CANCEL_LOOK: Duration = Duration::from_millis(20);
/// How much of a lost run's output is kept for the person who is asked.
const MAX_LEFT_BEHIND: u64 = 1 << 20;
const NOBODY_IS_LEFT: &str = "no process of the run is left, and nobody wrote how it ended (its runner was killed, or the \
                              machine went down)";
const TERMINATED: &str = "the run was stopped from outside: somebody stopped its unit (systemctl stop contentd-run@…), or \
                          the machine went down";
const NOTHING_WAS_STARTED: &str = "the runner ended before it started the command; nothing was started";
const VANISHED: &str = "the directory of the run is gone or emptied: it was cleared after an end that this database does not know (as \
                        after a restore), or it was deleted or lies in another state directory; what the run made may be paid for";
/// Of a restored task: a missing directory says nothing, because another daemon may have had the run and cleared it.
const PERHAPS_CLEARED: &str = "no directory of the run is there: it was not started, or it was cleared after an end that the backup does \
                               not know, and then what it made may be paid for";

/// What became of a start, as far as it is known without a look.
enum Begun {
    /// Nothing runs, and nothing will.
    Not(String),
    /// The runner says so, or nobody said anything, or it was made before: a look says more.
    Perhaps,
    /// The runner, or whoever was to start it, says why not.
    Refused(String),
}

impl Begun {
    fn by_word(word: String) -> Self {
        if word.is_empty() || word == STARTED { Self::Perhaps } else { Self::Refused(word) }
    }
}

impl Inner {
    pub(super) fn start_run(&self, job: &Job, asked_at: AskedAt) -> RunReport {
        match self.begin_run(job, asked_at).unwrap_or_else(Begun::Not) {
            Begun::Not(why) => RunReport::NeverStarted(why),
            Begun::Perhaps => self.look_at_run(job),
            Begun::Refused(why) => {
                self.await_quiet(&job.attempt.key, patience::REFUSED);
                match self.look_at_run(job) {
                    RunReport::NeverStarted(_) => RunReport::NeverStarted(why),
                    report => report,
                }
            }
        }
    }

    /// Starts it, unless it was started before. An error says why nothing runs.
    fn begin_run(&self, job: &Job, asked_at: AskedAt) -> Result<Begun, String> {
        let key = &job.attempt.key;
        let private = self.runs.private_dir(key).map_err(|error| error.to_string())?;
        let rendered = self.spec.render(&self.spec.submit.call, job, &private);
        let rendered = rendered.map_err(|error| error.to_string())?;
        let secrets = self.secrets.read()?;
        let cwd = self.working_directory()?;
        let env = self.run_environment(&secrets, &cwd);
        // Looked for here too, so that a missing program costs no attempt.
        Launch { argv: &rendered.argv, env: &env, cwd: &cwd }.resolve()?;
        let grace_ms = u64::try_from(self.spec.grace.as_millis()).unwrap_or(u64::MAX);
        let request = Request {
            argv: rendered.argv,
            cwd,
            grace_ms,
            max_output: MAX_OUTPUT,
            task: Some(job.task.id.0.clone()),
            is_repeatable: !self.spec.is_detached,
        };
        let stdin = rendered.stdin.unwrap_or_default();
        let (dir, lock) = match self.runs.create(key, &request, stdin.as_bytes()) {
            Ok(made) => made,
            Err(RunDirError::Exists(_)) => return Ok(Begun::Perhaps),
            Err(error) => return Err(error.to_string()),
        };
        self.remember_secrets(key, &secrets)?;
        for file in &rendered.files {
            self.runs.write_private(key, &file.path, &file.contents).map_err(|error| error.to_string())?;
        }
        // Past this, whoever asked may have given up; the lock goes with this return, and nothing was started.
        if asked_at.is_older_than(patience::RUN_AGE) {
            return Err("the machine was too busy to start the run in time; nothing was started".to_owned());
        }
        let task = job.task.id.clone();
        if let Some(path) = self.run_socket() {
            return self.hand_over(path, job, dir, &env, lock);
        }
        if self.spec.is_detached {
            let (runner, said) = launch(&self.places.runner, &dir, &env, lock)?;
            self.watchers.arm(key, &task, &dir, Some(runner));
            return Ok(Begun::by_word(said));
        }
        let (watchers, watched) = (self.watchers.clone(), key.clone());
        let run = PlainRun { key: key.clone(), dir, lock, env };
        self.plain.start(run, move || watchers.ended(&watched, task))?;
        Ok(Begun::Perhaps)
    }

    /// So that a later look knows whether the secrets that it can read are those of the run.
    fn remember_secrets(&self, key: &AttemptKey, secrets: &Secrets) -> Result<(), String> {
        if self.secrets.names.is_empty() {
            return Ok(());
        }
        let note = serde_json::to_vec(&secrets.given()?).map_err(|error| error.to_string())?;
        self.runs.write_note(key, SECRETS, &note).map_err(|error| error.to_string())
    }

    /// Has the service manager start it.
    fn hand_over(
        &self,
        path: &Path,
        job: &Job,
        directory: PathBuf,
        env: &Environment,
        lock: File,
    ) -> Result<Begun, String> {
        let generator = self.spec.name.0.clone();
        let order = Order { directory, task: job.task.id.0.clone(), generator };
        match socket::hand_over(path, &order, env, lock).map_err(|error| error.to_string())? {
            Answer::Said(said) => Ok(Begun::by_word(said)),
            Answer::Silence => Ok(Begun::Perhaps),
            // The message is thrown away with the connection, and the lock with it, but by the kernel's leave.
            Answer::Closed => Ok(Begun::Refused(format!(
                "the connection to the run socket {} was closed before the run started: as many runs go on as \
                 MaxConnections= of contentd-run.socket allows, or the unit does not start; journalctl -u \
                 contentd-run.socket -u 'contentd-run@*' says which",
                path.display()
            ))),
        }
    }

    /// Waits until nobody is left of a run; whether that is so.
    fn await_quiet(&self, key: &AttemptKey, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while !self.runs.is_quiet(key) {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(CANCEL_LOOK);
        }
        true
    }

    /// What the command gets. A runner of another user cannot use our home: there the working directory takes its place.
    fn run_environment(&self, secrets: &Secrets, cwd: &Path) -> Environment {
        let mut env = self.environment(secrets);
        if self.run_socket().is_some() && !self.spec.env.contains_key("HOME") {
            env.set("HOME", cwd);
        }
        env
    }

    pub(super) fn look_at_run(&self, job: &Job) -> RunReport {
        let key = &job.attempt.key;
        let is_new = job.attempt.state == AttemptState::Intended;
        let reference = key.0.clone();
        match meaning::of(self.runs.look(key), is_new, self.spec.is_detached) {
            Meaning::Starting => {
                self.watch(job, &job.task.id);
                RunReport::Starting
            }
            Meaning::Began { is_over } => {
                if !is_over {
                    self.watch(job, &job.task.id);
                }
                RunReport::Started { reference }
            }
            Meaning::Running => {
                self.watch(job, &job.task.id);
                RunReport::Running
            }
            Meaning::NeverBegan => {
                let is_restored = job.task.restored_at.is_some();
                let is_cleared = is_restored && !self.runs.exists(key);
                // Where a missing directory proves nothing, the run counts as begun: the next look asks a person, and nobody is
                // offered to have it made again.
                if self.spec.is_detached && (is_cleared || !is_restored && self.is_place_lost(job)) {
                    return RunReport::Started { reference };
                }
                // To seal a run makes the place of all, which must not look as if it had been there.
                if self.runs.has_root() && !self.runs.seal(key) {
                    return RunReport::Starting;
                }
                RunReport::NeverStarted(if is_cleared { PERHAPS_CLEARED } else { NOTHING_WAS_STARTED }.to_owned())
            }
            Meaning::Vanished => RunReport::NeverStarted(VANISHED.to_owned()),
            Meaning::CouldNotBegin(why) => RunReport::NeverStarted(self.secrets.read_available().redact_text(why)),
            Meaning::Denied(why) => {
                let why = self.secrets.read_available().redact_text(why);
                RunReport::Failed(format!("the run had begun, and then said that it could not: {why}"))
            }
            Meaning::VanishedWithDaemon => {
                RunReport::Interrupted("nothing is left of the run, which was not detached from the daemon".to_owned())
            }
            Meaning::Ended(result, stopped) => self.ended(job, result, stopped),
            Meaning::Left(left) => {
                let raw = self.left_behind(job);
                match left {
                    Left::WithDaemon => RunReport::Interrupted("the daemon stopped while the run went on".to_owned()),
                    Left::Killed => RunReport::Killed,
                    Left::Lost => RunReport::Lost { why: NOBODY_IS_LEFT.to_owned(), raw },
                }
            }
        }
    }

    /// Whether the place of all runs is gone, or was when this daemon started and the run had been asked for.
    fn is_place_lost(&self, job: &Job) -> bool {
        let is_of_before = |start| job.attempt.intended_at < start;
        !self.runs.has_root() || self.places.runs_lost_before.is_some_and(is_of_before)
    }

    /// The beginning of what a lost run wrote. As with a piece, a secret that was changed since may stand in it.
    fn left_behind(&self, job: &Job) -> String {
        let key = &job.attempt.key;
        let stdout = self.runs.written(key, "stdout", MAX_LEFT_BEHIND);
        let stderr = self.runs.written(key, "stderr", MAX_OUTPUT as u64);
        let mut result = CallResult { stdout, stderr, is_truncated: true, ..CallResult::not_started("") };
        let (secrets, doubt) = self.secrets_of_run(key);
        secrets.redact(&mut result);
        self.note_run(job, &result, "lost", notes::LOST, doubt.as_deref());
        String::from_utf8_lossy(&result.stdout).into_owned()
    }

    fn ended(&self, job: &Job, mut result: CallResult, stopped: Option<Stopped>) -> RunReport {
        let (secrets, doubt) = self.secrets_of_run(&job.attempt.key);
        secrets.redact(&mut result);
        let report = match (interpret::run_report(&self.spec, &result), stopped) {
            (report @ RunReport::Piece(_), _) | (report, None) => report,
            (_, Some(Stopped::Cancelled)) => RunReport::Killed,
            (_, Some(Stopped::Terminated)) => RunReport::Terminated(TERMINATED.to_owned()),
            (_, Some(Stopped::Interrupted)) => {
                RunReport::Interrupted("the daemon stopped and ended the run, which was not detached".to_owned())
            }
        };
        let report = match &doubt {
            Some(doubt) => notes::without_words(report, &result.end, doubt),
            None => report,
        };
        self.note_run(job, &result, &notes::end_of(&result.end), notes::of_run(&report), doubt.as_deref());
        report
    }

    fn watch(&self, job: &Job, task: &TaskId) {
        let key = &job.attempt.key;
        if self.plain.has(key) {
            return;
        }
        if let Some(dir) = self.runs.path_of(key) {
            self.watchers.arm(key, task, &dir, None);
        }
    }

    pub(super) fn cancel_run(&self, job: &Job) -> CancelAnswer {
        let key = &job.attempt.key;
        if let Err(error) = self.runs.ask_cancel(key) {
            return CancelAnswer::Unclear(format!("the run's `cancel` file cannot be made: {error}"));
        }
        let patience = self.spec.grace + CANCEL_MARGIN;
        if !self.await_quiet(key, patience) {
            let why = format!("a process of the run still holds its lock after {} s", patience.as_secs());
            return CancelAnswer::Unclear(why);
        }
        match self.runs.look(key) {
            Sight::Ended(result, stopped) => match self.ended(job, result, stopped) {
                RunReport::Piece(_) => CancelAnswer::Unclear("the run had left a whole piece".to_owned()),
                _ => CancelAnswer::Ok,
            },
            Sight::NeverStarted | Sight::Lost { .. } => CancelAnswer::Ok,
            // Somebody took the lock between the two looks.
            Sight::Starting | Sight::Running => CancelAnswer::Unclear("the run's lock is held again".to_owned()),
        }
    }
}
