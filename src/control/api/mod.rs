//! What can be asked of the daemon over its socket: one struct each for parameters and reply, one error each for a
//! refusal, and [`Backend`], which the daemon implements and the server calls.
//!
//! No transport here and no rules about tasks. Field names are a promise to other programs: the IDL files in
//! `control/idl` say the same for them, and a test holds the two together. The surprise: parameters come to the backend
//! already judged for their form ([`checked`]), so a backend judges only what needs the database.

pub mod accounts;
pub mod checked;
pub mod content;
pub mod daemon;
pub mod doctor;
pub mod error;
pub mod notice;
pub mod pool;
pub mod review;
pub mod schedules;
pub mod tasks;

use futures_util::future::BoxFuture;

use super::feed::FeedReader;
use super::parts::Parts;
use crate::store::write::AccountEntry;
use crate::task::account::AccountChange;
use crate::task::{ContentId, CorrectedState, PoolId};

pub use accounts::{
    AccountEntryValue, AccountImportParams, AccountImportReply, AccountSetParams, AccountSetReply,
    AccountSettingsValue, ImportedAccount,
};

pub use checked::{
    Bulk, CheckedSubmission, CleanupAge, ContentQuery, ListQuery, PoolQuery, RetryMode, SettleDecision,
    StatisticsQuery, TaskQuery, WaitQuery, WatchQuery,
};
pub use content::{
    AccountAddParams, AccountParams, AccountReply, AccountView, AccountsReply, ContentListParams, ContentParams,
    ContentReply, ContentView, ContentsReply, PoolListParams, PoolReleaseParams, PoolReleaseReply, PoolReply, PoolView,
    PooledView, ReviewParams,
};
pub use daemon::{
    ConfigReply, DrainReply, EmptyReply, GeneratorView, NoParams, PauseParams, PauseView, PausesReply, PingReply,
    PublisherView, ReloadReply, Resume, ResumeParams, StatusReply, VersionReply, WorkerView, WorkersReply,
};
pub use doctor::{BackupParams, BackupReply, Finding, FindingsReply, Severity, TryGeneratorParams};
pub use error::{ApiError, FieldFault};
pub use notice::{
    AcknowledgeParams, CheckView, DeliveryView, HealthReply, HookView, MetricsReply, NoticeBackend, NoticeParams,
    NoticeReply, NoticeView, NoticesParams, NoticesReply, ReportParams, SilenceParams, SilenceReply, SummaryParams,
    SummaryQuery, SummaryReply, TestHookParams,
};
pub use pool::{
    HandedOut, HandoutView, NextQuery, PoolAnswer, PoolDoneParams, PoolEntryReply, PoolFailParams, PoolNextParams,
    PoolNextReply, PoolParams, PoolRemoveParams, PoolRenewParams, PoolScheduleParams, PoolShowReply, PoolWord,
    PublicationView,
};
pub use review::{EditParams, ImageView, ImagesReply, VersionView, VersionsReply, WriteAgainParams, WriteAgainReply};
pub use schedules::{
    AllFaults, CheckedSchedule, FireReply, FireView, FiresReply, NewScheduleParams, ScheduleAddParams, ScheduleCalls,
    ScheduleHistoryParams, ScheduleParams, SchedulePauseParams, ScheduleReply, ScheduleTime, ScheduleView,
    SchedulesReply, TopicParams,
};
pub use tasks::{
    AttemptView, BulkReply, CancelParams, CleanupParams, CleanupReply, CorrectParams, HistoryEntry, HistoryReply,
    ImageValue, ListParams, LogEntryView, LogReply, PollAllReply, QueueParams, QueueReply, ReleaseParams, RetryParams,
    SetParams, SettleParams, ShowReply, SkippedTask, StageParams, StageReply, StatisticsParams, StatisticsReply,
    Submission, SubmitBatchParams, SubmitBatchReply, SubmitParams, SubmitStagedParams, Submitted, TaskFilterParams,
    TaskParams, TaskRef, TaskReply, TaskView, TasksReply, WaitParams, WaitReply, WatchParams, WatchReply,
};

/// Who calls, as the kernel says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The process at the time of connecting.
    pub pid: Option<i32>,
    /// The user's name; the number where it has none.
    pub name: String,
}

impl Peer {
    /// `uid:name`, as `submitted_by` and `who` have it.
    pub fn label(&self) -> String {
        format!("{}:{}", self.uid, self.name)
    }
}

