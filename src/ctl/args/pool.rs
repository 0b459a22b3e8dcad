//! What may be typed after `contentctl pool`.

use clap::{ArgGroup, Args as ClapArgs, Subcommand};

use super::PageArgs;

/// What to do with the pool.
#[derive(Debug, Subcommand)]
pub enum PoolVerb {
    /// Entries in the order of going out
    List {
        /// Of this account: number or name
        #[arg(long, allow_hyphen_values = true)]
        account: Option<String>,
        /// pending, publishing, published, failed, held or removed
        #[arg(long)]
        status: Option<String>,
        /// Which part.
        #[command(flatten)]
        page: PageArgs,
        /// Only entries with a smaller number
        #[arg(long, value_name = "ID")]
        before: Option<i64>,
    },
    /// One entry: who had it, under which key, and where its piece is
    Show {
        /// The entry's number
        #[arg(value_name = "ID", value_parser = super::pool_number)]
        pool_id: i64,
    },
    /// Take the next due entries, to publish them yourself; each is yours alone until its lease ends
    Next(PoolNextArgs),
    /// Say that an entry is published; with --reason an operator settles a held one so
    Done(PoolDoneArgs),
    /// Say that an entry is not published; with --reason an operator settles a held one so
    Fail(PoolFailArgs),
    /// Have an entry for longer
    Renew {
        /// The entry's number
        #[arg(value_name = "ID", value_parser = super::pool_number)]
        pool_id: i64,
        /// The fence that it was handed out with
        #[arg(long, value_name = "N")]
        fence: u64,
        /// For how long from now, like 10m
        #[arg(long, allow_hyphen_values = true, value_name = "TIME", value_parser = super::ranges::lease)]
        lease: Option<String>,
    },
    /// Give an entry a due time or a priority, or a failed one another chance
    Schedule {
        /// The entry's number
        #[arg(value_name = "ID", value_parser = super::pool_number)]
        pool_id: i64,
        /// now, a span from now (2h), a time of day (09:00: the next one), a local time (2026-01-31T08:00) or RFC 3339 [default: now;
        /// with --priority the time that a pending entry has]
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// 1 to 10; 10 goes out first
        #[arg(long, allow_hyphen_values = true, value_name = "N", value_parser = super::ranges::priority)]
        priority: Option<i64>,
    },
    /// Take an entry out of the pool; its piece stays approved
    Remove {
        /// The entry's number
        #[arg(value_name = "ID", value_parser = super::pool_number)]
        pool_id: i64,
        /// Why
        #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
        reason: Option<String>,
    },
    /// Let held entries go out, because they were not published
    #[command(group = ArgGroup::new("which").required(true).args(["pool_ids", "all"]))]
    Release {
        /// Numbers of entries
        #[arg(value_name = "ID", value_parser = super::pool_number)]
        pool_ids: Vec<i64>,
        /// Every entry that is held
        #[arg(long)]
        all: bool,
    },
}

/// Entries to publish.
#[derive(Debug, ClapArgs)]
pub struct PoolNextArgs {
    /// Of this account: number or name
    #[arg(long, allow_hyphen_values = true)]
    pub account: Option<String>,
    /// How long they are yours, like 10m [default: publishing.lease]
    #[arg(long, allow_hyphen_values = true, value_name = "TIME", value_parser = super::ranges::lease)]
    pub lease: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = super::ranges::handed_out)]
    pub limit: i64,
    /// A key of yours for this request: the same key gives the same entries again
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub key: Option<String>,
}

/// It is published.
#[derive(Debug, ClapArgs)]
pub struct PoolDoneArgs {
    /// The entry's number
    #[arg(value_name = "ID", value_parser = super::pool_number)]
    pub pool_id: i64,
    /// The fence that it was handed out with
    #[arg(long, value_name = "N", conflicts_with = "reason")]
    pub fence: Option<u64>,
    /// Its address
    #[arg(long, allow_hyphen_values = true)]
    pub url: Option<String>,
    /// What it is called there
    #[arg(long = "id", value_name = "NAME", allow_hyphen_values = true)]
    pub reference: Option<String>,
    /// Settle a held entry: why you know that it is published
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: Option<String>,
}

/// It is not published.
#[derive(Debug, ClapArgs)]
pub struct PoolFailArgs {
    /// The entry's number
    #[arg(value_name = "ID", value_parser = super::pool_number)]
    pub pool_id: i64,
    /// The fence that it was handed out with
    #[arg(long, value_name = "N", conflicts_with = "reason")]
    pub fence: Option<u64>,
    /// What was wrong
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub error: Option<String>,
    /// Try it again while a retry is left (so it is anyway)
    #[arg(long, conflicts_with = "give_up")]
    pub retry: bool,
    /// Do not try it again
    #[arg(long)]
    pub give_up: bool,
    /// Settle a held entry: why it shall not go out
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: Option<String>,
}
