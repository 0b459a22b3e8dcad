//! Runs that are handed over through the run socket, on the real programs. A small acceptor plays the service manager:
//! it takes each connection and starts `contentd-run --accepted` with the connection as standard input.

#[path = "support/live.rs"]
mod live;

use std::fs::{self, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use live::{Daemon, Home, eventually};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const RUNS: &str = r#"
[generators.runs]
max_in_flight = 5
cwd = "DIR"
env = { SAMPLE_SECONDS = "SECONDS" }
[generators.runs.submit]
run = ["{creator}", "write", "--key={key}", "--", "{topic}"]
content = "text"
[generators.reader]
env = { HOMELESS = "no" }
[generators.reader.submit]
run = ["/bin/sh", "-c", "pwd; echo $HOME; stat -c %a . ; cat \"$1\"; echo and a piece of some length", "sh", "{file:requirements}"]
content = "text"
"#;

/// A hostile one: it says that it was never started, and that nobody is left of it, and goes on with what is paid for.
const LIAR: &str = r#"
[generators.liar]
cwd = "DIR"
[generators.liar.submit]
run = ["/bin/sh", "-c", """
dir=$(dirname "$(readlink /proc/self/fd/0)")
echo "$1" >> begun
echo '{{"end":{{"not_started":"nobody was here"}},"is_truncated":false,"stopped":null,"ended_at_ms":1}}' > "$dir/exit.json"
flock -u 0
echo > lied
while [ -d "$dir" ] && [ ! -e gate ]; do sleep 0.02; done
echo and a piece of some length
""", "sh", "{key}"]
content = "text"
"#;

fn home(seconds: u32) -> Home {
    let home = Home::bare();
    let section = format!("{RUNS}{LIAR}")
        .replace("DIR", home.path("").to_str().unwrap())
        .replace("SECONDS", &seconds.to_string());
    home.configure(&section, "");
    home
}

fn run_socket(home: &Home) -> PathBuf {
    home.path("run.sock")
}

fn start(home: &Home) -> Daemon<'_> {
    let mut command = home.command();
    command.env("CONTENTD_RUN_SOCKET", run_socket(home));
    Daemon::adopt(home, home.spawn(command), home.socket())
}

fn submit(daemon: &Daemon<'_>, topic: &str, generator: &str) -> String {
    let task = json!({ "account": "blog", "topic": topic, "generator": generator, "requirements": "as it was asked" });
    daemon.submit(task)
}

fn listener(home: &Home) -> OwnedFd {
    let path = run_socket(home);
    // A listener from before left its name.
    let _ = fs::remove_file(&path);
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&socket, 16).unwrap();
    socket
}

/// What plays the service manager, until it is dropped; its runners go on then, as units do.
struct Acceptor {
    is_over: Arc<AtomicBool>,
    runners: Arc<Mutex<Vec<Child>>>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    /// On a listener that may have connections already. With `refuses` each is closed unread, as systemd does when there
    /// are as many as MaxConnections= allows.
    fn start(listener: OwnedFd, refuses: Arc<AtomicBool>, log: PathBuf) -> Self {
        let (is_over, runners) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (over, started) = (Arc::clone(&is_over), Arc::clone(&runners));
        let thread = std::thread::spawn(move || {
            let look = Timespec::try_from(Duration::from_millis(50)).unwrap();
            while !over.load(Ordering::Relaxed) {
                let mut fds = [PollFd::new(&listener, PollFlags::IN)];
                if poll(&mut fds, Some(&look)).unwrap() == 0 {
                    continue;
                }
                let connection = accept_with(&listener, SocketFlags::CLOEXEC).unwrap();
                if refuses.load(Ordering::Relaxed) {
                    continue;
                }
                let log = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
                let mut command = Command::new(env!("CARGO_BIN_EXE_contentd-run"));
                command.arg("--accepted").env_clear().stdin(connection).stdout(Stdio::null()).stderr(log);
                started.lock().unwrap().push(command.spawn().unwrap());
            }
        });
        Self { is_over, runners, thread: Some(thread) }
    }

