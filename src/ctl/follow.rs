//! `wait` and `watch`: the verbs that last; and the waits of `submit`.
//!
//! All go on over a restart of the daemon, however long it drains: a wait looks again, a watch says that it may have missed
//! something. The surprise: a file may hold more tasks than one call may name, so its tasks are waited for part by part, and a part whose answer is too
//! long for a message is asked about in halves. The daemon ends a wait with the name of a task that is not there; here it goes on for
//! the others.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Session;
use super::args::{WaitArgs, WatchArgs};
use super::failure::Failure;
use super::names;
use super::output::say;
use super::tasks::{TASK_COLUMNS, TASK_FIELDS};
use super::text::{fitted, padded, safe, width};
use super::when::{in_local_times, local};
use crate::control::api::checked::MAX_NAMED;
use crate::control::api::{ApiError, TaskParams, TaskReply, TaskView, WaitParams, WaitReply, WatchParams, WatchReply};
use crate::control::client::ClientError;
use crate::control::values::{DURATION_FORMS, TextOrNumber, parse_duration_s};
use crate::task::account::IN_A_DAY;
use crate::text::counted;

/// How much later than the daemon we give up ourselves: it may be gone without our seeing it.
const GRACE: Duration = Duration::from_secs(2);

/// How many tasks are asked about before a wait begins.
const MOST_EXPLAINED: usize = 20;
/// What is said where a limit a day holds what is waited for. The reason before it names the limit, and until when.
const LONG_WAIT: &str = "this may take until tomorrow: Ctrl-C ends the wait alone, the task is kept and runs when its day lets it \
                         (`contentctl wait TASK` waits again). An account's limit is raised by `contentctl account set ACCOUNT \
                         --submits-per-day N`, a generator's by submits_per_day in the configuration and `contentctl reload`";
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
        let progress = task.progress.as_deref().filter(|_| !is_over).map(far);
        let detail = progress.or_else(|| words_of(task).map(|words| in_local_times(&words)));
        let detail = detail.map(|text| format!(" ({})", safe(&text))).unwrap_or_default();
        let line = format!("{}: {}{detail}", task.task_id, task.state);
        if self.said.insert(task.task_id.clone(), line.clone()).as_ref() != Some(&line) {
            say(&line);
        }
    }
}

/// Why a task is as it is. One that goes on says why its last attempt ended, too: else nobody would see that there was one.
fn words_of(task: &TaskView) -> Option<String> {
    let goes_on = matches!(task.state.as_str(), "pending" | "submitting" | "submitted" | "processing");
    match (task.reason.as_deref(), task.error.as_deref()) {
        (Some(reason), Some(error)) if goes_on && reason != error => {
            Some(format!("{reason}; the last attempt: {error}"))
        }
        (Some(reason), _) => Some(reason.to_owned()),
        (None, Some(error)) if goes_on => Some(format!("tried again; the last attempt: {error}")),
        (None, error) => error.map(str::to_owned),
    }
}

/// How far a task is, as its generator says it: a whole number alone is one of a hundred.
fn far(progress: &str) -> String {
    let is_of_hundred = progress.parse::<u8>().is_ok_and(|number| number <= 100);
    if is_of_hundred { format!("{progress} %") } else { progress.to_owned() }
}

/// How far the tasks of a file are: one line on a terminal, which is written anew; elsewhere a line for each change.
struct Together {
    count: usize,
    is_line: bool,
    ended: BTreeMap<String, String>,
    /// Columns of what stands there now.
    shown: usize,
    each: Progress,
}

impl Together {
    fn new(count: usize) -> Self {
        let is_line = std::io::stderr().is_terminal();
        Self { count, is_line, ended: BTreeMap::new(), shown: 0, each: Progress::default() }
    }

    fn see(&mut self, task: &TaskView) {
        if is_settled(task) {
            self.ended.insert(task.task_id.clone(), task.state.clone());
        } else {
            self.ended.remove(&task.task_id);
        }
    }

