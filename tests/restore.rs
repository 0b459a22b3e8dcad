//! Backups of a daemon under load, restores that die at every step, and what a restored daemon does and does not do.
//!
//! A death at a step is a real one: the test starts itself anew as a child that kills itself there, or kills the real program at
//! an instant of its own choosing. `CONTENTD_BACKUPS=1000` makes more backups, `CONTENTD_RESTORE_KILLS=300` more kills.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/tally.rs"]
mod tally;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use contentd::finding::Severity;
use contentd::store::restored::{RestoreMark, SETTING};
use contentd::store::sqlite::check::{self, Judgement};
use contentd::store::sqlite::restore::{self, RestoreError};
use contentd::store::sqlite::{self, OpenError, migrate, upkeep};
use contentd::task::Timestamp;
use daemon::{Daemon, Setup};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use serde_json::{Value, json};

/// In the child: which step it dies at, and where.
const DIE_AT: &str = "CONTENTD_TEST_DIE_AT";
const PLACE: &str = "CONTENTD_TEST_PLACE";

fn number_of(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[derive(QueryableByName)]
struct Text {
    #[diesel(sql_type = diesel::sql_types::Text)]
    text: String,
}

fn texts(path: &Path, sql: &str) -> Vec<String> {
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA query_only = 1").unwrap();
    diesel::sql_query(sql).load::<Text>(&mut connection).unwrap().into_iter().map(|row| row.text).collect()
}

#[track_caller]
fn sound(path: &Path) -> Judgement {
    let judgement = check::judge(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let errors: Vec<_> = judgement.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    judgement
}

fn mark(at: i64) -> RestoreMark {
    let (file, who) = ("b".into(), "0:root".into());
    RestoreMark {
        at: Timestamp(at),
        file,
        who,
        is_nothing_since: false,
        is_done: false,
        earlier_doubt: None,
        witnesses: Vec::new(),
    }
}

/// What a child dies with, at the step of its number; the names of all steps are told to `seen`.
fn dying(at: Option<usize>, seen: &mut Vec<&'static str>) -> impl FnMut(&'static str) {
    move |step| {
        if at == Some(seen.len()) {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
        seen.push(step);
    }
}

/// Runs one test of this file as a child that dies at a step.
fn die(test: &str, place: &Path, step: usize) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture"]).env(DIE_AT, step.to_string()).env(PLACE, place);
    let output = child.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), None, "it was to die at step {step}: {output:?}");
}

fn child() -> Option<(usize, PathBuf)> {
    let step = std::env::var(DIE_AT).ok()?.parse().unwrap();
    Some((step, PathBuf::from(std::env::var_os(PLACE).unwrap())))
}

// ---- Backups

