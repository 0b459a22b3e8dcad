//! Puts a backup into the place of the database: the old one or the new one, at every instant, and never half of each.
//!
//! A database is a file and the log beside it, and no file system renames two files at once: a new file beside an old log
//! would be read as one. So a restore is decided by one rename, of the finished copy to `NAME.restored-TIME` beside
//! the database. Before it, everything is as it was; after it, whoever opens the database completes the restore
//! first ([`finish`], under the owner's lock): the old files get a second name that is kept, the log goes, the copy takes
//! the name. Each of these steps may be done twice. The old database is never deleted and never written to.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use thiserror::Error;

use super::check::{self, Judgement};
use super::lock::{LockError, OwnerLock};
use super::{OpenError, beside, read_only_uri, ready_path};
use crate::finding::Finding;
use crate::store::restored::{RestoreMark, SETTING};

/// Told before each step: where a restore stands, for its log; where a test ends it.
pub type Steps<'a> = &'a mut dyn FnMut(&'static str);

/// The copy while it is made; nobody looks for it.
const PART: &str = ".restoring";
/// The finished copy that takes the database's place, followed by its time.
const DECIDED: &str = ".restored-";
/// What the old database is called afterwards, followed by the same time.
const KEPT: &str = ".before-restore-";
/// Files of SQLite's beside a database that hold data.
const LOGS: [&str; 2] = ["-wal", "-journal"];

/// What a restore came to.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The database that has a new content.
    pub database: PathBuf,
    /// What the old one is called now; none where there was none.
    pub kept: Option<PathBuf>,
    /// What the restored one holds.
    pub judgement: Judgement,
}

/// Why nothing was restored. The database is as it was.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// A daemon runs, or the place is none.
    #[error(transparent)]
    Database(OpenError),
    /// The backup is no database that this program can run on.
    #[error("the backup cannot be restored: {0}")]
    Backup(OpenError),
    /// The backup is broken.
    #[error("the backup {} is not sound: {}; restore another one", .file.display(), told(.findings))]
    Unsound {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        findings: Vec<Finding>,
    },
    /// The backup is the database itself.
    #[error("{} is the database itself; name a backup of it", .0.display())]
    Itself(PathBuf),
    /// SQLite could not copy it.
    #[error("the backup cannot be copied to {}: {problem}", .path.display())]
    NotCopied {
        /// Where to.
        path: PathBuf,
        /// What it said.
        problem: String,
    },
    /// The file system refuses.
    #[error("{}: {action}: {source}; nothing was restored", .path.display())]
    Files {
        /// Which.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn told(findings: &[Finding]) -> String {
    let lines: Vec<String> =
        findings.iter().take(5).map(|fault| format!("{}: {}", fault.subject, fault.found)).collect();
    lines.join("; ")
}

/// Puts a copy of `file` into the place of `database`, marked as restored. `stamp` names what is kept: letters, digits.
pub fn restore(
    database: &Path,
    file: &Path,
    mark: &RestoreMark,
    stamp: &str,
    steps: Steps<'_>,
) -> Result<Restored, RestoreError> {
    let database = ready_path(database).map_err(RestoreError::Database)?;
    let _lock = own(&database)?;
    // A restore that died after its decision is done first: what it put there is what is kept now.
    finish(&database, steps).map_err(failed(&database, "completing an earlier restore"))?;
    if is_same_file(&database, file) {
        return Err(RestoreError::Itself(file.to_owned()));
    }
    let judgement = check::judge(file).map_err(RestoreError::Backup)?;
    if !judgement.is_sound() {
        let findings =
            judgement.findings.into_iter().filter(|finding| finding.severity == crate::finding::Severity::Error);
        return Err(RestoreError::Unsound { file: file.to_owned(), findings: findings.collect() });
    }
    let part = Part::create(&database)?;
    steps("copying");
    part.fill(file)?;
    steps("marking");
    part.mark(mark)?;
    steps("copied");
    let kept = database.symlink_metadata().is_ok().then(|| beside(&database, &format!("{KEPT}{stamp}")));
    part.decide(&database, stamp)?;
    steps("decided");
    finish(&database, steps).map_err(failed(&database, "taking its place"))?;
    Ok(Restored { database, kept, judgement })
}

fn failed(path: &Path, action: &'static str) -> impl Fn(io::Error) -> RestoreError {
    move |source| RestoreError::Files { path: path.to_owned(), action, source }
}

/// Nobody else opens it meanwhile.
fn own(database: &Path) -> Result<OwnerLock, RestoreError> {
    let lock = OwnerLock::take(database).map_err(|error| {
        let path = database.to_owned();
        RestoreError::Database(match error {
            LockError::Held(owner) => OpenError::InUse { path, owner },
            LockError::Io(source) => OpenError::Unusable { path, action: "locking it", source },
        })
    })?;
    Ok(lock)
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    matches!((id(one), id(other)), (Ok(one), Ok(other)) if one == other)
}

