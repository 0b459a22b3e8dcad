//! One schedule: lives of the daemon on one disk and one site, until everything is at rest.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use contentd::actors::failing::FailingJobs;
use contentd::actors::supervisor::{SupervisorActor, WorldChannels};
use contentd::actors::{Peers, World};
use contentd::generator::registry::Generators;
use contentd::publish::PublishPolicy;
use contentd::publisher::{Publisher, PublisherLimits, Publishers, Publishing, Serves};
use contentd::store::memory::MemoryDb;
use contentd::store::write::{Write, WriteError, Written};
use contentd::store::{InlineWriter, ReadMode, Store, Writer};
use contentd::task::content::PoolState;
use contentd::task::retry::Backoff;
use contentd::task::{AccountId, Clock, Entropy, Event, Timestamp};
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::common::{event_of, id, key_of, new, one, piece, submit, task};
use super::crash::{Crash, End};
use super::people::{Consumer, Ledger, decide};
use super::site::{Kind, Scripted, Site};
use super::world::{SimClock, SimEntropy};

/// What to run. A second life dies at a point that the seed draws.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub seed: u64,
    pub kind: Kind,
    pub cut: u64,
}

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    pub points: u64,
    pub deaths: u64,
    pub published: u64,
    pub held: u64,
    pub failures: Vec<String>,
    pub story: Vec<String>,
}

/// Pieces of the publisher's account and of the consumer's.
const PIECES: [usize; 2] = [4, 3];
/// Every schedule is at rest after so much virtual time.
const REST: Duration = Duration::from_secs(2 * 24 * 3600);
const LOOK: Duration = Duration::from_secs(120);
const DEATHS: usize = 2;

/// Approved pieces in the pool: so many of each account, with priorities that go round.
pub fn fill(db: &MemoryDb, clock: &SimClock, accounts: &[usize]) {
    let at = clock.now().utc.0;
    let mut disk = db.clone();
    let mut n = 0;
    for (index, count) in accounts.iter().enumerate() {
        let name = format!("account-{}", index + 1);
        one(&mut disk, Write::AddAccount { name, external_id: None, now: Timestamp(at) }).unwrap();
        for _ in 0..*count {
            n += 1;
            let mut asked = task(n, AccountId(i64::try_from(index).unwrap() + 1));
            asked.priority = u8::try_from(n % 10).unwrap() + 1;
            one(&mut disk, submit(vec![new(asked)])).unwrap();
            let key = Event::Claimed { key: key_of(&id(n), at) };
            let accepted = super::common::accepted(&format!("job of {n}"));
            let completed = super::common::polled(contentd::task::outcome::JobState::Completed);
            for event in [key, accepted, completed, piece("# Words")] {
                one(&mut disk, event_of(&id(n), at, event)).unwrap();
            }
        }
    }
}

/// Commits, and dies before or after it.
struct Mortal {
    inner: Arc<InlineWriter>,
    crash: Arc<Crash>,
}

impl Writer for Mortal {
    fn write(&self, write: Write) -> BoxFuture<'static, Result<Written, WriteError>> {
        let crash = Arc::clone(&self.crash);
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            crash.point("before a commit").await;
            let written = inner.write(write).await;
            crash.point("after a commit").await;
            written
        })
    }
}

pub fn policy(kind: Kind) -> PublishPolicy {
    PublishPolicy {
        is_idempotent: kind == Kind::Idempotent,
        can_find: kind == Kind::Findable,
        retry: Backoff { initial: Duration::from_secs(30), factor: 2.0, max: Duration::from_secs(600), jitter: 0.2 },
        ..PublishPolicy::default()
    }
}

pub fn limits() -> PublisherLimits {
    PublisherLimits { max_in_flight: 2, publishes_per_day: None, interval: Duration::from_secs(30), batch: 2 }
}

/// The world of one life.
pub fn world(
    db: &MemoryDb,
    clock: &SimClock,
    entropy: &Arc<SimEntropy>,
    crash: &Arc<Crash>,
    publishers: Publishers,
) -> (World, WorldChannels) {
    let inner = Arc::new(InlineWriter::new(Arc::new(Mutex::new(db.clone()))));
    let writer = Arc::new(Mortal { inner, crash: Arc::clone(crash) });
    let (peers, peers_rx) = watch::channel(Peers::default());
    let (generators, generators_rx) = watch::channel(Arc::new(Generators::default()));
    let world = World {
        store: Store::new(writer, Arc::new(db.clone()), ReadMode::Inline),
        clock: Arc::new(clock.clone()),
        entropy: Arc::clone(entropy) as Arc<dyn Entropy>,
        generators: generators_rx,
        peers: peers_rx,
        readiness: Default::default(),
        failing: FailingJobs::default(),
        rules: Default::default(),
        images: Default::default(),
        publishers: Publishing::of(publishers),
        notices: contentd::generator::hooks::Notices::none(),
    };
    (world, WorldChannels { peers, generators })
}

