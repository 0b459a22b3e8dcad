//! Control: Varlink on a unix socket, the only way in for people and programs.
//!
//! | file | question |
//! | --- | --- |
//! | [`api`] | what can be asked, answered and refused? (one struct each; [`api::Backend`] is what the daemon implements) |
//! | [`views`] | how do the core's records look on the wire? |
//! | [`values`] | how are times, durations and names read and written? |
//! | [`feed`] | how does a stream reach a reader that may be slow? |
//! | [`parts`] | how is an answer given that is longer than a message? |
//! | [`protocol`] | what is a message? |
//! | [`idl`] | what do we say of ourselves? |
//! | [`permissions`] | which role may call which method? |
//! | [`routes`] | which method is which? |
//! | [`topics`] | what do files and commands say of topics for schedules? |
//! | [`batch`] | what does a batch file hold, and what is wrong with it? |
//! | [`staging`] | where is a batch that is larger than a message? |
//! | [`server`] | who is connected, and what may they cost us? |
//! | [`socket`] | where is it, and is it ours? |
//! | [`client`] | how does contentctl call? |
//!
//! Nothing here decides anything about tasks: a call is read, judged for its form, handed to the backend, and its
//! answer written. Every byte that a client sends is untrusted. The surprise: a wrong parameter is an answer, not the
//! end of the connection.

pub mod api;
pub mod batch;
pub mod client;
pub mod feed;
pub mod idl;
pub mod parts;
pub mod permissions;
pub mod protocol;
pub mod routes;
pub mod server;
pub mod socket;
pub mod staging;
pub mod topics;
pub mod values;
pub mod views;
