//! The verbs on schedules.

use std::path::Path;

use serde::Serialize;

use super::Session;
use super::args::{Format, ScheduleAddArgs, ScheduleVerb};
use super::batch::split_keywords;
use super::failure::Failure;
use super::names;
use super::output::write_out;
use super::page;
use super::table::{Column, fixed, flexible, sentences, spare, wanted};
use super::text::{safe, safe_lines};
use crate::control::api::schedules::TopicParams;
use crate::control::api::{
    ApiError, EmptyReply, FireReply, FireView, FiresReply, NewScheduleParams, NoParams, ScheduleAddParams,
    ScheduleHistoryParams, ScheduleParams, SchedulePauseParams, ScheduleReply, ScheduleView, SchedulesReply,
};
use crate::control::client::ClientError;
use crate::control::topics;
use crate::control::values::TextOrNumber;
use crate::schedule::{Topic, limits};

const FIELDS: &[&str] = &[
    "schedule_id",
    "name",
    "cron",
    "every",
    "zone",
    "accounts",
    "topics",
    "source",
    "file",
    "command",
    "at_end",
    "list_size",
    "list_taken",
    "next_topics",
    "requirements",
    "keywords",
    "category",
    "tone",
    "priority",
    "time_limit",
    "max_retries",
    "auto_approve",
    "generator",
    "misfire",
    "misfire_most",
    "is_paused",
    "paused_why",
    "trouble",
    "next_due_at",
    "created_by",
    "created_at",
    "updated_at",
];
pub(super) const COLUMNS: &[Column] = &[
    fixed("ID", "schedule_id"),
    wanted("NAME", "name"),
    // Half of a cron expression is another one.
    fixed("WHEN", "when"),
    spare("ZONE", "zone"),
    spare("ACCOUNTS", "accounts"),
    spare("TOPICS", "topics"),
    spare("SOURCE", "source"),
    spare("TAKEN", "taken"),
    fixed("NEXT IN ZONE", "next_local").goes(1),
    spare("NEXT IN UTC", "next_utc"),
    sentences("PAUSED", "paused_why").below(),
    sentences("TROUBLE", "trouble").below(),
];
const FIRE_FIELDS: &[&str] = &[
    "fire_id",
    "schedule_id",
    "key",
    "due_at",
    "kind",
    "state",
    "missed",
    "tries",
    "next_try_at",
    "began_at",
    "ended_at",
    "tasks",
    "reason",
    "who",
];
pub(super) const FIRE_COLUMNS: &[Column] = &[
    fixed("ID", "fire_id"),
    fixed("DUE", "due_at"),
    spare("KIND", "kind"),
    fixed("STATE", "state"),
    fixed("TASKS", "count"),
    spare("MISSED", "missed"),
    fixed("NEXT TRY", "next_try_at").goes(1),
    flexible("WHO", "who").goes(0),
    sentences("REASON", "reason"),
    sentences("TASK IDS", "tasks").aside().goes(2).below(),
];

/// A schedule as a line of a table.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    schedule: &'a ScheduleView,
    when: String,
    next_local: Option<&'a str>,
    next_utc: Option<String>,
    taken: Option<String>,
}

impl<'a> From<&'a ScheduleView> for Line<'a> {
    fn from(schedule: &'a ScheduleView) -> Self {
        let next = schedule.next.first().filter(|_| !schedule.is_paused);
        Self {
            when: when(schedule),
            next_local: next.map(|next| next.local.as_str()),
            next_utc: next.filter(|next| !is_utc(&next.local)).map(|next| next.at.to_string()),
            taken: schedule.list_size.zip(schedule.list_taken).map(|(size, taken)| format!("{taken} of {size}")),
            schedule,
        }
    }
}

/// Whether the clock of its zone shows what that of UTC shows: said twice it looks like two times.
fn is_utc(local: &str) -> bool {
    local.ends_with('Z') || local.ends_with("+00:00")
}

fn when(schedule: &ScheduleView) -> String {
    let every = schedule.every.map(|seconds| {
        format!("every {}", crate::config::format_duration(std::time::Duration::from_secs(seconds.into())))
    });
    schedule.cron.clone().or(every).unwrap_or_default()
}

