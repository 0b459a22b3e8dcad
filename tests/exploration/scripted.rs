//! A generator as the daemon sees it in one life: what its universe knows, said well or badly, by the seed's manners.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contentd::generator::{Driver, Job, RunEnded, Sweep};
use contentd::store::memory::MemoryDb;
use contentd::store::query::Queries;
use contentd::task::outcome::{CancelAnswer, FetchAnswer, FindAnswer, JobState, PollAnswer, RunReport, SubmitAnswer};
use contentd::task::{Attempt, AttemptKey, AttemptState, Policy, Task, TaskState};
use futures_util::future::BoxFuture;

use super::crash::Crash;
use super::universe::{ExternalJob, Fate, Kind, Universe};

#[derive(Clone)]
pub struct Scripted {
    pub kind: Kind,
    pub policy: Policy,
    pub universe: Universe,
    pub db: MemoryDb,
    pub crash: Arc<Crash>,
}

impl Scripted {
    /// A call: a crash point on both sides, some time, and the effect in between.
    async fn call<T>(self, work: impl FnOnce(&Self) -> T) -> T {
        self.crash.point("before a call").await;
        let answer = work(&self);
        let takes = self.universe.between(20, 800);
        self.crash.point("after a call").await;
        tokio::time::sleep(Duration::from_millis(takes.unsigned_abs())).await;
        answer
    }

    /// What pays has its intent on disk, under its key.
    fn see_intent(&self, job: &Job) {
        let attempts = self.db.attempts(&job.task.id).unwrap();
        let intent = attempts.iter().find(|attempt| attempt.key == job.attempt.key);
        self.universe.begin_submit(&job.attempt.key, intent.map(|attempt| attempt.sends));
    }

    fn submit_now(&self, job: &Job) -> SubmitAnswer {
        self.see_intent(job);
        let universe = &self.universe;
        let manners = &universe.manners;
        let silence = || SubmitAnswer::Ambiguous("no answer within 30 s".into());
        if universe.is_away() || universe.chance(manners.submit_away) {
            universe.end_submit_unseen(&job.attempt.key);
            return SubmitAnswer::Unavailable("nobody is there".into());
        }
        // Also of a key that it has taken: a quota comes before the look at the key.
        if universe.chance(manners.submit_later) {
            return SubmitAnswer::Retry("not now".into());
        }
        if universe.chance(manners.submit_rejects) {
            return SubmitAnswer::Rejected("never".into());
        }
        let stays = if universe.chance(manners.process_stays) { 1_200_000 } else { universe.between(10, 80_000) };
        if universe.chance(manners.silent_without_job) {
            universe.hold_lock(&job.attempt.key, stays);
            return silence();
        }
        if universe.chance(manners.silent_with_job) {
            // It answers nothing; the job appears with the end of its processes, or later, though within the settling time.
            universe.hold_lock(&job.attempt.key, stays);
            let delay = if universe.chance(60) { stays + universe.between(0, 50_000) } else { 0 };
            universe.make_job(self.kind, job, delay);
            return silence();
        }
        let own = universe.make_job(self.kind, job, 0);
        SubmitAnswer::Accepted { reference: self.mixed_up(job).unwrap_or(own), vars: BTreeMap::new() }
    }

    /// The job of another task, for one that mints its own names and mixes them up.
    fn mixed_up(&self, job: &Job) -> Option<String> {
        let (universe, mixes_up) = (&self.universe, self.universe.manners.mixes_up);
        if mixes_up == 0 || !matches!(self.kind, Kind::Findable | Kind::Blind) || !universe.chance(mixes_up) {
            return None;
        }
        let mut attempts = self.db.all_attempts().into_iter();
        let is_anothers = |attempt: &Attempt| attempt.task_id != job.task.id && attempt.state.may_be_alive();
        attempts.find(|attempt| is_anothers(attempt) && attempt.external_ref.is_some())?.external_ref
    }

