//! The pure core of publishing: what an entry of the publish pool is, and what may happen to it.
//!
//! Like [`crate::task`] it imports nothing but std and plain data, times of the clock from [`crate::schedule`] and a hash, which are
//! as pure: times and draws come in as arguments. It must not know
//! what a publisher is made of; that is in [`crate::publisher`]. The surprise: to hand a piece out is the deed that cannot be
//! taken back, so an outcome that nobody knows is never a reason to hand it out again. It is cleared up by the same key, by a
//! search, by its holder's late answer or by a person.
//!
//! | file | question |
//! | --- | --- |
//! | [`state`] | which state of an entry follows which? |
//! | [`outcome`] | what may a publisher's verb come to, and what does that mean? (the table) |
//! | [`apply()`] | what does an event change? |
//! | [`step`] | what is to be done next for an entry that a publisher has? |
//! | [`record`] | what is remembered of each handing out? |
//! | [`key`] | under which key is a piece handed out? |
//! | [`times`] | when is an approved piece due? |

pub mod apply;
pub mod key;
pub mod outcome;
pub mod policy;
pub mod record;
pub mod state;
pub mod step;
pub mod times;

#[cfg(test)]
mod tests;

pub use apply::{Context, PoolChange, PoolEvent, PoolRefusal, Recipient, apply, doubt_of_waiting, hand_out};
pub use key::{PieceIdentity, publish_key};
pub use policy::PublishPolicy;
pub use record::{Handout, Holder};
pub use state::PoolMove;
pub use times::PublishTimes;
