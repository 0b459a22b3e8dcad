//! The breaker: an outage or a failing generator spends nobody's attempts, is told once, and ends by itself.

use std::time::Duration;

use contentd::generator::registry::Limits;
use contentd::store::query::Queries;
use contentd::store::write::Write;
use contentd::task::outcome::{JobState, PollAnswer, Verb};
use contentd::task::{Event, Policy, TaskId, TaskState};

use super::rig::{Ask, Rig, Setup, limits, logged, policy, sample};
use super::script::{Fate, state_answer};
use super::tally;

/// How often the opening and the closing were told.
pub fn notices() -> (usize, usize) {
    (logged("no new submits").len(), logged("submits start again").len())
}

/// Opens the breaker: the jobs of five tasks fail, and the tasks with them. The next ones fail after as long.
pub async fn fail_five_jobs(rig: &Rig) {
    rig.script().behave(|behaviour| (behaviour.fate, behaviour.job_ms) = (Fate::Fails, 2_000));
    let asks = (0..5).map(|n| Ask { max_retries: 0, ..Ask::about(format!("{n}")) });
    let failed = rig.submit_all(asks).await;
    rig.until_all(&failed, TaskState::Failed).await;
}

#[actix::test]
async fn one_unavailable_submit_opens_it_and_one_accepted_probe_closes_it() {
    let rig = Rig::start(Setup { workers: 1, ..Setup::default() }).await;
    rig.script().behave(|behaviour| behaviour.down = Some("no redis".into()));
    let ids = rig.submit_all((0..6).map(|n| Ask::about(format!("{n}")))).await;
    rig.until("four probes have failed", async |rig| rig.script().calls(Verb::Submit).len() == 5).await;
    let calls = rig.script().calls(Verb::Submit);
    let gaps: Vec<i64> = calls.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).collect();
    for (gap, expected) in gaps.iter().zip([5_000, 10_000, 20_000, 40_000]) {
        let (low, high) = (expected * 8 / 10, expected * 12 / 10 + 1_000);
        assert!((low..=high).contains(gap), "probes back off: {gaps:?}");
    }
    let topics: Vec<String> = calls.iter().flat_map(|call| call.topics.clone()).collect();
    assert_eq!(topics, ["0", "1", "2", "3", "4"], "a failed probe's task goes last");
    let status = rig.status().await.queue.unwrap();
    assert_eq!((status.breakers.len(), status.breakers[0].trip.as_str()), (1, "unavailable"));
    let why = rig.explain(&ids[5]).await;
    assert!(why.contains("unavailable (no redis)") && why.contains("next probe"), "{why}");

    rig.script().behave(|behaviour| behaviour.down = None);
    rig.until_all(&ids, TaskState::Completed).await;
    assert!(rig.status().await.queue.unwrap().breakers.is_empty());
    assert!(ids.iter().all(|id| rig.task(id).retry_count == 0), "nothing was spent");
    assert_eq!(notices(), (1, 1));
    rig.assert_paid_once(&ids);
}

#[actix::test]
async fn whoever_resumes_a_generator_that_was_mended_has_it_tried_at_once() {
    let rig = Rig::start(Setup { workers: 1, ..Setup::default() }).await;
    rig.script().behave(|behaviour| behaviour.down = Some("no redis".into()));
    let ids = rig.submit_all((0..6).map(|n| Ask::about(format!("{n}")))).await;
    rig.until("five submits found nobody", async |rig| rig.script().calls(Verb::Submit).len() == 5).await;
    let breaker = rig.status().await.queue.unwrap().breakers.remove(0);
    assert!(!breaker.is_probed, "none is under way");
    let next = breaker.next_probe_at.expect("a next probe");
    assert!(next > rig.now().plus(Duration::from_secs(30)), "it would be tried late");
    rig.script().behave(|behaviour| behaviour.down = None);
    rig.resume(None, Some(1)).await;
    let status = rig.status().await.queue.unwrap();
    assert_eq!(status.breakers[0].next_probe_at, Some(next), "another pause that ends says nothing of it");
    rig.resume(Some(sample()), None).await;
    rig.until_all(&ids, TaskState::Completed).await;
    assert!(rig.script().calls(Verb::Submit)[5].at_ms < next.0, "and not at the time that its back-off had");
    rig.assert_paid_once(&ids);
}

