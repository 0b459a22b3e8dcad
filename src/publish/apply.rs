//! What an event changes of an entry and of its current handing out. One function, no clock, no store.
//!
//! It must not look at the fencing number; whoever reads the rows does, before. The surprise: an answer that says what is
//! known already changes nothing and is no error, so that a holder who did not hear of our answer may say it again.

use std::time::Duration;

use thiserror::Error;

use super::outcome::{FoundAnswer, PublishAnswer, Published};
use super::policy::PublishPolicy;
use super::record::{Handout, Holder};
use super::state::PoolMove;
use crate::task::content::{DueBy, PoolEntry, PoolState, Publication};
use crate::task::state::IllegalMove;
use crate::task::{AttemptKey, ContentId, Timestamp};

/// How soon it is seen again whether a process of a call is left.
const LOCK_PAUSE: Duration = Duration::from_secs(2);
/// How soon a search is repeated, unless the settling time is shorter.
const FIND_PAUSE: Duration = Duration::from_secs(10);
/// How soon a piece that was not even called for goes out again.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// How many searches must find nothing, after the settling time, until it is believed.
pub const ABSENCES: u32 = 2;

/// What the core is told of the world.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Now.
    pub now: Timestamp,
    /// A number in 0..1 for jitter.
    pub draw: f64,
    /// The publisher that has it, or the rules for consumers.
    pub policy: &'a PublishPolicy,
    /// Who does it: `contentd` or `uid:name`.
    pub who: &'a str,
    /// Whether that one may answer for a consumer that is somebody else.
    pub answers_for_all: bool,
    /// A handing out of the entry that stands in doubt, the last one or one before it. Asked of what is taken out.
    pub unanswered: Option<&'a Handout>,
}

/// Something that happened to an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PoolEvent {
    /// A publisher's call ended.
    Answered(PublishAnswer),
    /// A publisher's call must be over and nobody said how; contentd died in it, or lost it.
    CallLost,
    /// Whether a process of the call is left.
    Looked {
        /// None is.
        is_quiet: bool,
    },
    /// A search for the key.
    Searched(FoundAnswer),
    /// The same key goes out once more.
    SentAgain,
    /// It is given to a person.
    GivenUp(String),
    /// A consumer's lease is over.
    LeaseEnded,
    /// A consumer published it.
    Done(Published),
    /// A consumer did not.
    Failed {
        /// Why.
        error: String,
        /// Not to be tried again.
        is_final: bool,
    },
    /// A consumer needs longer.
    Renewed {
        /// Until when.
        until: Timestamp,
    },
    /// The database comes from a backup.
    Restored(String),
    /// A person says that it is not out.
    Released,
    /// A person decides what became of a held one.
    Settled {
        /// Where it is; none: it is not out and shall not go.
        published: Option<Published>,
        /// Why.
        reason: String,
    },
    /// A person gives it a time.
    Rescheduled {
        /// Not before; none: now, or, where a priority is given to a pending one, when it is due anyway.
        at: Option<Timestamp>,
        /// 1 to 10.
        priority: Option<u8>,
    },
    /// A person takes it out.
    Removed {
        /// Why.
        reason: Option<String>,
    },
}

/// What an event comes to.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolChange {
    /// The entry after it.
    pub entry: PoolEntry,
    /// Its current handing out after it.
    pub handout: Option<Handout>,
    /// What moved; none where only a note changed, or nothing.
    pub moved: Option<PoolMove>,
    /// Why.
    pub why: Option<String>,
    /// Where it is out now.
    pub publication: Option<Publication>,
}

/// Why an event is refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PoolRefusal {
    /// The state does not allow it.
    #[error(transparent)]
    Illegal(#[from] IllegalMove),
    /// The holder is a command of the configuration: it answers itself.
    #[error("it is {0}'s, whose command answers for it")]
    HeldByPublisher(String),
    /// The holder is another consumer.
    #[error("it was handed out to {0}")]
    HeldByOther(String),
    /// It was never handed out.
    #[error("it was not handed out")]
    NotHandedOut,
    /// Nobody knows whether its piece is out, in whatever version.
    #[error("it may be out: {0}")]
    InDoubt(String),
    /// Another version of its piece is asked about, and this one goes out.
    #[error("its content {0} goes out, which is another version of the piece")]
    OtherVersion(ContentId),
    /// Its time has not come, or it is held.
    #[error("it is not due")]
    NotDue,
    /// The holder has answered otherwise before.
    #[error("its holder said {0} before")]
    Answered(String),
}

