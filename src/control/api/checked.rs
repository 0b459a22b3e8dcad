//! From what was said to what is meant: parameters judged for their form, with every fault named.
//!
//! Used twice: by the server before the backend sees a call, and by contentctl on a batch file, so that all its faults
//! are told at once. Nothing here needs the database: whether an account exists is the backend's business. The surprise:
//! texts are taken as they are, but for control characters, which are refused where they could not be meant.

use super::content::{ContentListParams, PoolListParams, PoolReleaseParams};
use super::error::{ApiError, FieldFault, shown};
use super::tasks::{
    CancelParams, ListParams, ReleaseParams, RetryParams, SettleParams, StatisticsParams, Submission, TaskFilterParams,
    WaitParams, WatchParams,
};
use crate::control::values::{DURATION_FORMS, TextOrNumber, parse_duration_s, parse_time};
use crate::schedule::fire::KEY_PREFIX;
use crate::task::content::{PoolState, ReviewState};
use crate::task::{ContentId, CorrectedState, GeneratorName, PoolId, TaskState, Timestamp, limits};

/// The longest list in one call.
pub const MAX_LIMIT: u32 = 1_000;
/// How long a list is where nothing was said.
pub const DEFAULT_LIMIT: u32 = 50;
/// How many tasks one call may name.
pub const MAX_NAMED: usize = 1_000;
/// Days of `Cleanup` where nothing was said.
const DEFAULT_CLEANUP_DAYS: u64 = 7;
/// The longest that `Cleanup` takes, in days.
pub const MAX_CLEANUP_DAYS: u64 = 36_500;
/// What `Cleanup` is told where what is configured counts.
pub const RETENTION: &str = "retention";
const DAY_S: u64 = 24 * 3600;
/// The longest delay of a submit.
pub const MAX_DELAY_S: u64 = 366 * 24 * 3600;

/// A submission whose form is right. What was not said is `None`: the configuration fills it in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedSubmission {
    /// Number or name.
    pub account: String,
    /// About what.
    pub topic: String,
    /// Instructions to the generator.
    pub requirements: Option<String>,
    /// Words that must occur.
    pub keywords: Vec<String>,
    /// A shelf.
    pub category: Option<String>,
    /// The tone.
    pub tone: Option<String>,
    /// 1 to 10.
    pub priority: Option<u8>,
    /// Seconds.
    pub time_limit_s: Option<u32>,
    /// Retries.
    pub max_retries: Option<u32>,
    /// Approve when it comes.
    pub auto_approve: Option<bool>,
    /// Which generator.
    pub generator: Option<GeneratorName>,
    /// The submitter's key.
    pub key: Option<String>,
    /// Seconds from now.
    pub delay_s: u64,
}

/// Which tasks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TaskQuery {
    /// In one of these; empty: any.
    pub states: Vec<TaskState>,
    /// Past the time limit.
    pub is_overdue: bool,
    /// Number or name.
    pub account: Option<String>,
    /// At this generator.
    pub generator: Option<GeneratorName>,
    /// Created at or after.
    pub since: Option<Timestamp>,
    /// Whose error contains this.
    pub error: Option<String>,
}

/// A part of the list of tasks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListQuery {
    /// Which.
    pub filter: TaskQuery,
    /// At most so many.
    pub limit: u32,
    /// After so many.
    pub offset: u32,
    /// Submitted before this task: id or prefix.
    pub before: Option<String>,
    /// Whose topic contains this text.
    pub topic: Option<String>,
}

/// Several tasks to do something to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bulk {
    /// By id or prefix; at least one.
    Named(Vec<String>),
    /// All that fit; the filter has at least one condition.
    Matching(TaskQuery),
}

/// How a retry goes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RetryMode {
    /// Count from 0 again.
    pub reset_count: bool,
    /// Give up a job that may be alive, for this reason.
    pub abandon: Option<String>,
}

/// What is said of a held task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SettleDecision {
    /// This is its job.
    Adopt(String),
    /// There is none.
    Absent,
    /// It is given up, for this reason.
    Fail(String),
}

