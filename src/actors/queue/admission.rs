//! Whether a task of a lane may start now, and if not, why: the same answer decides and explains.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{BREAKER_SETTING, Pause, QueueActor};
use crate::events::{About, Kind};
use crate::generator::registry::{Generator, Limits};
use crate::store::write::Write;
use crate::task::account::{IN_A_DAY, not_before};
use crate::task::breaker::{Admission, Breaker, FIVE_IN_A_ROW, Notice};
use crate::task::lanes::LaneKey;
use crate::task::{AccountId, GeneratorName, Timestamp, in_words};
use crate::tell;
use crate::text::counted;
use actix::prelude::*;
use log::Level;

/// How long a submit counts.
const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// One look at a lane: why it may not go on, for that.
type Judge = fn(&QueueActor, &LaneKey, &Limits, Timestamp) -> Option<String>;

impl QueueActor {
    fn jobs_at(&self, generator: &GeneratorName) -> u32 {
        self.in_flight.iter().filter(|((name, _), _)| name == generator).map(|(_, jobs)| jobs).sum()
    }

    /// Why no task of this lane may start now; none if one may. The first reason is enough.
    pub(super) fn hindrance(&self, key: &LaneKey, now: Timestamp) -> Option<String> {
        self.hindrances(key, now).next()
    }

    /// Everything that keeps the tasks of this lane: who lifts one limit of two has lifted nothing.
    pub(super) fn hindrances(&self, key: &LaneKey, now: Timestamp) -> impl Iterator<Item = String> {
        const EACH: [Judge; 9] = [
            |queue, key, _, _| queue.pause_of(key),
            |queue, key, limits, _| queue.jobs_hindrance(key, limits),
            |queue, key, limits, _| queue.account_jobs_hindrance(key, limits),
            |queue, key, _, _| queue.own_jobs_hindrance(key),
            |queue, key, _, _| queue.own_day_hindrance(key),
            |queue, key, limits, _| queue.day_hindrance(key, limits),
            |queue, key, limits, _| queue.account_day_hindrance(key, limits),
            |queue, key, _, now| queue.breaker_hindrance(&key.generator, now),
            |queue, key, _, now| {
                queue.suspicion(&key.generator, now).map(|why| format!("generator {}: {why}", key.generator))
            },
        ];
        self.judged(&EACH, key, now)
    }

    /// What keeps them for longer than a job lasts: pauses, and limits of a day.
    pub(super) fn lasting_hindrances(&self, key: &LaneKey, now: Timestamp) -> impl Iterator<Item = String> {
        const LASTING: [Judge; 4] = [
            |queue, key, _, _| queue.pause_of(key),
            |queue, key, _, _| queue.own_day_hindrance(key),
            |queue, key, limits, _| queue.day_hindrance(key, limits),
            |queue, key, limits, _| queue.account_day_hindrance(key, limits),
        ];
        self.judged(&LASTING, key, now)
    }

    fn judged(&self, judges: &'static [Judge], key: &LaneKey, now: Timestamp) -> impl Iterator<Item = String> {
        let name = &key.generator;
        let generator = self.world.generator(name);
        let unknown = match generator {
            Some(_) => None,
            None => Some(format!("generator {name} is not configured; add [generators.{name}] and reload")),
        };
        let judged =
            generator.map(|generator| judges.iter().filter_map(move |judge| judge(self, key, &generator.limits, now)));
        unknown.into_iter().chain(judged.into_iter().flatten())
    }

    /// All pauses: who ends one of two has started nothing.
    fn pause_of(&self, key: &LaneKey) -> Option<String> {
        let covering = self.pauses.iter().filter(|pause| pause.scope.covers(key));
        let told = |pause: &Pause| {
            let why = pause.reason.as_deref().map(|reason| format!(" ({reason:?})")).unwrap_or_default();
            format!("{} is paused by {}{why}", pause.scope, pause.who)
        };
        let told: Vec<String> = covering.map(told).collect();
        (!told.is_empty()).then(|| told.join("; and "))
    }

