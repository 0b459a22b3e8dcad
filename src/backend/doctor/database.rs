//! The database's file: its disk, its log, its permissions, and whether it is whole.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{off_thread, size};
use crate::backend::DaemonBackend;
use crate::finding::Finding;
use crate::host::machine;
use crate::store::sqlite::restore::kept_beside;
use crate::store::sqlite::upkeep::{self, DatabaseLook};

const SUBJECT: &str = "database";
/// How long a check of all pages is waited for.
const CHECK_LIMIT: Duration = Duration::from_secs(5);
/// Less room than this is told.
const LITTLE: u64 = 1 << 30;
/// Less room than this is an error: a backup or a burst of pieces fills it.
const TOO_LITTLE: u64 = 100 << 20;
/// A log so large was not folded into the file for long: somebody keeps reading.
const LARGE_WAL: u64 = 256 << 20;

impl DaemonBackend {
    pub(super) async fn look_at_database(&self) -> Vec<Finding> {
        let path = self.installation.database.clone();
        let look = move || (upkeep::look(&path), [Some(disk(&path, "disk of the database")), replaced(&path)]);
        let looked = off_thread(look).await;
        let mut findings = match looked {
            Ok((Ok(look), beside)) => {
                let judged = judge(&self.installation.database, &look);
                judged.into_iter().chain(beside.into_iter().flatten()).collect()
            }
            Ok((Err(why), beside)) => {
                let unreadable = unreadable(&self.installation.database, &why);
                [Some(unreadable)].into_iter().chain(beside).flatten().collect()
            }
            Err(why) => vec![unreadable(&self.installation.database, &why)],
        };
        findings.push(self.check_database().await);
        findings
    }

    async fn check_database(&self) -> Finding {
        let is_checking = Arc::clone(&self.installation.is_checking);
        if is_checking.swap(true, Ordering::SeqCst) {
            return later("an earlier check of all its pages still goes on");
        }
        let (answer, answered) = oneshot::channel();
        let path = self.installation.database.clone();
        let check = move || {
            let checked = upkeep::quick_check(&path);
            is_checking.store(false, Ordering::SeqCst);
            // Whoever asked may have gone.
            let _ = answer.send(checked);
        };
        // A thread of its own: it may last for minutes, and must hold up neither the readers nor an end of the daemon.
        if let Err(error) = std::thread::Builder::new().name("quick-check".into()).spawn(check) {
            self.installation.is_checking.store(false, Ordering::SeqCst);
            return Finding::warning(SUBJECT, format!("was not checked: {error}"), "raise TasksMax= of the unit");
        }
        match tokio::time::timeout(CHECK_LIMIT, answered).await {
            Ok(Ok(Ok(faults))) if faults.is_empty() => Finding::ok(SUBJECT, "every page was read and is whole"),
            Ok(Ok(Ok(faults))) => damaged(&self.installation.database, &faults.join("; ")),
            Ok(Ok(Err(why))) => damaged(&self.installation.database, &why),
            Ok(Err(_)) => later("the check of its pages broke off"),
            Err(_) => later("it is large, and the check of all its pages still goes on"),
        }
    }
}

/// Where the database is that the last restore replaced: it knows what this one does not.
fn replaced(database: &Path) -> Option<Finding> {
    let kept = kept_beside(database).pop()?;
    let kept = kept.display();
    let found =
        format!("a restore replaced it: what it had before is in {kept} (`sqlite3 -readonly {kept}` looks into it)");
    Some(Finding::ok("replaced database", found))
}

fn later(found: &str) -> Finding {
    Finding::warning(SUBJECT, found, "run `contentctl doctor` again later; `contentctl backup` checks its copy too")
}

fn damaged(path: &Path, what: &str) -> Finding {
    let cure = format!(
        "stop the daemon, keep a copy of {0}, and restore the last backup; `sqlite3 {0} .recover` shows what is readable",
        path.display()
    );
    Finding::error(SUBJECT, format!("{} is damaged: {what}", path.display()), cure)
}

