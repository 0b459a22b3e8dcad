//! Tests of the answers: what is believed, what is doubted, and what a sweep proves.

use std::sync::Arc;

use super::*;
use crate::config::Config;
use crate::generator::call::CallEnd;
use crate::task::outcome::FindAnswer;
use crate::task::{AccountId, Attempt, AttemptKey, GeneratorName, Task, TaskId, TaskState, Timestamp};
use proptest::prelude::*;

/// 2026-01-01T00:00:00Z.
const INTENT: Timestamp = Timestamp(1_767_225_600_000);

const POLLED: &str = r#"
[generators.g.submit]
run = ["p", "{topic} [ref:{key}]"]
ref = "json:/id"
extract = { queue = "json:/queue" }
rules = [{ exit = 75, then = "unavailable" }, { exit = 2, then = "rejected" }, { exit = 3, then = "retry" }]
[generators.g.poll]
run = ["p", "{batch_limit}", "{batch_offset}"]
batch = 2
max_pages = 3
order = "newest"
created = "json:/at"
items = "json:"
key = "json:/id"
state = "json:/state"
error = "json:/error"
[generators.g.poll_one]
run = ["p", "{ref}", "{queue}"]
state = "json:/state"
progress = "json:/progress"
rules = [{ exit = 4, then = "missing" }]
[generators.g.find]
like = "poll"
match = "json:/text"
mark = "[ref:{key}]"
[generators.g.fetch]
run = ["p", "{ref}"]
content = "json:/content"
html = "json:/html"
images = "json:/images"
score = "json:/score"
rules = [{ exit = 5, then = "not_ready" }, { exit = 4, then = "missing" }]
[generators.g.cancel]
run = ["p", "{ref}"]
rules = [{ exit = 6, then = "refused" }, { exit = 4, then = "missing" }]
[generators.g.states]
busy = "processing"
done = "completed"
"#;

const BLOCKING: &str = r#"
[generators.g.submit]
run = ["p", "--", "{topic}"]
content = "text"
rules = [{ exit = 75, then = "unavailable" }, { exit = 2, then = "rejected" }, { exit = 6, then = "ambiguous" }]
"#;

fn spec(source: &str) -> Arc<GeneratorSpec> {
    let env = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
    let config = Config::parse(None, source, &env).unwrap_or_else(|errors| panic!("{errors}"));
    Arc::new(config.generators[&GeneratorName::from("g")].clone())
}

