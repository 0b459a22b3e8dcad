//! How the actor uses a publisher: in which order, how much at once and a day, and what an outage costs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use contentd::actors::publisher::{ProbePublisher, Probing};
use contentd::actors::supervisor::{Crash as CrashChild, DaemonStatus, Drain, GetStatus, SupervisorActor};
use contentd::publish::key::SEED_SETTING;
use contentd::publish::outcome::PublishAnswer;
use contentd::publish::{PieceIdentity, PublishPolicy, publish_key};
use contentd::publisher::{Publisher, PublisherLimits, Publishers, Serves};
use contentd::store::memory::MemoryDb;
use contentd::store::query::Queries;
use contentd::store::write::{PoolWrite, Write, WriteError, Written};
use contentd::store::{InlineWriter, ReadMode, Store, Writer};
use contentd::task::content::PoolState;
use contentd::task::{AccountId, Timestamp};
use futures_util::future::BoxFuture;

use super::common::one;
use super::crash::{Crash, End};
use super::life::{fill, limits, policy, publisher, world};
use super::site::{Kind, Site};
use super::world::{SimClock, SimEntropy};

thread_local! {
    static IS_PAUSED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A daemon with one publisher that does as it is told, or as the site does.
struct Rig {
    db: MemoryDb,
    clock: SimClock,
    site: Site,
    world: contentd::actors::World,
    supervisor: Addr<SupervisorActor>,
}

/// Commits that take a while, so that looks fall between what an actor takes up and its commit.
struct Slow(InlineWriter);

impl Writer for Slow {
    fn write(&self, write: Write) -> BoxFuture<'static, Result<Written, WriteError>> {
        let written = self.0.write(write);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            written.await
        })
    }
}

impl Rig {
    fn start(accounts: &[usize], badness: u32, limits: PublisherLimits, serves: Serves, policy: PublishPolicy) -> Self {
        Self::begin(accounts, badness, publisher_of(limits, serves, policy), false)
    }

    fn begin(
        accounts: &[usize],
        badness: u32,
        publisher: impl FnOnce(&Site, &Arc<Crash>) -> Publisher,
        is_slow: bool,
    ) -> Self {
        // A test may start several daemons, one after the other.
        if !IS_PAUSED.replace(true) {
            tokio::time::pause();
        }
        let (clock, db) = (SimClock::new(), MemoryDb::new());
        fill(&db, &clock, accounts);
        let crash = Crash::at(0, End::Killed);
        clock.begin_life(&crash);
        let site = Site::new(clock.clone(), 7, Kind::Idempotent, badness);
        let publishers =
            Publishers::new([publisher(&site, &crash)], PublishPolicy::default(), Duration::from_secs(300));
        let (mut world, channels) = world(&db, &clock, &Arc::new(SimEntropy::new(5)), &crash, publishers);
        if is_slow {
            let writer = Slow(InlineWriter::new(Arc::new(Mutex::new(db.clone()))));
            world.store = Store::new(Arc::new(writer), Arc::new(db.clone()), ReadMode::Inline);
        }
        let supervisor = SupervisorActor::new(world.clone(), channels, 1, Box::new(|| panic!("the budget is spent")));
        Self { db, clock, site, world, supervisor: supervisor.start() }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&MemoryDb) -> bool) {
        let end = tokio::time::Instant::now() + Duration::from_secs(3 * 24 * 3600);
        while !is_so(&self.db) {
            assert!(tokio::time::Instant::now() < end, "never came to pass: {what}: {:#?}", self.db.all_pool_entries());
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }

    fn out(db: &MemoryDb) -> usize {
        db.all_pool_entries().iter().filter(|entry| entry.status == PoolState::Published).count()
    }

    /// The pieces as they are to go out.
    fn in_order(&self) -> Vec<contentd::task::ContentId> {
        let mut entries = self.db.all_pool_entries();
        entries.sort_by_key(|entry| (u8::MAX - entry.priority, entry.scheduled_at, entry.id));
        entries.into_iter().map(|entry| entry.content_id).collect()
    }

    /// Accounts in the order in which their pieces were handed out.
    fn order(&self) -> Vec<i64> {
        let of = |handout: &contentd::publish::Handout| self.db.pool_entry(handout.pool_id).unwrap().unwrap().0;
        self.db.all_handouts().iter().map(|handout| of(handout).account_id.0).collect()
    }
}

