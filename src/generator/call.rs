//! What is left of a call once it has ended: how it ended and what it wrote, nothing interpreted.
//!
//! It must not say what the call means; that is [`crate::generator::interpret`]. The surprise: a call that could not
//! be started at all is an end like any other, because the rules of the configuration may name it.

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallEnd {
    /// It exited with this status.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
    /// It was ended by us, because its time limit had passed.
    TimedOut,
    /// Nothing ran; the text names what is wrong and the cure.
    NotStarted(String),
}

/// A call that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallResult {
    /// How it ended.
    pub end: CallEnd,
    /// The beginning of its standard output, within the bound of its execution.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error, within the same bound.
    pub stderr: Vec<u8>,
    /// More was written than was kept.
    pub is_truncated: bool,
}
