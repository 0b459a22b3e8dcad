//! A canary: generators that say their secret wherever they can. Afterwards it must stand nowhere but where it was given.
//!
//! The secrets are of three kinds: a plain one, one that JSON and addresses write otherwise, and one of several lines. The
//! journal and real users are looked at on a real systemd (`scripts/test-systemd roles`).

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/tally.rs"]
mod tally;

use std::fs;
use std::path::{Path, PathBuf};

use daemon::{Daemon, Setup};
use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};
use serde_json::{Value, json};

const PLAIN: &str = "canary-plain-5f2a9c81";
const ESCAPED: &str = "canary/\"esc\\aped\" ключ+77";
const LINES: &str = "canary-line-one\ncanary-line-two";

/// What must not be found: each secret as it is, and as JSON or an address has it.
const TRACES: &[&str] = &[
    PLAIN,
    ESCAPED,
    "canary/\\\"esc\\\\aped\\\"",
    "canary\\/\\\"esc",
    "canary%2F%22esc",
    "canary-line-one",
    "canary-line-two",
];

/// Says its secrets in every way that a verb has: as a reference, a state, an error, progress, a piece, and on both
/// outputs. `$1` is the verb, `$2` the topic or reference. The words lie ready in files, see [`write_words`].
const LEAK: &str = r#"#!/bin/sh
case "$2" in *fail*) end=fail ;; *) end=done ;; esac
printf "%s: %s %s %s\n" "$1" "$PLAIN_KEY" "$ESCAPED_KEY" "$LINES_KEY" >&2
env >&2
cat "WORDS/stderr" >&2
case "$2" in *reject*) echo "rejected: $PLAIN_KEY" >&2; exit 65 ;; esac
cat "WORDS/$1-$end"
case "$1 $end" in "run fail") exit 3 ;; esac
"#;

/// What the canary says, by verb and end.
fn write_words(dir: &Path) {
    let every = format!("{PLAIN} {ESCAPED} {LINES}");
    let ascii = |value: &Value| {
        let escape = |char: char| if char.is_ascii() { char.to_string() } else { format!("\\u{:04x}", char as u32) };
        value.to_string().chars().map(escape).collect::<String>()
    };
    let said = |verb: &str, text: &str| fs::write(dir.join(verb), text).expect("the directory is ours");
    said(
        "stderr",
        &format!("{} {} {}", json!(every), ascii(&json!(every)), json!(every).to_string().replace('/', "\\/")),
    );
    for end in ["done", "fail"] {
        said(&format!("submit-{end}"), &json!({ "ref": format!("job {PLAIN} {ESCAPED} {end}") }).to_string());
        let state = json!({ "state": end, "error": every, "progress": every });
        said(&format!("poll-{end}"), &if end == "fail" { state.to_string() } else { ascii(&state) });
        said(&format!("run-{end}"), &format!("# A piece of one go with {PLAIN}\n\n{every}"));
    }
    let images = ["https://example.org/?key=canary%2F%22esc%5Caped%22%20%D0%BA%D0%BB%D1%8E%D1%87%2B77"];
    let piece = json!({ "content": format!("# A piece with {PLAIN}\n\n{every}"), "html": every, "images": images });
    said("fetch-done", &piece.to_string());
}

const SECTIONS: &str = r#"
[generators.leak]
secrets = { PLAIN_KEY = "plain", ESCAPED_KEY = "escaped", LINES_KEY = "lines" }
[generators.leak.submit]
run = ["LEAK", "submit", "{topic}"]
ref = "json:/ref"
rules = [ { exit = 65, stderr = "rejected: ", then = "rejected" } ]
[generators.leak.poll]
run = ["LEAK", "poll", "{ref}"]
state = "json:/state"
error = "json:/error"
progress = "json:/progress"
[generators.leak.fetch]
run = ["LEAK", "fetch", "{ref}"]
content = "json:/content"
html = "json:/html"
images = "json:/images"
[generators.leak.states]
done = "completed"
fail = "failed"
[generators.go]
secrets = { PLAIN_KEY = "plain", ESCAPED_KEY = "escaped", LINES_KEY = "lines" }
[generators.go.submit]
run = ["LEAK", "run", "{topic}"]
content = "text"
# Without secrets: what it sees of its surroundings is a piece.
[generators.other.submit]
run = ["/bin/sh", "-c", "env; cat /proc/$PPID/cmdline | tr '\\0' ' '; ulimit -c; echo a piece about $0", "{topic}"]
content = "text"
"#;

fn executable(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).expect("the directory is ours");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

