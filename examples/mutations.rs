//! A test of the tests: breaks contentd on purpose, one mutation at a time, and asks whether the tests notice.
//!
//! `scripts/test-mutations` runs it. The list is `tests/mutations/list.toml`: what each mutation replaces, by what, and why that
//! would lose something or pay twice. All of them are planted into one copy of the tree, each behind a switch that reads an
//! environment variable at run time, so that one build tests them all and the sources stay clean. The surprise: a text that
//! does not occur exactly once is an error, because a list that no longer fits the code tests nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

const LIST: &str = "tests/mutations/list.toml";
/// What the copy is made of. No programs: theirs would take the place of the real ones in the target directory.
const COPIED: [&str; 9] = [
    ".cargo",
    "src",
    "crates",
    "man",
    "migrations",
    "tests/exploration",
    "tests/conformance",
    "tests/actors",
    "tests/support",
];
const SWITCH: &str = "CONTENTD_MUTANT";
/// Schedules that a mutation has to survive; most are caught by one of the first.
const AT_MOST: &str = "2500";
const SEEDS: &str = "30";
/// The whole exploration must pass in the copy, too, but not all of it again.
const BASELINE_AT_MOST: &str = "300";
/// Nothing takes so long but what hangs; and to hang is not to be caught.
const DEADLINE: Duration = Duration::from_secs(300);

const HELPER: &str = r#"
/// Whether this mutation is on.
pub fn mutant(name: &str) -> bool {
    static ON: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    ON.get_or_init(|| std::env::var("CONTENTD_MUTANT").ok()).as_deref() == Some(name)
}
"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutation: Vec<Mutation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutation {
    name: String,
    why: String,
    /// The test that must notice it: a test file, or a file and the beginning of a test's name, as `conformance::lives`.
    #[serde(default = "exploration")]
    caught_by: String,
    /// Its places; most have one.
    edit: Vec<Edit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    file: String,
    original: String,
    /// Takes the place of the original where the mutation is on. Where it says `$mutant`, that is the switch, and the text
    /// takes the original's place for good.
    mutated: String,
}

fn exploration() -> String {
    "exploration".to_owned()
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutations: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    let list: List = toml::from_str(&fs::read_to_string(root.join(LIST))?).context(LIST)?;
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let is_asked = |mutation: &&Mutation| asked.is_empty() || asked.contains(&mutation.name);
    let tree = target.join("mutations/tree");
    plant(root, &tree, &list.mutation)?;
    let programs = build(&tree, &target)?;
    let chosen: Vec<&Mutation> = list.mutation.iter().filter(is_asked).collect();
    ensure!(!chosen.is_empty(), "no mutation of the list was asked for");
    baseline(&chosen, &programs)?;
    let survivors = try_all(&chosen, &programs)?;
    let caught = chosen.len() - survivors.len();
    println!("mutations: {caught} of {} caught", chosen.len());
    for name in &survivors {
        println!("mutations: {name} SURVIVED: no test notices it");
    }
    if survivors.is_empty() && asked.is_empty() {
        let tallies = target.join("tmp/tallies");
        fs::create_dir_all(&tallies)?;
        fs::write(tallies.join("mutations"), format!("{caught} of {caught} mutations of contentd caught"))?;
    }
    Ok(survivors.is_empty())
}

/// Writes the copy. A file that would not change is left alone, so that the next build has less to do.
fn plant(root: &Path, tree: &Path, mutations: &[Mutation]) -> Result<()> {
    let mut files = BTreeMap::new();
    for part in COPIED {
        read_all(root, &root.join(part), &mut files)?;
    }
    let lock = renamed(&fs::read_to_string(root.join("Cargo.lock"))?)?;
    files.insert(PathBuf::from("Cargo.lock"), lock.into_bytes());
    let manifest = renamed(&manifest(&fs::read_to_string(root.join("Cargo.toml"))?))?;
    files.insert(PathBuf::from("Cargo.toml"), manifest.into_bytes());
    let lib = files.get_mut(Path::new("src/lib.rs")).context("src/lib.rs is not there")?;
    lib.extend_from_slice(HELPER.as_bytes());
    for mutation in mutations {
        for edit in &mutation.edit {
            mutate(&mut files, mutation, edit)?;
        }
    }
    let mut stale = BTreeMap::new();
    if tree.exists() {
        read_all(tree, tree, &mut stale)?;
    }
    for path in stale.keys().filter(|path| !files.contains_key(*path)) {
        fs::remove_file(tree.join(path))?;
        // An empty directory of a migration is one without its SQL; one that has others stays.
        if let Some(parent) = path.parent() {
            let _ = fs::remove_dir(tree.join(parent));
        }
    }
    for (path, text) in files.iter().filter(|(path, text)| stale.get(*path) != Some(text)) {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        fs::write(path, text)?;
    }
    Ok(())
}

fn read_all(root: &Path, directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        let relative = path.strip_prefix(root)?.to_owned();
        if path.is_dir() {
            if relative != Path::new("src/bin") {
                read_all(root, &path, files)?;
            }
        } else {
            files.insert(relative, fs::read(&path)?);
        }
    }
    Ok(())
}