/// A fire as a line of a table.
#[derive(Serialize)]
struct FireLine<'a> {
    #[serde(flatten)]
    fire: &'a FireView,
    count: usize,
}

/// `contentctl schedule`.
pub fn schedule(session: &Session, verb: ScheduleVerb) -> Result<(), Failure> {
    let named = |schedule: String| ScheduleParams { schedule: TextOrNumber(schedule) };
    match verb {
        ScheduleVerb::Add(args) => add(session, *args),
        ScheduleVerb::List => list(session),
        ScheduleVerb::Show { schedule } => {
            let reply: ScheduleReply = session.call("io.contentd.Schedules.Get", &named(schedule))?;
            print(session, &reply.schedule)
        }
        ScheduleVerb::Run { schedule } => run(session, &schedule),
        ScheduleVerb::Pause { schedule, reason } => {
            let was_paused = was_paused(session, &schedule);
            let params = SchedulePauseParams { schedule: TextOrNumber(schedule), reason };
            let reply: ScheduleReply = session.call("io.contentd.Schedules.Pause", &params)?;
            print(session, &reply.schedule)?;
            if was_paused == Some(true) {
                session.tell(format!(
                    "schedule {} was paused already, and nothing was changed",
                    safe(&reply.schedule.name)
                ));
            }
            Ok(())
        }
        ScheduleVerb::Resume { schedule } => {
            let was_paused = was_paused(session, &schedule);
            let resumed = session.call("io.contentd.Schedules.Resume", &named(schedule));
            let reply: ScheduleReply = resumed.map_err(|failure| cannot_be("resumed", failure))?;
            print(session, &reply.schedule)?;
            if was_paused == Some(false) {
                session
                    .tell(format!("schedule {} was not paused, and nothing was changed", safe(&reply.schedule.name)));
            }
            Ok(())
        }
        ScheduleVerb::Remove { schedule } => {
            let name = safe(&schedule);
            let _: EmptyReply = session.call("io.contentd.Schedules.Remove", &named(schedule))?;
            session.tell(format!("schedule {name} is removed; its tasks stay"));
            if session.printer.is_json() { session.printer.json(&EmptyReply {}) } else { Ok(()) }
        }
        ScheduleVerb::History { schedule, page, before } => {
            let params = ScheduleHistoryParams {
                schedule: TextOrNumber(schedule),
                limit: Some(page::asked(&page)),
                offset: Some(i64::from(page.offset)),
                before,
            };
            let mut reply: FiresReply = session.call("io.contentd.Schedules.History", &params)?;
            let more = page::kept(&mut reply.fires, &page, |fire| Some(fire.fire_id.to_string()));
            if session.printer.is_for_people() {
                let line = |fire| FireLine { fire, count: fire.tasks.len() };
                let lines: Vec<FireLine<'_>> = reply.fires.iter().map(line).collect();
                if lines.is_empty() {
                    session.tell("it has not fired, or not since then");
                }
                session.printer.rows(&lines, FIRE_COLUMNS, FIRE_FIELDS)?;
            } else {
                session.printer.rows(&reply.fires, FIRE_COLUMNS, FIRE_FIELDS)?;
            }
            page::tell_more(more);
            Ok(())
        }
    }
}

/// Whether a schedule is paused now: what is done to it twice is done once, and people are told. None where nobody reads that, or
/// where it cannot be seen, which the call itself says better.
fn was_paused(session: &Session, schedule: &str) -> Option<bool> {
    let params = ScheduleParams { schedule: TextOrNumber(schedule.to_owned()) };
    let asked = session.printer.is_for_people().then(|| session.call("io.contentd.Schedules.Get", &params));
    asked?.ok().map(|reply: ScheduleReply| reply.schedule.is_paused)
}

fn list(session: &Session) -> Result<(), Failure> {
    let mut reply: SchedulesReply = session.call("io.contentd.Schedules.List", &NoParams {})?;
    fill_sizes(session, &mut reply.schedules);
    if session.printer.is_for_people() {
        if reply.schedules.is_empty() {
            session.tell("there is no schedule; `contentctl schedule add` makes one");
        }
        let lines: Vec<Line<'_>> = reply.schedules.iter().map(Line::from).collect();
        return names::rows(session, &lines, COLUMNS, FIELDS);
    }
    names::rows(session, &reply.schedules, COLUMNS, FIELDS)
}

