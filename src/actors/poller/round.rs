//! One round: carries out the next step of each given job at one generator and reports what came of it.
//!
//! Free functions over the world, not actor state: a round may take minutes, and the actor goes on meanwhile.
//! Every event goes to the result handler; a round that cannot report leaves the task as it was, due again.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, StreamExt, stream};
use log::Level;
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;

use super::messages::{PollNow, PollStatistics, tally};
use crate::actors::result_handler::{FetchPiece, JobReported};
use crate::actors::{Happened, World};
use crate::events::{About, Kind};
use crate::generator::Job;
use crate::generator::registry::Generator;
use crate::store::DbError;
use crate::store::write::{Changed, WriteError};
use crate::task::apply::CONTENTD;
use crate::task::outcome::{CancelAnswer, FetchAnswer, FindAnswer, JobState, PollAnswer, RunReport, SubmitAnswer};
use crate::task::step::{Step, next_step};
use crate::task::{Attempt, AttemptState, Event, GeneratorName, Task, TaskId, TaskState};
use crate::tell;

use std::sync::Arc;

/// How many calls of one round go on at once.
const CALLS_AT_ONCE: usize = 4;
/// How many answers of one sweep are on their way to a commit at once: they share its fsync.
const REPORTS_AT_ONCE: usize = 64;

/// Why a task could not be looked at now.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PollError {
    /// It is being looked at already.
    #[error("it is being looked at already")]
    InHand,
    /// Its generator is not in the configuration.
    #[error("generator {0} is not configured")]
    NoGenerator(GeneratorName),
    /// The result could not be committed, or the event was refused.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The result handler is being rebuilt.
    #[error("the result handler is not there; try again")]
    NoResultHandler,
    /// A bug of ours; nothing was committed that is not true.
    #[error("the look ended in a panic of contentd; its journal says where")]
    Panicked,
}

/// What a round came to.
#[derive(Default)]
pub struct Done {
    /// Calls of the generator.
    pub calls: u32,
    /// Tasks whose report could not be committed.
    pub not_committed: Vec<TaskId>,
    /// Every event and what it changed.
    pub outcomes: Vec<(Event, Result<Changed, WriteError>)>,
}

/// A round at one generator.
pub struct Round {
    world: World,
    name: GeneratorName,
}

/// Whether a step belongs with the others of its generator; the rest are calls about one job, with slots of their own.
pub fn is_shared(step: Step) -> bool {
    match step {
        Step::Poll | Step::Find | Step::LookAtRun | Step::None | Step::EndWatch | Step::ReportLostCall => true,
        Step::PollOne | Step::Fetch | Step::Cancel | Step::Expire | Step::Resend | Step::GiveUpDoubt => false,
    }
}

/// Why nothing more can be done about a submit without an answer, for whoever decides about it.
fn doubt_that_stands(generator: &Generator, attempt: &Attempt) -> String {
    if generator.policy().is_idempotent {
        format!("the submit was sent {} times under one key and its answer never came", attempt.sends)
    } else {
        "nobody knows whether the generator took the job, and it has no find verb to ask".to_owned()
    }
}

/// Whether an event counts as an answer that did not come or cannot be used.
pub fn is_bad_answer(event: &Event) -> bool {
    match event {
        Event::PollAnswered(answer) => !matches!(answer, PollAnswer::State { .. }),
        Event::FetchAnswered(answer) => !matches!(answer, FetchAnswer::Piece(_) | FetchAnswer::NotReady),
        Event::FindAnswered { answer, .. } => matches!(answer, FindAnswer::Unavailable(_) | FindAnswer::Unreadable(_)),
        _ => false,
    }
}

impl Round {
    /// A round of `name`'s jobs.
    pub fn new(world: World, name: GeneratorName) -> Self {
        Self { world, name }
    }

