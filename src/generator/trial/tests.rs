//! Tests of the judgement: one generator, answers of every kind, and the finding that each makes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::config::Config;
use crate::finding::Severity;
use crate::task::outcome::{FindAnswer, Verb};
use crate::task::{AccountId, Attempt, GeneratorName, Task, TaskId, Timestamp};

const SPEC: &str = r#"
[generators.g.submit]
run = ["p", "{topic} [ref:{key}]"]
ref = "json:/id"
[generators.g.poll]
run = ["p", "{batch_limit}", "{batch_offset}"]
timeout = "10s"
batch = 2
max_pages = 3
order = "newest"
created = "json:/at"
items = "json:"
key = "json:/id"
state = "json:/state"
rules = [{ exit = 75, then = "unavailable" }]
[generators.g.poll_one]
run = ["p", "{ref}"]
state = "json:/state"
rules = [{ exit = 4, then = "missing" }, { exit = 75, then = "unavailable" }]
[generators.g.find]
like = "poll"
match = "json:/text"
mark = "[ref:{key}]"
[generators.g.fetch]
run = ["p", "{ref}"]
content = "json:/content"
rules = [{ exit = 5, then = "not_ready" }, { exit = 4, then = "missing" }]
[generators.g.cancel]
run = ["p", "{ref}"]
rules = [{ exit = 6, then = "refused" }, { exit = 4, then = "missing" }]
[generators.g.states]
busy = "processing"
done = "completed"
"#;

fn spec() -> Arc<GeneratorSpec> {
    let env = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
    let config = Config::parse(None, SPEC, &env).unwrap_or_else(|errors| panic!("{errors}"));
    Arc::new(config.generators[&GeneratorName::from("g")].clone())
}

fn job(reference: &str) -> Job {
    let task = Task::blank(TaskId("task-000000000001".into()), AccountId(1), "g".into(), Timestamp(0));
    let attempt = Attempt {
        external_ref: Some(reference.to_owned()),
        ..Attempt::intended(task.id.clone(), 1, "0a".repeat(16).as_str().into(), Timestamp(0))
    };
    Job { task, attempt }
}

fn exited(status: i32, stdout: &str, stderr: &str) -> CallResult {
    CallResult { end: CallEnd::Exited(status), stdout: stdout.into(), stderr: stderr.into(), is_truncated: false }
}

