//! Watches one child process to its end: reads what it writes, stops its process group when it is time, reaps it.
//!
//! One thread, one `poll` loop, no runtime: the same code serves the daemon's short calls and the runner of detached
//! runs. It must not interpret anything. The surprise: the child is reaped **last**. Until then its process id, and
//! with it the id of its group, cannot be given to anybody else, so a signal to the group never hits a stranger.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdout, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid};

use super::super::call::CallEnd;

/// How long the pipes may stay open after the command itself has exited: a process that it left behind may hold them
/// for ever, and what the command wrote is in the pipe by then.
pub(crate) const LINGER: Duration = Duration::from_millis(500);
/// How long a killed process may take to go before it is left to a thread of its own (a dead disk can hold it).
const AFTER_KILL: Duration = Duration::from_secs(5);
/// How often the members of a group are looked for while it is being ended, and the leader where there is no pidfd.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
const CHUNK: usize = 64 * 1024;

/// Where one stream of a child goes. It takes everything; what does not fit is thrown away, so that the child never
/// blocks on a full pipe.
pub(crate) trait Sink {
    /// Takes the next bytes.
    fn take(&mut self, bytes: &[u8]);

    /// Called now and then while the child lives: for what could not be done with them at once.
    fn keep_up(&mut self) {}
}

/// What may end a child before it ends itself.
pub(crate) struct Stops<'a> {
    /// When its time is up.
    pub deadline: Option<Instant>,
    /// Readable or hung up as soon as nobody waits for the child any more.
    pub hang_up: Option<BorrowedFd<'a>>,
    /// Asked again and again: whether somebody wants the end.
    pub asked: Option<(Duration, Box<dyn Fn() -> bool + 'a>)>,
    /// How long after SIGTERM SIGKILL follows.
    pub grace: Duration,
}

/// Why a child was stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StopCause {
    /// Its time was up.
    Deadline,
    /// Nobody waits for it.
    HangUp,
    /// It was asked for.
    Asked,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The status; none if the process could not be reaped in time even after SIGKILL.
    pub status: Option<ExitStatus>,
    /// Whether and why it was stopped.
    pub stopped: Option<StopCause>,
    /// Whether all that was written was seen: the streams ended, or whoever kept them open had fallen silent.
    pub is_output_whole: bool,
}

impl Watched {
    /// The end in the words of a call.
    pub fn end(&self) -> CallEnd {
        match (self.stopped, self.status) {
            (Some(_), _) | (None, None) => CallEnd::TimedOut,
            (None, Some(status)) => end_of(status),
        }
    }
}

/// An exit status in the words of a call.
pub(crate) fn end_of(status: ExitStatus) -> CallEnd {
    match (status.code(), status.signal()) {
        (Some(code), _) => CallEnd::Exited(code),
        (None, Some(signal)) => CallEnd::Signalled(signal),
        (None, None) => CallEnd::Signalled(0),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// SIGTERM was sent; SIGKILL follows then.
    Ending(Instant),
    /// SIGKILL was sent; given up on then.
    Killed(Instant),
}

struct Watch<'a> {
    child: Child,
    group: Pid,
    pidfd: Option<OwnedFd>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    stops: Stops<'a>,
    phase: Phase,
    stopped: Option<StopCause>,
    exited_at: Option<Instant>,
    last_read_at: Option<Instant>,
    buffer: Vec<u8>,
}

/// Watches `child`, which must lead a process group of its own, until nothing is left to wait for. Does not return
/// before the child is reaped, except after a SIGKILL that does not work.
pub(crate) fn watch(mut child: Child, out: &mut dyn Sink, err: &mut dyn Sink, stops: Stops<'_>) -> Watched {
    let group = Pid::from_child(&child);
    let mut watch = Watch {
        group,
        pidfd: pidfd_open(group, PidfdFlags::empty()).ok(),
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
        child,
        stops,
        phase: Phase::Running,
        stopped: None,
        exited_at: None,
        last_read_at: None,
        buffer: vec![0; CHUNK],
    };
    while !watch.is_over() {
        watch.wait_and_read(out, err);
        out.keep_up();
        err.keep_up();
    }
    watch.reap()
}

