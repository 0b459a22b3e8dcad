//! Which lines of the table verb × outcome a schedule has driven, read from what was committed and not from what was meant.
//!
//! A line with two ends (tried again, or the last time) counts as two cases. The page is the contract: a case that names no line
//! of [`OUTCOMES`], and a line without a case, fail.

use std::collections::BTreeSet;

use contentd::store::write::Changed;
use contentd::task::outcome::{
    CancelAnswer, FetchAnswer, FindAnswer, JobState, OUTCOMES, PollAnswer, RunReport, Spends, SubmitAnswer, Verb,
};
use contentd::task::{Attempt, AttemptState, Event, Policy, Task, TaskState};

/// A verb, the beginning of its outcome's text, and which end of it.
pub type Case = (Option<Verb>, &'static str, &'static str);

pub type Seen = BTreeSet<Case>;

const DOUBT_WITH_FIND: &str = "anything else, or our own death; not idempotent, with find";
const DOUBT_WITHOUT_FIND: &str = "anything else, or our own death; not idempotent, without find";
const DOUBT_IDEMPOTENT: &str = "anything else, or our own death; idempotent";
const RESENT_REFUSED: &str = "of a key that went out before: rejected or retry";
const RESENT_AWAY: &str = "of a key that went out before: unavailable";
const ANOTHERS: &str = "ok, with the reference of another task's job";
const FOUND_ANOTHERS: &str = "ok, one match that is another task's job";
const LEFT: &str = "ok, in the state of dead_when";
const UNREAD: &str = "deadline, and what is said of the job cannot be read";
const REFUSED: &str = "refused, or no cancel verb";
const AWAY: &str = "deadline, and the generator does not answer";
const ALIVE: &str = "deadline, still alive";

/// Everything that the exploration must reach.
pub const CASES: &[Case] = &[
    (Some(Verb::Submit), "ok, with a reference", "accepted"),
    (Some(Verb::Submit), ANOTHERS, "held"),
    (Some(Verb::Submit), "rejected", "failed"),
    (Some(Verb::Submit), "retry", "waits"),
    (Some(Verb::Submit), "retry", "the last"),
    (Some(Verb::Submit), "unavailable", "given back"),
    (Some(Verb::Submit), DOUBT_WITH_FIND, "doubted"),
    (Some(Verb::Submit), DOUBT_WITHOUT_FIND, "doubted"),
    (Some(Verb::Submit), DOUBT_WITHOUT_FIND, "held"),
    (Some(Verb::Submit), DOUBT_IDEMPOTENT, "doubted"),
    (Some(Verb::Submit), DOUBT_IDEMPOTENT, "sent again"),
    (Some(Verb::Submit), DOUBT_IDEMPOTENT, "held"),
    (Some(Verb::Submit), RESENT_REFUSED, "in doubt"),
    (Some(Verb::Submit), RESENT_AWAY, "not counted"),
    (Some(Verb::Find), "ok, one match of our key", "adopted"),
    (Some(Verb::Find), "ok, none, and absence proved", "given back"),
    (Some(Verb::Find), "ok, several matches", "held"),
    (Some(Verb::Find), FOUND_ANOTHERS, "held"),
    (Some(Verb::Find), "not proved within find_limit", "held"),
    (Some(Verb::Find), "unavailable or unreadable", "unavailable"),
    (Some(Verb::Find), "unavailable or unreadable", "unreadable"),
    (Some(Verb::Run), "started", "accepted"),
    (Some(Verb::Run), "never started, lock free", "given back"),
    (Some(Verb::Run), "exit 0 with a piece", "completed"),
    (Some(Verb::Run), "exit 0 without a piece", "held"),
    (Some(Verb::Run), "another exit or a signal", "waits"),
    (Some(Verb::Run), "another exit or a signal", "the last"),
    (Some(Verb::Run), "unavailable", "given back"),
    (Some(Verb::Run), "stopped with its unit", "waits"),
    (Some(Verb::Run), "stopped with its unit", "the last"),
    (Some(Verb::Run), "lock free, no exit status; free to repeat", "waits"),
    (Some(Verb::Run), "lock free, no exit status; free to repeat", "the last"),
    (Some(Verb::Run), "lock free, no exit status; not free to repeat", "held"),
    (Some(Verb::Poll), "ok, submitted or processing", "follows"),
    (Some(Verb::Poll), LEFT, "held"),
    (Some(Verb::Poll), "ok, completed", "ready"),
    (Some(Verb::Poll), "ok, unmapped, unreadable or empty", "counted"),
    (Some(Verb::Poll), "unavailable", "counted"),
    (Some(Verb::Poll), "missing k times in a row and by poll_one; idempotent", "sent again"),
    (Some(Verb::Poll), "missing k times in a row and by poll_one; not idempotent", "held"),
    (Some(Verb::Poll), "failed", "waits"),
    (Some(Verb::Poll), "failed", "the last"),
    (Some(Verb::Poll), "cancelled at the generator", "waits"),
    (Some(Verb::Poll), "cancelled at the generator", "the last"),
    (Some(Verb::Fetch), "ok: the piece", "completed"),
    (Some(Verb::Fetch), "not_ready", "polled"),
    (Some(Verb::Fetch), "unreadable k times in a row", "held"),
    (Some(Verb::Fetch), "missing", "held"),
    (Some(Verb::Fetch), "unavailable", "counted"),
    (Some(Verb::Cancel), "ok", "cancelled"),
    (Some(Verb::Cancel), REFUSED, "refused"),
    (Some(Verb::Cancel), REFUSED, "no verb"),
    (Some(Verb::Cancel), REFUSED, "not proved"),
    (Some(Verb::Cancel), "unavailable, ambiguous or missing", "asked again"),
    (Some(Verb::Cancel), "completed seen while cancelling", "completed"),
    (None, "deadline, and the end is proved", "waits"),
    (None, "deadline, and the end is proved", "the last"),
    (None, UNREAD, "asked again"),
    (None, UNREAD, "held"),
    (None, AWAY, "extended for nothing"),
    (None, ALIVE, "extended"),
    (None, ALIVE, "the last"),
];

