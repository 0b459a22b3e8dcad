//! What a submit came to, and how a doubt about it is cleared: found, proved absent, sent again, or held.

use std::time::Duration;

use super::super::breaker::Signal;
use super::super::ids::{AttemptKey, TaskId};
use super::super::outcome::{FindAnswer, K_IN_A_ROW, SubmitAnswer};
use super::super::policy::{FREE_ENDS, OUTAGE_WAIT, UNAVAILABLE_ENDS};
use super::super::record::{Attempt, Task};
use super::super::state::{AttemptState, TaskMove, TaskState};
use super::super::time::Timestamp;
use super::{Change, Draft, Refusal};

/// Complete searches without a match that prove an absence.
pub const SWEEPS_THAT_PROVE: u32 = 2;

/// Whether the same key must not go out once more: after the first call and max_retries + 1 repetitions, or after the
/// time limit, counted from the intent, with what an outage has added to it. A daemon that was away for so long has not asked
/// anybody yet: it may, a few times.
pub fn are_resends_spent(task: &Task, attempt: &Attempt, now: Timestamp) -> bool {
    let limit = lengthened(Duration::from_secs(u64::from(task.time_limit_s)), attempt);
    let is_late = attempt.state == AttemptState::Unknown
        && now.since(attempt.intended_at) >= limit
        && attempt.bad_answers >= K_IN_A_ROW;
    attempt.sends > task.max_retries.saturating_add(1) || is_late
}

/// A limit of a doubt, once more for each time that it passed while nobody answered.
const fn lengthened(limit: Duration, attempt: &Attempt) -> Duration {
    limit.saturating_mul(attempt.extensions.saturating_add(1))
}

