//! What polls cost: the processes that a generator is polled with in a while, with few and with many jobs in flight, where one call
//! answers for all of them; and how often a job is asked about, and how soon its end is noticed, where each has calls of its own.
//!
//! The generators are shell scripts that note each poll.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::Bench;
use crate::client::{Client, by_state, fill};
use crate::daemon::Daemon;
use crate::outcome::{Bound, Outcome, Unit};

const FEW: usize = 10;
const MANY: usize = 1_000;
/// For how long polls are counted, with one wished every second.
const COUNTED: Duration = Duration::from_secs(10);

/// Many jobs beside few.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let mut polls =
        Outcome::of("poll processes, 1,000 jobs beside 10, one call for all", Unit::PerSecond, Bound::AtMost(1.1));
    let many = bench.count(MANY);
    for _ in 0..bench.options.runs.min(3) {
        polls.push(polls_a_second(&bench.work.join("polls"), many)?, polls_a_second(&bench.work.join("polls"), FEW)?);
    }
    Ok(vec![polls])
}

fn section(dir: &Path) -> String {
    let (jobs, polls) = (dir.join("jobs"), dir.join("polls"));
    // Braces by their numbers: in a command they are a variable of contentd's.
    let submit = r#"printf '\173"key":"%s","state":"processing"\175\n' "$2" >>"$1"; echo ok"#;
    let poll = r#"echo >>"$2"; echo "["; sed '$!s/$/,/' "$1"; echo "]""#;
    format!(
        "[generators.batch]\nidempotent = true\nmax_in_flight = 1000000\n\
         [generators.batch.submit]\nrun = [\"/bin/sh\", \"-c\", {submit:?}, \"sh\", {jobs:?}, \"{{key}}\"]\nref = \"{{key}}\"\n\
         [generators.batch.poll]\nrun = [\"/bin/sh\", \"-c\", {poll:?}, \"sh\", {jobs:?}, {polls:?}]\n\
         items = \"json:\"\nkey = \"json:/key\"\nstate = \"json:/state\"\n\
         [generators.batch.fetch]\nrun = [\"/bin/echo\", \"{{ref}}\"]\ncontent = \"text\"\n\
         [generators.batch.states]\nprocessing = \"processing\"\ncompleted = \"completed\"\n[polling]\ninterval = \"1s\"\n"
    )
}

fn polls_a_second(dir: &Path, jobs: usize) -> anyhow::Result<f64> {
    let daemon = Daemon::start(dir, 8, &section(dir))?;
    let mut client = daemon.client()?;
    fill(&mut client, "batch", jobs)?;
    let began = Instant::now();
    while by_state(&mut client, "processing")? < jobs as u64 {
        ensure!(began.elapsed() < Duration::from_secs(120), "the jobs are not seen at work");
        std::thread::sleep(Duration::from_millis(50));
    }
    let polls = || std::fs::metadata(dir.join("polls")).map_or(0, |meta| meta.len());
    let (before, began) = (polls(), Instant::now());
    std::thread::sleep(COUNTED);
    Ok((polls() - before) as f64 / began.elapsed().as_secs_f64())
}

/// Jobs from which is learned, and jobs that are looked at.
const PAST: usize = 60;
const LOOKED_AT: usize = 200;
/// Durations are log-normal: the median in hundredths of a second, and the spread of their logarithm.
const MEDIAN: f64 = 2_000.0;
const SPREAD: f64 = 0.3;
/// Between two of the jobs that are looked at, because a generator's jobs come as they come. Of many that begin at once the short ones
/// end first, and what is learned meanwhile is of them.
const APART: Duration = Duration::from_millis(250);

/// A generator that is asked about one job a call.
pub fn one_by_one(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let mut calls = Outcome::of("polls a job, one job a call", Unit::Calls, Bound::AtMostItself(6.0));
    let mut late = Outcome::of("its end is noticed, of its duration", Unit::Percent, Bound::AtMostItself(5.0));
    let mut chance = Chance(7);
    for _ in 0..bench.options.runs.min(3) {
        let noticed = noticed(&bench.work.join("polls"), &mut chance, bench.count(LOOKED_AT))?;
        let mean = |of: fn(&Noticed) -> f64| noticed.iter().map(of).sum::<f64>() / noticed.len() as f64;
        calls.ours.push(mean(|job| job.polls));
        late.ours.push(100.0 * mean(|job| job.late) / mean(|job| job.duration));
    }
    Ok(vec![calls, late])
}

