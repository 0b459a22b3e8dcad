//! The verbs on the daemon.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use super::Session;
use super::args::{BackupArgs, CallArgs, PauseArgs, ResumeArgs};
use super::failure::Failure;
use super::names;
use super::settings::as_written;
use super::spreadsheet::{KEYED, flatten};
use super::table::{Column, fixed, flexible, sentences, spare, wanted};
use super::text::{safe, safe_lines};
use crate::control::api::{
    ApiError, BackupParams, BackupReply, ConfigReply, DrainReply, GeneratorView, NoParams, PauseParams, PauseView,
    PausesReply, PingReply, ReloadReply, ResumeParams, StatusReply, VersionReply, WorkersReply,
};
use crate::control::client::{ClientError, who_tells};
use crate::control::values::TextOrNumber;
use crate::text::counted;

pub(super) const GENERATOR_COLUMNS: &[Column] = &[
    wanted("GENERATOR", "name"),
    fixed("AVAILABLE", "is_available").goes(2),
    fixed("BREAKER", "breaker"),
    fixed("JOBS", "in_flight").goes(1),
    fixed("MOST", "max_in_flight").goes(1),
    spare("SUBMITS TODAY", "today"),
    fixed("TRIED NEXT", "next_probe_at").goes(3),
    sentences("WHY", "breaker_reason").below(),
    sentences("FAULTS", "faults").below(),
];
pub(super) const PAUSE_COLUMNS: &[Column] = &[
    flexible("GENERATOR", "generator").kept(),
    flexible("ACCOUNT", "account").kept(),
    spare("SINCE", "since"),
    flexible("WHO", "who").goes(1),
    sentences("REASON", "reason"),
];
pub(super) const WORKER_COLUMNS: &[Column] = &[
    fixed("WORKER", "worker_id"),
    fixed("STATE", "state"),
    fixed("TASK", "task_id"),
    fixed("SINCE", "since").goes(1),
    spare("PROCESSED", "processed"),
    spare("RESTARTS", "restarts"),
];
const WORKER_FIELDS: &[&str] = &["worker_id", "state", "task_id", "since", "processed", "restarts"];
/// How long a daemon may take to say that it is there.
const PING_LIMIT: Duration = Duration::from_secs(5);

/// `contentctl status` without a task.
pub fn status(session: &Session) -> Result<(), Failure> {
    let reply: StatusReply = session.call("io.contentd.Daemon.GetStatus", &NoParams {})?;
    let fields = [
        "state",
        "version",
        "pid",
        "started_at",
        "storage_fault",
        "tasks",
        "generators",
        "pauses",
        "hooks",
        "pool",
        "to_review",
        "publishers",
        "unserved_accounts",
        "refused_reload",
    ];
    if !session.printer.is_for_people() {
        return session.printer.nested(&reply, &fields);
    }
    session.printer.record(&reply, &fields[..6])?;
    if let Some(why) = &reply.refused_reload {
        session.printer.prose(&format!("\nthe last reload: {}; mend it, then `contentctl reload`", safe(why)))?;
    }
    let held = reply.tasks.get("held").copied().unwrap_or(0);
    if held > 0 {
        let wait = counted(held, "held task waits", "held tasks wait");
        let said = format!(
            "\n{wait} for a person: `contentctl list --state held` shows them, `contentctl show TASK` the ways out \
             (`contentctl settle`, `release`)"
        );
        session.printer.prose(&said)?;
    }
    if reply.to_review > 0 {
        let wait = counted(reply.to_review, "piece waits", "pieces wait");
        session.printer.prose(&format!("\n{wait} for a review: `contentctl review list` shows them"))?;
    }
    session.printer.text("")?;
    if reply.generators.is_empty() {
        session.tell("no generator is configured: a section [generators.NAME] of the configuration makes one");
    }
    let line = |generator| Line { today: today(generator), generator: said_once(generator) };
    let generators: Vec<Line> = reply.generators.iter().map(line).collect();
    session.printer.rows(&generators, GENERATOR_COLUMNS, &[])?;
    if reply.generators.iter().any(|generator| generator.next_probe_at.is_some()) {
        session.tell("`contentctl resume --generator NAME` has a generator that was mended tried at once");
    }
    super::pool::print_publishing(session, &reply)?;
    super::notice::print_hooks(session, &reply.hooks)?;
    print_pauses(session, &reply.pauses)
}

