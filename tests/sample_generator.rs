//! The sample generator as a program: the contract it keeps, and each way in which it breaks it on demand.
//!
//! Jobs take no time here unless a test is about time, so nothing waits. The surprise: a test of a hang waits for the
//! *proof* of it (the job file, or its absence after the process has said that it started), then kills the process.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A sample generator with a directory of its own.
struct Sample {
    dir: tempfile::TempDir,
}

impl Sample {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sample-generator"));
        command.args(args).env_clear().env("SAMPLE_DIR", self.dir.path()).env("SAMPLE_SECONDS", "0");
        command.env("SAMPLE_HANG_SECONDS", "30").stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the sample generator starts")
    }

    fn run_with(&self, faults: &str, args: &[&str]) -> Output {
        self.command(args).env("SAMPLE_FAULTS", faults).output().expect("the sample generator starts")
    }

    fn create(&self, key: &str, topic: &str) -> Output {
        self.run(&["create", "--mode", "async", &format!("--task-id={key}"), &format!("--topic={topic}")])
    }

    fn status(&self, key: &str) -> Value {
        json(&self.run(&["status", "--json", "--task-id", key]))
    }

    fn result(&self, key: &str) -> Output {
        self.run(&["result", "--json", "--task-id", key])
    }

    fn paid(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.path().join("paid.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    fn spawn(&self, faults: &str, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.env("SAMPLE_FAULTS", faults).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the sample generator starts")
    }
}

fn json(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn assert_refused(output: &Output, code: i32, text: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), stderr.lines().any(|l| l.starts_with(text))), (Some(code), true), "{output:?}");
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn end(mut child: Child) -> std::process::ExitStatus {
    child.kill().expect("the process is ours");
    child.wait().expect("the process is ours")
}

#[test]
fn a_job_is_made_once_for_a_key_and_gives_its_piece() {
    let sample = Sample::new();
    let args =
        ["create", "--type", "x", "--mode", "async", "--topic=云南的茶", "--task-id=k1", "--requirements=[ref:k1]"];
    let args = [&args[..], &["--tone=轻松", "--keywords=普洱, 茶马古道"]].concat();
    assert_eq!(json(&sample.run(&args))["created"], true);
    assert_eq!(json(&sample.run(&args))["created"], false);
    assert_eq!(sample.paid(), ["k1\t云南的茶"]);
    assert_eq!(sample.status("k1")["status"], "completed");
    let piece = json(&sample.result("k1"));
    let content = piece["content"].as_str().expect("a text");
    assert!(content.starts_with("# 云南的茶\n\n## 导语\n\n"), "{content}");
    assert!(["普洱", "茶马古道", "轻松", "## 结语"].iter().all(|part| content.contains(part)), "{content}");
    assert!(piece["htmlContent"].as_str().is_some_and(|html| html.starts_with("<h1>云南的茶</h1>")));
    assert!(piece["qualityScore"].as_f64().is_some_and(|score| (6.0..10.0).contains(&score)));
    let cover = fs::read_to_string(piece["images"][0]["url"].as_str().expect("a path")).expect("the cover exists");
    assert!(cover.starts_with("<svg ") && !cover.contains("data:"));
    assert_eq!(json(&sample.result("k1")), piece, "the same job gives the same piece");
}

#[test]
fn a_job_goes_through_its_states_with_the_clock_and_can_be_cancelled() {
    let sample = Sample::new();
    sample.create("slow", "Tea [sample:seconds=3600]");
    assert_eq!(sample.status("slow")["status"], "submitted");
    assert_refused(&sample.result("slow"), 1, "not ready: ");
    let path = sample.dir.path().join("jobs/slow.json");
    let mut job: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    job["created_at_ms"] = (job["created_at_ms"].as_u64().unwrap() - 1_800_000).into();
    fs::write(&path, job.to_string()).unwrap();
    let status = sample.status("slow");
    assert_eq!((status["status"].as_str(), status["progress"].as_u64()), (Some("processing"), Some(50)));
    for _ in 0..2 {
        assert_eq!(json(&sample.run(&["cancel", "--task-id=slow"]))["status"], "cancelled");
    }
    assert_eq!(sample.status("slow")["status"], "cancelled");
    assert_refused(&sample.result("slow"), 1, "failed: ");
    sample.create("quick", "Tea");
    assert_refused(&sample.run(&["cancel", "--task-id=quick"]), 1, "refused: ");
}