fn job(number: u8, reference: Option<&str>) -> Job {
    let task = Task {
        id: TaskId(format!("task-{number:012}")),
        seq: 1,
        account_id: AccountId(1),
        topic: "T".into(),
        keywords: vec![],
        category: None,
        requirements: None,
        tone: None,
        priority: 5,
        auto_approve: true,
        generator: GeneratorName::from("g"),
        state: TaskState::Submitted,
        attempt: 1,
        retry_count: 0,
        max_retries: 3,
        time_limit_s: 60,
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
    let mut attempt = Attempt::intended(task.id.clone(), 1, AttemptKey::from_random([number; 16]), INTENT);
    attempt.external_ref = reference.map(str::to_owned);
    Job { task, attempt }
}

fn said(stdout: &str) -> CallResult {
    CallResult { end: CallEnd::Exited(0), stdout: stdout.into(), stderr: vec![], is_truncated: false }
}

fn exited(status: i32) -> CallResult {
    CallResult { end: CallEnd::Exited(status), stdout: vec![], stderr: b"why\n".into(), is_truncated: false }
}

fn cut(mut call: CallResult) -> CallResult {
    call.is_truncated = true;
    call
}

#[test]
fn a_submit_is_accepted_only_with_a_reference_that_can_be_believed() {
    let spec = spec(POLLED);
    let answer = |call: &CallResult| submit_answer(&spec, &job(1, None), call);
    let accepted = answer(&said("noise\n{\"id\": 17, \"queue\": \"fast\"}\n"));
    let vars = BTreeMap::from([("queue".to_owned(), "fast".to_owned())]);
    assert_eq!(accepted, SubmitAnswer::Accepted { reference: "17".into(), vars });
    let long = format!("{{\"id\": \"{}\"}}", "x".repeat(600));
    let doubted = ["", "{}", "{\"id\": null}", "{\"id\": \" \"}", "{\"id\": \"a\\nb\"}", "{\"id\": [1]}", &long];
    for output in doubted {
        assert!(matches!(answer(&said(output)), SubmitAnswer::Ambiguous(_)), "{output}");
    }
    assert!(matches!(answer(&cut(said("{\"id\": 17}"))), SubmitAnswer::Ambiguous(_)));
    assert!(matches!(answer(&exited(1)), SubmitAnswer::Ambiguous(_)));
    assert_eq!(answer(&exited(75)), SubmitAnswer::Unavailable("exit status 75: why".into()));
    assert_eq!(answer(&exited(2)), SubmitAnswer::Rejected("exit status 2: why".into()));
    assert_eq!(answer(&exited(3)), SubmitAnswer::Retry("exit status 3: why".into()));
    let never = CallResult { end: CallEnd::NotStarted("no /p: install it".into()), ..said("") };
    assert_eq!(answer(&never), SubmitAnswer::Unavailable("no /p: install it".into()));
}

#[test]
fn our_own_key_as_the_reference_needs_no_output() {
    let spec = spec(&POLLED.replace("ref = \"json:/id\"", "ref = \"j-{key}\""));
    let answer = submit_answer(&spec, &job(1, None), &cut(said("anything")));
    let SubmitAnswer::Accepted { reference, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(reference, format!("j-{}", "01".repeat(16)));
}

#[test]
fn a_run_yields_a_piece_or_says_why_not() {
    let spec = spec(BLOCKING);
    let RunReport::Piece(piece) = run_report(&spec, &said("# A piece\n")) else { panic!("no piece") };
    assert_eq!(piece.content, "# A piece\n");
    assert!(matches!(run_report(&spec, &said(" \n")), RunReport::NoPiece { .. }));
    let RunReport::NoPiece { why, raw } = run_report(&spec, &cut(said("half"))) else { panic!("a piece") };
    assert!(why.starts_with("the output was longer") && raw == "half", "{why} {raw}");
    assert_eq!(run_report(&spec, &exited(1)), RunReport::Failed("exit status 1: why".into()));
    assert_eq!(run_report(&spec, &exited(2)), RunReport::Rejected("exit status 2: why".into()));
    assert_eq!(run_report(&spec, &exited(75)), RunReport::Unavailable("exit status 75: why".into()));
    assert!(matches!(run_report(&spec, &exited(6)), RunReport::Ambiguous { .. }));
    let killed = CallResult { end: CallEnd::Signalled(9), ..said("half") };
    assert_eq!(
        run_report(&spec, &killed),
        RunReport::Failed("ended by signal 9, and nothing was written to standard error".into())
    );
}

#[test]
fn a_poll_by_name() {
    let spec = spec(POLLED);
    let answer = |call: &CallResult| poll_one_answer(&spec, call);
    let PollAnswer::State { state, progress, .. } = answer(&said("{\"state\":\"busy\",\"progress\":{\"step\":2}}"))
    else {
        panic!("no state")
    };
    assert_eq!((state.as_str(), progress.as_deref()), ("processing", Some("{\"step\":2}")));
    let PollAnswer::Unreadable(why) = answer(&said("{\"state\":\"Busy\"}")) else { panic!("a state") };
    assert!(why.starts_with("the state \"Busy\" is not in [generators.g.states]"), "{why}");
    assert!(matches!(answer(&said("")), PollAnswer::Unreadable(_)));
    assert!(matches!(answer(&cut(said("{\"state\":\"done\"}"))), PollAnswer::Unreadable(_)));
    assert_eq!(answer(&exited(4)), PollAnswer::Missing { is_complete: true, by_name: true });
    assert_eq!(answer(&exited(1)), PollAnswer::Unavailable("exit status 1: why".into()));
}

/// Drives a poll sweep over these pages and gives the answers by task number.
fn sweep(jobs: &[Job], pages: &[CallResult]) -> (Vec<PollAnswer>, u32) {
    let mut sweep = PollSweep::new(spec(POLLED), jobs.to_vec());
    for (at, result) in pages.iter().enumerate() {
        let page = sweep.next_page().unwrap_or_else(|| panic!("page {at} was not asked for"));
        assert_eq!((page.limit, page.offset), (2, 2 * at as u32));
        sweep.take(result);
    }
    assert_eq!(sweep.next_page(), None, "one page more is asked for");
    let swept = sweep.finish();
    (swept.answers.into_iter().map(|(_, answer)| answer).collect(), swept.calls)
}

fn row(id: &str, state: &str, at: &str) -> String {
    format!("{{\"id\":\"{id}\",\"state\":\"{state}\",\"at\":\"{at}\"}}")
}

fn page(rows: &[String]) -> CallResult {
    said(&format!("[{}]", rows.join(",")))
}

const NEW: &str = "2026-01-01T00:00:01Z";
const GONE: PollAnswer = PollAnswer::Missing { is_complete: true, by_name: false };

#[test]
fn a_sweep_ends_when_all_were_seen() {
    let jobs = [job(1, Some("a")), job(2, Some("b"))];
    let full = page(&[row("a", "busy", NEW), row("b", "done", NEW)]);
    let (answers, calls) = sweep(&jobs, &[full]);
    assert_eq!(calls, 1);
    assert!(answers.iter().all(|answer| matches!(answer, PollAnswer::State { .. })), "{answers:?}");
    // Nobody to ask about: nothing is asked.
    assert_eq!(sweep(&[], &[]).1, 0);
    assert!(matches!(sweep(&[job(1, None)], &[]).0[0], PollAnswer::Unreadable(_)));
}

#[test]
fn a_job_is_missing_only_where_every_row_was_seen() {
    let jobs = [job(1, Some("a"))];
    let full = |at: &str| page(&[row("x", "busy", at), row("y", "busy", at)]);
    // A short page.
    assert_eq!(sweep(&jobs, &[full(NEW), page(&[row("z", "busy", NEW)])]).0, [GONE]);
    assert_eq!(sweep(&jobs, &[page(&[])]).0, [GONE]);
    // Rows older than an hour before the intent; a little older is not enough.
    assert_eq!(sweep(&jobs, &[full("2025-12-31T23:30:00Z"), full("2025-12-31T22:59:59Z")]).0, [GONE]);
    // The last page that may be asked for was full.
    let unproved = PollAnswer::Missing { is_complete: false, by_name: false };
    assert_eq!(sweep(&jobs, &[full(NEW), full(NEW), full(NEW)]).0, [unproved]);
}

#[test]
fn what_was_seen_counts_even_if_the_rest_cannot_be_read() {
    let jobs = [job(1, Some("a")), job(2, Some("b"))];
    let first = page(&[row("a", "busy", NEW), row("x", "busy", NEW)]);
    for (second, expected) in [
        (exited(1), "Unavailable"),
        (said("no list"), "Unreadable"),
        (said("{\"rows\": []}"), "Unreadable"),
        (cut(page(&[row("z", "busy", NEW)])), "Unreadable"),
        // This row may have been the missing job.
        (page(&["{\"state\":\"busy\"}".to_owned()]), "Unreadable"),
    ] {
        let (answers, _) = sweep(&jobs, &[first.clone(), second]);
        assert!(matches!(answers[0], PollAnswer::State { .. }));
        assert!(format!("{:?}", answers[1]).starts_with(expected), "{expected}: {:?}", answers[1]);
    }
    // A row of ours with a state that nobody knows.
    assert!(matches!(sweep(&jobs[..1], &[page(&[row("a", "odd", NEW)])]).0[0], PollAnswer::Unreadable(_)));
    // A sweep that was never begun.
    let fresh = PollSweep::new(spec(POLLED), jobs.to_vec()).finish();
    assert!(matches!(fresh.answers[0].1, PollAnswer::Unavailable(_)));
}

fn search(jobs: &[Job], pages: &[CallResult]) -> Vec<FindAnswer> {
    let mut sweep = FindSweep::new(spec(POLLED), jobs.to_vec());
    for result in pages {
        assert!(sweep.next_page().is_some(), "a page was not asked for");
        sweep.take(result);
    }
    assert_eq!(sweep.next_page(), None, "one page more is asked for");
    sweep.finish().answers.into_iter().map(|(_, answer)| answer).collect()
}

fn marked(id: &str, text: &str) -> String {
    format!("{{\"id\":\"{id}\",\"text\":\"{text}\",\"at\":\"{NEW}\"}}")
}

#[test]
fn the_last_mark_in_a_field_decides() {
    let jobs = [job(1, None), job(2, None), job(3, None)];
    let (one, two) = ("01".repeat(16), "02".repeat(16));
    let rows = [marked("a", &format!("x [ref:{two}] y [ref:{one}]"))];
    assert_eq!(
        search(&jobs, &[page(&rows)]),
        [
            FindAnswer::One { reference: "a".into() },
            FindAnswer::None { is_complete: true },
            FindAnswer::None { is_complete: true }
        ]
    );
    // A mark that is cut off, or of somebody else, is none of ours.
    let foreign = "ff".repeat(16);
    let rows = [marked("b", &format!("[ref:{one}] [ref:{foreign}]"))];
    assert_eq!(search(&jobs[..1], &[page(&rows)]), [FindAnswer::None { is_complete: true }]);
    let rows = [marked("b", &format!("[ref:{one}] [ref:{}", &two[..20]))];
    assert_eq!(search(&jobs[..1], &[page(&rows)]), [FindAnswer::One { reference: "b".into() }]);
}

#[test]
fn a_row_seen_twice_is_one_job_and_two_rows_are_two() {
    let one = "01".repeat(16);
    let mark = |id: &str| marked(id, &format!("[ref:{one}]"));
    let twice = [page(&[mark("a"), mark("a")]), page(&[mark("a")])];
    assert_eq!(search(&[job(1, None)], &twice), [FindAnswer::One { reference: "a".into() }]);
    let both = [page(&[mark("a"), marked("x", "")]), page(&[mark("b")])];
    assert_eq!(search(&[job(1, None)], &both), [FindAnswer::Several(vec!["a".into(), "b".into()])]);
}

#[test]
fn an_absence_is_proved_or_not_said() {
    let jobs = [job(1, None)];
    let other = |id: &str| marked(id, "nothing");
    let full = || page(&[other("a"), other("b")]);
    assert_eq!(search(&jobs, &[full(), full(), full()]), [FindAnswer::None { is_complete: false }]);
    assert_eq!(search(&jobs, &[full(), page(&[])]), [FindAnswer::None { is_complete: true }]);
    assert!(matches!(search(&jobs, &[full(), exited(1)])[0], FindAnswer::Unavailable(_)));
    assert!(matches!(search(&jobs, &[cut(page(&[other("a")]))])[0], FindAnswer::Unreadable(_)));
    // No row has the field at all: the pointer is wrong, and nothing follows from it.
    assert!(matches!(search(&jobs, &[page(&[row("a", "busy", NEW)])])[0], FindAnswer::Unreadable(_)));
    // Our row without a reference.
    let bare = format!("{{\"text\":\"[ref:{}]\"}}", "01".repeat(16));
    assert!(matches!(search(&jobs, &[page(&[bare])])[0], FindAnswer::Unreadable(_)));
}

#[test]
fn a_piece_loses_our_mark_and_keeps_everything_else() {
    let spec = spec(POLLED);
    let job = job(1, Some("a"));
    let key = job.attempt.key.as_str();
    let output = format!(
        "{{\"content\":\"# T [ref:{key}]\\ntext [ref:12] [ref:{key}] end\",\"html\":\"<p>[ref:{key}]</p>\",\
         \"images\":[\"http://i/1\",{{\"url\":\"http://i/2\",\"alt\":\"x\"}},{{\"alt\":1}},7,\"\"],\"score\":\"8.5\"}}"
    );
    let FetchAnswer::Piece(piece) = fetch_answer(&spec, &job, &said(&output)) else { panic!("no piece") };
    assert_eq!(piece.content, "# T\ntext [ref:12] end");
    assert_eq!(piece.html.as_deref(), Some("<p></p>"));
    assert_eq!(piece.images[0], Image::bare("http://i/1"));
    assert_eq!(piece.images[1].url, "http://i/2");
    assert_eq!(piece.images[1].object_json.as_deref(), Some("{\"alt\":\"x\",\"url\":\"http://i/2\"}"));
    assert_eq!((piece.images.len(), piece.score), (2, Some(8.5)));
}

#[test]
fn a_fetch_without_a_piece_keeps_what_was_written() {
    let spec = spec(POLLED);
    let job = job(1, Some("a"));
    let answer = |call: &CallResult| fetch_answer(&spec, &job, call);
    for output in ["{}", "prose", "{\"content\":\"\"}", "{\"content\":\" \"}"] {
        let FetchAnswer::Unreadable { raw, .. } = answer(&said(output)) else { panic!("{output}") };
        assert_eq!(raw, output);
    }
    let only_mark = format!("{{\"content\":\"[ref:{}]\"}}", job.attempt.key);
    assert!(matches!(answer(&said(&only_mark)), FetchAnswer::Unreadable { .. }));
    assert!(matches!(answer(&cut(said("{\"content\":\"x\"}"))), FetchAnswer::Unreadable { .. }));
    assert_eq!(answer(&exited(5)), FetchAnswer::NotReady);
    assert_eq!(answer(&exited(4)), FetchAnswer::Missing { raw: "why\n".into() });
    assert_eq!(answer(&exited(1)), FetchAnswer::Unavailable("exit status 1: why".into()));
}

#[test]
fn cancels() {
    let spec = spec(POLLED);
    assert_eq!(cancel_answer(&spec, &said("")), CancelAnswer::Ok);
    assert_eq!(cancel_answer(&spec, &exited(6)), CancelAnswer::Refused("exit status 6: why".into()));
    assert!(matches!(cancel_answer(&spec, &exited(4)), CancelAnswer::Unclear(_)));
    assert!(matches!(cancel_answer(&spec, &exited(1)), CancelAnswer::Unclear(_)));
}

#[test]
fn a_task_that_cannot_travel_is_told_before_anything_runs() {
    let spec = spec(POLLED);
    let mut job = job(1, Some("r"));
    job.attempt.vars.insert("queue".into(), "fast".into());
    assert_eq!(spec.accepts(&job.task), Ok(()));
    let poll_one = spec.call(Verb::PollOne).expect("a poll by name");
    let rendered = spec.render(poll_one, &job, std::path::Path::new("/d")).expect("a call");
    assert_eq!(rendered.argv, ["p", "r", "fast"]);
    job.task.topic = "x".repeat(140_000);
    let why = spec.accepts(&job.task).expect_err("too long").to_string();
    assert!(why.starts_with("topic makes an argument of 140039 bytes"), "{why}");
    job.task.topic = "-x".into();
    let why = spec.accepts(&job.task).expect_err("an option").to_string();
    assert!(why.starts_with("topic begins with `-`"), "{why}");
}

proptest! {
    #[test]
    fn no_output_makes_an_answer_panic(
        stdout in prop::collection::vec(any::<u8>(), 0..120),
        stderr in prop::collection::vec(any::<u8>(), 0..40),
        status in 0i32..8,
        is_truncated: bool,
    ) {
        let call = CallResult { end: CallEnd::Exited(status), stdout, stderr, is_truncated };
        let (polled, blocking) = (spec(POLLED), spec(BLOCKING));
        let job = job(1, Some("a"));
        let _ = submit_answer(&polled, &job, &call);
        let _ = run_report(&blocking, &call);
        let _ = poll_one_answer(&polled, &call);
        let _ = fetch_answer(&polled, &job, &call);
        let _ = cancel_answer(&polled, &call);
        let mut polls = PollSweep::new(Arc::clone(&polled), vec![job.clone()]);
        polls.take(&call);
        prop_assert_eq!(polls.finish().answers.len(), 1);
        let mut finds = FindSweep::new(polled, vec![job]);
        finds.take(&call);
        prop_assert_eq!(finds.finish().answers.len(), 1);
    }

    #[test]
    fn taking_the_mark_out_leaves_no_mark(text in "[a \n]{0,12}", key in "[0-9a-f]{32}") {
        let mark = Mark { before: "[ref:".into(), after: "]".into() };
        let marked = format!("{text}[ref:{key}]{text} [ref:{key}]");
        let clean = mark.taken_out_of(&marked, &key);
        prop_assert!(!clean.contains("[ref:"));
        prop_assert_eq!(mark.taken_out_of(&text, &key), text);
    }
}

#[test]
fn a_piece_that_cannot_be_read_is_quoted_to_nobody_who_may_not_read_pieces() {
    let canary = "CANARY";
    let (fetched, run) = (spec(POLLED), spec(BLOCKING));
    let wrote = |end| CallResult { end, ..said(&format!("{{\"other\": \"{canary}\"}} {canary}")) };
    for end in [CallEnd::Exited(0), CallEnd::Exited(1), CallEnd::Signalled(9), CallEnd::TimedOut] {
        let answer = fetch_answer(&fetched, &job(1, Some("r")), &wrote(end.clone()));
        match &answer {
            FetchAnswer::Unreadable { why, raw } => {
                assert!(!why.contains(canary) && raw.contains(canary), "{answer:?}")
            }
            FetchAnswer::Unavailable(why) => assert!(!why.contains(canary), "{answer:?}"),
            other => panic!("{other:?}"),
        }
        let cut = CallResult { is_truncated: true, ..wrote(end) };
        match run_report(&run, &cut) {
            RunReport::NoPiece { why, raw } => assert!(!why.contains(canary) && raw.contains(canary), "{why}"),
            RunReport::Failed(why) => assert!(!why.contains(canary), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}
