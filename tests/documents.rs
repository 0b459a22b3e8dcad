//! Holds the pages that are made of tables against the tables.
//!
//! `UPDATE_DOCS=1 cargo test --test documents` writes the diagrams between their markers anew; the outcome table's page is
//! prose around a table, so its rows are compared and printed, never its words.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use contentd::publish::PoolMove;
use contentd::publish::outcome::{PUBLISH_OUTCOMES, PublishVerb};
use contentd::task::content::{PoolState, ReviewMove, ReviewState};
use contentd::task::outcome::{OUTCOMES, Verb};
use contentd::task::{AttemptState, TaskMove, TaskState};

const STATES: (&str, &str) = ("<!-- states:begin -->", "<!-- states:end -->");
const ACTORS: (&str, &str) = ("<!-- actors:begin -->", "<!-- actors:end -->");
const PUBLISHING: (&str, &str) = ("<!-- publishing:begin -->", "<!-- publishing:end -->");
const TABLE: (&str, &str) = ("<!-- outcomes:begin -->", "<!-- outcomes:end -->");

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between two markers, without the line ends at its edges; none where a marker is missing.
fn between<'a>(text: &'a str, markers: (&str, &str)) -> Option<&'a str> {
    let (_, rest) = text.split_once(markers.0)?;
    let (inside, _) = rest.split_once(markers.1)?;
    Some(inside.trim_matches('\n'))
}

fn replaced(text: &str, markers: (&str, &str), inside: &str) -> String {
    let (before, rest) = text.split_once(markers.0).expect("the marker was found before");
    let (_, after) = rest.split_once(markers.1).expect("the marker was found before");
    format!("{before}{}\n{inside}\n{}{after}", markers.0, markers.1)
}

/// One diagram: an arrow for each pair of different states, labelled with every event that makes it.
fn diagram(start: &[&str], finals: &[&str], edges: &[(&str, &str, &str)]) -> String {
    let mut arrows: Vec<((&str, &str), Vec<&str>)> = vec![];
    for (from, to, event) in edges.iter().filter(|(from, to, _)| from != to) {
        match arrows.iter_mut().find(|(pair, _)| *pair == (*from, *to)) {
            Some((_, events)) => events.push(event),
            None => arrows.push(((from, to), vec![event])),
        }
    }
    let mut text = String::from("```mermaid\nstateDiagram-v2\n");
    for state in start {
        let _ = writeln!(text, "    [*] --> {state}");
    }
    for ((from, to), mut events) in arrows {
        events.retain(|event| !event.is_empty());
        let label = if events.is_empty() { String::new() } else { format!(": {}", events.join(", ")) };
        let _ = writeln!(text, "    {from} --> {to}{label}");
    }
    for state in finals {
        let _ = writeln!(text, "    {state} --> [*]");
    }
    text.push_str("```");
    text
}

/// The task's diagram; `is_shown` leaves events out.
fn task_diagram(is_shown: fn(&TaskMove) -> bool) -> String {
    let mut edges = vec![];
    for from in TaskState::ALL {
        for event in TaskMove::ALL.iter().filter(|event| is_shown(event)) {
            if let Some(to) = from.target(*event) {
                edges.push((from.as_str(), to.as_str(), event.as_str()));
            }
        }
    }
    let finals: Vec<&str> =
        TaskState::ALL.iter().filter(|state| state.is_final()).map(|state| state.as_str()).collect();
    diagram(&[TaskState::Pending.as_str()], &finals, &edges)
}

fn attempt_diagram() -> String {
    let mut edges = vec![];
    for from in AttemptState::ALL {
        for to in AttemptState::ALL.iter().filter(|to| from.may_become(**to)) {
            edges.push((from.as_str(), to.as_str(), ""));
        }
    }
    let ends: Vec<&str> =
        AttemptState::ALL.iter().filter(|state| !state.may_be_alive()).map(|state| state.as_str()).collect();
    diagram(&[AttemptState::Intended.as_str()], &ends, &edges)
}

fn review_diagram() -> String {
    let mut edges = vec![];
    for from in ReviewState::ALL {
        for event in ReviewMove::ALL {
            if let Some(to) = from.target(*event) {
                edges.push((from.as_str(), to.as_str(), event.as_str()));
            }
        }
    }
    diagram(&[ReviewState::PendingReview.as_str(), ReviewState::Approved.as_str()], &[], &edges)
}

fn pool_diagram() -> String {
    let mut edges = vec![];
    for from in PoolState::ALL {
        for event in PoolMove::ALL {
            if let Some(to) = from.target(*event) {
                edges.push((from.as_str(), to.as_str(), event.as_str().trim_start_matches("pool_")));
            }
        }
    }
    diagram(&[PoolState::Pending.as_str(), PoolState::Held.as_str()], &[PoolState::Published.as_str()], &edges)
}

