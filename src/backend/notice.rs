//! What is wrong, what was told, and what came of a span of time, for whoever asks.
//!
//! The rules are asked anew for each question, over the numbers of this moment and the alarms that are kept, and nothing of that is
//! written: so health says what the NoticeActor's next look will say. The surprise: a report is answered before anything
//! is looked at, so that neither the answer nor its time tells whether there is such a key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use log::Level;

use super::{DaemonBackend, errors};
use crate::actors::notice::{TryHook, take_look};
use crate::actors::poller::JobMayHaveEnded;
use crate::control::api::{
    Answer, ApiError, CheckView, DeliveryView, EmptyReply, HealthReply, HookView, MetricsReply, NoticeBackend,
    NoticeReply, NoticeView, NoticesReply, Peer, SilenceReply, SummaryQuery, SummaryReply,
};
use crate::events::Kind;
use crate::generator::hooks::Notices;
use crate::notice::alarm::{Alarm, AlarmState};
use crate::notice::delivery::Delivery;
use crate::notice::rules::{Level as Judged, Look, Reading, Rule, Settings, Severity, readings};
use crate::store::query::notice::{NoticeStory, Outbox, SummaryFilter};
use crate::store::write::{NoticeWrite, Noticed, SILENCE_SETTING, Silence, Write, Written, changes, silence_of};
use crate::task::{AttemptKey, TaskState, Timestamp};
use crate::tell;

/// Since when given up messages are told.
const LAST_DAY: Duration = Duration::from_secs(24 * 3_600);

/// The rules' word on this moment.
pub(super) struct Assessment {
    /// The numbers.
    pub look: Look,
    /// What each rule says of them.
    pub readings: Vec<Reading>,
    /// The alarms as they will be.
    pub alarms: BTreeMap<String, Alarm>,
    /// The silence that holds.
    pub silence: Option<Silence>,
    /// How the outbox stands.
    pub outbox: Outbox,
    /// The rules and hooks that hold.
    pub notices: Arc<Notices>,
}

impl DaemonBackend {
    /// Asks the rules, and writes nothing.
    pub(super) async fn assess(&self) -> Result<Assessment, ApiError> {
        let notices = Arc::clone(&self.world.notices.borrow());
        let settings = notices.settings.clone();
        let look = take_look(&self.world, &notices).await.map_err(errors::of_db)?;
        let readings = settings.as_ref().map(|settings| readings(&look, settings)).unwrap_or_default();
        let now = self.world.clock.now().utc;
        let (kept, silence, outbox) = self
            .read(move |queries| {
                Ok((queries.alarms()?, queries.settings(SILENCE_SETTING)?, queries.outbox(now.minus(LAST_DAY))?))
            })
            .await?;
        let silence = silence_of(silence.first().map(|(_, json)| json.as_str()), now);
        let mut alarms: BTreeMap<String, Alarm> =
            kept.iter().map(|alarm| (alarm.name.clone(), alarm.clone())).collect();
        let settings = settings.unwrap_or_else(|| Arc::new(off()));
        for (name, step) in changes(&kept, &readings, &settings, true, now) {
            match step.after {
                Some(alarm) => drop(alarms.insert(name, alarm)),
                None => drop(alarms.remove(&name)),
            }
        }
        Ok(Assessment { look, readings, alarms, silence, outbox, notices })
    }

    async fn health_of_daemon(&self) -> Result<HealthReply, ApiError> {
        let assessment = self.assess().await?;
        let mut checks: Vec<CheckView> = assessment.readings.iter().map(|one| check(one, &assessment)).collect();
        checks.extend(assessment.hooks().iter().filter_map(check_of_hook));
        let rank = |status: &str| ["critical", "warning", "pending", "ok"].iter().position(|one| *one == status);
        checks.sort_by_key(|check| rank(&check.status));
        let worst = checks.first().map_or("ok", |check| check.status.as_str());
        let status = if worst == "pending" { "ok" } else { worst }.to_owned();
        let silenced_until = assessment.silence.map(|silence| silence.until.into());
        Ok(HealthReply { status, checks, silenced_until })
    }

    /// The hooks and what waits for them.
    pub(super) async fn hooks(&self) -> Result<Vec<HookView>, ApiError> {
        let notices = Arc::clone(&self.world.notices.borrow());
        let since = self.world.clock.now().utc.minus(LAST_DAY);
        let outbox = self.read(move |queries| queries.outbox(since)).await?;
        Ok(hook_views(&notices, &outbox))
    }

    async fn list_notices(&self, limit: u32) -> Result<NoticesReply, ApiError> {
        let now = self.world.clock.now().utc;
        let (stories, silence) =
            self.read(move |queries| Ok((queries.notices(limit)?, queries.settings(SILENCE_SETTING)?))).await?;
        let silence = silence_of(silence.first().map(|(_, json)| json.as_str()), now);
        Ok(NoticesReply {
            notices: stories.iter().map(notice_view).collect(),
            hooks: self.hooks().await?,
            silenced_until: silence.as_ref().map(|silence| silence.until.into()),
            silenced_by: silence.map(|silence| silence.who),
        })
    }

