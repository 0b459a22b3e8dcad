//! Consumers on the socket, who publish by hand and die at any moment, and the person who decides what is held.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contentd::actors::World;
use contentd::publish::outcome::Published;
use contentd::publish::{Handout, Holder, PoolEvent, PublishPolicy};
use contentd::store::memory::MemoryDb;
use contentd::store::write::{HandOut, PoolWrite, PoolWritten, Write, Written};
use contentd::task::content::{PoolEntry, PoolState};
use contentd::task::{AccountId, ContentId, PoolId};

use super::site::Site;
use super::world::SimEntropy;

/// What a consumer remembers of itself over its own deaths: its request, and what it has put out under which key.
#[derive(Default)]
pub struct Ledger {
    request: u64,
    put_out: BTreeMap<ContentId, String>,
}

/// A consumer of the second account, one of several who do not know of each other.
#[derive(Clone)]
pub struct Consumer {
    pub name: &'static str,
    pub ledger: Arc<Mutex<Ledger>>,
    pub site: Site,
    pub dice: Arc<SimEntropy>,
}

impl Consumer {
    /// Takes, publishes, answers; each of it may be what it does last for a while, or for good.
    pub async fn work(self, world: World) {
        loop {
            tokio::time::sleep(Duration::from_secs(40)).await;
            let request = format!("request-{}", self.ledger.lock().unwrap().request);
            let now = world.clock.now().utc;
            let hand_out = HandOut {
                holder: Holder::Consumer(self.name.into()),
                only: None,
                account: Some(AccountId(2)),
                limit: 1,
                request: Some(request),
                knows_its_keys: false,
                lease_until: now.plus(Duration::from_secs(300)),
                now,
            };
            let written = world.store.write(Write::Pool(PoolWrite::HandOut(Box::new(hand_out)))).await;
            // The answer is lost on the way: it asks again with the same key.
            if self.dice.chance(30) {
                continue;
            }
            world.tell_publisher();
            let Ok(Written::Pool(PoolWritten::HandedOut(mut handed_out))) = written else { continue };
            match handed_out.pop() {
                Some((entry, handout)) => self.publish(&world, entry, handout).await,
                None => self.ledger.lock().unwrap().request += 1,
            }
        }
    }

    async fn publish(&self, world: &World, entry: PoolEntry, handout: Handout) {
        // It dies before it did anything, and comes back with the same key, or never.
        match self.dice.below(10) {
            0 | 1 => return,
            2 => {
                self.ledger.lock().unwrap().request += 1;
                return;
            }
            _ => {}
        }
        let is_refused = self.dice.chance(15);
        let is_out = {
            let mut ledger = self.ledger.lock().unwrap();
            let is_out = ledger.put_out.contains_key(&entry.content_id);
            if !is_out && !is_refused {
                ledger.put_out.insert(entry.content_id, handout.key.0.clone());
                self.site.put(entry.content_id, handout.key.clone());
            }
            is_out || !is_refused
        };
        match self.dice.below(10) {
            0 | 1 => return,
            // It is slow, and its lease may end before.
            2 => tokio::time::sleep(Duration::from_secs(500)).await,
            _ => {}
        }
        let event = match is_out {
            true => PoolEvent::Done(Published::default()),
            false => PoolEvent::Failed { error: "not that".into(), is_final: self.dice.chance(30) },
        };
        let write = happened(world, entry.id, Some(handout.fence), event, self.name);
        let _ = world.store.write(Write::Pool(write)).await;
        world.tell_publisher();
    }
}

fn happened(world: &World, id: PoolId, fence: Option<u64>, event: PoolEvent, who: &str) -> PoolWrite {
    PoolWrite::Happened {
        id,
        fence,
        event: Box::new(event),
        policy: Box::new(PublishPolicy::default()),
        draw: world.entropy.draw(),
        who: who.to_owned(),
        answers_for_all: who == "0:root",
        now: world.clock.now().utc,
    }
}

/// Looks at the site and decides what is held. How many.
pub async fn decide(world: &World, db: &MemoryDb, site: &Site) -> u64 {
    let held: Vec<PoolEntry> =
        db.all_pool_entries().into_iter().filter(|entry| entry.status == PoolState::Held).collect();
    if !site.is_settled() {
        return 0;
    }
    let mut decided = 0;
    for entry in held {
        let write = match site.times_out(entry.content_id) {
            0 => PoolWrite::Release { ids: Some(vec![entry.id]), who: "0:root".into(), now: world.clock.now().utc },
            _ => {
                let published = Some(Published::default());
                happened(
                    world,
                    entry.id,
                    None,
                    PoolEvent::Settled { published, reason: "it is there".into() },
                    "0:root",
                )
            }
        };
        // A holder who was only slow may have answered meanwhile.
        decided += u64::from(world.store.write(Write::Pool(write)).await.is_ok());
    }
    if decided > 0 {
        world.tell_publisher();
    }
    decided
}
