//! Sees every commit: dies before or after it, refuses it where the disk is full, and holds it against what contentd promises.
//!
//! What is checked here holds after each single commit, whoever made it. The witness reads the rows before and after, so it
//! depends on nothing that the actors believe.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use contentd::store::memory::MemoryDb;
use contentd::store::query::Queries;
use contentd::store::write::{Changed, Write, WriteError, Written};
use contentd::store::{DbError, InlineWriter, Writer};
use contentd::task::apply::CONTENTD;
use contentd::task::outcome::{FetchAnswer, FindAnswer, K_IN_A_ROW, PollAnswer, RunReport, Spends, SubmitAnswer};
use contentd::task::{Attempt, AttemptKey, AttemptState, Event, Policy, Task, TaskState};
use futures_util::future::BoxFuture;

use super::crash::Crash;
use super::rows::{self, Seen, Step};
use super::standing::stands;
use super::universe::Universe;
use super::world::SimEntropy;

/// What one schedule's witness has seen, in all its lives.
#[derive(Default)]
pub struct Report {
    pub seen: Seen,
    pub failures: Vec<String>,
    pub is_disk_trusted: bool,
    keys: BTreeSet<AttemptKey>,
}

/// A writer with a crash point on both sides of each commit, and a witness in between.
#[derive(Clone)]
pub struct Witness {
    pub inner: Arc<InlineWriter>,
    pub db: MemoryDb,
    pub crash: Arc<Crash>,
    pub universe: Universe,
    pub policy: Policy,
    pub entropy: Arc<SimEntropy>,
    pub report: Arc<Mutex<Report>>,
}

impl Writer for Witness {
    fn write(&self, write: Write) -> BoxFuture<'static, Result<Written, WriteError>> {
        let this = self.clone();
        Box::pin(async move {
            this.crash.point("before a commit").await;
            if let Some(error) = this.refuses(&write) {
                return Err(WriteError::Db(error));
            }
            let before = this.before(&write);
            let written = this.inner.write(write).await;
            this.look(before, &written);
            this.crash.point("after a commit").await;
            written
        })
    }
}

/// What stood before a transition.
struct Before {
    event: Event,
    who: String,
    task: Task,
    attempt: Option<Attempt>,
}

impl Witness {
    /// The disk is full now and then. A start on such a disk fails and is tried again, which is another test's.
    fn refuses(&self, write: &Write) -> Option<DbError> {
        let chance = self.universe.manners.disk_full;
        if chance == 0 || !self.report.lock().unwrap().is_disk_trusted || !self.entropy.chance(chance) {
            return None;
        }
        let is_piece = matches!(write, Write::Transition(transition) if has_piece(&transition.event));
        Some(if is_piece && self.entropy.chance(50) {
            DbError::Refused("the piece does not fit".into())
        } else {
            DbError::StorageFull("no space is left".into())
        })
    }

    fn before(&self, write: &Write) -> Option<Before> {
        let Write::Transition(transition) = write else { return None };
        let (task, attempt) = self.db.task(&transition.task_id).unwrap()?;
        Some(Before { event: transition.event.clone(), who: transition.env.who.clone(), task, attempt })
    }

    fn look(&self, before: Option<Before>, written: &Result<Written, WriteError>) {
        let mut failures = self.universe.take_violations();
        let mut report = self.report.lock().unwrap();
        match (before, written) {
            (Some(before), Ok(Written::Changed(changed))) => {
                let step = Step {
                    policy: &self.policy,
                    event: &before.event,
                    task: &before.task,
                    attempt: before.attempt.as_ref(),
                    changed,
                };
                if let Some(case) = step.case() {
                    let cost = changed.change.task.retry_count.cast_signed() - before.task.retry_count.cast_signed();
                    failures.extend(misspent(rows::spends(&case), cost, &before, changed));
                    report.seen.insert(case);
                }
                failures.extend(self.judge(&before, changed));
                self.look_at_key(before.attempt.as_ref(), changed.change.attempt.as_ref(), &mut report, &mut failures);
            }
            (None, Ok(Written::Submitted(submitted))) => {
                for new in submitted.iter().filter(|new| !new.was_known) {
                    failures.extend(stands(&self.db, &new.task, new.attempt.as_ref()));
                    self.look_at_key(None, new.attempt.as_ref(), &mut report, &mut failures);
                }
            }
            _ => {}
        }
        report.failures.append(&mut failures);
    }

    /// A key is made once, for one attempt, and stays with it.
    fn look_at_key(
        &self,
        before: Option<&Attempt>,
        after: Option<&Attempt>,
        report: &mut Report,
        failures: &mut Vec<String>,
    ) {
        let Some(after) = after else { return };
        match before {
            Some(before) if before.number == after.number => {
                if before.key != after.key {
                    failures.push(format!("{}: attempt {} has changed its key", after.task_id, after.number));
                }
            }
            _ => {
                if !report.keys.insert(after.key.clone()) {
                    failures.push(format!("{}: attempt {} has a key that was used", after.task_id, after.number));
                }
            }
        }
    }

    /// A job that two tasks wait for.
    fn shared(&self, reference: &String) -> Option<String> {
        let is_its = |one: &Attempt| one.state.may_be_alive() && one.external_ref.as_ref() == Some(reference);
        let owners: Vec<_> = self.db.all_attempts().into_iter().filter(is_its).map(|one| one.task_id).collect();
        (owners.len() > 1).then(|| format!("{reference} is the job of {owners:?}"))
    }

