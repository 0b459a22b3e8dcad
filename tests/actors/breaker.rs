//! The breaker: an outage or a failing generator spends nobody's attempts, is told once, and ends by itself.

use std::time::Duration;

use contentd::task::outcome::{PollAnswer, Verb};
use contentd::task::{Event, TaskState};

use super::rig::{Ask, Rig, Setup, logged, sample};
use super::script::Fate;

/// How often the opening and the closing were told.
fn notices() -> (usize, usize) {
    (logged("no new submits").len(), logged("submits start again").len())
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
    rig.script().behave(|behaviour| (behaviour.fate, behaviour.job_ms) = (Fate::Fails, 2_000));
    let asks = (0..5).map(|n| Ask { max_retries: 0, ..Ask::about(format!("{n}")) });
    let failed = rig.submit_all(asks).await;
    rig.until_all(&failed, TaskState::Failed).await;
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
    rig.script().behave(|behaviour| (behaviour.fate, behaviour.job_ms) = (Fate::Fails, 2_000));
    let asks = (0..5).map(|n| Ask { max_retries: 0, ..Ask::about(format!("{n}")) });
    let failed = rig.submit_all(asks).await;
    rig.until_all(&failed, TaskState::Failed).await;
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
