//! What a list shows: whether its rows can be read, which states they are in, how its pages turn, and what a search proves.

use std::collections::BTreeSet;

use serde_json::Value;

use super::judge::map_it;
use super::{Known, Tried};
use crate::finding::Finding;
use crate::generator::extract::{Output, Source};
use crate::generator::interpret::read_time;
use crate::generator::rules::{classify, excerpt};
use crate::generator::spec::{BatchSpec, StateSpec};
use crate::task::outcome::{FindAnswer, RuleOutcome, Verb};

/// How many unknown states are named.
const NAMED: usize = 5;

/// The rows of a page, or what is wrong with it.
pub fn rows(tried: &Tried<'_>, batch: &BatchSpec) -> Result<Vec<Value>, Finding> {
    let (out, err) = (Output::new(&tried.result.stdout), Output::new(&tried.result.stderr));
    let verdict = classify(Verb::Poll, &tried.call.rules, tried.result, &out, &err);
    match verdict.outcome {
        Some(RuleOutcome::Ok) => {}
        Some(RuleOutcome::Missing) => return Ok(Vec::new()),
        _ if tried.is_unavailable_by_rule() => return Err(tried.unavailable(&verdict.why)),
        _ => {
            let cure = format!("run it by hand; mend {} or the program", tried.key("run"));
            return Err(Finding::error(tried.subject(), format!("the list was not given: {}", verdict.why), cure));
        }
    }
    batch.items.items(Source::Output(&out)).map_err(|miss| {
        let cure = format!("let {} name the list in its output", tried.key("items"));
        Finding::error(tried.subject(), format!("no list can be read: {miss}"), cure)
    })
}

/// The references of rows; none where a row has none.
pub fn references(batch: &BatchSpec, rows: &[Value]) -> Vec<Option<String>> {
    rows.iter().map(|row| batch.key.filled_text(Source::Item(row)).ok()).collect()
}

/// One page of a batch poll. Without a complaint it is one line that says what was seen.
pub fn page(
    tried: &Tried<'_>,
    batch: &BatchSpec,
    job: &StateSpec,
    rows: &[Value],
    known: Option<&Known>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let nameless = references(batch, rows).iter().filter(|reference| reference.is_none()).count();
    if nameless > 0 {
        let found = format!("{nameless} of {} rows have no reference: no job could ever be called missing", rows.len());
        let cure = format!("let {} name the reference in a row", tried.key("key"));
        findings.push(Finding::error(tried.subject(), found, cure));
    }
    findings.extend(states(tried, batch, job, rows, known));
    findings.extend(order(tried, batch, rows));
    findings.extend(length(tried, batch, rows));
    if findings.is_empty() {
        let what = match rows.len() {
            0 => "an empty list: no row could be held against the configuration".to_owned(),
            count => format!("{count} rows, each with a reference and a known state"),
        };
        findings.push(Finding::ok(tried.subject(), format!("{what} ({})", tried.summary())));
    }
    findings
}

fn states(
    tried: &Tried<'_>,
    batch: &BatchSpec,
    job: &StateSpec,
    rows: &[Value],
    known: Option<&Known>,
) -> Option<Finding> {
    let ours = known.and_then(|known| known.job.attempt.external_ref.as_deref());
    let mut unknown = BTreeSet::new();
    let (mut unread, mut mapped, mut is_ours) = (0, 0, false);
    for (row, reference) in rows.iter().zip(references(batch, rows)) {
        match job.state.filled_text(Source::Item(row)).map(|theirs| excerpt(&theirs)) {
            Ok(theirs) if tried.spec.states.contains_key(&theirs) => mapped += 1,
            Ok(theirs) => {
                is_ours |= reference.is_some() && reference.as_deref() == ours;
                unknown.insert(theirs);
            }
            Err(_) => unread += 1,
        }
    }
    if unread > 0 {
        let found = format!("{unread} of {} rows have no state", rows.len());
        let cure = format!("let {} name the state in a row", tried.key("state"));
        return Some(Finding::error(tried.subject(), found, cure));
    }
    let named: Vec<&str> = unknown.iter().map(String::as_str).take(NAMED).collect();
    if named.is_empty() {
        return None;
    }
    let list = named.iter().map(|theirs| format!("{theirs:?}")).collect::<Vec<_>>().join(", ");
    let found = format!("states that are not known here: {list}; a job in one of them seems to stand still");
    let finding = match mapped == 0 || is_ours {
        true => Finding::error(tried.subject(), found, map_it(tried, &named)),
        false => Finding::warning(tried.subject(), found, map_it(tried, &named)),
    };
    Some(finding)
}

