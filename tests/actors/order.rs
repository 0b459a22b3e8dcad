//! Whose turn it is: priority, age, delays, pauses.

use std::time::Duration;

use contentd::actors::queue::{Pause, PauseScope, QueueActor, SetPause};
use contentd::actors::supervisor::Crash;
use contentd::task::outcome::Verb;
use contentd::task::{AccountId, Event, GeneratorName, NotBefore, TaskId, TaskState};

use super::rig::{Ask, Rig, Setup, limits, policy, sample};

#[actix::test]
async fn the_highest_priority_runs_first_and_among_equals_the_oldest() {
    let rig = Rig::start(Setup { workers: 1, ..Setup::default() }).await;
    rig.pause(None, None).await;
    let mut ids = Vec::new();
    for (topic, priority) in [("e", 1), ("b", 5), ("a", 10), ("c", 5), ("d", 5)] {
        ids.push(rig.submit(Ask::about(topic).priority(priority)).await);
        rig.pass(Duration::from_secs(1)).await;
    }
    assert!(rig.script().calls(Verb::Submit).is_empty(), "nothing is submitted while everything is paused");
    assert_eq!(rig.resume(None, None).await, 0);
    rig.until_all(&ids, TaskState::Completed).await;
    assert_eq!(rig.script().topics_in_order_of_submit(), ["a", "b", "c", "d", "e"]);
    rig.assert_paid_once(&ids);
}

#[actix::test]
async fn a_changed_priority_moves_a_waiting_task() {
    let rig = Rig::start(Setup { workers: 1, ..Setup::default() }).await;
    rig.pause(None, None).await;
    let ids = rig.submit_all([Ask::about("first"), Ask::about("second"), Ask::about("third")]).await;
    rig.decide(&ids[2], Event::Changed { priority: Some(9), not_before: None }).await.unwrap();
    rig.decide(&ids[0], Event::Changed { priority: Some(2), not_before: None }).await.unwrap();
    rig.resume(None, None).await;
    rig.until_all(&ids, TaskState::Completed).await;
    assert_eq!(rig.script().topics_in_order_of_submit(), ["third", "second", "first"]);
}

#[actix::test]
async fn many_more_tasks_than_the_window_holds_run_in_order_and_once() {
    let rig = Rig::start(Setup { workers: 1, ..Setup::default() }).await;
    rig.script().behave(|behaviour| behaviour.job_ms = 100);
    rig.pause(None, None).await;
    let asks = (0..130_u16).map(|n| Ask::about(format!("{n:03}")).priority((n % 10) as u8 + 1));
    let ids = rig.submit_all(asks).await;
    rig.resume(None, None).await;
    rig.until_all(&ids, TaskState::Completed).await;
    let topics = rig.script().topics_in_order_of_submit();
    let mut expected: Vec<(u8, String)> = (0..130_u16).map(|n| (9 - (n % 10) as u8, format!("{n:03}"))).collect();
    expected.sort();
    assert_eq!(topics, expected.into_iter().map(|(_, topic)| topic).collect::<Vec<_>>());
    rig.assert_paid_once(&ids);
}

#[actix::test]
async fn a_delayed_task_waits_for_its_time_and_says_so() {
    let rig = Rig::start(Setup::default()).await;
    let delay = Duration::from_secs(600);
    let late = rig.submit(Ask { delay: Some(delay), ..Ask::about("late").priority(10) }).await;
    let soon = rig.submit(Ask::about("soon").priority(1)).await;
    rig.until_state(&soon, TaskState::Completed).await;
    assert_eq!(rig.state(&late), TaskState::Pending);
    let why = rig.explain(&late).await;
    assert!(why.contains("delayed") && why.contains("starts in"), "{why}");
    let created = rig.task(&late).created_at;
    rig.until_state(&late, TaskState::Completed).await;
    let submitted = rig.script().jobs_of(&late)[0].made_at;
    assert!(submitted >= created.plus(delay).0, "not before its time");
    assert!(submitted <= created.plus(delay).0 + 1_000, "and not long after it");
}

