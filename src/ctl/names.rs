//! Names of accounts for people: a number tells nobody whose a task is.
//!
//! The wire has numbers, and programs get them as they are. The surprise: whoever may not list accounts, or has a daemon that is
//! just going, sees numbers; a table is never refused for want of a name.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::Session;
use super::failure::Failure;
use super::table::Column;
use crate::control::api::{AccountsReply, NoParams};

/// Names of accounts by their numbers.
pub struct Names(BTreeMap<i64, String>);

impl Names {
    /// Asks for them.
    pub fn ask(session: &Session) -> Self {
        let reply = session.call("io.contentd.Accounts.List", &NoParams {});
        let accounts = reply.map(|reply: AccountsReply| reply.accounts).unwrap_or_default();
        Self(accounts.into_iter().map(|account| (account.account_id, account.name)).collect())
    }

    /// The name, or the number where it is not known.
    pub fn of(&self, account_id: i64) -> String {
        self.0.get(&account_id).cloned().unwrap_or_else(|| account_id.to_string())
    }

    fn name_all(&self, value: &mut Value) {
        let id = value.get("account_id").and_then(Value::as_i64);
        if let (Some(id), Some(fields)) = (id, value.as_object_mut()) {
            fields.insert("account".to_owned(), Value::String(self.of(id)));
        }
        if let Some(Value::Array(accounts)) = value.get_mut("accounts") {
            for account in accounts {
                *account = account.as_i64().map_or(Value::Null, |id| Value::String(self.of(id)));
            }
        }
    }
}

fn values<T: Serialize>(rows: &[T], names: &Names) -> Result<Vec<Value>, Failure> {
    let named = |row: &T| {
        let mut value = serde_json::to_value(row)?;
        names.name_all(&mut value);
        Ok(value)
    };
    rows.iter().map(named).collect::<Result<_, serde_json::Error>>().map_err(|error| Failure::Io(error.into()))
}

/// Whether rows with these fields are of accounts.
fn is_of_accounts(fields: &[&str]) -> bool {
    fields.iter().any(|field| matches!(*field, "account_id" | "accounts"))
}

/// The fields of a spreadsheet: the name of whose it is stands last, so that the others keep their places.
fn with_name<'a>(fields: &[&'a str]) -> Vec<&'a str> {
    let is_named = !fields.contains(&"account_id") || fields.contains(&"account");
    fields.iter().copied().chain((!is_named).then_some("account")).collect()
}

/// Prints rows that have `account_id`, or numbers of `accounts`: for people by name, in the column `account`, and for spreadsheets with
/// it.
pub fn rows<T: Serialize>(session: &Session, rows: &[T], columns: &[Column], fields: &[&str]) -> Result<(), Failure> {
    let is_plain = !session.printer.is_for_people() && !is_of_accounts(fields);
    let fields = with_name(fields);
    if session.printer.is_json() || is_plain || rows.is_empty() {
        return session.printer.rows(rows, columns, &fields);
    }
    session.printer.rows(&values(rows, &Names::ask(session))?, columns, &fields)
}

/// The same for one record: for people the name stands behind the number.
pub fn record<T: Serialize>(session: &Session, record: &T, fields: &[&str]) -> Result<(), Failure> {
    if session.printer.is_json() || !session.printer.is_for_people() && !is_of_accounts(fields) {
        return session.printer.record(record, fields);
    }
    let names = Names::ask(session);
    let mut value = values(std::slice::from_ref(record), &names)?.pop().unwrap_or_default();
    if !session.printer.is_for_people() {
        return session.printer.record(&value, &with_name(fields));
    }
    if let Some(id) = value.get("account_id").and_then(Value::as_i64) {
        let name = names.of(id);
        value["account_id"] = Value::String(if name == id.to_string() { name } else { format!("{id} ({name})") });
    }
    session.printer.record(&value, fields)
}