fn start(words: &Path) -> Daemon {
    let mut daemon = Daemon::prepared(Setup::default());
    let credentials = daemon.dir().join("credentials");
    fs::create_dir(&credentials).expect("made");
    for (name, value) in [("plain", PLAIN), ("escaped", ESCAPED), ("lines", LINES)] {
        fs::write(credentials.join(name), value).expect("written");
    }
    let leak = daemon.dir().join("leak");
    write_words(words);
    executable(&leak, &LEAK.replace("WORDS", words.to_str().expect("UTF-8")));
    let sections = SECTIONS.replace("LEAK", leak.to_str().expect("UTF-8"));
    daemon.change(|setup| {
        setup.more = sections;
        setup.tasks += "\nmax_retries = 0";
        setup.env.push(("CREDENTIALS_DIRECTORY".to_owned(), credentials.to_string_lossy().into_owned()));
    });
    daemon.spawn();
    daemon.await_answer();
    daemon.ctl(&["account", "add", "--name", "blog"]).exits(0);
    daemon
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("it is ours") {
        let entry = entry.expect("it is ours");
        // Links are looked at where they lead, if that is here.
        if entry.file_type().expect("it is there").is_dir() {
            files_below(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

/// Which of the traces stand in some bytes.
fn traces_in(bytes: &[u8]) -> Vec<&'static str> {
    let has = |trace: &&&str| bytes.windows(trace.len()).any(|window| window == trace.as_bytes());
    TRACES.iter().filter(has).copied().collect()
}

fn limits(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs")
}

#[test]
fn a_generator_that_says_its_secret_everywhere_leaves_no_trace_of_it() {
    let words = tempfile::tempdir().expect("a temporary directory");
    let mut daemon = start(words.path());
    let submit = |generator: &str, topic: &str| {
        let reply = daemon.ctl_json(&["submit", "--account", "blog", "--generator", generator, "--topic", topic]);
        reply["task_id"].as_str().expect("an id").to_owned()
    };
    let tasks: Vec<(String, &str)> = [
        ("leak", "all is well", "completed"),
        ("leak", "to fail", "failed"),
        ("leak", "to reject", "failed"),
        ("go", "all is well", "completed"),
        ("go", "to fail", "failed"),
        ("other", "surroundings", "completed"),
    ]
    .into_iter()
    .map(|(generator, topic, state)| (submit(generator, topic), state))
    .collect();
    daemon.ctl(&["wait", "--all", "--timeout", "60s"]);
    let mut looked = Vec::new();
    let mut ask = |method: &str, parameters: Value| {
        let answer = daemon.try_call(method, &parameters).expect("it answers");
        looked.push((format!("{method} {parameters}"), format!("{answer:?}").into_bytes()));
        answer.unwrap_or_default()
    };
    for (task, state) in &tasks {
        let told = ask("io.contentd.Tasks.Show", json!({ "task": task }));
        assert_eq!(told["task"]["state"], *state, "{told}");
        for method in ["Status", "History", "Log", "Result"] {
            ask(&format!("io.contentd.Tasks.{method}"), json!({ "task": task }));
        }
    }
    // The canary sang: its words are there, with blanks in the place of secrets.
    let piece = ask("io.contentd.Tasks.Result", json!({"task": tasks[0].0}))["content"]["content"].to_string();
    assert!(piece.contains("A piece with [secret]"), "{piece}");
    let piece = ask("io.contentd.Tasks.Result", json!({"task": tasks[3].0}))["content"]["content"].to_string();
    assert!(piece.contains("A piece of one go with [secret]"), "{piece}");
    let log = ask("io.contentd.Tasks.Log", json!({"task": tasks[1].0})).to_string();
    assert!(log.contains("submit: [secret]"), "{log}");
    let surroundings = ask("io.contentd.Tasks.Result", json!({"task": tasks[5].0}))["content"]["content"].to_string();
    assert!(surroundings.contains("contentd-run") && surroundings.contains(" 0\\n"), "{surroundings}");
    for method in ["Tasks.List", "Content.List", "Pool.List", "Daemon.GetStatus", "Daemon.GetConfig", "Daemon.Doctor"] {
        ask(&format!("io.contentd.{method}"), json!({}));
    }
    for generator in ["leak", "go"] {
        ask("io.contentd.Daemon.TryGenerator", json!({ "generator": generator }));
    }
    let backup = ask("io.contentd.Daemon.Backup", json!({}))["file"].as_str().expect("a file").to_owned();
    assert!(Path::new(&backup).exists());
    for name in ["cmdline", "environ"] {
        let path = format!("/proc/{}/{name}", daemon.pid());
        looked.push((path.clone(), fs::read(&path).expect("we may look")));
    }
    assert!(
        limits(daemon.pid())
            .lines()
            .any(|line| line.split_whitespace().eq(["Max", "core", "file", "size", "0", "0", "bytes"]))
    );
    assert!(daemon.terminate().success());
    let mut files = Vec::new();
    files_below(daemon.dir(), &mut files);
    let given = daemon.dir().join("credentials");
    for path in files.iter().filter(|path| !path.starts_with(&given)) {
        // A socket holds nothing.
        looked.push((path.display().to_string(), fs::read(path).unwrap_or_default()));
    }
    assert!(looked.iter().any(|(what, _)| what.ends_with("contentd.db")) && files.len() > 8, "{files:?}");
    let found: Vec<String> = looked
        .iter()
        .filter_map(|(what, bytes)| {
            let traces = traces_in(bytes);
            (!traces.is_empty()).then(|| format!("{what}: {traces:?}"))
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    tally::tell(
        "secrets",
        &format!("{} answers and files without a trace of a secret that was said everywhere", looked.len()),
    );
}

#[test]
fn a_process_that_forbids_core_files_cannot_be_dumped_or_looked_into() {
    contentd::host::core_files::forbid().expect("it may");
    assert_eq!(dumpable_behavior().expect("it tells"), DumpableBehavior::NotDumpable);
    let limit = getrlimit(Resource::Core);
    assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
}
