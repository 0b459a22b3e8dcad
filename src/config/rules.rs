//! `rules = [{ … }]` of a verb.
//!
//! The surprise: a rule that a search takes over from poll and that a search cannot have is passed over without a word,
//! because nobody wrote it there.

use super::error::Faults;
use super::reader::{Node, Section, integer_of, wanted};
use crate::generator::extract::compile_regex;
use crate::generator::rules::{Rule, Ruled, parse_outcome};
use crate::task::outcome::RuleOutcome;

/// The rules of a verb, its own or those of the section it is like.
pub(super) fn read_rules<V: Ruled>(verb: V, section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Vec<Rule> {
    let name = section.path("rules");
    let is_inherited = !section.has("rules");
    let Some(node) = section.node("rules") else { return Vec::new() };
    let Some(array) = node.get_ref().as_array() else {
        faults.at(&node.span(), wanted(&name, node.get_ref(), "an array of rules, each a table with `then`"));
        return Vec::new();
    };
    let rules = array.iter().filter_map(|node| read_rule(verb, is_inherited, &name, node, faults));
    rules.collect()
}

fn read_rule<V: Ruled>(
    verb: V,
    is_inherited: bool,
    name: &str,
    node: Node<'_, '_>,
    faults: &mut Faults<'_>,
) -> Option<Rule> {
    let mut section = Section::of(node, name, faults)?;
    let before = faults.count();
    let then = section.text("then", faults);
    let mut rule = Rule::new(RuleOutcome::Ok);
    rule.exit = integers(&mut section, "exit", 0..=255, faults);
    rule.signal = integers(&mut section, "signal", 1..=64, faults);
    rule.is_timeout = is_said(&mut section, "timeout", faults);
    rule.is_spawn_error = is_said(&mut section, "spawn_error", faults);
    rule.is_truncated = is_said(&mut section, "truncated", faults);
    rule.stdout = regex(&mut section, "stdout", faults);
    rule.stderr = regex(&mut section, "stderr", faults);
    let span = section.span.clone();
    if then.is_none() && !section.has("then") {
        faults.at(&span, format!("{name}: a rule needs `then`, the outcome that it decides"));
    }
    section.finish(faults);
    let then = then?;
    match parse_outcome(verb, &then.value) {
        Ok(outcome) => rule.then = outcome,
        // A rule of poll that a search has no use for.
        Err(_) if is_inherited && then.value.parse::<RuleOutcome>().is_ok() => return None,
        Err(error) => faults.at(&then.span, format!("{name}: {error}")),
    }
    if faults.count() > before {
        return None;
    }
    rule.check(verb).map_err(|error| faults.at(&span, format!("{name}: {error}"))).ok()?;
    Some(rule)
}

/// One whole number or several.
fn integers(
    section: &mut Section<'_, '_>,
    key: &'static str,
    range: std::ops::RangeInclusive<i64>,
    faults: &mut Faults<'_>,
) -> Vec<i32> {
    let name = section.path(key);
    let Some(node) = section.node(key) else { return Vec::new() };
    let nodes: Vec<Node<'_, '_>> = match node.get_ref().as_array() {
        Some(array) => array.iter().collect(),
        None => vec![node],
    };
    let mut numbers = Vec::new();
    for node in nodes {
        let number = integer_of(node).filter(|number| range.contains(number));
        match number.and_then(|number| i32::try_from(number).ok()) {
            Some(number) => numbers.push(number),
            None => {
                let right = format!("a whole number from {} to {}, or an array of such,", range.start(), range.end());
                faults.at(&node.span(), wanted(&name, node.get_ref(), &right));
            }
        }
    }
    numbers
}

/// A condition that is either said or left out.
fn is_said(section: &mut Section<'_, '_>, key: &'static str, faults: &mut Faults<'_>) -> bool {
    let Some(said) = section.truth(key, faults) else { return false };
    if !said.value {
        faults.at(&said.span, format!("{key} = false is no condition: leave it out"));
    }
    said.value
}

fn regex(section: &mut Section<'_, '_>, key: &'static str, faults: &mut Faults<'_>) -> Option<regex::Regex> {
    let source = section.text(key, faults)?;
    compile_regex(&source.value)
        .map_err(|error| faults.at(&source.span, format!("{}: {error}", section.path(key))))
        .ok()
}
