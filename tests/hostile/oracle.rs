//! What a generator's output may be taken for, read a second time and in another way than contentd reads it.
//!
//! [`told`] asks contentd, [`Subject::expected`] reads the same bytes with `serde_json` and plain searches for text, by what
//! the configuration and its comments promise. It must not use extraction, rules, interpretation or regular expressions of
//! contentd. The surprise: answers are compared as classes. Whatever leaves a job as it is, is one class ([`Told::Unclear`]).

use std::sync::Arc;

use contentd::generator::Job;
use contentd::generator::call::{CallEnd, CallResult};
use contentd::generator::interpret::{
    FindSweep, PollSweep, cancel_answer, fetch_answer, poll_one_answer, run_report, submit_answer,
};
use contentd::generator::spec::GeneratorSpec;
use contentd::task::outcome::{CancelAnswer, FetchAnswer, FindAnswer, JobState, PollAnswer, RunReport, SubmitAnswer};
use serde_json::Value;

/// What is asked of a generator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Question {
    Submit,
    PollOne,
    Sweep,
    Find,
    Fetch,
    Run,
    Cancel,
}

/// What an output was taken for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// Nothing follows from it: it is asked again, found out or put before a person.
    Unclear,
    Accepted(String),
    Rejected,
    /// No job was made, so that another may be.
    NotTaken,
    State(JobState),
    Missing,
    Found(Vec<String>),
    Absent,
    Piece(String),
    NotReady,
    /// A run that ended badly.
    Failed,
    Cancelled,
    Refused,
}

/// How the outputs of a generator are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// JSON, one object an answer; failures are told by the exit status alone.
    Json,
    /// The same, with the rules of the sample generator.
    Sample,
    /// llm-content-creator, asynchronous.
    Real,
    /// The same, blocking.
    Sync,
    /// A list of all jobs inside an object.
    Shelf,
    /// Standard output is the piece.
    Text,
}

/// A generator of the configuration.
pub struct Subject {
    pub kind: Kind,
    pub spec: Arc<GeneratorSpec>,
}

/// Forty of them make a line.
pub const RULER: &str = "────────────────────────────────────────";

/// What contentd takes an output for.
pub fn told(subject: &Subject, question: Question, job: &Job, call: &CallResult) -> Told {
    let spec = &subject.spec;
    match question {
        Question::Submit => match submit_answer(spec, job, call) {
            SubmitAnswer::Accepted { reference, .. } => Told::Accepted(reference),
            SubmitAnswer::Rejected(_) => Told::Rejected,
            SubmitAnswer::Retry(_) | SubmitAnswer::Unavailable(_) | SubmitAnswer::NeverCalled(_) => Told::NotTaken,
            SubmitAnswer::Ambiguous(_) => Told::Unclear,
        },
        Question::PollOne => of_poll(poll_one_answer(spec, call)),
        Question::Sweep => {
            let mut sweep = PollSweep::new(Arc::clone(spec), vec![job.clone()]);
            sweep.take(call);
            of_poll(sweep.finish().answers.remove(0).1)
        }
        Question::Find => {
            let mut sweep = FindSweep::new(Arc::clone(spec), vec![job.clone()]);
            sweep.take(call);
            match sweep.finish().answers.remove(0).1 {
                FindAnswer::One { reference } => Told::Found(vec![reference]),
                FindAnswer::Several(references) => Told::Found(references),
                FindAnswer::None { is_complete: true } => Told::Absent,
                FindAnswer::None { is_complete: false } | FindAnswer::Unavailable(_) | FindAnswer::Unreadable(_) => {
                    Told::Unclear
                }
            }
        }
        Question::Fetch => match fetch_answer(spec, job, call) {
            FetchAnswer::Piece(piece) => Told::Piece(piece.content),
            FetchAnswer::NotReady => Told::NotReady,
            FetchAnswer::Missing { .. } => Told::Missing,
            FetchAnswer::Unreadable { .. } | FetchAnswer::Unavailable(_) => Told::Unclear,
        },
        Question::Run => match run_report(spec, call) {
            RunReport::Piece(piece) => Told::Piece(piece.content),
            RunReport::Failed(_) => Told::Failed,
            RunReport::Rejected(_) => Told::Rejected,
            RunReport::Unavailable(_) => Told::NotTaken,
            _ => Told::Unclear,
        },
        Question::Cancel => match cancel_answer(spec, call) {
            CancelAnswer::Ok => Told::Cancelled,
            CancelAnswer::Refused(_) => Told::Refused,
            CancelAnswer::Unclear(_) => Told::Unclear,
        },
    }
}