/// The scripted publisher of the first account.
pub fn publisher(
    site: &Site,
    crash: &Arc<Crash>,
    policy: PublishPolicy,
    limits: PublisherLimits,
    serves: Serves,
) -> Publisher {
    let driver = Arc::new(Scripted { site: site.clone(), crash: Arc::clone(crash) });
    Publisher { name: "site".into(), driver, policy, serves, limits }
}

struct Disk {
    schedule: Schedule,
    db: MemoryDb,
    clock: SimClock,
    site: Site,
    entropy: Arc<SimEntropy>,
    ledgers: [Arc<Mutex<Ledger>>; 2],
    decided: AtomicU64,
}

/// Runs a schedule to its rest. A panic is a failure of this schedule and of no other.
pub fn run(schedule: Schedule) -> Outcome {
    let outcome = catch_unwind(AssertUnwindSafe(|| Disk::new(schedule).live_and_rest()));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Outcome { failures: vec![format!("{schedule:?}: a panic: {}", text.unwrap_or_default())], ..Outcome::default() }
    })
}

impl Disk {
    fn new(schedule: Schedule) -> Self {
        let (clock, db) = (SimClock::new(), MemoryDb::new());
        fill(&db, &clock, &PIECES);
        let badness = [0, 20, 45, 70, 90][usize::try_from(schedule.seed % 5).unwrap()];
        Self {
            schedule,
            site: Site::new(clock.clone(), schedule.seed, schedule.kind, badness),
            entropy: Arc::new(SimEntropy::new(schedule.seed ^ 0xABCD)),
            db,
            clock,
            ledgers: Default::default(),
            decided: AtomicU64::new(0),
        }
    }

    fn live_and_rest(self) -> Outcome {
        let Schedule { seed, kind, cut } = self.schedule;
        let mut outcome = Outcome::default();
        let mut deaths = Vec::new();
        let mut next_cut = cut;
        for life in 0.. {
            let crash = Crash::at(next_cut, End::Killed);
            self.live(&crash);
            if life == 0 {
                outcome.points = crash.passed();
            }
            if !crash.is_dead() {
                break;
            }
            if crash.ran_away() {
                outcome.failures.push("it runs and runs".into());
                break;
            }
            self.clock.pass_dead(i64::from(self.entropy.below(120_000)));
            deaths.push(crash.label());
            next_cut = if deaths.len() < DEATHS { u64::from(self.entropy.below(60)) + 1 } else { 0 };
        }
        outcome.deaths = deaths.len() as u64;
        outcome.held = self.decided.load(Ordering::Relaxed);
        self.check(&mut outcome);
        let words = format!("PUBLISH={seed}:{kind:?}:{cut} (died {})", deaths.join(", "));
        outcome.failures = outcome.failures.into_iter().map(|failure| format!("{words}: {failure}")).collect();
        outcome.story = self.db.all_events().iter().map(|event| format!("{event:?}")).collect();
        outcome
    }

    /// Each piece is out once and known to be, or given up and not out.
    fn check(&self, outcome: &mut Outcome) {
        for entry in self.db.all_pool_entries() {
            let times = self.site.times_out(entry.content_id);
            let content = self.db.all_contents().into_iter().find(|content| content.id == entry.content_id).unwrap();
            let is_known = content.publication.is_some();
            match entry.status {
                PoolState::Published if times == 1 && is_known => outcome.published += 1,
                PoolState::Failed if times == 0 && !is_known => {}
                status => outcome.failures.push(format!(
                    "pool entry {} is {status} at fence {}, and its piece is out {times} times: {:?}",
                    entry.id, entry.fence, entry.last_error
                )),
            }
        }
    }

    fn live(&self, crash: &Arc<Crash>) {
        System::new().block_on(async {
            tokio::time::pause();
            self.clock.begin_life(crash);
            tokio::select! {
                biased;
                () = crash.died() => {}
                () = self.work(crash) => {}
            }
            self.clock.end_life();
        });
    }

    async fn work(&self, crash: &Arc<Crash>) {
        let serves = Serves { accounts: Some(vec!["account-1".into()]), categories: None };
        let publisher = publisher(&self.site, crash, policy(self.schedule.kind), limits(), serves);
        let publishers = Publishers::new([publisher], PublishPolicy::default(), Duration::from_secs(300));
        let (world, channels) = world(&self.db, &self.clock, &self.entropy, crash, publishers);
        let supervisor = SupervisorActor::new(world.clone(), channels, 1, Box::new(|| panic!("the budget is spent")));
        let _supervisor = supervisor.start();
        for (name, ledger) in ["1000:ada", "1001:bob"].into_iter().zip(&self.ledgers) {
            let (site, dice) = (self.site.clone(), Arc::clone(&self.entropy));
            let consumer = Consumer { name, ledger: Arc::clone(ledger), site, dice };
            actix::spawn(consumer.work(world.clone()));
        }
        let end = tokio::time::Instant::now() + REST;
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(LOOK).await;
            let decided = decide(&world, &self.db, &self.site).await;
            self.decided.fetch_add(decided, Ordering::Relaxed);
            let is_over = |status| matches!(status, PoolState::Published | PoolState::Failed);
            if decided == 0 && self.db.all_pool_entries().iter().all(|entry| is_over(entry.status)) {
                return;
            }
        }
    }
}
