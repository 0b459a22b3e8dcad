//! From a call that has ended to an answer that the core understands.
//!
//! Pure functions: nothing is run, no clock is read, and nothing is decided beyond what the configuration says. What
//! cannot be read is told as doubt. The surprise: an output that was cut proves nothing, so a value that a mandatory
//! extractor finds in it is not believed, because the rest could have said otherwise.

mod sweep;

pub(crate) use sweep::read_time;
pub use sweep::{FindSweep, PollSweep};

use std::collections::BTreeMap;

use serde_json::Value;

use super::Job;
use super::call::CallResult;
use super::extract::{Extractor, Output, Source};
use super::rules::{Verdict, classify, describe, excerpt};
use super::spec::{CallSpec, GeneratorSpec, Mark, PieceSpec, RefSource, StateSpec, Yields};
use super::template::Values;
use crate::task::outcome::{
    CancelAnswer, FetchAnswer, Image, Piece, PollAnswer, RuleOutcome, RunReport, SubmitAnswer, Verb,
};

/// The longest reference that is believed.
const MAX_REF_BYTES: usize = 512;
/// The longest value that is kept under a name of the configuration.
const MAX_VAR_BYTES: usize = 4096;
/// The most images of a piece.
const MAX_IMAGES: usize = 200;
/// The longest address of an image.
const MAX_URL_BYTES: usize = 4096;
const CUT: &str = "the output was longer than what is kept of it, and what was cut could have said otherwise";

/// A call with its streams read and its end named.
struct Answered<'c> {
    call: &'c CallResult,
    stdout: Output,
    stderr: Output,
    verdict: Verdict,
    verb: Verb,
}

impl<'c> Answered<'c> {
    fn new(verb: Verb, spec: &CallSpec, call: &'c CallResult) -> Self {
        let (stdout, stderr) = (Output::new(&call.stdout), Output::new(&call.stderr));
        let verdict = classify(verb, &spec.rules, call, &stdout, &stderr);
        Self { call, stdout, stderr, verdict, verb }
    }

    fn source(&self) -> Source<'_> {
        Source::Output(&self.stdout)
    }

    /// Why a value could not be read, with what was written instead, unless that may be a piece.
    fn bad(&self, why: &str) -> String {
        let stdout = (!self.verb.writes_a_piece()).then_some(&self.stdout);
        excerpt(&format!("{why} ({})", describe(self.call, stdout, &self.stderr)))
    }

    fn raw(self) -> String {
        let stdout = String::from_utf8_lossy(&self.call.stdout);
        if stdout.trim().is_empty() { String::from_utf8_lossy(&self.call.stderr).into() } else { stdout.into() }
    }
}

/// What a submit came to.
pub fn submit_answer(spec: &GeneratorSpec, job: &Job, call: &CallResult) -> SubmitAnswer {
    let answered = Answered::new(Verb::Submit, &spec.submit.call, call);
    let why = answered.verdict.why.clone();
    match answered.verdict.outcome {
        Some(RuleOutcome::Ok) => {}
        Some(RuleOutcome::Rejected) => return SubmitAnswer::Rejected(why),
        Some(RuleOutcome::Retry) => return SubmitAnswer::Retry(why),
        Some(RuleOutcome::Unavailable) => return SubmitAnswer::Unavailable(why),
        Some(RuleOutcome::Ambiguous | RuleOutcome::Missing | RuleOutcome::NotReady | RuleOutcome::Refused) | None => {
            return SubmitAnswer::Ambiguous(why);
        }
    }
    match reference_of(spec, job, &answered) {
        Ok(reference) => SubmitAnswer::Accepted { reference, vars: extract_vars(&spec.submit.vars, answered.source()) },
        Err(why) => SubmitAnswer::Ambiguous(answered.bad(&why)),
    }
}

fn reference_of(spec: &GeneratorSpec, job: &Job, answered: &Answered<'_>) -> Result<String, String> {
    let reference = match &spec.submit.yields {
        Yields::Reference(RefSource::Template(template)) => {
            let mut values = Values::default();
            values.set("key", job.attempt.key.as_str());
            values.set("task", job.task.id.as_str());
            template.render(&values).map_err(|error| error.to_string())?
        }
        Yields::Reference(RefSource::Extract(_)) if answered.call.is_truncated => return Err(CUT.to_owned()),
        Yields::Reference(RefSource::Extract(extractor)) => {
            extractor.filled_text(answered.source()).map_err(|miss| format!("no reference: {miss}"))?
        }
        Yields::Piece(_) => return Err("a blocking command has no reference of its own".to_owned()),
    };
    checked_reference(&reference)
}

