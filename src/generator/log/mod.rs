//! What generators write to standard error, kept for people: one file a task under `<state>/logs`.
//!
//! It must never fail a call or slow it down: entries go through a bounded queue to a thread of their own, and one that finds
//! no room, in the queue or on the disk, is dropped and counted. It must not be given anything but standard error with its
//! secrets taken out: pieces stand in the database. The surprise: generators are hostile here too. Megabytes, control
//! characters and the same complaint with every poll are the normal case, so everything is bounded ([`Bounds`]) and what is
//! said again is only counted.

mod file;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::Level;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::runfile::{key_as_name, make_private_dir};
use crate::events::{About, Kind};
use crate::task::outcome::Verb;
use crate::task::{TaskId, Timestamp};
use crate::tell;
use crate::text::counted;

/// Entries that wait for the disk. More than that means that the disk stands still.
const QUEUE: usize = 256;
/// How many changes a follower may lag behind before it looks for itself.
const BACKLOG: usize = 256;
/// How long a reader waits for entries that are on their way.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);
/// How long the end of the daemon waits for them.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);
const CLOSE_LOOK: Duration = Duration::from_millis(5);
const SUFFIX: &str = ".jsonl";
/// What a file takes on a disk at least.
const BLOCK: u64 = 4096;

/// How much is kept, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Text of one call: its beginning and its end.
    pub call: usize,
    /// The file of one task: the newest entries.
    pub task: u64,
    /// All files: those that were written to last.
    pub all: u64,
}

/// What a daemon keeps.
pub const BOUNDS: Bounds = Bounds { call: 64 << 10, task: 1 << 20, all: 1 << 30 };

/// What one call of a generator wrote to standard error.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogEntry {
    /// How often in a row a call of this verb wrote just this.
    pub times: u32,
    /// When it did last.
    pub last_at: Timestamp,
    /// When it did first.
    pub at: Timestamp,
    /// In which attempt.
    pub attempt: u32,
    /// In a call of which verb.
    pub verb: Verb,
    /// How the call ended: `exit 1`, `signal 9`, `timed out`.
    pub end: String,
    /// What it came to, where that is known of a single call.
    pub outcome: Option<String>,
    /// What it wrote, secrets taken out, cut to a bound. Untrusted.
    pub text: String,
}

impl LogEntry {
    /// What was written just now.
    pub fn now(attempt: u32, verb: Verb, end: impl Into<String>, outcome: Option<&str>, text: String) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        Self { times: 1, last_at: at, at, attempt, verb, end: end.into(), outcome: outcome.map(str::to_owned), text }
    }
}

/// The log of one task.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TaskLog {
    /// Entries that made way for newer ones.
    pub dropped: u64,
    /// Oldest first.
    pub entries: Vec<LogEntry>,
}

/// The logs of every task. Cheap to clone; the thread starts with the first entry.
#[derive(Clone)]
pub struct GeneratorLogs {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    bounds: Bounds,
    writer: Mutex<Writing>,
    changes: broadcast::Sender<TaskId>,
    lost: AtomicU64,
}

enum Writing {
    NotYet,
    On { queue: SyncSender<Order>, thread: JoinHandle<()> },
    Over,
}

enum Order {
    Append(TaskId, Box<LogEntry>),
    Remove(Vec<TaskId>),
    Sweep(Duration),
    Flush(SyncSender<()>),
}

impl GeneratorLogs {
    /// Below this state directory. Nothing is made before something is to be kept.
    pub fn new(state_dir: &Path) -> Self {
        Self::with_bounds(state_dir, BOUNDS)
    }

