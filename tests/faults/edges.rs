//! Things at their edges: pieces that are longer than a message, files that are no files, names that lead elsewhere by now.

use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::counting;
use crate::live::{Daemon, Home, PATIENCE, call, eventually};

/// Every reply to one call with "more", and the length of the longest.
fn replies(socket: &Path, method: &str, parameters: &Value) -> (Vec<Value>, usize) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut message = json!({ "method": method, "parameters": parameters, "more": true }).to_string().into_bytes();
    message.push(0);
    stream.write_all(&message).unwrap();
    let (mut replies, mut longest, mut buffer) = (Vec::new(), 0, Vec::new());
    let mut chunk = vec![0; 1 << 20];
    loop {
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "cut off after {} replies", replies.len());
        let mut rest = &chunk[..count];
        while let Some(end) = rest.iter().position(|byte| *byte == 0) {
            buffer.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            longest = longest.max(buffer.len());
            let reply: Value = serde_json::from_slice(&std::mem::take(&mut buffer)).unwrap();
            assert!(reply.get("error").is_none(), "{reply}");
            replies.push(reply["parameters"].clone());
            if reply.get("continues") != Some(&json!(true)) {
                return (replies, longest);
            }
        }
        buffer.extend_from_slice(rest);
    }
}

fn joined<'r>(replies: &'r [Value], text: impl Fn(&'r Value) -> &'r Value) -> String {
    replies.iter().filter_map(|reply| text(reply).as_str()).collect()
}

fn contentctl(home: &Home, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contentctl"));
    command.arg("--socket").arg(home.socket()).args(args).env_clear().output().unwrap()
}

/// What is longer than a reply, once as a piece and once as what no piece can be read from.
fn long_writers(home: &Home) -> String {
    let dir = home.path("");
    let writer = |name: &str, script: &str, content: &str| {
        format!(
            r#"
[generators.{name}]
detached = true
cwd = "{}"
[generators.{name}.submit]
run = ["/bin/sh", "-c", "{script}", "{{topic}}"]
content = "{content}"
"#,
            dir.display()
        )
    };
    // A sign that JSON writes with six, so that two megabytes are enough; and bytes that are no text, which become three each.
    writer("long", "echo Anfang; head -c 1600000 /dev/zero | tr '\\\\000' '\\\\001'; echo Ende", "text")
        + &writer("plain", "head -c 2500000 /dev/zero | tr '\\\\000' a; echo Ende", "text")
        + &writer("noise", "head -c 6000000 /dev/zero | tr '\\\\000' '\\\\377'; echo Ende", "json:/nothing")
}

