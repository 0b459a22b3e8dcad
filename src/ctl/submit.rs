//! `submit`: one task, or a file of them.
//!
//! Every task gets a key, so that a call that was cut in the middle is repeated and neither lost nor doubled. A file goes
//! in one message, or in staged parts that are committed once. The surprise: a wait prints nothing on standard output before its
//! end, so what was submitted is said on standard error first, also to programs. Else one that is cut would not know what it has
//! paid for.

use std::io::{IsTerminal as _, Read, Write as _};
use std::path::Path;

use serde::Serialize;

use super::Session;
use super::args::{SubmitArgs, WaitArgs};
use super::batch::{Fault, Form, Judged, in_order, judge, split_keywords};
use super::failure::Failure;
use super::follow;
use super::table::{Column, fixed};
use super::text::safe;
use crate::control::api::{
    ApiError, FieldFault, StageParams, StageReply, Submission, SubmitBatchParams, SubmitBatchReply, SubmitParams,
    SubmitStagedParams, Submitted,
};
use crate::control::client::{Client, ClientError};
use crate::control::values::{DURATION_FORMS, TextOrNumber, parse_duration_s};
use crate::text::counted;

/// How many bytes of entries go into one message; what a message may have, less what surrounds them.
const PART_BYTES: usize = 3 << 20;
/// The longest batch file.
const FILE_BYTES: u64 = 512 << 20;
const FIELDS: &[&str] = &["task_id", "state"];
pub(super) const COLUMNS: &[Column] = &[fixed("TASK", "task_id"), fixed("STATE", "state")];
/// How many faults of a file are printed.
const SHOWN_FAULTS: usize = 200;

/// What is printed of a submitted task.
#[derive(Serialize)]
struct Line<'a> {
    task_id: Option<&'a str>,
    state: Option<&'a str>,
}

impl<'a> From<&'a Submitted> for Line<'a> {
    fn from(submitted: &'a Submitted) -> Self {
        Self { task_id: submitted.task_id.as_deref(), state: submitted.state.as_deref() }
    }
}

/// `contentctl submit`.
pub fn submit(session: &Session, mut args: SubmitArgs) -> Result<(), Failure> {
    let dry_run = args.dry_run.then_some(true);
    let file = args.file.take();
    let (key, form) = (args.key.take(), args.format.take());
    let wait = args.wait.then(|| Wait { timeout: args.timeout.take() });
    if let Some(Wait { timeout: Some(text) }) = &wait
        && parse_duration_s(text).is_none()
    {
        // Said before anything is paid for.
        return Err(Failure::usage("--timeout", text, DURATION_FORMS));
    }
    let task = submission(args);
    match file {
        Some(path) => submit_file(session, &path, form, &task, dry_run, wait),
        None => submit_one(session, task, key.map_or_else(random_key, Ok)?, dry_run, wait),
    }
}

/// That what was submitted is waited for.
struct Wait {
    timeout: Option<String>,
}

/// What is said of a submitted task before it is waited for.
#[derive(Serialize)]
struct Begun<'a> {
    task_id: &'a str,
    key: &'a str,
    was_known: bool,
}

impl Begun<'_> {
    fn in_words(&self) -> String {
        let (task, key) = (safe(self.task_id), safe(self.key));
        match self.was_known {
            true => format!("{task} was submitted before under the key {key}, and nothing was added"),
            false => format!("{task} is submitted, under the key {key}"),
        }
    }
}

/// Says what was submitted: to people in words, to whoever reads JSON in a line of JSON each.
fn say_begun(session: &Session, tasks: &[Begun<'_>]) -> Result<(), Failure> {
    let mut said = String::new();
    for task in tasks {
        let line = match session.printer.is_json() {
            true => serde_json::to_string(task).map_err(std::io::Error::other)?,
            false => task.in_words(),
        };
        said.push_str(&line);
        said.push('\n');
    }
    // Nobody to say it to is no failure.
    let _ = std::io::stderr().write_all(said.as_bytes());
    Ok(())
}

fn submission(args: SubmitArgs) -> Submission {
    let auto_approve = match (args.auto_approve, args.no_auto_approve) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    Submission {
        account: TextOrNumber(args.account.unwrap_or_default()),
        topic: args.topic.unwrap_or_default(),
        requirements: args.requirements,
        keywords: args.keywords.as_deref().map(split_keywords),
        category: args.category,
        tone: args.tone,
        priority: args.priority,
        time_limit: args.time_limit.map(TextOrNumber),
        max_retries: args.max_retries,
        auto_approve,
        generator: args.generator,
        key: None,
        delay: args.delay.map(TextOrNumber),
    }
}

pub(super) fn random_key() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Io(std::io::Error::other(error)))?;
    Ok(bytes.iter().fold(String::from("ctl-"), |key, byte| key + &format!("{byte:02x}")))
}

