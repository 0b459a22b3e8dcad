//! The verbs on accounts.
//!
//! An import is read whole before anything is sent, and every fault of it is told at once as `file:line: field`. The
//! surprise: an empty cell of a CSV is a field left out, and what is left out stays as it is.

use serde::Serialize;
use serde_json::{Map, Value};

use super::Session;
use super::args::{AccountAddArgs, AccountSetArgs, AccountSettingsArgs, AccountVerb};
use super::batch::{Entry, Fields, Form, entries, in_order, split_keywords};
use super::failure::Failure;
use super::submit::{read_file, told};
use super::table::{Column, fixed, flexible, spare};
use super::text::safe;
use crate::control::api::{
    AccountAddParams, AccountEntryValue, AccountImportParams, AccountImportReply, AccountParams, AccountReply,
    AccountSetParams, AccountSetReply, AccountSettingsValue, AccountView, AccountsReply, ApiError, NoParams,
};
use crate::control::client::ClientError;
use crate::control::values::TextOrNumber;
use crate::text::shell_name;

/// An account as people and spreadsheets see it: its settings beside its name.
#[derive(Serialize)]
struct Line<'a> {
    account_id: i64,
    name: &'a str,
    external_id: Option<&'a str>,
    is_enabled: bool,
    created_at: crate::control::values::WireTime,
    #[serde(flatten)]
    settings: &'a AccountSettingsValue,
    submits_today: Option<u32>,
    /// What is spent of the day, with the limit, for a table.
    day: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
}

const FIELDS: &[&str] = &[
    "account_id",
    "name",
    "external_id",
    "is_enabled",
    "created_at",
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
    "submits_today",
];
pub(super) const COLUMNS: &[Column] = &[
    fixed("ID", "account_id"),
    flexible("NAME", "name"),
    flexible("EXTERNAL ID", "external_id").goes(1),
    fixed("ENABLED", "is_enabled"),
    spare("CREATED", "created_at"),
    flexible("GENERATOR", "generator"),
    fixed("MAX PENDING", "max_pending").goes(1),
    fixed("MAX JOBS", "max_in_flight").goes(1),
    fixed("SUBMITS TODAY", "day"),
];
pub(super) const IMPORT_COLUMNS: &[Column] =
    &[fixed("OUTCOME", "outcome"), fixed("ID", "account_id"), flexible("NAME", "name"), fixed("ENABLED", "is_enabled")];
