//! The product: what each outcome of each verb means. Doubt is the default.
//!
//! [`OUTCOMES`] is the table verb × outcome as data: the page `docs/outcomes.md` prints it and a test holds both together.
//! [`crate::task::apply()`] carries each row out; its tests walk this table, so a row without behaviour does not pass.
//! The answer types below are what a driver may say; there is no other way to tell the core about a generator.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::state::named;

named! {
    /// What is asked of a generator.
    Verb {
        /// Take this job.
        Submit = "submit",
        /// Is there a job that carries our key?
        Find = "find",
        /// A blocking command: a submit that yields the piece.
        Run = "run",
        /// How far are the jobs?
        Poll = "poll",
        /// How far is this one job?
        PollOne = "poll_one",
        /// The piece, please.
        Fetch = "fetch",
        /// Stop this job.
        Cancel = "cancel",
    }
}

named! {
    /// What a rule of the configuration may call an outcome.
    RuleOutcome {
        /// It went well: extract.
        Ok = "ok",
        /// No job was made; try again.
        Retry = "retry",
        /// It will never take this.
        Rejected = "rejected",
        /// Nobody was there.
        Unavailable = "unavailable",
        /// Nobody knows.
        Ambiguous = "ambiguous",
        /// It does not know this job.
        Missing = "missing",
        /// The piece is not finished.
        NotReady = "not_ready",
        /// It does not cancel this.
        Refused = "refused",
    }
}

impl Verb {
    /// The outcomes that a rule of this verb may name; any other is refused with the configuration.
    pub const fn rule_outcomes(self) -> &'static [RuleOutcome] {
        use RuleOutcome::*;
        match self {
            Self::Submit | Self::Run => &[Ok, Retry, Rejected, Unavailable, Ambiguous],
            Self::Poll | Self::PollOne => &[Ok, Missing, Unavailable],
            Self::Find => &[Ok, Unavailable],
            Self::Fetch => &[Ok, NotReady, Missing, Unavailable],
            Self::Cancel => &[Ok, Refused, Missing, Unavailable],
        }
    }

    /// Whether what its command writes to standard output is a piece.
    pub const fn writes_a_piece(self) -> bool {
        match self {
            Self::Run | Self::Fetch => true,
            Self::Submit | Self::Find | Self::Poll | Self::PollOne | Self::Cancel => false,
        }
    }

    /// What the outcome is where no rule matches and the exit status is not 0.
    pub const fn default_failure(self) -> Option<RuleOutcome> {
        match self {
            Self::Submit => Some(RuleOutcome::Ambiguous),
            // A blocking run that exits badly has failed: that is an outcome of its own, not a rule's.
            Self::Run => None,
            Self::Find | Self::Poll | Self::PollOne | Self::Fetch | Self::Cancel => Some(RuleOutcome::Unavailable),
        }
    }
}

/// How often in a row a bad sign must be seen before it is believed.
pub const K_IN_A_ROW: u32 = 3;

/// What a submit came to.
#[derive(Clone, PartialEq, Debug)]
pub enum SubmitAnswer {
    /// The generator has it.
    Accepted {
        /// Its reference there.
        reference: String,
        /// What was extracted beside it.
        vars: BTreeMap<String, String>,
    },
    /// It will never take this.
    Rejected(String),
    /// No job was made; try again.
    Retry(String),
    /// Nobody was there to take it.
    Unavailable(String),
    /// Anything else, and our own death in between.
    Ambiguous(String),
    /// The daemon stopped before the call began: nothing ran.
    NeverCalled(String),
}

/// What a search for our key came to. One search answers for many attempts.
#[derive(Clone, PartialEq, Debug)]
pub enum FindAnswer {
    /// One job carries it.
    One {
        /// Its reference.
        reference: String,
    },
    /// None does.
    None {
        /// Whether every row was seen that could have carried it.
        is_complete: bool,
    },
    /// Several do.
    Several(Vec<String>),
    /// Nobody was there.
    Unavailable(String),
    /// It answered in a way that does not fit the contract.
    Unreadable(String),
}

/// What is known of a blocking run from its run directory and its lock.
#[derive(Clone, PartialEq, Debug)]
pub enum RunReport {
    /// The lock is held, but the runner has not yet written that it started.
    Starting,
    /// The runner holds the lock and has written so.
    Started {
        /// The run directory's name.
        reference: String,
    },
    /// The lock is free and nothing was started.
    NeverStarted(String),
    /// It runs.
    Running,
    /// It exited 0 and there is a piece.
    Piece(Box<Piece>),
    /// It exited 0 and there is no piece.
    NoPiece {
        /// Why not.
        why: String,
        /// What it wrote.
        raw: String,
    },
    /// A rule calls it: it will never do this.
    Rejected(String),
    /// It ended badly, or a rule says: try again.
    Failed(String),
    /// A rule says that nobody was there to do it.
    Unavailable(String),
    /// A rule says that nobody knows what came of it.
    Ambiguous {
        /// Why.
        why: String,
        /// What it wrote.
        raw: String,
    },
    /// The lock is free and there is no exit status.
    Lost {
        /// What is known of it.
        why: String,
        /// What it had written by then.
        raw: String,
    },
    /// Our own stop interrupted it: given back, not spent.
    Interrupted(String),
    /// It was ended because we asked.
    Killed,
    /// It was ended in an orderly way, and not because we asked: the service manager stopped its unit.
    Terminated(String),
}