    /// Carries out the next step of each job. The slot is for the calls.
    pub async fn run(self, jobs: Vec<(Task, Attempt)>, mut slot: Option<OwnedSemaphorePermit>) -> Done {
        let Some(generator) = self.world.generator(&self.name) else {
            // Lost with a reload a moment ago: left alone for a while, like any that cannot be reported.
            let not_committed = jobs.into_iter().map(|(task, _)| task.id).collect();
            return Done { not_committed, ..Done::default() };
        };
        let policy = generator.policy();
        let now = self.world.clock.now();
        let (mut polls, mut finds, mut singles) = (Vec::new(), Vec::new(), Vec::new());
        for (task, attempt) in jobs {
            let step = next_step(&task, Some(&attempt), &policy, &now);
            let job = Job { task, attempt };
            match step {
                Step::Poll => polls.push(job),
                Step::Find => finds.push(job),
                other => singles.push((other, job)),
            }
        }
        let mut done = Done::default();
        self.poll(&generator, polls, &mut slot, &mut done).await;
        self.find(&generator, finds, &mut done).await;
        let round = &self;
        let generator = &generator;
        let singles: Vec<Done> = stream::iter(singles)
            .map(|(step, job)| async move { round.single(generator, step, job).await })
            .buffered(CALLS_AT_ONCE)
            .collect()
            .await;
        singles.into_iter().for_each(|one| done.add(one));
        done
    }

    /// Reports an event and keeps what it changed.
    async fn report(&self, job: &Job, event: Event, done: &mut Done) -> Option<Changed> {
        let happened = Happened { attempt: Some(job.attempt.number), ..Happened::to(&job.task, event.clone()) };
        match report(&self.world, happened).await {
            Ok(changed) => {
                done.outcomes.push((event, Ok(changed.clone())));
                Some(changed)
            }
            Err(PollError::Write(error)) => {
                match &error {
                    // Refused or stale: somebody else was faster, and the next look sees the rows as they are now.
                    WriteError::Refused { .. } | WriteError::Stale { .. } => {
                        tell!(Level::Debug, About::job(&job.task, &job.attempt), "not taken: {error}");
                    }
                    // The store has told it, once for all of them.
                    WriteError::Db(DbError::StorageFull(_)) => {
                        tell!(Level::Debug, trouble(job), "could not be written: {error}");
                    }
                    _ => tell!(Level::Error, trouble(job), "could not be written: {error}"),
                }
                done.not_committed.push(job.task.id.clone());
                done.outcomes.push((event, Err(error)));
                None
            }
            Err(error) => {
                tell!(Level::Warn, trouble(job), "not reported: {error}");
                done.not_committed.push(job.task.id.clone());
                None
            }
        }
    }

    async fn poll(
        &self,
        generator: &Generator,
        jobs: Vec<Job>,
        slot: &mut Option<OwnedSemaphorePermit>,
        done: &mut Done,
    ) {
        if jobs.is_empty() {
            return;
        }
        let asked: BTreeMap<TaskId, Job> = jobs.iter().map(|job| (job.task.id.clone(), job.clone())).collect();
        let sweep = AssertUnwindSafe(generator.driver.poll(jobs)).catch_unwind().await;
        // The next job may be asked about while this answer is on its way to the disk.
        drop(slot.take());
        let Ok(sweep) = sweep else {
            let about = About::generator(&generator.name).is(Kind::CallPanicked);
            tell!(Level::Error, about, "generator {}: a poll ended in a panic of contentd", generator.name);
            done.not_committed.extend(asked.into_keys());
            return;
        };
        done.calls += sweep.calls;
        let events = sweep.answers.into_iter();
        let events = events.filter_map(|(id, answer)| Some((asked.get(&id)?, Event::PollAnswered(answer))));
        self.report_all(events.collect(), done).await;
    }

    /// Reports what one sweep says of several jobs, in its order.
    async fn report_all(&self, events: Vec<(&Job, Event)>, done: &mut Done) {
        let report = |(job, event): (_, Event)| async move {
            let mut one = Done::default();
            self.report(job, event, &mut one).await;
            one
        };
        let mut reports = stream::iter(events.into_iter().map(report)).buffered(REPORTS_AT_ONCE);
        while let Some(one) = reports.next().await {
            done.add(one);
        }
    }

