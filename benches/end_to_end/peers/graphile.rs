//! graphile-worker, a library for node, on PostgreSQL. Its clients and its workers are one node process.

use serde_json::json;

use super::Peer;
use super::postgres::{self, Postgres};
use super::script::{Script, in_node, look_in_node};
use crate::Bench;
use crate::outcome::Outcome;

/// As one of the peers.
pub const PEER: Peer = Peer { name: "peers-graphile", what: "graphile-worker on PostgreSQL", look, measure };

const NAME: &str = "graphile-worker";

fn look() -> anyhow::Result<String> {
    let (postgres, library) = (postgres::look()?, look_in_node(NAME)?);
    let settings = postgres::SETTINGS;
    Ok(format!("{NAME} {library}, {postgres}: {settings}; a job that has ended is deleted, its output is not stored"))
}

fn measure(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let postgres = Postgres::start(&bench.work.join("postgres"))?;
    let settings = json!({ "host": postgres.host(), "user": postgres::USER });
    let mut script = Script::start(in_node("graphile.cjs")?, NAME, bench.work.join("graphile.log"), settings)?;
    script.usual(bench)
}
