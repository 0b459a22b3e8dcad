//! Backups: where a copy of the database goes, and which old ones go.
//!
//! The copy itself is the store's. Only files that carry the pattern of an automatic backup's name, in the daemon's own
//! directory, are ever deleted. The surprise: the daemon writes the file, as its own user and within its own sandbox, so a
//! place that the caller may write to can still be refused.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::DaemonBackend;
use crate::control::api::{ApiError, BackupReply, Peer};
use crate::store::sqlite::upkeep::{self, BackupError};
use crate::text::counted;

const PREFIX: &str = "contentd-";
const SUFFIX: &str = ".db";
/// `YYYYMMDDTHHMMSSZ`.
const TIME_FORMAT: &str = "%Y%m%dT%H%M%SZ";
const TIME_LEN: usize = 16;
/// A part that is older than this belongs to a backup that died.
const STALE_PART: Duration = Duration::from_secs(24 * 3600);
/// How many seconds ahead a free name is looked for.
const NAMES_TRIED: i64 = 60;

impl DaemonBackend {
    pub(super) async fn back_up(
        &self,
        peer: &Peer,
        file: Option<String>,
        keep: Option<u32>,
    ) -> Result<BackupReply, ApiError> {
        self.refuse_while_stopping()?;
        let slots = std::sync::Arc::clone(&self.installation.slots);
        let _slot = slots.backup.acquire().await.map_err(ApiError::internal)?;
        let (database, backups) = (self.installation.database.clone(), self.installation.backups.clone());
        let (answer, answered) = tokio::sync::oneshot::channel();
        let work = move || {
            // Whoever asked may have gone; the backup is there all the same.
            let _ = answer.send(make(&database, &backups, file, keep));
        };
        // A thread of its own: a large copy must not hold up the end of the daemon, which leaves only a part behind.
        let started = std::thread::Builder::new().name("backup".into()).spawn(work);
        started.map_err(|error| ApiError::internal(format!("no thread for the backup: {error}")))?;
        let reply = answered.await.map_err(|_| ApiError::internal("the backup broke off"))??;
        let tasks = counted(reply.tasks, "task", "tasks");
        log::info!("{} made a backup: {}, {} bytes, {tasks}", peer.label(), reply.file, reply.bytes);
        Ok(reply)
    }
}

fn make(database: &Path, backups: &Path, file: Option<String>, keep: Option<u32>) -> Result<BackupReply, ApiError> {
    let target = match file {
        Some(file) => named_target(file, database, backups, std::env::var_os("INVOCATION_ID").is_some())?,
        None => {
            prepare(backups).map_err(|error| refused(backups, &error.to_string(), &own_place(backups)))?;
            free_name(backups, jiff::Timestamp::now())
        }
    };
    let copied = upkeep::copy(database, &target).map_err(|error| told(&target, backups, &error))?;
    let deleted = keep.map(|keep| delete_oldest(backups, keep as usize, &target)).unwrap_or_default();
    Ok(BackupReply {
        file: target.to_string_lossy().into_owned(),
        bytes: copied.bytes,
        tasks: copied.tasks,
        deleted: deleted.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
    })
}

fn named_target(file: String, database: &Path, backups: &Path, is_service: bool) -> Result<PathBuf, ApiError> {
    let path = PathBuf::from(&file);
    let is_file = path.is_absolute() && path.file_name().is_some() && !file.ends_with('/') && !file.contains('\0');
    if !is_file {
        return Err(ApiError::invalid("file", &file, "an absolute path of a file that is not there yet"));
    }
    // A backup there would be told and then be gone.
    if is_service && ["/tmp", "/var/tmp"].iter().any(|private| path.starts_with(private)) {
        let reason =
            "as a service the daemon has a /tmp and a /var/tmp of its own, which nobody else sees and which go with it";
        return Err(refused(&path, reason, &own_place(backups)));
    }
    if path.file_name().and_then(|name| name.to_str()).is_some_and(is_automatic) {
        let reason = "files of such names are made and deleted by themselves";
        return Err(refused(&path, reason, "give it another name, or leave FILE out"));
    }
    if is_named_after(&path, database) {
        let reason = "a file whose name begins with the database's own belongs to it: a log, or a restore that is to be completed";
        return Err(refused(&path, reason, "give it another name or another directory, or leave FILE out"));
    }
    Ok(path)
}

