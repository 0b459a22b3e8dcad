//! `sample-generator`: a generator that costs nothing, for a first look at contentd and for its tests.
//!
//! It speaks the contract that contentd documents for generators written for it (`create`, `status`, `result`, `cancel`,
//! with the caller's key honoured), a batch `list`, and a blocking `write`; and it misbehaves on demand, in every way that
//! real generators do ([`faults`]). It must not need a server, a network or contentd itself: its state is a directory.
//! The surprise: nothing works in the background. A job's state is read off the clock.
//!
//! Exit codes and messages, for rules to classify by (`examples/sample.toml` has the rules):
//!
//! | exit | standard error | means |
//! | --- | --- | --- |
//! | 0 | | done |
//! | 1 | `unknown task: …` | there is no job with that key |
//! | 1 | `not ready: …` | the piece is not there yet |
//! | 1 | `refused: …` | this job cannot be cancelled |
//! | 1 | `failed: …` | the job ended without a piece |
//! | 2 | | the command line or a setting is wrong |
//! | 65 | `rejected: …` | this will never be taken; no job was made |
//! | 73 | `try again: …` | no job was made this time |
//! | 75 | `unavailable: …` | nobody was there; nothing was done |

mod compose;
mod faults;
mod misbehave;
mod store;
mod verbs;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// The verbs, by which a switch can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Create,
    Status,
    Result,
    Cancel,
    List,
    Write,
}

impl Verb {
    const ALL: [(Self, &str); 6] = [
        (Self::Create, "create"),
        (Self::Status, "status"),
        (Self::Result, "result"),
        (Self::Cancel, "cancel"),
        (Self::List, "list"),
        (Self::Write, "write"),
    ];

    /// The verb of a name on the command line.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(verb, _)| *verb)
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(verb, _)| *verb == self).map_or("?", |(_, name)| name)
    }
}

/// A generator that costs nothing and misbehaves on demand.
#[derive(Parser)]
#[command(name = "sample-generator", version, after_long_help = long_help())]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

/// What holds for every verb.
#[derive(Args)]
pub(crate) struct Settings {
    /// Where jobs, covers, counters and `paid.log` live
    #[arg(long, env = "SAMPLE_DIR", default_value = "sample-data", global = true)]
    pub dir: PathBuf,
    /// How long a new job takes
    #[arg(long, env = "SAMPLE_SECONDS", default_value_t = 2.0, global = true, value_parser = parse_seconds)]
    pub seconds: f64,
    /// Switches that are on for this call
    #[arg(long, env = "SAMPLE_FAULTS", default_value = "", global = true)]
    pub faults: String,
    /// How long `never` is, so that nothing of a test outlives it for long
    #[arg(long, env = "SAMPLE_HANG_SECONDS", default_value_t = 600.0, global = true, value_parser = parse_seconds)]
    pub hang_seconds: f64,
}

#[derive(Subcommand)]
enum Command {
    /// Takes a job; the same key is the same job
    Create(verbs::Create),
    /// Says where a job stands
    Status(verbs::ByKey),
    /// Prints the piece of a completed job
    Result(verbs::ByKey),
    /// Ends a job
    Cancel(verbs::ByKey),
    /// Lists jobs, newest first
    List(verbs::List),
    /// Writes a piece and prints it: a blocking run
    Write(verbs::Write),
    /// Prints the switches, one a line: name, tab, what it does
    ListFaults,
    /// Sleeps; the grandchild of `fork-grandchild`
    #[command(hide = true)]
    Linger,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e9).contains(&seconds) => Ok(seconds),
        _ => Err("write a number of seconds from 0 to 1000000000, for example 2.5".to_owned()),
    }
}

fn long_help() -> String {
    let mut help = String::from(
        "Exit codes:\n  0   done\n  1   `unknown task: …`, `not ready: …`, `refused: …` or `failed: …` on stderr\n  \
         2   the command line or a setting is wrong\n  65  `rejected: …`: it will never be taken, no job was made\n  \
         73  `try again: …`: no job was made this time\n  75  `unavailable: …`: nobody was there, nothing was done\n\n\
         Faults are written [VERB:]NAME[=VALUE], or NAME-once for NAME=1: a comma list or JSON in SAMPLE_FAULTS, lines\n\
         in the file `faults` in the directory (read at every call), or marks in a topic: `Tea [sample:fail-once]`.\n\
         VALUE is how often the fault fires, for each topic (each key, where the verb knows no topic); for exit,\n\
         slow-start, huge-output and seconds it is an amount.\n\n",
    );
    for (_, name, what) in faults::TABLE {
        help += &format!("  {name:<18} {what}\n");
    }
    help
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let answer = match &cli.command {
        Command::ListFaults => {
            faults::TABLE.iter().for_each(|(_, name, what)| println!("{name}\t{what}"));
            return ExitCode::SUCCESS;
        }
        Command::Linger => {
            misbehave::sleep(cli.settings.hang_seconds);
            return ExitCode::SUCCESS;
        }
        Command::Create(args) => verbs::create(&cli.settings, args),
        Command::Status(args) => verbs::status(&cli.settings, args),
        Command::Result(args) => verbs::result(&cli.settings, args),
        Command::Cancel(args) => verbs::cancel(&cli.settings, args),
        Command::List(args) => verbs::list(&cli.settings, args),
        Command::Write(args) => verbs::write(&cli.settings, args),
    };
    match answer.and_then(misbehave::Answer::print) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sample-generator: {error} (SAMPLE_DIR is {})", cli.settings.dir.display());
            ExitCode::from(2)
        }
    }
}