#[actix::test]
async fn polls_go_on_while_it_is_open() {
    let rig = Rig::start(Setup::default()).await;
    let running = rig.submit(Ask::about("running")).await;
    rig.until_state(&running, TaskState::Processing).await;
    rig.script().behave(|behaviour| behaviour.down = Some("full".into()));
    let waiting = rig.submit(Ask::about("waiting")).await;
    rig.until_state(&running, TaskState::Completed).await;
    assert_eq!(rig.state(&waiting), TaskState::Pending);
    assert_eq!(rig.status().await.queue.unwrap().breakers.len(), 1);
}

#[actix::test]
async fn three_tasks_whose_polls_find_nobody_open_it() {
    let rig = Rig::start(Setup::default()).await;
    let ids = rig.submit_all((0..3).map(|n| Ask::about(format!("{n}")))).await;
    rig.until_all(&ids, TaskState::Processing).await;
    rig.script().behave(|behaviour| {
        behaviour.polls = (0..6).map(|_| PollAnswer::Unavailable("exit 1".into())).collect();
    });
    rig.until("it opened", async |rig| !rig.status().await.queue.unwrap().breakers.is_empty()).await;
    let next = rig.submit(Ask::about("the probe")).await;
    rig.until_state(&next, TaskState::Completed).await;
    rig.until_all(&ids, TaskState::Completed).await;
    assert_eq!(notices(), (1, 1));
}

#[actix::test]
async fn five_failing_jobs_open_it_and_only_a_piece_closes_it() {
    let rig = Rig::start(Setup { workers: 1, ..Setup::default() }).await;
    fail_five_jobs(&rig).await;
    let status = rig.status().await.queue.unwrap();
    assert_eq!(status.breakers[0].trip, "failing_jobs");

    rig.script().behave(|behaviour| (behaviour.fate, behaviour.job_ms) = (Fate::Completes, 300_000));
    let ids = rig.submit_all((5..8).map(|n| Ask::about(format!("{n}")))).await;
    rig.until_state(&ids[0], TaskState::Processing).await;
    rig.pass(Duration::from_secs(60)).await;
    assert_eq!(rig.state(&ids[1]), TaskState::Pending, "that the probe was accepted proves nothing");
    let why = rig.explain(&ids[1]).await;
    assert!(why.contains("a probe is under way"), "{why}");
    rig.until_all(&ids, TaskState::Completed).await;
    assert_eq!(notices(), (1, 1));
}

#[actix::test]
async fn a_probe_that_is_cancelled_makes_way_for_the_next() {
    let rig = Rig::start(Setup { workers: 1, ..Setup::default() }).await;
    fail_five_jobs(&rig).await;
    rig.script().behave(|behaviour| behaviour.fate = Fate::Hangs);
    let probe = rig.submit(Ask::about("probe")).await;
    rig.until_state(&probe, TaskState::Processing).await;
    rig.script().behave(|behaviour| behaviour.fate = Fate::Completes);
    let next = rig.submit(Ask::about("next")).await;
    rig.decide(&probe, Event::CancelRequested).await.unwrap();
    rig.until_state(&probe, TaskState::Cancelled).await;
    rig.until_state(&next, TaskState::Completed).await;
    assert_eq!(notices(), (1, 1));
}

#[actix::test]
async fn it_is_open_still_after_a_restart_and_is_told_once() {
    let rig = Rig::start(Setup { workers: 1, ..Setup::default() }).await;
    rig.script().behave(|behaviour| behaviour.down = Some("no redis".into()));
    let ids = rig.submit_all((0..3).map(|n| Ask::about(format!("{n}")))).await;
    rig.until("it opened", async |rig| !rig.status().await.queue.unwrap().breakers.is_empty()).await;
    let calls = rig.script().calls(Verb::Submit).len();
    let rig = rig.restart().await;
    rig.until("the breakers are read", async |rig| !rig.status().await.queue.unwrap().breakers.is_empty()).await;
    let breakers = rig.status().await.queue.unwrap().breakers;
    assert_eq!((&breakers[0].generator, breakers[0].why.as_str()), (&sample(), "no redis"));
    rig.until("a probe was made", async |rig| rig.script().calls(Verb::Submit).len() > calls).await;
    assert_eq!(rig.script().calls(Verb::Submit).len(), calls + 1, "one probe, not all of them");
    rig.script().behave(|behaviour| behaviour.down = None);
    rig.until_all(&ids, TaskState::Completed).await;
    assert_eq!(notices(), (1, 1));
    let rig = rig.restart().await;
    assert!(rig.status().await.queue.unwrap().breakers.is_empty());
}