/// Whether a file would stand beside the database with a name that begins as the database's does.
fn is_named_after(path: &Path, database: &Path) -> bool {
    let directory =
        |path: &Path| path.parent().map(|parent| parent.canonicalize().unwrap_or_else(|_| parent.to_owned()));
    let name = |path: &Path| path.file_name().map(|name| name.as_encoded_bytes().to_owned());
    let (Some(path_name), Some(own)) = (name(path), name(database)) else { return false };
    path_name.starts_with(&own) && directory(path) == directory(database)
}

fn refused(path: &Path, reason: &str, cure: &str) -> ApiError {
    ApiError::BackupRefused { file: path.display().to_string(), reason: reason.to_owned(), cure: cure.to_owned() }
}

fn own_place(backups: &Path) -> String {
    format!(
        "the daemon writes it itself, as its own user and within its sandbox: leave FILE out and copy it from {}, or let the \
         daemon in (chown, and ReadWritePaths= in a drop-in)",
        backups.display()
    )
}

fn told(target: &Path, backups: &Path, error: &BackupError) -> ApiError {
    let reason = error.to_string();
    match error {
        BackupError::Exists(path) if path != target => {
            let cure = format!("if no backup goes on, remove it: `sudo rm {}`", path.display());
            refused(target, &reason, &cure)
        }
        BackupError::Exists(_) => refused(target, &reason, "name another file; nothing is ever replaced"),
        BackupError::Unwritable { .. } => refused(target, &reason, &own_place(backups)),
        BackupError::Full { .. } => refused(target, &reason, "make room there, or name a file on another disk"),
        BackupError::Damaged(_) | BackupError::Failed(_) => {
            refused(target, &reason, "`contentctl doctor` checks the database itself")
        }
    }
}

/// Makes the directory and clears away what died in it.
fn prepare(backups: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(backups)?;
    for entry in fs::read_dir(backups)?.flatten() {
        let name = entry.file_name();
        let is_part = name.to_str().and_then(|name| name.strip_suffix(".part")).is_some_and(is_automatic);
        let age = entry.metadata().and_then(|meta| meta.modified()).map(|at| SystemTime::now().duration_since(at));
        if is_part && age.is_ok_and(|age| age.is_ok_and(|age| age > STALE_PART)) {
            remove(&entry.path());
        }
    }
    Ok(())
}

/// Two backups within a second must not meet.
fn free_name(backups: &Path, now: jiff::Timestamp) -> PathBuf {
    let name = |ahead: i64| {
        let at = now.checked_add(jiff::SignedDuration::from_secs(ahead)).unwrap_or(now);
        backups.join(format!("{PREFIX}{}{SUFFIX}", at.strftime(TIME_FORMAT)))
    };
    (0..NAMES_TRIED).map(name).find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| name(0))
}

/// Whether a file's name is one that we give.
fn is_automatic(name: &str) -> bool {
    let time = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    time.is_some_and(|time| {
        let is_right = |(at, byte): (usize, u8)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        };
        time.len() == TIME_LEN && time.bytes().enumerate().all(is_right)
    })
}

