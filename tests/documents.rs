//! Holds the pages that are made of tables against the tables.
//!
//! `UPDATE_DOCS=1 cargo test --test documents` writes the diagrams between their markers anew; the outcome table's page is
//! prose around a table, so its rows are compared and printed, never its words.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use contentd::task::content::{ReviewMove, ReviewState};
use contentd::task::outcome::{OUTCOMES, Verb};
use contentd::task::{AttemptState, TaskMove, TaskState};

const STATES: (&str, &str) = ("<!-- states:begin -->", "<!-- states:end -->");
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

fn task_diagram() -> String {
    let mut edges = vec![];
    for from in TaskState::ALL {
        for event in TaskMove::ALL {
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

/// What stands between the markers of every page that shows the machines.
fn machines() -> String {
    format!(
        "**Task**\n\n{}\n\n**Attempt** (one external job)\n\n{}\n\n**Content** (its review)\n\n{}",
        task_diagram(),
        attempt_diagram(),
        review_diagram()
    )
}

/// Compares the diagrams of a page with the tables, or writes them.
fn hold_states(path: &Path) {
    let text = read(path);
    let Some(found) = between(&text, STATES) else { return };
    let right = machines();
    if found == right {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, replaced(&text, STATES, &right)).expect("the page can be written");
        return;
    }
    panic!("{} is out of date; UPDATE_DOCS=1 writes it anew. The right text is:\n{right}", path.display());
}

#[test]
fn the_page_of_the_states_shows_the_tables() {
    let path = page("docs/states.md");
    assert!(between(&read(&path), STATES).is_some(), "docs/states.md has lost its markers");
    hold_states(&path);
}

#[test]
fn the_readme_shows_the_tables_where_it_shows_states() {
    let path = page("README.md");
    if path.exists() {
        hold_states(&path);
    }
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
