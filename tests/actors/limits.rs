//! Capacity: a generator's, an account's, a day's, a minute's; and that a limit of one starves nobody else.

use std::time::Duration;

use contentd::generator::registry::Limits;
use contentd::task::outcome::Verb;
use contentd::task::{AccountId, TaskState};

use super::rig::{Ask, Rig, Setup, limits, policy};

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
async fn submits_per_day_hold_for_any_day() {
    let limits = Limits { submits_per_day: Some(3), ..limits() };
    let rig = Rig::start(Setup::one(policy(), limits)).await;
    let ids = rig.submit_all((0..7).map(|n| Ask::about(format!("{n}")))).await;
    rig.pass(Duration::from_secs(3600)).await;
    assert_eq!(rig.script().calls(Verb::Submit).len(), 3);
    let why = rig.explain(&ids[3]).await;
    assert!(why.contains("submits_per_day is 3"), "{why}");
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
    assert!(why.contains("submits of account 1"), "{why}");
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