    fn show(&mut self, task: &TaskView) {
        self.see(task);
        if !self.is_line {
            return self.each.show(task);
        }
        let line = self.line();
        let columns = super::output::columns_of(std::io::stderr()).unwrap_or(80).saturating_sub(1);
        let line = fitted(&line, columns);
        // Nobody to say it to is no failure.
        let _ = write!(std::io::stderr(), "\r{}", padded(&line, self.shown));
        self.shown = width(&line);
    }

    fn line(&self) -> String {
        format!(
            "{} of {} have ended{}",
            self.ended.len(),
            self.count,
            by_state(self.ended.values().map(String::as_str))
        )
    }

    /// Leaves the line where it is.
    fn end(&mut self) {
        if std::mem::take(&mut self.shown) > 0 {
            let _ = writeln!(std::io::stderr());
        }
    }
}

/// Whether a wait for it is over: it has ended, or only a person can go on.
fn is_settled(task: &TaskView) -> bool {
    task.completed_at.is_some() || task.state == "held"
}

/// `: 2 completed, 1 failed`, or nothing where there is none.
fn by_state<'a>(states: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for state in states {
        *counts.entry(state).or_default() += 1;
    }
    let said: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {}", safe(state))).collect();
    if said.is_empty() { String::new() } else { format!(": {}", said.join(", ")) }
}

/// By when a wait is given up.
struct Patience {
    said: Option<String>,
    deadline: Option<Instant>,
}

impl Patience {
    fn of(said: Option<String>) -> Result<Self, Failure> {
        let seconds = said
            .as_deref()
            .map(|text| parse_duration_s(text).ok_or_else(|| Failure::usage("--timeout", text, DURATION_FORMS)));
        let limit = seconds.transpose()?.map(Duration::from_secs);
        Ok(Self { said, deadline: limit.and_then(|limit| Instant::now().checked_add(limit)) })
    }

    fn is_over(&self) -> Failure {
        let said = self.said.as_deref().unwrap_or_default().trim();
        let unit = if said.bytes().all(|byte| byte.is_ascii_digit()) { " s" } else { "" };
        Failure::TimedOut(format!("gave up after {said}{unit}; the tasks go on"))
    }
}

/// Waits for the tasks that are named, or for all; the daemon's last word on them.
fn settled(
    session: &Session,
    named: Option<&[String]>,
    patience: &Patience,
    show: &mut dyn FnMut(&TaskView),
) -> Result<WaitReply, Failure> {
    let last = session.await_end(patience.deadline, |client| {
        let now = Instant::now();
        let left = patience.deadline.map(|deadline| deadline.saturating_duration_since(now));
        // Rounded up: the daemon must not end the wait before we would.
        let timeout = left.map(|left| TextOrNumber(left.as_millis().div_ceil(1000).to_string()));
        let params = WaitParams { tasks: named.map(<[String]>::to_vec), all: named.is_none().then_some(true), timeout };
        let longest = patience.deadline.map(|deadline| deadline.max(now) + GRACE);
        let mut last = None;
        client.call_more("io.contentd.Tasks.Wait", &params, longest, |reply: WaitReply| {
            match &reply.changed {
                Some(task) => show(task),
                None => last = Some(reply),
            }
            Ok::<_, ClientError>(ControlFlow::Continue(()))
        })?;
        last.ok_or_else(|| ClientError::Unreadable("the wait ended without its last answer".into()))
    });
    match last {
        Err(Failure::Client(ClientError::TimedOut)) => Err(patience.is_over()),
        last => last,
    }
}

/// Says of tasks that have not begun why not: one that may not start before tomorrow changes nothing until then, and a wait
/// would say nothing. Who cannot be asked is waited for all the same.
fn tell_why_waiting(session: &Session, tasks: &[String], progress: &mut Progress) {
    // A daemon that does not answer must not hold up a wait that has a limit.
    let until = Instant::now() + GRACE;
    let Ok(mut client) = session.connect() else { return };
    let mut is_day_over = false;
    for task in tasks.iter().take(MOST_EXPLAINED) {
        let params = TaskParams { task: task.clone() };
        match client.call_until::<_, TaskReply>("io.contentd.Tasks.Status", &params, until) {
            Ok(TaskReply { task }) if task.state == "pending" => {
                progress.show(&task);
                is_day_over |= has_no_day_left(&task);
            }
            // One that is not there is told by the wait itself.
            Ok(_) | Err(ClientError::Refused(_)) => {}
            Err(_) => break,
        }
    }
    if is_day_over {
        say(LONG_WAIT);
    }
}

