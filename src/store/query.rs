//! What can be asked, by use case. Each question is bounded: it names a limit, or its answer is small by nature.

pub mod notice;
mod schedules;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::write::{Account, KeptImage};
use super::{DbError, LookupError};
use crate::publish::Handout;
use crate::task::account::AccountLimits;
use crate::task::content::{ContentRecord, PoolEntry, PoolState, ReviewState};
use crate::task::learning::PastJob;
use crate::task::{
    AccountId, Attempt, AttemptKey, AttemptState, AuditRow, ContentId, GeneratorName, Now, PoolId, Task, TaskId,
    TaskState, Timestamp,
};

pub use schedules::{ScheduleAgenda, ScheduleQueries, ScheduleStanding};

/// Which tasks. Conditions hold together; an empty filter is every task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskFilter {
    /// In one of these states; empty: any.
    pub states: Vec<TaskState>,
    /// Of this account.
    pub account: Option<AccountId>,
    /// At this generator.
    pub generator: Option<GeneratorName>,
    /// Created at or after.
    pub since: Option<Timestamp>,
    /// Whose error contains this text (case-insensitive for ASCII).
    pub error: Option<String>,
    /// Accepted and past the time limit now.
    pub overdue_at: Option<Now>,
}

/// How much one search for a text may look at: no index knows it, and a reader must not go through a million rows for one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchBounds {
    /// So many rows.
    pub rows: u32,
    /// So many between two looks at the time.
    pub slice: u32,
    /// So long.
    pub time: std::time::Duration,
}

impl Default for SearchBounds {
    fn default() -> Self {
        Self { rows: 100_000, slice: 2_000, time: std::time::Duration::from_millis(250) }
    }
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Searched {
    /// The tasks, newest first.
    pub tasks: Vec<Task>,
    /// The oldest task that was looked at, where the search stopped before its end without having found enough.
    pub stopped_at: Option<TaskId>,
}

/// How the publish pool stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolStanding {
    /// Entries that are not at their end, by state; what there is none of is missing.
    pub counts: BTreeMap<PoolState, u64>,
    /// When the oldest became due of those that wait and are due.
    pub oldest_due: Option<Timestamp>,
    /// Pieces that wait for a review before they may be pooled; no more are counted than [`Self::MOST_TO_REVIEW`].
    pub to_review: u64,
}

impl PoolStanding {
    /// The states that are counted. What is out or taken out only grows, and is not.
    pub const COUNTED: &'static [PoolState] =
        &[PoolState::Pending, PoolState::Publishing, PoolState::Failed, PoolState::Held];
    /// So many pieces wait for nobody who would read their number.
    pub const MOST_TO_REVIEW: u64 = 10_000;
}

/// Which part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most so many.
    pub limit: u32,
    /// After so many.
    pub offset: u32,
    /// Only what has a smaller row number than this (tasks: `seq`; others: their id).
    pub before: Option<i64>,
}

impl Page {
    /// The first `limit`.
    pub const fn first(limit: u32) -> Self {
        Self { limit, offset: 0, before: None }
    }
}

/// A waiting task, as small as a lane needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyTask {
    /// Which.
    pub id: TaskId,
    /// Its priority.
    pub priority: u8,
    /// Where it stands in line.
    pub queued_at: Timestamp,
    /// Creation order, which decides among equals.
    pub seq: i64,
}

/// The head of one lane: the waiting tasks of one generator and account that may run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneHead {
    /// The generator.
    pub generator: GeneratorName,
    /// The account.
    pub account: AccountId,
    /// In the order of running.
    pub tasks: Vec<ReadyTask>,
}

/// Attempts of a span of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Submits {
    /// How many.
    pub count: u32,
    /// When the first of them was intended.
    pub first: Timestamp,
}

/// Jobs at generators now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The generator.
    pub generator: GeneratorName,
    /// The account.
    pub account: AccountId,
    /// Active tasks, and final ones whose job is still watched.
    pub jobs: u32,
    /// Of these, the final ones.
    pub watched: u32,
}

