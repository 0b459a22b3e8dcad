//! The server from outside: real sockets, raw bytes.

#[path = "support/fake_backend.rs"]
#[allow(dead_code)]
mod fake_backend;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use contentd::control::idl::INTERFACES;
use contentd::control::server::Limits;
use fake_backend::{TestServer, change, eventually};
use serde_json::{Value, json};

/// A client of raw bytes.
struct Raw {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Raw {
    fn connect(server: &TestServer) -> Self {
        let stream = UnixStream::connect(&server.path).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
        Self { stream, buffer: Vec::new() }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("it reads");
    }

    fn call(&mut self, call: &Value) {
        let mut bytes = call.to_string().into_bytes();
        bytes.push(0);
        self.send(&bytes);
    }

    /// The next reply; `None` at the end of the connection.
    fn reply(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == 0) {
                let frame: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&frame[..end]).expect("a reply is JSON"));
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no reply: {error}"),
            }
        }
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.call(&json!({"method": method, "parameters": parameters}));
        self.reply().expect("an answer")
    }
}

fn error_of(reply: &Value) -> &str {
    reply["error"].as_str().unwrap_or_default()
}

const STATUS: &str = "io.contentd.Tasks.Status";

#[test]
fn it_introduces_itself() {
    let server = TestServer::start();
    let mut raw = Raw::connect(&server);
    let info = raw.ask("org.varlink.service.GetInfo", json!({}));
    let interfaces = info["parameters"]["interfaces"].as_array().expect("a list").clone();
    assert_eq!(interfaces.len(), INTERFACES.len());
    for name in interfaces {
        let reply = raw.ask("org.varlink.service.GetInterfaceDescription", json!({"interface": name}));
        let description = reply["parameters"]["description"].as_str().expect("a text");
        assert!(description.contains(&format!("interface {}", name.as_str().expect("a text"))));
    }
    let reply = raw.ask("org.varlink.service.GetInterfaceDescription", json!({"interface": "no.such"}));
    assert_eq!(
        reply,
        json!({"error": "org.varlink.service.InterfaceNotFound", "parameters": {"interface": "no.such"}})
    );
    assert_eq!(raw.ask("io.contentd.Daemon.Ping", json!({}))["parameters"]["pid"], std::process::id());
}

#[test]
fn calls_come_in_halves_and_in_heaps() {
    let server = TestServer::start();
    let mut raw = Raw::connect(&server);
    let call = b"{\"method\":\"io.contentd.Daemon.Ping\"}\0";
    for piece in call.chunks(5) {
        raw.send(piece);
    }
    assert!(raw.reply().expect("an answer")["parameters"]["pid"].is_u64());
    raw.send(&call.repeat(500));
    for _ in 0..500 {
        assert!(raw.reply().expect("each is answered")["parameters"]["pid"].is_u64());
    }
}