fn of_poll(answer: PollAnswer) -> Told {
    match answer {
        PollAnswer::State { state, .. } => Told::State(state),
        PollAnswer::Missing { is_complete: true, .. } => Told::Missing,
        PollAnswer::Missing { is_complete: false, .. } | PollAnswer::Unreadable(_) | PollAnswer::Unavailable(_) => {
            Told::Unclear
        }
    }
}

impl Subject {
    /// What the output must be taken for.
    pub fn expected(&self, question: Question, job: &Job, call: &CallResult) -> Told {
        let output = Seen::new(call);
        if let Some(told) = self.by_rule(question, call, &output) {
            return told;
        }
        match (&call.end, question) {
            (CallEnd::Exited(0), _) => {}
            (CallEnd::NotStarted(_), Question::Submit | Question::Run) => return Told::NotTaken,
            (_, Question::Run) => return Told::Failed,
            _ => return Told::Unclear,
        }
        let found = match question {
            Question::Submit => self.reference(job, call, &output).map(Told::Accepted),
            Question::PollOne | Question::Fetch | Question::Run if call.is_truncated => None,
            Question::PollOne => self.state(&output).map(Told::State),
            Question::Sweep => self.in_sweep(job, call, &output),
            Question::Find => self.by_mark(job, call, &output),
            Question::Fetch | Question::Run => self.piece(job, &output).map(Told::Piece),
            Question::Cancel => Some(Told::Cancelled),
        };
        found.unwrap_or(Told::Unclear)
    }

    fn by_rule(&self, question: Question, call: &CallResult, output: &Seen) -> Option<Told> {
        let exited = |status| call.end == CallEnd::Exited(status);
        let says = |text: &str| output.stderr.contains(text);
        let begins = |text: &str| output.stderr.split('\n').any(|line| line.starts_with(text));
        match (self.kind, question) {
            (Kind::Real, Question::Submit) if exited(1) => {
                let refusals = ["unknown option", "必须提供", "不支持的工作流"];
                let is_refused = refusals.iter().any(|text| says(text));
                let is_absent = says("TaskQueue is not available");
                is_refused.then_some(Told::Rejected).or(is_absent.then_some(Told::NotTaken))
            }
            (Kind::Real, Question::PollOne) => says("未找到任务").then_some(Told::Missing),
            (Kind::Real, Question::Fetch) => {
                let is_early = is_not_ready(&output.stdout);
                is_early.then_some(Told::NotReady).or_else(|| says("未找到任务").then_some(Told::Missing))
            }
            (Kind::Sync, Question::Run) => {
                output.stdout.split('\n').any(|line| line == "状态: 失败").then_some(Told::Failed)
            }
            (Kind::Sample, Question::Submit) => {
                let rejected = exited(65) && begins("rejected: ");
                let not_taken = exited(73) && begins("try again: ") || exited(75) && begins("unavailable: ");
                rejected.then_some(Told::Rejected).or(not_taken.then_some(Told::NotTaken))
            }
            (Kind::Sample, Question::PollOne) if exited(1) => begins("unknown task: ").then_some(Told::Missing),
            (Kind::Sample, Question::Fetch) if exited(1) => {
                let is_missing = begins("unknown task: ").then_some(Told::Missing);
                begins("not ready: ").then_some(Told::NotReady).or(is_missing)
            }
            (Kind::Sample, Question::Cancel) if exited(1) => begins("refused: ").then_some(Told::Refused),
            _ => None,
        }
    }

    fn reference(&self, job: &Job, call: &CallResult, output: &Seen) -> Option<String> {
        if self.kind != Kind::Real {
            return Some(job.attempt.key.as_str().to_owned());
        }
        let is_id =
            |id: &str| id.len() == 36 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        let mut ids = output.stdout.split('\n').filter_map(|line| line.strip_prefix("任务ID: "));
        ids.rfind(|id| is_id(id)).filter(|_| !call.is_truncated).map(str::to_owned)
    }

