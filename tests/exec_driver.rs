//! The command driver against real programs: every verb, blocking runs over restarts, secrets, locks.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use contentd::generator::command::{CommandDriver, Places};
use contentd::generator::exec::Environment;
use contentd::generator::extract::Extractor;
use contentd::generator::log::GeneratorLogs;
use contentd::generator::spec::{
    BatchSpec, CallSpec, FetchSpec, GeneratorSpec, Limits, PieceSpec, PollSpec, RefSource, StateSpec, SubmitSpec,
    Yields,
};
use contentd::generator::template::{ArgSource, CommandTemplate, KnownNames};
use contentd::generator::{Driver, Job};
use contentd::task::outcome::{CancelAnswer, FetchAnswer, JobState, PollAnswer, RunReport, SubmitAnswer, Verb};
use contentd::task::retry::Backoff;
use contentd::task::{AccountId, Attempt, AttemptKey, AttemptState, Task, TaskId, TaskState, Timestamp};

const LONG: Duration = Duration::from_secs(60);
const SECRET: &str = "sk-0123456789abcdef";

struct Rig {
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    logs: GeneratorLogs,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("credentials")).expect("made");
        fs::create_dir(dir.path().join("work")).expect("made");
        fs::write(dir.path().join("credentials/llm-key"), format!("{SECRET}\n")).expect("written");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let logs = GeneratorLogs::new(&dir.path().join("state"));
        Self { dir, runtime, logs }
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("work").join(name)
    }

    fn places(&self) -> Places {
        Places {
            run_socket: None,
            state_dir: self.dir.path().join("state"),
            runner: env!("CARGO_BIN_EXE_contentd-run").into(),
            credentials: Some(self.dir.path().join("credentials")),
            environment: Environment::minimal(&|_| None),
            logs: self.logs.clone(),
            is_look_only: false,
            runs_lost_before: None,
        }
    }

    fn driver(&self, spec: GeneratorSpec) -> CommandDriver {
        CommandDriver::new(Arc::new(spec), self.places())
    }

    /// A generator whose submit is a shell script with the key and the topic as its arguments.
    fn polled(&self, submit: &str) -> GeneratorSpec {
        let submit = SubmitSpec {
            call: call(Verb::Submit, submit, &["{key}", "{topic}"]),
            yields: Yields::Reference(RefSource::Extract(extract("re:(?m)^ref: (\\S+)$"))),
            vars: BTreeMap::new(),
        };
        self.spec(submit)
    }

    fn blocking(&self, script: &str) -> GeneratorSpec {
        let submit = SubmitSpec {
            call: call(Verb::Run, script, &["{key}", "{topic}"]),
            yields: Yields::Piece(piece("text")),
            vars: BTreeMap::new(),
        };
        self.spec(submit)
    }

    fn spec(&self, submit: SubmitSpec) -> GeneratorSpec {
        let limits = Limits {
            max_in_flight: 5,
            max_in_flight_per_account: None,
            calls_per_minute: None,
            submits_per_day: None,
            submits_per_day_per_account: None,
            max_pending: None,
            max_pending_per_account: None,
        };
        let retry = Backoff { initial: LONG, factor: 2.0, max: LONG, jitter: 0.0 };
        GeneratorSpec {
            name: "gen".into(),
            creator: "content-creator".into(),
            is_idempotent: false,
            is_free_to_repeat: false,
            is_detached: true,
            allows_empty: false,
            cwd: Some(self.dir.path().join("work")),
            env: BTreeMap::from([("ADDED".into(), "yes".into())]),
            secrets: BTreeMap::from([("LLM_API_KEY".into(), "llm-key".into())]),
            limits,
            retry,
            poll_interval: LONG,
            settle: LONG,
            find_limit: LONG,
            grace: Duration::from_secs(5),
            dead_when: None,
            states: BTreeMap::from([("busy".into(), JobState::Processing), ("done".into(), JobState::Completed)]),
            submit,
            poll: None,
            poll_one: None,
            find: None,
            fetch: None,
            cancel: None,
        }
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + LONG;
        while !is_so() {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn extract(source: &str) -> Extractor {
    Extractor::compile(source).expect("an extractor")
}

fn piece(content: &str) -> PieceSpec {
    PieceSpec { content: extract(content), html: None, images: None, score: None }
}

fn call(verb: Verb, script: &str, args: &[&str]) -> CallSpec {
    call_with(verb, script, args, None)
}

fn call_with(verb: Verb, script: &str, args: &[&str], stdin: Option<&str>) -> CallSpec {
    let known = KnownNames::new(["key", "topic", "requirements", "ref", "batch_limit", "batch_offset", "creator"]);
    let script = script.replace('{', "{{").replace('}', "}}");
    let all = ["sh", "-c", &script, "gen", "--"].into_iter().chain(args.to_vec());
    let args: Vec<_> = all.map(|arg| ArgSource::One(arg.to_owned())).collect();
    let command = CommandTemplate::compile(&args, stdin, &known).expect("a template");
    CallSpec { verb, command, timeout: LONG, rules: Vec::new() }
}

fn job(key: &str, state: AttemptState) -> Job {
    let now = Timestamp(1_000_000);
    let id = TaskId(format!("task-{key:0>12}"));
    let task = Task {
        id: id.clone(),
        seq: 1,
        account_id: AccountId(1),
        topic: "a topic".into(),
        keywords: Vec::new(),
        category: None,
        requirements: Some("the requirements".into()),
        tone: None,
        priority: 5,
        auto_approve: true,
        generator: "gen".into(),
        state: TaskState::Submitting,
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
        created_at: now,
        queued_at: now,
        submitted_at: None,
        started_at: None,
        completed_at: None,
        wake_at: None,
        updated_at: now,
        restored_at: None,
        not_before: None,
    };
    let mut attempt = Attempt::intended(id, 1, key.into(), now);
    attempt.state = state;
    attempt.external_ref = Some(format!("ref-{key}"));
    Job { task, attempt }
}

fn new_job(key: &str) -> Job {
    job(key, AttemptState::Intended)
}

fn accepted(key: &str) -> Job {
    job(key, AttemptState::Accepted)
}

fn key(text: &str) -> AttemptKey {
    text.into()
}

#[test]
fn a_job_goes_from_submit_to_fetch_and_cancel() {
    let rig = Rig::new();
    let mut spec = rig.polled("echo noise; echo \"ref: got-$2\"");
    spec.poll = Some(PollSpec {
        call: call(Verb::Poll, "echo \"{\\\"status\\\":\\\"busy\\\",\\\"ref\\\":\\\"$2\\\"}\"", &["{ref}"]),
        batch: None,
        job: StateSpec {
            state: extract("json:/status"),
            error: None,
            progress: Some(extract("json:/ref")),
            vars: BTreeMap::new(),
        },
    });
    spec.fetch = Some(FetchSpec { call: call(Verb::Fetch, "echo \"piece of $2\"", &["{ref}"]), piece: piece("text") });
    let driver = rig.driver(spec);
    let expected = SubmitAnswer::Accepted { reference: "got-a1".into(), vars: BTreeMap::new() };
    assert_eq!(rig.run(driver.submit(new_job("a1"))), expected);
    let sweep = rig.run(driver.poll(vec![accepted("a1"), accepted("a2")]));
    assert_eq!(sweep.calls, 2);
    for (task, answer) in sweep.answers {
        let PollAnswer::State { state: JobState::Processing, progress, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(progress.expect("told").replace("ref-", "task-0000000000"), task.0);
    }
    let FetchAnswer::Piece(piece) = rig.run(driver.fetch(accepted("a1"))) else { panic!("no piece") };
    assert_eq!(piece.content.trim(), "piece of ref-a1");
    let CancelAnswer::Refused(why) = rig.run(driver.cancel(accepted("a1"))) else { panic!("cancelled") };
    assert!(why.contains("no cancel verb"), "{why}");
    assert!(rig.run(driver.is_quiet(key("a1"))));
    rig.run(driver.forget(key("a1")));
    assert!(!rig.dir.path().join("state/calls/a1.run").exists());
}

#[test]
fn a_list_is_asked_for_page_by_page() {
    let rig = Rig::new();
    let mut spec = rig.polled("true");
    let script = "echo $2+$3 >> pages; echo 'about all' >&2; if [ $3 -lt 4 ]; then \
                  echo \"[{\\\"id\\\":\\\"ref-p$3\\\",\\\"s\\\":\\\"done\\\"},{\\\"id\\\":\\\"x$3\\\",\\\"s\\\":\\\"done\\\"}]\"; \
                  else echo '[]'; fi";
    spec.poll = Some(PollSpec {
        call: call(Verb::Poll, script, &["{batch_limit}", "{batch_offset}"]),
        batch: Some(BatchSpec {
            page_rows: Some(2),
            has_pages: true,
            max_pages: 10,
            items: extract("json:"),
            key: extract("json:/id"),
            created_newest_first: None,
        }),
        job: StateSpec { state: extract("json:/s"), error: None, progress: None, vars: BTreeMap::new() },
    });
    let driver = rig.driver(spec);
    let sweep = rig.run(driver.poll(vec![accepted("p2"), accepted("p9")]));
    assert_eq!(fs::read_to_string(rig.path("pages")).expect("called"), "2+0\n2+2\n2+4\n");
    assert_eq!(sweep.calls, 3);
    assert!(rig.logs.read(&accepted("p2").task.id).expect("read").entries.is_empty(), "it is no task's");
    assert!(matches!(sweep.answers[0].1, PollAnswer::State { state: JobState::Completed, .. }));
    assert!(matches!(sweep.answers[1].1, PollAnswer::Missing { is_complete: true, by_name: false }));
}

#[test]
fn what_never_started_is_unavailable_and_what_got_no_answer_is_ambiguous() {
    let rig = Rig::new();
    let mut spec = rig.polled("true");
    spec.cwd = Some(rig.path("nowhere"));
    let driver = rig.driver(spec);
    let SubmitAnswer::Unavailable(why) = rig.run(driver.submit(new_job("b1"))) else { panic!("not unavailable") };
    assert!(why.contains("nowhere does not exist: create it"), "{why}");
    assert!(driver.faults()[0].starts_with("generators.gen: cwd "), "{:?}", driver.faults());

    let mut slow = rig.polled("exec sleep 600");
    slow.submit.call.timeout = Duration::from_millis(200);
    let answer = rig.run(rig.driver(slow).submit(new_job("b2")));
    assert!(matches!(answer, SubmitAnswer::Ambiguous(_)), "{answer:?}");
    for script in ["exit 3", "echo no reference here"] {
        let answer = rig.run(rig.driver(rig.polled(script)).submit(new_job("b3")));
        assert!(matches!(answer, SubmitAnswer::Ambiguous(_)), "{script}: {answer:?}");
    }
}

#[test]
fn the_lock_tells_whether_somebody_is_left_of_a_submit() {
    let rig = Rig::new();
    // What it leaves behind keeps its standard input only.
    let script = "exec 3<&0; (while [ ! -e gate ]; do sleep 0.02; done) <&3 >/dev/null 2>&1 & echo ref: left";
    let driver = rig.driver(rig.polled(script));
    assert!(matches!(rig.run(driver.submit(new_job("c1"))), SubmitAnswer::Accepted { .. }));
    assert!(!rig.run(driver.is_quiet(key("c1"))));
    let again = rig.run(driver.submit(job("c1", AttemptState::Unknown)));
    assert!(matches!(&again, SubmitAnswer::Ambiguous(why) if why.contains("still has a process")), "{again:?}");
    fs::write(rig.path("gate"), "").expect("written");
    rig.wait_until("it is quiet", || rig.run(driver.is_quiet(key("c1"))));
}

#[test]
fn secrets_reach_the_call_and_nothing_else() {
    let rig = Rig::new();
    let driver = rig.driver(rig.polled(
        "tr '\\0' '\\n' < /proc/$$/cmdline > argv; env | sort > env; echo \"bad key $LLM_API_KEY\" >&2; exit 1",
    ));
    let SubmitAnswer::Ambiguous(why) = rig.run(driver.submit(new_job("d1"))) else { panic!("answered") };
    assert!(why.contains("bad key [secret]") && !why.contains(SECRET), "{why}");
    assert!(!fs::read_to_string(rig.path("argv")).expect("there").contains(SECRET));
    let env = fs::read_to_string(rig.path("env")).expect("there");
    let own = format!("ADDED=yes\nLANG=C.UTF-8\nLLM_API_KEY={SECRET}\nPATH=/usr/local/bin:/usr/bin:/bin\n");
    // The shell sets PWD, and some shells two more, by themselves.
    let lines: String = env
        .lines()
        .filter(|line| !["PWD=", "SHLVL=", "_="].iter().any(|own| line.starts_with(own)))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(lines, own);

    fs::remove_file(rig.dir.path().join("credentials/llm-key")).expect("removed");
    let SubmitAnswer::Unavailable(why) = rig.run(driver.submit(new_job("d2"))) else { panic!("answered") };
    assert!(why.contains("credstore") && why.contains("LoadCredential=llm-key:"), "{why}");
    assert!(driver.faults().iter().any(|fault| fault.contains("secrets.LLM_API_KEY")), "{:?}", driver.faults());
}

#[test]
fn private_files_and_standard_input_carry_what_is_long() {
    let rig = Rig::new();
    let mut spec = rig.polled("");
    let script = "stat -c %a \"$2\"; cat \"$2\"; echo; echo \"ref: $(cat)\"";
    spec.submit.call = call_with(Verb::Submit, script, &["{file:requirements}"], Some("in-{key}"));
    spec.poll = Some(PollSpec {
        call: call_with(Verb::Poll, "cat; cat \"$2\"", &["{file:requirements}"], Some("busy\n")),
        batch: None,
        job: StateSpec { state: extract("first:re:^(.*)"), error: None, progress: None, vars: BTreeMap::new() },
    });
    spec.states.insert("the requirements".into(), JobState::Submitted);
    let driver = rig.driver(spec);
    let answer = rig.run(driver.submit(new_job("e1")));
    assert_eq!(answer, SubmitAnswer::Accepted { reference: "in-e1".into(), vars: BTreeMap::new() });
    let private = rig.dir.path().join("state/calls/e1.d/requirements");
    assert_eq!(fs::metadata(&private).expect("there").permissions().mode() & 0o777, 0o600);
    let answer = rig.run(driver.poll_one(accepted("e1")));
    assert!(matches!(&answer, PollAnswer::State { theirs, .. } if theirs == "busy"), "{answer:?}");
    rig.run(driver.forget(key("e1")));
    assert_eq!(fs::read_dir(rig.dir.path().join("state/calls")).expect("there").count(), 0);
}

#[test]
fn a_blocking_run_is_told_from_start_to_piece() {
    let rig = Rig::new();
    let driver = rig.driver(rig.blocking("while [ ! -e gate ]; do sleep 0.02; done; echo \"about $3, $LLM_API_KEY\""));
    let (told, ends) = mpsc::channel();
    driver.on_run_ended(Arc::new(move |task| drop(told.send(task))));
    let started = rig.run(driver.start_run(new_job("f1")));
    assert_eq!(started, RunReport::Started { reference: "f1".into() });
    assert_eq!(rig.run(driver.start_run(new_job("f1"))), started, "starting twice starts nothing");
    assert_eq!(rig.run(driver.look_at_run(accepted("f1"))), RunReport::Running);
    assert!(!rig.run(driver.is_quiet(key("f1"))));
    fs::write(rig.path("gate"), "").expect("written");
    assert_eq!(ends.recv_timeout(LONG).expect("told"), accepted("f1").task.id);
    assert_eq!(rig.run(driver.look_at_run(new_job("f1"))), started, "the start is told first");
    let RunReport::Piece(piece) = rig.run(driver.look_at_run(accepted("f1"))) else { panic!("no piece") };
    assert_eq!(piece.content.trim(), "about a topic, [secret]");
    rig.run(driver.forget(key("f1")));
    let report = rig.run(driver.look_at_run(accepted("f1")));
    assert!(matches!(&report, RunReport::NeverStarted(why) if why.contains("may be paid for")), "{report:?}");
    // The place of all runs is there, so a run that is not in it never began; without the place nothing proves that.
    assert!(matches!(rig.run(driver.look_at_run(new_job("f8"))), RunReport::NeverStarted(_)));
    let (runs, away) = (rig.dir.path().join("state/runs"), rig.dir.path().join("away"));
    fs::rename(&runs, &away).expect("moved");
    assert_eq!(rig.run(driver.look_at_run(new_job("f7"))), RunReport::Started { reference: "f7".into() });
    // A run that dies with the daemon is free to repeat; that it is sealed must not make the place look as if it had been there.
    let plain = rig.driver(GeneratorSpec { is_detached: false, ..rig.blocking("true") });
    assert!(matches!(rig.run(plain.look_at_run(new_job("f5"))), RunReport::NeverStarted(_)));
    assert_eq!(rig.run(driver.look_at_run(new_job("f7"))), RunReport::Started { reference: "f7".into() });
    fs::rename(&away, &runs).expect("moved back");
    // Nor does a place that is there again: what another run's look or start has made says nothing of those before.
    let intended_at = new_job("f6").attempt.intended_at;
    for (lost_before, is_proof) in [(intended_at.plus(Duration::from_secs(1)), false), (intended_at, true)] {
        let places = Places { runs_lost_before: Some(lost_before), ..rig.places() };
        let driver = CommandDriver::new(Arc::new(rig.blocking("true")), places);
        let report = rig.run(driver.look_at_run(new_job("f6")));
        assert_eq!(matches!(report, RunReport::NeverStarted(_)), is_proof, "{report:?}");
    }
    let mut restored = new_job("f9");
    restored.task.restored_at = Some(restored.task.created_at);
    let started = RunReport::Started { reference: "f9".into() };
    assert_eq!(
        rig.run(driver.look_at_run(restored)),
        started,
        "it may have run after the backup, so the next look asks a person"
    );
    assert!(matches!(rig.run(driver.look_at_run(new_job("f1"))), RunReport::NeverStarted(_)));
    assert!(matches!(rig.run(driver.start_run(new_job("f1"))), RunReport::NeverStarted(_)), "and it never will");
}

#[test]
fn a_run_found_after_a_restart_is_watched_again() {
    let rig = Rig::new();
    let spec = rig.blocking("while [ ! -e gate ]; do sleep 0.02; done; exit 9");
    let before = rig.driver(spec.clone());
    assert!(matches!(rig.run(before.start_run(new_job("g1"))), RunReport::Started { .. }));
    let after = rig.driver(spec);
    let (told, ends) = mpsc::channel();
    after.on_run_ended(Arc::new(move |task| drop(told.send(task))));
    assert_eq!(rig.run(after.look_at_run(accepted("g1"))), RunReport::Running);
    rig.run(after.interrupt());
    assert_eq!(rig.run(after.look_at_run(accepted("g1"))), RunReport::Running, "detached runs are left alone");
    fs::write(rig.path("gate"), "").expect("written");
    ends.recv_timeout(LONG).expect("told");
    let report = rig.run(after.look_at_run(accepted("g1")));
    assert!(matches!(&report, RunReport::Failed(why) if why.contains("exit status 9")), "{report:?}");
}

#[test]
fn cancelling_a_run_proves_its_end_or_says_that_a_piece_is_there() {
    let rig = Rig::new();
    let driver = rig.driver(rig.blocking("exec sleep 600"));
    assert!(matches!(rig.run(driver.start_run(new_job("h1"))), RunReport::Started { .. }));
    assert_eq!(rig.run(driver.cancel(accepted("h1"))), CancelAnswer::Ok);
    assert!(rig.run(driver.is_quiet(key("h1"))));
    assert_eq!(rig.run(driver.look_at_run(accepted("h1"))), RunReport::Killed);

    let script = "trap 'echo a piece; exit 0' TERM; echo > ready; while :; do sleep 0.05; done";
    let driver = rig.driver(rig.blocking(script));
    assert!(matches!(rig.run(driver.start_run(new_job("h2"))), RunReport::Started { .. }));
    rig.wait_until("its trap is set", || rig.path("ready").exists());
    assert!(matches!(rig.run(driver.cancel(accepted("h2"))), CancelAnswer::Unclear(_)));
    assert!(matches!(rig.run(driver.look_at_run(accepted("h2"))), RunReport::Piece(_)));
    assert_eq!(rig.run(driver.cancel(accepted("h3"))), CancelAnswer::Ok, "never made, so nobody is left");
}

#[test]
fn a_run_that_cannot_start_says_why() {
    let rig = Rig::new();
    let mut spec = rig.blocking("true");
    spec.cwd = Some(rig.path("nowhere"));
    let report = rig.run(rig.driver(spec).start_run(new_job("i1")));
    assert!(matches!(&report, RunReport::NeverStarted(why) if why.contains("create it")), "{report:?}");
    let places = Places { runner: "/no/such/contentd-run".into(), ..rig.places() };
    let driver = CommandDriver::new(Arc::new(rig.blocking("true")), places);
    let report = rig.run(driver.start_run(new_job("i2")));
    assert!(matches!(&report, RunReport::NeverStarted(why) if why.contains("contentd-run")), "{report:?}");
    assert!(driver.faults().iter().any(|fault| fault.contains("needs the runner")), "{:?}", driver.faults());
    // A process that another test is starting at this moment has a copy of the lock until it runs its program.
    rig.wait_until("its lock is free", || rig.run(driver.is_quiet(key("i2"))));
    assert!(matches!(rig.run(driver.look_at_run(new_job("i2"))), RunReport::NeverStarted(_)));
}

#[test]
fn plain_children_end_with_the_daemon_and_are_given_back() {
    let rig = Rig::new();
    let plain = |script: &str| GeneratorSpec { is_detached: false, is_free_to_repeat: true, ..rig.blocking(script) };
    let driver = rig.driver(plain("while [ ! -e gate ]; do sleep 0.02; done; echo a piece"));
    let (told, ends) = mpsc::channel();
    driver.on_run_ended(Arc::new(move |task| drop(told.send(task))));
    for name in ["j1", "j2"] {
        assert!(matches!(rig.run(driver.start_run(new_job(name))), RunReport::Started { .. }));
        assert_eq!(rig.run(driver.look_at_run(accepted(name))), RunReport::Running);
    }
    assert_eq!(rig.run(driver.cancel(accepted("j1"))), CancelAnswer::Ok);
    assert_eq!(rig.run(driver.look_at_run(accepted("j1"))), RunReport::Killed);
    assert_eq!(ends.recv_timeout(LONG).expect("told"), accepted("j1").task.id);
    rig.run(driver.interrupt());
    assert!(rig.run(driver.is_quiet(key("j2"))));
    assert!(matches!(rig.run(driver.look_at_run(accepted("j2"))), RunReport::Interrupted(_)));
    let report = rig.run(driver.start_run(new_job("j3")));
    assert!(matches!(&report, RunReport::NeverStarted(why) if why.contains("stopping")), "{report:?}");

    let driver = rig.driver(plain("echo a piece"));
    let (told, ends) = mpsc::channel();
    driver.on_run_ended(Arc::new(move |task| drop(told.send(task))));
    assert!(matches!(rig.run(driver.start_run(new_job("j4"))), RunReport::Started { .. }));
    ends.recv_timeout(LONG).expect("told");
    assert!(matches!(rig.run(driver.look_at_run(accepted("j4"))), RunReport::Piece(_)));
}

#[test]
fn a_plain_child_of_a_daemon_that_died_is_interrupted_once_its_lock_is_free() {
    let rig = Rig::new();
    let spec = GeneratorSpec { is_detached: false, is_free_to_repeat: true, ..rig.blocking("true") };
    let run = rig.dir.path().join("state/runs/v1/k1");
    fs::create_dir_all(&run).expect("made");
    for name in ["lock", "started"] {
        fs::write(run.join(name), "").expect("written");
    }
    let held = fs::File::open(run.join("lock")).expect("opened");
    held.lock().expect("locked");
    let driver = rig.driver(spec);
    assert_eq!(rig.run(driver.look_at_run(accepted("k1"))), RunReport::Running);
    drop(held);
    // A process that another test starts in this moment holds a copy of the lock from its fork to its exec.
    let deadline = Instant::now() + Duration::from_secs(60);
    let report = loop {
        let report = rig.run(driver.look_at_run(accepted("k1")));
        if !matches!(report, RunReport::Running) || Instant::now() > deadline {
            break report;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(matches!(report, RunReport::Interrupted(_)));
}

#[test]
fn what_a_lost_run_wrote_is_told_up_to_a_bound() {
    let rig = Rig::new();
    let driver = rig.driver(rig.blocking("true"));
    for (name, text) in [("m1", "half a piece".to_owned()), ("m2", "x".repeat((1 << 20) + 1))] {
        let run = rig.dir.path().join("state/runs/v1").join(key(name).0);
        fs::create_dir_all(&run).expect("made");
        for (file, text) in [("lock", ""), ("started", ""), ("stdout", text.as_str())] {
            fs::write(run.join(file), text).expect("written");
        }
        let report = rig.run(driver.look_at_run(accepted(name)));
        let RunReport::Lost { raw, .. } = report else { panic!("{report:?}") };
        assert_eq!(raw, text[..text.len().min(1 << 20)]);
    }
}

#[test]
fn what_denies_its_own_start_costs_nothing_before_it_was_accepted_and_a_retry_after() {
    let rig = Rig::new();
    let driver = rig.driver(rig.blocking("true"));
    let run = rig.dir.path().join("state/runs/v1/q1");
    fs::create_dir_all(&run).expect("made");
    let exit = format!(
        r#"{{"end":{{"not_started":"no {SECRET} here"}},"is_truncated":false,"stopped":null,"ended_at_ms":1}}"#
    );
    for (file, text) in [("lock", ""), ("started", ""), ("exit.json", exit.as_str())] {
        fs::write(run.join(file), text).expect("written");
    }
    let look = |job| rig.run(driver.look_at_run(job));
    assert_eq!(look(new_job("q1")), RunReport::NeverStarted("no [secret] here".into()));
    let report = look(accepted("q1"));
    assert!(matches!(&report, RunReport::Failed(why) if why.contains("no [secret] here")), "{report:?}");
}

#[test]
fn a_program_that_only_the_runner_cannot_start_is_no_start() {
    let rig = Rig::new();
    // Looked for it is there and executable; started it has an interpreter that is not there.
    let broken = rig.path("broken");
    fs::write(&broken, "#!/no/such/interpreter\n").expect("written");
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).expect("made executable");
    for is_detached in [true, false] {
        let mut spec = rig.blocking("true");
        let argv = [ArgSource::One(broken.to_str().expect("UTF-8").to_owned())];
        let command = CommandTemplate::compile(&argv, None, &KnownNames::new(["key"]));
        spec.submit.call.command = command.expect("a command");
        let spec = GeneratorSpec { is_detached, is_free_to_repeat: !is_detached, ..spec };
        let report = rig.run(rig.driver(spec).start_run(new_job(if is_detached { "r1" } else { "r2" })));
        assert!(matches!(&report, RunReport::NeverStarted(why) if why.contains("broken")), "{report:?}");
    }
}

#[test]
fn a_job_that_cannot_travel_is_refused() {
    let rig = Rig::new();
    let driver = rig.driver(rig.polled("true"));
    let mut big = new_job("l1");
    big.task.topic = "x".repeat(200_000);
    assert!(driver.accepts(&big.task).expect_err("refused").contains("topic"));
    assert!(matches!(rig.run(driver.submit(big)), SubmitAnswer::Rejected(_)));
    assert!(driver.accepts(&new_job("l2").task).is_ok());
    assert!(Path::new(env!("CARGO_BIN_EXE_contentd-run")).exists());
    assert_eq!(driver.faults(), Vec::<String>::new());
}

#[test]
fn what_a_call_writes_to_standard_error_is_kept_without_its_secrets() {
    let rig = Rig::new();
    let script = r#"printf 'cannot reach it with %s\n\033[2Jat all\n' "$LLM_API_KEY" >&2; echo a piece; exit 75"#;
    let driver = rig.driver(rig.polled(script));
    let mut second = new_job("n1");
    second.attempt.number = 2;
    for job in [new_job("n1"), new_job("n1"), second] {
        assert!(matches!(rig.run(driver.submit(job)), SubmitAnswer::Ambiguous(_)));
    }
    let log = rig.logs.read(&new_job("n1").task.id).expect("read");
    let found: Vec<_> = log.entries.iter().map(|entry| (entry.attempt, entry.times, entry.text.as_str())).collect();
    let text = "cannot reach it with [secret]\n\u{1b}[2Jat all\n";
    assert_eq!(found, [(1, 2, text), (2, 1, text)], "and nothing of standard output");
    assert_eq!((log.entries[0].verb, log.entries[0].end.as_str()), (Verb::Submit, "exit 75"));
    assert_eq!(log.entries[0].outcome.as_deref(), Some("unclear"));
    let quiet = rig.driver(rig.polled("echo 'ref: r1'"));
    assert!(matches!(rig.run(quiet.submit(new_job("n2"))), SubmitAnswer::Accepted { .. }));
    assert!(rig.logs.read(&new_job("n2").task.id).expect("read").entries.is_empty(), "silence is not kept");
}

#[test]
fn what_a_run_writes_is_read_while_it_runs_and_kept_once() {
    let rig = Rig::new();
    let script = r#"printf 'began with %s\n' "$LLM_API_KEY" >&2; printf sk-01234 >&2
        while [ ! -e gate ]; do sleep 0.02; done; echo ' ended' >&2; echo a piece"#;
    let spec = rig.blocking(script);
    let driver = rig.driver(spec.clone());
    assert_eq!(rig.run(driver.written_so_far(new_job("o1"), 0)), None, "there is no run");
    assert!(matches!(rig.run(driver.start_run(new_job("o1"))), RunReport::Started { .. }));
    let written = || rig.run(driver.written_so_far(accepted("o1"), 0)).map(|written| written.text);
    rig.wait_until("it has begun", || written().is_some_and(|text| text.contains("began")));
    let seen = written().expect("it runs");
    assert!("began with [secret]\n".starts_with(&seen), "the beginning of a secret is held back: {seen:?}");
    fs::write(rig.path("gate"), "").expect("written");
    rig.wait_until("it has ended", || rig.run(driver.is_quiet(key("o1"))));
    let whole = "began with [secret]\nsk-01234 ended\n";
    // It ends while no daemon looks; the next two both find it.
    for _ in 0..2 {
        let next = rig.driver(spec.clone());
        assert!(matches!(rig.run(next.look_at_run(accepted("o1"))), RunReport::Piece(_)));
        assert!(matches!(rig.run(next.look_at_run(accepted("o1"))), RunReport::Piece(_)));
        let log = rig.logs.read(&accepted("o1").task.id).expect("read");
        let found: Vec<_> = log.entries.iter().map(|entry| (entry.verb, entry.times, entry.text.as_str())).collect();
        assert_eq!(found, [(Verb::Run, 1, whole)]);
        assert_eq!(rig.run(next.written_so_far(accepted("o1"), 0)), None, "it is in the log");
    }
}

#[test]
fn what_was_written_with_a_secret_that_cannot_be_read_any_more_is_kept_back() {
    let rig = Rig::new();
    let driver = rig.driver(rig.blocking(r#"echo "I have $LLM_API_KEY" >&2; echo a piece"#));
    assert!(matches!(rig.run(driver.start_run(new_job("p1"))), RunReport::Started { .. }));
    rig.wait_until("it has ended", || rig.run(driver.is_quiet(key("p1"))));
    fs::remove_file(rig.dir.path().join("credentials/llm-key")).expect("removed");
    assert!(!rig.run(driver.written_so_far(accepted("p1"), 0)).expect("not told yet").text.contains(SECRET));
    assert!(matches!(rig.run(driver.look_at_run(accepted("p1"))), RunReport::Piece(_)));
    let log = rig.logs.read(&accepted("p1").task.id).expect("read");
    assert!(log.entries[0].text.contains("kept back") && !log.entries[0].text.contains(SECRET), "{log:?}");
}
