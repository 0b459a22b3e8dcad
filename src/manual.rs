//! The manual pages and the shells' completions: what a person wrote in `man/`, with the options and verbs of the programs put in.
//!
//! A source holds `@VERSION@`, and on lines of their own `@OPTIONS@` and `@VERBS@`. It must not repeat what the
//! declarations say already. Nothing made is kept in the repository, so that a change of an option is a change in one place, and no
//! page can be out of date. The surprise: the global options stand once, above the verbs, and not at each verb.

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::ctl::args::Args;
use crate::daemon::arguments::Arguments;

/// A program whose command line people type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Program {
    /// The client.
    Contentctl,
    /// The daemon.
    Contentd,
}

impl Program {
    const fn name(self) -> &'static str {
        match self {
            Self::Contentctl => "contentctl",
            Self::Contentd => "contentd",
        }
    }

    fn command(self) -> Command {
        match self {
            Self::Contentctl => contentctl(),
            Self::Contentd => contentd(),
        }
    }
}

/// The daemon's command line.
pub fn contentd() -> Command {
    Arguments::command()
}

/// The client's command line.
pub fn contentctl() -> Command {
    Args::command()
}

/// What a shell reads to complete a program's command line.
pub fn completions(shell: Shell, program: Program) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program.command(), program.name(), &mut script);
    script
}

/// Every page: its file name and its text.
pub fn pages() -> Vec<(&'static str, String)> {
    let client = built(contentctl());
    let verbs: String = client.get_subcommands().map(described).collect();
    vec![
        ("contentd.8", page(include_str!("../man/contentd.8"), &options(&built(contentd())), "")),
        ("contentctl.1", page(include_str!("../man/contentctl.1"), &options(&client), &verbs)),
        ("contentd.toml.5", page(include_str!("../man/contentd.toml.5"), "", "")),
        ("contentd-run.8", page(include_str!("../man/contentd-run.8"), "", "")),
    ]
}

fn page(source: &str, options: &str, verbs: &str) -> String {
    source.replace("@VERSION@", env!("CARGO_PKG_VERSION")).replace("@OPTIONS@\n", options).replace("@VERBS@\n", verbs)
}

/// Names are given to the verbs of verbs; `--help` of each is said once by the page.
fn built(command: Command) -> Command {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    command
}

/// A verb with its usage and options; for a verb that has verbs, each of them.
fn described(verb: &Command) -> String {
    if verb.has_subcommands() {
        return verb.get_subcommands().map(described).collect();
    }
    let name = verb.get_bin_name().unwrap_or_else(|| verb.get_name()).trim_start_matches("contentctl ").to_owned();
    let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = verb.clone().render_usage().to_string();
    let usages: String = usage
        .trim_start_matches("Usage:")
        .lines()
        .map(|line| format!(".br\n{}\n", escaped(&emphasised(line.trim()))))
        .collect();
    let usages = usages.trim_start_matches(".br\n");
    let is_own = |arg: &clap::Arg| !arg.is_global_set() && arg.get_id() != "help";
    let own = verb.clone().mut_args(|arg| if is_own(&arg) { arg } else { arg.hide(true) });
    let options = if verb.get_arguments().any(is_own) { options(&own) } else { String::new() };
    format!(".SS {name}\n{usages}.PP\n{}.\n{options}", escaped(about.trim_end_matches('.')))
}

/// The program and the verb in bold; the rest as clap says it.
fn emphasised(usage: &str) -> String {
    let words = usage.split(' ').take_while(|word| !word.starts_with(['-', '[', '<'])).count();
    let (name, rest) = match usage.match_indices(' ').nth(words.saturating_sub(1)) {
        Some((at, _)) => usage.split_at(at),
        None => (usage, ""),
    };
    format!("\u{1}B{name}\u{1}R{rest}")
}

/// Text for roff: a leading dot or apostrophe is no request, and a hyphen is the one that can be typed.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\u{1}', "\\f");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// The options of a command without the heading and the preamble that clap_mangen gives each part.
fn options(command: &Command) -> String {
    let mut text = Vec::new();
    Man::new(command.clone()).render_options_section(&mut text).expect("a vector takes everything");
    let text = String::from_utf8(text).expect("clap_mangen writes UTF-8");
    let is_said_elsewhere =
        |line: &&str| [".SH ", ".ie ", ".el ", ".TH "].iter().any(|request| line.starts_with(request));
    // The preamble defines how this one is written; every roff knows the other.
    text.replace("\\*(Aq", "\\(aq")
        .lines()
        .filter(|line| !is_said_elsewhere(line))
        .map(|line| format!("{line}\n"))
        .collect()
}
