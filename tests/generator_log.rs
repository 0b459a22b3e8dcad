//! What generators write to standard error, through the real daemon: kept by task, shown by `contentctl log`, in the daemon's log.

#[path = "support/daemon.rs"]
mod daemon;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use daemon::{Daemon, Ran, Setup};
use serde_json::{Value, json};

const SECRET: &str = "sk-0123456789abcdef";

/// A blocking generator that talks: it waits for a file `gate` in its working directory and exits as the topic says.
const TALKER: &str = r#"
[generators.talker]
secrets = { TALKER_KEY = "talker-key" }
cwd = "WORK"

[generators.talker.submit]
run = ["/bin/sh", "-c", """
printf 'began with %s\n\\033[2Jand a colour\n' "$TALKER_KEY" >&2
while [ ! -e gate ]; do sleep 0.02; done
echo ended >&2
echo 'the piece itself'
exit "$1"
""", "talker", "{topic}"]
content = "text"
"#;

fn talking() -> Daemon {
    let mut daemon = Daemon::prepared(Setup::default());
    let credentials = daemon.dir().join("credentials");
    let work = daemon.dir().join("work");
    fs::create_dir(&credentials).expect("made");
    fs::create_dir(&work).expect("made");
    fs::write(credentials.join("talker-key"), SECRET).expect("written");
    daemon.change(|setup| {
        setup.more = TALKER.replace("WORK", work.to_str().expect("UTF-8"));
        setup.env.push(("CREDENTIALS_DIRECTORY".to_owned(), credentials.display().to_string()));
    });
    daemon.spawn();
    daemon.await_answer();
    daemon.ctl(&["account", "add", "--name", "blog"]).exits(0);
    daemon
}

fn open_gate(daemon: &Daemon) {
    fs::write(daemon.dir().join("work/gate"), "").expect("written");
}

fn entries(daemon: &Daemon, task: &str) -> Vec<Value> {
    let log = daemon.ctl_json(&["log", task]);
    log.as_array().expect("an array").clone()
}

fn for_people(daemon: &Daemon, args: &[&str]) -> Ran {
    let mut command = daemon.command(env!("CARGO_BIN_EXE_contentctl"));
    command.env("TZ", "UTC").arg("--socket").arg(daemon.socket()).args(args);
    command.output().expect("contentctl starts").into()
}

/// Nothing that the daemon wrote holds the secret, and no log holds the piece.
fn assert_nothing_leaked(daemon: &Daemon, task: &str) {
    let file = fs::read_to_string(daemon.dir().join(format!("logs/{task}.jsonl"))).expect("there is a log");
    for text in [file, daemon.log()] {
        assert!(!text.contains(SECRET), "{text}");
        assert!(!text.contains("the piece itself"), "{text}");
    }
}

#[test]
fn a_run_is_read_while_it_runs_followed_to_its_end_and_kept() {
    let daemon = talking();
    let task = daemon.submit("0", &["--generator", "talker"]);
    let began = daemon.wait_until("it has written something", || {
        entries(&daemon, &task)
            .first()
            .filter(|entry| entry["text"].as_str().unwrap_or_default().contains("colour"))
            .cloned()
    });
    assert_eq!(began["text"], "began with [secret]\n\u{1b}[2Jand a colour\n");
    assert_eq!((&began["verb"], &began["end"], &began["attempt"]), (&json!("run"), &json!("running"), &json!(1)));

    let mut follow = daemon.contentctl(&["log", &task, "--follow"]);
    let follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("contentctl starts");
    open_gate(&daemon);
    let followed: Ran = follow.wait_with_output().expect("it ends with the task").into();
    let followed = followed.exits(0);
    let told: Vec<Value> =
        followed.out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let text: String = told.iter().filter_map(|entry| entry["text"].as_str()).collect();
    assert_eq!(text, "began with [secret]\n\u{1b}[2Jand a colour\nended\n", "each part once: {told:?}");
    assert_eq!(told.last().expect("the end")["end"], "exit 0");

    daemon.await_state(&task, "completed");
    let kept = entries(&daemon, &task);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!((&kept[0]["end"], &kept[0]["outcome"]), (&json!("exit 0"), &json!("piece")));
    let shown = for_people(&daemon, &["log", &task]).exits(0);
    assert!(shown.out.contains("attempt 1  run (exit 0, piece)\n    began with [secret]\n"), "{shown:?}");
    assert!(shown.out.contains("    \\u{1b}[2Jand a colour") && !shown.out.contains('\u{1b}'), "{shown:?}");
    let csv = for_people(&daemon, &["--output", "csv", "log", &task]).exits(0);
    assert!(csv.out.starts_with("at,attempt,verb,end,outcome,times,last_at,text\n"), "{csv:?}");
    assert_nothing_leaked(&daemon, &task);

    daemon.ctl(&["cleanup", "--days", "0"]).exits(0);
    let path = daemon.dir().join(format!("logs/{task}.jsonl"));
    daemon.wait_until("the log goes with its task", || (!path.exists()).then_some(()));
}