fn submit_one(
    session: &Session,
    task: Submission,
    key: String,
    dry_run: Option<bool>,
    wait: Option<Wait>,
) -> Result<(), Failure> {
    let params = SubmitParams { task: Submission { key: Some(key.clone()), ..task }, dry_run };
    let submitted: Submitted = session.repeat(|client| client.call("io.contentd.Tasks.Submit", &params))?;
    if dry_run.is_some() {
        session.tell("everything is right; nothing was submitted");
        return if session.printer.is_for_people() {
            Ok(())
        } else {
            session.printer.record(&Line::from(&submitted), FIELDS)
        };
    }
    if let (Some(Wait { timeout }), Some(id)) = (wait, &submitted.task_id) {
        say_begun(session, &[Begun { task_id: id, key: &key, was_known: submitted.was_known }])?;
        follow::wait(session, &WaitArgs { tasks: vec![id.clone()], all: false, timeout })?;
        session.tell(format!("`contentctl result {id}` prints the piece"));
        return Ok(());
    }
    session.printer.record(&Line::from(&submitted), FIELDS)?;
    let id = submitted.task_id.as_deref().unwrap_or_default();
    if submitted.was_known {
        session.tell(format!("this key was submitted before: {id} is that task, and nothing was added"));
    } else {
        session.tell(format!("`contentctl wait {id}` waits for it, `contentctl result {id}` prints the piece"));
    }
    Ok(())
}

pub(super) fn read_file(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let failed = |error: std::io::Error| Failure::Refused(format!("{}: {error}", path.display()));
    let (name, source): (String, Box<dyn Read>) = if path == Path::new("-") {
        ("-".to_owned(), Box::new(std::io::stdin().lock()))
    } else {
        (path.display().to_string(), Box::new(std::fs::File::open(path).map_err(failed)?))
    };
    let mut contents = Vec::new();
    source.take(FILE_BYTES + 1).read_to_end(&mut contents).map_err(failed)?;
    if contents.len() as u64 > FILE_BYTES {
        return Err(Failure::Refused(format!("{name}: more than 512 MiB; give it in several files")));
    }
    Ok((name, contents))
}

fn submit_file(
    session: &Session,
    path: &Path,
    form: Option<Form>,
    defaults: &Submission,
    dry_run: Option<bool>,
    wait: Option<Wait>,
) -> Result<(), Failure> {
    let (name, contents) = read_file(path)?;
    let form = form.or_else(|| Form::of_name(&name));
    if form == Some(Form::Txt) && defaults.account.0.is_empty() {
        return Err(Failure::Usage(format!(
            "--account is missing: {name} has topics alone, and each of them is for somebody"
        )));
    }
    let Judged { right, mut faults } = judge(form, &contents, defaults);
    if right.is_empty() && faults.is_empty() {
        return Err(Failure::Refused(format!("nothing was submitted; {name}: there is no task in it")));
    }
    let (lines, mut tasks): (Vec<u64>, Vec<Submission>) = right.into_iter().unzip();
    if !faults.is_empty() {
        // So that one look at the file mends all of it.
        faults.extend(refused_besides(session, &lines, tasks));
        return Err(told("nothing was submitted", &in_order(&name, faults)));
    }
    let prefix = random_key()?;
    for (index, task) in tasks.iter_mut().enumerate() {
        task.key.get_or_insert_with(|| format!("{prefix}-{index}"));
    }
    let keys: Vec<String> = tasks.iter().filter_map(|task| task.key.clone()).collect();
    let parts = in_parts(tasks)?;
    let submitted =
        session.repeat(|client| send(client, &parts, &prefix, dry_run)).map_err(|failure| {
            match of_lines(&failure, &lines) {
                Some(faults) => told("nothing was submitted", &in_order(&name, faults)),
                None => failure,
            }
        })?;
    if let Some(Wait { timeout }) = wait {
        return wait_for_file(session, &submitted, &keys, timeout);
    }
    print_file(session, &submitted, dry_run)
}

/// One line a task, but for people at a terminal: they have the table at the end.
fn wait_for_file(
    session: &Session,
    submitted: &[Submitted],
    keys: &[String],
    timeout: Option<String>,
) -> Result<(), Failure> {
    let begun = submitted
        .iter()
        .zip(keys)
        .filter_map(|(task, key)| Some(Begun { task_id: task.task_id.as_deref()?, key, was_known: task.was_known }));
    let begun: Vec<Begun<'_>> = begun.collect();
    if session.printer.is_for_people() && std::io::stderr().is_terminal() {
        session.tell(format!("{}; they are waited for", said_of_file(submitted)));
    } else {
        say_begun(session, &begun)?;
    }
    let tasks: Vec<String> = begun.iter().map(|task| task.task_id.to_owned()).collect();
    follow::wait_together(session, &tasks, timeout)
}