fn publisher_of(
    limits: PublisherLimits,
    serves: Serves,
    policy: PublishPolicy,
) -> impl FnOnce(&Site, &Arc<Crash>) -> Publisher {
    move |site, crash| publisher(site, crash, policy, limits, serves)
}

fn one_at_once() -> PublisherLimits {
    PublisherLimits { max_in_flight: 1, ..limits() }
}

#[actix::test]
async fn accounts_take_turns_by_batches_and_the_urgent_goes_first() {
    let rig = Rig::start(&[4, 4], 0, one_at_once(), Serves::default(), policy(Kind::Blind));
    rig.until("all are out", |db| Rig::out(db) == 8).await;
    assert_eq!(rig.order(), [1, 1, 2, 2, 1, 1, 2, 2], "batches of two");
    let of_first: Vec<u8> = rig
        .db
        .all_handouts()
        .iter()
        .filter_map(|handout| {
            let entry = rig.db.pool_entry(handout.pool_id).unwrap().unwrap().0;
            (entry.account_id == AccountId(1)).then_some(entry.priority)
        })
        .collect();
    assert!(of_first.is_sorted_by(|left, right| left >= right), "{of_first:?}");
    assert_eq!(rig.site.most_at_once(), 1);
}

#[actix::test]
async fn limits_at_once_and_a_day_are_kept() {
    let few = PublisherLimits { max_in_flight: 3, publishes_per_day: Some(5), ..limits() };
    let rig = Rig::start(&[12], 0, few, Serves::default(), policy(Kind::Blind));
    let began = tokio::time::Instant::now();
    rig.until("five are out", |db| Rig::out(db) == 5).await;
    tokio::time::sleep(Duration::from_secs(20 * 3600)).await;
    assert_eq!((Rig::out(&rig.db), rig.site.calls()), (5, 5));
    rig.until("all are out", |db| Rig::out(db) == 12).await;
    assert!(began.elapsed() > Duration::from_secs(48 * 3600), "twelve at five a day");
    assert_eq!(rig.site.most_at_once(), 3);
}

#[actix::test]
async fn what_is_sent_again_keeps_the_limit_at_once() {
    let rig = Rig::start(&[4], 0, one_at_once(), Serves::default(), policy(Kind::Idempotent));
    rig.site.tell(Some((PublishAnswer::Ambiguous("it broke off".into()), true, 20_000, 0)));
    rig.until("some were called", |_| rig.site.calls() >= 3).await;
    rig.site.tell(Some((PublishAnswer::Published(Default::default()), true, 20_000, 0)));
    rig.until("all are out", |db| Rig::out(db) == 4).await;
    assert!(rig.db.all_handouts().iter().any(|handout| handout.sends > 1), "something was sent again");
    assert_eq!(rig.site.most_at_once(), 1);
}

#[actix::test]
async fn what_is_taken_up_and_not_yet_committed_counts_for_the_day() {
    let few = PublisherLimits { max_in_flight: 8, publishes_per_day: Some(5), ..limits() };
    let rig = Rig::begin(&[12], 0, publisher_of(few, Serves::default(), policy(Kind::Blind)), true);
    // A look every tenth of a second, and a commit takes a second.
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        rig.world.tell_publisher();
    }
    tokio::time::sleep(Duration::from_secs(20 * 3600)).await;
    assert_eq!((Rig::out(&rig.db), rig.site.calls()), (5, 5));
}

#[actix::test]
async fn an_outage_takes_nothing_of_the_day() {
    let few = PublisherLimits { publishes_per_day: Some(5), ..limits() };
    let rig = Rig::start(&[5], 0, few, Serves::default(), policy(Kind::Idempotent));
    rig.site.tell(Some((PublishAnswer::Unavailable("connection refused".into()), false, 1_000, 0)));
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    let tries = rig.db.all_handouts().len();
    assert!(Rig::out(&rig.db) == 0 && tries > 5, "{tries} tries of one piece at a time");
    rig.site.tell(None);
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    assert_eq!(Rig::out(&rig.db), 5, "the day is spent by what went out");
}

