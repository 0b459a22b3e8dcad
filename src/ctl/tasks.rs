//! The verbs on tasks that ask once and print.

use std::ops::ControlFlow;

use serde::Serialize;

use super::Session;
use super::args::{
    CancelArgs, CleanupArgs, CorrectArgs, FilterArgs, ListArgs, PageArgs, PollArgs, ReleaseArgs, RetryArgs, SetArgs,
    SettleArgs,
};
use super::daemon;
use super::failure::Failure;
use super::names;
use super::output::{say, value_of};
use super::page;
use super::spreadsheet;
use super::table::{Column, fixed, flexible, sentences, spare, wanted};
use super::text::{counted, padded, safe};
use super::when;
use crate::config::format_duration;
use crate::control::api::checked::MAX_LIMIT;
use crate::control::api::{
    AttemptView, BulkReply, CancelParams, CleanupParams, CleanupReply, CorrectParams, HistoryReply, ListParams,
    NoParams, PollAllReply, QueueParams, QueueReply, ReleaseParams, RetryParams, SetParams, SettleParams, ShowReply,
    StatisticsParams, StatisticsReply, StatusReply, TaskFilterParams, TaskParams, TaskReply, TaskView, TasksReply,
};
use crate::control::client::ClientError;
use crate::control::values::TextOrNumber;

/// Every field of a task, in the order of the wire.
pub const TASK_FIELDS: &[&str] = &[
    "task_id",
    "state",
    "account_id",
    "topic",
    "keywords",
    "category",
    "requirements",
    "tone",
    "priority",
    "auto_approve",
    "generator",
    "attempt",
    "retry_count",
    "max_retries",
    "external_ref",
    "generator_state",
    "progress",
    "reason",
    "error",
    "content_id",
    "key",
    "submitted_by",
    "time_limit",
    "created_at",
    "submitted_at",
    "started_at",
    "completed_at",
    "timeout_at",
    "next_attempt_at",
    "next_poll_at",
    "updated_at",
    "ways_out",
];

/// The columns of a list of tasks.
pub const TASK_COLUMNS: &[Column] = &[
    fixed("TASK", "task_id"),
    fixed("STATE", "state"),
    spare("PRI", "priority"),
    flexible("ACCOUNT", "account").goes(1),
    spare("CREATED", "created_at"),
    wanted("TOPIC", "topic"),
    sentences("REASON", "reason").aside().goes(2).below(),
    sentences("ERROR", "error").aside().unless("reason").goes(2).below(),
];

/// An attempt in a row of a spreadsheet, beside its task.
const ATTEMPT_FIELDS: &[&str] = &[
    "attempts.attempt",
    "attempts.state",
    "attempts.key",
    "attempts.external_ref",
    "attempts.generator_state",
    "attempts.sends",
    "attempts.polls",
    "attempts.intended_at",
    "attempts.accepted_at",
    "attempts.ended_at",
    "attempts.timeout_at",
    "attempts.error",
];

pub(super) const ATTEMPT_COLUMNS: &[Column] = &[
    fixed("ATTEMPT", "attempt"),
    fixed("STATE", "state"),
    flexible("REF", "external_ref").goes(0),
    spare("POLLS", "polls"),
    fixed("INTENDED", "intended_at").goes(1),
    fixed("ACCEPTED", "accepted_at").goes(1),
    fixed("ENDED", "ended_at").goes(2),
    sentences("ERROR", "error"),
];

const HISTORY_FIELDS: &[&str] =
    &["at", "event", "from_state", "to_state", "attempt", "attempt_from", "attempt_to", "why", "who"];
pub(super) const HISTORY_COLUMNS: &[Column] = &[
    fixed("AT", "at"),
    fixed("EVENT", "event"),
    spare("FROM", "from_state"),
    fixed("TO", "to_state").goes(1),
    spare("ATTEMPT", "attempt"),
    flexible("WHO", "who").goes(1),
    sentences("WHY", "why"),
];