    fn of(home: &Home) -> Self {
        Self::start(listener(home), Arc::default(), home.path("runners.log"))
    }

    fn started(&self) -> usize {
        self.runners.lock().unwrap().len()
    }

    fn signal_all(&self, signal: Signal) {
        for runner in self.runners.lock().unwrap().iter() {
            // It may have ended already.
            let _ = kill_process(Pid::from_child(runner), signal);
        }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        for mut runner in self.runners.lock().unwrap().drain(..) {
            let _ = kill_process(Pid::from_child(&runner), Signal::TERM);
            let _ = runner.wait();
        }
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()), "the acceptor broke");
    }
}

fn run_directory(home: &Home) -> PathBuf {
    let runs = fs::read_dir(home.path("state/runs/v1")).unwrap().flatten();
    let runs: Vec<_> = runs.map(|entry| entry.path()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].clone()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o7777
}

/// Nothing of it was spent, and it says why.
#[track_caller]
fn until_pending_because(daemon: &Daemon<'_>, id: &str, why: &str) {
    eventually("the task waits and says why", || {
        let task = daemon.task(id);
        let is_said = task["error"].as_str().is_some_and(|error| error.contains(why));
        assert_eq!(task["retry_count"], 0, "{task}");
        (task["state"] == "pending" && is_said).then_some(())
    });
}

#[test]
fn a_run_is_handed_over_and_found_by_the_next_daemon_wherever_this_one_dies() {
    let home = home(4);
    let acceptor = Acceptor::of(&home);
    let daemon = start(&home);
    daemon.add_account("blog");
    let id = submit(&daemon, "Goes on", "runs");
    daemon.until_state(&id, "processing");
    eventually("it is paid", || (home.paid_for("Goes on") == 1).then_some(()));
    let dir = run_directory(&home);
    let modes =
        ["", "lock", "request.json", "started", "stdout", "stderr", "..", "../.."].map(|name| mode(&dir.join(name)));
    assert_eq!(modes.map(|mode| format!("{mode:o}")), ["1770", "640", "640", "640", "640", "640", "710", "710"]);
    daemon.kill();
    let daemon = start(&home);
    assert!(home.log().contains("1 with a run that goes on"), "{}", home.log());
    daemon.until_state(&id, "completed");
    assert_eq!((home.paid_for("Goes on"), acceptor.started()), (1, 1));

    // And one that ends while nobody lives.
    let id = submit(&daemon, "Ends alone", "runs");
    daemon.until_state(&id, "processing");
    daemon.kill();
    let dir = run_directory(&home);
    eventually("the run has written its exit status", || dir.join("exit.json").exists().then_some(()));
    let daemon = start(&home);
    daemon.until_state(&id, "completed");
    assert_eq!((home.paid_for("Ends alone"), acceptor.started()), (1, 2));
    eventually("the directory is removed", || (!dir.exists()).then_some(()));
}

#[test]
fn a_run_has_its_private_files_its_own_place_and_what_the_daemon_gives_it() {
    let home = home(0);
    let _acceptor = Acceptor::of(&home);
    let daemon = start(&home);
    daemon.add_account("blog");
    let id = submit(&daemon, "Reads", "reader");
    daemon.until_state(&id, "completed");
    let piece = daemon.ask("io.contentd.Tasks.Result", json!({ "task": id }));
    let piece = piece["content"]["content"].as_str().unwrap().to_owned();
    let place = home.path("state/generators/reader");
    assert_eq!(piece.matches(place.to_str().unwrap()).count(), 2, "its working directory and its home: {piece}");
    assert!(piece.contains("770") && piece.contains("as it was asked"), "{piece}");
    assert_eq!((mode(&place), mode(&home.database())), (0o770, mode(&home.database()) & 0o700));
    eventually("nothing of it is left", || {
        (fs::read_dir(home.path("state/runs/v1")).unwrap().count() == 0).then_some(())
    });
}

