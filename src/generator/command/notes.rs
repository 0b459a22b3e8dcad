//! What a call wrote to standard error, told to the log of its task and to the journal once its end was read.
//!
//! It must not be given standard output, which holds pieces, nor anything before its secrets were taken out. A call about many
//! tasks is nobody's: it goes to the journal alone, for debugging. The surprise: secrets that cannot be read cannot be taken out
//! either, so what was written without them is kept back. A run may have been given others than those of today.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};

use log::Level;

use super::super::Job;
use super::super::call::{CallEnd, CallResult};
use super::super::log::{LogEntry, bounded};
use super::super::run::directory::SECRETS;
use super::Inner;
use super::secrets::{Given, Secrets};
use crate::events::{About, Kind};
use crate::task::AttemptKey;
use crate::task::outcome::{CancelAnswer, FetchAnswer, PollAnswer, RunReport, SubmitAnswer, Verb};
use crate::tell;
use crate::text::safe_lines;

/// How much of a call's text stands in the journal.
const JOURNAL_BYTES: usize = 8 << 10;

/// What a call came to, in a word, and whether it went well and clearly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Judged {
    outcome: Option<&'static str>,
    is_good: bool,
}

/// Of a run of which nobody wrote how it ended.
pub(super) const LOST: Judged = bad("lost");

const fn good(outcome: &'static str) -> Judged {
    Judged { outcome: Some(outcome), is_good: true }
}

const fn bad(outcome: &'static str) -> Judged {
    Judged { outcome: Some(outcome), is_good: false }
}

pub(super) fn of_submit(answer: &SubmitAnswer) -> Judged {
    match answer {
        SubmitAnswer::Accepted { .. } => good("accepted"),
        SubmitAnswer::Rejected(_) => bad("rejected"),
        SubmitAnswer::Retry(_) => bad("retry"),
        SubmitAnswer::Unavailable(_) => bad("unavailable"),
        SubmitAnswer::Ambiguous(_) => bad("unclear"),
        SubmitAnswer::NeverCalled(_) => bad("not called"),
    }
}

pub(super) fn of_poll(answer: &PollAnswer) -> Judged {
    match answer {
        PollAnswer::State { state, .. } => good(state.as_str()),
        PollAnswer::Unreadable(_) => bad("unreadable"),
        PollAnswer::Unavailable(_) => bad("unavailable"),
        PollAnswer::Missing { .. } => bad("missing"),
    }
}

pub(super) fn of_fetch(answer: &FetchAnswer) -> Judged {
    match answer {
        FetchAnswer::Piece(_) => good("piece"),
        FetchAnswer::NotReady => good("not ready"),
        FetchAnswer::Missing { .. } => bad("missing"),
        FetchAnswer::Unreadable { .. } => bad("unreadable"),
        FetchAnswer::Unavailable(_) => bad("unavailable"),
    }
}

pub(super) fn of_cancel(answer: &CancelAnswer) -> Judged {
    match answer {
        CancelAnswer::Ok => good("cancelled"),
        CancelAnswer::Refused(_) => bad("refused"),
        CancelAnswer::Unclear(_) => bad("unclear"),
    }
}

pub(super) fn of_run(report: &RunReport) -> Judged {
    match report {
        RunReport::Piece(_) => good("piece"),
        RunReport::Starting | RunReport::Started { .. } | RunReport::Running => good("running"),
        RunReport::NeverStarted(_) => bad("not started"),
        RunReport::NoPiece { .. } => bad("no piece"),
        RunReport::Rejected(_) => bad("rejected"),
        RunReport::Failed(_) => bad("failed"),
        RunReport::Unavailable(_) => bad("unavailable"),
        RunReport::Ambiguous { .. } => bad("unclear"),
        RunReport::Lost { .. } => LOST,
        RunReport::Interrupted(_) => bad("interrupted"),
        RunReport::Killed => bad("cancelled"),
        RunReport::Terminated(_) => bad("stopped from outside"),
    }
}

/// Of one page of several, whose answer is not known yet.
pub(super) fn of_end(end: &CallEnd) -> Judged {
    Judged { outcome: None, is_good: *end == CallEnd::Exited(0) }
}

/// How a call ended, in a few words.
pub(super) fn end_of(end: &CallEnd) -> String {
    match end {
        CallEnd::Exited(code) => format!("exit {code}"),
        CallEnd::Signalled(signal) => format!("signal {signal}"),
        CallEnd::TimedOut => "timed out".to_owned(),
        CallEnd::NotStarted(_) => "not started".to_owned(),
    }
}

impl Inner {
    /// Tells the log of a task and the journal what a call of it wrote. `result` has its secrets taken out.
    pub(super) fn note(&self, job: &Job, verb: Verb, result: &CallResult, judged: Judged) {
        self.note_as(job, verb, &end_of(&result.end), &result.stderr, judged);
    }

    fn note_as(&self, job: &Job, verb: Verb, end: &str, stderr: &[u8], judged: Judged) {
        if stderr.trim_ascii().is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(stderr);
        let level = if judged.is_good { Level::Debug } else { Level::Info };
        let about = About::job(&job.task, &job.attempt).verb(verb).is(Kind::GeneratorWrote);
        let outcome = judged.outcome.map(|outcome| format!(", {outcome}")).unwrap_or_default();
        tell!(level, about, "{verb} ({end}{outcome}) wrote:\n{}", for_journal(&text));
        let entry = LogEntry::now(job.attempt.number, verb, end, judged.outcome, text.into_owned());
        self.places.logs.put(&job.task.id, entry);
    }

