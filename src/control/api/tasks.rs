//! `io.contentd.Tasks`: parameters and replies.
//!
//! Parameters refuse unknown fields; every field of a reply is always present, null where unset. Durations come in as
//! `30m` or seconds and go out as seconds; times go both ways as RFC 3339.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checked;
use super::error::ApiError;
use crate::control::parts::join_text;
use crate::control::values::{TextOrNumber, WireTime};

/// What to write, as a submitter says it: one entry of a batch.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// For whom: number or name.
    pub account: TextOrNumber,
    /// About what.
    pub topic: String,
    /// Instructions to the generator.
    #[serde(default)]
    pub requirements: Option<String>,
    /// Words that must occur.
    #[serde(default)]
    pub keywords: Option<Vec<String>>,
    /// A shelf for the piece.
    #[serde(default)]
    pub category: Option<String>,
    /// Its tone.
    #[serde(default)]
    pub tone: Option<String>,
    /// 1 to 10; 10 runs first.
    #[serde(default)]
    pub priority: Option<i64>,
    /// Of each attempt: `30m` or seconds.
    #[serde(default)]
    pub time_limit: Option<TextOrNumber>,
    /// Retries that may be spent.
    #[serde(default)]
    pub max_retries: Option<i64>,
    /// Approve and pool the piece when it comes.
    #[serde(default)]
    pub auto_approve: Option<bool>,
    /// Which generator.
    #[serde(default)]
    pub generator: Option<String>,
    /// The submitter's own key: the same key with the same contents is the same task.
    #[serde(default)]
    pub key: Option<String>,
    /// Not before so long from now: `10m` or seconds.
    #[serde(default)]
    pub delay: Option<TextOrNumber>,
}

/// `Submit`. With `dry_run` everything is checked and nothing is kept.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitParams {
    /// What to write.
    pub task: Submission,
    /// Check only.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// A task that was submitted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Submitted {
    /// Its id; null after a dry run.
    pub task_id: Option<String>,
    /// Its state; null after a dry run.
    pub state: Option<String>,
    /// The key was known with the same contents: this is the earlier task, and nothing was added.
    pub was_known: bool,
}

/// `SubmitBatch`: all or nothing.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitBatchParams {
    /// What to write.
    pub tasks: Vec<Submission>,
    /// Check only.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// The answer to a batch, in its order. With `more`, long answers come in several replies.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SubmitBatchReply {
    /// The tasks.
    pub tasks: Vec<Submitted>,
}

/// `Stage`: puts one part of a batch aside that is larger than a message. The same part again replaces it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageParams {
    /// A name that the client makes up, random; it belongs to the calling user.
    pub batch: String,
    /// Which part, from 0.
    pub part: u32,
    /// The part.
    pub tasks: Vec<Submission>,
}

/// What is staged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StageReply {
    /// Entries staged so far.
    pub staged: u32,
}

/// `SubmitStaged`: commits a staged batch, all or nothing.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitStagedParams {
    /// Which.
    pub batch: String,
    /// Of how many parts it consists.
    pub parts: u32,
    /// Check only.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// A task by id or unique prefix.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskParams {
    /// Id or prefix, with or without `task-`.
    pub task: String,
}

/// A task on the wire.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TaskView {
    /// `task-` and 12 characters.
    pub task_id: String,
    /// One of the ten states.
    pub state: String,
    /// For whom.
    pub account_id: i64,
    /// About what.
    pub topic: String,
    /// Words that must occur.
    pub keywords: Vec<String>,
    /// A shelf for the piece.
    pub category: Option<String>,
    /// Instructions to the generator.
    pub requirements: Option<String>,
    /// The tone.
    pub tone: Option<String>,
    /// 1 to 10; 10 runs first.
    pub priority: u8,
    /// Approve and pool the piece when it comes.
    pub auto_approve: bool,
    /// Which generator writes it.
    pub generator: String,
    /// The current attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Retries spent.
    pub retry_count: u32,
    /// Retries that may be spent.
    pub max_retries: u32,
    /// The job's reference at the generator.
    pub external_ref: Option<String>,
    /// The job's state in the generator's words.
    pub generator_state: Option<String>,
    /// What the generator last said of its progress.
    pub progress: Option<String>,
    /// Why it stands where it stands: why a waiting task waits.
    pub reason: Option<String>,
    /// What last went wrong.
    pub error: Option<String>,
    /// The current content record.
    pub content_id: Option<i64>,
    /// The submitter's key.
    pub key: Option<String>,
    /// `uid:name`.
    pub submitted_by: String,
    /// Of each attempt, in seconds.
    pub time_limit: u32,
    /// When it was submitted to us.
    pub created_at: WireTime,
    /// When the generator accepted the current attempt.
    pub submitted_at: Option<WireTime>,
    /// When the generator was first seen working on it.
    pub started_at: Option<WireTime>,
    /// When it became final.
    pub completed_at: Option<WireTime>,
    /// The end of the current attempt's time limit.
    pub timeout_at: Option<WireTime>,
    /// When a pending task may run; null: at once.
    pub next_attempt_at: Option<WireTime>,
    /// When an active task is looked at next.
    pub next_poll_at: Option<WireTime>,
    /// When anything last changed.
    pub updated_at: WireTime,
    /// What a person can do with it: `poll release adopt absent fail`; null unless it is held.
    pub ways_out: Option<Vec<String>>,
}

