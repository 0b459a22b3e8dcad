//! Schedules of the real daemon: killed again and again under a schedule of every second, and used by contentctl as an
//! operator does.
//!
//! `CONTENTD_TEST_SCHEDULE_KILLS` says how often it is killed (4 unless said): more of them for a longer run.

#[path = "support/live.rs"]
mod live;
#[path = "support/tally.rs"]
mod tally;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use live::{Daemon, Home, eventually};
use serde_json::{Value, json};

fn fires(daemon: &Daemon<'_>, schedule: &str) -> Vec<Value> {
    let reply = daemon.ask("io.contentd.Schedules.History", json!({"schedule": schedule, "limit": 1000}));
    let mut fires = reply["fires"].as_array().unwrap().clone();
    fires.reverse();
    fires
}

fn fired(daemon: &Daemon<'_>, schedule: &str) -> usize {
    fires(daemon, schedule).iter().filter(|fire| fire["state"] == "fired").count()
}

fn add(daemon: &Daemon<'_>, schedule: Value) -> Value {
    daemon.ask("io.contentd.Schedules.Add", json!({ "schedule": schedule }))["schedule"].clone()
}

/// Every task, however many they are.
fn all_tasks(daemon: &Daemon<'_>) -> Vec<Value> {
    let mut tasks: Vec<Value> = Vec::new();
    loop {
        let page = json!({"limit": 1000, "before": tasks.last().map(|task| task["task_id"].clone())});
        let part = daemon.ask("io.contentd.Tasks.List", page)["tasks"].as_array().unwrap().clone();
        let is_last = part.len() < 1000;
        tasks.extend(part);
        if is_last {
            return tasks;
        }
    }
}

/// A command that prints as many topics as are wanted, named by the fire's key, after a moment in which it can be cut.
const PRINTER: &str =
    "#!/bin/sh\nsleep 0.05\ni=0\nwhile [ $i -lt $CONTENTD_TOPICS ]; do echo \"$CONTENTD_FIRE $i\"; i=$((i+1)); done\n";

fn home() -> Home {
    let home = Home::bare();
    let script = home.path("printer");
    std::fs::write(&script, PRINTER).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir(home.path("topics")).unwrap();
    let more = format!(
        "[schedules]\ntopic_directories = [{:?}]\n[topic_sources.printer]\nrun = [{script:?}]\nidempotent = true\n",
        home.path("topics")
    );
    home.configure(&more, "");
    home
}

#[test]
fn killed_again_and_again_each_due_time_fires_once() {
    let kills: usize = std::env::var("CONTENTD_TEST_SCHEDULE_KILLS").map_or(4, |kills| kills.parse().unwrap());
    let home = home();
    let mut daemon = home.start();
    daemon.add_account("a");
    daemon.add_account("b");
    let topics: Vec<Value> = (0..5_000).map(|n| json!({"topic": format!("l{n}")})).collect();
    let lines: String = (0..5_000).map(|n| format!("f{n}\n")).collect();
    std::fs::write(home.path("topics/t.txt"), lines).unwrap();
    let every_second = |name: &str, source: (&str, Value)| {
        let mut schedule =
            json!({"name": name, "every": "1s", "accounts": ["a", "b"], "misfire": "all", "misfire_most": 100});
        schedule[source.0] = source.1;
        schedule
    };
    let sources = [("list", json!(topics)), ("file", json!(home.path("topics/t.txt"))), ("command", json!("printer"))];
    for (name, source) in sources {
        let added = add(&daemon, every_second(name, (name, source)));
        assert_eq!(added["next"].as_array().unwrap().len(), 5);
    }
    // No piece is waited for: what counts is what is submitted.
    daemon.ask("io.contentd.Daemon.Pause", json!({}));
    for kill in 0..kills {
        let before = ["list", "file", "command"].map(|name| fired(&daemon, name));
        eventually("each has fired twice more", || {
            let now = ["list", "file", "command"].map(|name| fired(&daemon, name));
            now.iter().zip(before).all(|(now, before)| *now >= before + 2).then_some(())
        });
        // Another moment of the second in each round.
        std::thread::sleep(Duration::from_millis(230 * kill as u64 % 1_000));
        daemon.kill();
        daemon = home.start();
    }
    for name in ["list", "file", "command"] {
        daemon.ask("io.contentd.Schedules.Pause", json!({"schedule": name}));
        eventually("what was begun ends", || {
            fires(&daemon, name).iter().all(|fire| !fire["ended_at"].is_null()).then_some(())
        });
    }
    let tasks = all_tasks(&daemon);
    let mut total = 0;
    for name in ["list", "file", "command"] {
        let fires = fires(&daemon, name);
        let due: Vec<&str> = fires.iter().map(|fire| fire["due_at"].as_str().unwrap()).collect();
        let second = |at: &str| at.parse::<jiff::Timestamp>().unwrap().as_millisecond() / 1_000;
        let seconds: Vec<i64> = due.iter().map(|at| second(at)).collect();
        let all: Vec<i64> = (seconds[0]..seconds[0] + seconds.len() as i64).collect();
        assert_eq!(seconds, all, "{name}: each second once, over {kills} deaths");
        let made: Vec<&str> =
            fires.iter().flat_map(|fire| fire["tasks"].as_array().unwrap()).map(|id| id.as_str().unwrap()).collect();
        assert_eq!(made.len(), 2 * fires.len(), "{name}: two accounts, a topic each: {fires:#?}");
        let of_it: Vec<&Value> =
            tasks.iter().filter(|task| made.contains(&task["task_id"].as_str().unwrap())).collect();
        let topics: BTreeSet<&str> = of_it.iter().map(|task| task["topic"].as_str().unwrap()).collect();
        assert_eq!(topics.len(), made.len(), "{name}: no topic twice");
        if name != "command" {
            let expected: BTreeSet<String> = (0..made.len()).map(|n| format!("{}{n}", &name[..1])).collect();
            assert_eq!(topics, expected.iter().map(String::as_str).collect(), "{name}: none is skipped");
        }
        total += fires.len();
    }
    assert_eq!(tasks.len(), 2 * total, "nothing but these was submitted");
    tally::tell("schedule-kills", &format!("{total} fires over {kills} deaths by kill -9, each due time once"));
}

