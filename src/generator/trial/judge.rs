//! What an answer about one reference means: about a stranger's, which must be unknown, and about one of our own.

use super::{Known, Tried};
use crate::finding::Finding;
use crate::generator::Job;
use crate::generator::extract::{Output, Source};
use crate::generator::interpret;
use crate::generator::rules::{classify, describe, excerpt};
use crate::generator::spec::StateSpec;
use crate::task::outcome::{FetchAnswer, JobState, PollAnswer, RuleOutcome, Verb};

/// A poll by name of a reference that nobody gave.
pub fn poll_of_a_stranger(tried: &Tried<'_>) -> Finding {
    let subject = tried.subject();
    match interpret::poll_one_answer(tried.spec, tried.result) {
        PollAnswer::Missing { .. } => {
            Finding::ok(subject, format!("says of an unknown reference that it is missing ({})", tried.summary()))
        }
        PollAnswer::State { theirs, .. } => Finding::error(
            subject,
            format!("tells a state ({theirs:?}) of a reference that nobody gave: a lost job would not be noticed"),
            tried.suggested_rule(RuleOutcome::Missing),
        ),
        PollAnswer::Unavailable(why) if tried.is_unavailable_by_rule() => tried.unavailable(&why),
        PollAnswer::Unavailable(_) | PollAnswer::Unreadable(_) => no_rule_for_missing(tried),
    }
}

fn no_rule_for_missing(tried: &Tried<'_>) -> Finding {
    let (out, err) = (Output::new(&tried.result.stdout), Output::new(&tried.result.stderr));
    let said = describe(tried.result, Some(&out), &err);
    let found = format!("no rule says \"missing\" of the answer to an unknown reference ({said})");
    Finding::warning(tried.subject(), found, tried.suggested_rule(RuleOutcome::Missing))
}

/// A poll by name of one of our jobs.
pub fn poll_of_ours(tried: &Tried<'_>, state: &StateSpec, known: &Known) -> Finding {
    let subject = tried.subject();
    let task = &known.job.task.id;
    match interpret::poll_one_answer(tried.spec, tried.result) {
        PollAnswer::State { theirs, .. } => {
            Finding::ok(subject, format!("says {theirs:?} of the job of {task} ({})", tried.summary()))
        }
        PollAnswer::Missing { .. } if known.is_live => Finding::warning(
            subject,
            format!("does not know the job of {task}, which should go on there"),
            format!("`contentctl history {task}` tells what was seen of it"),
        ),
        PollAnswer::Missing { .. } => {
            Finding::ok(subject, format!("has forgotten the job of {task}, which has ended ({})", tried.summary()))
        }
        PollAnswer::Unavailable(why) => tried.unavailable(&why),
        PollAnswer::Unreadable(why) => unreadable_state(tried, state, &why),
    }
}

fn unreadable_state(tried: &Tried<'_>, state: &StateSpec, why: &str) -> Finding {
    let out = Output::new(&tried.result.stdout);
    match state.state.filled_text(Source::Output(&out)) {
        Ok(theirs) if !tried.spec.states.contains_key(&theirs) => {
            let theirs = excerpt(&theirs);
            Finding::error(
                tried.subject(),
                format!("its state {theirs:?} is not known here"),
                map_it(tried, &[theirs.as_str()]),
            )
        }
        _ => Finding::error(
            tried.subject(),
            excerpt(why),
            format!("let {} name where the state stands", tried.key("state")),
        ),
    }
}

/// How unknown states are made known.
pub fn map_it(tried: &Tried<'_>, theirs: &[&str]) -> String {
    let known: Vec<_> = JobState::ALL.iter().map(|state| state.as_str()).collect();
    let lines: Vec<_> = theirs.iter().map(|theirs| format!("{theirs:?} = …")).collect();
    format!("add to [generators.{}.states]: {}, each one of {}", tried.spec.name, lines.join(", "), known.join(" "))
}

/// A fetch of a reference that nobody gave.
pub fn fetch_of_a_stranger(tried: &Tried<'_>, stranger: &Job) -> Finding {
    let subject = tried.subject();
    match interpret::fetch_answer(tried.spec, stranger, tried.result) {
        FetchAnswer::Missing { .. } => {
            Finding::ok(subject, format!("says of an unknown reference that it is missing ({})", tried.summary()))
        }
        FetchAnswer::NotReady => {
            Finding::ok(subject, format!("has no piece of an unknown reference yet ({})", tried.summary()))
        }
        FetchAnswer::Piece(piece) => {
            let bytes = piece.content.len();
            Finding::error(
                subject,
                format!(
                    "gives a piece ({bytes} bytes) for a reference that nobody gave: any text would be taken for one"
                ),
                format!(
                    "let {} match a piece alone, or {}",
                    tried.key("content"),
                    tried.suggested_rule(RuleOutcome::Missing)
                ),
            )
        }
        FetchAnswer::Unavailable(why) if tried.is_unavailable_by_rule() => tried.unavailable(&why),
        FetchAnswer::Unavailable(_) | FetchAnswer::Unreadable { .. } => no_rule_for_missing(tried),
    }
}

/// A cancel of a reference that nobody gave.
pub fn cancel_of_a_stranger(tried: &Tried<'_>) -> Finding {
    let subject = tried.subject();
    let (out, err) = (Output::new(&tried.result.stdout), Output::new(&tried.result.stderr));
    let verdict = classify(Verb::Cancel, &tried.call.rules, tried.result, &out, &err);
    match verdict.outcome {
        Some(RuleOutcome::Missing) => {
            Finding::ok(subject, format!("says of an unknown reference that it is missing ({})", tried.summary()))
        }
        Some(RuleOutcome::Refused) => {
            Finding::ok(subject, format!("refuses to cancel an unknown reference ({})", tried.summary()))
        }
        Some(RuleOutcome::Ok) => Finding::warning(
            subject,
            "says that it cancelled a job that nobody made: its ok cannot be trusted as the proof of an end",
            format!("{}; or let the program exit with another status", tried.suggested_rule(RuleOutcome::Missing)),
        ),
        _ if tried.is_unavailable_by_rule() => tried.unavailable(&verdict.why),
        _ => no_rule_for_missing(tried),
    }
}
