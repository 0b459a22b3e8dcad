//! The doctor and backups on the real binary: a healthy daemon has no error; then things are broken one by one, and each is
//! found with its cure.

#[path = "support/daemon.rs"]
mod daemon;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use daemon::{Daemon, Setup};
use diesel::prelude::*;
use serde_json::{Value, json};

/// The findings of `contentctl doctor` with these arguments, and the exit code.
fn doctor(daemon: &Daemon, args: &[&str]) -> (Vec<Value>, i32) {
    let ran = daemon.ctl(&[&["doctor"], args].concat());
    let code = ran.code.expect("it exits");
    (ran.json().as_array().expect("an array").clone(), code)
}

fn errors(findings: &[Value]) -> Vec<&Value> {
    findings.iter().filter(|finding| finding["severity"] == "error").collect()
}

/// The first finding that is not ok, is about this subject and says this.
#[track_caller]
fn complaint<'f>(findings: &'f [Value], subject: &str, text: &str) -> &'f Value {
    let is_it = |finding: &&Value| {
        finding["severity"] != "ok"
            && finding["subject"].as_str().is_some_and(|found| found.contains(subject))
            && finding["found"].as_str().is_some_and(|found| found.contains(text))
    };
    let found = findings.iter().find(is_it);
    let found = found.unwrap_or_else(|| panic!("no complaint about {subject} that says {text:?}: {findings:#?}"));
    assert!(found["cure"].as_str().is_some_and(|cure| !cure.is_empty()), "{found}");
    found
}

#[test]
fn a_healthy_daemon_has_no_error_and_each_half_is_looked_at() {
    let daemon = Daemon::start();
    let done = daemon.submit("Tea", &[]);
    daemon.await_state(&done, "completed");
    let (findings, code) = doctor(&daemon, &[]);
    assert_eq!((errors(&findings), code), (vec![], 0), "{findings:#?}");
    let subjects: BTreeSet<&str> = findings.iter().filter_map(|finding| finding["subject"].as_str()).collect();
    for subject in [
        "socket",
        "systemd",
        "versions",
        "configuration",
        "database",
        "disk of the database",
        "state directory",
        "actors",
        "clock",
        "supervision",
        "generator sample",
        "held tasks",
    ] {
        let is_there = subjects.contains(subject) || (subject == "systemd" && subjects.contains("contentd.service"));
        assert!(is_there, "{subject}: {subjects:?}");
    }
    // For people: what is well is folded, and shown when it is asked for.
    let mut table = daemon.command(env!("CARGO_BIN_EXE_contentctl"));
    let table = table.arg("--socket").arg(daemon.socket()).arg("doctor").output().expect("it runs");
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.status.success() && text.contains("0 errors") && !text.contains("pages was read"), "{text}");
    assert!(text.contains("`--all`"), "{text}");
    let csv = daemon
        .command(env!("CARGO_BIN_EXE_contentctl"))
        .arg("--socket")
        .arg(daemon.socket())
        .args(["--output", "csv", "doctor"])
        .output()
        .expect("it runs");
    assert!(String::from_utf8_lossy(&csv.stdout).starts_with("severity,subject,found,cure\n"));
}

#[test]
fn what_goes_on_without_anybody_is_looked_at_too() {
    let more = "[schedules]\ntopic_directories = [\"/no/such/topics\"]\n\
                [topic_sources.news]\nrun = [\"no-such-news\"]\n\
                [hooks.mail]\nrun = [\"/no/such/hook\"]\n[hooks.log]\nrun = [\"cat\"]\n\
                [publishers.site]\naccounts = [\"blog\", \"nosuch\"]\n[publishers.site.publish]\nrun = [\"cat\"]\n";
    let daemon = Daemon::with(Setup { more: more.into(), ..Setup::default() });
    let add = ["schedule", "add", "--name", "mornings", "--cron", "0 8 * * *", "--zone", "UTC", "--account", "blog"];
    daemon.ctl(&[&add[..], &["--topic", "Tea", "--paused"]].concat()).exits(0);
    let (findings, code) = doctor(&daemon, &[]);
    complaint(&findings, "topic sources", "/no/such/topics");
    complaint(&findings, "topic sources", "no-such-news");
    complaint(&findings, "hook mail", "/no/such/hook");
    complaint(&findings, "publisher site", "publishers.site.accounts names accounts that are not there: \"nosuch\"");
    let cure = complaint(&findings, "schedule mornings", "paused")["cure"].as_str().unwrap_or_default();
    assert!(cure.contains("contentctl schedule resume mornings"), "{cure}");
    assert!(findings.iter().any(|found| found["subject"] == "hook log" && found["severity"] == "ok"), "{findings:#?}");
    assert_eq!(code, 1);
}