#[actix::test]
async fn a_delay_outlives_a_cancel_and_a_retry_and_can_be_changed() {
    let rig = Rig::start(Setup::default()).await;
    let delayed = |topic: &str, minutes: u64| Ask {
        delay: Some(Duration::from_secs(60 * minutes)),
        max_retries: 3,
        ..Ask::about(topic)
    };
    let again = rig.submit(delayed("again", 10)).await;
    let sooner = rig.submit(delayed("sooner", 600)).await;
    let later = rig.submit(delayed("later", 1)).await;
    let created = rig.task(&again).created_at;
    rig.decide(&again, Event::CancelRequested).await.unwrap();
    rig.decide(&again, Event::RetryRequested { reset_count: true, abandon: None }).await.unwrap();
    assert_eq!(rig.task(&again).wake_at, Some(created.plus(Duration::from_secs(600))), "it is still delayed");
    assert!(rig.explain(&again).await.contains("delayed"), "and says so");
    let not_before = NotBefore::At(rig.now().plus(Duration::from_secs(1_200)));
    rig.decide(&later, Event::Changed { priority: None, not_before: Some(not_before) }).await.unwrap();
    rig.decide(&sooner, Event::Changed { priority: None, not_before: Some(NotBefore::Now) }).await.unwrap();
    rig.until_state(&sooner, TaskState::Completed).await;
    assert_eq!((rig.state(&again), rig.state(&later)), (TaskState::Pending, TaskState::Pending));
    rig.until_all(&[again.clone(), later.clone()], TaskState::Completed).await;
    assert_eq!(rig.script().topics_in_order_of_submit(), ["sooner", "again", "later"]);
    let made = rig.script().jobs_of(&later)[0].made_at;
    assert!(made >= created.plus(Duration::from_secs(1_200)).0, "the new delay counts, not the old one");
    rig.assert_paid_once(&[again, sooner, later]);
}

#[actix::test]
async fn a_paused_generator_and_a_paused_account_wait_while_others_go_on() {
    let other = GeneratorName("other".into());
    let generators = vec![(sample(), policy(), limits()), (other.clone(), policy(), limits())];
    let rig = Rig::start(Setup { generators, workers: 2, ..Setup::default() }).await;
    rig.pause(Some(other.clone()), None).await;
    rig.pause(None, Some(2)).await;
    let held_back = [
        rig.submit(Ask { generator: other.clone(), ..Ask::about("its generator is paused").priority(10) }).await,
        rig.submit(Ask::about("its account is paused").priority(10).account(2)).await,
    ];
    let free = rig.submit(Ask::about("free").priority(1)).await;
    rig.until_state(&free, TaskState::Completed).await;
    for (id, what) in held_back.iter().zip(["generator other is paused by 0:tester", "account 2 is paused"]) {
        assert_eq!(rig.state(id), TaskState::Pending);
        let why = rig.explain(id).await;
        assert!(why.contains(what), "{why}");
    }
    assert_eq!(rig.status().await.queue.unwrap().pauses.len(), 2);
    assert_eq!(rig.resume(Some(other), None).await, 1, "the account's pause still stands");
    rig.until_state(&held_back[0], TaskState::Completed).await;
    assert_eq!(rig.state(&held_back[1]), TaskState::Pending);
    rig.resume(None, Some(2)).await;
    rig.until_all(&held_back, TaskState::Completed).await;
}

#[actix::test]
async fn what_has_started_ends_normally_under_a_pause() {
    let rig = Rig::start(Setup::default()).await;
    let id = rig.submit(Ask::about("under way")).await;
    rig.until_state(&id, TaskState::Processing).await;
    rig.pause(None, None).await;
    rig.until_state(&id, TaskState::Completed).await;
}

