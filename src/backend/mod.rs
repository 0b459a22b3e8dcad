//! What a call on the control socket becomes: a message to an actor, or a question to the store.
//!
//! Implements [`Backend`] for the server. It judges what needs the database (does this account exist?), resolves
//! prefixes and names, and turns every refusal of the core into the named error that its caller can act on. Nothing is
//! changed here: every transition is a message to the queue or the poller.

mod accounts;
mod backup;
mod bulk;
mod content;
mod daemon;
pub mod doctor;
mod errors;
mod metrics;
mod notice;
mod pieces;
mod pool;
mod review;
mod schedules;
mod streams;
mod submit;
mod task_log;
mod tasks;
pub mod unmet;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::{mpsc, oneshot, watch};

use crate::actors::World;
use crate::actors::queue::QueueActor;
use crate::actors::supervisor::SupervisorActor;
use crate::control::api::{AccountImportReply, AccountSetReply, EditParams, ImagesReply, VersionsReply};
use crate::control::api::{
    AccountReply, AccountsReply, BackupReply, BulkReply, CleanupReply, ContentReply, ContentsReply, DrainReply,
    FindingsReply, HistoryReply, LogReply, PauseParams, PausesReply, PollAllReply, PoolReleaseReply, PoolReply,
    QueueReply, ShowReply, StatisticsReply, StatusReply, Submitted, TaskReply, TasksReply, WaitReply, WatchReply,
    WorkersReply,
};
use crate::control::api::{
    Answer, ApiError, Backend, Bulk, CheckedSubmission, CleanupAge, ConfigReply, ContentQuery, ListQuery, Peer,
    PoolQuery, ReloadReply, Resume, RetryMode, ReviewParams, SettleDecision, StatisticsQuery, WaitQuery, WatchQuery,
    WriteAgainParams, WriteAgainReply,
};
use crate::control::api::{NextQuery, PoolEntryReply, PoolNextReply, PoolShowReply, PoolWord};
use crate::control::feed::FeedReader;
use crate::control::parts::Parts;
use crate::generator::log::GeneratorLogs;
use crate::store::DbError;
use crate::store::query::Queries;
use crate::store::write::{Account, AccountEntry};
use crate::task::account::AccountChange;
use crate::task::{Attempt, ContentId, CorrectedState, GeneratorName, PoolId, Task, TaskId, Timestamp};

/// What the configuration says for a submit that does not say.
#[derive(Clone, PartialEq, Debug)]
pub struct SubmitDefaults {
    /// The generator; none: the only one that is configured.
    pub generator: Option<GeneratorName>,
    /// 1 to 10.
    pub priority: u8,
    /// Seconds.
    pub time_limit_s: u32,
    /// Retries.
    pub max_retries: u32,
    /// Approve when it comes.
    pub auto_approve: bool,
    /// How many unfinished tasks there may be.
    pub max_pending: u64,
}

/// The part of the configuration that calls see; replaced on reload.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For submits.
    pub defaults: SubmitDefaults,
    /// Nobody approves what they submitted, and nothing is approved by itself.
    pub is_four_eyes: bool,
    /// After how long finished tasks are deleted; none: never.
    pub keep_finished: Option<Duration>,
    /// Where topics of schedules may come from.
    pub schedules: Arc<ScheduleSettings>,
    /// The effective configuration, for `config`.
    pub effective: ConfigReply,
}

pub use schedules::ScheduleSettings;

/// What a call asks of the process itself.
pub enum DaemonCommand {
    /// Stop accepting, drain, exit.
    Stop,
    /// Read the configuration again.
    ReadConfig(oneshot::Sender<Result<ReloadReply, ApiError>>),
}

/// The daemon behind the socket. Cheap to clone.
#[derive(Clone)]
pub struct DaemonBackend {
    world: World,
    supervisor: Addr<SupervisorActor>,
    settings: watch::Receiver<Arc<Settings>>,
    commands: mpsc::UnboundedSender<DaemonCommand>,
    stopping: watch::Receiver<bool>,
    installation: doctor::Installation,
    started_at: Timestamp,
    logs: GeneratorLogs,
    untold: submit::Untold,
}

