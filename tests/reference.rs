//! Holds the reference pages against what they describe: the interfaces, the configuration reader, the database.
//!
//! `UPDATE_DOCS=1 cargo test --test reference` writes the part of docs/reference/varlink.md that is made from the IDL anew. The
//! other pages are prose: their examples are read by the program, their tables compared with the real schema, and what
//! is wrong is printed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use contentd::config::Config;
use contentd::control::idl::INTERFACES;
use contentd::store::sqlite;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

const MADE: (&str, &str) = ("<!-- interfaces:begin -->\n", "<!-- interfaces:end -->");
/// As the pages are wrapped.
const COLUMNS: usize = 130;

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

fn read(name: &str) -> String {
    let path = page(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

// ---- The interfaces

/// A field of a struct with the comment above it.
struct Field {
    name: String,
    kind: String,
    comment: String,
}

enum Member {
    Type(Vec<Field>),
    Method(Vec<Field>, Vec<Field>),
    Error(Vec<Field>),
}

/// A description, read: its comment and its members in order, each with its name and comment.
struct Description {
    comment: String,
    members: Vec<(String, String, Member)>,
}

/// Enough of a reader for files without nested structs; tests/control_idl.rs has another, and foreign ones read them too.
fn parse(text: &str) -> Description {
    let (mut comment, mut members, mut head) = (String::new(), Vec::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(words) = line.strip_prefix('#') {
            comment += words.strip_prefix(' ').unwrap_or(words);
            comment.push('\n');
        } else if line.starts_with("interface ") {
            head = std::mem::take(&mut comment);
        } else if line.is_empty() {
            assert!(comment.is_empty(), "a comment that belongs to nothing: {comment}");
        } else {
            let mut declaration = line.to_owned();
            while declaration.matches('(').count() != declaration.matches(')').count() || declaration.ends_with("->") {
                declaration += "\n";
                declaration += lines.next().expect("a declaration ends");
            }
            let (keyword, rest) = declaration.split_once(' ').expect("a keyword and a name");
            let (name, shape) = rest.split_once('(').expect("a name and a shape");
            let member = match keyword {
                "type" => Member::Type(fields(shape)),
                "error" => Member::Error(fields(shape)),
                "method" => {
                    let (parameters, reply) = shape.split_once("->").expect("a reply");
                    Member::Method(fields(parameters), fields(reply))
                }
                other => panic!("{other} is no keyword"),
            };
            members.push((name.trim().to_owned(), std::mem::take(&mut comment), member));
        }
    }
    Description { comment: head, members }
}

fn fields(shape: &str) -> Vec<Field> {
    let (mut found, mut comment) = (Vec::new(), Vec::new());
    for line in shape.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("# ") {
            comment.push(words);
            continue;
        }
        for declaration in line.trim_matches(['(', ')', ' ']).split(',').filter(|text| !text.trim().is_empty()) {
            let (name, kind) = declaration.split_once(':').expect("a name and a type");
            let comment = std::mem::take(&mut comment).join(" ");
            found.push(Field { name: name.trim().to_owned(), kind: kind.trim().to_owned(), comment });
        }
    }
    found
}

/// A type in words, with links to the structs of the same interface.
fn words(interface: &str, kind: &str) -> String {
    if let Some(kind) = kind.strip_prefix('?') {
        return format!("{} or null", words(interface, kind));
    }
    if let Some(kind) = kind.strip_prefix("[]") {
        return format!("array of {}", words(interface, kind));
    }
    if let Some(kind) = kind.strip_prefix("[string]") {
        return format!("map of string to {}", words(interface, kind));
    }
    match kind {
        "object" => "any JSON".to_owned(),
        "bool" | "int" | "float" | "string" => kind.to_owned(),
        name => format!("[{name}](#{}{})", interface.to_lowercase(), name.to_lowercase()),
    }
}

/// Paragraphs of comments, wrapped. Lines that follow each other are one paragraph.
fn prose(comment: &str) -> String {
    let mut text = String::new();
    for paragraph in comment.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty()) {
        let mut width = 0;
        for word in paragraph.split_whitespace() {
            if width > 0 && width + 1 + word.chars().count() > COLUMNS {
                text.push('\n');
                width = 0;
            } else if width > 0 {
                text.push(' ');
                width += 1;
            }
            text += word;
            width += word.chars().count();
        }
        text += "\n\n";
    }
    text
}

fn table(interface: &str, title: &str, fields: &[Field]) -> String {
    if fields.is_empty() {
        return format!("{title}: none.\n\n");
    }
    let has_comments = fields.iter().any(|field| !field.comment.is_empty());
    let mut text = if has_comments {
        format!("| {title} | type | meaning |\n| --- | --- | --- |\n")
    } else {
        format!("| {title} | type |\n| --- | --- |\n")
    };
    for field in fields {
        let _ = write!(text, "| `{}` | {} |", field.name, words(interface, &field.kind));
        text += &if has_comments { format!(" {} |\n", field.comment) } else { "\n".to_owned() };
    }
    text.push('\n');
    text
}

