//! The installed programs, whether they belong together, and the configuration file as this user can read it.

use std::io;
use std::path::{Path, PathBuf};

use super::units::question;
use crate::config::{Config, config_candidates};
use crate::control::api::{ConfigReply, VersionReply};
use crate::finding::Finding;
use crate::generator::call::CallEnd;
use crate::text::counted;

const OURS: &str = env!("CARGO_PKG_VERSION");

/// What is known of the file that the daemon has its configuration from.
pub enum Known {
    /// No daemon answers: it is the file that one would take which is started here.
    NoDaemon,
    /// A daemon answers and does not say.
    Untold,
    /// The daemon says.
    Told(ConfigReply),
}

/// What can be seen without the daemon, with what it says of its files where it answers.
pub fn of_this_side(known: &Known) -> Vec<Finding> {
    let mut findings: Vec<Finding> = ["contentd", "contentd-run"].iter().map(|name| installed(name)).collect();
    findings.push(configuration(known));
    findings
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The daemon that runs, beside this contentctl.
pub fn versions(daemon: &VersionReply) -> Finding {
    if daemon.version == OURS {
        return Finding::ok("versions", format!("contentctl and the daemon are {OURS}"));
    }
    let found = format!("contentctl is {OURS}, the daemon that runs is {}", daemon.version);
    let cure = "`sudo systemctl restart contentd` after an upgrade; jobs go on meanwhile, and calls wait";
    Finding::warning("versions", found, cure)
}

/// A program that lies beside this one.
fn installed(name: &str) -> Finding {
    let path = std::env::current_exe().unwrap_or_default().with_file_name(name);
    let (shown, result) = (path.display().to_string(), question(&[&path.to_string_lossy(), "--version"]));
    let said = String::from_utf8_lossy(&result.stdout).trim().to_owned();
    match result.end {
        CallEnd::Exited(0) if said == format!("{name} {OURS}") => Finding::ok("versions", format!("{shown} is {OURS}")),
        CallEnd::Exited(0) => {
            let found = format!("{shown} says {said:?}, and contentctl is {OURS}");
            Finding::warning("versions", found, "install them from one package")
        }
        CallEnd::NotStarted(why) => Finding::of_fault("versions", &why),
        _ => Finding::warning("versions", format!("{shown} does not say its version"), "install them from one package"),
    }
}

const SUBJECT: &str = "configuration";

/// The file that is in use, or would be, judged as the daemon would.
fn configuration(known: &Known) -> Finding {
    let is_there =
        |path: &&PathBuf| !matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
    match known {
        Known::NoDaemon => {
            let files = config_candidates(&environment);
            let Some(path) = files.iter().find(is_there) else {
                let list = files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
                let cure = "a daemon that is started without --config runs with defaults and no generator; contentd.toml(5) says \
                            what to write";
                return Finding::warning(SUBJECT, format!("there is none: {list}"), cure);
            };
            judge(path)
        }
        Known::Untold => {
            Finding::ok(SUBJECT, "the daemon does not tell you which file it has it from, so none was judged")
        }
        Known::Told(reply) => match reply.files.first().map(PathBuf::from) {
            None => Finding::ok(SUBJECT, "the daemon has no file and runs with defaults"),
            Some(path) if is_there(&&path) => judge(&path),
            Some(path) => {
                let found = format!("the daemon has read {}, and no such file is there now", path.display());
                let cure =
                    "put it back before the daemon is started or reloaded; `contentctl config` shows what is in force";
                Finding::warning(SUBJECT, found, cure)
            }
        },
    }
}

fn judge(path: &Path) -> Finding {
    let shown = path.display();
    if let Err(error) = std::fs::File::open(path) {
        let found = format!("{shown} cannot be read by you ({error}), so it was not judged");
        return match error.kind() {
            io::ErrorKind::PermissionDenied => Finding::warning(SUBJECT, found, "`sudo contentd --check-config`"),
            _ => Finding::error(SUBJECT, found, format!("`ls -l {shown}`")),
        };
    }
    match Config::load(Some(path), &environment) {
        Ok(loaded) => {
            let generators = counted(loaded.config.generators.len() as u64, "generator", "generators");
            Finding::ok(SUBJECT, format!("{shown} is good; {generators}"))
        }
        Err(errors) => {
            let first = errors.0.first().map(ToString::to_string).unwrap_or_default();
            let more = errors.0.len().saturating_sub(1);
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            let cure =
                format!("`contentd --check-config --config {shown}` names all; mend them, then `contentctl reload`");
            Finding::error(SUBJECT, format!("refused: {first}{more}"), cure)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;

    #[test]
    fn the_file_is_judged_as_the_daemon_does() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("contentd.toml");
        let told = |files| configuration(&Known::Told(ConfigReply { files, config: serde_json::Value::Null }));
        let gone = told(vec![path.display().to_string()]);
        assert!(gone.severity == Severity::Warning && gone.found.contains("has read"), "{gone:?}");
        assert_eq!(told(Vec::new()).severity, Severity::Ok, "it runs with defaults");
        let untold = configuration(&Known::Untold);
        assert!(untold.severity == Severity::Ok && untold.found.contains("none was judged"), "{untold:?}");
        std::fs::write(&path, "[daemon]\nworkers = 2\n").expect("written");
        assert_eq!(judge(&path).severity, Severity::Ok);
        std::fs::write(&path, "[daemon]\nworkers = 0\nwrokers = 1\n").expect("written");
        let finding = judge(&path);
        assert_eq!(finding.severity, Severity::Error);
        assert!(finding.found.contains(":2:") && finding.found.contains("and 1 more"), "{}", finding.found);
    }

    #[test]
    fn a_daemon_of_another_version_asks_for_a_restart() {
        assert_eq!(versions(&VersionReply { version: OURS.into() }).severity, Severity::Ok);
        assert_eq!(versions(&VersionReply { version: "0.0.1".into() }).severity, Severity::Warning);
    }
}