/// Columns of a command with the id of a task, behind which stands what it means.
const WAY_COLUMNS: usize = 36;

fn one(session: &Session, method: &str, task: &str) -> Result<TaskView, Failure> {
    let reply: TaskReply = session.call(method, &TaskParams { task: task.to_owned() })?;
    Ok(reply.task)
}

fn print_task(session: &Session, task: &TaskView) -> Result<(), Failure> {
    // For people what is said once is said, and the ways out stand below with what they mean.
    let is_said = |field: &str| field == "ways_out" || field == "error" && task.error == task.reason;
    let is_left_out = |field: &str| session.printer.is_for_people() && is_said(field);
    let fields: Vec<&str> = TASK_FIELDS.iter().copied().filter(|field| !is_left_out(field)).collect();
    names::record(session, task, &fields)?;
    match task.state.as_str() {
        _ if !session.printer.is_for_people() => Ok(()),
        "held" => session.printer.prose(&ways_out(task)),
        "pending" if waits_for_a_time(task, jiff::Timestamp::now()) => {
            let is_kept_otherwise = task.reason.as_deref().is_some_and(|reason| reason.contains("; and "));
            let then =
                if is_kept_otherwise { "ends its delay, and nothing else of this" } else { "lets it start at once" };
            let cure = format!("\n`contentctl set {} --delay 0` {then}", safe(&task.task_id));
            session.printer.prose(&cure)
        }
        _ => Ok(()),
    }
}

/// Whether a pending task waits for a time that has not come, and not only for its turn.
fn waits_for_a_time(task: &TaskView, now: jiff::Timestamp) -> bool {
    task.next_attempt_at.is_some_and(|at| at.0.0 > now.as_millisecond())
}

/// What a person can make of a held task, as the daemon would judge it.
fn ways_out(task: &TaskView) -> String {
    let (id, generator) = (safe(&task.task_id), safe(&task.generator));
    let ways = task.ways_out.as_deref().unwrap_or_default();
    let can = |way: &str| ways.iter().any(|one| one == way);
    // One that is over and was read is looked for nowhere.
    let mut lines = match can("adopt") {
        true => format!("\nit waits for a person. Look at generator {generator} for a job of it, then one of"),
        false => "\nit waits for a person. Its job is over; one of".to_owned(),
    };
    let mut line = |way: &str, words: String, meaning: &str| {
        if can(way) {
            lines.push_str(&format!("\n  contentctl {}  {meaning}", padded(&words, WAY_COLUMNS)));
        }
    };
    line("poll", format!("poll {id}"), "ask for its piece once more");
    line("release", format!("release {id}"), "nothing was made of it since the backup: it runs");
    line("adopt", format!("settle {id} --adopt REF"), "REF is its job");
    if !can("release") {
        let meaning = match can("adopt") {
            true => "there is no job of it: it is submitted again",
            false => "it is submitted again, and may be paid for again",
        };
        line("absent", format!("settle {id} --absent"), meaning);
    }
    line("fail", format!("settle {id} --fail --reason \"…\""), "give it up");
    lines
}

/// Prints a task after something was done to it: for people in one line.
fn print_done(session: &Session, task: &TaskView, what: &str) -> Result<(), Failure> {
    if !session.printer.is_for_people() {
        return print_task(session, task);
    }
    session.printer.text(&format!("{}: {what}, {}", task.task_id, task.state))
}

/// `contentctl status`.
pub fn status(session: &Session, tasks: &[String]) -> Result<(), Failure> {
    match tasks {
        [] => daemon::status(session),
        [task] => print_task(session, &one(session, "io.contentd.Tasks.Status", task)?),
        several => {
            let views: Result<Vec<TaskView>, Failure> =
                several.iter().map(|task| one(session, "io.contentd.Tasks.Status", task)).collect();
            names::rows(session, &views?, TASK_COLUMNS, TASK_FIELDS)
        }
    }
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    task: TaskView,
    result: Option<String>,
    attempts: Vec<AttemptView>,
}

