//! Group commit: one thread owns the writing side, takes all that waits, commits it, then answers each.
//!
//! While it commits, the next batch gathers, so a slow disk makes larger batches and not longer queues of fsyncs. The order
//! of writes is the order in which [`Writer::write`] was called; a caller that waits for its answers needs no more. The
//! surprise: after a fatal failure the thread lives on and answers every write with that failure, because nobody knows
//! what the disk holds and a caller without an answer would hang.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use futures_util::future::BoxFuture;
use log::Level;
use tokio::sync::oneshot;

use super::write::{ScheduleWrite, Write, WriteError, Written};
use super::{Backend, DbError, Writer};
use crate::events::Kind;
use crate::metrics::Counters;
use crate::tell;

/// How much one transaction takes: enough to share an fsync well, and small enough that nobody waits long for others.
/// A submit of many tasks weighs as many.
pub const LARGEST_BATCH: usize = 512;

/// The name of the committing thread, as `ps` and a debugger show it.
pub const THREAD_NAME: &str = "contentd-commit";

type Answer = Result<Written, WriteError>;

struct Waiting {
    write: Write,
    answer: oneshot::Sender<Answer>,
}

/// What is told of a fatal failure, once.
pub type OnFatal = Box<dyn FnOnce(DbError) + Send>;

/// The handle of the committing thread. Dropping it commits what waits and joins the thread.
pub struct GroupCommit {
    /// None once closed.
    queue: Mutex<Option<Sender<Waiting>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    fatal: Arc<OnceLock<DbError>>,
    counters: Counters,
}

impl GroupCommit {
    /// Starts the thread. `on_fatal` is called on it, once, when the database cannot be trusted any more: the daemon stops.
    pub fn start(backend: impl Backend, on_fatal: impl FnOnce(DbError) + Send + 'static) -> std::io::Result<Self> {
        let (queue, waiting) = channel();
        let fatal = Arc::new(OnceLock::new());
        let counters = Counters::default();
        let committer = Committer {
            backend,
            waiting,
            fatal: Arc::clone(&fatal),
            on_fatal: Some(Box::new(on_fatal)),
            left_over: None,
            is_full: false,
            counters: counters.clone(),
        };
        let thread = Builder::new().name(THREAD_NAME.to_owned()).spawn(move || committer.run())?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), fatal, counters })
    }

    /// Commits all that waits, then ends the thread and closes the database. Later writes are refused. Blocks.
    pub fn close(&self) {
        // The thread ends when the last sender is gone and the queue is empty.
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic on it was answered and told where it happened.
            let _ = thread.join();
        }
    }

    fn is_queued(&self, waiting: Waiting) -> bool {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().is_some_and(|queue| queue.send(waiting).is_ok())
    }
}

impl Drop for GroupCommit {
    fn drop(&mut self) {
        self.close();
    }
}

fn closed(fatal: &OnceLock<DbError>) -> WriteError {
    let closed = || DbError::Refused("the database is closed: the daemon is stopping".into());
    WriteError::Db(fatal.get().cloned().unwrap_or_else(closed))
}

impl Writer for GroupCommit {
    fn write(&self, write: Write) -> BoxFuture<'static, Answer> {
        let (answer, answered) = oneshot::channel();
        // Queued here and not when the future is first polled: the order of calls is the order of commits.
        let is_queued = self.is_queued(Waiting { write, answer });
        let fatal = Arc::clone(&self.fatal);
        Box::pin(async move {
            if !is_queued {
                return Err(closed(&fatal));
            }
            answered.await.unwrap_or_else(|_| Err(closed(&fatal)))
        })
    }

    fn counters(&self) -> Option<Counters> {
        Some(self.counters.clone())
    }
}

struct Committer<B> {
    backend: B,
    waiting: Receiver<Waiting>,
    fatal: Arc<OnceLock<DbError>>,
    on_fatal: Option<OnFatal>,
    /// A write that did not fit into the last batch: the first of the next.
    left_over: Option<Waiting>,
    /// The last batch found no room: said once, and that there is room again once.
    is_full: bool,
    counters: Counters,
}

impl<B: Backend> Committer<B> {
    fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            let (writes, answers): (Vec<Write>, Vec<_>) =
                batch.into_iter().map(|waiting| (waiting.write, waiting.answer)).unzip();
            let began = Instant::now();
            let results = self.commit(&writes);
            let is_good = !results.iter().all(|result| matches!(result, Err(WriteError::Db(_))));
            self.counters.committed(writes.len(), began.elapsed(), self.backend.last_sync(), is_good);
            for (answer, result) in answers.into_iter().zip(results) {
                // Nobody waits any more: the write stands all the same.
                let _ = answer.send(result);
            }
        }
    }

    /// Waits for one write and takes what waits behind it; none when there will be no more.
    fn next_batch(&mut self) -> Option<Vec<Waiting>> {
        let first = match self.left_over.take() {
            Some(waiting) => waiting,
            None => self.waiting.recv().ok()?,
        };
        let mut weight = weight(&first.write);
        let mut batch = vec![first];
        while weight < LARGEST_BATCH {
            let Ok(next) = self.waiting.try_recv() else { break };
            weight += self::weight(&next.write);
            if weight > LARGEST_BATCH {
                self.left_over = Some(next);
                break;
            }
            batch.push(next);
        }
        Some(batch)
    }

    /// One answer for each write, whatever happens.
    fn commit(&mut self, writes: &[Write]) -> Vec<Answer> {
        let failure = match self.fatal.get() {
            Some(fatal) => fatal.clone(),
            None => match catch_unwind(AssertUnwindSafe(|| self.backend.commit(writes))) {
                Ok(Ok(answers)) if answers.len() == writes.len() => {
                    if std::mem::take(&mut self.is_full) {
                        tell!(Level::Info, Kind::StorageRoom, "the database can be written again");
                    }
                    return answers;
                }
                Ok(Ok(_)) => DbError::Fatal("a commit did not answer every write".into()),
                Ok(Err(error)) => error,
                Err(_) => DbError::Fatal("the committing thread panicked in the middle of a batch".into()),
            },
        };
        if matches!(failure, DbError::Fatal(_)) && self.fatal.set(failure.clone()).is_ok() {
            tell!(
                Level::Error,
                Kind::StorageFailed,
                "{failure}; the daemon stops, because nobody knows what the disk holds"
            );
            if let Some(on_fatal) = self.on_fatal.take() {
                on_fatal(failure.clone());
            }
        }
        if matches!(failure, DbError::StorageFull(_)) && !std::mem::replace(&mut self.is_full, true) {
            tell!(Level::Error, Kind::StorageFull, "{failure}; submits are refused until a write succeeds");
        }
        writes.iter().map(|_| Err(WriteError::Db(failure.clone()))).collect()
    }
}

fn weight(write: &Write) -> usize {
    match write {
        Write::SubmitTasks { tasks, .. } | Write::Schedule(ScheduleWrite::Submit { tasks, .. }) => tasks.len().max(1),
        Write::AddAccount { .. }
        | Write::Account(_)
        | Write::Content(_)
        | Write::Image(_)
        | Write::Transition(_)
        | Write::Review { .. }
        | Write::PutSetting { .. }
        | Write::Pool(_)
        | Write::MarkEnded { .. }
        | Write::Schedule(_)
        | Write::Cleanup { .. }
        | Write::ShiftWakeTimes { .. }
        | Write::Notice(_) => 1,
    }
}