fn order(tried: &Tried<'_>, batch: &BatchSpec, rows: &[Value]) -> Option<Finding> {
    let created = batch.created_newest_first.as_ref()?;
    let times: Option<Vec<_>> =
        rows.iter().map(|row| created.value(Source::Item(row)).ok().and_then(|value| read_time(&value))).collect();
    let Some(times) = times else {
        let found = "a row has no time of creation that can be read: no sweep can end early";
        let cure = format!("let {} name one with an offset (RFC 3339) or a number", tried.key("created"));
        return Some(Finding::warning(tried.subject(), found, cure));
    };
    if times.windows(2).all(|pair| pair[0] >= pair[1]) {
        return None;
    }
    let found = "the newest rows do not come first, and a sweep that believes so could miss a job that is there";
    let cure = format!("remove {} and {}, or sort the list there", tried.key("order"), tried.key("created"));
    Some(Finding::error(tried.subject(), found, cure))
}

fn length(tried: &Tried<'_>, batch: &BatchSpec, rows: &[Value]) -> Option<Finding> {
    let wanted = batch.page_rows? as usize;
    if rows.len() > wanted {
        let found = format!("{} rows came where {wanted} were asked for: the limit is ignored", rows.len());
        let cure = format!("pass {{batch_limit}} in {}, or remove {}", tried.key("run"), tried.key("batch"));
        return Some(Finding::warning(tried.subject(), found, cure));
    }
    let is_blind = rows.len() == wanted && !batch.has_pages && batch.created_newest_first.is_none();
    is_blind.then(|| {
        let found = format!("the page is full ({wanted} rows) and there is no second one: older jobs cannot be seen");
        let cure = format!("pass {{batch_offset}} in {}, or raise {}", tried.key("run"), tried.key("batch"));
        Finding::warning(tried.subject(), found, cure)
    })
}

/// The second page beside a full first one: the same rows again mean that the offset is ignored.
pub fn second_page(tried: &Tried<'_>, batch: &BatchSpec, first: &[Value], second: &[Value]) -> Finding {
    let (first, second) = (references(batch, first), references(batch, second));
    if !second.is_empty() && first == second {
        let found = "the second page is the first one again: the offset is ignored, and older jobs are never seen";
        return Finding::error(tried.subject(), found, format!("pass {{batch_offset}} in {}", tried.key("run")));
    }
    Finding::ok(tried.subject(), format!("its pages turn: {} more rows on the second", second.len()))
}

/// A search for a key that nobody has.
pub fn search(tried: &Tried<'_>, answer: &FindAnswer, pages: u32) -> Finding {
    let (subject, pages_key) = (tried.subject(), tried.key("max_pages"));
    match answer {
        FindAnswer::None { is_complete: true } => Finding::ok(
            subject,
            format!("proves in {pages} pages that no job carries a random key ({})", tried.summary()),
        ),
        FindAnswer::None { is_complete: false } => Finding::warning(
            subject,
            format!(
                "{pages} pages do not reach the end of the list: no absence can be proved, and lost submits end held"
            ),
            format!("raise {pages_key}, or give order = \"newest\" and created"),
        ),
        FindAnswer::One { reference } => found_a_stranger(tried, std::slice::from_ref(reference)),
        FindAnswer::Several(references) => found_a_stranger(tried, references),
        FindAnswer::Unavailable(why) if tried.is_unavailable_by_rule() => tried.unavailable(why),
        FindAnswer::Unavailable(why) => {
            let cure = format!("run it by hand; mend {} or the program", tried.key("run"));
            Finding::error(subject, format!("the list was not given: {}", excerpt(why)), cure)
        }
        FindAnswer::Unreadable(why) => Finding::error(
            subject,
            excerpt(why),
            format!("let {} and {} name fields that each row has", tried.key("match"), tried.key("key")),
        ),
    }
}

fn found_a_stranger(tried: &Tried<'_>, references: &[String]) -> Finding {
    let list = references.iter().take(NAMED).map(|reference| format!("{reference:?}")).collect::<Vec<_>>().join(", ");
    let found = format!("finds jobs for a key that nobody has ({list}): it would adopt somebody else's job");
    Finding::error(tried.subject(), found, format!("make {} so that only the whole key matches", tried.key("mark")))
}
