//! The machine: a case for every row of the table, and what no sequence of events may do.

use std::time::Duration;

use proptest::prelude::*;

use super::apply::{ABSENCES, PoolEvent};
use super::outcome::{FoundAnswer, PUBLISH_OUTCOMES, PublishAnswer, PublishVerb, Published};
use super::step::{Step, UNAVAILABLE_SENDS, next_step};
use super::*;
use crate::task::content::{DueBy, PoolEntry, PoolState};
use crate::task::outcome::Spends;
use crate::task::{AccountId, AttemptKey, ContentId, PoolId, Timestamp};

const NOW: Timestamp = Timestamp(1_000_000_000);

fn entry() -> PoolEntry {
    PoolEntry {
        id: PoolId(1),
        content_id: ContentId(1),
        account_id: AccountId(1),
        priority: 5,
        scheduled_at: NOW,
        status: PoolState::Pending,
        retry_count: 0,
        last_error: None,
        published_at: None,
        created_at: NOW,
        held_reason: None,
        fence: 0,
        wake_at: None,
        due_by: DueBy::AtOnce,
        may_be_out: false,
    }
}

fn policy(is_idempotent: bool, can_find: bool) -> PublishPolicy {
    PublishPolicy { is_idempotent, can_find, ..PublishPolicy::default() }
}

/// An entry and its handing out, and what is done with them.
#[derive(Clone, Debug)]
struct Rig {
    entry: PoolEntry,
    handout: Option<Handout>,
    policy: PublishPolicy,
    now: Timestamp,
    moves: Vec<PoolMove>,
    published: u32,
}

impl Rig {
    fn new(policy: PublishPolicy) -> Self {
        Self { entry: entry(), handout: None, policy, now: NOW, moves: Vec::new(), published: 0 }
    }

    fn take(&mut self, change: PoolChange) {
        self.entry = change.entry;
        self.handout = change.handout;
        self.moves.extend(change.moved);
        self.published += u32::from(change.publication.is_some());
    }

    fn hand_out(&mut self, holder: Holder) -> Result<(), PoolRefusal> {
        let key = AttemptKey(format!("key-{}", self.entry.fence + 1));
        let until = self.now.plus(Duration::from_secs(60));
        let knows_its_keys = self.policy.is_idempotent;
        let to = Recipient { holder, key, request: None, knows_its_keys, lease_until: until };
        self.take(hand_out(&self.entry, to, self.now)?);
        Ok(())
    }

    fn with(mut self, holder: Holder) -> Self {
        self.hand_out(holder).expect("it is due");
        self
    }

    fn happens(&mut self, event: PoolEvent) -> Result<(), PoolRefusal> {
        let unanswered = self.handout.as_ref().filter(|handout| handout.is_unanswered());
        let (draw, who, answers_for_all) = (0.5, "1:ada", false);
        let context = Context { now: self.now, draw, policy: &self.policy, who, answers_for_all, unanswered };
        let change = apply(&self.entry, self.handout.as_ref(), event, &context)?;
        self.take(change);
        Ok(())
    }

    fn after(mut self, event: PoolEvent) -> Self {
        self.happens(event).expect("it fits");
        self
    }

    fn later(mut self, seconds: u64) -> Self {
        self.now = self.now.plus(Duration::from_secs(seconds));
        self
    }

    fn step(&self) -> Step {
        next_step(self.handout.as_ref().expect("it is handed out"), &self.policy, self.now)
    }

    fn told(&self) -> (PoolState, u32) {
        (self.entry.status, self.entry.retry_count)
    }
}

fn publisher() -> Holder {
    Holder::Publisher("site".into())
}

fn consumer() -> Holder {
    Holder::Consumer("1:ada".into())
}

fn said(answer: PublishAnswer) -> PoolEvent {
    PoolEvent::Answered(answer)
}

fn doubted(policy: PublishPolicy) -> Rig {
    let rig = Rig::new(policy).with(publisher()).after(said(PublishAnswer::Ambiguous("no answer".into())));
    assert_eq!(rig.step(), Step::LookForProcesses);
    let rig = rig.after(PoolEvent::Looked { is_quiet: false });
    assert_eq!(rig.step(), Step::LookForProcesses, "a process is left");
    rig.after(PoolEvent::Looked { is_quiet: true })
}

