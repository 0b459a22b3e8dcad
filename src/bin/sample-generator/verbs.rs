//! The verbs: what an honest generator does, with a question to [`misbehave`](super::misbehave) at each point where a real
//! one has gone wrong.
//!
//! The surprise: `create` answers for a job that is already there without looking at anything but its key, and says so
//! (`"created": false`); only a job that was really made is logged as paid.

use std::io;

use clap::Args;
use serde_json::{Map, Value, json};

use super::compose::{Piece, compose};
use super::faults::{self, Fault, Switch};
use super::misbehave::{Answer, Call, sleep};
use super::store::{Job, Locked, Stage, now_ms};
use super::{Settings, Verb};

/// The arguments of `create`.
#[derive(Args)]
pub struct Create {
    /// Which kind of job; taken and not looked at
    #[arg(long, default_value = "sample")]
    r#type: String,
    /// Only `async` exists; `write` is the other way
    #[arg(long, default_value = "async", value_parser = ["async"])]
    mode: String,
    /// The caller's key: 1 to 128 letters, digits, `-`, `_`, `.`; made up where missing
    #[arg(long, allow_hyphen_values = true)]
    task_id: Option<String>,
    #[command(flatten)]
    wish: Wish,
    /// What to write about
    #[arg(long, allow_hyphen_values = true)]
    topic: String,
}

/// What may be asked of a piece beside its topic.
#[derive(Args)]
pub struct Wish {
    /// Kept with the job and shown by `list`; not looked at
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    requirements: String,
    /// Named in the introduction
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    tone: String,
    /// Comma list; each is used in the piece
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    keywords: String,
}

/// The arguments of `status`, `result` and `cancel`.
#[derive(Args)]
pub struct ByKey {
    /// The job's key
    #[arg(long, allow_hyphen_values = true)]
    task_id: String,
    /// Answer in JSON instead of text
    #[arg(long)]
    json: bool,
}

/// The arguments of `list`.
#[derive(Args)]
pub struct List {
    /// Answer in JSON instead of text
    #[arg(long)]
    json: bool,
    /// At most so many rows
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Leave out so many of the newest first
    #[arg(long, default_value_t = 0)]
    offset: usize,
}

/// The arguments of `write`.
#[derive(Args)]
pub struct Write {
    /// The caller's key, for `paid.log`; every run is a new job all the same
    #[arg(long, allow_hyphen_values = true)]
    key: Option<String>,
    #[command(flatten)]
    wish: Wish,
    /// What to write about; put `--` before it
    topic: String,
}

/// `create`.
pub fn create(settings: &Settings, args: &Create) -> io::Result<Answer> {
    let switches = match faults::split_topic(&args.topic) {
        Ok((_, switches)) => switches,
        Err(unknown) => return Ok(Answer::no(65, format!("rejected: topic: {unknown}"))),
    };
    let call = Call::new(settings, Verb::Create, &args.topic)?.with(switches);
    if let Some(answer) = call.begin()? {
        return Ok(answer);
    }
    let key = args.task_id.clone().unwrap_or_else(made_up_key);
    if !is_key(&key) {
        return Ok(Answer::no(65, format!("rejected: --task-id {key:?}: use 1 to 128 letters, digits, - _ .")));
    }
    if let Some(answer) = call.before_accept()? {
        return Ok(answer);
    }
    let is_new = take(&call, settings, &key, &args.topic, &args.wish)?;
    if let Some(answer) = call.after_accept()? {
        return Ok(answer);
    }
    call.dress(Answer::ok(line(&json!({ "taskId": key, "status": "submitted", "created": is_new }))))
}

/// Makes the job unless it is there. Says whether it was made.
fn take(call: &Call<'_>, settings: &Settings, key: &str, topic: &str, wish: &Wish) -> io::Result<bool> {
    let locked = call.store.lock()?;
    if call.store.job(key)?.is_some() {
        return Ok(false);
    }
    let job = new_job(call, &locked, settings, key, topic, wish)?;
    locked.save(&job)?;
    locked.log_paid(&job)?;
    if call.fires(&locked, Fault::Double)? {
        let twin = Job { key: format!("{key}-twin"), ..job };
        locked.save(&twin)?;
        locked.log_paid(&twin)?;
    }
    Ok(true)
}

