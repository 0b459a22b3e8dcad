//! Holds the pages that name a test for each thing they say: the test must exist.
//!
//! A test is named as `file::function` under `tests/` or `src/`, a case of the tests on a real systemd as
//! `scripts/test-systemd CASE`. The surprise: only what stands between backticks counts, so prose may name what it likes.

use std::fs;
use std::path::{Path, PathBuf};

/// Pages whose tables name a test in their last column; with a name, only what stands between the markers of that name.
const PAGES: [(&str, Option<&str>); 3] =
    [("README.md", Some("promises")), ("docs/faults.md", None), ("docs/threats.md", None)];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What is wrong with a reference to a test; none where it is no such reference, or a good one.
fn fault(reference: &str) -> Option<String> {
    if let Some(case) = reference.strip_prefix("scripts/test-systemd ") {
        let path = root().join("tests/systemd/cases").join(format!("{case}.sh"));
        return (!path.exists()).then(|| format!("{reference}: there is no case {case}"));
    }
    let (file, function) = reference.rsplit_once("::").filter(|(file, _)| Path::new(file).extension().is_some())?;
    let directory = if file.starts_with("src/") { root() } else { root().join("tests") };
    let Ok(source) = fs::read_to_string(directory.join(file)) else {
        return Some(format!("{reference}: there is no such file"));
    };
    (!source.contains(&format!("fn {function}("))).then(|| format!("{reference}: there is no such function"))
}

fn between<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("<!-- {name}:begin -->")).expect("the marker of the beginning");
    rest.split_once(&format!("<!-- {name}:end -->")).expect("the marker of the end").0
}

fn is_test(reference: &str) -> bool {
    reference.contains(".rs::") || reference.starts_with("scripts/test-")
}

#[test]
fn every_test_that_a_page_names_exists() {
    let mut faults = Vec::new();
    for (page, name) in PAGES {
        let whole = fs::read_to_string(root().join(page)).unwrap();
        let text = name.map_or(whole.as_str(), |name| between(&whole, name));
        let mut is_body = false;
        for line in text.lines() {
            faults.extend(quoted(line).filter_map(fault).map(|fault| format!("{page}: {fault}")));
            let is_row = line.starts_with("| ");
            if is_row && is_body && !quoted(line.rsplit('|').nth(1).unwrap_or_default()).any(is_test) {
                faults.push(format!("{page}: this row names no test: {line}"));
            }
            // The line under a table's head opens its body, and whatever is no row ends it.
            is_body = line.starts_with("| ---") || is_body && is_row;
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
