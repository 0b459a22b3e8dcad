//! Blocking runs with the real runner: what the daemon learns of them, whoever dies in between.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use contentd::generator::access::Access;
use contentd::generator::call::CallEnd;
use contentd::generator::exec::{Environment, MAX_OUTPUT};
use contentd::generator::run::directory::{RunDirError, RunDirs, Sight};
use contentd::generator::run::launch::launch;
use contentd::generator::run::watch::Watchers;
use contentd::generator::run::{Request, Started, Stopped, runner};
use contentd::generator::runfile::RunFiles;
use contentd::task::AttemptKey;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::sync::Arc;

const LONG: Duration = Duration::from_secs(60);
const RUNNER: &str = env!("CARGO_BIN_EXE_contentd-run");

struct Rig {
    state: tempfile::TempDir,
    dirs: RunDirs,
    key: AttemptKey,
}

impl Rig {
    fn new() -> Self {
        let state = tempfile::tempdir().expect("a temporary directory");
        Self { dirs: RunDirs::new(state.path()), state, key: AttemptKey("0a".repeat(16)) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    fn request(&self, script: &str) -> Request {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        Request {
            argv,
            cwd: self.state.path().to_owned(),
            grace_ms: 5_000,
            max_output: MAX_OUTPUT,
            task: None,
            is_repeatable: false,
        }
    }

    fn start(&self, script: &str) -> Child {
        self.start_request(&self.request(script), "")
    }

    fn start_request(&self, request: &Request, stdin: &str) -> Child {
        let (dir, lock) = self.dirs.create(&self.key, request, stdin.as_bytes()).expect("a run directory");
        launch(Path::new(RUNNER), &dir, &env(), lock).expect("a runner").0
    }

    fn look(&self) -> Sight {
        self.dirs.look(&self.key)
    }

    /// What is seen once the lock is free. The runner has ended, but a process that another test starts in the same moment
    /// holds a copy of the lock from its fork to its exec.
    fn look_when_free(&self) -> Sight {
        self.wait_for("a free lock", |_| self.dirs.is_quiet(&self.key));
        self.look()
    }

    fn path(&self) -> PathBuf {
        self.dirs.path_of(&self.key).expect("a plain key")
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&Sight) -> bool) -> Sight {
        let deadline = Instant::now() + LONG;
        loop {
            let sight = self.look();
            if is_so(&sight) {
                return sight;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}: {sight:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_for_file(&self, name: &str) -> String {
        self.wait_for(name, |_| fs::read_to_string(self.file(name)).is_ok_and(|text| text.ends_with('\n')));
        fs::read_to_string(self.file(name)).expect("just seen")
    }
}

fn env() -> Environment {
    let mut env = Environment::minimal(&|_| None);
    env.set("TOKEN", "s3cret-value");
    env
}

fn is_ended(sight: &Sight) -> bool {
    matches!(sight, Sight::Ended(..))
}

fn pid_of(text: &str) -> Pid {
    Pid::from_raw(text.trim().parse().expect("a number")).expect("a process id")
}

fn runner_pid(rig: &Rig) -> Pid {
    let started: Started = serde_json::from_slice(&fs::read(rig.path().join("started")).expect("there")).expect("JSON");
    Pid::from_raw(started.pid.cast_signed()).expect("a process id")
}

#[test]
fn a_run_ends_with_its_output_and_its_status() {
    let rig = Rig::new();
    let mut child = rig.start_request(&rig.request("cat; echo $TOKEN >&2; sleep 0.2; exit 3"), "the text");
    assert!(matches!(rig.look(), Sight::Running | Sight::Ended(..)), "its start was waited for");
    assert!(matches!(rig.dirs.create(&rig.key, &rig.request("true"), b""), Err(RunDirError::Exists(_))));
    let Sight::Ended(result, stopped) = rig.wait_for("its end", is_ended) else { unreachable!() };
    assert_eq!((result.end, stopped, result.is_truncated), (CallEnd::Exited(3), None, false));
    assert_eq!(String::from_utf8_lossy(&result.stdout), "the text");
    assert_eq!(String::from_utf8_lossy(&result.stderr), "s3cret-value\n");
    child.wait().expect("reaped");
    assert!(rig.dirs.is_quiet(&rig.key));
    for name in ["request.json", "started", "exit.json", "lock"] {
        let text = fs::read_to_string(rig.path().join(name)).expect("there");
        assert!(!text.contains("s3cret"), "{name}: {text}");
    }
    rig.dirs.forget(&rig.key);
    assert_eq!(rig.look(), Sight::NeverStarted);
}

#[test]
fn secrets_are_in_no_argument() {
    let rig = Rig::new();
    let mut child = rig.start("sleep 600");
    let runner = fs::read(format!("/proc/{}/cmdline", child.id())).expect("it lives");
    assert!(!String::from_utf8_lossy(&runner).contains("s3cret"));
    rig.dirs.ask_cancel(&rig.key).expect("asked");
    child.wait().expect("reaped");
}

#[test]
fn the_runner_gives_the_command_exactly_its_environment() {
    let rig = Rig::new();
    let request = Request { argv: vec!["env".into()], ..rig.request("") };
    rig.start_request(&request, "").wait().expect("reaped");
    let Sight::Ended(result, _) = rig.look_when_free() else { panic!("not ended") };
    let text = String::from_utf8_lossy(&result.stdout).into_owned();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin", "TOKEN=s3cret-value"]);
}

#[test]
fn a_cancelled_run_is_ended_with_all_its_processes() {
    let rig = Rig::new();
    let mut request = rig.request("trap '' TERM; sh -c 'echo $$ > pid; sleep 600' & wait");
    request.grace_ms = 300;
    let mut child = rig.start_request(&request, "");
    rig.wait_for_file("pid");
    rig.dirs.ask_cancel(&rig.key).expect("asked");
    child.wait().expect("reaped");
    let Sight::Ended(_, stopped) = rig.look_when_free() else { panic!("not ended: {:?}", rig.look()) };
    assert_eq!(stopped, Some(Stopped::Cancelled));
    rig.wait_for("a free lock", |_| rig.dirs.is_quiet(&rig.key));
}

#[test]
fn a_cancel_before_the_start_starts_nothing() {
    let rig = Rig::new();
    let (dir, lock) = rig.dirs.create(&rig.key, &rig.request("echo > ran"), b"").expect("made");
    assert_eq!(rig.look(), Sight::Starting);
    rig.dirs.ask_cancel(&rig.key).expect("asked");
    launch(Path::new(RUNNER), &dir, &env(), lock).expect("a runner").0.wait().expect("reaped");
    assert_eq!(rig.look_when_free(), Sight::NeverStarted);
    assert!(!rig.file("ran").exists());
}

#[test]
fn a_whole_piece_of_a_cancelled_run_is_not_lost() {
    let rig = Rig::new();
    let mut child = rig.start("trap 'echo the piece; exit 0' TERM; echo > ready; while :; do sleep 0.05; done");
    rig.wait_for_file("ready");
    rig.dirs.ask_cancel(&rig.key).expect("asked");
    child.wait().expect("reaped");
    let Sight::Ended(result, stopped) = rig.look_when_free() else { panic!("not ended") };
    assert_eq!((result.end, stopped), (CallEnd::Exited(0), Some(Stopped::Cancelled)));
    assert_eq!(result.stdout, b"the piece\n");
}

#[test]
fn a_killed_runner_leaves_the_lock_with_the_command() {
    let rig = Rig::new();
    let mut child = rig.start("echo $$ > pid; exec sleep 600");
    let command = pid_of(&rig.wait_for_file("pid"));
    kill_process(runner_pid(&rig), Signal::KILL).expect("killed");
    child.wait().expect("reaped");
    assert_eq!(rig.look(), Sight::Running, "the command lives and may yet do what was paid for");
    assert!(!rig.dirs.is_quiet(&rig.key));
    kill_process_group(command, Signal::KILL).expect("killed");
    assert_eq!(rig.wait_for("a free lock", |sight| *sight != Sight::Running), Sight::Lost { is_cancel_asked: false });
}

#[test]
fn a_command_that_cannot_start_says_so_in_its_ending() {
    let rig = Rig::new();
    let request = Request { argv: vec!["no-such-program".into()], ..rig.request("") };
    rig.start_request(&request, "").wait().expect("reaped");
    let Sight::Ended(result, _) = rig.look_when_free() else { panic!("not ended") };
    assert!(matches!(&result.end, CallEnd::NotStarted(why) if why.contains("install it")), "{result:?}");
}

#[test]
fn twenty_megabytes_are_bounded_on_disk_too() {
    let rig = Rig::new();
    rig.start("head -c 20000000 /dev/zero; echo end >&2").wait().expect("reaped");
    let Sight::Ended(result, _) = rig.look_when_free() else { panic!("not ended") };
    assert_eq!(result.end, CallEnd::Exited(0));
    assert!(result.is_truncated);
    assert_eq!(fs::metadata(rig.path().join("stdout")).expect("there").len(), MAX_OUTPUT as u64);
    assert_eq!(result.stderr, b"end\n");
}

#[test]
fn links_and_rubbish_in_the_directory_are_not_believed() {
    let rig = Rig::new();
    let mut child = rig.start("exec sleep 600");
    fs::write(rig.path().join("exit.json"), "{\"end\": rubbish").expect("written");
    assert_eq!(rig.look(), Sight::Running);
    fs::remove_file(rig.path().join("exit.json")).expect("removed");
    fs::write(rig.file("elsewhere"), r#"{"end":{"exited":0},"is_truncated":false,"stopped":null,"ended_at_ms":1}"#)
        .expect("written");
    std::os::unix::fs::symlink(rig.file("elsewhere"), rig.path().join("exit.json")).expect("linked");
    assert_eq!(rig.look(), Sight::Running);
    rig.dirs.ask_cancel(&rig.key).expect("asked");
    child.wait().expect("reaped");
}

#[test]
fn the_end_is_told_at_once_to_the_starter_and_to_a_finder() {
    let rig = Rig::new();
    let child = rig.start("cat gate 2>/dev/null; while [ ! -e gate ]; do sleep 0.02; done");
    let (told, ends) = mpsc::channel();
    let watchers = || {
        let (watchers, told) = (Watchers::default(), told.clone());
        watchers.on_run_ended(Arc::new(move |task| drop(told.send(task))));
        watchers
    };
    let (starter, finder) = (watchers(), watchers());
    starter.arm(&rig.key, &"task-a".into(), &rig.path(), Some(child));
    finder.arm(&rig.key, &"task-b".into(), &rig.path(), None);
    finder.arm(&rig.key, &"task-b".into(), &rig.path(), None);
    assert!(ends.try_recv().is_err(), "it still runs");
    fs::write(rig.file("gate"), "").expect("written");
    let mut tasks = [ends.recv_timeout(LONG).expect("told").0, ends.recv_timeout(LONG).expect("told").0];
    tasks.sort();
    assert_eq!(tasks, ["task-a", "task-b"], "once each");
    assert!(is_ended(&rig.look()));
}

#[test]
fn a_finder_of_a_run_without_its_runner_is_told_when_the_command_is_gone() {
    let rig = Rig::new();
    let mut child = rig.start("echo $$ > pid; exec sleep 600");
    let command = pid_of(&rig.wait_for_file("pid"));
    let (told, ends) = mpsc::channel();
    let watchers = Watchers::default();
    watchers.on_run_ended(Arc::new(move |task| drop(told.send(task))));
    watchers.arm(&rig.key, &"task-a".into(), &rig.path(), None);
    kill_process(runner_pid(&rig), Signal::KILL).expect("killed");
    child.wait().expect("reaped");
    assert_eq!(rig.look(), Sight::Running);
    assert!(ends.try_recv().is_err());
    kill_process_group(command, Signal::KILL).expect("killed");
    ends.recv_timeout(LONG).expect("told");
    assert_eq!(rig.look_when_free(), Sight::Lost { is_cancel_asked: false });
}

#[test]
fn a_plain_child_ends_when_the_daemon_hangs_up() {
    let rig = Rig::new();
    let (dir, lock) = rig.dirs.create(&rig.key, &rig.request("echo > up; exec sleep 600"), b"").expect("made");
    let (there, here) = std::io::pipe().expect("a pipe");
    let thread = std::thread::spawn(move || {
        let host = runner::Host { ends: Some((there.as_fd(), Stopped::Interrupted)), ..Default::default() };
        let ran = runner::run(&dir, &env(), &lock, host, &mut |_| {});
        ran.expect("it ran");
    });
    rig.wait_for_file("up");
    assert_eq!(rig.look(), Sight::Running);
    drop(here);
    thread.join().expect("joined");
    let Sight::Ended(result, stopped) = rig.look_when_free() else { panic!("not ended") };
    assert_eq!((result.end, stopped), (CallEnd::Signalled(15), Some(Stopped::Interrupted)));
    assert!(rig.dirs.is_quiet(&rig.key));
}

/// A plain child is not synced. After a loss of power its end can be on the disk without its output, or with another file's blocks.
#[test]
fn the_end_of_a_run_that_is_not_synced_counts_for_its_own_output_alone() {
    let rig = Rig::new();
    let request = Request { is_repeatable: true, ..rig.request("echo piece; echo note >&2") };
    let (dir, lock) = rig.dirs.create(&rig.key, &request, b"").expect("made");
    runner::run(&dir, &env(), &lock, runner::Host::default(), &mut |_| {}).expect("it ran");
    drop(lock);
    let whole = rig.look_when_free();
    let Sight::Ended(result, None) = &whole else { panic!("not ended: {whole:?}") };
    assert_eq!((result.stdout.as_slice(), result.stderr.as_slice()), (b"piece\n".as_slice(), b"note\n".as_slice()));
    for (stream, was) in [("stdout", "piece\n"), ("stderr", "note\n")] {
        let file = rig.path().join(stream);
        for lost in [Vec::new(), vec![0; was.len()], was.as_bytes()[..2].to_vec()] {
            fs::write(&file, &lost).expect("written");
            assert_eq!(rig.look(), Sight::Lost { is_cancel_asked: false }, "{stream} is {lost:?}");
        }
        fs::remove_file(&file).expect("removed");
        assert_eq!(rig.look(), Sight::Lost { is_cancel_asked: false }, "{stream} is gone");
        fs::write(&file, was).expect("written");
        assert_eq!(rig.look(), whole);
    }
    for torn in [&b""[..], &[0; 90], &b"{\"end\":{\"exited\":0},\"is_tr"[..]] {
        fs::write(rig.path().join("exit.json"), torn).expect("written");
        assert_eq!(rig.look(), Sight::Lost { is_cancel_asked: false }, "exit.json is {torn:?}");
    }
}

/// What the helper below does in a process of its own: it starts a run and a call as the daemon does, and is killed.
const ROLE: &str = "CONTENTD_TEST_DAEMON_STATE";

#[test]
fn helper_process_that_plays_the_daemon() {
    let Some(state) = std::env::var_os(ROLE).map(PathBuf::from) else { return };
    // As in the daemon: a signal that is ignored where the tests are started, as SIGINT is beside a script, is heard here,
    // and what is started from here does not ignore it.
    for signal in [Signal::INT, Signal::HUP, Signal::TERM] {
        let number = signal.as_raw();
        signal_hook::flag::register_conditional_shutdown(number, 128 + number, Arc::new(true.into())).expect("heard");
    }
    let dirs = RunDirs::new(&state);
    let script = "echo $$ > run.pid; while [ ! -e gate ]; do sleep 0.02; done; echo piece";
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    let request =
        Request { argv, cwd: state.clone(), grace_ms: 5_000, max_output: MAX_OUTPUT, task: None, is_repeatable: false };
    let (dir, lock) = dirs.create(&AttemptKey("0a".repeat(16)), &request, b"").expect("made");
    let _runner = launch(Path::new(RUNNER), &dir, &env(), lock).expect("a runner");
    let stdin = RunFiles::new(&state).create(&"call".into(), b"").expect("made");
    let mut call = Command::new("sh");
    call.args(["-c", "while [ ! -e gate ]; do sleep 0.02; done"]).current_dir(&state).stdin(stdin);
    let mut child = call.spawn().expect("spawned");
    drop(call);
    fs::write(state.join("daemon.ready"), "yes\n").expect("written");
    child.wait().expect("reaped, if nobody kills this process before");
}

#[test]
fn runs_and_locks_outlive_the_daemon_and_signals_to_its_group() {
    use std::os::unix::process::CommandExt;
    for signal in [Signal::KILL, Signal::INT, Signal::HUP, Signal::TERM] {
        let rig = Rig::new();
        let mut daemon = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "helper_process_that_plays_the_daemon"])
            .env(ROLE, rig.state.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a daemon");
        rig.wait_for_file("daemon.ready");
        rig.wait_for_file("run.pid");
        let group = Pid::from_child(&daemon);
        if signal == Signal::KILL {
            kill_process(group, signal).expect("killed");
        } else {
            kill_process_group(group, signal).expect("killed");
        }
        daemon.wait().expect("reaped");
        assert_eq!(rig.look(), Sight::Running, "{signal:?}");
        if signal == Signal::KILL {
            assert!(!RunFiles::new(rig.state.path()).is_quiet(&"call".into()), "the call goes on");
        }
        fs::write(rig.file("gate"), "").expect("written");
        let Sight::Ended(result, None) = rig.wait_for("its end", is_ended) else { panic!("stopped") };
        assert_eq!((result.end, result.stdout), (CallEnd::Exited(0), b"piece\n".to_vec()), "{signal:?}");
        rig.wait_for("both quiet", |_| {
            rig.dirs.is_quiet(&rig.key) && RunFiles::new(rig.state.path()).is_quiet(&"call".into())
        });
    }
}

/// A run directory as the runner's user left it, that user being nobody's friend.
#[test]
fn whatever_lies_in_a_shared_run_directory_holds_nobody_up_and_shows_nothing_else() {
    use std::os::unix::fs::symlink;
    let rig = Rig::new();
    let dirs = RunDirs::new(rig.state.path()).with_access(Access::Shared);
    let secret = rig.file("secret");
    let exit = r#"{"end":{"exited":0},"is_truncated":false,"stopped":null,"ended_at_ms":1}"#;
    fs::write(&secret, exit).expect("written");
    let fifo = |path: &Path| {
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).expect("made");
    };
    let huge = |path: &Path| fs::File::create(path).and_then(|file| file.set_len(1 << 40)).expect("made");
    type Trap<'a> = &'a dyn Fn(&Path);
    let traps: [(&str, Trap<'_>); 6] = [
        ("a link", &|path| symlink(&secret, path).expect("linked")),
        ("a second name", &|path| fs::hard_link(&secret, path).expect("linked")),
        ("a pipe", &fifo),
        ("a directory", &|path| fs::create_dir(path).expect("made")),
        ("an endless file", &huge),
        ("a socket", &|path| drop(std::os::unix::net::UnixListener::bind(path).expect("bound"))),
    ];
    for (number, (what, trap)) in traps.iter().enumerate() {
        let key = AttemptKey(format!("{number:032}"));
        let (dir, lock) = dirs.create(&key, &rig.request("true"), b"").expect("made");
        trap(&dir.join("exit.json"));
        assert_eq!(dirs.look(&key), Sight::Starting, "{what}");
        trap(&dir.join("started"));
        assert_eq!(dirs.look(&key), Sight::Running, "{what}");
        drop(lock);
        assert_eq!(dirs.look(&key), Sight::Lost { is_cancel_asked: false }, "{what}");
        trap(&dir.join("cancel"));
        dirs.ask_cancel(&key).expect("whatever is there asks for the end");
        assert_eq!(dirs.look(&key), Sight::Lost { is_cancel_asked: true }, "{what}");
        // The honest ending, and dishonest output.
        remove(&dir.join("exit.json"));
        fs::write(dir.join("exit.json"), exit).expect("written");
        trap(&dir.join("stdout"));
        let Sight::Ended(result, None) = dirs.look(&key) else { panic!("{what}: not ended") };
        assert!(result.is_truncated && result.stdout.len() <= MAX_OUTPUT, "{what}");
        assert!(result.stdout.iter().all(|byte| *byte == 0), "{what}: nothing of elsewhere is shown");
        assert!(dirs.written(&key, "stdout", 100).iter().all(|byte| *byte == 0), "{what}");
        dirs.forget(&key);
        assert!(!dir.exists(), "{what}");
    }
    assert_eq!(fs::read_to_string(&secret).expect("there"), exit, "and it is not harmed");
}

fn remove(path: &Path) {
    if path.symlink_metadata().expect("there").is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }
        .expect("removed");
}

#[test]
fn a_watcher_is_not_kept_by_a_lock_that_outlives_the_run() {
    let rig = Rig::new();
    let (dir, lock) = rig.dirs.create(&rig.key, &rig.request("true"), b"").expect("made");
    let started = fs::File::create(dir.join("started")).expect("made");
    fs::create_dir(dir.join("exit.json")).expect("made, and no ending");
    rustix::fs::flock(&started, rustix::fs::FlockOperation::LockExclusive).expect("locked by somebody for ever");
    let (told, ends) = mpsc::channel();
    let watchers = Watchers::default();
    watchers.on_run_ended(Arc::new(move |task| drop(told.send(task))));
    watchers.arm(&rig.key, &"task-a".into(), &dir, None);
    assert!(ends.recv_timeout(Duration::from_millis(300)).is_err(), "it runs");
    drop(lock);
    ends.recv_timeout(LONG).expect("told");
    drop(started);
}

/// Lets a command write into its own run directory, whose name it reads off its standard input.
const OWN_DIRECTORY: &str = "dir=$(dirname \"$(readlink /proc/self/fd/0)\")";
/// Lets a command wait until the test lets it end, or is over itself.
const AWAIT_GATE: &str = "while [ -d \"$dir\" ] && [ ! -e gate ]; do sleep 0.02; done";

/// Asserts that the run goes on and that nobody is told of an end, then lets it end well.
fn assert_goes_on_to_its_piece(rig: &Rig, child: Child, sight: &Sight) {
    let (told, ends) = mpsc::channel();
    let watchers = Watchers::default();
    watchers.on_run_ended(Arc::new(move |task| drop(told.send(task))));
    watchers.arm(&rig.key, &"task-a".into(), &rig.path(), None);
    assert_eq!(rig.look(), *sight);
    assert!(!rig.dirs.is_quiet(&rig.key), "its runner lives");
    assert!(ends.recv_timeout(Duration::from_millis(300)).is_err(), "nobody is told");
    fs::write(rig.file("gate"), "").expect("written");
    ends.recv_timeout(LONG).expect("told of the end");
    let Sight::Ended(result, None) = rig.look() else { panic!("told of an end that is none: {:?}", rig.look()) };
    assert_eq!((result.end, result.stdout), (CallEnd::Exited(0), b"the piece\n".to_vec()));
    let mut child = child;
    child.wait().expect("reaped");
    fs::remove_file(rig.file("gate")).expect("removed");
}

#[test]
fn an_ending_that_the_command_wrote_itself_is_not_believed_while_it_works() {
    for (end, stopped) in [
        (r#"{"not_started":"nobody was here"}"#, "null"),
        (r#"{"exited":1}"#, "null"),
        (r#"{"exited":1}"#, r#""interrupted""#),
        (r#"{"signalled":15}"#, r#""cancelled""#),
    ] {
        let rig = Rig::new();
        let lie = format!(r#"{{"end":{end},"is_truncated":false,"stopped":{stopped},"ended_at_ms":1}}"#);
        let child = rig.start(&format!(
            "{OWN_DIRECTORY}; echo '{lie}' > \"$dir/exit.json\"; echo yes > lied; {AWAIT_GATE}; echo the piece"
        ));
        rig.wait_for_file("lied");
        assert!(rig.path().join("exit.json").exists());
        assert_goes_on_to_its_piece(&rig, child, &Sight::Running);
    }
}

#[test]
fn a_command_that_frees_its_lock_or_takes_away_that_it_started_still_runs() {
    for (deed, sight) in [
        ("flock -u 0", Sight::Running),
        ("exec < /dev/null", Sight::Running),
        (r#"flock -u 0; rm "$dir/started""#, Sight::Starting),
    ] {
        let rig = Rig::new();
        let child = rig.start(&format!("{OWN_DIRECTORY}; {deed}; echo yes > freed; {AWAIT_GATE}; echo the piece"));
        rig.wait_for_file("freed");
        assert_goes_on_to_its_piece(&rig, child, &sight);
    }
}

#[test]
fn what_is_said_not_to_have_started_counts_once_nobody_is_left() {
    let rig = Rig::new();
    let (dir, lock) = rig.dirs.create(&rig.key, &rig.request("true"), b"").expect("made");
    fs::write(dir.join("started"), "").expect("written");
    let exit = r#"{"end":{"not_started":"why"},"is_truncated":false,"stopped":null,"ended_at_ms":1}"#;
    fs::write(dir.join("exit.json"), exit).expect("written");
    assert_eq!(rig.look(), Sight::Running);
    drop(lock);
    let ended = rig.wait_for("its end", is_ended);
    assert!(matches!(ended, Sight::Ended(result, None) if result.end == CallEnd::NotStarted("why".into())));
}

#[test]
fn a_sealed_directory_outlives_its_attempt_so_that_a_start_that_hung_finds_it() {
    let rig = Rig::new();
    assert!(rig.dirs.seal(&rig.key), "nothing was made");
    rig.dirs.forget(&rig.key);
    let create = || rig.dirs.create(&rig.key, &rig.request("echo > ran"), b"the text");
    assert!(matches!(create(), Err(RunDirError::Exists(_))), "a start that hung before it made the directory");

    // And one that hung after that.
    let rig = Rig::new();
    let (dir, lock) = rig.dirs.create(&rig.key, &rig.request("echo > ran"), b"the text").expect("made");
    rig.dirs.ask_cancel(&rig.key).expect("sealed by hand, for the lock is held");
    rig.dirs.forget(&rig.key);
    launch(Path::new(RUNNER), &dir, &env(), lock).expect("a runner").0.wait().expect("reaped");
    assert!(!rig.file("ran").exists());
    assert_eq!(fs::read_dir(&dir).expect("there").count(), 1, "nothing but the seal is kept of it");

    let day = Duration::from_secs(24 * 3600);
    assert!(!rig.dirs.sweep(&rig.key) && dir.exists(), "it is too early");
    let long_ago = std::time::SystemTime::now() - day - LONG;
    fs::File::open(&dir).and_then(|dir| dir.set_modified(long_ago)).expect("aged");
    assert!(rig.dirs.sweep(&rig.key) && !dir.exists());
}
