//! For whom the files of a run are made: for the daemon's user alone, or for the runner's user too, who shares a group
//! with it.
//!
//! It must not decide which of the two it is: the run socket does. The surprise: modes are set after the making and
//! never by it, because the daemon's umask (0077 under systemd) takes the group's bits away. There is no setgid bit:
//! both users have the group as their first one, and `RestrictSUIDSGID=yes` would refuse it.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::runfile::make_private_dir;

/// Who may use what is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Access {
    /// Our own user.
    #[default]
    Private,
    /// Our own user and the group.
    Shared,
}

/// What a directory is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// Others go through it to a name that they know; they cannot list it.
    Passage,
    /// A run directory. Sticky: each removes and renames only what is its own, so that a command cannot take the lock or
    /// the request of its run away.
    Run,
    /// Others read in it.
    Reading,
    /// Others do in it as they please.
    Work,
}

impl Purpose {
    const fn shared_mode(self) -> u32 {
        match self {
            Self::Passage => 0o710,
            Self::Run => 0o1770,
            Self::Reading => 0o750,
            Self::Work => 0o770,
        }
    }
}

impl Access {
    /// Makes a directory and those above it, or checks that it is ours. The way to it leads through the directory above
    /// it, and the state directory above that, which whoever made it opens.
    pub(crate) fn make_dir(self, path: &Path, purpose: Purpose) -> io::Result<()> {
        make_private_dir(path)?;
        if let Some(parent) = path.parent() {
            self.open_dir(parent, Purpose::Passage)?;
        }
        self.open_dir(path, purpose)
    }

    /// Lets the group into a directory, if it is ours.
    pub(crate) fn open_dir(self, path: &Path, purpose: Purpose) -> io::Result<()> {
        if self == Self::Private {
            return Ok(());
        }
        let meta = fs::symlink_metadata(path)?;
        let is_ours = meta.uid() == rustix::process::geteuid().as_raw();
        let is_open = meta.permissions().mode() & 0o7777 == purpose.shared_mode();
        if !is_ours || is_open {
            return Ok(());
        }
        fs::set_permissions(path, Permissions::from_mode(purpose.shared_mode()))
    }

    /// Lets the group read a file of ours.
    pub(crate) fn open_file(self, file: &File) -> io::Result<()> {
        if self == Self::Private {
            return Ok(());
        }
        file.set_permissions(Permissions::from_mode(0o640))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o7777
    }

    #[test]
    fn shared_directories_are_opened_and_private_ones_are_left_alone() {
        let state = tempfile::tempdir().expect("a temporary directory");
        let of = |name: &str| state.path().join(name);
        let before = mode(state.path());
        // As a daemon without the run socket makes them.
        Access::Private.make_dir(&of("generators/polled"), Purpose::Work).expect("made");
        Access::Private.make_dir(&of("generators/slow"), Purpose::Work).expect("made");
        assert_eq!((mode(&of("generators")), mode(&of("generators/slow"))), (0o700, 0o700));
        Access::Shared.make_dir(&of("generators/slow"), Purpose::Work).expect("opened");
        Access::Private.make_dir(&of("calls/deep"), Purpose::Run).expect("made");
        Access::Shared.make_dir(&of("runs/v1"), Purpose::Passage).expect("made");
        let modes = ["generators", "generators/slow", "generators/polled", "calls", "calls/deep", "runs", "runs/v1"]
            .map(|name| mode(&of(name)));
        assert_eq!(modes, [0o710, 0o770, 0o700, 0o700, 0o700, 0o710, 0o710]);
        assert_eq!(mode(state.path()), before, "whoever made the state directory decides about it");
    }
}
