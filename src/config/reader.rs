//! A section of the file while it is read: every key that is asked for is known, every other one is a fault.
//!
//! Not serde, because serde stops at the first fault and a person wants them all. The surprise: a key of the wrong type
//! reads as absent after its fault was noted, so reading goes on with the default and finds the next one.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration::parse_duration;
use super::error::Faults;

pub(super) type Node<'t, 'i> = &'t Spanned<DeValue<'i>>;

/// A value with its place in the file.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A table of the file.
pub(super) struct Section<'t, 'i> {
    table: &'t DeTable<'i>,
    /// Where a key is looked for that the table does not have.
    fallback: Option<&'t DeTable<'i>>,
    /// As a person writes it: `generators.gen.submit`.
    pub(super) name: String,
    pub(super) span: Range<usize>,
    asked: Vec<&'static str>,
}

impl<'t, 'i> Section<'t, 'i> {
    pub(super) fn new(table: &'t DeTable<'i>, name: impl Into<String>, span: Range<usize>) -> Self {
        Self { table, fallback: None, name: name.into(), span, asked: Vec::new() }
    }

    /// The section of a value, if it is a table.
    pub(super) fn of(node: Node<'t, 'i>, name: impl Into<String>, faults: &mut Faults<'_>) -> Option<Self> {
        let name = name.into();
        match node.get_ref() {
            DeValue::Table(table) => Some(Self::new(table, name, node.span())),
            other => {
                faults.at(&node.span(), wanted(&name, other, "a table of keys and values"));
                None
            }
        }
    }

    /// Keys that this section does not have are taken from another.
    pub(super) fn falling_back_on(mut self, other: &Section<'t, 'i>) -> Self {
        self.fallback = Some(other.table);
        self
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of a key, which is known from now on.
    pub(super) fn node(&mut self, key: &'static str) -> Option<Node<'t, 'i>> {
        self.asked.push(key);
        self.table.get(key).or_else(|| self.fallback?.get(key))
    }

    /// The keys and values of a table whose keys are free.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Placed<String>, Node<'t, 'i>)> + use<'t, 'i> {
        self.table.iter().map(|(key, node)| (Placed { value: key.get_ref().to_string(), span: key.span() }, node))
    }

    pub(super) fn section(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<Section<'t, 'i>> {
        let name = self.path(key);
        Section::of(self.node(key)?, name, faults)
    }

    pub(super) fn text(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<Placed<String>> {
        let name = self.path(key);
        text_of(self.node(key)?, &name, faults)
    }

    pub(super) fn truth(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<Placed<bool>> {
        let name = self.path(key);
        let node = self.node(key)?;
        match node.get_ref() {
            DeValue::Boolean(value) => Some(Placed { value: *value, span: node.span() }),
            other => {
                faults.at(&node.span(), wanted(&name, other, "true or false"));
                None
            }
        }
    }

    pub(super) fn number(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u32>,
        faults: &mut Faults<'_>,
    ) -> Option<u32> {
        let name = self.path(key);
        let node = self.node(key)?;
        let number = integer_of(node).and_then(|number| u32::try_from(number).ok());
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(number);
        }
        let right = format!("a whole number from {} to {}", range.start(), range.end());
        faults.at(&node.span(), wanted(&name, node.get_ref(), &right));
        None
    }

    pub(super) fn decimal(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<f64>,
        faults: &mut Faults<'_>,
    ) -> Option<f64> {
        let name = self.path(key);
        let node = self.node(key)?;
        let number = match node.get_ref() {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            _ => integer_of(node).map(|number| number as f64),
        };
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(number);
        }
        let right = format!("a number from {} to {}", range.start(), range.end());
        faults.at(&node.span(), wanted(&name, node.get_ref(), &right));
        None
    }

    /// A span of time that is not zero.
    pub(super) fn span_of_time(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<Placed<Duration>> {
        let name = self.path(key);
        let node = self.node(key)?;
        let span = node.span();
        let text = match node.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.as_str().to_owned(),
            other => {
                faults.at(&span, wanted(&name, other, "a span of time like \"30s\", \"10m\" or \"90d\""));
                return None;
            }
        };
        match parse_duration(&text) {
            Ok(value) if !value.is_zero() => Some(Placed { value, span }),
            Ok(_) => {
                faults.at(&span, format!("{name} is {text:?}, and it must be longer than nothing"));
                None
            }
            Err(error) => {
                faults.at(&span, format!("{name}: {error}"));
                None
            }
        }
    }

    /// The name of a key in full.
    pub(super) fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Notes every key that nobody asked for, with the nearest one that is known.
    pub(super) fn finish(self, faults: &mut Faults<'_>) {
        faults.knows(&self.name, &self.asked);
        let place = if self.name.is_empty() { "here".to_owned() } else { format!("in [{}]", self.name) };
        for (key, _) in self.table {
            let written = key.get_ref();
            if self.asked.iter().any(|known| known == written) {
                continue;
            }
            let advice = match nearest(written, &self.asked) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    let mut known = self.asked.clone();
                    known.sort_unstable();
                    known.dedup();
                    format!("known are: {}", known.join(", "))
                }
            };
            faults.at(&key.span(), format!("there is no key `{written}` {place}; {advice}"));
        }
    }
}

pub(super) fn text_of(node: Node<'_, '_>, name: &str, faults: &mut Faults<'_>) -> Option<Placed<String>> {
    match node.get_ref() {
        DeValue::String(text) => Some(Placed { value: text.to_string(), span: node.span() }),
        other => {
            faults.at(&node.span(), wanted(name, other, "a text in quotes"));
            None
        }
    }
}

pub(super) fn integer_of(node: Node<'_, '_>) -> Option<i64> {
    let integer = node.get_ref().as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// "`x` is …, and … is wanted".
pub(super) fn wanted(name: &str, found: &DeValue<'_>, right: &str) -> String {
    let found = match found {
        DeValue::String(text) => {
            let short: String = text.chars().take(40).collect();
            format!("the text {short:?}")
        }
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    };
    format!("{name} is {found}, and {right} is wanted")
}

fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    const FARTHEST: usize = 3;
    let written: String = written.chars().take(64).collect();
    let near = known.iter().map(|key| (edits(&written, key), *key)).min_by_key(|(edits, _)| *edits)?;
    (near.0 <= FARTHEST.min(near.1.len() / 2)).then_some(near.1)
}

/// How many letters must be put in, taken out or changed to make one word of the other (Levenshtein).
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in right.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}