#[test]
fn a_message_that_nobody_has_received_yet_is_a_start_and_stays_the_only_one() {
    let home = home(0);
    let waiting = listener(&home);
    let daemon = start(&home);
    daemon.add_account("blog");
    let id = submit(&daemon, "In flight", "runs");
    daemon.until_state(&id, "submitting");
    eventually("it is on its way", || fs::read_dir(home.path("state/runs/v1")).ok()?.flatten().next());
    let dir = run_directory(&home);
    until_sent(&daemon, &dir);
    daemon.kill();
    assert!(is_held(&dir.join("lock")), "the message holds it");
    let daemon = start(&home);
    assert_eq!((daemon.state(&id), run_directory(&home)), ("submitting".to_owned(), dir));
    let acceptor = Acceptor::start(waiting, Arc::default(), home.path("runners.log"));
    daemon.until_state(&id, "completed");
    assert_eq!((home.paid_for("In flight"), acceptor.started()), (1, 1));
}

#[test]
fn a_message_that_will_never_be_received_has_started_nothing() {
    let home = home(0);
    let waiting = listener(&home);
    let daemon = start(&home);
    daemon.add_account("blog");
    let id = submit(&daemon, "Thrown away", "runs");
    eventually("it is on its way", || fs::read_dir(home.path("state/runs/v1")).ok()?.flatten().next());
    let dir = run_directory(&home);
    until_sent(&daemon, &dir);
    daemon.kill();
    drop(waiting);
    assert!(!is_held(&dir.join("lock")));
    let acceptor = Acceptor::of(&home);
    let daemon = start(&home);
    daemon.until_state(&id, "completed");
    assert_eq!((home.paid_for("Thrown away"), acceptor.started()), (1, 1));
    assert_eq!(daemon.task(&id)["retry_count"], 0, "nothing was spent");
}

/// The lock is held, and the daemon has no descriptor of it any more: the message has it.
fn until_sent(daemon: &Daemon<'_>, dir: &Path) {
    let lock = dir.join("lock");
    let is_at = |fd: fs::DirEntry| fs::read_link(fd.path()).is_ok_and(|target| target == lock);
    eventually("it was sent, and the lock with it", || {
        let is_open = || fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().flatten().any(is_at);
        (is_held(&lock) && !is_open() && is_held(&lock)).then_some(())
    });
}

fn is_held(lock: &Path) -> bool {
    use rustix::fs::{FlockOperation, flock};
    let Ok(file) = fs::File::open(lock) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared).is_err()
}

#[test]
fn a_socket_that_is_missing_costs_nothing_and_is_tried_again() {
    let home = home(0);
    let daemon = start(&home);
    let path = run_socket(&home);
    assert!(home.log().contains(&format!("the run socket {} cannot be used", path.display())), "{}", home.log());
    daemon.add_account("blog");
    let id = submit(&daemon, "Patient", "runs");
    until_pending_because(&daemon, &id, "systemctl start contentd-run.socket");
    let _acceptor = Acceptor::of(&home);
    daemon.until_state(&id, "completed");
    assert_eq!((home.paid_for("Patient"), daemon.task(&id)["retry_count"].clone()), (1, json!(0)));
}

#[test]
fn a_socket_that_refuses_or_closes_costs_nothing_and_is_tried_again() {
    let home = home(0);
    // One that nobody listens on any more.
    drop(listener(&home));
    let daemon = start(&home);
    assert!(home.log().contains("cannot be used (Connection refused"), "{}", home.log());
    daemon.add_account("blog");
    let refuses = Arc::new(AtomicBool::new(true));
    let acceptor = Acceptor::start(listener(&home), Arc::clone(&refuses), home.path("runners.log"));
    let id = submit(&daemon, "Patient", "runs");
    until_pending_because(&daemon, &id, "MaxConnections=");
    assert_eq!((home.paid_for("Patient"), acceptor.started()), (0, 0));
    refuses.store(false, Ordering::Relaxed);
    daemon.until_state(&id, "completed");
    assert_eq!((home.paid_for("Patient"), daemon.task(&id)["retry_count"].clone()), (1, json!(0)));
}