/// It was opened while the wall clock stood a year ahead, by a machine that had no network yet.
#[actix::test]
async fn a_clock_that_was_set_back_by_a_year_closes_it_no_later() {
    let rig = Rig::start(Setup { workers: 1, ..Setup::default() }).await;
    rig.script().behave(|behaviour| behaviour.down = Some("no network".into()));
    let id = rig.submit(Ask::about("a")).await;
    rig.until("it opened", async |rig| !rig.db.settings("breaker/").unwrap().is_empty()).await;
    rig.script().behave(|behaviour| behaviour.down = None);
    let [(name, json)] = rig.db.settings("breaker/").unwrap().try_into().unwrap();
    let mut stored: serde_json::Value = serde_json::from_str(&json).unwrap();
    for time in ["opened_at", "next_probe_at"] {
        stored[time] = (stored[time].as_i64().expect("a time") + 365 * 86_400_000).into();
    }
    rig.world.store.write(Write::PutSetting { name, value: Some(stored.to_string()) }).await.unwrap();
    let rig = rig.restart().await;
    rig.until_state(&id, TaskState::Completed).await;
}

/// What an outage has cost so far.
struct Cost {
    calls: usize,
    probes: usize,
    attempts: usize,
    retries: u32,
}

fn cost(rig: &Rig, ids: &[TaskId], verb: Verb) -> Cost {
    Cost {
        calls: rig.script().calls(verb).len(),
        probes: logged("is the probe of").len(),
        attempts: ids.iter().map(|id| rig.db.attempts(id).unwrap().len()).sum(),
        retries: ids.iter().map(|id| rig.task(id).retry_count).sum(),
    }
}

pub fn backlog(count: i64) -> impl Iterator<Item = Ask> {
    (0..count).map(|n| Ask::about(format!("{n}")).account(1 + n % 2))
}

/// Virtual hours with a restart now and then.
pub async fn pass_with_restarts(mut rig: Rig, hours: u64, restarts: u64) -> Rig {
    let part = Duration::from_secs(hours * 3600 / (restarts + 1));
    for _ in 0..restarts {
        rig.pass(part).await;
        rig = rig.restart().await;
    }
    rig.pass(part).await;
    rig
}

/// When each probe began and ended, in order: one at a time, each after the back-off that the ones before it have earned,
/// whatever restarts lie between. Jobs are looked at so often.
#[track_caller]
pub fn assert_one_probe_at_a_time(probes: &[(i64, i64)], looked_at: Duration) {
    let looked_at = i64::try_from(looked_at.as_millis() * 11 / 10).unwrap();
    for (n, pair) in probes.windows(2).enumerate() {
        let gap = pair[1].0 - pair[0].1;
        let back_off = (5_000_i64 << (n + 1).min(20)).min(600_000);
        // The end is seen by a poll, and a start at the queue's next look.
        let (least, most) = (back_off * 8 / 10, back_off * 12 / 10 + looked_at + 35_000);
        assert!((least..=most).contains(&gap), "{gap} ms between the probes {n} and {}, not {least} to {most}", n + 1);
    }
}

/// A night in which every job fails, then a good key. Everything is told in the tally.
async fn night_with_a_revoked_key(part: &str, setup: Setup, tasks: u16, at_most: usize) {
    let slots = setup.generators[0].2.max_in_flight;
    let verb = if setup.generators[0].1.is_blocking { Verb::Run } else { Verb::Submit };
    let rig = Rig::start(setup).await;
    rig.script().behave(|behaviour| (behaviour.fate, behaviour.job_ms) = (Fate::Fails, 20_000));
    let ids = rig.submit_all(backlog(tasks.into())).await;
    rig.until("it opened", async |rig| !rig.status().await.queue.unwrap().breakers.is_empty()).await;
    let opened_at = rig.status().await.queue.unwrap().breakers[0].since;
    let rig = pass_with_restarts(rig, 8, 5).await;

    let night = cost(&rig, &ids, verb);
    let jobs = rig.script().jobs();
    let probes: Vec<(i64, i64)> =
        jobs.iter().filter(|job| job.made_at > opened_at.0).map(|job| (job.made_at, job.done_at)).collect();
    assert_one_probe_at_a_time(&probes, Duration::from_secs(10));
    assert!((48..=70).contains(&probes.len()), "the generator was asked all night: {}", probes.len());
    assert_eq!(night.probes, probes.len(), "each is told");
    assert!(night.calls <= at_most + probes.len(), "{} calls, {} of them probes", night.calls, probes.len());
    assert_eq!(night.attempts, night.calls, "an attempt is a call");
    assert!(night.retries <= 5, "{} retries were spent", night.retries);
    assert!(ids.iter().all(|id| rig.state(id) != TaskState::Failed), "no task was given up");
    assert_eq!(notices(), (1, 0));

    rig.script().behave(|behaviour| behaviour.fate = Fate::Completes);
    rig.until_all(&ids, TaskState::Completed).await;
    let all = cost(&rig, &ids, verb);
    assert_eq!(all.retries, night.retries, "the good jobs cost no retry");
    assert_eq!(all.calls - night.calls, usize::from(tasks), "one good job for each task");
    assert_eq!(notices(), (1, 1));
    tally::tell(
        part,
        &format!(
            "{tasks} tasks behind a revoked key for 8 hours, {slots} slots: {} attempts, {} probes, {} retries spent, all completed",
            night.calls - night.probes,
            night.probes,
            night.retries
        ),
    );
}