/// Statistics of what.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StatisticsQuery {
    /// Since when; none: ever.
    pub since: Option<Timestamp>,
    /// Number or name.
    pub account: Option<String>,
    /// Of this generator.
    pub generator: Option<GeneratorName>,
}

/// What to wait for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitQuery {
    /// By id or prefix; none: every task.
    pub tasks: Option<Vec<String>>,
    /// Seconds; none: for ever.
    pub timeout_s: Option<u64>,
}

/// What to watch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WatchQuery {
    /// By id or prefix; none: all.
    pub tasks: Option<Vec<String>>,
    /// Number or name.
    pub account: Option<String>,
    /// At this generator.
    pub generator: Option<GeneratorName>,
}

/// A part of the list of content records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContentQuery {
    /// Number or name.
    pub account: Option<String>,
    /// With this review state.
    pub review: Option<ReviewState>,
    /// Of this task: id or prefix.
    pub task: Option<String>,
    /// At most so many.
    pub limit: u32,
    /// After so many.
    pub offset: u32,
    /// With a smaller number.
    pub before: Option<ContentId>,
    /// The oldest first.
    pub is_oldest_first: bool,
}

/// A part of the pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolQuery {
    /// Number or name.
    pub account: Option<String>,
    /// With this status.
    pub status: Option<PoolState>,
    /// At most so many.
    pub limit: u32,
    /// After so many.
    pub offset: u32,
    /// With a smaller number.
    pub before: Option<PoolId>,
}

/// Whether a character has no place in a topic. A tab is a space to everybody who reads one.
pub fn is_no_line(character: char) -> bool {
    character.is_control() && character != '\t'
}

/// Gathers the faults of one submission.
pub(super) struct Faults {
    index: Option<u32>,
    faults: Vec<FieldFault>,
}

impl Faults {
    /// None yet; `index` is the entry's place in a batch.
    pub(super) const fn of(index: Option<u32>) -> Self {
        Self { index, faults: Vec::new() }
    }

    pub(super) fn into_faults(self) -> Vec<FieldFault> {
        self.faults
    }

    pub(super) fn add(&mut self, field: &str, value: &str, cure: impl Into<String>) {
        let value = shown(value);
        self.faults.push(FieldFault { index: self.index, field: field.to_owned(), value, cure: cure.into() });
    }

    /// A short text: trimmed, none when empty.
    pub(super) fn short(&mut self, field: &str, value: Option<&str>) -> Option<String> {
        let text = value.map(str::trim).filter(|text| !text.is_empty())?;
        if text.chars().count() > limits::SHORT_TEXT_CHARS {
            self.add(field, text, format!("at most {} characters", limits::SHORT_TEXT_CHARS));
        } else if text.chars().any(char::is_control) {
            self.add(field, text, "one line without control characters");
        }
        Some(text.to_owned())
    }

    /// Instructions to a generator: none when empty.
    pub(super) fn requirements(&mut self, value: Option<&str>) -> Option<String> {
        let text = value.filter(|text| !text.trim().is_empty())?;
        if text.len() > limits::REQUIREMENTS_BYTES {
            let cure = format!("at most {} bytes; these are {}", limits::REQUIREMENTS_BYTES, text.len());
            self.add("requirements", text, cure);
        } else if text.contains('\0') {
            self.add("requirements", text, "a text without NUL characters");
        }
        Some(text.to_owned())
    }

    pub(super) fn keywords(&mut self, given: &[String]) -> Vec<String> {
        if given.len() > limits::KEYWORDS {
            let cure = format!("at most {} keywords", limits::KEYWORDS);
            self.add("keywords", &format!("{} keywords", given.len()), cure);
            return Vec::new();
        }
        let mut keywords = Vec::new();
        for keyword in given {
            keywords.extend(self.short("keywords", Some(keyword)));
        }
        keywords
    }

    pub(super) fn priority(&mut self, given: i64) -> Option<u8> {
        checked_priority(given).map_err(|(value, cure)| self.add("priority", &value, cure)).ok()
    }