#[actix::test]
async fn an_outage_spends_nothing_and_one_piece_at_a_time_tries() {
    let rig = Rig::start(&[6], 1, limits(), Serves::default(), policy(Kind::Idempotent));
    // The site is away at the end of each span of 500 s.
    tokio::time::sleep(Duration::from_secs(385)).await;
    let before = Rig::out(&rig.db);
    assert_eq!(before, 6, "the first were taken at once");
    let now = rig.clock_now();
    for n in 1..=6 {
        // Nothing is left; the next pieces come in the outage.
        assert!(rig.db.pool_entry(contentd::task::PoolId(n)).unwrap().unwrap().0.created_at <= now);
    }
    let mut disk = rig.db.clone();
    for n in 50..56 {
        add_piece(&mut disk, n, now);
    }
    rig.world.tell_publisher();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let status = rig.supervisor.send(GetStatus::default()).await.unwrap().publisher.expect("it answers");
    assert_eq!(status.away.len(), 1, "{status:?}");
    let calls = rig.site.calls();
    assert!(calls < 6 + 8, "{calls} calls: a backlog that all tries is no breaker");
    rig.until("all are out", |db| Rig::out(db) == 12).await;
    let entries = rig.db.all_pool_entries();
    assert!(entries.iter().all(|entry| entry.retry_count == 0), "{entries:#?}");
    let status = rig.supervisor.send(GetStatus::default()).await.unwrap().publisher.expect("it answers");
    assert!(status.away.is_empty(), "{status:?}");
    assert_eq!(rig.db.settings("publisher-breaker/").unwrap(), []);
}

#[actix::test]
async fn a_piece_that_fails_by_itself_keeps_no_publisher_away() {
    let rig = Rig::start(&[10], 0, one_at_once(), Serves::default(), policy(Kind::Idempotent));
    let bad = rig.in_order()[0];
    let calls_of_bad = || rig.site.called().iter().filter(|(piece, _)| *piece == bad).count();
    rig.site.tell_of(bad, (PublishAnswer::Ambiguous("exit status 9".into()), false, 1_000, 0));
    rig.site.tell(Some((PublishAnswer::Unavailable("connection refused".into()), false, 1_000, 0)));
    // Its own back-off is over by then, and the site is tried at 5, 15, 35 and 75 s.
    tokio::time::sleep(Duration::from_secs(110)).await;
    assert!(rig.site.calls() >= 5, "{:?}", rig.site.called());
    assert_eq!(calls_of_bad(), 1, "another piece tries it: {:?}", rig.site.called());
    rig.site.tell(None);
    rig.until("the good ones are out", |db| Rig::out(db) == 9).await;
    rig.until("the bad one waits for a person", |db| {
        db.all_pool_entries().iter().any(|entry| entry.content_id == bad && entry.status == PoolState::Held)
    })
    .await;
}

#[actix::test]
async fn a_trial_that_is_refused_is_followed_by_another_piece_at_once() {
    let rig = Rig::start(&[5], 0, one_at_once(), Serves::default(), policy(Kind::Blind));
    let order = rig.in_order();
    rig.site.tell_of(order[0], (PublishAnswer::Unavailable("connection refused".into()), false, 1_000, 0));
    rig.site.tell_of(order[1], (PublishAnswer::Rejected("too long".into()), false, 1_000, 0));
    rig.until("the others are out", |db| Rig::out(db) >= 3).await;
    let called = rig.site.called();
    let (away, refused, next) = (called[0], called[1], called[2]);
    assert_eq!([away.0, refused.0, next.0], order[..3], "{called:?}");
    assert!(refused.1 - away.1 > 4_000 && next.1 - refused.1 < 4_000, "no back-off follows a refusal: {called:?}");
}