    fn judge(&self, before: &Before, changed: &Changed) -> Vec<String> {
        let (task, attempt) = (&changed.change.task, changed.change.attempt.as_ref());
        let mut failures = stands(&self.db, task, attempt);
        if self.universe.manners.mixes_up > 0 {
            failures.extend(attempt.and_then(|attempt| self.shared(attempt.external_ref.as_ref()?)));
        }
        let (id, from, to) = (&task.id, before.task.state, task.state);
        let is_ours = before.who == CONTENTD;
        if from == TaskState::Completed {
            failures.push(format!("{id} was completed and is touched by {:?}", before.event));
        }
        if is_ours && from != to && from.is_final() && to != TaskState::Completed {
            failures.push(format!("{id} was {from} and is {to}, and nobody asked for it"));
        }
        if from != to && changed.change.audit.is_none() {
            failures.push(format!("{id} went from {from} to {to} and nothing tells of it"));
        }
        if to == TaskState::Completed && !has_piece(&before.event) {
            failures.push(format!("{id} is completed by {:?}, which is no piece", before.event));
        }
        // A task that was to be cancelled is cancelled, and says that a job may be alive.
        if is_bad_output(&before.event) && is_ours && to.is_final() && from.is_active() && from != TaskState::Cancelling
        {
            failures.push(format!("{id} is {to} because of bad output: {:?}", before.event));
        }
        if is_given_back(&before.event) && task.retry_count != before.task.retry_count {
            failures.push(format!("{id} has spent a retry for {:?}", before.event));
        }
        failures.extend(self.believed_dead(before, attempt, is_ours));
        failures.extend(attempt.and_then(|attempt| self.believed_too_early(before, task, attempt)));
        failures
    }

    /// A job of which nobody knows anything is a person's, unless it is free to repeat or nobody wants it; and it is given to
    /// that person only when the signs are enough.
    fn believed_too_early(&self, before: &Before, task: &Task, attempt: &Attempt) -> Option<String> {
        let was = before.attempt.as_ref()?;
        let is_lost = attempt.state == AttemptState::EndedLost && was.state != AttemptState::EndedLost;
        let is_wanted = before.task.state.is_active() && before.task.state != TaskState::Cancelling;
        if is_lost && is_wanted && !self.policy.is_free_to_repeat && task.state != TaskState::Held {
            return Some(format!("{}: its job is lost, and it is {}", task.id, task.state));
        }
        let is_missing = matches!(before.event, Event::PollAnswered(PollAnswer::Missing { .. }));
        if is_missing && (is_lost || attempt.is_resend_due && !was.is_resend_due) && was.missing + 1 < K_IN_A_ROW {
            return Some(format!("{}: its job was missing {} times and is believed gone", task.id, was.missing + 1));
        }
        let is_given_up = matches!(before.event, Event::DoubtStands(_)) && task.state == TaskState::Held;
        if is_given_up && !self.universe.is_quiet(&attempt.key) {
            return Some(format!("{} is held while a process of its submit lives", task.id));
        }
        None
    }

    /// What contentd calls the end of a job must be its end: the next one would be paid beside it.
    fn believed_dead(&self, before: &Before, after: Option<&Attempt>, is_ours: bool) -> Option<String> {
        let after = after?;
        let was_alive = before.attempt.as_ref().is_some_and(|attempt| attempt.state.may_be_alive());
        let is_a_proof = !after.state.may_be_alive() && after.state != AttemptState::EndedLost;
        if !is_ours || !was_alive || !is_a_proof || !self.universe.is_alive(&after.key) {
            return None;
        }
        Some(format!("{}: attempt {} is {} and its job is alive", after.task_id, after.number, after.state))
    }
}

fn misspent(spends: Spends, cost: i32, before: &Before, changed: &Changed) -> Option<String> {
    let is_last = changed.change.task.state.is_final();
    let is_right = match spends {
        Spends::Nothing => cost == 0,
        Spends::Retry => cost == 1 || cost == 0 && is_last,
    };
    (!is_right).then(|| format!("{} has spent {cost} retries for {:?}", before.task.id, before.event))
}

fn has_piece(event: &Event) -> bool {
    matches!(event, Event::FetchAnswered(FetchAnswer::Piece(_)) | Event::RunReported(RunReport::Piece(_)))
}

/// Output that says nothing about the job's end.
fn is_bad_output(event: &Event) -> bool {
    match event {
        Event::SubmitAnswered(answer) => matches!(answer, SubmitAnswer::Ambiguous(_) | SubmitAnswer::Unavailable(_)),
        Event::CallLost(_) | Event::LockSeen { .. } | Event::DoubtStands(_) | Event::DeadlineUnread(_) => true,
        Event::FindAnswered { answer, .. } => !matches!(answer, FindAnswer::One { .. }),
        Event::PollAnswered(answer) => !matches!(answer, PollAnswer::State { .. }),
        Event::FetchAnswered(answer) => !matches!(answer, FetchAnswer::Piece(_)),
        Event::RunReported(report) => {
            matches!(report, RunReport::NoPiece { .. } | RunReport::Ambiguous { .. } | RunReport::NeverStarted(_))
        }
        _ => false,
    }
}

/// What nobody's task is to blame for.
fn is_given_back(event: &Event) -> bool {
    match event {
        Event::SubmitAnswered(answer) => {
            matches!(answer, SubmitAnswer::Unavailable(_) | SubmitAnswer::NeverCalled(_) | SubmitAnswer::Ambiguous(_))
        }
        Event::RunReported(report) => matches!(
            report,
            RunReport::NeverStarted(_) | RunReport::Interrupted(_) | RunReport::Unavailable(_) | RunReport::Starting
        ),
        Event::PollAnswered(answer) => !matches!(answer, PollAnswer::State { .. }),
        Event::FetchAnswered(_) | Event::FindAnswered { .. } | Event::CallLost(_) | Event::LockSeen { .. } => true,
        Event::ResendBegun | Event::PieceNotStored(_) | Event::DeadlineUnread(_) => true,
        _ => false,
    }
}