impl DaemonBackend {
    /// Puts the backend together. `stopping` turns true when the daemon begins to drain.
    pub fn new(
        world: World,
        supervisor: Addr<SupervisorActor>,
        settings: watch::Receiver<Arc<Settings>>,
        commands: mpsc::UnboundedSender<DaemonCommand>,
        stopping: watch::Receiver<bool>,
        installation: doctor::Installation,
        logs: GeneratorLogs,
    ) -> Self {
        let started_at = world.clock.now().utc;
        let untold = submit::Untold::default();
        Self { world, supervisor, settings, commands, stopping, installation, started_at, logs, untold }
    }

    /// Runs `work` on a clone that the answer may own.
    fn answer<T, F>(&self, work: impl FnOnce(Self) -> F) -> Answer<T>
    where
        F: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        Box::pin(work(self.clone()))
    }

    async fn read<T, F>(&self, ask: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Queries) -> Result<T, DbError> + Send + 'static,
    {
        self.world.store.read(ask).await.map_err(errors::of_db)
    }

    fn refuse_while_stopping(&self) -> Result<(), ApiError> {
        if *self.stopping.borrow() { Err(ApiError::Draining) } else { Ok(()) }
    }

    fn queue(&self) -> Result<Addr<QueueActor>, ApiError> {
        self.world.peers.borrow().queue.clone().ok_or(ApiError::Draining)
    }

    /// The task that an id or a prefix names.
    async fn task_id(&self, name: &str) -> Result<TaskId, ApiError> {
        let name = name.to_owned();
        self.read(move |queries| queries.find_task(&name)).await?.map_err(errors::of_lookup)
    }

    /// A task with its current attempt.
    async fn task(&self, name: &str) -> Result<(Task, Option<Attempt>), ApiError> {
        let id = self.task_id(name).await?;
        let asked = id.clone();
        let found = self.read(move |queries| queries.task(&asked)).await?;
        // It was there a moment ago; a cleanup may have come between.
        found.ok_or(ApiError::TaskNotFound { task: id.0 })
    }

    /// An account by number or name.
    async fn account(&self, name: &str) -> Result<Account, ApiError> {
        let asked = name.to_owned();
        let found = self.read(move |queries| queries.find_account(&asked)).await?;
        found.ok_or_else(|| ApiError::AccountNotFound { account: name.to_owned() })
    }

    async fn account_of(&self, name: Option<&str>) -> Result<Option<Account>, ApiError> {
        match name {
            Some(name) => Ok(Some(self.account(name).await?)),
            None => Ok(None),
        }
    }

    /// A generator that is configured, for filters and pauses.
    fn known_generator(&self, name: &GeneratorName) -> Result<(), ApiError> {
        let generators = self.world.generators.borrow();
        if generators.get(name).is_some() {
            return Ok(());
        }
        let known = generators.iter().map(|generator| generator.name.0.clone()).collect();
        Err(ApiError::GeneratorNotFound { generator: name.0.clone(), known })
    }
}

impl Backend for DaemonBackend {
    fn submit(
        &self,
        peer: Peer,
        tasks: Vec<CheckedSubmission>,
        is_single: bool,
        dry_run: bool,
    ) -> Answer<Vec<Submitted>> {
        self.answer(|this| async move { this.submit_tasks(&peer, tasks, is_single, dry_run).await })
    }

    fn status(&self, _: Peer, task: String) -> Answer<TaskReply> {
        self.answer(|this| async move { this.task_status(&task).await })
    }

    fn show(&self, _: Peer, task: String) -> Answer<ShowReply> {
        self.answer(|this| async move { this.show_task(&task).await })
    }

    fn show_in_parts(&self, _: Peer, task: String) -> Answer<Parts<ShowReply>> {
        self.answer(|this| async move { this.show_task_in_parts(&task).await })
    }

    fn history(&self, _: Peer, task: String) -> Answer<HistoryReply> {
        self.answer(|this| async move { this.task_history(&task).await })
    }

    fn log(&self, _: Peer, task: String) -> Answer<LogReply> {
        self.answer(|this| async move { this.task_log(&task).await })
    }

