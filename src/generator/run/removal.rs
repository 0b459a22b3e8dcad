//! Removes a run directory, in which somebody else's user may have made whatever it liked.
//!
//! It must not follow links, and it must come to an end: trees as deep as a stack or as wide as a disk are left for the
//! next time, or for a person. The surprise: the standard library's removal would do for our own files, but it goes as
//! deep as the tree does and keeps a descriptor open for each level.

use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

/// How deep a tree may be.
const MAX_DEPTH: u32 = 16;
/// How many entries are removed at once.
const MAX_ENTRIES: u32 = 50_000;

/// Removes the tree at `path`. What cannot be removed does not keep the rest from going.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let name = rustix::path::Arg::into_c_str(path)?;
    let mut removal = Removal { left: MAX_ENTRIES, first_error: None };
    removal.tree(CWD, &name, 0);
    removal.first_error.map_or(Ok(()), Err)
}

struct Removal {
    left: u32,
    first_error: Option<io::Error>,
}

impl Removal {
    fn tree(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: u32) {
        let removed = self.contents(parent, name, depth).and_then(|()| Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?));
        if let Err(error) = removed {
            // The first says more than that the directories above it are not empty.
            self.first_error.get_or_insert(error);
        }
    }

    fn contents(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: u32) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::other(format!("its directories are nested more than {MAX_DEPTH} deep")));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match openat(parent, name, flags, Mode::empty()) {
            // An empty one can be removed without being read.
            Err(Errno::ACCESS) => return Ok(()),
            opened => opened?,
        };
        for entry in Dir::read_from(&opened)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            self.left = self.left.checked_sub(1).ok_or_else(|| {
                io::Error::other(format!("it holds more than {MAX_ENTRIES} entries; the rest goes the next time"))
            })?;
            match unlinkat(&opened, name, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::ISDIR | Errno::PERM) if entry.file_type() != FileType::RegularFile => {
                    self.tree(std::os::fd::AsFd::as_fd(&opened), name, depth + 1);
                }
                Err(error) => {
                    self.first_error.get_or_insert(error.into());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_tree_goes_and_what_its_links_name_stays() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (tree, precious) = (dir.path().join("tree"), dir.path().join("precious"));
        fs::create_dir_all(tree.join("a/b")).expect("made");
        fs::create_dir(&precious).expect("made");
        fs::write(precious.join("file"), "kept").expect("written");
        fs::write(tree.join("a/b/file"), "").expect("written");
        std::os::unix::fs::symlink(&precious, tree.join("a/link")).expect("linked");
        remove_tree(&tree).expect("removed");
        assert!(!tree.exists());
        std::os::unix::fs::symlink(&precious, &tree).expect("linked");
        assert!(remove_tree(&tree).is_err(), "a link in its place is no tree");
        assert!(precious.join("file").exists());
    }

    #[test]
    fn a_bottomless_tree_is_given_up_and_the_rest_goes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tree = dir.path().join("tree");
        let deep: PathBuf = std::iter::repeat_n("d", 300).collect();
        fs::create_dir_all(tree.join(deep)).expect("made");
        fs::write(tree.join("piece"), "").expect("written");
        let error = remove_tree(&tree).expect_err("too deep");
        assert!(error.to_string().contains("nested more than"), "{error}");
        assert!(tree.exists() && !tree.join("piece").exists());
    }
}
