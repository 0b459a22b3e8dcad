//! How an answer is printed: a table for people, JSON or CSV for programs.
//!
//! JSON is what the daemon said, field for field. A table ([`super::table`]) shows a choice of columns and escapes what a terminal would
//! obey. On a terminal it fits, and prose is broken at words; in a pipe nothing is cut and a line stays one, so that it can be searched.
//! CSV has every field, with at most three digits behind a point; text that a spreadsheet would run as a formula gets an apostrophe in
//! front, as OWASP advises, and on a terminal control characters are escaped but for lines and tabs. So JSON is the form for programs that
//! need every byte.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::args::Format;
use super::failure::Failure;
use super::spreadsheet;
use super::table::{Column, Table, table};
use super::text::{NARROWEST_PROSE, at_words, hanging, padded, safe, width};
use super::when::{in_local_times, local};
use crate::config::format_duration;

/// Prints answers.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    format: Format,
    columns: Option<usize>,
    /// Somebody looks at it, by something that obeys control characters.
    is_terminal: bool,
}

impl Printer {
    /// For standard output: tables fit the terminal, and keep their width where there is none.
    pub fn new(format: Format) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let columns = is_terminal.then(|| columns_of(io::stdout())).flatten();
        Self { format, columns, is_terminal }
    }

    /// Whether people read it.
    pub fn is_for_people(self) -> bool {
        self.format == Format::Table
    }

    /// Whether somebody looks at it now.
    pub fn is_terminal(self) -> bool {
        self.is_terminal
    }

    /// Whether a program reads it as the daemon said it.
    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// The format.
    pub fn format(self) -> Format {
        self.format
    }

    /// Prints several rows: a table, an array, or CSV with `fields`.
    pub fn rows<T: Serialize>(self, rows: &[T], columns: &[Column], fields: &[&str]) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(&rows),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(io::stdout().lock());
                spreadsheet::write(&mut writer, Some(fields), fields, &values(rows)?, self.is_terminal)
            }
            Format::Table => {
                if rows.is_empty() {
                    // A heading alone says nothing; whoever asks says what it means that there is none.
                    return Ok(());
                }
                let Table { text, left_out, .. } = table(&values(rows)?, columns, self.columns);
                write_out(text.as_bytes())?;
                if !left_out.is_empty() {
                    say(&format!(
                        "(no room for {}: `| cat` shows every column, --output json every field)",
                        left_out.join(", ")
                    ));
                }
                Ok(())
            }
        }
    }

    /// Prints one record: lines of field and value, an object, or CSV with one row.
    pub fn record<T: Serialize>(self, record: &T, fields: &[&str]) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(record),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(io::stdout().lock());
                let record = value_of(record)?;
                let columns = spreadsheet::columns(&record, fields);
                let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
                spreadsheet::write(&mut writer, Some(&columns), &columns, &[record], self.is_terminal)
            }
            Format::Table => write_out(lines_of_record(&value_of(record)?, fields, self.columns).as_bytes()),
        }
    }

    /// Prints a record in which lists of records stand: for spreadsheets a row for each value, with its key.
    pub fn nested<T: Serialize>(self, record: &T, fields: &[&str]) -> Result<(), Failure> {
        if self.format != Format::Csv {
            return self.record(record, fields);
        }
        let record = value_of(record)?;
        let mut rows = Vec::new();
        for field in fields {
            spreadsheet::flatten(field, record.get(*field).unwrap_or(&Value::Null), &mut rows);
        }
        self.rows(&rows, &[], spreadsheet::KEYED)
    }

    /// Refuses CSV where an answer is no table.
    pub fn refuse_csv(self, why: &str) -> Result<(), Failure> {
        match self.format {
            Format::Csv => Err(Failure::usage("--output", "csv", why)),
            Format::Json | Format::Table => Ok(()),
        }
    }

    /// Prints JSON, whatever the format.
    pub fn json<T: Serialize>(self, value: &T) -> Result<(), Failure> {
        let mut text = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
        text.push(b'\n');
        write_out(&text)
    }

    /// Prints one item of a stream at once: a line of JSON, or a row of CSV (the heading with the first), or `line`.
    pub fn item<T: Serialize>(self, item: &T, fields: &[&str], is_first: bool, line: &str) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                let mut text = serde_json::to_vec(item).map_err(io::Error::other)?;
                text.push(b'\n');
                write_out(&text)
            }
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(io::stdout().lock());
                spreadsheet::write(
                    &mut writer,
                    is_first.then_some(fields),
                    fields,
                    &[value_of(item)?],
                    self.is_terminal,
                )
            }
            Format::Table => self.prose(line),
        }
    }

    /// Prints sentences: on a terminal broken at words.
    pub fn prose(self, text: &str) -> Result<(), Failure> {
        self.prose_in(text, 0)
    }

    /// The same; what a line goes on with stands in this column or further in.
    pub fn prose_in(self, text: &str, column: usize) -> Result<(), Failure> {
        match self.columns {
            Some(columns) => self.text(&hanging(text, columns, column)),
            None => self.text(text),
        }
    }

    /// Prints text as it is.
    pub fn text(self, text: &str) -> Result<(), Failure> {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        write_out(format!("{text}{end}").as_bytes())
    }
}

