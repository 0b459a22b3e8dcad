//! The verbs on health, metrics, messages and reports.
//!
//! `health` speaks to monitoring systems: one line that they read, with numbers behind a bar, and the exit status of a plugin
//! (<https://www.monitoring-plugins.org/doc/guidelines.html>). The surprise: its exit statuses are its own, also where the daemon
//! does not answer, which is no fault of the question but the worst of the answers.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Session;
use super::args::{Format, MetricsArgs, NoticeVerb, ReportArgs};
use super::failure::Failure;
use super::table::{Column, fixed, flexible, sentences, spare};
use super::text::safe;
use crate::control::api::{
    AcknowledgeParams, ApiError, CheckView, EmptyReply, HealthReply, HookView, MetricsReply, NoParams, NoticeParams,
    NoticeReply, NoticeView, NoticesParams, NoticesReply, ReportParams, SilenceParams, SilenceReply, TestHookParams,
};
use crate::control::client::ClientError;
use crate::control::values::TextOrNumber;

/// How long the daemon may take to say how it is: monitoring systems give a plugin ten seconds.
const HEALTH_LIMIT: Duration = Duration::from_secs(8);
/// How long a test of a hook is waited for.
const TEST_LIMIT: Duration = Duration::from_secs(60);
/// Among how many messages the beginning of an id is looked for; no call takes more.
const MOST_SEARCHED: u32 = 1_000;
const TEST_LOOK: Duration = Duration::from_millis(200);
/// What a textfile says where the daemon does not answer.
const DOWN: &str = "# HELP contentd_up 1 where the daemon answers.\n# TYPE contentd_up gauge\ncontentd_up 0\n";

/// A check as a row of a spreadsheet.
const CHECK_FIELDS: &[&str] = &[
    "name",
    "status",
    "text",
    "value",
    "limit",
    "critical_limit",
    "unit",
    "is_wrong_below",
    "severity",
    "since",
    "acknowledged_by",
];
pub(super) const CHECK_COLUMNS: &[Column] = &[
    fixed("STATUS", "status"),
    flexible("CHECK", "name"),
    spare("SINCE", "since"),
    sentences("WHAT", "text"),
    flexible("KNOWN BY", "acknowledged_by").goes(1),
];
const NOTICE_FIELDS: &[&str] =
    &["notice_id", "kind", "alarm", "severity", "text", "value", "limit", "since", "at", "deliveries"];
/// A message as a row of a spreadsheet: its deliveries in a word each.
const TOLD_FIELDS: &[&str] =
    &["notice_id", "kind", "alarm", "severity", "text", "value", "limit", "since", "at", "told"];
pub(super) const NOTICE_COLUMNS: &[Column] = &[
    // A message is found by the beginning of its id.
    flexible("ID", "notice_id"),
    fixed("AT", "at"),
    spare("KIND", "kind"),
    spare("SEVERITY", "severity"),
    spare("ALARM", "alarm"),
    sentences("WHAT", "text"),
    flexible("TO", "told").goes(1),
];
pub(super) const HOOK_COLUMNS: &[Column] = &[
    flexible("HOOK", "name"),
    fixed("WAITING", "waiting"),
    fixed("OLDEST", "oldest_at"),
    fixed("GIVEN UP", "given_up"),
];
pub(super) const DELIVERY_COLUMNS: &[Column] = &[
    flexible("HOOK", "hook"),
    fixed("STATE", "state"),
    spare("TRIES", "tries"),
    fixed("NEXT OR END", "due_at").goes(1),
    sentences("LAST WORDS", "last_error"),
];

/// `contentctl health`.
pub fn health(session: &Session) -> Result<(), Failure> {
    let asked = session.connect().and_then(|mut client| {
        let reply = client.call_until("io.contentd.Daemon.Health", &NoParams {}, Instant::now() + HEALTH_LIMIT);
        Ok::<HealthReply, Failure>(reply?)
    });
    let (status, line, code) = match &asked {
        // The numbers are for monitoring systems; people see them in the rows below.
        Ok(reply) => (reply.status.as_str(), first_line(reply, !session.printer.is_terminal()), code_of(&reply.status)),
        Err(failure) => {
            let status = if is_silence(failure) { "critical" } else { "unknown" };
            (
                status,
                format!("CONTENTD {} - {}", status.to_uppercase(), one_line(&failure.to_string())),
                code_of(status),
            )
        }
    };
    if session.printer.is_for_people() {
        session.printer.prose(&line)?;
        if let Ok(reply) = &asked {
            session.printer.rows(&reply.checks, CHECK_COLUMNS, &[])?;
            if let Some(until) = &reply.silenced_until {
                let until = super::when::local(&until.to_string());
                session.printer.text(&format!("nothing new is told until {until}"))?;
            }
        }
    } else {
        match &asked {
            Ok(reply) if session.printer.format() == Format::Csv => {
                session.printer.rows(&reply.checks, &[], CHECK_FIELDS)?
            }
            Ok(reply) => session.printer.record(reply, &["status", "checks", "silenced_until"])?,
            Err(failure) => {
                let said = json!({ "status": status, "error": failure.to_string() });
                session.printer.record(&said, &["status", "error"])?;
            }
        }
    }
    if code == 0 { Ok(()) } else { Err(Failure::Health(code)) }
}

