//! Fires that find no room for their tasks, or an account that takes none.

use std::sync::Arc;
use std::time::Duration;

use contentd::schedule::{AtEnd, FireState, Misfire, NewSchedule};
use contentd::store::write::Write;
use contentd::task::Clock;
use diesel::connection::SimpleConnection;

use super::world::*;

#[actix::test]
async fn a_fire_that_finds_no_room_waits_for_it() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let id = disk.schedule(NewSchedule {
        misfire: Misfire::Once,
        ..minutely("s", vec![disk.account("a")], list(9, AtEnd::Stop))
    });
    let seams = Arc::new(Script { max_pending: 1, ..Script::plain(&clock) });
    let life = Life::begin(&disk, &seams, &clock);
    pass(30 * MINUTE).await;
    let fires = disk.fires(id);
    assert_eq!(fires.len(), 2, "{fires:#?}");
    assert_eq!((fires[0].state, fires[1].state), (FireState::Fired, FireState::Intended));
    assert!(
        fires[1].tries == 0 && fires[1].why.as_deref().unwrap().contains("1 tasks are unfinished"),
        "{:?}",
        fires[1]
    );
    assert_eq!(disk.named(id).cursor, 1, "it has taken nothing so far");
    // The task ends, and there is room.
    let env = contentd::store::write::Env {
        now: clock.now(),
        policy: Default::default(),
        draw: 0.5,
        who: "1:x".into(),
        is_late_piece_wanted: false,
        is_outage: false,
    };
    let event = contentd::task::Event::CancelRequested;
    let task_id = disk.tasks()[0].id.clone();
    let end = contentd::store::write::Transition {
        task_id,
        attempt: None,
        event,
        env,
        rendered: None,
        rules: Default::default(),
    };
    disk.write(Write::Transition(Box::new(end)));
    pass(11 * MINUTE).await;
    let fires = disk.fires(id);
    assert_eq!((fires[1].state, fires[1].due.0 / MINUTE), (FireState::Fired, 2));
    assert!(fires[2].missed > 30, "what passed while it waited is made up for once: {:?}", fires[2]);
    life.end().await;
}

#[actix::test]
async fn a_wait_for_room_costs_a_source_no_try() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let id = disk.schedule(NewSchedule { misfire: Misfire::Once, ..minutely("s", vec![disk.account("a")], file()) });
    let seams = Arc::new(Script { max_pending: 1, ..Script::plain(&clock) });
    let life = Life::begin(&disk, &seams, &clock);
    pass(3 * 60 * MINUTE).await;
    let waiting = disk.fires(id)[1].clone();
    assert_eq!((waiting.state, waiting.tries), (FireState::Intended, 0));
    let waits = waiting.wake.unwrap().since(clock.now().utc);
    assert!(waits <= Duration::from_secs(600), "ten minutes at most: {waits:?}");
    let read = std::mem::replace(&mut *seams.file.lock().unwrap(), Err("line 3: nonsense".into()));
    pass(11 * MINUTE).await;
    let failing = disk.fires(id)[1].clone();
    assert_eq!(failing.state, FireState::Intended, "its first failures are not its last: {:?}", failing.why);
    assert!((1..=5).contains(&failing.tries), "{failing:?}");
    *seams.file.lock().unwrap() = read;
    pass(11 * MINUTE).await;
    let again = disk.fires(id)[1].clone();
    assert_eq!(again.state, FireState::Intended);
    assert!(again.why.as_deref().unwrap().contains("1 tasks are unfinished"), "{:?}", again.why);
    life.end().await;
}

#[actix::test]
async fn a_fire_that_can_never_fit_is_given_up_after_a_day() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let accounts = vec![disk.account("a"), disk.account("b")];
    let id = disk.schedule(NewSchedule { misfire: Misfire::Once, ..minutely("s", accounts, list(9, AtEnd::Stop)) });
    let seams = Arc::new(Script { max_pending: 1, ..Script::plain(&clock) });
    let life = Life::begin(&disk, &seams, &clock);
    pass(23 * 60 * MINUTE).await;
    assert_eq!(disk.fires(id).len(), 1);
    pass(2 * 60 * MINUTE).await;
    let fires = disk.fires(id);
    assert_eq!((fires[0].state, fires[1].state), (FireState::Failed, FireState::Intended));
    assert!(fires[0].why.as_deref().unwrap().ends_with("for a day"), "{:?}", fires[0].why);
    assert_eq!(disk.named(id).cursor, 0, "no topic is lost");
    life.end().await;
}

#[actix::test]
async fn a_disabled_account_is_passed_over() {
    paused();
    let directory = tempfile::tempdir().unwrap();
    let (disk, backend) = Disk::sqlite(&directory);
    let clock = clock_at(0, 1);
    let accounts = vec![disk.account("a"), disk.account("b")];
    let id = disk.schedule(minutely("s", accounts.clone(), list(100, AtEnd::Stop)));
    let life = Life::begin(&disk, &Script::new(&clock), &clock);
    let disable = |name: &str| {
        let sql = format!("UPDATE accounts SET is_enabled = 0 WHERE name = '{name}'");
        backend.lock().unwrap().connection().batch_execute(&sql).unwrap();
    };
    disable("a");
    pass(MINUTE + 1_000).await;
    let fire = disk.fires(id).pop().unwrap();
    assert_eq!((fire.state, fire.why.as_deref()), (FireState::Fired, Some("account a is disabled")));
    assert_eq!(
        disk.tasks().iter().map(|task| (task.account_id, task.topic.as_str())).collect::<Vec<_>>(),
        [(accounts[1], "l0")]
    );
    disable("b");
    pass(MINUTE).await;
    let fire = disk.fires(id).pop().unwrap();
    assert_eq!(
        (fire.state, fire.why.as_deref()),
        (FireState::Failed, Some("account a is disabled; account b is disabled"))
    );
    assert_eq!(disk.named(id).cursor, 1, "no topic is lost");
    life.end().await;
}
