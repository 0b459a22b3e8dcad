//! Diesel on SQLite: the daemon's own database, embedded, in one file.
//!
//! - [`open`]: the lock, the look, the migrations, the guard, the connections
//! - `backend`: a batch of writes as one transaction
//! - `rows`: the row operations of a write; SQL and nothing else; `notices`: those of alarms and messages
//! - `queries`: what can be asked, one file a use case, on a pool of read-only connections
//! - `guard`: triggers made of the program's own transition tables
//! - `models`, `schema`: rows and columns
//! - [`upkeep`]: how the file stands, whether it is whole, a copy of it
//! - `lock`, `whereabouts`: that it is ours alone, and that it is still where it was
//! - [`check`]: whether a database holds what contentd promises
//! - [`restore`]: a backup in the place of the database
//!
//! Nothing outside this folder writes SQL. The surprise: the database guards itself, so that a person with a
//! shell, or a bug here, cannot make a row that the state machines do not know.

mod backend;
pub mod check;
mod check_pool;
mod connection;
mod fixed;
pub mod guard;
mod lock;
mod log_copying;
pub mod migrate;
mod models;
mod notices;
mod pool_rows;
pub mod queries;
pub mod restore;
mod rows;
mod schema;
pub mod update;
pub mod upkeep;
mod whereabouts;

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::sqlite::SqliteConnection;
use thiserror::Error;

pub use backend::SqliteBackend;
pub use queries::SqliteQueries;

use lock::{LockError, OwnerLock, lock_path};
use migrate::Look;
use restore::{FinishError, Steps};
use whereabouts::Whereabouts;

use crate::text::no_regular_file;

/// A database that is ours, up to date and guarded.
pub struct Opened {
    /// Its one writer. The database stays ours as long as this lives.
    pub backend: SqliteBackend,
    /// Its readers.
    pub queries: SqliteQueries,
    /// There was none under this name, and it was made now.
    pub is_new: bool,
}

