//! Telling somebody, with the real daemon, real hooks and their real deaths; health, metrics, days and reports.
//!
//! A disk that is never large enough is an alarm that can be had at any time. With the feature `real-generator` the page of the metrics
//! is read by promtool as well, which the package `prometheus` brings.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/tally.rs"]
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use daemon::{Daemon, Setup};
use serde_json::{Value, json};

/// No disk is so large.
const ALWAYS: &str = "[notices.disk]\nunder = \"900000TB\"\nfor = \"0s\"\n";
/// Every disk is.
const NEVER: &str = "[notices.disk]\nunder = \"1kB\"\nfor = \"0s\"\n";
const INTERVAL: &str = "[notices]\ninterval = \"1s\"\n";

/// A daemon with hooks: names with the text of a shell script and lines of their sections.
fn with_hooks(setup: Setup, rules: &str, hooks: &[(&str, &str, &str)]) -> Daemon {
    let mut daemon = Daemon::prepared(setup);
    let mut more = format!("{INTERVAL}{rules}");
    for (name, script, lines) in hooks {
        let path = hook_file(&daemon, name, script);
        more += &format!("[hooks.{name}]\nrun = [{path:?}]\n{lines}\n");
    }
    daemon.change(|setup| setup.more = more);
    daemon.spawn();
    daemon.await_answer();
    daemon.ctl(&["account", "add", "--name", "blog"]).exits(0);
    daemon
}

