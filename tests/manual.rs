//! Holds the manual pages and the package's configuration against what the programs really take.
//!
//! The options and verbs in the pages are made from the declarations; here is tested what persons wrote around them:
//! examples, exit statuses, and each key of contentd.toml(5), in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Command;
use contentd::config::Config;
use contentd::manual as pages;

/// Sections that the example file does not have.
const REST: &str = r#"
tasks = { retry = {} }
notices = { failures = {}, timeouts = {}, backlog = {}, oldest_task = {}, breaker = {}, held = {}, publisher = {}, pool = {}, overdue = {}, disk = {}, schedule = {} }
hooks = { probe = { retry = {} } }
[generators.probe]
dead_when = {}
retry = {}
cancel = {}
[generators.probe.submit]
rules = [{}]
[generators.probe.poll]
items = "json:"
rules = [{}]
[generators.probe.poll_one]
rules = [{}]
[generators.probe.find]
rules = [{}]
[generators.probe.fetch]
rules = [{}]
[publishing]
retry = {}
[publishers.probe]
retry = {}
[publishers.probe.publish]
rules = [{}]
[publishers.probe.find]
rules = [{}]
"#;

fn home(name: &str) -> Option<String> {
    (name == "HOME").then(|| "/home/u".to_owned())
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn page(name: &str) -> String {
    pages::pages().into_iter().find(|(page, _)| *page == name).unwrap_or_else(|| panic!("there is no {name}")).1
}

/// Roff as a person reads it, as far as these pages use it.
fn plain(line: &str) -> String {
    let mut text = line.replace("\\-", "-").replace("\\(dq", "\"").replace("\\(aq", "'").replace("\\*(Aq", "'");
    for font in ["\\fB", "\\fI", "\\fR", "\\&"] {
        text = text.replace(font, "");
    }
    text.replace("\\e", "\\")
}

/// What stands between `.EX` and `.EE`, each example as one text.
fn examples(page: &str) -> Vec<String> {
    page.split("\n.EX\n")
        .skip(1)
        .map(|rest| rest.split("\n.EE").next().unwrap_or_default().lines().map(|line| plain(line) + "\n").collect())
        .collect()
}

/// The words of a line as a shell makes them; the examples use nothing but double and single quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote, mut is_open) = (vec![String::new()], None, false);
    for char in line.chars() {
        match (quote, char) {
            (None, '"' | '\'') => (quote, is_open) = (Some(char), true),
            (Some(open), _) if open == char => quote = None,
            (None, ' ') if is_open => {
                words.push(String::new());
                is_open = false;
            }
            (None, ' ') => {}
            _ => {
                words.last_mut().expect("there is always one").push(char);
                is_open = true;
            }
        }
    }
    words
}

fn each_command(command: &Command, do_it: &mut dyn FnMut(&Command)) {
    do_it(command);
    command.get_subcommands().for_each(|verb| each_command(verb, do_it));
}

#[test]
fn every_page_has_its_parts() {
    for (name, text) in pages::pages() {
        let version = env!("CARGO_PKG_VERSION");
        assert!(text.starts_with(".TH ") && text.lines().next().unwrap_or_default().contains(version), "{name}");
        for part in ["NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"] {
            assert!(text.contains(&format!("\n.SH {part}\n")), "{name} has no {part}");
        }
        assert!(!text.contains("@OPTIONS@") && !text.contains("@VERBS@") && !text.contains("@VERSION@"), "{name}");
    }
}

#[test]
fn every_verb_and_option_is_in_its_page() {
    for (mut command, name) in [(pages::contentctl(), "contentctl.1"), (pages::contentd(), "contentd.8")] {
        command = command.disable_help_subcommand(true);
        command.build();
        let text = plain(&page(name));
        each_command(&command, &mut |verb| {
            let full = verb.get_bin_name().unwrap_or_else(|| verb.get_name());
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            // The part of the page that is about this verb; of the program itself the whole page.
            let part = match full.strip_prefix("contentctl ") {
                Some(_) if verb.has_subcommands() => return,
                Some(words) => {
                    let (_, rest) =
                        text.split_once(&format!("\n.SS {words}\n")).unwrap_or_else(|| panic!("no {words}"));
                    assert!(rest.contains(&about), "{name} does not say what {words} does");
                    rest.split("\n.S").next().unwrap_or_default()
                }
                None => text.as_str(),
            };
            for option in verb.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_global_set()) {
                let written = match option.get_long() {
                    Some("help") => continue,
                    Some(long) => format!("--{long}"),
                    None => option.get_value_names().map(|names| names[0].to_string()).expect("an argument has a name"),
                };
                assert!(part.contains(&written), "{name}: {full} has no {written}");
            }
        });
    }
}

