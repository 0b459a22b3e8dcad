//! Reports that a job may have ended: each brings the next look at its job forward, and does nothing else.
//!
//! Whoever reports may be wrong, late, or hostile. So a report has no say in anything but a wake time, one attempt's looks
//! are brought forward at most once in [`GAP`], and the generator's call budget decides when the poll is made, as ever. The
//! surprise: a report that comes while its job is being asked about may know more than that answer, so it is
//! repeated when the answer has been written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix::prelude::*;
use log::Level;

use super::{JobMayHaveEnded, PollerActor};
use crate::events::Kind;
use crate::store::write::{NoticeWrite, Noticed, Write, Written};
use crate::task::{AttemptKey, TaskId, Timestamp};
use crate::tell;

/// Between two looks at one job that reports bring forward.
const GAP: Duration = Duration::from_secs(5);
/// How many reports may wait to be written; more are passed over, and the polls come as they would have.
const MOST_WAITING: usize = 10_000;
/// How many are written at once.
const SLICE: usize = 100;

/// The reports that are not done with.
#[derive(Default)]
pub(super) struct Reports {
    waiting: BTreeSet<AttemptKey>,
    /// When reports last brought a look forward, of jobs that there are.
    taken: BTreeMap<AttemptKey, Timestamp>,
    /// Reported while they were being asked about.
    again: BTreeMap<TaskId, AttemptKey>,
    is_writing: bool,
}

impl PollerActor {
    /// Writes what waits.
    fn take_reports(&mut self, ctx: &mut Context<Self>) {
        if self.reports.is_writing || self.reports.waiting.is_empty() || self.is_draining {
            return;
        }
        let now = self.world.clock.now().utc;
        let reports = &mut self.reports;
        reports.taken.retain(|_, at| at.plus(GAP) > now);
        let mut keys = Vec::new();
        while keys.len() < SLICE
            && let Some(key) = reports.waiting.pop_first()
        {
            // One that is still ahead is not put off by those that come meanwhile.
            let at = match reports.taken.get(&key) {
                Some(last) if *last > now => *last,
                Some(last) => last.plus(GAP).max(now),
                None => now,
            };
            keys.push((key, at));
        }
        reports.is_writing = true;
        let times: BTreeMap<AttemptKey, Timestamp> = keys.iter().cloned().collect();
        let store = self.world.store.clone();
        let work = async move { store.write(Write::Notice(Box::new(NoticeWrite::Report { keys }))).await };
        ctx.spawn(work.into_actor(self).map(move |answer, poller, ctx| {
            poller.reports.is_writing = false;
            match answer {
                Ok(Written::Noticed(Noticed::Woken(woken))) => poller.woken(woken, &times),
                Ok(_) => {}
                // The polls come as they would have.
                Err(error) => tell!(Level::Warn, Kind::StorageTrouble, "reports of jobs were not taken: {error}"),
            }
            poller.look(ctx);
            poller.take_reports(ctx);
        }));
    }

    fn woken(&mut self, woken: Vec<(AttemptKey, TaskId)>, times: &BTreeMap<AttemptKey, Timestamp>) {
        for (key, task) in woken {
            if let Some(at) = times.get(&key) {
                self.reports.taken.insert(key.clone(), *at);
            }
            if self.in_hand.contains_key(&task) {
                self.reports.again.insert(task, key);
            }
        }
    }

    /// These are not being asked about any more.
    pub(super) fn repeat_reports(&mut self, ids: &[TaskId], ctx: &mut Context<Self>) {
        let reports = &mut self.reports;
        let again: Vec<AttemptKey> = ids.iter().filter_map(|id| reports.again.remove(id)).collect();
        reports.waiting.extend(again);
        self.take_reports(ctx);
    }
}

impl Handler<JobMayHaveEnded> for PollerActor {
    type Result = ();

    fn handle(&mut self, ended: JobMayHaveEnded, ctx: &mut Self::Context) {
        if self.reports.waiting.len() < MOST_WAITING {
            self.reports.waiting.insert(ended.key);
            self.take_reports(ctx);
        }
    }
}
