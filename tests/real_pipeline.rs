//! The whole way with real programs: topics in, articles with pictures out in the publish pool. contentd's own binary, its
//! configuration of the real `llm-content-creator` from `contentd.example.toml`, the generator's own command, worker and
//! Redis; only the paid model is a stub, which counts every call, because every call would be money.
//!
//! Each test ends with the bill: how often an article was written for each topic, exactly. The surprise is how long the
//! generator takes to notice a dead worker of its own: about a minute, of which no setting of ours can take anything away.

#[path = "support/real_rig.rs"]
mod real_rig;

#[path = "real_pipeline/daemon.rs"]
mod daemon;
#[path = "real_pipeline/generator.rs"]
mod generator;

#[path = "real_pipeline/crashes.rs"]
mod crashes;
#[path = "real_pipeline/doubt.rs"]
mod doubt;
#[path = "real_pipeline/endings.rs"]
mod endings;
#[path = "real_pipeline/pieces.rs"]
mod pieces;
#[path = "real_pipeline/unavailable.rs"]
mod unavailable;