#[test]
fn a_run_that_ends_without_a_daemon_is_told_once_by_the_next() {
    let mut daemon = talking();
    let task = daemon.submit("3", &["--generator", "talker", "--max-retries", "0"]);
    daemon.wait_until("it runs", || entries(&daemon, &task).first().cloned());
    daemon.kill9();
    open_gate(&daemon);
    daemon.restart();
    daemon.await_state(&task, "failed");
    daemon.restart();
    let kept = entries(&daemon, &task);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(
        (&kept[0]["end"], &kept[0]["outcome"], &kept[0]["times"]),
        (&json!("exit 3"), &json!("failed"), &json!(1))
    );
    let log = daemon.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("run (exit 3, failed) wrote:")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(" INFO ") && told[0].contains(&format!("] task_id={task} attempt=1 run")), "{told:?}");
    assert!(!log.contains("MESSAGE_ID"), "fields stand in the journal only");
    assert_nothing_leaked(&daemon, &task);
}

/// The files below a directory that hold a text, but for the credentials themselves.
fn files_with(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("there").flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("known");
        if kind.is_dir() && entry.file_name() != "credentials" {
            found.extend(files_with(&path, text));
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            found.extend(bytes.windows(text.len()).any(|part| part == text.as_bytes()).then_some(path));
        }
    }
    found
}

#[test]
fn a_secret_that_was_changed_or_removed_during_a_run_is_told_nowhere() {
    type Deed = fn(&Path);
    let deeds: [(Deed, &str); 2] = [
        (|path| fs::write(path, "sk-another-0123456").expect("written"), "was changed since the run began"),
        (|path| fs::remove_file(path).expect("removed"), "cannot be read"),
    ];
    for (deed, why) in deeds {
        let mut daemon = talking();
        let task = daemon.submit("3", &["--generator", "talker", "--max-retries", "0"]);
        daemon.wait_until("it runs", || entries(&daemon, &task).first().cloned());
        daemon.kill9();
        deed(&daemon.dir().join("credentials/talker-key"));
        daemon.restart();
        let seen = daemon.wait_until("it is looked at", || entries(&daemon, &task).first().cloned());
        assert!(seen["text"].as_str().is_some_and(|text| text.contains(why)), "{seen}");
        open_gate(&daemon);
        let failed = daemon.await_state(&task, "failed");
        let error = failed["error"].as_str().unwrap_or_default();
        assert!(error.starts_with("exit 3; what it wrote is kept back") && error.contains(why), "{failed}");
        let kept = entries(&daemon, &task);
        assert!(kept[0]["text"].as_str().is_some_and(|text| text.contains(why)), "{kept:?}");
        let runs = daemon.dir().join("runs/v1");
        daemon.wait_until("the run is cleared away", || fs::read_dir(&runs).ok()?.next().is_none().then_some(()));
        assert_eq!(files_with(daemon.dir(), SECRET), Vec::<PathBuf>::new(), "neither logs nor the database have it");
    }
}

/// Writes 12 MiB at once, and then a line for each file `tick N`.
const NOISY: &str = r#"
[generators.noisy]
cwd = "WORK"

[generators.noisy.submit]
run = ["/bin/sh", "-c", """
head -c 12582912 /dev/zero | tr '\\0' n >&2
tick=1
while [ ! -e gate ]; do
    if [ -e "tick $tick" ]; then echo "tick $tick." >&2; tick=$((tick + 1)); fi
    sleep 0.02
done
echo 'the piece itself'
"""]
content = "text"
"#;

/// Bytes that the daemon has read, from wherever.
fn bytes_read(daemon: &Daemon) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", daemon.pid())).expect("the kernel counts them");
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("reads are counted");
    line.parse().expect("a number")
}

