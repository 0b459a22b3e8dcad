//! How an answer is printed: a table for people, JSON or CSV for programs.
//!
//! JSON is what the daemon said, field for field. A table shows a choice of columns and escapes what a terminal would obey. On a
//! terminal no line of it wraps: long cells are cut, then columns in which nothing stands are left out, and what is too long even so
//! is cut at its end. What is worth least makes way for what a table is asked for, and that is said. In a pipe nothing is. CSV has every field; text that a spreadsheet would run as a formula gets an apostrophe in
//! front, as OWASP advises, and on a terminal control characters are escaped but for lines and tabs. So JSON is the form for
//! programs that need every byte.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::args::Format;
use super::failure::Failure;
use super::text::{fitted, padded, safe, safe_lines, width};
use super::when::local;
use crate::config::format_duration;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// The field.
    pub field: &'static str,
    /// How it gives way when the terminal is narrow.
    pub yields: Yields,
    /// A field that says the same now and then: this column is empty then.
    pub unless: Option<&'static str>,
}

/// How a column gives way when the terminal is narrow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Yields {
    /// Not at all.
    Nothing,
    /// It becomes narrower.
    Width,
    /// It becomes narrower, and before it is too narrow to read those go that may go.
    Late,
    /// It goes, the rightmost of them first.
    Everything,
}

impl Column {
    const fn of(title: &'static str, field: &'static str, yields: Yields) -> Self {
        Self { title, field, yields, unless: None }
    }

    /// Empty where it would only repeat what this field says.
    pub const fn unless(self, field: &'static str) -> Self {
        Self { unless: Some(field), ..self }
    }

    const fn is_flexible(&self) -> bool {
        matches!(self.yields, Yields::Width | Yields::Late)
    }
}

/// A column that keeps its width.
pub const fn fixed(title: &'static str, field: &'static str) -> Column {
    Column::of(title, field, Yields::Nothing)
}

/// A column that gives way.
pub const fn flexible(title: &'static str, field: &'static str) -> Column {
    Column::of(title, field, Yields::Width)
}

/// What the table is asked for: it gives way last.
pub const fn wanted(title: &'static str, field: &'static str) -> Column {
    Column::of(title, field, Yields::Late)
}

/// A column that is left out where there is no room for what the table is asked for.
pub const fn spare(title: &'static str, field: &'static str) -> Column {
    Column::of(title, field, Yields::Everything)
}

/// Prints answers.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    format: Format,
    columns: Option<usize>,
    /// Somebody looks at it, by something that obeys control characters.
    is_terminal: bool,
}

/// The narrowest that a flexible column becomes.
const NARROWEST: usize = 8;
/// The narrowest that can still be read, of what a table is asked for.
const READABLE: usize = 24;
const GAP: usize = 2;

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
                write_csv(&mut writer, Some(fields), fields, rows, self.is_terminal)
            }
            Format::Table => {
                let Table { text, left_out } = table(&values(rows)?, columns, self.columns);
                write_out(text.as_bytes())?;
                if !left_out.is_empty() {
                    // Nobody to say it to is no failure.
                    let _ = writeln!(
                        io::stderr(),
                        "(no room for {}: `| cat` shows every column, --output json every field)",
                        left_out.join(", ")
                    );
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
                write_csv(&mut writer, Some(fields), fields, std::slice::from_ref(record), self.is_terminal)
            }
            Format::Table => {
                let value = value_of(record)?;
                let widest = fields.iter().map(|field| width(field)).max().unwrap_or(0);
                let mut lines = String::new();
                for field in fields {
                    let shown = cell(value.get(*field).unwrap_or(&Value::Null), field);
                    if !shown.is_empty() {
                        lines.push_str(&format!("{}  {shown}\n", padded(field, widest)));
                    }
                }
                write_out(lines.as_bytes())
            }
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
                write_csv(&mut writer, is_first.then_some(fields), fields, std::slice::from_ref(item), self.is_terminal)
            }
            Format::Table => write_out(format!("{line}\n").as_bytes()),
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

/// How many columns a terminal has: as `COLUMNS` says, else as it says itself.
pub fn columns_of(terminal: impl std::os::fd::AsFd) -> Option<usize> {
    let named = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse::<usize>().ok());
    let asked = || rustix::termios::tcgetwinsize(terminal).ok().map(|size| usize::from(size.ws_col));
    named.or_else(asked).filter(|columns| *columns > 0)
}

fn value_of<T: Serialize>(item: &T) -> Result<Value, Failure> {
    serde_json::to_value(item).map_err(|error| Failure::Io(io::Error::other(error)))
}

fn values<T: Serialize>(rows: &[T]) -> Result<Vec<Value>, Failure> {
    rows.iter().map(value_of).collect()
}

