//! The real binary from its start to its end, and through every kind of end: drained, hurried, killed, refused.

#[path = "support/live.rs"]
mod live;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use live::{Daemon, Home, eventually, is_answered_by};
use rustix::process::Signal;
use serde_json::json;

fn faults(home: &Home, text: &str) {
    fs::create_dir_all(home.path("sample-data")).unwrap();
    fs::write(home.path("sample-data/faults"), text).unwrap();
}

/// A generator whose submits take so many seconds.
fn slow_submits(seconds: u32) -> Home {
    let home = Home::new("", "");
    faults(&home, &format!("create:slow-start={seconds}\n"));
    home
}

fn until_submitting(daemon: &Daemon<'_>, id: &str) {
    daemon.until_state(id, "submitting");
    eventually("a worker has the call in hand", || {
        let workers = daemon.ask("io.contentd.Daemon.Workers", json!({}));
        (workers["busy"].as_i64()? > 0).then_some(())
    });
}

#[test]
fn sigterm_and_sigint_let_the_call_in_hand_end_and_exit_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = slow_submits(3);
        let mut daemon = home.start();
        daemon.add_account("blog");
        let id = daemon.submit(json!({ "account": "blog", "topic": "Tea" }));
        until_submitting(&daemon, &id);
        daemon.signal(signal);
        assert_eq!(daemon.ended().code(), Some(0), "{signal:?}\n{}", home.log());
        assert_eq!(home.paid_for("Tea"), 1, "the call in hand has ended");
        assert!(!home.socket().exists(), "the socket's file is gone");
        faults(&home, "");
        let next = home.start();
        assert_ne!(next.state(&id), "submitting", "and its outcome was committed");
        next.until_state(&id, "completed");
        assert_eq!(home.paid_for("Tea"), 1);
        assert_eq!(next.stop(), Some(0));
    }
}

/// The signals that a process ignores, as bits.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("Linux has it");
    u64::from_str_radix(mask.trim(), 16).expect("a mask")
}

/// Beside a script (`contentd &`) and under `nohup` a program begins with signals that it is to ignore.
#[test]
fn signals_that_it_was_started_to_ignore_are_heard_and_its_commands_do_not_ignore_them() {
    let bit = |signal: Signal| 1 << (signal.as_raw() - 1);
    let home = Home::new("", "");
    let creator = home.path("creator");
    let text = format!(
        "#!/bin/sh\ngrep SigIgn /proc/self/status >>{}\nexec {} \"$@\"\n",
        home.path("ignored").display(),
        env!("CARGO_BIN_EXE_sample-generator")
    );
    fs::write(&creator, text).unwrap();
    fs::set_permissions(&creator, fs::Permissions::from_mode(0o755)).unwrap();
    let usual = home.command();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP INT QUIT; exec \"$@\"", "sh"]).arg(usual.get_program()).args(usual.get_args());
    command.env_clear().envs(usual.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("CREATOR_CLI_PATH", &creator).current_dir(home.path(""));
    let mut daemon = Daemon::adopt(&home, home.spawn(command), home.socket());
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    assert_eq!(ignored(&status) & bit(Signal::QUIT), bit(Signal::QUIT), "it was started as it should be");
    daemon.add_account("blog");
    let id = daemon.submit(json!({ "account": "blog", "topic": "Tea" }));
    daemon.until_state(&id, "completed");
    let commands = fs::read_to_string(home.path("ignored")).unwrap();
    for command in commands.lines() {
        assert_eq!(ignored(command) & (bit(Signal::HUP) | bit(Signal::INT)), 0, "{commands}");
    }
    assert!(commands.lines().count() >= 3, "submit, poll and fetch: {commands}");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.ended().code(), Some(0), "{}", home.log());
}