#[test]
fn backups_under_load_are_all_consistent_and_hold_what_was_acknowledged() {
    let backups = number_of("CONTENTD_BACKUPS", 100);
    let mut daemon = Daemon::prepared(Setup::default());
    daemon.change(|setup| {
        setup.daemon = "workers = 4".into();
        setup.tasks += "\nmax_pending = 60";
        setup.env.push(("RUST_LOG".into(), "warn".into()));
    });
    daemon.spawn();
    daemon.await_answer();
    daemon.ctl(&["account", "add", "--name", "blog"]).exits(0);
    let acknowledged: Mutex<Vec<String>> = Mutex::default();
    let (is_over, during) = (AtomicBool::new(false), AtomicUsize::new(0));
    let is_copying = AtomicBool::new(false);
    let submit = || {
        while !is_over.load(Ordering::Relaxed) {
            let task = json!({ "task": { "account": "1", "topic": "Under load" } });
            match daemon.try_call("io.contentd.Tasks.Submit", &task).expect("the daemon answers") {
                Ok(reply) => {
                    acknowledged.lock().unwrap().push(reply["task_id"].as_str().unwrap().to_owned());
                    during.fetch_add(usize::from(is_copying.load(Ordering::Relaxed)), Ordering::Relaxed);
                }
                // The bound of unfinished tasks keeps the database small: others must finish first.
                Err(refused) => {
                    assert_eq!(refused.name, "io.contentd.Tasks.Busy");
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    };
    let mut copied = 0;
    std::thread::scope(|scope| {
        let submitters = [scope.spawn(submit), scope.spawn(submit)];
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 0..backups {
                let before: Vec<String> = acknowledged.lock().unwrap().clone();
                let file = daemon.dir().join(format!("backup-{number}.db"));
                is_copying.store(true, Ordering::Relaxed);
                let reply = daemon.call("io.contentd.Daemon.Backup", json!({ "file": file }));
                is_copying.store(false, Ordering::Relaxed);
                assert_eq!(reply["bytes"], fs::metadata(&file).unwrap().len());
                assert!(!sound(&file).needs_migration);
                let there: BTreeSet<String> = texts(&file, "SELECT id AS text FROM tasks").into_iter().collect();
                let lost: Vec<&String> = before.iter().filter(|id| !there.contains(*id)).collect();
                assert!(lost.is_empty(), "{} acknowledged submits are not in backup {number}: {lost:?}", lost.len());
                fs::remove_file(&file).unwrap();
                copied += 1;
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        submitters.into_iter().for_each(|submitter| submitter.join().unwrap());
        made.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let tasks = acknowledged.lock().unwrap().len();
    let done = texts(&daemon.database(), "SELECT count(*) || '' AS text FROM tasks WHERE state = 'completed'");
    let (done, during) = (done[0].parse::<usize>().unwrap(), during.load(Ordering::Relaxed));
    assert!(done > 0 && during > 0, "no load: {done} finished, {during} submits while a backup was made");
    // A live database is judged like any other.
    sound(&daemon.database());
    tally::tell(
        "backups",
        &format!(
            "{copied} backups under load, all consistent: {tasks} submits, {during} of them while a backup was made, {done} pieces"
        ),
    );
}

// ---- Judging

#[test]
fn the_program_judges_a_database_and_says_what_is_wrong_with_which_task() {
    let daemon = Daemon::with(Setup::default());
    let task = daemon.submit("Judged", &[]);
    daemon.await_state(&task, "completed");
    let run = |args: &[&str]| daemon::Ran::from(daemon.contentd(args).output().unwrap());
    let live = run(&["--check-database"]).exits(0);
    assert!(live.out.contains("the database is sound") && live.out.contains("1  tasks completed"), "{live:?}");
    assert!(!live.out.contains("wait for a release"), "that nothing waits says nothing: {live:?}");
    let file = daemon.dir().join("copy.db");
    daemon.call("io.contentd.Daemon.Backup", json!({ "file": file }));
    let before = (fs::read(&file).unwrap(), fs::read_dir(daemon.dir()).unwrap().count());
    run(&["--check-database", file.to_str().unwrap()]).exits(0);
    assert_eq!((fs::read(&file).unwrap(), fs::read_dir(daemon.dir()).unwrap().count()), before, "nothing was written");

    let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    connection.batch_execute("DROP TRIGGER guard_publish_pool_delete; DELETE FROM publish_pool").unwrap();
    drop(connection);
    let broken = run(&["--check-database", file.to_str().unwrap()]).exits(1);
    assert!(broken.err.contains(&task) && broken.err.contains("0 entries in the publish pool"), "{broken:?}");
    assert!(broken.err.contains("cure: "), "{broken:?}");
    let missing = run(&["--check-database", "/nowhere/x.db"]).exits(1);
    assert!(missing.err.contains("/nowhere/x.db"), "{missing:?}");
}

// ---- Restoring

fn backup(daemon: &Daemon, name: &str) -> PathBuf {
    let file = daemon.dir().join(name);
    daemon.call("io.contentd.Daemon.Backup", json!({ "file": file }));
    file
}

#[track_caller]
fn restore_with(daemon: &Daemon, file: &Path, more: &[&str]) -> daemon::Ran {
    let args = [&["restore", file.to_str().unwrap()], more].concat();
    daemon::Ran::from(daemon.contentd(&args).output().unwrap())
}

fn events(daemon: &Daemon, task: &str) -> Vec<String> {
    let reply = daemon.call("io.contentd.Tasks.History", json!({ "task": task }));
    reply["events"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
}

fn poll_until_completed(daemon: &Daemon, task: &str) {
    daemon.wait_until(&format!("{task} completed"), || {
        // Refused where it has completed by itself meanwhile.
        let _ = daemon.try_call("io.contentd.Tasks.Poll", &json!({ "task": task }))?;
        (daemon.state(task) == "completed").then_some(())
    });
}

fn generator_of(daemon: &Daemon, task: &str) -> String {
    daemon.task(task)["generator"].as_str().unwrap().to_owned()
}

#[test]
fn a_restored_daemon_makes_no_job_twice_and_says_what_it_cannot_know() {
    let mut daemon = Daemon::with(Setup::without_polls());
    let done = daemon.submit("Done before", &[]);
    poll_until_completed(&daemon, &done);
    assert!(!events(&daemon, &done).contains(&"doubted".to_owned()), "a poll leaves a call in flight to its owner");
    let under_way = daemon.submit("Under way", &[]);
    daemon.await_state(&under_way, "submitted");
    daemon.ctl(&["pause"]).exits(0);
    let waits = ["Waits", "Waits too", "Waits as well"].map(|topic| daemon.submit(topic, &["--key", topic]));
    let file = backup(&daemon, "b.db");

    // What the backup will never know.
    daemon.ctl(&["resume"]).exits(0);
    let after = daemon.submit("Came after", &[]);
    for task in waits.iter().chain([&under_way, &after]) {
        poll_until_completed(&daemon, task);
    }
    let lost_reference = daemon.task(&waits[0])["external_ref"].as_str().unwrap().to_owned();
    let paid = daemon.paid();
    assert_eq!(paid.len(), 6);
    daemon.kill9();

    let ran = restore_with(&daemon, &file, &[]).exits(0);
    assert!(ran.out.contains("the old database is kept: "), "{ran:?}");
    let kept = ran.out.lines().find_map(|line| line.split_once("is kept: ")).unwrap().1.to_owned();
    let more = format!("not: 1 task, 5 pieces, 0 publications: `sqlite3 -readonly {kept}` looks");
    assert!(ran.out.contains(&more), "{ran:?}");
    assert_eq!(
        texts(Path::new(&kept), "SELECT count(*) || '' AS text FROM tasks"),
        ["6"],
        "the log of the old one too"
    );
    daemon.spawn();
    daemon.await_answer();

    let found = daemon.call("io.contentd.Daemon.Doctor", json!({}))["findings"].to_string();
    let kept_name = Path::new(&kept).file_name().unwrap().to_str().unwrap();
    assert!(found.contains("replaced database") && found.contains(kept_name), "{found}");
    for task in &waits {
        let view = daemon.task(task);
        assert_eq!(view["state"], "held", "{view}");
        assert!(view["reason"].as_str().unwrap().contains("restored from a backup"), "{view}");
        assert_eq!(events(&daemon, task), ["submitted", "restored"]);
    }
    assert_eq!(daemon.state(&under_way), "submitted");
    assert!(events(&daemon, &under_way).contains(&"restored".to_owned()));
    assert_eq!(
        daemon.refused("io.contentd.Tasks.Status", json!({ "task": after })).name,
        "io.contentd.Tasks.TaskNotFound"
    );
    // The same key is the same task, as far as the backup knows.
    assert_eq!(daemon.submit("Waits", &["--key", "Waits"]), waits[0]);
    let pool = |daemon: &Daemon| daemon.call("io.contentd.Pool.List", json!({}))["entries"].as_array().unwrap().clone();
    let is_held = |entry: &Value| entry["held_reason"].is_string();
    assert!(pool(&daemon).len() == 1 && pool(&daemon).iter().all(is_held), "{:?}", pool(&daemon));

    // The pause of the backup still stands; without it nothing is made either, and another start changes nothing.
    daemon.ctl(&["resume"]).exits(0);
    poll_until_completed(&daemon, &under_way);
    daemon.restart();
    assert_eq!(daemon.task(&waits[1])["state"], "held");
    assert_eq!(daemon.paid(), paid, "nothing was paid for again");
    assert!(pool(&daemon).len() == 2 && pool(&daemon).iter().all(is_held), "a piece of a restored task waits too");
    sound(&daemon.database());

    // People decide: this is its job, there is none, and what may go out.
    daemon.ctl(&["settle", &waits[0], "--adopt", &lost_reference]).exits(0);
    poll_until_completed(&daemon, &waits[0]);
    assert_eq!(daemon.paid(), paid);
    for held in [&["--state", "held"][..], &["--all"], &["--all", "--generator", &generator_of(&daemon, &waits[1])]] {
        assert_eq!(daemon.ctl_json(&[&["release", "--dry-run"], held].concat())["done_count"], 2, "{held:?}");
    }
    daemon.ctl(&["release", &waits[1]]).exits(0);
    poll_until_completed(&daemon, &waits[1]);
    assert_eq!(daemon.paid().len(), paid.len() + 1, "a person said that there was none");
    daemon.ctl(&["release", &done]).exits(1);
    let released = daemon.ctl_json(&["pool", "release", "--all"]);
    assert_eq!(released["released"].as_array().unwrap().len(), 3, "{released}");
    assert_eq!(pool(&daemon).iter().filter(|entry| is_held(entry)).count(), 0);
    assert!(events(&daemon, &done).contains(&"pool_released".to_owned()));
    sound(&daemon.database());
}

#[test]
fn whoever_says_that_nothing_ran_since_goes_on_where_the_backup_was_made() {
    let mut daemon = Daemon::with(Setup::default());
    daemon.ctl(&["pause"]).exits(0);
    let waits = daemon.submit("Waits", &[]);
    let file = backup(&daemon, "b.db");
    assert!(daemon.terminate().success());
    restore_with(&daemon, &file, &["--nothing-ran-since"]).exits(0);
    daemon.spawn();
    daemon.await_answer();
    assert_eq!(daemon.state(&waits), "pending");
    daemon.ctl(&["resume"]).exits(0);
    daemon.await_state(&waits, "completed");
    let pool = daemon.call("io.contentd.Pool.List", json!({}));
    assert_eq!(pool["entries"][0]["held_reason"], Value::Null, "{pool}");
}

/// Answers for all in one call, with a search by mark.
const SEARCHED: &str = r#"
[generators.searched]
env = { SAMPLE_DIR = "SAMPLE", SAMPLE_SECONDS = "0" }
settle = "1s"
[generators.searched.submit]
run = ["{creator}", "create", "--topic={topic}", "--requirements=[ref:{key}]"]
ref = "json:/taskId"
timeout = "SUBMIT"
[generators.searched.poll]
run = ["{creator}", "list", "--json", "--limit", "{batch_limit}", "--offset", "{batch_offset}"]
batch = 20
items = "json:"
key = "json:/taskId"
state = "json:/status"
[generators.searched.find]
like = "poll"
match = "json:/requirements"
mark = "[ref:{key}]"
[generators.searched.fetch]
run = ["{creator}", "result", "--task-id={ref}", "--json"]
content = "json:/content"
[generators.searched.states]
submitted = "submitted"
processing = "processing"
completed = "completed"
"#;

#[test]
fn a_doubt_of_the_backup_is_searched_for_and_adopted_and_an_absence_is_held() {
    for (fault, expected) in [("create:hang-after-accept", "completed"), ("create:hang-before-accept", "held")] {
        let mut daemon = with_generator(|daemon| {
            SEARCHED.replace("SAMPLE\"", &format!("{}\"", daemon.sample_dir().display())).replace("SUBMIT", "50s")
        });
        daemon.set_faults(fault);
        let task = daemon.submit("In doubt", &["--generator", "searched"]);
        let is_paid = expected == "completed";
        daemon.wait_until("the call hangs", || {
            (daemon.state(&task) == "submitting" && daemon.paid().len() == usize::from(is_paid)).then_some(())
        });
        let file = backup(&daemon, "b.db");
        daemon.kill9();
        daemon.end_leftovers();
        daemon.set_faults("");
        restore_with(&daemon, &file, &[]).exits(0);
        daemon.spawn();
        daemon.await_answer();
        let view = daemon.await_state(&task, expected);
        assert_eq!(daemon.paid().len(), usize::from(is_paid), "{view}");
        if !is_paid {
            assert!(view["reason"].as_str().unwrap().contains("no job carries this attempt's key"), "{view}");
        }
        sound(&daemon.database());
    }
}

/// A daemon that has one more generator, of this section, and an account.
fn with_generator(section: impl FnOnce(&Daemon) -> String) -> Daemon {
    let mut daemon = Daemon::prepared(Setup::default());
    let section = section(&daemon);
    daemon.change(|setup| setup.more = section);
    daemon.spawn();
    daemon.await_answer();
    daemon.ctl(&["account", "add", "--name", "blog"]).exits(0);
    daemon
}

/// Such a daemon, whose generator `runs` is a shell script. In it `$DIR` is the daemon's directory, and `write` says the piece.
fn with_runs(script: &str) -> Daemon {
    with_generator(|daemon| {
        let script = script.replace("$DIR", &daemon.dir().display().to_string());
        let script = script.replace("write", "echo '# A piece'; echo; echo 'There is much to be said about it.'");
        format!(
            "[generators.runs]\n[generators.runs.submit]\nrun = [\"/bin/sh\", \"-c\", \"\"\"{script}\"\"\"]\n\
             content = \"text\"\n"
        )
    })
}

#[test]
fn a_run_that_began_after_the_backup_is_found_by_its_directory() {
    let mut daemon = with_runs("echo x >> $DIR/count; while [ ! -e $DIR/go-on ]; do sleep 0.1; done; write");
    let (count, go_on) = (daemon.dir().join("count"), daemon.dir().join("go-on"));
    daemon.ctl(&["pause"]).exits(0);
    let task = daemon.submit("Begun after", &["--generator", "runs"]);
    let file = backup(&daemon, "b.db");
    daemon.ctl(&["resume"]).exits(0);
    daemon.wait_until("the run has begun", || count.exists().then_some(()));
    daemon.kill9();
    restore_with(&daemon, &file, &[]).exits(0);
    daemon.spawn();
    daemon.await_answer();
    assert!(
        events(&daemon, &task).ends_with(&["restored".into(), "adopted".into()]) || daemon.state(&task) == "processing"
    );
    fs::write(&go_on, "").unwrap();
    daemon.await_state(&task, "completed");
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\n", "it ran once");
    sound(&daemon.database());
}

#[test]
fn a_run_whose_directory_went_with_its_piece_since_the_backup_is_not_said_to_have_made_nothing() {
    let mut daemon = with_runs("echo x >> $DIR/count; while [ ! -e $DIR/go-on ]; do sleep 0.1; done; write");
    let (count, go_on) = (daemon.dir().join("count"), daemon.dir().join("go-on"));
    let task = daemon.submit("Paid for", &["--generator", "runs"]);
    daemon.await_state(&task, "processing");
    daemon.wait_until("the run has begun", || count.exists().then_some(()));
    let file = backup(&daemon, "b.db");
    fs::write(&go_on, "").unwrap();
    daemon.await_state(&task, "completed");
    assert!(daemon.terminate().success());
    restore_with(&daemon, &file, &[]).exits(0);
    daemon.spawn();
    daemon.await_answer();
    daemon.await_state(&task, "held");
    let shown = daemon.ctl(&["status", &task]).exits(0);
    assert!(shown.out.contains("may be paid for") && !shown.out.contains("nothing was"), "{shown:?}");
    let refused = daemon.ctl(&["release", &task]);
    assert!(refused.err.contains("--absent"), "{refused:?}");
    assert_eq!(daemon.state(&task), "held");
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\n", "it ran once");
    sound(&daemon.database());
}

/// What a task's content record is called.
fn content_of(daemon: &Daemon, task: &str) -> i64 {
    daemon.call("io.contentd.Tasks.Result", json!({ "task": task }))["content"]["content_id"].as_i64().unwrap()
}

#[test]
fn what_had_ended_or_waited_for_a_review_in_the_backup_is_neither_paid_for_nor_published_twice() {
    let mut daemon = Daemon::with(Setup::without_polls());
    daemon.set_faults("create:fail");
    let failed = daemon.submit("Failed before", &["--max-retries", "0"]);
    daemon.wait_until("it has failed", || {
        let _ = daemon.try_call("io.contentd.Tasks.Poll", &json!({ "task": failed }))?;
        (daemon.state(&failed) == "failed").then_some(())
    });
    daemon.set_faults("");
    let reviewed = daemon.submit("Reviewed since", &["--no-auto-approve"]);
    daemon.await_state(&reviewed, "submitted");
    daemon.ctl(&["pause"]).exits(0);
    let waits = daemon.submit("Waits", &[]);
    let file = backup(&daemon, "b.db");

    // What the backup will never know: a retry that was paid for, and an approval.
    daemon.ctl(&["resume"]).exits(0);
    daemon.ctl(&["retry", &failed, "--reset-count"]).exits(0);
    for task in [&failed, &reviewed, &waits] {
        poll_until_completed(&daemon, task);
    }
    daemon.ctl(&["content", "approve", &content_of(&daemon, &reviewed).to_string()]).exits(0);
    let last = [&failed, &reviewed, &waits].map(|task| content_of(&daemon, task)).into_iter().max().unwrap();
    let paid = daemon.paid();
    daemon.kill9();
    restore_with(&daemon, &file, &[]).exits(0);
    daemon.spawn();
    daemon.await_answer();
    daemon.ctl(&["resume"]).exits(0);

    let refused = daemon.ctl(&["retry", &failed, "--reset-count"]).exits(1);
    assert!(
        refused.err.contains("restored from a backup") && refused.err.contains("contentctl release"),
        "{refused:?}"
    );
    let many = daemon.ctl(&["retry", "--state", "failed", "--reset-count", "--dry-run"]).exits(1).json();
    assert_eq!((&many["done_count"], &many["skipped_count"]), (&json!(0), &json!(1)), "{many}");
    // A cancel and a retry are no way round a release.
    daemon.ctl(&["cancel", &waits]).exits(0);
    assert_eq!(daemon.state(&waits), "cancelled");
    daemon.ctl(&["retry", &waits, "--reset-count"]).exits(1);
    poll_until_completed(&daemon, &reviewed);
    let again = content_of(&daemon, &reviewed);
    assert!(again > last, "{again}: a number of the lost daemon's names nothing else");
    let approved = daemon.ctl_json(&["content", "approve", &again.to_string()]);
    assert_eq!(approved["pool_status"], "held", "who approves it is told: {approved}");
    let pool = daemon.call("io.contentd.Pool.List", json!({}));
    assert!(pool["entries"][0]["held_reason"].is_string(), "it may have been approved and gone out: {pool}");
    assert_eq!(daemon.paid(), paid, "nothing was paid for again");
    sound(&daemon.database());

    // An operator has looked.
    daemon.ctl(&["release", &failed]).exits(0);
    assert_eq!(daemon.state(&failed), "failed");
    daemon.ctl(&["retry", &failed, "--reset-count"]).exits(0);
    poll_until_completed(&daemon, &failed);
    assert_eq!(daemon.paid().len(), paid.len() + 1);
    sound(&daemon.database());
}

#[test]
fn what_went_out_since_the_backup_is_handed_out_again_under_the_key_that_it_had() {
    let mut daemon = Daemon::with(Setup::without_polls());
    let done = daemon.submit("Done before", &[]);
    poll_until_completed(&daemon, &done);
    let under_way = daemon.submit("Under way", &[]);
    daemon.await_state(&under_way, "submitted");
    let file = backup(&daemon, "b.db");

    poll_until_completed(&daemon, &under_way);
    let next = |daemon: &Daemon| {
        let given =
            daemon.call("io.contentd.Pool.Next", json!({ "limit": 9 }))["handed_out"].as_array().unwrap().clone();
        let key_of = |one: &Value| {
            (one["content"]["task_id"].as_str().unwrap().to_owned(), one["key"].as_str().unwrap().to_owned())
        };
        (given.iter().map(key_of).collect::<std::collections::BTreeMap<_, _>>(), given)
    };
    let (keys, given) = next(&daemon);
    assert_eq!(keys.keys().collect::<Vec<_>>().len(), 2, "{given:?}");
    for one in &given {
        daemon.ctl(&["pool", "done", &one["pool_id"].to_string(), "--fence", &one["fence"].to_string()]).exits(0);
    }
    daemon.kill9();
    restore_with(&daemon, &file, &[]).exits(0);
    daemon.spawn();
    daemon.await_answer();
    // What was under way has the same piece once more, under another number of content and of entry.
    poll_until_completed(&daemon, &under_way);
    assert!(next(&daemon).0.is_empty(), "nobody has looked whether it is out");
    daemon.ctl(&["pool", "release", "--all"]).exits(0);
    let (again, given_again) = next(&daemon);
    assert_eq!(again, keys, "whoever takes each key once takes none of them twice");
    assert_ne!(given_again, given);
    sound(&daemon.database());
}

#[test]
fn a_run_since_the_backup_is_taken_up_when_the_run_that_is_known_is_over() {
    let mut daemon = with_runs(
        "echo x >> $DIR/count; \
         if [ $(wc -l < $DIR/count) = 1 ]; then while [ ! -e $DIR/first ]; do sleep 0.1; done; exit 1; fi; \
         while [ ! -e $DIR/second ]; do sleep 0.1; done; write",
    );
    let file_in = |name: &str| daemon.dir().join(name);
    let (count, first, second) = (file_in("count"), file_in("first"), file_in("second"));
    let task = daemon.submit("Run twice", &["--generator", "runs", "--max-retries", "0"]);
    let runs = || fs::read_to_string(&count).map_or(0, |text| text.lines().count());
    daemon.await_state(&task, "processing");
    daemon.wait_until("the first run", || (runs() == 1).then_some(()));
    let file = backup(&daemon, "b.db");
    fs::write(&first, "").unwrap();
    daemon.await_state(&task, "failed");
    daemon.ctl(&["retry", &task, "--reset-count"]).exits(0);
    daemon.wait_until("the second run", || (runs() == 2).then_some(()));
    daemon.kill9();

    restore_with(&daemon, &file, &[]).exits(0);
    daemon.spawn();
    daemon.await_answer();
    daemon
        .wait_until("the second run is taken up", || events(&daemon, &task).contains(&"adopted".into()).then_some(()));
    fs::write(&second, "").unwrap();
    daemon.await_state(&task, "completed");
    assert_eq!(runs(), 2, "no third one was made");
    let pool = daemon.call("io.contentd.Pool.List", json!({}));
    assert!(pool["entries"][0]["held_reason"].is_string(), "{pool}");
    sound(&daemon.database());
}

#[test]
fn whoever_says_that_nothing_ran_since_is_not_believed_against_the_audit_trail() {
    let mut daemon = Daemon::with(Setup::default());
    let file = backup(&daemon, "b.db");
    let since = daemon.submit("Came since", &[]);
    daemon.await_state(&since, "completed");
    assert!(daemon.terminate().success());
    let before = fs::read(daemon.database()).unwrap();
    let refused = restore_with(&daemon, &file, &["--nothing-ran-since"]).exits(1);
    assert!(refused.err.contains("--nothing-ran-since is not so") && refused.err.contains(&since), "{refused:?}");
    assert_eq!(fs::read(daemon.database()).unwrap(), before);

    // The wrong backup, and back again before anything ran: nothing is in doubt. Then the doubt of a restore stays one.
    let kept =
        |ran: &daemon::Ran| PathBuf::from(ran.out.lines().find_map(|line| line.split_once("is kept: ")).unwrap().1);
    let wrong = restore_with(&daemon, &file, &[]).exits(0);
    let back = restore_with(&daemon, &kept(&wrong), &["--nothing-ran-since"]).exits(0);
    assert!(back.out.contains("goes on where the backup was made"), "{back:?}");
    // That one holds what the wrong restore left in doubt, and nobody has begun with it.
    let undone = restore_with(&daemon, &kept(&back), &["--nothing-ran-since"]).exits(0);
    assert!(undone.out.contains("never started since"), "{undone:?}");
    sound(&daemon.database());
}

#[test]
fn a_restore_in_between_takes_no_witness_away() {
    let mut daemon = Daemon::with(Setup::default());
    let file = backup(&daemon, "b.db");
    let since = daemon.submit("Came since", &[]);
    daemon.await_state(&since, "completed");
    assert!(daemon.terminate().success());
    for restores in 1..3 {
        restore_with(&daemon, &file, &[]).exits(0);
        let refused = restore_with(&daemon, &file, &["--nothing-ran-since"]).exits(1);
        assert!(refused.err.contains(&since), "after {restores} restores: {refused:?}");
        assert!(refused.err.contains("took the place of a database that had"), "after {restores}: {refused:?}");
    }
    sound(&daemon.database());
}

#[test]
fn a_backup_that_was_made_after_a_restore_answers_for_what_that_one_replaced() {
    let mut daemon = Daemon::with(Setup::default());
    let file = backup(&daemon, "b.db");
    let since = daemon.submit("Came since", &[]);
    daemon.await_state(&since, "completed");
    assert!(daemon.terminate().success());
    restore_with(&daemon, &file, &[]).exits(0);
    daemon.spawn();
    daemon.await_answer();
    let newer = backup(&daemon, "newer.db");
    assert!(daemon.terminate().success());
    restore_with(&daemon, &newer, &["--nothing-ran-since"]).exits(0);
    // The one before it answers for nothing of that.
    let refused = restore_with(&daemon, &file, &["--nothing-ran-since"]).exits(1);
    assert!(refused.err.contains(&since), "{refused:?}");
    sound(&daemon.database());
}

#[test]
fn a_name_alone_takes_no_databases_place() {
    let place = tempfile::tempdir().unwrap();
    let (database, file) = old_and_new(place.path());
    let stray = place.path().join("contentd.db.restored-1");
    fs::copy(&file, &stray).unwrap();
    let before = fs::read(&database).unwrap();
    let refused = sqlite::open(&database, 1).err().expect("it is refused").to_string();
    assert!(refused.contains(stray.to_str().unwrap()) && refused.contains("move that file away"), "{refused}");
    let refused = restore::restore(&database, &file, &mark(7), "T1", &mut |_| {}).unwrap_err();
    assert!(matches!(&refused, RestoreError::Decided { copy, .. } if *copy == stray), "{refused}");
    // One whose restore was done before: a copy of a database that was restored once.
    let json = RestoreMark { is_done: true, ..mark(1) }.to_json().unwrap();
    run_sql(&stray, &format!("INSERT INTO settings VALUES ('{SETTING}', '{json}')"));
    assert!(matches!(sqlite::open(&database, 1), Err(OpenError::NoRestore { .. })));
    assert_eq!(fs::read(&database).unwrap(), before);
    fs::rename(&stray, place.path().join("contentd.db.restored-")).unwrap();
    drop(sqlite::open(&database, 1).expect("a name without a time is nobody's"));
    assert_eq!(which(&database), "old");
}

#[test]
fn what_fails_after_the_decision_says_that_it_was_decided_and_the_next_start_completes_it() {
    let place = tempfile::tempdir().unwrap();
    let (database, file) = old_and_new(place.path());
    // What stands in the way of the last steps, as a disk may.
    let stone = place.path().join("contentd.db-shm");
    fs::create_dir(&stone).unwrap();
    let error = restore::restore(&database, &file, &mark(7), "T1", &mut |_| {}).unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, RestoreError::Decided { .. }), "{told}");
    assert!(told.contains("contentd.db.restored-T1") && !told.contains("nothing was restored"), "{told}");
    fs::remove_dir(&stone).unwrap();
    drop(sqlite::open(&database, 1).unwrap());
    assert_eq!(which(&database), "new");
    assert_eq!(which(&place.path().join("contentd.db.before-restore-T1")), "old");
}

#[test]
fn what_cannot_be_restored_is_refused_and_the_database_is_as_it_was() {
    let mut daemon = Daemon::with(Setup::default());
    let good = backup(&daemon, "good.db");
    let live = restore_with(&daemon, &good, &[]).exits(1);
    assert!(live.err.contains(&format!("in use by process {}", daemon.pid())), "{live:?}");
    assert!(daemon.terminate().success());
    let before = fs::read(daemon.database()).unwrap();
    let bad = |name: &str, bytes: &[u8]| daemon.write_file(name, "").tap(|path| fs::write(path, bytes).unwrap());
    let bytes = fs::read(&good).unwrap();
    let cases = [
        (bad("text.db", b"not a database at all, but long enough to be looked at by SQLite as if it were one of its own files, so that it says no"), "not a database"),
        (bad("cut.db", &bytes[..bytes.len() / 2 / 4096 * 4096]), ""),
        (bad("empty.db", b""), "nothing is in it"),
        (daemon.database(), "the database itself"),
        (PathBuf::from("/nowhere/x.db"), "/nowhere/x.db"),
        (bad("newer.db", &bytes).tap(|path| run_sql(path, "INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000000')")), "newer contentd"),
        (bad("broken.db", &bytes).tap(|path| run_sql(path, "UPDATE state_counts SET count = 5; INSERT INTO state_counts VALUES ('pending', 5) ON CONFLICT DO UPDATE SET count = 5")), "is not sound"),
    ];
    for (file, words) in cases {
        let ran = restore_with(&daemon, &file, &[]).exits(1);
        assert!(ran.err.contains(words), "{}: {ran:?}", file.display());
        assert_eq!(fs::read(daemon.database()).unwrap(), before, "{}", file.display());
        let left: Vec<_> = fs::read_dir(daemon.dir()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert!(
            !left
                .iter()
                .any(|name| name.to_string_lossy().contains(".rest")
                    || name.to_string_lossy().contains("before-restore")),
            "{left:?}"
        );
    }
}

trait Tap: Sized {
    fn tap(self, deed: impl FnOnce(&Self)) -> Self {
        deed(&self);
        self
    }
}

impl Tap for PathBuf {}

fn run_sql(path: &Path, sql: &str) {
    SqliteConnection::establish(path.to_str().unwrap()).unwrap().batch_execute(sql).unwrap();
}

/// A database whose last writes stand in its log only, and a backup with another text in it.
fn old_and_new(place: &Path) -> (PathBuf, PathBuf) {
    let (database, file) = (place.join("contentd.db"), place.join("backup.db"));
    let put = |opened: &mut sqlite::Opened, value: &str| {
        let sql = format!("INSERT OR REPLACE INTO settings VALUES ('which', '{value}')");
        opened.backend.connection().batch_execute(&sql).unwrap();
    };
    let mut opened = sqlite::open(&file, 1).unwrap();
    put(&mut opened, "new");
    drop(opened);
    let made = place.join("made.db");
    let mut opened = sqlite::open(&made, 1).unwrap();
    put(&mut opened, "older");
    opened.backend.connection().batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    put(&mut opened, "old");
    // As a death leaves it.
    fs::copy(&made, &database).unwrap();
    fs::copy(place.join("made.db-wal"), place.join("contentd.db-wal")).unwrap();
    (database, file)
}

fn which(path: &Path) -> String {
    texts(path, "SELECT value AS text FROM settings WHERE name = 'which'").pop().unwrap()
}

/// After a death: the old one or the new one, whole; the old one is kept whole beside a new one; and a restore ends well.
fn old_or_new(place: &Path, what: &str) -> bool {
    let database = place.join("contentd.db");
    drop(sqlite::open(&database, 1).unwrap_or_else(|error| panic!("{what}: {error}")));
    sound(&database);
    let is_new = which(&database) == "new";
    if is_new {
        let stored = texts(&database, &format!("SELECT value AS text FROM settings WHERE name = '{SETTING}'"));
        assert_eq!(RestoreMark::parse(Some(&stored[0])).unwrap().unwrap(), mark(7), "{what}: it is marked");
        assert_eq!(fs::metadata(&database).unwrap().mode() & 0o777, 0o600);
        let kept = place.join("contentd.db.before-restore-T1");
        sound(&kept);
        assert_eq!(which(&kept), "old", "{what}: the old one is kept with its log");
    } else {
        assert_eq!(which(&database), "old", "{what}");
    }
    restore::restore(&database, &place.join("backup.db"), &mark(8), "T2", &mut |_| {}).unwrap();
    assert_eq!(which(&database), "new", "{what}: it is restored after all");
    is_new
}

#[test]
fn a_restore_that_dies_at_any_step_leaves_the_old_database_or_the_new_one() {
    if let Some((step, place)) = child() {
        let (database, file) = (place.join("contentd.db"), place.join("backup.db"));
        restore::restore(&database, &file, &mark(7), "T1", &mut dying(Some(step), &mut Vec::new())).unwrap();
        return;
    }
    let whole = tempfile::tempdir().unwrap();
    let (database, file) = old_and_new(whole.path());
    let mut steps = Vec::new();
    restore::restore(&database, &file, &mark(7), "T1", &mut dying(None, &mut steps)).unwrap();
    let itself = restore::restore(&database, &database, &mark(7), "T1", &mut |_| {});
    assert!(matches!(itself, Err(RestoreError::Itself(_))));
    let (mut old, mut new) = (0, 0);
    for (number, step) in steps.iter().enumerate() {
        let place = tempfile::tempdir().unwrap();
        old_and_new(place.path());
        die("a_restore_that_dies_at_any_step_leaves_the_old_database_or_the_new_one", place.path(), number);
        if old_or_new(place.path(), step) { new += 1 } else { old += 1 }
    }
    assert!(old >= 3 && new >= 5, "{old} left the old one, {new} the new one: {steps:?}");
    let kills = number_of("CONTENTD_RESTORE_KILLS", 25);
    let (random_old, random_new) = kill_the_program(kills);
    tally::tell(
        "restores",
        &format!(
            "{} steps of a restore at which it died, and {kills} deaths of the program at any instant: {} times the old database, \
             {} times the new one, never none or half",
            steps.len(),
            old + random_old,
            new + random_new
        ),
    );
}

/// The real program, killed at instants spread over the time it takes.
fn kill_the_program(kills: usize) -> (usize, usize) {
    let command = |place: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contentd"));
        command.arg("restore").arg(place.join("backup.db")).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        command.env("DATABASE_URL", place.join("contentd.db")).env("HOME", place).current_dir(place);
        command
    };
    let whole = tempfile::tempdir().unwrap();
    old_and_new(whole.path());
    let began = Instant::now();
    assert!(command(whole.path()).status().unwrap().success());
    let lasts = began.elapsed();
    let (mut old, mut new) = (0, 0);
    for number in 0..kills {
        let place = tempfile::tempdir().unwrap();
        let (database, _) = old_and_new(place.path());
        let mut child = command(place.path()).spawn().unwrap();
        std::thread::sleep(lasts * u32::try_from(number).unwrap() / u32::try_from(kills).unwrap());
        // It may have ended.
        let _ = child.kill();
        child.wait().unwrap();
        drop(sqlite::open(&database, 1).unwrap());
        sound(&database);
        match which(&database).as_str() {
            "old" => old += 1,
            "new" => new += 1,
            other => panic!("{other}"),
        }
    }
    (old, new)
}

// ---- Migrations

/// A database as contentd 0.1.0 left it, with tasks, pieces and a job under way.
fn first_form(path: &Path) {
    let dump = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/database-0.1.0.sql")).unwrap();
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA journal_mode = WAL").unwrap();
    connection
        .batch_execute(&format!("BEGIN; {dump} PRAGMA application_id = {}; COMMIT", migrate::APPLICATION_ID))
        .unwrap();
}

/// What must be the same in both forms.
fn rows(path: &Path) -> Vec<String> {
    let columns =
        "id || state || attempt || coalesce(wake_at, '') || updated_at || topic || coalesce(requirements, '')";
    let mut rows = texts(path, &format!("SELECT {columns} AS text FROM tasks ORDER BY seq"));
    rows.extend(texts(path, "SELECT task_id || number || key || state AS text FROM attempts ORDER BY key"));
    rows.extend(texts(path, "SELECT id || task_id || event || to_state AS text FROM events ORDER BY id"));
    rows.extend(texts(path, "SELECT id || content_hash || content AS text FROM contents ORDER BY id"));
    rows.extend(texts(path, "SELECT id || content_id || status AS text FROM publish_pool ORDER BY id"));
    rows
}

#[test]
fn a_migration_that_dies_at_any_step_is_completed_by_the_next_start_with_every_row() {
    if let Some((step, place)) = child() {
        let opened = sqlite::open_in_steps(&place.join("contentd.db"), 1, &mut dying(Some(step), &mut Vec::new()));
        drop(opened.unwrap());
        return;
    }
    let whole = tempfile::tempdir().unwrap();
    let database = whole.path().join("contentd.db");
    first_form(&database);
    let judgement = sound(&database);
    assert!(judgement.needs_migration && judgement.version == "20261123000000", "{judgement:?}");
    let expected = rows(&database);
    assert_eq!(expected.len(), 50);
    let mut steps = Vec::new();
    let opened = sqlite::open_in_steps(&database, 1, &mut dying(None, &mut steps)).unwrap();
    let cuts = cut_logs(&database, &expected);
    drop(opened);
    assert!(!sound(&database).needs_migration);
    let kept = whole.path().join(format!("contentd.db.before-{}", upkeep::newest_version()));
    assert_eq!((sound(&kept).version, rows(&kept)), ("20261123000000".to_owned(), expected.clone()), "the way back");
    for (number, step) in steps.iter().enumerate() {
        let place = tempfile::tempdir().unwrap();
        let database = place.path().join("contentd.db");
        first_form(&database);
        die("a_migration_that_dies_at_any_step_is_completed_by_the_next_start_with_every_row", place.path(), number);
        sound(&database);
        assert_eq!(rows(&database), expected, "after a death at {step:?}");
        drop(sqlite::open(&database, 1).unwrap_or_else(|error| panic!("{step}: {error}")));
        assert!(!sound(&database).needs_migration, "{step}");
        assert_eq!(rows(&database), expected, "completed after a death at {step:?}");
        let kept = place.path().join(kept.file_name().unwrap());
        assert_eq!(rows(&kept), expected, "{step}");
    }
    assert!(steps.len() >= 7, "{steps:?}");
    tally::tell(
        "migrations",
        &format!(
            "{} steps of a migration at which it died, and {cuts} logs of it that were cut: completed each time",
            steps.len()
        ),
    );
}

/// A loss of power at each page of the log that the migration wrote, and in the middle of one.
fn cut_logs(database: &Path, expected: &[String]) -> usize {
    const HEADER: usize = 32;
    const FRAME: usize = 24 + 4096;
    let (file, log) = (fs::read(database).unwrap(), fs::read(database.with_extension("db-wal")).unwrap());
    let frames = (log.len() - HEADER) / FRAME;
    let mut cuts: Vec<usize> = (0..=frames).map(|frame| HEADER + frame * FRAME).collect();
    cuts.extend([1, HEADER - 1, HEADER + FRAME / 2, log.len() - 1]);
    for cut in &cuts {
        let place = tempfile::tempdir().unwrap();
        let database = place.path().join("contentd.db");
        fs::write(&database, &file).unwrap();
        fs::write(place.path().join("contentd.db-wal"), &log[..*cut]).unwrap();
        drop(sqlite::open(&database, 1).unwrap_or_else(|error| panic!("log of {cut} bytes: {error}")));
        assert!(!sound(&database).needs_migration);
        assert_eq!(rows(&database), expected, "log of {cut} bytes");
    }
    cuts.len()
}

#[test]
fn a_migration_without_room_for_its_copy_is_refused_with_the_bytes_intact() {
    let place = tempfile::tempdir().unwrap();
    let database = place.path().join("contentd.db");
    first_form(&database);
    let before = fs::read(&database).unwrap();
    // A directory where the copy is written to: it cannot be made.
    fs::create_dir(place.path().join(format!("contentd.db.before-{}.part", upkeep::newest_version()))).unwrap();
    let refused = sqlite::open(&database, 1).err().expect("it is refused");
    assert!(matches!(refused, OpenError::Migration { .. }), "{refused}");
    assert_eq!(fs::read(&database).unwrap(), before);
}