/// A generator as people see it.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    generator: GeneratorView,
    today: Option<String>,
}

/// How much of its day a generator with such a limit has spent.
fn today(generator: &GeneratorView) -> Option<String> {
    Some(format!("{} of {}", generator.submits_today?, generator.submits_per_day?))
}

/// A generator whose breaker is open because of a fault has it in two long columns; for people it stands among the faults alone.
fn said_once(generator: &GeneratorView) -> GeneratorView {
    let mut shown = generator.clone();
    shown.breaker_reason.take_if(|why| generator.faults.iter().any(|fault| fault.contains(why.as_str())));
    shown
}

fn print_pauses(session: &Session, pauses: &[PauseView]) -> Result<(), Failure> {
    if pauses.is_empty() {
        return Ok(());
    }
    session.printer.text("\npaused (no new jobs start; an empty column means all):")?;
    names::rows(session, pauses, PAUSE_COLUMNS, &[])
}

/// `contentctl workers`.
pub fn workers(session: &Session) -> Result<(), Failure> {
    let reply: WorkersReply = session.call("io.contentd.Daemon.Workers", &NoParams {})?;
    if session.printer.is_json() {
        return session.printer.json(&reply);
    }
    session.printer.rows(&reply.workers, WORKER_COLUMNS, WORKER_FIELDS)?;
    let pending = counted(reply.queue_size, "task", "tasks");
    session.tell(format!("{} of {} busy, {pending} pending", reply.busy, reply.total));
    Ok(())
}

const PAUSES_FIELDS: &[&str] = &["is_changed", "pauses", "is_probed", "has_probe"];

fn scope_of(args: &PauseArgs) -> String {
    match (&args.generator, &args.account) {
        (None, None) => "everything together".to_owned(),
        (Some(generator), None) => format!("generator {}", safe(generator)),
        (None, Some(account)) => format!("account {}", safe(account)),
        (Some(generator), Some(account)) => format!("account {} at generator {}", safe(account), safe(generator)),
    }
}

/// `contentctl pause`.
pub fn pause(session: &Session, args: PauseArgs) -> Result<(), Failure> {
    let scope = scope_of(&args);
    let PauseArgs { generator, account, reason } = args;
    let params = PauseParams { generator, account: account.map(TextOrNumber), reason };
    let reply: PausesReply = session.call("io.contentd.Daemon.Pause", &params)?;
    if !session.printer.is_for_people() {
        return session.printer.nested(&reply, PAUSES_FIELDS);
    }
    session.tell(match reply.is_changed {
        true => "paused: no new jobs start, what has started ends normally".to_owned(),
        false => format!("{scope} was paused already"),
    });
    print_pauses(session, &reply.pauses)
}

/// `contentctl resume`.
pub fn resume(session: &Session, args: ResumeArgs) -> Result<(), Failure> {
    let ResumeArgs { paused, publisher } = args;
    let scope = publisher.as_ref().map_or_else(|| scope_of(&paused), |name| format!("publisher {}", safe(name)));
    let has_pause = publisher.is_none();
    let is_everything = paused.generator.is_none() && paused.account.is_none();
    let PauseArgs { generator, account, reason } = paused;
    let params = ResumeParams { generator, account: account.map(TextOrNumber), reason, publisher };
    let reply: PausesReply = session.call("io.contentd.Daemon.Resume", &params)?;
    let is_mended = reply.is_probed || reply.has_probe;
    // What was meant is paused still, and a script must not go on as if it were not. Where nothing is paused all is as it was asked.
    let is_missed = has_pause && !reply.is_changed && !is_mended && !reply.pauses.is_empty();
    if !session.printer.is_for_people() {
        session.printer.nested(&reply, PAUSES_FIELDS)?;
        return if is_missed { Err(nothing_resumed(&scope, &reply.pauses)) } else { Ok(()) };
    }
    let next = if has_pause { "task" } else { "piece" };
    if has_pause {
        session.tell(match reply.is_changed {
            true => "resumed".to_owned(),
            false if is_mended => format!("{scope} is not paused"),
            false if reply.pauses.is_empty() && is_everything => "nothing is paused".to_owned(),
            false if reply.pauses.is_empty() => format!("{scope} is not paused, and nothing else is"),
            false => {
                print_pauses(session, &reply.pauses)?;
                return Err(nothing_resumed(&scope, &reply.pauses));
            }
        });
    } else if !is_mended {
        session.tell(format!("{scope} is not away, so there is nothing to try"));
    }
    if reply.is_probed {
        session.tell(format!(
            "{scope} had failed: its next {next} tries it at once (`contentctl status` says what came of it)"
        ));
    }
    if reply.has_probe {
        session.tell(format!(
            "{scope} had failed, and a {next} tries it already: what comes of that decides (`contentctl status`)"
        ));
    }
    if has_pause { print_pauses(session, &reply.pauses) } else { Ok(()) }
}