fn hook_file(daemon: &Daemon, name: &str, script: &str) -> PathBuf {
    let dir = daemon.dir().display();
    let path = daemon.write_file(&format!("hook-{name}"), &format!("#!/bin/sh\ndir={dir}\n{script}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path
}

/// Each line of a file that hooks write, as JSON.
fn told(daemon: &Daemon, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(daemon.dir().join(file)).unwrap_or_default();
    // The last may still be written.
    text.split_inclusive('\n').filter_map(|line| serde_json::from_str(line).ok()).collect()
}

const TAKE: &str = "cat >> $dir/told";

#[test]
fn an_alarm_and_its_end_are_told_with_the_documented_shape() {
    let mut daemon = with_hooks(
        Setup::default(),
        ALWAYS,
        &[("mail", TAKE, ""), ("worst", "cat >> $dir/worst", "least = \"critical\"")],
    );
    let first = daemon.wait_until("the beginning is told", || told(&daemon, "told").pop());
    let fields: BTreeSet<&str> = first.as_object().expect("an object").keys().map(String::as_str).collect();
    let documented = include_str!("../docs/notices.md");
    let (_, rest) = documented.split_once("```json\n").expect("the page shows one");
    let shown: Value = serde_json::from_str(rest.split_once("```").expect("it ends").0).expect("JSON");
    assert_eq!(fields, shown.as_object().expect("an object").keys().map(String::as_str).collect());
    assert_eq!(
        (&first["kind"], &first["alarm"], &first["severity"]),
        (&json!("firing"), &json!("disk"), &json!("critical"))
    );
    let health = daemon.ctl(&["health"]).exits(2).json();
    assert_eq!((&health["status"], &health["checks"][0]["name"]), (&json!("critical"), &json!("disk")));
    daemon.change(|setup| setup.more = setup.more.replace(ALWAYS, NEVER));
    let reloaded = daemon.call("io.contentd.Daemon.Reload", json!({}));
    assert_eq!(reloaded["changed"], json!(["notices.disk"]));
    daemon.wait_until("the end is told", || (told(&daemon, "told").len() == 2).then_some(()));
    let both = told(&daemon, "told");
    assert_eq!((&both[1]["kind"], &both[1]["alarm"]), (&json!("resolved"), &json!("disk")));
    assert_ne!(both[0]["id"], both[1]["id"]);
    daemon.wait_until("who hears of the worst alone heard the same", || (told(&daemon, "worst") == both).then_some(()));
    daemon.ctl(&["health"]).exits(0);
    let listed = daemon.ctl_json(&["notice", "list"]);
    let states: Vec<&str> = listed["notices"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|notice| notice["deliveries"].as_array().expect("a list"))
        .map(|delivery| delivery["state"].as_str().expect("a word"))
        .collect();
    assert_eq!(states, ["delivered"; 4]);
    // Off, nothing is watched.
    daemon.change(|setup| {
        setup.more = setup.more.replace(INTERVAL, &format!("{INTERVAL}off = true\n")).replace(NEVER, ALWAYS)
    });
    daemon.call("io.contentd.Daemon.Reload", json!({}));
    assert_eq!(daemon.ctl_json(&["health"])["checks"], json!([]));
}

#[test]
fn a_kill_in_the_middle_of_a_hook_tells_again_under_the_same_id() {
    let script = "tee -a $dir/begun > $dir/last\n[ -e $dir/slow ] && sleep 50\ncat $dir/last >> $dir/told";
    let mut daemon = Daemon::prepared(Setup::default());
    daemon.write_file("slow", "");
    let path = hook_file(&daemon, "mail", script);
    daemon.change(|setup| {
        setup.more = format!(
            "{INTERVAL}{ALWAYS}[hooks.mail]\nrun = [{path:?}]\ntimeout = \"1s\"\nretry = {{ initial = \"1s\" }}\n"
        )
    });
    let mut kills = 0;
    for _ in 0..3 {
        daemon.spawn();
        let before = told(&daemon, "begun").len();
        daemon.wait_until("a run has begun", || (told(&daemon, "begun").len() > before).then_some(()));
        daemon.kill9();
        kills += 1;
    }
    assert_eq!(told(&daemon, "told"), Vec::<Value>::new(), "no run has ended");
    fs::remove_file(daemon.dir().join("slow")).expect("it is ours");
    daemon.spawn();
    daemon.await_answer();
    let taken = daemon.wait_until("it is told", || told(&daemon, "told").pop());
    let begun = told(&daemon, "begun");
    assert!(begun.len() > kills && begun.iter().all(|message| *message == taken), "one message, one id: {begun:?}");
    let made = daemon.call("io.contentd.Daemon.Notices", json!({}));
    assert_eq!(made["notices"].as_array().map(Vec::len), Some(1), "{made}");
    assert_eq!(made["notices"][0]["notice_id"], taken["id"]);
    daemon.terminate();
    let judged = daemon.contentd(&["--check-database"]).output().expect("it runs");
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
    tally::tell("notice-3-kills", &format!("{kills} kills in the middle of a hook: {} runs, one id", begun.len()));
}

#[test]
fn a_hook_that_hangs_is_ended_with_all_that_it_started_and_slows_nothing() {
    let hangs = "trap '' TERM\nsleep 1000 &\necho $! > $dir/child.new && mv $dir/child.new $dir/child\nwhile :; do sleep 1; done";
    let daemon = with_hooks(
        Setup::default(),
        ALWAYS,
        &[("hangs", hangs, "timeout = \"1s\"\ngive_up_after = \"1s\""), ("mail", TAKE, "")],
    );
    let id = daemon.submit("goes on", &[]);
    daemon.wait_until("the other hook is told", || told(&daemon, "told").pop());
    daemon.await_state(&id, "completed");
    let child = daemon.wait_until("it has started a child", || fs::read_to_string(daemon.dir().join("child")).ok());
    let given_up = daemon.wait_until("it is given up", || {
        let listed = daemon.call("io.contentd.Daemon.Notices", json!({}));
        let deliveries = listed["notices"][0]["deliveries"].as_array()?.clone();
        deliveries.into_iter().find(|one| one["hook"] == "hangs" && one["state"] == "given_up")
    });
    assert!(given_up["last_error"].as_str().expect("words").contains("time limit"), "{given_up}");
    let child = PathBuf::from("/proc").join(child.trim());
    daemon.wait_until("its child is gone", || {
        let stat = fs::read_to_string(child.join("stat")).ok();
        stat.is_none_or(|stat| stat.contains(") Z ")).then_some(())
    });
    let health = daemon.call("io.contentd.Daemon.Health", json!({}));
    assert!(health["checks"].to_string().contains("hook/hangs"), "{health}");
    let status = daemon.call("io.contentd.Daemon.GetStatus", json!({}));
    assert_eq!(status["hooks"][0], json!({"name": "hangs", "waiting": 0, "oldest_at": null, "given_up": 1}));
}

#[test]
fn what_a_hook_says_is_kept_short_and_clean() {
    let mut daemon = Daemon::prepared(Setup::default().with_env("CREDENTIALS_DIRECTORY", "credentials"));
    let credentials = daemon.dir().join("credentials");
    fs::create_dir(&credentials).expect("the directory is ours");
    fs::write(credentials.join("token"), "s3cr3t-token\n").expect("the directory is ours");
    let script = "cat > /dev/null\nhead -c 20000000 /dev/zero | tr '\\0' x\n\
                  printf 'line\\n\\033[2J%s says %01000d\\n' \"$TOKEN\" 7 >&2\nenv > $dir/environment\nexit 3";
    let path = hook_file(&daemon, "mail", script);
    let directory = credentials.display().to_string();
    daemon.change(|setup| {
        setup.env.push(("CREDENTIALS_DIRECTORY".into(), directory));
        setup.env.push(("LEAKS".into(), "nothing".into()));
        setup.more = format!(
            "{INTERVAL}[hooks.mail]\nrun = [{path:?}]\nsecrets = {{ TOKEN = \"token\" }}\nenv = {{ MINE = \"yes\" }}\n"
        );
    });
    daemon.spawn();
    daemon.await_answer();
    let tried = daemon.ctl(&["notice", "test", "mail"]).exits(1);
    let words = tried.json()["deliveries"][0]["last_error"].as_str().expect("words").to_owned();
    assert!(words.starts_with("it exited with status 3:  [2J[secret] says 000"), "{words}");
    assert!(words.chars().count() <= 200 && !words.chars().any(char::is_control), "{words:?}");
    assert!(!tried.out.contains("s3cr3t") && !tried.err.contains("s3cr3t") && !daemon.log().contains("s3cr3t"));
    let environment = fs::read_to_string(daemon.dir().join("environment")).expect("it ran");
    assert!(environment.contains("MINE=yes") && environment.contains("TOKEN=s3cr3t-token"), "{environment}");
    assert!(!environment.contains("LEAKS") && !environment.contains("CREDENTIALS_DIRECTORY"), "{environment}");
}

#[test]
fn people_try_hooks_acknowledge_alarms_and_order_silence() {
    let daemon = with_hooks(Setup::default(), NEVER, &[("mail", TAKE, "")]);
    let shown = daemon.ctl_json(&["notice", "test", "mail"]);
    assert_eq!(shown["deliveries"][0]["state"], "delivered");
    assert_eq!(told(&daemon, "told")[0]["kind"], "test");
    assert_eq!(daemon.ctl_json(&["notice", "show", shown["notice_id"].as_str().expect("an id")])["kind"], "test");
    let refused = daemon.refused("io.contentd.Daemon.TestHook", json!({"hook": "nobody"}));
    assert_eq!(
        (refused.name.as_str(), &refused.parameters["known"]),
        ("io.contentd.Daemon.HookNotFound", &json!(["mail"]))
    );
    let refused = daemon.refused("io.contentd.Daemon.Notice", json!({"notice": "nothing"}));
    assert_eq!(refused.name, "io.contentd.Daemon.NoticeNotFound");
    let refused = daemon.refused("io.contentd.Daemon.Acknowledge", json!({"alarm": "disk"}));
    assert_eq!(refused.name, "io.contentd.Daemon.AlarmNotFound");
    daemon.ctl(&["notice", "silence", "--for", "2h"]).exits(0);
    let listed = daemon.ctl_json(&["notice", "list"]);
    assert!(listed["silenced_until"].is_string() && listed["silenced_by"].is_string(), "{listed}");
    daemon.ctl(&["notice", "silence", "--end"]).exits(0);
    assert!(daemon.ctl_json(&["health"])["silenced_until"].is_null());
    daemon.ctl(&["notice", "silence", "--for", "for ever"]).exits(1);
    daemon.ctl(&["notice", "silence"]).exits(2);
}

#[test]
fn health_counts_as_monitoring_systems_do() {
    let mut daemon = with_hooks(Setup::default(), NEVER, &[]);
    let plain = |daemon: &Daemon| {
        let mut command = daemon.contentctl(&["health"]);
        daemon::Ran::from(command.args(["--output", "table"]).output().expect("it runs"))
    };
    let well = plain(&daemon).exits(0);
    let line = well.out.lines().next().expect("a line");
    assert!(
        line.starts_with("CONTENTD OK - ") && line.contains("'backlog'=0;50;;0") && line.contains("'disk'="),
        "{line}"
    );
    daemon.terminate();
    let down = plain(&daemon).exits(2);
    assert!(down.out.starts_with("CONTENTD CRITICAL - "), "{down:?}");
    assert_eq!(daemon.ctl(&["health"]).exits(2).json()["status"], "critical");
}

/// Each sample of a page by its name and labels, after the page was found well formed.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let (mut family, mut kinds, mut found) = (String::new(), BTreeMap::new(), BTreeMap::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a help");
            assert!(name.starts_with("contentd_") && !help.is_empty(), "{line}");
            family = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert_eq!(name, family, "help and type of one family");
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is there once");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a sample and a value");
            let name = sample.split('{').next().expect("a name");
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(name == family || base == family, "{line} is no sample of {family}");
            let value = value.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(found.insert(sample.to_owned(), value).is_none(), "{sample} is there once");
        }
    }
    found
}