/// A list of schedules comes without the topics of their lists, so how many those are is asked of each. Whoever cannot be told has
/// the list all the same.
fn fill_sizes(session: &Session, schedules: &mut [ScheduleView]) {
    for schedule in schedules.iter_mut().filter(|one| one.list_taken.is_some() && one.list_size.is_none()) {
        let Some(id) = schedule.schedule_id else { continue };
        let params = ScheduleParams { schedule: TextOrNumber(id.to_string()) };
        let Ok(reply) = session.call::<_, ScheduleReply>("io.contentd.Schedules.Get", &params) else { return };
        schedule.list_size = reply.schedule.list_size;
    }
}

/// A schedule and, for people, its next topics, and its next times as both clocks show them.
fn print(session: &Session, schedule: &ScheduleView) -> Result<(), Failure> {
    if session.printer.format() != Format::Table {
        return names::record(session, schedule, FIELDS);
    }
    // Below they stand with what comes next.
    let topics = of_list(schedule);
    let is_said = |field: &str| topics.is_some() && matches!(field, "list_size" | "list_taken" | "next_topics");
    let fields: Vec<&str> = FIELDS.iter().copied().filter(|field| !is_said(field)).collect();
    names::record(session, schedule, &fields)?;
    if let Some(topics) = topics {
        session.printer.prose(&topics)?;
    }
    let is_worked_through =
        schedule.list_size.is_some_and(|size| schedule.list_taken.is_some_and(|taken| taken as usize >= size));
    if schedule.is_paused && is_worked_through && schedule.at_end.as_deref() == Some("stop") {
        // No time of it ever comes.
        return Ok(());
    }
    let heading = if schedule.is_paused { "it is paused; it would be due at" } else { "next" };
    let times = schedule.next.iter().map(|next| match is_utc(&next.local) {
        true => format!("  {}\n", safe(&next.local)),
        false => format!("  {}   {}\n", safe(&next.local), next.at),
    });
    write_out(format!("{heading}:\n{}", times.collect::<String>()).as_bytes())
}

/// How far a list is, and what it has next; none of a schedule that has no list.
fn of_list(schedule: &ScheduleView) -> Option<String> {
    let (size, taken) = (schedule.list_size?, schedule.list_taken? as usize);
    let left = size.saturating_sub(taken);
    let mut lines = format!("topics of its list: {} of {size} taken, {left} left", taken.min(size));
    if schedule.next_topics.is_empty() {
        return Some(lines);
    }
    let is_from_the_beginning = left == 0;
    lines.push_str(if is_from_the_beginning { "; again from the beginning:" } else { "; next:" });
    for topic in &schedule.next_topics {
        lines.push_str(&format!("\n  {}", safe(topic)));
    }
    let all = if is_from_the_beginning { size } else { left };
    let more = all.saturating_sub(schedule.next_topics.len());
    if more > 0 {
        lines.push_str(&format!("\n  and {more} more"));
    }
    Some(lines)
}

/// A refusal of what a schedule is to do: its name was understood, and what was wrong is not that.
fn cannot_be(done: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Client(ClientError::Refused(ApiError::InvalidField { field, value, cure })) if field == "schedule" => {
            Failure::Refused(safe_lines(&format!("schedule {value:?} cannot be {done}: {cure}")))
        }
        failure => failure,
    }
}

fn run(session: &Session, schedule: &str) -> Result<(), Failure> {
    let params = ScheduleParams { schedule: TextOrNumber(schedule.to_owned()) };
    let reply: FireReply =
        session.call("io.contentd.Schedules.Run", &params).map_err(|failure| cannot_be("run", failure))?;
    if !session.printer.is_for_people() {
        return session.printer.record(&reply.fire, FIRE_FIELDS);
    }
    let name = safe(schedule);
    let id = reply.fire.fire_id;
    session
        .printer
        .prose(&format!("{name}: fire {id} has begun; `contentctl schedule history {name}` tells what became of it"))
}

