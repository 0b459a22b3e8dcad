//! Hooks: the commands that somebody is told by, as the configuration has them and as the actors see them.
//!
//! A hook is no generator, but it is a process like theirs, and processes belong here. [`Courier`] is the seam: a simulation gives
//! its own. The surprise: nothing is known of what a hook does with a message, only whether it took it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::notice::delivery::{DeliveryEnd, Patience};
use crate::notice::rules::{Settings, Severity};

/// `[hooks.NAME]`, compiled.
#[derive(Clone, PartialEq, Debug)]
pub struct HookSpec {
    /// The program and its arguments.
    pub run: Vec<String>,
    /// Where it runs; none: in the state directory.
    pub cwd: Option<PathBuf>,
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
    /// Variables and the credentials that hold their values.
    pub secrets: BTreeMap<String, String>,
    /// How it is tried.
    pub patience: Patience,
    /// What is less bad is not told to it.
    pub least: Severity,
}

/// Carries messages to one receiver.
pub trait Courier: Send + Sync + 'static {
    /// Hands over a message; resolves when that has ended, within the hook's time limit and its grace.
    fn deliver(&self, message: String) -> BoxFuture<'static, DeliveryEnd>;
    /// Why it could not run now. Blocks on files.
    fn faults(&self) -> Vec<String>;
}

/// A hook as the actors see it.
#[derive(Clone)]
pub struct Hook {
    /// How it is tried.
    pub patience: Patience,
    /// What is less bad is not told to it.
    pub least: Severity,
    /// The way to it.
    pub courier: Arc<dyn Courier>,
}

/// What tells how much of the disk is left; none where that cannot be known.
pub type DiskFree = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// The rules and the hooks of one configuration. The default watches nothing and tells nobody.
#[derive(Clone, Default)]
pub struct Notices {
    /// The rules; none: nothing is watched.
    pub settings: Option<Arc<Settings>>,
    /// Whom to tell, by name.
    pub hooks: BTreeMap<String, Hook>,
    /// The machine, as messages name it.
    pub host: String,
    /// How much of the disk is left. Blocks.
    pub disk_free: Option<DiskFree>,
}

impl Notices {
    /// Nothing is watched and nobody told, for ever: where there is no configuration.
    pub fn none() -> watch::Receiver<Arc<Self>> {
        watch::channel(Arc::default()).1
    }
}
