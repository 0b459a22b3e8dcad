//! Persons: they submit until they are told, cancel, pause, and decide what waits for them. They are honest: what they
//! say of a job is what they see at the generator.

use std::sync::Mutex;
use std::time::Duration;

use contentd::actors::poller::PollNow;
use contentd::actors::queue::{Pause, PauseScope, PersonDecided, SetPause, SubmitTasks};
use contentd::actors::{Happened, World};
use contentd::store::memory::MemoryDb;
use contentd::store::query::Queries;
use contentd::store::write::{NewTask, PendingLimits};
use contentd::task::{AccountId, Clock, Entropy, Event, Settlement, Task, TaskState, Timestamp};

use super::checks::Acknowledged;
use super::life::{TASKS, generator_name};
use super::universe::{Kind, Universe};
use super::world::{SimClock, SimEntropy};

const WHO: &str = "0:explorer";

pub struct People<'a> {
    pub world: World,
    pub db: &'a MemoryDb,
    pub universe: &'a Universe,
    pub kind: Kind,
    pub clock: &'a SimClock,
    pub entropy: &'a SimEntropy,
    pub told: &'a Mutex<Acknowledged>,
    pub failures: &'a Mutex<Vec<String>>,
}

fn new_task(entropy: &SimEntropy, now: Timestamp, number: usize) -> NewTask {
    let mut task = Task::blank(entropy.task_id(), AccountId(1), generator_name(), now);
    task.topic = format!("Topic {number}");
    task.auto_approve = number.is_multiple_of(2);
    task.max_retries = 2;
    task.time_limit_s = 120;
    task.key = Some(format!("submit-{number}"));
    task.submitted_by = WHO.into();
    NewTask { task, digest: number.to_string(), claim: None, limits: PendingLimits::default() }
}

