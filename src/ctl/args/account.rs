//! What may be typed about accounts.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

/// What to do with accounts.
#[derive(Debug, Subcommand)]
pub enum AccountVerb {
    /// Add an account
    Add(Box<AccountAddArgs>),
    /// Every account
    List,
    /// One account
    Show {
        /// Number or name
        account: String,
    },
    /// Change what an account's submits get that do not say, and how much it may have
    Set(Box<AccountSetArgs>),
    /// Accept no more tasks for an account; those that wait run on
    Disable {
        /// Number or name
        account: String,
    },
    /// Accept tasks for an account again
    Enable {
        /// Number or name
        account: String,
    },
    /// Add and change accounts from a file by their names: all of them or none, and twice is once
    Import {
        /// F.jsonl, F.csv, or - for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// An account.
#[derive(Debug, ClapArgs)]
#[command(override_usage = "contentctl account add [OPTIONS] <NAME>")]
pub struct AccountAddArgs {
    /// Its name, unique
    #[arg(value_name = "NAME", required_unless_present = "name", conflicts_with = "name")]
    pub named: Option<String>,
    /// Its name, as an option
    #[arg(long, allow_hyphen_values = true)]
    pub name: Option<String>,
    /// What it has.
    #[command(flatten)]
    pub settings: AccountSettingsArgs,
}

/// A change of an account.
#[derive(Debug, ClapArgs)]
pub struct AccountSetArgs {
    /// Number or name
    pub account: String,
    /// What it shall have.
    #[command(flatten)]
    pub settings: AccountSettingsArgs,
    /// What is to be unset, with commas between: tone, max_in_flight, …
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    pub clear: Vec<String>,
}

/// What an account's submits get that do not say, and how much it may have.
#[derive(Debug, ClapArgs)]
pub struct AccountSettingsArgs {
    /// What another system calls it
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub external_id: Option<String>,
    /// Its submits go to this generator
    #[arg(long, allow_hyphen_values = true)]
    pub generator: Option<String>,
    /// The tone of its pieces
    #[arg(long, allow_hyphen_values = true)]
    pub tone: Option<String>,
    /// Instructions to the generator
    #[arg(long, allow_hyphen_values = true)]
    pub requirements: Option<String>,
    /// A shelf for its pieces
    #[arg(long, allow_hyphen_values = true)]
    pub category: Option<String>,
    /// Words that must occur, with commas between
    #[arg(long, allow_hyphen_values = true)]
    pub keywords: Option<String>,
    /// 1 to 10; 10 runs first
    #[arg(long, allow_hyphen_values = true, value_parser = super::ranges::priority)]
    pub priority: Option<i64>,
    /// Its pieces wait for a review
    #[arg(long, conflicts_with = "auto_approve")]
    pub no_auto_approve: bool,
    /// The rules of the review approve its pieces when they come
    #[arg(long)]
    pub auto_approve: bool,
    /// Unfinished tasks that it may have
    #[arg(long, allow_hyphen_values = true, value_name = "N", value_parser = super::ranges::account_limit)]
    pub max_pending: Option<i64>,
    /// Jobs that it may have at all generators together
    #[arg(long, allow_hyphen_values = true, value_name = "N", value_parser = super::ranges::account_limit)]
    pub max_in_flight: Option<i64>,
    /// Submits to generators that it may have in 24 hours; each retry is one more
    #[arg(long, allow_hyphen_values = true, value_name = "N", value_parser = super::ranges::account_limit)]
    pub submits_per_day: Option<i64>,
}
