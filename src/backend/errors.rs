//! From the refusals of the core and the store to the named errors on the wire, each with its cure.

use actix::MailboxError;

use crate::actors::poller::PollError;
use crate::control::api::ApiError;
use crate::publish::PoolRefusal;
use crate::store::write::WriteError;
use crate::store::{DbError, LookupError};
use crate::task::content::{PoolState, ReviewState};
use crate::task::{PoolId, Refusal, TaskId, TaskState};

pub fn of_db(error: DbError) -> ApiError {
    match error {
        DbError::StorageFull(reason) => ApiError::StorageFull { reason },
        DbError::Fatal(_) | DbError::Refused(_) => ApiError::internal(error),
    }
}

pub fn of_lookup(error: LookupError) -> ApiError {
    match error {
        LookupError::NotFound(task) => ApiError::TaskNotFound { task },
        LookupError::Ambiguous { prefix, candidates } => {
            ApiError::AmbiguousTask { prefix, candidates: candidates.into_iter().map(|id| id.0).collect() }
        }
    }
}

/// An actor that is being rebuilt or drained does not answer; a moment later it does, or the daemon is gone.
pub fn of_mailbox(error: MailboxError) -> ApiError {
    match error {
        MailboxError::Closed => ApiError::Draining,
        MailboxError::Timeout => ApiError::internal("an actor did not answer in time"),
    }
}

/// `action` is what was asked for, as in "cannot cancel …".
pub fn of_write(error: WriteError, action: &str) -> ApiError {
    match error {
        WriteError::TaskNotFound(task) => ApiError::TaskNotFound { task: task.0 },
        WriteError::AccountNotFound(account) => ApiError::AccountNotFound { account },
        WriteError::AccountDisabled(account) => ApiError::AccountDisabled { account },
        WriteError::AccountExists(name) => ApiError::AccountExists { name },
        WriteError::ContentNotFound(id) => ApiError::ContentNotFound { content_id: id.0 },
        WriteError::Stale { .. } => ApiError::internal("the task has moved on meanwhile; look at it and try again"),
        WriteError::Refused { task_id, state, refusal } => of_refusal(&task_id, state, refusal, action),
        WriteError::ReviewRefused { content_id, state, .. } => review_state(content_id.0, state, action),
        WriteError::AlreadyPublished(id) => ApiError::AlreadyPublished { content_id: id.0 },
        WriteError::HashChanged { content_id, expected, actual } => {
            ApiError::HashChanged { content_id: content_id.0, expected, actual }
        }
        WriteError::OtherRemark { content_id, task_id, remark } => {
            let cure = format!(
                "{task_id} writes content {content_id} again already, with another remark; when its piece comes, reject that one \
                 with this remark, or cancel {task_id} and submit a task of your own"
            );
            ApiError::invalid("remark", &remark, cure)
        }
        WriteError::OtherVersionOut { content_id, other } => {
            ApiError::OtherVersionOut { content_id: content_id.0, other: other.0 }
        }
        WriteError::OutSinceRestore { content_id, task_id, state } => {
            let cure = format!(
                "the database was restored from a backup, and content {content_id} may have been published or written again since: \
                 look at the site and at the generator. Where it was neither, approve content {content_id} (after `contentctl \
                 review reject`, where it is approved), which holds it, `contentctl pool fail ID --reason TEXT` says that it is \
                 not out, and then it is rejected with --again"
            );
            ApiError::WrongState { task: task_id.0, state: state.to_string(), action: action.to_owned(), cure }
        }
        WriteError::AccountBusy { account, unfinished, limit } => {
            ApiError::AccountBusy { account, unfinished, limit, asked: None }
        }
        WriteError::PoolEntryNotFound(id) => ApiError::PoolEntryNotFound { pool_id: id.0 },
        WriteError::StaleFence { id, asked, current } => ApiError::StaleFence { pool_id: id.0, fence: asked, current },
        WriteError::PoolRefused { id, state, refusal } => ApiError::WrongPoolState {
            pool_id: id.0,
            status: state.to_string(),
            action: action.to_owned(),
            cure: pool_cure(id, state, &refusal),
        },
        WriteError::KeyReused { key, task_id } => ApiError::KeyReused { key, task: task_id.0 },
        WriteError::KeySpent { key, task_id } => ApiError::KeySpent { key, task: task_id.0 },
        WriteError::Busy { unfinished, limit } => ApiError::Busy { unfinished, limit, asked: None },
        WriteError::Schedule(error) => super::schedules::of_schedule(error),
        WriteError::Db(error) => of_db(error),
    }
}