fn directory_of(database: &Path) -> &Path {
    database.parent().unwrap_or(Path::new("/"))
}

fn sync_directory(database: &Path) -> io::Result<()> {
    File::open(directory_of(database))?.sync_all()
}

/// The copy in the making.
struct Part {
    path: PathBuf,
}

impl Part {
    fn create(database: &Path) -> Result<Self, RestoreError> {
        let path = beside(database, PART);
        // Of a restore that died. We own the database, so nobody works on it.
        for stale in ["", "-journal", "-wal", "-shm"].map(|suffix| beside(&path, suffix)) {
            remove_if_there(&stale).map_err(failed(&stale, "removing what a restore left"))?;
        }
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(failed(&path, "making the copy"))?;
        Ok(Self { path })
    }

    fn not_copied(&self, problem: impl ToString) -> RestoreError {
        RestoreError::NotCopied { path: self.path.clone(), problem: problem.to_string() }
    }

    /// SQLite copies, so that a log beside the backup is in it.
    fn fill(&self, file: &Path) -> Result<(), RestoreError> {
        let mut backup = SqliteConnection::establish(&read_only_uri(file)).map_err(|error| self.not_copied(error))?;
        super::connection::wait_for_locks(&mut backup).map_err(|error| self.not_copied(error))?;
        let copying = diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(self.path.to_string_lossy());
        copying.execute(&mut backup).map(|_| ()).map_err(|error| self.not_copied(error))
    }

    fn mark(&self, mark: &RestoreMark) -> Result<(), RestoreError> {
        let json = mark.to_json().map_err(|error| self.not_copied(error))?;
        let write = || -> Result<(), String> {
            let mut copy =
                SqliteConnection::establish(&self.path.to_string_lossy()).map_err(|error| error.to_string())?;
            // Without a log of its own: the copy is one file, and stays one.
            copy.batch_execute("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL")
                .map_err(|error| error.to_string())?;
            let put = "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            let put = diesel::sql_query(put).bind::<Text, _>(SETTING).bind::<Text, _>(json);
            put.execute(&mut copy).map(|_| ()).map_err(|error| error.to_string())
        };
        write().map_err(|problem| self.not_copied(problem))
    }

    /// From here on the restore will be done, by us or by whoever opens the database next.
    fn decide(self, database: &Path, stamp: &str) -> Result<(), RestoreError> {
        let decided = beside(database, &format!("{DECIDED}{stamp}"));
        let decide = || {
            File::open(&self.path)?.sync_all()?;
            fs::rename(&self.path, &decided)?;
            sync_directory(database)
        };
        decide().map_err(failed(&decided, "putting the copy beside the database"))
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

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A restore that was decided and not completed: its copy and its time.
pub(super) fn decided(database: &Path) -> io::Result<Option<(PathBuf, String)>> {
    let Some(name) = database.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    let prefix = format!("{name}{DECIDED}");
    let entries = match fs::read_dir(directory_of(database)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let stamp = entry.file_name().to_str().and_then(|name| name.strip_prefix(&prefix)).map(str::to_owned);
        if let Some(stamp) = stamp.filter(|stamp| stamp.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            return Ok(Some((entry.path(), stamp)));
        }
    }
    Ok(None)
}

/// Completes a restore that was decided; says whether there was one. To be called by the database's owner only.
pub(super) fn finish(database: &Path, steps: Steps<'_>) -> io::Result<bool> {
    let Some((copy, stamp)) = decided(database)? else { return Ok(false) };
    let kept = beside(database, &format!("{KEPT}{stamp}"));
    steps("keeping the old log");
    // The log first: a kept database without its log would be an older one than it was.
    for suffix in LOGS {
        keep(&beside(database, suffix), &beside(&kept, suffix))?;
    }
    steps("keeping the old database");
    keep(database, &kept)?;
    sync_directory(database)?;
    for suffix in ["-wal", "-journal", "-shm"] {
        steps("removing the old log");
        remove_if_there(&beside(database, suffix))?;
    }
    sync_directory(database)?;
    steps("taking the name");
    fs::rename(&copy, database)?;
    steps("taken");
    sync_directory(database)?;
    Ok(true)
}

/// A second name for a file, unless it has it by now.
fn keep(path: &Path, kept: &Path) -> io::Result<()> {
    match fs::hard_link(path, kept) {
        // An earlier try came so far; nobody else makes files of this name.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => Ok(()),
        other => other,
    }
}
