//! A backend of a few maps, for tests of the socket and of contentctl: it remembers what it was asked.
//!
//! Its answers are scripted by task id: `slow` waits until released, `gone` is not found, and so on.

#[path = "fake_schedules.rs"]
pub mod schedules;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contentd::control::api::*;
use contentd::control::feed::{Feed, FeedReader, feed};
use contentd::control::parts::{InPart, Parts};
use contentd::control::server::{Access, Limits, Server, ServerHandle};
use contentd::control::socket::{Place, bind};
use contentd::control::values::WireTime;
use contentd::roles::{Grants, Unnamed};
use contentd::store::write::AccountEntry;
use contentd::task::account::AccountChange;
use contentd::task::{AttemptKey, ContentId, CorrectedState, PoolId, TaskState, Timestamp};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, watch};

/// What it remembers.
#[derive(Default)]
pub struct FakeBackend {
    /// Every submission that was accepted, by key.
    pub submitted: Mutex<BTreeMap<String, CheckedSubmission>>,
    /// The topics of tasks that are not as their ids say: one about `done` is completed, one that `fails` has failed, one that is
    /// `large` is completed and long.
    pub topics: Mutex<BTreeMap<String, String>>,
    /// The calls in order: method and what came with it.
    pub calls: Mutex<Vec<String>>,
    /// Lets `slow` go on.
    pub release: Arc<Notify>,
    /// Calls of `slow` that ended.
    pub slow_done: Arc<AtomicUsize>,
    /// Watch feeds that are open, to write into.
    pub watchers: Arc<Mutex<Vec<Feed<WatchReply>>>>,
    /// Readers of watches that went.
    pub readers_gone: Arc<AtomicUsize>,
    /// Submits and lists are answered with `Draining` so many times first.
    pub draining_first: AtomicUsize,
    /// Waits never end.
    pub is_waiting_for_ever: AtomicBool,
}

fn done<T: Send + 'static>(result: Result<T, ApiError>) -> Answer<T> {
    std::future::ready(result).boxed()
}

/// A task as tests expect it.
pub fn task(id: &str, state: &str) -> TaskView {
    TaskView {
        task_id: id.to_owned(),
        state: state.to_owned(),
        account_id: 1,
        topic: "人工智能 \u{1b}[31mred".to_owned(),
        keywords: vec!["a".to_owned(), "b".to_owned()],
        category: None,
        requirements: None,
        tone: None,
        priority: 5,
        auto_approve: true,
        generator: "assumed".to_owned(),
        attempt: 1,
        retry_count: 0,
        max_retries: 3,
        external_ref: None,
        generator_state: None,
        progress: None,
        reason: Some("waits for a worker".to_owned()),
        error: None,
        content_id: None,
        key: None,
        submitted_by: "1000:ada".to_owned(),
        time_limit: 1800,
        created_at: WireTime(Timestamp(1_769_847_330_250)),
        submitted_at: None,
        started_at: None,
        completed_at: None,
        timeout_at: None,
        next_attempt_at: None,
        next_poll_at: None,
        updated_at: WireTime(Timestamp(1_769_847_330_250)),
        ways_out: None,
    }
}

/// A content record as tests expect it.
pub fn content(id: i64) -> ContentReply {
    ContentReply {
        content: ContentView {
            content_id: id,
            task_id: "task-done".to_owned(),
            account_id: 1,
            title: "人工智能".to_owned(),
            content: Some("# 人工智能\n\x1b]0;evil\x07正文".to_owned()),
            html_content: Some("<h1>人工智能</h1>".to_owned()),
            summary: "正文".to_owned(),
            images: vec!["https://example.org/a.png".into()],
            cover_image: Some("https://example.org/a.png".to_owned()),
            word_count: 6,
            quality_score: Some(0.9),
            category: None,
            review_status: "approved".to_owned(),
            review_reason: Some("the task asks for a review".to_owned()),
            publish_status: "pooled".to_owned(),
            content_hash: "ab".repeat(32),
            created_at: WireTime(Timestamp(1_769_847_330_250)),
            published_at: None,
            published_by: None,
            published_url: None,
        },
        version: 1,
        reviewed_by: None,
        review_reason: None,
        findings: vec![],
        edited_by: None,
        rewritten_by: None,
        pool_entry: None,
    }
}

/// A pool entry as tests expect it.
pub fn pooled(id: i64) -> PoolView {
    PoolView {
        pool_id: id,
        content_id: 7,
        priority: 5,
        scheduled_at: WireTime(Timestamp(0)),
        status: "pending".to_owned(),
        retry_count: 0,
        last_error: None,
        published_at: None,
        held_reason: None,
        account_id: 1,
        fence: 1,
        lease_until: None,
        account: Some("blog".to_owned()),
        title: Some("T".to_owned()),
        unserved: None,
    }
}