#[actix::test]
async fn a_pause_survives_a_rebuilt_queue_and_a_restart() {
    let rig = Rig::start(Setup::default()).await;
    rig.pause(Some(sample()), None).await;
    rig.queue().do_send(Crash);
    rig.until("the queue is rebuilt", async |rig| {
        let status = rig.status().await;
        status.restarts == 1 && status.queue.is_some_and(|queue| !queue.pauses.is_empty())
    })
    .await;
    let id = rig.submit(Ask::about("waits")).await;
    rig.pass(Duration::from_secs(3600)).await;
    assert_eq!(rig.state(&id), TaskState::Pending);
    let rig = rig.restart().await;
    rig.pass(Duration::from_secs(3600)).await;
    assert_eq!(rig.state(&id), TaskState::Pending);
    let why = rig.explain(&id).await;
    assert!(why.contains("is paused by 0:tester"), "{why}");
    rig.resume(Some(sample()), None).await;
    rig.until_state(&id, TaskState::Completed).await;
}

#[actix::test]
async fn a_pause_without_a_reason_keeps_the_one_that_was_said() {
    let rig = Rig::start(Setup::default()).await;
    let pause = async |account, reason: Option<&str>| {
        let scope = PauseScope { generator: None, account };
        let pause = Pause { scope, who: "0:tester".into(), at: rig.now(), reason: reason.map(str::to_owned) };
        let stand = rig.queue().send(SetPause::On(pause)).await.unwrap().unwrap();
        stand.into_iter().map(|pause| pause.reason.unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(pause(None, Some("lunch")).await, ["lunch"]);
    assert_eq!(pause(None, None).await, ["lunch"]);
    assert_eq!(pause(None, Some("tea")).await, ["tea"], "another one takes its place");
    assert_eq!(pause(Some(AccountId(1)), None).await, ["tea", ""], "and is nobody else's");
}

#[actix::test]
async fn resume_of_everything_ends_every_pause() {
    let rig = Rig::start(Setup::default()).await;
    rig.pause(Some(sample()), None).await;
    rig.pause(None, Some(1)).await;
    rig.pause(Some(sample()), Some(1)).await;
    let id = rig.submit(Ask::about("waits")).await;
    let queue: actix::Addr<QueueActor> = rig.queue();
    let left = queue.send(SetPause::AllOff).await.unwrap().unwrap();
    assert!(left.is_empty());
    rig.until_state(&id, TaskState::Completed).await;
    let rig = rig.restart().await;
    assert!(rig.status().await.queue.unwrap().pauses.is_empty(), "nor do they come back with a restart");
}

/// The queue says when a claim may ride in a submit's commit; of everything else it hears afterwards.
#[actix::test]
async fn what_is_written_past_the_queue_starts_when_it_is_told_and_at_the_next_look_when_it_is_not() {
    let rig = Rig::start(Setup::default()).await;
    let asks = |count: usize| (0..count).map(|number| Ask::about(format!("{number}")));
    let started_after = |rig: &Rig, id: &TaskId| rig.task(id).submitted_at.unwrap().since(rig.task(id).created_at);
    rig.until("it is ready", async |rig| rig.is_asked_first(asks(1))).await;
    assert!(!rig.is_asked_first(asks(2)), "of several none is claimed with its insert");
    for (is_told, longest) in [(true, 1), (false, 31)] {
        let ids = rig.submit_past_the_queue(asks(3), is_told).await;
        rig.until_all(&ids, TaskState::Completed).await;
        assert!(ids.iter().all(|id| started_after(&rig, id) <= Duration::from_secs(longest)), "told: {is_told}");
    }
    rig.pause(Some(sample()), None).await;
    assert!(!rig.is_asked_first(asks(1)), "nothing can be claimed");
    let ids = rig.submit_past_the_queue(asks(3), true).await;
    rig.pass(Duration::from_secs(60)).await;
    assert!(ids.iter().all(|id| rig.state(id) == TaskState::Pending));
    assert_eq!(rig.resume(Some(sample()), None).await, 0);
    rig.until_all(&ids, TaskState::Completed).await;
    rig.until("it is ready again", async |rig| rig.is_asked_first(asks(1))).await;
}