    async fn get_notice(&self, id: String) -> Result<NoticeReply, ApiError> {
        let asked = id.clone();
        let found = self.read(move |queries| queries.notice(&asked)).await?;
        let story = found.ok_or(ApiError::NoticeNotFound { notice: id })?;
        Ok(NoticeReply { notice: notice_view(&story) })
    }

    async fn try_hook(&self, peer: &Peer, hook: String) -> Result<NoticeReply, ApiError> {
        self.refuse_while_stopping()?;
        let known: Vec<String> = self.world.notices.borrow().hooks.keys().cloned().collect();
        if !known.contains(&hook) {
            return Err(ApiError::HookNotFound { hook, known });
        }
        let actor = self.world.peers.borrow().notice.clone().ok_or(ApiError::Draining)?;
        let made = actor.send(TryHook { hook, who: peer.label() }).await.map_err(errors::of_mailbox)?;
        let notice = made.map_err(|error| errors::of_write(error, "test"))?;
        self.get_notice(notice.id).await
    }

    async fn acknowledge_alarm(&self, peer: &Peer, alarm: String) -> Result<EmptyReply, ApiError> {
        self.refuse_while_stopping()?;
        let write = NoticeWrite::Acknowledge { alarm: alarm.clone(), who: peer.label() };
        let written = self.world.store.write(Write::Notice(Box::new(write))).await;
        match written.map_err(|error| errors::of_write(error, "acknowledge"))? {
            Written::Noticed(Noticed::Acknowledged(true)) => {
                log::info!("alarm {alarm} was acknowledged by {}", peer.label());
                Ok(EmptyReply {})
            }
            _ => {
                let alarms = self.read(|queries| queries.alarms()).await?;
                let firing = alarms.into_iter().filter(|alarm| alarm.state == AlarmState::Firing);
                Err(ApiError::AlarmNotFound { alarm, firing: firing.map(|alarm| alarm.name).collect() })
            }
        }
    }

    async fn set_silence(&self, peer: &Peer, seconds: Option<u64>) -> Result<SilenceReply, ApiError> {
        self.refuse_while_stopping()?;
        let now = self.world.clock.now().utc;
        let silence =
            seconds.map(|seconds| Silence { until: now.plus(Duration::from_secs(seconds)), who: peer.label() });
        let value = silence.as_ref().map(serde_json::to_string).transpose().map_err(ApiError::internal)?;
        let write = Write::PutSetting { name: SILENCE_SETTING.to_owned(), value };
        self.world.store.write(write).await.map_err(|error| errors::of_write(error, "silence"))?;
        let what = if silence.is_some() { "nothing new is told" } else { "everything is told" };
        tell!(Level::Warn, Kind::AlarmOver, "{what} from now on, by {}", peer.label());
        Ok(SilenceReply { silenced_until: silence.map(|silence| silence.until.into()) })
    }

    async fn summary_of(&self, query: SummaryQuery) -> Result<SummaryReply, ApiError> {
        let account = self.account_of(query.account.as_deref()).await?.map(|account| account.id);
        let since = query.since.unwrap_or(Timestamp(i64::MIN));
        let filter = SummaryFilter { since, until: query.until, account, generator: query.generator };
        let summary = self.read(move |queries| queries.summary(&filter)).await?;
        let finals = TaskState::ALL.iter().filter(|state| state.is_final());
        let finished = finals.map(|state| (state.to_string(), summary.finished.get(state).copied().unwrap_or(0)));
        let seconds = |span: Option<Duration>| span.map(|span| span.as_secs_f64());
        Ok(SummaryReply {
            created: summary.created,
            finished: finished.collect(),
            retried: summary.retried,
            retries: summary.retries,
            median_duration_s: seconds(summary.median_duration),
            p90_duration_s: seconds(summary.p90_duration),
            median_wait_s: seconds(summary.median_wait),
            p90_wait_s: seconds(summary.p90_wait),
        })
    }
}

impl Assessment {
    /// The hooks that are configured, and those for which something still waits.
    pub(super) fn hooks(&self) -> Vec<HookView> {
        hook_views(&self.notices, &self.outbox)
    }
}

/// Settings by which every alarm is over.
fn off() -> Settings {
    let mut settings = Settings::default();
    settings.rules.values_mut().for_each(|set| set.is_off = true);
    settings
}

fn hook_views(notices: &Notices, outbox: &Outbox) -> Vec<HookView> {
    let names: BTreeSet<&String> =
        notices.hooks.keys().chain(outbox.waiting.keys()).chain(outbox.given_up.keys()).collect();
    let view = |name: &String| {
        let waiting = outbox.waiting.get(name);
        HookView {
            name: name.clone(),
            waiting: waiting.map_or(0, |waiting| waiting.count),
            oldest_at: waiting.map(|waiting| waiting.oldest.into()),
            given_up: outbox.given_up.get(name).copied().unwrap_or(0),
        }
    };
    names.into_iter().map(view).collect()
}