/// A task alone.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TaskReply {
    /// The task.
    pub task: TaskView,
}

/// An attempt on the wire.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AttemptView {
    /// From 1.
    pub attempt: u32,
    /// Where it stands.
    pub state: String,
    /// What the generator got as our id.
    pub key: String,
    /// The generator's reference.
    pub external_ref: Option<String>,
    /// The state in the generator's words.
    pub generator_state: Option<String>,
    /// How often it was submitted under its key.
    pub sends: u32,
    /// How often it was polled.
    pub polls: u32,
    /// When its intent was committed.
    pub intended_at: WireTime,
    /// When the generator accepted it.
    pub accepted_at: Option<WireTime>,
    /// When it ended.
    pub ended_at: Option<WireTime>,
    /// The end of its time limit.
    pub timeout_at: Option<WireTime>,
    /// Why it ended.
    pub error: Option<String>,
}

/// Everything about one task.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ShowReply {
    /// The task.
    pub task: TaskView,
    /// The generator's raw output: of the piece, or what no piece could be read from.
    pub result: Option<String>,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
}

impl ShowReply {
    /// Joins the next reply of the same answer to this one.
    pub fn join(&mut self, part: Self) {
        join_text(&mut self.result, part.result);
        self.attempts.extend(part.attempts);
    }
}

/// One row of the audit trail.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When.
    pub at: WireTime,
    /// What happened.
    pub event: String,
    /// The state before; null for the first row.
    pub from_state: Option<String>,
    /// The state after.
    pub to_state: String,
    /// The attempt that it concerns; 0 where none.
    pub attempt: u32,
    /// The attempt's state before.
    pub attempt_from: Option<String>,
    /// The attempt's state after.
    pub attempt_to: Option<String>,
    /// Why.
    pub why: Option<String>,
    /// Who: `contentd` or `uid:name`.
    pub who: String,
}

/// The audit trail of a task, oldest first. With `more`, long ones come in several replies.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HistoryReply {
    /// The rows.
    pub events: Vec<HistoryEntry>,
}

/// What one call of a generator wrote to standard error. Untrusted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LogEntryView {
    /// When; of what a run under way has written, when it was read.
    pub at: WireTime,
    /// The attempt.
    pub attempt: u32,
    /// What was asked: `submit`, `run`, `poll`, `fetch` …
    pub verb: String,
    /// How the call ended: `exit 1`, `signal 9`, `timed out`, `lost`; `running`.
    pub end: String,
    /// What it came to; null where that is not known.
    pub outcome: Option<String>,
    /// What it wrote, secrets taken out, cut to a bound.
    pub text: String,
    /// How often in a row calls of this verb wrote just this.
    pub times: u32,
    /// When the last of them did.
    pub last_at: WireTime,
}

/// The log of a task, oldest first. With `more`, what comes until the task has ended follows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LogReply {
    /// The entries; of a reply after the first, new ones.
    pub entries: Vec<LogEntryView>,
    /// Older entries that made way for newer ones.
    pub dropped: u64,
    /// The task and its job have ended, and nothing more is to be expected.
    pub is_complete: bool,
}

/// Which tasks; conditions hold together.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFilterParams {
    /// States and the groups `running unfinished finished`; `overdue` stands alone.
    #[serde(default)]
    pub states: Option<Vec<String>>,
    /// Of this account: number or name.
    #[serde(default)]
    pub account: Option<TextOrNumber>,
    /// At this generator.
    #[serde(default)]
    pub generator: Option<String>,
    /// Created at or after: RFC 3339.
    #[serde(default)]
    pub since: Option<String>,
    /// Whose error contains this text.
    #[serde(default)]
    pub error: Option<String>,
}