fn write_csv<T: Serialize, W: Write>(
    writer: &mut csv::Writer<W>,
    heading: Option<&[&str]>,
    fields: &[&str],
    rows: &[T],
    is_terminal: bool,
) -> Result<(), Failure> {
    // An error of the reader's pipe must stay what it is, so that it is quiet.
    let failed = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(error) => Failure::Io(error),
        kind => Failure::Io(io::Error::other(format!("{kind:?}"))),
    };
    if let Some(heading) = heading {
        writer.write_record(heading).map_err(failed)?;
    }
    for row in rows {
        let value = value_of(row)?;
        let cells = fields.iter().map(|field| csv_cell(value.get(*field).unwrap_or(&Value::Null), is_terminal));
        writer.write_record(cells).map_err(failed)?;
    }
    writer.flush()?;
    Ok(())
}

fn csv_cell(value: &Value, is_terminal: bool) -> String {
    let shown = |text: &str| if is_terminal { safe_lines(text) } else { text.to_owned() };
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{}", shown(text)),
        Value::String(text) => shown(text),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let joined = items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
            csv_cell(&Value::String(joined), is_terminal)
        }
        other => shown(&other.to_string()),
    }
}

/// A value as a table shows it. Times are known by the name of their field.
fn cell(value: &Value, field: &str) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) if is_time(field) => safe(&local(text)),
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
fn number_of(number: &serde_json::Number) -> String {
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

/// A table as it is printed.
struct Table {
    text: String,
    /// Headings of columns with something in them for which there was no room.
    left_out: Vec<&'static str>,
}

/// Lays out a table: a heading and a line for each row, in columns of a terminal.
fn table(rows: &[Value], columns: &[Column], terminal: Option<usize>) -> Table {
    let all: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| shown(row, column)).collect()).collect();
    let terminal = terminal.unwrap_or(usize::MAX);
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    let lay_out = |kept: &[usize]| {
        let cells: Vec<Vec<String>> =
            all.iter().map(|row| kept.iter().map(|index| row[*index].clone()).collect()).collect();
        let columns: Vec<Column> = kept.iter().map(|index| columns[*index]).collect();
        laid_out(&cells, &columns, terminal)
    };
    let (mut text, mut fits) = lay_out(&kept);
    let mut left_out = Vec::new();
    if fits || rows.is_empty() {
        return Table { text, left_out };
    }
    let has_words = |index: &usize| all.iter().any(|row| !row[*index].is_empty());
    kept.retain(|index| columns[*index].yields == Yields::Nothing || has_words(index));
    (text, fits) = lay_out(&kept);
    while !fits && let Some(place) = kept.iter().rposition(|index| columns[*index].yields == Yields::Everything) {
        left_out.insert(0, columns[kept.remove(place)].title);
        (text, fits) = lay_out(&kept);
    }
    Table { text, left_out }
}

fn shown(row: &Value, column: &Column) -> String {
    let value = row.get(column.field).unwrap_or(&Value::Null);
    if column.unless.is_some_and(|other| row.get(other) == Some(value)) {
        return String::new();
    }
    cell(value, column.field)
}

/// The lines, and whether none of them had to be cut at its end and what the table is asked for can be read.
fn laid_out(rows: &[Vec<String>], columns: &[Column], terminal: usize) -> (String, bool) {
    let heading: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&heading).chain(rows).collect();
    let mut widths: Vec<usize> =
        (0..columns.len()).map(|index| lines.iter().map(|line| width(&line[index])).max().unwrap_or(0)).collect();
    let wanted: Vec<usize> = widths.clone();
    shrink(&mut widths, columns, terminal);
    let is_readable =
        |index: usize| columns[index].yields != Yields::Late || widths[index] >= wanted[index].min(READABLE);
    let (mut text, mut fits) = (String::new(), (0..columns.len()).all(is_readable));
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| padded(&fitted(cell, *width), *width));
        let joined = cells.collect::<Vec<_>>().join(&" ".repeat(GAP));
        let whole = joined.trim_end();
        fits &= width(whole) <= terminal;
        text.push_str(&fitted(whole, terminal));
        text.push('\n');
    }
    (text, fits)
}

