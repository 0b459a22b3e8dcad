//! Publishers: somebody else's programs that put a piece where it is read, driven through the same parts as generators.
//!
//! [`PublisherDriver`] is the seam: [`command`] implements it for everything that a configuration can describe, tests with
//! scripts. A driver reports what it saw and decides nothing; what an outcome means is in [`crate::publish`]. Processes are
//! started by [`crate::generator::exec`] alone. The surprise: consumers on the socket are a kind of publisher too, whose
//! rules stand here beside the others, because the same pool serves both.

pub mod command;
pub mod spec;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::publish::outcome::{FoundAnswer, PublishAnswer};
use crate::publish::{Handout, PublishPolicy};
use crate::store::write::Account;
use crate::task::AttemptKey;
use crate::task::content::{ContentRecord, PoolEntry};

/// A piece on its way out, as a driver sees it.
#[derive(Clone, Debug)]
pub struct PublishJob {
    /// The entry of the pool.
    pub entry: PoolEntry,
    /// Its current handing out: the key, and how often it was sent.
    pub handout: Handout,
    /// The piece.
    pub content: ContentRecord,
    /// Whose it is.
    pub account: Account,
}

/// One publisher. Every method may take as long as its verb's time limit and the end by force after it, never longer. None
/// panics for anything a publisher does. Futures are `Send` and do not block the thread that polls them.
pub trait PublisherDriver: Send + Sync + 'static {
    /// Asks for the piece to be published. The call's processes hold the lock of the key's run file until the last ends.
    fn publish(&self, job: PublishJob) -> BoxFuture<'static, PublishAnswer>;

    /// Asks whether something was published under the key.
    fn find(&self, job: PublishJob) -> BoxFuture<'static, FoundAnswer>;

    /// Whether nobody is left of the processes of the call with this key; none where that could not be looked at.
    fn is_quiet(&self, key: AttemptKey) -> BoxFuture<'static, Option<bool>>;

    /// The outcome is committed: what the call left on disk may go.
    fn forget(&self, key: AttemptKey) -> BoxFuture<'static, ()>;

    /// Why it could not be called now, a line each; may block.
    fn faults(&self) -> Vec<String>;
}

/// Whom a publisher serves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Serves {
    /// Accounts by number or name; none: all.
    pub accounts: Option<Vec<String>>,
    /// Categories; none: all, and pieces without one.
    pub categories: Option<Vec<String>>,
}

impl Serves {
    /// Whether it serves an account.
    pub fn has_account(&self, account: &Account) -> bool {
        let is_it = |named: &String| *named == account.name || *named == account.id.to_string();
        self.accounts.as_ref().is_none_or(|accounts| accounts.iter().any(is_it))
    }
}

impl Publishers {
    /// Why none of them takes a piece, and what helps.
    pub fn unserved(&self, account: &Account, category: Option<&str>) -> Option<String> {
        // Said of one piece and of several.
        let word = crate::text::shell_name(&account.name, account.id);
        let takes = format!("hand out by hand what waits: `contentctl pool next --account {word}`");
        if self.by_name.is_empty() {
            return Some(format!("no publisher is configured: add a [publishers.NAME], or {takes}"));
        }
        let of_account: Vec<_> = self.iter().filter(|publisher| publisher.serves.has_account(account)).collect();
        let name = &account.name;
        if of_account.is_empty() {
            return Some(format!(
                "no publisher serves account {name:?}: add it to `accounts` of a [publishers.NAME], or {takes}"
            ));
        }
        let has_category = |serves: &Serves| {
            let is_it = |named: &String| Some(named.as_str()) == category;
            serves.categories.as_ref().is_none_or(|categories| categories.iter().any(is_it))
        };
        if of_account.iter().any(|publisher| has_category(&publisher.serves)) {
            return None;
        }
        let which = category.map_or_else(|| "no category".to_owned(), |category| format!("category {category:?}"));
        Some(format!(
            "no publisher of account {name:?} takes pieces of {which}: add it to `categories` of a [publishers.NAME], or {takes}"
        ))
    }
}

/// How much of a publisher may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublisherLimits {
    /// Publishes at once.
    pub max_in_flight: u32,
    /// Publishes in 24 hours.
    pub publishes_per_day: Option<u32>,
    /// The longest time between two looks at the pool.
    pub interval: Duration,
    /// Entries of one account that are taken in a row.
    pub batch: u32,
}

/// A publisher, as the actors see it.
pub struct Publisher {
    /// Its name in the configuration.
    pub name: String,
    /// How it is called.
    pub driver: Arc<dyn PublisherDriver>,
    /// What the core must know of it.
    pub policy: PublishPolicy,
    /// Whom it serves.
    pub serves: Serves,
    /// How much of it may be used.
    pub limits: PublisherLimits,
}

/// The publishers of one configuration, and the rules for consumers on the socket.
pub struct Publishers {
    by_name: BTreeMap<String, Arc<Publisher>>,
    /// What holds for consumers.
    pub consumers: PublishPolicy,
    /// How long a consumer has an entry that does not say.
    pub lease: Duration,
}

/// How long a consumer has an entry where nothing else is configured.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(600);

impl Default for Publishers {
    fn default() -> Self {
        Self::new([], PublishPolicy::default(), DEFAULT_LEASE)
    }
}

impl Publishers {
    /// Of a list.
    pub fn new(publishers: impl IntoIterator<Item = Publisher>, consumers: PublishPolicy, lease: Duration) -> Self {
        let entry = |publisher: Publisher| (publisher.name.clone(), Arc::new(publisher));
        Self { by_name: publishers.into_iter().map(entry).collect(), consumers, lease }
    }

    /// One by name.
    pub fn get(&self, name: &str) -> Option<&Arc<Publisher>> {
        self.by_name.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Publisher>> {
        self.by_name.values()
    }
}

/// Where the publishers of the current configuration are found. Clones share it.
#[derive(Clone)]
pub struct Publishing(Arc<watch::Sender<Arc<Publishers>>>);

impl Default for Publishing {
    fn default() -> Self {
        Self::of(Publishers::default())
    }
}

impl Publishing {
    /// These at first.
    pub fn of(publishers: Publishers) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(publishers))))
    }

    /// The publishers now.
    pub fn current(&self) -> Arc<Publishers> {
        Arc::clone(&self.0.borrow())
    }

    /// Others from now on.
    pub fn replace(&self, publishers: Publishers) {
        self.0.send_replace(Arc::new(publishers));
    }
}
