//! Batch files: JSON objects, one a line, CSV with a heading, or a text with one topic a line. Every fault of
//! the whole file is told at once, as `file:line: field: fault`, before anything is sent.
//!
//! Fields are the options of `submit` with underscores. The surprise: an empty cell of a CSV is a field left out, because
//! a spreadsheet cannot say it otherwise.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::control::api::Submission;
use crate::control::values::TextOrNumber;

/// Every field of an entry.
pub const FIELDS: &[&str] = &[
    "account",
    "topic",
    "requirements",
    "keywords",
    "category",
    "tone",
    "priority",
    "time_limit",
    "max_retries",
    "auto_approve",
    "generator",
    "key",
    "delay",
];

/// The entries of a file, or all its faults.
pub type Parsed = Result<Vec<Submission>, Vec<String>>;

/// How the entries of a file are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Form {
    /// A JSON object a line
    Jsonl,
    /// A table with a heading, its cells parted by commas
    Csv,
    /// One topic a line
    Txt,
}

impl Form {
    /// What the ending of a file's name says.
    pub fn of_name(name: &str) -> Option<Self> {
        let ending = Path::new(name).extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "jsonl" | "ndjson" | "json" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "txt" => Some(Self::Txt),
            _ => None,
        }
    }
}

/// Reads a file's contents. `defaults` fills in what an entry leaves out.
pub fn parse(name: &str, contents: &[u8], defaults: &Submission) -> Parsed {
    let Judged { right, faults } = judge(Form::of_name(name), contents, defaults);
    let mut faults = in_order(name, faults);
    if faults.is_empty() && right.is_empty() {
        faults.push(format!("{name}: there is no task in it"));
    }
    if faults.is_empty() { Ok(right.into_iter().map(|(_, task)| task).collect()) } else { Err(faults) }
}

/// A file as it was read.
pub struct Judged {
    /// The entries that are right by themselves, each with its line.
    pub right: Vec<(u64, Submission)>,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

/// As [`parse`], with what is right of a file that has faults. Without a form its beginning says whether it is JSON lines or a table.
pub fn judge(form: Option<Form>, contents: &[u8], defaults: &Submission) -> Judged {
    let (read, faults) = entries(form, contents, FIELDS);
    let mut submissions = Submissions { defaults, right: Vec::new(), faults, keys: BTreeMap::new() };
    for Entry { line, fields } in read {
        submissions.take(line, &fields);
    }
    Judged { right: submissions.right, faults: submissions.faults }
}

/// An entry of a file and where it begins.
pub(crate) struct Entry {
    pub(crate) line: u64,
    pub(crate) fields: Map<String, Value>,
}

/// A fault and its line.
pub type Fault = (u64, String);

/// Faults as they are told: by line.
pub fn in_order(name: &str, mut faults: Vec<Fault>) -> Vec<String> {
    faults.sort_by_key(|(line, _)| *line);
    faults.into_iter().map(|(line, fault)| format!("{name}:{line}: {fault}")).collect()
}

/// The entries of a file, and its faults so far: what cannot be read, and fields that are not `known`. A text with one topic a line
/// is only a file of tasks.
pub(crate) fn entries(form: Option<Form>, contents: &[u8], known: &'static [&'static str]) -> (Vec<Entry>, Vec<Fault>) {
    let contents = contents.strip_prefix(b"\xef\xbb\xbf").unwrap_or(contents);
    let is_named_so = form == Some(Form::Csv);
    let mut reader = Reader { known, is_named_so, entries: Vec::new(), faults: Vec::new() };
    if form.is_none_or(|form| form == Form::Jsonl) && begins_with_array(contents) {
        reader.faults.push((1, ARRAY.to_owned()));
        return (reader.entries, reader.faults);
    }
    match form {
        Some(Form::Txt) if known.contains(&TOPIC) => reader.read_lines(contents),
        Some(Form::Jsonl) => reader.read_json_lines(contents),
        None | Some(Form::Txt) if contents.trim_ascii_start().starts_with(b"{") => reader.read_json_lines(contents),
        _ => reader.read_csv(contents),
    }
    (reader.entries, reader.faults)
}

/// What is said of an entry for nobody: nothing that was typed is wrong.
const MISSING_ACCOUNT: &str = "account: it is missing: each entry names one, or --account names one for all";

/// What is said of JSON that is one list.
const ARRAY: &str = "one JSON object a line is wanted, not an array: `jq -c '.[]'` makes lines of it";