/// What a file of accounts may have.
const ENTRY_FIELDS: &[&str] = &[
    "name",
    "external_id",
    "is_enabled",
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

impl<'a> Line<'a> {
    fn of(account: &'a AccountView, outcome: Option<&'a str>) -> Self {
        Self {
            account_id: account.account_id,
            name: &account.name,
            external_id: account.external_id.as_deref(),
            is_enabled: account.is_enabled,
            created_at: account.created_at,
            settings: &account.settings,
            submits_today: account.submits_today,
            day: account
                .settings
                .submits_per_day
                .map(|limit| format!("{} of {limit}", account.submits_today.unwrap_or(0))),
            outcome,
        }
    }
}

/// `contentctl account`.
pub fn account(session: &Session, verb: AccountVerb) -> Result<(), Failure> {
    match verb {
        AccountVerb::Add(args) => add(session, *args),
        AccountVerb::List => {
            let reply: AccountsReply = session.call("io.contentd.Accounts.List", &NoParams {})?;
            if session.printer.is_json() {
                return session.printer.json(&reply.accounts);
            }
            let lines: Vec<Line<'_>> = reply.accounts.iter().map(|account| Line::of(account, None)).collect();
            if lines.is_empty() {
                session.tell("there is no account; `contentctl account add NAME` makes one");
            }
            session.printer.rows(&lines, COLUMNS, FIELDS)
        }
        AccountVerb::Show { account } => {
            let params = AccountParams { account: TextOrNumber(account) };
            let reply: AccountReply = session.call("io.contentd.Accounts.Get", &params)?;
            print(session, &reply.account)
        }
        AccountVerb::Set(args) => {
            refuse_empty(&args.settings, "; --clear {} unsets it")?;
            let params = params_of(*args);
            let has_setting =
                params.settings.as_ref().is_some_and(|settings| *settings != AccountSettingsValue::default());
            if !has_setting && params.external_id.is_none() && params.clear.is_none() {
                let account = safe(params.account.as_str());
                return Err(Failure::Usage(format!(
                    "nothing to set for account {account:?}: give an option, as --tone dry or --clear tone \
                     (`contentctl account set --help` has them); `contentctl account show {account}` shows what stands"
                )));
            }
            set(session, params)
        }
        AccountVerb::Disable { account } => {
            enable(session, account, false)?;
            session.tell(
                "no more tasks are accepted for it; those that wait run on (`contentctl pause --account` stops them)",
            );
            Ok(())
        }
        AccountVerb::Enable { account } => enable(session, account, true),
        AccountVerb::Import { file } => import(session, &file),
    }
}

/// What names the account in a command: its name where a shell takes it as it is.
fn shell_word(account: &AccountView) -> String {
    shell_name(&account.name, account.account_id)
}

/// An empty value sets nothing; what it is meant for has an option of its own.
fn refuse_empty(args: &AccountSettingsArgs, cure: &str) -> Result<(), Failure> {
    let texts = [
        ("generator", &args.generator),
        ("tone", &args.tone),
        ("requirements", &args.requirements),
        ("category", &args.category),
        ("keywords", &args.keywords),
    ];
    match texts.iter().find(|(_, text)| text.as_deref() == Some("")) {
        Some((name, _)) => {
            Err(Failure::usage(&format!("--{name}"), "", &format!("a text{}", cure.replace("{}", name))))
        }
        None => Ok(()),
    }
}

fn print(session: &Session, account: &AccountView) -> Result<(), Failure> {
    if session.printer.is_json() {
        return session.printer.json(account);
    }
    // Nobody has counted what is spent where the daemon could not be asked once more.
    let is_left_out =
        |field: &str| field == "submits_today" && account.submits_today.is_none() && session.printer.is_for_people();
    let fields: Vec<&str> = FIELDS.iter().copied().filter(|field| !is_left_out(field)).collect();
    session.printer.record(&Line::of(account, None), &fields)
}

/// An account with what is spent of its day, as `show` has it: a change alone does not count that. Whoever cannot be told has changed it
/// all the same.
fn counted(session: &Session, account: AccountView) -> AccountView {
    if account.settings.submits_per_day.is_none() || account.submits_today.is_some() {
        return account;
    }
    let params = AccountParams { account: TextOrNumber(account.account_id.to_string()) };
    let asked = session.call::<_, AccountReply>("io.contentd.Accounts.Get", &params);
    AccountView { submits_today: asked.ok().and_then(|reply| reply.account.submits_today), ..account }
}

fn enable(session: &Session, account: String, is_enabled: bool) -> Result<(), Failure> {
    let account = TextOrNumber(account);
    set(session, AccountSetParams { account, is_enabled: Some(is_enabled), ..AccountSetParams::default() })
}

fn set(session: &Session, params: AccountSetParams) -> Result<(), Failure> {
    let reply: AccountSetReply = session.call("io.contentd.Accounts.Set", &params)?;
    print(session, &counted(session, reply.account))?;
    if !reply.is_changed {
        session.tell("it stood so already");
    }
    Ok(())
}

/// Adds an account and gives it what was said of it; where only the second is refused, that is told, for the account is there.
fn add(session: &Session, args: AccountAddArgs) -> Result<(), Failure> {
    let AccountAddArgs { named, name, settings } = args;
    refuse_empty(&settings, "")?;
    let params =
        AccountAddParams { name: named.or(name).unwrap_or_default(), external_id: settings.external_id.clone() };
    let reply: AccountReply = session.call("io.contentd.Accounts.Add", &params)?;
    let mut account = reply.account;
    let word = shell_word(&account);
    let settings = settings_of(settings);
    if settings != AccountSettingsValue::default() {
        let params = AccountSetParams {
            account: TextOrNumber(account.account_id.to_string()),
            settings: Some(settings),
            ..AccountSetParams::default()
        };
        let set = session.call("io.contentd.Accounts.Set", &params);
        let reply: AccountSetReply = set.map_err(|failure| {
            Failure::Refused(format!(
                "account {word} was added, and nothing was set for it: {failure}; `contentctl account set {word}` sets it"
            ))
        })?;
        account = reply.account;
    }
    print(session, &counted(session, account))?;
    session.tell(format!("`contentctl submit --account {word} --topic T` writes for it"));
    Ok(())
}

fn params_of(args: AccountSetArgs) -> AccountSetParams {
    AccountSetParams {
        account: TextOrNumber(args.account),
        external_id: args.settings.external_id.clone(),
        is_enabled: None,
        settings: Some(settings_of(args.settings)),
        clear: (!args.clear.is_empty()).then_some(args.clear),
    }
}

fn settings_of(args: AccountSettingsArgs) -> AccountSettingsValue {
    let auto_approve = match (args.auto_approve, args.no_auto_approve) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    AccountSettingsValue {
        generator: args.generator,
        tone: args.tone,
        requirements: args.requirements,
        category: args.category,
        keywords: args.keywords.as_deref().map(split_keywords),
        priority: args.priority,
        auto_approve,
        max_pending: args.max_pending,
        max_in_flight: args.max_in_flight,
        submits_per_day: args.submits_per_day,
    }
}

fn import(session: &Session, path: &std::path::Path) -> Result<(), Failure> {
    let (name, contents) = read_file(path)?;
    let (lines, accounts) = parse(&name, &contents).map_err(|faults| told("nothing was imported", &faults))?;
    let params = AccountImportParams { accounts };
    // The same list twice is once, so a call that was cut is repeated.
    let answer = session.repeat(|client| client.call("io.contentd.Accounts.Import", &params));
    let reply: AccountImportReply = match answer {
        Err(Failure::Client(ClientError::Refused(ApiError::BatchRefused { faults, .. }))) => {
            let place = |index: Option<u32>| index.and_then(|index| lines.get(index as usize)).copied().unwrap_or(0);
            let of_lines = faults.iter().map(|fault| {
                let line = place(fault.index);
                format!("{name}:{line}: {}: {:?} cannot be taken: {}", fault.field, fault.value, fault.cure)
            });
            return Err(told("nothing was imported", &of_lines.collect::<Vec<_>>()));
        }
        answer => answer?,
    };
    if session.printer.is_json() {
        return session.printer.json(&reply.accounts);
    }
    let rows: Vec<Line<'_>> =
        reply.accounts.iter().map(|one| Line::of(&one.account, Some(one.outcome.as_str()))).collect();
    let fields: Vec<&str> = ["outcome"].iter().chain(FIELDS).copied().collect();
    session.printer.rows(&rows, IMPORT_COLUMNS, &fields)
}

/// The accounts of a file with the line of each, or all faults of the file.
fn parse(name: &str, contents: &[u8]) -> Result<(Vec<u64>, Vec<AccountEntryValue>), Vec<String>> {
    let (read, mut faults) = entries(Form::of_name(name), contents, ENTRY_FIELDS);
    let mut accounts = Vec::with_capacity(read.len());
    let mut lines = Vec::with_capacity(read.len());
    for Entry { line, fields } in read {
        let mut wrong = Vec::new();
        let account = account_of(&fields, &mut wrong);
        if wrong.is_empty()
            && let Err(more) = account.check(None)
        {
            let text = |fault: &crate::control::api::FieldFault| {
                format!("{}: {:?} cannot be taken: {}", fault.field, fault.value, fault.cure)
            };
            wrong.extend(more.iter().map(text));
        }
        let trimmed = account.name.trim();
        if let Some(first) = accounts.iter().position(|other: &AccountEntryValue| other.name.trim() == trimmed) {
            wrong.push(format!("name: {trimmed:?} is on line {} already", lines[first]));
        }
        faults.extend(wrong.into_iter().map(|fault| (line, fault)));
        accounts.push(account);
        lines.push(line);
    }
    let mut faults = in_order(name, faults);
    if faults.is_empty() && accounts.is_empty() {
        faults.push(format!("{name}: there is no account in it"));
    }
    if faults.is_empty() { Ok((lines, accounts)) } else { Err(faults) }
}

fn account_of(fields: &Map<String, Value>, faults: &mut Vec<String>) -> AccountEntryValue {
    let mut fields = Fields { fields, faults };
    AccountEntryValue {
        name: fields.text("name").unwrap_or_default(),
        external_id: fields.text("external_id"),
        is_enabled: fields.truth("is_enabled"),
        settings: Some(AccountSettingsValue {
            generator: fields.text("generator"),
            tone: fields.text("tone"),
            requirements: fields.text("requirements"),
            category: fields.text("category"),
            keywords: fields.keywords(),
            priority: fields.number("priority"),
            auto_approve: fields.truth("auto_approve"),
            max_pending: fields.number("max_pending"),
            max_in_flight: fields.number("max_in_flight"),
            submits_per_day: fields.number("submits_per_day"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_list_say_the_same() {
        let table = "name,priority,auto_approve,keywords\nblog,9,no,\"a,b\"\nnews,,,\n";
        let json = "{\"name\": \"blog\", \"priority\": 9, \"auto_approve\": false, \"keywords\": [\"a\", \"b\"]}\n\n\
                    {\"name\": \"news\"}\n";
        let (lines, accounts) = parse("f.csv", table.as_bytes()).expect("right");
        assert_eq!(lines, [2, 3]);
        assert_eq!(parse("f.jsonl", json.as_bytes()), Ok((vec![1, 3], accounts)));
    }

    #[test]
    fn every_fault_has_its_line_and_field() {
        let json = "{\"name\": \"7\"}\n{\"name\": \"a\", \"priority\": 11}\n{\"nmae\": \"b\"}\n{\"name\": \" a\"}\n[]\n\
                    {\"name\": \"c\", \"is_enabled\": \"maybe\"}\n";
        let faults = parse("f.jsonl", json.as_bytes()).expect_err("it has faults");
        let begins = [
            "f.jsonl:3: nmae: no such field",
            "f.jsonl:5: a JSON object",
            "f.jsonl:1: name: \"7\"",
            "f.jsonl:2: priority: \"11\"",
            "f.jsonl:3: name: \"\"",
            "f.jsonl:4: name: \"a\" is on line 2 already",
            "f.jsonl:6: is_enabled: \"maybe\" is not",
        ];
        for begin in begins {
            assert!(faults.iter().any(|fault| fault.starts_with(begin)), "{begin}: {faults:#?}");
        }
        assert_eq!(faults.len(), begins.len(), "{faults:#?}");
        assert!(parse("f.csv", b"").expect_err("empty")[0].contains("no account"));
    }
}
