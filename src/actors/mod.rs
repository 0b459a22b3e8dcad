//! The daemon's actors: one file, one actor, with its messages and handlers.
//!
//! ```text
//! QueueActor ── RunTask ─▶ WorkerActor ×N ── outcome ─▶ PollerActor ── outcome ─▶ ResultHandlerActor ─▶ PublisherActor
//! ```
//!
//! The [`supervisor::SupervisorActor`] owns them, rebuilds one that panicked and announces the new addresses through
//! [`Peers`]. All of them live on one arbiter, so a hop between them costs no thread switch; the disk and the
//! generators are elsewhere. Every actor acts on the world through [`World::transit`]: the event is judged and
//! committed first, the effect starts afterwards, and whoever must know is told last.
//!
//! A lost message is harmless everywhere: each unfinished task has a wake time in the database, and the poller's
//! next look repairs whatever a message should have told.

pub mod failing;
pub mod images;
pub mod learning;
pub mod notice;
pub mod poller;
pub mod publisher;
pub mod queue;
pub mod recovery;
pub mod result_handler;
pub mod rules;
pub mod schedule;
pub mod spent;
pub mod supervisor;
pub mod worker;

use std::sync::Arc;

use actix::Addr;
use log::Level;
use tokio::sync::watch;

use crate::events::{About, Kind};
use crate::generator::hooks::Notices;
use crate::generator::registry::{Generator, Generators};
use crate::publisher::Publishing;
use crate::store::Store;
use crate::store::write::{Changed, Env, Transition, Write, WriteError, Written};
use crate::task::apply::CONTENTD;
use crate::task::breaker::Signal;
use crate::task::content::RenderedPiece;
use crate::task::{Change, Clock, Entropy, Event, GeneratorName, Policy, Task, TaskId, TaskState};
use crate::tell;

use failing::{FailingJobs, is_failure, may_be_failure};
use images::{ImageActor, SharedKeeper};
use notice::NoticeActor;
use poller::PollerActor;
use publisher::PublisherActor;
use queue::{QueueActor, Readiness};
use result_handler::ResultHandlerActor;
use rules::SharedRules;
use schedule::ScheduleActor;
use worker::WorkerActor;

/// Where the actors are now. The supervisor alone writes it.
#[derive(Clone, Default)]
pub struct Peers {
    /// The queue.
    pub queue: Option<Addr<QueueActor>>,
    /// The poller.
    pub poller: Option<Addr<PollerActor>>,
    /// The result handler.
    pub results: Option<Addr<ResultHandlerActor>>,
    /// The schedules, once they are open.
    pub schedules: Option<Addr<ScheduleActor>>,
    /// Who has images fetched.
    pub images: Option<Addr<ImageActor>>,
    /// The publisher.
    pub publisher: Option<Addr<PublisherActor>>,
    /// Who tells somebody.
    pub notice: Option<Addr<NoticeActor>>,
    /// The workers, by number.
    pub workers: Vec<Option<Addr<WorkerActor>>>,
}

/// What every actor is given: the seams, and the way to the others.
#[derive(Clone)]
pub struct World {
    /// Where everything is kept.
    pub store: Store,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness and ids.
    pub entropy: Arc<dyn Entropy>,
    /// The generators of the current configuration.
    pub generators: watch::Receiver<Arc<Generators>>,
    /// The other actors.
    pub peers: watch::Receiver<Peers>,
    /// Whether a submit may find a free worker.
    pub readiness: Readiness,
    /// The generators whose jobs fail one after the other.
    pub failing: FailingJobs,
    /// What is asked of a piece when it comes.
    pub rules: SharedRules,
    /// Who keeps images of pieces.
    pub images: SharedKeeper,
    /// The publishers of the current configuration.
    pub publishers: Publishing,
    /// The rules and the hooks of the current configuration.
    pub notices: watch::Receiver<Arc<Notices>>,
}

