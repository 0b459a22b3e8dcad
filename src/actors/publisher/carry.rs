//! What is done for one entry: its intent is committed, the publisher is called, the outcome is committed.
//!
//! It must not choose entries. The surprise: an outcome that cannot be written is kept in hand and tried again, because a
//! lost one would be a doubt that only a person may clear up.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use log::Level;

use super::super::World;
use crate::events::{About, Kind};
use crate::publish::outcome::{FoundAnswer, PublishAnswer};
use crate::publish::step::{Step, next_step};
use crate::publish::{Handout, Holder, PoolChange, PoolEvent, PoolMove, PublishPolicy};
use crate::publisher::{PublishJob, Publisher};
use crate::store::DbError;
use crate::store::write::{Account, HandOut, PoolWrite, PoolWritten, Write, WriteError, Written};
use crate::task::apply::CONTENTD;
use crate::task::breaker::Signal;
use crate::task::content::PoolEntry;
use crate::task::{AccountId, PoolId, TaskId};
use crate::tell;

/// How long after a failure of the database something is tried again.
const COOL_DOWN: Duration = Duration::from_secs(1);

/// What a piece of work came to.
#[derive(Default)]
pub(super) struct Done {
    /// What the breaker of the publisher is to hear.
    pub signals: Vec<Signal>,
    /// A publisher was called.
    pub was_called: bool,
    /// A piece is out.
    pub is_published: bool,
}

/// Hands an entry to a publisher and makes the call.
pub(super) async fn publish(world: World, publisher: Arc<Publisher>, entry: PoolEntry, account: Account) -> Done {
    let now = world.clock.now().utc;
    let hand_out = HandOut {
        holder: Holder::Publisher(publisher.name.clone()),
        only: Some(entry.id),
        account: None,
        limit: 1,
        request: None,
        knows_its_keys: publisher.policy.is_idempotent,
        lease_until: now.plus(publisher.policy.call_limit),
        now,
    };
    match world.store.write(Write::Pool(PoolWrite::HandOut(Box::new(hand_out)))).await {
        Ok(Written::Pool(PoolWritten::HandedOut(mut handed_out))) => match handed_out.pop() {
            Some((entry, handout)) if handout.may_be_out => ask(world, publisher, entry, handout, account).await,
            Some((entry, handout)) => call(&world, &publisher, entry, handout, account).await,
            None => Done::default(),
        },
        Ok(_) => Done::default(),
        Err(WriteError::Db(error)) => {
            tell!(Level::Error, Kind::PoolTrouble, "pool entry {} could not be handed out: {error}", entry.id);
            tokio::time::sleep(COOL_DOWN).await;
            Done::default()
        }
        // Somebody else was faster, or its time was changed.
        Err(error) => {
            log::debug!("pool entry {} was not handed out: {error}", entry.id);
            Done::default()
        }
    }
}

/// Begins with a piece that may be out by a replaced database: whether a process of that one's call is left, and if not, the key is
/// sent as one that was sent before.
async fn ask(world: World, publisher: Arc<Publisher>, entry: PoolEntry, handout: Handout, account: Account) -> Done {
    // Without an answer the entry wakes, and is asked about then.
    let Some(is_quiet) = publisher.driver.is_quiet(handout.key.clone()).await else { return Done::default() };
    let looked = commit(&world, entry.id, &handout, PoolEvent::Looked { is_quiet }, &publisher.policy).await;
    match looked.and_then(|change| Some((change.entry, change.handout?))) {
        Some((entry, handout)) if is_quiet => step(world, Some(publisher), entry, handout, account).await,
        _ => Done::default(),
    }
}

