//! How wide text is, and how untrusted text is shown (see [`crate::text`]).
//!
//! Width is what a terminal gives a text: a Chinese character takes two columns. The surprise: what is to be typed is never broken, for
//! a shell that is given half a command runs it.

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

/// Broken at words into lines, the first of at most `first` columns and the others of `rest`. Spaces inside a line stay. What stands
/// between backticks is to be typed, so it is one word; a word that is longer than a line has one of its own, which a terminal breaks
/// without spoiling what is copied from there.
pub fn at_words(text: &str, first: usize, rest: usize) -> Vec<String> {
    filled(words(text, usize::MAX), first, rest)
}

fn filled(words: Vec<(&str, &str)>, first: usize, rest: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut used) = (String::new(), 0);
    for (gap, word) in words {
        let (gap_width, word_width) = (width(gap), width(word));
        let columns = if lines.is_empty() { first } else { rest };
        if used > 0 && used + gap_width + word_width > columns {
            lines.push(std::mem::replace(&mut line, word.to_owned()));
            used = word_width;
        } else {
            line.push_str(gap);
            line.push_str(word);
            used += gap_width + word_width;
        }
    }
    lines.push(line);
    lines
}

/// The same where no line may be longer, as in a column of a table: longer words are broken, too, a command at its spaces.
pub fn broken(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for whole in filled(words(text, columns), columns, columns) {
        let (mut line, mut used) = (String::new(), 0);
        for character in whole.chars() {
            let next = character.width().unwrap_or(0);
            if used > 0 && used + next > columns {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(character);
            used += next;
        }
        lines.push(line);
    }
    lines
}

/// The narrowest that prose is broken to: below it a terminal does it better.
pub const NARROWEST_PROSE: usize = 20;

/// How much further in than its beginning a line goes on.
const HANG: usize = 2;

/// Lines of prose for a terminal of so many columns. What a line goes on with stands further in than the line, and at least in
/// `column`.
pub fn hanging(text: &str, columns: usize, column: usize) -> String {
    let lines = text.split('\n').map(|line| {
        let inset = column.max(line.len() - line.trim_start_matches(' ').len() + HANG);
        if width(line) <= columns || columns < inset + NARROWEST_PROSE {
            return line.to_owned();
        }
        at_words(line, columns, columns - inset).join(&format!("\n{}", " ".repeat(inset)))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Text for a terminal of so many columns: a line that is longer goes on as far in as it began.
pub fn wrapped(text: &str, columns: usize) -> String {
    let lines = text.split('\n').map(|line| {
        let inset = line.len() - line.trim_start_matches(' ').len();
        if width(line) <= columns || columns < inset + NARROWEST_PROSE {
            return line.to_owned();
        }
        at_words(line, columns, columns - inset).join(&format!("\n{}", " ".repeat(inset)))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Words, each with the spaces before it. Characters of two columns know no spaces: each is a word of its own. What stands between
/// backticks is one where it has at most so many columns.
fn words(text: &str, longest: usize) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let (mut gap, mut word) = (0, 0);
    let (mut is_open, mut is_typed) = (false, false);
    let mut last_is_wide = false;
    for (at, character) in text.char_indices() {
        let is_wide = character.width() == Some(2);
        if character == '`' {
            let end = text[at + 1..].find('`').map(|end| at + end + 2);
            // What ends a sentence goes with it, and would have a line of its own where there is no room for both.
            let whole = |end: usize| end + text[end..].find(|next| !is_end(next)).unwrap_or(text.len() - end);
            is_typed = !is_typed && !is_open && end.is_some_and(|end| width(&text[at..whole(end)]) <= longest);
            is_open = end.is_some() && !is_open;
        }
        let ends = match character {
            '`' if !is_typed => false,
            _ if is_typed && character != '`' => false,
            ' ' => word < at,
            // No line begins with the end of a sentence.
            end if !end.is_ascii() && is_end(end) => false,
            _ => (is_wide || last_is_wide) && word < at && !text[word..at].ends_with(' '),
        };
        if ends {
            found.push((&text[gap..word], &text[word..at]));
            (gap, word) = (at, at);
        }
        if character == ' ' && !is_typed {
            word = at + 1;
        }
        last_is_wide = is_wide;
    }
    if word < text.len() {
        found.push((&text[gap..word], &text[word..]));
    }
    found
}

/// What stands at the end of a sentence, or of a part of it.
fn is_end(character: char) -> bool {
    const ENDS: &str = ",.;:!?)，。、；：！？）》」』";
    ENDS.contains(character)
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

    #[test]
    fn lines_are_broken_at_words_and_what_is_typed_is_not() {
        let text = "one two  three `contentctl pool release 3` four";
        assert_eq!(at_words(text, 14, 12), ["one two  three", "`contentctl pool release 3`", "four"]);
        assert_eq!(at_words("it's a ` alone and more", 10, 10), ["it's a `", "alone and", "more"]);
        assert_eq!(at_words("", 5, 5), [""]);
        assert_eq!(at_words("写作，人工智能", 6, 6), ["写作，", "人工智", "能"]);
        assert_eq!(broken("see `pool list` or `pool`", 8), ["see", "`pool", "list` or", "`pool`"]);
        assert_eq!(broken("`pool list`, or", 11), ["`pool", "list`, or"], "no comma has a line of its own");
        assert_eq!(broken("a-word-of-18-chars here", 8), ["a-word-o", "f-18-cha", "rs", "here"]);
        let prose = "reason: the generator said\n  contentctl poll ID   ask again\nend";
        assert_eq!(hanging(prose, 24, 0), "reason: the generator\n  said\n  contentctl poll ID\n    ask again\nend");
        assert_eq!(hanging(prose, 12, 0), prose, "too narrow");
        let piece = "The sea is salt because of the rivers.\n\n    a list goes on under itself\n";
        let shown = "The sea is salt because of\nthe rivers.\n\n    a list goes on under\n    itself\n";
        assert_eq!(wrapped(piece, 26), shown);
        assert_eq!(wrapped(piece, 80), piece);
    }

    proptest! {
        #[test]
        fn what_is_shown_fits_and_is_safe(text in any::<String>(), columns in 0usize..40) {
            let shown = safe(&text);
            prop_assert!(!shown.chars().any(is_unsafe));
            prop_assert!(width(&fitted(&shown, columns)) <= columns.max(width("…") * usize::from(columns > 0)));
            let columns = columns.max(2);
            let lines = broken(&shown, columns);
            prop_assert!(lines.iter().all(|line| width(line) <= columns), "{lines:?}");
            let without_spaces = |text: &str| text.replace(' ', "");
            prop_assert_eq!(without_spaces(&lines.concat()), without_spaces(&shown));
        }
    }
}