/// That a pause stands which is not the one that was named, and what ends it.
fn nothing_resumed(scope: &str, pauses: &[PauseView]) -> Failure {
    let command = |pause: &PauseView| {
        let generator = pause.generator.iter().map(|name| format!(" --generator {}", safe(name)));
        let account = pause.account_id.iter().map(|id| format!(" --account {id}"));
        format!("`contentctl resume{}`", generator.chain(account).collect::<String>())
    };
    let commands: Vec<String> = pauses.iter().map(command).collect();
    let ends = if pauses.len() == 1 { "ends the pause that stands" } else { "end the pauses that stand" };
    Failure::Refused(format!("nothing was resumed: {scope} is not paused; {} {ends}", commands.join(", ")))
}

/// `contentctl config`: TOML with units for people, JSON for programs, a row a setting for spreadsheets.
pub fn config(session: &Session) -> Result<(), Failure> {
    let reply: ConfigReply = session.call("io.contentd.Daemon.GetConfig", &NoParams {})?;
    if session.printer.is_json() {
        return session.printer.json(&reply.config);
    }
    if !session.printer.is_for_people() {
        let mut rows = Vec::new();
        flatten("", &reply.config, &mut rows);
        return session.printer.rows(&rows, &[], KEYED);
    }
    for file in &reply.files {
        session.printer.text(&format!("# {}", safe(file)))?;
    }
    // TOML has no null: what is unset is left out.
    let text = toml::to_string_pretty(&without_nulls(as_written(reply.config))).map_err(|error| {
        Failure::Refused(format!("the configuration cannot be shown as TOML ({error}); use --output json"))
    })?;
    session.printer.text(&safe_lines(&text))
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => {
            Value::Array(items.into_iter().filter(|item| !item.is_null()).map(without_nulls).collect())
        }
        other => other,
    }
}

