//! From a method's name to the backend and back: which parameters it takes, which replies it gives.
//!
//! Nothing is decided here but form. The surprise: a reply is serialised at once, in parts where the caller takes
//! several and it is long, so that the connection handles nothing but bytes.

mod schedules;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::Serialize;
use serde_json::json;

use super::api::{
    AccountAddParams, AccountImportParams, AccountParams, AccountSetParams, AcknowledgeParams, ApiError, Backend,
    BackupParams, CancelParams, CleanupParams, ContentListParams, ContentParams, ContentReply, ContentsReply,
    CorrectParams, EditParams, HistoryReply, ListParams, NoParams, NoticeParams, NoticesParams, PauseParams, Peer,
    PingReply, PoolListParams, PoolReleaseParams, QueueParams, QueueReply, ReleaseParams, ReportParams, ResumeParams,
    RetryParams, ReviewParams, SetParams, SettleParams, SilenceParams, StageParams, StatisticsParams,
    SubmitBatchParams, SubmitBatchReply, SubmitParams, SubmitStagedParams, Submitted, SummaryParams, TaskParams,
    TasksReply, TestHookParams, TryGeneratorParams, VersionReply, WaitParams, WatchParams, WriteAgainParams, checked,
};
use super::api::{
    PoolDoneParams, PoolFailParams, PoolNextParams, PoolNextReply, PoolParams, PoolRemoveParams, PoolRenewParams,
    PoolReply, PoolScheduleParams, PoolWord,
};
use super::feed::FeedReader;
use super::idl::{INTERFACES, interface};
use super::parts::{InPart, Parts, cut};
use super::permissions::{self, Caller};
use super::protocol::{CallHead, MAX_REPLY_BYTES, read_parameters};
use super::staging::Staging;
use crate::task::{ContentId, PoolId};

/// The parameters of replies, serialised.
pub type Bodies = Vec<Vec<u8>>;

/// What a call comes to.
pub enum Routed {
    /// Some replies at once; all but the last continue. Runs to its end whether the caller waits or not.
    Once(BoxFuture<'static, Result<Bodies, ApiError>>),
    /// Replies as they come, each with whether it is the last; ends early when the caller goes.
    Stream(BoxFuture<'static, Result<Replies, ApiError>>),
}

/// Replies as they come.
pub type Replies = BoxStream<'static, Result<Part, ApiError>>;

/// One reply of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Its parameters.
    pub body: Vec<u8>,
    /// Whether it ends the stream.
    pub is_last: bool,
}

/// What routes need beside the call.
pub struct Router {
    /// The daemon.
    pub backend: Arc<dyn Backend>,
    /// Batches in parts.
    pub staging: Staging,
}

fn to_body<T: Serialize>(reply: &T) -> Result<Vec<u8>, ApiError> {
    let body = serde_json::to_vec(reply).map_err(ApiError::internal)?;
    if body.len() > MAX_REPLY_BYTES {
        return Err(ApiError::ReplyTooLarge { bytes: body.len() as u64, limit: MAX_REPLY_BYTES as u64 });
    }
    Ok(body)
}

/// A list as one reply, or as several where the caller takes them.
fn in_parts<T, R>(items: Vec<T>, more: bool, wrap: impl Fn(Vec<T>) -> R) -> Result<Bodies, ApiError>
where
    T: Serialize,
    R: Serialize,
{
    if !more {
        return Ok(vec![to_body(&wrap(items))?]);
    }
    cut(items)?.into_iter().map(|(part, _)| to_body(&wrap(part))).collect()
}

/// An answer of any length, made as it is read.
fn parted<T: Serialize + Send + 'static>(
    answer: BoxFuture<'static, Result<Parts<T>, ApiError>>,
) -> BoxFuture<'static, Result<Replies, ApiError>> {
    let to_part = |part: InPart<T>| Ok(Part { body: to_body(&part.reply)?, is_last: part.is_last });
    answer.map(move |parts| Ok(parts?.map(move |part| part.and_then(to_part)).boxed())).boxed()
}

