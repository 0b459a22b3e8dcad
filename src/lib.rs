//! contentd: the daemon that has slow, paid, unreliable generators write content unattended.

pub mod actors;
pub mod backend;
pub mod config;
pub mod control;
pub mod ctl;
pub mod daemon;
pub mod generator;
pub mod host;
pub mod render;
pub mod store;
pub mod task;
