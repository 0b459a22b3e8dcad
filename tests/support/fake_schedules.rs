//! Schedules of the fake backend: whatever is asked about is there, and one named `gone` is not.

use contentd::control::api::*;
use contentd::schedule::{Fire, FireId, FireKind, FireState, Schedule, ScheduleId};
use contentd::task::{AccountId, TaskId, Timestamp};
use futures_util::FutureExt;

use super::FakeBackend;

fn done<T: Send + 'static>(result: Result<T, ApiError>) -> Answer<T> {
    std::future::ready(result).boxed()
}

/// The name of a schedule that is paused.
pub const PAUSED: &str = "paused";

/// A schedule as tests expect it.
pub fn schedule(checked: Option<CheckedSchedule>) -> ScheduleView {
    let checked = checked.unwrap_or_else(|| {
        let params = serde_json::json!({"name": "s", "cron": "0 8 * * *", "accounts": ["1"], "list": [{"topic": "t"}]});
        serde_json::from_value::<NewScheduleParams>(params).unwrap().check().unwrap()
    });
    let schedule = Schedule {
        id: ScheduleId(1),
        name: checked.name,
        timing: checked.timing,
        accounts: vec![AccountId(1)],
        topics_each: checked.topics_each,
        source: checked.source,
        params: checked.params,
        misfire: checked.misfire,
        cursor: 0,
        next_due: Some(Timestamp(1_800_000_000_000)),
        paused_why: None,
        created_by: "1000:ada".into(),
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
    };
    ScheduleView::of(&schedule, 5, Timestamp(0))
}

/// A fire as tests expect it.
pub fn fire() -> FireView {
    FireView::from(&Fire {
        id: FireId(1),
        schedule: ScheduleId(1),
        key: "schedule/1/0".into(),
        due: Timestamp(0),
        kind: FireKind::Due,
        state: FireState::Intended,
        missed: 0,
        tries: 0,
        wake: Some(Timestamp(0)),
        began: Timestamp(0),
        ended: None,
        topics: vec![],
        tasks: vec![TaskId("task-a".into()), TaskId("task-b".into())],
        why: None,
        who: "contentd".into(),
    })
}

impl FakeBackend {
    fn one(&self, call: &str, name: &str) -> Result<ScheduleReply, ApiError> {
        self.called(format!("schedule {call} {name}"));
        if name == "gone" {
            return Err(ApiError::ScheduleNotFound { schedule: name.to_owned() });
        }
        let mut view = schedule(None);
        view.is_paused = name == PAUSED;
        Ok(ScheduleReply { schedule: view })
    }
}

impl ScheduleCalls for FakeBackend {
    fn schedule_add(&self, _: Peer, checked: CheckedSchedule, dry_run: bool) -> Answer<ScheduleReply> {
        self.called(format!("schedule add {} {dry_run}", checked.name));
        done(Ok(ScheduleReply { schedule: schedule(Some(checked)) }))
    }

    fn schedule_list(&self, _: Peer) -> Answer<SchedulesReply> {
        // As the daemon does, without the topics of its list.
        done(Ok(SchedulesReply { schedules: vec![ScheduleView { list_size: None, ..schedule(None) }] }))
    }

    fn schedule_get(&self, _: Peer, name: String) -> Answer<ScheduleReply> {
        done(self.one("get", &name))
    }

    fn schedule_run(&self, _: Peer, name: String) -> Answer<FireReply> {
        done(self.one("run", &name).map(|_| FireReply { fire: fire() }))
    }

    fn schedule_pause(&self, _: Peer, name: String, _: Option<String>) -> Answer<ScheduleReply> {
        done(self.one("pause", &name))
    }

    fn schedule_resume(&self, _: Peer, name: String) -> Answer<ScheduleReply> {
        done(self.one("resume", &name))
    }

    fn schedule_remove(&self, _: Peer, name: String) -> Answer<EmptyReply> {
        done(self.one("remove", &name).map(|_| EmptyReply {}))
    }

    fn schedule_history(&self, _: Peer, name: String, limit: u32, _: u32, _: Option<i64>) -> Answer<FiresReply> {
        done(self.one("history", &name).map(|_| FiresReply { fires: vec![fire(); limit.min(2) as usize] }))
    }
}