/// Why a database was not opened. Its bytes are as they were, except where a migration failed between two others.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The path cannot name a database.
    #[error("database {}: {problem}; give the path of a file", .path.display())]
    BadPath {
        /// Which.
        path: PathBuf,
        /// Why not.
        problem: &'static str,
    },
    /// The directory or the file cannot be made or used.
    #[error("database {}: {action} failed; give the daemon's user the right to it, or name another path", .path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Neither its directory is there nor the one that it would lie in.
    #[error(
        "database {}: the directory above {} is not there; correct the path, or make it with `mkdir -p {}`",
        .path.display(), .directory.display(), .directory.display()
    )]
    NoDirectory {
        /// Which.
        path: PathBuf,
        /// Its directory.
        directory: PathBuf,
    },
    /// There is no such file.
    #[error("database {}: there is no such file; name one that is there", .path.display())]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// There was a database, and there is none any more: an empty one in its place would forget what is paid for.
    #[error(
        "database {} is gone, and {} says that it was there: put it back with its -wal, or restore a backup with `contentd restore \
         FILE`; remove {} only to begin anew with an empty one",
        .path.display(), .sign.display(), .sign.display()
    )]
    Gone {
        /// Which.
        path: PathBuf,
        /// The file that says so.
        sign: PathBuf,
    },
    /// Another process owns it.
    #[error("database {} is in use by process {owner}; stop that daemon first, or name another database", .path.display())]
    InUse {
        /// Which.
        path: PathBuf,
        /// Its process id, as it wrote it.
        owner: String,
    },
    /// A file beside it has the name of a restore that was decided, and is none.
    #[error("{} has the name of a restore that is to be completed, and is none ({problem}): move that file away, then start again", .file.display())]
    NoRestore {
        /// Which.
        file: PathBuf,
        /// Why it is none.
        problem: String,
    },
    /// The file is something else.
    #[error("{} is not a database of SQLite ({problem}); name another path, or move the file away", .path.display())]
    NotADatabase {
        /// Which.
        path: PathBuf,
        /// What SQLite said.
        problem: String,
    },
    /// The file is broken.
    #[error("database {} is damaged ({problem}); it was left as it is: restore a backup, or copy what is readable with `sqlite3 FILE .recover`", .path.display())]
    Corrupt {
        /// Which.
        path: PathBuf,
        /// What SQLite said.
        problem: String,
    },
    /// Another program holds a transaction open.
    #[error("database {} is locked by another program, a shell or a backup tool: end it, then start again", .path.display())]
    Locked {
        /// Which.
        path: PathBuf,
    },
    /// There is no room for what a start writes.
    #[error("database {}: its file system is full: make room, then start again; nothing of it is lost", .path.display())]
    Full {
        /// Which.
        path: PathBuf,
    },
    /// Its file system takes no writes at all.
    #[error("database {}: its file system is mounted read-only: mount it for writing, or name another path", .path.display())]
    ReadOnly {
        /// Which.
        path: PathBuf,
    },
    /// The disk fails.
    #[error("database {}: the disk failed ({problem}): look at the disk, the kernel's log says more, then start again", .path.display())]
    DiskFailed {
        /// Which.
        path: PathBuf,
        /// What SQLite said.
        problem: String,
    },
    /// The database belongs to another program.
    #[error("{} is a database of another program (application id {application_id}, contentd's is {}); name another path", .path.display(), migrate::APPLICATION_ID)]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What it calls itself.
        application_id: i64,
    },
    /// A newer contentd has written it.
    #[error("database {} is of a newer contentd: it has migration {theirs}, and this one knows up to {ours}; start that version, or restore a backup", .path.display())]
    Newer {
        /// Which.
        path: PathBuf,
        /// The newest migration that is in it and unknown here.
        theirs: String,
        /// The newest migration that is known here.
        ours: String,
    },
    /// It could not be brought up to date.
    #[error("database {} cannot be brought up to date: {problem}", .path.display())]
    Migration {
        /// Which.
        path: PathBuf,
        /// What failed.
        problem: String,
    },
    /// SQLite failed otherwise.
    #[error("database {}: {problem}", .path.display())]
    Failed {
        /// Which.
        path: PathBuf,
        /// What it said.
        problem: String,
    },
}

/// Opens the database at `path`, which is made where it is not there, with up to `readers` reading connections.
pub fn open(path: &Path, readers: u32) -> Result<Opened, OpenError> {
    open_in_steps(path, readers, &mut |step| log::debug!("opening the database: {step}"))
}

/// The same, told before each step that changes something.
pub fn open_in_steps(named: &Path, readers: u32, steps: Steps<'_>) -> Result<Opened, OpenError> {
    let path = ready_path(named)?;
    let not_locked = |error| match error {
        LockError::Held(owner) => OpenError::InUse { path: path.clone(), owner },
        LockError::Io(source) => unusable(&path, "locking it", source),
    };
    let mut lock = OwnerLock::take(&path).map_err(not_locked)?;
    restore::finish(&path, steps).map_err(|error| match error {
        FinishError::Files(source) => unusable(&path, "completing a restore", source),
        FinishError::NoCopy { file, problem } => OpenError::NoRestore { file, problem },
    })?;
    refuse_what_is_gone(&path, &lock)?;
    let is_new = path.symlink_metadata().is_err();
    create_file(&path)?;
    // A restore has put another file there, or it was made just now.
    lock.take_database(&path).map_err(not_locked)?;
    if refuse_what_is_not_ours(&path)? == Look::Ours {
        keep_before_migration(&path, steps)?;
    }
    let connection = writing_connection(&path, steps)?;
    let pool = reading_pool(&path, readers)?;
    lock.note_database().map_err(|source| unusable(&path, "noting that it is there", source))?;
    let whereabouts = Whereabouts::of(named, &path).map_err(|source| unusable(&path, "looking at it", source))?;
    let backend = SqliteBackend::new(connection, whereabouts, lock);
    Ok(Opened { backend, queries: SqliteQueries::new(pool), is_new })
}

