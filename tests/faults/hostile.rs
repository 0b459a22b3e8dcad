//! Generator programs that behave as badly as programs can, each configured at a real daemon: what they cost is bounded, others are
//! served meanwhile, and nothing is believed that was not said. Single calls of such programs are in `exec_commands.rs`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::live::{Daemon, Home, eventually};
use crate::{counting, promises};

/// The most memory that a process has had, in bytes.
pub fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn script(path: &Path, body: &str) {
    fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A generator that is one script, called `NAME VERB KEY`; what the script does not answer, it answers well by `ok`.
fn answering(home: &Home, name: &str, more: &str, body: &str) -> String {
    let program = home.path(name);
    let ok = r#"ok() { case $verb in submit) echo "ref: j-$key" ;; poll) echo '{"status": "completed"}' ;;
  fetch) echo "A piece under $key, and it is long enough." ;; esac; exit 0; }
once() { mkdir "$here/$verb-$key" 2>/dev/null; }"#;
    script(&program, &format!("here={} verb=$1 key=$2\n{ok}\n{body}\nok", home.path("").display()));
    let (program, cwd) = (program.display(), home.path(&format!("{name}-cwd")));
    fs::create_dir_all(&cwd).unwrap();
    format!(
        r#"
[generators.{name}]
grace = "300ms"
cwd = "{cwd}"
{more}
[generators.{name}.submit]
run = ["{program}", "submit", "{{key}}"]
timeout = "1s"
ref = 're:(?m)^ref: (\S+)$'
[generators.{name}.poll]
run = ["{program}", "poll", "{{ref}}"]
state = "json:/status"
[generators.{name}.fetch]
run = ["{program}", "fetch", "{{ref}}"]
content = "text"
[generators.{name}.states]
completed = "completed"
"#,
        cwd = cwd.display(),
    )
}

fn blocking(home: &Home, name: &str, body: &str) -> String {
    let program = home.path(name);
    script(&program, &format!("here={}\n{body}", home.path("").display()));
    format!(
        "[generators.{name}]\ncwd = \"{}\"\n[generators.{name}.submit]\nrun = [\"{}\", \"{{key}}\"]\ncontent = \"text\"\n",
        home.path("").display(),
        program.display()
    )
}

fn start<'h>(home: &'h Home, sections: &[String]) -> Daemon<'h> {
    counting::configure(home, &sections.concat());
    let daemon = home.start();
    daemon.add_account("blog");
    daemon
}

fn submit(daemon: &Daemon<'_>, generator: &str) -> String {
    daemon.submit(json!({ "account": "blog", "topic": format!("of {generator}"), "generator": generator }))
}

fn until_settled(daemon: &Daemon<'_>, id: &str) -> (String, String) {
    eventually("it is settled", || {
        let task = daemon.task(id);
        let state = task["state"].as_str().unwrap().to_owned();
        let why = format!("{} {}", task["reason"], task["error"]);
        ["completed", "held", "failed"].contains(&state.as_str()).then_some((state, why))
    })
}

