//! Nights in which a generator is dead and does not say so: nobody's outage spends the backlog, and nothing that was paid is lost.
//!
//! What says so itself, by failing its jobs or by answering that nobody is there, is in `breaker`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use contentd::actors::Happened;
use contentd::generator::registry::Limits;
use contentd::store::query::Queries;
use contentd::store::write::{Write, WriteError, Written};
use contentd::store::{InlineWriter, ReadMode, Store, Writer};
use contentd::task::outcome::{CancelAnswer, JobState, PollAnswer, Verb};
use contentd::task::policy::DeadWhen;
use contentd::task::retry::PollSchedule;
use contentd::task::{AttemptState, Event, Policy, Refusal, TaskId, TaskState};
use futures_util::future::BoxFuture;

use super::breaker::{assert_one_probe_at_a_time, backlog, fail_five_jobs, notices, pass_with_restarts};
use super::rig::{Ask, Rig, Setup, limits, policy};
use super::script::{Fate, MadeJob, state_answer};
use super::tally;

const HOUR: Duration = Duration::from_secs(3600);

/// Commits that take a while, so that many reports are judged at once.
struct Slow(InlineWriter);

impl Writer for Slow {
    fn write(&self, write: Write) -> BoxFuture<'static, Result<Written, WriteError>> {
        let written = self.0.write(write);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            written.await
        })
    }
}

#[actix::test]
async fn jobs_that_nobody_wants_any_more_are_no_row_of_failures() {
    let rig = Rig::start(Setup::one(calm(), limits())).await;
    rig.script().behave(|behaviour| {
        behaviour.fate = Fate::Waits;
        behaviour.no_cancel = Some(CancelAnswer::Refused("no such verb".into()));
    });
    let ids = rig.submit_all(backlog(6)).await;
    rig.until_all(&ids, TaskState::Submitted).await;
    let (wanted, unwanted) = ids.split_last().unwrap();
    for id in unwanted {
        rig.decide(id, Event::CancelRequested).await.unwrap();
    }
    rig.until_all(unwanted, TaskState::Cancelling).await;
    let mut world = rig.world.clone();
    let writer = Slow(InlineWriter::new(Arc::new(Mutex::new(rig.db.clone()))));
    world.store = Store::new(Arc::new(writer), Arc::new(rig.db.clone()), ReadMode::Inline);
    // One sweep tells of all of them, the unwanted first.
    let said =
        |id: &TaskId, state| world.transit(Happened::to(&rig.task(id), Event::PollAnswered(state_answer(state))));
    let reports = unwanted.iter().map(|id| said(id, JobState::Cancelled)).chain([said(wanted, JobState::Failed)]);
    let reports: Vec<_> = futures_util::future::join_all(reports).await;
    assert!(reports.iter().all(Result::is_ok), "{reports:?}");
    assert_eq!(rig.task(wanted).retry_count, 1, "it failed, and no outage did it");
}

/// Polled once in two minutes, because the nights are long.
fn calm() -> Policy {
    Policy { polls: PollSchedule { interval: Duration::from_secs(120), learned: None, is_batch: false }, ..policy() }
}

fn five_slots() -> Limits {
    Limits { max_in_flight: 5, ..limits() }
}

fn retries(rig: &Rig, ids: &[TaskId]) -> u32 {
    ids.iter().map(|id| rig.task(id).retry_count).sum()
}

/// What no outage may make of a task.
fn assert_all_still_wanted(rig: &Rig, ids: &[TaskId]) {
    for id in ids {
        let task = rig.task(id);
        let is_wanted = !task.state.is_final() && task.state != TaskState::Held;
        assert!(is_wanted || task.state == TaskState::Completed, "{id} is {} ({:?})", task.state, task.reason);
    }
}

async fn opened(rig: &Rig) -> String {
    rig.until("it opened", async |rig| !rig.status().await.queue.unwrap().breakers.is_empty()).await;
    rig.status().await.queue.unwrap().breakers[0].trip.clone()
}