/// The key of a request that finds nothing due.
pub const NOTHING_DUE: &str = "nothing-due";

/// An entry that waits for its turn; below it each is held, and above it there are none.
pub const NOT_HELD: i64 = 90;

/// An entry that is out.
pub const PUBLISHED: i64 = 80;

/// An entry that was never handed out.
pub const NEVER_OUT: i64 = 70;

/// An entry that was taken out before it was handed out.
pub const REMOVED: i64 = 60;

/// An entry of which nobody knows whether it is out.
pub const DOUBTED: i64 = 50;

/// Who had it.
pub fn handout() -> HandoutView {
    HandoutView {
        fence: 1,
        holder: "1000:ada".to_owned(),
        is_publisher: false,
        key: "cd".repeat(16),
        handed_out_at: WireTime(Timestamp(0)),
        sends: 0,
        doubted_at: None,
        ended_at: None,
        outcome: None,
        error: None,
    }
}

/// What a consumer is given.
pub fn handed_out() -> HandedOut {
    HandedOut {
        pool_id: 1,
        fence: 1,
        key: "cd".repeat(16),
        lease_until: WireTime(Timestamp(0)),
        priority: 5,
        account: "blog".to_owned(),
        external_id: None,
        content: content(7).content,
    }
}

/// A request of the pool whose answer leaves the pieces out, and whose first piece cannot be read.
pub const TORN_REQUEST: &str = "torn";
/// So many pieces at once are longer than a message.
pub const MANY_HANDED_OUT: u32 = 3;
/// A content record whose piece is longer than a message.
pub const LONG_CONTENT: i64 = 8;

/// A content record whose task a cleanup deleted.
pub const TASK_GONE: i64 = 9;

/// A content record in three replies: a part of the piece, the rest with a part of the HTML, the rest and no image.
fn torn(whole: ContentReply) -> [ContentReply; 3] {
    let cut = |text: &Option<String>| {
        let (begin, end) = text.as_deref().expect("there is a piece").split_at(2);
        (Some(begin.to_owned()), Some(end.to_owned()))
    };
    let ((piece, piece_end), (html, html_end)) = (cut(&whole.content.content), cut(&whole.content.html_content));
    let with = |content, html_content| {
        let mut reply = whole.clone();
        (reply.content.content, reply.content.html_content) = (content, html_content);
        reply.content.images.clear();
        reply
    };
    let mut first = with(piece, None);
    first.content.images.clone_from(&whole.content.images);
    [first, with(piece_end, html), with(None, html_end)]
}

fn in_parts<T: Send + 'static, const N: usize>(replies: [T; N]) -> Parts<T> {
    let parts = replies.into_iter().enumerate();
    futures_util::stream::iter(parts.map(|(index, reply)| Ok(InPart { reply, is_last: index + 1 == N }))).boxed()
}

/// What one call wrote.
pub fn log_entry(text: &str) -> LogEntryView {
    let at = WireTime(Timestamp(1_769_847_330_250));
    LogEntryView {
        at,
        attempt: 1,
        verb: "submit".to_owned(),
        end: "exit 1".to_owned(),
        outcome: None,
        text: text.to_owned(),
        times: 1,
        last_at: at,
    }
}

/// One committed change.
pub fn change(id: &str) -> WatchReply {
    WatchReply {
        at: WireTime(Timestamp(1_769_847_330_250)),
        event: Some("accepted".to_owned()),
        from_state: Some("submitting".to_owned()),
        why: None,
        who: Some("contentd".to_owned()),
        task: task(id, "submitted"),
    }
}

impl FakeBackend {
    fn called(&self, what: impl Into<String>) {
        self.calls.lock().expect("no test panics with it").push(what.into());
    }

    fn find(&self, id: &str) -> Result<TaskView, ApiError> {
        match self.topics.lock().expect("no test panics with it").get(id).map(String::as_str) {
            Some("fails") => return Ok(task(id, "failed")),
            Some("large") => return Ok(TaskView { requirements: Some("x".repeat(6 << 20)), ..task(id, "completed") }),
            Some("done") => return Ok(task(id, "completed")),
            Some(_) | None => {}
        }
        match id {
            "gone" | "gone-too" => Err(ApiError::TaskNotFound { task: id.to_owned() }),
            "task" => Err(ApiError::AmbiguousTask {
                prefix: id.to_owned(),
                candidates: vec!["task-a".to_owned(), "task-b".to_owned()],
            }),
            "panic" => panic!("a fault of the backend"),
            "task-done" => Ok(TaskView { content_id: Some(7), reason: None, ..task(id, "completed") }),
            "task-later" => {
                let next_attempt_at = Some(WireTime(Timestamp(4_102_444_800_000)));
                Ok(TaskView { next_attempt_at, ..task(id, "pending") })
            }
            "task-failed" => Ok(TaskView { error: Some("429".to_owned()), reason: None, ..task(id, "failed") }),
            id => Ok(task(id, "pending")),
        }
    }