#[test]
fn metrics_are_a_page_for_prometheus_that_does_not_grow_with_tasks() {
    let mut daemon = with_hooks(Setup::default(), NEVER, &[("mail", TAKE, "")]);
    daemon.ctl(&["notice", "test", "mail"]).exits(0);
    let page = |daemon: &Daemon| {
        daemon.call("io.contentd.Daemon.Metrics", json!({}))["text"].as_str().expect("a text").to_owned()
    };
    let ids: Vec<String> = (0..3).map(|n| daemon.submit(&format!("topic {n}"), &[])).collect();
    for id in &ids {
        daemon.await_state(id, "completed");
    }
    let text = page(&daemon);
    let numbers = samples(&text);
    for (sample, value) in [
        ("contentd_tasks{state=\"completed\"}", 3.0),
        ("contentd_tasks_submitted_total{generator=\"sample\"}", 3.0),
        ("contentd_task_transitions_total{generator=\"sample\",event=\"completed\"}", 3.0),
        ("contentd_generator_answers_total{generator=\"sample\",verb=\"submit\",outcome=\"ok\"}", 3.0),
        ("contentd_job_duration_seconds_count{generator=\"sample\"}", 3.0),
        ("contentd_task_wait_seconds_count{generator=\"sample\"}", 3.0),
        ("contentd_jobs_in_flight{generator=\"sample\"}", 0.0),
        ("contentd_breaker_open{generator=\"sample\"}", 0.0),
        ("contentd_breaker_trip{generator=\"sample\",trip=\"unanswered\"}", 0.0),
        ("contentd_schedules{state=\"paused\"}", 0.0),
        ("contentd_schedules_without_tasks", 0.0),
        ("contentd_pool_entries{state=\"held\"}", 0.0),
        ("contentd_hook_runs_total{hook=\"mail\",outcome=\"ok\"}", 1.0),
        ("contentd_alarm_firing{rule=\"disk\",subject=\"\"}", 0.0),
        ("contentd_up", 1.0),
    ] {
        assert_eq!(numbers.get(sample), Some(&value), "{sample}\n{text}");
    }
    let commits = numbers["contentd_commit_sync_seconds_count"];
    assert!(commits > 5.0 && numbers["contentd_commit_duration_seconds_count"] >= commits, "{text}");
    // The same kinds of things again: the same lines.
    for n in 0..3 {
        let id = daemon.submit(&format!("more {n}"), &[]);
        daemon.await_state(&id, "completed");
    }
    let names: Vec<String> = samples(&page(&daemon)).into_keys().collect();
    assert_eq!(names, numbers.into_keys().collect::<Vec<_>>());
    assert!(ids.iter().all(|id| !text.contains(id.as_str())), "no task is named");
    textfile(&mut daemon);
    #[cfg(feature = "real-generator")]
    promtool(&text);
}