    fn follow_log(&self, _: Peer, task: String) -> Answer<FeedReader<LogReply>> {
        self.answer(|this| async move { this.follow_task_log(&task).await })
    }

    fn list(&self, _: Peer, query: ListQuery) -> Answer<TasksReply> {
        self.answer(|this| async move { this.list_tasks(query).await })
    }

    fn queue(&self, _: Peer, limit: u32, offset: u32) -> Answer<QueueReply> {
        self.answer(move |this| async move { this.list_queue(limit, offset).await })
    }

    fn result(&self, _: Peer, task: String) -> Answer<ContentReply> {
        self.answer(|this| async move { this.task_result(&task).await })
    }

    fn result_in_parts(&self, _: Peer, task: String) -> Answer<Parts<ContentReply>> {
        self.answer(|this| async move { this.task_result_in_parts(&task).await })
    }

    fn cancel(&self, peer: Peer, which: Bulk, dry_run: bool) -> Answer<BulkReply> {
        self.answer(move |this| async move { this.cancel_tasks(&peer, which, dry_run).await })
    }

    fn release(&self, peer: Peer, which: Bulk, dry_run: bool) -> Answer<BulkReply> {
        self.answer(move |this| async move { this.release_tasks(&peer, which, dry_run).await })
    }

    fn retry(&self, peer: Peer, which: Bulk, mode: RetryMode, dry_run: bool) -> Answer<BulkReply> {
        self.answer(move |this| async move { this.retry_tasks(&peer, which, mode, dry_run).await })
    }

    fn correct(
        &self,
        peer: Peer,
        task: String,
        to: CorrectedState,
        reason: String,
        abandon: bool,
    ) -> Answer<TaskReply> {
        self.answer(move |this| async move { this.correct_task(&peer, &task, to, reason, abandon).await })
    }

    fn settle(&self, peer: Peer, task: String, decision: SettleDecision) -> Answer<TaskReply> {
        self.answer(|this| async move { this.settle_task(&peer, &task, decision).await })
    }

    fn set(&self, peer: Peer, task: String, priority: Option<u8>, delay_s: Option<u64>) -> Answer<TaskReply> {
        self.answer(move |this| async move { this.change_task(&peer, &task, priority, delay_s).await })
    }

    fn cleanup(&self, peer: Peer, age: CleanupAge, dry_run: bool) -> Answer<CleanupReply> {
        self.answer(move |this| async move { this.clean_up(&peer, age, dry_run).await })
    }

    fn statistics(&self, _: Peer, query: StatisticsQuery) -> Answer<StatisticsReply> {
        self.answer(|this| async move { this.task_statistics(query).await })
    }

    fn wait(&self, _: Peer, query: WaitQuery) -> Answer<FeedReader<WaitReply>> {
        self.answer(|this| async move { this.wait_for(query).await })
    }

    fn watch(&self, _: Peer, query: WatchQuery) -> Answer<FeedReader<WatchReply>> {
        self.answer(|this| async move { this.watch_changes(query).await })
    }

    fn poll(&self, peer: Peer, task: String) -> Answer<TaskReply> {
        self.answer(|this| async move { this.poll_task(&peer, &task).await })
    }

    fn poll_all(&self, _: Peer) -> Answer<PollAllReply> {
        self.answer(|this| async move { this.poll_everything().await })
    }

    fn content_list(&self, _: Peer, query: ContentQuery) -> Answer<ContentsReply> {
        self.answer(|this| async move { this.list_contents(query).await })
    }

    fn content_get(&self, _: Peer, content_id: ContentId) -> Answer<ContentReply> {
        self.answer(move |this| async move { this.get_content(content_id).await })
    }

    fn content_get_in_parts(&self, _: Peer, content_id: ContentId) -> Answer<Parts<ContentReply>> {
        self.answer(move |this| async move { this.get_content_in_parts(content_id).await })
    }

    fn content_review(&self, peer: Peer, approve: bool, review: ReviewParams) -> Answer<ContentReply> {
        self.answer(move |this| async move { this.review_content(&peer, approve, review).await })
    }