/// `List`: newest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListParams {
    /// Which; null: every task.
    #[serde(default)]
    pub filter: Option<TaskFilterParams>,
    /// At most so many (50; at most 1,000).
    #[serde(default)]
    pub limit: Option<i64>,
    /// After so many.
    #[serde(default)]
    pub offset: Option<i64>,
    /// Only what was submitted before this task.
    #[serde(default)]
    pub before: Option<String>,
    /// Whose topic contains this text.
    #[serde(default)]
    pub topic: Option<String>,
}

/// Tasks. With `more`, long answers come in several replies.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TasksReply {
    /// The tasks.
    pub tasks: Vec<TaskView>,
    /// The search for a topic or an error stopped at this task without having found enough: what is older was not looked at.
    #[serde(default)]
    pub searched_to: Option<String>,
}

/// `Queue`: pending tasks in the order of running.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueParams {
    /// At most so many (50; at most 1,000).
    #[serde(default)]
    pub limit: Option<i64>,
    /// After so many.
    #[serde(default)]
    pub offset: Option<i64>,
}

/// The queue.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct QueueReply {
    /// Pending tasks in all.
    pub size: u64,
    /// The first of them.
    pub tasks: Vec<TaskView>,
}

/// `Cancel`: tasks by id, or by a filter.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelParams {
    /// By id or prefix.
    #[serde(default)]
    pub tasks: Option<Vec<String>>,
    /// Or all that fit.
    #[serde(default)]
    pub filter: Option<TaskFilterParams>,
    /// Say what would be done only.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// `Release`: tasks that a restore from a backup holds, by id, or by a filter.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseParams {
    /// By id or prefix.
    #[serde(default)]
    pub tasks: Option<Vec<String>>,
    /// Or all that fit.
    #[serde(default)]
    pub filter: Option<TaskFilterParams>,
    /// Say what would be done only.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// `Retry`: final tasks by id, or by a filter.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryParams {
    /// By id or prefix.
    #[serde(default)]
    pub tasks: Option<Vec<String>>,
    /// Or all that fit.
    #[serde(default)]
    pub filter: Option<TaskFilterParams>,
    /// Say what would be done only.
    #[serde(default)]
    pub dry_run: Option<bool>,
    /// Count retries from 0 again.
    #[serde(default)]
    pub reset_count: Option<bool>,
    /// Give up a job that may be alive; needs `reason`, by id only.
    #[serde(default)]
    pub abandon: Option<bool>,
    /// Why it is given up.
    #[serde(default)]
    pub reason: Option<String>,
}

/// One task that something was done to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskRef {
    /// Which.
    pub task_id: String,
    /// Its state now; in a dry run its state as it is.
    pub state: String,
}

/// One task that was passed over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SkippedTask {
    /// Which, as it was named.
    pub task_id: String,
    /// The error that it alone would have been answered with.
    pub error: String,
    /// In a sentence.
    pub message: String,
}

/// What a cancel or retry of several came to. A single task by id is refused with its error instead.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BulkReply {
    /// Tasks that it was done to; the first 1,000.
    pub done: Vec<TaskRef>,
    /// How many in all.
    pub done_count: u64,
    /// Tasks that were passed over; the first 1,000.
    pub skipped: Vec<SkippedTask>,
    /// How many in all.
    pub skipped_count: u64,
    /// Whether nothing was done in truth.
    pub is_dry_run: bool,
}

/// `Correct`: an operator's correction of a state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorrectParams {
    /// Which task.
    pub task: String,
    /// `pending failed timeout cancelled`.
    pub state: String,
    /// Why; goes into the history.
    pub reason: String,
    /// Give up a job that may be alive.
    #[serde(default)]
    pub abandon: Option<bool>,
}

/// `Settle`: decides a held task. Exactly one of `adopt`, `absent`, `fail`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettleParams {
    /// Which task.
    pub task: String,
    /// The reference of its job at the generator.
    #[serde(default)]
    pub adopt: Option<String>,
    /// There is no job.
    #[serde(default)]
    pub absent: Option<bool>,
    /// It is given up.
    #[serde(default)]
    pub fail: Option<bool>,
    /// Why, for `fail`.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `Set`: changes a waiting task.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetParams {
    /// Which task.
    pub task: String,
    /// 1 to 10.
    #[serde(default)]
    pub priority: Option<i64>,
    /// Not before so long from now; 0: at once.
    #[serde(default)]
    pub delay: Option<TextOrNumber>,
}

