//! The command line of contentd: parse, call, print. Everything is in [`contentd::ctl`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(contentd::ctl::main())
}
