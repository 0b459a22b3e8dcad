//! What a run under way has written to standard error since somebody looked last.
//!
//! It must not read more than it shows, whatever a run writes: a look comes every second for everybody who follows. The
//! surprise: a part never ends inside of what could be a secret. Its beginning is left to the next part, so that no
//! secret is cut in two; only where the middle of a long part is left out, some bytes before the rest are read too.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::super::log::BOUNDS;
use super::super::run::directory::Sight;
use super::super::{Job, Written};
use super::secrets::Secrets;
use super::{Inner, notes};

/// The most that one part shows.
const MOST: u64 = BOUNDS.call as u64;

impl Inner {
    /// See [`super::super::Driver::written_so_far`].
    pub(super) fn written_so_far(&self, job: &Job, from: u64) -> Option<Written> {
        let key = &job.attempt.key;
        if !self.spec.is_blocking() || self.is_told(key) {
            return None;
        }
        if !matches!(self.runs.look(key), Sight::Running | Sight::Ended(..) | Sight::Lost { .. }) {
            return None;
        }
        let Some((file, length)) = self.runs.open_written(key, "stderr") else { return Some(Written::default()) };
        let (secrets, doubt) = self.secrets_of_run(key);
        match doubt {
            None => Some(part(&file, length, from, &secrets).unwrap_or_default()),
            // Said once: from there on, nothing is.
            Some(doubt) if from == 0 && length > 0 => Some(Written { text: notes::kept_back(&doubt), upto: 1 }),
            Some(_) => Some(Written { text: String::new(), upto: from }),
        }
    }
}

/// The part from a byte to the end. Of a file that has become shorter all is new.
fn part(file: &File, length: u64, from: u64, secrets: &Secrets) -> io::Result<Written> {
    let from = if from > length { 0 } else { from };
    if length - from <= MOST {
        let (text, end) = secrets.clean_part(&read(file, from, length)?, 0);
        return Ok(Written { text, upto: from + end as u64 });
    }
    // The causes come first, and what happens now comes last.
    let (mut text, end) = secrets.clean_part(&read(file, from, from + MOST / 4)?, 0);
    let head = from + end as u64;
    let tail = length - MOST / 4 * 3;
    let overlap = secrets.longest().min(usize::try_from(tail - head).unwrap_or(usize::MAX));
    let before = tail - overlap as u64;
    let (rest, end) = secrets.clean_part(&read(file, before, length)?, overlap);
    text.push_str(&format!("\n[… {} bytes left out …]\n", tail - head));
    text.push_str(&rest);
    Ok(Written { text, upto: before + end as u64 })
}

fn read(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(to - from).map_err(io::Error::other)?];
    let mut filled = 0;
    // What a hostile command cut off in between is missing.
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(text: &[u8]) -> File {
        use std::io::Write;
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text).expect("written");
        file
    }

    #[test]
    fn a_long_part_shows_its_beginning_and_its_end_and_no_half_secret_at_any_border() {
        let secrets = Secrets::of(&["0123456789abcdef", "fedcba", "efe"]);
        let length = 3 * BOUNDS.call;
        let (head, tail) = (BOUNDS.call / 4, length - BOUNDS.call / 4 * 3);
        // Wherever a secret lies about a border, no piece of it is shown.
        for border in [head, tail, length] {
            for shift in 0..=16 {
                let mut text = vec![b'.'; length];
                let at = (border - shift).min(length - 16);
                text[at..at + 16].copy_from_slice(b"0123456789abcdef");
                let written = part(&file_with(&text), length as u64, 0, &secrets).expect("read");
                let left = written.text.replace("[secret]", "").replace("left out", "");
                let is_clean = left.chars().all(|c| ".\n[…]  bytes".contains(c) || c.is_ascii_digit());
                assert!(is_clean && !left.contains("0123") && !left.contains("cdef"), "{border} - {shift}");
                assert!(left.contains("bytes") && written.text.len() < BOUNDS.call + 100);
                // A secret at the very end could be one of another kind that begins there, so it is left to the next part.
                let left_over = length as u64 - written.upto;
                assert!(left_over == 0 || border == length && left_over <= 16, "{left_over}");
            }
        }
    }

    #[test]
    fn parts_of_any_size_are_together_the_whole_without_its_secrets() {
        let secrets = Secrets::of(&["secret-one", "one-secret-two"]);
        let text = "an é and secret-one, one-secret-two, secret-on no one-secret- ünd secret-onesecret-one.".repeat(3);
        let file = file_with(text.as_bytes());
        let whole = text.replace("one-secret-two", "[secret]").replace("secret-one", "[secret]");
        for step in 1..40 {
            let (mut seen, mut told, mut from) = (0, String::new(), 0);
            while seen < text.len() {
                seen = (seen + step).min(text.len());
                let written = part(&file, seen as u64, from, &secrets).expect("read");
                assert!(written.upto >= from);
                told.push_str(&written.text);
                from = written.upto;
            }
            assert_eq!(told, whole, "steps of {step}");
        }
        let short = part(&file_with(b"anew"), 4, 400, &secrets).expect("read");
        assert_eq!((short.text.as_str(), short.upto), ("anew", 4), "a file that was cut off");
    }
}
