//! What happens: `(task, attempt, event) → Change | Refusal`, for every actor and every store alike.
//!
//! This is where the table verb × outcome is carried out. It is pure: the store calls it inside its transaction
//! on the rows as they are, so there is no moment between judging a row and writing it. It never panics; an event
//! that does not fit is a [`Refusal`], which is an answer and changes nothing.
//!
//! - `ends`: what follows on an end without a piece
//! - `submit`: what a submit, a search and a repeated submit came to
//! - `run`: what a blocking run came to
//! - `watch`: polls, fetches, cancels, deadlines
//! - `people`: what persons decide
//! - `restored`: what a restore from a backup makes of a task
//! - `wakes`: when a task wakes next
//! - `ways_out`: what a person can do with a held task

mod ends;
mod people;
mod restored;
mod run;
mod submit;
mod wakes;
mod watch;
mod ways_out;

pub use submit::are_resends_spent;
pub use ways_out::{WayOut, ways_out};

#[cfg(test)]
mod tests;

use std::time::Duration;

use thiserror::Error;

use super::breaker::Signal;
use super::ids::{AttemptKey, TaskId};
use super::outcome::{CancelAnswer, FetchAnswer, FindAnswer, Piece, PollAnswer, RunReport, SubmitAnswer};
use super::policy::Policy;
use super::record::{Attempt, AuditRow, Task};
use super::state::{AttemptState, IllegalMove, TaskMove, TaskState};
use super::time::{Now, Timestamp};

/// Something that happened to a task. Each is carried by a message before it comes here.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A worker takes it: an attempt with this key is intended.
    Claimed {
        /// Fresh randomness.
        key: AttemptKey,
    },
    /// A submit call ended.
    SubmitAnswered(SubmitAnswer),
    /// A submit call has no owner any more: the daemon died, or its worker did.
    CallLost(String),
    /// The lock of the submit's processes was looked at.
    LockSeen {
        /// Nobody holds it.
        is_free: bool,
    },
    /// The same key goes out again; committed before the call.
    ResendBegun,
    /// There is no way to clear the doubt by machine.
    DoubtStands(String),
    /// A search ended.
    FindAnswered {
        /// What it came to.
        answer: FindAnswer,
        /// When the search began: only one that began after the settling time proves an absence.
        began_at: Timestamp,
    },
    /// A blocking run was looked at.
    RunReported(RunReport),
    /// A poll ended.
    PollAnswered(PollAnswer),
    /// A fetch ended.
    FetchAnswered(FetchAnswer),
    /// A piece came, and the database refused to take it.
    PieceNotStored(String),
    /// A cancel ended.
    CancelAnswered(CancelAnswer),
    /// The time limit has passed, and the generator was asked once more and told to cancel.
    DeadlineReached {
        /// Whether that proved the job's end.
        is_end_proved: bool,
    },
    /// The time limit has passed, and what the generator says of the job cannot be read: nobody knows whether it is finished.
    DeadlineUnread(String),
    /// The time limit has passed, and the generator does not answer: nobody knows whether the job is finished.
    DeadlineUnanswered(String),
    /// The time for which a job that outlived its task is looked at has passed.
    WatchEnded,
    /// A person wants the end.
    CancelRequested,
    /// A person starts a final task again.
    RetryRequested {
        /// Count from 0 again.
        reset_count: bool,
        /// Give up a job that may be alive, for this reason.
        abandon: Option<String>,
    },
    /// A person decides a held task.
    Settled(Settlement),
    /// A person corrects the state.
    Corrected {
        /// To which.
        to: CorrectedState,
        /// Why.
        reason: String,
        /// Give up a job that may be alive.
        abandon: bool,
    },
    /// A person wants a look now.
    PollRequested,
    /// A person changes a waiting task.
    Changed {
        /// The new priority, if any.
        priority: Option<u8>,
        /// From when on it may begin, if that is to change.
        not_before: Option<NotBefore>,
    },
    /// The database was restored from a backup, and what came of the task since is not known.
    Restored {
        /// When the restore was made; the same for every task of it.
        at: Timestamp,
    },
    /// After a restore, a run of the task was found under a key that the backup does not know.
    RunFound {
        /// The run's key.
        key: AttemptKey,
    },
}