/// Makes a call whose intent is committed, and commits what came of it.
async fn call(world: &World, publisher: &Publisher, entry: PoolEntry, handout: Handout, account: Account) -> Done {
    let job = match job(world, entry.clone(), handout.clone(), account).await {
        Ok(job) => job,
        Err(why) => return commit_answer(world, publisher, &entry, &handout, PublishAnswer::NeverCalled(why)).await,
    };
    let called = AssertUnwindSafe(publisher.driver.publish(job)).catch_unwind().await;
    let panicked = |_| PublishAnswer::Ambiguous("the call ended in a panic of contentd".into());
    commit_answer(world, publisher, &entry, &handout, called.unwrap_or_else(panicked)).await
}

async fn job(world: &World, entry: PoolEntry, handout: Handout, account: Account) -> Result<PublishJob, String> {
    let id = entry.content_id;
    let content = world.store.read(move |queries| queries.content(id)).await;
    let content = content.map_err(|error| error.to_string())?.ok_or_else(|| format!("there is no content {id}"))?;
    Ok(PublishJob { entry, handout, content, account })
}

async fn commit_answer(
    world: &World,
    publisher: &Publisher,
    entry: &PoolEntry,
    handout: &Handout,
    answer: PublishAnswer,
) -> Done {
    let signals = match &answer {
        PublishAnswer::Published(_) => vec![Signal::Accepted, Signal::JobCompleted],
        PublishAnswer::Retry(why) => vec![Signal::SubmitPutOff(why.clone())],
        PublishAnswer::Rejected(why) => vec![Signal::JobFailed(why.clone())],
        PublishAnswer::Unavailable(why) => vec![Signal::SubmitUnavailable(why.clone())],
        PublishAnswer::Ambiguous(why) => vec![Signal::SubmitUnanswered(why.clone())],
        PublishAnswer::NeverCalled(_) => Vec::new(),
    };
    let was_called = !matches!(answer, PublishAnswer::NeverCalled(_));
    let change = commit(world, entry.id, handout, PoolEvent::Answered(answer), &publisher.policy).await;
    let is_published = change.as_ref().is_some_and(|change| change.moved == Some(PoolMove::Published));
    tidy_up(publisher, change.as_ref()).await;
    Done { signals, was_called, is_published }
}

/// After an answer is committed, what its call left may go. While it is in doubt the lock of its run file says who is left.
async fn tidy_up(publisher: &Publisher, change: Option<&PoolChange>) {
    let ended = change.and_then(|change| change.handout.as_ref()).filter(|handout| handout.ended_at.is_some());
    if let Some(handout) = ended {
        publisher.driver.forget(handout.key.clone()).await;
    }
}

/// Does what is due for an entry that a publisher has.
pub(super) async fn step(
    world: World,
    publisher: Option<Arc<Publisher>>,
    entry: PoolEntry,
    handout: Handout,
    account: Account,
) -> Done {
    let unknown = PublishPolicy::default();
    let policy = publisher.as_ref().map_or(&unknown, |publisher| &publisher.policy);
    let step = next_step(&handout, policy, world.clock.now().utc);
    let Some(publisher) = publisher.as_ref().filter(|_| step != Step::Doubt) else {
        let event = match step {
            Step::Doubt => PoolEvent::CallLost,
            _ => PoolEvent::GivenUp(format!(
                "nobody knows whether it was published: {} is not configured any more",
                handout.holder
            )),
        };
        commit(&world, entry.id, &handout, event, policy).await;
        return Done::default();
    };
    let event = match step {
        Step::Doubt => PoolEvent::CallLost,
        Step::Hold(why) => PoolEvent::GivenUp(why),
        Step::LookForProcesses => match publisher.driver.is_quiet(handout.key.clone()).await {
            Some(is_quiet) => PoolEvent::Looked { is_quiet },
            // The machine gives no thread, or the daemon ends: that says nothing of the call's processes.
            None => {
                tokio::time::sleep(COOL_DOWN).await;
                return Done::default();
            }
        },
        Step::Find => PoolEvent::Searched(find(&world, publisher, &entry, &handout, account).await),
        Step::SendAgain => {
            let change = commit(&world, entry.id, &handout, PoolEvent::SentAgain, policy).await;
            let Some((entry, handout)) = change.and_then(|change| Some((change.entry, change.handout?))) else {
                return Done::default();
            };
            return call(&world, publisher, entry, handout, account).await;
        }
    };
    let change = commit(&world, entry.id, &handout, event, policy).await;
    tidy_up(publisher, change.as_ref()).await;
    let is_published = change.is_some_and(|change| change.moved == Some(PoolMove::Published));
    Done { is_published, ..Done::default() }
}