#[test]
fn what_is_wrong_is_answered_and_the_connection_kept() {
    let server = TestServer::start();
    let mut raw = Raw::connect(&server);
    let cases = [
        (STATUS, json!({"task": 5}), "org.varlink.service.InvalidParameter", json!({"parameter": "task"})),
        (STATUS, json!({"task": "x", "y": 1}), "org.varlink.service.InvalidParameter", json!({"parameter": "y"})),
        (STATUS, json!({}), "org.varlink.service.InvalidParameter", json!({"parameter": "task"})),
        (STATUS, json!([]), "org.varlink.service.InvalidParameter", json!({"parameter": "parameters"})),
        ("io.contentd.Daemon.Ping", json!({"x": 1}), "org.varlink.service.InvalidParameter", json!({"parameter": "x"})),
        (
            "io.contentd.Daemon.Drain",
            json!({"x": 1}),
            "org.varlink.service.InvalidParameter",
            json!({"parameter": "x"}),
        ),
        (
            "io.contentd.Tasks.Nope",
            json!({}),
            "org.varlink.service.MethodNotFound",
            json!({"method": "io.contentd.Tasks.Nope"}),
        ),
        (
            "io.contentd.Nope.X",
            json!({}),
            "org.varlink.service.InterfaceNotFound",
            json!({"interface": "io.contentd.Nope"}),
        ),
        ("nope", json!({}), "org.varlink.service.InterfaceNotFound", json!({"interface": "nope"})),
        (STATUS, json!({"task": "gone"}), "io.contentd.Tasks.TaskNotFound", json!({"task": "gone"})),
    ];
    for (method, parameters, error, told) in cases {
        let reply = raw.ask(method, parameters.clone());
        assert_eq!(reply, json!({"error": error, "parameters": told}), "{method} {parameters}");
    }
    let reply = raw.ask("io.contentd.Tasks.Watch", json!({}));
    assert_eq!(reply, json!({"error": "org.varlink.service.ExpectedMore"}));
    let reply = raw.ask("io.contentd.Tasks.Set", json!({"task": "x", "priority": 11}));
    assert_eq!(error_of(&reply), "io.contentd.Tasks.InvalidField");
    assert_eq!(reply["parameters"]["value"], "11");
    assert!(!server.calls().iter().any(|call| call == "drain"), "a call with a wrong parameter does nothing");
    assert_eq!(raw.ask(STATUS, json!({"task": "task-x"}))["parameters"]["task"]["task_id"], "task-x");
}

#[test]
fn what_cannot_be_followed_is_answered_and_closed() {
    let server = TestServer::with(Limits { message_bytes: 1000, ..Limits::default() });
    for bytes in [&b"no json\0"[..], b"[]\0", b"\0", b"{\"method\":5}\0", &[b'x'; 1001], &[b'\xff', 0]] {
        let mut raw = Raw::connect(&server);
        raw.send(bytes);
        assert_eq!(error_of(&raw.reply().expect("an answer")), "io.contentd.Tasks.InvalidField");
        assert_eq!(raw.reply(), None, "and the end");
    }
    let mut nested = b"{\"method\":\"io.contentd.Tasks.Status\",\"parameters\":{\"task\":".to_vec();
    nested.extend([b'['; 400]);
    nested.push(0);
    let mut raw = Raw::connect(&server);
    raw.send(&nested);
    assert!(raw.reply().is_some(), "depth does no harm");
    assert!(Raw::connect(&server).ask("io.contentd.Daemon.Ping", json!({}))["parameters"]["pid"].is_u64());
}

#[test]
fn oneway_calls_are_done_and_not_answered() {
    let server = TestServer::start();
    let mut raw = Raw::connect(&server);
    raw.call(&json!({"method": STATUS, "parameters": {"task": "task-a"}, "oneway": true}));
    raw.call(&json!({"method": STATUS, "parameters": {"task": "gone"}, "oneway": true}));
    raw.call(&json!({"method": "no.such.Method", "oneway": true}));
    raw.call(&json!({"method": "io.contentd.Tasks.Watch", "oneway": true, "more": true}));
    let reply = raw.ask(STATUS, json!({"task": "task-b"}));
    assert_eq!(reply["parameters"]["task"]["task_id"], "task-b", "the first answer is to the first that wants one");
    assert_eq!(server.calls()[..2], ["status task-a", "status gone"]);
}