    fn duration(&mut self, field: &str, value: Option<&TextOrNumber>) -> Option<u64> {
        let text = value?.as_str();
        let seconds = parse_duration_s(text);
        if seconds.is_none() {
            self.add(field, text, DURATION_FORMS);
        }
        seconds
    }
}

impl Submission {
    /// Judges the form. `index` is the entry's place in a batch.
    pub fn check(&self, index: Option<u32>) -> Result<CheckedSubmission, Vec<FieldFault>> {
        let mut faults = Faults { index, faults: Vec::new() };
        let checked = CheckedSubmission {
            account: self.check_account(&mut faults),
            topic: self.check_topic(&mut faults),
            requirements: faults.requirements(self.requirements.as_deref()),
            keywords: faults.keywords(self.keywords.as_deref().unwrap_or_default()),
            category: faults.short("category", self.category.as_deref()),
            tone: faults.short("tone", self.tone.as_deref()),
            priority: self.priority.and_then(|given| faults.priority(given)),
            time_limit_s: self.check_time_limit(&mut faults),
            max_retries: self.check_max_retries(&mut faults),
            auto_approve: self.auto_approve,
            generator: faults.short("generator", self.generator.as_deref()).map(GeneratorName),
            key: self.check_key(&mut faults),
            delay_s: self.check_delay(&mut faults),
        };
        if faults.faults.is_empty() { Ok(checked) } else { Err(faults.faults) }
    }

    fn check_account(&self, faults: &mut Faults) -> String {
        let account = faults.short("account", Some(self.account.as_str()));
        account.unwrap_or_else(|| {
            faults.add("account", self.account.as_str(), "the number or name of an account");
            String::new()
        })
    }

    fn check_topic(&self, faults: &mut Faults) -> String {
        let topic = self.topic.trim();
        let chars = topic.chars().count();
        if topic.is_empty() {
            faults.add("topic", &self.topic, "a topic that is not empty");
        } else if chars > limits::TOPIC_CHARS {
            faults.add("topic", topic, format!("at most {} characters; these are {chars}", limits::TOPIC_CHARS));
        } else if topic.chars().any(is_no_line) {
            faults.add("topic", topic, "one line without control characters; what is longer belongs into requirements");
        }
        topic.to_owned()
    }

    fn check_time_limit(&self, faults: &mut Faults) -> Option<u32> {
        let seconds = faults.duration("time_limit", self.time_limit.as_ref())?;
        let in_range = u32::try_from(seconds).ok().filter(|seconds| limits::TIME_LIMIT_S.contains(seconds));
        if in_range.is_none() {
            let given = self.time_limit.as_ref().map_or("", |given| given.as_str());
            faults.add("time_limit", given, "from 1s to 30d");
        }
        in_range
    }

    fn check_max_retries(&self, faults: &mut Faults) -> Option<u32> {
        let given = self.max_retries?;
        let in_range = u32::try_from(given).ok().filter(|retries| *retries <= limits::MAX_RETRIES);
        if in_range.is_none() {
            faults.add("max_retries", &given.to_string(), format!("a number from 0 to {}", limits::MAX_RETRIES));
        }
        in_range
    }

    fn check_key(&self, faults: &mut Faults) -> Option<String> {
        if self.key.as_deref().is_some_and(|key| key.trim().is_empty()) {
            faults.add("key", "", "a key that is not empty, or none");
        }
        let key = faults.short("key", self.key.as_deref());
        if let Some(key) = key.as_deref().filter(|key| key.starts_with(KEY_PREFIX)) {
            faults.add("key", key, format!("a key that does not begin with {KEY_PREFIX:?}: those are the schedules'"));
        }
        key
    }

    fn check_delay(&self, faults: &mut Faults) -> u64 {
        let Some(given) = &self.delay else { return 0 };
        checked_delay(given).unwrap_or_else(|(value, cure)| {
            faults.add("delay", &value, cure);
            0
        })
    }
}

