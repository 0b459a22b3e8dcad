//! The site where pieces go: it outlives every daemon, misbehaves by a seed, and remembers each piece that went out.
//!
//! What is published of a piece a second time must never happen; the site counts it, whatever the daemon believes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contentd::publish::outcome::{FoundAnswer, PublishAnswer, Published};
use contentd::publisher::{PublishJob, PublisherDriver};
use contentd::task::{AttemptKey, Clock, ContentId};
use futures_util::future::BoxFuture;

use super::crash::Crash;
use super::world::{SimClock, SimEntropy};

/// A publisher of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The same key publishes once.
    Idempotent,
    /// It can be asked whether a key was published.
    Findable,
    /// There is no way to ask.
    Blind,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Idempotent, Self::Findable, Self::Blind];
}

/// A piece that went out, or will.
#[derive(Clone, Debug)]
struct Effect {
    key: AttemptKey,
    visible_at: i64,
}

/// What happens to a call: the answer, whether it publishes, how long it takes and how long its process lives after it.
pub type Fate = (PublishAnswer, bool, u64, u64);

#[derive(Default)]
struct State {
    effects: BTreeMap<ContentId, Vec<Effect>>,
    locks: BTreeMap<AttemptKey, i64>,
    /// What is told to do instead of what the seed draws.
    told: Option<Fate>,
    /// What is told of one piece, before anything else.
    told_of: BTreeMap<ContentId, Fate>,
    /// Which pieces were called for, and when.
    called: Vec<(ContentId, i64)>,
    /// Nobody can look whether a process of a call is left.
    is_hidden: bool,
    calls: u32,
    at_once: u32,
    most_at_once: u32,
}

/// See the module.
#[derive(Clone)]
pub struct Site {
    state: Arc<Mutex<State>>,
    pub clock: SimClock,
    dice: Arc<SimEntropy>,
    kind: Kind,
    /// 0: it does as it is told. Else how bad it is, in percent.
    badness: u32,
}

/// It is away for a while, again and again, and then no more.
const OUTAGE_EVERY_MS: i64 = 500_000;
const OUTAGE_MS: i64 = 120_000;
const OUTAGES_UNTIL_MS: i64 = 2_000_000;

impl Site {
    pub fn new(clock: SimClock, seed: u64, kind: Kind, badness: u32) -> Self {
        Self { state: Arc::default(), clock, dice: Arc::new(SimEntropy::new(seed)), kind, badness }
    }

    fn now(&self) -> i64 {
        self.clock.now().utc.0
    }

    /// How often a piece is out, now or soon.
    pub fn times_out(&self, content: ContentId) -> usize {
        self.state.lock().unwrap().effects.get(&content).map_or(0, Vec::len)
    }

    pub fn calls(&self) -> u32 {
        self.state.lock().unwrap().calls
    }

    pub fn most_at_once(&self) -> u32 {
        self.state.lock().unwrap().most_at_once
    }

    /// Whether something of any call is still to come.
    pub fn is_settled(&self) -> bool {
        let (now, state) = (self.now(), self.state.lock().unwrap());
        state.locks.values().all(|until| *until < now)
            && state.effects.values().flatten().all(|effect| effect.visible_at <= now)
    }

    /// A consumer puts a piece there.
    pub fn put(&self, content: ContentId, key: AttemptKey) {
        let effect = Effect { key, visible_at: self.now() };
        self.state.lock().unwrap().effects.entry(content).or_default().push(effect);
    }

    fn is_away(&self) -> bool {
        let since = self.now() - self.clock.first_began_at();
        self.badness > 0 && since < OUTAGES_UNTIL_MS && since % OUTAGE_EVERY_MS > OUTAGE_EVERY_MS - OUTAGE_MS
    }

    /// From now on each call goes so; none: as the seed draws.
    pub fn tell(&self, fate: Option<Fate>) {
        self.state.lock().unwrap().told = fate;
    }

    /// From now on each call for this piece goes so.
    pub fn tell_of(&self, content: ContentId, fate: Fate) {
        self.state.lock().unwrap().told_of.insert(content, fate);
    }

    /// Which pieces were called for, in that order, and when, in ms.
    pub fn called(&self) -> Vec<(ContentId, i64)> {
        self.state.lock().unwrap().called.clone()
    }

    /// From now on nobody can look whether a process of a call is left, or everybody again.
    pub fn hide_processes(&self, is_hidden: bool) {
        self.state.lock().unwrap().is_hidden = is_hidden;
    }

