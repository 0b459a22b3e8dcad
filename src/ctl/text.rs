//! How wide text is, and how untrusted text is shown (see [`crate::text`]).
//!
//! Width is what a terminal gives a text: a Chinese character takes two columns.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub use crate::text::{safe, safe_lines};

/// Columns of a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Cut to so many columns, the last of them an ellipsis.
pub fn fitted(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut fit = String::new();
    let mut used = 0;
    for character in text.chars() {
        let next = character.width().unwrap_or(0);
        if used + next + 1 > columns {
            break;
        }
        used += next;
        fit.push(character);
    }
    if columns > 0 {
        fit.push('…');
    }
    fit
}

/// Filled up with spaces to so many columns.
pub fn padded(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// A number of things in words: `1 task`, `2 tasks`.
pub fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::is_unsafe;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_obeys_is_shown() {
        assert_eq!(safe("a\x1b[31mb\r\nc\u{202e}d\u{7f}"), "a\\u{1b}[31mb\\r\\nc\\u{202e}d\\u{7f}");
        assert_eq!(safe_lines("a\n\tb\x07"), "a\n\tb\\u{7}");
        assert_eq!(safe("人工智能 👩‍🚀"), "人工智能 👩‍🚀");
    }

    #[test]
    fn width_is_what_a_terminal_gives() {
        assert_eq!(width("人工ai"), 6);
        assert_eq!(fitted("人工智能", 8), "人工智能");
        assert_eq!(fitted("人工智能", 7), "人工智…");
        assert_eq!(fitted("人工智能", 6), "人工…");
        assert_eq!(padded("人", 4), "人  ");
    }

    proptest! {
        #[test]
        fn what_is_shown_fits_and_is_safe(text in any::<String>(), columns in 0usize..40) {
            let shown = safe(&text);
            prop_assert!(!shown.chars().any(is_unsafe));
            prop_assert!(width(&fitted(&shown, columns)) <= columns.max(width("…") * usize::from(columns > 0)));
        }
    }
}
