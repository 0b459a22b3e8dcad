//! A store to write to and to ask, and short names for what the tests write.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contentd::store::Backend;
use contentd::store::memory::MemoryDb;
use contentd::store::query::Queries;
use contentd::store::sqlite::{self, SqliteBackend, SqliteQueries};
use contentd::store::write::{
    Account, Changed, Claim, Env, NewTask, PendingLimits, SubmittedTask, Transition, Write, WriteError, Written,
};
use contentd::task::content::{RenderedPiece, ReviewMove};
use contentd::task::outcome::{FetchAnswer, Image, JobState, Piece, PollAnswer, SubmitAnswer};
use contentd::task::retry::{Backoff, PollSchedule};
use contentd::task::{
    AccountId, AttemptKey, BootId, ContentId, CorrectedState, Event, GeneratorName, Now, Policy, Task, TaskId,
    TaskState, Timestamp,
};
use tempfile::TempDir;

/// A time to begin at.
pub const START: i64 = 1_700_000_000_000;

/// A backend and its questions.
pub struct Side<B: AsBackend + ?Sized = dyn Backend> {
    pub queries: Arc<dyn Queries>,
    _directory: Option<TempDir>,
    pub backend: Box<B>,
}

pub fn memory() -> Side {
    let db = MemoryDb::new();
    Side { backend: Box::new(db.clone()), queries: Arc::new(db), _directory: None }
}

pub fn sqlite() -> Side {
    let (backend, queries, directory) = real();
    Side { backend: Box::new(backend), queries: Arc::new(queries), _directory: Some(directory) }
}

/// A backend of a known type, or any.
pub trait AsBackend {
    fn as_backend(&mut self) -> &mut dyn Backend;
}

impl AsBackend for SqliteBackend {
    fn as_backend(&mut self) -> &mut dyn Backend {
        self
    }
}

impl AsBackend for dyn Backend {
    fn as_backend(&mut self) -> &mut dyn Backend {
        self
    }
}

/// A real database in a directory that lives as long as the third part.
pub fn real() -> (SqliteBackend, SqliteQueries, TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let opened = open(&directory.path().join("contentd.db"));
    (opened.backend, opened.queries, directory)
}

pub fn open(path: &Path) -> sqlite::Opened {
    sqlite::open(path, 2).unwrap_or_else(|error| panic!("{error}"))
}

impl Side<SqliteBackend> {
    pub fn of(backend: SqliteBackend, queries: SqliteQueries) -> Self {
        Self { backend: Box::new(backend), queries: Arc::new(queries), _directory: None }
    }

    pub fn into_backend(self) -> SqliteBackend {
        *self.backend
    }
}

impl<B: AsBackend + ?Sized> Side<B> {
    pub fn write(&mut self, write: Write) -> Result<Written, WriteError> {
        one(self.backend.as_backend(), write)
    }

    pub fn account(&mut self, name: &str) -> Account {
        let write =
            Write::AddAccount { name: name.into(), external_id: Some(format!("x-{name}")), now: Timestamp(START) };
        match self.write(write) {
            Ok(Written::Account(account)) => account,
            other => panic!("an account was expected: {other:?}"),
        }
    }

    pub fn submit(&mut self, tasks: Vec<NewTask>) -> Vec<SubmittedTask> {
        match self.write(submit(tasks)) {
            Ok(Written::Submitted(tasks)) => tasks,
            other => panic!("a submit was expected to go through: {other:?}"),
        }
    }

    pub fn change(&mut self, id: &TaskId, at: i64, event: Event) -> Changed {
        match self.write(event_of(id, at, event)) {
            Ok(Written::Changed(changed)) => *changed,
            other => panic!("{id}: a change was expected: {other:?}"),
        }
    }

    pub fn state(&self, id: &TaskId) -> TaskState {
        self.queries.task(id).expect("a question").expect("a task").0.state
    }

    /// Takes a pending task to its piece.
    pub fn complete(&mut self, id: &TaskId, at: i64) -> Changed {
        self.change(id, at, Event::Claimed { key: key_of(id, at) });
        self.change(id, at + 1, accepted(&format!("job of {id} at {at}")));
        self.change(id, at + 2, polled(JobState::Processing));
        self.change(id, at + 3, polled(JobState::Completed));
        self.change(id, at + 4, piece("# Words\n\nwritten well"))
    }
}

pub fn one(backend: &mut dyn Backend, write: Write) -> Result<Written, WriteError> {
    let mut answers = backend.commit(&[write]).map_err(WriteError::Db)?;
    assert_eq!(answers.len(), 1);
    answers.pop().expect("one answer for one write")
}

pub fn now(at: i64) -> Now {
    Now { utc: Timestamp(at), boot_id: BootId("boot".into()), boot_ms: at - START }
}