/// Held by a restore, released by a person and handed to a publisher.
fn restored(policy: PublishPolicy) -> Rig {
    let rig = Rig::new(policy).after(PoolEvent::Restored("a backup".into()));
    rig.after(PoolEvent::Released).with(publisher())
}

/// Each row of the table by its outcome: what it comes to, with the state and the retries spent.
fn row(verb: Option<PublishVerb>, outcome: &str) -> (PoolState, u32) {
    use PublishAnswer::{NeverCalled, Rejected, Retry, Unavailable};
    let plain = || Rig::new(policy(false, false)).with(publisher());
    let found = |answer: FoundAnswer| PoolEvent::Searched(answer);
    match (verb, outcome) {
        (Some(PublishVerb::Publish), "ok") => {
            plain().after(said(PublishAnswer::Published(Published::default()))).told()
        }
        (Some(PublishVerb::Publish), "retry (a rule: it is not out, try again)") => {
            let rig = plain().after(said(Retry("busy".into())));
            assert!(rig.entry.scheduled_at > rig.now, "with back-off");
            let mut last = Rig::new(PublishPolicy { max_retries: 0, ..policy(false, false) }).with(publisher());
            last.happens(said(Retry("busy".into()))).expect("it fits");
            assert_eq!(last.told(), (PoolState::Failed, 0));
            rig.told()
        }
        (Some(PublishVerb::Publish), "rejected (a rule: it will never be taken)") => {
            let (state, spent) = plain().after(said(Rejected("no".into()))).told();
            assert_eq!(state, PoolState::Failed);
            (state, spent)
        }
        (Some(PublishVerb::Publish), "unavailable (a rule: nobody was there to take it)") => {
            plain().after(said(Unavailable("down".into()))).told()
        }
        (Some(PublishVerb::Publish), "the daemon stopped before the call began") => {
            plain().after(said(NeverCalled("stopping".into()))).told()
        }
        (Some(PublishVerb::Publish), "anything else, or our own death; idempotent") => {
            let mut rig = doubted(policy(true, false));
            for sent in 2..=4 {
                assert_eq!(rig.step(), Step::SendAgain);
                rig = rig.after(PoolEvent::SentAgain);
                assert_eq!(
                    rig.handout.as_ref().map(|one| (one.sends, one.key.0.clone())),
                    Some((sent, "key-1".into()))
                );
                rig = rig.after(PoolEvent::CallLost).after(PoolEvent::Looked { is_quiet: true });
            }
            let Step::Hold(why) = rig.step() else { panic!("sent often enough: {:?}", rig.step()) };
            rig.clone().after(PoolEvent::GivenUp(why)).told()
        }
        (Some(PublishVerb::Publish), "a piece that waited for a release since a restore; idempotent") => {
            let mut rig = restored(policy(true, false)).after(PoolEvent::Looked { is_quiet: true });
            // Whatever is said but that it is out, nothing else goes there but this key.
            for answer in [Retry("busy".into()), Unavailable("down".into()), NeverCalled("stopping".into())] {
                assert_eq!(rig.step(), Step::SendAgain);
                rig = rig.after(PoolEvent::SentAgain).after(said(answer)).after(PoolEvent::Looked { is_quiet: true });
                assert_eq!(rig.told(), (PoolState::Publishing, 0));
            }
            assert_eq!(rig.entry.fence, 1_000_001, "one handing out");
            let refused = rig.clone().after(PoolEvent::SentAgain).after(said(Rejected("a duplicate".into())));
            assert_eq!(refused.told(), (PoolState::Held, 0));
            let error = rig.handout.as_ref().and_then(|one| one.error.clone());
            assert_eq!(error.as_deref(), Some("busy"), "a person reads what the site said");
            let again = refused.after(PoolEvent::Released).with(publisher());
            assert_eq!(again.after(said(Retry("busy".into()))).told(), (PoolState::Pending, 1), "a person has looked");
            let no_retries = restored(PublishPolicy { max_retries: 0, ..policy(true, false) });
            assert_eq!(no_retries.after(PoolEvent::Looked { is_quiet: true }).step(), Step::SendAgain);
            rig.told()
        }
        (Some(PublishVerb::Publish), "a piece that waited for a release since a restore; not idempotent") => {
            let rig = restored(policy(false, true));
            assert_eq!(rig.clone().after(said(Retry("busy".into()))).told(), (PoolState::Pending, 1));
            rig.after(said(PublishAnswer::Published(Published::default()))).told()
        }
        (Some(PublishVerb::Publish), "sent again: retry") => {
            let rig = doubted(policy(true, false)).after(PoolEvent::SentAgain).after(said(Retry("busy".into())));
            assert_eq!(rig.handout.as_ref().map(|one| one.sends), Some(2));
            assert!(rig.entry.wake_at > Some(rig.now), "with back-off");
            assert_eq!((rig.told(), rig.step()), ((PoolState::Publishing, 0), Step::LookForProcesses));
            rig.told()
        }
        (Some(PublishVerb::Publish), "sent again: unavailable") => {
            let mut rig = doubted(policy(true, false));
            for away in 1..=3 + UNAVAILABLE_SENDS {
                assert_eq!(rig.step(), Step::SendAgain, "{away}");
                rig = rig.after(PoolEvent::SentAgain).after(said(Unavailable("down".into())));
                assert_eq!(rig.handout.as_ref().map(|one| (one.sends, one.unavailable_sends)), Some((1, away)));
                assert!(rig.entry.wake_at > Some(rig.now), "with back-off");
                assert_eq!((rig.told(), rig.step()), ((PoolState::Publishing, 0), Step::LookForProcesses));
                rig.now = rig.entry.wake_at.expect("it wakes");
                rig = rig.after(PoolEvent::Looked { is_quiet: true });
            }
            let days = rig.now.since(NOW).as_secs() / 86_400;
            assert!((2..=4).contains(&days), "{days} days");
            let Step::Hold(why) = rig.step() else { panic!("it would never end: {:?}", rig.step()) };
            assert_eq!(rig.clone().after(PoolEvent::GivenUp(why)).told(), (PoolState::Held, 0));
            rig.told()
        }
        (Some(PublishVerb::Publish), "sent again: rejected") => {
            doubted(policy(true, false)).after(PoolEvent::SentAgain).after(said(Rejected("double".into()))).told()
        }
        (Some(PublishVerb::Publish), "anything else, or our own death; not idempotent, with find") => {
            let rig = doubted(policy(false, true));
            assert_eq!(rig.step(), Step::Find);
            rig.told()
        }
        (Some(PublishVerb::Publish), "anything else, or our own death; not idempotent, without find") => {
            let rig = doubted(policy(false, false));
            let Step::Hold(why) = rig.step() else { panic!("nobody can know: {:?}", rig.step()) };
            rig.after(PoolEvent::GivenUp(why)).told()
        }
        (Some(PublishVerb::Publish), "a process of the call is left when find_limit is over") => {
            for (is_idempotent, can_find) in [(true, false), (false, true)] {
                let rig = Rig::new(policy(is_idempotent, can_find)).with(publisher());
                let rig = rig.after(said(PublishAnswer::Ambiguous("no answer".into()))).later(15 * 60);
                let rig = rig.after(PoolEvent::Looked { is_quiet: false });
                assert_eq!((rig.entry.status, rig.step()), (PoolState::Publishing, Step::LookForProcesses));
                let mut held = rig.clone().later(1).after(PoolEvent::Looked { is_quiet: false });
                assert_eq!(held.told(), (PoolState::Held, 0));
                assert!(held.entry.held_reason.as_ref().is_some_and(|why| why.contains("still there")), "{held:?}");
                held.happens(PoolEvent::Settled { published: None, reason: "ended by hand".into() })
                    .expect("a person may");
                // It is gone by then: what is known of the publisher decides.
                let quiet = rig.later(1).after(PoolEvent::Looked { is_quiet: true });
                assert_eq!(quiet.entry.status, PoolState::Publishing);
            }
            let rig = Rig::new(policy(true, false)).with(publisher()).after(PoolEvent::CallLost).later(15 * 60 + 1);
            rig.after(PoolEvent::Looked { is_quiet: false }).told()
        }
        (Some(PublishVerb::Find), "ok") => {
            doubted(policy(false, true)).after(found(FoundAnswer::Found(Published::default()))).told()
        }
        (Some(PublishVerb::Find), "missing, before absence is proved") => {
            let rig = doubted(policy(false, true)).later(59).after(found(FoundAnswer::Missing));
            assert_eq!(rig.handout.as_ref().map(|one| one.absences), Some(0));
            rig.later(1).after(found(FoundAnswer::Missing)).told()
        }
        (Some(PublishVerb::Find), "missing, and absence proved; the call had answered in doubt") => {
            let rig = doubted(policy(false, true)).later(60).after(found(FoundAnswer::Missing));
            rig.later(10).after(found(FoundAnswer::Missing)).told()
        }
        (Some(PublishVerb::Find), "missing, and absence proved; our own death") => {
            let rig = Rig::new(policy(false, true)).with(publisher()).after(PoolEvent::CallLost);
            let rig = rig.after(PoolEvent::Looked { is_quiet: true }).later(60).after(found(FoundAnswer::Missing));
            rig.later(10).after(found(FoundAnswer::Missing)).told()
        }
        (Some(PublishVerb::Find), "unavailable or unreadable") => {
            doubted(policy(false, true)).after(found(FoundAnswer::Unavailable("down".into()))).told()
        }
        (Some(PublishVerb::Find), "not proved within find_limit") => {
            let rig = doubted(policy(false, true)).later(15 * 60 + 1);
            let Step::Hold(why) = rig.step() else { panic!("too late: {:?}", rig.step()) };
            rig.after(PoolEvent::GivenUp(why)).told()
        }
        (None, "done, or failed, with the current fence, however late") => {
            let held = Rig::new(policy(false, false)).with(consumer()).later(3600).after(PoolEvent::LeaseEnded);
            assert_eq!(held.told(), (PoolState::Held, 0));
            let done = held.clone().after(PoolEvent::Done(Published::default()));
            assert_eq!((done.told(), done.published), ((PoolState::Published, 0), 1));
            let given_up = held.clone().after(PoolEvent::Failed { error: "no".into(), is_final: true });
            assert_eq!(given_up.told(), (PoolState::Failed, 0));
            held.after(PoolEvent::Failed { error: "no".into(), is_final: false }).told()
        }
        // The store judges the number: `tests/conformance/pool.rs`.
        (None, "an older fence") => (PoolState::Pending, 0),
        (None, "no answer within the lease; not idempotent") => {
            Rig::new(policy(false, false)).with(consumer()).after(PoolEvent::LeaseEnded).told()
        }
        (None, "no answer within the lease; idempotent") => {
            let mut rig = Rig::new(policy(true, false));
            for _ in 0..3 {
                rig = rig.with(consumer()).after(PoolEvent::LeaseEnded);
                assert_eq!(rig.entry.status, PoolState::Pending);
            }
            let last = rig.clone().with(consumer()).after(PoolEvent::LeaseEnded);
            assert_eq!(last.told(), (PoolState::Held, 3));
            Rig::new(policy(true, false)).with(consumer()).after(PoolEvent::LeaseEnded).told()
        }
        other => panic!("no case for the row {other:?}"),
    }
}

