//! Reports that a job has ended: a poll comes at once, and nothing else comes of them, whoever sends them and however often.

use std::time::Duration;

use contentd::actors::poller::JobMayHaveEnded;
use contentd::generator::registry::Limits;
use contentd::task::learning::Learned;
use contentd::task::outcome::Verb;
use contentd::task::retry::PollSchedule;
use contentd::task::{AttemptKey, Policy, TaskId, TaskState};

use super::rig::{Ask, Rig, Setup, limits, policy};
use super::tally;

/// Polled every twelve hours.
fn rarely() -> Policy {
    let polls = PollSchedule {
        interval: Duration::from_secs(12 * 3_600),
        learned: Some(Learned { median: Duration::from_secs(12 * 3_600), spread: 0.05 }),
        is_batch: false,
    };
    Policy { polls, ..policy() }
}

fn report(rig: &Rig, key: &AttemptKey) {
    rig.world.peers.borrow().poller.clone().unwrap().do_send(JobMayHaveEnded { key: key.clone() });
}

fn polls_of(rig: &Rig, id: &TaskId) -> usize {
    rig.script().calls(Verb::Poll).iter().filter(|call| call.tasks.contains(id)).count()
}

async fn accepted(rig: &Rig) -> (TaskId, AttemptKey) {
    let id = rig.submit(Ask::about("slow")).await;
    rig.until("it is accepted", async |rig| rig.state(&id) == TaskState::Submitted).await;
    let key = rig.attempt(&id).key;
    (id, key)
}

#[actix::test]
async fn a_report_brings_the_piece_at_once() {
    let rig = Rig::start(Setup::one(rarely(), limits())).await;
    rig.script().behave(|behaviour| behaviour.job_ms = 60_000);
    let (id, key) = accepted(&rig).await;
    rig.pass(Duration::from_secs(120)).await;
    assert_ne!(rig.state(&id), TaskState::Completed, "nobody has asked");
    report(&rig, &key);
    rig.pass(Duration::from_secs(2)).await;
    assert_eq!(rig.state(&id), TaskState::Completed);
    let story = rig.story(&id);
    // However late and doubled.
    for _ in 0..20 {
        report(&rig, &key);
    }
    rig.pass(Duration::from_secs(24 * 3_600)).await;
    assert_eq!(rig.story(&id), story);
    rig.assert_paid_once(std::slice::from_ref(&id));
}

#[actix::test]
async fn a_flood_of_reports_is_a_poll_in_five_seconds_and_forged_ones_are_none() {
    let rig = Rig::start(Setup::one(rarely(), limits())).await;
    rig.script().behave(|behaviour| behaviour.job_ms = 600_000);
    let (id, key) = accepted(&rig).await;
    let (before, story, calls) = (rig.task(&id), rig.story(&id), rig.script().all_calls().len());
    let forged: Vec<AttemptKey> = (0..2_000_u32).map(|n| AttemptKey(format!("{n:032x}"))).collect();
    forged.iter().for_each(|key| report(&rig, key));
    rig.pass(Duration::from_secs(60)).await;
    assert_eq!((rig.task(&id), rig.story(&id), rig.script().all_calls().len()), (before, story.clone(), calls));
    for _ in 0..600 {
        report(&rig, &key);
        rig.pass(Duration::from_millis(100)).await;
    }
    let polls = polls_of(&rig, &id);
    assert!((8..=14).contains(&polls), "{polls} polls in a minute of reports");
    assert!(rig.story(&id).len() <= story.len() + 1, "what the generator said of it, once: {:?}", rig.story(&id));
    assert_eq!(rig.task(&id).retry_count, 0);
    tally::tell("notice-2-reports", &format!("2600 reports, {} of them forged: {polls} polls", forged.len()));
}

#[actix::test]
async fn a_report_during_a_poll_is_followed_by_another_poll() {
    let rig = Rig::start(Setup::one(rarely(), limits())).await;
    rig.script().behave(|behaviour| (behaviour.job_ms, behaviour.call_ms) = (30_000, 4_000));
    let (id, key) = accepted(&rig).await;
    let made = rig.script().jobs_of(&id)[0].made_at;
    // The poll asks before the job is done and answers after it.
    rig.until("just before its end", async |rig| rig.elapsed_ms() >= made % 1_000_000_000 + 27_000).await;
    report(&rig, &key);
    rig.pass(Duration::from_millis(3_500)).await;
    report(&rig, &key);
    rig.pass(Duration::from_secs(40)).await;
    assert_eq!(rig.state(&id), TaskState::Completed, "{}", rig.whole_story());
}

#[actix::test]
async fn the_call_budget_wins_over_reports() {
    let limits = Limits { calls_per_minute: Some(6), ..limits() };
    let rig = Rig::start(Setup::one(rarely(), limits)).await;
    rig.script().behave(|behaviour| behaviour.job_ms = 3_600_000);
    let ids = rig.submit_all((0..30).map(|n| Ask::about(format!("{n}")))).await;
    rig.until("all are accepted", async |rig| ids.iter().all(|id| rig.state(id) == TaskState::Submitted)).await;
    let before = rig.script().calls(Verb::Poll).len();
    for _ in 0..60 {
        for id in &ids {
            report(&rig, &rig.attempt(id).key);
        }
        rig.pass(Duration::from_secs(5)).await;
    }
    let polls = rig.script().calls(Verb::Poll).len() - before;
    assert!((24..=31).contains(&polls), "{polls} polls in five minutes of six calls each");
}