/// `contentctl call`.
pub fn call(session: &Session, args: &CallArgs) -> Result<(), Failure> {
    session.printer.refuse_csv("an answer to a raw call is JSON; leave --output out")?;
    let parameters: Value = serde_json::from_str(&args.parameters)
        .map_err(|error| Failure::usage("JSON", &args.parameters, &format!("a JSON object ({error})")))?;
    if !parameters.is_object() {
        return Err(Failure::usage("JSON", &args.parameters, "a JSON object"));
    }
    let mut client = session.connect()?;
    if !args.more {
        let reply: Value = client.call(&args.method, &parameters)?;
        return session.printer.json(&reply);
    }
    let mut broken = None;
    client.call_more(&args.method, &parameters, None, |reply: Value| {
        let written = super::output::write_out(format!("{reply}\n").as_bytes());
        broken = written.err();
        Ok::<_, ClientError>(if broken.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    broken.map_or(Ok(()), Err)
}

/// `contentctl ping`.
pub fn ping(session: &Session) -> Result<(), Failure> {
    let mut path = String::new();
    let reply = session.unless_draining(|client| {
        path = client.path().display().to_string();
        client.call_until("io.contentd.Daemon.Ping", &NoParams {}, Instant::now() + PING_LIMIT)
    });
    let reply: PingReply = reply.map_err(|failure| match failure {
        // While a daemon ends what it is at, calls wait on the socket for the next one.
        Failure::Client(ClientError::TimedOut) => Failure::TimedOut(format!(
            "nobody answered on {path} within {} s: contentd is ending what it is at, or starting; {} which",
            PING_LIMIT.as_secs(),
            who_tells(std::path::Path::new(&path))
        )),
        failure => failure,
    })?;
    if !session.printer.is_for_people() {
        return session.printer.record(&reply, &["pid", "caller", "roles"]);
    }
    session.printer.prose(&format!("contentd answers on {path} (process {})", reply.pid))?;
    let roles = if reply.roles.is_empty() { "no role".to_owned() } else { reply.roles.join(", ") };
    session.printer.prose(&format!("you are {}: {}", safe(&reply.caller), safe(&roles)))
}

/// `contentctl version`. Without a daemon it is contentctl's alone.
pub fn version(session: &Session) -> Result<(), Failure> {
    let ours = env!("CARGO_PKG_VERSION");
    let (theirs, missing) = match session.call::<_, VersionReply>("io.contentd.Daemon.GetVersion", &NoParams {}) {
        Ok(reply) => (Some(reply.version), None),
        Err(Failure::Client(error @ ClientError::Unreachable { .. })) => (None, Some(error)),
        Err(failure) => return Err(failure),
    };
    session.printer.record(&json!({ "contentctl": ours, "contentd": theirs }), &["contentctl", "contentd"])?;
    missing.map_or(Ok(()), |error| Err(error.into()))
}

/// `contentctl backup`. A relative path is taken from here, not from where the daemon is.
pub fn backup(session: &Session, args: BackupArgs) -> Result<(), Failure> {
    let named = |path: std::path::PathBuf| {
        let absolute = std::path::absolute(&path)?;
        let text = absolute.into_os_string().into_string();
        text.map_err(|text| Failure::usage("FILE", &text.to_string_lossy(), "a path in UTF-8"))
    };
    let params = BackupParams { file: args.file.map(named).transpose()?, keep: args.keep };
    let reply: BackupReply = session.call("io.contentd.Daemon.Backup", &params)?;
    session.printer.record(&reply, &["file", "bytes", "tasks", "deleted"])
}

/// `contentctl drain`.
pub fn drain(session: &Session) -> Result<(), Failure> {
    let reply: DrainReply = match session.call("io.contentd.Daemon.Drain", &NoParams {}) {
        Err(Failure::Client(ClientError::Refused(ApiError::Draining))) if session.printer.is_for_people() => {
            return session.printer.text("the daemon drains already");
        }
        reply => reply?,
    };
    if !session.printer.is_for_people() {
        return session.printer.record(&reply, &["in_flight"]);
    }
    let note = "the daemon ends what it is at and exits";
    let go_on = counted(reply.in_flight, "job goes on at its generator", "jobs go on at their generators");
    session.printer.prose(&format!("{note}; {go_on}"))
}

/// `contentctl reload`.
pub fn reload(session: &Session) -> Result<(), Failure> {
    let reply: ReloadReply = session.call("io.contentd.Daemon.Reload", &NoParams {})?;
    if !session.printer.is_for_people() {
        return session.printer.record(&reply, &["changed", "needs_restart", "warnings"]);
    }
    let named = |names: &[String]| if names.is_empty() { "nothing".to_owned() } else { safe(&names.join(", ")) };
    session.printer.prose(&format!("reloaded; changed: {}", named(&reply.changed)))?;
    if !reply.needs_restart.is_empty() {
        session.tell(format!("needs a restart: {}", named(&reply.needs_restart)));
    }
    for warning in &reply.warnings {
        session.tell(format!("warning: {}", safe(warning)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_was_not_meant_is_told_with_what_ends_it() {
        let pause = |generator: Option<&str>, account_id| PauseView {
            generator: generator.map(str::to_owned),
            account_id,
            reason: None,
            who: "1000:ada".into(),
            since: crate::control::values::WireTime(crate::task::Timestamp(0)),
        };
        let one = nothing_resumed("everything together", &[pause(Some("sample"), None)]).to_string();
        let cure =
            "everything together is not paused; `contentctl resume --generator sample` ends the pause that stands";
        assert!(one.ends_with(cure), "{one}");
        let both = [pause(None, None), pause(Some("sample"), Some(3))];
        let both = nothing_resumed("account blog", &both).to_string();
        assert!(both.ends_with(
            "`contentctl resume`, `contentctl resume --generator sample --account 3` end the pauses that stand"
        ));
    }

    #[test]
    fn what_a_fault_says_is_not_said_a_second_time() {
        let generator = |why: &str| GeneratorView {
            name: "sample".into(),
            is_available: false,
            faults: vec!["generators.sample: program `creator` is not there; `{creator}` stands for it".into()],
            breaker: "unavailable".into(),
            breaker_reason: Some(why.into()),
            next_probe_at: None,
            in_flight: 0,
            max_in_flight: 8,
            submits_today: None,
            submits_per_day: None,
        };
        assert_eq!(said_once(&generator("program `creator` is not there")).breaker_reason, None);
        let other = generator("half of its jobs fail");
        assert_eq!(said_once(&other), other);
    }
}
