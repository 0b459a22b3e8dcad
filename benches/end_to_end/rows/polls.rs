//! What polls cost: the processes that a generator is polled with in a while, with few and with many jobs in flight.
//!
//! The generator is a shell script that notes each poll and answers for all jobs at once.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::Bench;
use crate::client::{by_state, fill};
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
    let submit = r#"echo "{\"key\":\"$2\",\"state\":\"processing\"}," >>"$1"; echo ok"#;
    let poll = r#"echo >>"$2"; echo "["; cat "$1"; echo "{}]""#;
    format!(
        "[generators.batch]\nidempotent = true\nmax_in_flight = 1000000\n\
         [generators.batch.submit]\nrun = [\"/bin/sh\", \"-c\", {submit:?}, \"sh\", {jobs:?}, \"{{key}}\"]\nref = \"{{key}}\"\n\
         [generators.batch.poll]\nrun = [\"/bin/sh\", \"-c\", {poll:?}, \"sh\", {jobs:?}, {polls:?}]\nbatch = 5000\n\
         items = \"json:\"\nkey = \"json:/key\"\nstate = \"json:/state\"\n\
         [generators.batch.fetch]\nrun = [\"/bin/echo\", \"{{ref}}\"]\ncontent = \"text\"\n\
         [generators.batch.states]\nprocessing = \"processing\"\n[polling]\ninterval = \"1s\"\n"
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
