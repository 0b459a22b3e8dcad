//! What the configuration says and the database does not have, or the other way round: names that lead nowhere.
//!
//! It must not refuse anything: an account may be added a minute after the publisher that serves it. The surprise: a second
//! generator in the configuration takes a schedule its generator, because the only one is everybody's default.

use std::collections::BTreeSet;

use crate::finding::Finding;
use crate::publisher::{Publishers, Serves};
use crate::schedule::{Schedule, TopicSource};
use crate::store::Store;
use crate::store::query::Queries;
use crate::store::write::Account;
use crate::task::GeneratorName;
use crate::text::counted;

/// What a doctor and a reload warn of. What cannot be read is told by others.
pub async fn look(
    store: &Store,
    default: Option<&GeneratorName>,
    generators: &BTreeSet<GeneratorName>,
    publishers: &Publishers,
    topic_sources: &BTreeSet<String>,
) -> Vec<Finding> {
    let known = generators.clone();
    let read = move |queries: &dyn Queries| {
        Ok((queries.schedules()?, queries.accounts()?, queries.unfinished_elsewhere(&known)?))
    };
    let Ok((schedules, accounts, lost)) = store.read(read).await else { return Vec::new() };
    let mut findings: Vec<Finding> = lost.iter().map(|(name, count)| lost_generator(name, *count)).collect();
    for account in &accounts {
        let (what, name) = (format!("account {}", account.name), account.defaults.generator.as_ref());
        let cure = format!("`contentctl account set {} --generator NAME`", account.name);
        findings.extend(unknown_generator(what, name, generators, &cure));
    }
    for schedule in &schedules {
        let (what, name) = (format!("schedule {}", schedule.name), schedule.params.generator.as_deref());
        let cure = format!("`contentctl schedule remove {}`, then add it with another", schedule.name);
        findings.extend(unknown_generator(what, name.map(GeneratorName::from).as_ref(), generators, &cure));
        findings.extend(without_source(schedule, topic_sources));
    }
    if default.is_none() {
        findings.extend(schedules.iter().filter_map(|schedule| without_generator(schedule, &accounts)));
    }
    for publisher in publishers.iter() {
        findings.extend(unknown_accounts(&publisher.name, &publisher.serves, &accounts));
    }
    findings
}

/// A generator that the configuration does not have, or no longer, and tasks wait for.
fn lost_generator(name: &GeneratorName, unfinished: u64) -> Finding {
    let wait = counted(unfinished, "unfinished task waits", "unfinished tasks wait");
    let cure = format!("add [generators.{name}] and reload, or `contentctl cancel --generator {name}`");
    Finding::warning(format!("generator {name}"), format!("is not configured, and {wait} for it"), cure)
}

/// Whoever names a generator that is not there: what it is to make is refused.
fn unknown_generator(
    what: String,
    named: Option<&GeneratorName>,
    generators: &BTreeSet<GeneratorName>,
    other: &str,
) -> Option<Finding> {
    let name = named.filter(|name| !generators.contains(name))?;
    let cure = format!("add [generators.{name}] and reload, or {other}");
    Some(Finding::warning(what, format!("names generator {name}, which is not there"), cure))
}

/// A schedule whose command of topics is not there, or no longer.
fn without_source(schedule: &Schedule, topic_sources: &BTreeSet<String>) -> Option<Finding> {
    let TopicSource::Command { name } = &schedule.source else { return None };
    if topic_sources.contains(name) {
        return None;
    }
    let found = format!("gets its topics from topic source {name}, which is not there");
    let cure = format!(
        "add [topic_sources.{name}] and reload, or `contentctl schedule remove {}`, then add it with another",
        schedule.name
    );
    Some(Finding::warning(format!("schedule {}", schedule.name), found, cure))
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
    use crate::schedule::{AtEnd, Misfire, Params, ScheduleId, Timing};
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
    fn a_schedule_whose_topic_source_went_is_told() {
        let there = BTreeSet::from(["news".to_owned()]);
        let of = |name: &str| {
            let source = TopicSource::Command { name: name.into() };
            without_source(&Schedule { source, ..schedule(&[1], None) }, &there)
        };
        assert_eq!((of("news"), without_source(&schedule(&[1], None), &there)), (None, None));
        let gone = of("gone").expect("it is not there");
        assert_eq!(gone.subject, "schedule mornings");
        assert!(gone.found.contains("topic source gone"), "{gone:?}");
    }

    #[test]
    fn a_generator_that_is_gone_is_told_with_who_named_it_and_what_waits() {
        let there = BTreeSet::from([GeneratorName::from("a")]);
        let of = |name: Option<&str>| {
            let name = name.map(GeneratorName::from);
            unknown_generator("account shop".into(), name.as_ref(), &there, "another")
        };
        assert_eq!((of(None), of(Some("a"))), (None, None));
        let gone = of(Some("mine")).expect("it is not there");
        assert_eq!(
            (gone.subject.as_str(), gone.found.as_str()),
            ("account shop", "names generator mine, which is not there")
        );
        let lost = lost_generator(&"mine".into(), 2);
        assert!(lost.found.contains("2 unfinished tasks wait for it"), "{lost:?}");
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