    fn fate(&self, content: ContentId) -> Fate {
        if let Some(told) = self.state.lock().unwrap().told_of.get(&content).cloned() {
            return told;
        }
        if let Some(told) = self.state.lock().unwrap().told.clone() {
            return told;
        }
        let published =
            || PublishAnswer::Published(Published { url: Some("https://example.org/p".into()), reference: None });
        let took = u64::from(self.dice.below(20_000));
        if self.is_away() {
            return (PublishAnswer::Unavailable("connection refused".into()), false, took, 0);
        }
        if !self.dice.chance(self.badness) {
            return (published(), true, took, 0);
        }
        let late = u64::from(self.dice.below(40_000));
        match self.dice.below(6) {
            0 => (PublishAnswer::Ambiguous("it broke off".into()), true, took, late),
            1 => (PublishAnswer::Ambiguous("it broke off".into()), false, took, late),
            2 => (PublishAnswer::Retry("busy".into()), false, took, 0),
            3 => (PublishAnswer::Rejected("not that".into()), false, took, 0),
            4 => (PublishAnswer::Unavailable("nobody there".into()), false, took, 0),
            _ => (PublishAnswer::Ambiguous("no answer within 60 s".into()), true, 60_000, late),
        }
    }

    /// The call is there: from now on it publishes, whether somebody lives to hear of it or not.
    fn arrive(&self, job: &PublishJob) -> (PublishAnswer, Duration) {
        let (answer, publishes, took, late) = self.fate(job.content.id);
        let now = self.now();
        let ends = now + i64::try_from(took + late).unwrap();
        let key = job.handout.key.clone();
        let mut state = self.state.lock().unwrap();
        state.calls += 1;
        state.called.push((job.content.id, now));
        state.locks.insert(key.clone(), ends);
        let of_piece = state.effects.entry(job.content.id).or_default();
        let is_known = self.kind == Kind::Idempotent && of_piece.iter().any(|effect| effect.key == key);
        if publishes && !is_known {
            // Some show it only a while after the call's last process is gone.
            of_piece.push(Effect { key, visible_at: ends + i64::from(self.dice.below(20_000)) });
        }
        (answer, Duration::from_millis(took))
    }
}

/// The driver of one life.
pub struct Scripted {
    pub site: Site,
    pub crash: Arc<Crash>,
}

impl PublisherDriver for Scripted {
    fn publish(&self, job: PublishJob) -> BoxFuture<'static, PublishAnswer> {
        let (site, crash) = (self.site.clone(), Arc::clone(&self.crash));
        Box::pin(async move {
            crash.point("before a call").await;
            let (answer, took) = site.arrive(&job);
            {
                let mut state = site.state.lock().unwrap();
                state.at_once += 1;
                state.most_at_once = state.most_at_once.max(state.at_once);
            }
            crash.point("in a call").await;
            tokio::time::sleep(took).await;
            site.state.lock().unwrap().at_once -= 1;
            crash.point("after a call").await;
            answer
        })
    }

    fn find(&self, job: PublishJob) -> BoxFuture<'static, FoundAnswer> {
        let (site, crash) = (self.site.clone(), Arc::clone(&self.crash));
        Box::pin(async move {
            crash.point("before a search").await;
            if site.is_away() || site.dice.chance(site.badness / 2) {
                return FoundAnswer::Unavailable("nobody there".into());
            }
            let (now, key) = (site.now(), &job.handout.key);
            let state = site.state.lock().unwrap();
            let is_it = |effect: &Effect| effect.key == *key && effect.visible_at <= now;
            match state.effects.get(&job.content.id).is_some_and(|effects| effects.iter().any(is_it)) {
                true => FoundAnswer::Found(Published { url: Some("https://example.org/p".into()), reference: None }),
                false => FoundAnswer::Missing,
            }
        })
    }

    fn is_quiet(&self, key: AttemptKey) -> BoxFuture<'static, Option<bool>> {
        let now = self.site.now();
        let state = self.site.state.lock().unwrap();
        let is_quiet = state.locks.get(&key).is_none_or(|until| *until < now);
        Box::pin(std::future::ready((!state.is_hidden).then_some(is_quiet)))
    }

    fn forget(&self, key: AttemptKey) -> BoxFuture<'static, ()> {
        self.site.state.lock().unwrap().locks.remove(&key);
        Box::pin(std::future::ready(()))
    }

    fn faults(&self) -> Vec<String> {
        Vec::new()
    }
}