/// Judges a priority; the error is value and cure.
fn checked_priority(given: i64) -> Result<u8, (String, String)> {
    u8::try_from(given)
        .ok()
        .filter(|priority| limits::PRIORITY.contains(priority))
        .ok_or_else(|| (given.to_string(), "a number from 1 to 10; 10 runs first".to_owned()))
}

/// As [`Submission::check`], for one submission alone.
pub fn single(submission: &Submission) -> Result<CheckedSubmission, ApiError> {
    submission.check(None).map_err(|faults| match faults.into_iter().next() {
        Some(FieldFault { field, value, cure, .. }) => ApiError::InvalidField { field, value, cure },
        None => ApiError::internal("a submission was refused without a fault"),
    })
}

/// How many faults one answer tells.
const TOLD_FAULTS: usize = 100;

/// As [`Submission::check`], for a batch: all faults of all entries.
pub fn batch<'a>(submissions: impl IntoIterator<Item = &'a Submission>) -> Result<Vec<CheckedSubmission>, ApiError> {
    let mut checked = Vec::new();
    let mut faults: Vec<FieldFault> = Vec::new();
    let mut count: u32 = 0;
    for (index, submission) in submissions.into_iter().enumerate() {
        match submission.check(Some(u32::try_from(index).unwrap_or(u32::MAX))) {
            Ok(entry) => checked.push(entry),
            Err(more) => {
                count = count.saturating_add(u32::try_from(more.len()).unwrap_or(u32::MAX));
                let room = TOLD_FAULTS.saturating_sub(faults.len());
                faults.extend(more.into_iter().take(room));
            }
        }
    }
    if count > 0 {
        return Err(ApiError::BatchRefused { faults, count });
    }
    if checked.is_empty() {
        return Err(ApiError::invalid("tasks", "[]", "at least one task"));
    }
    Ok(checked)
}

/// Judges the priority of `Set`.
pub fn priority(given: i64) -> Result<u8, ApiError> {
    checked_priority(given).map_err(|(value, cure)| ApiError::invalid("priority", &value, cure))
}

/// Judges a delay; the error is value and cure.
fn checked_delay(given: &TextOrNumber) -> Result<u64, (String, String)> {
    let text = given.as_str();
    let seconds = parse_duration_s(text).ok_or_else(|| (text.to_owned(), DURATION_FORMS.to_owned()))?;
    if seconds > MAX_DELAY_S { Err((text.to_owned(), "at most 366d".to_owned())) } else { Ok(seconds) }
}

/// Judges the delay of `Set`.
pub fn delay(given: &TextOrNumber) -> Result<u64, ApiError> {
    checked_delay(given).map_err(|(value, cure)| ApiError::invalid("delay", &value, cure))
}

/// How long ago a task must have finished that a cleanup deletes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CleanupAge {
    /// So many seconds.
    Seconds(u64),
    /// As `retention.finished_tasks` says.
    Retention,
}

/// Judges the age of `Cleanup`.
pub fn cleanup_age(days: Option<i64>, older_than: Option<&TextOrNumber>) -> Result<CleanupAge, ApiError> {
    match (days, older_than.map(TextOrNumber::as_str)) {
        (None, None) => Ok(CleanupAge::Seconds(DEFAULT_CLEANUP_DAYS * DAY_S)),
        (None, Some(RETENTION)) => Ok(CleanupAge::Retention),
        (None, Some(text)) => {
            let seconds = parse_duration_s(text).filter(|seconds| *seconds <= MAX_CLEANUP_DAYS * DAY_S);
            let cure = || format!("{DURATION_FORMS}, at most {MAX_CLEANUP_DAYS}d; or {RETENTION}");
            seconds.map(CleanupAge::Seconds).ok_or_else(|| ApiError::invalid("older_than", text, cure()))
        }
        (Some(days), None) => {
            let known = u64::try_from(days).ok().filter(|days| *days <= MAX_CLEANUP_DAYS);
            known.map(|days| CleanupAge::Seconds(days * DAY_S)).ok_or_else(|| {
                let cure = format!("a number of days from 0 to {MAX_CLEANUP_DAYS}");
                ApiError::invalid("days", &days.to_string(), cure)
            })
        }
        (Some(_), Some(text)) => Err(ApiError::invalid("older_than", text, "either older_than or days, not both")),
    }
}