    fn jobs_hindrance(&self, key: &LaneKey, limits: &Limits) -> Option<String> {
        let (name, most) = (&key.generator, limits.max_in_flight);
        let jobs = self.jobs_at(name);
        (jobs >= most)
            .then(|| format!("generator {name} has {jobs} jobs, and max_in_flight is {most}{}", self.outlived(name)))
    }

    fn account_jobs_hindrance(&self, key: &LaneKey, limits: &Limits) -> Option<String> {
        let (name, account) = (&key.generator, key.account);
        let jobs = self.in_flight.get(&(name.clone(), account)).copied().unwrap_or(0);
        let limit = limits.max_in_flight_per_account.filter(|limit| jobs >= *limit)?;
        Some(format!("account {account} has {jobs} jobs at {name}, and {limit} are allowed"))
    }

    /// The generators that may be given one more job, whatever the limits of an account and of the day say.
    pub(super) fn open_generators(&self) -> BTreeSet<GeneratorName> {
        let now = self.world.clock.now().utc;
        let generators = self.world.generators.borrow();
        let is_open = |generator: &&Arc<Generator>| {
            let name = &generator.name;
            !self.pauses.iter().any(|pause| pause.scope.covers_all_of(name))
                && self.jobs_at(name) < generator.limits.max_in_flight
                && self.breaker_hindrance(name, now).is_none()
                && self.suspicion(name, now).is_none()
        };
        generators.iter().filter(is_open).map(|generator| generator.name.clone()).collect()
    }

    /// What to do about jobs that take up slots for a day because they may be alive though their tasks have ended.
    fn outlived(&self, name: &GeneratorName) -> String {
        match self.watched.get(name).copied().unwrap_or(0) {
            0 => String::new(),
            watched => format!(
                "; {watched} of them have outlived their tasks and are looked at for a day: `contentctl list --state \
                 timeout` has them, `contentctl retry TASK --abandon --reason ...` gives one up"
            ),
        }
    }

    /// A job failed, and none has brought its piece since: no more jobs are risked than it takes to know whether all of
    /// them fail, so that a revoked key costs as many attempts and not one for each slot that becomes free.
    pub(super) fn suspicion(&self, name: &GeneratorName, now: Timestamp) -> Option<String> {
        let at_generator = self.jobs_at(name) as usize;
        // An open breaker risks its probes and no more.
        let is_open = self.breakers.get(name).is_some_and(|breaker| breaker.is_open().is_some());
        let failed = self.world.failing.suspects(name, now);
        if is_open || failed == 0 || failed + at_generator < FIVE_IN_A_ROW {
            return None;
        }
        Some(format!(
            "jobs of {failed} tasks have failed since one last completed, and {at_generator} are under way; more start when one completes, or when fewer than {FIVE_IN_A_ROW} are failed or under way"
        ))
    }

    /// The account's own limits, at all generators together.
    fn own_jobs_hindrance(&self, key: &LaneKey) -> Option<String> {
        let limits = self.account_limits.get(&key.account).filter(|limits| limits.max_in_flight.is_some())?;
        let jobs = self.in_flight.iter().filter(|((_, account), _)| *account == key.account).map(|(_, jobs)| jobs);
        Some(format!("account {} {}", key.account, limits.jobs_hindrance(jobs.sum())?))
    }

    fn own_day_hindrance(&self, key: &LaneKey) -> Option<String> {
        let limits = self.account_limits.get(&key.account).filter(|limits| limits.submits_per_day.is_some())?;
        let (today, next) = self.submits_of(|(_, account)| *account == key.account);
        Some(format!("account {} {}", key.account, limits.day_hindrance(today, next)?))
    }

