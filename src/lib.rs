//! contentd: the daemon that has slow, paid, unreliable generators write content unattended.

pub mod config;
pub mod generator;
pub mod task;
