//! What is to be done next for a task that is due: the plan that the poller carries out.
//!
//! Pure, and made from the rows alone. That is why recovery is not a special case: after a restart the same
//! function says how to go on with whatever was under way.

use super::apply::are_resends_spent;
use super::outcome::K_IN_A_ROW;
use super::policy::Policy;
use super::record::{Attempt, Task};
use super::state::{AttemptState, TaskState};
use super::time::Now;

/// One thing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing: a worker, a person or nobody is to act.
    None,
    /// The call's owner is gone: the outcome is in doubt.
    ReportLostCall,
    /// Look at the run's lock and files.
    LookAtRun,
    /// See whether a process of the submit is left, then look for the job.
    Find,
    /// See whether a process of the submit is left, then submit the same key again.
    Resend,
    /// See whether a process of the submit is left; when none is, a person must decide.
    GiveUpDoubt,
    /// Ask about it, together with others.
    Poll,
    /// Ask about it by name.
    PollOne,
    /// Get the piece.
    Fetch,
    /// Ask for its end, and then about it by name, to see whether the end came.
    Cancel,
    /// The time limit has passed: ask once more (by name), and unless that ended the job or showed its piece, cancel it and
    /// say what that proves. A job that is missing has no proved end.
    Expire,
    /// It has been looked at for long enough.
    EndWatch,
}

/// The next step of a task whose wake time has come.
pub fn next_step(task: &Task, attempt: Option<&Attempt>, policy: &Policy, now: &Now) -> Step {
    let Some(attempt) = attempt else { return Step::None };
    match task.state {
        TaskState::Pending | TaskState::Held | TaskState::Completed => Step::None,
        TaskState::Failed | TaskState::Timeout | TaskState::Cancelled => late_step(attempt, policy, now),
        TaskState::Submitting | TaskState::Submitted | TaskState::Processing => active_step(task, attempt, policy, now),
        TaskState::Cancelling => cancelling_step(attempt, policy, now),
    }
}

fn intended_step(policy: &Policy) -> Step {
    if policy.is_blocking { Step::LookAtRun } else { Step::ReportLostCall }
}

fn doubt_step(task: &Task, attempt: &Attempt, policy: &Policy, now: &Now) -> Step {
    // A restored task may have got another job since the backup: sending its old key could make a second one.
    if policy.is_idempotent && task.restored_at.is_none() {
        resend_step(task, attempt, now)
    } else if policy.can_find {
        Step::Find
    } else {
        Step::GiveUpDoubt
    }
}

/// The bound holds across restarts too: a daemon that dies in every repetition does not repeat for ever.
fn resend_step(task: &Task, attempt: &Attempt, now: &Now) -> Step {
    if are_resends_spent(task, attempt, now.utc) { Step::GiveUpDoubt } else { Step::Resend }
}

fn has_expired(attempt: &Attempt, now: &Now) -> bool {
    attempt.deadline.as_ref().is_some_and(|deadline| deadline.has_passed(now))
}

/// How the job is asked about: by name once it is missing, otherwise with the others.
fn ask(attempt: &Attempt, policy: &Policy) -> Step {
    if policy.is_blocking {
        Step::LookAtRun
    } else if attempt.missing >= K_IN_A_ROW && policy.can_poll_one {
        Step::PollOne
    } else {
        Step::Poll
    }
}

fn active_step(task: &Task, attempt: &Attempt, policy: &Policy, now: &Now) -> Step {
    match attempt.state {
        AttemptState::Intended => intended_step(policy),
        AttemptState::Unknown => doubt_step(task, attempt, policy, now),
        AttemptState::Accepted if attempt.is_ready && !policy.is_blocking => Step::Fetch,
        AttemptState::Accepted if has_expired(attempt, now) => Step::Expire,
        AttemptState::Accepted if attempt.is_resend_due => resend_step(task, attempt, now),
        AttemptState::Accepted => ask(attempt, policy),
        _ => Step::None,
    }
}

fn cancelling_step(attempt: &Attempt, policy: &Policy, now: &Now) -> Step {
    match attempt.state {
        AttemptState::Intended => intended_step(policy),
        // A run that never said that it started: its `cancel` file is what ends it, however old it is.
        AttemptState::Unknown if policy.is_blocking && policy.can_cancel => Step::Cancel,
        // Sending the key again could make the very job that nobody wants; a known reference can be cancelled.
        AttemptState::Unknown
            if policy.is_ref_our_key && policy.can_cancel && now_within_find_limit(attempt, policy, now) =>
        {
            Step::Cancel
        }
        AttemptState::Unknown if policy.can_find => Step::Find,
        AttemptState::Unknown => Step::GiveUpDoubt,
        // A piece that is there is fetched even after the deadline, but a cancel does not wait for a generator that is gone.
        AttemptState::Accepted
            if attempt.is_ready && !policy.is_blocking && (attempt.bad_answers == 0 || !has_expired(attempt, now)) =>
        {
            Step::Fetch
        }
        AttemptState::Accepted if has_expired(attempt, now) => Step::Expire,
        AttemptState::Accepted if policy.can_cancel && !attempt.is_cancel_refused => Step::Cancel,
        AttemptState::Accepted => ask(attempt, policy),
        _ => Step::None,
    }
}

fn now_within_find_limit(attempt: &Attempt, policy: &Policy, now: &Now) -> bool {
    now.utc.since(attempt.intended_at) < policy.find_limit
}

fn late_step(attempt: &Attempt, policy: &Policy, now: &Now) -> Step {
    if attempt.watch_until.is_none_or(|until| now.utc >= until) {
        return Step::EndWatch;
    }
    match attempt.state {
        AttemptState::Accepted if attempt.is_ready && !policy.is_blocking => Step::Fetch,
        AttemptState::Accepted => ask(attempt, policy),
        AttemptState::Unknown if policy.is_ref_our_key && !policy.is_blocking => ask(attempt, policy),
        AttemptState::Unknown if policy.can_find => Step::Find,
        _ => Step::EndWatch,
    }
}
