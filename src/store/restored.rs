//! The mark of a database that was restored from a backup.
//!
//! It is a setting, written into the copy before that takes the database's place, so that no start can miss it. It stays
//! when everything about the restore is done, because pieces that are older than it must not be pooled as if nothing
//! had happened. What it means for tasks is in `task::apply::restored`, who carries it out in `daemon::restored`.

use serde::{Deserialize, Serialize};

use crate::task::Timestamp;

/// The setting that holds it.
pub const SETTING: &str = "restored";
/// Why a pool entry waits after a restore.
pub const POOL_REASON: &str =
    "the database was restored from a backup, and the piece may have been published since: look there, then release it";

/// A restore.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RestoreMark {
    /// When it was made.
    pub at: Timestamp,
    /// From which file.
    pub file: String,
    /// By whom: `uid:name`.
    pub who: String,
    /// Whoever restored said that no daemon ran between the backup and the restore: then nothing is in doubt.
    pub is_nothing_since: bool,
    /// Every unfinished task and every pool entry was told.
    pub is_done: bool,
}

impl RestoreMark {
    /// The mark that a setting holds. One that cannot be read is none: a newer contentd is refused before it is looked at.
    pub fn parse(json: Option<&str>) -> Option<Self> {
        json.and_then(|json| serde_json::from_str(json).ok())
    }

    /// As it is stored.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}
