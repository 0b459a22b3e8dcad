//! `[schedules]` and `[topic_sources.NAME]`: where schedules may get topics from.
//!
//! A caller on the socket names a file or a command; which files and which commands there are is said here alone, by whoever
//! may write the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::error::Faults;
use super::generators::{check_environment, is_name, read_cwd, read_texts, values};
use super::reader::{Section, text_of, wanted};
use crate::generator::command::Places;
use crate::generator::command::topics::TopicCommand;

/// Where topics may come from.
#[derive(Clone, Debug, Default)]
pub struct SchedulesConfig {
    /// Files below these may be topic sources.
    pub topic_directories: Vec<PathBuf>,
    /// Commands by name.
    pub topic_sources: BTreeMap<String, Arc<TopicCommand>>,
}

impl SchedulesConfig {
    /// What is named and is not there, a line each; nothing is called. Blocks.
    pub fn faults(&self, places: &Places) -> Vec<String> {
        faults(&self.topic_directories, &self.topic_sources, places)
    }
}

/// What of these directories and commands is not there, a line each; nothing is called. Blocks.
pub fn faults(directories: &[PathBuf], commands: &BTreeMap<String, Arc<TopicCommand>>, places: &Places) -> Vec<String> {
    let missing = directories.iter().filter(|directory| !directory.is_dir()).map(|directory| {
        format!("schedules.topic_directories: {} is no directory that can be reached: make it", directory.display())
    });
    missing.chain(commands.values().filter_map(|source| source.fault(places))).collect()
}

/// How long a command may take where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The longest that may be said.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// Reads `[schedules]`.
pub(super) fn read(section: Option<Section<'_, '_>>, faults: &mut Faults<'_>) -> Vec<PathBuf> {
    let Some(mut section) = section else { return Vec::new() };
    let texts = texts(&mut section, "topic_directories", "an array of absolute paths", faults);
    section.finish(faults);
    let mut directories = Vec::new();
    for (text, span) in texts {
        if text.starts_with('/') && !text.contains('\0') {
            directories.push(PathBuf::from(text));
        } else {
            faults.at(&span, format!("schedules.topic_directories: {text:?} must be an absolute path"));
        }
    }
    directories
}

fn texts(
    section: &mut Section<'_, '_>,
    key: &'static str,
    right: &str,
    faults: &mut Faults<'_>,
) -> Vec<(String, std::ops::Range<usize>)> {
    let name = section.path(key);
    let Some(node) = section.node(key) else { return Vec::new() };
    let Some(array) = node.get_ref().as_array() else {
        faults.at(&node.span(), wanted(&name, node.get_ref(), right));
        return Vec::new();
    };
    array.iter().filter_map(|node| text_of(node, &name, faults)).map(|text| (text.value, text.span)).collect()
}

/// Reads `[topic_sources]`.
pub(super) fn read_sources(
    section: Option<Section<'_, '_>>,
    faults: &mut Faults<'_>,
) -> BTreeMap<String, Arc<TopicCommand>> {
    let mut sources = BTreeMap::new();
    let Some(section) = section else { return sources };
    for (name, node) in section.entries() {
        if !is_name(&name.value) {
            let message = format!(
                "{:?} is no name for a topic source: write up to 64 of a-z, 0-9, `-` and `_`, a letter or digit first",
                name.value
            );
            faults.at(&name.span, message);
            continue;
        }
        let Some(section) = Section::of(node, format!("topic_sources.{}", name.value), faults) else { continue };
        if let Some(source) = read_source(&name.value, section, faults) {
            sources.insert(name.value, Arc::new(source));
        }
    }
    sources
}

fn read_source(name: &str, mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> Option<TopicCommand> {
    let before = faults.count();
    let span = section.span.clone();
    let argv = texts(&mut section, "run", "an array of arguments (there is no shell)", faults);
    let timeout = section.span_of_time("timeout", faults);
    if let Some(timeout) = timeout.as_ref().filter(|timeout| timeout.value > MAX_TIMEOUT) {
        faults.at(&timeout.span, format!("{} is longer than an hour", section.path("timeout")));
    }
    let cwd = read_cwd(&mut section, faults);
    let env = read_texts(section.section("env", faults), faults);
    let secrets = read_texts(section.section("secrets", faults), faults);
    check_environment(&env, &secrets, faults);
    let idempotent = section.truth("idempotent", faults);
    let path = section.path("run");
    section.finish(faults);
    let is_called = argv.first().is_some_and(|(program, _)| !program.is_empty());
    if !is_called && faults.count() == before {
        faults.at(&span, format!("{path} is missing: write the program and its arguments as an array"));
    }
    if let Some((_, span)) = argv.iter().find(|(text, _)| text.contains('\0')) {
        faults.at(span, format!("{path}: an argument holds a NUL byte, which cannot be passed"));
    }
    (faults.count() == before).then(|| TopicCommand {
        name: name.to_owned(),
        argv: argv.into_iter().map(|(text, _)| text).collect(),
        cwd,
        env: values(env),
        secrets: values(secrets),
        timeout: timeout.map_or(TIMEOUT, |timeout| timeout.value),
        is_idempotent: idempotent.is_some_and(|value| value.value),
    })
}
