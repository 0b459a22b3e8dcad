//! Puts a backup into the place of the database: the old one or the new one, at every instant, and never half of each.
//!
//! A database is a file and the log beside it, and no file system renames two files at once: a new file beside an old log
//! would be read as one. So a restore is decided by one rename, of the finished copy to `NAME.restored-TIME` beside
//! the database. Before it, everything is as it was; after it, whoever opens the database completes the restore
//! first (`finish`, under the owner's lock): the old files get a second name that is kept, the log goes, the copy takes
//! the name. Each of these steps may be done twice. The old database is never deleted and never written to.
//!
//! A name decides nothing by itself: what takes the place is a database with the mark of a restore that nobody has begun.
//!
//! - `more`: what the old database had that the new one has not
//! - `part`: the copy in the making
//! - `past`: what the copy must not forget of the database that it replaces, and of restores before

mod more;
mod part;
mod past;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::check::{self, Judgement};
use super::lock::{LockError, OwnerLock};
use super::{OpenError, beside, ready_path};
use crate::finding::Finding;
use crate::store::restored::{BadMark, RestoreMark};
pub use more::{More, kept_beside, more_in};
use part::Part;
use past::Past;

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
    /// Its mark: with the doubts of earlier restores.
    pub mark: RestoreMark,
}

/// Why nothing was restored: but for [`RestoreError::Decided`], the database is as it was.
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
    /// Whoever restores says that nothing ran since the backup, and the database says that something did.
    #[error(
        "--nothing-ran-since is not so: {} {found} that the backup does not have; restore without it, and what may be done \
         already is held",
        .database.display()
    )]
    RanSince {
        /// The database that was to be replaced.
        database: PathBuf,
        /// What it has, or had before an earlier restore replaced it.
        found: String,
    },
    /// The backup came of a restore, and what that one left in doubt cannot be read.
    #[error("the backup {}: {problem}", .file.display())]
    Mark {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        problem: BadMark,
    },
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
    /// It will be restored, and is not yet.
    #[error(
        "{}: the restore is decided and not completed: {problem}; the next start of contentd completes it, or `contentd \
         restore`; to undo it, remove that file",
        .copy.display()
    )]
    Decided {
        /// The copy that will take the database's place.
        copy: PathBuf,
        /// What went wrong.
        problem: FinishError,
    },
}

