//! What was meant by what cannot be typed: the parser knows the words there are, and not those that people try.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{CommandFactory, Parser};

use super::args::Args;
use super::output::say;
use super::text::safe;

/// The exit code of what cannot be meant.
const USAGE: i32 = 2;

/// What people write behind an option that is there or not.
const TRUTHS: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "1", "0"];

/// What was typed; where that cannot be meant, says what is wrong and ends the program, as the parser itself does.
pub fn typed() -> Args {
    let words: Vec<OsString> = std::env::args_os().collect();
    Args::try_parse_from(&words).unwrap_or_else(|error| refuse(&words, error))
}

fn refuse(words: &[OsString], error: Error) -> ! {
    if error.kind() == ErrorKind::InvalidUtf8 {
        say(&unreadable(words.iter().skip(1).cloned()));
        std::process::exit(USAGE);
    }
    hinted(words, error).exit()
}

/// The parser's error, or one that says what is meant instead.
fn hinted(words: &[OsString], error: Error) -> Error {
    match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues => match truth_behind_a_flag(words) {
            Some(hint) => Error::raw(error.kind(), format!("{hint}\n")),
            None => error,
        },
        _ => with_tip(words, error),
    }
}

/// `--auto-approve false` and its like: the option takes no value, so the word behind it is one too many.
fn truth_behind_a_flag(words: &[OsString]) -> Option<String> {
    let is_truth = |word: &str| TRUTHS.contains(&word.to_ascii_lowercase().as_str());
    let is_flag = |word: &str| matches!(word, "--auto-approve" | "--no-auto-approve");
    let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    let joined = words.iter().filter_map(|word| word.split_once('='));
    let apart = words.windows(2).map(|pair| (pair[0], pair[1]));
    let (flag, value) = joined.chain(apart).find(|(flag, value)| is_flag(flag) && is_truth(value))?;
    Some(format!(
        "{flag} takes no value, and {value:?} was given: --auto-approve alone approves a piece when it comes, \
         --no-auto-approve alone has it wait for a review"
    ))
}

/// Which arguments are no text; those that may be paths are among them, and people see which of them is one.
fn unreadable(arguments: impl Iterator<Item = OsString>) -> String {
    let named: Vec<String> = arguments
        .enumerate()
        .filter(|(_, argument)| argument.to_str().is_none())
        .map(|(place, argument)| format!("argument {}, \"{}\"", place + 1, safe(&argument.to_string_lossy())))
        .collect();
    format!(
        "contentctl: {} cannot be taken: text in UTF-8 is wanted (the signs that cannot be read stand as \u{fffd}); in which \
         encoding your terminal types `locale` says",
        named.join("; ")
    )
}

/// Names where the word belongs that was taken for a verb.
fn with_tip(words: &[OsString], mut error: Error) -> Error {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return error };
    // Below another verb it means something else.
    let verbs = Args::command();
    let before = words.iter().skip(1).take_while(|before| before.to_str() != Some(word.as_str()));
    let is_below = before.into_iter().any(|before| verbs.find_subcommand(before).is_some());
    let Some(tip) = tip_of(word).filter(|_| !is_below) else { return error };
    // What is similar in its letters alone is something else.
    error.remove(ContextKind::SuggestedSubcommand);
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

/// Where a word belongs that is none of the verbs here.
fn tip_of(word: &str) -> Option<&'static str> {
    Some(match word {
        "check-database" => "the daemon's program looks at a database: `contentd --check-database`",
        "check-config" => "the daemon's program judges a configuration: `contentd --check-config`",
        "restore" => {
            "the daemon's program puts a backup in the place of the database, while no daemon runs: `contentd restore FILE`"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn a_word_of_the_daemons_is_told_where_it_belongs() {
        let said = |word: &str| {
            let refused = Args::try_parse_from(["contentctl", word]).expect_err("it is no verb");
            with_tip(&["contentctl".into(), "--quiet".into(), word.into()], refused).to_string()
        };
        assert!(
            said("check-database").contains("tip: ") && said("check-database").contains("contentd --check-database")
        );
        let restore = said("restore");
        assert!(restore.contains("contentd restore FILE") && !restore.contains("similar"), "{restore}");
        let below = Args::try_parse_from(["contentctl", "schedule", "restore"]).expect_err("it is no verb");
        let below = with_tip(&["contentctl".into(), "schedule".into(), "restore".into()], below).to_string();
        assert!(!below.contains("contentd restore"), "{below}");
        assert!(!said("lisst").contains("the daemon's") && said("lisst").contains("list"), "{}", said("lisst"));
    }

    #[test]
    fn an_argument_that_is_no_text_is_named() {
        let arguments = [OsString::from("submit"), OsString::from_vec(b"caf\xe9".to_vec())];
        let said = unreadable(arguments.into_iter());
        assert!(said.contains("argument 2, \"caf\u{fffd}\"") && !said.contains("submit"), "{said}");
    }

    fn told(words: &[&str]) -> String {
        let words: Vec<OsString> = ["contentctl"].iter().chain(words).map(OsString::from).collect();
        hinted(&words, Args::try_parse_from(&words).expect_err("it is refused")).to_string()
    }

    #[test]
    fn a_truth_behind_an_option_that_takes_none_is_told_with_the_cure() {
        let lines: [&[&str]; 4] = [
            &["submit", "-a", "1", "-t", "T", "--auto-approve", "false"],
            &["submit", "-a", "1", "-t", "T", "--auto-approve=no"],
            &["account", "set", "blog", "--no-auto-approve", "True"],
            &["schedule", "add", "s", "--every", "6h", "-a", "1", "-t", "T", "--auto-approve", "0"],
        ];
        for words in lines {
            let told = told(words);
            assert!(told.starts_with("error: --") && told.contains("takes no value"), "{words:?}: {told}");
            assert!(told.contains("--no-auto-approve alone"), "{words:?}: {told}");
        }
        let other = told(&["submit", "-a", "1", "-t", "T", "--dry-run", "false"]);
        assert!(other.contains("unexpected argument"), "{other}");
    }
}