impl People<'_> {
    /// Submits with keys of their own, again after each crash and each refusal, until they have their answers.
    pub async fn submit(&self) {
        for number in 0..TASKS {
            let id = loop {
                let Some(queue) = self.world.peers.borrow().queue.clone() else { return };
                let tasks = vec![new_task(self.entropy, self.clock_now(), number)];
                match queue.send(SubmitTasks { tasks, max_pending: 1_000 }).await {
                    Ok(Ok(submitted)) => break submitted[0].task.id.clone(),
                    // The disk is full: later.
                    Ok(Err(_)) | Err(_) => tokio::time::sleep(Duration::from_secs(3)).await,
                }
            };
            let key = format!("submit-{number}");
            let before = self.told.lock().unwrap().insert(key.clone(), id.clone());
            if let Some(before) = before.filter(|before| *before != id) {
                self.fail(format!("{key} was acknowledged as {before} and again as {id}"));
            }
        }
    }

    fn clock_now(&self) -> Timestamp {
        self.clock.now().utc
    }

    fn fail(&self, failure: String) {
        self.failures.lock().unwrap().push(failure);
    }

    /// Cancels the first tasks somewhere on their way.
    pub async fn cancel_first(&self, count: usize) {
        if count == 0 {
            return;
        }
        let wait = self.entropy.below(40_000);
        tokio::time::sleep(Duration::from_millis(u64::from(wait))).await;
        let mut tasks = self.db.all_tasks();
        tasks.sort_by_key(|task| task.seq);
        for task in tasks.iter().take(count) {
            self.decide(task, Event::CancelRequested).await;
        }
    }

    /// A task that has moved on meanwhile refuses, which is an answer.
    async fn decide(&self, task: &Task, event: Event) -> bool {
        let Some(queue) = self.world.peers.borrow().queue.clone() else { return false };
        let happened = Happened::by(task, event, WHO);
        matches!(queue.send(PersonDecided { happened }).await, Ok(Ok(_)))
    }

    pub async fn pause(&self) {
        let pause = Pause { scope: PauseScope::default(), who: WHO.into(), at: self.clock_now(), reason: None };
        self.set_pause(SetPause::On(pause)).await;
    }

    /// Tries until it is true: a full disk refuses it, too.
    pub async fn resume(&self) {
        while !self.set_pause(SetPause::AllOff).await {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }

    async fn set_pause(&self, set: SetPause) -> bool {
        let Some(queue) = self.world.peers.borrow().queue.clone() else { return false };
        matches!(queue.send(set).await, Ok(Ok(_)))
    }

    /// Decides one task that waits for it, or has ended without a piece; false where there is none.
    pub async fn decide_one(&self) -> bool {
        self.cancel_completed().await;
        let is_open = |task: &Task| {
            matches!(task.state, TaskState::Held) || task.state.is_final() && task.state != TaskState::Completed
        };
        let open: Vec<Task> = self.db.all_tasks().into_iter().filter(is_open).collect();
        if open.is_empty() {
            return false;
        }
        let which = self.entropy.below(u32::try_from(open.len()).unwrap());
        let task = &open[usize::try_from(which).unwrap()];
        if task.state == TaskState::Held {
            self.settle(task).await
        } else {
            self.retry(task).await
        }
        true
    }

    /// Asks for the end of what is completed, which is refused.
    async fn cancel_completed(&self) {
        let completed = self.db.all_tasks().into_iter().find(|task| task.state == TaskState::Completed);
        if let Some(task) = completed.filter(|_| self.entropy.chance(30))
            && self.decide(&task, Event::CancelRequested).await
        {
            self.fail(format!("{} was completed and could be cancelled", task.id));
        }
    }

    async fn settle(&self, task: &Task) {
        let now = self.universe.now();
        let jobs = self.universe.jobs_of(&task.id);
        let worth = jobs.iter().filter(|job| job.is_alive(now) || job.has_piece());
        let wanted = worth.min_by_key(|job| job.is_given_up);
        match wanted {
            Some(_) if self.entropy.chance(20) => self.poll(task).await,
            Some(_) if self.entropy.chance(20) => {
                self.universe.give_up(&task.id);
                self.decide(task, Event::CancelRequested).await;
            }
            // A run is no job that a person can name: it is looked at again, or given up.
            Some(job) if !self.kind.is_blocking() && job.visible_at <= now => {
                self.universe.choose(job);
                let settlement = Settlement::Adopt { reference: job.id.clone(), key: self.entropy.attempt_key() };
                self.decide(task, Event::Settled(settlement)).await;
            }
            Some(_) => self.poll(task).await,
            None if self.entropy.chance(70) => {
                self.decide(task, Event::Settled(Settlement::Absent)).await;
            }
            None => {
                let settlement = Settlement::Fail { reason: "given up".into() };
                self.decide(task, Event::Settled(settlement)).await;
            }
        }
    }

    async fn poll(&self, task: &Task) {
        let Some(poller) = self.world.peers.borrow().poller.clone() else { return };
        let poll = PollNow { task: task.clone(), who: WHO.into(), is_late_piece_wanted: true };
        // What it cannot be told now, it is told later.
        let _ = poller.send(poll).await;
    }

    /// As the control socket does it: a job that may be alive is asked about once.
    async fn retry(&self, task: &Task) {
        let attempt = self.db.task(&task.id).unwrap().and_then(|(_, attempt)| attempt);
        if attempt.is_some_and(|attempt| attempt.state.may_be_alive()) {
            self.poll(task).await;
        }
        let Some((task, attempt)) = self.db.task(&task.id).unwrap() else { return };
        let reset_count = self.entropy.chance(25);
        if self.decide(&task, Event::RetryRequested { reset_count, abandon: None }).await {
            return;
        }
        if attempt.is_some_and(|attempt| attempt.state.may_be_alive()) && self.entropy.chance(50) {
            // Before the commit: a death in between must not make a second payment of it.
            self.universe.give_up(&task.id);
            let abandon = Some("it is not worth waiting for".to_owned());
            self.decide(&task, Event::RetryRequested { reset_count, abandon }).await;
        }
    }
}
