//! Submits, each acknowledged after its fsync. Nothing runs meanwhile: the daemon is paused, so that a submit is the task's row and
//! its audit row.
//!
//! Floor: the time that Diesel takes for the same rows on a second thread, plus the time that a socket takes for messages of the same
//! size, per task.

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::Bench;
use crate::client::{Client, Dialect, VARLINK, submit, submit_batch};
use crate::daemon::Daemon;
use crate::floors::committer::{Committer, Rows};
use crate::floors::echo::Echo;
use crate::floors::tables::{Fresh, GENERATOR};
use crate::outcome::{Bound, Outcome, Unit};

/// A generator that is never called here.
pub const HELD: &str = "[generators.held]\ndetached = false\nfree_to_repeat = true\n[generators.held.submit]\n\
                        run = [\"/bin/echo\", \"{topic}\"]\ncontent = \"text\"\n";

/// One way to submit.
pub struct Way {
    /// What its row is called.
    pub row: &'static str,
    /// How many at once.
    pub clients: usize,
    /// Tasks in a call.
    pub in_a_call: usize,
    /// Calls of a run, shared by the clients.
    pub calls: usize,
    /// What is promised of it.
    pub bound: Bound,
}

/// One client, one task a call.
pub fn one_client(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let calls = bench.count(3_000);
    measure(bench, &Way { row: "submit, 1 client", clients: 1, in_a_call: 1, calls, bound: Bound::AtLeast(0.85) })
}

/// Eight clients, one task a call.
pub fn eight_clients(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let calls = bench.count(8_000);
    measure(bench, &Way { row: "submit, 8 clients", clients: 8, in_a_call: 1, calls, bound: Bound::AtLeast(0.6) })
}

/// One client, a hundred tasks a call.
pub fn batches(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let calls = bench.count(200);
    measure(bench, &Way { row: "submit, 100 in a call", clients: 1, in_a_call: 100, calls, bound: Bound::AtLeast(0.7) })
}

fn measure(bench: &Bench, way: &Way) -> anyhow::Result<Vec<Outcome>> {
    let contentd = Ours::start(&bench.work.join("submit"), way.in_a_call)?;
    let committer = Committer::start(&bench.work.join("submit-floor"))?;
    let call = &contentd.call;
    let mut reply = contentd.daemon.client()?.ask(call)?.to_vec();
    reply.push(0);
    let mut outcome = Outcome::of(way.row, Unit::PerSecond, way.bound);
    let tasks = (way.calls * way.in_a_call) as f64;
    for _ in 0..bench.options.runs {
        let ours = contentd.run(way)?;
        let echo = Echo::start(way.clients, reply.clone())?;
        let floor = exchanges(VARLINK, &echo.socket(), call, way.clients, way.calls)? + commits(&committer, way)?;
        outcome.push(tasks / ours.as_secs_f64(), tasks / floor.as_secs_f64());
    }
    Ok(vec![outcome])
}

/// A daemon that is paused, and what it is sent.
pub struct Ours {
    daemon: Daemon,
    call: Vec<u8>,
}

impl Ours {
    /// Starts it.
    pub fn start(dir: &Path, in_a_call: usize) -> anyhow::Result<Self> {
        let daemon = Daemon::start(dir, 8, HELD)?;
        daemon.pause()?;
        let call = match in_a_call {
            1 => submit(GENERATOR),
            count => submit_batch(GENERATOR, count),
        };
        Ok(Self { daemon, call })
    }

    /// How long the calls of a run take.
    pub fn run(&self, way: &Way) -> anyhow::Result<Duration> {
        exchanges(VARLINK, &self.daemon.socket(), &self.call, way.clients, way.calls)
    }
}

/// How long `calls` of the same message take, shared by so many clients.
pub fn exchanges(
    dialect: Dialect,
    socket: &Path,
    call: &[u8],
    clients: usize,
    calls: usize,
) -> anyhow::Result<Duration> {
    let mut connected = (0..clients).map(|_| Client::connect_in(dialect, socket)).collect::<Result<Vec<_>, _>>()?;
    if let [client] = &mut connected[..] {
        let began = Instant::now();
        for _ in 0..calls {
            client.ask(call)?;
        }
        return Ok(began.elapsed());
    }
    let start = Barrier::new(clients + 1);
    std::thread::scope(|scope| {
        let start = &start;
        let work = |mut client: Client| {
            move || {
                start.wait();
                (0..calls / clients).try_for_each(|_| client.ask(call).map(drop))
            }
        };
        let running: Vec<_> = connected.into_iter().map(|client| scope.spawn(work(client))).collect();
        start.wait();
        let began = Instant::now();
        for thread in running {
            thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(began.elapsed())
    })
}

/// How long the commits of the floor take: as many rows in each as clients may share one, or as a call has tasks.
fn commits(committer: &Committer, way: &Way) -> anyhow::Result<Duration> {
    let in_a_commit = way.clients * way.in_a_call;
    let batches: Vec<_> = (0..way.calls / way.clients).map(|_| Fresh::some(in_a_commit)).collect();
    let began = Instant::now();
    for batch in batches {
        committer.commit(batch, Rows::Submitted)?;
    }
    Ok(began.elapsed())
}
