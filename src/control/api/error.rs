//! Every refusal by its own name, with what a program needs in parameters and a sentence for people.
//!
//! [`ApiError`] serialises to the `error` and `parameters` of a Varlink reply and back. A new variant goes into the
//! interface's IDL file too; a test holds the two together.

use serde::{Deserialize, Serialize};

use crate::text::counted;

/// One fault of one field, in words that name the cure.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldFault {
    /// Which entry of a batch, from 0; null for a single call.
    pub index: Option<u32>,
    /// The field.
    pub field: String,
    /// What stood there, shortened.
    pub value: String,
    /// What would be right.
    pub cure: String,
}

/// Why a call was refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", content = "parameters")]
#[error("{}", self.message())]
pub enum ApiError {
    /// No task has this id or begins with it.
    #[serde(rename = "io.contentd.Tasks.TaskNotFound")]
    TaskNotFound {
        /// What was asked for.
        task: String,
    },
    /// The prefix fits several tasks.
    #[serde(rename = "io.contentd.Tasks.AmbiguousTask")]
    AmbiguousTask {
        /// What was asked for.
        prefix: String,
        /// The first few that it fits.
        candidates: Vec<String>,
    },
    /// The task's state does not allow it.
    #[serde(rename = "io.contentd.Tasks.WrongState")]
    WrongState {
        /// Which task.
        task: String,
        /// Its state.
        state: String,
        /// What was asked for.
        action: String,
        /// What can be done instead.
        cure: String,
    },
    /// A job of the task may be alive at the generator; a second one would be paid for.
    #[serde(rename = "io.contentd.Tasks.JobMayBeAlive")]
    JobMayBeAlive {
        /// Which task.
        task: String,
        /// Its attempt.
        attempt: u32,
        /// The job's reference at the generator, where known.
        external_ref: Option<String>,
        /// What can be done instead.
        cure: String,
    },
    /// A call to the generator is under way; its outcome must be known first.
    #[serde(rename = "io.contentd.Tasks.CallInFlight")]
    CallInFlight {
        /// Which task.
        task: String,
    },
    /// No retry is left.
    #[serde(rename = "io.contentd.Tasks.RetriesSpent")]
    RetriesSpent {
        /// Which task.
        task: String,
        /// Spent.
        retry_count: u32,
        /// Allowed.
        max_retries: u32,
    },
    /// No such generator is configured.
    #[serde(rename = "io.contentd.Tasks.GeneratorNotFound")]
    GeneratorNotFound {
        /// What was asked for; empty where none was named and there is no default.
        generator: String,
        /// Those that are configured.
        known: Vec<String>,
    },
    /// The generator cannot be called now.
    #[serde(rename = "io.contentd.Tasks.GeneratorUnavailable")]
    GeneratorUnavailable {
        /// Which.
        generator: String,
        /// Why.
        reason: String,
    },
    /// A field's value cannot be taken.
    #[serde(rename = "io.contentd.Tasks.InvalidField")]
    InvalidField {
        /// Which field.
        field: String,
        /// What stood there, shortened.
        value: String,
        /// What would be right.
        cure: String,
    },
    /// Entries of a batch cannot be taken; nothing of the batch was.
    #[serde(rename = "io.contentd.Tasks.BatchRefused")]
    BatchRefused {
        /// The first of the faults.
        faults: Vec<FieldFault>,
        /// How many there are in all.
        count: u32,
    },
    /// No such staged batch, or a part of it is missing.
    #[serde(rename = "io.contentd.Tasks.BatchIncomplete")]
    BatchIncomplete {
        /// Which.
        batch: String,
        /// The first part that is missing, from 0.
        missing_part: u32,
    },
    /// The submitter's key was used for something else.
    #[serde(rename = "io.contentd.Tasks.KeyReused")]
    KeyReused {
        /// The key.
        key: String,
        /// What it was used for.
        task: String,
    },
    /// The submitter's key was used for a task that was cleaned up since.
    #[serde(rename = "io.contentd.Tasks.KeySpent")]
    KeySpent {
        /// The key.
        key: String,
        /// What it was used for.
        task: String,
    },
    /// Too many tasks are unfinished.
    #[serde(rename = "io.contentd.Tasks.Busy")]
    Busy {
        /// How many.
        unfinished: u64,
        /// How many may be.
        limit: u64,
        /// How many were to be submitted at once, those known by their keys too; null where that was not counted.
        asked: Option<u64>,
    },
    /// The task has no piece yet.
    #[serde(rename = "io.contentd.Tasks.NoResult")]
    NoResult {
        /// Which task.
        task: String,
        /// Its state.
        state: String,
    },
    /// The reader of a stream did not keep up and was dropped.
    #[serde(rename = "io.contentd.Tasks.WatcherTooSlow")]
    WatcherTooSlow,

