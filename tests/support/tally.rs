//! What a test counted, for the last line of a whole run: schedules, mutations, faults.
//!
//! A test that passes prints nothing, and a count that nobody sees can shrink to nothing. So the counts go to a file each, and
//! `zz_what_ran` prints them all. A part writes its file only when everything that it counts has held.

// Each test file that uses it uses a part of it.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("tallies")
}

/// Says in one line what was counted, under a name of the part's own, such as `exploration`.
pub fn tell(part: &str, line: &str) {
    let directory = directory();
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(part), line).unwrap();
}

/// All lines, by the name of their part.
pub fn all() -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(directory()) else { return Vec::new() };
    let mut lines: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().to_string_lossy().into_owned(), fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    lines.sort();
    lines
}

/// Forgets what an earlier run told.
pub fn clear() {
    let _ = fs::remove_dir_all(directory());
}
