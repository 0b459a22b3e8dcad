//! The effective configuration as people may see it, and what a reload changes. Secrets are names of credentials here,
//! never values; a variable whose name sounds like a secret is masked, because people put them there all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::config::{Config, Loaded};
use crate::control::api::ConfigReply;
use crate::generator::hooks::HookSpec;
use crate::generator::spec::GeneratorSpec;
use crate::notice::rules::{Rule, RuleSettings};
use crate::publish::PublishTimes;
use crate::publisher::spec::PublisherSpec;
use crate::roles::Role;
use crate::task::GeneratorName;
use crate::task::review::Phrase;

/// For `config`.
pub fn reply(loaded: &Loaded) -> ConfigReply {
    ConfigReply {
        files: loaded.file.iter().map(|file| seen_from_anywhere(file)).collect(),
        config: sections(&loaded.config),
    }
}

/// Whoever reads it stands in another directory than the daemon.
fn seen_from_anywhere(file: &Path) -> String {
    std::path::absolute(file).as_deref().unwrap_or(file).display().to_string()
}

fn sections(config: &Config) -> Value {
    let generators: serde_json::Map<String, Value> =
        config.generators.iter().map(|(name, spec)| (name.0.clone(), generator(spec))).collect();
    let (daemon, tasks, retention) = (&config.daemon, &config.tasks, &config.retention);
    let seconds = |span: Option<std::time::Duration>| span.map(|span| span.as_secs());
    json!({
        "daemon": {
            "socket": daemon.socket, "database": daemon.database, "state_dir": daemon.state_dir,
            "run_socket": daemon.run_socket,
            "workers": daemon.workers, "queue": "database", "drain_timeout_s": daemon.drain_timeout.as_secs(),
        },
        "tasks": {
            "generator": tasks.generator.as_ref().map(GeneratorName::as_str), "priority": tasks.priority,
            "time_limit_s": tasks.time_limit_s, "max_retries": tasks.max_retries,
            "auto_approve": tasks.auto_approve, "max_pending": tasks.max_pending,
            "retry": backoff(&tasks.retry),
        },
        "polling": { "interval_s": config.polling.interval.as_secs_f64() },
        "retention": {
            "finished_tasks_s": seconds(retention.finished_tasks), "generator_logs_s": seconds(retention.generator_logs),
            // Contents are kept.
            "contents_s": Value::Null,
        },
        "roles": roles(config),
        "review": review(config),
        "images": images(config),
        "schedules": { "topic_directories": config.schedules.topic_directories },
        "topic_sources": topic_sources(config),
        "notices": notices(config),
        "hooks": config.hooks.iter().map(|(name, spec)| (name.clone(), hook(spec))).collect::<serde_json::Map<_, _>>(),
        "generators": generators,
        "publishing": {
            "at": config.publishing.times.as_ref().map(PublishTimes::expression),
            "zone": config.publishing.times.as_ref().map(PublishTimes::zone),
            "lease_s": config.publishing.lease.as_secs(), "idempotent": config.publishing.consumers.is_idempotent,
            "max_retries": config.publishing.consumers.max_retries, "retry": backoff(&config.publishing.consumers.retry),
        },
        "publishers": config.publishers.iter().map(|(name, spec)| (name.clone(), publisher(spec)))
            .collect::<serde_json::Map<String, Value>>(),
    })
}

/// A publisher without its templates and expressions, which stand in the file.
fn publisher(spec: &PublisherSpec) -> Value {
    json!({
        "idempotent": spec.is_idempotent, "verbs": { "find": spec.find.is_some() },
        "accounts": spec.serves.accounts, "categories": spec.serves.categories,
        "max_in_flight": spec.limits.max_in_flight, "publishes_per_day": spec.limits.publishes_per_day,
        "interval_s": spec.limits.interval.as_secs_f64(), "batch": spec.limits.batch,
        "cwd": spec.cwd, "env": masked(&spec.env), "secrets": spec.secrets,
        "settle_s": spec.settle.as_secs(), "find_limit_s": spec.find_limit.as_secs(),
        "max_retries": spec.max_retries, "retry": backoff(&spec.retry),
    })
}

/// Commands that print topics, without their arguments.
fn topic_sources(config: &Config) -> Value {
    let sources = config.schedules.topic_sources.iter().map(|(name, source)| {
        let shown = json!({
            "timeout_s": source.timeout.as_secs(), "cwd": source.cwd, "env": masked(&source.env),
            "secrets": source.secrets, "idempotent": source.is_idempotent,
        });
        (name.clone(), shown)
    });
    Value::Object(sources.collect())
}

fn review(config: &Config) -> Value {
    let rules = &config.review.rules;
    let words = |phrases: &[Phrase]| phrases.iter().map(Phrase::written).map(Value::from).collect::<Vec<_>>();
    json!({
        "four_eyes": config.review.four_eyes,
        "min_score": rules.min_score, "min_words": rules.min_words, "max_words": rules.max_words,
        "min_images": rules.min_images,
        "forbidden_words": words(&rules.forbidden), "required_words": words(&rules.required),
    })
}

fn images(config: &Config) -> Value {
    let images = &config.images;
    json!({
        "keep": images.keep, "max_bytes": images.max_bytes, "max_per_piece": images.max_per_piece,
        "timeout_s": images.timeout.as_secs_f64(), "allow_private": images.allow_private,
    })
}

/// Every role, also those that nobody was given.
fn roles(config: &Config) -> Value {
    let written = |role: Role| config.roles.written.get(role.as_str()).cloned().unwrap_or_default();
    Role::ALL.into_iter().map(|role| (role.as_str().to_owned(), Value::from(written(role)))).collect()
}

