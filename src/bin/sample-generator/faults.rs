//! The misbehaviour switches: what each is called, which verbs it touches, and when it fires.
//!
//! A switch is written `[VERB:]NAME[=VALUE]`, or `NAME-once` for `NAME=1`. Switches come from three places, all in force
//! at once: the environment (`SAMPLE_FAULTS`), a file `faults` in the sample's directory (read at every call, so that a
//! test can turn a switch under a running daemon), and marks in the topic (`[sample:fail-once]`).
//!
//! The surprise: for most switches the value is *how many times* they fire (for each topic, or each key where a verb knows
//! no topic); for `exit`, `slow-start`, `huge-output` and `seconds` it is an amount, and they always fire.

use std::str::FromStr;

use crate::Verb;

/// One way of misbehaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Fail,
    Cancelled,
    Reject,
    Retry,
    Unavailable,
    Hang,
    HangBeforeAccept,
    HangAfterAccept,
    AcceptThenDie,
    Double,
    BadJson,
    EmptyOutput,
    Noise,
    HalfCharacter,
    HugeOutput,
    Missing,
    Stuck,
    UnknownState,
    NotReady,
    UnreadableResult,
    RefuseCancel,
    IgnoreTerm,
    ForkGrandchild,
    SlowStart,
    Killed,
    Exit,
    Seconds,
}

/// Every switch: the fault, its name, what it does. `list-faults` and `--help` print this table.
pub const TABLE: &[(Fault, &str, &str)] = &[
    (Fault::Fail, "fail", "the job ends failed when its time is over; `write` exits 1"),
    (Fault::Cancelled, "cancelled", "the job says `cancelled` though nobody asked for that"),
    (Fault::Reject, "reject", "create, write: exit 65, `rejected: …`, no job"),
    (Fault::Retry, "retry", "create, write: exit 73, `try again: …`, no job"),
    (Fault::Unavailable, "unavailable", "any verb: exit 75, `unavailable: …`, nothing done"),
    (Fault::Hang, "hang", "any verb: never answers, nothing done (name the verb: `status:hang`)"),
    (Fault::HangBeforeAccept, "hang-before-accept", "create, write: never answers, no job"),
    (Fault::HangAfterAccept, "hang-after-accept", "create, write: the job is made and paid, then no answer ever"),
    (Fault::AcceptThenDie, "accept-then-die", "create, write: the job is made and paid, then garbage and exit 1"),
    (Fault::Double, "double", "create: two jobs are made and paid; `list` shows both"),
    (Fault::BadJson, "bad-json", "create, status, result, list: half a JSON document, exit 0"),
    (Fault::EmptyOutput, "empty-output", "any verb: the work is done, nothing is printed, exit 0"),
    (Fault::Noise, "noise", "any verb: banners and coloured log lines around the answer, some on stderr"),
    (Fault::HalfCharacter, "half-character", "any verb: a multi-byte character cut in half in the output"),
    (Fault::HugeOutput, "huge-output", "any verb: VALUE MiB (64) of filler before the answer"),
    (Fault::Missing, "missing", "status, result, cancel: `unknown task`, exit 1; list leaves the job out"),
    (Fault::Stuck, "stuck", "the job says `processing` for ever; `write` never ends"),
    (Fault::UnknownState, "unknown-state", "status, list: the state is a word nobody has heard of"),
    (Fault::NotReady, "not-ready", "result of a completed job: exit 1, `not ready: …`"),
    (Fault::UnreadableResult, "unreadable-result", "result: prose instead of JSON, exit 0"),
    (Fault::RefuseCancel, "refuse-cancel", "cancel: exit 1, `refused: …`, the job goes on"),
    (Fault::IgnoreTerm, "ignore-term", "any verb: SIGTERM is ignored; matters with hang and write"),
    (Fault::ForkGrandchild, "fork-grandchild", "create, write: a grandchild keeps stdin and the outputs open"),
    (Fault::SlowStart, "slow-start", "any verb: VALUE seconds (5) pass before anything else"),
    (Fault::Killed, "killed", "any verb: dies of SIGKILL before anything is done"),
    (Fault::Exit, "exit", "any verb: exits with status VALUE (1) before anything is done"),
    (Fault::Seconds, "seconds", "create, write: this job takes VALUE seconds (no fault, but handy beside them)"),
];

impl Fault {
    /// The name it is switched on by.
    pub fn name(self) -> &'static str {
        TABLE.iter().find(|(fault, ..)| *fault == self).map_or("?", |(_, name, _)| name)
    }

    /// Whether its value is an amount rather than how often it fires.
    pub fn takes_amount(self) -> bool {
        matches!(self, Self::SlowStart | Self::Exit | Self::HugeOutput | Self::Seconds)
    }
}

