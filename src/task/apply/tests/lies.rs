//! A generator's service that lies about its jobs: what that can cost.

use super::*;

#[test]
fn a_service_that_denies_its_jobs_is_paid_once_a_retry() {
    for max_retries in [0, 1, 3] {
        let mut story = Story::new(policy());
        story.task.max_retries = max_retries;
        let mut paid = 0;
        while story.task.state == TaskState::Pending {
            paid += 1;
            story = story.so(Event::Claimed { key: key(paid) });
            let vars = BTreeMap::new();
            story = story.so(Event::SubmitAnswered(SubmitAnswer::Accepted { reference: "r".into(), vars }));
            story = story.so(Event::PollAnswered(poll_state(JobState::Failed)));
            story.now_ms += 3_600_000;
        }
        assert_eq!((story.task.state, paid), (TaskState::Failed, max_retries + 1));
    }
}

#[test]
fn a_service_that_hides_a_job_is_believed_after_two_whole_lists() {
    let mut story = Story::new(policy());
    story = story.so(Event::Claimed { key: key(1) });
    story = story.so(Event::SubmitAnswered(SubmitAnswer::Ambiguous("no answer".into())));
    story = story.so(Event::LockSeen { is_free: true });
    // Half a list, or one from before it has settled, proves nothing.
    for (is_complete, waited_s) in [(false, 61), (true, 1)] {
        let mut early = story.clone();
        early.now_ms += waited_s * 1_000;
        let began_at = early.now().utc;
        for _ in 0..5 {
            early = early.so(Event::FindAnswered { answer: FindAnswer::None { is_complete }, began_at });
            assert_eq!(early.task.state, TaskState::Submitting);
        }
    }
    for expected in [TaskState::Submitting, TaskState::Pending] {
        story.now_ms += 61_000;
        let began_at = story.now().utc;
        story = story.so(Event::FindAnswered { answer: FindAnswer::None { is_complete: true }, began_at });
        assert_eq!(story.task.state, expected);
    }
}
