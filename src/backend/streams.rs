//! Wait and watch: streams of committed changes. Each has a bounded queue of its own; a reader that is too slow is
//! dropped, and one that missed changes looks at the rows instead.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;

use super::{DaemonBackend, tasks};
use crate::control::api::{ApiError, TaskView, WaitQuery, WaitReply, WatchQuery, WatchReply};
use crate::control::feed::{FEED_CAPACITY, Feed, FeedReader, feed};
use crate::store::TaskChanged;
use crate::store::query::Queries;
use crate::task::{AccountId, GeneratorName, TaskId, TaskState};

/// Whether a wait for a task is over: it is final, or only a person can go on.
fn is_settled(state: TaskState) -> bool {
    state.is_final() || state == TaskState::Held
}

impl DaemonBackend {
    async fn ids_of(&self, names: Option<Vec<String>>) -> Result<Option<BTreeSet<TaskId>>, ApiError> {
        let Some(names) = names else { return Ok(None) };
        let mut ids = BTreeSet::new();
        for name in names {
            ids.insert(self.task_id(&name).await?);
        }
        Ok(Some(ids))
    }

    pub(super) async fn wait_for(&self, query: WaitQuery) -> Result<FeedReader<WaitReply>, ApiError> {
        // Subscribed before the rows are read, so that no change falls between.
        let changes = self.world.store.watch();
        let ids = self.ids_of(query.tasks).await?;
        let (writer, reader) = feed(FEED_CAPACITY);
        let wait = Wait { backend: self.clone(), ids };
        tokio::spawn(wait.run(changes, writer, query.timeout_s.map(Duration::from_secs)));
        Ok(reader)
    }

    pub(super) async fn watch_changes(&self, query: WatchQuery) -> Result<FeedReader<WatchReply>, ApiError> {
        let changes = self.world.store.watch();
        let ids = self.ids_of(query.tasks).await?;
        let account = self.account_of(query.account.as_deref()).await?.map(|account| account.id);
        if let Some(generator) = &query.generator {
            self.known_generator(generator)?;
        }
        let (writer, reader) = feed(FEED_CAPACITY);
        let watch = Watch { ids, account, generator: query.generator };
        let stopping = self.stopping.clone();
        tokio::spawn(watch.run(changes, writer, stopping));
        Ok(reader)
    }
}

/// Resolves when the daemon begins to drain; also when nobody is left who could say so.
pub(super) async fn stopped(stopping: &mut tokio::sync::watch::Receiver<bool>) {
    drop(stopping.wait_for(|stopping| *stopping).await);
}

struct Watch {
    ids: Option<BTreeSet<TaskId>>,
    account: Option<AccountId>,
    generator: Option<GeneratorName>,
}

impl Watch {
    fn is_asked(&self, changed: &TaskChanged) -> bool {
        let task = &changed.task;
        self.ids.as_ref().is_none_or(|ids| ids.contains(&task.id))
            && self.account.is_none_or(|account| account == task.account_id)
            && self.generator.as_ref().is_none_or(|generator| *generator == task.generator)
    }

    async fn run(
        self,
        mut changes: tokio::sync::broadcast::Receiver<TaskChanged>,
        writer: Feed<WatchReply>,
        mut stopping: tokio::sync::watch::Receiver<bool>,
    ) {
        loop {
            let changed = tokio::select! {
                biased;
                () = writer.closed() => return,
                changed = changes.recv() => changed,
                () = stopped(&mut stopping) => return,
            };
            let changed = match changed {
                Ok(changed) => changed,
                Err(RecvError::Lagged(_)) => return writer.fail(ApiError::WatcherTooSlow),
                Err(RecvError::Closed) => return,
            };
            if self.is_asked(&changed) && writer.send(watch_reply(&changed)).is_err() {
                return;
            }
        }
    }
}

fn watch_reply(changed: &TaskChanged) -> WatchReply {
    WatchReply {
        at: changed.task.updated_at.into(),
        event: changed.event.clone(),
        from_state: changed.from.map(|state| state.to_string()),
        why: changed.why.clone(),
        who: changed.who.clone(),
        task: TaskView::of(&changed.task, None),
    }
}

/// What a wait ends with. A task of which nothing is known any more has not ended well: a cleanup came between.
fn last_word(
    ids: Option<&BTreeSet<TaskId>>,
    tasks: Vec<TaskView>,
    unfinished: u64,
    is_timed_out: bool,
) -> Result<WaitReply, ApiError> {
    let known: BTreeSet<&str> = tasks.iter().map(|task| task.task_id.as_str()).collect();
    match ids.into_iter().flatten().find(|id| !known.contains(id.as_str())) {
        Some(gone) => Err(ApiError::TaskNotFound { task: gone.0.clone() }),
        None => Ok(WaitReply { changed: None, tasks, unfinished, is_timed_out }),
    }
}