/// A job that was found done.
#[derive(Clone, Copy, Default)]
struct Noticed {
    polls: f64,
    late: f64,
    duration: f64,
}

/// The same numbers in each run of the program.
struct Chance(u64);

impl Chance {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// In hundredths of a second. Twelve uniform numbers add up to what is nearly normal.
    fn duration(&mut self) -> String {
        let normal = (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0;
        format!("{:.0}", MEDIAN * (SPREAD * normal).exp())
    }
}

fn single_section(dir: &Path) -> String {
    // /proc/uptime counts hundredths of a second, and reading it takes no further process.
    // Braces by their numbers, as above.
    let now = "IFS='. ' read -r whole parts _ </proc/uptime; now=$whole$parts";
    let submit = format!(r#"{now}; echo "$((now + $2)) $2" >"$1/$3"; echo ok"#);
    let poll = format!(
        r#"{now}; read -r end lasts <"$1/$2"; echo "$2 $((now - end)) $lasts" >>"$1/noted"
        [ "$now" -ge "$end" ] && state=completed || state=processing; printf '\173"state":"%s"\175' "$state""#
    );
    format!(
        "[generators.single]\nidempotent = true\nmax_in_flight = 1000000\n\
         [generators.single.submit]\nrun = [\"/bin/sh\", \"-c\", {submit:?}, \"sh\", {dir:?}, \"{{topic}}\", \"{{key}}\"]\nref = \"{{key}}\"\n\
         [generators.single.poll]\nrun = [\"/bin/sh\", \"-c\", {poll:?}, \"sh\", {dir:?}, \"{{ref}}\"]\nstate = \"json:/state\"\n\
         [generators.single.fetch]\nrun = [\"/bin/echo\", \"{{ref}}\"]\ncontent = \"text\"\n\
         [generators.single.states]\nprocessing = \"processing\"\ncompleted = \"completed\"\n[polling]\ninterval = \"1s\"\n"
    )
}

/// What was noted of `jobs` jobs, once others were learned from.
fn noticed(dir: &Path, chance: &mut Chance, jobs: usize) -> anyhow::Result<Vec<Noticed>> {
    let daemon = Daemon::start(dir, 8, &single_section(dir))?;
    let mut client = daemon.client()?;
    run(&mut client, chance, PAST, 0, Duration::ZERO)?;
    let noted = dir.join("noted");
    let before = std::fs::read_to_string(&noted)?.lines().count();
    run(&mut client, chance, jobs, PAST, APART)?;
    let mut by_job: BTreeMap<String, Noticed> = BTreeMap::new();
    for line in std::fs::read_to_string(&noted)?.lines().skip(before) {
        let mut words = line.split(' ');
        let mut word = || words.next().with_context(|| format!("a poll was noted as {line:?}"));
        let job = by_job.entry(word()?.to_owned()).or_default();
        (job.polls, job.late, job.duration) = (job.polls + 1.0, word()?.parse()?, word()?.parse()?);
    }
    ensure!(by_job.len() == jobs, "{} of {jobs} jobs were polled", by_job.len());
    Ok(by_job.into_values().collect())
}

/// Submits some jobs, one after the other, and waits until they and those before them are completed.
fn run(client: &mut Client, chance: &mut Chance, jobs: usize, before: usize, apart: Duration) -> anyhow::Result<()> {
    for _ in 0..jobs {
        let task = json!({ "account": "1", "topic": chance.duration(), "generator": "single" });
        client.call("io.contentd.Tasks.Submit", &json!({ "task": task }))?;
        std::thread::sleep(apart);
    }
    let began = Instant::now();
    while by_state(client, "completed")? < (before + jobs) as u64 {
        ensure!(began.elapsed() < Duration::from_secs(120), "the jobs are not completed");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