/// Whether a limit of the submits of a day holds it.
fn has_no_day_left(task: &TaskView) -> bool {
    task.reason.as_deref().is_some_and(|reason| reason.contains(IN_A_DAY))
}

/// Whether a limit of a day holds the last of tasks that are waited for together: the first may have spent it. It is asked at the
/// beginning and whenever one has ended, a few times, and told once.
struct DayWatch<'t> {
    last: Option<&'t str>,
    asks_left: usize,
}

impl<'t> DayWatch<'t> {
    fn of(tasks: &'t [String]) -> Self {
        Self { last: tasks.last().map(String::as_str), asks_left: MOST_EXPLAINED }
    }

    fn look(&mut self, session: &Session, together: &mut Together) {
        let Some(last) = self.last.filter(|_| self.asks_left > 0) else { return };
        self.asks_left -= 1;
        let params = TaskParams { task: last.to_owned() };
        let Ok(mut client) = session.connect() else { return };
        let asked = client.call_until::<_, TaskReply>("io.contentd.Tasks.Status", &params, Instant::now() + GRACE);
        if let Ok(TaskReply { task }) = asked
            && task.state == "pending"
            && has_no_day_left(&task)
        {
            self.asks_left = 0;
            together.end();
            together.each.show(&task);
            say(LONG_WAIT);
        }
    }
}

/// The same for so many that the answer may be too long for a message.
fn settled_in_parts(
    session: &Session,
    named: &[String],
    patience: &Patience,
    show: &mut dyn FnMut(&TaskView),
) -> Result<WaitReply, Failure> {
    match settled(session, Some(named), patience, show) {
        Err(Failure::Client(ClientError::Refused(ApiError::ReplyTooLarge { .. }))) if named.len() > 1 => {
            let (first, second) = named.split_at(named.len() / 2);
            let mut whole = settled_in_parts(session, first, patience, show)?;
            let rest = settled_in_parts(session, second, patience, show)?;
            whole.tasks.extend(rest.tasks);
            whole.is_timed_out |= rest.is_timed_out;
            Ok(whole)
        }
        last => last,
    }
}

/// Waits for tasks of which each is there, and for the others where one is not: it was deleted by a cleanup, or never was. Those go
/// from the list to `gone`; the last answer is empty where nothing is left.
fn settled_but_gone(
    session: &Session,
    named: &[String],
    patience: &Patience,
    gone: &mut Vec<String>,
    show: &mut dyn FnMut(&TaskView),
) -> Result<WaitReply, Failure> {
    let mut left = named.to_vec();
    loop {
        let task = match settled_in_parts(session, &left, patience, show) {
            Err(Failure::Client(ClientError::Refused(ApiError::TaskNotFound { task }))) => task,
            last => return last,
        };
        let count = left.len();
        // It is named as it was asked for, or by its whole id.
        left.retain(|name| !task.starts_with(name.as_str()));
        if left.len() == count {
            return Err(Failure::Client(ClientError::Refused(ApiError::TaskNotFound { task })));
        }
        // A refusal names one alone, and who is told how many are waited for wants no other that is gone among them.
        let mut found = vec![task];
        found.extend(take_gone(session, &mut left));
        for task in &found {
            say(&format!("{}: nothing is known of it (did a cleanup delete it?)", safe(task)));
        }
        gone.extend(found);
        if left.is_empty() {
            return Ok(WaitReply { changed: None, tasks: Vec::new(), unfinished: 0, is_timed_out: false });
        }
        say(&counted(left.len() as u64, "other is waited for", "others are waited for"));
    }
}