/// Why a restore that was decided was not completed.
#[derive(Debug, Error)]
pub enum FinishError {
    /// The file system refuses.
    #[error(transparent)]
    Files(#[from] io::Error),
    /// A file has the name of a restore's copy, and is none.
    #[error("{}: {problem}", .file.display())]
    NoCopy {
        /// Which.
        file: PathBuf,
        /// Why it is none.
        problem: String,
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
    complete(&database, steps)?;
    if is_same_file(&database, file) {
        return Err(RestoreError::Itself(file.to_owned()));
    }
    // The file first, because a copy mends some of what is wrong with it, and its words name the file.
    judged(file, file)?;
    let part = Part::create(&database)?;
    steps("copying");
    part.fill(file)?;
    steps("marking");
    let past = Past::of(&database);
    let mark = past.hand_on(&part, file, mark)?;
    // What takes the place is what is judged, whatever the file's name means by now.
    let judgement = judged(part.path(), file)?;
    steps("copied");
    let has_old = database.symlink_metadata().is_ok();
    let kept = has_old.then(|| beside(&database, &format!("{KEPT}{stamp}")));
    let decided = beside(&database, &format!("{DECIDED}{stamp}"));
    if let Some(kept) = &kept {
        keep_first_where_links_fail(&database, kept)?;
    }
    part.decide(&database, &decided)?;
    steps("decided");
    complete(&database, steps)?;
    Ok(Restored { database, kept, judgement, mark })
}

/// Does what was decided, if anything was.
fn complete(database: &Path, steps: Steps<'_>) -> Result<(), RestoreError> {
    match finish(database, steps) {
        Ok(_) => Ok(()),
        Err(problem) => {
            let copy = decided(database).ok().flatten().map(|(copy, _)| copy);
            Err(RestoreError::Decided { copy: copy.unwrap_or_else(|| database.to_owned()), problem })
        }
    }
}

/// Judges what stands at `path`; its words are about `file`.
fn judged(path: &Path, file: &Path) -> Result<Judgement, RestoreError> {
    let judgement = check::judge(path).map_err(RestoreError::Backup)?;
    if judgement.is_sound() {
        return Ok(judgement);
    }
    let findings = judgement.findings.into_iter().filter(|finding| finding.severity == crate::finding::Severity::Error);
    Err(RestoreError::Unsound { file: file.to_owned(), findings: findings.collect() })
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
    let is_stamp = |stamp: &String| !stamp.is_empty() && stamp.bytes().all(|byte| byte.is_ascii_alphanumeric());
    for entry in entries {
        let entry = entry?;
        let stamp = entry.file_name().to_str().and_then(|name| name.strip_prefix(&prefix)).map(str::to_owned);
        if let Some(stamp) = stamp.filter(is_stamp) {
            return Ok(Some((entry.path(), stamp)));
        }
    }
    Ok(None)
}

/// Completes a restore that was decided; says whether there was one. To be called by the database's owner only.
pub(super) fn finish(database: &Path, steps: Steps<'_>) -> Result<bool, FinishError> {
    let Some((copy, stamp)) = decided(database)? else { return Ok(false) };
    refuse_what_is_no_copy(&copy)?;
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

/// Anybody who may write here may give a file a name, a backup too; only a restore leaves a mark that nobody has begun.
fn refuse_what_is_no_copy(copy: &Path) -> Result<(), FinishError> {
    let no_copy = |problem: String| FinishError::NoCopy { file: copy.to_owned(), problem };
    if !copy.symlink_metadata()?.is_file() {
        return Err(no_copy("it is no regular file".to_owned()));
    }
    let mark = past::mark_in(copy).map_err(no_copy)?;
    match mark {
        Some(mark) if !mark.is_done => Ok(()),
        Some(_) => Err(no_copy("the restore that it is marked with was done before".to_owned())),
        None => Err(no_copy("it has no mark of a restore".to_owned())),
    }
}

/// Not every file system has second names, and the kernel may refuse one of somebody else's file. Then the old files are copied
/// while nothing is decided, so that a full disk is found in time.
fn keep_first_where_links_fail(database: &Path, kept: &Path) -> Result<(), RestoreError> {
    let probe = beside(database, ".restoring-link");
    let pairs = || LOGS.iter().chain([&""]).map(|suffix| (beside(database, suffix), beside(kept, suffix)));
    for (path, _) in pairs() {
        remove_if_there(&probe).map_err(failed(&probe, "removing what a restore left"))?;
        match fs::hard_link(&path, &probe) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let copied = pairs().try_for_each(|(path, kept)| keep(&path, &kept));
                return copied.map_err(|source| {
                    // Nothing was decided: none of it is the way back to anything.
                    pairs().for_each(|(_, kept)| drop(remove_if_there(&kept)));
                    failed(kept, "keeping the old database")(source)
                });
            }
            _ => remove_if_there(&probe).map_err(failed(&probe, "removing a second name"))?,
        }
    }
    Ok(())
}

/// A second name for a file, or a copy under that name, unless it has it by now.
fn keep(path: &Path, kept: &Path) -> io::Result<()> {
    keep_by(path, kept, |path, kept| fs::hard_link(path, kept))
}

fn keep_by(path: &Path, kept: &Path, link: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    // An earlier try came so far; nobody else makes files of this name.
    if kept.symlink_metadata().is_ok() {
        return Ok(());
    }
    match link(path, kept) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => Ok(()),
        Err(_) => {
            // Under its name it is whole, whenever we die.
            let part = beside(kept, ".part");
            remove_if_there(&part)?;
            let mut made = part::create_private(&part)?;
            io::copy(&mut File::open(path)?, &mut made)?;
            made.sync_all()?;
            fs::rename(&part, kept)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_second_name_can_be_given_a_whole_copy_is_kept() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let (old, kept) = (place.path().join("old"), place.path().join("kept"));
        let refuses = |_: &Path, _: &Path| Err(io::Error::from(io::ErrorKind::PermissionDenied));
        keep_by(&place.path().join("no log"), &kept, |path, kept| fs::hard_link(path, kept)).expect("none is no fault");
        assert!(!kept.exists());
        fs::write(&old, "all of it").expect("written");
        fs::write(beside(&kept, ".part"), "of a death").expect("written");
        keep_by(&old, &kept, refuses).expect("copied");
        assert_eq!(fs::read_to_string(&kept).expect("read"), "all of it");
        assert_eq!(fs::metadata(&kept).expect("there").mode() & 0o777, 0o600);
        fs::write(&old, "another").expect("written");
        keep_by(&old, &kept, refuses).expect("kept before");
        assert_eq!(fs::read_to_string(&kept).expect("read"), "all of it");
        assert_eq!(fs::read_dir(place.path()).expect("listed").count(), 2, "no part is left");
    }
}