/// The most backups that are kept.
pub const MAX_KEPT: u32 = 10_000;

/// Judges how many backups to keep.
pub fn backups_kept(keep: i64) -> Result<u32, ApiError> {
    u32::try_from(keep)
        .ok()
        .filter(|keep| (1..=MAX_KEPT).contains(keep))
        .ok_or_else(|| ApiError::invalid("keep", &keep.to_string(), "a number of backups from 1 to 10000"))
}

/// Judges limit and offset of a list.
pub fn page(limit: Option<i64>, offset: Option<i64>) -> Result<(u32, u32), ApiError> {
    let limit = limit.map_or(Ok(DEFAULT_LIMIT), |given| {
        let in_range = u32::try_from(given).ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        in_range.ok_or_else(|| ApiError::invalid("limit", &given.to_string(), "a number from 1 to 1000"))
    })?;
    let offset = offset.map_or(Ok(0), |given| {
        u32::try_from(given).map_err(|_| ApiError::invalid("offset", &given.to_string(), "a number from 0"))
    })?;
    Ok((limit, offset))
}

/// Judges a text that must be there and be one short text.
pub fn reason(given: &str) -> Result<String, ApiError> {
    let text = given.trim();
    if text.is_empty() {
        return Err(ApiError::invalid("reason", given, "a reason that is not empty; it goes into the history"));
    }
    if text.chars().count() > limits::TOPIC_CHARS {
        return Err(ApiError::invalid("reason", text, format!("at most {} characters", limits::TOPIC_CHARS)));
    }
    Ok(text.to_owned())
}

/// Judges a new account's name.
pub fn account_name(given: &str) -> Result<String, ApiError> {
    let name = given.trim();
    if name.is_empty() || name.chars().count() > limits::SHORT_TEXT_CHARS || name.chars().any(char::is_control) {
        let cure = format!("1 to {} characters on one line", limits::SHORT_TEXT_CHARS);
        return Err(ApiError::invalid("name", given, cure));
    }
    if name.contains(',') {
        return Err(ApiError::invalid("name", name, "a name without a comma: it is between the names of a list"));
    }
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ApiError::invalid("name", name, "a name that is not only digits: those are account numbers"));
    }
    Ok(name.to_owned())
}

fn since(given: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = given else { return Ok(None) };
    let time = parse_time(text);
    time.map(Some).ok_or_else(|| ApiError::invalid("since", text, "an RFC 3339 time: 2026-01-31T08:00:00Z"))
}

fn named_tasks(given: Vec<String>) -> Result<Vec<String>, ApiError> {
    if given.is_empty() || given.len() > MAX_NAMED {
        let value = format!("{} tasks", given.len());
        return Err(ApiError::invalid("tasks", &value, format!("1 to {MAX_NAMED} tasks by id")));
    }
    Ok(given)
}

/// What `--state` and `states` take.
pub const STATE_WORDS: &str = "pending submitting submitted processing cancelling held completed failed timeout \
                               cancelled, and the groups running unfinished finished overdue";

fn states(given: &[String]) -> Result<(Vec<TaskState>, bool), ApiError> {
    let mut states = Vec::new();
    let mut is_overdue = false;
    for word in given {
        match word.trim() {
            "overdue" => is_overdue = true,
            "running" => states.extend([
                TaskState::Submitting,
                TaskState::Submitted,
                TaskState::Processing,
                TaskState::Cancelling,
            ]),
            "unfinished" => states.extend(TaskState::ALL.iter().filter(|state| !state.is_final())),
            "finished" => states.extend(TaskState::ALL.iter().filter(|state| state.is_final())),
            name => states.push(name.parse().map_err(|_| ApiError::invalid("states", name, STATE_WORDS))?),
        }
    }
    if is_overdue && !states.is_empty() {
        return Err(ApiError::invalid("states", &given.join(","), "`overdue` stands alone"));
    }
    states.sort_unstable();
    states.dedup();
    Ok((states, is_overdue))
}