#[test]
fn without_a_daemon_the_places_are_told_with_their_reasons() {
    let mut daemon = Daemon::start();
    daemon.kill9();
    let (findings, code) = doctor(&daemon, &[]);
    assert_eq!(code, 1);
    complaint(&findings, "socket", "nobody listens");
    fs::remove_file(daemon.socket()).expect("it is ours");
    let (findings, code) = doctor(&daemon, &[]);
    assert_eq!(code, 1);
    let cure = complaint(&findings, "socket", "there is no socket")["cure"].as_str().unwrap_or_default();
    assert!(cure.starts_with("start `contentd`"), "no unit has this place: {cure}");
}

#[test]
fn a_daemon_that_never_answers_is_found() {
    let daemon = Daemon::prepared(Setup::default());
    let _listener = std::os::unix::net::UnixListener::bind(daemon.socket()).expect("it binds");
    let began = Instant::now();
    let (findings, code) = doctor(&daemon, &[]);
    assert_eq!(code, 1);
    complaint(&findings, "daemon", "does not answer");
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
}

#[test]
fn what_a_generator_lacks_is_an_error_with_its_cure() {
    let mut daemon = Daemon::with(Setup::without_polls());
    let program = daemon.dir().join("mine");
    fs::copy(env!("CARGO_BIN_EXE_sample-generator"), &program).expect("copied");
    let cwd = daemon.dir().join("cwd");
    fs::create_dir(&cwd).expect("made");
    let secrets = daemon.dir().join("secrets");
    fs::create_dir(&secrets).expect("made");
    fs::write(secrets.join("the-key"), "s3cret-value").expect("written");
    daemon.change(|setup| {
        setup.sample = format!("cwd = {cwd:?}\nsecrets = {{ SAMPLE_KEY = \"the-key\" }}");
        setup.env.push(("CREATOR_CLI_PATH".into(), program.to_string_lossy().into_owned()));
        setup.env.push(("CREDENTIALS_DIRECTORY".into(), secrets.to_string_lossy().into_owned()));
    });
    daemon.restart();
    let (findings, code) = doctor(&daemon, &[]);
    assert_eq!(code, 0, "{:#?}", errors(&findings));

    fs::remove_file(secrets.join("the-key")).expect("it is ours");
    let (findings, code) = doctor(&daemon, &[]);
    assert_eq!(code, 1);
    let cure = complaint(&findings, "generator sample", "SAMPLE_KEY")["cure"].as_str().unwrap_or_default();
    assert!(cure.contains("LoadCredential=the-key"), "{cure}");
    fs::write(secrets.join("the-key"), "s3cret-value").expect("written");

    fs::remove_file(&program).expect("it is ours");
    let (findings, _) = doctor(&daemon, &[]);
    let cure = complaint(&findings, "generator sample", "mine does not exist")["cure"].as_str().unwrap_or_default();
    assert!(cure.contains("install it"), "{cure}");
    fs::copy(env!("CARGO_BIN_EXE_sample-generator"), &program).expect("copied");

    fs::remove_dir_all(&cwd).expect("it is ours");
    let (findings, _) = doctor(&daemon, &[]);
    complaint(&findings, "generator sample", "cwd does not exist");
    // No verb is called by a trial of it, and it says so.
    let (findings, code) = doctor(&daemon, &["sample"]);
    assert_eq!(code, 1);
    complaint(&findings, "generator sample", "no verb was called");
    assert!(!daemon.ctl(&["doctor"]).out.contains("s3cret-value"), "no secret is shown");
}

