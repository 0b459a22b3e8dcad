//! The configuration as it is written in a file: spans of time and sizes with their units, limits of notices by their own names.
//!
//! The daemon tells numbers, each in the unit that its name ends in, and so do JSON and CSV. The surprise: the unit of a limit of
//! `[notices]` is known by its rule.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::{format_duration, format_size};
use crate::notice::rules::Rule;

/// Every setting under the name and in the form that a file has for it.
pub fn as_written(config: Value) -> Value {
    let Value::Object(sections) = config else { return config };
    let written = sections.into_iter().map(|(name, section)| match section {
        Value::Object(rules) if name == "notices" => {
            let rules = rules.into_iter().map(|(name, set)| match (rule_of(&name), set) {
                (Some(rule), Value::Object(set)) => (name, Value::Object(with_limits(rule, set))),
                (_, set) => (name, set),
            });
            (name, with_spans(Value::Object(rules.collect())))
        }
        section => (name, with_spans(section)),
    });
    Value::Object(written.collect())
}

fn rule_of(name: &str) -> Option<Rule> {
    name.parse().ok()
}

fn with_limits(rule: Rule, set: Map<String, Value>) -> Map<String, Value> {
    let (limit, critical) = if rule.is_wrong_below() { ("under", "critical_under") } else { ("over", "critical_over") };
    let written = set.into_iter().map(|(name, value)| match (name.as_str(), value.as_f64()) {
        ("limit", Some(number)) => (limit.to_owned(), limit_as_written(rule, number)),
        ("critical_limit", Some(number)) => (critical.to_owned(), limit_as_written(rule, number)),
        _ => (name, value),
    });
    written.collect()
}

fn limit_as_written(rule: Rule, number: f64) -> Value {
    // More digits only look exact: a share is kept as a fraction.
    let plain = |number: f64| match (number * 1e6).round() / 1e6 {
        whole if whole.fract() == 0.0 => Value::from(whole as i64),
        number => Value::from(number),
    };
    match rule.unit() {
        "%" => plain(number * 100.0),
        "s" => span(number).unwrap_or_else(|| number.into()),
        "B" => format_size(number).into(),
        _ => plain(number),
    }
}

/// Whoever names a span of time in seconds ends its name in `_s`; texts, as in `env`, are never one.
fn with_spans(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let written = fields.into_iter().map(|(name, value)| {
                let span = name.strip_suffix("_s").zip(value.as_f64().and_then(span));
                match span {
                    Some((name, span)) => (name.to_owned(), span),
                    None => (name, with_spans(value)),
                }
            });
            Value::Object(written.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(with_spans).collect()),
        other => other,
    }
}

fn span(seconds: f64) -> Option<Value> {
    Duration::try_from_secs_f64(seconds).ok().map(|span| format_duration(span).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spans_and_sizes_have_their_units() {
        let told = json!({
            "daemon": {"workers": 4, "drain_timeout_s": 60, "socket": null},
            "polling": {"interval_s": 0.25},
            "retention": {"finished_tasks_s": 7_776_000, "contents_s": null},
            "notices": {
                "interval_s": 60.0,
                "failures": {"limit": 0.2, "critical_limit": 0.125, "for_s": 0},
                "backlog": {"limit": 100.0, "for_s": 300, "critical_limit": null},
                "oldest_task": {"limit": 21_600.0},
                "disk": {"limit": 2.5e9, "critical_limit": 5e8},
            },
            "generators": {"g_s": {"env": {"WAIT_s": "5"}, "retry": {"initial_s": 1.5, "factor": 2.0}}},
        });
        let written = json!({
            "daemon": {"workers": 4, "drain_timeout": "1m", "socket": null},
            "polling": {"interval": "250ms"},
            "retention": {"finished_tasks": "90d", "contents_s": null},
            "notices": {
                "interval": "1m",
                "failures": {"over": 20, "critical_over": 12.5, "for": "0s"},
                "backlog": {"over": 100, "for": "5m", "critical_limit": null},
                "oldest_task": {"over": "6h"},
                "disk": {"under": "2.5GB", "critical_under": "500MB"},
            },
            "generators": {"g_s": {"env": {"WAIT_s": "5"}, "retry": {"initial": "1s500ms", "factor": 2.0}}},
        });
        assert_eq!(as_written(told), written);
    }
}
