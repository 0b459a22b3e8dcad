//! Lets a test harm this daemon from outside, to see that the watchdog notices. Built with `fault-injection` only.
//!
//! The name of a victim in the file `wedge` of the state directory makes it fall silent, once: `queue`, `poller`, `results`, `schedules`,
//! `images`, `publisher`, `notices`, `worker` (the first), `supervisor`, `control`, or `thread` (the one that all actors live on).

use std::path::PathBuf;
use std::time::Duration;

use actix::prelude::*;

use super::server_thread::ServerPulse;
use crate::actors::World;
use crate::actors::supervisor::{SupervisorActor, Wedge};

const LOOK: Duration = Duration::from_millis(100);

/// Looks for the file until the system ends.
pub fn listen(state_dir: PathBuf, world: World, supervisor: Addr<SupervisorActor>, server: ServerPulse) {
    let file = state_dir.join("wedge");
    actix::spawn(async move {
        loop {
            tokio::time::sleep(LOOK).await;
            let Ok(victim) = std::fs::read_to_string(&file) else { continue };
            // Gone before it works: the next daemon must live.
            let _ = std::fs::remove_file(&file);
            let peers = world.peers.borrow().clone();
            log::warn!("a test wedges {victim}");
            match victim.trim() {
                "queue" => peers.queue.iter().for_each(|actor| actor.do_send(Wedge)),
                "poller" => peers.poller.iter().for_each(|actor| actor.do_send(Wedge)),
                "results" => peers.results.iter().for_each(|actor| actor.do_send(Wedge)),
                "schedules" => peers.schedules.iter().for_each(|actor| actor.do_send(Wedge)),
                "images" => peers.images.iter().for_each(|actor| actor.do_send(Wedge)),
                "publisher" => peers.publisher.iter().for_each(|actor| actor.do_send(Wedge)),
                "notices" => peers.notice.iter().for_each(|actor| actor.do_send(Wedge)),
                "worker" => peers.workers.iter().flatten().take(1).for_each(|actor| actor.do_send(Wedge)),
                "supervisor" => supervisor.do_send(Wedge),
                "control" => server.wedge(),
                _ => loop {
                    std::thread::park();
                },
            }
        }
    });
}