    fn poll_job(&self, job: &Job, by_name: bool) -> PollAnswer {
        let universe = &self.universe;
        let manners = &universe.manners;
        if universe.is_away() || universe.chance(manners.poll_away) {
            return PollAnswer::Unavailable("exit 1".into());
        }
        if universe.chance(manners.poll_unreadable) {
            return PollAnswer::Unreadable("state \"wobbling\" is not in the map".into());
        }
        if universe.chance(manners.poll_incomplete) {
            return PollAnswer::Missing { is_complete: false, by_name };
        }
        // It denies only what is still wanted; of another job, three denials in a row are its end.
        let is_denied = is_wanted(job) && universe.chance(manners.poll_denies);
        let found = universe.job(job.attempt.external_ref.as_ref()).filter(|_| !is_denied);
        let Some(found) = found else { return PollAnswer::Missing { is_complete: true, by_name } };
        let now = universe.now();
        if found.fate == Fate::Vanishes && now >= found.done_at {
            universe.forget_job(&found.id);
            return PollAnswer::Missing { is_complete: true, by_name };
        }
        let state = match found.fate {
            _ if found.is_cancelled => JobState::Cancelled,
            Fate::Completes | Fate::BringsNothing if now >= found.done_at => JobState::Completed,
            Fate::Fails if now >= found.done_at => JobState::Failed,
            Fate::IsStopped if now >= found.done_at => JobState::Cancelled,
            _ if now - found.visible_at < 1_000 => JobState::Submitted,
            _ => JobState::Processing,
        };
        PollAnswer::State { state, theirs: state.to_string(), error: None, progress: None, vars: BTreeMap::new() }
    }

    fn start_now(&self, job: &Job) -> RunReport {
        self.see_intent(job);
        let universe = &self.universe;
        if universe.is_away() || universe.chance(universe.manners.run_never_starts) {
            return RunReport::NeverStarted("the runner did not start".into());
        }
        let delay = if universe.chance(universe.manners.run_starts_slowly) { 1_500 } else { 0 };
        let reference = universe.make_job(self.kind, job, delay);
        if delay > 0 { RunReport::Starting } else { RunReport::Started { reference } }
    }

    fn look_now(&self, job: &Job) -> RunReport {
        let Some(found) = self.universe.look_at(&job.attempt.key) else {
            return RunReport::NeverStarted("no run of this key".into());
        };
        let now = self.universe.now();
        if now < found.visible_at {
            return RunReport::Starting;
        }
        if found.is_cut_off {
            return match self.kind {
                Kind::Child => RunReport::Interrupted("the daemon stopped while the run went on".into()),
                _ => RunReport::Lost { why: "the machine went down".into(), raw: "half".into() },
            };
        }
        if found.is_cancelled {
            return RunReport::Killed;
        }
        if found.is_alive(now) {
            return RunReport::Running;
        }
        if self.kind == Kind::Child && !self.is_own_child(&found) {
            return RunReport::Interrupted("the daemon that it belonged to is gone".into());
        }
        match found.fate {
            Fate::Completes => RunReport::Piece(found.piece()),
            Fate::Fails => failed(found.done_at),
            Fate::Hangs => RunReport::Running,
            Fate::BringsNothing => RunReport::NoPiece { why: "no article".into(), raw: "prose".into() },
            Fate::IsStopped => RunReport::Terminated("its unit was stopped".into()),
            Fate::Vanishes => RunReport::Lost { why: "no exit status".into(), raw: "half".into() },
        }
    }

    /// A plain child belongs to the life that started it; a later life finds it by its lock only.
    fn is_own_child(&self, job: &ExternalJob) -> bool {
        job.visible_at >= self.universe.life_began_at()
    }

    fn find_fault(&self) -> Option<FindAnswer> {
        let universe = &self.universe;
        let manners = &universe.manners;
        match () {
            () if universe.is_away() || universe.chance(manners.find_away) => {
                Some(FindAnswer::Unavailable("exit 1".into()))
            }
            () if universe.chance(manners.find_unreadable) => Some(FindAnswer::Unreadable("half a page".into())),
            () => None,
        }
    }

    fn find_job(&self, job: &Job, is_complete: bool) -> FindAnswer {
        let found = self.universe.jobs_under(&job.attempt.key);
        let found = found.first().filter(|first| !self.universe.blinks(&first.key));
        let Some(first) = found else { return FindAnswer::None { is_complete } };
        if self.universe.chance(self.universe.manners.find_several) {
            return FindAnswer::Several(vec![first.id.clone(), "another".into()]);
        }
        // What it does not show, it did not see: an incomplete page hides some.
        if !is_complete && self.universe.chance(80) {
            return FindAnswer::None { is_complete };
        }
        FindAnswer::One { reference: self.mixed_up(job).unwrap_or_else(|| first.id.clone()) }
    }

    fn fetch_now(&self, job: &Job) -> FetchAnswer {
        let universe = &self.universe;
        let manners = &universe.manners;
        let prose = || FetchAnswer::Unreadable { why: "no article".into(), raw: "prose".into() };
        match () {
            () if universe.is_away() || universe.chance(manners.fetch_away) => {
                return FetchAnswer::Unavailable("exit 1".into());
            }
            // Of a job that nobody wants any more, bad output is believed when it is said often enough.
            () if (is_wanted(job) || job.attempt.bad_fetches == 0) && universe.chance(manners.fetch_unreadable) => {
                return prose();
            }
            () if universe.chance(manners.fetch_not_ready) => return FetchAnswer::NotReady,
            () if is_wanted(job) && universe.chance(manners.fetch_missing) => {
                return FetchAnswer::Missing { raw: "404".into() };
            }
            () => {}
        }
        match universe.job(job.attempt.external_ref.as_ref()) {
            Some(found) if found.has_piece() => FetchAnswer::Piece(found.piece()),
            Some(found) if found.fate == Fate::BringsNothing => prose(),
            Some(_) => FetchAnswer::NotReady,
            None => FetchAnswer::Missing { raw: String::new() },
        }
    }