#[test]
fn every_row_of_the_table_does_what_it_says() {
    let states = [
        ("published", PoolState::Published),
        ("pending", PoolState::Pending),
        ("failed", PoolState::Failed),
        ("held", PoolState::Held),
        ("as any other", PoolState::Published),
        ("find", PoolState::Publishing),
        ("nothing;", PoolState::Publishing),
        ("the same key again once", PoolState::Held),
        ("nothing, and the caller", PoolState::Pending),
    ];
    for one in PUBLISH_OUTCOMES {
        let (state, spent) = row(one.verb, one.outcome);
        let is_told = states.iter().any(|(word, right)| one.moves.contains(word) && *right == state);
        assert!(is_told, "{:?} {}: {state}, and the table says {}", one.verb, one.outcome, one.moves);
        assert_eq!(spent, u32::from(one.spends == Spends::Retry), "{:?} {}", one.verb, one.outcome);
    }
}

#[test]
fn an_answer_in_doubt_goes_out_again_at_the_pace_of_retries() {
    let mut rig = Rig::new(policy(true, false)).with(publisher());
    let mut pauses = Vec::new();
    let why = loop {
        rig = rig.after(said(PublishAnswer::Ambiguous("exit status 1: boom".into())));
        let wake_at = rig.entry.wake_at.expect("it is looked after");
        pauses.push(wake_at.since(rig.now).as_secs());
        rig.now = wake_at;
        rig = rig.after(PoolEvent::Looked { is_quiet: true });
        match rig.step() {
            Step::SendAgain => rig = rig.after(PoolEvent::SentAgain),
            Step::Hold(why) => break why,
            other => panic!("neither sent again nor held: {other:?}"),
        }
    };
    assert_eq!(pauses, [60, 120, 240, 0], "what is not sent again waits for nothing");
    assert_eq!(why, "sent 4 times under one key, and no call said whether it is out (the first: exit status 1: boom)");
    let search = Rig::new(policy(false, true)).with(publisher());
    let search = search.after(said(PublishAnswer::Ambiguous("no answer".into())));
    assert_eq!(search.entry.wake_at, Some(search.now), "a search has a settling time of its own");
}

