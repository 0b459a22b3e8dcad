//! Rules: what the end of a call is called, before anything is extracted from it.
//!
//! The conditions of a rule hold together, the first rule that matches decides, and without one exit 0 is ok and
//! everything else is doubt. It must not say what an outcome means; that is [`crate::task::outcome`]. The surprise: a
//! call that never started made no job for certain, so it is `unavailable` even for a submit.

use regex::Regex;
use thiserror::Error;

use super::call::{CallEnd, CallResult};
use super::extract::Output;
use crate::task::outcome::{RuleOutcome, Verb};

/// Characters that an error text keeps.
pub const EXCERPT_CHARS: usize = 500;

/// What is wrong with a rule as it stands in the configuration.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RuleError {
    /// An outcome that the verb cannot have.
    #[error("{verb} cannot come to {outcome:?}: write one of {allowed}")]
    WrongOutcome {
        /// The verb.
        verb: Verb,
        /// The outcome.
        outcome: String,
        /// What would be right.
        allowed: String,
    },
    /// A rule that would match everything.
    #[error("a rule needs a condition: exit, signal, timeout, spawn_error, truncated, stdout or stderr")]
    NoCondition,
    /// A rule that cannot match anything.
    #[error("exit, signal, timeout and spawn_error exclude each other: a call ends in one way only")]
    Contradiction,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The exit statuses it names; none is any end.
    pub exit: Vec<i32>,
    /// The signals it names.
    pub signal: Vec<i32>,
    /// It names calls that were ended at their time limit.
    pub is_timeout: bool,
    /// It names calls that could not be started.
    pub is_spawn_error: bool,
    /// It names calls whose output was cut.
    pub is_truncated: bool,
    /// What standard output must match, colours taken away.
    pub stdout: Option<Regex>,
    /// What standard error must match, colours taken away.
    pub stderr: Option<Regex>,
    /// What it calls the outcome.
    pub then: RuleOutcome,
}

impl Rule {
    /// A rule without conditions, to be filled in.
    pub fn new(then: RuleOutcome) -> Self {
        Self {
            exit: Vec::new(),
            signal: Vec::new(),
            is_timeout: false,
            is_spawn_error: false,
            is_truncated: false,
            stdout: None,
            stderr: None,
            then,
        }
    }

    /// Whether the rule can stand at this verb.
    pub fn check(&self, verb: Verb) -> Result<(), RuleError> {
        parse_outcome(verb, self.then.as_str())?;
        let ends = [!self.exit.is_empty(), !self.signal.is_empty(), self.is_timeout, self.is_spawn_error];
        let count = ends.iter().filter(|is_named| **is_named).count();
        if count > 1 {
            return Err(RuleError::Contradiction);
        }
        if count == 0 && !self.is_truncated && self.stdout.is_none() && self.stderr.is_none() {
            return Err(RuleError::NoCondition);
        }
        Ok(())
    }

    fn matches(&self, call: &CallResult, stdout: &Output, stderr: &Output) -> bool {
        let is_end = match &call.end {
            _ if self.exit.is_empty() && self.signal.is_empty() && !self.is_timeout && !self.is_spawn_error => true,
            CallEnd::Exited(status) => self.exit.contains(status),
            CallEnd::Signalled(signal) => self.signal.contains(signal),
            CallEnd::TimedOut => self.is_timeout,
            CallEnd::NotStarted(_) => self.is_spawn_error,
        };
        is_end
            && (!self.is_truncated || call.is_truncated)
            && self.stdout.as_ref().is_none_or(|regex| regex.is_match(stdout.text()))
            && self.stderr.as_ref().is_none_or(|regex| regex.is_match(stderr.text()))
    }

    /// The line that made the rule match, as the reason; of a piece only what the rule asked for.
    fn quoted<'t>(&self, verb: Verb, stdout: &'t Output, stderr: &'t Output) -> Option<&'t str> {
        let line = |regex: &Option<Regex>, output: &'t Output, is_whole: bool| {
            let text = output.text();
            let found = regex.as_ref()?.find(text)?;
            if !is_whole {
                return Some(found.as_str());
            }
            let start = text[..found.start()].rfind('\n').map_or(0, |at| at + 1);
            let end = text[found.start()..].find('\n').map_or(text.len(), |at| found.start() + at);
            Some(&text[start..end.max(start)])
        };
        let said = line(&self.stderr, stderr, true).or_else(|| line(&self.stdout, stdout, !verb.writes_a_piece()));
        said.filter(|line| !line.trim().is_empty())
    }
}