/// Written whole or not at all, and the truth where the daemon is down.
fn textfile(daemon: &mut Daemon) {
    let path = daemon.dir().join("contentd.prom");
    let write = |daemon: &Daemon| {
        let mut command = daemon.contentctl(&["metrics", "--textfile"]);
        daemon::Ran::from(command.arg(&path).output().expect("it runs"))
    };
    write(daemon).exits(0);
    assert_eq!(samples(&fs::read_to_string(&path).expect("it is there"))["contentd_up"], 1.0);
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o644);
    daemon.terminate();
    write(daemon).exits(3);
    let down = samples(&fs::read_to_string(&path).expect("it is there"));
    assert_eq!(down, BTreeMap::from([("contentd_up".to_owned(), 0.0)]));
    let left = fs::read_dir(daemon.dir()).expect("listed").flatten();
    assert!(
        left.into_iter().all(|entry| !entry.file_name().to_string_lossy().contains(".tmp")),
        "nothing is left beside"
    );
}

/// Prometheus' own tool reads the page, and finds nothing to say about its names.
#[cfg(feature = "real-generator")]
fn promtool(page: &str) {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool is installed: apt-get install prometheus");
    child.stdin.take().expect("piped").write_all(page.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}\n{page}", String::from_utf8_lossy(&said));
}