#[actix::test]
async fn a_worker_that_is_stopped_for_a_night_costs_five_retries() {
    let rig = Rig::start(Setup::one(calm(), five_slots())).await;
    rig.script().behave(|behaviour| behaviour.fate = Fate::Waits);
    let ids = rig.submit_all(backlog(100)).await;
    assert_eq!(opened(&rig).await, "failing_jobs");
    let rig = pass_with_restarts(rig, 8, 5).await;
    let wasted = rig.script().jobs().len();
    // Each runs into its limit of half an hour, after which the next may be tried.
    assert!((15..=5 + 20).contains(&wasted), "{wasted} jobs were made in the night");
    assert!(retries(&rig, &ids) <= 5, "{} retries were spent", retries(&rig, &ids));
    assert_all_still_wanted(&rig, &ids);
    rig.script().start_worker();
    rig.until_all(&ids, TaskState::Completed).await;
    assert!(retries(&rig, &ids) <= 5);
    let run: Vec<MadeJob> = rig.script().jobs().into_iter().filter(|job| !job.is_cancelled).collect();
    assert_eq!(run.len(), 100, "one job of each task is run, and so paid");
    assert_eq!(notices(), (1, 1));
    tally::tell(
        "outages-1-worker",
        &format!(
            "100 tasks behind a stopped worker for 8 hours: {wasted} jobs cancelled unrun, 5 retries spent, all completed"
        ),
    );
}

/// As the shipped configuration of content-creator: no cancel, and a job that waits for six hours is called dead.
fn no_cancel() -> Policy {
    let dead = DeadWhen { state: "submitted".into(), unchanged_for: 6 * HOUR };
    Policy { can_cancel: false, dead_when: Some(dead), ..calm() }
}

#[actix::test]
async fn jobs_that_wait_for_a_worker_all_night_are_run_in_the_morning_and_their_pieces_taken() {
    for count in [3, 5] {
        let rig = Rig::start(Setup::one(no_cancel(), five_slots())).await;
        rig.script().behave(|behaviour| {
            behaviour.fate = Fate::Waits;
            behaviour.no_cancel = Some(CancelAnswer::Refused("no such verb".into()));
        });
        let ids = rig.submit_all(backlog(count)).await;
        let rig = pass_with_restarts(rig, 10, 3).await;
        for id in &ids {
            assert_eq!(rig.state(id), TaskState::Timeout, "{count}");
            assert_eq!(rig.attempt(id).state, AttemptState::Accepted, "its job lives, however long it has waited");
            let refused = rig.decide(id, Event::RetryRequested { reset_count: true, abandon: None }).await;
            let is_refused = matches!(refused, Err(WriteError::Refused { refusal: Refusal::JobMayBeAlive { .. }, .. }));
            assert!(is_refused, "a second job: {refused:?}");
        }
        let next = rig.submit(Ask::about("next")).await;
        rig.pass(Duration::from_secs(60)).await;
        if count == 5 {
            let why = rig.explain(&next).await;
            assert!(why.contains("5 of them have outlived their tasks"), "{why}");
        }
        rig.script().start_worker();
        rig.until_all(&ids, TaskState::Completed).await;
        rig.until_state(&next, TaskState::Completed).await;
        rig.assert_paid_once(&ids);
    }
}

#[actix::test]
async fn a_job_that_is_called_dead_before_its_time_is_a_persons_and_its_piece_is_taken() {
    let rig = Rig::start(Setup::one(no_cancel(), five_slots())).await;
    rig.script().behave(|behaviour| behaviour.fate = Fate::Waits);
    let id = rig.submit(Ask { time_limit_s: 24 * 3600, ..Ask::about("slow") }).await;
    rig.until_state(&id, TaskState::Held).await;
    assert_eq!(rig.attempt(&id).state, AttemptState::Accepted);
    rig.script().start_worker();
    rig.pass(HOUR).await;
    assert_eq!(rig.poll_now(&id).await.unwrap().state, TaskState::Completed);
    rig.assert_paid_once(&[id]);
}

