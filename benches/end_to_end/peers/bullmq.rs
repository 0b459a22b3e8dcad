//! BullMQ, a library for node, on a Redis that syncs every write. Its clients and its workers are one node process.

use serde_json::json;

use super::redis::{self, Redis};
use super::script::{Script, in_node, look_in_node};
use super::{Peer, beside};
use crate::Bench;
use crate::outcome::{Bound, Outcome, Unit};
use crate::rows::memory::SETTLED;
use crate::rows::scripted::{self, Kind};

/// As one of the peers.
pub const PEER: Peer = Peer { name: "peers-bullmq", what: "BullMQ on a Redis that syncs every write", look, measure };

const NAME: &str = "BullMQ";

fn look() -> anyhow::Result<String> {
    let (redis, bullmq) = (redis::look()?, look_in_node("bullmq")?);
    Ok(format!("BullMQ {bullmq}, {redis}: {}; its client counts", redis::SETTINGS))
}

fn measure(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let redis = Redis::start(&bench.work.join("redis"))?;
    let mut script = open(bench, &redis)?;
    let mut outcomes = nothing(bench, &mut script)?;
    outcomes.extend(script.usual(bench)?);
    drop((script, redis));
    outcomes.extend(memory(bench)?);
    Ok(outcomes)
}

fn open(bench: &Bench, redis: &Redis) -> anyhow::Result<Script> {
    let settings = json!({ "socket": redis.socket() });
    Script::start(in_node("bullmq.cjs")?, NAME, bench.work.join("bullmq.log"), settings)
}

/// Jobs that do nothing, with as many at once as contentd has workers for the generator inside the process.
fn nothing(bench: &Bench, script: &mut Script) -> anyhow::Result<Vec<Outcome>> {
    let tasks = bench.count(10_000);
    let kinds = [(Kind::Blocking, "scripted generator, blocking"), (Kind::Polled, "scripted generator, polled")];
    let mut outcomes = kinds.map(|(_, row)| Outcome::of(row, Unit::PerSecond, Bound::AtLeast(1.0)).beside(NAME));
    for _ in 0..bench.options.runs {
        for ((kind, _), outcome) in kinds.iter().zip(&mut outcomes) {
            let ours = scripted::ours(&bench.work.join("scripted"), *kind, tasks)?;
            let theirs = script.nothing(tasks, scripted::WORKERS)?;
            outcome.push(tasks as f64 / ours.as_secs_f64(), tasks as f64 / theirs.as_secs_f64());
        }
    }
    let note = format!("its job does nothing, {} at once", scripted::WORKERS);
    Ok(outcomes.map(|outcome| outcome.noting(note.clone())).into())
}

fn memory(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let redis = Redis::start(&bench.work.join("redis"))?;
    let mut script = open(bench, &redis)?;
    std::thread::sleep(SETTLED);
    let (idle, node) = (redis.server.memory()?, script.memory()?);
    script.fill(bench.count(beside::QUEUED))?;
    let note = format!("Redis alone; a node process with its library has {} MB more", node >> 20);
    beside::memory(bench, NAME, idle, redis.server.memory()?, &note)
}
