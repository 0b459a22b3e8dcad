//! Group commit: one thread owns the writing side, takes all that waits, commits it, then answers each.
//!
//! While it commits, the next batch gathers, so a slow disk makes larger batches and not longer queues of fsyncs. The order
//! of writes is the order in which [`Writer::write`] was called; a caller that waits for its answers needs no more. The
//! surprise: after a fatal failure the thread lives on and answers every write with that failure, because nobody knows
//! what the disk holds and a caller without an answer would hang.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use log::Level;
use tokio::sync::oneshot;

use super::write::{ScheduleWrite, Write, WriteError, Written};
use super::{Backend, DbError, Writer};
use crate::events::Kind;
use crate::metrics::Counters;
use crate::tell;
use crate::text::counted;

/// How much one transaction takes: enough to share an fsync well, and small enough that nobody waits long for others.
/// A submit of many tasks weighs as many.
pub const LARGEST_BATCH: usize = 512;

/// How often the database is looked after while nobody writes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The setting that is written to see whether there is room again, and removed when there is.
const ROOM: &str = "storage/room";

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
    trouble: Trouble,
}

/// Why nothing can be written now; none when something was written last.
type Trouble = Arc<Mutex<Option<String>>>;

impl GroupCommit {
    /// Starts the thread. `on_fatal` is called on it, once, when the database cannot be trusted any more: the daemon stops.
    pub fn start(backend: impl Backend, on_fatal: impl FnOnce(DbError) + Send + 'static) -> std::io::Result<Self> {
        let (queue, waiting) = channel();
        let fatal = Arc::new(OnceLock::new());
        let counters = Counters::default();
        let trouble = Trouble::default();
        let committer = Committer {
            backend,
            waiting,
            fatal: Arc::clone(&fatal),
            on_fatal: Some(Box::new(on_fatal)),
            left_over: None,
            trouble: Arc::clone(&trouble),
            refused: 0,
            counters: counters.clone(),
        };
        let thread = Builder::new().name(THREAD_NAME.to_owned()).spawn(move || committer.run())?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), fatal, counters, trouble })
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

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Committer<B> {
    backend: B,
    waiting: Receiver<Waiting>,
    fatal: Arc<OnceLock<DbError>>,
    on_fatal: Option<OnFatal>,
    /// A write that did not fit into the last batch: the first of the next.
    left_over: Option<Waiting>,
    /// The last batch found no room: said once, and that there is room again once, with how many writes were refused.
    trouble: Trouble,
    refused: u64,
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
            None => self.wait()?,
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

    /// Waits for a write, and looks after the database as long as there is none.
    fn wait(&mut self) -> Option<Waiting> {
        loop {
            match self.waiting.recv_timeout(LOOK_EVERY) {
                Ok(waiting) => return Some(waiting),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn look(&mut self) {
        if self.fatal.get().is_some() {
            return;
        }
        if let Err(failure) = self.backend.look() {
            self.note(&failure, 0);
        }
        // Whether there is room again shows only when something is written.
        if self.is_full() {
            let refused = self.refused;
            self.commit(&[put(ROOM, Some("wanted".to_owned()))]);
            if self.is_full() {
                // Nobody asked for this one.
                self.refused = refused;
            } else {
                self.commit(&[put(ROOM, None)]);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn set_trouble(&self, trouble: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.trouble.lock().unwrap_or_else(PoisonError::into_inner), trouble)
    }

    /// One answer for each write, whatever happens.
    fn commit(&mut self, writes: &[Write]) -> Vec<Answer> {
        let failure = match self.fatal.get() {
            Some(fatal) => fatal.clone(),
            None => match catch_unwind(AssertUnwindSafe(|| self.backend.commit(writes))) {
                Ok(Ok(answers)) if answers.len() == writes.len() => {
                    if self.set_trouble(None).is_some() {
                        let refused = counted(std::mem::take(&mut self.refused), "write was", "writes were");
                        tell!(
                            Level::Info,
                            Kind::StorageRoom,
                            "the database can be written again; {refused} refused meanwhile"
                        );
                    }
                    return answers;
                }
                Ok(Ok(_)) => DbError::Fatal("a commit did not answer every write".into()),
                Ok(Err(error)) => error,
                Err(_) => DbError::Fatal("the committing thread panicked in the middle of a batch".into()),
            },
        };
        self.note(&failure, writes.len());
        writes.iter().map(|_| Err(WriteError::Db(failure.clone()))).collect()
    }

    /// Tells a failure once, and whoever must know of it.
    fn note(&mut self, failure: &DbError, writes: usize) {
        match failure {
            DbError::Fatal(_) => {
                if self.fatal.set(failure.clone()).is_ok() {
                    tell!(
                        Level::Error,
                        Kind::StorageFailed,
                        "{failure}; the daemon stops, because nobody knows what the disk holds"
                    );
                    if let Some(on_fatal) = self.on_fatal.take() {
                        on_fatal(failure.clone());
                    }
                }
            }
            DbError::StorageFull(_) => {
                self.refused += writes as u64;
                if self.set_trouble(Some(failure.to_string())).is_none() {
                    tell!(Level::Error, Kind::StorageFull, "{failure}; submits are refused until a write succeeds");
                }
            }
            DbError::Refused(_) => {}
        }
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

fn put(name: &str, value: Option<String>) -> Write {
    Write::PutSetting { name: name.to_owned(), value }
}
