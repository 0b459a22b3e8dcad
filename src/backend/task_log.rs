//! What a task's generator wrote to standard error: what is kept of it, and what a run under way has written by now.
//!
//! It must not wait for a generator: a run is looked at through its files. The surprise: whoever follows a run has seen most
//! of its text when the run ends and all of it becomes one entry, so of that entry only the rest is told.

use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;

use super::DaemonBackend;
use super::streams::stopped;
use crate::control::api::{ApiError, LogEntryView, LogReply};
use crate::control::feed::{Feed, FeedReader, feed};
use crate::generator::log::{BOUNDS, LogEntry, TaskLog, bounded};
use crate::generator::{Job, Written};
use crate::store::TaskChanged;
use crate::task::outcome::Verb;
use crate::task::{Attempt, Task, TaskId};

/// How often a run under way is looked at for somebody who follows it.
const RUN_LOOK: Duration = Duration::from_secs(1);
/// How many replies wait for a reader before it counts as too slow.
const FOLLOW_CAPACITY: usize = 64;
/// The end of a call that has none yet.
const RUNNING: &str = "running";

/// What one look at a task shows.
struct Look {
    task: Task,
    attempt: Option<Attempt>,
    log: TaskLog,
    /// What a run under way has written, and in which attempt.
    run: Option<(u32, Written)>,
}

/// What somebody who follows was told of the run of an attempt.
struct Told {
    attempt: u32,
    /// So far, in bytes of what the run wrote.
    upto: u64,
    /// The text, to be taken off the entry that the run becomes; none if it was too long for that.
    text: Option<String>,
}

impl Told {
    fn add(&mut self, new: &str) {
        // An entry keeps no more than this either.
        self.text = self.text.take().filter(|text| text.len() + new.len() <= BOUNDS.call).map(|text| text + new);
    }
}

impl Look {
    /// Nothing more is to be expected.
    fn is_complete(&self) -> bool {
        let is_alive = self.attempt.as_ref().is_some_and(|attempt| attempt.state.may_be_alive());
        self.task.state.is_final() && !is_alive
    }
}

impl DaemonBackend {
    pub(super) async fn task_log(&self, name: &str) -> Result<LogReply, ApiError> {
        let id = self.task_id(name).await?;
        let look = self.look_at_log(&id, None).await?;
        let is_complete = look.is_complete();
        let mut entries: Vec<LogEntryView> = look.log.entries.into_iter().map(Into::into).collect();
        let run = look.run.filter(|(_, written)| !written.text.is_empty());
        entries.extend(run.map(|(attempt, written)| running(attempt, &written.text)));
        Ok(LogReply { entries, dropped: look.log.dropped, is_complete })
    }

    pub(super) async fn follow_task_log(&self, name: &str) -> Result<FeedReader<LogReply>, ApiError> {
        // Subscribed before the first look, so that nothing falls between.
        let (changes, grown) = (self.world.store.watch(), self.logs.watch());
        let id = self.task_id(name).await?;
        let first = self.look_at_log(&id, None).await?;
        let (writer, reader) = feed(FOLLOW_CAPACITY);
        let follower = Follower { backend: self.clone(), id, told: 0, run: None };
        tokio::spawn(follower.run(first, changes, grown, writer));
        Ok(reader)
    }

    /// `told`: of which attempt's run how many bytes need not be read again.
    async fn look_at_log(&self, id: &TaskId, told: Option<(u32, u64)>) -> Result<Look, ApiError> {
        let (task, attempt) = self.task(id.as_str()).await?;
        // The run comes first: what it wrote is either still its own or in the log by the time that is read.
        let run = self.written_by_run(&task, attempt.as_ref(), told).await;
        let (logs, asked) = (self.logs.clone(), id.clone());
        let read = tokio::task::spawn_blocking(move || logs.read(&asked)).await;
        let log = read
            .map_err(ApiError::internal)?
            .map_err(|error| ApiError::internal(format!("the log of {id} cannot be read: {error}")))?;
        // It ended between the two looks, and its entry is there.
        let is_told =
            |attempt: u32| log.entries.iter().any(|entry| entry.verb == Verb::Run && entry.attempt == attempt);
        let run = run.filter(|(attempt, _)| !is_told(*attempt));
        Ok(Look { task, attempt, log, run })
    }

    async fn written_by_run(
        &self,
        task: &Task,
        attempt: Option<&Attempt>,
        told: Option<(u32, u64)>,
    ) -> Option<(u32, Written)> {
        let attempt = attempt.filter(|attempt| attempt.state.may_be_alive())?;
        let generator = self.world.generator(&task.generator).filter(|generator| generator.policy().is_blocking)?;
        let job = Job { task: task.clone(), attempt: attempt.clone() };
        let from = told.filter(|(of, _)| *of == attempt.number).map_or(0, |(_, upto)| upto);
        Some((attempt.number, generator.driver.written_so_far(job, from).await?))
    }
}

