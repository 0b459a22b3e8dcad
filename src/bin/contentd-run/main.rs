//! `contentd-run DIRECTORY` or `contentd-run --accepted`: runs one blocking command to its end, whatever becomes of the
//! daemon that asked for it.
//!
//! Started by contentd or, with `--accepted`, by the service manager for a connection of contentd's; not by people. In
//! the first case standard input is the locked file of the run, the environment is the command's and the answer goes to
//! standard output. In the second standard input is the connection, on which all that comes
//! (`contentd::generator::run::handover`) and the answer goes. It must not print anything else but errors, and it must not
//! care whether anybody reads them. The surprise: only a run with a unit of its own takes SIGTERM for a wish; elsewhere
//! the `cancel` file is the one way to end a run.

mod accepted;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use contentd::generator::exec::Environment;
use contentd::generator::run::STARTED;
use contentd::generator::run::runner::{self, Host};

fn main() -> ExitCode {
    // Before anything secret has come. Where it fails the unit's own limit is left, and a run is worth more.
    let _ = contentd::host::core_files::forbid();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [option] if option == "--accepted" => accepted::run(),
        [option] if option == "--version" => {
            println!("contentd-run {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        [directory] if Path::new(directory).is_absolute() => run(&PathBuf::from(directory)),
        _ => {
            eprintln!(
                "usage: contentd-run DIRECTORY (an absolute path) | --accepted | --version\nIt is started by contentd; see contentd-run(8)."
            );
            ExitCode::from(2)
        }
    }
}

/// As a child of the daemon.
fn run(directory: &Path) -> ExitCode {
    // A session of our own: signals to the daemon's group and its terminal do not come here. It fails only for the
    // leader of a group, which then has a group of its own already.
    let _ = rustix::process::setsid();
    let lock = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(lock) => File::from(lock),
        Err(error) => return refuse(&format!("standard input is not the run's lock: {error}")),
    };
    let env = Environment(std::env::vars_os().collect());
    let ran = runner::run(directory, &env, &lock, Host::default(), &mut |started| match started {
        Ok(()) => say(STARTED),
        Err(why) => say(why),
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error.to_string()),
    }
}

fn refuse(why: &str) -> ExitCode {
    say(why);
    ExitCode::FAILURE
}

/// The daemon may be gone, and its end of the pipe with it: that changes nothing here.
fn say(line: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{}", line.replace('\n', " ")).and_then(|()| out.flush());
}
