//! How untrusted text is made harmless, for a terminal and for the journal.
//!
//! A generator's output may hold control characters that repaint a terminal, and marks that turn the direction of
//! writing so that a line reads as something else. They are shown as escapes. The surprise: `journalctl` hides a whole
//! message that holds a control character ("blob data"), so what goes there must be escaped too.

/// Whether a character must not reach a terminal as it is.
pub(crate) fn is_unsafe(character: char) -> bool {
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
