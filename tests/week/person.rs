//! The person: sets it all up, looks at what waits each evening, and pauses the schedules when the week is over.
//!
//! What the person has done so far outlives the daemon. What a death cut off is done again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use contentd::actors::queue::PersonDecided;
use contentd::actors::{Happened, World};
use contentd::backend::DaemonBackend;
use contentd::control::api::pool::{PoolAnswer, PoolWord};
use contentd::control::api::schedules::ScheduleCalls;
use contentd::control::api::{Backend, Peer, ReviewParams};
use contentd::store::memory::MemoryDb;
use contentd::task::content::{PoolState, ReviewState};
use contentd::task::{Event, Settlement, TaskState, Timestamp};

use super::calendar::{Calendar, DAYS};
use super::consumers::decide;
use super::generator::{House, is_liked};
use super::site::Site;

#[derive(Clone, Copy, Debug)]
enum Duty {
    Look,
    Pause,
}

/// What is to be done when, the earliest first.
fn diary(calendar: &Calendar) -> Vec<(Timestamp, Duty)> {
    let evenings = (0..DAYS).map(|day| (calendar.at(day, 20, 0), Duty::Look));
    let after = [(DAYS, 12), (DAYS, 20), (DAYS + 1, 12), (DAYS + 1, 20)];
    let after = after.map(|(day, hour)| (calendar.at(day, hour, 0), Duty::Look));
    evenings.chain([(calendar.ends(), Duty::Pause)]).chain(after).collect()
}

/// See the module.
#[derive(Clone)]
pub struct Person {
    pub calendar: Arc<Calendar>,
    pub done: Arc<AtomicUsize>,
    pub db: MemoryDb,
    pub house: House,
    pub site: Site,
}

impl Person {
    fn peer() -> Peer {
        Peer { uid: 1000, gid: 1000, pid: None, name: "ada".into() }
    }

    /// Lives by the diary, in one life of the daemon.
    pub async fn live(self, world: World, backend: DaemonBackend) {
        for (number, (at, duty)) in diary(&self.calendar).into_iter().enumerate() {
            if number < self.done.load(Ordering::Relaxed) {
                continue;
            }
            let now = world.clock.now().utc;
            tokio::time::sleep(at.since(now)).await;
            match duty {
                Duty::Look => self.look(&world, &backend).await,
                Duty::Pause => {
                    for name in ["mornings", "nights", "hours"] {
                        let reason = Some("the week is over".to_owned());
                        backend.schedule_pause(Self::peer(), name.into(), reason).await.unwrap();
                    }
                }
            }
            self.done.store(number + 1, Ordering::Relaxed);
        }
    }

    /// Looks at the generator for the job of each task that is held, and says what is there.
    async fn settle(&self, world: &World) {
        for task in self.db.all_tasks().iter().filter(|task| task.state == TaskState::Held) {
            let Some(queue) = world.peers.borrow().queue.clone() else { return };
            let settlement = match self.house.jobs_of(&task.id).last() {
                Some(job) => Settlement::Adopt { reference: job.id.clone(), key: world.entropy.attempt_key() },
                None => Settlement::Absent,
            };
            let happened = Happened::by(task, Event::Settled(settlement), "1000:ada");
            queue.send(PersonDecided { happened }).await.unwrap().unwrap();
        }
    }

    async fn look(&self, world: &World, backend: &DaemonBackend) {
        self.settle(world).await;
        for content in self.db.all_contents() {
            if content.record.review_status != ReviewState::PendingReview {
                continue;
            }
            let content_hash = Some(content.record.content_hash.clone());
            let review = ReviewParams { content_id: content.id.0, content_hash, reason: Some("read".into()) };
            let is_liked = is_liked(&content.record.title);
            Backend::content_review(backend, Self::peer(), is_liked, review).await.unwrap();
        }
        // What a call that still runs may publish is not known yet.
        while !self.site.is_settled() {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        decide(world, &self.db, &self.site).await;
        for entry in self.db.all_pool_entries() {
            if entry.status == PoolState::Failed && self.site.times_out(entry.content_id) == 0 {
                let answer = PoolAnswer::Scheduled { at: None, priority: None };
                let word = PoolWord { id: entry.id, fence: None, answer, answers_for_all: true };
                Backend::pool_word(backend, Self::peer(), word).await.unwrap();
            }
        }
    }
}
