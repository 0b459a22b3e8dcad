//! SIGKILL at random instants under load: a hundred daemons in a row on one database, each cut at a drawn moment of its start or its
//! work, while a client submits with keys of its own all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::counting::{self, Job, KINDS, MOODS};
use crate::live::{Home, call, eventually, is_answered_by};
use crate::{promises, tally};

/// How many rounds, where the environment does not say.
const ROUNDS: usize = 100;
/// Tasks that the client may submit in each round.
const TASKS_A_ROUND: usize = 4;

/// SplitMix64: small, and the same everywhere.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

/// Submits all the time, repeats what was not answered under the same key, and notes what was acknowledged.
struct Client {
    allowance: Arc<AtomicUsize>,
    is_ending: Arc<AtomicBool>,
    told: Arc<Mutex<BTreeMap<usize, String>>>,
    thread: thread::JoinHandle<()>,
}

impl Client {
    fn start(socket: PathBuf, seed: u64) -> Self {
        let (allowance, is_ending) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let told = Arc::new(Mutex::new(BTreeMap::new()));
        let thread = {
            let (allowance, is_ending, told) = (allowance.clone(), is_ending.clone(), told.clone());
            thread::spawn(move || {
                let mut draws = Draws(seed ^ 0xC11E);
                for number in 0.. {
                    let task = task(number, &mut draws);
                    while allowance.load(Ordering::SeqCst) <= number {
                        if is_ending.load(Ordering::SeqCst) {
                            return;
                        }
                        thread::sleep(Duration::from_millis(2));
                    }
                    let id = loop {
                        // A daemon that is not there, or goes in the middle: the same again.
                        match call(&socket, "io.contentd.Tasks.Submit", json!({ "task": task })) {
                            Ok(Ok(reply)) => break reply["task_id"].as_str().unwrap().to_owned(),
                            Ok(Err(refusal)) => panic!("{task} was refused: {refusal:?}"),
                            Err(_) => thread::sleep(Duration::from_millis(5)),
                        }
                    };
                    told.lock().unwrap().insert(number, id);
                }
            })
        };
        Self { allowance, is_ending, told, thread }
    }

    /// Ends once all it may submit was acknowledged: number and task id.
    fn end(self) -> BTreeMap<usize, String> {
        self.is_ending.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        let told = self.told.lock().unwrap();
        told.clone()
    }
}

fn topic(number: usize, mood: &str) -> String {
    format!("t{number} {mood}").trim_end().to_owned()
}

