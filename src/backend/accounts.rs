//! Accounts: what they say for their submits, and how much they may have.

use super::{DaemonBackend, errors};
use crate::actors::queue::QueueChanged;
use crate::control::api::{
    AccountImportReply, AccountReply, AccountSetReply, AccountView, AccountsReply, ApiError, FieldFault,
    ImportedAccount, Peer,
};
use crate::store::write::{Account, AccountEntry, AccountOutcome, AccountWrite, Write, Written};
use crate::task::GeneratorName;
use crate::task::account::AccountChange;

impl DaemonBackend {
    pub(super) async fn add_account(
        &self,
        name: String,
        external_id: Option<String>,
    ) -> Result<AccountReply, ApiError> {
        self.refuse_while_stopping()?;
        let write = Write::AddAccount { name, external_id, now: self.world.clock.now().utc };
        match self.world.store.write(write).await.map_err(|error| errors::of_write(error, "add"))? {
            Written::Account(account) => Ok(AccountReply { account: (&account).into() }),
            _ => Err(ApiError::internal("the store gave the answer of another write")),
        }
    }

    pub(super) async fn list_accounts(&self) -> Result<AccountsReply, ApiError> {
        let accounts = self.read(|queries| queries.accounts()).await?;
        Ok(AccountsReply { accounts: self.with_submits(&accounts).await? })
    }

    pub(super) async fn account_now(&self, name: &str) -> Result<AccountReply, ApiError> {
        let account = self.account(name).await?;
        let views = self.with_submits(&[account]).await?;
        let account = views.into_iter().next();
        Ok(AccountReply { account: account.ok_or_else(|| ApiError::internal("an account was lost on its way"))? })
    }

    /// The accounts with how much is spent of the days that are limited, as the queue counts it.
    async fn with_submits(&self, accounts: &[Account]) -> Result<Vec<AccountView>, ApiError> {
        let is_limited = |account: &Account| account.limits.submits_per_day.is_some();
        let queue = if accounts.iter().any(is_limited) { self.actors().await?.queue } else { None };
        let view = |account: &Account| AccountView {
            submits_today: queue
                .as_ref()
                .filter(|_| is_limited(account))
                .map(|queue| queue.submits_of.get(&account.id).copied().unwrap_or(0)),
            ..account.into()
        };
        Ok(accounts.iter().map(view).collect())
    }

    pub(super) async fn set_account(
        &self,
        peer: &Peer,
        name: &str,
        change: AccountChange,
    ) -> Result<AccountSetReply, ApiError> {
        self.refuse_while_stopping()?;
        if let Some(Some(generator)) = &change.generator {
            self.known_generator(generator)?;
        }
        self.refuse_against_four_eyes(&change)?;
        let id = self.account(name).await?.id;
        let done = self.write_accounts(peer, AccountWrite::Set { id, change: Box::new(change) }).await?;
        let first = done.into_iter().next();
        let (account, outcome) =
            first.ok_or_else(|| ApiError::internal("the store gave the answer of another write"))?;
        Ok(AccountSetReply { account: (&account).into(), is_changed: outcome != AccountOutcome::Unchanged })
    }

    fn refuse_against_four_eyes(&self, change: &AccountChange) -> Result<(), ApiError> {
        if self.settings.borrow().is_four_eyes && change.auto_approve == Some(Some(true)) {
            let cure = "leave it out: review.four_eyes is set, and another person approves every piece";
            return Err(ApiError::invalid("auto_approve", "true", cure));
        }
        Ok(())
    }

    pub(super) async fn import_accounts(
        &self,
        peer: &Peer,
        entries: Vec<AccountEntry>,
    ) -> Result<AccountImportReply, ApiError> {
        self.refuse_while_stopping()?;
        let mut faults = Vec::new();
        for (index, entry) in (0..).zip(&entries) {
            let mut add = |field: &str, value: &str, error: ApiError| {
                let (field, value, cure) = (field.to_owned(), value.to_owned(), error.message());
                faults.push(FieldFault { index: Some(index), field, value, cure });
            };
            if let Some(Some(generator)) = &entry.change.generator
                && let Err(error) = self.known_generator(generator)
            {
                add("generator", GeneratorName::as_str(generator), error);
            }
            if let Err(error) = self.refuse_against_four_eyes(&entry.change) {
                add("auto_approve", "true", error);
            }
        }
        if !faults.is_empty() {
            let count = u32::try_from(faults.len()).unwrap_or(u32::MAX);
            faults.truncate(100);
            return Err(ApiError::BatchRefused { faults, count });
        }
        let now = self.world.clock.now().utc;
        let done = self.write_accounts(peer, AccountWrite::Import { entries, now }).await?;
        let imported = done.iter().map(|(account, outcome)| ImportedAccount {
            outcome: outcome.as_str().to_owned(),
            account: account.into(),
        });
        Ok(AccountImportReply { accounts: imported.collect() })
    }

    async fn write_accounts(
        &self,
        peer: &Peer,
        write: AccountWrite,
    ) -> Result<Vec<(Account, AccountOutcome)>, ApiError> {
        let written = self.world.store.write(Write::Account(write)).await;
        let Written::Accounts(done) = written.map_err(|error| errors::of_write(error, "change"))? else {
            return Err(ApiError::internal("the store gave the answer of another write"));
        };
        for (account, outcome) in done.iter().filter(|(_, outcome)| *outcome != AccountOutcome::Unchanged) {
            log::info!("account {} ({}) was {} by {}", account.id, account.name, outcome.as_str(), peer.label());
        }
        // A limit may let more start now, or fewer.
        if let Some(queue) = self.world.peers.borrow().queue.clone() {
            queue.do_send(QueueChanged { task: None });
        }
        Ok(done)
    }
}
