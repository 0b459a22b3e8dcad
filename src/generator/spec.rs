//! A generator as the configuration describes it, validated: what can be called, and how its answers are read.
//!
//! Plain data, made once by [`crate::config`], and the rendering of its calls. It must not run anything. The surprise:
//! a generator without a `poll` is a blocking command, whose submit yields the piece.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Job;
use super::extract::Extractor;
use super::patience::{CALL_MARGIN, RUN_START};
use super::rules::Rule;
use super::template::{CommandTemplate, KnownNames, RenderError, Rendered, Template, Values};
use crate::task::outcome::{JobState, Verb};
use crate::task::policy::DeadWhen;
use crate::task::retry::{Backoff, PollSchedule};
use crate::task::{GeneratorName, Policy, Task};

/// The length of every key: 128 bits in hexadecimal digits.
const KEY_LEN: usize = 32;

/// Template variables of every task.
pub const TASK_NAMES: [&str; 10] =
    ["key", "task", "topic", "keywords", "category", "requirements", "tone", "priority", "account", "creator"];
/// Template variables of a call that asks for a page of jobs.
pub const PAGE_NAMES: [&str; 2] = ["batch_limit", "batch_offset"];
/// The variable of the generator's own reference.
pub const REF_NAME: &str = "ref";

/// How much at once, a minute, a day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Jobs at the generator at once.
    pub max_in_flight: u32,
    /// Jobs at the generator at once, of one account.
    pub max_in_flight_per_account: Option<u32>,
    /// Calls of polls and searches in a minute; wins over the polling interval. Calls about one job (submit, fetch, cancel)
    /// are not held up by it.
    pub calls_per_minute: Option<u32>,
    /// Submits in a day.
    pub submits_per_day: Option<u32>,
    /// Submits in a day, of one account.
    pub submits_per_day_per_account: Option<u32>,
    /// Tasks that may be pending.
    pub max_pending: Option<u32>,
    /// Tasks of one account that may be pending.
    pub max_pending_per_account: Option<u32>,
}

/// What to call, for how long, and what its end is called.
#[derive(Clone, Debug)]
pub struct CallSpec {
    /// Which verb this is; the outcomes of its rules belong to it.
    pub verb: Verb,
    /// Arguments and standard input.
    pub command: CommandTemplate,
    /// After which it is ended. Unused for a blocking run, which the task's own time limit ends.
    pub timeout: Duration,
    /// Rules in order.
    pub rules: Vec<Rule>,
}

/// Where a job's reference comes from.
#[derive(Clone, Debug)]
pub enum RefSource {
    /// Known before the call.
    Template(Template),
    /// Read from its output.
    Extract(Extractor),
}

/// Where a piece is read from.
#[derive(Clone, Debug)]
pub struct PieceSpec {
    /// The text; mandatory.
    pub content: Extractor,
    /// The generator's HTML.
    pub html: Option<Extractor>,
    /// A list of addresses or of objects with `url`.
    pub images: Option<Extractor>,
    /// The generator's own score.
    pub score: Option<Extractor>,
}

/// What a submit yields.
#[derive(Clone, Debug)]
pub enum Yields {
    /// A reference to a job that is polled.
    Reference(RefSource),
    /// The piece: a blocking run.
    Piece(PieceSpec),
}

/// The verb that pays.
#[derive(Clone, Debug)]
pub struct SubmitSpec {
    /// The call.
    pub call: CallSpec,
    /// What it yields.
    pub yields: Yields,
    /// Values kept under names of the configuration, for later templates.
    pub vars: BTreeMap<String, Extractor>,
}

/// How a list of jobs is read.
#[derive(Clone, Debug)]
pub struct BatchSpec {
    /// How many rows a page has; none for a list that comes whole.
    pub page_rows: Option<u32>,
    /// Whether there is a second page (the arguments use `{batch_offset}`).
    pub has_pages: bool,
    /// The most pages of one sweep.
    pub max_pages: u32,
    /// The rows.
    pub items: Extractor,
    /// The reference in a row.
    pub key: Extractor,
    /// The time of creation in a row, where the newest come first.
    pub created_newest_first: Option<Extractor>,
}

/// What is read about one job.
#[derive(Clone, Debug)]
pub struct StateSpec {
    /// The generator's state.
    pub state: Extractor,
    /// Its error text.
    pub error: Option<Extractor>,
    /// Its progress text.
    pub progress: Option<Extractor>,
    /// Values kept under names of the configuration, for later templates.
    pub vars: BTreeMap<String, Extractor>,
}