/// Whether the files of an attempt's key are still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// A job of the attempt may be alive, or its task is held: a person may want to look.
    Needed,
    /// The attempt has ended, and so nothing reads its files again.
    Ended,
}

impl KeyUse {
    /// What an attempt and its task make of its key.
    pub const fn of(attempt: AttemptState, task: TaskState) -> Self {
        if attempt.may_be_alive() || matches!(task, TaskState::Held) { Self::Needed } else { Self::Ended }
    }

    /// What the state of a pool entry makes of the key of a handing out; `is_current` while nobody had it since.
    pub const fn of_handout(status: PoolState, is_current: bool) -> Self {
        match status {
            PoolState::Publishing | PoolState::Held if is_current => Self::Needed,
            _ => Self::Ended,
        }
    }
}

/// Which content records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContentFilter {
    /// Of this account.
    pub account: Option<AccountId>,
    /// With this review state.
    pub review: Option<ReviewState>,
    /// Of this task.
    pub task: Option<TaskId>,
    /// The oldest first, not the newest.
    pub is_oldest_first: bool,
}

/// Which pool entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolFilter {
    /// Of this account.
    pub account: Option<AccountId>,
    /// With this status; none: all but removed ones.
    pub status: Option<PoolState>,
    /// When it is: what waits and is due goes out before what is not. None: all of it is taken for due.
    pub now: Option<Timestamp>,
}

/// The place of an entry in a list of the pool: what is going out, what is due by priority and due time, what is not due yet by the
/// time at which it will be, then what waits for a person, and at the end what is out.
pub fn place_in_pool(
    entry: &PoolEntry,
    now: Option<Timestamp>,
) -> (u8, Timestamp, std::cmp::Reverse<u8>, Timestamp, PoolId) {
    let is_later = now.is_some_and(|now| entry.scheduled_at > now);
    let group = group_in_pool(entry.status, is_later);
    let first = if group == group_in_pool(PoolState::Pending, true) { entry.scheduled_at } else { Timestamp(0) };
    (group, first, std::cmp::Reverse(entry.priority), entry.scheduled_at, entry.id)
}

/// See [`place_in_pool`].
pub fn group_in_pool(status: PoolState, is_later: bool) -> u8 {
    match status {
        PoolState::Publishing => 0,
        PoolState::Pending if !is_later => 1,
        PoolState::Pending => 2,
        PoolState::Held | PoolState::Failed => 3,
        PoolState::Published => 4,
        PoolState::Removed => 5,
    }
}

/// What happened since a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Tasks by state, now.
    pub by_state: BTreeMap<String, u64>,
    /// Tasks that became completed, failed, timeout or cancelled in the time asked about.
    pub finished: BTreeMap<String, u64>,
    /// Tasks created in that time.
    pub created: u64,
    /// Retries spent by the tasks created in that time.
    pub retries: u64,
    /// Mean seconds from acceptance to completion, of those completed in that time.
    pub mean_duration_s: Option<f64>,
    /// Mean seconds from creation to acceptance, of those completed in that time.
    pub mean_wait_s: Option<f64>,
    /// Words written in that time.
    pub words: u64,
}

/// A text that may be longer than a message can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LongText {
    /// The piece of a content record as it was written.
    Piece(ContentId),
    /// Its HTML.
    Html(ContentId),
    /// What no piece could be read from, of an attempt of a task.
    RawOutput(TaskId, u32),
}

/// A part of a long text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPart {
    /// Whole characters.
    pub text: String,
    /// Where the next part begins, in bytes.
    pub next: u64,
    /// The length of the whole text in bytes.
    pub total: u64,
}

impl TextPart {
    /// Of bytes that begin at `from` in a text: a character that they end in the middle of is left for the next part. A
    /// hand with a shell may have stored what is no text; that is shown with a sign for each byte that is none.
    pub fn of(mut bytes: Vec<u8>, from: u64, total: u64) -> Self {
        if let Err(error) = std::str::from_utf8(&bytes)
            && error.error_len().is_none()
            && error.valid_up_to() > 0
        {
            bytes.truncate(error.valid_up_to());
        }
        let next = from.saturating_add(bytes.len() as u64);
        let text = String::from_utf8(bytes);
        let text = text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Self { text, next, total }
    }
}

