//! Texts: the configuration, templates, import files, and what is shown to people.

use std::path::Path;
use std::sync::OnceLock;

use contentd::config::Config;
use contentd::control::api::Submission;
use contentd::ctl::batch;
use contentd::ctl::text::{fitted, width};
use contentd::generator::Job;
use contentd::generator::log::bounded;
use contentd::generator::rules::{EXCERPT_CHARS, excerpt};
use contentd::generator::template::{ArgSource, CommandTemplate, KnownNames, MAX_ARG_BYTES, Template, Values};
use contentd::render::render;
use contentd::task::outcome::Piece;
use contentd::text::{safe, safe_lines};

use crate::cases::job;
use crate::cut;

/// The configuration: read or refused, and every refusal says where and what.
pub fn config(data: &[u8]) {
    static JOB: OnceLock<Job> = OnceLock::new();
    let Ok(source) = std::str::from_utf8(data) else { return };
    let env = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
    match Config::parse(None, source, &env) {
        Ok(config) => {
            let job = JOB.get_or_init(job);
            for spec in config.generators.values() {
                let _ = spec.policy();
                let _ = spec.accepts(&job.task);
                for call in spec.calls() {
                    let _ = spec.render(call, job, Path::new("/private"));
                }
            }
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            let lines = source.matches('\n').count() + 1;
            let is_toml = source.parse::<toml::Table>().is_ok();
            let known = Config::known_keys(source, &env);
            let names_a_field = |message: &str| {
                let is_said = |word: &str| known.iter().any(|(section, key)| *key == word || section == word);
                let words = message.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')));
                message.contains('`') || words.flat_map(|word| word.split('.')).any(is_said)
            };
            for error in &errors.0 {
                assert!((1..=lines).contains(&error.line) && error.column >= 1, "no place: {error:?}");
                // A table that is no TOML has no fields yet; every other fault names a key of the file, or what is missing.
                assert!(
                    !error.message.is_empty() && (!is_toml || names_a_field(&error.message)),
                    "no field: {error:?}"
                );
            }
        }
    }
}

/// Templates: one argument a line, then a NUL and the values, one a line. A value never becomes a template or an option.
pub fn template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (templates, given) = text.split_once('\0').unwrap_or((text, ""));
    let names = ["key", "topic", "requirements", "keywords", "ref", "creator"];
    let known = KnownNames::new(names);
    let mut values = Values::default();
    for (name, value) in names.iter().zip(given.split('\n')) {
        values.set(*name, value);
    }
    for line in templates.split('\n') {
        let Ok(template) = Template::compile(line, &known) else { continue };
        let Ok(rendered) = template.render(&values) else { continue };
        if !line.contains(['{', '}']) {
            assert_eq!(rendered, line, "a text without braces stays what it is");
        }
        // Values stand in it as they are: what is left when they are taken out does not depend on them.
        let longest = names.iter().map(|name| values.get(name).len()).max().unwrap_or_default();
        assert!(rendered.len() <= line.len() + line.matches('{').count() * longest, "a value was expanded");
    }
    let arguments: Vec<ArgSource> = templates
        .split('\n')
        .map(|line| match line.split_once('\t') {
            Some((first, second)) => ArgSource::Group(vec![first.to_owned(), second.to_owned()]),
            None => ArgSource::One(line.to_owned()),
        })
        .collect();
    let Ok(command) = CommandTemplate::compile(&arguments, Some("{topic}"), &known) else { return };
    let Ok(call) = command.render(&values, Path::new("/private")) else { return };
    assert!(!call.argv.is_empty() && call.argv.iter().all(|arg| arg.len() <= MAX_ARG_BYTES && !arg.contains('\0')));
    assert_eq!(call.stdin.as_deref(), Some(values.get("topic")));
    assert!(call.files.iter().all(|file| file.path.parent() == Some(Path::new("/private"))));
    let dashes = call.argv.iter().position(|arg| arg == "--").unwrap_or(call.argv.len());
    for (arg, source) in call.argv[..dashes].iter().zip(&arguments) {
        if let ArgSource::One(source) = source
            && source == "{topic}"
            && arguments.iter().all(|arg| matches!(arg, ArgSource::One(_)))
        {
            assert!(!arg.starts_with('-'), "a topic became an option");
        }
    }
}

/// Import files: the first byte says whether the name ends in csv. Every fault names its line; what is taken is right.
pub fn batch(data: &[u8]) {
    let Some((&first, contents)) = data.split_first() else { return };
    let name = ["f.jsonl", "f.csv", "-"][usize::from(first) % 3];
    match batch::parse(name, contents, &Submission::default()) {
        Ok(entries) => {
            assert!(!entries.is_empty());
            for entry in &entries {
                entry.check(None).expect("what is taken was checked");
            }
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            for fault in &faults {
                let rest = fault.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')).expect("a name");
                let line = rest.split(':').next().unwrap_or_default();
                assert!(line.parse::<u64>().is_ok_and(|line| line > 0) || rest == " there is no task in it", "{fault}");
            }
        }
    }
}

/// Words for people: what cannot be shown is not, bounds hold, and no script comes out of a piece.
pub fn words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let is_bare = |character: char| character.is_control();
    assert!(!safe(&text).chars().any(is_bare));
    assert!(!safe_lines(&text).chars().any(|character| is_bare(character) && !matches!(character, '\n' | '\t')));
    let short = excerpt(&text);
    assert!(short.chars().count() <= EXCERPT_CHARS + 1 && !short.chars().any(is_bare));
    let columns = data.len() % 40;
    assert!(width(&fitted(&safe(&text), columns)) <= columns, "wider than {columns}");
    assert!(bounded(&text, 100).len() <= 100 + 60);
    let (content, html) = cut(data, 0);
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let html = (!html.is_empty()).then(|| lossy(html));
    let rendered = render(&Piece { content: lossy(content), html, ..Piece::default() });
    let shown = rendered.html.to_ascii_lowercase();
    let tags = ["<script", "<style", "<iframe", "<object", "<form", "<svg", "<math"];
    assert!(tags.iter().all(|tag| !shown.contains(tag)), "{shown}");
}
