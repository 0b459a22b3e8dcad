//! Writes the manual pages and the shell completions: `cargo run --example manual -- DIRECTORY`.
//!
//! The directory gets `man/`, `bash/`, `zsh/` and `fish/`, with the names that a package wants. Nothing of it is kept
//! in the repository: it is made from the declarations of the two programs and from `man/`, so that a change of an option
//! is a change in one place, and no page can be out of date.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap_complete::Shell;

mod pages;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: manual DIRECTORY");
        return ExitCode::from(2);
    };
    match write(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manual: {}: {error}", Path::new(&directory).display());
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path) -> io::Result<()> {
    let man = directory.join("man");
    fs::create_dir_all(&man)?;
    for (name, text) in pages::pages() {
        fs::write(man.join(name), text)?;
    }
    for (shell, folder) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        let folder = directory.join(folder);
        fs::create_dir_all(&folder)?;
        for (mut command, name) in [(pages::contentd(), "contentd"), (pages::contentctl(), "contentctl")] {
            let file = match shell {
                Shell::Zsh => format!("_{name}"),
                Shell::Fish => format!("{name}.fish"),
                _ => name.to_owned(),
            };
            clap_complete::generate(shell, &mut command, name, &mut File::create(folder.join(file))?);
        }
    }
    Ok(())
}