/// When a delayed task may begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotBefore {
    /// At once.
    Now,
    /// At this time.
    At(Timestamp),
}

impl Event {
    /// The job at the generator that the event makes the task's, and the states of another task's attempt that forbid it.
    ///
    /// A generator that names the same job twice has broken its contract, however the first one ended; only of what was given
    /// up or never taken nothing is left to hold. A person may know better, and is refused only where the job is alive or its
    /// piece was taken. A run is named by its key, which is random and never told.
    pub fn names_job(&self) -> Option<(&str, &'static [AttemptState])> {
        use AttemptState::{Accepted, EndedCancelled, EndedCompleted, EndedFailed, EndedLost, Intended, Unknown};
        const KEPT: &[AttemptState] =
            &[Intended, Accepted, Unknown, EndedCompleted, EndedFailed, EndedCancelled, EndedLost];
        const IN_USE: &[AttemptState] = &[Intended, Accepted, Unknown, EndedCompleted];
        match self {
            Self::SubmitAnswered(SubmitAnswer::Accepted { reference, .. })
            | Self::FindAnswered { answer: FindAnswer::One { reference }, .. } => Some((reference, KEPT)),
            Self::Settled(Settlement::Adopt { reference, .. }) => Some((reference, IN_USE)),
            _ => None,
        }
    }
}

/// What a person says of a held task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Settlement {
    /// This is its job.
    Adopt {
        /// The reference at the generator.
        reference: String,
        /// A fresh key, used where the current attempt has ended and a new one must stand for the job.
        key: AttemptKey,
    },
    /// There is no job.
    Absent,
    /// Nothing was made of it between a backup and its restore. Refused where a job that is known may be alive.
    Released,
    /// It is given up.
    Fail {
        /// Why.
        reason: String,
    },
}

/// The states that a correction may set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CorrectedState {
    /// Waiting again.
    Pending,
    /// Failed.
    Failed,
    /// Past its time.
    Timeout,
    /// Cancelled.
    Cancelled,
}

/// What the core is told of the world.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// Both clocks.
    pub now: &'a Now,
    /// The generator of the task.
    pub policy: &'a Policy,
    /// A number in 0..1.
    pub draw: f64,
    /// Who does it: [`CONTENTD`] or a person.
    pub who: &'a str,
    /// Whether a piece of a cancelled task completes it, because a person asked for it again.
    pub is_late_piece_wanted: bool,
    /// Whether jobs of so many other tasks have failed in a row that one more says nothing about its own task.
    pub is_outage: bool,
    /// The other task whose job the event names, if it names one: see [`Event::names_job`].
    pub owner: Option<&'a TaskId>,
}

/// The author of what the daemon does by itself.
pub const CONTENTD: &str = "contentd";

/// Why an event does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The table has no such move. From an actor this is a late message: it is dropped.
    #[error(transparent)]
    Illegal(#[from] IllegalMove),
    /// A job may be alive; a second one would be paid for.
    #[error("a job of this task may still be alive at the generator (attempt {attempt})")]
    JobMayBeAlive {
        /// Which attempt.
        attempt: u32,
    },
    /// A call is in flight; its outcome must be known first.
    #[error("a call to the generator is under way; its outcome must be known first")]
    CallInFlight,
    /// It was restored from a backup, and may have been started again since.
    #[error("the database was restored from a backup, and nobody here knows whether a job was made of this task since")]
    RestoredSince,
    /// The job is another task's: one job brings one piece, and who cancels one task must not end the other's.
    #[error("{reference:?} is the job of task {owner}")]
    JobOfAnother {
        /// The job.
        reference: String,
        /// Whose it is.
        owner: TaskId,
    },
    /// No retries are left.
    #[error("{retry_count} of {max_retries} retries are spent")]
    RetriesSpent {
        /// Spent.
        retry_count: u32,
        /// Allowed.
        max_retries: u32,
    },
}