#[test]
fn what_is_out_keeps_no_error_of_an_earlier_try() {
    let rig = Rig::new(policy(true, false)).with(publisher());
    let retried = rig.after(said(PublishAnswer::Retry("busy".into())));
    assert_eq!(retried.entry.last_error.as_deref(), Some("busy"));
    let rig = retried.later(24 * 3600).with(publisher());
    let out = rig.after(said(PublishAnswer::Published(Published::default())));
    assert_eq!((out.entry.status, out.entry.last_error), (PoolState::Published, None));
}

#[test]
fn what_is_said_twice_changes_nothing_and_what_contradicts_is_refused() {
    let done = Rig::new(policy(false, false)).with(consumer()).after(PoolEvent::Done(Published::default()));
    let again = done.clone().after(PoolEvent::Done(Published::default()));
    assert_eq!((again.entry.clone(), again.published), (done.entry.clone(), 1));
    let refused = done.clone().happens(PoolEvent::Failed { error: "no".into(), is_final: false });
    assert_eq!(refused, Err(PoolRefusal::Answered("pool_published".into())));
    let failed = Rig::new(policy(false, false)).with(consumer());
    let failed = failed.after(PoolEvent::Failed { error: "no".into(), is_final: true });
    assert_eq!(
        failed.clone().happens(PoolEvent::Done(Published::default())),
        Err(PoolRefusal::Answered("pool_failed".into()))
    );
    let mut with_publisher = Rig::new(policy(false, false)).with(publisher());
    assert!(matches!(
        with_publisher.happens(PoolEvent::Done(Published::default())),
        Err(PoolRefusal::HeldByPublisher(_))
    ));
    assert!(with_publisher.happens(PoolEvent::LeaseEnded).is_err(), "a command has no lease");
}

