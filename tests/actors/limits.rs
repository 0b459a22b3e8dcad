//! Capacity: a generator's, an account's, a day's, a minute's; and that a limit of one starves nobody else.

use std::sync::Arc;
use std::time::Duration;

use contentd::generator::registry::Limits;
use contentd::store::write::{Claim, NewTask, PendingLimits, Write};
use contentd::task::outcome::Verb;
use contentd::task::retry::PollSchedule;
use contentd::task::{AccountId, AttemptKey, GeneratorName, Policy, Task, TaskId, TaskState};

use super::rig::{Ask, Rig, Setup, limits, policy, sample};

#[actix::test]
async fn never_more_jobs_than_max_in_flight() {
    let limits = Limits { max_in_flight: 3, ..limits() };
    let rig = Rig::start(Setup { workers: 8, ..Setup::one(policy(), limits) }).await;
    let ids = rig.submit_all((0..20).map(|n| Ask::about(format!("{n}")))).await;
    rig.until("a task waits for a slot", async |rig| rig.explain(&ids[19]).await.contains("max_in_flight is 3")).await;
    rig.until_all(&ids, TaskState::Completed).await;
    assert_eq!(rig.script().most_alive(), 3, "no more than allowed, and no less than possible");
    rig.assert_paid_once(&ids);
}

#[actix::test]
async fn an_account_at_its_limit_starves_nobody() {
    let limits = Limits { max_in_flight: 4, max_in_flight_per_account: Some(1), ..limits() };
    let rig = Rig::start(Setup::one(policy(), limits)).await;
    let many = rig.submit_all((0..80).map(|n| Ask::about(format!("big {n}")).priority(10))).await;
    let one = rig.submit(Ask::about("small").priority(1).account(2)).await;
    rig.until_state(&one, TaskState::Completed).await;
    let jobs = rig.script().jobs();
    let of_big = jobs.iter().filter(|job| job.account == AccountId(1)).count();
    assert!(of_big <= 3, "the small account did not wait for the big one: {of_big}");
    let why = rig.explain(&many[79]).await;
    assert!(why.contains("account 1 has 1 jobs") && why.contains("1 are allowed"), "{why}");
    rig.until_all(&many, TaskState::Completed).await;
    assert_eq!(rig.script().most_alive_of(AccountId(1)), 1);
}

#[actix::test]
async fn a_long_lane_alone_waits_for_no_tick() {
    let rig = Rig::start(Setup::one(policy(), Limits { max_in_flight: 1_000, ..limits() })).await;
    rig.script().behave(|behaviour| behaviour.job_ms = 6 * 3_600_000);
    let ids = rig.submit_all((0..200).map(|n| Ask { time_limit_s: 86_400, ..Ask::about(format!("{n}")) })).await;
    rig.until("each has its job", async |rig| rig.script().jobs().len() == ids.len()).await;
    let last = rig.script().jobs().iter().map(|job| job.made_at).max().unwrap();
    let first = rig.script().jobs().iter().map(|job| job.made_at).min().unwrap();
    // Four workers, and calls of 50 ms.
    assert!(last - first < 10_000, "{} ms between the first submit and the last", last - first);
}

/// Three hundred lanes that cannot run have made way: they are more than the queue's window holds. Nothing tells the queue when their
/// time has come.
#[actix::test]
async fn lanes_that_made_way_are_asked_for_again_however_much_is_submitted() {
    let other = GeneratorName("other".into());
    let polls = PollSchedule { interval: Duration::from_secs(3_600), learned: None, is_batch: false };
    let (policy, limits) = (Policy { polls, ..policy() }, Limits { max_in_flight: 1_000, ..limits() });
    let generators = vec![(sample(), policy.clone(), limits), (other.clone(), policy, limits)];
    let rig = Rig::start(Setup { generators, workers: 8, ..Setup::default() }).await;
    for n in 3..=300 {
        let write = Write::AddAccount { name: n.to_string(), external_id: None, now: rig.now() };
        rig.world.store.write(write).await.unwrap();
    }
    // Four jobs fail, and a fifth is under way for hours: no more begin for half an hour.
    rig.script().behave(|behaviour| (behaviour.poison, behaviour.job_ms) = (Some("bad"), 1_000));
    let bad = rig.submit_all((0..4).map(|n| Ask { max_retries: 0, ..Ask::about(format!("bad {n}")) })).await;
    rig.until_all(&bad, TaskState::Failed).await;
    for script in &rig.scripts {
        script.behave(|behaviour| behaviour.job_ms = 20 * 3_600_000);
    }
    let long = |topic: String| Ask { time_limit_s: 86_400, ..Ask::about(topic) };
    rig.submit_all((1..=300).map(|n| long(n.to_string()).account(n))).await;
    rig.until("the fifth is under way", async |rig| rig.script().jobs().len() == 5).await;
    for n in 0..200 {
        rig.submit(Ask { generator: other.clone(), ..long(format!("other {n}")) }).await;
        rig.pass(Duration::from_secs(10)).await;
    }
    assert!(rig.script().jobs().len() > 5, "half an hour has passed");
}