#[test]
fn a_program_that_misbehaves_is_not_believed_and_holds_nobody_up() {
    let home = Home::bare();
    // Name, whether the same key is the same job, what it does, and what becomes of its task.
    let cases = [
        ("grandchild", "", "[ $verb = submit ] && { sleep 20 & }", "completed", ""),
        (
            "stubborn",
            "idempotent = true",
            "trap '' TERM; [ $verb = submit ] && once && while :; do sleep 0.1; done",
            "completed",
            "",
        ),
        ("noanswer", "", "[ $verb = submit ] && exit 0", "held", "nobody knows"),
        ("closing", "", "[ $verb = submit ] && { exec >&- 2>&-; sleep 0.2; exit 0; }", "held", "nobody knows"),
        ("halfref", "", r"[ $verb = submit ] && { printf 'ref: j-\345\206'; exit 0; }", "completed", ""),
        (
            "halfstate",
            "",
            r#"[ $verb = poll ] && once && { printf '{"status": "compl\345\206'; exit 0; }"#,
            "completed",
            "",
        ),
        (
            "halfpiece",
            "",
            r"[ $verb = fetch ] && { printf 'A piece that ends in the middle of \345\206'; exit 0; }",
            "completed",
            "",
        ),
        ("crashing", "", "[ $verb = submit ] && kill -SEGV $$", "held", "nobody knows"),
    ];
    let runs = [
        ("rungrand", "sleep 20 & echo 'A piece, and somebody still holds the pipe.'", "completed", ""),
        ("runsilent", "exit 0", "held", "empty"),
        ("runclosing", "exec >&- 2>&-; sleep 0.2; exit 0", "held", "empty"),
    ];
    let mut sections: Vec<String> =
        cases.iter().map(|(name, more, body, _, _)| answering(&home, name, more, body)).collect();
    sections.extend(runs.iter().map(|(name, body, _, _)| blocking(&home, name, body)));
    let daemon = start(&home, &sections);
    let expected = cases.iter().map(|(name, _, _, state, why)| (*name, *state, *why));
    let expected: Vec<_> = expected.chain(runs.iter().map(|(name, _, state, why)| (*name, *state, *why))).collect();
    let ids: Vec<String> = expected.iter().map(|(name, _, _)| submit(&daemon, name)).collect();
    let served = submit(&daemon, "counted");
    daemon.until_state(&served, "completed");
    for ((name, state, why), id) in expected.iter().zip(&ids) {
        let (is, because) = until_settled(&daemon, id);
        assert!(is == *state && because.contains(why), "{name} is {is}: {because}\n{}", home.log());
        assert_eq!(daemon.task(id)["retry_count"], 0, "{name}");
    }
    let piece = daemon.ask("io.contentd.Tasks.Result", json!({ "task": ids[6] }));
    assert!(piece["content"]["content"].as_str().unwrap().contains("in the middle of"), "{piece}");
    assert_eq!(promises::broken(&home.database()), [""; 0]);
}

#[test]
fn a_gigabyte_of_output_is_bounded_in_memory_and_on_disk() {
    let home = Home::bare();
    let flood = "head -c 1000000000 /dev/zero";
    let sections = [
        answering(&home, "flood", "", &format!("[ $verb = submit ] && {{ {flood}; {flood} >&2; exit 0; }}"))
            .replace("timeout = \"1s\"", "timeout = \"120s\""),
        answering(&home, "piece", "", &format!("[ $verb = fetch ] && {flood}")),
        blocking(&home, "run", flood),
    ];
    let daemon = start(&home, &sections);
    let before = peak_memory(daemon.pid());
    let ids = ["flood", "piece", "run"].map(|name| submit(&daemon, name));
    let served = submit(&daemon, "counted");
    daemon.until_state(&served, "completed");
    for id in &ids {
        let (state, why) = until_settled(&daemon, id);
        assert_eq!(state, "held", "an output that was cut proves nothing: {why}");
    }
    let grown = peak_memory(daemon.pid()) - before;
    // Three calls may keep 16 MiB of each stream; reading them costs copies.
    assert!(grown < 400 << 20, "{} MiB", grown >> 20);
    let state: u64 = files_below(&home.path("state"));
    assert!(state < 200 << 20, "{} MiB in the state directory", state >> 20);
}

fn files_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => files_below(&entry.path()),
            Ok(meta) => meta.len(),
            // Removed meanwhile.
            Err(_) => 0,
        })
        .sum()
}