struct Wait {
    backend: DaemonBackend,
    /// None: every task.
    ids: Option<BTreeSet<TaskId>>,
}

impl Wait {
    async fn run(
        self,
        mut changes: tokio::sync::broadcast::Receiver<TaskChanged>,
        writer: Feed<WaitReply>,
        limit: Option<Duration>,
    ) {
        let timer = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(timer);
        let mut stopping = self.backend.stopping.clone();
        loop {
            match self.is_over().await {
                Ok(true) => return self.finish(writer, false).await,
                Ok(false) => {}
                Err(error) => return writer.fail(error),
            }
            // Changes are told as they come; the rows are asked again after each that may have been the last.
            loop {
                tokio::select! {
                    biased;
                    () = writer.closed() => return,
                    changed = changes.recv() => match changed {
                        Ok(changed) if self.is_asked(&changed) => {
                            let is_settled = is_settled(changed.task.state);
                            if changed.event.is_some() && writer.send(self.progress(&changed)).is_err() {
                                return;
                            }
                            if is_settled {
                                break;
                            }
                        }
                        Ok(_) => {}
                        Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => return writer.fail(ApiError::Draining),
                    },
                    () = stopped(&mut stopping) => return writer.fail(ApiError::Draining),
                    () = &mut timer => return self.finish(writer, true).await,
                }
            }
        }
    }

    fn is_asked(&self, changed: &TaskChanged) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.contains(&changed.task.id))
    }

    fn progress(&self, changed: &TaskChanged) -> WaitReply {
        let changed = Some(TaskView::of(&changed.task, None));
        WaitReply { changed, tasks: Vec::new(), unfinished: 0, is_timed_out: false }
    }

    /// Asked after each change that may have been the last, so it looks no further than to the first task that goes on.
    async fn is_over(&self) -> Result<bool, ApiError> {
        let Some(ids) = self.ids.clone() else { return Ok(self.unsettled().await? == 0) };
        let goes_on = move |queries: &dyn Queries| {
            for id in &ids {
                if queries.task(id)?.is_some_and(|(task, _)| !is_settled(task.state)) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        Ok(!self.backend.read(goes_on).await?)
    }

    async fn unsettled(&self) -> Result<u64, ApiError> {
        let ids = self.ids.clone();
        self.backend
            .read(move |queries| match ids {
                Some(ids) => {
                    let mut count = 0;
                    for id in &ids {
                        let state = queries.task(id)?.map(|(task, _)| task.state);
                        count += u64::from(state.is_some_and(|state| !is_settled(state)));
                    }
                    Ok(count)
                }
                None => {
                    let counts = queries.counts()?;
                    Ok(counts.iter().filter(|(state, _)| !is_settled(**state)).map(|(_, count)| count).sum())
                }
            })
            .await
    }

    async fn finish(&self, writer: Feed<WaitReply>, is_timed_out: bool) {
        let last = async {
            let unfinished = self.unsettled().await?;
            last_word(self.ids.as_ref(), self.views().await?, unfinished, is_timed_out)
        };
        match last.await {
            // A reader that is gone needs no answer.
            Ok(reply) => drop(writer.send(reply)),
            Err(error) => writer.fail(error),
        }
    }

    async fn views(&self) -> Result<Vec<TaskView>, ApiError> {
        let Some(ids) = self.ids.clone() else { return Ok(Vec::new()) };
        let found = self
            .backend
            .read(move |queries| {
                let mut found = Vec::new();
                for id in &ids {
                    found.extend(queries.task(id)?.map(|(task, _)| task));
                }
                tasks::with_attempts(queries, found)
            })
            .await?;
        // Of those that still wait, too: whoever gives up waiting wants to know why.
        Ok(self.backend.all_explained(found).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Task, Timestamp};

    #[test]
    fn a_task_that_is_gone_is_no_good_end_of_a_wait() {
        let ids = ["task-00000000000a", "task-00000000000b"].map(|id| TaskId(id.to_owned()));
        let view = |id: &TaskId| {
            TaskView::of(&Task::blank(id.clone(), AccountId(1), GeneratorName("g".into()), Timestamp(0)), None)
        };
        let both = BTreeSet::from(ids.clone());
        let whole = last_word(Some(&both), ids.iter().map(view).collect(), 0, false).expect("both are there");
        assert_eq!((whole.tasks.len(), whole.is_timed_out), (2, false));
        let gone = last_word(Some(&both), vec![view(&ids[0])], 0, false);
        assert_eq!(gone.err(), Some(ApiError::TaskNotFound { task: ids[1].0.clone() }));
        assert!(last_word(None, Vec::new(), 0, true).is_ok_and(|reply| reply.is_timed_out), "all were waited for");
    }
}