#[actix::test]
async fn a_publisher_that_was_mended_is_tried_at_once_and_by_one_piece() {
    let rig = Rig::start(&[3], 0, limits(), Serves::default(), policy(Kind::Idempotent));
    let publisher = || rig.world.peers.borrow().publisher.clone().expect("it is there");
    let name = rig.world.publishers.current().iter().next().expect("there is one").name.clone();
    let probe = async || publisher().send(ProbePublisher { publisher: name.clone() }).await.expect("it answers");
    // Each call lasts a minute and finds nobody.
    rig.site.tell(Some((PublishAnswer::Unavailable("connection refused".into()), false, 60_000, 0)));
    tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
    let status = || rig.supervisor.send(GetStatus::default());
    let ahead =
        |status: DaemonStatus| status.publisher.and_then(|one| one.away.first().and_then(|one| one.next_probe_at));
    rig.until_async("the next try is minutes ahead", async || {
        let next = ahead(status().await.expect("it answers"));
        next.is_some_and(|at| at > rig.clock_now().plus(Duration::from_secs(120)))
    })
    .await;
    let calls = rig.site.calls();
    assert_eq!(probe().await, Probing::Next);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.site.calls(), calls + 1, "at once, by one piece");
    assert_eq!(probe().await, Probing::UnderWay);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(rig.site.calls(), calls + 1, "none beside it");
    rig.site.tell(None);
    rig.until("all are out", |db| Rig::out(db) == 3).await;
    assert_eq!(probe().await, Probing::NotAway);
}

