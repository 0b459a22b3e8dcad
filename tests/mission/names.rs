//! Holds `docs/names.md` against the tests and the sources: what the page names exists, and every test stands in the page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// `module::name` of every test under `tests/mission`, but for this file's.
fn tests_there_are() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root("tests/mission")).expect("the tests' folder") {
        let path = entry.expect("an entry").path();
        let module = path.file_stem().and_then(|stem| stem.to_str()).expect("a plain name").to_owned();
        if module == "names" {
            continue;
        }
        let source = fs::read_to_string(&path).expect("a source file");
        let mut lines = source.lines();
        while let Some(line) = lines.next() {
            if line.trim() != "#[test]" {
                continue;
            }
            let name = lines.find_map(|line| line.trim().strip_prefix("fn ")?.split('(').next());
            found.insert(format!("{module}::{}", name.expect("a test is a function")));
        }
    }
    found
}

/// Every `module::name` in backquotes on the page.
fn tests_named(page: &str, modules: &BTreeSet<&str>) -> BTreeSet<String> {
    let quoted = page.split('`').skip(1).step_by(2);
    let is_test = |text: &&str| text.split_once("::").is_some_and(|(module, _)| modules.contains(module));
    quoted.filter(is_test).map(str::to_owned).collect()
}

#[test]
fn the_places_on_the_map_exist() {
    let page = fs::read_to_string(root("docs/names.md")).expect("docs/names.md");
    let quoted = page.split('`').skip(1).step_by(2);
    let is_path = |text: &&str| text.contains('/') && !text.contains([' ', ':']);
    let missing: Vec<_> =
        quoted.filter(is_path).filter(|path| !root("src").join(path).exists() && !root(path).exists()).collect();
    assert!(missing.is_empty(), "docs/names.md names places that do not exist: {missing:?}");
}

#[test]
fn the_map_of_names_and_the_tests_agree() {
    let there = tests_there_are();
    let modules: BTreeSet<&str> = there.iter().filter_map(|name| Some(name.split_once("::")?.0)).collect();
    let page = fs::read_to_string(root("docs/names.md")).expect("docs/names.md");
    let named = tests_named(&page, &modules);
    let unknown: Vec<_> = named.difference(&there).collect();
    assert!(unknown.is_empty(), "docs/names.md names tests that do not exist: {unknown:?}");
    let unnamed: Vec<_> = there.difference(&named).collect();
    assert!(unnamed.is_empty(), "tests that docs/names.md does not name: {unnamed:?}");
}
