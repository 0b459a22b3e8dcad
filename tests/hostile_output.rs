//! A million mutated outputs: no job is taken for completed, failed, lost, refused or absent but by what its output says.
//!
//! Recorded outputs, and what each kind of generator in the examples writes, are mutated (bytes, lines, JSON, the end of the
//! call) and read twice: by contentd and by [`oracle`]. Both must come to the same. The same seed makes the same mutations:
//!
//! ```text
//! CONTENTD_MUTATIONS=20000000 cargo test --test hostile_output             a longer run
//! CONTENTD_MUTATION_SEED=7 cargo test --test hostile_output                other mutations
//! CONTENTD_MUTATION_SEED=7 CONTENTD_MUTATION=1234 cargo test --test hostile_output -- --nocapture     one of them again
//! ```

#[path = "hostile/cases.rs"]
mod cases;
#[path = "hostile/mutate.rs"]
mod mutate;
#[path = "hostile/oracle.rs"]
mod oracle;
#[path = "support/tally.rs"]
mod tally;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use cases::{Base, bases, job};
use contentd::generator::Job;
use contentd::generator::call::CallResult;
use contentd::task::outcome::JobState;
use mutate::{Draws, mutate};
use oracle::{Told, told};

const SEED: u64 = 0x00C0_FFEE;
const MUTATIONS: u64 = 1_000_000;
/// Whatever an output may be taken for.
const CLASSES: [&str; 17] = [
    "absent",
    "accepted",
    "cancelled",
    "completed",
    "failed",
    "found",
    "job cancelled",
    "missing",
    "not ready",
    "not taken",
    "piece",
    "processing",
    "refused",
    "rejected",
    "run failed",
    "submitted",
    "unclear",
];
/// How many a thread takes at once.
const PORTION: u64 = 2_000;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, and a whole number is wanted")))
}

/// The mutation that a seed and a number name.
fn mutation(bases: &[Base], key: &str, seed: u64, number: u64) -> (usize, CallResult) {
    let mut draws = Draws::new(seed, number);
    let at = draws.below(bases.len());
    let other = draws.below(bases.len());
    let mut call = bases[at].call.clone();
    mutate(&mut call, &bases[other].call, key, &mut draws);
    (at, call)
}

/// What contentd takes it for; `Err` where that is not what it says.
fn judged(base: &Base, job: &Job, call: &CallResult) -> Result<Told, String> {
    let told = told(&base.subject, base.question, job, call);
    let expected = base.subject.expected(base.question, job, call);
    if told == expected {
        return Ok(told);
    }
    Err(format!(
        "{}: taken for {told:?}, and it says {expected:?}\n{:?}, cut: {}\n--- stdout\n{}\n--- stderr\n{}",
        base.name,
        call.end,
        call.is_truncated,
        String::from_utf8_lossy(&call.stdout),
        String::from_utf8_lossy(&call.stderr)
    ))
}

fn class(told: &Told) -> &'static str {
    match told {
        Told::State(state) => state.as_str(),
        Told::Unclear => "unclear",
        Told::Accepted(_) => "accepted",
        Told::Rejected => "rejected",
        Told::NotTaken => "not taken",
        Told::Missing => "missing",
        Told::Found(_) => "found",
        Told::Absent => "absent",
        Told::Piece(_) => "piece",
        Told::NotReady => "not ready",
        Told::Failed => "run failed",
        Told::Cancelled => "job cancelled",
        Told::Refused => "refused",
    }
}

/// Without a mutation every output is read as a person reads it.
#[test]
fn outputs_as_they_are() {
    let job = job();
    let mut seen = BTreeMap::new();
    for base in bases() {
        let told = judged(&base, &job, &base.call).unwrap_or_else(|fault| panic!("{fault}"));
        seen.entry(class(&told)).or_insert_with(Vec::new).push(base.name);
    }
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), CLASSES, "{seen:#?}");
}

#[test]
fn a_million_mutated_outputs() {
    let (bases, job) = (bases(), job());
    let key = job.attempt.key.as_str();
    let seed = setting("CONTENTD_MUTATION_SEED").unwrap_or(SEED);
    if let Some(number) = setting("CONTENTD_MUTATION") {
        let (at, call) = mutation(&bases, key, seed, number);
        let told = judged(&bases[at], &job, &call).unwrap_or_else(|fault| panic!("{fault}"));
        return println!("{}: {told:?}\n{}", bases[at].name, String::from_utf8_lossy(&call.stdout));
    }
    let count = setting("CONTENTD_MUTATIONS").unwrap_or(MUTATIONS);
    let next = AtomicU64::new(0);
    let work = || {
        let mut classes: BTreeMap<&str, u64> = BTreeMap::new();
        loop {
            let from = next.fetch_add(PORTION, Ordering::Relaxed);
            for number in from..(from + PORTION).min(count) {
                let (at, call) = mutation(&bases, key, seed, number);
                let told = judged(&bases[at], &job, &call).unwrap_or_else(|fault| {
                    panic!("CONTENTD_MUTATION_SEED={seed} CONTENTD_MUTATION={number}\n{fault}")
                });
                *classes.entry(class(&told)).or_default() += 1;
            }
            if from + PORTION >= count {
                return classes;
            }
        }
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let mut classes: BTreeMap<&str, u64> = BTreeMap::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            for (class, seen) in worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                *classes.entry(class).or_default() += seen;
            }
        }
    });
    // What is never seen is not tested: a mutation must leave enough of each kind alive.
    let completed = classes.get(JobState::Completed.as_str()).copied().unwrap_or_default();
    let failed = classes.get(JobState::Failed.as_str()).copied().unwrap_or_default();
    if count >= MUTATIONS {
        assert!(classes.len() == CLASSES.len() && classes.values().all(|seen| *seen > 500), "{classes:?}");
    }
    let unclear = classes.get("unclear").copied().unwrap_or_default();
    tally::tell(
        "hostile-output",
        &format!(
            "{count} mutated outputs of {} (seed {seed}): {completed} taken for completed, {failed} for failed, {unclear} \
             for unclear, each as it says",
            bases.len()
        ),
    );
}
