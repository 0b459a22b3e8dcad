//! `[publishing]` and `[publishers.NAME]`: the rules for consumers of the pool, and commands that publish.
//!
//! The same keys as a generator's where they mean the same. What is refused here would publish twice: a key that makes
//! repeats safe and is never sent. The surprise: `idempotent` of `[publishing]` is about consumers on the socket, that of a
//! publisher about its command.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use toml::de::DeTable;

use super::error::Faults;
use super::generators::{check_environment, is_name, read_backoff, read_cwd, read_texts, values};
use super::reader::{Placed, Section, text_of, wanted};
use super::verbs::{Command, extractor, read_command};
use crate::generator::template::KnownNames;
use crate::publish::outcome::PublishVerb;
use crate::publish::policy::{DEFAULT_MAX_RETRIES, DEFAULT_RETRY};
use crate::publish::{PublishPolicy, PublishTimes};
use crate::publisher::spec::{NAMES, PublishCall, PublisherSpec};
use crate::publisher::{DEFAULT_LEASE, PublisherLimits, Serves};
use crate::schedule::TimingError;
use crate::zones;

/// `[publishing]`.
#[derive(Clone, PartialEq, Debug)]
pub struct PublishingConfig {
    /// What holds for consumers on the socket; retries and back-off also for publishers that say nothing else.
    pub consumers: PublishPolicy,
    /// How long a consumer has an entry that does not say.
    pub lease: Duration,
    /// When approved pieces are due; none: at once.
    pub times: Option<PublishTimes>,
}

/// The longest lease that may be configured or asked for.
pub const MAX_LEASE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a piece brings, and so whatever a generator writes.
const OF_THE_PIECE: [&str; 6] = ["title", "content", "html", "summary", "cover_image", "category"];

/// What runs, and would refuse a piece that others take.
pub(super) fn warnings(publishers: &BTreeMap<String, PublisherSpec>) -> Vec<String> {
    let mut warnings = Vec::new();
    for publisher in publishers.values() {
        let verbs = [(PublishVerb::Publish, Some(&publisher.publish)), (PublishVerb::Find, publisher.find.as_ref())];
        for (verb, call) in verbs.into_iter().filter_map(|(verb, call)| Some((verb, call?))) {
            let open: BTreeSet<&str> = call.command.open_names().filter(|name| OF_THE_PIECE.contains(name)).collect();
            warnings.extend(open.into_iter().map(|name| {
                format!(
                    "publishers.{}.{verb}: a piece whose {name} begins with `-` cannot be passed, for {{{name}}} would be read as an \
                     option: write it in one argument with its option, \"--OPTION={{{name}}}\", or put \"--\" before it",
                    publisher.name
                )
            }));
        }
    }
    warnings
}

pub(super) fn read_publishing(section: Option<Section<'_, '_>>, faults: &mut Faults<'_>) -> PublishingConfig {
    let empty = DeTable::new();
    let mut section = section.unwrap_or_else(|| Section::new(&empty, "publishing", 0..0));
    let is_idempotent = section.truth("idempotent", faults).is_some_and(|value| value.value);
    let max_retries = section.number("max_retries", 0..=1_000, faults).unwrap_or(DEFAULT_MAX_RETRIES);
    let lease = section.span_of_time("lease", faults);
    if let Some(lease) = lease.as_ref().filter(|lease| lease.value > MAX_LEASE) {
        faults.at(&lease.span, "publishing.lease is longer than seven days");
    }
    let retry = read_backoff(section.section("retry", faults), &DEFAULT_RETRY, faults);
    let times = read_times(&mut section, faults);
    section.finish(faults);
    PublishingConfig {
        consumers: PublishPolicy { is_idempotent, max_retries, retry, ..PublishPolicy::default() },
        lease: lease.map_or(DEFAULT_LEASE, |lease| lease.value),
        times,
    }
}