/// An event on its way into the store.
#[derive(Clone, Debug)]
pub struct Happened {
    /// Whose.
    pub task_id: TaskId,
    /// At which generator, for the policy.
    pub generator: GeneratorName,
    /// Which attempt it is about; none where it is about the task whatever its attempt.
    pub attempt: Option<u32>,
    /// What happened.
    pub event: Event,
    /// Who did it.
    pub who: String,
    /// See [`Env::is_late_piece_wanted`].
    pub is_late_piece_wanted: bool,
    /// The renderings of the piece that it brings.
    pub rendered: Option<RenderedPiece>,
    /// The task waited for its job when this was seen. Of another the job may have been ended on our own word.
    pub is_job_wanted: bool,
}

impl Happened {
    /// Something that the daemon saw happen to an attempt.
    pub fn to(task: &Task, event: Event) -> Self {
        Self {
            task_id: task.id.clone(),
            generator: task.generator.clone(),
            attempt: Some(task.attempt),
            event,
            who: CONTENTD.to_owned(),
            is_late_piece_wanted: false,
            rendered: None,
            is_job_wanted: task.state.is_active() && task.state != TaskState::Cancelling,
        }
    }

    /// Something that a person decided, whatever the attempt is by now.
    pub fn by(task: &Task, event: Event, who: &str) -> Self {
        Self { attempt: None, who: who.to_owned(), ..Self::to(task, event) }
    }
}

impl World {
    /// A generator of the current configuration.
    pub fn generator(&self, name: &GeneratorName) -> Option<Arc<Generator>> {
        self.generators.borrow().get(name).cloned()
    }

    /// Its policy; a cautious one where the configuration has lost it.
    pub fn policy(&self, name: &GeneratorName) -> Arc<Policy> {
        self.generator(name).map(|generator| generator.policy()).unwrap_or_default()
    }

    /// Judges and commits an event; logs the move. Nothing has been told to anybody when this returns.
    pub async fn transit(&self, happened: Happened) -> Result<Changed, WriteError> {
        let generator = happened.generator;
        let now = self.clock.now();
        let (task_id, utc) = (happened.task_id.clone(), now.utc);
        // What is announced and withdrawn counts for all that are judged between the two.
        let may_fail = happened.is_job_wanted && may_be_failure(&happened.event);
        let announced = may_fail.then(|| self.failing.announce(&generator, &task_id, utc));
        let is_outage = announced.map_or_else(|| self.failing.is_outage(&generator), |announced| announced.is_outage);
        let env = Env {
            now,
            policy: self.policy(&generator),
            draw: self.entropy.draw(),
            who: happened.who,
            is_late_piece_wanted: happened.is_late_piece_wanted,
            is_outage,
        };
        let transition = Transition {
            task_id: happened.task_id,
            attempt: happened.attempt,
            event: happened.event,
            env,
            rendered: happened.rendered,
            rules: self.rules.now(),
        };
        let written = self.store.write(Write::Transition(Box::new(transition))).await;
        let has_failed =
            matches!(&written, Ok(Written::Changed(changed)) if is_failure(changed.change.signal.as_ref()));
        match announced {
            Some(announced) if !has_failed => self.failing.withdraw(&generator, &task_id, announced),
            None if has_failed => {
                self.failing.announce(&generator, &task_id, utc);
            }
            Some(_) | None => {}
        }
        match written? {
            Written::Changed(changed) => {
                if changed.change.signal == Some(Signal::JobCompleted) {
                    self.failing.clear(&generator);
                }
                log_move(&changed);
                Ok(*changed)
            }
            Written::Account(_)
            | Written::Accounts(_)
            | Written::Rewritten(..)
            | Written::Submitted(_)
            | Written::Reviewed(_)
            | Written::Schedule(_)
            | Written::Stored
            | Written::Pool(_)
            | Written::Cleaned { .. }
            | Written::Noticed(_) => {
                Err(WriteError::Db(crate::store::DbError::Fatal("the store gave the answer of another write".into())))
            }
        }
    }