#[actix::test]
async fn a_revoked_key_costs_five_attempts_and_the_probes() {
    let limits = Limits { max_in_flight: 5, ..limits() };
    night_with_a_revoked_key("breaker-1-polled", Setup::one(policy(), limits), 500, 5).await;
}

#[actix::test]
async fn a_revoked_key_costs_five_attempts_of_a_blocking_command() {
    let limits = Limits { max_in_flight: 5, ..limits() };
    let policy = Policy { is_blocking: true, is_idempotent: false, is_ref_our_key: false, ..policy() };
    night_with_a_revoked_key("breaker-2-blocking", Setup::one(policy, limits), 100, 5).await;
}

/// Forty jobs are out when the key is revoked: they cannot be called back, but they take no more than five retries along.
#[actix::test]
async fn jobs_that_were_out_when_the_key_was_revoked_spend_five_retries() {
    let limits = Limits { max_in_flight: 40, ..limits() };
    night_with_a_revoked_key("breaker-3-many-slots", Setup { workers: 40, ..Setup::one(policy(), limits) }, 100, 40)
        .await;
}

/// Mints its own ids, and a list that does not show a job says that it is gone.
fn listed() -> Policy {
    Policy { is_idempotent: false, is_ref_our_key: false, ..policy() }
}

/// A night at a generator whose jobs bring nothing and do not say that they failed: each of them is paid for, and a person's.
async fn night_without_a_piece(kind: &str, policy: Policy, polls_are: Option<PollAnswer>) {
    let limits = Limits { max_in_flight: 5, ..limits() };
    let rig = Rig::start(Setup::one(policy, limits)).await;
    rig.script().behave(|behaviour| {
        (behaviour.fate, behaviour.job_ms) = (Fate::BringsNothing, 20_000);
        behaviour.polls_are = polls_are;
    });
    let ids = rig.submit_all(backlog(100)).await;
    let rig = pass_with_restarts(rig, 8, 3).await;
    assert_eq!(rig.status().await.queue.unwrap().breakers[0].trip, "failing_jobs", "{kind}");
    let made = rig.script().jobs().len();
    assert!((5 + 40..=5 + 70).contains(&made), "{kind}: {made} jobs were paid for in the night");
    let held = ids.iter().filter(|id| rig.state(id) == TaskState::Held).count();
    assert!((made - 1..=made).contains(&held), "{kind}: {held} of {made} are a person's");
    rig.script().behave(|behaviour| (behaviour.fate, behaviour.polls_are) = (Fate::Completes, None));
    let is_over = |rig: &Rig, id: &TaskId| matches!(rig.state(id), TaskState::Held | TaskState::Completed);
    rig.until("the others are written", async |rig| ids.iter().all(|id| is_over(rig, id))).await;
    assert_eq!(ids.iter().map(|id| rig.task(id).retry_count).sum::<u32>(), 0, "{kind}");
    assert_eq!(rig.script().jobs().len(), 100, "{kind}: no job is made again");
    assert!(rig.status().await.queue.unwrap().breakers.is_empty(), "{kind}");
}