/// `contentctl show`.
pub fn show(session: &Session, task: String) -> Result<(), Failure> {
    let reply = session.call_joined("io.contentd.Tasks.Show", &TaskParams { task }, ShowReply::join)?;
    let shown = Shown { task: reply.task, result: reply.result, attempts: reply.attempts };
    if session.printer.is_json() {
        return session.printer.json(&shown);
    }
    if !session.printer.is_for_people() {
        let attempts = shown.attempts.iter().map(value_of).collect::<Result<Vec<_>, _>>()?;
        let rows = spreadsheet::beside(&value_of(&shown)?, "attempts", &attempts, Some("result"));
        let fields: Vec<&str> = TASK_FIELDS.iter().chain(&["result"]).chain(ATTEMPT_FIELDS).copied().collect();
        return names::rows(session, &rows, &[], &fields);
    }
    print_task(session, &shown.task)?;
    if !shown.attempts.is_empty() {
        session.printer.text("")?;
        session.printer.rows(&shown.attempts, ATTEMPT_COLUMNS, &[])?;
    }
    match shown.result {
        Some(result) => session.printer.text(&format!("\n{}", super::text::safe_lines(&result))),
        None => Ok(()),
    }
}

/// `contentctl history`.
pub fn history(session: &Session, task: String) -> Result<(), Failure> {
    let mut events = Vec::new();
    let params = TaskParams { task };
    session.unless_draining(|client| {
        events.clear();
        client.call_more("io.contentd.Tasks.History", &params, None, |reply: HistoryReply| {
            events.extend(reply.events);
            Ok::<_, ClientError>(ControlFlow::Continue(()))
        })
    })?;
    session.printer.rows(&events, HISTORY_COLUMNS, HISTORY_FIELDS)
}

fn filter(args: FilterArgs) -> Result<Option<TaskFilterParams>, Failure> {
    let FilterArgs { state, account, generator, since, error } = args;
    let since = since.map(|text| when::since(&text, jiff::Timestamp::now())).transpose()?;
    let states = Some(state).filter(|states| !states.is_empty());
    let filter = TaskFilterParams { states, account: account.map(TextOrNumber), generator, since, error };
    Ok(Some(filter).filter(|filter| *filter != TaskFilterParams::default()))
}

/// Whether no generator of this name is configured, and no task was ever for it. Who may not ask is not told.
fn is_nobody(session: &Session, generator: &str) -> bool {
    let status = session.call::<_, StatusReply>("io.contentd.Daemon.GetStatus", &NoParams {});
    if !status.is_ok_and(|status| status.generators.iter().all(|known| known.name != generator)) {
        return false;
    }
    let filter = Some(TaskFilterParams { generator: Some(generator.to_owned()), ..TaskFilterParams::default() });
    let params = ListParams { filter, limit: Some(1), ..ListParams::default() };
    session.call::<_, TasksReply>("io.contentd.Tasks.List", &params).is_ok_and(|reply| reply.tasks.is_empty())
}

