//! Alarms, messages and numbers on every backend: what is judged is written whole, and asked about in one way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contentd::notice::LONGEST_SILENCE;
use contentd::notice::alarm::AlarmState;
use contentd::notice::delivery::{DeliveryEnd, DeliveryState, Patience};
use contentd::notice::rules::{Level, Reading, Rule, Settings, Severity};
use contentd::store::query::notice::SummaryFilter;
use contentd::store::write::{NoticeWrite, Noticed, SILENCE_SETTING, Silence, Write, Written, silence_of};
use contentd::task::outcome::JobState;
use contentd::task::retry::Backoff;
use contentd::task::{AttemptKey, Event, TaskState, Timestamp};

use super::common::*;

on_every_backend! {
    an_alarm_and_its_messages_are_written_together,
    a_silence_is_seen_inside_the_transaction,
    a_silence_is_as_long_as_was_ordered_whatever_the_clock_says,
    a_delivery_is_begun_ended_and_given_up,
    messages_go_out_in_order_and_old_ones_go,
    an_alarm_is_acknowledged_while_it_fires,
    a_rule_that_is_off_ends_its_alarm_and_an_unread_number_does_not,
    times_move_with_the_clock,
    a_report_moves_a_wake_time_and_nothing_else,
    numbers_of_a_span_are_those_of_the_span,
    the_oldest_is_the_oldest_that_could_run,
}

const HOUR: i64 = 3_600_000;

fn reading(rule: Rule, subject: &str, level: Level) -> Reading {
    let text = format!("{rule} {subject} says so");
    Reading { rule, subject: subject.into(), level, value: 2.0, limit: 1.0, critical: None, text }
}

const BAD: Level = Level::Bad(Severity::Warning);
const WORSE: Level = Level::Bad(Severity::Critical);

fn settings() -> Arc<Settings> {
    let mut settings = Settings::default();
    settings.rules.values_mut().for_each(|set| set.lasting = Duration::ZERO);
    Arc::new(settings)
}

fn hooks() -> Vec<(String, Severity)> {
    vec![("all".into(), Severity::Warning), ("worst".into(), Severity::Critical)]
}

fn write(side: &mut Side, write: NoticeWrite) -> Noticed {
    match side.write(Write::Notice(Box::new(write))) {
        Ok(Written::Noticed(noticed)) => noticed,
        other => panic!("{other:?}"),
    }
}

/// The alarms that were told of, with the kind of each message.
fn judge(side: &mut Side, at: i64, readings: Vec<Reading>) -> Vec<String> {
    judge_by(side, at, readings, settings())
}

fn judge_by(side: &mut Side, at: i64, readings: Vec<Reading>, settings: Arc<Settings>) -> Vec<String> {
    let nonce = format!("nonce{at}");
    let judge = NoticeWrite::Judge { readings, settings, hooks: hooks(), nonce, now: Timestamp(at) };
    match write(side, judge) {
        Noticed::Made(made) => made.iter().map(|notice| format!("{} {}", notice.alarm, notice.kind)).collect(),
        other => panic!("{other:?}"),
    }
}

fn patience() -> Patience {
    let retry = Backoff { initial: Duration::from_secs(5), factor: 2.0, max: Duration::from_secs(60), jitter: 0.0 };
    Patience { timeout: Duration::from_secs(30), retry, give_up_after: Duration::from_secs(3_600) }
}