/// A review that was made is answered in any case: what is too long for the reply is left out of it.
fn reviewed(answer: BoxFuture<'static, Result<ContentReply, ApiError>>) -> Routed {
    let to_reply = |reply: Result<ContentReply, ApiError>| {
        let mut reply = reply?;
        let body = match to_body(&reply) {
            Err(ApiError::ReplyTooLarge { .. }) => {
                (reply.content.content, reply.content.html_content) = (None, None);
                reply.content.images.clear();
                to_body(&reply)
            }
            body => body,
        };
        Ok(vec![body?])
    };
    Routed::Once(answer.map(to_reply).boxed())
}

/// What was handed out is told in any case: pieces that are too long for the reply are left out of it, and are asked for in parts.
fn handed_out(answer: BoxFuture<'static, Result<PoolNextReply, ApiError>>) -> Routed {
    let to_reply = |reply: Result<PoolNextReply, ApiError>| {
        let mut reply = reply?;
        let body = match to_body(&reply) {
            Err(ApiError::ReplyTooLarge { .. }) => {
                for content in reply.handed_out.iter_mut().map(|one| &mut one.content) {
                    (content.content, content.html_content) = (None, None);
                    content.images.clear();
                }
                to_body(&reply)
            }
            body => body,
        };
        Ok(vec![body?])
    };
    Routed::Once(answer.map(to_reply).boxed())
}

/// For whoever may not read pieces.
fn without_titles(mut reply: PoolReply) -> PoolReply {
    reply.entries.iter_mut().for_each(|entry| entry.title = None);
    reply
}

fn once<T: Serialize + 'static>(answer: BoxFuture<'static, Result<T, ApiError>>) -> Routed {
    Routed::Once(answer.map(|reply| Ok(vec![to_body(&reply?)?])).boxed())
}

fn now<T: Serialize>(reply: &T) -> Routed {
    Routed::Once(std::future::ready(to_body(reply).map(|body| vec![body])).boxed())
}

fn streamed<T>(
    answer: BoxFuture<'static, Result<FeedReader<T>, ApiError>>,
    is_last: fn(&T) -> bool,
) -> BoxFuture<'static, Result<Replies, ApiError>>
where
    T: Serialize + Send + 'static,
{
    let to_part = move |item: Result<T, ApiError>| {
        item.and_then(|item| Ok(Part { body: to_body(&item)?, is_last: is_last(&item) }))
    };
    answer
        .map(move |reader| {
            let items = stream::unfold(reader?, |mut reader| async { reader.next().await.map(|item| (item, reader)) });
            Ok(items.map(to_part).boxed())
        })
        .boxed()
}

