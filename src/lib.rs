//! contentd: the daemon that has slow, paid, unreliable generators write content unattended.
//!
//! # The five-minute tour
//!
//! A task comes in over the socket ([`control`]), is judged against accounts and generators ([`backend`]) and goes as a
//! message to the actors ([`actors`]). Every event of its life is judged by the pure core ([`task`]) inside a transaction
//! of the store ([`store`]) and committed before anything follows from it. Generators are called through one driver
//! model ([`generator`]). The composition root ([`daemon`]) opens and wires all of it; [`config`] says how; [`host`] is
//! the machine; [`ctl`] is the client's side, and [`manual`] writes the pages of both programs.
//!
//! | layer | may use |
//! | --- | --- |
//! | [`daemon`], [`ctl`], [`manual`] | everything below |
//! | [`backend`] | actors, control, store, generator, host |
//! | [`actors`] | store, generator, render |
//! | [`control`], [`store`], [`generator`], [`config`], [`host`], [`render`] | [`events`], [`text`], [`zones`], the core |
//! | [`events`] (what the log tells, and the journal's catalog), [`text`], [`zones`] | the core |
//! | [`notice`] (when somebody is told), [`metrics`] (what is counted) | the core |
//! | [`task`], [`finding`], [`roles`] (who may do what) | std, serde and an error derive |
//!
//! # What always holds
//!
//! - A submit that was acknowledged is on disk.
//! - No task has two attempts whose job may be alive, unless a person decided it.
//! - A completed task has one current content record; an approved one stands in the pool once.
//! - No piece is handed out twice to be published, unless a person or the configuration decided it.
//! - Every unfinished task waits in line, has a time at which it wakes, or waits for a person.
//! - No state follows another outside the table, neither in the program nor by hand in SQL.
//!
//! SQL stands in [`store`] only, sockets in [`control`], processes in [`generator`], signals and clocks in [`host`].

pub mod actors;
pub mod backend;
pub mod config;
pub mod control;
pub mod ctl;
pub mod daemon;
pub mod events;
pub mod finding;
pub mod generator;
pub mod host;
pub mod images;
pub mod manual;
pub mod metrics;
pub mod notice;
pub mod publish;
pub mod publisher;
pub mod render;
pub mod roles;
pub mod schedule;
pub mod store;
pub mod task;
pub mod text;
pub mod zones;
