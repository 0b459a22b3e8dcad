//! Submits: defaults are filled in, accounts and generators are looked up, and the tasks are written, by the queue where one can be
//! claimed in the same commit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{DaemonBackend, Settings, SubmitDefaults, errors};
use crate::actors::queue::{SubmitTasks, TasksSubmitted};
use crate::control::api::{ApiError, CheckedSubmission, FieldFault, Peer, Submitted};
use crate::render::sha256_hex;
use crate::store::write::{Account, NewTask, PendingLimits, SubmittedTask, Write, Written};
use crate::task::{AccountId, DELAYED, GeneratorName, Task, TaskState, Timestamp};

/// A fault of one entry: the error it is alone, and the same as a line of a batch's answer.
pub(super) struct Fault {
    pub(super) error: ApiError,
    field: &'static str,
    value: String,
}

/// Tasks that are written and that the queue has yet to hear of.
#[derive(Clone, Default)]
pub(super) struct Untold(Arc<Mutex<Vec<SubmittedTask>>>);

impl Untold {
    /// Whether they are the first, so that somebody has to tell them.
    fn put(&self, tasks: Vec<SubmittedTask>) -> bool {
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let are_first = untold.is_empty();
        untold.extend(tasks);
        are_first && !untold.is_empty()
    }

    fn take(&self) -> Vec<SubmittedTask> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How many tasks a submit of several has, in all and for each account.
struct Asked {
    in_all: u64,
    of_accounts: BTreeMap<AccountId, u64>,
}

impl Asked {
    fn of(tasks: &[NewTask]) -> Self {
        let mut of_accounts = BTreeMap::new();
        for new in tasks {
            *of_accounts.entry(new.task.account_id).or_default() += 1;
        }
        Self { in_all: tasks.len() as u64, of_accounts }
    }

    /// Whoever reads that there is no room for one more must know how many were one too many.
    fn told_in(&self, error: ApiError, accounts: &BTreeMap<String, Option<Account>>) -> ApiError {
        match error {
            ApiError::Busy { unfinished, limit, .. } => ApiError::Busy { unfinished, limit, asked: Some(self.in_all) },
            ApiError::AccountBusy { account, unfinished, limit, .. } => {
                let known = accounts.values().flatten().find(|known| known.name == account);
                let asked = known.and_then(|known| self.of_accounts.get(&known.id).copied());
                ApiError::AccountBusy { account, unfinished, limit, asked }
            }
            error => error,
        }
    }
}

impl DaemonBackend {
    pub(super) async fn submit_tasks(
        &self,
        peer: &Peer,
        submissions: Vec<CheckedSubmission>,
        is_single: bool,
        dry_run: bool,
    ) -> Result<Vec<Submitted>, ApiError> {
        self.refuse_while_stopping()?;
        let settings = self.settings.borrow().clone();
        let accounts = self.accounts_of(&submissions).await?;
        let now = self.world.clock.now().utc;
        let mut tasks = Vec::with_capacity(submissions.len());
        let mut faults = Vec::new();
        for (index, submission) in submissions.into_iter().enumerate() {
            match self.new_task(peer, submission, &accounts, &settings, now) {
                Ok(task) => tasks.push(task),
                Err(fault) if is_single => return Err(fault.error),
                Err(fault) => faults.push(fault.at(index)),
            }
        }
        if !faults.is_empty() {
            let count = u32::try_from(faults.len()).unwrap_or(u32::MAX);
            faults.truncate(100);
            return Err(ApiError::BatchRefused { faults, count });
        }
        if dry_run {
            return Ok(tasks.iter().map(|_| Submitted { task_id: None, state: None, was_known: false }).collect());
        }
        let asked = (tasks.len() > 1).then(|| Asked::of(&tasks));
        let taken = self.take(tasks, settings.defaults.max_pending).await;
        taken.map_err(|error| match &asked {
            Some(asked) => asked.told_in(error, &accounts),
            None => error,
        })
    }

