//! The daemon: arguments → logging → configuration → signals → run → exit code.

use std::process::ExitCode;

use clap::Parser;
use contentd::daemon::arguments::{Action, Arguments};
use contentd::daemon::{self, Options, offline};
use contentd::events::Kind;
use contentd::host::notify::Notifier;
use contentd::tell;
use log::Level;

/// The configuration is wrong: `EX_CONFIG` of sysexits(3).
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    contentd::host::logging::init();
    if let Err(error) = contentd::host::core_files::forbid() {
        log::warn!("core files cannot be forbidden, and one would hold secrets: {error}; set LimitCORE=0");
    }
    if !memory::give_large_blocks_back() {
        log::warn!(
            "the C library keeps large blocks of memory: after long outputs the daemon stays as large as it was"
        );
    }
    let options = Options { config: arguments.config, socket: arguments.socket };
    if arguments.check_config {
        return check(&options);
    }
    if let Some(file) = arguments.check_database {
        return done(offline::check_database(&options, file));
    }
    if let Some(Action::Restore { file, nothing_ran_since }) = arguments.action {
        return done(offline::restore_database(&options, &file, nothing_ran_since));
    }
    match daemon::run(options) {
        Ok(code) => code,
        Err(error) => {
            tell!(Level::Error, Kind::DaemonFailed, "contentd cannot run: {error:#}");
            Notifier::from_env().status(&format!("cannot run: {error:#}"));
            if error.is::<contentd::config::ConfigErrors>() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

/// The end of what is done instead of running.
fn done(outcome: anyhow::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            if error.is::<contentd::config::ConfigErrors>() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

fn check(options: &Options) -> ExitCode {
    match daemon::check_config(options) {
        Ok(checked) if checked.faults.is_empty() => {
            checked.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            for secret in &checked.unread {
                eprintln!("{secret}: not looked at, only the service has it; `contentctl doctor` asks it");
            }
            match checked.file {
                Some(file) => println!("{}: the configuration is good", file.display()),
                None => println!("there is no configuration file: the defaults are good, and have no generator"),
            }
            ExitCode::SUCCESS
        }
        Ok(checked) => {
            checked.faults.iter().for_each(|fault| eprintln!("{fault}"));
            ExitCode::from(EXIT_CONFIG)
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}
