//! What a restore from a backup makes of a task.
//!
//! Between the backup and the restore another daemon may have handed the task over, under keys that are drawn at random and
//! that the backup does not have. So no search of ours can prove that no job of it lives: what is known of an attempt is
//! followed to its end, and where a fresh attempt would come next, a person decides. The surprise: that holds for every way
//! back into line, also after a job whose end is proved, because its retry may have been made already.

use super::super::ids::AttemptKey;
use super::super::record::Attempt;
use super::super::state::{AttemptState, TaskMove, TaskState};
use super::super::time::Timestamp;
use super::{Change, Draft, Refusal};

/// Why a restored task waits for a person, and what that person does.
const UNKNOWN_SINCE: &str = "the database was restored from a backup, and nobody here knows whether a job was made of it since: \
                             look at the generator, then `contentctl release` it (no job), or settle it with --adopt";
/// The same of one whose job before the backup is known and may be alive, or is lost: it is not let go by the way.
const UNKNOWN_SINCE_WITH_JOB: &str = "the database was restored from a backup, and nobody here knows what became of its job, or whether \
                                      another was made of it since: look at the generator, then `contentctl settle` it with --adopt or \
                                      --absent";

impl Draft<'_> {
    fn unknown_since(&self) -> &'static str {
        if self.is_job_open() { UNKNOWN_SINCE_WITH_JOB } else { UNKNOWN_SINCE }
    }

    /// Whether its known job may be alive, or nobody knows what came of it. Who says that nothing was made since the backup says
    /// nothing of a job that was made before it.
    fn is_job_open(&self) -> bool {
        self.is_job_maybe_alive() || self.attempt_state() == Some(AttemptState::EndedLost)
    }

    pub(super) fn is_restored(&self) -> bool {
        self.task.restored_at.is_some()
    }

    pub(super) fn restored(mut self, at: Timestamp) -> Result<Change, Refusal> {
        let from = self.task.state;
        self.move_task(TaskMove::Restored)?;
        self.task.restored_at = Some(at);
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.state.may_be_alive()) {
            // What was counted up to the backup proves nothing about today.
            attempt.quiet_since = None;
            attempt.empty_sweeps = 0;
            attempt.missing = 0;
            attempt.bad_answers = 0;
            attempt.is_resend_due = false;
        }
        match from {
            TaskState::Pending => self.task.reason = Some(self.unknown_since().to_owned()),
            TaskState::Held => {
                let (before, since) = (self.task.reason.take(), self.unknown_since());
                self.task.reason =
                    Some(before.map_or_else(|| since.to_owned(), |before| format!("{before}; since then {since}")));
            }
            _ => {}
        }
        Ok(self.finish(TaskMove::Restored, Some("the database was restored from a backup".to_owned())))
    }

    /// Back in line with nothing spent; a restored task waits for a person instead.
    pub(super) fn wait_again(self, event: TaskMove, why: String) -> Result<Change, Refusal> {
        if self.is_restored() { self.hold_restored(why) } else { self.moved(event, Some(why)) }
    }

    pub(super) fn hold_restored(self, why: String) -> Result<Change, Refusal> {
        let since = self.unknown_since();
        self.hold(format!("{why}; {since}"))
    }

    /// A run that was started after the backup: its directory names the task, its lock and files say how it stands.
    pub(super) fn run_found(mut self, key: AttemptKey) -> Result<Change, Refusal> {
        let is_free = match self.task.state {
            TaskState::Held | TaskState::Failed | TaskState::Timeout | TaskState::Cancelled => true,
            TaskState::Pending
            | TaskState::Submitting
            | TaskState::Submitted
            | TaskState::Processing
            | TaskState::Cancelling
            | TaskState::Completed => false,
        };
        let is_known = self.attempt.as_ref().is_some_and(|attempt| attempt.key == key);
        if !is_free || is_known || !self.is_restored() || !self.context.policy.is_blocking {
            return Err(self.illegal("run_found"));
        }
        self.refuse_live_job()?;
        self.task.attempt = self.task.attempt.saturating_add(1);
        self.attempt = Some(Attempt::intended(self.task.id.clone(), self.task.attempt, key.clone(), self.now()));
        if self.task.state.is_final() {
            // What had ended was started again since the backup: what it wrote is paid for.
            self.watch_late();
        }
        self.adopted(key.0)
    }

    /// A person says that nothing was made of it since the backup.
    pub(super) fn released(mut self) -> Result<Change, Refusal> {
        let why = Some("a person says that nothing was made of it since the backup".to_owned());
        if !self.is_restored() {
            return Err(self.illegal("released"));
        }
        // One that had ended stays as it is, and may be started again; a job that is known is judged then.
        if self.task.state.is_final() {
            self.move_task(TaskMove::Released)?;
            self.task.restored_at = None;
            return Ok(self.finish(TaskMove::Released, why));
        }
        self.task.state.after(TaskMove::SettledAbsent)?;
        if let Some(attempt) = self.attempt.as_ref().filter(|_| self.is_job_open()) {
            return Err(Refusal::JobMayBeAlive { attempt: attempt.number });
        }
        self.forget_free_ends();
        self.task.reason = None;
        self.task.error = None;
        self.moved(TaskMove::SettledAbsent, why)
    }
}
