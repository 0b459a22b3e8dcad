//! The state directory: who may read it, what is left of its disk, and files that no task knows any more.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::database::disk;
use super::off_thread;
use crate::backend::DaemonBackend;
use crate::finding::Finding;
use crate::generator::leftovers::Leftovers;
use crate::task::AttemptKey;

const SUBJECT: &str = "state directory";
/// Keys that are asked about at once: a statement binds each of them.
const SLICE: usize = 500;
/// Every key of an attempt is so long; what else lies there is no call's of one.
const KEY_LEN: usize = 32;

impl DaemonBackend {
    pub(super) async fn look_at_places(&self) -> Vec<Finding> {
        let state_dir = self.installation.state_dir.clone();
        let run_socket = self.installation.run_socket.clone();
        let looked = off_thread(move || {
            let mut findings = modes(&state_dir);
            findings.extend(run_socket.iter().flat_map(|socket| runs(socket, &state_dir.join("runs"))));
            findings.push(disk(&state_dir, "disk of the state directory"));
            findings
        });
        let mut findings = looked.await.unwrap_or_else(|why| vec![unlistable(&why)]);
        findings.push(self.look_for_leftovers().await);
        findings
    }

    async fn look_for_leftovers(&self) -> Finding {
        let leftovers = Leftovers::new(&self.installation.state_dir);
        let keys = match off_thread(move || leftovers.keys()).await {
            Ok(Ok(keys)) => keys.into_keys().filter(|key| key.as_str().len() == KEY_LEN).collect::<Vec<_>>(),
            Ok(Err(error)) => return unlistable(&error.to_string()),
            Err(why) => return unlistable(&why),
        };
        let mut unknown = 0;
        for slice in keys.chunks(SLICE) {
            let asked: Vec<AttemptKey> = slice.to_vec();
            match self.world.store.read(move |queries| queries.key_uses(&asked)).await {
                Ok(uses) => unknown += slice.iter().filter(|key| !uses.contains_key(key)).count(),
                Err(error) => return unlistable(&error.to_string()),
            }
        }
        stale(keys.len(), unknown)
    }
}

fn unlistable(why: &str) -> Finding {
    Finding::error(SUBJECT, format!("cannot be listed: {why}"), "let the daemon's user read it")
}

fn stale(keys: usize, unknown: usize) -> Finding {
    if unknown == 0 {
        return Finding::ok(SUBJECT, format!("files of {keys} calls and runs, each of a task"));
    }
    let found = format!("files of {unknown} calls or runs belong to no task of this database");
    let cure = "they go after retention.generator_logs by themselves; after a restored backup look into runs/v1 first, \
                for a piece that was paid for may lie there";
    Finding::warning(SUBJECT, found, cure)
}

fn modes(state_dir: &Path) -> Vec<Finding> {
    let private = ["", "calls"].map(|name| state_dir.join(name));
    let mut findings = Vec::new();
    for path in private {
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            // Made when it is needed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                findings.push(unlistable(&format!("{}: {error}", path.display())));
                continue;
            }
        };
        let mode = meta.mode() & 0o7777;
        if mode & 0o007 != 0 {
            let found = format!("anybody may enter {} (mode {mode:04o})", path.display());
            findings.push(Finding::warning(SUBJECT, found, format!("`sudo chmod o-rwx {}`", path.display())));
        }
        if rustix::fs::access(&path, rustix::fs::Access::WRITE_OK).is_err() {
            let found = format!("{} cannot be written by the daemon's user", path.display());
            findings.push(Finding::error(SUBJECT, found, format!("`sudo chown contentd {}`", path.display())));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(SUBJECT, format!("{} is the daemon's alone", state_dir.display())));
    }
    findings
}

/// Where detached runs are started, and whether their own user can get into their directories. The socket is not
/// connected to: each connection starts a unit.
fn runs(socket: &Path, dir: &Path) -> Vec<Finding> {
    const SUBJECT: &str = "run socket";
    let mut findings = Vec::new();
    let cure = "`sudo systemctl enable --now contentd-run.socket`";
    match fs::metadata(socket) {
        Ok(meta) if !meta.file_type().is_socket() => {
            let found = format!("{} is no socket", socket.display());
            findings.push(Finding::error(SUBJECT, found, format!("remove it, then {cure}")));
        }
        Ok(_) if rustix::fs::access(socket, rustix::fs::Access::WRITE_OK).is_err() => {
            let found = format!("the daemon's user may not use {}", socket.display());
            let cure =
                "SocketUser= of contentd-run.socket must be the daemon's User=: `systemctl cat contentd-run.socket`";
            findings.push(Finding::error(SUBJECT, found, cure));
        }
        Ok(_) => findings.push(Finding::ok(SUBJECT, format!("{} is there", socket.display()))),
        Err(error) => {
            let found = format!("{}: {error}; no blocking run can be started", socket.display());
            findings.push(Finding::error(SUBJECT, found, cure));
        }
    }
    if fs::metadata(dir).is_ok_and(|meta| meta.mode() & 0o010 == 0) {
        let found = format!("the runs' own user cannot enter {}", dir.display());
        let cure = format!("`sudo chgrp contentd-run {0} && sudo chmod 0710 {0}`", dir.display());
        findings.push(Finding::warning(SUBJECT, found, cure));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_that_anybody_may_enter_is_told() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o710)).expect("it is ours");
        assert_eq!(modes(dir.path())[0].severity, Severity::Ok);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let findings = modes(dir.path());
        assert_eq!(findings[0].severity, Severity::Warning);
        assert!(findings[0].cure.as_deref().is_some_and(|cure| cure.contains("chmod o-rwx")));
    }

    #[test]
    fn a_run_socket_must_be_there_and_its_runs_open_to_their_user() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (socket, state) = (dir.path().join("run.sock"), dir.path().join("runs"));
        let worst = || runs(&socket, &state).iter().map(|finding| finding.severity).max();
        assert_eq!(worst(), Some(Severity::Error), "nothing is there");
        fs::write(&socket, "").expect("written");
        assert_eq!(worst(), Some(Severity::Error), "a file");
        fs::remove_file(&socket).expect("it is ours");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("it binds");
        assert_eq!(worst(), Some(Severity::Ok));
        fs::create_dir(&state).expect("made");
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("it is ours");
        assert_eq!(worst(), Some(Severity::Warning));
        fs::set_permissions(&state, fs::Permissions::from_mode(0o710)).expect("it is ours");
        assert_eq!(worst(), Some(Severity::Ok));
    }

    #[test]
    fn files_without_a_task_are_counted() {
        assert_eq!(stale(4, 0).severity, Severity::Ok);
        assert_eq!(stale(4, 1).severity, Severity::Warning);
    }
}
