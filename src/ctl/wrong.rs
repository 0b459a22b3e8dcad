//! What was meant by what cannot be typed: the parser knows the words there are, and not those that people try.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use super::output::say;
use super::text::safe;

/// The exit code of what cannot be meant.
const USAGE: i32 = 2;

/// Says what is wrong and ends the program, as the parser itself does.
pub fn refuse(error: Error) -> ! {
    if error.kind() == ErrorKind::InvalidUtf8 {
        say(&unreadable(std::env::args_os().skip(1)));
        std::process::exit(USAGE);
    }
    with_tip(error).exit()
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
fn with_tip(mut error: Error) -> Error {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return error };
    let Some(tip) = tip_of(word) else { return error };
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
    use crate::ctl::args::Args;
    use clap::Parser;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn a_word_of_the_daemons_is_told_where_it_belongs() {
        let said = |word: &str| {
            let refused = Args::try_parse_from(["contentctl", word]).expect_err("it is no verb");
            with_tip(refused).to_string()
        };
        assert!(
            said("check-database").contains("tip: ") && said("check-database").contains("contentd --check-database")
        );
        let restore = said("restore");
        assert!(restore.contains("contentd restore FILE") && !restore.contains("similar"), "{restore}");
        assert!(!said("lisst").contains("the daemon's") && said("lisst").contains("list"), "{}", said("lisst"));
    }

    #[test]
    fn an_argument_that_is_no_text_is_named() {
        let arguments = [OsString::from("submit"), OsString::from_vec(b"caf\xe9".to_vec())];
        let said = unreadable(arguments.into_iter());
        assert!(said.contains("argument 2, \"caf\u{fffd}\"") && !said.contains("submit"), "{said}");
    }
}
