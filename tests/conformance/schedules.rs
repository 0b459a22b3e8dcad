//! What every backend must do about schedules, one test a promise.

use contentd::schedule::{
    AtEnd, Fire, FireId, FireKind, FireMove, FireState, Misfire, NewSchedule, Params, Schedule, ScheduleId, Timing,
    Topic, TopicSource,
};
use contentd::store::query::{Page, ScheduleAgenda};
use contentd::store::write::{
    NewTask, ScheduleError, ScheduleWrite, ScheduleWritten, Taken, Write, WriteError, Written,
};
use contentd::task::{AccountId, TaskId, TaskState, Timestamp};

use super::common::*;

on_every_backend! {
    a_schedule_comes_back_as_it_was_asked,
    a_due_time_is_begun_once,
    fires_of_a_schedule_come_one_after_the_other,
    a_fire_moves_by_its_table,
    tasks_end_cursor_and_what_was_taken_are_one_commit,
    a_refused_submit_leaves_the_fire_as_it_was,
    a_source_that_begins_again_forgets,
    what_is_missed_is_told,
    pause_resume_and_remove,
    a_restore_pauses_every_schedule,
    the_history_is_bounded,
    how_each_schedule_stands_by_its_last_fire,
    a_file_without_a_new_topic_is_no_trouble,
    the_clock_moves_retries_and_no_due_time,
}

fn topic(text: &str) -> Topic {
    Topic { topic: text.into(), params: Params { tone: Some("dry".into()), ..Params::default() } }
}

pub fn new_schedule(name: &str, account: AccountId) -> NewSchedule {
    NewSchedule {
        name: name.into(),
        timing: Timing::Cron { expression: "0 8 * * mon-fri".into(), zone: "Europe/Berlin".into() },
        accounts: vec![account],
        topics_each: 2,
        source: TopicSource::List { topics: vec![topic("one"), topic("二 '\";--")], at_end: AtEnd::Again },
        params: Params { priority: Some(7), keywords: Some(vec!["a,b".into()]), ..Params::default() },
        misfire: Misfire::All { most: 3 },
        next_due: Some(Timestamp(START + 1_000)),
        who: "1000:ada".into(),
        now: Timestamp(START),
    }
}

impl<B: AsBackend + ?Sized> Side<B> {
    fn schedule_write(&mut self, write: ScheduleWrite) -> Result<ScheduleWritten, WriteError> {
        match self.write(Write::Schedule(write)) {
            Ok(Written::Schedule(written)) => Ok(*written),
            Ok(other) => panic!("an answer about a schedule was expected: {other:?}"),
            Err(error) => Err(error),
        }
    }

    pub fn schedule(&mut self, new: NewSchedule) -> Schedule {
        match self.schedule_write(ScheduleWrite::Add(Box::new(new))) {
            Ok(ScheduleWritten::Schedule(schedule)) => *schedule,
            other => panic!("a schedule was expected: {other:?}"),
        }
    }

    pub fn begin(&mut self, schedule: ScheduleId, due: i64, next: i64) -> Result<Vec<Fire>, WriteError> {
        let (due, next) = (Timestamp(START + due), Timestamp(START + next));
        match self.schedule_write(begin_of(schedule, due, vec![due], 0, Some(next)))? {
            ScheduleWritten::Begun(fires) => Ok(fires),
            other => panic!("fires were expected: {other:?}"),
        }
    }

    fn fire(&mut self, write: ScheduleWrite) -> Fire {
        match self.schedule_write(write) {
            Ok(ScheduleWritten::Fire(fire)) => *fire,
            other => panic!("a fire was expected: {other:?}"),
        }
    }

    fn found(&self, name: &str) -> Schedule {
        self.queries.find_schedule(name).unwrap().unwrap()
    }
}

fn begin_of(
    schedule: ScheduleId,
    due: Timestamp,
    fires: Vec<Timestamp>,
    missed: u32,
    next_due: Option<Timestamp>,
) -> ScheduleWrite {
    let why = (missed > 0).then(|| format!("{missed} missed"));
    ScheduleWrite::Begin { schedule, due, fires, missed, latest: due, why, next_due, now: due }
}