#[test]
fn what_is_longer_than_a_message_is_read_in_parts() {
    const LIMIT: usize = 16 << 20;
    let home = counting::home();
    counting::configure(&home, &long_writers(&home));
    let daemon = home.start();
    daemon.add_account("blog");
    let submit = |generator: &str| daemon.submit(json!({ "account": "blog", "topic": "t", "generator": generator }));
    let (long, noise) = (submit("long"), submit("noise"));
    daemon.until_state(&long, "completed");
    daemon.until_state(&noise, "held");

    let content = daemon.task(&long)["content_id"].clone();
    let by_task = json!({ "task": long });
    let refusal = daemon.refused("io.contentd.Tasks.Result", by_task.clone());
    assert_eq!(refusal.name(), "ReplyTooLarge", "one reply cannot hold it");
    assert_eq!(daemon.refused("io.contentd.Content.Get", json!({ "content_id": content })).name(), "ReplyTooLarge");
    let (parts, longest) = replies(&home.socket(), "io.contentd.Tasks.Result", &by_task);
    assert!(parts.len() > 1 && longest < LIMIT / 2, "{} replies of at most {longest} bytes", parts.len());
    let piece = joined(&parts, |part| &part["content"]["content"]);
    assert!(piece.len() > 1_600_000 && piece.starts_with("Anfang\n") && piece.ends_with("Ende\n"), "{}", piece.len());
    let html = joined(&parts, |part| &part["content"]["html_content"]);
    assert!(html.len() > 1_600_000 && html.ends_with("Ende</p>\n"), "{}", html.len());
    assert!(parts.iter().all(|part| part["content"]["content_id"] == content && part["version"] == 1));
    assert!(contentctl(&home, &["result", &long, "--raw"]).stdout == piece.as_bytes(), "contentctl joins it");

    assert_eq!(daemon.refused("io.contentd.Tasks.Show", json!({ "task": noise })).name(), "ReplyTooLarge");
    let (parts, longest) = replies(&home.socket(), "io.contentd.Tasks.Show", &json!({ "task": noise }));
    assert!(parts.len() > 1 && longest < LIMIT, "{} replies of at most {longest} bytes", parts.len());
    let raw = joined(&parts, |part| &part["result"]);
    assert!(raw.len() > LIMIT && raw.ends_with("Ende\n"));
    let attempts: usize = parts.iter().map(|part| part["attempts"].as_array().unwrap().len()).sum();
    assert_eq!(attempts, 1, "each attempt once");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn pieces_that_are_longer_than_a_message_are_handed_out() {
    let home = counting::home();
    counting::configure(&home, &long_writers(&home));
    let daemon = home.start();
    daemon.add_account("blog");
    let submit = |generator: &str, topic: &str| {
        let task = json!({ "account": "blog", "topic": topic, "generator": generator, "auto_approve": true });
        let id = daemon.submit(task);
        daemon.until_state(&id, "completed");
        id
    };
    // As JSON it is longer than a reply, though its bytes are not.
    let long = submit("long", "t");
    // Its signs belong in no text, so it does not approve itself.
    daemon.ask("io.contentd.Content.Approve", json!({ "content_id": daemon.task(&long)["content_id"] }));
    let next = |key: &str| daemon.ask("io.contentd.Pool.Next", json!({ "limit": 9, "key": key }))["handed_out"].clone();
    let taken = next("one");
    assert_eq!(taken.as_array().map(Vec::len), Some(1), "{}", taken[0]["pool_id"]);
    assert_eq!((&taken[0]["fence"], &taken[0]["content"]["task_id"]), (&json!(1), &json!(long)));
    assert_eq!((&taken[0]["content"]["content"], &taken[0]["content"]["html_content"]), (&Value::Null, &Value::Null));
    let piece = contentctl(&home, &["result", &long, "--raw"]).stdout;
    let told = contentctl(&home, &["--output", "json", "pool", "next", "--key", "one", "--limit", "9"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told[0]["pool_id"], taken[0]["pool_id"], "the same request");
    assert!(told[0]["content"]["content"].as_str().is_some_and(|text| text.as_bytes() == piece), "contentctl joins it");
    assert!(told[0]["content"]["html_content"].as_str().is_some_and(|html| html.ends_with("Ende</p>\n")));

    // Three of five megabytes fit into a reply, and the fourth is told without its piece.
    for topic in ["a", "b", "c", "d"] {
        submit("plain", topic);
    }
    let taken = next("two");
    let has_piece: Vec<bool> =
        taken.as_array().unwrap().iter().map(|one| one["content"]["content"].is_string()).collect();
    assert_eq!(has_piece, [true, true, true, false]);
    for one in taken.as_array().unwrap() {
        let (pool_id, fence) = (&one["pool_id"], &one["fence"]);
        let done = daemon.ask("io.contentd.Pool.Done", json!({ "pool_id": pool_id, "fence": fence }));
        assert_eq!(done["entry"]["status"], "published");
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_key_of_a_task_that_was_cleaned_up_says_what_it_was_used_for() {
    let home = counting::home();
    let daemon = home.start();
    daemon.add_account("blog");
    let task = json!({ "account": "blog", "topic": "t", "generator": "counted", "key": "order-1" });
    let id = daemon.submit(task.clone());
    daemon.until_state(&id, "completed");
    eventually("it is old enough", || {
        (daemon.ask("io.contentd.Tasks.Cleanup", json!({ "days": 0 }))["deleted"] == 1).then_some(())
    });
    let refusal = daemon.refused("io.contentd.Tasks.Submit", json!({ "task": task }));
    assert_eq!((refusal.name(), refusal.text("key"), refusal.text("task")), ("KeySpent", "order-1", id.as_str()));
    let told = contentctl(
        &home,
        &["submit", "--account", "blog", "--topic", "t", "--key", "order-1", "--generator", "counted"],
    );
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains(&id) && told.contains("cleaned up") && told.contains("another key"), "{told}");
    assert_eq!(counting::made(&home, "t"), 1);
}

#[test]
fn a_generator_that_is_not_configured_any_more_is_told_with_its_tasks() {
    let home = counting::home();
    let daemon = home.start();
    daemon.add_account("blog");
    let submit = |topic: &str, delay: &str| {
        daemon.submit(json!({ "account": "blog", "topic": topic, "generator": "runs", "delay": delay }))
    };
    let ids = [submit("one [gate]", "0s"), submit("two [gate]", "0s"), submit("three", "1h")];
    for name in ["waiting-one", "waiting-two"] {
        eventually(name, || home.path(name).exists().then_some(()));
    }
    for id in &ids[..2] {
        daemon.until_state(id, "processing");
    }
    let configured = fs::read_to_string(home.path("contentd.toml")).unwrap();
    let section = configured.find("[generators.runs]").unwrap();
    let rest = configured[section..].find("[generators.brief").map_or("", |next| &configured[section + next..]);
    fs::write(home.path("contentd.toml"), format!("{}{rest}", &configured[..section])).unwrap();
    daemon.ask("io.contentd.Daemon.Reload", json!({}));
    let view = || {
        let status = daemon.ask("io.contentd.Daemon.GetStatus", json!({}));
        status["generators"].as_array().unwrap().iter().find(|one| one["name"] == "runs").cloned()
    };
    let lost = view().expect("it is told as long as tasks wait for it");
    let fault = lost["faults"][0].as_str().unwrap();
    assert!(fault.contains("not configured") && fault.contains("3 unfinished tasks"), "{lost}");
    assert_eq!(lost["is_available"], false);
    fs::write(home.path("gate"), "").unwrap();
    let told = || home.log().matches("generator runs is not configured any more").count();
    eventually("the log says it", || (told() > 0).then_some(()));
    fs::write(home.path("contentd.toml"), configured).unwrap();
    daemon.ask("io.contentd.Daemon.Reload", json!({}));
    for id in &ids[..2] {
        daemon.until_state(id, "completed");
    }
    assert_eq!(told(), 1, "once for all of its tasks: {}", home.log());
    assert_eq!(view().unwrap()["faults"], json!([]));
    assert_eq!(daemon.stop(), Some(0));
}

fn pipe(path: &Path) {
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    let made = Command::new("mkfifo").arg(name.to_str().unwrap()).status().unwrap();
    assert!(made.success());
}

/// A pipe, a directory, a socket and a device, each with the word for it.
fn no_files(home: &Home) -> [(std::path::PathBuf, &'static str); 4] {
    let (fifo, directory, socket) = (home.path("pipe"), home.path("a-directory"), home.path("a-socket"));
    pipe(&fifo);
    fs::create_dir(&directory).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    [(fifo, "named pipe"), (directory, "directory"), (socket, "socket"), ("/dev/zero".into(), "device")]
}

#[test]
fn only_a_regular_file_is_a_configuration_or_a_database() {
    let home = counting::home();
    for (path, word) in no_files(&home) {
        let with_configuration = |option: Option<&str>| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_contentd"));
            command.env_clear().env("HOME", home.path("")).args(option).arg("--config").arg(&path);
            home.refused(command)
        };
        for option in [None, Some("--check-config")] {
            let (code, words) = with_configuration(option);
            assert_eq!(code, Some(78), "{words}");
            assert!(words.contains(word) && words.contains(path.to_str().unwrap()), "{words}");
        }
        let beside = fs::read_dir(path.parent().unwrap()).unwrap().count();
        let mut command = home.command();
        command.env("DATABASE_URL", &path);
        let (code, words) = home.refused(command);
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains(word) && words.contains("give the path of a file"), "{words}");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), beside, "nothing was made beside it");
        let mut command = home.command();
        command.arg("--check-database").arg(&path);
        let (code, words) = home.refused(command);
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains(word), "{words}");
    }
    let huge = home.path("huge.toml");
    fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_contentd"));
    command.env_clear().arg("--config").arg(&huge);
    let (code, words) = home.refused(command);
    assert!(code == Some(78) && words.contains("more than 1048576 bytes"), "{words}");
}

