//! What is wrong with a configuration: every fault with its place, and what would be right.
//!
//! A person reads this once, in a hurry: all faults are told at once, in the form `FILE:LINE:COLUMN: what` that editors
//! jump to. The surprise: a configuration with one fault is refused whole, because half of it was never asked for.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The file; none for a fault of the environment.
    pub file: Option<PathBuf>,
    /// Line from 1; 0 where the whole file is meant.
    pub line: usize,
    /// Column in characters from 1; 0 where the whole file is meant.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if self.line > 0 {
                write!(f, "{}:{}:", self.line, self.column)?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)
    }
}

/// All faults of a configuration, in the order of the file. Never empty.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// A single fault without a place in a file.
    pub fn one(message: impl Into<String>) -> Self {
        Self(vec![ConfigError { file: None, line: 0, column: 0, message: message.into() }])
    }
}

/// Collects faults while a file is read, and which keys were known on the way.
pub(super) struct Faults<'s> {
    file: Option<&'s Path>,
    source: &'s str,
    found: Vec<(usize, ConfigError)>,
    known: BTreeSet<(String, &'static str)>,
}

impl<'s> Faults<'s> {
    pub(super) fn new(file: Option<&'s Path>, source: &'s str) -> Self {
        Self { file, source, found: Vec::new(), known: BTreeSet::new() }
    }

    /// A fault at a place of the file.
    pub(super) fn at(&mut self, span: &Range<usize>, message: impl Into<String>) {
        let (line, column) = place(self.source, span.start);
        let file = self.file.map(Path::to_owned);
        self.found.push((span.start, ConfigError { file, line, column, message: message.into() }));
    }

    /// A fault outside of the file.
    pub(super) fn outside(&mut self, message: impl Into<String>) {
        let error = ConfigError { file: None, line: 0, column: 0, message: message.into() };
        self.found.push((usize::MAX, error));
    }

    /// Keys that a section has or could have.
    pub(super) fn knows(&mut self, section: &str, keys: &[&'static str]) {
        self.known.extend(keys.iter().map(|key| (section.to_owned(), *key)));
    }

    pub(super) fn into_known(self) -> BTreeSet<(String, &'static str)> {
        self.known
    }

    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    pub(super) fn into_result(mut self) -> Result<(), ConfigErrors> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|(start, _)| *start);
        Err(ConfigErrors(self.found.into_iter().map(|(_, error)| error).collect()))
    }
}

/// Line and column, from 1, of a byte of the source.
fn place(source: &str, at: usize) -> (usize, usize) {
    let before = source.get(..at).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
