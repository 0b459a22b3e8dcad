//! What calls and runs left on disk: which keys have files, and the removal of one that nobody needs.
//!
//! It must not decide who is needed: that is in the database. It must not remove what a process still holds. The
//! surprise: a name that is no key is somebody else's, and is left alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::access::Access;
use super::run::directory::RunDirs;
use super::runfile::{RunFiles, key_as_name};
use crate::task::{AttemptKey, TaskId};

/// The files of every generator under one state directory.
#[derive(Clone, Debug)]
pub struct Leftovers {
    calls: RunFiles,
    runs: RunDirs,
}

impl Leftovers {
    /// Names the directories; nothing is created.
    pub fn new(state_dir: &Path) -> Self {
        Self { calls: RunFiles::new(state_dir), runs: RunDirs::new(state_dir) }
    }

    /// Makes the directory that run directories lie in; `is_shared`: the runner has a user of its own.
    pub fn make_place_of_runs(&self, is_shared: bool) -> io::Result<()> {
        let access = if is_shared { Access::Shared } else { Access::Private };
        self.runs.clone().with_access(access).make_root()
    }

    /// Whether the directory of run directories is there. Nobody removes it.
    pub fn has_place_of_runs(&self) -> bool {
        self.runs.has_root()
    }

    /// Every key that has files, and when the newest of them was last changed.
    pub fn keys(&self) -> io::Result<BTreeMap<AttemptKey, SystemTime>> {
        let mut keys = BTreeMap::new();
        collect(self.calls.dir(), &mut keys, |name| name.strip_suffix(".run").or_else(|| name.strip_suffix(".d")))?;
        collect(self.runs.root(), &mut keys, |name: &str| Some(name))?;
        Ok(keys)
    }

    /// Every run that says whose it is, the newest first.
    pub fn runs(&self) -> io::Result<Vec<(AttemptKey, TaskId)>> {
        let mut keys = BTreeMap::new();
        collect(self.runs.root(), &mut keys, |name: &str| Some(name))?;
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort_by_key(|(_, changed)| std::cmp::Reverse(*changed));
        Ok(keys.into_iter().filter_map(|(key, _)| self.task_of(&key).map(|task| (key, task))).collect())
    }

    /// Whose a run is, by its own word.
    pub fn task_of(&self, key: &AttemptKey) -> Option<TaskId> {
        self.runs.task_of(key)
    }

    /// The directory of a run.
    pub fn run_dir(&self, key: &AttemptKey) -> Option<PathBuf> {
        self.runs.path_of(key)
    }

    /// Removes the files of a key unless a process of it is left or it was sealed lately; whether it did.
    pub fn remove_if_quiet(&self, key: &AttemptKey) -> bool {
        self.runs.is_quiet(key) && self.calls.forget_if_quiet(key) && self.runs.sweep(key)
    }
}

/// Adds the keys of a directory's entries; one that is not there has none.
fn collect(
    dir: &Path,
    keys: &mut BTreeMap<AttemptKey, SystemTime>,
    key_in: fn(&str) -> Option<&str>,
) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let key = name.to_str().and_then(key_in).map(|key| AttemptKey(key.to_owned()));
        let Some(key) = key.filter(|key| key_as_name(key).is_some()) else { continue };
        // One that has gone since the listing is no leftover any more.
        let Ok(changed) = entry.metadata().and_then(|meta| meta.modified()) else { continue };
        let newest = keys.entry(key).or_insert(changed);
        *newest = changed.max(*newest);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_files_and_go_only_when_nobody_holds_them() {
        let state = tempfile::tempdir().expect("a temporary directory");
        let leftovers = Leftovers::new(state.path());
        assert!(leftovers.keys().expect("nothing there is no fault").is_empty());
        let (calls, runs) = (state.path().join("calls"), state.path().join("runs/v1"));
        for dir in [calls.join("b.d"), runs.join("c"), runs.join("not.ours")] {
            fs::create_dir_all(dir).expect("made");
        }
        fs::write(calls.join("notes.txt"), "").expect("written");
        let held = leftovers.calls.create(&"a".into(), b"").expect("made");
        let keys: Vec<_> = leftovers.keys().expect("listed").into_keys().map(|key| key.0).collect();
        assert_eq!(keys, ["a", "b", "c"]);
        let removed = ["a", "b", "c"].map(|key| leftovers.remove_if_quiet(&key.into()));
        assert_eq!(removed, [false, true, true]);
        drop(held);
        assert!(leftovers.remove_if_quiet(&"a".into()));
        assert!(leftovers.keys().expect("listed").is_empty());
        assert!(calls.join("notes.txt").exists() && runs.join("not.ours").exists(), "somebody else's");
    }
}