    fn bulk(&self, which: Bulk, dry_run: bool) -> Answer<BulkReply> {
        let is_single = matches!(&which, Bulk::Named(names) if names.len() == 1);
        let names = match which {
            Bulk::Named(names) => names,
            Bulk::Matching(query) if query.generator.as_ref().is_some_and(|one| one.as_str() == "none-can-be") => {
                vec!["task-done".to_owned()]
            }
            Bulk::Matching(_) => vec!["task-a".to_owned(), "task-done".to_owned()],
        };
        let mut reply =
            BulkReply { done: vec![], done_count: 0, skipped: vec![], skipped_count: 0, is_dry_run: dry_run };
        for name in names {
            let refusal = match self.find(&name) {
                Ok(task) if task.state == "completed" => ApiError::WrongState {
                    task: name.clone(),
                    state: task.state,
                    action: "cancel".to_owned(),
                    cure: "it has ended".to_owned(),
                },
                Ok(task) => {
                    let state = if name == "task-later" { task.state } else { "cancelled".to_owned() };
                    reply.done.push(TaskRef { task_id: name, state });
                    reply.done_count += 1;
                    continue;
                }
                Err(error) => error,
            };
            if is_single {
                return done(Err(refusal));
            }
            reply.skipped.push(SkippedTask { task_id: name, error: refusal.name(), message: refusal.message() });
            reply.skipped_count += 1;
        }
        done(Ok(reply))
    }
}

