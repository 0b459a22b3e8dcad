//! Clients that vanish in the middle of each verb, come by the thousand, send half of everything or read nothing: the others are
//! served, memory stays bounded, and nothing is half done. The server alone is tried in `control_server.rs`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::hostile::peak_memory;
use crate::live::{Daemon, Home, PATIENCE, call, eventually, is_answered_by};
use crate::{counting, promises, tally};

fn message(method: &str, parameters: &Value, more: bool) -> Vec<u8> {
    let mut call = json!({ "method": method, "parameters": parameters });
    if more {
        call["more"] = json!(true);
    }
    let mut bytes = call.to_string().into_bytes();
    bytes.push(0);
    bytes
}

fn connect(home: &Home) -> UnixStream {
    let stream = UnixStream::connect(home.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Every method that the daemon describes.
fn methods(daemon: &Daemon<'_>) -> Vec<String> {
    let interfaces = daemon.ask("org.varlink.service.GetInfo", json!({}))["interfaces"].clone();
    let of = |interface: &Value| {
        let described = daemon.ask("org.varlink.service.GetInterfaceDescription", json!({ "interface": interface }));
        let text = described["description"].as_str().unwrap().to_owned();
        let interface = interface.as_str().unwrap().to_owned();
        let names = text.lines().filter_map(|line| line.strip_prefix("method ")?.split('(').next().map(str::to_owned));
        names.map(|name| format!("{interface}.{name}")).collect::<Vec<_>>()
    };
    interfaces.as_array().unwrap().iter().flat_map(of).collect()
}

/// What makes a method do something; methods that need nothing get nothing.
fn parameters(method: &str, round: usize, ids: &[String], home: &Home) -> Value {
    let task = |n: usize| json!({ "account": "blog", "topic": format!("{round}-{n}"), "key": format!("{method}-{round}-{n}"), "delay": "1h" });
    let short = method.strip_prefix("io.contentd.").unwrap_or(method);
    match short {
        "Tasks.Submit" => json!({ "task": task(0) }),
        "Tasks.SubmitBatch" => json!({ "tasks": (0..50).map(task).collect::<Vec<_>>() }),
        "Tasks.Stage" => {
            json!({ "batch": format!("b{round}"), "part": 0, "tasks": (0..50).map(task).collect::<Vec<_>>() })
        }
        "Tasks.SubmitStaged" => json!({ "batch": format!("b{round}"), "parts": 1 }),
        "Tasks.Cancel" | "Tasks.Release" => json!({ "tasks": [ids[1 + round]] }),
        "Pool.Release" => json!({ "all": true }),
        "Tasks.Retry" => json!({ "tasks": [ids[1 + round]] }),
        "Tasks.Correct" => json!({ "task": ids[5], "state": "failed", "reason": "a test" }),
        "Tasks.Settle" => json!({ "task": ids[6], "fail": true, "reason": "a test" }),
        "Tasks.Set" => json!({ "task": ids[7], "priority": 9 }),
        "Tasks.Cleanup" => json!({ "days": 1 }),
        "Tasks.Wait" => json!({ "tasks": [ids[7]], "timeout": "1h" }),
        "Tasks.Status" | "Tasks.Show" | "Tasks.History" | "Tasks.Log" | "Tasks.Result" | "Tasks.Poll" => {
            json!({ "task": ids[0] })
        }
        "Content.Get" | "Content.Reject" | "Content.Approve" => json!({ "content_id": 1 }),
        "Accounts.Add" => json!({ "name": format!("account {round}") }),
        "Accounts.Get" => json!({ "account": "blog" }),
        "Daemon.Pause" | "Daemon.Resume" => json!({ "generator": "runs", "reason": "a test" }),
        "Daemon.TryGenerator" => json!({ "generator": "counted" }),
        "Daemon.Backup" => json!({ "file": home.path(&format!("backup-{round}.db")).display().to_string() }),
        "org.varlink.service.GetInterfaceDescription" => json!({ "interface": "io.contentd.Tasks" }),
        _ => json!({}),
    }
}

#[test]
fn clients_that_vanish_in_the_middle_of_each_verb_leave_nothing_half_done() {
    let home = counting::home();
    let mut daemon = home.start();
    daemon.add_account("blog");
    let piece = daemon.submit(json!({ "account": "blog", "topic": "piece", "generator": "counted" }));
    daemon.until_state(&piece, "completed");
    let mut ids = vec![piece];
    ids.extend(
        (0..7).map(|n| daemon.submit(json!({ "account": "blog", "topic": format!("waits {n}"), "delay": "1h" }))),
    );
    let methods = methods(&daemon);
    assert!(methods.len() > 40, "{methods:?}");
    let mut vanished = 0;
    let vanish = |method: &str, round: usize| {
        let bytes = message(method, &parameters(method, round, &ids, &home), round == 3);
        let mut stream = connect(&home);
        match round {
            // In the middle of the call.
            0 => stream.write_all(&bytes[..bytes.len() / 2]).unwrap(),
            // Right after it.
            1 => stream.write_all(&bytes).unwrap(),
            // In the middle of the answer. A watch and a wait answer nothing yet, or refuse: both are an answer.
            _ => {
                stream.write_all(&bytes).unwrap();
                stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                let _ = stream.read(&mut [0]);
            }
        }
    };
    let (ends, others): (Vec<_>, Vec<_>) =
        methods.iter().partition(|method| method.as_str() == "io.contentd.Daemon.Drain");
    for method in &others {
        for round in 0..4 {
            vanish(method, round);
            vanished += 1;
        }
        assert!(is_answered_by(&home.socket(), daemon.pid()), "{method}\n{}", home.log());
    }
    // What was asked for is done whole or not at all, and the same key asks for the same.
    for method in ["io.contentd.Tasks.Submit", "io.contentd.Tasks.SubmitBatch", "io.contentd.Tasks.SubmitStaged"] {
        for round in 0..4 {
            let made = if method.ends_with("Staged") { "io.contentd.Tasks.Stage" } else { method };
            let sql = format!("SELECT count(*) || '' AS line FROM tasks WHERE key LIKE '{made}-{round}-%'");
            let count = promises::count(&home.database(), &sql);
            let whole = if method.ends_with("Submit") { 1 } else { 50 };
            assert!(count == 0 || count == whole, "{method} in round {round}: {count}");
            if round == 1 && !method.ends_with("Staged") {
                assert_eq!(count, whole, "a call that arrived is carried out");
            }
        }
    }
    let again = daemon.ask("io.contentd.Tasks.Submit", parameters("io.contentd.Tasks.Submit", 1, &ids, &home));
    assert_eq!(again["was_known"], true);
    assert!(!home.log().contains("panicked"), "{}", home.log());
    assert_eq!(promises::broken(&home.database()), [""; 0]);
    assert_eq!(ends.len(), 1);
    vanish(ends[0], 0);
    assert!(is_answered_by(&home.socket(), daemon.pid()), "half a call drains nothing");
    vanish(ends[0], 1);
    assert_eq!(daemon.ended().code(), Some(0), "{}", home.log());
    tally::tell(
        "faults: vanishing clients",
        &format!("{} clients vanished in the middle of {} methods", vanished + 2, methods.len()),
    );
}

/// How many connections this process may have at once.
fn raise_own_limit() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    limit.current.map_or(usize::MAX, |current| usize::try_from(current).unwrap())
}

fn rest_of(mut stream: UnixStream) -> String {
    let mut text = Vec::new();
    // A connection that was refused may be reset behind the refusal.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn is_served(stream: &mut UnixStream) -> bool {
    let mut byte = [1];
    stream.write_all(&message("io.contentd.Daemon.Ping", &json!({}), false)).unwrap();
    while byte != [0] {
        if stream.read(&mut byte).unwrap() == 0 {
            return false;
        }
    }
    true
}

#[test]
fn ten_thousand_connections_are_refused_above_the_limit_and_the_others_are_served() {
    const CONNECTIONS: usize = 10_000;
    let at_once = raise_own_limit().saturating_sub(1_000).min(CONNECTIONS);
    assert!(at_once >= 1_000, "the limit of open files allows {at_once} connections: raise it (ulimit -n)");
    let home = counting::home();
    let daemon = home.start();
    daemon.add_account("blog");
    let before = peak_memory(daemon.pid());
    let (mut served, mut refused) = (Vec::new(), 0);
    let mut left = CONNECTIONS;
    while left > 0 {
        let part = left.min(at_once);
        left -= part;
        let connected: Vec<UnixStream> = (0..part).map(|_| connect(&home)).collect();
        for mut stream in connected {
            // A place among those served is kept; whoever has none is told so.
            if served.len() < 64 {
                assert!(is_served(&mut stream));
                served.push(stream);
            } else {
                let told = rest_of(stream);
                assert!(told.contains("io.contentd.Daemon.TooManyConnections"), "{told:?}");
                refused += 1;
            }
        }
        assert!(served.iter_mut().all(is_served), "who is connected is served");
    }
    assert_eq!(refused, CONNECTIONS - 64);
    served.clear();
    eventually("there is room again", || is_answered_by(&home.socket(), daemon.pid()).then_some(()));
    let id = daemon.submit(json!({ "account": "blog", "topic": "after", "generator": "counted" }));
    daemon.until_state(&id, "completed");
    let grown = peak_memory(daemon.pid()) - before;
    assert!(grown < 64 << 20, "{} MiB", grown >> 20);
    tally::tell("faults: connections", &format!("{CONNECTIONS} connections at once, {refused} of them refused"));
}

#[test]
fn half_messages_floods_and_readers_that_read_nothing_are_bounded_and_others_are_served() {
    let home = counting::home();
    let daemon = home.start();
    daemon.add_account("blog");
    for n in 0..10 {
        let requirements = "r".repeat(100_000);
        daemon.submit(
            json!({ "account": "blog", "topic": format!("t{n}"), "delay": "1h", "requirements": requirements }),
        );
    }
    let before = peak_memory(daemon.pid());
    let mut clients = Vec::new();
    // The longest message that is taken is 4 MiB: almost so much, and never its end.
    let half = vec![b' '; (4 << 20) - 1024];
    for _ in 0..30 {
        let stream = connect(&home);
        stream.set_nonblocking(true).unwrap();
        clients.push(stream);
    }
    let mut sent = vec![0; clients.len()];
    let mut rounds_without = 0;
    while rounds_without < 100 {
        let mut is_more = false;
        for (client, sent) in clients.iter_mut().zip(&mut sent) {
            if *sent < half.len()
                && let Ok(count) = client.write(&half[*sent..])
            {
                *sent += count;
                is_more = true;
            }
        }
        rounds_without = if is_more { 0 } else { rounds_without + 1 };
        if !is_more {
            std::thread::sleep(Duration::from_millis(2));
        }
        if sent.iter().all(|sent| *sent == half.len()) {
            break;
        }
    }
    assert!(is_answered_by(&home.socket(), daemon.pid()), "half messages hold nobody up");
    let halves = peak_memory(daemon.pid()) - before;
    assert!(halves < 96 << 20, "{} MiB for half messages", halves >> 20);
    // Calls by the thousand whose answers nobody reads: large ones, and small ones.
    for method in ["io.contentd.Tasks.List", "io.contentd.Daemon.Ping"] {
        for _ in 0..8 {
            let mut stream = connect(&home);
            stream.set_nonblocking(true).unwrap();
            let calls = message(method, &json!({}), false).repeat(2_000);
            // As much as fits; the daemon does not read on before its answers are taken.
            let _ = stream.write(&calls);
            clients.push(stream);
        }
    }
    for _ in 0..50 {
        assert!(is_answered_by(&home.socket(), daemon.pid()), "nor do those who read nothing");
    }
    let id = daemon.submit(json!({ "account": "blog", "topic": "served", "generator": "counted" }));
    daemon.until_state(&id, "completed");
    let grown = peak_memory(daemon.pid()) - before;
    assert!(grown < 128 << 20, "{} MiB", grown >> 20);
    drop(clients);
    let ping = call(&home.socket(), "io.contentd.Daemon.Ping", json!({}));
    assert!(ping.unwrap().is_ok());
    assert_eq!(promises::broken(&home.database()), [""; 0]);
}
