//! Answers as CSV.
//!
//! A cell holds one value. What stands in a record of a record is a column `outer.inner`. A record with a list that is told of it, as a
//! task with its attempts, is a row for each of them; where a record has lists of several kinds, each value is a row with its key, as
//! TOML would write it in full. The surprise: text that a spreadsheet would run as a formula gets an apostrophe in front.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::failure::Failure;
use super::output::number_of;
use super::text::safe_lines;

/// The columns of rows that [`flatten`] makes.
pub const KEYED: &[&str] = &["key", "value"];

/// The value of a field; of one in a record of the record, where it is named `outer.inner`.
fn found<'a>(row: &'a Value, field: &str) -> &'a Value {
    let whole = row.get(field).or_else(|| field.split('.').try_fold(row, |value, name| value.get(name)));
    whole.unwrap_or(&Value::Null)
}

/// The columns of a record with these fields: those of a record in it stand beside each other.
pub fn columns(record: &Value, fields: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for field in fields {
        match record.get(*field) {
            Some(Value::Object(inner)) => found.extend(inner.keys().map(|name| format!("{field}.{name}"))),
            _ => found.push((*field).to_owned()),
        }
    }
    found
}

/// Writes rows, and a heading first where there is one.
pub fn write<W: Write>(
    writer: &mut csv::Writer<W>,
    heading: Option<&[&str]>,
    fields: &[&str],
    rows: &[Value],
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
        let cells = fields.iter().map(|field| cell(found(row, field), is_terminal));
        writer.write_record(cells).map_err(failed)?;
    }
    writer.flush()?;
    Ok(())
}

fn cell(value: &Value, is_terminal: bool) -> String {
    let shown = |text: &str| if is_terminal { safe_lines(text) } else { text.to_owned() };
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{}", shown(text)),
        Value::String(text) => shown(text),
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_number) => {
            // Not with a comma: a spreadsheet reads `1,22` as a number.
            items.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")
        }
        // With a comma in one of them nobody could tell where it ends: such a list is written as JSON.
        Value::Array(items) if items.iter().all(|item| item.as_str().is_some_and(|text| !text.contains(','))) => {
            let joined = items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
            cell(&Value::String(joined), is_terminal)
        }
        Value::Number(number) if number.is_f64() => number_of(number),
        other => shown(&other.to_string()),
    }
}

/// A row for each of `inner`, under the name `outer`, beside what is the record's own; one row where there is none. What is as long as
/// `once` may be stands in the last row alone.
pub fn beside(record: &Value, outer: &str, inner: &[Value], once: Option<&str>) -> Vec<Value> {
    let row = |inner: &Value| {
        let mut row = record.clone();
        if let Some(fields) = row.as_object_mut() {
            fields.insert(outer.to_owned(), inner.clone());
        }
        row
    };
    let mut rows: Vec<Value> = if inner.is_empty() { vec![row(&Value::Null)] } else { inner.iter().map(row).collect() };
    let before = rows.len() - 1;
    if let Some(field) = once {
        rows[..before].iter_mut().for_each(|row| row[field] = Value::Null);
    }
    rows
}

/// A row for each setting, its key as TOML would write it in full. A list of plain values is one setting.
pub fn flatten(key: &str, value: &Value, rows: &mut Vec<Value>) {
    let inner = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(name, value)| flatten(&inner(name), value, rows));
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            items.iter().enumerate().for_each(|(index, value)| flatten(&inner(&index.to_string()), value, rows));
        }
        value => rows.push(json!({ "key": key, "value": value })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_runs_no_formulas() {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let rows = [json!({"id": -5, "topic": "=1+1", "words": ["a", "b"]}), json!({"id": 1, "topic": "a,\"b\"\nc"})];
        let fields = ["id", "topic", "words"];
        write(&mut writer, Some(&fields), &fields, &rows, false).expect("it writes");
        let text = String::from_utf8(writer.into_inner().expect("it flushes")).expect("UTF-8");
        assert_eq!(text, "id,topic,words\n-5,'=1+1,\"a,b\"\n1,\"a,\"\"b\"\"\nc\",\n");
        assert_eq!(cell(&json!(["x, y", "z"]), false), r#"["x, y","z"]"#, "two, and not three");
        assert_eq!(cell(&json!([1, 22]), false), "1 22");
        assert_eq!(cell(&json!(0.862_745_098_039_215_7), false), "0.863");
        let exact = "a\x07\x1b[2J\tb\r\n\u{200f}";
        assert_eq!(cell(&json!(exact), false), exact, "a program gets what was written");
        assert_eq!(cell(&json!("a\x07\x1b[2J\tb"), true), "a\\u{7}\\u{1b}[2J\tb", "no terminal obeys it");
        assert_eq!(cell(&json!("-\x1b"), true), "'-\\u{1b}");
        assert_eq!(cell(&json!({ "text": "\u{9b}2J" }), true), "{\"text\":\"\\u{9b}2J\"}", "nor in what is nested");
    }

    #[test]
    fn a_list_of_a_record_is_a_row_for_each_of_it() {
        let record = json!({"task_id": "task-a", "result": "long"});
        let attempts = [json!({"state": "failed"}), json!({"state": "done"})];
        let text = |inner: &[Value]| {
            let mut writer = csv::Writer::from_writer(Vec::new());
            let fields = ["task_id", "result", "attempts.state"];
            let rows = beside(&record, "attempts", inner, Some("result"));
            write(&mut writer, Some(&fields), &fields, &rows, false).expect("it writes");
            String::from_utf8(writer.into_inner().expect("it flushes")).expect("UTF-8")
        };
        let heading = "task_id,result,attempts.state\n";
        assert_eq!(text(&attempts), format!("{heading}task-a,,failed\ntask-a,long,done\n"));
        assert_eq!(text(&[]), format!("{heading}task-a,long,\n"));
    }

    #[test]
    fn what_is_nested_has_columns_or_rows_of_its_own() {
        let record =
            json!({"state": "running", "tasks": {"failed": 1, "held": 2}, "pauses": [], "generators": [{"name": "g"}]});
        let fields = columns(&record, &["state", "tasks", "absent"]);
        assert_eq!(fields, ["state", "tasks.failed", "tasks.held", "absent"]);
        assert_eq!(
            fields.iter().map(|field| cell(found(&record, field), false)).collect::<Vec<_>>(),
            ["running", "1", "2", ""]
        );
        let mut rows = Vec::new();
        flatten("", &record, &mut rows);
        let keys: Vec<&str> = rows.iter().filter_map(|row| row["key"].as_str()).collect();
        assert_eq!(keys, ["generators.0.name", "pauses", "state", "tasks.failed", "tasks.held"]);
    }
}
