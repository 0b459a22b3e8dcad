//! The trial of a generator: which calls are made, and in which order.
//!
//! It never submits, never asks about a job of ours with anything but a poll, and never cancels a reference that any
//! generator gave. The surprise: the random reference has the form of a UUID. A number would be one that exists.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::super::call::CallResult;
use super::super::interpret::FindSweep;
use super::super::spec::{CallSpec, Page};
use super::super::template::MAX_ARG_BYTES;
use super::super::trial::{Subjects, Trial, Tried, judge, lists};
use super::Inner;
use crate::finding::{Finding, Severity};

impl Inner {
    /// What can be seen without a call.
    pub(super) fn preflight(&self) -> Vec<Finding> {
        let subject = self.subject();
        let prefix = format!("generators.{}: ", self.spec.name);
        let faults = self.faults();
        let mut findings: Vec<Finding> = faults
            .iter()
            .map(|fault| Finding::of_fault(subject.clone(), fault.strip_prefix(&prefix).unwrap_or(fault)))
            .collect();
        let Ok(cwd) = self.working_directory() else { return findings };
        if faults.is_empty() {
            let count = self.spec.secrets.len();
            let secrets =
                if count == 0 { "it needs no secret".to_owned() } else { format!("{count} secrets readable") };
            findings
                .push(Finding::ok(subject.clone(), format!("program found; {secrets}; works in {}", cwd.display())));
        }
        if cwd.is_dir() && rustix::fs::access(&cwd, rustix::fs::Access::WRITE_OK).is_err() {
            let found = format!("its working directory {} cannot be written by the daemon's user", cwd.display());
            let cure = "if it keeps files there: chown it to the daemon's user; under systemd also ReadWritePaths= in a drop-in";
            findings.push(Finding::warning(subject, found, cure));
        }
        findings
    }

    fn subject(&self) -> String {
        format!("generator {}", self.spec.name)
    }

    pub(super) fn try_out(&self, subjects: &Subjects, hang_up: BorrowedFd<'_>) -> Trial {
        let mut trial = Trial { findings: self.preflight(), calls: 0 };
        trial.findings.push(self.rehearse_submit(subjects));
        if trial.findings.iter().any(|finding| finding.severity == Severity::Error) {
            let found = "no verb was called: what is wrong above comes first";
            trial.findings.push(Finding::warning(self.subject(), found, "mend that, then try again"));
            return trial;
        }
        if !self.spec.is_blocking() {
            self.try_batch(subjects, hang_up, &mut trial);
            self.try_poll_by_name(subjects, hang_up, &mut trial);
            self.try_find(subjects, hang_up, &mut trial);
            self.try_fetch(subjects, hang_up, &mut trial);
            self.try_cancel(subjects, hang_up, &mut trial);
        }
        self.calls.forget(&subjects.stranger.attempt.key);
        if let Some(known) = subjects.known.as_ref().filter(|known| !known.is_live) {
            self.calls.forget(&known.job.attempt.key);
        }
        trial
    }

    /// Fills the submit in for a sample task and looks at it. It is never run.
    fn rehearse_submit(&self, subjects: &Subjects) -> Finding {
        let subject = format!("{} submit", self.spec.name);
        let rendered = match self.render(&self.spec.submit.call, &subjects.stranger) {
            Ok(rendered) => rendered,
            Err(why) => return Finding::of_fault(subject, &why),
        };
        let longest = rendered.argv.iter().map(String::len).max().unwrap_or(0);
        let mut text = CallResult::not_started("");
        text.stdout = masked(&rendered.argv).into_bytes();
        self.secrets.read_available().redact(&mut text);
        let command = String::from_utf8_lossy(&text.stdout);
        let found = format!(
            "would run, and was not run: {command} (longest argument {longest} bytes of {MAX_ARG_BYTES}, {} private files)",
            rendered.files.len()
        );
        Finding::ok(subject, found)
    }