/// One interface: what it is for, its methods, its types, its errors.
fn chapter(name: &str, description: &Description) -> String {
    let short = name.rsplit('.').next().unwrap_or(name);
    let mut text = format!("## {name}\n\n{}", prose(&description.comment));
    for (method, comment, member) in &description.members {
        if let Member::Method(parameters, reply) = member {
            let _ = write!(text, "### Method {short}.{method}\n\n{}", prose(comment));
            text += &table(short, "parameter", parameters);
            text += &table(short, "reply", reply);
        }
    }
    for (kind, comment, member) in &description.members {
        if let Member::Type(fields) = member {
            // Its heading is its anchor.
            let _ = write!(text, "### {short}.{kind}\n\n{}", prose(comment));
            text += &table(short, "field", fields);
        }
    }
    let errors = description.members.iter().filter_map(|(error, comment, member)| match member {
        Member::Error(fields) => Some((error, comment, fields)),
        Member::Type(_) | Member::Method(..) => None,
    });
    let _ = write!(text, "### Errors of {short}\n\n| error | parameters | meaning |\n| --- | --- | --- |\n");
    for (error, comment, fields) in errors {
        let parameters = fields.iter().map(|field| format!("`{}`: {}", field.name, words(short, &field.kind)));
        let meaning = comment.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "| `{name}.{error}` | {} | {meaning} |", parameters.collect::<Vec<_>>().join(", "));
    }
    text.push('\n');
    text
}

#[test]
fn the_page_of_the_interfaces_is_made_from_them() {
    let chapters = INTERFACES.iter().map(|interface| chapter(interface.name, &parse(interface.description)));
    let right: String = chapters.collect();
    let name = "reference/varlink.md";
    let text = read(name);
    let (before, rest) = text.split_once(MADE.0).expect("the page has lost its first marker");
    let (found, after) = rest.split_once(MADE.1).expect("the page has lost its last marker");
    if found == right {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let new = format!("{before}{}{right}{}{after}", MADE.0, MADE.1);
        std::fs::write(page(name), new).expect("the page can be written");
        return;
    }
    panic!("docs/{name} is out of date; UPDATE_DOCS=1 cargo test --test reference writes it anew");
}

#[test]
fn a_description_is_read_whole() {
    let text = "# About.\n#\n# More.\ninterface a.B\n\n# A type.\ntype T (\n  # One.\n  # Two.\n  x: ?[]U,\n  y: [string]int\n)\n\n\
                method M(a: bool, b: string) -> (\n  t: T\n)\nmethod N() -> ()\n\n# Bad.\nerror E ()\n";
    let read = parse(text);
    assert_eq!(read.comment, "About.\n\nMore.\n");
    assert_eq!(read.members.len(), 4);
    let chapter = chapter("a.B", &read);
    for part in [
        "## a.B\n\nAbout.\n\nMore.\n\n",
        "### Method B.M\n\n| parameter | type |\n| --- | --- |\n| `a` | bool |\n| `b` | string |\n",
        "| `t` | [T](#bt) |\n",
        "### B.T\n\nA type.\n\n| field | type | meaning |\n| --- | --- | --- |\n| `x` | array of [U](#bu) or null | One. Two. |\n",
        "| `y` | map of string to int |  |\n",
        "parameter: none.\n\nreply: none.\n",
        "| `a.B.E` |  | Bad. |\n",
    ] {
        assert!(chapter.contains(part), "{part:?} is not in\n{chapter}");
    }
}

// ---- The driver model

/// The code blocks of a language with the lines that they begin at.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    let (mut at, mut start) = (0, None);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        match (line.trim_end(), start) {
            ("```", Some((first, begin))) => {
                found.push((first, &text[begin..at]));
                start = None;
            }
            (fence, None) if fence.strip_prefix("```") == Some(language) => start = Some((number + 2, at + line.len())),
            _ => {}
        }
        at += line.len();
    }
    assert!(start.is_none(), "a block is never closed");
    found
}

/// Every example of the pages is a whole configuration that the program takes.
#[test]
fn the_configurations_of_the_pages_are_accepted() {
    let env = |name: &str| (name == "HOME").then(|| "/var/lib/contentd".into());
    let mut generators = 0;
    for name in ["reference/driver.md", "operators.md", "notices.md"] {
        let text = read(name);
        for (line, block) in blocks(&text, "toml") {
            match Config::parse(None, block, &env) {
                Ok(config) => generators += config.generators.len(),
                Err(faults) => panic!("docs/{name}, the block at line {line} is refused:\n{faults}"),
            }
        }
    }
    assert!(generators >= 5, "the pages show {generators} generators: were the blocks found?");
}