fn an_alarm_and_its_messages_are_written_together(mut side: Side) {
    let first =
        vec![reading(Rule::Held, "", BAD), reading(Rule::Breaker, "a", WORSE), reading(Rule::Backlog, "", Level::Good)];
    assert_eq!(judge(&mut side, START, first.clone()), ["held firing", "breaker/a firing"]);
    assert_eq!(judge(&mut side, START + 1, first), [""; 0], "the same again says nothing new");
    let alarms = side.queries.alarms().unwrap();
    let names: Vec<&str> = alarms.iter().map(|alarm| alarm.name.as_str()).collect();
    assert_eq!(names, ["breaker/a", "held"]);
    assert!(alarms.iter().all(|alarm| alarm.is_told && alarm.state == AlarmState::Firing));
    assert_eq!((alarms[0].rule, alarms[0].subject.as_str(), alarms[0].value), (Rule::Breaker, "a", 2.0));
    let outbox = side.queries.outbox(Timestamp(START)).unwrap();
    let waiting: BTreeMap<&str, u64> = outbox.waiting.iter().map(|(hook, of)| (hook.as_str(), of.count)).collect();
    assert_eq!(waiting, BTreeMap::from([("all", 2), ("worst", 1)]), "each hook what is bad enough for it");
    let told = side.queries.notices(10).unwrap();
    assert_eq!(told[0].notice.alarm, "breaker/a", "newest first");
    assert_eq!(told[0].deliveries.len(), 2);
    assert_eq!(side.queries.notice(&told[0].notice.id).unwrap().as_ref(), Some(&told[0]));
    assert_eq!(side.queries.notice("nonce").unwrap(), None);
    let over = vec![reading(Rule::Held, "", Level::Good), reading(Rule::Breaker, "a", Level::Good)];
    assert_eq!(judge(&mut side, START + 2, over), ["held resolved", "breaker/a resolved"]);
    assert!(
        side.queries.alarms().unwrap().iter().all(|alarm| alarm.state == AlarmState::Quiet),
        "kept for the cool-down"
    );
    let quiet = vec![reading(Rule::Held, "", Level::Good), reading(Rule::Breaker, "a", Level::Good)];
    judge(&mut side, START + HOUR, quiet);
    assert_eq!(side.queries.alarms().unwrap(), []);
}

fn a_silence_is_seen_inside_the_transaction(mut side: Side) {
    let silence = Silence { until: Timestamp(START + 100), who: "0:root".into() };
    let value = Some(serde_json::to_string(&silence).unwrap());
    side.write(Write::PutSetting { name: SILENCE_SETTING.into(), value }).unwrap();
    assert_eq!(judge(&mut side, START, vec![reading(Rule::Held, "", BAD)]), [""; 0]);
    assert_eq!(judge(&mut side, START + 100, vec![reading(Rule::Held, "", BAD)]), ["held firing"], "owed, and told");
}

fn a_silence_is_as_long_as_was_ordered_whatever_the_clock_says(mut side: Side) {
    let until = |side: &Side, now: i64| {
        let stored = side.queries.settings(SILENCE_SETTING).unwrap().remove(0).1;
        silence_of(Some(&stored), Timestamp(now)).map(|silence| silence.until.0)
    };
    let longest = i64::try_from(LONGEST_SILENCE.as_millis()).unwrap();
    let silence = Silence { until: Timestamp(START + longest), who: "0:root".into() };
    let value = Some(serde_json::to_string(&silence).unwrap());
    side.write(Write::PutSetting { name: SILENCE_SETTING.into(), value }).unwrap();
    assert_eq!(until(&side, START), Some(START + longest));
    // Another boot, whose clock stands a year before: for a year nothing would be told.
    assert_eq!(until(&side, START - 365 * 24 * HOUR), None);
    // The same boot: it moves with the clock.
    side.write(shift(-HOUR)).unwrap();
    assert_eq!(until(&side, START - HOUR), Some(START - HOUR + longest));
    side.write(shift(i64::MAX)).unwrap();
    assert_eq!(until(&side, START), None, "no overflow");
}

