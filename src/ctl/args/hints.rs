//! What is said of a command line that cannot be meant, where the parser's own words help nobody.

use std::ffi::OsString;

use clap::Parser;
use clap::error::ErrorKind;

use super::Args;

/// The words that people write behind an option that is a yes or a no by itself.
const TRUTHS: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "1", "0"];

/// What was typed; ends the program where that cannot be meant.
pub fn typed() -> Args {
    let words: Vec<OsString> = std::env::args_os().collect();
    Args::try_parse_from(&words).unwrap_or_else(|error| hinted(&words, error).exit())
}

/// The parser's error, or one that says what is meant instead.
fn hinted(words: &[OsString], error: clap::Error) -> clap::Error {
    match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues => match truth_behind_a_flag(words) {
            Some(hint) => clap::Error::raw(error.kind(), format!("{hint}\n")),
            None => error,
        },
        _ => error,
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

#[cfg(test)]
mod tests {
    use super::*;

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
