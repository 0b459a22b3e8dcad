//! What becomes of the tasks of a restored database: jobs and runs that it does not know.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::daemon::{Daemon, Setup};
use super::*;

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
    let more = format!("not: 1 task, 5 pieces, 0 publications.\n`sqlite3 -readonly {kept}` looks");
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