#[test]
fn a_consumer_answers_for_its_own_pieces_and_an_operator_for_all() {
    let of_bob = || Rig::new(policy(false, false)).with(Holder::Consumer("2:bob".into()));
    let events = [
        PoolEvent::Done(Published::default()),
        PoolEvent::Failed { error: "no".into(), is_final: true },
        PoolEvent::Failed { error: "no".into(), is_final: false },
        PoolEvent::Renewed { until: NOW.plus(Duration::from_secs(900)) },
    ];
    for mut rig in [of_bob(), of_bob().after(PoolEvent::LeaseEnded)] {
        let before = rig.entry.clone();
        for event in &events {
            assert_eq!(rig.happens(event.clone()), Err(PoolRefusal::HeldByOther("2:bob".into())), "{event:?}");
            assert_eq!(rig.entry, before);
        }
    }
    let judged = |who: &str, answers_for_all: bool| {
        let rig = of_bob();
        let context = Context { now: rig.now, draw: 0.5, policy: &rig.policy, who, answers_for_all, unanswered: None };
        let done = apply(&rig.entry, rig.handout.as_ref(), PoolEvent::Done(Published::default()), &context);
        done.map(|change| change.entry.status)
    };
    assert_eq!(judged("1:ada", true), Ok(PoolState::Published), "an operator");
    assert_eq!(judged("2:robert", false), Ok(PoolState::Published), "the same user, renamed");
    assert!(judged("22:bob", false).is_err(), "another user of that name");
}