impl Watch<'_> {
    /// Moves on what the clock moves, and says whether there is nothing more to wait for.
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        match self.phase {
            Phase::Running => match self.exited_at {
                Some(at) => self.are_pipes_ended() || now >= at + LINGER,
                None => {
                    match self.due_stop(now) {
                        // We may have been stopped ourselves, or had no processor, while it ended in good time.
                        Some(_) if self.has_exited() => self.exited_at = Some(now),
                        Some(cause) => self.begin_end(cause, now),
                        None => {}
                    }
                    false
                }
            },
            Phase::Ending(until) => {
                let is_gone = self.exited_at.is_some() && self.are_pipes_ended() && !has_members(self.group);
                if is_gone || now >= until {
                    // Also when it looks empty: a member may have been forked while we looked.
                    let _ = kill_process_group(self.group, Signal::KILL);
                    self.phase = Phase::Killed(now + AFTER_KILL);
                }
                false
            }
            Phase::Killed(until) => {
                let is_gone = self.exited_at.is_some_and(|at| self.are_pipes_ended() || now >= at + LINGER);
                is_gone || now >= until
            }
        }
    }

    fn are_pipes_ended(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }

    fn due_stop(&self, now: Instant) -> Option<StopCause> {
        if self.stops.deadline.is_some_and(|deadline| now >= deadline) {
            return Some(StopCause::Deadline);
        }
        let is_asked = self.stops.asked.as_ref().is_some_and(|(_, is_asked)| is_asked());
        is_asked.then_some(StopCause::Asked)
    }

    fn begin_end(&mut self, cause: StopCause, now: Instant) {
        self.stopped = Some(cause);
        let _ = kill_process_group(self.group, Signal::TERM);
        // A stopped process does not see SIGTERM before it goes on.
        let _ = kill_process_group(self.group, Signal::CONT);
        self.phase = Phase::Ending(now + self.stops.grace);
    }

    /// Waits until something happens or the next moment at which the clock moves something, then reads once from
    /// whatever has bytes: once, so that an endless writer cannot keep the clock from being looked at.
    fn wait_and_read(&mut self, out: &mut dyn Sink, err: &mut dyn Sink) {
        let timeout = self.next_timeout();
        let hang_up = self.stops.hang_up.filter(|_| self.phase == Phase::Running && self.exited_at.is_none());
        let pidfd = self.pidfd.as_ref().filter(|_| self.exited_at.is_none());
        let sources = [
            self.stdout.as_ref().map(AsFd::as_fd),
            self.stderr.as_ref().map(AsFd::as_fd),
            pidfd.map(AsFd::as_fd),
            hang_up,
        ];
        let ready = ready_of(&sources, timeout);
        if ready[0] || ready[1] {
            self.last_read_at = Some(Instant::now());
        }
        if ready[0] && has_ended(self.stdout.as_mut(), &mut self.buffer, out) {
            self.stdout = None;
        }
        if ready[1] && has_ended(self.stderr.as_mut(), &mut self.buffer, err) {
            self.stderr = None;
        }
        if self.exited_at.is_none() && (ready[2] || self.pidfd.is_none()) && self.has_exited() {
            self.exited_at = Some(Instant::now());
        }
        if ready[3] && self.phase == Phase::Running && self.exited_at.is_none() {
            self.begin_end(StopCause::HangUp, Instant::now());
        }
    }

    fn next_timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let left = |at: Instant| at.saturating_duration_since(now);
        let lingered = self.exited_at.map(|at| left(at + LINGER));
        let asked = self.stops.asked.as_ref().map(|(every, _)| *every);
        let blind = (self.pidfd.is_none() && self.exited_at.is_none()).then_some(LOOK_INTERVAL);
        let waits = match self.phase {
            Phase::Running if self.exited_at.is_some() => [lingered, None, None],
            Phase::Running => [self.stops.deadline.map(left), asked, blind],
            Phase::Ending(until) => {
                let look = (self.exited_at.is_some() && self.are_pipes_ended()).then_some(LOOK_INTERVAL);
                [Some(left(until)), look, blind]
            }
            Phase::Killed(until) => [Some(left(until)), lingered, blind],
        };
        waits.into_iter().flatten().min()
    }

    /// Whether the leader has exited; it is not reaped by this.
    fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.group), options), Ok(None))
    }

    fn reap(mut self) -> Watched {
        let is_silent = match (self.exited_at, self.last_read_at) {
            // What the command itself wrote lies in the pipe when it exits and is read at once; later bytes come from
            // a process that it left behind and that may not be done.
            (Some(exited), Some(read)) => read < exited + LINGER / 2,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let is_output_whole = self.are_pipes_ended() || is_silent;
        let status = if self.exited_at.is_some() {
            self.child.wait().ok()
        } else {
            let mut child = self.child;
            // It waits for as long as the kernel needs, so that no zombie stays.
            std::thread::spawn(move || child.wait());
            None
        };
        Watched { status, stopped: self.stopped, is_output_whole }
    }
}

