//! What may be typed about health, metrics, messages and reports.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

/// Metrics to where.
#[derive(Debug, ClapArgs)]
pub struct MetricsArgs {
    /// Write them to this file, whole or not at all, for the node exporter's textfile collector: a name ending in .prom
    #[arg(long, value_name = "FILE")]
    pub textfile: Option<PathBuf>,
}

/// What to do about messages.
#[derive(Debug, Subcommand)]
pub enum NoticeVerb {
    /// What was told, newest first, and what waits for which hook
    List {
        /// At most so many
        #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
    /// One message and its way to each hook
    Show {
        /// Its id, or the beginning of it
        #[arg(value_name = "ID")]
        notice: String,
    },
    /// Send a test to a hook, and wait for what becomes of it
    Test {
        /// Its name in the configuration
        hook: String,
    },
    /// Tell no more of an alarm that fires, but its end
    Ack {
        /// Its name, as health shows it
        alarm: String,
    },
    /// Tell nothing new for a while; what still lasts then is told then
    Silence {
        /// For how long: 2h, or seconds
        #[arg(long = "for", value_name = "TIME", required_unless_present = "end")]
        duration: Option<String>,
        /// End it now
        #[arg(long, conflicts_with = "duration")]
        end: bool,
    },
}

/// Whose job has ended.
#[derive(Debug, ClapArgs)]
pub struct ReportArgs {
    /// The attempt's key: what the generator was given as {key}
    pub key: String,
}

/// How numbers are parted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum By {
    /// A row for each day, in local time.
    Day,
}