named! {
    /// A generator's state, translated by the configuration's map.
    JobState {
        /// It waits there.
        Submitted = "submitted",
        /// It is worked on.
        Processing = "processing",
        /// It says that the piece is there.
        Completed = "completed",
        /// It ended badly.
        Failed = "failed",
        /// It was cancelled there.
        Cancelled = "cancelled",
    }
}

/// What a poll said of one job.
#[derive(Clone, PartialEq, Debug)]
pub enum PollAnswer {
    /// A state that the map knows.
    State {
        /// Ours.
        state: JobState,
        /// Theirs, as they wrote it.
        theirs: String,
        /// Their error text.
        error: Option<String>,
        /// Their progress text.
        progress: Option<String>,
        /// What was extracted beside it.
        vars: BTreeMap<String, String>,
    },
    /// A state that the map does not know, output that cannot be read, or none.
    Unreadable(String),
    /// Nobody was there.
    Unavailable(String),
    /// It does not know this job.
    Missing {
        /// A batch sweep that saw every row, or a single poll: only these count.
        is_complete: bool,
        /// Whether the generator was asked for this one job.
        by_name: bool,
    },
}

/// What a fetch came to.
#[derive(Clone, PartialEq, Debug)]
pub enum FetchAnswer {
    /// The piece.
    Piece(Box<Piece>),
    /// It is not finished after all.
    NotReady,
    /// It does not know this job.
    Missing {
        /// What it wrote.
        raw: String,
    },
    /// It answered, and no piece can be read from it.
    Unreadable {
        /// What was wrong.
        why: String,
        /// What it wrote.
        raw: String,
    },
    /// Nobody was there.
    Unavailable(String),
}

/// What a cancel came to.
#[derive(Clone, PartialEq, Debug)]
pub enum CancelAnswer {
    /// It is cancelled: that proves the end.
    Ok,
    /// It does not cancel this, or cannot cancel at all.
    Refused(String),
    /// Nobody was there, the answer is ambiguous, or the job is unknown: the poll decides.
    Unclear(String),
}

/// An image of a piece.
#[derive(Clone, PartialEq, Debug)]
pub struct Image {
    /// Where it is: an address, or a path of the generator's.
    pub url: String,
    /// The JSON object that the generator described it with, kept as it came; none for a bare address.
    pub object_json: Option<String>,
}

impl Image {
    /// An image of which only the address is known.
    pub fn bare(url: impl Into<String>) -> Self {
        Self { url: url.into(), object_json: None }
    }
}

/// What a generator wrote, read but not judged: untrusted text.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Piece {
    /// The text, usually Markdown. Not empty, unless the configuration allows that.
    pub content: String,
    /// The generator's own HTML, not sanitised.
    pub html: Option<String>,
    /// Its images in order.
    pub images: Vec<Image>,
    /// The generator's own score.
    pub score: Option<f64>,
}

/// A line of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutcomeRow {
    /// Of which verb; none is the deadline of an accepted attempt.
    pub verb: Option<Verb>,
    /// What came of it.
    pub outcome: &'static str,
    /// What moves.
    pub moves: &'static str,
    /// What is spent of the task's retries.
    pub spends: Spends,
}

named! {
    /// What an outcome spends.
    Spends {
        /// Nothing.
        Nothing = "nothing",
        /// One of the task's retries.
        Retry = "a retry",
    }
}

macro_rules! outcomes {
    ($($verb:expr, $outcome:literal, $moves:literal, $spends:ident;)+) => {
        &[$(OutcomeRow { verb: $verb, outcome: $outcome, moves: $moves, spends: Spends::$spends }),+]
    };
}

