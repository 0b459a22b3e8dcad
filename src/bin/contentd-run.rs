//! `contentd-run DIRECTORY`: runs one blocking command to its end, whatever becomes of the daemon that asked for it.
//!
//! Started by contentd, not by people. Standard input is the locked file of the run, the environment is the command's,
//! and the directory says the rest: see the protocol in `contentd::generator::run`. It must not print anything but one
//! line to standard output, and it must not care whether anybody reads it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use contentd::generator::exec::Environment;
use contentd::generator::run::runner;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "--version") {
        println!("contentd-run {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let [directory] = arguments.as_slice() else {
        eprintln!("usage: contentd-run DIRECTORY\nIt is started by contentd; see README.md.");
        return ExitCode::from(2);
    };
    let directory = PathBuf::from(directory);
    if !directory.is_absolute() {
        eprintln!("contentd-run: {} is not an absolute path of a run directory", directory.display());
        return ExitCode::from(2);
    }
    // A session of our own: signals to the daemon's group and its terminal do not come here. It fails only for the
    // leader of a group, which then has a group of its own already.
    let _ = rustix::process::setsid();
    let lock = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(lock) => File::from(lock),
        Err(error) => return refuse(&format!("standard input is not the run's lock: {error}")),
    };
    let env = Environment(std::env::vars_os().collect());
    let ran = runner::run(&directory, &env, &lock, None, &mut |started| match started {
        Ok(()) => say("started"),
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
