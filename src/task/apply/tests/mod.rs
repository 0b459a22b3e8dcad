//! The judge of every event, held against what is promised of it.
//!
//! - [`rows`]: every row of the table verb × outcome, in every state that it can meet
//! - [`matrix`]: every state, every attempt, every event: no panic, no broken promise, no dead end
//! - [`ends`]: which ends without a piece the breaker hears of
//! - [`counts`]: what an outage costs, and what it does not cost afterwards
//! - [`random`]: long random histories, and the audit trail that rebuilds them
//! - [`liveness`]: a task with a bad generator on virtual time, until it ends or a person must decide
//!
//! - [`steps`]: what comes next, state by state, and the rules about time
//!
//! [`check`] is the list of promises; all of them go through it.

mod counts;
mod delays;
mod ends;
mod lies;
mod liveness;
mod matrix;
mod random;
mod restored;
mod rows;
mod steps;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::task::outcome::{Image, JobState};
use crate::task::policy::{FREE_ENDS, LATE_INTERVAL, LATE_WATCH};
use crate::task::retry::{Backoff, PollSchedule};
use crate::task::state::is_consistent;
use crate::task::time::BootId;
use crate::task::{AccountId, TaskId};

pub(super) const START: i64 = 1_700_000_000_000;

/// A reading of both clocks, `ms` after the start of the story.
pub(super) fn now_at(ms: i64) -> Now {
    Now { utc: Timestamp(START + ms), boot_id: BootId("boot".into()), boot_ms: 5_000 + ms }
}

/// The real generator's kind: no idempotency, a find, a cancel, a batch poll with a poll_one.
pub(super) fn policy() -> Policy {
    Policy {
        is_idempotent: false,
        is_ref_our_key: false,
        is_blocking: false,
        is_free_to_repeat: false,
        can_find: true,
        can_cancel: true,
        can_poll_one: true,
        retry: Backoff { initial: Duration::from_secs(30), factor: 2.0, max: Duration::from_secs(600), jitter: 0.2 },
        polls: PollSchedule { interval: Duration::from_secs(30), learned: None, is_batch: true },
        settle: Duration::from_secs(60),
        find_limit: Duration::from_secs(15 * 60),
        submit_limit: Duration::from_secs(35),
        dead_when: None,
    }
}

/// A generator written for contentd: our key is its reference, and the same key is the same job.
pub(super) fn idempotent() -> Policy {
    Policy { is_idempotent: true, is_ref_our_key: true, can_find: false, can_poll_one: false, ..policy() }
}

/// A blocking command.
pub(super) fn blocking() -> Policy {
    Policy { is_blocking: true, can_find: false, can_poll_one: false, ..policy() }
}

pub(super) fn key(n: u32) -> AttemptKey {
    AttemptKey(format!("{n:032x}"))
}

pub(super) fn fresh_task() -> Task {
    Task {
        id: TaskId("task-000000000001".into()),
        seq: 1,
        account_id: AccountId(1),
        topic: "tea".into(),
        keywords: vec![],
        category: None,
        requirements: None,
        tone: None,
        priority: 5,
        auto_approve: true,
        generator: "g".into(),
        state: TaskState::Pending,
        attempt: 0,
        retry_count: 0,
        max_retries: 3,
        time_limit_s: 1_800,
        progress: None,
        reason: None,
        error: None,
        content_id: None,
        key: None,
        submitted_by: "0:root".into(),
        rewrites: None,
        created_at: Timestamp(START),
        queued_at: Timestamp(START),
        submitted_at: None,
        started_at: None,
        completed_at: None,
        wake_at: None,
        updated_at: Timestamp(START),
        restored_at: None,
        not_before: None,
    }
}

pub(super) fn piece() -> Box<Piece> {
    Box::new(Piece { content: "A cup.".into(), html: None, images: vec![Image::bare("a.png")], score: Some(8.0) })
}

pub(super) fn poll_state(state: JobState) -> PollAnswer {
    PollAnswer::State {
        state,
        theirs: state.as_str().to_owned(),
        error: None,
        progress: Some("1/2".into()),
        vars: BTreeMap::new(),
    }
}