    /// No account has this number or name.
    #[serde(rename = "io.contentd.Accounts.AccountNotFound")]
    AccountNotFound {
        /// What was asked for.
        account: String,
    },
    /// The name is taken.
    #[serde(rename = "io.contentd.Accounts.AccountExists")]
    AccountExists {
        /// The name.
        name: String,
    },
    /// The account takes no tasks.
    #[serde(rename = "io.contentd.Accounts.AccountDisabled")]
    AccountDisabled {
        /// Which.
        account: String,
    },

    /// Too many tasks of the account are unfinished.
    #[serde(rename = "io.contentd.Accounts.AccountBusy")]
    AccountBusy {
        /// Its name.
        account: String,
        /// How many.
        unfinished: u64,
        /// How many may be.
        limit: u64,
        /// How many were to be submitted at once, those known by their keys too; null where that was not counted.
        asked: Option<u64>,
    },

    /// No such content record.
    #[serde(rename = "io.contentd.Content.ContentNotFound")]
    ContentNotFound {
        /// Which.
        content_id: i64,
    },
    /// The piece is not the one that was looked at.
    #[serde(rename = "io.contentd.Content.HashChanged")]
    HashChanged {
        /// Which.
        content_id: i64,
        /// The hash that was named.
        expected: String,
        /// The hash it has.
        actual: String,
    },
    /// The piece is out and cannot be called back.
    #[serde(rename = "io.contentd.Content.AlreadyPublished")]
    AlreadyPublished {
        /// Which.
        content_id: i64,
    },
    /// Another version of the piece is out, or on its way.
    #[serde(rename = "io.contentd.Content.OtherVersionOut")]
    OtherVersionOut {
        /// Which.
        content_id: i64,
        /// The other version.
        other: i64,
    },
    /// The piece must be approved by somebody else than who submitted it.
    #[serde(rename = "io.contentd.Content.OwnSubmission")]
    OwnSubmission {
        /// Which.
        content_id: i64,
        /// Who submitted it, as `uid:name`; null where its task, which said so, is deleted.
        submitted_by: Option<String>,
    },
    /// The version must be approved by somebody else than who edited it.
    #[serde(rename = "io.contentd.Content.OwnEdit")]
    OwnEdit {
        /// Which.
        content_id: i64,
        /// Who edited it, as `uid:name`.
        edited_by: String,
    },
    /// The review's state does not allow it.
    #[serde(rename = "io.contentd.Content.WrongReviewState")]
    WrongReviewState {
        /// Which.
        content_id: i64,
        /// Its review state.
        review_status: String,
        /// What was asked for.
        action: String,
    },

    /// No schedule has this number or name.
    #[serde(rename = "io.contentd.Schedules.ScheduleNotFound")]
    ScheduleNotFound {
        /// What was asked for.
        schedule: String,
    },
    /// The name is taken.
    #[serde(rename = "io.contentd.Schedules.ScheduleExists")]
    ScheduleExists {
        /// The name.
        name: String,
    },
    /// A fire of the schedule has not ended, and there is one at a time.
    #[serde(rename = "io.contentd.Schedules.FireUnderWay")]
    FireUnderWay {
        /// Of which schedule.
        schedule: String,
        /// Which fire.
        fire_id: i64,
    },

    /// No such entry of the publish pool.
    #[serde(rename = "io.contentd.Pool.PoolEntryNotFound")]
    PoolEntryNotFound {
        /// Which.
        pool_id: i64,
    },
    /// The entry was handed out anew since; what was said changed nothing.
    #[serde(rename = "io.contentd.Pool.StaleFence")]
    StaleFence {
        /// Which.
        pool_id: i64,
        /// The number that was named.
        fence: u64,
        /// The number that it has.
        current: u64,
    },
    /// The entry's state does not allow it.
    #[serde(rename = "io.contentd.Pool.WrongPoolState")]
    WrongPoolState {
        /// Which.
        pool_id: i64,
        /// Its state.
        status: String,
        /// What was asked for.
        action: String,
        /// What can be done instead.
        cure: String,
    },

