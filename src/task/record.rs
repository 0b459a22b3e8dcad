//! The facts that are kept of a task and of its attempts: one struct each, as the database has them.
//!
//! Plain data. What may happen to them is in [`crate::task::apply()`]; how they are stored, in the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::{AccountId, AttemptKey, ContentId, GeneratorName, TaskId};
use super::state::{AttemptState, TaskState};
use super::time::{BootId, Deadline, Timestamp};

/// What was asked, and how far it has come.
#[derive(Clone, PartialEq, Debug)]
pub struct Task {
    /// Its name for people.
    pub id: TaskId,
    /// Row number; the order of creation, given by the store at insertion (0 before).
    pub seq: i64,
    /// Who it is for.
    pub account_id: AccountId,
    /// What to write about; 1 to [`limits::TOPIC_CHARS`] characters.
    pub topic: String,
    /// Words that must occur.
    pub keywords: Vec<String>,
    /// A shelf for the piece, free text.
    pub category: Option<String>,
    /// Instructions to the generator.
    pub requirements: Option<String>,
    /// The tone of the piece, free text.
    pub tone: Option<String>,
    /// 1 to 10; 10 runs first.
    pub priority: u8,
    /// Approve the piece when it comes, and pool it.
    pub auto_approve: bool,
    /// Which generator writes it.
    pub generator: GeneratorName,
    /// Where it stands.
    pub state: TaskState,
    /// The number of the current attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Retries that were spent.
    pub retry_count: u32,
    /// Retries that may be spent.
    pub max_retries: u32,
    /// The time limit of each attempt, in seconds from its acceptance.
    pub time_limit_s: u32,
    /// What the generator last said of its progress.
    pub progress: Option<String>,
    /// Why it stands where it stands, in a sentence.
    pub reason: Option<String>,
    /// What last went wrong.
    pub error: Option<String>,
    /// The current content record.
    pub content_id: Option<ContentId>,
    /// The submitter's own key: the same key submits the same task once.
    pub key: Option<String>,
    /// `uid:name` of the submitter.
    pub submitted_by: String,
    /// The task that this one writes again.
    pub rewrites: Option<TaskId>,
    /// When it was submitted to us.
    pub created_at: Timestamp,
    /// Where it stands in line among its priority: creation, or when it was put last.
    pub queued_at: Timestamp,
    /// When the current attempt was accepted by the generator.
    pub submitted_at: Option<Timestamp>,
    /// When the generator was first seen working on it.
    pub started_at: Option<Timestamp>,
    /// When it became final.
    pub completed_at: Option<Timestamp>,
    /// When it wakes: the next attempt of a pending task (none: at once), the next step of an active one,
    /// the next look at a job that outlived its task.
    pub wake_at: Option<Timestamp>,
    /// When anything last changed.
    pub updated_at: Timestamp,
    /// When a restored database took it over: a job may have been made of it since the backup, under a key that nobody here
    /// knows. As long as this is set, no job is made of it and it is never pending, and its piece waits in the pool.
    pub restored_at: Option<Timestamp>,
    /// It does not begin before this time: what was asked, whatever it wakes for.
    pub not_before: Option<Timestamp>,
}

/// Why a delayed task waits.
pub const DELAYED: &str = "it is delayed";

impl Task {
    /// A pending task that asks for nothing yet.
    pub fn blank(id: TaskId, account_id: AccountId, generator: GeneratorName, now: Timestamp) -> Self {
        Self {
            id,
            seq: 0,
            account_id,
            topic: String::new(),
            keywords: Vec::new(),
            category: None,
            requirements: None,
            tone: None,
            priority: 5,
            auto_approve: false,
            generator,
            state: TaskState::Pending,
            attempt: 0,
            retry_count: 0,
            max_retries: 0,
            time_limit_s: 60,
            progress: None,
            reason: None,
            error: None,
            content_id: None,
            key: None,
            submitted_by: String::new(),
            rewrites: None,
            created_at: now,
            queued_at: now,
            submitted_at: None,
            started_at: None,
            completed_at: None,
            wake_at: None,
            updated_at: now,
            restored_at: None,
            not_before: None,
        }
    }
}