fn backoff(retry: &crate::task::retry::Backoff) -> Value {
    json!({
        "initial_s": retry.initial.as_secs_f64(), "factor": retry.factor,
        "max_s": retry.max.as_secs_f64(), "jitter": retry.jitter,
    })
}

fn notices(config: &Config) -> Value {
    let settings = &config.notices.settings;
    let rule = |(rule, set): (&Rule, &RuleSettings)| {
        let limit = rule.has_limit().then_some(set.limit);
        let shown = json!({
            "off": set.is_off, "severity": set.severity, "for_s": set.lasting.as_secs(), "limit": limit,
            "critical_limit": set.critical,
        });
        (rule.as_str().to_owned(), shown)
    };
    let mut shown: serde_json::Map<String, Value> = settings.rules.iter().map(rule).collect();
    shown.insert("off".to_owned(), config.notices.is_off.into());
    shown.insert("interval_s".to_owned(), settings.interval.as_secs_f64().into());
    shown.insert("cool_down_s".to_owned(), settings.cool_down.as_secs().into());
    shown.insert("least_ended".to_owned(), settings.least_ended.into());
    Value::Object(shown)
}

fn hook(spec: &HookSpec) -> Value {
    json!({
        "run": spec.run, "cwd": spec.cwd, "env": masked(&spec.env), "secrets": spec.secrets, "least": spec.least,
        "timeout_s": spec.patience.timeout.as_secs_f64(), "give_up_after_s": spec.patience.give_up_after.as_secs(),
        "retry": backoff(&spec.patience.retry),
    })
}

/// Variables whose names sound like a secret, without their values.
fn masked(env: &BTreeMap<String, String>) -> serde_json::Map<String, Value> {
    env.iter()
        .map(|(name, value)| (name.clone(), Value::from(if sounds_secret(name) { "[masked]" } else { value.as_str() })))
        .collect()
}

/// A generator without its templates and expressions, which stand in the file.
fn generator(spec: &GeneratorSpec) -> Value {
    let env = masked(&spec.env);
    let policy = spec.policy();
    json!({
        "kind": if policy.is_blocking { "blocking" } else { "submit, poll, fetch" },
        "idempotent": policy.is_idempotent, "free_to_repeat": policy.is_free_to_repeat, "detached": spec.is_detached,
        "verbs": {
            "find": policy.can_find, "cancel": policy.can_cancel, "poll_one": policy.can_poll_one,
            "batch_poll": policy.polls.is_batch,
        },
        "max_in_flight": spec.limits.max_in_flight, "calls_per_minute": spec.limits.calls_per_minute,
        "submits_per_day": spec.limits.submits_per_day, "max_pending": spec.limits.max_pending,
        "cwd": spec.cwd, "env": env, "secrets": spec.secrets,
        "settle_s": policy.settle.as_secs(), "find_limit_s": policy.find_limit.as_secs(),
        "retry": backoff(&policy.retry),
    })
}

fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL"].iter().any(|word| name.contains(word))
}

/// Whether a generator's section means the same in both.
pub fn is_same_generator(old: &Config, new: &Config, name: &GeneratorName) -> bool {
    // The debug form names every field of the compiled section, templates and expressions included.
    let form = |config: &Config| config.generators.get(name).map(|spec| format!("{spec:?}"));
    form(old) == form(new)
        && old.daemon.state_dir == new.daemon.state_dir
        && old.daemon.run_socket == new.daemon.run_socket
}

/// Settings that changed, and those of them that need a restart.
pub fn differences(old: &Config, new: &Config) -> (Vec<String>, Vec<String>) {
    const NEED_RESTART: [&str; 5] =
        ["daemon.socket", "daemon.database", "daemon.state_dir", "daemon.workers", "daemon.queue"];
    let (before, after) = (sections(old), sections(new));
    let mut changed = Vec::new();
    for section in
        ["daemon", "tasks", "polling", "retention", "roles", "review", "images", "schedules", "notices", "publishing"]
    {
        let names = after[section].as_object().into_iter().flat_map(|fields| fields.keys());
        changed.extend(
            names
                .filter(|name| before[section][*name] != after[section][*name])
                .map(|name| format!("{section}.{name}")),
        );
    }
    let names: BTreeSet<_> = old.generators.keys().chain(new.generators.keys()).collect();
    let is_changed = |name: &&&GeneratorName| !is_same_generator(old, new, name);
    changed.extend(names.iter().filter(is_changed).map(|name| format!("generators.{name}")));
    let names: BTreeSet<_> = old.publishers.keys().chain(new.publishers.keys()).collect();
    let form = |config: &Config, name: &str| config.publishers.get(name).map(|spec| format!("{spec:?}"));
    changed.extend(
        names.iter().filter(|name| form(old, name) != form(new, name)).map(|name| format!("publishers.{name}")),
    );
    let hooks: std::collections::BTreeSet<_> = old.hooks.keys().chain(new.hooks.keys()).collect();
    let is_changed = |name: &&&String| old.hooks.get(**name) != new.hooks.get(**name);
    changed.extend(hooks.iter().filter(is_changed).map(|name| format!("hooks.{name}")));
    // Their arguments are shown to nobody, and count all the same.
    let (before, after) = (&old.schedules.topic_sources, &new.schedules.topic_sources);
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let is_changed = |name: &&&String| before.get(**name) != after.get(**name);
    changed.extend(names.iter().filter(is_changed).map(|name| format!("topic_sources.{name}")));
    let needs_restart = changed.iter().filter(|name| NEED_RESTART.contains(&name.as_str())).cloned().collect();
    (changed, needs_restart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_so_that_it_is_found_from_another_directory() {
        let told = seen_from_anywhere(Path::new("contentd.toml"));
        assert!(told.starts_with('/') && told.ends_with("/contentd.toml"), "{told}");
    }
}
