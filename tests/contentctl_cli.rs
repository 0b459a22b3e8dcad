//! contentctl as people and scripts use it: the real binary against a scripted daemon.

#[path = "support/fake_backend.rs"]
#[allow(dead_code)]
mod fake_backend;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use fake_backend::{TestServer, change, eventually};
use serde_json::Value;

/// What one run came to.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {:?} / {:?}", self.out, self.err))
    }
}

fn command(server: &TestServer, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contentctl"));
    command.arg("--socket").arg(&server.path).args(args).env("TZ", "Asia/Shanghai").env_remove("CONTENTD_SOCKET");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ran(mut command: Command) -> Ran {
    let output = command.output().expect("it runs");
    Ran {
        code: output.status.code().expect("it exits"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn run(server: &TestServer, args: &[&str]) -> Ran {
    ran(command(server, args))
}

fn run_with_input(server: &TestServer, args: &[&str], input: &[u8]) -> Ran {
    let mut child = command(server, args).stdin(Stdio::piped()).spawn().expect("it runs");
    // What is refused for its options ends without reading anything.
    let written = child.stdin.take().expect("a pipe").write_all(input);
    let is_left = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    assert!(written.as_ref().err().is_none_or(is_left), "{written:?}");
    let output = child.wait_with_output().expect("it ends");
    Ran {
        code: output.status.code().expect("it exits"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

#[test]
fn submit_prints_id_and_state_alone_on_standard_output() {
    let server = TestServer::start();
    let args = ["--output", "json", "submit", "--account", "blog", "--topic", "-人工智能", "--keywords", "a, b，c"];
    let submitted =
        run(&server, &[&args[..], &["--time-limit", "1h", "--priority", "9", "--no-auto-approve"]].concat());
    assert_eq!((submitted.code, submitted.err.as_str()), (0, ""));
    assert_eq!(submitted.json(), serde_json::json!({"task_id": "task-000000000001", "state": "pending"}));
    let kept = server.backend.submitted.lock().expect("no test panics with it");
    let (key, task) = kept.iter().next().expect("one task");
    assert!(key.starts_with("ctl-") && key.len() == 36, "a key of its own: {key}");
    assert_eq!((task.topic.as_str(), task.priority, task.time_limit_s), ("-人工智能", Some(9), Some(3600)));
    assert_eq!((task.keywords.len(), task.auto_approve), (3, Some(false)));
}

#[test]
fn submit_tells_people_what_to_do_next() {
    let server = TestServer::start();
    let submitted = run(&server, &["submit", "-a", "1", "-t", "x"]);
    assert_eq!(submitted.out, "task_id  task-000000000001\nstate    pending\n");
    assert!(submitted.err.contains("contentctl wait task-000000000001"), "{}", submitted.err);
    let checked = run(&server, &["submit", "-a", "1", "-t", "x", "--dry-run"]);
    assert_eq!((checked.code, checked.out.as_str()), (0, ""));
    assert!(checked.err.contains("nothing was submitted"));
    let again = ["submit", "-a", "1", "-t", "x", "--key", "mine"];
    run(&server, &again);
    assert!(run(&server, &again).err.contains("submitted before"));
}

#[test]
fn refusals_exit_1_and_name_field_value_and_cure() {
    let server = TestServer::start();
    let refused = run(&server, &["--output", "json", "submit", "-a", "1", "-t", "x", "--key", "schedule/1"]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(refused.err.contains("key: \"schedule/1\" cannot be taken: a key that does not"), "{}", refused.err);
    assert_eq!(run(&server, &["submit", "-a", "nobody", "-t", "x"]).code, 1);
    let missing = run(&server, &["status", "gone"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("there is no task \"gone\""), "{}", missing.err);
    let ambiguous = run(&server, &["status", "task"]);
    assert!(ambiguous.err.contains("task-a, task-b"), "{}", ambiguous.err);
    assert_eq!(run(&server, &["result", "task-failed"]).code, 1);
    assert!(run(&server, &["reload"]).err.contains("contentd.toml:3: workers"));
}

#[test]
fn usage_exits_2() {
    let server = TestServer::start();
    let wrong: &[&[&str]] = &[
        &["submit"],
        &["submit", "-a", "1"],
        &["no-such-verb"],
        &["wait"],
        &["cancel"],
        &["cancel", "task-a", "--state", "failed"],
        &["settle", "task-a"],
        &["settle", "task-a", "--absent", "--adopt", "x"],
        &["retry", "task-a", "--abandon"],
        &["list", "--output", "xml"],
        &["list", "--since", "yesterday"],
        &["wait", "task-a", "--timeout", "soon"],
        &["call", "x.Y", "no json"],
        &["submit", "-a", "1", "-t", "x", "--priority", "11"],
        &["submit", "-a", "1", "-t", "x", "--time-limit", "soon"],
    ];
    for args in wrong {
        let ran = run(&server, args);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}: {}", ran.err);
    }
}

#[test]
fn usage_says_what_is_missing_and_nothing_else() {
    let server = TestServer::start();
    let release = run(&server, &["release"]);
    assert!(release.code == 2 && release.err.contains("--all for every held task"), "{}", release.err);
    assert_eq!(run(&server, &["release", "--all", "--state", "failed"]).code, 2);
    let entries = run(&server, &["pool", "release"]);
    assert!(entries.code == 2 && entries.err.contains("--all"), "{}", entries.err);
    assert_eq!(run(&server, &["pool", "release", "1", "--all"]).code, 2, "either or");
    // The place of the socket in the environment is no option that a verb needs.
    let mut wait = Command::new(env!("CARGO_BIN_EXE_contentctl"));
    wait.env("CONTENTD_SOCKET", &server.path).arg("wait");
    let wait = ran(wait);
    assert!(wait.code == 2 && wait.err.contains("--all") && !wait.err.contains("--socket"), "{}", wait.err);
    for (args, cure) in [
        (&["account", "set", "news", "--tone", ""][..], "--clear tone"),
        (&["content", "show", "task-0123456789ab"], "contentctl result TASK"),
        (&["pool", "done", "abc", "--reason", "r"], "contentctl pool list"),
    ] {
        let refused = run(&server, args);
        assert!(refused.code == 2 && refused.err.contains(cure), "{args:?}: {}", refused.err);
    }
    assert_eq!(server.calls().len(), 0);
}

#[test]
fn a_word_that_is_not_ours_or_no_text_is_told() {
    use std::os::unix::ffi::OsStrExt;
    let server = TestServer::start();
    let other = run(&server, &["check-database"]);
    assert!(other.code == 2 && other.err.contains("`contentd --check-database`"), "{}", other.err);
    let mut unreadable = command(&server, &["submit", "-a", "1", "-t"]);
    unreadable.arg(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    let unreadable = ran(unreadable);
    assert!(unreadable.code == 2 && unreadable.err.contains("\"caf\u{fffd}\""), "{}", unreadable.err);
    assert_eq!(server.calls().len(), 0);
}

#[test]
fn what_comes_next_is_said() {
    let server = TestServer::start();
    let added = run(&server, &["account", "add", "blog"]);
    assert!(added.err.contains("--account blog "), "{}", added.err);
    let settled = run(&server, &["account", "add", "news", "--tone", "dry", "--priority", "9"]);
    assert_eq!(settled.code, 0, "{}", settled.err);
    let call = server.calls().pop().expect("it was set");
    assert!(call.starts_with("set ") && call.contains("dry") && call.contains('9'), "{call}");
    let nobody = run(&server, &["account", "add"]);
    assert!(nobody.code == 2 && nobody.err.contains("contentctl account add [OPTIONS] <NAME>"), "{}", nobody.err);
    let added = run(&server, &["account", "add", "--name", "two words"]);
    assert!(added.err.contains("--account 1 "), "a shell would take it for two: {}", added.err);
    let none = run(&server, &["pool", "next", "--key", fake_backend::NOTHING_DUE]);
    assert_eq!((none.code, none.out.as_str()), (0, ""), "{}", none.err);
    assert!(none.err.contains("no piece is due") && none.err.contains("pool list"), "{}", none.err);
}

#[test]
fn what_is_done_already_or_meant_by_nobody_is_said() {
    let server = TestServer::start();
    let said = |args: &[&str], code: i32| {
        let ran = run(&server, args);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.err);
        ran.err
    };
    let already = "was paused already, and nothing was changed";
    assert!(said(&["schedule", "pause", "paused"], 0).contains(already));
    assert!(!said(&["schedule", "pause", "s"], 0).contains(already));
    assert!(said(&["schedule", "resume", "s"], 0).contains("was not paused"));
    assert_eq!(said(&["schedule", "resume", "paused"], 0), "");
    assert!(said(&["pool", "done", "80", "--fence", "1"], 0).contains("was published already"));
    assert_eq!(said(&["pool", "done", "1", "--fence", "1"], 0), "");
    let out = run(&server, &["pool", "done", "80", "--fence", "1"]).out;
    assert!(out.contains("https://example.org/80"), "where it is stands there: {out}");
    let doubted = said(&["pool", "show", "50"], 0);
    assert!(doubted.contains("nobody knows whether pool entry 50 is out: site was called 1 time;"), "{doubted}");
    let removed = said(&["pool", "show", "60"], 0);
    assert!(removed.contains("it was not handed out\n"), "it never will be: {removed}");
    let held = said(&["release", "--all"], 0);
    assert!(held.contains("1 held task is not held by a restore: `contentctl settle` decides about it"), "{held}");
    let nobody = said(&["--output", "json", "list", "--generator", "absent"], 0);
    assert!(
        nobody.contains("no generator \"absent\" is configured") && nobody.contains("contentctl status"),
        "{nobody}"
    );
    assert!(
        !said(&["list", "--account", "large", "--generator", "assumed", "--limit", "1"], 0).contains("no generator")
    );
}

#[test]
fn a_message_is_found_by_the_beginning_of_its_id() {
    let server = TestServer::start();
    let shown = run(&server, &["--output", "json", "notice", "show", "4de"]);
    assert_eq!((shown.code, &shown.json()["notice_id"]), (0, &"4de6fdcb9b0".into()), "{}", shown.err);
    assert!(run(&server, &["notice", "show", "4"]).err.contains("several messages"));
    let missing = run(&server, &["notice", "show", "4f1"]);
    assert!(missing.code == 1 && missing.err.contains("there is no message \"4f1\""), "{}", missing.err);
}

#[test]
fn no_daemon_exits_3_at_once_and_says_where_it_looked() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let contentctl = |path: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contentctl"));
        command.env("CONTENTD_SOCKET", path).args(["submit", "-a", "1", "-t", "x", "--retry-for", "1h"]);
        ran(command)
    };
    let path = dir.path().join("none.sock");
    let missing = contentctl(&path);
    assert_eq!(missing.code, 3);
    assert!(
        missing.err.contains(path.to_str().expect("UTF-8"))
            && missing.err.contains("no socket")
            && missing.err.contains("start `contentd`;")
            && !missing.err.contains("systemctl"),
        "{}",
        missing.err
    );
    drop(std::os::unix::net::UnixListener::bind(&path).expect("binds"));
    let refused = contentctl(&path);
    assert_eq!(refused.code, 3);
    assert!(refused.err.contains("nobody listens"), "{}", refused.err);
}

#[test]
fn a_submit_is_repeated_over_a_restart_under_one_key() {
    let server = TestServer::start();
    server.backend.draining_first.store(2, Ordering::SeqCst);
    assert_eq!(run(&server, &["submit", "-a", "1", "-t", "x"]).code, 0);
    assert_eq!(server.calls().len(), 3);
    assert_eq!(server.backend.submitted.lock().expect("no test panics with it").len(), 1);
    server.backend.draining_first.store(usize::MAX, Ordering::SeqCst);
    let stopped = run(&server, &["submit", "-a", "1", "-t", "x", "--retry-for", "0"]);
    assert_eq!(stopped.code, 3);
    assert!(stopped.err.contains("stopping"), "{}", stopped.err);
}

#[test]
fn what_a_daemon_that_ends_has_not_begun_is_asked_of_the_next_one() {
    let server = TestServer::start();
    server.backend.draining_first.store(2, Ordering::SeqCst);
    let list = run(&server, &["list"]);
    assert_eq!((list.code, server.calls().len()), (0, 3));
    assert_eq!(list.err.matches("contentd is draining; waiting up to ").count(), 1, "once: {}", list.err);
    server.backend.draining_first.store(usize::MAX, Ordering::SeqCst);
    let stopped = run(&server, &["list", "--retry-for", "0"]);
    assert!(stopped.code == 3 && stopped.err.contains("stopping"), "{}", stopped.err);
    // Without a next one, what was said is the answer: nothing listens there any more.
    let list = command(&server, &["list"]).spawn().expect("it runs");
    eventually("it was refused", || server.calls().len() > 4);
    assert!(server.stop());
    let last = list.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&last.stderr);
    assert!(last.status.code() == Some(3) && said.contains("stopping"), "{said}");
}

#[test]
fn numbers_of_a_span_stand_beside_none_of_this_moment() {
    let server = TestServer::start();
    let told = |arguments: &[&str]| run(&server, arguments).out;
    let (of_span, of_all) = (told(&["stats", "--since", "1h"]), told(&["stats"]));
    let ahead = run(&server, &["stats", "--since", "2100-01-01", "--by", "day"]);
    assert!(ahead.code == 0 && ahead.err.contains("no day to show"), "{}", ahead.err);
    for name in ["total", "by state"] {
        let is_there = |text: &str| text.lines().any(|line| line.starts_with(name));
        assert!(is_there(&of_all) && !is_there(&of_span), "{name}: {of_all}\n{of_span}");
    }
    assert!(told(&["--output", "json", "stats", "--since", "1h"]).contains("\"total\""), "programs get every field");
    let (of_span, of_all) = (run(&server, &["stats", "--since", "1h"]).err, run(&server, &["stats"]).err);
    assert!(of_all.contains("of all tasks that are kept") && !of_span.contains("of all"), "{of_all}\n{of_span}");
    assert!(of_span.contains("retries: how often tasks were tried again"), "{of_span}");
}

#[test]
fn a_file_is_all_or_nothing_and_tells_every_fault() {
    let server = TestServer::start();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("topics.jsonl");
    let file = path.to_str().expect("UTF-8");
    std::fs::write(&path, "{\"account\":1,\"topic\":\"\"}\n{\"account\":1,\"topic\":\"t\",\"priority\":\"x\"}\n")
        .expect("writes");
    let refused = run(&server, &["submit", "--file", file]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(refused.err.contains(&format!("{file}:1: topic: ")), "{}", refused.err);
    assert!(refused.err.contains(&format!("{file}:2: priority: ")), "{}", refused.err);
    assert_eq!(server.calls().len(), 0, "nothing is sent");
    let table = "account,topic,keywords\n1,人工智能,\"a,b\"\n2,x,\n";
    let submitted = run_with_input(&server, &["--output", "json", "submit", "--file", "-"], table.as_bytes());
    assert_eq!((submitted.code, submitted.err.as_str()), (0, ""));
    assert_eq!(submitted.json().as_array().expect("an array").len(), 2);
    assert!(server.calls()[0].starts_with("submit 2 of "));
    assert_eq!(run(&server, &["submit", "--file", "/no/such/file"]).code, 1);
    let text = dir.path().join("topics.txt");
    std::fs::write(&text, "Salt: a history\n\n  Silk, and how it is made\r\n").expect("writes");
    let lines = run(&server, &["submit", "--account", "1", "--file", text.to_str().expect("UTF-8")]);
    assert_eq!((lines.code, server.calls().len()), (0, 2), "a line is a topic: {}", lines.err);
    assert!(
        server.calls()[1].starts_with("submit 2 of ") && lines.err.contains("contentctl wait --all"),
        "{}",
        lines.err
    );
}

#[test]
fn a_text_of_topics_needs_an_account() {
    let server = TestServer::start();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("topics.txt");
    std::fs::write(&path, "Salt\n".repeat(200)).expect("writes");
    let refused = run(&server, &["submit", "--file", path.to_str().expect("UTF-8")]);
    assert_eq!((refused.code, refused.err.lines().count()), (2, 1), "once, and not for each line: {}", refused.err);
    assert!(refused.err.contains("--account"), "{}", refused.err);
    let piped = run_with_input(&server, &["submit", "--file", "-", "-a", "blog"], b"Salt: a history\n");
    assert!(piped.code == 1 && piped.err.contains("read as CSV"), "{}", piped.err);
    assert_eq!(server.calls().len(), 0);
}

#[test]
fn a_large_file_goes_in_parts_and_is_committed_once() {
    let server = TestServer::start();
    let requirements = "x".repeat(900_000);
    let line = |n: u32| format!("{{\"account\":1,\"topic\":\"t{n}\",\"requirements\":\"{requirements}\"}}\n");
    let file: String = (0..12).map(line).collect();
    let submitted = run_with_input(&server, &["--output", "csv", "submit", "--file", "-"], file.as_bytes());
    assert_eq!((submitted.code, submitted.err.as_str()), (0, ""));
    assert_eq!(submitted.out.lines().count(), 13);
    let calls = server.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(calls[0].starts_with("submit 12 of "));
}

#[test]
fn lists_are_tables_arrays_and_csv() {
    let server = TestServer::start();
    let table = run(&server, &["list", "--limit", "2", "--state", "failed,pending", "--since", "24h"]);
    let lines: Vec<&str> = table.out.lines().collect();
    assert!(lines[0].starts_with("TASK               STATE    PRI  ACCOUNT  CREATED"), "{}", table.out);
    assert!(lines[1].contains("2026-01-31 16:15:30"), "local time: {}", table.out);
    assert!(lines[1].contains("人工智能 \\u{1b}[31mred"), "escaped: {}", table.out);
    assert!(!table.out.contains('\u{1b}'));
    let json = run(&server, &["--output", "json", "list", "--limit", "2"]).json();
    let fields: Vec<&String> = json[0].as_object().expect("an object").keys().collect();
    assert_eq!(fields.len(), 32);
    assert_eq!(json[0]["created_at"], "2026-01-31T08:15:30.250Z");
    let csv = run(&server, &["list", "--limit", "1", "--output", "csv"]).out;
    assert!(csv.starts_with("task_id,state,account_id,topic,keywords,"), "{csv}");
    assert!(csv.contains("\"a,b\""), "{csv}");
    let wrong = run(&server, &["list", "--state", "lost"]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("\"lost\"") && wrong.err.contains("unfinished"), "{}", wrong.err);
}

#[test]
fn in_csv_a_cell_holds_one_value_and_a_row_says_whose_it_is() {
    let server = TestServer::start();
    let csv = |verb: &[&str]| run(&server, &[&["--output", "csv"], verb].concat()).out;
    let list = csv(&["list", "--limit", "1"]);
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[0].ends_with(",ways_out,account") && lines[1].ends_with(",blog"), "{list}");
    assert!(csv(&["status", "task-a"]).trim_end().ends_with(",blog"));
    assert!(csv(&["content", "list"]).trim_end().ends_with(",blog"));
    let status = csv(&["status"]);
    assert!(status.starts_with("key,value\n") && status.contains("\ntasks.pending,2\n"), "{status}");
    assert!(status.contains("\npublishers.0.name,site\n"), "{status}");
    assert!(csv(&["health"]).starts_with("name,status,text,value,limit,"));
    let told = csv(&["notice", "list"]);
    assert!(told.starts_with("notice_id,kind,") && told.contains(",mail delivered\n"), "{told}");
    let given = csv(&["pool", "next", "--limit", "1"]);
    assert!(given.contains(",content.content_id,content.title,content.content\n") && given.contains(",7,"), "{given}");
    assert!(csv(&["stats"]).contains(",by_state.pending,"));
    for verb in [&["schedule", "show", "s"][..], &["schedule", "list"]] {
        let shown = csv(verb);
        let columns = |line: usize| shown.lines().nth(line).expect("a line").split(',').collect::<Vec<_>>();
        let place = columns(0).iter().position(|name| *name == "accounts").expect("a column");
        assert_eq!(columns(1)[place], "blog", "{shown}");
    }
    let entry = csv(&["pool", "show", "1"]);
    assert!(entry.starts_with("pool_id,content_id,") && entry.contains(",handouts.holder,"), "{entry}");
    assert!(entry.lines().count() == 2 && entry.contains(",1000:ada,"), "{entry}");
    assert!(csv(&["workers"]).starts_with("worker_id,state,task_id,since,"));
    let task = csv(&["show", "task-a"]);
    assert!(task.starts_with("task_id,state,") && task.contains(",result,attempts.attempt,"), "{task}");
    assert!(task.lines().nth(1).is_some_and(|row| row.contains(",raw,") && row.ends_with(",blog")), "{task}");
    for verb in [&["content", "list"][..], &["review", "list"]] {
        let list = csv(verb);
        assert!(!list.contains(",content,") && list.contains(",review_reason,account\n"), "{list}");
        assert!(list.contains(",the task asks for a review,blog\n"), "{list}");
    }
    for verb in [&["metrics"][..], &["call", "io.contentd.Daemon.Ping"]] {
        let refused = run(&server, &[&["--output", "csv"], verb].concat());
        assert!(refused.code == 2 && refused.err.contains("--output: \"csv\""), "{verb:?}: {}", refused.err);
    }
    for verb in [&["status"][..], &["pool", "show", "1"], &["workers"], &["pause"], &["notice", "list"], &["stats"]] {
        assert!(!csv(verb).contains("[{") && !csv(verb).contains("{\""), "{verb:?}: {}", csv(verb));
    }
}

#[test]
fn long_lists_are_asked_for_in_pages() {
    let server = TestServer::start();
    let all = run(&server, &["--output", "json", "list", "--limit", "5000"]).json();
    let all = all.as_array().expect("an array");
    assert_eq!(all.len(), 2500);
    assert_eq!((&all[0]["task_id"], &all[2499]["task_id"]), (&"task-000000002500".into(), &"task-000000000001".into()));
    assert_eq!(server.calls().len(), 3);
}

#[test]
fn a_list_that_stops_at_its_limit_says_that_there_are_more() {
    let server = TestServer::start();
    for (verb, on) in [
        (&["list"][..], "--before task-000000002500 goes on"),
        (&["content", "list"], "--before 7 goes on"),
        (&["review", "list"], "--offset 1 goes on"),
        (&["pool", "list"], "--offset 1 goes on"),
        (&["schedule", "history", "s"], "--before 1 goes on"),
    ] {
        for format in ["table", "json", "csv"] {
            let at = |limit| run(&server, &[&["--output", format], verb, &["--limit", limit]].concat());
            let cut = at("1");
            assert!(cut.err.contains("1 shown, there are more") && cut.err.contains(on), "{verb:?}: {}", cut.err);
            assert!(format != "json" || cut.json().as_array().map(Vec::len) == Some(1), "{verb:?}: {}", cut.out);
            assert!(!at("3000").err.contains(" shown, "), "{verb:?}");
        }
    }
}

#[test]
fn the_size_of_a_list_stands_in_the_list_of_schedules() {
    let server = TestServer::start();
    let listed = run(&server, &["--output", "json", "schedule", "list"]);
    assert_eq!(listed.json()[0]["list_size"], 1, "{}", listed.err);
    assert!(run(&server, &["schedule", "list"]).out.contains("0 of 1"));
}

#[test]
fn a_fire_is_a_line_and_its_tasks_are_named() {
    let server = TestServer::start();
    let fired = run(&server, &["schedule", "run", "s"]);
    assert_eq!(fired.out, "s: fire 1 has begun; `contentctl schedule history s` tells what became of it\n");
    let history = run(&server, &["schedule", "history", "s"]);
    assert!(history.out.contains("TASK IDS") && history.out.contains("task-a, task-b"), "{}", history.out);
}

#[test]
fn where_there_is_nothing_a_word_says_so_and_no_heading() {
    let server = TestServer::start();
    for (verb, word) in [
        (&["list", "--generator", "absent"][..], "no generator"),
        (&["pool", "show", "70"], "it was not handed out yet"),
        (&["status"], "no generator is configured"),
        (&["workers"], "0 of 0 busy"),
    ] {
        let shown = run(&server, verb);
        assert!(shown.err.contains(word), "{verb:?}: {}", shown.err);
        let is_heading =
            |line: &str| ["TASK ", "FENCE ", "GENERATOR ", "WORKER "].iter().any(|one| line.starts_with(one));
        assert!(!shown.out.lines().any(is_heading), "{verb:?}: {}", shown.out);
    }
}

#[test]
fn several_are_cancelled_and_those_that_cannot_be_are_told() {
    let server = TestServer::start();
    let one = run(&server, &["--output", "json", "cancel", "task-a"]);
    assert_eq!(one.json(), serde_json::json!({"task_id": "task-a", "state": "cancelled"}));
    let late = run(&server, &["cancel", "task-done"]);
    assert_eq!(late.code, 1);
    assert!(late.err.contains("it is completed"), "{}", late.err);
    let some = run(&server, &["--output", "json", "cancel", "task-a", "gone"]);
    assert_eq!((some.code, &some.json()["done_count"], &some.json()["skipped_count"]), (1, &1.into(), &1.into()));
    let fitting = run(&server, &["retry", "--state", "failed", "--error", "429", "--dry-run", "--reset-count"]);
    assert_eq!(fitting.code, 0, "what a filter passes over is no refusal: {}", fitting.err);
    let call = server.calls().pop().expect("a call");
    assert!(call.contains("reset_count: true") && call.ends_with("true"), "{call}");
    let none = run(&server, &["retry", "--state", "failed", "--generator", "none-can-be"]);
    assert_eq!(none.code, 1, "it met one and did nothing: {}", none.err);
    assert!(none.err.contains("1 skipped") && none.err.contains("task-done"), "{}", none.err);
}

#[test]
fn a_delay_that_stands_is_told_with_a_retry() {
    let server = TestServer::start();
    let later = run(&server, &["retry", "task-later"]);
    assert_eq!((later.code, later.out.as_str()), (0, "task-later: retried; it is pending now\n"), "{}", later.err);
    let said = "task-later: not before 2100-01-01 08:00:00: `contentctl set task-later --delay 0` starts it now";
    assert!(later.err.contains(said), "{}", later.err);
    for args in [&["retry", "task-a"][..], &["retry", "task-later", "--dry-run"], &["cancel", "task-later"]] {
        let other = run(&server, args);
        assert!(other.code == 0 && !other.err.contains("not before"), "{args:?}: {}", other.err);
    }
    assert_eq!(run(&server, &["--output", "json", "retry", "task-later"]).err, "");
}

#[test]
fn wait_says_how_it_ended() {
    let server = TestServer::start();
    let done = run(&server, &["--output", "json", "wait", "task-done"]);
    assert_eq!((done.code, &done.json()["state"]), (0, &"completed".into()));
    assert!(done.err.contains("task-done: completed"), "progress is told on standard error: {}", done.err);
    let failed = run(&server, &["--output", "json", "wait", "task-done", "task-failed"]);
    assert_eq!((failed.code, failed.json().as_array().expect("an array").len()), (5, 2));
    assert!(failed.err.contains("task-failed: failed (429)"), "{}", failed.err);
    let late = run(&server, &["wait", "task-a", "--timeout", "1"]);
    assert_eq!(late.code, 4);
    assert!(late.err.contains("task-a: pending"), "what has not begun is told at once: {}", late.err);
    assert!(late.err.contains("gave up after 1 s;"), "{}", late.err);
    // So long a drain takes more tries than fit into the time to repeat.
    server.backend.draining_first.store(8, Ordering::SeqCst);
    let drained = run(&server, &["wait", "task-done", "--retry-for", "1"]);
    assert_eq!(drained.code, 0, "a daemon that drains answers: {}", drained.err);
}

#[test]
fn a_submit_that_waits_says_first_what_it_has_submitted() {
    let server = TestServer::start();
    server.backend.is_waiting_for_ever.store(true, Ordering::SeqCst);
    let mut waits =
        command(&server, &["--output", "json", "submit", "-a", "1", "-t", "x", "--wait"]).spawn().expect("it runs");
    let mut first = String::new();
    BufReader::new(waits.stderr.take().expect("a pipe")).read_line(&mut first).expect("it reads");
    let begun: Value = serde_json::from_str(&first).unwrap_or_else(|error| panic!("{error}: {first:?}"));
    // A script that is ended here knows what it has paid for.
    waits.kill().expect("it runs");
    waits.wait().expect("it ends");
    let key = server.backend.submitted.lock().expect("no test panics with it").keys().next().cloned();
    let expected = serde_json::json!({"task_id": "task-000000000001", "key": key, "was_known": false});
    assert_eq!(begun, expected);
    server.backend.is_waiting_for_ever.store(false, Ordering::SeqCst);
    let done = run(&server, &["submit", "-a", "1", "-t", "done", "--key", "mine", "--wait"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.starts_with("task-000000000002 is submitted, under the key mine\n"), "{}", done.err);
    let known = run(&server, &["submit", "-a", "1", "-t", "done", "--key", "mine", "--wait"]);
    assert!(known.err.contains("submitted before under the key mine"), "{}", known.err);
    assert_eq!(run(&server, &["submit", "-a", "1", "-t", "fails", "--wait"]).code, 5);
}

#[test]
fn standard_input_is_read_in_the_form_that_is_said() {
    let server = TestServer::start();
    let text = "Salt: a history\nSilk\n".as_bytes();
    let guessed = run_with_input(&server, &["submit", "-a", "1", "--file", "-"], text);
    assert!(guessed.code == 1 && guessed.err.contains("--format txt"), "{}", guessed.err);
    let args = ["--output", "json", "submit", "-a", "1", "--file", "-", "--format", "txt"];
    let lines = run_with_input(&server, &args, text);
    assert_eq!((lines.code, lines.json().as_array().map(Vec::len)), (0, Some(2)), "{}", lines.err);
    let nobody = run_with_input(&server, &["submit", "--file", "-", "--format", "txt"], text);
    assert!(nobody.code == 2 && nobody.err.contains("--account is missing"), "{}", nobody.err);
    assert_eq!(run(&server, &["submit", "-a", "1", "-t", "x", "--format", "csv"]).code, 2);
}

#[test]
fn a_submit_of_a_file_waits_for_all_of_it() {
    let server = TestServer::start();
    let lines = |topics: &[&str]| {
        topics.iter().map(|topic| format!("{{\"account\":1,\"topic\":\"{topic}\"}}\n")).collect::<String>()
    };
    let wait = |topics: &[&str], format: &str, more: &[&str]| {
        let args = [&["--output", format, "submit", "--file", "-", "--wait"], more].concat();
        run_with_input(&server, &args, lines(topics).as_bytes())
    };
    let done = wait(&["done", "done"], "json", &[]);
    assert_eq!(done.code, 0, "{}", done.err);
    let ids: Vec<Value> =
        done.json().as_array().expect("an array").iter().map(|task| task["task_id"].clone()).collect();
    let said = done.err.lines().take(2).map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    assert_eq!(
        said.map(|begun| begun["task_id"].clone()).collect::<Vec<_>>(),
        ids,
        "said before, in the order of the file"
    );
    let failed = wait(&["done", "fails", "done"], "table", &[]);
    assert_eq!(failed.code, 5, "{}", failed.err);
    let begun = |line: &str| line.contains(" is submitted, under the key ctl-");
    assert!(failed.err.lines().take(3).all(begun), "{}", failed.err);
    assert!(failed.err.ends_with("3 tasks: 2 completed, 1 failed\n"), "{}", failed.err);
    assert_eq!(failed.out.lines().count(), 4, "{}", failed.out);
    let late = wait(&["done", "goes on"], "json", &["--timeout", "1"]);
    assert_eq!((late.code, late.json().as_array().map(Vec::len)), (4, Some(2)), "{}", late.err);
    assert_eq!(wait(&["done"], "json", &["--timeout", "soon"]).code, 2, "said before anything is paid for");
    assert_eq!(wait(&["done"], "json", &["--dry-run"]).code, 2);

    // More than one call may name, and an answer that no message holds.
    let many = wait(&vec!["done"; 1_001], "csv", &[]);
    assert_eq!((many.code, many.out.lines().count()), (0, 1_002), "{}", many.err);
    assert!(server.calls().contains(&"wait for 1000".to_owned()));
    let large = wait(&["large"; 3], "json", &[]);
    assert_eq!((large.code, large.json().as_array().map(Vec::len)), (0, Some(3)), "{}", large.err);
}

#[test]
fn what_is_handed_out_is_printed_though_a_piece_cannot_be_read() {
    let server = TestServer::start();
    let torn = run(&server, &["--output", "json", "pool", "next", "--limit", "2", "--key", fake_backend::TORN_REQUEST]);
    let given = torn.json();
    assert_eq!((torn.code, &given[0]["fence"], &given[1]["fence"]), (1, &3.into(), &4.into()), "{}", torn.err);
    assert_eq!(given[0]["content"]["content"], Value::Null);
    assert!(given[1]["content"]["content"].as_str().is_some_and(|piece| piece.contains("人工智能")), "{given}");
    assert!(torn.err.contains("contentctl content show 9"), "{}", torn.err);
}

#[test]
fn entries_that_were_named_and_not_released_are_told() {
    let server = TestServer::start();
    assert_eq!(run(&server, &["pool", "release", "1", "2"]).code, 0);
    let some = run(&server, &["--output", "json", "pool", "release", "1", "90", "99"]);
    assert_eq!((some.code, &some.json()["released"]), (1, &serde_json::json!([1])), "{}", some.err);
    assert!(some.err.contains("pool entry 90 is not held, but pending"), "{}", some.err);
    assert!(some.err.contains("there is no pool entry 99"), "{}", some.err);
    let all = run(&server, &["pool", "release", "--all"]);
    assert_eq!(all.code, 0, "nobody was named: {}", all.err);
}

#[test]
fn a_wrong_fence_of_an_entry_that_nobody_has_is_told_with_its_state() {
    let server = TestServer::start();
    for word in [&["pool", "done", "1", "--fence", "5"][..], &["pool", "fail", "1", "--fence", "5", "--error", "no"]] {
        let refused = run(&server, word);
        let said = "pool entry 1 is pending: nobody has it, it was never handed out with fence 5";
        assert!(refused.code == 1 && refused.err.contains(said), "{}", refused.err);
        assert!(refused.err.contains("contentctl pool next") && !refused.err.contains("anew"), "{}", refused.err);
    }
}

#[test]
fn a_publisher_that_is_away_is_told_with_the_way_out() {
    let server = TestServer::start();
    for verb in [&["status"][..], &["pool", "list"]] {
        let shown = run(&server, verb);
        let told = shown.out.clone() + &shown.err;
        assert!(told.contains("connection refused") && told.contains("resume --publisher"), "{verb:?}: {told}");
    }
    for (name, told) in [
        ("site", "its next piece tries it at once"),
        ("slow", "a piece tries it already"),
        ("other", "publisher other is not away"),
    ] {
        let resumed = run(&server, &["resume", "--publisher", name]);
        assert_eq!(resumed.code, 0, "{}", resumed.err);
        assert!(resumed.err.contains(told), "{}", resumed.err);
        assert_eq!(server.calls().last(), Some(&format!("resume Publisher({name:?})")));
    }
    assert_eq!(run(&server, &["resume", "--publisher", "site", "--generator", "g"]).code, 2);
    let both = ["call", "io.contentd.Daemon.Resume", "{\"publisher\": \"site\", \"generator\": \"g\"}"];
    assert!(run(&server, &both).err.contains("publisher: \"site\" cannot be taken"));
}

#[test]
fn a_task_that_is_gone_does_not_end_the_wait_for_the_others() {
    let server = TestServer::start();
    let waited = run(&server, &["--output", "json", "wait", "task-done", "gone", "task-failed"]);
    assert_eq!((waited.code, waited.json().as_array().map(Vec::len)), (5, Some(3)), "{}", waited.err);
    let nothing = serde_json::json!({"task_id": "gone", "state": null, "known": false});
    assert_eq!(waited.json()[2], nothing, "a program has what it named");
    assert_eq!(run(&server, &["--output", "json", "wait", "gone"]).json(), nothing);
    let both = run(&server, &["--output", "json", "wait", "gone", "gone-too"]).json();
    assert_eq!((&both[0], &both[1]["task_id"]), (&nothing, &"gone-too".into()));
    assert!(waited.err.contains("gone: nothing is known of it") && waited.err.contains("2 others"), "{}", waited.err);
    assert_eq!(run(&server, &["wait", "task-done", "gone"]).code, 5, "nobody knows how it ended");
    let late = run(&server, &["wait", "gone", "task-a", "--timeout", "1"]);
    assert_eq!(late.code, 4, "the other was waited for: {}", late.err);
    let two = run(&server, &["wait", "gone", "task-done", "gone-too"]);
    assert_eq!(two.code, 5, "{}", two.err);
    let said = two.err.contains("gone: nothing") && two.err.contains("gone-too: nothing");
    assert!(said && two.err.contains("1 other is waited for"), "{}", two.err);
    for alone in [&["wait", "gone"][..], &["wait", "gone", "gone-too"]] {
        let none = run(&server, alone);
        assert_eq!((none.code, none.out.as_str()), (5, ""), "{}", none.err);
        assert_eq!(none.err.matches("nothing is known of it").count(), alone.len() - 1, "{}", none.err);
    }
}

#[test]
fn a_wait_whose_daemon_is_silent_ends_too() {
    let server = TestServer::start();
    server.backend.is_waiting_for_ever.store(true, Ordering::SeqCst);
    assert_eq!(run(&server, &["wait", "task-a", "--timeout", "0"]).code, 4);
}

#[test]
fn watch_streams_lines_and_a_closed_pipe_is_quiet() {
    let server = TestServer::start();
    let mut child = command(&server, &["--output", "json", "watch"]).spawn().expect("it runs");
    let watchers = || server.backend.watchers.lock().expect("no test panics with it");
    eventually("it watches", || watchers().len() == 1);
    watchers()[0].send(change("task-a")).expect("it reads");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line at once");
    let value: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(value["task"]["task_id"], "task-a");
    drop(out);
    eventually("it ends when nobody reads", || {
        watchers().retain(|watcher| watcher.send(change("task-b")).is_ok());
        child.try_wait().expect("it can be asked").is_some()
    });
    assert_eq!(child.wait().expect("it has ended").code(), Some(0));
    let mut err = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut err).expect("it reads");
    assert_eq!(err, "");
}

#[test]
fn a_watch_names_its_columns_and_what_a_task_is_about() {
    let server = TestServer::start();
    let mut child = command(&server, &["watch"]).spawn().expect("it runs");
    let watchers = || server.backend.watchers.lock().expect("no test panics with it");
    eventually("it watches", || watchers().len() == 1);
    watchers()[0].send(change("task-a")).expect("it reads");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("a line").expect("UTF-8");
    assert!(line().starts_with("AT "));
    let told = line();
    assert!(told.contains("accepted: submitting → submitted") && told.contains("[人工智能"), "{told}");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn pieces_are_printed_as_text_html_or_bytes() {
    let server = TestServer::start();
    let text = run(&server, &["content", "show", "7"]);
    assert_eq!(text.out, "# 人工智能\n\\u{1b}]0;evil\\u{7}正文\n", "a terminal is not obeyed");
    assert_eq!(run(&server, &["result", "task-done", "--raw"]).out, "# 人工智能\n\u{1b}]0;evil\u{7}正文");
    assert_eq!(run(&server, &["content", "show", "7", "--html"]).out, "<h1>人工智能</h1>\n");
    let json = run(&server, &["--output", "json", "result", "task-done"]).json();
    assert_eq!((&json["content_id"], &json["version"]), (&7.into(), &1.into()));
    assert_eq!(json["images"].as_array().map(Vec::len), Some(1), "it came in parts, and each of them once");
    assert_eq!(run(&server, &["--output", "json", "show", "task-a"]).json()["result"], "raw");
    let listed = run(&server, &["--output", "json", "content", "list"]).json();
    assert_eq!(listed[0]["content"], Value::Null, "every field is present, and lists carry no pieces");
    let approved = run(&server, &["content", "approve", "7", "--hash", "abc"]);
    assert_eq!(server.calls().last().map(String::as_str), Some("review true Some(\"abc\")"));
    assert!(approved.out.contains("held_reason     restored from a backup"), "{}", approved.out);
    assert!(approved.err.contains("`contentctl pool release 3`"), "it does not go out by itself: {}", approved.err);
    let approved = run(&server, &["--output", "json", "review", "approve", "7"]).json();
    assert_eq!((&approved["publish_status"], &approved["pool_status"]), (&"pooled".into(), &"held".into()));
    let rejected = run(&server, &["--output", "json", "review", "reject", "7"]).json();
    assert!(rejected.get("pool_status").is_none(), "{rejected}");
    assert_eq!(run(&server, &["content", "show", "8"]).code, 1);
    let gone = run(&server, &["review", "reject", "9", "--again", "shorter"]);
    let said = "content 9 is kept, and its task task-old was deleted by a cleanup";
    assert!(gone.code == 1 && gone.err.contains(said) && gone.err.contains("submit"), "{}", gone.err);
}

#[test]
fn an_editor_that_leaves_no_text_is_told_so_and_its_file_stays() {
    let server = TestServer::start();
    let drafts = tempfile::tempdir().expect("a temporary directory");
    let mut edits = command(&server, &["review", "edit", "7"]);
    edits.env("VISUAL", "printf '\\377' >").env("TMPDIR", drafts.path());
    let refused = ran(edits);
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(
        refused.err.contains("the text is not UTF-8; nothing was changed; what you typed is in"),
        "{}",
        refused.err
    );
    assert_eq!(std::fs::read_dir(drafts.path()).expect("it is there").count(), 1);
}

#[test]
fn every_other_verb_works_in_every_format() {
    let server = TestServer::start();
    let verbs: &[&[&str]] = &[
        &["status"],
        &["status", "task-a"],
        &["status", "task-a", "task-b"],
        &["show", "task-a"],
        &["history", "task-a"],
        &["queue"],
        &["correct", "task-a", "--state", "failed", "--reason", "-"],
        &["settle", "task-a", "--adopt", "-ref"],
        &["settle", "task-a", "--fail", "--reason", "r"],
        &["set", "task-a", "--priority", "9"],
        &["cleanup"],
        &["stats", "--since", "2026-01-01"],
        &["poll", "task-a"],
        &["poll", "--all"],
        &["wait", "--all"],
        &["workers"],
        &["pause", "--generator", "g", "--reason", "r"],
        &["resume", "--account", "1"],
        &["account", "add", "--name", "n"],
        &["account", "list"],
        &["pool", "list"],
        &["pool", "show", "1"],
        &["pool", "next", "--account", "blog", "--lease", "10m", "--limit", "2", "--key", "k"],
        &["pool", "done", "1", "--fence", "1", "--url", "https://example.org/1"],
        &["pool", "done", "1", "--reason", "seen there"],
        &["pool", "fail", "1", "--fence", "1", "--error", "no", "--give-up"],
        &["pool", "renew", "1", "--fence", "1"],
        &["pool", "schedule", "1", "--at", "2h", "--priority", "9"],
        &["pool", "remove", "1"],
        &["metrics"],
        &["config"],
        &["ping"],
        &["version"],
        &["drain"],
        &["call", "io.contentd.Tasks.Status", "{\"task\": \"task-a\"}"],
        &["call", "--more", "io.contentd.Tasks.List"],
    ];
    for verb in verbs {
        let table = run(&server, verb);
        assert_eq!(table.code, 0, "{verb:?}: {}", table.err);
        assert!(!table.out.contains('\u{1b}'), "{verb:?}");
        let json = run(&server, &[&["--output", "json"], *verb].concat());
        assert_eq!((json.code, json.err.as_str()), (0, ""), "{verb:?}");
        json.json();
        let csv = run(&server, &[&["--output", "csv"], *verb].concat());
        let is_text = ["metrics", "call"].contains(&verb[0]);
        assert_eq!(csv.code, if is_text { 2 } else { 0 }, "{verb:?}: {}", csv.err);
    }
    assert!(server.calls().contains(&"cleanup Seconds(604800)".to_owned()));
    run(&server, &["cleanup", "--older-than", "retention", "--dry-run"]);
    assert!(server.calls().contains(&"cleanup Retention".to_owned()));
    assert_eq!(run(&server, &["cleanup"]).out, "3 tasks that finished more than 90d ago: deleted\n");
    let sooner = run(&server, &["cleanup", "--older-than", "12h", "--dry-run"]);
    assert_eq!(
        sooner.out, "3 tasks that finished more than 90d ago: would be deleted; 2 would stay\n",
        "the age is the daemon's word"
    );
    assert!(server.calls().contains(&"cleanup Seconds(43200)".to_owned()));
    let unread = run(&server, &["metrics", "--textfile", "/nowhere/contentd.txt"]);
    assert!(unread.code == 2 && unread.err.contains(".prom"), "{}", unread.err);
    assert_eq!(run(&server, &["cleanup", "--older-than", "soon"]).code, 1);
    assert_eq!(run(&server, &["cleanup", "--older-than", "1d", "--days", "1"]).code, 2);
    let written = run(&server, &["config"]).out;
    assert!(written.contains("workers = 4\n") && written.contains("drain_timeout = \"1m30s\"\n"), "{written}");
    let settings = run(&server, &["--output", "csv", "config"]).out;
    assert!(settings.starts_with("key,value\n") && settings.contains(".workers,4\n"), "{settings}");
}

#[test]
fn without_arguments_it_says_what_it_is_for() {
    let output = Command::new(env!("CARGO_BIN_EXE_contentctl")).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("contentctl submit") && text.lines().count() < 20, "{text}");
}

#[test]
fn pages_and_completions_are_written_without_a_daemon() {
    let place = tempfile::tempdir().expect("a directory");
    let nobody = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contentctl"));
        command.args(["--socket", "/nonexistent/socket"]).args(args).current_dir(place.path());
        ran(command)
    };
    let written = nobody(&["--output", "json", "manual", "share/man"]);
    assert_eq!((written.code, written.err.as_str()), (0, ""));
    let paths: Vec<String> = serde_json::from_value(written.json()).expect("paths");
    let pages = ["man8/contentd.8", "man1/contentctl.1", "man5/contentd.toml.5", "man8/contentd-run.8"];
    assert_eq!(paths, pages.map(|page| format!("share/man/{page}")));
    for path in &paths {
        let page = std::fs::read_to_string(place.path().join(path)).expect("it is there");
        assert!(page.starts_with(".TH ") && !page.contains("@VERBS@"), "{path}");
    }
    let told = nobody(&["manual", "share/man"]);
    assert!(told.out.lines().count() == 4 && told.err.contains("4 manual pages were written"), "{}", told.err);
    let bash = nobody(&["completions", "bash"]);
    assert!(bash.code == 0 && bash.out.contains("complete -F _contentctl"), "{}", bash.err);
    assert!(nobody(&["completions", "zsh", "contentd"]).out.starts_with("#compdef contentd\n"));
    assert_eq!(nobody(&["completions", "csh"]).code, 2);
    let taken = nobody(&["manual", "share/man/man1/contentctl.1"]);
    assert!(taken.code == 1 && taken.err.contains("contentctl.1/man8: "), "{}", taken.err);
}