    /// The submits of the day, and when the first of them counts no longer. Until then nothing starts where the limit is reached.
    fn submits_of(&self, is_meant: impl Fn(&(GeneratorName, AccountId)) -> bool) -> (u32, Option<Timestamp>) {
        let meant = self.submits_today.iter().filter(|(of, _)| is_meant(of)).map(|(_, submits)| *submits);
        let (count, first) = meant.fold((0, None), |(count, first): (u32, Option<Timestamp>), one| {
            (count.saturating_add(one.count), Some(first.map_or(one.first, |first| first.min(one.first))))
        });
        (count, first.map(|first| first.plus(A_DAY)))
    }

    fn day_hindrance(&self, key: &LaneKey, limits: &Limits) -> Option<String> {
        let (name, limit) = (&key.generator, limits.submits_per_day?);
        let (today, next) = self.submits_of(|(generator, _)| generator == name);
        let next = (today >= limit).then(|| not_before(next, today, limit))?;
        let submits = counted(today, "submit", "submits");
        Some(format!("{submits} to {name} {IN_A_DAY}, and submits_per_day is {limit}{next}"))
    }

    fn account_day_hindrance(&self, key: &LaneKey, limits: &Limits) -> Option<String> {
        let (name, account, limit) = (&key.generator, key.account, limits.submits_per_day_per_account?);
        let (today, next) = self.submits_of(|of| of.0 == *name && of.1 == account);
        let next = (today >= limit).then(|| not_before(next, today, limit))?;
        let submits = counted(today, "submit", "submits");
        Some(format!("{submits} of account {account} to {name} {IN_A_DAY}, and {limit} are allowed{next}"))
    }

    fn breaker_hindrance(&self, name: &GeneratorName, now: Timestamp) -> Option<String> {
        let breaker = self.breakers.get(name)?;
        let (trip, why, _) = breaker.is_open()?;
        match breaker.admits(now) {
            Admission::Open | Admission::Probe => None,
            Admission::NotBefore(at) => {
                let wait = at.since(now).as_secs();
                Some(format!("generator {name}: {trip} ({why}); the next probe starts in {}", in_words(wait)))
            }
            Admission::ProbeUnderWay => Some(format!("generator {name}: {trip} ({why}); a probe is under way")),
        }
    }

    /// Changes the breaker of a generator. What an open one has become is stored: its probe and its back-off too, so that a
    /// restart starts no other probe beside the one that lives.
    pub(super) fn change_breaker<T>(
        &mut self,
        generator: &GeneratorName,
        ctx: &mut Context<Self>,
        change: impl FnOnce(&mut Breaker) -> T,
    ) -> T {
        let breaker = self.breakers.entry(generator.clone()).or_default();
        let before = stored(breaker);
        let told = change(breaker);
        let after = stored(breaker);
        if after != before {
            self.persist_breaker(generator, after, ctx);
        }
        told
    }

    fn persist_breaker(&self, generator: &GeneratorName, value: Option<String>, ctx: &mut Context<Self>) {
        let write = Write::PutSetting { name: format!("{BREAKER_SETTING}{generator}"), value };
        let store = self.world.store.clone();
        let generator = generator.clone();
        let work = async move {
            if let Err(error) = store.write(write).await {
                let about = About::generator(&generator).is(Kind::StorageTrouble);
                tell!(Level::Error, about, "the breaker of generator {generator} could not be stored: {error}");
            }
        };
        ctx.spawn(work.into_actor(self));
    }

    pub(super) fn notice(&self, generator: &GeneratorName, notice: Option<Notice>) {
        match notice {
            Some(Notice::Opened(trip, why)) => {
                let about = About::generator(generator).is(Kind::BreakerOpened);
                tell!(Level::Error, about, "generator {generator}: no new submits, {trip}: {why}");
            }
            Some(Notice::Closed) => {
                let about = About::generator(generator).is(Kind::BreakerClosed);
                tell!(Level::Info, about, "generator {generator}: submits start again");
            }
            None => {}
        }
    }
}

/// What the database keeps of a breaker: nothing of a closed one.
fn stored(breaker: &Breaker) -> Option<String> {
    breaker.is_open()?;
    serde_json::to_string(breaker).ok()
}
