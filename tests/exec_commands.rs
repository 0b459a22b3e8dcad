//! Real commands, run to their ends: what comes back of every odd thing that a command can do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use contentd::generator::call::{CallEnd, CallResult};
use contentd::generator::exec::{Environment, ExecSpec, MAX_OUTPUT, execute};

const LONG: Duration = Duration::from_secs(60);

fn spec(dir: &Path, argv: &[&str]) -> ExecSpec {
    ExecSpec {
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        env: Environment::minimal(&|name| (name == "PATH").then(|| "/usr/local/bin:/usr/bin:/bin".into())),
        cwd: dir.to_owned(),
        stdin: None,
        timeout: LONG,
        grace: Duration::from_secs(5),
        max_output: MAX_OUTPUT,
    }
}

fn sh(dir: &Path, script: &str) -> ExecSpec {
    spec(dir, &["sh", "-c", script])
}

fn run(spec: ExecSpec) -> CallResult {
    runtime().block_on(execute(spec))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the process whose id a script wrote into `path` lives.
fn lives(path: &Path) -> bool {
    let pid = fs::read_to_string(path).expect("a pid file");
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn not_started(result: &CallResult) -> &str {
    match &result.end {
        CallEnd::NotStarted(why) => why,
        other => panic!("expected nothing to start: {other:?}"),
    }
}

#[test]
fn output_and_status_come_back() {
    let dir = dir();
    let result = run(sh(dir.path(), "echo out; echo err >&2; pwd; exit 7"));
    assert_eq!(result.end, CallEnd::Exited(7));
    assert_eq!(text(&result.stdout), format!("out\n{}\n", dir.path().display()));
    assert_eq!(text(&result.stderr), "err\n");
    assert!(!result.is_truncated);
}

#[test]
fn a_signal_of_its_own_is_told_from_ours() {
    let dir = dir();
    assert_eq!(run(sh(dir.path(), "kill -SEGV $$")).end, CallEnd::Signalled(11));
    let mut slow = sh(dir.path(), "exec sleep 600");
    slow.timeout = Duration::from_millis(100);
    assert_eq!(run(slow).end, CallEnd::TimedOut);
}

#[test]
fn the_environment_is_exactly_what_was_stated() {
    let dir = dir();
    let mut one = spec(dir.path(), &["env"]);
    one.env.set("ADDED", "value with = and spaces");
    let result = run(one);
    let mut lines: Vec<_> = text(&result.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["ADDED=value with = and spaces", "LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin"]);
}

#[test]
fn no_descriptor_but_the_three_is_inherited() {
    let dir = dir();
    let _open_here = fs::File::create(dir.path().join("open")).expect("created");
    // The listing itself opens one descriptor, which is gone when readlink asks for it.
    let result = run(sh(dir.path(), "for fd in /proc/$$/fd/*; do readlink $fd; done"));
    let links = text(&result.stdout);
    assert!(!links.contains("open"), "{links}");
    assert!(links.lines().all(|link| link == "/dev/null" || link.starts_with("pipe:")), "{links}");
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_with_its_children() {
    let dir = dir();
    let mut stubborn = sh(dir.path(), "trap '' TERM; sh -c 'echo $$ > child; while :; do sleep 1; done' & wait");
    stubborn.timeout = Duration::from_millis(500);
    stubborn.grace = Duration::from_millis(300);
    assert_eq!(run(stubborn).end, CallEnd::TimedOut);
    wait_until("the grandchild is gone", || !lives(&dir.path().join("child")));
}

#[test]
fn a_command_that_heeds_sigterm_has_time_to_clean_up() {
    let dir = dir();
    // The shell goes at once; what it started, with its output elsewhere, still has the grace.
    let script = "sh -c 'trap \"sleep 0.3; echo clean > cleaned; exit\" TERM; echo > ready; \
                  while :; do sleep 0.05; done' >/dev/null 2>&1 & wait";
    let mut polite = sh(dir.path(), script);
    polite.timeout = Duration::from_millis(500);
    assert_eq!(run(polite).end, CallEnd::TimedOut);
    assert!(dir.path().join("cleaned").exists() || !dir.path().join("ready").exists());
}

#[test]
fn a_grandchild_that_holds_the_output_does_not_hold_us() {
    let dir = dir();
    let result = run(sh(dir.path(), "echo done; sleep 600 & echo $! > child"));
    assert_eq!(result.end, CallEnd::Exited(0));
    assert_eq!(text(&result.stdout), "done\n");
    assert!(!result.is_truncated, "whoever holds it is silent");
    assert!(lives(&dir.path().join("child")), "what was left behind in good order is left alone");
    let pid = fs::read_to_string(dir.path().join("child")).expect("a pid file");
    run(spec(dir.path(), &["sh", "-c", "kill \"$1\"", "sh", pid.trim()]));
}

#[test]
fn output_that_a_grandchild_still_writes_is_called_truncated() {
    let dir = dir();
    let result = run(sh(dir.path(), "(while echo more; do sleep 0.01; done) & echo $! > child"));
    assert_eq!(result.end, CallEnd::Exited(0));
    assert!(result.is_truncated);
    // Its next word goes into a closed pipe.
    wait_until("the writer is gone", || !lives(&dir.path().join("child")));
}

#[test]
fn twenty_megabytes_are_drained_and_cut() {
    let dir = dir();
    let result = run(sh(dir.path(), "head -c 20000000 /dev/zero; head -c 17000000 /dev/zero >&2; exit 3"));
    assert_eq!(result.end, CallEnd::Exited(3));
    assert_eq!((result.stdout.len(), result.stderr.len()), (MAX_OUTPUT, MAX_OUTPUT));
    assert!(result.is_truncated);
}

#[test]
fn exactly_the_bound_is_whole() {
    let dir = dir();
    let result = run(sh(dir.path(), "head -c 16777216 /dev/zero"));
    assert_eq!(result.stdout.len(), MAX_OUTPUT);
    assert!(!result.is_truncated);
}

#[test]
fn an_endless_writer_is_ended_by_its_time() {
    let dir = dir();
    let mut endless = spec(dir.path(), &["cat", "/dev/zero"]);
    endless.timeout = Duration::from_millis(300);
    let result = run(endless);
    assert_eq!(result.end, CallEnd::TimedOut);
}

#[test]
fn closed_outputs_and_silence_are_fine() {
    let dir = dir();
    let result = run(sh(dir.path(), "exec >&- 2>&-; sleep 0.1; exit 4"));
    assert_eq!((result.end, result.is_truncated), (CallEnd::Exited(4), false));
    let result = run(spec(dir.path(), &["true"]));
    assert_eq!((result.end, result.stdout.len(), result.stderr.len()), (CallEnd::Exited(0), 0, 0));
}

#[test]
fn what_cannot_start_names_the_path_and_the_cure() {
    let dir = dir();
    let here = |name: &str| dir.path().join(name).display().to_string();
    fs::write(dir.path().join("plain"), "#!/bin/sh\n").expect("written");
    fs::create_dir(dir.path().join("folder")).expect("made");
    for (name, body) in [("orphan", "#!/no/such/interpreter\n"), ("empty", "")] {
        fs::write(dir.path().join(name), body).expect("written");
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o755)).expect("set");
    }
    let cases = [
        (vec!["no-such-program-anywhere"], "PATH (/usr/local/bin:/usr/bin:/bin): install it"),
        (vec!["./missing"], "does not exist: install it"),
        (vec!["./plain"], "is not executable: chmod +x"),
        (vec!["./folder"], "is a directory"),
        (vec!["./orphan"], "interpreter in its first line does not exist"),
        (vec!["./empty"], "a script needs a first line"),
        (vec!["true", "a\0b"], "NUL byte"),
        (vec![""], "the command is empty"),
        (vec![], "the command is empty"),
    ];
    for (argv, expected) in cases {
        let result = run(spec(dir.path(), &argv));
        let why = not_started(&result);
        assert!(why.contains(expected), "{argv:?}: {why}");
        if let Some(name) = argv.first().and_then(|name| name.strip_prefix("./")) {
            assert!(why.contains(&here(name).replace("./", "")) || why.contains(name), "{argv:?}: {why}");
        }
    }
    let result = run(spec(&dir.path().join("nowhere"), &["true"]));
    assert!(not_started(&result).contains("nowhere does not exist: create it"), "{result:?}");
    let result = run(spec(&dir.path().join("plain"), &["true"]));
    assert!(not_started(&result).contains("is not a directory"), "{result:?}");
    let long = "x".repeat(200_000);
    let result = run(spec(dir.path(), &["true", &long]));
    assert!(not_started(&result).contains("too long"), "{}", not_started(&result));
}

#[test]
fn dropping_the_future_ends_the_group_and_reaps() {
    let dir = dir();
    let runtime = runtime();
    let mut forgotten = sh(dir.path(), "echo $$ > parent; sh -c 'echo $$ > child.new; mv child.new child; sleep 600'");
    forgotten.grace = Duration::from_millis(200);
    runtime.block_on(async {
        let call = execute(forgotten);
        let child = dir.path().join("child");
        let seen = async {
            while !child.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            result = call => panic!("ended by itself: {result:?}"),
            () = seen => {}
        }
    });
    wait_until("the grandchild is gone", || !lives(&dir.path().join("child")));
    let parent = fs::read_to_string(dir.path().join("parent")).expect("a pid file");
    wait_until("the child is reaped", || !Path::new(&format!("/proc/{}", parent.trim())).exists());
}

#[test]
fn many_at_once_do_not_mix() {
    let dir = dir();
    runtime().block_on(async {
        let calls = (0..40).map(|n| execute(sh(dir.path(), &format!("echo {n}; exit {n}"))));
        for (n, result) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
            assert_eq!(result.end, CallEnd::Exited(i32::try_from(n).expect("small")));
            assert_eq!(text(&result.stdout), format!("{n}\n"));
        }
    });
}