#[test]
fn list_is_newest_first_in_pages_and_carries_the_requirements() {
    let sample = Sample::new();
    for key in ["a", "b", "c"] {
        sample.run(&["create", &format!("--task-id={key}"), "--topic=T", &format!("--requirements=R [ref:{key}]")]);
        // The order is by the millisecond: let it pass.
        let made = Instant::now();
        wait_until("the next millisecond", || made.elapsed() > Duration::from_millis(2));
    }
    let page = |offset: &str| json(&sample.run(&["list", "--json", "--limit", "2", "--offset", offset]));
    let keys = |page: &Value| page.as_array().unwrap().iter().map(|row| row["taskId"].clone()).collect::<Vec<_>>();
    assert_eq!(keys(&page("0")), ["c", "b"]);
    let last = page("2");
    assert_eq!(keys(&last), ["a"]);
    assert_eq!(last[0]["requirements"], "R [ref:a]");
    assert_eq!(last[0]["errorMessage"], Value::Null);
    assert!(last[0]["createdAt"].as_str().is_some_and(|at| at.ends_with('Z') && at.len() == 24), "{last}");
}

#[test]
fn keys_are_names_and_never_paths() {
    let sample = Sample::new();
    for key in ["../x", "", ".", "a/b", "a b", &"x".repeat(129)] {
        assert_refused(&sample.create(key, "T"), 65, "rejected: ");
        assert_refused(&sample.run(&["status", &format!("--task-id={key}")]), 1, "unknown task: ");
    }
    assert!(sample.paid().is_empty());
    assert_eq!(sample.run(&["create", "--mode", "sync", "--topic=T"]).status.code(), Some(2));
}

#[test]
fn many_creates_of_one_key_at_once_are_one_paid_job() {
    let sample = Sample::new();
    let children: Vec<_> = (0..8).map(|_| sample.spawn("", &["create", "--topic=T", "--task-id=k"])).collect();
    let made = children.into_iter().map(|child| json(&child.wait_with_output().unwrap())["created"] == true);
    assert_eq!(made.filter(|made| *made).count(), 1);
    assert_eq!(sample.paid().len(), 1);
}

