//! The mark of a database that was restored from a backup.
//!
//! It is a setting, written into the copy before that takes the database's place, so that no start can miss it. It stays
//! when everything about the restore is done, because pieces that are older than it must not be pooled as if nothing
//! had happened. What it means for tasks is in `task::apply::restored`, who carries it out in `daemon::restored`.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::task::{Attempt, Task, Timestamp};

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
    /// Up to when an earlier restore of this database left things in doubt. Saying that nothing ran since a backup says nothing of
    /// a restore before it.
    #[serde(default)]
    pub earlier_doubt: Option<Timestamp>,
    /// The last audit rows of the databases that this one and those before it took the place of: whoever says that nothing ran
    /// since a backup has to have them in it.
    #[serde(default)]
    pub witnesses: Vec<Witness>,
}

/// An audit row, as far as it tells one from every other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Witness {
    /// Its number.
    pub id: i64,
    /// Of which task.
    pub task_id: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// What happened.
    pub event: String,
}

/// A mark that cannot be read: what it was to hold back is not known.
#[derive(Debug, Error)]
#[error(
    "the mark of a restore (setting {SETTING:?}) cannot be read: {0}; nothing goes on without it: restore a backup, or a copy of \
     this database, without --nothing-ran-since"
)]
pub struct BadMark(#[from] serde_json::Error);

impl RestoreMark {
    /// The mark that a setting holds.
    pub fn parse(json: Option<&str>) -> Result<Option<Self>, BadMark> {
        Ok(json.map(serde_json::from_str).transpose()?)
    }

    /// Up to when what was begun may have been done again by a daemon that this database knows nothing of.
    pub fn doubt(&self) -> Option<Timestamp> {
        if self.is_nothing_since { self.earlier_doubt } else { self.earlier_doubt.max(Some(self.at)) }
    }

    /// As it is stored.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// Whether a piece that comes may have come to a daemon that this database knows nothing of, and have gone out there. `doubt` is
/// up to when there was one.
pub fn may_have_come(
    doubt: Option<Timestamp>,
    task: &Task,
    attempt: Option<&Attempt>,
    is_free_to_repeat: bool,
) -> bool {
    let is_before = |time: Timestamp| doubt.is_some_and(|doubt| time <= doubt);
    // Marked: the lost daemon may have begun it anew. Intended before: it may have had this very job. Free to repeat: nobody was
    // asked before it was begun again.
    task.restored_at.is_some()
        || attempt.is_some_and(|attempt| is_before(attempt.intended_at))
        || is_free_to_repeat && is_before(task.created_at)
}
