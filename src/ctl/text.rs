//! How untrusted text is shown, and how wide it is.
//!
//! A generator's output may hold control characters that repaint a terminal, and marks that turn the direction of
//! writing so that a line reads as something else. They are shown as escapes. Width is what a terminal gives a text:
//! a Chinese character takes two columns.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Whether a character must not reach a terminal as it is.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' // direction marks, a space of no width
            | '\u{2028}'..='\u{202e}' // separators, embeddings, overrides
            | '\u{2060}'..='\u{206f}' // isolates and other invisible marks
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}') // invisible copies of ASCII
}

fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if !is_unsafe(character) || is_kept(character) {
            safe.push(character);
        } else {
            safe.extend(character.escape_default());
        }
    }
    safe
}

/// On one line.
pub fn safe(text: &str) -> String {
    escaped(text, |_| false)
}

/// With its lines and tabs.
pub fn safe_lines(text: &str) -> String {
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

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

#[cfg(test)]
mod tests {
    use super::*;
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