/// A task with its attempt as a story would have left them, `START` being the time of the attempt's intent.
/// None where no story ends so.
pub(super) fn rows_in(state: TaskState, attempt: Option<AttemptState>) -> Option<(Task, Option<Attempt>)> {
    if !is_consistent(state, attempt) || !is_call_owned(state, attempt) {
        return None;
    }
    let now = now_at(0);
    let mut task = fresh_task();
    task.state = state;
    task.attempt = u32::from(attempt.is_some());
    if state.is_final() {
        task.completed_at = Some(now.utc);
    }
    if state.is_active() {
        task.wake_at = Some(now.utc);
    }
    let attempt = attempt.map(|attempt_state| {
        let mut attempt = Attempt::intended(task.id.clone(), 1, key(1), now.utc);
        attempt.state = attempt_state;
        if attempt_state == AttemptState::Accepted {
            attempt.external_ref = Some("theirs-1".into());
            attempt.accepted_at = Some(now.utc);
            attempt.deadline = Some(now.deadline_in(Duration::from_secs(1_800)));
            task.submitted_at = Some(now.utc);
        }
        if !attempt_state.may_be_alive() {
            attempt.ended_at = Some(now.utc);
        } else if state.is_final() {
            attempt.watch_until = Some(now.utc.plus(LATE_WATCH));
            task.wake_at = Some(now.utc);
        }
        attempt
    });
    if state == TaskState::Pending {
        task.submitted_at = None;
    }
    Some((task, attempt))
}

/// A call in flight belongs to a task that waits for it: nothing is decided over its head.
fn is_call_owned(state: TaskState, attempt: Option<AttemptState>) -> bool {
    attempt != Some(AttemptState::Intended) || matches!(state, TaskState::Submitting | TaskState::Cancelling)
}

/// A task at one moment, and the means to go on.
#[derive(Clone, Debug)]
pub(super) struct Story {
    pub(super) task: Task,
    pub(super) attempt: Option<Attempt>,
    pub(super) policy: Policy,
    pub(super) now_ms: i64,
    pub(super) draw: f64,
    pub(super) is_outage: bool,
    /// The other task whose job the events name.
    pub(super) owner: Option<TaskId>,
    pub(super) audit: Vec<AuditRow>,
    pub(super) last: Option<Change>,
}

impl Story {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            task: fresh_task(),
            attempt: None,
            policy,
            now_ms: 0,
            draw: 0.5,
            is_outage: false,
            owner: None,
            audit: vec![],
            last: None,
        }
    }

    pub(super) fn at(policy: Policy, state: TaskState, attempt: AttemptState) -> Self {
        let (task, attempt) = rows_in(state, Some(attempt)).expect("the test names a pair that can be");
        Self { task, attempt, ..Self::new(policy) }
    }

    /// The jobs of other tasks have failed in a row.
    pub(super) fn in_outage(self) -> Self {
        Self { is_outage: true, ..self }
    }

    /// What the events name is the job of this task.
    pub(super) fn naming_job_of(self, owner: &str) -> Self {
        Self { owner: Some(TaskId(owner.into())), ..self }
    }

    pub(super) fn now(&self) -> Now {
        now_at(self.now_ms)
    }

    pub(super) fn later(mut self, span: Duration) -> Self {
        self.now_ms += i64::try_from(span.as_millis()).expect("short");
        self
    }

    /// Judges an event, checks every promise, and goes on from there.
    pub(super) fn tell(&mut self, event: Event) -> Result<(), Refusal> {
        let now = self.now();
        let context = Context {
            now: &now,
            policy: &self.policy,
            draw: self.draw,
            who: CONTENTD,
            is_late_piece_wanted: false,
            is_outage: self.is_outage,
            owner: self.owner.as_ref(),
        };
        let change = apply(&self.task, self.attempt.as_ref(), event.clone(), &context)?;
        if let Err(broken) = check(&self.task, self.attempt.as_ref(), &event, &change, &now) {
            panic!("{broken}\nevent {event:?}\nbefore {:?}\n{:?}\nafter {change:?}", self.task, self.attempt);
        }
        self.task = change.task.clone();
        self.attempt = change.attempt.clone();
        self.audit.extend(change.audit.clone());
        self.last = Some(change);
        Ok(())
    }

    /// As [`Story::tell`], where the event must fit.
    pub(super) fn so(mut self, event: Event) -> Self {
        if let Err(refusal) = self.tell(event.clone()) {
            panic!("{event:?} was refused: {refusal}\n{:?}\n{:?}", self.task, self.attempt);
        }
        self
    }

    pub(super) fn state(&self) -> (TaskState, Option<AttemptState>) {
        (self.task.state, self.attempt.as_ref().map(|attempt| attempt.state))
    }

    pub(super) fn attempt_mut(&mut self) -> &mut Attempt {
        self.attempt.as_mut().expect("the story has an attempt")
    }
}

macro_rules! promise {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err(format!($($text)+));
        }
    };
}

