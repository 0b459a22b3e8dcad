//! Looking after the database file while its owner runs: how it stands, whether it is whole, and a copy of it.
//!
//! Each call opens a connection of its own, so that none of the pool's readers is held for as long as a large file
//! takes, and blocks its thread. Nothing here changes what the database holds. The surprise: a copy is made by SQLite itself from
//! one state of the database, and writers go on meanwhile: in WAL mode a reader never stops them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;
use thiserror::Error;

use super::whereabouts::Whereabouts;
use super::{beside, connection, existing_uri, log_copying, migrate, read_only_uri};

/// How the database stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseLook {
    /// The file's size.
    pub bytes: u64,
    /// The size of the write-ahead log.
    pub wal_bytes: u64,
    /// Bytes of the file that hold nothing.
    pub free_bytes: u64,
    /// The newest migration in it.
    pub schema_version: String,
    /// Its owner.
    pub uid: u32,
    /// Its permissions.
    pub mode: u32,
}

/// What a copy came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copied {
    /// Its size.
    pub bytes: u64,
    /// The tasks in it.
    pub tasks: u64,
}

/// Why there is no copy. Nothing is left of the try.
#[derive(Debug, Error)]
pub enum BackupError {
    /// Something stands at the place already.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// The place cannot be written to.
    #[error("{} cannot be written ({source})", .path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No room is left.
    #[error("the disk of {} is full ({reason})", .path.display())]
    Full {
        /// Which.
        path: PathBuf,
        /// What was said.
        reason: String,
    },
    /// The copy is not whole.
    #[error("the copy is damaged ({0}), and so may the database be")]
    Damaged(String),
    /// SQLite failed otherwise.
    #[error("{0}")]
    Failed(String),
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

#[derive(QueryableByName)]
struct Checked {
    #[diesel(sql_type = Text)]
    quick_check: String,
}

/// How many faults of a damaged database are told.
const FAULTS_TOLD: usize = 5;

fn open(path: &Path) -> Result<SqliteConnection, String> {
    let mut connection = SqliteConnection::establish(&read_only_uri(path)).map_err(|error| error.to_string())?;
    connection::wait_for_locks(&mut connection).map_err(|error| error.to_string())?;
    Ok(connection)
}

fn number(connection: &mut SqliteConnection, sql: &str) -> Result<u64, String> {
    let row: Number = diesel::sql_query(sql).get_result(connection).map_err(|error| error.to_string())?;
    Ok(u64::try_from(row.number).unwrap_or(0))
}

fn text(connection: &mut SqliteConnection, sql: &str) -> Result<String, String> {
    let row: Line = diesel::sql_query(sql).get_result(connection).map_err(|error| error.to_string())?;
    Ok(row.line)
}

/// Looks at the file and its header. Quick.
pub fn look(path: &Path) -> Result<DatabaseLook, String> {
    let meta = fs::metadata(path).map_err(|error| error.to_string())?;
    let wal_bytes = fs::metadata(beside(path, "-wal")).map_or(0, |meta| meta.len());
    let mut connection = open(path)?;
    let page = number(&mut connection, "SELECT page_size AS number FROM pragma_page_size")?;
    let free = number(&mut connection, "SELECT freelist_count AS number FROM pragma_freelist_count")?;
    let newest = "SELECT coalesce(max(version), 'none') AS line FROM __diesel_schema_migrations";
    let schema_version = text(&mut connection, newest)?;
    let (uid, mode) = (meta.uid(), meta.mode() & 0o7777);
    Ok(DatabaseLook { bytes: meta.len(), wal_bytes, free_bytes: page * free, schema_version, uid, mode })
}

/// Reads every page and says what is wrong. Takes as long as the file is large.
pub fn quick_check(path: &Path) -> Result<Vec<String>, String> {
    faults_of(&mut open(path)?)
}

fn faults_of(connection: &mut SqliteConnection) -> Result<Vec<String>, String> {
    // The table-valued form would take the number for the name of a table.
    let sql = format!("PRAGMA quick_check({FAULTS_TOLD})");
    let lines: Vec<Checked> = diesel::sql_query(sql).load(connection).map_err(|error| error.to_string())?;
    Ok(lines.into_iter().map(|line| line.quick_check).filter(|line| line != "ok").collect())
}

/// The newest migration that this program knows.
pub fn newest_version() -> String {
    migrate::known_versions().pop().unwrap_or_default()
}

/// Copies the database into a new file at `target`: whole, synced, and there under its name only once it was checked.
pub fn copy(database: &Path, target: &Path) -> Result<Copied, BackupError> {
    if target.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(target.to_owned()));
    }
    let part = Part::create(target)?;
    let failed = |reason: String| match reason.as_str() {
        "database or disk is full" => BackupError::Full { path: target.to_owned(), reason },
        _ => BackupError::Failed(reason),
    };
    let mut connection = open(database).map_err(failed)?;
    // An empty file is what SQLite writes into, and its mode stays.
    let copying = diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(part.path.to_string_lossy());
    let whereabouts = Whereabouts::of(database, database).map_err(|error| failed(error.to_string()))?;
    copying.execute(&mut connection).map_err(|error| failed(error.to_string()))?;
    shorten_log(database, whereabouts);
    drop(connection);
    let mut copy = open(&part.path).map_err(failed)?;
    let faults = faults_of(&mut copy).map_err(failed)?;
    if !faults.is_empty() {
        return Err(BackupError::Damaged(faults.join("; ")));
    }
    let tasks = number(&mut copy, "SELECT count(*) AS number FROM tasks").map_err(failed)?;
    drop(copy);
    Ok(Copied { bytes: part.publish(target)?, tasks })
}