impl SetParams {
    /// Judges the form: priority and delay in seconds.
    pub fn check(self) -> Result<(String, Option<u8>, Option<u64>), ApiError> {
        if self.priority.is_none() && self.delay.is_none() {
            return Err(ApiError::invalid("priority", "", "a priority, a delay, or both: something must be changed"));
        }
        let priority = self.priority.map(checked::priority).transpose()?;
        let delay_s = self.delay.as_ref().map(checked::delay).transpose()?;
        Ok((self.task, priority, delay_s))
    }
}

/// `Cleanup`: deletes finished tasks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CleanupParams {
    /// Finished longer ago than so many days (7).
    #[serde(default)]
    pub days: Option<i64>,
    /// The same as a span of time, or `retention`.
    #[serde(default)]
    pub older_than: Option<TextOrNumber>,
    /// Count only.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// What a cleanup came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CleanupReply {
    /// Tasks deleted, or that would be.
    pub deleted: u64,
    /// Whether nothing was deleted in truth.
    pub is_dry_run: bool,
    /// How long ago they finished, at least.
    #[serde(default)]
    pub older_than_s: u64,
    /// That is a day, and more than was asked for, because the submits of what finished since count for a limit a day.
    #[serde(default)]
    pub is_day_kept: bool,
}

/// `Statistics` since a time, of one account or generator if given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatisticsParams {
    /// RFC 3339; null: ever.
    #[serde(default)]
    pub since: Option<String>,
    /// Number or name.
    #[serde(default)]
    pub account: Option<TextOrNumber>,
    /// Its name.
    #[serde(default)]
    pub generator: Option<String>,
}

/// Statistics.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StatisticsReply {
    /// Tasks now.
    pub total: u64,
    /// Tasks by state, now; every state is present.
    pub by_state: BTreeMap<String, u64>,
    /// Tasks that became final in the time asked about, by final state; every final state is present.
    pub finished: BTreeMap<String, u64>,
    /// Tasks created in that time.
    pub created: u64,
    /// Retries spent by the tasks created in that time.
    pub retries: u64,
    /// Completed among finished but cancelled ones, 0 to 1; null where none of these finished.
    pub success_rate: Option<f64>,
    /// Mean seconds from acceptance to completion.
    pub mean_duration_s: Option<f64>,
    /// Mean seconds from creation to acceptance.
    pub mean_wait_s: Option<f64>,
    /// Words written in that time.
    pub words: u64,
}

/// `Wait` until tasks are final. With `more` each change of one of them is told.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitParams {
    /// Which, by id or prefix; at most 1,000.
    #[serde(default)]
    pub tasks: Option<Vec<String>>,
    /// Or every task: until none is unfinished. Held tasks are not waited for.
    #[serde(default)]
    pub all: Option<bool>,
    /// At most so long: `10m` or seconds.
    #[serde(default)]
    pub timeout: Option<TextOrNumber>,
}

/// How a wait goes on; the last reply ends it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WaitReply {
    /// The task that changed; null in the last reply. The first replies show every task as it stands.
    pub changed: Option<TaskView>,
    /// In the last reply, the tasks that were named, in that order; empty before, and for `all`.
    pub tasks: Vec<TaskView>,
    /// How many are still unfinished.
    pub unfinished: u64,
    /// The last reply came because of `timeout`.
    pub is_timed_out: bool,
}

/// `Watch`: every change from now on; must be called with `more`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchParams {
    /// Only these, by id or prefix; null: all.
    #[serde(default)]
    pub tasks: Option<Vec<String>>,
    /// Only of this account.
    #[serde(default)]
    pub account: Option<TextOrNumber>,
    /// Only at this generator.
    #[serde(default)]
    pub generator: Option<String>,
}

/// One committed change.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WatchReply {
    /// When.
    pub at: WireTime,
    /// What happened; null where only a note changed.
    pub event: Option<String>,
    /// The state before; null for a new task.
    pub from_state: Option<String>,
    /// Why.
    pub why: Option<String>,
    /// Who.
    pub who: Option<String>,
    /// The task after.
    pub task: TaskView,
}

/// What one sweep over everything in flight came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PollAllReply {
    /// Tasks asked about.
    pub total: u64,
    /// Completed, piece taken or about to be.
    pub completed: u64,
    /// Failed, or cancelled at the generator.
    pub failed: u64,
    /// Past their time limit.
    pub timeout: u64,
    /// Still running.
    pub still_running: u64,
    /// No usable answer; nothing changed.
    pub error: u64,
}

/// Images of a piece: a string, or an object with `url`.
pub type ImageValue = Value;
