//! What a blocking run came to. A run is never in doubt: its lock and its files say what happened.

use super::super::breaker::Signal;
use super::super::outcome::RunReport;
use super::super::state::{AttemptState, TaskMove, TaskState};
use super::{Change, Draft, Refusal};

impl Draft<'_> {
    pub(super) fn run_reported(self, report: RunReport) -> Result<Change, Refusal> {
        match self.attempt_state() {
            Some(AttemptState::Intended) => self.run_begins(report),
            Some(AttemptState::Accepted) => self.run_goes_on(report),
            // It never said that it started, is to be cancelled, and did start: from here on it is a run like others.
            Some(AttemptState::Unknown)
                if self.task.state == TaskState::Cancelling && self.context.policy.is_blocking =>
            {
                match report {
                    RunReport::Started { reference } => self.adopted(reference),
                    _ => Err(self.illegal("run_reported")),
                }
            }
            Some(
                AttemptState::Unknown
                | AttemptState::Rejected
                | AttemptState::Withdrawn
                | AttemptState::EndedCompleted
                | AttemptState::EndedFailed
                | AttemptState::EndedCancelled
                | AttemptState::EndedLost
                | AttemptState::EndedAbandoned,
            )
            | None => Err(self.illegal("run_reported")),
        }
    }

    fn run_begins(mut self, report: RunReport) -> Result<Change, Refusal> {
        match report {
            RunReport::Starting => {
                if self.is_past_find_limit() {
                    // Its lock is held and it never says that it began: whether anything is paid for, nobody knows.
                    let why = "the run's process is alive, but has not said that it started";
                    self.signal = Some(Signal::SubmitUnanswered(why.into()));
                    self.move_attempt(AttemptState::Unknown, None)?;
                    return self.hold(why.into());
                }
                self.wake_in(std::time::Duration::from_secs(1));
                Ok(self.note())
            }
            RunReport::Started { reference } => self.run_started(reference),
            RunReport::NeverStarted(why) => {
                self.signal = Some(Signal::SubmitUnavailable(why.clone()));
                self.job_ended(AttemptState::Withdrawn, why, |mut draft, why| {
                    draft.task.queued_at = draft.now();
                    draft.give_back(why)
                })
            }
            RunReport::Interrupted(why) => self.job_ended(AttemptState::Withdrawn, why, Draft::give_back),
            // A run that ended before anybody saw it start did start: that is committed first, and the next look,
            // which is due at once, tells the rest. The run is named by its key.
            RunReport::Running
            | RunReport::Piece(_)
            | RunReport::NoPiece { .. }
            | RunReport::Rejected(_)
            | RunReport::Failed(_)
            | RunReport::Unavailable(_)
            | RunReport::Ambiguous { .. }
            | RunReport::Lost { .. }
            | RunReport::Killed
            | RunReport::Terminated(_) => {
                let attempt = self.attempt_mut("run_reported")?;
                let reference = attempt.external_ref.clone().unwrap_or_else(|| attempt.key.0.clone());
                let mut change = self.run_started(reference)?;
                change.task.wake_at = Some(change.task.updated_at);
                Ok(change)
            }
        }
    }

    fn run_started(mut self, reference: String) -> Result<Change, Refusal> {
        self.accept(reference)?;
        self.signal = Some(Signal::Accepted);
        self.task.error = None;
        self.task.reason = None;
        self.move_task(TaskMove::Accepted)?;
        if self.task.state == TaskState::Cancelling {
            self.wake_now()
        } else {
            self.wake_for_next_poll()
        }
        Ok(self.finish(TaskMove::Accepted, None))
    }

    fn run_goes_on(mut self, report: RunReport) -> Result<Change, Refusal> {
        match report {
            RunReport::Starting | RunReport::Started { .. } | RunReport::Running => {
                self.wake_for_next_poll();
                if self.task.state == TaskState::Submitted {
                    return self.moved(TaskMove::Started, None);
                }
                Ok(self.note())
            }
            RunReport::Piece(piece) => self.piece_came(piece),
            RunReport::NoPiece { why, raw } => self.no_piece(why, raw),
            RunReport::Ambiguous { why, raw } => {
                self.attempt_mut("held")?.raw_output = Some(raw);
                self.job_held(AttemptState::EndedLost, why)
            }
            RunReport::Rejected(why) => {
                self.signal = Some(Signal::GoodAnswer);
                self.job_ended(AttemptState::EndedFailed, why, |mut draft, why| {
                    draft.task.error = Some(why.clone());
                    draft.moved(TaskMove::Failed, Some(why))
                })
            }
            RunReport::Failed(why) => self.job_failed(AttemptState::EndedFailed, why, TaskMove::Failed),
            RunReport::Unavailable(why) => {
                self.signal = Some(Signal::JobUnavailable(why.clone()));
                self.job_ended(AttemptState::EndedFailed, why, |draft, why| {
                    let wait = draft.wait_after_free_end();
                    let reason = "its run found nobody to do it: nothing is spent, and it is tried again later";
                    draft.wait_for_nothing(TaskMove::GivenBack, wait, why, reason)
                })
            }
            RunReport::Interrupted(why) => self.job_ended(AttemptState::EndedAbandoned, why, Draft::back_in_line),
            RunReport::Lost { why, raw } => {
                // The person who is asked sees it here: the run's own files go with its end.
                self.attempt_mut("held")?.raw_output = Some(raw);
                self.run_lost(why)
            }
            RunReport::NeverStarted(why) => self.run_lost(why),
            // As a job that was cancelled at its generator, not by us: what it did is paid, and no piece came of it.
            RunReport::Terminated(why) => self.job_failed(AttemptState::EndedCancelled, why, TaskMove::Failed),
            RunReport::Killed => {
                let last = if self.is_past_deadline() { TaskMove::TimedOut } else { TaskMove::Failed };
                self.job_failed(AttemptState::EndedCancelled, "the run was ended on request".into(), last)
            }
        }
    }

    /// Nobody knows how it ended.
    fn run_lost(self, why: String) -> Result<Change, Refusal> {
        if self.context.policy.is_free_to_repeat {
            return self.job_failed(AttemptState::EndedLost, why, TaskMove::Failed);
        }
        self.job_held(AttemptState::EndedLost, why)
    }

    /// Back in line from a started run, with nothing spent.
    pub(super) fn back_in_line(mut self, why: String) -> Result<Change, Refusal> {
        self.task.error = Some(why.clone());
        self.task.reason = None;
        self.wait_again(TaskMove::GivenBack, why)
    }

    pub(super) fn is_past_deadline(&self) -> bool {
        let deadline = self.attempt.as_ref().and_then(|attempt| attempt.deadline.as_ref());
        deadline.is_some_and(|deadline| deadline.has_passed(self.context.now))
    }
}