impl TryFrom<TaskFilterParams> for TaskQuery {
    type Error = ApiError;

    fn try_from(given: TaskFilterParams) -> Result<Self, ApiError> {
        let (states, is_overdue) = states(given.states.as_deref().unwrap_or_default())?;
        Ok(Self {
            states,
            is_overdue,
            account: given.account.map(|account| account.0),
            generator: given.generator.map(GeneratorName),
            since: since(given.since.as_deref())?,
            error: given.error,
        })
    }
}

impl TryFrom<ListParams> for ListQuery {
    type Error = ApiError;

    fn try_from(given: ListParams) -> Result<Self, ApiError> {
        let (limit, offset) = page(given.limit, given.offset)?;
        if let Some(topic) =
            given.topic.as_ref().filter(|topic| topic.is_empty() || topic.chars().count() > limits::TOPIC_CHARS)
        {
            let cure = format!("a text of 1 to {} characters that the topic contains", limits::TOPIC_CHARS);
            return Err(ApiError::invalid("topic", topic, cure));
        }
        let filter = given.filter.unwrap_or_default().try_into()?;
        Ok(Self { filter, limit, offset, before: given.before, topic: given.topic })
    }
}

fn bulk(tasks: Option<Vec<String>>, filter: Option<TaskFilterParams>) -> Result<Bulk, ApiError> {
    match (tasks, filter) {
        (Some(tasks), None) => named_tasks(tasks).map(Bulk::Named),
        (None, Some(filter)) => {
            let query = TaskQuery::try_from(filter)?;
            // An empty filter would be every task: nobody means that by leaving everything out.
            if query == TaskQuery::default() {
                return Err(ApiError::invalid("filter", "{}", "at least one condition, or tasks by id"));
            }
            Ok(Bulk::Matching(query))
        }
        (Some(_), Some(_)) => Err(ApiError::invalid("filter", "", "either tasks by id or a filter, not both")),
        (None, None) => Err(ApiError::invalid("tasks", "", "tasks by id, or a filter")),
    }
}

impl CancelParams {
    /// Judges the form: which tasks.
    pub fn check(self) -> Result<Bulk, ApiError> {
        bulk(self.tasks, self.filter)
    }
}

impl ReleaseParams {
    /// Judges the form: which tasks.
    pub fn check(self) -> Result<Bulk, ApiError> {
        bulk(self.tasks, self.filter)
    }
}

impl PoolReleaseParams {
    /// Judges the form: which entries; none means all.
    pub fn check(self) -> Result<Option<Vec<PoolId>>, ApiError> {
        match (self.pool_ids, self.all == Some(true)) {
            (None, true) => Ok(None),
            (Some(ids), false) if !ids.is_empty() => Ok(Some(ids.into_iter().map(PoolId).collect())),
            (Some(_), true) => Err(ApiError::invalid("all", "true", "either entries by number or all of them")),
            _ => Err(ApiError::invalid("pool_ids", "", "entries by number, or all")),
        }
    }
}

impl RetryParams {
    /// Judges the form: which tasks, and how.
    pub fn check(self) -> Result<(Bulk, RetryMode), ApiError> {
        let which = bulk(self.tasks, self.filter)?;
        let abandon = if self.abandon == Some(true) {
            if matches!(which, Bulk::Matching(_)) {
                return Err(ApiError::invalid("abandon", "true", "a job is given up by its task's id only"));
            }
            Some(reason(self.reason.as_deref().unwrap_or_default())?)
        } else {
            None
        };
        Ok((which, RetryMode { reset_count: self.reset_count == Some(true), abandon }))
    }
}

