//! The socket: each place that was tried, who may use what is there, and whether the caller may.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::groups::{self, Names};
use super::units::{START_ANEW, SocketUnit};
use crate::control::client::{Client, ClientError, SYSTEM_SOCKET, cause, is_systems};
use crate::finding::Finding;

const SUBJECT: &str = "socket";

/// Tries every place; the one where somebody answers, if there is one. `unit` is the one of the system's socket.
pub fn look(places: &[PathBuf], unit: SocketUnit) -> (Vec<Finding>, Option<PathBuf>) {
    let mut findings = Vec::new();
    let mut failed = Vec::new();
    for path in places {
        match Client::connect(std::slice::from_ref(path)) {
            Ok(_) => {
                findings.push(Finding::ok(SUBJECT, format!("somebody listens on {}", path.display())));
                findings.extend(permissions(path));
                return (findings, Some(path.clone()));
            }
            Err(ClientError::Unreachable { tried }) => failed.extend(tried),
            Err(error) => failed.push((path.clone(), io::Error::other(error.to_string()))),
        }
    }
    // Where contentd is installed, nobody misses a daemon of one's own.
    let is_installed = |path: &PathBuf, error: &io::Error| {
        path == Path::new(SYSTEM_SOCKET) && (unit != SocketUnit::NotThere || error.kind() != io::ErrorKind::NotFound)
    };
    if failed.iter().any(|(path, error)| is_installed(path, error)) {
        failed.retain(|(path, error)| path == Path::new(SYSTEM_SOCKET) || error.kind() != io::ErrorKind::NotFound);
    }
    findings.extend(failed.iter().map(|(path, error)| unreachable(path, error, unit)));
    (findings, None)
}

fn unreachable(path: &Path, error: &io::Error, unit: SocketUnit) -> Finding {
    let unit = if path == Path::new(SYSTEM_SOCKET) { unit } else { SocketUnit::NotThere };
    let found = format!("{}: {}", path.display(), cause(path, error));
    let cure = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused if unit == SocketUnit::Failed => {
            format!("what contentd.service says below comes first; then {START_ANEW}")
        }
        // The unit holds a socket that no path leads to any more.
        io::ErrorKind::NotFound if unit == SocketUnit::Active => "`sudo systemctl restart contentd.socket`".to_owned(),
        io::ErrorKind::NotFound if unit == SocketUnit::NotThere && !is_systems(path) => {
            "start `contentd`; another place is named with --socket".to_owned()
        }
        io::ErrorKind::NotFound => {
            "`sudo systemctl enable --now contentd.socket contentd.service`; another place is named with --socket"
                .to_owned()
        }
        io::ErrorKind::ConnectionRefused if unit == SocketUnit::NotThere => {
            "start contentd again as it was started: it takes the socket's place".to_owned()
        }
        io::ErrorKind::ConnectionRefused => "`sudo systemctl restart contentd.socket contentd.service`".to_owned(),
        io::ErrorKind::PermissionDenied => match owner(path) {
            Some(gid) => return groups::refused(path, gid, &Names::of_this_machine()),
            None => "ask the machine's administrator which group may use it".to_owned(),
        },
        _ => "`sudo journalctl -u contentd -n 50` has more".to_owned(),
    };
    Finding::error(SUBJECT, found, cure)
}

/// The group of the socket, or of the nearest directory that can be seen where that is what refuses.
fn owner(path: &Path) -> Option<u32> {
    path.ancestors().find_map(|path| fs::symlink_metadata(path).ok()).map(|meta| meta.gid())
}

/// Who may use the socket, and who could put another one in its place.
fn permissions(path: &Path) -> Vec<Finding> {
    let Ok(meta) = fs::metadata(path) else { return Vec::new() };
    if !meta.file_type().is_socket() {
        return Vec::new();
    }
    let names = Names::of_this_machine();
    let mode = meta.mode() & 0o777;
    let shown =
        format!("{} is {}:{} {mode:04o}", path.display(), names.user_name(meta.uid()), names.group_name(meta.gid()));
    let mut findings = Vec::new();
    if mode & 0o002 != 0 {
        let cure = "SocketMode=0660 in a drop-in: `sudo systemctl edit contentd.socket`";
        findings.push(Finding::warning(SUBJECT, format!("anybody on this machine may use it: {shown}"), cure));
    } else {
        findings.push(Finding::ok(SUBJECT, shown));
    }
    let directory = path.parent().and_then(|directory| Some((directory, fs::metadata(directory).ok()?)));
    if let Some((directory, meta)) = directory {
        let mode = meta.mode();
        let (is_sticky, by_group) = (mode & 0o1000 != 0, mode & 0o020 != 0 && meta.gid() != 0);
        if !is_sticky && (by_group || mode & 0o002 != 0) {
            let found = format!(
                "others may put another socket in its place: {} is {:04o}",
                directory.display(),
                meta.mode() & 0o7777
            );
            findings.push(Finding::warning(SUBJECT, found, format!("`sudo chmod go-w {}`", directory.display())));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    #[test]
    fn every_place_is_told_and_the_first_that_answers_is_taken() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (none, stale, live) = (dir.path().join("none"), dir.path().join("stale"), dir.path().join("live"));
        drop(UnixListener::bind(&stale).expect("it binds"));
        let (findings, found) = look(&[none.clone(), stale.clone()], SocketUnit::NotThere);
        assert_eq!(found, None);
        assert_eq!(findings.iter().filter(|finding| finding.severity == Severity::Error).count(), 2);
        assert!(findings[0].found.contains("no socket") && findings[1].found.contains("nobody listens"));
        let _listener = UnixListener::bind(&live).expect("it binds");
        fs::set_permissions(&live, fs::Permissions::from_mode(0o660)).expect("it is ours");
        let (findings, found) = look(&[none, stale, live.clone()], SocketUnit::NotThere);
        assert_eq!(found.as_deref(), Some(live.as_path()));
        assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:?}");
        fs::set_permissions(&live, fs::Permissions::from_mode(0o666)).expect("it is ours");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
        let told = look(&[live], SocketUnit::NotThere)
            .0
            .iter()
            .filter(|finding| finding.severity == Severity::Warning)
            .count();
        assert_eq!(told, 2);
    }

    #[test]
    fn the_cure_of_a_missing_socket_is_what_its_unit_needs() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let cure = |unit| unreachable(Path::new(SYSTEM_SOCKET), &missing, unit).cure.unwrap_or_default();
        assert_eq!(cure(SocketUnit::Active), "`sudo systemctl restart contentd.socket`");
        assert!(cure(SocketUnit::Failed).contains("reset-failed contentd.service contentd.socket"));
        assert!(cure(SocketUnit::Inactive).contains("enable --now"));
        let own = unreachable(Path::new("/run/user/1000/contentd.sock"), &missing, SocketUnit::Active).cure;
        assert!(own.is_some_and(|cure| cure.starts_with("start `contentd`")), "no unit is at this place");
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let cure = |unit| unreachable(Path::new(SYSTEM_SOCKET), &refused, unit).cure.unwrap_or_default();
        assert!(cure(SocketUnit::Active).contains("systemctl restart"));
        assert!(!cure(SocketUnit::NotThere).contains("systemctl"), "it was started by hand");
    }
}