    /// Of a call about many tasks: the journal alone, for debugging.
    pub(super) fn note_shared(&self, verb: Verb, result: &CallResult) {
        if result.stderr.trim_ascii().is_empty() {
            return;
        }
        let name = &self.spec.name;
        let text = String::from_utf8_lossy(&result.stderr);
        let about = About::generator(name).verb(verb);
        tell!(Level::Debug, about, "generator {name}: {verb} ({}) wrote:\n{}", end_of(&result.end), for_journal(&text));
    }

    /// Tells what a run wrote that has ended, once, whichever daemon finds it. With a `doubt` about its secrets that alone is
    /// told.
    pub(super) fn note_run(&self, job: &Job, result: &CallResult, end: &str, judged: Judged, doubt: Option<&str>) {
        let key = &job.attempt.key;
        if result.stderr.trim_ascii().is_empty() || !self.told().insert(key.clone()) || self.runs.is_told(key) {
            return;
        }
        match doubt {
            None => self.note_as(job, Verb::Run, end, &result.stderr, judged),
            Some(doubt) => self.note_as(job, Verb::Run, end, kept_back(doubt).as_bytes(), judged),
        }
        if let Err(error) = self.runs.mark_told(key) {
            log::debug!("run {key} could not be marked as told: {error}");
        }
    }

    /// The secrets that can be read now, and why they may not be those that the run was given, if so.
    pub(super) fn secrets_of_run(&self, key: &AttemptKey) -> (Secrets, Option<String>) {
        let secrets = self.secrets.read_available();
        let given = self.runs.read_note(key, SECRETS).map(|note| serde_json::from_slice::<Given>(&note));
        let is_known = match given {
            Some(Ok(given)) => secrets.cover(&given),
            Some(Err(_)) => false,
            // It was given none, or by a contentd that kept no such note.
            None => self.secrets.names.is_empty(),
        };
        let doubt = (!is_known).then(|| match self.secrets.read() {
            Err(why) => format!("a secret that could stand in it cannot be read: {why}"),
            Ok(_) => "a secret that could stand in it was changed since the run began".to_owned(),
        });
        (secrets, doubt)
    }

    /// Whether the log has what this run wrote.
    pub(super) fn is_told(&self, key: &AttemptKey) -> bool {
        self.told().contains(key) || self.runs.is_told(key)
    }

    pub(super) fn forget_told(&self, key: &AttemptKey) {
        self.told().remove(key);
    }

    fn told(&self) -> MutexGuard<'_, HashSet<AttemptKey>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands where the words of a run would.
pub(super) fn kept_back(doubt: &str) -> String {
    format!("(kept back, because {doubt})")
}

/// The same report without the run's own words, where a secret could stand in them. What it wrote to standard output is
/// the piece: it is paid for, and kept as it is.
pub(super) fn without_words(report: RunReport, end: &CallEnd, doubt: &str) -> RunReport {
    let fixed = format!("{}; what it wrote is kept back, because {doubt}", end_of(end));
    match report {
        RunReport::Rejected(_) => RunReport::Rejected(fixed),
        RunReport::Failed(_) => RunReport::Failed(fixed),
        RunReport::Unavailable(_) => RunReport::Unavailable(fixed),
        RunReport::NoPiece { raw, .. } => RunReport::NoPiece { why: fixed, raw },
        RunReport::Ambiguous { raw, .. } => RunReport::Ambiguous { why: fixed, raw },
        // Their words are ours, or there are none.
        RunReport::Starting
        | RunReport::Started { .. }
        | RunReport::NeverStarted(_)
        | RunReport::Running
        | RunReport::Piece(_)
        | RunReport::Lost { .. }
        | RunReport::Interrupted(_)
        | RunReport::Killed
        | RunReport::Terminated(_) => report,
    }
}

/// Harmless on a terminal and readable in the journal.
fn for_journal(text: &str) -> String {
    // Cut before too, so that megabytes are not looked at one by one; an escape is longer than what it stands for.
    bounded(&safe_lines(&bounded(text.trim_end(), JOURNAL_BYTES)), JOURNAL_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_to_the_journal_is_bounded_and_has_lines_and_no_control_characters() {
        let hostile = format!("first\n{}\u{1b}[31m\r\n\u{0}last\n\n", "x".repeat(1 << 20));
        let text = for_journal(&hostile);
        assert!(text.len() < JOURNAL_BYTES + 100, "{}", text.len());
        assert!(text.starts_with("first\n") && text.ends_with("\\u{1b}[31m\\r\n\\u{0}last"), "{text}");
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()));
    }

    #[test]
    fn only_what_went_well_and_clearly_is_good() {
        assert!(of_submit(&SubmitAnswer::Accepted { reference: "r".into(), vars: Default::default() }).is_good);
        assert!(!of_submit(&SubmitAnswer::Ambiguous("why".into())).is_good);
        assert!(!of_poll(&PollAnswer::Unreadable("why".into())).is_good);
        assert!(!of_run(&RunReport::Failed("why".into())).is_good);
        assert!(of_end(&CallEnd::Exited(0)).is_good && !of_end(&CallEnd::TimedOut).is_good);
    }
}