/// What can be done instead.
fn pool_cure(id: PoolId, state: PoolState, refusal: &PoolRefusal) -> String {
    match (refusal, state) {
        (PoolRefusal::HeldByPublisher(holder), _) => format!("{holder} has it, and its command answers for it"),
        (PoolRefusal::HeldByOther(holder), _) => format!("{holder} has it: that one answers for it, or an operator"),
        (PoolRefusal::NotHandedOut, _) => "it was not handed out".to_owned(),
        (PoolRefusal::Answered(before), _) => format!("its holder said {before} before, and that stands"),
        (PoolRefusal::InDoubt(_), _) => {
            "nobody knows whether its piece is out: approve it again (after `contentctl review reject`, where it is approved), which \
             holds it, and then say what became of it: `contentctl pool done` or `fail` with --reason, or `contentctl pool release`"
                .to_owned()
        }
        (PoolRefusal::OtherVersion(content), _) => format!(
            "content {content} goes out, which is another version of the same piece: `contentctl review reject {content}` takes \
             that one out first, and with --again it is written again itself"
        ),
        (_, PoolState::Pending) => {
            "it waits to be handed out: `contentctl pool next` takes it, `contentctl pool remove` takes it out of the pool".to_owned()
        }
        (_, PoolState::Publishing) => format!("somebody has it: `contentctl pool show {id}` says who, and until when"),
        (_, PoolState::Published) => "what is out stays out".to_owned(),
        (_, PoolState::Failed) => "`contentctl pool schedule` gives it another chance".to_owned(),
        (_, PoolState::Held) => {
            "`contentctl pool done` or `fail` with --reason settles it, `contentctl pool release` lets it go out"
                .to_owned()
        }
        (_, PoolState::Removed) => {
            "it was taken out already; `contentctl pool schedule` or a new approval puts its piece back".to_owned()
        }
    }
}

fn review_state(content_id: i64, state: ReviewState, action: &str) -> ApiError {
    ApiError::WrongReviewState { content_id, review_status: state.to_string(), action: action.to_owned() }
}

pub fn of_refusal(task: &TaskId, state: TaskState, refusal: Refusal, action: &str) -> ApiError {
    let task = task.0.clone();
    match refusal {
        Refusal::Illegal(_) => {
            let (action, cure) = (action.to_owned(), cure(state, action).to_owned());
            ApiError::WrongState { task, state: state.to_string(), action, cure }
        }
        Refusal::JobMayBeAlive { attempt } => {
            let cure = cure_of_live_job(&task, state, action);
            ApiError::JobMayBeAlive { task, attempt, external_ref: None, cure }
        }
        Refusal::JobOfAnother { reference, owner } => {
            let cure = format!(
                "it is the job of task {owner}, and one job cannot be two tasks'. The generator knows which of them it was made \
                 for; where it is not {owner}'s, `contentctl correct {owner} --state cancelled --reason TEXT --abandon` gives \
                 it up first. A finished task that is cleaned up holds no job"
            );
            ApiError::invalid("adopt", &reference, cure)
        }
        Refusal::RestoredSince => {
            let cure = format!(
                "the database was restored from a backup, and a job may have been made of it since: an operator looks at the \
                 generator, then `contentctl release {task}` says that there was none"
            );
            ApiError::WrongState { task, state: state.to_string(), action: action.to_owned(), cure }
        }
        Refusal::CallInFlight => ApiError::CallInFlight { task },
        Refusal::RetriesSpent { retry_count, max_retries } => ApiError::RetriesSpent { task, retry_count, max_retries },
    }
}

/// What is allowed in this state where a job may be alive.
fn cure_of_live_job(task: &str, state: TaskState, action: &str) -> String {
    let asks = format!("`contentctl poll {task}` asks");
    match (state, action) {
        (TaskState::Held, "correct") => format!(
            "`contentctl settle {task}` says what became of it, `contentctl correct {task} --state STATE --reason TEXT \
             --abandon` gives it up"
        ),
        (TaskState::Held, _) => format!("`contentctl settle {task} --absent` says that there is none"),
        (_, "correct") => {
            format!("{asks}, and `contentctl correct {task} --state STATE --reason TEXT --abandon` gives it up")
        }
        _ => format!("{asks}, and `contentctl retry {task} --abandon --reason TEXT` gives it up"),
    }
}

/// What can be done instead.
fn cure(state: TaskState, action: &str) -> &'static str {
    match (state, action) {
        (TaskState::Completed, "cancel" | "poll" | "settle" | "correct" | "change") => "it has ended already",
        (TaskState::Completed, _) => "what is written stays; submit the topic again for another piece",
        (TaskState::Failed | TaskState::Timeout | TaskState::Cancelled, "cancel") => "it has ended already",
        (TaskState::Failed | TaskState::Timeout | TaskState::Cancelled, _) => "`contentctl retry` starts it again",
        (TaskState::Held, _) => "`contentctl settle` decides it, `contentctl cancel` ends it",
        (TaskState::Pending, "retry") => {
            "it waits in the queue: `contentctl set TASK --delay 0` lets it start at once, where it waits for a time"
        }
        (TaskState::Pending, _) => "it waits in the queue and has no job; `contentctl cancel` takes it out",
        (TaskState::Cancelling, _) => "it is being cancelled; `contentctl wait` tells when that is done",
        (TaskState::Submitting | TaskState::Submitted | TaskState::Processing, _) => {
            "it is under way; `contentctl wait` tells when it ends, `contentctl cancel` ends it"
        }
    }
}

pub fn of_poll(error: PollError, task: &TaskId) -> ApiError {
    match error {
        PollError::InHand => ApiError::CallInFlight { task: task.0.clone() },
        PollError::NoGenerator(generator) => {
            ApiError::GeneratorUnavailable { generator: generator.0, reason: "it is not configured any more".into() }
        }
        PollError::Write(error) => of_write(error, "poll"),
        PollError::Db(error) => of_db(error),
        PollError::NoResultHandler => ApiError::Draining,
        PollError::Panicked => ApiError::internal(error),
    }
}