#[actix::test]
async fn states_that_nobody_can_read_end_no_task_and_no_job() {
    let rig = Rig::start(Setup::one(calm(), five_slots())).await;
    let unread = PollAnswer::Unreadable("state \"finished\" is not in the map".into());
    rig.script().behave(|behaviour| behaviour.polls_are = Some(unread));
    let ids = rig.submit_all(backlog(100)).await;
    assert_eq!(opened(&rig).await, "contract_drift");
    let rig = pass_with_restarts(rig, 8, 3).await;
    let made = rig.script().jobs();
    assert!((15..=5 + 20).contains(&made.len()), "{} jobs were made in the night", made.len());
    assert!(made.iter().all(|job| !job.is_cancelled), "a finished job is not thrown away");
    assert_eq!(rig.script().calls(Verb::Cancel).len(), 0);
    assert_eq!(retries(&rig, &ids), 0);
    for id in &ids {
        let is_unread = matches!(rig.state(id), TaskState::Submitted | TaskState::Held);
        assert!(is_unread || rig.state(id) == TaskState::Pending, "{id} is {}", rig.state(id));
    }
    rig.script().behave(|behaviour| behaviour.polls_are = None);
    let held: Vec<TaskId> = ids.iter().filter(|id| rig.state(id) == TaskState::Held).cloned().collect();
    assert!(held.len() >= 15, "{} are a person's to look at", held.len());
    for id in &held {
        assert_eq!(rig.poll_now(id).await.unwrap().state, TaskState::Completed);
    }
    rig.until_all(&ids, TaskState::Completed).await;
    rig.assert_paid_once(&ids);
    assert_eq!(notices(), (1, 1));
    tally::tell(
        "outages-2-unread",
        &format!(
            "100 tasks for 8 hours at a generator whose states cannot be read: {} jobs, none cancelled or made again",
            made.len()
        ),
    );
}

/// Mints its own ids; a search shows our mark.
fn findable() -> Policy {
    Policy { is_idempotent: false, is_ref_our_key: false, can_find: true, ..policy() }
}

/// With one slot each submit is searched for before the next one hangs, and each search is answered well.
#[actix::test]
async fn submits_that_hang_all_night_are_probed_and_not_repeated() {
    for (round, slots) in [1, 5].into_iter().enumerate() {
        let rig = Rig::start(Setup::one(findable(), Limits { max_in_flight: slots, ..limits() })).await;
        rig.script().behave(|behaviour| (behaviour.is_idempotent, behaviour.silent_for) = (false, Some("")));
        let ids = rig.submit_all(backlog(50)).await;
        assert_eq!(opened(&rig).await, "unanswered");
        let rig = pass_with_restarts(rig, 8, 5).await;
        let calls = rig.script().calls(Verb::Submit).len();
        assert!((30..=10 + 60).contains(&calls), "{calls} submits in the night");
        assert!(!rig.script().calls(Verb::Find).is_empty(), "searches are answered all the while");
        assert_all_still_wanted(&rig, &ids);
        rig.script().behave(|behaviour| behaviour.silent_for = None);
        rig.until_all(&ids, TaskState::Completed).await;
        rig.assert_paid_once(&ids);
        assert_eq!((retries(&rig, &ids), notices()), (0, (round + 1, round + 1)));
        tally::tell(
            "outages-3-silent",
            &format!("50 tasks for 8 hours at a generator whose submits hang, {slots} slots: {calls} submits"),
        );
    }
}

#[actix::test]
async fn a_topic_that_is_never_answered_makes_way_for_the_others_and_is_held_in_the_end() {
    let rig = Rig::start(Setup::one(findable(), Limits { max_in_flight: 1, ..limits() })).await;
    rig.script().behave(|behaviour| (behaviour.is_idempotent, behaviour.silent_for) = (false, Some("poison")));
    let poison = rig.submit(Ask::about("poison").priority(9)).await;
    let ids = rig.submit_all(backlog(20)).await;
    rig.until_all(&ids, TaskState::Completed).await;
    rig.until_state(&poison, TaskState::Held).await;
    assert_eq!(rig.task(&poison).retry_count, 0);
    let sent = rig.db.attempts(&poison).unwrap().len();
    assert!(sent <= 3 + 9 + 1, "{sent} times");
    rig.assert_paid_once(&ids);
}