#[test]
fn what_is_held_or_not_due_is_never_handed_out() {
    let mut held = Rig::new(policy(false, false)).with(consumer()).after(PoolEvent::LeaseEnded);
    assert!(held.hand_out(consumer()).is_err());
    assert!(
        held.happens(PoolEvent::Rescheduled { at: Some(NOW), priority: None }).is_err(),
        "a person settles or releases it"
    );
    let mut released = held.clone().after(PoolEvent::Released);
    released.hand_out(consumer()).expect("a person decided");
    assert_eq!(released.entry.fence, 2);
    let mut later = Rig::new(policy(false, false));
    later
        .happens(PoolEvent::Rescheduled { at: Some(NOW.plus(Duration::from_secs(1))), priority: Some(9) })
        .expect("it waits");
    assert_eq!(later.hand_out(consumer()), Err(PoolRefusal::NotDue));
    let mut restored = Rig::new(policy(false, false)).with(consumer()).after(PoolEvent::Restored("a backup".into()));
    assert!(restored.hand_out(consumer()).is_err());
    assert!(restored.entry.fence > 1_000_000, "no number of the lost daemon is given out again");
    let mut removed = Rig::new(policy(false, false)).after(PoolEvent::Removed { reason: None });
    removed.happens(PoolEvent::Restored("a backup".into())).expect("it may have been put back since");
    assert_eq!(removed.entry.status, PoolState::Removed);
    let back = removed.happens(PoolEvent::Rescheduled { at: Some(NOW), priority: None });
    assert!(back.is_err(), "nobody knows whether it is out");
}

#[test]
fn what_is_taken_out_keeps_the_doubt_of_any_handing_out() {
    let failed = || PoolEvent::Failed { error: "duplicate".into(), is_final: true };
    let unanswered = Rig::new(policy(true, false)).with(consumer()).after(PoolEvent::LeaseEnded);
    let first = unanswered.handout.clone().expect("it was handed out");
    let pending =
        unanswered.clone().with(consumer()).after(PoolEvent::Failed { error: "busy".into(), is_final: false });
    let given_up = unanswered.clone().with(consumer()).after(failed());
    for rig in [unanswered, pending, given_up] {
        let removed = |unanswered| {
            let (draw, who, answers_for_all) = (0.5, "1:ada", false);
            let context = Context { now: rig.now, draw, policy: &rig.policy, who, answers_for_all, unanswered };
            let change = apply(&rig.entry, rig.handout.as_ref(), PoolEvent::Removed { reason: None }, &context);
            change.expect("a person may").entry.held_reason
        };
        let why = removed(Some(&first)).unwrap_or_default();
        assert_eq!(why, "handed out to 1:ada at fence 1, which never answered", "{:?}", rig.entry);
        assert_eq!(removed(None), None);
    }
    // What is held keeps what it is held for, and who has a piece still answers for it.
    let held = Rig::new(policy(false, false)).with(consumer()).after(PoolEvent::LeaseEnded);
    let published = Rig::new(policy(false, false)).with(consumer()).after(PoolEvent::Done(Published::default()));
    for rig in [held, Rig::new(policy(false, false)).with(consumer()), published] {
        assert_eq!(doubt_of_waiting(&rig.entry, Some(&first)), None, "{:?}", rig.entry);
    }
}

#[test]
fn a_priority_alone_keeps_the_time_of_what_is_pending() {
    let (later, soon) = (NOW.plus(Duration::from_secs(3_600)), NOW.plus(Duration::from_secs(60)));
    let told = |rig: &Rig| (rig.entry.status, rig.entry.scheduled_at, rig.entry.priority);
    let waiting = Rig::new(policy(false, false)).after(PoolEvent::Rescheduled { at: Some(later), priority: None });
    let why = |rig: &Rig, at, priority| {
        let (draw, who, answers_for_all, unanswered) = (0.5, "1:ada", false, None);
        let context = Context { now: rig.now, draw, policy: &rig.policy, who, answers_for_all, unanswered };
        apply(&rig.entry, None, PoolEvent::Rescheduled { at, priority }, &context).expect("it fits").why
    };
    let in_utc = later.in_utc();
    assert_eq!(why(&waiting, Some(later), Some(2)), Some(format!("due {in_utc}, priority 2")), "the trail keeps both");
    assert_eq!(why(&waiting, None, Some(2)).as_deref(), Some("due as before, priority 2"));
    assert!(why(&waiting, None, None).is_some_and(|why| why.starts_with("due now, priority ")));
    let urgent = waiting.clone().after(PoolEvent::Rescheduled { at: None, priority: Some(9) });
    assert_eq!(told(&urgent), (PoolState::Pending, later, 9));
    let at_once = urgent.clone().after(PoolEvent::Rescheduled { at: None, priority: None });
    assert_eq!(told(&at_once), (PoolState::Pending, NOW, 9), "neither is said: now");
    let both = urgent.after(PoolEvent::Rescheduled { at: Some(soon), priority: Some(3) });
    assert_eq!(told(&both), (PoolState::Pending, soon, 3));
    // What is out of the line comes back now.
    let removed = waiting.clone().after(PoolEvent::Removed { reason: None });
    let failed = Rig::new(policy(false, false)).with(publisher()).after(said(PublishAnswer::Rejected("no".into())));
    for rig in [removed, failed] {
        let back = rig.later(30).after(PoolEvent::Rescheduled { at: None, priority: Some(2) });
        assert_eq!(told(&back), (PoolState::Pending, NOW.plus(Duration::from_secs(30)), 2));
    }
}