/// A reference goes back into arguments and into the database: what is not one short word or line is not believed.
fn checked_reference(reference: &str) -> Result<String, String> {
    let reference = reference.trim();
    if reference.is_empty() {
        return Err("the reference is empty".to_owned());
    }
    if reference.len() > MAX_REF_BYTES || reference.chars().any(char::is_control) {
        return Err(format!("the reference is longer than {MAX_REF_BYTES} bytes or holds control characters"));
    }
    Ok(reference.to_owned())
}

fn extract_vars(vars: &BTreeMap<String, Extractor>, from: Source<'_>) -> BTreeMap<String, String> {
    let found = vars.iter().filter_map(|(name, extractor)| Some((name.clone(), extractor.text(from).ok()?)));
    found.filter(|(_, value)| value.len() <= MAX_VAR_BYTES && !value.contains('\0')).collect()
}

/// What a blocking run came to that has ended by itself. A run that we ended is told by whoever ended it.
pub fn run_report(spec: &GeneratorSpec, call: &CallResult) -> RunReport {
    let answered = Answered::new(Verb::Run, &spec.submit.call, call);
    let why = answered.verdict.why.clone();
    match answered.verdict.outcome {
        Some(RuleOutcome::Ok) => {}
        Some(RuleOutcome::Rejected) => return RunReport::Rejected(why),
        Some(RuleOutcome::Unavailable) => return RunReport::Unavailable(why),
        Some(RuleOutcome::Ambiguous | RuleOutcome::Missing | RuleOutcome::NotReady | RuleOutcome::Refused) => {
            return RunReport::Ambiguous { why, raw: answered.raw() };
        }
        Some(RuleOutcome::Retry) | None => return RunReport::Failed(why),
    }
    let Yields::Piece(piece) = &spec.submit.yields else {
        return RunReport::NoPiece { why: "this generator's submit yields no piece".to_owned(), raw: answered.raw() };
    };
    match read_piece(spec, piece, None, &answered) {
        Ok(piece) => RunReport::Piece(Box::new(piece)),
        Err(why) => RunReport::NoPiece { why: answered.bad(&why), raw: answered.raw() },
    }
}

/// What a poll of one job, by name, came to.
pub fn poll_one_answer(spec: &GeneratorSpec, call: &CallResult) -> PollAnswer {
    let Some(poll) = spec.poll_by_name() else {
        return PollAnswer::Unreadable("this generator cannot be asked about one job".to_owned());
    };
    let answered = Answered::new(Verb::PollOne, &poll.call, call);
    let why = answered.verdict.why.clone();
    match answered.verdict.outcome {
        Some(RuleOutcome::Ok) if call.is_truncated => PollAnswer::Unreadable(answered.bad(CUT)),
        Some(RuleOutcome::Ok) => match read_state(spec, &poll.job, answered.source()) {
            PollAnswer::Unreadable(why) => PollAnswer::Unreadable(answered.bad(&why)),
            answer => answer,
        },
        Some(RuleOutcome::Missing) => PollAnswer::Missing { is_complete: true, by_name: true },
        _ => PollAnswer::Unavailable(why),
    }
}

fn read_state(spec: &GeneratorSpec, job: &StateSpec, from: Source<'_>) -> PollAnswer {
    let text = match job.state.filled_text(from) {
        Ok(text) => text,
        Err(miss) => return PollAnswer::Unreadable(format!("no state: {miss}")),
    };
    // Looked up as it was written: what is made of it for people could be a word that the generator did not write.
    let (state, theirs) = (spec.states.get(text.trim()).copied(), excerpt(&text));
    let Some(state) = state else {
        return PollAnswer::Unreadable(format!("the state {theirs:?} is not in [generators.{}.states]", spec.name));
    };
    let note = |extractor: &Option<Extractor>| extractor.as_ref()?.note(from).map(|text| excerpt(&text));
    PollAnswer::State {
        state,
        theirs,
        error: note(&job.error),
        progress: note(&job.progress),
        vars: extract_vars(&job.vars, from),
    }
}

/// What a fetch came to.
pub fn fetch_answer(spec: &GeneratorSpec, job: &Job, call: &CallResult) -> FetchAnswer {
    let Some(fetch) = &spec.fetch else {
        return FetchAnswer::Unavailable("this generator has no fetch".to_owned());
    };
    let answered = Answered::new(Verb::Fetch, &fetch.call, call);
    let why = answered.verdict.why.clone();
    match answered.verdict.outcome {
        Some(RuleOutcome::Ok) => match read_piece(spec, &fetch.piece, Some(job), &answered) {
            Ok(piece) => FetchAnswer::Piece(Box::new(piece)),
            Err(why) => FetchAnswer::Unreadable { why: answered.bad(&why), raw: answered.raw() },
        },
        Some(RuleOutcome::NotReady) => FetchAnswer::NotReady,
        Some(RuleOutcome::Missing) => FetchAnswer::Missing { raw: answered.raw() },
        _ => FetchAnswer::Unavailable(why),
    }
}

