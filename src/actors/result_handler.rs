//! The ResultHandlerActor commits what came of jobs: success, failure, time-out, cancellation, progress. It fetches pieces.
//!
//! Everything that the poller learns arrives as [`JobReported`]; the core judges it, one transaction writes task, content,
//! review and pool, and only then are the queue and the poller told. A piece that cannot be stored (a full disk) stays at the
//! generator: the report fails, the task's wake time stands, and the next look fetches it again.
//!
//! The surprise: a report is carried on beside the actor, not in its context. A context polls all that it carries whenever one
//! of them moves, which with hundreds of commits under way takes longer than the commits.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use actix::WeakRecipient;
use actix::prelude::*;
use futures_util::FutureExt;
use log::Level;
use serde::Serialize;
use tokio::sync::Semaphore;

use super::learning::learn;
use super::supervisor::{Child, ChildExited};
use super::{Happened, World};
use crate::events::{About, Kind};
use crate::generator::Job;
use crate::render::render;
use crate::store::DbError;
use crate::store::write::{Changed, WriteError};
use crate::task::apply::CONTENTD;
use crate::task::content::RenderedPiece;
use crate::task::outcome::{FetchAnswer, Piece, RunReport};
use crate::task::{Attempt, Event, GeneratorName, Task, TaskState};
use crate::tell;

/// How many fetches go on at once at one generator: reserved, so that submits never keep a paid piece waiting.
const FETCH_SLOTS: usize = 2;
/// How much of pieces, and of what is none, may be on its way to the disk at once, in KiB; one that is larger goes alone.
const STORING_KIB: u32 = 64 << 10;
/// A piece larger than this is rendered on a thread that may block.
const SMALL_PIECE_BYTES: usize = 32 * 1024;

/// From the poller: this is what a look at a job came to. If it is lost, the next look finds the same.
#[derive(Message, Clone, Debug)]
#[rtype(result = "Result<Changed, WriteError>")]
pub struct JobReported {
    /// What happened to it.
    pub happened: Happened,
}

/// From the poller: the job is ready, fetch its piece. If it is lost, the task is due again.
#[derive(Message, Clone, Debug)]
#[rtype(result = "Result<Changed, WriteError>")]
pub struct FetchPiece {
    /// Whose.
    pub task: Task,
    /// Its accepted attempt.
    pub attempt: Attempt,
    /// Whether a piece of a cancelled task completes it, because a person asked for it again.
    pub is_late_piece_wanted: bool,
    /// Who asked.
    pub who: String,
}

/// What has it done?
#[derive(Message)]
#[rtype(result = "ResultStatus")]
pub struct GetResultStatus;

/// The result handler as an operator sees it.
#[derive(Clone, Debug, Default, Serialize, MessageResponse)]
pub struct ResultStatus {
    /// Reports committed since the daemon started.
    pub reports: u64,
    /// Pieces stored.
    pub completed: u64,
    /// Tasks that failed for good.
    pub failed: u64,
    /// Tasks that ended past their time.
    pub timeout: u64,
    /// Tasks cancelled.
    pub cancelled: u64,
    /// Tasks held for a person.
    pub held: u64,
    /// Reports that could not be committed.
    pub errors: u64,
}

/// See the module.
pub struct ResultHandlerActor {
    world: World,
    supervisor: WeakRecipient<ChildExited>,
    fetches: BTreeMap<GeneratorName, Arc<Semaphore>>,
    storing: Arc<Semaphore>,
    status: Rc<RefCell<ResultStatus>>,
}

impl ResultHandlerActor {
    /// A fresh one.
    pub fn new(world: World, supervisor: WeakRecipient<ChildExited>) -> Self {
        let storing = Arc::new(Semaphore::new(STORING_KIB as usize));
        Self { world, supervisor, fetches: BTreeMap::new(), storing, status: Rc::default() }
    }
}

