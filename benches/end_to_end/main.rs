//! The end-to-end benchmark: starts the release daemon on a directory of its own, drives it over its socket and prints each row
//! beside a floor that was measured in the same run.
//!
//! ```text
//! cargo bench --bench end_to_end -- --help
//! ```
//!
//! - [`rows`]: what is measured, one file a subject
//! - [`floors`]: what the machine can do at best with the same rows, processes and messages
//! - [`daemon`], [`client`], [`datasets`]: the daemon, who calls it, and large databases for it
//! - [`outcome`], [`report`], [`plot`], [`machine`]: what came of it, and how that is shown
//! - [`peers`]: other programs beside it
//!
//! It must not judge: its exit status says only whether everything could be measured. The surprise: a floor is no constant. Machines
//! are shared and disks have moods, so contentd and its floor take turns, and each ratio is one of two neighbours in time.

mod client;
mod daemon;
mod datasets;
mod floors;
mod machine;
mod options;
mod outcome;
mod peers;
mod plot;
mod report;
mod rows;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use machine::Machine;
use options::Options;
use outcome::Outcome;

/// What every row is given.
pub struct Bench {
    /// What was asked for.
    pub options: Options,
    /// Where daemons, databases and files of this run lie: a real disk.
    pub work: PathBuf,
}

impl Bench {
    /// `full` of something in a whole run, fewer in a quick one.
    pub fn count(&self, full: usize) -> usize {
        if self.options.quick { (full / 10).max(1) } else { full }
    }
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every row could be measured.
fn run(options: Options) -> anyhow::Result<bool> {
    if options.list {
        rows::ALL.iter().for_each(|row| println!("{:<16} {}", row.name, row.what));
        peers::ALL.iter().for_each(|peer| println!("{:<16} {}", peer.name, peer.what));
        return Ok(true);
    }
    let chosen = rows::chosen(&options.rows)?;
    let peers = peers::chosen(&options.rows, options.peers);
    let work = options.work();
    std::fs::create_dir_all(&work)?;
    let work = work.canonicalize()?;
    let mut machine = Machine::look(&work);
    println!("{}\n", machine.lines().join("\n"));
    if machine.is_in_memory() {
        println!("warning: {} is in memory, where an fsync costs nothing: name a disk with --work\n", work.display());
    }
    let bench = Bench { options, work };
    let mut outcomes = Vec::new();
    let mut is_whole = true;
    let mut take = |name: &str, measured: anyhow::Result<Vec<Outcome>>| match measured {
        Ok(measured) => {
            measured.iter().for_each(|outcome| println!("{}", outcome.line()));
            outcomes.extend(measured);
        }
        Err(error) => {
            is_whole = false;
            eprintln!("{name}: could not be measured: {error:#}");
        }
    };
    for row in chosen {
        eprintln!("{}: {}", row.name, row.what);
        take(row.name, (row.measure)(&bench));
    }
    for peer in peers {
        eprintln!("{}: {}", peer.name, peer.what);
        let measured = (peer.look)().and_then(|version_and_settings| {
            println!("{version_and_settings}");
            machine.add_peer(version_and_settings);
            (peer.measure)(&bench)
        });
        take(peer.name, measured);
    }
    show(&bench.options, &machine.after(), &outcomes)?;
    Ok(is_whole)
}

fn show(options: &Options, machine: &Machine, outcomes: &[Outcome]) -> anyhow::Result<()> {
    let table = report::markdown(machine, outcomes);
    println!("\n{table}");
    if let Some(path) = &options.markdown {
        std::fs::write(path, &table)?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report::json(machine, outcomes))?)?;
    }
    if let Some(path) = &options.plot {
        std::fs::write(path, plot::svg(machine, outcomes))?;
    }
    Ok(())
}
