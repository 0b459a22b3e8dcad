//! The message catalog: what `journalctl -x` shows with a record of a kind.

use std::fmt::Write as _;

use super::Kind;

/// Columns of the catalog's text.
const CATALOG_COLUMNS: usize = 79;

/// The message catalog, as `man 5 systemd.catalog` describes its format.
pub fn catalog() -> String {
    let mut text = String::from(
        "# The message catalog of contentd. Written from src/events/kinds.rs by `UPDATE_DOCS=1 cargo test --test documents`.\n",
    );
    for kind in Kind::ALL {
        // A String takes whatever is written to it.
        let _ = write!(
            text,
            "\n-- {}\nSubject: {}\nDefined-By: contentd\nDocumentation: man:contentd(8) man:contentctl(1)\n\n{}\n\n{}\n",
            kind.id(),
            kind.subject(),
            wrapped(kind.meaning()),
            wrapped(kind.cure()),
        );
    }
    text
}

/// Broken into lines between words; a command in backticks is one word.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    let mut is_code = false;
    let is_break = |character: char| {
        is_code ^= character == '`';
        character == ' ' && !is_code
    };
    for word in text.split(is_break) {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= CATALOG_COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}
