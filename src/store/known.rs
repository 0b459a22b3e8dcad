//! Accounts that were looked up, kept until an account is written: nearly every submit names the same few, and a question to
//! the database costs a change of threads there and back.
//!
//! It must not answer for what a commit decides: the write of a task reads its account again. The surprise: what was read
//! while an account was written is not kept, because nobody knows which side of the commit it saw.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::write::Account;

/// More names than this are not kept: numbers are names too, so a caller could make many.
const MOST: usize = 1_024;

/// Accounts by what they were asked for: number or name.
#[derive(Default)]
pub(super) struct KnownAccounts(Mutex<Known>);

#[derive(Default)]
struct Known {
    accounts: BTreeMap<String, Account>,
    /// Of the accounts in the database: how often one may have changed.
    edition: u64,
}

/// When accounts were read: before or after which change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Edition(u64);

impl KnownAccounts {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, name: &str) -> Option<Account> {
        self.known().accounts.get(name).cloned()
    }

    /// To be asked before accounts are read.
    pub(super) fn edition(&self) -> Edition {
        Edition(self.known().edition)
    }

    /// Keeps what was read since `edition`, where nothing was written since.
    pub(super) fn keep(&self, edition: Edition, read: &BTreeMap<String, Option<Account>>) {
        let mut known = self.known();
        if Edition(known.edition) != edition {
            return;
        }
        // Who is not there may come, and costs a question until then.
        for (name, account) in read.iter().filter_map(|(name, account)| Some((name, account.as_ref()?))) {
            if known.accounts.len() < MOST {
                known.accounts.insert(name.clone(), account.clone());
            }
        }
    }

    /// An account is being written, or was.
    pub(super) fn forget(&self) {
        let mut known = self.known();
        known.accounts.clear();
        known.edition += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{AccountId, Timestamp};

    fn read(name: &str) -> BTreeMap<String, Option<Account>> {
        let account = Account {
            id: AccountId(1),
            name: name.to_owned(),
            external_id: None,
            is_enabled: true,
            defaults: Default::default(),
            limits: Default::default(),
            created_at: Timestamp(0),
        };
        BTreeMap::from([(name.to_owned(), Some(account)), ("nobody".to_owned(), None)])
    }

    #[test]
    fn an_account_is_known_until_one_is_written() {
        let known = KnownAccounts::default();
        known.keep(known.edition(), &read("demo"));
        assert!(known.get("demo").is_some());
        assert!(known.get("nobody").is_none());
        known.forget();
        assert!(known.get("demo").is_none());
    }

    #[test]
    fn what_was_read_while_an_account_was_written_is_not_kept() {
        let known = KnownAccounts::default();
        let before = known.edition();
        known.forget();
        known.keep(before, &read("demo"));
        assert!(known.get("demo").is_none());
    }

    #[test]
    fn names_do_not_pile_up() {
        let known = KnownAccounts::default();
        for number in 0..2 * MOST {
            known.keep(known.edition(), &read(&number.to_string()));
        }
        assert_eq!(known.known().accounts.len(), MOST);
    }
}
