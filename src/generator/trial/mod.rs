//! The trial of a generator: each verb held against its contract, with nothing that costs money or changes a job.
//!
//! Pure judgement: the calls are made by the driver, and what came of them becomes findings here, each with the key of the
//! configuration that cures it. The surprise: most is learned from a reference that no generator ever gave. Whoever knows a
//! stranger's job would not notice that ours is gone.
//!
//! - [`judge`]: calls about one reference, and what an answer to a stranger means
//! - [`lists`]: pages of a batch poll, and searches

pub mod judge;
pub mod lists;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::Job;
use super::call::{CallEnd, CallResult};
use super::extract::Output;
use super::rules::{Rule, excerpt, matching};
use super::spec::{CallSpec, GeneratorSpec};
use crate::finding::Finding;
use crate::task::outcome::RuleOutcome;

/// Whom the verbs are asked about.
#[derive(Clone, Debug)]
pub struct Subjects {
    /// A made-up job with a random key and a random reference.
    pub stranger: Job,
    /// A job of ours that the generator has or had, with its reference.
    pub known: Option<Known>,
}

/// A job of ours.
#[derive(Clone, Debug)]
pub struct Known {
    /// The job.
    pub job: Job,
    /// It goes on; one that has ended may be forgotten by its generator.
    pub is_live: bool,
}

/// What a trial came to.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// What was found, in the order of trying.
    pub findings: Vec<Finding>,
    /// Polls and searches that it took, for the generator's call budget.
    pub calls: u32,
}

/// A call that was made, with what it was made for.
pub struct Tried<'a> {
    /// The generator.
    pub spec: &'a GeneratorSpec,
    /// The call as it is configured.
    pub call: &'a CallSpec,
    /// What came of it.
    pub result: &'a CallResult,
    /// How long it took.
    pub took: Duration,
}

impl Tried<'_> {
    /// What is being judged: `content-creator poll`.
    pub fn subject(&self) -> String {
        format!("{} {}", self.spec.name, self.call.verb)
    }

    /// The configuration's name of something of this verb: `generators.content-creator.poll.timeout`.
    pub fn key(&self, name: &str) -> String {
        format!("generators.{}.{}.{name}", self.spec.name, self.call.verb)
    }

    /// How the call went, in a few words.
    pub fn summary(&self) -> String {
        let end = match &self.result.end {
            CallEnd::Exited(status) => format!("exit status {status}"),
            CallEnd::Signalled(signal) => format!("signal {signal}"),
            CallEnd::TimedOut => "no answer".to_owned(),
            CallEnd::NotStarted(_) => "not started".to_owned(),
        };
        let (out, err) = (self.result.stdout.len(), self.result.stderr.len());
        format!("{end} after {} ms, {out} bytes of output, {err} of errors", self.took.as_millis())
    }

    /// What the call itself shows, whatever it was asked; whether its answer can be judged at all comes second.
    pub fn of_the_call(&self) -> (Vec<Finding>, bool) {
        let (subject, limit) = (self.subject(), self.call.timeout);
        let timeout_key = self.key("timeout");
        let finding = match &self.result.end {
            CallEnd::NotStarted(why) => return (vec![Finding::of_fault(subject, why)], false),
            CallEnd::TimedOut => {
                let found = format!("no answer within {} s; it was ended", seconds(limit));
                let cure = format!("run it by hand and see what it waits for, or raise {timeout_key}");
                return (vec![Finding::error(subject, found, cure)], false);
            }
            CallEnd::Signalled(signal) => {
                let found = format!("signal {signal} ended it");
                let cure = "run it by hand; a signal that is not ours is a crash, or the system was out of memory";
                return (vec![Finding::error(subject, found, cure)], false);
            }
            CallEnd::Exited(_) if self.result.is_truncated => {
                let found = "its output was cut: it was too long, or a process that it left behind went on writing";
                let cure = format!("let {} ask for less, or the program end its children", self.key("run"));
                Some(Finding::warning(subject, found, cure))
            }
            CallEnd::Exited(_) if self.took * 2 > limit => {
                let found = format!("took {} s of the {} s it may take", seconds(self.took), seconds(limit));
                Some(Finding::warning(subject, found, format!("raise {timeout_key}, or make the program quicker")))
            }
            CallEnd::Exited(_) => None,
        };
        (finding.into_iter().collect(), true)
    }

    /// The rule that names the end of the call.
    pub fn rule(&self) -> Option<&Rule> {
        let (out, err) = (Output::new(&self.result.stdout), Output::new(&self.result.stderr));
        matching(&self.call.rules, self.result, &out, &err)
    }

    /// Whether a rule says that nobody was there: then nothing else was learned.
    pub fn is_unavailable_by_rule(&self) -> bool {
        self.rule().is_some_and(|rule| rule.then == RuleOutcome::Unavailable)
    }

    /// Nobody was there.
    pub fn unavailable(&self, why: &str) -> Finding {
        Finding::warning(self.subject(), format!("is unavailable: {}", excerpt(why)), "mend it there, then try again")
    }

    /// The rule that would call an end like this one by a name, ready to be copied.
    pub fn suggested_rule(&self, outcome: RuleOutcome) -> String {
        let line = |bytes: &[u8]| {
            let text = Output::new(bytes).text().to_owned();
            text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(beginning)
        };
        let status = match self.result.end {
            CallEnd::Exited(status) if status != 0 => Some(format!("exit = {status}")),
            _ => None,
        };
        let words = line(&self.result.stderr).map(|line| ("stderr", line));
        let words = words.or_else(|| line(&self.result.stdout).map(|line| ("stdout", line)));
        // A rule whose text is no word would match everything, or nothing ever again.
        let words = words.filter(|(_, line)| line.chars().any(char::is_alphanumeric));
        let words = words.map(|(stream, line)| format!("{stream} = {:?}", regex::escape(&line)));
        let conditions: Vec<String> = status.into_iter().chain(words).collect();
        let (rules, then) = (self.key("rules"), outcome.as_str());
        if conditions.is_empty() {
            return format!(
                "let the program exit with a status of its own then, such as 4, and add to {rules}: {{ exit = 4, then = {then:?} }}"
            );
        }
        format!("add to {rules}: {{ {}, then = {then:?} }}", conditions.join(", "))
    }
}

/// The part of a line that is likely to be the same for another reference: what stands before a value. Ours has the form of a
/// UUID and our keys are as long without hyphens; both were made for this trial, and no program says them again.
fn beginning(line: &str) -> String {
    const CHARS: usize = 40;
    let before_value = line.split_once(": ").map_or(line, |(before, _)| before);
    let is_ours = |word: &str| word.chars().filter(char::is_ascii_hexdigit).count() >= 32;
    let before_ours = before_value
        .split_inclusive(|c: char| !(c.is_ascii_hexdigit() || c == '-'))
        .take_while(|part| !is_ours(part))
        .collect::<String>();
    before_ours.trim_end().chars().take(CHARS).collect()
}

/// Seconds as people read them.
pub fn seconds(span: Duration) -> String {
    let text = format!("{:.1}", span.as_secs_f64());
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}