    /// Looks for jobs whose submit is in doubt; first whether anybody is left of the submit's processes. A job that is
    /// found is adopted whoever lives; only an absence needs a free lock.
    async fn find(&self, generator: &Generator, jobs: Vec<Job>, done: &mut Done) {
        let mut asked: BTreeMap<TaskId, (Job, bool)> = BTreeMap::new();
        for job in jobs {
            let was_quiet = job.attempt.quiet_since.is_some();
            let is_quiet = was_quiet || generator.driver.is_quiet(job.attempt.key.clone()).await;
            if is_quiet && !was_quiet && self.report(&job, Event::LockSeen { is_free: true }, done).await.is_none() {
                continue;
            }
            asked.insert(job.task.id.clone(), (job, is_quiet));
        }
        if asked.is_empty() {
            return;
        }
        let began_at = self.world.clock.now().utc;
        let jobs = asked.values().map(|(job, _)| job.clone()).collect();
        let sweep = AssertUnwindSafe(generator.driver.find(jobs)).catch_unwind().await;
        let Ok(sweep) = sweep else {
            let about = About::generator(&generator.name).is(Kind::CallPanicked);
            tell!(Level::Error, about, "generator {}: a search ended in a panic of contentd", generator.name);
            done.not_committed.extend(asked.into_keys());
            return;
        };
        done.calls += sweep.calls;
        let event_of = |(id, answer): (TaskId, FindAnswer)| {
            let (job, is_quiet) = asked.get(&id)?;
            let is_found = matches!(answer, FindAnswer::One { .. });
            let event = if *is_quiet || is_found {
                Event::FindAnswered { answer, began_at }
            } else {
                Event::LockSeen { is_free: false }
            };
            Some((job, event))
        };
        self.report_all(sweep.answers.into_iter().filter_map(event_of).collect(), done).await;
    }

    /// Whether nobody is left of the submit's processes; what was seen is committed.
    async fn see_lock(&self, generator: &Generator, job: &Job, done: &mut Done) -> bool {
        let is_free = generator.driver.is_quiet(job.attempt.key.clone()).await;
        self.report(job, Event::LockSeen { is_free }, done).await.is_some() && is_free
    }

    async fn single(&self, generator: &Arc<Generator>, step: Step, job: Job) -> Done {
        let mut done = Done::default();
        let work = self.single_step(generator, step, &job, &mut done);
        if AssertUnwindSafe(work).catch_unwind().await.is_err() {
            let about = About::job(&job.task, &job.attempt).is(Kind::CallPanicked);
            tell!(Level::Error, about, "{step:?} ended in a panic of contentd");
            done.not_committed.push(job.task.id.clone());
        }
        done
    }

    async fn single_step(&self, generator: &Arc<Generator>, step: Step, job: &Job, done: &mut Done) {
        match step {
            Step::Poll | Step::Find => {}
            Step::None => {
                tell!(Level::Error, trouble(job), "is due and there is nothing to do");
                done.not_committed.push(job.task.id.clone());
            }
            Step::ReportLostCall => {
                let why = "the call's owner is gone, and its outcome with it".to_owned();
                self.report(job, Event::CallLost(why), done).await;
            }
            Step::LookAtRun => self.look_at_run(generator, job, done).await,
            Step::Resend => self.resend(generator, job, done).await,
            Step::GiveUpDoubt => {
                if self.see_lock(generator, job, done).await {
                    let why = doubt_that_stands(generator, &job.attempt);
                    self.report(job, Event::DoubtStands(why), done).await;
                }
            }
            Step::PollOne => {
                self.poll_one(generator, job, done).await;
            }
            Step::Fetch => {
                self.fetch(job, done).await;
            }
            Step::Cancel if job.attempt.state == AttemptState::Unknown || job.attempt.is_resend_due => {
                self.cancel_in_doubt(generator, job, done).await;
            }
            Step::Cancel => self.cancel(generator, job, done).await,
            Step::Expire => self.expire(generator, job, done).await,
            Step::EndWatch => {
                self.report(job, Event::WatchEnded, done).await;
            }
        }
    }

