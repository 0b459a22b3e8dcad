//! `[notices]` and `[hooks.NAME]`: when somebody is told, and by which commands.
//!
//! Every rule has a section of its own with its defaults, so that one line changes one thing. It must not look whether a command can
//! be run: the doctor does. The surprise: shares are written in percent and bytes with a unit, as people say them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::error::Faults;
use super::generators::{check_environment, read_backoff, read_cwd, read_texts, values};
use super::reader::{Node, Section, text_of, wanted};
use crate::generator::hooks::HookSpec;
use crate::notice::delivery::Patience;
use crate::notice::rules::{Rule, RuleSettings, Settings, Severity};
use crate::task::retry::Backoff;

/// The longest name of a hook.
const MAX_NAME: usize = 64;
/// As many hooks as one can keep in mind; each has a slot of its own.
const MAX_HOOKS: usize = 16;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_GIVE_UP: Duration = Duration::from_secs(24 * 3_600);
/// Between two tries of one message.
const DEFAULT_RETRY: Backoff =
    Backoff { initial: Duration::from_secs(5), factor: 2.0, max: Duration::from_secs(600), jitter: 0.2 };

/// `[notices]`.
#[derive(Clone, PartialEq, Debug)]
pub struct NoticesConfig {
    /// Nothing is watched.
    pub is_off: bool,
    /// The rules.
    pub settings: Settings,
}

pub(super) fn read(section: Option<Section<'_, '_>>, faults: &mut Faults<'_>) -> NoticesConfig {
    let empty = DeTable::new();
    let mut section = section.unwrap_or_else(|| Section::new(&empty, "notices", 0..0));
    let default = Settings::default();
    let is_off = section.truth("off", faults).is_some_and(|value| value.value);
    let mut span = |key, default| section.span_of_time(key, faults).map_or(default, |span| span.value);
    let interval = span("interval", default.interval);
    let cool_down = span("cool_down", default.cool_down);
    let least_ended = section.number("least_ended", 1..=1_000_000, faults);
    let mut rules = BTreeMap::new();
    for rule in Rule::ALL {
        let set = match section.section(rule.as_str(), faults) {
            Some(section) => read_rule(*rule, section, faults),
            None => rule.default_settings(),
        };
        rules.insert(*rule, set);
    }
    section.finish(faults);
    let least_ended = least_ended.map_or(default.least_ended, u64::from);
    NoticesConfig { is_off, settings: Settings { rules, interval, cool_down, least_ended } }
}