fn unreadable(path: &Path, why: &str) -> Finding {
    let cure = format!("`sudo ls -l {}`: it must belong to the daemon's user", path.display());
    Finding::error(SUBJECT, format!("{} cannot be looked at: {why}", path.display()), cure)
}

fn judge(path: &Path, look: &DatabaseLook) -> Vec<Finding> {
    let mut findings = Vec::new();
    if look.mode & 0o077 != 0 {
        let found = format!("others may open {} (mode {:04o}), and it holds keys and texts", path.display(), look.mode);
        findings.push(Finding::warning(SUBJECT, found, format!("`sudo chmod 600 {}`", path.display())));
    }
    let us = rustix::process::geteuid().as_raw();
    if look.uid != us {
        let found = format!("{} belongs to user {}, and the daemon runs as user {us}", path.display(), look.uid);
        findings.push(Finding::warning(SUBJECT, found, format!("`sudo chown {us} {}`", path.display())));
    }
    if look.wal_bytes > LARGE_WAL {
        let found = format!("its log has grown to {}: something keeps an old state of it open", size(look.wal_bytes));
        let cure = format!("end the shell or the tool that reads it: `sudo fuser -v {}`", path.display());
        findings.push(Finding::warning(SUBJECT, found, cure));
    }
    let newest = upkeep::newest_version();
    if look.schema_version != newest {
        let found = format!("has schema {}, and this daemon knows {newest}", look.schema_version);
        findings.push(Finding::error(SUBJECT, found, "restart the daemon: `sudo systemctl restart contentd`"));
    }
    let found = format!(
        "{}: {}, {} of them free, log {}, schema {}",
        path.display(),
        size(look.bytes),
        size(look.free_bytes),
        size(look.wal_bytes),
        look.schema_version
    );
    findings.push(Finding::ok(SUBJECT, found));
    findings
}

/// What is left on the file system of a path.
pub fn disk(path: &Path, subject: &str) -> Finding {
    match machine::disk_free(path) {
        Ok(free) => room(path, subject, free),
        Err(error) => {
            let found = format!("{}: what is left of the disk cannot be told: {error}", path.display());
            Finding::warning(subject, found, format!("`df -h {}`", path.display()))
        }
    }
}

fn room(path: &Path, subject: &str, free: u64) -> Finding {
    let shown = path.display();
    let found = format!("{} free at {shown}", size(free));
    let cure = format!(
        "make room: `df -h {shown}`; `contentctl cleanup` deletes old tasks; old backups may go, `contentctl config` names the state directory that has them"
    );
    match free {
        0..TOO_LITTLE => Finding::error(subject, format!("{found}: submits are refused when it is full"), cure),
        TOO_LITTLE..LITTLE => Finding::warning(subject, found, cure),
        LITTLE.. => Finding::ok(subject, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;

    #[test]
    fn room_is_judged_by_what_is_left() {
        let severity = |free| room(Path::new("/x"), "disk", free).severity;
        assert_eq!(severity(5 << 30), Severity::Ok);
        assert_eq!(severity(LITTLE - 1), Severity::Warning);
        assert_eq!(severity(TOO_LITTLE - 1), Severity::Error);
    }

    #[test]
    fn an_open_file_a_long_log_and_an_old_schema_are_told() {
        let good = DatabaseLook {
            bytes: 1 << 20,
            wal_bytes: 0,
            free_bytes: 0,
            schema_version: upkeep::newest_version(),
            uid: rustix::process::geteuid().as_raw(),
            mode: 0o600,
        };
        let told = |look: &DatabaseLook| judge(Path::new("/x.db"), look).iter().map(|f| f.severity).max();
        assert_eq!(told(&good), Some(Severity::Ok));
        assert_eq!(told(&DatabaseLook { mode: 0o640, ..good.clone() }), Some(Severity::Warning));
        assert_eq!(told(&DatabaseLook { wal_bytes: LARGE_WAL + 1, ..good.clone() }), Some(Severity::Warning));
        assert_eq!(told(&DatabaseLook { schema_version: "1".into(), ..good }), Some(Severity::Error));
    }
}
