//! Roles over the real server: every role against every method, by credentials that the test gives in the kernel's place.
//!
//! The table here was written by hand from what the roles are for, and not from the program's: the two must agree. What the
//! kernel itself says of a caller is shown on a real systemd with real users (`scripts/test-systemd roles`).

#[path = "support/fake_backend.rs"]
#[allow(dead_code)]
mod fake_backend;
#[path = "support/live.rs"]
mod live;
#[path = "support/tally.rs"]
mod tally;

use std::process::Command;
use std::sync::{Arc, Mutex};

use contentd::control::api::{ApiError, PingReply};
use contentd::control::client::{Client, ClientError};
use contentd::control::idl::INTERFACES;
use contentd::control::server::{Access, Limits};
use contentd::roles::{Credentials, Grants, Role, Unnamed};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use fake_backend::{TestServer, eventually};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Who may call what besides an operator, who may call everything: c(allback), o(bserver), s(ubmitter), r(eviewer), p(ublisher); `*` is
/// whoever can connect, `-` nobody else. With parameters that the fake backend answers well.
const MATRIX: &[(&str, &str, &str)] = &[
    ("org.varlink.service.GetInfo", "*", "{}"),
    ("org.varlink.service.GetInterfaceDescription", "*", r#"{"interface": "io.contentd.Pool"}"#),
    ("io.contentd.Daemon.Ping", "*", "{}"),
    ("io.contentd.Daemon.GetVersion", "*", "{}"),
    ("io.contentd.Daemon.GetStatus", "osrp", "{}"),
    ("io.contentd.Daemon.Workers", "osrp", "{}"),
    ("io.contentd.Daemon.Metrics", "osrp", "{}"),
    ("io.contentd.Daemon.Health", "osrp", "{}"),
    ("io.contentd.Daemon.Notices", "osrp", "{}"),
    ("io.contentd.Daemon.Notice", "osrp", r#"{"notice": "n"}"#),
    ("io.contentd.Daemon.TestHook", "-", r#"{"hook": "mail"}"#),
    ("io.contentd.Daemon.Acknowledge", "-", r#"{"alarm": "disk"}"#),
    ("io.contentd.Daemon.Silence", "-", "{}"),
    ("io.contentd.Daemon.Pause", "-", "{}"),
    ("io.contentd.Daemon.Resume", "-", "{}"),
    ("io.contentd.Daemon.GetConfig", "-", "{}"),
    ("io.contentd.Daemon.Drain", "-", "{}"),
    ("io.contentd.Daemon.Reload", "-", "{}"),
    ("io.contentd.Daemon.Doctor", "-", "{}"),
    ("io.contentd.Daemon.TryGenerator", "-", r#"{"generator": "g"}"#),
    ("io.contentd.Daemon.Backup", "-", "{}"),
    ("io.contentd.Accounts.List", "osrp", "{}"),
    ("io.contentd.Accounts.Get", "osrp", r#"{"account": "1"}"#),
    ("io.contentd.Accounts.Add", "-", r#"{"name": "n"}"#),
    ("io.contentd.Accounts.Set", "-", r#"{"account": "1", "is_enabled": false}"#),
    ("io.contentd.Accounts.Import", "-", r#"{"accounts": [{"name": "n"}]}"#),
    ("io.contentd.Pool.List", "osrp", "{}"),
    ("io.contentd.Pool.Show", "p", r#"{"pool_id": 1}"#),
    ("io.contentd.Pool.Next", "p", "{}"),
    ("io.contentd.Pool.Done", "p", r#"{"pool_id": 1, "fence": 1}"#),
    // Without a fence they say of a held piece whether it is out, as a release does.
    ("io.contentd.Pool.Done", "-", r#"{"pool_id": 1, "reason": "r"}"#),
    ("io.contentd.Pool.Fail", "p", r#"{"pool_id": 1, "fence": 1, "error": "e"}"#),
    ("io.contentd.Pool.Fail", "-", r#"{"pool_id": 1, "reason": "r"}"#),
    ("io.contentd.Pool.Renew", "p", r#"{"pool_id": 1, "fence": 1}"#),
    ("io.contentd.Pool.Schedule", "p", r#"{"pool_id": 1}"#),
    ("io.contentd.Pool.Remove", "p", r#"{"pool_id": 1}"#),
    ("io.contentd.Content.List", "srp", "{}"),
    ("io.contentd.Content.Get", "srp", r#"{"content_id": 7}"#),
    ("io.contentd.Content.Approve", "r", r#"{"content_id": 7}"#),
    ("io.contentd.Content.Reject", "r", r#"{"content_id": 7}"#),
    ("io.contentd.Content.Edit", "r", r#"{"content_id": 7, "content_hash": "h", "content": "c"}"#),
    ("io.contentd.Content.Versions", "srp", r#"{"content_id": 7}"#),
    ("io.contentd.Content.Images", "srp", r#"{"content_id": 7}"#),
    // Takes both a reviewer and a submitter, so neither alone: `writing_again_takes_both_roles`.
    ("io.contentd.Content.WriteAgain", "-", r#"{"content_id": 7, "remark": "r"}"#),
    ("io.contentd.Tasks.Status", "osrp", r#"{"task": "task-done"}"#),
    ("io.contentd.Tasks.History", "osrp", r#"{"task": "task-done"}"#),
    ("io.contentd.Tasks.List", "osrp", "{}"),
    ("io.contentd.Tasks.Queue", "osrp", "{}"),
    ("io.contentd.Tasks.Statistics", "osrp", "{}"),
    ("io.contentd.Tasks.Summary", "osrp", "{}"),
    ("io.contentd.Tasks.Wait", "osrp", r#"{"tasks": ["task-done"]}"#),
    ("io.contentd.Tasks.Watch", "osrp", "{}"),
    ("io.contentd.Tasks.Show", "srp", r#"{"task": "task-done"}"#),
    ("io.contentd.Tasks.Log", "srp", r#"{"task": "task-done"}"#),
    ("io.contentd.Tasks.Result", "srp", r#"{"task": "task-done"}"#),
    ("io.contentd.Tasks.Submit", "s", r#"{"task": {"account": "1", "topic": "t"}}"#),
    ("io.contentd.Tasks.SubmitBatch", "s", r#"{"tasks": [{"account": "1", "topic": "t"}]}"#),
    ("io.contentd.Tasks.Stage", "s", r#"{"batch": "b", "part": 0, "tasks": [{"account": "1", "topic": "t"}]}"#),
    ("io.contentd.Tasks.SubmitStaged", "s", r#"{"batch": "b", "parts": 1}"#),
    ("io.contentd.Tasks.Cancel", "s", r#"{"tasks": ["task-a"]}"#),
    ("io.contentd.Tasks.Retry", "s", r#"{"tasks": ["task-a"]}"#),
    // Says that a job which may be alive is nobody's: that is not for who spends the money.
    ("io.contentd.Tasks.Retry", "-", r#"{"tasks": ["task-a"], "abandon": true, "reason": "r"}"#),
    ("io.contentd.Tasks.Set", "s", r#"{"task": "task-a", "priority": 5}"#),
    ("io.contentd.Tasks.Poll", "s", r#"{"task": "task-done"}"#),
    ("io.contentd.Tasks.Report", "cs", r#"{"key": "000102030405060708090a0b0c0d0e0f"}"#),
    ("io.contentd.Tasks.PollAll", "-", "{}"),
    ("io.contentd.Tasks.Correct", "-", r#"{"task": "task-a", "state": "failed", "reason": "r"}"#),
    ("io.contentd.Tasks.Settle", "-", r#"{"task": "task-a", "absent": true}"#),
    ("io.contentd.Tasks.Release", "-", r#"{"tasks": ["task-a"]}"#),
    ("io.contentd.Pool.Release", "-", r#"{"pool_ids": [1]}"#),
    ("io.contentd.Tasks.Cleanup", "-", "{}"),
    ("io.contentd.Schedules.List", "osrp", "{}"),
    ("io.contentd.Schedules.Get", "osrp", r#"{"schedule": "s"}"#),
    ("io.contentd.Schedules.History", "osrp", r#"{"schedule": "s"}"#),
    (
        "io.contentd.Schedules.Add",
        "-",
        r#"{"schedule": {"name": "s", "every": "1h", "accounts": ["1"], "list": [{"topic": "t"}]}}"#,
    ),
    ("io.contentd.Schedules.Run", "-", r#"{"schedule": "s"}"#),
    ("io.contentd.Schedules.Pause", "-", r#"{"schedule": "s"}"#),
    ("io.contentd.Schedules.Resume", "-", r#"{"schedule": "s"}"#),
    ("io.contentd.Schedules.Remove", "-", r#"{"schedule": "s"}"#),
];

/// The daemon's own user in these tests: nobody who runs them.
const DAEMON: u32 = 4_000_000;
/// Users with one role each by their own number, in the order of the roles, and one with none.
const FIRST_USER: u32 = 4_000_100;
const STRANGER: u32 = 4_000_200;
/// The second of them.
const OBSERVER: u32 = FIRST_USER + Role::Observer as u32;

/// The group whose members have the role.
fn group_of(role: Role) -> u32 {
    4_000_300 + role as u32
}

fn grants() -> Grants {
    let mut grants = Grants::closed(DAEMON, Unnamed::default());
    for (role, uid) in Role::ALL.into_iter().zip(FIRST_USER..) {
        grants.grant_user(uid, role);
        grants.grant_group(group_of(role), role);
    }
    grants
}

fn user(uid: u32) -> Credentials {
    Credentials { uid, gid: uid, pid: None, groups: Some(vec![uid]) }
}

/// A server whose next caller is who the test says.
struct Rig {
    server: TestServer,
    next: Arc<Mutex<Credentials>>,
    grants: watch::Sender<Arc<Grants>>,
}

impl Rig {
    fn start() -> Self {
        let next = Arc::new(Mutex::new(user(STRANGER)));
        let (sender, receiver) = watch::channel(Arc::new(grants()));
        let said = Arc::clone(&next);
        let credentials = Arc::new(move |_: &_| Ok(said.lock().expect("no test panics with it").clone()));
        let server = TestServer::for_callers(Limits::default(), Access { grants: receiver, credentials });
        Self { server, next, grants: sender }
    }

    /// A connection of somebody. The server has asked who it is when this returns.
    fn connect(&self, who: &Credentials) -> Client {
        *self.next.lock().expect("no test panics with it") = who.clone();
        let mut client = Client::connect(std::slice::from_ref(&self.server.path)).expect("it listens");
        let pong: PingReply = client.call("io.contentd.Daemon.Ping", &json!({})).expect("everybody may");
        assert!(pong.caller.starts_with(&format!("{}:", who.uid)), "{}", pong.caller);
        client
    }
}

/// What a call came to: none where it was let through.
fn denial(client: &mut Client, method: &str, parameters: &str) -> Option<ApiError> {
    let parameters: Value = serde_json::from_str(parameters).expect("JSON");
    match client.call::<_, Value>(method, &parameters) {
        Err(ClientError::Refused(error @ ApiError::PermissionDenied { .. })) => Some(error),
        Ok(_) | Err(ClientError::Refused(_)) => None,
        Err(error) => panic!("{method}: {error}"),
    }
}

#[test]
fn every_role_may_call_exactly_what_the_table_says() {
    let declared: usize = INTERFACES.iter().map(|interface| interface.description.matches("\nmethod ").count()).sum();
    let mut methods: Vec<&str> = MATRIX.iter().map(|(method, ..)| *method).collect();
    methods.dedup();
    assert_eq!(declared, methods.len(), "every method of the interfaces stands in the table");
    let rig = Rig::start();
    let mut callers: Vec<(Credentials, Option<Role>)> =
        vec![(user(STRANGER), None), (user(DAEMON), Some(Role::Operator))];
    callers.push((Credentials { groups: Some(vec![]), ..user(0) }, Some(Role::Operator)));
    // Whom the kernel does not tell in full, or cannot name, is nobody, whoever it is otherwise.
    callers.push((Credentials { groups: None, ..user(0) }, None));
    callers.push((Credentials { gid: group_of(Role::Operator), ..user(65534) }, None));
    for (role, uid) in Role::ALL.into_iter().zip(FIRST_USER..) {
        callers.push((user(uid), Some(role)));
        callers.push((Credentials { groups: Some(vec![7, group_of(role)]), ..user(STRANGER) }, Some(role)));
        callers.push((Credentials { gid: group_of(role), ..user(STRANGER) }, Some(role)));
    }
    let (mut allowed, mut denied) = (0, 0);
    for (who, role) in &callers {
        let mut client = rig.connect(who);
        for (method, may, parameters) in MATRIX {
            let is_allowed =
                *may == "*" || role.is_some_and(|role| role == Role::Operator || may.contains(&role.as_str()[..1]));
            let before = rig.server.calls().len();
            match denial(&mut client, method, parameters) {
                None => assert!(is_allowed, "{role:?} {who:?} could call {method}"),
                Some(error) => {
                    assert!(!is_allowed, "{role:?} {who:?} could not call {method}: {error}");
                    assert_eq!(rig.server.calls().len(), before, "{method} did nothing");
                    assert_names_everything(&error, method, who, *role);
                }
            }
            *(if is_allowed { &mut allowed } else { &mut denied }) += 1;
        }
    }
    let tried = allowed + denied;
    assert_eq!(tried, callers.len() * MATRIX.len());
    tally::tell("roles", &format!("{tried} calls: {} callers, each method; {denied} denied", callers.len()));
}

#[test]
fn who_may_not_read_pieces_sees_no_titles_in_the_pool() {
    let rig = Rig::start();
    for role in Role::ALL.into_iter().filter(|role| *role != Role::Callback) {
        let mut client = rig.connect(&user(FIRST_USER + role as u32));
        let reply: Value = client.call("io.contentd.Pool.List", &json!({})).expect("they may see the pool");
        let entry = &reply["entries"][0];
        assert_eq!((entry["title"].is_null(), &entry["account"]), (role == Role::Observer, &json!("blog")), "{role}");
    }
}

#[test]
fn writing_again_takes_both_roles() {
    let rig = Rig::start();
    let again = ("io.contentd.Content.WriteAgain", r#"{"content_id": 7, "remark": "r"}"#);
    let with = |roles: &[Role]| {
        let groups = roles.iter().map(|role| group_of(*role)).collect();
        Credentials { groups: Some(groups), ..user(STRANGER) }
    };
    for (roles, missing) in [
        (vec![Role::Reviewer], "submitter"),
        (vec![Role::Submitter, Role::Publisher], "reviewer"),
        (vec![Role::Observer], "submitter"),
    ] {
        let denial = denial(&mut rig.connect(&with(&roles)), again.0, again.1);
        let Some(ApiError::PermissionDenied { needed, cure, .. }) = denial else { panic!("{roles:?} could") };
        assert_eq!(needed[0], missing, "{roles:?}");
        assert!(cure.contains(&format!("roles.{missing}")), "{cure}");
    }
    assert_eq!(denial(&mut rig.connect(&with(&[Role::Reviewer, Role::Submitter])), again.0, again.1), None);
    assert_eq!(rig.server.calls(), ["again \"r\""]);
}

/// The refusal says who, what, which role and the cure.
fn assert_names_everything(error: &ApiError, method: &str, who: &Credentials, role: Option<Role>) {
    let ApiError::PermissionDenied { method: named, caller, roles, needed, cure } = error else {
        panic!("another error: {error}")
    };
    assert_eq!(named, method);
    assert!(caller.starts_with(&format!("{}:", who.uid)), "{caller}");
    assert_eq!(roles.first().map(String::as_str), role.map(Role::as_str));
    assert_eq!(needed.last().map(String::as_str), Some("operator"));
    let is_nameless = who.groups.is_none() || who.uid == 65534;
    assert_eq!(needed.iter().any(|role| cure.contains(&format!("roles.{role}"))), !is_nameless, "{cure}");
    let message = error.message();
    assert!(message.contains(method) && message.contains(caller) && message.contains(cure), "{message}");
}

#[test]
fn what_does_not_exist_is_not_found_whoever_asks() {
    let rig = Rig::start();
    for who in [user(STRANGER), user(DAEMON)] {
        let mut client = rig.connect(&who);
        for (method, error) in [
            ("io.contentd.Tasks.Nope", "org.varlink.service.MethodNotFound"),
            ("io.contentd.Nope.Nope", "org.varlink.service.InterfaceNotFound"),
            ("nope", "org.varlink.service.InterfaceNotFound"),
        ] {
            match client.call::<_, Value>(method, &json!({})) {
                Err(ClientError::Refused(refused)) => assert_eq!(refused.name(), error),
                other => panic!("{method}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_call_without_a_reply_is_judged_too() {
    let rig = Rig::start();
    *rig.next.lock().expect("no test panics with it") = user(STRANGER);
    let mut stream = std::os::unix::net::UnixStream::connect(&rig.server.path).expect("it listens");
    std::io::Write::write_all(&mut stream, b"{\"method\":\"io.contentd.Daemon.Drain\",\"oneway\":true}\0")
        .expect("sent");
    // The next answer comes after it.
    std::io::Write::write_all(&mut stream, b"{\"method\":\"io.contentd.Daemon.Ping\"}\0").expect("sent");
    std::io::Read::read(&mut stream, &mut [0; 256]).expect("an answer");
    assert_eq!(rig.server.calls(), Vec::<String>::new());
}

#[test]
fn a_role_that_is_taken_away_ends_what_it_had_begun() {
    let rig = Rig::start();
    let mut client = rig.connect(&user(OBSERVER));
    let mut watching = rig.connect(&user(OBSERVER));
    let watcher = std::thread::spawn(move || {
        watching.call_more::<_, Value, ClientError>("io.contentd.Tasks.Watch", &json!({}), None, |_| {
            Ok(std::ops::ControlFlow::Continue(()))
        })
    });
    eventually("somebody watches", || !rig.server.backend.watchers.lock().expect("no test panics with it").is_empty());
    assert!(denial(&mut client, "io.contentd.Tasks.List", "{}").is_none());
    // What concerns others ends nothing.
    let mut others = grants();
    others.grant_user(STRANGER, Role::Observer);
    rig.grants.send_replace(Arc::new(others));
    assert!(denial(&mut client, "io.contentd.Tasks.List", "{}").is_none());
    assert!(!watcher.is_finished());
    rig.grants.send_replace(Arc::new(Grants::closed(DAEMON, Unnamed::default())));
    assert!(denial(&mut client, "io.contentd.Tasks.List", "{}").is_some(), "the same connection, at once");
    let ended = watcher.join().expect("no panic").expect_err("the watch ends");
    assert!(matches!(ended, ClientError::Refused(ApiError::PermissionDenied { .. })), "{ended}");
}

fn contentctl(server: &TestServer, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contentctl"));
    command.env_clear().arg("--socket").arg(&server.path).args(arguments);
    let output = command.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn contentctl_says_what_is_lacking_and_shows_ones_own_roles() {
    let rig = Rig::start();
    *rig.next.lock().expect("no test panics with it") = user(OBSERVER);
    let (code, out, err) = contentctl(&rig.server, &["pause"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    for part in ["io.contentd.Daemon.Pause", "4000101:4000101", "operator", "observer", "contentd.toml"] {
        assert!(err.contains(part), "{part}: {err}");
    }
    let (code, out, _) = contentctl(&rig.server, &["ping"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("you are 4000101:4000101: observer"), "{out}");
    let (_, out, _) = contentctl(&rig.server, &["--output", "json", "ping"]);
    let pong: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(pong["roles"], json!(["observer"]));
    let (_, out, _) = contentctl(&rig.server, &["doctor"]);
    assert!(
        out.contains("roles: what contentd sees of itself is for operators, and 4000101:4000101 has observer"),
        "{out}"
    );
}

#[test]
fn nobody_approves_what_they_submitted_where_that_is_configured() {
    let home = live::Home::new("[review]\nfour_eyes = true\n", "");
    let daemon = home.start();
    let account = daemon.add_account("blog");
    let task = json!({"account": account, "topic": "Bread", "auto_approve": true});
    let refused = daemon.refused("io.contentd.Tasks.Submit", json!({ "task": task }));
    assert_eq!((refused.name(), refused.text("field")), ("InvalidField", "auto_approve"), "nothing approves by itself");
    assert!(refused.text("cure").contains("review.four_eyes"));
    let task = daemon.submit(json!({"account": account, "topic": "Bread"}));
    daemon.until_state(&task, "completed");
    let content = daemon.ask("io.contentd.Tasks.Result", json!({ "task": task }))["content"].clone();
    assert_eq!(content["review_status"], "pending_review", "without being asked to wait");
    let id = content["content_id"].clone();
    let own = daemon.refused("io.contentd.Content.Approve", json!({ "content_id": id }));
    assert_eq!(own.name(), "OwnSubmission");
    assert_eq!(own.parameters["submitted_by"], daemon.task(&task)["submitted_by"]);
    let missing = daemon.refused("io.contentd.Content.Approve", json!({"content_id": 99}));
    assert_eq!(missing.name(), "ContentNotFound");
    // A piece whose submitter is not known any more could be anybody's. A cleanup leaves its task, but that of an older contentd did
    // not.
    let cleaned = daemon.ask("io.contentd.Tasks.Cleanup", json!({"days": 0}));
    assert_eq!(cleaned["deleted"], 0);
    let mut connection = SqliteConnection::establish(&home.database().to_string_lossy()).expect("opened");
    connection
        .batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; DELETE FROM tasks")
        .expect("deleted");
    drop(connection);
    let unknown = daemon.refused("io.contentd.Content.Approve", json!({ "content_id": id }));
    assert_eq!((unknown.name(), &unknown.parameters["submitted_by"]), ("OwnSubmission", &Value::Null));
    // To throw one's own away is nobody else's business, and without the setting approving it is one's own, too.
    daemon.ask("io.contentd.Content.Reject", json!({ "content_id": id }));
    home.configure("", "");
    let reloaded = daemon.ask("io.contentd.Daemon.Reload", json!({}));
    assert_eq!(reloaded["changed"], json!(["tasks.auto_approve", "review.four_eyes"]));
    daemon.ask("io.contentd.Content.Approve", json!({ "content_id": id }));
}

#[test]
fn roles_are_read_anew_and_a_name_that_is_gone_keeps_the_old_ones() {
    let home = live::Home::new("[roles]\nobserver = [\"daemon\"]\n", "");
    let daemon = home.start();
    let configured =
        |role: &str| daemon.ask("io.contentd.Daemon.GetConfig", json!({}))["config"]["roles"][role].clone();
    assert_eq!(configured("observer"), json!(["daemon"]));
    home.configure("[roles]\nobserver = [\"daemon\"]\nsubmitter = [\"@no-such-group\"]\n", "");
    let refused = daemon.refused("io.contentd.Daemon.Reload", json!({}));
    let faults = refused.parameters["faults"].to_string();
    assert!(faults.contains("roles.submitter") && faults.contains("no-such-group"), "{faults}");
    assert_eq!(configured("submitter"), json!([]));
    home.configure("[roles]\nsubmitter = [\"@daemon\"]\n", "");
    assert_eq!(
        daemon.ask("io.contentd.Daemon.Reload", json!({}))["changed"],
        json!(["roles.observer", "roles.submitter"])
    );
    assert_eq!((configured("observer"), configured("submitter")), (json!([]), json!(["@daemon"])));
    assert_eq!(daemon.ask("io.contentd.Daemon.Ping", json!({}))["roles"], json!(["operator"]), "as whoever runs it");
}