impl ResultStatus {
    fn count(&mut self, answer: &Result<Changed, WriteError>) {
        let changed = match answer {
            Ok(changed) => changed,
            Err(WriteError::Db(_)) => {
                self.errors += 1;
                return;
            }
            // A late message is no error: somebody else was faster.
            Err(_) => return,
        };
        self.reports += 1;
        if changed.from == changed.change.task.state {
            return;
        }
        match changed.change.task.state {
            TaskState::Completed => self.completed += 1,
            TaskState::Failed => self.failed += 1,
            TaskState::Timeout => self.timeout += 1,
            TaskState::Cancelled => self.cancelled += 1,
            TaskState::Held => self.held += 1,
            TaskState::Pending
            | TaskState::Submitting
            | TaskState::Submitted
            | TaskState::Processing
            | TaskState::Cancelling => {}
        }
    }
}

impl Actor for ResultHandlerActor {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        ChildExited::report(&self.supervisor, Child::ResultHandler, None);
    }
}

/// Commits a report, then tells whom it concerns.
async fn commit(world: World, mut happened: Happened) -> Result<Changed, WriteError> {
    happened.rendered = match piece_in(&happened.event) {
        Some(piece) => Some(render_off_thread(piece.clone()).await),
        None => None,
    };
    let unstored = happened.rendered.is_some().then(|| unstored(&happened));
    let changed = match world.transit(happened).await {
        Ok(changed) => changed,
        Err(error) => {
            if let (Some(unstored), WriteError::Db(DbError::Refused(why))) = (unstored, &error) {
                tell_unstored(&world, Happened { event: Event::PieceNotStored(why.clone()), ..unstored }).await;
            }
            return Err(error);
        }
    };
    tidy_up(&world, &changed);
    world.tell_queue(&changed);
    world.tell_poller();
    if changed.content_id.is_some() {
        world.tell_images();
    }
    if changed.pool_id.is_some() {
        world.tell_publisher();
    }
    Ok(changed)
}

/// What the task is told where a piece cannot be stored; the database's words are filled in.
fn unstored(happened: &Happened) -> Happened {
    Happened {
        task_id: happened.task_id.clone(),
        generator: happened.generator.clone(),
        attempt: happened.attempt,
        event: Event::PieceNotStored(String::new()),
        who: CONTENTD.to_owned(),
        is_late_piece_wanted: false,
        rendered: None,
        is_job_wanted: happened.is_job_wanted,
    }
}

async fn tell_unstored(world: &World, happened: Happened) {
    let (id, attempt, generator) = (happened.task_id.clone(), happened.attempt, happened.generator.clone());
    match world.transit(happened).await {
        Ok(_) => world.tell_poller(),
        // A database that takes nothing at all: the log of the piece's own failure must do.
        Err(error) => {
            let about = About::id(&id).attempt(attempt.unwrap_or(0)).at(&generator).is(Kind::TaskTrouble);
            tell!(Level::Warn, about, "the task could not be told that its piece was not stored: {error}");
        }
    }
}

fn piece_in(event: &Event) -> Option<&Piece> {
    match event {
        Event::FetchAnswered(FetchAnswer::Piece(piece)) | Event::RunReported(RunReport::Piece(piece)) => Some(piece),
        _ => None,
    }
}

/// How much room an answer takes until it is stored.
fn kib_of(answer: &Event) -> u32 {
    let bytes = match answer {
        Event::FetchAnswered(FetchAnswer::Unreadable { raw, .. } | FetchAnswer::Missing { raw })
        | Event::RunReported(
            RunReport::NoPiece { raw, .. } | RunReport::Ambiguous { raw, .. } | RunReport::Lost { raw, .. },
        ) => raw.len(),
        other => piece_in(other).map_or(0, |piece| piece.content.len() + piece.html.as_ref().map_or(0, String::len)),
    };
    u32::try_from(bytes >> 10).unwrap_or(u32::MAX).saturating_add(1).min(STORING_KIB)
}

