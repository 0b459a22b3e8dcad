//! What the configuration says and the database does not have, or the other way round: names that lead nowhere.
//!
//! It must not refuse anything: an account may be added a minute after the publisher that serves it. The surprise: a second
//! generator in the configuration takes a schedule its generator, because the only one is everybody's default.

use crate::finding::Finding;
use crate::publisher::{Publishers, Serves};
use crate::schedule::Schedule;
use crate::store::Store;
use crate::store::write::Account;
use crate::task::GeneratorName;

/// What a doctor and a reload warn of. What cannot be read is told by others.
pub async fn look(store: &Store, default: Option<&GeneratorName>, publishers: &Publishers) -> Vec<Finding> {
    let Ok((schedules, accounts)) = store.read(|queries| Ok((queries.schedules()?, queries.accounts()?))).await else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    if default.is_none() {
        findings.extend(schedules.iter().filter_map(|schedule| without_generator(schedule, &accounts)));
    }
    for publisher in publishers.iter() {
        findings.extend(unknown_accounts(&publisher.name, &publisher.serves, &accounts));
    }
    findings
}

/// A schedule whose fires fail, where its topics name no generator themselves.
fn without_generator(schedule: &Schedule, accounts: &[Account]) -> Option<Finding> {
    if schedule.params.generator.is_some() {
        return None;
    }
    let is_without =
        |account: &&Account| schedule.accounts.contains(&account.id) && account.defaults.generator.is_none();
    let names: Vec<&str> = accounts.iter().filter(is_without).map(|account| account.name.as_str()).collect();
    let first = names.first()?;
    let found = format!(
        "names no generator, nor does {}, and tasks.generator is not set: topics that name none are not submitted",
        match names.as_slice() {
            [only] => format!("its account {only:?}"),
            several => format!("any of its accounts {}", several.join(", ")),
        }
    );
    let cure = format!("set tasks.generator and reload, or `contentctl account set {first} --generator NAME`");
    Some(Finding::warning(format!("schedule {}", schedule.name), found, cure))
}

/// A publisher that is to serve an account which is not there: a slip of the pen, or one that is still to be added.
fn unknown_accounts(publisher: &str, serves: &Serves, accounts: &[Account]) -> Option<Finding> {
    let is_known = |named: &String| accounts.iter().any(|one| *named == one.name || *named == one.id.to_string());
    let unknown: Vec<String> =
        serves.accounts.iter().flatten().filter(|named| !is_known(named)).map(|named| format!("{named:?}")).collect();
    if unknown.is_empty() {
        return None;
    }
    let found = format!("publishers.{publisher}.accounts names accounts that are not there: {}", unknown.join(", "));
    let cure = "correct it and reload, or `contentctl account add --name NAME`; `contentctl account list` shows them";
    Some(Finding::warning(format!("publisher {publisher}"), found, cure))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{AtEnd, Misfire, Params, ScheduleId, Timing, TopicSource};
    use crate::task::{AccountId, Timestamp};

    fn account(id: i64, name: &str, generator: Option<&str>) -> Account {
        let mut account = Account {
            id: AccountId(id),
            name: name.into(),
            external_id: None,
            is_enabled: true,
            created_at: Timestamp(0),
            defaults: Default::default(),
            limits: Default::default(),
        };
        account.defaults.generator = generator.map(GeneratorName::from);
        account
    }

    fn schedule(accounts: &[i64], generator: Option<&str>) -> Schedule {
        Schedule {
            id: ScheduleId(1),
            name: "mornings".into(),
            timing: Timing::Cron { expression: "0 8 * * *".into(), zone: "UTC".into() },
            accounts: accounts.iter().copied().map(AccountId).collect(),
            topics_each: 1,
            source: TopicSource::List { topics: Vec::new(), at_end: AtEnd::Stop },
            params: Params { generator: generator.map(str::to_owned), ..Params::default() },
            misfire: Misfire::Once,
            cursor: 0,
            next_due: None,
            paused_why: Some("a test".into()),
            created_by: "0:root".into(),
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        }
    }

    #[test]
    fn a_schedule_is_without_generator_where_nobody_names_one() {
        let accounts = [account(1, "blog", None), account(2, "news", Some("a")), account(3, "shop", None)];
        let of = |ids: &[i64], own| without_generator(&schedule(ids, own), &accounts);
        assert_eq!((of(&[1, 2], Some("a")), of(&[2], None)), (None, None));
        let one = of(&[1, 2], None).expect("blog has none");
        assert!(one.found.contains("account \"blog\"") && !one.found.contains("news"), "{one:?}");
        assert!(one.cure.is_some_and(|cure| cure.contains("tasks.generator") && cure.contains("account set blog")));
        assert!(of(&[1, 3], None).is_some_and(|two| two.found.contains("blog, shop")));
    }

    #[test]
    fn a_publisher_of_nobody_is_told_by_the_name_that_is_wrong() {
        let accounts = [account(1, "blog", None)];
        let of = |names: Option<&[&str]>| {
            let accounts_named = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            unknown_accounts("p", &Serves { accounts: accounts_named, categories: None }, &accounts)
        };
        assert_eq!((of(None), of(Some(&["blog", "1"]))), (None, None));
        let wrong = of(Some(&["blog", "nosuch"])).expect("one is not there");
        assert!(wrong.found.contains("publishers.p.accounts") && wrong.found.ends_with("\"nosuch\""), "{wrong:?}");
    }
}