/// To whom an entry is handed out, and under what.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// Who.
    pub holder: Holder,
    /// The key.
    pub key: AttemptKey,
    /// The consumer's own key of the request.
    pub request: Option<String>,
    /// It is idempotent: the same key publishes once.
    pub knows_its_keys: bool,
    /// Until when.
    pub lease_until: Timestamp,
}

/// Hands an entry out: the intent, committed before anybody acts on it. What may be out by a database that was replaced begins in
/// doubt at a publisher that knows its keys, as if contentd had died in the middle of the call: which is what may have happened. One that
/// can only be searched gets it as any other: a search that nobody answers would hold every piece, and whoever released it has looked.
pub fn hand_out(entry: &PoolEntry, to: Recipient, now: Timestamp) -> Result<PoolChange, PoolRefusal> {
    let Recipient { holder, key, request, knows_its_keys, lease_until } = to;
    let status = entry.status.after(PoolMove::HandedOut)?;
    if entry.held_reason.is_some() || entry.scheduled_at > now {
        return Err(PoolRefusal::NotDue);
    }
    let fence = entry.fence + 1;
    let why = Some(format!("to {holder}"));
    let may_be_out = entry.may_be_out && holder.is_publisher() && knows_its_keys;
    let handout = Handout {
        pool_id: entry.id,
        fence,
        key,
        sends: u32::from(holder.is_publisher() && !may_be_out),
        holder,
        request,
        handed_out_at: now,
        doubted_at: may_be_out.then_some(now),
        is_lost: may_be_out,
        quiet_since: None,
        absences: 0,
        ended_at: None,
        outcome: None,
        error: None,
        unavailable_sends: 0,
        may_be_out,
    };
    let wake_at = Some(if may_be_out { now } else { lease_until });
    let entry = PoolEntry { status, fence, wake_at, may_be_out: false, ..entry.clone() };
    Ok(PoolChange { entry, handout: Some(handout), moved: Some(PoolMove::HandedOut), why, publication: None })
}

/// Judges an event. `handout` is the one with the entry's fencing number, if it was handed out.
pub fn apply(
    entry: &PoolEntry,
    handout: Option<&Handout>,
    event: PoolEvent,
    context: &Context<'_>,
) -> Result<PoolChange, PoolRefusal> {
    let change = Change { entry: entry.clone(), handout: handout.cloned(), context };
    match event {
        PoolEvent::Answered(answer) => change.answered(answer),
        PoolEvent::CallLost => change.doubted("contentd died in the middle of the call, or lost it".to_owned(), true),
        PoolEvent::Looked { is_quiet } => change.looked(is_quiet),
        PoolEvent::Searched(answer) => change.searched(answer),
        PoolEvent::SentAgain => change.sent_again(),
        PoolEvent::GivenUp(why) => change.given_up(why),
        PoolEvent::LeaseEnded => change.lease_ended(),
        PoolEvent::Done(published) => change.done(published),
        PoolEvent::Failed { error, is_final } => change.failed(error, is_final),
        PoolEvent::Renewed { until } => change.renewed(until),
        PoolEvent::Restored(reason) => change.restored(reason),
        PoolEvent::Released => change.released(),
        PoolEvent::Settled { published, reason } => change.settled(published, reason),
        PoolEvent::Rescheduled { at, priority } => change.rescheduled(at, priority),
        PoolEvent::Removed { reason } => change.removed(reason),
    }
}

/// Why nobody knows whether an entry that nobody has is out: a lease ended, and its holder never answered. It may go out again all
/// the same, because publishing it twice is harmless. Another text in its place is not, so whoever takes it out keeps this. What a
/// later holder says of its own try says nothing of that one; `unanswered` is any handing out of the entry that stands in doubt.
pub fn doubt_of_waiting(entry: &PoolEntry, unanswered: Option<&Handout>) -> Option<String> {
    match entry.status {
        PoolState::Pending | PoolState::Failed | PoolState::Removed => unanswered.map(never_answered),
        // What is held has a reason of its own, and who has a piece may still say what became of it.
        PoolState::Held | PoolState::Publishing | PoolState::Published => None,
    }
}