fn said_of_file(submitted: &[Submitted]) -> String {
    let known = submitted.iter().filter(|task| task.was_known).count();
    let known = counted(known as u64, "was submitted before", "were submitted before");
    let note = if known.starts_with("0 ") { String::new() } else { format!(" ({known})") };
    format!("{}{note}", counted(submitted.len() as u64, "task", "tasks"))
}

fn print_file(session: &Session, submitted: &[Submitted], dry_run: Option<bool>) -> Result<(), Failure> {
    let count = submitted.len();
    if dry_run.is_some() {
        let are_right = counted(count as u64, "task is right", "tasks are right");
        session.tell(format!("{are_right}; nothing was submitted"));
        if session.printer.is_for_people() {
            return Ok(());
        }
    }
    let lines: Vec<Line<'_>> = submitted.iter().map(Line::from).collect();
    session.printer.rows(&lines, COLUMNS, FIELDS)?;
    if dry_run.is_none() {
        let tasks = said_of_file(submitted);
        session.tell(format!(
            "{tasks}; `contentctl wait --all` waits for everything, `contentctl list --state unfinished` shows what is not \
             finished"
        ));
    }
    Ok(())
}

/// What the daemon would refuse of entries whose form is right, where they fit one message. One that is not there says nothing of
/// the file.
fn refused_besides(session: &Session, lines: &[u64], tasks: Vec<Submission>) -> Vec<Fault> {
    let Ok([tasks]) = in_parts(tasks).map(<[Vec<Submission>; 1]>::try_from).unwrap_or(Err(Vec::new())) else {
        return Vec::new();
    };
    if tasks.is_empty() {
        return Vec::new();
    }
    let params = SubmitBatchParams { tasks, dry_run: Some(true) };
    match session.call::<_, SubmitBatchReply>("io.contentd.Tasks.SubmitBatch", &params) {
        Ok(_) => Vec::new(),
        Err(failure) => of_lines(&failure, lines).unwrap_or_default(),
    }
}

/// The faults of a refused batch by the lines of its file; none where one of them is about no entry.
fn of_lines(failure: &Failure, lines: &[u64]) -> Option<Vec<Fault>> {
    let Failure::Client(ClientError::Refused(ApiError::BatchRefused { faults, count })) = failure else { return None };
    let of_line = |fault: &FieldFault| {
        let line = lines.get(fault.index? as usize)?;
        Some((*line, format!("{}: {:?} cannot be taken: {}", fault.field, fault.value, fault.cure)))
    };
    let mut told: Vec<Fault> = faults.iter().map(of_line).collect::<Option<_>>()?;
    let more = (*count as usize).saturating_sub(told.len());
    if let Some((last, _)) = told.last().filter(|_| more > 0) {
        told.push((*last, format!("and {more} more faults of later entries")));
    }
    Some(told)
}

pub(super) fn told(what: &str, faults: &[String]) -> Failure {
    let mut message = format!("{what}; {}:", counted(faults.len() as u64, "fault", "faults"));
    for fault in faults.iter().take(SHOWN_FAULTS) {
        message.push('\n');
        message.push_str(fault);
    }
    if faults.len() > SHOWN_FAULTS {
        message.push_str(&format!("\nand {} more", faults.len() - SHOWN_FAULTS));
    }
    Failure::Refused(message)
}

/// Cuts entries into messages.
fn in_parts(tasks: Vec<Submission>) -> Result<Vec<Vec<Submission>>, Failure> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for task in tasks {
        let size = serde_json::to_vec(&task).map_err(std::io::Error::other)?.len() + 1;
        if bytes + size > PART_BYTES && bytes > 0 {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(part) = parts.last_mut() {
            part.push(task);
        }
    }
    Ok(parts)
}

fn send(
    client: &mut Client,
    parts: &[Vec<Submission>],
    batch: &str,
    dry_run: Option<bool>,
) -> Result<Vec<Submitted>, ClientError> {
    let mut submitted = Vec::new();
    let mut take = |reply: SubmitBatchReply| {
        submitted.extend(reply.tasks);
        Ok::<_, ClientError>(std::ops::ControlFlow::Continue(()))
    };
    if let [tasks] = parts {
        let params = SubmitBatchParams { tasks: tasks.clone(), dry_run };
        client.call_more("io.contentd.Tasks.SubmitBatch", &params, None, &mut take)?;
        return Ok(submitted);
    }
    for (part, tasks) in (0..).zip(parts) {
        let params = StageParams { batch: batch.to_owned(), part, tasks: tasks.clone() };
        client.call::<_, StageReply>("io.contentd.Tasks.Stage", &params)?;
    }
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let params = SubmitStagedParams { batch: batch.to_owned(), parts: count, dry_run };
    client.call_more("io.contentd.Tasks.SubmitStaged", &params, None, &mut take)?;
    Ok(submitted)
}