/// `contentctl list`. More than one call takes is asked for in pages, each from where the last one ended.
pub fn list(session: &Session, args: ListArgs) -> Result<(), Failure> {
    let filter = filter(args.filter)?;
    let mut before = args.before;
    let mut offset = i64::from(args.page.offset);
    let mut tasks: Vec<TaskView> = Vec::new();
    // One more than is wanted, which tells whether there are more.
    let wanted = args.page.limit as usize + 1;
    let mut searched_to = None;
    let is_everything = filter.is_none() && args.topic.is_none() && before.is_none() && offset == 0;
    while tasks.len() < wanted {
        let page = (wanted - tasks.len()).min(MAX_LIMIT as usize);
        let had = tasks.len();
        let params = ListParams {
            filter: filter.clone(),
            limit: i64::try_from(page).ok(),
            offset: Some(offset),
            before: before.clone(),
            topic: args.topic.clone(),
        };
        session.unless_draining(|client| {
            tasks.truncate(had);
            client.call_more("io.contentd.Tasks.List", &params, None, |reply: TasksReply| {
                tasks.extend(reply.tasks);
                searched_to = reply.searched_to;
                Ok::<_, ClientError>(ControlFlow::Continue(()))
            })
        })?;
        if tasks.len() - had < page {
            break;
        }
        before = tasks.last().map(|task| task.task_id.clone());
        offset = 0;
    }
    let is_cut = tasks.len() == wanted;
    let more = page::kept(&mut tasks, &args.page, |task| Some(task.task_id.clone())).filter(|_| is_cut);
    if let Some(id) = searched_to.filter(|_| !is_cut) {
        // Programs too: an answer that is not whole must not look so.
        say(&format!(
            "contentctl: nothing older than {} was looked at; the same with --before {0} goes on there",
            safe(&id)
        ));
    } else if tasks.is_empty() {
        match filter.and_then(|filter| filter.generator).filter(|name| is_nobody(session, name)) {
            // Programs too: a name that is typed wrong brings them an empty list for ever.
            Some(name) => say(&format!(
                "contentctl: no generator {:?} is configured, and no task names it; `contentctl status` lists those that are",
                safe(&name)
            )),
            None => session.tell(if is_everything { "there is no task yet" } else { "no task fits" }),
        }
    }
    names::rows(session, &tasks, TASK_COLUMNS, TASK_FIELDS)?;
    page::tell_more(more);
    Ok(())
}

/// `contentctl queue`.
pub fn queue(session: &Session, page: &PageArgs) -> Result<(), Failure> {
    let mut tasks: Vec<TaskView> = Vec::new();
    let mut size = 0;
    let params =
        QueueParams { limit: Some(i64::from(page.limit.min(MAX_LIMIT))), offset: Some(i64::from(page.offset)) };
    session.unless_draining(|client| {
        tasks.clear();
        client.call_more("io.contentd.Tasks.Queue", &params, None, |reply: QueueReply| {
            size = reply.size;
            tasks.extend(reply.tasks);
            Ok::<_, ClientError>(ControlFlow::Continue(()))
        })
    })?;
    names::rows(session, &tasks, TASK_COLUMNS, TASK_FIELDS)?;
    session.tell(format!("{size} pending in all"));
    Ok(())
}

fn named(tasks: Vec<String>, filter: Option<&TaskFilterParams>) -> Result<Option<Vec<String>>, Failure> {
    match (tasks.is_empty(), filter) {
        (true, None) => Err(Failure::Usage("name tasks by id, or give a filter (--state, --account, …)".into())),
        (false, Some(_)) => Err(Failure::Usage("name tasks by id or give a filter, not both".into())),
        (true, Some(_)) => Ok(None),
        (false, None) => Ok(Some(tasks)),
    }
}

/// What became of one task of several: what was done to it, and its state where that says more.
fn became(state: &str, done: &str, is_dry_run: bool) -> String {
    match state {
        // A release clears up a doubt; it starts nothing that had ended.
        "failed" | "timeout" | "cancelled" if done == "released" => {
            let would = if is_dry_run { "would be " } else { "" };
            format!("{would}released: it stays {state}, and may be retried")
        }
        _ if is_dry_run => format!("would be {done}; it is {state} now"),
        "cancelling" if done == "cancelled" => "cancelling: its job is to be ended first".to_owned(),
        state if state == done => done.to_owned(),
        state => format!("{done}; it is {state} now"),
    }
}