/// Whether it is one list of objects, on one line or over several, and not lines of which one is a list.
fn begins_with_array(contents: &[u8]) -> bool {
    let rest = contents.trim_ascii_start().strip_prefix(b"[").map(<[u8]>::trim_ascii_start);
    rest.is_some_and(|rest| rest.is_empty() || matches!(rest[0], b'{' | b']'))
}

/// What a line of a text is; only files of tasks have it.
const TOPIC: &str = "topic";

/// What is said of a table that nobody has called one.
const NOT_NAMED: &str = " (it was read as CSV with a heading, for it does not begin like JSON lines; a text with one topic a line is a \
                         file whose name ends in .txt, or is submitted with --format txt)";

struct Reader {
    known: &'static [&'static str],
    /// Somebody says that it is a table.
    is_named_so: bool,
    entries: Vec<Entry>,
    faults: Vec<Fault>,
}

impl Reader {
    /// What a first line is, if not a topic: the beginning of JSON lines, or a heading.
    fn other_form(&self, line: &[u8]) -> Option<&'static str> {
        let is_known =
            |cell: &str| self.known.iter().any(|known| known.eq_ignore_ascii_case(cell.trim_matches([' ', '"'])));
        let is_heading = |text: &str| text.split([',', ';', '\t']).all(is_known);
        match line {
            [b'{', ..] => Some("JSON lines"),
            _ if std::str::from_utf8(line).is_ok_and(is_heading) => Some("a table with a heading"),
            _ => None,
        }
    }

    fn fault(&mut self, line: u64, text: impl std::fmt::Display) {
        self.faults.push((line, text.to_string()));
    }

    /// One whose first line says that it is of another form is refused: each of its lines would be paid for as a topic.
    fn read_lines(&mut self, contents: &[u8]) {
        let first = contents
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .enumerate()
            .find(|(_, line)| !line.is_empty());
        if let Some((index, line)) = first
            && let Some(form) = self.other_form(line)
        {
            let cure = "a text has one topic a line: let the file's name end in .jsonl or .csv, or say --format";
            return self.fault(index as u64 + 1, format!("begins like {form}, and {cure}"));
        }
        for (index, bytes) in contents.split(|byte| *byte == b'\n').enumerate() {
            let line = index as u64 + 1;
            match std::str::from_utf8(bytes.trim_ascii()) {
                Ok("") => {}
                Ok(topic) => self.entry(line, Map::from_iter([(TOPIC.to_owned(), Value::from(topic))])),
                Err(_) => self.fault(line, "the text is not UTF-8"),
            }
        }
    }

    fn read_json_lines(&mut self, contents: &[u8]) {
        for (index, bytes) in contents.split(|byte| *byte == b'\n').enumerate() {
            let line = index as u64 + 1;
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice::<Value>(bytes) {
                Ok(Value::Object(fields)) => self.entry(line, fields),
                Ok(_) => self.fault(line, "a JSON object is expected, one a line"),
                Err(error) => {
                    let (column, why) = (error.column(), error.to_string());
                    // Its own position is one of the line alone.
                    let why = why.split(" at line ").next().unwrap_or_default();
                    self.fault(line, format!("column {column}: no JSON object: {why}"));
                }
            }
        }
    }

    fn read_csv(&mut self, contents: &[u8]) {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(contents);
        let heading = match reader.headers() {
            // Spreadsheets like to write capitals.
            Ok(heading) => heading.iter().map(str::to_ascii_lowercase).collect::<csv::StringRecord>(),
            Err(error) => return self.fault(1, format!("no CSV heading: {error}")),
        };
        let unknown: Vec<&str> = heading.iter().filter(|field| !self.known.contains(field)).collect();
        if !unknown.is_empty() {
            let (unknown, known) = (unknown.join(", "), self.known.join(", "));
            let hint = match self.other_separator(&heading) {
                Some(separator) => format!(" (are its cells parted by {separator:?}? A comma is wanted)"),
                None if self.is_named_so => String::new(),
                None => NOT_NAMED.to_owned(),
            };
            return self.fault(1, format!("{unknown}: no such field; these are: {known}{hint}"));
        }
        for record in reader.records() {
            match record {
                Ok(record) => {
                    let line = record.position().map_or(0, |position| line_of(contents, position));
                    let cells = heading.iter().zip(record.iter()).filter(|(_, cell)| !cell.trim().is_empty());
                    let fields =
                        cells.map(|(field, cell)| (field.to_owned(), Value::String(cell.to_owned()))).collect();
                    self.entry(line, fields);
                }
                Err(error) => {
                    let line = error.position().map_or(0, |position| line_of(contents, position));
                    self.fault(line, error.kind_text());
                }
            }
        }
    }

    /// By what the cells of a heading are parted, if not by commas: as spreadsheets do where a comma stands in numbers.
    fn other_separator(&self, heading: &csv::StringRecord) -> Option<char> {
        let is_known = |cell: &str| self.known.contains(&cell.trim_matches([' ', '"']));
        let parts = |separator: &char| {
            heading.iter().any(|cell| cell.contains(*separator) && cell.split(*separator).any(is_known))
        };
        [';', '\t'].into_iter().find(parts)
    }

    fn entry(&mut self, line: u64, fields: Map<String, Value>) {
        for field in fields.keys().filter(|field| !self.known.contains(&field.as_str())) {
            let known = self.known.join(", ");
            self.faults.push((line, format!("{field}: no such field; these are: {known}")));
        }
        self.entries.push(Entry { line, fields });
    }
}