fn new_job(
    call: &Call<'_>,
    locked: &Locked<'_>,
    settings: &Settings,
    key: &str,
    topic: &str,
    wish: &Wish,
) -> io::Result<Job> {
    let seconds = call.amount(Fault::Seconds, settings.seconds).unwrap_or(settings.seconds);
    let keywords = wish.keywords.split([',', '，']).map(str::trim).filter(|word| !word.is_empty());
    Ok(Job {
        key: key.to_owned(),
        topic: topic.to_owned(),
        requirements: wish.requirements.clone(),
        tone: wish.tone.clone(),
        keywords: keywords.map(str::to_owned).collect(),
        created_at_ms: now_ms(),
        // Saturating: a job of 500 million years is long enough.
        duration_ms: (seconds * 1000.0) as u64,
        will_fail: call.fires(locked, Fault::Fail)?,
        cancelled_at_ms: None,
    })
}

/// A verb about one job: finds it, with its own switches on, or gives the answer that there is none.
fn with_job(
    settings: &Settings,
    verb: Verb,
    args: &ByKey,
    answer: impl FnOnce(&Call<'_>, Job) -> io::Result<Answer>,
) -> io::Result<Answer> {
    let call = Call::new(settings, verb, &args.task_id)?;
    let job = if is_key(&args.task_id) { call.store.job(&args.task_id)? } else { None };
    // The marks were readable when the job was taken.
    let marks = job.as_ref().and_then(|job| faults::split_topic(&job.topic).ok()).map(|(_, marks)| marks);
    let call = call.with(marks.unwrap_or_default());
    if let Some(answer) = call.begin()? {
        return Ok(answer);
    }
    let is_missing = call.fires(&call.store.lock()?, Fault::Missing)?;
    match job.filter(|_| !is_missing) {
        Some(job) => call.dress(answer(&call, job)?),
        None => call.dress(Answer::no(1, format!("unknown task: {}", args.task_id))),
    }
}

/// `status`.
pub fn status(settings: &Settings, args: &ByKey) -> io::Result<Answer> {
    with_job(settings, Verb::Status, args, |call, job| {
        let is_unknown = call.fires(&call.store.lock()?, Fault::UnknownState)?;
        let mut row = row(&job, call.is_on(Fault::Stuck), call.is_on(Fault::Cancelled), is_unknown);
        if let Some(error) = row.remove("errorMessage").filter(|error| !error.is_null()) {
            row.insert("error".to_owned(), error);
        }
        for of_lists_only in ["createdAt", "requirements", "topic"] {
            row.remove(of_lists_only);
        }
        Ok(Answer::ok(if args.json { line(&Value::Object(row)) } else { format!("{}\n", text_of(&row)) }))
    })
}

/// `result`.
pub fn result(settings: &Settings, args: &ByKey) -> io::Result<Answer> {
    with_job(settings, Verb::Result, args, |call, job| {
        match job.stage(now_ms()) {
            Stage::Completed if call.is_on(Fault::Stuck) => {}
            Stage::Completed if call.fires(&call.store.lock()?, Fault::NotReady)? => {}
            Stage::Completed => return piece_of(call, &job, args.json),
            Stage::Failed | Stage::Cancelled => {
                return Ok(Answer::no(1, format!("failed: {} ended without a piece", job.key)));
            }
            Stage::Submitted | Stage::Processing(_) => {}
        }
        Ok(Answer::no(1, format!("not ready: {} is still being written", job.key)))
    })
}

fn piece_of(call: &Call<'_>, job: &Job, is_json: bool) -> io::Result<Answer> {
    if call.fires(&call.store.lock()?, Fault::UnreadableResult)? {
        return Ok(Answer::ok("The piece is finished, and it is in another castle.\n".to_owned()));
    }
    let topic = faults::split_topic(&job.topic).map(|(topic, _)| topic).unwrap_or_default();
    let Piece { markdown, html, score, cover_svg } = compose(&topic, &job.key, &job.keywords, &job.tone);
    call.store.lock()?.save_cover(&job.key, &cover_svg)?;
    if !is_json {
        return Ok(Answer::ok(markdown));
    }
    let cover = call.store.cover_path(&job.key);
    Ok(Answer::ok(line(&json!({
        "content": markdown,
        "htmlContent": html,
        "images": [{ "url": cover.to_string_lossy(), "alt": topic }],
        "qualityScore": score,
    }))))
}

/// `cancel`.
pub fn cancel(settings: &Settings, args: &ByKey) -> io::Result<Answer> {
    with_job(settings, Verb::Cancel, args, |call, _| {
        let locked = call.store.lock()?;
        // Read again under the lock: two cancels at once must agree.
        let Some(job) = call.store.job(&args.task_id)? else {
            return Ok(Answer::no(1, format!("unknown task: {}", args.task_id)));
        };
        if call.fires(&locked, Fault::RefuseCancel)? {
            return Ok(Answer::no(1, format!("refused: {} will not be cancelled", job.key)));
        }
        match job.stage(now_ms()) {
            Stage::Completed if !call.is_on(Fault::Stuck) => {
                return Ok(Answer::no(1, format!("refused: {} is already completed", job.key)));
            }
            Stage::Failed => return Ok(Answer::no(1, format!("refused: {} has already failed", job.key))),
            Stage::Cancelled => {}
            _ => locked.save(&Job { cancelled_at_ms: Some(now_ms()), ..job })?,
        }
        Ok(Answer::ok(line(&json!({ "taskId": args.task_id, "status": "cancelled" }))))
    })
}

/// `list`.
pub fn list(settings: &Settings, args: &List) -> io::Result<Answer> {
    let call = Call::new(settings, Verb::List, "")?;
    if let Some(answer) = call.begin()? {
        return Ok(answer);
    }
    let mut rows = Vec::new();
    for job in call.store.jobs()? {
        let marks = faults::split_topic(&job.topic).map(|(_, marks)| marks).unwrap_or_default();
        let is_on = |fault| {
            let is_marked = |mark: &Switch| mark.fault == fault && mark.verb.is_none_or(|verb| verb == Verb::List);
            call.is_on(fault) || marks.iter().any(is_marked)
        };
        if !is_on(Fault::Missing) {
            rows.push(row(&job, is_on(Fault::Stuck), is_on(Fault::Cancelled), is_on(Fault::UnknownState)));
        }
    }
    let rows: Vec<_> = rows.into_iter().skip(args.offset).take(args.limit).collect();
    let text = match args.json {
        true => line(&json!(rows)),
        false => rows.iter().map(|row| text_of(row) + "\n").collect(),
    };
    call.dress(Answer::ok(text))
}

/// `write`.
pub fn write(settings: &Settings, args: &Write) -> io::Result<Answer> {
    let (seen, switches) = match faults::split_topic(&args.topic) {
        Ok(split) => split,
        Err(unknown) => return Ok(Answer::no(65, format!("rejected: topic: {unknown}"))),
    };
    let call = Call::new(settings, Verb::Write, &args.topic)?.with(switches);
    if let Some(answer) = call.begin()? {
        return Ok(answer);
    }
    if let Some(answer) = call.before_accept()? {
        return Ok(answer);
    }
    let key = args.key.clone().filter(|key| is_key(key)).unwrap_or_else(made_up_key);
    let job = {
        let locked = call.store.lock()?;
        let job = new_job(&call, &locked, settings, &key, &args.topic, &args.wish)?;
        locked.log_paid(&job)?;
        job
    };
    if let Some(answer) = call.after_accept()? {
        return Ok(answer);
    }
    if call.is_on(Fault::Stuck) {
        return Ok(call.hang());
    }
    sleep(job.duration_ms as f64 / 1000.0);
    if job.will_fail {
        return call.dress(Answer::no(1, "failed: the sample was told to fail"));
    }
    let piece = compose(&seen, &key, &job.keywords, &job.tone);
    call.store.lock()?.save_cover(&key, &piece.cover_svg)?;
    call.dress(Answer::ok(piece.markdown))
}

/// A job as `list` shows it; `status` takes what it needs.
fn row(job: &Job, is_stuck: bool, is_cancelled: bool, is_unknown: bool) -> Map<String, Value> {
    let stage = match job.stage(now_ms()) {
        Stage::Completed | Stage::Failed if is_stuck => Stage::Processing(99),
        _ if is_cancelled => Stage::Cancelled,
        stage => stage,
    };
    let (state, progress) = match stage {
        Stage::Submitted => ("submitted", 0),
        Stage::Processing(percent) => ("processing", percent),
        Stage::Completed => ("completed", 100),
        Stage::Failed => ("failed", 100),
        Stage::Cancelled => ("cancelled", 0),
    };
    let error = (stage == Stage::Failed).then_some("the sample was told to fail");
    let created_at = i64::try_from(job.created_at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let row = json!({
        "taskId": job.key,
        "status": if is_unknown { "daydreaming" } else { state },
        "progress": progress,
        "createdAt": created_at.map(|at| format!("{at:.3}")),
        "topic": job.topic,
        "requirements": job.requirements,
        "errorMessage": error,
    });
    match row {
        Value::Object(row) => row,
        _ => Map::new(),
    }
}

fn text_of(row: &Map<String, Value>) -> String {
    let text = |name: &str| row.get(name).map(|value| value.to_string().replace('"', "")).unwrap_or_default();
    format!("{}: {} {} %", text("taskId"), text("status"), text("progress"))
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

/// A key names a file, so it may hold nothing that a path could.
fn is_key(key: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=128).contains(&key.len()) && !key.starts_with('.') && key.chars().all(is_plain)
}

/// Unlikely to be there already: the time to the nanosecond and the process.
fn made_up_key() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("sample-{:x}-{:x}", since.as_nanos(), std::process::id())
}