/// The table verb × outcome. `k` is [`K_IN_A_ROW`].
pub const OUTCOMES: &[OutcomeRow] = outcomes! {
    Some(Verb::Submit), "ok, with a reference", "attempt accepted; the time limit starts", Nothing;
    Some(Verb::Submit), "ok, with the reference of another task's job", "attempt unknown, task held; counts as unanswered", Nothing;
    Some(Verb::Submit), "rejected (a rule: it will never take this)", "attempt rejected, task failed", Nothing;
    Some(Verb::Submit), "retry (a rule: no job was made, try again)", "attempt rejected, task pending with back-off", Retry;
    Some(Verb::Submit), "unavailable (a rule: nobody was there to take it)", "attempt withdrawn, task pending and last in line, breaker; after max_retries + 72 of them held", Nothing;
    Some(Verb::Submit), "anything else, or our own death; not idempotent, with find", "attempt unknown, then find", Nothing;
    Some(Verb::Submit), "anything else, or our own death; not idempotent, without find", "attempt unknown; held once the call's lock is free", Nothing;
    Some(Verb::Submit), "of a key that went out before: rejected or retry", "says nothing about the earlier call: as anything else", Nothing;
    Some(Verb::Submit), "of a key that went out before: unavailable", "the repetition is not counted; back-off; breaker", Nothing;
    Some(Verb::Submit), "anything else, or our own death; idempotent", "the same key again once the lock is free, at most max_retries + 1 times within the time limit of the intent; then held", Nothing;
    Some(Verb::Find), "ok, one match of our key", "unknown attempt accepted: adopted", Nothing;
    Some(Verb::Find), "ok, none, and absence proved", "attempt ended (abandoned), task pending with back-off and last in line; after max_retries + 9 of them held", Nothing;
    Some(Verb::Find), "ok, several matches", "task held", Nothing;
    Some(Verb::Find), "ok, one match that is another task's job", "task held", Nothing;
    Some(Verb::Find), "not proved within find_limit", "task held", Nothing;
    Some(Verb::Find), "unavailable or unreadable", "nothing; back-off", Nothing;
    Some(Verb::Run), "started", "attempt accepted, its reference the run directory; the time limit starts", Nothing;
    Some(Verb::Run), "never started, lock free", "attempt withdrawn, task pending", Nothing;
    Some(Verb::Run), "exit 0 with a piece", "as fetch ok", Nothing;
    Some(Verb::Run), "exit 0 without a piece", "task held, output kept", Nothing;
    Some(Verb::Run), "another exit or a signal that no rule names", "attempt ended (failed): retry or failed", Retry;
    Some(Verb::Run), "unavailable (a rule: nobody was there to do it)", "attempt ended (failed), task pending with back-off and last in line, breaker until a job completes; after max_retries + 9 of them held", Nothing;
    Some(Verb::Run), "stopped with its unit, not by us", "attempt ended (cancelled): retry with back-off, or failed", Retry;
    Some(Verb::Run), "lock free, no exit status; free to repeat", "attempt ended (lost): retry or failed", Retry;
    Some(Verb::Run), "lock free, no exit status; not free to repeat", "attempt ended (lost), task held", Nothing;
    Some(Verb::Poll), "ok, submitted or processing", "the task follows", Nothing;
    Some(Verb::Poll), "ok, in the state of dead_when for its time", "task held, its attempt stays accepted; free to repeat: as a run that is lost", Nothing;
    Some(Verb::Poll), "ok, completed", "fetch", Nothing;
    Some(Verb::Poll), "ok, unmapped, unreadable or empty", "nothing; counted; back-off", Nothing;
    Some(Verb::Poll), "unavailable", "nothing; back-off; counted", Nothing;
    Some(Verb::Poll), "missing k times in a row and by poll_one; idempotent", "the same key is submitted again, same attempt", Nothing;
    Some(Verb::Poll), "missing k times in a row and by poll_one; not idempotent", "attempt ended (lost), task held", Nothing;
    Some(Verb::Poll), "failed", "attempt ended (failed): retry with back-off, or failed; the breaker counts", Retry;
    Some(Verb::Poll), "cancelled at the generator, not by us", "attempt ended (cancelled): retry with back-off, or failed", Retry;
    Some(Verb::Fetch), "ok: the piece", "one transaction: completed, content, review, pool", Nothing;
    Some(Verb::Fetch), "not_ready", "poll again", Nothing;
    Some(Verb::Fetch), "unreadable k times in a row", "task held, raw output kept", Nothing;
    Some(Verb::Fetch), "missing", "task held, raw output kept", Nothing;
    Some(Verb::Fetch), "unavailable", "nothing; back-off", Nothing;
    Some(Verb::Cancel), "ok", "attempt ended (cancelled), task cancelled", Nothing;
    Some(Verb::Cancel), "refused, or no cancel verb", "cancelling polls on until the end is proved or the deadline; then cancelled, a job may be alive", Nothing;
    Some(Verb::Cancel), "unavailable, ambiguous or missing", "tried again with back-off; the poll decides", Nothing;
    Some(Verb::Cancel), "completed seen while cancelling", "fetched: the task is completed, the cancel came too late; whether the piece goes out, a person decides", Nothing;
    None, "deadline, and the end is proved", "attempt ended: retry or timeout", Retry;
    None, "deadline, and what is said of the job cannot be read", "no cancel and no new job; after k of them the task is held, its attempt stays accepted", Nothing;
    None, "deadline, and the generator does not answer", "no cancel and no new job: the same job gets a fresh limit, max_retries + 9 times at most; then as if it were alive", Nothing;
    None, "deadline, still alive", "no new job: the same job gets a fresh limit; after the last, timeout, and its attempt is polled slowly for a day", Retry;
};