/// A poll of one job or of all.
#[derive(Clone, Debug)]
pub struct PollSpec {
    /// The call.
    pub call: CallSpec,
    /// How the list is read; none asks about one job.
    pub batch: Option<BatchSpec>,
    /// What is read about a job, in its row or in the whole output.
    pub job: StateSpec,
}

/// Our mark in a field that survives at the generator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Before the key.
    pub before: String,
    /// After the key.
    pub after: String,
}

/// A search for jobs that carry our mark.
#[derive(Clone, Debug)]
pub struct FindSpec {
    /// The call.
    pub call: CallSpec,
    /// How the list is read.
    pub batch: BatchSpec,
    /// The field of a row that carries the mark.
    pub field: Extractor,
    /// The mark.
    pub mark: Mark,
    /// The arguments name one job: a search for each, not one for all.
    pub is_per_job: bool,
}

/// The verb that gets the piece.
#[derive(Clone, Debug)]
pub struct FetchSpec {
    /// The call.
    pub call: CallSpec,
    /// Where the piece is.
    pub piece: PieceSpec,
}

/// A generator.
#[derive(Clone, Debug)]
pub struct GeneratorSpec {
    /// Its name.
    pub name: GeneratorName,
    /// What `{creator}` stands for.
    pub creator: String,
    /// The same key is the same job.
    pub is_idempotent: bool,
    /// Running it twice costs nothing that matters.
    pub is_free_to_repeat: bool,
    /// A blocking run outlives the daemon.
    pub is_detached: bool,
    /// An empty piece is a piece.
    pub allows_empty: bool,
    /// The working directory; none is a directory of the generator's own below the daemon's state directory.
    pub cwd: Option<PathBuf>,
    /// Added to the minimal environment.
    pub env: BTreeMap<String, String>,
    /// Environment variables and the credentials that they are read from.
    pub secrets: BTreeMap<String, String>,
    /// How much.
    pub limits: Limits,
    /// Back-off between attempts.
    pub retry: Backoff,
    /// The wished longest wait between two polls.
    pub poll_interval: Duration,
    /// How long an unanswered submit may still become a job.
    pub settle: Duration,
    /// How long a job of unknown outcome is looked for.
    pub find_limit: Duration,
    /// Between asking a process to end and ending it.
    pub grace: Duration,
    /// A state that, unchanged for so long, will never change.
    pub dead_when: Option<DeadWhen>,
    /// Theirs to ours.
    pub states: BTreeMap<String, JobState>,
    /// The verb that pays.
    pub submit: SubmitSpec,
    /// None for a blocking command.
    pub poll: Option<PollSpec>,
    /// Beside a batch poll.
    pub poll_one: Option<PollSpec>,
    /// The search for lost jobs.
    pub find: Option<FindSpec>,
    /// None for a blocking command.
    pub fetch: Option<FetchSpec>,
    /// The verb that ends a job.
    pub cancel: Option<CallSpec>,
}

impl GeneratorSpec {
    /// A submit yields the piece.
    pub fn is_blocking(&self) -> bool {
        matches!(self.submit.yields, Yields::Piece(_))
    }

    /// The poll that asks about one job by name.
    pub fn poll_by_name(&self) -> Option<&PollSpec> {
        self.poll_one.as_ref().or_else(|| self.poll.as_ref().filter(|poll| poll.batch.is_none()))
    }

    /// The poll that asks about all jobs in one call.
    pub fn batch_poll(&self) -> Option<(&PollSpec, &BatchSpec)> {
        let poll = self.poll.as_ref()?;
        Some((poll, poll.batch.as_ref()?))
    }

    /// The call of a verb; `Run` is the submit of a blocking command.
    pub fn call(&self, verb: Verb) -> Option<&CallSpec> {
        match verb {
            Verb::Submit | Verb::Run => Some(&self.submit.call),
            Verb::Poll => self.poll.as_ref().map(|poll| &poll.call),
            Verb::PollOne => self.poll_by_name().map(|poll| &poll.call),
            Verb::Find => self.find.as_ref().map(|find| &find.call),
            Verb::Fetch => self.fetch.as_ref().map(|fetch| &fetch.call),
            Verb::Cancel => self.cancel.as_ref(),
        }
    }

    /// Every call that is configured.
    pub fn calls(&self) -> impl Iterator<Item = &CallSpec> {
        let polls = self.poll.iter().chain(&self.poll_one).map(|poll| &poll.call);
        let rest = self.find.iter().map(|find| &find.call).chain(self.fetch.iter().map(|fetch| &fetch.call));
        std::iter::once(&self.submit.call).chain(polls).chain(rest).chain(&self.cancel)
    }