fn never_answered(handout: &Handout) -> String {
    format!("handed out to {} at fence {}, which never answered", handout.holder, handout.fence)
}

/// A change on its way.
struct Change<'a> {
    entry: PoolEntry,
    handout: Option<Handout>,
    context: &'a Context<'a>,
}

type Judged = Result<PoolChange, PoolRefusal>;

impl Change<'_> {
    /// A move to the state that the table says.
    fn moved(mut self, event: PoolMove, why: Option<String>) -> Judged {
        self.entry.status = self.entry.status.after(event)?;
        if self.entry.status != PoolState::Publishing {
            self.entry.wake_at = None;
        }
        Ok(PoolChange { entry: self.entry, handout: self.handout, moved: Some(event), why, publication: None })
    }

    /// A note: the state stays.
    fn noted(self) -> Judged {
        Ok(PoolChange { entry: self.entry, handout: self.handout, moved: None, why: None, publication: None })
    }

    /// It is due no earlier.
    fn not_before(&mut self, at: Timestamp) {
        if at > self.entry.scheduled_at {
            self.entry.due_at_once(at);
        }
    }

    /// The handing out has its answer.
    fn end(&mut self, event: PoolMove, error: Option<&str>) {
        if let Some(handout) = &mut self.handout {
            handout.ended_at = Some(self.context.now);
            handout.outcome = Some(event.as_str().to_owned());
            handout.error = error.map(str::to_owned).or(handout.error.take());
        }
    }

    /// Whatever a publisher's call says is about an entry that the publisher has.
    fn is_with_publisher(&self) -> Result<(), PoolRefusal> {
        let is_so = self.handout.as_ref().is_some_and(|handout| handout.holder.is_publisher());
        if is_so && self.entry.status == PoolState::Publishing {
            return Ok(());
        }
        Err(IllegalMove { from: self.entry.status.as_str(), event: "an answer of a publisher" }.into())
    }

    fn answered(mut self, answer: PublishAnswer) -> Judged {
        self.is_with_publisher()?;
        if self.handout.as_ref().is_some_and(|handout| handout.sends > 1 || handout.may_be_out) {
            return self.answered_again(answer);
        }
        match answer {
            PublishAnswer::Published(published) => self.published(published, PoolMove::Published, None),
            PublishAnswer::Retry(why) => self.retried(why),
            PublishAnswer::Rejected(why) => self.gave_up(why),
            PublishAnswer::Unavailable(why) => {
                let pause = self.context.policy.retry.delay(0, self.context.draw);
                self.given_back(why, pause)
            }
            PublishAnswer::NeverCalled(why) => self.given_back(why, SHORT_PAUSE),
            PublishAnswer::Ambiguous(why) => {
                if let Some(handout) = &mut self.handout {
                    handout.is_lost = false;
                }
                let wake_at = self.context.now.plus(self.pause_after_doubt());
                let mut change = self.doubted(why, false)?;
                change.entry.wake_at = Some(wake_at);
                Ok(change)
            }
        }
    }

    /// How long after an answer in doubt the same key goes out again: as after a retry, because the place may be away for a
    /// moment. None where it does not go out again, and a search or a person comes next.
    fn pause_after_doubt(&self) -> Duration {
        let (policy, sends) = (self.context.policy, self.handout.as_ref().map_or(1, |handout| handout.sends));
        if !policy.is_idempotent || sends > policy.max_retries {
            return Duration::ZERO;
        }
        policy.retry.delay(sends.saturating_sub(1), self.context.draw)
    }

    /// The answer to a key that was sent before: only "it is out" says anything about the first time. A publisher that is away
    /// or busy now, or that has the piece already and takes it for a duplicate, proves nothing.
    fn answered_again(mut self, answer: PublishAnswer) -> Judged {
        let (sends, away) = self.handout.as_ref().map_or((2, 0), |one| (one.sends, one.unavailable_sends));
        let delay = |count| self.context.policy.retry.delay(count, self.context.draw);
        let (why, is_sent, pause) = match answer {
            PublishAnswer::Published(published) => return self.published(published, PoolMove::Published, None),
            PublishAnswer::Rejected(why) => {
                let since = match self.handout.as_ref().is_some_and(|handout| handout.may_be_out) {
                    true => format!("refused, and {MAY_BE_OUT}"),
                    false => "refused when it was sent again, after a call without an answer".to_owned(),
                };
                return self.held(format!("{since}: {why}"));
            }
            PublishAnswer::Ambiguous(why) => (why, true, self.pause_after_doubt()),
            PublishAnswer::Retry(why) => (why, true, delay(sends.saturating_sub(2))),
            PublishAnswer::Unavailable(why) => {
                if let Some(handout) = &mut self.handout {
                    handout.unavailable_sends = away.saturating_add(1);
                }
                (why, false, delay(away))
            }
            PublishAnswer::NeverCalled(why) => (why, false, SHORT_PAUSE),
        };
        if let Some(handout) = self.handout.as_mut().filter(|_| !is_sent) {
            handout.sends = handout.sends.saturating_sub(1);
        }
        let wake_at = self.context.now.plus(pause);
        self.entry.last_error = Some(why.clone());
        let mut change = self.doubted(why, false)?;
        change.entry.wake_at = Some(wake_at);
        Ok(change)
    }

    fn published(mut self, published: Published, event: PoolMove, why: Option<String>) -> Judged {
        let by = match (&self.handout, event) {
            (Some(handout), PoolMove::Published) => handout.holder.name().to_owned(),
            _ => self.context.who.to_owned(),
        };
        self.end(event, None);
        self.entry.published_at = Some(self.context.now);
        self.entry.held_reason = None;
        // What went wrong before is over, and stands with its handing out.
        self.entry.last_error = None;
        let Published { url, reference } = published;
        let why = why.or_else(|| url.as_ref().map(|url| format!("at {url}")));
        let publication = Some(Publication { at: self.context.now, by, url, reference });
        Ok(PoolChange { publication, ..self.moved(event, why)? })
    }

    /// Not out, and to be tried again while a retry is left.
    fn retried(mut self, why: String) -> Judged {
        if self.entry.retry_count >= self.context.policy.max_retries {
            return self.gave_up(why);
        }
        self.end(PoolMove::RetryScheduled, Some(&why));
        let delay = self.context.policy.retry.delay(self.entry.retry_count, self.context.draw);
        self.entry.retry_count += 1;
        self.entry.due_at_once(self.context.now.plus(delay));
        self.entry.held_reason = None;
        self.entry.last_error = Some(why.clone());
        self.moved(PoolMove::RetryScheduled, Some(why))
    }

    fn gave_up(mut self, why: String) -> Judged {
        self.end(PoolMove::Failed, Some(&why));
        self.entry.held_reason = None;
        self.entry.last_error = Some(why.clone());
        self.moved(PoolMove::Failed, Some(why))
    }

    fn given_back(mut self, why: String, pause: Duration) -> Judged {
        self.end(PoolMove::GivenBack, Some(&why));
        self.not_before(self.context.now.plus(pause));
        self.entry.last_error = Some(why.clone());
        self.moved(PoolMove::GivenBack, Some(why))
    }

    fn doubted(mut self, why: String, is_lost: bool) -> Judged {
        self.is_with_publisher()?;
        let now = self.context.now;
        if let Some(handout) = &mut self.handout {
            handout.doubted_at.get_or_insert(now);
            // An answer in doubt that was committed before is not forgotten by a death after it.
            handout.is_lost |= is_lost && handout.error.is_none();
            handout.quiet_since = None;
            handout.absences = 0;
            handout.error.get_or_insert(why);
        }
        self.entry.wake_at = Some(now);
        self.noted()
    }

    fn looked(mut self, is_quiet: bool) -> Judged {
        self.is_with_publisher()?;
        let now = self.context.now;
        if let Some(handout) = self.handout.as_mut().filter(|_| is_quiet) {
            handout.quiet_since.get_or_insert(now);
        }
        let limit = self.context.policy.find_limit;
        let is_over = |handout: &&Handout| handout.doubted_at.is_some_and(|since| now > since.plus(limit));
        // Judged after a look, and not by the time alone: the process may have gone while contentd was away.
        if let Some(handout) = self.handout.as_ref().filter(is_over).filter(|_| !is_quiet) {
            let error = handout.error.as_deref().unwrap_or("the call was never answered");
            let why = format!("a process of the call is still there after the find limit, and may publish it: {error}");
            return self.held(why);
        }
        self.entry.wake_at = Some(if is_quiet { now } else { now.plus(LOCK_PAUSE) });
        self.noted()
    }

    fn searched(mut self, answer: FoundAnswer) -> Judged {
        self.is_with_publisher()?;
        let now = self.context.now;
        let Some(handout) = &mut self.handout else { return Err(PoolRefusal::NotHandedOut) };
        let pause = FIND_PAUSE.min(self.context.policy.settle).max(SHORT_PAUSE);
        let settled_at = handout.quiet_since.map(|since| since.plus(self.context.policy.settle));
        match answer {
            FoundAnswer::Found(published) => {
                self.published(published, PoolMove::Published, Some("found under its key".to_owned()))
            }
            // Before the settling time is over the call may still come to something.
            FoundAnswer::Missing => match settled_at.filter(|at| *at <= now) {
                None => {
                    self.entry.wake_at = Some(settled_at.unwrap_or_else(|| now.plus(pause)));
                    self.noted()
                }
                Some(_) if handout.absences + 1 < ABSENCES => {
                    handout.absences += 1;
                    self.entry.wake_at = Some(now.plus(pause));
                    self.noted()
                }
                Some(_) => {
                    let is_lost = handout.is_lost;
                    let why = handout.error.clone().unwrap_or_else(|| "the call was never answered".to_owned());
                    let why = format!("not published, as a search shows: {why}");
                    if is_lost { self.given_back(why, SHORT_PAUSE) } else { self.retried(why) }
                }
            },
            FoundAnswer::Unavailable(_) => {
                self.entry.wake_at = Some(now.plus(pause));
                self.noted()
            }
        }
    }

    fn sent_again(mut self) -> Judged {
        self.is_with_publisher()?;
        let now = self.context.now;
        let Some(handout) = self.handout.as_mut().filter(|handout| handout.quiet_since.is_some()) else {
            return Err(PoolRefusal::NotDue);
        };
        handout.sends += 1;
        handout.doubted_at = None;
        handout.quiet_since = None;
        self.entry.wake_at = Some(now.plus(self.context.policy.call_limit));
        self.noted()
    }

    fn given_up(self, why: String) -> Judged {
        self.is_with_publisher()?;
        self.held(why)
    }

    fn held(mut self, why: String) -> Judged {
        self.entry.held_reason = Some(why.clone());
        self.entry.last_error = Some(why.clone());
        self.moved(PoolMove::Held, Some(why))
    }

    fn lease_ended(mut self) -> Judged {
        let Some(handout) = self.handout.as_mut().filter(|handout| !handout.holder.is_publisher()) else {
            return Err(PoolRefusal::NotHandedOut);
        };
        // What is held stays so, whatever the configuration says of leases by now.
        if self.entry.status != PoolState::Publishing {
            return Err(IllegalMove { from: self.entry.status.as_str(), event: "the end of a lease" }.into());
        }
        let why = never_answered(handout);
        let is_again = self.context.policy.is_idempotent && self.entry.retry_count < self.context.policy.max_retries;
        if !is_again {
            return self.held(why);
        }
        // Not ended: its holder may still say that it is out.
        handout.doubted_at = Some(self.context.now);
        self.entry.retry_count += 1;
        self.entry.last_error = Some(why.clone());
        self.moved(PoolMove::RetryScheduled, Some(why))
    }

    /// The handing out that a consumer answers for; `said` is what it says. True where that was said before.
    fn consumers_answer(&self, said: &[PoolMove]) -> Result<bool, PoolRefusal> {
        let handout = self.handout.as_ref().ok_or(PoolRefusal::NotHandedOut)?;
        if handout.holder.is_publisher() {
            return Err(PoolRefusal::HeldByPublisher(handout.holder.to_string()));
        }
        // A fence is no secret among those who may take pieces.
        if !self.context.answers_for_all && !is_same_user(handout.holder.name(), self.context.who) {
            return Err(PoolRefusal::HeldByOther(handout.holder.to_string()));
        }
        match handout.outcome.as_deref().filter(|_| handout.ended_at.is_some()) {
            None => Ok(false),
            Some(before) if said.iter().any(|event| event.as_str() == before) => Ok(true),
            Some(before) => Err(PoolRefusal::Answered(before.to_owned())),
        }
    }

    fn done(self, published: Published) -> Judged {
        if self.consumers_answer(&[PoolMove::Published])? {
            return self.noted();
        }
        self.published(published, PoolMove::Published, None)
    }

    fn failed(self, error: String, is_final: bool) -> Judged {
        if self.consumers_answer(&[PoolMove::Failed, PoolMove::RetryScheduled])? {
            return self.noted();
        }
        if is_final { self.gave_up(error) } else { self.retried(error) }
    }

    fn renewed(mut self, until: Timestamp) -> Judged {
        if self.consumers_answer(&[])? || self.entry.status != PoolState::Publishing {
            return Err(IllegalMove { from: self.entry.status.as_str(), event: "a longer lease" }.into());
        }
        self.entry.wake_at = self.entry.wake_at.max(Some(until));
        self.noted()
    }

    fn restored(mut self, reason: String) -> Judged {
        // Numbers that the lost daemon gave out must not be given out again.
        self.entry.fence += RESTORED_FENCE;
        self.handout = None;
        self.entry.may_be_out = true;
        self.entry.held_reason = Some(reason.clone());
        self.moved(PoolMove::Restored, Some(reason))
    }

    fn released(mut self) -> Judged {
        self.entry.held_reason = None;
        self.not_before(self.context.now);
        let why = format!("pool entry {} may go out", self.entry.id);
        self.moved(PoolMove::Released, Some(why))
    }

    fn removed(mut self, reason: Option<String>) -> Judged {
        if let Some(doubt) = doubt_of_waiting(&self.entry, self.context.unanswered) {
            self.entry.held_reason = Some(doubt);
        }
        self.moved(PoolMove::Removed, reason)
    }

    fn settled(mut self, published: Option<Published>, reason: String) -> Judged {
        match published {
            Some(published) => self.published(published, PoolMove::SettledPublished, Some(reason)),
            None => {
                self.entry.held_reason = None;
                self.entry.last_error = Some(reason.clone());
                self.moved(PoolMove::SettledFailed, Some(reason))
            }
        }
    }

    fn rescheduled(mut self, at: Option<Timestamp>, priority: Option<u8>) -> Judged {
        // What was taken out in doubt comes back by a new approval only, which keeps the doubt.
        if self.entry.held_reason.is_some() {
            return Err(IllegalMove { from: self.entry.status.as_str(), event: PoolMove::Rescheduled.as_str() }.into());
        }
        let is_pending = self.entry.status == PoolState::Pending;
        if !is_pending {
            self.entry.retry_count = 0;
        }
        // A priority alone says nothing of the time.
        match at {
            Some(at) => (self.entry.scheduled_at, self.entry.due_by) = (at, DueBy::Person),
            None if is_pending && priority.is_some() => {}
            None => self.entry.due_at_once(self.context.now),
        }
        self.entry.priority = priority.unwrap_or(self.entry.priority);
        let due = match at {
            Some(at) => format!("due {}", at.in_utc()),
            None if self.entry.scheduled_at == self.context.now => "due now".to_owned(),
            None => "due as before".to_owned(),
        };
        let why = Some(format!("{due}, priority {}", self.entry.priority));
        self.moved(PoolMove::Rescheduled, why)
    }
}

/// Whether two labels `uid:name` mean one user: a user that is renamed keeps the number.
fn is_same_user(one: &str, other: &str) -> bool {
    let uid = |label: &str| label.split_once(':').map_or_else(|| label.to_owned(), |(uid, _)| uid.to_owned());
    uid(one) == uid(other)
}

/// What is known of a piece that a replaced database had.
const MAY_BE_OUT: &str = "it may be out since before the database was restored";

/// By how much the fencing numbers of a restored database go on: more than a lost daemon gave out since its backup.
pub const RESTORED_FENCE: u64 = 1_000_000;