#[test]
fn a_batch_names_every_fault_and_goes_in_parts() {
    let server = TestServer::start();
    let mut raw = Raw::connect(&server);
    let tasks = json!([{"account": 1, "topic": ""}, {"account": "", "topic": "t", "priority": 0}]);
    let reply = raw.ask("io.contentd.Tasks.SubmitBatch", json!({"tasks": tasks}));
    assert_eq!(error_of(&reply), "io.contentd.Tasks.BatchRefused");
    assert_eq!(reply["parameters"]["count"], 3);
    let places: Vec<(u64, &str)> = reply["parameters"]["faults"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|fault| (fault["index"].as_u64().expect("a place"), fault["field"].as_str().expect("a field")))
        .collect();
    assert_eq!(places, [(0, "topic"), (1, "account"), (1, "priority")]);

    let part = |part: u32, topic: &str| json!({"batch": "b", "part": part, "tasks": [{"account": 1, "topic": topic, "key": topic}]});
    assert_eq!(raw.ask("io.contentd.Tasks.Stage", part(0, "x"))["parameters"]["staged"], 1);
    let reply = raw.ask("io.contentd.Tasks.SubmitStaged", json!({"batch": "b", "parts": 2}));
    assert_eq!(error_of(&reply), "io.contentd.Tasks.BatchIncomplete");
    assert_eq!(raw.ask("io.contentd.Tasks.Stage", part(1, "y"))["parameters"]["staged"], 2);
    let reply = raw.ask("io.contentd.Tasks.SubmitStaged", json!({"batch": "b", "parts": 2}));
    assert_eq!(reply["parameters"]["tasks"].as_array().expect("a list").len(), 2);
    let calls = server.calls();
    assert!(calls.last().expect("a call").starts_with("submit 2 of "), "one commit: {calls:?}");
}

#[test]
fn long_lists_come_in_parts_to_those_who_take_them() {
    let server = TestServer::start();
    let mut raw = Raw::connect(&server);
    let parameters = json!({"filter": {"account": "large"}, "limit": 40});
    let reply = raw.ask("io.contentd.Tasks.List", parameters.clone());
    assert_eq!(error_of(&reply), "io.contentd.Daemon.ReplyTooLarge");
    raw.call(&json!({"method": "io.contentd.Tasks.List", "parameters": parameters, "more": true}));
    let (mut count, mut replies) = (0, 0);
    loop {
        let reply = raw.reply().expect("an answer");
        count += reply["parameters"]["tasks"].as_array().expect("a list").len();
        replies += 1;
        if reply["continues"] != true {
            break;
        }
    }
    assert_eq!(count, 40);
    assert!(replies > 10, "{replies}");
}

#[test]
fn a_review_of_a_piece_that_no_reply_holds_is_answered_without_it() {
    let server = TestServer::start();
    let mut raw = Raw::connect(&server);
    for method in ["io.contentd.Content.Approve", "io.contentd.Content.Reject"] {
        let reply = raw.ask(method, json!({"content_id": fake_backend::LONG_CONTENT}));
        let content = &reply["parameters"]["content"];
        assert_eq!(content["content_id"], fake_backend::LONG_CONTENT, "{method}: what was done is no error");
        assert_eq!((&content["content"], &content["html_content"]), (&Value::Null, &Value::Null));
        assert_eq!(
            raw.ask(method, json!({"content_id": 7}))["parameters"]["content"]["images"].as_array().unwrap().len(),
            1
        );
    }
}

#[test]
fn what_was_handed_out_is_told_without_pieces_that_are_too_long() {
    let server = TestServer::start();
    let mut raw = Raw::connect(&server);
    let reply = raw.ask("io.contentd.Pool.Next", json!({"limit": fake_backend::MANY_HANDED_OUT}));
    let handed_out = reply["parameters"]["handed_out"].as_array().expect("what was handed out is no error").clone();
    assert_eq!(handed_out.len(), 3);
    for one in &handed_out {
        assert_eq!((&one["fence"], &one["content"]["content_id"]), (&json!(1), &json!(7)), "it can be answered for");
        assert_eq!((&one["content"]["content"], &one["content"]["html_content"]), (&Value::Null, &Value::Null));
    }
    let reply = raw.ask("io.contentd.Pool.Next", json!({"limit": 1}));
    assert!(reply["parameters"]["handed_out"][0]["content"]["content"].is_string(), "{reply}");
}

