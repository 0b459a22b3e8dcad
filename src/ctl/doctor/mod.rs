//! `contentctl doctor`: findings with their cures, of this side and of the daemon's.
//!
//! This side works without a daemon, because that is when people ask. It changes nothing, and asks systemd and the
//! installed programs only what they are. The surprise: a daemon that takes the connection and never answers is found too:
//! the wait for it has an end.
//!
//! - [`socket`]: where the daemon is looked for, and why it is not there
//! - [`groups`]: whether the caller may use the socket, and since when
//! - [`units`]: what systemd says
//! - [`programs`]: versions, and the configuration file

pub mod groups;
pub mod programs;
pub mod socket;
pub mod units;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use programs::Known;

use super::Session;
use super::args::DoctorArgs;
use super::failure::Failure;
use super::text::{counted, safe};
use crate::control::api::{ApiError, Finding, FindingsReply, NoParams, Severity, TryGeneratorParams};
use crate::control::client::{Client, ClientError};

const FIELDS: &[&str] = &["severity", "subject", "found", "cure"];
/// Where what was found begins, and goes on.
const FOUND_COLUMN: usize = 9;
/// How long the daemon may take to examine itself; it bounds itself to less.
const EXAMINE_LIMIT: Duration = Duration::from_secs(15);
/// How long it may take for a small question.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// `contentctl doctor`.
pub fn doctor(session: &Session, args: &DoctorArgs) -> Result<(), Failure> {
    let findings = match &args.generator {
        Some(generator) => {
            let params = TryGeneratorParams { generator: generator.clone() };
            let reply: FindingsReply = session.call("io.contentd.Daemon.TryGenerator", &params)?;
            reply.findings
        }
        None => examine(session),
    };
    print(session, &findings, args.all)?;
    let is_well = findings.iter().all(|finding| finding.severity != Severity::Error);
    if is_well { Ok(()) } else { Err(Failure::NotWell) }
}

/// Both sides, ours first.
fn examine(session: &Session) -> Vec<Finding> {
    let units = units::Told::ask();
    let (mut findings, found) = socket::look(&session.places, units.socket());
    let is_reachable = found.is_some();
    findings.extend(units.findings(is_reachable));
    let Some(path) = found else {
        findings.extend(programs::of_this_side(&Known::NoDaemon));
        return findings;
    };
    let places = [path];
    let version = ask(&places, "io.contentd.Daemon.GetVersion", ASK_LIMIT);
    let known = match ask(&places, "io.contentd.Daemon.GetConfig", ASK_LIMIT) {
        Ok(reply) => Known::Told(reply),
        Err(ClientError::Refused(_)) => Known::Untold,
        // Somebody listens for a daemon that does not start.
        Err(_) => Known::NoDaemon,
    };
    findings.extend(programs::of_this_side(&known));
    match version {
        Ok(reply) => findings.push(programs::versions(&reply)),
        Err(error) => {
            findings.push(silent(&error));
            return findings;
        }
    }
    match ask::<FindingsReply>(&places, "io.contentd.Daemon.Doctor", EXAMINE_LIMIT) {
        Ok(reply) => findings.extend(reply.findings),
        Err(ClientError::Refused(ApiError::PermissionDenied { caller, roles, .. })) => {
            findings.push(not_for_you(&caller, &roles));
        }
        Err(error) => findings.push(silent(&error)),
    }
    findings
}

fn ask<R: DeserializeOwned>(places: &[std::path::PathBuf], method: &str, limit: Duration) -> Result<R, ClientError> {
    Client::connect(places)?.call_until(method, &NoParams {}, Instant::now() + limit)
}

/// The daemon's own look is for operators; this side's is worth something without it.
fn not_for_you(caller: &str, roles: &[String]) -> Finding {
    let has = if roles.is_empty() { "no role".to_owned() } else { roles.join(", ") };
    let found = format!("what contentd sees of itself is for operators, and {caller} has {has}");
    Finding::warning("roles", found, "`sudo contentctl doctor`, or ask an operator for the role")
}

fn silent(error: &ClientError) -> Finding {
    let cure =
        "`sudo journalctl -u contentd -n 50` says what it is at; `sudo systemctl restart contentd` loses nothing";
    match error {
        ClientError::TimedOut => Finding::error("daemon", "takes the connection and does not answer", cure),
        other => Finding::error("daemon", other.to_string(), cure),
    }
}

fn print(session: &Session, findings: &[Finding], is_all: bool) -> Result<(), Failure> {
    if !session.printer.is_for_people() {
        return session.printer.rows(findings, &[], FIELDS);
    }
    session.printer.prose_in(&for_people(findings, is_all), FOUND_COLUMN)
}

/// What is wrong comes first, whole: a cure that is cut cannot be typed. What is well is folded into a line.
fn for_people(findings: &[Finding], is_all: bool) -> String {
    let mut text = String::new();
    for severity in [Severity::Error, Severity::Warning, Severity::Ok] {
        if severity == Severity::Ok && !is_all {
            continue;
        }
        for finding in findings.iter().filter(|finding| finding.severity == severity) {
            let name = severity.as_str();
            text.push_str(&format!("{name:7}  {}: {}\n", safe(&finding.subject), safe(&finding.found)));
            if let Some(cure) = &finding.cure {
                text.push_str(&format!("         cure: {}\n", safe(cure)));
            }
        }
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    // What has a fault is not well, though something else about it is.
    let is_wrong =
        |subject: &str| findings.iter().any(|finding| finding.subject == subject && finding.severity != Severity::Ok);
    let well: BTreeMap<&str, ()> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Ok && !is_wrong(&finding.subject))
        .map(|finding| (finding.subject.as_str(), ()))
        .collect();
    if !is_all && !well.is_empty() {
        let subjects: Vec<String> = well.into_keys().map(safe).collect();
        text.push_str(&format!("ok       {} (`--all` shows each)\n", subjects.join(", ")));
    }
    let (errors, warnings) = (count(Severity::Error) as u64, count(Severity::Warning) as u64);
    text.push_str(&format!(
        "{}, {}, {} ok\n",
        counted(errors, "error"),
        counted(warnings, "warning"),
        count(Severity::Ok)
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_comes_first_and_whole_and_what_is_well_is_folded() {
        let findings = [
            Finding::ok("disk", "5.0 GiB free"),
            Finding::ok("disk", "of the state directory"),
            Finding::ok("socket", "is owned by root"),
            Finding::warning("clock", "was set\x1b[2J", "`timedatectl`"),
            Finding::error("socket", "is not there", "start it"),
        ];
        let text = for_people(&findings, false);
        let expected = "error    socket: is not there\n         cure: start it\n\
                        warning  clock: was set\\u{1b}[2J\n         cure: `timedatectl`\n\
                        ok       disk (`--all` shows each)\n1 error, 1 warning, 3 ok\n";
        assert_eq!(text, expected);
        assert!(for_people(&findings, true).contains("ok       disk: 5.0 GiB free\n"));
    }
}