/// Every promise that each single change keeps.
pub(super) fn check(
    task: &Task,
    attempt: Option<&Attempt>,
    event: &Event,
    change: &Change,
    now: &Now,
) -> Result<(), String> {
    let after = &change.task;
    let live = change.attempt.as_ref().is_some_and(|attempt| attempt.state.may_be_alive());
    let attempt_state = change.attempt.as_ref().map(|attempt| attempt.state);
    promise!(is_consistent(after.state, attempt_state), "{} with {attempt_state:?}", after.state);
    promise!(is_call_owned(after.state, attempt_state), "{} over the head of a call in flight", after.state);
    check_moves(task, attempt, change)?;
    check_retries(task, event, after)?;

    let is_owned = if after.state.is_active() {
        after.wake_at.is_some()
    } else if after.state.is_final() {
        after.wake_at.is_none()
            || (live && change.attempt.as_ref().is_some_and(|attempt| attempt.watch_until.is_some()))
    } else if after.state == TaskState::Held {
        after.wake_at.is_none()
    } else {
        after.wake_at.is_none_or(|at| at >= now.utc || task.wake_at == Some(at))
    };
    promise!(is_owned, "{} wakes at {:?}", after.state, after.wake_at);

    let completes = matches!(change.piece, Some((_, PieceFate::Completes | PieceFate::CompletesUnwanted)));
    let becomes_completed = after.state == TaskState::Completed && task.state != TaskState::Completed;
    promise!(completes == becomes_completed, "completed without a piece, or a piece without it");
    promise!(task.state != TaskState::Completed || after.state == TaskState::Completed, "completed was left");
    promise!(after.state.is_final() == after.completed_at.is_some(), "completed_at {:?}", after.completed_at);
    if matches!(after.state, TaskState::Submitted | TaskState::Processing) {
        let attempt = change.attempt.as_ref().ok_or("no attempt")?;
        promise!(attempt.external_ref.is_some() && attempt.deadline.is_some(), "accepted without reference or limit");
        promise!(after.submitted_at.is_some(), "no submitted_at");
    }
    promise!(after.state != TaskState::Pending || after.submitted_at.is_none(), "pending keeps submitted_at");
    Ok(())
}

fn check_moves(task: &Task, attempt: Option<&Attempt>, change: &Change) -> Result<(), String> {
    let after = &change.task;
    let before = attempt.map(|attempt| (attempt.number, attempt.state));
    let now_at = change.attempt.as_ref().map(|attempt| (attempt.number, attempt.state));
    match &change.audit {
        Some(row) => {
            let event: TaskMove = row.event.parse().map_err(|error| format!("{error}"))?;
            promise!(task.state.target(event) == Some(after.state), "{} -{event}-> {}", task.state, after.state);
            promise!(
                row.from_state == Some(task.state) && row.to_state == after.state,
                "the audit row tells another move"
            );
            promise!(row.attempt == after.attempt, "the audit row names attempt {}", row.attempt);
        }
        None => {
            promise!(task.state == after.state, "{} became {} without an audit row", task.state, after.state);
            promise!(before == now_at, "the attempt went from {before:?} to {now_at:?} without an audit row");
        }
    }
    match (attempt, &change.attempt) {
        (None, None) => {}
        (Some(_), None) => return Err("the attempt vanished".into()),
        (None, Some(new)) => promise!(new.number == 1, "the first attempt is number {}", new.number),
        (Some(old), Some(new)) if old.number == new.number => {
            promise!(old.key == new.key, "the key changed");
            promise!(old.state == new.state || old.state.may_become(new.state), "{} became {}", old.state, new.state);
        }
        (Some(old), Some(new)) => {
            promise!(new.number == old.number + 1, "attempt {} follows {}", new.number, old.number);
            promise!(!old.state.may_be_alive(), "a second live attempt");
            promise!(old.key != new.key, "a new attempt has the old key");
        }
    }
    promise!(after.attempt == change.attempt.as_ref().map_or(0, |attempt| attempt.number), "the task's attempt number");
    Ok(())
}

fn check_retries(task: &Task, event: &Event, after: &Task) -> Result<(), String> {
    let is_reset = matches!(event, Event::RetryRequested { reset_count: true, .. });
    let spent = i64::from(after.retry_count) - i64::from(task.retry_count);
    promise!((0..=1).contains(&spent) || (is_reset && after.retry_count == 0), "{spent} retries were spent at once");
    promise!(after.retry_count <= after.max_retries, "{} of {} retries", after.retry_count, after.max_retries);
    Ok(())
}
