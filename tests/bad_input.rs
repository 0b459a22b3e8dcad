//! Bad input against the real daemon: every refusal has its own name on the wire, names field, value and cure, and changes
//! nothing; whatever is taken arrives at the generator as it was given.

#[path = "support/live.rs"]
mod live;

use std::fs;
use std::path::Path;

use live::{Daemon, Home, Refusal, eventually};
use serde_json::{Value, json};

const SUBMIT: &str = "io.contentd.Tasks.Submit";

fn refused_task(daemon: &Daemon<'_>, mut task: Value) -> Refusal {
    for (field, default) in [("account", "blog"), ("topic", "Tea")] {
        if task.get(field).is_none() {
            task[field] = json!(default);
        }
    }
    daemon.refused(SUBMIT, json!({ "task": task }))
}

/// A daemon with one account that does nothing by itself.
fn quiet(home: &Home) -> Daemon<'_> {
    let daemon = home.start();
    daemon.add_account("blog");
    daemon.ask("io.contentd.Daemon.Pause", json!({}));
    daemon
}

#[test]
fn every_bad_field_is_named_with_its_value_and_the_cure_and_nothing_is_taken() {
    let home = Home::new("", "");
    let daemon = quiet(&home);
    let long = "字".repeat(1_001);
    let table = [
        ("priority", json!(0), "0", "1 to 10"),
        ("priority", json!(11), "11", "1 to 10"),
        ("priority", json!(-3), "-3", "1 to 10"),
        ("topic", json!(""), "", "not empty"),
        ("topic", json!("   \n "), "", "not empty"),
        ("topic", json!(long), "字字字", "at most 1000 characters; these are 1001"),
        ("topic", json!("a\0b"), "a", "without control characters"),
        (
            "topic",
            json!("two\nlines"),
            "two",
            "one line without control characters; what is longer belongs into requirements",
        ),
        ("topic", json!("a\u{1b}[2Jb"), "a", "one line"),
        ("requirements", json!("x\0y"), "x", "without NUL"),
        ("requirements", json!("x".repeat((1 << 20) + 1)), "xxx", "at most 1048576 bytes"),
        ("tone", json!("t".repeat(201)), "ttt", "at most 200 characters"),
        ("category", json!("two\nlines"), "two", "one line"),
        ("keywords", json!(vec!["k"; 101]), "101 keywords", "at most 100"),
        ("time_limit", json!("soon"), "soon", "30m"),
        ("time_limit", json!("31d"), "31d", "from 1s to 30d"),
        ("time_limit", json!("0"), "0", "from 1s to 30d"),
        ("max_retries", json!(-1), "-1", "0 to 100"),
        ("max_retries", json!(101), "101", "0 to 100"),
        ("key", json!(" "), "", "not empty"),
        ("delay", json!("3y"), "3y", "30m"),
        ("delay", json!("400d"), "400d", "at most 366d"),
        ("account", json!(""), "", "number or name"),
    ];
    for (field, value, shown, cure) in table {
        let refusal = refused_task(&daemon, json!({ field: value }));
        assert_eq!(refusal.error, "io.contentd.Tasks.InvalidField", "{field} {value}: {refusal:?}");
        assert_eq!(refusal.text("field"), field, "{refusal:?}");
        assert!(refusal.text("value").contains(shown), "{field}: {refusal:?}");
        assert!(refusal.text("cure").contains(cure), "{field}: {refusal:?}");
        assert!(refusal.text("value").chars().count() <= 81, "a value is told shortened");
    }
    assert!(daemon.list().is_empty(), "nothing was taken");
}