pub fn submit_of(fire: FireId, tasks: Vec<NewTask>, taken: Taken, at: i64) -> ScheduleWrite {
    ScheduleWrite::Submit { fire, tasks, max_pending: 100, taken, why: Some("noted".into()), now: now(at) }
}

fn agenda(side: &Side, at: i64) -> ScheduleAgenda {
    side.queries.schedule_agenda(Timestamp(at), Timestamp(at), 9).unwrap()
}

fn refusal(answer: Result<ScheduleWritten, WriteError>) -> ScheduleError {
    match answer {
        Err(WriteError::Schedule(error)) => error,
        other => panic!("a refusal was expected: {other:?}"),
    }
}

fn how_each_schedule_stands_by_its_last_fire(mut side: Side) {
    let ada = side.account("ada").id;
    let source = TopicSource::List { topics: vec![topic("one"), topic("two")], at_end: AtEnd::Stop };
    let quiet = side.schedule(NewSchedule { source, ..new_schedule("quiet", ada) }).id;
    let daily = side.schedule(new_schedule("daily", ada)).id;
    let standing = |side: &Side, name: &str| {
        let all = side.queries.schedule_standings().unwrap();
        assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["daily", "quiet"]);
        all.into_iter().find(|one| one.name == name).unwrap()
    };
    assert_eq!((standing(&side, "daily").last, standing(&side, "daily").is_paused), (None, false));
    let fire = side.begin(daily, 1_000, 2_000).unwrap().remove(0).id;
    assert_eq!(standing(&side, "daily").last, None, "it has not ended");
    let now = Timestamp(START + 1_100);
    let end = |fire, event, why: &str| ScheduleWrite::End { fire, event, why: why.into(), pauses: None, now };
    side.fire(end(fire, FireMove::GivenUp, "no such generator"));
    let failed = standing(&side, "daily");
    assert_eq!(failed.last, Some((FireState::Failed, Some("no such generator".to_owned()))));
    assert_eq!(failed.trouble().as_deref(), Some("no such generator"));
    // Due times that nobody makes up for are no fire, and say nothing of how the last one ended.
    side.schedule_write(begin_of(daily, Timestamp(START + 2_000), vec![], 3, Some(Timestamp(START + 9_000)))).unwrap();
    assert_eq!(standing(&side, "daily").trouble().as_deref(), Some("no such generator"));
    let fire = side.begin(daily, 9_000, 10_000).unwrap().remove(0).id;
    let taken = Taken { cursor: Some(1), digests: vec![], begins_again: false, pauses: None };
    side.schedule_write(submit_of(fire, vec![new(task(1, ada))], taken, START + 9_100)).unwrap();
    let fired = standing(&side, "daily");
    assert_eq!((fired.last.as_ref().map(|last| last.0), fired.trouble()), (Some(FireState::Fired), None));
    let pause = ScheduleWrite::Pause { schedule: quiet, why: "a holiday".into(), now };
    side.schedule_write(pause).unwrap();
    let paused = standing(&side, "quiet");
    assert_eq!((paused.is_paused, paused.is_at_end, paused.last), (true, false, None));
    let resume = ScheduleWrite::Resume { schedule: quiet, next_due: Timestamp(START + 10_000), now };
    side.schedule_write(resume).unwrap();
    let fire = side.begin(quiet, 10_000, 11_000).unwrap().remove(0).id;
    let pauses = Some("its list is worked through".to_owned());
    let taken = Taken { cursor: Some(2), digests: vec![], begins_again: false, pauses };
    side.schedule_write(submit_of(fire, vec![new(task(2, ada))], taken, START + 10_100)).unwrap();
    let ended = standing(&side, "quiet");
    assert_eq!((ended.is_paused, ended.is_at_end, ended.trouble()), (true, true, None));
}