#[test]
fn every_example_of_a_page_is_taken_by_the_program() {
    let mut seen = 0;
    for (name, text) in pages::pages() {
        for line in examples(&text).iter().flat_map(|example| example.lines()) {
            let command = match line.split(' ').next() {
                Some("contentctl") => pages::contentctl(),
                Some("contentd") => pages::contentd(),
                _ => continue,
            };
            seen += 1;
            if let Err(error) = command.try_get_matches_from(words(line)) {
                panic!("{name}: {line}: {error}");
            }
        }
    }
    assert!(seen > 10, "only {seen} examples were found");
}

/// An entry of contentd.toml(5).
struct Entry {
    key: String,
    default: Option<String>,
    example: String,
}

/// The entries of contentd.toml(5) by section, with `NAME` for each generator and `VERB` for each verb.
fn documented() -> BTreeMap<String, Vec<Entry>> {
    let text = page("contentd.toml.5");
    let (_, sections) = text.split_once("\n.SH SECTIONS\n").expect("the page has sections");
    let (sections, _) = sections.split_once("\n.SH ").expect("something follows them");
    let mut found: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for section in sections.split(".SS ").skip(1) {
        let (heading, body) = section.split_once('\n').expect("a heading");
        let heading = plain(heading);
        let names: Vec<&str> = heading.split(['[', ']']).skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{heading} names no section");
        for entry in body.split(".TP\n").skip(1) {
            let lines: Vec<String> = entry.lines().map(plain).collect();
            let key = lines[0].strip_prefix(".B ").unwrap_or_else(|| panic!("{}: no key", lines[0])).to_owned();
            let literal = lines.iter().position(|line| line.ends_with("; default:")).map(|at| &lines[at + 1]);
            let quoted = |line: &str, before: &str, after: &str| {
                let inside = line.strip_prefix(before).and_then(|line| line.strip_suffix(after));
                inside.unwrap_or_else(|| panic!("{key}: {line}")).to_owned()
            };
            let default = literal.map(|line| quoted(line, ".BR \"", "\" ."));
            let at = lines.iter().position(|line| line == "Example:").unwrap_or_else(|| panic!("{key}: no example"));
            let example = quoted(&lines[at + 1], ".B \"", "\"");
            assert!(lines.len() >= 6, "{key} has no type, no meaning or no example");
            for name in &names {
                let entry = Entry { key: key.clone(), default: default.clone(), example: example.clone() };
                found.entry((*name).to_owned()).or_default().push(entry);
            }
        }
    }
    found
}

/// The name that the page has for a section: every generator is NAME, and rules are those of any verb.
fn heading_of(section: &str) -> String {
    let mut parts: Vec<&str> = section.split('.').collect();
    if parts[0] == "topic_sources" && parts.len() > 1 {
        parts[1] = "NAME";
    }
    if ["generators", "publishers"].contains(&parts[0]) && parts.len() > 1 {
        parts[1] = "NAME";
        if parts.last() == Some(&"rules") {
            parts[2] = "VERB";
        }
    }
    if parts[0] == "hooks" && parts.len() > 1 {
        parts[1] = "NAME";
    }
    parts.join(".")
}

fn known() -> BTreeSet<(String, String)> {
    let example = read("contentd.example.toml");
    let sources = [example.as_str(), REST];
    let known = sources.iter().flat_map(|source| Config::known_keys(source, &home));
    known.map(|(section, key)| (heading_of(&section), key.to_owned())).collect()
}

#[test]
fn the_page_of_the_configuration_has_every_key_and_no_other() {
    let documented = documented();
    let known = known();
    for key in known.iter().filter(|(section, _)| section.is_empty()).map(|(_, key)| key) {
        let is_there = documented.keys().any(|section| section.split('.').next() == Some(key));
        assert!(is_there, "contentd.toml(5) has no section [{key}]");
    }
    let known: BTreeSet<_> = known.into_iter().filter(|(section, _)| !section.is_empty()).collect();
    let said: BTreeSet<_> = documented
        .iter()
        .flat_map(|(section, entries)| entries.iter().map(move |entry| (section.clone(), entry.key.clone())))
        .collect();
    let missing: Vec<_> = known.difference(&said).collect();
    let wrong: Vec<_> = said.difference(&known).collect();
    assert!(missing.is_empty(), "contentd.toml(5) does not say: {missing:?}");
    assert!(wrong.is_empty(), "contentd.toml(5) says what the reader does not know: {wrong:?}");
}