/// One external job: never reused, never deleted before its task.
#[derive(Clone, PartialEq, Debug)]
pub struct Attempt {
    /// Whose.
    pub task_id: TaskId,
    /// From 1.
    pub number: u32,
    /// What the generator gets as our id.
    pub key: AttemptKey,
    /// Where it stands.
    pub state: AttemptState,
    /// The generator's own reference; the run directory of a blocking run.
    pub external_ref: Option<String>,
    /// The state in the generator's own words.
    pub generator_state: Option<String>,
    /// What earlier verbs extracted under names of the configuration.
    pub vars: BTreeMap<String, String>,
    /// When the intent was committed.
    pub intended_at: Timestamp,
    /// When its acceptance was committed.
    pub accepted_at: Option<Timestamp>,
    /// When its end was committed.
    pub ended_at: Option<Timestamp>,
    /// The end of its time limit.
    pub deadline: Option<Deadline>,
    /// How often the submit was called with this key. 0 where a person has named the job: then no key of ours is known to be
    /// its own, and none is sent again for it.
    pub sends: u32,
    /// Since when nobody has been left of a submit whose outcome is in doubt.
    pub quiet_since: Option<Timestamp>,
    /// Complete sweeps that found nothing, begun after `quiet_since` and the settling time.
    pub empty_sweeps: u32,
    /// Complete sweeps in a row in which the job was missing.
    pub missing: u32,
    /// Fetches in a row that gave no piece.
    pub bad_fetches: u32,
    /// Calls in a row that were answered badly or not at all; the exponent of the back-off.
    pub bad_answers: u32,
    /// Since when the generator has told the same state.
    pub unchanged_since: Option<Timestamp>,
    /// The generator said that it is completed; the piece is still to be fetched.
    pub is_ready: bool,
    /// It is missing at an idempotent generator for certain: the same key goes out again.
    pub is_resend_due: bool,
    /// The generator refused to cancel it: polls go on, cancels do not.
    pub is_cancel_refused: bool,
    /// How often, up to and with this attempt, the task's job ended without a piece, or was never made, and cost no retry.
    /// Counted anew when a person decides about the task, as the next one is.
    pub free_ends: u32,
    /// How often, up to and with this attempt, a submit of the task found nobody.
    pub unavailable_submits: u32,
    /// How often the limit that runs was lengthened for nothing: that of the doubt, or from the acceptance on the job's.
    pub extensions: u32,
    /// How often it was polled; the step of the geometric schedule.
    pub polls: u32,
    /// Until when a job that outlived its task is looked at.
    pub watch_until: Option<Timestamp>,
    /// Why it ended.
    pub error: Option<String>,
    /// What the generator wrote where no piece could be read from it.
    pub raw_output: Option<String>,
}

impl Attempt {
    /// A fresh attempt whose intent is committed now.
    pub fn intended(task_id: TaskId, number: u32, key: AttemptKey, now: Timestamp) -> Self {
        Self {
            task_id,
            number,
            key,
            state: AttemptState::Intended,
            external_ref: None,
            generator_state: None,
            vars: BTreeMap::new(),
            intended_at: now,
            accepted_at: None,
            ended_at: None,
            deadline: None,
            sends: 1,
            quiet_since: None,
            empty_sweeps: 0,
            missing: 0,
            bad_fetches: 0,
            bad_answers: 0,
            unchanged_since: None,
            is_ready: false,
            is_resend_due: false,
            is_cancel_refused: false,
            free_ends: 0,
            unavailable_submits: 0,
            extensions: 0,
            polls: 0,
            watch_until: None,
            error: None,
            raw_output: None,
        }
    }

    /// Rebuilds a deadline from its three columns; all or none are set.
    pub fn deadline_of(at: Option<i64>, boot_id: Option<String>, boot_ms: Option<i64>) -> Option<Deadline> {
        Some(Deadline { at: Timestamp(at?), boot_id: BootId(boot_id?), boot_ms: boot_ms? })
    }
}

/// One row of the audit trail: every transition writes one in its own transaction.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AuditRow {
    /// Whose.
    pub task_id: TaskId,
    /// When.
    pub at: Timestamp,
    /// The name of the move.
    pub event: String,
    /// The task's state before; none for the first row.
    pub from_state: Option<TaskState>,
    /// The task's state after.
    pub to_state: TaskState,
    /// The attempt it concerns; 0 where none.
    pub attempt: u32,
    /// The attempt's state before.
    pub attempt_from: Option<AttemptState>,
    /// The attempt's state after.
    pub attempt_to: Option<AttemptState>,
    /// Why, in a sentence.
    pub why: Option<String>,
    /// Who: `contentd` or the `uid:name` of a person.
    pub who: String,
}

/// The bounds of what a submit may carry.
pub mod limits {
    /// Characters of a topic.
    pub const TOPIC_CHARS: usize = 1_000;
    /// Bytes of requirements.
    pub const REQUIREMENTS_BYTES: usize = 1 << 20;
    /// Keywords of a task.
    pub const KEYWORDS: usize = 100;
    /// Characters of a keyword, a category, a tone, a key of the submitter or an account's name.
    pub const SHORT_TEXT_CHARS: usize = 200;
    /// A limit of an account.
    pub const ACCOUNT_LIMIT: std::ops::RangeInclusive<u32> = 1..=100_000_000;
    /// The lowest and the highest priority.
    pub const PRIORITY: std::ops::RangeInclusive<u8> = 1..=10;
    /// Retries that may be asked for.
    pub const MAX_RETRIES: u32 = 100;
    /// Seconds of a time limit: a second to thirty days.
    pub const TIME_LIMIT_S: std::ops::RangeInclusive<u32> = 1..=30 * 24 * 3600;
}
