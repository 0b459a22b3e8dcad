//! The real daemon and its publishers: eight consumers with contentctl, two publisher commands, and random ends of all of them;
//! and what a hostile publisher writes.
//!
//! `PUBLISHERS_KILLS=N` kills the daemon N times instead of the usual few.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/tally.rs"]
mod tally;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use daemon::{DEADLINE, Daemon, Setup};
use serde_json::{Value, json};

/// Puts a piece out: one atomic deed, which the same key does not do twice. Now and then it says nothing of it.
const PUBLISH: &str = r#"#!/bin/sh
key=$1 content=$2 place=$3
cat > /dev/null
sleep 0.$(( $$ % 3 ))
mkdir "$place/$content.$key" 2>/dev/null
if [ $(( $$ % 5 )) -eq 0 ]; then exit 9; fi
echo "{\"url\": \"https://example.org/$content\", \"id\": \"$content\"}"
"#;
/// Says whether a key was put out.
const FIND: &str = r#"#!/bin/sh
for entry in "$2"/*."$1"; do [ -d "$entry" ] && exit 0; done
exit 3
"#;

fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join(name);
    fs::write(&path, text).expect("the directory is ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path
}

/// The sections of two publishers; the scripts and the places lie in the daemon's directory.
const SECTIONS: &str = r#"
[publishing]
lease = "10m"
retry = { initial = "200ms", factor = 1.0, max = "200ms", jitter = 0.0 }

[publishers.site]
idempotent = true
accounts = ["blog"]
max_in_flight = 2
interval = "1s"
max_retries = 50
[publishers.site.publish]
run = ["DIR/publish", "{key}", "{content_id}", "DIR/out"]
stdin = "{content}"
timeout = "20s"
url = "json:/url"
id = "json:/id"

[publishers.press]
accounts = ["press"]
max_in_flight = 2
interval = "1s"
settle = "1s"
max_retries = 50
[publishers.press.publish]
run = ["DIR/publish", "{key}", "{content_id}", "DIR/out"]
stdin = "{content}"
url = "json:/url"
[publishers.press.find]
run = ["DIR/find", "{key}", "DIR/out"]
rules = [{ exit = 3, then = "missing" }]
"#;

/// A daemon with these sections; `DIR` stands for its directory.
fn daemon_with(sections: &str) -> Daemon {
    let mut daemon = Daemon::prepared(Setup::default());
    let dir = daemon.dir().to_str().expect("the path is UTF-8").to_owned();
    daemon.change(|setup| setup.more = sections.replace("DIR", &dir));
    daemon.spawn();
    daemon.await_answer();
    daemon.ctl(&["account", "add", "--name", "blog"]).exits(0);
    daemon
}

/// Random enough to end things at any moment; the seed is told when the test fails.
struct Dice(AtomicU64);

impl Dice {
    fn below(&self, bound: u64) -> u64 {
        let mut z = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// Runs contentctl; one in four is killed in the middle, and its answer is lost.
fn run_mortal(mut command: Command, dice: &Dice) -> Option<Value> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("contentctl starts");
    if dice.below(4) == 0 {
        thread::sleep(Duration::from_millis(dice.below(40)));
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
        return None;
    }
    let output = child.wait_with_output().expect("it is our child");
    output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// Takes entries and puts them out until it is told to stop. Its memory is what a consumer keeps on disk: the key of the
/// request that it has under way.
fn consume(number: u64, control: impl Fn(&[&str]) -> Command, place: &Path, dice: &Dice, is_over: &AtomicBool) {
    let mut request = 0;
    while !is_over.load(Ordering::Relaxed) {
        let key = format!("consumer-{number}-{request}");
        let next = control(&["pool", "next", "--account", "hand", "--limit", "2", "--key", &key]);
        let Some(handed_out) = run_mortal(next, dice) else { continue };
        let handed_out = handed_out.as_array().expect("a list").clone();
        if handed_out.is_empty() {
            // Everything of this request was answered, or nothing is due.
            request += 1;
            thread::sleep(Duration::from_millis(50));
            continue;
        }
        for one in handed_out {
            let (content, id) = (one["content"]["content_id"].to_string(), one["pool_id"].to_string());
            // The consumer's own deed, which it can do again without harm under the key that it was given.
            let _ = fs::create_dir(place.join(format!("{content}.{}", one["key"].as_str().expect("a key"))));
            let fence = one["fence"].to_string();
            let done = control(&["pool", "done", &id, "--fence", &fence, "--url", "https://example.org/h"]);
            run_mortal(done, dice);
        }
    }
}

/// How often each piece is out.
fn times_out(place: &Path) -> BTreeMap<i64, usize> {
    let mut times = BTreeMap::new();
    for entry in fs::read_dir(place).expect("it is ours") {
        let name = entry.expect("it is ours").file_name().to_string_lossy().into_owned();
        let content = name.split('.').next().and_then(|text| text.parse().ok()).expect("a number");
        *times.entry(content).or_insert(0) += 1;
    }
    times
}

fn statuses(daemon: &Daemon) -> Option<HashMap<i64, String>> {
    let reply = daemon.try_call("io.contentd.Pool.List", &json!({"limit": 1000}))?.ok()?;
    let entries = reply["entries"].as_array()?;
    let status = |entry: &Value| Some((entry["content_id"].as_i64()?, entry["status"].as_str()?.to_owned()));
    entries.iter().map(status).collect()
}

#[test]
fn eight_consumers_and_two_publishers_killed_at_random_publish_each_piece_once() {
    let kills: u64 = std::env::var("PUBLISHERS_KILLS").map_or(5, |text| text.parse().expect("a number"));
    let seed = u64::from(std::process::id());
    let dice = Dice(AtomicU64::new(seed));
    // Nothing goes out before everything is there.
    let mut daemon = daemon_with("");
    let place = daemon.dir().join("out");
    fs::create_dir(&place).expect("the directory is ours");
    script(daemon.dir(), "publish", PUBLISH);
    script(daemon.dir(), "find", FIND);
    for name in ["press", "hand"] {
        daemon.ctl(&["account", "add", "--name", name]).exits(0);
    }
    let pieces = 12;
    for account in ["blog", "press", "hand"] {
        let lines: String =
            (0..pieces).map(|n| format!("{{\"account\": \"{account}\", \"topic\": \"{account} {n}\"}}\n")).collect();
        let file = daemon.write_file(&format!("{account}.jsonl"), &lines);
        daemon.ctl(&["submit", "--file", file.to_str().expect("UTF-8")]).exits(0);
    }
    daemon.ctl(&["wait", "--all"]).exits(0);
    let dir = daemon.dir().to_str().expect("UTF-8").to_owned();
    daemon.change(|setup| setup.more = SECTIONS.replace("DIR", &dir));
    daemon.ctl(&["reload"]).exits(0);

    let is_over = AtomicBool::new(false);
    let daemon = Mutex::new(daemon);
    let control = |args: &[&str]| daemon.lock().expect("nobody panics with it").contentctl(args);
    let mut deaths = 0;
    thread::scope(|scope| {
        for number in 0..8 {
            let (control, place, dice, is_over) = (&control, &place, &dice, &is_over);
            scope.spawn(move || consume(number, control, place, dice, is_over));
        }
        let deadline = Instant::now() + 3 * DEADLINE;
        loop {
            thread::sleep(Duration::from_millis(200 + dice.below(900)));
            let mut daemon = daemon.lock().expect("nobody panics with it");
            let left = statuses(&daemon).map_or(usize::MAX, |all| {
                all.values().filter(|status| !["published", "held", "failed"].contains(&status.as_str())).count()
            });
            if left == 0 || Instant::now() > deadline {
                break;
            }
            if deaths < kills {
                daemon.kill9();
                if dice.below(2) == 0 {
                    // Whatever it had started dies too, and contentctl with it.
                    daemon.end_leftovers();
                }
                daemon.spawn();
                daemon.await_answer();
                deaths += 1;
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let daemon = daemon.into_inner().expect("nobody panics with it");
    let all = statuses(&daemon).expect("it answers");
    let wrong: Vec<_> = all.iter().filter(|(_, status)| *status != "published").collect();
    let shown = || daemon.ctl_json(&["pool", "list"]).to_string();
    assert!(wrong.is_empty() && all.len() == 3 * pieces, "seed {seed}: {wrong:?}\n{}", shown());
    let times = times_out(&place);
    assert!(
        times.len() == 3 * pieces && times.values().all(|count| *count == 1),
        "seed {seed}: {times:?}\n{}",
        shown()
    );
    let content = daemon.ctl_json(&["content", "list", "--account", "blog", "--limit", "1"])[0].take();
    assert_eq!((&content["publish_status"], &content["published_by"]), (&json!("published"), &json!("site")));
    assert!(content["published_at"].is_string(), "{content}");
    assert!(deaths > 0, "it was over before anybody died");
    tally::tell(
        "publishers",
        &format!(
            "{} pieces each published once by 8 consumers and 2 publishers, {deaths} deaths of the daemon",
            3 * pieces
        ),
    );
}

fn one_piece(daemon: &Daemon) -> Value {
    let id = daemon.submit("Tea", &[]);
    daemon.await_state(&id, "completed");
    daemon.ctl_json(&["pool", "list"])[0].take()
}

#[test]
fn a_consumer_takes_renews_and_answers_and_a_late_one_is_told() {
    let daemon = daemon_with("");
    assert_eq!(daemon.ctl_json(&["pool", "next"]), json!([]), "nothing is there yet");
    let id = one_piece(&daemon)["pool_id"].to_string();
    daemon.ctl(&["pool", "schedule", &id, "--at", "1d", "--priority", "10"]).exits(0);
    assert_eq!(daemon.ctl_json(&["pool", "next"]), json!([]), "it is not due");
    let due = daemon.ctl_json(&["pool", "show", &id])["entry"]["scheduled_at"].take();
    let urgent = daemon.ctl_json(&["pool", "schedule", &id, "--priority", "9"]);
    assert_eq!((&urgent["priority"], &urgent["scheduled_at"]), (&json!(9), &due), "a priority is no time");
    assert_eq!(daemon.ctl_json(&["pool", "next"]), json!([]), "it is not due yet");
    daemon.ctl(&["pool", "schedule", &id]).exits(0);
    let taken = daemon.ctl_json(&["pool", "next", "--key", "k", "--lease", "1h"])[0].take();
    assert_eq!((&taken["fence"], &taken["account"]), (&json!(1), &json!("blog")));
    assert!(taken["content"]["content"].as_str().is_some_and(|text| !text.is_empty()), "with its piece: {taken}");
    assert_eq!(daemon.ctl_json(&["pool", "next"]), json!([]), "it is the other's");
    daemon.ctl(&["pool", "renew", &id, "--fence", "1", "--lease", "2h"]).exits(0);
    let wrong = daemon.ctl(&["pool", "done", &id, "--fence", "2"]).exits(1);
    assert!(wrong.err.contains("at fence 1, and 2 was named, with which it was never handed out"), "{wrong:?}");
    let bad = daemon.ctl(&["pool", "fail", &id, "--fence", "1", "--error", "no \u{1b}[31mluck"]).exits(1);
    assert!(bad.err.contains("error: ") && bad.err.contains("no control characters"), "{bad:?}");
    let fail = ["pool", "fail", &id, "--fence", "1", "--error", "no luck", "--give-up"];
    assert_eq!(daemon.ctl_json(&fail)["status"], "failed");
    assert_eq!(daemon.ctl_json(&fail)["status"], "failed", "said twice is said once");
    let other = daemon.ctl(&["pool", "done", &id, "--fence", "1"]).exits(1);
    assert!(other.err.contains("said pool_failed before"), "{other:?}");
    daemon.ctl(&["pool", "schedule", &id, "--at", "now"]).exits(0);
    assert_eq!(daemon.ctl_json(&["pool", "next", "--key", "k2"])[0]["fence"], 2, "another chance");
    let late = daemon.ctl(&["pool", "done", &id, "--fence", "1"]).exits(1);
    assert!(late.err.contains("handed out anew since, and nothing was changed"), "{late:?}");
    assert_eq!(daemon.ctl_json(&["pool", "done", &id, "--fence", "2"])["status"], "published");
}

#[test]
fn what_nobody_answers_is_held_until_a_person_settles_it() {
    let daemon = daemon_with("[publishing]\nlease = \"1s\"\n");
    let id = one_piece(&daemon)["pool_id"].to_string();
    assert_eq!(daemon.ctl_json(&["pool", "next"]).as_array().map(Vec::len), Some(1));
    daemon.wait_until("it is held", || {
        let entry = daemon.ctl_json(&["pool", "show", &id])["entry"].take();
        (entry["status"] == "held").then_some(())
    });
    assert_eq!(daemon.ctl_json(&["pool", "next"]), json!([]), "nobody else gets it");
    let held = daemon.ctl_json(&["pool", "list", "--status", "held"])[0].take();
    assert!(held["held_reason"].as_str().is_some_and(|why| why.contains("never answered")), "{held}");
    let refused = daemon.ctl(&["pool", "schedule", &id]).exits(1);
    assert!(refused.err.contains("--reason settles it"), "{refused:?}");
    daemon.ctl(&["pool", "done", &id]).exits(2);
    let settled = daemon.ctl_json(&["pool", "done", &id, "--reason", "seen there", "--url", "https://example.org/1"]);
    assert_eq!(settled["status"], "published");
    let shown = daemon.ctl_json(&["pool", "show", &id]);
    assert_eq!(shown["publication"]["url"], "https://example.org/1");
    let task = daemon.ctl_json(&["content", "list"])[0]["task_id"].as_str().expect("an id").to_owned();
    let trail = daemon.ctl(&["history", &task]).exits(0).out;
    for event in ["pool_handed_out", "pool_held", "pool_settled_published", "seen there"] {
        assert!(trail.contains(event), "{event}: {trail}");
    }
    let checked: daemon::Ran = daemon.contentd(&["--check-database"]).output().expect("contentd starts").into();
    checked.exits(0);
}

#[test]
fn a_piece_in_doubt_is_said_to_be_to_whoever_wants_it_back() {
    let publisher = "[publishers.site]\nidempotent = true\ninterval = \"1s\"\n\
                     [publishers.site.publish]\nrun = [\"/bin/sh\", \"-c\", \"exit 9\", \"{key}\"]\n";
    let daemon = daemon_with(publisher);
    let id = one_piece(&daemon)["pool_id"].to_string();
    daemon.wait_until("its call has said nothing", || {
        let shown = daemon.ctl_json(&["pool", "show", &id]);
        shown["handouts"][0]["doubted_at"].is_string().then_some(())
    });
    for rest in [vec!["remove", &id], vec!["done", &id, "--reason", "seen"], vec!["fail", &id, "--reason", "not there"]]
    {
        let refused = daemon.ctl(&[&["pool"], rest.as_slice()].concat()).exits(1);
        assert!(
            refused.err.contains("it is in doubt at publisher site, sent 1 of 4 times, sent again at 2"),
            "{refused:?}"
        );
    }
}

/// What a publisher writes is as untrusted as a generator's words.
#[test]
fn what_a_hostile_publisher_writes_harms_nothing() {
    const HOSTILE: &str = r#"#!/bin/sh
printf '\033]0;owned\007\033[31m%s %s\n' "$TOKEN" "$(yes | head -c 200000)" >&2
if [ "$1" = fails ]; then exit 4; fi
printf '{"url": "https://example.org/\\u001b[31m\\nX", "id": "%s"}\n' "$TOKEN"
"#;
    let sections = "[publishers.hostile]\nsecrets = { TOKEN = \"token\" }\ninterval = \"1s\"\n\
                    [publishers.hostile.publish]\nrun = [\"DIR/hostile\", \"{category|fine}\", \"{title}\"]\nurl = \"json:/url\"\nid = \"json:/id\"\n\
                    rules = [{ exit = 4, stderr = \"owned|tok\", then = \"rejected\" }, { exit = 4, then = \"rejected\" }]\n";
    let mut daemon = Daemon::prepared(Setup::default());
    script(daemon.dir(), "hostile", HOSTILE);
    let credentials = daemon.dir().join("credentials");
    fs::create_dir(&credentials).expect("the directory is ours");
    fs::write(credentials.join("token"), "tok-0123456789").expect("the directory is ours");
    let dir = daemon.dir().to_str().expect("UTF-8").to_owned();
    daemon.change(|setup| {
        setup.more = sections.replace("DIR", &dir);
        setup.env.push(("CREDENTIALS_DIRECTORY".to_owned(), format!("{dir}/credentials")));
    });
    daemon.spawn();
    daemon.await_answer();
    daemon.ctl(&["account", "add", "--name", "blog"]).exits(0);
    daemon.submit("Tea", &[]);
    daemon.submit("Silk", &["--category", "fails"]);
    let entries = daemon.wait_until("both have come to rest", || {
        let entries = daemon.ctl_json(&["pool", "list"]).as_array().expect("a list").clone();
        let is_over = |entry: &Value| entry["status"] == "published" || entry["status"] == "failed";
        (entries.len() == 2 && entries.iter().all(is_over)).then_some(entries)
    });
    let failed = entries.iter().find(|entry| entry["status"] == "failed").expect("one was refused");
    assert!(failed["last_error"].as_str().is_some_and(|why| why.len() < 2_000 && !why.contains('\u{1b}')), "{failed}");
    let published = entries.iter().find(|entry| entry["status"] == "published").expect("one is out");
    let shown = daemon.ctl_json(&["pool", "show", &published["pool_id"].to_string()]);
    assert!(shown["publication"]["url"].is_null(), "an address with control characters is none: {shown}");
    assert_eq!(shown["publication"]["reference"], "[secret]");
    let said = daemon.log() + &daemon.ctl(&["pool", "list"]).out + &shown.to_string();
    assert!(!said.contains("tok-0123456789"), "a secret is told nowhere");
    assert!(!daemon.log().contains('\u{1b}'), "and the log has no escapes");
    for file in ["contentd.db", "contentd.db-wal"] {
        let bytes = fs::read(daemon.dir().join(file)).unwrap_or_default();
        assert!(!bytes.windows(14).any(|part| part == b"tok-0123456789"), "{file}");
    }
}
