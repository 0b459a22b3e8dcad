//! The log of one task as a file: a line of JSON for each entry.
//!
//! The counters stand first in a line and have a fixed width, so that "the same again" is forty bytes written in place and
//! what follows them can be compared byte by byte. A line that a lost machine left half is skipped; the next begins anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::runfile::open_own;
use super::{LogEntry, TaskLog};

/// Bytes of a file that are read: what nobody of us wrote is not worth more.
const MAX_READ: u64 = 8 << 20;

/// The first line of a file that lost its beginning.
#[derive(Serialize, Deserialize)]
struct Dropped {
    dropped: u64,
}

/// What changes when the same is said again.
fn counters(entry: &LogEntry) -> String {
    format!("{{\"times\":{:>10},\"last_at\":{:>20},\"at\":", entry.times, entry.last_at.0)
}

/// Up to where lines of the same saying differ: the time of the first is no part of it.
fn saying(line: &[u8]) -> Option<&[u8]> {
    let start = b"{\"times\":1234567890,\"last_at\":12345678901234567890,\"at\":".len();
    let rest = line.get(start..)?;
    rest.iter().position(|byte| *byte == b',').map(|comma| &rest[comma..])
}

fn line_of(entry: &LogEntry) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(entry)?;
    let rest = json
        .find(",\"attempt\":")
        .map(|at| &json[at..])
        .ok_or_else(|| io::Error::other("an entry without an attempt"))?;
    Ok(format!("{}{}{rest}\n", counters(entry), entry.at.0).into_bytes())
}

/// What the sayings of one verb in one attempt begin with.
fn subject(entry: &LogEntry) -> String {
    format!(",\"attempt\":{},\"verb\":\"{}\",", entry.attempt, entry.verb)
}

/// Adds an entry, or counts it if the last call of its verb said the same. The oldest lines make way past `bound` bytes.
pub(super) fn append(path: &Path, entry: &LogEntry, bound: u64) -> io::Result<()> {
    let mut file = open_own(path, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
    let mut bytes = Vec::new();
    (&mut file).take(MAX_READ).read_to_end(&mut bytes)?;
    let line = line_of(entry)?;
    if let Some((at, before)) = same_saying(&bytes, &line, &subject(entry)) {
        let again = LogEntry { times: before.times.saturating_add(1), ..entry.clone() };
        return file.write_all_at(counters(&again).as_bytes(), at);
    }
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    if whole as u64 + line.len() as u64 > bound {
        return rewrite(path, &bytes[..whole], &line, bound);
    }
    file.set_len(whole as u64)?;
    file.seek(SeekFrom::End(0))?;
    file.write_all(&line).inspect_err(|_| {
        // Half a line helps nobody; if even that fails, the next one cuts it off.
        let _ = file.set_len(whole as u64);
    })
}

/// Where the last line of this verb and attempt stands, if it says the same.
fn same_saying(bytes: &[u8], line: &[u8], subject: &str) -> Option<(u64, LogEntry)> {
    let new = saying(line)?;
    let mut end = bytes.iter().rposition(|byte| *byte == b'\n')? + 1;
    while end > 0 {
        let start = bytes[..end - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let old = &bytes[start..end];
        if let Some(said) = saying(old).filter(|said| said.starts_with(subject.as_bytes())) {
            let entry = (said == new).then(|| serde_json::from_slice(old).ok()).flatten()?;
            return Some((start as u64, entry));
        }
        end = start;
    }
    None
}

/// Writes the newest lines that fill half the bound, and the new one, into a file that takes the place of the old.
fn rewrite(path: &Path, old: &[u8], line: &[u8], bound: u64) -> io::Result<()> {
    let lines: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
    let mut dropped =
        lines.first().and_then(|first| serde_json::from_slice(first).ok()).map_or(0, |line: Dropped| line.dropped);
    let mut room = bound / 2;
    let mut kept = Vec::new();
    for line in lines.iter().rev() {
        if serde_json::from_slice::<LogEntry>(line).is_err() {
            continue;
        }
        match room.checked_sub(line.len() as u64) {
            Some(left) => {
                room = left;
                kept.push(*line);
            }
            None => {
                room = 0;
                dropped += 1;
            }
        }
    }
    let mut text = serde_json::to_vec(&Dropped { dropped })?;
    text.push(b'\n');
    kept.iter().rev().for_each(|line| text.extend_from_slice(line));
    text.extend_from_slice(line);
    let draft = path.with_extension("new.jsonl");
    let written = open_own(&draft, OpenOptions::new().write(true).create(true).truncate(true))
        .and_then(|mut file: File| file.write_all(&text))
        .and_then(|()| fs::rename(&draft, path));
    written.inspect_err(|_| {
        // The old file stands as it was.
        let _ = fs::remove_file(&draft);
    })
}

/// Reads a file; one that is not there is an empty log.
pub(super) fn read(path: &Path) -> io::Result<TaskLog> {
    let file = match open_own(path, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(TaskLog::default()),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_READ).read_to_end(&mut bytes)?;
    let mut log = TaskLog::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(entry) = serde_json::from_slice::<LogEntry>(line) {
            log.entries.push(entry);
        } else if let Ok(first) = serde_json::from_slice::<Dropped>(line) {
            log.dropped = first.dropped;
        }
    }
    Ok(log)
}