#[test]
fn a_second_sigterm_ends_at_once_and_nothing_acknowledged_is_lost() {
    let home = slow_submits(15);
    let mut daemon = home.start();
    daemon.add_account("blog");
    let id = daemon.submit(json!({ "account": "blog", "topic": "Tea" }));
    until_submitting(&daemon, &id);
    daemon.signal(Signal::TERM);
    eventually("it drains", || home.log().contains("draining").then_some(()));
    assert!(daemon.is_running(), "it waits for the call in hand");
    assert_eq!(daemon.ask("io.contentd.Daemon.GetStatus", json!({}))["state"], "draining", "who asks is answered");
    // One that comes within a second of the first is the first once more.
    eventually("another one ends it", || {
        daemon.signal(Signal::TERM);
        (!daemon.is_running()).then_some(())
    });
    assert_eq!(daemon.ended().code(), Some(128 + 15));
    assert_eq!(home.paid_for("Tea"), 0, "it did not wait for the call");
    faults(&home, "");
    let next = home.start();
    next.until_state(&id, "completed");
    assert_eq!(home.paid_for("Tea"), 1);
}

#[test]
fn a_call_that_outlasts_the_drain_limit_keeps_nobody_waiting_and_is_not_paid_again() {
    let home = slow_submits(18);
    let text = fs::read_to_string(home.path("contentd.toml")).unwrap();
    fs::write(home.path("contentd.toml"), text.replace("drain_timeout = \"30s\"", "drain_timeout = \"2s\"")).unwrap();
    let mut daemon = home.start();
    daemon.add_account("blog");
    let id = daemon.submit(json!({ "account": "blog", "topic": "Tea" }));
    until_submitting(&daemon, &id);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0), "{}", home.log());
    assert!(home.log().contains("calls were still under way after 2 s"), "{}", home.log());
    assert_eq!(home.paid_for("Tea"), 0, "it did not wait for the call");
    faults(&home, "");
    let next = home.start();
    next.until_state(&id, "completed");
    assert_eq!(home.paid_for("Tea"), 1);
    assert_eq!(next.task(&id)["retry_count"], 0, "an attempt that we interrupted ourselves is not spent");
}

#[test]
fn sighup_applies_a_good_configuration_and_refuses_a_bad_one() {
    let home = Home::new("", "max_in_flight = 1");
    let daemon = home.start();
    let limit = || {
        daemon.ask("io.contentd.Daemon.GetConfig", json!({}))["config"]["generators"]["sample"]["max_in_flight"].clone()
    };
    let status = || daemon.ask("io.contentd.Daemon.GetStatus", json!({}))["generators"][0]["max_in_flight"].clone();
    assert_eq!((limit(), status()), (json!(1), json!(1)));
    home.configure("", "max_in_flight = 7");
    daemon.signal(Signal::HUP);
    eventually("the new limit counts", || (status() == 7 && limit() == 7).then_some(()));

    home.configure("", "max_in_flight = 0\nmax_in_fligth = 3");
    daemon.signal(Signal::HUP);
    eventually("the refusal is logged", || {
        home.log().contains("the new configuration was refused, and the old one is kept").then_some(())
    });
    assert!(home.log().contains("max_in_fligth"), "with the fault: {}", home.log());
    assert_eq!((limit(), status()), (json!(7), json!(7)));
    let refusal = daemon.refused("io.contentd.Daemon.Reload", json!({}));
    assert_eq!(refusal.name(), "ReloadRefused");
    assert!(
        refusal.parameters["faults"]
            .as_array()
            .unwrap()
            .iter()
            .any(|fault| fault.as_str().unwrap().contains("contentd.toml:"))
    );
    let of_reload = || daemon.ask("io.contentd.Daemon.GetStatus", json!({}))["refused_reload"].clone();
    assert!(of_reload().as_str().is_some_and(|why| why.contains("was refused")), "{}", of_reload());
    home.configure("", "max_in_flight = 7");
    daemon.ask("io.contentd.Daemon.Reload", json!({}));
    assert_eq!(of_reload(), json!(null), "it is said until it is mended");
    let source = |run: &str| format!("[topic_sources.news]\nrun = [{run:?}]\n");
    for (configured, what) in
        [(source("/bin/true"), "added"), (source("/bin/echo"), "changed"), (String::new(), "removed")]
    {
        home.configure(&configured, "max_in_flight = 7");
        let reply = daemon.ask("io.contentd.Daemon.Reload", json!({}));
        assert_eq!(reply["changed"], json!(["topic_sources.news"]), "{what}");
    }
}

