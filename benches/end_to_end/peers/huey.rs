//! Huey, a library for Python, on SQLite with `synchronous=FULL`: the one of its stores that needs no server and is synced at every
//! commit. Its clients and its workers are threads of one process.

use serde_json::json;

use super::Peer;
use super::process::fresh;
use super::script::{Script, in_python, look_in_python};
use crate::Bench;
use crate::outcome::Outcome;

/// As one of the peers.
pub const PEER: Peer = Peer { name: "peers-huey", what: "Huey on SQLite, synced at every commit", look, measure };

const NAME: &str = "Huey";

fn look() -> anyhow::Result<String> {
    let huey = look_in_python("huey")?;
    Ok(format!("Huey {huey}: SqliteHuey, fsync=True, threads as workers that look for tasks every 0.1 s and rarer"))
}

fn measure(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let dir = bench.work.join("huey");
    fresh(&dir)?;
    let settings = json!({ "file": dir.join("huey.db") });
    let mut script = Script::start(in_python("huey_peer.py"), NAME, dir.join("log"), settings)?;
    script.few(bench)
}
