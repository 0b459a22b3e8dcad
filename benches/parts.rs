//! Benchmarks of the parts: what a task costs where no process, no socket and (but for the commits) no disk is in it.
//!
//! ```text
//! cargo bench --bench parts [-- NAME]
//! ```
//!
//! Numbers of parts explain those of the whole and promise nothing: `end_to_end` measures what is promised.

use std::path::Path;
use std::sync::Arc;

use contentd::control::api::{SubmitBatchParams, SubmitParams, Submitted};
use contentd::control::protocol::{Call, CallHead, Frames, MAX_MESSAGE_BYTES, read_parameters, reply_frame};
use contentd::generator::extract::{Extractor, Output, Source};
use contentd::generator::template::{ArgSource, CommandTemplate, KnownNames, Values};
use contentd::host::{OsEntropy, SystemClock};
use contentd::store::Backend;
use contentd::store::sqlite::{self, SqliteBackend};
use contentd::store::write::{Claim, Env, NewTask, PendingLimits, Transition, Write};
use contentd::task::apply::CONTENTD;
use contentd::task::outcome::SubmitAnswer;
use contentd::task::{AccountId, Attempt, Clock, Context, Entropy, Event, Policy, Task, Timestamp, apply};
use divan::{Bencher, black_box};
use serde_json::json;

fn main() {
    divan::main();
}

const TOPIC: &str = "How a small queue keeps its promises when the power goes out in the middle of a job";
const REQUIREMENTS: &str = "Plain words, short sentences, one example from daily life, no more than six hundred words";

fn task() -> Task {
    let mut task = Task::blank(OsEntropy.task_id(), AccountId(1), "held".into(), SystemClock::new().now().utc);
    (task.topic, task.requirements) = (TOPIC.to_owned(), Some(REQUIREMENTS.to_owned()));
    (task.max_retries, task.time_limit_s, task.submitted_by) = (3, 1_800, "0:root".to_owned());
    task
}

mod transition {
    //! The pure core's judgement of an event.

    use super::*;

    fn judge(task: &Task, attempt: Option<&Attempt>, event: Event, policy: &Policy) -> (Task, Option<Attempt>) {
        let now = SystemClock::new().now();
        let context = Context {
            now: &now,
            policy,
            draw: 0.5,
            who: CONTENTD,
            is_late_piece_wanted: false,
            is_outage: false,
            owner: None,
        };
        let change = apply(task, attempt, event, &context).expect("the event fits");
        (change.task, change.attempt)
    }

    #[divan::bench]
    fn claim(bencher: Bencher<'_, '_>) {
        let (task, policy) = (task(), Policy::default());
        let event = || Event::Claimed { key: OsEntropy.attempt_key() };
        bencher.with_inputs(event).bench_values(|event| judge(black_box(&task), None, event, &policy));
    }

    #[divan::bench]
    fn accept(bencher: Bencher<'_, '_>) {
        let policy = Policy::default();
        let (task, attempt) = judge(&task(), None, Event::Claimed { key: OsEntropy.attempt_key() }, &policy);
        let event = || {
            Event::SubmitAnswered(SubmitAnswer::Accepted { reference: "job-4711".to_owned(), vars: Default::default() })
        };
        bencher.with_inputs(event).bench_values(|event| judge(black_box(&task), attempt.as_ref(), event, &policy));
    }
}

mod template {
    //! From a task to the arguments of a command.

    use super::*;

    #[divan::bench]
    fn render(bencher: Bencher<'_, '_>) {
        let known = KnownNames::new(["creator", "topic", "key", "requirements", "tone"]);
        let one = |text: &str| ArgSource::One(text.to_owned());
        let args = [
            one("{creator}"),
            one("create"),
            one("--topic={topic}"),
            one("--task-id={key}"),
            ArgSource::Group(vec!["--requirements={requirements}".to_owned()]),
            ArgSource::Group(vec!["--tone={tone}".to_owned()]),
        ];
        let command = CommandTemplate::compile(&args, None, &known).expect("a good template");
        bencher.bench(|| {
            let mut values = Values::default();
            let all = [("creator", "gen"), ("topic", TOPIC), ("key", "0a1b2c"), ("requirements", REQUIREMENTS)];
            all.into_iter().for_each(|(name, value)| values.set(name, value));
            command.render(black_box(&values), Path::new("/private")).expect("it can travel")
        });
    }
}

mod extraction {
    //! From what a generator writes to what is asked of it.

    use super::*;

    fn noisy(bytes: usize) -> Vec<u8> {
        let line = "[info] a line of a log that nobody asked for, { and it is not JSON }\n";
        let mut text = line.repeat(bytes / line.len());
        text += "{\"status\": \"completed\", \"content\": \"a piece\", \"error\": null}\n";
        text.into_bytes()
    }

    #[divan::bench(args = [100, 10_000, 1_000_000])]
    fn last_json(bencher: Bencher<'_, '_>, bytes: usize) {
        let (output, extractor) = (noisy(bytes), Extractor::compile("json:/status").expect("a good extractor"));
        bencher.bench(|| extractor.text(Source::Output(&Output::new(black_box(&output)))).expect("it is there"));
    }

    #[divan::bench(args = [100, 10_000, 1_000_000])]
    fn last_match(bencher: Bencher<'_, '_>, bytes: usize) {
        let extractor = Extractor::compile(r#"re:"status": "(\w+)""#).expect("a good extractor");
        let output = noisy(bytes);
        bencher.bench(|| extractor.text(Source::Output(&Output::new(black_box(&output)))).expect("it is there"));
    }
}

mod commit {
    //! A transaction of the writing side, on the disk that holds `target/`.

