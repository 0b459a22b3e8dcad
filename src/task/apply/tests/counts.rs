//! What an outage costs, and what it does not cost afterwards: each thing that costs nothing has a count of its own.

use super::*;
use crate::task::outcome::K_IN_A_ROW;

use AttemptState as A;
use TaskState as T;

/// A whole long outage of submits, as far as the task may go through it.
const OUTAGE: u32 = 40;

fn why() -> String {
    "why".into()
}

fn submit(answer: SubmitAnswer) -> Event {
    Event::SubmitAnswered(answer)
}

fn accepted() -> Event {
    submit(SubmitAnswer::Accepted { reference: "r".into(), vars: BTreeMap::new() })
}

fn searched(story: Story, answer: FindAnswer) -> Story {
    let began_at = story.now().utc;
    story.so(Event::FindAnswered { answer, began_at })
}

fn is(story: &Story, state: T, attempt: A) {
    assert_eq!(story.state(), (state, Some(attempt)), "{:?}", story.task.reason);
}

/// A submit after [`OUTAGE`] others that found nobody.
fn after_an_outage(policy: Policy) -> Story {
    let mut story = Story::at(policy, T::Submitting, A::Intended);
    for n in 0..OUTAGE {
        story = story.so(submit(SubmitAnswer::Unavailable(why())));
        is(&story, T::Pending, A::Withdrawn);
        story.now_ms += 3_600_000;
        story = story.so(Event::Claimed { key: key(n + 2) });
    }
    story
}

/// Nobody is left of the submit, and two searches after its time find no job.
fn proved_absent(story: Story) -> Story {
    let mut story = story.so(Event::LockSeen { is_free: true });
    for _ in 0..2 {
        story = searched(story.later(Duration::from_secs(61)), FindAnswer::None { is_complete: true });
    }
    story
}

#[test]
fn the_first_end_for_nothing_after_an_outage_is_the_first() {
    let doubted = after_an_outage(policy()).so(submit(SubmitAnswer::Ambiguous(why())));
    let absent = proved_absent(doubted);
    is(&absent, T::Pending, A::EndedAbandoned);
    let wait = absent.task.wake_at.expect("with back-off").since(absent.now().utc);
    assert!(wait < Duration::from_secs(5 * 60), "soon, as after any first doubt: {wait:?}");
    let run = after_an_outage(blocking()).so(Event::RunReported(RunReport::Started { reference: "run".into() }));
    is(&run.so(Event::RunReported(RunReport::Unavailable(why()))), T::Pending, A::EndedFailed);
    let job = after_an_outage(policy()).in_outage().so(accepted());
    is(&job.so(Event::PollAnswered(poll_state(JobState::Failed))), T::Pending, A::EndedFailed);
    // Nor does a run of such ends count as submits that found nobody.
    let mut tired = Story::at(policy(), T::Submitting, A::Intended);
    tired.attempt_mut().free_ends = 12;
    is(&tired.so(submit(SubmitAnswer::Unavailable(why()))), T::Pending, A::Withdrawn);
}

#[test]
fn a_job_after_an_outage_has_every_fresh_limit_of_the_next_one() {
    let doubted = after_an_outage(policy()).so(submit(SubmitAnswer::Ambiguous(why())));
    let adopted = searched(lengthened(doubted), FindAnswer::One { reference: "r".into() });
    for story in [after_an_outage(policy()).so(accepted()), adopted] {
        let mut story = story;
        for _ in 0..3 + FREE_ENDS {
            story = story.later(Duration::from_secs(1_800)).so(Event::DeadlineUnanswered(why()));
            assert_eq!(story.task.retry_count, 0, "nothing is spent");
        }
        let spent = story.later(Duration::from_secs(1_800)).so(Event::DeadlineUnanswered(why()));
        assert_eq!(spent.task.retry_count, 1, "that has a bound");
    }
}

/// A doubt whose searches find nobody until nothing is left to lengthen it by.
fn lengthened(mut story: Story) -> Story {
    let intended_at = story.attempt_mut().intended_at;
    for n in 1..=3 + FREE_ENDS {
        let passes_at = intended_at.plus(story.policy.find_limit * n);
        story.now_ms = passes_at.0 - START;
        story = searched(story, FindAnswer::Unavailable(why()));
        is(&story, T::Submitting, A::Unknown);
        assert_eq!(story.attempt_mut().extensions, n);
    }
    story
}

#[test]
fn a_doubt_after_an_outage_lasts_no_longer_than_any() {
    let doubted = after_an_outage(policy()).so(submit(SubmitAnswer::Ambiguous(why())));
    let bad = FindAnswer::None { is_complete: false };
    let early = searched(doubted.clone().later(Duration::from_secs(14 * 60)), bad.clone());
    is(&early, T::Submitting, A::Unknown);
    is(&searched(doubted.later(Duration::from_secs(15 * 60)), bad), T::Held, A::Unknown);
    let resent = after_an_outage(idempotent()).so(submit(SubmitAnswer::Ambiguous(why())));
    let mut resent = resent.later(Duration::from_secs(1_801));
    resent.attempt_mut().bad_answers = K_IN_A_ROW;
    let attempt = resent.attempt.as_ref().expect("it has one");
    assert!(are_resends_spent(&resent.task, attempt, resent.now().utc), "the limit of the intent");
}

#[test]
fn a_doubt_that_outlived_an_outage_is_submitted_again_when_it_is_cleared() {
    let doubted = Story::at(policy(), T::Submitting, A::Intended).so(submit(SubmitAnswer::Ambiguous(why())));
    is(&proved_absent(lengthened(doubted)), T::Pending, A::EndedAbandoned);
}

#[test]
fn a_decision_of_a_person_forgets_all_of_it() {
    let mut held = Story::at(policy(), T::Held, A::Unknown);
    let attempt = held.attempt_mut();
    (attempt.free_ends, attempt.unavailable_submits, attempt.extensions) = (12, 75, 12);
    let mut decided = held.so(Event::Settled(Settlement::Absent)).so(Event::Claimed { key: key(2) });
    let attempt = decided.attempt_mut();
    assert_eq!((attempt.free_ends, attempt.unavailable_submits, attempt.extensions), (0, 0, 0));
}

#[test]
fn an_accepted_job_ends_the_outage_before_it() {
    let failed = after_an_outage(policy()).so(accepted()).so(Event::PollAnswered(poll_state(JobState::Failed)));
    is(&failed, T::Pending, A::EndedFailed);
    let mut again = failed.later(Duration::from_secs(24 * 3600)).so(Event::Claimed { key: key(99) });
    again = again.so(submit(SubmitAnswer::Unavailable(why())));
    is(&again, T::Pending, A::Withdrawn);
    assert_eq!(again.attempt_mut().unavailable_submits, 1, "the first of another outage");
}