/// The reading side of a backend. Called on threads that may block.
pub trait Queries: ScheduleQueries + notice::NoticeQueries + Send + Sync + 'static {
    /// The task whose id is `name` or begins with it (with or without `task-`).
    fn find_task(&self, name: &str) -> Result<Result<TaskId, LookupError>, DbError>;
    /// A task and its current attempt.
    fn task(&self, id: &TaskId) -> Result<Option<(Task, Option<Attempt>)>, DbError>;
    /// Every attempt of a task, oldest first.
    fn attempts(&self, id: &TaskId) -> Result<Vec<Attempt>, DbError>;
    /// The same without their raw outputs, which may be long, and whether each has one.
    fn attempts_without_output(&self, id: &TaskId) -> Result<Vec<(Attempt, bool)>, DbError>;
    /// A part of a long text: about `most` bytes from the byte `from` on, which is 0 or where another part ended. None where
    /// there is no such text.
    fn text_part(&self, text: &LongText, from: u64, most: u32) -> Result<Option<TextPart>, DbError>;
    /// The audit trail of a task, oldest first.
    fn history(&self, id: &TaskId) -> Result<Vec<AuditRow>, DbError>;
    /// Tasks, newest first.
    fn tasks(&self, filter: &TaskFilter, page: Page) -> Result<Vec<Task>, DbError>;
    /// Of these, those whose topic contains a text (case-insensitive for ASCII); the empty text is in each. So a filter by error
    /// is looked for within bounds, too.
    fn search(&self, filter: &TaskFilter, topic: &str, page: Page, bounds: SearchBounds) -> Result<Searched, DbError>;
    /// Pending tasks in the order of running: those ready at `now` by priority, age and `seq`, then the delayed ones by their time.
    fn pending(&self, now: Timestamp, page: Page) -> Result<Vec<Task>, DbError>;
    /// How many tasks are in each state.
    fn counts(&self) -> Result<BTreeMap<TaskState, u64>, DbError>;
    /// How many unfinished tasks there are of each generator but `known`, of those that have any; counted up to 100,000.
    fn unfinished_elsewhere(&self, known: &BTreeSet<GeneratorName>) -> Result<BTreeMap<GeneratorName, u64>, DbError>;
    /// Tasks whose wake time has come and that are not pending, earliest first, but none with one of these `seq`s.
    fn due(&self, now: Timestamp, limit: u32, except: &BTreeSet<i64>) -> Result<Vec<(Task, Attempt)>, DbError>;
    /// When the next task that is not pending wakes, of those that wake after `now`.
    fn next_wake(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError>;
    /// Every active task with its attempt: what a start must recover.
    fn active(&self) -> Result<Vec<(Task, Attempt)>, DbError>;
    /// The heads of the lanes that have ready tasks: at most `per_lane` tasks of at most `lanes` lanes, the best heads
    /// first. Lanes in `except` are left out: they cannot run now, and must not hide those that can.
    fn lane_heads(
        &self,
        now: Timestamp,
        per_lane: u32,
        lanes: u32,
        except: &BTreeSet<(GeneratorName, AccountId)>,
    ) -> Result<Vec<LaneHead>, DbError>;
    /// The ready task of a lane that is longest in line, whatever its priority is.
    fn oldest_of_lane(
        &self,
        now: Timestamp,
        generator: &GeneratorName,
        account: AccountId,
    ) -> Result<Option<ReadyTask>, DbError>;
    /// When the next delayed pending task becomes ready.
    fn next_ready(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError>;
    /// Jobs at generators now: attempts that may be alive, of active tasks or still watched.
    fn in_flight(&self) -> Result<Vec<InFlight>, DbError>;
    /// The attempts of a generator that were intended since a time and until another, for each account that has any;
    /// withdrawn ones are left out.
    fn submits_since(
        &self,
        generator: &GeneratorName,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<BTreeMap<AccountId, Submits>, DbError>;
    /// The last completed attempts of a generator that said when it took them, newest end first.
    fn past_jobs(&self, generator: &GeneratorName, limit: u32) -> Result<Vec<PastJob>, DbError>;
    /// When the oldest of the jobs that tasks wait for at a generator was accepted, of those that were accepted since a time.
    fn oldest_job(&self, generator: &GeneratorName, since: Timestamp) -> Result<Option<Timestamp>, DbError>;
    /// What these keys are needed for; one that no attempt has is missing from the answer. At most some hundred keys.
    fn key_uses(&self, keys: &[AttemptKey]) -> Result<BTreeMap<AttemptKey, KeyUse>, DbError>;
    /// Accounts by number.
    fn accounts(&self) -> Result<Vec<Account>, DbError>;
    /// An account by number or, if that finds none, by name.
    fn find_account(&self, id_or_name: &str) -> Result<Option<Account>, DbError>;
    /// A content record.
    fn content(&self, id: ContentId) -> Result<Option<ContentRecord>, DbError>;
    /// The same with empty `content` and `html_content`.
    fn content_without_piece(&self, id: ContentId) -> Result<Option<ContentRecord>, DbError>;
    /// Content records, newest first unless the filter says otherwise. Their `content` and `html_content` are empty: a list does not carry pieces.
    fn contents(&self, filter: &ContentFilter, page: Page) -> Result<Vec<ContentRecord>, DbError>;
    /// The images of a content record that are, or are to be, kept; by position.
    fn images(&self, content: ContentId) -> Result<Vec<KeptImage>, DbError>;
    /// Images whose time has come, the longest waiting first.
    fn images_due(&self, now: Timestamp, limit: u32) -> Result<Vec<KeptImage>, DbError>;
    /// When the next image wakes, of those that wake after `now`.
    fn next_image_after(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError>;
    /// Accounts with a limit that may keep a task from starting.
    fn account_limits(&self) -> Result<BTreeMap<AccountId, AccountLimits>, DbError>;
    /// Pool entries in the order in which they go out: by priority, then due time, then number.
    fn pool(&self, filter: &PoolFilter, page: Page) -> Result<Vec<PoolEntry>, DbError>;
    /// How the pool stands at `now`.
    fn pool_standing(&self, now: Timestamp) -> Result<PoolStanding, DbError>;
    /// A pool entry with every handing out of it, oldest first.
    fn pool_entry(&self, id: PoolId) -> Result<Option<(PoolEntry, Vec<Handout>)>, DbError>;
    /// The entry of a piece that stands in the pool, unless it was taken out.
    fn pool_entry_of(&self, id: ContentId) -> Result<Option<PoolEntry>, DbError>;
    /// Entries that are being published and must be looked at by then, earliest first.
    fn pool_wakes(&self, until: Timestamp, limit: u32) -> Result<Vec<(PoolEntry, Handout)>, DbError>;
    /// Accounts that have a pending entry which is due, by number.
    fn pool_accounts_due(&self, now: Timestamp) -> Result<Vec<Account>, DbError>;
    /// The next due entries of an account, of these categories if given.
    fn pool_heads(
        &self,
        account: AccountId,
        categories: Option<&[String]>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<PoolEntry>, DbError>;
    /// When an entry becomes due, or must be looked at, next after `now`.
    fn next_pool_time(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError>;
    /// How many entries a publisher of the configuration was given since a time and until another, but for those that it
    /// gave back.
    fn publishes_since(&self, publisher: &str, since: Timestamp, until: Timestamp) -> Result<u32, DbError>;
    /// Settings whose name begins with `prefix`, by name.
    fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>, DbError>;
    /// How many finished tasks a cleanup would delete.
    fn count_finished_before(&self, time: Timestamp) -> Result<u64, DbError>;
    /// Statistics since a time (none: ever), of one account or generator if given.
    fn statistics(
        &self,
        since: Option<Timestamp>,
        account: Option<AccountId>,
        generator: Option<&GeneratorName>,
    ) -> Result<Statistics, DbError>;
}
