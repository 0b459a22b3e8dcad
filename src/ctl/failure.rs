//! What can go wrong, with its exit code and its message.
//!
//! Exit codes: 0 done, 1 refused, 2 usage, 3 unreachable, 4 timed out, 5 a waited-for task ended otherwise than
//! completed. The surprise: a reader that closes our output early (`| head`) is no failure.

use std::io;

use thiserror::Error;

use super::output::say;
use super::text::safe_lines;
use super::when::in_local_times;
use crate::control::api::ApiError;
use crate::control::client::ClientError;

/// Why a verb did not do what was asked.
#[derive(Debug, Error)]
pub enum Failure {
    /// The call failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was typed cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// The daemon, or a file, does not allow it.
    #[error("{0}")]
    Refused(String),
    /// A file or the output failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A task that was waited for ended otherwise than completed; said already.
    #[error("not every task was completed")]
    NotCompleted,
    /// Something is wrong; said already.
    #[error("not everything is well")]
    NotWell,
    /// How it goes, as monitoring systems count; said already.
    #[error("not everything is well")]
    Health(u8),
    /// It lasted too long.
    #[error("{0}")]
    TimedOut(String),
}

impl Failure {
    /// An option's value that cannot be taken.
    pub fn usage(option: &str, value: &str, cure: &str) -> Self {
        Self::Usage(format!("{option}: {value:?} cannot be taken: {cure}"))
    }

    fn code(&self) -> u8 {
        match self {
            Self::Client(ClientError::Unreachable { .. } | ClientError::Cut { .. }) => 3,
            Self::Client(ClientError::Refused(ApiError::Draining)) => 3,
            Self::Client(ClientError::TimedOut) | Self::TimedOut(_) => 4,
            Self::Client(_) | Self::Refused(_) | Self::Io(_) | Self::NotWell => 1,
            Self::Usage(_) => 2,
            Self::NotCompleted => 5,
            Self::Health(code) => *code,
        }
    }
}

/// Prints a failure and gives the exit code.
pub fn exit_code(result: Result<(), Failure>) -> u8 {
    let Err(failure) = result else { return 0 };
    if let Failure::Io(error) = &failure
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        return 0;
    }
    if !matches!(failure, Failure::NotCompleted | Failure::NotWell | Failure::Health(_)) {
        say(&format!("contentctl: {}", safe_lines(&in_local_times(&failure.to_string()))));
    }
    failure.code()
}