fn a_file_without_a_new_topic_is_no_trouble(mut side: Side) {
    let ada = side.account("ada").id;
    let source = TopicSource::File { path: "/topics.txt".into(), at_end: AtEnd::Stop };
    let of_file = side.schedule(NewSchedule { source, ..new_schedule("file", ada) }).id;
    let of_list = side.schedule(new_schedule("list", ada)).id;
    let trouble = |side: &Side| -> Vec<Option<String>> {
        side.queries.schedule_standings().unwrap().iter().map(|one| one.trouble()).collect()
    };
    let ends = [(1_000, FireMove::FoundEmpty, None), (2_000, FireMove::GivenUp, Some("why".to_owned()))];
    for (at, event, expected) in ends {
        for schedule in [of_file, of_list] {
            let fire = side.begin(schedule, at, at + 1_000).unwrap().remove(0).id;
            side.fire(ScheduleWrite::End { fire, event, why: "why".into(), pauses: None, now: Timestamp(START + at) });
        }
        assert_eq!(trouble(&side), [expected, Some("why".to_owned())], "{event:?}: the file, and the other");
    }
}

fn a_schedule_comes_back_as_it_was_asked(mut side: Side) {
    let ada = side.account("ada").id;
    let asked = new_schedule("daily", ada);
    let schedule = side.schedule(asked.clone());
    assert_eq!(
        (&schedule.timing, &schedule.source, &schedule.params, schedule.misfire, schedule.next_due, schedule.cursor),
        (&asked.timing, &asked.source, &asked.params, asked.misfire, asked.next_due, 0)
    );
    assert_eq!(side.found("daily"), schedule);
    assert_eq!(side.found(&schedule.id.to_string()), schedule);
    assert_eq!(side.queries.find_schedule("Daily").unwrap(), None);
    let twice = side.schedule_write(ScheduleWrite::Add(Box::new(asked)));
    assert_eq!(refusal(twice), ScheduleError::Exists("daily".into()));
    let nobody = side.schedule_write(ScheduleWrite::Add(Box::new(new_schedule("x", AccountId(99)))));
    assert_eq!(nobody, Err(WriteError::AccountNotFound("99".into())));
    let paused = side.schedule(NewSchedule { next_due: None, ..new_schedule("a", ada) });
    assert!(paused.is_paused() && paused.paused_why.is_some());
    let file = TopicSource::File { path: "/t/x.csv".into(), at_end: AtEnd::Stop };
    side.schedule(NewSchedule { source: file.clone(), ..new_schedule("file", ada) });
    let listed = side.queries.schedules().unwrap();
    let names: Vec<_> = listed.iter().map(|schedule| schedule.name.as_str()).collect();
    assert_eq!(names, ["a", "daily", "file"]);
    let short = TopicSource::List { topics: vec![], at_end: AtEnd::Again };
    assert_eq!((&listed[1].source, &listed[2].source), (&short, &file), "a list leaves the topics out");
}

fn a_due_time_is_begun_once(mut side: Side) {
    let ada = side.account("ada").id;
    let id = side.schedule(new_schedule("daily", ada)).id;
    let due = |side: &Side, at: i64| agenda(side, START + at);
    assert!(due(&side, 999).due.is_empty());
    assert_eq!(due(&side, 999).next_due, Some(Timestamp(START + 1_000)));
    let set = side.queries.schedule_agenda(Timestamp(0), Timestamp(START + 1_000), 9).unwrap();
    assert_eq!(set.due.len(), 1, "a due time is what the wall clock shows");
    assert_eq!(due(&side, 1_000).due.len(), 1);
    let fires = side.begin(id, 1_000, 5_000).unwrap();
    assert_eq!((fires.len(), fires[0].state, fires[0].kind), (1, FireState::Intended, FireKind::Due));
    assert_eq!(fires[0].key, Fire::key_of(id, Timestamp(START + 1_000)));
    // Whoever planned for the same due time finds it gone.
    assert_eq!(side.begin(id, 1_000, 5_000), Err(WriteError::Schedule(ScheduleError::Stale(id))));
    assert_eq!(side.queries.fires(id, Page::first(9)).unwrap(), fires);
    let end = ScheduleWrite::End {
        fire: fires[0].id,
        event: FireMove::GivenUp,
        why: "no".into(),
        pauses: None,
        now: Timestamp(START + 1_001),
    };
    side.fire(end);
    // The wall clock was set back: the schedule is due at the same time again, and does not fire again.
    let realign =
        ScheduleWrite::Realign { schedule: id, due: Timestamp(START + 5_000), next_due: Timestamp(START + 1_000) };
    side.schedule_write(realign).unwrap();
    assert_eq!(side.begin(id, 1_000, 5_000), Ok(vec![]));
    assert_eq!(side.found("daily").next_due, Some(Timestamp(START + 5_000)));
    assert_eq!(side.queries.fires(id, Page::first(9)).unwrap().len(), 1);
}