async fn find(
    world: &World,
    publisher: &Publisher,
    entry: &PoolEntry,
    handout: &Handout,
    account: Account,
) -> FoundAnswer {
    match job(world, entry.clone(), handout.clone(), account).await {
        Ok(job) => {
            let found = AssertUnwindSafe(publisher.driver.find(job)).catch_unwind().await;
            found.unwrap_or_else(|_| FoundAnswer::Unavailable("the search ended in a panic of contentd".into()))
        }
        Err(why) => FoundAnswer::Unavailable(why),
    }
}

/// The lease of a consumer is over.
pub(super) async fn end_lease(world: World, entry: PoolEntry, handout: Handout) -> Done {
    let publishers = world.publishers.current();
    commit(&world, entry.id, &handout, PoolEvent::LeaseEnded, &publishers.consumers).await;
    Done::default()
}

/// Commits an event about the current handing out, however long the database takes. None where it was not taken.
async fn commit(
    world: &World,
    id: PoolId,
    handout: &Handout,
    event: PoolEvent,
    policy: &PublishPolicy,
) -> Option<PoolChange> {
    loop {
        let write = PoolWrite::Happened {
            id,
            fence: Some(handout.fence),
            event: Box::new(event.clone()),
            policy: Box::new(policy.clone()),
            draw: world.entropy.draw(),
            who: CONTENTD.to_owned(),
            answers_for_all: true,
            now: world.clock.now().utc,
        };
        match world.store.write(Write::Pool(write)).await {
            Ok(Written::Pool(PoolWritten::Changed { change, task_id })) => {
                log_move(&change, task_id.as_ref(), CONTENTD);
                return Some(*change);
            }
            Ok(_) => return None,
            Err(WriteError::Db(error)) if !matches!(error, DbError::Fatal(_)) => {
                tell!(
                    Level::Error,
                    Kind::PoolTrouble,
                    "pool entry {id}: an outcome cannot be written, trying again: {error}"
                );
                tokio::time::sleep(COOL_DOWN).await;
            }
            Err(error) => {
                tell!(Level::Warn, Kind::PoolTrouble, "pool entry {id}: an outcome was not taken: {error}");
                return None;
            }
        }
    }
}

/// One line a move.
pub fn log_move(change: &PoolChange, task: Option<&TaskId>, who: &str) {
    let Some(moved) = change.moved else { return };
    let (level, kind) = match moved {
        PoolMove::Published | PoolMove::SettledPublished => (Level::Info, Kind::PiecePublished),
        PoolMove::Failed | PoolMove::SettledFailed => (Level::Warn, Kind::PublishFailed),
        PoolMove::RetryScheduled => (Level::Warn, Kind::PublishRetried),
        PoolMove::Held => (Level::Error, Kind::PublishHeld),
        PoolMove::HandedOut
        | PoolMove::GivenBack
        | PoolMove::Restored
        | PoolMove::Released
        | PoolMove::Rescheduled
        | PoolMove::Removed => (Level::Info, Kind::PoolMoved),
    };
    let entry = &change.entry;
    let about = task.map(|task| About::id(task).attempt(0)).unwrap_or_default();
    let about = about.account(AccountId(entry.account_id.0)).is(kind);
    let why = change.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    tell!(
        level,
        about,
        "pool entry {} of content {} → {} ({moved}{why}) by {who}",
        entry.id,
        entry.content_id,
        entry.status
    );
}
