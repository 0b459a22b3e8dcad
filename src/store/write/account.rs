//! Changes of accounts: one by one, or a whole list that is taken whole or not at all.
//!
//! The surprise: an import is idempotent by name. An account that stands as the list says is left alone, so the same file
//! may be taken every night.

use super::rows::Rows;
use super::{Account, WriteError, Written};
use crate::task::account::{AccountChange, AccountSettings};
use crate::task::{AccountId, Timestamp};

/// An account of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountEntry {
    /// Its name; one that is not known is added.
    pub name: String,
    /// What is to be true of it.
    pub change: AccountChange,
}

/// A change of accounts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccountWrite {
    /// One that is there.
    Set {
        /// Which.
        id: AccountId,
        /// What.
        change: Box<AccountChange>,
    },
    /// A list: all of it, or nothing.
    Import {
        /// By name, each once.
        entries: Vec<AccountEntry>,
        /// When.
        now: Timestamp,
    },
}

/// What became of an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccountOutcome {
    /// It is new.
    Added,
    /// It was another before.
    Changed,
    /// It stood so already.
    Unchanged,
}

impl AccountOutcome {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
        }
    }
}

pub(super) fn execute(rows: &mut dyn Rows, write: &AccountWrite) -> Result<Written, WriteError> {
    match write {
        AccountWrite::Set { id, change } => {
            let account = rows.account(*id)?.ok_or_else(|| WriteError::AccountNotFound(id.to_string()))?;
            Ok(Written::Accounts(vec![set(rows, account, change)?]))
        }
        AccountWrite::Import { entries, now } => {
            let mut done = Vec::with_capacity(entries.len());
            for AccountEntry { name, change } in entries {
                done.push(match rows.account_by_name(name)? {
                    Some(account) => set(rows, account, change)?,
                    None => {
                        let added = rows.insert_account(name, None, *now)?;
                        (set(rows, added, change)?.0, AccountOutcome::Added)
                    }
                });
            }
            Ok(Written::Accounts(done))
        }
    }
}

fn set(rows: &mut dyn Rows, account: Account, change: &AccountChange) -> Result<(Account, AccountOutcome), WriteError> {
    let before = AccountSettings {
        external_id: account.external_id.clone(),
        is_enabled: account.is_enabled,
        defaults: account.defaults.clone(),
        limits: account.limits,
    };
    let after = change.of(&before);
    if after == before {
        return Ok((account, AccountOutcome::Unchanged));
    }
    let AccountSettings { external_id, is_enabled, defaults, limits } = after;
    let account = Account { external_id, is_enabled, defaults, limits, ..account };
    rows.update_account(&account)?;
    Ok((account, AccountOutcome::Changed))
}