#[test]
fn a_missing_file_is_called_missing() {
    let home = counting::home();
    let missing = home.path("no-backup.db");
    for args in [["--check-database", missing.to_str().unwrap()], ["restore", missing.to_str().unwrap()]] {
        let mut command = home.command();
        command.args(args);
        let (code, words) = home.refused(command);
        assert_eq!(code, Some(1));
        assert!(words.contains("no-backup.db: there is no such file") && !words.contains("right to it"), "{words}");
    }
}

/// What a second daemon on another socket says.
fn second(home: &Home, database: &Path) -> (Option<i32>, String) {
    let mut command = home.command();
    command.env("DATABASE_URL", database).env("CONTENTD_SOCKET", home.path("second.sock"));
    home.refused(command)
}

#[test]
fn no_second_daemon_gets_in_by_another_name_or_without_the_lock_file() {
    let home = counting::home();
    let daemon = home.start();
    let owner = format!("in use by process {}", daemon.pid());
    let other = home.path("elsewhere/other.db");
    fs::create_dir(home.path("elsewhere")).unwrap();
    fs::hard_link(home.database(), &other).unwrap();
    let (code, words) = second(&home, &other);
    assert!(code == Some(1) && words.contains("other.db is in use by process"), "{words}");
    fs::remove_file(home.path("state/contentd.db.lock")).unwrap();
    for _ in 0..2 {
        let (code, words) = second(&home, &home.database());
        assert!(code == Some(1) && words.contains("contentd.db is in use by process"), "{words}");
        // Where the kernel lists locks under the numbers of the file system, the owner is named.
        assert!(words.contains(&owner) || words.contains("in use by process unknown"), "{words}");
    }
    let mut command = home.command();
    command.arg("restore").arg(&other);
    let (code, words) = home.refused(command);
    assert!(code == Some(1) && words.contains("in use by process"), "{words}");
    daemon.add_account("still served");
    assert_eq!(daemon.stop(), Some(0));
}