fn add(session: &Session, args: ScheduleAddArgs) -> Result<(), Failure> {
    let dry_run = args.dry_run;
    let params = ScheduleAddParams { schedule: new_schedule(args)?, dry_run: dry_run.then_some(true) };
    let reply: ScheduleReply = session.call("io.contentd.Schedules.Add", &params).map_err(of_add)?;
    print(session, &reply.schedule)?;
    tell_pace(session, &reply.schedule);
    if dry_run {
        session.tell("everything is right; nothing was kept");
    }
    Ok(())
}

/// Faults of topics are told as those of a submit, and here is none.
fn of_add(failure: Failure) -> Failure {
    match failure {
        Failure::Client(ClientError::Refused(error @ ApiError::BatchRefused { .. })) => {
            Failure::Refused(safe_lines(&error.message().replacen("nothing was submitted", "nothing was kept", 1)))
        }
        failure => failure,
    }
}

/// So many tasks an hour are told before they are paid for. One a minute is the most that one account gets from what is typed as
/// often as a field of minutes can say it; more is a mistyped unit, or topics that accounts multiply.
const PACE_TOLD: u64 = 60;

/// What is typed in a moment may be paid for every second.
fn tell_pace(session: &Session, schedule: &ScheduleView) {
    let each = u64::from(schedule.topics) * schedule.accounts.len() as u64;
    let times: Vec<i64> = schedule.next.iter().map(|next| next.at.0.0).collect();
    if let Some(tasks) = an_hour(&times, each).map(|tasks| most_of(schedule, tasks)).filter(|tasks| *tasks > PACE_TOLD)
    {
        let fire = super::text::counted(each, "task");
        session.tell(format!(
            "that is up to {tasks} tasks an hour ({fire} at each time), each of them paid for; more than {PACE_TOLD} an hour are told"
        ));
    }
}

/// How many tasks an hour of such times brings, in milliseconds, with so many at each.
fn an_hour(times: &[i64], each: u64) -> Option<u64> {
    const HOUR_MS: u64 = 3_600_000;
    let span = u64::try_from(times.last()?.checked_sub(*times.first()?)?).ok().filter(|span| *span > 0)?;
    Some((times.len() as u64 - 1).saturating_mul(HOUR_MS).saturating_mul(each) / span)
}

/// A list that ends its schedule makes no more tasks than it has topics left.
fn most_of(schedule: &ScheduleView, tasks: u64) -> u64 {
    let left = schedule.list_size.filter(|_| schedule.at_end.as_deref() == Some("stop"));
    left.map_or(tasks, |size| tasks.min(size.saturating_sub(schedule.list_taken.unwrap_or(0) as usize) as u64))
}

fn new_schedule(args: ScheduleAddArgs) -> Result<NewScheduleParams, Failure> {
    let list = match (&args.list, args.topic.is_empty()) {
        (Some(path), _) => Some(read_list(path)?),
        (None, false) => {
            Some(args.topic.iter().map(|topic| of_topic(Topic { topic: topic.clone(), ..Topic::default() })).collect())
        }
        (None, true) => None,
    };
    let (misfire, misfire_most) = match args.misfire.as_deref().map(|misfire| misfire.split_once(':')) {
        Some(Some((word, most))) => {
            let number =
                most.parse().map_err(|_| Failure::usage("--misfire", most, "a number after `all:`, as in all:24"))?;
            (Some(word.to_owned()), Some(number))
        }
        _ => (args.misfire, None),
    };
    let auto_approve = match (args.auto_approve, args.no_auto_approve) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    Ok(NewScheduleParams {
        name: args.named.or(args.name).unwrap_or_default(),
        cron: args.cron,
        every: args.every.map(TextOrNumber),
        zone: Some(args.zone.unwrap_or_else(own_zone)),
        accounts: args.account.into_iter().map(TextOrNumber).collect(),
        topics: args.topics,
        list,
        file: args.file,
        command: args.command,
        at_end: args.at_end,
        misfire,
        misfire_most,
        paused: args.paused.then_some(true),
        requirements: args.requirements,
        keywords: args.keywords.as_deref().map(split_keywords),
        category: args.category,
        tone: args.tone,
        priority: args.priority,
        time_limit: args.time_limit.map(TextOrNumber),
        max_retries: args.max_retries,
        auto_approve,
        generator: args.generator,
    })
}

/// The zone that this machine's clock shows; UTC where it has no name.
fn own_zone() -> String {
    jiff::tz::TimeZone::system().iana_name().unwrap_or("UTC").to_owned()
}

