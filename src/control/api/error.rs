//! Every refusal by its own name, with what a program needs in parameters and a sentence for people.
//!
//! [`ApiError`] serialises to the `error` and `parameters` of a Varlink reply and back. A new variant goes into the
//! interface's IDL file too; a test holds the two together.

use serde::{Deserialize, Serialize};

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
    /// Too many tasks are unfinished.
    #[serde(rename = "io.contentd.Tasks.Busy")]
    Busy {
        /// How many.
        unfinished: u64,
        /// How many may be.
        limit: u64,
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
    /// The piece must be approved by somebody else than who submitted it.
    #[serde(rename = "io.contentd.Content.OwnSubmission")]
    OwnSubmission {
        /// Which.
        content_id: i64,
        /// Who submitted it, as `uid:name`; null where its task, which said so, is deleted.
        submitted_by: Option<String>,
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
            .unwrap_or_else(|| self.message_on_service())
    }

    fn message_on_tasks(&self) -> Option<String> {
        Some(match self {
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
            Self::Busy { unfinished, limit } => format!(
                "{unfinished} tasks are unfinished and {limit} are allowed (tasks.max_pending); submit again when some have finished"
            ),
            Self::AccountNotFound { account } => {
                format!("there is no account {account:?}; `contentctl account list` shows them, `account add` adds one")
            }
            Self::AccountExists { name } => format!("there is an account named {name:?} already"),
            Self::AccountDisabled { account } => format!("account {account:?} is disabled and takes no tasks"),
            _ => return None,
        })
    }

    fn message_on_content(&self) -> Option<String> {
        Some(match self {
            Self::ContentNotFound { content_id } => {
                format!("there is no content {content_id}; `contentctl content list` shows what there is")
            }
            Self::HashChanged { content_id, expected, actual } => format!(
                "content {content_id} is not what was looked at: its hash is {actual} and {expected:?} was named; look again"
            ),
            Self::AlreadyPublished { content_id } => {
                format!("content {content_id} is published already and cannot be called back")
            }
            Self::OwnSubmission { content_id, submitted_by: Some(who) } => format!(
                "content {content_id} was submitted by {who}, who cannot approve it: review.four_eyes is set, and another \
                 reviewer must"
            ),
            Self::OwnSubmission { content_id, submitted_by: None } => format!(
                "nobody knows any more who submitted content {content_id}, because its task is deleted, and \
                 review.four_eyes is set; submit the topic again, or turn four_eyes off to decide it"
            ),
            Self::WrongReviewState { content_id, review_status, action } => {
                format!("cannot {action} content {content_id}: it is {review_status}")
            }
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
            Self::TooManyConnections { limit } => format!("there are {limit} connections already; close some"),
            Self::ReplyTooLarge { bytes, limit } => {
                format!("the answer has {bytes} bytes and {limit} fit into a message; ask for less, or with `more`")
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

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
