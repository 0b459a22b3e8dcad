//! `[generators.NAME]`: everything of a generator but its verbs, and what must fit together between them.
//!
//! What is refused here would cost money later: a mark that is looked for and never written, a key that makes repeats
//! safe and is never sent. The surprise: a generator without `poll` is a blocking command, and half of the keys are
//! wrong for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::error::Faults;
use super::reader::{Placed, Section, text_of};
use super::verbs::{self, Verbs};
use crate::generator::spec::{GeneratorSpec, Limits};
use crate::task::GeneratorName;
use crate::task::outcome::JobState;
use crate::task::policy::DeadWhen;
use crate::task::retry::Backoff;

/// What generators take from elsewhere.
pub(super) struct Surroundings {
    pub(super) creator: String,
    pub(super) retry: Backoff,
    pub(super) poll_interval: Duration,
}

/// The longest name of a generator.
const MAX_NAME: usize = 64;

pub(super) fn read(
    section: &Section<'_, '_>,
    surroundings: &Surroundings,
    faults: &mut Faults<'_>,
) -> BTreeMap<GeneratorName, GeneratorSpec> {
    let mut generators = BTreeMap::new();
    for (name, node) in section.entries() {
        if !is_name(&name.value) {
            let message = format!(
                "{:?} is no name for a generator: write up to {MAX_NAME} of a-z, 0-9, `-` and `_`, a letter or digit first",
                name.value
            );
            faults.at(&name.span, message);
            continue;
        }
        let Some(section) = Section::of(node, format!("generators.{}", name.value), faults) else { continue };
        let name = GeneratorName(name.value);
        if let Some(spec) = read_one(&name, section, surroundings, faults) {
            generators.insert(name, spec);
        }
    }
    generators
}

/// The name becomes a directory and a column of tables for people.
fn is_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= MAX_NAME
        && name.bytes().next().is_some_and(is_word)
        && name.bytes().all(|byte| is_word(byte) || matches!(byte, b'-' | b'_'))
}

fn read_one(
    name: &GeneratorName,
    mut section: Section<'_, '_>,
    surroundings: &Surroundings,
    faults: &mut Faults<'_>,
) -> Option<GeneratorSpec> {
    let before = faults.count();
    let is_blocking = !section.has("poll");
    let idempotent = section.truth("idempotent", faults);
    let is_free_to_repeat = section.truth("free_to_repeat", faults).is_some_and(|value| value.value);
    let detached = section.truth("detached", faults);
    let allows_empty = section.truth("allow_empty", faults).is_some_and(|value| value.value);
    let cwd = read_cwd(&mut section, faults);
    let env = read_texts(section.section("env", faults), faults);
    let secrets = read_texts(section.section("secrets", faults), faults);
    check_environment(&env, &secrets, faults);
    let limits = read_limits(&mut section, faults);
    let retry = read_backoff(section.section("retry", faults), &surroundings.retry, faults);
    let mut span = |key, default| section.span_of_time(key, faults).map_or(default, |span| span.value);
    let settle = span("settle", Duration::from_secs(60));
    let find_limit = span("find_limit", Duration::from_secs(15 * 60));
    let grace = span("grace", Duration::from_secs(5));
    let states = read_states(section.section("states", faults), faults);
    let dead_when = read_dead_when(section.section("dead_when", faults), &states, faults);
    let verbs = verbs::read(&mut section, is_blocking, faults);
    if is_blocking {
        check_blocking(&section, idempotent.as_ref(), detached.as_ref(), is_free_to_repeat, faults);
    } else {
        check_polled(&section, &states, detached.as_ref(), faults);
        check_idempotent(idempotent.as_ref(), verbs.as_ref(), faults);
    }
    section.finish(faults);
    let verbs = verbs.filter(|_| faults.count() == before)?;
    Some(GeneratorSpec {
        name: name.clone(),
        creator: surroundings.creator.clone(),
        is_idempotent: idempotent.is_some_and(|value| value.value),
        is_free_to_repeat,
        is_detached: detached.is_none_or(|value| value.value),
        allows_empty,
        cwd,
        env: values(env),
        secrets: values(secrets),
        limits,
        retry,
        poll_interval: surroundings.poll_interval,
        settle,
        find_limit,
        grace,
        dead_when,
        states,
        submit: verbs.submit,
        poll: verbs.poll,
        poll_one: verbs.poll_one,
        find: verbs.find,
        fetch: verbs.fetch,
        cancel: verbs.cancel,
    })
}