/// `at` and `zone`, which go together: the zone of a machine is not a thing to rely on for what readers see.
fn read_times(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<PublishTimes> {
    let (at, zone) = (section.text("at", faults), section.text("zone", faults));
    let (at, zone) = match (at, zone) {
        (Some(at), Some(zone)) => (at, zone),
        (Some(at), None) if !section.has("zone") => {
            faults.at(
                &at.span,
                "publishing.at needs publishing.zone beside it: an IANA name such as Europe/Berlin or UTC",
            );
            return None;
        }
        (None, Some(zone)) if !section.has("at") => {
            faults.at(&zone.span, "publishing.zone means nothing without publishing.at: add it, such as \"0 9 * * *\"");
            return None;
        }
        _ => return None,
    };
    match PublishTimes::of(&at.value, &zone.value, zones::named) {
        Ok(times) => Some(times),
        Err(error @ TimingError::Zone(_)) => {
            faults.at(&zone.span, format!("publishing.zone: {error}"));
            None
        }
        Err(error) => {
            faults.at(&at.span, format!("publishing.at: {error}"));
            None
        }
    }
}

pub(super) fn read(
    section: Option<Section<'_, '_>>,
    publishing: &PublishingConfig,
    faults: &mut Faults<'_>,
) -> BTreeMap<String, PublisherSpec> {
    let mut publishers = BTreeMap::new();
    for (name, node) in section.iter().flat_map(Section::entries) {
        if !is_name(&name.value) {
            let message = format!(
                "{:?} is no name for a publisher: write up to 64 of a-z, 0-9, `-` and `_`, a letter or digit first",
                name.value
            );
            faults.at(&name.span, message);
            continue;
        }
        let Some(section) = Section::of(node, format!("publishers.{}", name.value), faults) else { continue };
        if let Some(spec) = read_one(&name.value, section, publishing, faults) {
            publishers.insert(name.value, spec);
        }
    }
    publishers
}

fn read_one(
    name: &str,
    mut section: Section<'_, '_>,
    publishing: &PublishingConfig,
    faults: &mut Faults<'_>,
) -> Option<PublisherSpec> {
    let before = faults.count();
    let idempotent = section.truth("idempotent", faults);
    let cwd = read_cwd(&mut section, faults);
    let env = read_texts(section.section("env", faults), faults);
    let secrets = read_texts(section.section("secrets", faults), faults);
    check_environment(&env, &secrets, faults);
    let serves = Serves {
        accounts: read_list(&mut section, "accounts", faults),
        categories: read_list(&mut section, "categories", faults),
    };
    let limits = read_limits(&mut section, faults);
    let max_retries = section.number("max_retries", 0..=1_000, faults).unwrap_or(publishing.consumers.max_retries);
    let retry = read_backoff(section.section("retry", faults), &publishing.consumers.retry, faults);
    let mut span = |key, default| section.span_of_time(key, faults).map_or(default, |span| span.value);
    let settle = span("settle", Duration::from_secs(60));
    let find_limit = span("find_limit", Duration::from_secs(15 * 60));
    let grace = span("grace", Duration::from_secs(5));
    let publish = section.section("publish", faults);
    if publish.is_none() && !section.has("publish") {
        faults.at(&section.span, format!("there is no [{}.publish]: a publisher needs one", section.name));
    }
    let publish = publish.and_then(|section| read_call(PublishVerb::Publish, section, faults));
    let find = section.section("find", faults).and_then(|section| read_call(PublishVerb::Find, section, faults));
    check_keys(idempotent.as_ref(), publish.as_ref(), find.as_ref(), &section, faults);
    section.finish(faults);
    let publish = publish.filter(|_| faults.count() == before)?;
    Some(PublisherSpec {
        name: name.to_owned(),
        is_idempotent: idempotent.is_some_and(|value| value.value),
        cwd,
        env: values(env),
        secrets: values(secrets),
        serves,
        limits,
        max_retries,
        retry,
        settle,
        find_limit,
        grace,
        publish,
        find,
    })
}

fn read_limits(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> PublisherLimits {
    PublisherLimits {
        max_in_flight: section.number("max_in_flight", 1..=256, faults).unwrap_or(1),
        publishes_per_day: section.number("publishes_per_day", 1..=100_000_000, faults),
        interval: section.span_of_time("interval", faults).map_or(Duration::from_secs(30), |span| span.value),
        batch: section.number("batch", 1..=1_000, faults).unwrap_or(20),
    }
}

/// A key that is never sent makes no repeat safe, and finds nothing.
fn check_keys(
    idempotent: Option<&Placed<bool>>,
    publish: Option<&PublishCall>,
    find: Option<&PublishCall>,
    section: &Section<'_, '_>,
    faults: &mut Faults<'_>,
) {
    let names_key = |call: &PublishCall| call.command.names().any(|name| name == "key");
    if let Some(idempotent) = idempotent.filter(|value| value.value && publish.is_some_and(|call| !names_key(call))) {
        let why = "idempotent = true means that the same key publishes once, and publish never says {key}: \
                   pass it, or remove idempotent";
        faults.at(&idempotent.span, why);
    }
    let Some(find) = find else { return };
    if !names_key(find) || publish.is_some_and(|call| !names_key(call)) {
        let why = format!(
            "[{0}.find] looks for what was published under {{key}}: pass {{key}} in {0}.publish and in {0}.find",
            section.name
        );
        faults.at(&section.span, why);
    }
}

fn read_call(verb: PublishVerb, mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> Option<PublishCall> {
    let default_s = if verb == PublishVerb::Publish { 60 } else { 30 };
    let command = read_command(verb, &mut section, &KnownNames::new(NAMES), Some(default_s), faults);
    let url = extractor(&mut section, "url", faults);
    let reference = extractor(&mut section, "id", faults);
    section.finish(faults);
    let Command { command, timeout, rules } = command?;
    Some(PublishCall { command, timeout, rules, url, reference })
}

/// An array of texts; numbers of accounts may stand without quotes.
fn read_list(section: &mut Section<'_, '_>, key: &'static str, faults: &mut Faults<'_>) -> Option<Vec<String>> {
    let name = section.path(key);
    let node = section.node(key)?;
    let Some(array) = node.get_ref().as_array() else {
        faults.at(&node.span(), wanted(&name, node.get_ref(), "an array of texts"));
        return None;
    };
    let text = |node| match super::reader::integer_of(node) {
        Some(number) => Some(number.to_string()),
        None => text_of(node, &name, faults).map(|text| text.value),
    };
    Some(array.iter().filter_map(text).collect())
}