/// Where a database was and is none, its name is not given to an empty one: that would forget every job that is paid for, and
/// SQLite would throw away the log of a database that it finds empty.
fn refuse_what_is_gone(path: &Path, lock: &OwnerLock) -> Result<(), OpenError> {
    let is_missing = matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
    if !is_missing {
        return Ok(());
    }
    let log = beside(path, "-wal");
    let has_log = log.metadata().is_ok_and(|meta| meta.len() > 0);
    let sign = has_log.then_some(log).or_else(|| lock.has_seen_a_database().then(|| lock_path(path)));
    sign.map_or(Ok(()), |sign| Err(OpenError::Gone { path: path.to_owned(), sign }))
}

/// Sorts what the system says by what a person can do about it.
fn unusable(path: &Path, action: &'static str, source: io::Error) -> OpenError {
    let path = path.to_path_buf();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OpenError::Full { path },
        io::ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly { path },
        _ => OpenError::Unusable { path, action, source },
    }
}

/// The path without links, so that two names of one file meet at one lock; its directory is made.
fn ready_path(path: &Path) -> Result<PathBuf, OpenError> {
    let bad = |problem| OpenError::BadPath { path: path.to_path_buf(), problem };
    if path.to_str().is_none() {
        return Err(bad("the path is not UTF-8"));
    }
    if let Some(problem) = path.metadata().ok().and_then(|meta| no_regular_file(meta.file_type())) {
        return Err(bad(problem));
    }
    let unusable = |action| move |source| unusable(path, action, source);
    let absolute = std::path::absolute(path).map_err(unusable("finding it"))?;
    if absolute.exists() {
        return absolute.canonicalize().map_err(unusable("finding it"));
    }
    let (Some(directory), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(bad("it names no file"));
    };
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
        // Whoever mistypes a path gets no tree of directories and no empty database in it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::NoDirectory { path: path.to_path_buf(), directory: directory.to_owned() });
        }
        Err(error) => return Err(unusable("making its directory")(error)),
    }
    Ok(directory.canonicalize().map_err(unusable("finding its directory"))?.join(name))
}

/// SQLite would make the file with the umask's mode; the log beside it takes the file's own.
fn create_file(path: &Path) -> Result<(), OpenError> {
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    opened.map(|_| ()).map_err(|source| unusable(path, "opening it for writing", source))
}

/// A file that belongs to the database, by what its name adds: `-wal`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A URI, because only a URI can ask for a read-only connection; what has a meaning there is escaped.
fn read_only_uri(path: &Path) -> String {
    uri(path, "ro")
}

/// To read and write what is there. A path alone would have SQLite make an empty database where the file was moved away: a
/// connection that the pool opens in that moment must not, for the next start would take the empty one for the old.
fn existing_uri(path: &Path) -> String {
    uri(path, "rw")
}

fn uri(path: &Path, mode: &str) -> String {
    let escaped = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    format!("file:{escaped}?mode={mode}")
}

fn refuse_what_is_not_ours(path: &Path) -> Result<Look, OpenError> {
    let mut connection = SqliteConnection::establish(&read_only_uri(path)).map_err(failed_as(path))?;
    // The last connection of an owner that ended just now may still fold its log into the file.
    connection::wait_for_locks(&mut connection).map_err(failed_as(path))?;
    let look = migrate::look(&mut connection).map_err(failed_as(path))?;
    if look == Look::Ours {
        migrate::read_what_a_start_needs(&mut connection).map_err(failed_as(path))?;
    }
    let path = path.to_path_buf();
    match look {
        Look::Empty | Look::Ours => Ok(look),
        Look::Foreign(application_id) => Err(OpenError::Foreign { path, application_id }),
        Look::Newer { theirs, ours } => Err(OpenError::Newer { path, theirs, ours }),
    }
}

