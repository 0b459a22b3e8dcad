//! Sources that misbehave: what they cost, and what they must not.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contentd::actors::schedule::SchedulesChanged;
use contentd::generator::command::topics::Printed;
use contentd::schedule::{AtEnd, Fire, FireKind, FireState, Misfire, NewSchedule, Params, ScheduleId, Timing};
use contentd::store::write::{ScheduleWrite, Write};
use contentd::task::{Clock, Timestamp};

use super::world::*;

#[actix::test]
async fn what_a_schedule_says_wrong_costs_no_topic() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let params = Params { tone: Some("forbidden".into()), ..Params::default() };
    let id = disk.schedule(NewSchedule { params, ..minutely("s", vec![disk.account("a")], list(9, AtEnd::Stop)) });
    let life = Life::begin(&disk, &Script::new(&clock), &clock);
    pass(3 * MINUTE + 1_000).await;
    let fires = disk.fires(id);
    assert!(fires.len() == 3 && fires.iter().all(|fire| fire.state == FireState::Failed), "{fires:#?}");
    assert!(fires[0].why.as_deref().unwrap().contains("tone: \"forbidden\""), "{:?}", fires[0].why);
    assert_eq!(disk.named(id).cursor, 0);
    life.end().await;
}

#[actix::test]
async fn a_source_that_gives_nothing_is_tried_again_and_given_up() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let id = disk.schedule(NewSchedule { misfire: Misfire::Once, ..minutely("s", vec![disk.account("a")], file()) });
    let seams = Script::new(&clock);
    *seams.file.lock().unwrap() = Err("line 3: nonsense".into());
    let life = Life::begin(&disk, &seams, &clock);
    pass(26 * MINUTE + 30_000).await;
    let first = disk.fires(id)[0].clone();
    assert_eq!((first.state, first.tries), (FireState::Failed, 5));
    assert!(first.why.unwrap().contains("line 3: nonsense; tried 6 times"));
    *seams.file.lock().unwrap() = Ok(vec!["one".into(), "refused one".into(), "one".into()]);
    pass(30 * MINUTE).await;
    let topics: Vec<String> = disk.tasks().into_iter().map(|task| task.topic).collect();
    assert_eq!(topics, ["one"], "once, and what is refused for itself does not come again");
    let states: Vec<FireState> = disk.fires(id).iter().map(|fire| fire.state).collect();
    assert_eq!(states.iter().filter(|state| **state == FireState::Failed).count(), 2, "{states:?}");
    assert_eq!(states.last(), Some(&FireState::Empty));
    life.end().await;
}

#[actix::test]
async fn a_command_whose_end_is_not_known_is_asked_again_only_where_that_is_allowed() {
    paused();
    for may_ask_again in [false, true] {
        for (printed, is_known) in [
            (Printed::Unknown("it took longer".into()), false),
            (Printed::Output(b"\xff".to_vec()), false),
            (Printed::Failed("exit 1".into()), true),
            (Printed::NotStarted("no such program".into()), true),
        ] {
            let (disk, clock) = (Disk::memory(), clock_at(0, 1));
            let id = disk.schedule(minutely("s", vec![disk.account("a")], command()));
            let answers = vec![Answer::Other(printed.clone()), Answer::Topics(Duration::ZERO)];
            let seams = Arc::new(Script { may_ask_again, answers: Mutex::new(answers), ..Script::plain(&clock) });
            let life = Life::begin(&disk, &seams, &clock);
            pass(MINUTE + 30_000).await;
            let fire = disk.fires(id)[0].clone();
            if may_ask_again || is_known {
                assert_eq!((fire.state, fire.tries, seams.asked()), (FireState::Intended, 1, 1), "{printed:?}");
                pass(MINUTE).await;
                let fire = disk.fires(id)[0].clone();
                assert_eq!(fire.state, FireState::Fired, "{printed:?}");
                let keys: BTreeSet<String> =
                    seams.asked.lock().unwrap().iter().map(|asked| asked.fire.clone()).collect();
                assert!(keys.contains(&fire.key));
            } else {
                assert_eq!((fire.state, seams.asked()), (FireState::Failed, 1), "{printed:?}");
            }
            life.end().await;
        }
    }
}