#[test]
fn a_reload_in_the_middle_of_work_disturbs_nothing() {
    let home = Home::new("", "max_in_flight = 2\nenv = { SAMPLE_SECONDS = \"1\" }");
    let daemon = home.start();
    daemon.add_account("blog");
    let ids: Vec<String> =
        (0..6).map(|n| daemon.submit(json!({ "account": "blog", "topic": format!("T{n}") }))).collect();
    for limit in [5, 1, 4] {
        home.configure("", &format!("max_in_flight = {limit}\nenv = {{ SAMPLE_SECONDS = \"1\" }}"));
        daemon.ask("io.contentd.Daemon.Reload", json!({}));
    }
    for (n, id) in ids.iter().enumerate() {
        daemon.until_state(id, "completed");
        assert_eq!(home.paid_for(&format!("T{n}")), 1);
    }
    let started = daemon.ask("io.contentd.Daemon.GetStatus", json!({}))["started_at"].clone();
    let workers = daemon.ask("io.contentd.Daemon.Workers", json!({}))["workers"].clone();
    for worker in workers.as_array().unwrap().iter().filter(|worker| worker["processed"].as_u64() > Some(0)) {
        assert!(worker["since"].as_str() > started.as_str(), "idle since its last call: {worker}");
    }
}

#[test]
fn killed_ten_times_under_load_nothing_is_lost_and_nothing_is_paid_twice() {
    let home = Home::new("", "env = { SAMPLE_SECONDS = \"1\" }");
    let mut ids = BTreeMap::new();
    for round in 0..10 {
        let daemon = home.start();
        if round == 0 {
            daemon.add_account("blog");
        }
        let told = home.log().matches("task_id=").count();
        for n in 0..3 {
            let topic = format!("round {round} task {n}");
            let id = daemon.submit(json!({ "account": "blog", "topic": topic }));
            ids.insert(topic, id);
        }
        // Somewhere else in the work each time: after so many lines of the story, of which three tasks tell nine at least.
        let lines = told + round % 5 * 2;
        eventually("some work was done", || (home.log().matches("task_id=").count() >= lines).then_some(()));
        daemon.kill();
    }
    let daemon = home.start();
    for (topic, id) in &ids {
        daemon.until_state(id, "completed");
        assert_eq!(home.paid_for(topic), 1, "{topic} ({id})\n{}", home.log());
        assert_eq!(daemon.task(id)["retry_count"], 0, "no retry was spent on our own death");
    }
    assert_eq!(daemon.list().len(), 30, "and nothing was made up");
    let recovered = home.log().find("recovered: ").unwrap();
    assert!(recovered < home.log().find("listening on").unwrap(), "recovery comes before anything is answered");
}

const DETACHED: &str = r#"
[generators.runs]
detached = true
max_in_flight = 5
cwd = "DIR"
env = { SAMPLE_SECONDS = "4" }
[generators.runs.submit]
run = ["{creator}", "write", "--key={key}", "--", "{topic}"]
content = "text"
"#;

fn with_runs(section: &str) -> Home {
    let home = Home::bare();
    let section = section.replace("DIR", home.path("").to_str().unwrap());
    home.configure(&section, "");
    home
}