/// Prints what became of several tasks; tasks that were named and passed over are a refusal, and so is a filter that met tasks of which
/// none could be done.
fn print_bulk(session: &Session, reply: &BulkReply, is_by_name: bool, done: &str) -> Result<(), Failure> {
    match (session.printer.is_for_people(), reply.done.as_slice()) {
        (false, [only]) if is_by_name && reply.skipped_count == 0 => {
            session.printer.record(only, &["task_id", "state"])?;
        }
        (false, _) => {
            let fields = ["done", "done_count", "skipped", "skipped_count", "is_dry_run"];
            session.printer.nested(reply, &fields)?;
        }
        (true, tasks) => {
            let verb = if reply.is_dry_run { format!("would be {done}") } else { done.to_owned() };
            for task in tasks {
                session.printer.text(&format!("{}: {}", task.task_id, became(&task.state, done, reply.is_dry_run)))?;
            }
            session.tell(format!("{} {verb}, {} skipped", reply.done_count, reply.skipped_count));
        }
    }
    if reply.skipped_count == 0 {
        return Ok(());
    }
    let lines: Vec<String> = reply.skipped.iter().map(|task| format!("{}: {}", task.task_id, task.message)).collect();
    let message = format!("{} skipped:\n{}", reply.skipped_count, lines.join("\n"));
    if is_by_name || reply.done_count == 0 {
        return Err(Failure::Refused(message));
    }
    session.tell(super::text::safe_lines(&message));
    Ok(())
}

/// `contentctl cancel`.
pub fn cancel(session: &Session, args: CancelArgs) -> Result<(), Failure> {
    let filter = filter(args.filter)?;
    let tasks = named(args.tasks, filter.as_ref())?;
    let is_by_name = tasks.is_some();
    let params = CancelParams { tasks, filter, dry_run: args.dry_run.then_some(true) };
    let reply: BulkReply = session.call("io.contentd.Tasks.Cancel", &params)?;
    print_bulk(session, &reply, is_by_name, "cancelled")
}

/// `contentctl release`.
pub fn release(session: &Session, mut args: ReleaseArgs) -> Result<(), Failure> {
    if args.all {
        args.filter.state = vec!["held".to_owned()];
    }
    let filter = filter(args.filter)?;
    let only_held = TaskFilterParams { states: Some(vec!["held".to_owned()]), ..TaskFilterParams::default() };
    let is_every_held = args.all && filter.as_ref() == Some(&only_held);
    if args.tasks.is_empty() && filter.is_none() {
        return Err(Failure::Usage(
            "say which: tasks by id, or --all for every held task that a restore holds (--dry-run tells first); a filter (--account, \
             --since, …) takes those that had ended, too, and they may be retried then"
                .into(),
        ));
    }
    let tasks = named(args.tasks, filter.as_ref())?;
    let is_by_name = tasks.is_some();
    let params = ReleaseParams { tasks, filter, dry_run: args.dry_run.then_some(true) };
    let reply: BulkReply = session.call("io.contentd.Tasks.Release", &params)?;
    print_bulk(session, &reply, is_by_name, "released")?;
    if is_every_held && session.printer.is_for_people() && (reply.done_count, reply.skipped_count) == (0, 0) {
        tell_other_held(session);
    }
    Ok(())
}

/// What is held though nothing was released. Whoever cannot be told has released nothing all the same.
fn tell_other_held(session: &Session) {
    let status = session.call::<_, StatusReply>("io.contentd.Daemon.GetStatus", &NoParams {});
    let held = status.ok().and_then(|status| status.tasks.get("held").copied()).unwrap_or(0);
    if held > 0 {
        let (are, them) =
            (crate::text::counted(held, "held task is", "held tasks are"), if held == 1 { "it" } else { "them" });
        session.tell(format!("{are} not held by a restore: `contentctl settle` decides about {them}"));
    }
}

/// `contentctl retry`.
pub fn retry(session: &Session, args: RetryArgs) -> Result<(), Failure> {
    let filter = filter(args.filter)?;
    let tasks = named(args.tasks, filter.as_ref())?;
    let is_by_name = tasks.is_some();
    let params = RetryParams {
        tasks,
        filter,
        dry_run: args.dry_run.then_some(true),
        reset_count: args.reset_count.then_some(true),
        abandon: args.abandon.then_some(true),
        reason: args.reason,
    };
    let reply: BulkReply = session.call("io.contentd.Tasks.Retry", &params)?;
    let printed = print_bulk(session, &reply, is_by_name, "retried");
    // Asked afterwards: what was done is told first, however long the daemon takes to say more.
    tell_delays(session, &reply);
    printed
}