/// While a copy is made the log can only grow. What it holds by now is copied into the database here, because else the next commit would,
/// and somebody waits for that. Whatever hinders it, the next commit does it after all.
fn shorten_log(database: &Path, mut whereabouts: Whereabouts) {
    // By its name another file could be written to by now, and the owner is about to say so.
    if whereabouts.look().is_err() {
        return;
    }
    if let Err(error) = copy_log(database) {
        log::warn!("after a copy: the log of {} was not shortened: {error}", database.display());
    }
}

/// SQLite syncs the database only where nothing was left to copy at the end, so it goes on until commits leave it nothing.
fn copy_log(database: &Path) -> Result<(), String> {
    let mut own = SqliteConnection::establish(&existing_uri(database)).map_err(|error| error.to_string())?;
    for _ in 0..MOST_ROUNDS {
        if log_copying::copy(&mut own).map_err(|error| error.to_string())?.is_over() {
            break;
        }
    }
    Ok(())
}

/// Each round copies what was committed during the one before.
const MOST_ROUNDS: usize = 10;

/// The file that a copy is written to. It goes with this, unless it was published.
struct Part {
    path: PathBuf,
}

impl Part {
    fn create(target: &Path) -> Result<Self, BackupError> {
        let path = beside(target, ".part");
        let mut options = OpenOptions::new();
        // Made by us or not at all: a link that somebody put there is not followed.
        match options.write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_) => Ok(Self { path }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(BackupError::Exists(path)),
            Err(source) => Err(BackupError::Unwritable { path, source }),
        }
    }

    /// Gives it its name, which nobody may have taken meanwhile. Returns its size.
    fn publish(self, target: &Path) -> Result<u64, BackupError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists(target.to_owned()),
            io::ErrorKind::StorageFull => BackupError::Full { path: target.to_owned(), reason: source.to_string() },
            _ => BackupError::Unwritable { path: target.to_owned(), source },
        };
        let file = File::open(&self.path).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        // A link instead of a rename: a rename would replace what is there. The first name goes with the drop.
        fs::hard_link(&self.path, target).map_err(failed)?;
        drop(self);
        let directory = target.parent().unwrap_or(Path::new("/"));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(bytes)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // What SQLite may have made beside it goes too; most often there is nothing.
        for path in [self.path.clone(), beside(&self.path, "-journal")] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                log::warn!("{} could not be removed: {error}", path.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite;

    #[test]
    fn a_copy_is_whole_private_and_never_replaces_anything() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let database = dir.path().join("a?b#.db");
        let opened = sqlite::open(&database, 1).expect("it is made");
        let target = dir.path().join("copy %.db");
        let bytes = || fs::metadata(&database).expect("it is there").len();
        let before = bytes();
        let copied = copy(&database, &target).expect("it is copied");
        assert_eq!(copied.tasks, 0);
        assert!(bytes() > before, "what the log held is in the database now: {before} bytes");
        assert_eq!(fs::metadata(&target).expect("it is there").len(), copied.bytes);
        assert_eq!(fs::metadata(&target).expect("it is there").mode() & 0o777, 0o600);
        assert!(matches!(copy(&database, &target), Err(BackupError::Exists(path)) if path == target));
        std::os::unix::fs::symlink("/nowhere", dir.path().join("link.db")).expect("linked");
        assert!(matches!(copy(&database, &dir.path().join("link.db")), Err(BackupError::Exists(_))));
        let missing = copy(&database, &dir.path().join("none/x.db"));
        assert!(matches!(missing, Err(BackupError::Unwritable { .. })), "{missing:?}");
        let left = fs::read_dir(dir.path())
            .expect("listed")
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().contains(".part"));
        assert_eq!(left.count(), 0, "nothing is left of any try");
        drop(opened);
        // The copy is a database of ours like any other.
        sqlite::open(&target, 1).expect("it opens");
    }

    #[test]
    fn a_look_tells_what_the_file_is_and_a_damaged_one_is_told() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let database = dir.path().join("c.db");
        let opened = sqlite::open(&database, 1).expect("it is made");
        let seen = look(&database).expect("it can be looked at");
        assert_eq!((seen.mode, seen.schema_version), (0o600, newest_version()));
        assert_eq!(quick_check(&database), Ok(vec![]));
        drop(opened);
        let mut bytes = fs::read(&database).expect("read");
        // The cells of the pages behind the first ones, overwritten.
        for byte in bytes.iter_mut().skip(3 * 4096) {
            *byte = 0x5a;
        }
        fs::write(&database, bytes).expect("written");
        assert!(quick_check(&database).map_or(true, |faults| !faults.is_empty()));
        assert!(copy(&database, &dir.path().join("copy.db")).is_err());
        assert!(!dir.path().join("copy.db").exists());
    }
}