/// The cases that nothing has driven, and what does not fit the page.
pub fn missing(seen: &Seen) -> Vec<String> {
    let mut missing = Vec::new();
    for case in CASES {
        if !OUTCOMES.iter().any(|row| row.verb == case.0 && row.outcome.starts_with(case.1)) {
            missing.push(format!("{case:?} is no line of the table"));
        } else if !seen.contains(case) {
            missing.push(format!("{case:?} was never driven"));
        }
    }
    for row in OUTCOMES {
        if !CASES.iter().any(|case| row.verb == case.0 && row.outcome.starts_with(case.1)) {
            missing.push(format!("{:?}: {} has no case", row.verb, row.outcome));
        }
    }
    missing
}

/// What the table says that a case costs.
pub fn spends(case: &Case) -> Spends {
    let row = OUTCOMES.iter().find(|row| row.verb == case.0 && row.outcome.starts_with(case.1));
    row.expect("a case names a line of the table").spends
}

/// A change and what stood before it.
pub struct Step<'a> {
    pub policy: &'a Policy,
    pub event: &'a Event,
    pub task: &'a Task,
    pub attempt: Option<&'a Attempt>,
    pub changed: &'a Changed,
}

impl Step<'_> {
    fn was(&self) -> Option<AttemptState> {
        self.attempt.map(|attempt| attempt.state)
    }

    pub fn is(&self) -> Option<AttemptState> {
        self.changed.change.attempt.as_ref().map(|attempt| attempt.state)
    }

    fn state(&self) -> TaskState {
        self.changed.change.task.state
    }

    fn is_held_now(&self) -> bool {
        self.task.state != TaskState::Held && self.state() == TaskState::Held
    }

    /// "waits" or "the last", where the attempt has ended so and the task wanted its job.
    fn retried(&self, end: AttemptState) -> Option<&'static str> {
        if self.is() != Some(end) || self.was() == Some(end) {
            return None;
        }
        match self.state() {
            TaskState::Pending if self.task.state.is_active() => Some("waits"),
            TaskState::Failed | TaskState::Timeout if self.task.state.is_active() => Some("the last"),
            _ => None,
        }
    }

    /// The case that this step is, if it is one of the table.
    pub fn case(&self) -> Option<Case> {
        match self.event {
            Event::SubmitAnswered(answer) => self.submit(answer),
            Event::CallLost(_) => self.doubted(),
            Event::ResendBegun => self.resent(),
            Event::DoubtStands(_) => self.doubt_held(),
            Event::LockSeen { .. } => self.limit_passed(),
            Event::FindAnswered { answer, .. } => self.find(answer),
            Event::RunReported(report) => self.run(report),
            Event::PollAnswered(answer) => self.poll(answer),
            Event::FetchAnswered(answer) => self.fetch(answer),
            Event::CancelAnswered(answer) => self.cancel(answer),
            Event::DeadlineReached { is_end_proved } => self.deadline(*is_end_proved),
            Event::DeadlineUnread(_) => Some((None, UNREAD, if self.is_held_now() { "held" } else { "asked again" })),
            Event::DeadlineUnanswered(_) if self.is_extended_free() => Some((None, AWAY, "extended for nothing")),
            Event::DeadlineUnanswered(_) => self.deadline(false),
            _ => None,
        }
    }

    /// Whether its limit is lengthened for nothing.
    fn is_extended_free(&self) -> bool {
        let extensions = |attempt: Option<&Attempt>| attempt.map_or(0, |attempt| attempt.extensions);
        extensions(self.changed.change.attempt.as_ref()) > extensions(self.attempt)
    }

    fn submit(&self, answer: &SubmitAnswer) -> Option<Case> {
        let verb = Some(Verb::Submit);
        if self.was() == Some(AttemptState::Unknown) && self.is_held_now() {
            return Some((verb, DOUBT_IDEMPOTENT, "held"));
        }
        if self.was() == Some(AttemptState::Unknown) && self.is() == Some(AttemptState::Unknown) {
            return match answer {
                SubmitAnswer::Rejected(_) | SubmitAnswer::Retry(_) => Some((verb, RESENT_REFUSED, "in doubt")),
                SubmitAnswer::Unavailable(_) => Some((verb, RESENT_AWAY, "not counted")),
                _ => None,
            };
        }
        if self.was() != Some(AttemptState::Intended) {
            return None;
        }
        match answer {
            SubmitAnswer::Accepted { .. } if self.is_held_now() => Some((verb, ANOTHERS, "held")),
            SubmitAnswer::Accepted { .. } => {
                (self.is() == Some(AttemptState::Accepted)).then_some((verb, "ok, with a reference", "accepted"))
            }
            SubmitAnswer::Rejected(_) => (self.state() == TaskState::Failed).then_some((verb, "rejected", "failed")),
            SubmitAnswer::Retry(_) => Some((verb, "retry", self.retried(AttemptState::Rejected)?)),
            SubmitAnswer::Unavailable(_) => {
                self.retried(AttemptState::Withdrawn).map(|_| (verb, "unavailable", "given back"))
            }
            SubmitAnswer::Ambiguous(_) => self.doubted(),
            SubmitAnswer::NeverCalled(_) => None,
        }
    }

    fn doubted(&self) -> Option<Case> {
        if self.is() != Some(AttemptState::Unknown) || self.was() == Some(AttemptState::Unknown) {
            return None;
        }
        let outcome = match (self.policy.is_idempotent, self.policy.can_find) {
            (true, _) => DOUBT_IDEMPOTENT,
            (false, true) => DOUBT_WITH_FIND,
            (false, false) => DOUBT_WITHOUT_FIND,
        };
        Some((Some(Verb::Submit), outcome, "doubted"))
    }

    fn resent(&self) -> Option<Case> {
        match self.was()? {
            AttemptState::Unknown => Some((Some(Verb::Submit), DOUBT_IDEMPOTENT, "sent again")),
            AttemptState::Accepted => {
                let missing = "missing k times in a row and by poll_one; idempotent";
                Some((Some(Verb::Poll), missing, "sent again"))
            }
            _ => None,
        }
    }

    fn doubt_held(&self) -> Option<Case> {
        let outcome = if self.policy.is_idempotent { DOUBT_IDEMPOTENT } else { DOUBT_WITHOUT_FIND };
        let is_doubt = self.was() == Some(AttemptState::Unknown);
        (is_doubt && self.is_held_now()).then_some((Some(Verb::Submit), outcome, "held"))
    }

    fn limit_passed(&self) -> Option<Case> {
        let is_find = self.policy.can_find && self.is_held_now();
        is_find.then_some((Some(Verb::Find), "not proved within find_limit", "held"))
    }

    fn find(&self, answer: &FindAnswer) -> Option<Case> {
        let verb = Some(Verb::Find);
        match answer {
            FindAnswer::One { .. } if self.is_held_now() => Some((verb, FOUND_ANOTHERS, "held")),
            FindAnswer::One { .. } => {
                (self.is() == Some(AttemptState::Accepted)).then_some((verb, "ok, one match of our key", "adopted"))
            }
            FindAnswer::Several(_) => self.is_held_now().then_some((verb, "ok, several matches", "held")),
            _ if self.is_held_now() => self.limit_passed(),
            FindAnswer::None { .. } => {
                let is_back = self.retried(AttemptState::EndedAbandoned) == Some("waits");
                is_back.then_some((verb, "ok, none, and absence proved", "given back"))
            }
            FindAnswer::Unavailable(_) => Some((verb, "unavailable or unreadable", "unavailable")),
            FindAnswer::Unreadable(_) => Some((verb, "unavailable or unreadable", "unreadable")),
        }
    }

    fn run(&self, report: &RunReport) -> Option<Case> {
        let verb = Some(Verb::Run);
        match report {
            RunReport::Started { .. } => {
                let is_begun = self.was() == Some(AttemptState::Intended) && self.is() == Some(AttemptState::Accepted);
                is_begun.then_some((verb, "started", "accepted"))
            }
            RunReport::NeverStarted(_) => {
                self.retried(AttemptState::Withdrawn).map(|_| (verb, "never started, lock free", "given back"))
            }
            RunReport::Piece(_) if self.task.state == TaskState::Cancelling => self.too_late(),
            RunReport::Piece(_) => {
                (self.state() == TaskState::Completed).then_some((verb, "exit 0 with a piece", "completed"))
            }
            RunReport::NoPiece { .. } => {
                let is_kept = self.changed.change.attempt.as_ref().is_some_and(|attempt| attempt.raw_output.is_some());
                (is_kept && self.is_held_now()).then_some((verb, "exit 0 without a piece", "held"))
            }
            RunReport::Failed(_) => Some((verb, "another exit or a signal", self.retried(AttemptState::EndedFailed)?)),
            RunReport::Unavailable(_) => {
                self.retried(AttemptState::EndedFailed).map(|_| (verb, "unavailable", "given back"))
            }
            RunReport::Terminated(_) => {
                Some((verb, "stopped with its unit", self.retried(AttemptState::EndedCancelled)?))
            }
            RunReport::Lost { .. } if self.policy.is_free_to_repeat => {
                let end = self.retried(AttemptState::EndedLost)?;
                Some((verb, "lock free, no exit status; free to repeat", end))
            }
            RunReport::Lost { .. } => {
                let outcome = "lock free, no exit status; not free to repeat";
                (self.is_held_now() && self.is() == Some(AttemptState::EndedLost)).then_some((verb, outcome, "held"))
            }
            _ => None,
        }
    }

    fn poll(&self, answer: &PollAnswer) -> Option<Case> {
        let verb = Some(Verb::Poll);
        if self.task.state == TaskState::Cancelling && !self.policy.can_cancel {
            return Some((Some(Verb::Cancel), REFUSED, "no verb"));
        }
        match answer {
            PollAnswer::State { state: JobState::Submitted | JobState::Processing, .. } if self.is_held_now() => {
                (self.is() == Some(AttemptState::Accepted)).then_some((verb, LEFT, "held"))
            }
            PollAnswer::State { state: JobState::Submitted | JobState::Processing, .. } => {
                let is_followed = matches!(self.state(), TaskState::Submitted | TaskState::Processing);
                is_followed.then_some((verb, "ok, submitted or processing", "follows"))
            }
            PollAnswer::State { state: JobState::Completed, .. } => {
                let is_ready = self.changed.change.attempt.as_ref().is_some_and(|attempt| attempt.is_ready);
                is_ready.then_some((verb, "ok, completed", "ready"))
            }
            PollAnswer::State { state: JobState::Failed, .. } => {
                Some((verb, "failed", self.retried(AttemptState::EndedFailed)?))
            }
            PollAnswer::State { state: JobState::Cancelled, .. } => {
                Some((verb, "cancelled at the generator", self.retried(AttemptState::EndedCancelled)?))
            }
            PollAnswer::Unreadable(_) => Some((verb, "ok, unmapped, unreadable or empty", "counted")),
            PollAnswer::Unavailable(_) => Some((verb, "unavailable", "counted")),
            PollAnswer::Missing { .. } => {
                let outcome = "missing k times in a row and by poll_one; not idempotent";
                (self.is_held_now() && self.is() == Some(AttemptState::EndedLost)).then_some((verb, outcome, "held"))
            }
        }
    }

    fn too_late(&self) -> Option<Case> {
        let outcome = "completed seen while cancelling";
        (self.state() == TaskState::Completed).then_some((Some(Verb::Cancel), outcome, "completed"))
    }

    fn fetch(&self, answer: &FetchAnswer) -> Option<Case> {
        let verb = Some(Verb::Fetch);
        let is_kept = self.changed.change.attempt.as_ref().is_some_and(|attempt| attempt.raw_output.is_some());
        match answer {
            FetchAnswer::Piece(_) if self.task.state == TaskState::Cancelling => self.too_late(),
            FetchAnswer::Piece(_) => {
                (self.state() == TaskState::Completed).then_some((verb, "ok: the piece", "completed"))
            }
            FetchAnswer::NotReady => Some((verb, "not_ready", "polled")).filter(|_| !self.is_held_now()),
            FetchAnswer::Unreadable { .. } => {
                (is_kept && self.is_held_now()).then_some((verb, "unreadable k times in a row", "held"))
            }
            FetchAnswer::Missing { .. } => (is_kept && self.is_held_now()).then_some((verb, "missing", "held")),
            FetchAnswer::Unavailable(_) => Some((verb, "unavailable", "counted")),
        }
    }

    fn cancel(&self, answer: &CancelAnswer) -> Option<Case> {
        let verb = Some(Verb::Cancel);
        match answer {
            CancelAnswer::Ok => (self.state() == TaskState::Cancelled).then_some((verb, "ok", "cancelled")),
            CancelAnswer::Refused(_) => Some((verb, REFUSED, "refused")),
            CancelAnswer::Unclear(_) => Some((verb, "unavailable, ambiguous or missing", "asked again")),
        }
    }

    fn deadline(&self, is_end_proved: bool) -> Option<Case> {
        if self.task.state == TaskState::Cancelling {
            let is_open = !is_end_proved && self.state() == TaskState::Cancelled;
            return is_open.then_some((Some(Verb::Cancel), REFUSED, "not proved"));
        }
        if is_end_proved {
            return Some((None, "deadline, and the end is proved", self.retried(AttemptState::EndedCancelled)?));
        }
        match self.state() {
            TaskState::Timeout => Some((None, ALIVE, "the last")),
            _ => Some((None, ALIVE, "extended")),
        }
    }
}