    async fn look_at_run(&self, generator: &Generator, job: &Job, done: &mut Done) {
        let mut report = generator.driver.look_at_run(job.clone()).await;
        if job.attempt.state == AttemptState::Intended && has_begun(&report) {
            // Its start comes first; what it came to is seen at the next look, which is at once.
            report = RunReport::Started { reference: job.attempt.key.0.clone() };
        }
        self.report(job, Event::RunReported(report), done).await;
    }

    async fn resend(&self, generator: &Generator, job: &Job, done: &mut Done) {
        if job.attempt.quiet_since.is_none() && !self.see_lock(generator, job, done).await {
            return;
        }
        if self.report(job, Event::ResendBegun, done).await.is_none() {
            return;
        }
        done.calls += 1;
        let answer = AssertUnwindSafe(generator.driver.submit(job.clone())).catch_unwind().await;
        let panicked = |_| SubmitAnswer::Ambiguous("the call ended in a panic of contentd".to_owned());
        self.report(job, Event::SubmitAnswered(answer.unwrap_or_else(panicked)), done).await;
    }

    async fn poll_one(&self, generator: &Generator, job: &Job, done: &mut Done) -> Option<Changed> {
        done.calls += 1;
        let answer = generator.driver.poll_one(job.clone()).await;
        self.report(job, Event::PollAnswered(answer), done).await
    }

    async fn fetch(&self, job: &Job, done: &mut Done) -> Option<Changed> {
        let fetch = FetchPiece {
            task: job.task.clone(),
            attempt: job.attempt.clone(),
            is_late_piece_wanted: false,
            who: CONTENTD.to_owned(),
        };
        let event = Event::FetchAnswered(FetchAnswer::NotReady);
        match fetch_piece(&self.world, fetch).await {
            Ok(changed) => {
                done.outcomes.push((event, Ok(changed.clone())));
                Some(changed)
            }
            Err(error) => {
                tell!(Level::Warn, trouble(job), "not fetched: {error}");
                done.not_committed.push(job.task.id.clone());
                None
            }
        }
    }

    /// Cancels what may never have begun, or may have been done by now.
    async fn cancel_in_doubt(&self, generator: &Generator, job: &Job, done: &mut Done) {
        if generator.policy().is_blocking {
            let report = generator.driver.look_at_run(job.clone()).await;
            if has_begun(&report) {
                let reference = job.attempt.key.0.clone();
                self.report(job, Event::RunReported(RunReport::Started { reference }), done).await;
                return;
            }
        } else if job.attempt.quiet_since.is_none() {
            // Whoever lives, the cancel goes out; it proves the end only once nobody is left.
            self.see_lock(generator, job, done).await;
        }
        self.cancel(generator, job, done).await;
    }

    /// Cancels, and unless that proves the end, looks whether it came by itself.
    async fn cancel(&self, generator: &Generator, job: &Job, done: &mut Done) {
        done.calls += 1;
        let answer = generator.driver.cancel(job.clone()).await;
        let is_proved = answer == CancelAnswer::Ok;
        let changed = self.report(job, Event::CancelAnswered(answer), done).await;
        if is_proved || changed.is_none() {
            return;
        }
        self.ask_again(generator, job, done).await;
    }

    async fn ask_again(&self, generator: &Generator, job: &Job, done: &mut Done) -> Option<Changed> {
        if generator.policy().is_blocking {
            // Of a run in doubt the next round looks first.
            if job.attempt.state != AttemptState::Unknown {
                self.look_at_run(generator, job, done).await;
            }
            return None;
        }
        self.poll_one(generator, job, done).await
    }