fn fires_of_a_schedule_come_one_after_the_other(mut side: Side) {
    let ada = side.account("ada").id;
    let id = side.schedule(new_schedule("daily", ada)).id;
    let other = side.schedule(new_schedule("other", ada)).id;
    let all: Vec<Timestamp> = (1..=3).map(|n| Timestamp(START + n * 1_000)).collect();
    let begin = begin_of(id, all[0], all.clone(), 4, Some(Timestamp(START + 9_000)));
    let ScheduleWritten::Begun(fires) = side.schedule_write(begin).unwrap() else { panic!("fires") };
    assert_eq!(
        fires.iter().map(|fire| (fire.due, fire.missed)).collect::<Vec<_>>(),
        [(all[0], 4), (all[1], 0), (all[2], 0)]
    );
    let now_due = agenda(&side, START + 20_000);
    assert_eq!(now_due.fires, [fires[0].clone()], "the first alone");
    assert_eq!(
        now_due.due.iter().map(|schedule| schedule.id).collect::<Vec<_>>(),
        [other],
        "nothing more of it is due"
    );
    let busy = side.schedule_write(ScheduleWrite::FireNow {
        schedule: id,
        key: "k".into(),
        who: "1:x".into(),
        now: Timestamp(START),
    });
    assert_eq!(refusal(busy), ScheduleError::UnderWay { schedule: id, fire: fires[0].id });
    // It waits, and so do the others.
    let wake = Timestamp(START + 50_000);
    side.fire(ScheduleWrite::PutOff { fire: fires[0].id, why: "no file".into(), wake, is_try: true });
    side.fire(ScheduleWrite::PutOff { fire: fires[0].id, why: "busy".into(), wake, is_try: false });
    let now_due = agenda(&side, START + 20_000);
    assert_eq!((now_due.fires, now_due.next_wake), (vec![], Some(wake)));
    let put_off = side.queries.fire(fires[0].id).unwrap().unwrap();
    assert_eq!((put_off.tries, put_off.why.as_deref(), put_off.state), (1, Some("busy"), FireState::Intended));
    side.schedule_write(submit_of(fires[0].id, vec![new(task(1, ada))], Taken::default(), START + 60_000)).unwrap();
    let now_due = agenda(&side, START + 60_000);
    assert_eq!(now_due.fires, [fires[1].clone()]);
}

