//! Extraction: how a value is found in what a generator wrote.
//!
//! `json:/pointer` looks into the last JSON object or array that begins at the start of a line, parses whole and ends
//! its line; `re:…` takes the first capture of the last match, `first:re:…` of the first match, `re*:…` of all;
//! `text` is the whole output. Everything here reads hostile bytes: nothing panics, and the search for JSON costs a
//! bounded number of passes. The surprise: JSON `null` counts as absent everywhere, as does a capture that took no part.

use std::cell::OnceCell;
use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::de::IgnoredAny;
use serde_json::Value;
use thiserror::Error;

/// The most values that `re*:` takes from one output.
pub const MAX_MATCHES: usize = 10_000;
/// The bound of a compiled regular expression.
const REGEX_BYTES: usize = 4 << 20;
/// How many times its own length an output may cost while JSON is looked for in it.
const JSON_PASSES: usize = 16;

/// What is wrong with an extractor as it stands in the configuration.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ExtractError {
    /// None of the known forms.
    #[error("{0:?} is no extractor: write `json:/pointer`, `re:…`, `first:re:…`, `re*:…` or `text`")]
    UnknownForm(String),
    /// A pointer that does not begin with a slash, or a bad escape in it.
    #[error("{0:?} is no JSON pointer: it is empty or begins with `/`, and `~` is written `~0`, `/` in a name `~1`")]
    BadPointer(String),
    /// A regular expression that does not compile.
    #[error("the regular expression does not compile: {0}")]
    BadRegex(String),
    /// Nothing to take from a match.
    #[error("the regular expression has no group: put what is to be taken in parentheses")]
    NoGroup,
}

/// Why an extractor found nothing.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Miss {
    /// There is no JSON in the output.
    #[error("the output holds no JSON object or array that begins a line, is whole and ends its line")]
    NoJson,
    /// The JSON has nothing at the pointer.
    #[error("the JSON has nothing at {0:?}")]
    NothingAt(String),
    /// The value is of another kind.
    #[error("the value at {at:?} is not {wanted}")]
    WrongKind {
        /// The pointer.
        at: String,
        /// What was wanted.
        wanted: &'static str,
    },
    /// The expression does not match.
    #[error("nothing matches {0:?}")]
    NoMatch(String),
    /// The value is there, and empty.
    #[error("the value is empty")]
    Empty,
}