#[test]
fn a_runner_that_is_stopped_ends_its_command_and_the_task_says_so() {
    let home = home(600);
    let acceptor = Acceptor::of(&home);
    let daemon = start(&home);
    daemon.add_account("blog");
    let id = daemon.submit(json!({ "account": "blog", "topic": "Stopped", "generator": "runs", "max_retries": 0 }));
    daemon.until_state(&id, "processing");
    eventually("it is paid", || (home.paid_for("Stopped") == 1).then_some(()));
    acceptor.signal_all(Signal::TERM);
    daemon.until_state(&id, "failed");
    let task: Value = daemon.task(&id);
    assert!(task["error"].as_str().is_some_and(|error| error.contains("stopped from outside")), "{task}");
    assert_eq!(home.paid_for("Stopped"), 1);

    let id = submit(&daemon, "Cancelled", "runs");
    daemon.until_state(&id, "processing");
    daemon.ask("io.contentd.Tasks.Cancel", json!({ "tasks": [id] }));
    daemon.until_state(&id, "cancelled");
}

#[test]
fn a_run_that_denies_itself_is_not_begun_again_beside_itself() {
    let home = home(0);
    let acceptor = Acceptor::of(&home);
    let daemon = start(&home);
    daemon.add_account("blog");
    let id = submit(&daemon, "Denied", "liar");
    eventually("it has lied", || home.path("lied").exists().then_some(()));
    daemon.until_state(&id, "processing");
    daemon.kill();
    // The next daemon looks at every run before it is ready.
    let daemon = start(&home);
    assert_eq!((daemon.state(&id).as_str(), acceptor.started()), ("processing", 1));
    fs::write(home.path("gate"), "").unwrap();
    daemon.until_state(&id, "completed");
    let begun = fs::read_to_string(home.path("begun")).unwrap();
    assert_eq!((begun.lines().count(), acceptor.started(), daemon.task(&id)["attempt"].clone()), (1, 1, json!(1)));
}

#[test]
fn a_connection_without_a_run_starts_nothing_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let mut runner = Command::new(env!("CARGO_BIN_EXE_contentd-run"));
    runner.arg("--accepted").stdin(there).current_dir(&dir).stderr(Stdio::piped());
    let runner = runner.spawn().unwrap();
    rustix::io::write(&here, b"contentd-run 1\n{}").unwrap();
    let output = runner.wait_with_output().unwrap();
    let mut answer = [0; 512];
    let count = rustix::io::read(&here, &mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.contains("malformed") && !output.status.success(), "{answer}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(&answer));
}

#[test]
fn a_daemon_lets_nobody_in_who_needs_not() {
    let home = home(0);
    fs::create_dir_all(home.path("state/runs")).unwrap();
    // As the service manager makes it, and as a daemon without a run socket made what is in it.
    fs::set_permissions(home.path("state/runs"), Permissions::from_mode(0o710)).unwrap();
    fs::create_dir(home.path("state/runs/v1")).unwrap();
    fs::set_permissions(home.path("state/runs/v1"), Permissions::from_mode(0o700)).unwrap();
    let _acceptor = Acceptor::of(&home);
    let daemon = start(&home);
    daemon.add_account("blog");
    let ids = [submit(&daemon, "Run", "runs"), submit(&daemon, "Polled", "sample")];
    ids.iter().for_each(|id| daemon.until_state(id, "completed"));
    assert_eq!((mode(&home.path("state/runs/v1")), mode(&home.path("state/calls"))), (0o710, 0o700));
}
