//! One call with its switches: which fire, and what they do to the call and to its answer.
//!
//! The verbs do the honest work and ask here; everything dishonest is in this file. The surprise: a hang is bounded by
//! `SAMPLE_HANG_SECONDS`, then the call exits 1, so that a test that forgets a process does not leave it for ever.

use std::io::{self, Write as _};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::faults::{self, Fault, Switch};
use super::store::{Locked, Store};
use super::{Settings, Verb};

/// What a call prints and how it exits.
pub struct Answer {
    stdout: Vec<u8>,
    stderr: String,
    exit: u8,
}

impl Answer {
    /// Success, with a text on standard output.
    pub fn ok(stdout: String) -> Self {
        Self { stdout: stdout.into_bytes(), stderr: String::new(), exit: 0 }
    }

    /// Anything else: a status and one line on standard error.
    pub fn no(exit: u8, line: impl std::fmt::Display) -> Self {
        Self { stdout: Vec::new(), stderr: format!("{line}\n"), exit }
    }

    /// Writes it out. A reader that has gone away is no error of ours.
    pub fn print(self) -> io::Result<ExitCode> {
        let written = io::stdout().write_all(&self.stdout).and_then(|()| io::stdout().flush());
        match written.and_then(|()| io::stderr().write_all(self.stderr.as_bytes())) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(ExitCode::from(self.exit)),
        }
    }
}

/// One call: the verb, its subject, the switches that are on.
pub struct Call<'a> {
    /// Where the jobs are.
    pub store: Store,
    settings: &'a Settings,
    verb: Verb,
    /// What a limited switch is counted for.
    subject: String,
    switches: Vec<Switch>,
}

impl<'a> Call<'a> {
    /// Opens the store and reads the switches of the environment and the file.
    pub fn new(settings: &'a Settings, verb: Verb, subject: &str) -> io::Result<Self> {
        let store = Store::open(&settings.dir)?;
        let mut switches = faults::parse_list(&settings.faults).map_err(io::Error::other)?;
        switches.extend(faults::parse_list(&store.faults()).map_err(io::Error::other)?);
        Ok(Self { store, settings, verb, subject: subject.to_owned(), switches })
    }

    /// Turns on what the topic's marks say.
    pub fn with(mut self, more: Vec<Switch>) -> Self {
        self.switches.extend(more);
        self
    }

    /// The amount of a switch that is on, or its default.
    pub fn amount(&self, fault: Fault, default: f64) -> Option<f64> {
        self.matching(fault).map(|switch| switch.value.unwrap_or(default)).next()
    }

    /// Whether a switch is on at all, without counting a use.
    pub fn is_on(&self, fault: Fault) -> bool {
        self.matching(fault).next().is_some()
    }