/// An answer to come. Dropping it cancels the waiting, never what was committed.
pub type Answer<T> = BoxFuture<'static, Result<T, ApiError>>;

/// The daemon behind the socket. Every method may be called from several connections at once, never blocks the thread,
/// and gives back a future that is polled on the server's runtime. Task arguments are ids or prefixes as people typed
/// them; accounts are numbers or names.
pub trait Backend: NoticeBackend + ScheduleCalls + Send + Sync + 'static {
    // io.contentd.Tasks

    /// Submits tasks: all or none. One entry for a single submit; a key in an entry makes it safe to repeat.
    /// `is_single` says that a fault is to be told as the error of one task rather than `BatchRefused`.
    fn submit(
        &self,
        peer: Peer,
        tasks: Vec<CheckedSubmission>,
        is_single: bool,
        dry_run: bool,
    ) -> Answer<Vec<Submitted>>;
    /// One task.
    fn status(&self, peer: Peer, task: String) -> Answer<TaskReply>;
    /// Everything about one task; refused with [`ApiError::ReplyTooLarge`] where a reply cannot hold it.
    fn show(&self, peer: Peer, task: String) -> Answer<ShowReply>;
    /// The same in as many replies as it needs.
    fn show_in_parts(&self, peer: Peer, task: String) -> Answer<Parts<ShowReply>>;
    /// Its audit trail.
    fn history(&self, peer: Peer, task: String) -> Answer<HistoryReply>;
    /// What its generator wrote to standard error.
    fn log(&self, peer: Peer, task: String) -> Answer<LogReply>;
    /// The same, and what comes of it until the task has ended. The last reply says that it is complete.
    fn follow_log(&self, peer: Peer, task: String) -> Answer<FeedReader<LogReply>>;
    /// Tasks, newest first.
    fn list(&self, peer: Peer, query: ListQuery) -> Answer<TasksReply>;
    /// Pending tasks in the order of running.
    fn queue(&self, peer: Peer, limit: u32, offset: u32) -> Answer<QueueReply>;
    /// The piece of a completed task, else `NoResult`; refused where a reply cannot hold it.
    fn result(&self, peer: Peer, task: String) -> Answer<ContentReply>;
    /// The same in as many replies as it needs.
    fn result_in_parts(&self, peer: Peer, task: String) -> Answer<Parts<ContentReply>>;
    /// Cancels. One task by id is refused with its error; of several, those are skipped that cannot be.
    fn cancel(&self, peer: Peer, which: Bulk, dry_run: bool) -> Answer<BulkReply>;
    /// Lets tasks go that a restore holds; as [`Backend::cancel`] for one and several.
    fn release(&self, peer: Peer, which: Bulk, dry_run: bool) -> Answer<BulkReply>;
    /// Starts final tasks again; as [`Backend::cancel`] for one and several.
    fn retry(&self, peer: Peer, which: Bulk, mode: RetryMode, dry_run: bool) -> Answer<BulkReply>;
    /// Corrects a state.
    fn correct(&self, peer: Peer, task: String, to: CorrectedState, reason: String, abandon: bool)
    -> Answer<TaskReply>;
    /// Decides a held task.
    fn settle(&self, peer: Peer, task: String, decision: SettleDecision) -> Answer<TaskReply>;
    /// Changes the priority of a waiting task, and from when on it may begin: so many seconds from now.
    fn set(&self, peer: Peer, task: String, priority: Option<u8>, delay_s: Option<u64>) -> Answer<TaskReply>;
    /// Deletes what finished more than so many days ago.
    fn cleanup(&self, peer: Peer, age: CleanupAge, dry_run: bool) -> Answer<CleanupReply>;
    /// Statistics.
    fn statistics(&self, peer: Peer, query: StatisticsQuery) -> Answer<StatisticsReply>;
    /// Waits. Every reply but the last has `changed`; the backend ends the feed after the last.
    fn wait(&self, peer: Peer, query: WaitQuery) -> Answer<FeedReader<WaitReply>>;
    /// Tells committed changes until the reader goes or the daemon stops.
    fn watch(&self, peer: Peer, query: WatchQuery) -> Answer<FeedReader<WatchReply>>;
    /// Asks the generator about one task, now, and answers when that is done.
    fn poll(&self, peer: Peer, task: String) -> Answer<TaskReply>;
    /// Asks about everything in flight, now.
    fn poll_all(&self, peer: Peer) -> Answer<PollAllReply>;

    // io.contentd.Content, .Pool, .Accounts

    /// Content records, newest first, without their pieces.
    fn content_list(&self, peer: Peer, query: ContentQuery) -> Answer<ContentsReply>;
    /// One content record; refused where a reply cannot hold it.
    fn content_get(&self, peer: Peer, content_id: ContentId) -> Answer<ContentReply>;
    /// The same in as many replies as it needs.
    fn content_get_in_parts(&self, peer: Peer, content_id: ContentId) -> Answer<Parts<ContentReply>>;
    /// Approves (`true`) or rejects; `content_hash` names what was looked at.
    fn content_review(&self, peer: Peer, approve: bool, review: ReviewParams) -> Answer<ContentReply>;
    /// A new version of a piece by hand.
    fn content_edit(&self, peer: Peer, edit: EditParams) -> Answer<ContentReply>;
    /// Rejects a piece, and has a new task write it again.
    fn content_write_again(&self, peer: Peer, again: WriteAgainParams) -> Answer<WriteAgainReply>;
    /// The versions of the piece that a record is of, newest first.
    fn content_versions(&self, peer: Peer, content_id: ContentId) -> Answer<VersionsReply>;
    /// The images of a record that are, or are to be, kept.
    fn content_images(&self, peer: Peer, content_id: ContentId) -> Answer<ImagesReply>;
    /// The publish pool in the order of going out.
    fn pool_list(&self, peer: Peer, query: PoolQuery) -> Answer<PoolReply>;
    /// Lets pool entries go that wait for a release: these, or all.
    fn pool_release(&self, peer: Peer, ids: Option<Vec<PoolId>>) -> Answer<PoolReleaseReply>;
    /// One entry and everybody who had it.
    fn pool_show(&self, peer: Peer, id: PoolId) -> Answer<PoolShowReply>;
    /// Hands entries out to the caller.
    fn pool_next(&self, peer: Peer, query: NextQuery) -> Answer<PoolNextReply>;
    /// What the caller says of an entry.
    fn pool_word(&self, peer: Peer, word: PoolWord) -> Answer<PoolEntryReply>;
    /// Adds an account.
    fn account_add(&self, peer: Peer, name: String, external_id: Option<String>) -> Answer<AccountReply>;
    /// Accounts by number.
    fn account_list(&self, peer: Peer) -> Answer<AccountsReply>;
    /// One account.
    fn account_get(&self, peer: Peer, account: String) -> Answer<AccountReply>;
    /// Changes an account.
    fn account_set(&self, peer: Peer, account: String, change: AccountChange) -> Answer<AccountSetReply>;
    /// Adds and changes accounts, all of them or none.
    fn account_import(&self, peer: Peer, entries: Vec<AccountEntry>) -> Answer<AccountImportReply>;

    // io.contentd.Daemon

    /// How the daemon stands.
    fn daemon_status(&self, peer: Peer) -> Answer<StatusReply>;
    /// Each worker's state.
    fn workers(&self, peer: Peer) -> Answer<WorkersReply>;
    /// No new submits, of what is named.
    fn pause(&self, peer: Peer, what: PauseParams) -> Answer<PausesReply>;
    /// New submits again, of exactly what is named.
    fn resume(&self, peer: Peer, what: Resume) -> Answer<PausesReply>;
    /// The effective configuration, secrets left out.
    fn config(&self, peer: Peer) -> Answer<ConfigReply>;
    /// Answers, then drains and exits.
    fn drain(&self, peer: Peer) -> Answer<DrainReply>;
    /// Reads the configuration again.
    fn reload(&self, peer: Peer) -> Answer<ReloadReply>;
    /// Looks at the whole installation as the daemon sees it. Answers within some ten seconds, whatever hangs.
    fn doctor(&self, peer: Peer) -> Answer<FindingsReply>;
    /// Tries each verb of a generator that can neither cost money nor change a job.
    fn try_generator(&self, peer: Peer, generator: String) -> Answer<FindingsReply>;
    /// Copies the database; `keep` deletes the oldest backups in the daemon's own directory beyond so many.
    fn backup(&self, peer: Peer, file: Option<String>, keep: Option<u32>) -> Answer<BackupReply>;
}