pub fn policy() -> Arc<Policy> {
    Arc::new(Policy {
        is_idempotent: false,
        is_ref_our_key: false,
        is_blocking: false,
        is_free_to_repeat: false,
        can_find: true,
        can_cancel: true,
        can_poll_one: false,
        retry: Backoff { initial: Duration::from_secs(30), factor: 2.0, max: Duration::from_secs(600), jitter: 0.2 },
        polls: PollSchedule { interval: Duration::from_secs(30), learned: None, is_batch: false },
        settle: Duration::from_secs(60),
        find_limit: Duration::from_secs(900),
        submit_limit: Duration::from_secs(40),
        dead_when: None,
    })
}

pub fn id(n: usize) -> TaskId {
    TaskId(format!("task-{n:012}"))
}

pub fn key_of(id: &TaskId, at: i64) -> AttemptKey {
    AttemptKey(format!("{id}-{at}"))
}

pub fn task(n: usize, account: AccountId) -> Task {
    Task {
        id: id(n),
        seq: 0,
        account_id: account,
        topic: format!("Topic {n}: 人工智能 \u{0}'\";--"),
        keywords: vec!["one, with a comma".into(), "二".into()],
        category: Some("essays".into()),
        requirements: Some("line\nline".into()),
        tone: None,
        priority: 5,
        auto_approve: true,
        generator: GeneratorName("assumed".into()),
        state: TaskState::Pending,
        attempt: 0,
        retry_count: 0,
        max_retries: 3,
        time_limit_s: 1800,
        progress: None,
        reason: None,
        error: None,
        content_id: None,
        key: None,
        submitted_by: "1000:ada".into(),
        rewrites: None,
        created_at: Timestamp(START + n as i64),
        queued_at: Timestamp(START + n as i64),
        submitted_at: None,
        started_at: None,
        completed_at: None,
        wake_at: None,
        updated_at: Timestamp(START + n as i64),
        restored_at: None,
        not_before: None,
    }
}

pub fn new(task: Task) -> NewTask {
    NewTask { digest: format!("digest of {}", task.topic), task, claim: None, limits: PendingLimits::default() }
}

pub fn claimed(task: Task, at: i64) -> NewTask {
    let claim = Claim { key: key_of(&task.id, at), policy: policy() };
    NewTask { claim: Some(claim), ..new(task) }
}

pub fn submit(tasks: Vec<NewTask>) -> Write {
    Write::SubmitTasks { tasks, max_pending: 1_000_000, now: now(START) }
}

/// The wall clock was set; the anchor tells by how much.
pub fn shift(by_ms: i64) -> Write {
    Write::ShiftWakeTimes { by_ms, anchor: by_ms.to_string() }
}

pub fn env(at: i64) -> Env {
    Env {
        now: now(at),
        policy: policy(),
        draw: 0.5,
        who: "contentd".into(),
        is_late_piece_wanted: false,
        is_outage: false,
    }
}

pub fn event_of(id: &TaskId, at: i64, event: Event) -> Write {
    let rendered = matches!(&event, Event::FetchAnswered(FetchAnswer::Piece(_))).then(|| RenderedPiece {
        content: "unused".into(),
        html: "<h1>Words</h1>".into(),
        plain_text: "Words written well".into(),
        content_hash: format!("hash of {id}"),
    });
    let (task_id, env, rules) = (id.clone(), env(at), Arc::default());
    Write::Transition(Box::new(Transition { task_id, attempt: None, event, env, rendered, rules }))
}

pub fn accepted(reference: &str) -> Event {
    let vars = BTreeMap::from([("run".to_owned(), "7".to_owned())]);
    Event::SubmitAnswered(SubmitAnswer::Accepted { reference: reference.into(), vars })
}

pub fn polled(state: JobState) -> Event {
    Event::PollAnswered(PollAnswer::State {
        state,
        theirs: state.to_string(),
        error: None,
        progress: Some("half".into()),
        vars: BTreeMap::new(),
    })
}

pub fn piece(content: &str) -> Event {
    let object = Image { url: "b.png".into(), object_json: Some(r#"{"url":"b.png","alt":"b"}"#.into()) };
    Event::FetchAnswered(FetchAnswer::Piece(Box::new(Piece {
        content: content.into(),
        html: None,
        images: vec![Image::bare("a.png"), object],
        score: Some(0.75),
    })))
}

/// The numbers of tasks, as [`id`] made them.
pub fn names(tasks: &[contentd::task::Task]) -> Vec<&str> {
    tasks.iter().map(|task| task.id.as_str().trim_start_matches("task-").trim_start_matches('0')).collect()
}

/// A person's review of what has this hash.
pub fn review_of(content_id: ContentId, decision: ReviewMove, expected_hash: Option<&str>) -> Write {
    Write::Review {
        content_id,
        decision,
        reason: Some("read it".into()),
        expected_hash: expected_hash.map(str::to_owned),
        who: "1001:bob".into(),
        due: None,
        now: Timestamp(START + 500),
    }
}

/// A person's word about where a task stands.
pub fn correct(to: CorrectedState) -> Event {
    Event::Corrected { to, reason: "a person says so".into(), abandon: false }
}