fn add(home: &Home, name: &str) -> bool {
    call(&home.socket(), "io.contentd.Accounts.Add", json!({ "name": name })).is_ok_and(|answer| answer.is_ok())
}

fn ends_because(mut daemon: Daemon<'_>, home: &Home, why: &str) {
    assert_eq!(daemon.ended().code(), Some(70), "so that the service manager sees it");
    assert!(home.log().contains(why), "{}", home.log());
    let (code, words) = home.refused(home.command());
    assert_eq!(code, Some(1), "an empty database would forget what is paid for");
    assert!(words.contains("is gone") && words.contains("contentd restore"), "{words}");
    assert!(!home.database().exists(), "none was made");
}

#[test]
fn a_database_that_is_moved_away_acknowledges_nothing_more_and_no_empty_one_takes_its_place() {
    let home = counting::home();
    let daemon = home.start();
    daemon.add_account("before");
    // Under a write: what comes after the move is not acknowledged.
    fs::rename(home.database(), home.path("aside.db")).unwrap();
    assert!(!add(&home, "after"));
    ends_because(daemon, &home, "contentd.db was moved or removed while contentd had it open");
    fs::rename(home.path("aside.db"), home.database()).unwrap();
    let daemon = home.start();
    assert!(!add(&home, "before"), "it is there");
    // With all that belongs to it, while nobody writes: noticed all the same.
    fs::rename(home.path("state"), home.path("aside")).unwrap();
    fs::create_dir(home.path("state")).unwrap();
    let mut daemon = daemon;
    assert_eq!(daemon.ended().code(), Some(70));
    assert!(!home.database().exists(), "none was made");
    // Notes of its last moments, as a log of a generator, may have come into the new one.
    fs::remove_dir_all(home.path("state")).unwrap();
    fs::rename(home.path("aside"), home.path("state")).unwrap();
    let daemon = home.start();
    assert!(!add(&home, "before"), "it is there");
    // The log alone holds the newest commits.
    fs::remove_file(home.path("state/contentd.db-wal")).unwrap();
    let mut daemon = daemon;
    assert_eq!(daemon.ended().code(), Some(70));
    // A connection that is opened in that moment makes a new one, which nobody may take for the old.
    let gone = |how: &str| home.log().contains(&format!("contentd.db-wal was {how} while contentd had it open"));
    assert!(gone("moved or removed") || gone("replaced by another file"), "{}", home.log());
    // A database whose files are all gone but for the lock file was there.
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(home.path(&format!("state/contentd.db{ending}")));
    }
    let (code, words) = home.refused(home.command());
    assert!(code == Some(1) && words.contains("contentd.db.lock says that it was there"), "{words}");
    fs::remove_file(home.path("state/contentd.db.lock")).unwrap();
    let daemon = home.start();
    assert!(add(&home, "before"), "begun anew, because somebody said so");
    assert_eq!(daemon.stop(), Some(0));
}