fn read_list(path: &Path) -> Result<Vec<TopicParams>, Failure> {
    use std::io::Read;
    let failed = |error: std::io::Error| Failure::Refused(format!("{}: {error}", path.display()));
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    let mut contents = Vec::new();
    source.take(limits::FILE_BYTES).read_to_end(&mut contents).map_err(failed)?;
    let name = path.display().to_string();
    let has_form = ["csv", "jsonl", "ndjson", "json"].iter().any(|ending| name.ends_with(&format!(".{ending}")));
    let topics = if has_form { topics::entries(&name, &contents) } else { topics::printed(&contents) };
    let topics = topics.map_err(|why| Failure::Refused(safe_lines(&why)))?;
    Ok(topics.into_iter().map(of_topic).collect())
}

fn of_topic(topic: Topic) -> TopicParams {
    let params = topic.params;
    TopicParams {
        topic: topic.topic,
        requirements: params.requirements,
        keywords: params.keywords,
        category: params.category,
        tone: params.tone,
        priority: params.priority.map(i64::from),
        time_limit: params.time_limit_s.map(|seconds| TextOrNumber(seconds.to_string())),
        max_retries: params.max_retries.map(i64::from),
        auto_approve: params.auto_approve,
        generator: params.generator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{AtEnd, Misfire, Params, Schedule, ScheduleId, Timing, TopicSource};
    use crate::task::{AccountId, Timestamp};

    fn shown(size: usize, cursor: u32, at_end: AtEnd) -> Option<String> {
        of_list(&view("UTC", size, cursor, at_end))
    }

    fn view(zone: &str, size: usize, cursor: u32, at_end: AtEnd) -> ScheduleView {
        let topic = |n: usize| Topic { topic: format!("topic {n}"), ..Topic::default() };
        let schedule = Schedule {
            id: ScheduleId(1),
            name: "s".into(),
            timing: Timing::Every { seconds: 60, anchor: Timestamp(0), zone: zone.into() },
            accounts: vec![AccountId(1)],
            topics_each: 1,
            source: TopicSource::List { topics: (1..=size).map(topic).collect(), at_end },
            params: Params::default(),
            misfire: Misfire::Once,
            cursor,
            next_due: Some(Timestamp(60_000)),
            paused_why: None,
            created_by: "1000:ada".into(),
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        };
        ScheduleView::of(&schedule, 5, Timestamp(0))
    }

    #[test]
    fn a_time_that_both_clocks_show_is_shown_once() {
        let utc = |zone| Line::from(&view(zone, 1, 0, AtEnd::Stop)).next_utc.is_some();
        assert_eq!(["UTC", "Asia/Shanghai"].map(utc), [false, true]);
    }

    #[test]
    fn the_pace_is_that_of_the_next_times() {
        let every = |minutes: i64| (0..5).map(|n| n * minutes * 60_000).collect::<Vec<i64>>();
        assert_eq!(an_hour(&every(1), 1), Some(60));
        assert_eq!(an_hour(&every(5), 10), Some(120), "topics and accounts multiply");
        assert_eq!(an_hour(&every(24 * 60), 1), Some(0));
        assert_eq!(an_hour(&[7], 1), None, "one time has no pace");
    }

    #[test]
    fn a_list_is_shown_with_what_comes_next() {
        let next = |from: usize, to: usize| (from..=to).map(|n| format!("\n  topic {n}")).collect::<String>();
        let some = shown(15, 3, AtEnd::Stop).expect("it has a list");
        assert_eq!(some, format!("topics of its list: 3 of 15 taken, 12 left; next:{}\n  and 2 more", next(4, 13)));
        let last = shown(15, 14, AtEnd::Again).expect("it has a list");
        assert_eq!(last, format!("topics of its list: 14 of 15 taken, 1 left; next:{}", next(15, 15)));
        assert_eq!(shown(2, 2, AtEnd::Stop).as_deref(), Some("topics of its list: 2 of 2 taken, 0 left"));
        let again = shown(2, 2, AtEnd::Again).expect("it has a list");
        assert_eq!(again, format!("topics of its list: 2 of 2 taken, 0 left; again from the beginning:{}", next(1, 2)));
    }
}