    fn content_edit(&self, peer: Peer, edit: EditParams) -> Answer<ContentReply> {
        self.answer(|this| async move { this.edit_content(&peer, edit).await })
    }

    fn content_write_again(&self, peer: Peer, again: WriteAgainParams) -> Answer<WriteAgainReply> {
        self.answer(|this| async move { this.write_again(&peer, again).await })
    }

    fn content_versions(&self, _: Peer, content_id: ContentId) -> Answer<VersionsReply> {
        self.answer(move |this| async move { this.list_versions(content_id).await })
    }

    fn content_images(&self, _: Peer, content_id: ContentId) -> Answer<ImagesReply> {
        self.answer(move |this| async move { this.list_images(content_id).await })
    }

    fn pool_list(&self, _: Peer, query: PoolQuery) -> Answer<PoolReply> {
        self.answer(|this| async move { this.list_pool(query).await })
    }

    fn pool_release(&self, peer: Peer, ids: Option<Vec<PoolId>>) -> Answer<PoolReleaseReply> {
        self.answer(move |this| async move { this.release_pool(&peer, ids).await })
    }

    fn pool_show(&self, _: Peer, id: PoolId) -> Answer<PoolShowReply> {
        self.answer(move |this| async move { this.show_pool_entry(id).await })
    }

    fn pool_next(&self, peer: Peer, query: NextQuery) -> Answer<PoolNextReply> {
        self.answer(move |this| async move { this.next_of_pool(&peer, query).await })
    }

    fn pool_word(&self, peer: Peer, word: PoolWord) -> Answer<PoolEntryReply> {
        self.answer(move |this| async move { this.hear_of_pool(&peer, word).await })
    }

    fn account_add(&self, _: Peer, name: String, external_id: Option<String>) -> Answer<AccountReply> {
        self.answer(|this| async move { this.add_account(name, external_id).await })
    }

    fn account_list(&self, _: Peer) -> Answer<AccountsReply> {
        self.answer(|this| async move { this.list_accounts().await })
    }

    fn account_get(&self, _: Peer, account: String) -> Answer<AccountReply> {
        self.answer(|this| async move { this.account_now(&account).await })
    }

    fn account_set(&self, peer: Peer, account: String, change: AccountChange) -> Answer<AccountSetReply> {
        self.answer(|this| async move { this.set_account(&peer, &account, change).await })
    }

    fn account_import(&self, peer: Peer, entries: Vec<AccountEntry>) -> Answer<AccountImportReply> {
        self.answer(|this| async move { this.import_accounts(&peer, entries).await })
    }

    fn daemon_status(&self, _: Peer) -> Answer<StatusReply> {
        self.answer(|this| async move { this.status_of_daemon().await })
    }

    fn workers(&self, _: Peer) -> Answer<WorkersReply> {
        self.answer(|this| async move { this.status_of_workers().await })
    }

    fn pause(&self, peer: Peer, what: PauseParams) -> Answer<PausesReply> {
        self.answer(|this| async move { this.set_pause(&peer, what, true).await })
    }

    fn resume(&self, peer: Peer, what: Resume) -> Answer<PausesReply> {
        self.answer(|this| async move { this.resume_what(&peer, what).await })
    }

    fn config(&self, _: Peer) -> Answer<ConfigReply> {
        self.answer(|this| async move { Ok(this.settings.borrow().effective.clone()) })
    }

    fn drain(&self, peer: Peer) -> Answer<DrainReply> {
        self.answer(|this| async move { this.drain_daemon(&peer).await })
    }

    fn reload(&self, _: Peer) -> Answer<ReloadReply> {
        self.answer(|this| async move { this.reload_daemon().await })
    }

    fn doctor(&self, _: Peer) -> Answer<FindingsReply> {
        self.answer(|this| async move { this.examine().await })
    }

    fn try_generator(&self, _: Peer, generator: String) -> Answer<FindingsReply> {
        self.answer(|this| async move { this.try_out(generator).await })
    }

    fn backup(&self, peer: Peer, file: Option<String>, keep: Option<u32>) -> Answer<BackupReply> {
        self.answer(move |this| async move { this.back_up(&peer, file, keep).await })
    }
}