/// What becomes of a piece in the transaction of its change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PieceFate {
    /// The task's content record, reviewed by the task's rule.
    Completes,
    /// The task's content record, which a person reviews: the task was to be cancelled, and the cancel came too late.
    CompletesUnwanted,
    /// Kept for review, never pooled by itself.
    KeptLate,
}

/// Everything that one event changes. Written in one transaction or not at all.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// The task after.
    pub task: Task,
    /// The current attempt after, when there is one. A new one has a new number.
    pub attempt: Option<Attempt>,
    /// The audit row; none where nothing moved (a poll that said the same again).
    pub audit: Option<AuditRow>,
    /// The piece to make a content record of.
    pub piece: Option<(Box<Piece>, PieceFate)>,
    /// What the breaker is told.
    pub signal: Option<Signal>,
}

/// Judges an event.
pub fn apply(task: &Task, attempt: Option<&Attempt>, event: Event, context: &Context<'_>) -> Result<Change, Refusal> {
    let draft = Draft::new(task, attempt, context);
    match event {
        Event::Claimed { key } => draft.claimed(key),
        Event::SubmitAnswered(answer) => draft.submit_answered(answer),
        Event::CallLost(why) => draft.submit_answered(SubmitAnswer::Ambiguous(why)),
        Event::LockSeen { is_free } => draft.lock_seen(is_free),
        Event::ResendBegun => draft.resend_begun(),
        Event::DoubtStands(why) => draft.doubt_stands(why),
        Event::FindAnswered { answer, began_at } => draft.find_answered(answer, began_at),
        Event::RunReported(report) => draft.run_reported(report),
        Event::PollAnswered(answer) => draft.poll_answered(answer),
        Event::FetchAnswered(answer) => draft.fetch_answered(answer),
        Event::PieceNotStored(why) => draft.piece_not_stored(why),
        Event::CancelAnswered(answer) => draft.cancel_answered(answer),
        Event::DeadlineReached { is_end_proved } => draft.deadline_reached(is_end_proved),
        Event::DeadlineUnread(why) => draft.deadline_unread(why),
        Event::DeadlineUnanswered(why) => draft.deadline_unanswered(why),
        Event::WatchEnded => draft.watch_ended(),
        Event::CancelRequested => draft.cancel_requested(),
        Event::RetryRequested { reset_count, abandon } => draft.retry_requested(reset_count, abandon),
        Event::Settled(settlement) => draft.settled(settlement),
        Event::Corrected { to, reason, abandon } => draft.corrected(to, reason, abandon),
        Event::PollRequested => draft.poll_requested(),
        Event::Changed { priority, not_before } => draft.changed(priority, not_before),
        Event::Restored { at } => draft.restored(at),
        Event::RunFound { key } => draft.run_found(key),
    }
}

/// A change in the making: the rows before, the rows after, and the world.
struct Draft<'a> {
    context: &'a Context<'a>,
    from: TaskState,
    attempt_from: Option<(u32, AttemptState)>,
    task: Task,
    attempt: Option<Attempt>,
    piece: Option<(Box<Piece>, PieceFate)>,
    signal: Option<Signal>,
}

impl<'a> Draft<'a> {
    fn new(task: &Task, attempt: Option<&Attempt>, context: &'a Context<'a>) -> Self {
        Self {
            context,
            from: task.state,
            attempt_from: attempt.map(|attempt| (attempt.number, attempt.state)),
            task: task.clone(),
            attempt: attempt.cloned(),
            piece: None,
            signal: None,
        }
    }

    fn now(&self) -> Timestamp {
        self.context.now.utc
    }

    fn illegal(&self, event: &'static str) -> Refusal {
        Refusal::Illegal(IllegalMove { from: self.from.as_str(), event })
    }

    /// The current attempt, where the event cannot be meant without one.
    fn attempt_mut(&mut self, event: &'static str) -> Result<&mut Attempt, Refusal> {
        let illegal = self.illegal(event);
        self.attempt.as_mut().ok_or(illegal)
    }

    fn attempt_state(&self) -> Option<AttemptState> {
        self.attempt.as_ref().map(|attempt| attempt.state)
    }