/// What stands between the markers of every page that shows the machines.
fn machines(is_shown: fn(&TaskMove) -> bool) -> String {
    format!(
        "**Task**\n\n{}\n\n**Attempt** (one external job)\n\n{}\n\n**Content** (its review)\n\n{}\n\n\
         **Pool entry** (its way out)\n\n{}",
        task_diagram(is_shown),
        attempt_diagram(),
        review_diagram(),
        pool_diagram()
    )
}

/// Compares the diagrams of a page with the tables, or writes them.
fn hold(name: &str, markers: (&str, &str), right: &str) {
    let path = &page(name);
    let text = read(path);
    let found = between(&text, markers).unwrap_or_else(|| panic!("{name} has lost its markers {}", markers.0));
    if found == right {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, replaced(&text, markers, right)).expect("the page can be written");
        return;
    }
    panic!("{} is out of date; UPDATE_DOCS=1 writes it anew. The right text is:\n{right}", path.display());
}

#[test]
fn the_page_of_the_states_shows_the_tables() {
    hold("docs/states.md", STATES, &machines(|_| true));
}

/// The README leaves out what persons may correct by hand: nearly every pair, which hides the rest.
#[test]
fn the_readme_shows_the_tables() {
    hold("README.md", STATES, &machines(|event| !event.as_str().starts_with("corrected_")));
}

#[test]
fn the_readme_shows_who_sends_what_to_whom() {
    hold("README.md", ACTORS, &actor_diagram());
}

/// Who a source file belongs to in the diagram of the actors; none for files that send nothing.
fn owner_of(file: &str) -> Option<&'static str> {
    const OWNERS: [(&str, &str); 12] = [
        ("src/actors/supervisor", "SupervisorActor"),
        ("src/actors/queue/", "QueueActor"),
        ("src/actors/worker.rs", "WorkerActor"),
        ("src/actors/poller/", "PollerActor"),
        ("src/actors/result_handler.rs", "ResultHandlerActor"),
        ("src/actors/schedule/", "ScheduleActor"),
        ("src/actors/images.rs", "ImageActor"),
        ("src/actors/publisher/", "PublisherActor"),
        ("src/actors/notice", "NoticeActor"),
        // What every actor does through the world that it is given.
        ("src/actors/mod.rs", "every actor"),
        ("src/backend/", "control socket"),
        ("src/daemon/", "daemon"),
    ];
    OWNERS.iter().find(|(prefix, _)| file.starts_with(prefix)).map(|(_, owner)| *owner)
}

/// Every Rust file below a folder, with its path from the root, in order.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![page(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the sources are there") {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("below the root").display().to_string();
                found.push((name, read(&path)));
            }
        }
    }
    found.sort();
    found
}

/// Whether a source makes or sends this message: it is named as a value, not as a type.
fn sends(source: &str, message: &str) -> bool {
    let value = regex::Regex::new(&format!(r"\b{message}(::\w+)?\s*(\{{|\(|\)|,|;)")).expect("a message's name");
    let imports = regex::Regex::new(r"(?m)^(pub )?use [^;]*;").expect("a pattern");
    imports.replace_all(source, "").lines().filter(|line| !is_declaration(line)).any(|line| value.is_match(line))
}

/// Lines that name a message without making one.
fn is_declaration(line: &str) -> bool {
    let line = line.trim_start();
    let starts = ["//", "use ", "pub struct", "struct", "pub enum", "impl", "fn ", "pub fn", "#["];
    starts.iter().any(|start| line.starts_with(start)) && !line.contains("send(") || line.contains("::{")
}

/// The actors and their messages, read from the sources: an arrow from each sender to each receiver.
fn actor_diagram() -> String {
    let handled = regex::Regex::new(r"impl Handler<(?:\w+::)*(\w+)> for (\w+)").expect("a pattern");
    let actors = sources("src/actors");
    let all: Vec<(String, String)> =
        ["src/actors", "src/backend", "src/daemon"].iter().flat_map(|folder| sources(folder)).collect();
    let mut arrows: std::collections::BTreeMap<(&str, String), std::collections::BTreeSet<String>> = Default::default();
    for (file, source) in &actors {
        for found in handled.captures_iter(source) {
            let (message, receiver) = (found[1].to_owned(), found[2].to_owned());
            // A child's death is told through its own type; ticks go from an actor to itself.
            for (sender_file, text) in &all {
                let Some(sender) = owner_of(sender_file) else { continue };
                if sender != receiver && sends(text, &message) {
                    arrows.entry((sender, receiver.clone())).or_default().insert(message.clone());
                }
            }
            assert!(owner_of(file).is_some(), "{file} handles {message} and has no place in the diagram");
        }
    }
    for child in [
        "QueueActor",
        "WorkerActor",
        "PollerActor",
        "ResultHandlerActor",
        "ScheduleActor",
        "ImageActor",
        "PublisherActor",
        "NoticeActor",
    ] {
        let file =
            actors.iter().find(|(file, text)| owner_of(file) == Some(child) && text.contains("ChildExited::report("));
        assert!(file.is_some(), "{child} does not tell its death");
        arrows.entry((child, "SupervisorActor".to_owned())).or_default().insert("ChildExited".to_owned());
    }
    let mut text = String::from("```mermaid\nflowchart LR\n");
    for ((sender, receiver), messages) in arrows {
        let names = messages.into_iter().collect::<Vec<_>>().join("<br>");
        let _ = writeln!(text, "    {} -- \"{names}\" --> {receiver}", sender.replace(' ', "_"));
    }
    text.push_str("```");
    text
}