/// Whether the daemon is not there, or says nothing: that is critical, where a refusal is only unknown.
fn is_silence(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Client(
            ClientError::Unreachable { .. }
                | ClientError::Cut { .. }
                | ClientError::TimedOut
                | ClientError::Refused(ApiError::Draining)
        )
    )
}

fn code_of(status: &str) -> u8 {
    match status {
        "ok" => 0,
        "warning" => 1,
        "critical" => 2,
        _ => 3,
    }
}

/// What a monitoring system reads: the status, what is wrong, and each number with its limits; people are spared those.
fn first_line(reply: &HealthReply, has_numbers: bool) -> String {
    let wrong: Vec<&CheckView> = reply.checks.iter().filter(|check| matches!(code_of(&check.status), 1 | 2)).collect();
    let what = match wrong.as_slice() {
        [] => format!("{} checks", reply.checks.len()),
        wrong => wrong.iter().map(|check| one_line(&check.text)).collect::<Vec<_>>().join("; "),
    };
    let line = format!("CONTENTD {} - {what}", reply.status.to_uppercase());
    if !has_numbers {
        return line;
    }
    let numbers: Vec<String> = reply.checks.iter().map(number).collect();
    format!("{line} | {}", numbers.join(" "))
}

/// `'label'=value[unit];warning;critical;minimum`.
fn number(check: &CheckView) -> String {
    let (unit, scale) = match check.unit.as_str() {
        "ratio" => ("%", 100.0),
        "seconds" => ("s", 1.0),
        "bytes" => ("B", 1.0),
        _ => ("", 1.0),
    };
    let shown = |value: f64| {
        let rounded = (value * scale * 1_000.0).round() / 1_000.0;
        rounded.to_string()
    };
    // A range that begins at its end: an alert below it.
    let limit = |value: f64| if check.is_wrong_below { format!("{}:", shown(value)) } else { shown(value) };
    let is_critical = check.severity == "critical" && check.critical_limit.is_none();
    let (warning, critical) = if is_critical {
        (String::new(), limit(check.limit))
    } else {
        (limit(check.limit), check.critical_limit.map(limit).unwrap_or_default())
    };
    let label = check.name.replace(['\'', '=', '|'], "_");
    format!("'{}'={}{unit};{warning};{critical};0", one_line(&label), shown(check.value))
}

/// A bar parts the numbers from the words, so no word may have one.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let joined = lines.fold(String::new(), |before, line| match before.as_str() {
        "" => line.to_owned(),
        heading if heading.ends_with(':') => format!("{heading} {line}"),
        _ => format!("{before}; {line}"),
    });
    safe(&joined.replace('|', "/"))
}

/// `contentctl metrics`.
pub fn metrics(session: &Session, args: &MetricsArgs) -> Result<(), Failure> {
    if let Some(path) = args.textfile.as_deref().filter(|path| path.extension().is_none_or(|one| one != "prom")) {
        let cure = "a name that ends in .prom: the node exporter reads no other";
        return Err(Failure::usage("--textfile", &path.to_string_lossy(), cure));
    }
    if args.textfile.is_none() {
        session.printer.refuse_csv("the page is a text for Prometheus; leave --output out, or take json")?;
    }
    let asked = session.call::<_, MetricsReply>("io.contentd.Daemon.Metrics", &NoParams {});
    let Some(path) = &args.textfile else {
        let reply = asked?;
        return if session.printer.is_for_people() {
            session.printer.text(&reply.text)
        } else {
            session.printer.record(&reply, &["text"])
        };
    };
    match asked {
        Ok(reply) => replace(path, &reply.text),
        Err(failure) => {
            // An old page would say that all is well.
            if is_silence(&failure) {
                replace(path, DOWN)?;
            }
            Err(failure)
        }
    }
}