    /// Has tasks written. The queue is asked first where a worker may take one at once; else it is told afterwards, and nobody waits
    /// for it.
    async fn take(&self, tasks: Vec<NewTask>, max_pending: u64) -> Result<Vec<Submitted>, ApiError> {
        let of_write = |error| errors::of_write(error, "submit");
        if self.world.readiness.is_ready_for(&tasks) {
            let submit = SubmitTasks { tasks, max_pending };
            let answer = self.queue()?.send(submit).await.map_err(errors::of_mailbox)?;
            return Ok(answer.map_err(of_write)?.iter().map(view).collect());
        }
        let write = Write::SubmitTasks { tasks, max_pending, now: self.world.clock.now() };
        let submitted = match self.world.store.write(write).await.map_err(of_write)? {
            Written::Submitted(submitted) => submitted,
            _ => return Err(ApiError::internal("the store gave the answer of another write")),
        };
        let views = submitted.iter().map(view).collect();
        if self.untold.put(submitted) {
            let backend = self.clone();
            // Runs when this task waits next: the answer is written by then, and what other connections submitted goes along. To
            // wake the actors' thread costs as much as to answer.
            tokio::spawn(async move { backend.tell_of_submits() });
        }
        Ok(views)
    }

    fn tell_of_submits(&self) {
        let tasks = self.untold.take();
        // The queue of this moment: one that was made anew meanwhile may have looked before the commit.
        if let Ok(queue) = self.queue() {
            queue.do_send(TasksSubmitted { tasks });
        }
    }

    /// The accounts that a batch names, each looked up once.
    async fn accounts_of(
        &self,
        submissions: &[CheckedSubmission],
    ) -> Result<BTreeMap<String, Option<Account>>, ApiError> {
        let names: std::collections::BTreeSet<String> =
            submissions.iter().map(|submission| submission.account.clone()).collect();
        self.world.store.accounts(names).await.map_err(errors::of_db)
    }

