//! Sweeps: one list, page after page, that answers for many jobs.
//!
//! A sweep is driven from outside: ask for [`PollSweep::next_page`], call, [`PollSweep::take`] the result, and
//! [`PollSweep::finish`] when there is no next page. The surprise: not seeing a job means little. Only a sweep that
//! saw every row that could have been the job says so, and a row that could not be read might have been it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Answered, CUT, Job, checked_reference, read_state};
use crate::generator::Sweep;
use crate::generator::call::CallResult;
use crate::generator::extract::{Extractor, Source};
use crate::generator::spec::{BatchSpec, CallSpec, GeneratorSpec, Page};
use crate::task::outcome::{FindAnswer, PollAnswer, RuleOutcome, Verb};
use crate::task::{TaskId, Timestamp};

/// Rows so much older than an intent cannot be its job, whatever the two clocks say.
const CLOCK_ALLOWANCE: Duration = Duration::from_secs(3600);

/// Why a sweep ended before its end.
#[derive(Clone, Debug)]
enum Fault {
    Unavailable(String),
    Unreadable(String),
}

/// The walk over the pages, the same for every question.
#[derive(Debug)]
struct Walk {
    verb: Verb,
    calls: u32,
    offset: u32,
    is_over: bool,
    /// A page came back short: no row is left.
    is_complete: bool,
    /// The creation of the last row of the last page.
    oldest: Option<Timestamp>,
    fault: Option<Fault>,
    /// A row that could not be read.
    lost_row: Option<String>,
}

impl Walk {
    fn new(verb: Verb) -> Self {
        Self {
            verb,
            calls: 0,
            offset: 0,
            is_over: false,
            is_complete: false,
            oldest: None,
            fault: None,
            lost_row: None,
        }
    }

    fn next_page(&self, batch: &BatchSpec) -> Option<Page> {
        (!self.is_over).then(|| Page { limit: batch.page_rows.unwrap_or(0), offset: self.offset })
    }

    /// The rows of a page.
    fn take(&mut self, call: &CallSpec, batch: &BatchSpec, result: &CallResult) -> Vec<Value> {
        self.calls += 1;
        let answered = Answered::new(self.verb, call, result);
        match answered.verdict.outcome {
            Some(RuleOutcome::Ok) => {}
            Some(RuleOutcome::Missing) => {
                // "I know none of them" is a page without rows.
                self.is_complete = true;
                self.is_over = true;
                return Vec::new();
            }
            _ => return self.fail(Fault::Unavailable(answered.verdict.why.clone())),
        }
        let rows = match batch.items.items(answered.source()) {
            Ok(rows) => rows,
            Err(miss) => return self.fail(Fault::Unreadable(answered.bad(&format!("no list: {miss}")))),
        };
        if result.is_truncated {
            // What was seen counts; what was not seen proves nothing.
            self.fail(Fault::Unreadable(answered.bad(CUT)));
            return rows;
        }
        self.turn_page(batch, &rows);
        rows
    }

    fn turn_page(&mut self, batch: &BatchSpec, rows: &[Value]) {
        let wanted = batch.page_rows.unwrap_or(u32::MAX);
        self.is_complete = u32::try_from(rows.len()).unwrap_or(u32::MAX) < wanted;
        self.is_over = self.is_complete || !batch.has_pages || self.calls >= batch.max_pages;
        self.offset = self.offset.saturating_add(wanted);
        if let (Some(created), Some(last)) = (&batch.created_newest_first, rows.last()) {
            self.oldest = created.value(Source::Item(last)).ok().and_then(|value| read_time(&value));
        }
    }

    fn fail(&mut self, fault: Fault) -> Vec<Value> {
        self.fault = Some(fault);
        self.is_over = true;
        Vec::new()
    }

    /// Whether every row that could be this job's has been seen, its own among them if it exists.
    fn has_covered(&self, job: &Job) -> bool {
        let cut = job.attempt.intended_at.minus(CLOCK_ALLOWANCE);
        self.lost_row.is_none() && (self.is_complete || self.oldest.is_some_and(|oldest| oldest < cut))
    }