#[test]
fn what_does_not_exist_is_refused_under_its_own_name() {
    let home = Home::new("", "");
    let daemon = quiet(&home);
    let refusal = refused_task(&daemon, json!({ "account": "nobody" }));
    assert_eq!((refusal.error.as_str(), refusal.text("account")), ("io.contentd.Accounts.AccountNotFound", "nobody"));
    let refusal = refused_task(&daemon, json!({ "account": 99 }));
    assert_eq!((refusal.name(), refusal.text("account")), ("AccountNotFound", "99"));
    let refusal = refused_task(&daemon, json!({ "generator": "gpt" }));
    assert_eq!((refusal.error.as_str(), refusal.text("generator")), ("io.contentd.Tasks.GeneratorNotFound", "gpt"));
    for verb in ["Pause", "Resume"] {
        let refusal = daemon.refused(&format!("io.contentd.Daemon.{verb}"), json!({ "generator": "gpt" }));
        assert_eq!((refusal.name(), refusal.text("generator")), ("GeneratorNotFound", "gpt"), "{verb}");
    }
    assert_eq!(refusal.parameters["known"], json!(["sample"]), "and what there is");
    let refusal = daemon.refused("io.contentd.Accounts.Add", json!({ "name": "blog" }));
    assert_eq!((refusal.name(), refusal.text("name")), ("AccountExists", "blog"));
    for method in ["Status", "Show", "History", "Result", "Poll"] {
        let refusal = daemon.refused(&format!("io.contentd.Tasks.{method}"), json!({ "task": "task-zzzz" }));
        assert_eq!((refusal.name(), refusal.text("task")), ("TaskNotFound", "task-zzzz"), "{method}");
    }
    let refusal = daemon.refused("io.contentd.Content.Get", json!({ "content_id": 7 }));
    assert_eq!((refusal.name(), refusal.parameters["content_id"].clone()), ("ContentNotFound", json!(7)));
    let refusal = daemon.refused("io.contentd.Tasks.Explode", json!({}));
    assert_eq!((refusal.name(), refusal.text("method")), ("MethodNotFound", "io.contentd.Tasks.Explode"));
    let refusal = daemon.refused("io.contentd.Moon.Land", json!({}));
    assert_eq!((refusal.name(), refusal.text("interface")), ("InterfaceNotFound", "io.contentd.Moon"));
    for (parameters, parameter) in [
        (json!({ "task": { "account": "blog", "topic": "T", "colour": "red" } }), "task.colour"),
        (json!({ "task": { "account": "blog", "topic": 7 } }), "task.topic"),
        (json!({ "task": { "account": "blog" } }), "task.topic"),
        (json!({}), "task"),
    ] {
        let refusal = daemon.refused(SUBMIT, parameters.clone());
        assert_eq!(refusal.name(), "InvalidParameter", "{parameters}");
        assert_eq!(refusal.text("parameter"), parameter, "{parameters}");
    }
    assert!(daemon.list().is_empty());
    assert_eq!(daemon.ask("io.contentd.Accounts.List", json!({}))["accounts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_prefix_of_several_tasks_names_them_and_a_unique_one_is_enough() {
    let home = Home::new("", "");
    let daemon = quiet(&home);
    // An alphabet of 32 characters: among 33 ids two begin with the same one.
    let tasks: Vec<Value> = (0..33).map(|n| json!({ "account": "blog", "topic": format!("{n}") })).collect();
    let submitted = daemon.ask("io.contentd.Tasks.SubmitBatch", json!({ "tasks": tasks }))["tasks"].clone();
    let mut ids: Vec<&str> = submitted.as_array().unwrap().iter().map(|one| one["task_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    let twins = ids.windows(2).find(|pair| pair[0][..6] == pair[1][..6]).unwrap();
    let prefix = &twins[0][..6];
    for prefix in [prefix, &prefix["task-".len()..]] {
        let refusal = daemon.refused("io.contentd.Tasks.Status", json!({ "task": prefix }));
        assert_eq!((refusal.name(), refusal.text("prefix")), ("AmbiguousTask", prefix));
        let candidates = refusal.parameters["candidates"].as_array().unwrap();
        assert!(twins.iter().all(|id| candidates.contains(&json!(id))), "{refusal:?}");
    }
    let refusal = daemon.refused("io.contentd.Tasks.Cancel", json!({ "tasks": [prefix] }));
    assert_eq!(refusal.name(), "AmbiguousTask");
    assert!(daemon.list().iter().all(|task| task["state"] == "pending"), "nothing was cancelled");
    assert_eq!(daemon.state(ids[0].strip_prefix("task-").unwrap()), "pending");
}

#[test]
fn a_wrong_state_is_told_with_the_state_and_what_can_be_done() {
    let home = Home::new("", "env = { SAMPLE_SECONDS = \"1\" }");
    let daemon = home.start();
    daemon.add_account("blog");
    let done = daemon.submit(json!({ "account": "blog", "topic": "Done" }));
    let waits = daemon.submit(json!({ "account": "blog", "topic": "Waits", "delay": "1h" }));
    daemon.until_state(&done, "completed");
    let history = |id: &str| daemon.ask("io.contentd.Tasks.History", json!({ "task": id }))["events"].clone();
    let before = (history(&done), history(&waits));
    let table = [
        ("Cancel", json!({ "tasks": [done] }), "completed"),
        ("Retry", json!({ "tasks": [done] }), "completed"),
        ("Correct", json!({ "task": done, "state": "failed", "reason": "r" }), "completed"),
        ("Settle", json!({ "task": done, "absent": true }), "completed"),
        ("Set", json!({ "task": done, "priority": 9 }), "completed"),
        ("Retry", json!({ "tasks": [waits] }), "pending"),
        ("Settle", json!({ "task": waits, "adopt": "job-1" }), "pending"),
        ("Poll", json!({ "task": waits }), "pending"),
    ];
    for (method, parameters, state) in table {
        let refusal = daemon.refused(&format!("io.contentd.Tasks.{method}"), parameters.clone());
        assert_eq!(
            (refusal.name(), refusal.text("state")),
            ("WrongState", state),
            "{method} {parameters}: {refusal:?}"
        );
        assert!(!refusal.text("cure").is_empty(), "{refusal:?}");
    }
    let refusal = daemon.refused("io.contentd.Tasks.Result", json!({ "task": waits }));
    assert_eq!((refusal.name(), refusal.text("state")), ("NoResult", "pending"));
    let bad = [
        ("Correct", json!({ "task": waits, "state": "completed", "reason": "r" }), "state"),
        ("Correct", json!({ "task": waits, "state": "failed", "reason": " " }), "reason"),
        ("Set", json!({ "task": waits, "priority": 12 }), "priority"),
        ("List", json!({ "limit": 0 }), "limit"),
        ("List", json!({ "filter": { "states": ["done"] } }), "states"),
    ];
    for (method, parameters, field) in bad {
        let refusal = daemon.refused(&format!("io.contentd.Tasks.{method}"), parameters.clone());
        assert_eq!(
            (refusal.name(), refusal.text("field")),
            ("InvalidField", field),
            "{method} {parameters}: {refusal:?}"
        );
        assert!(!refusal.text("cure").is_empty());
    }
    assert_eq!((history(&done), history(&waits)), before, "nothing was changed");
}

#[test]
fn a_key_is_one_task_and_another_body_is_refused() {
    let home = Home::new("", "");
    let daemon = quiet(&home);
    let task = json!({ "account": "blog", "topic": "Tea", "key": "order-1" });
    let id = daemon.submit(task.clone());
    assert_eq!(daemon.submit(task), id, "the same again is the same task");
    let other = json!({ "account": "blog", "topic": "Coffee", "key": "order-1" });
    let refusal = daemon.refused(SUBMIT, json!({ "task": other }));
    assert_eq!((refusal.name(), refusal.text("key"), refusal.text("task")), ("KeyReused", "order-1", id.as_str()));
    assert_eq!(daemon.list().len(), 1);
    assert_eq!(daemon.task(&id)["topic"], "Tea");
}

#[test]
fn a_batch_is_taken_whole_or_not_at_all_with_every_fault_at_its_entry() {
    let home = Home::new("", "");
    let daemon = quiet(&home);
    let entry = |topic: &str| json!({ "account": "blog", "topic": topic });
    let mut tasks: Vec<Value> = (0..5).map(|n| entry(&format!("T{n}"))).collect();
    tasks[1]["topic"] = json!("");
    tasks[3]["priority"] = json!(11);
    tasks[3]["tone"] = json!("t".repeat(300));
    let refusal = daemon.refused("io.contentd.Tasks.SubmitBatch", json!({ "tasks": tasks }));
    assert_eq!((refusal.name(), refusal.parameters["count"].clone()), ("BatchRefused", json!(3)));
    let faults: Vec<(u64, &str)> = refusal.parameters["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| (fault["index"].as_u64().unwrap(), fault["field"].as_str().unwrap()))
        .collect();
    for expected in [(1, "topic"), (3, "priority"), (3, "tone")] {
        assert!(faults.contains(&expected), "{faults:?}");
    }
    let mut tasks: Vec<Value> = (0..5).map(|n| entry(&format!("T{n}"))).collect();
    tasks[2]["account"] = json!("nobody");
    tasks[4]["generator"] = json!("gpt");
    let refusal = daemon.refused("io.contentd.Tasks.SubmitBatch", json!({ "tasks": tasks }));
    let faults = refusal.parameters["faults"].as_array().unwrap();
    assert_eq!((refusal.name(), faults.len()), ("BatchRefused", 2), "{refusal:?}");
    assert_eq!((faults[0]["index"].clone(), faults[0]["field"].clone()), (json!(2), json!("account")));
    assert_eq!((faults[1]["index"].clone(), faults[1]["field"].clone()), (json!(4), json!("generator")));
    assert!(faults.iter().all(|fault| !fault["cure"].as_str().unwrap().is_empty()));
    assert!(daemon.list().is_empty(), "nothing of either was taken");
    let tasks: Vec<Value> = (0..5).map(|n| entry(&format!("T{n}"))).collect();
    daemon.ask("io.contentd.Tasks.SubmitBatch", json!({ "tasks": tasks }));
    assert_eq!(daemon.list().len(), 5);
}

#[test]
fn strange_topics_arrive_at_the_generator_as_they_were_given() {
    let home = Home::new("", "env = { SAMPLE_SECONDS = \"0\" }");
    let daemon = home.start();
    daemon.add_account("blog");
    let topics = [
        "--option-like",
        "-",
        "; rm -rf / #",
        "$(touch pwned) `touch pwned` ${HOME}",
        "a\ttab",
        "emoji 👩‍👩‍👧‍👦 🇨🇳",
        "עברית ו-\u{202e}txet",
        "{key} {ref} {creator}",
        "quote \" and ' and \\",
        "人工智能写作",
        "*?[a-z]~",
    ];
    for topic in topics {
        let task = json!({ "account": "blog", "topic": topic, "requirements": format!("about {topic}") });
        let id = daemon.submit(task);
        assert_eq!(daemon.task(&id)["topic"], topic);
        daemon.until_state(&id, "completed");
        let reference = daemon.task(&id)["external_ref"].as_str().unwrap().to_owned();
        let job = fs::read_to_string(home.path(&format!("sample-data/jobs/{reference}.json"))).unwrap();
        let job: Value = serde_json::from_str(&job).unwrap();
        assert_eq!(job["topic"], topic, "as the generator has it");
        assert_eq!(job["requirements"], format!("about {topic}"));
    }
    assert!(!home.path("pwned").exists());
    assert_eq!(home.paid().len(), topics.len());
}

#[test]
fn requirements_that_no_argument_can_carry_are_refused_with_the_limit_or_travel_in_a_file() {
    let recorder = r#"
[generators.files]
detached = false
free_to_repeat = true
cwd = "DIR"
[generators.files.submit]
run = ["/bin/sh", "-c", "cat \"$1\" > received; printf '%s' \"$2\" > topic; echo done", "recorder", "{file:requirements}", "--", "{topic}"]
content = "text"
"#;
    let home = Home::bare();
    home.configure(&recorder.replace("DIR", home.path("").to_str().unwrap()), "");
    let daemon = home.start();
    daemon.add_account("blog");
    let large = "重要 text\n".repeat((1 << 20) / "重要 text\n".len());
    let refusal = refused_task(&daemon, json!({ "requirements": large }));
    assert_eq!((refusal.name(), refusal.text("field")), ("InvalidField", "requirements"), "{refusal:?}");
    let cure = refusal.text("cure");
    assert!(cure.contains("131071") && cure.contains("{file:requirements}"), "the limit and the way out: {cure}");
    assert!(daemon.list().is_empty());
    let task = json!({ "account": "blog", "topic": "Large", "requirements": large, "generator": "files" });
    let id = daemon.submit(task);
    daemon.until_state(&id, "completed");
    assert!(fs::read_to_string(home.path("received")).unwrap() == large, "every byte arrived");
}

fn check_config(home: &Home) -> (Option<i32>, String) {
    let mut command = home.command();
    let output = command.arg("--check-config").output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_check_of_the_configuration_leaves_nothing_behind() {
    let home = Home::new("", "");
    let mistyped = home.path("no/such/place/contentd.db");
    let mut command = home.command();
    let output = command.arg("--check-config").env("DATABASE_URL", &mistyped).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!home.path("no").exists(), "it starts nothing, and makes no directory");
}

#[test]
fn a_malformed_configuration_ends_with_78_and_file_and_line_of_every_fault() {
    let home = Home::bare();
    let path = home.path("contentd.toml");
    let faults = [
        ("[daemon]\nworkers = 0\n", 2, "workers"),
        ("[daemon]\nwokers = 4\n", 2, "wokers"),
        ("[daemon\nworkers = 4\n", 1, ""),
        ("[polling]\ninterval = \"30 bananas\"\n", 2, "30 bananas"),
        ("[tasks]\npriority = 11\n", 2, "priority"),
        ("[tasks]\ngenerator = \"nobody\"\n", 2, "nobody"),
        ("\n[generators.x.submit]\nrun = \"a string\"\n", 3, "run"),
        ("[generators.x.submit]\nrun = [\"x\", \"{tpoic}\"]\ncontent = \"text\"\n", 2, "tpoic"),
        ("[daemon]\nqueue = \"redis\"\n", 2, "redis"),
    ];
    for (text, line, what) in faults {
        fs::write(&path, text).unwrap();
        let (code, words) = home.refused(home.command());
        assert_eq!(code, Some(78), "{text}: {words}");
        let place = format!("{}:{line}:", path.display());
        assert!(words.contains(&place) && words.contains(what), "{text}: {words}");
        assert_eq!(check_config(&home).0, Some(78), "{text}");
    }
    fs::write(&path, "[daemon]\nworkers = 0\n[polling]\ninterval = \"x\"\n").unwrap();
    let (_, words) = home.refused(home.command());
    assert!(words.contains(":2:") && words.contains(":4:"), "all faults at once: {words}");
    fs::remove_file(&path).unwrap();
    let (code, words) = home.refused(home.command());
    assert_eq!(code, Some(78), "{words}");
    assert!(words.contains(path.to_str().unwrap()), "{words}");
    assert!(!home.database().exists(), "nothing was made");
}

#[test]
fn a_check_outside_of_the_service_leaves_its_credentials_to_the_service() {
    let home = Home::new("", "secrets = { SAMPLE_KEY = \"sample-key\" }");
    let mut command = home.command();
    let output = command.arg("--check-config").env_remove("CREDENTIALS_DIRECTORY").output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(words.contains("SAMPLE_KEY") && words.contains("not looked at"), "{words}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(home.path("contentd.toml").to_str().unwrap()), "{said}");
    // Inside of it, one that is missing is a fault as before.
    let output = home.command().arg("--check-config").env("CREDENTIALS_DIRECTORY", home.path(".")).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}

#[test]
fn a_missing_program_is_a_warning_a_fault_in_status_and_an_error_of_the_check() {
    let home = Home::new("", "env = { SAMPLE_SECONDS = \"0\" }");
    let program = home.path("generator");
    let mut command = home.command();
    command.env("CREATOR_CLI_PATH", &program);
    let output = command.arg("--check-config").output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{words}");
    assert!(words.contains("sample") && words.contains(program.to_str().unwrap()), "{words}");
    assert_eq!(check_config(&home), (Some(0), String::new()), "with the program all is well");

    let mut command = home.command();
    command.env("CREATOR_CLI_PATH", &program);
    let daemon = Daemon::adopt(&home, home.spawn(command), home.socket());
    let log = home.log();
    let warning = log.lines().find(|line| line.contains("WARN")).unwrap_or_else(|| panic!("no warning: {log}"));
    assert!(warning.contains(program.to_str().unwrap()) && warning.contains("sample"), "{warning}");
    let generator = || daemon.ask("io.contentd.Daemon.GetStatus", json!({}))["generators"][0].clone();
    assert_eq!(generator()["is_available"], false);
    assert!(generator()["faults"][0].as_str().unwrap().contains(program.to_str().unwrap()), "{}", generator());
    daemon.add_account("blog");
    let id = daemon.submit(json!({ "account": "blog", "topic": "Waits" }));
    let reason = eventually("the breaker says why it waits", || {
        let task = daemon.task(&id);
        let reason = task["reason"].as_str()?.to_owned();
        (task["state"] == "pending" && reason.contains("unavailable")).then_some(reason)
    });
    assert!(reason.contains("next probe"), "{reason}");
    // Its program comes back, and the task goes on by itself.
    std::os::unix::fs::symlink(Path::new(env!("CARGO_BIN_EXE_sample-generator")), &program).unwrap();
    daemon.until_state(&id, "completed");
    assert_eq!(generator()["is_available"], true);
    assert_eq!(daemon.task(&id)["retry_count"], 0, "an outage spends nothing");
}