    /// Whether a switch fires now; a limited one is counted.
    pub fn fires(&self, locked: &Locked<'_>, fault: Fault) -> io::Result<bool> {
        for switch in self.matching(fault) {
            let Some(limit) = switch.value.filter(|_| !fault.takes_amount()) else { return Ok(true) };
            let used = locked.count(&format!("{}\0{}\0{}", fault.name(), self.verb.name(), self.subject))?;
            // A count beyond 2^53 is out of reach, so nothing is lost in the comparison.
            if (used as f64) < limit {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn matching(&self, fault: Fault) -> impl Iterator<Item = &Switch> {
        self.switches.iter().filter(move |s| s.fault == fault && s.verb.is_none_or(|verb| verb == self.verb))
    }

    /// What goes wrong before the verb has done anything. `Some` is the whole answer.
    pub fn begin(&self) -> io::Result<Option<Answer>> {
        if self.is_on(Fault::IgnoreTerm) {
            signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::new(AtomicBool::new(false)))?;
        }
        if let Some(seconds) = self.amount(Fault::SlowStart, 5.0) {
            sleep(seconds);
        }
        let (is_killed, is_unavailable, is_hanging) = {
            let locked = self.store.lock()?;
            let fires = |fault| self.fires(&locked, fault);
            (fires(Fault::Killed)?, fires(Fault::Unavailable)?, fires(Fault::Hang)?)
        };
        if is_killed {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
        }
        if let Some(code) = self.amount(Fault::Exit, 1.0) {
            // Saturating: a status above 255 does not exist.
            return Ok(Some(Answer::no(code as u8, format!("exit: told to exit {code}"))));
        }
        if is_unavailable {
            return Ok(Some(Answer::no(75, "unavailable: nobody is at home just now")));
        }
        if is_hanging {
            return Ok(Some(self.hang()));
        }
        Ok(None)
    }

    /// What keeps a job from being made: `create` and `write`. `Some` is the whole answer.
    pub fn before_accept(&self) -> io::Result<Option<Answer>> {
        let (is_rejected, is_retry, is_hanging) = {
            let locked = self.store.lock()?;
            let fires = |fault| self.fires(&locked, fault);
            (fires(Fault::Reject)?, fires(Fault::Retry)?, fires(Fault::HangBeforeAccept)?)
        };
        if is_rejected {
            return Ok(Some(Answer::no(65, "rejected: this topic is not for us")));
        }
        if is_retry {
            return Ok(Some(Answer::no(73, "try again: no job was made")));
        }
        Ok(is_hanging.then(|| self.hang()))
    }

    /// What goes wrong once a job is made and paid: `create` and `write`. `Some` is the whole answer.
    pub fn after_accept(&self) -> io::Result<Option<Answer>> {
        let (is_forking, is_hanging, is_dying) = {
            let locked = self.store.lock()?;
            let fires = |fault| self.fires(&locked, fault);
            (fires(Fault::ForkGrandchild)?, fires(Fault::HangAfterAccept)?, fires(Fault::AcceptThenDie)?)
        };
        if is_forking {
            let hang = self.settings.hang_seconds.to_string();
            Command::new(std::env::current_exe()?).args(["linger", "--hang-seconds", &hang]).spawn()?;
        }
        if is_hanging {
            return Ok(Some(self.hang()));
        }
        if is_dying {
            let mut answer = Answer::no(1, "Segmentation fault (core dumped), or something like it");
            answer.stdout = b"\x00\x01{\"taskId\": \x1b[31m[[[\xff".to_vec();
            return Ok(Some(answer));
        }
        Ok(None)
    }

    /// Never answers, as far as anybody can wait.
    pub fn hang(&self) -> Answer {
        sleep(self.settings.hang_seconds);
        Answer::no(1, "hung for as long as SAMPLE_HANG_SECONDS says")
    }

    /// Spoils the answer's text as the switches say.
    pub fn dress(&self, mut answer: Answer) -> io::Result<Answer> {
        let locked = self.store.lock()?;
        let has_json = !matches!(self.verb, Verb::Write | Verb::Cancel);
        if has_json && answer.exit == 0 && self.fires(&locked, Fault::BadJson)? {
            answer.stdout.truncate(answer.stdout.len() / 2);
        }
        if answer.exit == 0 && self.fires(&locked, Fault::HalfCharacter)? {
            cut_a_character(&mut answer.stdout);
        }
        if self.fires(&locked, Fault::EmptyOutput)? {
            answer = Answer::ok(String::new());
        }
        if self.fires(&locked, Fault::Noise)? {
            answer.stdout = [NOISE_BEFORE.as_bytes(), &answer.stdout, NOISE_AFTER.as_bytes()].concat();
            answer.stderr = format!("- thinking...\n\u{1b}[32m✔\u{1b}[39m thought\n{}", answer.stderr);
        }
        if let Some(mebibytes) = self.amount(Fault::HugeOutput, 64.0) {
            // At most 4 GiB, whatever was asked: a filler is no reason to fill a disk.
            let lines = (mebibytes.min(4096.0) * 1024.0 * 1024.0 / FILLER.len() as f64) as usize;
            let mut huge = FILLER.repeat(lines).into_bytes();
            huge.append(&mut answer.stdout);
            answer.stdout = huge;
        }
        Ok(answer)
    }
}

const NOISE_BEFORE: &str = "\
========================================\n\
Configuration Loaded Successfully {\"not\": \"the answer\"}\n\
========================================\n\
{\"level\":\"info\",\"message\":\"this is a log line and not the answer\"}\n\
[\u{1b}[32minfo\u{1b}[39m]: [Sample] a colour in a pipe {\"context\":\"Sample\"}\n";
const NOISE_AFTER: &str = "[\u{1b}[32minfo\u{1b}[39m]: [Sample] closing {\"context\":\"Sample\"}\n{ \"half\": [\n";
const FILLER: &str =
    "2026-01-01 00:00:00 [info]: nothing to see here, and a great deal of it {\"context\":\"Filler\"}\n";

/// Puts two bytes of a three-byte character behind the first line, which for a piece is its title.
fn cut_a_character(stdout: &mut Vec<u8>) {
    let end_of_line =
        stdout.windows(2).position(|pair| pair == b"\\n").or_else(|| stdout.iter().position(|b| *b == b'\n'));
    let at = end_of_line.unwrap_or(stdout.len());
    stdout.splice(at..at, *b"\xe4\xb8");
}

/// Sleeps, to the end, through signals that do not kill.
pub fn sleep(seconds: f64) {
    std::thread::sleep(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
}
