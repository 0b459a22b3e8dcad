//! What may be typed after `contentd`. Plain declarations, which the program parses and its manual page is made of.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Has slow, paid, unreliable generators write content unattended: nothing lost, nothing paid twice.
#[derive(Debug, Parser)]
#[command(name = "contentd", version, after_help = HELP)]
pub struct Arguments {
    /// The configuration file [default: $CONFIGURATION_DIRECTORY/contentd.toml, /etc/contentd/contentd.toml, ~/.config/contentd/contentd.toml]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The control socket; stronger than CONTENTD_SOCKET and the configuration
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Judge the configuration and everything it names, and exit
    #[arg(long)]
    pub check_config: bool,
    /// Judge a database without writing to it, and exit: 0 when it is sound, 1 when not [default: the configured one]
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with = "check_config")]
    pub check_database: Option<Option<PathBuf>>,
    /// Instead of running.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What the program does instead of running as a daemon.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Put a backup into the place of the database; no daemon may run
    ///
    /// The old database is kept beside it. The next start asks about every job that the backup knows, and holds each task
    /// that may have got a job since the backup, until a person releases it.
    Restore {
        /// The backup
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// No daemon ran between this backup and now: nothing is held
        #[arg(long)]
        nothing_ran_since: bool,
    },
}

const HELP: &str = "SIGTERM and SIGINT drain and exit; a second one ends at once. SIGHUP reads the configuration again.
Logs go to standard error, or natively to the journal where that is the journal; RUST_LOG sets their level. Control it with contentctl.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_declarations_fit_together() {
        Arguments::command().debug_assert();
    }
}