/// The tasks of a file while they are read.
struct Submissions<'a> {
    defaults: &'a Submission,
    right: Vec<(u64, Submission)>,
    faults: Vec<Fault>,
    /// On which line each key was used.
    keys: BTreeMap<String, u64>,
}

impl Submissions<'_> {
    fn take(&mut self, line: u64, fields: &Map<String, Value>) {
        let mut faults = Vec::new();
        let submission = Fields { fields, faults: &mut faults }.submission(self.defaults);
        if let Err(more) = submission.check(None) {
            let is_told = |field: &str| faults.iter().any(|fault| fault.starts_with(&format!("{field}:")));
            let more: Vec<String> = more
                .iter()
                .filter(|fault| !is_told(&fault.field))
                .map(|fault| match fault.field.as_str() {
                    "account" if fault.value.is_empty() => MISSING_ACCOUNT.to_owned(),
                    _ => format!("{}: {:?} cannot be taken: {}", fault.field, fault.value, fault.cure),
                })
                .collect();
            faults.extend(more);
        }
        if let Some(key) = &submission.key
            && let first = *self.keys.entry(key.clone()).or_insert(line)
            && first != line
        {
            faults.push(format!("key: {key:?} is on line {first} already"));
        }
        if faults.is_empty() {
            self.right.push((line, submission));
        }
        self.faults.extend(faults.into_iter().map(|fault| (line, fault)));
    }
}

/// The line on which a record begins. The reader's own position lies before the empty lines that it passes over.
fn line_of(contents: &[u8], position: &csv::Position) -> u64 {
    let from = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let passed = contents.get(from..).unwrap_or_default().iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + passed.filter(|byte| **byte == b'\n').count() as u64
}

trait KindText {
    fn kind_text(&self) -> String;
}

impl KindText for csv::Error {
    /// What is wrong, without the position that the line says already.
    fn kind_text(&self) -> String {
        match self.kind() {
            csv::ErrorKind::Utf8 { .. } => "the text is not UTF-8".to_owned(),
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("{len} cells, and the heading has {expected_len}")
            }
            _ => self.to_string(),
        }
    }
}

/// Reads one entry's fields, each by itself, so that one fault hides no other.
pub(crate) struct Fields<'a> {
    pub(crate) fields: &'a Map<String, Value>,
    pub(crate) faults: &'a mut Vec<String>,
}

impl Fields<'_> {
    fn submission(mut self, defaults: &Submission) -> Submission {
        Submission {
            account: self.text_or_number("account").unwrap_or_else(|| defaults.account.clone()),
            topic: self.text("topic").unwrap_or_else(|| defaults.topic.clone()),
            requirements: self.text("requirements").or_else(|| defaults.requirements.clone()),
            keywords: self.keywords().or_else(|| defaults.keywords.clone()),
            category: self.text("category").or_else(|| defaults.category.clone()),
            tone: self.text("tone").or_else(|| defaults.tone.clone()),
            priority: self.number("priority").or(defaults.priority),
            time_limit: self.text_or_number("time_limit").or_else(|| defaults.time_limit.clone()),
            max_retries: self.number("max_retries").or(defaults.max_retries),
            auto_approve: self.truth("auto_approve").or(defaults.auto_approve),
            generator: self.text("generator").or_else(|| defaults.generator.clone()),
            key: self.text("key"),
            delay: self.text_or_number("delay").or_else(|| defaults.delay.clone()),
        }
    }

    fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    fn wrong(&mut self, field: &str, expected: &str) {
        let value = self.fields.get(field).map(Value::to_string).unwrap_or_default();
        let shown: String = value.chars().take(80).collect();
        self.faults.push(format!("{field}: {shown} is not {expected}"));
    }

    pub(crate) fn text(&mut self, field: &str) -> Option<String> {
        match self.get(field)? {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.wrong(field, "a string");
                None
            }
        }
    }

    fn text_or_number(&mut self, field: &str) -> Option<TextOrNumber> {
        match self.get(field)? {
            Value::String(text) => Some(TextOrNumber(text.clone())),
            Value::Number(number) if number.is_i64() || number.is_u64() => Some(TextOrNumber(number.to_string())),
            _ => {
                self.wrong(field, "a string or a whole number");
                None
            }
        }
    }

    pub(crate) fn number(&mut self, field: &str) -> Option<i64> {
        let number = match self.get(field)? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.wrong(field, "a whole number");
        }
        number
    }

    pub(crate) fn truth(&mut self, field: &str) -> Option<bool> {
        let truth = match self.get(field)? {
            Value::Bool(truth) => Some(*truth),
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" => Some(true),
                "false" | "no" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        };
        if truth.is_none() {
            self.wrong(field, "true or false");
        }
        truth
    }

    pub(crate) fn keywords(&mut self) -> Option<Vec<String>> {
        match self.get("keywords")? {
            Value::String(text) => Some(split_keywords(text)),
            Value::Array(items) if items.iter().all(Value::is_string) => {
                Some(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            }
            _ => {
                self.wrong("keywords", "an array of strings, or a string with commas");
                None
            }
        }
    }
}