/// The manifest without programs, tests that are not copied, and packaging.
fn manifest(text: &str) -> String {
    let mut kept = String::new();
    let mut is_kept = true;
    for line in text.lines() {
        if line.starts_with('[') {
            is_kept = !["[[bin]]", "[[test]]", "[package.metadata"].iter().any(|section| line.starts_with(section));
        }
        if is_kept && !line.starts_with("default-run") && !line.starts_with("readme") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Another version: the copy shares the target directory for the sake of others' crates, and cargo takes two trees of one name
/// and version for the same, so that the real tests would be linked with broken code.
fn renamed(text: &str) -> Result<String> {
    let here = format!("name = \"contentd\"\nversion = \"{}\"\n", env!("CARGO_PKG_VERSION"));
    ensure!(text.matches(&here).count() == 1, "the name and version of the package are not where they were");
    Ok(text.replace(&here, "name = \"contentd\"\nversion = \"0.0.0-mutations\"\n"))
}

fn mutate(files: &mut BTreeMap<PathBuf, Vec<u8>>, mutation: &Mutation, edit: &Edit) -> Result<()> {
    let name = &mutation.name;
    let text = files.get_mut(Path::new(&edit.file)).with_context(|| format!("{name}: there is no {}", edit.file))?;
    let before = std::str::from_utf8(text)?;
    let original = edit.original.trim_matches('\n');
    let found = before.matches(original).count();
    if found != 1 {
        bail!("{name}: in {} the original text occurs {found} times and must occur once:\n{original}", edit.file);
    }
    let switch = format!("crate::mutant({name:?})");
    let mutated = edit.mutated.trim_matches('\n');
    let planted = if mutated.contains("$mutant") {
        mutated.replace("$mutant", &switch)
    } else {
        format!("if {switch} {{ {mutated} }} else {{ {original} }}")
    };
    *text = before.replacen(original, &planted, 1).into_bytes();
    Ok(())
}

/// Builds the tests of the copy, with what the tree's own build has made of others' crates; answers with the programs by name.
fn build(tree: &Path, target: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let output = Command::new(cargo)
        .args(["test", "--no-run", "--locked", "--test", "exploration", "--test", "conformance", "--test", "actors"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", target)
        .output()?;
    ensure!(output.status.success(), "the copy does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    let mut programs = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        if let (Some(name), Some(path)) = (message["target"]["name"].as_str(), message["executable"].as_str()) {
            programs.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    Ok(programs)
}

/// How a test ended.
enum End {
    Passed,
    Failed(String),
    Hung,
}

fn test(programs: &BTreeMap<String, PathBuf>, name: &str, mutant: &str, at_most: &str) -> Result<End> {
    let (file, filter) = name.split_once("::").unwrap_or((name, "every_crash_point"));
    let program = programs.get(file).with_context(|| format!("there is no test {file}"))?;
    let mut command = Command::new(program);
    command.arg(filter).env("EXPLORE_AT_MOST", at_most).env("EXPLORE_SEEDS", SEEDS);
    command.env(SWITCH, mutant).env("RUST_BACKTRACE", "0").env_remove("EXPLORE");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (mut out, mut err) = (child.stdout.take().context("its output")?, child.stderr.take().context("its errors")?);
    let reader = std::thread::spawn(move || std::io::read_to_string(&mut out));
    let errors = std::thread::spawn(move || std::io::read_to_string(&mut err));
    let end = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let text = reader.join().unwrap_or_else(|_| Ok(String::new()))?;
    let errors = errors.join().unwrap_or_else(|_| Ok(String::new()))?;
    Ok(match status {
        None => End::Hung,
        Some(status) if status.success() => End::Passed,
        Some(_) => End::Failed(what_failed(&text, &errors)),
    })
}

/// The words of the first failure.
fn what_failed(text: &str, errors: &str) -> String {
    let first = text.lines().find(|line| line.contains("EXPLORE="));
    let failed = || text.lines().find(|line| line.starts_with("test ") && line.ends_with("FAILED"));
    let line = first.or_else(failed).or_else(|| errors.lines().last()).unwrap_or("it ended badly and said nothing");
    line.trim().to_owned()
}

/// Without a mutation everything must pass, or nothing that fails below means anything.
fn baseline(mutations: &[&Mutation], programs: &BTreeMap<String, PathBuf>) -> Result<()> {
    let names: BTreeSet<&str> = mutations.iter().map(|mutation| mutation.caught_by.as_str()).collect();
    for name in names {
        match test(programs, name, "", BASELINE_AT_MOST)? {
            End::Passed => {}
            End::Failed(what) => bail!("{name} fails without a mutation: {what}"),
            End::Hung => bail!("{name} hangs without a mutation"),
        }
    }
    Ok(())
}

/// Tries every mutation, some at once; answers with those that nothing noticed.
fn try_all(mutations: &[&Mutation], programs: &BTreeMap<String, PathBuf>) -> Result<Vec<String>> {
    let next = AtomicUsize::new(0);
    let survivors = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            while let Some(mutation) = mutations.get(next.fetch_add(1, Ordering::Relaxed)) {
                let began = Instant::now();
                let end = test(programs, &mutation.caught_by, &mutation.name, AT_MOST)?;
                let seconds = began.elapsed().as_secs();
                let words = match end {
                    End::Failed(what) => format!("caught by {} in {seconds} s: {what}", mutation.caught_by),
                    End::Passed => format!("SURVIVED {} for {seconds} s: {}", mutation.caught_by, mutation.why),
                    End::Hung => format!("HUNG, which is not caught: {}", mutation.why),
                };
                println!("{}: {words}", mutation.name);
                if !words.starts_with("caught") {
                    // A thread that panicked with the lock would have ended the scope.
                    survivors.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(mutation.name.clone());
                }
            }
            Ok(())
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
    })?;
    Ok(survivors.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}