    use super::*;

    fn database() -> (SqliteBackend, tempfile::TempDir) {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let mut backend = sqlite::open(&dir.path().join("contentd.db"), 1).expect("a database").backend;
        let account = Write::AddAccount { name: "bench".into(), external_id: None, now: Timestamp(0) };
        written(&mut backend, &[account]);
        (backend, dir)
    }

    fn written(backend: &mut SqliteBackend, writes: &[Write]) {
        let answers = backend.commit(writes).expect("a commit");
        answers.into_iter().for_each(|answer| drop(answer.expect("a write")));
    }

    fn submit(claim: Option<Claim>) -> Write {
        let new = NewTask { task: task(), digest: String::new(), claim, limits: PendingLimits::default() };
        Write::SubmitTasks { tasks: vec![new], max_pending: u64::MAX, now: SystemClock::new().now() }
    }

    #[divan::bench(args = [1, 8, 100])]
    fn submits(bencher: Bencher<'_, '_>, count: usize) {
        let (mut backend, _dir) = database();
        let writes = || (0..count).map(|_| submit(None)).collect::<Vec<_>>();
        bencher.counter(count).with_inputs(writes).bench_local_values(|writes| written(&mut backend, &writes));
    }

    #[divan::bench]
    fn submit_and_claim(bencher: Bencher<'_, '_>) {
        let (mut backend, _dir) = database();
        let policy = Arc::new(Policy::default());
        let write = || submit(Some(Claim { key: OsEntropy.attempt_key(), policy: Arc::clone(&policy) }));
        bencher.with_inputs(write).bench_local_values(|write| written(&mut backend, &[write]));
    }

    /// The claims of a hundred waiting tasks, each judged in the transaction.
    #[divan::bench]
    fn claims(bencher: Bencher<'_, '_>) {
        let (backend, _dir) = database();
        let backend = std::cell::RefCell::new(backend);
        let policy = Arc::new(Policy::default());
        let claims = || {
            let mut claims = Vec::new();
            for _ in 0..100 {
                let new =
                    NewTask { task: task(), digest: String::new(), claim: None, limits: PendingLimits::default() };
                claims.push(claim(&new.task, &policy));
                let now = SystemClock::new().now();
                let submit = Write::SubmitTasks { tasks: vec![new], max_pending: u64::MAX, now };
                written(&mut backend.borrow_mut(), &[submit]);
            }
            claims
        };
        bencher
            .counter(100_usize)
            .with_inputs(claims)
            .bench_local_values(|claims| written(&mut backend.borrow_mut(), &claims));
    }

    fn claim(task: &Task, policy: &Arc<Policy>) -> Write {
        let env = Env {
            now: SystemClock::new().now(),
            policy: Arc::clone(policy),
            draw: 0.5,
            who: CONTENTD.to_owned(),
            is_late_piece_wanted: false,
            is_outage: false,
        };
        Write::Transition(Box::new(Transition {
            task_id: task.id.clone(),
            attempt: None,
            event: Event::Claimed { key: OsEntropy.attempt_key() },
            env,
            rendered: None,
            rules: Default::default(),
        }))
    }
}

mod codec {
    //! From bytes to a call, and from a reply to bytes.

    use super::*;

    fn message(method: &str, parameters: serde_json::Value) -> Vec<u8> {
        let call = Call { method, parameters, more: false, oneway: false };
        let mut message = serde_json::to_vec(&call).expect("JSON");
        message.push(0);
        message
    }

    fn submission() -> serde_json::Value {
        json!({ "account": "1", "topic": TOPIC, "requirements": REQUIREMENTS, "generator": "held" })
    }

    fn frame(message: &[u8]) -> Vec<u8> {
        let mut frames = Frames::new(MAX_MESSAGE_BYTES);
        frames.push(message);
        let frame = frames.next_frame().expect("it is short").expect("it is whole");
        assert!(CallHead::read(&frame).expect("a call").split().is_some());
        frame
    }

    #[divan::bench]
    fn read_submit(bencher: Bencher<'_, '_>) {
        let message = message("io.contentd.Tasks.Submit", json!({ "task": submission() }));
        bencher.bench(|| read_parameters::<SubmitParams>(&frame(black_box(&message))).expect("a submit"));
    }

    #[divan::bench]
    fn read_batch_of_100(bencher: Bencher<'_, '_>) {
        let tasks = vec![submission(); 100];
        let message = message("io.contentd.Tasks.SubmitBatch", json!({ "tasks": tasks }));
        bencher.bench(|| read_parameters::<SubmitBatchParams>(&frame(black_box(&message))).expect("a batch"));
    }

    #[divan::bench]
    fn write_submitted(bencher: Bencher<'_, '_>) {
        let id = OsEntropy.task_id().0;
        let reply = Submitted { task_id: Some(id), state: Some("pending".to_owned()), was_known: false };
        bencher.bench(|| reply_frame(&serde_json::to_vec(black_box(&reply)).expect("JSON"), false));
    }
}

/// The clock as the actors read it, because every event does.
#[divan::bench]
fn clock(bencher: Bencher<'_, '_>) {
    let clock = SystemClock::new();
    bencher.bench(|| clock.now());
}