fn a_delivery_is_begun_ended_and_given_up(mut side: Side) {
    judge(&mut side, START, vec![reading(Rule::Held, "", BAD)]);
    let first = side.queries.next_delivery("all").unwrap().unwrap();
    assert_eq!((first.tries, first.due_at, side.queries.next_delivery("worst").unwrap()), (0, Timestamp(START), None));
    let begin = |now| NoticeWrite::BeginDelivery { id: first.id, patience: patience(), now: Timestamp(now) };
    let end = |tries, end: DeliveryEnd, now| NoticeWrite::EndDelivery {
        id: first.id,
        tries,
        end,
        patience: patience(),
        draw: 0.5,
        now: Timestamp(now),
    };
    let failed = || DeliveryEnd::Failed("no route".into());
    let Noticed::Delivery(Some(begun)) = write(&mut side, begin(START)) else { panic!("it begins") };
    assert_eq!((begun.tries, begun.due_at), (1, Timestamp(START + 35_000)), "then it counts as lost");
    assert_eq!(write(&mut side, begin(START + 1)), Noticed::Delivery(None), "not a second time meanwhile");
    let Noticed::Delivery(Some(ended)) = write(&mut side, end(1, failed(), START + 1_000)) else { panic!("it ends") };
    assert_eq!((ended.due_at, ended.last_error.as_deref()), (Timestamp(START + 6_000), Some("no route")));
    assert_eq!(side.queries.next_delivery("all").unwrap().unwrap(), *ended);
    // The daemon dies in the middle of the second try: it is tried again when that counts as lost, and a late end says nothing.
    write(&mut side, begin(START + 6_000));
    let Noticed::Delivery(Some(third)) = write(&mut side, begin(START + 41_000)) else { panic!("again") };
    assert_eq!(third.tries, 3);
    assert_eq!(write(&mut side, end(2, DeliveryEnd::Delivered, START + 41_001)), Noticed::Delivery(None));
    write(&mut side, end(3, failed(), START + HOUR));
    let given_up = &side.queries.notices(1).unwrap()[0].deliveries[0];
    assert_eq!((given_up.state, given_up.last_error.as_deref()), (DeliveryState::GivenUp, Some("no route")));
    assert_eq!(side.queries.outbox(Timestamp(START + HOUR)).unwrap().given_up, BTreeMap::from([("all".to_owned(), 1)]));
    assert_eq!(side.queries.outbox(Timestamp(START + HOUR + 1)).unwrap(), Default::default());
}

fn messages_go_out_in_order_and_old_ones_go(mut side: Side) {
    let subjects = ["c", "a", "b"];
    for (n, subject) in subjects.iter().enumerate() {
        let bad = |one: &&str| reading(Rule::Breaker, one, WORSE);
        judge(&mut side, START + n as i64, subjects[..=n].iter().map(bad).collect());
        assert_eq!(side.queries.notices(1).unwrap()[0].notice.subject, *subject);
    }
    for subject in ["c", "a"] {
        let next = side.queries.next_delivery("worst").unwrap().unwrap();
        assert_eq!(next.notice.subject, subject);
        let (id, now) = (next.id, Timestamp(START + 10));
        write(&mut side, NoticeWrite::BeginDelivery { id, patience: patience(), now });
        let end = DeliveryEnd::Delivered;
        write(&mut side, NoticeWrite::EndDelivery { id, tries: 1, end, patience: patience(), draw: 0.0, now });
    }
    // Of hook `all` everything waits still, so nothing may go.
    let later = START + 91 * 24 * HOUR;
    let test = |nonce: &str| NoticeWrite::Test {
        hook: "worst".into(),
        nonce: nonce.into(),
        who: "0:root".into(),
        now: Timestamp(later),
    };
    write(&mut side, test("t1"));
    judge(&mut side, later, vec![reading(Rule::Held, "", BAD)]);
    assert_eq!(side.queries.notices(100).unwrap().len(), 8, "3 beginnings, their ends, a test and a new one");
    while let Some(next) = side.queries.next_delivery("all").unwrap() {
        let now = Timestamp(later);
        let (id, tries) = (next.id, next.tries);
        write(
            &mut side,
            NoticeWrite::EndDelivery { id, tries, end: DeliveryEnd::NoHook, patience: patience(), draw: 0.0, now },
        );
    }
    while let Some(next) = side.queries.next_delivery("worst").unwrap() {
        let now = Timestamp(later);
        let (id, tries) = (next.id, next.tries);
        write(
            &mut side,
            NoticeWrite::EndDelivery { id, tries, end: DeliveryEnd::NoHook, patience: patience(), draw: 0.0, now },
        );
    }
    judge(&mut side, later + 1, vec![reading(Rule::Held, "", Level::Good)]);
    let left: Vec<Timestamp> = side.queries.notices(100).unwrap().iter().map(|story| story.notice.at).collect();
    assert!(left.iter().all(|at| at.0 >= later), "{left:?}");
    assert_eq!(side.queries.outbox(Timestamp(0)).unwrap().waiting.len(), 1, "the last end waits for one hook");
}

