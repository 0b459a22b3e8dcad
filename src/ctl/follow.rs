//! `wait` and `watch`: the verbs that last.
//!
//! Both go on over a restart of the daemon: a wait looks again, a watch says that it may have missed something.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::Session;
use super::args::{WaitArgs, WatchArgs};
use super::failure::Failure;
use super::names;
use super::tasks::{TASK_COLUMNS, TASK_FIELDS};
use super::text::safe;
use super::when::local;
use crate::control::api::{TaskParams, TaskReply, TaskView, WaitParams, WaitReply, WatchParams, WatchReply};
use crate::control::client::ClientError;
use crate::control::values::{DURATION_FORMS, TextOrNumber, parse_duration_s};

/// How much later than the daemon we give up ourselves: it may be gone without our seeing it.
const GRACE: Duration = Duration::from_secs(2);

/// How many tasks are asked about before a wait begins.
const MOST_EXPLAINED: usize = 20;
/// Where to look for what a wait for everything did not see ending.
const WHICH: &str = "; `contentctl list --state unfinished` says which, and why they wait";

/// Says on standard error how a task goes on, once for each change that people see.
#[derive(Default)]
struct Progress {
    said: BTreeMap<String, String>,
}

impl Progress {
    fn show(&mut self, task: &TaskView) {
        // How far a task is matters only until it has ended.
        let is_over = task.completed_at.is_some();
        let progress = task.progress.as_ref().filter(|_| !is_over);
        let detail = [progress, task.reason.as_ref(), task.error.as_ref()];
        let detail = detail.into_iter().flatten().next().map(|text| format!(" ({})", safe(text))).unwrap_or_default();
        let line = format!("{}: {}{detail}", task.task_id, task.state);
        if self.said.insert(task.task_id.clone(), line.clone()).as_ref() != Some(&line) {
            // Nobody to say it to is no failure.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

/// `contentctl wait`.
pub fn wait(session: &Session, args: &WaitArgs) -> Result<(), Failure> {
    let timeout = args.timeout.as_deref().map(|text| {
        parse_duration_s(text).map(Duration::from_secs).ok_or_else(|| Failure::usage("--timeout", text, DURATION_FORMS))
    });
    let deadline = timeout.transpose()?.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut progress = Progress::default();
    if !args.all {
        tell_why_waiting(session, &args.tasks, &mut progress);
    }
    let last = session.repeat(|client| {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // Rounded up: the daemon must not end the wait before we would.
        let timeout = left.map(|left| TextOrNumber(left.as_millis().div_ceil(1000).to_string()));
        let named = (!args.all).then(|| args.tasks.clone());
        let params = WaitParams { tasks: named, all: args.all.then_some(true), timeout };
        let patience = deadline.map(|deadline| deadline + GRACE);
        let mut last = None;
        client.call_more("io.contentd.Tasks.Wait", &params, patience, |reply: WaitReply| {
            match &reply.changed {
                Some(task) => progress.show(task),
                None => last = Some(reply),
            }
            Ok::<_, ClientError>(ControlFlow::Continue(()))
        })?;
        last.ok_or_else(|| ClientError::Unreadable("the wait ended without its last answer".into()))
    });
    let timed_out =
        || Failure::TimedOut(format!("gave up after {}; the tasks go on", args.timeout.as_deref().unwrap_or_default()));
    match last {
        Ok(last) => print_waited(session, args, &last, timed_out),
        Err(Failure::Client(ClientError::TimedOut)) => Err(timed_out()),
        Err(failure) => Err(failure),
    }
}

/// Says of tasks that have not begun why not: one that may not start before tomorrow changes nothing until then, and a wait
/// would say nothing. Who cannot be asked is waited for all the same.
fn tell_why_waiting(session: &Session, tasks: &[String], progress: &mut Progress) {
    // A daemon that does not answer must not hold up a wait that has a limit.
    let until = Instant::now() + GRACE;
    let Ok(mut client) = session.connect() else { return };
    for task in tasks.iter().take(MOST_EXPLAINED) {
        let params = TaskParams { task: task.clone() };
        match client.call_until::<_, TaskReply>("io.contentd.Tasks.Status", &params, until) {
            Ok(TaskReply { task }) if task.state == "pending" => progress.show(&task),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

fn print_waited(
    session: &Session,
    args: &WaitArgs,
    last: &WaitReply,
    timed_out: impl Fn() -> Failure,
) -> Result<(), Failure> {
    match (args.all, args.tasks.as_slice(), last.tasks.as_slice()) {
        (true, _, _) if session.printer.is_for_people() => session.tell(&match last.unfinished {
            0 => "every task has ended, or waits for a person".to_owned(),
            1 => format!("1 task has not ended{}", WHICH),
            count => format!("{count} tasks have not ended{}", WHICH),
        }),
        (true, _, _) => session.printer.record(last, &["unfinished", "is_timed_out"])?,
        (false, [_], [task]) if !session.printer.is_for_people() => session.printer.record(task, TASK_FIELDS)?,
        (false, _, tasks) => names::rows(session, tasks, TASK_COLUMNS, TASK_FIELDS)?,
    }
    if last.is_timed_out {
        return Err(timed_out());
    }
    if last.tasks.iter().any(|task| task.state != "completed") {
        return Err(Failure::NotCompleted);
    }
    Ok(())
}

const WATCH_FIELDS: &[&str] = &["at", "event", "from_state", "why", "who", "task"];

/// `contentctl watch`.
pub fn watch(session: &Session, args: WatchArgs) -> Result<(), Failure> {
    let tasks = Some(args.tasks).filter(|tasks| !tasks.is_empty());
    let params = WatchParams { tasks, account: args.account.map(TextOrNumber), generator: args.generator };
    let is_first = Cell::new(true);
    let mut noted: BTreeMap<String, String> = BTreeMap::new();
    let is_again = Cell::new(false);
    // What happens to our own output must not look like the daemon's fault, so it is carried out beside.
    let mut broken = None;
    let result = session.repeat(|client| {
        if is_again.replace(true) {
            session.tell("the daemon was restarted; changes in between were not seen");
        }
        client.call_more("io.contentd.Tasks.Watch", &params, None, |reply: WatchReply| {
            if session.printer.is_for_people() && !is_news(&mut noted, &reply) {
                return Ok(ControlFlow::Continue(()));
            }
            match session.printer.item(&reply, WATCH_FIELDS, is_first.replace(false), &line_of(&reply)) {
                Ok(()) => Ok::<_, ClientError>(ControlFlow::Continue(())),
                Err(failure) => {
                    broken = Some(failure);
                    Ok(ControlFlow::Break(()))
                }
            }
        })
    });
    match broken {
        Some(failure) => Err(failure),
        None => result,
    }
}

/// A look at a task that changed nothing people see is no line; programs get every one.
fn is_news(noted: &mut BTreeMap<String, String>, reply: &WatchReply) -> bool {
    if reply.task.completed_at.is_some() {
        noted.remove(&reply.task.task_id);
        return true;
    }
    let note = note_of(reply).cloned().unwrap_or_default();
    let before = noted.insert(reply.task.task_id.clone(), note.clone());
    let is_change = reply.event.is_some() || reply.from_state.as_ref().is_some_and(|from| *from != reply.task.state);
    is_change || before.unwrap_or_default() != note
}

fn note_of(reply: &WatchReply) -> Option<&String> {
    reply.why.as_ref().or(reply.task.progress.as_ref())
}

fn line_of(reply: &WatchReply) -> String {
    let task = &reply.task;
    let from = reply
        .from_state
        .as_deref()
        .filter(|from| *from != task.state)
        .map(|from| format!("{from} → "))
        .unwrap_or_default();
    let event = reply.event.as_deref().unwrap_or("noted");
    let note = note_of(reply).map(|text| format!("  {}", safe(text))).unwrap_or_default();
    let at = local(&reply.at.to_string());
    format!("{at}  {}  {from}{}  {}{note}", safe(&task.task_id), safe(&task.state), safe(event))
}
