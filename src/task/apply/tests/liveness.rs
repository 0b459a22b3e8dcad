//! A task and a bad generator on virtual time.
//!
//! The generator tells the truth when it answers, but it may be away, unreadable, slow or dead in the middle of a call.
//! Two promises: the task ends, or a person is asked, in a bounded number of steps; and no second job is paid for while
//! the first may be alive.

use proptest::prelude::*;

use super::*;
use crate::task::step::{Step, next_step};

/// Decides what goes wrong, from a list; once the list is empty nothing does.
struct Fate {
    choices: std::vec::IntoIter<u8>,
}

impl Fate {
    /// 0 is the good outcome.
    fn pick(&mut self, of: u8) -> u8 {
        self.choices.next().map_or(0, |choice| choice % of)
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Life {
    /// Runs until then.
    Until(i64),
    /// Cannot be cancelled, and runs until then.
    Stubborn(i64),
    Failed,
    Cancelled,
    /// Its row has gone.
    Vanished,
}

struct Generator {
    fate: Fate,
    /// Jobs by key, with the time at which they come into being.
    jobs: Vec<(AttemptKey, i64, Life)>,
    /// Until when a process of a submit is left.
    busy_until: i64,
}

impl Generator {
    fn job(&self, key: &AttemptKey, now: i64) -> Option<Life> {
        self.jobs.iter().find(|(theirs, born, _)| theirs == key && *born <= now).map(|(_, _, life)| *life)
    }

    fn make(&mut self, key: &AttemptKey, born: i64) {
        if self.jobs.iter().any(|(theirs, _, _)| theirs == key) {
            return;
        }
        let life = match self.fate.pick(5) {
            0 => Life::Until(born + 60_000),
            1 => Life::Failed,
            2 => Life::Until(born + 4 * 3_600_000),
            3 => Life::Stubborn(born + 4 * 3_600_000),
            _ => Life::Vanished,
        };
        self.jobs.push((key.clone(), born, life));
    }

    /// Jobs that somebody pays for at this time: what has ended by itself counts no longer.
    fn alive(&self, now: i64) -> usize {
        let is_alive = |life: &Life| matches!(life, Life::Until(end) | Life::Stubborn(end) if *end > now);
        self.jobs.iter().filter(|(_, _, life)| is_alive(life)).count()
    }

    fn submit(&mut self, story: &Story) -> Option<SubmitAnswer> {
        let attempt = story.attempt.as_ref().expect("a submit has an attempt");
        let now = story.now_ms;
        // What a repetition is told is said of itself: it says nothing about the call before it.
        Some(match self.fate.pick(8) {
            0 | 1 => {
                self.make(&attempt.key, now);
                SubmitAnswer::Accepted { reference: attempt.key.0.clone(), vars: BTreeMap::new() }
            }
            2 if attempt.state != AttemptState::Intended && self.fate.pick(2) == 1 => {
                SubmitAnswer::Rejected("quota".into())
            }
            2 => SubmitAnswer::Retry("later".into()),
            3 => SubmitAnswer::Unavailable("nobody".into()),
            // No answer; a job may come into being while a process is left, or within the settling time after it.
            4 => {
                self.busy_until = now + 20_000;
                self.make(&attempt.key, self.busy_until + 50_000);
                SubmitAnswer::Ambiguous("killed".into())
            }
            5 => SubmitAnswer::Ambiguous("exit 7".into()),
            // Our own death in between.
            6 => {
                self.make(&attempt.key, now);
                return None;
            }
            _ => return None,
        })
    }

    fn poll(&mut self, story: &Story, by_name: bool) -> PollAnswer {
        let attempt = story.attempt.as_ref().expect("a poll has an attempt");
        match self.fate.pick(5) {
            1 => return PollAnswer::Unavailable("nobody".into()),
            2 => return PollAnswer::Unreadable("?".into()),
            _ => {}
        }
        match self.job(&attempt.key, story.now_ms) {
            None | Some(Life::Vanished) => PollAnswer::Missing { is_complete: true, by_name },
            Some(Life::Failed) => poll_state(JobState::Failed),
            Some(Life::Cancelled) => poll_state(JobState::Cancelled),
            Some(Life::Until(end) | Life::Stubborn(end)) if end <= story.now_ms => poll_state(JobState::Completed),
            Some(Life::Until(_) | Life::Stubborn(_)) => poll_state(JobState::Processing),
        }
    }

    fn find(&mut self, story: &Story) -> FindAnswer {
        let attempt = story.attempt.as_ref().expect("a search has an attempt");
        match self.fate.pick(5) {
            1 => FindAnswer::Unavailable("nobody".into()),
            2 => FindAnswer::None { is_complete: false },
            3 => FindAnswer::Unreadable("?".into()),
            _ => match self.job(&attempt.key, story.now_ms) {
                None | Some(Life::Vanished) => FindAnswer::None { is_complete: true },
                Some(_) => FindAnswer::One { reference: attempt.key.0.clone() },
            },
        }
    }

    fn fetch(&mut self) -> FetchAnswer {
        match self.fate.pick(5) {
            0 => FetchAnswer::Piece(piece()),
            1 => FetchAnswer::NotReady,
            2 => FetchAnswer::Unavailable("nobody".into()),
            3 => FetchAnswer::Unreadable { why: "?".into(), raw: "?".into() },
            _ => FetchAnswer::Missing { raw: "?".into() },
        }
    }

    fn cancel(&mut self, story: &Story) -> CancelAnswer {
        let key = &story.attempt.as_ref().expect("a cancel has an attempt").key;
        match self.fate.pick(4) {
            1 => return CancelAnswer::Unclear("nobody".into()),
            2 => return CancelAnswer::Refused("no".into()),
            _ => {}
        }
        let now = story.now_ms;
        match self.jobs.iter_mut().find(|(theirs, born, _)| theirs == key && *born <= now) {
            Some((_, _, life @ Life::Until(_))) => {
                *life = Life::Cancelled;
                CancelAnswer::Ok
            }
            Some((_, _, Life::Stubborn(_))) => CancelAnswer::Refused("no".into()),
            Some(_) | None => CancelAnswer::Unclear("unknown job".into()),
        }
    }

    fn look(&mut self, story: &Story) -> RunReport {
        let attempt = story.attempt.as_ref().expect("a run has an attempt");
        let reference = attempt.key.0.clone();
        let life = self.job(&attempt.key, story.now_ms);
        match life {
            None => RunReport::NeverStarted("nothing ran".into()),
            Some(_) if attempt.state == AttemptState::Intended && self.fate.pick(2) == 0 => {
                RunReport::Started { reference }
            }
            Some(Life::Until(end) | Life::Stubborn(end)) if end > story.now_ms => RunReport::Running,
            Some(Life::Until(_) | Life::Stubborn(_)) => match self.fate.pick(3) {
                0 => RunReport::Piece(piece()),
                1 => RunReport::NoPiece { why: "empty".into(), raw: String::new() },
                _ => RunReport::Ambiguous { why: "?".into(), raw: "?".into() },
            },
            Some(Life::Failed) => RunReport::Failed("exit 3".into()),
            Some(Life::Cancelled) => RunReport::Killed,
            Some(Life::Vanished) => RunReport::Lost { why: "power cut".into(), raw: "half a piece".into() },
        }
    }
}

fn tell(story: &mut Story, event: Event) {
    if let Err(refusal) = story.tell(event.clone()) {
        panic!("{event:?} was refused ({refusal}) in {:?}\n{:#?}\n{:#?}", story.state(), story.task, story.attempt);
    }
}

/// Looks at the lock; whether it is free.
fn is_quiet(story: &mut Story, generator: &Generator) -> bool {
    let is_free = generator.busy_until <= story.now_ms;
    tell(story, Event::LockSeen { is_free });
    is_free
}

fn send(story: &mut Story, generator: &mut Generator) {
    if story.policy.is_blocking {
        if generator.fate.pick(4) != 3 {
            let key = story.attempt.as_ref().expect("it was claimed").key.clone();
            generator.make(&key, story.now_ms);
        }
        let report = generator.look(story);
        return tell(story, Event::RunReported(report));
    }
    if let Some(answer) = generator.submit(story) {
        tell(story, Event::SubmitAnswered(answer));
    }
}

/// Does what a poller or a worker does for one due step.
fn carry_out(story: &mut Story, generator: &mut Generator, step: Step) {
    match step {
        Step::None => panic!("nothing to do for {:?}, which is due", story.state()),
        Step::ReportLostCall => tell(story, Event::CallLost("nobody answers for it".into())),
        Step::LookAtRun => {
            let report = generator.look(story);
            tell(story, Event::RunReported(report));
        }
        Step::Find => {
            is_quiet(story, generator);
            if story.task.state.is_active() || story.task.state.is_final() {
                let (answer, began_at) = (generator.find(story), story.now().utc);
                tell(story, Event::FindAnswered { answer, began_at });
            }
        }
        Step::Resend => {
            if is_quiet(story, generator) {
                tell(story, Event::ResendBegun);
                send(story, generator);
            }
        }
        Step::GiveUpDoubt => {
            if is_quiet(story, generator) {
                tell(story, Event::DoubtStands("nothing can clear it".into()));
            }
        }
        Step::Poll | Step::PollOne => {
            let answer = generator.poll(story, step == Step::PollOne);
            tell(story, Event::PollAnswered(answer));
        }
        Step::Fetch => {
            let answer = generator.fetch();
            tell(story, Event::FetchAnswered(answer));
        }
        Step::Cancel => {
            let is_doubted = story.state().1 == Some(AttemptState::Unknown) && !story.policy.is_blocking;
            if is_doubted {
                is_quiet(story, generator);
            }
            if story.task.state != TaskState::Cancelling {
                return;
            }
            let answer = generator.cancel(story);
            tell(story, Event::CancelAnswered(answer));
        }
        Step::Expire => expire(story, generator),
        Step::EndWatch => tell(story, Event::WatchEnded),
    }
}

/// Asks once more, cancels, and says what that proves.
fn expire(story: &mut Story, generator: &mut Generator) {
    let before = story.state();
    if story.policy.is_blocking {
        let report = generator.look(story);
        tell(story, Event::RunReported(report));
    } else {
        let answer = generator.poll(story, true);
        match answer {
            PollAnswer::Unreadable(why) if story.task.state != TaskState::Cancelling => {
                return tell(story, Event::DeadlineUnread(why));
            }
            PollAnswer::Unavailable(why) if story.task.state != TaskState::Cancelling => {
                return tell(story, Event::DeadlineUnanswered(why));
            }
            answer => tell(story, Event::PollAnswered(answer)),
        }
    }
    let is_ready = story.attempt.as_ref().is_some_and(|attempt| attempt.is_ready);
    let is_over = !story.attempt.as_ref().is_some_and(|attempt| attempt.state.may_be_alive());
    if is_ready || is_over || (before.0 == TaskState::Held) {
        return;
    }
    let is_end_proved = story.policy.can_cancel && generator.cancel(story) == CancelAnswer::Ok;
    tell(story, Event::DeadlineReached { is_end_proved });
}

fn kinds() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(policy()),
        Just(Policy { can_find: false, ..policy() }),
        Just(Policy { can_cancel: false, can_poll_one: false, ..policy() }),
        Just(idempotent()),
        Just(Policy { can_find: true, is_ref_our_key: false, ..idempotent() }),
        Just(Policy { can_cancel: false, ..idempotent() }),
        Just(blocking()),
        Just(Policy { is_free_to_repeat: true, ..blocking() }),
        Just(Policy { can_cancel: false, ..blocking() }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn every_task_ends_or_asks_a_person_and_nothing_is_paid_twice(
        policy in kinds(),
        max_retries in 0u32..4,
        choices in prop::collection::vec(any::<u8>(), 0..80),
        cancel_at in prop::option::of(0usize..30),
        draw in 0.0f64..1.0,
    ) {
        let mut story = Story::new(policy);
        story.task.max_retries = max_retries;
        story.draw = draw;
        let mut generator = Generator { fate: Fate { choices: choices.into_iter() }, jobs: vec![], busy_until: 0 };
        let mut fresh = 0;
        let mut still = 0;
        for turn in 0.. {
            prop_assert!(turn < 2_000, "no end in sight: {:?} {:?}", story.task, story.attempt);
            if cancel_at == Some(turn) && !story.task.state.is_final() {
                tell(&mut story, Event::CancelRequested);
            }
            let before = (story.task.clone(), story.attempt.clone(), story.now_ms);
            match (story.task.state, story.task.wake_at) {
                (TaskState::Held, _) => break,
                (TaskState::Pending, wake_at) => {
                    story.now_ms = story.now_ms.max(wake_at.map_or(0, |at| at.0 - START));
                    fresh += 1;
                    tell(&mut story, Event::Claimed { key: key(fresh) });
                    send(&mut story, &mut generator);
                }
                (state, None) => {
                    prop_assert!(state.is_final(), "{state} has no owner");
                    break;
                }
                (_, Some(wake_at)) => {
                    story.now_ms = story.now_ms.max(wake_at.0 - START);
                    let now = story.now();
                    let step = next_step(&story.task, story.attempt.as_ref(), &story.policy, &now);
                    carry_out(&mut story, &mut generator, step);
                }
            }
            let alive = generator.alive(story.now_ms);
            prop_assert!(alive <= 1, "{alive} jobs are paid for: {:?}\n{:#?}", generator.jobs, story.audit);
            // A step at the same time as the one before must have changed something, and cannot do so for ever.
            let is_same_time = before.2 == story.now_ms;
            let is_changed = (&before.0.state, &before.1) != (&story.task.state, &story.attempt);
            still = if is_same_time { still + 1 } else { 0 };
            prop_assert!(!is_same_time || is_changed || story.task.wake_at > Some(story.now().utc), "a hot loop");
            prop_assert!(still < 12, "{still} steps without time passing: {:?}", story.task);
        }
    }
}