    /// With bounds of one's own.
    pub fn with_bounds(state_dir: &Path, bounds: Bounds) -> Self {
        let (changes, _) = broadcast::channel(BACKLOG);
        let dir = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned()).join("logs");
        let writer = Mutex::new(Writing::NotYet);
        Self { shared: Arc::new(Shared { dir, bounds, writer, changes, lost: AtomicU64::new(0) }) }
    }

    /// Keeps an entry, unless the disk stands still. Does not block.
    pub fn put(&self, task: &TaskId, mut entry: LogEntry) {
        entry.text = bounded(&entry.text, self.shared.bounds.call);
        if !self.order(Order::Append(task.clone(), Box::new(entry))) {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// These tasks are deleted: their logs go with them. One that cannot go now is swept away by its age.
    pub fn remove(&self, tasks: Vec<TaskId>) {
        if !tasks.is_empty() {
            self.order(Order::Remove(tasks));
        }
    }

    /// Removes logs that were not written to for so long.
    pub fn sweep(&self, older_than: Duration) {
        self.order(Order::Sweep(older_than));
    }

    /// The log of a task, what is on its way to the disk included. Blocks.
    pub fn read(&self, task: &TaskId) -> io::Result<TaskLog> {
        let (told, flushed) = sync_channel(1);
        if self.is_writing() && self.order(Order::Flush(told)) {
            // A disk that stands still: what is there must do.
            let _ = flushed.recv_timeout(FLUSH_PATIENCE);
        }
        match path_of(&self.shared.dir, task) {
            Some(path) => file::read(&path),
            None => Ok(TaskLog::default()),
        }
    }

    /// Whose log has grown, from now on.
    pub fn watch(&self) -> broadcast::Receiver<TaskId> {
        self.shared.changes.subscribe()
    }

    /// Writes what waits and takes nothing more. Blocks for a few seconds at most.
    pub fn close(&self) {
        let writing = std::mem::replace(&mut *self.writing(), Writing::Over);
        let Writing::On { queue, thread } = writing else { return };
        // The thread ends when the queue is empty and nobody can put anything into it.
        drop(queue);
        let deadline = Instant::now() + CLOSE_PATIENCE;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(CLOSE_LOOK);
        }
    }

    fn writing(&self) -> std::sync::MutexGuard<'_, Writing> {
        self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_writing(&self) -> bool {
        matches!(*self.writing(), Writing::On { .. })
    }

    /// Whether it was taken.
    fn order(&self, order: Order) -> bool {
        let mut writing = self.writing();
        if matches!(*writing, Writing::NotYet) {
            let (queue, orders) = sync_channel(QUEUE);
            let shared = Arc::downgrade(&self.shared);
            let work = Writer { shared, orders, total: None, is_failing: false };
            match Builder::new().name("generator-logs".into()).spawn(move || work.run()) {
                Ok(thread) => *writing = Writing::On { queue, thread },
                Err(_) => return false,
            }
        }
        match &*writing {
            Writing::On { queue, .. } => queue.try_send(order).is_ok(),
            Writing::NotYet | Writing::Over => false,
        }
    }
}

/// The thread that writes.
struct Writer {
    /// Weak: the handles' end is the thread's.
    shared: std::sync::Weak<Shared>,
    orders: Receiver<Order>,
    /// What all files take, once it was counted.
    total: Option<u64>,
    /// The last entry could not be kept: said once.
    is_failing: bool,
}

impl Writer {
    fn run(mut self) {
        while let Ok(order) = self.orders.recv() {
            let Some(shared) = self.shared.upgrade() else { return };
            match order {
                Order::Append(task, entry) => {
                    let kept = self.append(&shared, &task, &entry);
                    self.tell(&shared, &task, kept);
                }
                Order::Remove(tasks) => tasks.iter().filter_map(|task| path_of(&shared.dir, task)).for_each(|path| {
                    // What is not there need not go.
                    let _ = fs::remove_file(path);
                    self.total = None;
                }),
                Order::Sweep(older_than) => self.sweep(&shared.dir, older_than),
                Order::Flush(told) => drop(told.send(())),
            }
        }
    }

