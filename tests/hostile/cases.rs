//! Outputs as generators really write them, before anything is done to them: recordings of the real one, and what each kind
//! of generator in the examples would write.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contentd::config::Config;
use contentd::generator::Job;
use contentd::generator::call::{CallEnd, CallResult};
use contentd::task::{AccountId, Attempt, AttemptKey, GeneratorName, Task, TaskId, TaskState, Timestamp};

use super::oracle::{Kind, Question, Subject};

/// The job that is asked about; it is in the recorded lists.
pub const OURS: &str = "5408a932-1e5f-41f5-8c68-1016952eaa4d";
/// Another one.
pub const THEIRS: &str = "21e0ff2d-bde1-4729-8ad8-affbfdfc3ea5";
/// When the recorded jobs were made.
const INTENT: Timestamp = Timestamp(1_795_453_692_000);

/// An output before it is mutated.
pub struct Base {
    pub name: String,
    pub subject: Arc<Subject>,
    pub question: Question,
    pub call: CallResult,
}

/// The real generator as a blocking command, and a list of all jobs inside an object.
const MORE_GENERATORS: &str = r#"
[generators.sync.submit]
run = ["content-creator", "create", "--mode", "sync", "--topic={topic}", "--requirements={requirements|-}"]
content = 're:(?ms)^📝 生成的内容:\n─{40}\n(.*?)\n─{40}$'
images = 're*:(?m)^(https?://\S+)$'
rules = [{ stdout = '(?m)^状态: 失败$', then = "retry" }]

[generators.shelf]
idempotent = true
[generators.shelf.submit]
run = ["shelf", "add", "{topic}", "{key}"]
ref = "{key}"
[generators.shelf.poll]
run = ["shelf", "list"]
items = "json:/jobs"
key = "json:/id"
state = "json:/state"
[generators.shelf.fetch]
run = ["shelf", "get", "{ref}"]
content = "json:/text"
[generators.shelf.states]
"0" = "submitted"
"1" = "processing"
"2" = "completed"
"3" = "failed"
true = "completed"
done = "completed"
failed = "failed"
"#;

pub fn root() -> PathBuf {
    // The corpus of the fuzz targets is read from a package below.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|path| path.join("tests/recordings").is_dir())
        .unwrap()
        .into()
}

/// Every generator of the examples.
pub fn subjects() -> BTreeMap<&'static str, Arc<Subject>> {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let env = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
    let parse = |source: &str| Config::parse(None, source, &env).unwrap_or_else(|errors| panic!("{errors}"));
    let configs = [parse(&read("contentd.example.toml")), parse(&read("examples/sample.toml")), parse(MORE_GENERATORS)];
    let kinds = [
        ("assumed", Kind::Json),
        ("content-creator", Kind::Real),
        ("blocking", Kind::Text),
        ("sample", Kind::Sample),
        ("sync", Kind::Sync),
        ("shelf", Kind::Shelf),
    ];
    let find = |name: &str| configs.iter().find_map(|config| config.generators.get(&GeneratorName::from(name)));
    let subject = |name| Arc::new(find(name).unwrap().clone());
    kinds.into_iter().map(|(name, kind)| (name, Arc::new(Subject { kind, spec: subject(name) }))).collect()
}

pub fn job() -> Job {
    let task = Task {
        id: TaskId::from("task-000000000000"),
        seq: 1,
        account_id: AccountId(1),
        topic: "异步任务A".into(),
        keywords: vec!["AI".into()],
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
    let mut attempt = Attempt::intended(task.id.clone(), 1, AttemptKey::from_random([7; 16]), INTENT);
    attempt.external_ref = Some(OURS.to_owned());
    Job { task, attempt }
}

/// A recording. Its hundred lines of start-up, which say nothing, are cut to three, so that mutations hit what matters.
fn recording(name: &str) -> CallResult {
    let read = |ending: &str| std::fs::read(root().join(format!("tests/recordings/{name}.{ending}"))).unwrap();
    let status: i32 = String::from_utf8_lossy(&read("exit")).trim().parse().unwrap();
    let end = if status == 124 { CallEnd::TimedOut } else { CallEnd::Exited(status) };
    let shortened = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        let is_noise = |line: &str| line.starts_with("2026-") || line.starts_with("    at ");
        let mut kept = 0;
        let body = text.split_inclusive('\n').skip_while(|line| !is_noise(line));
        let lines = body.filter(|line| {
            kept += usize::from(is_noise(line));
            !is_noise(line) || kept <= 3
        });
        let lines: String = lines.collect();
        if lines.is_empty() { text.into_bytes() } else { lines.into_bytes() }
    };
    CallResult { end, stdout: shortened(read("stdout")), stderr: shortened(read("stderr")), is_truncated: false }
}

fn written(status: i32, stdout: &str, stderr: &str) -> CallResult {
    CallResult { end: CallEnd::Exited(status), stdout: stdout.into(), stderr: stderr.into(), is_truncated: false }
}