/// A polled generator must be able to say that a job is done, and nothing of it runs below the daemon.
fn check_polled(
    section: &Section<'_, '_>,
    states: &BTreeMap<String, JobState>,
    detached: Option<&Placed<bool>>,
    faults: &mut Faults<'_>,
) {
    if !states.values().any(|state| *state == JobState::Completed) {
        let why = format!(
            "[{}.states] names no state that is \"completed\": no task would ever end; write theirs = \"completed\"",
            section.name
        );
        faults.at(&section.span, why);
    }
    if let Some(detached) = detached {
        faults.at(&detached.span, "detached is for a blocking command; this generator is polled: remove it");
    }
}

/// A key that is never sent makes every repeat a new paid job.
fn check_idempotent(idempotent: Option<&Placed<bool>>, verbs: Option<&Verbs>, faults: &mut Faults<'_>) {
    let (Some(idempotent), Some(verbs)) = (idempotent.filter(|value| value.value), verbs) else { return };
    if !verbs.submit.call.command.names().any(|name| name == "key") {
        let why = "idempotent = true means that the same key is the same job, and submit never says {key}: \
                   pass it, or remove idempotent";
        faults.at(&idempotent.span, why);
    }
}

/// A blocking command has no job that could be asked about.
fn check_blocking(
    section: &Section<'_, '_>,
    idempotent: Option<&Placed<bool>>,
    detached: Option<&Placed<bool>>,
    is_free_to_repeat: bool,
    faults: &mut Faults<'_>,
) {
    if let Some(idempotent) = idempotent.filter(|value| value.value) {
        let why =
            "a blocking command is not sent twice with one key; if repeating costs nothing, say free_to_repeat = true";
        faults.at(&idempotent.span, why);
    }
    if let Some(detached) = detached.filter(|value| !value.value && !is_free_to_repeat) {
        let why = "a plain child dies with the daemon, and its run is paid again: \
                   detached = false needs free_to_repeat = true";
        faults.at(&detached.span, why);
    }
    for key in ["poll_one", "find", "fetch", "cancel", "states", "dead_when"] {
        if section.has(key) {
            let why = format!(
                "[{0}] has no poll, so it is a blocking command, and `{key}` is not for it: remove it or write [{0}.poll]",
                section.name
            );
            faults.at(&section.span, why);
        }
    }
}

