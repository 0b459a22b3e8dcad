//! Rows of the table `accounts`. Defaults are a JSON object, limits are columns, because the database counts against them.

use diesel::prelude::*;

use super::super::schema::accounts;
use super::{json, narrowed, unreadable};
use crate::store::DbError;
use crate::store::write::Account;
use crate::task::account::AccountLimits;
use crate::task::{AccountId, Timestamp};

/// An account.
#[derive(Queryable, Selectable)]
#[diesel(table_name = accounts)]
pub struct AccountRow {
    id: i64,
    name: String,
    external_id: Option<String>,
    is_enabled: bool,
    created_at: i64,
    defaults: String,
    max_pending: Option<i64>,
    max_in_flight: Option<i64>,
    submits_per_day: Option<i64>,
}

impl AccountRow {
    /// As everybody else knows it.
    pub fn into_record(self) -> Result<Account, DbError> {
        let row = format_args!("account {}", self.id).to_string();
        let limit = |column: &str, number: Option<i64>| number.map(|number| narrowed(&row, column, number)).transpose();
        Ok(Account {
            id: AccountId(self.id),
            defaults: serde_json::from_str(&self.defaults).map_err(|error| unreadable(&row, "defaults", error))?,
            limits: AccountLimits {
                max_pending: limit("max_pending", self.max_pending)?,
                max_in_flight: limit("max_in_flight", self.max_in_flight)?,
                submits_per_day: limit("submits_per_day", self.submits_per_day)?,
            },
            name: self.name,
            external_id: self.external_id,
            is_enabled: self.is_enabled,
            created_at: Timestamp(self.created_at),
        })
    }
}

/// What may change of an account.
#[derive(AsChangeset)]
#[diesel(table_name = accounts, treat_none_as_null = true)]
pub struct AccountChanges<'a> {
    external_id: Option<&'a str>,
    is_enabled: bool,
    defaults: String,
    max_pending: Option<i64>,
    max_in_flight: Option<i64>,
    submits_per_day: Option<i64>,
}

impl<'a> AccountChanges<'a> {
    /// Of `account` as it shall be.
    pub fn of(account: &'a Account) -> Result<Self, DbError> {
        Ok(Self {
            external_id: account.external_id.as_deref(),
            is_enabled: account.is_enabled,
            defaults: json("defaults", &account.defaults)?,
            max_pending: account.limits.max_pending.map(Into::into),
            max_in_flight: account.limits.max_in_flight.map(Into::into),
            submits_per_day: account.limits.submits_per_day.map(Into::into),
        })
    }
}