    /// Moves the attempt through its table.
    fn move_attempt(&mut self, to: AttemptState, why: Option<&str>) -> Result<(), Refusal> {
        let now = self.now();
        let attempt = self.attempt_mut(to.as_str())?;
        attempt.state = attempt.state.after(to)?;
        if !to.may_be_alive() {
            attempt.ended_at = Some(now);
            attempt.watch_until = None;
            attempt.is_resend_due = false;
            if let Some(why) = why {
                attempt.error = Some(why.to_owned());
            }
        }
        Ok(())
    }

    /// Moves the task through its table and keeps its timestamps right.
    fn move_task(&mut self, event: TaskMove) -> Result<(), Refusal> {
        let to = self.task.state.after(event)?;
        let now = self.now();
        match to {
            TaskState::Pending => {
                self.task.submitted_at = None;
                self.task.started_at = None;
                self.task.completed_at = None;
                self.task.progress = None;
                // Whoever starts it again does not end the delay that its submitter asked for.
                self.task.wake_at = self.task.not_before.filter(|at| *at > now);
                // From a restored task only an operator's decision comes here, which ends the doubt: `wait_again`, `retry_or` and
                // `retry_requested` see to that.
                self.task.restored_at = None;
            }
            TaskState::Processing => {
                self.task.started_at.get_or_insert(now);
            }
            TaskState::Held => self.task.wake_at = None,
            TaskState::Completed | TaskState::Failed | TaskState::Timeout | TaskState::Cancelled => {
                if !self.task.state.is_final() || to != self.task.state {
                    self.task.completed_at = Some(now);
                }
                self.task.wake_at = None;
            }
            TaskState::Submitting | TaskState::Submitted | TaskState::Cancelling => {}
        }
        self.task.state = to;
        Ok(())
    }

    /// Ends the draft with an audit row of `event`.
    fn finish(mut self, event: TaskMove, why: Option<String>) -> Change {
        let now = self.now();
        self.task.updated_at = now;
        let attempt_now = self.attempt.as_ref().map(|attempt| (attempt.number, attempt.state));
        let number = attempt_now.map_or(0, |(number, _)| number);
        let attempt_from = self.attempt_from.filter(|(before, _)| *before == number).map(|(_, state)| state);
        let audit = AuditRow {
            task_id: self.task.id.clone(),
            at: now,
            event: event.as_str().to_owned(),
            from_state: Some(self.from),
            to_state: self.task.state,
            attempt: number,
            attempt_from,
            attempt_to: attempt_now.map(|(_, state)| state),
            why,
            who: self.context.who.to_owned(),
        };
        Change { task: self.task, attempt: self.attempt, audit: Some(audit), piece: self.piece, signal: self.signal }
    }

    /// Ends the draft without one: counters and wake times changed, no state did.
    fn note(mut self) -> Change {
        self.task.updated_at = self.now();
        Change { task: self.task, attempt: self.attempt, audit: None, piece: self.piece, signal: self.signal }
    }

    /// Moves the task and ends the draft.
    fn moved(mut self, event: TaskMove, why: Option<String>) -> Result<Change, Refusal> {
        self.move_task(event)?;
        Ok(self.finish(event, why))
    }

    /// The generator has the job: the time limit starts.
    fn accept(&mut self, reference: String) -> Result<(), Refusal> {
        let limit = Duration::from_secs(u64::from(self.task.time_limit_s));
        let deadline = self.context.now.deadline_in(limit);
        let now = self.now();
        if self.attempt_state() != Some(AttemptState::Accepted) {
            self.move_attempt(AttemptState::Accepted, None)?;
            let attempt = self.attempt_mut("accepted")?;
            attempt.accepted_at = Some(now);
            attempt.deadline = Some(deadline);
            // That of the doubt is over; this is another limit. And somebody was there.
            (attempt.extensions, attempt.unavailable_submits) = (0, 0);
            self.task.submitted_at = Some(now);
        }
        let attempt = self.attempt_mut("accepted")?;
        attempt.external_ref = Some(reference);
        attempt.bad_answers = 0;
        attempt.missing = 0;
        attempt.is_resend_due = false;
        Ok(())
    }
}