    fn tried<'a>(&'a self, call: &'a CallSpec, result: &'a CallResult, began: Instant) -> Tried<'a> {
        Tried { spec: &self.spec, call, result, took: began.elapsed() }
    }

    fn try_batch(&self, subjects: &Subjects, hang_up: BorrowedFd<'_>, trial: &mut Trial) {
        let Some((poll, batch)) = self.spec.batch_poll() else { return };
        let mut first = Vec::new();
        let limit = batch.page_rows.unwrap_or(0);
        for offset in [0, limit] {
            trial.calls += 1;
            let began = Instant::now();
            let result = self.unnoted_page(&poll.call, None, Page { limit, offset }, hang_up);
            let tried = self.tried(&poll.call, &result, began);
            let (findings, is_readable) = tried.of_the_call();
            trial.findings.extend(findings);
            if !is_readable {
                return;
            }
            let rows = match lists::rows(&tried, batch) {
                Ok(rows) => rows,
                Err(finding) => return trial.findings.push(finding),
            };
            if offset > 0 {
                return trial.findings.push(lists::second_page(&tried, batch, &first, &rows));
            }
            trial.findings.extend(lists::page(&tried, batch, &poll.job, &rows, subjects.known.as_ref()));
            if !batch.has_pages || limit == 0 || rows.len() != limit as usize {
                return;
            }
            first = rows;
        }
    }

    fn try_poll_by_name(&self, subjects: &Subjects, hang_up: BorrowedFd<'_>, trial: &mut Trial) {
        let Some(poll) = self.spec.poll_by_name() else { return };
        trial.calls += 1;
        let began = Instant::now();
        let result = self.call_about(&poll.call, &subjects.stranger, hang_up);
        let tried = self.tried(&poll.call, &result, began);
        let (findings, is_readable) = tried.of_the_call();
        trial.findings.extend(findings);
        if !is_readable {
            return;
        }
        trial.findings.push(judge::poll_of_a_stranger(&tried));
        let Some(known) = &subjects.known else { return };
        trial.calls += 1;
        let began = Instant::now();
        let result = self.call_about(&poll.call, &known.job, hang_up);
        let tried = self.tried(&poll.call, &result, began);
        let (findings, is_readable) = tried.of_the_call();
        trial.findings.extend(findings);
        if is_readable {
            trial.findings.push(judge::poll_of_ours(&tried, &poll.job, known));
        }
    }

    fn try_find(&self, subjects: &Subjects, hang_up: BorrowedFd<'_>, trial: &mut Trial) {
        let Some(find) = &self.spec.find else { return };
        let about = find.is_per_job.then_some(&subjects.stranger);
        let mut sweep = FindSweep::new(self.spec.clone(), vec![subjects.stranger.clone()]);
        let (mut pages, mut last) = (0, None);
        while let Some(page) = sweep.next_page() {
            trial.calls += 1;
            pages += 1;
            let began = Instant::now();
            let result = self.unnoted_page(&find.call, about, page, hang_up);
            let (findings, is_readable) = self.tried(&find.call, &result, began).of_the_call();
            trial.findings.extend(findings);
            if !is_readable {
                return;
            }
            sweep.take(&result);
            last = Some((result, began));
        }
        let answer = sweep.finish().answers.pop();
        if let (Some((result, began)), Some((_, answer))) = (&last, answer) {
            trial.findings.push(lists::search(&self.tried(&find.call, result, *began), &answer, pages));
        }
    }

    fn try_fetch(&self, subjects: &Subjects, hang_up: BorrowedFd<'_>, trial: &mut Trial) {
        let Some(fetch) = &self.spec.fetch else { return };
        let began = Instant::now();
        let result = self.call_about(&fetch.call, &subjects.stranger, hang_up);
        let tried = self.tried(&fetch.call, &result, began);
        let (findings, is_readable) = tried.of_the_call();
        trial.findings.extend(findings);
        if is_readable {
            trial.findings.push(judge::fetch_of_a_stranger(&tried, &subjects.stranger));
        }
    }

    fn try_cancel(&self, subjects: &Subjects, hang_up: BorrowedFd<'_>, trial: &mut Trial) {
        let Some(cancel) = &self.spec.cancel else { return };
        let began = Instant::now();
        let result = self.call_about(cancel, &subjects.stranger, hang_up);
        let tried = self.tried(cancel, &result, began);
        let (findings, is_readable) = tried.of_the_call();
        trial.findings.extend(findings);
        if is_readable {
            trial.findings.push(judge::cancel_of_a_stranger(&tried));
        }
    }
}

/// A command as a shell would take it; the values of options that sound like secrets are left out, because people put them
/// there all the same.
fn masked(argv: &[String]) -> String {
    let mut words = Vec::new();
    let mut is_secret = false;
    for argument in argv {
        let word = match argument.split_once('=') {
            _ if std::mem::take(&mut is_secret) => "[masked]".to_owned(),
            Some((name, _)) if sounds_secret(name) => format!("{name}=[masked]"),
            Some(_) => argument.clone(),
            None => {
                is_secret = argument.starts_with('-') && sounds_secret(argument);
                argument.clone()
            }
        };
        let is_plain = |c: char| c.is_alphanumeric() || "-_./:=,@+[]".contains(c);
        let needs_quotes = word.is_empty() || !word.chars().all(is_plain);
        words.push(if needs_quotes { format!("'{}'", word.replace('\'', "'\\''")) } else { word });
    }
    words.join(" ")
}

/// Whether an option's name is one that people pass secrets by. `--keywords` and `--task-id` are none.
fn sounds_secret(option: &str) -> bool {
    let name = option.trim_start_matches('-').to_ascii_lowercase();
    let is_one_of = |word: &str| ["key", "token", "secret", "password", "passwd", "credential"].contains(&word);
    option.starts_with('-') && name.split(['-', '_']).any(is_one_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_without_what_sounds_secret() {
        let argv = ["gen", "--api-key=abc", "--token", "t0k", "--keywords=a,b", "it's", ""].map(str::to_owned);
        assert_eq!(masked(&argv), r"gen --api-key=[masked] --token [masked] --keywords=a,b 'it'\''s' ''");
    }
}