#[test]
fn a_detached_run_outlives_its_daemon_and_the_next_one_finds_it_and_its_piece() {
    let home = with_runs(DETACHED);
    let daemon = home.start();
    daemon.add_account("blog");
    let goes_on = daemon.submit(json!({ "account": "blog", "topic": "Goes on", "generator": "runs" }));
    daemon.until_state(&goes_on, "processing");
    eventually("it is paid", || (home.paid_for("Goes on") == 1).then_some(()));
    daemon.kill();
    let daemon = home.start();
    assert!(home.log().contains("1 with a run that goes on"), "{}", home.log());
    daemon.until_state(&goes_on, "completed");
    assert_eq!((home.paid_for("Goes on"), daemon.task(&goes_on)["attempt"].clone()), (1, json!(1)));

    // And one that ends while nobody lives.
    let ends = daemon.submit(json!({ "account": "blog", "topic": "Ends alone", "generator": "runs" }));
    daemon.until_state(&ends, "processing");
    daemon.kill();
    eventually("the run has written its exit status", || {
        let runs = fs::read_dir(home.path("state/runs/v1")).ok()?;
        runs.flatten().any(|run| run.path().join("exit.json").exists()).then_some(())
    });
    let daemon = home.start();
    daemon.until_state(&ends, "completed");
    assert_eq!(home.paid_for("Ends alone"), 1);
    let piece = daemon.ask("io.contentd.Tasks.Result", json!({ "task": ends }));
    assert!(piece["content"]["content"].as_str().unwrap().contains("Ends alone"));
}

#[test]
fn a_reload_that_names_another_database_leaves_runs_where_they_are() {
    let home = with_runs(DETACHED);
    let daemon = home.start();
    daemon.add_account("blog");
    let id = daemon.submit(json!({ "account": "blog", "topic": "Stays", "generator": "runs" }));
    daemon.until_state(&id, "processing");
    let configured = fs::read_to_string(home.path("contentd.toml")).unwrap();
    fs::create_dir_all(home.path("elsewhere")).unwrap();
    fs::write(home.path("contentd.toml"), configured.replace("state/contentd.db", "elsewhere/contentd.db")).unwrap();
    let reply = daemon.ask("io.contentd.Daemon.Reload", json!({}));
    assert!(reply["needs_restart"].to_string().contains("daemon.state_dir"), "{reply}");
    // It is said until it is done, whatever is reloaded since.
    let reply = daemon.ask("io.contentd.Daemon.Reload", json!({}));
    assert!(reply["needs_restart"].to_string().contains("daemon.state_dir"), "{reply}");
    let found = daemon.ask("io.contentd.Daemon.Doctor", json!({}))["findings"].to_string();
    assert!(found.contains("daemon.state_dir") && found.contains("start it again as it was started"), "{found}");
    daemon.until_state(&id, "completed");
    assert_eq!((home.paid_for("Stays"), daemon.task(&id)["retry_count"].clone()), (1, json!(0)), "{}", home.log());
}

#[test]
fn a_drain_leaves_detached_runs_alone_and_gives_plain_children_back() {
    let plain = DETACHED.replace("runs", "plain").replace("detached = true", "detached = false\nfree_to_repeat = true");
    let home = with_runs(&format!("{DETACHED}{plain}"));
    let daemon = home.start();
    daemon.add_account("blog");
    let detached = daemon.submit(json!({ "account": "blog", "topic": "Detached", "generator": "runs" }));
    let child = daemon.submit(json!({ "account": "blog", "topic": "Child", "generator": "plain" }));
    for (id, topic) in [(&detached, "Detached"), (&child, "Child")] {
        daemon.until_state(id, "processing");
        eventually("it is paid", || (home.paid_for(topic) == 1).then_some(()));
    }
    assert_eq!(daemon.stop(), Some(0), "{}", home.log());
    let daemon = home.start();
    for id in [&detached, &child] {
        daemon.until_state(id, "completed");
        assert_eq!(daemon.task(id)["retry_count"], 0, "given back, not spent: {}", home.log());
    }
    assert_eq!((home.paid_for("Detached"), home.paid_for("Child")), (1, 2), "only the free one was repeated");
}