#[actix::test]
async fn a_list_that_is_worked_through_pauses_its_schedule_and_says_so() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let id = disk.schedule(minutely("s", vec![disk.account("a"), disk.account("b")], list(3, AtEnd::Stop)));
    let life = Life::begin(&disk, &Script::new(&clock), &clock);
    pass(10 * MINUTE).await;
    let schedule = disk.named(id);
    assert_eq!(schedule.paused_why.as_deref(), Some("its list of 3 topics is worked through"));
    let fires = disk.fires(id);
    assert_eq!(fires.len(), 2);
    assert_eq!(fires[1].why.as_deref(), Some("1 of 2 topics that were wanted"));
    // By hand there is nothing either.
    let now = clock.now().utc;
    let by_hand = ScheduleWrite::FireNow { schedule: id, key: "schedule/h".into(), who: "1:x".into(), now };
    disk.write(Write::Schedule(by_hand));
    life.actor.send(SchedulesChanged).await.unwrap();
    pass(1_000).await;
    let last = disk.fires(id).pop().unwrap();
    assert_eq!((last.kind, last.state), (FireKind::ByHand, FireState::Empty));
    life.end().await;
}

#[actix::test]
async fn fires_that_wait_for_a_turn_of_their_commands_hold_up_no_other_schedule() {
    paused();
    const MANY: usize = 150;
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let account = disk.account("a");
    let daily = |n: usize| {
        let mut new = minutely(&format!("c{n}"), vec![account], command());
        new.timing = Timing::Every { seconds: 86_400, anchor: Timestamp(MINUTE), zone: "UTC".into() };
        disk.schedule(new)
    };
    let ids: Vec<ScheduleId> = (0..MANY).map(daily).collect();
    let other = disk.schedule(minutely("other", vec![account], list(1_000, AtEnd::Stop)));
    let answers = vec![Answer::Topics(Duration::from_secs(300))];
    let seams = Arc::new(Script { answers: Mutex::new(answers), ..Script::plain(&clock) });
    let life = Life::begin(&disk, &seams, &clock);
    pass(4 * MINUTE + 30_000).await;
    let fires = disk.fires(other);
    assert_eq!(fires.len(), 4, "{fires:#?}");
    assert!(fires.iter().all(|fire| fire.state == FireState::Fired && fire.missed == 0), "{fires:#?}");
    assert_eq!(seams.asked(), 4, "each command holds a thread");
    let (waiting, asking): (Vec<Fire>, Vec<Fire>) =
        ids.iter().flat_map(|id| disk.fires(*id)).partition(|fire| fire.state == FireState::Intended);
    assert_eq!((waiting.len(), asking.len()), (MANY - 4, 4), "each is begun");
    assert!(asking.iter().all(|fire| fire.state == FireState::Asking), "{asking:#?}");
    assert!(waiting.iter().all(|fire| fire.tries == 0 && fire.why.is_none()), "{waiting:#?}");
    // Five minutes for four of them each, and some more.
    pass(i64::try_from(MANY.div_ceil(4)).unwrap() * 5 * MINUTE + 5 * MINUTE).await;
    let of_each: Vec<Vec<Fire>> = ids.iter().map(|id| disk.fires(*id)).collect();
    assert!(of_each.iter().all(|fires| fires.len() == 1 && fires[0].state == FireState::Fired), "{of_each:#?}");
    let asked: BTreeSet<String> = seams.asked.lock().unwrap().iter().map(|asked| asked.fire.clone()).collect();
    assert_eq!((asked.len(), seams.asked()), (MANY, MANY), "each once");
    life.end().await;
}

#[actix::test]
async fn a_drain_waits_for_the_command_in_hand_and_begins_nothing_more() {
    paused();
    let (disk, clock) = (Disk::memory(), clock_at(0, 1));
    let id = disk.schedule(minutely("s", vec![disk.account("a")], command()));
    let answers = vec![Answer::Topics(Duration::from_secs(300))];
    let seams = Arc::new(Script { answers: Mutex::new(answers), ..Script::plain(&clock) });
    let life = Life::begin(&disk, &seams, &clock);
    pass(MINUTE + 30_000).await;
    assert_eq!(disk.fires(id)[0].state, FireState::Asking);
    let began = clock.now().utc;
    life.end().await;
    assert!(clock.now().utc.since(began) > Duration::from_secs(200));
    let fires = disk.fires(id);
    assert_eq!((fires.len(), fires[0].state), (1, FireState::Fired));
    pass(60 * MINUTE).await;
    assert_eq!(disk.fires(id).len(), 1);
}
