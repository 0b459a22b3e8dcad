//! The trial of one generator: whom it is asked about, and what it costs of the call budget.
//!
//! It must not submit, and no answer of it reaches a state machine. The surprise: a job of ours that goes on is asked about
//! with the same poll that the poller makes, and what it says is only shown.

use std::time::Duration;

use crate::actors::poller::SpendCalls;
use crate::backend::{DaemonBackend, errors};
use crate::control::api::{ApiError, FindingsReply};
use crate::generator::Job;
use crate::generator::trial::{Known, Subjects};
use crate::store::DbError;
use crate::store::query::{Page, Queries, TaskFilter};
use crate::task::{AccountId, Attempt, AttemptState, Entropy, GeneratorName, Task, TaskState, Timestamp};

impl DaemonBackend {
    pub(in crate::backend) async fn try_out(&self, generator: String) -> Result<FindingsReply, ApiError> {
        self.refuse_while_stopping()?;
        let name = GeneratorName(generator);
        self.known_generator(&name)?;
        let slots = std::sync::Arc::clone(&self.installation.slots);
        let _slot = slots.trial.acquire().await.map_err(ApiError::internal)?;
        let poller = self.world.peers.borrow().poller.clone().ok_or(ApiError::Draining)?;
        let first = SpendCalls::WhenFree(name.clone());
        if let Err(wait) = poller.send(first).await.map_err(errors::of_mailbox)? {
            return Err(budget_spent(&name, wait));
        }
        let asked = name.clone();
        let known = self.read(move |queries| known_job(queries, &asked)).await?;
        let stranger = stranger(&name, known.as_ref(), self.world.entropy.as_ref(), self.world.clock.now().utc);
        // A reload may have taken it away since it was looked up.
        let driver = self.world.generator(&name).map(|generator| std::sync::Arc::clone(&generator.driver));
        let driver = driver.ok_or(ApiError::Draining)?;
        let trial = driver.try_out(Subjects { stranger, known }).await;
        // One was paid for at the beginning; a poller that is being rebuilt begins with a full budget anyway.
        let _ = poller.send(SpendCalls::Made(name, trial.calls.saturating_sub(1))).await;
        Ok(FindingsReply { findings: trial.findings })
    }
}

fn budget_spent(name: &GeneratorName, wait: Duration) -> ApiError {
    let reason = format!("its calls_per_minute are spent; try again in {} s", wait.as_secs() + 1);
    ApiError::GeneratorUnavailable { generator: name.0.clone(), reason }
}

/// A job that goes on there, else the last that was completed.
fn known_job(queries: &dyn Queries, name: &GeneratorName) -> Result<Option<Known>, DbError> {
    let is_live = |(task, attempt): &(Task, Attempt)| {
        task.generator == *name && attempt.state == AttemptState::Accepted && attempt.external_ref.is_some()
    };
    if let Some((task, attempt)) = queries.active()?.into_iter().find(is_live) {
        return Ok(Some(Known { job: Job { task, attempt }, is_live: true }));
    }
    let filter =
        TaskFilter { states: vec![TaskState::Completed], generator: Some(name.clone()), ..TaskFilter::default() };
    let Some(last) = queries.tasks(&filter, Page::first(1))?.pop() else { return Ok(None) };
    let found = queries.task(&last.id)?.and_then(|(task, attempt)| Some((task, attempt?)));
    let found = found.filter(|(_, attempt)| attempt.external_ref.is_some());
    Ok(found.map(|(task, attempt)| Known { job: Job { task, attempt }, is_live: false }))
}

/// A job that nobody made. What earlier verbs would have extracted is taken from one of ours, where there is one.
fn stranger(name: &GeneratorName, known: Option<&Known>, entropy: &dyn Entropy, now: Timestamp) -> Job {
    let task = Task {
        topic: "A rehearsal by contentctl doctor, which is never sent".to_owned(),
        keywords: vec!["rehearsal".to_owned(), "doctor".to_owned()],
        category: Some("rehearsal".to_owned()),
        requirements: Some("Nothing is to be written for this.".to_owned()),
        tone: Some("plain".to_owned()),
        ..Task::blank(entropy.task_id(), AccountId(1), name.clone(), now)
    };
    let attempt = Attempt {
        external_ref: Some(as_uuid(&entropy.attempt_key().0)),
        vars: known.map(|known| known.job.attempt.vars.clone()).unwrap_or_default(),
        accepted_at: Some(now),
        ..Attempt::intended(task.id.clone(), 1, entropy.attempt_key(), now)
    };
    Job { task, attempt }
}

/// 32 hexadecimal digits in the form of a random UUID: long enough to be nobody's, and what most generators look for.
fn as_uuid(digits: &str) -> String {
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    format!("{}-{}-4{}-a{}-{}", part(0..8), part(8..12), part(13..16), part(17..20), part(20..32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::OsEntropy;

    #[test]
    fn a_stranger_has_a_key_and_a_reference_that_nobody_knows() {
        let one = stranger(&"g".into(), None, &OsEntropy, Timestamp(0));
        let other = stranger(&"g".into(), None, &OsEntropy, Timestamp(0));
        assert_ne!(one.attempt.key, other.attempt.key);
        assert_ne!(one.attempt.external_ref, other.attempt.external_ref);
        let reference = one.attempt.external_ref.expect("it has one");
        assert_eq!((reference.len(), reference.matches('-').count()), (36, 4));
    }
}