/// Judges the state that a correction may set.
pub fn corrected_state(given: &str) -> Result<CorrectedState, ApiError> {
    match given {
        "pending" => Ok(CorrectedState::Pending),
        "failed" => Ok(CorrectedState::Failed),
        "timeout" => Ok(CorrectedState::Timeout),
        "cancelled" => Ok(CorrectedState::Cancelled),
        other => Err(ApiError::invalid("state", other, "one of pending failed timeout cancelled")),
    }
}

impl SettleParams {
    /// Judges the form: exactly one decision.
    pub fn check(self) -> Result<(String, SettleDecision), ApiError> {
        let decisions = (self.adopt, self.absent == Some(true), self.fail == Some(true));
        let decision = match decisions {
            (Some(reference), false, false) if !reference.trim().is_empty() => SettleDecision::Adopt(reference),
            (Some(reference), false, false) => {
                return Err(ApiError::invalid("adopt", &reference, "the job's reference at the generator"));
            }
            (None, true, false) => SettleDecision::Absent,
            (None, false, true) => SettleDecision::Fail(reason(self.reason.as_deref().unwrap_or_default())?),
            _ => return Err(ApiError::invalid("adopt", "", "exactly one of adopt, absent and fail")),
        };
        Ok((self.task, decision))
    }
}

impl TryFrom<StatisticsParams> for StatisticsQuery {
    type Error = ApiError;

    fn try_from(given: StatisticsParams) -> Result<Self, ApiError> {
        let since = since(given.since.as_deref())?;
        let generator = given.generator.map(GeneratorName);
        Ok(Self { since, account: given.account.map(|account| account.0), generator })
    }
}

impl TryFrom<WaitParams> for WaitQuery {
    type Error = ApiError;

    fn try_from(given: WaitParams) -> Result<Self, ApiError> {
        let tasks = match (given.tasks, given.all == Some(true)) {
            (Some(tasks), false) => Some(named_tasks(tasks)?),
            (None, true) => None,
            (Some(_), true) => return Err(ApiError::invalid("all", "true", "either tasks by id or all, not both")),
            (None, false) => return Err(ApiError::invalid("tasks", "", "tasks by id, or `all`")),
        };
        let timeout_s = given.timeout.map(|text| {
            parse_duration_s(text.as_str()).ok_or_else(|| ApiError::invalid("timeout", text.as_str(), DURATION_FORMS))
        });
        Ok(Self { tasks, timeout_s: timeout_s.transpose()? })
    }
}

impl TryFrom<WatchParams> for WatchQuery {
    type Error = ApiError;

    fn try_from(given: WatchParams) -> Result<Self, ApiError> {
        let tasks = given.tasks.map(named_tasks).transpose()?;
        let generator = given.generator.map(GeneratorName);
        Ok(Self { tasks, account: given.account.map(|account| account.0), generator })
    }
}

impl TryFrom<ContentListParams> for ContentQuery {
    type Error = ApiError;

    fn try_from(given: ContentListParams) -> Result<Self, ApiError> {
        let (limit, offset) = page(given.limit, given.offset)?;
        let review = given.review_status.map(|text| {
            text.parse().map_err(|_| {
                ApiError::invalid("review_status", &text, "one of pending_review approved rejected superseded")
            })
        });
        Ok(Self {
            account: given.account.map(|account| account.0),
            review: review.transpose()?,
            task: given.task,
            limit,
            offset,
            before: given.before.map(ContentId),
            is_oldest_first: given.oldest_first == Some(true),
        })
    }
}

impl TryFrom<PoolListParams> for PoolQuery {
    type Error = ApiError;

    fn try_from(given: PoolListParams) -> Result<Self, ApiError> {
        let (limit, offset) = page(given.limit, given.offset)?;
        let status = given.status.map(|text| {
            text.parse().map_err(|_| {
                ApiError::invalid("status", &text, "one of pending publishing published failed held removed")
            })
        });
        Ok(Self {
            account: given.account.map(|account| account.0),
            status: status.transpose()?,
            limit,
            offset,
            before: given.before.map(PoolId),
        })
    }
}
