//! The page for Prometheus: what was counted since the start, and how it stands at the moment of asking.
//!
//! Names follow Prometheus' conventions: `contentd_`, base units, `_total` for what only rises. Labels are generators, hooks and
//! words of contentd's own tables; no task and no account is among them, so the page stays as small as the
//! configuration. The surprise: counters begin anew with the daemon, gauges are read from the database and do not.

use std::collections::BTreeMap;

use super::DaemonBackend;
use super::notice::Assessment;
use crate::actors::publisher::AwayPublisher;
use crate::actors::supervisor::DaemonStatus;
use crate::control::api::{ApiError, MetricsReply};
use crate::metrics::{Numbers, Page};
use crate::notice::alarm::AlarmState;
use crate::store::query::{PoolStanding, ScheduleStanding};
use crate::task::breaker::Trip;
use crate::task::{TaskState, Timestamp};

impl DaemonBackend {
    pub(super) async fn metrics_of_daemon(&self) -> Result<MetricsReply, ApiError> {
        let status = self.actors().await?;
        let assessment = self.assess().await?;
        let mut page = Page::default();
        process(&mut page, self.started_at, &status);
        tasks(&mut page, &assessment);
        self.generators(&mut page, &status, &assessment);
        notices(&mut page, &assessment);
        let now = self.world.clock.now().utc;
        let (standings, pool_stands) =
            self.read(move |queries| Ok((queries.schedule_standings()?, queries.pool_standing(now)?))).await?;
        schedules(&mut page, &standings);
        self.pool(&mut page, &status, &pool_stands, now);
        let numbers = self.world.store.counters().snapshot();
        counted(&mut page, &numbers);
        commits(&mut page, &numbers);
        page.counter("contentd_poll_calls_total", "Calls of verbs that look at jobs, since the poller was built.")
            .count(&[], status.poller.as_ref().map_or(0, |poller| poller.calls));
        Ok(MetricsReply { text: page.into_text() })
    }

    fn generators(&self, page: &mut Page, status: &DaemonStatus, assessment: &Assessment) {
        let in_flight = status.queue.as_ref().map(|queue| &queue.in_flight);
        let generators: Vec<_> = self.world.generators.borrow().iter().cloned().collect();
        let mut jobs = page.gauge("contentd_jobs_in_flight", "Jobs at each generator now.");
        for one in &generators {
            let count = in_flight.and_then(|jobs| jobs.get(&one.name)).copied().unwrap_or(0);
            jobs.count(&[("generator", one.name.as_str())], count.into());
        }
        let mut most = page.gauge("contentd_jobs_in_flight_limit", "Jobs that may be at each generator.");
        for one in &generators {
            most.count(&[("generator", one.name.as_str())], one.limits.max_in_flight.into());
        }
        let mut open = page.gauge("contentd_breaker_open", "1 where a generator gets no new jobs because it fails.");
        for (name, breaker) in &assessment.look.breakers {
            open.count(&[("generator", name.as_str())], breaker.is_some().into());
        }
        let mut trips = page.gauge("contentd_breaker_trip", "1 at what made a generator get no new jobs.");
        for (name, breaker) in &assessment.look.breakers {
            for trip in Trip::ALL {
                let is_it = breaker.as_ref().is_some_and(|open| open.trip == trip.as_str());
                trips.count(&[("generator", name.as_str()), ("trip", trip.as_str())], is_it.into());
            }
        }
    }

