//! What persons decide: cancel, retry, settle, correct, change. Each is a named move and names its author.

use super::super::ids::AttemptKey;
use super::super::record::{Attempt, DELAYED};
use super::super::state::{AttemptState, TaskMove, TaskState};
use super::super::time::in_words;
use super::{Change, CorrectedState, Draft, NotBefore, Refusal, Settlement};

impl Draft<'_> {
    pub(super) fn is_job_maybe_alive(&self) -> bool {
        self.attempt_state().is_some_and(AttemptState::may_be_alive)
    }

    pub(super) fn refuse_live_job(&self) -> Result<(), Refusal> {
        match (&self.attempt, self.is_job_maybe_alive()) {
            (Some(attempt), true) => Err(Refusal::JobMayBeAlive { attempt: attempt.number }),
            _ => Ok(()),
        }
    }

    pub(super) fn cancel_requested(mut self) -> Result<Change, Refusal> {
        match self.task.state {
            state if state == TaskState::Pending || (state == TaskState::Held && !self.is_job_maybe_alive()) => {
                // Why it waited is over.
                self.task.reason = None;
                self.moved(TaskMove::Cancelled, None)
            }
            // Asked twice is asked once.
            TaskState::Cancelling => Ok(self.note()),
            TaskState::Pending
            | TaskState::Submitting
            | TaskState::Submitted
            | TaskState::Processing
            | TaskState::Held
            | TaskState::Completed
            | TaskState::Failed
            | TaskState::Timeout
            | TaskState::Cancelled => {
                self.move_task(TaskMove::CancelRequested)?;
                self.task.reason = Some("waits for the proof that the generator's job has ended".into());
                // A submit in flight ends first; its answer wakes the task.
                if self.attempt_state() != Some(AttemptState::Intended) {
                    self.wake_now();
                }
                Ok(self.finish(TaskMove::CancelRequested, None))
            }
        }
    }

    pub(super) fn retry_requested(mut self, reset_count: bool, abandon: Option<String>) -> Result<Change, Refusal> {
        // The state is judged first: a running task is the wrong state, whatever its job does.
        self.task.state.after(TaskMove::RetryRequested)?;
        // Whoever may start a task again need not be who may say that nothing was made of it: that is a release.
        if self.is_restored() && !self.context.policy.is_free_to_repeat {
            return Err(Refusal::RestoredSince);
        }
        match &abandon {
            Some(reason) if self.is_job_maybe_alive() => {
                self.move_attempt(AttemptState::EndedAbandoned, Some(reason))?;
            }
            Some(_) | None => self.refuse_live_job()?,
        }
        self.forget_free_ends();
        let event = if reset_count { TaskMove::RetriesReset } else { TaskMove::RetryRequested };
        if reset_count {
            self.task.retry_count = 0;
        } else if self.task.retry_count >= self.task.max_retries {
            return Err(Refusal::RetriesSpent {
                retry_count: self.task.retry_count,
                max_retries: self.task.max_retries,
            });
        } else {
            self.task.retry_count += 1;
        }
        self.task.error = None;
        self.move_task(event)?;
        self.task.reason = self.task.wake_at.map(|_| DELAYED.to_owned());
        Ok(self.finish(event, abandon))
    }

    pub(super) fn settled(mut self, settlement: Settlement) -> Result<Change, Refusal> {
        match settlement {
            Settlement::Adopt { reference, key } => self.settle_adopted(reference, key),
            Settlement::Absent => {
                self.task.state.after(TaskMove::SettledAbsent)?;
                let why = "a person says that the generator has no job of it";
                if self.is_job_maybe_alive() {
                    self.move_attempt(AttemptState::EndedAbandoned, Some(why))?;
                }
                self.forget_free_ends();
                self.task.reason = None;
                self.task.error = None;
                self.moved(TaskMove::SettledAbsent, Some(why.into()))
            }
            Settlement::Released => self.released(),
            Settlement::Fail { reason } => {
                self.move_task(TaskMove::SettledFailed)?;
                self.task.error = Some(reason.clone());
                self.task.reason = None;
                // What was paid for may still come, and is then taken.
                self.watch_late();
                Ok(self.finish(TaskMove::SettledFailed, Some(reason)))
            }
        }
    }

    fn settle_adopted(mut self, reference: String, key: AttemptKey) -> Result<Change, Refusal> {
        self.task.state.after(TaskMove::SettledAdopted)?;
        if let Some(owner) = self.context.owner {
            return Err(Refusal::JobOfAnother { reference, owner: owner.clone() });
        }
        let why = format!("a person names {reference} as its job");
        // A blocking run is found by its key and by nothing else: who names a run names that.
        let key = if self.context.policy.is_blocking { AttemptKey(reference.clone()) } else { key };
        let is_known_run = self.attempt.as_ref().is_some_and(|attempt| attempt.key == key);
        if self.context.policy.is_blocking && !is_known_run {
            self.refuse_live_job()?;
        }
        if is_known_run && !self.is_job_maybe_alive() {
            return Err(self.illegal("settled_adopted"));
        }
        if !self.is_job_maybe_alive() {
            // The attempt has ended and is never reused: the job gets a row of its own.
            self.task.attempt = self.task.attempt.saturating_add(1);
            self.attempt = Some(Attempt::intended(self.task.id.clone(), self.task.attempt, key, self.now()));
        }
        self.accept(reference)?;
        let deadline = self.context.now.deadline_in(std::time::Duration::from_secs(self.task.time_limit_s.into()));
        let attempt = self.attempt_mut("settled_adopted")?;
        attempt.deadline = Some(deadline);
        // Nobody says that the job was made under this key: sent again, the key could make a second job.
        attempt.sends = 0;
        attempt.is_ready = false;
        attempt.bad_fetches = 0;
        attempt.watch_until = None;
        self.forget_free_ends();
        self.task.reason = None;
        self.task.error = None;
        self.move_task(TaskMove::SettledAdopted)?;
        self.wake_now();
        Ok(self.finish(TaskMove::SettledAdopted, Some(why)))
    }

    pub(super) fn corrected(mut self, to: CorrectedState, reason: String, abandon: bool) -> Result<Change, Refusal> {
        let event = match to {
            CorrectedState::Pending => TaskMove::CorrectedPending,
            CorrectedState::Failed => TaskMove::CorrectedFailed,
            CorrectedState::Timeout => TaskMove::CorrectedTimeout,
            CorrectedState::Cancelled => TaskMove::CorrectedCancelled,
        };
        self.task.state.after(event)?;
        if self.attempt_state() == Some(AttemptState::Intended) {
            return Err(Refusal::CallInFlight);
        }
        if abandon && self.is_job_maybe_alive() {
            self.move_attempt(AttemptState::EndedAbandoned, Some(&reason))?;
        }
        self.refuse_live_job()?;
        self.forget_free_ends();
        self.task.error = (to != CorrectedState::Pending).then(|| reason.clone());
        self.task.reason = None;
        self.moved(event, Some(reason))
    }

    pub(super) fn poll_requested(mut self) -> Result<Change, Refusal> {
        match self.task.state {
            TaskState::Held => {
                self.task.state.after(TaskMove::RefetchRequested)?;
                let has_job = self.attempt_state() == Some(AttemptState::Accepted);
                if !has_job {
                    return Err(self.illegal("poll"));
                }
                self.attempt_mut("poll")?.bad_fetches = 0;
                Ok(self.finish(TaskMove::RefetchRequested, None))
            }
            TaskState::Submitting | TaskState::Submitted | TaskState::Processing | TaskState::Cancelling => {
                // A call in flight keeps its owner.
                if self.attempt_state() != Some(AttemptState::Intended) {
                    self.wake_now();
                }
                Ok(self.note())
            }
            TaskState::Failed | TaskState::Timeout | TaskState::Cancelled => {
                if !self.is_job_maybe_alive() {
                    return Err(self.illegal("poll"));
                }
                self.watch_once_more();
                self.wake_now();
                Ok(self.note())
            }
            TaskState::Pending | TaskState::Completed => Err(self.illegal("poll")),
        }
    }

    pub(super) fn changed(mut self, priority: Option<u8>, not_before: Option<NotBefore>) -> Result<Change, Refusal> {
        let mut whys = Vec::new();
        self.task.state.after(TaskMove::Changed)?;
        if let Some(priority) = priority {
            whys.push(format!("priority {} → {priority}", self.task.priority));
            self.task.priority = priority;
        }
        let (wake_at, progress) = (self.task.wake_at, self.task.progress.clone());
        // The wake time is kept: changing a task does not shorten its back-off, nor does one delay that hid it and then another.
        let is_hidden = wake_at.is_some() && wake_at == self.task.not_before;
        let backed_off_until = if is_hidden { self.back_off_behind_delay() } else { wake_at };
        let mut reason = self.task.reason.clone();
        self.move_task(TaskMove::Changed)?;
        self.task.wake_at = wake_at;
        if let Some(not_before) = not_before {
            let (now, is_pending) = (self.now(), self.task.state == TaskState::Pending);
            let is_backed_off = is_pending && backed_off_until.is_some_and(|at| at > now);
            let at = match not_before {
                NotBefore::Now => None,
                NotBefore::At(at) => Some(at),
            };
            whys.push(match at {
                Some(at) => format!("delayed for {}", in_words(at.since(now).as_secs())),
                None if is_backed_off => "its back-off is ended".to_owned(),
                None => "not delayed any more".to_owned(),
            });
            self.task.not_before = at;
            match at {
                // A person says now, and knows more than the back-off does.
                None if is_pending => (self.task.wake_at, reason) = (None, None),
                Some(at) if is_pending => {
                    self.task.wake_at = backed_off_until.max(Some(at).filter(|at| *at > now));
                    if self.task.wake_at == Some(at) {
                        reason = Some(DELAYED.to_owned());
                    } else if is_hidden {
                        reason = Some("waits before it is tried again".to_owned());
                    }
                }
                Some(_) | None => {}
            }
        }
        self.task.reason = reason;
        self.task.progress = progress;
        Ok(self.finish(TaskMove::Changed, Some(whys.join(", "))))
    }
}