#[actix::test]
async fn jobs_that_end_well_and_bring_nothing_cost_five_tasks_and_the_probes() {
    night_without_a_piece("polled", policy(), None).await;
    let blocking = Policy { is_blocking: true, ..listed() };
    night_without_a_piece("blocking", blocking, None).await;
}

#[actix::test]
async fn jobs_that_go_missing_cost_five_tasks_and_the_probes() {
    let missing = PollAnswer::Missing { is_complete: true, by_name: true };
    night_without_a_piece("missing", listed(), Some(missing)).await;
}

#[actix::test]
async fn a_night_without_the_generator_costs_the_probes_and_nothing_else() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| behaviour.down = Some("no redis".into()));
    let ids = rig.submit_all(backlog(100)).await;
    let rig = pass_with_restarts(rig, 8, 5).await;
    let night = cost(&rig, &ids, Verb::Submit);
    // The first calls leave together, one a worker, before the first of them is answered.
    let calls = rig.script().calls(Verb::Submit);
    let probes: Vec<(i64, i64)> =
        calls[calls.len() - night.probes..].iter().map(|call| (call.at_ms, call.at_ms)).collect();
    assert_one_probe_at_a_time(&probes, Duration::ZERO);
    assert!((48..=70).contains(&night.probes), "{} probes", night.probes);
    assert!(night.calls <= 4 + night.probes, "{} calls, {} probes", night.calls, night.probes);
    assert_eq!((night.retries, rig.script().jobs().len()), (0, 0));
    rig.script().behave(|behaviour| behaviour.down = None);
    rig.until_all(&ids, TaskState::Completed).await;
    rig.assert_paid_once(&ids);
    assert_eq!(cost(&rig, &ids, Verb::Submit).retries, 0);
    assert_eq!(notices(), (1, 1));
    let said =
        format!("100 tasks behind a dead queue for 8 hours: {} probes, no retry spent, all completed", night.probes);
    tally::tell("breaker-4-unavailable", &said);
}

fn blocking() -> Setup {
    let policy = Policy { is_blocking: true, is_idempotent: false, is_ref_our_key: false, ..policy() };
    Setup::one(policy, Limits { max_in_flight: 5, ..limits() })
}

#[actix::test]
async fn runs_that_find_nobody_are_probed_all_night_and_cost_nothing() {
    let rig = Rig::start(blocking()).await;
    rig.script().behave(|behaviour| (behaviour.fate, behaviour.job_ms) = (Fate::FindsNobody, 5_000));
    let ids = rig.submit_all(backlog(20)).await;
    let rig = pass_with_restarts(rig, 8, 2).await;
    let night = cost(&rig, &ids, Verb::Run);
    // What started together before the first of them was heard, and then one at a time.
    assert!((40..=70).contains(&night.probes), "{} probes", night.probes);
    assert!(night.calls <= 5 + night.probes, "{} runs, {} probes", night.calls, night.probes);
    assert_eq!(night.retries, 0);
    rig.script().behave(|behaviour| behaviour.fate = Fate::Completes);
    rig.until_all(&ids, TaskState::Completed).await;
    assert_eq!(cost(&rig, &ids, Verb::Run).retries, 0);
    assert_eq!(notices(), (1, 1), "the start of a run does not close it");
}

#[actix::test]
async fn what_alone_finds_nobody_again_and_again_is_a_persons() {
    for (setup, most) in [(blocking(), 3 + 9), (Setup::default(), 3 + 72)] {
        let rig = Rig::start(setup).await;
        rig.script().behave(|behaviour| {
            (behaviour.fate, behaviour.job_ms) = (Fate::FindsNobody, 5_000);
            behaviour.down = Some("no redis".into());
        });
        let id = rig.submit(Ask { max_retries: 3, ..Ask::about("alone") }).await;
        rig.pass(Duration::from_secs(8 * 3_600)).await;
        let is_held = rig.state(&id) == TaskState::Held;
        assert!(most > 12 || is_held || rig.db.attempts(&id).unwrap().len() >= 10, "it waits longer each time");
        assert!(most == 12 || rig.state(&id) == TaskState::Pending, "an outage of a night holds no submit");
        rig.until_state(&id, TaskState::Held).await;
        assert_eq!((rig.db.attempts(&id).unwrap().len(), rig.task(&id).retry_count), (most + 1, 0));
        let reason = rig.task(&id).reason.unwrap_or_default();
        assert!(reason.contains(&format!("{} ", most + 1)), "{reason}");
    }
}

