//! What must be true when the week is over: asked of the calendar, of the books of generator and site, of what was told, and of
//! the database.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contentd::notice::delivery::DeliveryState;
use contentd::notice::message::{Message, MessageKind};
use contentd::schedule::{Fire, FireKind, FireState, Misfire, Schedule};
use contentd::store::memory::MemoryDb;
use contentd::store::query::notice::NoticeQueries;
use contentd::store::query::{Queries, ScheduleQueries};
use contentd::task::content::{ContentRecord, PoolState, ReviewState};
use contentd::task::{AttemptState, AuditRow, Task, TaskId, TaskState, Timestamp};

use super::generator::{flaw_of, is_liked};
use super::life::{Outcome, Week};
use super::sources::{self, wanted};
use super::standing::{audit_faults, stands};

const BREAKER: &str = "breaker/scripted";
/// Probes of two hours, ten minutes apart at last, those of a restart among them.
const MOST_PROBES: usize = 30;
/// From the end of the outage to the message that it is over: the longest wait for a probe, and how long it must be right.
const OVER_WITHIN: Duration = Duration::from_secs(30 * 60);

/// What is not at rest.
pub fn open_ends(db: &MemoryDb) -> Vec<String> {
    let tasks = db.all_tasks().into_iter().filter(|task| !task.state.is_final() || task.wake_at.is_some());
    let fires = db.all_fires().into_iter().filter(|fire| fire.wake.is_some());
    let entries = db.all_pool_entries().into_iter().filter(|entry| entry.status != PoolState::Published);
    let contents = db.all_contents().into_iter();
    let reviews = contents.filter(|content| content.record.review_status == ReviewState::PendingReview);
    let alarms = db.outbox(Timestamp(0)).unwrap().waiting.into_keys();
    let tasks = tasks.map(|task| format!("{} is {}: {:?}", task.id, task.state, task.reason.or(task.error)));
    let open = tasks
        .chain(fires.map(|fire| format!("fire {} is {}: {:?}", fire.key, fire.state, fire.why)))
        .chain(entries.map(|entry| format!("pool entry {} is {}: {:?}", entry.id, entry.status, entry.last_error)))
        .chain(reviews.map(|content| format!("content {} waits for a review", content.id)))
        .chain(alarms.map(|hook| format!("messages wait for {hook}")));
    open.collect()
}

/// At the end.
pub fn at_rest(week: &Week) -> Outcome {
    let mut outcome = Outcome::default();
    let mut failures = open_ends(&week.db);
    let judge = Judge { week, tasks: week.db.all_tasks(), fires: week.db.all_fires() };
    judge.fires(&mut failures);
    judge.topics(&mut failures);
    judge.tasks(&mut failures);
    judge.pieces(&mut outcome, &mut failures);
    judge.outage(&mut outcome, &mut failures);
    judge.messages(&mut outcome, &mut failures);
    failures.extend(week.house.violations());
    outcome.fires = judge.fires.len();
    outcome.failures = failures;
    outcome
}

struct Judge<'a> {
    week: &'a Week,
    tasks: Vec<Task>,
    fires: Vec<Fire>,
}