/// Judges a result of a verb.
fn tried<T>(verb: Verb, result: &CallResult, took: Duration, judge: impl FnOnce(&Tried<'_>) -> T) -> T {
    let spec = spec();
    judge(&Tried { spec: &spec, call: spec.call(verb).expect("it has every verb"), result, took })
}

fn quick<T>(verb: Verb, result: &CallResult, judge: impl FnOnce(&Tried<'_>) -> T) -> T {
    tried(verb, result, Duration::from_millis(5), judge)
}

fn cure(finding: &Finding) -> &str {
    finding.cure.as_deref().unwrap_or_default()
}

#[test]
fn a_call_is_judged_by_its_end_and_its_time() {
    let of =
        |result: CallResult, took| tried(Verb::Poll, &result, Duration::from_secs(took), |call| call.of_the_call());
    assert_eq!(of(exited(0, "[]", ""), 1), (vec![], true));
    let (slow, is_readable) = of(exited(0, "[]", ""), 6);
    assert!(
        is_readable && slow[0].severity == Severity::Warning && cure(&slow[0]).contains("generators.g.poll.timeout")
    );
    for end in [CallEnd::TimedOut, CallEnd::Signalled(11), CallEnd::NotStarted("no /p: install it".into())] {
        let (findings, is_readable) = of(CallResult { end, ..exited(0, "", "") }, 10);
        assert!(!is_readable && findings[0].severity == Severity::Error, "{findings:?}");
    }
    let (cut, is_readable) = of(CallResult { is_truncated: true, ..exited(0, "[]", "") }, 1);
    assert!(is_readable && cut[0].severity == Severity::Warning);
}

#[test]
fn a_poll_must_not_know_a_stranger() {
    let of = |result: CallResult| quick(Verb::PollOne, &result, judge::poll_of_a_stranger);
    assert_eq!(of(exited(4, "", "")).severity, Severity::Ok);
    assert_eq!(of(exited(75, "", "")).severity, Severity::Warning);
    let known = of(exited(0, r#"{"state":"done"}"#, ""));
    assert_eq!(known.severity, Severity::Error);
    let ruleless = of(exited(1, "", "unknown task: 0a0a\n"));
    assert_eq!(ruleless.severity, Severity::Warning);
    assert_eq!(
        cure(&ruleless),
        r#"add to generators.g.poll_one.rules: { exit = 1, stderr = "unknown task", then = "missing" }"#
    );
    let quiet = of(exited(0, r#"{"error":"who?"}"#, ""));
    assert!(quiet.severity == Severity::Warning && cure(&quiet).contains("stdout = "), "{quiet:?}");
}

#[test]
fn a_poll_of_ours_must_be_readable() {
    let spec = spec();
    let state = &spec.poll_one.as_ref().expect("it has one").job;
    let of = |result: CallResult, is_live| {
        let known = Known { job: job("r"), is_live };
        quick(Verb::PollOne, &result, |tried| judge::poll_of_ours(tried, state, &known))
    };
    assert_eq!(of(exited(0, r#"{"state":"busy"}"#, ""), true).severity, Severity::Ok);
    assert_eq!(of(exited(4, "", ""), true).severity, Severity::Warning);
    assert_eq!(of(exited(4, "", ""), false).severity, Severity::Ok, "it may forget what has ended");
    let unmapped = of(exited(0, r#"{"state":"waiting"}"#, ""), true);
    assert!(unmapped.severity == Severity::Error && cure(&unmapped).contains("[generators.g.states]: \"waiting\""));
    assert!(cure(&of(exited(0, "no JSON", ""), true)).contains("generators.g.poll_one.state"));
}

#[test]
fn a_suggested_rule_holds_nothing_of_the_reference_that_was_made_up() {
    let cure_of =
        |status, out: &str| cure(&quick(Verb::PollOne, &exited(status, out, ""), judge::poll_of_a_stranger)).to_owned();
    let uuid = "571e546c-670d-4b1e-9d6f-0123456789ab";
    let named = cure_of(3, &format!("no job {uuid} here"));
    assert_eq!(named, r#"add to generators.g.poll_one.rules: { exit = 3, stdout = "no job", then = "missing" }"#);
    assert_eq!(cure_of(3, uuid), r#"add to generators.g.poll_one.rules: { exit = 3, then = "missing" }"#);
    let silent = cure_of(0, &format!("# {uuid}"));
    assert!(silent.contains("exit with a status of its own") && !silent.contains("571e"), "{silent}");
    assert!(!silent.contains("stdout ="), "a heading alone would match every answer: {silent}");
    assert!(!cure_of(3, &format!("key {}", "0a".repeat(16))).contains("0a0a"));
}

#[test]
fn a_fetch_gives_a_stranger_nothing() {
    let of = |result: CallResult| quick(Verb::Fetch, &result, |tried| judge::fetch_of_a_stranger(tried, &job("r")));
    assert_eq!(of(exited(4, "", "")).severity, Severity::Ok);
    assert_eq!(of(exited(5, "", "")).severity, Severity::Ok);
    assert_eq!(of(exited(0, r#"{"content":"Lorem"}"#, "")).severity, Severity::Error);
    let ruleless = of(exited(1, "", "no such job"));
    assert!(ruleless.severity == Severity::Warning && cure(&ruleless).contains("then = \"missing\""));
}

#[test]
fn the_ok_of_a_strangers_cancel_proves_nothing() {
    let of = |result: CallResult| quick(Verb::Cancel, &result, judge::cancel_of_a_stranger).severity;
    assert_eq!(of(exited(4, "", "")), Severity::Ok);
    assert_eq!(of(exited(6, "", "")), Severity::Ok);
    assert_eq!(of(exited(0, "", "")), Severity::Warning);
    assert_eq!(of(exited(1, "", "")), Severity::Warning);
}

fn row(id: &str, state: &str, at: &str) -> Value {
    json!({ "id": id, "state": state, "at": at, "text": "x" })
}

fn of_page(rows: &Value, known: Option<&Known>) -> Vec<Finding> {
    let spec = spec();
    let (poll, batch) = spec.batch_poll().expect("it has one");
    let result = exited(0, &rows.to_string(), "");
    quick(Verb::Poll, &result, |tried| {
        let rows = lists::rows(tried, batch).expect("a list");
        lists::page(tried, batch, &poll.job, &rows, known)
    })
}

const NEW: &str = "2026-01-02T00:00:00Z";
const OLD: &str = "2026-01-01T00:00:00Z";

#[test]
fn rows_are_held_against_the_configuration() {
    let severities = |rows: Value| of_page(&rows, None).iter().map(|finding| finding.severity).collect::<Vec<_>>();
    assert_eq!(severities(json!([])), [Severity::Ok]);
    assert_eq!(severities(json!([row("a", "busy", NEW), row("b", "done", OLD)])), [Severity::Ok]);
    let unmapped = of_page(&json!([row("a", "busy", NEW), row("b", "asleep", OLD)]), None);
    assert!(unmapped[0].severity == Severity::Warning && unmapped[0].found.contains("\"asleep\""));
    let ours = Known { job: job("b"), is_live: true };
    let of_ours = of_page(&json!([row("a", "busy", NEW), row("b", "asleep", OLD)]), Some(&ours));
    assert_eq!(of_ours[0].severity, Severity::Error, "a job of ours stands in it");
    assert_eq!(severities(json!([row("a", "asleep", NEW)])), [Severity::Error], "none is known");
    assert_eq!(severities(json!([{ "state": "busy", "at": NEW }])), [Severity::Error], "no reference");
    assert_eq!(severities(json!([{ "id": "a", "at": NEW }])), [Severity::Error], "no state");
    assert_eq!(severities(json!([row("a", "busy", OLD), row("b", "done", NEW)])), [Severity::Error], "oldest first");
    assert_eq!(severities(json!([row("a", "busy", "yesterday")])), [Severity::Warning]);
    let three = json!([row("a", "busy", NEW), row("b", "busy", NEW), row("c", "busy", NEW)]);
    let long = of_page(&three, None);
    assert!(long[0].severity == Severity::Warning && cure(&long[0]).contains("{batch_limit}"));
}

#[test]
fn a_page_that_comes_twice_is_told_and_a_list_that_is_none() {
    let spec = spec();
    let (_, batch) = spec.batch_poll().expect("it has one");
    let page = |ids: &[&str]| ids.iter().map(|id| row(id, "busy", NEW)).collect::<Vec<_>>();
    let second = |rows: &[Value]| {
        quick(Verb::Poll, &exited(0, "[]", ""), |tried| lists::second_page(tried, batch, &page(&["a", "b"]), rows))
            .severity
    };
    assert_eq!(second(&page(&["c"])), Severity::Ok);
    assert_eq!(second(&[]), Severity::Ok);
    assert_eq!(second(&page(&["a", "b"])), Severity::Error);
    let rows =
        |result: CallResult| quick(Verb::Poll, &result, |tried| lists::rows(tried, batch)).map_err(|f| f.severity);
    assert_eq!(rows(exited(0, "{}", "")), Err(Severity::Error));
    assert_eq!(rows(exited(1, "", "boom")), Err(Severity::Error));
    assert_eq!(rows(exited(75, "", "")), Err(Severity::Warning));
}

#[test]
fn a_search_proves_the_absence_of_a_stranger_or_says_why_not() {
    let of =
        |answer: &FindAnswer| quick(Verb::Find, &exited(0, "[]", ""), |tried| lists::search(tried, answer, 3)).severity;
    assert_eq!(of(&FindAnswer::None { is_complete: true }), Severity::Ok);
    assert_eq!(of(&FindAnswer::None { is_complete: false }), Severity::Warning);
    assert_eq!(of(&FindAnswer::One { reference: "a".into() }), Severity::Error);
    assert_eq!(of(&FindAnswer::Several(vec!["a".into(), "b".into()])), Severity::Error);
    assert_eq!(of(&FindAnswer::Unreadable("no field".into())), Severity::Error);
    assert_eq!(of(&FindAnswer::Unavailable("exit status 1".into())), Severity::Error);
}