#[test]
fn days_have_rows_and_spans_have_quantiles() {
    let daemon = Daemon::start();
    for n in 0..4 {
        let id = daemon.submit(&format!("topic {n}"), &[]);
        daemon.await_state(&id, "completed");
    }
    let rows = daemon.ctl_json(&["stats", "--since", "7d", "--by", "day", "--generator", "sample"]);
    let rows = rows.as_array().expect("rows");
    assert_eq!(rows.len(), 7, "today, and the six days before it");
    let today = rows.last().expect("a row");
    assert_eq!((&today["completed"], &today["created"], &today["retried"]), (&json!(4), &json!(4), &json!(0)));
    assert!(today["median_duration_s"].as_f64() <= today["p90_duration_s"].as_f64(), "{today}");
    assert_eq!((&rows[0]["completed"], &rows[0]["median_duration_s"]), (&json!(0), &Value::Null));
    let in_all = daemon.ctl_json(&["stats", "--since", "1h"]);
    assert!(in_all["median_duration_s"].is_number() && in_all["p90_wait_s"].is_number(), "{in_all}");
    assert_eq!((&in_all["finished"]["completed"], &in_all["retried"]), (&json!(4), &json!(0)));
    daemon.ctl(&["stats", "--since", "9000d", "--by", "day"]).exits(2);
    daemon.ctl(&["stats", "--account", "nobody", "--by", "day"]).exits(1);
}

#[test]
fn a_report_says_nothing_of_the_key() {
    let daemon = Daemon::with(Setup::without_polls());
    let id = daemon.submit("called back", &[]);
    daemon.await_state(&id, "submitted");
    let attempts = daemon.call("io.contentd.Tasks.Show", json!({ "task": id }))["attempts"].take();
    let key = attempts[0]["key"].as_str().expect("a key").to_owned();
    let unknown = "00112233445566778899aabbccddeeff";
    let before = daemon.task(&id);
    assert_eq!(daemon.call("io.contentd.Tasks.Report", json!({ "key": unknown })), json!({}));
    assert_eq!(daemon.task(&id), before);
    assert_eq!(daemon.call("io.contentd.Tasks.Report", json!({ "key": key })), json!({}));
    daemon.await_state(&id, "completed");
    let history = daemon.call("io.contentd.Tasks.History", json!({ "task": id }));
    for key in [key.as_str(), unknown] {
        daemon.ctl(&["report", key]).exits(0);
    }
    assert_eq!(daemon.call("io.contentd.Tasks.History", json!({ "task": id })), history);
    let refused = daemon.refused("io.contentd.Tasks.Report", json!({"key": "task-1"}));
    assert_eq!(
        (refused.name.as_str(), &refused.parameters["field"]),
        ("io.contentd.Tasks.InvalidField", &json!("key"))
    );
    daemon.ctl(&["report", "nonsense"]).exits(1);
    assert_eq!(daemon.paid(), ["called back"]);
}