impl Rig {
    async fn until_async(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let end = tokio::time::Instant::now() + Duration::from_secs(24 * 3600);
        while !is_so().await {
            assert!(tokio::time::Instant::now() < end, "never came to pass: {what}");
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }

    fn clock_now(&self) -> Timestamp {
        contentd::task::Clock::now(&self.clock).utc
    }
}

fn add_piece(disk: &mut MemoryDb, n: usize, now: Timestamp) {
    use super::common::{accepted, event_of, id, key_of, new, one, piece, polled, submit, task};
    use contentd::task::{Event, outcome::JobState};
    one(disk, submit(vec![new(task(n, AccountId(1)))])).unwrap();
    let key = Event::Claimed { key: key_of(&id(n), now.0) };
    for event in [key, accepted(&format!("job of {n}")), polled(JobState::Completed), piece("# Words")] {
        one(disk, event_of(&id(n), now.0, event)).unwrap();
    }
}

#[actix::test]
async fn a_publisher_serves_whom_it_is_told_to() {
    let serves = Serves { accounts: Some(vec!["2".into()]), categories: Some(vec!["essays".into()]) };
    let rig = Rig::start(&[2, 2], 0, limits(), serves, policy(Kind::Blind));
    rig.until("the second account's are out", |db| Rig::out(db) == 2).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(rig.order(), [2, 2]);
    let other = Serves { accounts: None, categories: Some(vec!["poems".into()]) };
    let none = Rig::start(&[2], 0, limits(), other, policy(Kind::Blind));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(none.site.calls(), 0);
}

#[actix::test]
async fn a_publisher_actor_that_dies_in_a_call_is_rebuilt_and_clears_the_doubt() {
    let rig = Rig::start(&[3], 0, one_at_once(), Serves::default(), policy(Kind::Findable));
    rig.until("a call is under way", |db| !db.all_handouts().is_empty()).await;
    let child = rig.world.peers.borrow().publisher.clone().expect("it was built");
    child.do_send(CrashChild);
    rig.until("all are out", |db| Rig::out(db) == 3).await;
    let status = rig.supervisor.send(GetStatus::default()).await.unwrap();
    assert!(status.restarts == 1 && status.silent().is_empty(), "{status:?}");
    assert!(rig.db.all_contents().iter().all(|content| rig.site.times_out(content.id) == 1));
}

#[actix::test]
async fn a_process_that_outlives_its_call_holds_the_piece() {
    for kind in [Kind::Idempotent, Kind::Findable] {
        let rig = Rig::start(&[1], 0, one_at_once(), Serves::default(), policy(kind));
        let day = 24 * 3600 * 1_000;
        rig.site.tell(Some((PublishAnswer::Ambiguous("no answer within 60 s".into()), false, 60_000, day)));
        let began = rig.clock_now();
        rig.until("it is held", |db| db.all_pool_entries()[0].status == PoolState::Held).await;
        let entry = rig.db.all_pool_entries().remove(0);
        assert!(entry.held_reason.as_ref().is_some_and(|why| why.contains("still there")), "{entry:?}");
        assert_eq!((rig.site.calls(), entry.fence), (1, 1), "nothing is sent beside a process that may publish");
        let waited = rig.clock_now().since(began);
        assert!(waited > policy(kind).find_limit, "given up after {waited:?}");
    }
}

#[actix::test]
async fn where_no_process_can_be_looked_for_nothing_is_held_for_one() {
    let rig = Rig::start(&[1], 0, one_at_once(), Serves::default(), policy(Kind::Idempotent));
    rig.site.tell(Some((PublishAnswer::Ambiguous("it broke off".into()), false, 1_000, 0)));
    rig.site.hide_processes(true);
    let began = rig.clock_now();
    let limit = policy(Kind::Idempotent).find_limit + Duration::from_secs(60);
    rig.until("the limit has passed", |_| rig.clock_now().since(began) > limit).await;
    assert_eq!(rig.db.all_pool_entries()[0].status, PoolState::Publishing);
    assert_eq!(rig.site.calls(), 1, "and nothing is sent beside a process that may be there");
    rig.site.tell(None);
    rig.site.hide_processes(false);
    rig.until("it is out", |db| Rig::out(db) == 1).await;
}

#[actix::test]
async fn a_drain_lets_the_call_in_hand_end_and_begins_none() {
    let rig = Rig::start(&[4], 0, one_at_once(), Serves::default(), policy(Kind::Blind));
    rig.until("a call is under way", |db| !db.all_handouts().is_empty()).await;
    rig.supervisor.send(Drain).await.unwrap();
    let entries = rig.db.all_pool_entries();
    let count = |status| entries.iter().filter(|entry| entry.status == status).count();
    assert!(count(PoolState::Publishing) == 0 && count(PoolState::Published) >= 1, "{entries:#?}");
    let calls = rig.site.calls();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(rig.site.calls(), calls);
}

#[actix::test]
async fn what_went_out_before_a_restore_is_not_published_twice_whatever_is_said_first() {
    let busy = || (PublishAnswer::Retry("busy".into()), false, 1_000, 0);
    let away = || (PublishAnswer::Unavailable("connection refused".into()), false, 1_000, 0);
    let broken = || (PublishAnswer::Ambiguous("it broke off".into()), true, 1_000, 0);
    let rig = Rig::start(&[0], 0, limits(), Serves::default(), policy(Kind::Idempotent));
    let mut disk = rig.db.clone();
    let now = rig.clock_now();
    for n in 50..55 {
        add_piece(&mut disk, n, now);
    }
    let contents = rig.db.all_contents();
    // The replaced database had them handed out once, under the keys that follow from the pieces; the last was not reached.
    let seed = rig.db.settings(SEED_SETTING).unwrap().remove(0).1;
    let fates = [busy(), away(), broken()];
    for (n, content) in contents.iter().enumerate().take(4) {
        let (task_id, content_hash) = (content.record.task_id.clone(), content.record.content_hash.clone());
        let piece = PieceIdentity { task_id, version: content.record.version, content_hash };
        rig.site.put(content.id, publish_key(&seed, &piece, 1));
        if let Some(fate) = fates.get(n) {
            rig.site.tell_of(content.id, fate.clone());
        }
    }
    one(&mut disk, Write::Pool(PoolWrite::HoldRestored { now })).unwrap();
    one(&mut disk, Write::Pool(PoolWrite::Release { ids: None, who: "1:ada".into(), now })).unwrap();
    rig.world.tell_publisher();
    tokio::time::sleep(Duration::from_secs(90)).await;
    for content in &contents {
        rig.site.tell_of(content.id, (PublishAnswer::Published(Default::default()), true, 1_000, 0));
    }
    rig.until("all are out", |db| Rig::out(db) == 5).await;
    let times: Vec<usize> = contents.iter().map(|content| rig.site.times_out(content.id)).collect();
    assert_eq!(times, [1; 5]);
    let called = rig.site.called();
    assert!(called.len() > 5, "some were sent again: {called:?}");
    assert_eq!(rig.db.all_handouts().len(), 5, "one each");
}
