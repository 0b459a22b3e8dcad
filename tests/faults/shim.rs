//! A daemon with a shim before its C library, which breaks the disk or the clock when a test says so. SQLite is linked into the
//! daemon, and still asks the C library for every write and every fsync.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::OnceLock;

use crate::live::{Daemon, Home};

/// The shim, compiled once for all tests of this process.
fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let (fresh, library) = (directory.join(format!("shim-{}.so", std::process::id())), directory.join("shim.so"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/shim.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&fresh)
            .args([source, "-ldl"])
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        // Another process of tests may be using the old one.
        fs::rename(&fresh, &library).unwrap();
        library
    };
    LIBRARY.get_or_init(build).clone()
}

/// A home whose daemons have the shim.
pub struct Shimmed<'h> {
    home: &'h Home,
}

impl<'h> Shimmed<'h> {
    pub fn of(home: &'h Home) -> Self {
        fs::create_dir_all(home.path("shim")).unwrap();
        Self { home }
    }

    pub fn command(&self) -> Command {
        let mut command = self.home.command();
        command.env("LD_PRELOAD", library()).env("SHIM_DIR", self.home.path("shim"));
        command
    }

    /// The `env` of a generator whose runner has it too.
    pub fn env(&self) -> String {
        let (library, directory) = (library(), self.home.path("shim"));
        format!("env = {{ LD_PRELOAD = \"{}\", SHIM_DIR = \"{}\" }}", library.display(), directory.display())
    }

    /// Starts a daemon and waits until it answers.
    pub fn start(&self) -> Daemon<'h> {
        Daemon::adopt(self.home, self.spawn(), self.home.socket())
    }

    /// Starts a daemon.
    pub fn spawn(&self) -> Child {
        self.home.spawn(self.command())
    }

    /// Turns a fault on.
    pub fn break_by(&self, fault: &str, value: &str) {
        let fresh = self.home.path("shim/fresh");
        fs::write(&fresh, value).unwrap();
        fs::rename(fresh, self.home.path("shim").join(fault)).unwrap();
    }

    /// Turns it off, and forgets that it bit.
    pub fn mend(&self, fault: &str) {
        for name in [fault.to_owned(), format!("bit-{fault}")] {
            // It may not have bitten.
            let _ = fs::remove_file(self.home.path("shim").join(name));
        }
    }

    /// Leaves it on, and forgets that it bit.
    pub fn forget_bite(&self, fault: &str) {
        fs::remove_file(self.home.path("shim").join(format!("bit-{fault}"))).unwrap();
    }

    /// Whether it has bitten since.
    pub fn has_bitten(&self, fault: &str) -> bool {
        self.home.path("shim").join(format!("bit-{fault}")).exists()
    }
}