#[test]
fn a_refused_reload_is_told_until_one_is_taken() {
    let daemon = Daemon::with(Setup::without_polls());
    let path = daemon.dir().join("contentd.toml");
    let good = fs::read_to_string(&path).expect("readable");
    fs::write(&path, format!("{good}\n[poling]\ninterval = \"1s\"\n")).expect("written");
    assert_ne!(daemon.ctl(&["reload"]).code, Some(0));
    // Good again for whoever looks at the file, and the daemon still has the old one.
    fs::write(&path, &good).expect("written");
    let (findings, code) = doctor(&daemon, &[]);
    assert_eq!(code, 1);
    let told = complaint(&findings, "configuration", "was refused");
    let found = told["found"].as_str().unwrap_or_default();
    assert!(found.contains("poling") && found.matches("refused").count() == 1, "the cause, once: {found}");
    daemon.ctl(&["reload"]).exits(0);
    assert_eq!(doctor(&daemon, &[]).1, 0);
}

#[test]
fn an_open_breaker_a_pause_and_a_held_task_are_told() {
    // Without idempotence and without a find, a submit that dies in the middle is a person's to decide.
    let daemon = Daemon::with(Setup::without_polls().with_replaced("idempotent = true", "idempotent = false"));
    daemon.set_faults("create:accept-then-die-once");
    let held = daemon.submit("Held", &[]);
    daemon.await_state(&held, "held");
    daemon.set_faults("unavailable");
    daemon.submit("Waits", &[]);
    let findings = daemon.wait_until("the breaker opens", || {
        let findings = doctor(&daemon, &[]).0;
        let is_open =
            findings.iter().any(|finding| finding["found"].as_str().is_some_and(|t| t.contains("breaker is open")));
        is_open.then_some(findings)
    });
    let cure = complaint(&findings, "generator sample", "breaker is open")["cure"].as_str().unwrap_or_default();
    assert!(cure.contains("contentctl doctor sample"), "{cure}");
    let told = complaint(&findings, "held tasks", &held);
    assert!(told["cure"].as_str().is_some_and(|cure| cure.contains("contentctl settle")));
    daemon.ctl(&["pause", "--generator", "sample"]).exits(0);
    let cure = complaint(&doctor(&daemon, &[]).0, "generator sample", "paused")["cure"].clone();
    assert_eq!(cure, "`contentctl resume --generator sample`");
}