/// How many retried tasks are asked about.
const MOST_ASKED: usize = 20;

/// Says of retried tasks whose delay still stands that they do not start now. Whoever cannot be told has retried them all the same.
fn tell_delays(session: &Session, reply: &BulkReply) {
    if !session.printer.is_for_people() || reply.is_dry_run {
        return;
    }
    let now = jiff::Timestamp::now();
    for done in reply.done.iter().filter(|task| task.state == "pending").take(MOST_ASKED) {
        let Ok(task) = one(session, "io.contentd.Tasks.Status", &done.task_id) else { return };
        if let Some(at) = task.next_attempt_at.filter(|_| waits_for_a_time(&task, now)) {
            let (id, at) = (safe(&task.task_id), when::local(&at.to_string()));
            session.tell(format!("{id}: not before {at}: `contentctl set {id} --delay 0` starts it now"));
        }
    }
}

/// `contentctl correct`.
pub fn correct(session: &Session, args: CorrectArgs) -> Result<(), Failure> {
    let CorrectArgs { task, state, reason, abandon } = args;
    let params = CorrectParams { task, state, reason, abandon: abandon.then_some(true) };
    let reply: TaskReply = session.call("io.contentd.Tasks.Correct", &params)?;
    print_done(session, &reply.task, "corrected")
}

/// `contentctl settle`.
pub fn settle(session: &Session, args: SettleArgs) -> Result<(), Failure> {
    let SettleArgs { task, adopt, absent, fail, reason } = args;
    let params = SettleParams { task, adopt, absent: absent.then_some(true), fail: fail.then_some(true), reason };
    let reply: TaskReply = session.call("io.contentd.Tasks.Settle", &params)?;
    print_done(session, &reply.task, "settled")
}

/// `contentctl set`.
pub fn set(session: &Session, args: SetArgs) -> Result<(), Failure> {
    let (is_delayed, has_priority) = (args.delay.is_some(), args.priority.is_some());
    let params = SetParams { task: args.task, priority: args.priority, delay: args.delay.map(TextOrNumber) };
    let reply: TaskReply = session.call("io.contentd.Tasks.Set", &params)?;
    let priority = has_priority.then(|| format!("priority {}", reply.task.priority));
    let next = reply.task.next_attempt_at.filter(|_| is_delayed);
    let delay = next.map(|at| format!("not before {}", when::local(&at.to_string())));
    let without = if reply.task.state == "held" { "its delay is kept for when it waits again" } else { "not delayed" };
    let delay = delay.or_else(|| is_delayed.then(|| without.to_owned()));
    let said: Vec<String> = priority.into_iter().chain(delay).collect();
    print_done(session, &reply.task, &said.join(", "))
}

/// `contentctl cleanup`.
pub fn cleanup(session: &Session, args: &CleanupArgs) -> Result<(), Failure> {
    let params = CleanupParams {
        days: args.days,
        older_than: args.older_than.clone().map(TextOrNumber),
        dry_run: args.dry_run.then_some(true),
    };
    let reply: CleanupReply = session.call("io.contentd.Tasks.Cleanup", &params)?;
    if !session.printer.is_for_people() {
        return session.printer.record(&reply, &["deleted", "is_dry_run", "older_than_s", "is_day_kept"]);
    }
    if reply.is_day_kept {
        session.tell(
            "what finished within the last 24 hours stays: its submits count for a limit of a day (submits_per_day)",
        );
    }
    let what = if reply.is_dry_run { "would be deleted" } else { "deleted" };
    let stays = if reply.is_dry_run { staying(session, reply.deleted) } else { None };
    session.printer.text(&format!(
        "{} that finished more than {} ago: {what}{}",
        counted(reply.deleted, "task"),
        format_duration(std::time::Duration::from_secs(reply.older_than_s)),
        stays.map(|count| format!("; {count} would stay")).unwrap_or_default()
    ))
}