/// Somebody who follows the log of a task.
struct Follower {
    backend: DaemonBackend,
    id: TaskId,
    /// How many entries were told, those counted that are not kept any more.
    told: u64,
    /// What was told of the run under way, and of which attempt.
    run: Option<Told>,
}

impl Follower {
    async fn run(
        mut self,
        first: Look,
        mut changes: tokio::sync::broadcast::Receiver<TaskChanged>,
        mut grown: tokio::sync::broadcast::Receiver<TaskId>,
        writer: Feed<LogReply>,
    ) {
        let mut stopping = self.backend.stopping.clone();
        let mut is_first = true;
        let mut look = first;
        loop {
            let has_run = look.run.is_some();
            let reply = self.news(look);
            let is_complete = reply.is_complete;
            let is_worth_telling = is_first || is_complete || !reply.entries.is_empty();
            if is_worth_telling && writer.send(reply).is_err() || is_complete {
                return;
            }
            is_first = false;
            tokio::select! {
                biased;
                () = writer.closed() => return,
                () = stopped(&mut stopping) => return writer.fail(ApiError::Draining),
                is_left = is_about(&mut changes, |changed| changed.task.id == self.id) => if !is_left { return },
                is_left = is_about(&mut grown, |task| *task == self.id) => if !is_left { return },
                () = tokio::time::sleep(RUN_LOOK), if has_run => {}
            }
            look =
                match self.backend.look_at_log(&self.id, self.run.as_ref().map(|told| (told.attempt, told.upto))).await
                {
                    Ok(look) => look,
                    Err(error) => return writer.fail(error),
                };
        }
    }

    /// What of a look was not told yet.
    fn news(&mut self, look: Look) -> LogReply {
        let is_complete = look.is_complete();
        let dropped = look.log.dropped;
        let all = dropped + look.log.entries.len() as u64;
        if all < self.told {
            // The log went (the bound of all logs) and began anew.
            self.told = 0;
        }
        let known = usize::try_from(self.told.saturating_sub(dropped)).unwrap_or(usize::MAX);
        self.told = all;
        let new: Vec<LogEntry> = look.log.entries.into_iter().skip(known).collect();
        let mut entries: Vec<LogEntryView> = new.into_iter().map(|entry| self.rest_of(entry)).collect();
        entries.extend(self.news_of_run(look.run));
        LogReply { entries, dropped, is_complete }
    }

    /// An entry without what was told of it while its run was under way. It is told even if no text is left: it has the end.
    fn rest_of(&mut self, mut entry: LogEntry) -> LogEntryView {
        let is_of_run = entry.verb == Verb::Run && self.run.as_ref().is_some_and(|told| told.attempt == entry.attempt);
        if is_of_run
            && let Some(Told { text: Some(told), .. }) = self.run.take()
            && let Some(rest) = entry.text.strip_prefix(told.as_str())
        {
            entry.text = rest.to_owned();
        }
        entry.into()
    }

    fn news_of_run(&mut self, run: Option<(u32, Written)>) -> Option<LogEntryView> {
        let (attempt, Written { text, upto }) = run?;
        let fresh = || Told { attempt, upto: 0, text: Some(String::new()) };
        let mut told = self.run.take().filter(|told| told.attempt == attempt).unwrap_or_else(fresh);
        told.upto = upto;
        told.add(&text);
        self.run = Some(told);
        (!text.is_empty()).then(|| running(attempt, &text))
    }
}

/// Resolves when something is told that fits, or when something was missed; `false` when nothing will be told any more.
async fn is_about<T: Clone>(told: &mut tokio::sync::broadcast::Receiver<T>, fits: impl Fn(&T) -> bool) -> bool {
    loop {
        match told.recv().await {
            Ok(item) if fits(&item) => return true,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return true,
            Err(RecvError::Closed) => return false,
        }
    }
}

fn running(attempt: u32, text: &str) -> LogEntryView {
    LogEntry::now(attempt, Verb::Run, RUNNING, None, bounded(text, BOUNDS.call)).into()
}

impl From<LogEntry> for LogEntryView {
    fn from(entry: LogEntry) -> Self {
        Self {
            at: entry.at.into(),
            attempt: entry.attempt,
            verb: entry.verb.to_string(),
            end: entry.end,
            outcome: entry.outcome,
            text: entry.text,
            times: entry.times,
            last_at: entry.last_at.into(),
        }
    }
}