#[test]
fn whoever_follows_a_noisy_run_reads_each_byte_once_at_most() {
    let mut daemon = Daemon::prepared(Setup::default());
    let work = daemon.dir().join("work");
    fs::create_dir(&work).expect("made");
    daemon.change(|setup| setup.more = NOISY.replace("WORK", work.to_str().expect("UTF-8")));
    daemon.spawn();
    daemon.await_answer();
    daemon.ctl(&["account", "add", "--name", "blog"]).exits(0);
    let task = daemon.submit("noise", &["--generator", "noisy"]);
    let run = daemon.wait_until("there is a run", || {
        let runs = fs::read_dir(daemon.dir().join("runs/v1")).ok()?;
        runs.flatten().next().map(|run| run.path())
    });
    daemon.wait_until("it has made its noise", || {
        (fs::metadata(run.join("stderr")).ok()?.len() == 12 << 20).then_some(())
    });
    let told = daemon.dir().join("told");
    let out = fs::File::create(&told).expect("made");
    let mut follow = daemon.contentctl(&["log", &task, "--follow"]).stdout(out).spawn().expect("contentctl starts");
    let is_told = |text: &str| fs::read_to_string(&told).ok().filter(|told| told.contains(text)).map(drop);
    daemon.wait_until("the noise is told", || is_told("bytes left out"));
    let before = bytes_read(&daemon);
    for tick in 1..=5 {
        fs::write(work.join(format!("tick {tick}")), "").expect("written");
        daemon.wait_until("the line is told", || is_told(&format!("tick {tick}.")));
    }
    let read = bytes_read(&daemon) - before;
    assert!(read < 12 << 20, "five looks read {read} bytes to tell five lines");
    fs::write(work.join("gate"), "").expect("written");
    daemon.await_state(&task, "completed");
    assert!(follow.wait().expect("it ends with the task").success());
    let text = fs::read_to_string(&told).expect("there");
    assert!(text.len() < 4 * (64 << 10), "{} bytes were told", text.len());
}

#[test]
fn short_calls_are_kept_by_verb_and_silence_is_said() {
    let daemon = Daemon::start();
    let noisy = daemon.submit("Tea [sample:noise]", &[]);
    daemon.await_state(&noisy, "completed");
    let kept = entries(&daemon, &noisy);
    let verbs: Vec<&str> = kept.iter().filter_map(|entry| entry["verb"].as_str()).collect();
    assert_eq!(verbs, ["submit", "poll", "fetch"], "{kept:?}");
    assert!(
        kept.iter().all(|entry| entry["text"].as_str().is_some_and(|text| text.contains("thinking..."))),
        "{kept:?}"
    );
    assert_eq!(kept[0]["outcome"], "accepted");

    let rejected = daemon.submit("Tea [sample:reject]", &[]);
    daemon.await_state(&rejected, "failed");
    let kept = entries(&daemon, &rejected);
    assert_eq!((&kept[0]["end"], &kept[0]["outcome"]), (&json!("exit 65"), &json!("rejected")));
    assert!(
        daemon
            .log()
            .contains(&format!("task_id={rejected} attempt=1 submit (exit 65, rejected) wrote:\n    rejected: "))
    );

    let quiet = daemon.submit("Tea", &[]);
    daemon.await_state(&quiet, "completed");
    let shown = for_people(&daemon, &["log", &quiet]).exits(0);
    assert_eq!(shown.out, "");
    assert!(shown.err.contains("has written nothing to standard error"), "{shown:?}");
    assert_eq!(daemon.ctl_json(&["log", &quiet]), json!([]));
    let followed = for_people(&daemon, &["log", "--follow", &quiet]).exits(0);
    assert_eq!(followed.out, "", "the task has ended, and so does the following");
    assert!(followed.err.contains("nothing on standard error yet; following"), "{followed:?}");
    let missing = for_people(&daemon, &["log", "task-zzzzzzzzzzzz"]).exits(1);
    assert!(missing.err.contains("no task"), "{missing:?}");
}

#[test]
fn a_log_directory_that_cannot_be_written_costs_no_task() {
    let mut daemon = Daemon::prepared(Setup::default());
    fs::write(daemon.dir().join("logs"), "a file in place of the directory").expect("written");
    daemon.spawn();
    daemon.await_answer();
    daemon.ctl(&["account", "add", "--name", "blog"]).exits(0);
    let task = daemon.submit("Tea [sample:noise]", &[]);
    daemon.await_state(&task, "completed");
    daemon.wait_until("it is said once", || {
        (daemon.log().matches("what generators write to standard error cannot be kept").count() == 1).then_some(())
    });
    daemon.ctl(&["log", &task]).exits(1);
}