#[actix::test]
async fn tasks_that_always_fail_do_not_keep_the_good_ones_from_being_the_probe() {
    let rig = Rig::start(Setup::one(policy(), five_slots())).await;
    rig.script().behave(|behaviour| (behaviour.poison, behaviour.job_ms) = (Some("poison"), 20_000));
    let bad = rig.submit_all((0..8).map(|n| Ask::about(format!("poison {n}")).priority(8))).await;
    let good = rig.submit_all(backlog(100)).await;
    rig.pass(12 * HOUR).await;
    for id in &good {
        assert_eq!(rig.state(id), TaskState::Completed, "{}", rig.whole_story());
    }
    assert_eq!(retries(&rig, &good), 0);
    let is_over = |rig: &Rig, id: &TaskId| matches!(rig.state(id), TaskState::Failed | TaskState::Held);
    rig.until("the bad ones are given up", async |rig| bad.iter().all(|id| is_over(rig, id))).await;
}

/// More of them than the window of a lane holds, and they are in front again before each probe.
#[actix::test]
async fn more_bad_tasks_than_the_window_holds_do_not_keep_a_good_one_from_being_the_probe() {
    let rig = Rig::start(Setup::one(policy(), five_slots())).await;
    rig.script().behave(|behaviour| (behaviour.poison, behaviour.job_ms) = (Some("poison"), 20_000));
    let bad = rig.submit_all((0..100).map(|n| Ask::about(format!("poison {n}")).priority(8))).await;
    rig.until("it opened", async |rig| !rig.status().await.queue.unwrap().breakers.is_empty()).await;
    let good = rig.submit(Ask::about("good").priority(1)).await;
    // Each of those before it in line is the probe once, every ten minutes.
    rig.pass(20 * HOUR).await;
    assert_eq!(rig.state(&good), TaskState::Completed, "{}", rig.whole_story());
    assert_eq!(rig.script().jobs_of(&good).len(), 1);
    assert!(bad.iter().all(|id| !rig.task(id).state.is_final() || rig.state(id) == TaskState::Failed));
}

#[actix::test]
async fn tasks_that_always_fail_with_nothing_beside_them_are_given_up() {
    let rig = Rig::start(Setup::one(policy(), five_slots())).await;
    rig.script().behave(|behaviour| (behaviour.fate, behaviour.job_ms) = (Fate::Fails, 20_000));
    let ids = rig.submit_all(backlog(6)).await;
    let is_over = |rig: &Rig, id: &TaskId| matches!(rig.state(id), TaskState::Failed | TaskState::Held);
    rig.until("all are given up", async |rig| ids.iter().all(|id| is_over(rig, id))).await;
    let jobs = rig.script().jobs().len();
    assert!(jobs <= 6 * (1 + 3 + 9 + 1), "{jobs} jobs were paid");
    let held = ids.iter().find(|id| rig.state(id) == TaskState::Held).expect("a person decides");
    // Whoever decides gives it another row of them.
    rig.script().behave(|behaviour| behaviour.fate = Fate::Completes);
    rig.decide(held, Event::Settled(contentd::task::Settlement::Absent)).await.unwrap();
    rig.until_state(held, TaskState::Completed).await;
}

#[actix::test]
async fn a_restart_starts_no_probe_beside_the_one_that_lives() {
    let rig = Rig::start(Setup::one(calm(), five_slots())).await;
    rig.script().behave(|behaviour| (behaviour.fate, behaviour.job_ms) = (Fate::Fails, 20 * 60_000));
    let ids = rig.submit_all(backlog(50)).await;
    opened(&rig).await;
    let opened_at = rig.status().await.queue.unwrap().breakers[0].since;
    let rig = pass_with_restarts(rig, 8, 60).await;
    let jobs = rig.script().jobs();
    let probes = jobs.iter().filter(|job| job.made_at > opened_at.0).map(|job| (job.made_at, job.done_at));
    let probes: Vec<(i64, i64)> = probes.collect();
    assert!(probes.len() >= 15, "{}", probes.len());
    assert_one_probe_at_a_time(&probes, calm().polls.interval);
    assert!(retries(&rig, &ids) <= 5);
    assert_all_still_wanted(&rig, &ids);
}