/// A copy of the database as it is, before it gets a form that an older contentd refuses: the way back. It is made once, is
/// never deleted by us, and without it nothing is changed.
fn keep_before_migration(path: &Path, steps: Steps<'_>) -> Result<(), OpenError> {
    let mut connection = SqliteConnection::establish(&read_only_uri(path)).map_err(failed_as(path))?;
    connection::wait_for_locks(&mut connection).map_err(failed_as(path))?;
    let version = migrate::version_of(&mut connection).map_err(failed_as(path))?;
    let newest = migrate::known_versions().pop();
    drop(connection);
    let (Some(version), Some(newest)) = (version, newest) else { return Ok(()) };
    let kept = beside(path, &format!(".before-{newest}"));
    if version == newest || kept.symlink_metadata().is_ok() {
        return Ok(());
    }
    steps("copying before a migration");
    let migration = |problem: String| OpenError::Migration { path: path.to_path_buf(), problem };
    // Of a start that died while it copied; the database is ours alone.
    for stale in ["", "-journal"].map(|suffix| beside(&kept, &format!(".part{suffix}"))) {
        match std::fs::remove_file(&stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(migration(error.to_string())),
            _ => {}
        }
    }
    upkeep::copy(path, &kept).map_err(|error| migration(format!("no copy of it could be kept: {error}")))?;
    steps("copied before a migration");
    log::info!("the database has form {version} and is brought to {newest}; a copy is kept: {}", kept.display());
    Ok(())
}

fn writing_connection(path: &Path, steps: Steps<'_>) -> Result<SqliteConnection, OpenError> {
    let mut connection = SqliteConnection::establish(&existing_uri(path)).map_err(failed_as(path))?;
    connection::prepare_writer(&mut connection).map_err(failed_as(path))?;
    migrate::migrate_in_steps(&mut connection, steps)
        .map_err(|problem| OpenError::Migration { path: path.to_path_buf(), problem })?;
    let install = |connection: &mut SqliteConnection| {
        guard::install(connection)?;
        steps("before the commit of the guard");
        QueryResult::Ok(())
    };
    connection.immediate_transaction(install).map_err(failed_as(path))?;
    steps("opened");
    Ok(connection)
}

fn reading_pool(path: &Path, readers: u32) -> Result<Pool<ConnectionManager<SqliteConnection>>, OpenError> {
    Pool::builder()
        .max_size(readers.max(1))
        .min_idle(Some(1))
        .test_on_check_out(false)
        .connection_customizer(Box::new(connection::ReaderSetup))
        .build(ConnectionManager::new(existing_uri(path)))
        .map_err(failed_as(path))
}

/// Sorts SQLite's failures at the opening by what a person can do about them.
fn failed_as<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> OpenError {
    let path = path.to_path_buf();
    move |error| {
        let (path, problem) = (path.clone(), error.to_string());
        if problem.contains("file is not a database") {
            OpenError::NotADatabase { path, problem }
        } else if problem.contains("malformed") {
            OpenError::Corrupt { path, problem }
        } else if problem.contains("is locked") {
            OpenError::Locked { path }
        } else if problem.contains("disk is full") {
            OpenError::Full { path }
        } else if problem.contains("disk I/O error") {
            OpenError::DiskFailed { path, problem }
        } else if problem.contains("readonly") || problem.contains("unable to open") {
            let source = io::Error::new(io::ErrorKind::PermissionDenied, problem);
            OpenError::Unusable { path, action: "writing beside it", source }
        } else {
            OpenError::Failed { path, problem }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_connection_makes_a_database_that_is_not_there() {
        let dir = tempfile::tempdir().expect("made");
        let (path, aside) = (dir.path().join("strange?#%20.db"), dir.path().join("aside"));
        assert!(SqliteConnection::establish(&existing_uri(&path)).is_err());
        assert!(!path.exists(), "it was not made by asking for it");
        drop(open(&path, 2).expect("a new one"));
        assert!(SqliteConnection::establish(&existing_uri(&path)).is_ok());
        std::fs::rename(&path, &aside).expect("moved");
        let connect = || ConnectionManager::<SqliteConnection>::new(existing_uri(&path));
        assert!(diesel::r2d2::ManageConnection::connect(&connect()).is_err(), "as the pool does");
        assert!(!path.exists(), "an empty one would be taken for the old at the next start");
    }
}
