//! What a runner takes and what it refuses.

use std::fs;

use rustix::net::{AddressFamily, SocketFlags, socketpair};

use super::super::super::runfile::is_lock_free;
use super::super::Request;
use super::super::directory::RunDirs;
use super::*;
use crate::task::AttemptKey;

struct Rig {
    state: tempfile::TempDir,
    directory: PathBuf,
    lock: File,
    here: OwnedFd,
    there: OwnedFd,
}

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).expect("a pair of sockets")
}

fn environment() -> Environment {
    let mut environment = Environment::default();
    environment.set("PATH", "/bin");
    environment.set("TOKEN", "a=b\nc");
    environment.set("EMPTY", "");
    environment
}

impl Rig {
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
        let (directory, lock) = dirs.create(&AttemptKey("0a".repeat(16)), &request, b"in").expect("made");
        let (here, there) = pair(SocketType::SEQPACKET);
        Self { state, directory, lock, here, there }
    }

    fn order(&self) -> Order {
        Order { directory: self.directory.clone(), task: "task-1".into(), generator: "slow".into() }
    }

    /// Sends bytes and descriptors as they are.
    fn send_raw(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut along = SendAncillaryBuffer::new(&mut space);
        assert!(descriptors.is_empty() || along.push(SendAncillaryMessage::ScmRights(descriptors)));
        sendmsg(&self.here, &[IoSlice::new(message)], &mut along, SendFlags::NOSIGNAL).expect("sent");
    }

    fn message(&self, order: &Order) -> Vec<u8> {
        [HEAD, &serde_json::to_vec(order).expect("JSON")].concat()
    }

    #[track_caller]
    fn refusal(&self) -> String {
        match receive(self.there.as_fd()) {
            Ok(_) => panic!("it was taken"),
            Err(error) => error.to_string(),
        }
    }

    /// The refusal of this order with the right descriptors.
    #[track_caller]
    fn refusal_of(&self, order: &Order) -> String {
        let sealed = seal(&environment()).expect("sealed");
        send(self.here.as_fd(), order, &self.lock, &sealed).expect("sent");
        self.refusal()
    }

    #[track_caller]
    fn refusal_with(&self, descriptors: &[BorrowedFd<'_>]) -> String {
        self.send_raw(&self.message(&self.order()), descriptors);
        self.refusal()
    }
}