pub(super) fn read_cwd(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<PathBuf> {
    let cwd = section.text("cwd", faults)?;
    if cwd.value.starts_with('/') && !cwd.value.contains('\0') {
        return Some(PathBuf::from(cwd.value));
    }
    faults.at(&cwd.span, format!("{} is {:?}, and it must be an absolute path", section.path("cwd"), cwd.value));
    None
}

pub(super) type Texts = BTreeMap<String, (Placed<String>, std::ops::Range<usize>)>;

pub(super) fn read_texts(section: Option<Section<'_, '_>>, faults: &mut Faults<'_>) -> Texts {
    let Some(section) = section else { return Texts::new() };
    let mut texts = Texts::new();
    for (key, node) in section.entries() {
        let name = section.path(&key.value);
        if let Some(text) = text_of(node, &name, faults) {
            texts.insert(key.value, (text, key.span));
        }
    }
    texts
}

pub(super) fn values(texts: Texts) -> BTreeMap<String, String> {
    texts.into_iter().map(|(key, (text, _))| (key, text.value)).collect()
}

pub(super) fn check_environment(env: &Texts, secrets: &Texts, faults: &mut Faults<'_>) {
    for (name, (value, place)) in env.iter().chain(secrets) {
        if name.is_empty() || name.contains(['=', '\0']) || value.value.contains('\0') {
            let why = format!("{name:?} cannot be a variable of an environment: no `=`, no NUL, and not empty");
            faults.at(place, why);
        }
    }
    for (name, (credential, place)) in secrets {
        if credential.value.is_empty() || credential.value.contains('/') || credential.value.starts_with('.') {
            let why = format!("{:?} is no name of a credential: write the file's name alone", credential.value);
            faults.at(&credential.span, why);
        }
        if env.contains_key(name) {
            faults.at(place, format!("{name} stands in env and in secrets: remove one of them"));
        }
    }
}

fn read_limits(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Limits {
    const MANY: u32 = 100_000_000;
    let mut number = |key| section.number(key, 1..=MANY, faults);
    Limits {
        max_in_flight: number("max_in_flight").unwrap_or(5),
        max_in_flight_per_account: number("max_in_flight_per_account"),
        calls_per_minute: number("calls_per_minute"),
        submits_per_day: number("submits_per_day"),
        submits_per_day_per_account: number("submits_per_day_per_account"),
        max_pending: number("max_pending"),
        max_pending_per_account: number("max_pending_per_account"),
    }
}

pub(super) fn read_backoff(section: Option<Section<'_, '_>>, default: &Backoff, faults: &mut Faults<'_>) -> Backoff {
    let Some(mut section) = section else { return *default };
    let initial = section.span_of_time("initial", faults).map_or(default.initial, |span| span.value);
    let factor = section.decimal("factor", 1.0..=100.0, faults).unwrap_or(default.factor);
    let max = section.span_of_time("max", faults);
    let jitter = section.decimal("jitter", 0.0..=1.0, faults).unwrap_or(default.jitter);
    if let Some(max) = max.as_ref().filter(|max| max.value < initial) {
        faults.at(&max.span, format!("{} must not be shorter than initial", section.path("max")));
    }
    section.finish(faults);
    Backoff { initial, factor, max: max.map_or(default.max.max(initial), |max| max.value), jitter }
}

fn read_states(section: Option<Section<'_, '_>>, faults: &mut Faults<'_>) -> BTreeMap<String, JobState> {
    let texts = read_texts(section, faults);
    let mut states = BTreeMap::new();
    for (theirs, (ours, _)) in texts {
        match ours.value.parse::<JobState>() {
            Ok(state) => {
                states.insert(theirs, state);
            }
            Err(_) => {
                let known: Vec<_> = JobState::ALL.iter().map(|state| state.as_str()).collect();
                faults.at(&ours.span, format!("{:?} is no state: write one of {}", ours.value, known.join(", ")));
            }
        }
    }
    states
}

fn read_dead_when(
    section: Option<Section<'_, '_>>,
    states: &BTreeMap<String, JobState>,
    faults: &mut Faults<'_>,
) -> Option<DeadWhen> {
    let mut section = section?;
    let state = section.text("state", faults);
    let unchanged_for = section.span_of_time("unchanged_for", faults);
    let place = section.span.clone();
    let (has_state, has_span) = (section.has("state"), section.has("unchanged_for"));
    section.finish(faults);
    if !has_state || !has_span {
        faults.at(&place, "dead_when needs both: { state = \"theirs\", unchanged_for = \"6h\" }");
    }
    let state = state?;
    if !matches!(states.get(&state.value), Some(JobState::Submitted | JobState::Processing)) {
        let why = format!("{:?} must be one of their states that means \"submitted\" or \"processing\"", state.value);
        faults.at(&state.span, format!("dead_when.state: {why}"));
    }
    Some(DeadWhen { state: state.value, unchanged_for: unchanged_for?.value })
}
