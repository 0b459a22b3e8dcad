//! Routes of `io.contentd.Schedules`.

use super::{Routed, Router, once};
use crate::control::api::{
    ApiError, NoParams, Peer, ScheduleAddParams, ScheduleHistoryParams, ScheduleParams, SchedulePauseParams, checked,
};
use crate::control::protocol::read_parameters;

impl Router {
    pub(super) fn schedules(&self, peer: &Peer, method: &str, frame: &[u8]) -> Result<Option<Routed>, ApiError> {
        let (backend, peer) = (&self.backend, peer.clone());
        let named = || Ok::<_, ApiError>(read_parameters::<ScheduleParams>(frame)?.schedule.0);
        Ok(Some(match method {
            "Add" => {
                let params = read_parameters::<ScheduleAddParams>(frame)?;
                let dry_run = params.dry_run == Some(true);
                once(backend.schedule_add(peer, params.schedule.check()?, dry_run))
            }
            "List" => {
                read_parameters::<NoParams>(frame)?;
                once(backend.schedule_list(peer))
            }
            "Get" => once(backend.schedule_get(peer, named()?)),
            "Run" => once(backend.schedule_run(peer, named()?)),
            "Pause" => {
                let params = read_parameters::<SchedulePauseParams>(frame)?;
                let reason = params.reason.as_deref().map(checked::reason).transpose()?;
                once(backend.schedule_pause(peer, params.schedule.0, reason))
            }
            "Resume" => once(backend.schedule_resume(peer, named()?)),
            "Remove" => once(backend.schedule_remove(peer, named()?)),
            "History" => {
                let params = read_parameters::<ScheduleHistoryParams>(frame)?;
                let (limit, offset) = checked::page(params.limit, params.offset)?;
                once(backend.schedule_history(peer, params.schedule.0, limit, offset, params.before))
            }
            _ => return Ok(None),
        }))
    }
}