fn task(number: usize, draws: &mut Draws) -> serde_json::Value {
    let draw =
        |from: &[&'static str], draws: &mut Draws| from[usize::try_from(draws.below(from.len() as u64)).unwrap()];
    let (kind, mood) = (draw(&KINDS, draws), draw(&MOODS, draws));
    json!({ "account": "blog", "topic": topic(number, mood), "key": format!("k{number}"), "generator": kind })
}

#[test]
fn killed_a_hundred_times_under_load_nothing_is_lost_and_nothing_is_paid_twice() {
    let rounds = number("CONTENTD_KILL_ROUNDS").map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("CONTENTD_FAULTS_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    println!("CONTENTD_FAULTS_SEED={seed}");
    let home = counting::home();
    let first = home.start();
    first.add_account("blog");
    first.kill();
    let mut draws = Draws(seed);
    let client = Client::start(home.socket(), seed);
    let mut starts = Vec::new();
    for round in 0..rounds {
        client.allowance.fetch_add(TASKS_A_ROUND, Ordering::SeqCst);
        let begun = Instant::now();
        let mut child = home.spawn(home.command());
        // Every third dies while it starts, or soon after.
        if round % 3 > 0 {
            eventually("the next daemon serves", || {
                assert!(child.try_wait().unwrap().is_none(), "it ended by itself:\n{}", home.log());
                is_answered_by(&home.socket(), child.id()).then_some(())
            });
            starts.push(begun.elapsed());
            assert_eq!(promises::broken(&home.database()), [""; 0], "round {round} of seed {seed}");
        }
        thread::sleep(Duration::from_micros(draws.below(250_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        if round % 10 == 0 {
            assert_eq!(promises::broken_on_disk(&home.database()), [""; 0], "after round {round} of seed {seed}");
        }
    }
    let told = rest(&home, client);
    let mut faults = promises::broken(&home.database());
    faults.extend(lost_or_made_up(&home, &told));
    let jobs = counting::jobs(&home);
    faults.extend(paid_twice(&home, &jobs));
    assert!(faults.is_empty(), "seed {seed}:\n{}\n{}", faults.join("\n"), home.log());
    starts.sort();
    let (answered, tasks, jobs) = (starts.len(), told.len(), jobs.len());
    let median = starts.get(answered / 2).map_or(0, Duration::as_millis);
    tally::tell(
        "faults: SIGKILL",
        &format!(
            "{rounds} rounds of SIGKILL under load, {answered} after the first answer, which came {median} ms after the start (median): {tasks} tasks acknowledged, {jobs} jobs made (seed {seed})"
        ),
    );
}

const UNRESTED: &str = "SELECT id || ' ' || generator || ' ' || state || ' ' || topic AS line FROM tasks
    WHERE state NOT IN ('completed', 'failed', 'timeout', 'cancelled', 'held')";

/// The last daemon runs until nothing more happens by itself; gives what was acknowledged.
fn rest(home: &Home, client: Client) -> BTreeMap<usize, String> {
    let daemon = home.start();
    let told = client.end();
    let mut unrested = Vec::new();
    let end = Instant::now() + crate::live::PATIENCE;
    while Instant::now() < end {
        unrested = promises::lines(&home.database(), UNRESTED);
        if unrested.is_empty() {
            assert_eq!(daemon.stop(), Some(0), "{}", home.log());
            return told;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("never came to rest: {unrested:?}\n{}", home.log());
}

fn lost_or_made_up(home: &Home, told: &BTreeMap<usize, String>) -> Vec<String> {
    let stored: BTreeSet<String> =
        promises::lines(&home.database(), "SELECT key || ' ' || id AS line FROM tasks").into_iter().collect();
    let told: BTreeSet<String> = told.iter().map(|(number, id)| format!("k{number} {id}")).collect();
    let lost = told.difference(&stored).map(|task| format!("{task} was acknowledged and is lost"));
    lost.chain(stored.difference(&told).map(|task| format!("{task} was made up"))).collect()
}

/// Holds the jobs that were made against the tasks and their attempts.
fn paid_twice(home: &Home, jobs: &[Job]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut by_key: BTreeMap<&str, usize> = BTreeMap::new();
    let mut by_topic: BTreeMap<&str, usize> = BTreeMap::new();
    for job in jobs {
        *by_key.entry(&job.key).or_default() += 1;
        *by_topic.entry(&job.topic).or_default() += 1;
    }
    faults
        .extend(by_key.iter().filter(|(_, count)| **count > 1).map(|(key, count)| format!("{key} made {count} jobs")));
    let known: BTreeSet<String> =
        promises::lines(&home.database(), "SELECT key AS line FROM attempts").into_iter().collect();
    faults.extend(by_key.keys().filter(|key| !known.contains(**key)).map(|key| format!("nobody knows the key {key}")));
    let tasks =
        "SELECT generator || '|' || state || '|' || retry_count || '|' || topic || '|' || coalesce(reason, error, '') AS line
         FROM tasks";
    for line in promises::lines(&home.database(), tasks) {
        let [kind, state, retries, topic, why] = line.splitn(5, '|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let made = by_topic.get(topic).copied().unwrap_or(0);
        // A run that dies has ended, and its next attempt is another job: that is what retries are for.
        let jobs = if kind == "runs" && topic.contains("[die]") { 2 } else { 1 };
        let is_well = match (kind, state) {
            (_, "completed") => made == jobs,
            // Nobody can be asked, so a person decides.
            ("blind", "held") => made <= 1,
            _ => false,
        };
        if !is_well {
            faults.push(format!("{topic} of {kind} is {state} ({why}) with {made} jobs"));
        }
        // Every kill interrupts attempts, and none of those is spent.
        if retries != (jobs - 1).to_string() {
            faults.push(format!("{topic} of {kind} has spent {retries} retries for {jobs} jobs"));
        }
    }
    faults
}