fn contentctl(home: &Home, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contentctl"));
    command.env_clear().env("TZ", "America/New_York").arg("--socket").arg(home.socket()).args(arguments);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn an_operator_adds_looks_runs_pauses_and_removes() {
    let home = home();
    let daemon = home.start();
    let account = daemon.add_account("blog");
    std::fs::write(home.path("list.csv"), "topic,tone\none,dry\ntwo,\n").unwrap();
    let list = home.path("list.csv");
    let list = list.to_str().unwrap();
    let good =
        ["schedule", "add", "--name", "mornings", "--cron", "0 8 * * mon-fri", "--account", "blog", "--list", list];
    let (code, out, err) = contentctl(&home, &[&good[..], &["--zone", "Asia/Shanghai", "--dry-run"]].concat());
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out.matches("T08:00:00+08:00").count(), 5, "{out}");
    assert!(out.matches("T00:00:00.000Z").count() >= 5, "{out}");
    assert!(err.contains("nothing was kept"), "{err}");
    let (_, out, _) = contentctl(&home, &["--output", "json", "schedule", "list"]);
    assert_eq!(out.trim(), "[]");
    let (code, out, err) = contentctl(&home, &good);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("America/New_York"), "the caller's own zone: {out}");
    let (_, out, _) = contentctl(&home, &["schedule", "list"]);
    assert!(out.contains("mornings") && out.contains("0 8 * * mon-fri") && out.contains("T08:00:00-0"), "{out}");
    for (arguments, told) in [
        (vec!["--name", "mornings", "--every", "1h", "--topic", "t"], "\"mornings\" already"),
        (vec!["--name", "x", "--cron", "0 25 * * *", "--topic", "t"], "cron: \"0 25 * * *\" cannot be taken: hour"),
        (vec!["--name", "x", "--every", "1h", "--topic", "t", "--zone", "Mars/Base"], "zone: \"Mars/Base\""),
        (
            vec!["--name", "x", "--every", "1h", "--command", "none"],
            "command: \"none\" cannot be taken: a command of the configuration",
        ),
        (vec!["--name", "x", "--every", "1h", "--file", "/etc/passwd"], "file: \"/etc/passwd\" cannot be taken"),
        (vec!["--name", "x", "--every", "1h", "--topic", "t", "--misfire", "all:1000"], "misfire_most: \"1000\""),
        (vec!["--name", "x", "--every", "1h", "--topic", "t", "--generator", "none"], "there is no generator \"none\""),
    ] {
        let (code, out, err) = contentctl(&home, &[&["schedule", "add", "--account", "blog"], &arguments[..]].concat());
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}: {err}");
        assert!(err.contains(told), "{arguments:?}: {err}");
    }
    let wrong = ["schedule", "add", "--name", "x", "--every", "1h", "-a", "blog,nobody,blog", "--command", "none"];
    let (code, _, err) = contentctl(&home, &wrong);
    let all = ["nothing was kept; 3 faults", "accounts: \"nobody\"", "accounts: \"blog\"", "command: \"none\""];
    assert!(code == Some(1) && all.iter().all(|fault| err.contains(fault)), "{err}");
    assert_eq!(contentctl(&home, &["schedule", "add", "--name", "x", "--account", "blog", "--topic", "t"]).0, Some(2));
    let (code, _, err) = contentctl(&home, &["schedule", "pause", "mornings", "--reason", "holidays"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, _, err) = contentctl(&home, &["schedule", "run", "mornings"]);
    assert_eq!(code, Some(0), "paused or not: {err}");
    eventually("it has fired", || (fired(&daemon, "mornings") == 1).then_some(()));
    let tasks = daemon.list();
    assert_eq!((tasks.len(), &tasks[0]["topic"], &tasks[0]["tone"]), (1, &json!("one"), &json!("dry")));
    assert_eq!(tasks[0]["account_id"], account);
    daemon.until_state(tasks[0]["task_id"].as_str().unwrap(), "completed");
    let (_, out, _) = contentctl(&home, &["schedule", "history", "mornings"]);
    assert!(out.contains("by_hand") && out.contains("fired"), "{out}");
    let (_, out, _) = contentctl(&home, &["--output", "json", "schedule", "show", "mornings"]);
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert!(shown["paused_why"].as_str().unwrap().ends_with("paused it: holidays"), "{shown}");
    assert_eq!((&shown["list_size"], &shown["list_taken"]), (&json!(2), &json!(1)));
    assert_eq!(shown["next_topics"], json!(["two"]));
    let (_, out, _) = contentctl(&home, &["schedule", "show", "mornings"]);
    assert!(out.contains("topics of its list: 1 of 2 taken, 1 left; next:\n  two\n"), "{out}");
    let (code, out, _) = contentctl(&home, &["schedule", "resume", "mornings"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("next:"), "{out}");
    assert_eq!(contentctl(&home, &["schedule", "run", "mornings"]).0, Some(0));
    eventually("it has worked through its list", || (fired(&daemon, "mornings") == 2).then_some(()));
    let (code, out, err) = contentctl(&home, &["schedule", "resume", "mornings"]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "nothing is left that it could submit");
    assert!(err.contains("schedule \"mornings\" cannot be resumed: its list of 2 topics is worked through"), "{err}");
    assert!(err.contains("--at-end again"), "{err}");
    let (code, _, err) = contentctl(&home, &["schedule", "run", "mornings"]);
    assert!(code == Some(1) && err.contains("\"mornings\" cannot be run: its list of 2 topics is"), "{err}");
    let (_, out, _) = contentctl(&home, &["schedule", "show", "mornings"]);
    assert!(!out.contains("due at"), "no time of it ever comes: {out}");
    let nameless = ["schedule", "add", "--name", "x", "--every", "1h", "--account", "blog", "--topic", ""];
    let (code, _, err) = contentctl(&home, &nameless);
    assert!(code == Some(1) && err.contains("nothing was kept; 1 fault"), "{err}");
    assert_eq!(contentctl(&home, &["schedule", "remove", "mornings"]).0, Some(0));
    let (code, _, err) = contentctl(&home, &["schedule", "show", "mornings"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("there is no schedule \"mornings\""), "{err}");
    assert_eq!(daemon.list().len(), 2, "its tasks stay");
}

#[test]
fn what_is_configured_and_not_there_is_told_before_a_start() {
    let home = Home::bare();
    home.configure(
        "[schedules]\ntopic_directories = [\"/none/topics\"]\n[topic_sources.news]\nrun = [\"/none/news\"]\n\
         [hooks.mail]\nrun = [\"/none/mail\"]\n",
        "",
    );
    let mut check = home.command();
    let output = check.arg("--check-config").output().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{told}");
    for part in [
        "/none/topics is no directory",
        "topic_sources.news: program /none/news does not exist",
        "hooks.mail: program /none/mail does not exist",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_submitter_cannot_take_the_keys_of_a_fire() {
    let home = home();
    let daemon = home.start();
    daemon.add_account("blog");
    let key = "schedule/1/1800000000000/1";
    let refused =
        daemon.refused("io.contentd.Tasks.Submit", json!({"task": {"account": "blog", "topic": "t", "key": key}}));
    assert_eq!((refused.name(), refused.text("field")), ("InvalidField", "key"));
    assert!(refused.text("cure").contains("schedule/"));
}

/// A restored database has due times and lists of a time before tasks that were paid for since.
#[test]
fn after_a_restore_every_schedule_waits_for_a_person() {
    let home = home();
    let daemon = home.start();
    daemon.add_account("blog");
    add(
        &daemon,
        json!({"name": "s", "every": "1s", "accounts": ["blog"], "list": [{"topic": "t"}], "at_end": "again"}),
    );
    eventually("it has fired", || (fired(&daemon, "s") >= 1).then_some(()));
    let backup = home.path("backup.db");
    daemon.ask("io.contentd.Daemon.Backup", json!({ "file": backup }));
    assert_eq!(daemon.stop(), Some(0));
    let mut restore = home.command();
    restore.arg("restore").arg(&backup);
    let output = restore.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let daemon = home.start();
    let schedule = daemon.ask("io.contentd.Schedules.Get", json!({"schedule": "s"}))["schedule"].clone();
    assert_eq!(schedule["is_paused"], true);
    assert!(schedule["paused_why"].as_str().unwrap().contains("restored from a backup"), "{schedule}");
    let before = fires(&daemon, "s").len();
    daemon.ask("io.contentd.Schedules.Resume", json!({"schedule": "s"}));
    eventually("it goes on", || (fires(&daemon, "s").len() > before).then_some(()));
}

/// A daemon whose zone files are those of a directory of ours.
fn with_zones(home: &Home) -> Daemon<'_> {
    let mut command = home.command();
    command.env("TZDIR", home.path("zoneinfo"));
    Daemon::adopt(home, home.spawn(command), home.socket())
}

#[test]
fn a_zone_that_is_gone_is_told_and_its_return_needs_no_restart() {
    let home = home();
    let (here, away) = (home.path("zoneinfo/Tea"), home.path("zoneinfo-away"));
    std::fs::create_dir(home.path("zoneinfo")).unwrap();
    for file in ["Tea", "Coffee"] {
        std::fs::copy("/usr/share/zoneinfo/Etc/UTC", home.path("zoneinfo").join(file)).unwrap();
    }
    let daemon = with_zones(&home);
    daemon.add_account("a");
    let schedule =
        json!({"name": "daily", "cron": "0 8 * * *", "zone": "Tea", "accounts": ["a"], "list": [{"topic": "t"}]});
    let added = add(&daemon, schedule);
    assert_eq!((&added["trouble"], added["next"].as_array().unwrap().len()), (&Value::Null, 5));
    assert_eq!(daemon.stop(), Some(0));

    // The next daemon begins where the zone's file is not.
    std::fs::rename(&here, &away).unwrap();
    let daemon = with_zones(&home);
    let told = || {
        let listed = daemon.ask("io.contentd.Schedules.List", json!({}))["schedules"][0].clone();
        let checks = daemon.ask("io.contentd.Daemon.Health", json!({}))["checks"].as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["name"] == "schedule/daily").expect("it is looked at");
        (listed["trouble"].as_str().map(str::to_owned), check)
    };
    let (trouble, check) = told();
    let trouble = trouble.expect("it is told, long before it is due");
    assert!(trouble.contains("\"Tea\"") && trouble.contains("tzdata"), "{trouble}");
    assert!(check["status"] != "ok" && check["text"].as_str().unwrap().contains(&trouble), "{check}");
    let (_, shown, _) = contentctl(&home, &["schedule", "show", "daily"]);
    let (_, listed, _) = contentctl(&home, &["schedule", "list"]);
    assert!(shown.contains(&trouble) && listed.contains(&trouble), "{shown}\n{listed}");

    std::fs::rename(&away, &here).unwrap();
    eventually("its zone is found again", || {
        let (trouble, check) = told();
        (trouble.is_none() && check["status"] == "ok").then_some(())
    });
    daemon.ask("io.contentd.Schedules.Run", json!({"schedule": "daily"}));
    eventually("it fires as any other", || (fired(&daemon, "daily") == 1).then_some(()));
}
