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

/// A number with the word for what it counts, which is given for one and for several.
pub fn counted(count: impl Into<u64>, one: &str, several: &str) -> String {
    match count.into() {
        1 => format!("1 {one}"),
        count => format!("{count} {several}"),
    }
}

/// What names an account, or whatever else has both, in a command: its name where a shell takes it as it is, and its number elsewhere.
pub fn shell_name(name: &str, id: impl std::fmt::Display) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.');
    let is_word = name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.chars().all(is_plain);
    if is_word { name.to_owned() } else { id.to_string() }
}

/// What lies at a path where a regular file is wanted; none for a regular file.
pub fn no_regular_file(kind: std::fs::FileType) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("it is a directory")
    } else if kind.is_fifo() {
        Some("it is a named pipe")
    } else if kind.is_socket() {
        Some("it is a socket")
    } else if kind.is_char_device() || kind.is_block_device() {
        Some("it is a device")
    } else {
        Some("it is no regular file")
    }
}