    fn cancel_now(&self, job: &Job) -> CancelAnswer {
        let universe = &self.universe;
        let manners = &universe.manners;
        if universe.is_away() || universe.chance(manners.cancel_unclear) {
            return CancelAnswer::Unclear("exit 1".into());
        }
        // Of a run, contentd itself is the one who ends it.
        if !self.policy.is_blocking && universe.chance(manners.cancel_refused) {
            return CancelAnswer::Refused("it does not".into());
        }
        let now = universe.now();
        match universe.job(job.attempt.external_ref.as_ref()) {
            Some(found) if found.is_alive(now) => {
                universe.cancel_job(&found.id);
                CancelAnswer::Ok
            }
            Some(_) => CancelAnswer::Unclear("it has ended".into()),
            None if self.kind == Kind::Idempotent && universe.chance(manners.cancel_too_early) => CancelAnswer::Ok,
            None => CancelAnswer::Unclear("unknown job".into()),
        }
    }
}

/// How a run ends badly, as a rule of the configuration may name it.
fn failed(done_at: i64) -> RunReport {
    match done_at % 8 {
        0 => RunReport::Unavailable("the model is not there".into()),
        1 => RunReport::Ambiguous { why: "exit 75".into(), raw: "half".into() },
        2 => RunReport::Rejected("never".into()),
        _ => RunReport::Failed("exit 1".into()),
    }
}

fn is_wanted(job: &Job) -> bool {
    job.attempt.state == AttemptState::Accepted
        && matches!(job.task.state, TaskState::Submitted | TaskState::Processing)
}

impl Driver for Scripted {
    fn submit(&self, job: Job) -> BoxFuture<'static, SubmitAnswer> {
        Box::pin(self.clone().call(move |this| this.submit_now(&job)))
    }

    fn start_run(&self, job: Job) -> BoxFuture<'static, RunReport> {
        Box::pin(self.clone().call(move |this| this.start_now(&job)))
    }

    fn look_at_run(&self, job: Job) -> BoxFuture<'static, RunReport> {
        Box::pin(self.clone().call(move |this| this.look_now(&job)))
    }

    fn poll(&self, jobs: Vec<Job>) -> BoxFuture<'static, Sweep<PollAnswer>> {
        Box::pin(self.clone().call(move |this| {
            let answers = jobs.iter().map(|job| (job.task.id.clone(), this.poll_job(job, false))).collect();
            Sweep { answers, calls: 1 }
        }))
    }

    fn poll_one(&self, job: Job) -> BoxFuture<'static, PollAnswer> {
        Box::pin(self.clone().call(move |this| this.poll_job(&job, true)))
    }

    fn find(&self, jobs: Vec<Job>) -> BoxFuture<'static, Sweep<FindAnswer>> {
        Box::pin(self.clone().call(move |this| {
            let fault = this.find_fault();
            let is_complete = !this.universe.chance(this.universe.manners.find_incomplete);
            let find = |job: &Job| fault.clone().unwrap_or_else(|| this.find_job(job, is_complete));
            Sweep { answers: jobs.iter().map(|job| (job.task.id.clone(), find(job))).collect(), calls: 1 }
        }))
    }

    fn fetch(&self, job: Job) -> BoxFuture<'static, FetchAnswer> {
        Box::pin(self.clone().call(move |this| this.fetch_now(&job)))
    }

    fn cancel(&self, job: Job) -> BoxFuture<'static, CancelAnswer> {
        Box::pin(self.clone().call(move |this| this.cancel_now(&job)))
    }

    fn is_quiet(&self, key: AttemptKey) -> BoxFuture<'static, bool> {
        let is_quiet = self.universe.is_quiet(&key);
        Box::pin(async move { is_quiet })
    }

    fn forget(&self, _: AttemptKey) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn interrupt(&self) -> BoxFuture<'static, ()> {
        if self.kind == Kind::Child {
            self.universe.cut_off_runs();
        }
        Box::pin(async {})
    }

    fn on_run_ended(&self, _: RunEnded) {}

    fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    fn accepts(&self, _: &Task) -> Result<(), String> {
        Ok(())
    }
}