fn an_alarm_is_acknowledged_while_it_fires(mut side: Side) {
    let ack = |alarm: &str| NoticeWrite::Acknowledge { alarm: alarm.into(), who: "0:root".into() };
    assert_eq!(write(&mut side, ack("held")), Noticed::Acknowledged(false));
    judge(&mut side, START, vec![reading(Rule::Held, "", BAD)]);
    assert_eq!(write(&mut side, ack("held")), Noticed::Acknowledged(true));
    assert_eq!(side.queries.alarms().unwrap()[0].acknowledged_by.as_deref(), Some("0:root"));
    assert_eq!(judge(&mut side, START + 1, vec![reading(Rule::Held, "", WORSE)]), [""; 0], "nothing more is told");
    assert_eq!(judge(&mut side, START + 2, vec![reading(Rule::Held, "", Level::Good)]), ["held resolved"]);
    assert_eq!(write(&mut side, ack("held")), Noticed::Acknowledged(false));
}

fn a_rule_that_is_off_ends_its_alarm_and_an_unread_number_does_not(mut side: Side) {
    let bad = [reading(Rule::Disk, "", WORSE), reading(Rule::Held, "", BAD), reading(Rule::Breaker, "gone", WORSE)];
    judge(&mut side, START, bad.to_vec());
    let mut settings = (*settings()).clone();
    settings.rules.get_mut(&Rule::Held).unwrap().is_off = true;
    // The disk did not answer, the rule about held tasks was turned off, the generator is not configured any more.
    let told = judge_by(&mut side, START + 1, vec![], Arc::new(settings));
    assert_eq!(told, ["breaker/gone resolved", "held resolved"]);
    assert_eq!(side.queries.alarms().unwrap().len(), 1);
    assert_eq!(side.queries.alarms().unwrap()[0].name, "disk");
}

fn times_move_with_the_clock(mut side: Side) {
    judge(&mut side, START, vec![reading(Rule::Held, "", BAD)]);
    side.write(shift(-HOUR)).unwrap();
    let alarm = side.queries.alarms().unwrap().remove(0);
    assert_eq!((alarm.since, alarm.told_at), (Timestamp(START - HOUR), Some(Timestamp(START - HOUR))));
    assert_eq!(side.queries.next_delivery("all").unwrap().unwrap().due_at, Timestamp(START - HOUR));
    side.write(shift(i64::MAX)).unwrap();
    assert!(side.queries.alarms().is_ok(), "no overflow");
}

fn a_report_moves_a_wake_time_and_nothing_else(mut side: Side) {
    let ada = side.account("ada").id;
    side.submit(vec![new(task(1, ada)), new(task(2, ada))]);
    side.change(&id(1), START + 10, Event::Claimed { key: AttemptKey("k1".into()) });
    let report = |key: &str, at: i64| NoticeWrite::Report { keys: vec![(AttemptKey(key.into()), Timestamp(at))] };
    assert_eq!(write(&mut side, report("k1", START + 11)), Noticed::Woken(vec![]), "a call in flight has its owner");
    side.change(&id(1), START + 20, accepted("job-1"));
    side.change(&id(1), START + 30, polled(JobState::Processing));
    let (before, attempt) = side.queries.task(&id(1)).unwrap().unwrap();
    assert!(before.wake_at.unwrap() > Timestamp(START + 1_000));
    let woken = Noticed::Woken(vec![(AttemptKey("k1".into()), id(1))]);
    for at in [START + 500, START + 500, START + 9_000] {
        assert_eq!(write(&mut side, report("k1", at)), woken);
        let (after, same) = side.queries.task(&id(1)).unwrap().unwrap();
        let expected = contentd::task::Task { wake_at: Some(Timestamp(START + 500)), ..before.clone() };
        assert_eq!((after, &same), (expected, &attempt), "forward only, and nothing but the time");
    }
    let history = side.queries.history(&id(1)).unwrap().len();
    for key in ["", "nobody", "k1'--", "K1"] {
        assert_eq!(write(&mut side, report(key, START + 1)), Noticed::Woken(vec![]), "{key}");
    }
    assert_eq!(side.queries.history(&id(1)).unwrap().len(), history);
    side.change(&id(1), START + 600, polled(JobState::Completed));
    side.change(&id(1), START + 700, piece("# Words"));
    assert_eq!(write(&mut side, report("k1", START + 800)), Noticed::Woken(vec![]), "too late");
    assert_eq!(side.state(&id(1)), TaskState::Completed);
}

