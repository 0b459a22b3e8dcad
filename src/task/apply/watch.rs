//! What polls, fetches, cancels and deadlines came to: everything after a generator has the job.

use std::time::Duration;

use super::super::breaker::Signal;
use super::super::outcome::{CancelAnswer, FetchAnswer, JobState, K_IN_A_ROW, Piece, PollAnswer};
use super::super::policy::LATE_WATCH;
use super::super::state::{AttemptState, TaskMove, TaskState};
use super::{Change, Draft, PieceFate, Refusal};

impl Draft<'_> {
    pub(super) fn poll_answered(mut self, answer: PollAnswer) -> Result<Change, Refusal> {
        let is_known = match self.attempt_state() {
            Some(AttemptState::Accepted) => true,
            // Where the reference is our key, a job whose submit is in doubt can be polled while it is cancelled.
            Some(AttemptState::Unknown) => self.context.policy.is_ref_our_key,
            Some(_) | None => false,
        };
        let is_doubted = self.attempt_state() == Some(AttemptState::Unknown);
        let is_good = matches!(answer, PollAnswer::State { .. });
        // Only a search or a person ends the doubt of a task that still wants the job; a job that is seen ends it too.
        let is_doubt_fed = is_doubted && !is_good && self.task.state == TaskState::Submitting;
        if !is_known || is_doubt_fed || self.task.state == TaskState::Held && !is_good {
            return Err(self.illegal("poll_answered"));
        }
        match answer {
            PollAnswer::Unreadable(why) => {
                self.say_unanswered("a poll", &why);
                self.signal = Some(Signal::BadAnswer(why));
                self.wake_after_bad_answer();
                Ok(self.note())
            }
            PollAnswer::Unavailable(why) => {
                self.say_unanswered("a poll", &why);
                self.signal = Some(Signal::VerbUnavailable(why));
                self.wake_after_bad_answer();
                Ok(self.note())
            }
            PollAnswer::Missing { is_complete, by_name } => self.job_missing(is_complete, by_name),
            PollAnswer::State { state, theirs, error, progress, vars } => {
                self.signal = Some(Signal::PollRead);
                self.learn(&theirs, progress, vars)?;
                self.job_is(state, theirs, error)
            }
        }
    }

    /// Has a task that waits for its job tell why it still waits. Other states have a reason of their own.
    fn say_unanswered(&mut self, verb: &str, why: &str) {
        if self.wants_its_job() {
            self.task.reason = Some(format!("{verb} was not answered well ({why}); the generator is asked again"));
        }
    }

    fn say_answered(&mut self) {
        if self.wants_its_job() {
            self.task.reason = None;
        }
    }

    /// Takes in what a good answer says beside the state.
    fn learn(
        &mut self,
        theirs: &str,
        progress: Option<String>,
        vars: std::collections::BTreeMap<String, String>,
    ) -> Result<(), Refusal> {
        let now = self.now();
        self.say_answered();
        let attempt = self.attempt_mut("poll_answered")?;
        attempt.bad_answers = 0;
        attempt.missing = 0;
        attempt.is_resend_due = false;
        attempt.vars.extend(vars);
        if attempt.generator_state.as_deref() != Some(theirs) || attempt.unchanged_since.is_none() {
            attempt.generator_state = Some(theirs.to_owned());
            attempt.unchanged_since = Some(now);
        }
        if progress.is_some() {
            self.task.progress = progress;
        }
        Ok(())
    }

    /// A job that was in doubt was seen alive, under the reference that is our key.
    fn seen_alive(mut self, is_ready: bool) -> Result<Change, Refusal> {
        let attempt = self.attempt_mut("poll_answered")?;
        attempt.is_ready = is_ready;
        let reference = attempt.external_ref.clone().unwrap_or_else(|| attempt.key.0.clone());
        self.adopted(reference)
    }

    fn job_is(mut self, state: JobState, theirs: String, error: Option<String>) -> Result<Change, Refusal> {
        let is_doubted = self.attempt_state() == Some(AttemptState::Unknown);
        match state {
            JobState::Submitted | JobState::Processing | JobState::Completed if is_doubted => {
                self.seen_alive(state == JobState::Completed)
            }
            JobState::Submitted | JobState::Processing => {
                if self.is_dead() {
                    return self.job_left(&theirs);
                }
                self.wake_for_next_poll();
                match (self.task.state, state) {
                    (TaskState::Submitted, JobState::Processing) => self.moved(TaskMove::Started, None),
                    (TaskState::Processing, JobState::Submitted) => self.moved(TaskMove::Queued, None),
                    _ => Ok(self.note()),
                }
            }
            JobState::Completed => {
                self.attempt_mut("poll_answered")?.is_ready = true;
                self.watch_once_more();
                self.wake_now();
                Ok(self.note())
            }
            JobState::Failed => {
                let why = error.filter(|text| !text.trim().is_empty()).unwrap_or(theirs);
                let why = format!("the generator's job failed: {why}");
                self.job_failed(AttemptState::EndedFailed, why, TaskMove::Failed)
            }
            JobState::Cancelled => {
                let why = "the job was cancelled at the generator";
                self.job_failed(AttemptState::EndedCancelled, why.into(), TaskMove::Failed)
            }
        }
    }

    fn is_dead(&self) -> bool {
        let Some(dead) = &self.context.policy.dead_when else { return false };
        // While no job of the generator ends well, how long one has waited says nothing about that one.
        if self.context.is_outage {
            return false;
        }
        self.attempt.as_ref().is_some_and(|attempt| {
            attempt.generator_state.as_deref() == Some(dead.state.as_str())
                && attempt.unchanged_since.is_some_and(|since| self.now().since(since) >= dead.unchanged_for)
        })
    }

    /// The configuration says that a job in this state will not run. That is no end: a worker that comes back may run it all
    /// the same, and it is paid then. So its attempt stays, a person decides about a task that waits for it, and whoever
    /// looks at it for a day goes on looking.
    fn job_left(mut self, theirs: &str) -> Result<Change, Refusal> {
        let why = format!("the generator has left the job in state {theirs} for so long that it may never run it");
        if self.wants_its_job() && self.context.policy.is_free_to_repeat {
            return self.job_failed(AttemptState::EndedLost, why, TaskMove::Failed);
        }
        if self.task.state.is_final() {
            self.task.reason = Some(format!("{why}; it is looked at for a day"));
        }
        self.count_as_failing(&why);
        self.hold(why)
    }

    fn job_missing(mut self, is_complete: bool, by_name: bool) -> Result<Change, Refusal> {
        self.signal = Some(Signal::GoodAnswer);
        let must_be_named = self.context.policy.can_poll_one;
        // Of a restored task another attempt may have been made since: the old key must not make a job again.
        let is_idempotent = self.context.policy.is_idempotent && !self.is_restored();
        let is_unknown = self.attempt_state() == Some(AttemptState::Unknown);
        // Of a submit in doubt an absence counts only once nobody is left of it and it has settled.
        let is_settled = self.has_settled();
        let attempt = self.attempt_mut("poll_answered")?;
        let is_key_its_own = attempt.sends > 0;
        let counts = is_complete && (is_settled || !is_unknown);
        attempt.missing = attempt.missing.saturating_add(u32::from(counts));
        let is_gone = counts && attempt.missing >= K_IN_A_ROW && (by_name || !must_be_named);
        if !is_gone {
            self.wake_after_bad_answer();
            return Ok(self.note());
        }
        let why = format!("the generator does not know the job any more ({K_IN_A_ROW} times in a row)");
        if is_unknown {
            // Only of a task that wants no job any more, with a reference known beforehand: the key was never taken.
            return self.job_ended(AttemptState::EndedAbandoned, why, |draft, _| Err(draft.illegal("poll_answered")));
        }
        if is_idempotent && is_key_its_own && self.wants_its_job() {
            self.attempt_mut("poll_answered")?.is_resend_due = true;
            self.task.error = Some(why);
            self.wake_now();
            return Ok(self.note());
        }
        self.job_held(AttemptState::EndedLost, why)
    }

    pub(super) fn fetch_answered(mut self, answer: FetchAnswer) -> Result<Change, Refusal> {
        if self.attempt_state() != Some(AttemptState::Accepted) {
            return Err(self.illegal("fetch_answered"));
        }
        match answer {
            FetchAnswer::Piece(piece) => self.piece_came(piece),
            FetchAnswer::NotReady => self.piece_not_ready(),
            FetchAnswer::Unavailable(why) => {
                self.say_unanswered("a fetch", &why);
                self.signal = Some(Signal::VerbUnavailable(why));
                if self.task.state != TaskState::Held {
                    self.wake_after_bad_answer();
                }
                Ok(self.note())
            }
            FetchAnswer::Missing { raw } => {
                self.no_piece("the generator does not know the piece of the job".into(), raw)
            }
            FetchAnswer::Unreadable { why, raw } => {
                self.signal = Some(Signal::BadAnswer(why.clone()));
                let attempt = self.attempt_mut("fetch_answered")?;
                attempt.bad_fetches = attempt.bad_fetches.saturating_add(1);
                if attempt.bad_fetches >= K_IN_A_ROW || self.task.state == TaskState::Held {
                    return self.no_piece(why, raw);
                }
                self.say_unanswered("a fetch", &why);
                self.wake_after_bad_answer();
                Ok(self.note())
            }
        }
    }

    /// The job is completed and its piece is not there yet. Polls and fetches could contradict each other for ever, and a
    /// job that is completed is not ended by its deadline: past it, or past the day after the task, nobody asks again.
    fn piece_not_ready(mut self) -> Result<Change, Refusal> {
        self.say_answered();
        self.signal = Some(Signal::GoodAnswer);
        let now = self.now();
        let is_watch_over = self.task.state.is_final()
            && self.task.completed_at.is_some_and(|completed_at| now >= completed_at.plus(LATE_WATCH));
        let attempt = self.attempt_mut("fetch_answered")?;
        attempt.is_ready = false;
        if is_watch_over {
            attempt.watch_until = Some(now);
        }
        if self.task.state.is_active() && self.is_past_deadline() {
            let why = "the generator says that it is completed and does not give the piece";
            self.count_as_failing(why);
            return self.hold(why.into());
        }
        if self.task.state != TaskState::Held {
            self.wake_for_next_poll();
        }
        Ok(self.note())
    }

    /// The piece came and everything about it was rolled back: it stays where it is, and the task tells why.
    pub(super) fn piece_not_stored(mut self, why: String) -> Result<Change, Refusal> {
        if self.attempt_state() != Some(AttemptState::Accepted) {
            return Err(self.illegal("piece_not_stored"));
        }
        if !self.task.state.is_final() {
            self.task.error = Some(format!("its piece could not be stored ({why}); it is kept and fetched again"));
        }
        if self.task.state != TaskState::Held {
            self.wake_after_bad_answer();
        }
        Ok(self.note())
    }

    /// The job is over and brought nothing that can be read: what it wrote is kept, and a person looks.
    /// The attempt stays accepted, so that the piece can be fetched again.
    pub(super) fn no_piece(mut self, why: String, raw: String) -> Result<Change, Refusal> {
        self.attempt_mut("held")?.raw_output = Some(raw);
        match self.task.state {
            TaskState::Cancelling | TaskState::Failed | TaskState::Timeout | TaskState::Cancelled => {
                self.job_ended(AttemptState::EndedCompleted, why, |draft, _| Err(draft.illegal("fetch_answered")))
            }
            TaskState::Pending
            | TaskState::Submitting
            | TaskState::Submitted
            | TaskState::Processing
            | TaskState::Held
            | TaskState::Completed => {
                self.attempt_mut("held")?.error = Some(why.clone());
                self.count_as_failing(&why);
                self.hold(why)
            }
        }
    }

    /// The piece is here. It is kept whatever the task wanted: it is paid for.
    pub(super) fn piece_came(mut self, piece: Box<Piece>) -> Result<Change, Refusal> {
        self.signal = Some(Signal::JobCompleted);
        self.move_attempt(AttemptState::EndedCompleted, None)?;
        let attempt = self.attempt_mut("completed")?;
        attempt.is_ready = true;
        attempt.bad_fetches = 0;
        if self.task.state == TaskState::Cancelled && !self.context.is_late_piece_wanted {
            self.piece = Some((piece, PieceFate::KeptLate));
            self.task.reason = Some("its piece came after the cancel and is kept for review".into());
            return self.moved(TaskMove::LatePieceKept, None);
        }
        let (fate, why) = match self.task.state {
            TaskState::Cancelling => {
                // What somebody did not want any more is not sent out by a rule.
                let why = "the cancel came too late: the piece was written";
                (PieceFate::CompletesUnwanted, Some(why.to_owned()))
            }
            TaskState::Failed | TaskState::Timeout | TaskState::Cancelled => {
                (PieceFate::Completes, Some("its piece came late".to_owned()))
            }
            _ => (PieceFate::Completes, None),
        };
        self.piece = Some((piece, fate));
        self.task.error = None;
        self.task.reason = why.clone();
        self.moved(TaskMove::Completed, why)
    }

    pub(super) fn cancel_answered(mut self, answer: CancelAnswer) -> Result<Change, Refusal> {
        if self.task.state != TaskState::Cancelling {
            return Err(self.illegal("cancel_answered"));
        }
        match answer {
            CancelAnswer::Refused(why) | CancelAnswer::Unclear(why) if self.is_run_given_up() => {
                self.run_not_ended(why)
            }
            CancelAnswer::Ok if !self.is_cancel_a_proof() => self.cancelled_too_early(),
            CancelAnswer::Ok => {
                self.signal = Some(Signal::GoodAnswer);
                let why = "the generator has cancelled the job";
                self.job_ended(AttemptState::EndedCancelled, why.into(), |draft, _| {
                    Err(draft.illegal("cancel_answered"))
                })
            }
            CancelAnswer::Refused(why) => {
                self.attempt_mut("cancel_answered")?.is_cancel_refused = true;
                self.task.reason =
                    Some(format!("the generator does not cancel it ({why}); waits for the job's own end"));
                self.wake_for_next_poll();
                Ok(self.note())
            }
            CancelAnswer::Unclear(why) => {
                self.task.reason = Some(format!("the generator did not confirm the cancel ({why}); it is asked again"));
                self.wake_after_bad_answer();
                Ok(self.note())
            }
        }
    }

    /// Whether nobody is left of a submit in doubt, and what it sent has had its time to arrive.
    fn has_settled(&self) -> bool {
        let settle = self.context.policy.settle;
        let quiet_since = self.attempt.as_ref().and_then(|attempt| attempt.quiet_since);
        quiet_since.is_some_and(|since| self.now() >= since.plus(settle))
    }

    /// Whether a submit of this key may still be on its way: the first, or a missing job's key that went out again.
    fn is_submit_in_doubt(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| match attempt.state {
            AttemptState::Unknown => true,
            _ => attempt.is_resend_due && attempt.sends > 1,
        })
    }

    /// A generator may also cancel a key that it has never seen, and then take the submit that is still on its way. Of a
    /// run, the free lock itself is the answer.
    fn is_cancel_a_proof(&self) -> bool {
        !self.is_submit_in_doubt() || self.context.policy.is_blocking || self.has_settled()
    }

    /// A run in doubt has no deadline, so that its cancel has a bound here.
    fn is_run_given_up(&self) -> bool {
        self.attempt_state() == Some(AttemptState::Unknown)
            && self.context.policy.is_blocking
            && self.is_past_find_limit()
    }

    /// Tried a few times: between two of them the run is looked at, and may have left a piece.
    fn run_not_ended(mut self, why: String) -> Result<Change, Refusal> {
        let why = format!("the run could not be ended: {why}");
        if self.attempt.as_ref().is_some_and(|attempt| attempt.bad_answers.saturating_add(1) >= K_IN_A_ROW) {
            return self.cancelled_unproved(why);
        }
        self.task.reason = Some(format!("{why}; it is tried again"));
        self.wake_after_bad_answer();
        Ok(self.note())
    }

    /// The submit may still arrive after its cancel: the cancel is sent again when it has settled.
    fn cancelled_too_early(mut self) -> Result<Change, Refusal> {
        let settled_at = self.attempt.as_ref().and_then(|attempt| attempt.quiet_since);
        let settled_at = settled_at.map(|since| since.plus(self.context.policy.settle));
        self.signal = Some(Signal::GoodAnswer);
        self.task.reason =
            Some("the generator has cancelled it, but its submit may still arrive; it is cancelled again then".into());
        match settled_at {
            Some(at) => self.wake_in(at.since(self.now()).max(Duration::from_secs(1))),
            None => self.wake_after_bad_answer(),
        }
        Ok(self.note())
    }

    pub(super) fn deadline_reached(mut self, is_end_proved: bool) -> Result<Change, Refusal> {
        let is_active = self.task.state.is_active();
        if !is_active || !self.is_past_deadline() || self.attempt_state() != Some(AttemptState::Accepted) {
            return Err(self.illegal("deadline_reached"));
        }
        let is_end_proved = is_end_proved && self.is_cancel_a_proof();
        let limit = Duration::from_secs(u64::from(self.task.time_limit_s));
        let why = format!("the time limit of {} s has passed", self.task.time_limit_s);
        if self.task.state == TaskState::Cancelling {
            if is_end_proved {
                return self.cancel_answered(CancelAnswer::Ok);
            }
            return self.cancelled_unproved(why);
        }
        if is_end_proved {
            return self.job_failed(AttemptState::EndedCancelled, why, TaskMove::TimedOut);
        }
        self.signal = Some(Signal::JobFailed(why.clone()));
        self.task.error = Some(why.clone());
        let is_free = self.context.is_outage && self.has_extension_left();
        if is_free || self.task.retry_count < self.task.max_retries {
            let deadline = self.context.now.deadline_in(limit);
            self.attempt_mut("extended")?.deadline = Some(deadline);
            self.wake_for_next_poll();
            let why = format!("{why}, but the job may be alive: it gets a fresh limit instead of a second job");
            if is_free {
                self.count_extension();
                self.task.reason =
                    Some(format!("{why}, with nothing spent, because its generator ends no other either"));
                return Ok(self.note());
            }
            self.task.retry_count += 1;
            return self.moved(TaskMove::Extended, Some(why));
        }
        let why = format!("{why} for the last time; the job may be alive and is looked at for a day");
        self.task.reason = Some(why.clone());
        self.move_task(TaskMove::TimedOut)?;
        self.watch_late();
        Ok(self.finish(TaskMove::TimedOut, Some(why)))
    }

    /// Whether the job is finished, nobody can read: to cancel it could throw away a piece that is paid for, and to make
    /// another one would be paid beside it. When that is said often enough, a person looks.
    pub(super) fn deadline_unread(mut self, why: String) -> Result<Change, Refusal> {
        let is_waited_for = self.wants_its_job() && self.attempt_state() == Some(AttemptState::Accepted);
        if !is_waited_for || !self.is_past_deadline() {
            return Err(self.illegal("deadline_unread"));
        }
        self.signal = Some(Signal::BadAnswer(why.clone()));
        self.say_unanswered("a poll", &why);
        self.wake_after_bad_answer();
        if self.attempt.as_ref().is_none_or(|attempt| attempt.bad_answers < K_IN_A_ROW) {
            return Ok(self.note());
        }
        let limit = self.task.time_limit_s;
        self.hold(format!(
            "the time limit of {limit} s has passed, and what the generator says of the job cannot be read: {why}"
        ))
    }

    /// That nobody answers is no fault of the task, and says nothing of its job: the job gets a fresh limit for nothing. That has
    /// the bound of everything that costs nothing; beyond it, it is as if the job were alive.
    pub(super) fn deadline_unanswered(mut self, why: String) -> Result<Change, Refusal> {
        let is_waited_for = self.wants_its_job() && self.attempt_state() == Some(AttemptState::Accepted);
        if !is_waited_for || !self.is_past_deadline() {
            return Err(self.illegal("deadline_unanswered"));
        }
        if !self.has_extension_left() {
            return self.deadline_reached(false);
        }
        let limit = self.task.time_limit_s;
        let deadline = self.context.now.deadline_in(Duration::from_secs(u64::from(limit)));
        self.attempt_mut("deadline_unanswered")?.deadline = Some(deadline);
        self.count_extension();
        self.wake_after_bad_answer();
        self.task.reason = Some(format!(
            "the time limit of {limit} s has passed while the generator did not answer ({why}): the job gets a fresh limit, \
             with nothing spent"
        ));
        self.signal = Some(Signal::VerbUnavailable(why));
        Ok(self.note())
    }

    pub(super) fn watch_ended(mut self) -> Result<Change, Refusal> {
        if !self.task.state.is_final() || self.task.wake_at.is_none() {
            return Err(self.illegal("watch_ended"));
        }
        self.task.wake_at = None;
        Ok(self.note())
    }
}
