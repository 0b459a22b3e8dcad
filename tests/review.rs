//! Accounts and reviews as people have them: contentctl, the real daemon, the sample generator.

#[path = "support/live.rs"]
mod live;
#[path = "support/tally.rs"]
mod tally;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use live::{Daemon, Home};
use serde_json::{Value, json};

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// contentctl with an environment of its own.
struct Ctl<'h>(&'h Home);

impl Ctl<'_> {
    fn with(&self, env: &[(&str, &str)], input: &str, arguments: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contentctl"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("TMPDIR", self.0.path("tmp"));
        command.envs(env.iter().copied()).arg("--socket").arg(self.0.socket()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let ran = self.with(&[], "", arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}{}", ran.out, ran.err);
        ran
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = ["--output", "json"].iter().chain(arguments).copied().collect();
        serde_json::from_str(&self.run(&arguments).out).unwrap()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let ran = self.with(&[], "", arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{arguments:?}: {}", ran.err);
        ran.err
    }
}

fn home(more: &str) -> Home {
    let home = Home::new(more, "");
    std::fs::create_dir(home.path("tmp")).unwrap();
    home
}

fn piece(daemon: &Daemon<'_>, ctl: &Ctl<'_>, topic: &str) -> (String, i64) {
    let task = ctl.json(&["submit", "--account", "blog", "--topic", topic])["task_id"].as_str().unwrap().to_owned();
    daemon.until_state(&task, "completed");
    let content = daemon.ask("io.contentd.Tasks.Result", json!({ "task": task }))["content"]["content_id"].as_i64();
    (task, content.unwrap())
}

/// A program that stands for a person at an editor.
fn editor(home: &Home, name: &str, body: &str) -> String {
    let path: PathBuf = home.path(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn an_account_says_what_its_submits_do_not() {
    let home = home("");
    let daemon = home.start();
    let ctl = Ctl(&home);
    let table = "name,generator,tone,priority,auto_approve,max_pending,keywords\nblog,sample,dry,9,no,2,\"tea,milk\"\nnews,,,,,,\n";
    std::fs::write(home.path("accounts.csv"), table).unwrap();
    let file = home.path("accounts.csv").display().to_string();
    let imported = ctl.json(&["account", "import", &file]);
    assert_eq!(imported[0]["outcome"], "added");
    assert_eq!(imported[1]["account"]["settings"]["tone"], Value::Null);
    let again = ctl.json(&["account", "import", &file]);
    assert!(again.as_array().unwrap().iter().all(|one| one["outcome"] == "unchanged"), "{again}");
    std::fs::write(home.path("bad.csv"), "name,priority,generator\nx,11,\ny,,nobody\n").unwrap();
    let bad = home.path("bad.csv").display().to_string();
    let told = ctl.refused(&["account", "import", &bad]);
    assert!(told.contains("bad.csv:2: priority") && told.contains("nothing was imported"), "{told}");
    std::fs::write(home.path("bad.csv"), "name,generator\nx,\n\ny,nobody\n").unwrap();
    let told = ctl.refused(&["account", "import", &bad]);
    assert!(told.contains("bad.csv:4: generator") && told.contains("nobody"), "{told}");
    assert_eq!(ctl.json(&["account", "list"]).as_array().unwrap().len(), 2, "all of it or nothing");

    let submit = |more: &[&str]| {
        let arguments: Vec<&str> =
            ["submit", "--account", "blog", "--topic", "T", "--delay", "1h"].iter().chain(more).copied().collect();
        daemon.task(ctl.json(&arguments)["task_id"].as_str().unwrap())
    };
    let task = submit(&[]);
    assert_eq!((&task["tone"], &task["priority"], &task["auto_approve"]), (&json!("dry"), &json!(9), &json!(false)));
    assert_eq!(task["keywords"], json!(["tea", "milk"]));
    ctl.run(&["account", "set", "blog", "--tone", "warm", "--clear", "keywords,priority"]);
    let now = daemon.task(task["task_id"].as_str().unwrap());
    assert_eq!(
        (&now["tone"], &now["keywords"]),
        (&json!("dry"), &json!(["tea", "milk"])),
        "what was taken is the task's"
    );
    let said = submit(&["--tone", "loud", "--auto-approve"]);
    assert_eq!((&said["tone"], &said["priority"], &said["auto_approve"]), (&json!("loud"), &json!(5), &json!(true)));
    let told = ctl.refused(&["submit", "--account", "blog", "--topic", "T"]);
    assert!(told.contains("2 tasks of account \"blog\" are unfinished and 2 are allowed"), "{told}");
    let file = home.path("three.txt");
    std::fs::write(&file, "one\ntwo\nthree\n").unwrap();
    let told = ctl.refused(&["submit", "--account", "blog", "--file", file.to_str().unwrap()]);
    assert!(
        told.contains("2 tasks of account \"blog\" are unfinished, 3 were to be submitted together, and 2 are"),
        "{told}"
    );
    let out = ctl.run(&["account", "disable", "blog"]).out;
    assert!(out.contains("is_enabled       no"), "{out}");
    assert!(ctl.refused(&["submit", "--account", "blog", "--topic", "T"]).contains("disabled"));
    ctl.run(&["account", "enable", "blog"]);
    let shown = ctl.run(&["account", "show", "blog"]).out;
    assert!(shown.contains("tone             warm") && !shown.contains("keywords"), "{shown}");
    assert!(ctl.refused(&["account", "set", "blog", "--generator", "nobody"]).contains("nobody"));
    assert_eq!(daemon.stop(), Some(0));
}

/// Whoever meets a limit a day is told how much of it is spent, everything that holds a task, and that a wait for it may be left.
#[test]
fn what_is_spent_of_a_day_is_told_and_who_waits_for_the_next_may_leave() {
    let home = home("");
    let daemon = home.start();
    let ctl = Ctl(&home);
    ctl.run(&["account", "add", "blog", "--submits-per-day", "1"]);
    ctl.run(&["account", "add", "press"]);
    assert_eq!(ctl.json(&["account", "show", "blog"])["submits_today"], 0);
    piece(&daemon, &ctl, "Tea");
    let spent = || (ctl.json(&["account", "show", "blog"])["submits_today"] == 1).then_some(());
    live::eventually("the submit is counted", spent);
    assert_eq!(ctl.json(&["account", "show", "press"])["submits_today"], Value::Null, "it has no limit");
    let listed = ctl.run(&["account", "list"]).out;
    assert!(listed.contains("SUBMITS TODAY") && listed.contains("1 of 1"), "{listed}");
    assert!(listed.contains("MAX PENDING") && listed.contains("MAX JOBS"), "{listed}");
    assert_eq!(ctl.json(&["account", "set", "blog", "--tone", "dry"])["submits_today"], 1, "as show has it");
    let generator = &ctl.json(&["status"])["generators"][0];
    assert_eq!(generator["submits_today"], Value::Null, "its generator has no limit: {generator}");

    let waits = ["submit", "--account", "blog", "--topic", "Milk", "--wait", "--timeout", "1"];
    let left = ctl.with(&[], "", &waits);
    assert_eq!(left.code, Some(4), "{}", left.err);
    let said =
        ["its submits_per_day is 1; the next is not before 20", "Ctrl-C ends the wait alone", "the task is kept"];
    assert!(said.iter().all(|words| left.err.contains(words)), "{}", left.err);
    // Of a file the first may spend the day that the last has none of.
    std::fs::write(home.path("two.txt"), "one\ntwo\n").unwrap();
    ctl.run(&["account", "set", "press", "--submits-per-day", "1"]);
    let file = home.path("two.txt").display().to_string();
    let left = ctl.with(&[], "", &["submit", "--account", "press", "--file", &file, "--wait", "--timeout", "5"]);
    assert_eq!(left.code, Some(4), "{}", left.err);
    assert_eq!(left.err.matches("Ctrl-C ends the wait alone").count(), 1, "{}", left.err);
    // What a cleanup took would count no more.
    let kept = ctl.with(&[], "", &["cleanup", "--older-than", "0s"]);
    assert!(kept.out.contains("0 tasks that finished more than 1d ago: deleted"), "{}", kept.out);
    assert!(kept.err.contains("its submits count for a limit of a day"), "{}", kept.err);
    assert_eq!(ctl.json(&["account", "show", "blog"])["submits_today"], 1);
    ctl.run(&["pause", "--account", "blog"]);
    let missed = ctl.with(&[], "", &["--output", "json", "resume"]);
    assert!(missed.code == Some(1) && missed.out.contains("\"is_changed\": false"), "{}", missed.out);
    assert!(missed.err.contains("nothing was resumed") && missed.err.contains("resume --account 1`"), "{}", missed.err);
    let task =
        ctl.json(&["list", "--state", "pending", "--account", "blog"])[0]["task_id"].as_str().unwrap().to_owned();
    let reason = ctl.json(&["show", &task])["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("is paused by") && reason.contains("; and account \"blog\" had 1 submit to"), "{reason}");
    // Whoever lifts one of them, the delay too, has lifted nothing: all are named, by name and with their reasons.
    ctl.run(&["pause", "--reason", "lunch"]);
    ctl.run(&["set", &task, "--delay", "1h"]);
    let given_up = ctl.with(&[], "", &["--output", "json", "wait", &task, "--timeout", "1"]);
    assert_eq!(given_up.code, Some(4), "{}", given_up.err);
    let shown = ctl.run(&["show", &task]).out;
    for told in [
        "at the earliest; and",
        "account \"blog\" is paused by",
        "everything is paused by",
        "(\"lunch\")",
        "per_day is 1",
    ] {
        assert!(given_up.out.contains(&told.replace('"', "\\\"")), "{told}: {}", given_up.out);
    }
    assert!(shown.contains("ends its delay, and nothing else of this"), "{shown}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_piece_is_read_edited_rejected_and_written_again() {
    let home = home("[review]\nmin_words = 1\nforbidden_words = [\"Yunnan\"]\n");
    let daemon = home.start();
    let ctl = Ctl(&home);
    ctl.run(&["account", "add", "--name", "blog"]);
    let (task, content) = piece(&daemon, &ctl, "Tea in YUNNAN");
    let id = content.to_string();
    let waiting = ctl.json(&["review", "list"]);
    assert_eq!((waiting.as_array().unwrap().len(), &waiting[0]["content_id"]), (1, &json!(content)));
    let record = ctl.json(&["review", "show", &id]);
    assert!(record["findings"][0].as_str().unwrap().contains("\"Yunnan\" is in it"), "{record}");
    let shown = ctl.run(&["review", "show", &id]).out;
    let hash = record["content_hash"].as_str().unwrap();
    assert!(
        shown.contains("the rules say: \"Yunnan\" is in it") && shown.contains(&format!("--hash {hash}")),
        "{shown}"
    );

    // An editor that leaves the text alone, one that fails, one that writes.
    let idle = editor(&home, "idle", "exit 0");
    let ran = ctl.with(&[("EDITOR", &idle)], "", &["review", "edit", &id]);
    assert!(ran.code == Some(0) && ran.err.contains("nothing was changed"), "{}", ran.err);
    let told = ctl.refused(&["review", "edit", &id]);
    assert!(told.contains("needs a terminal") && told.contains("--file FILE"), "{told}");
    let absent = ctl.with(&[("EDITOR", "/no/such/program")], "", &["review", "edit", &id]);
    assert!(absent.code == Some(1) && absent.err.contains("--file FILE"), "{}", absent.err);
    assert_eq!(std::fs::read_dir(home.path("tmp")).unwrap().count(), 0, "where nothing was typed, no draft stays");
    let broken = editor(&home, "broken", "echo mine >> \"$1\"; exit 3");
    let ran = ctl.with(&[("VISUAL", &broken), ("EDITOR", &idle)], "", &["review", "edit", &id]);
    let kept = ran.err.split("what you typed is in ").nth(1).unwrap_or_else(|| panic!("{}", ran.err)).trim().to_owned();
    assert!(ran.code == Some(1) && std::fs::read_to_string(kept).unwrap().ends_with("mine\n"), "{}", ran.err);
    let writing = editor(&home, "writing", "printf '# Tea\\n\\n<script>x</script>\\033[31m by hand' > \"$2\"");
    let ran = ctl.with(&[("EDITOR", &format!("{writing} -w"))], "", &["--output", "json", "review", "edit", &id]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let edited: Value = serde_json::from_str(&ran.out).unwrap();
    let second = edited["content_id"].as_i64().unwrap();
    assert!(second != content && edited["review_status"] == "pending_review", "{edited}");
    let html = ctl.run(&["review", "show", "--html", &second.to_string()]).out;
    assert!(html.contains("<h1>Tea</h1>") && !html.contains("<script>"), "{html}");
    // The escape reaches no terminal.
    let shown = ctl.run(&["review", "show", &second.to_string()]).out;
    assert!(!shown.contains('\u{1b}') && shown.contains("\\u{1b}[31m"), "{shown:?}");
    assert!(
        shown.contains("edited by: ") && shown.contains("the rules say: \"Yunnan\""),
        "its title has it still: {shown}"
    );
    // Who looks at the old one is told.
    let newest = format!("content {second} is the newest");
    for verb in ["approve", "reject"] {
        let told = ctl.refused(&["review", verb, &id]);
        assert!(told.contains("it is superseded") && told.contains(&newest), "{told}");
    }
    let told = ctl.refused(&["review", "edit", &id]);
    assert!(told.contains("was replaced by a newer version") && told.contains(&newest), "{told}");
    assert!(ctl.run(&["review", "show", &id]).out.contains(&newest));
    let stale = ctl.with(&[], "text", &["review", "edit", &second.to_string(), "--file", "-", "--hash", hash]);
    assert!(stale.code == Some(1) && stale.err.contains("is not what was looked at"), "{}", stale.err);
    let history = ctl.json(&["content", "history", &id]);
    let versions: Vec<_> =
        history.as_array().unwrap().iter().map(|one| (&one["version"], &one["review_status"])).collect();
    assert_eq!(versions, [(&json!(2), &json!("pending_review")), (&json!(1), &json!("superseded"))]);
    assert_eq!(daemon.task(&task)["content_id"], second);
    let shown = ctl.run(&["review", "show", &id]).out;
    assert!(!shown.contains("review approve") && shown.contains("content history"), "{shown}");
    ctl.run(&["review", "approve", &second.to_string(), "--hash", edited["content_hash"].as_str().unwrap()]);
    // Another title is another version: nobody approved it, and the text stays.
    let wrong = ctl.refused(&["review", "edit", &second.to_string(), "--title", "two\nlines"]);
    assert!(wrong.contains("title: \"two\\nlines\"") && wrong.contains("255"), "{wrong}");
    let titled = ctl.json(&["review", "edit", &second.to_string(), "--title", " Tea, by hand "]);
    assert_eq!((&titled["title"], &titled["review_status"]), (&json!("Tea, by hand"), &json!("pending_review")));
    assert!(ctl.json(&["pool", "list"]).as_array().unwrap().is_empty(), "its approval is void");
    assert_ne!(titled["content_hash"], edited["content_hash"], "an approval names the title, too");
    let third = titled["content_id"].to_string();
    let text = |id: &str| ctl.run(&["content", "show", "--raw", id]).out;
    assert_eq!(text(&third), text(&second.to_string()));
    let same = ctl.run(&["review", "edit", &third, "--title", "Tea, by hand"]);
    assert!(same.err.contains("nothing was changed"), "{}", same.err);
    let second = titled["content_id"].as_i64().unwrap();
    ctl.run(&["review", "approve", &third, "--hash", titled["content_hash"].as_str().unwrap()]);
    assert_eq!(ctl.json(&["pool", "list"])[0]["content_id"], second);

    let again = ctl.json(&["review", "reject", &second.to_string(), "--again", "shorter, please"]);
    assert_eq!((&again["review_status"], &again["was_known"]), (&json!("rejected"), &json!(false)));
    let twice = ctl.json(&["review", "reject", &second.to_string(), "--again", "shorter, please"]);
    assert_eq!((&twice["task_id"], &twice["was_known"]), (&again["task_id"], &json!(true)));
    let new = again["task_id"].as_str().unwrap();
    let told = ctl.refused(&["review", "reject", &second.to_string(), "--again", "and name the source"]);
    assert!(told.contains("remark: \"and name the source\"") && told.contains(new), "{told}");
    let written = daemon.task(new);
    assert!(written["requirements"].as_str().unwrap().ends_with("shorter, please"), "{written}");
    assert_eq!(written["topic"], "Tea in YUNNAN");
    let history = ctl.json(&["history", new]);
    assert!(history[0]["why"].as_str().unwrap().contains(&task), "{history}");
    daemon.until_state(new, "completed");
    assert!(ctl.json(&["pool", "list"]).as_array().unwrap().is_empty());
    assert_eq!(home.paid().len(), 2, "one job for each task");
    // A reason may come later, once, and is one.
    let other = daemon.task(new)["content_id"].to_string();
    let empty = ctl.refused(&["review", "reject", &other, "--reason", " "]);
    assert!(empty.contains("reason: \" \" cannot be taken"), "{empty}");
    ctl.run(&["review", "reject", &other]);
    let reason = ctl.run(&["review", "reject", &other, "--reason", "not our subject"]).out;
    assert!(reason.contains("review_reason") && reason.contains("not our subject"), "{reason}");
    assert_eq!(ctl.json(&["content", "show", &other])["review_reason"], "not our subject");
    assert!(ctl.json(&["history", new]).to_string().contains("rejected: not our subject"));
    assert!(ctl.refused(&["review", "reject", &other, "--reason", "another"]).contains("it is rejected"));
    // Somebody else is faster while an editor is open: nothing that was typed is lost.
    let newest = daemon.task(new)["content_id"].to_string();
    let (program, socket) = (env!("CARGO_BIN_EXE_contentctl"), home.socket().display().to_string());
    let body = format!(
        "echo other | '{program}' --socket '{socket}' review edit {newest} --file - >&2 && printf mine > \"$1\""
    );
    let late = editor(&home, "late", &body);
    let ran = ctl.with(&[("EDITOR", &late)], "", &["review", "edit", &newest]);
    let kept = ran.err.split("what you typed is in ").nth(1).unwrap_or_else(|| panic!("{}", ran.err)).trim().to_owned();
    assert_eq!((ran.code, std::fs::read_to_string(kept).unwrap().as_str()), (Some(1), "mine"));
    assert_eq!(daemon.stop(), Some(0));
    let judged =
        Command::new(env!("CARGO_BIN_EXE_contentd")).arg("--check-database").arg(home.database()).output().unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
    tally::tell("review", "2 days of a reviewer with contentctl: accounts, rules, versions, second tries");
}

/// What a new user meets in a day: whose a thing is, why it waits, and what helps.
#[test]
fn what_is_shown_says_whose_it_is_why_it_waits_and_what_helps() {
    let home = home("[publishers.site]\naccounts = [\"press\"]\n[publishers.site.publish]\nrun = [\"true\"]\n");
    let daemon = home.start();
    let ctl = Ctl(&home);
    ctl.run(&["account", "add", "--name", "blog"]);
    ctl.run(&["account", "add", "--name", "press"]);
    let told = ctl.with(&[], "", &["submit", "--account", "blog", "--topic", "Bread", "--wait", "--timeout", "soon"]);
    assert!(told.code == Some(2) && told.err.contains("--timeout"), "{}", told.err);
    assert!(ctl.json(&["list"]).as_array().unwrap().is_empty(), "nothing is submitted that cannot be waited for");
    let waited = ctl.run(&["submit", "--account", "blog", "--topic", "Why Bread rises", "--wait"]);
    assert!(["completed", "blog", "Why Bread"].iter().all(|part| waited.out.contains(part)), "{}", waited.out);
    ctl.run(&["submit", "--account", "press", "--topic", "News", "--priority", "9", "--wait"]);
    let order = || ctl.json(&["pool", "list"]);
    let is_out = || (order().to_string().contains("\"published\"")).then_some(());
    live::eventually("the piece of press is out", is_out);
    let pool = order();
    let places: Vec<_> = [0, 1].map(|n| (&pool[n]["account"], &pool[n]["title"], &pool[n]["status"])).into();
    let blog = (&json!("blog"), &json!("Why Bread rises"), &json!("pending"));
    assert_eq!(places, [blog, (&json!("press"), &json!("News"), &json!("published"))], "what goes out next is on top");
    let listed = ctl.run(&["pool", "list"]);
    assert!(
        listed.out.contains("Why Bread rises") && listed.err.contains("no publisher serves account \"blog\""),
        "{}",
        listed.err
    );
    assert!(listed.err.contains("1 piece") && listed.err.contains("pool next --account blog`"), "{}", listed.err);
    let entry = pool[0]["pool_id"].to_string();
    assert!(ctl.run(&["pool", "show", &entry]).out.contains("no publisher serves account"));
    assert!(ctl.run(&["status"]).out.contains("account \"blog\" wait, and no publisher serves it"));
    let found = daemon.ask("io.contentd.Daemon.Doctor", json!({}))["findings"].to_string();
    assert!(
        found.contains("no publisher serves account \\\"blog\\\"") && !found.contains("account \\\"press"),
        "{found}"
    );

    let wrong = |arguments: &[&str]| {
        let ran = ctl.with(&[], "", arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{arguments:?}: {}", ran.err);
        ran.err
    };
    assert!(wrong(&["pool", "done", &entry]).contains("is pending: nobody has it"));
    ctl.run(&["pool", "next", "--account", "blog"]);
    assert!(wrong(&["pool", "fail", &entry]).contains("--fence 1"));
    assert!(wrong(&["account", "set", "blog"]).contains("nothing to set for account \"blog\""));
    let idle = ctl.run(&["resume", "--account", "blog"]).err;
    assert!(idle.contains("account blog is not paused"), "{idle}");
    let missing = home.path("none.txt").display().to_string();
    let arguments = ["schedule", "add", "--name", "s", "--every", "6h", "--account", "blog", "--file", &missing];
    assert!(ctl.refused(&arguments).contains(&missing));

    // One look at a file mends all of it: what only the daemon knows is told with the rest, by line.
    let lines = "{\"account\": \"blog\", \"topic\": \"\"}\n\n{\"account\": \"nobody\", \"topic\": \"T\"}\n";
    std::fs::write(home.path("bad.jsonl"), lines).unwrap();
    let told = ctl.refused(&["submit", "--file", &home.path("bad.jsonl").display().to_string()]);
    assert!(told.contains("bad.jsonl:1: topic") && told.contains("bad.jsonl:3: account: \"nobody\""), "{told}");

    let searched = ctl.json(&["list", "--topic", "bREAD"]);
    assert_eq!((searched.as_array().unwrap().len(), &searched[0]["topic"]), (1, &json!("Why Bread rises")));
    let late = ctl.json(&["submit", "--account", "blog", "--topic", "Late", "--delay", "9h"])["task_id"].clone();
    let late = late.as_str().unwrap();
    let set = ctl.run(&["set", late, "--delay", "8h", "--priority", "7"]).out;
    assert!(set.contains("priority 7") && set.contains("not before 20"), "{set}");
    assert!(wrong(&["set", late]).contains("--priority"));
    assert!(ctl.run(&["set", late, "--delay", "0"]).out.contains("not delayed"));
    daemon.until_state(late, "completed");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn who_edited_a_piece_does_not_approve_it_where_four_eyes_are_wanted() {
    let home = home("[review]\nfour_eyes = true\n");
    let daemon = home.start();
    let ctl = Ctl(&home);
    ctl.run(&["account", "add", "--name", "blog"]);
    let told = ctl.refused(&["account", "set", "blog", "--auto-approve"]);
    assert!(told.contains("four_eyes"), "{told}");
    let (_, content) = piece(&daemon, &ctl, "Tea");
    let ran = ctl.with(&[], "by hand", &["--output", "json", "review", "edit", &content.to_string(), "--file", "-"]);
    let edited: Value = serde_json::from_str(&ran.out).unwrap();
    let own = daemon.refused("io.contentd.Content.Approve", json!({"content_id": edited["content_id"]}));
    assert_eq!(own.name(), "OwnEdit");
    assert_eq!(daemon.stop(), Some(0));
}
