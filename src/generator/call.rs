//! What is left of one call of a generator's command when it is over.
//!
//! Plain data between the two halves of the driver: [`super::exec`] fills it, interpretation reads it. It must not
//! judge: whether an exit status is good or bad depends on the verb. The surprise: `stdout` and `stderr` are bytes,
//! because nothing promises that a generator writes UTF-8.

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallEnd {
    /// The command exited with this status.
    Exited(i32),
    /// A signal that was not ours ended it.
    Signalled(i32),
    /// Its time was up, or nobody waited for it any more; we ended it.
    TimedOut,
    /// Nothing was started. The text names the path and the cure.
    NotStarted(String),
}

/// A finished call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallResult {
    /// How it ended.
    pub end: CallEnd,
    /// What it wrote to standard output, as far as the bound allows.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, as far as the bound allows.
    pub stderr: Vec<u8>,
    /// Something is missing at the end of one of them: the bound was reached, or a process that the command left
    /// behind was still writing when we stopped to read.
    pub is_truncated: bool,
}

impl CallResult {
    /// A call of which nothing was started.
    pub fn not_started(why: impl Into<String>) -> Self {
        let end = CallEnd::NotStarted(why.into());
        Self { end, stdout: Vec::new(), stderr: Vec::new(), is_truncated: false }
    }
}