/// Which of the sources have something to read (or have ended) after at most `timeout`.
fn ready_of(sources: &[Option<BorrowedFd<'_>>; 4], timeout: Option<Duration>) -> [bool; 4] {
    let mut ready = [false; 4];
    let mut fds: Vec<PollFd<'_>> =
        sources.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let timeout = timeout.and_then(|left| Timespec::try_from(left).ok());
    // An interruption by a signal is a wake-up with nothing to read.
    if poll(&mut fds, timeout.as_ref()).is_err() {
        return ready;
    }
    let mut events = fds.iter().map(|fd| !fd.revents().is_empty());
    for (slot, source) in ready.iter_mut().zip(sources) {
        *slot = source.is_some() && events.next().unwrap_or(false);
    }
    ready
}

/// Whether nobody holds the other end of this pipe any more.
pub(crate) fn has_hung_up(pipe: BorrowedFd<'_>) -> bool {
    ready_of(&[Some(pipe), None, None, None], Some(Duration::ZERO))[0]
}

/// Reads once; says whether the stream has ended.
fn has_ended<R: Read>(pipe: Option<&mut R>, buffer: &mut [u8], sink: &mut dyn Sink) -> bool {
    let Some(pipe) = pipe else { return true };
    match pipe.read(buffer) {
        Ok(0) => true,
        Ok(count) => {
            sink.take(&buffer[..count]);
            false
        }
        Err(error) => error.kind() != io::ErrorKind::Interrupted,
    }
}

/// Whether a living process belongs to the group. Asked only while a group is being ended and its leader has gone:
/// the leader may have been a shell whose real command still cleans up. Where it cannot be known, the answer is no.
fn has_members(group: Pid) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    entries.flatten().any(|entry| {
        let is_process = entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit);
        is_process && fs::read_to_string(entry.path().join("stat")).is_ok_and(|stat| is_living_member(&stat, group))
    })
}

/// Reads `/proc/PID/stat`: `pid (name) state ppid pgrp …`, where the name may hold anything, parentheses too.
fn is_living_member(stat: &str, group: Pid) -> bool {
    let Some((_, rest)) = stat.rsplit_once(')') else { return false };
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next();
    let member_of = fields.nth(1).and_then(|text| text.parse::<i32>().ok());
    member_of == Some(group.as_raw_nonzero().get()) && !matches!(state, Some("Z" | "X" | "x"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name_holds() {
        let group = Pid::from_raw(42).expect("not zero");
        assert!(is_living_member("50 (a) 7 b)) S 1 42 42 0 -1", group));
        assert!(!is_living_member("50 (sh) Z 1 42 42 0 -1", group));
        assert!(!is_living_member("50 (sh) S 1 41 42 0 -1", group));
        assert!(!is_living_member("", group));
    }
}
