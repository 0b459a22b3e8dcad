//! What systemd says of the units. A machine without it is fine.
//!
//! The surprise: `systemctl` is run like a generator's call, with a time limit and bounded output, because it hangs when the
//! manager does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ctl::text::counted;
use crate::finding::Finding;
use crate::generator::call::{CallEnd, CallResult};
use crate::generator::exec::{Environment, ExecSpec, GRACE, execute_blocking};

const UNITS: [&str; 4] = ["contentd.service", "contentd.socket", "contentd-run.socket", "contentd-backup.timer"];
const PROPERTIES: &str =
    "Id,LoadState,ActiveState,SubState,Result,NRestarts,ExecMainStatus,UnitFileState,NeedDaemonReload";
const LIMIT: Duration = Duration::from_secs(5);
const MAX_OUTPUT: usize = 64 << 10;
/// The configuration was refused: `EX_CONFIG`.
const EXIT_CONFIG: &str = "78";

/// A unit as `systemctl show` has it.
type Unit = BTreeMap<String, String>;

/// Runs a program of the system's that only answers a question.
pub fn question(argv: &[&str]) -> CallResult {
    let spec = ExecSpec {
        argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
        env: Environment::minimal(&|name| std::env::var_os(name)),
        cwd: PathBuf::from("/"),
        stdin: None,
        timeout: LIMIT,
        grace: GRACE,
        max_output: MAX_OUTPUT,
    };
    execute_blocking(spec, None)
}

/// A unit that failed by its limit of starts is not started before this is typed, and a socket fails with its service.
pub const START_ANEW: &str = "`sudo systemctl reset-failed contentd.service contentd.socket`, then `sudo systemctl start contentd.socket contentd.service`";

/// The unit of the control socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketUnit {
    /// No such unit, or no systemd.
    NotThere,
    /// It listens, as far as systemd knows.
    Active,
    /// It gave up, with its service.
    Failed,
    /// Nobody started it.
    Inactive,
}

/// What systemd says of the units, asked before anything connects: a call may start the daemon, and its failure of a
/// moment ago would not be seen any more.
pub struct Told(Result<Vec<Unit>, Finding>);

impl Told {
    /// Asks about every unit.
    pub fn ask() -> Self {
        if !Path::new("/run/systemd/system").is_dir() {
            return Self(Err(Finding::ok("systemd", "does not run here")));
        }
        let argv = [&["systemctl", "show", "--no-pager", "-p", PROPERTIES], &UNITS[..]].concat();
        let result = question(&argv);
        if result.end != CallEnd::Exited(0) {
            let said = String::from_utf8_lossy(&result.stderr).trim().to_owned();
            let found = if said.is_empty() { "does not answer".to_owned() } else { format!("does not answer: {said}") };
            return Self(Err(Finding::warning("systemd", found, "`systemctl is-system-running`")));
        }
        Self(Ok(parse(&String::from_utf8_lossy(&result.stdout))))
    }

    /// What it says of the unit of the control socket.
    pub fn socket(&self) -> SocketUnit {
        let units = self.0.as_deref().unwrap_or_default();
        let socket = units.iter().find(|unit| unit.get("Id").is_some_and(|id| id == "contentd.socket"));
        let get = |name: &str| socket.and_then(|unit| unit.get(name)).map_or("", String::as_str);
        match (get("LoadState"), get("ActiveState")) {
            ("" | "not-found", _) => SocketUnit::NotThere,
            (_, "active") => SocketUnit::Active,
            (_, "failed") => SocketUnit::Failed,
            _ => SocketUnit::Inactive,
        }
    }

    /// What that means, once it is known whether a daemon answers.
    pub fn findings(self, is_reachable: bool) -> Vec<Finding> {
        match self.0 {
            Ok(units) => judge(&units, is_reachable),
            Err(finding) => vec![finding],
        }
    }
}

/// Blocks of `Name=value`, an empty line between.
fn parse(text: &str) -> Vec<Unit> {
    let block = |block: &str| {
        block.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
    };
    text.split("\n\n").map(block).filter(|unit: &Unit| unit.contains_key("Id")).collect()
}

fn judge(units: &[Unit], is_reachable: bool) -> Vec<Finding> {
    let get = |id: &str, name: &str| {
        let unit = units.iter().find(|unit| unit.get("Id").is_some_and(|found| found == id));
        unit.and_then(|unit| unit.get(name)).map_or("", String::as_str)
    };
    let mut findings = Vec::new();
    if get("contentd.service", "LoadState") == "not-found" {
        return vec![Finding::ok("systemd", "contentd is not installed as a unit of the system")];
    }
    findings.extend(service(
        &|name| get("contentd.service", name),
        get("contentd.socket", "ActiveState"),
        is_reachable,
    ));
    for (id, what) in [
        ("contentd.socket", "callers are refused while the daemon restarts"),
        ("contentd-run.socket", "blocking runs cannot be started as units of their own"),
        ("contentd-backup.timer", "no nightly backup is made"),
    ] {
        findings.push(match (get(id, "LoadState"), get(id, "ActiveState")) {
            ("not-found" | "", _) => Finding::ok(id, "not installed"),
            ("masked", _) => Finding::warning(id, format!("masked: {what}"), format!("`sudo systemctl unmask {id}`")),
            (_, "active") => Finding::ok(id, "active"),
            ("loaded", "failed") if id == "contentd.socket" && !is_reachable => {
                let found = format!("failed ({}): calls are not taken", get(id, "Result"));
                Finding::error(id, found, format!("mend the service first; then {START_ANEW}"))
            }
            (_, state) => {
                Finding::warning(id, format!("{state}: {what}"), format!("`sudo systemctl enable --now {id}`"))
            }
        });
    }
    findings
}