    /// What the core must know of this generator. What is learned of its durations comes in later.
    pub fn policy(&self) -> Policy {
        let is_ref_our_key = match &self.submit.yields {
            Yields::Reference(RefSource::Template(template)) => template.is_just("key"),
            Yields::Reference(RefSource::Extract(_)) | Yields::Piece(_) => false,
        };
        let is_batch = self.batch_poll().is_some();
        let submit_limit = if self.is_blocking() { RUN_START } else { self.submit.call.timeout };
        Policy {
            is_idempotent: self.is_idempotent,
            is_ref_our_key,
            is_blocking: self.is_blocking(),
            is_free_to_repeat: self.is_free_to_repeat,
            can_find: self.find.is_some(),
            can_cancel: self.cancel.is_some() || self.is_blocking(),
            can_poll_one: is_batch && self.poll_one.is_some(),
            retry: self.retry,
            polls: PollSchedule { interval: self.poll_interval, learned: None, is_batch },
            settle: self.settle,
            find_limit: self.find_limit,
            submit_limit: submit_limit + self.grace + CALL_MARGIN,
            dead_when: self.dead_when.clone(),
        }
    }

    /// Fills in a call about one job. The private files are named inside `dir`; making them (0600) is the caller's part.
    pub fn render(&self, call: &CallSpec, job: &Job, dir: &Path) -> Result<Rendered, RenderError> {
        call.command.render(&self.job_values(job), dir)
    }

    /// Fills in a call for a page of jobs; `job` where a search names one.
    pub fn render_page(
        &self,
        call: &CallSpec,
        job: Option<&Job>,
        page: Page,
        dir: &Path,
    ) -> Result<Rendered, RenderError> {
        let mut values = job.map_or_else(Values::default, |job| self.job_values(job));
        values.set("creator", self.creator.as_str());
        values.set(PAGE_NAMES[0], page.limit.to_string());
        values.set(PAGE_NAMES[1], page.offset.to_string());
        call.command.render(&values, dir)
    }

    /// Whether this task could travel in every call, without calling anything. The error names the field, its size,
    /// the limit and the cure.
    pub fn accepts(&self, task: &Task) -> Result<(), RenderError> {
        // What is known only later stands in with its usual length.
        let stand_in = "0".repeat(36);
        for call in self.calls() {
            let mut values = Values::default();
            for name in call.command.names() {
                values.set(name, stand_in.as_str());
            }
            self.set_task(&mut values, task);
            values.set("key", &stand_in[..KEY_LEN]);
            call.command.render(&values, Path::new("/private"))?;
        }
        Ok(())
    }

    fn job_values<'a>(&'a self, job: &'a Job) -> Values<'a> {
        let mut values = Values::default();
        for (name, value) in &job.attempt.vars {
            values.set(name.as_str(), value.as_str());
        }
        self.set_task(&mut values, &job.task);
        values.set("key", job.attempt.key.as_str());
        values.set(REF_NAME, job.attempt.external_ref.as_deref().unwrap_or_default());
        values
    }

    fn set_task<'a>(&'a self, values: &mut Values<'a>, task: &'a Task) {
        let optional = |text: &'a Option<String>| Cow::Borrowed(text.as_deref().unwrap_or_default());
        values.set("task", task.id.as_str());
        values.set("topic", task.topic.as_str());
        values.set("keywords", task.keywords.join(","));
        values.set("category", optional(&task.category));
        values.set("requirements", optional(&task.requirements));
        values.set("tone", optional(&task.tone));
        values.set("priority", task.priority.to_string());
        values.set("account", task.account_id.to_string());
        values.set("creator", self.creator.as_str());
    }
}

/// A page of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// How many rows are asked for; 0 for a list that comes whole.
    pub limit: u32,
    /// How many rows are passed over.
    pub offset: u32,
}

/// The template variables that a verb may use. `extracted` are the names that earlier verbs extract.
pub fn known_names(verb: Verb, is_batch: bool, extracted: &[String]) -> KnownNames {
    let task = KnownNames::new(TASK_NAMES);
    match verb {
        Verb::Submit | Verb::Run => task,
        Verb::Find => task.with(PAGE_NAMES),
        // One call asks about all jobs: there is no task whose fields it could name.
        Verb::Poll if is_batch => KnownNames::new(["creator"]).with(PAGE_NAMES),
        Verb::Poll | Verb::PollOne | Verb::Fetch | Verb::Cancel => {
            task.with([REF_NAME]).with(extracted.iter().cloned())
        }
    }
}
