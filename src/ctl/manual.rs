//! `contentctl manual` and `contentctl completions`: what a package brings beside the programs, for who installs without one.
//!
//! The text is [`crate::manual`]'s; here it goes to its place. No daemon is asked.

use std::path::Path;

use super::Session;
use super::args::{CompletionsArgs, ManualArgs};
use super::failure::Failure;
use super::output::write_out;
use super::text::safe;
use crate::manual;

/// `contentctl manual DIRECTORY`: each page into the directory of its section.
pub fn manual(session: &Session, args: &ManualArgs) -> Result<(), Failure> {
    let failed = |path: &Path, error| Failure::Refused(format!("{}: {error}", path.display()));
    let mut written = Vec::new();
    for (name, text) in manual::pages() {
        let section = name.rsplit('.').next().unwrap_or_default();
        let directory = args.directory.join(format!("man{section}"));
        std::fs::create_dir_all(&directory).map_err(|error| failed(&directory, error))?;
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|error| failed(&path, error))?;
        written.push(path.display().to_string());
    }
    if session.printer.is_json() {
        return session.printer.json(&written);
    }
    session.printer.text(&written.iter().map(|path| safe(path) + "\n").collect::<String>())?;
    let directory = safe(&args.directory.display().to_string());
    session.tell(format!(
        "{} manual pages were written; where `man contentctl` does not find its page, `man -M {directory} contentctl` does",
        written.len()
    ));
    Ok(())
}

/// `contentctl completions SHELL [PROGRAM]`.
pub fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    write_out(&manual::completions(args.shell, args.program))
}