/// The new jobs fail later than a suspicion lasts, so that the row of failures alone holds the others back.
#[actix::test]
async fn an_outage_that_ends_does_not_open_the_way_to_a_revoked_key() {
    let many = Limits { max_in_flight: 40, ..limits() };
    let rig = Rig::start(Setup { workers: 40, ..Setup::one(policy(), many) }).await;
    let patient = |ask: Ask| Ask { time_limit_s: 4 * 3600, ..ask };
    rig.script().behave(|behaviour| (behaviour.fate, behaviour.job_ms) = (Fate::Fails, 600_000));
    let out = rig.submit_all(backlog(10).map(patient)).await;
    rig.until_all(&out, TaskState::Processing).await;
    rig.script().behave(|behaviour| behaviour.down = Some("no redis".into()));
    let waiting = rig.submit_all(backlog(60).map(patient)).await;
    assert_eq!(opened(&rig).await, "unavailable");
    rig.until("what was out has failed", async |rig| out.iter().all(|id| rig.state(id) == TaskState::Pending)).await;
    rig.script().behave(|behaviour| (behaviour.down, behaviour.job_ms) = (None, 50 * 60_000));
    rig.pass(3 * HOUR).await;
    assert_eq!(rig.status().await.queue.unwrap().breakers[0].trip, "failing_jobs");
    let risked = rig.script().jobs().len() - 10;
    // One probe in half an hour, because each of them hangs.
    assert!((2..=8).contains(&risked), "{risked} jobs were made with the revoked key");
    let all: Vec<TaskId> = out.into_iter().chain(waiting).collect();
    assert!(retries(&rig, &all) <= 5);
    rig.script().behave(|behaviour| (behaviour.fate, behaviour.job_ms) = (Fate::Completes, 20_000));
    rig.until_all(&all, TaskState::Completed).await;
}

#[actix::test]
async fn a_probe_that_hangs_holds_up_the_next_for_half_an_hour_at_most() {
    let rig = Rig::start(Setup::one(policy(), five_slots())).await;
    fail_five_jobs(&rig).await;
    rig.script().behave(|behaviour| behaviour.fate = Fate::Hangs);
    let hangs = rig.submit(Ask { time_limit_s: 86_400, ..Ask::about("hangs") }).await;
    rig.until_state(&hangs, TaskState::Processing).await;
    rig.script().behave(|behaviour| behaviour.fate = Fate::Completes);
    let next = rig.submit(Ask::about("next")).await;
    rig.pass(Duration::from_secs(25 * 60)).await;
    let breaker = rig.status().await.queue.unwrap().breakers.remove(0);
    assert!(breaker.is_probed, "whoever resumes it is told so");
    rig.resume(Some(breaker.generator), None).await;
    rig.pass(Duration::from_secs(60)).await;
    assert_eq!(rig.state(&next), TaskState::Pending);
    rig.pass(Duration::from_secs(9 * 60)).await;
    assert_eq!(rig.state(&next), TaskState::Completed);
    assert_eq!((rig.state(&hangs), notices()), (TaskState::Processing, (1, 1)));
}

#[actix::test]
async fn a_probe_that_runs_into_its_limit_spends_nothing() {
    let rig = Rig::start(Setup::one(policy(), five_slots())).await;
    fail_five_jobs(&rig).await;
    rig.script().behave(|behaviour| behaviour.fate = Fate::Hangs);
    let hangs = rig.submit(Ask::about("hangs")).await;
    rig.until("it was cancelled at its limit", async |rig| {
        rig.state(&hangs) == TaskState::Pending && rig.task(&hangs).attempt == 1
    })
    .await;
    assert_eq!(rig.task(&hangs).retry_count, 0);
}