async fn render_off_thread(piece: Piece) -> RenderedPiece {
    let content = piece.content.clone();
    let is_small = content.len() + piece.html.as_ref().map_or(0, String::len) <= SMALL_PIECE_BYTES;
    let rendered = match is_small {
        true => catch_unwind(AssertUnwindSafe(|| render(&piece))).ok(),
        false => tokio::task::spawn_blocking(move || render(&piece)).await.ok(),
    };
    // A panic of a renderer must not cost the piece: it is kept as it is, its text unrendered.
    rendered.unwrap_or_else(|| RenderedPiece {
        content_hash: crate::render::sha256_hex(content.as_bytes()),
        plain_text: content.clone(),
        html: String::new(),
        content,
    })
}

/// After an attempt's end is committed, its files may go, and its duration is learned from.
pub(super) fn tidy_up(world: &World, changed: &Changed) {
    let task = &changed.change.task;
    let ended = changed.change.attempt.as_ref().filter(|attempt| !attempt.state.may_be_alive());
    let Some((attempt, generator)) = ended.zip(world.generator(&task.generator)) else { return };
    let key = attempt.key.clone();
    let store = world.store.clone();
    let is_completed = task.state == TaskState::Completed;
    let now = world.clock.now().utc;
    actix::spawn(async move {
        generator.driver.forget(key).await;
        // Many end at once where many are done; the next one's end brings what this one's left out.
        if is_completed && let Some(_learning) = generator.begins_to_learn() {
            // What could not be read is read at the next end.
            let _ = learn(&generator, &store, now).await;
        }
    });
}

impl Handler<JobReported> for ResultHandlerActor {
    type Result = ResponseFuture<Result<Changed, WriteError>>;

    fn handle(&mut self, report: JobReported, _: &mut Self::Context) -> Self::Result {
        let status = Rc::clone(&self.status);
        let commit = commit(self.world.clone(), report.happened);
        Box::pin(commit.inspect(move |answer| status.borrow_mut().count(answer)))
    }
}

impl Handler<FetchPiece> for ResultHandlerActor {
    type Result = ResponseFuture<Result<Changed, WriteError>>;

    fn handle(&mut self, fetch: FetchPiece, _: &mut Self::Context) -> Self::Result {
        let world = self.world.clone();
        let slots = self.fetches.entry(fetch.task.generator.clone());
        let slots = Arc::clone(slots.or_insert_with(|| Arc::new(Semaphore::new(FETCH_SLOTS))));
        let (status, storing) = (Rc::clone(&self.status), Arc::clone(&self.storing));
        let work = async move {
            // The semaphores are never closed; an error would only mean that nothing limits this fetch.
            let slot = slots.acquire_owned().await;
            let answer = fetch_piece(&world, &fetch).await;
            let _room = storing.acquire_many_owned(kib_of(&answer)).await;
            // The next one may be fetched while this one is on its way to the disk.
            drop(slot);
            let happened = Happened {
                who: fetch.who,
                is_late_piece_wanted: fetch.is_late_piece_wanted,
                ..Happened::to(&fetch.task, answer)
            };
            commit(world, happened).await
        };
        Box::pin(work.inspect(move |answer| status.borrow_mut().count(answer)))
    }
}

async fn fetch_piece(world: &World, fetch: &FetchPiece) -> Event {
    let Some(generator) = world.generator(&fetch.task.generator) else {
        let why = format!("generator {} is not configured any more", fetch.task.generator);
        return Event::FetchAnswered(FetchAnswer::Unavailable(why));
    };
    let job = Job { task: fetch.task.clone(), attempt: fetch.attempt.clone() };
    // A run's piece is in its directory; a generator's must be asked for.
    if generator.policy().is_blocking {
        let look = AssertUnwindSafe(generator.driver.look_at_run(job)).catch_unwind().await;
        return Event::RunReported(look.unwrap_or(RunReport::Running));
    }
    let answer = AssertUnwindSafe(generator.driver.fetch(job)).catch_unwind().await;
    let panicked = |_| FetchAnswer::Unavailable("the fetch ended in a panic of contentd".into());
    Event::FetchAnswered(answer.unwrap_or_else(panicked))
}

impl Handler<GetResultStatus> for ResultHandlerActor {
    type Result = ResultStatus;

    fn handle(&mut self, _: GetResultStatus, _: &mut Self::Context) -> Self::Result {
        self.status.borrow().clone()
    }
}
