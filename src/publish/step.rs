//! What is to be done next for an entry that a publisher's command has, from the rows alone: so a restart needs nothing else.

use super::policy::PublishPolicy;
use super::record::Handout;
use crate::task::Timestamp;

/// How often, and for each retry once more, a key is sent again to a publisher that is away: some three days at the longest pause
/// of the default `retry`, so that a night or a weekend without it costs nothing.
pub const UNAVAILABLE_SENDS: u32 = 72;

/// What is to be done when the entry's wake time has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// The call must be over, and nobody said how: it is in doubt.
    Doubt,
    /// See whether a process of the call is left.
    LookForProcesses,
    /// Ask whether it was published.
    Find,
    /// Send the same key again.
    SendAgain,
    /// Nobody can know: a person decides.
    Hold(String),
}

/// The next step. A person's or a consumer's entry has none: its lease ends.
pub fn next_step(handout: &Handout, policy: &PublishPolicy, now: Timestamp) -> Step {
    let Some(doubted_at) = handout.doubted_at else { return Step::Doubt };
    if handout.quiet_since.is_none() {
        return Step::LookForProcesses;
    }
    let why = handout.error.as_deref().unwrap_or("the call was never answered");
    if policy.is_idempotent {
        let away = handout.unavailable_sends;
        return match handout.sends > policy.max_retries {
            true => Step::Hold(format!(
                "sent {} times under one key, and no call said whether it is out (the first: {why})",
                handout.sends
            )),
            false if away >= policy.max_retries.saturating_add(UNAVAILABLE_SENDS) => {
                Step::Hold(format!("nobody was there {away} times to take its key once more: {why}"))
            }
            false => Step::SendAgain,
        };
    }
    if !policy.can_find {
        return Step::Hold(format!("nobody knows whether it was published: {why}"));
    }
    match now > doubted_at.plus(policy.find_limit) {
        true => Step::Hold(format!("not found and not proved absent within the find limit: {why}")),
        false => Step::Find,
    }
}
