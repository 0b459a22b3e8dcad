//! What generators and their runners can leave in files, and what comes over the run socket.

use std::fs;
use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::OnceLock;

use contentd::generator::call::CallEnd;
use contentd::generator::exec::Environment;
use contentd::generator::log::GeneratorLogs;
use contentd::generator::run::directory::{RunDirs, Sight};
use contentd::generator::run::handover::{receive, seal};
use contentd::generator::run::{Exit, ExitEnd, Request};
use contentd::task::{AttemptKey, TaskId};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg, socketpair,
};

use crate::cut;

/// A run directory that is used again and again.
struct Run {
    // Removed when the program ends by itself.
    _state: tempfile::TempDir,
    dirs: RunDirs,
    key: AttemptKey,
    path: PathBuf,
    lock: File,
    environment: File,
}

impl Run {
    fn new() -> Self {
        let state = tempfile::tempdir().expect("a temporary directory");
        let request = Request {
            argv: vec!["true".into()],
            cwd: "/".into(),
            grace_ms: 1,
            max_output: 1,
            task: None,
            is_repeatable: false,
        };
        let dirs = RunDirs::new(state.path());
        let key = AttemptKey("0a".repeat(16));
        let (path, lock) = dirs.create(&key, &request, b"in").expect("a run directory");
        let environment = seal(&Environment::default()).expect("a sealed environment");
        Self { _state: state, dirs, key, path, lock, environment }
    }
}

fn run() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    RUN.get_or_init(Run::new)
}

/// A run directory: a byte of which files are there and which locks are held, then `exit.json`, 0xff, standard output.
pub fn runs(data: &[u8]) {
    let Some((&there, rest)) = data.split_first() else { return };
    let run = run();
    let (exit, stdout) = cut(rest, 0xff);
    let put = |bit: u8, name: &str, bytes: &[u8]| {
        let path = run.path.join(name);
        if there & bit == 0 {
            let _ = fs::remove_file(path);
        } else {
            fs::write(path, bytes).expect("written");
        }
    };
    put(1, "exit.json", exit);
    put(2, "started", b"");
    put(4, "stdout", stdout);
    put(8, "cancel", b"");
    let is_runner_gone = there & 16 == 0;
    let is_lock_free = there & 32 != 0;
    let runner = File::open(run.path.join("request.json")).expect("the request of a run");
    if !is_runner_gone {
        runner.lock().expect("locked");
    }
    if is_lock_free {
        run.lock.unlock().expect("unlocked");
    }
    let sight = run.dirs.look(&run.key);
    run.lock.lock().expect("locked again");
    drop(runner);
    let told = (there & 1 != 0).then(|| serde_json::from_slice::<Exit>(exit).ok()).flatten();
    // What was not started leaves nobody behind, so that its lock must be free too.
    let is_believed = |exit: &Exit| is_runner_gone && (is_lock_free || !matches!(exit.end, ExitEnd::NotStarted(_)));
    let has_started = there & 2 != 0;
    let is_quiet = is_runner_gone && is_lock_free;
    match (told.filter(is_believed), sight) {
        (Some(exit), Sight::Ended(result, stopped)) => {
            assert_eq!(stopped, exit.stopped);
            assert_eq!(result.stdout, if there & 4 == 0 { &[][..] } else { stdout });
            assert!(result.is_truncated || !exit.is_truncated);
            if let ExitEnd::NotStarted(why) = exit.end {
                let CallEnd::NotStarted(shown) = result.end else { panic!("it was started") };
                assert!(why.starts_with(&shown) && shown.len() <= 4096);
            }
        }
        (None, Sight::Lost { is_cancel_asked }) => {
            assert!(is_quiet && has_started && is_cancel_asked == (there & 8 != 0));
        }
        (None, Sight::NeverStarted) => assert!(is_quiet && !has_started),
        (None, Sight::Running) => assert!(has_started && !is_quiet),
        (None, Sight::Starting) => assert!(!has_started && !is_quiet),
        (told, sight) => panic!("{told:?} was taken for {sight:?}"),
    }
}

/// A message on the run socket. `DIR` in it is the directory of a run that waits; the first byte says what comes along.
pub fn handover(data: &[u8]) {
    let Some((&along, message)) = data.split_first() else { return };
    let run = run();
    let directory = run.path.to_str().expect("a plain path");
    let mut bytes = if along & 4 == 0 { b"contentd-run 1\n".to_vec() } else { Vec::new() };
    match message.windows(3).position(|window| window == b"DIR") {
        Some(at) => {
            bytes.extend_from_slice(&message[..at]);
            bytes.extend_from_slice(directory.as_bytes());
            bytes.extend_from_slice(&message[at + 3..]);
        }
        None => bytes.extend_from_slice(message),
    }
    let (here, there) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("two");
    let descriptors = [run.lock.as_fd(), run.environment.as_fd(), run.lock.as_fd()];
    let descriptors = &descriptors[..if along & 1 == 0 { 2 } else { 3 - usize::from(along & 2) }];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    if bytes.is_empty() || sendmsg(&here, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL).is_err() {
        return;
    }
    match receive(there.as_fd()) {
        Ok(handover) => {
            assert_eq!(handover.order.directory, run.path, "only a run that waits is taken");
            let is_name = |name: &str| !name.is_empty() && !name.contains(['/', '.', '\n', '\0']);
            assert!(is_name(&handover.order.task) && is_name(&handover.order.generator));
            assert_eq!(descriptors.len(), 2);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The file in which a task's log is kept, as somebody else may have left it.
pub fn logs(data: &[u8]) {
    static LOGS: OnceLock<(tempfile::TempDir, GeneratorLogs)> = OnceLock::new();
    let (state, logs) = LOGS.get_or_init(|| {
        let state = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(state.path().join("logs")).expect("a directory");
        let logs = GeneratorLogs::new(state.path());
        (state, logs)
    });
    fs::write(state.path().join("logs/task-1.jsonl"), data).expect("written");
    let read = logs.read(&TaskId::from("task-1")).expect("what is there can be read");
    let lines = data.split(|byte| *byte == b'\n').count();
    assert!(read.entries.len() <= lines, "more entries than lines");
}
