//! `io.contentd.Accounts`: what accounts say for their submits, and lists of accounts.
//!
//! The form is judged here, for the server and for contentctl's files alike. The surprise: what is null in a change stays
//! as it is; what is to go is named in `clear`.

use serde::{Deserialize, Serialize};

use super::checked::Faults;
use super::content::AccountView;
use super::error::{ApiError, FieldFault};
use crate::control::values::TextOrNumber;
use crate::store::write::AccountEntry;
use crate::task::account::AccountChange;
use crate::task::{GeneratorName, limits};

/// What an account's submits get that do not say, and how much it may have at all generators together.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountSettingsValue {
    /// Which generator.
    pub generator: Option<String>,
    /// The tone.
    pub tone: Option<String>,
    /// Instructions to the generator.
    pub requirements: Option<String>,
    /// A shelf.
    pub category: Option<String>,
    /// Words that must occur.
    pub keywords: Option<Vec<String>>,
    /// 1 to 10.
    pub priority: Option<i64>,
    /// Let the rules of the review approve the piece when it comes.
    pub auto_approve: Option<bool>,
    /// Unfinished tasks; a submit beyond them is refused.
    pub max_pending: Option<i64>,
    /// Jobs at generators; a task beyond them waits.
    pub max_in_flight: Option<i64>,
    /// Submits to generators in 24 hours; a task beyond them waits.
    pub submits_per_day: Option<i64>,
}

/// `Set`: a change of one account.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSetParams {
    /// Number or name.
    pub account: TextOrNumber,
    /// What another system calls it.
    #[serde(default)]
    pub external_id: Option<String>,
    /// Whether tasks are accepted for it.
    #[serde(default)]
    pub is_enabled: Option<bool>,
    /// What is to be so from now on.
    #[serde(default)]
    pub settings: Option<AccountSettingsValue>,
    /// What is to be unset: names of fields.
    #[serde(default)]
    pub clear: Option<Vec<String>>,
}

/// What `Set` came to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AccountSetReply {
    /// The account.
    pub account: AccountView,
    /// Whether it was another before.
    pub is_changed: bool,
}

/// An account of a list.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountEntryValue {
    /// Its name; one that is not known is added.
    pub name: String,
    /// What another system calls it.
    #[serde(default)]
    pub external_id: Option<String>,
    /// Whether tasks are accepted for it.
    #[serde(default)]
    pub is_enabled: Option<bool>,
    /// What is to be so.
    #[serde(default)]
    pub settings: Option<AccountSettingsValue>,
}

/// `Import`: a list of accounts, all of it or nothing.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountImportParams {
    /// Each name once.
    pub accounts: Vec<AccountEntryValue>,
}

/// What became of an account of a list.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ImportedAccount {
    /// `added changed unchanged`.
    pub outcome: String,
    /// As it stands.
    pub account: AccountView,
}

/// What `Import` came to, in the list's order.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AccountImportReply {
    /// Each of the list.
    pub accounts: Vec<ImportedAccount>,
}

/// What `clear` may name.
pub const CLEARABLE: [&str; 11] = [
    "external_id",
    "generator",
    "tone",
    "requirements",
    "category",
    "keywords",
    "priority",
    "auto_approve",
    "max_pending",
    "max_in_flight",
    "submits_per_day",
];

/// Accounts of one list.
pub const MAX_IMPORTED: usize = 10_000;

impl AccountSetParams {
    /// Judges the form.
    pub fn check(self) -> Result<(String, AccountChange), ApiError> {
        let mut faults = Faults::of(None);
        let mut change = change_of(self.external_id.as_deref(), self.is_enabled, self.settings.as_ref(), &mut faults);
        for name in self.clear.iter().flatten() {
            if !clear(&mut change, name) {
                let cure = if CLEARABLE.contains(&name.as_str()) {
                    "it is set in the same change: set it or clear it".to_owned()
                } else {
                    format!("one of {}", CLEARABLE.join(" "))
                };
                faults.add("clear", name, cure);
            }
        }
        if change == AccountChange::default() {
            faults.add("settings", "{}", "at least one field to set or to clear");
        }
        match faults.into_faults().into_iter().next() {
            Some(FieldFault { field, value, cure, .. }) => Err(ApiError::InvalidField { field, value, cure }),
            None => Ok((self.account.0, change)),
        }
    }
}

/// Says whether the name is known and not set by the same change.
fn clear(change: &mut AccountChange, name: &str) -> bool {
    fn none<T>(field: &mut Option<Option<T>>) -> bool {
        let is_free = !matches!(field, Some(Some(_)));
        if is_free {
            *field = Some(None);
        }
        is_free
    }
    match name {
        "external_id" => none(&mut change.external_id),
        "generator" => none(&mut change.generator),
        "tone" => none(&mut change.tone),
        "requirements" => none(&mut change.requirements),
        "category" => none(&mut change.category),
        "keywords" => none(&mut change.keywords),
        "priority" => none(&mut change.priority),
        "auto_approve" => none(&mut change.auto_approve),
        "max_pending" => none(&mut change.max_pending),
        "max_in_flight" => none(&mut change.max_in_flight),
        "submits_per_day" => none(&mut change.submits_per_day),
        _ => false,
    }
}