/// Written beside and renamed: a reader sees the old page or the new one.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let named = |error: std::io::Error| Failure::Refused(format!("{} cannot be written: {error}", path.display()));
    let Some(name) = path.file_name() else {
        return Err(Failure::usage("--textfile", &path.to_string_lossy(), "the path of a file"));
    };
    // Another ending, so that the collector does not read half a page.
    let mut beside = name.to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside: PathBuf = path.with_file_name(beside);
    let written = write_new(&beside, text).and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| {
        // What is left of it is nobody's.
        let _ = fs::remove_file(&beside);
        named(error)
    })
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// `contentctl report`.
pub fn report(session: &Session, args: ReportArgs) -> Result<(), Failure> {
    let params = ReportParams { key: args.key };
    // It may be said as often as one likes.
    session.repeat(|client| client.call::<_, EmptyReply>("io.contentd.Tasks.Report", &params))?;
    session.tell("reported: if there is such a job, it is asked about now");
    Ok(())
}

/// `contentctl notice`.
pub fn notice(session: &Session, verb: NoticeVerb) -> Result<(), Failure> {
    match verb {
        NoticeVerb::List { limit } => list(session, limit),
        NoticeVerb::Show { notice } => {
            let asked = session.call("io.contentd.Daemon.Notice", &NoticeParams { notice: notice.clone() });
            let reply: NoticeReply = match asked {
                Err(failure @ Failure::Client(ClientError::Refused(ApiError::NoticeNotFound { .. }))) => {
                    return show(session, &beginning_with(session, &notice, failure)?);
                }
                asked => asked?,
            };
            show(session, &reply.notice)
        }
        NoticeVerb::Test { hook } => test(session, hook),
        NoticeVerb::Ack { alarm } => {
            session.call::<_, EmptyReply>("io.contentd.Daemon.Acknowledge", &AcknowledgeParams { alarm })?;
            session.tell("acknowledged: nothing more is told of it but its end");
            Ok(())
        }
        NoticeVerb::Silence { duration, end: _ } => {
            let params = SilenceParams { duration: duration.map(TextOrNumber) };
            let reply: SilenceReply = session.call("io.contentd.Daemon.Silence", &params)?;
            session.printer.record(&reply, &["silenced_until"])?;
            session.tell(match reply.silenced_until {
                Some(until) => format!("nothing new is told until {}", super::when::local(&until.to_string())),
                None => "everything is told".to_owned(),
            });
            Ok(())
        }
    }
}

/// The one message of the newest whose id begins so, as an id is typed; else `not_found`.
fn beginning_with(session: &Session, id: &str, not_found: Failure) -> Result<NoticeView, Failure> {
    let params = NoticesParams { limit: Some(MOST_SEARCHED) };
    let reply: NoticesReply = session.call("io.contentd.Daemon.Notices", &params)?;
    let mut fitting = reply.notices.into_iter().filter(|notice| !id.is_empty() && notice.notice_id.starts_with(id));
    match (fitting.next(), fitting.next()) {
        (Some(notice), None) => Ok(notice),
        (Some(_), Some(_)) => {
            Err(Failure::Refused(format!("{id:?} is the beginning of several messages: type more of it")))
        }
        (None, _) => Err(not_found),
    }
}

fn list(session: &Session, limit: u32) -> Result<(), Failure> {
    let reply: NoticesReply = session.call("io.contentd.Daemon.Notices", &NoticesParams { limit: Some(limit) })?;
    if !session.printer.is_for_people() {
        if session.printer.format() == Format::Csv {
            let rows: Vec<_> = reply.notices.iter().map(row).collect();
            return session.printer.rows(&rows, &[], TOLD_FIELDS);
        }
        return session.printer.record(&reply, &["notices", "hooks", "silenced_until", "silenced_by"]);
    }
    let rows: Vec<_> = reply.notices.iter().map(row).collect();
    if rows.is_empty() {
        session.tell("nobody was told of anything yet");
    }
    session.printer.rows(&rows, NOTICE_COLUMNS, &[])?;
    print_hooks(session, &reply.hooks)?;
    if let (Some(until), Some(who)) = (&reply.silenced_until, &reply.silenced_by) {
        let until = super::when::local(&until.to_string());
        session.printer.text(&format!("\nnothing new is told until {until}, by {}", safe(who)))?;
    }
    Ok(())
}

/// A table of hooks, where there are any.
pub fn print_hooks(session: &Session, hooks: &[HookView]) -> Result<(), Failure> {
    if hooks.is_empty() {
        return Ok(());
    }
    session.printer.text("")?;
    session.printer.rows(hooks, HOOK_COLUMNS, &[])
}