/// Takes those away that are not there. One that cannot be asked about is left: the wait itself comes upon it.
fn take_gone(session: &Session, left: &mut Vec<String>) -> Vec<String> {
    let mut gone: Vec<String> = Vec::new();
    let until = Instant::now() + GRACE;
    let Ok(mut client) = session.connect() else { return gone };
    left.retain(|name| {
        if gone.contains(name) {
            return false;
        }
        let params = TaskParams { task: name.clone() };
        let asked = client.call_until::<_, TaskReply>("io.contentd.Tasks.Status", &params, until);
        let is_gone = matches!(asked, Err(ClientError::Refused(ApiError::TaskNotFound { .. })));
        gone.extend(is_gone.then(|| name.clone()));
        !is_gone
    });
    gone
}

/// `contentctl wait`.
pub fn wait(session: &Session, args: &WaitArgs) -> Result<(), Failure> {
    let patience = Patience::of(args.timeout.clone())?;
    let mut progress = Progress::default();
    if !args.all {
        tell_why_waiting(session, &args.tasks, &mut progress);
    }
    let mut gone = Vec::new();
    let mut show = |task: &TaskView| progress.show(task);
    let last = match args.all {
        true => settled(session, None, &patience, &mut show)?,
        false => settled_but_gone(session, &args.tasks, &patience, &mut gone, &mut show)?,
    };
    if last.tasks.is_empty() && !gone.is_empty() {
        // Nothing for people, who were told; a program reads which task it was, alone or in a list, as it named one or several.
        match gone.as_slice() {
            [task] if args.tasks.len() == 1 && session.printer.is_json() => session.printer.json(&Gone::of(task))?,
            _ => print_views(session, &[], &gone)?,
        }
        return Err(Failure::NotCompleted);
    }
    print_waited(session, args, &last, &gone, &patience)
}

/// Waits for tasks that were submitted together, and prints what each of them is then.
pub fn wait_together(session: &Session, tasks: &[String], timeout: Option<String>) -> Result<(), Failure> {
    let patience = Patience::of(timeout)?;
    let mut progress = Together::new(tasks.len());
    let (mut views, mut gone, mut is_timed_out) = (Vec::with_capacity(tasks.len()), Vec::new(), false);
    let mut day = DayWatch::of(tasks);
    day.look(session, &mut progress);
    for part in tasks.chunks(MAX_NAMED) {
        let mut show = |task: &TaskView| {
            progress.show(task);
            if is_settled(task) {
                day.look(session, &mut progress);
            }
        };
        let last = settled_but_gone(session, part, &patience, &mut gone, &mut show);
        let last = last.inspect_err(|_| progress.end())?;
        last.tasks.iter().for_each(|task| progress.see(task));
        is_timed_out |= last.is_timed_out;
        views.extend(last.tasks);
    }
    progress.end();
    // As they stand in the file: an answer has them in the order of their ids.
    let places: BTreeMap<&str, usize> = tasks.iter().enumerate().map(|(place, id)| (id.as_str(), place)).collect();
    views.sort_by_key(|task| places.get(task.task_id.as_str()).copied());
    print_views(session, &views, &gone)?;
    let count = counted(tasks.len() as u64, "task", "tasks");
    let states = views.iter().map(|task| task.state.as_str()).chain(gone.iter().map(|_| "unknown"));
    session.tell(format!("{count}{}", by_state(states)));
    judged(&views, &gone, is_timed_out, &patience)
}

fn print_waited(
    session: &Session,
    args: &WaitArgs,
    last: &WaitReply,
    gone: &[String],
    patience: &Patience,
) -> Result<(), Failure> {
    match (args.all, args.tasks.as_slice(), last.tasks.as_slice()) {
        (true, _, _) if session.printer.is_for_people() => session.tell(&match last.unfinished {
            0 => "every task has ended, or waits for a person".to_owned(),
            1 => format!("1 task has not ended{}", WHICH),
            count => format!("{count} tasks have not ended{}", WHICH),
        }),
        (true, _, _) => session.printer.record(last, &["unfinished", "is_timed_out"])?,
        (false, [_], [task]) if !session.printer.is_for_people() => names::record(session, task, TASK_FIELDS)?,
        (false, _, tasks) => print_views(session, tasks, gone)?,
    }
    judged(&last.tasks, gone, last.is_timed_out, patience)
}