/// The page says all that can be written: each key, variable and rule outcome that the reader knows.
#[test]
fn the_page_of_the_driver_names_every_key() {
    let text = read("reference/driver.md");
    let example = include_str!("../contentd.example.toml").parse::<toml::Table>().expect("the example is TOML");
    let generators = example["generators"].as_table().expect("the example has generators");
    let free = ["env", "secrets", "states", "extract"];
    for (_, generator) in generators {
        for (key, value) in generator.as_table().expect("a generator is a table") {
            assert!(text.contains(&format!("`{key}`")), "docs/reference/driver.md does not name `{key}`");
            for inner in
                value.as_table().filter(|_| !free.contains(&key.as_str())).into_iter().flat_map(|table| table.keys())
            {
                assert!(
                    text.contains(&format!("`{inner}`")),
                    "docs/reference/driver.md does not name `{inner}` of {key}"
                );
            }
        }
    }
    use contentd::generator::spec::{PAGE_NAMES, REF_NAME, TASK_NAMES};
    for name in TASK_NAMES.iter().chain(&PAGE_NAMES).chain([&REF_NAME]) {
        assert!(
            text.contains(&format!("`{{{name}}}`")),
            "docs/reference/driver.md does not name the variable {{{name}}}"
        );
    }
    for verb in contentd::task::outcome::Verb::ALL {
        for outcome in verb.rule_outcomes() {
            assert!(
                text.contains(&format!("`{outcome}`")),
                "docs/reference/driver.md does not name the outcome {outcome}"
            );
        }
    }
}

// ---- The schema

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = diesel::sql_types::Text)]
    name: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    parent: String,
}

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = diesel::sql_types::Text)]
    name: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    kind: String,
}

/// Tables, indexes or triggers with the table that they belong to; what SQLite and the migrations keep for themselves left out.
fn named(connection: &mut SqliteConnection, kind: &str) -> Vec<(String, String)> {
    let sql = format!(
        "SELECT name, tbl_name AS parent FROM sqlite_schema WHERE type = '{kind}' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         AND name NOT LIKE '\\_\\_diesel%' ESCAPE '\\' ORDER BY name"
    );
    let rows = diesel::sql_query(sql).load::<Named>(connection).expect("the schema can be read");
    rows.into_iter().map(|row| (row.parent, row.name)).collect()
}

/// Each column as the page writes it: `name`, then its type, with `, or null` where it may be.
fn columns(connection: &mut SqliteConnection, table: &str) -> Vec<String> {
    let sql = format!(
        "SELECT name, lower(type) || iif(\"notnull\" OR pk, '', ', or null') AS kind FROM pragma_table_info('{table}') ORDER BY cid"
    );
    let rows = diesel::sql_query(sql).load::<Column>(connection).expect("the columns can be read");
    rows.into_iter().map(|row| format!("| `{}` | {} |", row.name, row.kind)).collect()
}

/// The sections of the page by their headings.
fn sections(text: &str) -> Vec<(&str, &str)> {
    let parts = text.split("\n## ").skip(1);
    parts.filter_map(|part| part.split_once('\n')).collect()
}

#[test]
fn the_page_of_the_schema_has_every_table_and_column_and_no_other() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut opened = sqlite::open(&directory.path().join("contentd.db"), 1).expect("a database");
    let connection = opened.backend.connection();
    let text = read("reference/schema.md");
    let sections = sections(&text);
    let tables: Vec<String> = named(connection, "table").into_iter().map(|(_, name)| name).collect();
    let mut described: Vec<&str> =
        sections.iter().filter_map(|(title, _)| title.strip_prefix("Table `")?.strip_suffix('`')).collect();
    described.sort_unstable();
    assert_eq!(described, tables, "the tables of docs/reference/schema.md");
    for table in &tables {
        let (_, body) = sections.iter().find(|(title, _)| *title == format!("Table `{table}`")).expect("seen above");
        let rows = body.lines().filter(|line| line.starts_with("| `"));
        let found: Vec<String> = rows
            .map(|line| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                assert!(cells.len() > 4 && !cells[3].is_empty(), "{table}: no meaning in {line}");
                format!("| {} | {} |", cells[1], cells[2])
            })
            .collect();
        assert_eq!(found, columns(connection, table), "the columns of {table} in docs/reference/schema.md");
        // Indexes and triggers are said in words, by their names, in the section of their table.
        let mut named_there = Vec::new();
        for kind in ["index", "trigger"] {
            let all = named(connection, kind);
            named_there.extend(all.into_iter().filter(|(parent, _)| parent == table).map(|(_, name)| name));
        }
        for name in &named_there {
            assert!(
                body.contains(&format!("`{name}`")),
                "docs/reference/schema.md does not tell what {name} of {table} does"
            );
        }
        let known = |word: &str| named_there.iter().any(|name| name == word);
        for word in body.split('`').skip(1).step_by(2).filter(|word| word.starts_with("guard_")) {
            assert!(known(word), "docs/reference/schema.md names {word}, which {table} does not have");
        }
    }
}