fn a_fire_moves_by_its_table(mut side: Side) {
    let ada = side.account("ada").id;
    let id = side.schedule(new_schedule("daily", ada)).id;
    let fire = side.begin(id, 1_000, 5_000).unwrap().remove(0).id;
    let at = Timestamp(START + 2_000);
    let keep = |topics: &[Topic]| ScheduleWrite::Keep { fire, topics: topics.to_vec(), now: at };
    assert!(matches!(
        refusal(side.schedule_write(keep(&[]))),
        ScheduleError::Illegal { state: FireState::Intended, .. }
    ));
    assert_eq!(side.fire(ScheduleWrite::Ask { fire, now: at }).state, FireState::Asking);
    let early = side.schedule_write(submit_of(fire, vec![new(task(1, ada))], Taken::default(), START));
    assert!(matches!(refusal(early), ScheduleError::Illegal { event: FireMove::Submitted, .. }));
    assert_eq!(side.queries.task(&id_of(1)).unwrap(), None);
    let kept = side.fire(keep(&[topic("a"), topic("b")]));
    assert_eq!((kept.state, kept.topics.len()), (FireState::Gathered, 2));
    assert_eq!(side.queries.fire(fire).unwrap().unwrap(), kept);
    let end =
        ScheduleWrite::End { fire, event: FireMove::FoundEmpty, why: "none".into(), pauses: Some("p".into()), now: at };
    let ended = side.fire(end.clone());
    assert_eq!((ended.state, ended.ended, ended.wake), (FireState::Empty, Some(at), None));
    assert_eq!(side.found("daily").paused_why.as_deref(), Some("p"));
    assert!(matches!(refusal(side.schedule_write(end)), ScheduleError::Illegal { state: FireState::Empty, .. }));
    let gone = side.schedule_write(ScheduleWrite::Ask { fire: FireId(99), now: at });
    assert_eq!(refusal(gone), ScheduleError::NoFire(FireId(99)));
}

fn id_of(n: usize) -> TaskId {
    id(n)
}

fn tasks_end_cursor_and_what_was_taken_are_one_commit(mut side: Side) {
    let ada = side.account("ada").id;
    let schedule = side.schedule(new_schedule("daily", ada)).id;
    let fire = side.begin(schedule, 1_000, 5_000).unwrap().remove(0).id;
    let taken = Taken { cursor: Some(2), digests: vec!["d1".into(), "d2".into()], ..Taken::default() };
    let tasks = vec![new(task(1, ada)), claimed(task(2, ada), START)];
    let written = side.schedule_write(submit_of(fire, tasks, taken, START + 2_000)).unwrap();
    let ScheduleWritten::Submitted(fired, tasks) = written else { panic!("a submit") };
    assert_eq!(
        (fired.state, fired.tasks.clone(), fired.ended),
        (FireState::Fired, vec![id(1), id(2)], Some(Timestamp(START + 2_000)))
    );
    assert_eq!(fired.why.as_deref(), Some("noted"));
    assert_eq!((tasks.len(), side.state(&id(1)), side.state(&id(2))), (2, TaskState::Pending, TaskState::Submitting));
    assert_eq!(side.queries.fire(fire).unwrap(), Some(*fired));
    assert_eq!(side.found("daily").cursor, 2);
    let known = side.queries.schedule_taken(schedule).unwrap();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), ["d1", "d2"]);
    let again = side.schedule_write(submit_of(fire, vec![new(task(3, ada))], Taken::default(), START + 3_000));
    assert!(matches!(refusal(again), ScheduleError::Illegal { state: FireState::Fired, .. }), "never twice");
    assert_eq!(side.queries.task(&id(3)).unwrap(), None);
}

fn a_refused_submit_leaves_the_fire_as_it_was(mut side: Side) {
    let ada = side.account("ada").id;
    let schedule = side.schedule(new_schedule("daily", ada)).id;
    let fire = side.begin(schedule, 1_000, 5_000).unwrap().remove(0);
    let taken = || Taken { cursor: Some(2), digests: vec!["d1".into()], ..Taken::default() };
    let many = (1..=101).map(|n| new(task(n, ada))).collect();
    let busy = side.schedule_write(submit_of(fire.id, many, taken(), START));
    assert_eq!(busy, Err(WriteError::Busy { unfinished: 0, limit: 100 }));
    let nobody = vec![new(task(1, ada)), new(task(2, AccountId(99)))];
    let nobody = side.schedule_write(submit_of(fire.id, nobody, taken(), START));
    assert_eq!(nobody, Err(WriteError::AccountNotFound("99".into())));
    assert_eq!(side.queries.fire(fire.id).unwrap(), Some(fire.clone()));
    assert_eq!(side.found("daily").cursor, 0);
    assert!(side.queries.schedule_taken(schedule).unwrap().is_empty());
    assert!(side.queries.counts().unwrap().values().all(|count| *count == 0));
    // Refused for what the topics say: nothing is submitted, and they are taken.
    let written = side.schedule_write(submit_of(fire.id, vec![], taken(), START)).unwrap();
    let ScheduleWritten::Submitted(fire, tasks) = written else { panic!("a submit") };
    assert_eq!((fire.state, tasks.len(), side.found("daily").cursor), (FireState::Failed, 0, 2));
}