#[test]
fn write_is_a_blocking_run_that_prints_the_piece() {
    let sample = Sample::new();
    let output = sample.run(&["write", "--key=k", "--", "--help"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("# --help\n"), "{output:?}");
    assert_eq!(sample.paid(), ["k\t--help"]);
    let cut = sample.run(&["write", "--", "T [sample:empty-output]"]);
    assert_eq!((cut.status.code(), cut.stdout.len()), (Some(0), 0));
    assert_refused(&sample.run(&["write", "--", "T [sample:fail]"]), 1, "failed: ");
    assert_refused(&sample.run(&["write", "--", "T [sample:reject]"]), 65, "rejected: ");
    assert_eq!(sample.paid().len(), 3);
}

#[test]
fn the_switches_are_listed_and_documented() {
    let sample = Sample::new();
    let listed = String::from_utf8(sample.run(&["list-faults"]).stdout).unwrap();
    let help = String::from_utf8(sample.run(&["--help"]).stdout).unwrap();
    assert!(listed.lines().count() >= 25);
    for line in listed.lines() {
        let (name, what) = line.split_once('\t').expect("name, tab, text");
        assert!(help.contains(&format!("  {name} ")) && help.contains(what), "{name}");
    }
    assert_eq!(sample.run_with("nonsense", &["list"]).status.code(), Some(2));
    assert_refused(&sample.create("k", "T [sample:nonsense]"), 65, "rejected: topic: fault \"nonsense\"");
}

#[test]
fn fail_and_fail_once_end_a_job_without_a_piece() {
    let sample = Sample::new();
    sample.create("always", "A [sample:fail]");
    let status = sample.status("always");
    assert_eq!((status["status"].as_str(), status["error"].is_string()), (Some("failed"), true));
    assert_refused(&sample.result("always"), 1, "failed: ");
    for (key, state) in [("first", "failed"), ("first", "failed"), ("second", "completed"), ("third", "completed")] {
        sample.create(key, "Tea [sample:fail-once]");
        assert_eq!(sample.status(key)["status"], state, "{key}");
    }
    sample.create("other", "Silk [sample:fail-once]");
    assert_eq!(sample.status("other")["status"], "failed", "each topic has its own count");
}

#[test]
fn reject_retry_unavailable_exit_and_killed_make_no_job() {
    let sample = Sample::new();
    assert_refused(&sample.create("a", "T [sample:reject]"), 65, "rejected: ");
    assert_refused(&sample.create("b", "T [sample:retry-once]"), 73, "try again: ");
    assert_refused(&sample.create("c", "T [sample:unavailable=2]"), 75, "unavailable: ");
    assert_refused(&sample.create("c", "T [sample:unavailable=2]"), 75, "unavailable: ");
    assert_eq!(sample.create("d", "T [sample:exit=42]").status.code(), Some(42));
    assert_eq!(sample.create("e", "T [sample:killed]").status.code(), None);
    assert!(sample.paid().is_empty());
    assert_eq!(json(&sample.create("b", "T [sample:retry-once]"))["created"], true);
    assert_eq!(json(&sample.create("c", "T [sample:unavailable=2]"))["created"], true);
}

#[test]
fn a_switch_can_be_turned_in_a_file_and_limited_to_a_verb() {
    let sample = Sample::new();
    sample.create("k", "T");
    fs::write(sample.dir.path().join("faults"), "status:unavailable\n").unwrap();
    assert_refused(&sample.run(&["status", "--task-id=k"]), 75, "unavailable: ");
    assert_eq!(sample.result("k").status.code(), Some(0));
    fs::remove_file(sample.dir.path().join("faults")).unwrap();
    assert_eq!(sample.status("k")["status"], "completed");
}

#[test]
fn a_hang_before_acceptance_makes_no_job_and_one_after_it_does() {
    let sample = Sample::new();
    let before = sample.spawn("", &["create", "--task-id=before", "--topic=T [sample:hang-before-accept=5]"]);
    // The use of a limited switch is counted right before the hang.
    wait_until("the switch was counted", || has_files(&sample.dir.path().join("counters")));
    let after = sample.spawn("", &["create", "--task-id=after", "--topic=T [sample:hang-after-accept]"]);
    wait_until("the job is paid", || !sample.paid().is_empty());
    assert_eq!(end(before).code(), None);
    assert_eq!(end(after).code(), None);
    assert_eq!(sample.paid().len(), 1);
    assert_eq!(sample.status("after")["status"], "completed");
    assert_refused(&sample.run(&["status", "--task-id=before"]), 1, "unknown task: ");
    let mut hung = sample.command(&["status", "--task-id=after"]);
    let hung = hung.env("SAMPLE_FAULTS", "status:hang").env("SAMPLE_HANG_SECONDS", "0").output().unwrap();
    assert_refused(&hung, 1, "hung for as long as ");
}

fn has_files(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut files| files.next().is_some())
}

#[test]
fn a_job_can_be_made_by_a_create_that_dies_and_twice_by_one_that_doubles() {
    let sample = Sample::new();
    let died = sample.create("k", "T [sample:accept-then-die]");
    assert_eq!((died.status.code(), died.stdout.is_empty()), (Some(1), false));
    assert_eq!(sample.status("k")["status"], "completed");
    sample.run(&["create", "--task-id=two", "--topic=T [sample:double]", "--requirements=[ref:two]"]);
    let rows = json(&sample.run(&["list", "--json"]));
    assert_eq!(rows.as_array().unwrap().iter().filter(|row| row["requirements"] == "[ref:two]").count(), 2);
    assert_eq!(sample.paid().len(), 3);
}

#[test]
fn output_can_be_broken_empty_noisy_half_a_character_or_huge() {
    let sample = Sample::new();
    sample.create("k", "云南的茶");
    let status = |faults: &str| sample.run_with(faults, &["status", "--json", "--task-id=k"]);
    let broken = status("bad-json");
    assert!(
        broken.status.success() && serde_json::from_slice::<Value>(&broken.stdout).is_err() && broken.stdout[0] == b'{'
    );
    assert_eq!(status("empty-output").stdout, b"");
    let noisy = status("noise");
    let text = String::from_utf8(noisy.stdout).unwrap();
    let answer =
        text.lines().rfind(|line| serde_json::from_str::<Value>(line).is_ok()).expect("the answer is in there");
    assert!(answer.contains("\"status\":\"completed\"") && text.contains('\u{1b}') && !noisy.stderr.is_empty());
    let half = sample.run_with("half-character", &["result", "--json", "--task-id=k"]).stdout;
    assert!(String::from_utf8(half.clone()).is_err());
    let mended = String::from_utf8_lossy(&half);
    assert!(serde_json::from_str::<Value>(&mended).is_ok_and(|v| v["content"].as_str().unwrap().contains('\u{fffd}')));
    let huge = status("huge-output=2").stdout;
    assert!(huge.len() > 2_000_000 && huge.ends_with(b"}\n"), "{}", huge.len());
}

