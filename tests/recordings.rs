//! The example configuration against recordings of the real generator: every one must be read rightly.
//!
//! `tests/recordings/NAME.{argv,stdout,stderr,exit}` were recorded from `llm-content-creator` 0.2.0. What each means was
//! written here by a person who read it. A recording that is added without an expectation fails.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contentd::config::Config;
use contentd::generator::Job;
use contentd::generator::call::{CallEnd, CallResult};
use contentd::generator::interpret::{FindSweep, PollSweep, fetch_answer, poll_one_answer, run_report, submit_answer};
use contentd::generator::spec::GeneratorSpec;
use contentd::task::outcome::{FetchAnswer, FindAnswer, JobState, PollAnswer, RunReport, SubmitAnswer};
use contentd::task::{AccountId, Attempt, AttemptKey, GeneratorName, Task, TaskId, TaskState, Timestamp};

const A: &str = "5408a932-1e5f-41f5-8c68-1016952eaa4d";
const RULER: &str = "────────────────────────────────────────";
/// 2026-11-23T17:08:12Z, when the job of most recordings was made.
const INTENT: Timestamp = Timestamp(1_795_453_692_000);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn config() -> Config {
    let path = root().join("contentd.example.toml");
    let env = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
    Config::load(Some(&path), &env).unwrap_or_else(|errors| panic!("{errors}")).config
}

fn real() -> Arc<GeneratorSpec> {
    Arc::new(config().generators[&GeneratorName::from("content-creator")].clone())
}

