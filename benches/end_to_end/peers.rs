//! Other programs that do the same work, behind `--peers`.
//!
//! Each would be started here with its durable settings and driven with the same work as a row, by the client program of
//! [`crate::client`] where its protocol allows, and give an [`Outcome`] with the row's name and its own. Nothing stands here yet.

use crate::outcome::Outcome;

/// Adds what other programs did.
pub fn measure(_outcomes: &mut Vec<Outcome>) {
    eprintln!("--peers: no other program is known to this benchmark yet");
}