/// A switch that is on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Switch {
    /// What it does.
    pub fault: Fault,
    /// The only verb it touches; none means every verb that knows the fault.
    pub verb: Option<Verb>,
    /// An amount, or how many times it fires; see [`Fault::takes_amount`].
    pub value: Option<f64>,
}

/// A switch that cannot be read: the text names the value and the cure.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault {0:?} is not known: write [VERB:]NAME[=VALUE] with a name from `sample-generator list-faults`")]
pub struct UnknownFault(pub String);

impl FromStr for Switch {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault(text.to_owned());
        let (name, value) = match text.trim().split_once('=') {
            Some((name, value)) => (name, Some(value.parse::<f64>().map_err(|_| unknown())?)),
            None => (text.trim(), None),
        };
        if value.is_some_and(|value| !value.is_finite() || value < 0.0) {
            return Err(unknown());
        }
        let (verb, name) = match name.split_once(':') {
            Some((verb, name)) => (Some(Verb::from_name(verb).ok_or_else(unknown)?), name),
            None => (None, name),
        };
        let (name, value) = match name.strip_suffix("-once") {
            Some(name) => (name, Some(1.0)),
            None => (name, value),
        };
        let (fault, ..) = TABLE.iter().find(|(_, known, _)| *known == name).ok_or_else(unknown)?;
        Ok(Self { fault: *fault, verb, value })
    }
}

/// Reads a list of switches: separated by commas or line ends, or a JSON array of strings, or a JSON object from a verb to
/// such an array.
pub fn parse_list(text: &str) -> Result<Vec<Switch>, UnknownFault> {
    let text = text.trim();
    if !text.starts_with(['[', '{']) {
        return text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty()).map(str::parse).collect();
    }
    let unknown = || UnknownFault(text.to_owned());
    let json: serde_json::Value = serde_json::from_str(text).map_err(|_| unknown())?;
    let strings = |list: &serde_json::Value, prefix: &str| -> Result<Vec<Switch>, UnknownFault> {
        let list = list.as_array().ok_or_else(unknown)?;
        list.iter().map(|item| format!("{prefix}{}", item.as_str().unwrap_or("?")).parse()).collect()
    };
    match json.as_object() {
        None => strings(&json, ""),
        Some(by_verb) => {
            let lists = by_verb.iter().map(|(verb, list)| strings(list, &format!("{verb}:")));
            Ok(lists.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        }
    }
}

/// Splits a topic into what a reader sees and the switches that its `[sample:…]` marks turn on. A mark holds one switch or
/// several with commas between them.
pub fn split_topic(topic: &str) -> Result<(String, Vec<Switch>), UnknownFault> {
    let (mut seen, mut switches, mut rest) = (String::new(), Vec::new(), topic);
    while let Some((before, after)) = rest.split_once("[sample:") {
        let Some((mark, behind)) = after.split_once(']') else { break };
        switches.extend(parse_list(mark)?);
        seen.push_str(before);
        rest = behind;
    }
    seen.push_str(rest);
    Ok((seen.split_whitespace().collect::<Vec<_>>().join(" "), switches))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_and_is_unique() {
        for (fault, name, _) in TABLE {
            assert_eq!(name.parse::<Switch>().map(|switch| switch.fault), Ok(*fault));
            assert_eq!(fault.name(), *name);
        }
    }

    #[test]
    fn a_list_is_commas_lines_an_array_or_an_object() {
        let expected: Vec<Switch> = vec!["status:bad-json".parse().unwrap(), "status:hang=2".parse().unwrap()];
        assert_eq!(parse_list("status:bad-json, status:hang=2").unwrap(), expected);
        assert_eq!(parse_list("status:bad-json\nstatus:hang=2\n").unwrap(), expected);
        assert_eq!(parse_list(r#"["status:bad-json","status:hang=2"]"#).unwrap(), expected);
        assert_eq!(parse_list(r#"{"status":["bad-json","hang=2"]}"#).unwrap(), expected);
        for bad in ["nonsense", "fail=x", "fail=-1", "nobody:fail", "{", "[1]", r#"{"status":"hang"}"#] {
            assert!(parse_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn marks_leave_the_topic_and_turn_switches_on() {
        let (seen, switches) = split_topic("Tea [sample:fail-once] in [sample:noise,seconds=0.5] Yunnan").unwrap();
        assert_eq!(seen, "Tea in Yunnan");
        assert_eq!(switches, parse_list("fail=1,noise,seconds=0.5").unwrap());
        assert_eq!(split_topic("an open [sample:fail").unwrap().0, "an open [sample:fail");
    }
}