#[test]
fn what_ended_calls_left_on_disk_goes_at_the_next_start() {
    let home = Home::new("", "");
    let daemon = home.start();
    daemon.add_account("blog");
    let id = daemon.submit(json!({ "account": "blog", "topic": "Left behind" }));
    daemon.until_state(&id, "completed");
    assert_eq!(daemon.stop(), Some(0), "{}", home.log());
    // As a death between the commit of the end and the removal of its files leaves them.
    let paid = home.paid();
    let key = paid[0].split('\t').next().unwrap();
    let left =
        [format!("state/calls/{key}.run"), format!("state/runs/v1/{key}/lock"), "state/calls/unknown.run".into()];
    for name in &left {
        fs::create_dir_all(home.path(name).parent().unwrap()).unwrap();
        fs::write(home.path(name), "").unwrap();
    }
    let _daemon = home.start();
    eventually("the files of the ended call are gone", || {
        left[..2].iter().all(|name| !home.path(name).exists()).then_some(())
    });
    assert!(home.path(&left[2]).exists(), "nobody knows yet whose that is");
}

#[test]
fn a_second_daemon_on_one_database_or_socket_names_the_first_and_leaves_it_alone() {
    let home = Home::new("", "");
    let daemon = home.start();
    let mut same_database = home.command();
    same_database.arg("--socket").arg(home.path("other.sock"));
    let (code, words) = home.refused(same_database);
    assert_ne!(code, Some(0));
    assert!(words.contains(&format!("in use by process {}", daemon.pid())), "{words}");
    assert!(!home.path("other.sock").exists());

    let other = Home::new("", "");
    let mut same_socket = other.command();
    same_socket.arg("--socket").arg(home.socket());
    let (code, words) = other.refused(same_socket);
    assert_ne!(code, Some(0));
    assert!(words.contains(home.socket().to_str().unwrap()) && words.contains("another contentd"), "{words}");
    assert!(words.contains(&daemon.pid().to_string()), "it names the first: {words}");
    assert!(is_answered_by(&home.socket(), daemon.pid()), "the first is unharmed");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn the_socket_and_the_lock_of_a_dead_daemon_are_taken_over() {
    let home = Home::new("", "");
    home.start().kill();
    assert!(home.socket().exists(), "the dead daemon left its socket");
    let daemon = home.start();
    assert_eq!(daemon.stop(), Some(0));
    assert!(!home.socket().exists());
    // Something else than a socket is not taken over.
    fs::write(home.socket(), "a file of somebody").unwrap();
    let (code, words) = home.refused(home.command());
    assert_ne!(code, Some(0));
    assert!(words.contains(home.socket().to_str().unwrap()), "{words}");
    assert_eq!(fs::read_to_string(home.socket()).unwrap(), "a file of somebody");
}

#[test]
fn a_corrupt_database_is_refused_and_kept_byte_for_byte() {
    let home = Home::new("", "");
    assert_eq!(home.start().stop(), Some(0));
    let good = fs::read(home.database()).unwrap();
    let mut torn = good.clone();
    let (from, to) = (4096, torn.len().min(4096 * 6));
    torn[from..to].fill(0xAB);
    for bytes in [torn, b"this is no database, it is a letter".to_vec(), good[..good.len() / 2 + 100].to_vec()] {
        fs::write(home.database(), &bytes).unwrap();
        let (code, words) = home.refused(home.command());
        assert_ne!(code, Some(0), "{words}");
        assert!(words.contains(home.database().to_str().unwrap()), "{words}");
        assert!(words.contains("damaged") || words.contains("not a database"), "{words}");
        assert!(fs::read(home.database()).unwrap() == bytes, "it was left as it is");
    }
    fs::write(home.database(), &good).unwrap();
    assert_eq!(home.start().stop(), Some(0), "and the good one still opens");
}

#[test]
fn a_database_of_a_newer_version_is_refused_unchanged() {
    use diesel::connection::SimpleConnection;
    use diesel::{Connection, SqliteConnection};
    let home = Home::new("", "");
    assert_eq!(home.start().stop(), Some(0));
    let mut connection = SqliteConnection::establish(home.database().to_str().unwrap()).unwrap();
    connection.batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000000');").unwrap();
    drop(connection);
    let before = fs::read(home.database()).unwrap();
    let (code, words) = home.refused(home.command());
    assert_ne!(code, Some(0));
    assert!(words.contains("newer contentd") && words.contains("99990101000000"), "{words}");
    assert!(fs::read(home.database()).unwrap() == before);
}

#[test]
fn a_database_directory_that_cannot_be_written_is_named() {
    let home = Home::new("", "");
    // A file where the directory should be stops root too, whom permissions do not.
    fs::remove_dir_all(home.path("state")).unwrap();
    fs::write(home.path("state"), "a file").unwrap();
    let (code, words) = home.refused(home.command());
    assert_ne!(code, Some(0));
    assert!(words.contains(home.path("state").to_str().unwrap()) && words.contains("cannot run"), "{words}");
    fs::remove_file(home.path("state")).unwrap();
    fs::create_dir(home.path("state")).unwrap();
    if rustix::process::getuid().is_root() {
        return;
    }
    fs::set_permissions(home.path("state"), fs::Permissions::from_mode(0o500)).unwrap();
    let (code, words) = home.refused(home.command());
    fs::set_permissions(home.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_ne!(code, Some(0));
    assert!(words.contains("right"), "{words}");
}

#[test]
fn every_line_about_a_task_carries_its_id_and_attempt() {
    let home = Home::new("", "env = { SAMPLE_SECONDS = \"1\" }");
    faults(&home, "");
    let daemon = home.start();
    daemon.add_account("blog");
    let good = daemon.submit(json!({ "account": "blog", "topic": "Good" }));
    let bad = daemon.submit(json!({ "account": "blog", "topic": "Bad [sample:reject]" }));
    let fails = daemon.submit(json!({ "account": "blog", "topic": "Fails [sample:fail]", "max_retries": 1 }));
    daemon.until_state(&good, "completed");
    daemon.until_state(&bad, "failed");
    daemon.until_state(&fails, "failed");
    daemon.stop();
    let log = home.log();
    for id in [&good, &bad, &fails] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(id.as_str())).collect();
        assert!(lines.len() >= 2, "{id} has a story:\n{log}");
        for line in lines {
            assert!(line.contains(&format!("task_id={id} attempt=")), "{line}");
        }
    }
}