    /// The caller's roles do not let them call this method.
    #[serde(rename = "io.contentd.Daemon.PermissionDenied")]
    PermissionDenied {
        /// Which method.
        method: String,
        /// Who called, as `uid:name`.
        caller: String,
        /// What they are.
        roles: Vec<String>,
        /// Any one of these would do.
        needed: Vec<String>,
        /// What would help.
        cure: String,
    },
    /// The daemon is stopping; the next one takes the call.
    #[serde(rename = "io.contentd.Daemon.Draining")]
    Draining,
    /// The database's disk is full; running jobs go on.
    #[serde(rename = "io.contentd.Daemon.StorageFull")]
    StorageFull {
        /// What the system said.
        reason: String,
    },
    /// The new configuration was refused and the old one is kept.
    #[serde(rename = "io.contentd.Daemon.ReloadRefused")]
    ReloadRefused {
        /// One line each: file, line, what is wrong, what would be right.
        faults: Vec<String>,
    },
    /// No backup was made; the database goes on as it was.
    #[serde(rename = "io.contentd.Daemon.BackupRefused")]
    BackupRefused {
        /// The file that was to be made.
        file: String,
        /// What is wrong.
        reason: String,
        /// What would be right.
        cure: String,
    },
    /// No such hook is configured.
    #[serde(rename = "io.contentd.Daemon.HookNotFound")]
    HookNotFound {
        /// What was asked for.
        hook: String,
        /// Those that are configured.
        known: Vec<String>,
    },
    /// No such alarm fires.
    #[serde(rename = "io.contentd.Daemon.AlarmNotFound")]
    AlarmNotFound {
        /// What was asked for.
        alarm: String,
        /// Those that fire.
        firing: Vec<String>,
    },
    /// No such message is kept.
    #[serde(rename = "io.contentd.Daemon.NoticeNotFound")]
    NoticeNotFound {
        /// What was asked for.
        notice: String,
    },
    /// There are too many connections.
    #[serde(rename = "io.contentd.Daemon.TooManyConnections")]
    TooManyConnections {
        /// How many may be: of one user, or in all.
        limit: u32,
    },
    /// The answer does not fit into one message.
    #[serde(rename = "io.contentd.Daemon.ReplyTooLarge")]
    ReplyTooLarge {
        /// Its size.
        bytes: u64,
        /// What fits.
        limit: u64,
    },
    /// Something failed that is not the caller's doing.
    #[serde(rename = "io.contentd.Daemon.Internal")]
    Internal {
        /// What.
        reason: String,
    },

    /// No such interface.
    #[serde(rename = "org.varlink.service.InterfaceNotFound")]
    InterfaceNotFound {
        /// Which.
        interface: String,
    },
    /// No such method.
    #[serde(rename = "org.varlink.service.MethodNotFound")]
    MethodNotFound {
        /// Which.
        method: String,
    },
    /// The method is described but not offered here.
    #[serde(rename = "org.varlink.service.MethodNotImplemented")]
    MethodNotImplemented {
        /// Which.
        method: String,
    },
    /// A parameter is unknown, missing or of the wrong type.
    #[serde(rename = "org.varlink.service.InvalidParameter")]
    InvalidParameter {
        /// Which.
        parameter: String,
    },
    /// Varlink's own word for it, which says nothing more; ours is [`ApiError::PermissionDenied`].
    #[serde(rename = "org.varlink.service.PermissionDenied")]
    ServicePermissionDenied,
    /// The method streams and must be called with `more`.
    #[serde(rename = "org.varlink.service.ExpectedMore")]
    ExpectedMore,
}

/// How much of a value a message repeats.
const SHOWN_CHARS: usize = 80;

/// The beginning of a value, for messages.
pub fn shown(value: &str) -> String {
    if value.chars().count() <= SHOWN_CHARS {
        return value.to_owned();
    }
    let mut short: String = value.chars().take(SHOWN_CHARS).collect();
    short.push('…');
    short
}

impl ApiError {
    /// A field whose value cannot be taken.
    pub fn invalid(field: &str, value: &str, cure: impl Into<String>) -> Self {
        Self::InvalidField { field: field.to_owned(), value: shown(value), cure: cure.into() }
    }