fn any_event() -> impl Strategy<Value = PoolEvent> {
    use PublishAnswer::{Ambiguous, NeverCalled, Rejected, Retry, Unavailable};
    let text = || "why".to_owned();
    prop_oneof![
        Just(said(PublishAnswer::Published(Published::default()))),
        Just(said(Retry(text()))),
        Just(said(Rejected(text()))),
        Just(said(Unavailable(text()))),
        Just(said(NeverCalled(text()))),
        Just(said(Ambiguous(text()))),
        Just(PoolEvent::CallLost),
        any::<bool>().prop_map(|is_quiet| PoolEvent::Looked { is_quiet }),
        Just(PoolEvent::Searched(FoundAnswer::Missing)),
        Just(PoolEvent::Searched(FoundAnswer::Found(Published::default()))),
        Just(PoolEvent::Searched(FoundAnswer::Unavailable(text()))),
        Just(PoolEvent::SentAgain),
        Just(PoolEvent::GivenUp(text())),
        Just(PoolEvent::LeaseEnded),
        Just(PoolEvent::Done(Published::default())),
        any::<bool>().prop_map(|is_final| PoolEvent::Failed { error: "no".into(), is_final }),
        Just(PoolEvent::Renewed { until: NOW }),
        Just(PoolEvent::Restored(text())),
        Just(PoolEvent::Released),
        any::<bool>().prop_map(|is_out| PoolEvent::Settled {
            published: is_out.then(Published::default),
            reason: "seen".into()
        }),
        Just(PoolEvent::Rescheduled { at: Some(NOW), priority: Some(1) }),
        Just(PoolEvent::Removed { reason: None }),
    ]
}

/// Whether a person, the configuration or a proof let an entry go out again.
fn may_go_again(rig: &Rig, event: &PoolEvent, before: &Rig) -> bool {
    match event {
        PoolEvent::Released | PoolEvent::Rescheduled { .. } | PoolEvent::Failed { .. } => true,
        // The publisher says that it is not out, and was asked once only.
        PoolEvent::Answered(_) => before.handout.as_ref().is_some_and(|one| one.sends == 1 && !one.may_be_out),
        PoolEvent::Searched(_) => {
            before.handout.as_ref().is_some_and(|one| one.quiet_since.is_some() && one.absences + 1 >= ABSENCES)
        }
        PoolEvent::LeaseEnded => rig.policy.is_idempotent,
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_hands_a_piece_out_that_may_be_out(
        is_idempotent: bool,
        can_find: bool,
        events in prop::collection::vec((any_event(), 0u64..200, any::<bool>()), 1..60),
    ) {
        let mut rig = Rig::new(policy(is_idempotent, can_find));
        for (event, seconds, is_consumer) in events {
            rig = rig.later(seconds);
            let before = rig.clone();
            let _ = rig.hand_out(if is_consumer { consumer() } else { publisher() });
            prop_assert!(rig.entry.fence >= before.entry.fence);
            let before = rig.clone();
            if rig.happens(event.clone()).is_err() {
                prop_assert_eq!(&rig.entry, &before.entry);
                continue;
            }
            let entry = &rig.entry;
            prop_assert_eq!(entry.status == PoolState::Publishing, entry.wake_at.is_some(), "{:?}", event);
            prop_assert!(entry.status != PoolState::Held || entry.held_reason.is_some());
            prop_assert!(entry.held_reason.is_none() || matches!(entry.status, PoolState::Held | PoolState::Removed));
            prop_assert!(rig.published <= 1, "published twice");
            prop_assert_eq!(entry.published_at.is_some(), entry.status == PoolState::Published);
            let was_out = matches!(before.entry.status, PoolState::Publishing | PoolState::Held);
            let goes_again = was_out && entry.status == PoolState::Pending;
            prop_assert!(!goes_again || may_go_again(&rig, &event, &before), "{:?} after {:?}", event, before);
        }
    }
}
