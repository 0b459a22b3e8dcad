//! Runs of blocking generators that say by themselves that they have ended: they are looked at then, and wait for no poll.
//!
//! A run may be over before its start is committed, and its end may be told while it is being looked at. Neither is forgotten: it
//! is looked at when whoever has it in hand has put it down. A lost message costs the wait until the next poll.

use std::collections::BTreeSet;

use actix::prelude::*;

use super::{PollerActor, RoundKind, RunEnded, RunStarted};
use crate::store::DbError;
use crate::task::{Attempt, AttemptState, Task, TaskId};

/// The runs that have ended and could not be looked at yet.
#[derive(Default)]
pub(super) struct EndedRuns(BTreeSet<TaskId>);

impl EndedRuns {
    /// A look that begins now sees the end.
    pub fn are_looked_at(&mut self, ids: &[TaskId]) {
        for id in ids {
            self.0.remove(id);
        }
    }
}

/// What the database has of a run.
enum Seen {
    Accepted(Box<(Task, Attempt)>),
    /// Its worker is about to commit that it has started, and says so then; or nobody knows, and a look at it is due anyway.
    Starting,
    /// Nobody waits for it.
    Unwanted,
}

fn seen(found: Option<(Task, Option<Attempt>)>) -> Seen {
    let Some((task, Some(attempt))) = found else { return Seen::Unwanted };
    match attempt.state {
        AttemptState::Accepted if !task.state.is_final() || attempt.watch_until.is_some() => {
            Seen::Accepted(Box::new((task, attempt)))
        }
        AttemptState::Intended | AttemptState::Unknown => Seen::Starting,
        _ => Seen::Unwanted,
    }
}

impl PollerActor {
    fn look_at_ended_run(&mut self, task: Task, attempt: Attempt, ctx: &mut Context<Self>) {
        if self.is_draining {
            return;
        }
        if self.in_hand.contains_key(&task.id) {
            self.ended_runs.0.insert(task.id);
            return;
        }
        self.run_round(task.generator.clone(), vec![(task, attempt)], RoundKind::Shared { paid: 0 }, ctx);
    }

    /// Those that ended while they were in hand.
    pub(super) fn look_at_runs_again(&mut self, ids: &[TaskId], ctx: &mut Context<Self>) {
        for id in ids.iter().filter(|id| self.ended_runs.0.contains(*id)) {
            ctx.notify(RunEnded { task: id.clone() });
        }
    }
}

impl Handler<RunEnded> for PollerActor {
    type Result = ();

    fn handle(&mut self, ended: RunEnded, ctx: &mut Self::Context) {
        // Before the rows are read: its start may be committed meanwhile.
        self.ended_runs.0.insert(ended.task.clone());
        let (world, id) = (self.world.clone(), ended.task.clone());
        let look = async move { world.store.read(move |queries| queries.task(&id)).await };
        ctx.spawn(look.into_actor(self).map(move |found: Result<_, DbError>, poller, ctx| {
            match found.map_or(Seen::Unwanted, seen) {
                Seen::Starting => {}
                Seen::Unwanted => {
                    poller.ended_runs.0.remove(&ended.task);
                }
                Seen::Accepted(accepted) => {
                    if poller.ended_runs.0.remove(&ended.task) {
                        let (task, attempt) = *accepted;
                        poller.look_at_ended_run(task, attempt, ctx);
                    }
                }
            }
        }));
    }
}

impl Handler<RunStarted> for PollerActor {
    type Result = ();

    fn handle(&mut self, started: RunStarted, ctx: &mut Self::Context) {
        if self.ended_runs.0.remove(&started.task.id) {
            self.look_at_ended_run(started.task, started.attempt, ctx);
        }
    }
}