#[test]
fn a_program_that_goes_away_under_a_running_daemon_costs_nothing_and_is_waited_for() {
    let home = Home::bare();
    let harmed = ["directory", "modeless", "removed"];
    let mut sections: Vec<String> = harmed.iter().map(|name| answering(&home, name, "", "")).collect();
    // This one removes the directory that it is called in, after it has taken the job.
    sections.push(answering(&home, "rmcwd", "", "[ $verb = submit ] && rmdir \"$PWD\""));
    let daemon = start(&home, &sections);
    for name in harmed {
        let id = submit(&daemon, name);
        daemon.until_state(&id, "completed");
    }
    fs::rename(home.path("directory"), home.path("kept")).unwrap();
    fs::create_dir(home.path("directory")).unwrap();
    fs::set_permissions(home.path("modeless"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::rename(home.path("removed"), home.path("put-aside")).unwrap();
    let cures = ["is a directory", "chmod +x", "install it"];
    let ids = harmed.map(|name| submit(&daemon, name));
    for (id, cure) in ids.iter().zip(cures) {
        eventually(cure, || {
            let task = daemon.task(id);
            (task["state"] == "pending" && task.to_string().contains(cure)).then_some(())
        });
    }
    let adrift = submit(&daemon, "rmcwd");
    eventually("the next call says what to do", || home.log().contains("create it").then_some(()));
    let served = submit(&daemon, "counted");
    daemon.until_state(&served, "completed");
    fs::remove_dir(home.path("directory")).unwrap();
    fs::rename(home.path("kept"), home.path("directory")).unwrap();
    fs::set_permissions(home.path("modeless"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(home.path("put-aside"), home.path("removed")).unwrap();
    fs::create_dir(home.path("rmcwd-cwd")).unwrap();
    for id in ids.iter().chain([&adrift]) {
        daemon.until_state(id, "completed");
        assert_eq!(daemon.task(id)["retry_count"], 0, "nobody's outage spends a retry");
    }
    assert_eq!(promises::broken(&home.database()), [""; 0]);
}

#[test]
fn a_job_that_is_named_twice_is_one_tasks_and_what_is_cancelled_can_be_corrected() {
    let home = Home::bare();
    // It names the first job for every submit; it knows no `cancel`, and for topic after topic it is of no use.
    let twin = answering(
        &home,
        "twin",
        "",
        "case $verb in submit) echo 'ref: j-one'; exit 0 ;; poll) echo '{}'; exit 0 ;; esac",
    );
    home.configure(&twin, "");
    let daemon = home.start();
    daemon.add_account("blog");
    let submit = |topic: &str| daemon.submit(json!({ "account": "blog", "topic": topic, "generator": "twin" }));
    let first = submit("first");
    daemon.until_state(&first, "submitted");
    let second = submit("second");
    daemon.until_state(&second, "held");
    let reason = daemon.task(&second)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(&format!("names j-one, which is the job of {first}")), "{reason}");
    assert_eq!(daemon.task(&second)["external_ref"], serde_json::Value::Null);
    let refused = daemon.refused("io.contentd.Tasks.Settle", json!({ "task": second, "adopt": "j-one" }));
    assert_eq!((refused.name(), refused.text("value")), ("InvalidField", "j-one"), "{refused:?}");
    assert!(refused.text("cure").contains(&first), "{refused:?}");
    // The end of one is not the end of the other's job: no call was made about it.
    daemon.ask("io.contentd.Tasks.Cancel", json!({ "tasks": [second] }));
    assert_eq!(daemon.state(&first), "submitted");

    // What is being cancelled, and cannot be, is corrected as the refusal says.
    daemon.ask("io.contentd.Tasks.Cancel", json!({ "tasks": [first] }));
    daemon.until_state(&first, "cancelling");
    let mut correction = json!({ "task": first, "state": "cancelled", "reason": "enough" });
    let refused = daemon.refused("io.contentd.Tasks.Correct", correction.clone());
    assert_eq!(refused.name(), "JobMayBeAlive");
    let hint = format!("contentctl correct {first} --state STATE --reason TEXT --abandon");
    assert!(refused.text("cure").contains(&hint), "{refused:?}");
    correction["abandon"] = json!(true);
    daemon.ask("io.contentd.Tasks.Correct", correction);
    assert_eq!(daemon.state(&first), "cancelled");
}

#[test]
fn an_outage_of_a_night_spends_nothing_over_a_restart_too() {
    let home = Home::new("", "env = { SAMPLE_SECONDS = \"1\" }");
    let mut daemon = home.start();
    daemon.add_account("blog");
    let task = |n: usize| json!({ "account": "blog", "topic": format!("t{n}") });
    let mut ids: Vec<String> = (0..2).map(|n| daemon.submit(task(n))).collect();
    for id in &ids {
        eventually("its job is accepted", || {
            (daemon.state(id) != "pending" && daemon.state(id) != "submitting").then_some(())
        });
    }
    let outage = |text: &str| fs::write(home.path("sample-data/faults"), text).unwrap();
    outage("unavailable\n");
    ids.extend((2..8).map(|n| daemon.submit(task(n))));
    // Probes, and polls of the jobs that were accepted, find nobody: again and again, and the next daemon's too.
    for _ in 0..2 {
        let before = home.log().len();
        eventually("a probe finds nobody", || home.log()[before..].contains("unavailable: ").then_some(()));
        assert!(ids.iter().all(|id| !["failed", "held", "timeout"].contains(&daemon.state(id).as_str())));
        daemon.kill();
        daemon = home.start();
    }
    outage("");
    for (n, id) in ids.iter().enumerate() {
        daemon.until_state(id, "completed");
        assert_eq!(daemon.task(id)["retry_count"], 0);
        assert_eq!(home.paid_for(&format!("t{n}")), 1);
    }
}