#[test]
fn modes_leftovers_and_generators_that_are_gone_are_told() {
    let mut daemon = Daemon::with(Setup::without_polls());
    let waiting = daemon.submit("Waits", &["--delay", "0"]);
    daemon.await_state(&waiting, "submitted");
    fs::set_permissions(daemon.dir(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::set_permissions(daemon.database(), fs::Permissions::from_mode(0o644)).expect("it is ours");
    fs::create_dir_all(daemon.dir().join("runs/v1").join("ab".repeat(16))).expect("made");
    let (findings, code) = doctor(&daemon, &[]);
    assert_eq!(code, 0, "{:#?}", errors(&findings));
    complaint(&findings, "state directory", "anybody may enter");
    complaint(&findings, "database", "others may open");
    complaint(&findings, "state directory", "belong to no task");
    daemon.change(|setup| {
        setup.replaced.push(("generators.sample".into(), "generators.other".into()));
        setup.tasks = "generator = \"other\"".into();
    });
    let config = fs::read_to_string(daemon.config_path()).expect("read").replace("generator = \"sample\"\n", "");
    fs::write(daemon.config_path(), config).expect("written");
    daemon.restart();
    complaint(&doctor(&daemon, &[]).0, "tasks", "not configured: sample");
}

#[test]
fn a_good_generator_passes_its_trial_and_nothing_is_paid() {
    let daemon = Daemon::with(Setup { seconds: "600".into(), ..Setup::without_polls() });
    let task = daemon.submit("Tea", &[]);
    daemon.await_state(&task, "submitted");
    let paid = daemon.paid();
    let (findings, code) = doctor(&daemon, &["sample"]);
    assert_eq!(code, 0, "{findings:#?}");
    let told: Vec<_> =
        findings.iter().map(|f| (f["subject"].as_str().unwrap_or(""), f["severity"].as_str().unwrap_or(""))).collect();
    let expected = ["generator sample", "sample submit", "sample poll", "sample poll", "sample fetch", "sample cancel"];
    assert_eq!(told, expected.map(|subject| (subject, "ok")), "{findings:#?}");
    let rehearsal = findings[1]["found"].as_str().unwrap_or_default();
    assert!(rehearsal.contains("was not run") && rehearsal.contains("--topic="), "{rehearsal}");
    assert!(findings[3]["found"].as_str().is_some_and(|found| found.contains(&task)), "the job of ours is asked about");
    assert_eq!(daemon.paid(), paid, "a trial pays nothing");
    assert_eq!(daemon.state(&task), "submitted", "and changes nothing");
    assert_eq!(fs::read_dir(daemon.sample_dir().join("jobs")).expect("it is there").count(), 1);
    let refused = daemon.refused("io.contentd.Daemon.TryGenerator", json!({ "generator": "nobody" }));
    assert_eq!(refused.name, "io.contentd.Tasks.GeneratorNotFound");
}

#[test]
fn a_trial_finds_what_the_configuration_gets_wrong() {
    let daemon = Daemon::with(
        Setup { seconds: "600".into(), ..Setup::without_polls() }
            // Both polls and fetches: an unknown job is an answer like any other.
            .with_replaced(r#"rules = [ { exit = 1, stderr = "(?m)^unknown task: ", then = "missing" } ]"#, "")
            .with_replaced("submitted = \"submitted\"\n", "")
            .with_replaced(
                r#"run = ["{creator}", "result", "--task-id={ref}", "--json"]"#,
                r#"run = ["/bin/echo", '{{"content": "Lorem ipsum", "of": "{ref}"}}']"#,
            )
            .with_replaced(r#"run = ["{creator}", "cancel", "--task-id={ref}"]"#, r#"run = ["/bin/true", "{ref}"]"#),
    );
    let task = daemon.submit("Tea [sample:seconds=600]", &[]);
    daemon.await_state(&task, "submitted");
    let (findings, code) = doctor(&daemon, &["sample"]);
    assert_eq!(code, 1);
    let rule = complaint(&findings, "sample poll", "no rule says \"missing\"")["cure"].clone();
    assert_eq!(rule, r#"add to generators.sample.poll.rules: { exit = 1, stderr = "unknown task", then = "missing" }"#);
    let fetch = complaint(&findings, "sample fetch", "gives a piece");
    assert!(
        fetch["severity"] == "error"
            && fetch["cure"].as_str().is_some_and(|cure| cure.contains("generators.sample.fetch"))
    );
    let cancel = complaint(&findings, "sample cancel", "cannot be trusted");
    assert_eq!(cancel["severity"], "warning");
    let state = complaint(&findings, "sample poll", "\"submitted\" is not known here");
    assert!(state["cure"].as_str().is_some_and(|cure| cure.contains("[generators.sample.states]")), "{state}");
}

#[test]
fn a_program_that_hangs_is_ended_at_its_limit_and_one_that_is_slow_is_told() {
    let daemon = Daemon::with(
        Setup::without_polls()
            .with_replaced("[generators.sample.poll]\nrun = [\"{creator}\", \"status\", \"--task-id={ref}\", \"--json\"]\ntimeout = \"10s\"",
                "[generators.sample.poll]\nrun = [\"{creator}\", \"status\", \"--task-id={ref}\", \"--json\"]\ntimeout = \"1s\"")
            .with_replaced("[generators.sample.cancel]\n", "[generators.sample.cancel]\ntimeout = \"1s\"\n"),
    );
    daemon.set_faults("status:hang\ncancel:slow-start=0.6");
    let (findings, code) = doctor(&daemon, &["sample"]);
    assert_eq!(code, 1);
    let hangs = complaint(&findings, "sample poll", "no answer within 1 s");
    assert!(hangs["cure"].as_str().is_some_and(|cure| cure.contains("generators.sample.poll.timeout")), "{hangs}");
    complaint(&findings, "sample cancel", "of the 1 s it may take");
}

/// A generator that answers for all in one call, with a search by mark.
const BATCHED: &str = r#"
[generators.batched]
max_in_flight = 8
calls_per_minute = 60
env = { SAMPLE_DIR = "SAMPLE", SAMPLE_SECONDS = "600" }
[generators.batched.submit]
run = ["{creator}", "create", "--topic={topic}", "--requirements=[ref:{key}]"]
ref = "json:/taskId"
[generators.batched.poll]
run = ["{creator}", "list", "--json", "--limit", "{batch_limit}", "--offset", "{batch_offset}"]
batch = 2
max_pages = 5
items = "json:"
key = "json:/taskId"
state = "json:/status"
[generators.batched.find]
like = "poll"
match = "json:/requirements"
mark = "[ref:{key}]"
[generators.batched.fetch]
run = ["{creator}", "result", "--task-id={ref}", "--json"]
content = "json:/content"
rules = [ { exit = 1, stderr = "(?m)^unknown task: ", then = "missing" } ]
[generators.batched.states]
submitted = "submitted"
processing = "processing"
completed = "completed"
"#;

#[test]
fn a_list_is_read_its_pages_turn_and_the_search_is_complete() {
    let mut daemon = Daemon::prepared(Setup::without_polls());
    let more = BATCHED.replace("SAMPLE\"", &format!("{}\"", daemon.sample_dir().display()));
    daemon.change(|setup| setup.more = more);
    daemon.spawn();
    daemon.await_answer();
    daemon.ctl(&["account", "add", "--name", "blog"]).exits(0);
    for topic in ["One", "Two", "Three"] {
        let task = daemon.submit(topic, &["--generator", "batched"]);
        daemon.await_state(&task, "submitted");
    }
    let (findings, code) = doctor(&daemon, &["batched"]);
    assert_eq!((errors(&findings), code), (vec![], 0), "{findings:#?}");
    let found: String = findings.iter().filter_map(|finding| finding["found"].as_str()).collect::<Vec<_>>().join("\n");
    for text in [
        "2 rows, each with a reference and a known state",
        "its pages turn: 1 more rows",
        "no job carries a random key",
    ] {
        assert!(found.contains(text), "{text}: {found}");
    }
    // Each poll and search was taken out of the budget of one a second: the next trial waits, or is told to.
    let mut refused = None;
    daemon.wait_until("the budget is spent", || {
        refused = daemon.try_call("io.contentd.Daemon.TryGenerator", &json!({ "generator": "batched" }))?.err();
        refused.as_ref().map(|_| ())
    });
    assert_eq!(refused.map(|refused| refused.name).as_deref(), Some("io.contentd.Tasks.GeneratorUnavailable"));
    daemon.change(|setup| {
        setup.more = setup
            .more
            .replace("max_pages = 5", "max_pages = 1")
            .replace("calls_per_minute = 60", "")
            .replace("submitted = \"submitted\"\n", "");
    });
    daemon.ctl(&["reload"]).exits(0);
    let (findings, code) = doctor(&daemon, &["batched"]);
    assert_eq!(code, 1);
    let search = complaint(&findings, "batched find", "do not reach the end");
    assert!(search["cure"].as_str().is_some_and(|cure| cure.contains("generators.batched.find.max_pages")), "{search}");
    complaint(&findings, "batched poll", "states that are not known here: \"submitted\"");
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = diesel::sql_types::Text)]
    integrity_check: String,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    number: i64,
}

#[test]
fn a_backup_under_load_is_whole_and_holds_nobody_up() {
    const THREADS: usize = 4;
    let daemon = Daemon::with(Setup { seconds: "600".into(), ..Setup::without_polls() });
    daemon.ctl(&["pause"]).exits(0);
    let is_over = AtomicBool::new(false);
    let (slowest, submitted, backups) = std::thread::scope(|scope| {
        let submit = |thread: usize| {
            let (mut slowest, mut count) = (Duration::ZERO, 0_u64);
            while !is_over.load(Ordering::SeqCst) {
                let tasks: Vec<Value> =
                    (0..50).map(|n| json!({ "account": "1", "topic": format!("{thread} {count} {n}") })).collect();
                let began = Instant::now();
                daemon.call("io.contentd.Tasks.SubmitBatch", json!({ "tasks": tasks }));
                slowest = slowest.max(began.elapsed());
                count += 50;
            }
            (slowest, count)
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || submit(thread))).collect();
        let mut backups = Vec::new();
        for number in 0..5 {
            let file = daemon.dir().join(format!("copy-{number}.db"));
            backups.push((daemon.ctl_json(&["backup", file.to_str().expect("UTF-8")]), file));
        }
        is_over.store(true, Ordering::SeqCst);
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        let slowest = ended.iter().map(|(slowest, _)| *slowest).max().unwrap_or_default();
        (slowest, ended.iter().map(|(_, count)| count).sum::<u64>(), backups)
    });
    assert!(slowest < Duration::from_secs(10), "a submit waited for {slowest:?}");
    let mut before = 0;
    for (reply, file) in &backups {
        assert_eq!(fs::metadata(file).expect("it is there").mode() & 0o777, 0o600);
        let mut copy = SqliteConnection::establish(file.to_str().expect("UTF-8")).expect("it opens");
        let whole: Vec<Row> = diesel::sql_query("PRAGMA integrity_check").load(&mut copy).expect("it answers");
        assert_eq!(whole.iter().map(|row| row.integrity_check.as_str()).collect::<Vec<_>>(), ["ok"]);
        let mut count = |sql: &str| diesel::sql_query(sql).get_result::<Number>(&mut copy).expect("it answers").number;
        let tasks = count("SELECT count(*) AS number FROM tasks");
        assert_eq!(json!(tasks), reply["tasks"]);
        assert_eq!(tasks % 50, 0, "a batch is there whole or not at all");
        assert_eq!(tasks, count("SELECT count(*) AS number FROM events WHERE event = 'submitted'"));
        assert!(tasks >= before, "a later copy has no less");
        before = tasks;
    }
    assert!(before > 0 && u64::try_from(before).expect("not negative") <= submitted);
    // Nothing is replaced, and nothing is left of the try.
    let first = backups[0].1.to_str().expect("UTF-8");
    let refused = daemon.ctl(&["backup", first]).exits(1);
    assert!(
        refused.err.contains("is there already") && refused.err.contains("nothing is ever replaced"),
        "{}",
        refused.err
    );
    let parts = fs::read_dir(daemon.dir()).expect("listed").flatten();
    assert_eq!(parts.filter(|entry| entry.file_name().to_string_lossy().ends_with(".part")).count(), 0);
}

#[test]
fn automatic_backups_are_kept_up_to_a_number_and_places_are_judged() {
    let daemon = Daemon::start();
    let backups = daemon.dir().join("backups");
    let mut names = Vec::new();
    for _ in 0..4 {
        let reply = daemon.ctl_json(&["backup", "--keep", "3"]);
        names.push((reply["file"].as_str().expect("a path").to_owned(), reply["deleted"].clone()));
    }
    assert!(names.iter().all(|(file, _)| file.starts_with(backups.to_str().expect("UTF-8"))), "{names:?}");
    assert_eq!(names[2].1, json!([]));
    assert_eq!(names[3].1, json!([names[0].0]), "the oldest went");
    assert_eq!(fs::metadata(&backups).expect("it is there").mode() & 0o777, 0o700);
    // A relative path is taken from where contentctl stands.
    let relative =
        daemon.contentctl(&["backup", "here.db"]).current_dir(daemon.sample_dir().parent().expect("one")).output();
    assert!(relative.expect("it runs").status.success() && daemon.dir().join("here.db").exists());
    daemon.call("io.contentd.Daemon.Ping", json!({}));
    for file in ["relative.db", "/", "/x/"] {
        let refused = daemon.refused("io.contentd.Daemon.Backup", json!({ "file": file }));
        assert_eq!(refused.name, "io.contentd.Tasks.InvalidField", "{file}");
    }
    let nowhere = daemon.refused("io.contentd.Daemon.Backup", json!({ "file": "/no/such/place.db" }));
    assert_eq!(nowhere.name, "io.contentd.Daemon.BackupRefused");
    assert!(nowhere.parameters["cure"].as_str().is_some_and(|cure| cure.contains("ReadWritePaths")), "{nowhere:?}");
    daemon.ctl(&["backup", "--keep", "0"]).exits(2);
    // What was saved starts a daemon.
    let saved = names[3].0.clone();
    let mut other = Daemon::prepared(Setup::default().with_env("DATABASE_URL", saved));
    other.spawn();
    other.await_answer();
    assert_eq!(other.ctl_json(&["account", "list"])[0]["name"], "blog");
}