#[test]
fn a_watch_ends_with_its_reader_and_a_slow_reader_slows_nobody() {
    let server = TestServer::start();
    let mut quick = Raw::connect(&server);
    let mut slow = Raw::connect(&server);
    for raw in [&mut quick, &mut slow] {
        raw.call(&json!({"method": "io.contentd.Tasks.Watch", "more": true}));
    }
    let watchers = || server.backend.watchers.lock().expect("no test panics with it");
    eventually("both watch", || watchers().len() == 2);
    // The slow one never reads: its socket fills, then its queue, and it is dropped. The quick one misses nothing.
    let mut sent = 0;
    while watchers().len() == 2 {
        assert!(sent < 100_000, "the slow one is never dropped");
        watchers().retain(|watcher| watcher.send(change("task-a")).is_ok());
        sent += 1;
        let reply = quick.reply().expect("a change");
        assert_eq!((&reply["continues"], &reply["parameters"]["event"]), (&json!(true), &json!("accepted")));
    }
    let mut last = Value::Null;
    for _ in 0..sent + 10 {
        match slow.reply() {
            Some(reply) if reply["continues"] == true => {}
            Some(reply) => {
                last = reply;
                break;
            }
            None => break,
        }
    }
    assert_eq!(error_of(&last), "io.contentd.Tasks.WatcherTooSlow", "it is told why");
    assert!(slow.ask("io.contentd.Daemon.Ping", json!({}))["parameters"]["pid"].is_u64(), "and may go on");
    drop(quick);
    eventually("the quick one's feed ends with it", || {
        let mut open = watchers();
        open.retain(|watcher| watcher.send(change("task-b")).is_ok());
        open.is_empty()
    });
}

#[test]
fn a_wait_ends_with_its_caller_but_not_when_the_caller_only_stops_sending() {
    let server = TestServer::start();
    server.backend.is_waiting_for_ever.store(true, Ordering::SeqCst);
    let mut raw = Raw::connect(&server);
    raw.call(&json!({"method": "io.contentd.Tasks.Wait", "parameters": {"tasks": ["task-a"]}, "more": true}));
    assert_eq!(raw.reply().expect("a change")["continues"], true);
    raw.stream.shutdown(std::net::Shutdown::Write).expect("half closed");
    let mut other = Raw::connect(&server);
    assert!(other.ask("io.contentd.Daemon.Ping", json!({}))["parameters"]["pid"].is_u64());
    assert_eq!(server.backend.readers_gone.load(Ordering::SeqCst), 0);
    drop(raw);
    eventually("the wait is dropped", || server.backend.readers_gone.load(Ordering::SeqCst) == 1);
}

#[test]
fn a_wait_without_more_gets_the_last_answer_alone() {
    let server = TestServer::start();
    let mut raw = Raw::connect(&server);
    let reply = raw.ask("io.contentd.Tasks.Wait", json!({"tasks": ["task-done"], "timeout": "5m"}));
    assert_eq!(reply["parameters"]["changed"], Value::Null);
    assert_eq!(reply["parameters"]["tasks"][0]["state"], "completed");
    assert_eq!(reply.get("continues"), None);
}

#[test]
fn a_call_goes_on_when_its_caller_has_gone() {
    let server = TestServer::start();
    let mut raw = Raw::connect(&server);
    raw.call(&json!({"method": STATUS, "parameters": {"task": "slow"}}));
    eventually("it has begun", || server.calls().len() == 1);
    drop(raw);
    let mut other = Raw::connect(&server);
    assert!(other.ask("io.contentd.Daemon.Ping", json!({}))["parameters"]["pid"].is_u64(), "others are served");
    server.backend.release.notify_one();
    eventually("it has ended", || server.backend.slow_done.load(Ordering::SeqCst) == 1);
}