/// Takes from the widest flexible column, one terminal column at a time, until the line fits or none can give more.
fn shrink(widths: &mut [usize], columns: &[Column], terminal: usize) {
    let gaps = GAP * columns.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > terminal {
        let widest = (0..widths.len())
            .filter(|index| columns[*index].is_flexible() && widths[*index] > NARROWEST)
            .max_by_key(|index| widths[*index]);
        let Some(widest) = widest else { return };
        widths[widest] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: &[Column] = &[fixed("ID", "id"), flexible("TOPIC", "topic")];

    #[test]
    fn tables_are_aligned_by_display_width_and_fit() {
        let rows = [json!({"id": 1, "topic": "人工智能\x1b[2J"}), json!({"id": 22, "topic": null})];
        assert_eq!(table(&rows, COLUMNS, None).text, "ID  TOPIC\n1   人工智能\\u{1b}[2J\n22\n");
        let rows = [json!({"id": 1, "topic": "人".repeat(50)})];
        let narrow = table(&rows, COLUMNS, Some(20)).text;
        assert!(narrow.lines().all(|line| width(line) <= 20), "{narrow}");
        let tiny = table(&rows, COLUMNS, Some(3)).text;
        assert!(tiny.contains('…'));
    }

    #[test]
    fn no_line_wraps_on_a_terminal_and_none_is_cut_in_a_pipe() {
        let columns = [
            fixed("TASK", "id"),
            fixed("CREATED", "at"),
            flexible("TOPIC", "topic"),
            flexible("REASON", "reason"),
            flexible("ERROR", "error"),
        ];
        let at = "2026-01-31 08:00:00";
        let rows =
            [json!({"id": "task-0123456789ab", "at": at, "topic": "Why bread rises ".repeat(9), "reason": null})];
        for columns_there in [1, 20, 40, 60, 80, 200] {
            let text = table(&rows, &columns, Some(columns_there)).text;
            assert!(text.lines().all(|line| width(line) <= columns_there), "{columns_there}: {text}");
        }
        let narrow = table(&rows, &columns, Some(56)).text;
        assert!(narrow.contains("TOPIC") && narrow.contains('…') && !narrow.contains("REASON"), "{narrow}");
        let wide = table(&rows, &columns, Some(100)).text;
        assert!(wide.contains("REASON") && wide.contains("ERROR"), "it is there while there is room: {wide}");
        let piped = table(&rows, &columns, None).text;
        assert!(piped.contains(rows[0]["topic"].as_str().expect("a text").trim_end()), "{piped}");
    }

    #[test]
    fn what_a_table_is_asked_for_stays_and_what_makes_way_is_named() {
        let columns = [
            fixed("AT", "at"),
            fixed("EVENT", "event"),
            spare("FROM", "from"),
            spare("ATTEMPT", "attempt"),
            flexible("WHO", "who"),
            wanted("WHY", "why"),
        ];
        let why = "the generator said: 429 too many requests, try again in ten minutes";
        let rows = [json!({"at": "2026-01-31 08:00:00", "event": "retry_scheduled", "from": "processing",
            "attempt": 1, "who": "contentd", "why": why})];
        let narrow = table(&rows, &columns, Some(80));
        assert!(narrow.text.contains("the generator said: 429"), "{}", narrow.text);
        assert!(narrow.text.lines().all(|line| width(line) <= 80), "{}", narrow.text);
        assert_eq!(narrow.left_out, ["FROM", "ATTEMPT"]);
        assert_eq!(table(&rows, &columns, Some(86)).left_out, ["ATTEMPT"]);
        for whole in [None, Some(200)] {
            assert_eq!(table(&rows, &columns, whole).left_out, Vec::<&str>::new());
        }
    }

    #[test]
    fn what_one_column_says_the_next_does_not_repeat() {
        let columns = [fixed("REASON", "reason"), flexible("ERROR", "error").unless("reason")];
        let rows = [json!({"reason": "restored", "error": "restored"}), json!({"reason": "waits", "error": "429"})];
        assert_eq!(table(&rows, &columns, None).text, "REASON    ERROR\nrestored\nwaits     429\n");
        assert_eq!([cell(&json!(1800), "time_limit"), cell(&json!(600), "every")], ["30m", "10m"], "as they are typed");
        assert_eq!(cell(&json!(2.788_000_000_000_000_3), "p90_duration_s"), "2.788");
    }

    #[test]
    fn csv_runs_no_formulas() {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let rows = [json!({"id": -5, "topic": "=1+1", "words": ["a", "b"]}), json!({"id": 1, "topic": "a,\"b\"\nc"})];
        let fields = ["id", "topic", "words"];
        write_csv(&mut writer, Some(&fields), &fields, &rows, false).expect("it writes");
        let text = String::from_utf8(writer.into_inner().expect("it flushes")).expect("UTF-8");
        assert_eq!(text, "id,topic,words\n-5,'=1+1,\"a,b\"\n1,\"a,\"\"b\"\"\nc\",\n");
        let exact = "a\x07\x1b[2J\tb\r\n\u{200f}";
        assert_eq!(csv_cell(&json!(exact), false), exact, "a program gets what was written");
        assert_eq!(csv_cell(&json!("a\x07\x1b[2J\tb"), true), "a\\u{7}\\u{1b}[2J\tb", "no terminal obeys it");
        assert_eq!(csv_cell(&json!("-\x1b"), true), "'-\\u{1b}");
        assert_eq!(csv_cell(&json!({ "text": "\u{9b}2J" }), true), "{\"text\":\"\\u{9b}2J\"}", "nor in what is nested");
    }
}
