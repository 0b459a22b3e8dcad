//! The daemon: arguments → logging → configuration → signals → run → exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use contentd::daemon::{self, Options};
use contentd::events::Kind;
use contentd::tell;
use log::Level;

/// Has slow, paid, unreliable generators write content unattended: nothing lost, nothing paid twice.
#[derive(Parser)]
#[command(name = "contentd", version, after_help = HELP)]
struct Arguments {
    /// The configuration file [default: $CONFIGURATION_DIRECTORY/contentd.toml, /etc/contentd/contentd.toml, ~/.config/contentd/contentd.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The control socket; stronger than CONTENTD_SOCKET and the configuration
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Judge the configuration and everything it names, and exit
    #[arg(long)]
    check_config: bool,
}

const HELP: &str = "SIGTERM and SIGINT drain and exit; a second one ends at once. SIGHUP reads the configuration again.
Logs go to standard error, or natively to the journal where that is the journal; RUST_LOG sets their level. Control it with contentctl.";

/// The configuration is wrong: `EX_CONFIG` of sysexits(3).
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    contentd::host::logging::init();
    let options = Options { config: arguments.config, socket: arguments.socket };
    if arguments.check_config {
        return check(&options);
    }
    match daemon::run(options) {
        Ok(code) => code,
        Err(error) => {
            tell!(Level::Error, Kind::DaemonFailed, "contentd cannot run: {error:#}");
            if error.is::<contentd::config::ConfigErrors>() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

fn check(options: &Options) -> ExitCode {
    match daemon::check_config(options) {
        Ok(faults) if faults.is_empty() => {
            println!("the configuration is good");
            ExitCode::SUCCESS
        }
        Ok(faults) => {
            faults.iter().for_each(|fault| eprintln!("{fault}"));
            ExitCode::from(EXIT_CONFIG)
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}