#[test]
fn the_page_of_the_outcomes_has_every_row_in_order() {
    let mut right = String::from("| verb | outcome | what moves | what is spent |\n| --- | --- | --- | --- |");
    for row in OUTCOMES {
        let verb = row.verb.map_or("deadline", Verb::as_str);
        let _ = write!(right, "\n| {verb} | {} | {} | {} |", row.outcome, row.moves, row.spends);
    }
    let text = read(&page("docs/outcomes.md"));
    let found = between(&text, TABLE).expect("docs/outcomes.md has lost its markers");
    assert!(found == right, "docs/outcomes.md is out of date. The right table is:\n{right}");
}

#[test]
fn the_page_of_the_outcomes_has_every_row_of_publishers() {
    let mut right = String::from("| verb | outcome | what moves | what is spent |\n| --- | --- | --- | --- |");
    for row in PUBLISH_OUTCOMES {
        let verb = row.verb.map_or("lease", PublishVerb::as_str);
        let _ = write!(right, "\n| {verb} | {} | {} | {} |", row.outcome, row.moves, row.spends);
    }
    hold("docs/outcomes.md", PUBLISHING, &right);
}

#[test]
fn the_page_of_the_outcomes_names_what_rules_of_publishers_may_say() {
    let text = read(&page("docs/outcomes.md"));
    let (_, publishers) = text.split_once(PUBLISHING.1).expect("the markers are there");
    for verb in PublishVerb::ALL {
        let outcomes: Vec<&str> = verb.rule_outcomes().iter().map(|outcome| outcome.as_str()).collect();
        assert!(publishers.contains(&format!("| {verb} | {} |", outcomes.join(", "))), "{verb}");
    }
}

#[test]
fn the_page_of_the_outcomes_names_what_rules_may_say() {
    let text = read(&page("docs/outcomes.md"));
    for verb in Verb::ALL {
        let outcomes: Vec<&str> = verb.rule_outcomes().iter().map(|outcome| outcome.as_str()).collect();
        let cell = format!("| {} |", outcomes.join(", "));
        let is_said = text.lines().any(|line| {
            let names = line.trim_start_matches('|').split('|').next().unwrap_or_default();
            line.ends_with(&cell) && names.split(',').any(|name| name.trim() == verb.as_str())
        });
        assert!(is_said, "docs/outcomes.md does not say that a rule of {verb} may name {}", outcomes.join(", "));
    }
}

#[test]
fn markers_are_replaced_and_nothing_else() {
    let text = "before\n<!-- states:begin -->\nold\n<!-- states:end -->\nafter\n";
    assert_eq!(between(text, STATES), Some("old"));
    let new = replaced(text, STATES, "new");
    assert_eq!(new, "before\n<!-- states:begin -->\nnew\n<!-- states:end -->\nafter\n");
    assert_eq!(between("no markers", STATES), None);
}

/// The message catalog is a table too: what `journalctl -x` says of each kind of event.
#[test]
fn the_catalog_of_the_journal_shows_the_table_of_events() {
    let path = &page("systemd/contentd.catalog");
    let right = contentd::events::catalog();
    if std::fs::read_to_string(path).is_ok_and(|found| found == right) {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, right).expect("the catalog can be written");
        return;
    }
    panic!("{} is out of date; UPDATE_DOCS=1 writes it anew", path.display());
}

/// A line of the log that tells of a task in its text alone could not be found by the journal's fields.
#[test]
fn every_line_about_a_task_has_its_fields() {
    let bare = regex::Regex::new(r#"log::(error|warn|info|debug|trace)!\([^;]*task_id="#).expect("a pattern");
    let found: Vec<String> =
        sources("src").into_iter().filter(|(_, text)| bare.is_match(text)).map(|(name, _)| name).collect();
    assert_eq!(found, Vec::<String>::new(), "use contentd::tell! with events::About");
}