impl Judge<'_> {
    fn schedule(&self, name: &str) -> Schedule {
        self.week.db.find_schedule(name).unwrap().unwrap()
    }

    fn fires_of(&self, schedule: &Schedule) -> Vec<&Fire> {
        self.fires.iter().filter(|fire| fire.schedule == schedule.id).collect()
    }

    /// Each due time fired once, and those that were missed are known.
    fn fires(&self, failures: &mut Vec<String>) {
        let calendar = &self.week.calendar;
        for (name, dues) in
            [("mornings", calendar.mornings()), ("nights", calendar.nights()), ("hours", calendar.hours())]
        {
            let schedule = self.schedule(name);
            let fires = self.fires_of(&schedule);
            let found: Vec<Timestamp> = fires.iter().map(|fire| fire.due).collect();
            let may_miss = name == "hours" && !matches!(sources::misfire(self.week.seed), Misfire::All { .. });
            let stray: Vec<String> =
                found.iter().filter(|due| !dues.contains(due)).map(|due| calendar.shown(*due)).collect();
            if !stray.is_empty() {
                failures.push(format!("{name} fired when it was not due: {}", stray.join(", ")));
            }
            if found.iter().collect::<BTreeSet<_>>().len() != found.len() {
                failures.push(format!("{name} has two fires of one due time"));
            }
            let counted: usize = fires.iter().map(|fire| counted(fire)).sum();
            if counted != dues.len() || !may_miss && found.len() != dues.len() {
                let count = dues.len();
                failures
                    .push(format!("{name} was due {count} times, has {} fires and tells of {counted}", found.len()));
            }
            for fire in fires {
                let is_right = match fire.state {
                    FireState::Fired => fire.kind == FireKind::Due && fire.tasks.len() == wanted(&schedule),
                    FireState::Missed => may_miss && fire.tasks.is_empty(),
                    _ => false,
                };
                if !is_right {
                    failures.push(format!("a fire of {name} ended badly: {fire:?}"));
                }
            }
        }
    }

    /// Each topic of each fire is one task, and no topic of a list or a file was taken twice.
    fn topics(&self, failures: &mut Vec<String>) {
        let of_fires: Vec<&TaskId> = self.fires.iter().flat_map(|fire| &fire.tasks).collect();
        let distinct: BTreeSet<&TaskId> = of_fires.iter().copied().collect();
        if distinct.len() != of_fires.len() || distinct != self.tasks.iter().map(|task| &task.id).collect() {
            failures.push(format!("fires tell of {} tasks, and {} are there", of_fires.len(), self.tasks.len()));
        }
        let task_of: BTreeMap<&TaskId, &Task> = self.tasks.iter().map(|task| (&task.id, task)).collect();
        let topics_of = |schedule: &str| -> Vec<String> {
            let fires = self.fires_of(&self.schedule(schedule));
            let tasks = fires.into_iter().flat_map(|fire| &fire.tasks).filter_map(|id| task_of.get(id));
            tasks.map(|task| task.topic.clone()).collect()
        };
        let mornings = topics_of("mornings");
        let list: Vec<String> = sources::list().into_iter().map(|topic| topic.topic).collect();
        let is_listed = sources::is_listed(self.week.seed);
        if is_listed && mornings != list[..mornings.len()] {
            failures.push(format!("the list was not worked through in order: {mornings:?}"));
        }
        if mornings.iter().collect::<BTreeSet<_>>().len() != mornings.len() {
            failures.push(format!("a topic of the file was taken twice: {mornings:?}"));
        }
        for fire in self.fires_of(&self.schedule("hours")).iter().filter(|fire| fire.state == FireState::Fired) {
            let topics: Vec<&str> =
                fire.tasks.iter().filter_map(|id| task_of.get(id)).map(|task| task.topic.as_str()).collect();
            if topics != [sources::news_of(&fire.key)] {
                failures.push(format!("{} has the topics {topics:?}", fire.key));
            }
        }
        for account in 1..=3 {
            let is_of = |task: &&Task| {
                let key = task.key.as_deref().unwrap_or_default();
                task.account_id.0 == account && key.starts_with(&format!("schedule/{}/", self.schedule("mornings").id))
            };
            let (count, each) = (self.tasks.iter().filter(is_of).count(), sources::TOPICS_EACH);
            let due = self.week.calendar.mornings().len() * each;
            if count != due {
                failures.push(format!("account {account} has {count} tasks of its mornings, and {due} are due"));
            }
        }
        let is_dry = |task: &&Task| task.account_id.0 == 2;
        if self.tasks.iter().filter(is_dry).any(|task| task.tone.as_deref() != Some("dry")) {
            failures.push("an account's own word did not reach its tasks".into());
        }
    }

    /// Each task is completed and stands by itself, and the generator made one job more for it than it saw fail. Held for the
    /// person was none but of a submit in whose middle the daemon died, to be away for longer than the time limit.
    fn tasks(&self, failures: &mut Vec<String>) {
        let db = &self.week.db;
        for task in &self.tasks {
            let (_, attempt) = db.task(&task.id).unwrap().unwrap();
            failures.extend(stands(db, task, attempt.as_ref()));
            failures.extend(audit_faults(db, task));
            if task.state != TaskState::Completed {
                failures.push(format!("{} is {}: {:?}", task.id, task.state, task.error));
            }
            let rows = db.history(&task.id).unwrap();
            let is_held = |row: &&AuditRow| row.to_state == TaskState::Held && row.from_state != Some(TaskState::Held);
            for held in rows.iter().filter(is_held) {
                let doubted = rows.iter().find(|row| row.event == "doubted" && row.attempt == held.attempt);
                let intended = rows.iter().find(|row| row.event == "claimed" && row.attempt == held.attempt);
                let limit = Duration::from_secs(u64::from(task.time_limit_s));
                let was_away = |doubted: &AuditRow, intended: &AuditRow| doubted.at.since(intended.at) >= limit;
                if !doubted.zip(intended).is_some_and(|(doubted, intended)| was_away(doubted, intended)) {
                    failures.push(format!("{} was held: {:?}", task.id, held.why));
                }
            }
            let jobs = self.week.house.jobs_of(&task.id);
            if jobs.iter().filter(|job| !job.fails).count() != 1 {
                failures.push(format!("{} has these jobs at the generator: {jobs:?}", task.id));
            }
        }
    }

    /// What the rules let pass or the person approved is out once, and nothing else is.
    fn pieces(&self, outcome: &mut Outcome, failures: &mut Vec<String>) {
        let contents = self.week.db.all_contents();
        let by_rules = contents.iter().filter(|content| content.record.findings.is_empty()).count();
        let by_person = contents.len() - by_rules;
        if by_person * 30 < contents.len() || by_person * 3 > contents.len() {
            failures.push(format!("{by_person} of {} pieces waited for the person", contents.len()));
        }
        for task in &self.tasks {
            let of_task: Vec<&ContentRecord> =
                contents.iter().filter(|content| content.record.task_id == task.id).collect();
            let [content] = of_task.as_slice() else {
                failures.push(format!("{} has {} pieces", task.id, of_task.len()));
                continue;
            };
            let (flaw, is_liked) = (flaw_of(&task.topic), is_liked(&task.topic));
            if flaw.is_some() == content.record.findings.is_empty() {
                failures.push(format!("{} has {flaw:?}, and the rules say {:?}", task.id, content.record.findings));
            }
            let is_to_be_out = flaw.is_none() || is_liked;
            let status = if is_to_be_out { ReviewState::Approved } else { ReviewState::Rejected };
            if content.record.review_status != status {
                failures.push(format!("content {} is {}", content.id, content.record.review_status));
            }
            let times = self.week.site.times_out(content.id);
            let entries = self.week.db.all_pool_entries();
            let entries: Vec<PoolState> =
                entries.iter().filter(|entry| entry.content_id == content.id).map(|entry| entry.status).collect();
            let is_right = match is_to_be_out {
                true => times == 1 && content.publication.is_some() && entries == [PoolState::Published],
                false => times == 0 && content.publication.is_none() && entries.is_empty(),
            };
            if !is_right {
                let status = content.record.review_status;
                failures.push(format!("content {} is {status}, out {times} times, pool {entries:?}", content.id));
            }
            outcome.published += usize::from(is_to_be_out);
            outcome.rejected += usize::from(!is_to_be_out);
        }
    }

    /// It cost probes and no retry of a task that waited.
    fn outage(&self, outcome: &mut Outcome, failures: &mut Vec<String>) {
        let (began, ended) = self.week.calendar.outage();
        let probes = self.week.house.submits_refused() as usize;
        outcome.probes = probes;
        // None: the generator had as many jobs as it may have when it went away, and nothing more was to be submitted.
        if probes != 0 && !(3..=MOST_PROBES).contains(&probes) {
            failures.push(format!("the outage met {probes} submits"));
        }
        let mut waited = 0;
        for task in self.tasks.iter().filter(|task| task.created_at < ended) {
            let jobs = self.week.house.jobs_of(&task.id);
            let is_backlog =
                task.completed_at.is_some_and(|at| at > began) && jobs.iter().all(|job| job.made_at > ended.0);
            if !is_backlog {
                continue;
            }
            waited += 1;
            let failed = jobs.iter().filter(|job| job.fails).count();
            if task.retry_count as usize != failed {
                let spent = task.retry_count;
                failures
                    .push(format!("{} waited out the outage, {failed} jobs failed, {spent} retries spent", task.id));
            }
            let attempts = self.week.db.attempts(&task.id).unwrap();
            let given_back = attempts.iter().filter(|attempt| attempt.state == AttemptState::Withdrawn).count();
            if attempts.len() - given_back != jobs.len() {
                failures.push(format!("{} has {} attempts, {given_back} given back", task.id, attempts.len()));
            }
        }
        if waited < 4 {
            failures.push(format!("only {waited} tasks waited out the outage"));
        }
    }

    /// The outage was told and so was its end; each message reached somebody; nothing fires any more.
    fn messages(&self, outcome: &mut Outcome, failures: &mut Vec<String>) {
        let told = self.week.told.lock().unwrap();
        let (began, ended) = self.week.calendar.outage();
        let at = |message: &Message| Timestamp(message.at.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        let of_breaker = |kind: MessageKind| {
            let is_it = move |message: &&Message| message.alarm == BREAKER && message.kind == kind;
            let mut found: Vec<&Message> = told.iter().filter(is_it).collect();
            found.dedup_by_key(|message| message.id.clone());
            found
        };
        match (of_breaker(MessageKind::Firing).as_slice(), of_breaker(MessageKind::Resolved).as_slice()) {
            ([alarm], [over])
                if began < at(alarm) && at(alarm) < ended && ended < at(over) && at(over) < ended.plus(OVER_WITHIN) => {
            }
            (alarms, ends) => failures.push(format!("of the outage were told {alarms:?} and {ends:?}")),
        }
        let mut open: BTreeMap<String, i32> = BTreeMap::new();
        for story in self.week.db.notices(1_000).unwrap() {
            let id = &story.notice.id;
            let is_delivered = story.deliveries.iter().all(|delivery| delivery.state == DeliveryState::Delivered);
            if !is_delivered || !told.iter().any(|message| message.id == *id) {
                failures.push(format!("{id} was not told: {story:?}"));
            }
            let step = if story.notice.kind == MessageKind::Firing { 1 } else { -1 };
            *open.entry(story.notice.alarm.clone()).or_default() += step;
            outcome.messages += 1;
        }
        let left: Vec<String> = open.into_iter().filter(|(_, count)| *count != 0).map(|(alarm, _)| alarm).collect();
        if !left.is_empty() {
            failures.push(format!("beginnings and ends do not match: {left:?}"));
        }
    }
}

/// How many due times a fire stands for.
fn counted(fire: &Fire) -> usize {
    match fire.state {
        FireState::Missed => fire.missed as usize,
        _ => 1 + fire.missed as usize,
    }
}