fn service<'a>(get: &dyn Fn(&str) -> &'a str, socket: &str, is_reachable: bool) -> Vec<Finding> {
    const ID: &str = "contentd.service";
    let mut findings = Vec::new();
    let (state, sub, result) = (get("ActiveState"), get("SubState"), get("Result"));
    match state {
        "activating" if sub == "auto-restart" => findings.push(Finding::error(
            ID,
            format!(
                "does not come up: it ended ({result}, exit status {}) and is started again and again",
                get("ExecMainStatus")
            ),
            "`sudo journalctl -u contentd -p err -n 5` says why",
        )),
        "active" | "reloading" | "activating" | "deactivating" => {
            findings.push(Finding::ok(ID, format!("{state} ({sub})")))
        }
        "failed" if get("ExecMainStatus") == EXIT_CONFIG => findings.push(Finding::error(
            ID,
            "failed: the configuration was refused",
            format!("`contentd --check-config` names each line; mend them, then {START_ANEW}"),
        )),
        "failed" => findings.push(Finding::error(
            ID,
            format!("failed ({result}, exit status {})", get("ExecMainStatus")),
            format!("`sudo journalctl -u contentd -n 50` says why; then {START_ANEW}"),
        )),
        _ if socket == "active" => findings.push(Finding::ok(ID, format!("{state}; the first call starts it"))),
        // Another daemon, of a user or in a test, may answer.
        _ if is_reachable => findings.push(Finding::ok(ID, format!("{state}; the daemon that answers is another one"))),
        _ => findings.push(Finding::error(
            ID,
            format!("{state}: nobody started it"),
            "`sudo systemctl enable --now contentd.socket contentd.service`",
        )),
    }
    let restarts: u64 = get("NRestarts").parse().unwrap_or(0);
    if restarts > 0 {
        let found = format!("systemd has restarted it {} (last result: {result})", counted(restarts, "time"));
        let cure = "`sudo journalctl -u contentd -p warning` says what it died of; `sudo systemctl reset-failed contentd` clears the count";
        findings.push(Finding::warning(ID, found, cure));
    }
    if get("NeedDaemonReload") == "yes" {
        let found = "its unit file was changed and systemd still uses the old one";
        findings.push(Finding::warning(
            ID,
            found,
            "`sudo systemctl daemon-reload`, then `sudo systemctl restart contentd`",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;

    fn show(service: &str, socket: &str) -> Vec<Unit> {
        parse(&format!(
            "Id=contentd.service\nLoadState=loaded\n{service}\n\nId=contentd.socket\nLoadState=loaded\nActiveState={socket}\n\n\
             Id=contentd-run.socket\nLoadState=not-found\nActiveState=inactive\n\nId=contentd-backup.timer\nLoadState=loaded\nActiveState=active\n"
        ))
    }

    fn worst(service: &str, socket: &str, is_reachable: bool) -> Option<Severity> {
        judge(&show(service, socket), is_reachable).iter().map(|finding| finding.severity).max()
    }

    #[test]
    fn the_states_of_the_service_are_told_apart() {
        let active = "ActiveState=active\nSubState=running\nResult=success\nNRestarts=0\nNeedDaemonReload=no";
        assert_eq!(worst(active, "active", true), Some(Severity::Ok));
        assert_eq!(worst(&active.replace("NRestarts=0", "NRestarts=3"), "active", true), Some(Severity::Warning));
        assert_eq!(worst(&active.replace("Reload=no", "Reload=yes"), "active", true), Some(Severity::Warning));
        assert_eq!(worst(active, "failed", true), Some(Severity::Warning), "without its socket");
        let inactive = "ActiveState=inactive\nSubState=dead\nResult=success\nNRestarts=0";
        assert_eq!(worst(inactive, "active", false), Some(Severity::Ok), "the first call starts it");
        assert_eq!(worst(inactive, "inactive", false), Some(Severity::Error));
        let failed = "ActiveState=failed\nResult=exit-code\nExecMainStatus=78\nNRestarts=0";
        let findings = judge(&show(failed, "active"), false);
        assert!(findings[0].cure.as_deref().is_some_and(|cure| cure.contains("--check-config")));
        let findings = judge(&show(&failed.replace("78", "1"), "active"), false);
        assert!(findings[0].cure.as_deref().is_some_and(|cure| cure.contains("journalctl")));
        let findings = judge(&show(failed, "failed"), false);
        let has_reset = |finding: &Finding| finding.cure.as_deref().is_some_and(|cure| cure.contains("reset-failed"));
        assert_eq!(findings.iter().filter(|finding| has_reset(finding)).count(), 2, "service and socket: {findings:?}");
        let looping = "ActiveState=activating\nSubState=auto-restart\nResult=exit-code\nExecMainStatus=1\nNRestarts=4";
        let findings = judge(&show(looping, "active"), true);
        assert_eq!(findings[0].severity, Severity::Error);
        assert!(findings[0].found.contains("does not come up"), "{findings:?}");
    }

    #[test]
    fn a_machine_where_it_is_no_unit_is_fine() {
        let units = parse("Id=contentd.service\nLoadState=not-found\nActiveState=inactive\n");
        assert_eq!(judge(&units, false).iter().map(|finding| finding.severity).max(), Some(Severity::Ok));
    }
}