/// Writes and flushes; standard output is not closed before the end, so a late failure would be lost otherwise.
pub fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// Says something to people, beside what is printed: on a terminal broken at words.
pub fn say(message: &str) {
    let columns = io::stderr().is_terminal().then(|| columns_of(io::stderr())).flatten();
    let message = columns.map_or_else(|| message.to_owned(), |columns| hanging(message, columns, 0));
    // Nobody to say it to is no failure.
    let _ = writeln!(io::stderr(), "{message}");
}

/// How many columns a terminal has: as `COLUMNS` says, else as it says itself.
pub fn columns_of(terminal: impl std::os::fd::AsFd) -> Option<usize> {
    let named = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse::<usize>().ok());
    let asked = || rustix::termios::tcgetwinsize(terminal).ok().map(|size| usize::from(size.ws_col));
    named.or_else(asked).filter(|columns| *columns > 0)
}

/// As it is written.
pub(super) fn value_of<T: Serialize>(item: &T) -> Result<Value, Failure> {
    serde_json::to_value(item).map_err(|error| Failure::Io(io::Error::other(error)))
}

fn values<T: Serialize>(rows: &[T]) -> Result<Vec<Value>, Failure> {
    rows.iter().map(value_of).collect()
}

/// Lines of field and value; a value that is longer than a terminal goes on under itself.
fn lines_of_record(record: &Value, fields: &[&str], terminal: Option<usize>) -> String {
    let inset = fields.iter().map(|field| width(field)).max().unwrap_or(0) + 2;
    let mut lines = String::new();
    for field in fields {
        let mut shown = cell(record.get(*field).unwrap_or(&Value::Null), field);
        if shown.is_empty() {
            continue;
        }
        if let Some(columns) = terminal.filter(|columns| *columns >= inset + NARROWEST_PROSE) {
            let columns = columns - inset;
            shown = at_words(&shown, columns, columns).join(&format!("\n{}", " ".repeat(inset)));
        }
        lines.push_str(&format!("{}{shown}\n", padded(field, inset)));
    }
    lines
}

/// A value as a table shows it. Times are known by the name of their field.
pub(super) fn cell(value: &Value, field: &str) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) if is_time(field) => safe(&local(text)),
        Value::String(text) if is_sentence(field) => safe(&in_local_times(text)),
        Value::String(text) => safe(text),
        Value::Number(number) => match number.as_u64().filter(|_| is_span(field)) {
            Some(seconds) => format_duration(Duration::from_secs(seconds)),
            None => number_of(number),
        },
        Value::Array(items) => items.iter().map(|item| cell(item, "")).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{} {}", safe(name), cell(value, name)))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// More than three digits behind the point only look exact.
pub(super) fn number_of(number: &serde_json::Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(value) => ((value * 1_000.0).round() / 1_000.0).to_string(),
        None => number.to_string(),
    }
}

/// Whole seconds that were typed as a span.
fn is_span(field: &str) -> bool {
    matches!(field, "time_limit" | "every")
}

fn is_time(field: &str) -> bool {
    field.ends_with("_at") || field.ends_with("_until") || matches!(field, "at" | "since")
}

/// The daemon's own words, in which times may stand.
fn is_sentence(field: &str) -> bool {
    field.ends_with("reason")
        || field.ends_with("error")
        || matches!(field, "why" | "paused_why" | "trouble" | "text" | "unserved")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_long_value_goes_on_under_itself_on_a_terminal_alone() {
        let record = json!({"state": "held", "generator_state": null, "reason": "nobody knows whether it has a job"});
        let fields = ["state", "generator_state", "reason"];
        let narrow = "state            held\nreason           nobody knows whether it\n                 has a job\n";
        assert_eq!(lines_of_record(&record, &fields, Some(40)), narrow);
        let line = "reason           nobody knows whether it has a job\n";
        for wide in [None, Some(80), Some(30)] {
            assert!(lines_of_record(&record, &fields, wide).ends_with(line), "{wide:?}");
        }
    }

    #[test]
    fn values_are_shown_as_they_are_typed() {
        assert_eq!([cell(&json!(1800), "time_limit"), cell(&json!(600), "every")], ["30m", "10m"]);
        let waits = "the next is not before 2026-11-28T00:45:31.435Z";
        assert!(!cell(&json!(waits), "reason").contains('Z'), "as the times of other columns");
        assert_eq!(cell(&json!(waits), "topic"), waits);
        assert_eq!(cell(&json!(2.788_000_000_000_000_3), "p90_duration_s"), "2.788");
    }
}
