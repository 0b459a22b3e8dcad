//! `io.contentd.Daemon`, the part that looks after the installation: the doctor, trials of generators, backups.

use serde::{Deserialize, Serialize};

pub use crate::finding::{Finding, Severity};

/// `Doctor` and `TryGenerator`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FindingsReply {
    /// What was looked at, each with how it is.
    pub findings: Vec<Finding>,
}

/// `TryGenerator`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TryGeneratorParams {
    /// Which.
    pub generator: String,
}

/// `Backup`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupParams {
    /// The file to make; none: one with the time in its name, in the daemon's directory for backups.
    #[serde(default)]
    pub file: Option<String>,
    /// How many of those with the time in their name to keep; none: all.
    #[serde(default)]
    pub keep: Option<i64>,
}

/// `Backup`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackupReply {
    /// The file that was made.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// The tasks in it.
    pub tasks: u64,
    /// Older backups that were deleted.
    pub deleted: Vec<String>,
}