/// The outcome that a text names, if it is one of this verb's.
pub fn parse_outcome(verb: Verb, text: &str) -> Result<RuleOutcome, RuleError> {
    let allowed = verb.rule_outcomes();
    let found = text.parse::<RuleOutcome>().ok().filter(|outcome| allowed.contains(outcome));
    found.ok_or_else(|| RuleError::WrongOutcome {
        verb,
        outcome: text.to_owned(),
        allowed: allowed.iter().map(|outcome| outcome.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// What a call is called, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The outcome; none is a blocking run that ended badly.
    pub outcome: Option<RuleOutcome>,
    /// The reason in a sentence, bounded and without control characters.
    pub why: String,
}

/// The first rule that names the end of a call.
pub fn matching<'r>(rules: &'r [Rule], call: &CallResult, stdout: &Output, stderr: &Output) -> Option<&'r Rule> {
    rules.iter().find(|rule| rule.matches(call, stdout, stderr))
}

/// Classifies a call.
pub fn classify(verb: Verb, rules: &[Rule], call: &CallResult, stdout: &Output, stderr: &Output) -> Verdict {
    let matched = matching(rules, call, stdout, stderr);
    // A piece is for those who may read pieces, and a reason for everybody: what was written where a piece is written is not
    // quoted, but for what a rule of the configuration names.
    let shown = (!verb.writes_a_piece()).then_some(stdout);
    if let Some(rule) = matched {
        let why = match rule.quoted(verb, stdout, stderr) {
            Some(line) => excerpt(line),
            None => describe(call, shown, stderr),
        };
        return Verdict { outcome: Some(rule.then), why };
    }
    let outcome = match &call.end {
        CallEnd::Exited(0) => Some(RuleOutcome::Ok),
        CallEnd::NotStarted(_) => Some(RuleOutcome::Unavailable),
        CallEnd::Exited(_) | CallEnd::Signalled(_) | CallEnd::TimedOut => verb.default_failure(),
    };
    Verdict { outcome, why: describe(call, shown, stderr) }
}

/// How the call ended and the end of what it wrote, for people; without `stdout` where that is not for all of them.
pub fn describe(call: &CallResult, stdout: Option<&Output>, stderr: &Output) -> String {
    let end = match &call.end {
        CallEnd::Exited(status) => format!("exit status {status}"),
        CallEnd::Signalled(signal) => format!("ended by signal {signal}"),
        CallEnd::TimedOut => "no answer within the time limit".to_owned(),
        CallEnd::NotStarted(why) => return excerpt(why),
    };
    let said = [Some(stderr), stdout].into_iter().flatten().map(Output::text).find(|text| !text.trim().is_empty());
    match said {
        Some(text) => format!("{end}: {}", last_part(text)),
        None if stdout.is_none() => format!("{end}, and nothing was written to standard error"),
        None => format!("{end}, and nothing was written"),
    }
}

/// The end of a text: that is where programs say what went wrong.
fn last_part(text: &str) -> String {
    let keep = EXCERPT_CHARS - 50;
    let trimmed = text.trim_end();
    let start = trimmed.char_indices().rev().nth(keep - 1).map_or(0, |(at, _)| at);
    excerpt(&trimmed[start..])
}

/// The beginning of an untrusted text for people: bounded, on one line, without control characters and without
/// those that turn the direction of writing.
pub fn excerpt(text: &str) -> String {
    let mut out = String::new();
    let mut left = EXCERPT_CHARS;
    let mut is_gap = false;
    for character in text.chars() {
        let is_turning =
            matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_whitespace() || character.is_control() || is_turning {
            is_gap = !out.is_empty();
            continue;
        }
        if left <= usize::from(is_gap) {
            out.push('…');
            return out;
        }
        if std::mem::take(&mut is_gap) {
            out.push(' ');
            left -= 1;
        }
        out.push(character);
        left -= 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::extract::compile_regex;
    use proptest::prelude::*;

    fn call(end: CallEnd, stderr: &str) -> CallResult {
        CallResult { end, stdout: Vec::new(), stderr: stderr.into(), is_truncated: false }
    }

    fn verdict(verb: Verb, rules: &[Rule], call: &CallResult) -> Verdict {
        classify(verb, rules, call, &Output::new(&call.stdout), &Output::new(&call.stderr))
    }

    #[test]
    fn without_a_rule_everything_but_exit_0_is_doubt() {
        for (verb, expected) in [
            (Verb::Submit, Some(RuleOutcome::Ambiguous)),
            (Verb::Run, None),
            (Verb::Poll, Some(RuleOutcome::Unavailable)),
            (Verb::Cancel, Some(RuleOutcome::Unavailable)),
        ] {
            for end in [CallEnd::Exited(1), CallEnd::Signalled(9), CallEnd::TimedOut] {
                assert_eq!(verdict(verb, &[], &call(end, "")).outcome, expected);
            }
            assert_eq!(verdict(verb, &[], &call(CallEnd::Exited(0), "x")).outcome, Some(RuleOutcome::Ok));
            let never = verdict(verb, &[], &call(CallEnd::NotStarted("no /x: install it".into()), ""));
            assert_eq!(never, Verdict { outcome: Some(RuleOutcome::Unavailable), why: "no /x: install it".into() });
        }
    }

    #[test]
    fn a_reason_quotes_no_piece() {
        let canary = "the end of a piece";
        let mut rule = Rule::new(RuleOutcome::Unavailable);
        rule.stdout = Some(compile_regex("end of").unwrap());
        for verb in [Verb::Run, Verb::Fetch, Verb::Poll, Verb::Submit] {
            for rules in [&[][..], std::slice::from_ref(&rule)] {
                let wrote = CallResult { stdout: canary.into(), ..call(CallEnd::Exited(1), "") };
                let why = verdict(verb, rules, &wrote).why;
                assert_eq!(why.contains(canary), !verb.writes_a_piece(), "{verb}: {why}");
            }
        }
    }

    #[test]
    fn conditions_hold_together_and_the_first_rule_decides() {
        let mut strict = Rule::new(RuleOutcome::Rejected);
        strict.exit = vec![2, 3];
        strict.stderr = Some(compile_regex("bad topic").unwrap());
        let mut loose = Rule::new(RuleOutcome::Retry);
        loose.stderr = Some(compile_regex("bad").unwrap());
        let rules = [strict, loose];
        let outcome = |end, text| verdict(Verb::Submit, &rules, &call(end, text));
        let rejected = outcome(CallEnd::Exited(3), "noise\n\u{1b}[31mbad topic: x\u{1b}[0m\nmore");
        assert_eq!(rejected, Verdict { outcome: Some(RuleOutcome::Rejected), why: "bad topic: x".into() });
        assert_eq!(outcome(CallEnd::Exited(4), "bad topic").outcome, Some(RuleOutcome::Retry));
        assert_eq!(outcome(CallEnd::TimedOut, "bad topic").outcome, Some(RuleOutcome::Retry));
        assert_eq!(outcome(CallEnd::Exited(3), "fine").outcome, Some(RuleOutcome::Ambiguous));
    }

    #[test]
    fn every_kind_of_end_can_be_named() {
        let mut timeout = Rule::new(RuleOutcome::Unavailable);
        timeout.is_timeout = true;
        let mut signal = Rule::new(RuleOutcome::Retry);
        signal.signal = vec![15];
        let mut cut = Rule::new(RuleOutcome::Rejected);
        cut.is_truncated = true;
        let mut spawn = Rule::new(RuleOutcome::Retry);
        spawn.is_spawn_error = true;
        let rules = [timeout, signal, cut, spawn];
        let outcome = |end| verdict(Verb::Submit, &rules, &call(end, "")).outcome;
        assert_eq!(outcome(CallEnd::TimedOut), Some(RuleOutcome::Unavailable));
        assert_eq!(outcome(CallEnd::Signalled(15)), Some(RuleOutcome::Retry));
        assert_eq!(outcome(CallEnd::Signalled(9)), Some(RuleOutcome::Ambiguous));
        assert_eq!(outcome(CallEnd::NotStarted("x".into())), Some(RuleOutcome::Retry));
        let mut long = call(CallEnd::Exited(0), "");
        long.is_truncated = true;
        assert_eq!(verdict(Verb::Submit, &rules, &long).outcome, Some(RuleOutcome::Rejected));
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        let mut rule = Rule::new(RuleOutcome::Missing);
        assert_eq!(rule.check(Verb::Poll), Err(RuleError::NoCondition));
        rule.exit = vec![1];
        assert_eq!(rule.check(Verb::Poll), Ok(()));
        let text = rule.check(Verb::Submit).unwrap_err().to_string();
        assert_eq!(text, "submit cannot come to \"missing\": write one of ok, retry, rejected, unavailable, ambiguous");
        rule.is_timeout = true;
        assert_eq!(rule.check(Verb::Poll), Err(RuleError::Contradiction));
    }

    proptest! {
        #[test]
        fn an_excerpt_is_short_and_clean(text in any::<String>()) {
            let long = text.repeat(40);
            let short = excerpt(&long);
            prop_assert!(short.chars().count() <= EXCERPT_CHARS + 1);
            prop_assert!(!short.chars().any(char::is_control));
        }

        #[test]
        fn a_description_is_bounded(text in any::<String>(), status in any::<i32>()) {
            let text = describe_of(&text.repeat(30), status);
            prop_assert!(text.chars().count() <= EXCERPT_CHARS + 1);
        }
    }

    fn describe_of(stderr: &str, status: i32) -> String {
        let call = call(CallEnd::Exited(status), stderr);
        describe(&call, Some(&Output::new(&call.stdout)), &Output::new(&call.stderr))
    }
}