    fn tell(&mut self, shared: &Shared, task: &TaskId, kept: io::Result<()>) {
        let lost = shared.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tell!(
                Level::Warn,
                Kind::LogNotKept,
                "the standard error of {lost} calls was not kept: the disk was too slow for it"
            );
        }
        match kept {
            Ok(()) => {
                self.is_failing = false;
                // No receiver is no error: nobody follows.
                let _ = shared.changes.send(task.clone());
            }
            Err(error) if !std::mem::replace(&mut self.is_failing, true) => {
                tell!(
                    Level::Warn,
                    About::id(task).is(Kind::LogNotKept),
                    "{}: what generators write to standard error cannot be kept: {error}",
                    shared.dir.display()
                );
            }
            Err(_) => {}
        }
    }

    fn append(&mut self, shared: &Shared, task: &TaskId, entry: &LogEntry) -> io::Result<()> {
        let path = path_of(&shared.dir, task).ok_or_else(|| io::Error::other("the task's id names no file"))?;
        make_private_dir(&shared.dir)?;
        let total = match self.total {
            Some(total) => total,
            None => listed(&shared.dir)?.iter().map(|log| log.bytes).sum(),
        };
        let before = fs::metadata(&path).map_or(0, |meta| on_disk(meta.len()));
        let after = file::append(&path, entry, shared.bounds.task);
        let now = fs::metadata(&path).map_or(0, |meta| on_disk(meta.len()));
        let mut total = total.saturating_sub(before).saturating_add(now);
        if total > shared.bounds.all {
            total = evict(&shared.dir, &path, shared.bounds.all)?;
        }
        self.total = Some(total);
        after
    }

    fn sweep(&mut self, dir: &Path, older_than: Duration) {
        self.total = None;
        let logs = match listed(dir) {
            Ok(logs) => logs,
            Err(error) => {
                let shown = dir.display();
                tell!(Level::Warn, Kind::CleanupFailed, "{shown}: the logs of tasks cannot be listed: {error}");
                return;
            }
        };
        let now = SystemTime::now();
        // A time in the future is not old, whatever the clock says now.
        let is_old = |log: &&Listed| now.duration_since(log.changed).is_ok_and(|age| age > older_than);
        let removed = logs.iter().filter(is_old).filter(|log| fs::remove_file(&log.path).is_ok()).count();
        if removed > 0 {
            tell!(
                Level::Info,
                Kind::CleanedUp,
                "removed the logs of {}, past retention.generator_logs",
                counted(removed as u64, "task", "tasks")
            );
        }
    }
}

/// One file of the directory.
struct Listed {
    path: PathBuf,
    bytes: u64,
    changed: SystemTime,
}

/// Every log; a directory that is not there has none.
fn listed(dir: &Path) -> io::Result<Vec<Listed>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut logs = Vec::new();
    for entry in entries {
        let entry = entry?;
        // What is no log is somebody else's; one that has gone since is none any more.
        let is_log = entry.file_name().to_str().is_some_and(|name| name.ends_with(SUFFIX));
        let Some(meta) = entry.metadata().ok().filter(|meta| is_log && meta.is_file()) else { continue };
        let Ok(changed) = meta.modified() else { continue };
        logs.push(Listed { path: entry.path(), bytes: on_disk(meta.len()), changed });
    }
    Ok(logs)
}

/// Removes the logs that were written to longest ago until a tenth of the bound is free; what is left takes so much.
fn evict(dir: &Path, kept: &Path, bound: u64) -> io::Result<u64> {
    let mut logs = listed(dir)?;
    logs.sort_by(|a, b| a.changed.cmp(&b.changed).then_with(|| a.path.cmp(&b.path)));
    let mut total: u64 = logs.iter().map(|log| log.bytes).sum();
    for log in logs.iter().filter(|log| log.path != kept) {
        if total <= bound - bound / 10 {
            break;
        }
        // One that cannot go now may go the next time.
        if fs::remove_file(&log.path).is_ok() {
            total -= log.bytes;
        }
    }
    Ok(total)
}

fn on_disk(len: u64) -> u64 {
    len.div_ceil(BLOCK) * BLOCK
}

/// Ids come from a database, and a database can be edited.
fn path_of(dir: &Path, task: &TaskId) -> Option<PathBuf> {
    let name = key_as_name(&task.as_str().into()).map(str::to_owned)?;
    Some(dir.join(format!("{name}{SUFFIX}")))
}

/// The beginning and the end of a text that is too long: causes come first, and what killed it comes last.
pub fn bounded(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(bytes / 4);
    let tail = text.ceil_char_boundary(text.len() - bytes / 4 * 3);
    format!("{}\n[… {} bytes left out …]\n{}", &text[..head], tail - head, &text[tail..])
}

#[cfg(test)]
mod tests;