    /// Something that is not the caller's doing.
    pub fn internal(reason: impl std::fmt::Display) -> Self {
        Self::Internal { reason: reason.to_string() }
    }

    /// Whether the same call may succeed a moment later without anybody doing anything.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Draining)
    }

    /// The full name on the wire.
    pub fn name(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value.get("error").and_then(|name| name.as_str()).unwrap_or_default().to_owned()
    }

    /// The sentence for people: what was refused, why, and what would help. Values from outside are quoted, so that
    /// control characters in them stay visible.
    pub fn message(&self) -> String {
        self.message_on_tasks()
            .or_else(|| self.message_on_submits())
            .or_else(|| self.message_on_content())
            .or_else(|| self.message_on_schedules())
            .unwrap_or_else(|| self.message_on_service())
    }

    fn message_on_tasks(&self) -> Option<String> {
        Some(match self {
            Self::TaskNotFound { task } if matches!(task.as_str(), "task" | "task-") => {
                format!("{task:?} is the beginning of every task's id; give more of it, as `contentctl list` shows it")
            }
            Self::TaskNotFound { task } => format!("there is no task {task:?}; `contentctl list` shows what there is"),
            Self::AmbiguousTask { prefix, candidates } => {
                format!("{prefix:?} is the beginning of several tasks: {}; give more of it", candidates.join(", "))
            }
            Self::WrongState { task, state, action, cure } => {
                format!("cannot {action} {task}: it is {state}; {cure}")
            }
            Self::JobMayBeAlive { task, attempt, external_ref, cure } => {
                let job = external_ref.as_deref().map(|name| format!(" ({name:?})")).unwrap_or_default();
                format!("a job of {task}{job} may still be alive at the generator (attempt {attempt}); {cure}")
            }
            Self::CallInFlight { task } => {
                format!("a call to the generator for {task} is under way; try again when its outcome is known")
            }
            Self::RetriesSpent { task, max_retries: 0, .. } => format!(
                "{task} was submitted with --max-retries 0, so only who asks for it gets another try: `contentctl retry {task} \
                 --reset-count` retries it"
            ),
            Self::RetriesSpent { task, retry_count, max_retries } => format!(
                "{retry_count} of {max_retries} retries of {task} are spent; `contentctl retry {task} --reset-count` \
                 starts the count again"
            ),
            Self::NoResult { task, state } => format!("{task} has no piece: it is {state}"),
            Self::WatcherTooSlow => "the stream was ended because it was read too slowly; start it again".into(),
            _ => return None,
        })
    }

    fn message_on_submits(&self) -> Option<String> {
        Some(match self {
            Self::GeneratorNotFound { known, .. } if known.is_empty() => {
                "no generator is configured: write [generators.NAME] into the configuration (contentd.toml(5) says how), \
                 then `contentctl reload`"
                    .into()
            }
            Self::GeneratorNotFound { generator, known } if generator.is_empty() => {
                format!(
                    "name a generator with --generator, or set tasks.generator: there is no default, and these are \
                     configured: {}",
                    list(known)
                )
            }
            Self::GeneratorNotFound { generator, known } => {
                format!("there is no generator {generator:?}; these are configured: {}", list(known))
            }
            Self::GeneratorUnavailable { generator, reason } => {
                format!("generator {generator} cannot be called now: {reason}")
            }
            Self::InvalidField { field, value, cure } => format!("{field}: {value:?} cannot be taken: {cure}"),
            Self::BatchRefused { faults, count } => {
                let first = faults.iter().map(|fault| {
                    let entry = fault.index.map(|index| format!("entry {}: ", index + 1)).unwrap_or_default();
                    format!("\n  {entry}{}: {:?} cannot be taken: {}", fault.field, fault.value, fault.cure)
                });
                format!(
                    "nothing was submitted; {count} {}:{}",
                    if *count == 1 { "fault" } else { "faults" },
                    first.collect::<String>()
                )
            }
            Self::BatchIncomplete { batch, missing_part } => {
                format!(
                    "part {missing_part} of batch {batch:?} is missing (staged parts are kept for ten minutes); send it again"
                )
            }
            Self::KeyReused { key, task } => {
                format!("key {key:?} was used for {task} with other contents; use another key for another task")
            }
            Self::KeySpent { key, task } => format!(
                "key {key:?} was used for {task}, which ended and was cleaned up since: nothing was submitted. Its piece is kept, if \
                 it had one (`contentctl content list`); use another key to have another one written"
            ),
            Self::Busy { unfinished, limit, asked } => format!(
                "{} unfinished{} and {limit} are allowed (tasks.max_pending); submit again when some have finished",
                counted(*unfinished, "task is", "tasks are"),
                these(*asked)
            ),
            Self::AccountNotFound { account } => {
                format!("there is no account {account:?}; `contentctl account list` shows them, `account add` adds one")
            }
            Self::AccountExists { name } => format!("there is an account named {name:?} already"),
            Self::AccountBusy { account, unfinished, limit, asked } => {
                let (tasks, are) = if *unfinished == 1 { ("task", "is") } else { ("tasks", "are") };
                format!(
                    "{unfinished} {tasks} of account {account:?} {are} unfinished{} and {limit} are allowed; submit again when some \
                     have finished, or `contentctl account set {account:?} --max-pending N`",
                    these(*asked)
                )
            }
            Self::AccountDisabled { account } => format!("account {account:?} is disabled and takes no tasks"),
            _ => return None,
        })
    }

    fn message_on_content(&self) -> Option<String> {
        Some(match self {
            Self::ContentNotFound { content_id } => {
                format!("there is no content {content_id}; `contentctl content list` shows what there is")
            }
            Self::HashChanged { content_id, expected, actual }
                if actual.starts_with(expected.trim_end_matches('…')) =>
            {
                format!(
                    "content {content_id} is named by at least 8 digits of its hash, without an ellipsis: {expected:?} is not enough of {actual}"
                )
            }
            Self::HashChanged { content_id, expected, actual } => format!(
                "content {content_id} is not what was looked at: its hash is {actual} and {expected:?} was named; look again"
            ),
            Self::AlreadyPublished { content_id } => {
                format!("content {content_id} is published already and cannot be called back")
            }
            Self::OtherVersionOut { content_id, other } => format!(
                "content {content_id} can be neither approved nor written again: content {other}, another version of it, is \
                 published or being published"
            ),
            Self::OwnSubmission { content_id, submitted_by: Some(who) } => format!(
                "content {content_id} was submitted by {who}, who cannot approve it: review.four_eyes is set, and another \
                 reviewer must"
            ),
            Self::OwnEdit { content_id, edited_by } => format!(
                "content {content_id} was edited by {edited_by}, who cannot approve it: review.four_eyes is set, and \
                 another reviewer must"
            ),
            Self::OwnSubmission { content_id, submitted_by: None } => format!(
                "nobody knows any more who submitted content {content_id}, because its task is deleted, and \
                 review.four_eyes is set; submit the topic again, or turn four_eyes off to decide it"
            ),
            Self::WrongReviewState { content_id, review_status, action } => {
                let cure = if review_status == "superseded" {
                    format!("; `contentctl content history {content_id}` shows the version that took its place")
                } else {
                    String::new()
                };
                format!("cannot {action} content {content_id}: it is {review_status}{cure}")
            }
            Self::PoolEntryNotFound { pool_id } => {
                format!("there is no pool entry {pool_id}; `contentctl pool list` shows what there is")
            }
            Self::StaleFence { pool_id, fence, current } if fence > current => format!(
                "pool entry {pool_id} is at fence {current}, and {fence} was named, with which it was never handed out; nothing was \
                 changed; `contentctl pool show {pool_id}` says who had it"
            ),
            Self::StaleFence { pool_id, fence, current } => format!(
                "pool entry {pool_id} is at fence {current}, and {fence} was named: it was handed out anew since, and nothing \
                 was changed; `contentctl pool show {pool_id}` says to whom"
            ),
            Self::WrongPoolState { pool_id, status, action, cure } => {
                format!("cannot {action} pool entry {pool_id}: it is {status}; {cure}")
            }
            _ => return None,
        })
    }

    fn message_on_schedules(&self) -> Option<String> {
        Some(match self {
            Self::ScheduleNotFound { schedule } => {
                format!("there is no schedule {schedule:?}; `contentctl schedule list` shows them")
            }
            Self::ScheduleExists { name } => format!(
                "there is a schedule named {name:?} already; take another name, or `contentctl schedule remove` the old one"
            ),
            Self::FireUnderWay { schedule, fire_id } => format!(
                "fire {fire_id} of schedule {schedule} has not ended; `contentctl schedule history {schedule}` says what it \
                 waits for"
            ),
            _ => return None,
        })
    }

    fn message_on_service(&self) -> String {
        match self {
            Self::PermissionDenied { method, caller, roles, needed, cure } => {
                let has = if roles.is_empty() { "no role".to_owned() } else { roles.join(", ") };
                format!(
                    "{caller} may not call {method}: it takes {}, and {caller} has {has}; {cure}",
                    needed.join(" or ")
                )
            }
            Self::Draining => "the daemon is stopping; try again when it is back".into(),
            Self::StorageFull { reason } => {
                format!("the database's disk is full ({reason}); make room, running jobs go on meanwhile")
            }
            Self::ReloadRefused { faults } => {
                format!("the configuration was refused and the old one is kept:\n  {}", faults.join("\n  "))
            }
            Self::BackupRefused { file, reason, cure } => {
                format!("no backup was made at {file:?}: {reason}; {cure}")
            }
            Self::HookNotFound { hook, known } => format!(
                "there is no hook {hook:?}; these are configured: {}; [hooks.NAME] in the configuration makes one",
                list(known)
            ),
            Self::AlarmNotFound { alarm, firing } => {
                format!("no alarm {alarm:?} fires; these do: {}; `contentctl health` says more", list(firing))
            }
            Self::NoticeNotFound { notice } => {
                format!("there is no message {notice:?}; `contentctl notice list` shows them")
            }
            Self::TooManyConnections { limit } => format!("there are {limit} connections already; close some"),
            Self::ReplyTooLarge { bytes, limit } => {
                format!(
                    "the answer has {bytes} bytes and {limit} fit into a message; ask for less, or call with `more`, which brings it in parts"
                )
            }
            Self::Internal { reason } => format!("the daemon failed: {reason}"),
            Self::InterfaceNotFound { interface } => format!(
                "there is no interface {interface:?}; a method is named in full, for instance io.contentd.Daemon.GetStatus"
            ),
            Self::MethodNotFound { method } => format!("there is no method {method:?}; the daemon may be older"),
            Self::MethodNotImplemented { method } => format!("method {method:?} is not offered here"),
            Self::InvalidParameter { parameter } => {
                format!("parameter {parameter:?} is unknown, missing or of the wrong type")
            }
            Self::ServicePermissionDenied => "you may not do this".into(),
            Self::ExpectedMore => "this method streams; call it with `more`".into(),
            // Every other variant has its sentence above.
            other => other.name(),
        }
    }
}