/// The probe above must reach every key: each name that the reader's source asks for must have been met.
#[test]
fn no_key_of_the_reader_is_out_of_the_probes_reach() {
    let of_section = r"node|section|text|truth|number|decimal|span_of_time|span|kept|read_list";
    let helpers = r"extractor|integers|is_said|regex|texts";
    let asks = format!(r#"\b(?:{of_section}|{helpers})\(\s*(?:&mut )?(?:section, )?"([a-z_]+)""#);
    let asks = regex::Regex::new(&asks).expect("a pattern");
    let known: BTreeSet<String> = known().into_iter().map(|(_, key)| key).collect();
    let mut count = 0;
    for file in [
        "mod.rs",
        "generators.rs",
        "publishers.rs",
        "notices.rs",
        "review.rs",
        "roles.rs",
        "schedules.rs",
        "verbs.rs",
        "rules.rs",
    ] {
        for found in asks.captures_iter(&read(&format!("src/config/{file}"))) {
            count += 1;
            assert!(
                known.contains(&found[1]),
                "src/config/{file} reads {}, and REST above does not reach it",
                &found[1]
            );
        }
    }
    assert!(count > 50, "only {count} keys were found in the source");
}

#[test]
fn the_examples_of_keys_are_toml_for_those_keys() {
    for (section, entries) in documented() {
        for entry in entries {
            let table: toml::Table = toml::from_str(&entry.example)
                .unwrap_or_else(|error| panic!("[{section}] {}: {}: {error}", entry.key, entry.example));
            assert_eq!(table.keys().collect::<Vec<_>>(), [&entry.key], "[{section}]");
        }
    }
}

/// An example that is copied must work: each of a verb is taken beside verbs that are right.
#[test]
fn the_examples_of_verbs_are_accepted() {
    const GENERATOR: [(&str, &str); 4] = [
        ("submit", r#"submit = { run = ["p", "{topic} [ref:{key}]"], ref = "json:/id" }"#),
        ("poll", r#"poll = { run = ["p"], items = "json:", key = "json:/id", state = "json:/state" }"#),
        ("fetch", r#"fetch = { run = ["p", "{ref}"], content = "text" }"#),
        ("states", r#"states = { done = "completed" }"#),
    ];
    const PUBLISHER: [(&str, &str); 1] = [("publish", r#"publish = { run = ["p", "{key}"] }"#)];
    let mut seen = Vec::new();
    for (section, entries) in documented() {
        let rest: &[(&str, &str)] = match section.as_str() {
            "generators.NAME" => &GENERATOR,
            "publishers.NAME" => &PUBLISHER,
            _ => continue,
        };
        for entry in entries.iter().filter(|entry| entry.example.contains("run = [") || entry.key == "find") {
            let others = rest.iter().filter(|(key, _)| *key != entry.key).map(|(_, line)| format!("{line}\n"));
            let name = section.replace("NAME", "x");
            let source = format!("[{name}]\n{}\n{}", entry.example, others.collect::<String>());
            Config::parse(None, &source, &home).unwrap_or_else(|errors| panic!("{source}\n{errors}"));
            seen.push(entry.key.clone());
        }
    }
    assert_eq!(seen, ["submit", "poll", "poll_one", "find", "fetch", "cancel", "publish", "find"]);
}

/// Each default that the page says as a value, written into a file, changes nothing.
#[test]
fn the_defaults_in_the_page_are_the_readers() {
    const GENERATOR: &str = "[generators.g.submit]\nrun = [\"p\", \"{key}\"]\nref = \"{key}\"\n\
                             [generators.g.poll]\nrun = [\"p\", \"{ref}\"]\nstate = \"json:/s\"\n\
                             [generators.g.fetch]\nrun = [\"p\", \"{ref}\"]\ncontent = \"text\"\n\
                             [generators.g.states]\ndone = \"completed\"\n";
    const TOPICS: &str = "[topic_sources.s]\nrun = [\"p\"]\n";
    const BLOCKING: &str = "[generators.g.submit]\nrun = [\"p\"]\ncontent = \"text\"\n";
    const PUBLISHER: &str = "[publishers.p.publish]\nrun = [\"p\", \"{key}\"]\n";
    let config = |source: &str| {
        let config = Config::parse(None, source, &home).unwrap_or_else(|errors| panic!("{source}\n{errors}"));
        format!("{config:?}")
    };
    let mut seen = 0;
    for (section, entries) in documented() {
        for entry in entries.iter().filter(|entry| entry.default.is_some()) {
            let rest = match section.as_str() {
                "publishers.NAME" => PUBLISHER,
                _ if entry.key == "detached" => BLOCKING,
                _ => GENERATOR,
            };
            let source = match section.as_str() {
                "generators.NAME" | "daemon" | "tasks" | "polling" | "retention" | "review" | "images" | "notices"
                | "tasks.retry" | "publishing" | "publishing.retry" | "publishers.NAME" => {
                    let name = if section.starts_with("publishers") { "p" } else { "g" };
                    format!(
                        "[{}]\n{} = {}\n{rest}",
                        section.replace("NAME", name),
                        entry.key,
                        entry.default.as_ref().unwrap()
                    )
                }
                "topic_sources.NAME" => {
                    seen += 1;
                    let source = format!("{TOPICS}{} = {}\n", entry.key, entry.default.as_ref().unwrap());
                    assert!(config(&source) == config(TOPICS), "the default of {}", entry.key);
                    continue;
                }
                // The generator's back-off comes from [tasks.retry]; pages are for lists, which the example has.
                "generators.NAME.retry"
                | "publishers.NAME.retry"
                | "generators.NAME.poll"
                | "generators.NAME.find"
                | "generators.NAME.poll_one"
                | "hooks.NAME.retry" => continue,
                "generators.NAME.VERB.rules" | "publishers.NAME.VERB.rules" => continue,
                "hooks.NAME" => {
                    let hook = format!("[hooks.h]\nrun = [\"p\"]\n{{}}\n{rest}");
                    let (said, not_said) = (
                        hook.replace("{}", &format!("{} = {}", entry.key, entry.default.as_ref().unwrap())),
                        hook.replace("{}", ""),
                    );
                    seen += 1;
                    assert_eq!(config(&said), config(&not_said), "[hooks.NAME] the default of {}", entry.key);
                    continue;
                }
                _ => panic!("[{section}] {} has a default that is not tested", entry.key),
            };
            seen += 1;
            let is_same = config(&source) == config(rest);
            assert!(is_same, "[{section}] the default of {} is not {:?}", entry.key, entry.default);
        }
    }
    assert!(seen > 20, "only {seen} defaults were tested");
}

#[test]
fn whole_examples_of_the_page_are_accepted() {
    let examples: Vec<String> =
        examples(&page("contentd.toml.5")).into_iter().filter(|example| example.contains('[')).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        Config::parse(None, &example, &home).unwrap_or_else(|errors| panic!("{example}\n{errors}"));
    }
}

/// The configuration that the package installs, less its one line that is no default: it names a group that only the
/// package makes.
fn package_configuration() -> String {
    const GIVEN: &str = "\nsubmitter = [\"@contentd\"]";
    let source = read("packaging/contentd.toml");
    assert_eq!(source.matches(GIVEN).count(), 1, "what members of group contentd may without more");
    source.replace(GIVEN, "\nsubmitter = []")
}

/// The configuration that the package installs: good, without a generator, and its commented lines are the defaults.
#[test]
fn the_packages_configuration_is_the_defaults() {
    let source = package_configuration();
    let config =
        |source: &str| Config::parse(None, source, &home).unwrap_or_else(|errors| panic!("{source}\n{errors}"));
    let installed = config(&source);
    assert!(installed.generators.is_empty());
    let commented = regex::Regex::new("(?m)^#([a-z_]+ = )").expect("a pattern");
    let all = commented.replace_all(&source, "$1");
    assert!(commented.find_iter(&source).count() > 5);
    let defaults = format!("{:?}", config(""));
    assert_eq!(format!("{installed:?}"), defaults);
    assert_eq!(format!("{:?}", config(&all)), defaults);
}

/// What the package's page of the sample tells to do must work: its configuration goes behind the installed one.
#[test]
fn the_sample_fits_behind_the_packages_configuration() {
    let sample = read("examples/sample.toml").replace("{creator}", "/usr/lib/contentd/sample-generator");
    let whole = package_configuration() + &sample;
    let config = Config::parse(None, &whole, &home).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.default_generator().map(|name| name.0.as_str()), Some("sample"));
}

#[test]
fn every_file_that_the_package_names_is_there() {
    let script = read("packaging/build-deb");
    let named = regex::Regex::new(r"(?m)^put ([a-zA-Z][\w./-]+) ").expect("a pattern");
    let paths: Vec<PathBuf> =
        named.captures_iter(&script).map(|found| Path::new(env!("CARGO_MANIFEST_DIR")).join(&found[1])).collect();
    assert!(paths.len() > 5);
    for path in paths.iter().filter(|path| !path.starts_with(Path::new(env!("CARGO_MANIFEST_DIR")).join("target"))) {
        assert!(path.is_file(), "{}", path.display());
    }
}