/// What a cancel came to.
pub fn cancel_answer(spec: &GeneratorSpec, call: &CallResult) -> CancelAnswer {
    let Some(cancel) = &spec.cancel else { return CancelAnswer::Refused("this generator cannot cancel".to_owned()) };
    let answered = Answered::new(Verb::Cancel, cancel, call);
    match answered.verdict.outcome {
        Some(RuleOutcome::Ok) => CancelAnswer::Ok,
        Some(RuleOutcome::Refused) => CancelAnswer::Refused(answered.verdict.why),
        _ => CancelAnswer::Unclear(answered.verdict.why),
    }
}

fn read_piece(
    spec: &GeneratorSpec,
    piece: &PieceSpec,
    job: Option<&Job>,
    answered: &Answered<'_>,
) -> Result<Piece, String> {
    if answered.call.is_truncated {
        return Err(CUT.to_owned());
    }
    let from = answered.source();
    let mark = spec.find.as_ref().map(|find| &find.mark);
    let key = job.map_or("", |job| job.attempt.key.as_str());
    let unmarked = |text: String| match mark {
        Some(mark) => mark.taken_out_of(&text, key),
        None => text,
    };
    let content = piece.content.text(from).map_err(|miss| format!("no piece: {miss}"))?;
    let content = unmarked(content);
    if content.trim().is_empty() && !spec.allows_empty {
        return Err("the piece is empty".to_owned());
    }
    let html = piece.html.as_ref().and_then(|html| html.filled_text(from).ok());
    let images = piece.images.as_ref().and_then(|images| images.value(from).ok());
    Ok(Piece {
        content,
        html: html.map(unmarked),
        images: images.map(read_images).unwrap_or_default(),
        score: piece.score.as_ref().and_then(|score| score.number(from)),
    })
}

/// Addresses, or objects with `url`; anything else among them is passed over.
fn read_images(value: Value) -> Vec<Image> {
    let items = match value {
        Value::Array(items) => items,
        single => vec![single],
    };
    let image = |item: Value| match item {
        Value::String(url) => usable_url(&url).map(Image::bare),
        Value::Object(object) => {
            let url = object.get("url").and_then(Value::as_str).and_then(usable_url)?;
            Some(Image { url, object_json: Some(Value::Object(object).to_string()) })
        }
        _ => None,
    };
    items.into_iter().filter_map(image).take(MAX_IMAGES).collect()
}

fn usable_url(url: &str) -> Option<String> {
    let url = url.trim();
    let is_usable = !url.is_empty() && url.len() <= MAX_URL_BYTES && !url.chars().any(char::is_control);
    is_usable.then(|| url.to_owned())
}

impl Mark {
    /// The key of the last mark in a text. A person may write an older mark into a field; ours is written behind it.
    pub fn last_key<'t>(&self, text: &'t str, is_wanted: impl Fn(&str) -> bool) -> Option<&'t str> {
        let mut starts = text.rmatch_indices(&self.before);
        starts.find_map(|(at, before)| self.key_at(&text[at + before.len()..], &is_wanted))
    }

    /// The key at the start of a text that follows [`Mark::before`], if the mark is whole there.
    fn key_at<'t>(&self, text: &'t str, is_wanted: impl Fn(&str) -> bool) -> Option<&'t str> {
        const LONGEST: usize = 64;
        let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let len = text.bytes().take(LONGEST + 1).take_while(is_key).count();
        let key = &text[..len];
        let is_ours = is_wanted(key) || has_key_shape(key);
        (is_ours && text[len..].starts_with(&self.after)).then_some(key)
    }

    /// The text without our marks and without the blanks before them.
    fn taken_out_of(&self, text: &str, key: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(&self.before) {
            let after = &rest[at + self.before.len()..];
            match self.key_at(after, |found| found == key) {
                Some(found) => {
                    clean.push_str(rest[..at].trim_end_matches([' ', '\t']));
                    rest = &after[found.len() + self.after.len()..];
                }
                None => {
                    clean.push_str(&rest[..at + self.before.len()]);
                    rest = after;
                }
            }
        }
        clean.push_str(rest);
        clean
    }
}

/// 128 bits in lowercase hexadecimal digits, as every key is.
fn has_key_shape(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