fn a_source_that_begins_again_forgets(mut side: Side) {
    let ada = side.account("ada").id;
    let schedule = side.schedule(new_schedule("daily", ada)).id;
    let mut n = 0;
    let mut fire = |side: &mut Side, digests: &[&str], begins_again| {
        n += 1;
        let fire = side.begin(schedule, n * 1_000, (n + 1) * 1_000).unwrap().remove(0).id;
        let digests = digests.iter().map(|digest| (*digest).to_owned()).collect();
        let taken = Taken { digests, begins_again, ..Taken::default() };
        let answer = side.schedule_write(submit_of(fire, vec![new(task(n as usize, ada))], taken, START));
        if answer.is_err() {
            side.schedule_write(ScheduleWrite::Remove { schedule }).unwrap();
        }
        answer.is_ok()
    };
    assert!(fire(&mut side, &["a", "b"], false));
    assert!(fire(&mut side, &["c", "a"], true));
    let known = side.queries.schedule_taken(schedule).unwrap();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), ["a", "c"]);
    assert!(!fire(&mut side, &["a"], false), "the same topic is not taken twice");
    assert!(side.queries.schedule_taken(schedule).unwrap().is_empty(), "a schedule takes along what it knows");
}

fn what_is_missed_is_told(mut side: Side) {
    let ada = side.account("ada").id;
    let id = side.schedule(new_schedule("daily", ada)).id;
    let due = Timestamp(START + 1_000);
    let begin = begin_of(id, due, vec![], 7, None);
    let ScheduleWritten::Begun(fires) = side.schedule_write(begin).unwrap() else { panic!("fires") };
    let [missed] = fires.as_slice() else { panic!("{fires:?}") };
    assert_eq!((missed.state, missed.missed, missed.wake, missed.ended), (FireState::Missed, 7, None, Some(due)));
    assert_eq!(missed.why.as_deref(), Some("7 missed"));
    let schedule = side.found("daily");
    assert!(schedule.is_paused(), "its expression names no later time");
    assert_eq!(agenda(&side, i64::MAX - 1), Default::default());
}

fn pause_resume_and_remove(mut side: Side) {
    let ada = side.account("ada").id;
    let id = side.schedule(new_schedule("daily", ada)).id;
    let at = Timestamp(START + 500);
    side.schedule_write(ScheduleWrite::Pause { schedule: id, why: "later".into(), now: at }).unwrap();
    side.schedule_write(ScheduleWrite::Pause { schedule: id, why: "another".into(), now: at }).unwrap();
    let paused = side.found("daily");
    assert_eq!((paused.next_due, paused.paused_why.as_deref(), paused.updated_at), (None, Some("later"), at));
    assert_eq!(
        side.begin(id, 1_000, 5_000),
        Err(WriteError::Schedule(ScheduleError::Stale(id))),
        "what was planned is void"
    );
    let hand = ScheduleWrite::FireNow { schedule: id, key: "k".into(), who: "1:x".into(), now: at };
    let fire = side.fire(hand);
    assert_eq!((fire.kind, fire.who.as_str(), fire.due), (FireKind::ByHand, "1:x", at));
    let next_due = Timestamp(START + 9_000);
    side.schedule_write(ScheduleWrite::Resume { schedule: id, next_due, now: at }).unwrap();
    side.schedule_write(ScheduleWrite::Resume { schedule: id, next_due: at, now: at }).unwrap();
    assert_eq!((side.found("daily").next_due, side.found("daily").paused_why), (Some(next_due), None));
    side.schedule_write(ScheduleWrite::Remove { schedule: id }).unwrap();
    assert_eq!(refusal(side.schedule_write(ScheduleWrite::Remove { schedule: id })), ScheduleError::NotFound(id));
    assert_eq!(side.queries.fire(fire.id).unwrap(), None);
    let late = side.schedule_write(submit_of(fire.id, vec![new(task(1, ada))], Taken::default(), START));
    assert_eq!(refusal(late), ScheduleError::NoFire(fire.id));
    let next = side.schedule(new_schedule("daily", ada));
    assert!(next.id > id, "a number is never given again: {}", next.id);
}

