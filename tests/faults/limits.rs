//! A daemon without file descriptors: calls wait or are refused with the cause, it lives, and all is done once there are some again.

use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::json;

use crate::live::{Daemon, Home, eventually};
use crate::{counting, promises, tally};

/// The daemon with so many descriptors at most.
fn limited(home: &Home, descriptors: u32) -> Command {
    let plain = home.command();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")]);
    command.arg(plain.get_program()).args(plain.get_args()).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(home.path(""));
    command
}

fn open_descriptors(daemon: &Daemon<'_>) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count()
}

#[test]
fn a_daemon_without_descriptors_lives_and_does_everything_once_there_are_some() {
    const DESCRIPTORS: u32 = 56;
    let home = counting::home();
    let daemon = Daemon::adopt(&home, home.spawn(limited(&home, DESCRIPTORS)), home.socket());
    daemon.add_account("blog");
    let submit = |generator: &str, topic: &str| {
        daemon.submit(json!({ "account": "blog", "topic": topic, "generator": generator }))
    };
    let warm = submit("counted", "warm");
    daemon.until_state(&warm, "completed");
    // Work that goes on while there is nothing to open.
    let mut ids =
        vec![("called [gate]", submit("patient", "called [gate]")), ("run [gate]", submit("runs", "run [gate]"))];
    for name in ["waiting-called", "waiting-run"] {
        eventually(name, || home.path(name).exists().then_some(()));
    }
    let topics: Vec<String> = (0..6).map(|n| format!("waits {n}")).collect();
    let mut taken = Vec::new();
    let mut hoard = Vec::new();
    // Each of these takes one of the daemon's; the last of them are not even accepted.
    eventually("nothing is left", || {
        hoard.push(UnixStream::connect(home.socket()).unwrap());
        (open_descriptors(&daemon) >= DESCRIPTORS as usize - 1 && hoard.len() > 20).then_some(())
    });
    // One connection that was accepted is still served.
    for topic in &topics {
        let task = json!({ "account": "blog", "topic": topic, "generator": "counted", "key": topic });
        taken.push(ask_on(&mut hoard[0], "io.contentd.Tasks.Submit", json!({ "task": task })));
    }
    eventually("the cause is told", || {
        let log = home.log();
        (log.contains("Too many open files") || log.contains("LimitNOFILE")).then_some(())
    });
    std::fs::write(home.path("gate"), "").unwrap();
    eventually("the call answered", || home.path("answered-called").exists().then_some(()));
    drop(hoard);
    eventually("it is served again", || crate::live::is_answered_by(&home.socket(), daemon.pid()).then_some(()));
    for (topic, reply) in topics.iter().zip(&taken) {
        // Refused with a cause, or taken; a repetition under the same key is the same task.
        let task = json!({ "account": "blog", "topic": topic, "generator": "counted", "key": topic });
        let id =
            daemon.ask("io.contentd.Tasks.Submit", json!({ "task": task }))["task_id"].as_str().unwrap().to_owned();
        if reply["error"].is_null() {
            assert_eq!(reply["parameters"]["task_id"], id.as_str(), "acknowledged, and there");
        }
        ids.push((topic, id));
    }
    for (topic, id) in &ids {
        daemon.until_state(id, "completed");
        let task = daemon.task(id);
        assert_eq!((counting::made(&home, topic), &task["retry_count"]), (1, &json!(0)), "{task}");
    }
    assert_eq!(promises::broken(&home.database()), [""; 0]);
    assert_eq!(daemon.stop(), Some(0));
    tally::tell("faults: descriptors", &format!("{} tasks with no descriptor left", ids.len()));
}

/// One call on a connection that is there already.
fn ask_on(stream: &mut UnixStream, method: &str, parameters: serde_json::Value) -> serde_json::Value {
    use std::io::{Read, Write};
    let mut message = json!({ "method": method, "parameters": parameters }).to_string().into_bytes();
    message.push(0);
    stream.write_all(&message).unwrap();
    let mut reply = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte).unwrap();
        if byte == [0] {
            return serde_json::from_slice(&reply).unwrap();
        }
        reply.push(byte[0]);
    }
}