    /// Tells the queue what a change means for it: a breaker's signal, a slot that may be free, a task that may run.
    /// Lost messages are harmless: the queue looks for itself at its next tick.
    pub fn tell_queue(&self, changed: &Changed) {
        self.tell_notices(changed);
        let Some(queue) = self.peers.borrow().queue.clone() else { return };
        let task = &changed.change.task;
        if let Some(signal) = &changed.change.signal {
            queue.do_send(queue::GeneratorSignalled {
                generator: task.generator.clone(),
                task: task.id.clone(),
                signal: signal.clone(),
            });
        }
        if task.state == TaskState::Pending || changed.from.is_active() && !task.state.is_active() {
            queue.do_send(queue::QueueChanged { task: Some(Box::new(task.clone())) });
        }
    }

    /// Tells whoever has images fetched that some may wait.
    pub fn tell_images(&self) {
        if let Some(images) = self.peers.borrow().images.clone() {
            images.do_send(images::ImagesChanged);
        }
    }

    /// Tells the publisher that something may be due in the pool.
    pub fn tell_publisher(&self) {
        if let Some(publisher) = self.peers.borrow().publisher.clone() {
            publisher.do_send(publisher::PoolChanged);
        }
    }

    /// Tells the NoticeActor of what may be an alarm. A lost message is harmless: the rules are asked at their interval.
    fn tell_notices(&self, changed: &Changed) {
        let is_bad_end = changed.change.task.state != changed.from
            && matches!(changed.change.task.state, TaskState::Held | TaskState::Failed | TaskState::Timeout);
        let is_of_breaker = matches!(
            changed.change.signal,
            Some(
                Signal::SubmitUnavailable(_)
                    | Signal::SubmitUnanswered(_)
                    | Signal::VerbUnavailable(_)
                    | Signal::BadAnswer(_)
                    | Signal::JobFailed(_)
            )
        );
        if is_bad_end || is_of_breaker {
            self.tell_trouble();
        }
    }

    /// Tells the NoticeActor to look now. A lost message is harmless, as above.
    pub fn tell_trouble(&self) {
        if let Some(notice) = self.peers.borrow().notice.clone() {
            notice.do_send(notice::SomethingHappened);
        }
    }

    /// Tells the poller that a wake time may have become earlier.
    pub fn tell_poller(&self) {
        if let Some(poller) = self.peers.borrow().poller.clone() {
            poller.do_send(poller::WakeTimesChanged);
        }
    }
}

/// One line a move. What moved nothing is told where it is trouble, and once in a row.
fn log_move(changed: &Changed) {
    let change = &changed.change;
    let about = About::task(&change.task);
    let Some(audit) = &change.audit else {
        return log_trouble(about, change);
    };
    let why = audit.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    let level = match change.signal {
        Some(
            Signal::SubmitUnavailable(_)
            | Signal::SubmitUnanswered(_)
            | Signal::SubmitPutOff(_)
            | Signal::VerbUnavailable(_)
            | Signal::BadAnswer(_)
            | Signal::JobFailed(_)
            | Signal::JobUnavailable(_),
        ) => Level::Warn,
        _ => Level::Info,
    };
    let about = about.attempt(audit.attempt).is(Kind::of_move(changed.from, audit));
    tell!(level, about, "{} → {} ({}{why}) by {}", changed.from, audit.to_state, audit.event, audit.who);
}

fn log_trouble(about: About<'_>, change: &Change) {
    let (kind, why) = match &change.signal {
        Some(Signal::BadAnswer(why)) => (Kind::ContractDrift, why),
        Some(Signal::VerbUnavailable(why) | Signal::SubmitUnanswered(why)) => (Kind::GeneratorSilent, why),
        _ => return,
    };
    let is_first = change.attempt.as_ref().is_none_or(|attempt| attempt.bad_answers <= 1);
    let level = if is_first { Level::Warn } else { Level::Debug };
    let generator = &change.task.generator;
    match kind {
        Kind::ContractDrift => tell!(level, about.is(kind), "an answer of generator {generator} cannot be read: {why}"),
        _ => tell!(level, about.is(kind), "generator {generator} did not answer: {why}"),
    }
}