/// Starts without anything in the environment but what is given.
fn start_with<'h>(home: &'h Home, variables: &[(&str, &Path)], socket: &Path) -> Daemon<'h> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contentd"));
    command.env_clear().envs(variables.iter().copied()).current_dir(home.path(""));
    command.arg("--config").arg(home.path("contentd.toml")).arg("--socket").arg(socket);
    Daemon::adopt(home, home.spawn(command), socket.to_owned())
}

#[test]
fn it_runs_without_home_and_runtime_directory() {
    let home = Home::new("", "");
    let daemon = start_with(&home, &[], &home.socket());
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn it_finds_its_database_in_the_state_directory() {
    let home = Home::bare();
    fs::write(home.path("contentd.toml"), "").unwrap();
    let state = home.path("var");
    let daemon = start_with(&home, &[("STATE_DIRECTORY", &state)], &home.socket());
    assert!(state.join("contentd.db").exists());
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn with_nowhere_to_keep_its_database_it_says_what_to_set() {
    let home = Home::bare();
    fs::write(home.path("contentd.toml"), "").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_contentd"));
    command.env_clear().current_dir(home.path(""));
    command.arg("--config").arg(home.path("contentd.toml")).arg("--socket").arg(home.socket());
    let (code, words) = home.refused(command);
    assert_eq!(code, Some(78), "{words}");
    assert!(words.contains("database"), "{words}");
}

#[test]
fn a_call_that_was_taken_before_a_kill_is_known_after_it() {
    let home = Home::new("", "");
    let daemon = home.start();
    daemon.add_account("blog");
    let task = json!({ "account": "blog", "topic": "Kept", "key": "k-1", "delay": "1h" });
    let id = daemon.submit(task.clone());
    daemon.kill();
    let daemon = home.start();
    let again = daemon.ask("io.contentd.Tasks.Submit", json!({ "task": task }));
    assert_eq!((again["task_id"].as_str(), again["was_known"].clone()), (Some(id.as_str()), json!(true)));
    assert_eq!(daemon.list().len(), 1);
}