#[test]
fn a_job_can_be_missing_stuck_cancelled_by_itself_or_in_an_unknown_state() {
    let sample = Sample::new();
    for fault in ["missing", "stuck", "cancelled", "unknown-state"] {
        assert_eq!(json(&sample.create(fault, &format!("T [sample:{fault}]")))["created"], true);
    }
    for verb in ["status", "result", "cancel"] {
        assert_refused(&sample.run(&[verb, "--task-id=missing"]), 1, "unknown task: missing");
    }
    assert_eq!(sample.status("stuck")["status"], "processing");
    assert_refused(&sample.result("stuck"), 1, "not ready: ");
    assert_eq!(sample.status("cancelled")["status"], "cancelled");
    assert_eq!(sample.status("unknown-state")["status"], "daydreaming");
    let rows = json(&sample.run(&["list", "--json"]));
    let mut states: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["status"].as_str().unwrap()).collect();
    states.sort_unstable();
    assert_eq!(states, ["cancelled", "daydreaming", "processing"]);
    assert_eq!(
        json(&sample.run(&["cancel", "--task-id=stuck"]))["status"],
        "cancelled",
        "a stuck job can be cancelled"
    );
}

#[test]
fn a_result_can_be_late_or_unreadable_and_a_cancel_refused() {
    let sample = Sample::new();
    sample.create("late", "T [sample:not-ready=2]");
    assert_eq!(sample.status("late")["status"], "completed");
    assert_refused(&sample.result("late"), 1, "not ready: ");
    assert_refused(&sample.result("late"), 1, "not ready: ");
    assert!(json(&sample.result("late"))["content"].is_string());
    sample.create("prose", "T [sample:unreadable-result]");
    let prose = sample.result("prose");
    assert!(prose.status.success() && serde_json::from_slice::<Value>(&prose.stdout).is_err());
    sample.create("obstinate", "T [sample:refuse-cancel,seconds=3600]");
    assert_refused(&sample.run(&["cancel", "--task-id=obstinate"]), 1, "refused: ");
    assert_eq!(sample.status("obstinate")["status"], "submitted");
}

#[test]
fn sigterm_can_be_ignored() {
    let sample = Sample::new();
    let mut child = sample.spawn("ignore-term,hang-after-accept", &["create", "--task-id=k", "--topic=T"]);
    wait_until("the job is paid", || !sample.paid().is_empty());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    // Nothing tells when a signal has been ignored: a stop and its report afterwards prove that the process is still there.
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let status = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::UNTRACED).unwrap().unwrap().1;
    assert!(status.stopped(), "{status:?}");
    assert!(child.try_wait().unwrap().is_none());
    end(child);
}

#[test]
fn a_grandchild_can_keep_the_outputs_open() {
    let sample = Sample::new();
    let mut command = sample.command(&["create", "--task-id=k", "--topic=T [sample:fork-grandchild]"]);
    command.env("SAMPLE_HANG_SECONDS", "2").stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut stdout = child.stdout.take().unwrap();
    // With the child gone, "would block" instead of the end means that somebody still holds the other end.
    rustix::fs::fcntl_setfl(&stdout, rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut text = String::new();
    let error = stdout.read_to_string(&mut text).expect_err("the grandchild holds the pipe");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    rustix::fs::fcntl_setfl(&stdout, rustix::fs::OFlags::empty()).unwrap();
    stdout.read_to_string(&mut text).expect("the end comes when the grandchild ends");
}

#[test]
fn a_start_can_be_slow() {
    let sample = Sample::new();
    let slow = sample.spawn("slow-start=30", &["create", "--task-id=k", "--topic=T"]);
    let quick = sample.run_with("slow-start=0", &["create", "--task-id=q", "--topic=T"]);
    assert_eq!(json(&quick)["created"], true);
    end(slow);
    assert_eq!(sample.paid(), ["q\tT"]);
}
