//! beanstalkd with a log on disk that is synced before each answer (`-b DIR -f 0`), called by the same client program as contentd.
//!
//! It knows no commands: a worker, here a thread of the bench, reserves a job, runs its command, and deletes it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};

use super::process::{Server, find, fresh, version};
use super::{Peer, beside};
use crate::Bench;
use crate::client::{Client, Dialect, submission};
use crate::floors::tables::GENERATOR;
use crate::outcome::{Bound, Outcome};
use crate::rows::memory::SETTLED;
use crate::rows::start::{KEY, Mark};
use crate::rows::submits::{Way, exchanges};

/// As one of the peers.
pub const PEER: Peer = Peer { name: "peers-beanstalkd", what: "beanstalkd, synced before each answer", look, measure };

const NAME: &str = "beanstalkd -f 0";
/// Its answer to a put.
const PUT: Dialect = Dialect { end: b'\n', accepted: b"INSERTED " };
/// How long a worker may keep a job, in seconds: longer than any measurement.
const TIME_TO_RUN: u32 = 3_600;

fn look() -> anyhow::Result<String> {
    let version = version(&find("beanstalkd")?, "-v")?;
    Ok(format!("{version}: -b DIR -f 0 (its log is synced before each answer), unix socket"))
}

fn measure(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let synced = Beanstalkd::start(bench, &["-f", "0"])?;
    let message = put();
    let submit = |way: &Way| exchanges(PUT, &synced.socket(), &message, way.clients, way.calls).context("a put failed");
    let bound = Bound::AtLeast(1.5);
    let one = Way { row: "submit, 1 client", clients: 1, in_a_call: 1, calls: bench.count(3_000), bound };
    let eight = Way { row: "submit, 8 clients", clients: 8, in_a_call: 1, calls: bench.count(8_000), bound };
    let mut outcomes = vec![beside::submits(bench, NAME, &one, submit)?, beside::submits(bench, NAME, &eight, submit)?];
    drop(synced);
    outcomes.extend(starts(bench, &message)?);
    outcomes.extend(memory(bench, &message)?);
    Ok(outcomes)
}

/// A put of the task that contentd is given.
fn put() -> Vec<u8> {
    let task = submission(GENERATOR).to_string();
    format!("put 0 0 {TIME_TO_RUN} {}\r\n{task}\r\n", task.len()).into_bytes()
}

fn starts(bench: &Bench, message: &[u8]) -> anyhow::Result<Vec<Outcome>> {
    let server = Beanstalkd::start(bench, &["-f", "0"])?;
    let contentd = beside::start_of_contentd(bench)?;
    let (over, overs) = channel();
    let (worker, command) = (Worker::connect(&server)?, contentd.mark.arguments(KEY));
    let working =
        std::thread::Builder::new().name("beanstalkd-worker".into()).spawn(move || worker.work(&command, &over))?;
    let mut client = Client::connect_in(PUT, &server.socket())?;
    let outcomes = beside::starts(bench, NAME, contentd, bench.count(300), |mark: &mut Mark| {
        let began = Instant::now();
        client.ask(message)?;
        mark.wait()?;
        let took = began.elapsed();
        overs.recv().context("the worker has ended")?;
        Ok(took)
    });
    // Without its server the worker ends, and says why.
    drop(server);
    let ended = working.join().map_err(|_| anyhow!("the worker panicked"))?;
    outcomes.map_err(|error| error.context(format!("the worker: {ended:?}")))
}

/// The queue is filled without a sync, which takes a tenth of the time and the same memory.
fn memory(bench: &Bench, message: &[u8]) -> anyhow::Result<Vec<Outcome>> {
    let unsynced = Beanstalkd::start(bench, &["-F"])?;
    std::thread::sleep(SETTLED);
    let idle = unsynced.server.memory()?;
    exchanges(PUT, &unsynced.socket(), message, 1, bench.count(beside::QUEUED))?;
    beside::memory(bench, NAME, idle, unsynced.server.memory()?, "its workers are processes of their own")
}

/// A server on a directory of its own.
struct Beanstalkd {
    server: Server,
    // A socket's name must be short.
    sockets: tempfile::TempDir,
}

impl Beanstalkd {
    fn start(bench: &Bench, syncs: &[&str]) -> anyhow::Result<Self> {
        let dir = bench.work.join("beanstalkd");
        fresh(&dir.join("log"))?;
        let sockets = tempfile::tempdir()?;
        let socket = sockets.path().join("s");
        let mut command = Command::new(find("beanstalkd")?);
        command.arg("-l").arg(format!("unix:{}", socket.display())).arg("-b").arg(dir.join("log")).args(syncs);
        let server = Server::start(command, &dir.join("messages"), || UnixStream::connect(&socket).is_ok())?;
        Ok(Self { server, sockets })
    }

    fn socket(&self) -> PathBuf {
        self.sockets.path().join("s")
    }
}

/// Takes one job after the other.
struct Worker {
    stream: BufReader<UnixStream>,
}

impl Worker {
    fn connect(server: &Beanstalkd) -> anyhow::Result<Self> {
        Ok(Self { stream: BufReader::new(UnixStream::connect(server.socket())?) })
    }

    /// Runs `command` for every job and tells when the job is deleted; ends with an error when the server is gone.
    fn work(mut self, command: &[String], over: &Sender<Duration>) -> anyhow::Result<()> {
        loop {
            self.stream.get_mut().write_all(b"reserve\r\n")?;
            let reserved = self.line()?;
            let mut words = reserved.strip_prefix("RESERVED ").context("no job is reserved")?.split(' ');
            let (job, bytes) = words.next().zip(words.next()).with_context(|| format!("not understood: {reserved}"))?;
            let mut task = vec![0; bytes.parse::<usize>()? + 2];
            self.stream.read_exact(&mut task)?;
            let began = Instant::now();
            let [program, arguments @ ..] = command else { return Err(anyhow!("no command")) };
            let mut child = Command::new(program);
            child.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
            let output = child.stdout(Stdio::piped()).spawn()?.wait_with_output()?;
            ensure!(output.status.success(), "the command failed");
            self.stream.get_mut().write_all(format!("delete {job}\r\n").as_bytes())?;
            let deleted = self.line()?;
            ensure!(deleted == "DELETED", "not deleted: {deleted}");
            over.send(began.elapsed())?;
        }
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the server is gone");
        Ok(line.trim_end().to_owned())
    }
}
