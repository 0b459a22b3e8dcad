//! The copy in the making: a file beside the database that nobody looks for.
//!
//! It must not outlive its restore: whatever goes wrong before the decision removes it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;

use super::super::{beside, connection, read_only_uri};
use super::{FinishError, PART, RestoreError, failed, remove_if_there, sync_directory};

/// The copy in the making.
pub(super) struct Part {
    path: PathBuf,
}

/// Makes a file that only we can read.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

impl Part {
    pub(super) fn create(database: &Path) -> Result<Self, RestoreError> {
        let path = beside(database, PART);
        // Of a restore that died. We own the database, so nobody works on it.
        for stale in ["", "-journal", "-wal", "-shm"].map(|suffix| beside(&path, suffix)) {
            remove_if_there(&stale).map_err(failed(&stale, "removing what a restore left"))?;
        }
        create_private(&path).map_err(failed(&path, "making the copy"))?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn not_copied(&self, problem: impl ToString) -> RestoreError {
        RestoreError::NotCopied { path: self.path.clone(), problem: problem.to_string() }
    }

    /// SQLite copies, so that a log beside the backup is in it.
    pub(super) fn fill(&self, file: &Path) -> Result<(), RestoreError> {
        let mut backup = SqliteConnection::establish(&read_only_uri(file)).map_err(|error| self.not_copied(error))?;
        connection::wait_for_locks(&mut backup).map_err(|error| self.not_copied(error))?;
        let copying = diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(self.path.to_string_lossy());
        copying.execute(&mut backup).map(|_| ()).map_err(|error| self.not_copied(error))
    }

    /// To write to, without a log of its own: the copy is one file, and stays one.
    pub(super) fn connection(&self) -> Result<SqliteConnection, RestoreError> {
        let open = || {
            let opened = SqliteConnection::establish(&self.path.to_string_lossy()).map_err(|error| error.to_string());
            let mut copy = opened?;
            let alone = copy.batch_execute("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL");
            alone.map(|()| copy).map_err(|error| error.to_string())
        };
        open().map_err(|problem| self.not_copied(problem))
    }

    /// From here on the restore will be done, by us or by whoever opens the database next.
    pub(super) fn decide(self, database: &Path, decided: &Path) -> Result<(), RestoreError> {
        let name = || {
            File::open(&self.path)?.sync_all()?;
            fs::rename(&self.path, decided)
        };
        name().map_err(failed(decided, "putting the copy beside the database"))?;
        sync_directory(database).map_err(|error| {
            let problem = FinishError::Files(error);
            RestoreError::Decided { copy: decided.to_owned(), problem }
        })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Renamed where all went well.
        if let Err(error) = remove_if_there(&self.path) {
            log::warn!("{} could not be removed: {error}", self.path.display());
        }
    }
}