fn recording(name: &str) -> CallResult {
    let read = |ending: &str| {
        let path = root().join("tests/recordings").join(format!("{name}.{ending}"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let status: i32 = String::from_utf8_lossy(&read("exit")).trim().parse().expect("an exit status");
    // 124 is what timeout(1) exits with: there we end the call ourselves.
    let end = if status == 124 { CallEnd::TimedOut } else { CallEnd::Exited(status) };
    CallResult { end, stdout: read("stdout"), stderr: read("stderr"), is_truncated: false }
}

fn job(reference: &str) -> Job {
    let task = Task {
        id: TaskId::from("task-000000000000"),
        seq: 1,
        account_id: AccountId(1),
        topic: "异步任务A".into(),
        keywords: vec!["AI".into(), "内容".into()],
        category: None,
        requirements: None,
        tone: None,
        priority: 5,
        auto_approve: true,
        generator: GeneratorName::from("content-creator"),
        state: TaskState::Submitted,
        attempt: 1,
        retry_count: 0,
        max_retries: 3,
        time_limit_s: 1800,
        progress: None,
        reason: None,
        error: None,
        content_id: None,
        key: None,
        submitted_by: "0:root".into(),
        rewrites: None,
        created_at: INTENT,
        queued_at: INTENT,
        submitted_at: None,
        started_at: None,
        completed_at: None,
        wake_at: None,
        updated_at: INTENT,
        restored_at: None,
        not_before: None,
    };
    let key = AttemptKey::from_random([7; 16]);
    let mut attempt = Attempt::intended(task.id.clone(), 1, key, INTENT);
    attempt.external_ref = Some(reference.to_owned());
    Job { task, attempt }
}

fn submitted(name: &str) -> String {
    match submit_answer(&real(), &job("?"), &recording(name)) {
        SubmitAnswer::Accepted { reference, vars } => {
            assert!(vars.is_empty());
            format!("accepted {reference}")
        }
        SubmitAnswer::Rejected(why) => format!("rejected: {why}"),
        SubmitAnswer::Retry(why) => format!("retry: {why}"),
        SubmitAnswer::Unavailable(why) => format!("unavailable: {why}"),
        SubmitAnswer::Ambiguous(why) => format!("ambiguous: {why}"),
        SubmitAnswer::NeverCalled(why) => format!("never called: {why}"),
    }
}

fn polled_by_name(name: &str) -> String {
    match poll_one_answer(&real(), &recording(name)) {
        PollAnswer::State { state, theirs, error: None, progress: None, .. } => format!("{state} ({theirs})"),
        PollAnswer::Missing { is_complete: true, by_name: true } => "missing".into(),
        PollAnswer::Unavailable(why) => format!("unavailable: {why}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn submits() {
    let expected = [
        // Made a job, whatever becomes of it later: a failing model, no worker, a topic that looks like an option.
        ("create-async-401", "accepted a437d1ce-2229-401e-bcf8-44e8b5ade309"),
        ("create-async-noworker", "accepted 5408a932-1e5f-41f5-8c68-1016952eaa4d"),
        ("create-async-slow", "accepted 21e0ff2d-bde1-4729-8ad8-affbfdfc3ea5"),
        ("create-dashtopic", "accepted 0b9afa1f-463b-4e23-beee-5a0cd4ca010f"),
        // Blocking calls print the reference too, after the work is done.
        ("create-sync-ok", "accepted c7a6d885-0101-4b85-9afc-b7078c8f8497"),
        ("create-sync-401", "accepted 4efb139d-9f6a-4b29-bc67-1ae6a8c172f1"),
        // It leaves a row behind that nothing will ever run, and says that nobody took it.
        (
            "create-async-noredis",
            "unavailable: ❌ 错误: TaskQueue is not available. Redis is not configured or connection failed. \
             Please use sync mode instead.",
        ),
        ("create-badtype", "rejected: ❌ 错误: 不支持的工作流类型 \"translation\""),
        ("create-noreq", "rejected: ❌ 错误: 必须提供创作要求 (-r, --requirements)"),
        ("create-taskid", "rejected: error: unknown option '--task-id'"),
    ];
    for (name, answer) in expected {
        assert_eq!(submitted(name), answer, "{name}");
    }
    // Hangs until it is ended: nobody knows.
    let hung = submitted("create-async-redisdown");
    assert!(hung.starts_with("ambiguous: no answer within the time limit: "), "{hung}");
    assert!(hung.ends_with("[Redis] Disconnecting Redis {\"context\":\"Redis\"}"), "{hung}");
}

#[test]
fn polls_by_name() {
    let expected = [
        ("status-pending", "submitted (待处理)"),
        ("status-running", "processing (运行中)"),
        ("status-async-completed", "completed (已完成)"),
        ("status-failed-401", "failed (失败)"),
        ("status-unknown", "missing"),
        ("status-json-flag", "unavailable: exit status 1: error: unknown option '--json'"),
    ];
    for (name, answer) in expected {
        assert_eq!(polled_by_name(name), answer, "{name}");
    }
}

fn swept(reference: &str, name: &str) -> PollAnswer {
    let mut sweep = PollSweep::new(real(), vec![job(reference)]);
    let page = sweep.next_page().expect("a first page");
    assert_eq!((page.limit, page.offset), (200, 0));
    sweep.take(&recording(name));
    assert_eq!(sweep.next_page(), None);
    let sweep = sweep.finish();
    assert_eq!(sweep.calls, 1);
    sweep.answers.into_iter().next().expect("an answer for the job").1
}

#[test]
fn one_list_answers_for_every_job() {
    let waiting = |theirs: &str| PollAnswer::State {
        state: JobState::Submitted,
        theirs: theirs.into(),
        error: None,
        progress: None,
        vars: BTreeMap::new(),
    };
    assert_eq!(swept(A, "list-json"), waiting("pending"));
    // It works without its queue too.
    assert_eq!(swept("80747662-059a-49ef-a4ed-43a10d61ebce", "list-redisdown"), waiting("pending"));
    // The page was short: what is not in it does not exist.
    let gone = PollAnswer::Missing { is_complete: true, by_name: false };
    assert_eq!(swept("00000000-0000-0000-0000-000000000000", "list-json"), gone);
}

#[test]
fn a_search_finds_our_mark_and_nothing_else() {
    let find = |result: &CallResult| {
        let mut sweep = FindSweep::new(real(), vec![job("?")]);
        assert!(sweep.next_page().is_some());
        sweep.take(result);
        sweep.finish().answers.remove(0).1
    };
    let mut list = recording("list-json");
    assert_eq!(find(&list), FindAnswer::None { is_complete: true });
    let marked = format!("要求A [ref:{}]", AttemptKey::from_random([7; 16]));
    list.stdout = String::from_utf8(list.stdout).expect("text").replace("要求A", &marked).into_bytes();
    assert_eq!(find(&list), FindAnswer::One { reference: A.into() });
}

#[test]
fn fetches() {
    let fetched = |name: &str| fetch_answer(&real(), &job(A), &recording(name));
    let FetchAnswer::Piece(piece) = fetched("result-async-text") else { panic!("no piece") };
    assert!(piece.content.starts_with("# 异步任务A\n\n导语：本文讨论异步任务A。"), "{}", piece.content);
    assert!(piece.content.trim_end().ends_with("## 结语\n\n总结：谢谢阅读。"), "{}", piece.content);
    assert!(!piece.content.contains(RULER));
    let urls: Vec<_> = piece.images.iter().map(|image| image.url.as_str()).collect();
    assert_eq!(urls, ["http://127.0.0.1:18801/img/1.png"; 3]);
    assert_eq!((piece.html, piece.score), (None, None));

    assert_eq!(fetched("result-pending"), FetchAnswer::NotReady);
    // An article that says so is there all the same.
    let mut quoting = recording("result-async-text");
    let text = String::from_utf8(quoting.stdout).expect("text");
    let said = "## 结语\n\n⚠️  任务尚未完成，当前状态: ⏳ 待处理\n";
    quoting.stdout = text.replace("## 结语\n", said).into_bytes();
    let FetchAnswer::Piece(piece) = fetch_answer(&real(), &job(A), &quoting) else { panic!("no piece") };
    assert!(piece.content.contains("任务尚未完成"), "{}", piece.content);
    assert!(matches!(fetched("result-unknown"), FetchAnswer::Missing { .. }));
    // The JSON form prints the row of the task, without the article: no piece, and what was written is kept.
    for name in ["result-async-json", "result-json-completed"] {
        let FetchAnswer::Unreadable { why, raw } = fetched(name) else { panic!("{name}") };
        assert!(why.starts_with("no piece: nothing matches"), "{why}");
        assert!(raw.contains("\"status\": \"completed\""));
    }
}

#[test]
fn a_cancel_that_cannot_work_proves_nothing() {
    // The example has no cancel verb for this generator, because in this mode it always fails.
    let call = recording("cancel-pending-sqlite");
    assert_eq!(call.end, CallEnd::Exited(1));
    let with_cancel = format!(
        "{}\n[generators.content-creator.cancel]\nrun = [\"content-creator\", \"cancel\", \"--task-id\", \"{{ref}}\"]\n",
        std::fs::read_to_string(root().join("contentd.example.toml")).expect("the example")
    );
    let env = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
    let config = Config::parse(None, &with_cancel, &env).unwrap_or_else(|errors| panic!("{errors}"));
    let spec = &config.generators[&GeneratorName::from("content-creator")];
    let answer = contentd::generator::interpret::cancel_answer(spec, &call);
    assert!(matches!(answer, contentd::task::outcome::CancelAnswer::Unclear(_)), "{answer:?}");
    let answer = contentd::generator::interpret::cancel_answer(&real(), &call);
    assert!(matches!(answer, contentd::task::outcome::CancelAnswer::Refused(_)), "{answer:?}");
}

/// A failed synchronous run exits 0 and says that it went well: the truth is one line.
#[test]
fn a_blocking_run_of_the_real_generator_can_be_configured() {
    let source = r#"
        [generators.sync.submit]
        run = ["content-creator", "create", "--mode", "sync", "--topic={topic}", "--requirements={requirements|-}"]
        content = 're:(?ms)^📝 生成的内容:\n─{40}\n(.*?)\n─{40}$'
        images = 're*:(?m)^(https?://\S+)$'
        rules = [{ stdout = '(?m)^状态: 失败$', then = "retry" }]
    "#;
    let env = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
    let config = Config::parse(None, source, &env).unwrap_or_else(|errors| panic!("{errors}"));
    let spec = &config.generators[&GeneratorName::from("sync")];
    let RunReport::Piece(piece) = run_report(spec, &recording("create-sync-ok")) else { panic!("no piece") };
    assert!(piece.content.starts_with("# AI测试\n"), "{}", piece.content);
    assert!(piece.content.trim_end().ends_with("总结：谢谢阅读。"), "{}", piece.content);
    assert_eq!(piece.images.len(), 3);
    assert_eq!(run_report(spec, &recording("create-sync-401")), RunReport::Failed("状态: 失败".into()));
}

#[test]
fn every_recording_has_an_expectation() {
    let source = std::fs::read_to_string(root().join("tests/recordings.rs")).expect("this file");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/recordings")).expect("the recordings") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        if let Some(name) = name.strip_suffix(".exit") {
            names.push(name.to_owned());
        }
    }
    assert!(names.len() >= 25, "{names:?}");
    for name in names {
        assert!(source.contains(&format!("\"{name}\"")), "{name} has no expectation");
    }
}