fn a_restore_pauses_every_schedule(mut side: Side) {
    let ada = side.account("ada").id;
    let running = side.schedule(new_schedule("running", ada)).id;
    let paused = side.schedule(NewSchedule { next_due: None, ..new_schedule("paused", ada) }).id;
    let begun = side.begin(running, 1_000, 5_000).unwrap().remove(0).id;
    let at = Timestamp(START + 2_000);
    let hand = side.fire(ScheduleWrite::FireNow { schedule: paused, key: "k".into(), who: "1:x".into(), now: at });
    side.schedule_write(ScheduleWrite::HoldAll { why: "restored".into(), now: at }).unwrap();
    for fire in [begun, hand.id] {
        let fire = side.queries.fire(fire).unwrap().unwrap();
        assert_eq!((fire.state, fire.why.as_deref()), (FireState::Failed, Some("restored")));
    }
    assert_eq!(side.found("running").paused_why.as_deref(), Some("restored"));
    assert_eq!(side.found("paused").paused_why.as_deref(), Some("it was added so"));
    assert_eq!(agenda(&side, i64::MAX - 1), Default::default());
}

fn the_history_is_bounded(mut side: Side) {
    use contentd::schedule::limits::HISTORY;
    let ada = side.account("ada").id;
    let id = side.schedule(new_schedule("daily", ada)).id;
    let count = i64::from(HISTORY) + 20;
    let at = |n: i64| Timestamp(START + n * 1_000);
    let missed = |n: i64| Write::Schedule(begin_of(id, at(n), vec![], 1, Some(at(n + 1))));
    let writes: Vec<Write> = (1..=count).map(missed).collect();
    let answers = side.backend.as_backend().commit(&writes).unwrap();
    assert!(answers.iter().all(Result::is_ok));
    let fires = side.queries.fires(id, Page::first(u32::MAX)).unwrap();
    assert_eq!(fires.len(), HISTORY as usize);
    assert_eq!(fires[0].due, Timestamp(START + count * 1_000));
    let page = Page { limit: 2, offset: 1, before: Some(fires[3].id.0) };
    assert_eq!(side.queries.fires(id, page).unwrap(), fires[5..7]);
}

fn the_clock_moves_retries_and_no_due_time(mut side: Side) {
    let ada = side.account("ada").id;
    let id = side.schedule(new_schedule("daily", ada)).id;
    let fire = side.begin(id, 1_000, 5_000).unwrap().remove(0).id;
    let wake = Timestamp(START + 3_000);
    side.fire(ScheduleWrite::PutOff { fire, why: "busy".into(), wake, is_try: false });
    let before = side.queries.fire(fire).unwrap().unwrap().began;
    side.write(shift(-500_000)).unwrap();
    let shifted = side.queries.fire(fire).unwrap().unwrap();
    assert_eq!((shifted.wake, shifted.due), (Some(Timestamp(START + 3_000 - 500_000)), Timestamp(START + 1_000)));
    assert_eq!(shifted.began, Timestamp(before.0 - 500_000), "it waits for room no longer than else");
    assert_eq!(side.found("daily").next_due, Some(Timestamp(START + 5_000)), "a date stays a date");
}