    fn mapped(&self, theirs: &str) -> Option<JobState> {
        self.spec.states.get(theirs).copied()
    }

    fn state(&self, output: &Seen) -> Option<JobState> {
        if self.kind != Kind::Real {
            return self.mapped(scalar(output.json()?.get("status")?)?.trim());
        }
        // The first line of the form `状态: SYMBOL WORD`.
        output
            .stdout
            .split('\n')
            .find_map(|line| {
                let (symbol, word) = line.strip_prefix("状态: ")?.split_once(' ')?;
                let is_word = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
                (is_word(symbol) && is_word(word)).then_some(word)
            })
            .and_then(|word| self.mapped(word))
    }

    fn rows(&self, output: &Seen) -> Option<Vec<Value>> {
        let json = output.json()?;
        let list = if self.kind == Kind::Shelf { json.get("jobs")? } else { &json };
        list.as_array().cloned()
    }

    fn id_of(&self, row: &Value) -> Option<String> {
        let id = scalar(row.get(if self.kind == Kind::Shelf { "id" } else { "taskId" })?)?;
        let id = id.trim();
        let is_right = !id.is_empty() && id.len() <= 512 && !id.chars().any(char::is_control);
        is_right.then(|| id.to_owned())
    }

    fn in_sweep(&self, job: &Job, call: &CallResult, output: &Seen) -> Option<Told> {
        let rows = self.rows(output)?;
        let ids: Vec<Option<String>> = rows.iter().map(|row| self.id_of(row)).collect();
        let ours = ids.iter().position(|id| *id == job.attempt.external_ref);
        let Some(at) = ours else {
            // Absence is proved by a list that is short, whole and readable.
            let is_whole = !call.is_truncated && rows.len() < 200 && ids.iter().all(Option::is_some);
            return is_whole.then_some(Told::Missing);
        };
        let state = scalar(rows[at].get(if self.kind == Kind::Shelf { "state" } else { "status" })?)?;
        self.mapped(state.trim()).map(Told::State)
    }

    fn by_mark(&self, job: &Job, call: &CallResult, output: &Seen) -> Option<Told> {
        let rows = self.rows(output)?;
        let fields: Vec<Option<String>> = rows.iter().map(|row| scalar(row.get("requirements")?)).collect();
        let key = job.attempt.key.as_str();
        let is_ours = |field: &Option<String>| field.as_deref().and_then(last_mark) == Some(key);
        let marked: Vec<Option<String>> =
            rows.iter().zip(&fields).filter(|(_, field)| is_ours(field)).map(|(row, _)| self.id_of(row)).collect();
        let mut found: Vec<String> = marked.iter().flatten().cloned().collect();
        found.sort();
        found.dedup();
        if !found.is_empty() {
            return Some(Told::Found(found));
        }
        let is_field_known = rows.is_empty() || fields.iter().any(Option::is_some);
        let is_whole = !call.is_truncated && rows.len() < 200;
        (is_whole && is_field_known && marked.is_empty()).then_some(Told::Absent)
    }

    fn piece(&self, job: &Job, output: &Seen) -> Option<String> {
        let content = match self.kind {
            Kind::Json | Kind::Sample => scalar(output.json()?.get("content")?)?,
            Kind::Text => output.stdout.clone(),
            Kind::Real => without_mark(article(&output.stdout)?, job.attempt.key.as_str()),
            Kind::Sync => generated(&output.stdout)?.to_owned(),
            Kind::Shelf => return None,
        };
        Some(content).filter(|content| !content.trim().is_empty())
    }
}

/// Both streams, without terminal escapes.
struct Seen {
    stdout: String,
    stderr: String,
}

impl Seen {
    fn new(call: &CallResult) -> Self {
        Self { stdout: plain(&call.stdout), stderr: plain(&call.stderr) }
    }

    /// The last value that begins a line, is whole and ends its line. One inside another is no value of its own.
    fn json(&self) -> Option<Value> {
        let mut last = None;
        let mut rest = self.stdout.as_str();
        while !rest.is_empty() {
            let mut behind = rest;
            if rest.starts_with(['{', '[']) {
                let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
                if let Some(Ok(value)) = values.next() {
                    let after = &rest[values.byte_offset()..];
                    if after.split('\n').next().unwrap_or_default().trim().is_empty() {
                        last = Some(value);
                        behind = after;
                    }
                }
            }
            rest = behind.split_once('\n').map_or("", |(_, next)| next);
        }
        last
    }
}

fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut parts = text.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // What follows an escape character, up to the next one.
        plain.push_str(match part.as_bytes().first() {
            Some(b'[') => {
                let body = part[1..].trim_start_matches(|c: char| (' '..='?').contains(&c));
                body.strip_prefix(|c: char| ('@'..='~').contains(&c)).unwrap_or(part)
            }
            Some(b']') => match part.split_once('\u{7}') {
                Some((title, rest)) if !title.contains('\n') => rest,
                _ => part,
            },
            _ => part,
        });
    }
    plain
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The key in the last whole mark of a text.
fn last_mark(text: &str) -> Option<&str> {
    let is_key = |key: &str| key.len() == 32 && key.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let keys = text.split("[ref:").skip(1).filter_map(|after| after.split_once(']')).map(|(key, _)| key);
    keys.filter(|key| is_key(key)).last()
}

fn without_mark(text: &str, key: &str) -> String {
    let mark = format!("[ref:{key}]");
    let mut parts: Vec<&str> = text.split(&mark).collect();
    let last = parts.pop().unwrap_or_default();
    let before: String = parts.iter().map(|part| part.trim_end_matches([' ', '\t'])).collect();
    before + last
}

/// Where a text stands at the beginning of a line.
fn at_line_starts<'t>(text: &'t str, wanted: &'t str) -> impl Iterator<Item = usize> + 't {
    text.match_indices(wanted).map(|(at, _)| at).filter(|at| *at == 0 || text[..*at].ends_with('\n'))
}

/// From the first heading of an article to the last line that counts its characters.
fn article(text: &str) -> Option<&str> {
    let heading = format!("1. ARTICLE\n{RULER}\n内容:\n");
    let start = at_line_starts(text, &heading).next()? + heading.len();
    let ends = text.match_indices("\n字数: ").map(|(at, _)| at).filter(|at| *at >= start);
    let is_end = |at: &usize| {
        let after = &text[at + "\n字数: ".len()..];
        let digits = after.trim_start_matches(char::is_numeric);
        let ruled = digits.strip_prefix('\n').and_then(|rest| rest.strip_prefix(RULER));
        digits.len() < after.len() && ruled.is_some_and(|rest| rest.is_empty() || rest.starts_with('\n'))
    };
    Some(&text[start..ends.filter(is_end).last()?])
}

/// The last part between the heading of a piece and the next ruler.
fn generated(text: &str) -> Option<&str> {
    let heading = format!("📝 生成的内容:\n{RULER}\n");
    let closing = format!("\n{RULER}");
    let mut found = None;
    let mut from = 0;
    while let Some(at) = at_line_starts(text, &heading).find(|at| *at >= from) {
        let start = at + heading.len();
        let mut ends = text[start..].match_indices(&closing).map(|(at, _)| start + at);
        let is_end = |at: &usize| matches!(text[at + closing.len()..].chars().next(), None | Some('\n'));
        let Some(end) = ends.find(is_end) else { break };
        found = Some(&text[start..end]);
        from = end + closing.len();
    }
    found
}

/// Whether the last line but those of the log says that the piece is not there yet.
fn is_not_ready(text: &str) -> bool {
    const SAYS: &str = "任务尚未完成，当前状态: ";
    let is_log = |line: &str| {
        let line: Vec<char> = line.chars().take(11).collect();
        let is_digit = |at: usize| line[at].is_numeric();
        line.len() == 11
            && [0, 1, 2, 3, 5, 6, 8, 9].into_iter().all(is_digit)
            && (line[4], line[7], line[10]) == ('-', '-', ' ')
    };
    let says = |line: &str| {
        line.match_indices(SAYS).any(|(at, _)| {
            let symbol = line[..at].trim_end_matches(' ');
            symbol.len() < at && !symbol.is_empty() && !symbol.contains(char::is_whitespace)
        })
    };
    let mut lines = text.split('\n').rev();
    // What follows the last line's end: nothing, or a line that is not ended.
    if !lines.next().is_some_and(|line| line.is_empty() || is_log(line)) {
        return false;
    }
    lines.find_map(|line| if says(line) { Some(true) } else { (!is_log(line)).then_some(false) }).unwrap_or(false)
}
