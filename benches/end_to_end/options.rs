//! What may be typed after `cargo bench --bench end_to_end --`.

use std::path::PathBuf;

use clap::Parser;

/// Measures contentd over its socket, beside floors that are measured in the same run.
#[derive(Debug, Parser)]
#[command(name = "end_to_end")]
pub struct Options {
    /// Only this row; may be given several times [default: all]
    #[arg(long = "row", value_name = "NAME")]
    pub rows: Vec<String>,
    /// Names the rows and measures none
    #[arg(long)]
    pub list: bool,
    /// How often contentd and floor take turns
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub runs: u16,
    /// A tenth of the work and of the rows of databases: to see that it works; its numbers say little
    #[arg(long)]
    pub quick: bool,
    /// Write everything that was measured here
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a plot of the ratios here
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Write the table here
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Measure other programs, too; `--row peers` measures nothing else, `--row peers-NAME` one of them
    #[arg(long)]
    pub peers: bool,
    /// Where databases are made [default: target/tmp/end_to_end]
    #[arg(long, value_name = "DIRECTORY")]
    work: Option<PathBuf>,
    // cargo gives it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// Where databases are made.
    pub fn work(&self) -> PathBuf {
        self.work.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("end_to_end"))
    }
}