    /// What is said of a job that was not seen, where its absence is not proved.
    fn fault(&self) -> Option<Fault> {
        if self.calls == 0 {
            return Some(Fault::Unavailable("the list was not asked for".to_owned()));
        }
        self.fault.clone().or_else(|| self.lost_row.clone().map(Fault::Unreadable))
    }
}

/// A time in a row: RFC 3339, or seconds or milliseconds since 1970. A text without an offset says nothing.
pub(crate) fn read_time(value: &Value) -> Option<Timestamp> {
    const FIRST_MILLISECONDS: f64 = 1e11;
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.trim().parse::<jiff::Timestamp>() {
            Ok(time) => return Some(Timestamp(time.as_millisecond())),
            Err(_) => text.trim().parse().ok(),
        },
        _ => None,
    };
    let number = number.filter(|number| number.is_finite() && *number > 0.0)?;
    let millis = if number < FIRST_MILLISECONDS { number * 1000.0 } else { number };
    // Saturates; a date beyond every date is no reason to stop early.
    Some(Timestamp(millis as i64))
}

fn row_reference(key: &Extractor, row: &Value) -> Result<String, String> {
    let text = key.filled_text(Source::Item(row)).map_err(|miss| format!("a row without a reference: {miss}"))?;
    checked_reference(&text)
}

/// One question about many jobs.
#[derive(Debug)]
pub struct PollSweep {
    spec: Arc<GeneratorSpec>,
    jobs: Vec<Job>,
    wanted: BTreeSet<String>,
    seen: BTreeMap<String, PollAnswer>,
    walk: Walk,
}

impl PollSweep {
    /// A sweep for these jobs. The generator must have a batch poll; without one nothing is asked.
    pub fn new(spec: Arc<GeneratorSpec>, jobs: Vec<Job>) -> Self {
        let wanted = jobs.iter().filter_map(|job| job.attempt.external_ref.clone()).collect();
        let mut sweep = Self { spec, jobs, wanted, seen: BTreeMap::new(), walk: Walk::new(Verb::Poll) };
        sweep.stop_if_done();
        sweep
    }

    /// The page to ask for next, if any.
    pub fn next_page(&self) -> Option<Page> {
        self.walk.next_page(self.spec.batch_poll()?.1)
    }

    /// Takes in the page that was asked for.
    pub fn take(&mut self, result: &CallResult) {
        let spec = Arc::clone(&self.spec);
        let Some((poll, batch)) = spec.batch_poll() else { return };
        for row in self.walk.take(&poll.call, batch, result) {
            let reference = match row_reference(&batch.key, &row) {
                Ok(reference) => reference,
                Err(why) => {
                    self.walk.lost_row.get_or_insert(why);
                    continue;
                }
            };
            if self.wanted.contains(&reference) && !self.seen.contains_key(&reference) {
                self.seen.insert(reference, read_state(&spec, &poll.job, Source::Item(&row)));
            }
        }
        self.stop_if_done();
    }

    /// One answer a job.
    pub fn finish(self) -> Sweep<PollAnswer> {
        let answers = self.jobs.iter().map(|job| (job.task.id.clone(), self.answer(job))).collect();
        Sweep { answers, calls: self.walk.calls }
    }

    fn answer(&self, job: &Job) -> PollAnswer {
        let Some(reference) = job.attempt.external_ref.as_deref() else {
            return PollAnswer::Unreadable("the job has no reference to look for in the list".to_owned());
        };
        if let Some(answer) = self.seen.get(reference) {
            return answer.clone();
        }
        if self.walk.has_covered(job) {
            return PollAnswer::Missing { is_complete: true, by_name: false };
        }
        match self.walk.fault() {
            Some(Fault::Unavailable(why)) => PollAnswer::Unavailable(why),
            Some(Fault::Unreadable(why)) => PollAnswer::Unreadable(why),
            None => PollAnswer::Missing { is_complete: false, by_name: false },
        }
    }