impl AccountEntryValue {
    /// Judges the form. `index` is its place in the list.
    pub fn check(&self, index: Option<u32>) -> Result<AccountEntry, Vec<FieldFault>> {
        let mut faults = Faults::of(index);
        let name = super::checked::account_name(&self.name).unwrap_or_else(|error| {
            if let ApiError::InvalidField { field, value, cure } = error {
                faults.add(&field, &value, cure);
            }
            String::new()
        });
        let change = change_of(self.external_id.as_deref(), self.is_enabled, self.settings.as_ref(), &mut faults);
        let faults = faults.into_faults();
        if faults.is_empty() { Ok(AccountEntry { name, change }) } else { Err(faults) }
    }
}

impl AccountImportParams {
    /// Judges the form of all of them.
    pub fn check(&self) -> Result<Vec<AccountEntry>, ApiError> {
        if self.accounts.is_empty() || self.accounts.len() > MAX_IMPORTED {
            let value = format!("{} accounts", self.accounts.len());
            return Err(ApiError::invalid("accounts", &value, format!("1 to {MAX_IMPORTED} accounts")));
        }
        let mut entries: Vec<AccountEntry> = Vec::with_capacity(self.accounts.len());
        let mut names = std::collections::BTreeSet::new();
        let mut found = Vec::new();
        for (index, entry) in (0..).zip(&self.accounts) {
            match entry.check(Some(index)) {
                Ok(entry) if names.insert(entry.name.clone()) => entries.push(entry),
                Ok(entry) => {
                    let mut faults = Faults::of(Some(index));
                    faults.add("name", &entry.name, "each name once in a list");
                    found.extend(faults.into_faults());
                }
                Err(faults) => found.extend(faults),
            }
        }
        if found.is_empty() {
            return Ok(entries);
        }
        let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
        found.truncate(100);
        Err(ApiError::BatchRefused { faults: found, count })
    }
}

fn change_of(
    external_id: Option<&str>,
    is_enabled: Option<bool>,
    settings: Option<&AccountSettingsValue>,
    faults: &mut Faults,
) -> AccountChange {
    let usual = AccountSettingsValue::default();
    let given = settings.unwrap_or(&usual);
    AccountChange {
        external_id: faults.short("external_id", external_id).map(Some),
        is_enabled,
        generator: faults.short("generator", given.generator.as_deref()).map(|name| Some(GeneratorName(name))),
        tone: faults.short("tone", given.tone.as_deref()).map(Some),
        requirements: faults.requirements(given.requirements.as_deref()).map(Some),
        category: faults.short("category", given.category.as_deref()).map(Some),
        keywords: given.keywords.as_deref().map(|words| Some(faults.keywords(words))),
        priority: given.priority.and_then(|number| faults.priority(number)).map(Some),
        auto_approve: given.auto_approve.map(Some),
        max_pending: limit("max_pending", given.max_pending, faults).map(Some),
        max_in_flight: limit("max_in_flight", given.max_in_flight, faults).map(Some),
        submits_per_day: limit("submits_per_day", given.submits_per_day, faults).map(Some),
    }
}

fn limit(field: &str, given: Option<i64>, faults: &mut Faults) -> Option<u32> {
    let given = given?;
    let limit = u32::try_from(given).ok().filter(|limit| limits::ACCOUNT_LIMIT.contains(limit));
    if limit.is_none() {
        faults.add(field, &given.to_string(), "a number from 1 to 100000000; `clear` takes a limit away");
    }
    limit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(params: AccountSetParams) -> String {
        params.check().expect_err("it is refused").message()
    }

    #[test]
    fn a_change_is_judged_whole() {
        let settings = AccountSettingsValue { priority: Some(11), ..AccountSettingsValue::default() };
        assert!(refused(AccountSetParams { settings: Some(settings), ..Default::default() }).starts_with("priority"));
        let settings = AccountSettingsValue { max_pending: Some(0), ..AccountSettingsValue::default() };
        assert!(
            refused(AccountSetParams { settings: Some(settings), ..Default::default() }).starts_with("max_pending")
        );
        assert!(refused(AccountSetParams::default()).contains("at least one field"));
        let clear = Some(vec!["name".to_owned()]);
        assert!(refused(AccountSetParams { clear, ..Default::default() }).contains("one of external_id"));
        let settings = AccountSettingsValue { tone: Some("dry".into()), ..AccountSettingsValue::default() };
        let clear = Some(vec!["tone".to_owned()]);
        let both = AccountSetParams { settings: Some(settings), clear, ..Default::default() };
        assert!(refused(both).contains("set it or clear it"));
    }

    #[test]
    fn no_new_name_has_a_comma_which_is_between_names() {
        let refused = crate::control::api::checked::account_name("a,b").expect_err("it is refused").message();
        assert!(refused.starts_with("name") && refused.contains("without a comma"), "{refused}");
    }

    #[test]
    fn every_clearable_field_is_cleared() {
        for name in CLEARABLE {
            let params = AccountSetParams { clear: Some(vec![name.to_owned()]), ..Default::default() };
            let (_, change) = params.check().expect("it is right");
            assert_ne!(change, AccountChange::default(), "{name}");
        }
    }

    #[test]
    fn a_list_has_each_name_once_and_tells_every_fault() {
        let entry = |name: &str| AccountEntryValue { name: name.to_owned(), ..Default::default() };
        let accounts = vec![entry("a"), entry("7"), entry(" a "), entry("b")];
        let Err(ApiError::BatchRefused { faults, count }) = (AccountImportParams { accounts }).check() else {
            panic!("it is refused")
        };
        let told: Vec<_> = faults.iter().map(|fault| (fault.index, fault.field.as_str())).collect();
        assert_eq!((count, told), (2, vec![(Some(1), "name"), (Some(2), "name")]));
    }
}