impl Draft<'_> {
    /// Nobody answers, which says nothing of the job: when a limit of the doubt passes meanwhile, it gets one more for nothing.
    fn lengthen_doubt(&mut self, is_passing: bool) {
        if is_passing && self.task.state == TaskState::Submitting && self.has_extension_left() {
            self.count_extension();
        }
    }

    pub(super) fn claimed(mut self, key: AttemptKey) -> Result<Change, Refusal> {
        if let Some(attempt) = self.attempt.as_ref().filter(|attempt| attempt.state.may_be_alive()) {
            return Err(Refusal::JobMayBeAlive { attempt: attempt.number });
        }
        // Whoever claims may have seen the task before it was delayed. By its wake time, as for whoever looks for tasks that are
        // ready: a delay that has passed may lie ahead again on a clock that was set back.
        let is_delayed = self.task.wake_at.is_some_and(|at| at > self.now());
        if self.is_restored() || is_delayed {
            return Err(self.illegal("claimed"));
        }
        self.move_task(TaskMove::Claimed)?;
        let now = self.now();
        self.task.attempt = self.task.attempt.saturating_add(1);
        self.task.reason = None;
        let mut attempt = Attempt::intended(self.task.id.clone(), self.task.attempt, key, now);
        attempt.free_ends = self.free_ends();
        attempt.unavailable_submits = self.attempt.as_ref().map_or(0, |last| last.unavailable_submits);
        if self.context.policy.is_ref_our_key {
            attempt.external_ref = Some(attempt.key.0.clone());
        }
        self.attempt = Some(attempt);
        // Should the call's owner vanish, the sweep takes the task up once no call can be alive by its limit.
        self.task.wake_at = Some(now.plus(self.context.policy.submit_limit));
        Ok(self.finish(TaskMove::Claimed, None))
    }

    pub(super) fn submit_answered(mut self, answer: SubmitAnswer) -> Result<Change, Refusal> {
        if let SubmitAnswer::Accepted { reference, vars } = answer {
            return match self.context.owner {
                Some(owner) => self.submit_answered_with_job_of(owner, &reference),
                None => self.submit_accepted(reference, vars),
            };
        }
        match self.attempt_state() {
            Some(AttemptState::Intended) => self.first_submit_failed(answer),
            Some(AttemptState::Unknown) => self.resend_failed(answer),
            Some(AttemptState::Accepted) => {
                if !self.is_resend_due() {
                    return Err(self.illegal("submit_answered"));
                }
                // The job was missing and its key went out again without an answer we can use.
                if matches!(answer, SubmitAnswer::NeverCalled(_) | SubmitAnswer::Unavailable(_)) {
                    return self.resend_failed(answer);
                }
                if self.is_resent_enough() {
                    return self.resends_spent();
                }
                self.wake_after_bad_answer();
                Ok(self.note())
            }
            Some(
                AttemptState::Rejected
                | AttemptState::Withdrawn
                | AttemptState::EndedCompleted
                | AttemptState::EndedFailed
                | AttemptState::EndedCancelled
                | AttemptState::EndedLost
                | AttemptState::EndedAbandoned,
            )
            | None => Err(self.illegal("submit_answered")),
        }
    }

    fn submit_answered_with_job_of(mut self, owner: &TaskId, reference: &str) -> Result<Change, Refusal> {
        let is_asked = matches!(self.attempt_state(), Some(AttemptState::Intended | AttemptState::Unknown));
        if !is_asked && !self.is_resend_due() {
            return Err(self.illegal("submit_answered"));
        }
        self.signal = Some(Signal::SubmitUnanswered(format!("it names {reference}, which is the job of {owner}")));
        self.hold_for_job_of(owner, reference)
    }

    /// The generator names a job that another task has. Nobody knows whether it made one for this task too.
    fn hold_for_job_of(mut self, owner: &TaskId, reference: &str) -> Result<Change, Refusal> {
        let why = format!(
            "the generator names {reference}, which is the job of {owner}: one job cannot be two tasks', and nobody knows \
             whether this one has a job of its own"
        );
        if self.attempt_state() == Some(AttemptState::Intended) {
            self.move_attempt(AttemptState::Unknown, None)?;
        }
        self.attempt_mut("held")?.error = Some(why.clone());
        self.hold(why)
    }

    fn submit_accepted(
        mut self,
        reference: String,
        vars: std::collections::BTreeMap<String, String>,
    ) -> Result<Change, Refusal> {
        let was_accepted = self.attempt_state() == Some(AttemptState::Accepted);
        self.accept(reference)?;
        self.attempt_mut("accepted")?.vars.extend(vars);
        self.signal = Some(Signal::Accepted);
        if was_accepted {
            self.wake_for_next_poll();
            return Ok(self.note());
        }
        if !self.task.state.is_final() {
            self.task.reason = None;
            self.task.error = None;
        }
        self.move_task(TaskMove::Accepted)?;
        if self.task.state == TaskState::Cancelling {
            self.wake_now()
        } else {
            self.wake_for_next_poll()
        }
        Ok(self.finish(TaskMove::Accepted, None))
    }

    /// Whether the bound of repeated submits is reached: the first call and max_retries + 1 repetitions.
    fn is_resent_enough(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| are_resends_spent(&self.task, attempt, self.now()))
    }

    fn is_resend_due(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.is_resend_due && attempt.state == AttemptState::Accepted)
    }

    /// The job was missing, and submitting its key again did not bring it back.
    fn resends_spent(self) -> Result<Change, Refusal> {
        let why = "the job is missing at the generator, and submitting its key again did not bring it back";
        self.job_held(AttemptState::EndedLost, why.to_owned())
    }

    fn first_submit_failed(mut self, answer: SubmitAnswer) -> Result<Change, Refusal> {
        match answer {
            SubmitAnswer::Rejected(why) => {
                self.signal = Some(Signal::SubmitAnswered);
                self.job_ended(AttemptState::Rejected, why, |mut draft, why| {
                    draft.task.error = Some(why.clone());
                    draft.moved(TaskMove::Rejected, Some(why))
                })
            }
            SubmitAnswer::Retry(why) => {
                self.signal = Some(Signal::SubmitPutOff(why.clone()));
                self.job_ended(AttemptState::Rejected, why, |draft, why| {
                    draft.retry_unless_outage(TaskMove::Withdrawn, TaskMove::Failed, why)
                })
            }
            SubmitAnswer::Unavailable(why) => {
                self.signal = Some(Signal::SubmitUnavailable(why.clone()));
                self.job_ended(AttemptState::Withdrawn, why, Draft::nobody_was_there)
            }
            SubmitAnswer::NeverCalled(why) => self.job_ended(AttemptState::Withdrawn, why, Draft::give_back),
            SubmitAnswer::Ambiguous(why) => {
                self.signal = Some(Signal::SubmitUnanswered(why.clone()));
                self.move_attempt(AttemptState::Unknown, None)?;
                self.attempt_mut("doubted")?.error = Some(why.clone());
                self.task.error = Some(why.clone());
                self.task.reason =
                    Some("nobody knows whether the generator took the job; contentd is finding out".into());
                self.move_task(TaskMove::Doubted)?;
                self.wake_now();
                Ok(self.finish(TaskMove::Doubted, Some(why)))
            }
            SubmitAnswer::Accepted { reference, vars } => self.submit_accepted(reference, vars),
        }
    }

    /// Last in line, at the pace of the breaker's probes. A rule that says so of a submit which does make a job must not be
    /// believed for ever, so it has a pace and a bound of its own.
    fn nobody_was_there(mut self, why: String) -> Result<Change, Refusal> {
        let attempt = self.attempt_mut("withdrawn")?;
        attempt.unavailable_submits = attempt.unavailable_submits.saturating_add(1);
        let count = attempt.unavailable_submits;
        if count > self.task.max_retries.saturating_add(UNAVAILABLE_ENDS) {
            return self.hold(format!("{why}; that is {count} submits that found nobody"));
        }
        self.task.queued_at = self.now();
        let draw = self.context.draw;
        let mut change = self.give_back(why)?;
        if let Some(more) = count.checked_sub(FREE_ENDS)
            && change.task.state == TaskState::Pending
        {
            let wait = OUTAGE_WAIT.delay(more, draw);
            change.task.wake_at = change.task.wake_at.max(Some(change.task.queued_at.plus(wait)));
        }
        Ok(change)
    }

    /// Back in line with nothing spent.
    pub(super) fn give_back(mut self, why: String) -> Result<Change, Refusal> {
        self.task.error = Some(why.clone());
        self.task.reason = None;
        self.wait_again(TaskMove::Withdrawn, why)
    }

    /// The same key went out again (idempotent generators only) and was not accepted.
    fn resend_failed(mut self, answer: SubmitAnswer) -> Result<Change, Refusal> {
        match answer {
            SubmitAnswer::NeverCalled(_) => {
                // Interrupted by ourselves: given back, not spent.
                self.send_given_back()?;
                self.wake_now();
                Ok(self.note())
            }
            // Whatever this call says of itself, it says nothing about the one that was not answered: a quota that refuses
            // it now may have let that one pass.
            SubmitAnswer::Rejected(why) | SubmitAnswer::Retry(why) => {
                self.signal = Some(Signal::SubmitAnswered);
                self.doubt_goes_on(why)
            }
            SubmitAnswer::Ambiguous(why) => {
                self.signal = Some(Signal::SubmitUnanswered(why.clone()));
                self.doubt_goes_on(why)
            }
            SubmitAnswer::Unavailable(why) => {
                // Nobody was there to see the key: only the time limit ends the waiting, and not the count.
                self.signal = Some(Signal::SubmitUnavailable(why.clone()));
                self.send_given_back()?;
                // The next call must come before it has passed.
                let next = self.now().plus(self.context.policy.verb_backoff().max * 2);
                let is_passing =
                    self.attempt.as_ref().is_some_and(|attempt| are_resends_spent(&self.task, attempt, next));
                self.lengthen_doubt(is_passing);
                self.task.error = Some(why);
                self.wake_after_bad_answer();
                Ok(self.note())
            }
            SubmitAnswer::Accepted { reference, vars } => self.submit_accepted(reference, vars),
        }
    }

    fn send_given_back(&mut self) -> Result<(), Refusal> {
        let attempt = self.attempt_mut("resent")?;
        attempt.sends = attempt.sends.saturating_sub(1).max(1);
        Ok(())
    }

    fn doubt_goes_on(mut self, why: String) -> Result<Change, Refusal> {
        let is_enough = self.is_resent_enough();
        let attempt = self.attempt_mut("doubted")?;
        attempt.error = Some(why.clone());
        if is_enough {
            let sends = attempt.sends;
            return self.hold(format!(
                "the same key was submitted {sends} times, and nobody knows whether it was taken: {why}"
            ));
        }
        self.task.error = Some(why);
        self.wake_after_bad_answer();
        Ok(self.note())
    }

    pub(super) fn resend_begun(mut self) -> Result<Change, Refusal> {
        let is_meant = match self.attempt_state() {
            Some(AttemptState::Unknown) => true,
            Some(AttemptState::Accepted) => self.is_resend_due(),
            Some(_) | None => false,
        };
        let is_allowed = self.context.policy.is_idempotent && !self.is_restored();
        if !is_meant || !is_allowed || self.is_resent_enough() {
            return Err(self.illegal("resent"));
        }
        let attempt = self.attempt_mut("resent")?;
        attempt.sends = attempt.sends.saturating_add(1);
        attempt.quiet_since = None;
        attempt.empty_sweeps = 0;
        attempt.missing = 0;
        let why = format!("submit {} with the same key", attempt.sends);
        self.move_task(TaskMove::Resent)?;
        let wake = self.now().plus(self.context.policy.submit_limit);
        self.task.wake_at = Some(wake);
        Ok(self.finish(TaskMove::Resent, Some(why)))
    }

    pub(super) fn lock_seen(mut self, is_free: bool) -> Result<Change, Refusal> {
        // Before a missing job's key goes out again, its earlier call must be over too.
        if self.attempt_state() != Some(AttemptState::Unknown) && !self.is_resend_due() {
            return Err(self.illegal("lock_seen"));
        }
        let now = self.now();
        let attempt = self.attempt_mut("lock_seen")?;
        if is_free {
            attempt.quiet_since.get_or_insert(now);
            return Ok(self.note());
        }
        attempt.quiet_since = None;
        attempt.empty_sweeps = 0;
        if self.is_past_find_limit() && self.attempt_state() == Some(AttemptState::Unknown) {
            return self.hold("a process of the submit is still alive, and nobody knows what it does".into());
        }
        self.wake_after_bad_answer();
        Ok(self.note())
    }

    /// No verb can clear the doubt.
    pub(super) fn doubt_stands(self, why: String) -> Result<Change, Refusal> {
        if self.attempt_state() == Some(AttemptState::Accepted) && self.is_resend_due() {
            return self.resends_spent();
        }
        if self.attempt_state() != Some(AttemptState::Unknown) {
            return Err(self.illegal("held"));
        }
        self.hold(why)
    }

    pub(super) fn is_past_find_limit(&self) -> bool {
        let limit = self.context.policy.find_limit;
        // The search begins with the restore, however old the backup is.
        let began = |intended_at: Timestamp| self.task.restored_at.map_or(intended_at, |at| at.max(intended_at));
        self.attempt
            .as_ref()
            .is_some_and(|attempt| self.now().since(began(attempt.intended_at)) >= lengthened(limit, attempt))
    }

    pub(super) fn find_answered(mut self, answer: FindAnswer, began_at: Timestamp) -> Result<Change, Refusal> {
        if self.attempt_state() != Some(AttemptState::Unknown) {
            return Err(self.illegal("find_answered"));
        }
        match answer {
            FindAnswer::One { reference } => match self.context.owner {
                Some(owner) => {
                    self.signal = Some(Signal::BadAnswer(format!("it names {reference}, which is the job of {owner}")));
                    self.hold_for_job_of(owner, &reference)
                }
                None => self.adopted(reference),
            },
            FindAnswer::None { is_complete } => self.not_found(is_complete, began_at),
            FindAnswer::Several(references) => {
                let names = references.join(", ");
                self.hold(format!("several jobs carry this attempt's key: {names}"))
            }
            FindAnswer::Unavailable(why) => {
                self.signal = Some(Signal::VerbUnavailable(why.clone()));
                let is_passing = self.is_past_find_limit();
                self.lengthen_doubt(is_passing);
                self.find_goes_on(why)
            }
            FindAnswer::Unreadable(why) => {
                self.signal = Some(Signal::BadAnswer(why.clone()));
                self.find_goes_on(why)
            }
        }
    }

    pub(super) fn adopted(mut self, reference: String) -> Result<Change, Refusal> {
        let why = format!("found at the generator as {reference}");
        self.accept(reference)?;
        self.signal = Some(Signal::Accepted);
        if !self.task.state.is_final() {
            self.task.reason = None;
            self.task.error = None;
        }
        self.move_task(TaskMove::Adopted)?;
        if self.task.state.is_final() {
            self.keep_late_pace()
        } else {
            self.wake_now()
        }
        Ok(self.finish(TaskMove::Adopted, Some(why)))
    }

    fn not_found(mut self, is_complete: bool, began_at: Timestamp) -> Result<Change, Refusal> {
        let settle = self.context.policy.settle;
        self.signal = Some(Signal::GoodAnswer);
        let attempt = self.attempt_mut("find_answered")?;
        attempt.bad_answers = 0;
        let quiet_since = attempt.quiet_since.filter(|_| is_complete);
        let Some(quiet_since) = quiet_since else {
            return self.find_goes_on("the search did not see every job that could be ours".into());
        };
        if began_at < quiet_since.plus(settle) {
            // Too early to prove anything; the next search after the settling time counts.
            let wait = quiet_since.plus(settle).since(self.now());
            self.wake_in(wait.max(Duration::from_secs(1)));
            self.keep_late_pace();
            return Ok(self.note());
        }
        attempt.empty_sweeps = attempt.empty_sweeps.saturating_add(1);
        if attempt.empty_sweeps < SWEEPS_THAT_PROVE {
            self.wake_for_next_poll();
            return Ok(self.note());
        }
        let why = "no job carries this attempt's key: it was never taken";
        self.job_ended(AttemptState::EndedAbandoned, why.to_owned(), |draft, why| {
            let wait = draft.wait_after_free_end();
            draft.wait_for_nothing(TaskMove::ProvedAbsent, wait, why, "its submit made no job; it is submitted again")
        })
    }

    fn find_goes_on(mut self, why: String) -> Result<Change, Refusal> {
        if self.is_past_find_limit() {
            return self.hold(format!("whether the generator took the job could not be found out in time: {why}"));
        }
        self.wake_after_bad_answer();
        Ok(self.note())
    }
}