    fn pool(&self, page: &mut Page, status: &DaemonStatus, stands: &PoolStanding, now: Timestamp) {
        let mut entries = page.gauge("contentd_pool_entries", "Pieces in the publish pool that are not out, by state.");
        for state in PoolStanding::COUNTED {
            entries.count(&[("state", state.as_str())], stands.counts.get(state).copied().unwrap_or(0));
        }
        page.gauge("contentd_pieces_to_review", "Pieces that wait for a review; no more than 10000 are counted.")
            .count(&[], stands.to_review);
        let overdue = stands.oldest_due.map_or(0.0, |due| now.since(due).as_secs_f64());
        page.gauge("contentd_pool_overdue_seconds", "For how long the oldest piece has been due; 0 where none is.")
            .sample(&[], overdue);
        let publisher = status.publisher.as_ref();
        page.counter("contentd_publisher_calls_total", "Calls of publishers, since their actor was built.")
            .count(&[], publisher.map_or(0, |publisher| publisher.calls));
        let publishers = self.world.publishers.current();
        let mut away =
            page.gauge("contentd_publisher_away", "1 where a publisher gets one piece at a time because it fails.");
        for one in publishers.iter() {
            let is_it = |away: &AwayPublisher| away.publisher == one.name;
            let is_away = publisher.is_some_and(|status| status.away.iter().any(is_it));
            away.count(&[("publisher", &one.name)], is_away.into());
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus keeps every number as a float")]
fn process(page: &mut Page, started_at: Timestamp, status: &DaemonStatus) {
    page.gauge("contentd_up", "1 where the daemon answers.").count(&[], 1);
    page.gauge("contentd_build_info", "The version of the daemon.").count(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.gauge("contentd_start_time_seconds", "When the daemon started, in seconds since 1970.")
        .sample(&[], started_at.0 as f64 / 1_000.0);
    page.counter("contentd_actor_restarts_total", "Actors that were rebuilt after a fault.")
        .count(&[], status.restarts);
    let busy = status.workers.iter().flatten().filter(|worker| worker.task.is_some()).count();
    page.gauge("contentd_workers", "Workers.").count(&[], status.workers.len() as u64);
    page.gauge("contentd_workers_busy", "Workers that carry a call.").count(&[], busy as u64);
}

fn tasks(page: &mut Page, assessment: &Assessment) {
    let look = &assessment.look;
    let mut tasks = page.gauge("contentd_tasks", "Tasks by state.");
    for state in TaskState::ALL {
        tasks.count(&[("state", state.as_str())], look.counts.get(state).copied().unwrap_or(0));
    }
    let oldest = look.oldest.map_or(0.0, |waited| waited.as_secs_f64());
    page.gauge(
        "contentd_oldest_waiting_task_seconds",
        "How long the oldest task has waited that could run; 0 where none does.",
    )
    .sample(&[], oldest);
    let mut ended =
        page.gauge("contentd_tasks_ended_last_hour", "Tasks that became final within the last hour, by state.");
    for state in TaskState::ALL.iter().filter(|state| state.is_final()) {
        ended.count(&[("state", state.as_str())], look.ended.get(state).copied().unwrap_or(0));
    }
    if let Some(free) = look.disk_free {
        page.gauge("contentd_disk_free_bytes", "Bytes that are free on the disk of the state directory.")
            .count(&[], free);
    }
}

fn notices(page: &mut Page, assessment: &Assessment) {
    let firing = |alarm: &str| {
        let found = assessment.alarms.get(alarm).filter(|alarm| alarm.state == AlarmState::Firing);
        found.map(|alarm| alarm.severity.as_str())
    };
    let mut alarms = page.gauge("contentd_alarm_firing", "1 where an alarm fires.");
    for reading in &assessment.readings {
        let (rule, subject, name) = (reading.rule.as_str(), reading.subject.as_str(), reading.alarm());
        alarms.count(&[("rule", rule), ("subject", subject)], firing(&name).is_some().into());
    }
    let hooks = assessment.hooks();
    let mut waiting = page.gauge("contentd_hook_messages_waiting", "Messages that wait for a hook.");
    for hook in &hooks {
        waiting.count(&[("hook", &hook.name)], hook.waiting);
    }
    let mut given_up =
        page.gauge("contentd_hook_messages_given_up_last_day", "Messages that were given up within 24 hours.");
    for hook in &hooks {
        given_up.count(&[("hook", &hook.name)], hook.given_up);
    }
}

fn schedules(page: &mut Page, standings: &[ScheduleStanding]) {
    let count = |is_meant: fn(&ScheduleStanding) -> bool| standings.iter().filter(|one| is_meant(one)).count() as u64;
    let mut schedules = page.gauge("contentd_schedules", "Schedules, by whether they are paused.");
    schedules.count(&[("state", "running")], count(|one| !one.is_paused));
    schedules.count(&[("state", "paused")], count(|one| one.is_paused));
    page.gauge("contentd_schedules_without_tasks", "Schedules whose last fire submitted nothing.")
        .count(&[], count(|one| one.trouble().is_some()));
}

fn counted(page: &mut Page, numbers: &Numbers) {
    let mut submitted = page.counter("contentd_tasks_submitted_total", "Tasks that were taken in.");
    for (generator, count) in &numbers.submitted {
        submitted.count(&[("generator", generator)], *count);
    }
    let mut moves = page.counter("contentd_task_transitions_total", "Moves of tasks, by the name of the move.");
    for ((generator, event), count) in &numbers.moves {
        moves.count(&[("generator", generator), ("event", event)], *count);
    }
    let mut retries = page.counter("contentd_task_retries_total", "Retries that were spent.");
    for ((generator, _), count) in numbers.moves.iter().filter(|((_, event), _)| event == "retry_scheduled") {
        retries.count(&[("generator", generator)], *count);
    }
    let mut answers = page.counter("contentd_generator_answers_total", "Answers of generators about single jobs.");
    for ((generator, verb, outcome), count) in &numbers.answers {
        answers.count(&[("generator", generator), ("verb", verb), ("outcome", outcome)], *count);
    }
    for (name, help, histograms) in [
        ("contentd_job_duration_seconds", "From acceptance by the generator to completion.", &numbers.job_seconds),
        (
            "contentd_task_wait_seconds",
            "From the submit to the first acceptance by the generator.",
            &numbers.wait_seconds,
        ),
    ] {
        let mut family = page.histogram(name, help);
        for (generator, histogram) in histograms {
            family.distribution(&[("generator", generator)], histogram);
        }
    }
    let mut fires = page.counter("contentd_schedule_fires_total", "Fires of schedules that ended, by how they did.");
    for (state, count) in &numbers.fires {
        fires.count(&[("state", state)], *count);
    }
    let mut moves =
        page.counter("contentd_pool_moves_total", "Moves of pool entries but for handing out, by their name.");
    for (event, count) in &numbers.pool_moves {
        moves.count(&[("event", event)], *count);
    }
    told(page, &numbers.hook_runs, &numbers.notices);
    page.counter("contentd_reports_total", "Reports that a job may have ended.").count(&[], numbers.reports);
}

type Counts = BTreeMap<(String, &'static str), u64>;

fn told(page: &mut Page, runs: &Counts, notices: &Counts) {
    let mut family = page.counter("contentd_hook_runs_total", "Runs of hooks, by how they ended.");
    for ((hook, outcome), count) in runs {
        family.count(&[("hook", hook), ("outcome", outcome)], *count);
    }
    let mut family = page.counter("contentd_notices_total", "Messages that were made, by rule and kind.");
    for ((rule, kind), count) in notices {
        family.count(&[("rule", rule), ("kind", kind)], *count);
    }
}

fn commits(page: &mut Page, numbers: &Numbers) {
    page.histogram("contentd_commit_writes", "Writes that were committed together.")
        .distribution(&[], &numbers.commit_writes);
    page.histogram("contentd_commit_duration_seconds", "How long a commit took in all.")
        .distribution(&[], &numbers.commit_seconds);
    page.histogram(
        "contentd_commit_sync_seconds",
        "How long of it was the way to the disk: the write to the log and its fsync.",
    )
    .distribution(&[], &numbers.sync_seconds);
    page.counter("contentd_commit_failures_total", "Commits of which nothing stands.")
        .count(&[], numbers.commit_failures);
}