/// What a rule says, with the alarm that it has raised.
fn check(reading: &Reading, assessment: &Assessment) -> CheckView {
    let name = reading.alarm();
    let alarm = assessment.alarms.get(&name).filter(|alarm| alarm.state != AlarmState::Quiet);
    let status = match alarm.map(|alarm| alarm.state) {
        Some(AlarmState::Firing) => alarm.map_or("warning", |alarm| alarm.severity.as_str()),
        Some(AlarmState::Pending) => "pending",
        Some(AlarmState::Quiet) | None => "ok",
    };
    let text = match (alarm, reading.level) {
        (Some(alarm), Judged::Good | Judged::Between) => format!("recovers: {}; it was: {}", reading.text, alarm.text),
        _ => reading.text.clone(),
    };
    let settings = assessment.notices.settings.as_ref();
    let set = settings.and_then(|settings| settings.rules.get(&reading.rule).copied());
    let severity = match reading.level {
        Judged::Bad(severity) => severity,
        Judged::Good | Judged::Between => set.map_or(Severity::Warning, |set| set.severity),
    };
    CheckView {
        name,
        status: status.to_owned(),
        text,
        value: reading.value,
        limit: reading.limit,
        critical_limit: reading.critical,
        unit: unit(reading.rule).to_owned(),
        is_wrong_below: reading.rule.is_wrong_below(),
        severity: severity.to_string(),
        since: alarm.map(|alarm| alarm.since.into()),
        acknowledged_by: alarm.and_then(|alarm| alarm.acknowledged_by.clone()),
    }
}

const fn unit(rule: Rule) -> &'static str {
    match rule {
        Rule::Failures | Rule::Timeouts => "ratio",
        Rule::OldestTask | Rule::Overdue => "seconds",
        Rule::Disk => "bytes",
        Rule::Backlog | Rule::Breaker | Rule::Held | Rule::Publisher | Rule::Pool | Rule::Schedule => "",
    }
}

/// Who should have been told and was not is a fault of its own, which no hook can tell.
fn check_of_hook(hook: &HookView) -> Option<CheckView> {
    (hook.given_up > 0).then(|| CheckView {
        name: format!("hook/{}", hook.name),
        status: "warning".to_owned(),
        text: format!(
            "hook {} did not take {} messages of the last 24 hours, which were given up",
            hook.name, hook.given_up
        ),
        #[expect(clippy::cast_precision_loss, reason = "a number for people")]
        value: hook.given_up as f64,
        limit: 0.0,
        critical_limit: None,
        unit: String::new(),
        is_wrong_below: false,
        severity: "warning".to_owned(),
        since: None,
        acknowledged_by: None,
    })
}

fn notice_view(story: &NoticeStory) -> NoticeView {
    let notice = &story.notice;
    NoticeView {
        notice_id: notice.id.clone(),
        kind: notice.kind.to_string(),
        alarm: notice.alarm.clone(),
        severity: notice.severity.to_string(),
        text: notice.text.clone(),
        value: notice.value,
        limit: notice.limit,
        since: notice.since.into(),
        at: notice.at.into(),
        deliveries: story.deliveries.iter().map(delivery_view).collect(),
    }
}

fn delivery_view(delivery: &Delivery) -> DeliveryView {
    DeliveryView {
        hook: delivery.hook.clone(),
        state: delivery.state.to_string(),
        tries: delivery.tries,
        due_at: delivery.due_at.into(),
        last_error: delivery.last_error.clone(),
    }
}

impl NoticeBackend for DaemonBackend {
    fn metrics(&self, _: Peer) -> Answer<MetricsReply> {
        self.answer(|this| async move { this.metrics_of_daemon().await })
    }

    fn health(&self, _: Peer) -> Answer<HealthReply> {
        self.answer(|this| async move { this.health_of_daemon().await })
    }

    fn notices(&self, _: Peer, limit: u32) -> Answer<NoticesReply> {
        self.answer(move |this| async move { this.list_notices(limit).await })
    }

    fn notice(&self, _: Peer, id: String) -> Answer<NoticeReply> {
        self.answer(|this| async move { this.get_notice(id).await })
    }

    fn test_hook(&self, peer: Peer, hook: String) -> Answer<NoticeReply> {
        self.answer(move |this| async move { this.try_hook(&peer, hook).await })
    }

    fn acknowledge(&self, peer: Peer, alarm: String) -> Answer<EmptyReply> {
        self.answer(move |this| async move { this.acknowledge_alarm(&peer, alarm).await })
    }

    fn silence(&self, peer: Peer, seconds: Option<u64>) -> Answer<SilenceReply> {
        self.answer(move |this| async move { this.set_silence(&peer, seconds).await })
    }

    fn report(&self, _: Peer, key: AttemptKey) -> Answer<EmptyReply> {
        self.world.store.counters().add(|numbers| numbers.reports += 1);
        if let Some(poller) = self.world.peers.borrow().poller.clone() {
            poller.do_send(JobMayHaveEnded { key });
        }
        Box::pin(std::future::ready(Ok(EmptyReply {})))
    }

    fn summary(&self, _: Peer, query: SummaryQuery) -> Answer<SummaryReply> {
        self.answer(|this| async move { this.summary_of(query).await })
    }
}
