//! A million tasks of the highest priority that cannot run, because their account may submit nothing more today: what a submit of
//! another account notices of them.

use serde_json::json;

use super::million;
use super::start::{Mark, blocking_section, sample};
use crate::Bench;
use crate::client::{message, submission};
use crate::daemon::Daemon;
use crate::datasets::Kind;
use crate::outcome::{Bound, Outcome, Unit, median, quantile};

/// In turns with a daemon that has nothing in line.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Outcome>> {
    let pipes = tempfile::tempdir()?;
    let mut mark = Mark::make(pipes.path().join("mark"))?;
    let section = blocking_section("mark", &mark);
    let large = million::daemon(bench, Kind::Waiting, "limited", &section)?;
    let settings = json!({ "account": "1", "settings": { "submits_per_day": 1 } });
    large.client()?.call("io.contentd.Accounts.Set", &settings)?;
    let empty = Daemon::start(&bench.work.join("limited-empty"), 8, &section)?;
    for daemon in [&large, &empty] {
        daemon.client()?.call("io.contentd.Accounts.Add", &json!({ "name": "other" }))?;
    }
    let mut task = submission("mark");
    task["account"] = json!("other");
    let call = message("io.contentd.Tasks.Submit", json!({ "task": task }));
    let row = "submit → command runs, beside 1,000,000 of an account at its limit";
    let mut middle = Outcome::of(format!("{row}, p50"), Unit::Milliseconds, Bound::AtMost(1.1));
    let mut worst = Outcome::of(format!("{row}, p99"), Unit::Milliseconds, Bound::None);
    // What ran before the limit was set.
    let mut clients = [(large.client()?, settled(&large)?), (empty.client()?, 0)];
    mark.forget()?;
    for _ in 0..bench.options.runs {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..bench.count(200) {
            for ((client, done), times) in clients.iter_mut().zip(&mut times) {
                *done += 1;
                times.push(sample(client, &call, &mut mark, ("completed", *done))?.as_secs_f64() * 1e3);
            }
        }
        middle.push(median(&times[0]), median(&times[1]));
        worst.push(quantile(&times[0], 0.99), quantile(&times[1], 0.99));
    }
    Ok(vec![middle, worst])
}

/// How many tasks are completed, once none runs any more.
fn settled(daemon: &Daemon) -> anyhow::Result<u64> {
    let mut client = daemon.client()?;
    loop {
        let reply = client.call("io.contentd.Tasks.Statistics", &json!({ "since": "2999-01-01T00:00:00Z" }))?;
        let count = |state: &str| reply["by_state"][state].as_u64().unwrap_or(0);
        if ["submitting", "submitted", "processing"].iter().all(|state| count(state) == 0) {
            return Ok(count("completed"));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