/// Keeps the youngest and the one that was just made, whatever their names say: the clock may have been ahead. One that was made
/// under a name of the caller's own is none of those that are counted.
fn delete_oldest(backups: &Path, keep: usize, made: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(backups).into_iter().flatten().flatten();
    let is_ours = |entry: &fs::DirEntry| {
        entry.file_type().is_ok_and(|kind| kind.is_file()) && entry.file_name().to_str().is_some_and(is_automatic)
    };
    let aged = |entry: fs::DirEntry| (entry.metadata().and_then(|meta| meta.modified()).ok(), entry.path());
    let mut others: Vec<_> = entries.filter(is_ours).map(aged).filter(|(_, path)| path != made).collect();
    others.sort_unstable();
    let is_made_counted =
        made.parent() == Some(backups) && made.file_name().and_then(|name| name.to_str()).is_some_and(is_automatic);
    let surplus = (others.len() + usize::from(is_made_counted)).saturating_sub(keep.max(1));
    others.truncate(surplus);
    others.into_iter().map(|(_, path)| path).filter(|path| remove(path)).collect()
}

fn remove(path: &Path) -> bool {
    match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) => {
            log::warn!("{} could not be removed: {error}", path.display());
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_named_ourselves_goes_and_the_oldest_first() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let names = ["contentd-20260101T000000Z.db", "contentd-20260102T000000Z.db", "contentd-20260103T000000Z.db"];
        let others =
            ["contentd-mine.db", "contentd-20250101T000000Z.db.part", "notes", "contentd-2025010100000000Z.db"];
        for name in names.iter().chain(&others) {
            fs::write(dir.path().join(name), "").expect("written");
        }
        fs::create_dir(dir.path().join("contentd-20240101T000000Z.db")).expect("made");
        let deleted = delete_oldest(dir.path(), 2, &dir.path().join(names[2]));
        assert_eq!(deleted, [dir.path().join(names[0])]);
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), names.len() - 1 + others.len() + 1);
    }

    #[test]
    fn what_was_just_made_stays_beside_names_of_the_future() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let names = ["contentd-20260101T000000Z.db", "contentd-99990101T000000Z.db"];
        for name in names.iter().rev() {
            fs::write(dir.path().join(name), "").expect("written");
        }
        let made = dir.path().join(names[0]);
        assert_eq!(delete_oldest(dir.path(), 1, &made), [dir.path().join(names[1])]);
        assert!(made.exists());
    }

    #[test]
    fn a_backup_under_another_name_takes_no_place_among_those_that_are_kept() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let names = ["contentd-20260101T000000Z.db", "contentd-20260102T000000Z.db"];
        for name in names {
            fs::write(dir.path().join(name), "").expect("written");
        }
        for own in [dir.path().join("own.db"), PathBuf::from("/x/b4.db")] {
            assert_eq!(delete_oldest(dir.path(), 2, &own), Vec::<PathBuf>::new(), "{own:?}");
        }
        assert_eq!(delete_oldest(dir.path(), 1, Path::new("/x/b4.db")), [dir.path().join(names[0])]);
        assert!(dir.path().join(names[1]).exists(), "one is kept, as was asked");
    }

    #[test]
    fn a_name_is_free_and_a_target_is_absolute() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let now: jiff::Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");
        let first = free_name(dir.path(), now);
        assert_eq!(first, dir.path().join("contentd-20260102T030405Z.db"));
        fs::write(&first, "").expect("written");
        assert_eq!(free_name(dir.path(), now), dir.path().join("contentd-20260102T030406Z.db"));
        let target =
            |file: &str, is_service| named_target(file.into(), Path::new("/d/contentd.db"), dir.path(), is_service);
        assert!(target("backup.db", false).is_err() && target("/x/", false).is_err());
        assert!(target("/x/y.db", true).is_ok() && target("/tmp/y.db", false).is_ok());
        assert!(target("/tmp/y.db", true).is_err() && target("/var/tmp/d/y.db", true).is_err());
        assert!(target("/x/contentd-20260102T030405Z.db", false).is_err());
        for name in ["contentd.db.restored-1", "contentd.db-wal", "contentd.db"] {
            assert!(target(&format!("/d/{name}"), false).is_err(), "{name} belongs to the database");
            assert!(target(&format!("/x/{name}"), false).is_ok(), "{name} elsewhere does not");
        }
    }
}
