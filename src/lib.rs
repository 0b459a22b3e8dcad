//! contentd: the daemon that has slow, paid, unreliable generators write content unattended.

pub mod control;
pub mod ctl;
pub mod generator;
pub mod store;
pub mod task;
