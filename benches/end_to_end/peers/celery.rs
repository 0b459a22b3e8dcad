//! Celery, a library for Python, with a Redis that syncs every write as its broker and its store of results, and late
//! acknowledgement. Its worker is a process with a pool of processes.

use serde_json::json;

use super::Peer;
use super::redis::{self, Redis};
use super::script::{Script, in_python, look_in_python};
use crate::Bench;
use crate::outcome::Outcome;

/// As one of the peers.
pub const PEER: Peer = Peer { name: "peers-celery", what: "Celery on a Redis that syncs every write", look, measure };

const NAME: &str = "Celery";

fn look() -> anyhow::Result<String> {
    let (redis, celery) = (redis::look()?, look_in_python("celery")?);
    Ok(format!("Celery {celery}, {redis}: {}; task_acks_late, results in Redis, prefork", redis::SETTINGS))
}

fn measure(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let redis = Redis::start(&bench.work.join("redis"))?;
    let mut driver = in_python("celery_peer.py");
    driver.env("BENCH_REDIS", redis.socket());
    let mut script = Script::start(driver, NAME, bench.work.join("celery.log"), json!({}))?;
    script.few(bench)
}
