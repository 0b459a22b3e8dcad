//! What may be typed after `contentd`. Plain declarations, which the program parses and its manual page is made of.

use std::path::PathBuf;

use clap::Parser;

/// Has slow, paid, unreliable generators write content unattended: nothing lost, nothing paid twice.
#[derive(Debug, Parser)]
#[command(name = "contentd", version, after_help = HELP)]
pub struct Arguments {
    /// The configuration file [default: $CONFIGURATION_DIRECTORY/contentd.toml, /etc/contentd/contentd.toml, ~/.config/contentd/contentd.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The control socket; stronger than CONTENTD_SOCKET and the configuration
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Judge the configuration and everything it names, and exit
    #[arg(long)]
    pub check_config: bool,
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