/// How many were to be submitted at once, where that says more than one task does.
fn these(asked: Option<u64>) -> String {
    asked
        .filter(|asked| *asked > 1)
        .map(|asked| format!(", {asked} were to be submitted together,"))
        .unwrap_or_default()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_told_with_how_much_it_was_and_no_retries_are_none_that_were_spent() {
        let busy =
            |unfinished, asked| ApiError::AccountBusy { account: "shop".into(), unfinished, limit: 3, asked }.message();
        let several = busy(1, Some(5));
        assert!(
            several.starts_with(
                "1 task of account \"shop\" is unfinished, 5 were to be submitted together, and 3 are allowed"
            ),
            "{several}"
        );
        for one in [busy(3, Some(1)), busy(3, None)] {
            assert!(one.starts_with("3 tasks of account \"shop\" are unfinished and 3 are allowed"), "{one}");
        }
        let spent = |max_retries| {
            ApiError::RetriesSpent { task: "task-a".into(), retry_count: max_retries, max_retries }.message()
        };
        assert!(spent(0).contains("--max-retries 0") && spent(0).contains("--reset-count` retries it"), "{}", spent(0));
        assert!(spent(3).starts_with("3 of 3 retries"), "{}", spent(3));
    }

    #[test]
    fn the_beginning_of_every_id_is_no_task_that_is_gone() {
        let missing = |task: &str| ApiError::TaskNotFound { task: task.into() }.message();
        assert!(missing("task-").contains("the beginning of every task's id"), "{}", missing("task-"));
        assert!(missing("task-7").starts_with("there is no task"));
    }

    #[test]
    fn a_fence_that_never_was_is_told_apart_from_an_old_one() {
        let stale = |fence, current| ApiError::StaleFence { pool_id: 19, fence, current }.message();
        for never in [stale(1, 0), stale(9, 1)] {
            assert!(never.contains("never handed out") && !never.contains("anew"), "{never}");
        }
        assert!(stale(1, 2).contains("handed out anew since"));
    }
}