    /// The time limit has passed: poll once more, cancel, and see what that proves. A crash in between is harmless: the
    /// deadline has still passed after it.
    async fn expire(&self, generator: &Generator, job: &Job, done: &mut Done) {
        match self.last_answer(generator, job, done).await {
            LastAnswer::Ended => return,
            // A job that a person wants to end is cancelled, whatever it is.
            LastAnswer::Unread(why) if job.task.state != TaskState::Cancelling => {
                self.report(job, Event::DeadlineUnread(why), done).await;
                return;
            }
            // Nor is a cancel sent blindly: it could throw away a piece that is paid for.
            LastAnswer::Unanswered(why) if job.task.state != TaskState::Cancelling => {
                self.report(job, Event::DeadlineUnanswered(why), done).await;
                return;
            }
            LastAnswer::Unread(_) | LastAnswer::Unanswered(_) | LastAnswer::Alive => {}
        }
        let policy = generator.policy();
        let mut is_end_proved = false;
        if policy.can_cancel && !job.attempt.is_cancel_refused {
            if job.attempt.is_resend_due && job.attempt.quiet_since.is_none() {
                self.see_lock(generator, job, done).await;
            }
            done.calls += 1;
            is_end_proved = generator.driver.cancel(job.clone()).await == CancelAnswer::Ok;
            if !is_end_proved && self.last_answer(generator, job, done).await == LastAnswer::Ended {
                return;
            }
        }
        self.report(job, Event::DeadlineReached { is_end_proved }, done).await;
    }

    /// Asks about the job; an end or a piece is reported and settles the matter.
    async fn last_answer(&self, generator: &Generator, job: &Job, done: &mut Done) -> LastAnswer {
        let event = if generator.policy().is_blocking {
            let report = generator.driver.look_at_run(job.clone()).await;
            if matches!(report, RunReport::Starting | RunReport::Started { .. } | RunReport::Running) {
                return LastAnswer::Alive;
            }
            Event::RunReported(report)
        } else {
            done.calls += 1;
            let answer = generator.driver.poll_one(job.clone()).await;
            match answer {
                PollAnswer::State { state: JobState::Completed | JobState::Failed | JobState::Cancelled, .. } => {}
                PollAnswer::Unreadable(why) => return LastAnswer::Unread(why),
                PollAnswer::Unavailable(why) => return LastAnswer::Unanswered(why),
                PollAnswer::State { .. } | PollAnswer::Missing { .. } => return LastAnswer::Alive,
            }
            Event::PollAnswered(answer)
        };
        self.report(job, event, done).await;
        LastAnswer::Ended
    }
}

impl Done {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.not_committed.extend(other.not_committed);
        self.outcomes.extend(other.outcomes);
    }
}

/// What a look past the time limit said.
#[derive(PartialEq, Eq)]
enum LastAnswer {
    /// An end or a piece, which is reported.
    Ended,
    /// It goes on, or nobody says that it does not.
    Alive,
    /// It cannot be read.
    Unread(String),
    /// There was none.
    Unanswered(String),
}

/// A job with which something could not be done.
fn trouble(job: &Job) -> About<'_> {
    About::job(&job.task, &job.attempt).is(Kind::TaskTrouble)
}

fn has_begun(report: &RunReport) -> bool {
    !matches!(report, RunReport::Starting | RunReport::NeverStarted(_))
}

async fn report(world: &World, happened: Happened) -> Result<Changed, PollError> {
    let results = world.peers.borrow().results.clone().ok_or(PollError::NoResultHandler)?;
    let answer = results.send(JobReported { happened }).await.map_err(|_| PollError::NoResultHandler)?;
    Ok(answer?)
}

async fn fetch_piece(world: &World, fetch: FetchPiece) -> Result<Changed, PollError> {
    let results = world.peers.borrow().results.clone().ok_or(PollError::NoResultHandler)?;
    let answer = results.send(fetch).await.map_err(|_| PollError::NoResultHandler)?;
    Ok(answer?)
}