/// Keywords with commas between; the Chinese comma is one too.
pub fn split_keywords(text: &str) -> Vec<String> {
    text.split([',', '，']).map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn faults(name: &str, contents: &str) -> Vec<String> {
        parse(name, contents.as_bytes(), &Submission::default()).expect_err("it has faults")
    }

    #[test]
    fn json_lines_and_csv_say_the_same() {
        let lines = "{\"account\": 7, \"topic\": \"人工智能\", \"keywords\": [\"a\", \"b\"], \"priority\": 9}\n\n\
                     {\"account\": \"blog\", \"topic\": \"t\", \"auto_approve\": false}\n";
        let table = "\u{feff}account,topic,keywords,priority,auto_approve\r\n7,人工智能,\"a,b\",9,\r\nblog,t,,,no\r\n";
        let from_lines = parse("f.jsonl", lines.as_bytes(), &Submission::default()).expect("right");
        let from_table = parse("f.csv", table.as_bytes(), &Submission::default()).expect("right");
        assert_eq!(from_lines, from_table);
        assert_eq!(parse("-", lines.as_bytes(), &Submission::default()), Ok(from_lines.clone()));
        assert_eq!(parse("-", table.as_bytes(), &Submission::default()), Ok(from_lines.clone()));
        let capitals = table.replacen("account,topic", "Account, Topic", 1);
        assert_eq!(parse("f.csv", capitals.as_bytes(), &Submission::default()), Ok(from_lines));
    }

    #[test]
    fn what_was_read_as_a_table_without_being_called_one_is_said() {
        for name in ["-", "t.md"] {
            let told = faults(name, "Salt: a history\nSilk\n");
            assert!(told[0].contains("read as CSV") && told[0].contains(".txt"), "{told:?}");
        }
        assert!(!faults("t.csv", "Salt: a history\n")[0].contains("read as CSV"));
        let nobody = faults("f.jsonl", "{\"topic\": \"x\"}\n");
        assert_eq!(nobody, [format!("f.jsonl:1: {MISSING_ACCOUNT}")]);
        for (name, list) in [("-", "[{\"topic\": \"x\"}]\n"), ("t.json", "[\n  {\"topic\": \"x\"}\n]\n")] {
            let told = faults(name, list);
            assert!(told.len() == 1 && told[0].contains("not an array"), "{told:?}");
        }
        let told = faults("f.jsonl", "{\"account\": 1, }\n");
        assert!(told[0].starts_with("f.jsonl:1: column ") && !told[0].contains("at line"), "one place each: {told:?}");
    }

    #[test]
    fn a_form_that_is_said_is_taken_for_any_contents() {
        let account = Submission { account: "blog".into(), ..Submission::default() };
        let topics = |form: Form, contents: &str| {
            let Judged { right, faults } = judge(Some(form), contents.as_bytes(), &account);
            let topics: Vec<String> = right.into_iter().map(|(_, task)| task.topic).collect();
            if faults.is_empty() { Ok(topics) } else { Err(faults.len()) }
        };
        assert_eq!(topics(Form::Txt, "Salt: a history\nSilk\n"), Ok(vec!["Salt: a history".into(), "Silk".into()]));
        assert_eq!(topics(Form::Csv, "topic\n{Silk}\n"), Ok(vec!["{Silk}".into()]));
        assert_eq!(topics(Form::Jsonl, "topic\nSilk\n"), Err(2));
        for (name, form) in
            [("f.NDJSON", Some(Form::Jsonl)), ("f.csv", Some(Form::Csv)), ("f.txt", Some(Form::Txt)), ("-", None)]
        {
            assert_eq!(Form::of_name(name), form, "{name}");
        }
    }

    #[test]
    fn a_text_that_is_a_table_or_json_is_no_list_of_topics() {
        let account = Submission { account: TextOrNumber("1".to_owned()), ..Submission::default() };
        for (first, form) in [
            ("\n {\"topic\": \"t\"}\n", "f.txt:2: begins like JSON lines"),
            ("account,topic\n1,t\n", "f.txt:1: begins like a table"),
            ("\"topic\"\ttone\nt\tdry\n", "f.txt:1: begins like a table"),
            ("topic\nSalt\n", "f.txt:1: begins like a table"),
            ("Topic,Account\nSalt,1\n", "f.txt:1: begins like a table"),
        ] {
            let told = parse("f.txt", first.as_bytes(), &account).expect_err("it is refused");
            assert!(told.len() == 1 && told[0].starts_with(form) && told[0].contains(".csv"), "{told:?}");
        }
        let topics = parse("f.txt", b"Salt, topic, pepper\n{not at the beginning}\n", &account).expect("right");
        assert_eq!(topics.len(), 2);
    }

    #[test]
    fn every_fault_is_told_with_its_line_and_field() {
        let told = faults(
            "f.jsonl",
            "{\"account\": 1, \"topic\": \"\", \"priority\": 11, \"prio\": 1}\n[1]\n{\"account\":\n\
             {\"topic\": \"t\", \"time_limit\": \"soon\", \"keywords\": 5, \"account\": true}\n",
        );
        let beginnings = [
            "f.jsonl:1: prio: ",
            "f.jsonl:1: topic: ",
            "f.jsonl:1: priority: \"11\"",
            "f.jsonl:2: ",
            "f.jsonl:3: ",
            "f.jsonl:4: account: true is not",
            "f.jsonl:4: keywords: 5 is not",
            "f.jsonl:4: time_limit: \"soon\"",
        ];
        assert_eq!(told.len(), beginnings.len(), "{told:#?}");
        for (fault, beginning) in told.iter().zip(beginnings) {
            assert!(fault.starts_with(beginning), "{fault} / {beginning}");
        }
    }

    #[test]
    fn faults_of_a_csv_have_the_line_of_the_file() {
        let told = faults("f.csv", "account,topic,requirements,priority\n1,s,\"two\nlines\",5\n1,t,r,high\n1,t\n");
        assert_eq!(told.len(), 2, "{told:#?}");
        assert!(told[0].starts_with("f.csv:4: priority: \"high\" is not a whole number"), "{told:#?}");
        assert!(told[1].starts_with("f.csv:5: 2 cells"), "{told:#?}");
        let behind_empty = faults("f.csv", "account,topic,priority\r\n\r\n1,t,5\n\n\n1,t,high\n\n1,t\n");
        assert!(behind_empty[0].starts_with("f.csv:6: priority"), "{behind_empty:#?}");
        assert!(behind_empty[1].starts_with("f.csv:8: 2 cells"), "{behind_empty:#?}");
        assert!(faults("f.csv", "account,title\n")[0].starts_with("f.csv:1: title: no such field"));
        for (heading, separator) in
            [("topic;priority\n", "';'"), ("Topic;Prio\n", "';'"), ("topic\tpriority\n", "'\\t'")]
        {
            let told = faults("f.csv", heading).remove(0);
            assert!(told.contains(&format!("parted by {separator}? A comma is wanted")), "{told}");
        }
        assert!(faults("f.csv", "")[0].contains("there is no task"));
        let thrice = faults("f.csv", "account,topic,key\n1,t,k\n1,u,k\n1,v,k\n");
        assert_eq!(thrice, [3, 4].map(|line| format!("f.csv:{line}: key: \"k\" is on line 2 already")));
    }

    #[test]
    fn options_fill_in_what_an_entry_leaves_out() {
        let defaults = Submission { account: "blog".into(), priority: Some(9), ..Submission::default() };
        let entries = parse("f.csv", b"topic,priority\na,\nb,2\n", &defaults).expect("right");
        assert_eq!(entries[0].account.as_str(), "blog");
        assert_eq!((entries[0].priority, entries[1].priority), (Some(9), Some(2)));
    }

    proptest! {
        #[test]
        fn no_file_panics(contents in proptest::collection::vec(any::<u8>(), 0..400), csv in any::<bool>()) {
            let _ = parse(if csv { "f.csv" } else { "f.jsonl" }, &contents, &Submission::default());
        }
    }
}