    pub(super) fn new_task(
        &self,
        peer: &Peer,
        submission: CheckedSubmission,
        accounts: &BTreeMap<String, Option<Account>>,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<NewTask, Box<Fault>> {
        let defaults = &settings.defaults;
        if settings.is_four_eyes && submission.auto_approve == Some(true) {
            let cure = "leave it out: review.four_eyes is set, and another person approves the piece";
            let error = ApiError::invalid("auto_approve", "true", cure);
            return Err(Box::new(Fault { error, field: "auto_approve", value: "true".to_owned() }));
        }
        let account = accounts.get(&submission.account).and_then(Option::as_ref);
        let account = account.ok_or_else(|| {
            Box::new(Fault {
                error: ApiError::AccountNotFound { account: submission.account.clone() },
                field: "account",
                value: submission.account.clone(),
            })
        })?;
        if !account.is_enabled {
            let error = ApiError::AccountDisabled { account: account.name.clone() };
            return Err(Box::new(Fault { error, field: "account", value: submission.account }));
        }
        let own = &account.defaults;
        let asked = submission.generator.as_ref().or(own.generator.as_ref());
        let generator = self.generator_for(asked, defaults)?;
        // Only a key can be used a second time.
        let digest = submission.key.as_ref().map_or_else(String::new, |_| digest_of(&submission, account, &generator));
        let not_before = (submission.delay_s > 0).then(|| now.plus(Duration::from_secs(submission.delay_s)));
        let task = Task {
            id: self.world.entropy.task_id(),
            seq: 0,
            account_id: account.id,
            topic: submission.topic,
            keywords: match (submission.keywords, &own.keywords) {
                (none, Some(keywords)) if none.is_empty() => keywords.clone(),
                (keywords, _) => keywords,
            },
            category: submission.category.or_else(|| own.category.clone()),
            requirements: submission.requirements.or_else(|| own.requirements.clone()),
            tone: submission.tone.or_else(|| own.tone.clone()),
            priority: submission.priority.or(own.priority).unwrap_or(defaults.priority),
            // An account's word from before four_eyes was set is no approval.
            auto_approve: !settings.is_four_eyes
                && submission.auto_approve.or(own.auto_approve).unwrap_or(defaults.auto_approve),
            generator,
            state: TaskState::Pending,
            attempt: 0,
            retry_count: 0,
            max_retries: submission.max_retries.unwrap_or(defaults.max_retries),
            time_limit_s: submission.time_limit_s.unwrap_or(defaults.time_limit_s),
            progress: None,
            reason: not_before.map(|_| DELAYED.to_owned()),
            error: None,
            content_id: None,
            key: submission.key,
            submitted_by: peer.label(),
            rewrites: None,
            created_at: now,
            queued_at: now,
            submitted_at: None,
            started_at: None,
            completed_at: None,
            wake_at: not_before,
            updated_at: now,
            restored_at: None,
            not_before,
        };
        self.refuse_untransportable(&task)?;
        let limits = self.limits_of(&task.generator);
        Ok(NewTask { task, digest, claim: None, limits })
    }

    fn generator_for(
        &self,
        asked: Option<&GeneratorName>,
        defaults: &SubmitDefaults,
    ) -> Result<GeneratorName, Box<Fault>> {
        let generators = self.world.generators.borrow();
        let only = generators.only().map(|generator| &generator.name);
        let name = asked.or(defaults.generator.as_ref()).or(only);
        if let Some(name) = name.filter(|name| generators.get(name).is_some()) {
            return Ok(name.clone());
        }
        let known = generators.iter().map(|generator| generator.name.0.clone()).collect();
        let generator = name.map(|name| name.0.clone()).unwrap_or_default();
        let error = ApiError::GeneratorNotFound { generator: generator.clone(), known };
        Err(Box::new(Fault { error, field: "generator", value: generator }))
    }

    /// What cannot travel to the generator is refused now, not after it has waited its turn.
    pub(super) fn refuse_untransportable(&self, task: &Task) -> Result<(), Box<Fault>> {
        let Some(generator) = self.world.generator(&task.generator) else { return Ok(()) };
        generator.driver.accepts(task).map_err(|cure| {
            let field = ["topic", "requirements", "keywords", "tone", "category"]
                .into_iter()
                .find(|field| cure.contains(field))
                .unwrap_or("topic");
            let value = match field {
                "requirements" => task.requirements.as_deref().unwrap_or_default(),
                _ => task.topic.as_str(),
            };
            Box::new(Fault { error: ApiError::invalid(field, value, cure), field, value: value.to_owned() })
        })
    }

    /// A generator's own bounds of unfinished tasks. They are held against what is unfinished where the task is written.
    pub(super) fn limits_of(&self, generator: &GeneratorName) -> PendingLimits {
        let limits = self.world.generator(generator).map(|generator| generator.limits);
        limits.map_or_else(PendingLimits::default, |limits| PendingLimits {
            in_all: limits.max_pending,
            of_account: limits.max_pending_per_account,
        })
    }
}

impl Fault {
    fn at(self, index: usize) -> FieldFault {
        FieldFault {
            index: Some(u32::try_from(index).unwrap_or(u32::MAX)),
            field: self.field.to_owned(),
            value: crate::control::api::error::shown(&self.value),
            cure: self.error.message(),
        }
    }
}

fn view(submitted: &SubmittedTask) -> Submitted {
    Submitted {
        task_id: Some(submitted.task.id.0.clone()),
        state: Some(submitted.task.state.to_string()),
        was_known: submitted.was_known,
    }
}

/// What was asked, so that a key's second use can be told from another request. Defaults are not part of it: they may
/// change between a call and its repetition.
fn digest_of(submission: &CheckedSubmission, account: &Account, generator: &GeneratorName) -> String {
    let body = serde_json::json!([
        account.id.0,
        submission.topic,
        submission.requirements,
        submission.keywords,
        submission.category,
        submission.tone,
        submission.priority,
        submission.time_limit_s,
        submission.max_retries,
        submission.auto_approve,
        submission.generator.as_ref().map(|_| generator.as_str()),
        submission.delay_s,
    ]);
    sha256_hex(body.to_string().as_bytes())
}