#[actix::test]
async fn submits_per_day_hold_for_any_day() {
    let limits = Limits { submits_per_day: Some(3), ..limits() };
    let rig = Rig::start(Setup::one(policy(), limits)).await;
    let ids = rig.submit_all((0..7).map(|n| Ask::about(format!("{n}")))).await;
    rig.pass(Duration::from_secs(3600)).await;
    assert_eq!(rig.script().calls(Verb::Submit).len(), 3);
    let why = rig.explain(&ids[3]).await;
    assert!(why.contains("submits_per_day is 3; the next is not before "), "{why}");
    rig.until_all(&ids, TaskState::Completed).await;
    let submits: Vec<i64> = rig.script().calls(Verb::Submit).iter().map(|call| call.at_ms).collect();
    assert_eq!(submits.len(), 7);
    let day_ms = 24 * 3_600_000;
    for window in submits.windows(4) {
        assert!(window[3] - window[0] >= day_ms, "four submits within a day: {submits:?}");
    }
}

#[actix::test]
async fn submits_per_day_hold_over_a_restart() {
    let limits = Limits { submits_per_day: Some(3), submits_per_day_per_account: Some(2), ..limits() };
    let rig = Rig::start(Setup::one(policy(), limits)).await;
    let ids = rig.submit_all((0..6).map(|n| Ask::about(format!("{n}")).account(1 + i64::from(n == 5)))).await;
    rig.until_all(&[ids[0].clone(), ids[1].clone(), ids[5].clone()], TaskState::Completed).await;
    let rig = rig.restart().await;
    rig.pass(Duration::from_secs(3600)).await;
    assert_eq!(rig.script().calls(Verb::Submit).len(), 3, "a restart is not a new day");
    rig.until_all(&ids, TaskState::Completed).await;
    assert!(rig.elapsed_ms() >= 24 * 3_600_000);
    rig.assert_paid_once(&ids);
}

#[actix::test]
async fn submits_of_a_clock_that_stood_a_year_ahead_use_up_no_day() {
    let limits = Limits { submits_per_day: Some(2), ..limits() };
    let rig = Rig::start(Setup::one(policy(), limits)).await;
    let mut ahead = rig.world.clock.now();
    ahead.utc = ahead.utc.plus(Duration::from_secs(365 * 86_400));
    let claimed = |key: &str| NewTask {
        task: Task::blank(TaskId(format!("task-{key}")), AccountId(1), sample(), ahead.utc),
        digest: String::new(),
        claim: Some(Claim { key: AttemptKey(key.into()), policy: Arc::new(policy()) }),
        limits: PendingLimits::default(),
    };
    let tasks = vec![claimed("a"), claimed("b")];
    rig.world.store.write(Write::SubmitTasks { tasks, max_pending: 9, now: ahead.clone() }).await.unwrap();
    // The queue looks.
    rig.pass(Duration::from_secs(60)).await;
    let ids = rig.submit_all((0..2).map(|n| Ask::about(format!("{n}")))).await;
    rig.until_all(&ids, TaskState::Completed).await;
}

#[actix::test]
async fn withdrawn_submits_do_not_use_up_the_day() {
    let limits = Limits { submits_per_day: Some(2), ..limits() };
    let rig = Rig::start(Setup::one(policy(), limits)).await;
    rig.script().behave(|behaviour| behaviour.down = Some("nobody there".into()));
    let ids = rig.submit_all((0..2).map(|n| Ask::about(format!("{n}")))).await;
    rig.until("some probes failed", async |rig| rig.script().calls(Verb::Submit).len() >= 4).await;
    rig.script().behave(|behaviour| behaviour.down = None);
    rig.until_all(&ids, TaskState::Completed).await;
    assert!(rig.elapsed_ms() < 3 * 3_600_000, "nobody waited for the next day");
}

#[actix::test]
async fn submits_per_day_of_an_account_leave_the_other_alone() {
    let limits = Limits { submits_per_day_per_account: Some(1), ..limits() };
    let rig = Rig::start(Setup::one(policy(), limits)).await;
    let ids = rig.submit_all([Ask::about("a"), Ask::about("b"), Ask::about("c").account(2)]).await;
    rig.until_all(&[ids[0].clone(), ids[2].clone()], TaskState::Completed).await;
    assert_eq!(rig.state(&ids[1]), TaskState::Pending);
    let why = rig.explain(&ids[1]).await;
    assert!(why.contains("1 submit of account 1"), "{why}");
}

/// A claim rides in the commit of its submit where nothing before it may run, however much waits that may not.
#[actix::test]
async fn tasks_that_may_not_run_keep_no_other_from_a_claim_in_its_first_commit() {
    let limits = Limits { submits_per_day_per_account: Some(1), ..limits() };
    let rig = Rig::start(Setup::one(policy(), limits)).await;
    let first = rig.submit_all((0..100).map(|n| Ask::about(format!("{n}")).priority(10))).await;
    rig.until_state(&first[0], TaskState::Completed).await;
    assert!(rig.is_claimed_at_once(Ask::about("of another").priority(1).account(2)).await);
    assert!(!rig.is_claimed_at_once(Ask::about("one more")).await, "it may not run");
}

#[actix::test]
async fn polls_never_exceed_the_calls_of_a_minute() {
    let limits = Limits { calls_per_minute: Some(30), ..limits() };
    let rig = Rig::start(Setup::one(policy(), limits)).await;
    rig.script().behave(|behaviour| behaviour.job_ms = 600_000);
    let ids = rig.submit_all((0..60).map(|n| Ask::about(format!("{n}")))).await;
    rig.until_all(&ids, TaskState::Completed).await;
    let polls: Vec<i64> = rig.script().calls(Verb::Poll).iter().map(|call| call.at_ms).collect();
    let most =
        polls.iter().map(|from| polls.iter().filter(|at| (*from..*from + 60_000).contains(*at)).count()).max().unwrap();
    assert!(most <= 30, "{most} polls within a minute");
    assert!(most >= 25, "and the budget is used: {most}");
}