fn read_rule(rule: Rule, mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> RuleSettings {
    let mut set = rule.default_settings();
    set.is_off = section.truth("off", faults).is_some_and(|value| value.value);
    if let Some(severity) = read_severity(&mut section, "severity", faults) {
        set.severity = severity;
    }
    if let Some(lasting) = read_lasting(&mut section, faults) {
        set.lasting = lasting;
    }
    if rule.has_limit() {
        let (limit, critical) =
            if rule.is_wrong_below() { ("under", "critical_under") } else { ("over", "critical_over") };
        set.limit = read_limit(rule, &mut section, limit, faults).unwrap_or(set.limit);
        set.critical = read_limit(rule, &mut section, critical, faults);
        let is_milder = |critical: f64| {
            if rule.is_wrong_below() { critical > set.limit } else { critical < set.limit }
        };
        if set.critical.is_some_and(is_milder) {
            let why = format!("{} must be worse than {}", section.path(critical), section.path(limit));
            faults.at(&section.span.clone(), why);
        }
    }
    section.finish(faults);
    set
}

fn read_severity(section: &mut Section<'_, '_>, key: &'static str, faults: &mut Faults<'_>) -> Option<Severity> {
    let text = section.text(key, faults)?;
    let parsed = text.value.parse::<Severity>();
    if parsed.is_err() {
        let name = section.path(key);
        faults.at(&text.span, format!("{name} is {:?}; write \"warning\" or \"critical\"", text.value));
    }
    parsed.ok()
}

/// A span of time that may be none.
fn read_lasting(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<Duration> {
    let is_none = |node: Node<'_, '_>| matches!(node.get_ref().as_str(), Some("0" | "0s" | "0m"));
    if section.node("for").is_some_and(is_none) {
        return Some(Duration::ZERO);
    }
    section.span_of_time("for", faults).map(|span| span.value)
}

/// A limit in the unit of its rule.
fn read_limit(rule: Rule, section: &mut Section<'_, '_>, key: &'static str, faults: &mut Faults<'_>) -> Option<f64> {
    match rule {
        Rule::Failures | Rule::Timeouts => section.decimal(key, 0.0..=100.0, faults).map(|percent| percent / 100.0),
        Rule::Backlog | Rule::Held | Rule::Pool => section.number(key, 0..=100_000_000, faults).map(f64::from),
        Rule::OldestTask | Rule::Overdue => section.span_of_time(key, faults).map(|span| span.value.as_secs_f64()),
        Rule::Disk => {
            let name = section.path(key);
            let node = section.node(key)?;
            let bytes = node.get_ref().as_str().and_then(parse_size);
            if bytes.is_none() {
                faults.at(&node.span(), wanted(&name, node.get_ref(), "a size like \"500MB\", \"1GB\" or \"2.5GB\""));
            }
            bytes
        }
        Rule::Breaker | Rule::Publisher | Rule::Schedule => None,
    }
}

/// Bytes, in powers of ten.
fn parse_size(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let unit = match text[digits..].trim() {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        _ => return None,
    };
    text[..digits].parse::<f64>().ok().map(|number| number * unit).filter(|bytes| (1.0..=1e18).contains(bytes))
}

/// Writes a size so that `parse_size` reads the same one, in the largest unit that does so with few digits.
pub fn format_size(bytes: f64) -> String {
    let units = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let fitting = units.into_iter().find(|(_, unit)| bytes >= *unit && (bytes / unit * 1e3).fract() == 0.0);
    fitting.map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

pub(super) fn read_hooks(section: Option<Section<'_, '_>>, faults: &mut Faults<'_>) -> BTreeMap<String, HookSpec> {
    let Some(section) = section else { return BTreeMap::new() };
    let mut hooks = BTreeMap::new();
    for (name, node) in section.entries() {
        if !is_name(&name.value) {
            let message = format!(
                "{:?} is no name for a hook: write up to {MAX_NAME} of a-z, 0-9, `-` and `_`, a letter or digit first",
                name.value
            );
            faults.at(&name.span, message);
            continue;
        }
        let Some(hook) = Section::of(node, format!("hooks.{}", name.value), faults) else { continue };
        if let Some(spec) = read_hook(hook, faults) {
            hooks.insert(name.value, spec);
        }
    }
    if hooks.len() > MAX_HOOKS {
        faults.at(&section.span, format!("there are {} hooks, and at most {MAX_HOOKS} may be", hooks.len()));
    }
    hooks
}

/// The name becomes a label of the metrics and a column of tables.
fn is_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= MAX_NAME
        && name.bytes().next().is_some_and(is_word)
        && name.bytes().all(|byte| is_word(byte) || matches!(byte, b'-' | b'_'))
}

fn read_hook(mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> Option<HookSpec> {
    let before = faults.count();
    let run = read_run(&mut section, faults);
    let cwd: Option<PathBuf> = read_cwd(&mut section, faults);
    let env = read_texts(section.section("env", faults), faults);
    let secrets = read_texts(section.section("secrets", faults), faults);
    check_environment(&env, &secrets, faults);
    let mut span = |key, default| section.span_of_time(key, faults).map_or(default, |span| span.value);
    let timeout = span("timeout", DEFAULT_TIMEOUT);
    let give_up_after = span("give_up_after", DEFAULT_GIVE_UP);
    let retry = read_backoff(section.section("retry", faults), &DEFAULT_RETRY, faults);
    let least = read_severity(&mut section, "least", faults).unwrap_or(Severity::Warning);
    section.finish(faults);
    let run = run.filter(|_| faults.count() == before)?;
    let patience = Patience { timeout, retry, give_up_after };
    Some(HookSpec { run, cwd, env: values(env), secrets: values(secrets), patience, least })
}

/// Arguments as they are: a hook gets its message on standard input, and nothing is filled in.
fn read_run(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<Vec<String>> {
    let name = section.path("run");
    let span = section.span.clone();
    let Some(node) = section.node("run") else {
        faults
            .at(&span, format!("{name} is missing: write the program and its arguments, run = [\"/path/to/program\"]"));
        return None;
    };
    let DeValue::Array(items) = node.get_ref() else {
        faults.at(&node.span(), wanted(&name, node.get_ref(), "an array of the program and its arguments"));
        return None;
    };
    let run: Vec<String> =
        items.iter().filter_map(|item| text_of(item, &name, faults)).map(|text| text.value).collect();
    if run.first().is_none_or(String::is_empty) || run.iter().any(|argument| argument.contains('\0')) {
        faults.at(&node.span(), format!("{name} must begin with a program, and no argument holds a NUL character"));
        return None;
    }
    Some(run)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parse(source: &str) -> Result<Config, String> {
        let env = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
        Config::parse(Some(Path::new("c.toml")), source, &env).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_size_that_is_written_is_read_back() {
        for text in ["1GB", "2.5GB", "500MB", "1.5TB", "64kB", "999B", "1.234567GB", "20MB"] {
            let bytes = parse_size(text).expect("a size");
            assert_eq!(parse_size(&format_size(bytes)), Some(bytes), "{text}");
        }
        assert_eq!([2.5e9, 1e6, 1_234_567_000.0].map(format_size), ["2.5GB", "1MB", "1234.567MB"]);
    }

    #[test]
    fn limits_are_read_in_the_units_that_people_use() {
        let source = "[notices]\ninterval = \"10s\"\nleast_ended = 1\n[notices.failures]\nover = 12.5\ncritical_over = 50\n\
                      [notices.oldest_task]\nover = \"2h\"\nfor = \"0s\"\n[notices.disk]\nunder = \"2.5GB\"\nseverity = \"warning\"\n\
                      [notices.held]\noff = true\n[notices.backlog]\nover = 7\n";
        let notices = parse(source).expect("good").notices;
        let of = |rule| notices.settings.rules[&rule];
        assert_eq!((of(Rule::Failures).limit, of(Rule::Failures).critical), (0.125, Some(0.5)));
        assert_eq!((of(Rule::OldestTask).limit, of(Rule::OldestTask).lasting), (7_200.0, Duration::ZERO));
        assert_eq!((of(Rule::Disk).limit, of(Rule::Disk).severity), (2.5e9, Severity::Warning));
        assert!(of(Rule::Held).is_off && !notices.is_off);
        assert_eq!(of(Rule::Timeouts), Rule::Timeouts.default_settings());
        assert_eq!(parse("").expect("good").notices.settings, Settings::default());
    }

    #[test]
    fn a_hook_has_defaults_and_each_fault_its_place() {
        let hook = parse("[hooks.mail]\nrun = [\"sendmail\", \"{x}\"]\n").expect("good").hooks.remove("mail");
        let hook = hook.expect("it is there");
        assert_eq!((hook.run[1].as_str(), hook.least), ("{x}", Severity::Warning), "nothing is filled in");
        assert_eq!((hook.patience.timeout, hook.patience.give_up_after), (DEFAULT_TIMEOUT, DEFAULT_GIVE_UP));
        let source = "[hooks.A]\nrun = [\"x\"]\n[hooks.b]\ncwd = \"x\"\n[hooks.c]\nrun = []\n[notices.disk]\nunder = \"lots\"\n\
                      [notices.backlog]\nover = 50\ncritical_over = 20\n[notices.breaker]\nover = 1\n[hooks.d]\nrun = [\"x\"]\nleast = \"bad\"\n";
        let text = parse(source).expect_err("faults");
        for (begins, has) in [
            ("c.toml:1:8: \"A\" is no name for a hook", "a-z"),
            ("c.toml:3:1: hooks.b.run is missing", "run = ["),
            ("c.toml:4:7: hooks.b.cwd is \"x\"", "absolute"),
            ("c.toml:6:7: hooks.c.run must begin with a program", ""),
            ("c.toml:8:9: notices.disk.under is the text \"lots\"", "1GB"),
            ("c.toml:9:1: notices.backlog.critical_over must be worse", "over"),
            ("c.toml:13:1: there is no key `over` in [notices.breaker]", ""),
            ("c.toml:16:9: hooks.d.least is \"bad\"", "critical"),
        ] {
            let found = text.lines().find(|line| line.starts_with(begins));
            assert!(found.is_some_and(|line| line.contains(has)), "{begins}:\n{text}");
        }
    }
}