/// Of a stream, its last reply alone: for a caller that takes one.
fn last_of(replies: BoxFuture<'static, Result<Replies, ApiError>>) -> BoxFuture<'static, Result<Replies, ApiError>> {
    replies
        .map(|replies| {
            let kept = replies?.filter(|part| std::future::ready(part.as_ref().map_or(true, |part| part.is_last)));
            Ok(kept.boxed())
        })
        .boxed()
}

impl Router {
    /// Finds the method and starts the call, if the caller may make it.
    pub fn route(&self, caller: &Caller, head: &CallHead, frame: &[u8]) -> Result<Routed, ApiError> {
        // Before anything of the call is looked at but its name.
        permissions::check(caller, &head.method)?;
        let peer = &caller.peer;
        let Some((interface_name, method)) = head.split() else {
            return Err(ApiError::InterfaceNotFound { interface: head.method.clone() });
        };
        let routed = match interface_name {
            "org.varlink.service" => service(method, frame)?,
            "io.contentd.Tasks" => match self.tasks_asking(peer, method, head, frame)? {
                Some(routed) => Some(routed),
                None => self.tasks_changing(caller, method, head, frame)?,
            },
            "io.contentd.Content" => self.content(peer, method, head, frame)?,
            "io.contentd.Pool" | "io.contentd.Accounts" => self.pool_and_accounts(caller, &head.method, frame)?,
            "io.contentd.Daemon" => self.daemon(caller, method, frame)?,
            "io.contentd.Schedules" => self.schedules(peer, method, frame)?,
            _ => return Err(ApiError::InterfaceNotFound { interface: interface_name.to_owned() }),
        };
        routed.ok_or_else(|| ApiError::MethodNotFound { method: head.method.clone() })
    }

    fn tasks_asking(
        &self,
        peer: &Peer,
        method: &str,
        head: &CallHead,
        frame: &[u8],
    ) -> Result<Option<Routed>, ApiError> {
        let (backend, peer, more) = (&self.backend, peer.clone(), head.wants_more());
        Ok(Some(match method {
            "Status" => once(backend.status(peer, task_of(frame)?)),
            "Show" if more => Routed::Stream(parted(backend.show_in_parts(peer, task_of(frame)?))),
            "Show" => once(backend.show(peer, task_of(frame)?)),
            "Result" if more => Routed::Stream(parted(backend.result_in_parts(peer, task_of(frame)?))),
            "Result" => once(backend.result(peer, task_of(frame)?)),
            "History" => {
                let answer = backend.history(peer, task_of(frame)?);
                Routed::Once(
                    answer.map(move |reply| in_parts(reply?.events, more, |events| HistoryReply { events })).boxed(),
                )
            }
            "Log" if more => {
                Routed::Stream(streamed(backend.follow_log(peer, task_of(frame)?), |reply| reply.is_complete))
            }
            "Log" => once(backend.log(peer, task_of(frame)?)),
            "List" => {
                let answer = backend.list(peer, read_parameters::<ListParams>(frame)?.try_into()?);
                let parts = move |reply: TasksReply| {
                    let searched_to = reply.searched_to;
                    in_parts(reply.tasks, more, |tasks| TasksReply { tasks, searched_to: searched_to.clone() })
                };
                Routed::Once(answer.map(move |reply| parts(reply?)).boxed())
            }
            "Queue" => {
                let params = read_parameters::<QueueParams>(frame)?;
                let (limit, offset) = checked::page(params.limit, params.offset)?;
                let answer = backend.queue(peer, limit, offset);
                let parts = move |reply: QueueReply| {
                    let size = reply.size;
                    in_parts(reply.tasks, more, move |tasks| QueueReply { size, tasks })
                };
                Routed::Once(answer.map(move |reply| parts(reply?)).boxed())
            }
            "Statistics" => once(backend.statistics(peer, read_parameters::<StatisticsParams>(frame)?.try_into()?)),
            "Summary" => once(backend.summary(peer, read_parameters::<SummaryParams>(frame)?.try_into()?)),
            "Wait" => {
                let query = read_parameters::<WaitParams>(frame)?.try_into()?;
                let replies = streamed(backend.wait(peer, query), |reply| reply.changed.is_none());
                Routed::Stream(if more { replies } else { last_of(replies) })
            }
            "Watch" => {
                let query = read_parameters::<WatchParams>(frame)?.try_into()?;
                if !more {
                    return Err(ApiError::ExpectedMore);
                }
                Routed::Stream(streamed(backend.watch(peer, query), |_| false))
            }
            _ => return Ok(None),
        }))
    }

    fn tasks_changing(
        &self,
        caller: &Caller,
        method: &str,
        head: &CallHead,
        frame: &[u8],
    ) -> Result<Option<Routed>, ApiError> {
        let (backend, peer) = (&self.backend, &caller.peer);
        let more = head.wants_more();
        Ok(Some(match method {
            "Submit" | "SubmitBatch" | "Stage" | "SubmitStaged" => self.submitting(peer, method, more, frame)?,
            "Cancel" => {
                let params = read_parameters::<CancelParams>(frame)?;
                let dry_run = params.dry_run == Some(true);
                once(backend.cancel(peer.clone(), params.check()?, dry_run))
            }
            "Release" => {
                let params = read_parameters::<ReleaseParams>(frame)?;
                let dry_run = params.dry_run == Some(true);
                once(backend.release(peer.clone(), params.check()?, dry_run))
            }
            "Retry" => {
                let params = read_parameters::<RetryParams>(frame)?;
                let dry_run = params.dry_run == Some(true);
                let (which, mode) = params.check()?;
                if mode.abandon.is_some() {
                    permissions::check_abandon(caller, &head.method)?;
                }
                once(backend.retry(peer.clone(), which, mode, dry_run))
            }
            "Correct" => {
                let params = read_parameters::<CorrectParams>(frame)?;
                let to = checked::corrected_state(&params.state)?;
                let reason = checked::reason(&params.reason)?;
                once(backend.correct(peer.clone(), params.task, to, reason, params.abandon == Some(true)))
            }
            "Settle" => {
                let (task, decision) = read_parameters::<SettleParams>(frame)?.check()?;
                once(backend.settle(peer.clone(), task, decision))
            }
            "Set" => {
                let (task, priority, delay_s) = read_parameters::<SetParams>(frame)?.check()?;
                once(backend.set(peer.clone(), task, priority, delay_s))
            }
            "Cleanup" => {
                let params = read_parameters::<CleanupParams>(frame)?;
                let age = checked::cleanup_age(params.days, params.older_than.as_ref())?;
                once(backend.cleanup(peer.clone(), age, params.dry_run == Some(true)))
            }
            "Poll" => once(backend.poll(peer.clone(), task_of(frame)?)),
            "Report" => once(backend.report(peer.clone(), read_parameters::<ReportParams>(frame)?.check()?)),
            "PollAll" => {
                read_parameters::<NoParams>(frame)?;
                once(backend.poll_all(peer.clone()))
            }
            _ => return Ok(None),
        }))
    }

    fn submitting(&self, peer: &Peer, method: &str, more: bool, frame: &[u8]) -> Result<Routed, ApiError> {
        let in_order = move |tasks: Vec<Submitted>| in_parts(tasks, more, |tasks| SubmitBatchReply { tasks });
        match method {
            "Submit" => {
                let params = read_parameters::<SubmitParams>(frame)?;
                let task = checked::single(&params.task)?;
                let answer = self.backend.submit(peer.clone(), vec![task], true, params.dry_run == Some(true));
                let first = |tasks: Vec<Submitted>| {
                    tasks.into_iter().next().ok_or_else(|| ApiError::internal("a submit gave no task"))
                };
                Ok(once(answer.map(move |tasks| first(tasks?)).boxed()))
            }
            "SubmitBatch" => {
                let params = read_parameters::<SubmitBatchParams>(frame)?;
                let tasks = checked::batch(&params.tasks)?;
                let answer = self.backend.submit(peer.clone(), tasks, false, params.dry_run == Some(true));
                Ok(Routed::Once(answer.map(move |tasks| in_order(tasks?)).boxed()))
            }
            "Stage" => {
                let params = read_parameters::<StageParams>(frame)?;
                let staged = self.staging.put(peer.uid, params)?;
                Ok(now(&staged))
            }
            _ => {
                let params = read_parameters::<SubmitStagedParams>(frame)?;
                let (backend, peer, staging) = (Arc::clone(&self.backend), peer.clone(), self.staging.clone());
                Ok(Routed::Once(
                    async move {
                        let parts = staging.parts(peer.uid, &params.batch, params.parts)?;
                        // A batch of many megabytes: judged where nobody waits for this thread.
                        let judged = move || checked::batch(parts.iter().flat_map(|part| part.iter()));
                        let tasks = tokio::task::spawn_blocking(judged).await.map_err(ApiError::internal)??;
                        let is_dry_run = params.dry_run == Some(true);
                        let submitted = backend.submit(peer.clone(), tasks, false, is_dry_run).await?;
                        if !is_dry_run {
                            staging.forget(peer.uid, &params.batch);
                        }
                        in_order(submitted)
                    }
                    .boxed(),
                ))
            }
        }
    }

    fn content(&self, peer: &Peer, method: &str, head: &CallHead, frame: &[u8]) -> Result<Option<Routed>, ApiError> {
        let (backend, peer, more) = (&self.backend, peer.clone(), head.wants_more());
        Ok(Some(match method {
            "List" => {
                let answer = backend.content_list(peer, read_parameters::<ContentListParams>(frame)?.try_into()?);
                let parts =
                    move |reply: ContentsReply| in_parts(reply.contents, more, |contents| ContentsReply { contents });
                Routed::Once(answer.map(move |reply| parts(reply?)).boxed())
            }
            "Get" => {
                let content_id = ContentId(read_parameters::<ContentParams>(frame)?.content_id);
                match more {
                    true => Routed::Stream(parted(backend.content_get_in_parts(peer, content_id))),
                    false => once(backend.content_get(peer, content_id)),
                }
            }
            "Approve" => reviewed(backend.content_review(peer, true, read_parameters::<ReviewParams>(frame)?.check()?)),
            "Reject" => reviewed(backend.content_review(peer, false, read_parameters::<ReviewParams>(frame)?.check()?)),
            "Edit" => reviewed(backend.content_edit(peer, read_parameters::<EditParams>(frame)?.check()?)),
            "WriteAgain" => {
                once(backend.content_write_again(peer.clone(), read_parameters::<WriteAgainParams>(frame)?.check()?))
            }
            "Versions" => {
                let content_id = ContentId(read_parameters::<ContentParams>(frame)?.content_id);
                once(backend.content_versions(peer.clone(), content_id))
            }
            "Images" => {
                let content_id = ContentId(read_parameters::<ContentParams>(frame)?.content_id);
                once(backend.content_images(peer.clone(), content_id))
            }
            _ => return Ok(None),
        }))
    }

    fn pool_and_accounts(&self, caller: &Caller, method: &str, frame: &[u8]) -> Result<Option<Routed>, ApiError> {
        let (backend, peer) = (&self.backend, &caller.peer);
        let word = |word: PoolWord| {
            if word.is_settling() {
                permissions::check_settling(caller, method)?;
            }
            let word = PoolWord { answers_for_all: permissions::decides(caller), ..word };
            Ok::<_, ApiError>(once(backend.pool_word(peer.clone(), word)))
        };
        Ok(Some(match method {
            "io.contentd.Pool.List" => {
                let answer = backend.pool_list(peer.clone(), read_parameters::<PoolListParams>(frame)?.try_into()?);
                let is_reader = permissions::reads(caller);
                once(answer.map(move |reply| if is_reader { reply } else { reply.map(without_titles) }).boxed())
            }
            "io.contentd.Pool.Release" => {
                once(backend.pool_release(peer.clone(), read_parameters::<PoolReleaseParams>(frame)?.check()?))
            }
            "io.contentd.Pool.Show" => {
                once(backend.pool_show(peer.clone(), PoolId(read_parameters::<PoolParams>(frame)?.pool_id)))
            }
            "io.contentd.Pool.Next" => {
                handed_out(backend.pool_next(peer.clone(), read_parameters::<PoolNextParams>(frame)?.check()?))
            }
            "io.contentd.Pool.Done" => word(read_parameters::<PoolDoneParams>(frame)?.check()?)?,
            "io.contentd.Pool.Fail" => word(read_parameters::<PoolFailParams>(frame)?.check()?)?,
            "io.contentd.Pool.Renew" => word(read_parameters::<PoolRenewParams>(frame)?.check()?)?,
            "io.contentd.Pool.Schedule" => word(read_parameters::<PoolScheduleParams>(frame)?.check()?)?,
            "io.contentd.Pool.Remove" => word(read_parameters::<PoolRemoveParams>(frame)?.check()?)?,
            "io.contentd.Accounts.Add" => {
                let params = read_parameters::<AccountAddParams>(frame)?;
                let name = checked::account_name(&params.name)?;
                once(backend.account_add(peer.clone(), name, params.external_id))
            }
            "io.contentd.Accounts.Set" => {
                let (account, change) = read_parameters::<AccountSetParams>(frame)?.check()?;
                once(backend.account_set(peer.clone(), account, change))
            }
            "io.contentd.Accounts.Import" => {
                once(backend.account_import(peer.clone(), read_parameters::<AccountImportParams>(frame)?.check()?))
            }
            "io.contentd.Accounts.List" => {
                read_parameters::<NoParams>(frame)?;
                once(backend.account_list(peer.clone()))
            }
            "io.contentd.Accounts.Get" => {
                once(backend.account_get(peer.clone(), read_parameters::<AccountParams>(frame)?.account.0))
            }
            _ => return Ok(None),
        }))
    }

    fn daemon(&self, caller: &Caller, method: &str, frame: &[u8]) -> Result<Option<Routed>, ApiError> {
        let (backend, peer) = (&self.backend, &caller.peer);
        match method {
            "Pause" => return Ok(Some(once(backend.pause(peer.clone(), read_parameters::<PauseParams>(frame)?)))),
            "Resume" => {
                let what = read_parameters::<ResumeParams>(frame)?.check()?;
                return Ok(Some(once(backend.resume(peer.clone(), what))));
            }
            "TryGenerator" => {
                let params = read_parameters::<TryGeneratorParams>(frame)?;
                return Ok(Some(once(backend.try_generator(peer.clone(), params.generator))));
            }
            "Backup" => {
                let params = read_parameters::<BackupParams>(frame)?;
                let keep = params.keep.map(checked::backups_kept).transpose()?;
                return Ok(Some(once(backend.backup(peer.clone(), params.file, keep))));
            }
            _ => {}
        }
        if let Some(routed) = self.notices(peer, method, frame)? {
            return Ok(Some(routed));
        }
        // A method that does not exist is said so whatever its parameters are.
        const WITHOUT_PARAMETERS: [&str; 8] =
            ["Ping", "GetVersion", "GetStatus", "Workers", "GetConfig", "Drain", "Reload", "Doctor"];
        if WITHOUT_PARAMETERS.contains(&method) {
            read_parameters::<NoParams>(frame)?;
        }
        Ok(Some(match method {
            "Ping" => now(&PingReply { pid: std::process::id(), caller: peer.label(), roles: caller.roles.names() }),
            "GetVersion" => now(&VersionReply { version: env!("CARGO_PKG_VERSION").to_owned() }),
            "GetStatus" => once(backend.daemon_status(peer.clone())),
            "Workers" => once(backend.workers(peer.clone())),
            "GetConfig" => once(backend.config(peer.clone())),
            "Drain" => once(backend.drain(peer.clone())),
            "Reload" => once(backend.reload(peer.clone())),
            "Doctor" => once(backend.doctor(peer.clone())),
            _ => return Ok(None),
        }))
    }
}

impl Router {
    /// What is told to whom, of the daemon's own interface.
    fn notices(&self, peer: &Peer, method: &str, frame: &[u8]) -> Result<Option<Routed>, ApiError> {
        let (backend, peer) = (&self.backend, peer.clone());
        Ok(Some(match method {
            "Metrics" => {
                read_parameters::<NoParams>(frame)?;
                once(backend.metrics(peer))
            }
            "Health" => {
                read_parameters::<NoParams>(frame)?;
                once(backend.health(peer))
            }
            "Notices" => once(backend.notices(peer, read_parameters::<NoticesParams>(frame)?.check()?)),
            "Notice" => once(backend.notice(peer, read_parameters::<NoticeParams>(frame)?.notice)),
            "TestHook" => once(backend.test_hook(peer, read_parameters::<TestHookParams>(frame)?.hook)),
            "Acknowledge" => once(backend.acknowledge(peer, read_parameters::<AcknowledgeParams>(frame)?.alarm)),
            "Silence" => once(backend.silence(peer, read_parameters::<SilenceParams>(frame)?.check()?)),
            _ => return Ok(None),
        }))
    }
}

fn task_of(frame: &[u8]) -> Result<String, ApiError> {
    Ok(read_parameters::<TaskParams>(frame)?.task)
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct DescriptionParams {
    interface: String,
}

fn service(method: &str, frame: &[u8]) -> Result<Option<Routed>, ApiError> {
    match method {
        "GetInfo" => {
            read_parameters::<NoParams>(frame)?;
            let names: Vec<&str> = INTERFACES.iter().map(|interface| interface.name).collect();
            Ok(Some(now(&json!({
                "vendor": "contentd",
                "product": "contentd",
                "version": env!("CARGO_PKG_VERSION"),
                "url": "https://varlink.org",
                "interfaces": names,
            }))))
        }
        "GetInterfaceDescription" => {
            let name = read_parameters::<DescriptionParams>(frame)?.interface;
            let found = interface(&name).ok_or(ApiError::InterfaceNotFound { interface: name })?;
            Ok(Some(now(&json!({ "description": found.description }))))
        }
        _ => Ok(None),
    }
}
