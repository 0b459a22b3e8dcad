//! What may be typed about schedules.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::PageArgs;

/// What to do with schedules.
#[derive(Debug, Subcommand)]
pub enum ScheduleVerb {
    /// Submit tasks by itself from now on, at times and with topics that are said here
    Add(Box<ScheduleAddArgs>),
    /// Every schedule, and when it fires next
    List,
    /// One schedule, its next topics where it has a list of them, and its next five times
    Show {
        /// Number or name
        schedule: String,
    },
    /// Fire now, paused or not
    Run {
        /// Number or name
        schedule: String,
    },
    /// Begin nothing by itself any more
    Pause {
        /// Number or name
        schedule: String,
        /// Why
        #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
        reason: Option<String>,
    },
    /// Begin by itself again; what was due meanwhile is not made up for
    Resume {
        /// Number or name
        schedule: String,
    },
    /// Delete a schedule and its history; its tasks stay
    Remove {
        /// Number or name
        schedule: String,
    },
    /// What became of its fires, newest first
    History {
        /// Number or name
        schedule: String,
        /// Which part.
        #[command(flatten)]
        page: PageArgs,
        /// Only fires with a smaller number
        #[arg(long, value_name = "ID")]
        before: Option<i64>,
    },
}

/// A schedule.
#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("when").required(true).args(["cron", "every"]))]
#[command(group = clap::ArgGroup::new("source").required(true).args(["topic", "list", "file", "command"]))]
pub struct ScheduleAddArgs {
    /// Its name, unique
    #[arg(value_name = "NAME", required_unless_present = "name", conflicts_with = "name")]
    pub named: Option<String>,
    /// Its name, as an option
    #[arg(long, allow_hyphen_values = true)]
    pub name: Option<String>,
    /// When: minute hour day month weekday, as in "0 8 * * mon-fri"; or @daily and its like
    #[arg(long, value_name = "EXPRESSION", allow_hyphen_values = true)]
    pub cron: Option<String>,
    /// Every so often: 6h, 90m, or seconds
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = super::ranges::interval)]
    pub every: Option<String>,
    /// In which time zone: an IANA name such as Europe/Berlin [default: this machine's]
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub zone: Option<String>,
    /// For whom: numbers or names, with commas between or said again
    #[arg(long, short, required = true, value_delimiter = ',', allow_hyphen_values = true)]
    pub account: Vec<String>,
    /// How many topics for each account at each fire [default: 1]
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = super::ranges::topics)]
    pub topics: Option<i64>,
    /// A topic of its list; said again for each
    #[arg(long, short, allow_hyphen_values = true)]
    pub topic: Vec<String>,
    /// Its list from a file of yours, read once: one topic a line, CSV or JSON lines; - for standard input
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
    /// A file on the daemon's machine, read at every fire, below a directory of schedules.topic_directories
    #[arg(long, value_name = "PATH")]
    pub file: Option<String>,
    /// A command of the configuration, [topic_sources.NAME]
    #[arg(long, value_name = "NAME")]
    pub command: Option<String>,
    /// When every topic was taken: stop (a list ends its schedule, a file goes on being read for new lines) or again [default: stop]
    #[arg(long, value_name = "WHAT")]
    pub at_end: Option<String>,
    /// What is made up for of times that passed unseen: once, all, all:N or none [default: once]
    #[arg(long, value_name = "WHAT")]
    pub misfire: Option<String>,
    /// Begins nothing before it is resumed
    #[arg(long)]
    pub paused: bool,
    /// Instructions to the generator
    #[arg(long, allow_hyphen_values = true)]
    pub requirements: Option<String>,
    /// Words that must occur, with commas between
    #[arg(long, allow_hyphen_values = true)]
    pub keywords: Option<String>,
    /// A shelf for the pieces
    #[arg(long, allow_hyphen_values = true)]
    pub category: Option<String>,
    /// Their tone
    #[arg(long, allow_hyphen_values = true)]
    pub tone: Option<String>,
    /// 1 to 10; 10 runs first
    #[arg(long, allow_hyphen_values = true, value_parser = super::ranges::priority)]
    pub priority: Option<i64>,
    /// Of each attempt: 30m, or seconds
    #[arg(long, allow_hyphen_values = true, value_name = "TIME", value_parser = super::ranges::time_limit)]
    pub time_limit: Option<String>,
    /// Retries that may be spent
    #[arg(long, allow_hyphen_values = true, value_name = "N", value_parser = super::ranges::retries)]
    pub max_retries: Option<i64>,
    /// The pieces wait for a review
    #[arg(long, conflicts_with = "auto_approve")]
    pub no_auto_approve: bool,
    /// The pieces are approved when they come
    #[arg(long)]
    pub auto_approve: bool,
    /// Which generator
    #[arg(long, allow_hyphen_values = true)]
    pub generator: Option<String>,
    /// Check everything, show the next times and keep nothing
    #[arg(long)]
    pub dry_run: bool,
}