/// A task of which nothing is known, for programs: what they have named is in the answer, whatever became of it.
#[derive(Serialize)]
struct Gone<'a> {
    task_id: &'a str,
    state: Option<&'a str>,
    known: bool,
}

impl<'a> Gone<'a> {
    const fn of(task_id: &'a str) -> Self {
        Self { task_id, state: None, known: false }
    }
}

/// A task as a wait ends with it.
#[derive(Serialize)]
#[serde(untagged)]
enum Waited<'a> {
    Known(&'a TaskView),
    Gone(Gone<'a>),
}

/// Tasks as they are after a wait; behind them, for programs, those that are not there.
fn print_views(session: &Session, tasks: &[TaskView], gone: &[String]) -> Result<(), Failure> {
    if session.printer.is_for_people() {
        // An empty table would say that nothing was waited for.
        return if tasks.is_empty() { Ok(()) } else { names::rows(session, tasks, TASK_COLUMNS, TASK_FIELDS) };
    }
    let gone = gone.iter().map(|task| Waited::Gone(Gone::of(task)));
    let all: Vec<Waited<'_>> = tasks.iter().map(Waited::Known).chain(gone).collect();
    names::rows(session, &all, TASK_COLUMNS, TASK_FIELDS)
}

/// What the exit status says of tasks that were waited for. Nobody knows that one which is gone was completed.
fn judged(tasks: &[TaskView], gone: &[String], is_timed_out: bool, patience: &Patience) -> Result<(), Failure> {
    if is_timed_out {
        return Err(patience.is_over());
    }
    if !gone.is_empty() || tasks.iter().any(|task| task.state != "completed") {
        return Err(Failure::NotCompleted);
    }
    Ok(())
}

const WATCH_FIELDS: &[&str] = &[
    "at",
    "event",
    "from_state",
    "task.state",
    "task.task_id",
    "task.account_id",
    "task.generator",
    "task.topic",
    "task.progress",
    "why",
    "who",
];
/// Columns of the topic in a line, which is there to know the task by.
const TOPIC_COLUMNS: usize = 30;
const WATCH_HEADING: &str = "AT                   TASK               WHAT HAPPENED: STATE  [TOPIC]  WHY";

/// `contentctl watch`.
pub fn watch(session: &Session, args: WatchArgs) -> Result<(), Failure> {
    let tasks = Some(args.tasks).filter(|tasks| !tasks.is_empty());
    let params = WatchParams { tasks, account: args.account.map(TextOrNumber), generator: args.generator };
    let is_first = Cell::new(true);
    let mut noted: BTreeMap<String, String> = BTreeMap::new();
    let is_again = Cell::new(false);
    // What happens to our own output must not look like the daemon's fault, so it is carried out beside.
    let mut broken = None;
    let result = session.await_end(None, |client| {
        if is_again.replace(true) {
            session.tell("the daemon was restarted; changes in between were not seen");
        }
        client.call_more("io.contentd.Tasks.Watch", &params, None, |reply: WatchReply| {
            if session.printer.is_for_people() && !is_news(&mut noted, &reply) {
                return Ok(ControlFlow::Continue(()));
            }
            let is_first = is_first.replace(false);
            if is_first && session.printer.is_for_people() {
                broken = session.printer.text(WATCH_HEADING).err();
            }
            if broken.is_some() {
                return Ok(ControlFlow::Break(()));
            }
            match session.printer.item(&reply, WATCH_FIELDS, is_first, &line_of(&reply)) {
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
    let note = note_of(reply).unwrap_or_default();
    let before = noted.insert(reply.task.task_id.clone(), note.clone());
    let is_change = reply.event.is_some() || reply.from_state.as_ref().is_some_and(|from| *from != reply.task.state);
    is_change || before.unwrap_or_default() != note
}

fn note_of(reply: &WatchReply) -> Option<String> {
    let why = reply.why.as_deref().map(in_local_times);
    why.or_else(|| reply.task.progress.as_deref().map(far))
}

fn line_of(reply: &WatchReply) -> String {
    let task = &reply.task;
    let from = reply
        .from_state
        .as_deref()
        .filter(|from| *from != task.state)
        .map(|from| format!("{from} → "))
        .unwrap_or_default();
    let is_progress = reply.why.is_none() && task.progress.is_some();
    let event = match reply.event.as_deref() {
        // The state of that name is another thing: a generator took it.
        Some("submitted") if reply.from_state.is_none() => "taken in",
        Some(event) => event,
        None if is_progress => "progress",
        None => "noted",
    };
    let note = note_of(reply).map(|text| format!("  {}", safe(&text))).unwrap_or_default();
    let (at, topic) = (local(&reply.at.to_string()), fitted(&safe(&task.topic), TOPIC_COLUMNS));
    format!("{at}  {}  {}: {from}{}  [{topic}]{note}", safe(&task.task_id), safe(event), safe(&task.state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{AccountId, GeneratorName, Task, TaskId, TaskState, Timestamp};

    #[test]
    fn the_first_line_of_a_task_is_not_named_like_a_state() {
        let mut task = Task::blank(TaskId("task-a".into()), AccountId(1), GeneratorName("sample".into()), Timestamp(0));
        task.state = TaskState::Submitting;
        let mut reply: WatchReply = serde_json::from_value(serde_json::json!({
            "at": "2026-01-01T00:00:00Z", "event": "submitted", "who": "contentd", "task": TaskView::of(&task, None),
        }))
        .expect("it is one");
        assert!(line_of(&reply).contains("taken in: submitting"), "{}", line_of(&reply));
        reply.event = Some("accepted".into());
        reply.from_state = Some("submitting".into());
        reply.task.state = "submitted".into();
        assert!(line_of(&reply).contains("accepted: submitting → submitted"), "{}", line_of(&reply));
    }

    #[test]
    fn a_task_that_is_tried_again_says_why() {
        let mut task = Task::blank(TaskId("task-a".into()), AccountId(1), GeneratorName("sample".into()), Timestamp(0));
        task.error = Some("429".into());
        let words = |task: &Task| words_of(&TaskView::of(task, None));
        assert_eq!(words(&task).as_deref(), Some("tried again; the last attempt: 429"));
        task.reason = Some("waits for retry 1 of 3".into());
        assert_eq!(words(&task).as_deref(), Some("waits for retry 1 of 3; the last attempt: 429"));
        (task.state, task.reason) = (TaskState::Failed, None);
        assert_eq!(words(&task).as_deref(), Some("429"));
    }

    #[test]
    fn how_far_a_task_is_has_its_unit() {
        assert_eq!(["10", "100", "0.5", "101", "3 of 7"].map(far), ["10 %", "100 %", "0.5", "101", "3 of 7"]);
    }

    #[test]
    fn how_far_a_file_is_stands_in_one_line() {
        let seen = |n: usize, state: TaskState| {
            let id = TaskId(format!("task-{n:012}"));
            let mut task = Task::blank(id, AccountId(1), GeneratorName("sample".into()), Timestamp(0));
            (task.state, task.completed_at) = (state, state.is_final().then_some(Timestamp(1)));
            TaskView::of(&task, None)
        };
        let mut together = Together::new(3);
        together.see(&seen(1, TaskState::Processing));
        assert_eq!(together.line(), "0 of 3 have ended");
        for (n, state) in [(1, TaskState::Completed), (2, TaskState::Held), (3, TaskState::Failed)] {
            together.see(&seen(n, state));
        }
        assert_eq!(together.line(), "3 of 3 have ended: 1 completed, 1 failed, 1 held");
        together.see(&seen(2, TaskState::Processing));
        assert_eq!(together.line(), "2 of 3 have ended: 1 completed, 1 failed", "a person let it go on");
    }
}