#[test]
fn a_message_keeps_the_lock_on_its_way_and_hands_it_over() {
    let rig = Rig::new();
    let path = rig.directory.join("lock");
    send(rig.here.as_fd(), &rig.order(), &rig.lock, &seal(&environment()).expect("sealed")).expect("sent");
    let Rig { state: _state, lock, here, there, directory } = rig;
    drop((lock, here));
    assert!(!is_lock_free(&path), "under way");
    let handover = receive(there.as_fd()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((handover.order.directory, handover.order.task.as_str()), (directory, "task-1"));
    assert!(handover.environment == environment());
    assert!(!is_lock_free(&path), "received");
    drop(handover.lock);
    assert!(is_lock_free(&path));
}

#[test]
fn a_message_that_nobody_receives_frees_the_lock() {
    let rig = Rig::new();
    let path = rig.directory.join("lock");
    send(rig.here.as_fd(), &rig.order(), &rig.lock, &seal(&environment()).expect("sealed")).expect("sent");
    let Rig { state: _state, lock, there, .. } = rig;
    drop(lock);
    assert!(!is_lock_free(&path));
    drop(there);
    assert!(is_lock_free(&path));
}

#[test]
fn other_versions_forms_and_sockets_are_refused() {
    let rig = Rig::new();
    let good = rig.message(&rig.order());
    for (message, why) in [
        (good.replace(b"contentd-run 1\n", b"contentd-run 2\n"), "version 1"),
        (b"GET / HTTP/1.1\r\n".to_vec(), "version 1"),
        (good[..good.len() - 1].to_vec(), "malformed"),
        ([good.as_slice(), b" {}"].concat(), "malformed"),
        (good.replace(b"\"task\"", b"\"root\""), "malformed"),
        ([good.as_slice(), &b" ".repeat(MAX_MESSAGE)].concat(), "too long"),
        (good.replace(b"task-1", b"task\\n1"), "no name"),
    ] {
        rig.send_raw(&message, &[]);
        let refusal = rig.refusal();
        assert!(refusal.contains(why), "{}: {refusal}", String::from_utf8_lossy(&message[..40.min(message.len())]));
    }
    let (here, there) = pair(SocketType::STREAM);
    rustix::io::write(&here, &good).expect("written");
    assert!(receive(there.as_fd()).is_err_and(|error| error.to_string().contains("SEQPACKET")));
    let Rig { here, there, .. } = rig;
    drop(here);
    assert!(matches!(receive(there.as_fd()), Err(HandoverError::NoMessage)));
}

trait Replace {
    fn replace(&self, from: &[u8], to: &[u8]) -> Vec<u8>;
}

impl Replace for Vec<u8> {
    fn replace(&self, from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = self.windows(from.len()).position(|part| part == from).expect("it is in there");
        [&self[..at], to, &self[at + from.len()..]].concat()
    }
}

#[test]
fn only_a_plain_path_of_a_run_is_a_directory() {
    let rig = Rig::new();
    let state = rig.state.path().to_owned();
    let key = rig.directory.file_name().expect("a key").to_owned();
    fs::create_dir_all(state.join("elsewhere").join(&key)).expect("made");
    fs::create_dir(state.join("runs/v1/bad.name")).expect("made");
    fs::write(state.join("runs/v1/file"), "").expect("written");
    std::os::unix::fs::symlink(&rig.directory, state.join("runs/v1/link")).expect("linked");
    for (path, why) in [
        (Path::new("runs/v1").join(&key), "plain absolute"),
        (state.join("runs/v1/../v1").join(&key), "plain absolute"),
        (PathBuf::from(format!("{}/runs/./v1/{}", state.display(), key.display())), "plain absolute"),
        (PathBuf::from(format!("{}/", rig.directory.display())), "plain absolute"),
        (state.join("elsewhere").join(&key), "does not end in"),
        (state.join("runs/v1/bad.name"), "does not end in"),
        (state.join("runs/v1"), "does not end in"),
        (state.join("runs/v1/file"), "not a directory"),
        (state.join("runs/v1/link"), "not a directory"),
        (state.join("runs/v1/missing"), "looked at"),
    ] {
        let refusal = rig.refusal_of(&Order { directory: path.clone(), ..rig.order() });
        assert!(refusal.contains(why), "{}: {refusal}", path.display());
    }
}

#[test]
fn only_these_two_descriptors_are_taken() {
    let rig = Rig::new();
    let sealed = seal(&environment()).expect("sealed");
    let other = File::open("/dev/null").expect("there");
    let (lock, env, null) = (rig.lock.as_fd(), sealed.as_fd(), other.as_fd());
    for wrong in [&[][..], &[lock], &[lock, env, null], &[lock, env, null, null, null, null]] {
        let refusal = rig.refusal_with(wrong);
        assert!(refusal.contains("descriptors"), "{}: {refusal}", wrong.len());
    }
    assert!(rig.refusal_with(&[null, env]).contains("regular file"));
    assert!(rig.refusal_with(&[env, lock]).contains("the file `lock`"), "swapped");
    assert!(rig.refusal_with(&[lock, null]).contains("sealed"));
    let request = File::open(rig.directory.join("request.json")).expect("there");
    assert!(rig.refusal_with(&[request.as_fd(), env]).contains("the file `lock`"));
    let again = File::open(rig.directory.join("lock")).expect("there");
    assert!(rig.refusal_with(&[again.as_fd(), env]).contains("somebody else holds it"));
}

#[test]
fn an_environment_that_could_change_or_is_none_is_refused() {
    let rig = Rig::new();
    let memfd = |bytes: &[u8], seals: SealFlags| {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create("environment", flags).expect("made"));
        file.write_all(bytes).expect("written");
        fcntl_add_seals(&file, seals).expect("sealed");
        file
    };
    let long = vec![b'x'; usize::try_from(MAX_ENVIRONMENT).expect("small") + 1];
    for (file, why) in [
        (memfd(b"A=1\0", SealFlags::SHRINK | SealFlags::GROW), "sealed against"),
        (memfd(b"A=1\0", SealFlags::WRITE | SealFlags::SEAL), "sealed against"),
        (memfd(b"A=1", all_seals()), "cut off"),
        (memfd(b"A=1\0\0", all_seals()), "NAME=VALUE"),
        (memfd(b"=1\0", all_seals()), "NAME=VALUE"),
        (memfd(b"A\0", all_seals()), "NAME=VALUE"),
        (memfd(&long, all_seals()), "too long"),
    ] {
        let refusal = rig.refusal_with(&[rig.lock.as_fd(), file.as_fd()]);
        assert!(refusal.contains(why), "{refusal}, not {why}");
    }
    let empty = seal(&Environment::default()).expect("sealed");
    send(rig.here.as_fd(), &rig.order(), &rig.lock, &empty).expect("sent");
    assert!(receive(rig.there.as_fd()).is_ok_and(|handover| handover.environment.0.is_empty()));
}

#[test]
fn a_connection_that_is_closed_before_the_message_is_a_refusal_and_frees_the_lock() {
    let Rig { state, directory, lock, here, there } = Rig::new();
    let order = Order { directory: directory.clone(), task: "task-1".into(), generator: "slow".into() };
    let environment = seal(&environment()).expect("sealed");
    drop(there);
    let error = send(here.as_fd(), &order, &lock, &environment).expect_err("nobody is there");
    assert!(super::super::socket::is_refusal(&error), "{error}");
    drop(lock);
    assert!(is_lock_free(&directory.join("lock")));
    drop(state);
}