fn recorded() -> Vec<(&'static str, &'static str, Question, CallResult)> {
    use Question::{Fetch, Find, PollOne, Run, Submit, Sweep};
    const REAL: [(Question, &[&str]); 5] = [
        (
            Submit,
            &["create-async-401", "create-async-noworker", "create-async-noredis", "create-badtype", "create-noreq"],
        ),
        (
            PollOne,
            &["status-pending", "status-running", "status-async-completed", "status-failed-401", "status-unknown"],
        ),
        (Sweep, &["list-json", "list-redisdown"]),
        (Find, &["list-json"]),
        (Fetch, &["result-async-text", "result-pending", "result-unknown", "result-async-json"]),
    ];
    let mut cases = Vec::new();
    for (question, names) in REAL {
        cases.extend(names.iter().map(|name| ("content-creator", *name, question, recording(name))));
    }
    let marked = |name: &'static str, after: &str| {
        let mut list = recording("list-json");
        let mark = format!("要求A [ref:{}]{after}", job().attempt.key);
        list.stdout = String::from_utf8(list.stdout).unwrap().replace("要求A", &mark).into_bytes();
        ("content-creator", name, Find, list)
    };
    cases.push(marked("list with our mark", ""));
    cases.push(marked("list with a later mark", " [ref:0123456789abcdef0123456789abcdef]"));
    cases.extend(["create-sync-ok", "create-sync-401"].map(|name| ("sync", name, Run, recording(name))));
    cases
}

fn imagined() -> Vec<(&'static str, &'static str, Question, CallResult)> {
    use Question::{Cancel, Fetch, PollOne, Run, Submit, Sweep};
    let mut cases = Vec::new();
    for generator in ["assumed", "sample"] {
        let status = |state: &str| {
            let json = format!(
                r#"{{"taskId":"{OURS}","status":"{state}","progress":"2 of 5","error":null,"jobs":[{{"status":"failed"}}]}}"#
            );
            written(0, &format!("starting\n{json}\n"), "")
        };
        let pretty = "{\n  \"result\": {\"status\": \"failed\"},\n  \"status\": \"completed\",\n  \"error\": \"status: failed\"\n}\n";
        let piece = "{\"content\":\"# Title\\n\\nText {\\\"status\\\": \\\"failed\\\"}\\n\",\"htmlContent\":\"<p>x</p>\",\
                     \"images\":[\"http://127.0.0.1/1.png\",{\"url\":\"http://127.0.0.1/2.png\"}],\"qualityScore\":0.9}\n";
        let two = format!("{{\"status\":\"failed\"}}\nlog line\n{{\"status\":\"processing\",\"taskId\":\"{OURS}\"}}\n");
        cases.extend([
            (generator, "submitted", Submit, written(0, "{\"taskId\":\"x\",\"status\":\"submitted\"}\n", "")),
            (generator, "rejected", Submit, written(65, "", "rejected: the topic is forbidden\n")),
            (generator, "try again", Submit, written(73, "", "try again: too many\n")),
            (generator, "unavailable", Submit, written(75, "", "unavailable: nobody is here\n")),
            (generator, "state processing", PollOne, status("processing")),
            (generator, "state completed", PollOne, status("completed")),
            (generator, "state failed", PollOne, status("failed")),
            (generator, "state cancelled", PollOne, status("cancelled")),
            (generator, "pretty", PollOne, written(0, pretty, "")),
            (generator, "two answers", PollOne, written(0, &two, "")),
            (generator, "unknown", PollOne, written(1, "", "unknown task: x\n")),
            (generator, "piece", Fetch, written(0, piece, "")),
            (generator, "not ready", Fetch, written(1, "", "not ready: processing\n")),
            (generator, "cancelled", Cancel, written(0, "cancelled\n", "")),
            (generator, "refused", Cancel, written(1, "", "refused: it has ended\n")),
        ]);
    }
    let row = |id: &str, state: &str| format!(r#"{{"id":{id},"state":{state},"topic":"t"}}"#);
    let shelf = |rows: &[String]| written(0, &format!("{{\"total\":9,\"jobs\":[{}]}}\n", rows.join(",")), "");
    let (ours, theirs) = (format!("{OURS:?}"), format!("{THEIRS:?}"));
    cases.extend([
        ("shelf", "one completed", Sweep, shelf(&[row(&theirs, "3"), row(&ours, "2"), row("17", "\"failed\"")])),
        ("shelf", "ours fails", Sweep, shelf(&[row(&ours, "\"failed\""), row(&theirs, "true")])),
        ("shelf", "ours twice", Sweep, shelf(&[row(&theirs, "2"), row(&ours, "1"), row(&ours, "3")])),
        ("shelf", "not there", Sweep, shelf(&[row(&theirs, "2"), row("1", "3")])),
        ("shelf", "empty", Sweep, shelf(&[])),
        ("blocking", "piece", Run, written(0, "# Title\n\nThe piece.\n", "warming up\n")),
        ("blocking", "nothing", Run, written(0, "\n", "")),
        ("blocking", "exit 3", Run, written(3, "half a pie", "out of memory\n")),
    ]);
    cases
}

/// Every output that is mutated.
pub fn bases() -> Vec<Base> {
    let subjects = subjects();
    let base = |(generator, name, question, call): (&str, &str, Question, CallResult)| Base {
        name: format!("{generator}, {question:?}, {name}"),
        subject: Arc::clone(&subjects[generator]),
        question,
        call,
    };
    recorded().into_iter().chain(imagined()).map(base).collect()
}