    fn stop_if_done(&mut self) {
        let is_open = |job: &Job| match job.attempt.external_ref.as_deref() {
            Some(reference) => !self.seen.contains_key(reference) && !self.walk.has_covered(job),
            None => false,
        };
        if !self.jobs.iter().any(is_open) {
            self.walk.is_over = true;
        }
    }
}

/// A search for the jobs of attempts whose submit is in doubt.
#[derive(Debug)]
pub struct FindSweep {
    spec: Arc<GeneratorSpec>,
    jobs: Vec<Job>,
    keys: BTreeSet<String>,
    /// References by key. A row that is seen twice, because pages moved meanwhile, is one job.
    found: BTreeMap<String, BTreeSet<String>>,
    walk: Walk,
    rows: usize,
    rows_with_field: usize,
}

impl FindSweep {
    /// A search for these jobs; one at a time where [`crate::generator::spec::FindSpec::is_per_job`].
    pub fn new(spec: Arc<GeneratorSpec>, jobs: Vec<Job>) -> Self {
        let walk = Walk::new(Verb::Find);
        let keys = jobs.iter().map(|job| job.attempt.key.0.clone()).collect();
        let mut sweep = Self { spec, jobs, keys, found: BTreeMap::new(), walk, rows: 0, rows_with_field: 0 };
        sweep.walk.is_over = sweep.jobs.is_empty();
        sweep
    }

    /// The page to ask for next, if any.
    pub fn next_page(&self) -> Option<Page> {
        self.walk.next_page(&self.spec.find.as_ref()?.batch)
    }

    /// Takes in the page that was asked for.
    pub fn take(&mut self, result: &CallResult) {
        let spec = Arc::clone(&self.spec);
        let Some(find) = &spec.find else { return };
        for row in self.walk.take(&find.call, &find.batch, result) {
            self.rows += 1;
            let Ok(field) = find.field.text(Source::Item(&row)) else { continue };
            self.rows_with_field += 1;
            let is_wanted = |key: &str| self.keys.contains(key);
            let Some(key) = find.mark.last_key(&field, is_wanted).filter(|key| is_wanted(key)) else { continue };
            match row_reference(&find.batch.key, &row) {
                Ok(reference) => {
                    self.found.entry(key.to_owned()).or_default().insert(reference);
                }
                Err(why) => {
                    self.walk.lost_row.get_or_insert(why);
                }
            }
        }
        // A second match may stand behind the first: the walk ends only where no row can be ours any more.
        self.walk.is_over |= self.jobs.iter().all(|job| self.walk.has_covered(job));
    }

    /// One answer a job.
    pub fn finish(self) -> Sweep<FindAnswer> {
        let answers: Vec<(TaskId, FindAnswer)> =
            self.jobs.iter().map(|job| (job.task.id.clone(), self.answer(job))).collect();
        Sweep { answers, calls: self.walk.calls }
    }

    fn answer(&self, job: &Job) -> FindAnswer {
        let found = self.found.get(job.attempt.key.as_str());
        let references: Vec<String> = found.into_iter().flatten().cloned().collect();
        match &references[..] {
            [] => self.absence(job),
            [reference] => FindAnswer::One { reference: reference.clone() },
            _ => FindAnswer::Several(references),
        }
    }

    fn absence(&self, job: &Job) -> FindAnswer {
        if self.rows > 0 && self.rows_with_field == 0 {
            // A pointer to nowhere would prove every absence, and every job would be paid twice.
            let why = "no row has the field that `match` names: nothing can be proved with it";
            return FindAnswer::Unreadable(why.to_owned());
        }
        if self.walk.has_covered(job) {
            return FindAnswer::None { is_complete: true };
        }
        match self.walk.fault() {
            Some(Fault::Unavailable(why)) => FindAnswer::Unavailable(why),
            Some(Fault::Unreadable(why)) => FindAnswer::Unreadable(why),
            None => FindAnswer::None { is_complete: false },
        }
    }
}