/// How many tasks stay where so many are deleted. Whoever may not count them is told the others.
fn staying(session: &Session, deleted: u64) -> Option<u64> {
    let reply = session.call("io.contentd.Tasks.Statistics", &StatisticsParams::default());
    reply.ok().and_then(|reply: StatisticsReply| reply.total.checked_sub(deleted))
}

/// `contentctl poll`.
pub fn poll(session: &Session, args: PollArgs) -> Result<(), Failure> {
    match args.task {
        Some(task) => print_done(session, &one(session, "io.contentd.Tasks.Poll", &task)?, "polled"),
        None => {
            let reply: PollAllReply = session.call("io.contentd.Tasks.PollAll", &NoParams {})?;
            session.printer.record(&reply, &["total", "completed", "failed", "timeout", "still_running", "error"])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{
        AccountId, Attempt, AttemptKey, AttemptState, GeneratorName, Task, TaskId, TaskState, Timestamp,
    };

    #[test]
    fn what_became_of_a_task_does_not_contradict_itself() {
        assert_eq!(became("cancelled", "cancelled", false), "cancelled");
        assert_eq!(became("cancelling", "cancelled", false), "cancelling: its job is to be ended first");
        assert_eq!(became("held", "released", true), "would be released; it is held now");
        assert_eq!(became("failed", "released", true), "would be released: it stays failed, and may be retried");
        assert_eq!(became("timeout", "released", false), "released: it stays timeout, and may be retried");
        assert_eq!(became("failed", "retried", true), "would be retried; it is failed now");
        assert_eq!(became("pending", "retried", false), "retried; it is pending now");
    }

    #[test]
    fn a_held_task_is_shown_with_the_ways_out_that_the_daemon_names() {
        let id = TaskId("task-a".into());
        let mut task = Task::blank(id.clone(), AccountId(1), GeneratorName("sample".into()), Timestamp(0));
        (task.state, task.reason) = (TaskState::Held, Some("nobody knows whether it has a job".into()));
        let ways = ways_out(&TaskView::of(&task, None));
        let named = ["generator sample", "settle task-a --adopt REF", "settle task-a --absent", "settle task-a --fail"];
        assert!(named.iter().all(|way| ways.contains(way)), "{ways}");
        assert!(!ways.contains("poll") && !ways.contains("release"), "it has no job to ask about: {ways}");
        task.restored_at = Some(Timestamp(0));
        let ways = ways_out(&TaskView::of(&task, None));
        assert!(ways.contains("contentctl release task-a") && !ways.contains("--absent"), "{ways}");
        let mut attempt = Attempt::intended(id, 1, AttemptKey("k".into()), Timestamp(0));
        (task.attempt, attempt.state) = (1, AttemptState::Accepted);
        let ways = ways_out(&TaskView::of(&task, Some(&attempt)));
        assert!(ways.contains("contentctl poll task-a") && ways.contains("--absent"), "{ways}");
        assert!(!ways.contains("release"), "its job may be alive: {ways}");
        task.restored_at = None;
        (attempt.external_ref, attempt.raw_output) = (Some("k".into()), Some(String::new()));
        let ways = ways_out(&TaskView::of(&task, Some(&attempt)));
        assert!(!ways.contains("adopt") && !ways.contains("Look at"), "its run left an empty piece: {ways}");
        assert!(ways.contains("contentctl poll task-a") && ways.contains("paid for again"), "{ways}");
        attempt.external_ref = Some("theirs".into());
        assert!(ways_out(&TaskView::of(&task, Some(&attempt))).contains("--adopt REF"));
    }
}