/// Looks at one task now, for a person: polls it, and fetches its piece if it is ready.
pub async fn poll_now(world: World, poll: PollNow) -> Result<Task, PollError> {
    let generator =
        world.generator(&poll.task.generator).ok_or_else(|| PollError::NoGenerator(poll.task.generator.clone()))?;
    let asked = report(&world, Happened::by(&poll.task, Event::PollRequested, &poll.who)).await?;
    let task = asked.change.task;
    let Some(attempt) = asked.change.attempt else { return Ok(task) };
    // A call in flight keeps its owner. Should that be gone, the task wakes by itself when no call can be alive any more.
    if attempt.state == AttemptState::Intended && !generator.policy().is_blocking {
        return Ok(task);
    }
    let job = Job { task: task.clone(), attempt };
    let is_ready = job.task.state == TaskState::Held || job.attempt.is_ready;
    let fetch_of = |task: Task, attempt: Attempt| FetchPiece {
        task,
        attempt,
        is_late_piece_wanted: poll.is_late_piece_wanted,
        who: poll.who.clone(),
    };
    if is_ready && job.attempt.state == AttemptState::Accepted {
        return Ok(fetch_piece(&world, fetch_of(job.task, job.attempt)).await?.change.task);
    }
    let round = Round::new(world.clone(), task.generator.clone());
    let mut done = Done::default();
    if job.attempt.state == AttemptState::Accepted && generator.policy().is_blocking {
        return Ok(fetch_piece(&world, fetch_of(job.task, job.attempt)).await?.change.task);
    }
    if job.attempt.state == AttemptState::Accepted {
        round.poll_one(&generator, &job, &mut done).await;
    } else {
        done.add(round.run(vec![(job.task.clone(), job.attempt.clone())], None).await);
    }
    let last = done.outcomes.into_iter().rev().find_map(|(_, answer)| answer.ok());
    let Some(changed) = last else { return Ok(task) };
    let after = changed.change;
    match after.attempt {
        Some(attempt) if attempt.is_ready && attempt.state == AttemptState::Accepted => {
            Ok(fetch_piece(&world, fetch_of(after.task, attempt)).await?.change.task)
        }
        Some(_) | None => Ok(after.task),
    }
}

/// Looks at every given job now, and fetches what is ready.
pub async fn poll_all(world: World, jobs: Vec<(Task, Attempt)>) -> Result<PollStatistics, PollError> {
    let mut statistics = PollStatistics { total: u32::try_from(jobs.len()).unwrap_or(u32::MAX), ..Default::default() };
    let mut by_generator: BTreeMap<GeneratorName, Vec<(Task, Attempt)>> = BTreeMap::new();
    for (task, attempt) in jobs {
        by_generator.entry(task.generator.clone()).or_default().push((task, attempt));
    }
    for (name, jobs) in by_generator {
        let count = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        if world.generator(&name).is_none() {
            statistics.error += count;
            continue;
        }
        let round = Round::new(world.clone(), name.clone());
        let done = round.run(jobs, None).await;
        let mut last: BTreeMap<TaskId, (Event, Result<Changed, WriteError>)> = BTreeMap::new();
        for (event, answer) in done.outcomes {
            let Ok(changed) = &answer else {
                statistics.error += 1;
                continue;
            };
            last.insert(changed.change.task.id.clone(), (event, answer));
        }
        for (event, answer) in last.into_values() {
            let answer = fetch_if_ready(&world, answer).await;
            tally(&mut statistics, &event, &answer);
        }
    }
    Ok(statistics)
}

async fn fetch_if_ready(world: &World, answer: Result<Changed, WriteError>) -> Result<Changed, WriteError> {
    let changed = answer?;
    let ready = changed.change.attempt.as_ref().filter(|attempt| {
        attempt.is_ready && attempt.state == AttemptState::Accepted && changed.change.task.state.is_active()
    });
    let Some(attempt) = ready else { return Ok(changed) };
    let fetch = FetchPiece {
        task: changed.change.task.clone(),
        attempt: attempt.clone(),
        is_late_piece_wanted: false,
        who: CONTENTD.to_owned(),
    };
    match fetch_piece(world, fetch).await {
        Ok(fetched) => Ok(fetched),
        Err(PollError::Write(error)) => Err(error),
        Err(_) => Ok(changed),
    }
}