#[test]
fn a_fault_of_the_backend_costs_one_connection() {
    let server = TestServer::start();
    let mut raw = Raw::connect(&server);
    raw.call(&json!({"method": STATUS, "parameters": {"task": "panic"}}));
    assert_eq!(raw.reply(), None);
    for _ in 0..100 {
        let mut other = Raw::connect(&server);
        assert!(other.ask("io.contentd.Daemon.Ping", json!({}))["parameters"]["pid"].is_u64());
    }
}

#[test]
fn connections_are_limited_by_user_and_given_back() {
    let server = TestServer::with(Limits { connections_per_user: 3, ..Limits::default() });
    let mut held: Vec<Raw> = (0..3).map(|_| Raw::connect(&server)).collect();
    for raw in &mut held {
        assert!(raw.ask("io.contentd.Daemon.Ping", json!({}))["parameters"]["pid"].is_u64());
    }
    let mut one_more = Raw::connect(&server);
    let reply = one_more.reply().expect("it is told");
    assert_eq!(reply, json!({"error": "io.contentd.Daemon.TooManyConnections", "parameters": {"limit": 3}}));
    assert_eq!(one_more.reply(), None);
    held.pop();
    eventually("there is room again", || {
        let mut raw = Raw::connect(&server);
        raw.stream.write_all(b"{\"method\":\"io.contentd.Daemon.Ping\"}\0").is_ok()
            && raw.reply().is_some_and(|reply| reply["parameters"]["pid"].is_u64())
    });
}

#[test]
fn silence_and_half_messages_are_not_waited_for_but_watches_are() {
    let short = Duration::from_millis(100);
    let server = TestServer::with(Limits { idle: short, message_time: short, ..Limits::default() });
    let mut watch = Raw::connect(&server);
    watch.call(&json!({"method": "io.contentd.Tasks.Watch", "more": true}));
    assert_eq!(Raw::connect(&server).reply(), None, "silence");
    let mut half = Raw::connect(&server);
    half.send(b"{\"method\":");
    assert_eq!(half.reply(), None, "half a message");
    let watchers = || server.backend.watchers.lock().expect("no test panics with it");
    eventually("the watch is open", || watchers().len() == 1);
    watchers()[0].send(change("task-a")).expect("a watch is not idle");
    assert_eq!(watch.reply().expect("a change")["parameters"]["task"]["task_id"], "task-a");
}

#[test]
fn a_drain_ends_calls_in_progress_and_streams() {
    let server = TestServer::start();
    let mut slow = Raw::connect(&server);
    slow.call(&json!({"method": STATUS, "parameters": {"task": "slow"}}));
    slow.call(&json!({"method": STATUS, "parameters": {"task": "task-a"}}));
    let mut watch = Raw::connect(&server);
    watch.call(&json!({"method": "io.contentd.Tasks.Watch", "more": true}));
    let mut new = Raw::connect(&server);
    let mut idle = Raw::connect(&server);
    // Connections are let in one after the other.
    assert!(idle.ask("io.contentd.Daemon.Ping", json!({}))["parameters"]["pid"].is_u64());
    eventually("all are under way", || server.calls().len() == 2);
    server.ask_to_stop();
    assert_eq!(error_of(&watch.reply().expect("it is told")), "io.contentd.Daemon.Draining");
    assert_eq!(idle.reply(), None);
    new.call(&json!({"method": "io.contentd.Daemon.Ping"}));
    let told = new.reply().expect("who was let in before is answered");
    assert_eq!(error_of(&told), "io.contentd.Daemon.Draining");
    server.backend.release.notify_one();
    assert_eq!(slow.reply().expect("the call in progress ends")["parameters"]["task"]["task_id"], "slow");
    assert_eq!(error_of(&slow.reply().expect("the next is refused")), "io.contentd.Daemon.Draining");
    assert_eq!(slow.reply(), None);
    let path = server.path.clone();
    assert!(server.stop(), "everything ended by itself");
    assert!(!path.exists(), "the socket is removed");
}
