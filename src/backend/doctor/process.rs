//! The process: whether each actor answers, what it may open, whether its clock was set, and who restarts it.

use std::time::Duration;

use crate::actors::supervisor::{DaemonStatus, GetStatus};
use crate::backend::DaemonBackend;
use crate::finding::Finding;
use crate::host::machine::{self, Supervision};

/// How long the actors may take together.
const ACTORS_LIMIT: Duration = Duration::from_secs(6);
/// Each call and each connection takes some.
const FEW_FILES: u64 = 1024;
const JOURNAL: &str = "`sudo journalctl -u contentd -p warning -n 50` says what went before";
const LOG: &str = "the daemon's standard error says what went before";
const HARMLESS: &str = "nothing acknowledged is lost, and jobs go on at their generators";

impl DaemonBackend {
    pub(super) async fn look_at_process(&self) -> Vec<Finding> {
        let status = tokio::time::timeout(ACTORS_LIMIT, self.supervisor.send(GetStatus::default())).await;
        let by = machine::supervision(&|name| std::env::var(name).ok());
        let mut findings = match status {
            Ok(Ok(status)) => actors(&status, by),
            Ok(Err(_)) | Err(_) => vec![Finding::error("actors", "nobody says how they are", restart(by, HARMLESS))],
        };
        findings.extend(machine::open_files().map(|(open, limit)| files(open, limit)));
        let reload = (self.installation.reload)();
        findings.extend(reload.refused.map(|why| refused(&why)));
        if !reload.needs_restart.is_empty() {
            let found = format!(
                "changed since the start, and not in force before the next one: {}",
                reload.needs_restart.join(", ")
            );
            findings.push(Finding::warning("configuration", found, restart(by, "jobs go on at their generators")));
        }
        findings.push(clock((self.installation.clock_jump)(), by));
        findings.push(supervised(by));
        findings
    }
}

/// How this daemon is restarted. One that was started by hand is no unit, and a command for one would start another.
fn restart(by: Supervision, note: &str) -> String {
    match by.is_unit {
        true => format!("`sudo systemctl restart contentd`: {note}"),
        false => format!("end it with SIGTERM and start it again as it was started: {note}"),
    }
}

fn actors(status: &DaemonStatus, by: Supervision) -> Vec<Finding> {
    let mut silent: Vec<String> = [
        ("queue", status.queue.is_none()),
        ("poller", status.poller.is_none()),
        ("result handler", status.results.is_none()),
        ("publisher", status.publisher.is_none()),
        ("notices", status.notice.is_none()),
    ]
    .iter()
    .filter(|(_, is_silent)| *is_silent)
    .map(|(name, _)| (*name).to_owned())
    .collect();
    let workers = status.workers.iter().enumerate().filter(|(_, worker)| worker.is_none());
    silent.extend(workers.map(|(index, _)| format!("worker {}", index + 1)));
    let mut findings = Vec::new();
    if silent.is_empty() {
        findings.push(Finding::ok("actors", format!("all answer, {} workers among them", status.workers.len())));
    } else {
        let found = format!("do not answer: {}", silent.join(", "));
        findings.push(Finding::error("actors", found, restart(by, HARMLESS)));
    }
    if status.restarts > 0 {
        let found = format!("rebuilt {} times after a fault since the start", status.restarts);
        findings.push(Finding::warning("actors", found, if by.is_unit { JOURNAL } else { LOG }));
    }
    findings
}

fn files(open: u64, limit: u64) -> Finding {
    let found = format!("{open} of {limit} files open");
    let cure = "raise LimitNOFILE= in a drop-in: `sudo systemctl edit contentd`";
    if limit < FEW_FILES || open.saturating_mul(5) > limit.saturating_mul(4) {
        return Finding::warning("limits", found, cure);
    }
    Finding::ok("limits", found)
}

/// Whoever only looks at the file may see nothing: the daemon reads it as its own user, and read it at another time.
fn refused(why: &str) -> Finding {
    Finding::error("configuration", why, "mend it, then `contentctl reload`, which names all that is wrong")
}

fn clock(jump_ms: Option<i64>, by: Supervision) -> Finding {
    let Some(jump_ms) = jump_ms else { return Finding::ok("clock", "runs as it did at the start") };
    let found =
        format!("the wall clock was set by {} s since the start; times are told by the old one", jump_ms / 1000);
    Finding::warning("clock", found, restart(by, "then it has the new time; `timedatectl` shows who keeps it"))
}

fn supervised(by: Supervision) -> Finding {
    match by {
        Supervision { is_unit: false, .. } => {
            Finding::ok("supervision", "not started by systemd: nobody restarts it when it ends")
        }
        Supervision { watchdog: Some(after), .. } => Finding::ok(
            "supervision",
            format!("systemd restarts it after {} s without a sign of life", after.as_secs()),
        ),
        Supervision { watchdog: None, .. } => Finding::warning(
            "supervision",
            "runs under systemd without a watchdog: a daemon that hangs is not restarted",
            "WatchdogSec=30 in a drop-in: `sudo systemctl edit contentd`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;

    #[test]
    fn a_silent_actor_is_an_error_and_a_rebuilt_one_a_warning() {
        let status = DaemonStatus {
            queue: None,
            poller: None,
            images: Some(Default::default()),
            notice: None,
            results: None,
            schedules: None,
            has_schedules: false,
            publisher: None,
            workers: vec![None],
            restarts: 2,
            worker_restarts: vec![2],
            is_draining: false,
        };
        let by = |is_unit| Supervision { is_unit, watchdog: None };
        let findings = actors(&status, by(true));
        assert_eq!(findings.iter().map(|f| f.severity).collect::<Vec<_>>(), [Severity::Error, Severity::Warning]);
        assert!(findings[0].found.ends_with("queue, poller, result handler, publisher, notices, worker 1"));
        assert!(findings[0].cure.as_deref().is_some_and(|cure| cure.contains("systemctl restart contentd")));
        for finding in actors(&status, by(false)) {
            let cure = finding.cure.unwrap_or_default();
            assert!(!cure.is_empty() && !cure.contains("systemctl") && !cure.contains("journalctl"), "no unit: {cure}");
        }
    }

    #[test]
    fn limits_clock_and_watchdog_are_judged() {
        assert_eq!(files(10, 4096).severity, Severity::Ok);
        assert_eq!(files(10, 256).severity, Severity::Warning);
        assert_eq!(files(3500, 4096).severity, Severity::Warning);
        let hand = Supervision { is_unit: false, watchdog: None };
        assert_eq!(clock(None, hand).severity, Severity::Ok);
        assert!(clock(Some(-7_200_000), hand).found.contains("-7200 s"));
        let by = |is_unit, watchdog| supervised(Supervision { is_unit, watchdog }).severity;
        assert_eq!(by(true, None), Severity::Warning);
        assert_eq!(by(true, Some(Duration::from_secs(30))), Severity::Ok);
        assert_eq!(by(false, None), Severity::Ok);
    }
}
