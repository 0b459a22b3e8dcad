//! Ends without a piece: another attempt, for a retry or for nothing, or a person, or the end of the task.
//!
//! It must not judge whether a job has ended: whoever calls this knows. The surprise: a retry is spent at one place only,
//! [`Draft::retry_or`], and what costs none is counted at one place too, because it must have a bound.

use std::time::Duration;

use super::super::breaker::Signal;
use super::super::outcome::K_IN_A_ROW;
use super::super::policy::{FREE_ENDS, OUTAGE_WAIT};
use super::super::state::{AttemptState, TaskMove, TaskState};
use super::super::time::Timestamp;
use super::{Change, Draft, Refusal};

impl Draft<'_> {
    /// The attempt has ended badly: another one, or the end. The only place where a retry is spent.
    pub(super) fn retry_or(mut self, last: TaskMove, why: String) -> Result<Change, Refusal> {
        self.task.error = Some(why.clone());
        if self.task.retry_count >= self.task.max_retries {
            self.task.reason = None;
            return self.moved(last, Some(why));
        }
        if self.is_restored() {
            return self.hold_restored(why);
        }
        let wait = self.context.policy.retry.delay(self.task.retry_count, self.context.draw);
        self.task.retry_count += 1;
        self.move_task(TaskMove::RetryScheduled)?;
        // Not before the time that was asked for either, which the move has put there.
        self.task.wake_at = self.task.wake_at.max(Some(self.now().plus(wait)));
        self.task.reason = Some(format!("waits for retry {} of {}", self.task.retry_count, self.task.max_retries));
        Ok(self.finish(TaskMove::RetryScheduled, Some(why)))
    }

    /// A job ended without a piece, and neither we nor a person wanted that.
    pub(super) fn job_failed(mut self, end: AttemptState, why: String, last: TaskMove) -> Result<Change, Refusal> {
        // A job that nobody wants any more may have been cancelled on our own word.
        if end != AttemptState::EndedCancelled || self.wants_its_job() {
            self.signal = Some(Signal::JobFailed(why.clone()));
        }
        self.job_ended(end, why, |draft, why| draft.retry_unless_outage(TaskMove::GivenBack, last, why))
    }

    /// A job brought nothing, and only a person may say whether there is another one. Nothing is spent, but it is a failure of
    /// the generator's as any other: without the breaker each waiting task would be paid for and held.
    pub(super) fn job_held(mut self, end: AttemptState, why: String) -> Result<Change, Refusal> {
        self.count_as_failing(&why);
        self.job_ended(end, why, Draft::hold)
    }

    /// Tells the breaker of a job that brought nothing. One that nobody waits for may have been ended on our own word.
    pub(super) fn count_as_failing(&mut self, why: &str) {
        if self.wants_its_job() {
            self.signal = Some(Signal::JobFailed(why.to_owned()));
        }
    }

    pub(super) fn wants_its_job(&self) -> bool {
        matches!(self.task.state, TaskState::Submitted | TaskState::Processing)
    }

    /// As [`Draft::retry_or`]. While the jobs of all tasks end so it is no fault of this one: nothing is spent.
    pub(super) fn retry_unless_outage(self, again: TaskMove, last: TaskMove, why: String) -> Result<Change, Refusal> {
        if !self.context.is_outage {
            return self.retry_or(last, why);
        }
        let count = self.free_ends();
        let wait = OUTAGE_WAIT.delay(count, self.context.draw);
        let reason = "its job ended as those of others did: nothing was spent, and it waits before it is tried again";
        self.wait_for_nothing(again, wait, why, reason)
    }

    /// Back in line, last of all and later, with nothing spent. That has a bound: a task that fails alone while all others
    /// work, or has no others beside it, looks like an outage from here.
    pub(super) fn wait_for_nothing(
        mut self,
        again: TaskMove,
        wait: Duration,
        why: String,
        reason: &str,
    ) -> Result<Change, Refusal> {
        let count = self.count_free_end();
        if count > self.task.max_retries.saturating_add(FREE_ENDS) {
            return self.hold(format!("{why}; that is {count} ends in a row that cost no retry"));
        }
        let now = self.now();
        self.task.queued_at = now;
        self.task.error = Some(why.clone());
        self.task.reason = Some(reason.to_owned());
        let mut change = self.wait_again(again, why)?;
        if change.task.state == TaskState::Pending {
            change.task.wake_at = change.task.wake_at.max(Some(now.plus(wait)));
        }
        Ok(change)
    }

    pub(super) fn free_ends(&self) -> u32 {
        self.attempt.as_ref().map_or(0, |attempt| attempt.free_ends)
    }

    pub(super) fn count_free_end(&mut self) -> u32 {
        self.attempt.as_mut().map_or(0, |attempt| {
            attempt.free_ends = attempt.free_ends.saturating_add(1);
            attempt.free_ends
        })
    }

    /// A person has decided: what was tried for nothing counts from here.
    pub(super) fn forget_free_ends(&mut self) {
        if let Some(attempt) = self.attempt.as_mut() {
            (attempt.free_ends, attempt.unavailable_submits, attempt.extensions) = (0, 0, 0);
        }
    }

    /// Whether a limit of this attempt may be lengthened once more for nothing. That is counted apart: an outage that the task
    /// has waited through says nothing of the job that came after it.
    pub(super) fn has_extension_left(&self) -> bool {
        let most = self.task.max_retries.saturating_add(FREE_ENDS);
        self.attempt.as_ref().is_some_and(|attempt| attempt.extensions < most)
    }

    pub(super) fn count_extension(&mut self) {
        if let Some(attempt) = self.attempt.as_mut() {
            attempt.extensions = attempt.extensions.saturating_add(1);
        }
    }

    /// When a task is tried again whose submit was proved to have made no job, or whose run found nobody: soon at first, because
    /// that is common and passes.
    pub(super) fn wait_after_free_end(&self) -> Duration {
        match self.free_ends().checked_sub(K_IN_A_ROW) {
            None => self.context.policy.retry.delay(self.free_ends(), self.context.draw),
            Some(more) => OUTAGE_WAIT.delay(more, self.context.draw),
        }
    }

    /// Until when a task would wait that has a longer delay, where that is still to come: only the later of both times is kept, so
    /// this is reckoned anew from the end of its last job.
    pub(super) fn back_off_behind_delay(&self) -> Option<Timestamp> {
        let (attempt, draw) = (self.attempt.as_ref()?, self.context.draw);
        let wait = match attempt.state {
            AttemptState::Withdrawn => OUTAGE_WAIT.delay(attempt.unavailable_submits.checked_sub(FREE_ENDS)?, draw),
            _ if attempt.free_ends > 0 => self.wait_after_free_end(),
            _ => self.context.policy.retry.delay(self.task.retry_count.checked_sub(1)?, draw),
        };
        // Of a clock that was set back it may lie ahead.
        let ended_at = attempt.ended_at?.min(self.now());
        Some(ended_at.plus(wait)).filter(|at| *at > self.now())
    }

    /// The end of a job that is known, whatever the task wanted: cancelled, late and held tasks keep their state.
    /// `active` says what a task that waits for the job does.
    pub(super) fn job_ended(
        mut self,
        end: AttemptState,
        why: String,
        active: impl FnOnce(Self, String) -> Result<Change, Refusal>,
    ) -> Result<Change, Refusal> {
        self.move_attempt(end, Some(&why))?;
        match self.task.state {
            TaskState::Cancelling => {
                self.task.reason = None;
                self.moved(TaskMove::Cancelled, Some(why))
            }
            TaskState::Failed | TaskState::Timeout | TaskState::Cancelled => {
                self.task.reason = None;
                self.moved(TaskMove::LateJobEnded, Some(why))
            }
            // A person was asked, and decides with what is known now.
            TaskState::Held => {
                self.task.reason = Some(why.clone());
                self.task.error = Some(why.clone());
                self.moved(TaskMove::LateJobEnded, Some(why))
            }
            TaskState::Pending
            | TaskState::Submitting
            | TaskState::Submitted
            | TaskState::Processing
            | TaskState::Completed => active(self, why),
        }
    }

    /// A person must decide; a task that was to be cancelled is cancelled without proof instead.
    pub(super) fn hold(mut self, why: String) -> Result<Change, Refusal> {
        match self.task.state {
            TaskState::Cancelling => self.cancelled_unproved(why),
            TaskState::Failed | TaskState::Timeout | TaskState::Cancelled => {
                self.keep_late_pace();
                Ok(self.note())
            }
            // Held already, and a new look at it brought nothing new: the reason is renewed.
            TaskState::Held => {
                self.task.reason = Some(why);
                Ok(self.note())
            }
            TaskState::Pending
            | TaskState::Submitting
            | TaskState::Submitted
            | TaskState::Processing
            | TaskState::Completed => {
                self.task.reason = Some(why.clone());
                self.task.error = Some(why.clone());
                self.moved(TaskMove::Held, Some(why))
            }
        }
    }

    pub(super) fn cancelled_unproved(mut self, why: String) -> Result<Change, Refusal> {
        let why = format!("a job may be alive: {why}");
        self.task.reason = Some(why.clone());
        self.move_task(TaskMove::CancelledUnproved)?;
        self.watch_late();
        Ok(self.finish(TaskMove::CancelledUnproved, Some(why)))
    }
}