impl FakeBackend {
    fn is_draining_yet(&self) -> bool {
        self.draining_first.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

impl Backend for FakeBackend {
    fn submit(
        &self,
        peer: Peer,
        tasks: Vec<CheckedSubmission>,
        is_single: bool,
        dry_run: bool,
    ) -> Answer<Vec<Submitted>> {
        self.called(format!("submit {} of {} single={is_single} dry_run={dry_run}", tasks.len(), peer.label()));
        if self.is_draining_yet() {
            return done(Err(ApiError::Draining));
        }
        if let Some(task) = tasks.iter().find(|task| task.account == "nobody") {
            return done(Err(ApiError::AccountNotFound { account: task.account.clone() }));
        }
        let mut submitted = self.submitted.lock().expect("no test panics with it");
        let mut replies = Vec::new();
        for (index, task) in tasks.into_iter().enumerate() {
            if dry_run {
                replies.push(Submitted { task_id: None, state: None, was_known: false });
                continue;
            }
            let key = task.key.clone().unwrap_or_else(|| format!("none-{index}"));
            let topic = task.topic.clone();
            let was_known = submitted.insert(key, task).is_some();
            let task_id = Some(format!("task-{:012}", submitted.len()));
            self.topics.lock().expect("no test panics with it").extend(task_id.clone().map(|id| (id, topic)));
            replies.push(Submitted { task_id, state: Some("pending".to_owned()), was_known });
        }
        done(Ok(replies))
    }

    fn status(&self, _: Peer, task: String) -> Answer<TaskReply> {
        self.called(format!("status {task}"));
        if task == "slow" {
            let (release, slow_done) = (Arc::clone(&self.release), Arc::clone(&self.slow_done));
            let view = self.find("slow");
            return async move {
                release.notified().await;
                slow_done.fetch_add(1, Ordering::SeqCst);
                Ok(TaskReply { task: view? })
            }
            .boxed();
        }
        if task == "panic" {
            return async move { panic!("a fault of the backend") }.boxed();
        }
        done(self.find(&task).map(|task| TaskReply { task }))
    }

    fn show(&self, _: Peer, task: String) -> Answer<ShowReply> {
        done(self.find(&task).map(|task| ShowReply { task, result: Some("raw".to_owned()), attempts: vec![] }))
    }

    fn show_in_parts(&self, _: Peer, task: String) -> Answer<Parts<ShowReply>> {
        let raw = |task: TaskView| {
            let replies = ["ra", "w"].map(|part| ShowReply {
                task: task.clone(),
                result: Some(part.to_owned()),
                attempts: vec![],
            });
            in_parts(replies)
        };
        done(self.find(&task).map(raw))
    }

    fn history(&self, _: Peer, task: String) -> Answer<HistoryReply> {
        let entry = HistoryEntry {
            at: WireTime(Timestamp(0)),
            event: "submitted".to_owned(),
            from_state: None,
            to_state: "pending".to_owned(),
            attempt: 0,
            attempt_from: None,
            attempt_to: None,
            why: None,
            who: "1000:ada".to_owned(),
        };
        done(self.find(&task).map(|_| HistoryReply { events: vec![entry] }))
    }

    fn log(&self, _: Peer, task: String) -> Answer<LogReply> {
        let is_silent = task == "task-silent";
        done(self.find(&task).map(|task| LogReply {
            entries: if is_silent { vec![] } else { vec![log_entry("one\n\u{1b}[2Jtwo")] },
            dropped: 0,
            is_complete: task.state == "completed",
        }))
    }

    fn follow_log(&self, _: Peer, task: String) -> Answer<FeedReader<LogReply>> {
        let (writer, reader) = feed(8);
        for (text, is_complete) in [("one", false), ("two", true)] {
            let entry = LogEntryView { verb: task.clone(), ..log_entry(text) };
            let reply = LogReply { entries: vec![entry], dropped: 0, is_complete };
            writer.send(reply).expect("there is room");
        }
        done(Ok(reader))
    }

    fn list(&self, _: Peer, query: ListQuery) -> Answer<TasksReply> {
        self.called(format!("list limit={} before={:?} states={:?}", query.limit, query.before, query.filter.states));
        if self.is_draining_yet() {
            return done(Err(ApiError::Draining));
        }
        // 2,500 tasks in all, newest first; those that are large are for the account `large`, and none names the generator `absent`.
        if query.filter.generator.as_ref().is_some_and(|one| one.as_str() == "absent") {
            return done(Ok(TasksReply { tasks: vec![], searched_to: None }));
        }
        let newest = query.before.and_then(|id| id.trim_start_matches("task-").parse().ok()).unwrap_or(2_501);
        let is_large = query.filter.account.as_deref() == Some("large");
        let ids = (1..newest).rev().skip(query.offset as usize).take(query.limit as usize);
        let tasks = ids.map(|id: u32| {
            let mut view = task(&format!("task-{id:012}"), "pending");
            view.requirements = is_large.then(|| "x".repeat(500_000));
            view
        });
        let searched_to = query.topic.map(|_| "task-000000000007".to_owned());
        done(Ok(TasksReply { tasks: tasks.collect(), searched_to }))
    }

    fn queue(&self, _: Peer, limit: u32, _: u32) -> Answer<QueueReply> {
        let tasks = (0..limit.min(2)).map(|id| task(&format!("task-{id}"), "pending")).collect();
        done(Ok(QueueReply { size: 2, tasks }))
    }

    fn result(&self, _: Peer, task: String) -> Answer<ContentReply> {
        done(match self.find(&task) {
            Ok(view) if view.state == "completed" => Ok(content(7)),
            Ok(view) => Err(ApiError::NoResult { task, state: view.state }),
            Err(error) => Err(error),
        })
    }

    fn result_in_parts(&self, peer: Peer, task: String) -> Answer<Parts<ContentReply>> {
        self.result(peer, task).map(|reply| Ok(in_parts(torn(reply?)))).boxed()
    }

    fn cancel(&self, _: Peer, which: Bulk, dry_run: bool) -> Answer<BulkReply> {
        self.called(format!("cancel {which:?} {dry_run}"));
        self.bulk(which, dry_run)
    }

    fn release(&self, _: Peer, which: Bulk, dry_run: bool) -> Answer<BulkReply> {
        self.called(format!("release {which:?} {dry_run}"));
        // No restore holds the one that is held.
        if matches!(&which, Bulk::Matching(query) if query.states == [TaskState::Held]) {
            let (done, skipped) = (vec![], vec![]);
            return self::done(Ok(BulkReply { done, done_count: 0, skipped, skipped_count: 0, is_dry_run: dry_run }));
        }
        self.bulk(which, dry_run)
    }

    fn retry(&self, _: Peer, which: Bulk, mode: RetryMode, dry_run: bool) -> Answer<BulkReply> {
        self.called(format!("retry {which:?} {mode:?} {dry_run}"));
        self.bulk(which, dry_run)
    }

    fn correct(&self, _: Peer, task: String, to: CorrectedState, reason: String, abandon: bool) -> Answer<TaskReply> {
        self.called(format!("correct {task} {to:?} {reason} {abandon}"));
        done(self.find(&task).map(|task| TaskReply { task }))
    }

    fn settle(&self, _: Peer, task: String, decision: SettleDecision) -> Answer<TaskReply> {
        self.called(format!("settle {task} {decision:?}"));
        done(self.find(&task).map(|task| TaskReply { task }))
    }

    fn set(&self, _: Peer, task: String, priority: Option<u8>, delay_s: Option<u64>) -> Answer<TaskReply> {
        self.called(format!("set {priority:?} {delay_s:?}"));
        let changed = |task: TaskView| TaskView { priority: priority.unwrap_or(task.priority), ..task };
        done(self.find(&task).map(|task| TaskReply { task: changed(task) }))
    }

    fn cleanup(&self, _: Peer, age: CleanupAge, dry_run: bool) -> Answer<CleanupReply> {
        self.called(format!("cleanup {age:?}"));
        done(Ok(CleanupReply { deleted: 3, is_dry_run: dry_run, older_than_s: 7_776_000, is_day_kept: false }))
    }

    fn statistics(&self, _: Peer, query: StatisticsQuery) -> Answer<StatisticsReply> {
        self.called(format!("statistics since={:?}", query.since));
        done(Ok(StatisticsReply {
            total: 5,
            by_state: BTreeMap::from([("pending".to_owned(), 2), ("completed".to_owned(), 3)]),
            finished: BTreeMap::new(),
            created: 2,
            retries: 0,
            success_rate: None,
            mean_duration_s: None,
            mean_wait_s: None,
            words: 0,
        }))
    }

    fn wait(&self, _: Peer, query: WaitQuery) -> Answer<FeedReader<WaitReply>> {
        match &query.tasks {
            Some(tasks) if tasks.len() > 9 => self.called(format!("wait for {}", tasks.len())),
            _ => self.called(format!("wait {query:?}")),
        }
        if self.is_draining_yet() {
            return done(Err(ApiError::Draining));
        }
        let (writer, reader) = feed(16);
        let names = query.tasks.unwrap_or_default();
        let views: Result<Vec<TaskView>, ApiError> = names.iter().map(|name| self.find(name)).collect();
        let views = match views {
            Ok(views) => views,
            Err(error) => return done(Err(error)),
        };
        for view in views.iter().filter(|view| view.requirements.is_none()).take(9) {
            let reply = WaitReply { changed: Some(view.clone()), tasks: vec![], unfinished: 1, is_timed_out: false };
            writer.send(reply).expect("there is room");
        }
        if self.is_waiting_for_ever.load(Ordering::SeqCst) {
            let gone = Arc::clone(&self.readers_gone);
            tokio::spawn(async move {
                writer.closed().await;
                gone.fetch_add(1, Ordering::SeqCst);
            });
        } else {
            let is_timed_out = views.iter().any(|view| view.state == "pending");
            let last = WaitReply { changed: None, tasks: views, unfinished: u64::from(is_timed_out), is_timed_out };
            writer.send(last).expect("there is room");
        }
        done(Ok(reader))
    }

    fn watch(&self, _: Peer, query: WatchQuery) -> Answer<FeedReader<WatchReply>> {
        self.called(format!("watch {query:?}"));
        let (writer, reader) = feed(8);
        self.watchers.lock().expect("no test panics with it").push(writer);
        done(Ok(reader))
    }

    fn poll(&self, _: Peer, task: String) -> Answer<TaskReply> {
        done(self.find(&task).map(|task| TaskReply { task }))
    }

    fn poll_all(&self, _: Peer) -> Answer<PollAllReply> {
        done(Ok(PollAllReply { total: 3, completed: 1, failed: 0, timeout: 0, still_running: 2, error: 0 }))
    }

    fn content_list(&self, _: Peer, query: ContentQuery) -> Answer<ContentsReply> {
        let record = ContentView { content: None, html_content: None, ..content(7).content };
        done(Ok(ContentsReply { contents: vec![record; query.limit.min(2) as usize] }))
    }

    fn content_get(&self, _: Peer, content_id: ContentId) -> Answer<ContentReply> {
        done(if content_id.0 == 7 {
            Ok(content(7))
        } else {
            Err(ApiError::ContentNotFound { content_id: content_id.0 })
        })
    }

    fn content_get_in_parts(&self, peer: Peer, content_id: ContentId) -> Answer<Parts<ContentReply>> {
        self.content_get(peer, content_id).map(|reply| Ok(in_parts(torn(reply?)))).boxed()
    }

    fn content_review(&self, _: Peer, approve: bool, review: ReviewParams) -> Answer<ContentReply> {
        self.called(format!("review {approve} {:?}", review.content_hash));
        let mut reply = content(review.content_id);
        if approve {
            let held_reason = Some("restored from a backup".to_owned());
            let scheduled_at = WireTime(Timestamp(1_769_847_330_250));
            reply.pool_entry = Some(PooledView { pool_id: 3, status: "held".to_owned(), scheduled_at, held_reason });
        }
        if review.content_id == LONG_CONTENT {
            reply.content.content = Some("x".repeat(20 << 20));
        }
        done(Ok(reply))
    }

    fn content_edit(&self, _: Peer, edit: EditParams) -> Answer<ContentReply> {
        self.called(format!("edit {} {:?} {:?}", edit.content_hash, edit.title, edit.content));
        done(Ok(ContentReply { version: 2, edited_by: Some("1000:ada".to_owned()), ..content(8) }))
    }

    fn content_write_again(&self, _: Peer, again: WriteAgainParams) -> Answer<WriteAgainReply> {
        self.called(format!("again {:?}", again.remark));
        if again.content_id == TASK_GONE {
            return done(Err(ApiError::TaskNotFound { task: "task-old".to_owned() }));
        }
        done(Ok(WriteAgainReply {
            content_id: again.content_id,
            review_status: "rejected".to_owned(),
            task_id: "task-again".to_owned(),
            state: Some("pending".to_owned()),
            was_known: false,
        }))
    }

    fn content_versions(&self, _: Peer, content_id: ContentId) -> Answer<VersionsReply> {
        done(Ok(VersionsReply { versions: vec![(&content(content_id.0)).into()] }))
    }

    fn content_images(&self, _: Peer, _: ContentId) -> Answer<ImagesReply> {
        done(Ok(ImagesReply { images: vec![] }))
    }

    fn pool_list(&self, _: Peer, query: PoolQuery) -> Answer<PoolReply> {
        done(Ok(PoolReply { entries: (1..=2).map(pooled).take(query.limit as usize).collect() }))
    }

    fn pool_release(&self, _: Peer, ids: Option<Vec<PoolId>>) -> Answer<PoolReleaseReply> {
        self.called(format!("release of the pool {ids:?}"));
        let is_held = |id: &i64| *id < NOT_HELD;
        let released = ids.unwrap_or_default().into_iter().map(|id| id.0).filter(is_held).collect();
        done(Ok(PoolReleaseReply { released }))
    }

    fn pool_show(&self, _: Peer, id: PoolId) -> Answer<PoolShowReply> {
        if id.0 > NOT_HELD {
            return done(Err(ApiError::PoolEntryNotFound { pool_id: id.0 }));
        }
        let mut entry = pooled(id.0);
        let mut handout = handout();
        match id.0 {
            PUBLISHED => entry.status = "published".to_owned(),
            REMOVED => entry.status = "removed".to_owned(),
            DOUBTED => {
                entry.status = "publishing".to_owned();
                let doubted_at = Some(WireTime(Timestamp(0)));
                handout =
                    HandoutView { holder: "site".to_owned(), is_publisher: true, sends: 1, doubted_at, ..handout };
            }
            _ => {}
        }
        let publication = (id.0 == PUBLISHED).then(|| PublicationView {
            published_at: WireTime(Timestamp(0)),
            published_by: "1000:ada".to_owned(),
            url: Some("https://example.org/80".to_owned()),
            reference: None,
        });
        let handouts = if matches!(id.0, NEVER_OUT | REMOVED) { vec![] } else { vec![handout] };
        done(Ok(PoolShowReply { entry, handouts, publication }))
    }

    fn pool_next(&self, _: Peer, query: NextQuery) -> Answer<PoolNextReply> {
        self.called(format!("next {} of the pool", query.limit));
        if query.key.as_deref() == Some(TORN_REQUEST) {
            let one = |pool_id, fence, content_id| {
                let content = ContentView { content_id, content: None, html_content: None, ..content(7).content };
                HandedOut { pool_id, fence, content, ..handed_out() }
            };
            return done(Ok(PoolNextReply { handed_out: vec![one(1, 3, 9), one(2, 4, 7)] }));
        }
        let due = if query.key.as_deref() == Some(NOTHING_DUE) { 0 } else { query.limit as usize };
        let mut reply = PoolNextReply { handed_out: vec![handed_out(); due] };
        if query.limit == MANY_HANDED_OUT {
            for one in &mut reply.handed_out {
                one.content.content = Some("x".repeat(8 << 20));
            }
        }
        done(Ok(reply))
    }

    fn pool_word(&self, _: Peer, word: PoolWord) -> Answer<PoolEntryReply> {
        self.called(format!("{:?} of pool entry {}", word.answer, word.id));
        if let Some(fence) = word.fence.filter(|fence| *fence > 1) {
            return done(Err(ApiError::StaleFence { pool_id: word.id.0, fence, current: 1 }));
        }
        done(Ok(PoolEntryReply { entry: pooled(word.id.0) }))
    }

    fn account_add(&self, _: Peer, name: String, external_id: Option<String>) -> Answer<AccountReply> {
        let created_at = WireTime(Timestamp(0));
        done(Ok(AccountReply {
            account: AccountView {
                account_id: 1,
                name,
                external_id,
                is_enabled: true,
                created_at,
                settings: Default::default(),
                submits_today: None,
            },
        }))
    }

    fn account_list(&self, _: Peer) -> Answer<AccountsReply> {
        let (created_at, settings) = (WireTime(Timestamp(0)), Default::default());
        let name = "blog".to_owned();
        let blog = AccountView {
            account_id: 1,
            name,
            external_id: None,
            is_enabled: true,
            created_at,
            settings,
            submits_today: None,
        };
        done(Ok(AccountsReply { accounts: vec![blog] }))
    }

    fn account_get(&self, _: Peer, account: String) -> Answer<AccountReply> {
        done(Err(ApiError::AccountNotFound { account }))
    }

    fn account_set(&self, _: Peer, account: String, change: AccountChange) -> Answer<AccountSetReply> {
        self.called(format!("set {account} {change:?}"));
        let created_at = WireTime(Timestamp(0));
        let is_enabled = change.is_enabled != Some(false);
        let settings = Default::default();
        let account = AccountView {
            account_id: 1,
            name: account,
            external_id: None,
            is_enabled,
            created_at,
            settings,
            submits_today: None,
        };
        done(Ok(AccountSetReply { account, is_changed: true }))
    }

    fn account_import(&self, _: Peer, entries: Vec<AccountEntry>) -> Answer<AccountImportReply> {
        self.called(format!("import {}", entries.len()));
        done(Ok(AccountImportReply { accounts: vec![] }))
    }

    fn daemon_status(&self, _: Peer) -> Answer<StatusReply> {
        done(Ok(StatusReply {
            state: "running".to_owned(),
            version: "0".to_owned(),
            pid: 1,
            started_at: WireTime(Timestamp(0)),
            storage_fault: None,
            tasks: BTreeMap::from([("pending".to_owned(), 2), ("held".to_owned(), 1)]),
            generators: vec![],
            pauses: vec![],
            hooks: vec![],
            pool: BTreeMap::new(),
            publishers: vec![PublisherView {
                name: "site".to_owned(),
                is_away: true,
                why: Some("connection refused".to_owned()),
                since: Some(WireTime(Timestamp(0))),
                next_probe_at: Some(WireTime(Timestamp(600_000))),
            }],
            unserved_accounts: vec![],
            refused_reload: None,
            to_review: 2,
        }))
    }

    fn workers(&self, _: Peer) -> Answer<WorkersReply> {
        done(Ok(WorkersReply { workers: vec![], total: 0, busy: 0, queue_size: 2 }))
    }

    fn pause(&self, _: Peer, what: PauseParams) -> Answer<PausesReply> {
        self.called(format!("pause {what:?}"));
        done(Ok(PausesReply { is_changed: true, pauses: vec![], is_probed: false, has_probe: false }))
    }

    fn resume(&self, _: Peer, what: Resume) -> Answer<PausesReply> {
        self.called(format!("resume {what:?}"));
        // Publisher `site` is away, and `slow` is being tried.
        let is_named = |name: &str| what == Resume::Publisher(name.to_owned());
        let is_changed = matches!(what, Resume::Pause(_));
        done(Ok(PausesReply { is_changed, pauses: vec![], is_probed: is_named("site"), has_probe: is_named("slow") }))
    }

    fn config(&self, _: Peer) -> Answer<ConfigReply> {
        let config = serde_json::json!({"daemon": {"workers": 4, "socket": null, "drain_timeout_s": 90}});
        done(Ok(ConfigReply { files: vec!["/etc/contentd/contentd.toml".to_owned()], config }))
    }

    fn drain(&self, _: Peer) -> Answer<DrainReply> {
        self.called("drain");
        done(Ok(DrainReply { in_flight: 2 }))
    }

    fn doctor(&self, _: Peer) -> Answer<FindingsReply> {
        let findings = vec![Finding::warning("disk", "little is left", "make room"), Finding::ok("database", "whole")];
        done(Ok(FindingsReply { findings }))
    }

    fn try_generator(&self, _: Peer, generator: String) -> Answer<FindingsReply> {
        self.called(format!("try {generator}"));
        let findings = vec![Finding::error(format!("{generator} poll"), "nothing is said", "say something")];
        done(Ok(FindingsReply { findings }))
    }

    fn backup(&self, _: Peer, file: Option<String>, keep: Option<u32>) -> Answer<BackupReply> {
        self.called(format!("backup {file:?} {keep:?}"));
        let file = file.unwrap_or_else(|| "/state/backups/contentd-20260101T000000Z.db".to_owned());
        done(Ok(BackupReply { file, bytes: 4096, tasks: 2, deleted: vec![] }))
    }

    fn reload(&self, _: Peer) -> Answer<ReloadReply> {
        done(Err(ApiError::ReloadRefused { faults: vec!["contentd.toml:3: workers: 0".to_owned()] }))
    }
}

/// A message that was told.
pub fn notice(id: &str) -> NoticeView {
    let delivery = DeliveryView {
        hook: "mail".to_owned(),
        state: "delivered".to_owned(),
        tries: 1,
        due_at: WireTime(Timestamp(0)),
        last_error: None,
    };
    NoticeView {
        notice_id: id.to_owned(),
        kind: "test".to_owned(),
        alarm: "mail".to_owned(),
        severity: "warning".to_owned(),
        text: "nothing is wrong".to_owned(),
        value: 0.0,
        limit: 0.0,
        since: WireTime(Timestamp(0)),
        at: WireTime(Timestamp(0)),
        deliveries: vec![delivery],
    }
}

impl NoticeBackend for FakeBackend {
    fn metrics(&self, _: Peer) -> Answer<MetricsReply> {
        done(Ok(MetricsReply { text: "contentd_up 1\n".to_owned() }))
    }

    fn health(&self, _: Peer) -> Answer<HealthReply> {
        done(Ok(HealthReply { status: "ok".to_owned(), checks: vec![], silenced_until: None }))
    }

    fn notices(&self, _: Peer, limit: u32) -> Answer<NoticesReply> {
        self.called(format!("notices {limit}"));
        let notices = vec![notice("n"), notice("4de6fdcb9b0"), notice("4ff00000000")];
        done(Ok(NoticesReply { notices, hooks: vec![], silenced_until: None, silenced_by: None }))
    }

    fn notice(&self, _: Peer, id: String) -> Answer<NoticeReply> {
        if id.starts_with('4') && id.len() < 11 {
            return done(Err(ApiError::NoticeNotFound { notice: id }));
        }
        done(Ok(NoticeReply { notice: notice(&id) }))
    }

    fn test_hook(&self, _: Peer, hook: String) -> Answer<NoticeReply> {
        self.called(format!("test {hook}"));
        done(Ok(NoticeReply { notice: notice("n") }))
    }

    fn acknowledge(&self, _: Peer, alarm: String) -> Answer<EmptyReply> {
        self.called(format!("acknowledge {alarm}"));
        done(Ok(EmptyReply {}))
    }

    fn silence(&self, _: Peer, seconds: Option<u64>) -> Answer<SilenceReply> {
        self.called(format!("silence {seconds:?}"));
        done(Ok(SilenceReply { silenced_until: None }))
    }

    fn report(&self, _: Peer, key: AttemptKey) -> Answer<EmptyReply> {
        self.called(format!("report {key}"));
        done(Ok(EmptyReply {}))
    }

    fn summary(&self, _: Peer, query: SummaryQuery) -> Answer<SummaryReply> {
        self.called(format!("summary {:?}", query.since));
        done(Ok(SummaryReply {
            created: 2,
            finished: BTreeMap::from([("completed".to_owned(), 1)]),
            retried: 0,
            retries: 0,
            median_duration_s: None,
            p90_duration_s: None,
            median_wait_s: None,
            p90_wait_s: None,
        }))
    }
}

/// A server on a thread of its own, until it is dropped.
pub struct TestServer {
    /// The backend.
    pub backend: Arc<FakeBackend>,
    /// The socket.
    pub path: PathBuf,
    handle: Option<(Arc<Notify>, std::thread::JoinHandle<bool>)>,
    _dir: tempfile::TempDir,
}

impl TestServer {
    /// With the usual limits.
    pub fn start() -> Self {
        Self::with(Limits::default())
    }

    /// With these limits.
    pub fn with(limits: Limits) -> Self {
        // We are the daemon's own user.
        let grants = Grants::closed(rustix::process::geteuid().as_raw(), Unnamed::default());
        Self::for_callers(limits, Access::by_kernel(watch::channel(Arc::new(grants)).1))
    }

    /// For callers as they are given.
    pub fn for_callers(limits: Limits, access: Access) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("c.sock");
        let backend = Arc::new(FakeBackend::default());
        let stop = Arc::new(Notify::new());
        let socket = bind(&path, Place::Given).expect("the way is clear");
        let (served, asked) = (Arc::clone(&backend), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = socket.listener.try_clone().expect("a second descriptor");
                let handle: ServerHandle = Server::start(listener, served, limits, access).expect("it starts");
                asked.notified().await;
                let is_complete = handle.drain(Duration::from_secs(5)).await;
                socket.remove().expect("it is ours");
                is_complete
            })
        });
        Self { backend, path, handle: Some((stop, thread)), _dir: dir }
    }

    /// Asks for the end and goes on.
    pub fn ask_to_stop(&self) {
        if let Some((stop, _)) = &self.handle {
            stop.notify_one();
        }
    }

    /// Drains and waits; says whether every call ended by itself.
    pub fn stop(mut self) -> bool {
        self.ask_to_stop();
        let (_, thread) = self.handle.take().expect("it is stopped once");
        thread.join().expect("the server did not panic")
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<String> {
        self.backend.calls.lock().expect("no test panics with it").clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.handle.take() {
            stop.notify_one();
            // A panic of the server's thread has failed the test already.
            let _ = thread.join();
        }
    }
}

/// Waits for a condition, with a deadline.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(std::time::Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