fn numbers_of_a_span_are_those_of_the_span(mut side: Side) {
    let (ada, bob) = (side.account("ada").id, side.account("bob").id);
    for n in 1..=12 {
        side.submit(vec![new(task(n, if n <= 10 { ada } else { bob }))]);
        // Accepted after a second, and n minutes of work.
        let at = START + n as i64;
        side.change(&id(n), at + 10, Event::Claimed { key: key_of(&id(n), at) });
        side.change(&id(n), at + 1_000, accepted(&format!("job of {n}")));
        side.change(&id(n), at + 1_001, polled(JobState::Completed));
        side.change(&id(n), at + 1_000 + n as i64 * 60_000, piece("# Words"));
    }
    side.submit(vec![new(task(13, ada))]);
    side.change(&id(13), START + 5, Event::CancelRequested);
    let span = |since, until| SummaryFilter { since: Timestamp(since), until, account: Some(ada), generator: None };
    let summary = side.queries.summary(&span(START, None)).unwrap();
    assert_eq!(summary.created, 11);
    assert_eq!(summary.finished, BTreeMap::from([(TaskState::Completed, 10), (TaskState::Cancelled, 1)]));
    assert_eq!((summary.retries, summary.retried), (0, 0));
    assert_eq!(summary.median_duration, Some(Duration::from_secs(300)));
    assert_eq!(summary.p90_duration, Some(Duration::from_secs(540)));
    assert_eq!(summary.median_wait, Some(Duration::from_millis(1_000)));
    let until = Some(Timestamp(START + 4 + 1_000 + 4 * 60_000));
    let first = side.queries.summary(&span(START + 2, until)).unwrap();
    assert_eq!(first.created, 10, "the first began before the span");
    assert_eq!(first.finished[&TaskState::Completed], 3, "the fourth ended as the span did");
    let other = SummaryFilter { generator: Some("other".into()), ..SummaryFilter::default() };
    assert_eq!(side.queries.summary(&other).unwrap(), Default::default());
    let ended = side.queries.ended_since(Timestamp(START + 11 * 60_000)).unwrap();
    assert_eq!(ended, BTreeMap::from([(TaskState::Completed, 2)]));
}

fn the_oldest_is_the_oldest_that_could_run(mut side: Side) {
    let (ada, bob) = (side.account("ada").id, side.account("bob").id);
    assert_eq!(side.queries.oldest_ready(Timestamp(START + 99)).unwrap(), None);
    let mut delayed = task(1, ada);
    delayed.wake_at = Some(Timestamp(START + 50));
    let mut urgent = task(3, bob);
    urgent.priority = 10;
    side.submit(vec![new(delayed), new(urgent), new(task(4, bob))]);
    assert_eq!(side.queries.oldest_ready(Timestamp(START + 49)).unwrap(), Some(Timestamp(START + 3)));
    side.change(&id(3), START + 60, Event::Claimed { key: key_of(&id(3), 1) });
    assert_eq!(side.queries.oldest_ready(Timestamp(START + 61)).unwrap(), Some(Timestamp(START + 4)));
    side.change(&id(4), START + 62, Event::CancelRequested);
    assert_eq!(side.queries.oldest_ready(Timestamp(START + 49)).unwrap(), None, "it may not run yet");
    assert_eq!(side.queries.oldest_ready(Timestamp(START + 61)).unwrap(), Some(Timestamp(START + 50)));
}