/// Compiles a regular expression of the configuration, bounded in size.
pub fn compile_regex(source: &str) -> Result<Regex, ExtractError> {
    RegexBuilder::new(source)
        .size_limit(REGEX_BYTES)
        .dfa_size_limit(REGEX_BYTES)
        .build()
        .map_err(|error| ExtractError::BadRegex(error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// What a stream of a call held: read as UTF-8 with replacement, without colour codes.
pub struct Output {
    text: String,
    json: OnceCell<Option<Value>>,
}

impl Output {
    /// Reads a stream.
    pub fn new(bytes: &[u8]) -> Self {
        Self { text: without_escapes(&String::from_utf8_lossy(bytes)), json: OnceCell::new() }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The last JSON object or array in it.
    pub fn json(&self) -> Option<&Value> {
        self.json.get_or_init(|| serde_json::from_str(last_json(&self.text)?).ok()).as_ref()
    }
}

impl fmt::Debug for Output {
    // Outputs hold payloads, which have no place in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

/// Where an extractor looks.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A whole output.
    Output(&'a Output),
    /// One item of a list.
    Item(&'a Value),
}

impl Source<'_> {
    fn json(&self) -> Option<&Value> {
        match self {
            Self::Output(output) => output.json(),
            Self::Item(item) => Some(item),
        }
    }

    fn text(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Output(output) => output.text().into(),
            Self::Item(Value::String(text)) => text.into(),
            Self::Item(item) => item.to_string().into(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Which {
    Last,
    First,
    All,
}

#[derive(Clone, Debug)]
enum Form {
    Json(String),
    Regex(Regex, Which),
    Text,
}

/// Where a value is found.
#[derive(Clone, Debug)]
pub struct Extractor(Form);

impl Extractor {
    /// Whether a text of the configuration has the form of an extractor.
    pub fn is_form(source: &str) -> bool {
        source == "text" || ["json:", "re:", "re*:", "first:re:"].iter().any(|prefix| source.starts_with(prefix))
    }

    /// Compiles one of the forms.
    pub fn compile(source: &str) -> Result<Self, ExtractError> {
        let form = if source == "text" {
            Form::Text
        } else if let Some(pointer) = source.strip_prefix("json:") {
            check_pointer(pointer)?;
            Form::Json(pointer.to_owned())
        } else if let Some(regex) = source.strip_prefix("re:") {
            Form::Regex(compile_capturing(regex)?, Which::Last)
        } else if let Some(regex) = source.strip_prefix("first:re:") {
            Form::Regex(compile_capturing(regex)?, Which::First)
        } else if let Some(regex) = source.strip_prefix("re*:") {
            Form::Regex(compile_capturing(regex)?, Which::All)
        } else {
            return Err(ExtractError::UnknownForm(source.to_owned()));
        };
        Ok(Self(form))
    }

    /// The value: as it is in JSON, a string otherwise. `null` is a miss.
    pub fn value(&self, from: Source<'_>) -> Result<Value, Miss> {
        match &self.0 {
            Form::Text => Ok(Value::String(from.text().into_owned())),
            Form::Json(pointer) => {
                let root = from.json().ok_or(Miss::NoJson)?;
                let found = root.pointer(pointer).filter(|value| !value.is_null());
                found.cloned().ok_or_else(|| Miss::NothingAt(pointer.clone()))
            }
            Form::Regex(regex, Which::All) => Ok(Value::Array(self.matches(regex, &from.text()))),
            Form::Regex(regex, which) => {
                let text = from.text();
                let captures = match which {
                    Which::First => regex.captures(&text),
                    // A match after the last one that we know is looked for until there is none.
                    Which::Last | Which::All => regex.captures_iter(&text).last(),
                };
                let found = captures.and_then(|captures| captures.get(1));
                found.map(|group| Value::String(group.as_str().to_owned())).ok_or_else(|| self.no_match(regex))
            }
        }
    }

    /// The value as a text: strings as they are, numbers and truth values written out.
    pub fn text(&self, from: Source<'_>) -> Result<String, Miss> {
        let value = self.value(from)?;
        scalar_text(value).ok_or_else(|| Miss::WrongKind { at: self.pointer(), wanted: "a text or a number" })
    }

    /// The value as a text that is not blank.
    pub fn filled_text(&self, from: Source<'_>) -> Result<String, Miss> {
        let text = self.text(from)?;
        if text.trim().is_empty() { Err(Miss::Empty) } else { Ok(text) }
    }

    /// The value as a text for people: objects and arrays are written as JSON. None where there is nothing.
    pub fn note(&self, from: Source<'_>) -> Option<String> {
        let text = match self.value(from).ok()? {
            value @ (Value::Object(_) | Value::Array(_)) => value.to_string(),
            value => scalar_text(value)?,
        };
        Some(text).filter(|text| !text.trim().is_empty())
    }

    /// The value as a number; a text that reads as one is one.
    pub fn number(&self, from: Source<'_>) -> Option<f64> {
        let number = match self.value(from).ok()? {
            Value::Number(number) => number.as_f64()?,
            Value::String(text) => text.trim().parse().ok()?,
            _ => return None,
        };
        number.is_finite().then_some(number)
    }

    /// The value as a list. A single match is a list of one.
    pub fn items(&self, from: Source<'_>) -> Result<Vec<Value>, Miss> {
        match (self.value(from)?, &self.0) {
            (Value::Array(items), _) => Ok(items),
            (value, Form::Regex(..)) => Ok(vec![value]),
            _ => Err(Miss::WrongKind { at: self.pointer(), wanted: "an array" }),
        }
    }

    fn matches(&self, regex: &Regex, text: &str) -> Vec<Value> {
        let groups = regex.captures_iter(text).filter_map(|captures| captures.get(1));
        groups.take(MAX_MATCHES).map(|group| Value::String(group.as_str().to_owned())).collect()
    }

    fn no_match(&self, regex: &Regex) -> Miss {
        Miss::NoMatch(regex.as_str().to_owned())
    }

    fn pointer(&self) -> String {
        match &self.0 {
            Form::Json(pointer) => pointer.clone(),
            Form::Regex(regex, _) => regex.as_str().to_owned(),
            Form::Text => "text".to_owned(),
        }
    }
}

fn compile_capturing(source: &str) -> Result<Regex, ExtractError> {
    let regex = compile_regex(source)?;
    if regex.captures_len() < 2 { Err(ExtractError::NoGroup) } else { Ok(regex) }
}

fn check_pointer(pointer: &str) -> Result<(), ExtractError> {
    let is_escaped = pointer.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    if (pointer.is_empty() || pointer.starts_with('/')) && is_escaped {
        return Ok(());
    }
    Err(ExtractError::BadPointer(pointer.to_owned()))
}

/// A scalar as a text; none for an object, an array or null.
pub fn scalar_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is_true) => Some(is_true.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The last object or array that begins at column 0, is whole and ends its line. A value inside another whole value is
/// part of that one and no candidate. Each failed candidate is paid from a budget, so that an output made of openings
/// costs a bounded number of passes and not one pass an opening.
fn last_json(text: &str) -> Option<&str> {
    let mut budget = text.len().saturating_mul(JSON_PASSES).saturating_add(1 << 16);
    let mut found = None;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(['{', '[']) {
            let (cost, end) = whole_value(rest);
            if let Some(end) = end.filter(|end| ends_line(&rest[*end..])) {
                found = Some(&rest[..end]);
                at = next_line(text, at + end);
                continue;
            }
            // Giving up is safe: what cannot be read is doubt, never an answer.
            budget = budget.checked_sub(cost)?;
        }
        at = next_line(text, at);
    }
    found
}

/// How many bytes were looked at, and where the value ends if it is whole.
fn whole_value(text: &str) -> (usize, Option<usize>) {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    match stream.next() {
        Some(Ok(_)) => (stream.byte_offset(), Some(stream.byte_offset())),
        Some(Err(error)) => {
            let lines_before = error.line().saturating_sub(1);
            let before: usize = text.split_inclusive('\n').take(lines_before).map(str::len).sum();
            (before + error.column() + 1, None)
        }
        None => (1, None),
    }
}

fn ends_line(rest: &str) -> bool {
    rest.split('\n').next().is_none_or(|line| line.trim().is_empty())
}

fn next_line(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |offset| at + offset + 1)
}

/// The text without terminal escapes: colours and other control sequences, titles and links. An escape that is not
/// whole loses its first character only.
fn without_escapes(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while let Some(at) = rest.find('\u{1b}') {
        clean.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        rest = &rest[escape_len(rest.as_bytes())..];
    }
    clean.push_str(rest);
    clean
}

/// The length of a control sequence after its escape character; 0 for one that is not whole. Bounded, so that an
/// output full of openings is not searched from each of them to its end.
fn escape_len(after: &[u8]) -> usize {
    const LONGEST: usize = 256;
    let bounded = &after[..after.len().min(LONGEST)];
    match bounded.first() {
        Some(b'[') => {
            let body = bounded[1..].iter().take_while(|byte| matches!(byte, 0x20..=0x3f)).count();
            if bounded.get(1 + body).is_some_and(|byte| matches!(byte, 0x40..=0x7e)) { body + 2 } else { 0 }
        }
        Some(b']') => {
            let end = bounded.iter().position(|byte| matches!(byte, 0x07 | 0x1b | b'\n'));
            match end {
                Some(end) if bounded[end] == 0x07 => end + 1,
                Some(end) if bounded[end] == 0x1b && bounded.get(end + 1) == Some(&b'\\') => end + 2,
                _ => 0,
            }
        }
        _ => 0,
    }
}

#[cfg(test)]
#[path = "extract_tests.rs"]
mod tests;