#[actix::test]
async fn five_answers_in_a_row_that_cannot_be_read_open_it() {
    let rig = Rig::start(Setup::default()).await;
    rig.script().behave(|behaviour| behaviour.job_ms = 3_600_000);
    let running = rig.submit(Ask { time_limit_s: 7_200, ..Ask::about("running") }).await;
    rig.until_state(&running, TaskState::Processing).await;
    let bad = || PollAnswer::Unreadable("no state".into());
    let unread = |count: usize| std::iter::repeat_with(bad).take(count);
    // A good answer in between, and the row begins anew.
    rig.script().behave(|behaviour| {
        behaviour.polls = unread(4).chain([state_answer(JobState::Processing)]).chain(unread(4)).collect();
    });
    rig.until("all are answered", async |rig| rig.script().polls_left() == 0).await;
    rig.pass(Duration::from_secs(1)).await;
    assert!(rig.status().await.queue.unwrap().breakers.is_empty(), "four in a row are no drift");

    rig.script().behave(|behaviour| behaviour.polls = unread(5).collect());
    rig.until("it opened", async |rig| !rig.status().await.queue.unwrap().breakers.is_empty()).await;
    let breakers = rig.status().await.queue.unwrap().breakers;
    assert_eq!((breakers[0].trip.as_str(), breakers[0].why.as_str()), ("contract_drift", "no state"));
    assert_eq!(rig.state(&running), TaskState::Processing, "what cannot be read ends nothing");
    rig.script().behave(|behaviour| behaviour.job_ms = 60_000);
    let next = rig.submit(Ask::about("next")).await;
    let why = rig.explain(&next).await;
    assert!(why.contains("contract_drift") && why.contains("next probe"), "{why}");
    rig.until_all(&[running, next], TaskState::Completed).await;
    assert_eq!(notices(), (1, 1));
}

#[actix::test]
async fn after_a_failure_fewer_jobs_are_risked_until_one_completes() {
    let rig = Rig::start(Setup { workers: 8, ..Setup::default() }).await;
    rig.script().behave(|behaviour| (behaviour.fate, behaviour.job_ms) = (Fate::Fails, 5_000));
    let bad = rig.submit(Ask { max_retries: 0, ..Ask::about("bad") }).await;
    rig.until_state(&bad, TaskState::Failed).await;
    rig.script().behave(|behaviour| (behaviour.fate, behaviour.job_ms) = (Fate::Completes, 60_000));
    let ids = rig.submit_all((0..20).map(|n| Ask::about(format!("{n}")))).await;
    rig.pass(Duration::from_secs(30)).await;
    assert_eq!(rig.script().most_alive(), 4, "one has failed, so four more are risked");
    let why = rig.explain(&ids[19]).await;
    assert!(why.contains("jobs of 1 tasks have failed since one last completed"), "{why}");
    let shown = rig.status().await.queue.unwrap().suspicions;
    assert!(shown.values().any(|shown| why.contains(shown.as_str())), "an operator sees it too: {shown:?}");
    rig.until_all(&ids, TaskState::Completed).await;
    assert!(rig.script().most_alive() > 10, "after the first piece all slots are used: {}", rig.script().most_alive());
    assert_eq!(notices(), (0, 0));
}

#[actix::test]
async fn jobs_that_hang_after_a_failure_hold_up_the_others_for_half_an_hour_at_most() {
    let rig = Rig::start(Setup { workers: 8, ..Setup::default() }).await;
    rig.script().behave(|behaviour| (behaviour.fate, behaviour.job_ms) = (Fate::Fails, 5_000));
    let bad = rig.submit(Ask { max_retries: 0, ..Ask::about("bad") }).await;
    rig.until_state(&bad, TaskState::Failed).await;
    rig.script().behave(|behaviour| behaviour.fate = Fate::Hangs);
    let hanging = (0..4).map(|n| Ask { time_limit_s: 86_400, ..Ask::about(format!("{n}")) });
    let hanging = rig.submit_all(hanging).await;
    rig.until_all(&hanging, TaskState::Processing).await;
    rig.script().behave(|behaviour| behaviour.fate = Fate::Completes);
    let next = rig.submit(Ask::about("next")).await;
    rig.pass(Duration::from_secs(25 * 60)).await;
    assert_eq!(rig.state(&next), TaskState::Pending);
    rig.pass(Duration::from_secs(10 * 60)).await;
    assert_eq!(rig.state(&next), TaskState::Completed);
}