/// A message as a row of a table: its deliveries in a word each.
fn row(notice: &NoticeView) -> serde_json::Value {
    let told = notice.deliveries.iter().map(|one| format!("{} {}", one.hook, one.state));
    json!({
        "at": notice.at, "kind": notice.kind, "severity": notice.severity, "alarm": notice.alarm, "text": notice.text,
        "told": told.collect::<Vec<_>>(), "notice_id": notice.notice_id, "value": notice.value, "limit": notice.limit,
        "since": notice.since,
    })
}

fn show(session: &Session, notice: &NoticeView) -> Result<(), Failure> {
    if !session.printer.is_for_people() {
        return session.printer.record(notice, NOTICE_FIELDS);
    }
    session.printer.record(notice, &NOTICE_FIELDS[..NOTICE_FIELDS.len() - 1])?;
    if notice.deliveries.is_empty() {
        session.tell("no hook is told of it");
        return Ok(());
    }
    session.printer.text("")?;
    session.printer.rows(&notice.deliveries, DELIVERY_COLUMNS, &[])
}

/// Sends a test and looks until it was tried. It waits behind what else waits for the hook.
fn test(session: &Session, hook: String) -> Result<(), Failure> {
    let reply: NoticeReply = session.call("io.contentd.Daemon.TestHook", &TestHookParams { hook: hook.clone() })?;
    let (mut notice, end) = (reply.notice, Instant::now() + TEST_LIMIT);
    loop {
        let delivery = notice.deliveries.iter().find(|one| one.hook == hook);
        let is_tried = delivery.is_some_and(|one| one.state != "waiting" || one.last_error.is_some());
        if is_tried || Instant::now() >= end {
            break;
        }
        std::thread::sleep(TEST_LOOK);
        let params = NoticeParams { notice: notice.notice_id.clone() };
        notice = session.call::<_, NoticeReply>("io.contentd.Daemon.Notice", &params)?.notice;
    }
    show(session, &notice)?;
    let delivery = notice.deliveries.iter().find(|one| one.hook == hook);
    match delivery.map(|one| (one.state.as_str(), one.last_error.as_deref())) {
        Some(("delivered", _)) => Ok(()),
        Some((_, Some(why))) => Err(Failure::Refused(format!("hook {hook} did not take it: {why}"))),
        _ => Err(Failure::TimedOut(format!(
            "hook {hook} has not been tried within {} s: others may wait before it (`contentctl notice list`)",
            TEST_LIMIT.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, status: &str, value: f64, limit: f64) -> CheckView {
        CheckView {
            name: name.into(),
            status: status.into(),
            text: format!("{name} | says\nthis"),
            value,
            limit,
            critical_limit: None,
            unit: String::new(),
            is_wrong_below: false,
            severity: "warning".into(),
            since: None,
            acknowledged_by: None,
        }
    }

    #[test]
    fn a_message_of_several_lines_is_one_sentence() {
        let text =
            "cannot reach contentd:\n  /x/a.sock: there is no socket\n  /y/a.sock: there is no socket\nis it running?";
        let line =
            "cannot reach contentd: /x/a.sock: there is no socket; /y/a.sock: there is no socket; is it running?";
        assert_eq!(one_line(text), line);
    }

    #[test]
    fn the_first_line_is_what_a_monitoring_system_reads() {
        let failures =
            CheckView { unit: "ratio".into(), critical_limit: Some(0.5), ..check("failures", "ok", 1.0 / 3.0, 0.2) };
        let disk = CheckView {
            unit: "bytes".into(),
            is_wrong_below: true,
            severity: "critical".into(),
            ..check("disk", "critical", 5e8, 1e9)
        };
        let waiting = check("breaker/a=b'c", "pending", 1.0, 0.0);
        let reply =
            HealthReply { status: "critical".into(), checks: vec![disk, failures, waiting], silenced_until: None };
        assert_eq!(
            first_line(&reply, true),
            "CONTENTD CRITICAL - disk / says; this | 'disk'=500000000B;;1000000000:;0 'failures'=33.333%;20;50;0 \
             'breaker/a_b_c'=1;0;;0"
        );
        assert_eq!(first_line(&reply, false), "CONTENTD CRITICAL - disk / says; this", "for people");
        let well = HealthReply { status: "ok".into(), checks: vec![], silenced_until: None };
        assert_eq!(first_line(&well, true), "CONTENTD OK - 0 checks | ");
    }
}
